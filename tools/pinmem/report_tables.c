/* SPDX-License-Identifier: BSD-2-Clause */
/* report_tables.c - the tables of the report's page; see report_tables.h. */
#include "report_tables.h"

#include <string.h>

#include "out.h"
#include "tool.h"

void html_text(FILE *f, const char *s)
{
	for (; s && *s; s++)
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc(*s, f);
		}
}

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void cell(FILE *f, const char *kind, const char *s)
{
	fprintf(f, "<%s>", kind);
	html_text(f, s);
	fputs(*kind == 't' && kind[1] == 'h' ? "</th>" : "</td>", f);
}

static void open_table(FILE *f, const char *const *heads, size_t n)
{
	fputs("<div class=scroll><table><tr>", f);
	for (size_t i = 0; i < n; i++)
		cell(f, "th", heads[i]);
	fputs("</tr>\n", f);
}

static void close_table(FILE *f)
{
	fputs("</table></div>\n", f);
}

void report_machine(FILE *f, const json_t *root)
{
	const json_t *m = json_object_get(root, "machine"), *device;
	size_t i;

	fputs("<p class=note>", f);
	if (m)
		html_text(
			f,
			text("pinmem %s on Linux %s, %s, %s, %.0f CPUs, %s of memory.",
			     word(m, "pinmem"), word(m, "kernel"),
			     word(m, "architecture"), word(m, "cpu"), number(m, "cpus"),
			     size_text((uint64_t)number(m, "memory"))));
	if (number(root, "rounds") > 0)
		html_text(f, text(" Medians of %.0f rounds.", number(root, "rounds")));
	json_array_foreach(json_object_get(root, "devices"), i, device)
		html_text(f, text(" %s: %s%s.", word(device, "device"),
				  word(device, "what"), word(device, "why")));
	fputs("</p>\n", f);
}

/* ---------------------------------------------------------------- strategies */

static void cost_row(FILE *f, const json_t *root, const struct family *fam,
		     const char *strategy, const json_int_t *sizes, unsigned int n)
{
	bool any = false;

	for (unsigned int i = 0; i < n; i++)
		any |= result(root, fam, sizes[i], 1, strategy) != NULL;
	if (!any)
		return;
	fputs("<tr>", f);
	cell(f, "td", strategy);
	for (unsigned int i = 0; i < n; i++) {
		const json_t *r = result(root, fam, sizes[i], 1, strategy);

		cell(f, "td",
		     r ? text("%s ±%.0f %%", time_text(number(r, "ns")),
			      50 * number(r, "spread"))
		       : "");
	}
	fputs("</tr>\n", f);
}

static void cost_table(FILE *f, const json_t *root, const struct family *fam)
{
	const char *heads[AXIS_MAX + 1] = { "" };
	json_int_t sizes[AXIS_MAX];
	unsigned int n = axis_values(root, fam, AXIS_SIZE, sizes);
	const json_t *s;
	size_t i;

	for (unsigned int k = 0; k < n; k++)
		heads[k + 1] = size_text((uint64_t)sizes[k]);
	fputs("<h3>", f);
	html_text(f,
		  text("%s, %s, %s pages, %d thread%s: one I/O of a buffer used once",
		       fam->device, fam->direction, fam->pages, fam->threads,
		       fam->threads > 1 ? "s" : ""));
	fputs("</h3>\n", f);
	open_table(f, heads, n + 1);
	json_array_foreach(json_object_get(root, "strategies"), i, s)
		cost_row(f, root, fam, word(s, "strategy"), sizes, n);
	close_table(f);
}

static void cheapest_table(FILE *f, const json_t *root, const struct family *fam)
{
	const char *heads[AXIS_MAX + 1] = { "size" };
	json_int_t sizes[AXIS_MAX], reuses[AXIS_MAX];
	unsigned int n = axis_values(root, fam, AXIS_SIZE, sizes),
		     m = axis_values(root, fam, AXIS_REUSE, reuses);

	for (unsigned int k = 0; k < m; k++)
		heads[k + 1] = text("used %lld×", (long long)reuses[k]);
	fputs("<p class=note>The cheapest: of those whose time is the same within the "
	      "spread of the rounds, the one with the least CPU time.</p>\n",
	      f);
	open_table(f, heads, m + 1);
	for (unsigned int i = 0; i < n; i++) {
		fputs("<tr>", f);
		cell(f, "td", size_text((uint64_t)sizes[i]));
		for (unsigned int k = 0; k < m; k++)
			cell(f, "td", cheapest_name(root, fam, sizes[i], reuses[k]));
		fputs("</tr>\n", f);
	}
	close_table(f);
}

