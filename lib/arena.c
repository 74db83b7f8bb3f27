/* SPDX-License-Identifier: BSD-2-Clause */
/* arena.c - arrays that grow in place; see arena.h. */
#include "arena.h"

#include <errno.h>
#include <sys/mman.h>

#define SMALL_STEP ((size_t)64 << 10)
#define HUGE_STEP ((size_t)2 << 20)

int arena_init(struct arena *a, size_t item, uint64_t max)
{
	size_t bytes = (item * max + HUGE_STEP - 1) & ~(HUGE_STEP - 1);
	char *at;

	*a = (struct arena){ .item = item, .max = max };
	/* PROT_NONE memory is charged to nobody, whatever vm.overcommit_memory says */
	at = mmap(NULL, bytes + HUGE_STEP, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return fail(ENOMEM, "no address space for %zu bytes of cache", bytes);
	a->base = (char *)(((uintptr_t)at + HUGE_STEP - 1) & ~(HUGE_STEP - 1));
	if (a->base > at)
		munmap(at, (size_t)(a->base - at));
	if (a->base < at + HUGE_STEP)
		munmap(a->base + bytes, (size_t)(at + HUGE_STEP - a->base));
	a->reserved = bytes;
	madvise(a->base, bytes, MADV_HUGEPAGE); /* a wish: fewer TLB misses */
	return 0;
}

void arena_fini(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->reserved);
	a->base = NULL;
}

/* Small arrays grow by little; from a huge page on, by huge pages. */
static size_t next_size(const struct arena *a, size_t want)
{
	size_t step = want < HUGE_STEP ? SMALL_STEP : HUGE_STEP;
	size_t size = (want + step - 1) & ~(step - 1);

	return size < a->reserved ? size : a->reserved;
}

int arena_grow(struct arena *a, uint64_t want)
{
	size_t size, have = a->usable;

	if (want <= a->ready)
		return 0;
	if (want > a->max)
		return fail(ENOSPC, "the cache's tables are full");
	size = next_size(a, want * a->item);
	if (mprotect(a->base + have, size - have, PROT_READ | PROT_WRITE))
		return fail(ENOMEM, "no memory for %zu bytes of cache", size);
	/* faulting it in here spares lock holders the faults; a wish */
	if (!a->lazy)
		madvise(a->base + have, size - have, MADV_POPULATE_WRITE);
	a->usable = size;
	__atomic_store_n(&a->ready, size / a->item < a->max ? size / a->item : a->max,
			 __ATOMIC_RELEASE);
	return 0;
}
