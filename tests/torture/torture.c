/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture.c - does the cache ever serve a region that is not the memory?
 *
 * Threads get, verify through the device and put; other threads change mappings by raw
 * system calls. A slot is a range that is changed only by who holds its lock for
 * writing, and judged only by who holds it for reading: so every change is before or
 * after a judged get, as the contract has it. Other gets of the same slots, and all of
 * the cache's own work, run against the changes without any lock; what they got is held
 * over changes, put by other threads, and must still be registered until then. Besides,
 * threads use memory of their own that comes and goes with nobody told: malloc's,
 * stacks of threads, SysV segments, a library's.
 *
 * One thing userfaultfd cannot do: munmap() gives the addresses free before its event
 * is sent. A thread whose mmap() gets them in these microseconds, while the munmap()
 * has not returned, may find the old region. Memory of one's own meets that now and
 * then; it is looked at again after a moment, and must be right then. It is counted
 * apart. (In slots every change has returned: there nothing is excused.) With
 * /dev/pin_track as the monitor nothing is excused anywhere, and there is more to
 * change: files through their descriptors, SysV segments attached over others.
 *
 * After a change the first judged get of each cache is always verified, others now and
 * then. It fails (1) on the first stale byte, a failed transfer, a registration left
 * over or no progress for 30 s; and when so little was judged that it could not have
 * failed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "torture.h"

#define SLOTS 32
#define SLOT_SPAN (4 * MiB)	  /* addresses for each; the rest of it is a gap */
#define SLOTS_AT 0x100000000000ul /* see torture_changes.c: scratch() */
#define WORLDS 2
#define THREADS_MAX 16
#define HELD 8
#define STUCK_S 30

struct slot {
	pthread_rwlock_t lock;
	pthread_mutex_t bytes; /* one verifies at a time */
	char *at;
	size_t len;
	bool shared;
	uint64_t version;	   /* changes; under the lock */
	uint64_t verified[WORLDS]; /* atomic: the version that was judged last */
	enum change last;	   /* for the report */
};

struct thread {
	pthread_t id;
	unsigned int number;
	struct rng rng;
	struct {
		struct held h;
		struct world *w;
	} held[HELD];
	/* read by the watchdog */
	uint64_t ops, gets, judged, touched, early, changes[CHANGES], own[8];
	const char *doing;
};

static struct slot slots[SLOTS];
static struct world *worlds[WORLDS];
static struct thread threads[THREADS_MAX];
static unsigned int hitters = 3, changers = 2, own_every = 64;
static uint64_t seed = 1, max_ops;
static unsigned int seconds = 10;
static bool told_nothing, quiet, sees_all;
static enum pinmem_monitor monitor;
static const char *device, *library;
static bool stop_now; /* atomic */
static uint64_t stale, errors;

/* One region that goes from the thread that got it to another that puts it */
static struct {
	pthread_mutex_t lock;
	struct held h;
	struct world *w;
} given = { .lock = PTHREAD_MUTEX_INITIALIZER };

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	_exit(2);
}

static bool stopping(void)
{
	return __atomic_load_n(&stop_now, __ATOMIC_RELAXED);
}

static void complain(const struct thread *t, const char *what, const char *where)
{
	bool is_stale = !strcmp(what, "STALE");

	if (__atomic_add_fetch(is_stale ? &stale : &errors, 1, __ATOMIC_RELAXED) <=
		    10 &&
	    !told_nothing)
		fprintf(stderr,
			"%s: %s, thread %u, operation %llu; again: --seed %llu\n", what,
			where, t->number, (unsigned long long)t->ops,
			(unsigned long long)seed);
	if (is_stale && !told_nothing)
		__atomic_store_n(&stop_now, true, __ATOMIC_RELAXED);
}

static void show_region(const struct held *h, const char *at)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };

	if (told_nothing || pinmem_mr_query(h->mr, &i))
		return;
	fprintf(stderr,
		"  at %p, in region %p +%llu, %s, %.3f ms old, %llu hits, %llu "
		"holders\n",
		(const void *)at, i.addr, (unsigned long long)i.len,
		pinmem_backing_name(i.backing), (double)i.age_ns / 1e6,
		(unsigned long long)i.hits, (unsigned long long)i.holders);
}

