/* SPDX-License-Identifier: BSD-2-Clause */
/* advice.c - sentences from numbers; see advice.h. Nothing here is known beforehand. */
#include "advice.h"

#include <stdio.h>
#include <string.h>

#include "bench_findings.h"
#include "out.h"
#include "tool.h"

/* A difference of less is none. */
#define SAME 0.05
#define NOISY 0.25

static void say_so(json_t *list, const char *sentence)
{
	json_array_append_new(list, json_text(sentence));
}

/* What one does who follows it. */
static const char *deed(const char *strategy)
{
	static const struct {
		const char *strategy, *deed;
	} deeds[] = {
		{ "copy", "copy through a pre-pinned bounce buffer" },
		{ "plain", "leave the buffer unregistered" },
		{ "pin-per-io", "register for each I/O" },
		{ "pin-once", "register once and keep the region" },
		{ "cached", "use the registration cache" },
		{ "odp-cold", "register for on-demand paging" },
		{ "odp-prefetched", "register for on-demand paging and prefetch" },
		{ "stage", "stage" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(deeds); i++)
		if (!strcmp(strategy, deeds[i].strategy))
			return deeds[i].deed;
	return strategy;
}

static const char *title_of(const struct family *f)
{
	return text("%s, %s", !strcmp(f->device, "file") ? "File" : "RDMA",
		    f->direction);
}

/* ---------------------------------------------------------- which one is cheapest */

/* "up to 64 KiB copy …; from 256 KiB on register …" */
static void by_size(const json_t *root, const struct family *f, json_int_t reuse,
		    json_t *list)
{
	char sentence[1000] = "";
	const char *before = NULL, *now;
	json_int_t v[AXIS_MAX];
	unsigned int n = axis_values(root, f, AXIS_SIZE, v);

	for (unsigned int i = 0; i < n; i++) {
		size_t len = strlen(sentence);

		now = cheapest_name(root, f, v[i], reuse);
		if (!now || (before && !strcmp(now, before)))
			continue;
		snprintf(sentence + len, sizeof(sentence) - len, "%sfrom %s on, %s",
			 before ? "; " : "", size_text((uint64_t)v[i]), deed(now));
		before = now;
	}
	if (before)
		say_so(list,
		       text("%s, a buffer used %s: %s.", title_of(f),
			    reuse == 1 ? "once" : text("%lld times", (long long)reuse),
			    sentence));
}

/* -------------------------------------------------------------------- crossovers */

static const json_t *crossing(const json_t *root, const struct family *f,
			      const char *strategy, const char *measure,
			      const char *fixed_key, json_int_t fixed)
{
	const json_t *c;
	size_t i;

	json_array_foreach(json_object_get(root, "crossovers"), i,
			   c) if (word_is(c, "device", f->device) &&
				  word_is(c, "direction", f->direction) &&
				  word_is(c, "pages", f->pages) &&
				  (int)number(c, "threads") == f->threads &&
				  word_is(c, "strategy", strategy) &&
				  word_is(c, "measure", measure) &&
				  json_object_get(c, fixed_key) &&
				  (json_int_t)number(c, fixed_key) == fixed) return c;
	return NULL;
}

static const char *from_where(const json_t *c, const char *never, const char *always,
			      const char *from)
{
	if (!c || word_is(c, "beats_copy", "never"))
		return never;
	return word_is(c, "beats_copy", "always") ? always : from;
}

static void registration(const json_t *root, const struct family *f,
			 const char *measure, json_t *list)
{
	const json_t *size = crossing(root, f, "pin-once", measure, "reuse", 1);
	const json_t *uses = crossing(root, f, "pin-once", measure, "size", 65536);

	if (!size && !uses)
		return;
	say_so(list,
	       text("%s: in %s, registration beats copying %s for a buffer used once, "
		    "and %s for I/Os of 64 KiB.",
		    title_of(f), !strcmp(measure, "cpu") ? "CPU time" : "time",
		    from_where(size, "at no measured size", "at every measured size",
			       text("above %s", size_phrase(number(size, "at")))),
		    from_where(uses, "with no measured reuse", "from the first use on",
			       text("from %.0f uses of a buffer on",
				    number(uses, "at")))));
}

/* ------------------------------------------------------------ one against another */

/* The largest size or reuse at which both were measured; size 64 KiB where it may. */
static bool both(const json_t *root, const struct family *f, const char *a,
		 const char *b, json_int_t reuse, const json_t *r[2], json_int_t *size)
{
	json_int_t v[AXIS_MAX];
	unsigned int n = axis_values(root, f, AXIS_SIZE, v);

	while (n--) {
		r[0] = result(root, f, v[n], reuse, a);
		r[1] = result(root, f, v[n], reuse, b);
		*size = v[n];
		if (r[0] && r[1])
			return true;
	}
	return false;
}

static json_int_t most_used(const json_t *root, const struct family *f)
{
	json_int_t v[AXIS_MAX];
	unsigned int n = axis_values(root, f, AXIS_REUSE, v);

	return n ? v[n - 1] : 1;
}

static void cache_price(const json_t *root, const struct family *f, json_t *list)
{
	json_int_t reuse = most_used(root, f), size;
	const json_t *r[2];
	double ratio;

	if (!both(root, f, "cached", "pin-once", reuse, r, &size))
		return;
	ratio = number(r[0], "cpu_ns") / number(r[1], "cpu_ns");
	say_so(list,
	       ratio > 1 + SAME
		       ? text("%s: the cache takes %.0f %% more CPU time than a region "
			      "that the program keeps itself (%s, %lld uses): keep "
			      "regions where it is easy, else use the cache.",
			      title_of(f), 100 * (ratio - 1), size_text((uint64_t)size),
			      (long long)reuse)
		       : text("%s: the cache costs no more than a region that the "
			      "program keeps itself (%s, %lld uses): use the cache.",
			      title_of(f), size_text((uint64_t)size),
			      (long long)reuse));
}

static void odp(const json_t *root, const struct family *f, json_t *list)
{
	const json_t *cold[2], *warm[2];
	json_int_t size;

	if (!both(root, f, "odp-cold", "pin-once", 1, cold, &size))
		return;
	say_so(list,
	       text("%s: on-demand paging costs %.1f times what pinning costs for "
		    "a buffer of %s that is used once%s.",
		    title_of(f), number(cold[0], "ns") / number(cold[1], "ns"),
		    size_text((uint64_t)size),
		    number(cold[0], "ns") > (1 + SAME) * number(cold[1], "ns")
			    ? ": pin what may be pinned"
			    : ": it need not be avoided"));
	if (both(root, f, "odp-warm", "raw-once", most_used(root, f), warm, &size))
		say_so(list,
		       text("%s: once warm, ODP costs %.2f times what a pinned "
			    "region does (%s).",
			    title_of(f), number(warm[0], "ns") / number(warm[1], "ns"),
			    size_text((uint64_t)size)));
}

static const struct family *sibling(const struct family *all, unsigned int n,
				    const struct family *f, const char *pages)
{
	for (unsigned int i = 0; i < n; i++)
		if (!strcmp(all[i].device, f->device) &&
		    !strcmp(all[i].direction, f->direction) &&
		    !strcmp(all[i].pages, pages) && all[i].threads == f->threads)
			return &all[i];
	return NULL;
}

static void huge_pages(const json_t *root, const struct family *f,
		       const struct family *huge, json_t *list)
{
	json_int_t v[AXIS_MAX];
	unsigned int n = huge ? axis_values(root, huge, AXIS_SIZE, v) : 0;

	while (n--) {
		const json_t *a = result(root, f, v[n], 1, "pin-once");
		const json_t *b = result(root, huge, v[n], 1, "pin-once");
		double ratio = a && b ? number(a, "pin_ns") / number(b, "pin_ns") : 0;

		if (!(ratio > 0))
			continue;
		say_so(list,
		       ratio > 1.5
			       ? text("Memory on huge pages (%s) is pinned %.1f times "
				      "as "
				      "fast (%s, %s): use it for large buffers.",
				      huge->pages, ratio, f->device,
				      size_text((uint64_t)v[n]))
			       : text("Huge pages (%s) do not make pinning much faster "
				      "here: %.1f times (%s, %s).",
				      huge->pages, ratio, f->device,
				      size_text((uint64_t)v[n])));
		return;
	}
}

static void fsdax(const json_t *root, const struct family *dax, json_t *list)
{
	json_int_t v[AXIS_MAX];
	unsigned int n = dax ? axis_values(root, dax, AXIS_SIZE, v) : 0;
	const char *best = n ? cheapest_name(root, dax, v[n - 1], 1) : NULL;

	if (best)
		say_so(list,
		       text("%s from and to fsdax, which may not be pinned: %s "
			    "(%s).",
			    title_of(dax), deed(best), size_text((uint64_t)v[n - 1])));
}

/* ---------------------------------------------------------------- how far to trust */

static void noise(const json_t *root, json_t *list)
{
	unsigned int wide = 0, all = 0;
	const json_t *p, *r;
	size_t i, k;

	json_array_foreach(json_object_get(root, "points"), i, p)
		json_array_foreach(json_object_get(p, "results"), k, r)
	{
		wide += number(r, "spread") > NOISY;
		all++;
	}
	if (wide > all / 4)
		say_so(list,
		       text("These numbers are noisy: of %u of %u the rounds differ "
			    "by more than %.0f %%. Measure again on a quieter "
			    "machine, or longer, before you trust a difference "
			    "in time; CPU time suffers less.",
			    wide, all, 100 * NOISY));
}

static void of_cache(const json_t *cache, json_t *list)
{
	const json_t *hit, *last = NULL;
	size_t i;

	json_array_foreach(json_object_get(cache, "hits"), i,
			   hit) if (number(hit, "threads") == 1 &&
				    number_in(hit, "pinmem", "ns") > 0) last = hit;
	if (!last)
		return;
	say_so(list,
	       text("A hit of the cache takes %s among %.0f regions%s.",
		    time_text(number_in(last, "pinmem", "ns")), number(last, "regions"),
		    number_in(last, "faster", "value") > 0
			    ? text(", %.1f times as fast as libucx's",
				   number_in(last, "faster", "value"))
			    : ""));
}

static void of_family(const json_t *root, const struct family *all, unsigned int n,
		      const struct family *f, json_t *list)
{
	by_size(root, f, 1, list);
	by_size(root, f, 100, list);
	registration(root, f, "time", list);
	registration(root, f, "cpu", list);
	odp(root, f, list);
	fsdax(root, sibling(all, n, f, "fsdax"), list);
	if (strcmp(f->direction, "write"))
		return;
	cache_price(root, f, list);
	huge_pages(root, f, sibling(all, n, f, "thp"), list);
	huge_pages(root, f, sibling(all, n, f, "hugetlb"), list);
}

json_t *advice(const json_t *strategies, const json_t *cache)
{
	struct family f[FAMILIES_MAX];
	unsigned int n = families(strategies, f, FAMILIES_MAX);
	json_t *list = json_array();

	if (!list)
		return NULL;
	noise(strategies, list);
	for (unsigned int i = 0; i < n; i++)
		if (!strcmp(f[i].pages, "base") && f[i].threads == 1)
			of_family(strategies, f, n, &f[i], list);
	of_cache(cache, list);
	return list;
}
