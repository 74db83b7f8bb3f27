/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_worker.c - the process that measures one cache; see bench_cache.h. Two
 * threads, each on a CPU of its own; the second one works when it is told to.
 */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "bench_cache.h"
#include "memory.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

#define THREADS 2
/* Random numbers are made once and read in order, which costs next to nothing. */
#define SEQUENCE_SHORT (1u << 14)
#define SEQUENCE_LONG (1u << 20)
/* Hits between two looks at the clock, and so many such chunks are remembered. */
#define CHUNK_NS 30000.0
#define CHUNK_MIN 16u
#define CHUNK_MAX 8192u
#define CHUNKS (1u << 14)
/* So many must count, or the round is done again, so often. */
#define CHUNKS_MIN 32u
#define TRIES 4
#define TAIL_SAMPLES (1u << 21)
#define TAIL_REGIONS 64u
#define TAIL_PINS 4
#define MISS_BATCH 32
#define MISS_BATCHES 24
#define UNMAP_SAMPLES 40

/*
 * A thread that hits, and what came out.
 * @beats: atomic; chunks done, on a cache line of their own
 * @counted: of them @chunks has the times
 */
struct hitter {
	uint64_t beats __attribute__((aligned(128)));
	struct worker *worker __attribute__((aligned(128)));
	uint32_t *seq;
	uint32_t at, length, regions;
	double chunks[CHUNKS];
	unsigned int counted;
	double ns, share;
	int rc;
};

struct worker {
	const struct cache_peer *peer;
	enum setting setting;
	int fd;
	struct pinmem *pm;
	void *cache;
	struct memory memory; /* of SETTING_SMALL */
	char *base;
	unsigned int filled;
	uint64_t anon_before;
	struct hitter hitters[THREADS];
	int cpus[THREADS];

	/* the second thread */
	pthread_t second;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	void (*job)(struct worker *w); /* lock; NULL: nothing to do */
	unsigned int ready;	       /* atomic: threads at the start line */
	bool stop;		       /* atomic */

	/* OP_TAIL */
	uint32_t *samples;
	struct memory big;
	bool pinning; /* atomic: a pin is under way */
	unsigned int pins;
	double pin_ns;
	int pin_rc;

	/* OP_MISS */
	struct io_uring ring;
	bool have_ring;
	struct memory miss;
};

static int trouble(int rc, const char *what, const char *why)
{
	snprintf(bench_why, sizeof(bench_why), "%s: %s", what, why);
	return rc;
}

/* ------------------------------------------------------------ the second thread */

static void pin_to(int cpu)
{
	cpu_set_t one;

	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/* Return: how many there are for us, at most THREADS. */
static unsigned int choose_cpus(int cpus[THREADS])
{
	cpu_set_t all;
	unsigned int n = 0;

	for (unsigned int i = 0; i < THREADS; i++)
		cpus[i] = -1;
	if (sched_getaffinity(0, sizeof(all), &all))
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < THREADS; cpu++)
		if (CPU_ISSET((size_t)cpu, &all))
			cpus[n++] = cpu;
	return n;
}

static void *second_main(void *arg)
{
	struct worker *w = arg;

	pin_to(w->cpus[1]);
	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->job)
			pthread_cond_wait(&w->cond, &w->lock);
		pthread_mutex_unlock(&w->lock);
		w->job(w);
		pthread_mutex_lock(&w->lock);
		w->job = NULL;
		pthread_cond_broadcast(&w->cond);
	}
	return NULL;
}

static void second_start(struct worker *w, void (*job)(struct worker *w))
{
	pthread_mutex_lock(&w->lock);
	w->job = job;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static void second_wait(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->job)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

/* All threads begin together. */
static void start_line(struct worker *w, unsigned int threads)
{
	__atomic_add_fetch(&w->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&w->ready, __ATOMIC_ACQUIRE) < threads)
		;
}

static bool stopped(struct worker *w)
{
	return __atomic_load_n(&w->stop, __ATOMIC_ACQUIRE);
}

