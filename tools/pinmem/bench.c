/* SPDX-License-Identifier: BSD-2-Clause */
/* bench.c - `pinmem bench`: the command line. How is measured: bench.h. */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "args.h"
#include "bench_findings.h"
#include "bench_trackers.h"
#include "figures.h"
#include "out.h"
#include "plot.h"
#include "report.h"
#include "tool.h"

#define TIME_LIMIT 300
#define TIME_LIMIT_QUICK 45

static const char help[] =
	"usage: pinmem bench WHAT [OPTION...]\n"
	"       pinmem bench all --out DIR [OPTION...]\n"
	"       pinmem bench report DIR\n"
	"\n"
	"  strategies      I/O to a file, and to a peer if there is an RDMA device, by "
	"each\n"
	"                  way to have its memory pinned or not: what one costs, and "
	"from\n"
	"                  where on which way is the cheapest\n"
	"  register        register and unregister regions, against the raw io_uring\n"
	"                  interface in the same run\n"
	"  cache           what a hit costs, a miss, an invalidation, in time and "
	"memory,\n"
	"                  against libucx's ucs_rcache in the same run\n"
	"  trackers        ways of the kernel to know which pages are pinned (a kernel "
	"with\n"
	"                  kernel/pin_track.patch only)\n"
	"  all             each of these, and then the report\n"
	"  report DIR      DIR/report.html, one page with tables, plots and advice, "
	"from\n"
	"                  the .json files in DIR\n"
	"\n"
	"  --out DIR       NAME.json, and NAME.csv and plots where there are some\n"
	"  --seconds N     register, cache, trackers: time for each line (1)\n"
	"  --time-limit N  strategies: seconds for all of it (300, quick: 45)\n"
	"  --dir DIR       strategies: where the file is made (TMPDIR, else /var/tmp)\n"
	"  --from FILE     trackers: judge this recorded JSON, measure nothing\n"
	"  --quick         0.2 s for each line; cache: up to 100000 regions; "
	"strategies:\n"
	"                  fewer sizes, up to 16 MiB\n"
	"  --json          one JSON value instead of tables\n"
	"  --json FILE     the same into a file, besides the tables (--json=FILE)\n"
	"  --plot FILE     strategies, cache, trackers: draw what was measured "
	"(gnuplot);\n"
	"                  FILE ends in .svg or .png, and both are written; of several "
	"plots\n"
	"                  each one's name is put before the ending\n"
	"  --progress      show progress also where stderr is no terminal\n"
	"\n"
	"Goals are shown for information: the exit code is 0 whatever the speed, 1 if\n"
	"something could not be measured.\n";

/**
 * struct bench - a thing to measure. Its figures, tables and advice are made from the
 * JSON that @run fills: see figures.c and report.c, where a new bench is added too.
 * @csv: NULL: none
 */
static const struct bench {
	const char *name;
	int (*run)(const struct bench_options *opts, json_t *root);
	bool plots;
	bool (*csv)(const json_t *root, const char *file);
} benches[] = {
	{ "strategies", bench_strategies, true, findings_csv },
	{ "register", bench_register, false, NULL },
	{ "cache", bench_cache, true, NULL },
	{ "trackers", bench_trackers, true, trackers_csv },
};

enum {
	OPT_SECONDS = OPT_OWN,
	OPT_JSON_FILE,
	OPT_PLOT,
	OPT_OUT,
	OPT_LIMIT,
	OPT_DIR,
	OPT_FROM
};

/* Not COMMON_OPTIONS: here --json may name a file. */
static const struct option options[] = {
	FLAG("help", OPT_HELP),
	FLAG("progress", OPT_PROGRESS),
	{ "json", optional_argument, NULL, OPT_JSON_FILE },
	QUICK_OPTION,
	VALUE("seconds", OPT_SECONDS),
	VALUE("plot", OPT_PLOT),
	VALUE("out", OPT_OUT),
	VALUE("time-limit", OPT_LIMIT),
	VALUE("dir", OPT_DIR),
	VALUE("from", OPT_FROM),
	END_OF_OPTIONS,
};

/** struct line - the command line. @json_file, @plot, @out: NULL: none */
struct line {
	int argc;
	char **argv;
	struct common common;
	struct bench_options opts;
	const char *json_file, *plot, *out;
};

static const struct bench *find_bench(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(benches); i++)
		if (!strcmp(name, benches[i].name))
			return &benches[i];
	return NULL;
}

static bool is_name(const char *word)
{
	return find_bench(word) || !strcmp(word, "all") || !strcmp(word, "report");
}

/* --json=FILE, --json FILE, or --json alone, also before the bench's name. */
static int take_json(const char *arg, struct line *line)
{
	const char *next = optind < line->argc ? line->argv[optind] : NULL;

	if (!arg && next && next[0] != '-' && !is_name(next)) {
		arg = next;
		optind++;
	}
	line->json_file = arg;
	line->common.json = !arg;
	if (!arg || *arg)
		return 0;
	complain("--json= wants the name of a file");
	return EXIT_USAGE;
}

static int take_plot(const char *arg, struct line *line)
{
	line->plot = arg;
	if (plot_file_ok(arg))
		return 0;
	complain("--plot takes a file whose name ends in .svg or .png, not '%s'", arg);
	return EXIT_USAGE;
}

static int take_seconds(const char *option, const char *arg, double most,
			double *seconds)
{
	char *end;

	*seconds = strtod(arg, &end);
	if (end != arg && !*end && *seconds > 0 && *seconds <= most)
		return 0;
	complain("--%s takes a number of seconds up to %.0f, not '%s'", option, most,
		 arg);
	return EXIT_USAGE;
}

