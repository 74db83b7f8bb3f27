/* SPDX-License-Identifier: BSD-2-Clause */
/* rdma_pair.c - queue pairs, connected without a connection manager; see rdma_pair.h.
 */
#include "rdma_pair.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "tool.h"

#define READS 8

static int trouble(struct rdma_pair *p, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int trouble(struct rdma_pair *p, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	/* some verbs calls fail without an errno */
	return err ? -abs(err) : -EIO;
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

static int find_port(struct rdma_pair *p)
{
	struct ibv_context *ctx = p->pd->context;
	struct ibv_device_attr attr;

	if (ctx->device->transport_type == IBV_TRANSPORT_IWARP)
		return trouble(p, EOPNOTSUPP,
			       "%s is an iWARP device, whose queue pairs are connected "
			       "by a connection manager only, which is not here",
			       ibv_get_device_name(ctx->device));
	if (ibv_query_device(ctx, &attr))
		return trouble(p, errno, "ibv_query_device: %s", strerror(errno));
	p->reads = (uint8_t)least(READS,
				  least(attr.max_qp_rd_atom, attr.max_qp_init_rd_atom));
	for (unsigned int n = 1; n <= attr.phys_port_cnt; n++) {
		p->port_num = (uint8_t)n;
		if (!ibv_query_port(ctx, p->port_num, &p->port) &&
		    p->port.state == IBV_PORT_ACTIVE)
			return 0;
	}
	return trouble(p, ENODEV, "no port of %s is active",
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
static int find_gid(struct rdma_pair *p)
{
	struct ibv_gid_entry e;
	int best = 0;

	for (int i = 0; i < p->port.gid_tbl_len; i++)
		if (!ibv_query_gid_ex(p->pd->context, p->port_num, (uint32_t)i, &e,
				      0) &&
		    gid_rank(&e) > best) {
			best = gid_rank(&e);
			p->gid = e;
		}
	p->has_gid = best > 0;
	if (!best && p->port.link_layer == IBV_LINK_LAYER_ETHERNET)
		return trouble(p, ENOENT,
			       "port %u of the device has no GID: give its network "
			       "interface an address",
			       p->port_num);
	return 0;
}

static int make_qp(struct rdma_pair *p, int which, unsigned int depth)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = p->cq,
		.recv_cq = p->cq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = depth,
			 .max_recv_wr = 1,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
	};

	p->qp[which] = ibv_create_qp(p->pd, &attr);
	if (!p->qp[which])
		return trouble(p, errno, "ibv_create_qp: %s", strerror(errno));
	return 0;
}

static int to_init(struct rdma_pair *p, struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT,
				    .port_num = p->port_num,
				    .qp_access_flags = IBV_ACCESS_REMOTE_WRITE |
						       IBV_ACCESS_REMOTE_READ };

	return ibv_modify_qp(qp, &attr,
			     IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				     IBV_QP_ACCESS_FLAGS);
}

static int to_receive(struct rdma_pair *p, struct ibv_qp *qp, uint32_t other)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTR,
				    .path_mtu = p->port.active_mtu,
				    .dest_qp_num = other,
				    .max_dest_rd_atomic = p->reads,
				    .min_rnr_timer = 12 };

	attr.ah_attr.port_num = p->port_num;
	attr.ah_attr.dlid = p->port.lid;
	if (p->port.link_layer == IBV_LINK_LAYER_ETHERNET) {
		attr.ah_attr.is_global = 1;
		attr.ah_attr.grh.dgid = p->gid.gid;
		attr.ah_attr.grh.sgid_index = (uint8_t)p->gid.gid_index;
		attr.ah_attr.grh.hop_limit = 64;
	}
	return ibv_modify_qp(qp, &attr,
			     IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				     IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				     IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

/* Timeout 18 is one second: an emulated machine may need it for one packet. */
static int to_send(const struct rdma_pair *p, struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS,
				    .timeout = 18,
				    .retry_cnt = 7,
				    .rnr_retry = 7,
				    .max_rd_atomic = p->reads };

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

int rdma_pair_connect(struct rdma_pair *p)
{
	int rc;

	for (int i = RDMA_NEAR; i <= RDMA_FAR; i++) {
		to_state(p->qp[i], IBV_QPS_RESET);
		rc = to_init(p, p->qp[i]);
		if (rc)
			return trouble(p, rc, "queue pair to INIT: %s", strerror(rc));
		rc = to_receive(p, p->qp[i], p->qp[!i]->qp_num);
		if (rc)
			return trouble(p, rc, "queue pair to RTR: %s", strerror(rc));
	}
	for (int i = RDMA_NEAR; i <= RDMA_FAR; i++) {
		rc = to_send(p, p->qp[i]);
		if (rc)
			return trouble(p, rc, "queue pair to RTS: %s", strerror(rc));
	}
	p->broken = false;
	return 0;
}

void rdma_pair_break(struct rdma_pair *p)
{
	p->broken = true;
	to_state(p->qp[RDMA_NEAR], IBV_QPS_ERR);
	to_state(p->qp[RDMA_FAR], IBV_QPS_ERR);
}

int rdma_pair_open(struct rdma_pair *p, struct ibv_pd *pd, unsigned int depth)
{
	int rc;

	*p = (struct rdma_pair){ .pd = pd };
	rc = find_port(p);
	if (!rc)
		rc = find_gid(p);
	if (rc)
		return rc;
	p->cq = ibv_create_cq(pd->context, 2 * (int)depth, NULL, NULL, 0);
	if (!p->cq)
		return trouble(p, errno, "ibv_create_cq: %s", strerror(errno));
	rc = make_qp(p, RDMA_NEAR, depth);
	if (!rc)
		rc = make_qp(p, RDMA_FAR, depth);
	return rc ? rc : rdma_pair_connect(p);
}

void rdma_pair_close(struct rdma_pair *p)
{
	for (int i = RDMA_NEAR; i <= RDMA_FAR; i++)
		if (p->qp[i])
			ibv_destroy_qp(p->qp[i]);
	if (p->cq)
		ibv_destroy_cq(p->cq);
	p->qp[RDMA_NEAR] = p->qp[RDMA_FAR] = NULL;
	p->cq = NULL;
}

const char *rdma_pair_name(const struct rdma_pair *p)
{
	static const char *const types[] = { "IB", "RoCE v1", "RoCE v2" };
	const char *gid = text("LID %u", p->port.lid);

	if (p->has_gid && p->gid.gid_type < ARRAY_SIZE(types))
		gid = text("GID %u, %s", p->gid.gid_index, types[p->gid.gid_type]);
	return text("%s port %u (%s)", ibv_get_device_name(p->pd->context->device),
		    p->port_num, gid);
}
