/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.h - the room that the machines' RDMA tests share: this process has one end of
 * a reliable connection, on rxe0, and a peer process has the other, on rxe1, with a
 * scratch buffer of its own. The peer does what it is asked for over a socket:
 *
 *	struct link l;
 *	link_start(&l, 1 << 20);	// forks; before anything of pinmem is opened
 *	link_target(mr, &r.target);	// what the peer must know of a region
 *	r.verb = LINK_WRITE;		// peer's scratch → this region
 *	link_ask(&l, &r, NULL);		// or link_tell(), something else, link_hear()
 *	link_stop(&l);
 *
 * What the test rests on ends the process with a sentence (link_die) when it fails.
 * What may be under test returns a status: 0; positive: an ibv_wc_status; negative:
 * an errno (-ETIMEDOUT: no completion in time); link_status() names it. After a
 * completion with an error both ends are dead until link_reconnect().
 */
#ifndef PINMEM_TESTS_VM_LINK_H
#define PINMEM_TESTS_VM_LINK_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <pinmem.h>

#define LINK_ACCESS                                               \
	(PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE | \
	 PINMEM_ACCESS_REMOTE_READ | PINMEM_ACCESS_REMOTE_ATOMIC)
#define LINK_SEGMENTS 4		   /* of a target, at most */
#define LINK_MESSAGE (256ul << 10) /* bytes of one work request, at most */
#define LINK_PAGE 4096ul

/* What the other side must know of a region: copied over the socket. */
struct link_target {
	unsigned int segments;
	struct {
		uint64_t offset, len, iova;
		uint32_t rkey;
	} seg[LINK_SEGMENTS];
};

struct link_address {
	union ibv_gid gid;
	uint32_t qpn, psn;
};

/* One end. */
struct link_end {
	struct pinmem *pm;
	const char *device;
	bool odp, odp_whole_pages; /* as in struct pinmem_info */
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_port_attr port;
	int gid_index;
	struct link_address self;
};

enum link_verb {
	LINK_WRITE = 1, /* RDMA WRITE: asker's scratch or region → target */
	LINK_READ,	/* RDMA READ: target → scratch or region */
	LINK_SEND,	/* to a receive that the other end has posted */
	LINK_RECV,	/* post a receive; it completes in LINK_WAIT */
	LINK_WAIT,	/* for one completion */
	LINK_SWAP,	/* atomic: if the word is `compare`, make it `value` */
	LINK_ADD,	/* atomic: add `value` to the word */
	/* for the peer process only: */
	LINK_FILL,  /* scratch with the pattern `seed` */
	LINK_CHECK, /* scratch against the pattern: -EBADMSG, and where */
	LINK_CONNECT,
	LINK_QUIT,
};

/*
 * What an end is to do: move @len bytes between its own region at @local and the
 * target at @remote. Transfers are cut at segments and into messages, each a work
 * request of LINK_MESSAGE bytes at most, one at a time; all of it @times times (0:
 * once). LINK_SEND and LINK_RECV are one message. Atomics leave the word's old value, 8
 * bytes, at @local.
 */
struct link_request {
	enum link_verb verb;
	struct link_target target;
	uint64_t local, remote, len;
	unsigned int times;
	uint64_t compare, value;
	uint64_t at;	   /* LINK_FILL, LINK_CHECK: position of the first byte */
	unsigned int seed; /* in the pattern */
	struct link_address address;
};

/* @done: messages that completed with success, before the first that did not;
 * @old: what an atomic found; @wrong: LINK_CHECK: offset in the scratch */
struct link_answer {
	int status;
	uint64_t done, old, wrong;
	struct link_address address;
	struct link_target scratch;
	uint64_t scratch_len;
};

/* This process's end and its peer. */
struct link {
	struct link_end end;
	struct link_target scratch; /* the peer's, for this end's own requests */
	uint64_t scratch_len;
	pid_t peer;
	int sock;
};

/* Forks the peer, opens both devices (PINMEM_RXE0 here, PINMEM_RXE1 there) and
 * connects them. Exits with 77 when the variables are not set. */
void link_start(struct link *l, uint64_t scratch_len);
void link_stop(struct link *l);
void link_reconnect(struct link *l);

/* This end does it. @mr is its region; @done may be NULL */
int link_do(struct link_end *e, struct pinmem_mr *mr, const struct link_request *r,
	    uint64_t *done);
/* Waits for one completion, without a busy loop. */
int link_wait(struct link_end *e);

/* The peer does it, with its scratch as region. tell() does not wait for it, and
 * hear() must follow. @answer may be NULL. Return: the answer's status */
void link_tell(struct link *l, const struct link_request *r);
int link_hear(struct link *l, struct link_answer *answer);
int link_ask(struct link *l, const struct link_request *r, struct link_answer *answer);

void link_target(const struct pinmem_mr *mr, struct link_target *t);
const char *link_status(int status);

/* The pattern: each byte depends on its position (@at is that of the first byte),
 * with no period of a page, and on the seed. link_check() returns the offset of the
 * first wrong byte, or -1. */
void link_fill(void *bytes, uint64_t at, uint64_t len, unsigned int seed);
int64_t link_check(const void *bytes, uint64_t at, uint64_t len, unsigned int seed);

/* A limit in seconds, multiplied for slow machines (PINMEM_VM_TIMEOUT_SCALE). */
unsigned int link_seconds(unsigned int s);

void link_die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
