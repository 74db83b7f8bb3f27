/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keep.c - which registrations the program has, and those kept for it after it
 * deregistered them.
 *
 * Why not pinmem_cache_get(): that one's regions are whole pages, and one serves many.
 * A program of verbs reads its range in struct ibv_mr, may change the registration
 * (ibv_rereg_mr()), and means to shut peers out of the next byte. So here each
 * registration is of exactly the range asked for and out with one caller at a time; and
 * kept ones may overlap. What makes a cache right is shared with mr_cache.c: the
 * monitor that tells of changed mappings, and S3-FIFO, which tells who leaves.
 *
 * A record is
 *	out	the program has it; found by its struct ibv_mr
 *	idle	kept; found by its range. Not found by its struct ibv_mr: the program
 *		has given that back
 *	leaving	idle no more; on a list, until somebody releases it
 * One that is out or idle has a number, and a place in the queue, as long as its
 * mapping is what it was. An idle one without a number becomes a leaving one.
 *
 * When is it not stale? As in mr_cache.c: a miss is entered as a flight before the
 * range is watched, and watched before it is registered; changed() spoils flights as it
 * takes the numbers away; a hit begins with the gate. (With words: watch_holds().)
 *
 * The lock: the monitor's reader takes it, so nothing is allocated, freed, unmapped,
 * registered or released under it.
 */
#include "preload.h"

#include <errno.h>
#include <stdlib.h>

#include "monitor.h"
#include "s3fifo.h"

#define BUCKETS_SHIFT 16
#define BUCKETS (1u << BUCKETS_SHIFT)
/* Pinning may itself change a mapping: see cache_miss.c. */
#define TRIES_MAX 3

struct record {
	struct ibv_mr *mr;
	struct pinmem_mr *region;
	struct range range;
	struct watch watch;
	uint32_t id; /* its number; 0: it is not to be kept */
	bool out;
	struct record *next; /* in by_mr (out), by_range (idle) or leaving */
};

struct flight {
	uintptr_t start, end;
	bool spoiled;
	struct flight *next;
};

struct keep {
	struct monitor *monitor; /* NULL: nothing is kept */
	struct monitor_listener listener;
	const uint32_t *gate; /* NULL: there are words */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t released;
	struct record *by_mr[BUCKETS], *by_range[BUCKETS];
	struct record *leaving;
	struct flight *flights;
	/* of numbers: */
	struct record **records;
	struct entry *entries;
	struct link *links;
	struct s3fifo queue;
	struct entry_list unused;
	uint32_t used; /* the numbers [1, used) were ever given */
};

/* ------------------------------------------------------------------- tables */

static uint32_t hash(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ (b + (b << 29))) * 0x9e3779b97f4a7c15ull;

	return (uint32_t)((h ^ (h >> 32)) * 0x9e3779b97f4a7c15ull >>
			  (64 - BUCKETS_SHIFT));
}

static struct record **bucket_of_mr(struct keep *k, const struct ibv_mr *mr)
{
	return &k->by_mr[hash((uintptr_t)mr, 0)];
}

static struct record **bucket_of_range(struct keep *k, const struct range *r)
{
	return &k->by_range[hash((uintptr_t)r->addr,
				 r->len ^ (uint64_t)r->access << 40)];
}

static void push(struct record **list, struct record *rec)
{
	rec->next = *list;
	*list = rec;
}

static void take_from(struct record **at, struct record *rec)
{
	while (*at != rec)
		at = &(*at)->next;
	*at = rec->next;
}

static struct record *find_out(struct keep *k, const struct ibv_mr *mr)
{
	struct record *rec = *bucket_of_mr(k, mr);

	while (rec && rec->mr != mr)
		rec = rec->next;
	return rec;
}

static bool same_range(const struct range *a, const struct range *b)
{
	return a->addr == b->addr && a->len == b->len && a->access == b->access &&
	       a->domain == b->domain;
}

/* ----------------------------------------------------- numbers; under the lock */

