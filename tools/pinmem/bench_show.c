/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_show.c - the numbers of `pinmem bench strategies` as tables and as CSV. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_findings.h"
#include "out.h"
#include "tool.h"

const char *size_phrase(double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	return text("%.*f %s", bytes < 9.95 && bytes != (double)(long)bytes ? 1 : 0,
		    bytes, units[unit]);
}

/* -------------------------------------------------------------------- costs */

/** struct place - a column: a point that most machines have. */
static const struct place {
	const char *head;
	json_int_t size, reuse;
} places[] = {
	{ "4 KiB, once", 4096, 1 },	 { "64 KiB, once", 65536, 1 },
	{ "64 KiB x 100", 65536, 100 },	 { "1 MiB, once", 1 << 20, 1 },
	{ "16 MiB, once", 16 << 20, 1 },
};

static void cost_row(struct table *t, const json_t *root, const struct family *f,
		     const char *strategy)
{
	const char *cells[ARRAY_SIZE(places) + 3] = { strategy };
	double wide = 0, runs = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		const json_t *r =
			result(root, f, places[i].size, places[i].reuse, strategy);

		if (!r)
			continue;
		cells[i + 1] = time_text(number(r, "ns"));
		if (number(r, "spread") > wide)
			wide = number(r, "spread");
		if (!runs || number(r, "runs") < runs)
			runs = number(r, "runs");
	}
	if (!runs)
		return;
	cells[i + 1] = text("%.0f %%", 100 * wide);
	cells[i + 2] = text("%.0f", runs);
	table_row(t, cells);
}

static void show_costs(const json_t *root, const struct family *f)
{
	struct column cols[ARRAY_SIZE(places) + 3] = { { "", 20, false } };
	const json_t *s;
	struct table *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(places); i++)
		cols[i + 1] = (struct column){ places[i].head, 8, true };
	cols[i + 1] = (struct column){ "spread", 6, true };
	cols[i + 2] = (struct column){ "runs", 4, true };
	heading("One %s of %s, %s pages, %d thread%s", f->direction,
		!strcmp(f->device, "file") ? "a file" : "a peer by RDMA", f->pages,
		f->threads, f->threads > 1 ? "s" : "");
	t = table_new(cols, ARRAY_SIZE(cols), false);
	json_array_foreach(json_object_get(root, "strategies"), i, s)
		cost_row(t, root, f, json_string_value(json_object_get(s, "strategy")));
	table_end(t);
}

/* ---------------------------------------------------------------- crossovers */

static const char *crossing_text(const json_t *c)
{
	const char *how = json_string_value(json_object_get(c, "beats_copy"));
	bool size = json_object_get(c, "reuse");
	double at = number(c, "at");

	if (!strcmp(how, "never"))
		return "never";
	if (!strcmp(how, "always"))
		return size ? text("at every size, from %s", size_phrase(at))
			    : "from the first use on";
	return size ? text("above %s", size_phrase(at)) : text("from %.0f uses on", at);
}

/* The same one by CPU time. */
static const json_t *twin(const json_t *root, const json_t *c)
{
	static const char *const keys[] = { "device",	"direction", "pages", "threads",
					    "strategy", "along",     "size",  "reuse" };
	const json_t *o;
	size_t i, k;

	json_array_foreach(json_object_get(root, "crossovers"), i, o)
	{
		for (k = 0; k < ARRAY_SIZE(keys); k++) {
			const json_t *a = json_object_get(c, keys[k]),
				     *b = json_object_get(o, keys[k]);

			if (a != b && !json_equal(a, b))
				break;
		}
		if (k == ARRAY_SIZE(keys) && word_is(o, "measure", "cpu"))
			return o;
	}
	return NULL;
}

static bool worth_a_row(const json_t *c, const struct family *f)
{
	json_int_t reuse = json_integer_value(json_object_get(c, "reuse"));
	json_int_t size = json_integer_value(json_object_get(c, "size"));

	if (!in_family(c, f) || !word_is(c, "measure", "time"))
		return false;
	if (reuse)
		return reuse == 1 || reuse == 100;
	return size == 4096 || size == 65536 || size == 1 << 20;
}

