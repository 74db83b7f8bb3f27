/* SPDX-License-Identifier: BSD-2-Clause */
/* args.c - the command line; see args.h. */
#include "args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

static bool parse_backend(const char *s, enum pinmem_backend *backend)
{
	if (!strcmp(s, "uring"))
		s = "io_uring";
	for (int b = PINMEM_BACKEND_AUTO; b <= PINMEM_BACKEND_MLOCK; b++)
		if (!strcmp(s, pinmem_backend_name(b))) {
			*backend = b;
			return true;
		}
	complain("--backend takes auto, verbs, io_uring, pin_track or mlock, not '%s'",
		 s);
	return false;
}

static int take_common(int option, const char *arg, struct common *common)
{
	switch (option) {
	case OPT_JSON:
		common->json = true;
		return 0;
	case OPT_PROGRESS:
		common->progress = true;
		return 0;
	case OPT_QUICK:
		common->quick = true;
		return 0;
	case OPT_BACKEND:
		return parse_backend(arg, &common->backend) ? 0 : EXIT_USAGE;
	case OPT_DEVICE:
		common->device = arg;
		return 0;
	}
	return EXIT_USAGE;
}

/* getopt has silently found something wrong with the word before optind. */
static int say_wrong(int found, char **argv, const struct command *cmd,
		     const struct option *options)
{
	const char *name = NULL;

	for (const struct option *o = options; o->name; o++)
		if (o->val == optopt)
			name = o->name;
	if (found == ':')
		complain("%s: --%s wants a value; see pinmem %s --help", cmd->name,
			 name, cmd->name);
	else if (name)
		complain("%s: --%s takes no value; see pinmem %s --help", cmd->name,
			 name, cmd->name);
	else
		complain("%s: there is no option '%s', or it is cut too short; see "
			 "pinmem %s --help",
			 cmd->name, optopt ? text("-%c", optopt) : argv[optind - 1],
			 cmd->name);
	return EXIT_USAGE;
}

int args_parse(int argc, char **argv, const struct command *cmd,
	       const struct option *options, struct common *common, parse_own own,
	       void *ctx)
{
	int option, code;

	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == OPT_HELP || option == 'h') {
			fputs(cmd->help, stdout);
			return out_finish(EXIT_YES, NULL);
		}
		if (option == '?' || option == ':')
			return say_wrong(option, argv, cmd, options);
		if (option >= OPT_OWN)
			code = own(option, optarg, ctx);
		else
			code = take_common(option, optarg, common);
		if (code)
			return code;
	}
	if (common->device && common->backend == PINMEM_BACKEND_AUTO)
		common->backend = PINMEM_BACKEND_VERBS;
	if (common->device && common->backend != PINMEM_BACKEND_VERBS) {
		complain("--device names a verbs device, and --backend %s has none",
			 pinmem_backend_name(common->backend));
		return EXIT_USAGE;
	}
	out_setup(common->json, common->progress);
	return PARSED;
}

int args_no_operands(int argc, char **argv, const struct command *cmd)
{
	if (optind >= argc)
		return PARSED;
	complain("%s: '%s' is one word too many; see pinmem %s --help", cmd->name,
		 argv[optind], cmd->name);
	return EXIT_USAGE;
}

/* K, M, G, T, P, alone or followed by iB or B; nothing is bytes. */
static int unit_shift(const char *unit)
{
	static const char letters[] = "KMGTP";
	const char *at;

	if (!*unit || !strcmp(unit, "B"))
		return 0;
	at = strchr(letters, *unit >= 'a' ? *unit - 32 : *unit);
	if (!at || !*at)
		return -1;
	if (unit[1] && strcmp(unit + 1, "iB") && strcmp(unit + 1, "B"))
		return -1;
	return 10 * (int)(at - letters + 1);
}

