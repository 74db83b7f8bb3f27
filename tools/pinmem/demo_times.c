/* SPDX-License-Identifier: BSD-2-Clause */
/* demo_times.c - step 3: what pinning costs, per GiB and per page size. */
#include <stdlib.h>

#include "demo.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

#define GIB (1ull << 30)
#define QUICK_SIZE (128ull << 20)
#define LEAST_SIZE (64ull << 10)
#define ROUNDS 15
#define BUDGET_NS 2000000000ull /* for one row: an emulated machine is slow */

/* One row: medians, for the whole length. */
struct timed {
	uint64_t len, page;
	unsigned int rounds;
	double fresh_ns; /* populate and pin untouched memory */
	double pin_ns, clean_ns, dirty_ns;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n ? values[n / 2] : 0;
}

/* One registration and release. Return: 0, or -1 with pinmem_errmsg(). */
static int time_once(struct demo *d, const struct memory *m, enum pinmem_unpin how,
		     double *pin, double *unpin)
{
	struct pinmem_reg_options opts = demo_options(m);
	struct pinmem_mr *mr;
	uint64_t begin = sys_now_ns();

	if (pinmem_reg(d->pm, m->addr, m->len, d->access, &opts, &mr))
		return -1;
	*pin = (double)(sys_now_ns() - begin);
	begin = sys_now_ns();
	if (pinmem_dereg(mr, how, NULL))
		return -1;
	*unpin = (double)(sys_now_ns() - begin);
	return 0;
}

static int time_memory(struct demo *d, const struct memory *m, struct timed *r)
{
	double pin[2 * ROUNDS], clean[ROUNDS], dirty[ROUNDS], unpin;
	uint64_t begin = sys_now_ns();
	unsigned int n = 0;

	if (time_once(d, m, PINMEM_CLEAN, &r->fresh_ns, &unpin))
		return -1;
	while (n < ROUNDS && !stop_requested()) {
		if (time_once(d, m, PINMEM_CLEAN, &pin[2 * n], &clean[n]) ||
		    time_once(d, m, PINMEM_DIRTY, &pin[2 * n + 1], &dirty[n]))
			return -1;
		n++;
		progress_show(text("timing %s", memory_label(m->kind)), n, ROUNDS);
		if (sys_now_ns() - begin > BUDGET_NS)
			break;
	}
	r->rounds = n;
	r->pin_ns = median(pin, 2 * n);
	r->clean_ns = median(clean, n);
	r->dirty_ns = median(dirty, n);
	return 0;
}

/* At least a GiB, where half of what is available is one. */
static uint64_t choose_len(struct demo *d, enum memory_kind kind)
{
	uint64_t len = d->common.quick ? QUICK_SIZE : GIB, page, have;

	have = sys_meminfo("MemAvailable") / 2;
	if (kind == MEM_HUGETLB)
		have = sys_hugetlb_free(&page) * page;
	while (len > have && len > LEAST_SIZE)
		len /= 2;
	return demo_fits(d, len, LEAST_SIZE);
}

static void show_timed(struct table *t, json_t *list, const struct memory *m,
		       const struct timed *r)
{
	double per_gib = (double)GIB / (double)r->len;
	double pages = (double)r->len / (double)r->page;

	/* the kernel may have had no huge page to give */
	ROW(t,
	    m->kind == MEM_THP && r->page != sys_huge_page() ? "no huge pages came"
							     : memory_label(m->kind),
	    size_text(r->len), time_text(r->fresh_ns * per_gib),
	    time_text(r->pin_ns * per_gib), time_text(r->pin_ns / pages),
	    time_text(r->clean_ns * per_gib), time_text(r->dirty_ns * per_gib));
	json_array_append_new(
		list,
		json_pack("{ss, sI, sI, si, sf, sf, sf, sf}", "memory",
			  memory_name(m->kind), "measured", (json_int_t)r->len,
			  "page_size", (json_int_t)r->page, "rounds", (int)r->rounds,
			  "populate_and_pin_ns_per_gib", r->fresh_ns * per_gib,
			  "pin_ns_per_gib", r->pin_ns * per_gib,
			  "unpin_clean_ns_per_gib", r->clean_ns * per_gib,
			  "unpin_dirty_ns_per_gib", r->dirty_ns * per_gib));
}

/* Huge pages count as such only if they are there: the kernel may have had none. */
static uint64_t page_size_of(struct demo *d, const struct memory *m)
{
	struct pinmem_verdict v = { .size = sizeof(v) };

	if (pinmem_check(d->pm, m->addr, m->len, d->access, NULL, &v))
		return sys_page();
	return v.backing == PINMEM_THP ? sys_huge_page() : v.page_size;
}

static void time_kind(struct demo *d, enum memory_kind kind, struct table *t,
		      json_t *list)
{
	struct timed r = { .len = choose_len(d, kind) };
	struct memory m;

	if (!r.len || (kind == MEM_THP && r.len < sys_huge_page())) {
		ROW(t, memory_label(kind), "no room", NULL, NULL, NULL, NULL, NULL);
		return;
	}
	if (memory_make(kind, r.len, NULL, &m)) { /* step 1 has said why */
		memory_drop(&m);
		return;
	}
	if (time_memory(d, &m, &r)) {
		ROW(t, memory_label(kind), "failed", NULL, NULL, NULL, NULL, NULL);
		say_block(6, "%s", pinmem_errmsg());
	} else if (!stop_requested()) {
		r.page = page_size_of(d, &m);
		show_timed(t, list, &m, &r);
	}
	memory_drop(&m);
}

void demo_times(struct demo *d)
{
	static const enum memory_kind kinds[] = { MEM_ANON, MEM_THP, MEM_HUGETLB };
	static const struct column cols[] = {
		{ "time per GiB", 19, false }, { "measured", 8, true },
		{ "untouched", 9, true },      { "pin", 7, true },
		{ "a page", 7, true },	       { "CLEAN", 7, true },
		{ "DIRTY", 7, true },
	};
	json_t *list = json_array();
	struct table *t;

	heading("3. What pinning costs");
	t = table_new(cols, ARRAY_SIZE(cols), true);
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !stop_requested(); i++)
		time_kind(d, kinds[i], t, list);
	table_end(t);
	say_block(2, "Untouched: populate and pin memory of which no page was there; "
		     "the rest is for memory that is there. CLEAN and DIRTY: the "
		     "unpin. Medians.");
	json_object_set_new(d->json, "times", list);
}
