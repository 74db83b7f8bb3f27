/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pinmem.c - the public calls on pinners and regions: what a caller may ask is
 * checked here, and the rooms behind do it.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCESS_ALL                                                 \
	(PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE |  \
	 PINMEM_ACCESS_REMOTE_READ | PINMEM_ACCESS_REMOTE_ATOMIC | \
	 PINMEM_ACCESS_RELAXED_ORDERING)
#define REG_FLAGS (PINMEM_REG_FD | PINMEM_REG_DIRTY_AT_PIN | PINMEM_REG_NO_POPULATE)

/* ----------------------------------------------------------------- pinner */

static int policy_check(const enum pinmem_action *policy)
{
	bool ended = false;

	for (int i = 0; i < PINMEM_POLICY_MAX; i++) {
		if (policy[i] == PINMEM_POLICY_END) {
			ended = true;
		} else if (ended) {
			return fail(EINVAL,
				    "policy[%d] is set, but the list ended before it",
				    i);
		} else if (policy[i] != PINMEM_USE_ODP &&
			   policy[i] != PINMEM_USE_STAGE &&
			   policy[i] != PINMEM_REFUSE) {
			return fail(EINVAL,
				    "policy[%d] is %d: no way out (USE_ODP, USE_STAGE, "
				    "REFUSE)",
				    i, (int)policy[i]);
		}
	}
	return 0;
}

int pinner_check(const struct pinmem *pm)
{
	if (!pm)
		return fail(EINVAL, "the pinner is NULL");
	if (pm->generation != process_generation())
		return fail(ECHILD, "this pinner belongs to the parent process: a "
				    "child opens its own");
	return 0;
}

int pinmem_open_ops(const struct backend_ops *ops, const struct pinmem_options *opts,
		    const char *why, struct pinmem **out)
{
	static const enum pinmem_action odp_if_possible[PINMEM_POLICY_MAX] = {
		PINMEM_USE_ODP
	};
	static uint64_t pinners; /* atomic; a child goes on counting */
	struct pinmem *pm = calloc(1, sizeof(*pm));
	int rc;

	if (!pm)
		return fail(ENOMEM, "no memory for a pinner");
	pm->generation = process_generation();
	if (!pm->generation) {
		rc = fail(ENOMEM, "no page for the fork check");
		goto free_pinner;
	}
	rc = ops->open(opts, &pm->be);
	if (rc)
		goto free_pinner;
	memcpy(pm->policy, opts->policy[0] ? opts->policy : odp_if_possible,
	       sizeof(pm->policy));
	snprintf(pm->why, sizeof(pm->why), "%s", why);
	pm->id = __atomic_add_fetch(&pinners, 1, __ATOMIC_RELAXED);
	pthread_mutex_init(&pm->lock, NULL);
	*out = pm;
	return 0;

free_pinner:
	free(pm);
	return rc;
}

/*
 * The best backend that opens; @why collects what was wrong with the better ones.
 * What the caller gave (a pd, a device, a ring) decides alone.
 */
static int open_auto(const struct pinmem_options *opts, struct pinmem **out)
{
	char verbs[110], uring[110], why[256];
	int rc;

	if (opts->ring)
		return pinmem_open_ops(&backend_uring, opts, "a ring was given", out);
	if (opts->pd || opts->device)
		return pinmem_open_ops(&backend_verbs, opts,
				       "a protection domain or a device was given",
				       out);
	rc = pinmem_open_ops(&backend_verbs, opts,
			     "a verbs device with an active port is there", out);
	if (!rc)
		return 0;
	snprintf(verbs, sizeof(verbs), "%s", pinmem_errmsg());
	snprintf(why, sizeof(why), "no verbs (%s)", verbs);
	rc = pinmem_open_ops(&backend_uring, opts, why, out);
	if (!rc)
		return 0;
	snprintf(uring, sizeof(uring), "%s", pinmem_errmsg());
	snprintf(why, sizeof(why), "no verbs (%s), no io_uring (%s)", verbs, uring);
	rc = pinmem_open_ops(&backend_pin_track, opts, why, out);
	if (!rc)
		return 0;
	snprintf(why, sizeof(why),
		 "no verbs (%.64s), no io_uring (%.64s), no pin_track (%.64s)", verbs,
		 uring, pinmem_errmsg());
	return pinmem_open_ops(&backend_mlock, opts, why, out);
}

