/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.c - a reliable connection between two devices, with a process at each end.
 */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60 /* for one completion, under emulation */
#define ANSWER_S 300  /* for the peer's answer to one request */

static const char *who = "this end"; /* for sentences; each process has its own */

void link_die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "FAIL %s: ", who);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

unsigned int link_seconds(unsigned int s)
{
	const char *scale = getenv("PINMEM_VM_TIMEOUT_SCALE");
	int n = scale ? atoi(scale) : 1;

	return n > 1 ? s * (unsigned int)n : s;
}

const char *link_status(int status)
{
	if (!status)
		return "success";
	return status > 0 ? ibv_wc_status_str((enum ibv_wc_status)status)
			  : strerror(-status);
}

static unsigned char pattern(uint64_t at, unsigned int seed)
{
	return (unsigned char)(((at + 1) * 0x9e3779b97f4a7c15ull +
				seed * 0x5851f42d4c957f2dull) >>
			       56);
}

void link_fill(void *bytes, uint64_t at, uint64_t len, unsigned int seed)
{
	unsigned char *p = bytes;

	for (uint64_t i = 0; i < len; i++)
		p[i] = pattern(at + i, seed);
}

int64_t link_check(const void *bytes, uint64_t at, uint64_t len, unsigned int seed)
{
	const unsigned char *p = bytes;

	for (uint64_t i = 0; i < len; i++)
		if (p[i] != pattern(at + i, seed))
			return (int64_t)i;
	return -1;
}

/* -------------------------------------------------------------------- one end */

static void open_end(struct link_end *e, const char *device, const char *gid_index)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_VERBS,
				    .device = device };
	struct pinmem_info info = { .size = sizeof(info) };
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC,
					 .cap = { .max_send_wr = 4,
						  .max_recv_wr = 4,
						  .max_send_sge = 1,
						  .max_recv_sge = 1 } };
	struct ibv_context *ctx;

	if (pinmem_open(&o, &e->pm) || pinmem_query(e->pm, &info))
		link_die("pinmem_open: %s", pinmem_errmsg());
	e->device = device;
	e->odp = info.odp;
	e->odp_whole_pages = info.odp_whole_pages;
	e->gid_index = atoi(gid_index);
	ctx = pinmem_pd(e->pm)->context;
	if (ibv_query_port(ctx, 1, &e->port) ||
	    ibv_query_gid(ctx, 1, e->gid_index, &e->self.gid))
		link_die("%s: no GID %d on port 1", device, e->gid_index);
	e->cq = ibv_create_cq(ctx, 16, NULL, NULL, 0);
	init.send_cq = init.recv_cq = e->cq;
	e->qp = e->cq ? ibv_create_qp(pinmem_pd(e->pm), &init) : NULL;
	if (!e->qp)
		link_die("%s: no queue pair: %s", device, strerror(errno));
	e->self.qpn = e->qp->qp_num;
}

static void close_end(struct link_end *e)
{
	if (ibv_destroy_qp(e->qp) || ibv_destroy_cq(e->cq))
		link_die("%s: queue pair or completion queue stays: %s", e->device,
			 strerror(errno));
	if (pinmem_close(e->pm))
		link_die("pinmem_close: %s", pinmem_errmsg());
}

/* Nothing of an earlier connection is left: neither work nor completions nor, since
 * the packet numbers are others, packets. */
static void reset(struct link_end *e)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RESET };
	struct ibv_wc wc;

	/* twice: rxe sends a NAK before it puts its own queue pair in error, which
	 * may thus overtake the first one */
	for (int i = 0; i < 2; i++)
		if (ibv_modify_qp(e->qp, &a, IBV_QP_STATE))
			link_die("%s: queue pair to RESET: %s", e->device,
				 strerror(errno));
	while (ibv_poll_cq(e->cq, 1, &wc) > 0)
		;
	e->self.psn = (e->self.psn + 0x10000) & 0xffffff;
}

static void to_init(struct link_end *e)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT,
				 .port_num = 1,
				 .qp_access_flags = IBV_ACCESS_REMOTE_WRITE |
						    IBV_ACCESS_REMOTE_READ |
						    IBV_ACCESS_REMOTE_ATOMIC };

	if (ibv_modify_qp(e->qp, &a,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				  IBV_QP_ACCESS_FLAGS))
		link_die("%s: queue pair to INIT: %s", e->device, strerror(errno));
}

