/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * preload_check.c - what libibverbs answers to registrations of all kinds, right and
 * wrong. It knows nothing of libpinmem. preload-clients runs it without and with
 * libpinmem-verbs.so, and compares what it prints.
 *
 * usage: preload_check DEVICE GID-INDEX PEER GID-INDEX NAME=DIR…
 *        preload_check --exit DEVICE     ends with registrations alive, some of them
 *                                        deregistered, and two threads at it
 *
 * Files are made in each DIR and called by its NAME. Every line is "what: answer"; a
 * registration that succeeds is written to and read from by a peer on the other device,
 * byte by byte. Exit: 0 if it could print all lines, whatever they say; 1 if the data
 * were wrong or the machine does not do.
 */
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define LEN (64 * PAGE)
#define RIGHTS \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)
#define THREADS 8
#define ROUNDS 50

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** struct end - one end of a reliable connection. */
struct end {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	union ibv_gid gid;
	int gid_index;
};

static struct end here, peer;
static unsigned char *scratch; /* the peer's, registered there */
static struct ibv_mr *scratch_mr;

static void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "FAIL preload_check: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (errno %d)\n", errno);
	exit(1);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout); /* a forked child must not print it again */
}

/* --------------------------------------------------------------- the connection */

static struct ibv_context *open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			ctx = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	if (!ctx)
		die("cannot open %s", name);
	return ctx;
}

static void open_end(struct end *e, const char *device, const char *gid_index)
{
	e->ctx = open_device(device);
	e->gid_index = atoi(gid_index);
	e->pd = ibv_alloc_pd(e->ctx);
	e->cq = ibv_create_cq(e->ctx, 16, NULL, NULL, 0);
	if (!e->pd || !e->cq || ibv_query_gid(e->ctx, 1, e->gid_index, &e->gid))
		die("%s gives no domain, queue or address", device);
}

static void make_qp(struct end *e)
{
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC,
					 .send_cq = e->cq,
					 .recv_cq = e->cq,
					 .cap = { 4, 4, 1, 1, 0 } };

	if (e->qp)
		ibv_destroy_qp(e->qp);
	e->qp = ibv_create_qp(e->pd, &init);
	if (!e->qp)
		die("no queue pair");
}

static void connect_to(struct end *e, const struct end *other)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT,
				 .port_num = 1,
				 .qp_access_flags = RIGHTS };

	if (ibv_modify_qp(e->qp, &a,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				  IBV_QP_ACCESS_FLAGS))
		die("INIT");
	a = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_4096,
		.dest_qp_num = other->qp->qp_num,
		.rq_psn = 1,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = { .is_global = 1,
			     .port_num = 1,
			     .grh = { .dgid = other->gid,
				      .sgid_index = (uint8_t)e->gid_index,
				      .hop_limit = 4 } },
	};
	if (ibv_modify_qp(e->qp, &a,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				  IBV_QP_MIN_RNR_TIMER))
		die("RTR");
	a = (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTS,
				  .timeout = 17,
				  .retry_cnt = 7,
				  .rnr_retry = 7,
				  .sq_psn = 1,
				  .max_rd_atomic = 1 };
	if (ibv_modify_qp(e->qp, &a,
			  IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				  IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				  IBV_QP_MAX_QP_RD_ATOMIC))
		die("RTS");
}

static void reconnect(void)
{
	make_qp(&here);
	make_qp(&peer);
	connect_to(&here, &peer);
	connect_to(&peer, &here);
}

/* The peer reads or writes; its end of it is the scratch. Return: status */
static enum ibv_wc_status remote(enum ibv_wr_opcode opcode, uint64_t at, uint32_t len,
				 uint32_t rkey)
{
	struct ibv_sge sge = { (uintptr_t)scratch, len, scratch_mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = opcode,
				  .send_flags = IBV_SEND_SIGNALED,
				  .wr.rdma = { at, rkey } },
			   *bad;
	struct ibv_wc wc;
	int n;

	if (ibv_post_send(peer.qp, &wr, &bad))
		die("post");
	for (int i = 0; !(n = ibv_poll_cq(peer.cq, 1, &wc)); i++) {
		if (i > 300000)
			die("no completion");
		usleep(100);
	}
	if (n < 0)
		die("poll");
	if (wc.status)
		reconnect();
	return wc.status;
}