/* Its mapping has changed, or its place is wanted. */
static void leave(struct keep *k, struct record *rec, bool evicted)
{
	uint32_t id = rec->id;

	s3fifo_leave(&k->queue, id, evicted);
	k->entries[id].bytes = 0;
	k->entries[id].state = ENTRY_FREE;
	k->records[id] = NULL;
	entry_list_push(&k->unused, k->links, id);
	rec->id = 0;
	if (rec->out)
		return;
	take_from(bucket_of_range(k, &rec->range), rec);
	push(&k->leaving, rec);
}

static bool is_idle(uint32_t id, void *arg)
{
	const struct keep *k = arg;

	return !k->records[id]->out;
}

static bool make_room(struct keep *k, uint64_t bytes)
{
	const struct s3fifo *q = &k->queue;
	uint32_t id;

	if (bytes > q->max_bytes)
		return false;
	while (s3fifo_count(q) + 1 > q->max_count ||
	       s3fifo_bytes(q) + bytes > q->max_bytes) {
		id = s3fifo_victim(&k->queue, is_idle, k);
		if (!id)
			return false;
		leave(k, k->records[id], true);
	}
	return true;
}

static uintptr_t range_start(const struct range *r)
{
	return page_floor((uintptr_t)r->addr);
}

static uintptr_t range_end(const struct range *r)
{
	return page_ceil((uintptr_t)r->addr + r->len);
}

/* Without room, or a number, it stays one that is not kept. */
static void enter(struct keep *k, struct record *rec)
{
	uintptr_t start = range_start(&rec->range);
	uint64_t bytes = range_end(&rec->range) - start;
	bool known = s3fifo_known(&k->queue, start);
	uint32_t id;

	if (!make_room(k, bytes))
		return;
	id = entry_list_pop(&k->unused, k->links);
	if (!id)
		id = k->used++; /* make_room() saw that there is one */
	k->entries[id] = (struct entry){ .start = start, .bytes = bytes };
	k->records[id] = rec;
	rec->id = id;
	s3fifo_enter(&k->queue, id, known);
}

/* -------------------------------------------------------------- the monitor */

static bool changed(struct monitor_listener *l, uintptr_t start, uintptr_t end,
		    enum monitor_cause cause)
{
	struct keep *k = container_of(l, struct keep, listener);
	bool left;

	(void)cause;
	pthread_mutex_lock(&k->lock);
	for (struct flight *f = k->flights; f; f = f->next)
		f->spoiled |= f->start < end && start < f->end;
	for (uint32_t id = 1; id < k->used; id++) {
		const struct entry *e = &k->entries[id];

		if (e->bytes && e->start < end && start < e->start + e->bytes)
			leave(k, k->records[id], false);
	}
	left = k->leaving;
	pthread_mutex_unlock(&k->lock);
	return left;
}

static bool look(struct monitor_listener *l)
{
	struct keep *k = container_of(l, struct keep, listener);
	bool left;

	pthread_mutex_lock(&k->lock);
	for (uint32_t id = 1; id < k->used; id++)
		if (k->records[id] && !watch_holds(&k->records[id]->watch))
			leave(k, k->records[id], false);
	left = k->leaving;
	pthread_mutex_unlock(&k->lock);
	return left;
}

/* ----------------------------------------------------------------- releasing */

static int dereg(struct record *rec)
{
	int rc;

	preload_inside++;
	rc = pinmem_dereg(rec->region, PINMEM_CLEAN, NULL);
	preload_inside--;
	return rc;
}

static void record_free(struct keep *k, struct record *rec)
{
	if (k->monitor)
		monitor_unwatch(k->monitor, &rec->watch);
	free(rec);
}

/* @d: NULL: of any */
static struct record *take_first_of(struct record **at, const struct domain *d)
{
	struct record *rec;

	while (*at && d && (*at)->range.domain != d)
		at = &(*at)->next;
	rec = *at;
	if (rec)
		*at = rec->next;
	return rec;
}

