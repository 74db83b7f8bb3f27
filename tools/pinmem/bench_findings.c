/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_findings.c - where one strategy becomes cheaper than another, which one is the
 * cheapest where, and what to do: computed from the JSON; see bench_findings.h.
 */
#include "bench_findings.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "tool.h"

/* ------------------------------------------------------------- reading the JSON */

double number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

double number_in(const json_t *o, const char *inner, const char *key)
{
	return number(json_object_get(o, inner), key);
}

bool word_is(const json_t *o, const char *key, const char *value)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && !strcmp(s, value);
}

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static struct family family_of(const json_t *point)
{
	return (struct family){ word(point, "device"), word(point, "direction"),
				word(point, "pages"), (int)number(point, "threads") };
}

static bool same_family(const struct family *a, const struct family *b)
{
	return !strcmp(a->device, b->device) && !strcmp(a->direction, b->direction) &&
	       !strcmp(a->pages, b->pages) && a->threads == b->threads;
}

bool in_family(const json_t *o, const struct family *f)
{
	struct family of_o = family_of(o);

	return same_family(&of_o, f);
}

const char *words_joined(const json_t *names)
{
	const char *s = "";
	const json_t *name;
	size_t i;

	json_array_foreach(names, i, name) s =
		text("%s%s%s", s, i ? ", " : "", json_string_value(name));
	return s;
}

static int by_family(const void *a, const void *b)
{
	const struct family *x = a, *y = b;
	int order = strcmp(x->device, y->device);

	if (!order)
		order = x->threads - y->threads;
	if (!order)
		order = strcmp(x->pages, y->pages);
	return order ? order : strcmp(y->direction, x->direction);
}

unsigned int families(const json_t *root, struct family *f, unsigned int max)
{
	const json_t *point;
	unsigned int n = 0, k;
	size_t i;

	json_array_foreach(json_object_get(root, "points"), i, point)
	{
		struct family one = family_of(point);

		for (k = 0; k < n && !same_family(&f[k], &one); k++)
			;
		if (k == n && n < max)
			f[n++] = one;
	}
	qsort(f, n, sizeof(*f), by_family);
	return n;
}

static const json_t *point_at(const json_t *root, const struct family *f,
			      json_int_t size, json_int_t reuse)
{
	const json_t *point;
	size_t i;

	json_array_foreach(json_object_get(root, "points"), i, point)
	{
		if (in_family(point, f) &&
		    json_integer_value(json_object_get(point, "size")) == size &&
		    json_integer_value(json_object_get(point, "reuse")) == reuse)
			return point;
	}
	return NULL;
}

static const json_t *result_at(const json_t *point, const char *strategy)
{
	const json_t *r;
	size_t i;

	json_array_foreach(json_object_get(point, "results"), i,
			   r) if (!strcmp(word(r, "strategy"), strategy) &&
				  number(r, "ns") > 0) return r;
	return NULL;
}

const json_t *result(const json_t *root, const struct family *f, json_int_t size,
		     json_int_t reuse, const char *strategy)
{
	return result_at(point_at(root, f, size, reuse), strategy);
}

static int by_integer(const void *a, const void *b)
{
	json_int_t x = *(const json_int_t *)a, y = *(const json_int_t *)b;

	return (x > y) - (x < y);
}

unsigned int axis_values(const json_t *root, const struct family *f, enum axis axis,
			 json_int_t v[AXIS_MAX])
{
	const char *key = axis == AXIS_SIZE ? "size" : "reuse";
	const json_t *point;
	unsigned int n = 0, k;
	size_t i;

	json_array_foreach(json_object_get(root, "points"), i, point)
	{
		json_int_t x = json_integer_value(json_object_get(point, key));

		for (k = 0; k < n && v[k] != x; k++)
			;
		if (in_family(point, f) && k == n && n < AXIS_MAX)
			v[n++] = x;
	}
	qsort(v, n, sizeof(*v), by_integer);
	return n;
}

/* ---------------------------------------------------------------- crossovers */

/* What is compared, in the JSON of a result, and what that is called. */
static const struct measure {
	const char *name, *to_copy;
} measures[] = { { "time", "to_copy" }, { "cpu", "cpu_to_copy" } };

/** struct crossing - where the ratio to copying stays below one from.
 * @clear: three quarters of the rounds say so at each point from there on */
struct crossing {
	enum { NO_DATA, NEVER, ALWAYS, FROM } how;
	double at;
	bool clear;
};

/* @x ascending. Between two measured points the ratio's logarithm is taken to be
 * straight over the logarithm of x. */
static struct crossing crossing_of(const double *x, const json_t *const *r,
				   unsigned int n, const char *to_copy)
{
	struct crossing c = { .how = n ? NEVER : NO_DATA, .clear = true };
	unsigned int first = n;
	double a, b;

	while (first && number_in(r[first - 1], to_copy, "ratio") < 1) {
		first--;
		if (number_in(r[first], to_copy, "high") >= 1)
			c.clear = false;
	}
	if (first == n)
		return c;
	c.how = first ? FROM : ALWAYS;
	c.at = x[first];
	if (!first)
		return c;
	a = log(number_in(r[first - 1], to_copy, "ratio"));
	b = log(number_in(r[first], to_copy, "ratio"));
	c.at = exp(log(x[first - 1]) + log(x[first] / x[first - 1]) * a / (a - b));
	return c;
}

