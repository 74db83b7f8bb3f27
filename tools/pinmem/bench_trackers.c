/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_trackers.c - `pinmem bench trackers`: what it costs to know which pages are
 * pinned, and how often the answer is wrong, for the ways that the kernel's developers
 * argued about. In each round all trackers take turns, on the same memory, and a ratio
 * is of neighbours in a round, so that what the machine does meanwhile hits all alike.
 * The JSON: docs/bench-json.md.
 */
#include "bench_trackers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

#define ROUNDS 15
#define ROUNDS_QUICK 7
#define RUNS_MAX 1000ul
#define RUNS_LEAST 8ul
#define JUDGE_RUNS 1000ul
#define JUDGE_RUNS_QUICK 200ul
/* Pins that are held while their memory is measured. */
#define HELD_PINS TRACKER_THREADS_MAX
/* Free memory that must be left. */
#define MEMORY_SPARE (256ull << 20)

_Static_assert(TRACKERS <= BENCH_WAYS_MAX, "the trackers take turns");
_Static_assert(ROUNDS <= BENCH_ROUNDS_MAX, "the series have room");

/** struct study - @left_out: what was not measured, and why */
struct study {
	const struct bench_options *opts;
	unsigned int rounds;
	json_t *left_out;
};

static int leave_out(const struct study *st, const char *what)
{
	return json_array_append_new(
		st->left_out,
		json_pack("{ss, so}", "what", what, "why", json_text(bench_why)));
}

/* ---------------------------------------------------------------------- cost */

/** struct place - @pages: of a pin */
struct place {
	unsigned long pages;
	enum memory_kind kind;
	unsigned int threads;
};

enum quantity { PIN, UNPIN, BOTH, IRQ_UNPIN, QUERY, QUANTITIES };
static const char *const quantities[QUANTITIES] = { "pin", "unpin", "pin_unpin",
						    "irq_unpin", "query" };

/**
 * struct series - a tracker's rounds at a place.
 * @run: the same in each round
 */
struct series {
	struct tracker_run run;
	double ns[QUANTITIES][BENCH_ROUNDS_MAX];
	unsigned long long queries, false_negatives, lost_dirty;
};

static int one_round(void *ctx, int round)
{
	struct series *s = ctx;
	struct tracker_figures f;
	int rc;

	rc = tracker_bench(&s->run, &f);
	if (rc || round < 0)
		return rc;
	s->ns[PIN][round] = (double)f.pin_ns;
	s->ns[UNPIN][round] = (double)f.unpin_ns;
	s->ns[BOTH][round] = (double)(f.pin_ns + f.unpin_ns);
	s->ns[IRQ_UNPIN][round] = (double)f.irq_unpin_ns;
	s->ns[QUERY][round] = (double)f.query_ns;
	s->queries += f.queries;
	s->false_negatives += f.false_negatives;
	s->lost_dirty += f.lost_dirty;
	return 0;
}

/* Quartiles of the ratios of neighbours; where a divisor is 0 there is none. */
static json_t *ratios(const struct series *s, const struct series *to,
		      unsigned int rounds)
{
	json_t *o = json_object();

	for (unsigned int q = 0; q < QUANTITIES; q++) {
		double r[BENCH_ROUNDS_MAX];
		unsigned int n = 0;
		struct quartiles of;

		for (unsigned int i = 0; i < rounds; i++)
			if (to->ns[q][i] > 0)
				r[n++] = s->ns[q][i] / to->ns[q][i];
		if (n < rounds)
			continue;
		of = bench_quartiles(r, n);
		json_object_set_new(o, quantities[q],
				    json_pack("{sf, sf, sf}", "ratio", of.median, "low",
					      of.low, "high", of.high));
	}
	return o;
}

static json_t *series_json(const struct series *s, const struct series *all,
			   unsigned int rounds)
{
	json_t *o =
		json_pack("{ss, si, sI, sI, sI, sI}", "tracker",
			  tracker_names[s->run.tracker], "rounds", (int)rounds, "runs",
			  (json_int_t)s->run.runs, "queries", (json_int_t)s->queries,
			  "false_negatives", (json_int_t)s->false_negatives,
			  "lost_dirty", (json_int_t)s->lost_dirty);

	for (unsigned int q = 0; q < QUANTITIES; q++)
		json_object_set_new(o, quantities[q],
				    json_pack("{sf, sf}", "ns",
					      bench_median(s->ns[q], rounds), "spread",
					      bench_spread(s->ns[q], rounds)));
	json_object_set_new(o, "to_bias", ratios(s, &all[BIAS], rounds));
	if (s->run.tracker == DIRTY_AT_PIN)
		json_object_set_new(o, "to_dirty_at_unpin",
				    ratios(s, &all[DIRTY_AT_UNPIN], rounds));
	return o;
}

