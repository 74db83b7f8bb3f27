/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache_miss.c - what a get does that was not served at once: look again under the
 * lock, wait for who is registering the range, make room, watch, register, enter.
 */
#include "cache.h"

#include <errno.h>

/* A region over several may be so many times as long as the range asked for. */
#define MERGE_MAX 4
/* Pinning may itself change the mapping (a page is copied, or migrated): so often it is
 * done again, and finds the pages in their place. */
#define TRIES_MAX 3
/* A miss waits for so many registrations of others, then makes its own. */
#define WAITS_MAX 3
/* Entries made ready ahead, so that threads that miss together find one each. */
#define ENTRIES_MARGIN 64

/* What a get that was not served at once is about. */
struct miss {
	struct flight flight; /* the range and rights that will be registered */
	struct extent of;     /* the pages asked for */
	unsigned int rights;
	uintptr_t at;
	size_t len;
	struct hand *mine;
	struct watch watch;
	bool known;   /* was evicted not long ago */
	bool settled; /* see is_settled() */
	bool room;    /* the limits allow to keep it */
	int watched;  /* 0, or why it cannot be watched */
};

/* Under the lock, where the index is exact. Return: the region, held; NULL. */
static struct pinmem_mr *look(struct pinmem_cache *c, struct miss *m)
{
	struct entry *e;
	uint32_t id;
	uint8_t uses;

	cache_expire(c, m->of);
	id = page_index_find(&c->index, m->of.first);
	e = &c->entries[id];
	if (!id || !serves(e, m->at, m->len, m->rights))
		return NULL;
	tally_add(&m->mine->tallies[id].gets, 1);
	uses = __atomic_load_n(&e->uses, __ATOMIC_RELAXED);
	if (uses < USES_MAX)
		__atomic_store_n(&e->uses, uses + 1, __ATOMIC_RELAXED);
	return e->mr;
}

static bool in_flight(const struct pinmem_cache *c, const struct miss *m)
{
	for (const struct flight *f = c->flights; f; f = f->next)
		if (!f->spoiled && f->of.first <= m->of.first &&
		    m->of.last <= f->of.last && rights_suffice(f->rights, m->rights))
			return true;
	return false;
}

void cache_spoil(struct pinmem_cache *c, struct extent of)
{
	for (struct flight *f = c->flights; f; f = f->next)
		if (f->of.first <= of.last && of.first <= f->of.last)
			f->spoiled = true;
}

static uint64_t extent_pages(struct extent of)
{
	return of.last - of.first + 1;
}

/* Under the lock: the region that would take the place of all that overlap. */
static void plan_merge(const struct pinmem_cache *c, struct miss *m)
{
	struct flight *f = &m->flight;
	struct extent rest = m->of;
	uint32_t id;

	while ((id = page_index_next(&c->index, rest))) {
		struct extent of = extent_of(c, id);

		if (of.first < f->of.first)
			f->of.first = of.first;
		if (of.last > f->of.last)
			f->of.last = of.last;
		f->rights |= c->entries[id].rights;
		rest.first = of.last + 1;
	}
	if (extent_pages(f->of) / MERGE_MAX > extent_pages(m->of)) {
		f->of = m->of;
		f->rights = m->rights;
	}
}

/* Bytes of regions that will leave when a new one enters there. */
static uint64_t replaced_bytes(const struct pinmem_cache *c, struct extent rest)
{
	uint64_t bytes = 0;
	uint32_t id;

	while ((id = page_index_next(&c->index, rest))) {
		rest.first = extent_of(c, id).last + 1;
		bytes += c->entries[id].bytes;
	}
	return bytes;
}

static bool over_limits(const struct pinmem_cache *c, uint64_t bytes, uint64_t replaced)
{
	return s3fifo_count(&c->queue) + c->flights_count + 1 > c->queue.max_count ||
	       s3fifo_bytes(&c->queue) + c->flights_bytes + bytes >
		       c->queue.max_bytes + replaced;
}

/* Under the lock: evict until the flight fits. Return: did somebody leave? */
static bool make_room(struct pinmem_cache *c, struct miss *m)
{
	struct flight *f = &m->flight;
	uint64_t bytes = extent_pages(f->of) << PAGE_INDEX_SHIFT;
	bool evicted = false;
	uint32_t id;

	if (bytes > c->queue.max_bytes)
		return false;
	while (over_limits(c, bytes, replaced_bytes(c, f->of))) {
		id = s3fifo_victim(&c->queue, cache_is_idle, c);
		if (!id)
			return evicted;
		cache_leave(c, id, true);
		c->stats.evictions++;
		evicted = true;
	}
	m->room = true;
	f->booked = bytes;
	return evicted;
}

