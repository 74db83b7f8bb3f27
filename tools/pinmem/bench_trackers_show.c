/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_trackers_show.c - tables, CSV and plots of `pinmem bench trackers`, from its
 * JSON; see bench_trackers.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_findings.h"
#include "bench_trackers.h"
#include "out.h"
#include "tool.h"

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* ---------------------------------------------------------------------- tables */

static const char *ratio_text(const json_t *o, const char *of)
{
	const json_t *r = json_object_get(json_object_get(o, "to_bias"), of);

	return r ? text("%.2f", number(r, "ratio")) : "-";
}

static void cost_row(struct table *t, const json_t *point, const json_t *o, bool first)
{
	ROW(t,
	    first ? text("%s, %s", size_text((uint64_t)number(point, "len")),
			 word(point, "memory"))
		  : "",
	    first ? text("%.0f", number(point, "threads")) : "", word(o, "tracker"),
	    time_text(number_in(o, "pin", "ns")),
	    time_text(number_in(o, "unpin", "ns")), ratio_text(o, "pin_unpin"),
	    text("%.0f %%", 100 * number_in(o, "pin_unpin", "spread")),
	    time_text(number_in(o, "irq_unpin", "ns")), ratio_text(o, "irq_unpin"),
	    text("%.0f ns", number_in(o, "query", "ns")), ratio_text(o, "query"),
	    text("%.0f", number(o, "false_negatives")),
	    text("%.0f", number(o, "lost_dirty")), text("%.0f", number(o, "rounds")),
	    text("%.0f", number(o, "runs")));
}

static void show_costs(const json_t *root)
{
	static const struct column cols[] = {
		{ "a pin", 8, false },	    { "threads", 7, true },
		{ "tracker", 9, false },    { "pin", 7, true },
		{ "unpin", 7, true },	    { "x bias", 6, true },
		{ "spread", 6, true },	    { "from irq", 8, true },
		{ "x bias", 6, true },	    { "query", 6, true },
		{ "x bias", 6, true },	    { "missed", 6, true },
		{ "lost dirty", 10, true }, { "rounds", 6, true },
		{ "runs", 5, true },
	};
	const json_t *point, *o;
	struct table *t;
	size_t i, k;

	heading("What a pin costs");
	t = table_new(cols, ARRAY_SIZE(cols), false);
	json_array_foreach(json_object_get(root, "cost"), i, point)
		json_array_foreach(json_object_get(point, "trackers"), k, o)
			cost_row(t, point, o, !k);
	table_end(t);
}

static void show_memory(const json_t *root)
{
	static const struct column cols[] = {
		{ "pins", 4, true },	    { "pinned", 7, true },
		{ "tracker", 9, false },    { "bytes/pin", 9, true },
		{ "bytes/page", 10, true }, { "in all", 8, true },
		{ "spread", 6, true },	    { "rounds", 6, true },
	};
	const json_t *point, *o;
	struct table *t;
	size_t i, k;

	heading("Memory of the tracker");
	t = table_new(cols, ARRAY_SIZE(cols), false);
	json_array_foreach(json_object_get(root, "memory"), i, point)
		json_array_foreach(json_object_get(point, "trackers"), k, o)
	{
		double bytes = number(o, "bytes_per_pin");

		ROW(t, k ? "" : text("%.0f", number(point, "pins")),
		    k ? "" : size_text((uint64_t)number(point, "len")),
		    word(o, "tracker"), text("%.0f", bytes),
		    text("%.2f", number(o, "bytes_per_page")),
		    size_text((uint64_t)(bytes * number(point, "pins"))),
		    text("%.0f %%", 100 * number(o, "spread")),
		    text("%.0f", number(o, "rounds")));
	}
	table_end(t);
}

static void show_answers(const json_t *root)
{
	static const struct column cols[] = {
		{ "memory", 9, false },	    { "others' work", 10, false },
		{ "", 6, false },	    { "tracker", 9, false },
		{ "queries", 8, true },	    { "false pos.", 10, true },
		{ "false neg.", 10, true }, { "wrong", 7, true },
		{ "quartiles", 9, true },   { "rounds", 6, true },
	};
	const json_t *point, *o;
	struct table *t;
	size_t i, k;

	heading("Is it pinned? Half of the pages are, half have one plain reference");
	t = table_new(cols, ARRAY_SIZE(cols), false);
	json_array_foreach(json_object_get(root, "answers"), i, point)
		json_array_foreach(json_object_get(point, "trackers"), k, o)
			ROW(t, k ? "" : word(point, "memory"),
			    k ? "" : word(point, "transient"),
			    k ? "" : word(point, "when"), word(o, "tracker"),
			    text("%.0f", number(o, "queries")),
			    text("%.0f", number(o, "false_positives")),
			    text("%.0f", number(o, "false_negatives")),
			    text("%.3f %%", 100 * number(o, "wrong")),
			    text("%.3f to %.3f", 100 * number(o, "low"),
				 100 * number(o, "high")),
			    text("%.0f", number(o, "rounds")));
	table_end(t);
}

