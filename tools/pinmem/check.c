/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c - `pinmem check`: the verdict on files and on memory, without a pin. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "check_target.h"
#include "out.h"
#include "sys.h"
#include "tool.h"
#include "verdict_text.h"

static const char help[] =
	"usage: pinmem check [OPTION...] FILE...\n"
	"       pinmem check [OPTION...] --anon SIZE | --memfd SIZE | --shm SIZE | "
	"--hugetlb SIZE\n"
	"\n"
	"Maps each file, or memory of a kind, and says whether it may be pinned, and "
	"if\n"
	"not, why and what else can be done. Nothing is pinned, written or kept.\n"
	"\n"
	"  --access LIST    what the device may do: r, w, rw, remote-read, "
	"remote-write,\n"
	"                   remote-atomic, relaxed-ordering, joined by commas (rw)\n"
	"  --private        map files MAP_PRIVATE instead of MAP_SHARED\n"
	"  --offset SIZE    look at the bytes from here on (0)\n"
	"  --len SIZE       look at so many bytes (to the end)\n"
	"  --policy LIST    ways out of a refusal, in order: odp, stage, refuse (odp)\n"
	"  --backend NAME   whose pins: auto, verbs, io_uring, pin_track or mlock\n"
	"                   (auto)\n"
	"  --device NAME    the verbs device to ask, such as rxe0\n"
	"  --json           one JSON value instead of text\n"
	"\n"
	"Files are mapped for reading and writing where this user may, else for "
	"reading;\n"
	"/dev/dax devices too.\n"
	"Exit code: 0 all can be registered (pin, odp or stage); 1 something is "
	"refused, or\n"
	"cannot be looked at.\n";

struct check {
	struct common common;
	unsigned int access;
	bool private;
	uint64_t offset, len;
	enum pinmem_action policy[PINMEM_POLICY_MAX];
	struct target *targets;
	size_t n;
	struct pinmem *pm;
	json_t *list;
};

enum {
	OPT_ACCESS = OPT_OWN,
	OPT_PRIVATE,
	OPT_OFFSET,
	OPT_LEN,
	OPT_POLICY,
	OPT_ANON,
	OPT_MEMFD,
	OPT_SHM,
	OPT_HUGETLB,
};

static const struct option options[] = {
	COMMON_OPTIONS,
	BACKEND_OPTIONS,
	VALUE("access", OPT_ACCESS),
	FLAG("private", OPT_PRIVATE),
	VALUE("offset", OPT_OFFSET),
	VALUE("len", OPT_LEN),
	VALUE("policy", OPT_POLICY),
	VALUE("anon", OPT_ANON),
	VALUE("memfd", OPT_MEMFD),
	VALUE("shm", OPT_SHM),
	VALUE("hugetlb", OPT_HUGETLB),
	END_OF_OPTIONS,
};

static bool add_memory(struct check *c, const char *option, enum memory_kind kind,
		       const char *size)
{
	struct target *t = &c->targets[c->n];

	t->kind = kind;
	if (!parse_size(option, size, false, &t->want))
		return false;
	c->n++;
	return true;
}

static bool take(struct check *c, int option, const char *arg)
{
	switch (option) {
	case OPT_ACCESS:
		return parse_access(arg, &c->access);
	case OPT_PRIVATE:
		return c->private = true;
	case OPT_OFFSET:
		return parse_size("offset", arg, true, &c->offset);
	case OPT_LEN:
		return parse_size("len", arg, false, &c->len);
	case OPT_POLICY:
		return parse_policy(arg, c->policy);
	case OPT_ANON:
		return add_memory(c, "anon", MEM_ANON, arg);
	case OPT_MEMFD:
		return add_memory(c, "memfd", MEM_MEMFD, arg);
	case OPT_SHM:
		return add_memory(c, "shm", MEM_SHM, arg);
	case OPT_HUGETLB:
		return add_memory(c, "hugetlb", MEM_HUGETLB, arg);
	}
	return false;
}

static int take_own(int option, const char *arg, void *ctx)
{
	return take(ctx, option, arg) ? 0 : EXIT_USAGE;
}

/* ------------------------------------------------------------ one target */

/* One look at one target: what its mappings are compared with, and shown in. */
struct look {
	const struct check *c;
	const char *start; /* of the target's mapping */
	struct table *table;
	json_t *mappings;
};

