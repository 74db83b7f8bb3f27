/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache_life.c - a cache from its creation to its end: options, what the monitor calls,
 * what the caller may order it to forget, statistics.
 */
#include "cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>

#define REGIONS_DEFAULT 65536
#define REGIONS_MAX (1u << 26)
/* Numbers beyond the limit, for regions that have left and are still held. */
#define NUMBERS_SPARE(regions) ((regions) / 8 + 64)

/* --------------------------------------------------------------- the monitor */

/* On the monitor's reader: marks, and neither allocates nor frees. */
static bool changed(struct monitor_listener *l, uintptr_t start, uintptr_t end,
		    enum monitor_cause cause)
{
	struct pinmem_cache *c = container_of(l, struct pinmem_cache, listener);
	uint64_t *const by_cause[MONITOR_CAUSES] = {
		[MONITOR_UNMAP] = &c->stats.unmapped,
		[MONITOR_REMAP] = &c->stats.remapped,
		[MONITOR_DISCARD] = &c->stats.discarded,
	};
	struct extent of = { start >> PAGE_INDEX_SHIFT, (end - 1) >> PAGE_INDEX_SHIFT };
	uint64_t n;

	pthread_mutex_lock(&c->lock);
	cache_spoil(c, of);
	n = cache_leave_all(c, of, true);
	*by_cause[cause] += n;
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* On the reader of a monitor with words: all that has changed leaves. */
static bool look(struct monitor_listener *l)
{
	struct pinmem_cache *c = container_of(l, struct pinmem_cache, listener);
	uint64_t n = 0;

	pthread_mutex_lock(&c->lock);
	for (uint32_t id = 1; id < c->used; id++)
		if (c->entries[id].bytes && !is_current(c, id))
			n += cache_expire(c, extent_of(c, id));
	pthread_mutex_unlock(&c->lock);
	return n;
}

static void reap(struct monitor_listener *l)
{
	cache_sweep(container_of(l, struct pinmem_cache, listener), NULL);
}

/* ----------------------------------------------------------------- creation */

static int options_check(const struct pinmem_cache_options *o)
{
	if (o->flags & ~PINMEM_CACHE_TRUST_FILES)
		return fail(EINVAL, "flags 0x%x are unknown",
			    o->flags & ~PINMEM_CACHE_TRUST_FILES);
	if ((unsigned int)o->monitor > PINMEM_MONITOR_CALLER)
		return fail(EINVAL, "monitor %d is unknown", (int)o->monitor);
	if (o->max_regions > REGIONS_MAX)
		return fail(EINVAL, "max_regions %" PRIu64 " is more than %u",
			    o->max_regions, REGIONS_MAX);
	if (o->max_bytes && o->max_bytes < page_size())
		return fail(EINVAL, "max_bytes %" PRIu64 " is less than a page",
			    o->max_bytes);
	return 0;
}

static int reg_check(struct pinmem_reg_options *reg)
{
	if (reg->flags & PINMEM_REG_FD)
		return fail(EINVAL, "a cache registers many files: PINMEM_REG_FD names "
				    "one");
	if (reg->progress)
		return fail(EINVAL, "a cache's registrations report no progress");
	return reg_options_check(reg, ~0u);
}

/* A quarter of the memory, or half of the memlock limit where it binds. */
static uint64_t default_bytes(const struct backend_caps *caps)
{
	uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) / 4 * page_size();
	struct rlimit lim;

	if (caps->counter != PINMEM_COUNT_NONE && !caps->limit_bypassed &&
	    !getrlimit(RLIMIT_MEMLOCK, &lim) && lim.rlim_cur / 2 < bytes)
		bytes = lim.rlim_cur / 2;
	return bytes < page_size() ? page_size() : bytes;
}

static void cache_free(struct pinmem_cache *c)
{
	s3fifo_fini(&c->queue);
	page_index_fini(&c->index);
	arena_fini(&c->entry_arena);
	arena_fini(&c->link_arena);
	arena_fini(&c->watch_arena);
	hands_fini(&c->hands);
	free(c);
}

static struct extent extent_by_id(uint32_t id, void *cache)
{
	return extent_of(cache, id);
}