/* Under the lock: one that is leaving, of this domain or (NULL) of any. */
static struct record *pop_leaving(struct keep *k, const struct domain *d)
{
	struct record *rec = take_first_of(&k->leaving, d);

	if (rec)
		rec->range.domain->releasing++;
	return rec;
}

/* What cannot be released waits for the next time. Return: was anything released? */
static bool release_leaving(struct keep *k, const struct domain *d)
{
	struct record *rec, *failed = NULL;
	bool any = false;

	pthread_mutex_lock(&k->lock);
	while ((rec = pop_leaving(k, d))) {
		struct domain *of = rec->range.domain;
		int rc;

		pthread_mutex_unlock(&k->lock);
		rc = dereg(rec);
		if (!rc)
			record_free(k, rec);
		pthread_mutex_lock(&k->lock);
		if (rc)
			push(&failed, rec);
		any |= !rc;
		of->releasing--;
		pthread_cond_broadcast(&k->released);
	}
	while ((rec = failed)) {
		failed = rec->next;
		push(&k->leaving, rec);
	}
	pthread_mutex_unlock(&k->lock);
	return any;
}

static void reap(struct monitor_listener *l)
{
	release_leaving(container_of(l, struct keep, listener), NULL);
}

bool keep_release(struct keep *k, struct domain *d)
{
	bool any;

	if (!k->monitor)
		return false;
	pthread_mutex_lock(&k->lock);
	for (uint32_t id = 1; id < k->used; id++) {
		struct record *rec = k->records[id];

		if (rec && !rec->out && (!d || rec->range.domain == d))
			leave(k, rec, false);
	}
	pthread_mutex_unlock(&k->lock);
	any = release_leaving(k, d);
	pthread_mutex_lock(&k->lock);
	while (d && d->releasing)
		pthread_cond_wait(&k->released, &k->lock);
	pthread_mutex_unlock(&k->lock);
	return any;
}

/* ------------------------------------------------------------------ a hit */

unsigned int access_of_verbs(unsigned int verbs, unsigned int *ours)
{
	static const struct {
		unsigned int verbs, ours;
	} map[] = {
		{ IBV_ACCESS_LOCAL_WRITE, PINMEM_ACCESS_LOCAL_WRITE },
		{ IBV_ACCESS_REMOTE_WRITE, PINMEM_ACCESS_REMOTE_WRITE },
		{ IBV_ACCESS_REMOTE_READ, PINMEM_ACCESS_REMOTE_READ },
		{ IBV_ACCESS_REMOTE_ATOMIC, PINMEM_ACCESS_REMOTE_ATOMIC },
		{ IBV_ACCESS_RELAXED_ORDERING, PINMEM_ACCESS_RELAXED_ORDERING },
	};

	*ours = 0;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
		if (verbs & map[i].verbs)
			*ours |= map[i].ours;
		verbs &= ~map[i].verbs;
	}
	return verbs;
}

static int find_inaccessible(const struct mapping *m, void *arg)
{
	const unsigned int *access = arg;

	return !m->readable || (!m->writable && (*access & PINMEM_ACCESS_WRITES));
}

/*
 * mprotect(2) takes no page away, so no monitor need tell of it; but libibverbs would
 * refuse the range now. One look at the mapping: the larger part of what a hit costs.
 */
static bool is_accessible(const struct range *r)
{
	struct backing_hints hints = { .fd = -1 };
	unsigned int access;

	access_of_verbs(r->access, &access);
	return !backing_walk(range_start(r), range_end(r), &hints, find_inaccessible,
			     &access);
}

static struct record *take_idle(struct keep *k, const struct range *r)
{
	struct record *rec;
	struct entry *e;

	if (k->gate &&
	    __atomic_load_n(k->gate, __ATOMIC_ACQUIRE) != MONITOR_GATE_OPEN &&
	    monitor_settle(k->monitor))
		return NULL;
	pthread_mutex_lock(&k->lock);
	rec = *bucket_of_range(k, r);
	while (rec && !(same_range(&rec->range, r) && watch_holds(&rec->watch)))
		rec = rec->next;
	if (rec) {
		take_from(bucket_of_range(k, r), rec);
		rec->out = true;
		push(bucket_of_mr(k, rec->mr), rec);
		e = &k->entries[rec->id];
		e->uses += e->uses < USES_MAX;
	}
	pthread_mutex_unlock(&k->lock);
	return rec;
}

