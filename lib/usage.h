/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * usage.h - what memlock.c, the only user, finds out about this process, this user
 * and this cgroup: capabilities, counters, the rings of a user, memory limits.
 */
#ifndef PINMEM_USAGE_H
#define PINMEM_USAGE_H

#include <sys/types.h>

#include "internal.h"

#define SELF "thread-self"

static inline uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static inline uint64_t sub_sat(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/** whole_pages - bytes of the pages that a range touches */
static inline uint64_t whole_pages(const void *addr, uint64_t len)
{
	uint64_t mask = page_size() - 1;
	uint64_t bytes = add_sat((uintptr_t)addr & mask, len);

	return add_sat(bytes, mask) & ~mask;
}

/* ---------------------------------------------------------------- usage.c */

/** struct status - what /proc/PID/status says of a process. */
struct status {
	bool vmpin_known, vmlck_known;
	uint64_t vmpin, vmlck; /* bytes */
	uint64_t cap_eff;
	unsigned long uid; /* real */
};

/** proc_open - a file of a process in /proc ("thread-self", "1234"); or NULL */
FILE *proc_open(const char *process, const char *file);
bool status_read(const char *process, struct status *st);

enum { NS_UNKNOWN, NS_INITIAL, NS_OTHER };
/** user_namespace - is a process in the initial one? */
int user_namespace(const char *process);
/** cap_effective - has this thread CAP_IPC_LOCK, in whatever namespace? */
bool cap_effective(void);

#define SCAN_NS (50 * 1000000ull) /* a call may not take longer than about this */
#define SCAN_RINGS 256

/** struct scan - the sum over the rings of a user, and how far it went. */
struct scan {
	unsigned long uid;
	bool rings_charged; /* this kernel charges the rings themselves */
	uint64_t bytes;
	bool cut; /* out of time or of room */
	uint64_t deadline;
	unsigned int nrings;
	struct {
		dev_t dev;
		ino_t ino;
		uint64_t bytes;
	} rings[SCAN_RINGS];
};

/** scan_user - add up what the rings of this user have pinned, as far as /proc
 * shows it. False without /proc. */
bool scan_user(struct scan *s);

/* --------------------------------------------------------------- cgroup.c */

/** find_cgroup - fill in cgroup_limit and cgroup_used */
void find_cgroup(struct pinmem_memlock *out);

#endif
