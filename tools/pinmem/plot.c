/* SPDX-License-Identifier: BSD-2-Clause */
/* plot.c - a script for gnuplot(1), with its data, through a pipe; see plot.h. */
#include "plot.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "out.h"
#include "tool.h"

#define SIZE "size 960,540 enhanced"

static const struct format {
	const char *ending, *terminal;
} formats[] = {
	{ ".svg", "svg " SIZE " background 'white' font 'sans,14'" },
	{ ".png", "pngcairo " SIZE " background 'white' font 'sans,11'" },
};

/* To be told apart on white and on black, also by those who do not see red. */
static const char *const colours[] = { "#2f7ed8", "#e0701a", "#2a9d5c", "#b5499b",
				       "#c0a000", "#7a6ff0", "#d04545", "#3aa6b9",
				       "#8a8a8a", "#a5673f", "#8fbf3f", "#e086b6",
				       "#1f6f78", "#c9a27e" };

/* Where the ending begins; NULL: it has none of these, or nothing else. */
static const char *ending_of(const char *file)
{
	size_t length = strlen(file);

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *at = file + length - strlen(formats[i].ending);

		if (length > strlen(formats[i].ending) &&
		    !strcmp(at, formats[i].ending))
			return at;
	}
	return NULL;
}

bool plot_file_ok(const char *file)
{
	return ending_of(file);
}

const char *plot_name(const char *file, const char *word)
{
	int stem = (int)(ending_of(file) - file);

	return *word ? text("%.*s-%s%s", stem, file, word, file + stem) : file;
}

/* In single quotes, where gnuplot knows no other special character. */
static void put_quoted(FILE *f, const char *s)
{
	fputc('\'', f);
	for (; *s; s++) {
		if (*s == '\'')
			fputc('\'', f);
		fputc(*s, f);
	}
	fputc('\'', f);
}

static void put_setting(FILE *f, const char *name, const char *value)
{
	fprintf(f, "set %s ", name);
	put_quoted(f, value);
	fputc('\n', f);
}

static void put_data(FILE *f, const struct plot *plot)
{
	for (unsigned int c = 0; c < plot->n; c++) {
		const struct curve *curve = &plot->curves[c];

		fprintf(f, "$curve%u << END\n", c);
		for (unsigned int i = 0; i < curve->n; i++)
			if (curve->y[i] > 0)
				fprintf(f, "%.17g %.17g\n", curve->x[i], curve->y[i]);
		fprintf(f, "END\n");
	}
}

/* ------------------------------------------------------------------ tics, marks */

static const char *tic_text(double at, enum unit unit)
{
	switch (unit) {
	case UNIT_BYTES:
		return size_text((uint64_t)at);
	case UNIT_TIME:
		return time_text(at);
	case UNIT_RATIO:
		return text("%g", at);
	default:
		return at < 1e5 ? text("%g", at) : text("%gk", at / 1000);
	}
}

static void bounds(const struct plot *plot, bool of_y, double *least, double *most)
{
	*least = *most = 0;
	for (unsigned int c = 0; c < plot->n; c++)
		for (unsigned int i = 0; i < plot->curves[c].n; i++) {
			double v = of_y ? plot->curves[c].y[i] : plot->curves[c].x[i];

			if (v > 0 && (!*least || v < *least))
				*least = v;
			if (v > *most)
				*most = v;
		}
}

/* 1, 2, 5 of each decade where there are few of them, else 1; bytes by powers of 4. */
static void put_tics(FILE *f, const char *axis, enum unit unit, double least,
		     double most)
{
	static const double steps[] = { 1, 2, 5 };
	unsigned int n = most > 300 * least ? 1 : 3;
	const char *comma = "";

	fprintf(f, "set %stics (", axis);
	for (double at = 4096; unit == UNIT_BYTES && at <= most * 1.01;
	     at *= 4, comma = ", ")
		fprintf(f, "%s'%s' %.17g", comma, tic_text(at, unit), at);
	for (double base = 1e-3; unit != UNIT_BYTES && base <= most; base *= 10)
		for (unsigned int i = 0; i < n; i++, comma = ", ")
			fprintf(f, "%s'%s' %.17g", comma,
				tic_text(base * steps[i], unit), base * steps[i]);
	fputs(")\n", f);
}

static void put_axes(FILE *f, const struct plot *plot)
{
	double least, most;

	bounds(plot, false, &least, &most);
	put_tics(f, "x", plot->x_unit, least, most);
	fprintf(f, "set xrange [%.17g:%.17g]\n", least / 1.3, most * 1.3);
	bounds(plot, true, &least, &most);
	put_tics(f, "y", plot->y_unit, least, most);
	/* room at the top for the marks' words */
	fprintf(f, "set yrange [%.17g:%.17g]\n", least / 1.2,
		most * (plot->marks_n ? 1 + 0.6 * plot->marks_n : 1.2));
}

