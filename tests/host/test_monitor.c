/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_monitor.c - which changes of which memory the monitor tells of, and when; which
 * it does not (a kernel that begins to would make those tests fail: good news, to be
 * written into pinmem.h); and that whatever anybody does, nobody is held for ever.
 *
 * All changes are made by raw system calls.
 */
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "maps.h"
#include "monitor.h"
#include "monitor_parts.h"
#include "uapi.h"

/* ThreadSanitizer: real-time threads that spin wait for its own locks for ever, and a
 * child of a program with threads may not start any. */
#ifdef __SANITIZE_THREAD__
#define TSAN 1
#else
#define TSAN 0
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Where the kernel puts nothing by itself: a hole that is made there is not taken by
 * somebody else, whom a MAP_FIXED would then destroy. (The sanitizers' own ranges are
 * elsewhere.) */
#define LONELY (TSAN ? 0x5000000000ul : 0x200000000000ul)

#define PAGE 4096ul
#define HUGE (2ul << 20)
#define COLLAPSE 25 /* MADV_COLLAPSE, 6.1 */
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* ------------------------------------------------------------------ a listener */

struct told {
	uintptr_t start, end;
	enum monitor_cause cause;
};

/* Remembers what it was told; the array wraps around. */
struct recorder {
	struct monitor_listener l;
	struct told log[1 << 15];
	uint64_t n;	      /* atomic */
	uint64_t reaps;	      /* atomic */
	bool want_reap;	      /* atomic */
	unsigned int slow_us; /* atomic: how long `changed` and `reap` take */
	struct monitor *m;
};

static bool is_open(const uint32_t *gate)
{
	return __atomic_load_n(gate, __ATOMIC_ACQUIRE) == MONITOR_GATE_OPEN;
}

static void pause_us(unsigned int us)
{
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l };

	nanosleep(&t, NULL);
}

static void be_slow(struct recorder *r)
{
	unsigned int us = __atomic_load_n(&r->slow_us, __ATOMIC_RELAXED);

	if (us)
		pause_us(us);
}

static bool record(struct monitor_listener *l, uintptr_t start, uintptr_t end,
		   enum monitor_cause cause)
{
	struct recorder *r = container_of(l, struct recorder, l);
	uint64_t n = __atomic_load_n(&r->n, __ATOMIC_RELAXED);

	be_slow(r);
	r->log[n % ARRAY_SIZE(r->log)] = (struct told){ start, end, cause };
	__atomic_store_n(&r->n, n + 1, __ATOMIC_RELEASE);
	return __atomic_load_n(&r->want_reap, __ATOMIC_RELAXED);
}

static void count_reap(struct monitor_listener *l)
{
	struct recorder *r = container_of(l, struct recorder, l);

	be_slow(r);
	__atomic_add_fetch(&r->reaps, 1, __ATOMIC_RELEASE);
}

static int join(struct recorder *r)
{
	enum pinmem_monitor kind = PINMEM_MONITOR_AUTO;
	int rc;

	memset(r, 0, sizeof(*r));
	r->l.changed = record;
	r->l.reap = count_reap;
	rc = monitor_open(PINMEM_MONITOR_USERFAULTFD, &r->l, &r->m, &kind);
	if (!rc && kind != PINMEM_MONITOR_USERFAULTFD)
		rc = -EPROTO;
	return rc;
}

static void leave(struct recorder *r)
{
	monitor_close(r->m, &r->l);
}

static uint64_t events(struct recorder *r)
{
	CHECK_RC(monitor_settle(r->m), 0);
	return __atomic_load_n(&r->n, __ATOMIC_ACQUIRE);
}

static int watch(struct recorder *r, const void *at, size_t len)
{
	struct watch w;

	return monitor_watch(r->m, (uintptr_t)at, (uintptr_t)at + len, &w);
}

/* Has an event since the @from-th touched, or (@all) covered the range? */
static bool told_since(struct recorder *r, uint64_t from, const void *at, size_t len,
		       bool all)
{
	uintptr_t start = (uintptr_t)at, end = start + len;
	uint64_t n = events(r);

	CHECK(n - from <= ARRAY_SIZE(r->log));
	for (; from < n; from++) {
		const struct told *t = &r->log[from % ARRAY_SIZE(r->log)];

		if (all ? t->start <= start && end <= t->end
			: t->start < end && start < t->end)
			return true;
	}
	return false;
}

static bool was_told(struct recorder *r, const void *at, size_t len)
{
	uint64_t n = events(r);

	return told_since(r, n > ARRAY_SIZE(r->log) ? n - ARRAY_SIZE(r->log) : 0, at,
			  len, true);
}

/* As a cache does it, but until it works: with other threads about, it may not. */
static int watch_surely(struct recorder *r, const void *at, size_t len)
{
	int rc = -EAGAIN;

	for (int i = 0; i < 5000 && (rc == -EAGAIN || rc == -EFAULT); i++) {
		uint64_t before = events(r);

		if (i)
			pause_us(100);
		rc = watch(r, at, len);
		if (!rc)
			rc = monitor_confirm(r->m);
		if (!rc && told_since(r, before, at, len, false))
			rc = -EAGAIN;
	}
	return rc;
}

static long raw(long nr, const void *a, size_t b, size_t c, long d, const void *e)
{
	return syscall(nr, a, b, c, d, e, 0l) == -1 ? -errno : 0;
}

static int raw_unmap(const void *at, size_t len)
{
	return (int)raw(SYS_munmap, at, len, 0, 0, NULL);
}

/* Not by a call that a test makes fail. */
static char *anon(size_t len)
{
	char *p = (char *)syscall(SYS_mmap, NULL, len, (long)RW, (long)ANON, -1l, 0l);

	CHECK(p != MAP_FAILED);
	return p;
}

/* ---------------------------------------------- which change of which memory */

enum kind { PRIVATE, SHARED, MEMFD, TMPFS, DISK_SHARED, DISK_PRIVATE, HUGETLB, KINDS };
#define ON(kind) (1u << (kind))
#define ALL (ON(KINDS) - 1)
#define FILES (ON(MEMFD) | ON(TMPFS) | ON(DISK_SHARED) | ON(DISK_PRIVATE))
#define SHARES (ON(SHARED) | ON(MEMFD) | ON(TMPFS) | ON(DISK_SHARED))
#define SMALL (ALL & ~ON(HUGETLB))

static const char *const kind_names[] = {
	"private anonymous", "shared anonymous",  "memfd", "tmpfs", "disk, shared",
	"disk, private",     "hugetlb of a memfd"
};

/* UNITS watched pages (of the kind's size) in the middle of reserved addresses */
#define UNITS 8
struct area {
	char *base, *reserve;
	size_t unit, reserved;
	int fd;
};

static int file_of(enum kind k)
{
	const char *tmp = getenv("TMPDIR");

	switch (k) {
	case MEMFD:
		return memfd_create("monitored", MFD_CLOEXEC);
	case HUGETLB:
		return memfd_create("monitored", MFD_CLOEXEC | MFD_HUGETLB);
	case TMPFS:
		return open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	case DISK_SHARED:
	case DISK_PRIVATE:
		return open(tmp ? tmp : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC,
			    0600);
	default:
		return -1;
	}
}

static bool area_map(struct area *a, enum kind k)
{
	int flags = k == PRIVATE || k == DISK_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	size_t len;

	a->unit = k == HUGETLB ? HUGE : PAGE;
	len = UNITS * a->unit;
	a->reserved = 5 * len + HUGE;
	a->reserve = mmap(NULL, a->reserved, PROT_NONE, ANON, -1, 0);
	a->base = (char *)(((uintptr_t)a->reserve + len + HUGE - 1) & ~(HUGE - 1));
	a->fd = file_of(k);
	if (k == PRIVATE || k == SHARED)
		flags |= MAP_ANONYMOUS;
	else if (a->fd < 0 || ftruncate(a->fd, (off_t)len))
		return false;
	if (mmap(a->base, len, RW, MAP_FIXED | flags, a->fd, 0) == MAP_FAILED)
		return false;
	for (size_t i = 0; i < UNITS; i++)
		a->base[i * a->unit] = 1;
	return true;
}

static void area_unmap(struct area *a)
{
	munmap(a->reserve, a->reserved);
	if (a->fd >= 0)
		close(a->fd);
}

static long do_unmap(struct area *a)
{
	return raw(SYS_munmap, a->base, UNITS * a->unit, 0, 0, NULL);
}

static long do_unmap_part(struct area *a)
{
	return raw(SYS_munmap, a->base + 2 * a->unit, 2 * a->unit, 0, 0, NULL);
}

static long do_unmap_beyond(struct area *a)
{
	return raw(SYS_munmap, a->base - 2 * a->unit, 4 * a->unit, 0, 0, NULL);
}

