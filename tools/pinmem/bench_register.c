/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_register.c - `pinmem bench register`: what registering and releasing costs,
 * against io_uring_register_buffers_update_tag(3) on a sparse table, same memory.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "bench.h"
#include "memory.h"
#include "out.h"
#include "pinmem.h"
#include "sys.h"
#include "tool.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define GOAL_DIFF_NS 600.0
#define GOAL_RATIO 1.01
#define GOAL_POPULATE 1.6
#define GOAL_HUGE 8.0

/**
 * struct place - where both ways work.
 * @memory: registered by both
 * @huge:   the same length on huge pages
 * @how:    of the releases
 */
struct place {
	struct io_uring ring;
	struct pinmem *pm;
	struct memory memory, huge;
	enum pinmem_unpin how;
	const struct bench_options *opts;
	json_t *list;
	bool failed;
};

/* --------------------------------------------------------------- the two ways */

static int raw_set(struct place *p, void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	__u64 tag = 0;
	int rc = io_uring_register_buffers_update_tag(&p->ring, 0, &iov, &tag, 1);

	return rc == 1 ? 0
		       : bench_trouble(rc ? rc : -EIO, "raw registration",
				       strerror(-rc));
}

static int raw_cycle(void *ctx, unsigned int n, double *ns)
{
	struct place *p = ctx;
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < n && !rc; i++) {
		rc = raw_set(p, p->memory.addr, p->memory.len);
		if (!rc)
			rc = raw_set(p, NULL, 0);
	}
	*ns = stopwatch_ns(&watch) / n;
	return rc;
}

static int lib_cycles(struct place *p, const struct memory *m, unsigned int n,
		      double *ns)
{
	struct stopwatch watch;
	struct pinmem_mr *mr;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < n; i++)
		if (pinmem_reg(p->pm, m->addr, m->len, PINMEM_ACCESS_LOCAL_WRITE, NULL,
			       &mr) ||
		    pinmem_dereg(mr, p->how, NULL))
			return bench_trouble(-EIO, "a cycle of pinmem",
					     pinmem_errmsg());
	*ns = stopwatch_ns(&watch) / n;
	return 0;
}

static int lib_cycle(void *ctx, unsigned int n, double *ns)
{
	struct place *p = ctx;

	return lib_cycles(p, &p->memory, n, ns);
}

static int lib_cycle_huge(void *ctx, unsigned int n, double *ns)
{
	struct place *p = ctx;

	return lib_cycles(p, &p->huge, n, ns);
}

/* Memory that nobody has touched, on base pages: new each time. Several threads work
 * on it, so it is the time on the wall that counts. */
static int raw_untouched(void *ctx, unsigned int n, double *ns)
{
	struct place *p = ctx;
	struct memory m;
	uint64_t begin;
	int rc;

	(void)n;
	if (memory_make(MEM_ANON, p->memory.len, NULL, &m))
		return bench_trouble(-ENOMEM, "memory", m.why);
	begin = sys_now_ns();
	rc = raw_set(p, m.addr, m.len);
	*ns = (double)(sys_now_ns() - begin);
	if (!rc)
		rc = raw_set(p, NULL, 0);
	memory_drop(&m);
	return rc;
}

static int lib_untouched(void *ctx, unsigned int n, double *ns)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts), .threads = 2 };
	struct place *p = ctx;
	struct pinmem_mr *mr;
	struct memory m;
	uint64_t begin;
	int rc;

	(void)n;
	if (memory_make(MEM_ANON, p->memory.len, NULL, &m))
		return bench_trouble(-ENOMEM, "memory", m.why);
	begin = sys_now_ns();
	rc = pinmem_reg(p->pm, m.addr, m.len, PINMEM_ACCESS_LOCAL_WRITE, &opts, &mr);
	*ns = (double)(sys_now_ns() - begin);
	if (!rc)
		rc = pinmem_dereg(mr, PINMEM_CLEAN, NULL);
	if (rc)
		bench_trouble(rc, "registration with pinmem", pinmem_errmsg());
	memory_drop(&m);
	return rc;
}

