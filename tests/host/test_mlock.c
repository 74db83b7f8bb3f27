/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_mlock.c - the mlock backend against the kernel of this machine: what VmLck says
 * after each step, ranges that share pages, and each reason for which nothing is
 * locked.
 */
#include "suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fault.h"
#include "uapi.h"

#define PAGE ((size_t)4096)

/* ---------------------------------------------------------------- helpers */

static struct backend *open_it(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	struct backend *be = NULL;

	CHECK_RC(backend_mlock.open(&o, &be), 0);
	return be;
}

static void close_it(struct backend *be)
{
	backend_mlock.close(be, false);
}

static struct segment seg_of(void *addr, size_t len)
{
	return (struct segment){ .addr = addr, .len = len, .slot = -1 };
}

static int pin(struct backend *be, void *addr, size_t len)
{
	struct segment s = seg_of(addr, len);

	return be->ops->pin(be, &s, PINMEM_ACCESS_LOCAL_WRITE);
}

static int unpin(struct backend *be, void *addr, size_t len)
{
	struct segment s = seg_of(addr, len);

	return be->ops->unpin(be, &s, PINMEM_CLEAN);
}

static char *map(size_t n, int prot)
{
	char *p = mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* The kernel's count of locked memory, in pages */
static long locked(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	while (f && kib < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %ld kB", &kib) != 1)
			kib = -1;
	if (f)
		fclose(f);
	return kib / (long)(PAGE / 1024);
}

/* Is each of these pages locked? One character a page: 'L' or '-'. */
static const char *locks(const char *addr, size_t n)
{
	static char map_of_locks[64];
	char line[512], *flags;
	unsigned long low, high, start = 0, end = 0, at = (unsigned long)addr;
	FILE *f = fopen("/proc/self/smaps", "re");

	memset(map_of_locks, '.', n); /* not mapped */
	map_of_locks[n] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &low, &high) == 2) {
			start = low;
			end = high;
		}
		flags = strncmp(line, "VmFlags:", 8) ? NULL : line;
		for (size_t i = 0; flags && i < n; i++)
			if (at + i * PAGE >= start && at + i * PAGE < end)
				map_of_locks[i] = strstr(flags, " lo") ? 'L' : '-';
	}
	if (f)
		fclose(f);
	return map_of_locks;
}

#define CHECK_LOCKS(addr, n, want)                                                 \
	do {                                                                       \
		const char *found_ = locks(addr, n);                               \
		if (strcmp(found_, want))                                          \
			printf("\n    %s:%d: locks are %s, wanted %s\n", __FILE__, \
			       __LINE__, found_, want);                            \
		CU_ASSERT_STRING_EQUAL(found_, want);                              \
	} while (0)

