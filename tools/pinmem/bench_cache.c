/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache.c - `pinmem bench cache`: what libpinmem's registration cache costs, next
 * to libucx's: a hit by number of regions and threads, hits while somebody pins, a
 * miss, an invalidation, and memory. See bench_cache.h for how. The JSON is described
 * in docs/bench-json.md.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_cache_contest.h"
#include "sys.h"
#include "tool.h"

#define ROUNDS 9
#define ROUNDS_QUICK 7
/* A line has so many rounds, and each way a part of its time: 1 s is 80 ms a round. */
#define ROUND_SHARE 12

/**
 * struct line - the goals for hits over so many regions.
 * @faster:    than ucs_rcache, by number of threads; 0: no goal
 * @two_one:   two threads' cost over one's
 * @reference: on the reference machine, for information; ns
 */
struct line {
	unsigned int regions;
	double faster[THREADS], two_one, reference;
};

static const struct line lines[] = {
	{ 1, { 10, 100 }, 1.2, 4 },
	{ 64, { 7, 80 }, 1.2, 6 },
	{ SMALL_REGIONS, { 4, 60 }, 1.2, 10 },
	{ 100000, { 3, 30 }, 1.3, 25 },
	{ LARGE_REGIONS, { 0, 0 }, 1.3, 40 },
};
#define QUICK_LINES 4
#define UNMAP_REGIONS 100000

/* ------------------------------------------------------------- shared with the parts
 */

static int ask_in_turn(void *ctx, int round)
{
	struct series *s = ctx;
	struct bench_answer a;
	int rc = cache_ask(s->worker, &s->req, &a);

	for (unsigned int i = 0; i < ANSWER_VALUES && !rc && round >= 0; i++)
		s->v[i][round] = a.v[i];
	return rc;
}

int turns(struct contest *c, const char *what, struct series *s, unsigned int n)
{
	struct bench_way ways[BENCH_WAYS_MAX];

	for (unsigned int i = 0; i < n; i++)
		ways[i] = (struct bench_way){ ask_in_turn, &s[i] };
	return bench_take_turns(what, ways, n, c->rounds);
}

double median(const struct contest *c, const struct series *s, int value)
{
	return bench_median(s->v[value], c->rounds);
}

double spread(const struct contest *c, const struct series *s, int value)
{
	return bench_spread(s->v[value], c->rounds);
}

double ratio(const struct contest *c, const struct series *a, const struct series *b,
	     int value)
{
	return bench_ratio(a->v[value], b->v[value], c->rounds);
}

const char *side_name(int side)
{
	return side == OURS ? "pinmem" : "ucx";
}

const char *verdict_text(bool met)
{
	return met ? "met" : "short";
}

json_t *goal_json(double value, double goal, bool met)
{
	return json_pack("{sf, sf, sb}", "value", value, "goal", goal, "met", met);
}

void say_why(struct contest *c, json_t *o, int rc)
{
	const char *state = rc == -EDQUOT ? "skipped" : "failed";

	say_block(6, "%s: %s", state, bench_why);
	json_object_set_new(o, "state", json_string(state));
	json_object_set_new(o, "why", json_text(bench_why));
	c->failed |= rc != -EDQUOT;
}

/* ------------------------------------------------------------------------ hits */

static const struct column hits_cols[] = {
	{ "regions", 7, true }, { "threads", 7, true }, { "pinmem", 7, true },
	{ "ucx", 7, true },	{ "faster", 7, true },	{ "goal", 7, true },
	{ "", 5, false },	{ "2 to 1", 6, true },	{ "goal", 7, true },
	{ "", 5, false },	{ "hoped", 7, true },	{ "spread", 6, true },
};

/**
 * struct hits - a line's series, by threads, then by side.
 * @fill_ns: registering a region through the cache
 */
struct hits {
	struct series s[THREADS * SIDES];
	int threads;
	double fill_ns[SIDES];
};

static struct series *of(const struct contest *c, struct hits *h, int side, int threads)
{
	return &h->s[threads * c->sides + side];
}

/* Hits are short: tenths of a nanosecond count. */
static const char *hit_text(double ns)
{
	return ns < 100 ? text("%.1f ns", ns) : time_text(ns);
}

/** struct shown - a row's numbers. @theirs, @faster, @two_one: 0: there is none */
struct shown {
	double ours, theirs, faster, two_one, wide;
};

static struct shown numbers(const struct contest *c, struct hits *h, int threads)
{
	struct series *ours = of(c, h, OURS, threads), *ucx = of(c, h, UCX, threads);
	struct shown n = { .ours = median(c, ours, HIT_NS),
			   .wide = spread(c, ours, HIT_NS) };

