/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_page_index.c - the cache's index of pages against a plain oracle, an array of
 * extents: whatever comes and goes, small, huge, adjacent, at every boundary.
 */
#include "suite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "page_index.h"

#define IDS 192u	 /* regions live at a time */
#define GIB (1ull << 18) /* in pages */
#define TIB (1ull << 28)
#define TOP_WORD (1ull << (LEAF_BITS + NODE_BITS))
#define END (1ull << PAGE_INDEX_BITS)

/* The oracle: what is in the index. */
struct oracle {
	struct page_index ix;
	struct extent of[IDS + 1];
	bool live[IDS + 1];
	uint32_t count;
	uint64_t seed;
};

static uint64_t rnd(struct oracle *o)
{
	o->seed ^= o->seed << 13;
	o->seed ^= o->seed >> 7;
	o->seed ^= o->seed << 17;
	return o->seed;
}

static struct extent extent_of(uint32_t id, void *arg)
{
	struct oracle *o = arg;

	CHECK(id && id <= IDS && o->live[id]); /* it is asked for no others */
	return o->of[id];
}

static bool meet(struct extent a, struct extent b)
{
	return a.first <= b.last && b.first <= a.last;
}

/* The lowest region with a page in it, the slow way. */
static uint32_t lowest(const struct oracle *o, struct extent in)
{
	uint32_t best = 0;

	for (uint32_t id = 1; id <= IDS; id++)
		if (o->live[id] && meet(o->of[id], in) &&
		    (!best || o->of[id].first < o->of[best].first))
			best = id;
	return best;
}

static void open_index(struct oracle *o, uint64_t regions, uint64_t seed)
{
	memset(o, 0, sizeof(*o));
	o->seed = seed * 0x9e3779b97f4a7c15ull + 1;
	CHECK_RC(page_index_init(&o->ix, regions, extent_of, o), 0);
}

static int enter(struct oracle *o, uint32_t id, uint64_t first, uint64_t pages)
{
	struct extent of = { first, first + pages - 1 };
	int rc = page_index_set(&o->ix, of, id);

	if (!rc) {
		o->of[id] = of;
		o->live[id] = true;
		o->count++;
	}
	return rc;
}

static void leave(struct oracle *o, uint32_t id)
{
	page_index_clear(&o->ix, o->of[id], id);
	o->live[id] = false;
	o->count--;
}

/* A node that is not in use is in the list of its store, and all its words are 0. */
static bool store_is_empty(const struct node_store *s, size_t words)
{
	uint32_t spare = 0;

	for (uint32_t n = s->spare; n; spare++) {
		const uint32_t *node =
			(const void *)(s->words.base + n * s->words.item);

		for (size_t i = 0; i < words; i++)
			if (node[i])
				return false;
		n = ((const uint32_t *)(const void *)s->filled.base)[n];
	}
	return spare == s->used - 1;
}

static void close_index(struct oracle *o)
{
	for (uint32_t id = 1; id <= IDS; id++)
		if (o->live[id])
			leave(o, id);
	CHECK(page_index_next(&o->ix, (struct extent){ 0, END - 1 }) == 0);
	CHECK(store_is_empty(&o->ix.leaf, LEAF_WORDS));
	CHECK(store_is_empty(&o->ix.node, NODE_WORDS));
	for (size_t i = 0; i < TOP_WORDS; i++)
		if (o->ix.top[i])
			CU_FAIL("a word of the top is left");
	page_index_fini(&o->ix);
}

static bool is_found(const struct oracle *o, uint64_t page)
{
	uint32_t want = lowest(o, (struct extent){ page, page });
	uint32_t got = page_index_find(&o->ix, page);

	if (got == want || (!want && got <= IDS && o->live[got]))
		return true;
	printf("\n    page 0x%" PRIx64 ": found %u, not %u\n", page, got, want);
	return false;
}

/* Every region at its ends, around them, and within. */
static void check_all(struct oracle *o)
{
	bool ok = true;

	for (uint32_t id = 1; id <= IDS && ok; id++) {
		struct extent of = o->of[id];

		if (!o->live[id])
			continue;
		ok = is_found(o, of.first) && is_found(o, of.last) &&
		     is_found(o, of.first + rnd(o) % (of.last - of.first + 1)) &&
		     (!of.first || is_found(o, of.first - 1)) &&
		     (of.last == END - 1 || is_found(o, of.last + 1));
	}
	CHECK(ok);
}

