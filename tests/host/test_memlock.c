/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_memlock.c - is the limit's arithmetic the kernel's, does the sentence say
 * all of it, and what if /proc, the capability or the user namespace is another?
 *
 * What this process may do is changed for the calling thread only (capset) and
 * put back. What needs another /proc is run by a thread in a mount namespace of
 * its own, what needs another user in a child. Those users' numbers are used for
 * nothing else: user->locked_vm is shared by all processes of a user.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <liburing.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "suite.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)

static const struct backend_caps verbs = { .counter = PINMEM_COUNT_VMPIN };
static const struct backend_caps mlocks = { .counter = PINMEM_COUNT_VMLCK };
static const struct backend_caps none = { .counter = PINMEM_COUNT_NONE };
static const struct backend_caps uring = { .counter = PINMEM_COUNT_USER,
					   .charges_compound = true };
static const struct backend_caps privileged = { .counter = PINMEM_COUNT_USER,
						.charges_compound = true,
						.limit_bypassed = true };

static struct pinmem_memlock examine(const struct backend_caps *caps, const void *addr,
				     size_t len)
{
	struct pinmem_memlock m;

	memset(&m, 0xff, sizeof(m));
	CHECK_RC(memlock_examine(caps, addr, len, &m), 0);
	CHECK(m.size == sizeof(m) && m.counter == caps->counter);
	return m;
}

/* Without libc: the sanitizers turn its mlock into nothing. */
static int sys_mlock(const void *at, size_t len)
{
	return (int)syscall(SYS_mlock, at, len);
}

static int sys_munlock(const void *at, size_t len)
{
	return (int)syscall(SYS_munlock, at, len);
}

static bool says(const struct pinmem_memlock *m, const char *text)
{
	if (strstr(m->remedy, text))
		return true;
	printf("\n    no \"%s\" in: %s\n", text, m->remedy);
	return false;
}

/* ------------------------------------------------------ being somebody else */

static struct rlimit original;

/* The soft limit; the hard one stays, so that it can be put back. */
static void set_limit(rlim_t soft)
{
	struct rlimit lim = { soft, original.rlim_max };

	CHECK_RC(setrlimit(RLIMIT_MEMLOCK, &lim), 0);
}

