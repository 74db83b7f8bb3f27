/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture.h - the rooms of the staleness torture.
 *
 *	torture.c           threads, slots, what is asked and how it is judged
 *	torture_world.c     a pinner, a cache, and a device that moves bytes: the oracle
 *	torture_changes.c   the ways to change a mapping, by raw system calls or by libc
 *	torture_compare.c   the same changes, one after the other, against UCX's cache
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pinmem.h"

#define PAGE 4096ul
#define KiB 1024ul
#define MiB (1024 * KiB)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** struct rng - the operations of a thread are a function of the seed and its number.
 */
struct rng {
	uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s * 0x2545f4914f6cdd1dull;
}

static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (rng_next(r) >> 11) % n;
}

/** die - the torture itself is broken: say why, exit 2. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ------------------------------------------------------------ torture_world.c */

enum cache_kind { CACHE_PINMEM, CACHE_NONE_TOLD, CACHE_UCX };

/** struct world - a pinner, a cache over it, a device. Of these there are several. */
struct world;

/** struct held - what a get gave. */
struct held {
	struct pinmem_mr *mr;
	void *ucx; /* its region; else NULL */
};

/**
 * world_open - @device: NULL: io_uring; else two verbs devices, "rxe0,rxe1".
 * @monitor: of CACHE_PINMEM. A userfaultfd's is told to trust files.
 */
struct world *world_open(enum cache_kind kind, const char *device,
			 enum pinmem_monitor monitor);
/** world_sees_all - is the monitor one that misses nothing at any moment? */
bool world_sees_all(struct world *w);
/** world_close - return: how many registrations are left; must be 0 */
uint64_t world_close(struct world *w);
/** world_get - @more: with more rights than the oracle needs, where there are more */
int world_get(struct world *w, void *at, size_t len, bool more, struct held *h);
void world_put(struct world *w, struct held *h, bool dirty);
struct pinmem_cache *world_cache(struct world *w);
/** world_registrations - made so far */
uint64_t world_registrations(struct world *w);

/** enum verdict_of_device - what the device found at an address. */
enum found { FOUND_RIGHT, FOUND_STALE, FOUND_ERROR };

/**
 * world_verify - is the region the memory that the CPU sees at @at?
 * The CPU writes a pattern, the device reads the region; the device writes another,
 * the CPU reads. Both ways must agree. @at: 64 bytes, mapped writable.
 */
enum found world_verify(struct world *w, const struct held *h, void *at, uint64_t seed);
/** world_touch - does a transfer through the region complete? (Its bytes may be of
 * memory that is not mapped any more.) */
bool world_touch(struct world *w, const struct held *h);

/* ---------------------------------------------------------- torture_changes.c */

/** enum change - of a mapping that is [at, at+len), anonymous, and stays so. */
enum change {
	CHANGE_UNMAP,	      /* munmap, then mmap at the same place */
	CHANGE_FIXED,	      /* mmap(MAP_FIXED) over it */
	CHANGE_FIXED_PART,    /* … over its middle */
	CHANGE_DONTNEED,      /* all */
	CHANGE_DONTNEED_PART, /* a few pages */
	CHANGE_FREE,	      /* MADV_FREE, and written to */
	CHANGE_REMOVE,	      /* MADV_REMOVE; shared memory */
	CHANGE_MOVE_AWAY,     /* mremap elsewhere, then mmap here */
	CHANGE_MOVE_BACK,     /* mremap elsewhere, and back */
	CHANGE_MOVE_ONTO,     /* mremap(MREMAP_FIXED) of other memory onto it */
	CHANGE_SHRINK,	      /* mremap smaller, and mmap the rest anew */
	CHANGE_PROTECT,	      /* mprotect to read-only and back: the same pages */
	CHANGE_COLLAPSE,      /* MADV_COLLAPSE, MADV_NOHUGEPAGE: pinned pages stay */
	CHANGE_FORK,	      /* a child that writes to it, and exits */
	CHANGES
};

extern const char *const change_names[CHANGES];
/** change_use_libc - from now on by libc's functions, which may be hooked. */
void change_use_libc(bool on);
/** change_map - a mapping to begin with. */
void change_map(void *at, size_t len, bool shared);
/** change_do - false: this kernel does not do it */
bool change_do(enum change c, void *at, size_t len, bool shared, struct rng *r);

/* ---------------------------------------------------------- torture_compare.c */

int compare(uint64_t seed, unsigned int rounds);

#endif
