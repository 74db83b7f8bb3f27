/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_strategies.h - the two rooms of `pinmem bench strategies` that ask:
 * bench_plan.c says which points, bench_strategies.c measures them.
 */
#ifndef BENCH_STRATEGIES_H
#define BENCH_STRATEGIES_H

#include <jansson.h>

#include "bench.h"
#include "bench_lane.h"

#define STRATEGIES_MAX 16

/**
 * struct series - one strategy at one point.
 * @runs:    rounds that counted; of each, for one I/O: @ns, @cpu; for one cycle:
 * @begin,
 *           @end
 * @cycles:  in each run
 * @seconds: that a run takes, with all that is not timed
 * @rc, @why: it cannot be measured, and is left out
 */
struct series {
	unsigned int runs, cycles;
	double seconds;
	int rc;
	char *why;
	double ns[BENCH_ROUNDS_MAX], cpu[BENCH_ROUNDS_MAX];
	double begin[BENCH_ROUNDS_MAX], end[BENCH_ROUNDS_MAX];
};

/** struct spot - a point and what was measured there. @reached: the warm-up was */
struct spot {
	struct point point;
	bool reached, dropped;
	struct series series[STRATEGIES_MAX];
};

/** struct plan - what is worth most first. @bytes_max: that a buffer used more than
 * once moves */
struct plan {
	struct spot *spots;
	unsigned int n, room;
	uint64_t size_max, bytes_max;
};

/** plan_make - of this device. @len: the device's areas; what is longer is left out.
 * Return: 0, -ENOMEM. */
int plan_make(struct plan *plan, enum device_kind device, bool quick, uint64_t len);
/** plan_sort - what is dropped first where time is short comes last; plan_free */
void plan_sort(struct plan *plan);
void plan_free(struct plan *plan);
/** plan_size_max - the longest I/O. */
uint64_t plan_size_max(bool quick);

/** device_name, pages_name - in tables and in the JSON. */
const char *device_name(enum device_kind kind);
const char *pages_name(enum memory_kind pages);

/** strategies_json - all that was measured, into @root. */
void strategies_json(const struct plan *plan, json_t *root);

#endif