static void judge(struct thread *t, struct world *w, const struct held *h, char *at,
		  const char *where)
{
	enum found f = world_verify(w, h, at, rng_next(&t->rng));

	t->judged++;
	if (f == FOUND_STALE) {
		complain(t, "STALE", where);
		show_region(h, at);
	} else if (f == FOUND_ERROR) {
		complain(t, "a transfer failed", where);
	}
}

/* -------------------------------------------------------------------- hitters */

static void put(struct thread *t, struct world *w, struct held *h, bool old)
{
	if (old && !rng_below(&t->rng, 4)) {
		t->touched++;
		if (!world_touch(w, h))
			complain(t, "a held region does not work", "held");
	}
	world_put(w, h, rng_below(&t->rng, 2));
}

/* Keep it for a while, give it to another thread, or put it. */
static void dispose(struct thread *t, struct world *w, struct held *h)
{
	uint64_t dice = rng_below(&t->rng, 16);
	unsigned int i = (unsigned int)rng_below(&t->rng, HELD);

	if (dice == 0) {
		if (t->held[i].w)
			put(t, t->held[i].w, &t->held[i].h, true);
		t->held[i].h = *h;
		t->held[i].w = w;
		return;
	}
	if (dice == 1 && !pthread_mutex_trylock(&given.lock)) {
		struct held other = given.h;
		struct world *others = given.w;

		given.h = *h;
		given.w = w;
		pthread_mutex_unlock(&given.lock);
		if (others)
			put(t, others, &other, true);
		return;
	}
	put(t, w, h, false);
}

static void release_held(struct thread *t)
{
	for (unsigned int i = 0; i < HELD; i++)
		if (t->held[i].w)
			put(t, t->held[i].w, &t->held[i].h, true);
}

/* A part of a slot, or all of it; often the same, so that there are hits */
static void choose_range(struct thread *t, const struct slot *s, char **at, size_t *len)
{
	size_t pages = s->len / PAGE, first, n;

	*at = s->at;
	*len = s->len;
	switch (rng_below(&t->rng, 8)) {
	case 0:
		first = rng_below(&t->rng, pages);
		n = 1 + rng_below(&t->rng, pages - first);
		*at = s->at + first * PAGE;
		*len = n * PAGE;
		break;
	case 1:
		*at = s->at + 64 * (1 + rng_below(&t->rng, 32));
		*len = PAGE - 64 * 33;
		break;
	}
}

static void judged_get(struct thread *t, struct slot *s, unsigned int w)
{
	bool more = rng_below(&t->rng, 2);
	uint64_t seen = __atomic_load_n(&s->verified[w], __ATOMIC_RELAXED);
	struct held h;
	char *at;
	size_t len;

	choose_range(t, s, &at, &len);
	if (world_get(worlds[w], at, len, more, &h)) {
		complain(t, pinmem_errmsg(), "get");
		return;
	}
	t->gets++;
	if (seen != s->version || !rng_below(&t->rng, 32)) {
		pthread_mutex_lock(&s->bytes);
		judge(t, worlds[w], &h,
		      at + rng_below(&t->rng, (len - 64) / 64 + 1) * 64,
		      change_names[s->last]);
		pthread_mutex_unlock(&s->bytes);
		__atomic_store_n(&s->verified[w], s->version, __ATOMIC_RELAXED);
	}
	dispose(t, worlds[w], &h);
}

static void hit_slot(struct thread *t)
{
	struct slot *s = &slots[rng_below(&t->rng, SLOTS)];
	unsigned int w = (unsigned int)rng_below(&t->rng, WORLDS);
	struct held h;
	char *at;
	size_t len;

	t->doing = "hit";
	if (rng_below(&t->rng, 4)) {
		if (pthread_rwlock_tryrdlock(&s->lock))
			return;
		for (int i = 0; i < 4; i++) /* the same slot, again: hits */
			judged_get(t, s, w);
		pthread_rwlock_unlock(&s->lock);
		return;
	}
	/* against whatever happens: it may not be mapped */
	choose_range(t, s, &at, &len);
	if (world_get(worlds[w], at, len, false, &h))
		return;
	t->gets++;
	dispose(t, worlds[w], &h);
}