/* As many runs as fill a round's time with the slowest tracker. All do as many: the
 * first ones, on cold caches, must weigh alike. */
static int find_runs(const struct study *st, struct tracker_run run,
		     unsigned long *runs)
{
	double most = 1e9 * st->opts->seconds / st->rounds, slowest = 1, ns;
	struct tracker_figures f;
	int rc;

	run.runs = RUNS_LEAST;
	for (run.tracker = BIAS; run.tracker < TRACKERS; run.tracker++) {
		rc = tracker_bench(&run, &f);
		if (rc)
			return rc;
		ns = (double)(f.pin_ns + f.unpin_ns + f.irq_unpin_ns +
			      f.query_ns * run.pages);
		slowest = ns > slowest ? ns : slowest;
	}
	*runs = most / slowest > RUNS_MAX ? RUNS_MAX : (unsigned long)(most / slowest);
	if (*runs < RUNS_LEAST)
		*runs = RUNS_LEAST;
	return 0;
}

static int take_turns(const struct study *st, const struct place *p, void *addr,
		      struct series *all)
{
	struct tracker_run run = { .addr = addr,
				   .pages = p->pages,
				   .threads = p->threads };
	struct bench_way ways[TRACKERS];
	int rc = find_runs(st, run, &run.runs);

	if (rc)
		return rc;
	for (unsigned int t = 0; t < TRACKERS; t++) {
		all[t].run = run;
		all[t].run.tracker = t;
		ways[t] = (struct bench_way){ one_round, &all[t] };
	}
	return bench_take_turns(text("cost, %lu page%s, %u thread%s", p->pages,
				     p->pages > 1 ? "s" : "", p->threads,
				     p->threads > 1 ? "s" : ""),
				ways, TRACKERS, st->rounds);
}

static json_t *place_json(const struct place *p, const struct series *all,
			  unsigned int rounds)
{
	json_t *list = json_array();

	for (unsigned int t = 0; t < TRACKERS; t++)
		json_array_append_new(list, series_json(&all[t], all, rounds));
	return json_pack("{sI, sI, ss, si, so}", "pages", (json_int_t)p->pages, "len",
			 (json_int_t)(p->pages * sys_page()), "memory",
			 memory_name(p->kind), "threads", (int)p->threads, "trackers",
			 list);
}

/* Memory that is there already: a pin does not fault it in. */
static int make_memory(struct memory *m, enum memory_kind kind, size_t len)
{
	uint64_t free_bytes = sys_meminfo("MemAvailable");

	if (free_bytes < len + MEMORY_SPARE) {
		snprintf(bench_why, sizeof(bench_why),
			 "%s are wanted and %s more left free, %s are available",
			 size_text(len), size_text(MEMORY_SPARE),
			 size_text(free_bytes));
		return -ENOMEM;
	}
	if (memory_make(kind, len, NULL, m)) {
		bench_trouble(-ENOTSUP, memory_label(kind), m->why);
		memory_drop(m);
		return -ENOTSUP;
	}
	memory_touch(m->addr, m->len);
	return 0;
}

static int measure_place(const struct study *st, const struct place *p, json_t *list)
{
	struct series *all = calloc(TRACKERS, sizeof(*all));
	struct memory m;
	int rc;

	if (!all)
		return bench_trouble(-ENOMEM, "the series", "out of memory");
	rc = make_memory(&m, p->kind, p->pages * p->threads * sys_page());
	if (rc) {
		leave_out(st, text("cost of %lu pages, %s", p->pages,
				   memory_name(p->kind)));
		rc = 0;
		goto free_series;
	}
	rc = take_turns(st, p, m.addr, all);
	if (!rc)
		json_array_append_new(list, place_json(p, all, st->rounds));
	memory_drop(&m);
free_series:
	free(all);
	return rc;
}

static int measure_costs(const struct study *st, json_t *list)
{
	static const struct place places[] = {
		{ 1, MEM_ANON, 0 },
		{ 16, MEM_ANON, 0 },
		{ 512, MEM_ANON, 0 },
		{ 512, MEM_THP, 0 },
		{ TRACKER_PAGES_MAX, MEM_ANON, 0 },
		{ TRACKER_PAGES_MAX, MEM_THP, 0 },
	};
	size_t n = ARRAY_SIZE(places) - (st->opts->quick ? 2 : 0);
	int rc = 0;

	for (unsigned int threads = 1; threads <= 2; threads++)
		for (size_t i = 0; i < n && !rc; i++) {
			struct place p = places[i];

			p.threads = threads;
			rc = measure_place(st, &p, list);
		}
	snprintf(bench_why, sizeof(bench_why),
		 "the kernel's benchmark pins %lu pages at once, %s; so 1 GiB is "
		 "measured "
		 "as memory of %lu such pins",
		 TRACKER_PAGES_MAX, size_text(TRACKER_PAGES_MAX * sys_page()),
		 HELD_PINS);
	leave_out(st, "cost of one pin of 1 GiB");
	return rc;
}

