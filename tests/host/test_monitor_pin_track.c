/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_monitor_pin_track.c - the cache with /dev/pin_track as its monitor: every way to
 * take a page away makes the next get a miss, what takes none away leaves a hit, and
 * nothing is left over. Pins are io_uring's. For machines whose kernel has
 * kernel/pin_track.patch (tests/vm, --kernel patched); elsewhere it is skipped.
 *
 * That the bytes are right is for tests/torture to ask the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"

#define PAGE 4096ul
#define LEN (8 * PAGE)
#define DEVICE "/dev/pin_track"
#define RW PINMEM_ACCESS_LOCAL_WRITE
#define HUGE (2ul << 20)

static struct pinmem *pm;
static struct pinmem_cache *cache;

static bool begin_with(const struct pinmem_cache_options *o)
{
	struct pinmem_options open = { .size = sizeof(open),
				       .backend = PINMEM_BACKEND_URING };
	struct pinmem_cache_options auto_ = { .size = sizeof(auto_) };
	int rc;

	rc = pinmem_open(&open, &pm);
	CHECK_RC(rc, 0);
	if (rc)
		return false;
	rc = pinmem_cache_create(pm, o ? o : &auto_, &cache);
	CHECK_RC(rc, 0);
	if (rc)
		pinmem_close(pm);
	return !rc;
}

static bool begin(void)
{
	return begin_with(NULL);
}

static struct pinmem_cache_stats stats(void)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	CHECK_RC(pinmem_cache_stats(cache, &s), 0);
	return s;
}

static uint64_t live(void)
{
	struct pinmem_stats s = { .size = sizeof(s) };

	CHECK_RC(pinmem_stats(pm, &s), 0);
	return s.live_regions;
}

static void end(void)
{
	CHECK_RC(pinmem_cache_destroy(cache), 0);
	CHECK(live() == 0);
	CHECK_RC(pinmem_close(pm), 0);
}

static void use(void *at, size_t len)
{
	struct pinmem_mr *mr;

	CHECK_RC(pinmem_cache_get(cache, at, len, RW, &mr), 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_DIRTY), 0);
}

/* Is the range served without a registration? */
static bool hits(void *at, size_t len)
{
	uint64_t made = stats().registrations;

	use(at, len);
	return stats().registrations == made;
}