static long do_map_over(struct area *a)
{
	void *p = mmap(a->base + 2 * a->unit, 2 * a->unit, RW, ANON | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? -errno : 0;
}

static long advise(struct area *a, int advice)
{
	return raw(SYS_madvise, a->base + 2 * a->unit, 2 * a->unit, (size_t)advice, 0,
		   NULL);
}

#define ADVICE(name, advice)                  \
	static long do_##name(struct area *a) \
	{                                     \
		return advise(a, advice);     \
	}
ADVICE(dontneed, MADV_DONTNEED)
ADVICE(free, MADV_FREE)
ADVICE(remove, MADV_REMOVE)
ADVICE(populate, MADV_POPULATE_WRITE)
ADVICE(pageout, MADV_PAGEOUT)
ADVICE(cold, MADV_COLD)
ADVICE(willneed, MADV_WILLNEED)
ADVICE(dontfork, MADV_DONTFORK)
ADVICE(guard, UAPI_MADV_GUARD_INSTALL)
ADVICE(unguard, UAPI_MADV_GUARD_REMOVE)

static long do_dontneed_locked(struct area *a)
{
	if (mlock(a->base, UNITS * a->unit))
		return -errno;
	return advise(a, MADV_DONTNEED_LOCKED);
}

static long do_process_madvise(struct area *a)
{
	struct iovec {
		void *base;
		size_t len;
	} v = { a->base + 2 * a->unit, 2 * a->unit };
	int pid = (int)syscall(SYS_pidfd_open, getpid(), 0);
	long rc = syscall(SYS_process_madvise, pid, &v, 1l, (long)MADV_DONTNEED, 0l);

	rc = rc < 0 ? -errno : 0;
	close(pid);
	return rc;
}

static long move(struct area *a, size_t from, size_t units, size_t to_units, int flags)
{
	return raw(SYS_mremap, a->base + from * a->unit, units * a->unit,
		   to_units * a->unit, MREMAP_MAYMOVE | MREMAP_FIXED | flags,
		   a->base + 2 * UNITS * a->unit);
}

static long do_move(struct area *a)
{
	return move(a, 0, UNITS, UNITS, 0);
}

static long do_move_part(struct area *a)
{
	return move(a, 2, 2, 2, 0);
}

static long do_move_and_grow(struct area *a)
{
	return move(a, 2, 2, 4, 0);
}

static long do_move_and_shrink(struct area *a)
{
	return move(a, 2, 4, 2, 0);
}

static long do_move_pages_only(struct area *a)
{
	return move(a, 0, UNITS, UNITS, MREMAP_DONTUNMAP);
}

static long do_shrink(struct area *a)
{
	return raw(SYS_mremap, a->base, UNITS * a->unit, UNITS / 2 * a->unit, 0, NULL);
}

static long do_grow(struct area *a)
{
	munmap(a->base + UNITS * a->unit, 2 * a->unit);
	return raw(SYS_mremap, a->base, UNITS * a->unit, (UNITS + 2) * a->unit, 0,
		   NULL);
}

/* What every cache built on hooks misses: the range is neither side of the call. */
static long do_move_onto(struct area *a)
{
	char *other = anon(2 * PAGE);

	return raw(SYS_mremap, other, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   a->base + 2 * a->unit);
}

static long do_protect(struct area *a)
{
	return raw(SYS_mprotect, a->base + 2 * a->unit, 2 * a->unit, PROT_NONE, 0,
		   NULL);
}

static long do_fork(struct area *a)
{
	pid_t pid = fork();

	(void)a;
	if (!pid)
		_exit(0);
	return waitpid(pid, NULL, 0) == pid ? 0 : -errno;
}

static long do_lock(struct area *a)
{
	return mlock(a->base, UNITS * a->unit) ? -errno : 0;
}

static long do_sync(struct area *a)
{
	return msync(a->base, UNITS * a->unit, MS_SYNC) ? -errno : 0;
}

static long do_punch(struct area *a)
{
	return fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)(2 * a->unit), (off_t)(2 * a->unit))
		       ? -errno
		       : 0;
}

static long do_truncate(struct area *a)
{
	return ftruncate(a->fd, 0) ? -errno : 0;
}

static long do_shmat_over(struct area *a)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
	void *p = shmat(id, a->base + 2 * a->unit, SHM_REMAP);

	shmctl(id, IPC_RMID, NULL);
	return p == (void *)-1 ? -errno : 0;
}

static long do_remap_file_pages(struct area *a)
{
	return raw(SYS_remap_file_pages, a->base + 2 * a->unit, 2 * a->unit, 0, 0,
		   NULL);
}

/* U unmapped, R remapped, D discarded, units [from,to); in the order told. NEWER: not
 * in every kernel from 5.19 on, or file system: may fail. */
#define NEWER 1u
static const struct change {
	const char *name;
	long (*fn)(struct area *a);
	unsigned int kinds;
	const char *told;
	unsigned int flags;
} seen[] = {
	{ "munmap", do_unmap, ALL, "U[0,8)", 0 },
	{ "munmap of a part", do_unmap_part, ALL, "U[2,4)", 0 },
	{ "munmap from before", do_unmap_beyond, ALL, "U[-2,2)", 0 },
	{ "mmap MAP_FIXED", do_map_over, ALL, "U[2,4)", 0 },
	{ "MADV_DONTNEED", do_dontneed, ALL, "D[2,4)", 0 },
	{ "MADV_DONTNEED_LOCKED", do_dontneed_locked, ALL, "D[2,4)", 0 },
	{ "MADV_FREE", do_free, ON(PRIVATE), "D[2,4)", 0 },
	{ "MADV_REMOVE", do_remove, SHARES | ON(HUGETLB), "D[2,4)", NEWER },
	{ "process_madvise", do_process_madvise, ALL, "D[2,4)", NEWER },
	{ "mremap away", do_move, SMALL, "R[0,8)U[0,8)", 0 },
	{ "mremap away a part", do_move_part, SMALL, "R[2,4)U[2,4)", 0 },
	{ "mremap away and grow", do_move_and_grow, SMALL, "R[2,4)U[2,4)", NEWER },
	/* before 6.17 the event of the move reaches over what is cut off, too */
	{ "mremap away and shrink", do_move_and_shrink, SMALL,
	  "R[2,4)U[4,6)U[2,4)|R[2,6)U[4,6)U[2,4)", NEWER },
	{ "mremap DONTUNMAP", do_move_pages_only, SMALL, "R[0,8)", NEWER },
	{ "mremap to shrink", do_shrink, SMALL, "U[4,8)", 0 },
	{ "mremap of something onto it", do_move_onto, SMALL, "U[2,4)", 0 },
}, unneeded[] = {
	/* not told, and rightly: pinned pages stay what they are */
	{ "mremap to grow", do_grow, SMALL, "", 0 },
	{ "mprotect", do_protect, ALL, "", 0 },
	{ "fork", do_fork, ALL, "", 0 },
	{ "mlock", do_lock, ALL, "", 0 },
	{ "msync", do_sync, ALL, "", 0 },
	{ "MADV_POPULATE_WRITE", do_populate, ALL, "", 0 },
	{ "MADV_PAGEOUT", do_pageout, SMALL, "", 0 },
	{ "MADV_COLD", do_cold, SMALL, "", 0 },
	{ "MADV_WILLNEED", do_willneed, ALL, "", 0 },
	{ "MADV_DONTFORK", do_dontfork, ALL, "", 0 },
}, limits[] = {
	/* not told, and that is a pity; pinmem.h: "What no monitor sees" */
	{ "fallocate PUNCH_HOLE", do_punch, FILES | ON(HUGETLB), "", 0 },
	{ "ftruncate", do_truncate, FILES | ON(HUGETLB), "", 0 },
	{ "shmat SHM_REMAP", do_shmat_over, SMALL, "", 0 },
	{ "remap_file_pages", do_remap_file_pages, SHARES, "", 0 },
	{ "MADV_GUARD_INSTALL", do_guard, SMALL, "", NEWER },
	{ "MADV_GUARD_REMOVE", do_unguard, SMALL, "", NEWER },
};

static void spell(struct recorder *r, uint64_t from, const struct area *a,
		  char text[256])
{
	uint64_t n = events(r);
	size_t used = 0;

	text[0] = '\0';
	for (uint64_t i = from; i < n && used < 200; i++) {
		const struct told *t = &r->log[i % ARRAY_SIZE(r->log)];

		used += (size_t)snprintf(
			text + used, 256 - used, "%c[%ld,%ld)", "URD"[t->cause],
			((long)t->start - (long)a->base) / (long)a->unit,
			((long)t->end - (long)a->base) / (long)a->unit);
	}
}

/* "this|or that", as kernels differ */
static bool one_of(const char *text, const char *wanted)
{
	size_t length = strlen(text);

	for (const char *at = wanted; at; at = strchr(at, '|')) {
		at += *at == '|';
		if (!strncmp(at, text, length) && (!at[length] || at[length] == '|'))
			return true;
	}
	return false;
}

