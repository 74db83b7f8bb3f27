/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page_index.h - from a page to the number of the region that lies there.
 *
 * A radix tree of 32-bit words, three levels for 48-bit addresses:
 *
 *	top [2^17] ──> node [2^15] ──> leaf [16]
 *	2 GiB a word   64 KiB a word   4 KiB a word
 *
 * A word whose part of the address space only one region touches holds that region's
 * number; a level more is there only where two regions meet. So a huge region takes
 * a word for each 64 KiB at its ends and for each 2 GiB within, and a region of 64 KiB
 * one or two words of 4 bytes. (What a node's or the top's untouched pages would take
 * is never there.)
 *
 * Writers hold their caller's lock. Readers hold nothing: nodes come from arenas and
 * keep their level for ever, so a reader always finds a word that once was the right
 * one. What it reads is a hint, which must be checked: the number of a region that is
 * there, or near, or was; or 0.
 */
#ifndef PINMEM_PAGE_INDEX_H
#define PINMEM_PAGE_INDEX_H

#include "arena.h"

/** PAGE_INDEX_SHIFT - of what counts as a page here, whatever the machine's pages are
 */
#define PAGE_INDEX_SHIFT 12
#define LEAF_BITS 4
#define NODE_BITS 15
#define TOP_BITS 17
#define LEAF_WORDS (1u << LEAF_BITS)
#define NODE_WORDS (1u << NODE_BITS)
#define TOP_WORDS (1u << TOP_BITS)
#define PAGE_INDEX_BITS (LEAF_BITS + NODE_BITS + TOP_BITS) /* of a page number */

/** PAGE_INDEX_VALUE - in a word above the leaves: not a node but a region. */
#define PAGE_INDEX_VALUE (1u << 31)

/** struct node_store - the nodes of a level; number 0 is none. */
struct node_store {
	struct arena words;  /* items are nodes */
	struct arena filled; /* uint32_t: how many words of a node are not 0; for a
			      * node that is not in use: the next such one */
	uint32_t used;	     /* atomic; nodes ever taken */
	uint32_t spare;	     /* the first that is not in use, or 0 */
};

/** struct extent - the pages of a region. */
struct extent {
	uint64_t first, last;
};

struct page_index {
	uint32_t *top; /* these three readers load: nobody writes there */
	char *nodes;
	char *leaves;
	struct extent (*extent)(uint32_t id, void *arg);
	void *arg;
	struct node_store node __attribute__((aligned(64)));
	struct node_store leaf;
};

/**
 * page_index_init - for at most @regions regions.
 * @extent: of a region that is in the index. Return: 0, -ENOMEM.
 */
int page_index_init(struct page_index *ix, uint64_t regions,
		    struct extent (*extent)(uint32_t id, void *arg), void *arg);
void page_index_fini(struct page_index *ix);

/** page_index_reserve - see that the next page_index_set() finds its nodes. Grows
 * arenas: see arena_grow(). */
int page_index_reserve(struct page_index *ix);

/**
 * page_index_set - enter a region. No other may have a page of it.
 * @id: page_index.extent() is asked only for others
 * Return: 0; -ENOMEM: page_index_reserve() was not called, or tables are full.
 */
int page_index_set(struct page_index *ix, struct extent of, uint32_t id);
/** page_index_clear - take a region out again. */
void page_index_clear(struct page_index *ix, struct extent of, uint32_t id);
/** page_index_next - for writers: the lowest region with a page in @in, or 0. */
uint32_t page_index_next(const struct page_index *ix, struct extent in);
/** page_index_bytes - memory in use */
uint64_t page_index_bytes(const struct page_index *ix);

static inline uint32_t page_index_word(const char *words, uint64_t at)
{
	return __atomic_load_n((const uint32_t *)(const void *)words + at,
			       __ATOMIC_ACQUIRE);
}

/* 0 or a value, and not a node: in one comparison */
static inline bool index_is_last(uint32_t word)
{
	return (int32_t)word <= 0;
}

/** page_index_find - the number of the region that may have @page, or 0. Any thread,
 * no lock. */
static inline uint32_t page_index_find(const struct page_index *ix, uint64_t page)
{
	uint32_t word;

	if (__builtin_expect(page >> PAGE_INDEX_BITS, 0))
		return 0;
	word = __atomic_load_n(&ix->top[page >> (LEAF_BITS + NODE_BITS)],
			       __ATOMIC_ACQUIRE);
	if (__builtin_expect(index_is_last(word), 0))
		return word & ~PAGE_INDEX_VALUE;
	word = page_index_word(ix->nodes, (uint64_t)word * NODE_WORDS +
						  (page >> LEAF_BITS) % NODE_WORDS);
	if (__builtin_expect(index_is_last(word), 1))
		return word & ~PAGE_INDEX_VALUE;
	return page_index_word(ix->leaves,
			       (uint64_t)word * LEAF_WORDS + page % LEAF_WORDS);
}

#endif
