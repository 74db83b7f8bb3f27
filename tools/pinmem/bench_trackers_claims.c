/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_trackers_claims.c - what the figures of `pinmem bench trackers` say of
 * sentences of the threads in which the ways to track pins were argued about (linux-mm,
 * 2018 to 2019; the sentences are quoted as they were written). Each sentence comes
 * with the figures that would be like that if it were right; the verdict is computed
 * from them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench_findings.h"
#include "bench_trackers.h"
#include "tool.h"

/* From here on a difference is worth a word. It is also what rounds differ by. */
#define NOTICEABLE 1.05
#define NO_WORSE (1 / NOTICEABLE)

/** struct figure - of the JSON, with its quartiles; a count has all three alike. */
struct figure {
	double low, value, high;
};

/**
 * struct expectation - a figure, and how it is if the sentence is right.
 * @get:      false: it was not measured
 * @quantity: of a cost; @when: of answers; both: a key or value of the JSON
 * @transient: TRANSIENTS: all but plain references
 * @above:    more than @than; else at most
 */
struct expectation {
	const char *what;
	bool (*get)(const json_t *root, const struct expectation *e, struct figure *f);
	enum tracker tracker;
	unsigned long pages;
	const char *quantity, *when;
	enum transient transient;
	bool above;
	double than;
};

/** struct claim - @thread: its subject */
struct claim {
	const char *author, *date, *thread, *sentence;
	struct expectation expectations[3];
};

/* ------------------------------------------------------------ reading the JSON */

static bool is(const json_t *o, const char *key, const char *value)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && !strcmp(s, value);
}

static const json_t *of_tracker(const json_t *point, enum tracker tracker)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(point, "trackers"), i,
			   o) if (is(o, "tracker", tracker_names[tracker])) return o;
	return NULL;
}

/* @threads 0: any. */
static const json_t *find_point(const json_t *list, unsigned long pages,
				unsigned int threads)
{
	const json_t *o;
	size_t i;

	json_array_foreach(
		list, i, o) if (number(o, "pages") == (double)pages &&
				(!threads || (number(o, "threads") == threads &&
					      is(o, "memory", "anonymous")))) return o;
	return NULL;
}

static bool read_ratio(const json_t *o, struct figure *f)
{
	*f = (struct figure){ number(o, "low"), number(o, "ratio"), number(o, "high") };
	return f->value > 0;
}

static bool cost_to(const json_t *root, const struct expectation *e, const char *to,
		    unsigned int threads, struct figure *f)
{
	const json_t *point =
		find_point(json_object_get(root, "cost"), e->pages, threads);
	const json_t *ratios = json_object_get(of_tracker(point, e->tracker), to);

	return read_ratio(json_object_get(ratios, e->quantity), f);
}

/* Against the page count, one thread. */
static bool cost(const json_t *root, const struct expectation *e, struct figure *f)
{
	return cost_to(root, e, "to_bias", 1, f);
}

static bool cost_dirty(const json_t *root, const struct expectation *e,
		       struct figure *f)
{
	return cost_to(root, e, "to_dirty_at_unpin", 1, f);
}

/* By how much the second thread makes it worse than it makes the page count. The two
 * come of different rounds, so the quartiles are as far apart as they can be. */
static bool second_thread(const json_t *root, const struct expectation *e,
			  struct figure *f)
{
	struct figure one, two;

	if (!cost_to(root, e, "to_bias", 1, &one) ||
	    !cost_to(root, e, "to_bias", 2, &two) || !(one.low > 0))
		return false;
	*f = (struct figure){ two.low / one.high, two.value / one.value,
			      two.high / one.low };
	return true;
}

/* The geometric mean over all places: the best of many would be the luckiest. */
static bool cost_anywhere(const json_t *root, const struct expectation *e,
			  struct figure *f)
{
	struct figure sum = { 0 }, one;
	const json_t *point;
	unsigned int n = 0;
	size_t i;

	json_array_foreach(json_object_get(root, "cost"), i, point)
	{
		const json_t *ratios =
			json_object_get(of_tracker(point, e->tracker), "to_bias");

		if (!read_ratio(json_object_get(ratios, e->quantity), &one))
			continue;
		sum.low += log(one.low);
		sum.value += log(one.value);
		sum.high += log(one.high);
		n++;
	}
	if (n)
		*f = (struct figure){ exp(sum.low / n), exp(sum.value / n),
				      exp(sum.high / n) };
	return n;
}