static int options_check(const struct pinmem_options *o)
{
	bool verbs = o->pd || o->device;
	bool uring = o->ring || o->flags || o->uring_first || o->uring_slots ||
		     o->uring_entries;

	if (o->flags & ~PINMEM_OPEN_URING_SLOTS)
		return fail(EINVAL, "flags 0x%x are unknown",
			    o->flags & ~PINMEM_OPEN_URING_SLOTS);
	if (o->pd && o->device)
		return fail(EINVAL,
			    "a protection domain and a device name: give one of them");
	if (verbs && o->backend != PINMEM_BACKEND_AUTO &&
	    o->backend != PINMEM_BACKEND_VERBS)
		return fail(EINVAL, "pd and device are for verbs, not for %s",
			    pinmem_backend_name(o->backend));
	if (uring && o->backend != PINMEM_BACKEND_AUTO &&
	    o->backend != PINMEM_BACKEND_URING)
		return fail(EINVAL, "ring and uring_* are for io_uring, not for %s",
			    pinmem_backend_name(o->backend));
	if (verbs && o->ring)
		return fail(EINVAL,
			    "a ring and a verbs device: a pinner has one backend");
	if ((o->flags & PINMEM_OPEN_URING_SLOTS) && (!o->ring || !o->uring_slots))
		return fail(EINVAL,
			    "PINMEM_OPEN_URING_SLOTS needs a ring and uring_slots > 0");
	return policy_check(o->policy);
}

int pinmem_open(const struct pinmem_options *opts, struct pinmem **pm)
{
	static const struct backend_ops *const backends[] = {
		[PINMEM_BACKEND_VERBS] = &backend_verbs,
		[PINMEM_BACKEND_URING] = &backend_uring,
		[PINMEM_BACKEND_PIN_TRACK] = &backend_pin_track,
		[PINMEM_BACKEND_MLOCK] = &backend_mlock,
	};
	struct pinmem_options o;
	int rc;

	if (!pm)
		return fail(EINVAL, "no place for the pinner: pm is NULL");
	rc = options_copy(&o, sizeof(o), opts, "pinmem_options");
	if (!rc)
		rc = options_check(&o);
	if (rc)
		return rc;
	if (o.backend == PINMEM_BACKEND_AUTO)
		return open_auto(&o, pm);
	if ((size_t)o.backend >= ARRAY_SIZE(backends))
		return fail(EINVAL, "backend %d is unknown", (int)o.backend);
	return pinmem_open_ops(backends[o.backend], &o, "asked for", pm);
}

static void region_free(struct pinmem_mr *mr);

/* In a forked child: our copies go, the parent's pins stay. The lock may be held
 * by a thread that does not exist here, and nobody else can be using it. */
static void close_in_child(struct pinmem *pm)
{
	struct allocation *a;
	struct pinmem_mr *mr;

	while ((mr = pm->first)) {
		pm->first = mr->next;
		block_unmap(&mr->copy);
		region_free_segments(mr);
		region_free(mr);
	}
	while ((a = pm->allocations)) {
		pm->allocations = a->next;
		free(a);
	}
	pm->be->ops->close(pm->be, true);
	free(pm);
}

int pinmem_close(struct pinmem *pm)
{
	unsigned int caches;
	uint64_t regions;
	size_t blocks = 0;

	if (!pm)
		return fail(EINVAL, "the pinner is NULL");
	if (pm->generation != process_generation()) {
		close_in_child(pm);
		return 0;
	}
	pthread_mutex_lock(&pm->lock);
	regions = pm->stats.live_regions;
	caches = pm->caches;
	for (struct allocation *a = pm->allocations; a; a = a->next)
		blocks++;
	pthread_mutex_unlock(&pm->lock);
	if (caches)
		return fail(EBUSY, "%u caches are live: destroy them first", caches);
	if (regions || blocks)
		return fail(EBUSY,
			    "%" PRIu64
			    " regions and %zu allocations are live: release them first",
			    regions, blocks);
	pm->be->ops->close(pm->be, false);
	pthread_mutex_destroy(&pm->lock);
	free(pm);
	return 0;
}