/* THPs of the reserve may not lie in the way of 4 KiB units; tests put it back. */
static void try_change(struct recorder *r, const struct change *c, enum kind k)
{
	struct area a;
	char text[256];
	uint64_t before;
	bool as_wanted;
	long rc;

	if (!area_map(&a, k)) {
		area_unmap(&a);
		return;
	}
	CHECK_RC(watch_surely(r, a.base, UNITS * a.unit), 0);
	before = events(r);
	rc = c->fn(&a);
	if (rc && c->flags & NEWER) {
		area_unmap(&a);
		return;
	}
	CHECK_RC((int)rc, 0);
	spell(r, before, &a, text);
	as_wanted = one_of(text, c->told);
	if (!as_wanted)
		printf("\n    %s of %s: told \"%s\", wanted \"%s\"\n", c->name,
		       kind_names[k], text, c->told);
	CU_ASSERT_TRUE(as_wanted);
	area_unmap(&a);
}

static bool kind_is_here(enum kind k)
{
	struct area a;
	bool here = area_map(&a, k);

	area_unmap(&a);
	return here;
}

static void try_all(const struct change *changes, size_t n)
{
	struct recorder r;

	CHECK_RC(join(&r), 0);
	for (unsigned int k = 0; k < KINDS; k++) {
		if (!kind_is_here(k)) {
			suite_skip(kind_names[k]);
			continue;
		}
		for (size_t i = 0; i < n; i++)
			if (changes[i].kinds & ON(k))
				try_change(&r, &changes[i], k);
	}
	leave(&r);
}

#define HUGETLB_PAGES "/proc/sys/vm/nr_hugepages"

static long hugetlb_pages(void)
{
	FILE *f = fopen(HUGETLB_PAGES, "re");
	long n = 0;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static void set_hugetlb_pages(long n)
{
	FILE *f = fopen(HUGETLB_PAGES, "we");

	if (!f)
		return;
	if (fprintf(f, "%ld", n) < 0 || fflush(f))
		suite_skip("hugetlb pages cannot be reserved");
	fclose(f);
}

/* With enough hugetlb pages, which are afterwards what they were. */
static void try_all_with_hugetlb(const struct change *changes, size_t n)
{
	long before = hugetlb_pages();

	if (before < 16)
		set_hugetlb_pages(16);
	try_all(changes, n);
	if (before < 16)
		set_hugetlb_pages(before);
}

static void changes_are_told(void)
{
	try_all_with_hugetlb(seen, ARRAY_SIZE(seen));
}

static void what_leaves_the_pages_is_not_told(void)
{
	try_all_with_hugetlb(unneeded, ARRAY_SIZE(unneeded));
}

static void limit_what_no_monitor_sees(void)
{
	try_all_with_hugetlb(limits, ARRAY_SIZE(limits));
}

/* A descriptor of our own, to see what the kernel does without the monitor's care. */
static int raw_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_EVENT_UNMAP |
					      UFFD_FEATURE_EVENT_REMAP |
					      UFFD_FEATURE_EVENT_REMOVE |
					      UAPI_UFFD_FEATURE_WP_ASYNC };
	int fd = (int)syscall(SYS_userfaultfd,
			      O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int raw_register(int fd, const void *at, size_t len)
{
	struct uffdio_register r = { .range = { (uintptr_t)at, len },
				     .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

/* If it sent an event, shmdt() would be held: nobody reads it. */
static int detach_unread(void *at)
{
	int fd = raw_uffd();

	alarm(20);
	if (fd < 0 || raw_register(fd, at, 4 * PAGE))
		return 3;
	return shmdt(at) ? 1 : 0;
}

static void limit_shmdt_sends_no_event_so_sysv_is_not_watched(void)
{
	int id = shmget(IPC_PRIVATE, 4 * PAGE, 0600), status;
	char *p = shmat(id, NULL, 0);
	struct recorder r;

	shmctl(id, IPC_RMID, NULL);
	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p, 4 * PAGE), -EINVAL);
	CHECK_RC(watch(&r, p + PAGE, PAGE), -EINVAL);
	leave(&r);
	status = in_child(detach_unread, p);
	if (status == 3)
		suite_skip("no userfaultfd with WP_ASYNC here");
	else
		CHECK_RC(status, 0);
	shmdt(p);
}

/* ------------------------------------------------------- other ways to lose memory */

static void brk_is_told(void)
{
	char *old = sbrk(0), *base = (char *)page_ceil((uintptr_t)old);
	struct recorder r;
	uint64_t before;

	CHECK_RC(join(&r), 0);
	CHECK_RC(brk(base + 8 * PAGE), 0);
	CHECK_RC(watch(&r, base, 8 * PAGE), 0);
	before = events(&r);
	CHECK_RC(brk(base + 16 * PAGE), 0);
	CHECK(events(&r) == before);
	/* what it grew by is a mapping of its own, to be watched like any other */
	CHECK_RC(watch(&r, base, 16 * PAGE), 0);
	CHECK_RC(brk(base + 4 * PAGE), 0);
	CHECK(was_told(&r, base + 4 * PAGE, 12 * PAGE));
	CHECK(!was_told(&r, base, PAGE));
	CHECK_RC(brk(old), 0);
	CHECK(was_told(&r, base, 4 * PAGE));
	leave(&r);
}

static void *watch_own_stack(void *arg)
{
	struct recorder *r = arg;
	char here[64 << 10];

	memset(here, 1, sizeof(here));
	CHECK_RC(watch(r, here, sizeof(here)), 0);
	return NULL;
}

/* glibc discards most of a stack when its thread ends, and keeps the mapping. */
static void a_thread_s_stack_is_told(void)
{
	struct recorder r;
	pthread_t t;

	CHECK_RC(join(&r), 0);
	pthread_create(&t, NULL, watch_own_stack, &r);
	pthread_join(t, NULL);
	CHECK(events(&r) > 0);
	leave(&r);
}

static void huge_pages_come_and_go_untold(void)
{
	char *p = anon(4 * HUGE), *huge;
	struct recorder r;
	uint64_t before;
	int rc;

	huge = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	memset(huge, 1, HUGE);
	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, huge, HUGE), 0);
	before = events(&r);
	rc = madvise(huge, HUGE, COLLAPSE) ? -errno : 0;
	if (rc)
		suite_skip("MADV_COLLAPSE: no huge page here");
	else
		CHECK(backing_huge_at((uintptr_t)huge) == 1);
	CHECK(events(&r) == before);
	CHECK_RC(raw_unmap(huge + PAGE, PAGE), 0); /* splits it */
	CHECK(was_told(&r, huge + PAGE, PAGE));
	CHECK(events(&r) == before + 1);
	munmap(p, 4 * HUGE);
	leave(&r);
}

static void every_mapping_of_a_range_is_told(void)
{
	char *p = anon(16 * PAGE);
	struct recorder r;

	mprotect(p + 4 * PAGE, 4 * PAGE, PROT_READ);
	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p + 2 * PAGE, 8 * PAGE), 0);
	CHECK_RC((int)raw(SYS_madvise, p, 16 * PAGE, MADV_DONTNEED, 0, NULL), 0);
	CHECK(events(&r) == 3);
	CHECK_RC(raw_unmap(p, 16 * PAGE), 0);
	CHECK(was_told(&r, p, 16 * PAGE));
	leave(&r);
}

/* Since 6.17 mremap() can move several mappings at once, unless they are watched. */
static void limit_watched_mappings_move_one_by_one(void)
{
	char *p = anon(32 * PAGE), *to = p + 16 * PAGE;
	struct recorder r;
	long rc;

	mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ);
	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p, 8 * PAGE), 0);
	rc = raw(SYS_mremap, p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	CHECK_RC((int)rc, -EFAULT);
	munmap(p, 32 * PAGE);
	leave(&r);
}

/* ------------------------------------------------------------------ before and after
 */

struct witness {
	struct monitor_listener l;
	struct monitor *m;
	int told, unmapped;
};

static bool is_it_unmapped(struct monitor_listener *l, uintptr_t start, uintptr_t end,
			   enum monitor_cause cause)
{
	struct witness *w = container_of(l, struct witness, l);
	unsigned char there[8];

	(void)end;
	(void)cause;
	w->told++;
	w->unmapped += mincore((void *)start, PAGE, there) && errno == ENOMEM;
	return false;
}

static void no_reap(struct monitor_listener *l)
{
	(void)l;
}

static void munmap_is_told_when_it_is_done(void)
{
	struct witness w = { .l = { .changed = is_it_unmapped, .reap = no_reap } };
	enum pinmem_monitor kind;
	struct watch watched;
	char *p;

	CHECK_RC(monitor_open(PINMEM_MONITOR_USERFAULTFD, &w.l, &w.m, &kind), 0);
	for (int i = 0; i < 100; i++) {
		p = anon(PAGE);
		CHECK_RC(
			monitor_watch(w.m, (uintptr_t)p, (uintptr_t)p + PAGE, &watched),
			0);
		CHECK_RC(raw_unmap(p, PAGE), 0);
		CHECK_RC(monitor_settle(w.m), 0); /* before it is mapped anew */
	}
	CHECK(w.told == 100);
	CHECK(w.unmapped >
	      50); /* a starting thread may be given the page, now and then */
	monitor_close(w.m, &w.l);
}