static int tables_init(struct pinmem_cache *c, uint64_t regions, uint64_t bytes)
{
	int rc;

	c->numbers = regions + NUMBERS_SPARE(regions);
	c->used = 1; /* number 0 is none */
	rc = hands_init(&c->hands, c->numbers + 1);
	if (!rc)
		rc = arena_init(&c->entry_arena, sizeof(struct entry), c->numbers + 1);
	if (!rc)
		rc = arena_init(&c->link_arena, sizeof(struct link), c->numbers + 1);
	c->entries = (struct entry *)(void *)c->entry_arena.base;
	c->links = (struct link *)(void *)c->link_arena.base;
	if (!rc)
		rc = arena_grow(&c->entry_arena, 1);
	if (!rc)
		rc = page_index_init(&c->index, c->numbers, extent_by_id, c);
	if (!rc)
		rc = s3fifo_init(&c->queue, c->entries, c->links, regions, bytes);
	return rc;
}

/* From now on a monitor with words calls look(): it finds no entry yet. */
static int watches_init(struct pinmem_cache *c)
{
	int rc = arena_init(&c->watch_arena, sizeof(struct watch), c->numbers + 1);

	if (!rc)
		rc = arena_grow(&c->watch_arena, 1);
	if (rc)
		monitor_close(c->monitor, &c->listener);
	else
		c->watches = (struct watch *)(void *)c->watch_arena.base;
	return rc;
}

static int watch_begin(struct pinmem_cache *c, enum pinmem_monitor kind)
{
	int rc;

	c->listener = (struct monitor_listener){ .changed = changed,
						 .look = look,
						 .reap = reap };
	c->stats.monitor = PINMEM_MONITOR_CALLER;
	c->gate = process_gate(&c->gate_open);
	if (kind == PINMEM_MONITOR_CALLER)
		return 0;
	rc = monitor_open(kind, &c->listener, &c->monitor, &c->stats.monitor);
	if (rc)
		return rc;
	c->gate = monitor_gate(c->monitor);
	c->gate_open = MONITOR_GATE_OPEN;
	return monitor_has_words(c->monitor) ? watches_init(c) : 0;
}

/* Without membarrier(2) every get and put takes the lock: see mr_cache.c. */
static void shut_gate(struct pinmem_cache *c)
{
	static const uint32_t never;

	c->gate = &never;
	c->gate_open = 1;
}

static void count_cache(struct pinmem *pm, unsigned int n)
{
	pthread_mutex_lock(&pm->lock);
	pm->caches += n;
	pthread_mutex_unlock(&pm->lock);
}

int pinmem_cache_create(struct pinmem *pm, const struct pinmem_cache_options *opts,
			struct pinmem_cache **cache)
{
	struct pinmem_cache_options o;
	struct pinmem_reg_options reg;
	struct pinmem_cache *c;
	int rc = pinner_check(pm);

	if (rc)
		return rc;
	if (!cache)
		return fail(EINVAL, "no place for the cache: cache is NULL");
	rc = options_copy(&o, sizeof(o), opts, "pinmem_cache_options");
	if (!rc)
		rc = options_check(&o);
	if (!rc)
		rc = options_copy(&reg, sizeof(reg), o.reg, "pinmem_reg_options");
	if (!rc)
		rc = reg_check(&reg);
	if (rc)
		return rc;
	c = aligned_alloc(__alignof__(*c), sizeof(*c));
	if (!c)
		return fail(ENOMEM, "no memory for a cache");
	*c = (struct pinmem_cache){ .pm = pm, .generation = process_generation() };
	c->trusted = o.flags & PINMEM_CACHE_TRUST_FILES;
	c->reg = reg;
	c->reg.size = sizeof(c->reg);
	c->stats.max_regions = o.max_regions ? o.max_regions : REGIONS_DEFAULT;
	c->stats.max_bytes = o.max_bytes ? o.max_bytes : default_bytes(&pm->be->caps);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->grow_lock, NULL);
	pthread_cond_init(&c->landed, NULL);
	rc = tables_init(c, c->stats.max_regions, c->stats.max_bytes);
	if (!rc)
		rc = watch_begin(c, o.monitor);
	if (!c->hands.unfenced)
		shut_gate(c);
	if (rc) {
		cache_free(c);
		return rc;
	}
	count_cache(pm, 1);
	*cache = c;
	return 0;
}

/* ---------------------------------------------------------------------- end */

static int cache_check(const struct pinmem_cache *c)
{
	if (!c)
		return fail(EINVAL, "the cache is NULL");
	if (c->generation != process_generation())
		return fail(ECHILD, "the cache belongs to the parent process");
	return 0;
}