static int take_own(int option, const char *arg, void *ctx)
{
	struct line *line = ctx;

	switch (option) {
	case OPT_JSON_FILE:
		return take_json(arg, line);
	case OPT_PLOT:
		return take_plot(arg, line);
	case OPT_OUT:
		line->out = arg;
		return 0;
	case OPT_DIR:
		line->opts.dir = arg;
		return 0;
	case OPT_FROM:
		line->opts.from = arg;
		return 0;
	case OPT_LIMIT:
		return take_seconds("time-limit", arg, 86400, &line->opts.time_limit);
	default:
		return take_seconds("seconds", arg, 3600, &line->opts.seconds);
	}
}

/* ------------------------------------------------------------------- results */

static bool write_json(const json_t *root, const char *file)
{
	if (!json_dump_file(root, file, JSON_INDENT(1) | JSON_REAL_PRECISION(6)))
		return true;
	complain("the results cannot be written to %s: %s", file, strerror(errno));
	return false;
}

/* Said before minutes of measuring and not after. */
static bool can_write(const char *file)
{
	FILE *f = fopen(file, "a");

	if (f)
		return !fclose(f);
	complain("the results cannot be written to %s: %s", file, strerror(errno));
	return false;
}

/* Into --out. */
static bool write_all(const struct bench *bench, const char *dir, const json_t *root)
{
	char file[PATH_MAX];
	bool good;

	snprintf(file, sizeof(file), "%s/%s.json", dir, bench->name);
	good = write_json(root, file);
	snprintf(file, sizeof(file), "%s/%s.csv", dir, bench->name);
	if (bench->csv)
		good &= bench->csv(root, file);
	snprintf(file, sizeof(file), "%s/%s.svg", dir, bench->name);
	if (bench->plots)
		good &= figures_draw(root, file);
	return good;
}

static int run_bench(const struct bench *bench, const struct line *line, json_t *root)
{
	int code = bench->run(&line->opts, root);
	bool good = true;

	if (line->json_file)
		good &= write_json(root, line->json_file);
	if (line->plot && !stop_requested())
		good &= figures_draw(root, line->plot);
	if (line->out && !stop_requested())
		good &= write_all(bench, line->out, root);
	return good ? code : EXIT_NO;
}

static int run_one(const struct bench *bench, const struct line *line)
{
	json_t *root = json_object();
	int code = run_bench(bench, line, root);

	return out_finish(code, root);
}

/* What fails does not keep the others from being measured. */
static int run_everything(const struct line *line)
{
	json_t *root = json_object();
	int code = EXIT_YES;

	for (size_t i = 0; i < ARRAY_SIZE(benches) && !stop_requested(); i++) {
		json_t *one;

		if (benches[i].run == bench_trackers && !bench_trackers_there())
			continue;
		one = json_object();
		heading("pinmem bench %s", benches[i].name);
		if (run_bench(&benches[i], line, one))
			code = EXIT_NO;
		json_object_set_new(root, benches[i].name, one);
	}
	if (!stop_requested() && report_write(line->out))
		code = EXIT_NO;
	return out_finish(code, root);
}

/* ------------------------------------------------------------- command line */

static int usage(const char *sentence)
{
	complain("bench: %s; see pinmem bench --help", sentence);
	return EXIT_USAGE;
}

static int check_line(const char *name, const struct line *line)
{
	const struct bench *bench = find_bench(name);
	bool all = !strcmp(name, "all");

	if (!bench && !all)
		return usage(text("there is no bench '%s'", name));
	if (line->plot && all)
		return usage("all has no --plot, --out draws them");
	if (line->json_file && all)
		return usage("all has no --json FILE, --out writes one for each");
	if (line->opts.from && (all || bench->run != bench_trackers))
		return usage(text("--from is for trackers, not for %s", name));
	if (all && !line->out)
		return usage("all wants --out DIR");
	if (line->plot && !bench->plots)
		return usage(text("%s has no plot", name));
	if (line->out && mkdir(line->out, 0777) && errno != EEXIST) {
		complain("%s cannot be made: %s", line->out, strerror(errno));
		return EXIT_NO;
	}
	if (line->json_file && !can_write(line->json_file))
		return EXIT_NO;
	return PARSED;
}

static void set_defaults(struct line *line)
{
	const char *tmp = getenv("TMPDIR");
	bool quick = line->common.quick;

	line->opts.quick = quick;
	if (!(line->opts.seconds > 0))
		line->opts.seconds = quick ? 0.2 : 1;
	if (!(line->opts.time_limit > 0))
		line->opts.time_limit = quick ? TIME_LIMIT_QUICK : TIME_LIMIT;
	if (!line->opts.dir)
		line->opts.dir = tmp && *tmp ? tmp : "/var/tmp";
}

static int run_named(int operands, char **names, struct line *line)
{
	int code;

	if (!operands)
		return usage("name one thing to measure");
	if (!strcmp(names[0], "report"))
		return operands == 2 ? out_finish(report_write(names[1]), NULL)
				     : usage("report takes one directory");
	if (operands > 1)
		return usage("name one thing to measure");
	code = check_line(names[0], line);
	if (code != PARSED)
		return code;
	set_defaults(line);
	return find_bench(names[0]) ? run_one(find_bench(names[0]), line)
				    : run_everything(line);
}

static int run(int argc, char **argv)
{
	struct line line = { .argc = argc, .argv = argv };
	int code = args_parse(argc, argv, &cmd_bench, options, &line.common, take_own,
			      &line);

	return code == PARSED ? run_named(argc - optind, argv + optind, &line) : code;
}

const struct command cmd_bench = {
	"bench",
	"measure against the raw interfaces and libucx, in the same run",
	help,
	run,
};
