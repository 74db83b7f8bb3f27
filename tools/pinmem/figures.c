/* SPDX-License-Identifier: BSD-2-Clause */
/* figures.c - the plots of each bench; see figures.h. */
#include "figures.h"

#include <stdio.h>
#include <string.h>

#include "bench_findings.h"
#include "bench_trackers.h"
#include "out.h"
#include "tool.h"

#define CURVES_MAX 16
#define POINTS_MAX 32

/** struct figure - a plot being made, with the memory for its curves and words, which
 * outlive text(). */
struct figure {
	char title[256], names[CURVES_MAX][64], labels[CURVES_MAX][64];
	struct plot plot;
	struct curve curves[CURVES_MAX];
	double x[CURVES_MAX][POINTS_MAX], y[CURVES_MAX][POINTS_MAX];
	struct mark marks[CURVES_MAX];
};

/** struct sink - where the figures go. */
struct sink {
	figure_fn fn;
	void *ctx;
};

static void begin(struct figure *g, const char *title, const char *x, const char *y,
		  enum unit x_unit, enum unit y_unit)
{
	memset(g, 0, sizeof(*g));
	snprintf(g->title, sizeof(g->title), "%s", title);
	g->plot = (struct plot){ .title = g->title,
				 .x = x,
				 .y = y,
				 .x_unit = x_unit,
				 .y_unit = y_unit,
				 .curves = g->curves,
				 .marks = g->marks };
}

static struct curve *new_curve(struct figure *g, const char *name)
{
	unsigned int c = g->plot.n;

	if (c == CURVES_MAX)
		return NULL;
	snprintf(g->names[c], sizeof(g->names[c]), "%s", name);
	g->curves[c] =
		(struct curve){ .name = g->names[c], .x = g->x[c], .y = g->y[c] };
	g->plot.n++;
	return &g->curves[c];
}

static void add_point(struct figure *g, struct curve *curve, double x, double y)
{
	size_t c = (size_t)(curve - g->curves);

	if (curve->n == POINTS_MAX || !(y > 0))
		return;
	g->x[c][curve->n] = x;
	g->y[c][curve->n++] = y;
}

/* A curve without points is none; a figure without curves neither. */
static void end_curve(struct figure *g, const struct curve *curve)
{
	g->plot.n -= curve && !curve->n;
}

static int emit(const struct sink *sink, const char *name, const struct figure *g)
{
	return g->plot.n ? sink->fn(name, &g->plot, sink->ctx) : 0;
}

/* ---------------------------------------------------------------- strategies */

/** struct view - what of a result is plotted. */
struct view {
	const char *word, *inner, *key, *y;
	enum unit unit;
};
static const struct view views[] = {
	{ "time", NULL, "ns", "time for one I/O", UNIT_TIME },
	{ "time", "to_copy", "ratio", "time, copying is 1", UNIT_RATIO },
	{ "cpu", "cpu_to_copy", "ratio", "CPU time, copying is 1", UNIT_RATIO },
};

static double seen(const json_t *r, const struct view *v)
{
	return v->inner ? number_in(r, v->inner, v->key) : number(r, v->key);
}

/** struct slice - the points of a family with one size or reuse fixed. */
struct slice {
	const json_t *root;
	const struct family *f;
	enum axis axis;
	json_int_t fixed;
};

static void strategy_curve(struct figure *g, const struct slice *s,
			   const struct view *v, const char *strategy)
{
	struct curve *curve = new_curve(g, strategy);
	json_int_t x[AXIS_MAX];
	unsigned int n = axis_values(s->root, s->f, s->axis, x);

	for (unsigned int i = 0; curve && i < n; i++) {
		const json_t *r =
			s->axis == AXIS_SIZE
				? result(s->root, s->f, x[i], s->fixed, strategy)
				: result(s->root, s->f, s->fixed, x[i], strategy);

		add_point(g, curve, (double)x[i], r ? seen(r, v) : 0);
	}
	if (curve && curve->n &&
	    (!strncmp(strategy, "raw-", 4) || !strcmp(strategy, "ucx")))
		g->plot.faint |= 1u << (curve - g->curves);
	end_curve(g, curve);
}

