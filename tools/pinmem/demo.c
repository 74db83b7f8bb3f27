/* SPDX-License-Identifier: BSD-2-Clause */
/* demo.c - `pinmem demo`: options, the order of the steps, and the end result. */
#include "demo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "out.h"
#include "sys.h"
#include "tool.h"

#define MIB (1ull << 20)
#define SIZE_DEFAULT (64 * MIB)
#define SIZE_QUICK (8 * MIB)
#define SIZE_LEAST (64ull << 10)

static const char help[] =
	"usage: pinmem demo [OPTION...]\n"
	"\n"
	"Pins real memory of every kind, moves real data through it, verifies it, and\n"
	"shows what may not be pinned and why. Takes less than a minute, leaves "
	"nothing\n"
	"behind.\n"
	"\n"
	"  --size SIZE       of each piece of memory (64M); such as 16M, 1G\n"
	"  --dir DIR         where files are made (TMPDIR, else /var/tmp)\n"
	"  --backend NAME    auto, verbs, io_uring, pin_track or mlock (auto)\n"
	"  --device NAME     the verbs device to use, such as rxe0\n"
	"  --quick           8 MiB pieces and short measurements\n"
	"  --json            one JSON value instead of tables\n"
	"  --progress        show progress also where stderr is no terminal\n"
	"\n"
	"With a verbs device the data goes through it by RDMA, to a peer's memory and "
	"back;\n"
	"else to a file and back, with io_uring's fixed buffers.\n"
	"Exit code: 0 all is as it should be; 1 something is not, or the\n"
	"limits let nothing be registered.\n";

const enum memory_kind demo_kinds[] = { MEM_ANON,  MEM_THP,  MEM_HUGETLB,  MEM_MEMFD,
					MEM_TMPFS, MEM_FILE, MEM_READONLY, MEM_HOLE };
const size_t demo_kinds_n = ARRAY_SIZE(demo_kinds);

enum { OPT_SIZE = OPT_OWN, OPT_DIR };

static const struct option options[] = {
	COMMON_OPTIONS,		 BACKEND_OPTIONS,	QUICK_OPTION,
	VALUE("size", OPT_SIZE), VALUE("dir", OPT_DIR), END_OF_OPTIONS,
};

static int take_own(int option, const char *arg, void *ctx)
{
	struct demo *d = ctx;

	if (option == OPT_DIR)
		d->dir = arg;
	else if (!parse_size("size", arg, false, &d->size_asked))
		return EXIT_USAGE;
	return 0;
}

/* ------------------------------------------------------- used by the steps */

int demo_make(const struct demo *d, enum memory_kind kind, struct memory *m)
{
	uint64_t len = d->size, page, free;

	if (kind == MEM_HUGETLB) {
		free = sys_hugetlb_free(&page) * page;
		if (free && free < len)
			len = free;
	}
	return memory_make(kind, len, d->dir, m);
}

uint64_t demo_fits(const struct demo *d, uint64_t len, uint64_t least)
{
	struct pinmem_memlock m = { .size = sizeof(m) };

	for (; len >= least; len = len / 2 / sys_page() * sys_page())
		if (!pinmem_memlock(d->pm, NULL, len, &m) && m.fits)
			return len;
	return 0;
}

static int show_progress(const char *phase, uint64_t done, uint64_t total, void *m)
{
	return progress_of_library(phase, done, total,
				   memory_label(((const struct memory *)m)->kind));
}

struct pinmem_reg_options demo_options(const struct memory *m)
{
	return (struct pinmem_reg_options){ .size = sizeof(struct pinmem_reg_options),
					    .progress = show_progress,
					    .progress_arg = (void *)(uintptr_t)m };
}

/* ------------------------------------------------------------- begin, end */

static bool usable_dir(const char *dir)
{
	struct stat st;

	if (!stat(dir, &st) && S_ISDIR(st.st_mode) && !access(dir, W_OK | X_OK))
		return true;
	complain("demo: %s is not a directory that this user may write to; choose "
		 "another with --dir",
		 dir);
	return false;
}

static const char *default_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/var/tmp";
}

static int open_pinner(struct demo *d)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = d->common.backend,
				       .device = d->common.device };
	int rc = pinmem_open(&opts, &d->pm);

	if (rc)
		return rc;
	d->info.size = sizeof(d->info);
	d->access = PINMEM_ACCESS_LOCAL_WRITE;
	rc = pinmem_query(d->pm, &d->info);
	if (d->info.backend == PINMEM_BACKEND_VERBS)
		d->access |= PINMEM_ACCESS_REMOTE_WRITE | PINMEM_ACCESS_REMOTE_READ;
	return rc;
}

/* Memory is needed up to three times over: for itself, a staging copy, and files in
 * memory. What is more than there is would get somebody killed. */
