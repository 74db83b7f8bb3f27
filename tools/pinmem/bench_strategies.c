/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_strategies.c - `pinmem bench strategies`: what an I/O costs by each way to have
 * its memory pinned. A warm-up of all points tells what a run takes and what cannot be
 * done here; then rounds over all points in changing order, in each point all
 * strategies in turns, as long as the time limit allows. The JSON: docs/bench-json.md.
 */
#include "bench_strategies.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bench_findings.h"
#include "out.h"
#include "pinmem.h"
#include "sys.h"
#include "tool.h"

#define ROUNDS_MAX 15
#define ROUNDS_LEAST 5
#define ROUNDS_QUICK 5
/* A run is long enough to be measured, by doing its cycle several times. */
#define RUN_NS 3e6
#define RUN_NS_QUICK 1e6
/* Of the time limit: for the warm-up; for the rounds, the rest being for surprises. */
#define WARM_UP_SHARE 0.4
#define ROUNDS_SHARE 0.95
/* The first points of the plan stay, however short the time is. */
#define KEPT 2

_Static_assert(ROUNDS_MAX <= BENCH_ROUNDS_MAX, "the series have room");

/** struct study - @worker: by device and whether libucx is in it; @begin: ns */
struct study {
	const struct bench_options *opts;
	json_t *root, *devices;
	struct bench_worker worker[DEVICE_KINDS][2];
	struct plan plan;
	unsigned int *order;
	char dax[512];
	uint64_t begin;
	unsigned int rounds;
	bool failed;
};

static double elapsed(const struct study *st)
{
	return (double)(sys_now_ns() - st->begin) / 1e9;
}

/* ------------------------------------------------------------------ one run */

static int ask(struct study *st, const struct spot *spot, unsigned int strategy,
	       unsigned int cycles, struct bench_answer *a)
{
	struct run_request req = { .op = RUN_ONCE,
				   .point = spot->point,
				   .strategy = strategy,
				   .cycles = cycles,
				   .seed = (uint64_t)rand() << 32 };
	struct bench_worker *w =
		&st->worker[spot->point.device][strategies[strategy].ucx];

	if (w->fd < 0)
		return bench_trouble(-EOPNOTSUPP, w->name, "its process has ended");
	snprintf(req.dir, sizeof(req.dir), "%s", st->opts->dir);
	snprintf(req.dax, sizeof(req.dax), "%s", st->dax);
	return worker_ask(w, &req, sizeof(req), a);
}

/* It stays out of the rounds, with the reason. */
static void leave_out(struct study *st, struct series *s, int rc)
{
	s->rc = rc;
	s->why = strdup(bench_why);
	st->failed |= !bench_cannot(rc) && rc != -ECANCELED;
}

static void try_one(struct study *st, struct spot *spot, unsigned int strategy)
{
	double target = st->opts->quick ? RUN_NS_QUICK : RUN_NS;
	struct series *s = &spot->series[strategy];
	uint64_t begin = sys_now_ns();
	struct bench_answer a;
	int rc = ask(st, spot, strategy, 1, &a);
	double cycles;

	if (rc) {
		leave_out(st, s, rc);
		return;
	}
	cycles = target / (a.v[RUN_ALL] > 1 ? a.v[RUN_ALL] : 1) + 1;
	s->cycles = cycles < CYCLES_MAX ? (unsigned int)cycles : CYCLES_MAX;
	s->seconds = (double)(sys_now_ns() - begin) / 1e9 +
		     (s->cycles - 1) * a.v[RUN_ALL] / 1e9;
}

static void take_one(struct study *st, struct spot *spot, unsigned int strategy)
{
	struct series *s = &spot->series[strategy];
	unsigned int reuse = spot->point.reuse;
	struct bench_answer a;
	int rc = ask(st, spot, strategy, s->cycles, &a);

	if (rc) {
		leave_out(st, s, rc);
		return;
	}
	s->ns[s->runs] = a.v[RUN_ALL] / reuse;
	s->cpu[s->runs] = a.v[RUN_CPU] / reuse;
	s->begin[s->runs] = a.v[RUN_BEGIN];
	s->end[s->runs] = a.v[RUN_END];
	s->runs++;
}