	if (c->sides == SIDES) {
		n.theirs = median(c, ucx, HIT_NS);
		n.faster = ratio(c, ucx, ours, HIT_NS);
	}
	if (threads == TWO)
		n.two_one = ratio(c, ours, of(c, h, OURS, ONE), HIT_NS);
	return n;
}

static void hits_row(struct table *t, const struct line *line, int threads,
		     const struct shown *n)
{
	double goal = n->theirs ? line->faster[threads] : 0;

	ROW(t, threads == ONE ? text("%u", line->regions) : NULL,
	    text("%d", threads + 1), hit_text(n->ours),
	    n->theirs ? hit_text(n->theirs) : NULL,
	    n->theirs ? text("%.1f x", n->faster) : NULL,
	    goal ? text("≥ %.0f x", goal) : NULL,
	    goal ? verdict_text(n->faster >= goal) : NULL,
	    n->two_one ? text("%.2f x", n->two_one) : NULL,
	    n->two_one ? text("≤ %.1f x", line->two_one) : NULL,
	    n->two_one ? verdict_text(n->two_one <= line->two_one) : NULL,
	    threads == ONE ? text("%.0f ns", line->reference) : NULL,
	    text("%.0f %%", 100 * n->wide));
}

static json_t *side_json(const struct contest *c, const struct series *s,
			 double fill_ns)
{
	return json_pack("{sf, sf, sf, sf, sf}", "ns", median(c, s, HIT_NS), "spread",
			 spread(c, s, HIT_NS), "loop_ns", median(c, s, HIT_LOOP_NS),
			 "share", median(c, s, HIT_SHARE), "fill_ns", fill_ns);
}

static void hits_json(const struct contest *c, const struct line *line, struct hits *h,
		      int threads, const struct shown *n, json_t *o)
{
	double goal = line->faster[threads];

	for (int side = OURS; side < c->sides; side++)
		json_object_set_new(
			o, side_name(side),
			side_json(c, of(c, h, side, threads), h->fill_ns[side]));
	if (n->theirs)
		json_object_set_new(o, "faster",
				    goal ? goal_json(n->faster, goal, n->faster >= goal)
					 : json_pack("{sf}", "value", n->faster));
	if (n->two_one)
		json_object_set_new(o, "two_to_one",
				    goal_json(n->two_one, line->two_one,
					      n->two_one <= line->two_one));
	if (threads == ONE)
		json_object_set_new(o, "reference_ns", json_real(line->reference));
}

static int fill(struct contest *c, struct bench_worker w[SIDES], unsigned int n,
		struct hits *h)
{
	const struct cache_request req = { .op = OP_FILL, .n = n };
	struct bench_answer a;
	int rc = 0;

	for (int side = OURS; side < c->sides && !rc; side++) {
		rc = cache_ask(&w[side], &req, &a);
		h->fill_ns[side] = a.v[FILL_NS];
	}
	return rc;
}

static int measure_hits(struct contest *c, const struct line *line, struct hits *h)
{
	struct bench_worker *w = line->regions > SMALL_REGIONS ? c->large : c->small;
	int rc = fill(c, w, line->regions, h);

	if (rc)
		return rc;
	h->threads = sys_cpus() < THREADS ? 1 : THREADS;
	for (int threads = ONE; threads < h->threads; threads++)
		for (int side = OURS; side < c->sides; side++)
			*of(c, h, side, threads) = (struct series){
				.worker = &w[side],
				.req = { .op = OP_HITS,
					 .n = (unsigned int)threads + 1,
					 .seconds = c->round_seconds },
			};
	return turns(c, text("hits, %u regions", line->regions), h->s,
		     (unsigned int)(h->threads * c->sides));
}

static json_t *line_json(const struct line *line, int threads, json_t *list)
{
	json_t *o = json_pack("{si, si}", "regions", (int)line->regions, "threads",
			      threads + 1);

	json_array_append_new(list, o);
	return o;
}

static bool hits_line(struct contest *c, struct table *t, unsigned int number,
		      json_t *list)
{
	const struct line *line = &lines[number];
	static struct hits h;
	int rc;

	memset(&h, 0, sizeof(h));
	rc = measure_hits(c, line, &h);
	if (rc) {
		ROW(t, text("%u", line->regions), NULL, NULL, NULL, NULL, NULL, NULL,
		    NULL, NULL, NULL, NULL, NULL);
		say_why(c, line_json(line, ONE, list), rc);
		return false;
	}
	for (int threads = ONE; threads < h.threads; threads++) {
		struct shown n = numbers(c, &h, threads);

		hits_row(t, line, threads, &n);
		hits_json(c, line, &h, threads, &n, line_json(line, threads, list));
	}
	return true;
}

