/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor_spans.c - a set of address ranges: a treap of disjoint ranges, ordered by
 * their start. All is done with two moves, cut in two and join (Seidel and Aragon
 * 1996), in time that grows with the logarithm of the ranges.
 */
#include "monitor_parts.h"

#include <errno.h>

/* Sixteen times vm.max_map_count as it is by default; address space only. */
#define SPANS_MAX (1u << 20)
/* Nodes that are kept ready for ranges that fall into two. */
#define SPANS_READY 256

static struct span *at(const struct spans *s, uint32_t n)
{
	return (struct span *)(void *)s->nodes.base + n;
}

int spans_init(struct spans *s)
{
	int rc;

	*s = (struct spans){ .used = 1, .seed = 2463534242u };
	rc = arena_init(&s->nodes, sizeof(struct span), SPANS_MAX);
	if (!rc)
		rc = spans_reserve(s);
	if (rc)
		spans_fini(s);
	return rc;
}

void spans_fini(struct spans *s)
{
	arena_fini(&s->nodes);
}

static uint64_t ready(const struct spans *s)
{
	return arena_ready(&s->nodes) - s->used + s->spares;
}

bool spans_low(const struct spans *s)
{
	return ready(s) < SPANS_READY;
}

int spans_reserve(struct spans *s)
{
	return arena_grow(&s->nodes, arena_ready(&s->nodes) + 4 * SPANS_READY);
}

static uint32_t random_weight(struct spans *s)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 17;
	s->seed ^= s->seed << 5;
	return s->seed;
}

static uint32_t node_new(struct spans *s, uintptr_t start, uintptr_t end)
{
	uint32_t n = s->unused;

	if (n) {
		s->unused = at(s, n)->right;
		s->spares--;
	} else if (s->used < arena_ready(&s->nodes)) {
		n = s->used++;
	} else {
		return 0;
	}
	*at(s, n) =
		(struct span){ .start = start, .end = end, .weight = random_weight(s) };
	return n;
}

static void node_free(struct spans *s, uint32_t n)
{
	at(s, n)->right = s->unused;
	s->unused = n;
	s->spares++;
}

/* Cut @tree: ranges that start below @key go to @low, the others to @high. */
static void cut(const struct spans *s, uint32_t tree, uintptr_t key, uint32_t *low,
		uint32_t *high)
{
	while (tree) {
		struct span *n = at(s, tree);

		if (n->start < key) {
			*low = tree;
			low = &n->right;
			tree = n->right;
		} else {
			*high = tree;
			high = &n->left;
			tree = n->left;
		}
	}
	*low = *high = 0;
}

/* All of @low lies below all of @high. */
static uint32_t join(const struct spans *s, uint32_t low, uint32_t high)
{
	uint32_t tree, *to = &tree;

	while (low && high) {
		if (at(s, low)->weight > at(s, high)->weight) {
			*to = low;
			to = &at(s, low)->right;
			low = *to;
		} else {
			*to = high;
			to = &at(s, high)->left;
			high = *to;
		}
	}
	*to = low ? low : high;
	return tree;
}

static uint32_t last_of(const struct spans *s, uint32_t tree)
{
	while (tree && at(s, tree)->right)
		tree = at(s, tree)->right;
	return tree;
}

/* Return: how far the freed ranges reached */
static uintptr_t free_all(struct spans *s, uint32_t tree)
{
	uintptr_t end = 0;

	while (tree) {
		uint32_t next = at(s, tree)->left;

		if (next) { /* turn to the right until there is nothing on the left */
			at(s, tree)->left = at(s, next)->right;
			at(s, next)->right = tree;
		} else {
			next = at(s, tree)->right;
			end = at(s, tree)->end;
			node_free(s, tree);
		}
		tree = next;
	}
	return end;
}

/* The range that holds @addr, or the last one below it; 0 */
static uint32_t find(const struct spans *s, uintptr_t addr)
{
	uint32_t tree = s->root, found = 0;

	while (tree) {
		const struct span *n = at(s, tree);

		if (n->start <= addr)
			found = tree;
		tree = n->start <= addr ? n->right : n->left;
	}
	return found;
}

uintptr_t spans_end_at(const struct spans *s, uintptr_t addr)
{
	uint32_t n = find(s, addr);

	return n && addr < at(s, n)->end ? at(s, n)->end : 0;
}

uintptr_t spans_first(const struct spans *s)
{
	uint32_t n = s->root;

	while (n && at(s, n)->left)
		n = at(s, n)->left;
	return n ? at(s, n)->start : 0;
}

bool spans_remove(struct spans *s, uintptr_t start, uintptr_t end)
{
	uint32_t low, middle, high, cropped, rest = 0;
	uintptr_t reach;
	bool whole = true;

	cut(s, s->root, start, &low, &high);
	cut(s, high, end, &middle, &high);
	cropped = last_of(s, low);
	reach = free_all(s, middle);
	if (cropped && at(s, cropped)->end > start) {
		if (at(s, cropped)->end > reach)
			reach = at(s, cropped)->end;
		at(s, cropped)->end = start;
	}
	if (reach > end) {
		rest = node_new(s, end, reach);
		whole = rest;
	}
	s->root = join(s, low, join(s, rest, high));
	return whole;
}

bool spans_add(struct spans *s, uintptr_t start, uintptr_t end)
{
	uint32_t before = start ? find(s, start - 1) : 0, low, middle, high, n;
	uintptr_t reach;

	/* what it touches becomes one with it; only the node may be missing */
	if (before && at(s, before)->end >= start)
		start = at(s, before)->start;
	if (!ready(s))
		return false;
	cut(s, s->root, start, &low, &high);
	cut(s, high, end + 1, &middle, &high);
	reach = free_all(s, middle);
	n = node_new(s, start, reach > end ? reach : end);
	s->root = join(s, low, join(s, n, high));
	return true;
}