/* The kernel is out of something: let idle regions go, about as much as is wanted. */
static bool relieve(struct pinmem_cache *c, uint64_t bytes)
{
	uint64_t got = 0, released = 0;
	uint32_t id;

	pthread_mutex_lock(&c->lock);
	while (got < bytes && (id = s3fifo_victim(&c->queue, cache_is_idle, c))) {
		got += c->entries[id].bytes;
		cache_leave(c, id, true);
		c->stats.relieved++;
	}
	pthread_mutex_unlock(&c->lock);
	cache_sweep(c, &released);
	return released;
}

static void take_off(struct pinmem_cache *c, struct miss *m)
{
	struct flight *f = &m->flight;

	f->next = c->flights;
	c->flights = f;
	if (m->room) {
		c->flights_count++;
		c->flights_bytes += f->booked;
	}
}

static void land(struct pinmem_cache *c, struct miss *m)
{
	struct flight **at = &c->flights;

	while (*at != &m->flight)
		at = &(*at)->next;
	*at = m->flight.next;
	if (m->room) {
		c->flights_count--;
		c->flights_bytes -= m->flight.booked;
	}
	pthread_cond_broadcast(&c->landed);
}

/*
 * Look again, wait for whoever is registering the range, and else begin to.
 * Return: the region, held; NULL: a flight of ours has taken off.
 */
static struct pinmem_mr *look_or_take_off(struct pinmem_cache *c, struct miss *m)
{
	struct pinmem_mr *mr;
	bool evicted;

	pthread_mutex_lock(&c->lock);
	mr = look(c, m);
	if (!mr)
		c->stats.misses++;
	for (int waits = 0; !mr && waits < WAITS_MAX && in_flight(c, m); waits++) {
		c->stats.waits += !waits;
		pthread_cond_wait(&c->landed, &c->lock);
		mr = look(c, m);
		c->gets_missed += mr != NULL;
	}
	if (mr) {
		pthread_mutex_unlock(&c->lock);
		return mr;
	}
	m->known = s3fifo_known(&c->queue, m->of.first << PAGE_INDEX_SHIFT);
	c->stats.thrash += m->known;
	plan_merge(c, m);
	evicted = make_room(c, m);
	take_off(c, m);
	pthread_mutex_unlock(&c->lock);
	if (evicted)
		cache_sweep(c, NULL);
	return NULL;
}

/* Tables grow here, where no lock is held that the reader takes. What cannot grow is
 * found out when the region is to be entered. */
static void reserve(struct pinmem_cache *c)
{
	uint64_t want;

	pthread_mutex_lock(&c->grow_lock);
	want = __atomic_load_n(&c->used, __ATOMIC_RELAXED) + ENTRIES_MARGIN;
	if (want > c->numbers + 1)
		want = c->numbers + 1;
	arena_grow(&c->entry_arena, want);
	arena_grow(&c->link_arena, want);
	if (c->watches)
		arena_grow(&c->watch_arena, want);
	page_index_reserve(&c->index);
	pthread_mutex_unlock(&c->grow_lock);
}

static uintptr_t flight_start(const struct flight *f)
{
	return (uintptr_t)(f->of.first << PAGE_INDEX_SHIFT);
}

static uintptr_t flight_end(const struct flight *f)
{
	return (uintptr_t)((f->of.last + 1) << PAGE_INDEX_SHIFT);
}

static int register_range(struct pinmem_cache *c, const struct flight *f,
			  struct pinmem_mr **mr)
{
	size_t bytes = flight_end(f) - flight_start(f);
	int rc;

	do {
		rc = pinmem_reg(c->pm, (void *)flight_start(f), bytes,
				access_of(f->rights), &c->reg, mr);
	} while ((rc == -ENOMEM || rc == -ENOSPC) && relieve(c, bytes));
	return rc;
}

/* Can only the monitor's events take the pages away? (ODP follows the page tables.) */
static bool is_settled(const struct pinmem_cache *c, const struct miss *m,
		       const struct pinmem_mr *mr)
{
	if (c->watches || mr->mode == PINMEM_ODP || mr->plain)
		return true;
	return backing_settled(flight_start(&m->flight), flight_end(&m->flight),
			       c->trusted);
}

/* Watch first, then register and look what it is; then find out whether that is still
 * what is watched. What is not is registered nevertheless, but not to be kept. */
static int watch_and_register(struct pinmem_cache *c, struct miss *m,
			      struct pinmem_mr **mr)
{
	const struct flight *f = &m->flight;
	int rc;

	m->settled = true;
	if (!c->monitor)
		return register_range(c, f, mr);
	for (int i = 1;; i++) {
		m->watched = monitor_watch(c->monitor, flight_start(f), flight_end(f),
					   &m->watch);
		rc = register_range(c, f, mr);
		m->settled = !rc && is_settled(c, m, *mr);
		if (rc || m->watched)
			break;
		m->watched =
			watch_holds(&m->watch) ? monitor_confirm(c->monitor) : -EAGAIN;
		if (!m->watched || !m->watch.word || i == TRIES_MAX ||
		    pinmem_dereg(*mr, PINMEM_CLEAN, NULL))
			break;
		monitor_unwatch(c->monitor, &m->watch);
	}
	if (rc)
		monitor_unwatch(c->monitor, &m->watch);
	return rc;
}