static void check_next(struct oracle *o, struct extent in)
{
	uint32_t want = lowest(o, in), got = page_index_next(&o->ix, in);

	if (want != got)
		printf("\n    [0x%" PRIx64 ", 0x%" PRIx64 "]: next %u, not %u\n",
		       in.first, in.last, got, want);
	CHECK(want == got);
}

/* Extents of all sizes, crowded so that they meet in leaves and in nodes. */
static struct extent random_extent(struct oracle *o)
{
	uint64_t kind = rnd(o) % 8, first = rnd(o) % END, pages = 1 + rnd(o) % 40;
	uint32_t near = 1 + (uint32_t)(rnd(o) % IDS);
	struct extent of;

	switch (kind) {
	case 0: /* after another one */
		first = o->live[near] ? o->of[near].last + 1 : 0;
		break;
	case 1: /* before another one */
		if (o->live[near] && o->of[near].first >= pages)
			first = o->of[near].first - pages;
		break;
	case 2: /* over a boundary of 2 GiB */
		first = (1 + rnd(o) % 4) * TOP_WORD - rnd(o) % 20;
		break;
	case 3:
		first = 3 * TOP_WORD + rnd(o) % (2 * TOP_WORD);
		pages = 1 + rnd(o) % (3 * GIB);
		break;
	case 4:
		first = (rnd(o) % 64) * TIB / 4 + rnd(o) % 64;
		pages = 1 + rnd(o) % (2 * TIB);
		break;
	case 5: /* up to the last page of all, about */
		first = END - pages - (rnd(o) & 1) * (rnd(o) % 100);
		break;
	default: /* a crowd */
		first = 7 * TOP_WORD + rnd(o) % 4096;
	}
	of = (struct extent){ first, first + pages - 1 };
	if (of.last >= END)
		of.last = END - 1;
	return of.first > of.last ? (struct extent){ 0, 0 } : of;
}

static void random_step(struct oracle *o, bool may_be_full)
{
	uint32_t id = 1 + (uint32_t)(rnd(o) % IDS);
	struct extent of = random_extent(o);

	page_index_reserve(&o->ix);
	if (o->live[id]) {
		leave(o, id);
	} else if (!lowest(o, of)) {
		int rc = enter(o, id, of.first, of.last - of.first + 1);

		CHECK(!rc || (may_be_full && rc == -ENOMEM));
	}
	check_next(o, of);
	check_next(o, random_extent(o));
}

static void random_walk(uint64_t regions, uint64_t seed, bool may_be_full)
{
	struct oracle o;

	printf(" seed %" PRIu64, seed);
	open_index(&o, regions, seed);
	for (int i = 0; i < 4000; i++) {
		random_step(&o, may_be_full);
		if (i % 16 == 0)
			check_all(&o);
	}
	check_all(&o);
	close_index(&o);
}

static void random_regions_are_found_as_the_oracle_says(void)
{
	for (uint64_t seed = 1; seed <= SHARE(6); seed++)
		random_walk(IDS, seed, false);
}

/* Far too few nodes: every set that fails must leave no trace. */
static void random_regions_in_a_full_index_are_found(void)
{
	for (uint64_t seed = 11; seed <= 10 + SHARE(4); seed++)
		random_walk(seed % 4 * 3, seed, true);
}

/* ----------------------------------------------------------------- by hand */

static void an_empty_index_finds_nothing(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	CHECK(page_index_find(&o.ix, 0) == 0);
	CHECK(page_index_find(&o.ix, END - 1) == 0);
	CHECK(page_index_find(&o.ix, END) == 0);
	CHECK(page_index_find(&o.ix, UINT64_MAX) == 0);
	check_next(&o, (struct extent){ 0, UINT64_MAX });
	CHECK(page_index_next(&o.ix, (struct extent){ END, UINT64_MAX }) == 0);
	CHECK(page_index_next(&o.ix, (struct extent){ 5, 4 }) == 0);
	close_index(&o);
}

static void one_region_alone_takes_no_node(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	/* without page_index_reserve(): there is no node to take */
	CHECK_RC(enter(&o, 1, 5, 1), 0);
	CHECK_RC(enter(&o, 2, 3 * TOP_WORD, 5 * TIB), 0);
	CHECK(o.ix.node.used == 1);
	CHECK(o.ix.leaf.used == 1);
	check_all(&o);
	close_index(&o);
}

