/* SPDX-License-Identifier: BSD-2-Clause */
/* top.c - `pinmem top`: which processes hold what, read from outside of them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "out.h"
#include "tool.h"
#include "verdict_text.h"

static const char help[] =
	"usage: pinmem top [OPTION...] [PID...]\n"
	"\n"
	"Shows the live regions of each process that uses libpinmem, or of those "
	"given:\n"
	"how much is pinned, in which mode, what backs it, on which node, since when.\n"
	"The processes take no part in it. Root sees all, others their own.\n"
	"\n"
	"  --regions N      how many regions to list, the largest first (20)\n"
	"  --watch SECONDS  again and again, until Ctrl-C\n"
	"  --json           one JSON value instead of text; not with --watch\n"
	"\n"
	"Exit code: 0 something was found; 1 nothing was, or a PID cannot be read.\n";

/* One region, and whose. */
struct held {
	pid_t pid;
	struct pinmem_mr_info info;
};

struct top {
	struct common common;
	uint64_t list;	    /* regions to list */
	unsigned int watch; /* seconds */
	struct held *held;
	size_t n, room;
	pid_t reading; /* whose regions are being added */
	unsigned int denied;
	int failed; /* a PID that was asked for cannot be read */
};

enum {
	OPT_REGIONS = OPT_OWN,
	OPT_WATCH,
};

static const struct option options[] = {
	COMMON_OPTIONS,
	VALUE("regions", OPT_REGIONS),
	VALUE("watch", OPT_WATCH),
	END_OF_OPTIONS,
};

static int take_own(int option, const char *arg, void *ctx)
{
	struct top *t = ctx;
	uint64_t n;

	if (option == OPT_REGIONS)
		return parse_size("regions", arg, true, &t->list) ? 0 : EXIT_USAGE;
	if (!parse_size("watch", arg, false, &n))
		return EXIT_USAGE;
	if (n > 3600) {
		complain("--watch %s: an hour at most", arg);
		return EXIT_USAGE;
	}
	t->watch = (unsigned int)n;
	return 0;
}

/* ------------------------------------------------------------------ reading */

static int add(const struct pinmem_mr_info *info, void *arg)
{
	struct top *t = arg;

	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		struct held *held = realloc(t->held, room * sizeof(*held));

		if (!held)
			return -ENOMEM;
		t->held = held;
		t->room = room;
	}
	t->held[t->n].pid = t->reading;
	t->held[t->n++].info = *info;
	return 0;
}

static int read_process(struct top *t, pid_t pid)
{
	t->reading = pid;
	return pinmem_peek(pid, add, t);
}

static void read_all(struct top *t)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int rc;

	while (proc && !stop_requested() && (e = readdir(proc))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		rc = read_process(t, (pid_t)atoi(e->d_name));
		t->denied += rc == -EACCES || rc == -EPERM;
	}
	if (proc)
		closedir(proc);
}

static void read_given(struct top *t, char **pids)
{
	for (; *pids; pids++) {
		if (!read_process(t, (pid_t)atoi(*pids)))
			continue;
		complain("%s", pinmem_errmsg());
		t->failed = 1;
	}
}

static int by_size(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	if (x->info.len != y->info.len)
		return x->info.len < y->info.len ? 1 : -1;
	return x->pid - y->pid;
}

static int by_process(const void *a, const void *b)
{
	return ((const struct held *)a)->pid - ((const struct held *)b)->pid;
}

/* ------------------------------------------------------------------ showing */

static const char *command_of(pid_t pid, char buf[64])
{
	FILE *f = fopen(text("/proc/%d/comm", (int)pid), "re");

	buf[0] = '\0';
	if (f && fgets(buf, 64, f))
		buf[strcspn(buf, "\n")] = '\0';
	if (f)
		fclose(f);
	return buf;
}

static void show_processes(struct top *t)
{
	static const struct column cols[] = {
		{ "PID", 7, true },	 { "command", 15, false },
		{ "regions", 7, true },	 { "pinned", 9, true },
		{ "odp", 9, true },	 { "staged", 9, true },
		{ "resident", 9, true },
	};
	struct table *table = table_new(cols, ARRAY_SIZE(cols), false);

	qsort(t->held, t->n, sizeof(*t->held), by_process);
	for (size_t i = 0, next; i < t->n; i = next) {
		uint64_t bytes[PINMEM_RESIDENT + 1] = { 0 };
		char command[64];

		for (next = i; next < t->n && t->held[next].pid == t->held[i].pid;
		     next++)
			if (t->held[next].info.mode <= PINMEM_RESIDENT)
				bytes[t->held[next].info.mode] +=
					t->held[next].info.len;
		ROW(table, text("%d", (int)t->held[i].pid),
		    command_of(t->held[i].pid, command), text("%zu", next - i),
		    size_text(bytes[PINMEM_PINNED]), size_text(bytes[PINMEM_ODP]),
		    size_text(bytes[PINMEM_STAGED]), size_text(bytes[PINMEM_RESIDENT]));
	}
	table_end(table);
}

