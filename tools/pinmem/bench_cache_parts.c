/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_parts.c - of `pinmem bench cache` all but the hits: a miss, hits while
 * somebody pins, an invalidation, memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_cache_contest.h"
#include "tool.h"

#define GIB (1ull << 30)

#define GOAL_TAIL 3.0
#define GOAL_MISS_NS 1000.0
#define GOAL_UNMAP_NS 5000.0
#define GOAL_BYTES 200.0

/* Only ours has goals. */
static const char *goal_cell(int side, const char *goal)
{
	return side == OURS ? goal : NULL;
}

static const char *time_cell(const struct contest *c, const struct series *s, int value)
{
	return time_text(median(c, s, value));
}

static json_t *time_json(const struct contest *c, const struct series *s, int value)
{
	return json_real(median(c, s, value));
}

static json_t *part(struct contest *c, const char *name)
{
	json_t *o = json_object();

	json_object_set_new(c->root, name, o);
	return o;
}

/* A number of one side, with the goal if the side is ours. */
static json_t *side_goal(int side, double value, double goal)
{
	return side == OURS ? goal_json(value, goal, value <= goal)
			    : json_pack("{sf}", "value", value);
}

/* -------------------------------------------------------- hits while another pins */

static json_t *tail_json(const struct contest *c, const struct series *s)
{
	static const struct {
		const char *name;
		int value;
	} fields[] = {
		{ "p50_ns", TAIL_P50 },	  { "p99_ns", TAIL_P99 },
		{ "p999_ns", TAIL_P999 }, { "max_ns", TAIL_MAX },
		{ "hits", TAIL_HITS },	  { "pin_ns", TAIL_PIN_NS },
	};
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		json_object_set_new(o, fields[i].name,
				    time_json(c, s, fields[i].value));
	return o;
}

/* @s: idle, pinning */
static void show_tail(struct contest *c, struct table *t, const struct series s[2],
		      int side, json_t *o)
{
	static const char *const when[] = { "idle", "pinning" };
	double worse = ratio(c, &s[1], &s[0], TAIL_P999);
	json_t *one = json_object();

	for (int i = 0; i < 2; i++) {
		ROW(t, i ? NULL : side_name(side), when[i],
		    time_cell(c, &s[i], TAIL_P50), time_cell(c, &s[i], TAIL_P99),
		    time_cell(c, &s[i], TAIL_P999), time_cell(c, &s[i], TAIL_MAX),
		    text("%.0f", median(c, &s[i], TAIL_HITS)),
		    i ? text("%.1f x", worse) : NULL,
		    i ? goal_cell(side, text("≤ %.0f x", GOAL_TAIL)) : NULL,
		    i ? goal_cell(side, verdict_text(worse <= GOAL_TAIL)) : NULL);
		json_object_set_new(one, when[i], tail_json(c, &s[i]));
	}
	json_object_set_new(one, "p999_ratio", side_goal(side, worse, GOAL_TAIL));
	json_object_set_new(o, side_name(side), one);
}

static void show_tails(struct contest *c, struct series s[SIDES][2], json_t *o)
{
	static const struct column cols[] = {
		{ "", 6, false },    { "", 7, false },	   { "p50", 7, true },
		{ "p99", 7, true },  { "p99.9", 7, true }, { "longest", 7, true },
		{ "hits", 7, true }, { "p99.9", 8, true }, { "goal", 5, true },
		{ "", 5, false },
	};
	struct table *t = table_new(cols, ARRAY_SIZE(cols), true);

	for (int side = OURS; side < c->sides; side++)
		show_tail(c, t, s[side], side, o);
	table_end(t);
	json_object_set_new(o, "clock_ns", time_json(c, &s[OURS][0], TAIL_CLOCK_NS));
	say_block(2, "Each hit is timed alone; one look at the clock, %s, is in all.",
		  time_cell(c, &s[OURS][0], TAIL_CLOCK_NS));
}

void bench_tail(struct contest *c)
{
	uint64_t len = c->opts->quick ? GIB / 4 : GIB;
	static struct series s[SIDES][2];
	json_t *o = part(c, "tail");
	int rc;

	heading("Hits to other regions while another thread pins %s on 4 KiB pages",
		size_text(len));
	for (int side = OURS; side < SIDES; side++)
		for (int i = 0; i < 2; i++)
			s[side][i] = (struct series){
				.worker = &c->small[side],
				.req = { .op = OP_TAIL,
					 .len = i ? len : 0,
					 .seconds = c->round_seconds },
			};
	json_object_set_new(o, "len", json_integer((json_int_t)len));
	rc = turns(c, "hits while another thread pins", s[OURS],
		   2 * (unsigned int)c->sides);
	if (rc)
		say_why(c, o, rc);
	else
		show_tails(c, s, o);
}

