/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - the rooms of the library and the doors between them.
 *
 * Glossary
 *   facts     what the kernel shows of one mapping (struct mapping); no opinion
 *   verdict   facts + what a backend can + policy → action, errno, sentence
 *   backend   the only code that touches a foreign API and its errno
 *   segment   one registration of the backend; a region is one or more
 *   target    the user's own range, as opposed to the staging copy
 *
 * Who may call whom (arrows point one way; nothing below calls upwards):
 *
 *   mr_cache.c, cache_miss.c, cache_life.c ──> monitor.c ──> monitor_uffd.c,
 *      |                                                   monitor_pin_track.c
 *      |──> hands.c, page_index.c, s3fifo.c ──> arena.c
 *      v
 *   pinmem.c ──> verdict.c ──> backing.c ──> maps.c, mapfile.c
 *      |──> books.c ──> publish.c ──> hands.c
 *      └──> region.c ──> memlock.c ──> usage.c, cgroup.c; numa.c, populate.c
 *              └──> odp_fallback.c ──> alloc.c, populate.c
 *                      └──> segments.c ──> struct backend_ops
 *                                             └──> backend_{verbs,uring,pin_track,
 *                                                   mlock}.c
 *   all  ──> error.c, process.c, uapi.h; whoever uses /dev/pin_track: pin_track.c
 *   backing.c is also asked by region.c and odp_fallback.c (what went wrong?), by
 *   cache_miss.c (can a file be truncated under it?), by
 *   memlock.c (how large are the pages?) and by backend_mlock.c (what is left?).
 *
 * Errors inside the library: every function that returns an int returns 0 or a
 * negative errno, and whoever *finds* the error writes the sentence with
 * fail(); callers above pass both on, or replace the sentence with a better one.
 *
 * Locks: struct pinmem.lock protects the list of regions, of allocations and the
 * counters. It is never held across a system call that pins, unpins, populates
 * or copies. Backends have a lock of their own for their slots, taken inside no
 * other. Order: none is ever held together with another. The cache's and the monitor's
 * locks have rules of their own, at the top of mr_cache.c and monitor.h; they are not
 * held either while anything of the above is called.
 */
#ifndef PINMEM_INTERNAL_H
#define PINMEM_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "pinmem.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Pages. getpagesize() reads a variable of the loader, where sysconf() searches. */
static inline size_t page_size(void)
{
	return (size_t)getpagesize();
}

static inline uintptr_t page_floor(uintptr_t at)
{
	return at & ~(page_size() - 1);
}

static inline uintptr_t page_ceil(uintptr_t at)
{
	return page_floor(at + page_size() - 1);
}

/* What makes verbs pin for writing, and dirty at unpin (ib_access_writable()). */
#define PINMEM_ACCESS_WRITES                                      \
	(PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE | \
	 PINMEM_ACCESS_REMOTE_ATOMIC)

/* ---------------------------------------------------------------- error.c */

/**
 * fail - write this thread's sentence and return the errno, negative.
 * @err: errno, positive or negative
 * Usage: return fail(ENODEV, "no device %s", name);
 */
int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/** format_bytes - "64 MiB (67108864 B)"-like text for sentences; returns buf. */
#define BYTES_TEXT 48
const char *format_bytes(char buf[BYTES_TEXT], uint64_t bytes);

/**
 * options_copy - check a size-first struct of the caller's.
 * @given: the caller's struct; @known: sizeof the library's own
 * Copies the known part to @copy (zero-filled), whatever the caller's version.
 * Return: 0; -EINVAL for a size below sizeof(size_t); -E2BIG for a nonzero tail.
 */
int options_copy(void *copy, size_t known, const void *given, const char *what);

/**
 * result_copy - hand a result to the caller's size-first struct, cut or
 * zero-filled to the size that the caller's version has.
 */
int result_copy(void *caller, const void *result, size_t known, const char *what);

/* -------------------------------------------------------------- process.c */

/**
 * process_generation - a number that a forked child does not share with any of
 * its ancestors: whatever was remembered under another number is not ours.
 * One load; no fork handler (the number lies in a MADV_WIPEONFORK page).
 * Return: never 0, but for the first call of all failing for want of a page.
 */
uint64_t process_generation(void);

/** process_gate - a word that holds *@open in this process, and nothing else in its
 * children: to find a fork with one load. */
const uint32_t *process_gate(uint32_t *open);

/** process_word - a word for hands.c that is 0 in every forked child, until that one
 * writes it; NULL: there is none. */
uint32_t *process_word(void);

/** now_ns - CLOCK_MONOTONIC */
uint64_t now_ns(void);

/* -------------------------------------------------------------- backing.c */