/* One below the other, so that neighbours do not overlap. */
static void put_marks(FILE *f, const struct plot *plot)
{
	for (unsigned int i = 0; i < plot->marks_n; i++) {
		const struct mark *m = &plot->marks[i];

		fprintf(f,
			"set arrow from first %.17g, graph 0 to first %.17g, graph 1 "
			"nohead dt 3 lw 1.5 lc rgb '%s'\nset label ",
			m->x, m->x, "#888888");
		put_quoted(f, m->label);
		fprintf(f, " at first %.17g, graph %g offset 0.5,0 left noenhanced\n",
			m->x, 0.965 - 0.05 * i);
	}
	if (plot->line > 0)
		fprintf(f,
			"set arrow from graph 0, first %.17g to graph 1, first %.17g "
			"nohead dt 2 lw 1.5 lc rgb '#888888'\n",
			plot->line, plot->line);
}

static void put_curves(FILE *f, const struct plot *plot)
{
	for (unsigned int c = 0; c < plot->n; c++) {
		bool faint = plot->faint & 1u << c;

		fprintf(f,
			"%s $curve%u with linespoints lw %s pt %u ps %s lc rgb '%s' "
			"title ",
			c ? "," : "plot", c, faint ? "1 dt 2" : "2", c % 12 + 4,
			faint ? "0.5" : "0.9", colours[c % ARRAY_SIZE(colours)]);
		put_quoted(f, plot->curves[c].name);
		fputs(c + 1 < plot->n ? " \\\n" : "\n", f);
	}
}

static void put_script(FILE *f, const struct plot *plot)
{
	put_data(f, plot);
	fputs("set encoding utf8\n"
	      "set logscale xy 10\n"
	      "set grid xtics ytics lc rgb '#bbbbbb'\n"
	      "set key noenhanced outside right center vertical Left reverse\n"
	      "set key spacing 1.2\n",
	      f);
	put_axes(f, plot);
	put_marks(f, plot);
	put_setting(f, "title", plot->title);
	put_setting(f, "xlabel", plot->x);
	put_setting(f, "ylabel", plot->y);
}

static void put_output(FILE *f, const struct plot *plot, const char *terminal,
		       const char *file)
{
	fprintf(f, "set terminal %s\n", terminal);
	put_setting(f, "output", file);
	put_curves(f, plot);
}

/* gnuplot's own complaint would not name the file. */
static bool can_write(const char *file)
{
	FILE *f = fopen(file, "we");

	if (!f || fclose(f)) {
		complain("%s cannot be written: %s", file, strerror(errno));
		return false;
	}
	return true;
}

/** struct output - one picture of a plot. */
struct output {
	char file[PATH_MAX + 8];
	const char *terminal;
};

static bool complain_of(const char *file, int status)
{
	remove(file);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		complain("the plot wants gnuplot (Debian: gnuplot-nox)");
	else
		complain("gnuplot could not draw %s (wait status %#x)", file,
			 (unsigned int)status);
	return false;
}

static bool draw(const struct plot *plot, const struct output *out, size_t n)
{
	int status;
	FILE *f;

	for (size_t i = 0; i < n; i++)
		if (!can_write(out[i].file))
			return false;
	f = popen("exec gnuplot 2>/dev/null", "we");
	if (!f) {
		complain("gnuplot cannot be started: %s", strerror(errno));
		return false;
	}
	put_script(f, plot);
	for (size_t i = 0; i < n; i++)
		put_output(f, plot, out[i].terminal, out[i].file);
	status = pclose(f);
	for (size_t i = 0; status && i < n; i++)
		remove(out[i].file);
	return !status || complain_of(out[0].file, status);
}

bool plot_draw(const char *file, const struct plot *plot)
{
	struct output out[ARRAY_SIZE(formats)];
	int stem = (int)(ending_of(file) - file);

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		snprintf(out[i].file, sizeof(out[i].file), "%.*s%s", stem, file,
			 formats[i].ending);
		out[i].terminal = formats[i].terminal;
	}
	return draw(plot, out, ARRAY_SIZE(formats));
}

bool plot_inline(const char *file, const struct plot *plot, const char *id)
{
	struct plot untitled = *plot;
	struct output out;
	char terminal[256];

	untitled.title = "";
	snprintf(out.file, sizeof(out.file), "%s", file);
	snprintf(terminal, sizeof(terminal),
		 "svg " SIZE " dynamic font 'sans,14' name '%s'", id);
	out.terminal = terminal;
	return draw(&untitled, &out, 1);
}
