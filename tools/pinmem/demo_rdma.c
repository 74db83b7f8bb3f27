/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * demo_rdma.c - moves the bytes of a region to another one and back by RDMA, over two
 * queue pairs of the pinner's device that are connected to each other (rdma_pair.h).
 * Both ways are RDMA WRITEs: the near queue pair writes the region's bytes to the
 * peer's memory, the far one writes the peer's bytes into the region. The same
 * device writes the bytes and, after them, the completion that is waited for, so
 * the bytes are there when it is.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mover.h"
#include "out.h"
#include "rdma_pair.h"
#include "sys.h"
#include "tool.h"

#define CHUNK (256u << 10)
#define DEPTH 8
#define PATIENCE_S 30 /* without any completion: the device hangs */

struct rdma_mover {
	struct mover base;
	struct pinmem *pm;
	struct rdma_pair pair;
	void *peer;
	uint64_t peer_len;
	struct pinmem_mr *peer_mr;
};

static int trouble(struct rdma_mover *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int trouble(struct rdma_mover *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->base.why, sizeof(r->base.why), fmt, ap);
	va_end(ap);
	/* some verbs calls fail without an errno */
	return err ? -abs(err) : -EIO;
}

/* ----------------------------------------------------------------- moving */

/* One way: @qp writes the bytes of @from to @to. */
struct job {
	struct rdma_mover *r;
	struct ibv_qp *qp;
	struct pinmem_mr *from, *to;
	uint64_t len, next, done;
	unsigned int flying;
	int err;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A write stays inside one segment on both sides. */
static int post_write(struct job *j)
{
	struct pinmem_segment from = { .size = sizeof(from) };
	struct pinmem_segment to = { .size = sizeof(to) };
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED,
				  .num_sge = 1 };
	struct ibv_send_wr *bad;
	struct ibv_sge sge;
	uint64_t n = least(CHUNK, j->len - j->next);
	int rc;

	if (pinmem_mr_segment(j->from, j->next, &from) ||
	    pinmem_mr_segment(j->to, j->next, &to))
		return trouble(j->r, EINVAL, "%s", pinmem_errmsg());
	n = least(n, from.offset + from.len - j->next);
	n = least(n, to.offset + to.len - j->next);
	sge.addr = from.iova + (j->next - from.offset);
	sge.length = (uint32_t)n;
	sge.lkey = from.lkey;
	wr.sg_list = &sge;
	wr.wr_id = n;
	wr.wr.rdma.remote_addr = to.iova + (j->next - to.offset);
	wr.wr.rdma.rkey = to.rkey;
	rc = ibv_post_send(j->qp, &wr, &bad);
	if (rc)
		return trouble(j->r, rc, "ibv_post_send: %s", strerror(rc));
	j->next += n;
	j->flying++;
	return 0;
}

/* The first failure is told; those after it are only its consequences. */
static void take_completion(struct job *j, const struct ibv_wc *wc)
{
	j->flying--;
	if (wc->status == IBV_WC_SUCCESS) {
		j->done += wc->wr_id;
		return;
	}
	j->r->pair.broken = true;
	if (!j->err)
		j->err = trouble(j->r, EIO, "RDMA WRITE: %s",
				 ibv_wc_status_str(wc->status));
}

/* Waits a little for completions. Return: how many were taken, or negative. */
static int poll_once(struct job *j)
{
	static const struct timespec nap = { 0, 20000 };
	struct ibv_wc wc[DEPTH];
	int n = ibv_poll_cq(j->r->pair.cq, DEPTH, wc);

	if (n < 0)
		return trouble(j->r, EIO, "ibv_poll_cq failed");
	for (int i = 0; i < n; i++)
		take_completion(j, &wc[i]);
	if (!n)
		nanosleep(&nap, NULL);
	return n;
}

/* Waits until nothing is in flight any more; posted work ends in error state. */
static void drain(struct job *j)
{
	uint64_t deadline = sys_now_ns() + PATIENCE_S * 1000000000ull;

	rdma_pair_break(&j->r->pair);
	while (j->flying && sys_now_ns() < deadline)
		if (poll_once(j) < 0)
			break;
}

