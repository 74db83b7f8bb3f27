/* SPDX-License-Identifier: BSD-2-Clause */
/* page_index.c - the writers' half of the radix tree; see page_index.h. */
#include "page_index.h"

#include <errno.h>
#include <sys/mman.h>

#define TOP_BYTES (TOP_WORDS * sizeof(uint32_t))
/* A set needs two nodes of a kind at most: one at each end. Threads reserve at the same
 * time, and each for all; if there are very many, one may go without. */
#define NODES_PER_SET 2
#define LEAVES_MARGIN 16

enum level { LEAF, NODE, TOP };

/* Pages that one word of a level stands for, as a shift. */
static const unsigned int shift[] = {
	[LEAF] = 0, [NODE] = LEAF_BITS, [TOP] = LEAF_BITS + NODE_BITS
};

/* ------------------------------------------------------------------ storage */

static int store_init(struct node_store *s, size_t bytes, uint64_t max)
{
	int rc = arena_init(&s->words, bytes, max);

	s->used = 1; /* number 0 is none */
	s->spare = 0;
	return rc ? rc : arena_init(&s->filled, sizeof(uint32_t), max);
}

int page_index_init(struct page_index *ix, uint64_t regions,
		    struct extent (*extent)(uint32_t id, void *arg), void *arg)
{
	uint64_t max = NODES_PER_SET * (regions + 1) + 1;
	void *top;
	int rc;

	*ix = (struct page_index){ .extent = extent, .arg = arg };
	rc = store_init(&ix->leaf, LEAF_WORDS * sizeof(uint32_t), max);
	if (!rc)
		rc = store_init(&ix->node, NODE_WORDS * sizeof(uint32_t),
				max < TOP_WORDS ? max : TOP_WORDS);
	if (rc)
		goto fail;
	ix->node.words.lazy = true;
	top = mmap(NULL, TOP_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (top == MAP_FAILED) {
		rc = fail(ENOMEM, "no memory for a cache's index");
		goto fail;
	}
	ix->top = top;
	ix->nodes = ix->node.words.base;
	ix->leaves = ix->leaf.words.base;
	return 0;
fail:
	page_index_fini(ix);
	return rc;
}

void page_index_fini(struct page_index *ix)
{
	arena_fini(&ix->leaf.words);
	arena_fini(&ix->leaf.filled);
	arena_fini(&ix->node.words);
	arena_fini(&ix->node.filled);
	if (ix->top)
		munmap(ix->top, TOP_BYTES);
	ix->top = NULL;
}

static int store_reserve(struct node_store *s, uint32_t margin)
{
	uint64_t want = __atomic_load_n(&s->used, __ATOMIC_RELAXED) + margin;
	int rc;

	if (want > s->words.max)
		want = s->words.max; /* the spare ones may do */
	rc = arena_grow(&s->words, want);
	return rc ? rc : arena_grow(&s->filled, want);
}

int page_index_reserve(struct page_index *ix)
{
	int rc = store_reserve(&ix->leaf, LEAVES_MARGIN);

	return rc ? rc : store_reserve(&ix->node, NODES_PER_SET);
}

uint64_t page_index_bytes(const struct page_index *ix)
{
	return TOP_BYTES + ix->node.used * ix->node.words.item +
	       ix->node.filled.usable + ix->leaf.words.usable + ix->leaf.filled.usable;
}

static struct node_store *store_of(struct page_index *ix, enum level level)
{
	return level == LEAF ? &ix->leaf : &ix->node;
}

static uint32_t *words_of(const struct page_index *ix, enum level level, uint32_t n)
{
	if (level == TOP)
		return ix->top;
	if (level == NODE)
		return (uint32_t *)(void *)ix->nodes + (size_t)n * NODE_WORDS;
	return (uint32_t *)(void *)ix->leaves + (size_t)n * LEAF_WORDS;
}

static uint32_t *filled(struct page_index *ix, enum level level, uint32_t n)
{
	return (uint32_t *)(void *)store_of(ix, level)->filled.base + n;
}

/* All zero: it was when it was put back. 0: there is none. */
static uint32_t node_take(struct page_index *ix, enum level level)
{
	struct node_store *s = store_of(ix, level);
	uint32_t n = s->spare;

	if (n) {
		s->spare = *filled(ix, level, n);
		*filled(ix, level, n) = 0;
		return n;
	}
	if (s->used >= arena_ready(&s->words) || s->used >= arena_ready(&s->filled))
		return 0;
	__atomic_store_n(&s->used, s->used + 1, __ATOMIC_RELAXED);
	return s->used - 1;
}

static void node_put(struct page_index *ix, enum level level, uint32_t n)
{
	struct node_store *s = store_of(ix, level);

	*filled(ix, level, n) = s->spare;
	s->spare = n;
}

/* ------------------------------------------------------------------ writing */

/* The part of @of that word @at of a level stands for */
static struct extent part(enum level level, uint64_t at, struct extent of)
{
	uint64_t first = at << shift[level], last = ((at + 1) << shift[level]) - 1;

