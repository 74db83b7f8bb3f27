/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_s3fifo.c - who leaves a full cache: the policy alone, and through the cache.
 */
#include "suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache.h"
#include "fake.h"
#include "fault.h"

#define PAGE 4096ul
#define CAPACITY 1000u
#define RW PINMEM_ACCESS_LOCAL_WRITE

/* ---------------------------------------------------------- the policy alone */

#define ENTRIES 8192u

/* A cache that is nothing but its policy: region i begins at page i. */
struct bare {
	struct s3fifo q;
	struct entry entries[ENTRIES];
	struct link links[ENTRIES];
	bool held[ENTRIES];
	unsigned int asked; /* how often idle() was */
};

static bool idle(uint32_t id, void *arg)
{
	struct bare *b = arg;

	b->asked++;
	return !b->held[id];
}

static struct bare *bare(uint64_t max_count, uint64_t max_bytes)
{
	struct bare *b = calloc(1, sizeof(*b));

	CHECK_RC(s3fifo_init(&b->q, b->entries, b->links, max_count, max_bytes), 0);
	return b;
}

static void bare_end(struct bare *b)
{
	s3fifo_fini(&b->q);
	free(b);
}

static bool is_in(const struct bare *b, uint32_t id)
{
	return b->entries[id].state != ENTRY_FREE;
}

static void leave(struct bare *b, uint32_t id, bool evicted)
{
	s3fifo_leave(&b->q, id, evicted);
	b->entries[id].state = ENTRY_FREE;
}

static void evict_for(struct bare *b, uint64_t bytes)
{
	while (s3fifo_count(&b->q) + 1 > b->q.max_count ||
	       s3fifo_bytes(&b->q) + bytes > b->q.max_bytes) {
		uint32_t id = s3fifo_victim(&b->q, idle, b);

		if (!id)
			return;
		leave(b, id, true);
	}
}

/* A use of region @id, as a get does it. Return: was it a hit? */
static bool use(struct bare *b, uint32_t id, uint64_t bytes)
{
	struct entry *e = &b->entries[id];
	bool known;

	if (is_in(b, id)) {
		e->uses += e->uses < USES_MAX;
		return true;
	}
	known = s3fifo_known(&b->q, id * PAGE);
	evict_for(b, bytes);
	*e = (struct entry){ .start = id * PAGE, .bytes = bytes };
	s3fifo_enter(&b->q, id, known);
	return false;
}

static void check_lists(const struct bare *b)
{
	uint64_t bytes[2] = { 0, 0 }, count[2] = { 0, 0 };

	for (uint32_t id = 1; id < ENTRIES; id++) {
		const struct entry *e = &b->entries[id];

		if (is_in(b, id)) {
			bytes[e->state == ENTRY_MAIN] += e->bytes;
			count[e->state == ENTRY_MAIN]++;
		}
	}
	CHECK(bytes[0] == b->q.small.bytes && bytes[1] == b->q.main.bytes);
	CHECK(count[0] == b->q.small.list.count && count[1] == b->q.main.list.count);
}

static void a_list_gives_back_in_the_order_it_was_given(void)
{
	struct link links[8] = { { 0, 0 } };
	struct entry_list l = { 0 };

	CHECK(entry_list_pop(&l, links) == 0);
	for (uint32_t id = 1; id < 8; id++)
		entry_list_push(&l, links, id);
	entry_list_remove(&l, links, 1); /* first */
	entry_list_remove(&l, links, 4); /* within */
	entry_list_remove(&l, links, 7); /* last */
	CHECK(l.count == 4);
	CHECK(entry_list_pop(&l, links) == 2);
	CHECK(entry_list_pop(&l, links) == 3);
	CHECK(entry_list_pop(&l, links) == 5);
	CHECK(entry_list_pop(&l, links) == 6);
	CHECK(entry_list_pop(&l, links) == 0);
	CHECK(!l.first && !l.last && !l.count);
}

