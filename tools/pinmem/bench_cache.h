/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache.h - the rooms of `pinmem bench cache`.
 *
 *	bench_cache.c         asks, compares, shows; measures nothing itself
 *	   | a request, an answer, over a socket
 *	bench_cache_worker.c  a process for each cache, which does what is asked
 *	   |  bench_cache_hits.c, bench_cache_changes.c
 *	   | struct cache_peer
 *	bench_cache_pinmem.c, bench_cache_ucx.c, bench_cache_uffd.c
 *
 * Each cache has a process of its own, because libucx patches the code of libc's
 * munmap() and others in the process that uses it. The processes take turns.
 */
#ifndef BENCH_CACHE_H
#define BENCH_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench_worker.h"
#include "pinmem.h"

#define REGION_BYTES ((size_t)64 << 10)
#define SMALL_REGIONS 4096u /* of memory of their own, pinned by io_uring */
#define LARGE_REGIONS 1000000u

/**
 * struct cache_peer - a cache to be measured. What fails says why in bench_why, and
 * returns a negative errno.
 * @open:   over a pinner; finite limits that are not reached. @write: regions are
 *          got with the right to write. @monitor: out, what tells it of changes
 * @hits:   get and put base + seq[i] * REGION_BYTES, all cached; NULL: not a cache
 * @get:    @held: out
 * @region: of what is held
 * @forget: what was put and is cached leaves, and is released before this returns
 * @settle: wait until what an unmapping invalidated is released
 * @bytes:  what it says that it takes, without the regions' handles; 0: it does not
 */
struct cache_peer {
	const char *name;
	int (*open)(struct pinmem *pm, bool write, void **cache, const char **monitor);
	int (*hits)(void *cache, char *base, const uint32_t *seq, unsigned int n);
	int (*get)(void *cache, void *addr, size_t len, void **held);
	int (*put)(void *cache, void *held);
	struct pinmem_mr *(*region)(void *held);
	int (*forget)(void *cache, void *held, void *addr, size_t len);
	void (*settle)(void *cache);
	uint64_t (*bytes)(void *cache);
};
/* What parts of them are like alone. bare_regions: pinmem_reg() and no cache, to tell a
 * handle's memory from a cache's. bare_uffd: regions watched by a userfaultfd whose
 * reader does nothing, to tell the kernel's part of an invalidation from a cache's. */
extern const struct cache_peer pinmem_cache_peer, ucx_cache_peer, bare_regions,
	bare_uffd;

/** enum setting - what the regions are made of. */
enum setting {
	/* SMALL_REGIONS of anonymous memory, pinned through io_uring */
	SETTING_SMALL,
	/* LARGE_REGIONS: 64 GiB of addresses. io_uring has 16384 buffers, and this
	 * machine not that much memory: read-only anonymous memory, which is the
	 * zero page everywhere, locked with mlock(2). A hit touches neither. */
	SETTING_LARGE,
};

enum cache_op {
	OP_OPEN,   /* text: what tells it of changes */
	OP_FILL,   /* until n regions are cached. ns: for each */
	OP_HITS,   /* n threads, for seconds */
	OP_TAIL,   /* single hits; @len: while another thread pins so much; 0: idle */
	OP_MISS,   /* raw pin, registration, and miss of a region */
	OP_UNMAP,  /* munmap(2) of a cached mapping and of one that is not watched */
	OP_MEMORY, /* what it has taken since it was opened */
	OP_FLOOR,  /* what calls and atomic operations cost here */
	OP_COUNT
};

struct cache_request {
	enum cache_op op;
	unsigned int n;
	uint64_t len;
	double seconds;
};

/** The places in an answer's values, by operation. ns unless it says otherwise. */
enum { HIT_NS, HIT_LOOP_NS, HIT_SHARE /* of the chunks that counted */ };
enum { TAIL_P50, TAIL_P99, TAIL_P999, TAIL_MAX, TAIL_HITS, TAIL_PIN_NS, TAIL_CLOCK_NS };
enum { MISS_RAW, MISS_REG, MISS_MISS, MISS_OVER_RAW, MISS_OVER_REG };
enum { UNMAP_PLAIN, UNMAP_CACHED, UNMAP_MORE, UNMAP_CACHED_P99 };
enum { MEMORY_ANON, MEMORY_BYTES };  /* bytes */
enum { FLOOR_CALLS, FLOOR_ATOMICS }; /* two calls that do nothing; two lock-adds */
enum { FILL_NS };

/** cache_start - a process with the cache open in it. Return: 0; negative: bench_why.
 * @monitor: out, what tells the cache of changes; may be NULL */
int cache_start(struct bench_worker *w, const struct cache_peer *peer,
		enum setting setting, char monitor[64]);
/** cache_ask - and wait for the answer. Return: answer->rc; negative: bench_why. */
int cache_ask(struct bench_worker *w, const struct cache_request *req,
	      struct bench_answer *answer);

#endif