static void to_receive(struct link_end *e, const struct link_address *peer)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RTR,
				 .path_mtu = e->port.active_mtu,
				 .dest_qp_num = peer->qpn,
				 .rq_psn = peer->psn,
				 .max_dest_rd_atomic = 1,
				 .min_rnr_timer = 12,
				 .ah_attr = {
					 .is_global = 1,
					 .port_num = 1,
					 .grh = { .dgid = peer->gid,
						  .sgid_index = (uint8_t)e->gid_index,
						  .hop_limit = 64 } } };

	if (ibv_modify_qp(e->qp, &a,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				  IBV_QP_MIN_RNR_TIMER))
		link_die("%s: queue pair to RTR: %s", e->device, strerror(errno));
}

/* Timeout 18 is one second: an emulated machine may need it for one packet. */
static void to_send(struct link_end *e)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_RTS,
				 .sq_psn = e->self.psn,
				 .timeout = 18,
				 .retry_cnt = 7,
				 .rnr_retry = 7,
				 .max_rd_atomic = 1 };

	if (ibv_modify_qp(e->qp, &a,
			  IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				  IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				  IBV_QP_MAX_QP_RD_ATOMIC))
		link_die("%s: queue pair to RTS: %s", e->device, strerror(errno));
}

static void connect_end(struct link_end *e, const struct link_address *peer)
{
	to_init(e);
	to_receive(e, peer);
	to_send(e);
}

/* --------------------------------------------------------------------- moving */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int link_wait(struct link_end *e)
{
	static const struct timespec nap = { .tv_nsec = 200000 };
	double end = now() + link_seconds(PATIENCE_S);
	struct ibv_wc wc;
	int n;

	while (!(n = ibv_poll_cq(e->cq, 1, &wc))) {
		if (now() > end)
			return -ETIMEDOUT;
		nanosleep(&nap, NULL);
	}
	if (n < 0)
		return -EIO;
	return (int)wc.status;
}

void link_target(const struct pinmem_mr *mr, struct link_target *t)
{
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	uint64_t at = 0;

	if (pinmem_mr_query(mr, &info))
		link_die("pinmem_mr_query: %s", pinmem_errmsg());
	if (info.segments > LINK_SEGMENTS)
		link_die("%u segments are too many for a target", info.segments);
	for (t->segments = 0; at < info.len; t->segments++, at += seg.len) {
		if (pinmem_mr_segment(mr, at, &seg))
			link_die("pinmem_mr_segment: %s", pinmem_errmsg());
		t->seg[t->segments].offset = seg.offset;
		t->seg[t->segments].len = seg.len;
		t->seg[t->segments].iova = seg.iova;
		t->seg[t->segments].rkey = seg.rkey;
	}
}

/* Sets the remote address of a byte of the target. Return: how many bytes follow in
 * its segment, 0 if it has no such byte */
static uint64_t aim(const struct link_target *t, uint64_t at, uint64_t *iova,
		    uint32_t *rkey)
{
	for (unsigned int i = 0; i < t->segments; i++) {
		uint64_t in = at - t->seg[i].offset;

		if (at < t->seg[i].offset || in >= t->seg[i].len)
			continue;
		*iova = t->seg[i].iova + in;
		*rkey = t->seg[i].rkey;
		return t->seg[i].len - in;
	}
	return 0;
}

static bool is_atomic(const struct link_request *r)
{
	return r->verb == LINK_SWAP || r->verb == LINK_ADD;
}

static uint64_t length(const struct link_request *r)
{
	return is_atomic(r) ? 8 : r->len;
}