/* Return: of @fn: 4: it came out differently; is tried again; 3: it cannot be tried */
static int run_real_time(int (*fn)(void *))
{
	int rc = 4;

	if (TSAN || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return 3;
	for (int i = 0; i < 50 && rc == 4; i++)
		rc = in_child(fn, NULL);
	return rc;
}

struct discarder {
	char *at;
	pid_t tid; /* atomic */
	sem_t go, take_cpu;
	int hogging; /* atomic: 1 it is; 2: stop */
};

static void on_cpu(int cpu, int policy)
{
	struct sched_param p = { .sched_priority = policy == SCHED_FIFO };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	sched_setscheduler(0, policy, &p);
}

static void *discard(void *arg)
{
	struct discarder *d = arg;

	on_cpu(0, SCHED_OTHER);
	__atomic_store_n(&d->tid, gettid(), __ATOMIC_RELEASE);
	sem_wait(&d->go);
	CHECK_RC((int)raw(SYS_madvise, d->at, PAGE, MADV_DONTNEED, 0, NULL), 0);
	return NULL;
}

static void *hog(void *arg)
{
	struct discarder *d = arg;

	on_cpu(0, SCHED_FIFO);
	sem_wait(&d->take_cpu);
	__atomic_store_n(&d->hogging, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&d->hogging, __ATOMIC_ACQUIRE) == 1)
		;
	return NULL;
}

static char task_state(pid_t tid)
{
	char path[64], text[256] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strrchr(text, ')') ? strrchr(text, ')')[2] : '?';
}

/*
 * Thread `discard` has CPU 0; this one and the reader are real-time threads on CPU 1,
 * so that the reader runs when we sleep and not before; `hog` takes CPU 0 when
 * `discard` waits for its event to be read. So that stands still between event and
 * deed.
 */
static int freeze_a_discard(void *unused)
{
	struct discarder d = { .at = anon(PAGE) };
	struct recorder r;
	pthread_t a, b;
	int wrong = 0;
	bool early; /* we have slept in the kernel, and the reader has run */

	(void)unused;
	alarm(20);
	d.at[0] = 7;
	sem_init(&d.go, 0, 0);
	sem_init(&d.take_cpu, 0, 0);
	on_cpu(1, SCHED_FIFO);
	if (sched_getscheduler(0) != SCHED_FIFO || join(&r) || watch(&r, d.at, PAGE))
		return 3;
	pthread_create(&a, NULL, discard, &d);
	pthread_create(&b, NULL, hog, &d);
	pause_us(20000); /* they are where they belong */
	sem_post(&d.go);
	while (task_state(__atomic_load_n(&d.tid, __ATOMIC_ACQUIRE)) != 'D')
		;
	sem_post(&d.take_cpu);
	while (!__atomic_load_n(&d.hogging, __ATOMIC_ACQUIRE))
		;
	early = __atomic_load_n(&r.n, __ATOMIC_ACQUIRE);
	while (!__atomic_load_n(&r.n, __ATOMIC_ACQUIRE))
		pause_us(100);
	wrong |= (d.at[0] != 7) << 1;			  /* told, not done */
	wrong |= (watch(&r, d.at, PAGE) != -EAGAIN) << 2; /* and that is known */
	__atomic_store_n(&d.hogging, 2, __ATOMIC_RELEASE);
	pthread_join(b, NULL);
	pthread_join(a, NULL);
	wrong |= (d.at[0] != 0) << 3;
	wrong |= (watch_surely(&r, d.at, PAGE) != 0) << 4;
	leave(&r);
	return early ? 4 : wrong ? 32 + wrong : 0;
}

static void a_discard_is_told_before_the_pages_go_and_not_watched_till_then(void)
{
	int rc = run_real_time(freeze_a_discard);

	if (rc == 3)
		suite_skip("needs two CPUs and real-time scheduling");
	else
		CHECK_RC(rc, 0);
}

static void *unmap_page(void *arg)
{
	struct discarder *d = arg;

	on_cpu(0, SCHED_OTHER);
	__atomic_store_n(&d->tid, gettid(), __ATOMIC_RELEASE);
	sem_wait(&d->go);
	CHECK_RC(raw_unmap(d->at, PAGE), 0);
	return NULL;
}

/* The reader cannot run until we let it; see freeze_a_discard(). */
static int reuse_addresses(void *unused)
{
	struct discarder d = { .at = anon(PAGE) };
	struct recorder r;
	int wrong = 0, rc;
	bool early; /* we have slept in the kernel, and the reader has run */
	pthread_t t;
	char *new;

	(void)unused;
	alarm(20);
	sem_init(&d.go, 0, 0);
	on_cpu(1, SCHED_FIFO);
	if (sched_getscheduler(0) != SCHED_FIFO || join(&r) || watch(&r, d.at, PAGE))
		return 3;
	pthread_create(&t, NULL, unmap_page, &d);
	pause_us(20000);
	sem_post(&d.go);
	while (task_state(__atomic_load_n(&d.tid, __ATOMIC_ACQUIRE)) != 'D')
		;
	new = mmap(d.at, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	early = !is_open(monitor_gate(r.m)) || __atomic_load_n(&r.n, __ATOMIC_ACQUIRE);
	wrong |= new != d.at;
	while ((rc = monitor_confirm(r.m)) == -EAGAIN)
		; /* the changer waits for its CPU */
	wrong |= (rc != 0) << 1;
	wrong |= (__atomic_load_n(&r.n, __ATOMIC_ACQUIRE) != 1) << 2;
	pthread_join(t, NULL);
	leave(&r);
	return wrong ? 32 + wrong : early ? 4 : 0;
}

static void limit_addresses_may_be_had_again_before_their_unmap_is_told(void)
{
	int rc = run_real_time(reuse_addresses);

	if (rc == 3)
		suite_skip("needs two CPUs and real-time scheduling");
	else
		CHECK_RC(rc, 0);
}

static void *spawn_slowly(void *arg)
{
	int *running = arg;
	pid_t pid;

	__atomic_store_n(running, gettid(), __ATOMIC_RELEASE);
	/* vfork(), but for the shared memory: waits in the kernel for the child's end
	 */
	pid = (pid_t)syscall(SYS_clone, (long)(CLONE_VFORK | SIGCHLD), 0l, 0l, 0l, 0l);
	if (!pid) {
		syscall(SYS_nanosleep, &(struct timespec){ .tv_nsec = 300000000 },
			NULL);
		syscall(SYS_exit_group, 0l);
	}
	waitpid(pid, NULL, 0);
	return NULL;
}

/* A thread that waits in the kernel might be in madvise(); one that computes, not. */
static void a_thread_stuck_in_the_kernel_delays_only_discarded_ranges(void)
{
	char *p = anon(PAGE), *other = anon(PAGE);
	struct recorder r;
	int tid = 0;
	pthread_t t;

	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p, PAGE), 0);
	pthread_create(&t, NULL, spawn_slowly, &tid);
	while (!__atomic_load_n(&tid, __ATOMIC_ACQUIRE) || task_state(tid) != 'D')
		pause_us(100);
	CHECK_RC((int)raw(SYS_madvise, p, PAGE, MADV_DONTNEED, 0, NULL), 0);
	CHECK_RC(watch(&r, p, PAGE), -EAGAIN);
	CHECK_RC(watch(&r, p, PAGE), -EAGAIN);
	CHECK_RC(watch(&r, other, PAGE), 0);
	pthread_join(t, NULL);
	CHECK_RC(watch_surely(&r, p, PAGE), 0);
	munmap(p, PAGE);
	munmap(other, PAGE);
	leave(&r);
}

static void *compute(void *stop)
{
	while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED))
		;
	return NULL;
}

static void a_computing_thread_delays_for_a_few_ticks(void)
{
	char *p = anon(64 * PAGE);
	uint64_t began, waited;
	struct recorder r;
	int stop = 0, rc;
	pthread_t t;

	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p, PAGE), 0);
	pthread_create(&t, NULL, compute, &stop);
	for (int i = 0; i < 64; i++) /* more than are kept apart */
		CHECK_RC((int)raw(SYS_madvise, p + i * PAGE, PAGE, MADV_DONTNEED, 0,
				  NULL),
			 0);
	began = now_ns();
	while ((rc = watch(&r, p, 64 * PAGE)) == -EAGAIN &&
	       now_ns() - began < 10000000000u)
		pause_us(1000);
	waited = now_ns() - began;
	CHECK_RC(rc, 0);
	CHECK(waited < 5000000000u);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	munmap(p, 64 * PAGE);
	leave(&r);
}

/* ------------------------------------------------------------------------ the gate */

struct race {
	struct recorder r;
	uint64_t done; /* atomic: how many unmaps have returned */
	int stop;
	int late;
};

