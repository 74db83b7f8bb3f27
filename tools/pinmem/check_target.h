/* SPDX-License-Identifier: BSD-2-Clause */
/* check_target.h - what `pinmem check` looks at: a file, or new memory, mapped. */
#ifndef CHECK_TARGET_H
#define CHECK_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "memory.h"

/**
 * struct target - one thing to look at.
 * @path:  a file; NULL: new memory of @kind and @want bytes
 * @memory: the mapping
 * @note:  "" or a sentence on how it was mapped
 */
struct target {
	const char *path;
	enum memory_kind kind;
	uint64_t want;
	struct memory memory;
	bool mapped_writable;
	char note[512];
};

/**
 * target_map - map it, as writable as this user may.
 * @length: of devices that have none themselves; 0: a page
 * @private: MAP_PRIVATE
 * Return: 0; -1 with a sentence in memory.why. Then memory_drop().
 */
int target_map(struct target *t, uint64_t length, bool private);

#endif
