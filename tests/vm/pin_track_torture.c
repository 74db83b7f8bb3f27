/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin_track_torture.c - random calls of /dev/pin_track from several threads, on files
 * that they share, over memory that they change at the same time. What a call
 * returns does not matter, as long as it is an errno that the header documents; what
 * matters is that the kernel does not complain, that nothing stays pinned, and
 * (where the kernel has kmemleak) that nothing leaks.
 *
 * usage: pin_track_torture [--seed N] [--count N] [--threads N] [--million]
 *   --count    calls altogether (default 100000)
 *   --million  instead: a million watches in one file, and what one costs
 * Exit: 0; 1 when something was not as expected; 2 usage, or it could not be tried; 77
 * for --million in a kernel with kmemleak.
 */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "pin_track_user.h"

#define PAGE 4096ul
#define FILES 3
#define IDS 64
#define AREA_PAGES 256ul /* of each of the two areas: anonymous, and of a memfd */
#define AREA (AREA_PAGES * PAGE)
#define MILLION 1000000ul

/* What all threads share. Ids and descriptors are only ever guesses: that somebody
 * else released or closed them is the point. */
static int files[FILES];
static uint64_t ids[IDS];
static char *anon, *shared;
static int memfd;
static uint64_t calls, bad;

struct thread {
	pthread_t thread;
	uint64_t random, count;
};

static uint64_t draw(struct thread *t, uint64_t below)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return (t->random * 0x2545f4914f6cdd1d >> 33) % below;
}

static int *some_file(struct thread *t)
{
	return &files[draw(t, FILES)];
}

static uint64_t *some_id(struct thread *t)
{
	return &ids[draw(t, IDS)];
}

/* A range of an area: mostly short, sometimes all of it, now and then outside. */
static char *some_range(struct thread *t, size_t *len)
{
	char *area = draw(t, 2) ? anon : shared;
	size_t from = draw(t, AREA), most = draw(t, 20) ? 8 * PAGE : AREA;

	*len = 1 + draw(t, most);
	if (draw(t, 200) == 0)
		return (char *)(draw(t, 1ull << 30) << draw(t, 34));
	if (draw(t, 200) && from + *len > AREA)
		*len = AREA - from;
	return area + from;
}

/* Errors that are documented, or that come with a descriptor closed meanwhile. */
static bool expected(int rc)
{
	switch (-rc) {
	case 0:
	case EAGAIN:
	case EBADF:
	case EFAULT:
	case EINVAL:
	case ENOENT:
	case ENOMEM:
	case ENOSPC:
	case ESTALE:
		return true;
	default:
		return false;
	}
}

static int call_pin(struct thread *t)
{
	struct pin_track_pin p;
	size_t len;
	char *addr = some_range(t, &len);
	uint32_t flags = draw(t, 8);
	int rc;

	if (!(flags & PIN_TRACK_WRITE))
		flags &= ~PIN_TRACK_DIRTY_AT_PIN;
	if (draw(t, 100) == 0)
		flags = draw(t, UINT32_MAX);
	rc = pt_pin(*some_file(t), addr, len, flags, &p);
	if (!rc)
		__atomic_store_n(some_id(t), p.id, __ATOMIC_RELAXED);
	return rc;
}

static int call_watch(struct thread *t)
{
	struct pin_track_watch w;
	size_t len;
	char *addr = some_range(t, &len);
	int rc = pt_watch(*some_file(t), addr, len, &w);

	if (!rc)
		__atomic_store_n(some_id(t), w.id, __ATOMIC_RELAXED);
	return rc;
}

/* An id that somebody got, or one near it. */
static uint64_t guess(struct thread *t)
{
	uint64_t id = __atomic_load_n(some_id(t), __ATOMIC_RELAXED);

	return draw(t, 20) ? id : id + draw(t, 3) - 1;
}

static int call_unpin(struct thread *t)
{
	return pt_unpin(*some_file(t), guess(t), draw(t, 50) ? 1 + draw(t, 2) : 0);
}

static int call_unwatch(struct thread *t)
{
	return pt_unwatch(*some_file(t), guess(t));
}

static int call_query(struct thread *t)
{
	uint64_t nodes[4];
	struct pin_track_query q = {
		.size = sizeof(q),
		.flags = draw(t, 2),
		.id = guess(t),
		.nodes = draw(t, 10) ? (uintptr_t)nodes : draw(t, 2) * 8,
		.nr_nodes = draw(t, 5),
	};

	if (draw(t, 50) == 0)
		q.size = draw(t, 5000);
	return ioctl(*some_file(t), PIN_TRACK_IOC_QUERY, &q) && errno != E2BIG ? -errno
									       : 0;
}