/* ------------------------------------------------- memory that comes and goes */

static void use(struct thread *t, char *at, size_t len, const char *what)
{
	const struct timespec moment = { .tv_nsec = 20000000 };
	struct world *w = worlds[rng_below(&t->rng, WORLDS)];
	char *byte = at + rng_below(&t->rng, (len - 64) / 64 + 1) * 64;
	struct held h;

	for (int again = 0; again < 2; again++) {
		if (world_get(w, at, len, false, &h)) {
			complain(t, pinmem_errmsg(), what);
			return;
		}
		t->gets++;
		if (again || told_nothing || sees_all ||
		    world_verify(w, &h, byte, rng_next(&t->rng)) == FOUND_RIGHT)
			break;
		t->early++;
		world_put(w, &h, false);
		nanosleep(&moment, NULL);
	}
	judge(t, w, &h, byte, what);
	dispose(t, w, &h);
}

static void own_malloc(struct thread *t)
{
	size_t len = 4 * KiB << rng_below(&t->rng, 9);
	char *p = malloc(len);

	if (!p)
		die("malloc");
	use(t, p, len, "malloc");
	if (!rng_below(&t->rng, 4)) {
		char *q = realloc(p, len * 3);

		if (!q)
			die("realloc");
		use(t, p = q, len * 3, "realloc");
	}
	free(p);
}

static void *attach(size_t len, void *at, int flags)
{
	int id = shmget(IPC_PRIVATE, len, 0600);
	char *p = id < 0 ? (void *)-1 : (char *)syscall(SYS_shmat, id, at, flags);

	if (p == (void *)-1)
		die("shmat: %s", strerror(errno));
	shmctl(id, IPC_RMID, NULL);
	return p;
}

static void own_segment(struct thread *t)
{
	size_t len = PAGE << rng_below(&t->rng, 6);
	char *p = attach(len, NULL, 0);

	use(t, p, len, "shmat");
	syscall(SYS_shmdt, p);
}

static void *on_a_stack(void *arg)
{
	_Alignas(64) volatile char mem[16 * KiB];

	mem[0] = 1;
	use(arg, (char *)mem, sizeof(mem), "a thread's stack");
	return NULL;
}

static void own_stack(struct thread *t)
{
	pthread_attr_t attr;
	pthread_t id;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, (128 + 64 * rng_below(&t->rng, 8)) * KiB);
	if (pthread_create(&id, &attr, on_a_stack, t))
		die("pthread_create");
	pthread_join(id, NULL);
	pthread_attr_destroy(&attr);
}

static void load_and_use(struct thread *t)
{
	void *handle = library ? dlopen(library, RTLD_NOW) : NULL;
	char *bss, *data;

	if (!handle)
		die("dlopen: %s", library ? dlerror() : "no --library");
	bss = dlsym(handle, "torture_bss");
	data = dlsym(handle, "torture_data");
	use(t, bss, 64 * KiB, "a library's .bss");
	use(t, data, 8 * KiB, "a library's .data");
	dlclose(handle);
}

/* One at a time: to two threads it would be the same memory. */
static void own_library(struct thread *t)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

	if (pthread_mutex_trylock(&one))
		return;
	load_and_use(t);
	pthread_mutex_unlock(&one);
}

static void own_mapping(struct thread *t)
{
	size_t len = PAGE * (1 + rng_below(&t->rng, 64));
	char *p = (char *)syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	use(t, p, len, "mmap");
	syscall(SYS_munmap, p, len);
}

