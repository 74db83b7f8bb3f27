/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mr_cache.c - registrations remembered: never stale, and a hit costs no lock.
 *
 *	get, put ──> hands.c        who holds what: counters that threads do not share
 *	   |──────> page_index.c    from a page to a region's number; a hint
 *	   |──────> struct entry    what the number stands for; the truth
 *	   └─ miss > s3fifo.c       who has to leave
 *	           > monitor.h      what tells of changed mappings
 *	           > pinmem_reg()
 *
 * THE PROTOCOL
 *
 * A region has a number, and the number an entry. Entries, index nodes and counters are
 * never unmapped while the cache lives, so reading one is always allowed; what it says
 * may be old. Three rules make a hit right:
 *
 * 1. Hold first, then look (hold()). The reader raises its own counter of the number,
 *    and only then reads the entry. Whoever ends a region (cache_leave()) zeroes
 *    entry.bytes, and only then, after hands_barrier(), sums the counters
 *    (cache_sweep()).
 *        reader: count += 1; [order]; read bytes     ender: bytes = 0; BARRIER; sum
 *    If the reader saw bytes != 0, its count was stored before it loaded that, so the
 *    sum sees the count. So a number is given to another region only when nobody who
 *    saw the entry alive can still hold it, and from the load of bytes on the entry is
 *    the reader's to read. A reader that sees 0, or a region that does not serve it,
 *    takes its count back, and has held nothing. The reader's order costs no
 *    instruction: hands_barrier() is membarrier(2), which puts a barrier into every
 *    running thread of the process. Where it is forbidden no hit is taken without the
 *    lock (the gate that get and put look at is then one that is never open).
 * 2. The entry decides. The index only says which entry to try; that it covers the
 *    range, with the rights asked for, is read in the entry. So it does no harm that the
 *    index is read without a lock and may be old: a wrong number is found out, a missed
 *    one makes a miss that looks again, locked.
 * 3. The gate before all (monitor.h). A mapping's change returns to its caller only
 *    after the gate was shut, and the gate opens only when changed() has ended the
 *    regions concerned. A get that begins after the change finds the gate shut (and
 *    waits for the handling, not for any pin), or finds bytes == 0.
 *
 *    Where the monitor gives words instead (struct watch), the gate is shut in a forked
 *    child only, and the region's word is compared, once it is held: the kernel changes
 *    it before it changes the mapping.
 *
 * Releasing. A region that has left the cache is released by the sweep that finds no
 * holder, else by the put that makes the sum zero. A put lowers its counter, then reads
 * bytes; 0 means that it may be the last one, and it looks under the lock. Rule 1 read
 * the other way round: either the sweep's sum sees the put, or the put sees bytes == 0.
 * Under the lock a sum is exact for regions that were swept, because nobody can begin
 * to hold them; a count that is raised in vain is taken back, and then looks, too.
 *
 * A miss. The flight (struct flight) is entered before the range is watched, the range
 * is watched before it is pinned, and changed() spoils flights as it ends regions. So a
 * pin that may be of pages from before a change is not kept. Other threads that miss in
 * the flight's range wait for it, and look again; not more than WAITS_MAX times.
 *
 * The lock (pinmem_cache.lock) is the writers': index, queues, flights, states. The
 * monitor's reader takes it, and somebody whom the kernel holds until that reader has
 * read may be anybody who unmaps: so nothing is allocated, freed, unmapped, registered
 * or released under it. Hits never take it. grow_lock is taken with nothing else held.
 *
 * A forked child finds the gate shut for ever, and -ECHILD behind it.
 */
#include "cache.h"

#include <errno.h>

/* -------------------------------------------------------------------- a hit */

static inline bool gate_is_open(const struct pinmem_cache *c)
{
	return __atomic_load_n(c->gate, __ATOMIC_ACQUIRE) == c->gate_open;
}

static void last_put(struct pinmem_cache *c, uint32_t id);