/* ------------------------------------------------------------------ a miss */

static int reg(struct keep *k, struct record *rec)
{
	const struct range *r = &rec->range;
	unsigned int access;
	int rc;

	access_of_verbs(r->access, &access);
	preload_inside++;
	do {
		rc = pinmem_reg(r->domain->pm, r->addr, r->len, access, NULL,
				&rec->region);
	} while (rc == -ENOMEM && keep_release(k, NULL));
	preload_inside--;
	if (!rc)
		rec->mr = rec->region->segs[0].ibv_mr; /* there is one only */
	return rc;
}

/* Can its pages only be taken away by changes that the monitor tells? */
static bool is_settled(const struct keep *k, const struct record *rec)
{
	if (!k->gate || rec->region->mode == PINMEM_ODP || rec->region->plain)
		return true;
	return backing_settled(range_start(&rec->range), range_end(&rec->range), false);
}

/* Registered while it is watched: @keepable tells whether it may be kept. */
static int watch_and_reg(struct keep *k, struct record *rec, bool *keepable)
{
	const struct range *r = &rec->range;
	int rc, err;

	for (int i = 1;; i++) {
		err = monitor_watch(k->monitor, range_start(r), range_end(r),
				    &rec->watch);
		rc = reg(k, rec);
		if (rc || err || !is_settled(k, rec))
			break;
		*keepable = watch_holds(&rec->watch) && !monitor_confirm(k->monitor);
		if (*keepable || k->gate || i == TRIES_MAX || dereg(rec))
			break;
		monitor_unwatch(k->monitor, &rec->watch);
	}
	return rc;
}

/* Pages that libibverbs hides from children (ibv_fork_init(), before Linux 5.12) are to
 * be theirs again after ibv_dereg_mr(). */
static bool may_keep(const struct keep *k)
{
	return k->monitor && ibv_is_fork_initialized() != IBV_FORK_ENABLED;
}

static int reg_to_keep(struct keep *k, struct record *rec)
{
	struct flight flight = { .start = range_start(&rec->range),
				 .end = range_end(&rec->range) };
	struct flight **at = &k->flights;
	bool keepable = false, kept;
	int rc;

	pthread_mutex_lock(&k->lock);
	flight.next = k->flights;
	k->flights = &flight;
	pthread_mutex_unlock(&k->lock);
	rc = watch_and_reg(k, rec, &keepable);
	pthread_mutex_lock(&k->lock);
	while (*at != &flight)
		at = &(*at)->next;
	*at = flight.next;
	if (!rc && keepable && !flight.spoiled)
		enter(k, rec);
	kept = rec->id;
	pthread_mutex_unlock(&k->lock);
	if (!kept)
		monitor_unwatch(k->monitor, &rec->watch);
	release_leaving(k, NULL); /* who had to make room */
	return rc;
}

int keep_get(struct keep *k, const struct range *r, struct ibv_mr **mr, bool *hit)
{
	struct record *rec = k->monitor ? take_idle(k, r) : NULL;
	int rc;

	if (rec && !is_accessible(r)) {
		keep_put(k, rec->mr, &rc);
		rec = NULL;
	}
	*hit = rec;
	if (rec) {
		*mr = rec->mr;
		return 0;
	}
	rec = calloc(1, sizeof(*rec));
	if (!rec)
		return fail(ENOMEM, "no memory to note a registration");
	rec->range = *r;
	rec->out = true;
	rc = may_keep(k) ? reg_to_keep(k, rec) : reg(k, rec);
	if (rc) {
		free(rec);
		return rc;
	}
	pthread_mutex_lock(&k->lock);
	push(bucket_of_mr(k, rec->mr), rec);
	pthread_mutex_unlock(&k->lock);
	*mr = rec->mr;
	return 0;
}