static bool of_slice(const json_t *c, const struct slice *s, const struct view *v)
{
	bool sizes = s->axis == AXIS_SIZE;

	return in_family(c, s->f) && word_is(c, "measure", v->word) &&
	       word_is(c, "beats_copy", "from") &&
	       word_is(c, "along", sizes ? "size" : "reuse") &&
	       (json_int_t)number(c, sizes ? "reuse" : "size") == s->fixed;
}

/* Where the curves of what most programs would choose cross the one of copying. */
static void slice_marks(struct figure *g, const struct slice *s, const struct view *v)
{
	const json_t *c;
	size_t i;

	json_array_foreach(json_object_get(s->root, "crossovers"), i, c)
	{
		const char *strategy =
			json_string_value(json_object_get(c, "strategy"));
		unsigned int n = g->plot.marks_n;
		double at = number(c, "at");

		if (n == CURVES_MAX || !of_slice(c, s, v) ||
		    (!word_is(c, "strategy", "pin-once") &&
		     !word_is(c, "strategy", "cached")))
			continue;
		snprintf(g->labels[n], sizeof(g->labels[n]), "%s: %s", strategy,
			 s->axis == AXIS_SIZE ? text("above %s", size_phrase(at))
					      : text("from %.0f uses on", at));
		g->marks[n] = (struct mark){ at, g->labels[n] };
		g->plot.marks_n++;
	}
}

static const char *family_text(const struct family *f)
{
	return text("%s, %s, %s pages, %d thread%s", f->device, f->direction, f->pages,
		    f->threads, f->threads > 1 ? "s" : "");
}

static int draw_slice(const struct sink *sink, const struct slice *s,
		      const struct view *v)
{
	bool sizes = s->axis == AXIS_SIZE;
	const char *fixed = sizes ? text("buffers used %lld time%s",
					 (long long)s->fixed, s->fixed > 1 ? "s" : "")
				  : text("I/Os of %s", size_text((uint64_t)s->fixed));
	static struct figure g;
	const json_t *name;
	size_t i;

	begin(&g, text("%s: %s, %s", v->y, fixed, family_text(s->f)),
	      sizes ? "size of an I/O" : "uses of a buffer", v->y,
	      sizes ? UNIT_BYTES : UNIT_COUNT, v->unit);
	json_array_foreach(json_object_get(s->root, "strategies"), i, name)
		strategy_curve(&g, s, v,
			       json_string_value(json_object_get(name, "strategy")));
	slice_marks(&g, s, v);
	g.plot.line = v->unit == UNIT_RATIO ? 1 : 0;
	return emit(sink,
		    text("%s-%s-%s-%s%s", s->f->device, s->f->direction,
			 sizes ? "size" : "reuse", v->word,
			 v->unit == UNIT_RATIO ? "-ratio" : ""),
		    &g);
}

/* The largest of the @n measured values that is not above this one. */
static json_int_t wanted(const json_int_t *v, unsigned int n, json_int_t want)
{
	json_int_t best = n ? v[0] : 0;

	for (unsigned int i = 0; i < n; i++)
		if (v[i] <= want)
			best = v[i];
	return best;
}

static int family_figures(const struct sink *sink, const json_t *root,
			  const struct family *f)
{
	struct slice by_size = { root, f, AXIS_SIZE, 1 };
	struct slice by_reuse = { root, f, AXIS_REUSE, 0 };
	json_int_t v[AXIS_MAX];
	unsigned int n = axis_values(root, f, AXIS_SIZE, v);
	int rc = 0;

	by_reuse.fixed = wanted(v, n, 65536);
	for (size_t i = 0; i < ARRAY_SIZE(views) && !rc; i++)
		rc = draw_slice(sink, &by_size, &views[i]);
	for (size_t i = 0; i < ARRAY_SIZE(views) && !rc; i++)
		rc = draw_slice(sink, &by_reuse, &views[i]);
	return rc;
}