/* Take CAP_IPC_LOCK out of this thread's effective set, or put it back in. */
static void capable(bool on)
{
	struct __user_cap_header_struct head = { .version =
							 _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	CHECK_RC((int)syscall(SYS_capget, &head, data), 0);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	if (on)
		data[0].effective |= data[0].permitted & (1u << CAP_IPC_LOCK);
	CHECK_RC((int)syscall(SYS_capset, &head, data), 0);
}

static void unprivileged(rlim_t soft)
{
	getrlimit(RLIMIT_MEMLOCK, &original);
	set_limit(soft);
	capable(false);
}

static void as_before(void)
{
	setrlimit(RLIMIT_MEMLOCK, &original);
	capable(true);
}

struct user {
	uid_t uid;
	int (*fn)(void *);
	void *arg;
};

static int become(void *p)
{
	struct user *u = p;

	if (setgroups(0, NULL) || setresgid(u->uid, u->uid, u->uid) ||
	    setresuid(u->uid, u->uid, u->uid) || prctl(PR_SET_DUMPABLE, 1))
		return 119;
	return u->fn(u->arg);
}

/* A user without capabilities whom nobody else is. -1: cannot be had */
static int as_user(int (*fn)(void *), void *arg)
{
	static unsigned int count;
	struct user u = { .fn = fn, .arg = arg };

	u.uid = 200000 + (unsigned int)getpid() % 50000 * 64 + count++ % 64;
	return in_child(become, &u);
}

static bool not_root(void)
{
	if (!geteuid())
		return false;
	suite_skip("needs root to become another user");
	return true;
}

/* ------------------------------------------------------------- a /proc of ours */

struct elsewhere {
	void (*fn)(void);
	bool failed;
};

static void *run_elsewhere(void *p)
{
	struct elsewhere *e = p;

	if (unshare(CLONE_FS | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		e->failed = true;
	else
		e->fn();
	return NULL;
}

/* Run fn where /proc is an empty directory, in which it may put files. */
static void without_proc(void (*fn)(void))
{
	struct elsewhere e = { .fn = fn };
	pthread_t thread;

	CHECK_RC(pthread_create(&thread, NULL, run_elsewhere, &e), 0);
	pthread_join(thread, NULL);
	if (e.failed)
		suite_skip("no mount namespace of our own");
}

static void make_parents(const char *path)
{
	char dir[256];

	snprintf(dir, sizeof(dir), "%s", path);
	for (char *p = strchr(dir + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(dir, 0755);
		*p = '/';
	}
}

static void put_file(const char *path, const char *text)
{
	FILE *f;

	make_parents(path);
	f = fopen(path, "we");
	CHECK(f && fputs(text, f) >= 0);
	if (f)
		fclose(f);
}

static void put_link(const char *path, const char *target)
{
	make_parents(path);
	CHECK_RC(symlink(target, path), 0);
}

/* A descriptor of a process, that shows these io_uring buffers */
static void put_ring(const char *process, int fd, const char *buffers)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/fd/%d", process, fd);
	put_link(path, "anon_inode:[io_uring]");
	snprintf(path, sizeof(path), "/proc/%s/fdinfo/%d", process, fd);
	put_file(path, buffers);
}

static void put_process(const char *process, unsigned int uid, uint64_t caps)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "/proc/%s/status", process);
	snprintf(text, sizeof(text),
		 "Name:\tx\nUid:\t%u\t0\t0\t0\nCapPrm:\t%016" PRIx64
		 "\nCapEff:\t%016" PRIx64 "\n",
		 uid, caps, caps);
	put_file(path, text);
}

/* --------------------------------------------------------------- arithmetic */

static void need_is_whole_pages_whatever_the_alignment(void)
{
	CHECK(examine(&verbs, NULL, 1).need == PAGE);
	CHECK(examine(&verbs, NULL, PAGE).need == PAGE);
	CHECK(examine(&verbs, (void *)(16 * PAGE + 4095), 1).need == PAGE);
	CHECK(examine(&verbs, (void *)(16 * PAGE + 4095), 2).need == 2 * PAGE);
	CHECK(examine(&mlocks, (void *)(16 * PAGE + 1), PAGE).need == 2 * PAGE);
	CHECK(examine(&uring, NULL, PAGE + 1).need == 2 * PAGE);
	CHECK(examine(&verbs, NULL, 0).need == 0);
}

static void a_need_beyond_all_numbers_does_not_wrap(void)
{
	struct pinmem_memlock m;
	void *high = (void *)(UINTPTR_MAX - 100);

	unprivileged(16 * PAGE);
	m = examine(&verbs, NULL, SIZE_MAX);
	CHECK(m.need > UINT64_MAX - 2 * PAGE && !m.fits);
	m = examine(&uring, (void *)(64 * PAGE), SIZE_MAX);
	CHECK(m.need > UINT64_MAX - 2 * PAGE && !m.fits);
	m = examine(&uring, high, SIZE_MAX);
	CHECK(m.need > UINT64_MAX - 2 * PAGE && !m.fits);
	CHECK_RC(memlock_precheck(&mlocks, high, SIZE_MAX), -ENOMEM);
	as_before();
}

static void odp_is_charged_nothing(void)
{
	struct pinmem_memlock m;

	unprivileged(0);
	m = examine(&none, NULL, 1ul << 40);
	CHECK(m.fits && m.exact && !m.need && !m.used);
	CHECK(says(&m, "nothing is charged"));
	CHECK_RC(memlock_precheck(&none, NULL, 1ul << 40), 0);
	as_before();
}

static void the_kernel_counts_in_pages_of_the_limit(void)
{
	unprivileged(3 * PAGE - 1);
	CHECK(examine(&verbs, NULL, 2 * PAGE).fits);
	CHECK(!examine(&verbs, NULL, 2 * PAGE + 1).fits);
	as_before();
}

/* -------------------------------------------------------------- huge pages */

/* @len bytes of THP at a 2 MiB boundary, or NULL. *map, *maplen for munmap */
static char *map_thp(size_t len, void **map)
{
	char *at;

	*map = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(*map != MAP_FAILED);
	at = (char *)(((uintptr_t)*map + HUGE - 1) & ~(HUGE - 1));
	madvise(at, len, MADV_HUGEPAGE);
	memset(at, 1, len);
	for (size_t i = 0; i < len; i += HUGE)
		if (backing_huge_at((uintptr_t)at + i) != 1) {
			munmap(*map, len + HUGE);
			suite_skip("no transparent huge page to be had");
			return NULL;
		}
	return at;
}

static void io_uring_charges_whole_transparent_huge_pages(void)
{
	struct pinmem_memlock m;
	void *map;
	char *at = map_thp(2 * HUGE, &map);

	if (!at)
		return;
	CHECK(examine(&uring, at, PAGE).need == HUGE);
	CHECK(examine(&uring, at + HUGE - 1, 1).need == HUGE);
	CHECK(examine(&uring, at + HUGE - 1, 2).need == 2 * HUGE);
	CHECK(examine(&uring, at, HUGE).need == HUGE);
	CHECK(examine(&uring, at + 5, HUGE).need == 2 * HUGE);
	CHECK(examine(&verbs, at + 5, PAGE).need == 2 * PAGE);
	CHECK(examine(&mlocks, at, PAGE).need == PAGE);
	m = examine(&uring, at, PAGE);
	CHECK(says(&m, "pinning 4 KiB (4096 B) needs 2097152 B of RLIMIT_MEMLOCK "
		       "(huge pages are charged whole)"));
	munmap(map, 3 * HUGE);
}

static void only_the_end_in_a_huge_page_is_rounded(void)
{
	void *map;
	char *at = map_thp(2 * HUGE, &map);

	if (!at)
		return;
	/* base pages below a huge page, and above one */
	CHECK_RC(madvise(at, HUGE, MADV_NOHUGEPAGE), 0);
	CHECK_RC(madvise(at, HUGE, MADV_DONTNEED), 0);
	memset(at, 1, HUGE);
	CHECK(examine(&uring, at + HUGE - PAGE, PAGE).need == PAGE);
	CHECK(examine(&uring, at + HUGE - PAGE, 2 * PAGE).need == PAGE + HUGE);
	munmap(map, 3 * HUGE);
}

static long hugepages(long n)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", n < 0 ? "re" : "we");
	long old = -1;

	if (!f)
		return -1;
	if (n >= 0)
		fprintf(f, "%ld", n);
	else if (fscanf(f, "%ld", &old) != 1)
		old = -1;
	fclose(f);
	return old;
}