	return (struct extent){ of.first > first ? of.first : first,
				of.last < last ? of.last : last };
}

static uint64_t word_at(enum level level, uint64_t page)
{
	uint64_t words = level == TOP	 ? TOP_WORDS
			 : level == NODE ? NODE_WORDS
					 : LEAF_WORDS;

	return (page >> shift[level]) % words;
}

static void write_word(struct page_index *ix, enum level level, uint32_t n,
		       uint32_t *word, uint32_t value)
{
	if (level != TOP)
		*filled(ix, level, n) += (value != 0) - (*word != 0);
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static int set_in(struct page_index *ix, enum level level, uint32_t n, struct extent of,
		  uint32_t id);

/* Two regions meet in this word: a level more. The new node is complete but for the
 * newcomer before a reader can see it. Return: its number, or 0. */
static uint32_t split(struct page_index *ix, enum level level, uint32_t n, uint64_t at,
		      uint32_t *word)
{
	uint32_t other = *word & ~PAGE_INDEX_VALUE, child;
	enum level below = level - 1;

	child = node_take(ix, below);
	if (!child)
		return 0;
	if (other)
		set_in(ix, below, child, part(level, at, ix->extent(other, ix->arg)),
		       other);
	write_word(ix, level, n, word, child);
	return child;
}

/* A part of a region into one node. It stops at the first node that is not to be had;
 * page_index_clear() takes back what was set until then. */
static int set_in(struct page_index *ix, enum level level, uint32_t n, struct extent of,
		  uint32_t id)
{
	uint32_t value = level == LEAF ? id : id | PAGE_INDEX_VALUE;
	int rc = 0;

	for (uint64_t at = of.first >> shift[level];
	     at <= of.last >> shift[level] && !rc; at++) {
		uint32_t *word =
			words_of(ix, level, n) + word_at(level, at << shift[level]);
		uint32_t child = *word;

		if (!child) {
			write_word(ix, level, n, word, value);
			continue;
		}
		if (child & PAGE_INDEX_VALUE)
			child = split(ix, level, n, at, word);
		rc = child ? set_in(ix, level - 1, child, part(level, at, of), id)
			   : -ENOMEM;
	}
	return rc;
}

static void clear_in(struct page_index *ix, enum level level, uint32_t n,
		     struct extent of, uint32_t id)
{
	uint32_t value = level == LEAF ? id : id | PAGE_INDEX_VALUE;

	for (uint64_t at = of.first >> shift[level]; at <= of.last >> shift[level];
	     at++) {
		uint32_t *word =
			words_of(ix, level, n) + word_at(level, at << shift[level]);
		uint32_t child = *word;

		if (child == value) {
			write_word(ix, level, n, word, 0);
		} else if (level != LEAF && child && !(child & PAGE_INDEX_VALUE)) {
			clear_in(ix, level - 1, child, part(level, at, of), id);
			if (*filled(ix, level - 1, child))
				continue;
			write_word(ix, level, n, word, 0);
			node_put(ix, level - 1, child);
		}
	}
}

void page_index_clear(struct page_index *ix, struct extent of, uint32_t id)
{
	clear_in(ix, TOP, 0, of, id);
}

int page_index_set(struct page_index *ix, struct extent of, uint32_t id)
{
	int rc;

	if (of.last >> PAGE_INDEX_BITS)
		return fail(ENOMEM, "an address beyond 48 bits");
	rc = set_in(ix, TOP, 0, of, id);
	if (rc) {
		page_index_clear(ix, of, id);
		return fail(-rc, "the cache's index is full");
	}
	return 0;
}

static uint32_t next_in(const struct page_index *ix, enum level level, uint32_t n,
			struct extent in)
{
	for (uint64_t at = in.first >> shift[level]; at <= in.last >> shift[level];
	     at++) {
		uint32_t id =
			words_of(ix, level, n)[word_at(level, at << shift[level])];
		struct extent of;

		if (!id)
			continue;
		if (level != LEAF && !(id & PAGE_INDEX_VALUE)) {
			id = next_in(ix, level - 1, id, part(level, at, in));
			if (id)
				return id;
			continue;
		}
		id &= ~PAGE_INDEX_VALUE;
		of = ix->extent(id, ix->arg);
		if (of.first <= in.last && in.first <= of.last)
			return id;
	}
	return 0;
}

uint32_t page_index_next(const struct page_index *ix, struct extent in)
{
	if (in.last >> PAGE_INDEX_BITS)
		in.last = (1ull << PAGE_INDEX_BITS) - 1;
	return in.first > in.last ? 0 : next_in(ix, TOP, 0, in);
}