/* Fills in what the verb needs beyond the sge; the length may become shorter. */
static int make_request(struct ibv_send_wr *wr, const struct link_request *r,
			uint64_t skip, uint64_t *len)
{
	static const enum ibv_wr_opcode opcodes[] = {
		[LINK_WRITE] = IBV_WR_RDMA_WRITE,
		[LINK_READ] = IBV_WR_RDMA_READ,
		[LINK_SEND] = IBV_WR_SEND,
		[LINK_SWAP] = IBV_WR_ATOMIC_CMP_AND_SWP,
		[LINK_ADD] = IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	uint64_t iova, rest;
	uint32_t rkey;

	wr->opcode = opcodes[r->verb];
	if (r->verb == LINK_SEND)
		return 0;
	rest = aim(&r->target, r->remote + skip, &iova, &rkey);
	if (!rest)
		return -ERANGE;
	if (*len > rest)
		*len = rest;
	if (is_atomic(r)) {
		wr->wr.atomic.remote_addr = iova;
		wr->wr.atomic.rkey = rkey;
		wr->wr.atomic.compare_add = r->verb == LINK_ADD ? r->value : r->compare;
		wr->wr.atomic.swap = r->value;
	} else {
		wr->wr.rdma.remote_addr = iova;
		wr->wr.rdma.rkey = rkey;
	}
	return 0;
}

/* Posts one message of at most *@len bytes, which is set to what it has. */
static int post(struct link_end *e, struct pinmem_mr *mr, const struct link_request *r,
		uint64_t skip, uint64_t *len)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct ibv_sge sge;
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .send_flags = IBV_SEND_SIGNALED };
	struct ibv_recv_wr recv = { .sg_list = &sge, .num_sge = 1 };
	struct ibv_send_wr *bad;
	struct ibv_recv_wr *bad_recv;
	int rc = pinmem_mr_segment(mr, r->local + skip, &seg);

	if (rc)
		return rc;
	if (*len > seg.offset + seg.len - r->local - skip)
		*len = seg.offset + seg.len - r->local - skip;
	if (r->verb != LINK_RECV)
		rc = make_request(&wr, r, skip, len);
	if (rc)
		return rc;
	if ((r->verb == LINK_SEND || r->verb == LINK_RECV) && *len != r->len)
		return -EMSGSIZE;
	sge.addr = seg.iova + (r->local + skip - seg.offset);
	sge.length = (uint32_t)*len;
	sge.lkey = seg.lkey;
	if (r->verb == LINK_RECV)
		return -ibv_post_recv(e->qp, &recv, &bad_recv);
	return -ibv_post_send(e->qp, &wr, &bad);
}

static int do_once(struct link_end *e, struct pinmem_mr *mr,
		   const struct link_request *r, uint64_t *done)
{
	uint64_t total = length(r), skip = 0, len;
	int rc;

	while (skip < total) {
		len = total - skip < LINK_MESSAGE ? total - skip : LINK_MESSAGE;
		rc = post(e, mr, r, skip, &len);
		if (!rc && r->verb != LINK_RECV)
			rc = link_wait(e);
		if (rc)
			return rc;
		skip += len;
		++*done;
	}
	return 0;
}

int link_do(struct link_end *e, struct pinmem_mr *mr, const struct link_request *r,
	    uint64_t *done)
{
	unsigned int times = r->times ? r->times : 1;
	uint64_t messages = 0;
	int rc = 0;

	if (r->verb == LINK_WAIT) {
		rc = link_wait(e);
	} else {
		for (unsigned int i = 0; i < times && !rc; i++)
			rc = do_once(e, mr, r, &messages);
	}
	if (done)
		*done = messages;
	return rc;
}

/* ----------------------------------------------------------- the other process */

/* Both are of one build, so structs go over the socket as they are. */
static void put(int sock, const void *what, size_t size)
{
	if (send(sock, what, size, MSG_NOSIGNAL) != (ssize_t)size)
		link_die("cannot send to the other process: %s", strerror(errno));
}

/* @seconds: negative: for ever. Return: false if the other one has gone */
static bool get(int sock, void *what, size_t size, int seconds)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, seconds < 0 ? -1 : seconds * 1000) == 0)
		link_die("no answer from the other process in %d s", seconds);
	n = recv(sock, what, size, 0);
	if (n != 0 && n != (ssize_t)size)
		link_die("cannot hear the other process: %s", strerror(errno));
	return n != 0;
}

struct peer {
	struct link_end end;
	struct pinmem_mr *mr;
	unsigned char *scratch;
	uint64_t len;
};

static void peer_open(struct peer *p, uint64_t len)
{
	void *scratch;

	open_end(&p->end, getenv("PINMEM_RXE1"), getenv("PINMEM_RXE1_GID_INDEX"));
	if (pinmem_alloc(p->end.pm, len, NULL, &scratch) ||
	    pinmem_reg(p->end.pm, scratch, len, LINK_ACCESS, NULL, &p->mr))
		link_die("scratch of %zu bytes: %s", (size_t)len, pinmem_errmsg());
	p->scratch = scratch;
	p->len = len;
}