/** struct mapping - the facts about one mapping, or one hole. */
struct mapping {
	uintptr_t start, end; /* of the mapping or hole, page aligned, cut to the
			       * range that was asked for */
	enum pinmem_backing backing;
	bool readable, writable, shared;
	bool copied;	    /* private fsdax whose pages are all copied: what
			     * the device would see is anonymous memory */
	bool doubt;	    /* fsdax is assumed, for it cannot be ruled out */
	bool past_eof;	    /* UNMAPPED because the file ends before */
	bool guard;	    /* UNMAPPED because of MADV_GUARD_INSTALL */
	uint64_t page_size; /* bytes */
	uint64_t offset;    /* of start in the file, bytes */
	uint64_t inode;
	unsigned int dev_major, dev_minor;
	char file[256]; /* or the kernel's name in brackets; "" */
};

/** struct backing_hints - what the caller knows and the kernel does not show. */
struct backing_hints {
	int fd;	     /* of the mapped file, or -1 */
	bool detail; /* tell THP from ANON (costs a few samples) */
	bool guards; /* look for guard regions (page by page in the kernel):
		      * needed where no pin would find them */
};

/**
 * backing_walk - facts about every mapping and hole of a range, in order.
 * @start, @end: page aligned
 * @fn: nonzero stops the walk and is returned
 * Return: 0, fn's value, -EOPNOTSUPP without /proc, -ENOMEM.
 */
int backing_walk(uintptr_t start, uintptr_t end, const struct backing_hints *hints,
		 int (*fn)(const struct mapping *m, void *arg), void *arg);

/** backing_vmflag - is a two-letter VmFlag ("sf", "io") set where @addr lies?
 * Reads smaps: slow. Return: 1, 0, or a negative errno. */
int backing_vmflag(uintptr_t addr, const char *flag);

/**
 * backing_settled - can its pages only be taken away by changing the mapping?
 * Not where a file can be truncated or punched through a descriptor or by another
 * process; @trusted: the caller says that nobody does. Slow, but for plain memory.
 */
bool backing_settled(uintptr_t start, uintptr_t end, bool trusted);

/** backing_huge_at - 1: @addr lies in a PMD-mapped huge page; 0: no or unknown */
int backing_huge_at(uintptr_t addr);

/* ---------------------------------------------------------------- backend */

/** enum unpin_rule - what the kernel does to the pages at unpin. */
enum unpin_rule {
	UNPIN_NEVER_DIRTIES,	/* io_uring, mlock */
	UNPIN_DIRTIES_WRITABLE, /* verbs: ib_umem_release() */
	UNPIN_AS_TOLD,		/* /dev/pin_track */
};

/** struct backend_caps - what the rest must know of a backend; set by open. */
struct backend_caps {
	size_t max_segment;   /* bytes; a multiple of the huge page size */
	bool pins;	      /* false: mlock */
	bool odp_whole_pages; /* see struct pinmem_info */
	bool odp;	      /* explicit ODP regions */
	bool always_writes;   /* pins for writing whatever the access */
	bool no_dax_copies;   /* refuses private DAX mappings, copied or not */
	bool iova;	      /* registers with an address other than its own */
	enum unpin_rule unpin;
	enum pinmem_counter counter;
	bool charges_compound; /* io_uring: whole compound pages */
	bool limit_bypassed;   /* as decided by the kernel when it was opened */
	unsigned int access;   /* PINMEM_ACCESS_* that it can honour */
	int node;	       /* -1: none */
	char device[64];
};

/** struct segment - one registration. @addr, @len, @iova, @dirty_at_pin: the input. */
struct segment {
	void *addr; /* what is pinned: the target or the copy */
	size_t len;
	uint64_t iova;	   /* what verbs calls it */
	bool dirty_at_pin; /* populate_write() was called for that; do it
			    * again if it costs nothing */
	uint32_t lkey, rkey;
	int slot;     /* io_uring buffer index, -1 */
	uint64_t pin; /* pin_track: its id; 0: none */
	struct ibv_mr *ibv_mr;
};

struct backend {
	const struct backend_ops *ops;
	struct backend_caps caps;
};

/**
 * struct backend_ops - the one interface between the library and a pin.
 * All return 0 or a negative errno with fail()'s sentence; on error nothing is
 * pinned, or (unpin) still is. pin, pin_odp, unpin, prefetch: any thread, any time.
 * @open:  reads the options that concern it
 * @close: @forked: called in a child: free memory and descriptors, do nothing
 *         that reaches the parent's pins
 * @pin_odp: NULL where caps.odp can never be
 * @unpin: @how matters with UNPIN_AS_TOLD only. There -ESTALE says that what was
 *         pinned for reading cannot be dirtied (its mapping is gone, or not writable
 *         any more): it is still pinned, and can be released CLEAN.
 * @prefetch: -EOPNOTSUPP: the caller touches the pages instead; may be NULL
 * @slots: io_uring; NULL elsewhere
 */