static void *unmap_on(void *arg)
{
	struct race *x = arg;
	char *p;

	for (uint64_t i = 1; i <= 20000; i++) {
		p = mmap(NULL, PAGE, RW, ANON, -1, 0);
		if (watch(&x->r, p, PAGE))
			break;
		raw_unmap(p, PAGE);
		__atomic_store_n(&x->done, i, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&x->stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void a_change_that_has_returned_was_told_or_shuts_the_gate(void)
{
	struct race x = { .stop = 0 };
	const uint32_t *gate;
	uint64_t done, shut = 0;
	pthread_t t;

	CHECK_RC(join(&x.r), 0);
	gate = monitor_gate(x.r.m);
	CHECK(is_open(gate));
	pthread_create(&t, NULL, unmap_on, &x);
	while (!__atomic_load_n(&x.stop, __ATOMIC_ACQUIRE)) {
		done = __atomic_load_n(&x.done, __ATOMIC_ACQUIRE);
		if (!is_open(gate)) {
			shut++;
			monitor_settle(x.r.m);
		}
		x.late += __atomic_load_n(&x.r.n, __ATOMIC_ACQUIRE) < done;
	}
	pthread_join(t, NULL);
	CHECK(x.done == 20000);
	CHECK(x.late == 0);
	CHECK(events(&x.r) >= 20000); /* with what its neighbours in a mapping do */
	CHECK(is_open(gate));
	leave(&x.r);
}

static void settle_waits_for_a_slow_listener(void)
{
	struct recorder r;
	char *p = anon(PAGE);
	uint64_t began;

	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p, PAGE), 0);
	__atomic_store_n(&r.slow_us, 50000, __ATOMIC_RELAXED);
	began = now_ns();
	CHECK_RC(raw_unmap(p, PAGE), 0); /* held until read, not until handled */
	CHECK_RC(monitor_settle(r.m), 0);
	CHECK(now_ns() - began >= 40000000);
	CHECK(events(&r) == 1);
	leave(&r);
}

/* ---------------------------------------------------------------------- the set */

#define SLOTS 64
#define SLOT (4 * PAGE)
struct torture {
	struct recorder r;
	char *base;
	pthread_barrier_t turn;
	int over; /* between the barriers */
	int rounds;
	unsigned int seed[3];
};

struct torturer {
	struct torture *t;
	int n;
};

static unsigned int next(unsigned int *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 16;
}

static void torture_once(struct torture *t, unsigned int *seed)
{
	char *at = t->base + next(seed) % SLOTS * SLOT;
	char *to = t->base + next(seed) % SLOTS * SLOT;
	size_t len = (1 + next(seed) % 4) * PAGE;

	switch (next(seed) % 10) {
	case 0:
	case 1:
		mmap(at, SLOT * (1 + next(seed) % 2), RW, ANON | MAP_FIXED, -1, 0);
		break;
	case 2:
		raw_unmap(at, len);
		break;
	case 3:
		raw(SYS_mremap, at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		break;
	case 4:
		mprotect(at, len, next(seed) % 2 ? RW : PROT_READ);
		break;
	case 5:
		raw(SYS_madvise, at, len, MADV_DONTNEED, 0, NULL);
		break;
	case 6:
		mmap(at, SLOT, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
		break;
	case 7:
		raw(SYS_mremap, at, PAGE, len, MREMAP_MAYMOVE, NULL);
		break;
	default:
		watch(&t->r, at, len);
	}
}

/* What is mapped, watched again, makes an event: the set never said so in vain. */
static void check_set(struct torture *t)
{
	unsigned char there[SLOT / PAGE];

	for (int i = 0; i < SLOTS; i++) {
		char *at = t->base + i * SLOT;
		uint64_t before;

		if (mincore(at, SLOT, there))
			continue;
		CHECK_RC(watch_surely(&t->r, at, SLOT), 0);
		before = events(&t->r);
		CHECK_RC(raw_unmap(at, SLOT), 0);
		CHECK(told_since(&t->r, before, at, SLOT, true));
	}
}

static void *torturer(void *arg)
{
	struct torturer *me = arg;
	struct torture *t = me->t;

	while (true) {
		pthread_barrier_wait(&t->turn);
		if (t->over)
			return NULL;
		for (int i = 0; i < 200; i++)
			torture_once(t, &t->seed[me->n]);
		pthread_barrier_wait(&t->turn);
	}
}

static void the_set_is_never_wrong(void)
{
	struct torture t = { .seed = { 1, 2, 3 } };
	struct torturer who[3];
	pthread_t thread[3];

	CHECK_RC(join(&t.r), 0);
	t.base = mmap((void *)LONELY, (SLOTS + 8) * SLOT, RW,
		      ANON | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(t.base == (void *)LONELY);
	pthread_barrier_init(&t.turn, NULL, 4);
	for (int i = 0; i < 3; i++) {
		who[i] = (struct torturer){ &t, i };
		pthread_create(&thread[i], NULL, torturer, &who[i]);
	}
	for (int round = 0; round < 100; round++) {
		pthread_barrier_wait(&t.turn);
		pthread_barrier_wait(&t.turn);
		check_set(&t);
	}
	t.over = 1;
	pthread_barrier_wait(&t.turn);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&t.turn);
	munmap(t.base, (SLOTS + 8) * SLOT);
	leave(&t.r);
}

/* Threads whose mappings are merged with one another's, and follow one another at the
 * same addresses: when a watch() holds, the unmap is told. */
static void *come_and_go(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	struct recorder *r = calloc(1, sizeof(*r));
	uint64_t before;

	CHECK_RC(join(r), 0);
	for (int i = 0; i < 1500; i++) {
		size_t pages = 1 + next(&seed) % 6, gone = next(&seed) % pages;
		char *p = anon(pages * PAGE);

		if (next(&seed) % 4) {
			CHECK_RC(watch_surely(r, p, pages * PAGE), 0);
			before = events(r);
			CHECK_RC(raw_unmap(p + gone * PAGE, PAGE), 0);
			CHECK(told_since(r, before, p + gone * PAGE, PAGE, true));
		} else {
			raw_unmap(p + gone * PAGE, PAGE);
		}
		raw_unmap(p, gone * PAGE);
		raw_unmap(p + (gone + 1) * PAGE, (pages - gone - 1) * PAGE);
	}
	leave(r);
	free(r);
	return NULL;
}

static void a_watch_holds_with_other_threads_about(void)
{
	pthread_t t[6];

	for (uintptr_t i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, come_and_go, (void *)(i + 1));
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
}

/* struct spans against one byte for each page */
static void check_spans(struct spans *s, const char *model, uintptr_t n)
{
	uintptr_t first = 0;

	for (uintptr_t i = n; i-- > 0;) {
		uintptr_t end = spans_end_at(s, i * PAGE + PAGE / 2);

		CHECK(!end == !model[i]);
		if (end) {
			first = i * PAGE;
			CHECK(!model[end / PAGE] && model[end / PAGE - 1]);
		}
	}
	CHECK(spans_first(s) == first);
}

static void spans_are_a_set(void)
{
	enum { N = 200 };
	char model[N + 1] = { 0 };
	unsigned int seed = 7;
	struct spans s;

	CHECK_RC(spans_init(&s), 0);
	for (int i = 0; i < 3000; i++) {
		uintptr_t from = 1 + next(&seed) % (N - 1);
		uintptr_t to = from + 1 + next(&seed) % 20;
		bool add = next(&seed) % 2;

		if (to > N)
			to = N;
		if (from >= to)
			continue;
		memset(model + from, add, to - from);
		CHECK(add ? spans_add(&s, from * PAGE, to * PAGE)
			  : spans_remove(&s, from * PAGE, to * PAGE));
		check_spans(&s, model, N);
	}
	spans_fini(&s);
}

static void spans_without_room_lose_but_never_invent(void)
{
	struct spans s;
	uintptr_t n = 0;

	CHECK_RC(spans_init(&s), 0);
	CHECK(spans_add(&s, PAGE, 4 * PAGE));
	for (n = 3; spans_add(&s, 2 * n * PAGE, (2 * n + 1) * PAGE); n++)
		;
	CHECK(n > 1000);
	CHECK(spans_low(&s));
	CHECK(!spans_remove(&s, 2 * PAGE, 3 * PAGE)); /* would need a node */
	CHECK(spans_end_at(&s, PAGE) == 2 * PAGE);
	CHECK(!spans_end_at(&s, 2 * PAGE) && !spans_end_at(&s, 3 * PAGE));
	CHECK(!spans_add(&s, 2 * PAGE, 3 * PAGE));
	CHECK_RC(spans_reserve(&s), 0);
	CHECK(!spans_low(&s));
	CHECK(spans_add(&s, 2 * PAGE, 3 * PAGE));
	CHECK(spans_end_at(&s, PAGE) == 3 * PAGE);
	spans_fini(&s);
}

static void many_mappings_are_watched(void)
{
	enum { N = 4000 };
	char *p = anon(2 * N * PAGE);
	struct recorder r;

	CHECK_RC(join(&r), 0);
	for (int i = 0; i < N; i++)
		munmap(p + (2 * i + 1) * PAGE, PAGE);
	for (int i = 0; i < N; i++)
		CHECK_RC(watch(&r, p + 2 * i * PAGE, PAGE), 0);
	CHECK_RC(raw_unmap(p, 2 * N * PAGE), 0);
	CHECK(was_told(&r, p, 2 * N * PAGE));
	leave(&r);
}

/* -------------------------------------------------------------- what is watched */

/* Mappings are watched whole: the second region costs no call, as its event shows. */
static void a_mapping_is_watched_whole(void)
{
	char *p = anon(16 * PAGE);
	struct recorder r;

	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p + 4 * PAGE, PAGE), 0);
	fault_arm(1);
	CHECK_RC(watch(&r, p + 8 * PAGE, 2 * PAGE), 0);
	CHECK(!fault_fired());
	fault_disarm();
	CHECK_RC(raw_unmap(p, 16 * PAGE), 0);
	CHECK(was_told(&r, p, 16 * PAGE));
	leave(&r);
}

static int watch_at_the_limit(void *arg)
{
	size_t limit = (size_t)arg;
	char *p = mmap(NULL, 4 * limit * PAGE, PROT_READ, ANON | MAP_NORESERVE, -1, 0);
	struct recorder r;

	if (join(&r))
		return 1;
	for (size_t i = 1; i < 2 * limit; i++)
		if (mprotect(p + 2 * i * PAGE, PAGE, PROT_NONE))
			return watch(&r, p + 2 * PAGE, 3 * PAGE) ? 2 : 0;
	return 3;
}

/* No mapping is split, so none too many is made. */
static void watching_is_possible_at_max_map_count(void)
{
	size_t limit = 0;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");

	if (f && fscanf(f, "%zu", &limit) == 1 && limit <= 262144)
		CHECK_RC(in_child(watch_at_the_limit, (void *)limit), 0);
	else
		suite_skip("vm.max_map_count is too large to be reached");
	if (f)
		fclose(f);
}

static void another_userfaultfd_s_memory_is_busy(void)
{
	int other = raw_uffd();
	char *p = anon(4 * PAGE);
	struct recorder r;

	CHECK_RC(join(&r), 0);
	if (other < 0) {
		suite_skip("no userfaultfd with WP_ASYNC here");
	} else {
		CHECK_RC(raw_register(other, p + PAGE, PAGE), 0);
		CHECK_RC(watch(&r, p, 4 * PAGE), -EBUSY);
		CHECK_RC(watch(&r, p + PAGE, PAGE), -EBUSY);
		CHECK_RC(watch(&r, p, PAGE), 0); /* a mapping of its own, now */
	}
	leave(&r);
	/* the other's registration is still there */
	if (other >= 0)
		CHECK_RC(raw_register(raw_uffd(), p + PAGE, PAGE), -EBUSY);
	close(other);
	munmap(p, 4 * PAGE);
}

static void what_cannot_be_watched_says_why(void)
{
	char *p = anon(4 * PAGE), *vdso = NULL, *text;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char line[256];
	struct recorder r;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[vdso]"))
			vdso = (char *)strtoul(line, NULL, 16);
	if (f)
		fclose(f);
	text = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK_RC(join(&r), 0);
	munmap(p + PAGE, PAGE);
	CHECK_RC(watch(&r, p, 4 * PAGE), -EFAULT);
	CHECK_RC(watch(&r, p + PAGE, PAGE), -EFAULT);
	CHECK_RC(watch(&r, (char *)(16 * PAGE), PAGE), -EFAULT);
	CHECK_RC(watch(&r, text, PAGE), -EINVAL); /* cannot ever be written */
	if (vdso)
		CHECK_RC(watch(&r, vdso, PAGE), -EINVAL);
	CHECK_RC(watch(&r, p, PAGE), 0);
	CHECK_RC(watch(&r, p + 2 * PAGE, 2 * PAGE), 0);
	leave(&r);
	munmap(text, PAGE);
	munmap(p, 4 * PAGE);
	close(fd);
}

static void mappings_are_found_in_the_text_too(void)
{
	char *p = anon(4 * PAGE);
	struct recorder r;

	backing_force_text = true;
	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p + PAGE, PAGE), 0);
	munmap(p + 2 * PAGE, PAGE);
	CHECK_RC(watch(&r, p, 4 * PAGE), -EFAULT);
	CHECK_RC(raw_unmap(p, PAGE), 0);
	CHECK(was_told(&r, p, PAGE));
	leave(&r);
	backing_force_text = false;
	munmap(p, 4 * PAGE);
}