static void what_was_not_used_again_leaves_first(void)
{
	struct bare *b = bare(100, UINT64_MAX);

	for (uint32_t id = 1; id <= 100; id++)
		use(b, id, PAGE);
	for (int again = 0; again < 2; again++)
		use(b, 1, PAGE); /* the oldest, but used */
	use(b, 101, PAGE);
	CHECK(is_in(b, 1));
	CHECK(b->entries[1].state == ENTRY_MAIN);
	CHECK(!is_in(b, 2));
	check_lists(b);
	bare_end(b);
}

static void limits_hold_whatever_is_used(void)
{
	struct bare *b = bare(100, 300 * PAGE);

	srand(1);
	for (int i = 0; i < 20000; i++) {
		uint32_t id = 1 + (uint32_t)(rand() % 400);

		use(b, id, (1 + id % 9) * PAGE);
		if (s3fifo_count(&b->q) > 100 || s3fifo_bytes(&b->q) > 300 * PAGE)
			CU_FAIL("over the limits");
	}
	check_lists(b);
	bare_end(b);
}

/* The queue of the new ones is a tenth of the cache, by bytes as well as by number. */
static void few_large_regions_are_a_sweep_as_well(void)
{
	struct bare *b = bare(4000, 1000 * PAGE);
	unsigned int hits = 0;

	for (int round = 0; round < 4; round++)
		for (uint32_t id = 1; id <= 600; id++)
			use(b, id, PAGE);
	for (uint32_t id = 1000; id < 1050; id++)
		use(b, id, 40 * PAGE);
	for (uint32_t id = 1; id <= 600; id++)
		hits += is_in(b, id);
	CHECK(hits >= 540);
	bare_end(b);
}

static void a_sweep_leaves_the_hot_set_alone(void)
{
	struct bare *b = bare(CAPACITY, UINT64_MAX);
	unsigned int hits = 0;

	for (int round = 0; round < 4; round++)
		for (uint32_t id = 1; id <= 800; id++)
			use(b, id, PAGE);
	for (uint32_t id = 1000; id < 1000 + 2 * CAPACITY; id++)
		use(b, id, PAGE);
	for (uint32_t id = 1; id <= 800; id++)
		hits += use(b, id, PAGE);
	CHECK(hits >= 720);
	check_lists(b);
	bare_end(b);
}

static void who_was_evicted_not_long_ago_is_known_and_comes_to_main(void)
{
	struct bare *b = bare(100, UINT64_MAX);

	for (uint32_t id = 1; id <= 150; id++)
		use(b, id, PAGE);
	CHECK(!is_in(b, 40));
	CHECK(s3fifo_known(&b->q, 40 * PAGE));
	CHECK(!s3fifo_known(&b->q, 149 * PAGE));  /* is there */
	CHECK(!s3fifo_known(&b->q, 4000 * PAGE)); /* never was */
	use(b, 40, PAGE);
	CHECK(b->entries[40].state == ENTRY_MAIN);
	bare_end(b);
}

static void who_left_otherwise_is_not_known(void)
{
	struct bare *b = bare(100, UINT64_MAX);

	use(b, 7, PAGE);
	leave(b, 7, false);
	CHECK(!s3fifo_known(&b->q, 7 * PAGE));
	bare_end(b);
}

/* The memory of who left is as long as the cache, not longer. */
static void who_was_evicted_long_ago_is_forgotten(void)
{
	struct bare *b = bare(64, UINT64_MAX);
	unsigned int known = 0;

	for (uint32_t id = 1; id < 8000; id++)
		use(b, id, PAGE);
	for (uint32_t id = 1; id < 8000 - 64; id++)
		known += s3fifo_known(&b->q, id * PAGE);
	CHECK(known > 0);
	CHECK(known <= 64);
	bare_end(b);
}

static void held_regions_are_passed_over(void)
{
	struct bare *b = bare(100, UINT64_MAX);

	for (uint32_t id = 1; id <= 100; id++) {
		use(b, id, PAGE);
		b->held[id] = id != 77;
	}
	CHECK(s3fifo_victim(&b->q, idle, b) == 77);
	b->held[77] = true;
	CHECK(s3fifo_victim(&b->q, idle, b) == 0);
	check_lists(b);
	bare_end(b);
}