/* -------------------------------------------------------------------- a miss */

static void show_miss(struct contest *c, struct table *t, const struct series *s,
		      int side, json_t *o)
{
	double more = median(c, s, MISS_OVER_RAW), wide = spread(c, s, MISS_MISS);
	json_t *one = json_object();

	ROW(t, side_name(side), time_cell(c, s, MISS_RAW), time_cell(c, s, MISS_REG),
	    time_cell(c, s, MISS_MISS), time_text(more),
	    goal_cell(side, text("≤ +%s", time_text(GOAL_MISS_NS))),
	    goal_cell(side, verdict_text(more <= GOAL_MISS_NS)),
	    time_cell(c, s, MISS_OVER_REG), text("%.0f %%", 100 * wide));
	json_object_set_new(one, "raw_ns", time_json(c, s, MISS_RAW));
	json_object_set_new(one, "reg_ns", time_json(c, s, MISS_REG));
	json_object_set_new(one, "miss_ns", time_json(c, s, MISS_MISS));
	json_object_set_new(one, "over_raw_ns", side_goal(side, more, GOAL_MISS_NS));
	json_object_set_new(one, "over_reg_ns", time_json(c, s, MISS_OVER_REG));
	json_object_set_new(one, "spread", json_real(wide));
	json_object_set_new(o, side_name(side), one);
}

void bench_miss(struct contest *c)
{
	static const struct column cols[] = {
		{ "", 6, false },	    { "raw pin", 7, true },
		{ "pinmem_reg", 10, true }, { "miss", 7, true },
		{ "over raw", 8, true },    { "goal", 7, true },
		{ "", 5, false },	    { "over reg", 8, true },
		{ "spread", 6, true },
	};
	static struct series s[SIDES];
	json_t *o = part(c, "miss");
	struct table *t;
	int rc;

	heading("A miss: insert, first get and put of 64 KiB");
	for (int side = OURS; side < c->sides; side++)
		s[side] = (struct series){ .worker = &c->small[side],
					   .req = { .op = OP_MISS } };
	rc = turns(c, "misses", s, (unsigned int)c->sides);
	if (rc) {
		say_why(c, o, rc);
		return;
	}
	t = table_new(cols, ARRAY_SIZE(cols), true);
	for (int side = OURS; side < c->sides; side++)
		show_miss(c, t, &s[side], side, o);
	table_end(t);
}

/* ----------------------------------------------------------------- munmap(2) */

/* The third is the kernel's part of it: a userfaultfd whose reader does nothing. */
void measure_unmap(struct contest *c, struct unmaps *u)
{
	const struct cache_request req = { .op = OP_UNMAP };

	u->n = (unsigned int)c->sides;
	for (int side = OURS; side < c->sides; side++)
		u->s[side] = (struct series){ .worker = &c->large[side], .req = req };
	if (strcmp(c->monitor, pinmem_monitor_name(PINMEM_MONITOR_CALLER)) != 0) {
		if (!cache_start(&u->bare, &bare_uffd, SETTING_LARGE, NULL))
			u->s[u->n++] =
				(struct series){ .worker = &u->bare, .req = req };
		u->rc = turns(c, "munmap", u->s, u->n);
		worker_stop(&u->bare);
	} else {
		snprintf(
			bench_why, sizeof(bench_why),
			"nothing tells the cache of munmap(2) here; see pinmem doctor");
		u->rc = -EDQUOT;
	}
	snprintf(u->why, sizeof(u->why), "%s", bench_why);
}

static void show_unmap(struct contest *c, struct table *t, const struct series *s,
		       int side, json_t *o)
{
	const char *name = side < c->sides ? side_name(side) : "userfaultfd alone";
	double more = median(c, s, UNMAP_MORE), wide = spread(c, s, UNMAP_CACHED);
	json_t *one = json_object();

	ROW(t, name, time_cell(c, s, UNMAP_PLAIN), time_cell(c, s, UNMAP_CACHED),
	    time_text(more), goal_cell(side, text("≤ +%s", time_text(GOAL_UNMAP_NS))),
	    goal_cell(side, verdict_text(more <= GOAL_UNMAP_NS)),
	    time_cell(c, s, UNMAP_CACHED_P99), text("%.0f %%", 100 * wide));
	json_object_set_new(one, "plain_ns", time_json(c, s, UNMAP_PLAIN));
	json_object_set_new(one, "cached_ns", time_json(c, s, UNMAP_CACHED));
	json_object_set_new(one, "more_ns", side_goal(side, more, GOAL_UNMAP_NS));
	json_object_set_new(one, "cached_p99_ns", time_json(c, s, UNMAP_CACHED_P99));
	json_object_set_new(one, "spread", json_real(wide));
	json_object_set_new(o, side < c->sides ? name : "userfaultfd", one);
}

