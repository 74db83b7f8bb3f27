/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor_parts.h - what monitor_uffd.c, the only user, is made of: a set of address
 * ranges, and a way to know that system calls which were under way are over.
 */
#ifndef PINMEM_MONITOR_PARTS_H
#define PINMEM_MONITOR_PARTS_H

#include "arena.h"

/* --------------------------------------------------------- monitor_spans.c */

struct span {
	uintptr_t start, end;
	uint32_t left, right; /* numbers of spans; 0: none */
	uint32_t weight;
};

/**
 * struct spans - a set of addresses, kept as disjoint ranges in a treap. Its caller
 * locks it. Taking a range out of the middle of another needs a new node, and may not
 * allocate (it happens on the monitor's reader): spans_reserve() keeps some ready.
 */
struct spans {
	struct arena nodes; /* struct span */
	uint32_t root, unused, used;
	uint32_t spares; /* unused nodes, the arena's rest not counted */
	uint32_t seed;
};

int spans_init(struct spans *s);
void spans_fini(struct spans *s);
/** spans_low - should spans_reserve() be called, unlocked? */
bool spans_low(const struct spans *s);
/** spans_reserve - see arena_grow(). Return: 0, -ENOMEM, -ENOSPC. */
int spans_reserve(struct spans *s);
/** spans_end_at - the end of the range that holds @at; 0: none does. */
uintptr_t spans_end_at(const struct spans *s, uintptr_t at);
/** spans_first - the start of the lowest range; 0: the set is empty. */
uintptr_t spans_first(const struct spans *s);
/** spans_add - false: no node was ready, and nothing is changed. */
bool spans_add(struct spans *s, uintptr_t start, uintptr_t end);
/** spans_remove - false: more had to be removed, for no node was ready. */
bool spans_remove(struct spans *s, uintptr_t start, uintptr_t end);

/* --------------------------------------------------------- monitor_tasks.c */

struct tasks_one;

/** struct tasks - which threads may still be in a system call of a certain age. */
struct tasks {
	pthread_mutex_t lock;
	uint64_t stamp;	      /* the age in question */
	struct tasks_one *of; /* who may be */
	size_t n;
	pid_t never; /* a thread that makes no such calls */
};

void tasks_init(struct tasks *t);
void tasks_fini(struct tasks *t);
/**
 * tasks_passed - has every thread but the caller left the kernel since?
 * @stamp:  since when, in numbers that the caller counts up; at most @now
 * @now:    the number by now
 * Makes some system calls a thread, and waits for nothing but other callers.
 * Return: the number since which they all have; less than @stamp: not yet.
 */
uint64_t tasks_passed(struct tasks *t, uint64_t stamp, uint64_t now);

#endif