static const char *figure_text(const json_t *f)
{
	if (!json_object_get(f, "value"))
		return "not measured";
	if (number(f, "value") >= 1000)
		return text("%.0f", number(f, "value"));
	if (number(f, "low") < number(f, "high"))
		return text("%.3g (%.3g to %.3g)", number(f, "value"), number(f, "low"),
			    number(f, "high"));
	return text("%.3g", number(f, "value"));
}

static void show_claims(const json_t *root)
{
	const json_t *c, *f;
	size_t i, k;

	heading("What the threads said of it");
	json_array_foreach(json_object_get(root, "claims"), i, c)
	{
		say_block(2, "\"%s\" (%s, %s): %s", word(c, "sentence"),
			  word(c, "author"), word(c, "date"), word(c, "verdict"));
		json_array_foreach(json_object_get(c, "figures"), k, f)
			say_block(6, "%s: %s; expected %s %.3g: %s", word(f, "what"),
				  figure_text(f), word(f, "expected"),
				  number(f, "than"), word(f, "says"));
	}
}

static void show_left_out(const json_t *root)
{
	const json_t *list = json_object_get(root, "left_out"), *o;
	size_t i;

	if (json_array_size(list))
		heading("Left out, and why");
	json_array_foreach(list, i, o)
		say_block(2, "%s: %s", word(o, "what"), word(o, "why"));
}

void trackers_show(const json_t *root)
{
	const json_t *machine = json_object_get(root, "machine");

	say("%s, %s\n", word(machine, "kernel"), word(machine, "cpu"));
	show_costs(root);
	show_memory(root);
	show_answers(root);
	show_claims(root);
	show_left_out(root);
	say_block(
		0,
		"\nMedians of the rounds; in each all trackers take turns. x bias: the "
		"median of the ratios to the page count of the same round. Spread: "
		"interquartile range over the median.");
}

/* ------------------------------------------------------------------------- CSV */

static void csv_cost(FILE *f, const json_t *point, const json_t *o)
{
	static const char *const quantities[] = { "pin", "unpin", "pin_unpin",
						  "irq_unpin", "query" };
	const json_t *ratios = json_object_get(o, "to_bias");

	for (size_t q = 0; q < ARRAY_SIZE(quantities); q++) {
		const json_t *r = json_object_get(ratios, quantities[q]);

		fprintf(f, "cost,%s,%.0f,%.0f,,,%s,%s_ns,%.17g,%.6g,%.0f",
			word(point, "memory"), number(point, "pages"),
			number(point, "threads"), word(o, "tracker"), quantities[q],
			number_in(o, quantities[q], "ns"),
			number_in(o, quantities[q], "spread"), number(o, "rounds"));
		if (r)
			fprintf(f, ",%.6g,%.6g,%.6g\n", number(r, "ratio"),
				number(r, "low"), number(r, "high"));
		else
			fputs(",,,\n", f);
	}
	fprintf(f, "cost,%s,%.0f,%.0f,,,%s,lost_dirty,%.0f,,%.0f,,,\n",
		word(point, "memory"), number(point, "pages"), number(point, "threads"),
		word(o, "tracker"), number(o, "lost_dirty"), number(o, "rounds"));
}

static void csv_memory(FILE *f, const json_t *point, const json_t *o)
{
	fprintf(f, "memory,,%.0f,%.0f,,,%s,bytes_per_pin,%.17g,%.6g,%.0f,,,\n",
		number(point, "pages"), number(point, "pins"), word(o, "tracker"),
		number(o, "bytes_per_pin"), number(o, "spread"), number(o, "rounds"));
}

static void csv_answers(FILE *f, const json_t *point, const json_t *o)
{
	static const char *const counts[] = { "queries", "false_positives",
					      "false_negatives" };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		fprintf(f, "answers,%s,%.0f,1,%s,%s,%s,%s,%.0f,,%.0f,,,\n",
			word(point, "memory"), number(point, "pages"),
			word(point, "transient"), word(point, "when"),
			word(o, "tracker"), counts[i], number(o, counts[i]),
			number(o, "rounds"));
}