/* Under the lock. */
static uint64_t count_held(const struct pinmem_cache *c)
{
	uint64_t held = 0;

	for (uint32_t id = 1; id < c->used; id++)
		held += tally_holders(hands_sum(&c->hands, id)) != 0;
	return held;
}

int pinmem_cache_flush(struct pinmem_cache *cache)
{
	const struct extent all = { 0, UINT64_MAX };
	int rc = cache_check(cache);

	if (rc)
		return rc;
	pthread_mutex_lock(&cache->lock);
	cache_spoil(cache, all);
	cache->stats.invalidated += cache_leave_all(cache, all, false);
	pthread_mutex_unlock(&cache->lock);
	return cache_sweep(cache, NULL);
}

int pinmem_cache_destroy(struct pinmem_cache *cache)
{
	uint64_t held;
	int rc;

	if (!cache)
		return fail(EINVAL, "the cache is NULL");
	if (cache->generation != process_generation()) {
		cache_free(cache);
		return 0;
	}
	pthread_mutex_lock(&cache->lock);
	held = count_held(cache) + cache->stats.alone;
	pthread_mutex_unlock(&cache->lock);
	if (held)
		return fail(EBUSY,
			    "%" PRIu64 " regions of the cache are held: put "
			    "them first",
			    held);
	rc = pinmem_cache_flush(cache);
	if (rc)
		return rc;
	if (cache->monitor) {
		monitor_close(cache->monitor, &cache->listener);
		cache->monitor = NULL;
		cache->gate = process_gate(&cache->gate_open);
	}
	rc = cache_sweep(cache, NULL); /* what the reaper could not release */
	if (rc)
		return rc;
	count_cache(cache->pm, -1u);
	pthread_cond_destroy(&cache->landed);
	pthread_mutex_destroy(&cache->grow_lock);
	pthread_mutex_destroy(&cache->lock);
	cache_free(cache);
	return 0;
}

int pinmem_cache_invalidate(struct pinmem_cache *cache, const void *addr, size_t len)
{
	struct extent of;
	uint64_t n;
	int rc = cache_check(cache);

	if (!rc)
		rc = range_check(addr, len);
	if (rc)
		return rc;
	of = extent_around((uintptr_t)addr, len);
	pthread_mutex_lock(&cache->lock);
	cache_spoil(cache, of);
	n = cache_leave_all(cache, of, false);
	cache->stats.invalidated += n;
	pthread_mutex_unlock(&cache->lock);
	if (cache->monitor) /* which may not have seen why the caller says it */
		monitor_distrust(cache->monitor, of.first << PAGE_INDEX_SHIFT,
				 (of.last + 1) << PAGE_INDEX_SHIFT);
	cache_sweep(cache, NULL);
	return n > INT32_MAX ? INT32_MAX : (int)n;
}

/* --------------------------------------------------------------- statistics */

static uint64_t memory_in_use(const struct pinmem_cache *c)
{
	return sizeof(*c) + c->entry_arena.usable + c->link_arena.usable +
	       c->watch_arena.usable + page_index_bytes(&c->index) +
	       hands_bytes(&c->hands, c->used) +
	       c->queue.ghosts * sizeof(*c->queue.ghost);
}

int pinmem_cache_stats(struct pinmem_cache *cache, struct pinmem_cache_stats *stats)
{
	struct pinmem_cache_stats s;
	int rc = cache_check(cache);

	if (rc)
		return rc;
	pthread_mutex_lock(&cache->lock);
	s = cache->stats;
	s.regions = s3fifo_count(&cache->queue);
	s.bytes = s3fifo_bytes(&cache->queue);
	s.leaving = cache->leaving_count;
	s.leaving_bytes = cache->leaving_bytes;
	s.memory = memory_in_use(cache);
	s.hits = 0;
	s.held = 0;
	for (uint32_t id = 1; id < cache->used; id++) {
		struct tally sum = hands_sum(&cache->hands, id);

		s.hits += sum.gets;
		s.held += cache->entries[id].bytes && tally_holders(sum);
	}
	s.hits -= cache->gets_missed; /* whoever missed holds, too */
	pthread_mutex_unlock(&cache->lock);
	return result_copy(stats, &s, sizeof(s), "pinmem_cache_stats");
}
