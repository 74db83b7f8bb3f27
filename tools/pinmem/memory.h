/* SPDX-License-Identifier: BSD-2-Clause */
/* memory.h - real memory of every kind, to be judged, pinned and measured. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_kind {
	MEM_ANON,    /* private anonymous, base pages only */
	MEM_THP,     /* private anonymous, on transparent huge pages */
	MEM_HUGETLB, /* private anonymous, on reserved huge pages */
	MEM_MEMFD,
	MEM_SHM,      /* a POSIX shared memory object */
	MEM_TMPFS,    /* a file in a tmpfs, MAP_SHARED */
	MEM_FILE,     /* a file in a directory of the user's choice, MAP_SHARED */
	MEM_READONLY, /* private anonymous, mapped PROT_READ */
	MEM_HOLE,     /* private anonymous with one page unmapped in the middle */
};

/**
 * struct memory - one piece of it.
 * @fd:   of the mapped file; -1: none
 * @path: a file to remove in the end; "" none
 * @seed: of the pattern that is its own; MEM_READONLY comes filled with it
 * @why:  one sentence, if it could not be made
 */
struct memory {
	enum memory_kind kind;
	void *addr;
	size_t len;
	int fd;
	uint64_t seed;
	char path[600];
	char why[512];
};

/** memory_label - what people call it. */
const char *memory_label(enum memory_kind kind);
/** memory_name - one word, for machines. */
const char *memory_name(enum memory_kind kind);

/**
 * memory_make - map @len bytes of a kind.
 * @dir: for MEM_FILE
 * Nothing is touched: what memory can be untouched is not populated.
 * MEM_HUGETLB rounds @len up to whole huge pages.
 * Return: 0; -1 with a sentence in m->why. memory_drop() is right in both cases.
 */
int memory_make(enum memory_kind kind, size_t len, const char *dir, struct memory *m);
void memory_drop(struct memory *m);

/** memory_touch - write to every page, so that it is there. */
void memory_touch(void *addr, size_t len);

/** pattern_fill, pattern_check - bytes that only this seed gives.
 * @len: a multiple of 8. Check returns the offset of the first wrong byte, or @len. */
void pattern_fill(void *addr, size_t len, uint64_t seed);
size_t pattern_check(const void *addr, size_t len, uint64_t seed);

#endif