static void *map(void *at, size_t len, int flags, int fd)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static char *anon(size_t len)
{
	char *p = map(NULL, len, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(p, 'a', len);
	return p;
}

static char *anon_at(void *at, size_t len)
{
	return map(at, len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
}

/* -------------------------------------------------------- what takes pages away */

static void unmap_and_map(char *at)
{
	CHECK_RC((int)syscall(SYS_munmap, at, LEN), 0);
	anon_at(at, LEN);
}

static void unmap_one_page(char *at)
{
	CHECK_RC((int)syscall(SYS_munmap, at + 3 * PAGE, PAGE), 0);
	anon_at(at + 3 * PAGE, PAGE);
}

static void map_over(char *at)
{
	anon_at(at, LEN);
}

static void move_away(char *at)
{
	char *there = anon(LEN);

	CHECK(mremap(at, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
	anon_at(at, LEN);
	munmap(there, LEN);
}

static void move_onto(char *at)
{
	char *other = anon(LEN);

	CHECK(mremap(other, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
}

static void shrink_and_map(char *at)
{
	CHECK(mremap(at, LEN, LEN / 2, 0) == at);
	anon_at(at + LEN / 2, LEN / 2);
}

static void discard(char *at)
{
	CHECK_RC(madvise(at, LEN, MADV_DONTNEED), 0);
}

static void discard_one_page(char *at)
{
	CHECK_RC(madvise(at + PAGE, PAGE, MADV_DONTNEED), 0);
}

static void free_lazily(char *at)
{
	CHECK_RC(madvise(at, LEN, MADV_FREE), 0);
}

static void attach_over(char *at)
{
	int id = shmget(IPC_PRIVATE, LEN, 0600);

	CHECK(shmat(id, at, SHM_REMAP) == at);
	CHECK_RC(shmctl(id, IPC_RMID, NULL), 0);
}

static void unseen_by_a_child(char *at)
{
	unmap_and_map(at); /* with a child that has a copy of all descriptors */
}

static void anonymous_memory(void)
{
	static void (*const changes[])(char *at) = {
		unmap_and_map,	map_over, unmap_one_page,   move_away,	 move_onto,
		shrink_and_map, discard,  discard_one_page, free_lazily, attach_over,
	};
	uint64_t changed;

	if (!begin())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char *at = anon(LEN);

		use(at, LEN);
		CHECK(hits(at, LEN));
		CHECK(hits(at + PAGE, PAGE));
		changed = stats().changed;
		changes[i](at);
		if (hits(at, LEN))
			printf("\n    change %zu was not seen", i);
		CHECK(stats().changed == changed + 1);
		CHECK(hits(at, LEN));
		munmap(at, LEN);
	}
	end();
}

static void the_heap_shrinks(void)
{
	char *at, *old;

	if (!begin())
		return;
	old = (char *)syscall(SYS_brk, 0);
	CHECK((char *)syscall(SYS_brk, old + 4 * PAGE + LEN) == old + 4 * PAGE + LEN);
	at = (char *)(((uintptr_t)old + PAGE - 1) & ~(PAGE - 1));
	use(at, LEN);
	CHECK(hits(at, LEN));
	CHECK((char *)syscall(SYS_brk, old) == old);
	CHECK((char *)syscall(SYS_brk, old + 4 * PAGE + LEN) == old + 4 * PAGE + LEN);
	CHECK(!hits(at, LEN));
	CHECK_RC(pinmem_cache_flush(cache), 0);
	CHECK((char *)syscall(SYS_brk, old) == old);
	end();
}

/* -------------------------------------------------------- files, nobody's word */

static void cut(int fd, off_t len)
{
	CHECK_RC(ftruncate(fd, 0), 0);
	CHECK_RC(ftruncate(fd, len), 0);
}

static void punch(int fd, off_t len)
{
	CHECK_RC(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, len / 2,
			   len / 2),
		 0);
}

static void cut_by_another(int fd, off_t len)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(ftruncate(fd, 0) || ftruncate(fd, len));
	CHECK(waitpid(pid, &status, 0) == pid && !status);
}

static void changes_of_a_file(int fd, off_t len, int flags)
{
	static void (*const changes[])(int fd, off_t len) = { cut, punch,
							      cut_by_another };
	char *at;

	CHECK_RC(ftruncate(fd, len), 0);
	at = map(NULL, (size_t)len, flags, fd);
	memset(at, 'f', (size_t)len);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		if (i == 1 && (flags & MAP_PRIVATE))
			continue; /* its own copies stay where a hole is punched */
		use(at, (size_t)len);
		CHECK(hits(at, (size_t)len));
		changes[i](fd, len);
		if (hits(at, (size_t)len))
			printf("\n    change %zu was not seen", i);
		CHECK(stats().changed > 0);
		memset(at, 'g', (size_t)len);
	}
	CHECK(stats().alone_file == 0);
	munmap(at, (size_t)len);
	close(fd);
}

static void shared_memory_files_are_kept_and_truncation_is_seen(void)
{
	if (!begin())
		return;
	changes_of_a_file(memfd_create("test", MFD_CLOEXEC), LEN, MAP_SHARED);
	end();
}

static void private_file_mappings_are_kept_and_truncation_is_seen(void)
{
	FILE *f;

	if (!begin())
		return;
	f = tmpfile();
	CHECK(f != NULL);
	if (f) {
		changes_of_a_file(dup(fileno(f)), LEN, MAP_PRIVATE);
		fclose(f);
	}
	end();
}

static void set_hugepages(const char *n)
{
	int fd = open("/proc/sys/vm/nr_hugepages", O_WRONLY);

	CHECK(write(fd, n, strlen(n)) == (ssize_t)strlen(n));
	close(fd);
}

static void hugetlb_files_are_kept_and_truncation_is_seen(void)
{
	char old[32] = "";
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "r");
	int fd;

	if (!begin()) {
		fclose(f);
		return;
	}
	CHECK(fgets(old, sizeof(old), f) != NULL);
	fclose(f);
	if (atoi(old) < 4)
		set_hugepages("4");
	fd = memfd_create("test", MFD_CLOEXEC | MFD_HUGETLB);
	changes_of_a_file(fd, 2 * HUGE, MAP_SHARED);
	end();
	set_hugepages(old);
}

/* ------------------------------------------------------- what takes none away */

static void fork_and_writeback_and_protection_leave_hits(void)
{
	char *at, *file;
	int fd, status;
	pid_t pid;

	if (!begin())
		return;
	at = anon(LEN);
	fd = memfd_create("test", MFD_CLOEXEC);
	CHECK_RC(ftruncate(fd, LEN), 0);
	file = map(NULL, LEN, MAP_SHARED, fd);
	use(at, LEN);
	use(file, LEN);
	pid = fork();
	if (!pid) {
		memset(at, 'c', LEN);
		_exit(0);
	}
	memset(at, 'p', LEN); /* the child has copies: pinned pages stay ours */
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK_RC(mprotect(at, LEN, PROT_READ), 0);
	CHECK_RC(mprotect(at, LEN, PROT_READ | PROT_WRITE), 0);
	memset(file, 'w', LEN);
	CHECK_RC(msync(file, LEN, MS_SYNC), 0);
	CHECK_RC(fsync(fd), 0);
	CHECK(hits(at, LEN));
	CHECK(hits(file, LEN));
	CHECK(stats().changed == 0);
	munmap(at, LEN);
	munmap(file, LEN);
	close(fd);
	end();
}

/* The pin copies the pages: the first registration is not what is watched. */
static void memory_shared_with_a_child_is_kept_after_a_second_pin(void)
{
	char *at, go;
	int pipes[2];
	pid_t pid;

	if (!begin())
		return;
	at = anon(LEN);
	CHECK_RC(pipe(pipes), 0);
	pid = fork();
	if (!pid) {
		close(pipes[1]);
		_exit(read(pipes[0], &go, 1) < 0);
	}
	use(at, LEN);
	CHECK(stats().alone_raced == 0);
	CHECK(hits(at, LEN));
	CHECK(live() == 1);
	close(pipes[0]);
	close(pipes[1]);
	waitpid(pid, NULL, 0);
	munmap(at, LEN);
	end();
}

/* ------------------------------------------------------------- nothing is left */

static bool soon(bool (*is)(void))
{
	const struct timespec moment = { .tv_nsec = 5000000 };

	for (int i = 0; i < 2000; i++) {
		if (is())
			return true;
		nanosleep(&moment, NULL);
	}
	return false;
}

static bool nothing_live(void)
{
	return live() == 0;
}

static void what_was_unmapped_is_released_without_a_get(void)
{
	char *at;

	if (!begin())
		return;
	for (int i = 0; i < 8; i++) {
		at = anon(LEN);
		use(at, LEN);
		munmap(at, LEN);
		CHECK(soon(nothing_live));
	}
	CHECK(stats().regions == 0);
	end();
}

static void who_holds_a_region_keeps_it(void)
{
	struct pinmem_mr *mr;
	char *at;

	if (!begin())
		return;
	at = anon(LEN);
	CHECK_RC(pinmem_cache_get(cache, at, LEN, RW, &mr), 0);
	unmap_and_map(at);
	CHECK(!hits(at, LEN));
	CHECK(live() == 2);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	CHECK(live() == 1);
	munmap(at, LEN);
	end();
}

/* "watches:" of the monitor's descriptor */
static long watches(void)
{
	char path[64], target[64], line[128];
	long n = -1;
	FILE *f;

	for (int fd = 3; fd < 64 && n < 0; fd++) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, target, sizeof(target) - 1);
		if (len < 0 || strncmp(target, DEVICE, strlen(DEVICE)) != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			sscanf(line, "watches: %ld", &n);
		if (f)
			fclose(f);
	}
	return n;
}