static void missing_table(FILE *f, const json_t *root)
{
	static const char *const heads[] = { "device, pages", "strategies", "why" };
	const json_t *list = json_object_get(root, "missing"), *o;
	size_t i;

	if (json_array_size(list)) {
		fputs("<h3>Not measured, and why</h3>\n", f);
		open_table(f, heads, ARRAY_SIZE(heads));
	}
	json_array_foreach(list, i, o)
	{
		fputs("<tr>", f);
		cell(f, "td", text("%s, %s", word(o, "device"), word(o, "pages")));
		cell(f, "td class=why", words_joined(json_object_get(o, "strategies")));
		cell(f, "td class=why", word(o, "why"));
		fputs("</tr>\n", f);
	}
	if (json_array_size(list))
		close_table(f);
	if (json_array_size(json_object_get(root, "no_time")))
		fprintf(f,
			"<p class=note>%zu points were dropped for lack of time.</p>\n",
			json_array_size(json_object_get(root, "no_time")));
}

static void strategies_tables(FILE *f, const json_t *root)
{
	static const char *const heads[] = { "strategy", "what it does" };
	struct family fam[FAMILIES_MAX];
	unsigned int n = families(root, fam, FAMILIES_MAX);
	const json_t *s;
	size_t i;

	for (unsigned int k = 0; k < n; k++) {
		cost_table(f, root, &fam[k]);
		cheapest_table(f, root, &fam[k]);
	}
	missing_table(f, root);
	fputs("<h3>The strategies</h3>\n", f);
	open_table(f, heads, ARRAY_SIZE(heads));
	json_array_foreach(json_object_get(root, "strategies"), i, s)
	{
		fputs("<tr>", f);
		cell(f, "td", word(s, "strategy"));
		cell(f, "td class=why", word(s, "what"));
		fputs("</tr>\n", f);
	}
	close_table(f);
}

/* --------------------------------------------------------------- other benches */

static void cache_tables(FILE *f, const json_t *root)
{
	static const char *const heads[] = { "regions", "threads",    "pinmem",
					     "spread",	"ucs_rcache", "faster" };
	const json_t *hit;
	size_t i;

	open_table(f, heads, ARRAY_SIZE(heads));
	json_array_foreach(json_object_get(root, "hits"), i, hit)
	{
		double ours = number_in(hit, "pinmem", "ns"),
		       ucx = number_in(hit, "ucx", "ns");

		fputs("<tr>", f);
		cell(f, "td", text("%.0f", number(hit, "regions")));
		cell(f, "td", text("%.0f", number(hit, "threads")));
		cell(f, "td", ours > 0 ? time_text(ours) : word(hit, "state"));
		cell(f, "td",
		     text("%.0f %%", 100 * number_in(hit, "pinmem", "spread")));
		cell(f, "td", ucx > 0 ? time_text(ucx) : "");
		cell(f, "td",
		     ucx > 0 ? text("%.1f ×", number_in(hit, "faster", "value")) : "");
		fputs("</tr>\n", f);
	}
	close_table(f);
}

static void register_tables(FILE *f, const json_t *root)
{
	static const char *const heads[] = { "",      "base",	"pinmem",
					     "ratio", "spread", "pairs" };
	const json_t *line;
	size_t i;

	open_table(f, heads, ARRAY_SIZE(heads));
	json_array_foreach(json_object_get(root, "lines"), i, line)
	{
		bool there = number(line, "pairs") > 0;

		fputs("<tr>", f);
		cell(f, "td", word(line, "name"));
		cell(f, "td",
		     there ? time_text(number(line, "base_ns")) : word(line, "state"));
		cell(f, "td", there ? time_text(number(line, "ours_ns")) : "");
		cell(f, "td", there ? text("%.3f", number(line, "ratio")) : "");
		cell(f, "td",
		     there ? text("%.0f %%", 100 * number(line, "ours_spread")) : "");
		cell(f, "td", there ? text("%.0f", number(line, "pairs")) : "");
		fputs("</tr>\n", f);
	}
	close_table(f);
}