/* The set does not know that the middle was mapped anew, unless it is told. */
static void a_distrusted_range_is_watched_anew(void)
{
	char *p = mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct recorder r;

	CHECK_RC(join(&r), 0);
	CHECK_RC(watch(&r, p, 4 * PAGE), 0);
	CHECK_RC((int)raw(SYS_remap_file_pages, p + PAGE, PAGE, 0, 0, NULL), 0);
	monitor_distrust(r.m, (uintptr_t)p + PAGE, (uintptr_t)p + 2 * PAGE);
	CHECK_RC(watch(&r, p, 4 * PAGE), 0);
	CHECK_RC(raw_unmap(p + PAGE, PAGE), 0);
	CHECK(was_told(&r, p + PAGE, PAGE));
	leave(&r);
	munmap(p, 4 * PAGE);
}

/* ------------------------------------------------------- listeners and the reaper */

static bool wait_for(const uint64_t *counter, uint64_t want)
{
	for (int i = 0; i < 5000; i++) {
		if (__atomic_load_n(counter, __ATOMIC_ACQUIRE) >= want)
			return true;
		pause_us(1000);
	}
	return false;
}

static void who_wants_to_be_reaped_is(void)
{
	struct recorder a, b;
	char *p = anon(PAGE);

	CHECK_RC(join(&a), 0);
	CHECK_RC(join(&b), 0);
	CHECK(a.m == b.m);
	__atomic_store_n(&a.want_reap, true, __ATOMIC_RELAXED);
	CHECK_RC(watch(&b, p, PAGE), 0);
	CHECK_RC(raw_unmap(p, PAGE), 0);
	CHECK(wait_for(&a.reaps, 1));
	CHECK(was_told(&a, p, PAGE) && was_told(&b, p, PAGE));
	CHECK(__atomic_load_n(&b.reaps, __ATOMIC_ACQUIRE) == 0);
	monitor_poke(b.m, &b.l);
	CHECK(wait_for(&b.reaps, 1));
	leave(&a);
	leave(&b);
}

static void *unmap_watched(void *p)
{
	CHECK_RC(raw_unmap(p, PAGE), 0);
	return NULL;
}

static void close_waits_for_changed_and_reap(void)
{
	struct recorder a, b;
	char *p = anon(PAGE);
	pthread_t t;

	CHECK_RC(join(&b), 0);
	CHECK_RC(join(&a), 0);
	CHECK_RC(watch(&a, p, PAGE), 0);
	__atomic_store_n(&a.slow_us, 50000, __ATOMIC_RELAXED);
	pthread_create(&t, NULL, unmap_watched, p);
	while (is_open(monitor_gate(a.m)))
		;
	leave(&a);
	CHECK(__atomic_load_n(&a.n, __ATOMIC_ACQUIRE) == 1);
	pthread_join(t, NULL);

	CHECK_RC(join(&a), 0);
	__atomic_store_n(&a.slow_us, 50000, __ATOMIC_RELAXED);
	monitor_poke(a.m, &a.l);
	while (!__atomic_load_n(&a.reaps, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&a.l.due, __ATOMIC_ACQUIRE))
		;
	leave(&a);
	CHECK(__atomic_load_n(&a.reaps, __ATOMIC_ACQUIRE) == 1);
	leave(&b);
}

/* ----------------------------------------------------------------- begin and end */

static int count_entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static int count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int n = 0, c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static void cycle(void)
{
	char *p = anon(4 * PAGE);
	struct recorder r;
	uint64_t before;

	CHECK_RC(join(&r), 0);
	CHECK_RC(watch_surely(&r, p, 4 * PAGE), 0);
	before = events(&r);
	CHECK_RC(raw_unmap(p, PAGE), 0);
	CHECK(told_since(&r, before, p, PAGE, true));
	leave(&r);
	CHECK_RC(raw_unmap(p + PAGE, 3 * PAGE), 0);
}

static int count_threads(void)
{
	return count_entries("/proc/self/task");
}

/* A joined thread is listed for a moment more. */
static bool threads_become(int threads)
{
	for (int i = 0; i < 1000 && count_threads() > threads; i++)
		pause_us(1000);
	return count_threads() <= threads;
}

static void opening_and_closing_leaks_nothing(void)
{
	int fds, threads, maps, more;

	for (int i = 0; i < 20; i++)
		cycle();
	fds = count_entries("/proc/self/fd");
	threads = count_threads();
	maps = count_maps();
	for (int i = 0; i < 200; i++)
		cycle();
	CHECK(count_entries("/proc/self/fd") == fds);
	CHECK(threads_become(threads));
	more = count_maps() - maps; /* the allocator's and sanitizers' come and go */
	CHECK(more < 20);
}

