/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_contest.h - what the two rooms that ask share: bench_cache.c has the hits
 * and the command, bench_cache_parts.c the rest.
 */
#ifndef BENCH_CACHE_CONTEST_H
#define BENCH_CACHE_CONTEST_H

#include <jansson.h>

#include "bench.h"
#include "bench_cache.h"
#include "out.h"

/* The contestants, and the number of threads. */
enum { OURS, UCX, SIDES };
enum { ONE, TWO, THREADS };

/** struct series - what one way answered in each round. */
struct series {
	struct bench_worker *worker;
	struct cache_request req;
	double v[ANSWER_VALUES][BENCH_ROUNDS_MAX];
};

/**
 * struct contest
 * @round_seconds: how long a way hits in each round
 * @small, @large: the processes, by setting
 * @sides:   SIDES, or OURS + 1 where libucx is not to be had
 * @monitor: what tells libpinmem's cache of changes
 */
struct contest {
	const struct bench_options *opts;
	unsigned int rounds;
	double round_seconds;
	struct bench_worker small[SIDES], large[SIDES];
	int sides;
	char monitor[64];
	bool failed;
	json_t *root;
};

/** turns - ask all of them in turns. Return: 0; negative: bench_why. */
int turns(struct contest *c, const char *what, struct series *s, unsigned int n);
/** median, spread - of a value of the answers; ratio: of the same value of two, of the
 * same rounds, median. */
double median(const struct contest *c, const struct series *s, int value);
double spread(const struct contest *c, const struct series *s, int value);
double ratio(const struct contest *c, const struct series *a, const struct series *b,
	     int value);

/** side_name - in tables and in the JSON. */
const char *side_name(int side);
/** verdict_text - "met" or "short". */
const char *verdict_text(bool met);
/** goal_json - a number with what was hoped for. */
json_t *goal_json(double value, double goal, bool met);
/** say_why - that something was skipped (-EDQUOT: limits forbid it) or has failed. */
void say_why(struct contest *c, json_t *o, int rc);

/** struct unmaps - what measure_unmap() found, to be shown later. */
struct unmaps {
	int rc;
	char why[sizeof(bench_why)];
	struct series s[SIDES + 1];
	unsigned int n; /* of s */
	struct bench_worker bare;
};

/** measure_unmap - now, with so many regions cached as there are. */
void measure_unmap(struct contest *c, struct unmaps *u);
void show_unmaps(struct contest *c, const struct unmaps *u);
/** bench_memory - of @n cached regions; they are. */
void bench_memory(struct contest *c, unsigned int n);
void bench_miss(struct contest *c);
void bench_tail(struct contest *c);

#endif
