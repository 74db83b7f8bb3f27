/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_plan.c - which points `pinmem bench strategies` measures. Base pages and one
 * thread: every size with every reuse. Other pages, and two threads: every size with
 * the least reuse and a large one; quick: with the least, and two threads on base
 * pages. Used more than once, a buffer moves so many bytes at most: for a
 * long I/O pinning costs next to nothing, and more of them would tell nothing new.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench_strategies.h"
#include "tool.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static const uint64_t sizes[] = { 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB,
				  4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB };
static const uint64_t sizes_quick[] = { 4 * KIB, 64 * KIB, MIB, 16 * MIB };
static const unsigned int reuses[] = { 1, 3, 10, 30, 100, 300, 1000 };
static const unsigned int reuses_quick[] = { 1, 10, 100 };

#define CYCLE_MAX (64 * MIB)
#define CYCLE_MAX_QUICK (16 * MIB)

/** struct grid - the choice of a full and of a quick bench. */
struct grid {
	const uint64_t *sizes;
	const unsigned int *reuses;
	size_t sizes_n, reuses_n;
	uint64_t cycle_max;
	unsigned int reuse_large; /* of what is not on base pages by one thread */
};

static struct grid grid_of(bool quick)
{
	return quick ? (struct grid){ sizes_quick,
				      reuses_quick,
				      ARRAY_SIZE(sizes_quick),
				      ARRAY_SIZE(reuses_quick),
				      CYCLE_MAX_QUICK,
				      1 }
		     : (struct grid){
			       sizes,	  reuses, ARRAY_SIZE(sizes), ARRAY_SIZE(reuses),
			       CYCLE_MAX, 100
		       };
}

uint64_t plan_size_max(bool quick)
{
	struct grid g = grid_of(quick);

	return g.sizes[g.sizes_n - 1];
}

const char *device_name(enum device_kind kind)
{
	return kind == DEVICE_FILE ? "file" : "rdma";
}

const char *pages_name(enum memory_kind pages)
{
	switch (pages) {
	case MEM_THP:
		return "thp";
	case MEM_HUGETLB:
		return "hugetlb";
	case MEM_FILE:
		return "fsdax";
	default:
		return "base";
	}
}

static int add(struct plan *plan, const struct point *p)
{
	struct spot *more;

	if (plan->n == plan->room) {
		plan->room = plan->room ? 2 * plan->room : 64;
		more = reallocarray(plan->spots, plan->room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		plan->spots = more;
	}
	plan->spots[plan->n++] = (struct spot){ .point = *p };
	return 0;
}

/* All sizes of this kind of memory, with all reuses or two; @p: the rest is set. */
static int add_grid(struct plan *plan, const struct grid *g, struct point p, bool all)
{
	int rc = 0;

	for (size_t s = 0; s < g->sizes_n; s++)
		for (size_t r = 0; r < g->reuses_n && !rc; r++) {
			p.size = g->sizes[s];
			p.reuse = g->reuses[r];
			if (p.size > plan->size_max ||
			    (p.reuse > 1 && p.size * p.reuse > plan->bytes_max))
				continue;
			if (all || p.reuse == 1 || p.reuse == g->reuse_large)
				rc = add(plan, &p);
		}
	return rc;
}

int plan_make(struct plan *plan, enum device_kind device, bool quick, uint64_t len)
{
	static const enum memory_kind kinds[] = { MEM_ANON, MEM_THP, MEM_HUGETLB,
						  MEM_FILE };
	struct grid g = grid_of(quick);
	int rc = 0;

	plan->size_max = len;
	plan->bytes_max = g.cycle_max;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (unsigned int threads = 1; threads <= (quick && k ? 1 : LANES);
		     threads++)
			for (int write = 0; write <= 1 && !rc; write++) {
				struct point p = { .device = device,
						   .pages = kinds[k],
						   .write = write,
						   .threads = threads };

				rc = add_grid(plan, &g, p,
					      kinds[k] == MEM_ANON && threads == 1);
			}
	return rc;
}

/* Base pages and one thread first, two threads last. */
static int group(const struct point *p)
{
	return p->threads > 1 ? 2 : p->pages != MEM_ANON;
}

static int by_worth(const void *a, const void *b)
{
	const struct point *x = &((const struct spot *)a)->point,
			   *y = &((const struct spot *)b)->point;
	uint64_t cx = x->size * x->reuse, cy = y->size * y->reuse;

	if (group(x) != group(y))
		return group(x) - group(y);
	return (cx > cy) - (cx < cy);
}

void plan_sort(struct plan *plan)
{
	qsort(plan->spots, plan->n, sizeof(*plan->spots), by_worth);
}

void plan_free(struct plan *plan)
{
	for (unsigned int i = 0; i < plan->n; i++)
		for (unsigned int s = 0; s < STRATEGIES_MAX; s++)
			free(plan->spots[i].series[s].why);
	free(plan->spots);
}
