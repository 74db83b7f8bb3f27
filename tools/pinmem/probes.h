/* SPDX-License-Identifier: BSD-2-Clause */
/* probes.h - what this kernel can, found by trying it, and what it means. */
#ifndef PROBES_H
#define PROBES_H

#include <stddef.h>

enum probe_state {
	PROBE_NO,
	PROBE_PART, /* there, but not for this user, or not all of it */
	PROBE_YES,
};

/**
 * struct probe_result
 * @found: what was seen, a few words
 * @means: what that is for this user, a sentence; static storage
 */
struct probe_result {
	enum probe_state state;
	char found[160];
	const char *means;
};

/**
 * struct probe - one feature.
 * @how: how it is found out, a few words
 */
struct probe {
	const char *name;
	const char *how;
	void (*run)(struct probe_result *r);
};

extern const struct probe probes[];
extern const size_t probes_n;

/** probe_state_name - "yes", "part" or "no". */
const char *probe_state_name(enum probe_state state);

#endif