static size_t resident(char *addr, size_t n)
{
	unsigned char vec[64];
	size_t there = 0;

	CHECK(!mincore(addr, n * PAGE, vec));
	for (size_t i = 0; i < n; i++)
		there += vec[i] & 1;
	return there;
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

/* --------------------------------------------------------------- residency */

static void memory_becomes_resident_and_is_let_go(void)
{
	struct backend *be = open_it();
	char *mem = map(16, PROT_READ | PROT_WRITE);
	long before = locked();

	CHECK(resident(mem, 16) == 0);
	CHECK_RC(pin(be, mem, 16 * PAGE), 0);
	CHECK(resident(mem, 16) == 16);
	CHECK(locked() == before + 16);
	CHECK_LOCKS(mem, 16, "LLLLLLLLLLLLLLLL");
	CHECK_RC(unpin(be, mem, 16 * PAGE), 0);
	CHECK(locked() == before);
	CHECK_LOCKS(mem, 16, "----------------");
	CHECK(resident(mem, 16) == 16);
	close_it(be);
	munmap(mem, 16 * PAGE);
}

static void read_only_memory_is_locked_too(void)
{
	struct backend *be = open_it();
	char *mem = map(2, PROT_READ);

	CHECK_RC(pin(be, mem, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 2, "LL");
	CHECK_RC(unpin(be, mem, 2 * PAGE), 0);
	close_it(be);
	munmap(mem, 2 * PAGE);
}

static void partial_pages_are_locked_whole(void)
{
	struct backend *be = open_it();
	char *mem = map(4, PROT_READ | PROT_WRITE);

	CHECK_RC(pin(be, mem + 2 * PAGE - 1, 2), 0);
	CHECK_LOCKS(mem, 4, "-LL-");
	CHECK_RC(unpin(be, mem + 2 * PAGE - 1, 2), 0);
	CHECK_LOCKS(mem, 4, "----");
	CHECK_RC(pin(be, mem + PAGE, PAGE), 0);
	CHECK_LOCKS(mem, 4, "-L--");
	CHECK_RC(unpin(be, mem + PAGE, PAGE), 0);
	close_it(be);
	munmap(mem, 4 * PAGE);
}

/* ----------------------------------------------------------------- sharing */

static void regions_in_one_page_keep_each_others_lock(void)
{
	struct backend *be = open_it();
	char *mem = map(3, PROT_READ | PROT_WRITE);

	CHECK_RC(pin(be, mem + 10, 100), 0);
	CHECK_RC(pin(be, mem + 200, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 3, "LLL");
	CHECK_RC(unpin(be, mem + 200, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 3, "L--");
	CHECK_RC(unpin(be, mem + 10, 100), 0);
	CHECK_LOCKS(mem, 3, "---");
	close_it(be);
	munmap(mem, 3 * PAGE);
}

static void overlap_stays_locked_until_the_last_goes(void)
{
	struct backend *be = open_it();
	char *mem = map(10, PROT_READ | PROT_WRITE);

	CHECK_RC(pin(be, mem, 6 * PAGE), 0);
	CHECK_RC(pin(be, mem + 4 * PAGE, 6 * PAGE), 0);
	CHECK_RC(unpin(be, mem, 6 * PAGE), 0);
	CHECK_LOCKS(mem, 10, "----LLLLLL");
	CHECK_RC(pin(be, mem, 6 * PAGE), 0);
	CHECK_RC(unpin(be, mem + 4 * PAGE, 6 * PAGE), 0);
	CHECK_LOCKS(mem, 10, "LLLLLL----");
	CHECK_RC(unpin(be, mem, 6 * PAGE), 0);
	CHECK_LOCKS(mem, 10, "----------");
	close_it(be);
	munmap(mem, 10 * PAGE);
}

static void long_region_over_short_ones_unlocks_the_gaps(void)
{
	struct backend *be = open_it();
	char *mem = map(10, PROT_READ | PROT_WRITE);

	CHECK_RC(pin(be, mem + PAGE, PAGE), 0);
	CHECK_RC(pin(be, mem + 4 * PAGE, 2 * PAGE), 0);
	CHECK_RC(pin(be, mem, 10 * PAGE), 0);
	CHECK_RC(pin(be, mem + 9 * PAGE, PAGE), 0);
	CHECK_RC(unpin(be, mem, 10 * PAGE), 0);
	CHECK_LOCKS(mem, 10, "-L--LL---L");
	/* a short one under a long one takes nothing away */
	CHECK_RC(pin(be, mem, 10 * PAGE), 0);
	CHECK_RC(unpin(be, mem + 4 * PAGE, 2 * PAGE), 0);
	CHECK_RC(unpin(be, mem + PAGE, PAGE), 0);
	CHECK_LOCKS(mem, 10, "LLLLLLLLLL");
	CHECK_RC(unpin(be, mem, 10 * PAGE), 0);
	CHECK_LOCKS(mem, 10, "---------L");
	CHECK_RC(unpin(be, mem + 9 * PAGE, PAGE), 0);
	close_it(be);
	munmap(mem, 10 * PAGE);
}

static void neighbours_do_not_touch_each_other(void)
{
	struct backend *be = open_it();
	char *mem = map(4, PROT_READ | PROT_WRITE);

	CHECK_RC(pin(be, mem, 2 * PAGE), 0);
	CHECK_RC(pin(be, mem + 2 * PAGE, 2 * PAGE), 0);
	CHECK_RC(unpin(be, mem, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 4, "--LL");
	CHECK_RC(unpin(be, mem + 2 * PAGE, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 4, "----");
	close_it(be);
	munmap(mem, 4 * PAGE);
}

static void same_range_twice_needs_two_releases(void)
{
	struct backend *be = open_it(), *other = open_it();
	char *mem = map(2, PROT_READ | PROT_WRITE);

	CHECK_RC(pin(be, mem, 2 * PAGE), 0);
	CHECK_RC(pin(other, mem, 2 * PAGE), 0);
	CHECK_RC(pin(be, mem, PAGE), 0);
	CHECK_RC(unpin(be, mem, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 2, "LL");
	CHECK_RC(unpin(other, mem, 2 * PAGE), 0);
	CHECK_LOCKS(mem, 2, "L-");
	close_it(other);
	CHECK_RC(unpin(be, mem, PAGE), 0);
	CHECK_LOCKS(mem, 2, "--");
	close_it(be);
	munmap(mem, 2 * PAGE);
}

static void what_is_not_held_is_not_released(void)
{
	struct backend *be = open_it();
	char *mem = map(4, PROT_READ | PROT_WRITE);

	CHECK_RC(unpin(be, mem, PAGE), -EINVAL);
	CHECK_MSG("are not locked");
	CHECK_RC(pin(be, mem, 4 * PAGE), 0);
	CHECK_RC(unpin(be, mem, 3 * PAGE), -EINVAL);
	CHECK_RC(unpin(be, mem + PAGE, 3 * PAGE), -EINVAL);
	CHECK_LOCKS(mem, 4, "LLLL");
	CHECK_RC(unpin(be, mem, 4 * PAGE), 0);
	CHECK_RC(unpin(be, mem, 4 * PAGE), -EINVAL);
	close_it(be);
	munmap(mem, 4 * PAGE);
}

/* Random ranges against a count per page */
static void random_ranges_lock_exactly_what_they_cover(void)
{
	enum { N = 32, HELD = 24, ROUNDS = 1500 };
	struct backend *be = open_it();
	char *mem = map(N, PROT_READ | PROT_WRITE);
	struct {
		size_t from, n;
	} held[HELD];
	size_t live = 0, wrong = 0;
	unsigned int seed = 7;

	for (int i = 0; i < ROUNDS; i++) {
		char want[N + 1];

		if (live < HELD && rand_r(&seed) % 2) {
			held[live].from = (size_t)rand_r(&seed) % N;
			held[live].n =
				(size_t)rand_r(&seed) % (N - held[live].from) + 1;
			wrong += !!pin(be, mem + held[live].from * PAGE,
				       held[live].n * PAGE);
			live++;
		} else if (live) {
			size_t at = (size_t)rand_r(&seed) % live;

			wrong += !!unpin(be, mem + held[at].from * PAGE,
					 held[at].n * PAGE);
			held[at] = held[--live];
		}
		if (i % 10)
			continue;
		memset(want, '-', N);
		want[N] = 0;
		for (size_t k = 0; k < live; k++)
			memset(want + held[k].from, 'L', held[k].n);
		wrong += !!strcmp(want, locks(mem, N));
	}
	while (live--)
		wrong += !!unpin(be, mem + held[live].from * PAGE, held[live].n * PAGE);
	CHECK(wrong == 0);
	close_it(be);
	munmap(mem, N * PAGE);
}

struct neighbour {
	struct backend *be;
	char *mem;
	size_t from;
	int errors;
};

/* Each has a page of its own and shares the one in the middle with the other. */
static void *come_and_go(void *arg)
{
	struct neighbour *n = arg;
	char *at = n->mem + n->from * PAGE;

	for (int i = 0; i < 300; i++) {
		n->errors += !!pin(n->be, at, 2 * PAGE);
		if (i % 20 == 0)
			n->errors +=
				backing_vmflag((uintptr_t)n->mem + PAGE, "lo") != 1;
		n->errors += !!unpin(n->be, at, 2 * PAGE);
	}
	return NULL;
}

static void threads_do_not_unlock_each_others_pages(void)
{
	char *mem = map(3, PROT_READ | PROT_WRITE);
	struct neighbour n[2] = { { open_it(), mem, 0, 0 }, { open_it(), mem, 1, 0 } };
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		CU_ASSERT_FATAL(!pthread_create(&t[i], NULL, come_and_go, &n[i]));
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		CHECK(n[i].errors == 0);
		close_it(n[i].be);
	}
	CHECK_LOCKS(mem, 3, "---");
	munmap(mem, 3 * PAGE);
}

/* ---------------------------------------------------------- gone meanwhile */

static void unmapped_memory_is_released(void)
{
	struct backend *be = open_it();
	char *mem = map(8, PROT_READ | PROT_WRITE);
	long before = locked();

	CHECK_RC(pin(be, mem, 8 * PAGE), 0);
	munmap(mem, 8 * PAGE);
	CHECK_RC(unpin(be, mem, 8 * PAGE), 0);
	CHECK(locked() == before);
	close_it(be);
}

static void what_lies_behind_a_hole_is_unlocked_too(void)
{
	struct backend *be = open_it();
	char *mem = map(8, PROT_READ | PROT_WRITE);
	long before = locked();

	CHECK_RC(pin(be, mem, 8 * PAGE), 0);
	munmap(mem, PAGE);
	munmap(mem + 3 * PAGE, 2 * PAGE);
	CHECK_LOCKS(mem, 8, ".LL..LLL");
	CHECK_RC(unpin(be, mem, 8 * PAGE), 0);
	CHECK_LOCKS(mem, 8, ".--..---");
	CHECK(locked() == before);
	close_it(be);
	munmap(mem, 8 * PAGE);
}

/* ---------------------------------------------------------------- refusals */

static void hole_is_refused_and_nothing_stays_locked(void)
{
	struct backend *be = open_it();
	char *mem = map(6, PROT_READ | PROT_WRITE);
	long before = locked();

	munmap(mem + 3 * PAGE, PAGE);
	CHECK_RC(pin(be, mem, 6 * PAGE), -EFAULT);
	CHECK_MSG("not all of it is mapped");
	CHECK_LOCKS(mem, 6, "---.--");
	CHECK_RC(pin(be, mem + 3 * PAGE, PAGE), -EFAULT);
	CHECK(locked() == before);
	/* what another region holds is left to it */
	CHECK_RC(pin(be, mem + PAGE, PAGE), 0);
	CHECK_RC(pin(be, mem, 6 * PAGE), -EFAULT);
	CHECK_LOCKS(mem, 6, "-L-.--");
	CHECK_RC(unpin(be, mem + PAGE, PAGE), 0);
	CHECK(locked() == before);
	close_it(be);
	munmap(mem, 6 * PAGE);
}

static void page_that_cannot_be_faulted_in_is_refused(void)
{
	struct backend *be = open_it();
	char *mem = map(4, PROT_READ | PROT_WRITE);
	long before = locked();

	CHECK(!mprotect(mem + 2 * PAGE, PAGE, PROT_NONE));
	CHECK_RC(pin(be, mem, 4 * PAGE), -EFAULT);
	CHECK_MSG("PROT_NONE");
	CHECK(locked() == before);
	CHECK_LOCKS(mem, 4, "----");
	/* also where there is nothing left to lock */
	CHECK_RC(pin(be, mem, 2 * PAGE), 0);
	CHECK_RC(pin(be, mem + PAGE, 2 * PAGE), -EFAULT);
	CHECK_LOCKS(mem, 4, "LL--");
	CHECK_RC(unpin(be, mem, 2 * PAGE), 0);
	close_it(be);
	munmap(mem, 4 * PAGE);
}

static void end_of_file_is_refused(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	struct backend *be = open_it();
	long before = locked();
	char *mem;

	CHECK(fd >= 0 && !ftruncate(fd, (off_t)PAGE));
	mem = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CU_ASSERT_FATAL(mem != MAP_FAILED);
	CHECK_RC(pin(be, mem, 3 * PAGE), -EFAULT);
	CHECK_MSG("past the end of its file");
	CHECK(locked() == before);
	CHECK_RC(pin(be, mem, PAGE), 0);
	CHECK_RC(unpin(be, mem, PAGE), 0);
	close_it(be);
	munmap(mem, 3 * PAGE);
	close(fd);
}

static int no_limit_child(void *arg)
{
	struct backend *be;
	struct pinmem_options o = { .size = sizeof(o) };
	char *mem = map(2, PROT_READ | PROT_WRITE);

	(void)arg;
	EXPECT(!backend_mlock.open(&o, &be));
	EXPECT(!be->caps.limit_bypassed);
	EXPECT(pin(be, mem, PAGE) == -ENOMEM);
	EXPECT(said("RLIMIT_MEMLOCK is 0"));
	EXPECT(locked() == 0);
	EXPECT(unpin(be, mem, PAGE) == -EINVAL);
	close_it(be);
	return 0;
}

static void limit_of_nothing_is_told(void)
{
	if (geteuid())
		suite_skip("changing the user needs root");
	else
		CHECK_RC(as_nobody(0, no_limit_child, NULL), 0);
}

static int small_limit_child(void *arg)
{
	struct backend *be;
	struct pinmem_options o = { .size = sizeof(o) };
	char *mem = map(32, PROT_READ | PROT_WRITE);

	(void)arg;
	EXPECT(!backend_mlock.open(&o, &be));
	EXPECT(!pin(be, mem, 4 * PAGE));
	EXPECT(pin(be, mem + 2 * PAGE, 20 * PAGE) == -ENOMEM);
	EXPECT(said("RLIMIT_MEMLOCK (64 KiB (65536 B))"));
	EXPECT(!strcmp(locks(mem, 8), "LLLL----"));
	EXPECT(!pin(be, mem, 16 * PAGE)); /* 4 of them are charged already */
	EXPECT(locked() == 16);
	EXPECT(!unpin(be, mem, 4 * PAGE));
	EXPECT(locked() == 16);
	EXPECT(!unpin(be, mem, 16 * PAGE));
	EXPECT(locked() == 0);
	close_it(be);
	return 0;
}

static void limit_is_told_apart_from_a_hole(void)
{
	if (geteuid())
		suite_skip("changing the user needs root");
	else
		CHECK_RC(as_nobody(16 * PAGE, small_limit_child, NULL), 0);
}

static void each_errno_has_its_sentence(void)
{
	static const struct {
		int err, want;
		const char *says;
	} cases[] = {
		{ EAGAIN, -ENOMEM, "Cannot allocate memory" },
		{ EPERM, -ENOMEM, "RLIMIT_MEMLOCK is 0" },
		{ EINTR, -EINTR, "Interrupted" },
		{ ENOSYS, -ENOSYS, "not implemented" },
	};
	struct backend *be = open_it();
	char *mem = map(1, PROT_READ | PROT_WRITE);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fault_only("mlock2", cases[i].err);
		fault_arm(1);
		CHECK_RC(pin(be, mem, PAGE), cases[i].want);
		fault_disarm();
		CHECK_MSG(cases[i].says);
		CHECK_LOCKS(mem, 1, "-");
	}
	close_it(be);
	munmap(mem, PAGE);
}

/* Mappings until the kernel makes no more: then none can be split either. */
static int crowded_child(void *arg)
{
	const size_t many = 70000; /* vm.max_map_count is 65530 */
	struct pinmem_options o = { .size = sizeof(o) };
	char *mem = map(3, PROT_READ | PROT_WRITE), *held, *crowd;
	struct backend *be;
	size_t i;

	(void)arg;
	EXPECT(!backend_mlock.open(&o, &be));
	held = map(3, PROT_READ | PROT_WRITE);
	EXPECT(!pin(be, held, 3 * PAGE));
	EXPECT(!pin(be, held + PAGE, PAGE));
	crowd = mmap(NULL, many * PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	EXPECT(crowd != MAP_FAILED);
	for (i = 0; i < many; i += 2)
		if (mprotect(crowd + i * PAGE, PAGE, PROT_READ))
			break;
	if (i >= many)
		return 77;
	EXPECT(pin(be, mem + PAGE, PAGE) == -ENOMEM);
	EXPECT(said("vm.max_map_count"));
	/* unlocking would have to split as well: then all stays as it is */
	EXPECT(unpin(be, held, 3 * PAGE) == -ENOMEM);
	EXPECT(said("munlock(2)"));
	munmap(crowd, many * PAGE);
	EXPECT(!strcmp(locks(held, 3), "LLL"));
	EXPECT(!unpin(be, held, 3 * PAGE));
	EXPECT(!strcmp(locks(held, 3), "-L-"));
	EXPECT(!unpin(be, held + PAGE, PAGE));
	EXPECT(!pin(be, mem + PAGE, PAGE));
	EXPECT(!unpin(be, mem + PAGE, PAGE));
	close_it(be);
	return 0;
}

#ifdef __SANITIZE_THREAD__
#define RUNTIME_NEEDS_MAPPINGS true
#else
#define RUNTIME_NEEDS_MAPPINGS false
#endif

static void too_many_mappings_are_told(void)
{
	int rc;

	if (RUNTIME_NEEDS_MAPPINGS) {
		suite_skip("ThreadSanitizer dies when there are too many mappings");
		return;
	}
	rc = in_child(crowded_child, NULL);
	if (rc == 77)
		suite_skip("vm.max_map_count is raised here");
	else
		CHECK_RC(rc, 0);
}

static void no_step_that_fails_leaves_anything(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	char *mem = map(2, PROT_READ | PROT_WRITE);
	long before = locked();
	int failed = 0;

	FAULT_WALK (n) {
		struct backend *be = NULL;

		if (backend_mlock.open(&o, &be)) {
			CHECK(fault_fired() && !be);
			failed++;
			continue;
		}
		if (pin(be, mem, 2 * PAGE)) {
			CHECK(fault_fired());
			fault_disarm();
			CHECK_RC(unpin(be, mem, 2 * PAGE), -EINVAL);
			failed++;
		} else {
			CHECK_RC(unpin(be, mem, 2 * PAGE), 0);
		}
		close_it(be);
	}
	CHECK(failed >= 3); /* pinner, table, mlock2 */
	CHECK(locked() == before);
	munmap(mem, 2 * PAGE);
}

static void table_that_cannot_grow_is_told(void)
{
	enum { N = 16 }; /* what the table has room for at first */
	struct backend *be = open_it();
	char *mem = map(N + 1, PROT_READ | PROT_WRITE);
	long before = locked();

	for (size_t i = 0; i < N; i++)
		CHECK_RC(pin(be, mem + i * PAGE, PAGE), 0);
	fault_only("realloc", ENOMEM);
	fault_arm(1);
	CHECK_RC(pin(be, mem + N * PAGE, PAGE), -ENOMEM);
	CHECK(fault_fired());
	fault_disarm();
	CHECK_MSG("table of 17 locked ranges");
	CHECK(locked() == before + N);
	CHECK_RC(pin(be, mem + N * PAGE, PAGE), 0);
	for (size_t i = 0; i < N + 1; i++)
		CHECK_RC(unpin(be, mem + i * PAGE, PAGE), 0);
	CHECK(locked() == before);
	close_it(be);
	munmap(mem, (N + 1) * PAGE);
}

/* ------------------------------------------------------------ fork, traits */

struct family {
	struct backend *be;
	char *mem;
};

static int child_is_on_its_own(void *arg)
{
	struct family *f = arg;
	struct pinmem_options o = { .size = sizeof(o) };
	struct backend *be;

	EXPECT(locked() == 0); /* locks are not inherited */
	EXPECT(!backend_mlock.open(&o, &be));
	EXPECT(unpin(be, f->mem, 4 * PAGE) == -EINVAL);
	EXPECT(!pin(be, f->mem + 2 * PAGE, 4 * PAGE));
	EXPECT(locked() == 4);
	/* the parent's range does not keep the child's pages locked */
	EXPECT(!unpin(be, f->mem + 2 * PAGE, 4 * PAGE));
	EXPECT(locked() == 0);
	close_it(be);
	backend_mlock.close(f->be, true);
	return 0;
}

static void child_knows_nothing_of_its_parents_locks(void)
{
	struct family f = { open_it(), map(6, PROT_READ | PROT_WRITE) };

	CHECK_RC(pin(f.be, f.mem, 4 * PAGE), 0);
	CHECK_RC(in_child(child_is_on_its_own, &f), 0);
	CHECK_LOCKS(f.mem, 6, "LLLL--");
	CHECK_RC(unpin(f.be, f.mem, 4 * PAGE), 0);
	CHECK_LOCKS(f.mem, 6, "------");
	close_it(f.be);
	munmap(f.mem, 6 * PAGE);
}

static void what_it_can_is_told(void)
{
	struct backend *be = open_it();
	const struct backend_caps *c = &be->caps;

	CHECK(be->ops == &backend_mlock && be->ops->id == PINMEM_BACKEND_MLOCK);
	CHECK(!c->pins && !c->odp && !c->iova && !c->always_writes);
	CHECK(c->max_segment > SIZE_MAX / 2 && c->max_segment % (1ul << 30) == 0);
	CHECK(c->unpin == UNPIN_NEVER_DIRTIES);
	CHECK(c->counter == PINMEM_COUNT_VMLCK && !c->charges_compound);
	CHECK(c->access == PINMEM_ACCESS_LOCAL_WRITE);
	CHECK(c->node == -1 && !c->device[0]);
	CHECK(c->limit_bypassed == memlock_bypass());
	CHECK(!be->ops->pin_odp && !be->ops->prefetch && !be->ops->slots);
	close_it(be);
}

static const struct test tests[] = {
#define T(name)             \
	{                   \
#name, name \
	}
	T(memory_becomes_resident_and_is_let_go),
	T(read_only_memory_is_locked_too),
	T(partial_pages_are_locked_whole),
	T(regions_in_one_page_keep_each_others_lock),
	T(overlap_stays_locked_until_the_last_goes),
	T(long_region_over_short_ones_unlocks_the_gaps),
	T(neighbours_do_not_touch_each_other),
	T(same_range_twice_needs_two_releases),
	T(what_is_not_held_is_not_released),
	T(random_ranges_lock_exactly_what_they_cover),
	T(threads_do_not_unlock_each_others_pages),
	T(unmapped_memory_is_released),
	T(what_lies_behind_a_hole_is_unlocked_too),
	T(hole_is_refused_and_nothing_stays_locked),
	T(page_that_cannot_be_faulted_in_is_refused),
	T(end_of_file_is_refused),
	T(limit_of_nothing_is_told),
	T(limit_is_told_apart_from_a_hole),
	T(each_errno_has_its_sentence),
	T(too_many_mappings_are_told),
	T(no_step_that_fails_leaves_anything),
	T(table_that_cannot_grow_is_told),
	T(child_knows_nothing_of_its_parents_locks),
	T(what_it_can_is_told),
#undef T
};

SUITE("mlock", tests)