static bool bytes_per_page(const json_t *root, const struct expectation *e,
			   struct figure *f)
{
	const json_t *o = of_tracker(
		find_point(json_object_get(root, "memory"), e->pages, 0), e->tracker);
	double bytes = number(o, "bytes_per_page");

	*f = (struct figure){ bytes, bytes, bytes };
	return json_object_get(o, "bytes_per_page");
}

static bool wanted(const json_t *point, const struct expectation *e)
{
	if (!is(point, "when", e->when))
		return false;
	if (e->transient == TRANSIENTS)
		return !is(point, "transient", transient_names[REFERENCES]);
	return is(point, "transient", transient_names[e->transient]);
}

/* Of all answers, those that are wrong, in percent. */
static bool wrong(const json_t *root, const struct expectation *e, struct figure *f)
{
	double bad = 0, asked = 0;
	const json_t *point;
	size_t i;

	json_array_foreach(json_object_get(root, "answers"), i, point)
	{
		const json_t *o = of_tracker(point, e->tracker);

		if (!wanted(point, e))
			continue;
		bad += number(o, "false_positives") + number(o, "false_negatives");
		asked += number(o, "queries");
	}
	bad = asked > 0 ? 100 * bad / asked : 0;
	*f = (struct figure){ bad, bad, bad };
	return asked > 0;
}

/* The same of references that come and go: that none was met does not say that there
 * are none. Of n answers without a wrong one, 3 in n may be wrong (95 %). */
static bool wrong_met(const json_t *root, const struct expectation *e, struct figure *f)
{
	const json_t *point;
	double asked = 0;
	size_t i;

	if (!wrong(root, e, f))
		return false;
	json_array_foreach(json_object_get(root, "answers"), i,
			   point) if (wanted(point, e)) asked +=
		number(of_tracker(point, e->tracker), "queries");
	if (!(f->value > 0))
		f->high = 300 / asked;
	return true;
}

/* Pages that writeback had cleaned and that were clean after the unpin. */
static bool lost_dirty(const json_t *root, const struct expectation *e,
		       struct figure *f)
{
	const json_t *point;
	double lost = 0;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(root, "cost"), i, point)
	{
		const json_t *o = of_tracker(point, e->tracker);

		lost += number(o, "lost_dirty");
		found |= json_object_get(o, "lost_dirty") != NULL;
	}
	*f = (struct figure){ lost, lost, lost };
	return found;
}

/* --------------------------------------------------------------- the sentences */

/* clang-format off */
#define FIRST_STEPS "[PATCH 0/4] get_user_pages*() and RDMA: first steps"
#define PLACEHOLDER "[PATCH 1/2] mm: introduce put_user_page*(), placeholder versions"
#define PLACEHOLDER4 "[PATCH v4 1/1] mm: introduce put_user_page*(), placeholder versions"

#define COST(name, t, n, q) .what = name, .get = cost, .tracker = t, .pages = n, .quantity = q
#define DIRTY(name, n, q) .what = name, .get = cost_dirty, .tracker = DIRTY_AT_PIN, .pages = n, .quantity = q
#define WRONG(name, t, by, at) .what = name, .get = wrong, .tracker = t, .transient = by, .when = at
#define MET(name, t, by) .what = name, .get = wrong_met, .tracker = t, .transient = by, .when = "during"
#define LOST(name, t) .what = name, .get = lost_dirty, .tracker = t
#define BYTES(name, t, n) .what = name, .get = bytes_per_page, .tracker = t, .pages = n
#define MORE_THAN(x) .above = true, .than = x
#define AT_MOST(x) .above = false, .than = x