static void set_stop(struct worker *w, bool stop)
{
	__atomic_store_n(&w->stop, stop, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------------ hits */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_of(double *v, unsigned int n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n ? v[n / 2] : 0;
}

static void make_sequence(struct hitter *h, uint32_t regions, uint64_t seed)
{
	uint64_t x = seed;

	h->length = regions > SMALL_REGIONS ? SEQUENCE_LONG : SEQUENCE_SHORT;
	h->at = 0;
	for (uint32_t i = 0; h->regions != regions && i < h->length; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		h->seq[i] = (uint32_t)((x >> 32) * regions >> 32);
	}
	h->regions = regions;
}

/* What the loop around the hits costs: the same one, without them. */
static int no_hits(void *cache, char *base, const uint32_t *seq, unsigned int n)
{
	(void)cache;
	for (unsigned int i = 0; i < n; i++) {
		const char *addr = base + seq[i] * REGION_BYTES;

		__asm__ volatile("" : : "r"(addr) : "memory");
	}
	return 0;
}

typedef int (*hits_fn)(void *cache, char *base, const uint32_t *seq, unsigned int n);

static unsigned int chunk_for(double ns)
{
	double n = CHUNK_NS / (ns > 0.1 ? ns : 0.1);

	return n < CHUNK_MIN ? CHUNK_MIN : n > CHUNK_MAX ? CHUNK_MAX : (unsigned int)n;
}

static uint64_t beats_of(const struct hitter *other)
{
	return other ? __atomic_load_n(&other->beats, __ATOMIC_RELAXED) : 0;
}

/*
 * Hit until the time is over, or the other thread says so. What counts is the median
 * of the chunks, so it does not matter if somebody else gets the CPU now and then. Two
 * threads of which one waits for its CPU are one: a chunk counts only if the other
 * thread has finished one since this one began the last.
 */
static void hit(struct hitter *h, const struct hitter *other, hits_fn hits,
		double seconds)
{
	uint64_t begin, t, last, beats = 0, earlier = 0, now;
	struct worker *w = h->worker;
	unsigned int chunk = CHUNK_MIN, all = 0;
	double ns;

	h->counted = 0;
	start_line(w, other ? THREADS : 1);
	begin = last = sys_now_ns();
	do {
		if (h->at + chunk > h->length)
			h->at = 0;
		h->rc = hits(w->cache, w->base, h->seq + h->at, chunk);
		h->at += chunk;
		t = sys_now_ns();
		ns = (double)(t - last) / chunk;
		now = beats_of(other);
		if (!other || now != earlier)
			h->chunks[h->counted++ % CHUNKS] = ns;
		earlier = beats;
		beats = now;
		__atomic_store_n(&h->beats, h->beats + 1, __ATOMIC_RELAXED);
		chunk = chunk_for(ns);
		last = t;
		all++;
	} while (!h->rc && t - begin < seconds * 1e9 && !stopped(w));
	set_stop(w, true);
	h->share = (double)h->counted / all;
	if (h->counted > CHUNKS)
		h->counted = CHUNKS;
	h->ns = median_of(h->chunks, h->counted);
}

static double hit_seconds;

static void second_hits(struct worker *w)
{
	hit(&w->hitters[1], &w->hitters[0], w->peer->hits, hit_seconds);
}

static int hit_round(struct worker *w, unsigned int threads, double seconds)
{
	struct hitter *h = w->hitters;

	w->ready = 0;
	set_stop(w, false);
	hit_seconds = seconds;
	if (threads > 1)
		second_start(w, second_hits);
	hit(&h[0], threads > 1 ? &h[1] : NULL, w->peer->hits, seconds);
	if (threads > 1)
		second_wait(w);
	return h[0].rc ? h[0].rc : threads > 1 ? h[1].rc : 0;
}

static double alone_ns(struct worker *w, hits_fn fn, double seconds)
{
	w->ready = 0;
	set_stop(w, false);
	hit(&w->hitters[0], NULL, fn, seconds);
	return w->hitters[0].ns;
}

static int do_hits(struct worker *w, const struct cache_request *req,
		   struct cache_answer *a)
{
	struct hitter *h = w->hitters;
	bool two = req->n > 1;
	double loop;
	int rc = 0;

	if (two && w->cpus[1] < 0)
		return trouble(-EDQUOT, "two threads",
			       "this process may run on one CPU only");
	for (unsigned int i = 0; i < THREADS; i++)
		make_sequence(&h[i], w->filled, 88172645463325252ull * (i + 1));
	loop = alone_ns(w, no_hits, req->seconds / 10);
	for (int try = 0; try < TRIES && !rc; try++) {
		rc = hit_round(w, req->n, req->seconds);
		if (h[0].counted >= CHUNKS_MIN && (!two || h[1].counted >= CHUNKS_MIN))
			break;
	}
	a->v[HIT_NS] = (two ? (h[0].ns + h[1].ns) / 2 : h[0].ns) - loop;
	a->v[HIT_LOOP_NS] = loop;
	a->v[HIT_SHARE] = two && h[1].share < h[0].share ? h[1].share : h[0].share;
	return rc;
}

/* ------------------------------------------------- hits while somebody else pins */

/* For the second thread. At least TAIL_PINS times, and for the time of the first. */
static void pin_repeatedly(struct worker *w)
{
	uint64_t begin;
	void *held;

	start_line(w, THREADS);
	for (w->pins = 0; w->pins < TAIL_PINS && !w->pin_rc; w->pins++) {
		begin = sys_now_ns();
		__atomic_store_n(&w->pinning, true, __ATOMIC_RELEASE);
		w->pin_rc = w->peer->get(w->cache, w->big.addr, w->big.len, &held);
		__atomic_store_n(&w->pinning, false, __ATOMIC_RELEASE);
		w->pin_ns += (double)(sys_now_ns() - begin);
		if (!w->pin_rc)
			w->pin_rc = w->peer->put(w->cache, held);
		if (!w->pin_rc)
			w->pin_rc = w->peer->forget(w->cache, held, w->big.addr,
						    w->big.len);
	}
	set_stop(w, true);
}

/* One hit after the other, timed one by one. @always: else only hits that begin while
 * a pin is under way count. */
static int time_hits(struct worker *w, bool always, uint64_t end, unsigned int *count)
{
	struct hitter *h = &w->hitters[0];
	unsigned int n = 0;
	int rc = 0;

	for (uint64_t t = sys_now_ns(), last; !rc && !stopped(w) && t < end;) {
		bool counts = always || __atomic_load_n(&w->pinning, __ATOMIC_ACQUIRE);

		if (h->at == h->length)
			h->at = 0;
		last = sys_now_ns();
		rc = w->peer->hits(w->cache, w->base, h->seq + h->at++, 1);
		t = sys_now_ns();
		if (counts && n < TAIL_SAMPLES)
			w->samples[n++] = t - last < UINT32_MAX ? (uint32_t)(t - last)
								: UINT32_MAX;
	}
	*count = n;
	return rc;
}

static int by_uint32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double clock_cost_ns(void)
{
	uint64_t begin = sys_now_ns(), t = begin;

	for (int i = 0; i < 1000; i++)
		t = sys_now_ns();
	return (double)(t - begin) / 1000;
}

static void tail_answer(struct worker *w, unsigned int n, struct cache_answer *a)
{
	uint32_t *s = w->samples;

	a->v[TAIL_HITS] = n;
	a->v[TAIL_CLOCK_NS] = clock_cost_ns();
	if (!n)
		return;
	qsort(s, n, sizeof(*s), by_uint32);
	a->v[TAIL_P50] = s[n / 2];
	a->v[TAIL_P99] = s[(uint64_t)n * 99 / 100];
	a->v[TAIL_P999] = s[(uint64_t)n * 999 / 1000];
	a->v[TAIL_MAX] = s[n - 1];
}

static int limits_allow(struct worker *w, uint64_t len)
{
	struct pinmem_memlock m = { .size = sizeof(m) };

	if (pinmem_memlock(w->pm, NULL, len, &m))
		return trouble(-EIO, "pinmem", pinmem_errmsg());
	if (m.fits)
		return 0;
	snprintf(bench_why, sizeof(bench_why), "%s", m.remedy);
	return -EDQUOT;
}

/* Memory that is there, on base pages; kept for the next time. */
static int have_memory(struct worker *w, struct memory *m, uint64_t len)
{
	int rc = limits_allow(w, len);

	if (rc || m->len >= len)
		return rc;
	if (sys_meminfo("MemAvailable") < 2 * len)
		return trouble(-EDQUOT, size_text(len),
			       "there is not that much memory available");
	if (memory_make(MEM_ANON, len, NULL, m)) {
		trouble(0, "memory", m->why);
		memory_drop(m);
		m->len = 0;
		return -EDQUOT;
	}
	memory_touch(m->addr, m->len);
	return 0;
}

static int do_tail(struct worker *w, const struct cache_request *req,
		   struct cache_answer *a)
{
	uint64_t end = UINT64_MAX;
	unsigned int n = 0;
	int rc = req->len ? have_memory(w, &w->big, req->len) : 0;

	if (!rc && req->len && w->cpus[1] < 0)
		rc = trouble(-EDQUOT, "two threads",
			     "this process may run on one CPU "
			     "only");
	if (!rc && !w->samples) {
		w->samples = calloc(TAIL_SAMPLES, sizeof(*w->samples));
		rc = w->samples ? 0 : trouble(-ENOMEM, "memory", "there is none");
	}
	if (rc)
		return rc;
	make_sequence(&w->hitters[0],
		      w->filled < TAIL_REGIONS ? w->filled : TAIL_REGIONS, 4711);
	w->ready = 0;
	w->pin_ns = 0;
	w->pin_rc = 0;
	set_stop(w, false);
	if (req->len) {
		second_start(w, pin_repeatedly);
		start_line(w, THREADS);
	} else {
		end = sys_now_ns() + (uint64_t)(req->seconds * 1e9);
	}
	rc = time_hits(w, !req->len, end, &n);
	set_stop(w, true);
	second_wait(w);
	tail_answer(w, n, a);
	if (req->len)
		a->v[TAIL_PIN_NS] = w->pin_ns / (w->pins ? w->pins : 1);
	return rc ? rc : w->pin_rc;
}

/* ---------------------------------------------------------------------- a miss */

static char *miss_region(const struct worker *w, unsigned int i)
{
	return (char *)w->miss.addr + i * REGION_BYTES;
}

static int raw_set(struct worker *w, unsigned int slot, void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	__u64 tag = 0;
	int rc = io_uring_register_buffers_update_tag(&w->ring, slot, &iov, &tag, 1);

	return rc == 1 ? 0 : trouble(rc ? rc : -EIO, "raw pin", strerror(-rc));
}

static int time_raw(struct worker *w, double *ns)
{
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = raw_set(w, i, miss_region(w, i), REGION_BYTES);
	*ns = stopwatch_ns(&watch) / MISS_BATCH;
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = raw_set(w, i, NULL, 0);
	return rc;
}

static int time_reg(struct worker *w, double *ns)
{
	struct pinmem_mr *mr[MISS_BATCH];
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = pinmem_reg(w->pm, miss_region(w, i), REGION_BYTES,
				PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr[i]);
	*ns = stopwatch_ns(&watch) / MISS_BATCH;
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = pinmem_dereg(mr[i], PINMEM_CLEAN, NULL);
	return rc ? trouble(rc, "pinmem", pinmem_errmsg()) : 0;
}

static int time_miss(struct worker *w, double *ns)
{
	void *held[MISS_BATCH];
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++) {
		rc = w->peer->get(w->cache, miss_region(w, i), REGION_BYTES, &held[i]);
		if (!rc)
			rc = w->peer->put(w->cache, held[i]);
	}
	*ns = stopwatch_ns(&watch) / MISS_BATCH;
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = w->peer->forget(w->cache, held[i], miss_region(w, i),
				     REGION_BYTES);
	return rc;
}

static int open_ring(struct worker *w)
{
	int rc;

	if (w->have_ring)
		return 0;
	rc = io_uring_queue_init(8, &w->ring, 0);
	if (rc)
		return trouble(rc, "the ring of the raw interface", strerror(-rc));
	rc = io_uring_register_buffers_sparse(&w->ring, MISS_BATCH);
	if (rc) {
		io_uring_queue_exit(&w->ring);
		return trouble(rc, "its buffer table", strerror(-rc));
	}
	w->have_ring = true;
	return 0;
}

/* Three kinds in turns, in changing order; of the differences the medians. */
static int do_miss(struct worker *w, const struct cache_request *req,
		   struct cache_answer *a)
{
	static int (*const kinds[])(struct worker *, double *) = {
		[MISS_RAW] = time_raw, [MISS_REG] = time_reg, [MISS_MISS] = time_miss
	};
	double v[5][MISS_BATCHES];
	int rc = have_memory(w, &w->miss, MISS_BATCH * REGION_BYTES);

	(void)req;
	if (!rc)
		rc = open_ring(w);
	for (unsigned int b = 0; b < MISS_BATCHES && !rc; b++) {
		for (unsigned int k = 0; k < ARRAY_SIZE(kinds) && !rc; k++) {
			unsigned int kind = (b + k) % ARRAY_SIZE(kinds);

			rc = kinds[kind](w, &v[kind][b]);
		}
		v[MISS_OVER_RAW][b] = v[MISS_MISS][b] - v[MISS_RAW][b];
		v[MISS_OVER_REG][b] = v[MISS_MISS][b] - v[MISS_REG][b];
	}
	for (unsigned int k = 0; k < ARRAY_SIZE(v) && !rc; k++)
		a->v[k] = median_of(v[k], MISS_BATCHES);
	return rc;
}

/* --------------------------------------------------------------------- munmap(2) */

/* A mapping of its own: a page that is not mapped for anything lies on either side, so
 * that it is not merged with its neighbours, nor they split. */
static char *lonely_mapping(void)
{
	char *p = mmap(NULL, REGION_BYTES + 2 * sys_page(), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p + sys_page(), REGION_BYTES, PROT_READ | PROT_WRITE)) {
		munmap(p, REGION_BYTES + 2 * sys_page());
		return NULL;
	}
	memory_touch(p + sys_page(), REGION_BYTES);
	return p + sys_page();
}

