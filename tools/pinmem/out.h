/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * out.h - all that `pinmem` prints goes through here.
 *
 * Text for people on stdout, or, with --json, one JSON value on stdout and no
 * other byte. Progress and complaints on stderr. Colour and the moving progress
 * bar on a terminal only.
 */
#ifndef OUT_H
#define OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/** out_setup - called once, when the options are known. */
void out_setup(bool json, bool progress);

/** say - text on stdout, for people; nothing with --json. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** say_block - the same, broken at the terminal's width, indented by spaces. */
void say_block(int indent, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** heading - a line that begins a part. */
void heading(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** complain - one sentence on stderr, with the command's name before it. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/**
 * out_finish - the last output of a command.
 * @root: stolen; printed with --json
 * Return: @code, or EXIT_NO if stdout could not be written.
 */
int out_finish(int code, json_t *root);
/** out_error - out_finish() for a command that could not begin: EXIT_NO. */
int out_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** text - format into one of a few static buffers, for a table's cells. */
const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *size_text(uint64_t bytes);		  /* "64 MiB" */
const char *time_text(double ns);		  /* "3.1 ms" */
const char *rate_text(uint64_t bytes, double ns); /* "1.2 GiB/s" */

/** json_text - a JSON string of any bytes; what is not UTF-8 becomes '?'. */
json_t *json_text(const char *s);

/**
 * struct column - of a table.
 * @width: least width in characters. A table that is streamed has only these
 *         to go by; the last column of any table is broken at the terminal's width.
 */
struct column {
	const char *head;
	int width;
	bool right;
};
struct table;

/**
 * table_new - begin a table.
 * @stream: print each row at once; else when the table ends, with columns as
 *          wide as their cells
 * Memory for it cannot be had: the program ends with a sentence.
 */
struct table *table_new(const struct column *cols, size_t n, bool stream);
/** table_row - n cells, copied; NULL is an empty one. */
void table_row(struct table *t, const char *const *cells);
#define ROW(t, ...) table_row(t, (const char *const[]){ __VA_ARGS__ })
void table_end(struct table *t);

/** progress_show - how far a long step is; done == total ends it. */
void progress_show(const char *what, uint64_t done, uint64_t total);
/** progress_clear - take the bar off the terminal, before other output. */
void progress_clear(void);
/** progress_of_library - for a pinmem_progress_fn; @label: what is worked on.
 * Return: nonzero: the user wants it stopped. */
int progress_of_library(const char *phase, uint64_t done, uint64_t total,
			const char *label);

#endif
