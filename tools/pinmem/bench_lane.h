/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_lane.h - `pinmem bench strategies` where it measures.
 *
 *	bench_strategies.c    which points; asks in turns; medians, JSON, table, CSV
 *	   | struct run_request, struct bench_answer, over a socket
 *	bench_lane.c          one run: memory, pattern, the strategy timed, verified
 *	   | struct strategy          | struct device
 *	bench_ways.c          bench_device*.c
 *
 * Two processes measure: one all strategies but libucx's, the other only that, since
 * libucx patches libc where it is loaded. In a process there is a lane for each thread:
 * its own pinner, cache, device, and memory.
 */
#ifndef BENCH_LANE_H
#define BENCH_LANE_H

#include <liburing.h>

#include "bench_cache.h"
#include "bench_device.h"
#include "bench_worker.h"
#include "memory.h"

#define LANES 2

/** struct point - what is done with a piece of memory. Of one, all strategies are
 * measured in turns. @reuse: how many I/Os between begin and end */
struct point {
	enum device_kind device;
	enum memory_kind pages; /* MEM_FILE: on fsdax */
	bool write;
	unsigned int threads, reuse;
	uint64_t size;
};

/** struct run_request - @cycles: begin, reuse I/Os, end: so many times.
 * @op: RUN, or open the device with areas of @point.size and say what it is */
struct run_request {
	enum { RUN_OPEN, RUN_ONCE } op;
	struct point point;
	unsigned int strategy, cycles;
	char dir[512], dax[512];
	uint64_t seed;
};

#define CYCLES_MAX 64
/** The places in its answer's values: medians of the cycles, ns. RUN_ALL: I/Os too */
enum { RUN_BEGIN, RUN_END, RUN_ALL, RUN_CPU, RUN_VALUES };

struct ibv_mr;

/**
 * struct lane - a thread's place to work.
 * @pm:     verbs or io_uring, as the device wants; @mlock, @tracker: opened when wanted
 * @raw:    io_uring without the library: a table of one buffer
 * @bounce: pinned once, for all runs, when wanted
 * @piece:  what the device is told, between begin and end
 */
struct lane {
	unsigned int number;
	enum device_kind kind;
	struct pinmem *pm, *mlock, *tracker;
	struct device *device;
	struct io_uring raw;
	bool have_raw;
	const struct cache_peer *peer;
	void *cache, *held;
	void *bounce;
	struct pinmem_mr *bounce_mr;
	struct memory memory;
	struct point point;
	struct pinmem_mr *mr;
	struct ibv_mr *raw_mr;
	struct piece piece;
};

/**
 * struct strategy - each of the calls may be NULL. They return 0 or a negative errno
 * with bench_why; of prepare, -EOPNOTSUPP says that it cannot be done here.
 * @prepare, @finish: not timed, around all cycles; finish also after a failure
 * @io: NULL: the piece, straight. What is between begin and end is timed.
 * @ucx: belongs to the process where libucx is
 */
struct strategy {
	const char *name, *what;
	int (*prepare)(struct lane *l);
	int (*begin)(struct lane *l);
	int (*io)(struct lane *l);
	int (*end)(struct lane *l);
	void (*finish)(struct lane *l);
	bool ucx;
};
extern const struct strategy strategies[];
extern const unsigned int strategies_n;
/** STRATEGY_COPY - what all others are compared with: the first of the table. */
#define STRATEGY_COPY 0

/** lane_io - the I/O of this run over l->piece. */
int lane_io(struct lane *l);
/** lane_trouble, lane_refused - a sentence for bench_why; the second one from
 * pinmem_errmsg(). Return: @rc. */
int bench_trouble(int rc, const char *what, const char *why);
int lane_refused(int rc);

/** lanes_start - a process that measures. Return: 0; negative: bench_why. */
int lanes_start(struct bench_worker *w, const char *name, enum device_kind kind,
		bool ucx);

#endif