/* Truncated, or a hole punched, through the descriptor: the mapping stays. */
static void own_file(struct thread *t)
{
	off_t len = (off_t)(PAGE * (1 + rng_below(&t->rng, 32)));
	int fd = memfd_create("torture", MFD_CLOEXEC);
	char *p;

	if (fd < 0 || ftruncate(fd, len))
		die("memfd_create: %s", strerror(errno));
	p = (char *)syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	use(t, p, (size_t)len, "a file");
	if (rng_below(&t->rng, 2)) {
		if (ftruncate(fd, 0) || ftruncate(fd, len))
			die("ftruncate: %s", strerror(errno));
		use(t, p, (size_t)len, "a truncated file");
	} else {
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, len))
			die("fallocate: %s", strerror(errno));
		use(t, p, (size_t)len, "a file with a hole punched");
	}
	syscall(SYS_munmap, p, len);
	close(fd);
}

static void own_attached_over(struct thread *t)
{
	size_t len = PAGE << rng_below(&t->rng, 6);
	char *p = attach(len, NULL, 0);

	use(t, p, len, "shmat");
	attach(len, p, SHM_REMAP);
	use(t, p, len, "shmat(SHM_REMAP)");
	syscall(SYS_shmdt, p);
}

static void own_rearranged(struct thread *t)
{
	char *p = (char *)syscall(SYS_mmap, NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	use(t, p, PAGE, "mmap");
	if (syscall(SYS_remap_file_pages, p, PAGE, 0, 2, 0))
		die("remap_file_pages: %s", strerror(errno));
	use(t, p, PAGE, "remap_file_pages");
	syscall(SYS_munmap, p, 4 * PAGE);
}

static void own_memory(struct thread *t)
{
	static void (*const kinds[])(struct thread * t) = {
		own_malloc,  own_mapping, own_segment,	     own_stack,
		own_library, own_file,	  own_attached_over, own_rearranged,
	};
	unsigned int n = sees_all ? ARRAY_SIZE(kinds) : ARRAY_SIZE(kinds) - 3;
	unsigned int k = (unsigned int)rng_below(&t->rng, n);

	t->doing = "own memory";
	t->own[k]++;
	kinds[k](t);
}

/* ------------------------------------------------------------------- changers */

static void change_slot(struct thread *t)
{
	struct slot *s = &slots[rng_below(&t->rng, SLOTS)];
	enum change c = (enum change)rng_below(&t->rng, CHANGES);

	if (c == CHANGE_FORK && rng_below(&t->rng, 20)) /* dear */
		return;
	t->doing = change_names[c];
	pthread_rwlock_wrlock(&s->lock);
	t->changes[c] += change_do(c, s->at, s->len, s->shared, &t->rng);
	s->version++; /* what did not work may have changed something */
	s->last = c;
	pthread_rwlock_unlock(&s->lock);
}

static bool over(const struct thread *t)
{
	return stopping() || (max_ops && t->ops >= max_ops / (hitters + changers));
}

static void *hitter(void *arg)
{
	struct thread *t = arg;

	while (!over(t)) {
		if (rng_below(&t->rng, own_every))
			hit_slot(t);
		else
			own_memory(t);
		__atomic_add_fetch(&t->ops, 1, __ATOMIC_RELAXED);
	}
	release_held(t);
	t->doing = "nothing more";
	return NULL;
}

static void *changer(void *arg)
{
	struct thread *t = arg;
	struct timespec nap = { .tv_nsec = 20000 };

	while (!over(t)) {
		change_slot(t);
		if (!rng_below(&t->rng, 4))
			nanosleep(&nap, NULL); /* else nothing is ever hit */
		__atomic_add_fetch(&t->ops, 1, __ATOMIC_RELAXED);
	}
	t->doing = "nothing more";
	return NULL;
}

/* ----------------------------------------------------------------------- main */

static void slots_init(void)
{
	struct rng r = { seed * 2 + 1 };
	char *all = (char *)SLOTS_AT;

	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[i];

		pthread_rwlock_init(&s->lock, NULL);
		pthread_mutex_init(&s->bytes, NULL);
		s->at = all + i * SLOT_SPAN;
		s->len = i % 8 == 7 ? 2 * MiB : PAGE * (2 + rng_below(&r, 63));
		s->shared = i % 4 == 3 && i % 8 != 7;
		change_map(s->at, s->len, s->shared);
	}
}

