/* SPDX-License-Identifier: BSD-2-Clause */
/* demo_verdicts.c - step 1: what lies there, may it be pinned, and the registration. */
#include <errno.h>

#include "demo.h"
#include "out.h"
#include "sys.h"
#include "tool.h"
#include "verdict_text.h"

/* One row of step 1. */
struct judged {
	struct pinmem_verdict verdict;
	struct pinmem_mr_info info; /* .len is 0: not registered */
	int error;		    /* of the registration */
	double ns;
	enum pinmem_unpin got;
};

static json_t *judged_json(const struct memory *m, const struct judged *j)
{
	json_t *o =
		json_pack("{ss, ss, so}", "memory", memory_name(m->kind), "label",
			  memory_label(m->kind), "verdict", verdict_json(&j->verdict));

	if (j->error)
		json_object_set_new(o, "error", json_string(sys_errno(j->error)));
	if (j->error)
		json_object_set_new(o, "sentence", json_text(pinmem_errmsg()));
	if (j->info.len) {
		json_object_set_new(o, "region", region_json(&j->info));
		json_object_set_new(o, "register_ns", json_real(j->ns));
	}
	return o;
}

/* Registers it, asks what it became, and releases it. */
static int register_once(struct demo *d, struct memory *m, struct judged *j)
{
	struct pinmem_reg_options opts = demo_options(m);
	uint64_t begin = sys_now_ns();
	struct pinmem_mr *mr;
	int rc = pinmem_reg(d->pm, m->addr, m->len, d->access, &opts, &mr);

	if (rc)
		return rc;
	j->ns = (double)(sys_now_ns() - begin);
	j->info.size = sizeof(j->info);
	rc = pinmem_mr_query(mr, &j->info);
	if (rc)
		return rc;
	return pinmem_dereg(mr, PINMEM_CLEAN, &j->got);
}

static void show_judged(struct table *t, const struct memory *m, const struct judged *j)
{
	const struct pinmem_verdict *v = &j->verdict;
	const char *mode = j->info.len ? pinmem_mode_name(j->info.mode)
			   : j->error  ? sys_errno(j->error)
				       : "";

	ROW(t, memory_label(m->kind), pinmem_backing_name(v->backing),
	    size_text(v->backing == PINMEM_THP ? sys_huge_page() : v->page_size),
	    pinmem_action_name(v->action), mode, j->info.len ? time_text(j->ns) : "");
}

/* The verdict and the registration must say the same; ENOMEM is the limits' word. */
static bool as_promised(const struct judged *j)
{
	if (j->verdict.action == PINMEM_REFUSE)
		return j->error == j->verdict.error;
	return !j->error || j->error == -ENOMEM;
}

static void judge(struct demo *d, struct table *t, json_t *list, struct memory *m)
{
	struct judged j = { .verdict.size = sizeof(j.verdict) };

	/* huge pages are there only once they were touched */
	if (m->kind != MEM_READONLY && m->kind != MEM_HOLE)
		memory_touch(m->addr, m->len);
	if (pinmem_check(d->pm, m->addr, m->len, d->access, NULL, &j.verdict)) {
		d->failed = true;
		complain("%s: %s", memory_label(m->kind), pinmem_errmsg());
		return;
	}
	j.error = register_once(d, m, &j);
	json_array_append_new(list, judged_json(m, &j));
	show_judged(t, m, &j);
	if (j.error == -ECANCELED || as_promised(&j))
		return;
	d->failed = true;
	complain("%s: the verdict was %s, but the registration gave: %s",
		 memory_label(m->kind), pinmem_action_name(j.verdict.action),
		 pinmem_errmsg());
}

void demo_verdicts(struct demo *d)
{
	static const struct column cols[] = {
		{ "memory", 19, false },     { "behind it", 10, false },
		{ "page", 7, true },	     { "verdict", 7, false },
		{ "registered", 10, false }, { "in", 8, true },
	};
	json_t *list = json_array();
	struct table *t;

	heading("1. May it be pinned, for a device that writes to it?");
	t = table_new(cols, ARRAY_SIZE(cols), true);
	for (size_t i = 0; i < demo_kinds_n && !stop_requested(); i++) {
		struct memory m;

		if (!demo_make(d, demo_kinds[i], &m)) {
			judge(d, t, list, &m);
		} else {
			ROW(t, memory_label(m.kind), "not shown", NULL, NULL, NULL,
			    NULL);
			say_block(6, "%s", m.why);
			json_array_append_new(list,
					      json_pack("{ss, so}", "memory",
							memory_name(m.kind),
							"not_shown", json_text(m.why)));
		}
		memory_drop(&m);
	}
	table_end(t);
	json_object_set_new(d->json, "verdicts", list);
}