static const struct claim claims[] = {
	{ "Jerome Glisse", "2018-09-29", FIRST_STEPS,
	  "So the mapcount == refcount (modulo extra reference for mapping and private) should holds",
	  { { WRONG("wrong answers of the heuristic, %, nobody else at work", HEURISTIC, NOTHING, "during"), AT_MOST(0) } } },
	{ "Jerome Glisse", "2018-09-29", FIRST_STEPS,
	  "here are the case when it does not: - page being migrated",
	  { { MET("wrong answers of the heuristic, %, during migration", HEURISTIC, MIGRATION), MORE_THAN(0) } } },
	{ "Jerome Glisse", "2018-09-29", FIRST_STEPS, "- page being isolated from LRU",
	  { { MET("wrong answers of the heuristic, %, during isolation", HEURISTIC, ISOLATION), MORE_THAN(0) } } },
	{ "Jerome Glisse", "2018-09-29", FIRST_STEPS, "- page cache lookup",
	  { { MET("wrong answers of the heuristic, %, during lookups", HEURISTIC, LOOKUP), MORE_THAN(0) } } },
	{ "Jerome Glisse", "2018-09-29", FIRST_STEPS,
	  "all of the above are transitory, the extra reference only last for as long as it takes for the action to finish",
	  { { MET("wrong answers of the heuristic, %, during these", HEURISTIC, TRANSIENTS), MORE_THAN(0) },
	    { WRONG("the same after they have ended", HEURISTIC, TRANSIENTS, "after"), AT_MOST(0) } } },
	{ "John Hubbard", "2018-09-28", FIRST_STEPS,
	  "I don't think it is reliable enough to trust for identifying pages that have been gup-pinned.",
	  { { MET("wrong answers of the heuristic, %, transient references", HEURISTIC, TRANSIENTS), MORE_THAN(0) } } },
	{ "Jan Kara", "2018-10-03", FIRST_STEPS, "these page refcount are fragile",
	  { { WRONG("wrong answers of the heuristic, %, plain references to one page", HEURISTIC, REFERENCES, "during"), MORE_THAN(0) } } },
	{ "Jan Kara", "2018-10-03", FIRST_STEPS,
	  "So I think we really need a new reliable mechanism for tracking page references from GUP.",
	  { { MET("wrong answers of the heuristic, %, transient references", HEURISTIC, TRANSIENTS), MORE_THAN(0) },
	    { WRONG("of the page count, %", BIAS, TRANSIENTS, "during"), AT_MOST(0) } } },
	{ "Jan Kara", "2018-12-10", PLACEHOLDER,
	  "So essentially we'd loose get_user_pages_fast() functionality.",
	  { { .what = "pin through the fake VMA to page count: two threads over one", .get = second_thread,
	      .tracker = ITREE, .pages = 1, .quantity = "pin", MORE_THAN(NOTICEABLE) } } },
	{ "Jan Kara", "2018-12-10", PLACEHOLDER, "The overhead e.g. for direct IO may be noticeable.",
	  { { COST("pin and unpin of a page, fake VMA to page count", ITREE, 1, "pin_unpin"), MORE_THAN(NOTICEABLE) } } },
	{ "Jan Kara", "2018-12-10", PLACEHOLDER,
	  "Then on IO completion you need to queue work to unpin the pages again",
	  { { COST("unpin of a page from an interrupt, fake VMA to page count", ITREE, 1, "irq_unpin"), MORE_THAN(NOTICEABLE) } } },
	{ "Jan Kara", "2018-12-10", PLACEHOLDER,
	  "the cost could be amortized if gup() is called for multiple consecutive pages however for small IOs there's no help",
	  { { COST("pin and unpin of 2 MiB, fake VMA to page count", ITREE, 512, "pin_unpin"), AT_MOST(NOTICEABLE) },
	    { COST("of a page", ITREE, 1, "pin_unpin"), MORE_THAN(NOTICEABLE) } } },
	{ "Jan Kara", "2018-12-10", PLACEHOLDER,
	  "this approach doesn't look like a win to me over using counter in struct page",
	  { { .what = "pin and unpin, fake VMA to page count, mean of all places", .get = cost_anywhere,
	      .tracker = ITREE, .quantity = "pin_unpin", MORE_THAN(NO_WORSE) } } },
	{ "Jerome Glisse", "2018-12-17", PLACEHOLDER,
	  "we have to allocate a structure for each page that is under GUP",
	  { { BYTES("bytes for a page, side structure, single pages", XARRAY, 1), MORE_THAN(0) },
	    { BYTES("the same, 1 GiB pinned", XARRAY, TRACKER_PAGES_MAX), MORE_THAN(0) } } },
	{ "Jerome Glisse", "2018-12-17", PLACEHOLDER,
	  "I do not see any benefit in that.",
	  { { WRONG("wrong answers of the page count, %, which a side structure has not: 1100 references", BIAS, REFERENCES, "during"), AT_MOST(0) },
	    { COST("pin and unpin of a page, side structure to page count", XARRAY, 1, "pin_unpin"), MORE_THAN(NO_WORSE) } } },
	{ "Matthew Wilcox", "2018-12-17", PLACEHOLDER,
	  "If we ditch hmm_data, there's no need to allocate a structure, and we don't lose GUP fast either.",
	  { { BYTES("bytes for a page, page count", BIAS, 1), AT_MOST(0) } } },
	{ "Jerome Glisse", "2019-03-19", PLACEHOLDER4, "amortize the cost of calling set_page_dirty()",
	  { { DIRTY("pin and unpin of a page, dirty at pin to dirty at unpin", 1, "pin_unpin"), AT_MOST(1) },
	    { DIRTY("of 2 MiB", 512, "pin_unpin"), AT_MOST(1) } } },
	{ "Kirill A. Shutemov", "2019-03-19", PLACEHOLDER4,
	  "It sounds more sensible to me to dirty the page on get, not on put.",
	  { { LOST("pages, small or huge, that end clean after writeback in between, dirty at pin", DIRTY_AT_PIN), AT_MOST(0) } } },
	{ "Jan Kara", "2019-03-19", PLACEHOLDER4, "pin would make sure it stays dirty until unpinned",
	  { { LOST("pages, small or huge, that end clean after writeback in between, dirty at pin", DIRTY_AT_PIN), AT_MOST(0) } } },
	{ "John Hubbard", "2019-03-19", PLACEHOLDER4, "it's safer to avoid changing things",
	  { { LOST("pages, small or huge, that end clean after writeback in between, dirty at pin", DIRTY_AT_PIN), MORE_THAN(0) },
	    { LOST("dirty at unpin", DIRTY_AT_UNPIN), AT_MOST(0) } } },
};
/* clang-format on */

