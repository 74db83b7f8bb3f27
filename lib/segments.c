/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segments.c - a region as registrations of its backend: all are pinned or none, and
 * each is released once.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

void region_free_segments(struct pinmem_mr *mr)
{
	if (mr->segs != &mr->one)
		free(mr->segs);
	mr->segs = &mr->one;
}

int region_unpin(struct pinmem_mr *mr, enum pinmem_unpin how)
{
	struct backend *be = mr->pm->be;
	int rc;

	while (mr->nsegs) {
		rc = be->ops->unpin(be, &mr->segs[mr->nsegs - 1], how);
		if (rc)
			return rc;
		mr->nsegs--;
	}
	region_free_segments(mr);
	return 0;
}

static int tell_pin(const struct pinmem_reg_options *opts, uint64_t done,
		    uint64_t total)
{
	if (!opts->progress || !opts->progress("pin", done, total, opts->progress_arg))
		return 0;
	return fail(ECANCELED, "pinning was cancelled by the progress callback");
}

/* The kernel's ENOMEM says nothing: find out whether it was the limit. */
static int explain_limits(const struct pinmem_mr *mr, uintptr_t base, int rc,
			  const char *cause)
{
	struct pinmem_memlock m;

	if (rc == -ENOMEM && mr->mode != PINMEM_ODP &&
	    !memlock_examine(&mr->pm->be->caps, (void *)base, mr->len, &m) && !m.fits)
		return fail(rc, "%s", m.remedy);
	return fail(rc, "%s", cause);
}

int region_pin(struct pinmem_mr *mr, uintptr_t base,
	       const struct pinmem_reg_options *opts)
{
	struct backend *be = mr->pm->be;
	size_t max = be->caps.max_segment, n = (mr->len - 1) / max + 1, done = 0;
	char cause[512];
	int rc;

	mr->nsegs = 0;
	mr->segs = &mr->one;
	if (n > 1) {
		mr->segs = n <= UINT32_MAX ? calloc(n, sizeof(*mr->segs)) : NULL;
		if (!mr->segs) {
			mr->segs = &mr->one;
			return fail(ENOMEM, "no memory for %zu segments", n);
		}
	}
	for (size_t i = 0; i < n; i++, done += max) {
		struct segment *seg = &mr->segs[i];

		seg->addr = (void *)(base + done);
		seg->len = mr->len - done < max ? mr->len - done : max;
		seg->iova = mr->addr + done;
		seg->dirty_at_pin = mr->mode == PINMEM_PINNED &&
				    (opts->flags & PINMEM_REG_DIRTY_AT_PIN);
		seg->slot = -1;
		rc = tell_pin(opts, done, mr->len);
		if (!rc && mr->mode == PINMEM_ODP)
			rc = be->ops->pin_odp(be, seg, mr->access);
		else if (!rc)
			rc = be->ops->pin(be, seg, mr->access);
		if (rc)
			goto unpin;
		mr->nsegs++;
	}
	rc = tell_pin(opts, mr->len, mr->len);
	if (rc)
		goto unpin;
	return 0;

unpin:
	/* Nothing was done through these pins: clean. And they must not count as in
	 * use when the limits are looked at. */
	snprintf(cause, sizeof(cause), "%s", pinmem_errmsg());
	region_unpin(mr, PINMEM_CLEAN);
	return explain_limits(mr, base, rc, cause);
}
