/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pinmem.h - long-term pinned memory: ask first, pin, know what the unpin does.
 *
 * libpinmem stands between a program and the kernel's pin interfaces (verbs
 * memory regions, io_uring registered buffers, /dev/pin_track, mlock). In four
 * sentences:
 *
 *   A pinner (struct pinmem) is a context bound to one backend.
 *   A verdict says, before anything is pinned, what lies behind a range of
 *   addresses and what may be done with it: pin, ODP, stage, or refuse and why.
 *   A region (struct pinmem_mr) is a range that was registered; what the device
 *   must be told to use it (lkey, rkey, buffer index) is in its segments.
 *   A region is released CLEAN (the device did not write to it) or DIRTY.
 *
 * Conventions, true of every call here:
 *
 *   Errors     A call that can fail returns int: 0, or a negative errno.
 *              pinmem_errmsg() then holds one sentence with the exact cause and
 *              its numbers. Out-parameters are written on success only.
 *   Units      Lengths and offsets are bytes; other units are in the name.
 *   Structs    Every struct that crosses this interface begins with its own
 *              size, set by the caller: { .size = sizeof(struct …) }. Zero in
 *              every other field means the default. Option fields that this
 *              version of the library does not know must be zero (-E2BIG).
 *   Threads    Every call may be made from any thread at any time, also on the
 *              same pinner; a region may be released by another thread than the
 *              one that registered it. One region must not be released twice,
 *              nor used after its release: in builds with PINMEM_DEBUG that is
 *              caught (-EINVAL), in others it is undefined, as with free().
 *   fork       A child uses nothing of its parent's: calls on a pinner that was
 *              opened before the fork fail in the child with -ECHILD (except
 *              pinmem_close(), which frees the child's copy and leaves the
 *              parent's pins alone). The child opens pinners of its own.
 *   Silence    The library never prints (libibverbs itself warns on stderr of a
 *              low RLIMIT_MEMLOCK where there are verbs devices), never raises
 *              limits, never installs signal or fork handlers and never exits.
 */
#ifndef PINMEM_H
#define PINMEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PINMEM_API __attribute__((visibility("default")))
#else
#define PINMEM_API
#endif

struct ibv_context;
struct ibv_mr;
struct ibv_pd;
struct io_uring;

struct pinmem;	  /* a pinner; opaque */
struct pinmem_mr; /* a region; opaque */

/* ------------------------------------------------------------------ words */

/** enum pinmem_backend - whose pins a pinner takes. */
enum pinmem_backend {
	PINMEM_BACKEND_AUTO = 0,  /* a verbs device if there is one, else io_uring,
				   * else /dev/pin_track, else mlock */
	PINMEM_BACKEND_VERBS,	  /* RDMA memory regions: ibv_reg_mr(3) */
	PINMEM_BACKEND_URING,	  /* io_uring registered buffers */
	PINMEM_BACKEND_PIN_TRACK, /* /dev/pin_track (kernel/pin_track.patch): a pin
				   * without a device's registration, for what
				   * reaches the pages in its own way; its release
				   * is CLEAN or DIRTY exactly as told */
	PINMEM_BACKEND_MLOCK,	  /* mlock(2): resident, *not* pinned */
};

/** enum pinmem_mode - what a region is. */
enum pinmem_mode {
	PINMEM_MODE_DEFAULT = 0, /* as option: whatever the verdict says */
	PINMEM_PINNED,		 /* FOLL_PIN | FOLL_LONGTERM: the pages cannot move */
	PINMEM_ODP,		 /* explicit on-demand paging: the device follows the
				  * page tables, nothing is pinned */
	PINMEM_STAGED,		 /* a pinned copy; pinmem_sync() moves the bytes */
	PINMEM_RESIDENT,	 /* mlock: never swapped out, but it may be migrated, so
				  * no device may be given its physical addresses */
};

/** enum pinmem_backing - what lies behind an address. */
enum pinmem_backing {
	PINMEM_UNMAPPED = 0, /* nothing: a hole, a guard region, past the end
			      * of the file */
	PINMEM_ANON,	     /* anonymous memory on base pages */
	PINMEM_THP,	     /* anonymous memory on transparent huge pages */
	PINMEM_HUGETLB,	     /* hugetlbfs or MAP_HUGETLB */
	PINMEM_SHMEM,	     /* tmpfs, memfd, SysV, MAP_SHARED|MAP_ANONYMOUS */
	PINMEM_FILE,	     /* a file through the page cache */
	PINMEM_FSDAX,	     /* a file on a DAX file system: the storage itself */
	PINMEM_DEVDAX,	     /* /dev/daxX.Y */
	PINMEM_DEVICE,	     /* PFNMAP: device registers, BARs */
	PINMEM_SECRET,	     /* memfd_secret(2) */
};

/**
 * enum pinmem_action - what a verdict says, and what a policy lists.
 * A policy is an ordered list of ways out for memory that may not be pinned.
 */
enum pinmem_action {
	PINMEM_POLICY_END = 0, /* ends a policy list; never in a verdict */
	PINMEM_PIN,	       /* may be pinned (not a policy entry: -EINVAL) */
	PINMEM_USE_ODP,	       /* register it for on-demand paging */
	PINMEM_USE_STAGE,      /* pin a copy, sync explicitly */
	PINMEM_REFUSE,	       /* do nothing, say why */
};
#define PINMEM_POLICY_MAX 4

/** enum pinmem_unpin - put_user_page() semantics at release. */
enum pinmem_unpin {
	PINMEM_CLEAN = 0, /* unpin_user_pages(): the device only read */
	PINMEM_DIRTY,	  /* unpin_user_pages_dirty_lock(): it wrote */
	PINMEM_BY_FAULT,  /* never asked for, only reported: pages were dirtied
			   * one by one when the device faulted them in (ODP) */
};

/* Access rights, with verbs' meaning (ibv_reg_mr(3)). 0 is local read only. */
#define PINMEM_ACCESS_LOCAL_WRITE (1u << 0)
#define PINMEM_ACCESS_REMOTE_WRITE (1u << 1) /* needs LOCAL_WRITE */
#define PINMEM_ACCESS_REMOTE_READ (1u << 2)
#define PINMEM_ACCESS_REMOTE_ATOMIC (1u << 3) /* needs LOCAL_WRITE */
#define PINMEM_ACCESS_RELAXED_ORDERING (1u << 4)

/* Which nodes a region may lie on; see struct pinmem_reg_options.placement. */
enum pinmem_place {
	PINMEM_PLACE_ANY = 0, /* leave the pages where they are */
	PINMEM_PLACE_DEVICE,  /* the device's node (ANY if it has none) */
	PINMEM_PLACE_NODE,    /* the node in the field `node` */
};

/** Names for the values above, lower case, never NULL; static storage. */
PINMEM_API const char *pinmem_backend_name(enum pinmem_backend backend);
PINMEM_API const char *pinmem_mode_name(enum pinmem_mode mode);
PINMEM_API const char *pinmem_backing_name(enum pinmem_backing backing);
PINMEM_API const char *pinmem_action_name(enum pinmem_action action);
PINMEM_API const char *pinmem_unpin_name(enum pinmem_unpin unpin);

/**
 * pinmem_errmsg - why the last call of this thread failed.
 *
 * One sentence, without a newline. Valid until this thread's next failing call.
 * Never NULL; "" when nothing failed yet. Thread-local.
 */
PINMEM_API const char *pinmem_errmsg(void);

/** pinmem_version - the library's version, "MAJOR.MINOR.PATCH"; static. */
PINMEM_API const char *pinmem_version(void);

/**
 * typedef pinmem_progress_fn - told about long work, now and then.
 * @phase: "populate", "pin", "copy"; static storage
 * @done, @total: bytes
 * Runs on the thread that made the call. Must not call into the same pinner.
 * Return: 0 to go on; anything else cancels: the work is undone and the call
 * returns -ECANCELED.
 */
typedef int (*pinmem_progress_fn)(const char *phase, uint64_t done, uint64_t total,
				  void *arg);

/* ----------------------------------------------------------------- pinner */

#define PINMEM_OPEN_URING_SLOTS (1u << 0) /* uring_first/_slots are set */

/**
 * struct pinmem_options - how a pinner is opened. All zero: AUTO, defaults.
 * @backend:  whose pins. AUTO says in struct pinmem_info which, and why.
 * @flags:    PINMEM_OPEN_*
 * @pd:       verbs: the caller's protection domain; stays the caller's and must
 *            outlive the pinner.
 * @device:   verbs: or the name of a device to open ("rxe0"); NULL: AUTO takes
 *            the first with an active port.
 * @ring:     io_uring: the caller's ring; stays the caller's and must outlive
 *            the pinner. NULL: the pinner makes one. A ring with
 *            IORING_SETUP_SINGLE_ISSUER takes registrations from its own
 *            thread only (-EEXIST elsewhere).
 * @uring_first, @uring_slots: with PINMEM_OPEN_URING_SLOTS: the ring already
 *            has a (sparse) buffer table; use its slots [first, first+slots),
 *            and no others. Without: the pinner registers the table, and grows
 *            it in place where the kernel can (6.13).
 * @uring_entries: submission entries of a ring that the pinner makes (64).
 * @policy:   default for registrations: the ways out, in order, ended by 0. All
 *            zero: { PINMEM_USE_ODP }, that is ODP where device and backing
 *            allow it, else refuse.
 */
struct pinmem_options {
	size_t size;
	enum pinmem_backend backend;
	unsigned int flags;
	struct ibv_pd *pd;
	const char *device;
	struct io_uring *ring;
	unsigned int uring_first;
	unsigned int uring_slots;
	unsigned int uring_entries;
	enum pinmem_action policy[PINMEM_POLICY_MAX];
};

/**
 * pinmem_open - make a pinner.
 * @opts: NULL for the defaults
 * @pm:   out; released with pinmem_close()
 *
 * Return: 0, or
 *   -EINVAL      contradicting or unknown options, @pm NULL
 *   -E2BIG       an option that this version does not know is set
 *   -ENODEV      no such verbs device, or none with an active port
 *   -EOPNOTSUPP  the backend is not there (the sentence says what is missing:
 *                sysctl kernel.io_uring_disabled, a kernel version, …)
 *   -EBUSY       the caller's ring already has a buffer table
 *   -ENOMEM, -EMFILE, -EPERM from the kernel
 */
PINMEM_API int pinmem_open(const struct pinmem_options *opts, struct pinmem **pm);

/**
 * pinmem_close - release a pinner.
 * Return: 0; -EBUSY while regions, or memory of pinmem_alloc(), are live (nothing
 * is changed, the sentence counts them); -EINVAL for NULL. Destroy queue pairs and
 * regions of your own in pinmem_pd() before: else its device stays open.
 */
PINMEM_API int pinmem_close(struct pinmem *pm);

/**
 * struct pinmem_info - what a pinner is.
 * @backend:     never AUTO
 * @odp:         1: the device takes explicit ODP regions
 * @odp_whole_pages: 1: and its ODP is right only for messages that begin on a page
 *               boundary, at an active MTU of 4096: rxe (up to Linux 7.3 at least)
 *               puts the bytes of others in the wrong place, without an error
 * @node:        NUMA node of the device; -1: none or unknown
 * @max_segment: longest single registration of the backend; longer regions are
 *               split into segments
 * @slots, @slots_used: io_uring: buffer table now (it may grow); 0 elsewhere
 * @device:      verbs: its name; "" elsewhere
 * @why:         why AUTO took this backend, or "asked for"
 */
struct pinmem_info {
	size_t size;
	enum pinmem_backend backend;
	int odp;
	int odp_whole_pages;
	int node;
	unsigned int slots;
	unsigned int slots_used;
	uint64_t max_segment;
	char device[64];
	char why[256];
};
PINMEM_API int pinmem_query(struct pinmem *pm, struct pinmem_info *info);

/**
 * pinmem_uring - the ring of an io_uring pinner: the caller's or its own.
 * Return: borrowed; NULL for other backends. As always with io_uring, one
 * thread at a time may submit.
 */
PINMEM_API struct io_uring *pinmem_uring(struct pinmem *pm);

/** pinmem_pd - the protection domain of a verbs pinner, borrowed; else NULL. */
PINMEM_API struct ibv_pd *pinmem_pd(struct pinmem *pm);

/**
 * struct pinmem_stats - counters since pinmem_open(); `live_*` are now.
 */
struct pinmem_stats {
	size_t size;
	uint64_t registered; /* successful registrations */
	uint64_t released;
	uint64_t refused; /* by verdict */
	uint64_t failed;  /* by the kernel, or undone */
	uint64_t live_regions;
	uint64_t live_bytes; /* sum of the regions' lengths */
	uint64_t peak_bytes;
	uint64_t pinned; /* registrations by mode */
	uint64_t odp;
	uint64_t staged;
	uint64_t resident;
	uint64_t unpin_clean; /* releases by what truly happened */
	uint64_t unpin_dirty;
	uint64_t redirtied_bytes; /* made dirty from userspace before an unpin */
	uint64_t populated_bytes; /* faulted in, in parallel, before a pin */
	uint64_t synced_bytes;	  /* copied by pinmem_sync() */
	uint64_t prefetch_device; /* pinmem_prefetch() through the device */
	uint64_t prefetch_touch;  /* … by touching the pages */
};
PINMEM_API int pinmem_stats(struct pinmem *pm, struct pinmem_stats *stats);

/* ---------------------------------------------------------------- verdict */

#define PINMEM_REG_FD (1u << 0)		  /* `fd` is set */
#define PINMEM_REG_DIRTY_AT_PIN (1u << 1) /* write-fault every page first */
#define PINMEM_REG_NO_POPULATE (1u << 2)  /* leave faulting to the pin */

/**
 * struct pinmem_reg_options - how a range is registered. All zero: defaults.
 * @flags:    PINMEM_REG_*. DIRTY_AT_PIN marks all pages dirty before they are
 *            pinned (the threads' "dirty at get"; MADV_POPULATE_WRITE), for
 *            devices that may write at any time until the release; it needs
 *            a writable mapping and PINMEM_ACCESS_LOCAL_WRITE. A STAGED region's
 *            target is dirtied by its syncs instead.
 * @mode:     0: what the verdict says. Else exactly this mode or an error:
 *            PINMEM_ODP also for memory that could be pinned, PINMEM_STAGED
 *            likewise, PINMEM_PINNED to rule every way out out.
 * @policy:   as in struct pinmem_options; all zero: the pinner's.
 * @placement, @node: pages are moved there, and the range is bound there
 *            (mbind(2)), before the pin freezes them.
 * @fd:       with PINMEM_REG_FD: a descriptor of the mapped file, for mappings
 *            whose file cannot be found by name (deleted, other root). Without
 *            it the library looks itself.
 * @threads:  how many threads populate untouched memory, the caller's included;
 *            0: the CPUs of this thread's node that it may run on, at most 16
 * @progress, @progress_arg: told about populate, pin and copy of large regions
 */
struct pinmem_reg_options {
	size_t size;
	unsigned int flags;
	enum pinmem_mode mode;
	enum pinmem_action policy[PINMEM_POLICY_MAX];
	enum pinmem_place placement;
	int node;
	int fd;
	unsigned int threads;
	pinmem_progress_fn progress;
	void *progress_arg;
};

/**
 * struct pinmem_verdict - what lies there and what may be done with it.
 * @action:   what pinmem_reg() with the same arguments would do
 * @error:    why it may not be pinned, as negative errno; 0 if it may. Set also
 *            when a way out replaces the refusal.
 * @backing:  of the first offending mapping, else of the first mapping
 * @writable: 1: mapped PROT_WRITE
 * @shared:   1: mapped MAP_SHARED
 * @page_size: of the mapping: 4096, or the hugetlb page size; bytes
 * @mappings: how many mappings were looked at
 * @bad_addr, @bad_len: the first offending sub-range; NULL, 0 if none. In
 *            pinmem_check_walk(): the part of the range this verdict is about.
 * @file:     the mapped file, cut to fit; "" if none
 * @reason:   one sentence
 */
struct pinmem_verdict {
	size_t size;
	enum pinmem_action action;
	int error;
	enum pinmem_backing backing;
	int writable;
	int shared;
	unsigned int mappings;
	uint64_t page_size;
	void *bad_addr;
	uint64_t bad_len;
	char file[256];
	char reason[512];
};

/**
 * pinmem_check - the verdict on a range, without pinning anything.
 * @addr, @len: any alignment; whole pages are looked at
 * @access: PINMEM_ACCESS_*
 * @opts:   as for pinmem_reg(); NULL for the defaults
 * @v:      out; a REFUSE verdict is a success of this call
 *
 * Costs one PROCMAP_QUERY per mapping (6.11; before it the text of
 * /proc/self/maps is read), whatever the length; a private mapping of a DAX
 * file is also looked at page by page (/proc/self/pagemap), since only its copied
 * pages may be pinned, and ranges up to 1 GiB are searched for guard regions (in
 * longer ones the registration finds them). The answer is about now: a mapping that is
 * changed afterwards, or a file truncated, changes it.
 *
 * Return: 0, or
 *   -EINVAL     NULL, zero length, addr + len overflows, bad access or options
 *   -EOPNOTSUPP /proc is not there, so nothing can be known
 *   -ECHILD     the pinner belongs to the parent process
 * Source: check_vma_flags() and folio_fast_pin_allowed() in mm/gup.c.
 */
PINMEM_API int pinmem_check(struct pinmem *pm, const void *addr, size_t len,
			    unsigned int access, const struct pinmem_reg_options *opts,
			    struct pinmem_verdict *v);

/**
 * pinmem_check_walk - a verdict for each mapping (and hole) in a range.
 * @fn: called in address order; nonzero stops and is returned
 * Errors as pinmem_check().
 */
PINMEM_API int pinmem_check_walk(struct pinmem *pm, const void *addr, size_t len,
				 unsigned int access,
				 const struct pinmem_reg_options *opts,
				 int (*fn)(const struct pinmem_verdict *v, void *arg),
				 void *arg);

/* ----------------------------------------------------------------- region */

/**
 * pinmem_reg - register a range for the long term.
 * @addr, @len: any alignment; len > 0. The memory stays the caller's, and must
 *              stay mapped until the release.
 * @access:     PINMEM_ACCESS_*. io_uring always pins for writing.
 * @opts:       NULL for the defaults
 * @mr:         out; released with pinmem_dereg()
 *
 * The verdict comes first: memory that it refuses is never tried. Untouched
 * memory is populated by several threads, then placed, then pinned.
 *
 * Return: 0, or
 *   -EINVAL     NULL, zero length, overflow, bad access or options
 *   -EOPNOTSUPP fsdax and no way out; or the mode asked for cannot be had here
 *   -EFAULT     unmapped, guard or PROT_NONE pages, past the end of the file,
 *               not writable, device memory, secret memory, page cache for
 *               writing (refused by the kernel since 6.5, here always)
 *   -ENOMEM     RLIMIT_MEMLOCK (the sentence has need, limit, use and remedy),
 *               memory or cgroup exhausted
 *   -ENOSPC     all buffer slots (pin_track: all pins of a pinner) are taken
 *   -ECANCELED  by the progress callback
 *   -ECHILD     the pinner belongs to the parent process
 * On failure nothing stays pinned.
 */
PINMEM_API int pinmem_reg(struct pinmem *pm, void *addr, size_t len,
			  unsigned int access, const struct pinmem_reg_options *opts,
			  struct pinmem_mr **mr);

/**
 * pinmem_dereg - release a region.
 * @how: CLEAN or DIRTY
 * @got: out, may be NULL: what truly happened. The stock kernels leave no
 *       choice: verbs dirties every page of a writable region, io_uring none.
 *       Where DIRTY is asked for and the kernel will not do it, the pages are
 *       write-faulted first (MADV_POPULATE_WRITE), which dirties them. CLEAN on
 *       verbs is reported DIRTY; DIRTY of a range that the caller has unmapped
 *       meanwhile is reported CLEAN; an ODP region is reported BY_FAULT.
 *       /dev/pin_track does as told: DIRTY of a region with write access also where
 *       it was unmapped meanwhile; of one without, by a write fault, and it is
 *       reported CLEAN if the mapping lacks the right or the pinned pages. The
 *       pages of a STAGED region are its copy: it is reported CLEAN, and
 *       nothing is synced implicitly.
 *
 * The device must not be using the region. Requests in flight on an io_uring
 * keep their pages until they complete.
 *
 * Return: 0, or -EINVAL, -ECHILD, or the backend's errno; then the handle is
 * still valid, and the release can be tried again.
 * Source: ib_umem_release(), io_free_rsrc_node(), mm/gup.c.
 */
PINMEM_API int pinmem_dereg(struct pinmem_mr *mr, enum pinmem_unpin how,
			    enum pinmem_unpin *got);

/**
 * struct pinmem_segment - what the device is told about one stretch of a region.
 * @offset, @len: where in the region, bytes
 * @addr:    what local work is given: the user's address, or that of the staging
 *           copy for io_uring (READ_FIXED and WRITE_FIXED take it)
 * @iova:    verbs: the address that work requests carry, local and remote. It is
 *           the user's address in every mode, STAGED included.
 * @lkey, @rkey, @ibv_mr: verbs; 0 and NULL elsewhere
 * @buf_index: io_uring: for io_uring_prep_read_fixed(); -1 elsewhere
 */
struct pinmem_segment {
	size_t size;
	uint64_t offset;
	uint64_t len;
	void *addr;
	uint64_t iova;
	uint32_t lkey;
	uint32_t rkey;
	struct ibv_mr *ibv_mr;
	int buf_index;
};

/**
 * pinmem_mr_segment - the segment that holds a byte of a region.
 * @offset: of the byte, from the region's start
 * @seg:    out; borrowed from the region until its release
 *
 * Most regions have one segment. One I/O must stay inside one segment.
 * Return: 0; -EINVAL for NULL; -ERANGE for an offset past the end.
 */
PINMEM_API int pinmem_mr_segment(const struct pinmem_mr *mr, uint64_t offset,
				 struct pinmem_segment *seg);

/**
 * struct pinmem_mr_info - what a region is.
 * @mode, @backing, @access: THP shows as ANON here; pinmem_check() tells them apart
 * @unpin_clean, @unpin_dirty: what pinmem_dereg() will report as done for CLEAN
 *           and for DIRTY while the mapping is there
 * @refused: 0, or the negative errno that ODP or STAGED stands in for
 * @node:    where the first page lies; -1 unknown. See pinmem_audit() for all.
 * @backend, @pinner: whose pin it is; pinners are numbered from 1 in each process
 * @age_ns:  since registration
 * @cached:  1: it belongs to a cache; 0: pinmem_reg() made it
 * @holders: how many hold a cached region now; 0: idle, or not cached
 * @hits:    how often a cached region was got without being registered for it
 */
struct pinmem_mr_info {
	size_t size;
	void *addr;
	uint64_t len;
	enum pinmem_mode mode;
	enum pinmem_backing backing;
	unsigned int access;
	unsigned int segments;
	enum pinmem_unpin unpin_clean;
	enum pinmem_unpin unpin_dirty;
	int refused;
	int node;
	enum pinmem_backend backend;
	uint64_t pinner;
	uint64_t age_ns;
	int cached;
	uint64_t holders;
	uint64_t hits;
};
PINMEM_API int pinmem_mr_query(const struct pinmem_mr *mr, struct pinmem_mr_info *info);

/**
 * pinmem_mr_list - every live region of a pinner, oldest first.
 * @fn: called on a snapshot, without a lock held; nonzero stops, is returned
 */
PINMEM_API int pinmem_mr_list(struct pinmem *pm,
			      int (*fn)(const struct pinmem_mr_info *info, void *arg),
			      void *arg);

/**
 * pinmem_peek - every live region of a process, this one or another.
 * @pid: of the process; all its pinners, of any backend
 * @fn:  called in no particular order; nonzero stops, is returned. `addr` is an
 *       address in that process.
 *
 * The other process takes no part in it. Needs what ptrace(2) calls the read check:
 * the same user, or CAP_SYS_PTRACE. `pinmem top` is made of this call.
 * Return: 0, fn's value, -EINVAL, -ESRCH (no such process), -EACCES or -EPERM,
 * -ENOENT (it has registered nothing, or closed the descriptor that the library
 * publishes with, or RLIMIT_FSIZE is too small), -EPROTO (another version).
 */
PINMEM_API int pinmem_peek(pid_t pid,
			   int (*fn)(const struct pinmem_mr_info *info, void *arg),
			   void *arg);

/** enum pinmem_sync_dir - which way pinmem_sync() copies. */
enum pinmem_sync_dir {
	PINMEM_SYNC_TO_DEVICE = 1, /* user's memory → staging copy */
	PINMEM_SYNC_FROM_DEVICE,   /* staging copy → user's memory */
};

/**
 * pinmem_sync - move the bytes of a STAGED region.
 * @offset, @len: any sub-range of the region
 *
 * FROM_DEVICE onto a shared mapping of a DAX file: the bytes are persistent when
 * the call returns (libpmem's copy, and msync(2) where the mapping is not
 * MAP_SYNC). Elsewhere they are in memory; msync(2) is the caller's. Other modes:
 * nothing to do, 0. The device must not be writing the same bytes meanwhile.
 * The user's pages are faulted in first, so that a truncated file gives -EFAULT
 * and not SIGBUS; a truncation *during* the copy is the caller's race.
 *
 * Return: 0, -EINVAL, -ERANGE, -EFAULT, -EACCES (FROM_DEVICE onto memory that is
 * mapped read-only), -EIO (msync), -ECHILD.
 */
PINMEM_API int pinmem_sync(struct pinmem_mr *mr, uint64_t offset, uint64_t len,
			   enum pinmem_sync_dir dir);

/*
 * Memory of an ODP region may change under the device. Requests then move the right
 * bytes or complete with an error, never with wrong bytes (tests/vm/test_change.c: rxe,
 * Linux 7.2; messages on page boundaries, see struct pinmem_info.odp_whole_pages):
 *
 *   change of the range                     peer's      peer's      own work   own work
 *                                           WRITE       READ        from it    to it
 *   file truncated before it; unmapped;
 *   mprotect(PROT_NONE)                     REM_ACCESS  REM_ACCESS  WR_FLUSH   LOC_PROT
 *   mprotect(PROT_READ)                     REM_ACCESS  success     success    LOC_PROT
 *   hole punched, range zeroed, MADV_REMOVE,
 *   MADV_DONTNEED, MAP_FIXED of other memory,
 *   page migration, fork, msync, fsync,
 *   drop_caches                             success     success     success    success
 *
 * (IBV_WC_…_ERR; "to it" is an RDMA READ into the region. WR_FLUSH is rxe's; the
 * specification has LOC_PROT there, too.) After an error both queue pairs are in the
 * error state. The region stays valid: undo the change, connect anew, go on. It can
 * always be released.
 */

/**
 * pinmem_prefetch - fault an ODP region in before the device needs it.
 * @write: nonzero: for writing
 *
 * Through ibv_advise_mr(3), waiting for it (for rxe, whose provider lacks it, through
 * the kernel's call behind it): no page fault is left for the device, until the kernel
 * changes the page tables (NUMA balancing, migration). Where provider or device cannot,
 * by touching the pages, which spares the device the file system's part of its page
 * fault but not the fault. Statistics tell which. A prefetch for
 * reading spares later writes nothing. Other modes: 0.
 * Return: 0, -EINVAL, -ERANGE, -EFAULT (not mapped), -ECHILD.
 */
PINMEM_API int pinmem_prefetch(struct pinmem_mr *mr, uint64_t offset, uint64_t len,
			       int write);

/* ------------------------------------------------------------------ cache */

struct pinmem_cache; /* a cache of regions; opaque */

/** enum pinmem_monitor - what tells a cache that a mapping has changed. */
enum pinmem_monitor {
	PINMEM_MONITOR_AUTO = 0,    /* the best that works here, or fail */
	PINMEM_MONITOR_USERFAULTFD, /* userfaultfd(2) events, Linux 5.19 */
	PINMEM_MONITOR_PIN_TRACK,   /* words of /dev/pin_track, which a kernel with
				     * kernel/pin_track.patch has; AUTO takes it first */
	PINMEM_MONITOR_CALLER,	    /* nothing: the caller promises to call
				     * pinmem_cache_invalidate() whenever pages of
				     * a cached region were taken away or mapped
				     * anew, files' pages included */
};

/** pinmem_monitor_name - "userfaultfd", "pin_track", …; never NULL; static storage. */
PINMEM_API const char *pinmem_monitor_name(enum pinmem_monitor monitor);

#define PINMEM_CACHE_TRUST_FILES (1u << 0)

/**
 * struct pinmem_cache_options - how a cache is made. All zero: the defaults.
 * @flags:   PINMEM_CACHE_TRUST_FILES: see "What no monitor sees" below
 * @monitor: PINMEM_MONITOR_*
 * @max_regions: how many registrations are kept; 0: 65536. At most 2^26.
 * @max_bytes: and of how many bytes in sum; 0: a quarter of the machine's memory, or
 *           half of RLIMIT_MEMLOCK where that binds and is less
 * @reg:     how misses are registered; NULL: the defaults. Copied. Its mode, policy,
 *           placement, threads are used; PINMEM_REG_FD is refused (-EINVAL).
 */
struct pinmem_cache_options {
	size_t size;
	unsigned int flags;
	enum pinmem_monitor monitor;
	uint64_t max_regions;
	uint64_t max_bytes;
	const struct pinmem_reg_options *reg;
};

/**
 * pinmem_cache_create - remember registrations of one pinner.
 * @opts:  NULL for the defaults
 * @cache: out; released with pinmem_cache_destroy()
 *
 * Any number of caches may share a pinner; caches of all pinners share one monitor
 * (two threads, which the first cache starts and the last one stops).
 *
 * What a cached region is. pinmem_cache_get() registers whole pages: a peer that holds
 * its rkey reaches the rest of the first and last page, too. Where a new range overlaps
 * cached ones, one region over all of them, with the rights of all of them, takes their
 * place, as long as it is no larger than four times the new range; else the old ones
 * leave the cache. So an address is in one region of the cache at most.
 *
 * What stays. The S3-FIFO policy (Yang et al., SOSP 2023): new regions pass through a
 * tenth of the cache, and only those used again there reach the rest, so that a sweep
 * over more memory than fits leaves the others alone. Regions in use are not evicted;
 * where nothing can be, a registration is made for this caller alone and not kept.
 * The same where the kernel is out of memlock, memory or buffer slots: idle regions are
 * released first.
 *
 * What no monitor sees. The userfaultfd monitor sees munmap, MAP_FIXED, mremap (away,
 * and of something else onto the range), MADV_DONTNEED, MADV_FREE, MADV_REMOVE and brk,
 * also by raw system calls. No such event is sent when a file is truncated or a hole is
 * punched in it through a descriptor, or through a mapping of another process. So
 * memory with a file behind it (shared memory, memfd, hugetlbfs, private file mappings,
 * too) is registered for each caller alone and not kept, but for: a memfd sealed with
 * F_SEAL_SHRINK and F_SEAL_WRITE or F_SEAL_FUTURE_WRITE, device-dax, and ODP regions,
 * which follow the page tables. With PINMEM_CACHE_TRUST_FILES the caller gives its word
 * that such files keep their pages, or that it calls pinmem_cache_invalidate() itself.
 * Not seen either, and to be followed by pinmem_cache_invalidate() if they ever meet a
 * cached range: shmat(2) with SHM_REMAP, remap_file_pages(2), MADV_GUARD_INSTALL.
 * (SysV segments are not kept: shmdt(2) sends no event.) mprotect(2) takes no page
 * away: what was registered before it is served after it, too. And the kernel gives
 * addresses free a moment before it sends the event: while one thread is still in its
 * munmap(2), another's mmap(2) may be given them, and a get by that one, in that moment,
 * may find the old region. From when munmap(2) has returned, nobody does.
 *
 * With /dev/pin_track there is no exception: truncation and holes, all of the above and
 * the moment of munmap are seen, files are kept without anybody's word, and nobody
 * waits for the monitor. There a hit also compares a word that the kernel changes
 * before it changes the mapping. (A migration that the pin prevents changes it, too:
 * then the region is registered anew.) A region takes 145 bytes of the kernel's memory.
 *
 * What watching by userfaultfd does to a program: a system call that changes a watched
 * mapping waits until the monitor's thread has read of it (some microseconds); a
 * watched mapping does not merge with a new neighbour; mremap(2) over several mappings
 * at once (Linux 6.17) says EFAULT.
 *
 * Return: 0, or
 *   -EINVAL, -E2BIG  bad options
 *   -EOPNOTSUPP      no monitor, or not the one asked for, works here (the sentence
 *                    says why: a seccomp filter, a kernel without userfaultfd);
 *                    PINMEM_MONITOR_CALLER always works
 *   -ECHILD          the pinner belongs to the parent process
 *   -ENOMEM, -EMFILE, -EAGAIN (no thread) from the kernel
 * Source: mm/userfaultfd.c, fs/userfaultfd.c; tests/host/test_monitor.c shows each
 * event.
 */
PINMEM_API int pinmem_cache_create(struct pinmem *pm,
				   const struct pinmem_cache_options *opts,
				   struct pinmem_cache **cache);

/**
 * pinmem_cache_destroy - release all that is kept, then the cache.
 * No other call on this cache may be under way. Return: 0; -EBUSY while regions are
 * held (nothing is changed, the sentence counts them); the backend's errno if a release
 * failed (then the cache is still there). In a forked child: frees the copy.
 */
PINMEM_API int pinmem_cache_destroy(struct pinmem_cache *cache);

/**
 * pinmem_cache_get - a region that holds [addr, addr+len) with at least these rights.
 * @access: PINMEM_ACCESS_*. A region with more rights serves, too; one with
 *          RELAXED_ORDERING only whoever asks for that.
 * @mr:     out; held until pinmem_cache_put(), by this or another thread. It may begin
 *          before @addr: offset in it = addr - pinmem_mr_info.addr. Several callers may
 *          hold the same one. Not for pinmem_dereg() (-EINVAL).
 *
 * A hit takes no lock, makes no system call, and does not wait for anybody's pin. A
 * miss registers as pinmem_reg() does; threads that miss the same range together
 * register it once. The region is not one whose mapping was changed before the call, by
 * a system call that has returned; if
 * the mapping changes later, the region stays registered (to the old pages) until it is
 * put, and nobody gets it again. A STAGED region is always the caller's alone. Not for
 * signal handlers.
 *
 * Return: 0, or what pinmem_reg() returns, and its sentence.
 */
PINMEM_API int pinmem_cache_get(struct pinmem_cache *cache, void *addr, size_t len,
				unsigned int access, struct pinmem_mr **mr);

/**
 * pinmem_cache_put - done with a region.
 * @how: CLEAN; DIRTY if the device wrote to it: one DIRTY of any holder makes its
 *       release DIRTY
 * Of a region that left the cache meanwhile the last holder's put is the release (if
 * that fails, it is tried again later; pinmem_cache_stats.release_failures).
 * A put more than there were gets is as undefined as a free() more.
 * Return: 0, -EINVAL (not a cache's region), -ECHILD; the backend's errno when a region
 * that was not kept could not be released (it is still the caller's).
 */
PINMEM_API int pinmem_cache_put(struct pinmem_mr *mr, enum pinmem_unpin how);

/**
 * pinmem_cache_invalidate - forget what overlaps a range.
 * No get that begins after this returns is served by a region from before it. Idle
 * regions are released now, others by their last holder.
 * Return: how many regions left the cache; -EINVAL, -ECHILD.
 */
PINMEM_API int pinmem_cache_invalidate(struct pinmem_cache *cache, const void *addr,
				       size_t len);

/**
 * pinmem_cache_flush - forget everything; idle regions are released now.
 * Return: 0; the backend's errno if a release failed; -EINVAL, -ECHILD.
 */
PINMEM_API int pinmem_cache_flush(struct pinmem_cache *cache);

/**
 * struct pinmem_cache_stats - counters since creation; the first fields are now.
 * @monitor:  what tells this cache of changes; never AUTO
 * @regions, @bytes: kept, and their lengths in sum
 * @held:     of these, held by somebody
 * @leaving, @leaving_bytes: out of the cache, still registered: held, or about to be
 *            released
 * @alone:    held, but registered for one caller and not kept
 * @max_regions, @max_bytes: the limits
 * @memory:   bytes that the cache itself takes, index included
 * @hits, @misses: in sum the gets; those of no valid range apart
 * @waits:    misses that waited for another thread's registration of the same range
 * @registrations: made for misses
 * @merges:   registrations that took the place of overlapping ones
 * @evictions: regions that had to leave to keep the limits
 * @relieved: … or because the kernel had no memlock, memory or slots left
 * @thrash:   misses on what was evicted not long ago: the cache is too small
 * @unmapped, @remapped, @discarded, @changed, @invalidated: regions that left because
 * of munmap (MAP_FIXED, brk, …), mremap, madvise, any of these or others
 *            (/dev/pin_track does not tell which), pinmem_cache_invalidate()/_flush()
 * @deferred: releases that a last holder made
 * @alone_file, @alone_monitor, @alone_full, @alone_raced, @alone_other: registered for
 *            one caller, since: a file behind it may be truncated; it cannot be watched
 *            (another userfaultfd, vm.max_map_count); larger than the limits, or
 * nothing could be evicted; the mapping changed during the registration; STAGED, …
 * @release_failures: failed releases (they are tried again)
 */
struct pinmem_cache_stats {
	size_t size;
	enum pinmem_monitor monitor;
	uint64_t regions;
	uint64_t bytes;
	uint64_t held;
	uint64_t leaving;
	uint64_t leaving_bytes;
	uint64_t alone;
	uint64_t max_regions;
	uint64_t max_bytes;
	uint64_t memory;
	uint64_t hits;
	uint64_t misses;
	uint64_t waits;
	uint64_t registrations;
	uint64_t merges;
	uint64_t evictions;
	uint64_t relieved;
	uint64_t thrash;
	uint64_t unmapped;
	uint64_t remapped;
	uint64_t discarded;
	uint64_t changed;
	uint64_t invalidated;
	uint64_t deferred;
	uint64_t alone_file;
	uint64_t alone_monitor;
	uint64_t alone_full;
	uint64_t alone_raced;
	uint64_t alone_other;
	uint64_t release_failures;
};
PINMEM_API int pinmem_cache_stats(struct pinmem_cache *cache,
				  struct pinmem_cache_stats *stats);

/* ---------------------------------------------------- limits and placement */

/** enum pinmem_counter - what RLIMIT_MEMLOCK is held against. */
enum pinmem_counter {
	PINMEM_COUNT_NONE = 0, /* nothing is charged (ODP) */
	PINMEM_COUNT_VMPIN,    /* verbs, pin_track: mm->pinned_vm, per process */
	PINMEM_COUNT_USER,     /* io_uring: user->locked_vm, per user */
	PINMEM_COUNT_VMLCK,    /* mlock: mm->locked_vm, per process */
};

/**
 * struct pinmem_memlock - would the limits allow this pin?
 * @fits:     1: yes, as far as can be seen
 * @bypass:   1: CAP_IPC_LOCK, the limit does not apply
 * @exact:    1: @used is the kernel's counter; 0: a sum of what can be seen. The
 *            kernel shows user->locked_vm nowhere, so the buffers of this user's
 *            rings are added up from /proc/PID/fdinfo.
 * @need:     bytes that would be charged: whole pages, for io_uring whole
 *            compound pages
 * @limit:    RLIMIT_MEMLOCK (soft); UINT64_MAX: unlimited
 * @used:     bytes charged now
 * @cgroup_limit, @cgroup_used: memory cgroup; UINT64_MAX, 0: none. Pinned pages
 *            that are not populated yet are charged there too.
 * @remedy:   one sentence; what was needed, found, and what to do if it
 *            does not fit
 */
struct pinmem_memlock {
	size_t size;
	enum pinmem_counter counter;
	int fits;
	int bypass;
	int exact;
	uint64_t need;
	uint64_t limit;
	uint64_t used;
	uint64_t cgroup_limit;
	uint64_t cgroup_used;
	char remedy[512];
};

/**
 * pinmem_memlock - compare a range's need with the limits, without pinning.
 * @addr: may be NULL: then any base-page memory of @len bytes
 * Reads /proc: a fraction of a millisecond; for io_uring the descriptors of this
 * user's processes too: some milliseconds, at most about 50.
 */
PINMEM_API int pinmem_memlock(struct pinmem *pm, const void *addr, size_t len,
			      struct pinmem_memlock *out);

#define PINMEM_NODES_MAX 64

/**
 * struct pinmem_placement - where the pages of a range lie.
 * @pages:   page count per node (in samples, if @step is more than a page); pages on
 *           nodes from PINMEM_NODES_MAX on count nowhere but in @wrong
 * @absent:  not populated
 * @wrong:   populated, but not on the wanted node
 * @wrong_addr, @wrong_len: the first run of wrong pages
 * @step:    distance of the pages looked at; the page size if all were. Beyond
 *           65536 pages evenly spread samples are taken.
 */
struct pinmem_placement {
	size_t size;
	uint64_t step;
	uint64_t pages[PINMEM_NODES_MAX];
	uint64_t absent;
	uint64_t wrong;
	void *wrong_addr;
	uint64_t wrong_len;
};

/**
 * pinmem_audit - on which nodes does a range lie?
 * @node: the wanted node; -1: any, nothing is wrong
 * Return: 0, -EINVAL, -ENODEV (no such node), -EFAULT (not mapped), -EPERM (a
 * seccomp filter forbids to ask). Source: move_pages(2).
 */
PINMEM_API int pinmem_audit(const void *addr, size_t len, int node,
			    struct pinmem_placement *out);

#define PINMEM_ALLOC_BASE_PAGES (1u << 0)  /* 4 KiB pages, no huge ones */
#define PINMEM_ALLOC_NO_POPULATE (1u << 1) /* reserve only */

/**
 * struct pinmem_alloc_options - all zero: huge pages, device's node, populated.
 * @placement, @node: ANY here means the device's node, if it has one
 * @threads: as in struct pinmem_reg_options
 */
struct pinmem_alloc_options {
	size_t size;
	unsigned int flags;
	enum pinmem_place placement;
	int node;
	unsigned int threads;
	pinmem_progress_fn progress;
	void *progress_arg;
};

/**
 * pinmem_alloc - memory made for pinning: huge pages, on the right node, there.
 * @len:  rounded up to whole huge pages for regions of at least one
 * @opts: NULL for the defaults
 * @addr: out; zeroed, private, anonymous; released with pinmem_free()
 *
 * Reserved hugetlb pages are taken if enough are free, else transparent huge
 * pages (2 MiB aligned), else base pages: pinmem_check() tells which it became.
 * Return: 0, -EINVAL, -ENODEV (no such node), -ENOMEM, -ECANCELED.
 */
PINMEM_API int pinmem_alloc(struct pinmem *pm, size_t len,
			    const struct pinmem_alloc_options *opts, void **addr);

/**
 * pinmem_free - give back memory of pinmem_alloc().
 * @len: as given to pinmem_alloc()
 * Release regions in it first. Return: 0; -EINVAL for what pinmem_alloc() did
 * not return; -EBUSY while a region of this pinner lies in it.
 */
PINMEM_API int pinmem_free(struct pinmem *pm, void *addr, size_t len);

#ifdef __cplusplus
}
#endif
#endif