static void peer_close(struct peer *p)
{
	if (pinmem_dereg(p->mr, PINMEM_DIRTY, NULL) ||
	    pinmem_free(p->end.pm, p->scratch, p->len))
		link_die("scratch: %s", pinmem_errmsg());
	close_end(&p->end);
}

static int peer_check(struct peer *p, const struct link_request *r,
		      struct link_answer *a)
{
	int64_t wrong = link_check(p->scratch + r->local, r->at, r->len, r->seed);

	a->wrong = (uint64_t)wrong;
	return wrong < 0 ? 0 : -EBADMSG;
}

static void peer_connect(struct peer *p, const struct link_request *r,
			 struct link_answer *a)
{
	reset(&p->end);
	connect_end(&p->end, &r->address);
	a->address = p->end.self;
	link_target(p->mr, &a->scratch);
	a->scratch_len = p->len;
}

static void peer_serve(struct peer *p, const struct link_request *r,
		       struct link_answer *a)
{
	if (r->local > p->len || length(r) > p->len - r->local) {
		a->status = -ERANGE;
		return;
	}
	switch (r->verb) {
	case LINK_FILL:
		link_fill(p->scratch + r->local, r->at, r->len, r->seed);
		break;
	case LINK_CHECK:
		a->status = peer_check(p, r, a);
		break;
	case LINK_CONNECT:
		peer_connect(p, r, a);
		break;
	case LINK_QUIT:
		break;
	default:
		a->status = link_do(&p->end, p->mr, r, &a->done);
		if (is_atomic(r))
			memcpy(&a->old, p->scratch + r->local, 8);
	}
}

static void __attribute__((noreturn)) peer_run(int sock, uint64_t len)
{
	struct link_request r;
	struct peer p;

	who = "peer";
	memset(&p, 0, sizeof(p));
	peer_open(&p, len);
	do {
		struct link_answer a = { .status = 0 };

		if (!get(sock, &r, sizeof(r), -1))
			exit(1);
		peer_serve(&p, &r, &a);
		put(sock, &a, sizeof(a));
	} while (r.verb != LINK_QUIT);
	peer_close(&p);
	exit(0);
}

void link_tell(struct link *l, const struct link_request *r)
{
	put(l->sock, r, sizeof(*r));
}

int link_hear(struct link *l, struct link_answer *answer)
{
	struct link_answer a;

	if (!get(l->sock, &a, sizeof(a), (int)link_seconds(ANSWER_S)))
		link_die("the peer has gone");
	if (answer)
		*answer = a;
	return a.status;
}

int link_ask(struct link *l, const struct link_request *r, struct link_answer *answer)
{
	link_tell(l, r);
	return link_hear(l, answer);
}

/* The peer's packet number is known after its reset, so this end connects last; it
 * alone sends the first request. */
void link_reconnect(struct link *l)
{
	struct link_request r = { .verb = LINK_CONNECT };
	struct link_answer a;

	reset(&l->end);
	r.address = l->end.self;
	if (link_ask(l, &r, &a))
		link_die("the peer cannot connect");
	connect_end(&l->end, &a.address);
	l->scratch = a.scratch;
	l->scratch_len = a.scratch_len;
}

void link_start(struct link *l, uint64_t scratch_len)
{
	static const char *const needed[] = { "PINMEM_RXE0", "PINMEM_RXE0_GID_INDEX",
					      "PINMEM_RXE1", "PINMEM_RXE1_GID_INDEX" };
	int sock[2];

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!getenv(needed[i])) {
			printf("%s is not set: this runs in tests/vm/run's machine\n",
			       needed[i]);
			exit(77);
		}
	setvbuf(stdout, NULL, _IOLBF, 0);
	memset(l, 0, sizeof(*l));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		link_die("socketpair: %s", strerror(errno));
	l->peer = fork();
	if (l->peer < 0)
		link_die("fork: %s", strerror(errno));
	if (!l->peer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sock[0]);
		peer_run(sock[1], scratch_len);
	}
	close(sock[1]);
	l->sock = sock[0];
	open_end(&l->end, getenv("PINMEM_RXE0"), getenv("PINMEM_RXE0_GID_INDEX"));
	link_reconnect(l);
}

void link_stop(struct link *l)
{
	struct link_request r = { .verb = LINK_QUIT };
	int status;

	link_ask(l, &r, NULL);
	if (waitpid(l->peer, &status, 0) != l->peer || status)
		link_die("the peer ended with status 0x%x", status);
	close(l->sock);
	close_end(&l->end);
}