static void choose_size(struct demo *d)
{
	uint64_t have;

	if (!d->size_asked)
		d->size_asked = d->common.quick ? SIZE_QUICK : SIZE_DEFAULT;
	d->size_asked = (d->size_asked + SIZE_LEAST - 1) / SIZE_LEAST * SIZE_LEAST;
	d->size = d->size_asked;
	have = sys_meminfo("MemAvailable") / 4;
	while (have && d->size > have && d->size >= 2 * SIZE_LEAST)
		d->size = d->size / 2 / SIZE_LEAST * SIZE_LEAST;
	d->size = demo_fits(d, d->size, SIZE_LEAST);
}

static void introduce(struct demo *d)
{
	struct utsname u;

	uname(&u);
	say_block(0, "Backend: %s%s%s, %s%s", pinmem_backend_name(d->info.backend),
		  d->info.device[0] ? " over " : "", d->info.device,
		  d->common.backend ? "" : "taken by AUTO: ", d->info.why);
	say_block(0,
		  "pinmem %s, Linux %s, %u CPUs, %s of memory available. Each piece of "
		  "memory below is %s.",
		  pinmem_version(), u.release, sys_cpus(),
		  size_text(sys_meminfo("MemAvailable")), size_text(d->size));
	if (d->info.backend == PINMEM_BACKEND_MLOCK)
		say_block(0,
			  "mlock keeps memory resident, but does not pin it: no device "
			  "may be given its addresses. What follows shows the verdicts "
			  "and limits, and moves data with the CPU's help.");
	if (d->info.backend == PINMEM_BACKEND_PIN_TRACK)
		say_block(0, "A pin of pin_track is no device's registration: here the "
			     "CPU moves the data.");
	json_object_set_new(d->json, "pinmem", json_string(pinmem_version()));
	json_object_set_new(d->json, "kernel", json_string(u.release));
	json_object_set_new(d->json, "backend",
			    json_pack("{ss, ss, ss, sb, si}", "name",
				      pinmem_backend_name(d->info.backend), "device",
				      d->info.device, "why", d->info.why, "odp",
				      d->info.odp, "node", d->info.node));
	json_object_set_new(d->json, "size", json_integer((json_int_t)d->size));
	json_object_set_new(d->json, "size_asked",
			    json_integer((json_int_t)d->size_asked));
	if (d->size < d->size_asked)
		say_block(0,
			  "That is not the %s asked for: RLIMIT_MEMLOCK, or the memory "
			  "available, lets no more be used (pinmem doctor tells).",
			  size_text(d->size_asked));
}

/* RLIMIT_MEMLOCK forbids any pin: nothing can be shown but that. */
static int no_room(struct demo *d)
{
	struct pinmem_memlock m = { .size = sizeof(m) };

	pinmem_memlock(d->pm, NULL, d->size_asked, &m);
	return out_error("nothing can be pinned here with %s (%s%s): %s",
			 pinmem_backend_name(d->info.backend),
			 d->common.backend ? "" : "taken by AUTO: ", d->info.why,
			 m.remedy);
}

static int conclude(struct demo *d)
{
	bool good = !d->failed && d->moved && !stop_requested();

	if (stop_requested())
		say("\nInterrupted.\n");
	else if (good)
		say_block(0,
			  "\nAll is as it should be: the bytes of %u pieces of memory "
			  "went out and came back verified.%s",
			  d->moved,
			  d->info.backend == PINMEM_BACKEND_MLOCK
				  ? " But nothing was pinned: mlock cannot."
				  : "");
	else
		say("\nNot all is as it should be: see above.\n");
	json_object_set_new(d->json, "ok", json_boolean(good));
	return good ? EXIT_YES : EXIT_NO;
}

/* Without /proc every step would say the same. */
static bool can_judge(struct demo *d)
{
	struct pinmem_verdict v = { .size = sizeof(v) };

	return !pinmem_check(d->pm, &v, sizeof(v), d->access, NULL, &v);
}

static int run_steps(struct demo *d)
{
	static void (*const steps[])(struct demo *) = { demo_verdicts, demo_moves,
							demo_times, demo_refusals };

	if (!can_judge(d))
		return out_error("%s", pinmem_errmsg());
	choose_size(d);
	if (!d->size)
		return no_room(d);
	introduce(d);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !stop_requested(); i++)
		steps[i](d);
	return out_finish(conclude(d), json_incref(d->json));
}

static int run(int argc, char **argv)
{
	struct demo d = { .dir = default_dir() };
	int code = args_parse(argc, argv, &cmd_demo, options, &d.common, take_own, &d);

	if (code == PARSED)
		code = args_no_operands(argc, argv, &cmd_demo);
	if (code != PARSED)
		return code;
	if (!usable_dir(d.dir))
		return EXIT_USAGE;
	if (open_pinner(&d))
		return out_error("%s", pinmem_errmsg());
	d.json = json_object();
	code = run_steps(&d);
	json_decref(d.json);
	if (pinmem_close(d.pm)) {
		complain("%s", pinmem_errmsg());
		code = EXIT_NO;
	}
	return code;
}

const struct command cmd_demo = {
	"demo",
	"pin real memory of every kind, move data through it, verify",
	help,
	run,
};
