/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_inside.h - the rooms of the process that measures one cache:
 * bench_cache_worker.c opens and fills it, bench_cache_hits.c has the hits,
 * bench_cache_changes.c misses and unmappings.
 */
#ifndef BENCH_CACHE_INSIDE_H
#define BENCH_CACHE_INSIDE_H

#include <liburing.h>
#include <pthread.h>

#include "bench.h"
#include "bench_cache.h"
#include "memory.h"

#define THREADS 2
/* Random numbers are made once and read in order, which costs next to nothing. */
#define SEQUENCE_SHORT (1u << 14)
#define SEQUENCE_LONG (1u << 20)
/* So many chunks of hits are remembered. */
#define CHUNKS (1u << 14)

/*
 * A thread that hits, and what came out.
 * @beats: atomic; chunks done, on a cache line of their own
 * @counted: of them @chunks has the times
 */
struct hitter {
	uint64_t beats __attribute__((aligned(128)));
	struct worker *worker __attribute__((aligned(128)));
	uint32_t *seq;
	uint32_t at, length, regions;
	double chunks[CHUNKS];
	unsigned int counted;
	double ns, share;
	int rc;
};

struct worker {
	const struct cache_peer *peer;
	enum setting setting;
	struct pinmem *pm;
	void *cache;
	struct memory memory; /* of SETTING_SMALL */
	char *base;
	unsigned int filled;
	uint64_t anon_before;
	struct hitter hitters[THREADS];
	int cpus[THREADS];

	/* the second thread */
	pthread_t second;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	void (*job)(struct worker *w);	    /* lock; NULL: nothing to do */
	char second_why[sizeof(bench_why)]; /* lock; of its last job */
	unsigned int ready;		    /* atomic: threads at the start line */
	bool stop;			    /* atomic */

	/* OP_TAIL */
	uint32_t *samples;
	struct memory big;
	bool pinning; /* atomic: a pin is under way */
	unsigned int pins;
	double pin_ns;
	int pin_rc;

	/* OP_MISS */
	struct io_uring ring;
	bool have_ring;
	struct memory miss;
};

/** second_start - give the second thread this work; second_wait - until it is done. */
void second_start(struct worker *w, void (*job)(struct worker *w));
void second_wait(struct worker *w);
/** start_line - all threads begin together. */
void start_line(struct worker *w, unsigned int threads);
bool stopped(struct worker *w);
void set_stop(struct worker *w, bool stop);

/** limits_allow - may so much more be pinned? have_memory - that is there, on base
 * pages; kept for the next time. Return: 0; -EDQUOT: no; negative: failed. */
int limits_allow(struct worker *w, uint64_t len);
int have_memory(struct worker *w, struct memory *m, uint64_t len);

/* The operations; see enum cache_op. */
int do_hits(struct worker *w, const struct cache_request *req, struct bench_answer *a);
int do_floor(struct worker *w, const struct cache_request *req, struct bench_answer *a);
int do_tail(struct worker *w, const struct cache_request *req, struct bench_answer *a);
int do_miss(struct worker *w, const struct cache_request *req, struct bench_answer *a);
int do_unmap(struct worker *w, const struct cache_request *req, struct bench_answer *a);

#endif