static unsigned char byte_of(size_t i, unsigned int seed)
{
	return (unsigned char)((i * 2654435761u + seed * 40503u) >> 7);
}

static void fill(unsigned char *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = byte_of(i, seed);
}

static void compare(const char *what, const unsigned char *p, size_t len,
		    unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != byte_of(i, seed))
			die("%s: byte %zu of %zu is wrong", what, i, len);
}

/* ------------------------------------------------------------- one registration */

/* Its bytes, through the device, in both directions; @iova: what the peer is told */
static void move_bytes(const char *what, struct ibv_mr *mr, unsigned int access,
		       uint64_t iova)
{
	static unsigned int seed;
	unsigned char *p = mr->addr;
	size_t len = mr->length;
	enum ibv_wc_status st;

	if (access & IBV_ACCESS_REMOTE_WRITE) {
		fill(scratch, len, ++seed);
		st = remote(IBV_WR_RDMA_WRITE, iova, (uint32_t)len, mr->rkey);
		say("%s, write: %s", what, ibv_wc_status_str(st));
		if (!st)
			compare(what, p, len, seed);
	}
	if (access & IBV_ACCESS_REMOTE_READ) {
		memset(scratch, 0, len);
		st = remote(IBV_WR_RDMA_READ, iova, (uint32_t)len, mr->rkey);
		say("%s, read: %s", what, ibv_wc_status_str(st));
		if (!st && memcmp(scratch, p, len))
			die("%s: other bytes were read", what);
	}
}

static void check_fields(const char *what, const struct ibv_mr *mr, void *addr,
			 size_t len)
{
	if (mr->addr != addr || mr->length != len || mr->pd != here.pd ||
	    mr->context != here.ctx)
		die("%s: struct ibv_mr has not what was asked for", what);
}

static void show(const char *what, const struct ibv_mr *mr)
{
	say("%s: %s", what, mr ? "registered" : strerrorname_np(errno));
}

static void dereg(const char *what, struct ibv_mr *mr)
{
	int rc = ibv_dereg_mr(mr);

	if (rc)
		say("%s, dereg: %s", what, strerrorname_np(rc));
}

/* Twice: the second time it may have been kept. */
static void try_memory(const char *what, void *addr, size_t len, unsigned int access)
{
	for (int i = 0; i < 2; i++) {
		struct ibv_mr *mr;

		errno = 0;
		mr = ibv_reg_mr(here.pd, addr, len, access);
		show(what, mr);
		if (!mr)
			continue;
		check_fields(what, mr, addr, len);
		move_bytes(what, mr, access, (uintptr_t)addr);
		dereg(what, mr);
	}
}

