/* SPDX-License-Identifier: BSD-2-Clause */
/* out.c - text, tables, JSON and progress on the terminal; see out.h. */
#include "out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "pinmem.h"
#include "tool.h"

#define BAR_WIDTH 24

static struct {
	bool json;
	bool colour;
	bool progress; /* show it at all */
	bool bar;      /* a moving one; else a line now and then */
	bool bar_on;   /* one is on the terminal now */
	size_t width;  /* of the terminal; 0: lines are not broken */
} out;

void out_setup(bool json, bool progress)
{
	struct winsize ws;

	out.json = json;
	out.bar = isatty(STDERR_FILENO);
	out.progress = progress || out.bar;
	out.width = 0;
	if (!isatty(STDOUT_FILENO))
		return;
	out.colour = !getenv("NO_COLOR");
	out.width = 80;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_col >= 40)
		out.width = ws.ws_col;
}

/* ---------------------------------------------------------------- strings */

const char *text(const char *fmt, ...)
{
	static char ring[32][1024];
	static unsigned int turn;
	char *buf = ring[turn++ % ARRAY_SIZE(ring)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(ring[0]), fmt, ap);
	va_end(ap);
	return buf;
}

/* One decimal below ten, none from there on: three digits are enough to read. */
static const char *scaled(double n, const char *unit)
{
	double whole = (double)(long)(n + (n < 0 ? -0.5 : 0.5));
	bool even = n - whole < 0.05 && whole - n < 0.05;

	return text("%.*f %s", n < 10 && n > -10 && !even ? 1 : 0, n, unit);
}

const char *size_text(uint64_t bytes)
{
	static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	double n = (double)bytes;
	size_t unit = 0;

	while (n >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		n /= 1024;
		unit++;
	}
	return scaled(n, units[unit]);
}

const char *time_text(double ns)
{
	static const char *const units[] = { "ns", "µs", "ms", "s" };
	size_t unit = 0;

	while ((ns >= 1000 || ns <= -1000) && unit + 1 < ARRAY_SIZE(units)) {
		ns /= 1000;
		unit++;
	}
	return scaled(ns, units[unit]);
}

const char *rate_text(uint64_t bytes, double ns)
{
	if (ns <= 0)
		return "-";
	return text("%s/s", size_text((uint64_t)((double)bytes / ns * 1e9)));
}

/* Characters that a terminal shows for a UTF-8 text. */
static size_t shown_width(const char *s, size_t bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

/* File names may hold anything, escape sequences of a terminal too. */
static void put_safe(FILE *f, const char *s, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)s[i];

		fputc((c < ' ' && c != '\n') || c == 0x7f ? '?' : c, f);
	}
}

/* ------------------------------------------------------------------- text */

/* Bytes of s that fit into @width characters, broken at a space if there is one. */
static size_t line_length(const char *s, size_t width)
{
	size_t len = strcspn(s, "\n"), fit = 0, space = 0;

	if (!width || shown_width(s, len) <= width)
		return len;
	for (size_t n = 0; fit < len; fit++) {
		if (((unsigned char)s[fit] & 0xc0) != 0x80 && n++ == width)
			break;
		if (s[fit] == ' ')
			space = fit;
	}
	if (fit < len && s[fit] == ' ')
		return fit;
	return space ? space : fit;
}

/* The cursor stands at column @indent already. */
static void put_block(FILE *f, size_t indent, const char *s)
{
	size_t width = out.width > indent + 20 ? out.width - indent : 0;

	for (;;) {
		size_t len = line_length(s, width);

		put_safe(f, s, len);
		fputc('\n', f);
		s += len;
		if (*s == ' ' || *s == '\n')
			s++;
		if (!*s)
			return;
		fprintf(f, "%*s", (int)indent, "");
	}
}

void say(const char *fmt, ...)
{
	char buf[1024];
	va_list ap;

	if (out.json)
		return;
	progress_clear();
	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	put_safe(stdout, buf, strlen(buf));
	fflush(stdout);
}

void say_block(int indent, const char *fmt, ...)
{
	char buf[4096];
	va_list ap;

	if (out.json)
		return;
	progress_clear();
	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	printf("%*s", indent, "");
	put_block(stdout, (size_t)indent, buf);
	fflush(stdout);
}

