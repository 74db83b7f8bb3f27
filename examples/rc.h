/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rc.h - plain verbs, for the examples that need a queue pair: make it, connect it,
 * post one RDMA WRITE and wait. Nothing here is about pinned memory.
 */
#ifndef PINMEM_EXAMPLES_RC_H
#define PINMEM_EXAMPLES_RC_H

#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RC_PORT 1
#define RC_PATIENCE_S 60

/* What the other end must know of this one to connect to it */
struct rc_address {
	union ibv_gid gid;
	uint32_t qpn;
	uint16_t lid;
};

struct rc {
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_port_attr port;
	uint8_t gid_index;
	struct rc_address self;
};

/* RoCE v2 with an IPv4 address if the port has one, else GID 0 (InfiniBand) */
static inline void rc_find_gid(struct rc *rc, struct ibv_context *ctx)
{
	static const uint8_t ipv4[12] = { [10] = 0xff, [11] = 0xff };
	struct ibv_gid_entry e;

	for (uint32_t i = 0; i < 256 && i < (uint32_t)rc->port.gid_tbl_len; i++)
		if (!ibv_query_gid_ex(ctx, RC_PORT, i, &e, 0) &&
		    e.gid_type == IBV_GID_TYPE_ROCE_V2 &&
		    !memcmp(e.gid.raw, ipv4, sizeof(ipv4))) {
			rc->gid_index = (uint8_t)i;
			break;
		}
	ibv_query_gid(ctx, RC_PORT, rc->gid_index, &rc->self.gid);
	rc->self.lid = rc->port.lid;
}

static inline int rc_open(struct rc *rc, struct ibv_pd *pd)
{
	struct ibv_qp_init_attr attr = { .qp_type = IBV_QPT_RC,
					 .cap = { .max_send_wr = 1,
						  .max_recv_wr = 1,
						  .max_send_sge = 1,
						  .max_recv_sge = 1 } };

	memset(rc, 0, sizeof(*rc));
	if (ibv_query_port(pd->context, RC_PORT, &rc->port))
		return -1;
	rc_find_gid(rc, pd->context);
	rc->cq = ibv_create_cq(pd->context, 2, NULL, NULL, 0);
	attr.send_cq = attr.recv_cq = rc->cq;
	rc->qp = rc->cq ? ibv_create_qp(pd, &attr) : NULL;
	if (!rc->qp)
		return -1;
	rc->self.qpn = rc->qp->qp_num;
	return 0;
}

static inline int rc_connect(struct rc *rc, const struct rc_address *peer)
{
	struct ibv_qp_attr init = { .qp_state = IBV_QPS_INIT,
				    .port_num = RC_PORT,
				    .qp_access_flags = IBV_ACCESS_REMOTE_WRITE |
						       IBV_ACCESS_REMOTE_READ };
	struct ibv_qp_attr rtr = { .qp_state = IBV_QPS_RTR,
				   .path_mtu = rc->port.active_mtu,
				   .dest_qp_num = peer->qpn,
				   .max_dest_rd_atomic = 1,
				   .min_rnr_timer = 12 };
	struct ibv_qp_attr rts = { .qp_state = IBV_QPS_RTS,
				   .timeout = 18,
				   .retry_cnt = 7,
				   .rnr_retry = 7,
				   .max_rd_atomic = 1 };

	rtr.ah_attr.port_num = RC_PORT;
	rtr.ah_attr.dlid = peer->lid;
	if (rc->port.link_layer == IBV_LINK_LAYER_ETHERNET) {
		rtr.ah_attr.is_global = 1;
		rtr.ah_attr.grh.dgid = peer->gid;
		rtr.ah_attr.grh.sgid_index = rc->gid_index;
		rtr.ah_attr.grh.hop_limit = 64;
	}
	return ibv_modify_qp(rc->qp, &init,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				     IBV_QP_ACCESS_FLAGS) ||
	       ibv_modify_qp(rc->qp, &rtr,
			     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				     IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				     IBV_QP_MAX_DEST_RD_ATOMIC |
				     IBV_QP_MIN_RNR_TIMER) ||
	       ibv_modify_qp(rc->qp, &rts,
			     IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				     IBV_QP_MAX_QP_RD_ATOMIC);
}

/* Waits for the completion. Return: 0, or -1 after having said why */
static inline int rc_wait(struct rc *rc)
{
	static const struct timespec nap = { .tv_nsec = 100000 };
	time_t end = time(NULL) + RC_PATIENCE_S;
	struct ibv_wc wc = { .status = IBV_WC_SUCCESS };
	int n;

	while (!(n = ibv_poll_cq(rc->cq, 1, &wc)) && time(NULL) < end)
		nanosleep(&nap, NULL);
	if (n == 1 && wc.status == IBV_WC_SUCCESS)
		return 0;
	fprintf(stderr, "RDMA WRITE: %s\n",
		n == 1 ? ibv_wc_status_str(wc.status) : "no completion");
	return -1;
}

/* One message: @len bytes from @from, known here by @lkey, to @to, known there by
 * @rkey. Both addresses are segments' iova. */
static inline int rc_write(struct rc *rc, uint64_t from, uint32_t lkey, uint64_t to,
			   uint32_t rkey, uint32_t len)
{
	struct ibv_sge sge = { .addr = from, .length = len, .lkey = lkey };
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE,
				  .send_flags = IBV_SEND_SIGNALED,
				  .sg_list = &sge,
				  .num_sge = 1 };
	struct ibv_send_wr *bad;

	wr.wr.rdma.remote_addr = to;
	wr.wr.rdma.rkey = rkey;
	if (ibv_post_send(rc->qp, &wr, &bad)) {
		perror("ibv_post_send");
		return -1;
	}
	return rc_wait(rc);
}

static inline void rc_close(struct rc *rc)
{
	if (rc->qp)
		ibv_destroy_qp(rc->qp);
	if (rc->cq)
		ibv_destroy_cq(rc->cq);
}

#endif
