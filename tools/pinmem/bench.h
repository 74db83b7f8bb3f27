/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h - how `pinmem bench` measures: two ways to do the same are timed in turns,
 * in the same process, on the same CPU and memory, many batches each; told are medians
 * and spreads, and the medians of the differences and ratios of neighbours. So what
 * the rest of the machine does meanwhile disturbs both alike.
 */
#ifndef BENCH_H
#define BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * bench_fn - do it @n times.
 * @ns: out, nanoseconds for one of them
 * Return: 0; negative with a sentence in bench_why, which each thread has of its own.
 */
typedef int (*bench_fn)(void *ctx, unsigned int n, double *ns);
extern _Thread_local char bench_why[768];
/** bench_trouble - "@what: @why" into bench_why. Return: @rc. */
int bench_trouble(int rc, const char *what, const char *why);
/** bench_cannot - is this errno one of a machine or user that cannot do it (which is
 * told as skipped), and not of something that went wrong? */
bool bench_cannot(int rc);

/**
 * struct bench_pair - what is compared.
 * @base, @ours: the two ways
 * @once: n is always 1: each batch prepares for itself, outside of the time
 */
struct bench_pair {
	bench_fn base, ours;
	void *ctx;
	bool once;
};

/**
 * struct bench_result
 * @diff_ns: median of ours - base, @ratio: of ours / base, of neighbours
 * @base_spread, @ours_spread: interquartile range over the median
 */
struct bench_result {
	double base_ns, ours_ns, diff_ns, ratio;
	double base_spread, ours_spread;
	unsigned int batch, pairs;
};

#define BENCH_ROUNDS_MAX 64
#define BENCH_WAYS_MAX 8
/**
 * struct bench_way - one of several ways that take turns.
 * @fn: does it once, long enough to be measured, and keeps what came out;
 *      @round: from 0; -1: the warm-up, which does not count.
 *      Return: 0; negative: bench_why.
 */
struct bench_way {
	int (*fn)(void *ctx, int round);
	void *ctx;
};

/**
 * bench_take_turns - a warm-up, then @rounds rounds of all ways, each round in another
 * order. @what: for the progress bar. Return: 0; negative: bench_why.
 */
int bench_take_turns(const char *what, const struct bench_way *ways, unsigned int n,
		     unsigned int rounds);
/** bench_median - of @n values; bench_spread: interquartile range over the median;
 * bench_ratio: the median of a[i] / b[i]. @n: at most BENCH_ROUNDS_MAX */
double bench_median(const double *v, unsigned int n);
double bench_spread(const double *v, unsigned int n);
double bench_ratio(const double *a, const double *b, unsigned int n);
/** struct quartiles, bench_quartiles - of @n values, at most BENCH_ROUNDS_MAX. */
struct quartiles {
	double low, median, high;
};
struct quartiles bench_quartiles(const double *v, unsigned int n);
/** bench_shuffle - 0 .. @n - 1 at random. */
void bench_shuffle(unsigned int *order, unsigned int n);
/** bench_median_of - of any number of values, which it puts in order; 0: of none. */
double bench_median_of(double *v, unsigned int n);

/** bench_machine - what was measured on: processor, kernel, memory, library. */
json_t *bench_machine(void);

/** bench_run - measure for about @seconds. Return: 0; negative: bench_why. */
int bench_run(const struct bench_pair *pair, double seconds, struct bench_result *r);

/**
 * struct stopwatch - how long this thread worked or slept, without the time that the
 * kernel gave its CPU to somebody else. Where it never slept that is its CPU time.
 */
struct stopwatch {
	uint64_t wall_ns, cpu_ns;
	long slept; /* times */
};
void stopwatch_start(struct stopwatch *w);
double stopwatch_ns(const struct stopwatch *w);

/** bench_pin_cpu, bench_free_cpu - keep this thread on one CPU; let it go again. */
void bench_pin_cpu(void);
void bench_free_cpu(void);
/** bench_cpus - CPUs for @n threads; -1 where there are fewer. Return: how many. */
unsigned int bench_cpus(int *cpus, unsigned int n);
/** bench_pin_to - keep this thread on that one; -1: anywhere. */
void bench_pin_to(int cpu);

/**
 * struct bench_options - of the command line.
 * @seconds: for each line
 * @time_limit: for all of it, seconds
 * @dir:     where files are made
 * @from:    a recorded run instead of a new one, of those that can; NULL: none
 */
struct bench_options {
	bool quick;
	double seconds, time_limit;
	const char *dir, *from;
};

/** bench_register - see bench_register.c. @root: filled. Return: exit code. */
int bench_register(const struct bench_options *opts, json_t *root);
/** bench_cache - see bench_cache.c. @root: filled. Return: exit code. */
int bench_cache(const struct bench_options *opts, json_t *root);
/** bench_strategies - see bench_strategies.c. @root: filled. Return: exit code. */
int bench_strategies(const struct bench_options *opts, json_t *root);
/** bench_trackers - see bench_trackers.c. @root: filled. Return: exit code. */
int bench_trackers(const struct bench_options *opts, json_t *root);
/** bench_trackers_there - can they be measured here? */
bool bench_trackers_there(void);

#endif
