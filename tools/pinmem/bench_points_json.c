/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_points_json.c - what was measured at the points, as JSON: docs/bench-json.md.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench_findings.h"
#include "bench_strategies.h"
#include "out.h"

static size_t word_length(const char *s)
{
	return strcspn(s, " ");
}

/* An address, a number, its unit, a file's name: it is another one at each point. */
static bool of_the_point(const char *s)
{
	size_t len = word_length(s);

	return strcspn(s, "0123456789/") < len ||
	       (len == 3 && !strncmp(s + 1, "iB", 2));
}

static bool same_reason(const char *a, const char *b)
{
	for (;;) {
		size_t n = word_length(a), m = word_length(b);

		if (!(of_the_point(a) && of_the_point(b)) &&
		    (n != m || strncmp(a, b, n)))
			return false;
		if (!a[n] || !b[m])
			return !a[n] && !b[m];
		a += n + 1;
		b += m + 1;
	}
}

/* A strategy is told with the other ones of the same reason. */
static json_t *missing_entry(json_t *list, const struct point *p,
			     const struct series *s)
{
	const char *why = s->why ? s->why : "out of memory";
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
	{
		const char *device, *pages, *reason;

		if (!json_unpack(o, "{ss, ss, ss}", "device", &device, "pages", &pages,
				 "why", &reason) &&
		    !strcmp(device, device_name(p->device)) &&
		    !strcmp(pages, pages_name(p->pages)) && same_reason(reason, why))
			return o;
	}
	o = json_pack("{ss, ss, s[], ss, so, si}", "device", device_name(p->device),
		      "pages", pages_name(p->pages), "strategies", "state",
		      bench_cannot(s->rc) ? "skipped" : "failed", "why", json_text(why),
		      "points", 0);
	json_array_append_new(list, o);
	return o;
}

static void note_missing(json_t *list, const struct point *p, unsigned int strategy,
			 const struct series *s)
{
	json_t *o = missing_entry(list, p, s),
	       *names = json_object_get(o, "strategies"), *name;
	size_t i;

	json_object_set_new(
		o, "points",
		json_integer(json_integer_value(json_object_get(o, "points")) + 1));
	json_array_foreach(names, i,
			   name) if (!strcmp(json_string_value(name),
					     strategies[strategy].name)) return;
	json_array_append_new(names, json_string(strategies[strategy].name));
}

/* Of the same rounds: what both have. */
static json_t *to_copy(const double *v, const double *copy, unsigned int n)
{
	double ratio[BENCH_ROUNDS_MAX];
	struct quartiles q;

	for (unsigned int i = 0; i < n; i++)
		ratio[i] = v[i] / copy[i];
	q = bench_quartiles(ratio, n);
	return json_pack("{sf, sf, sf}", "ratio", q.median, "low", q.low, "high",
			 q.high);
}

static json_t *result_json(const struct spot *spot, unsigned int strategy)
{
	const struct series *s = &spot->series[strategy],
			    *copy = &spot->series[STRATEGY_COPY];
	unsigned int n = s->runs < copy->runs ? s->runs : copy->runs;
	json_t *o = json_pack(
		"{ss, sf, sf, si, si, sf, sf, sf}", "strategy",
		strategies[strategy].name, "ns", bench_median(s->ns, s->runs), "spread",
		bench_spread(s->ns, s->runs), "runs", (int)s->runs, "cycles",
		(int)s->cycles, "cpu_ns", bench_median(s->cpu, s->runs), "begin_ns",
		bench_median(s->begin, s->runs), "end_ns",
		bench_median(s->end, s->runs));

	json_object_set_new(o, "pin_ns",
			    json_real(number(o, "begin_ns") + number(o, "end_ns")));
	if (n) {
		json_object_set_new(o, "to_copy", to_copy(s->ns, copy->ns, n));
		json_object_set_new(o, "cpu_to_copy", to_copy(s->cpu, copy->cpu, n));
	}
	return o;
}

static json_t *point_json(const struct point *p)
{
	return json_pack("{ss, ss, ss, si, sI, si}", "device", device_name(p->device),
			 "direction", p->write ? "write" : "read", "pages",
			 pages_name(p->pages), "threads", (int)p->threads, "size",
			 (json_int_t)p->size, "reuse", (int)p->reuse);
}

static json_t *spot_json(const struct spot *spot, json_t *missing)
{
	json_t *o = point_json(&spot->point), *results = json_array();
	json_t *late = json_array();

	for (unsigned int i = 0; i < strategies_n; i++) {
		const struct series *s = &spot->series[i];

		if (s->rc)
			note_missing(missing, &spot->point, i, s);
		if (s->runs)
			json_array_append_new(results, result_json(spot, i));
		else if (!s->rc)
			json_array_append_new(late, json_string(strategies[i].name));
	}
	json_object_set_new(o, "results", results);
	if (json_array_size(late))
		json_object_set(o, "no_time", late);
	json_decref(late);
	return o;
}

void strategies_json(const struct plan *plan, json_t *root)
{
	json_t *points = json_array(), *missing = json_array(), *late = json_array();

	for (unsigned int i = 0; i < plan->n; i++) {
		const struct spot *spot = &plan->spots[i];
		json_t *o = spot_json(spot, missing);

		if (json_array_size(json_object_get(o, "results")))
			json_array_append(points, o);
		else if (json_object_get(o, "no_time"))
			json_array_append_new(late, point_json(&spot->point));
		json_decref(o);
	}
	json_object_set_new(root, "points", points);
	json_object_set_new(root, "missing", missing);
	json_object_set_new(root, "no_time", late);
}