/* See rule 1. Return: the region, held; NULL: it does not serve, see unhold(). */
static inline struct pinmem_mr *hold(struct entry *e, struct tally *tally, uintptr_t at,
				     size_t len, unsigned int rights)
{
	uint8_t uses;

	tally_add(&tally->gets, 1);
	if (unlikely(!serves(e, at, len, rights)))
		return NULL;
	uses = __atomic_load_n(&e->uses, __ATOMIC_RELAXED);
	if (unlikely(uses < USES_MAX))
		__atomic_store_n(&e->uses, uses + 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&e->mr, __ATOMIC_RELAXED);
}

/* It did not serve, so it was not held, whatever the tally said meanwhile. */
static __attribute__((noinline)) int unhold(struct pinmem_cache *c, uintptr_t at,
					    size_t len, unsigned int access,
					    struct pinmem_mr **out)
{
	uint32_t id = (uint32_t)(hand_memo.entry - c->entries);

	hand_memo.mr = NULL;
	tally_add(&hand_memo.tally->gets, -1ull);
	if (!__atomic_load_n(&c->entries[id].bytes, __ATOMIC_ACQUIRE))
		last_put(c, id);
	return cache_miss(c, at, len, access, out);
}

/* Held, but where the monitor gives words it decides. */
static __attribute__((noinline)) int hit_if_current(struct pinmem_cache *c,
						    uintptr_t at, size_t len,
						    unsigned int access,
						    struct pinmem_mr **out)
{
	if (unlikely(!is_current(c, (uint32_t)(hand_memo.entry - c->entries))))
		return unhold(c, at, len, access, out);
	*out = hand_memo.mr;
	return 0;
}

/* The thread used another cache last, or has not used this one yet. */
static __attribute__((noinline)) int get_otherwise(struct pinmem_cache *c, uintptr_t at,
						   size_t len, unsigned int access,
						   struct pinmem_mr **out)
{
	if (unlikely(!c || !out))
		return fail(EINVAL, "%s is NULL", c ? "mr" : "the cache");
	if (!gate_is_open(c) || !hand_take(&c->hands))
		return cache_miss(c, at, len, access, out);
	return pinmem_cache_get(c, (void *)at, len, access, out);
}

/* The other ways are functions that it ends with, so that it needs no stack itself. */
int pinmem_cache_get(struct pinmem_cache *cache, void *addr, size_t len,
		     unsigned int access, struct pinmem_mr **out)
{
	struct hand_memo *memo = &hand_memo;
	uintptr_t at = (uintptr_t)addr;
	struct pinmem_mr *mr;
	uint32_t id;

	if (unlikely(!cache || !out || memo->hands_id != cache->hands.id ||
		     !gate_is_open(cache)))
		return get_otherwise(cache, at, len, access, out);
	id = page_index_find(&cache->index, at >> PAGE_INDEX_SHIFT);
	if (unlikely(!id))
		return cache_miss(cache, at, len, access, out);
	memo->entry = &cache->entries[id];
	memo->tally = &memo->tallies[id];
	memo->ended = hands_ended();
	mr = hold(memo->entry, memo->tally, at, len, rights_of(access));
	if (unlikely(!mr))
		return unhold(cache, at, len, access, out);
	memo->mr = mr;
	if (unlikely(cache->watches))
		return hit_if_current(cache, at, len, access, out);
	*out = mr;
	return 0;
}

/* -------------------------------------------------------------------- a put */

static int put_otherwise(struct pinmem_mr *mr, enum pinmem_unpin how);

/* Of a region that the thread did not get last. */
static __attribute__((noinline)) int put_other(struct pinmem_mr *mr,
					       enum pinmem_unpin how)
{
	struct pinmem_cache *c;
	struct entry *e;
	uint32_t id;

	if (unlikely(!mr || how > PINMEM_DIRTY || !mr->cache_id))
		return put_otherwise(mr, how);
	c = mr->cache;
	id = mr->cache_id;
	if (unlikely(!gate_is_open(c) || hand_memo.hands_id != c->hands.id))
		return put_otherwise(mr, how);
	e = &c->entries[id];
	if (how == PINMEM_DIRTY && !__atomic_load_n(&e->dirty, __ATOMIC_RELAXED))
		__atomic_store_n(&e->dirty, 1, __ATOMIC_RELAXED);
	tally_add(&hand_memo.tallies[id].puts, 1);
	/* mr may be gone from here on */
	if (unlikely(!__atomic_load_n(&e->bytes, __ATOMIC_ACQUIRE)))
		last_put(c, id);
	return 0;
}