/* As planned; if that cannot be had, only what was asked for. */
static int fly(struct pinmem_cache *c, struct miss *m, struct pinmem_mr **mr)
{
	struct flight *f = &m->flight;
	bool merged = f->of.first != m->of.first || f->of.last != m->of.last ||
		      f->rights != m->rights;
	int rc = watch_and_register(c, m, mr);

	if (!rc || !merged)
		return rc;
	pthread_mutex_lock(&c->lock);
	f->of = m->of;
	f->rights = m->rights;
	pthread_mutex_unlock(&c->lock);
	return watch_and_register(c, m, mr);
}

static uint32_t number_take(struct pinmem_cache *c)
{
	uint32_t id = entry_list_pop(&c->unused, c->links);

	if (!id && c->used <= c->numbers && c->used < arena_ready(&c->entry_arena) &&
	    c->used < arena_ready(&c->link_arena) &&
	    (!c->watches || c->used < arena_ready(&c->watch_arena))) {
		id = c->used;
		__atomic_store_n(&c->used, id + 1, __ATOMIC_RELAXED);
	}
	return id;
}

/* Under the lock: the region becomes one that others may get; the caller holds it. */
static bool enter(struct pinmem_cache *c, struct miss *m, struct pinmem_mr *mr)
{
	const struct flight *f = &m->flight;
	struct entry *e;
	uint32_t id;

	if (cache_leave_all(c, f->of, false))
		c->stats.merges++;
	id = number_take(c);
	if (!id)
		return false;
	if (page_index_set(&c->index, f->of, id)) {
		entry_list_push(&c->unused, c->links, id);
		return false;
	}
	e = &c->entries[id];
	mr->cache_id = id;
	mr->hands = &c->hands;
	__atomic_store_n(&mr->cache, c, __ATOMIC_RELEASE);  /* before anybody gets it */
	mr->cache_gets = hands_sum(&c->hands, id).gets + 1; /* this one is no hit */
	__atomic_store_n(&e->start, f->of.first << PAGE_INDEX_SHIFT, __ATOMIC_RELAXED);
	__atomic_store_n(&e->rights, (uint8_t)f->rights, __ATOMIC_RELAXED);
	__atomic_store_n(&e->uses, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&e->dirty, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&e->mr, mr, __ATOMIC_RELAXED);
	if (c->watches)
		c->watches[id] = m->watch;
	tally_add(&m->mine->tallies[id].gets, 1);
	c->gets_missed++;
	__atomic_store_n(&e->bytes, extent_pages(f->of) << PAGE_INDEX_SHIFT,
			 __ATOMIC_RELEASE);
	s3fifo_enter(&c->queue, id, m->known);
	return true;
}

/* Why a region is for this caller alone; NULL: it may be kept. */
static uint64_t *reason_alone(struct pinmem_cache *c, const struct miss *m,
			      const struct pinmem_mr *mr)
{
	if (mr->mode == PINMEM_STAGED)
		return &c->stats.alone_other;
	if (m->flight.spoiled || m->watched == -EAGAIN)
		return &c->stats.alone_raced;
	if (m->watched)
		return &c->stats.alone_monitor;
	if (!m->settled)
		return &c->stats.alone_file;
	if (!m->room)
		return &c->stats.alone_full;
	return NULL;
}

int cache_miss(struct pinmem_cache *c, uintptr_t at, size_t len, unsigned int access,
	       struct pinmem_mr **out)
{
	struct miss m = { .at = at, .len = len };
	struct pinmem_mr *mr;
	bool left;
	uint64_t *why;
	int rc = cache_settle(c);

	if (!rc)
		rc = range_check((void *)at, len);
	if (rc)
		return rc;
	m.mine = hand_take(&c->hands);
	if (!m.mine)
		return -ENOMEM;
	m.of = extent_around(at, len);
	m.flight.of = m.of;
	m.rights = m.flight.rights = rights_of(access);
	mr = look_or_take_off(c, &m);
	if (mr) {
		*out = mr;
		return 0;
	}
	reserve(c);
	rc = fly(c, &m, &mr);
	pthread_mutex_lock(&c->lock);
	land(c, &m);
	if (!rc) {
		c->stats.registrations++;
		why = reason_alone(c, &m, mr);
		if (!why && !enter(c, &m, mr))
			why = &c->stats.alone_other;
		if (why) {
			++*why;
			c->stats.alone++;
			__atomic_store_n(&mr->cache, c, __ATOMIC_RELEASE);
		} else {
			m.watch = (struct watch){ 0 }; /* it is the entry's now */
		}
	}
	left = c->leaving.count;
	pthread_mutex_unlock(&c->lock);
	if (c->monitor)
		monitor_unwatch(c->monitor, &m.watch);
	if (left)
		cache_sweep(c, NULL);
	if (rc)
		return rc;
	publish_cached(mr);
	*out = mr;
	return 0;
}