static uint64_t all_ops(void)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < hitters + changers; i++)
		n += __atomic_load_n(&threads[i].ops, __ATOMIC_RELAXED);
	return n;
}

static void show_stuck(void)
{
	fprintf(stderr, "no progress for %d s; --seed %llu\n", STUCK_S,
		(unsigned long long)seed);
	for (unsigned int i = 0; i < hitters + changers; i++)
		fprintf(stderr, "  thread %u: operation %llu: %s\n", i,
			(unsigned long long)threads[i].ops, threads[i].doing);
	_exit(1);
}

static void watch(void)
{
	struct timespec tick = { .tv_nsec = 100000000 };
	uint64_t before = 0, idle = 0, ticks = 0;

	while (!stopping()) {
		uint64_t now = all_ops();

		nanosleep(&tick, NULL);
		idle = now == before ? idle + 1 : 0;
		before = now;
		if (idle > STUCK_S * 10)
			show_stuck();
		if (max_ops ? now >= max_ops : ++ticks >= seconds * 10ull)
			__atomic_store_n(&stop_now, true, __ATOMIC_RELAXED);
	}
}

static void start(void)
{
	for (unsigned int i = 0; i < hitters + changers; i++) {
		struct thread *t = &threads[i];

		t->number = i;
		t->doing = "starting";
		t->rng.s = (seed + 1) * 0x9e3779b97f4a7c15ull + i * 2 + 1;
		if (pthread_create(&t->id, NULL, i < hitters ? hitter : changer, t))
			die("pthread_create");
	}
}

/* Their last words, when a thread hangs in its end, are the alarm's. */
static void join(void)
{
	alarm(STUCK_S * 2);
	for (unsigned int i = 0; i < hitters + changers; i++)
		pthread_join(threads[i].id, NULL);
	if (given.w)
		world_put(given.w, &given.h, false);
	alarm(0);
}

static void show_cache(struct world *w, unsigned int i)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	if (pinmem_cache_stats(world_cache(w), &s))
		die("stats: %s", pinmem_errmsg());
	printf("cache %u (%s): %llu hits, %llu misses (%.1f %% hits), %llu waits, %llu "
	       "merges; left: %llu unmapped, %llu remapped, %llu discarded, %llu "
	       "changed; %llu "
	       "deferred; alone: %llu file, %llu raced, %llu monitor, %llu full, %llu "
	       "other\n",
	       i, pinmem_monitor_name(s.monitor), (unsigned long long)s.hits,
	       (unsigned long long)s.misses,
	       100.0 * (double)s.hits / (double)(s.hits + s.misses + !s.hits),
	       (unsigned long long)s.waits, (unsigned long long)s.merges,
	       (unsigned long long)s.unmapped, (unsigned long long)s.remapped,
	       (unsigned long long)s.discarded, (unsigned long long)s.changed,
	       (unsigned long long)s.deferred, (unsigned long long)s.alone_file,
	       (unsigned long long)s.alone_raced, (unsigned long long)s.alone_monitor,
	       (unsigned long long)s.alone_full, (unsigned long long)s.alone_other);
}

/* Return: 0, or 1 when it found something, or could not have */
static int report(void)
{
	uint64_t gets = 0, judged = 0, touched = 0, early = 0, left = 0;

	for (unsigned int i = 0; i < hitters + changers; i++) {
		gets += threads[i].gets;
		judged += threads[i].judged;
		touched += threads[i].touched;
		early += threads[i].early;
	}
	for (unsigned int c = 0; c < CHANGES && !quiet; c++) {
		uint64_t n = 0;

		for (unsigned int i = 0; i < hitters + changers; i++)
			n += threads[i].changes[c];
		printf("  %-28s %llu\n", change_names[c], (unsigned long long)n);
	}
	for (unsigned int i = 0; i < WORLDS; i++) {
		show_cache(worlds[i], i);
		left += world_close(worlds[i]);
	}
	printf("seed %llu: %llu operations, %llu gets, %llu judged by the device, %llu "
	       "held over changes and used; %llu while a munmap() of the addresses was "
	       "under "
	       "way; %llu stale, %llu errors, %llu "
	       "registrations "
	       "left\n",
	       (unsigned long long)seed, (unsigned long long)all_ops(),
	       (unsigned long long)gets, (unsigned long long)judged,
	       (unsigned long long)touched, (unsigned long long)early,
	       (unsigned long long)stale, (unsigned long long)errors,
	       (unsigned long long)left);
	if (told_nothing) {
		printf("%s\n",
		       stale ? "as it should: a cache that nobody tells is stale"
			     : "a cache that nobody tells was never stale?");
		return !stale;
	}
	if (judged * 50 < gets || judged < 100) {
		printf("so little was judged that this proves nothing\n");
		return 1;
	}
	return stale || errors || left;
}