static void io_uring_charges_whole_hugetlb_pages(void)
{
	long before = hugepages(-1);
	char *at;

	hugepages(before + 2);
	at = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (at == MAP_FAILED) {
		suite_skip("no 2 MiB hugetlb pages to be had");
	} else {
		/* also before the first touch: the mapping says what will come */
		CHECK(examine(&uring, at + PAGE, 1).need == HUGE);
		CHECK(examine(&uring, at + HUGE - 1, 2).need == 2 * HUGE);
		CHECK(examine(&verbs, at + PAGE, 1).need == PAGE);
		munmap(at, 2 * HUGE);
	}
	hugepages(before);
}

/* ------------------------------------------------------------ the counters */

static void vmlck_is_the_kernels_own_number(void)
{
	char *at = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pinmem_memlock before, after;

	before = examine(&mlocks, NULL, PAGE);
	if (sys_mlock(at, 16 * PAGE)) {
		suite_skip("mlock of 64 KiB is not allowed");
	} else {
		after = examine(&mlocks, NULL, PAGE);
		CHECK(before.exact && after.exact);
		CHECK(after.used == before.used + 16 * PAGE);
		CHECK(says(&after, "locking 4 KiB (4096 B) needs 4096 B"));
		CHECK(says(&after, "VmLck of this process"));
	}
	munmap(at, 16 * PAGE);
}

/* One io_uring of the caller with one buffer registered. */
static int ring_with(struct io_uring *ring, void *at, size_t len)
{
	struct iovec iov = { at, len };
	int rc = io_uring_queue_init(8, ring, 0);

	if (rc)
		return rc;
	rc = io_uring_register_buffers(ring, &iov, 1);
	if (rc)
		io_uring_queue_exit(ring);
	return rc;
}

/* Some kernels count io_uring's pins of the unprivileged in VmPin, some all. */
static int vmpin_child(void *len)
{
	struct pinmem_memlock before = examine(&verbs, NULL, PAGE), after;
	struct io_uring ring;
	void *at = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ring_with(&ring, at, *(size_t *)len))
		return 77;
	after = examine(&verbs, NULL, PAGE);
	if (!after.exact || !says(&after, "VmPin of this process"))
		return 1;
	return after.used - before.used == *(size_t *)len ? 0 : 2;
}

static void vmpin_is_the_kernels_own_number(void)
{
	size_t len = 16 * PAGE;
	int rc;

	if (not_root())
		return;
	rc = as_user(vmpin_child, &len);
	if (rc == 77)
		suite_skip("no io_uring for an ordinary user");
	else
		CHECK_RC(rc, 0);
}

/* What the kernel shows under /proc/self once the main thread is gone */
static bool process_looks_empty(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	bool empty = true;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		empty &= strncmp(line, "VmLck:", 6) != 0;
	if (f)
		fclose(f);
	return f && empty;
}

static void *outlive_main(void *arg)
{
	struct pinmem_memlock m;

	for (int i = 0; i < 2000 && !process_looks_empty(); i++)
		usleep(1000);
	if (!process_looks_empty())
		_exit(2);
	m = examine(&mlocks, NULL, PAGE);
	_exit(m.exact ? 0 : 1);
	return arg;
}

static int kill_main(void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, outlive_main, arg))
		return 3;
	pthread_exit(NULL);
}

static void the_counters_outlive_the_main_thread(void)
{
	CHECK_RC(in_child(kill_main, NULL), 0);
}

/* ------------------------------------------------- io_uring: the user's counter */

/* The smallest limit with which the kernel registers one buffer more. */
static rlim_t kernels_limit(struct io_uring *ring, void *at, size_t len)
{
	struct iovec iov = { at, len };
	rlim_t bytes;

	for (bytes = 0; bytes <= original.rlim_max; bytes += PAGE) {
		set_limit(bytes);
		if (io_uring_register_buffers(ring, &iov, 1) == 0)
			break;
	}
	io_uring_unregister_buffers(ring);
	return bytes;
}

static int compare_at(struct io_uring *ring, char *at, size_t len)
{
	struct pinmem_memlock m;
	rlim_t limit;

	set_limit(original.rlim_max);
	m = examine(&uring, at, len);
	limit = kernels_limit(ring, at, len);
	if (limit == m.need + m.used)
		return 0;
	printf("\n    %zu bytes at +%zu: kernel %" PRIu64 ", need %" PRIu64
	       ", used %" PRIu64 "\n",
	       len, (uintptr_t)at % HUGE, (uint64_t)limit, m.need, m.used);
	fflush(stdout);
	return 1;
}

/* The memory is made here: after a fork it would be copied, to base pages. */
static int compare_with_kernel(void *huge)
{
	struct io_uring ring;
	void *map = NULL;
	char *at;

	getrlimit(RLIMIT_MEMLOCK, &original);
	set_limit(original.rlim_max);
	if (io_uring_queue_init(64, &ring, 0))
		return 77;
	if (huge) {
		at = map_thp(2 * HUGE, &map);
		return !at ? 78
			   : compare_at(&ring, at + PAGE, PAGE) +
				       compare_at(&ring, at + HUGE - PAGE, 2 * PAGE);
	}
	at = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	return compare_at(&ring, at, PAGE) + compare_at(&ring, at + PAGE - 1, 2) +
	       compare_at(&ring, at + 100, 16 * PAGE);
}

