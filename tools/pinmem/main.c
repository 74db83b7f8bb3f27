/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c - the command `pinmem`: finds the subcommand and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "out.h"
#include "pinmem.h"
#include "tool.h"

static const struct command *const commands[] = {
	&cmd_demo, &cmd_doctor, &cmd_check, &cmd_top, &cmd_bench,
};

static volatile sig_atomic_t stopped;

bool stop_requested(void)
{
	return stopped;
}

/* The second Ctrl-C ends the program at once: the first was only asked. */
static void on_signal(int sig)
{
	stopped = 1;
	signal(sig, SIG_DFL);
}

/* Nobody reads on: as good as Ctrl-C, but for every write there is one of these. */
static void on_pipe(int sig)
{
	(void)sig;
	stopped = 1;
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct sigaction pipe_sa = { .sa_handler = on_pipe };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	sigaction(SIGPIPE, &pipe_sa, NULL);
}

static void usage(FILE *f)
{
	fputs("usage: pinmem COMMAND [OPTION...]\n"
	      "\n"
	      "Long-term pinned memory: what may be pinned, why not, and what it "
	      "costs.\n"
	      "\n",
	      f);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n"
	      "pinmem COMMAND --help explains a command; most take --json.\n"
	      "Exit code: 0 done, or the answer is yes; 1 failed, or the answer is "
	      "no;\n"
	      "2 the command line is wrong.\n",
	      f);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i]->name))
			return commands[i];
	return NULL;
}

/* pinmem help [COMMAND] */
static int help(const char *name)
{
	const struct command *cmd = name ? find_command(name) : NULL;

	if (name && !cmd) {
		complain("there is no command '%s'; see pinmem --help", name);
		return EXIT_USAGE;
	}
	if (cmd)
		fputs(cmd->help, stdout);
	else
		usage(stdout);
	return out_finish(EXIT_YES, NULL);
}

int main(int argc, char **argv)
{
	const struct command *cmd;

	out_setup(false, false);
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("pinmem %s\n", pinmem_version());
		return out_finish(EXIT_YES, NULL);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help"))
		return help(argc > 2 ? argv[2] : NULL);
	cmd = find_command(argv[1]);
	if (!cmd) {
		complain("there is no %s '%s'; see pinmem --help",
			 argv[1][0] == '-' ? "option" : "command", argv[1]);
		return EXIT_USAGE;
	}
	catch_signals();
	return cmd->run(argc - 1, argv + 1);
}
