/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - `pinmem bench report`: one page that needs no other file, from the JSON
 * files of a directory. Advice, tables and plots are made anew from the numbers.
 */
#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advice.h"
#include "figures.h"
#include "out.h"
#include "report_tables.h"
#include "tool.h"

#define BENCHES_MAX 16

/** struct report - @benches: what the files hold; of each bench one */
struct report {
	FILE *f;
	char file[PATH_MAX], svg[PATH_MAX];
	json_t *benches[BENCHES_MAX];
	unsigned int n, figures;
};

static const char style[] =
	":root{color-scheme:light dark;--ink:#1d2126;--soft:#5b6570;--page:#fff;"
	"--card:#f4f6f8;--line:#d5dae0;--good:#d9efe0}"
	"@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa4af;"
	"--page:#16191d;--card:#20252b;--line:#3a424b;--good:#1f4030}}"
	"body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);"
	"background:var(--page);max-width:62rem;margin:2rem auto;padding:0 1rem}"
	"h1{font-size:1.6rem}h2{font-size:1.3rem;margin-top:2.5rem;"
	"border-bottom:1px solid var(--line)}h3{font-size:1.05rem}"
	".advice{background:var(--card);padding:.6rem 1rem .6rem "
	"2rem;border-radius:8px}"
	".advice li{margin:.3rem 0}.scroll{overflow-x:auto}"
	"table{border-collapse:collapse;font-size:.86rem;margin:.6rem 0}"
	"th,td{padding:.2rem .6rem;border-bottom:1px solid "
	"var(--line);text-align:right;"
	"white-space:nowrap}th:first-child,td:first-child{text-align:left}"
	"th{color:var(--soft);font-weight:600}td.best{background:var(--good)}"
	"td.why{white-space:normal;text-align:left}"
	"figure{margin:1.2rem 0}figcaption{font-weight:600}"
	"svg{width:100%;height:auto}.note{color:var(--soft);font-size:.9rem}"
	/* what gnuplot draws in black and grey takes the page's colours */
	"svg text,svg [fill=black]{fill:var(--ink)}"
	"svg [stroke=black]{stroke:var(--ink)}svg [color=black]{color:var(--ink)}"
	"svg [stroke^='rgb(187']{stroke:var(--line)}svg "
	"[color=gray]{color:var(--line)}";

/* ------------------------------------------------------------------- pictures */

/* What comes before <svg is for a file of its own. */
static int copy_svg(struct report *r, const char *svg)
{
	const char *at = strstr(svg, "<svg");

	return at && fputs(at, r->f) >= 0 ? 0 : -EIO;
}

static char *read_all(const char *file)
{
	FILE *f = fopen(file, "re");
	char *text_of = NULL;
	size_t size = 0;
	ssize_t n = f ? getdelim(&text_of, &size, '\0', f) : -1;

	if (f)
		fclose(f);
	if (n >= 0)
		return text_of;
	free(text_of);
	return NULL;
}

static int put_figure(const char *name, const struct plot *plot, void *ctx)
{
	struct report *r = ctx;
	char id[32], *svg;
	int rc;

	(void)name;
	snprintf(id, sizeof(id), "fig%u_", ++r->figures);
	if (!plot_inline(r->svg, plot, id))
		return -EIO;
	fputs("<figure><figcaption>", r->f);
	html_text(r->f, plot->title);
	fputs("</figcaption>", r->f);
	svg = read_all(r->svg);
	rc = svg ? copy_svg(r, svg) : -EIO;
	free(svg);
	fputs("</figure>\n", r->f);
	return rc;
}

/* ------------------------------------------------------------------ the files */

static const char *bench_of(const json_t *root)
{
	const char *bench = json_string_value(json_object_get(root, "bench"));

	return bench ? bench : "";
}

static const json_t *find(const struct report *r, const char *bench)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (!strcmp(bench_of(r->benches[i]), bench))
			return r->benches[i];
	return NULL;
}