int pinmem_query(struct pinmem *pm, struct pinmem_info *info)
{
	struct pinmem_info i = { 0 };
	const struct backend *be;
	int rc = pinner_check(pm);

	if (rc)
		return rc;
	be = pm->be;
	i.backend = be->ops->id;
	i.odp = be->caps.odp;
	i.odp_whole_pages = be->caps.odp_whole_pages;
	i.node = be->caps.node;
	i.max_segment = be->caps.max_segment;
	snprintf(i.device, sizeof(i.device), "%s", be->caps.device);
	snprintf(i.why, sizeof(i.why), "%s", pm->why);
	if (be->ops->slots)
		be->ops->slots(pm->be, &i.slots, &i.slots_used);
	return result_copy(info, &i, sizeof(i), "pinmem_info");
}

struct io_uring *pinmem_uring(struct pinmem *pm)
{
	if (pinner_check(pm) || pm->be->ops != &backend_uring)
		return NULL;
	return backend_uring_ring(pm->be);
}

struct ibv_pd *pinmem_pd(struct pinmem *pm)
{
	if (pinner_check(pm) || pm->be->ops != &backend_verbs)
		return NULL;
	return backend_verbs_pd(pm->be);
}

/* ---------------------------------------------------------------- request */

int range_check(const void *addr, size_t len)
{
	if (!addr)
		return fail(EINVAL, "addr is NULL");
	if (!len)
		return fail(EINVAL, "len is 0");
	if ((uintptr_t)addr + len < (uintptr_t)addr ||
	    (uintptr_t)addr + len > page_floor(UINTPTR_MAX))
		return fail(EINVAL, "%p + %zu bytes overflows the address space", addr,
			    len);
	return 0;
}

static int access_check(const struct backend *be, unsigned int access)
{
	if (access & ~ACCESS_ALL)
		return fail(EINVAL, "access 0x%x is unknown", access & ~ACCESS_ALL);
	if ((access & (PINMEM_ACCESS_REMOTE_WRITE | PINMEM_ACCESS_REMOTE_ATOMIC)) &&
	    !(access & PINMEM_ACCESS_LOCAL_WRITE))
		return fail(
			EINVAL,
			"remote write and atomic need PINMEM_ACCESS_LOCAL_WRITE too");
	if (access & ~be->caps.access)
		return fail(EOPNOTSUPP, "%s cannot give access 0x%x",
			    pinmem_backend_name(be->ops->id),
			    access & ~be->caps.access);
	return 0;
}

int reg_options_check(const struct pinmem_reg_options *o, unsigned int access)
{
	if (o->flags & ~REG_FLAGS)
		return fail(EINVAL, "flags 0x%x are unknown", o->flags & ~REG_FLAGS);
	if ((unsigned int)o->mode > PINMEM_RESIDENT)
		return fail(EINVAL, "mode %d is unknown", (int)o->mode);
	if ((unsigned int)o->placement > PINMEM_PLACE_NODE)
		return fail(EINVAL, "placement %d is unknown", (int)o->placement);
	if ((o->flags & PINMEM_REG_DIRTY_AT_PIN) &&
	    !(access & PINMEM_ACCESS_LOCAL_WRITE))
		return fail(EINVAL,
			    "PINMEM_REG_DIRTY_AT_PIN needs PINMEM_ACCESS_LOCAL_WRITE");
	return policy_check(o->policy);
}

static int request_init(struct pinmem *pm, const void *addr, size_t len,
			unsigned int access, const struct pinmem_reg_options *opts,
			struct request *req)
{
	int rc = pinner_check(pm);

	if (!rc)
		rc = range_check(addr, len);
	if (!rc)
		rc = access_check(pm->be, access);
	if (!rc)
		rc = options_copy(&req->opts, sizeof(req->opts), opts,
				  "pinmem_reg_options");
	if (!rc && opts)
		rc = reg_options_check(&req->opts, access);
	if (rc)
		return rc;
	req->addr = (uintptr_t)addr;
	req->len = len;
	req->start = page_floor(req->addr);
	req->end = page_ceil(req->addr + len);
	req->access = access;
	if (!(req->opts.flags & PINMEM_REG_FD))
		req->opts.fd = -1;
	if (req->opts.policy[0] == PINMEM_POLICY_END)
		memcpy(req->opts.policy, pm->policy, sizeof(req->opts.policy));
	return 0;
}