struct backend_ops {
	enum pinmem_backend id;
	int (*open)(const struct pinmem_options *opts, struct backend **be);
	void (*close)(struct backend *be, bool forked);
	int (*pin)(struct backend *be, struct segment *seg, unsigned int access);
	int (*pin_odp)(struct backend *be, struct segment *seg, unsigned int access);
	int (*unpin)(struct backend *be, struct segment *seg, enum pinmem_unpin how);
	int (*prefetch)(struct backend *be, const struct segment *seg, uint64_t offset,
			uint64_t len, bool write);
	void (*slots)(struct backend *be, unsigned int *total, unsigned int *used);
};

extern const struct backend_ops backend_verbs;
extern const struct backend_ops backend_uring;
extern const struct backend_ops backend_pin_track;
extern const struct backend_ops backend_mlock;

/** backend_verbs_class - the directory of sysfs that lists verbs devices */
extern const char *backend_verbs_class;
struct io_uring *backend_uring_ring(struct backend *be);
struct ibv_pd *backend_verbs_pd(struct backend *be);

/* -------------------------------------------------------------- verdict.c */

/** struct request - what a caller asks of a range, checked and completed. */
struct request {
	uintptr_t addr;
	size_t len;
	uintptr_t start, end; /* whole pages around it */
	unsigned int access;
	struct pinmem_reg_options opts; /* policy completed, fd -1 if not given */
};

/**
 * verdict_decide - judge a range.
 * @caps: of the backend that would pin it
 * @detail: tell THP from ANON too
 * Return: 0, or what backing_walk() returns.
 */
int verdict_decide(const struct request *req, const struct backend_caps *caps,
		   bool detail, struct pinmem_verdict *v);

/** verdict_walk - a verdict for each mapping; see pinmem_check_walk(). */
int verdict_walk(const struct request *req, const struct backend_caps *caps,
		 int (*fn)(const struct pinmem_verdict *v, void *arg), void *arg);

/* ----------------------------------------------------- memlock.c, numa.c … */

/**
 * memlock_examine - need, limit and use for a pin; fills all of @out.
 * @addr: may be NULL
 */
int memlock_examine(const struct backend_caps *caps, const void *addr, size_t len,
		    struct pinmem_memlock *out);

/**
 * memlock_precheck - refuse before the pin what cannot fit.
 * Cheap for those whom the limit does not bind: one getrlimit(2).
 * Return: 0, or -ENOMEM with the sentence of memlock_examine().
 */
int memlock_precheck(const struct backend_caps *caps, const void *addr, size_t len);

/** memlock_bypass - does this process have CAP_IPC_LOCK as the kernel tests it
 * (effective, in the initial user namespace)? */
bool memlock_bypass(void);

/** place_resolve - a node for a placement; -1: any. -ENODEV: no such node. */
int place_resolve(enum pinmem_place place, int node, int device_node, int *out);
/** place_bind - move a range's pages to a node and keep it there (mbind). */
int place_bind(uintptr_t start, uintptr_t end, int node);
/** place_node_of - node of the page at addr; -1: not populated or unknown */
int place_node_of(const void *addr);
/** place_node_in - the same in another process */
int place_node_in(pid_t pid, const void *addr);
int place_audit(uintptr_t start, uintptr_t end, int node, struct pinmem_placement *out);

/** struct populate_how - how a range is faulted in. */
struct populate_how {
	unsigned int threads; /* 0: choose */
	pinmem_progress_fn progress;
	void *arg;
};
/** populate_needed - do samples say that a range is not there yet? */
bool populate_needed(uintptr_t start, uintptr_t end);
/** range_mapped - is there a mapping at every address of the range? */
bool range_mapped(uintptr_t start, uintptr_t end);
/**
 * populate_write - write-fault every page, in parallel if it is long.
 * That makes them present, writable and dirty; contents do not change.
 * Return: 0, -EFAULT (with the sentence), -ENOMEM, -ECANCELED.
 */
int populate_write(uintptr_t start, uintptr_t end, const struct populate_how *how);
/** populate_read - read-fault every page; errors as above. */
int populate_read(uintptr_t start, uintptr_t end, const struct populate_how *how);

/** struct block - one mapping made by alloc.c. */
struct block {
	void *addr;
	size_t mapped; /* bytes, for munmap */
};
/** block_map - anonymous memory for pinning: huge, on a node, populated.
 * @flags: PINMEM_ALLOC_*; @node: -1 any */
int block_map(size_t len, unsigned int flags, int node, const struct populate_how *how,
	      struct block *out);
void block_unmap(struct block *b);

/* ---------------------- pinmem.c, books.c, publish.c, region.c, … */

