/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_hits.c - hits of one cache: by two threads, one by one while somebody
 * else pins, and what they cannot do without on this machine.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench_cache_inside.h"
#include "sys.h"
#include "tool.h"

/* Hits between two looks at the clock. */
#define CHUNK_NS 30000.0
#define CHUNK_MIN 16u
#define CHUNK_MAX 8192u
/* So many must count, or the round is done again, so often. */
#define CHUNKS_MIN 32u
#define TRIES 4
#define TAIL_SAMPLES (1u << 21)
#define TAIL_REGIONS 64u
#define TAIL_PINS 4

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
	h->ns = bench_median_of(h->chunks, h->counted);
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

int do_hits(struct worker *w, const struct cache_request *req, struct bench_answer *a)
{
	struct hitter *h = w->hitters;
	bool two = req->n > 1;
	double loop;
	int rc = 0;

	if (two && w->cpus[1] < 0)
		return bench_trouble(-EDQUOT, "two threads",
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

static void tail_answer(struct worker *w, unsigned int n, struct bench_answer *a)
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

int do_tail(struct worker *w, const struct cache_request *req, struct bench_answer *a)
{
	uint64_t end = UINT64_MAX;
	unsigned int n = 0;
	int rc = req->len ? have_memory(w, &w->big, req->len) : 0;

	if (!rc && req->len && w->cpus[1] < 0)
		rc = bench_trouble(-EDQUOT, "two threads",
				   "this process may run on one CPU "
				   "only");
	if (!rc && !w->samples) {
		w->samples = calloc(TAIL_SAMPLES, sizeof(*w->samples));
		rc = w->samples ? 0 : bench_trouble(-ENOMEM, "memory", "there is none");
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

int do_floor(struct worker *w, const struct cache_request *req, struct bench_answer *a)
{
	static hits_fn const fns[] = {
		[FLOOR_CALLS] = two_calls, [FLOOR_ATOMICS] = two_atomics
	};

	make_sequence(&w->hitters[0], 1, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(fns); i++)
		a->v[i] = alone_ns(w, fns[i], req->seconds);
	return 0;
}
