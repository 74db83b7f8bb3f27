/* SPDX-License-Identifier: BSD-2-Clause */
/* s3fifo.c - two queues and a memory of who left; see s3fifo.h. */
#include "s3fifo.h"

#include <errno.h>
#include <sys/mman.h>

/* So many held regions are passed over before a cache counts as full. */
#define HELD_MAX 256

/* -------------------------------------------------------------------- lists */

void entry_list_push(struct entry_list *l, struct link *links, uint32_t id)
{
	links[id] = (struct link){ .prev = l->last };
	if (l->last)
		links[l->last].next = id;
	else
		l->first = id;
	l->last = id;
	l->count++;
}

void entry_list_remove(struct entry_list *l, struct link *links, uint32_t id)
{
	struct link at = links[id];

	if (at.prev)
		links[at.prev].next = at.next;
	else
		l->first = at.next;
	if (at.next)
		links[at.next].prev = at.prev;
	else
		l->last = at.prev;
	l->count--;
}

uint32_t entry_list_pop(struct entry_list *l, struct link *links)
{
	uint32_t id = l->first;

	if (id)
		entry_list_remove(l, links, id);
	return id;
}

/* -------------------------------------------------------------------- ghost */

int s3fifo_init(struct s3fifo *q, struct entry *entries, struct link *links,
		uint64_t max_count, uint64_t max_bytes)
{
	void *ghost;

	*q = (struct s3fifo){ .entries = entries,
			      .links = links,
			      .max_count = max_count,
			      .max_bytes = max_bytes,
			      .ghosts = 1 };
	while (q->ghosts < max_count)
		q->ghosts <<= 1;
	ghost = mmap(NULL, q->ghosts * sizeof(*q->ghost), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ghost == MAP_FAILED)
		return fail(ENOMEM, "no memory for the memory of %llu evictions",
			    (unsigned long long)q->ghosts);
	q->ghost = ghost;
	return 0;
}

void s3fifo_fini(struct s3fifo *q)
{
	if (q->ghost)
		munmap(q->ghost, q->ghosts * sizeof(*q->ghost));
	q->ghost = NULL;
}

/* Multiplicative hashing by the golden ratio; never 0. */
static uint64_t hash(uint64_t start)
{
	return (start + 1) * 0x9e3779b97f4a7c15ull;
}

static uint32_t *ghost_at(const struct s3fifo *q, uint64_t h)
{
	return &q->ghost[(h >> 16) & (q->ghosts - 1)];
}

static uint32_t ghost_mark(uint64_t h)
{
	return (uint32_t)(h >> 32) | 1;
}

bool s3fifo_known(const struct s3fifo *q, uint64_t start)
{
	uint64_t h = hash(start);

	return *ghost_at(q, h) == ghost_mark(h);
}

/* ------------------------------------------------------------------- queues */

static struct fifo *queue_of(struct s3fifo *q, const struct entry *e)
{
	return e->state == ENTRY_SMALL ? &q->small : &q->main;
}

static void enqueue(struct s3fifo *q, uint32_t id, enum entry_state state)
{
	struct entry *e = &q->entries[id];
	struct fifo *f;

	e->state = (uint8_t)state;
	f = queue_of(q, e);
	entry_list_push(&f->list, q->links, id);
	f->bytes += e->bytes;
}

static void dequeue(struct s3fifo *q, uint32_t id)
{
	struct entry *e = &q->entries[id];
	struct fifo *f = queue_of(q, e);

	entry_list_remove(&f->list, q->links, id);
	f->bytes -= e->bytes;
}

void s3fifo_enter(struct s3fifo *q, uint32_t id, bool known)
{
	enqueue(q, id, known ? ENTRY_MAIN : ENTRY_SMALL);
}

void s3fifo_leave(struct s3fifo *q, uint32_t id, bool evicted)
{
	uint64_t h = hash(q->entries[id].start);

	dequeue(q, id);
	if (evicted)
		*ghost_at(q, h) = ghost_mark(h);
}

/* Small has more than its share, or main has nobody to give: all are held (so many in
 * a row that it seems so). */
static bool small_is_next(const struct s3fifo *q, unsigned int held)
{
	uint64_t count = q->small.list.count;

	return count && (count * SMALL_SHARE >= q->max_count ||
			 q->small.bytes >= q->max_bytes / SMALL_SHARE ||
			 held >= q->main.list.count || held >= HELD_MAX / 2);
}

/* Hits go on meanwhile: one more or less does not matter. */
static void set_uses(struct entry *e, uint8_t uses)
{
	__atomic_store_n(&e->uses, uses, __ATOMIC_RELAXED);
}

static void move(struct s3fifo *q, uint32_t id, enum entry_state to)
{
	dequeue(q, id);
	enqueue(q, id, to);
}

/*
 * Every step takes a use away, moves an entry from small to main for good, passes over
 * a held one (bounded), or ends the search. The steps are three rounds at most, and as
 * many as the hits before: constant for each hit and each miss.
 */
uint32_t s3fifo_victim(struct s3fifo *q, bool (*idle)(uint32_t id, void *arg),
		       void *arg)
{
	unsigned int held = 0;
	uint64_t steps = (USES_MAX + 2) * s3fifo_count(q) + 1;

	while (held < HELD_MAX && s3fifo_count(q) && steps--) {
		bool small = small_is_next(q, held);
		uint32_t id = small ? q->small.list.first : q->main.list.first;
		struct entry *e = &q->entries[id];
		uint8_t uses = __atomic_load_n(&e->uses, __ATOMIC_RELAXED);

		if (small && uses > 1) {
			set_uses(e, 0);
			move(q, id, ENTRY_MAIN);
		} else if (!small && uses) {
			set_uses(e, (uint8_t)(uses - 1));
			move(q, id, ENTRY_MAIN);
		} else if (!idle(id, arg)) {
			held++;
			move(q, id, ENTRY_MAIN);
		} else {
			return id;
		}
	}
	return 0;
}
