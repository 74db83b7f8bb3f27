/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arena.h - an array that grows, never moves, and is never given back while it lives:
 * whoever read an item's address or number may read the item for ever (it may be
 * another's by then, but it is one). That is what readers without locks stand on.
 */
#ifndef PINMEM_ARENA_H
#define PINMEM_ARENA_H

#include "internal.h"

/** struct arena - room for @max items is reserved, the first @ready can be used. */
struct arena {
	char *base;
	size_t item; /* bytes */
	uint64_t max;
	uint64_t ready;	 /* atomic; grown by arena_grow(), one caller at a time */
	size_t reserved; /* bytes of address space */
	size_t usable;	 /* bytes */
	bool lazy;	 /* leave it to the first touch to fault pages in */
};

/** arena_init - reserve address space. Return: 0, -ENOMEM. */
int arena_init(struct arena *a, size_t item, uint64_t max);
void arena_fini(struct arena *a);

/**
 * arena_grow - make [0, @want) usable, and some more; zeroed and populated.
 * Makes system calls that may wait for mmap_lock (not for userfaultfd events): not for
 * callers that hold a lock which the monitor's reader takes. One caller at a time.
 * Return: 0, -ENOMEM (or -ENOSPC beyond max).
 */
int arena_grow(struct arena *a, uint64_t want);

static inline uint64_t arena_ready(const struct arena *a)
{
	return __atomic_load_n(&a->ready, __ATOMIC_ACQUIRE);
}

#endif