/* The queue of the new ones has less than its share, but main has nobody to give. */
static void a_new_region_leaves_where_all_older_ones_are_held(void)
{
	struct bare *b = bare(1000, UINT64_MAX);

	for (uint32_t id = 1; id <= 900; id++) {
		use(b, id, PAGE);
		b->held[id] = true;
	}
	for (int i = 0; i < 8; i++)
		s3fifo_victim(&b->q, idle, b); /* the held ones are in main now */
	CHECK(b->q.small.list.count == 0);
	use(b, 901, PAGE);
	use(b, 902, PAGE);
	b->held[901] = true;
	CHECK(s3fifo_victim(&b->q, idle, b) == 902);
	bare_end(b);
}

static void an_empty_cache_has_no_victim(void)
{
	struct bare *b = bare(100, UINT64_MAX);

	CHECK(s3fifo_victim(&b->q, idle, b) == 0);
	bare_end(b);
}

static void a_search_for_a_victim_is_bounded(void)
{
	struct bare *b = bare(ENTRIES, UINT64_MAX);

	for (uint32_t id = 1; id < ENTRIES; id++) {
		use(b, id, PAGE);
		b->entries[id].uses = USES_MAX;
		b->held[id] = true;
	}
	CHECK(s3fifo_victim(&b->q, idle, b) == 0);
	CHECK(b->asked <= 256); /* HELD_MAX */
	memset(b->held, 0, sizeof(b->held));
	CHECK(s3fifo_victim(&b->q, idle, b) != 0);
	bare_end(b);
}

static void no_memory_for_the_ghosts_is_an_error(void)
{
	struct s3fifo q;

	fault_only("mmap", ENOMEM);
	fault_arm(1);
	CHECK_RC(s3fifo_init(&q, NULL, NULL, 1000, PAGE), -ENOMEM);
	fault_disarm();
	CHECK_MSG("1024 evictions");
	s3fifo_fini(&q);
}

/* ---------------------------------------------------------- through the cache */

struct world {
	struct pinmem *pm;
	struct pinmem_cache *cache;
	char *mem;
	size_t len;
};

static struct world world(uint64_t max_regions, uint64_t max_bytes)
{
	struct pinmem_options po = { .size = sizeof(po) };
	struct pinmem_cache_options co = { .size = sizeof(co),
					   .monitor = PINMEM_MONITOR_CALLER,
					   .max_regions = max_regions,
					   .max_bytes = max_bytes };
	struct world w = { .len = 4 * CAPACITY * PAGE };

	CHECK_RC(pinmem_open_ops(&fake_ops, &po, "test", &w.pm), 0);
	CHECK_RC(pinmem_cache_create(w.pm, &co, &w.cache), 0);
	w.mem = mmap(NULL, w.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	CHECK(w.mem != MAP_FAILED);
	return w;
}

static void world_end(struct world *w)
{
	CHECK_RC(pinmem_cache_destroy(w->cache), 0);
	CHECK_RC(pinmem_close(w->pm), 0);
	munmap(w->mem, w->len);
}

static struct pinmem_cache_stats stats(const struct world *w)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	CHECK_RC(pinmem_cache_stats(w->cache, &s), 0);
	return s;
}

static struct pinmem_mr *get(const struct world *w, size_t page, size_t pages)
{
	struct pinmem_mr *mr = NULL;

	CHECK_RC(
		pinmem_cache_get(w->cache, w->mem + page * PAGE, pages * PAGE, RW, &mr),
		0);
	return mr;
}

static void touch(const struct world *w, size_t page, size_t pages)
{
	CHECK_RC(pinmem_cache_put(get(w, page, pages), PINMEM_CLEAN), 0);
}

