/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_uring.c - the io_uring backend against the kernel of this machine: bytes through
 * the slots, the table while it grows, rings of ours and of others, and every way to
 * say no. What the kernel of another machine or another user would answer is had from
 * seccomp filters and changed credentials, in children.
 */
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "uapi.h"

#define PAGE 4096u
#define TABLE_FIRST 256u
#define TABLE_MAX 16384u

/* ---------------------------------------------------------------- helpers */

static struct backend *open_with(const struct pinmem_options *o)
{
	struct backend *be = NULL;

	CHECK_RC(backend_uring.open(o, &be), 0);
	return be;
}

static struct backend *open_own(void)
{
	struct pinmem_options o = { .size = sizeof(o) };

	return open_with(&o);
}

static struct backend *open_on(struct io_uring *ring)
{
	struct pinmem_options o = { .size = sizeof(o), .ring = ring };

	return open_with(&o);
}

static int open_fails(struct io_uring *ring, unsigned int flags, unsigned int first,
		      unsigned int slots)
{
	struct backend *untouched = (struct backend *)&untouched, *be = untouched;
	struct pinmem_options o = { .size = sizeof(o),
				    .flags = flags,
				    .ring = ring,
				    .uring_first = first,
				    .uring_slots = slots };
	int rc = backend_uring.open(&o, &be);

	CHECK(rc < 0);
	CHECK(be == untouched);
	return rc;
}

static void close_own(struct backend *be)
{
	backend_uring.close(be, false);
}

static unsigned int slots_total(struct backend *be)
{
	unsigned int total, used;

	be->ops->slots(be, &total, &used);
	return total;
}

static unsigned int slots_used(struct backend *be)
{
	unsigned int total, used;

	be->ops->slots(be, &total, &used);
	return used;
}

static int pin(struct backend *be, struct segment *seg, void *addr, size_t len)
{
	*seg = (struct segment){ .addr = addr, .len = len, .slot = -1 };
	return be->ops->pin(be, seg, PINMEM_ACCESS_LOCAL_WRITE);
}

static int unpin(struct backend *be, struct segment *seg)
{
	return be->ops->unpin(be, seg, PINMEM_DIRTY);
}

static char *pages(size_t n)
{
	char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_FATAL(p != MAP_FAILED);
	/* each page its own: the kernel counts huge ones once, and differently */
	madvise(p, n * PAGE, MADV_NOHUGEPAGE);
	return p;
}

/* Pin n regions of one page each, all the same one. */
static struct segment *pin_many(struct backend *be, size_t n, void *page)
{
	struct segment *segs = calloc(n, sizeof(*segs));
	size_t i;

	CU_ASSERT_FATAL(segs != NULL);
	for (i = 0; i < n; i++)
		if (pin(be, &segs[i], page, PAGE))
			break;
	CHECK(i == n);
	return segs;
}

static void unpin_many(struct backend *be, struct segment *segs, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (unpin(be, &segs[i]))
			break;
	CHECK(i == n);
	free(segs);
}

