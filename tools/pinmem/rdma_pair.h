/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_pair.h - two reliable queue pairs on one port of a device, connected to each
 * other, with one completion queue: what moves bytes within a machine by RDMA.
 */
#ifndef RDMA_PAIR_H
#define RDMA_PAIR_H

#include <infiniband/verbs.h>
#include <stdbool.h>

enum { RDMA_NEAR, RDMA_FAR };

/**
 * struct rdma_pair
 * @reads:  RDMA READs that one queue pair may have under way
 * @broken: a queue pair has failed: connect again
 * @why:    one sentence, when a call failed
 */
struct rdma_pair {
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[2];
	struct ibv_port_attr port;
	uint8_t port_num, reads;
	bool has_gid, broken;
	struct ibv_gid_entry gid;
	char why[512];
};

/** rdma_pair_open - on the first active port. @depth: requests under way in each.
 * Return: 0; negative with a sentence; rdma_pair_close() is right in both cases. */
int rdma_pair_open(struct rdma_pair *p, struct ibv_pd *pd, unsigned int depth);
/** rdma_pair_connect - anew, after a failure. */
int rdma_pair_connect(struct rdma_pair *p);
/** rdma_pair_break - what is posted ends with an error. */
void rdma_pair_break(struct rdma_pair *p);
void rdma_pair_close(struct rdma_pair *p);
/** rdma_pair_name - "rxe0 port 1 (GID 1, RoCE v2)". */
const char *rdma_pair_name(const struct rdma_pair *p);

#endif
