/* SPDX-License-Identifier: BSD-2-Clause */
/* plot.c - a script for gnuplot(1), with its data, through a pipe; see plot.h. */
#include "plot.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "out.h"
#include "tool.h"

static const struct format {
	const char *ending, *terminal;
} formats[] = {
	{ ".svg", "svg size 900,600 enhanced background 'white' font 'sans,14'" },
	{ ".png", "pngcairo size 900,600 enhanced background 'white' font 'sans,11'" },
};

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

static void put_script(FILE *f, const struct plot *plot, const char *terminal,
		       const char *file)
{
	put_data(f, plot);
	fprintf(f,
		"set encoding utf8\n"
		"set terminal %s\n"
		"set logscale xy 10\n"
		"set format x '10^{%%L}'\n"
		"set grid xtics ytics mytics lc rgb '#bbbbbb', lc rgb '#e4e4e4'\n"
		"set key noenhanced outside bottom center horizontal\n"
		"set key spacing 1.2\n",
		terminal);
	put_setting(f, "title", plot->title);
	put_setting(f, "xlabel", plot->x);
	put_setting(f, "ylabel", plot->y);
	put_setting(f, "output", file);
	for (unsigned int c = 0; c < plot->n; c++) {
		fprintf(f, "%s $curve%u with linespoints lw 2 ps 1.2 title ",
			c ? "," : "plot", c);
		put_quoted(f, plot->curves[c].name);
		fputs(c + 1 < plot->n ? " \\\n" : "\n", f);
	}
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

static bool draw(const struct plot *plot, const char *terminal, const char *file)
{
	FILE *f;
	int status;

	if (!can_write(file))
		return false;
	f = popen("exec gnuplot 2>/dev/null", "we");
	if (!f) {
		complain("gnuplot cannot be started: %s", strerror(errno));
		return false;
	}
	put_script(f, plot, terminal, file);
	status = pclose(f);
	if (!status)
		return true;
	remove(file);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		complain("the plot wants gnuplot (Debian: gnuplot-nox)");
	else
		complain("gnuplot could not draw %s (wait status %#x)", file,
			 (unsigned int)status);
	return false;
}

bool plot_draw(const char *file, const struct plot *plot)
{
	char name[PATH_MAX];
	int stem = (int)(ending_of(file) - file);

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		snprintf(name, sizeof(name), "%.*s%s", stem, file, formats[i].ending);
		if (!draw(plot, formats[i].terminal, name))
			return false;
	}
	return true;
}
