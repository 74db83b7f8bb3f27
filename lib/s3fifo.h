/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * s3fifo.h - which region leaves a full cache: the S3-FIFO policy (Yang, Zhang, Qiu,
 * Yue, Vigfusson: "FIFO queues are all you need for cache eviction", SOSP 2023).
 *
 *	new ──> small ──used again?──> main ──used since?──> round again (one use less)
 *	          |                      |
 *	          └──────> ghost <───────┘        (hashes of what left)
 *	new, and in ghost ─────────────> main
 *
 * A hit only counts up to three in a byte of its own entry, and when it is three writes
 * nothing; there is no list to reorder. A sweep passes through the small queue, a tenth
 * of the cache, and leaves main alone. All else here is under the cache's lock.
 */
#ifndef PINMEM_S3FIFO_H
#define PINMEM_S3FIFO_H

#include "internal.h"

#define USES_MAX 3
#define SMALL_SHARE 10 /* one part in ten */

/** enum entry_state - what a number stands for. In brackets: the list it is in. */
enum entry_state {
	ENTRY_FREE = 0, /* nothing (free list) */
	ENTRY_SMALL,	/* a region that may be got (small queue) */
	ENTRY_MAIN,	/* a region that may be got (main queue) */
	ENTRY_LEAVING,	/* not to be got any more, holders not counted (leaving list,
			 * or that of a sweep under way) */
	ENTRY_HELD,	/* … and held: the last put releases it (no list) */
	ENTRY_GOING,	/* … and being released (no list, or a sweep's) */
};

/**
 * struct entry - what a number stands for: 32 bytes, for ever at the same place.
 * Readers look at it without the lock. @bytes is the gate of the rest: it is stored
 * last when a region comes, and zeroed first when it leaves.
 */
struct entry {
	uint64_t start;	      /* atomic; address, page aligned */
	uint64_t bytes;	      /* atomic; 0: not to be got */
	struct pinmem_mr *mr; /* atomic */
	uint8_t rights;	      /* atomic; see rights_of() */
	uint8_t uses;	      /* atomic; hits since it was looked at, at most 3 */
	uint8_t dirty;	      /* atomic; a holder has put it DIRTY */
	uint8_t state;	      /* lock; enum entry_state */
	uint32_t reserved;
};

_Static_assert(sizeof(struct entry) == 32, "two entries in a cache line");

/** struct link - an entry's place in the list that it is in. Under the lock. */
struct link {
	uint32_t prev, next; /* 0: none */
};

/** struct entry_list - entries by their numbers, oldest first. */
struct entry_list {
	uint32_t first, last;
	uint64_t count;
};

void entry_list_push(struct entry_list *l, struct link *links, uint32_t id);
void entry_list_remove(struct entry_list *l, struct link *links, uint32_t id);
/** entry_list_pop - the oldest, or 0 */
uint32_t entry_list_pop(struct entry_list *l, struct link *links);

struct fifo {
	struct entry_list list;
	uint64_t bytes;
};

struct s3fifo {
	struct entry *entries;
	struct link *links;
	struct fifo small, main;
	uint64_t max_count, max_bytes;
	uint32_t *ghost; /* hashes by hash: a later one takes an older one's place */
	uint64_t ghosts; /* a power of two */
};

int s3fifo_init(struct s3fifo *q, struct entry *entries, struct link *links,
		uint64_t max_count, uint64_t max_bytes);
void s3fifo_fini(struct s3fifo *q);

/** s3fifo_enter - a region has come; its entry is complete but for state and links. */
void s3fifo_enter(struct s3fifo *q, uint32_t id, bool known);
/** s3fifo_leave - it goes, whoever says so; @evicted: and will be known for a while. */
void s3fifo_leave(struct s3fifo *q, uint32_t id, bool evicted);
/** s3fifo_known - was a region that began there evicted not long ago? */
bool s3fifo_known(const struct s3fifo *q, uint64_t start);
/**
 * s3fifo_victim - who should leave next; still in its queue. 0: all are in use.
 * @idle: false: it is held, pass over it
 */
uint32_t s3fifo_victim(struct s3fifo *q, bool (*idle)(uint32_t id, void *arg),
		       void *arg);

static inline uint64_t s3fifo_count(const struct s3fifo *q)
{
	return q->small.list.count + q->main.list.count;
}

static inline uint64_t s3fifo_bytes(const struct s3fifo *q)
{
	return q->small.bytes + q->main.bytes;
}

#endif
