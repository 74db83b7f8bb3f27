/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_ways.c - the strategies of `pinmem bench strategies`: what each does before the
 * first I/O on a buffer, for each, and after the last; see struct strategy.
 */
#include <errno.h>
#include <infiniband/verbs.h>
#include <string.h>

#include "bench.h"
#include "bench_lane.h"
#include "tool.h"

#define ACCESS PINMEM_ACCESS_LOCAL_WRITE

static int is_file(const struct lane *l)
{
	return l->kind == DEVICE_FILE;
}

/* ---------------------------------------------------------- pieces of memory */

/* Not registered: for a device that needs no registration. */
static int plain_piece(struct lane *l)
{
	l->piece = (struct piece){ .addr = l->memory.addr,
				   .buf_index = -1,
				   .ring = &l->raw };
	return 0;
}

static int piece_of(struct lane *l, const struct pinmem_mr *mr, const void *addr)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr_info info = { .size = sizeof(info) };
	uint64_t offset = 0;

	if (addr) {
		if (pinmem_mr_query(mr, &info))
			return lane_refused(-EIO);
		offset = (uint64_t)((const char *)addr - (const char *)info.addr);
	}
	if (pinmem_mr_segment(mr, offset, &seg))
		return lane_refused(-EIO);
	offset -= seg.offset;
	l->piece = (struct piece){ .addr = (char *)seg.addr + offset,
				   .iova = seg.iova + offset,
				   .lkey = seg.lkey,
				   .buf_index = seg.buf_index,
				   .ring = pinmem_uring(l->pm) };
	return 0;
}

static int reg(struct lane *l, enum pinmem_mode mode)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts), .mode = mode };
	int rc =
		pinmem_reg(l->pm, l->memory.addr, l->point.size, ACCESS, &opts, &l->mr);

	return rc ? lane_refused(rc) : piece_of(l, l->mr, NULL);
}

static int dereg(struct lane *l)
{
	enum pinmem_unpin how = l->point.write ? PINMEM_CLEAN : PINMEM_DIRTY;
	struct pinmem_mr *mr = l->mr;
	int rc = mr ? pinmem_dereg(mr, how, NULL) : 0;

	l->mr = NULL;
	return rc ? lane_refused(rc) : 0;
}

static void drop(struct lane *l)
{
	dereg(l);
}

/* --------------------------------------------------------- copy, plain, mlock */

static int copy_prepare(struct lane *l)
{
	size_t len = device_bounce(l->device);
	int rc = l->bounce ? 0 : pinmem_alloc(l->pm, len, NULL, &l->bounce);

	if (!rc && !l->bounce_mr)
		rc = pinmem_reg(l->pm, l->bounce, len, ACCESS, NULL, &l->bounce_mr);
	return rc ? lane_refused(rc) : 0;
}

static int copy_begin(struct lane *l)
{
	return piece_of(l, l->bounce_mr, NULL);
}

static int copy_io(struct lane *l)
{
	const struct transfer t = { &l->piece, l->memory.addr, l->point.size,
				    l->point.write };

	return device_move(l->device, &t);
}

static int unregistered_prepare(struct lane *l)
{
	if (is_file(l))
		return 0;
	return bench_trouble(-EOPNOTSUPP, "RDMA",
			     "a device is told of memory by registering it");
}

static int open_other(struct pinmem **pm, enum pinmem_backend backend)
{
	struct pinmem_options opts = { .size = sizeof(opts), .backend = backend };
	int rc = *pm ? 0 : pinmem_open(&opts, pm);

	return rc ? lane_refused(rc) : 0;
}

static int mlock_prepare(struct lane *l)
{
	if (!is_file(l))
		return bench_trouble(
			-EOPNOTSUPP, "RDMA",
			"memory that is locked and not pinned may be "
			"migrated, so no device can be given its addresses");
	return open_other(&l->mlock, PINMEM_BACKEND_MLOCK);
}

static int mlock_begin(struct lane *l)
{
	int rc = pinmem_reg(l->mlock, l->memory.addr, l->point.size, ACCESS, NULL,
			    &l->mr);

	return rc ? lane_refused(rc) : plain_piece(l);
}

/* ----------------------------------------------------------------- pinning */

static int pin_begin(struct lane *l)
{
	return reg(l, PINMEM_PINNED);
}