/* What pinning and unpinning costs on each kind of pages: of pin-once, used once. */
static int pages_figure(const struct sink *sink, const json_t *root, const char *device)
{
	static struct figure g;
	struct family f[FAMILIES_MAX];
	unsigned int n = families(root, f, FAMILIES_MAX);
	json_int_t x[AXIS_MAX];

	begin(&g, text("What pinning a buffer costs, by its pages: %s", device),
	      "size of the buffer", "pin and unpin", UNIT_BYTES, UNIT_TIME);
	for (unsigned int i = 0; i < n; i++) {
		unsigned int sizes = axis_values(root, &f[i], AXIS_SIZE, x);
		struct curve *curve;

		if (strcmp(f[i].device, device) || strcmp(f[i].direction, "write") ||
		    f[i].threads > 1)
			continue;
		curve = new_curve(&g, text("%s pages", f[i].pages));
		for (unsigned int k = 0; curve && k < sizes; k++) {
			const json_t *r = result(root, &f[i], x[k], 1, "pin-once");

			add_point(&g, curve, (double)x[k], r ? number(r, "pin_ns") : 0);
		}
		end_curve(&g, curve);
	}
	return emit(sink, text("%s-pages", device), &g);
}

static int strategies_figures(const json_t *root, figure_fn fn, void *ctx)
{
	const struct sink sink = { fn, ctx };
	struct family f[FAMILIES_MAX];
	unsigned int n = families(root, f, FAMILIES_MAX);
	const json_t *device;
	int rc = 0;
	size_t i;

	for (unsigned int k = 0; k < n && !rc; k++)
		if (!strcmp(f[k].pages, "base") && f[k].threads == 1)
			rc = family_figures(&sink, root, &f[k]);
	json_array_foreach(json_object_get(root, "devices"), i, device)
	{
		const char *name = json_string_value(json_object_get(device, "device"));

		if (!rc && name)
			rc = pages_figure(&sink, root, name);
	}
	return rc;
}

/* --------------------------------------------------------------------- cache */

static void hits_curve(struct figure *g, const json_t *root, const char *side,
		       const char *name, int threads)
{
	struct curve *curve = new_curve(
		g, text("%s, %d thread%s", name, threads, threads > 1 ? "s" : ""));
	const json_t *hit;
	size_t i;

	json_array_foreach(json_object_get(root, "hits"), i,
			   hit) if (curve && (int)number(hit, "threads") == threads)
		add_point(g, curve, number(hit, "regions"), number_in(hit, side, "ns"));
	end_curve(g, curve);
}

static int cache_figures(const json_t *root, figure_fn fn, void *ctx)
{
	const struct sink sink = { fn, ctx };
	static struct figure g;

	begin(&g,
	      "Cost of a registration-cache hit: get and put, random over regions of "
	      "64 KiB",
	      "cached regions", "for each hit and thread", UNIT_COUNT, UNIT_TIME);
	for (int threads = 1; threads <= 2; threads++)
		hits_curve(&g, root, "pinmem", "pinmem", threads);
	for (int threads = 1; threads <= 2; threads++)
		hits_curve(&g, root, "ucx", "ucs_rcache", threads);
	return emit(&sink, "", &g);
}

/* ------------------------------------------------------------------- command */

static const struct {
	const char *bench;
	int (*figures)(const json_t *root, figure_fn fn, void *ctx);
} benches[] = {
	{ "strategies", strategies_figures },
	{ "cache", cache_figures },
	{ "trackers", trackers_figures },
};

int figures_each(const json_t *root, figure_fn fn, void *ctx)
{
	const char *bench = json_string_value(json_object_get(root, "bench"));

	for (size_t i = 0; i < ARRAY_SIZE(benches); i++)
		if (bench && !strcmp(bench, benches[i].bench))
			return benches[i].figures(root, fn, ctx);
	return 0;
}

static int draw_one(const char *name, const struct plot *plot, void *file)
{
	return plot_draw(plot_name(file, name), plot) ? 0 : -1;
}

bool figures_draw(const json_t *root, const char *file)
{
	return !figures_each(root, draw_one, (void *)file);
}