/* --------------------------------------------------------------------- lines */

enum goal { GOAL_NONE, GOAL_DIFF, GOAL_AT_MOST, GOAL_TIMES_FASTER };

/**
 * struct line - one measurement and what is hoped for.
 * @limit: of the goal; ns for GOAL_DIFF
 */
struct line {
	const char *name;
	uint64_t len;
	enum goal goal;
	double limit;
};

static bool met(const struct line *line, const struct bench_result *r)
{
	switch (line->goal) {
	case GOAL_DIFF:
		return r->diff_ns <= line->limit;
	case GOAL_AT_MOST:
		return r->ratio <= line->limit;
	case GOAL_TIMES_FASTER:
		return 1 / r->ratio >= line->limit;
	case GOAL_NONE:
		break;
	}
	return true;
}

static const char *goal_text(const struct line *line)
{
	switch (line->goal) {
	case GOAL_DIFF:
		return text("≤ +%s", time_text(line->limit));
	case GOAL_AT_MOST:
		return text("≤ %.2f x", line->limit);
	case GOAL_TIMES_FASTER:
		return text("≥ %.1f x", line->limit);
	case GOAL_NONE:
		break;
	}
	return "";
}

static const char *ratio_text(const struct line *line, const struct bench_result *r)
{
	if (line->goal == GOAL_TIMES_FASTER)
		return text("%.1f x", 1 / r->ratio);
	return text("%.3f x", r->ratio);
}

static const char *met_text(const struct line *line, const struct bench_result *r)
{
	if (line->goal == GOAL_NONE)
		return "";
	return met(line, r) ? "met" : "short";
}

static json_t *line_json(const struct line *line, const struct bench_result *r)
{
	static const char *const goals[] = { "", "difference_ns", "ratio",
					     "times_faster" };
	json_t *o = json_pack("{ss, sI, sf, sf, sf, sf, sf, sf, si, si}", "name",
			      line->name, "len", (json_int_t)line->len, "base_ns",
			      r->base_ns, "ours_ns", r->ours_ns, "difference_ns",
			      r->diff_ns, "ratio", r->ratio, "base_spread",
			      r->base_spread, "ours_spread", r->ours_spread, "batch",
			      (int)r->batch, "pairs", (int)r->pairs);

	if (line->goal)
		json_object_update_new(o, json_pack("{ss, sf, sb}", "goal_of",
						    goals[line->goal], "goal",
						    line->limit, "met", met(line, r)));
	return o;
}

static void show(struct place *p, struct table *t, const struct line *line,
		 const struct bench_result *r)
{
	ROW(t, line->name, time_text(r->base_ns), time_text(r->ours_ns),
	    time_text(r->diff_ns), ratio_text(line, r),
	    text("%.0f %%", 100 * (r->base_spread > r->ours_spread ? r->base_spread
								   : r->ours_spread)),
	    goal_text(line), met_text(line, r));
	json_array_append_new(p->list, line_json(line, r));
}

/* What cannot be measured here is said; it is an error unless the limits forbid it. */
static void skip(struct place *p, struct table *t, const struct line *line,
		 const char *why, bool error)
{
	ROW(t, line->name, error ? "failed" : "skipped", NULL, NULL, NULL, NULL, NULL,
	    NULL);
	say_block(6, "%s", why);
	json_array_append_new(p->list, json_pack("{ss, sI, ss, so}", "name", line->name,
						 "len", (json_int_t)line->len, "state",
						 error ? "failed" : "skipped", "why",
						 json_text(why)));
	p->failed |= error;
}

/* Room in the limits, twice: some lines have two pieces pinned or mapped. */
static bool room(struct place *p, struct table *t, const struct line *line)
{
	struct pinmem_memlock m = { .size = sizeof(m) };

	if (sys_meminfo("MemAvailable") < 3 * line->len) {
		skip(p, t, line, "there is not enough memory available", false);
		return false;
	}
	if (pinmem_memlock(p->pm, NULL, line->len, &m)) {
		skip(p, t, line, pinmem_errmsg(), true);
		return false;
	}
	if (!m.fits)
		skip(p, t, line, m.remedy, false);
	return m.fits;
}