static void regions_of_64_kib_side_by_side_take_no_leaf(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	for (uint32_t id = 1; id <= IDS; id++)
		CHECK_RC(enter(&o, id, (uint64_t)id * LEAF_WORDS, LEAF_WORDS), 0);
	CHECK(o.ix.node.used == 2);
	CHECK(o.ix.leaf.used == 1);
	check_all(&o);
	close_index(&o);
}

static void sixteen_pages_of_a_leaf_are_sixteen_regions(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	for (uint32_t id = 1; id <= LEAF_WORDS; id++)
		CHECK_RC(enter(&o, id, 7 * LEAF_WORDS + id - 1, 1), 0);
	CHECK(o.ix.leaf.used == 2);
	check_all(&o);
	for (uint32_t id = 2; id <= LEAF_WORDS; id += 2)
		leave(&o, id);
	for (uint64_t page = 7 * LEAF_WORDS; page < 8 * LEAF_WORDS; page++)
		check_next(&o, (struct extent){ page, page });
	CHECK(page_index_find(&o.ix, 7 * LEAF_WORDS + 1) == 0);
	close_index(&o);
}

static void the_first_and_the_last_page_of_all_can_be_entered(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	CHECK_RC(enter(&o, 1, 0, 1), 0);
	CHECK_RC(enter(&o, 2, END - 1, 1), 0);
	CHECK_RC(enter(&o, 3, 1, END - 2), 0);
	check_all(&o);
	check_next(&o, (struct extent){ 0, UINT64_MAX });
	check_next(&o, (struct extent){ 1, UINT64_MAX });
	check_next(&o, (struct extent){ END - 1, UINT64_MAX });
	close_index(&o);
}

static void what_is_beyond_48_bits_is_refused(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	CHECK_RC(enter(&o, 1, END - 1, 2), -ENOMEM);
	CHECK_MSG("beyond 48 bits");
	CHECK_RC(enter(&o, 1, END, 1), -ENOMEM);
	close_index(&o);
}

/* Two regions meet, and no node was reserved. */
static void without_a_node_a_set_fails_and_changes_nothing(void)
{
	struct oracle o;

	open_index(&o, IDS, 1);
	CHECK_RC(enter(&o, 1, 100, 10), 0);
	CHECK_RC(enter(&o, 2, 110, 10), -ENOMEM);
	CHECK_MSG("the cache's index is full");
	check_all(&o);
	CHECK(lowest(&o, (struct extent){ 110, 119 }) == 0);
	check_next(&o, (struct extent){ 110, 119 });
	CHECK_RC(page_index_reserve(&o.ix), 0);
	CHECK_RC(enter(&o, 2, 110, 10), 0);
	check_all(&o);
	close_index(&o);
}