struct pinmem_mr {
	struct pinmem *pm;
	struct pinmem_mr *prev, *next; /* pm->lock */
	uintptr_t addr;		       /* the target, as the caller gave it */
	size_t len;
	unsigned int access;
	enum pinmem_mode mode;
	enum pinmem_backing backing;
	int refused;
	bool writable; /* the target is mapped writable */
	bool shared;
	bool plain;	    /* one mapping, without a file */
	bool remapped;	    /* the mapping changed since: these are not its pages */
	uint64_t born_ns;   /* CLOCK_MONOTONIC */
	uint32_t published; /* publish.c's record */
	struct block copy;  /* STAGED */
	bool target_fsdax, target_map_sync;
	unsigned int nsegs;   /* live ones: shrinks while releasing */
	struct segment *segs; /* &one, or allocated */
	struct segment one;
	struct pinmem_cache *cache; /* that it was made for; NULL: pinmem_reg()'s */
	const struct hands *hands;  /* … and where its holders are counted */
	uint32_t cache_id;	    /* its number there; 0: it is not kept */
	uint64_t cache_gets;	    /* of that number, before it was this region's */
#ifdef PINMEM_DEBUG
	bool released; /* kept for a while after the release */
#endif
};

struct allocation {
	struct block block;
	size_t len;
	struct allocation *next; /* pm->lock */
};

struct pinmem {
	struct backend *be;
	uint64_t generation; /* process_generation() at open */
	uint64_t id;	     /* the how many-th pinner of this process */
	enum pinmem_action policy[PINMEM_POLICY_MAX];
	char why[256];
	pthread_mutex_t lock; /* all below */
	struct pinmem_mr *first, *last;
	struct allocation *allocations;
	unsigned int caches;
	struct pinmem_stats stats;
};

/** pinmem_open_ops - pinmem_open() over given ops; the tests' way in. */
int pinmem_open_ops(const struct backend_ops *ops, const struct pinmem_options *opts,
		    const char *why, struct pinmem **out);

/** pinner_check, region_check - usable here and now? -EINVAL, -ECHILD. */
int pinner_check(const struct pinmem *pm);
int region_check(const struct pinmem_mr *mr);
/** region_dereg - pinmem_dereg(), also of a cache's region. */
int region_dereg(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin *got);
/** reg_options_check - -EINVAL: options that no registration with this access takes */
int reg_options_check(const struct pinmem_reg_options *o, unsigned int access);
/** range_check - -EINVAL: NULL, zero length, past the end of the address space. */
int range_check(const void *addr, size_t len);

/** books_enter, books_leave - a region goes live; it was released, and how. */
void books_enter(struct pinmem_mr *mr);
void books_leave(struct pinmem_mr *mr, enum pinmem_unpin got);
/** books_count - add to one of pm->stats' counters. */
void books_count(struct pinmem *pm, uint64_t *counter, uint64_t n);

/** publish_enter - show a region to pinmem_peek(). Return: for publish_leave(). */
uint32_t publish_enter(const struct pinmem_mr *mr);
void publish_leave(uint32_t at);
/** publish_cached - it is a cache's region now: show where its holders are counted. */
void publish_cached(const struct pinmem_mr *mr);

/** region_register - do what the verdict says; sets mode, segments, copy. */
int region_register(struct pinmem_mr *mr, const struct request *req,
		    const struct pinmem_verdict *v);
/** region_outcome - what a release will do, if the mapping is still there. */
enum pinmem_unpin region_outcome(const struct pinmem_mr *mr, enum pinmem_unpin how);
/** region_release - the whole release; on error the region is still live. */
int region_release(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin *got);
/** odp_register, stage_register - the two ways out; mr->pm, addr, len, access set. */
int odp_register(struct pinmem_mr *mr, const struct pinmem_reg_options *opts);
int stage_register(struct pinmem_mr *mr, const struct pinmem_reg_options *opts,
		   int node);
/** stage_release - give the copy back, after its unpin. */
void stage_release(struct pinmem_mr *mr);
int stage_sync(struct pinmem_mr *mr, uint64_t offset, uint64_t len,
	       enum pinmem_sync_dir dir);
/** odp_prefetch - *device tells whether the device did it. */
int odp_prefetch(struct pinmem_mr *mr, uint64_t offset, uint64_t len, bool write,
		 bool *device);

/**
 * region_pin - cut [addr, +len) into segments, and pin them all or none.
 * @mr: access, mode and segs are used and set
 * @base: what is pinned (the target or the copy); iova is the target's address
 */
int region_pin(struct pinmem_mr *mr, uintptr_t base,
	       const struct pinmem_reg_options *opts);
/** region_unpin - last segment first; on error the rest stays, mr->nsegs tells. */
int region_unpin(struct pinmem_mr *mr, enum pinmem_unpin how);
/** region_free_segments - the memory of them only; nothing is unpinned */
void region_free_segments(struct pinmem_mr *mr);

#endif