static int call_info(struct thread *t)
{
	struct pin_track_info info;

	return pt_info(*some_file(t), &info);
}

/* poll, read, the slots, the listing */
static int call_look(struct thread *t)
{
	struct pollfd pfd = { .fd = *some_file(t), .events = POLLIN };
	char path[64], text[4096];
	volatile uint64_t *slot;
	uint64_t count;
	int fd;

	poll(&pfd, 1, 0);
	if (read(pfd.fd, &count, sizeof(count)) < 0 && !expected(-errno))
		return -errno;
	slot = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, pfd.fd, 0);
	if (slot != MAP_FAILED) {
		(void)slot[0]; /* slot 0 is always there */
		munmap((void *)slot, PAGE);
	}
	if (draw(t, 10))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pfd.fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && read(fd, text, sizeof(text)) > 0)
		;
	if (fd >= 0)
		close(fd);
	return 0;
}

/* The range changes below the pins; the areas are whole again afterwards. */
static int change_memory(struct thread *t)
{
	size_t from = draw(t, AREA_PAGES) * PAGE, len = (1 + draw(t, 8)) * PAGE;
	bool is_anon = draw(t, 2);
	char *area = is_anon ? anon : shared;

	if (from + len > AREA)
		len = AREA - from;
	switch (draw(t, 8)) {
	case 0:
		madvise(area + from, len, MADV_DONTNEED);
		break;
	case 1:
		mprotect(area + from, len, PROT_READ);
		mprotect(area + from, len, PROT_READ | PROT_WRITE);
		break;
	case 2:
		munmap(area + from, len);
		/* fall through */
	case 3:
		mmap(area + from, len, PROT_READ | PROT_WRITE,
		     MAP_FIXED | (is_anon ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
		     is_anon ? -1 : memfd, is_anon ? 0 : (off_t)from);
		break;
	case 4:
		fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, len);
		break;
	case 5:
		if (ftruncate(memfd, from) || ftruncate(memfd, AREA))
			return -errno;
		break;
	case 6:
		madvise(area + from, len, 21 /* MADV_PAGEOUT */);
		break;
	case 7:
		madvise(area + from, len, 23 /* MADV_POPULATE_WRITE */);
		break;
	}
	return 0;
}

