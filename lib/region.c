/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * region.c - do what the verdict says, and undo it: the pages made ready before the
 * pin, the sentence when the kernel says no, and what the release does to the pages.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* ----------------------------------------------------------- registration */

static int find_guard(const struct mapping *m, void *arg)
{
	struct mapping *found = arg;

	if (m->backing != PINMEM_UNMAPPED)
		return 0;
	*found = *m;
	return 1;
}

/*
 * The verdict allowed the pin, and the kernel refused it. Say more than its errno: a
 * guard region (the verdict does not look at each page), or a mapping that changed
 * meanwhile.
 */
static int explain_pin(struct pinmem_mr *mr, const struct request *req, int rc)
{
	struct backing_hints hints = { .fd = req->opts.fd, .guards = true };
	struct pinmem_verdict v;
	struct mapping hole;

	if (rc != -EFAULT && rc != -EOPNOTSUPP)
		return rc;
	if (backing_walk(req->start, req->end, &hints, find_guard, &hole) == 1)
		return fail(rc, "0x%" PRIxPTR " +%zu bytes cannot be pinned: %s",
			    hole.start, (size_t)(hole.end - hole.start),
			    hole.guard	    ? "a guard region (MADV_GUARD_INSTALL)"
			    : hole.past_eof ? "past the end of its file"
					    : "not mapped any more");
	if (!verdict_decide(req, &mr->pm->be->caps, false, &v) && v.error)
		return fail(v.error, "the mapping changed meanwhile: %s", v.reason);
	return rc;
}

static bool pins_for_writing(const struct pinmem_mr *mr)
{
	return (mr->access & PINMEM_ACCESS_WRITES) || mr->pm->be->caps.always_writes;
}

/*
 * Bring the pages in before the pin freezes them. Population is an optimisation:
 * what it cannot do, the pin will say better. Only the dirtying that was asked for
 * must succeed.
 */
static int prepare_pages(struct pinmem_mr *mr, const struct request *req)
{
	const struct pinmem_reg_options *o = &req->opts;
	struct populate_how how = { o->threads, o->progress, o->progress_arg };
	bool dirty = o->flags & PINMEM_REG_DIRTY_AT_PIN;
	/* copies whose PTEs are read-only since a fork would not pass the fast path,
	 * and the slow one refuses the mapping */
	bool copies = mr->backing == PINMEM_FSDAX && mr->writable;
	int rc;

	if (!dirty && !copies &&
	    (!mr->writable || !pins_for_writing(mr) ||
	     (o->flags & PINMEM_REG_NO_POPULATE) ||
	     !populate_needed(req->start, req->end)))
		return 0;
	rc = populate_write(req->start, req->end, &how);
	if (!rc)
		books_count(mr->pm, &mr->pm->stats.populated_bytes,
			    req->end - req->start);
	return dirty || rc == -ECANCELED ? rc : 0;
}

static int pin_register(struct pinmem_mr *mr, const struct request *req)
{
	const struct backend_caps *caps = &mr->pm->be->caps;
	int rc;

	mr->mode = caps->pins ? PINMEM_PINNED : PINMEM_RESIDENT;
	rc = prepare_pages(mr, req);
	if (rc)
		return rc;
	rc = region_pin(mr, mr->addr, &req->opts);
	return rc ? explain_pin(mr, req, rc) : 0;
}

int region_register(struct pinmem_mr *mr, const struct request *req,
		    const struct pinmem_verdict *v)
{
	int node, rc;

	rc = place_resolve(req->opts.placement, req->opts.node, mr->pm->be->caps.node,
			   &node);
	if (rc)
		return rc;
	if (v->action != PINMEM_USE_ODP) { /* which charges nothing */
		rc = memlock_precheck(&mr->pm->be->caps,
				      v->action == PINMEM_PIN ? (void *)mr->addr : NULL,
				      mr->len);
		if (rc)
			return rc;
	}
	if (v->action == PINMEM_USE_STAGE)
		return stage_register(mr, &req->opts, node);
	if (node >= 0) {
		rc = place_bind(req->start, req->end, node);
		if (rc)
			return rc;
	}
	if (v->action == PINMEM_USE_ODP) {
		rc = req->opts.flags & PINMEM_REG_DIRTY_AT_PIN ? prepare_pages(mr, req)
							       : 0;
		return rc ? rc : odp_register(mr, &req->opts);
	}
	return pin_register(mr, req);
}

/* ---------------------------------------------------------------- release */

/* A cache has learnt that other pages lie there now: they are not to be touched. */
static bool remapped(const struct pinmem_mr *mr)
{
	return __atomic_load_n(&mr->remapped, __ATOMIC_RELAXED);
}

/* What the release will do, if the mapping is still there. */
enum pinmem_unpin region_outcome(const struct pinmem_mr *mr, enum pinmem_unpin how)
{
	if (mr->mode == PINMEM_ODP)
		return PINMEM_BY_FAULT;
	if (mr->mode == PINMEM_STAGED)
		return PINMEM_CLEAN;
	switch (mr->pm->be->caps.unpin) {
	case UNPIN_AS_TOLD:
		if (pins_for_writing(mr))
			return how;
		break; /* through the mapping */
	case UNPIN_DIRTIES_WRITABLE:
		if (mr->access & PINMEM_ACCESS_WRITES)
			return PINMEM_DIRTY;
		break;
	case UNPIN_NEVER_DIRTIES:
		break;
	}
	return mr->writable && !remapped(mr) ? how : PINMEM_CLEAN;
}

/* Does userspace have to do the dirtying that was asked for? */
static bool must_redirty(const struct pinmem_mr *mr, enum pinmem_unpin how)
{
	const struct backend_caps *caps = &mr->pm->be->caps;

	if (how != PINMEM_DIRTY || !mr->writable || remapped(mr))
		return false;
	if (mr->mode != PINMEM_PINNED && mr->mode != PINMEM_RESIDENT)
		return false;
	return caps->unpin == UNPIN_NEVER_DIRTIES ||
	       (caps->unpin == UNPIN_DIRTIES_WRITABLE &&
		!(mr->access & PINMEM_ACCESS_WRITES));
}

/*
 * Write-fault the pages: their PTEs are dirty again, also if a writeback since the
 * pin has cleaned them. The pin is still held, so these are the pinned pages, unless
 * the caller has mapped something else there. What is not mapped cannot be dirtied
 * from here; the release goes on, and tells.
 */
static enum pinmem_unpin redirty(struct pinmem_mr *mr)
{
	uintptr_t start = page_floor(mr->addr), end = page_ceil(mr->addr + mr->len);

	if (populate_write(start, end, NULL))
		return PINMEM_CLEAN;
	books_count(mr->pm, &mr->pm->stats.redirtied_bytes, end - start);
	return PINMEM_DIRTY;
}

int region_release(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin *got)
{
	enum pinmem_unpin outcome = region_outcome(mr, how);
	int rc;

	if (must_redirty(mr, how))
		outcome = redirty(mr);
	else if (mr->pm->be->caps.unpin == UNPIN_AS_TOLD)
		how = outcome;
	rc = region_unpin(mr, how);
	if (rc == -ESTALE && how == PINMEM_DIRTY) {
		/* the same as with redirty(): the release goes on, and tells */
		outcome = PINMEM_CLEAN;
		rc = region_unpin(mr, outcome);
	}
	if (rc)
		return rc;
	if (mr->mode == PINMEM_STAGED)
		stage_release(mr);
	*got = outcome;
	return 0;
}