static int pin_io(struct lane *l)
{
	int rc = reg(l, PINMEM_PINNED), failed;

	if (rc)
		return rc;
	rc = lane_io(l);
	failed = dereg(l);
	return rc ? rc : failed;
}

static int raw_set(struct lane *l, void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	__u64 tag = 0;
	int rc = io_uring_register_buffers_update_tag(&l->raw, 0, &iov, &tag, 1);

	return rc == 1 ? 0
		       : bench_trouble(rc ? rc : -EIO, "raw io_uring", strerror(-rc));
}

static int raw_begin(struct lane *l)
{
	void *addr = l->memory.addr;

	plain_piece(l);
	if (is_file(l)) {
		l->piece.buf_index = 0;
		return raw_set(l, addr, l->point.size);
	}
	l->raw_mr = ibv_reg_mr(pinmem_pd(l->pm), addr, l->point.size,
			       IBV_ACCESS_LOCAL_WRITE);
	if (!l->raw_mr)
		return bench_trouble(-errno, "ibv_reg_mr", strerror(errno));
	l->piece.iova = (uintptr_t)addr;
	l->piece.lkey = l->raw_mr->lkey;
	return 0;
}

static int raw_end(struct lane *l)
{
	int rc;

	if (is_file(l))
		return raw_set(l, NULL, 0);
	rc = l->raw_mr ? ibv_dereg_mr(l->raw_mr) : 0;
	l->raw_mr = NULL;
	return rc ? bench_trouble(-rc, "ibv_dereg_mr", strerror(rc)) : 0;
}

static void raw_drop(struct lane *l)
{
	raw_end(l);
}

static int raw_io(struct lane *l)
{
	int rc = raw_begin(l), failed;

	if (rc)
		return rc;
	rc = lane_io(l);
	failed = raw_end(l);
	return rc ? rc : failed;
}

/* ------------------------------------------------------------------- caches */

static int cache_prepare(struct lane *l)
{
	const char *monitor;

	return l->cache ? 0 : l->peer->open(l->pm, true, &l->cache, &monitor);
}

static int cache_io(struct lane *l)
{
	int rc = l->peer->get(l->cache, l->memory.addr, l->point.size, &l->held),
	    failed;

	if (rc)
		return rc;
	rc = piece_of(l, l->peer->region(l->held), l->memory.addr);
	if (!rc)
		rc = lane_io(l);
	failed = l->peer->put(l->cache, l->held);
	return rc ? rc : failed;
}

/* So that the next cycle begins with a miss. */
static int cache_end(struct lane *l)
{
	void *held = l->held;

	l->held = NULL;
	return l->peer->forget(l->cache, held, l->memory.addr, l->point.size);
}

static void cache_drop(struct lane *l)
{
	if (l->held)
		cache_end(l);
}

/* ---------------------------------------------------------------------- ODP */

static int odp_prepare(struct lane *l)
{
	struct pinmem_info info = { .size = sizeof(info) };

	if (is_file(l))
		return bench_trouble(-EOPNOTSUPP, "io_uring",
				     "its devices have no on-demand paging; RDMA "
				     "devices may have it");
	if (pinmem_query(l->pm, &info))
		return lane_refused(-EIO);
	if (info.odp)
		return 0;
	return bench_trouble(-EOPNOTSUPP, info.device,
			     "the device and this kernel have no explicit on-demand "
			     "paging");
}

static int odp_begin(struct lane *l)
{
	return reg(l, PINMEM_ODP);
}

static int odp_begin_prefetched(struct lane *l)
{
	int rc = reg(l, PINMEM_ODP);

	if (!rc && pinmem_prefetch(l->mr, 0, l->point.size, !l->point.write))
		rc = lane_refused(-EIO);
	return rc;
}

/* Registered, and used once: no page fault is left for the device. */
static int odp_prepare_warm(struct lane *l)
{
	int rc = odp_prepare(l);

	if (!rc)
		rc = odp_begin(l);
	return rc ? rc : lane_io(l);
}

/* ------------------------------------------------------------------- staging */

static int stage_begin(struct lane *l)
{
	return reg(l, PINMEM_STAGED);
}

static int stage_sync(struct lane *l, enum pinmem_sync_dir dir)
{
	int rc = pinmem_sync(l->mr, 0, l->point.size, dir);

	return rc ? lane_refused(rc) : 0;
}