static void measure(struct place *p, struct table *t, const struct line *line,
		    const struct bench_pair *pair)
{
	struct bench_result r = { 0 };
	int rc = bench_run(pair, p->opts->seconds, &r);

	if (!rc)
		show(p, t, line, &r);
	else
		skip(p, t, line, bench_why, rc != -ECANCELED);
}

/* A line over touched memory of a kind: raw against pinmem. */
static void measure_kind(struct place *p, struct table *t, enum memory_kind kind,
			 const struct line *line, enum pinmem_unpin how)
{
	struct bench_pair pair = { .base = raw_cycle, .ours = lib_cycle, .ctx = p };

	if (stop_requested() || !room(p, t, line))
		return;
	p->how = how;
	if (memory_make(kind, line->len, NULL, &p->memory)) {
		skip(p, t, line, p->memory.why, false);
	} else {
		memory_touch(p->memory.addr, p->memory.len);
		measure(p, t, line, &pair);
	}
	memory_drop(&p->memory);
}

static const struct column cols[] = {
	{ "", 16, false },    { "raw", 7, true },   { "pinmem", 7, true },
	{ "more", 7, true },  { "ratio", 7, true }, { "spread", 6, true },
	{ "goal", 9, false }, { "", 5, false },
};

/* The same with other words; @faster: the ratio is told the other way round. */
static struct table *new_table(const char *base, const char *ours, bool faster)
{
	struct column named[ARRAY_SIZE(cols)];

	memcpy(named, cols, sizeof(named));
	named[1].head = base;
	named[2].head = ours;
	if (faster)
		named[4].head = "faster";
	return table_new(named, ARRAY_SIZE(named), true);
}

static void bench_sizes(struct place *p)
{
	static const struct line lines[] = {
		{ "4 KiB", 4 * KIB, GOAL_DIFF, GOAL_DIFF_NS },
		{ "64 KiB", 64 * KIB, GOAL_NONE, 0 },
		{ "1 MiB", 1 * MIB, GOAL_NONE, 0 },
		{ "16 MiB", 16 * MIB, GOAL_AT_MOST, GOAL_RATIO },
		{ "64 MiB", 64 * MIB, GOAL_AT_MOST, GOAL_RATIO },
		{ "256 MiB", 256 * MIB, GOAL_AT_MOST, GOAL_RATIO },
	};
	static const struct line dirty = { "4 KiB, dirty", 4 * KIB, GOAL_NONE, 0 };
	static const struct line thp[] = {
		{ "2 MiB, THP", 2 * MIB, GOAL_NONE, 0 },
		{ "64 MiB, THP", 64 * MIB, GOAL_NONE, 0 },
	};
	struct table *t;

	heading("Register and release memory that is there");
	t = new_table("raw", "pinmem", false);
	bench_pin_cpu();
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		measure_kind(p, t, MEM_ANON, &lines[i], PINMEM_CLEAN);
	measure_kind(p, t, MEM_ANON, &dirty, PINMEM_DIRTY);
	for (size_t i = 0; i < ARRAY_SIZE(thp); i++)
		measure_kind(p, t, MEM_THP, &thp[i], PINMEM_CLEAN);
	bench_free_cpu();
	table_end(t);
}

static void bench_untouched(struct place *p)
{
	struct line line = { "1 GiB, 2 threads", GIB, GOAL_TIMES_FASTER,
			     GOAL_POPULATE };
	struct bench_pair pair = { raw_untouched, lib_untouched, p, true };
	struct table *t;

	if (p->opts->quick)
		line = (struct line){ "256 MiB, 2 threads", GIB / 4, GOAL_TIMES_FASTER,
				      GOAL_POPULATE };
	heading("Register memory that nobody has touched (4 KiB pages)");
	t = new_table("raw", "pinmem", true);
	p->memory.len = line.len;
	if (room(p, t, &line))
		measure(p, t, &line, &pair);
	if (sys_cpus() < 2)
		say_block(2, "This process may run on one CPU only: two threads cannot "
			     "help it.");
	table_end(t);
}