bool trackers_csv(const json_t *root, const char *file)
{
	static const struct {
		const char *key;
		void (*put)(FILE *f, const json_t *point, const json_t *o);
	} parts[] = { { "cost", csv_cost },
		      { "memory", csv_memory },
		      { "answers", csv_answers } };
	FILE *f = fopen(file, "we");
	const json_t *point, *o;
	size_t i, k;

	if (!f) {
		complain("%s cannot be written: %s", file, strerror(errno));
		return false;
	}
	fputs("part,memory,pages,threads,transient,when,tracker,figure,value,spread,"
	      "rounds,to_bias,low,high\n",
	      f);
	for (size_t p = 0; p < ARRAY_SIZE(parts); p++)
		json_array_foreach(json_object_get(root, parts[p].key), i, point)
			json_array_foreach(json_object_get(point, "trackers"), k, o)
				parts[p]
					.put(f, point, o);
	if (!ferror(f) & !fclose(f))
		return true;
	complain("%s cannot be written: %s", file, strerror(errno));
	return false;
}

/* ----------------------------------------------------------------------- plots */

#define POINTS_MAX 32

/** struct drawing - a figure: for each tracker a value over the pages of a pin.
 * @part: of the JSON. @quantity: in it; @inner: in that, NULL: it is the number */
struct drawing {
	const char *name, *part, *quantity, *inner, *title, *y;
	enum unit unit;
};

/* Of one thread on base pages; of the memory, which has no threads, all. */
static bool drawn(const json_t *point)
{
	return !json_object_get(point, "threads") ||
	       (number(point, "threads") == 1 &&
		!strcmp(word(point, "memory"), "anonymous"));
}

static unsigned int collect(const json_t *root, const struct drawing *d,
			    const char *tracker, double *x, double *y)
{
	const json_t *point, *o;
	unsigned int n = 0;
	size_t i, k;

	json_array_foreach(json_object_get(root, d->part), i, point)
		json_array_foreach(json_object_get(point, "trackers"), k, o)
	{
		if (!drawn(point) || strcmp(word(o, "tracker"), tracker) != 0 ||
		    n == POINTS_MAX)
			continue;
		x[n] = number(point, "pages");
		y[n++] = d->inner ? number_in(o, d->quantity, d->inner)
				  : number(o, d->quantity);
	}
	return n;
}

static const struct drawing drawings[] = {
	{ "cost", "cost", "pin_unpin", "ns", "Pin and unpin, one thread",
	  "time for both", UNIT_TIME },
	{ "irq", "cost", "irq_unpin", "ns",
	  "Unpin from an interrupt, until the pages are free", "time", UNIT_TIME },
	{ "query", "cost", "query", "ns", "Is this page pinned?", "time for a page",
	  UNIT_TIME },
	{ "memory", "memory", "bytes_per_page", NULL, "Memory of the tracker",
	  "memory for a page", UNIT_BYTES },
};

/** struct curves - a drawing's, with their points. */
struct curves {
	double x[TRACKERS][POINTS_MAX], y[TRACKERS][POINTS_MAX];
	struct curve of[TRACKERS];
};

/* Without those that would be empty: the axis has no zero. Return: how many. */
static unsigned int make_curves(const json_t *root, const struct drawing *d,
				struct curves *c)
{
	unsigned int curves = 0;

	for (unsigned int t = 0; t < TRACKERS; t++) {
		unsigned int n = collect(root, d, tracker_names[t], c->x[t], c->y[t]);
		bool any = false;

		for (unsigned int k = 0; k < n; k++)
			any |= c->y[t][k] > 0;
		if (any)
			c->of[curves++] = (struct curve){ .name = tracker_names[t],
							  .x = c->x[t],
							  .y = c->y[t],
							  .n = n };
	}
	return curves;
}

int trackers_figures(const json_t *root,
		     int (*fn)(const char *name, const struct plot *plot, void *ctx),
		     void *ctx)
{
	struct curves curves;
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(drawings) && !rc; i++) {
		const struct drawing *d = &drawings[i];
		struct plot plot = { .title = d->title,
				     .x = "pages of a pin",
				     .y = d->y,
				     .y_unit = d->unit,
				     .curves = curves.of,
				     .n = make_curves(root, d, &curves) };

		if (plot.n)
			rc = fn(d->name, &plot, ctx);
	}
	return rc;
}
