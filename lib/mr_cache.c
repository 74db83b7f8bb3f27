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
 *entry.bytes, and only then, after hands_barrier(), sums the counters (cache_sweep()).
 *        reader: count += 1; [order]; read bytes     ender: bytes = 0; BARRIER; sum
 *    If the reader saw bytes != 0, its count was stored before it loaded that, so the
 *    sum sees the count. So a number is given to another region only when nobody who
 *    saw the entry alive can still hold it, and from the load of bytes on the entry is
 *    the reader's to read. A reader that sees 0, or a region that does not serve it,
 *    takes its count back, and has held nothing. The reader's order costs no
 *    instruction: hands_barrier() is membarrier(2), which puts a barrier into every
 *    running thread of the process. Where it is forbidden no hit is taken without the
 *    lock (the gate that get and put look at is then one that is never open).
 * 2. The entry decides. The index, and a thread's memory of recent lookups, only say
 *    which entry to try; that it covers the range, with the rights asked for, is read
 *    in the entry. So it does no harm that they are read without a lock and may be old:
 *    a wrong number is found out, a missed one makes a miss that looks again, locked.
 * 3. The gate before all (monitor.h). A mapping's change returns to its caller only
 *    after the gate was shut, and the gate opens only when changed() has ended the
 *    regions concerned. A get that begins after the change finds the gate shut (and
 *    waits for the handling, not for any pin), or finds bytes == 0.
 *
 * Releasing. A region that has left the cache is released by the sweep that finds no
 * holder, else by the put that makes the sum zero. A put lowers its counter, then reads
 * bytes; 0 means that it may be the last one, and it looks under the lock. Rule 1 read
 * the other way round: either the sweep's sum sees the put, or the put sees bytes == 0.
 * Under the lock a sum is exact for regions that were swept, because nobody can begin
 *to hold them; a count that is raised in vain is taken back, and then looks, too.
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

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * The region that this thread found last through the index: its put need not read the
 * region itself, which in a large cache is a miss of the processor's. Good only while
 * no cache has ended since, and only if the entry says that it still is this region's.
 */
struct last_found {
	struct pinmem_mr *mr;
	struct pinmem_cache *cache;
	uint32_t id;
	uint32_t ended;
};
static __thread struct last_found last_found __attribute__((tls_model("initial-exec")));
static uint32_t caches_ended;

void cache_ended(void)
{
	__atomic_add_fetch(&caches_ended, 1, __ATOMIC_RELAXED);
}

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
static void unhold(struct pinmem_cache *c, struct tally *tally, uint32_t id)
{
	tally_add(&tally->gets, -1ull);
	if (!__atomic_load_n(&c->entries[id].bytes, __ATOMIC_ACQUIRE))
		last_put(c, id);
}

static __attribute__((noinline)) int get_indexed(struct pinmem_cache *c, uintptr_t at,
						 size_t len, unsigned int access,
						 struct pinmem_mr **out)
{
	uint32_t id = page_index_find(&c->index, at >> c->page_shift);
	struct hand *mine = hand_memo.hand;
	struct pinmem_mr *mr;

	if (unlikely(!id))
		return cache_miss(c, at, len, access, out);
	mr = hold(&c->entries[id], &mine->tallies[id], at, len, rights_of(access));
	if (unlikely(!mr)) {
		unhold(c, &mine->tallies[id], id);
		return cache_miss(c, at, len, access, out);
	}
	remember(c, mine, at, id);
	last_found = (struct last_found){
		.mr = mr,
		.cache = c,
		.id = id,
		.ended = __atomic_load_n(&caches_ended, __ATOMIC_RELAXED),
	};
	*out = mr;
	return 0;
}

/* What the thread remembers of the address did not help. */
static __attribute__((noinline)) int get_again(struct pinmem_cache *c, uintptr_t at,
					       size_t len, unsigned int access,
					       struct pinmem_mr **out)
{
	struct recent *r = recent_of(hand_memo.hand, at);

	r->at = 0;
	unhold(c, r->tally, r->id);
	return get_indexed(c, at, len, access, out);
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
	return get_indexed(c, at, len, access, out);
}

/* The other ways are functions that it ends with, so that it needs no stack itself. */
int pinmem_cache_get(struct pinmem_cache *cache, void *addr, size_t len,
		     unsigned int access, struct pinmem_mr **out)
{
	uintptr_t at = (uintptr_t)addr;
	struct pinmem_mr *mr;
	const struct recent *r;
	struct hand *mine;

	if (unlikely(!cache || !out))
		return get_otherwise(cache, at, len, access, out);
	mine = hand_mine(&cache->hands);
	if (unlikely(!mine || !gate_is_open(cache)))
		return get_otherwise(cache, at, len, access, out);
	r = recent_of(mine, at);
	if (r->at != at)
		return get_indexed(cache, at, len, access, out);
	mr = hold(r->entry, r->tally, at, len, rights_of(access));
	if (unlikely(!mr))
		return get_again(cache, at, len, access, out);
	*out = mr;
	return 0;
}

/* -------------------------------------------------------------------- a put */

static __attribute__((noinline)) int put_otherwise(struct pinmem_mr *mr,
						   enum pinmem_unpin how);

/* The caller has found the region's number, and its hand. */
static inline int put_number(struct pinmem_cache *c, uint32_t id, struct pinmem_mr *mr,
			     enum pinmem_unpin how)
{
	struct entry *e = &c->entries[id];

	if (unlikely(!gate_is_open(c) || hand_memo.hands_id != c->hands.id ||
		     __atomic_load_n(&e->mr, __ATOMIC_RELAXED) != mr))
		return put_otherwise(mr, how);
	if (how == PINMEM_DIRTY && !__atomic_load_n(&e->dirty, __ATOMIC_RELAXED))
		__atomic_store_n(&e->dirty, 1, __ATOMIC_RELAXED);
	tally_add(&hand_memo.hand->tallies[id].puts, 1);
	/* mr may be gone from here on */
	if (unlikely(!__atomic_load_n(&e->bytes, __ATOMIC_ACQUIRE)))
		last_put(c, id);
	return 0;
}

static __attribute__((noinline)) int put_found(struct pinmem_mr *mr,
					       enum pinmem_unpin how)
{
	if (unlikely(last_found.ended !=
		     __atomic_load_n(&caches_ended, __ATOMIC_RELAXED)))
		return put_otherwise(mr, how);
	return put_number(last_found.cache, last_found.id, mr, how);
}

int pinmem_cache_put(struct pinmem_mr *mr, enum pinmem_unpin how)
{
	if (unlikely(!mr || how > PINMEM_DIRTY))
		return put_otherwise(mr, how);
	if (last_found.mr == mr)
		return put_found(mr, how);
	if (unlikely(!mr->cache_id))
		return put_otherwise(mr, how);
	return put_number(mr->cache, mr->cache_id, mr, how);
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

/* Without the lock. On failure the region is put back for a later sweep. */
static int release(struct pinmem_cache *c, uint32_t id)
{
	struct entry *e = &c->entries[id];
	struct pinmem_mr *mr = e->mr;
	uint64_t bytes = mr->len;
	int rc = region_dereg(mr,
			      __atomic_load_n(&e->dirty, __ATOMIC_RELAXED)
				      ? PINMEM_DIRTY
				      : PINMEM_CLEAN,
			      NULL);

	pthread_mutex_lock(&c->lock);
	if (rc) {
		c->stats.release_failures++;
		e->state = ENTRY_LEAVING;
		entry_list_push(&c->leaving, c->links, id);
	} else {
		__atomic_store_n(&e->mr, NULL, __ATOMIC_RELAXED);
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