void heading(const char *fmt, ...)
{
	char buf[1024];
	va_list ap;

	if (out.json)
		return;
	progress_clear();
	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	fputs(out.colour ? "\n\033[1m" : "\n", stdout);
	put_safe(stdout, buf, strlen(buf));
	fputs(out.colour ? "\033[0m\n" : "\n", stdout);
	fflush(stdout);
}

void complain(const char *fmt, ...)
{
	char buf[2048];
	va_list ap;

	progress_clear();
	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	fputs("pinmem: ", stderr);
	put_safe(stderr, buf, strlen(buf));
	fputc('\n', stderr);
}

/* ------------------------------------------------------------------- JSON */

/* Bytes of the UTF-8 sequence at s; 0: it is none (overlong and surrogates too). */
static size_t utf8_sequence(const unsigned char *s)
{
	size_t n = s[0] < 0x80	     ? 1
		   : s[0] >> 5 == 6  ? 2
		   : s[0] >> 4 == 14 ? 3
		   : s[0] >> 3 == 30 ? 4
				     : 0;
	unsigned int c = n == 1 ? s[0] : n ? s[0] & (0xffu >> (n + 1)) : 0;
	static const unsigned int least[] = { 0, 0, 0x80, 0x800, 0x10000 };

	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

json_t *json_text(const char *s)
{
	char *copy = strdup(s);
	json_t *value;

	if (!copy)
		return NULL;
	for (size_t i = 0; copy[i];) {
		size_t n = utf8_sequence((unsigned char *)copy + i);

		if (!n)
			copy[i] = '?';
		i += n ? n : 1;
	}
	value = json_string(copy);
	free(copy);
	return value;
}

int out_finish(int code, json_t *root)
{
	progress_clear();
	if (out.json) {
		/* NULL if a part of it was: jansson ran out of memory */
		if (!root ||
		    (json_dumpf(root, stdout, JSON_INDENT(2)) && !ferror(stdout))) {
			complain("the answer cannot be printed as JSON: out of memory");
			code = EXIT_NO;
		}
		fputc('\n', stdout);
	}
	json_decref(root);
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	/* that a reader has seen enough (SIGPIPE) is no news to anybody */
	if (!stop_requested())
		complain("cannot write to stdout: %s", strerror(errno));
	return EXIT_NO;
}

int out_error(const char *fmt, ...)
{
	char buf[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	complain("%s", buf);
	return out_finish(EXIT_NO, json_pack("{so}", "error", json_text(buf)));
}

/* ----------------------------------------------------------------- tables */

struct table {
	size_t n; /* columns */
	size_t rows;
	bool stream;
	bool head_done;
	char **cells; /* rows * n */
	struct column cols[];
};

static void *need(void *p)
{
	if (p)
		return p;
	complain("out of memory");
	exit(EXIT_NO);
}

struct table *table_new(const struct column *cols, size_t n, bool stream)
{
	struct table *t = need(calloc(1, sizeof(*t) + n * sizeof(*cols)));

	t->n = n;
	t->stream = stream;
	memcpy(t->cols, cols, n * sizeof(*cols));
	for (size_t i = 0; i < n; i++) {
		int w = (int)shown_width(cols[i].head, strlen(cols[i].head));

		if (w > t->cols[i].width)
			t->cols[i].width = w;
	}
	return t;
}

/* Green is good, yellow is a way out or falls short, red is no. */
static const char *tint(const char *cell)
{
	static const struct {
		const char *word, *colour;
	} tints[] = {
		{ "pin", "\033[32m" },	    { "yes", "\033[32m" },
		{ "verified", "\033[32m" }, { "met", "\033[32m" },
		{ "pinned", "\033[32m" },   { "odp", "\033[33m" },
		{ "stage", "\033[33m" },    { "staged", "\033[33m" },
		{ "short", "\033[33m" },    { "part", "\033[33m" },
		{ "resident", "\033[33m" }, { "refuse", "\033[31m" },
		{ "no", "\033[31m" },	    { "failed", "\033[31m" },
	};

	for (size_t i = 0; out.colour && i < ARRAY_SIZE(tints); i++)
		if (!strcmp(cell, tints[i].word))
			return tints[i].colour;
	return NULL;
}

static void put_cell(const struct column *col, const char *cell, bool last, bool tinted)
{
	int pad = col->width - (int)shown_width(cell, strlen(cell));
	const char *colour = tinted ? tint(cell) : NULL;

	if (col->right && pad > 0)
		printf("%*s", pad, "");
	if (colour)
		fputs(colour, stdout);
	put_safe(stdout, cell, strlen(cell));
	if (colour)
		fputs("\033[0m", stdout);
	if (!col->right && !last && pad > 0)
		printf("%*s", pad, "");
}

static void put_row(const struct table *t, const char *const *cells, bool tinted)
{
	size_t column = 2, last = t->n - 1;

	while (last && !(cells[last] && *cells[last]))
		last--;
	fputs("  ", stdout);
	for (size_t i = 0; i <= last; i++) {
		const char *cell = cells[i] ? cells[i] : "";

		if (i == t->n - 1 && !t->cols[i].right) {
			put_block(stdout, column, cell);
			return;
		}
		put_cell(&t->cols[i], cell, i == last, tinted);
		if (i < last)
			fputs("  ", stdout);
		column += (size_t)t->cols[i].width + 2;
	}
	fputc('\n', stdout);
}

static void put_head(struct table *t)
{
	const char **heads = need(calloc(t->n, sizeof(*heads)));
	size_t letters = 0;

	for (size_t i = 0; i < t->n; i++) {
		heads[i] = t->cols[i].head;
		letters += strlen(heads[i]);
	}
	if (out.colour)
		fputs("\033[2m", stdout);
	if (letters)
		put_row(t, heads, false);
	if (out.colour)
		fputs("\033[0m", stdout);
	free(heads);
	t->head_done = true;
}

void table_row(struct table *t, const char *const *cells)
{
	if (out.json)
		return;
	if (t->stream) {
		progress_clear();
		if (!t->head_done)
			put_head(t);
		put_row(t, cells, true);
		fflush(stdout);
		return;
	}
	t->cells = need(realloc(t->cells, (t->rows + 1) * t->n * sizeof(*t->cells)));
	for (size_t i = 0; i < t->n; i++) {
		const char *cell = cells[i] ? cells[i] : "";
		int w = (int)shown_width(cell, strlen(cell));

		t->cells[t->rows * t->n + i] = need(strdup(cell));
		if (w > t->cols[i].width)
			t->cols[i].width = w;
	}
	t->rows++;
}

void table_end(struct table *t)
{
	progress_clear();
	if (t->rows)
		put_head(t);
	for (size_t r = 0; r < t->rows; r++)
		put_row(t, (const char *const *)t->cells + r * t->n, true);
	for (size_t i = 0; i < t->rows * t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
	if (!out.json)
		fflush(stdout);
}

/* --------------------------------------------------------------- progress */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void progress_clear(void)
{
	if (!out.bar_on)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	out.bar_on = false;
}

static void draw_bar(const char *what, uint64_t done, uint64_t total)
{
	int full = (int)((double)done / (double)total * BAR_WIDTH);
	char bar[BAR_WIDTH + 1];

	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)full);
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r\033[K[%s] %3.0f%%  %.60s", bar,
		100.0 * (double)done / (double)total, what);
	fflush(stderr);
	out.bar_on = true;
}

/* A step is long once it has lasted this; shorter ones never show up. */
#define LONG_MS 300

void progress_show(const char *what, uint64_t done, uint64_t total)
{
	static char step[64];
	static uint64_t begin_ms, shown_ms;
	uint64_t now = now_ms();

	if (!out.progress || !total)
		return;
	if (strncmp(step, what, sizeof(step) - 1) != 0) {
		snprintf(step, sizeof(step), "%s", what);
		begin_ms = now;
	}
	if (done >= total) {
		step[0] = '\0';
		progress_clear();
		return;
	}
	if (now - begin_ms < LONG_MS || now - shown_ms < (out.bar ? 100 : 1000))
		return;
	shown_ms = now;
	if (out.bar)
		draw_bar(what, done, total);
	else
		fprintf(stderr, "pinmem: %s: %.0f%%\n", what,
			100.0 * (double)done / (double)total);
}

int progress_of_library(const char *phase, uint64_t done, uint64_t total,
			const char *label)
{
	progress_show(text("%s %s", phase, label), done, total);
	return stop_requested();
}