/* ------------------------------------------------------------------- rounds */

/* All strategies at a point, in another order each time. Return: false: time is up. */
static bool visit(struct study *st, struct spot *spot, double until,
		  void (*what)(struct study *, struct spot *, unsigned int))
{
	unsigned int order[STRATEGIES_MAX];

	bench_shuffle(order, strategies_n);
	for (unsigned int i = 0; i < strategies_n; i++) {
		struct series *s = &spot->series[order[i]];

		if (s->rc)
			continue;
		if (stop_requested() || elapsed(st) + s->seconds > until)
			return false;
		what(st, spot, order[i]);
		progress_show(text("round %u of up to %d", st->rounds, ROUNDS_MAX),
			      (uint64_t)(elapsed(st) * 1e3),
			      (uint64_t)(st->opts->time_limit * 1e3));
	}
	return true;
}

static double seconds_of(const struct spot *spot)
{
	double sum = 0;

	for (unsigned int i = 0; i < strategies_n; i++)
		if (!spot->series[i].rc)
			sum += spot->series[i].seconds;
	return sum;
}

/* What comes last is dropped where not all have their rounds in time. */
static void warm_up(struct study *st)
{
	double limit = st->opts->time_limit, sum = 0, left;
	unsigned int least = st->opts->quick ? 3 : ROUNDS_LEAST;

	for (unsigned int i = 0; i < st->plan.n; i++) {
		struct spot *spot = &st->plan.spots[i];

		if (!visit(st, spot, WARM_UP_SHARE * limit, try_one))
			break;
		spot->reached = true;
	}
	left = ROUNDS_SHARE * limit - elapsed(st);
	for (unsigned int i = 0; i < st->plan.n; i++) {
		struct spot *spot = &st->plan.spots[i];

		sum += spot->reached ? seconds_of(spot) : 0;
		spot->dropped = i >= KEPT && (!spot->reached || sum * least > left);
	}
}

static bool one_round(struct study *st)
{
	bench_shuffle(st->order, st->plan.n);
	for (unsigned int i = 0; i < st->plan.n; i++) {
		struct spot *spot = &st->plan.spots[st->order[i]];

		if (!spot->dropped && !visit(st, spot, st->opts->time_limit, take_one))
			return false;
	}
	return true;
}

static void measure(struct study *st)
{
	unsigned int rounds = st->opts->quick ? ROUNDS_QUICK : ROUNDS_MAX;

	warm_up(st);
	while (st->rounds < rounds && !stop_requested()) {
		st->rounds++;
		if (!one_round(st))
			break;
	}
	progress_clear();
}

/* ------------------------------------------------------------------ devices */

/* So long that the files of all lanes fit into half of what is free. */
static uint64_t device_length(const struct study *st, enum device_kind kind)
{
	uint64_t len = plan_size_max(st->opts->quick),
		 room = sys_meminfo("MemAvailable");
	struct statvfs fs;

	if (kind == DEVICE_FILE)
		room = statvfs(st->opts->dir, &fs) ? 0 : fs.f_bavail * fs.f_frsize;
	while (len > 1u << 20 && len * 2 * LANES * 2 > room / 2)
		len /= 4;
	return len;
}

static json_t *device_json(enum device_kind kind, int rc, const char *what)
{
	return rc ? json_pack("{ss, ss, so}", "device", device_name(kind), "state",
			      bench_cannot(rc) ? "skipped" : "failed", "why",
			      json_text(bench_why))
		  : json_pack("{ss, so}", "device", device_name(kind), "what",
			      json_text(what));
}

