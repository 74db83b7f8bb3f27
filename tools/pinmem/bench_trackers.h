/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_trackers.h - `pinmem bench trackers`: ways to know which pages are pinned.
 *
 *	bench_trackers.c         what is measured; medians, into the JSON
 *	   | struct tracker_run         | root
 *	bench_trackers_kernel.c  bench_trackers_claims.c  what it says of the threads
 *	the kernel's benchmark;  bench_trackers_show.c    tables, CSV, plots
 *	who disturbs the pages
 *
 * Claims, tables, CSV and plots read the JSON and nothing else, so that a recorded run
 * says the same as the run that recorded it.
 */
#ifndef BENCH_TRACKERS_H
#define BENCH_TRACKERS_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "memory.h"
#include "plot.h"

enum tracker { BIAS, XARRAY, ITREE, HEURISTIC, DIRTY_AT_PIN, DIRTY_AT_UNPIN, TRACKERS };
/** tracker_names - the kernel's. */
extern const char *const tracker_names[TRACKERS];

/** TRACKER_PAGES_MAX, TRACKER_THREADS_MAX - of the kernel's benchmark. */
#define TRACKER_PAGES_MAX 4096ul
#define TRACKER_THREADS_MAX 64ul

/** struct tracker_run - one run in the kernel. @pages: of a pin; each thread has as
 * many, one after the other from @addr on. @classify: of one thread, half of them
 * pinned */
struct tracker_run {
	enum tracker tracker;
	bool classify;
	void *addr;
	unsigned long pages, threads, runs;
};

/** struct tracker_figures - kernel/README.md explains them. */
struct tracker_figures {
	unsigned long long pin_ns, unpin_ns, irq_unpin_ns, query_ns, bytes_per_pin;
	unsigned long long queries, false_positives, false_negatives, lost_dirty;
};

/** tracker_bench_there - does this kernel have the benchmark, for this user?
 * Return: 0; a negative errno with a sentence in bench_why. */
int tracker_bench_there(void);
/** tracker_bench - run it. Return: 0; a negative errno with a sentence in bench_why. */
int tracker_bench(const struct tracker_run *run, struct tracker_figures *f);

/** enum transient - who takes references that are no pins. */
enum transient { NOTHING, MIGRATION, ISOLATION, LOOKUP, REFERENCES, TRANSIENTS };
extern const char *const transient_names[TRANSIENTS];
#define DISTURBED_PAGES 256ul

/**
 * struct disturbance - memory whose pages somebody else works on.
 * @turns: of the thread that does it, or references taken; @err: that ended it
 */
struct disturbance {
	enum transient what;
	struct memory memory;
	pthread_t thread;
	bool running, stop;
	unsigned long turns;
	int err;
	int pipes[110][2];
	unsigned int n_pipes;
};

/** disturbance_start - make the memory, and begin.
 * Return: 0; a negative errno with bench_why: EOPNOTSUPP: not on this machine.
 * disturbance_drop() is right in both cases. */
int disturbance_start(struct disturbance *d, enum memory_kind kind,
		      enum transient what);
/** disturbance_stop - it is over. Return: 0; a negative errno with bench_why: it had
 * ended before. */
int disturbance_stop(struct disturbance *d);
void disturbance_drop(struct disturbance *d);

/** trackers_claims - root.claims, in place of older ones: sentences of the threads, the
 * figures that they are about, and what those say. Return: 0; -ENOMEM. */
int trackers_claims(json_t *root);
/** trackers_show - all of it as tables. */
void trackers_show(const json_t *root);
/** trackers_csv - each figure in a line. Return: false after a sentence. */
bool trackers_csv(const json_t *root, const char *file);
/** trackers_figures - figures_each() of this bench. */
int trackers_figures(const json_t *root,
		     int (*fn)(const char *name, const struct plot *plot, void *ctx),
		     void *ctx);

#endif