static int stage_io(struct lane *l)
{
	int rc = l->point.write ? stage_sync(l, PINMEM_SYNC_TO_DEVICE) : 0;

	if (!rc)
		rc = lane_io(l);
	if (!rc && !l->point.write)
		rc = stage_sync(l, PINMEM_SYNC_FROM_DEVICE);
	return rc;
}

/* ----------------------------------------------------------- /dev/pin_track */

static int track_prepare(struct lane *l)
{
	if (!is_file(l))
		return bench_trouble(-EOPNOTSUPP, "/dev/pin_track",
				     "it pins memory and does not register it with an "
				     "RDMA device");
	return open_other(&l->tracker, PINMEM_BACKEND_PIN_TRACK);
}

static int track(struct lane *l, unsigned int flags)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts),
					   .mode = PINMEM_PINNED,
					   .flags = flags };
	int rc = pinmem_reg(l->tracker, l->memory.addr, l->point.size, ACCESS, &opts,
			    &l->mr);

	return rc ? lane_refused(rc) : plain_piece(l);
}

static int track_begin(struct lane *l)
{
	return track(l, 0);
}

static int track_begin_dirty(struct lane *l)
{
	return track(l, PINMEM_REG_DIRTY_AT_PIN);
}

static int track_end(struct lane *l, enum pinmem_unpin how)
{
	struct pinmem_mr *mr = l->mr;

	l->mr = NULL;
	return pinmem_dereg(mr, how, NULL) ? lane_refused(-EIO) : 0;
}

static int track_end_clean(struct lane *l)
{
	return track_end(l, PINMEM_CLEAN);
}

static int track_end_dirty(struct lane *l)
{
	return track_end(l, PINMEM_DIRTY);
}

/* -------------------------------------------------------------------- table */

const struct strategy strategies[] = {
	[STRATEGY_COPY] = { "copy",
			    "copy through a bounce buffer that was pinned before",
			    copy_prepare, copy_begin, copy_io, NULL, NULL, false },
	{ "plain", "no registration: the kernel pins for each I/O (O_DIRECT)",
	  unregistered_prepare, plain_piece, NULL, NULL, NULL, false },
	{ "pin-per-io", "pinmem_reg() and pinmem_dereg() around each I/O", NULL, NULL,
	  pin_io, NULL, drop, false },
	{ "pin-once",
	  "pinmem_reg() before the first I/O, pinmem_dereg() after the last", NULL,
	  pin_begin, NULL, dereg, drop, false },
	{ "cached",
	  "pinmem_cache_get() and _put() around each I/O; the first one misses",
	  cache_prepare, NULL, cache_io, cache_end, cache_drop, false },
	{ "raw-per-io", "the raw interface around each I/O", NULL, NULL, raw_io, NULL,
	  raw_drop, false },
	{ "raw-once", "the raw interface before the first I/O and after the last", NULL,
	  raw_begin, NULL, raw_end, raw_drop, false },
	{ "ucx", "libucx's ucs_rcache around each I/O; the first one misses",
	  cache_prepare, NULL, cache_io, cache_end, cache_drop, true },
	{ "odp-cold", "an explicit ODP region that the device has not used yet",
	  odp_prepare, odp_begin, NULL, dereg, drop, false },
	{ "odp-prefetched", "… and pinmem_prefetch() before the first I/O", odp_prepare,
	  odp_begin_prefetched, NULL, dereg, drop, false },
	{ "odp-warm",
	  "an ODP region that the device has used; its registration not "
	  "counted",
	  odp_prepare_warm, NULL, NULL, NULL, drop, false },
	{ "mlock", "mlock(2) once and no registration: resident, not pinned",
	  mlock_prepare, mlock_begin, NULL, dereg, drop, false },
	{ "stage", "a pinned copy for this buffer, pinmem_sync() with each I/O", NULL,
	  stage_begin, stage_io, dereg, drop, false },
	{ "track-dirty-at-unpin", "a pin of /dev/pin_track, dirtied when it ends",
	  track_prepare, track_begin, NULL, track_end_dirty, drop, false },
	{ "track-dirty-at-pin", "a pin of /dev/pin_track, dirtied when it begins",
	  track_prepare, track_begin_dirty, NULL, track_end_clean, drop, false },
};
const unsigned int strategies_n = ARRAY_SIZE(strategies);