static void show_crossings(const json_t *root, const struct family *f)
{
	static const struct column cols[] = { { "cheaper than copying", 20, false },
					      { "", 14, false },
					      { "in time", 24, false },
					      { "", 7, false },
					      { "in CPU time", 24, false } };
	struct table *t = table_new(cols, ARRAY_SIZE(cols), false);
	const json_t *c, *cpu;
	size_t i;

	json_array_foreach(json_object_get(root, "crossovers"), i, c)
	{
		json_int_t reuse = json_integer_value(json_object_get(c, "reuse"));

		if (!worth_a_row(c, f))
			continue;
		cpu = twin(root, c);
		ROW(t, json_string_value(json_object_get(c, "strategy")),
		    reuse ? text("used %s", reuse == 1 ? "once" : "100 times")
			  : size_text((uint64_t)number(c, "size")),
		    crossing_text(c),
		    json_is_true(json_object_get(c, "clear")) ? "" : "(noisy)",
		    cpu ? crossing_text(cpu) : "");
	}
	table_end(t);
}

/* -------------------------------------------------------------------- missing */

static void show_missing(const json_t *root)
{
	const json_t *list = json_object_get(root, "missing"), *o;
	size_t i, late = json_array_size(json_object_get(root, "no_time"));

	if (json_array_size(list))
		heading("Not measured, and why");
	json_array_foreach(list, i, o) say_block(
		2, "%s, %s: %s: %s", json_string_value(json_object_get(o, "device")),
		json_string_value(json_object_get(o, "pages")),
		words_joined(json_object_get(o, "strategies")),
		json_string_value(json_object_get(o, "why")));
	if (late)
		say_block(2,
			  "%zu points are left out: the time limit of %.0f s was "
			  "too short for them.",
			  late, number(root, "time_limit_s"));
}

void findings_show(const json_t *root)
{
	struct family f[FAMILIES_MAX];
	unsigned int n = families(root, f, FAMILIES_MAX);

	for (unsigned int i = 0; i < n; i++) {
		show_costs(root, &f[i]);
		if (f[i].threads == 1)
			show_crossings(root, &f[i]);
	}
	show_missing(root);
	say_block(0,
		  "\nMedians of %.0f rounds in %.0f s; a time is what passes, for one "
		  "I/O, its share of what came before the first one and after the last "
		  "one included. Spread: interquartile range over the median, the "
		  "widest of the row.",
		  number(root, "rounds"), number(root, "seconds"));
}

/* ------------------------------------------------------------------------ CSV */

static void csv_line(FILE *f, const json_t *p, const json_t *r)
{
	fprintf(f, "%s,%s,%s,%.0f,%.0f,%.0f,%s",
		json_string_value(json_object_get(p, "device")),
		json_string_value(json_object_get(p, "direction")),
		json_string_value(json_object_get(p, "pages")), number(p, "threads"),
		number(p, "size"), number(p, "reuse"),
		json_string_value(json_object_get(r, "strategy")));
	fprintf(f, ",%.17g,%.17g,%.0f,%.17g,%.17g,%.17g", number(r, "ns"),
		number(r, "spread"), number(r, "runs"), number(r, "cpu_ns"),
		number(r, "begin_ns"), number(r, "end_ns"));
	if (json_object_get(r, "to_copy"))
		fprintf(f, ",%.17g,%.17g,%.17g\n", number_in(r, "to_copy", "ratio"),
			number_in(r, "to_copy", "low"),
			number_in(r, "to_copy", "high"));
	else
		fputs(",,,\n", f);
}

bool findings_csv(const json_t *root, const char *file)
{
	FILE *f = fopen(file, "we");
	const json_t *p, *r;
	size_t i, k;

	if (!f) {
		complain("%s cannot be written: %s", file, strerror(errno));
		return false;
	}
	fputs("device,direction,pages,threads,size,reuse,strategy,ns,spread,runs,cpu_"
	      "ns,"
	      "begin_ns,end_ns,ratio_to_copy,ratio_low,ratio_high\n",
	      f);
	json_array_foreach(json_object_get(root, "points"), i, p)
		json_array_foreach(json_object_get(p, "results"), k, r)
			csv_line(f, p, r);
	if (!ferror(f) & !fclose(f))
		return true;
	complain("%s cannot be written: %s", file, strerror(errno));
	return false;
}