static int connect_pair(struct rdma_mover *r)
{
	int rc = rdma_pair_connect(&r->pair);

	return rc ? trouble(r, rc, "%s", r->pair.why) : 0;
}

static int run(struct job *j)
{
	uint64_t seen = sys_now_ns();
	int n;

	if (j->r->pair.broken)
		j->err = connect_pair(j->r);
	while (!j->err && j->done < j->len) {
		while (!j->err && j->flying < DEPTH && j->next < j->len)
			j->err = post_write(j);
		n = j->flying ? poll_once(j) : 0;
		if (n > 0)
			seen = sys_now_ns();
		if (!j->err && n < 0)
			j->err = n;
		if (!j->err && stop_requested())
			j->err = trouble(j->r, ECANCELED, "interrupted");
		if (!j->err && sys_now_ns() - seen > PATIENCE_S * 1000000000ull)
			j->err = trouble(j->r, ETIMEDOUT,
					 "no completion from the device in %d s",
					 PATIENCE_S);
		progress_show("RDMA WRITE", j->done, j->len);
	}
	if (j->flying)
		drain(j);
	return j->err;
}

static int rdma_out(struct mover *m, struct pinmem_mr *mr, uint64_t len)
{
	struct rdma_mover *r = (struct rdma_mover *)m;
	struct job j = { .r = r,
			 .qp = r->pair.qp[RDMA_NEAR],
			 .from = mr,
			 .to = r->peer_mr,
			 .len = len };

	memset(r->peer, 0, r->peer_len); /* nothing of an earlier region is left */
	return run(&j);
}

static int rdma_in(struct mover *m, struct pinmem_mr *mr, uint64_t len)
{
	struct rdma_mover *r = (struct rdma_mover *)m;
	struct job j = { .r = r,
			 .qp = r->pair.qp[RDMA_FAR],
			 .from = r->peer_mr,
			 .to = mr,
			 .len = len };

	return run(&j);
}

static void rdma_close(struct mover *m)
{
	struct rdma_mover *r = (struct rdma_mover *)m;

	rdma_pair_close(&r->pair);
	if (r->peer_mr)
		pinmem_dereg(r->peer_mr, PINMEM_DIRTY, NULL);
	if (r->peer)
		pinmem_free(r->pm, r->peer, r->peer_len);
	free(r);
}

static const struct mover_ops rdma_ops = { rdma_out, rdma_in, rdma_close };

static int make_peer(struct rdma_mover *r)
{
	int rc = pinmem_alloc(r->pm, r->peer_len, NULL, &r->peer);

	if (rc)
		return trouble(r, rc, "the peer's memory: %s", pinmem_errmsg());
	rc = pinmem_reg(r->pm, r->peer, r->peer_len,
			PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE, NULL,
			&r->peer_mr);
	if (rc)
		return trouble(r, rc, "the peer's memory: %s", pinmem_errmsg());
	return 0;
}

static int prepare(struct rdma_mover *r)
{
	int rc = rdma_pair_open(&r->pair, pinmem_pd(r->pm), DEPTH);

	return rc ? trouble(r, rc, "%s", r->pair.why) : make_peer(r);
}

int mover_rdma_open(struct pinmem *pm, uint64_t len, struct mover **m, char why[512])
{
	struct rdma_mover *r = calloc(1, sizeof(*r));
	int rc;

	if (!r) {
		snprintf(why, 512, "out of memory");
		return -ENOMEM;
	}
	r->base.ops = &rdma_ops;
	r->base.in_access = PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE;
	r->pm = pm;
	r->peer_len = len;
	rc = prepare(r);
	if (rc) {
		memcpy(why, r->base.why, 512);
		rdma_close(&r->base);
		return rc;
	}
	snprintf(r->base.title, sizeof(r->base.title),
		 "a peer's memory through %s with RDMA WRITE both ways, %d at a time, "
		 "%s each",
		 rdma_pair_name(&r->pair), DEPTH, size_text(len < CHUNK ? len : CHUNK));
	*m = &r->base;
	return 0;
}