/* A long region finds a node at its one end, but not at the other. */
static void a_set_that_fails_half_way_is_taken_back(void)
{
	struct oracle o;
	uint32_t pairs = 0;

	open_index(&o, 2, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	for (uint64_t max = o.ix.leaf.words.max; pairs + 2 < max; pairs++) {
		uint64_t at = (1000 + pairs) * LEAF_WORDS;

		CHECK_RC(enter(&o, 2 * pairs + 1, at, 1), 0);
		CHECK_RC(enter(&o, 2 * pairs + 2, at + 1, 1), 0);
	}
	/* one leaf is left, and this one needs two */
	CHECK_RC(enter(&o, 100, 0, 1), 0);
	CHECK_RC(enter(&o, 101, 500 * LEAF_WORDS + 8, 1), 0);
	CHECK_RC(enter(&o, 102, 1, 500 * LEAF_WORDS), -ENOMEM);
	check_all(&o);
	check_next(&o, (struct extent){ 1, 500 * LEAF_WORDS });
	check_next(&o, (struct extent){ 0, UINT64_MAX });
	leave(&o, 1);
	leave(&o, 2);	/* which gives a leaf back */
	leave(&o, 100); /* and this one, which was split in vain */
	CHECK_RC(enter(&o, 100, 0, 1), 0);
	CHECK_RC(enter(&o, 102, 1, 500 * LEAF_WORDS), 0);
	check_all(&o);
	close_index(&o);
}

static void a_node_is_used_again_and_again(void)
{
	struct oracle o;

	open_index(&o, 2, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	for (uint64_t i = 0; i < 1000; i++) {
		CHECK_RC(enter(&o, 1, i * TOP_WORD + 3, 1), 0);
		CHECK_RC(enter(&o, 2, i * TOP_WORD + 4, 1), 0);
		leave(&o, i % 2 ? 1 : 2);
		leave(&o, i % 2 ? 2 : 1);
	}
	CHECK(o.ix.leaf.used == 2);
	CHECK(o.ix.node.used == 2);
	close_index(&o);
}

static void a_terabyte_takes_little_memory(void)
{
	struct oracle o;
	uint64_t before;

	open_index(&o, IDS, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	before = page_index_bytes(&o.ix);
	CHECK(before >= TOP_WORDS * sizeof(uint32_t));
	CHECK_RC(enter(&o, 1, 1, TIB), 0);
	CHECK_RC(enter(&o, 2, 0, 1), 0);
	CHECK_RC(enter(&o, 3, TIB + 1, 1), 0);
	CHECK(page_index_bytes(&o.ix) - before <= 2 * NODE_WORDS * sizeof(uint32_t));
	check_all(&o);
	close_index(&o);
}

static void every_failing_mapping_of_a_new_index_is_undone(void)
{
	struct page_index ix;
	bool failed = false;

	FAULT_WALK (n) {
		int rc = page_index_init(&ix, IDS, extent_of, NULL);

		if (fault_fired() && rc) {
			failed = true;
			CHECK_RC(rc, -ENOMEM);
			CHECK_MSG("no ");
		} else {
			CHECK_RC(rc, 0);
			page_index_fini(&ix);
		}
	}
	CHECK(failed);
}

/* ------------------------------------------------------------------ readers */

struct reader {
	struct page_index *ix;
	uint64_t page;
	uint32_t want;
	bool stop, wrong; /* atomic */
};

static void *read_on(void *arg)
{
	struct reader *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
		if (page_index_find(r->ix, r->page) != r->want)
			__atomic_store_n(&r->wrong, true, __ATOMIC_RELAXED);
	return NULL;
}

/* A region that stays is found at any time, whoever comes and goes beside it. */
static void a_reader_without_a_lock_always_finds_what_stays(void)
{
	struct reader r = { .page = 5 * TOP_WORD + 33, .want = 1 };
	struct oracle o;
	pthread_t thread;

	open_index(&o, IDS, 1);
	CHECK_RC(page_index_reserve(&o.ix), 0);
	CHECK_RC(enter(&o, 1, r.page, 1), 0);
	r.ix = &o.ix;
	CHECK(!pthread_create(&thread, NULL, read_on, &r));
	for (int i = 0; i < 20000; i++) {
		uint32_t id = 2 + (uint32_t)(rnd(&o) % 30);
		uint64_t at = 5 * TOP_WORD + id + (id > 16 ? 2 * LEAF_WORDS : 0);

		if (at == r.page)
			continue;
		if (o.live[id])
			leave(&o, id);
		else
			CHECK_RC(enter(&o, id, at, 1), 0);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK(!r.wrong);
	close_index(&o);
}

static const struct test tests[] = {
	{ "random_regions_are_found_as_the_oracle_says",
	  random_regions_are_found_as_the_oracle_says },
	{ "random_regions_in_a_full_index_are_found",
	  random_regions_in_a_full_index_are_found },
	{ "an_empty_index_finds_nothing", an_empty_index_finds_nothing },
	{ "one_region_alone_takes_no_node", one_region_alone_takes_no_node },
	{ "regions_of_64_kib_side_by_side_take_no_leaf",
	  regions_of_64_kib_side_by_side_take_no_leaf },
	{ "sixteen_pages_of_a_leaf_are_sixteen_regions",
	  sixteen_pages_of_a_leaf_are_sixteen_regions },
	{ "the_first_and_the_last_page_of_all_can_be_entered",
	  the_first_and_the_last_page_of_all_can_be_entered },
	{ "what_is_beyond_48_bits_is_refused", what_is_beyond_48_bits_is_refused },
	{ "without_a_node_a_set_fails_and_changes_nothing",
	  without_a_node_a_set_fails_and_changes_nothing },
	{ "a_set_that_fails_half_way_is_taken_back",
	  a_set_that_fails_half_way_is_taken_back },
	{ "a_node_is_used_again_and_again", a_node_is_used_again_and_again },
	{ "a_terabyte_takes_little_memory", a_terabyte_takes_little_memory },
	{ "every_failing_mapping_of_a_new_index_is_undone",
	  every_failing_mapping_of_a_new_index_is_undone },
	{ "a_reader_without_a_lock_always_finds_what_stays",
	  a_reader_without_a_lock_always_finds_what_stays },
};

SUITE("page_index", tests)