/* Regions 0 .. hot-1, used often; then others once; Return: hits of the hot ones. */
static uint64_t hits_after_sweep(const struct world *w, size_t hot, size_t sweep)
{
	uint64_t before;

	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < hot; i++)
			touch(w, i, 1);
	for (size_t i = 0; i < sweep; i++)
		touch(w, CAPACITY + i, 1);
	before = stats(w).hits;
	for (size_t i = 0; i < hot; i++)
		touch(w, i, 1);
	return stats(w).hits - before;
}

static void a_sweep_of_twice_the_cache_leaves_nine_of_ten_hits(void)
{
	struct world w = world(CAPACITY, 0);

	CHECK(hits_after_sweep(&w, 800, 2 * CAPACITY) >= 720);
	CHECK(stats(&w).regions <= CAPACITY);
	world_end(&w);
}

static void so_it_does_where_bytes_are_the_limit(void)
{
	struct world w = world(0, CAPACITY * PAGE);

	CHECK(hits_after_sweep(&w, 800, 2 * CAPACITY) >= 720);
	CHECK(stats(&w).bytes <= CAPACITY * PAGE);
	world_end(&w);
}

/* Hits that were found under the lock are hits as well. */
static void so_it_does_without_membarrier(void)
{
	struct world w = world(CAPACITY, 0);
	static const uint32_t never;

	w.cache->hands.unfenced = false;
	w.cache->gate = &never;
	w.cache->gate_open = 1;
	CHECK(hits_after_sweep(&w, 800, 2 * CAPACITY) >= 720);
	world_end(&w);
}

static void a_sweep_among_the_hits_leaves_them_nine_of_ten(void)
{
	struct world w = world(CAPACITY, 0);
	uint64_t hits, swept = 0;

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < 500; i++)
			touch(&w, i, 1);
	hits = stats(&w).hits;
	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < 500; i++) {
			touch(&w, i, 1);
			touch(&w, CAPACITY + swept++, 1);
		}
	CHECK(stats(&w).hits - hits >= 1800);
	world_end(&w);
}

static void held_regions_outlive_a_sweep(void)
{
	struct world w = world(100, 0);
	struct pinmem_mr *held[60];
	uint64_t hits;

	for (size_t i = 0; i < 60; i++)
		held[i] = get(&w, i, 1);
	for (size_t i = 0; i < 400; i++)
		touch(&w, CAPACITY + i, 1);
	hits = stats(&w).hits;
	for (size_t i = 0; i < 60; i++)
		touch(&w, i, 1);
	CHECK(stats(&w).hits - hits == 60);
	CHECK(stats(&w).held == 60);
	for (size_t i = 0; i < 60; i++)
		CHECK_RC(pinmem_cache_put(held[i], PINMEM_CLEAN), 0);
	world_end(&w);
}

static void where_all_are_held_a_region_is_for_its_caller_alone(void)
{
	struct world w = world(4, 0);
	struct pinmem_mr *held[5];

	for (size_t i = 0; i < 5; i++)
		held[i] = get(&w, 2 * i, 1);
	CHECK(stats(&w).regions == 4);
	CHECK(stats(&w).alone == 1);
	CHECK(stats(&w).alone_full == 1);
	CHECK(fake_live_pins() == 5);
	CHECK_RC(pinmem_cache_put(held[4], PINMEM_CLEAN), 0);
	CHECK(fake_live_pins() == 4);
	for (size_t i = 0; i < 4; i++)
		CHECK_RC(pinmem_cache_put(held[i], PINMEM_CLEAN), 0);
	CHECK(fake_live_pins() == 4);
	world_end(&w);
}

static void limits_of_number_and_bytes_are_never_passed(void)
{
	struct world w = world(50, 200 * PAGE);

	srand(2);
	for (int i = 0; i < 3000; i++) {
		size_t page = (size_t)rand() % 1000, pages = 1 + (size_t)rand() % 12;
		struct pinmem_cache_stats s;

		touch(&w, page, pages);
		s = stats(&w);
		if (s.regions > 50 || s.bytes > 200 * PAGE || s.leaving || s.alone ||
		    (long)s.regions != fake_live_pins())
			CU_FAIL("over the limits");
	}
	CHECK(stats(&w).evictions > 0);
	world_end(&w);
}

