/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_measure.c - how every bench measures: see bench.h. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench.h"
#include "out.h"
#include "pinmem.h"
#include "sys.h"
#include "tool.h"

#define PAIRS_MAX 10000
#define PAIRS_LEAST 5
#define WARM_UP 3
#define BATCH_NS 100000.0 /* shorter than a time slice: few are interrupted */
#define BATCH_MAX 10000

_Thread_local char bench_why[768];

int bench_trouble(int rc, const char *what, const char *why)
{
	snprintf(bench_why, sizeof(bench_why), "%s: %s", what, why);
	return rc;
}

bool bench_cannot(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENODEV || rc == -EDQUOT || rc == -ENOMEM;
}

/* -------------------------------------------------------------- measuring */

struct samples {
	double base[PAIRS_MAX], ours[PAIRS_MAX], work[PAIRS_MAX];
	unsigned int n;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void sorted(double *work, const double *from, unsigned int n)
{
	memcpy(work, from, n * sizeof(*work));
	qsort(work, n, sizeof(*work), by_value);
}

static double middle(const double *in_order, unsigned int n)
{
	return n % 2 ? in_order[n / 2] : (in_order[n / 2 - 1] + in_order[n / 2]) / 2;
}

double bench_median_of(double *v, unsigned int n)
{
	if (!n)
		return 0;
	qsort(v, n, sizeof(*v), by_value);
	return middle(v, n);
}

static double median_and_spread(struct samples *s, const double *from, double *spread)
{
	double median;

	sorted(s->work, from, s->n);
	median = middle(s->work, s->n);
	*spread = median > 0 ? (s->work[s->n * 3 / 4] - s->work[s->n / 4]) / median : 0;
	return median;
}

static void summarize(struct samples *s, struct bench_result *r)
{
	r->pairs = s->n;
	r->base_ns = median_and_spread(s, s->base, &r->base_spread);
	r->ours_ns = median_and_spread(s, s->ours, &r->ours_spread);
	for (unsigned int i = 0; i < s->n; i++)
		s->work[i] = s->ours[i] - s->base[i];
	qsort(s->work, s->n, sizeof(*s->work), by_value);
	r->diff_ns = middle(s->work, s->n);
	for (unsigned int i = 0; i < s->n; i++)
		s->work[i] = s->ours[i] / s->base[i];
	qsort(s->work, s->n, sizeof(*s->work), by_value);
	r->ratio = middle(s->work, s->n);
}

/* So many that a batch is long enough. */
static int calibrate(const struct bench_pair *pair, unsigned int *batch)
{
	double ns = 0;
	int rc;

	*batch = 1;
	if (pair->once)
		return 0;
	for (int i = 0; i < WARM_UP; i++) {
		rc = pair->base(pair->ctx, *batch, &ns);
		if (rc)
			return rc;
		*batch = ns * BATCH_MAX < BATCH_NS ? BATCH_MAX
						   : (unsigned int)(BATCH_NS / ns) + 1;
	}
	return 0;
}

/* Who goes first changes, for the second finds the caches as the first left them; at
 * random, for what disturbs may come in turns too. */
static uint64_t dice(void)
{
	static uint64_t state = 88172645463325252ull; /* xorshift64 */

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 32;
}

static int interrupted(void)
{
	snprintf(bench_why, sizeof(bench_why), "interrupted");
	return -ECANCELED;
}

static int one_pair(const struct bench_pair *pair, unsigned int batch, bool ours_first,
		    double *base, double *ours)
{
	int rc = 0;

	if (ours_first)
		rc = pair->ours(pair->ctx, batch, ours);
	if (!rc)
		rc = pair->base(pair->ctx, batch, base);
	if (!rc && !ours_first)
		rc = pair->ours(pair->ctx, batch, ours);
	return rc;
}

static int collect(const struct bench_pair *pair, double seconds, unsigned int batch,
		   struct samples *s)
{
	uint64_t budget = (uint64_t)(seconds * 1e9), begin = sys_now_ns(), spent = 0;
	unsigned int warm = pair->once ? 1 : WARM_UP;
	int rc;