/* A contest against slow atomic operations is won more easily. */
static void say_floor(struct contest *c)
{
	const struct cache_request req = { .op = OP_FLOOR,
					   .seconds = c->round_seconds };
	struct bench_answer a;

	if (cache_ask(&c->small[OURS], &req, &a))
		return;
	say_block(
		2,
		"2 to 1: what each of two threads pays, over what one alone pays. "
		"Hoped: for one thread, on the machine that the goals come from. On "
		"this one two calls that do nothing take %s, and two atomic additions "
		"on a line that nobody shares %s.",
		hit_text(a.v[FLOOR_CALLS]), hit_text(a.v[FLOOR_ATOMICS]));
	json_object_set_new(c->root, "floor",
			    json_pack("{sf, sf}", "two_calls_ns", a.v[FLOOR_CALLS],
				      "two_atomics_ns", a.v[FLOOR_ATOMICS]));
}

/* What is to be measured of many regions is, as soon as there are so many. */
static void bench_hits(struct contest *c)
{
	unsigned int n = c->opts->quick ? QUICK_LINES : ARRAY_SIZE(lines), done = 0;
	static struct unmaps unmaps;
	json_t *list = json_array();
	struct table *t;

	json_object_set_new(c->root, "hits", list);
	heading("Hits: one get and put, random over regions of 64 KiB, for each "
		"thread");
	t = table_new(hits_cols, ARRAY_SIZE(hits_cols), true);
	unmaps.rc = -ECANCELED;
	while (done < n && !stop_requested() && hits_line(c, t, done, list))
		if (lines[done++].regions == UNMAP_REGIONS)
			measure_unmap(c, &unmaps);
	table_end(t);
	if (done && !stop_requested())
		say_floor(c);
	if (done && lines[done - 1].regions > SMALL_REGIONS && !stop_requested()) {
		show_unmaps(c, &unmaps);
		bench_memory(c, lines[done - 1].regions);
	}
}

/* ------------------------------------------------------------------- command */

/* Ours must be there; without libucx there is nothing to compare with, that is all. */
static int start_pair(struct contest *c, struct bench_worker w[SIDES],
		      enum setting setting)
{
	int rc = cache_start(&w[OURS], &pinmem_cache_peer, setting, c->monitor);

	if (rc || c->sides < SIDES ||
	    !cache_start(&w[UCX], &ucx_cache_peer, setting, NULL))
		return rc;
	c->sides = OURS + 1;
	say_block(2, "%s", bench_why);
	json_object_set_new(c->root, "ucx_why", json_text(bench_why));
	return 0;
}

static void stop_pair(struct bench_worker w[SIDES])
{
	for (int side = OURS; side < SIDES; side++)
		worker_stop(&w[side]);
}

static void run(struct contest *c)
{
	say_block(2, "Changes of mappings are told by: %s.", c->monitor);
	bench_hits(c);
	stop_pair(c->large);
	if (!stop_requested())
		bench_miss(c);
	if (!stop_requested())
		bench_tail(c);
}

static void describe(const struct contest *c)
{
	json_object_set_new(c->root, "bench", json_string("cache"));
	json_object_set_new(c->root, "machine", bench_machine());
	json_object_set_new(c->root, "rounds", json_integer(c->rounds));
	json_object_set_new(c->root, "round_seconds", json_real(c->round_seconds));
	json_object_set_new(c->root, "ucx", json_boolean(c->sides == SIDES));
	json_object_set_new(c->root, "monitor", json_string(c->monitor));
}

int bench_cache(const struct bench_options *opts, json_t *root)
{
	static struct contest c;
	int rc;

	c = (struct contest){ .opts = opts, .root = root, .sides = SIDES };
	c.rounds = opts->quick ? ROUNDS_QUICK : ROUNDS;
	c.round_seconds = opts->seconds / ROUND_SHARE;
	for (int side = OURS; side < SIDES; side++)
		c.small[side].fd = c.large[side].fd = -1;
	say_block(
		0,
		"pinmem %s and libucx's ucs_rcache, each in a process of its own, over "
		"a pinner of libpinmem, in turns; medians of %u rounds of %.0f ms.",
		pinmem_version(), c.rounds, 1e3 * c.round_seconds);
	rc = start_pair(&c, c.small, SETTING_SMALL);
	if (!rc)
		rc = start_pair(&c, c.large, SETTING_LARGE);
	describe(&c);
	if (!rc) {
		run(&c);
	} else {
		complain("%s", bench_why);
		json_object_set_new(root, "error", json_text(bench_why));
		c.failed = true;
	}
	stop_pair(c.small);
	stop_pair(c.large);
	return c.failed || stop_requested() ? EXIT_NO : EXIT_YES;
}