int pinmem_check(struct pinmem *pm, const void *addr, size_t len, unsigned int access,
		 const struct pinmem_reg_options *opts, struct pinmem_verdict *v)
{
	struct pinmem_verdict verdict;
	struct request req;
	int rc = request_init(pm, addr, len, access, opts, &req);

	if (!rc)
		rc = verdict_decide(&req, &pm->be->caps, true, &verdict);
	if (!rc)
		rc = result_copy(v, &verdict, sizeof(verdict), "pinmem_verdict");
	return rc;
}

int pinmem_check_walk(struct pinmem *pm, const void *addr, size_t len,
		      unsigned int access, const struct pinmem_reg_options *opts,
		      int (*fn)(const struct pinmem_verdict *v, void *arg), void *arg)
{
	struct request req;
	int rc = request_init(pm, addr, len, access, opts, &req);

	if (rc)
		return rc;
	if (!fn)
		return fail(EINVAL, "no function to call: fn is NULL");
	return verdict_walk(&req, &pm->be->caps, fn, arg);
}

/* ----------------------------------------------------------- registration */

int pinmem_reg(struct pinmem *pm, void *addr, size_t len, unsigned int access,
	       const struct pinmem_reg_options *opts, struct pinmem_mr **out)
{
	struct pinmem_verdict v;
	struct pinmem_mr *mr;
	struct request req;
	int rc;

	rc = request_init(pm, addr, len, access, opts, &req);
	if (rc)
		return rc;
	if (!out)
		return fail(EINVAL, "no place for the region: mr is NULL");
	rc = verdict_decide(&req, &pm->be->caps, false, &v);
	if (rc)
		return rc;
	if (v.action == PINMEM_REFUSE) {
		books_count(pm, &pm->stats.refused, 1);
		return fail(v.error, "%s", v.reason);
	}
	mr = malloc(sizeof(*mr)); /* glibc's calloc() passes by its fast lists */
	if (!mr)
		return fail(ENOMEM, "no memory for a region");
	memset(mr, 0, sizeof(*mr));
	mr->pm = pm;
	mr->addr = req.addr;
	mr->len = len;
	mr->access = access;
	mr->backing = v.backing;
	mr->refused = v.error;
	mr->writable = v.writable;
	mr->shared = v.shared;
	mr->plain = v.mappings == 1 && v.backing == PINMEM_ANON && !v.shared;
	mr->segs = &mr->one;
	rc = region_register(mr, &req, &v);
	if (rc) {
		books_count(pm, &pm->stats.failed, 1);
		free(mr);
		return rc;
	}
	books_enter(mr);
	*out = mr;
	return 0;
}

/* ---------------------------------------------------------------- release */

#ifdef PINMEM_DEBUG
/*
 * Released handles are kept for a while, so that a second release is found and not
 * a crash. A ring of the last ones: a release much later is still undefined.
 */
static pthread_mutex_t quarantine_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pinmem_mr *quarantine[256];
static unsigned int quarantine_next;

static void region_free(struct pinmem_mr *mr)
{
	struct pinmem_mr *oldest;

	pthread_mutex_lock(&quarantine_lock);
	mr->released = true;
	oldest = quarantine[quarantine_next];
	quarantine[quarantine_next] = mr;
	quarantine_next = (quarantine_next + 1) % ARRAY_SIZE(quarantine);
	pthread_mutex_unlock(&quarantine_lock);
	free(oldest);
}

static int released_check(const struct pinmem_mr *mr)
{
	bool released;

	pthread_mutex_lock(&quarantine_lock);
	released = mr->released;
	pthread_mutex_unlock(&quarantine_lock);
	if (released)
		return fail(EINVAL, "the region %p was released before", (void *)mr);
	return 0;
}
#else
static void region_free(struct pinmem_mr *mr)
{
	free(mr);
}

static int released_check(const struct pinmem_mr *mr)
{
	(void)mr;
	return 0;
}
#endif

int region_check(const struct pinmem_mr *mr)
{
	int rc;

	if (!mr)
		return fail(EINVAL, "the region is NULL");
	rc = released_check(mr);
	return rc ? rc : pinner_check(mr->pm);
}