static void usage(void)
{
	puts("usage: torture [--seconds N | --ops N] [--seed N] [--threads "
	     "HITTERS,CHANGERS]\n"
	     "               [--rdma DEVICE,DEVICE] [--library FILE] [--quiet]\n"
	     "               [--monitor auto|userfaultfd|pin_track]\n"
	     "               [--own N]   every Nth operation with memory that comes "
	     "and goes\n"
	     "               [--nobody-tells]   a cache without a monitor: must be "
	     "found stale\n"
	     "       torture --compare [--rounds N]   change by change, and against "
	     "UCX");
	exit(2);
}

static enum pinmem_monitor monitor_named(const char *name)
{
	for (int m = PINMEM_MONITOR_AUTO; m < PINMEM_MONITOR_CALLER; m++)
		if (!strcmp(name, pinmem_monitor_name((enum pinmem_monitor)m)))
			return (enum pinmem_monitor)m;
	usage();
	return PINMEM_MONITOR_AUTO;
}

int main(int argc, char **argv)
{
	enum { RDMA = 256, LIBRARY, NOBODY, COMPARE, ROUNDS, QUIET, OWN, MONITOR };
	static const struct option options[] = {
		{ "seconds", 1, NULL, 's' },
		{ "ops", 1, NULL, 'o' },
		{ "seed", 1, NULL, 'r' },
		{ "threads", 1, NULL, 't' },
		{ "rdma", 1, NULL, RDMA },
		{ "library", 1, NULL, LIBRARY },
		{ "nobody-tells", 0, NULL, NOBODY },
		{ "compare", 0, NULL, COMPARE },
		{ "rounds", 1, NULL, ROUNDS },
		{ "quiet", 0, NULL, QUIET },
		{ "own", 1, NULL, OWN },
		{ "monitor", 1, NULL, MONITOR },
		{ NULL, 0, NULL, 0 },
	};
	unsigned int rounds = 50;
	bool comparing = false;
	const char *env = getenv("PINMEM_TORTURE_SECONDS");
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's':
			seconds = (unsigned int)atoi(optarg);
			break;
		case 'o':
			max_ops = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			if (sscanf(optarg, "%u,%u", &hitters, &changers) != 2 ||
			    !hitters || hitters + changers > THREADS_MAX)
				usage();
			break;
		case RDMA:
			device = optarg;
			break;
		case LIBRARY:
			library = optarg;
			break;
		case NOBODY:
			told_nothing = true;
			break;
		case COMPARE:
			comparing = true;
			break;
		case ROUNDS:
			rounds = (unsigned int)atoi(optarg);
			break;
		case QUIET:
			quiet = true;
			break;
		case OWN:
			own_every = (unsigned int)atoi(optarg);
			if (!own_every)
				usage();
			break;
		case MONITOR:
			monitor = monitor_named(optarg);
			break;
		default:
			usage();
		}
	}
	if (env && *env && !told_nothing)
		seconds = (unsigned int)atoi(env);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (comparing)
		return compare(seed, rounds);
	slots_init();
	for (unsigned int i = 0; i < WORLDS; i++)
		worlds[i] = world_open(told_nothing ? CACHE_NONE_TOLD : CACHE_PINMEM,
				       device, monitor);
	sees_all = world_sees_all(worlds[0]);
	start();
	watch();
	join();
	return report();
}