static void drop_neighbours(char *p)
{
	munmap(p - sys_page(), sys_page());
	munmap(p + REGION_BYTES, sys_page());
}

/* Pinned in the same way, but nobody watches: not libc's munmap(), which libucx has
 * changed. */
static int unmap_plain(struct worker *w, char *p, double *ns)
{
	struct pinmem_mr *mr;
	uint64_t begin;
	long rc;

	if (pinmem_reg(w->pm, p, REGION_BYTES, PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr))
		return trouble(-EIO, "pinmem", pinmem_errmsg());
	begin = sys_now_ns();
	rc = syscall(SYS_munmap, p, REGION_BYTES);
	*ns = (double)(sys_now_ns() - begin);
	if (rc)
		return trouble(-errno, "munmap", strerror(errno));
	return pinmem_dereg(mr, PINMEM_CLEAN, NULL)
		       ? trouble(-EIO, "pinmem", pinmem_errmsg())
		       : 0;
}

static int unmap_cached(struct worker *w, char *p, double *ns)
{
	uint64_t begin;
	void *held;
	int rc = w->peer->get(w->cache, p, REGION_BYTES, &held);

	if (!rc)
		rc = w->peer->put(w->cache, held);
	if (rc)
		return rc;
	begin = sys_now_ns();
	rc = munmap(p, REGION_BYTES);
	*ns = (double)(sys_now_ns() - begin);
	if (rc)
		return trouble(-errno, "munmap", strerror(errno));
	w->peer->settle(w->cache);
	return 0;
}

