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
 * Return: 0; negative with a sentence in bench_why.
 */
typedef int (*bench_fn)(void *ctx, unsigned int n, double *ns);
extern char bench_why[768];

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

/** struct bench_options - of the command line. */
struct bench_options {
	bool quick;
	double seconds; /* for each line */
};

/** bench_register - see bench_register.c. @root: filled. Return: exit code. */
int bench_register(const struct bench_options *opts, json_t *root);

#endif
