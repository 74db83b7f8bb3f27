/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * odp_fallback.c - the ways out for memory that may not be pinned: let the device
 * page on demand (ODP), or pin a copy and move the bytes on demand (staging).
 *
 * A staged region's addresses are the user's: verbs is told so (iova), and a sync
 * copies between the copy and whatever the user's addresses mean at that moment.
 * Memory that he has mapped there since the registration is as good as the old,
 * but for one thing: whether the bytes must be made persistent was found out at
 * the registration.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <libpmem.h>
#include <string.h>

/* Copied at a stretch: small enough that the pages just faulted in are still there,
 * and for progress to be told; large enough that the faulting is noise. */
#define CHUNK (8ul << 20)

/* -------------------------------------------------------------------- ODP */

/*
 * The kernel registers anything for ODP, and a page that cannot be had becomes a
 * completion error much later. The verdict has seen the mappings, but not the
 * guard regions in them: no pin would need it to.
 */
static int refuse_hole(const struct mapping *m, void *arg)
{
	(void)arg;
	if (m->backing != PINMEM_UNMAPPED)
		return 0;
	return fail(EFAULT, "0x%" PRIxPTR " +%zu bytes cannot be paged on demand: %s",
		    m->start, (size_t)(m->end - m->start),
		    m->guard	  ? "a guard region (MADV_GUARD_INSTALL)"
		    : m->past_eof ? "past the end of its file"
				  : "not mapped");
}

int odp_register(struct pinmem_mr *mr, const struct pinmem_reg_options *opts)
{
	struct backing_hints hints = { .fd = opts->fd, .guards = true };
	int rc;

	rc = backing_walk(page_floor(mr->addr), page_ceil(mr->addr + mr->len), &hints,
			  refuse_hole, NULL);
	if (rc)
		return rc;
	mr->mode = PINMEM_ODP;
	/* iova == addr: rxe's ODP assumes it */
	return region_pin(mr, mr->addr, opts);
}

/* Spares the device the file system's part of its page fault, not the fault. */
static int touch(const struct pinmem_mr *mr, uint64_t offset, uint64_t len, bool write)
{
	uintptr_t start = page_floor(mr->addr + offset);
	uintptr_t end = page_ceil(mr->addr + offset + len);

	return write ? populate_write(start, end, NULL)
		     : populate_read(start, end, NULL);
}

int odp_prefetch(struct pinmem_mr *mr, uint64_t offset, uint64_t len, bool write,
		 bool *device)
{
	struct backend *be = mr->pm->be;
	size_t max = be->caps.max_segment;
	int rc = 0;

	if (write && !(mr->access & PINMEM_ACCESS_WRITES))
		return fail(EINVAL, "prefetch for writing of a region that was "
				    "registered without PINMEM_ACCESS_LOCAL_WRITE");
	*device = be->ops->prefetch;
	while (len && *device && !rc) {
		const struct segment *seg = &mr->segs[offset / max];
		uint64_t at = offset % max;
		uint64_t part = len < seg->len - at ? len : seg->len - at;

		rc = be->ops->prefetch(be, seg, at, part, write);
		if (rc == -EOPNOTSUPP) {
			*device = false;
			rc = 0;
		} else {
			offset += part;
			len -= part;
		}
	}
	return *device ? rc : touch(mr, offset, len, write);
}

/* ---------------------------------------------------------------- staging */

/* The copy begins at the target's offset in its page: the kernel demands that of
 * an iova, and bytes keep their alignment. */
static char *copy_at(const struct pinmem_mr *mr, uint64_t offset)
{
	return (char *)mr->copy.addr + (mr->addr - page_floor(mr->addr)) + offset;
}

static int find_readonly(const struct mapping *m, void *arg)
{
	uintptr_t *at = arg;

	if (m->backing == PINMEM_UNMAPPED || m->writable)
		return 0;
	*at = m->start;
	return 1;
}

/* The target could not be written to: is it there, and only mapped so? */
static int explain_write(uintptr_t start, uintptr_t end, int rc)
{
	struct backing_hints hints = { .fd = -1 };
	char cause[512];
	uintptr_t at;

	if (rc != -EFAULT)
		return rc;
	snprintf(cause, sizeof(cause), "%s", pinmem_errmsg());
	if (backing_walk(start, end, &hints, find_readonly, &at) == 1)
		return fail(EACCES,
			    "0x%" PRIxPTR " is mapped read-only: a sync from the "
			    "device cannot write there",
			    at);
	return fail(rc, "%s", cause);
}

/*
 * The target's pages are faulted in first, by a call that says -EFAULT where the
 * copy would raise SIGBUS or SIGSEGV.
 */
static int copy_chunk(struct pinmem_mr *mr, uint64_t offset, size_t len,
		      enum pinmem_sync_dir dir)
{
	char *target = (char *)mr->addr + offset, *copy = copy_at(mr, offset);
	uintptr_t start = page_floor((uintptr_t)target);
	uintptr_t end = page_ceil((uintptr_t)target + len);
	int rc;