static int take_file(struct report *r, const char *file)
{
	json_error_t error;
	json_t *root = json_load_file(file, 0, &error);

	if (!root) {
		complain("%s, line %d: %s", file, error.line, error.text);
		return -EINVAL;
	}
	if (!*bench_of(root) || find(r, bench_of(root)) || r->n == BENCHES_MAX) {
		complain("%s is left out: %s", file,
			 *bench_of(root) ? "there is another file of the same bench"
					 : "it is no result of pinmem bench");
		json_decref(root);
		return 0;
	}
	r->benches[r->n++] = root;
	return word_is(root, "bench", "strategies") ? findings_add(root) : 0;
}

static int is_json(const struct dirent *e)
{
	size_t len = strlen(e->d_name);

	return len > 5 && !strcmp(e->d_name + len - 5, ".json");
}

static int take_files(struct report *r, const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, is_json, alphasort), rc = 0;
	char file[PATH_MAX];

	if (n < 0) {
		complain("%s cannot be read: %s", dir, strerror(errno));
		return -errno;
	}
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", dir, names[i]->d_name);
		if (!rc)
			rc = take_file(r, file);
		free(names[i]);
	}
	free(names);
	if (!rc && !r->n) {
		complain("%s has no .json file of pinmem bench; see pinmem bench --out",
			 dir);
		rc = -ENOENT;
	}
	return rc;
}

/* -------------------------------------------------------------------- the page */

static int put_advice(struct report *r)
{
	json_t *list = advice(find(r, "strategies"), find(r, "cache"));
	const json_t *sentence;
	size_t i;

	if (!list)
		return -ENOMEM;
	fputs("<h2>What to do on this machine</h2>\n<ul class=advice>\n", r->f);
	json_array_foreach(list, i, sentence)
	{
		fputs("<li>", r->f);
		html_text(r->f, json_string_value(sentence));
		fputs("</li>\n", r->f);
	}
	if (!i)
		fputs("<li>Nothing was measured that gives advice: run pinmem bench "
		      "strategies.</li>\n",
		      r->f);
	fputs("</ul>\n", r->f);
	json_decref(list);
	return 0;
}

static int put_page(struct report *r)
{
	int rc;

	fprintf(r->f,
		"<!doctype html>\n<html lang=en><meta charset=utf-8>\n"
		"<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
		"<title>pinmem bench</title>\n<style>%s</style>\n"
		"<h1>Pinning, copying, caching: what it costs on this machine</h1>\n",
		style);
	rc = put_advice(r);
	for (unsigned int i = 0; i < r->n && !rc; i++) {
		fputs("<h2>pinmem bench ", r->f);
		html_text(r->f, bench_of(r->benches[i]));
		fputs("</h2>\n", r->f);
		report_machine(r->f, r->benches[i]);
		rc = figures_each(r->benches[i], put_figure, r);
		report_tables(r->f, r->benches[i]);
	}
	return rc;
}

static int write_page(struct report *r)
{
	int rc = put_page(r);

	if (!rc && (fflush(r->f) || ferror(r->f))) {
		complain("%s cannot be written: %s", r->file, strerror(errno));
		rc = -EIO;
	}
	unlink(r->svg);
	return rc;
}

int report_write(const char *dir)
{
	struct report r = { 0 };
	int rc = take_files(&r, dir);

	snprintf(r.file, sizeof(r.file), "%.4000s/report.html", dir);
	snprintf(r.svg, sizeof(r.svg), "%.4000s/.report-figure.svg", dir);
	if (!rc) {
		r.f = fopen(r.file, "we");
		if (!r.f) {
			complain("%s cannot be written: %s", r.file, strerror(errno));
			rc = -errno;
		}
	}
	if (!rc) {
		rc = write_page(&r);
		fclose(r.f);
	}
	for (unsigned int i = 0; i < r.n; i++)
		json_decref(r.benches[i]);
	if (rc)
		return EXIT_NO;
	say("%s\n", r.file);
	return EXIT_YES;
}
