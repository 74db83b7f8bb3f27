/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture_compare.c - which changes does a cache miss? One kind after the other, in a
 * process of its own: get, verify, put; change the mapping; get again, and ask the
 * device whether this is the memory that the CPU sees.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture.h"

#define LEN (256 * KiB)
#define SECONDS 20

struct result {
	unsigned int rounds, stale, errors, kept;
	char why[160];
	bool supported, done;
};

static bool is_shared(enum change c)
{
	return c == CHANGE_REMOVE;
}

static void failed(struct result *res)
{
	res->errors++;
	res->rounds++;
	snprintf(res->why, sizeof(res->why), "%s", pinmem_errmsg());
}

/* The region asked for again is larger or smaller: like ranges of a real program */
static void one_round(struct world *w, enum change c, char *at, struct rng *r,
		      struct result *res)
{
	struct held before, h;
	uint64_t made;

	memset(at, 'x', LEN);
	if (world_get(w, at, LEN, false, &before)) {
		failed(res);
		return;
	}
	made = world_registrations(w);
	if (world_verify(w, &before, at + rng_below(r, LEN / 64) * 64, rng_next(r)) !=
	    FOUND_RIGHT)
		res->errors++;
	world_put(w, &before, true);
	if (!change_do(c, at, LEN, is_shared(c), r)) {
		res->supported = false;
		return;
	}
	if (world_get(w, at, LEN, false, &h)) {
		failed(res);
		return;
	}
	res->kept += world_registrations(w) == made;
	for (size_t page = 0; page < LEN; page += PAGE) {
		enum found f = world_verify(w, &h, at + page, rng_next(r));

		if (f == FOUND_RIGHT)
			continue;
		if (f == FOUND_STALE)
			res->stale++;
		else
			res->errors++;
		break;
	}
	world_put(w, &h, true);
	res->rounds++;
}

static void run_kind(enum cache_kind kind, bool libc, enum change c, uint64_t seed,
		     unsigned int rounds, struct result *res)
{
	struct world *w = world_open(kind, NULL, PINMEM_MONITOR_AUTO);
	struct rng r = { seed * 2 + 1 };
	char *at;

	change_use_libc(libc);
	at = (char *)0x100000000000ul;
	change_map(at, LEN, is_shared(c));
	res->supported = true;
	for (unsigned int i = 0; i < rounds && res->supported; i++) {
		one_round(w, c, at, &r, res);
		/* a new beginning, which both are told of */
		munmap(at, LEN);
		change_use_libc(true);
		change_map(at, LEN, is_shared(c));
		change_use_libc(libc);
	}
	res->done = true;
	_exit(0); /* a cache full of stale regions is not to be closed in peace */
}

static struct result in_a_process(enum cache_kind kind, bool libc, enum change c,
				  uint64_t seed, unsigned int rounds)
{
	struct result *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct result res;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		alarm(SECONDS);
		run_kind(kind, libc, c, seed, rounds, shared);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	res = *shared;
	munmap(shared, PAGE);
	return res;
}

static const char *say(struct result r, char *buf, size_t size)
{
	if (!r.done)
		snprintf(buf, size, "died or hung after %u", r.rounds);
	else if (!r.supported)
		snprintf(buf, size, "-");
	else if (r.errors)
		snprintf(buf, size, "%u stale, %u failed", r.stale, r.errors);
	else if (r.stale)
		snprintf(buf, size, "%u of %u STALE", r.stale, r.rounds);
	else
		snprintf(buf, size, "right%s", r.kept == r.rounds ? ", kept" : "");
	return buf;
}

int compare(uint64_t seed, unsigned int rounds)
{
	char a[64], b[64], d[64];
	char reason[160] = "";
	int bad = 0;

	printf("%-28s %-22s %-22s %s\n", "change", "pinmem, raw calls",
	       "UCX, raw calls", "UCX, libc's functions");
	for (enum change c = 0; c < CHANGES; c++) {
		struct result ours = in_a_process(CACHE_PINMEM, false, c, seed, rounds);
		struct result raw = in_a_process(CACHE_UCX, false, c, seed, rounds);
		struct result libc = in_a_process(CACHE_UCX, true, c, seed, rounds);

		printf("%-28s %-22s %-22s %s\n", change_names[c],
		       say(ours, a, sizeof(a)), say(raw, b, sizeof(b)),
		       say(libc, d, sizeof(d)));
		fflush(stdout);
		if (*libc.why)
			snprintf(reason, sizeof(reason), "%s: %.100s", change_names[c],
				 libc.why);
		bad += !ours.done || ours.stale || ours.errors;
	}
	if (*reason)
		printf("UCX's failures: %s\n", reason);
	printf("raw calls pass by the functions that UCX patches; \"kept\": the same "
	       "region served before and after\n");
	return bad ? 1 : 0;
}