/* ------------------------------------------------------------------ given back */

bool keep_put(struct keep *k, struct ibv_mr *mr, int *rc)
{
	struct record *rec;
	bool kept = false;

	pthread_mutex_lock(&k->lock);
	rec = find_out(k, mr);
	if (rec) {
		take_from(bucket_of_mr(k, mr), rec);
		kept = rec->id;
		rec->out = !kept;
		if (kept)
			push(bucket_of_range(k, &rec->range), rec);
	}
	pthread_mutex_unlock(&k->lock);
	*rc = 0;
	if (!rec || kept)
		return rec;
	*rc = -dereg(rec);
	if (!*rc) {
		record_free(k, rec);
		return true;
	}
	pthread_mutex_lock(&k->lock);
	push(bucket_of_mr(k, mr), rec);
	pthread_mutex_unlock(&k->lock);
	return true;
}

void keep_spoil(struct keep *k, const struct ibv_mr *mr)
{
	struct record *rec;

	pthread_mutex_lock(&k->lock);
	rec = find_out(k, mr);
	if (rec && rec->id)
		leave(k, rec, false);
	pthread_mutex_unlock(&k->lock);
}

/*
 * A child may deregister what its parent has out (the kernel lets it): what was kept of
 * that would be dead, and its handle another registration's.
 */
void keep_before_fork(struct keep *k)
{
	pthread_mutex_lock(&k->lock);
	for (uint32_t id = 1; id < k->used; id++)
		if (k->records[id] && k->records[id]->out)
			leave(k, k->records[id], false);
	pthread_mutex_unlock(&k->lock);
}

/* Under the lock: one that is out, or that could not be released. */
static struct record *forget_one(struct keep *k, const struct domain *d)
{
	struct record *rec = take_first_of(&k->leaving, d);

	for (uint32_t i = 0; !rec && i < BUCKETS; i++)
		rec = take_first_of(&k->by_mr[i], d);
	if (rec && rec->id)
		leave(k, rec, false);
	return rec;
}

void keep_forget(struct keep *k, const struct domain *d)
{
	struct record *rec;

	do {
		pthread_mutex_lock(&k->lock);
		rec = forget_one(k, d);
		pthread_mutex_unlock(&k->lock);
		if (rec)
			record_free(k, rec);
	} while (rec);
}

/* ------------------------------------------------------------------ creation */

static int queue_init(struct keep *k, const struct settings *s)
{
	size_t n = s->regions + 1; /* number 0 is none */

	k->used = 1;
	k->records = calloc(n, sizeof(struct record *));
	k->entries = calloc(n, sizeof(*k->entries));
	k->links = calloc(n, sizeof(*k->links));
	if (!k->records || !k->entries || !k->links)
		return fail(ENOMEM, "no memory to keep %zu registrations", n - 1);
	return s3fifo_init(&k->queue, k->entries, k->links, s->regions, s->bytes);
}

static void queue_fini(struct keep *k)
{
	s3fifo_fini(&k->queue);
	free(k->records);
	free(k->entries);
	free(k->links);
}

static int start_keeping(struct keep *k, const struct settings *s)
{
	enum pinmem_monitor kind;
	int rc = queue_init(k, s);

	if (!rc) {
		k->listener = (struct monitor_listener){ .changed = changed,
							 .look = look,
							 .reap = reap };
		rc = monitor_open(PINMEM_MONITOR_AUTO, &k->listener, &k->monitor,
				  &kind);
	}
	if (rc)
		queue_fini(k);
	else if (!monitor_has_words(k->monitor))
		k->gate = monitor_gate(k->monitor);
	return rc;
}

struct keep *keep_new(struct settings *s)
{
	struct keep *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->released, NULL);
	if (s->cache && start_keeping(k, s)) {
		log_line("PINMEM_VERBS_CACHE=on: %s; so nothing is kept",
			 pinmem_errmsg());
		s->cache = false;
	}
	return k;
}
