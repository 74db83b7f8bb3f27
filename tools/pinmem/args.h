/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * args.h - the command line: options that all subcommands share, sizes, names.
 * What is wrong with it is said here, in a sentence on stderr.
 */
#ifndef ARGS_H
#define ARGS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "pinmem.h"
#include "tool.h"

/** struct common - options of more than one subcommand. */
struct common {
	bool json;
	bool progress;
	bool quick;
	enum pinmem_backend backend;
	const char *device;
};

enum common_option {
	OPT_HELP = 0x100,
	OPT_JSON,
	OPT_PROGRESS,
	OPT_QUICK,
	OPT_BACKEND,
	OPT_DEVICE,
	OPT_OWN = 0x200, /* a subcommand's own begin here */
};
/* clang-format off */
#define FLAG(name, value) { name, no_argument, NULL, value }
#define VALUE(name, value) { name, required_argument, NULL, value }
#define COMMON_OPTIONS \
	FLAG("help", OPT_HELP), FLAG("json", OPT_JSON), FLAG("progress", OPT_PROGRESS)
#define BACKEND_OPTIONS VALUE("backend", OPT_BACKEND), VALUE("device", OPT_DEVICE)
#define QUICK_OPTION FLAG("quick", OPT_QUICK)
#define END_OF_OPTIONS { 0 }
/* clang-format on */

/** parse_own - takes an option of the subcommand's own. Return: 0 or EXIT_USAGE */
typedef int (*parse_own)(int option, const char *arg, void *ctx);

/** PARSED - args_parse() says: go on. Everything else is an exit code. */
#define PARSED (-1)

/**
 * args_parse - parse all options of a subcommand; optind is at the first operand.
 * @own: may be NULL; @ctx: for it
 * Return: PARSED; EXIT_YES after --help; EXIT_USAGE after a sentence.
 * Calls out_setup().
 */
int args_parse(int argc, char **argv, const struct command *cmd,
	       const struct option *options, struct common *common, parse_own own,
	       void *ctx);

/** args_no_operands - PARSED, or EXIT_USAGE with a sentence if there are any. */
int args_no_operands(int argc, char **argv, const struct command *cmd);

/** Each: true, or a sentence on stderr and false. @option: its name, for that. */
bool parse_size(const char *option, const char *s, bool zero_ok, uint64_t *bytes);
bool parse_access(const char *s, unsigned int *access);
bool parse_policy(const char *s, enum pinmem_action policy[PINMEM_POLICY_MAX]);

/** access_text - the names of the rights, "read, local-write, …". */
const char *access_text(unsigned int access);

#endif