static void watches_end_with_their_regions(void)
{
	struct pinmem_cache_options few = { .size = sizeof(few), .max_regions = 8 };
	char *at;

	if (!begin_with(&few))
		return;
	at = anon(64 * LEN);
	for (size_t i = 0; i < 64; i++)
		use(at + i * LEN, PAGE);
	CHECK(stats().evictions == 56);
	CHECK(watches() == 8);
	CHECK_RC(pinmem_cache_flush(cache), 0);
	CHECK(watches() == 0);
	munmap(at, 64 * LEN);
	end();
	CHECK(watches() == -1);
}

/* --------------------------------------------------------- processes and rights */

static int in_the_child(void *at)
{
	struct pinmem_mr *mr;

	if (pinmem_cache_get(cache, at, LEN, RW, &mr) != -ECHILD)
		return 1;
	if (pinmem_cache_destroy(cache) || pinmem_close(pm))
		return 2;
	pm = NULL;
	if (!begin())
		return 3;
	use(at, LEN);
	if (!hits(at, LEN))
		return 4;
	unmap_and_map(at);
	if (hits(at, LEN))
		return 5;
	munmap(at, LEN);
	return pinmem_cache_destroy(cache) || pinmem_close(pm) ? 6 : 0;
}

static void a_child_finds_no_hits_and_may_begin_anew(void)
{
	char *at;

	if (!begin())
		return;
	at = anon(LEN);
	use(at, LEN);
	CHECK_RC(in_child(in_the_child, at), 0);
	CHECK(hits(at, LEN));
	unseen_by_a_child(at);
	CHECK(!hits(at, LEN));
	munmap(at, LEN);
	end();
}

static void it_is_chosen_before_userfaultfd(void)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_PIN_TRACK };

	if (!begin())
		return;
	CHECK(stats().monitor == PINMEM_MONITOR_PIN_TRACK);
	end();
	if (!begin_with(&o))
		return;
	CHECK(stats().monitor == PINMEM_MONITOR_PIN_TRACK);
	end();
}