static void *cycles(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++)
		cycle();
	return NULL;
}

static void threads_may_open_and_close_at_once(void)
{
	int threads = count_threads();
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, cycles, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(threads_become(threads));
}

static bool thread_is_named(const char *name, char blocked[32])
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	char path[300], line[256];
	bool found = false;

	while (!found && (e = readdir(d))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f)) {
			if (!strncmp(line, "Name:", 5))
				found = strstr(line, name);
			if (found && sscanf(line, "SigBlk: %31s", blocked) == 1)
				break;
		}
		if (f)
			fclose(f);
	}
	closedir(d);
	return found;
}

static void its_threads_have_names_and_take_no_signals(void)
{
	static const char *const names[] = { "pinmem-reader", "pinmem-reaper" };
	char blocked[32] = "";
	struct recorder r;

	CHECK_RC(join(&r), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		for (int n = 0; n < 1000 && !thread_is_named(names[i], blocked); n++)
			pause_us(1000);
		CHECK(thread_is_named(names[i], blocked));
		/* all but SIGKILL and SIGSTOP, and the two that are glibc's own */
		CHECK((strtoull(blocked, NULL, 16) | 0x1 << 8 | 0x1 << 18 |
		       3ull << 31) == UINT64_MAX);
	}
	leave(&r);
	for (int n = 0; n < 1000 && thread_is_named("pinmem-rea", blocked); n++)
		pause_us(1000); /* see threads_become() */
	CHECK(!thread_is_named("pinmem-rea", blocked));
}

static void only_monitors_can_be_opened(void)
{
	struct recorder r;
	enum pinmem_monitor kind;

	memset(&r, 0, sizeof(r));
	CHECK_RC(monitor_open(PINMEM_MONITOR_CALLER, &r.l, &r.m, &kind), -EINVAL);
	CHECK_MSG("caller");
	CHECK_RC(monitor_open((enum pinmem_monitor)77, &r.l, &r.m, &kind), -EINVAL);
}

static int open_watch_close(void *unused)
{
	struct recorder r;
	char *p = anon(PAGE);
	int rc = join(&r);

	(void)unused;
	if (rc)
		return 1;
	rc = watch(&r, p, PAGE) || raw_unmap(p, PAGE) || !was_told(&r, p, PAGE);
	leave(&r);
	return rc ? 2 : 0;
}

static void an_ordinary_user_has_it(void)
{
	CHECK_RC(as_nobody(0, open_watch_close, NULL), 0);
}

/* As a container's seccomp profile does it. */
static bool forbid_userfaultfd(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int open_forbidden(void *err)
{
	struct recorder r;
	int rc;

	if (!forbid_userfaultfd((int)(intptr_t)err))
		return 10;
	rc = join(&r);
	if ((intptr_t)err == EINVAL)
		return rc != -EOPNOTSUPP || !strstr(pinmem_errmsg(), "Linux 5.19");
	return rc != -EOPNOTSUPP || !strstr(pinmem_errmsg(), "seccomp") ||
	       !strstr(pinmem_errmsg(), "PINMEM_MONITOR_CALLER");
}

static void who_is_forbidden_the_call_is_told_the_remedy(void)
{
	CHECK_RC(as_nobody(0, open_forbidden, (void *)EPERM), 0);
	CHECK_RC(as_nobody(0, open_forbidden, (void *)ENOSYS), 0);
	CHECK_RC(as_nobody(0, open_forbidden, (void *)EINVAL), 0);
}

static int open_by_device(void *unused)
{
	return forbid_userfaultfd(EPERM) ? open_watch_close(unused) : 10;
}

static void the_device_is_the_second_way(void)
{
	if (access("/dev/userfaultfd", R_OK | W_OK))
		suite_skip("/dev/userfaultfd cannot be opened");
	else
		CHECK_RC(in_child(open_by_device, NULL), 0);
}

static void older_kernels_have_no_wp_async(void)
{
	char *p = anon(PAGE);
	struct recorder r;

	fault_only("ioctl", EINVAL);
	fault_arm(1);
	CHECK_RC(join(&r), 0);
	CHECK(fault_fired());
	fault_disarm();
	CHECK_RC(watch(&r, p, PAGE), 0);
	CHECK_RC(raw_unmap(p, PAGE), 0);
	CHECK(was_told(&r, p, PAGE));
	leave(&r);
}

static int open_without_descriptors(void *left)
{
	struct rlimit lim = { 0, 0 };
	struct recorder r;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), rc;

	process_generation();
	lim.rlim_cur = lim.rlim_max = (rlim_t)fd + (rlim_t)(intptr_t)left;
	close(fd);
	if (setrlimit(RLIMIT_NOFILE, &lim))
		return 1;
	rc = join(&r);
	return rc != -EMFILE || !strstr(pinmem_errmsg(), "Too many open files");
}

static void without_descriptors_it_says_so(void)
{
	CHECK_RC(in_child(open_without_descriptors, (void *)0), 0);
	CHECK_RC(in_child(open_without_descriptors, (void *)1), 0);
}

static void every_failure_of_open_is_undone(void)
{
	int fds = count_entries("/proc/self/fd");
	int threads = count_threads(), failed = 0;
	struct recorder r;
	int rc;

	FAULT_WALK (n) {
		rc = join(&r);
		if (!rc)
			leave(&r);
		else
			CHECK(rc == -ENOMEM || rc == -EOPNOTSUPP);
		failed += rc != 0;
	}
	CHECK(failed >= 5);
	fault_only("pthread_create", EAGAIN);
	for (int n = 1; n <= 2; n++) {
		fault_arm(n);
		CHECK_RC(join(&r), -EAGAIN);
		CHECK_MSG("no thread");
	}
	fault_disarm();
	fault_only("pthread_create", EINVAL); /* the small stack is too small */
	fault_arm(1);
	CHECK_RC(join(&r), 0);
	fault_disarm();
	leave(&r);
	CHECK(count_entries("/proc/self/fd") == fds);
	CHECK(threads_become(threads));
}

/* A watch() that fails claims nothing: the next one works, and is told. */
static void every_failure_of_watch_is_harmless(void)
{
	struct recorder r;
	int failed = 0, rc;

	CHECK_RC(join(&r), 0);
	FAULT_WALK (n) {
		char *p = anon(2 * PAGE);

		rc = watch(&r, p, 2 * PAGE);
		failed += rc != 0;
		if (rc)
			CHECK_RC(watch(&r, p, 2 * PAGE), 0);
		CHECK_RC(raw_unmap(p, PAGE), 0);
		CHECK(was_told(&r, p, PAGE));
		raw_unmap(p + PAGE, PAGE);
	}
	fault_only("ioctl", EAGAIN); /* … events under way, for once */
	for (int n = 1; n < 6; n++) {
		char *p = anon(PAGE);

		fault_arm(n);
		rc = watch(&r, p, PAGE);
		fault_disarm();
		CHECK(!rc || rc == -EINVAL);
		fault_only("ioctl", EAGAIN);
		raw_unmap(p, PAGE);
	}
	fault_disarm();
	leave(&r);
}

/* --------------------------------------------------------------------------- fork */

struct forked {
	struct recorder r;
	char *p;
};

static int in_the_child(void *arg)
{
	struct forked *f = arg;
	const uint32_t *gate = monitor_gate(f->r.m);

	alarm(20);
	if (is_open(gate))
		return 1;
	if (monitor_settle(f->r.m) != -ECHILD || watch(&f->r, f->p, PAGE) != -ECHILD ||
	    monitor_confirm(f->r.m) != -ECHILD)
		return 2;
	monitor_poke(f->r.m, &f->r.l);
	monitor_distrust(f->r.m, 0, PAGE);
	monitor_close(f->r.m, &f->r.l);
	if (raw_unmap(f->p, PAGE))
		return 3;
	if (!TSAN && open_watch_close(NULL))
		return 4;
	/* its own monitor does not open the parent's gate */
	return is_open(gate) ? 5 : 0;
}

static void a_child_finds_the_gate_shut_and_opens_its_own(void)
{
	struct forked f;

	CHECK_RC(join(&f.r), 0);
	f.p = anon(PAGE);
	CHECK_RC(watch(&f.r, f.p, PAGE), 0);
	CHECK_RC(in_child(in_the_child, &f), 0);
	CHECK_RC(raw_unmap(f.p, PAGE), 0);
	CHECK(was_told(&f.r, f.p, PAGE));
	leave(&f.r);
}

static pid_t sleeping_child(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		alarm(60);
		pause();
		_exit(0);
	}
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static long move_to(const char *from, const char *to, size_t len, int flags)
{
	return raw(SYS_mremap, from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED | flags,
		   to);
}