int pinmem_dereg(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin *got)
{
	int rc = region_check(mr);

	if (rc)
		return rc;
	if (how != PINMEM_CLEAN && how != PINMEM_DIRTY)
		return fail(EINVAL, "release is CLEAN or DIRTY, not %d", (int)how);
	if (mr->cache)
		return fail(EINVAL, "the region belongs to a cache: use "
				    "pinmem_cache_put()");
	return region_dereg(mr, how, got);
}

int region_dereg(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin *got)
{
	enum pinmem_unpin outcome;
	int rc = region_release(mr, how, &outcome);

	if (rc)
		return rc;
	books_leave(mr, outcome);
	if (got)
		*got = outcome;
	region_free(mr);
	return 0;
}

/* ----------------------------------------------------------------- region */

int pinmem_mr_segment(const struct pinmem_mr *mr, uint64_t offset,
		      struct pinmem_segment *out)
{
	struct pinmem_segment s = { 0 };
	const struct segment *seg;
	uint64_t max;
	int rc = region_check(mr);

	if (rc)
		return rc;
	if (offset >= mr->len)
		return fail(ERANGE, "offset %" PRIu64 " is past the region's %zu bytes",
			    offset, mr->len);
	max = mr->pm->be->caps.max_segment;
	if (offset / max >= mr->nsegs)
		return fail(EINVAL, "the region is partly released");
	seg = &mr->segs[offset / max];
	s.offset = offset / max * max;
	s.len = seg->len;
	s.addr = seg->addr;
	s.iova = seg->iova;
	s.lkey = seg->lkey;
	s.rkey = seg->rkey;
	s.ibv_mr = seg->ibv_mr;
	s.buf_index = seg->slot;
	return result_copy(out, &s, sizeof(s), "pinmem_segment");
}

static int subrange_check(const struct pinmem_mr *mr, uint64_t offset, uint64_t len)
{
	int rc = region_check(mr);

	if (rc)
		return rc;
	if (offset > mr->len || len > mr->len - offset)
		return fail(ERANGE,
			    "%" PRIu64 " +%" PRIu64
			    " is outside the region's %zu bytes",
			    offset, len, mr->len);
	return 0;
}

int pinmem_sync(struct pinmem_mr *mr, uint64_t offset, uint64_t len,
		enum pinmem_sync_dir dir)
{
	int rc = subrange_check(mr, offset, len);

	if (rc)
		return rc;
	if (dir != PINMEM_SYNC_TO_DEVICE && dir != PINMEM_SYNC_FROM_DEVICE)
		return fail(EINVAL, "sync direction %d is unknown", (int)dir);
	if (mr->mode != PINMEM_STAGED || !len)
		return 0;
	rc = stage_sync(mr, offset, len, dir);
	if (!rc)
		books_count(mr->pm, &mr->pm->stats.synced_bytes, len);
	return rc;
}

int pinmem_prefetch(struct pinmem_mr *mr, uint64_t offset, uint64_t len, int write)
{
	bool device = false;
	int rc = subrange_check(mr, offset, len);

	if (rc || mr->mode != PINMEM_ODP || !len)
		return rc;
	rc = odp_prefetch(mr, offset, len, write, &device);
	if (!rc)
		books_count(mr->pm,
			    device ? &mr->pm->stats.prefetch_device
				   : &mr->pm->stats.prefetch_touch,
			    1);
	return rc;
}

/* --------------------------------------------------- limits and placement */

int pinmem_memlock(struct pinmem *pm, const void *addr, size_t len,
		   struct pinmem_memlock *out)
{
	struct pinmem_memlock m = { 0 };
	int rc = pinner_check(pm);

	if (!rc && (addr || !len))
		rc = range_check(addr, len);
	if (!rc)
		rc = memlock_examine(&pm->be->caps, addr, len, &m);
	if (!rc)
		rc = result_copy(out, &m, sizeof(m), "pinmem_memlock");
	return rc;
}

int pinmem_audit(const void *addr, size_t len, int node, struct pinmem_placement *out)
{
	struct pinmem_placement p = { 0 };
	int rc = range_check(addr, len);

	if (!rc)
		rc = place_audit(page_floor((uintptr_t)addr),
				 page_ceil((uintptr_t)addr + len), node, &p);
	if (!rc)
		rc = result_copy(out, &p, sizeof(p), "pinmem_placement");
	return rc;
}