bool parse_size(const char *option, const char *s, bool zero_ok, uint64_t *bytes)
{
	unsigned long long n;
	char *end;
	int shift;

	errno = 0;
	n = strtoull(s, &end, 10);
	shift = unit_shift(end);
	if (*s < '0' || *s > '9' || shift < 0) {
		complain("--%s takes a size such as 4096, 64K, 16M or 1G, not '%s'",
			 option, s);
		return false;
	}
	/* mappings end below 2^63; so sums of two sizes cannot overflow */
	if (errno || n > (uint64_t)INT64_MAX >> shift) {
		complain("--%s %s is more than an address space holds", option, s);
		return false;
	}
	if (!n && !zero_ok) {
		complain("--%s must be more than zero", option);
		return false;
	}
	*bytes = (uint64_t)n << shift;
	return true;
}

static const struct {
	const char *name;
	unsigned int bits;
} rights[] = {
	{ "r", 0 },
	{ "read", 0 },
	{ "w", PINMEM_ACCESS_LOCAL_WRITE },
	{ "rw", PINMEM_ACCESS_LOCAL_WRITE },
	{ "local-write", PINMEM_ACCESS_LOCAL_WRITE },
	{ "remote-write", PINMEM_ACCESS_REMOTE_WRITE | PINMEM_ACCESS_LOCAL_WRITE },
	{ "remote-read", PINMEM_ACCESS_REMOTE_READ },
	{ "remote-atomic", PINMEM_ACCESS_REMOTE_ATOMIC | PINMEM_ACCESS_LOCAL_WRITE },
	{ "relaxed-ordering", PINMEM_ACCESS_RELAXED_ORDERING },
};

static bool find_right(const char *word, unsigned int *access)
{
	for (size_t i = 0; i < ARRAY_SIZE(rights); i++)
		if (!strcmp(word, rights[i].name)) {
			*access |= rights[i].bits;
			return true;
		}
	complain("--access takes r, w, rw, remote-read, remote-write, remote-atomic "
		 "and relaxed-ordering, joined by commas, not '%s'",
		 word);
	return false;
}

static bool find_way_out(const char *word, enum pinmem_action *action)
{
	for (int a = PINMEM_USE_ODP; a <= PINMEM_REFUSE; a++)
		if (!strcmp(word, pinmem_action_name(a))) {
			*action = a;
			return true;
		}
	complain("--policy takes refuse, odp and stage, joined by commas in the order "
		 "to try them, not '%s'",
		 word);
	return false;
}

/* One word of a list: copied to @word. Return: what follows it, or NULL. */
static const char *next_word(const char *s, char word[64])
{
	size_t len = strcspn(s, ",");

	snprintf(word, 64, "%.*s", (int)(len < 64 ? len : 63), s);
	return s[len] ? s + len + 1 : NULL;
}

bool parse_access(const char *s, unsigned int *access)
{
	char word[64];

	*access = 0;
	while (s) {
		s = next_word(s, word);
		if (!find_right(word, access))
			return false;
	}
	return true;
}

bool parse_policy(const char *s, enum pinmem_action policy[PINMEM_POLICY_MAX])
{
	char word[64];
	size_t n = 0;

	memset(policy, 0, PINMEM_POLICY_MAX * sizeof(*policy));
	while (s) {
		s = next_word(s, word);
		if (n == PINMEM_POLICY_MAX) {
			complain("--policy takes at most %d words", PINMEM_POLICY_MAX);
			return false;
		}
		if (!find_way_out(word, &policy[n++]))
			return false;
	}
	return true;
}

const char *access_text(unsigned int access)
{
	const char *s = "read";

	if (access & PINMEM_ACCESS_LOCAL_WRITE)
		s = text("%s, local-write", s);
	if (access & PINMEM_ACCESS_REMOTE_READ)
		s = text("%s, remote-read", s);
	if (access & PINMEM_ACCESS_REMOTE_WRITE)
		s = text("%s, remote-write", s);
	if (access & PINMEM_ACCESS_REMOTE_ATOMIC)
		s = text("%s, remote-atomic", s);
	if (access & PINMEM_ACCESS_RELAXED_ORDERING)
		s = text("%s, relaxed-ordering", s);
	return s;
}
