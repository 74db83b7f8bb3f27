/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_device_rdma.c - a peer's memory behind a pair of connected queue pairs: RDMA
 * WRITE to it, RDMA READ from it. The peer lives in the same process; its memory is
 * registered once, so that what is measured is this side's memory.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_device_ops.h"
#include "memory.h"
#include "out.h"
#include "rdma_pair.h"
#include "sys.h"

#define CHUNK ((size_t)256 << 10)
#define PATIENCE_NS 30000000000ull /* without a completion: the device hangs */
#define PEER_ACCESS                                               \
	(PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE | \
	 PINMEM_ACCESS_REMOTE_READ)

struct rdma_device {
	struct device base;
	struct rdma_pair pair;
	struct pinmem *pm;
	void *peer;
	struct pinmem_mr *peer_mr;
	struct pinmem_segment segment;
	unsigned int flying;
};

static int rdma_post(struct device *d, const struct transfer *t, struct slot *s,
		     uint64_t offset)
{
	struct rdma_device *r = (struct rdma_device *)d;
	struct ibv_sge sge = { .addr = t->piece->iova + offset,
			       .length = (uint32_t)s->len,
			       .lkey = t->piece->lkey };
	struct ibv_send_wr wr = {
		.wr_id = (uintptr_t)s,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = t->write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_send_wr *bad;
	int rc;

	wr.wr.rdma.remote_addr = r->segment.iova + s->at + (t->write ? d->len : 0);
	wr.wr.rdma.rkey = r->segment.rkey;
	rc = r->pair.broken ? rdma_pair_connect(&r->pair) : 0;
	if (rc)
		return bench_trouble(rc, "connecting again", r->pair.why);
	rc = ibv_post_send(r->pair.qp[RDMA_NEAR], &wr, &bad);
	if (rc)
		return bench_trouble(-rc, "ibv_post_send", strerror(rc));
	r->flying++;
	return 0;
}

/* A software device works on these CPUs too, so nobody spins here. */
static int poll_one(struct rdma_device *r, struct ibv_wc *wc)
{
	uint64_t deadline = 0;
	int n;

	while (!(n = ibv_poll_cq(r->pair.cq, 1, wc))) {
		if (!deadline)
			deadline = sys_now_ns() + PATIENCE_NS;
		else if (sys_now_ns() > deadline)
			return bench_trouble(-ETIMEDOUT, "RDMA",
					     "no completion in 30 s");
		sched_yield();
	}
	if (n < 0)
		return bench_trouble(-EIO, "ibv_poll_cq", "it failed");
	r->flying--;
	return 0;
}

static int rdma_wait(struct device *d, const struct transfer *t, struct slot **s)
{
	struct rdma_device *r = (struct rdma_device *)d;
	struct ibv_wc wc;
	int rc = poll_one(r, &wc);

	if (rc)
		return rc;
	*s = (struct slot *)(uintptr_t)wc.wr_id;
	if (wc.status == IBV_WC_SUCCESS)
		return 0;
	return bench_trouble(-EIO, t->write ? "RDMA WRITE" : "RDMA READ",
			     ibv_wc_status_str(wc.status));
}

static void rdma_abandon(struct device *d, const struct transfer *t)
{
	struct rdma_device *r = (struct rdma_device *)d;
	struct ibv_wc wc;

	(void)t;
	rdma_pair_break(&r->pair);
	while (r->flying && !poll_one(r, &wc))
		;
	r->flying = 0;
}

static int rdma_check(struct device *d, uint64_t len, uint64_t seed)
{
	struct rdma_device *r = (struct rdma_device *)d;
	size_t wrong = pattern_check((char *)r->peer + d->len, len, seed);

	if (wrong == len)
		return 0;
	return bench_trouble(-EBADMSG, "the peer's memory",
			     text("byte %zu of what was written is wrong", wrong));
}

static void rdma_close(struct device *d)
{
	struct rdma_device *r = (struct rdma_device *)d;

	rdma_pair_close(&r->pair);
	if (r->peer_mr)
		pinmem_dereg(r->peer_mr, PINMEM_DIRTY, NULL);
	if (r->peer)
		pinmem_free(r->pm, r->peer, 2 * d->len);
	free(r);
}

static const struct device_ops rdma_ops = { rdma_post, rdma_wait, rdma_abandon,
					    rdma_check, rdma_close };

static int make_peer(struct rdma_device *r)
{
	uint64_t len = 2 * r->base.len;
	int rc = pinmem_alloc(r->pm, len, NULL, &r->peer);

	if (!rc)
		rc = pinmem_reg(r->pm, r->peer, len, PEER_ACCESS, NULL, &r->peer_mr);
	r->segment.size = sizeof(r->segment);
	if (!rc)
		rc = pinmem_mr_segment(r->peer_mr, 0, &r->segment);
	if (rc)
		return bench_trouble(rc, "the peer's memory", pinmem_errmsg());
	if (r->segment.len < len)
		return bench_trouble(-EOPNOTSUPP, "the peer's memory",
				     "it takes more than one registration");
	pattern_fill(r->peer, len, DEVICE_IN_SEED);
	return 0;
}

int device_rdma_open(struct pinmem *pm, uint64_t len, struct device **d)
{
	struct rdma_device *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return bench_trouble(-ENOMEM, "RDMA", "out of memory");
	r->base.ops = &rdma_ops;
	r->base.chunk = CHUNK;
	r->base.len = len;
	r->pm = pm;
	rc = rdma_pair_open(&r->pair, pinmem_pd(pm), DEVICE_DEPTH);
	if (rc)
		bench_trouble(rc, "RDMA", r->pair.why);
	else
		rc = make_peer(r);
	if (rc) {
		rdma_close(&r->base);
		return rc;
	}
	snprintf(
		r->base.what, sizeof(r->base.what),
		"a peer's memory on this machine through %s, RDMA WRITE and RDMA READ, "
		"%d requests of up to %s at a time",
		rdma_pair_name(&r->pair), DEVICE_DEPTH, size_text(CHUNK));
	*d = &r->base;
	return 0;
}