	if (dir == PINMEM_SYNC_TO_DEVICE) {
		rc = populate_read(start, end, NULL);
		if (!rc)
			memcpy(copy, target, len);
		return rc;
	}
	rc = populate_write(start, end, NULL);
	if (rc)
		return explain_write(start, end, rc);
	if (mr->target_fsdax)
		pmem_memcpy_persist(target, copy, len);
	else
		memcpy(target, copy, len);
	return 0;
}

static int tell_copy(const struct pinmem_reg_options *opts, uint64_t done,
		     uint64_t total)
{
	if (!opts || !opts->progress ||
	    !opts->progress("copy", done, total, opts->progress_arg))
		return 0;
	return fail(ECANCELED, "copying was cancelled by the progress callback");
}

/* @opts: for progress; may be NULL */
static int copy_range(struct pinmem_mr *mr, uint64_t offset, uint64_t len,
		      enum pinmem_sync_dir dir, const struct pinmem_reg_options *opts)
{
	uint64_t done = 0;
	int rc = tell_copy(opts, 0, len);

	while (!rc && done < len) {
		/* to the next page boundary first, so that no page is in two chunks */
		size_t part = CHUNK - (mr->addr + offset + done) % CHUNK;

		if (part > len - done)
			part = len - done;
		rc = copy_chunk(mr, offset + done, part, dir);
		done += part;
		if (!rc)
			rc = tell_copy(opts, done, len);
	}
	return rc;
}

/*
 * Without MAP_SYNC the bytes on a DAX file are flushed, but the file system may yet
 * lose the blocks that it allocated for them; msync(2) commits those.
 */
static int commit_blocks(const struct pinmem_mr *mr, uint64_t offset, uint64_t len)
{
	const char *at = (const char *)mr->addr + offset;

	if (!pmem_msync(at, len))
		return 0;
	if (errno == ENOMEM)
		return fail(EFAULT, "%p +%" PRIu64 " bytes are not all mapped any more",
			    (const void *)at, len);
	return fail(errno, "msync of %p +%" PRIu64 " bytes: %s", (const void *)at, len,
		    strerror(errno));
}

int stage_sync(struct pinmem_mr *mr, uint64_t offset, uint64_t len,
	       enum pinmem_sync_dir dir)
{
	int rc = copy_range(mr, offset, len, dir, NULL);

	if (!rc && dir == PINMEM_SYNC_FROM_DEVICE && mr->target_fsdax &&
	    !mr->target_map_sync)
		rc = commit_blocks(mr, offset, len);
	return rc;
}

/*
 * A region may lie over several mappings: one on persistent memory is enough for
 * the copy that flushes, one of these without MAP_SYNC is enough for msync(2).
 * Device-dax has no blocks to commit.
 */
static int note_persistence(const struct mapping *m, void *arg)
{
	bool fsdax = m->backing == PINMEM_FSDAX && m->shared;
	struct pinmem_mr *mr = arg;

	if (!fsdax && m->backing != PINMEM_DEVDAX)
		return 0;
	if (!mr->target_fsdax)
		mr->target_map_sync = true;
	mr->target_fsdax = true;
	if (fsdax && mr->target_map_sync && backing_vmflag(m->start, "sf") != 1)
		mr->target_map_sync = false;
	return 0;
}

/* On the node that was asked for, else on the device's, if there is room. */
static int map_copy(struct pinmem_mr *mr, const struct pinmem_reg_options *opts,
		    int node)
{
	struct populate_how how = { opts->threads, opts->progress, opts->progress_arg };
	size_t len = mr->addr - page_floor(mr->addr) + mr->len;
	int near = mr->pm->be->caps.node, rc;

	if (node >= 0 || near < 0)
		return block_map(len, 0, node, &how, &mr->copy);
	rc = block_map(len, 0, near, &how, &mr->copy);
	if (rc && rc != -ECANCELED)
		rc = block_map(len, 0, -1, &how, &mr->copy);
	return rc;
}

/*
 * The copy begins with the target's bytes: what a peer reads is what the user has,
 * and a sync back of more than the device wrote destroys nothing.
 */
int stage_register(struct pinmem_mr *mr, const struct pinmem_reg_options *opts,
		   int node)
{
	struct backing_hints hints = { .fd = opts->fd };
	int rc;

	mr->mode = PINMEM_STAGED;
	rc = backing_walk(page_floor(mr->addr), page_ceil(mr->addr + mr->len), &hints,
			  note_persistence, mr);
	if (rc)
		return rc;
	rc = map_copy(mr, opts, node);
	if (rc)
		return rc;
	rc = copy_range(mr, 0, mr->len, PINMEM_SYNC_TO_DEVICE, opts);
	if (!rc)
		rc = region_pin(mr, (uintptr_t)copy_at(mr, 0), opts);
	if (rc)
		block_unmap(&mr->copy);
	return rc;
}

void stage_release(struct pinmem_mr *mr)
{
	block_unmap(&mr->copy);
}
