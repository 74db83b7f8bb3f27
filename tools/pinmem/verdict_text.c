/* SPDX-License-Identifier: BSD-2-Clause */
/* verdict_text.c - verdicts, limits and regions as JSON; see verdict_text.h. */
#include "verdict_text.h"

#include <stdint.h>

#include "out.h"
#include "sys.h"

/* JSON has no number for "unlimited": null says it. */
static json_t *limit_json(uint64_t n)
{
	return n == UINT64_MAX ? json_null() : json_integer((json_int_t)n);
}

json_t *verdict_json(const struct pinmem_verdict *v)
{
	return json_pack("{ss, ss, ss, sb, sb, si, sI, so, so, so, so}", "action",
			 pinmem_action_name(v->action), "error",
			 v->error ? sys_errno(v->error) : "", "backing",
			 pinmem_backing_name(v->backing), "writable", v->writable,
			 "shared", v->shared, "mappings", (int)v->mappings, "page_size",
			 (json_int_t)v->page_size, "bad_addr",
			 v->bad_len ? json_string(text("%p", v->bad_addr))
				    : json_null(),
			 "bad_len", json_integer((json_int_t)v->bad_len), "file",
			 json_text(v->file), "reason", json_text(v->reason));
}

json_t *memlock_json(const struct pinmem_memlock *m)
{
	static const char *const counters[] = { "none", "VmPin of this process",
						"locked_vm of this user",
						"VmLck of this process" };

	return json_pack("{sb, sb, sb, ss, sI, so, sI, so, sI, so}", "fits", m->fits,
			 "bypass", m->bypass, "exact", m->exact, "counter",
			 counters[m->counter & 3], "need", (json_int_t)m->need, "limit",
			 limit_json(m->limit), "used", (json_int_t)m->used,
			 "cgroup_limit", limit_json(m->cgroup_limit), "cgroup_used",
			 (json_int_t)m->cgroup_used, "remedy", json_text(m->remedy));
}

json_t *region_json(const struct pinmem_mr_info *info)
{
	return json_pack("{sI, ss, ss, si, ss, ss, si}", "len", (json_int_t)info->len,
			 "mode", pinmem_mode_name(info->mode), "backing",
			 pinmem_backing_name(info->backing), "segments",
			 (int)info->segments, "unpin_clean",
			 pinmem_unpin_name(info->unpin_clean), "unpin_dirty",
			 pinmem_unpin_name(info->unpin_dirty), "node", info->node);
}