static const char *target_name(const struct target *t)
{
	return t->path ? t->path
		       : text("%s, %s", memory_label(t->kind), size_text(t->want));
}

static const char *mapped_text(const struct pinmem_verdict *v)
{
	if (v->backing == PINMEM_UNMAPPED)
		return "-";
	return text("%s, %s", v->writable ? "rw" : "ro",
		    v->shared ? "shared" : "private");
}

static int show_mapping(const struct pinmem_verdict *v, void *arg)
{
	struct look *look = arg;
	uint64_t offset = (uint64_t)((const char *)v->bad_addr - look->start);
	json_t *o = verdict_json(v);

	ROW(look->table, text("0x%" PRIx64, offset), size_text(v->bad_len),
	    pinmem_backing_name(v->backing),
	    v->page_size ? size_text(v->page_size) : "-", mapped_text(v),
	    pinmem_action_name(v->action));
	json_object_del(o, "bad_addr");
	json_object_del(o, "bad_len");
	json_object_set_new(o, "offset", json_integer((json_int_t)offset));
	json_object_set_new(o, "len", json_integer((json_int_t)v->bad_len));
	json_array_append_new(look->mappings, o);
	return 0;
}

static struct pinmem_reg_options reg_options(const struct check *c,
					     const struct target *t)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts) };

	memcpy(opts.policy, c->policy, sizeof(opts.policy));
	if (t->memory.fd >= 0) {
		opts.flags = PINMEM_REG_FD;
		opts.fd = t->memory.fd;
	}
	return opts;
}

/* What another policy would say: nothing is more welcome than a way out. */
static const char *way_out(const struct check *c, struct target *t, void *addr,
			   size_t len)
{
	static const enum pinmem_action ways[] = { PINMEM_USE_ODP, PINMEM_USE_STAGE };
	struct pinmem_reg_options opts = reg_options(c, t);
	struct pinmem_verdict v = { .size = sizeof(v) };

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		memset(opts.policy, 0, sizeof(opts.policy));
		opts.policy[0] = ways[i];
		if (!pinmem_check(c->pm, addr, len, c->access, &opts, &v) &&
		    v.action == ways[i])
			return text("With --policy %s it can be had: %s",
				    pinmem_action_name(ways[i]), v.reason);
	}
	return NULL;
}

/* The bytes that --offset and --len leave. Return: false with a sentence. */
static bool cut(const struct check *c, struct target *t, char **addr, size_t *len)
{
	uint64_t size = t->memory.len;

	if (c->offset >= size) {
		snprintf(t->memory.why, sizeof(t->memory.why),
			 "%s has %" PRIu64 " bytes, and --offset is %" PRIu64,
			 target_name(t), size, c->offset);
		return false;
	}
	*addr = (char *)t->memory.addr + c->offset;
	*len = size - c->offset;
	if (!c->len || c->len == *len)
		return true;
	if (c->len > *len) {
		snprintf(t->memory.why, sizeof(t->memory.why),
			 "%s has %zu bytes from --offset on, and --len is %" PRIu64,
			 target_name(t), *len, c->len);
		return false;
	}
	*len = c->len;
	return true;
}

static int show_overall(const struct check *c, struct target *t, void *addr, size_t len,
			const struct pinmem_verdict *v, json_t *o)
{
	struct pinmem_memlock m = { .size = sizeof(m) };
	const char *way = v->action == PINMEM_REFUSE ? way_out(c, t, addr, len) : NULL;

	say_block(2, "Verdict: %s%s%s%s", pinmem_action_name(v->action),
		  v->error ? " (" : "", v->error ? sys_errno(v->error) : "",
		  v->error ? ")" : "");
	say_block(2, "%s", v->reason);
	if (way)
		say_block(2, "%s", way);
	if (v->action != PINMEM_PIN && v->action != PINMEM_USE_STAGE)
		return v->action == PINMEM_REFUSE ? EXIT_NO : EXIT_YES;
	if (pinmem_memlock(c->pm, addr, len, &m)) {
		say_block(2, "Limits: %s", pinmem_errmsg());
		return EXIT_YES;
	}
	say_block(2, "Limits: %s%s", m.fits ? "" : "it does not fit: ", m.remedy);
	json_object_set_new(o, "memlock", memlock_json(&m));
	return EXIT_YES;
}