/* One READ_FIXED or WRITE_FIXED at the start of a file. Return: its result. */
static int fixed_io(struct io_uring *ring, bool write, int fd, void *addr,
		    unsigned int len, int slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int res;

	if (write)
		io_uring_prep_write_fixed(sqe, fd, addr, len, 0, slot);
	else
		io_uring_prep_read_fixed(sqe, fd, addr, len, 0, slot);
	res = io_uring_submit_and_wait(ring, 1);
	if (res < 0)
		return res;
	res = io_uring_wait_cqe(ring, &cqe);
	if (res < 0)
		return res;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("uring", MFD_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	if (len)
		CHECK(pwrite(fd, bytes, len, 0) == (ssize_t)len);
	return fd;
}

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	CU_ASSERT_FATAL(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* From now on a system call (with this second argument, unless -1) gives err. */
static bool forbid(int nr, int arg1, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (__u32)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | (arg1 < 0 ? BPF_JGE : BPF_JEQ) | BPF_K,
			 arg1 < 0 ? 0 : (__u32)arg1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (__u32)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static bool forbid_growing(int err)
{
	return forbid(__NR_io_uring_register, UAPI_IORING_REGISTER_CLONE_BUFFERS, err);
}

static bool can_grow(void)
{
	struct backend *be = open_own();
	bool grows = slots_total(be) < TABLE_MAX;

	close_own(be);
	return grows;
}

static bool kernel_grows(void)
{
	bool grows = can_grow();

	if (!grows)
		suite_skip("this kernel cannot grow a buffer table (Linux 6.13 can)");
	return grows;
}

/* In a child, where CUnit does not count: say it, and return 1. */
#define EXPECT(cond)                                                            \
	do {                                                                    \
		if (!(cond)) {                                                  \
			printf("\n    %s:%d: in the child: not true: %s: %s\n", \
			       __FILE__, __LINE__, #cond, pinmem_errmsg());     \
			fflush(stdout);                                         \
			return 1;                                               \
		}                                                               \
	} while (0)

static bool said(const char *text)
{
	return strstr(pinmem_errmsg(), text) != NULL;
}

static int open_plain(struct backend **be)
{
	struct pinmem_options o = { .size = sizeof(o) };

	return backend_uring.open(&o, be);
}

/* -------------------------------------------------------------------- I/O */

static void bytes_go_through_the_slots(void)
{
	struct backend *be = open_own();
	struct io_uring *ring = backend_uring_ring(be);
	char *mem = pages(4), *from = mem, *to = mem + 2 * PAGE;
	struct segment a, b;
	int fd = file_of(NULL, 0);

	for (size_t i = 0; i < 2 * PAGE; i++)
		from[i] = (char)(i * 31 + i / 256);
	CHECK_RC(pin(be, &a, from, 2 * PAGE), 0);
	CHECK_RC(pin(be, &b, to, 2 * PAGE), 0);
	CHECK(a.slot >= 0 && b.slot >= 0 && a.slot != b.slot);
	CHECK_RC(fixed_io(ring, true, fd, from, 2 * PAGE, a.slot), 2 * PAGE);
	CHECK_RC(fixed_io(ring, false, fd, to, 2 * PAGE, b.slot), 2 * PAGE);
	CHECK(!memcmp(from, to, 2 * PAGE));
	/* a slot is the registration of its own region and of no other */
	CHECK_RC(fixed_io(ring, false, fd, to, PAGE, a.slot), -EFAULT);
	CHECK_RC(unpin(be, &a), 0);
	CHECK_RC(fixed_io(ring, true, fd, from, PAGE, 0), -EFAULT);
	CHECK_RC(unpin(be, &b), 0);
	close(fd);
	close_own(be);
	munmap(mem, 4 * PAGE);
}

static void odd_addresses_and_lengths_are_exact(void)
{
	struct backend *be = open_own();
	struct io_uring *ring = backend_uring_ring(be);
	char *mem = pages(3), *at = mem + 4091;
	struct segment s;
	int fd = file_of("abcdefghijk", 11);

	CHECK_RC(pin(be, &s, at, 11), 0); /* over a page boundary */
	CHECK_RC(fixed_io(ring, false, fd, at, 11, s.slot), 11);
	CHECK(!memcmp(at, "abcdefghijk", 11));
	CHECK_RC(fixed_io(ring, false, fd, at - 1, 2, s.slot), -EFAULT);
	CHECK_RC(fixed_io(ring, false, fd, at + 1, 11, s.slot), -EFAULT);
	CHECK_RC(unpin(be, &s), 0);
	close(fd);
	close_own(be);
	munmap(mem, 3 * PAGE);
}

static void pinned_pages_outlive_their_mapping(void)
{
	struct backend *be = open_own();
	char *mem = pages(1), back[PAGE];
	struct segment s;
	int fd = file_of(NULL, 0);

	memset(mem, 'P', PAGE);
	CHECK_RC(pin(be, &s, mem, PAGE), 0);
	munmap(mem, PAGE);
	CHECK_RC(fixed_io(backend_uring_ring(be), true, fd, mem, PAGE, s.slot), PAGE);
	CHECK(pread(fd, back, PAGE, 0) == PAGE);
	CHECK(back[0] == 'P' && back[PAGE - 1] == 'P');
	CHECK_RC(unpin(be, &s), 0);
	close(fd);
	close_own(be);
}

static void read_from_pipe(struct io_uring *ring, int fd, struct segment *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read_fixed(sqe, fd, s->addr, (unsigned int)s->len, 0, s->slot);
	CHECK_RC(io_uring_submit(ring), 1);
}

static void request_in_flight_keeps_its_pages(void)
{
	struct backend *be = open_own();
	struct io_uring *ring = backend_uring_ring(be);
	char *mem = pages(2);
	struct segment s, other;
	struct io_uring_cqe *cqe;
	int fds[2];

	CU_ASSERT_FATAL(!pipe(fds));
	CHECK_RC(pin(be, &s, mem, PAGE), 0);
	read_from_pipe(ring, fds[0], &s);
	CHECK_RC(unpin(be, &s), 0);
	CHECK_RC(pin(be, &other, mem + PAGE, PAGE), 0);
	CHECK(other.slot == 0); /* the slot that the request was started with */
	CHECK(write(fds[1], "in time", 7) == 7);
	CHECK_RC(io_uring_wait_cqe(ring, &cqe), 0);
	CHECK(cqe->res == 7);
	io_uring_cqe_seen(ring, cqe);
	CHECK(!memcmp(mem, "in time", 7));
	CHECK(!mem[PAGE]);
	CHECK_RC(unpin(be, &other), 0);
	close(fds[0]);
	close(fds[1]);
	close_own(be);
	munmap(mem, 2 * PAGE);
}

/* ------------------------------------------------------------------ slots */

static void slot_given_back_last_is_taken_first(void)
{
	struct backend *be = open_own();
	char *mem = pages(1);
	struct segment *s = pin_many(be, 3, mem);
	int middle = s[1].slot;

	CHECK(slots_used(be) == 3);
	CHECK_RC(unpin(be, &s[1]), 0);
	CHECK(s[1].slot == -1);
	CHECK(slots_used(be) == 2);
	CHECK_RC(pin(be, &s[1], mem, PAGE), 0);
	CHECK(s[1].slot == middle);
	unpin_many(be, s, 3);
	CHECK(slots_used(be) == 0);
	close_own(be);
	munmap(mem, PAGE);
}

static void release_of_what_has_no_slot_is_refused(void)
{
	struct backend *be = open_own();
	struct segment s = { .addr = be, .len = 1, .slot = -1 };

	CHECK_RC(unpin(be, &s), -EINVAL);
	CHECK_MSG("not in a buffer slot");
	close_own(be);
}

/* Each of n one-page regions reads the file's byte of its own number. */
static void check_each_slot(struct backend *be, struct segment *segs, size_t n)
{
	struct io_uring *ring = backend_uring_ring(be);
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++) {
		char want = (char)(i % 251 + 1);
		int fd = file_of(&want, 1);

		if (fixed_io(ring, false, fd, segs[i].addr, 1, segs[i].slot) != 1 ||
		    *(char *)segs[i].addr != want)
			wrong++;
		close(fd);
	}
	CHECK(wrong == 0);
}

static void table_doubles_in_place_and_live_slots_stay(void)
{
	enum { N = 3 * TABLE_FIRST };
	struct backend *be;
	struct segment *segs = calloc(N, sizeof(*segs));
	char *mem;
	int failed = 0;

	if (!kernel_grows()) {
		free(segs);
		return;
	}
	be = open_own();
	mem = pages(N);
	CHECK(slots_total(be) == TABLE_FIRST);
	for (size_t i = 0; i < TABLE_FIRST - 1; i++)
		failed += !!pin(be, &segs[i], mem + i * PAGE, PAGE);
	CHECK(slots_total(be) == TABLE_FIRST);
	check_each_slot(be, segs, TABLE_FIRST - 1);
	for (size_t i = TABLE_FIRST - 1; i < N; i++)
		failed += !!pin(be, &segs[i], mem + i * PAGE, PAGE);
	CHECK(!failed);
	CHECK(slots_total(be) == 4 * TABLE_FIRST);
	CHECK(slots_used(be) == N);
	memset(mem, 0, N * PAGE);
	check_each_slot(be, segs, N);
	unpin_many(be, segs, N);
	close_own(be);
	munmap(mem, N * PAGE);
}

static void request_in_flight_lives_through_growth(void)
{
	struct backend *be = open_own();
	struct io_uring *ring = backend_uring_ring(be);
	char *mem = pages(2);
	struct segment first, *more;
	struct io_uring_cqe *cqe;
	int fds[2];

	CU_ASSERT_FATAL(!pipe(fds));
	CHECK_RC(pin(be, &first, mem, PAGE), 0);
	read_from_pipe(ring, fds[0], &first);
	more = pin_many(be, 2 * TABLE_FIRST, mem + PAGE);
	CHECK(write(fds[1], "grown", 5) == 5);
	CHECK_RC(io_uring_wait_cqe(ring, &cqe), 0);
	CHECK(cqe->res == 5);
	io_uring_cqe_seen(ring, cqe);
	CHECK(!memcmp(mem, "grown", 5));
	unpin_many(be, more, 2 * TABLE_FIRST);
	CHECK_RC(unpin(be, &first), 0);
	close(fds[0]);
	close(fds[1]);
	close_own(be);
	munmap(mem, 2 * PAGE);
}

static void all_slots_are_given_out_and_no_more(void)
{
	struct backend *be = open_own();
	char *mem = pages(1);
	struct segment *segs = pin_many(be, TABLE_MAX, mem), more;
	int last = segs[TABLE_MAX - 1].slot;

	CHECK(slots_total(be) == TABLE_MAX);
	CHECK(slots_used(be) == TABLE_MAX);
	CHECK_RC(pin(be, &more, mem, PAGE), -ENOSPC);
	CHECK_MSG("all 16384 buffer slots of the ring are taken");
	CHECK(more.slot == -1);
	CHECK_RC(unpin(be, &segs[TABLE_MAX - 1]), 0);
	CHECK_RC(pin(be, &segs[TABLE_MAX - 1], mem, PAGE), 0);
	CHECK(segs[TABLE_MAX - 1].slot == last);
	unpin_many(be, segs, TABLE_MAX);
	CHECK(slots_used(be) == 0);
	close_own(be);
	munmap(mem, PAGE);
}

/* ---------------------------------------------------------------- threads */

#define HELD_MAX 300
#define ROUNDS 4000

struct churn {
	struct backend *be;
	unsigned char *owned; /* by slot number; atomic */
	char *mem;
	unsigned int seed;
	int errors;
};

static void churn_release(struct churn *c, struct segment *seg)
{
	c->errors += !__atomic_exchange_n(&c->owned[seg->slot], 0, __ATOMIC_RELAXED);
	c->errors += !!unpin(c->be, seg);
}

static void *churn(void *arg)
{
	struct churn *c = arg;
	struct segment held[HELD_MAX];
	size_t n = 0;

	for (int i = 0; i < ROUNDS; i++) {
		/* fill up first, so that the table grows; then come and go */
		bool take = n < HELD_MAX && (i < HELD_MAX || rand_r(&c->seed) % 2);

		if (!take && n) {
			size_t at = (size_t)rand_r(&c->seed) % n;

			churn_release(c, &held[at]);
			held[at] = held[--n];
		} else if (take && !pin(c->be, &held[n], c->mem, PAGE)) {
			/* nobody else has this slot */
			c->errors += __atomic_exchange_n(&c->owned[held[n].slot], 1,
							 __ATOMIC_RELAXED);
			n++;
		} else {
			c->errors++;
		}
	}
	while (n)
		churn_release(c, &held[--n]);
	return NULL;
}

static int echo(struct io_uring *ring, int fd, struct segment *s, int round)
{
	char *mem = s->addr;

	memset(mem, round, PAGE);
	if (fixed_io(ring, true, fd, mem, PAGE, s->slot) != PAGE)
		return 1;
	memset(mem, 0, PAGE);
	if (fixed_io(ring, false, fd, mem, PAGE, s->slot) != PAGE)
		return 1;
	return mem[0] != (char)round || mem[PAGE - 1] != (char)round;
}

static void threads_pin_while_the_table_grows_under_io(void)
{
	enum { LIVE = 4 };
	struct backend *be = open_own();
	struct io_uring *ring = backend_uring_ring(be);
	char *mem = pages(LIVE + 2);
	unsigned char *owned = calloc(TABLE_MAX, 1);
	struct segment live[LIVE];
	struct churn c[2];
	pthread_t t[2];
	int fd = file_of(NULL, 0), wrong = 0;

	for (size_t i = 0; i < LIVE; i++)
		CHECK_RC(pin(be, &live[i], mem + i * PAGE, PAGE), 0);
	for (unsigned int i = 0; i < 2; i++) {
		c[i] = (struct churn){ be, owned, mem + (LIVE + i) * PAGE, i + 1, 0 };
		CU_ASSERT_FATAL(!pthread_create(&t[i], NULL, churn, &c[i]));
	}
	for (int i = 0; i < 2000; i++)
		wrong += echo(ring, fd, &live[i % LIVE], i % 127);
	for (unsigned int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		CHECK(c[i].errors == 0);
	}
	CHECK(wrong == 0);
	CHECK(slots_used(be) == LIVE);
	CHECK(slots_total(be) > TABLE_FIRST);
	for (size_t i = 0; i < LIVE; i++) {
		CHECK(!echo(ring, fd, &live[i], 99));
		CHECK_RC(unpin(be, &live[i]), 0);
	}
	close(fd);
	free(owned);
	close_own(be);
	munmap(mem, (LIVE + 2) * PAGE);
}

/* ----------------------------------------------- kernels that do not grow */

static int full_table_child(void *arg)
{
	struct backend *be;
	char *mem = pages(1);
	struct segment s;

	(void)arg;
	EXPECT(forbid_growing(EINVAL)); /* what kernels before 6.12 say */
	EXPECT(!open_plain(&be));
	EXPECT(slots_total(be) == TABLE_MAX);
	EXPECT(!pin(be, &s, mem, PAGE));
	EXPECT(!echo(backend_uring_ring(be), file_of(NULL, 0), &s, 'f'));
	EXPECT(!unpin(be, &s));
	close_own(be);
	return 0;
}

static void kernel_that_cannot_grow_gets_the_full_table(void)
{
	CHECK_RC(in_child(full_table_child, NULL), 0);
}

static int sandboxed_child(void *arg)
{
	struct backend *be;
	char *mem = pages(1);
	struct segment *segs, more;

	(void)arg;
	EXPECT(!open_plain(&be));
	EXPECT(forbid_growing(EPERM));
	segs = pin_many(be, TABLE_FIRST, mem); /* the last one, too */
	EXPECT(pin(be, &more, mem, PAGE) == -ENOSPC);
	EXPECT(said("all 256 buffer slots") && said("does not let the table grow"));
	EXPECT(said(strerror(EPERM)));
	EXPECT(!unpin(be, &segs[7]));
	EXPECT(!pin(be, &segs[7], mem, PAGE));
	unpin_many(be, segs, TABLE_FIRST);
	EXPECT(slots_used(be) == 0);
	close_own(be);
	return 0;
}

static void growth_forbidden_after_open_leaves_what_there_is(void)
{
	if (kernel_grows())
		CHECK_RC(in_child(sandboxed_child, NULL), 0);
}

static int starved_child(void *arg)
{
	const unsigned int fits = TABLE_FIRST - 1;
	int err = *(int *)arg;
	struct backend *be;
	char *mem = pages(1);
	struct segment *segs, more;

	EXPECT(!open_plain(&be));
	EXPECT(forbid_growing(err));
	segs = pin_many(be, fits, mem);
	EXPECT(pin(be, &more, mem, PAGE) == -err);
	EXPECT(said(err == ENOMEM ? "buffer table of 512 slots" : "SINGLE_ISSUER"));
	EXPECT(slots_used(be) == fits);
	EXPECT(pin(be, &more, mem, PAGE) == -err);
	EXPECT(!unpin(be, &segs[0]));
	EXPECT(!pin(be, &segs[0], mem, PAGE));
	unpin_many(be, segs, fits);
	close_own(be);
	return 0;
}

static void growth_that_fails_loses_no_slot(void)
{
	int errs[] = { ENOMEM, EEXIST };

	if (!kernel_grows())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(errs); i++)
		CHECK_RC(in_child(starved_child, &errs[i]), 0);
}

/* --------------------------------------------------------- a ring of ours */

static void entries_are_as_asked_for(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	struct backend *be = open_with(&o);

	CHECK(*backend_uring_ring(be)->sq.kring_entries == 64);
	close_own(be);
	o.uring_entries = 200;
	be = open_with(&o);
	CHECK(*backend_uring_ring(be)->sq.kring_entries == 256);
	close_own(be);
	o.uring_entries = 32769;
	CHECK_RC(backend_uring.open(&o, &be), -EINVAL);
	CHECK_MSG("uring_entries is 32769");
}

static void what_it_can_is_told(void)
{
	struct backend *be = open_own();
	const struct backend_caps *c = &be->caps;

	CHECK(be->ops == &backend_uring && be->ops->id == PINMEM_BACKEND_URING);
	CHECK(c->pins && c->always_writes && !c->odp && !c->iova);
	CHECK(c->max_segment == 1ul << 30);
	CHECK(c->unpin == UNPIN_NEVER_DIRTIES);
	CHECK(c->counter == PINMEM_COUNT_USER && c->charges_compound);
	CHECK(c->access == PINMEM_ACCESS_LOCAL_WRITE);
	CHECK(c->node == -1 && !c->device[0]);
	CHECK(c->limit_bypassed == memlock_bypass());
	CHECK(!be->ops->pin_odp && !be->ops->prefetch);
	close_own(be);
}

/* 2 MiB of a file, mapped again and again until it is a segment of full length */
static void longest_segment_is_taken_by_the_kernel(void)
{
	struct backend *be = open_own();
	size_t len = be->caps.max_segment, piece = 2u << 20;
	int fd = file_of(NULL, 0);
	struct segment s;
	char *mem;

	CU_ASSERT_FATAL(!ftruncate(fd, (off_t)piece));
	mem = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	CU_ASSERT_FATAL(mem != MAP_FAILED);
	for (size_t at = 0; at < len; at += piece)
		CU_ASSERT_FATAL(mmap(mem + at, piece, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	CHECK_RC(pin(be, &s, mem, len), 0);
	CHECK_RC(unpin(be, &s), 0);
	munmap(mem, len);
	close(fd);
	close_own(be);
}

static int refused_setup_child(void *arg)
{
	int err = *(int *)arg;
	struct backend *be;

	EXPECT(forbid(__NR_io_uring_setup, -1, err));
	EXPECT(open_plain(&be) == -EOPNOTSUPP);
	EXPECT(said(err == EPERM ? "seccomp" : "CONFIG_IO_URING"));
	return 0;
}

static void kernel_without_io_uring_is_not_supported(void)
{
	int errs[] = { EPERM, ENOSYS };

	for (size_t i = 0; i < ARRAY_SIZE(errs); i++)
		CHECK_RC(in_child(refused_setup_child, &errs[i]), 0);
}

static void each_errno_of_a_ring_has_its_sentence(void)
{
	static const struct {
		int err, want;
		const char *says;
	} cases[] = {
		{ EPERM, -EOPNOTSUPP, "sysctl kernel.io_uring_disabled does not" },
		{ ENOSYS, -EOPNOTSUPP, "CONFIG_IO_URING" },
		{ ENOMEM, -ENOMEM, "64 entries, or no room in RLIMIT_MEMLOCK" },
		{ EMFILE, -EMFILE, "RLIMIT_NOFILE is" },
		{ ENFILE, -ENFILE, "io_uring_setup(2) failed: Too many open files" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fault_only("io_uring_queue_init", cases[i].err);
		fault_arm(1);
		CHECK_RC(open_fails(NULL, 0, 0, 0), cases[i].want);
		fault_disarm();
		CHECK_MSG(cases[i].says);
	}
}

/* The sysctl is the whole machine's: a file with other contents is mounted over it, for
 * this child alone, and a filter refuses as the kernel then does. */
static int switched_off_child(void *arg)
{
	const char *value = arg;
	char name[] = "/tmp/uring-sysctl-XXXXXX";
	struct backend *be;
	int fd = mkstemp(name);
	bool mounted;

	EXPECT(fd >= 0);
	EXPECT(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	mounted =
		!unshare(CLONE_NEWNS) &&
		!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		!mount(name, "/proc/sys/kernel/io_uring_disabled", NULL, MS_BIND, NULL);
	unlink(name);
	if (!mounted)
		return 77;
	EXPECT(forbid(__NR_io_uring_setup, -1, EPERM));
	EXPECT(open_plain(&be) == -EOPNOTSUPP);
	if (*value == '?') {
		EXPECT(said("seccomp"));
		return 0;
	}
	EXPECT(said("kernel.io_uring_disabled is") && said(value));
	EXPECT(said("CAP_SYS_ADMIN") == (*value == '1'));
	return 0;
}

static void sysctl_that_switches_io_uring_off_is_named(void)
{
	char values[][2] = { "1", "2", "?" };

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		int rc = in_child(switched_off_child, values[i]);

		if (rc == 77) {
			suite_skip("mounting over a sysctl needs root and Linux 6.6");
			return;
		}
		CHECK_RC(rc, 0);
	}
}

static int no_descriptors_child(void *arg)
{
	struct rlimit lim;
	struct backend *be;
	int next = dup(0);

	(void)arg;
	EXPECT(next >= 0);
	close(next);
	lim.rlim_cur = lim.rlim_max = (rlim_t)next;
	EXPECT(!setrlimit(RLIMIT_NOFILE, &lim));
	EXPECT(open_plain(&be) == -EMFILE);
	EXPECT(said("RLIMIT_NOFILE"));
	return 0;
}

static void no_descriptor_left_is_told(void)
{
	CHECK_RC(in_child(no_descriptors_child, NULL), 0);
}

/* ------------------------------------------------------- a ring of others */

static void make_ring(struct io_uring *ring, unsigned int flags)
{
	CU_ASSERT_FATAL(!io_uring_queue_init(8, ring, flags));
}

static void callers_ring_is_used_and_given_back(void)
{
	struct io_uring ring;
	struct backend *be;
	char *mem = pages(2);
	struct segment s, *more;
	int fd = file_of(NULL, 0);

	make_ring(&ring, 0);
	be = open_on(&ring);
	CHECK(backend_uring_ring(be) == &ring);
	CHECK_RC(pin(be, &s, mem, PAGE), 0);
	more = pin_many(be, 2 * TABLE_FIRST, mem + PAGE);
	CHECK(!echo(&ring, fd, &s, 'c'));
	unpin_many(be, more, 2 * TABLE_FIRST);
	CHECK_RC(unpin(be, &s), 0);
	close_own(be);
	/* the ring works on, and has no table any more */
	CHECK_RC(fixed_io(&ring, true, fd, mem, 1, 0), -EFAULT);
	CHECK_RC(io_uring_register_buffers_sparse(&ring, 1), 0);
	io_uring_queue_exit(&ring);
	close(fd);
	munmap(mem, 2 * PAGE);
}

/* A table of the caller's with one buffer, in slot 3. */
static void make_table(struct io_uring *ring, unsigned int slots, struct iovec *iov)
{
	CHECK_RC(io_uring_register_buffers_sparse(ring, slots), 0);
	CHECK_RC(io_uring_register_buffers_update_tag(ring, 3, iov, NULL, 1), 1);
}

static void callers_table_is_not_taken_over(void)
{
	char *mem = pages(1);
	struct iovec iov = { mem, PAGE };
	struct segment theirs = { .addr = mem, .len = PAGE, .slot = 3 };
	struct io_uring ring;
	int fd = file_of(NULL, 0);

	make_ring(&ring, 0);
	make_table(&ring, 8, &iov);
	CHECK_RC(open_fails(&ring, 0, 0, 0), -EBUSY);
	CHECK_MSG("PINMEM_OPEN_URING_SLOTS");
	CHECK(!echo(&ring, fd, &theirs, 't'));
	io_uring_queue_exit(&ring);
	close(fd);
	munmap(mem, PAGE);
}

static void only_lent_slots_are_used(void)
{
	char *mem = pages(2);
	struct iovec iov = { mem, PAGE };
	struct segment theirs = { .addr = mem, .len = PAGE, .slot = 3 }, *s, more;
	struct pinmem_options o = { .size = sizeof(o),
				    .flags = PINMEM_OPEN_URING_SLOTS,
				    .uring_first = 10,
				    .uring_slots = 5 };
	struct io_uring ring;
	struct backend *be;
	int fd = file_of(NULL, 0);

	make_ring(&ring, 0);
	make_table(&ring, 15, &iov);
	o.ring = &ring;
	be = open_with(&o);
	CHECK(slots_total(be) == 5);
	s = pin_many(be, 5, mem + PAGE);
	for (int i = 0; i < 5; i++)
		CHECK(s[i].slot >= 10 && s[i].slot < 15);
	CHECK_RC(pin(be, &more, mem, PAGE), -ENOSPC);
	CHECK_MSG("all 5 buffer slots that the ring's owner lent");
	CHECK(!echo(&ring, fd, &s[4], 'l'));
	unpin_many(be, s, 5);
	close_own(be);
	/* their table is as it was: as long, and with its buffer */
	CHECK(!echo(&ring, fd, &theirs, 't'));
	CHECK_RC(io_uring_register_buffers_update_tag(&ring, 14, &iov, NULL, 1), 1);
	CHECK_RC(io_uring_register_buffers_update_tag(&ring, 15, &iov, NULL, 1),
		 -EINVAL);
	io_uring_queue_exit(&ring);
	close(fd);
	munmap(mem, 2 * PAGE);
}

static void whole_table_can_be_lent(void)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .flags = PINMEM_OPEN_URING_SLOTS,
				    .uring_slots = TABLE_MAX };
	struct io_uring ring;
	struct backend *be;

	make_ring(&ring, 0);
	CHECK_RC(io_uring_register_buffers_sparse(&ring, TABLE_MAX), 0);
	o.ring = &ring;
	be = open_with(&o);
	CHECK(slots_total(be) == TABLE_MAX);
	close_own(be);
	io_uring_queue_exit(&ring);
}

static void slots_that_are_not_there_cannot_be_lent(void)
{
	const unsigned int lent = PINMEM_OPEN_URING_SLOTS;
	struct io_uring ring;

	make_ring(&ring, 0);
	CHECK_RC(open_fails(&ring, lent, 0, 4), -EINVAL);
	CHECK_MSG("no buffer table");
	CHECK_RC(io_uring_register_buffers_sparse(&ring, 16), 0);
	CHECK_RC(open_fails(&ring, lent, 12, 5), -EINVAL);
	CHECK_MSG("ends before slot 16");
	CHECK_RC(open_fails(&ring, lent, 0, 0), -EINVAL);
	CHECK_RC(open_fails(&ring, lent, TABLE_MAX, 1), -EINVAL);
	CHECK_RC(open_fails(&ring, lent, TABLE_MAX + 1, 1), -EINVAL);
	CHECK_RC(open_fails(&ring, lent, 1, ~0u), -EINVAL);
	CHECK_RC(open_fails(&ring, lent, ~0u, 2), -EINVAL);
	CHECK_MSG("not in a buffer table");
	CHECK_RC(open_fails(NULL, lent, 0, 4), -EINVAL);
	CHECK_MSG("needs a ring");
	CHECK_RC(open_fails(&ring, 0, 0, 4), -EINVAL);
	CHECK_RC(open_fails(&ring, 0, 4, 0), -EINVAL);
	CHECK_MSG("without PINMEM_OPEN_URING_SLOTS");
	io_uring_queue_exit(&ring);
}

static void what_is_not_a_ring_is_refused(void)
{
	struct io_uring ring = { .ring_fd = -1, .enter_ring_fd = -1 };
	int fd = file_of(NULL, 0);

	CHECK_RC(open_fails(&ring, 0, 0, 0), -EINVAL);
	CHECK_MSG("not an open io_uring");
	ring.ring_fd = ring.enter_ring_fd = fd;
	CHECK_RC(open_fails(&ring, 0, 0, 0), -EINVAL);
	CHECK_RC(open_fails(&ring, PINMEM_OPEN_URING_SLOTS, 0, 1), -EINVAL);
	CHECK_MSG("not an open io_uring");
	close(fd);
}

static void table_taken_away_is_an_error_and_not_a_crash(void)
{
	char *mem = pages(1);
	struct io_uring ring;
	struct backend *be;
	struct segment a, b;

	make_ring(&ring, 0);
	be = open_on(&ring);
	CHECK_RC(pin(be, &a, mem, PAGE), 0);
	CHECK_RC(io_uring_unregister_buffers(&ring), 0);
	CHECK_RC(pin(be, &b, mem, PAGE), -ENXIO);
	CHECK_MSG("taken away");
	CHECK_RC(unpin(be, &a), -ENXIO);
	CHECK_MSG("releasing buffer slot 0");
	CHECK(slots_used(be) == 1);
	close_own(be);
	io_uring_queue_exit(&ring);
	munmap(mem, PAGE);
}

struct stranger {
	struct io_uring *ring;
	struct backend *be;
	struct segment *pinned;
	void *page;
};

static void *from_other_thread(void *arg)
{
	struct stranger *s = arg;
	struct segment seg;

	CHECK_RC(open_fails(s->ring, PINMEM_OPEN_URING_SLOTS, 0, 1), -EEXIST);
	CHECK_MSG("SINGLE_ISSUER");
	CHECK_RC(pin(s->be, &seg, s->page, PAGE), -EEXIST);
	CHECK_MSG("IORING_SETUP_SINGLE_ISSUER: only the thread that made it");
	CHECK(slots_used(s->be) == 1);
	CHECK_RC(unpin(s->be, s->pinned), -EEXIST);
	CHECK_MSG("SINGLE_ISSUER");
	CHECK(slots_used(s->be) == 1);
	return NULL;
}

static void single_issuers_ring_takes_only_its_thread(void)
{
	char *mem = pages(1);
	struct io_uring ring;
	struct segment seg;
	struct stranger s = { .ring = &ring, .pinned = &seg, .page = mem };
	pthread_t t;

	make_ring(&ring, IORING_SETUP_SINGLE_ISSUER);
	s.be = open_on(&ring);
	CHECK_RC(pin(s.be, &seg, mem, PAGE), 0);
	CU_ASSERT_FATAL(!pthread_create(&t, NULL, from_other_thread, &s));
	pthread_join(t, NULL);
	CHECK_RC(unpin(s.be, &seg), 0);
	unpin_many(s.be, pin_many(s.be, 2 * TABLE_FIRST, mem), 2 * TABLE_FIRST);
	close_own(s.be);
	io_uring_queue_exit(&ring);
	munmap(mem, PAGE);
}

/* ------------------------------------------------------- memory that fails */

static void memory_that_cannot_be_pinned_is_told(void)
{
	struct backend *be = open_own();
	char *mem = pages(4);
	struct segment s;

	munmap(mem + PAGE, PAGE);
	mprotect(mem + 2 * PAGE, PAGE, PROT_READ);
	CHECK_RC(pin(be, &s, mem + PAGE, PAGE), -EFAULT);
	CHECK_MSG("not mapped, not writable");
	CHECK_RC(pin(be, &s, mem, 2 * PAGE), -EFAULT); /* the hole is behind */
	CHECK_RC(pin(be, &s, mem + 2 * PAGE, PAGE), -EFAULT);
	CHECK_RC(pin(be, &s, (void *)(UINTPTR_MAX - PAGE + 1), PAGE), -EFAULT);
	CHECK(s.slot == -1 && slots_used(be) == 0);
	CHECK_RC(pin(be, &s, mem, PAGE), 0);
	CHECK_RC(unpin(be, &s), 0);
	close_own(be);
	munmap(mem, 4 * PAGE);
}

static void each_errno_of_a_pin_has_its_sentence(void)
{
	static const struct {
		int err;
		const char *says;
	} cases[] = {
		{ EOPNOTSUPP, "DAX file system" }, { ENOMEM, "RLIMIT_MEMLOCK" },
		{ EEXIST, "SINGLE_ISSUER" },	   { EBADF, "taken away" },
		{ EINVAL, "taken away" },	   { EIO, "failed: " },
	};
	struct backend *be = open_own();
	char *mem = pages(1);
	struct segment s;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fault_only("io_uring_register_buffers_update_tag", cases[i].err);
		fault_arm(1);
		CHECK_RC(pin(be, &s, mem, PAGE), -cases[i].err);
		fault_disarm();
		CHECK_MSG(cases[i].says);
		CHECK(slots_used(be) == 0 && s.slot == -1);
	}
	close_own(be);
	munmap(mem, PAGE);
}

static void each_errno_of_a_table_has_its_sentence(void)
{
	static const struct {
		int err, want;
		const char *says;
	} cases[] = {
		{ EINVAL, -EOPNOTSUPP, "Linux 5.19" },
		{ EEXIST, -EEXIST, "SINGLE_ISSUER" },
		{ ENOMEM, -ENOMEM, "buffer table failed" },
	};
	int before = descriptors();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fault_only("io_uring_register_buffers_sparse", cases[i].err);
		fault_arm(1);
		CHECK_RC(open_fails(NULL, 0, 0, 0), cases[i].want);
		fault_disarm();
		CHECK_MSG(cases[i].says);
	}
	CHECK(descriptors() == before);
}

static void interrupted_calls_are_repeated(void)
{
	struct backend *be = open_own();
	char *mem = pages(1);
	struct segment s;

	fault_only("io_uring_register_buffers_update_tag", EINTR);
	fault_arm(1);
	CHECK_RC(pin(be, &s, mem, PAGE), 0);
	CHECK(fault_fired());
	fault_arm(1);
	CHECK_RC(unpin(be, &s), 0);
	CHECK(fault_fired());
	fault_disarm();
	CHECK(slots_used(be) == 0);
	close_own(be);
	munmap(mem, PAGE);
}

static void failed_release_leaves_the_pin(void)
{
	struct backend *be = open_own();
	char *mem = pages(1);
	struct segment s;
	int fd = file_of(NULL, 0);

	CHECK_RC(pin(be, &s, mem, PAGE), 0);
	fault_only("io_uring_register_buffers_update_tag", ENOMEM);
	fault_arm(1);
	CHECK_RC(unpin(be, &s), -ENOMEM);
	fault_disarm();
	CHECK_MSG("releasing buffer slot 0 failed");
	CHECK(slots_used(be) == 1);
	CHECK(!echo(backend_uring_ring(be), fd, &s, 'r'));
	CHECK_RC(unpin(be, &s), 0);
	close(fd);
	close_own(be);
	munmap(mem, PAGE);
}

static void no_step_that_fails_leaves_anything(void)
{
	char *mem = pages(1);
	int before = descriptors(), failed = 0;

	FAULT_WALK (n) {
		struct backend *be = NULL;
		struct segment s;

		if (open_plain(&be)) {
			CHECK(fault_fired() && !be);
			failed++;
			continue;
		}
		if (pin(be, &s, mem, PAGE)) {
			CHECK(fault_fired());
			failed++;
		} else if (unpin(be, &s)) {
			CHECK(fault_fired());
			failed++;
			CHECK_RC(unpin(be, &s), 0);
		}
		CHECK(slots_used(be) == 0);
		close_own(be);
	}
	CHECK(failed >= 5); /* memory, ring, table, pin, unpin */
	CHECK(descriptors() == before);
	munmap(mem, PAGE);
}

/* ---------------------------------------------------------------- users */

/* A user that nobody else is: io_uring counts what all processes of a user pin. */
static int become_user(rlim_t memlock)
{
	struct rlimit lim = { memlock, memlock };
	uid_t id = 100000 + (uid_t)getpid();

	return setrlimit(RLIMIT_MEMLOCK, &lim) || setgroups(0, NULL) ||
	       setresgid(id, id, id) || setresuid(id, id, id);
}

static bool can_change_user(void)
{
	if (!geteuid() && memlock_bypass())
		return true;
	suite_skip("needs root with CAP_IPC_LOCK");
	return false;
}

static int small_limit_child(void *arg)
{
	struct backend *be;
	char *mem = pages(1024);
	struct segment s;

	(void)arg;
	EXPECT(!become_user(64 << 10));
	EXPECT(!open_plain(&be));
	EXPECT(!be->caps.limit_bypassed);
	EXPECT(!pin(be, &s, mem, PAGE));
	EXPECT(!unpin(be, &s));
	EXPECT(pin(be, &s, mem, 1024 * PAGE) == -ENOMEM);
	EXPECT(said("RLIMIT_MEMLOCK (64 KiB (65536 B))"));
	EXPECT(slots_used(be) == 0);
	close_own(be);
	return 0;
}

static void limit_of_an_ordinary_user_is_told(void)
{
	if (can_change_user())
		CHECK_RC(in_child(small_limit_child, NULL), 0);
}

static int no_limit_child(void *arg)
{
	struct backend *be;
	struct segment s;

	(void)arg;
	EXPECT(!become_user(0));
	if (open_plain(&be)) { /* since 6.14 the ring itself is charged */
		EXPECT(said("RLIMIT_MEMLOCK (0 B)"));
		return 0;
	}
	EXPECT(pin(be, &s, pages(1), PAGE) == -ENOMEM);
	EXPECT(said("RLIMIT_MEMLOCK (0 B)"));
	close_own(be);
	return 0;
}

static void limit_of_nothing_is_told(void)
{
	if (can_change_user())
		CHECK_RC(in_child(no_limit_child, NULL), 0);
}

/* A daemon: the ring is made as root, used after setuid, with a limit of nothing. */
static int dropped_child(void *arg)
{
	struct backend *be;
	char *mem = pages(1);
	struct segment *segs;

	(void)arg;
	EXPECT(!open_plain(&be));
	EXPECT(be->caps.limit_bypassed);
	EXPECT(!become_user(0));
	segs = pin_many(be, 2 * TABLE_FIRST, mem);
	EXPECT(slots_used(be) == 2 * TABLE_FIRST);
	unpin_many(be, segs, 2 * TABLE_FIRST);
	EXPECT(slots_used(be) == 0);
	close_own(be);
	return 0;
}

static void ring_made_as_root_is_exempt_for_ever(void)
{
	if (can_change_user())
		CHECK_RC(in_child(dropped_child, NULL), 0);
}

/* arg: the kernel can tell (it clones buffers) */
static int callers_credentials_child(void *arg)
{
	const unsigned int lent = PINMEM_OPEN_URING_SLOTS;
	struct pinmem_options o = { .size = sizeof(o), .uring_slots = 4 };
	struct io_uring before, after;
	int known = *(int *)arg;
	char *mem = pages(256);
	struct backend *be;
	struct segment s;

	EXPECT(!io_uring_queue_init(8, &before, 0));
	EXPECT(!become_user(256 << 10));
	EXPECT(!io_uring_queue_init(8, &after, 0));
	be = open_on(&before);
	EXPECT(be->caps.limit_bypassed);
	EXPECT(!pin(be, &s, mem, 256 * PAGE));
	EXPECT(!unpin(be, &s));
	close_own(be);
	be = open_on(&after);
	EXPECT(be->caps.limit_bypassed == !known);
	EXPECT(pin(be, &s, mem, 256 * PAGE) == -ENOMEM);
	close_own(be);
	EXPECT(!io_uring_register_buffers_sparse(&after, 4));
	o.ring = &after;
	o.flags = lent;
	EXPECT(!backend_uring.open(&o, &be));
	EXPECT(be->caps.limit_bypassed == !known);
	close_own(be);
	return 0;
}

static void callers_ring_is_charged_as_it_was_made(void)
{
	int known = can_grow();

	if (can_change_user())
		CHECK_RC(in_child(callers_credentials_child, &known), 0);
}

/* ------------------------------------------------------------------- fork */

struct family {
	struct backend *be;
	struct segment *s;
	int *callers_fd;
};

static int child_closes(void *arg)
{
	struct family *f = arg;
	bool own = backend_uring_ring(f->be)->ring_fd != *f->callers_fd;
	int before = descriptors();

	backend_uring.close(f->be, true);
	EXPECT(descriptors() == before - own);
	return 0;
}

static void child_that_closes_leaves_the_parents_pins(void)
{
	char *mem = pages(2);
	struct io_uring ring;
	struct segment own, lent;
	struct family f[2] = { { open_own(), &own, &ring.ring_fd },
			       { NULL, &lent, &ring.ring_fd } };
	int fd = file_of(NULL, 0);

	make_ring(&ring, 0);
	f[1].be = open_on(&ring);
	for (int i = 0; i < 2; i++) {
		CHECK_RC(pin(f[i].be, f[i].s, mem + i * PAGE, PAGE), 0);
		CHECK_RC(in_child(child_closes, &f[i]), 0);
		CHECK(!echo(backend_uring_ring(f[i].be), fd, f[i].s, 'p'));
		CHECK_RC(unpin(f[i].be, f[i].s), 0);
		CHECK_RC(pin(f[i].be, f[i].s, mem + i * PAGE, PAGE), 0);
		CHECK(!echo(backend_uring_ring(f[i].be), fd, f[i].s, 'q'));
		CHECK_RC(unpin(f[i].be, f[i].s), 0);
		close_own(f[i].be);
	}
	io_uring_queue_exit(&ring);
	close(fd);
	munmap(mem, 2 * PAGE);
}

static int child_opens(void *arg)
{
	struct family *f = arg;
	struct segment s;
	struct backend *be;
	char *mem = f->s->addr;

	backend_uring.close(f->be, true);
	EXPECT(!open_plain(&be));
	EXPECT(!pin(be, &s, mem, PAGE));
	EXPECT(!echo(backend_uring_ring(be), file_of(NULL, 0), &s, 'o'));
	EXPECT(!unpin(be, &s));
	close_own(be);
	return 0;
}

static void child_opens_a_ring_of_its_own(void)
{
	char *mem = pages(1);
	struct segment s;
	struct family f = { open_own(), &s, NULL };
	int fd = file_of(NULL, 0);

	CHECK_RC(pin(f.be, &s, mem, PAGE), 0);
	memset(mem, 'm', PAGE);
	CHECK_RC(in_child(child_opens, &f), 0);
	CHECK(mem[0] == 'm'); /* the child wrote to its copy */
	CHECK(!echo(backend_uring_ring(f.be), fd, &s, 'p'));
	CHECK_RC(unpin(f.be, &s), 0);
	close(fd);
	close_own(f.be);
	munmap(mem, PAGE);
}

static const struct test tests[] = {
#define T(name)             \
	{                   \
#name, name \
	}
	T(bytes_go_through_the_slots),
	T(odd_addresses_and_lengths_are_exact),
	T(pinned_pages_outlive_their_mapping),
	T(request_in_flight_keeps_its_pages),
	T(slot_given_back_last_is_taken_first),
	T(release_of_what_has_no_slot_is_refused),
	T(table_doubles_in_place_and_live_slots_stay),
	T(request_in_flight_lives_through_growth),
	T(all_slots_are_given_out_and_no_more),
	T(threads_pin_while_the_table_grows_under_io),
	T(kernel_that_cannot_grow_gets_the_full_table),
	T(growth_forbidden_after_open_leaves_what_there_is),
	T(growth_that_fails_loses_no_slot),
	T(entries_are_as_asked_for),
	T(what_it_can_is_told),
	T(longest_segment_is_taken_by_the_kernel),
	T(kernel_without_io_uring_is_not_supported),
	T(each_errno_of_a_ring_has_its_sentence),
	T(sysctl_that_switches_io_uring_off_is_named),
	T(no_descriptor_left_is_told),
	T(callers_ring_is_used_and_given_back),
	T(callers_table_is_not_taken_over),
	T(only_lent_slots_are_used),
	T(whole_table_can_be_lent),
	T(slots_that_are_not_there_cannot_be_lent),
	T(what_is_not_a_ring_is_refused),
	T(table_taken_away_is_an_error_and_not_a_crash),
	T(single_issuers_ring_takes_only_its_thread),
	T(memory_that_cannot_be_pinned_is_told),
	T(each_errno_of_a_pin_has_its_sentence),
	T(each_errno_of_a_table_has_its_sentence),
	T(interrupted_calls_are_repeated),
	T(failed_release_leaves_the_pin),
	T(no_step_that_fails_leaves_anything),
	T(limit_of_an_ordinary_user_is_told),
	T(limit_of_nothing_is_told),
	T(ring_made_as_root_is_exempt_for_ever),
	T(callers_ring_is_charged_as_it_was_made),
	T(child_that_closes_leaves_the_parents_pins),
	T(child_opens_a_ring_of_its_own),
#undef T
};

/* What there is not cannot be tested: a container may forbid io_uring. */
int main(int argc, char **argv)
{
	struct backend *be;
	int rc = open_plain(&be);

	if (rc == -EOPNOTSUPP) {
		printf("suite uring skipped: %s\n", pinmem_errmsg());
		return 77;
	}
	if (!rc)
		close_own(be);
	return suite_main("uring", tests, ARRAY_SIZE(tests), argc, argv);
}