static void a_region_larger_than_the_cache_is_not_kept_and_evicts_nobody(void)
{
	struct world w = world(0, 16 * PAGE);
	struct pinmem_mr *mr;

	touch(&w, 100, 4);
	mr = get(&w, 0, 17);
	CHECK(stats(&w).alone_full == 1);
	CHECK(stats(&w).regions == 1);
	CHECK(stats(&w).evictions == 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	CHECK(fake_live_pins() == 1);
	touch(&w, 0, 16); /* but this one just fits */
	CHECK(stats(&w).alone_full == 1);
	CHECK(stats(&w).evictions == 1);
	world_end(&w);
}

static void misses_on_what_was_evicted_are_thrash(void)
{
	struct world w = world(20, 0);

	for (size_t i = 0; i < 30; i++)
		touch(&w, 2 * i, 1);
	CHECK(stats(&w).thrash == 0);
	CHECK(stats(&w).evictions == 10);
	for (size_t i = 0; i < 30; i++)
		touch(&w, 2 * i, 1);
	CHECK(stats(&w).thrash >= 5);
	CHECK(stats(&w).thrash <= stats(&w).misses - 30);
	world_end(&w);
}

static const struct test tests[] = {
	{ "a_list_gives_back_in_the_order_it_was_given",
	  a_list_gives_back_in_the_order_it_was_given },
	{ "what_was_not_used_again_leaves_first",
	  what_was_not_used_again_leaves_first },
	{ "limits_hold_whatever_is_used", limits_hold_whatever_is_used },
	{ "few_large_regions_are_a_sweep_as_well",
	  few_large_regions_are_a_sweep_as_well },
	{ "a_sweep_leaves_the_hot_set_alone", a_sweep_leaves_the_hot_set_alone },
	{ "who_was_evicted_not_long_ago_is_known_and_comes_to_main",
	  who_was_evicted_not_long_ago_is_known_and_comes_to_main },
	{ "who_left_otherwise_is_not_known", who_left_otherwise_is_not_known },
	{ "who_was_evicted_long_ago_is_forgotten",
	  who_was_evicted_long_ago_is_forgotten },
	{ "held_regions_are_passed_over", held_regions_are_passed_over },
	{ "a_new_region_leaves_where_all_older_ones_are_held",
	  a_new_region_leaves_where_all_older_ones_are_held },
	{ "an_empty_cache_has_no_victim", an_empty_cache_has_no_victim },
	{ "a_search_for_a_victim_is_bounded", a_search_for_a_victim_is_bounded },
	{ "no_memory_for_the_ghosts_is_an_error",
	  no_memory_for_the_ghosts_is_an_error },
	{ "a_sweep_of_twice_the_cache_leaves_nine_of_ten_hits",
	  a_sweep_of_twice_the_cache_leaves_nine_of_ten_hits },
	{ "so_it_does_where_bytes_are_the_limit",
	  so_it_does_where_bytes_are_the_limit },
	{ "so_it_does_without_membarrier", so_it_does_without_membarrier },
	{ "a_sweep_among_the_hits_leaves_them_nine_of_ten",
	  a_sweep_among_the_hits_leaves_them_nine_of_ten },
	{ "held_regions_outlive_a_sweep", held_regions_outlive_a_sweep },
	{ "where_all_are_held_a_region_is_for_its_caller_alone",
	  where_all_are_held_a_region_is_for_its_caller_alone },
	{ "limits_of_number_and_bytes_are_never_passed",
	  limits_of_number_and_bytes_are_never_passed },
	{ "a_region_larger_than_the_cache_is_not_kept_and_evicts_nobody",
	  a_region_larger_than_the_cache_is_not_kept_and_evicts_nobody },
	{ "misses_on_what_was_evicted_are_thrash",
	  misses_on_what_was_evicted_are_thrash },
};

SUITE("s3fifo", tests)