static int open_device(struct study *st, enum device_kind kind, uint64_t len,
		       char *what, size_t size)
{
	static const char *const names[DEVICE_KINDS][2] = {
		{ "file", "file, with libucx" }, { "rdma", "rdma, with libucx" }
	};
	struct run_request req = { .op = RUN_OPEN, .point = { .size = len } };
	struct bench_answer a;
	int rc = 0;

	snprintf(req.dir, sizeof(req.dir), "%s", st->opts->dir);
	for (int ucx = 0; ucx < 2 && !rc; ucx++) {
		rc = lanes_start(&st->worker[kind][ucx], names[kind][ucx], kind, ucx);
		if (!rc)
			rc = worker_ask(&st->worker[kind][ucx], &req, sizeof(req), &a);
		if (!rc && !ucx)
			snprintf(what, size, "%.700s", a.text);
	}
	return rc;
}

/* A device that is not there is told, and is no failure. */
static int add_device(struct study *st, enum device_kind kind)
{
	uint64_t len = device_length(st, kind);
	char what[768] = "";
	int rc = open_device(st, kind, len, what, sizeof(what));

	json_array_append_new(st->devices, device_json(kind, rc, what));
	say_block(2, "%s: %s", device_name(kind), rc ? bench_why : what);
	if (!rc)
		return plan_make(&st->plan, kind, st->opts->quick, len);
	st->failed |= !bench_cannot(rc);
	return 0;
}

/* The first mounted file system with dax where this user may write. */
static void find_dax(struct study *st)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char line[4096], dir[512], options[1024];

	while (f && !st->dax[0] && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %511s %*s %1023s", dir, options) == 2 &&
		    (strstr(options, "dax=always") || strstr(options, ",dax,")) &&
		    !access(dir, W_OK))
			snprintf(st->dax, sizeof(st->dax), "%s", dir);
	if (f)
		fclose(f);
}

/* ------------------------------------------------------------------ command */

static void describe(struct study *st)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < strategies_n; i++)
		json_array_append_new(list, json_pack("{ss, ss}", "strategy",
						      strategies[i].name, "what",
						      strategies[i].what));
	json_object_set_new(st->root, "bench", json_string("strategies"));
	json_object_set_new(st->root, "machine", bench_machine());
	json_object_set_new(st->root, "quick", json_boolean(st->opts->quick));
	json_object_set_new(st->root, "time_limit_s", json_real(st->opts->time_limit));
	json_object_set_new(st->root, "strategies", list);
	json_object_set_new(st->root, "devices", st->devices);
}

static int run(struct study *st)
{
	int rc = 0;

	for (int kind = 0; kind < DEVICE_KINDS && !rc; kind++)
		rc = add_device(st, kind);
	if (rc)
		return bench_trouble(rc, "the plan", "out of memory");
	st->order = calloc(st->plan.n + 1, sizeof(*st->order));
	if (!st->order)
		return bench_trouble(-ENOMEM, "the plan", "out of memory");
	plan_sort(&st->plan);
	measure(st);
	json_object_set_new(st->root, "rounds", json_integer(st->rounds));
	json_object_set_new(st->root, "seconds", json_real(elapsed(st)));
	strategies_json(&st->plan, st->root);
	return findings_add(st->root) ? -EIO : 0;
}

int bench_strategies(const struct bench_options *opts, json_t *root)
{
	struct study st = { .opts = opts, .root = root, .begin = sys_now_ns() };
	int rc;

	st.devices = json_array();
	for (int kind = 0; kind < DEVICE_KINDS; kind++)
		for (int ucx = 0; ucx < 2; ucx++)
			st.worker[kind][ucx] =
				(struct bench_worker){ .pid = -1, .fd = -1 };
	find_dax(&st);
	describe(&st);
	rc = run(&st);
	for (int kind = 0; kind < DEVICE_KINDS; kind++)
		for (int ucx = 0; ucx < 2; ucx++)
			worker_stop(&st.worker[kind][ucx]);
	if (rc) {
		complain("%s", bench_why);
		json_object_set_new(root, "error", json_text(bench_why));
	} else {
		findings_show(root);
	}
	plan_free(&st.plan);
	free(st.order);
	return rc || st.failed || stop_requested() ? EXIT_NO : EXIT_YES;
}
