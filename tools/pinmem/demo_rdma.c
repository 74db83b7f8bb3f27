/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * demo_rdma.c - moves the bytes of a region to another one and back by RDMA: two
 * reliable queue pairs on one port of the pinner's device, connected to each other.
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
#include "sys.h"
#include "tool.h"

#define CHUNK (256u << 10)
#define DEPTH 8
#define PATIENCE_S 30 /* without any completion: the device hangs */

enum { NEAR, FAR };

struct rdma_mover {
	struct mover base;
	struct pinmem *pm;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[2];
	struct ibv_port_attr port;
	uint8_t port_num;
	bool has_gid;
	struct ibv_gid_entry gid;
	void *peer;
	uint64_t peer_len;
	struct pinmem_mr *peer_mr;
	bool broken; /* a queue pair has failed: connect again */
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

/* ------------------------------------------------------------- connecting */

static int find_port(struct rdma_mover *r)
{
	struct ibv_context *ctx = r->pd->context;
	struct ibv_device_attr attr;

	if (ctx->device->transport_type == IBV_TRANSPORT_IWARP)
		return trouble(r, EOPNOTSUPP,
			       "%s is an iWARP device, whose queue pairs are connected "
			       "by a connection manager only; this demo has none",
			       ibv_get_device_name(ctx->device));
	if (ibv_query_device(ctx, &attr))
		return trouble(r, errno, "ibv_query_device: %s", strerror(errno));
	for (unsigned int n = 1; n <= attr.phys_port_cnt; n++) {
		r->port_num = (uint8_t)n;
		if (!ibv_query_port(ctx, r->port_num, &r->port) &&
		    r->port.state == IBV_PORT_ACTIVE)
			return 0;
	}
	return trouble(r, ENODEV, "no port of %s is active",
		       ibv_get_device_name(ctx->device));
}

/* RoCE v2 over IPv4 goes through any network; InfiniBand needs no GID at all. */
static int gid_rank(const struct ibv_gid_entry *e)
{
	static const uint8_t v4_mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (e->gid_type != IBV_GID_TYPE_ROCE_V2)
		return 1;
	return memcmp(e->gid.raw, v4_mapped, sizeof(v4_mapped)) ? 2 : 3;
}

/* One by one: a whole table can be too long for one request to the kernel. */
static int find_gid(struct rdma_mover *r)
{
	struct ibv_gid_entry e;
	int best = 0;

	for (int i = 0; i < r->port.gid_tbl_len; i++)
		if (!ibv_query_gid_ex(r->pd->context, r->port_num, (uint32_t)i, &e,
				      0) &&
		    gid_rank(&e) > best) {
			best = gid_rank(&e);
			r->gid = e;
		}
	r->has_gid = best > 0;
	if (!best && r->port.link_layer == IBV_LINK_LAYER_ETHERNET)
		return trouble(r, ENOENT,
			       "port %u of the device has no GID: give its network "
			       "interface an address",
			       r->port_num);
	return 0;
}

static int make_qp(struct rdma_mover *r, int which)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = r->cq,
		.recv_cq = r->cq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = DEPTH,
			 .max_recv_wr = 1,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
	};

	r->qp[which] = ibv_create_qp(r->pd, &attr);
	if (!r->qp[which])
		return trouble(r, errno, "ibv_create_qp: %s", strerror(errno));
	return 0;
}

static int to_init(struct rdma_mover *r, struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT,
				    .port_num = r->port_num,
				    .qp_access_flags = IBV_ACCESS_REMOTE_WRITE };

	return ibv_modify_qp(qp, &attr,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				     IBV_QP_ACCESS_FLAGS);
}

static int to_receive(struct rdma_mover *r, struct ibv_qp *qp, uint32_t other)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTR,
				    .path_mtu = r->port.active_mtu,
				    .dest_qp_num = other,
				    .max_dest_rd_atomic = 1,
				    .min_rnr_timer = 12 };

	attr.ah_attr.port_num = r->port_num;
	attr.ah_attr.dlid = r->port.lid;
	if (r->port.link_layer == IBV_LINK_LAYER_ETHERNET) {
		attr.ah_attr.is_global = 1;
		attr.ah_attr.grh.dgid = r->gid.gid;
		attr.ah_attr.grh.sgid_index = (uint8_t)r->gid.gid_index;
		attr.ah_attr.grh.hop_limit = 64;
	}
	return ibv_modify_qp(qp, &attr,
			     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				     IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				     IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

/* Timeout 18 is one second: an emulated machine may need it for one packet. */
static int to_send(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS,
				    .timeout = 18,
				    .retry_cnt = 7,
				    .rnr_retry = 7,
				    .max_rd_atomic = 1 };

	return ibv_modify_qp(qp, &attr,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				     IBV_QP_MAX_QP_RD_ATOMIC);
}

