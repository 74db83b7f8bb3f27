/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.h - what the three rooms of the cache share: its state, and their doors.
 *
 *	mr_cache.c    hits, puts, the ends of regions: the protocol stands there
 *	cache_miss.c  what a miss does
 *	cache_life.c  from create to destroy, the monitor's calls, statistics
 */
#ifndef PINMEM_CACHE_H
#define PINMEM_CACHE_H

#include "hands.h"
#include "monitor.h"
#include "page_index.h"
#include "s3fifo.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A registration under way. On its thread's stack. */
struct flight {
	struct extent of;
	unsigned int rights;
	bool spoiled;	 /* a mapping changed meanwhile */
	uint64_t booked; /* bytes of the limit that it will take */
	struct flight *next;
};

struct pinmem_cache {
	/* what hits read: nobody writes there after the creation */
	const uint32_t *gate;
	uint32_t gate_open;
	struct entry *entries;
	struct watch *watches; /* of each number; NULL: the gate tells */
	struct hands hands;
	struct page_index index;

	struct pinmem *pm;
	uint64_t generation;
	bool trusted;		 /* no change goes unseen, or the caller says so */
	struct monitor *monitor; /* NULL: the caller */
	struct monitor_listener listener;
	struct pinmem_reg_options reg;
	struct arena entry_arena, link_arena, watch_arena;
	struct link *links;
	uint64_t numbers;	   /* the last number */
	pthread_mutex_t grow_lock; /* arena_grow() of all arenas */

	pthread_mutex_t lock __attribute__((aligned(64))); /* all below */
	pthread_cond_t landed;
	struct flight *flights;
	uint64_t flights_count, flights_bytes; /* booked */
	struct s3fifo queue;
	struct entry_list leaving, unused;
	uint32_t used; /* the numbers [1, used) were ever given */
	uint64_t leaving_count, leaving_bytes; /* not released yet */
	uint64_t gets_missed; /* gets in the tallies that were misses */
	struct pinmem_cache_stats stats;
};

/* ------------------------------------------------------------------- rights */

/*
 * A region with more rights serves whoever needs fewer; but relaxed ordering is not a
 * right, strict ordering is. So that bit is turned, and rights are a set.
 */
static inline unsigned int rights_of(unsigned int access)
{
	return access ^ PINMEM_ACCESS_RELAXED_ORDERING;
}

static inline unsigned int access_of(unsigned int rights)
{
	return rights ^ PINMEM_ACCESS_RELAXED_ORDERING;
}

static inline bool rights_suffice(unsigned int have, unsigned int want)
{
	return !(want & ~have);
}

/* Does the entry, as it is now, serve [at, at+len)? */
static inline bool serves(const struct entry *e, uintptr_t at, size_t len,
			  unsigned int rights)
{
	uint64_t bytes = __atomic_load_n(&e->bytes, __ATOMIC_ACQUIRE);
	uint64_t off = at - __atomic_load_n(&e->start, __ATOMIC_RELAXED);

	/* len - 1: a length of 0 is served by none, and explained later */
	if (unlikely(off >= bytes) || unlikely(len - 1 >= bytes - off))
		return false;
	return likely(
		rights_suffice(__atomic_load_n(&e->rights, __ATOMIC_RELAXED), rights));
}

/* Has nothing changed since the region was registered, as far as words tell? */
static inline bool is_current(const struct pinmem_cache *c, uint32_t id)
{
	return likely(!c->watches) || watch_holds(&c->watches[id]);
}

/* Whole pages of the machine around [at, at+len), in pages of the index. */
static inline struct extent extent_around(uintptr_t at, size_t len)
{
	return (struct extent){ page_floor(at) >> PAGE_INDEX_SHIFT,
				(page_ceil(at + len) - 1) >> PAGE_INDEX_SHIFT };
}

/* Of a region that may be got. */
static inline struct extent extent_of(const struct pinmem_cache *c, uint32_t id)
{
	const struct entry *e = &c->entries[id];

	return (struct extent){ e->start >> PAGE_INDEX_SHIFT,
				(e->start + e->bytes - 1) >> PAGE_INDEX_SHIFT };
}

/* ------------------------------------------------------------------- doors */

/** cache_miss - the rest of pinmem_cache_get(), when no hit was to be had at once. */
int cache_miss(struct pinmem_cache *c, uintptr_t at, size_t len, unsigned int access,
	       struct pinmem_mr **out);
/** cache_settle - wait until events at hand are handled. -ECHILD after a fork. */
int cache_settle(struct pinmem_cache *c);
/** cache_is_idle - does nobody hold it? Exact for what has left and was swept. */
bool cache_is_idle(uint32_t id, void *cache);

/** cache_leave - under the lock: a region leaves the cache; a sweep must follow. */
void cache_leave(struct pinmem_cache *c, uint32_t id, bool evicted);
/** cache_leave_all - all regions with a page of it; @remapped: for their pages are
 * others now. Return: how many. */
uint64_t cache_leave_all(struct pinmem_cache *c, struct extent of, bool remapped);
/** cache_expire - under the lock: regions with a page of it that are not current leave.
 * Return: how many. */
uint64_t cache_expire(struct pinmem_cache *c, struct extent of);
/** cache_spoil - under the lock: flights over these pages are not to be kept. */
void cache_spoil(struct pinmem_cache *c, struct extent of);
/**
 * cache_sweep - release what has left and is not held; leave the rest to its last
 * holders. What the monitor's reader adds meanwhile is for the next sweep, which comes.
 * Return: 0, or the first error. @released: may be NULL
 */
int cache_sweep(struct pinmem_cache *c, uint64_t *released);

#endif