/* The region has left the cache meanwhile, and may be gone. */
static __attribute__((noinline)) int put_left(void)
{
	struct pinmem_cache *c =
		container_of(hand_memo.hands, struct pinmem_cache, hands);

	last_put(c, (uint32_t)(hand_memo.entry - c->entries));
	return 0;
}

int pinmem_cache_put(struct pinmem_mr *mr, enum pinmem_unpin how)
{
	const struct hand_memo *memo = &hand_memo;
	struct entry *e = memo->entry;

	if (unlikely(memo->mr != mr || !mr || memo->ended != hands_ended() ||
		     how > PINMEM_DIRTY))
		return put_other(mr, how);
	/* got by this thread, and perhaps put by another: then it may have ended, and
	 * its memory may be another region's */
	if (unlikely(__atomic_load_n(&e->mr, __ATOMIC_RELAXED) != mr))
		return put_other(mr, how);
	if (how == PINMEM_DIRTY && !__atomic_load_n(&e->dirty, __ATOMIC_RELAXED))
		__atomic_store_n(&e->dirty, 1, __ATOMIC_RELAXED);
	tally_add(&memo->tally->puts, 1); /* mr may be gone from here on */
	if (unlikely(!__atomic_load_n(&e->bytes, __ATOMIC_ACQUIRE)))
		return put_left();
	return 0;
}

/* ------------------------------------------------------------ ends of regions */

/* Under the lock: a region leaves the cache; a sweep must follow. */
void cache_leave(struct pinmem_cache *c, uint32_t id, bool evicted)
{
	struct entry *e = &c->entries[id];

	c->leaving_count++;
	c->leaving_bytes += e->bytes;
	page_index_clear(&c->index, extent_of(c, id), id);
	s3fifo_leave(&c->queue, id, evicted);
	__atomic_store_n(&e->bytes, 0, __ATOMIC_SEQ_CST);
	e->state = ENTRY_LEAVING;
	entry_list_push(&c->leaving, c->links, id);
}

uint64_t cache_expire(struct pinmem_cache *c, struct extent of)
{
	uint64_t n = 0;
	uint32_t id;

	if (!c->watches)
		return 0;
	while ((id = page_index_next(&c->index, of))) {
		of.first = extent_of(c, id).last + 1;
		if (is_current(c, id))
			continue;
		__atomic_store_n(&c->entries[id].mr->remapped, true, __ATOMIC_RELAXED);
		cache_leave(c, id, false);
		n++;
	}
	c->stats.changed += n;
	return n;
}

uint64_t cache_leave_all(struct pinmem_cache *c, struct extent of, bool remapped)
{
	uint64_t n = 0;
	uint32_t id;

	while ((id = page_index_next(&c->index, of))) {
		if (remapped)
			__atomic_store_n(&c->entries[id].mr->remapped, true,
					 __ATOMIC_RELAXED);
		of.first = extent_of(c, id).last + 1;
		cache_leave(c, id, false);
		n++;
	}
	return n;
}

/* Without the lock. On failure the region is put back for a later sweep. The entry
 * forgets the region before its memory can become another one's. */