/* Return: exit code; -1: pinmem_errmsg() */
static int judge(const struct check *c, struct target *t, char *addr, size_t len,
		 json_t *o)
{
	static const struct column cols[] = {
		{ "offset", 6, false },	   { "length", 6, true },
		{ "behind it", 0, false }, { "page", 0, true },
		{ "mapped", 0, false },	   { "verdict", 0, false },
	};
	struct pinmem_reg_options opts = reg_options(c, t);
	struct look look = { .c = c, .start = t->memory.addr };
	struct pinmem_verdict v = { .size = sizeof(v) };
	int rc;

	if (pinmem_check(c->pm, addr, len, c->access, &opts, &v))
		return -1;
	look.mappings = json_array();
	look.table = table_new(cols, ARRAY_SIZE(cols), false);
	rc = pinmem_check_walk(c->pm, addr, len, c->access, &opts, show_mapping, &look);
	table_end(look.table);
	json_object_set_new(o, "mappings", look.mappings);
	if (rc)
		return -1;
	json_object_set_new(o, "verdict", verdict_json(&v));
	return show_overall(c, t, addr, len, &v, o);
}

static int look_at(struct check *c, struct target *t, json_t *o)
{
	size_t len = 0;
	char *addr = NULL;
	int code = -1;

	if (target_map(t, c->offset + c->len, c->private) || !cut(c, t, &addr, &len)) {
		say_block(2, "%s", t->memory.why);
		json_object_set_new(o, "error", json_text(t->memory.why));
		return EXIT_NO;
	}
	if (!t->mapped_writable)
		snprintf(t->note + strlen(t->note), sizeof(t->note) - strlen(t->note),
			 "%sIt is mapped read-only.", t->note[0] ? " " : "");
	if (t->note[0])
		say_block(2, "%s", t->note);
	json_object_set_new(o, "note", json_text(t->note));
	code = judge(c, t, addr, len, o);
	if (code >= 0)
		return code;
	say_block(2, "%s", pinmem_errmsg());
	json_object_set_new(o, "error", json_text(pinmem_errmsg()));
	return EXIT_NO;
}

/* --------------------------------------------------------------- command */

static int look_at_all(struct check *c, const struct pinmem_info *info)
{
	json_t *list = json_array();
	int code = EXIT_YES;

	say_block(0, "For a device of %s%s%s that does: %s.",
		  pinmem_backend_name(info->backend), info->device[0] ? " over " : "",
		  info->device, access_text(c->access));
	for (size_t i = 0; i < c->n; i++) {
		json_t *o = json_pack("{so}", "target",
				      json_text(target_name(&c->targets[i])));

		heading("%s", target_name(&c->targets[i]));
		if (look_at(c, &c->targets[i], o) != EXIT_YES)
			code = EXIT_NO;
		memory_drop(&c->targets[i].memory);
		json_array_append_new(list, o);
	}
	return out_finish(code, json_pack("{ss, ss, ss, ss, so}", "backend",
					  pinmem_backend_name(info->backend), "device",
					  info->device, "why", info->why, "access",
					  access_text(c->access), "targets", list));
}

static int open_and_look(struct check *c)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = c->common.backend,
				       .device = c->common.device };
	struct pinmem_info info = { .size = sizeof(info) };
	int code;

	if (pinmem_open(&opts, &c->pm))
		return out_error("%s", pinmem_errmsg());
	if (pinmem_query(c->pm, &info))
		code = out_error("%s", pinmem_errmsg());
	else
		code = look_at_all(c, &info);
	pinmem_close(c->pm);
	return code;
}

static int run(int argc, char **argv)
{
	struct check c = { .access = PINMEM_ACCESS_LOCAL_WRITE };
	int code;

	c.targets = calloc((size_t)argc, sizeof(*c.targets));
	if (!c.targets)
		return out_error("out of memory");
	code = args_parse(argc, argv, &cmd_check, options, &c.common, take_own, &c);
	for (int i = optind; code == PARSED && i < argc; i++)
		c.targets[c.n++].path = argv[i];
	if (code == PARSED && !c.n) {
		complain("check: name a file, or memory to make; see pinmem check "
			 "--help");
		code = EXIT_USAGE;
	}
	if (code == PARSED)
		code = open_and_look(&c);
	free(c.targets);
	return code;
}

const struct command cmd_check = {
	"check",
	"may this file or memory be pinned, and if not, why",
	help,
	run,
};