static void show_regions(struct top *t)
{
	static const struct column cols[] = {
		{ "PID", 7, true },   { "address", 14, false }, { "length", 9, true },
		{ "mode", 8, false }, { "backing", 9, false },	{ "backend", 8, false },
		{ "node", 4, true },  { "age", 9, true },	{ "held", 5, true },
		{ "hits", 9, true },
	};
	struct table *table;

	if (!t->list)
		return;
	say("\n");
	table = table_new(cols, ARRAY_SIZE(cols), false);
	qsort(t->held, t->n, sizeof(*t->held), by_size);
	for (size_t i = 0; i < t->n && i < t->list; i++) {
		const struct pinmem_mr_info *r = &t->held[i].info;

		ROW(table, text("%d", (int)t->held[i].pid), text("%p", r->addr),
		    size_text(r->len), pinmem_mode_name(r->mode),
		    pinmem_backing_name(r->backing), pinmem_backend_name(r->backend),
		    r->node < 0 ? "-" : text("%d", r->node),
		    time_text((double)r->age_ns),
		    r->cached ? text("%" PRIu64, r->holders) : "",
		    r->cached ? text("%" PRIu64, r->hits) : "");
	}
	table_end(table);
	if (t->n > t->list)
		say("… and %zu more; --regions %zu lists them\n",
		    t->n - (size_t)t->list, t->n);
}

static void show(struct top *t)
{
	if (!t->n)
		say("No process that can be read holds a region of libpinmem.\n");
	else
		show_processes(t);
	if (t->n)
		show_regions(t);
	if (t->denied)
		say("%u processes of other users cannot be read; root can.\n",
		    t->denied);
}

static json_t *top_json(struct top *t)
{
	json_t *list = json_array();

	qsort(t->held, t->n, sizeof(*t->held), by_size);
	for (size_t i = 0; i < t->n; i++) {
		const struct held *h = &t->held[i];
		json_t *region = region_json(&h->info);

		json_object_set_new(region, "pid", json_integer(h->pid));
		json_object_set_new(region, "addr",
				    json_string(text("%p", h->info.addr)));
		json_object_set_new(region, "backend",
				    json_string(pinmem_backend_name(h->info.backend)));
		json_object_set_new(region, "age_ns",
				    json_integer((json_int_t)h->info.age_ns));
		json_object_set_new(region, "cached", json_boolean(h->info.cached));
		json_object_set_new(region, "holders",
				    json_integer((json_int_t)h->info.holders));
		json_object_set_new(region, "hits",
				    json_integer((json_int_t)h->info.hits));
		json_array_append_new(list, region);
	}
	return json_pack("{so, si}", "regions", list, "unreadable_processes",
			 (int)t->denied);
}

static void look(struct top *t, char **pids)
{
	t->n = 0;
	t->denied = 0;
	if (*pids)
		read_given(t, pids);
	else
		read_all(t);
}

static int run(int argc, char **argv)
{
	struct top t = { .list = 20 };
	int code = args_parse(argc, argv, &cmd_top, options, &t.common, take_own, &t);

	if (code != PARSED)
		return code;
	if (t.watch && t.common.json) {
		complain("--watch and --json: one JSON value cannot go on");
		return EXIT_USAGE;
	}
	for (char **pid = argv + optind; *pid; pid++)
		if (strspn(*pid, "0123456789") != strlen(*pid) || atoi(*pid) <= 0) {
			complain("'%s' is no process number", *pid);
			return EXIT_USAGE;
		}
	look(&t, argv + optind);
	while (t.watch && !stop_requested() && !t.failed) {
		if (isatty(STDOUT_FILENO))
			say("\033[H\033[2J");
		show(&t);
		fflush(stdout);
		sleep(t.watch);
		look(&t, argv + optind);
	}
	if (!t.watch)
		show(&t);
	code = out_finish(t.n && !t.failed ? EXIT_YES : EXIT_NO,
			  t.common.json ? top_json(&t) : NULL);
	free(t.held);
	return code;
}

const struct command cmd_top = {
	.name = "top",
	.summary = "which processes hold which regions",
	.help = help,
	.run = run,
};