static void need_and_use_are_what_io_uring_checks(void)
{
	int base, huge;

	if (not_root())
		return;
	base = as_user(compare_with_kernel, NULL);
	huge = as_user(compare_with_kernel, &huge);
	if (base == 77)
		suite_skip("no io_uring for an ordinary user");
	else
		CHECK_RC(base, 0);
	if (huge == 78)
		suite_skip("no transparent huge page to be had");
	else if (huge != 77)
		CHECK_RC(huge, 0);
}

/* Another process of the same user, that says when it has its ring. */
static pid_t spawn_ring(size_t len)
{
	struct io_uring ring;
	int ready[2];
	char c = 0;
	pid_t pid;
	void *at;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		prctl(PR_SET_DUMPABLE, 1);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		c = ring_with(&ring, at, len) ? 'n' : 'y';
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(ready[0], &c, 1) != 1 || c != 'y') {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static int count_another_process(void *arg)
{
	uint64_t before = examine(&uring, NULL, PAGE).used, after;
	pid_t pid = spawn_ring(32 * PAGE);

	(void)arg;
	if (pid < 0)
		return 77;
	after = examine(&uring, NULL, PAGE).used;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* and, from 6.14 until 7.2, its two rings of a page each */
	return after - before == 32 * PAGE || after - before == 34 * PAGE ? 0 : 1;
}

static void rings_of_the_users_other_processes_count(void)
{
	int rc;

	if (not_root())
		return;
	rc = as_user(count_another_process, NULL);
	if (rc == 77)
		suite_skip("no io_uring for an ordinary user");
	else
		CHECK_RC(rc, 0);
}

/* A ring seen through three descriptors, one of them in a forked child */
static int count_a_ring_once(void *arg)
{
	struct pinmem_memlock one, three;
	struct io_uring ring;
	pid_t pid;
	void *at = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	if (ring_with(&ring, at, 8 * PAGE))
		return 77;
	one = examine(&uring, NULL, PAGE);
	if (dup(ring.ring_fd) < 0)
		return 2;
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	three = examine(&uring, NULL, PAGE);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (one.used < 8 * PAGE || one.exact || !says(&three, "the 1 io_uring of user"))
		return 3;
	return one.used == three.used ? 0 : 1;
}

static void a_ring_seen_twice_counts_once(void)
{
	int rc;

	if (not_root())
		return;
	rc = as_user(count_a_ring_once, NULL);
	if (rc == 77)
		suite_skip("no io_uring for an ordinary user");
	else
		CHECK_RC(rc, 0);
}

static void read_old_fdinfo(void)
{
	uint64_t used;

	put_link("/proc/self", "1");
	put_file("/proc/thread-self/status", "VmPin:\t 8 kB\nVmLck:\t 4 kB\n");
	/* before 6.13 a free slot was the dummy buffer at the highest address */
	put_ring("thread-self", 5,
		 "UserFiles:\t1\n    0: 0x1000/4096\nUserBufs:\t5\n"
		 "    0: 0x7f0000001000/4096\n    1: 0xffffffffffffffff/1\n"
		 "    2: 0x7f0000002800/4096\n    3: <none>\n"
		 "    4: 0x7f0000005fff/2\nPollList:\n    9: 0x5000/8192\n");
	CHECK(examine(&uring, NULL, PAGE).used == 5 * PAGE);
	/* the same buffers are the same ring only if the inode is the same */
	put_ring("thread-self", 6, "UserBufs:\t1\n    0: 0x7f0000001000/4096\n");
	CHECK(examine(&uring, NULL, PAGE).used == 6 * PAGE);
	/* one that is closed while we look, and one without buffers: its own
	 * two pages are charged before 5.12 and from 6.14 until 7.2 */
	put_link("/proc/thread-self/fd/7", "anon_inode:[io_uring]");
	put_ring("thread-self", 8, "SqMask:\t0x7\nCqMask:\t0xf\nUserBufs:\t0\n");
	used = examine(&uring, NULL, PAGE).used;
	CHECK(used == 6 * PAGE || used == 8 * PAGE);
	CHECK(examine(&verbs, NULL, PAGE).used == 8192);
	CHECK(examine(&mlocks, NULL, PAGE).used == 4096);
}

static void free_slots_and_older_formats_are_understood(void)
{
	unprivileged(64 * PAGE);
	without_proc(read_old_fdinfo);
	as_before();
}

static void choose_processes(void)
{
	static const char ring[] = "UserBufs:\t1\n    0: 0x7f0000001000/4096\n";

	put_link("/proc/self", "1");
	put_process("2", getuid(), 0);
	put_ring("2", 3, ring);
	put_process("3", getuid() + 1, 0);
	put_ring("3", 3, ring);
	put_process("4", getuid(), 1ull << CAP_IPC_LOCK);
	put_ring("4", 3, ring);
	put_file("/proc/5/fdinfo/3", ring); /* gone while we look */
	put_ring("6", 3, ring);		    /* its status is gone */
	put_ring("x", 3, ring);		    /* no process */
	CHECK(examine(&uring, NULL, PAGE).used == PAGE);
	/* a capability in a user namespace spares nothing */
	put_file("/proc/4/ns/user", "");
	CHECK(examine(&uring, NULL, PAGE).used == 2 * PAGE);
}

static void only_processes_that_pay_are_counted(void)
{
	unprivileged(64 * PAGE);
	without_proc(choose_processes);
	as_before();
}

static void put_many_rings(void)
{
	struct pinmem_memlock m;

	put_link("/proc/self", "1");
	for (int fd = 0; fd < 300; fd++)
		put_ring("thread-self", fd,
			 "UserBufs:\t1\n    0: 0x7f0000001000/4096\n");
	m = examine(&uring, NULL, PAGE);
	CHECK(says(&m, "(at least: the first "));
	CHECK(m.used >= PAGE && m.used <= 256 * PAGE); /* fewer if out of time */
}

static void the_search_for_rings_says_when_it_stops(void)
{
	unprivileged(64 * PAGE);
	without_proc(put_many_rings);
	as_before();
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* As many processes as take far longer than the search may */
static void put_many_processes(void)
{
	struct pinmem_memlock m;
	uint64_t start, took;
	int failed = 0;
	char path[64];

	put_link("/proc/self", "1");
	for (int pid = 2; pid < 1000; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/0", pid);
		make_parents(path);
		for (int fd = 0; fd < 60; fd++) {
			snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
			failed += symlink("/dev/null", path);
		}
	}
	CHECK_RC(failed, 0);
	start = now_ms();
	m = examine(&uring, NULL, PAGE);
	took = now_ms() - start;
	CHECK(says(&m, "(at least: the first 0 io_urings"));
	CHECK(took < 1000);
}

static void the_search_for_rings_is_bounded_in_time(void)
{
	unprivileged(64 * PAGE);
	without_proc(put_many_processes);
	as_before();
}

/* --------------------------------------------------------------- capability */

static void the_capability_lifts_the_limit(void)
{
	struct pinmem_memlock m;

	if (not_root())
		return;
	CHECK(memlock_bypass());
	m = examine(&verbs, NULL, 1ul << 40);
	CHECK(m.bypass && m.fits && m.exact);
	CHECK(says(&m, "CAP_IPC_LOCK lifts the limit"));
	unprivileged(0);
	CHECK(!memlock_bypass());
	m = examine(&verbs, NULL, PAGE);
	CHECK(!m.bypass && !m.fits);
	as_before();
	CHECK(memlock_bypass());
}

static void io_uring_asks_when_the_ring_is_made(void)
{
	struct pinmem_memlock m;

	unprivileged(0);
	m = examine(&privileged, NULL, 1ul << 40);
	CHECK(m.bypass && m.fits);
	CHECK_RC(memlock_precheck(&privileged, NULL, 1ul << 40), 0);
	as_before();
	/* and who got the capability later still pays */
	m = examine(&uring, NULL, 1ul << 62);
	CHECK(!m.bypass && (!m.fits || m.limit == UINT64_MAX));
}

static int in_user_namespace(void *arg)
{
	struct pinmem_memlock m;
	struct rlimit lim = { PAGE, PAGE };
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	if (setrlimit(RLIMIT_MEMLOCK, &lim) || unshare(CLONE_NEWUSER))
		return 77;
	if (memlock_bypass())
		return 1;
	m = examine(&mlocks, at, 2 * PAGE);
	if (m.fits || !says(&m, "in the initial user namespace"))
		return 2;
	if (memlock_precheck(&mlocks, at, 2 * PAGE) != -ENOMEM)
		return 3;
	return sys_mlock(at, 2 * PAGE) && errno == ENOMEM ? 0
							  : 4; /* the kernel agrees */
}

static void a_capability_in_a_user_namespace_is_worth_nothing(void)
{
	int rc = in_child(in_user_namespace, NULL);

	if (rc == 77)
		suite_skip("no user namespaces, or (TSan) a second thread");
	else
		CHECK_RC(rc, 0);
}

/* ------------------------------------------------------------------ no /proc */

static void look_without_proc(void)
{
	struct pinmem_memlock m;

	CHECK(!memlock_bypass());
	m = examine(&verbs, NULL, PAGE);
	CHECK(m.fits && !m.exact && !m.used && m.need == PAGE);
	CHECK(m.cgroup_limit == UINT64_MAX && !m.cgroup_used);
	CHECK(says(&m, "in use unknown"));
	m = examine(&mlocks, NULL, 17 * PAGE);
	CHECK(!m.fits && !m.exact && m.limit == 16 * PAGE);
	m = examine(&uring, (void *)(64 * PAGE), PAGE);
	CHECK(m.fits && !m.exact && m.need == PAGE);
	CHECK(says(&m, "in use unknown"));
	/* only what cannot fit whatever is used is refused */
	CHECK_RC(memlock_precheck(&verbs, NULL, 16 * PAGE), 0);
	CHECK_RC(memlock_precheck(&verbs, NULL, 17 * PAGE), -ENOMEM);
	CHECK_MSG("limit 65536 B, in use unknown");
	capable(true);
	CHECK(memlock_bypass()); /* not known to be worthless */
}

static void without_proc_the_limit_alone_is_known(void)
{
	unprivileged(16 * PAGE);
	without_proc(look_without_proc);
	as_before();
}

/* ------------------------------------------------------------------- cgroup */

static void put_v2(void)
{
	struct pinmem_memlock m;

	put_file("/proc/thread-self/cgroup", "1:name=systemd:/\n0::/a/b c\n");
	put_file("/proc/thread-self/mountinfo",
		 "1 0 8:1 / / rw - ext4 /dev/x rw\nnonsense\n"
		 "2 1 0:5 / /proc/v1 rw - cgroup none rw,memory\n"
		 "3 1 0:6 / /proc/c\\040g rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
	put_file("/proc/v1/memory.limit_in_bytes", "1\n");
	put_file("/proc/v1/memory.usage_in_bytes", "1\n");
	put_file("/proc/c g/a/b c/memory.max", "max\n");
	put_file("/proc/c g/a/b c/memory.current", "5\n");
	m = examine(&verbs, NULL, PAGE);
	CHECK(m.cgroup_limit == UINT64_MAX && m.cgroup_used == 0);

	/* the ancestor is tighter than the group, though its limit is larger */
	put_file("/proc/c g/a/b c/memory.max", "1000000\n");
	put_file("/proc/c g/a/memory.max", "9000000\n");
	put_file("/proc/c g/a/memory.current", "8999999\n");
	m = examine(&verbs, NULL, PAGE);
	CHECK(m.cgroup_limit == 9000000 && m.cgroup_used == 8999999);
	CHECK(says(&m, "the memory cgroup allows 9000000 B and 8999999 B are in use"));
	CHECK(m.fits); /* these pages may be there already */

	/* memory of which nothing is there yet, larger than the whole group */
	m = examine(&verbs, NULL, 9000001);
	CHECK(!m.fits);
	CHECK(examine(&verbs, (void *)PAGE, 9000001).fits);
}

static void put_v1(void)
{
	struct pinmem_memlock m;

	put_file("/proc/thread-self/cgroup",
		 "0::/u\nbad\n5:cpu,memory:/docker/x/y\n3:pids:/\n");
	put_file("/proc/thread-self/mountinfo",
		 "2 1 0:5 /docker/x /proc/m rw - cgroup none rw,memory,cpu\n"
		 "3 1 0:6 / /proc/u rw - cgroup2 none rw\n");
	put_file("/proc/m/y/memory.limit_in_bytes", "9223372036854771712\n");
	put_file("/proc/m/y/memory.usage_in_bytes", "100\n");
	CHECK(examine(&verbs, NULL, PAGE).cgroup_limit == UINT64_MAX);
	put_file("/proc/m/y/memory.limit_in_bytes", "1073741824\n");
	m = examine(&verbs, NULL, PAGE);
	CHECK(m.cgroup_limit == 1073741824 && m.cgroup_used == 100);
	CHECK(!strstr(m.remedy, "cgroup"));

	/* a mount that shows another part of the tree: its own top is ours */
	put_file("/proc/thread-self/cgroup", "5:memory:/../outside\n");
	put_file("/proc/m/memory.limit_in_bytes", "700\n");
	put_file("/proc/m/memory.usage_in_bytes", "0\n");
	CHECK(examine(&verbs, NULL, PAGE).cgroup_limit == 700);
	put_file("/proc/thread-self/cgroup", "5:memory:/docker/xother\n");
	CHECK(examine(&verbs, NULL, PAGE).cgroup_limit == 700);
	/* none, or not mounted */
	put_file("/proc/thread-self/cgroup", "5:memoryx,xmemory:/\n");
	CHECK(examine(&verbs, NULL, PAGE).cgroup_limit == UINT64_MAX);
	put_file("/proc/thread-self/cgroup", "5:memory:/\n");
	put_file("/proc/thread-self/mountinfo",
		 "3 1 - cgroup x memory\n - cgroup\n - \n");
	CHECK(examine(&verbs, NULL, PAGE).cgroup_limit == UINT64_MAX);
}

static void the_tightest_cgroup_of_version_2_is_found(void)
{
	if (!not_root())
		without_proc(put_v2);
}

static void the_cgroup_of_version_1_is_found(void)
{
	if (!not_root())
		without_proc(put_v1);
}

static bool write_file(const char *dir, const char *file, const char *text)
{
	char path[300];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

/* A memory cgroup of 256 MiB with this process in it, wherever it can be had */
static int in_real_cgroup(void *top)
{
	struct pinmem_memlock m;
	char dir[200], limit[] = "268435456", pid[32];

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 77;
	mount("none", top, "cgroup2", 0, NULL);
	if (!write_file(top, "cgroup.subtree_control", "+memory")) {
		umount2(top, MNT_DETACH);
		if (mount("none", top, "cgroup", 0, "memory"))
			return 77;
	}
	snprintf(dir, sizeof(dir), "%s/pinmem-test-%d", (char *)top, getpid());
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (mkdir(dir, 0755))
		return 77;
	if (!write_file(dir, "memory.max", limit) &&
	    !write_file(dir, "memory.limit_in_bytes", limit)) {
		rmdir(dir);
		return 77;
	}
	if (!write_file(dir, "cgroup.procs", pid))
		return 3;
	m = examine(&verbs, NULL, 300ul << 20);
	write_file(top, "cgroup.procs", pid);
	rmdir(dir);
	if (m.cgroup_limit != 268435456 || m.cgroup_used > m.cgroup_limit)
		return 1;
	return !m.fits && says(&m, "the memory cgroup allows 268435456 B") ? 0 : 2;
}

/* The first memory cgroup makes the kernel patch its own code, and the emulator of
 * QEMU 7.2 with two processors does not always survive that. */
static bool emulated(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	bool tcg = false;

	while (f && fgets(line, sizeof(line), f))
		tcg |= strstr(line, "QEMU TCG") != NULL;
	if (f)
		fclose(f);
	return tcg;
}

static void a_real_cgroup_is_found_and_told(void)
{
	char top[] = "/tmp/pinmem-cgroup-XXXXXX";
	int rc;

	if (not_root())
		return;
	if (emulated()) {
		suite_skip("an emulated kernel may die of its first memory cgroup");
		return;
	}
	CHECK(mkdtemp(top) != NULL);
	rc = in_child(in_real_cgroup, top);
	rmdir(top);
	if (rc == 77)
		suite_skip("no memory cgroup can be made here");
	else
		CHECK_RC(rc, 0);
}

/* -------------------------------------------------------------- the sentence */

static void the_sentence_has_all_numbers_and_the_remedy(void)
{
	struct pinmem_memlock m;
	char text[128];

	unprivileged(PAGE);
	m = examine(&verbs, NULL, 64ul << 20);
	CHECK(!m.fits && m.limit == PAGE);
	CHECK(says(&m,
		   "pinning 64 MiB (67108864 B) needs 67108864 B of RLIMIT_MEMLOCK, "
		   "limit 4096 B, in use "));
	snprintf(text, sizeof(text), "raise `ulimit -l` to at least %" PRIu64 " ",
		 (m.need + m.used) / 1024);
	CHECK(says(&m, text));
	CHECK(says(&m, "LimitMEMLOCK= for a systemd service"));
	CHECK(says(&m, "or grant CAP_IPC_LOCK"));
	CHECK(!strstr(m.remedy, "before the io_uring is made"));
	m = examine(&uring, NULL, 64ul << 20);
	CHECK(says(&m, " of user ") && !m.exact);
	CHECK(says(&m, "grant CAP_IPC_LOCK before the io_uring is made"));
	CHECK(strlen(m.remedy) < sizeof(m.remedy) - 1);
	as_before();
}

static void the_hard_limit_is_told(void)
{
	struct pinmem_memlock m;

	unprivileged(PAGE);
	m = examine(&mlocks, NULL, 2 * PAGE);
	if (original.rlim_max == RLIM_INFINITY) {
		CHECK(says(&m, "there is no hard limit"));
		set_limit(RLIM_INFINITY);
		m = examine(&mlocks, NULL, 1ul << 40);
		CHECK(m.limit == UINT64_MAX && m.fits && says(&m, "limit none"));
		CHECK_RC(memlock_precheck(&mlocks, NULL, 1ul << 40), 0);
	} else {
		CHECK(says(&m, " and allows it)"));
		m = examine(&mlocks, NULL, original.rlim_max + 1);
		CHECK(says(&m, ", too low)"));
	}
	as_before();
}

static void what_fits_is_said_with_numbers_too(void)
{
	struct pinmem_memlock m;

	unprivileged(64 * PAGE);
	m = examine(&verbs, NULL, PAGE);
	CHECK(m.fits);
	CHECK(says(&m, "pinning 4 KiB (4096 B) needs 4096 B of RLIMIT_MEMLOCK, limit "
		       "262144 B, in use "));
	CHECK(says(&m, ": within the limit"));
	as_before();
}

/* ----------------------------------------------------------------- precheck */

static void precheck_refuses_what_exceeds_the_limit_alone(void)
{
	static const struct backend_caps *const all[] = { &verbs, &mlocks, &uring };

	unprivileged(16 * PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		CHECK_RC(memlock_precheck(all[i], NULL, 17 * PAGE), -ENOMEM);
		CHECK_MSG("needs 69632 B of RLIMIT_MEMLOCK, limit 65536 B");
		CHECK_RC(memlock_precheck(all[i], NULL, PAGE), 0);
	}
	as_before();
}

static void precheck_refuses_everything_at_a_limit_of_zero(void)
{
	unprivileged(0);
	CHECK_RC(memlock_precheck(&uring, NULL, 1), -ENOMEM);
	CHECK_MSG("limit 0 B");
	CHECK_RC(memlock_precheck(&verbs, NULL, 1), -ENOMEM);
	CHECK_RC(memlock_precheck(&mlocks, NULL, 1), -ENOMEM);
	as_before();
}

static void precheck_counts_what_a_huge_page_costs(void)
{
	void *map;
	char *at = map_thp(HUGE, &map);

	if (!at)
		return;
	unprivileged(HUGE - PAGE);
	CHECK_RC(memlock_precheck(&verbs, at, HUGE / 2), 0);
	CHECK_RC(memlock_precheck(&uring, at, HUGE / 2), -ENOMEM);
	CHECK_MSG("needs 2097152 B of RLIMIT_MEMLOCK (huge pages are charged whole)");
	as_before();
	munmap(map, 2 * HUGE);
}

static void precheck_believes_a_capability_got_since(void)
{
	if (not_root())
		return;
	unprivileged(PAGE);
	CHECK_RC(memlock_precheck(&verbs, NULL, 2 * PAGE), -ENOMEM);
	capable(true);
	CHECK_RC(memlock_precheck(&verbs, NULL, 2 * PAGE), 0);
	as_before();
}

/* Where the numbers are the kernel's, the answer is: mlock of n pages, with 8
 * locked already, [0, 8) of the 40, and a limit of 16. Below an eighth of
 * the limit precheck lets the kernel decide. */
static void precheck_agrees_with_mlock(void)
{
	char *at = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int said, did;

	unprivileged(16 * PAGE);
	CHECK_RC(sys_mlock(at, 8 * PAGE), 0);
	for (size_t from = 0; from < 12; from += 2)
		for (size_t n = 3; n < 28; n++) {
			said = memlock_precheck(&mlocks, at + from * PAGE, n * PAGE);
			did = sys_mlock(at + from * PAGE, n * PAGE) ? -errno : 0;
			if (!did) /* back to 8 */
				CHECK_RC(sys_munlock(at + 8 * PAGE, 32 * PAGE), 0);
			if (said != did)
				printf("\n    %zu pages from %zu\n", n, from);
			CHECK_RC(said, did);
			CHECK_RC(sys_mlock(at, 8 * PAGE), 0);
		}
	as_before();
	munmap(at, 40 * PAGE);
}

static int precheck_vmpin(void *arg)
{
	struct rlimit lim = { 32 * PAGE, 32 * PAGE };
	struct io_uring ring;
	void *at = mmap(NULL, 20 * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	if (setrlimit(RLIMIT_MEMLOCK, &lim) || ring_with(&ring, at, 20 * PAGE))
		return 77;
	if (memlock_precheck(&verbs, NULL, 12 * PAGE))
		return 1;
	if (memlock_precheck(&verbs, NULL, 13 * PAGE) != -ENOMEM)
		return 2;
	if (!strstr(pinmem_errmsg(), "in use 81920 B (VmPin of this process)"))
		return 3;
	/* for io_uring it would be an estimate, and that refuses nothing */
	if (memlock_precheck(&uring, NULL, 32 * PAGE))
		return 4;
	if (memlock_precheck(&uring, NULL, 33 * PAGE) != -ENOMEM)
		return 5;
	return 0;
}

static void precheck_adds_what_is_pinned_but_trusts_no_estimate(void)
{
	int rc;

	if (not_root())
		return;
	rc = as_user(precheck_vmpin, NULL);
	if (rc == 77)
		suite_skip("no io_uring for an ordinary user");
	else
		CHECK_RC(rc, 0);
}

/* ------------------------------------------------------------ faults, threads */

static unsigned int open_files(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void every_failure_leaves_an_answer_and_no_file_open(void)
{
	static const struct backend_caps *const all[] = { &verbs, &mlocks, &uring };
	unsigned int files = open_files();
	struct pinmem_memlock m;

	unprivileged(16 * PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		FAULT_WALK (n) {
			m = examine(all[i], &files, 8 * PAGE);
			CHECK(m.need >= 8 * PAGE && m.limit == 16 * PAGE);
			CHECK(m.fits == (m.need + m.used <= m.limit));
			CHECK(*m.remedy &&
			      (m.exact || all[i] == &uring || fault_fired()));
		}
		FAULT_WALK (n) {
			CHECK_RC(memlock_precheck(all[i], NULL, 17 * PAGE), -ENOMEM);
			CHECK_RC(memlock_precheck(all[i], NULL, 3 * PAGE), 0);
		}
	}
	as_before();
	CHECK(open_files() == files);
}

static void *examine_often(void *arg)
{
	struct pinmem_memlock m;

	(void)arg;
	for (int i = 0; i < 20; i++) {
		memlock_examine(&verbs, &m, sizeof(m), &m);
		if (!m.exact)
			return (void *)1;
		memlock_examine(&uring, &m, sizeof(m), &m);
	}
	return NULL;
}

static void threads_may_ask_at_once(void)
{
	pthread_t threads[4];
	void *bad;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		CHECK_RC(pthread_create(&threads[i], NULL, examine_often, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], &bad);
		CHECK(!bad);
	}
}

#define TEST(fn)        \
	{               \
#fn, fn \
	}
static const struct test tests[] = {
	TEST(need_is_whole_pages_whatever_the_alignment),
	TEST(a_need_beyond_all_numbers_does_not_wrap),
	TEST(odp_is_charged_nothing),
	TEST(the_kernel_counts_in_pages_of_the_limit),
	TEST(io_uring_charges_whole_transparent_huge_pages),
	TEST(only_the_end_in_a_huge_page_is_rounded),
	TEST(io_uring_charges_whole_hugetlb_pages),
	TEST(vmlck_is_the_kernels_own_number),
	TEST(vmpin_is_the_kernels_own_number),
	TEST(the_counters_outlive_the_main_thread),
	TEST(need_and_use_are_what_io_uring_checks),
	TEST(rings_of_the_users_other_processes_count),
	TEST(a_ring_seen_twice_counts_once),
	TEST(free_slots_and_older_formats_are_understood),
	TEST(only_processes_that_pay_are_counted),
	TEST(the_search_for_rings_says_when_it_stops),
	TEST(the_search_for_rings_is_bounded_in_time),
	TEST(the_capability_lifts_the_limit),
	TEST(io_uring_asks_when_the_ring_is_made),
	TEST(a_capability_in_a_user_namespace_is_worth_nothing),
	TEST(without_proc_the_limit_alone_is_known),
	TEST(the_tightest_cgroup_of_version_2_is_found),
	TEST(the_cgroup_of_version_1_is_found),
	TEST(a_real_cgroup_is_found_and_told),
	TEST(the_sentence_has_all_numbers_and_the_remedy),
	TEST(the_hard_limit_is_told),
	TEST(what_fits_is_said_with_numbers_too),
	TEST(precheck_refuses_what_exceeds_the_limit_alone),
	TEST(precheck_refuses_everything_at_a_limit_of_zero),
	TEST(precheck_counts_what_a_huge_page_costs),
	TEST(precheck_believes_a_capability_got_since),
	TEST(precheck_agrees_with_mlock),
	TEST(precheck_adds_what_is_pinned_but_trusts_no_estimate),
	TEST(every_failure_leaves_an_answer_and_no_file_open),
	TEST(threads_may_ask_at_once),
};

SUITE("memlock", tests)