void show_unmaps(struct contest *c, const struct unmaps *u)
{
	static const struct column cols[] = {
		{ "", 17, false },   { "plain", 7, true },  { "cached", 7, true },
		{ "more", 7, true }, { "goal", 7, true },   { "", 5, false },
		{ "p99", 7, true },  { "spread", 6, true },
	};
	json_t *o = part(c, "unmap");
	struct table *t;

	heading("munmap(2) of a cached mapping of 64 KiB, among 100000 regions");
	if (u->rc) {
		snprintf(bench_why, sizeof(bench_why), "%s", u->why);
		say_why(c, o, u->rc);
		return;
	}
	t = table_new(cols, ARRAY_SIZE(cols), true);
	for (unsigned int i = 0; i < u->n; i++)
		show_unmap(c, t, &u->s[i], (int)i, o);
	table_end(t);
	if (u->n > (unsigned int)c->sides)
		say_block(2, "userfaultfd alone: watched by one whose reader does "
			     "nothing, the least that its events cost here.");
}

/* -------------------------------------------------------------------- memory */

/** struct footprint - of n cached regions, bytes. @bare: of their handles alone */
struct footprint {
	unsigned int n;
	double own, anon[SIDES], bare;
};

static int measure_bare(unsigned int n, double *bytes)
{
	const struct cache_request fill = { .op = OP_FILL, .n = n };
	const struct cache_request req = { .op = OP_MEMORY };
	struct bench_worker bare;
	struct bench_answer a;
	int rc = cache_start(&bare, &bare_regions, SETTING_LARGE, NULL);

	if (rc)
		return rc;
	rc = cache_ask(&bare, &fill, &a);
	if (!rc)
		rc = cache_ask(&bare, &req, &a);
	*bytes = a.v[MEMORY_ANON];
	worker_stop(&bare);
	return rc;
}

static int measure_memory(struct contest *c, unsigned int n, struct footprint *f)
{
	const struct cache_request req = { .op = OP_MEMORY };
	struct bench_answer a;
	int rc = 0;

	f->n = n;
	for (int side = OURS; side < c->sides && !rc; side++) {
		rc = cache_ask(&c->large[side], &req, &a);
		f->anon[side] = a.v[MEMORY_ANON];
		if (side == OURS)
			f->own = a.v[MEMORY_BYTES];
	}
	return rc ? rc : measure_bare(n, &f->bare);
}

static const char *bytes_cell(double bytes, bool there)
{
	return there ? text("%.0f B", bytes) : NULL;
}

static void show_memory(const struct contest *c, const struct footprint *f, json_t *o)
{
	static const struct column cols[] = {
		{ "", 30, false },   { "pinmem", 7, true }, { "ucx", 7, true },
		{ "goal", 7, true }, { "", 5, false },
	};
	double own = f->own / f->n, bare = f->bare / f->n;
	double ours = f->anon[OURS] / f->n, ucx = f->anon[UCX] / f->n;
	struct table *t = table_new(cols, ARRAY_SIZE(cols), true);
	bool both = c->sides == SIDES;

	ROW(t, "the cache, by its own count", bytes_cell(own, true), NULL,
	    text("≤ %.0f B", GOAL_BYTES), verdict_text(own <= GOAL_BYTES));
	ROW(t, "growth of the process", bytes_cell(ours, true), bytes_cell(ucx, both),
	    NULL, NULL);
	ROW(t, "… without the regions' handles", bytes_cell(ours - bare, true),
	    bytes_cell(ucx - bare, both), NULL, NULL);
	table_end(t);
	json_object_set_new(o, "own_bytes",
			    goal_json(own, GOAL_BYTES, own <= GOAL_BYTES));
	json_object_set_new(o, "pinmem_anon_bytes", json_real(ours));
	if (both)
		json_object_set_new(o, "ucx_anon_bytes", json_real(ucx));
	json_object_set_new(o, "handle_bytes", json_real(bare));
}

void bench_memory(struct contest *c, unsigned int n)
{
	struct footprint f = { 0 };
	json_t *o = part(c, "memory");
	int rc;

	heading("Memory for each of %u cached regions", n);
	json_object_set_new(o, "regions", json_integer(n));
	rc = measure_memory(c, n, &f);
	if (rc)
		say_why(c, o, rc);
	else
		show_memory(c, &f, o);
}