/* --------------------------------------------------------------------- verdicts */

enum verdict { CONFIRMED, NOT_DECIDED, REFUTED };
static const char *const verdicts[] = { "confirmed", "not decided", "refuted" };

static enum verdict judge(const struct expectation *e, const struct figure *f)
{
	if (f->low > e->than)
		return e->above ? CONFIRMED : REFUTED;
	if (f->high <= e->than)
		return e->above ? REFUTED : CONFIRMED;
	return NOT_DECIDED;
}

static enum verdict add_figure(const json_t *root, const struct expectation *e,
			       json_t *list)
{
	json_t *o = json_pack("{ss, ss, sf}", "what", e->what, "expected",
			      e->above ? "above" : "at most", "than", e->than);
	enum verdict verdict = NOT_DECIDED;
	struct figure f;

	if (e->get(root, e, &f)) {
		verdict = judge(e, &f);
		json_object_update_new(o, json_pack("{sf, sf, sf}", "value", f.value,
						    "low", f.low, "high", f.high));
	}
	json_object_set_new(o, "says", json_string(verdicts[verdict]));
	json_array_append_new(list, o);
	return verdict;
}

/* Refuted by any of its figures, confirmed only by all. */
static json_t *claim_json(const json_t *root, const struct claim *c)
{
	enum verdict verdict = CONFIRMED;
	json_t *figures = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(c->expectations); i++) {
		enum verdict one;

		if (!c->expectations[i].what)
			break;
		one = add_figure(root, &c->expectations[i], figures);
		if (one > verdict)
			verdict = one;
	}
	return json_pack("{ss, ss, ss, ss, ss, so}", "sentence", c->sentence, "author",
			 c->author, "date", c->date, "thread", c->thread, "verdict",
			 verdicts[verdict], "figures", figures);
}

int trackers_claims(json_t *root)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(claims); i++)
		if (json_array_append_new(list, claim_json(root, &claims[i])))
			goto drop;
	return json_object_set_new(root, "claims", list) ? -ENOMEM : 0;
drop:
	json_decref(list);
	return -ENOMEM;
}