static int unmap_one(struct worker *w, bool cached, double *ns)
{
	char *p = lonely_mapping();
	int rc;

	if (!p)
		return trouble(-errno, "mmap", strerror(errno));
	rc = (cached ? unmap_cached : unmap_plain)(w, p, ns);
	drop_neighbours(p);
	return rc;
}

static int do_unmap(struct worker *w, const struct cache_request *req,
		    struct cache_answer *a)
{
	double plain[UNMAP_SAMPLES], cached[UNMAP_SAMPLES], more[UNMAP_SAMPLES];
	int rc = 0;

	(void)req;
	for (unsigned int i = 0; i < UNMAP_SAMPLES && !rc; i++) {
		rc = unmap_one(w, i % 2, i % 2 ? &cached[i] : &plain[i]);
		if (!rc)
			rc = unmap_one(w, !(i % 2), i % 2 ? &plain[i] : &cached[i]);
		more[i] = cached[i] - plain[i];
	}
	if (rc)
		return rc;
	a->v[UNMAP_PLAIN] = median_of(plain, UNMAP_SAMPLES);
	a->v[UNMAP_CACHED] = median_of(cached, UNMAP_SAMPLES);
	a->v[UNMAP_MORE] = median_of(more, UNMAP_SAMPLES);
	a->v[UNMAP_CACHED_P99] = cached[UNMAP_SAMPLES * 99 / 100];
	return 0;
}

