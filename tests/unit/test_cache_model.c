/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_cache_model.c - thousands of random operations on a cache against a plain
 * oracle (tests/fuzz/cache_model.inc.c), and threads that have no oracle but rules.
 */
#include "suite.h"

#include <stdlib.h>

#include "../fuzz/cache_model.inc.c"

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void run_seed(uint64_t seed, size_t bytes)
{
	uint64_t r = seed * 0x9e3779b97f4a7c15ull + 1;
	uint8_t *data = malloc(bytes);
	const char *wrong;

	printf(" %" PRIu64, seed);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(next_random(&r) >> 32);
	wrong = model_run(data, bytes);
	CHECK(wrong == NULL);
	free(data);
}

static void many_short_lives_are_as_the_oracle_says(void)
{
	printf(" seeds");
	for (uint64_t seed = 1; seed <= SHARE(60); seed++)
		run_seed(seed, 600);
}

static void long_lives_are_as_the_oracle_says(void)
{
	printf(" seeds");
	for (uint64_t seed = 1001; seed <= 1000 + SHARE(6); seed++)
		run_seed(seed, 12000);
}

/* ------------------------------------------------------------------- threads */

#define THREADS 4u
#define OWN 12u /* pages of each thread's own; the rest is everybody's */
#define STEPS 6000

/*
 * Keys of pins only grow. When an invalidation of a page has returned, every get that
 * begins later is served by a pin with at least the key that was next when it began.
 */
static uint32_t least_key[PAGES]; /* atomic */

struct worker {
	struct model m; /* its handles, and what was wrong */
	uint64_t seed;
	unsigned int number;
	pthread_t thread;
};

struct range {
	unsigned int page, pages;
};

static struct range random_range(struct worker *w)
{
	uint64_t r = next_random(&w->seed);
	struct range of = { 0, 1 + (r >> 8) % 6 };
	unsigned int first = r & 1 ? w->number * OWN : THREADS * OWN - 8;
	unsigned int room = r & 1 ? OWN : 8;

	if (of.pages > room)
		of.pages = room;
	of.page = first + (r >> 16) % (room - of.pages + 1);
	return of;
}

static void get_in_thread(struct worker *w)
{
	struct range of = random_range(w);
	struct wish wish = { .at = (uintptr_t)model_memory + of.page * PAGE,
			     .len = of.pages * PAGE,
			     .access = next_random(&w->seed) & 1 };
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	uint32_t least[PAGES], page;
	struct model *m = &w->m;
	struct pinmem_mr *mr;

	for (page = 0; page < PAGES; page++)
		least[page] = __atomic_load_n(&least_key[page], __ATOMIC_ACQUIRE);
	if (pinmem_cache_get(m->cache, (void *)wish.at, wish.len, wish.access, &mr)) {
		WRONG(m, "a get failed");
		return;
	}
	EXPECT(m, !pinmem_mr_query(mr, &i));
	EXPECT(m, !pinmem_mr_segment(mr, 0, &seg));
	check_got(m, &wish, &i, seg.lkey);
	page = (unsigned int)(((uintptr_t)i.addr - (uintptr_t)model_memory) / PAGE);
	for (uint32_t n = 0; n < i.len / PAGE; n++)
		EXPECT(m, seg.lkey >= least[page + n]); /* else it is stale */
	m->seen[m->handles] =
		(struct seen){ .key = seg.lkey, .at = (uintptr_t)i.addr, .len = i.len };
	m->held[m->handles].mr = mr;
	m->handles++;
}

static void put_in_thread(struct worker *w)
{
	struct model *m = &w->m;
	uint32_t which = (uint32_t)(next_random(&w->seed) % m->handles);

	EXPECT(m, is_pinned(&m->seen[which])); /* all the time that it was held */
	EXPECT(m, !pinmem_cache_put(m->held[which].mr, next_random(&w->seed) & 1
							       ? PINMEM_DIRTY
							       : PINMEM_CLEAN));
	m->handles--;
	m->held[which] = m->held[m->handles];
	m->seen[which] = m->seen[m->handles];
}

static void raise_least(uint32_t *least, uint32_t key)
{
	uint32_t old = __atomic_load_n(least, __ATOMIC_RELAXED);

	while (old < key &&
	       !__atomic_compare_exchange_n(least, &old, key, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

static void invalidate_in_thread(struct worker *w)
{
	struct range of = random_range(w);
	uint32_t key = fake_next_key();

	EXPECT(&w->m, pinmem_cache_invalidate(w->m.cache, model_memory + of.page * PAGE,
					      of.pages * PAGE) >= 0);
	for (unsigned int n = 0; n < of.pages; n++)
		raise_least(&least_key[of.page + n], key);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct model *m = &w->m;

	for (int i = 0; i < STEPS && !m->wrong; i++) {
		uint64_t r = next_random(&w->seed) >> 32;

		if (r % 64 == 0)
			invalidate_in_thread(w);
		else if (r % 1024 == 1)
			EXPECT(m, !pinmem_cache_flush(m->cache));
		else if (m->handles && (r & 1 || m->handles == 6))
			put_in_thread(w);
		else
			get_in_thread(w);
	}
	while (m->handles)
		put_in_thread(w);
	return NULL;
}

static void threads_run(bool fenced)
{
	static struct worker workers[THREADS];
	struct model m = { .wrong = NULL };
	/* regions: few; bytes and pins: any number */
	const uint8_t limits[] = { 11, 128, 1 };
	static const uint32_t never;

	map_memory();
	m.data = limits;
	m.n = sizeof(limits);
	model_open(&m);
	if (fenced) {
		m.cache->hands.unfenced = false;
		m.cache->gate = &never;
		m.cache->gate_open = 1;
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .number = i, .seed = 77 + i };
		workers[i].m.cache = m.cache;
		CHECK(!pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		CHECK(workers[i].m.wrong == NULL);
	}
	CHECK(model_stats(&m).leaving == 0);
	CHECK(model_stats(&m).held == 0);
	CHECK(model_stats(&m).hits > 0);
	CHECK(model_stats(&m).hits + model_stats(&m).misses > THREADS * STEPS / 3);
	model_close(&m);
	CHECK(m.wrong == NULL);
}

static void threads_never_hold_what_is_not_pinned_nor_get_what_has_left(void)
{
	threads_run(false);
}

static void nor_do_they_without_membarrier(void)
{
	threads_run(true);
}

static const struct test tests[] = {
	{ "many_short_lives_are_as_the_oracle_says",
	  many_short_lives_are_as_the_oracle_says },
	{ "long_lives_are_as_the_oracle_says", long_lives_are_as_the_oracle_says },
	{ "threads_never_hold_what_is_not_pinned_nor_get_what_has_left",
	  threads_never_hold_what_is_not_pinned_nor_get_what_has_left },
	{ "nor_do_they_without_membarrier", nor_do_they_without_membarrier },
};

SUITE("cache_model", tests)