/* -------------------------------------------------------------------- memory */

static int measure_held(const struct study *st, struct tracker_run run,
			json_t *trackers)
{
	double bytes[3], median;
	unsigned int rounds = st->opts->quick ? 1 : ARRAY_SIZE(bytes);
	struct tracker_figures f;
	int rc;

	for (unsigned int i = 0; i < rounds; i++) {
		rc = stop_requested()
			     ? bench_trouble(-ECANCELED, "memory", "interrupted")
			     : tracker_bench(&run, &f);
		if (rc)
			return rc;
		bytes[i] = (double)f.bytes_per_pin;
	}
	median = bench_median(bytes, rounds);
	json_array_append_new(
		trackers,
		json_pack("{ss, sf, sf, sf, si}", "tracker", tracker_names[run.tracker],
			  "bytes_per_pin", median, "bytes_per_page",
			  median / (double)run.pages, "spread",
			  bench_spread(bytes, rounds), "rounds", (int)rounds));
	return 0;
}

static int measure_pins(const struct study *st, unsigned long pages, json_t *list)
{
	struct tracker_run run = { .pages = pages, .threads = HELD_PINS, .runs = 1 };
	size_t len = pages * HELD_PINS * sys_page();
	json_t *trackers;
	struct memory m;
	/* huge pages: a gigabyte is there soon, and its pages count alike */
	int rc = make_memory(&m, pages < 512 ? MEM_ANON : MEM_THP, len);

	if (rc) {
		leave_out(st, text("memory of %s pinned", size_text(len)));
		return 0;
	}
	trackers = json_array();
	run.addr = m.addr;
	for (run.tracker = BIAS; run.tracker <= HEURISTIC && !rc; run.tracker++) {
		progress_show(text("memory of %s", size_text(len)), run.tracker,
			      HEURISTIC + 1);
		rc = measure_held(st, run, trackers);
	}
	progress_clear();
	memory_drop(&m);
	json_array_append_new(list,
			      json_pack("{si, sI, sI, so}", "pins", (int)HELD_PINS,
					"pages", (json_int_t)pages, "len",
					(json_int_t)len, "trackers", trackers));
	return rc;
}

/* While as many pins are held as the kernel's benchmark has threads. */
static int measure_memory(const struct study *st, json_t *list)
{
	static const unsigned long sizes[] = { 1, 512, TRACKER_PAGES_MAX };
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes) && !rc; i++)
		rc = measure_pins(st, sizes[i], list);
	return rc;
}

/* ------------------------------------------------------------------- answers */

/** struct judged - @wrong: shares, of the rounds */
struct judged {
	struct tracker_run run;
	double wrong[BENCH_ROUNDS_MAX];
	unsigned long long queries, false_positives, false_negatives;
};

static int judge(void *ctx, int round)
{
	struct judged *j = ctx;
	struct tracker_figures f;
	int rc;

	rc = tracker_bench(&j->run, &f);
	if (rc || round < 0)
		return rc;
	j->wrong[round] = (double)(f.false_positives + f.false_negatives) /
			  (double)(f.queries ? f.queries : 1);
	j->queries += f.queries;
	j->false_positives += f.false_positives;
	j->false_negatives += f.false_negatives;
	return 0;
}

static json_t *judged_json(const struct judged *j, unsigned int rounds)
{
	struct quartiles wrong = bench_quartiles(j->wrong, rounds);

	return json_pack("{ss, si, sI, sI, sI, sI, sf, sf, sf}", "tracker",
			 tracker_names[j->run.tracker], "rounds", (int)rounds, "runs",
			 (json_int_t)j->run.runs, "queries", (json_int_t)j->queries,
			 "false_positives", (json_int_t)j->false_positives,
			 "false_negatives", (json_int_t)j->false_negatives, "wrong",
			 wrong.median, "low", wrong.low, "high", wrong.high);
}

/** struct judges - trackers that are asked while the pages are disturbed. */
struct judges {
	struct judged of[HEURISTIC + 1];
};

static json_t *answers_json(const struct study *st, const struct disturbance *d,
			    const char *when, const struct judges *all)
{
	unsigned long turns = __atomic_load_n(&d->turns, __ATOMIC_RELAXED);
	json_t *trackers = json_array();

	for (unsigned int t = BIAS; t <= HEURISTIC; t++)
		json_array_append_new(trackers, judged_json(&all->of[t], st->rounds));
	return json_pack("{ss, ss, ss, sI, sI, so}", "memory",
			 memory_name(d->memory.kind), "transient",
			 transient_names[d->what], "when", when, "turns",
			 (json_int_t)turns, "pages", (json_int_t)DISTURBED_PAGES,
			 "trackers", trackers);
}