static void both_kinds_serve_at_the_same_time(void)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_USERFAULTFD };
	struct pinmem_cache *other, *mine;
	char *at;

	if (!begin())
		return;
	mine = cache;
	CHECK_RC(pinmem_cache_create(pm, &o, &other), 0);
	at = anon(LEN);
	use(at, LEN);
	cache = other;
	use(at, LEN);
	CHECK(hits(at, LEN));
	unmap_and_map(at);
	CHECK(!hits(at, LEN));
	CHECK(stats().unmapped == 1);
	CHECK_RC(pinmem_cache_destroy(other), 0);
	cache = mine;
	CHECK(!hits(at, LEN));
	munmap(at, LEN);
	end();
}

static int without_the_device(void *arg)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_PIN_TRACK };
	int rc;

	(void)arg;
	if (chmod(DEVICE, 0600) || setgid(65534) || setuid(65534))
		return 1;
	if (!begin())
		return 2;
	if (stats().monitor != PINMEM_MONITOR_USERFAULTFD)
		return 3;
	if (pinmem_cache_destroy(cache))
		return 4;
	rc = pinmem_cache_create(pm, &o, &cache);
	if (rc != -EOPNOTSUPP || !strstr(pinmem_errmsg(), "Permission denied"))
		return 5;
	return pinmem_close(pm) ? 6 : 0;
}

static void who_may_not_open_it_gets_userfaultfd(void)
{
	if (geteuid()) {
		suite_skip("we are not root: the device's mode stays as it is");
		return;
	}
	CHECK_RC(in_child(without_the_device, NULL), 0);
	CHECK_RC(chmod(DEVICE, 0666), 0);
}

/* ---------------------------------------------- the moment that events cannot see */

struct taker {
	pthread_t id;
	bool stop;
	uint64_t rounds, early;
};

/*
 * Addresses that another thread's munmap() has freed, while it has not returned: what
 * is cached of them is changed before that. So the mapping is never served by a region
 * that is older than it.
 */
static void *map_and_get(void *arg)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct taker *t = arg;
	struct pinmem_mr *mr;
	uint64_t before;
	char *p;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		before = now_ns();
		p = (char *)syscall(SYS_mmap, NULL, LEN, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED || pinmem_cache_get(cache, p, LEN, RW, &mr) ||
		    pinmem_mr_query(mr, &i)) {
			t->early = UINT64_MAX;
			return NULL;
		}
		t->early += i.age_ns > now_ns() - before;
		pinmem_cache_put(mr, PINMEM_CLEAN);
		syscall(SYS_munmap, p, LEN);
		t->rounds++;
	}
	return NULL;
}

static void the_moment_of_munmap_is_seen(void)
{
	const struct timespec while_ = { .tv_sec = 2 };
	struct taker t[3] = { 0 };

	if (!begin())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		CHECK_RC(pthread_create(&t[i].id, NULL, map_and_get, &t[i]), 0);
	nanosleep(&while_, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		__atomic_store_n(&t[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(t[i].id, NULL);
		CHECK(t[i].early == 0);
		CHECK(t[i].rounds > 0);
	}
	end();
}

static const struct test tests[] = {
	{ "it_is_chosen_before_userfaultfd", it_is_chosen_before_userfaultfd },
	{ "anonymous_memory", anonymous_memory },
	{ "the_heap_shrinks", the_heap_shrinks },
	{ "shared_memory_files_are_kept_and_truncation_is_seen",
	  shared_memory_files_are_kept_and_truncation_is_seen },
	{ "private_file_mappings_are_kept_and_truncation_is_seen",
	  private_file_mappings_are_kept_and_truncation_is_seen },
	{ "hugetlb_files_are_kept_and_truncation_is_seen",
	  hugetlb_files_are_kept_and_truncation_is_seen },
	{ "fork_and_writeback_and_protection_leave_hits",
	  fork_and_writeback_and_protection_leave_hits },
	{ "memory_shared_with_a_child_is_kept_after_a_second_pin",
	  memory_shared_with_a_child_is_kept_after_a_second_pin },
	{ "what_was_unmapped_is_released_without_a_get",
	  what_was_unmapped_is_released_without_a_get },
	{ "who_holds_a_region_keeps_it", who_holds_a_region_keeps_it },
	{ "watches_end_with_their_regions", watches_end_with_their_regions },
	{ "a_child_finds_no_hits_and_may_begin_anew",
	  a_child_finds_no_hits_and_may_begin_anew },
	{ "both_kinds_serve_at_the_same_time", both_kinds_serve_at_the_same_time },
	{ "who_may_not_open_it_gets_userfaultfd",
	  who_may_not_open_it_gets_userfaultfd },
	{ "the_moment_of_munmap_is_seen", the_moment_of_munmap_is_seen },
};

int main(int argc, char **argv)
{
	if (access(DEVICE, F_OK)) {
		puts("there is no " DEVICE);
		return 77;
	}
	return suite_main("monitor_pin_track", tests, ARRAY_SIZE(tests), argc, argv);
}