/* One length on 4 KiB pages and on huge ones of a kind. */
static void measure_huge(struct place *p, struct table *t, enum memory_kind kind,
			 const struct line *line)
{
	struct bench_pair pair = { lib_cycle, lib_cycle_huge, p, false };

	p->how = PINMEM_CLEAN;
	if (memory_make(MEM_ANON, line->len, NULL, &p->memory))
		skip(p, t, line, p->memory.why, false);
	else if (memory_make(kind, line->len, NULL, &p->huge))
		skip(p, t, line, p->huge.why, false);
	else {
		memory_touch(p->memory.addr, p->memory.len);
		memory_touch(p->huge.addr, p->huge.len);
		measure(p, t, line, &pair);
	}
	memory_drop(&p->memory);
	memory_drop(&p->huge);
}

static void bench_huge(struct place *p)
{
	static const struct line thp = { "256 MiB, THP", 256 * MIB, GOAL_TIMES_FASTER,
					 GOAL_HUGE };
	static const struct line tlb = { "256 MiB, hugetlb", 256 * MIB,
					 GOAL_TIMES_FASTER, GOAL_HUGE };
	struct table *t;

	heading("Huge pages against 4 KiB pages, both with pinmem");
	t = new_table("4 KiB", "huge", true);
	bench_pin_cpu();
	if (!stop_requested() && room(p, t, &thp))
		measure_huge(p, t, MEM_THP, &thp);
	if (!stop_requested() && room(p, t, &tlb))
		measure_huge(p, t, MEM_HUGETLB, &tlb);
	bench_free_cpu();
	table_end(t);
}

/* ------------------------------------------------------------------- command */

static int open_place(struct place *p)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = PINMEM_BACKEND_URING };
	int rc = pinmem_open(&opts, &p->pm);

	if (rc)
		return bench_trouble(rc, "the pinner", pinmem_errmsg());
	rc = io_uring_queue_init(8, &p->ring, 0);
	if (!rc) {
		rc = io_uring_register_buffers_sparse(&p->ring, 64);
		if (rc)
			io_uring_queue_exit(&p->ring);
	}
	if (!rc)
		return 0;
	pinmem_close(p->pm);
	return bench_trouble(rc, "the ring of the raw interface", strerror(-rc));
}

int bench_register(const struct bench_options *opts, json_t *root)
{
	struct place p = { .opts = opts };
	struct utsname u;

	if (open_place(&p)) {
		complain("%s", bench_why);
		json_object_set_new(root, "error", json_text(bench_why));
		return EXIT_NO;
	}
	uname(&u);
	p.memory.fd = p.huge.fd = -1;
	p.memory.addr = p.huge.addr = MAP_FAILED;
	p.list = json_array();
	say_block(0,
		  "pinmem %s and raw io_uring on Linux %s, in turns; medians, for "
		  "about %.1f s a line. More and ratio: medians of neighbours. Spread: "
		  "interquartile range of the worse one. Time that other programs took "
		  "from one thread does not count.",
		  pinmem_version(), u.release, opts->seconds);
	bench_sizes(&p);
	if (!stop_requested())
		bench_untouched(&p);
	if (!stop_requested())
		bench_huge(&p);
	json_object_set_new(root, "bench", json_string("register"));
	json_object_set_new(root, "machine", bench_machine());
	json_object_set_new(root, "pinmem", json_string(pinmem_version()));
	json_object_set_new(root, "kernel", json_string(u.release));
	json_object_set_new(root, "seconds", json_real(opts->seconds));
	json_object_set_new(root, "lines", p.list);
	io_uring_queue_exit(&p.ring);
	if (pinmem_close(p.pm)) {
		complain("%s", pinmem_errmsg());
		p.failed = true;
	}
	return p.failed || stop_requested() ? EXIT_NO : EXIT_YES;
}