/* @when: "during", or "after" it has ended. */
static int judge_all(const struct study *st, const struct disturbance *d,
		     const char *when, json_t *list)
{
	struct judges *all = calloc(1, sizeof(*all));
	struct bench_way ways[HEURISTIC + 1];
	int rc;

	if (!all)
		return bench_trouble(-ENOMEM, "the answers", "out of memory");
	for (unsigned int t = BIAS; t <= HEURISTIC; t++) {
		all->of[t].run = (struct tracker_run){
			.tracker = t,
			.classify = true,
			.addr = d->memory.addr,
			.pages = DISTURBED_PAGES,
			.threads = 1,
			.runs = st->opts->quick ? JUDGE_RUNS_QUICK : JUDGE_RUNS,
		};
		ways[t] = (struct bench_way){ judge, &all->of[t] };
	}
	rc = bench_take_turns(text("answers, %s", transient_names[d->what]), ways,
			      HEURISTIC + 1, st->rounds);
	if (!rc)
		json_array_append_new(list, answers_json(st, d, when, all));
	free(all);
	return rc;
}

static int measure_disturbed(const struct study *st, enum memory_kind kind,
			     enum transient what, json_t *list)
{
	struct disturbance d;
	int rc = disturbance_start(&d, kind, what);

	if (!rc)
		rc = judge_all(st, &d, "during", list);
	if (!rc)
		rc = disturbance_stop(&d);
	if (!rc && what != NOTHING)
		rc = judge_all(st, &d, "after", list);
	disturbance_drop(&d);
	if (rc != -EOPNOTSUPP)
		return rc;
	leave_out(st, text("answers while %s, %s", transient_names[what],
			   memory_name(kind)));
	return 0;
}

static int measure_answers(const struct study *st, json_t *list)
{
	static const enum memory_kind kinds[] = { MEM_ANON, MEM_MEMFD };
	int rc = 0;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (enum transient what = NOTHING; what < TRANSIENTS && !rc; what++)
			if (what != LOOKUP || kinds[k] == MEM_MEMFD)
				rc = measure_disturbed(st, kinds[k], what, list);
	return rc;
}

/* ----------------------------------------------------------------------- all */

static int measure(const struct study *st, json_t *root)
{
	static const struct {
		const char *key;
		int (*fn)(const struct study *st, json_t *list);
	} parts[] = { { "cost", measure_costs },
		      { "memory", measure_memory },
		      { "answers", measure_answers } };
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && !rc; i++) {
		json_t *list = json_array();

		rc = parts[i].fn(st, list);
		json_object_set_new(root, parts[i].key, list);
	}
	return rc;
}

static int give_up(json_t *root)
{
	complain("bench trackers: %s", bench_why);
	json_object_set_new(root, "error", json_text(bench_why));
	return EXIT_NO;
}

static int recorded(const char *file, json_t *root)
{
	json_error_t error;
	json_t *from = json_load_file(file, 0, &error);
	const char *name = json_string_value(json_object_get(from, "bench"));

	if (!from)
		snprintf(bench_why, sizeof(bench_why), "%s: %s", file, error.text);
	else if (!name || strcmp(name, "trackers") != 0)
		snprintf(bench_why, sizeof(bench_why),
			 "%s is no run of `pinmem bench trackers`: its bench is '%s'",
			 file, name ? name : "");
	else if (!json_object_update(root, from)) {
		json_decref(from);
		return 0;
	}
	json_decref(from);
	return -EINVAL;
}

static int new_run(const struct bench_options *opts, json_t *root)
{
	struct study st = { .opts = opts,
			    .rounds = opts->quick ? ROUNDS_QUICK : ROUNDS,
			    .left_out = json_array() };
	uint64_t begin = sys_now_ns();
	int rc = tracker_bench_there();

	json_object_set_new(root, "bench", json_string("trackers"));
	json_object_set_new(root, "machine", bench_machine());
	json_object_set_new(root, "rounds", json_integer(st.rounds));
	json_object_set_new(root, "left_out", st.left_out);
	if (!rc)
		rc = measure(&st, root);
	json_object_set_new(root, "seconds",
			    json_real((double)(sys_now_ns() - begin) / 1e9));
	return rc;
}

bool bench_trackers_there(void)
{
	return !tracker_bench_there();
}

int bench_trackers(const struct bench_options *opts, json_t *root)
{
	int rc = opts->from ? recorded(opts->from, root) : new_run(opts, root);

	if (rc)
		return give_up(root);
	if (trackers_claims(root)) {
		bench_trouble(-ENOMEM, "the claims", "out of memory");
		return give_up(root);
	}
	trackers_show(root);
	return EXIT_YES;
}