/* What each of the trackers of a list takes: "1.8 µs, 1.58 ×". */
static void tracker_cells(FILE *f, const json_t *list, const char *figure)
{
	const json_t *t;
	size_t i;

	json_array_foreach(list, i, t)
	{
		double ns = number_in(t, figure, "ns"),
		       ratio = number_in(json_object_get(t, "to_bias"), figure,
					 "ratio");

		cell(f, "td", ns > 0 ? text("%s, %.2f ×", time_text(ns), ratio) : "");
	}
}

static unsigned int tracker_heads(const json_t *list, const char **heads,
				  unsigned int n, unsigned int max)
{
	const json_t *t;
	size_t i;

	json_array_foreach(list, i, t)
	{
		if (n < max)
			heads[n++] = word(t, "tracker");
	}
	return n;
}

static void tracker_costs(FILE *f, const json_t *root)
{
	static const char *const figures[] = { "pin", "unpin", "irq_unpin", "query" };
	const char *heads[16] = { "of one pin", "" };
	const json_t *costs = json_object_get(root, "cost"), *cost;
	size_t i;

	if (!json_array_size(costs))
		return;
	fputs("<h3>Cost, and over that of bias in the same round</h3>\n", f);
	open_table(f, heads,
		   tracker_heads(json_object_get(json_array_get(costs, 0), "trackers"),
				 heads, 2, ARRAY_SIZE(heads)));
	json_array_foreach(costs, i, cost)
	{
		for (size_t k = 0; k < ARRAY_SIZE(figures); k++) {
			fputs("<tr>", f);
			cell(f, "td",
			     k ? ""
			       : text("%.0f pages, %s, %.0f threads",
				      number(cost, "pages"), word(cost, "memory"),
				      number(cost, "threads")));
			cell(f, "td", figures[k]);
			tracker_cells(f, json_object_get(cost, "trackers"), figures[k]);
			fputs("</tr>\n", f);
		}
	}
	close_table(f);
}

static void tracker_memory(FILE *f, const json_t *root)
{
	const char *heads[16] = { "held" };
	const json_t *list = json_object_get(root, "memory"), *held, *t;
	size_t i, k;

	if (!json_array_size(list))
		return;
	fputs("<h3>Memory, bytes for each pin</h3>\n", f);
	open_table(f, heads,
		   tracker_heads(json_object_get(json_array_get(list, 0), "trackers"),
				 heads, 1, ARRAY_SIZE(heads)));
	json_array_foreach(list, i, held)
	{
		fputs("<tr>", f);
		cell(f, "td",
		     text("%.0f pins of %.0f pages", number(held, "pins"),
			  number(held, "pages")));
		json_array_foreach(json_object_get(held, "trackers"), k, t)
			cell(f, "td", text("%.0f", number(t, "bytes_per_pin")));
		fputs("</tr>\n", f);
	}
	close_table(f);
}

static void tracker_claims(FILE *f, const json_t *root)
{
	static const char *const heads[] = { "the threads said", "", "measured", "" };
	const json_t *list = json_object_get(root, "claims"), *claim, *figure;
	size_t i, k;

	if (!json_array_size(list))
		return;
	fputs("<h3>What was said of it, and what was measured</h3>\n", f);
	open_table(f, heads, ARRAY_SIZE(heads));
	json_array_foreach(list, i, claim)
	{
		json_array_foreach(json_object_get(claim, "figures"), k, figure)
		{
			fputs("<tr>", f);
			cell(f, "td class=why", k ? "" : word(claim, "sentence"));
			cell(f, "td class=why",
			     k ? ""
			       : text("%s, %s", word(claim, "author"),
				      word(claim, "date")));
			cell(f, "td class=why",
			     json_object_get(figure, "value")
				     ? text("%s: %.3g", word(figure, "what"),
					    number(figure, "value"))
				     : text("%s: not measured", word(figure, "what")));
			cell(f, "td", word(figure, "says"));
			fputs("</tr>\n", f);
		}
	}
	close_table(f);
}

static void trackers_tables(FILE *f, const json_t *root)
{
	tracker_costs(f, root);
	tracker_memory(f, root);
	tracker_claims(f, root);
}

void report_tables(FILE *f, const json_t *root)
{
	static const struct {
		const char *bench;
		void (*tables)(FILE *f, const json_t *root);
	} benches[] = {
		{ "strategies", strategies_tables },
		{ "cache", cache_tables },
		{ "register", register_tables },
		{ "trackers", trackers_tables },
	};

	for (size_t i = 0; i < ARRAY_SIZE(benches); i++)
		if (word_is(root, "bench", benches[i].bench))
			benches[i].tables(f, root);
}
