/* SPDX-License-Identifier: BSD-2-Clause */
/* tool.h - what a subcommand of `pinmem` is, and what its exit codes mean. */
#ifndef TOOL_H
#define TOOL_H

#include <stdbool.h>
#include <stddef.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** enum exit_code - the same for every subcommand. */
enum exit_code {
	EXIT_YES = 0,	/* done, or the answer is yes */
	EXIT_NO = 1,	/* failed, or the answer is no */
	EXIT_USAGE = 2, /* the command line is wrong; nothing was done */
};

/**
 * struct command - one subcommand.
 * @summary: one line for `pinmem --help`
 * @help:    the whole text of `pinmem NAME --help`
 * @run:     argv[0] is the name. Return: enum exit_code.
 */
struct command {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};

extern const struct command cmd_bench, cmd_check, cmd_demo, cmd_doctor, cmd_top;

/** stop_requested - did the user press Ctrl-C? Long work asks between steps. */
bool stop_requested(void);

#endif