/* The child has the descriptor: were anything still registered, we would be held. */
static int close_with_a_child_alive(void *unused)
{
	char *p = anon(64 * PAGE), *grown = anon(8 * PAGE);
	struct recorder r;
	pid_t pid;

	(void)unused;
	alarm(30);
	munmap(p + 16 * PAGE, 48 * PAGE);
	munmap(grown + 4 * PAGE, 4 * PAGE);
	if (join(&r) || watch(&r, p, 16 * PAGE) || watch(&r, grown, PAGE))
		return 1;
	pid = sleeping_child();
	/* places that are registered and not in the set: moved, copied and grown */
	if (move_to(p, p + 16 * PAGE, 4 * PAGE, 0))
		return 2;
	move_to(p + 4 * PAGE, p + 32 * PAGE, 4 * PAGE, MREMAP_DONTUNMAP);
	mprotect(p + 8 * PAGE, PAGE, PROT_READ);
	raw(SYS_mremap, grown, 4 * PAGE, 8 * PAGE, 0, NULL);
	leave(&r);
	if (raw_unmap(p, 64 * PAGE) || raw_unmap(grown, 8 * PAGE))
		return 3;
	end_child(pid);
	return 0;
}

static void nobody_is_held_when_a_child_has_the_descriptor(void)
{
	CHECK_RC(in_child(close_with_a_child_alive, NULL), 0);
}

struct unmapper {
	struct recorder *r;
	int stop;
};

static void *unmap_until_told(void *arg)
{
	struct unmapper *u = arg;

	while (!__atomic_load_n(&u->stop, __ATOMIC_ACQUIRE)) {
		char *p = mmap(NULL, PAGE, RW, ANON, -1, 0);

		watch(u->r, p, PAGE);
		raw_unmap(p, PAGE);
	}
	return NULL;
}

static void *unmap_all(void *arg)
{
	char **p = arg;

	for (int i = 0; i < 200; i++)
		raw_unmap(p[i], PAGE);
	return NULL;
}

/* Changers that are under way while the last one closes are read, and let go. */
static int close_under_changes(void *unused)
{
	char *p[2][200];
	struct recorder r;
	pthread_t t[2];
	pid_t pid;

	(void)unused;
	alarm(60);
	for (int round = 0; round < 20; round++) {
		if (join(&r))
			return 1;
		for (int i = 0; i < 400; i++) {
			p[i / 200][i % 200] =
				mmap(NULL, PAGE, i % 2 ? RW : PROT_READ, ANON, -1, 0);
			if (watch(&r, p[i / 200][i % 200], PAGE))
				return 2;
		}
		pid = sleeping_child();
		for (int i = 0; i < 2; i++)
			pthread_create(&t[i], NULL, unmap_all, p[i]);
		leave(&r);
		for (int i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		end_child(pid);
	}
	return 0;
}

static void changers_under_way_are_let_go(void)
{
	CHECK_RC(in_child(close_under_changes, NULL), 0);
}

static void fork_in_the_midst_of_it(void)
{
	struct recorder r;
	struct unmapper u = { .r = &r };
	pthread_t t;

	if (SANITIZED) { /* a fork takes locks of gcc 12's along, which nobody frees */
		suite_skip("sanitizers: no threads in the child of threads");
		return;
	}
	CHECK_RC(join(&r), 0);
	pthread_create(&t, NULL, unmap_until_told, &u);
	for (int i = 0; i < 50; i++)
		CHECK_RC(in_child(open_watch_close, NULL), 0);
	__atomic_store_n(&u.stop, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	leave(&r);
}

/* ------------------------------------------------- a program that closes everything */

static int find_uffd(void)
{
	char path[64], name[64];

	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, name, sizeof(name) - 1);
		if (n > 0 && (name[n] = '\0', strstr(name, "[userfaultfd]")))
			return fd;
	}
	return -1;
}

static int close_its_descriptor(void *unused)
{
	char *p = anon(PAGE), *q = anon(PAGE), *other = anon(PAGE);
	struct recorder r;
	int fd;

	(void)unused;
	alarm(30);
	mprotect(q, PAGE, PROT_READ);
	if (join(&r) || watch(&r, p, PAGE) || watch(&r, q, PAGE))
		return 1;
	fd = find_uffd();
	if (fd < 0 || close(fd))
		return 2;
	if (raw_unmap(p, PAGE)) /* nobody is held for ever */
		return 3;
	if (!wait_for(&r.n, 1) || !was_told(&r, q, PAGE))
		return 4; /* all has changed, then */
	if (watch(&r, other, PAGE) != -EINVAL || monitor_settle(r.m))
		return 5;
	leave(&r);
	return open_watch_close(NULL) ? 6 : 0;
}

static void a_closed_descriptor_ends_the_watching(void)
{
	CHECK_RC(in_child(close_its_descriptor, NULL), 0);
}

static const struct test tests[] = {
	{ "changes_are_told", changes_are_told },
	{ "what_leaves_the_pages_is_not_told", what_leaves_the_pages_is_not_told },
	{ "limit_what_no_monitor_sees", limit_what_no_monitor_sees },
	{ "limit_shmdt_sends_no_event_so_sysv_is_not_watched",
	  limit_shmdt_sends_no_event_so_sysv_is_not_watched },
	{ "brk_is_told", brk_is_told },
	{ "a_thread_s_stack_is_told", a_thread_s_stack_is_told },
	{ "huge_pages_come_and_go_untold", huge_pages_come_and_go_untold },
	{ "every_mapping_of_a_range_is_told", every_mapping_of_a_range_is_told },
	{ "limit_watched_mappings_move_one_by_one",
	  limit_watched_mappings_move_one_by_one },
	{ "munmap_is_told_when_it_is_done", munmap_is_told_when_it_is_done },
	{ "a_discard_is_told_before_the_pages_go_and_not_watched_till_then",
	  a_discard_is_told_before_the_pages_go_and_not_watched_till_then },
	{ "limit_addresses_may_be_had_again_before_their_unmap_is_told",
	  limit_addresses_may_be_had_again_before_their_unmap_is_told },
	{ "a_thread_stuck_in_the_kernel_delays_only_discarded_ranges",
	  a_thread_stuck_in_the_kernel_delays_only_discarded_ranges },
	{ "a_computing_thread_delays_for_a_few_ticks",
	  a_computing_thread_delays_for_a_few_ticks },
	{ "a_change_that_has_returned_was_told_or_shuts_the_gate",
	  a_change_that_has_returned_was_told_or_shuts_the_gate },
	{ "settle_waits_for_a_slow_listener", settle_waits_for_a_slow_listener },
	{ "the_set_is_never_wrong", the_set_is_never_wrong },
	{ "a_watch_holds_with_other_threads_about",
	  a_watch_holds_with_other_threads_about },
	{ "spans_are_a_set", spans_are_a_set },
	{ "spans_without_room_lose_but_never_invent",
	  spans_without_room_lose_but_never_invent },
	{ "many_mappings_are_watched", many_mappings_are_watched },
	{ "a_mapping_is_watched_whole", a_mapping_is_watched_whole },
	{ "watching_is_possible_at_max_map_count",
	  watching_is_possible_at_max_map_count },
	{ "another_userfaultfd_s_memory_is_busy",
	  another_userfaultfd_s_memory_is_busy },
	{ "what_cannot_be_watched_says_why", what_cannot_be_watched_says_why },
	{ "mappings_are_found_in_the_text_too", mappings_are_found_in_the_text_too },
	{ "a_distrusted_range_is_watched_anew", a_distrusted_range_is_watched_anew },
	{ "who_wants_to_be_reaped_is", who_wants_to_be_reaped_is },
	{ "close_waits_for_changed_and_reap", close_waits_for_changed_and_reap },
	{ "opening_and_closing_leaks_nothing", opening_and_closing_leaks_nothing },
	{ "threads_may_open_and_close_at_once", threads_may_open_and_close_at_once },
	{ "its_threads_have_names_and_take_no_signals",
	  its_threads_have_names_and_take_no_signals },
	{ "only_monitors_can_be_opened", only_monitors_can_be_opened },
	{ "an_ordinary_user_has_it", an_ordinary_user_has_it },
	{ "who_is_forbidden_the_call_is_told_the_remedy",
	  who_is_forbidden_the_call_is_told_the_remedy },
	{ "the_device_is_the_second_way", the_device_is_the_second_way },
	{ "older_kernels_have_no_wp_async", older_kernels_have_no_wp_async },
	{ "without_descriptors_it_says_so", without_descriptors_it_says_so },
	{ "every_failure_of_open_is_undone", every_failure_of_open_is_undone },
	{ "every_failure_of_watch_is_harmless", every_failure_of_watch_is_harmless },
	{ "a_child_finds_the_gate_shut_and_opens_its_own",
	  a_child_finds_the_gate_shut_and_opens_its_own },
	{ "nobody_is_held_when_a_child_has_the_descriptor",
	  nobody_is_held_when_a_child_has_the_descriptor },
	{ "changers_under_way_are_let_go", changers_under_way_are_let_go },
	{ "fork_in_the_midst_of_it", fork_in_the_midst_of_it },
	{ "a_closed_descriptor_ends_the_watching",
	  a_closed_descriptor_ends_the_watching },
};

SUITE("monitor", tests)