	for (unsigned int turn = 0; s->n < PAIRS_MAX; turn++) {
		if (s->n >= PAIRS_LEAST && spent >= budget)
			return 0;
		if (stop_requested())
			return interrupted();
		rc = one_pair(pair, batch, dice() & 1, &s->base[s->n], &s->ours[s->n]);
		if (rc)
			return rc;
		if (turn >= warm)
			s->n++;
		spent = sys_now_ns() - begin;
		progress_show("measuring", spent < budget ? spent : budget - 1, budget);
	}
	return 0;
}

int bench_run(const struct bench_pair *pair, double seconds, struct bench_result *r)
{
	struct samples *s = calloc(1, sizeof(*s));
	int rc;

	if (!s) {
		snprintf(bench_why, sizeof(bench_why), "out of memory");
		return -ENOMEM;
	}
	rc = calibrate(pair, &r->batch);
	if (!rc)
		rc = collect(pair, seconds, r->batch, s);
	if (!rc)
		summarize(s, r);
	progress_clear();
	free(s);
	return rc;
}

void bench_shuffle(unsigned int *order, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		unsigned int j = (unsigned int)(dice() % (i + 1));

		order[i] = order[j];
		order[j] = i;
	}
}

int bench_take_turns(const char *what, const struct bench_way *ways, unsigned int n,
		     unsigned int rounds)
{
	unsigned int order[BENCH_WAYS_MAX];
	int rc = 0;

	for (int round = -1; round < (int)rounds && !rc; round++) {
		bench_shuffle(order, n);
		for (unsigned int i = 0; i < n && !rc; i++) {
			const struct bench_way *way = &ways[order[i]];

			rc = stop_requested() ? interrupted()
					      : way->fn(way->ctx, round);
			progress_show(what, (unsigned int)(round + 1) * n + i,
				      (uint64_t)(rounds + 1) * n);
		}
	}
	progress_clear();
	return rc;
}

double bench_median(const double *v, unsigned int n)
{
	double work[BENCH_ROUNDS_MAX];

	sorted(work, v, n);
	return middle(work, n);
}

struct quartiles bench_quartiles(const double *v, unsigned int n)
{
	double work[BENCH_ROUNDS_MAX];

	if (!n)
		return (struct quartiles){ 0 };
	sorted(work, v, n);
	return (struct quartiles){ work[n / 4], middle(work, n), work[n * 3 / 4] };
}

double bench_spread(const double *v, unsigned int n)
{
	struct quartiles q = bench_quartiles(v, n);

	return q.median > 0 ? (q.high - q.low) / q.median : 0;
}

double bench_ratio(const double *a, const double *b, unsigned int n)
{
	double work[BENCH_ROUNDS_MAX];

	for (unsigned int i = 0; i < n; i++)
		work[i] = a[i] / b[i];
	qsort(work, n, sizeof(*work), by_value);
	return middle(work, n);
}

/* The first line of /proc/cpuinfo that begins with "model name"; "?" if none does. */
static void cpu_name(char *name, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256], *colon;

	snprintf(name, size, "?");
	while (f && fgets(line, sizeof(line), f)) {
		colon = strstr(line, ": ");
		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(name, size, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

json_t *bench_machine(void)
{
	struct utsname u;
	char cpu[200];

	uname(&u);
	cpu_name(cpu, sizeof(cpu));
	return json_pack("{ss, ss, ss, so, si, sI}", "pinmem", pinmem_version(),
			 "kernel", u.release, "architecture", u.machine, "cpu",
			 json_text(cpu), "cpus", (int)sys_cpus(), "memory",
			 (json_int_t)sys_meminfo("MemTotal"));
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static long times_slept(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? -1 : usage.ru_nvcsw;
}

void stopwatch_start(struct stopwatch *w)
{
	w->slept = times_slept();
	w->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	w->wall_ns = clock_ns(CLOCK_MONOTONIC);
}

double stopwatch_ns(const struct stopwatch *w)
{
	uint64_t wall = clock_ns(CLOCK_MONOTONIC) - w->wall_ns;
	uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - w->cpu_ns;

	return (double)(w->slept >= 0 && times_slept() == w->slept ? cpu : wall);
}

/* ---------------------------------------------------------------------- CPUs */

static cpu_set_t all_cpus;

void bench_pin_cpu(void)
{
	if (!sched_getaffinity(0, sizeof(all_cpus), &all_cpus))
		bench_pin_to(sched_getcpu());
}

void bench_free_cpu(void)
{
	if (CPU_COUNT(&all_cpus))
		sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
}

unsigned int bench_cpus(int *cpus, unsigned int n)
{
	unsigned int found = 0;
	cpu_set_t all;

	for (unsigned int i = 0; i < n; i++)
		cpus[i] = -1;
	if (sched_getaffinity(0, sizeof(all), &all))
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && found < n; cpu++)
		if (CPU_ISSET((size_t)cpu, &all))
			cpus[found++] = cpu;
	return found;
}

void bench_pin_to(int cpu)
{
	cpu_set_t one;

	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}