/* ------------------------------------------------------------- this machine's floor */

/* Two calls into a shared library that do next to nothing: less no get and put takes.
 */
static int two_calls(void *cache, char *base, const uint32_t *seq, unsigned int n)
{
	const char *(*volatile pointer)(void) = pinmem_version;
	const char *(*version)(void) = pointer;

	(void)cache;
	(void)base;
	(void)seq;
	for (unsigned int i = 0; i < n; i++) {
		version();
		version();
	}
	return 0;
}

/* A reference taken and dropped by atomic operations, on a line that is not shared. */
static int two_atomics(void *cache, char *base, const uint32_t *seq, unsigned int n)
{
	static uint64_t word __attribute__((aligned(128)));

	(void)cache;
	(void)base;
	(void)seq;
	for (unsigned int i = 0; i < n; i++) {
		__atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_sub(&word, 1, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static int do_floor(struct worker *w, const struct cache_request *req,
		    struct cache_answer *a)
{
	static hits_fn const fns[] = {
		[FLOOR_CALLS] = two_calls, [FLOOR_ATOMICS] = two_atomics
	};

	make_sequence(&w->hitters[0], 1, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(fns); i++)
		a->v[i] = alone_ns(w, fns[i], req->seconds);
	return 0;
}

/* ------------------------------------------------------------------- the process */

/* Anonymous memory of this process: the zero page and page tables are not in it. */
static uint64_t anon_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

static int do_memory(struct worker *w, const struct cache_request *req,
		     struct cache_answer *a)
{
	(void)req;
	a->v[MEMORY_ANON] = (double)anon_bytes() - (double)w->anon_before;
	a->v[MEMORY_BYTES] = w->peer->bytes ? (double)w->peer->bytes(w->cache) : 0;
	return 0;
}

static int do_open(struct worker *w, const struct cache_request *req,
		   struct cache_answer *a)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = w->setting == SETTING_SMALL
							  ? PINMEM_BACKEND_URING
							  : PINMEM_BACKEND_MLOCK };
	const char *monitor = "";
	int rc = pinmem_open(&opts, &w->pm);

	(void)req;
	if (rc)
		return trouble(rc, "the pinner", pinmem_errmsg());
	w->anon_before = anon_bytes();
	/* its own threads may run where they like */
	rc = w->peer->open(w->pm, w->setting == SETTING_SMALL, &w->cache, &monitor);
	if (rc)
		return rc;
	choose_cpus(w->cpus);
	pin_to(w->cpus[0]);
	snprintf(a->text, sizeof(a->text), "%s", monitor);
	rc = pthread_create(&w->second, NULL, second_main, w);
	return rc ? trouble(-rc, "the second thread", strerror(rc)) : 0;
}

/* Addresses for all regions that there may be. */
static int map_regions(struct worker *w)
{
	size_t len = LARGE_REGIONS * REGION_BYTES;

	if (w->setting == SETTING_SMALL) {
		if (memory_make(MEM_ANON, SMALL_REGIONS * REGION_BYTES, NULL,
				&w->memory))
			return trouble(-ENOMEM, "memory", w->memory.why);
		w->base = w->memory.addr;
		return 0;
	}
	w->base = mmap(NULL, len, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->base == MAP_FAILED) {
		w->base = NULL;
		return trouble(-EDQUOT, "64 GiB of addresses", strerror(errno));
	}
	/* splitting huge zero pages is not what is measured */
	madvise(w->base, len, MADV_NOHUGEPAGE);
	return 0;
}

static int fill_one(struct worker *w, unsigned int i)
{
	char *addr = w->base + i * REGION_BYTES;
	void *held;
	int rc;

	if (w->setting == SETTING_SMALL)
		memory_touch(addr, REGION_BYTES);
	rc = w->peer->get(w->cache, addr, REGION_BYTES, &held);
	return rc ? rc : w->peer->put(w->cache, held);
}

static void tell(struct worker *w, unsigned int done, unsigned int total)
{
	struct cache_answer a = { .busy = true, .done = done, .total = total };

	/* nobody there: the next read says so */
	(void)!send(w->fd, &a, sizeof(a), MSG_NOSIGNAL);
}

static int do_fill(struct worker *w, const struct cache_request *req,
		   struct cache_answer *a)
{
	unsigned int from = w->filled;
	uint64_t begin;
	int rc = w->base ? 0 : map_regions(w);

	if (!rc)
		rc = limits_allow(w, (req->n - from) * REGION_BYTES);
	begin = sys_now_ns();
	while (!rc && w->filled < req->n) {
		rc = fill_one(w, w->filled);
		if (!rc)
			w->filled++;
		if (!(w->filled % 4096)) {
			tell(w, w->filled - from, req->n - from);
			if (stop_requested())
				rc = trouble(-ECANCELED, "interrupted", "");
		}
	}
	if (!rc && w->filled > from)
		a->v[FILL_NS] =
			(double)(sys_now_ns() - begin) / (double)(w->filled - from);
	return rc;
}

static int (*const operations[OP_COUNT])(struct worker *w,
					 const struct cache_request *req,
					 struct cache_answer *a) = {
	[OP_OPEN] = do_open,	 [OP_FILL] = do_fill,	[OP_HITS] = do_hits,
	[OP_TAIL] = do_tail,	 [OP_MISS] = do_miss,	[OP_UNMAP] = do_unmap,
	[OP_MEMORY] = do_memory, [OP_FLOOR] = do_floor,
};

/* Nothing is released one by one at the end: a process that ends has no pins. */
static void serve(struct worker *w)
{
	struct cache_request req;
	struct cache_answer a;

	for (unsigned int i = 0; i < THREADS; i++) {
		w->hitters[i].worker = w;
		w->hitters[i].seq = malloc(SEQUENCE_LONG * sizeof(uint32_t));
		if (!w->hitters[i].seq)
			return;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	while (recv(w->fd, &req, sizeof(req), 0) == (ssize_t)sizeof(req)) {
		memset(&a, 0, sizeof(a));
		bench_why[0] = '\0';
		a.rc = operations[req.op](w, &req, &a);
		if (a.rc)
			snprintf(a.text, sizeof(a.text), "%s", bench_why);
		if (send(w->fd, &a, sizeof(a), MSG_NOSIGNAL) != (ssize_t)sizeof(a))
			return;
	}
}

static int be_worker(int fd, const struct cache_peer *peer, enum setting setting)
{
	struct worker *w = calloc(1, sizeof(*w));

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!w)
		return EXIT_NO;
	*w = (struct worker){ .peer = peer, .setting = setting, .fd = fd };
	serve(w);
	return EXIT_YES;
}

/* ------------------------------------------------------------- the other process */

int worker_ask(struct cache_worker *w, const struct cache_request *req,
	       struct cache_answer *answer)
{
	ssize_t got = -1;

	if (send(w->fd, req, sizeof(*req), MSG_NOSIGNAL) == (ssize_t)sizeof(*req))
		do {
			got = recv(w->fd, answer, sizeof(*answer), 0);
			if (got == (ssize_t)sizeof(*answer) && answer->busy)
				progress_show(text("%s: registering", w->peer->name),
					      answer->done, answer->total);
		} while ((got < 0 && errno == EINTR) ||
			 (got == (ssize_t)sizeof(*answer) && answer->busy));
	if (got != (ssize_t)sizeof(*answer))
		return trouble(-EPIPE, w->peer->name,
			       "the process that measures it has ended");
	if (answer->rc)
		snprintf(bench_why, sizeof(bench_why), "%s", answer->text);
	return answer->rc;
}

int worker_start(struct cache_worker *w, const struct cache_peer *peer,
		 enum setting setting, char monitor[64])
{
	const struct cache_request req = { .op = OP_OPEN };
	struct cache_answer answer;
	int fds[2], rc;

	*w = (struct cache_worker){ .peer = peer, .pid = -1, .fd = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return trouble(-errno, "socketpair", strerror(errno));
	fflush(NULL); /* the child must not print it again */
	w->pid = fork();
	if (!w->pid) {
		close(fds[0]);
		_exit(be_worker(fds[1], peer, setting));
	}
	rc = w->pid < 0 ? trouble(-errno, "fork", strerror(errno)) : 0;
	close(fds[1]);
	w->fd = fds[0];
	if (!rc)
		rc = worker_ask(w, &req, &answer);
	if (rc)
		worker_stop(w);
	else if (monitor)
		snprintf(monitor, 64, "%.63s", answer.text);
	return rc;
}

void worker_stop(struct cache_worker *w)
{
	/* closing alone would not do: the other processes have a copy of it */
	if (w->fd >= 0 && !shutdown(w->fd, SHUT_RDWR))
		close(w->fd);
	if (w->pid > 0)
		while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
			;
	w->fd = -1;
	w->pid = -1;
}