static void *map(void *at, size_t len, int prot, int flags, int fd)
{
	void *p = mmap(at, len, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void *anon(size_t len)
{
	return map(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* --------------------------------------------------------------------- memory */

static void try_protections(void)
{
	unsigned char *p = anon(LEN);

	memset(p, 1, LEN);
	try_memory("anonymous", p, LEN, RIGHTS);
	try_memory("anonymous, 5000 bytes from 100", p + 100, 5000, RIGHTS);
	try_memory("anonymous, one byte", p + PAGE - 1, 1, RIGHTS);
	try_memory("anonymous, to be read", p, LEN, IBV_ACCESS_REMOTE_READ);
	try_memory("anonymous, relaxed", p, LEN, RIGHTS | IBV_ACCESS_RELAXED_ORDERING);
	try_memory("anonymous, local only", p, LEN, 0);
	mprotect(p, LEN, PROT_READ);
	try_memory("read-only, to be written", p, LEN, RIGHTS);
	try_memory("read-only, to be read", p, LEN, IBV_ACCESS_REMOTE_READ);
	mprotect(p + PAGE, PAGE, PROT_NONE);
	try_memory("no access inside", p, LEN, IBV_ACCESS_REMOTE_READ);
	munmap(p + PAGE, PAGE);
	try_memory("hole inside", p, LEN, IBV_ACCESS_REMOTE_READ);
	munmap(p, LEN);
	try_memory("unmapped", p, LEN, RIGHTS);
	try_memory("untouched", anon(LEN), LEN, RIGHTS);
}

static void try_secret(void)
{
#ifdef SYS_memfd_secret
	int fd = (int)syscall(SYS_memfd_secret, 0);
	void *p;

	if (fd < 0 || ftruncate(fd, LEN)) {
		say("secret: not here");
		return;
	}
	p = map(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	try_memory("secret", p, LEN, RIGHTS);
	munmap(p, LEN);
	close(fd);
#endif
}

/* NAME=DIR: a file in it, mapped shared, read-only, private */
static void try_files(const char *arg)
{
	const char *path = strchr(arg, '=') + 1;
	int n = (int)(path - arg - 1), fd;
	char file[300], what[100];
	unsigned char *p;

	snprintf(file, sizeof(file), "%s/preload_check", path);
	fd = open(file, O_CREAT | O_TRUNC | O_RDWR, 0600);
	if (fd < 0 || ftruncate(fd, LEN))
		die("%s", file);
	p = map(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	memset(p, 2, LEN);
	snprintf(what, sizeof(what), "%.*s shared", n, arg);
	try_memory(what, p, LEN, RIGHTS);
	munmap(p, LEN);
	p = map(NULL, LEN, PROT_READ, MAP_SHARED, fd);
	snprintf(what, sizeof(what), "%.*s shared, read-only", n, arg);
	try_memory(what, p, LEN, IBV_ACCESS_REMOTE_READ);
	munmap(p, LEN);
	p = map(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	snprintf(what, sizeof(what), "%.*s private", n, arg);
	memset(p, 3, LEN);
	try_memory(what, p, LEN, RIGHTS);
	munmap(p, LEN);
	close(fd);
	unlink(file);
}

/* ------------------------------------------------------------------- arguments */

static void try_reg(const char *what, void *addr, size_t len, unsigned int access)
{
	struct ibv_mr *mr;

	errno = 0;
	mr = ibv_reg_mr(here.pd, addr, len, access);
	show(what, mr);
	if (mr)
		dereg(what, mr);
}

static void try_iova(const char *what, void *addr, size_t len, uint64_t iova,
		     unsigned int access)
{
	struct ibv_mr *mr;

	errno = 0;
	mr = ibv_reg_mr_iova2(here.pd, addr, len, iova, access);
	show(what, mr);
	if (!mr)
		return;
	check_fields(what, mr, addr, len);
	move_bytes(what, mr, access, iova);
	dereg(what, mr);
}

/* Constants: the header's macros take the calls without "2" only then. */
static void try_calls(unsigned char *p)
{
	const unsigned int rights = RIGHTS;
	struct ibv_mr *mr = ibv_reg_mr(here.pd, p, LEN, RIGHTS);

	show("ibv_reg_mr, constant access", mr);
	dereg("ibv_reg_mr, constant access", mr);
	mr = ibv_reg_mr_iova(here.pd, p, LEN, 0x7000000, RIGHTS);
	show("ibv_reg_mr_iova, constant access", mr);
	move_bytes("ibv_reg_mr_iova, constant access", mr, rights, 0x7000000);
	dereg("ibv_reg_mr_iova, constant access", mr);
	try_iova("iova is the address", p, LEN, (uintptr_t)p, rights);
	try_iova("iova is another one", p, LEN, 0x123456000, rights);
	try_iova("iova is another one, not of a page's start", p + 8, 800, 0x123456008,
		 rights);
	try_iova("iova has another offset in the page", p, LEN, 0x123456008, rights);
}

static void try_arguments(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr;

	memset(p, 4, LEN);
	try_calls(p);
	try_reg("length 0", p, 0, RIGHTS);
	try_reg("length 0, not of a page's start", p + 8, 0, RIGHTS);
	try_reg("address NULL", NULL, PAGE, RIGHTS);
	try_reg("address NULL, length 0", NULL, 0, RIGHTS);
	try_reg("past the end of the address space", p, SIZE_MAX - PAGE, RIGHTS);
	try_reg("kernel addresses", (void *)0xffff800000000000ul, PAGE, RIGHTS);
	try_reg("remote write without local write", p, LEN, IBV_ACCESS_REMOTE_WRITE);
	try_reg("remote atomic without local write", p, LEN, IBV_ACCESS_REMOTE_ATOMIC);
	try_reg("remote atomic", p, LEN, RIGHTS | IBV_ACCESS_REMOTE_ATOMIC);
	try_reg("memory windows", p, LEN, RIGHTS | IBV_ACCESS_MW_BIND);
	try_reg("zero based", p, LEN, RIGHTS | IBV_ACCESS_ZERO_BASED);
	try_reg("unknown access 1 << 12", p, LEN, RIGHTS | 1u << 12);
	try_reg("unknown access 1 << 19", p, LEN, RIGHTS | 1u << 19);
	try_reg("unknown access 1 << 31", p, LEN, RIGHTS | 1u << 31);
	try_reg("optional access 1 << 29", p, LEN, RIGHTS | 1u << 29);
	try_reg("ODP", p, LEN, RIGHTS | IBV_ACCESS_ON_DEMAND);
	try_reg("ODP, huge", p, LEN,
		RIGHTS | IBV_ACCESS_ON_DEMAND | IBV_ACCESS_HUGETLB);
	try_reg("ODP of all", NULL, SIZE_MAX, RIGHTS | IBV_ACCESS_ON_DEMAND);
	munmap(p, LEN);
	try_reg("ODP of nothing", p, LEN, RIGHTS | IBV_ACCESS_ON_DEMAND);
	errno = 0;
	mr = ibv_reg_dmabuf_mr(here.pd, 0, LEN, 0, -1, RIGHTS);
	show("dmabuf, no descriptor", mr);
}

/* A peer reaches what was registered, and not the byte behind it, though it lies in the
 * same page; also of what was kept. */
static void try_bounds(void)
{
	unsigned char *p = anon(LEN);
	enum ibv_wc_status st;
	struct ibv_mr *mr;

	for (int i = 0; i < 2; i++) {
		mr = ibv_reg_mr(here.pd, p + 64, 1000, RIGHTS);
		if (!mr)
			die("bounds");
		st = remote(IBV_WR_RDMA_READ, (uintptr_t)p + 64, 1000, mr->rkey);
		say("bounds, all of it: %s", ibv_wc_status_str(st));
		st = remote(IBV_WR_RDMA_READ, (uintptr_t)p + 65, 1000, mr->rkey);
		say("bounds, a byte behind it: %s", ibv_wc_status_str(st));
		st = remote(IBV_WR_RDMA_READ, (uintptr_t)p + 63, 1000, mr->rkey);
		say("bounds, a byte before it: %s", ibv_wc_status_str(st));
		dereg("bounds", mr);
	}
	munmap(p, LEN);
}

/* ------------------------------------------------------- what changes under it */

/* Registered, given back, and then other memory lies there: the peer must reach that.
 */
static void try_changes(void)
{
	const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	unsigned char *p = anon(LEN), *q;

	try_memory("first", p, LEN, RIGHTS);
	map(p, LEN, PROT_READ | PROT_WRITE, fixed, -1);
	try_memory("mapped anew", p, LEN, RIGHTS);
	munmap(p, LEN);
	if (map(p, LEN, PROT_READ | PROT_WRITE, fixed, -1) != p)
		die("MAP_FIXED");
	try_memory("unmapped and mapped", p, LEN, RIGHTS);
	q = anon(LEN);
	fill(q, LEN, 77);
	if (mremap(q, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, p) != p)
		die("mremap");
	compare("mremap", p, LEN, 77);
	try_memory("something else moved there", p, LEN, RIGHTS);
	madvise(p, LEN, MADV_DONTNEED);
	try_memory("discarded", p, LEN, RIGHTS);
	munmap(p + LEN / 2, LEN / 2);
	try_memory("half unmapped", p, LEN, RIGHTS);
	munmap(p, LEN);
	try_memory("unmapped", p, LEN, RIGHTS);
}

static void try_rereg_once(const char *what, struct ibv_mr *mr, int flags,
			   struct ibv_pd *pd, void *addr, size_t len, int access)
{
	int rc;

	errno = 0;
	rc = ibv_rereg_mr(mr, flags, pd, addr, len, access);
	say("rereg, %s: %d, errno %s", what, rc, rc ? strerrorname_np(errno) : "any");
}

static void try_rereg(void)
{
	unsigned char *p = anon(LEN), *q = anon(LEN);
	struct ibv_pd *pd = ibv_alloc_pd(here.ctx);
	struct ibv_mr *mr = ibv_reg_mr(here.pd, p, LEN, RIGHTS);

	if (!mr || !pd)
		die("rereg");
	try_rereg_once("nonsense", mr, 1 << 10, NULL, NULL, 0, 0);
	try_rereg_once("access", mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
		       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
	say("rereg, write: %s",
	    ibv_wc_status_str(remote(IBV_WR_RDMA_WRITE, (uintptr_t)p, LEN, mr->rkey)));
	dereg("rereg", mr);
	try_memory("after rereg", p, LEN, RIGHTS); /* with all its rights again */
	mr = ibv_reg_mr(here.pd, p, LEN, RIGHTS);
	try_rereg_once("translation", mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, q, LEN,
		       0);
	dereg("rereg", mr);
	mr = ibv_reg_mr(here.pd, p, LEN, RIGHTS);
	try_rereg_once("domain", mr, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0, 0);
	dereg("rereg", mr);
	say("rereg, dealloc_pd: %d", ibv_dealloc_pd(pd));
	munmap(p, LEN);
	munmap(q, LEN);
}

/* ------------------------------------------------------------- ends of domains */

static void try_ends(const char *device)
{
	struct ibv_context *ctx = open_device(device);
	struct ibv_pd *pd = ibv_alloc_pd(ctx);
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr, *left;

	mr = ibv_reg_mr(pd, p, LEN, RIGHTS);
	dereg("ends", mr);
	mr = ibv_reg_mr(pd, p, LEN, RIGHTS);
	left = ibv_reg_mr(pd, p, LEN, RIGHTS);
	say("ends, two of one range: %s",
	    mr && left && mr != left && mr->lkey != left->lkey ? "different" : "one");
	say("ends, dealloc_pd with two: %s", strerrorname_np(ibv_dealloc_pd(pd)));
	dereg("ends", left);
	say("ends, dealloc_pd with one: %s", strerrorname_np(ibv_dealloc_pd(pd)));
	dereg("ends", mr);
	say("ends, dealloc_pd with none: %d", ibv_dealloc_pd(pd));
	pd = ibv_alloc_pd(ctx); /* often at the same address */
	mr = ibv_reg_mr(pd, p, LEN, RIGHTS);
	show("ends, another domain", mr);
	if (!mr || mr->pd != pd)
		die("not in the new domain");
	dereg("ends", mr);
	mr = ibv_reg_mr(pd, p, LEN, RIGHTS);
	left = ibv_reg_mr(pd, p + PAGE, PAGE, RIGHTS);
	show("ends, left", left);
	dereg("ends", mr);
	say("ends, close_device with one: %d", ibv_close_device(ctx));
	try_memory("ends, after it", p, LEN, RIGHTS);
	munmap(p, LEN);
}

/* -------------------------------------------------------------------- children */

static int child_of(int (*fn)(void *), void *arg)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(fn(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("fork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* On what it has inherited, and on a device of its own */
static int child_registers(void *device)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = ibv_reg_mr(here.pd, p, LEN, RIGHTS);
	struct ibv_context *ctx;
	struct ibv_pd *pd;

	show("child, in its parent's domain", mr);
	if (mr)
		dereg("child", mr);
	ctx = open_device(device);
	pd = ibv_alloc_pd(ctx);
	for (int i = 0; i < 2; i++) {
		mr = ibv_reg_mr(pd, p, LEN, RIGHTS);
		show("child, on a device of its own", mr);
		dereg("child", mr);
	}
	say("child, dealloc_pd: %d", ibv_dealloc_pd(pd));
	say("child, close_device: %d", ibv_close_device(ctx));
	return 0;
}

static int child_deregisters(void *mr)
{
	say("child, deregisters its parent's: %d", ibv_dereg_mr(mr));
	return 0;
}

/* Ends by exit(3), with all that was inherited */
static int child_exits(void *arg)
{
	(void)arg;
	exit(7);
}

static void try_fork(const char *device)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = ibv_reg_mr(here.pd, p, LEN, RIGHTS);

	if (!mr)
		die("fork");
	say("fork: %d", child_of(child_registers, (void *)device));
	move_bytes("fork, the parent's", mr, RIGHTS, (uintptr_t)p);
	say("fork: %d", child_of(child_exits, NULL));
	move_bytes("fork, the parent's after exit", mr, RIGHTS, (uintptr_t)p);
	dereg("fork", mr);
	try_memory("fork, again", p, LEN, RIGHTS);
	mr = ibv_reg_mr(here.pd, p, LEN, IBV_ACCESS_REMOTE_READ);
	say("fork: %d", child_of(child_deregisters, mr));
	/* the child has taken it away from both */
	say("fork, what the child has deregistered: %s",
	    strerrorname_np(ibv_dereg_mr(mr)));
	munmap(p, LEN);
}

/* --------------------------------------------------------------------- threads */

struct worker {
	pthread_t thread;
	unsigned char *p;
	unsigned int failed;
};

/* Eight ranges that overlap, the same for all threads */
static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned char *at = w->p + (i % 8) * PAGE / 2 + i % 3;
		size_t len = PAGE + i % 8;
		struct ibv_mr *mr[2];

		for (int j = 0; j < 2; j++) {
			mr[j] = ibv_reg_mr(here.pd, at, len, RIGHTS);
			w->failed += !mr[j] || mr[j]->addr != at ||
				     mr[j]->length != len || mr[j]->pd != here.pd;
		}
		w->failed += mr[0] == mr[1] || mr[0]->lkey == mr[1]->lkey;
		w->failed += ibv_dereg_mr(mr[0]) || ibv_dereg_mr(mr[1]);
	}
	return NULL;
}

static void try_threads(void)
{
	struct worker w[THREADS];
	unsigned char *p = anon(LEN);
	unsigned int failed = 0;

	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .p = p };
		if (pthread_create(&w[i].thread, NULL, work, &w[i]))
			die("no thread");
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		failed += w[i].failed;
	}
	say("threads, failed: %u", failed);
	try_memory("threads, after them", p, PAGE, RIGHTS);
	munmap(p, LEN);
}

/* ------------------------------------------------------------------------ main */

static void *never_ends(void *arg)
{
	unsigned char *p = arg;

	for (unsigned int i = 0;; i++) {
		struct ibv_mr *mr =
			ibv_reg_mr(here.pd, p + i % 16 * PAGE, PAGE, RIGHTS);

		if (mr)
			ibv_dereg_mr(mr);
	}
	return NULL;
}

static int end_untidily(const char *device)
{
	unsigned char *p = anon(LEN);
	pthread_t threads[2];
	struct ibv_mr *mr;

	here.ctx = open_device(device);
	here.pd = ibv_alloc_pd(here.ctx);
	for (unsigned int i = 0; i < 20; i++) {
		mr = ibv_reg_mr(here.pd, p, (i + 1) * PAGE, RIGHTS);
		if (!mr)
			die("reg");
		if (i % 2)
			ibv_dereg_mr(mr);
	}
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, never_ends, p))
			die("no thread");
	usleep(200000);
	say("exit");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--exit"))
		return end_untidily(argv[2]);
	if (argc < 5)
		die("usage: preload_check DEVICE GID-INDEX PEER GID-INDEX NAME=DIR…");
	open_end(&here, argv[1], argv[2]);
	open_end(&peer, argv[3], argv[4]);
	scratch = anon(LEN);
	scratch_mr = ibv_reg_mr(peer.pd, scratch, LEN, IBV_ACCESS_LOCAL_WRITE);
	if (!scratch_mr)
		die("scratch");
	reconnect();
	try_protections();
	try_secret();
	for (int i = 5; i < argc; i++)
		try_files(argv[i]);
	try_arguments();
	try_bounds();
	try_changes();
	try_rereg();
	try_ends(argv[1]);
	try_fork(argv[1]);
	try_threads();
	return 0;
}