static void to_state(struct ibv_qp *qp, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state };

	ibv_modify_qp(qp, &attr, IBV_QP_STATE);
}

static int connect_both(struct rdma_mover *r)
{
	int rc;

	for (int i = NEAR; i <= FAR; i++) {
		to_state(r->qp[i], IBV_QPS_RESET);
		rc = to_init(r, r->qp[i]);
		if (rc)
			return trouble(r, rc, "queue pair to INIT: %s", strerror(rc));
		rc = to_receive(r, r->qp[i], r->qp[!i]->qp_num);
		if (rc)
			return trouble(r, rc, "queue pair to RTR: %s", strerror(rc));
	}
	for (int i = NEAR; i <= FAR; i++) {
		rc = to_send(r->qp[i]);
		if (rc)
			return trouble(r, rc, "queue pair to RTS: %s", strerror(rc));
	}
	r->broken = false;
	return 0;
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
	j->r->broken = true;
	if (!j->err)
		j->err = trouble(j->r, EIO, "RDMA WRITE: %s",
				 ibv_wc_status_str(wc->status));
}

/* Waits a little for completions. Return: how many were taken, or negative. */
static int poll_once(struct job *j)
{
	static const struct timespec nap = { 0, 20000 };
	struct ibv_wc wc[DEPTH];
	int n = ibv_poll_cq(j->r->cq, DEPTH, wc);

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

	j->r->broken = true;
	to_state(j->r->qp[NEAR], IBV_QPS_ERR);
	to_state(j->r->qp[FAR], IBV_QPS_ERR);
	while (j->flying && sys_now_ns() < deadline)
		if (poll_once(j) < 0)
			break;
}

static int run(struct job *j)
{
	uint64_t seen = sys_now_ns();
	int n;

	if (j->r->broken)
		j->err = connect_both(j->r);
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
	struct job j = {
		.r = r, .qp = r->qp[NEAR], .from = mr, .to = r->peer_mr, .len = len
	};

	memset(r->peer, 0, r->peer_len); /* nothing of an earlier region is left */
	return run(&j);
}

static int rdma_in(struct mover *m, struct pinmem_mr *mr, uint64_t len)
{
	struct rdma_mover *r = (struct rdma_mover *)m;
	struct job j = {
		.r = r, .qp = r->qp[FAR], .from = r->peer_mr, .to = mr, .len = len
	};

	return run(&j);
}

static void rdma_close(struct mover *m)
{
	struct rdma_mover *r = (struct rdma_mover *)m;

	for (int i = NEAR; i <= FAR; i++)
		if (r->qp[i])
			ibv_destroy_qp(r->qp[i]);
	if (r->cq)
		ibv_destroy_cq(r->cq);
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
	int rc = find_port(r);

	if (!rc)
		rc = find_gid(r);
	if (rc)
		return rc;
	r->cq = ibv_create_cq(r->pd->context, 2 * DEPTH, NULL, NULL, 0);
	if (!r->cq)
		return trouble(r, errno, "ibv_create_cq: %s", strerror(errno));
	rc = make_qp(r, NEAR);
	if (!rc)
		rc = make_qp(r, FAR);
	if (!rc)
		rc = connect_both(r);
	return rc ? rc : make_peer(r);
}

static const char *gid_name(const struct rdma_mover *r)
{
	static const char *const types[] = { "IB", "RoCE v1", "RoCE v2" };

	if (!r->has_gid || r->gid.gid_type >= ARRAY_SIZE(types))
		return text("LID %u", r->port.lid);
	return text("GID %u, %s", r->gid.gid_index, types[r->gid.gid_type]);
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
	r->pd = pinmem_pd(pm);
	r->peer_len = len;
	rc = prepare(r);
	if (rc) {
		memcpy(why, r->base.why, 512);
		rdma_close(&r->base);
		return rc;
	}
	snprintf(r->base.title, sizeof(r->base.title),
		 "a peer's memory through %s port %u (%s) with RDMA WRITE both ways, "
		 "%d at a time, %s each",
		 ibv_get_device_name(r->pd->context->device), r->port_num, gid_name(r),
		 DEPTH, size_text(len < CHUNK ? len : CHUNK));
	*m = &r->base;
	return 0;
}