/* A child owns nothing: each call but INFO must be EPERM there. */
static int fork_a_child(struct thread *t)
{
	int fd = *some_file(t), status = 0;
	uint64_t id = guess(t);
	pid_t pid = fork();

	if (pid < 0)
		return 0;
	if (!pid) {
		struct pin_track_watch w;
		struct pin_track_pin p;
		int rc = pt_pin(fd, anon, PAGE, 0, &p);

		if (rc == -EPERM)
			rc = pt_watch(fd, anon, PAGE, &w);
		if (rc == -EPERM)
			rc = pt_unpin(fd, id, PIN_TRACK_CLEAN);
		/* EBADF: closed by a thread of the parent, just before fork() */
		_exit(rc == -EPERM || rc == -EBADF || rc == -EINVAL ? 0 : -rc);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/* All its pins go with the old file, while others use it. */
static int reopen(struct thread *t)
{
	int *file = some_file(t), new = pt_open();

	if (new < 0)
		return new;
	if (fcntl(new, F_SETFL, O_NONBLOCK) || dup3(new, *file, O_CLOEXEC) < 0)
		return errno == EBUSY ? 0 : -errno;
	close(new);
	return 0;
}

static const struct call {
	const char *name;
	unsigned int weight;
	int (*fn)(struct thread *t);
} table[] = {
	{ "pin", 300, call_pin },     { "unpin", 300, call_unpin },
	{ "watch", 100, call_watch }, { "unwatch", 100, call_unwatch },
	{ "query", 120, call_query }, { "info", 20, call_info },
	{ "look", 30, call_look },    { "memory", 100, change_memory },
	{ "reopen", 1, reopen },      { "fork", 1, fork_a_child },
};
#define CALLS (sizeof(table) / sizeof(table[0]))

static const struct call *some_call(struct thread *t)
{
	unsigned int i, sum = 0, at;

	for (i = 0; i < CALLS; i++)
		sum += table[i].weight;
	at = draw(t, sum);
	for (i = 0; at >= table[i].weight; i++)
		at -= table[i].weight;
	return &table[i];
}

static void *run(void *arg)
{
	struct thread *t = arg;
	const struct call *c;
	uint64_t i;
	int rc;

	for (i = 0; i < t->count; i++) {
		c = some_call(t);
		rc = c->fn(t);
		if (!expected(rc)) {
			printf("%s: %s\n", c->name, strerror(-rc));
			__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
		}
		__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void set_up(void)
{
	int i;

	memfd = memfd_create("torture", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, AREA))
		exit(2);
	anon = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	shared = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (anon == MAP_FAILED || shared == MAP_FAILED)
		exit(2);
	for (i = 0; i < FILES; i++) {
		files[i] = pt_open();
		if (files[i] < 0 || fcntl(files[i], F_SETFL, O_NONBLOCK))
			exit(2);
	}
}

/* kmemleak believes what it saw twice. Return: false when it saw something. */
static bool no_leak(void)
{
	static const char path[] = "/sys/kernel/debug/kmemleak";
	char text[8192];
	ssize_t got;
	int fd, i;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("no kmemleak in this kernel\n");
		return true;
	}
	for (i = 0; i < 2; i++) {
		sleep(6); /* objects younger than 5 s are not reported */
		if (write(fd, "scan", 4) != 4)
			perror(path);
	}
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0) {
		printf("kmemleak saw nothing\n");
		return true;
	}
	text[got] = '\0';
	printf("%s\n", text);
	return false;
}

static int torture(uint64_t seed, uint64_t count, unsigned int threads)
{
	struct thread *t = calloc(threads, sizeof(*t));
	long before = pt_pins_held();
	unsigned int i;

	set_up();
	printf("seed %" PRIu64 ", %" PRIu64 " calls, %u threads\n", seed, count,
	       threads);
	fflush(stdout);
	for (i = 0; i < threads; i++) {
		t[i].random = (seed + 1) * 0x9e3779b97f4a7c15 + i * 0xbf58476d1ce4e5b9;
		t[i].count = count / threads;
		if (pthread_create(&t[i].thread, NULL, run, &t[i]))
			return 2;
	}
	for (i = 0; i < threads; i++)
		pthread_join(t[i].thread, NULL);
	for (i = 0; i < FILES; i++)
		close(files[i]);
	free(t);
	printf("%" PRIu64 " calls, %" PRIu64 " with an undocumented error\n", calls,
	       bad);
	if (pt_pins_settle(before) != before) {
		printf("%ld pins are left\n", pt_pins_held() - before);
		bad++;
	}
	if (pt_number_in("/proc/self/status", "VmPin:") != 0) {
		printf("VmPin is not zero\n");
		bad++;
	}
	return !no_leak() || bad;
}

/* Kernel memory that the memory cgroup of this process is charged for. */
static long kernel_memory(const char *group)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/memory.stat", group);
	return pt_number_in(path, "kernel ");
}

static int enter_group(const char *group)
{
	char path[128], pid[32];
	int fd, rc = -1;

	fd = open("/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "+memory", 7) != 7 || mkdir(group, 0755))
		return -1;
	close(fd);
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (fd >= 0 && write(fd, pid, strlen(pid)) > 0)
		rc = 0;
	close(fd);
	return rc;
}

static int million(void)
{
	static const char group[] = "/sys/fs/cgroup/pin_track_million";
	struct pin_track_watch w;
	struct pin_track_info info;
	long before, after;
	unsigned long i;
	int fd, rc = 0;
	char *mem;

	if (!access("/sys/kernel/debug/kmemleak", F_OK)) {
		printf("objects of a kernel with debugging are larger\n");
		return 77;
	}
	set_up();
	if (enter_group(group)) {
		perror(group);
		return 2;
	}
	fd = pt_open();
	mem = mmap(NULL, MILLION * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fd < 0 || mem == MAP_FAILED)
		return 2;
	before = kernel_memory(group);
	for (i = 0; i < MILLION && !rc; i++)
		rc = pt_watch(fd, mem + i * PAGE, PAGE, &w);
	usleep(100000);
	after = kernel_memory(group);
	pt_info(fd, &info);
	printf("%lu watches, %s, %ld bytes each\n", (unsigned long)info.watches,
	       strerror(-rc), (after - before) / (long)MILLION);
	if (rc || info.watches != MILLION || before < 0 ||
	    after - before < (long)MILLION * 100 ||
	    after - before > (long)MILLION * 150)
		return 1;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, count = 100000;
	unsigned int threads = 4;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--million"))
			return million();
		if (i + 1 == argc)
			return 2;
		if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--count"))
			count = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--threads"))
			threads = strtoul(argv[++i], NULL, 0);
		else
			return 2;
	}
	return torture(seed, count, threads);
}
