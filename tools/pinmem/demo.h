/* SPDX-License-Identifier: BSD-2-Clause */
/* demo.h - what the steps of `pinmem demo` share. */
#ifndef DEMO_H
#define DEMO_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "args.h"
#include "memory.h"
#include "pinmem.h"

/**
 * struct demo
 * @size:   of each piece of memory, bytes
 * @dir:    where files are made
 * @access: what a device may do to the memory it is registered for
 * @failed: something went wrong that should not: exit code 1
 * @moved:  pieces of memory whose bytes went out and came back verified
 */
struct demo {
	struct common common;
	uint64_t size_asked, size;
	const char *dir;
	struct pinmem *pm;
	struct pinmem_info info;
	unsigned int access;
	json_t *json;
	bool failed;
	unsigned int moved;
};

/** demo_kinds - the memory that is shown, in order. */
extern const enum memory_kind demo_kinds[];
extern const size_t demo_kinds_n;

/** demo_make - memory_make() with a length that this machine has. */
int demo_make(const struct demo *d, enum memory_kind kind, struct memory *m);

/** demo_fits - the most of @len, halved and halved again, that the limits let be
 * pinned; 0: not even @least. */
uint64_t demo_fits(const struct demo *d, uint64_t len, uint64_t least);

/** demo_options - registration options that show progress on @m. */
struct pinmem_reg_options demo_options(const struct memory *m);

/* The steps. Each ends early if stop_requested(). */
void demo_verdicts(struct demo *d);
void demo_moves(struct demo *d);
void demo_times(struct demo *d);
void demo_refusals(struct demo *d);

#endif