static int release(struct pinmem_cache *c, uint32_t id)
{
	struct entry *e = &c->entries[id];
	struct pinmem_mr *mr = e->mr;
	uint64_t bytes = mr->len;
	enum pinmem_unpin how = __atomic_load_n(&e->dirty, __ATOMIC_RELAXED)
					? PINMEM_DIRTY
					: PINMEM_CLEAN;
	int rc;

	__atomic_store_n(&e->mr, NULL, __ATOMIC_RELAXED);
	if (c->watches && c->monitor)
		monitor_unwatch(c->monitor, &c->watches[id]);
	rc = region_dereg(mr, how, NULL);
	pthread_mutex_lock(&c->lock);
	if (rc) {
		c->stats.release_failures++;
		__atomic_store_n(&e->mr, mr, __ATOMIC_RELAXED);
		e->state = ENTRY_LEAVING;
		entry_list_push(&c->leaving, c->links, id);
	} else {
		e->state = ENTRY_FREE;
		entry_list_push(&c->unused, c->links, id);
		c->leaving_count--;
		c->leaving_bytes -= bytes;
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}

bool cache_is_idle(uint32_t id, void *arg)
{
	struct pinmem_cache *c = arg;

	return !tally_holders(hands_sum(&c->hands, id));
}

/*
 * Release what has left and is not held; leave the rest to its last holders. The
 * monitor's reader may add to the list meanwhile: that is for the next sweep, which
 * comes. Return: 0, or the first error. @released: may be NULL
 */
int cache_sweep(struct pinmem_cache *c, uint64_t *released)
{
	struct entry_list left, going = { 0 };
	uint32_t id;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	left = c->leaving;
	c->leaving = (struct entry_list){ 0 };
	pthread_mutex_unlock(&c->lock);
	if (!left.count)
		return 0;
	hands_barrier(&c->hands);
	pthread_mutex_lock(&c->lock);
	while ((id = entry_list_pop(&left, c->links))) {
		if (cache_is_idle(id, c)) {
			c->entries[id].state = ENTRY_GOING;
			entry_list_push(&going, c->links, id);
		} else {
			c->entries[id].state = ENTRY_HELD;
		}
	}
	pthread_mutex_unlock(&c->lock);
	while ((id = entry_list_pop(&going, c->links))) {
		int err = release(c, id);

		if (err && !rc)
			rc = err;
		if (!err && released)
			++*released;
	}
	return rc;
}

/* A count of a region that has left was lowered: was it the last one? */
static void last_put(struct pinmem_cache *c, uint32_t id)
{
	struct entry *e = &c->entries[id];
	bool last;

	pthread_mutex_lock(&c->lock);
	last = e->state == ENTRY_HELD && cache_is_idle(id, c);
	if (last) {
		e->state = ENTRY_GOING;
		c->stats.deferred++;
	}
	pthread_mutex_unlock(&c->lock);
	if (last)
		release(c, id); /* fails: a later sweep tries again */
}

int cache_settle(struct pinmem_cache *c)
{
	if (c->generation != process_generation())
		return fail(ECHILD, "the cache belongs to the parent process");
	return c->monitor ? monitor_settle(c->monitor) : 0;
}

static int put_alone(struct pinmem_mr *mr, enum pinmem_unpin how)
{
	struct pinmem_cache *c = mr->cache;
	int rc = region_dereg(mr, how, NULL);

	pthread_mutex_lock(&c->lock);
	if (rc)
		c->stats.release_failures++;
	else
		c->stats.alone--;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Everything that is not simple: errors, a region that is not kept, a shut gate, and
 * where there is no membarrier(2), all. */
static int put_otherwise(struct pinmem_mr *mr, enum pinmem_unpin how)
{
	struct pinmem_cache *c;
	struct hand *mine;
	struct entry *e;
	uint32_t id;
	int rc = region_check(mr);

	if (rc)
		return rc;
	if (how != PINMEM_CLEAN && how != PINMEM_DIRTY)
		return fail(EINVAL, "a put is CLEAN or DIRTY, not %d", (int)how);
	if (!mr->cache)
		return fail(EINVAL, "the region belongs to no cache: use "
				    "pinmem_dereg()");
	c = mr->cache;
	id = mr->cache_id;
	if (!id)
		return put_alone(mr, how);
	mine = hand_take(&c->hands);
	if (!mine)
		return -ENOMEM;
	e = &c->entries[id];
	if (how == PINMEM_DIRTY)
		__atomic_store_n(&e->dirty, 1, __ATOMIC_RELAXED);
	if (!c->hands.unfenced)
		pthread_mutex_lock(&c->lock);
	tally_add(&mine->tallies[id].puts, 1);
	if (!c->hands.unfenced)
		pthread_mutex_unlock(&c->lock);
	if (!__atomic_load_n(&e->bytes, __ATOMIC_ACQUIRE))
		last_put(c, id);
	return 0;
}