/* Along one axis, the other one fixed. */
static struct crossing cross(const json_t *root, const struct family *f, enum axis axis,
			     json_int_t fixed, const char *strategy,
			     const char *to_copy)
{
	const json_t *r[AXIS_MAX];
	json_int_t v[AXIS_MAX];
	double x[AXIS_MAX];
	unsigned int n = axis_values(root, f, axis, v), found = 0;

	for (unsigned int i = 0; i < n; i++) {
		r[found] = axis == AXIS_SIZE ? result(root, f, v[i], fixed, strategy)
					     : result(root, f, fixed, v[i], strategy);
		if (r[found] && json_object_get(r[found], to_copy))
			x[found++] = (double)v[i];
	}
	return crossing_of(x, r, found, to_copy);
}

static const char *const crossers[] = { "plain",      "pin-once", "cached",
					"pin-per-io", "odp-cold", "odp-prefetched" };

static void add_crossing(json_t *list, const struct family *f, enum axis axis,
			 json_int_t fixed, const char *strategy, const char *measure,
			 const struct crossing *c)
{
	static const char *const hows[] = { "", "never", "always", "from" };
	json_t *o = json_pack("{ss, ss, ss, si, ss, ss, ss, sI, ss, sb}", "device",
			      f->device, "direction", f->direction, "pages", f->pages,
			      "threads", f->threads, "strategy", strategy, "measure",
			      measure, "along", axis == AXIS_SIZE ? "size" : "reuse",
			      axis == AXIS_SIZE ? "reuse" : "size", fixed, "beats_copy",
			      hows[c->how], "clear", c->clear);

	if (c->how == FROM || c->how == ALWAYS)
		json_object_set_new(o, "at", json_real(c->at));
	json_array_append_new(list, o);
}

static void add_crossings(const json_t *root, const struct family *f, enum axis axis,
			  const struct measure *m, json_t *list)
{
	json_int_t v[AXIS_MAX];
	unsigned int n = axis_values(root, f, !axis, v);

	for (unsigned int i = 0; i < n; i++)
		for (size_t s = 0; s < ARRAY_SIZE(crossers); s++) {
			struct crossing c =
				cross(root, f, axis, v[i], crossers[s], m->to_copy);

			if (c.how != NO_DATA)
				add_crossing(list, f, axis, v[i], crossers[s], m->name,
					     &c);
		}
}

/* ------------------------------------------------------------------ cheapest */

/* What a program can choose: not the raw interface, nor libucx, nor what leaves a part
 * of its cost out; and mlock() is no way to pin. */
static const char *const choices[] = { "copy",		 "plain",  "pin-per-io",
				       "pin-once",	 "cached", "odp-cold",
				       "odp-prefetched", "stage" };

static double ratio_of(const json_t *r, const char *which)
{
	return json_object_get(r, "to_copy") ? number_in(r, "to_copy", which) : 1;
}

static const json_t *fastest(const json_t *point)
{
	const json_t *best = NULL, *r;

	for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
		r = result_at(point, choices[i]);
		if (r && (!best || number(r, "ns") < number(best, "ns")))
			best = r;
	}
	return best;
}

/* Of those whose time cannot be told from the fastest one's, the one that takes the
 * least of the CPU. What cannot be told apart would change from run to run. */
static json_t *cheapest_at(const json_t *point)
{
	const json_t *best = fastest(point), *least = best, *r;
	double reach = ratio_of(best, "ratio");
	json_t *alike = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
		r = result_at(point, choices[i]);
		if (!r || (r != best && ratio_of(r, "low") > reach))
			continue;
		json_array_append_new(alike, json_string(choices[i]));
		if (number(r, "cpu_ns") < number(least, "cpu_ns"))
			least = r;
	}
	return json_pack("{ss, so}", "strategy", word(least, "strategy"), "alike",
			 alike);
}

static void add_cheapest(const json_t *point, json_t *list)
{
	struct family f = family_of(point);
	json_t *o;

	if (!fastest(point))
		return;
	o = cheapest_at(point);
	json_object_update_new(o, json_pack("{ss, ss, ss, si, sO, sO}", "device",
					    f.device, "direction", f.direction, "pages",
					    f.pages, "threads", f.threads, "size",
					    json_object_get(point, "size"), "reuse",
					    json_object_get(point, "reuse")));
	json_array_append_new(list, o);
}

int findings_add(json_t *root)
{
	json_t *crossovers = json_array(), *cheapest = json_array();
	struct family f[FAMILIES_MAX];
	unsigned int n = families(root, f, FAMILIES_MAX);
	const json_t *point;
	size_t i;

	for (unsigned int k = 0; k < n; k++)
		for (size_t m = 0; m < ARRAY_SIZE(measures); m++) {
			add_crossings(root, &f[k], AXIS_SIZE, &measures[m], crossovers);
			add_crossings(root, &f[k], AXIS_REUSE, &measures[m],
				      crossovers);
		}
	json_array_foreach(json_object_get(root, "points"), i, point)
		add_cheapest(point, cheapest);
	if (json_object_set_new(root, "crossovers", crossovers) |
	    json_object_set_new(root, "cheapest", cheapest))
		return -ENOMEM;
	return 0;
}

const char *cheapest_name(const json_t *root, const struct family *f, json_int_t size,
			  json_int_t reuse)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(root, "cheapest"), i,
			   o) if (in_family(o, f) &&
				  (json_int_t)number(o, "size") == size &&
				  (json_int_t)number(o, "reuse") ==
					  reuse) return word(o, "strategy");
	return NULL;
}
