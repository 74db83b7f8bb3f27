/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture_world.c - a cache and the device that tells whether it is right.
 *
 * io_uring: WRITE_FIXED and READ_FIXED between the region and a memfd. verbs: RDMA
 * WRITE from the region to a peer's buffer, and from the peer into the region, between
 * queue pairs on two devices. The device knows the region by its index or key only.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../examples/rc.h"
#include "torture.h"
#include "torture_ucx.h"

#define N 64 /* bytes that an oracle's question moves */
#define RW (PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE)

struct world {
	enum cache_kind kind;
	unsigned int access; /* what this device can give, and the oracle needs */
	struct pinmem *pm;
	struct pinmem_cache *cache;
	struct torture_ucx *ucx;
	pthread_mutex_t lock; /* the device, and all below */
	int file;
	struct pinmem *peer_pm;
	struct pinmem_mr *peer_mr;
	struct pinmem_segment peer_seg;
	struct rc rc, peer_rc;
	char *peer;
};

static void must(int rc, const char *what)
{
	if (rc)
		die("%s: %d: %s", what, rc, pinmem_errmsg());
}

/* ------------------------------------------------------------------- a device */

static void open_verbs(struct world *w, const char *devices)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_VERBS };
	char name[64];
	const char *comma = strchr(devices, ',');

	if (!comma)
		die("two verbs devices are needed: rxe0,rxe1");
	snprintf(name, sizeof(name), "%.*s", (int)(comma - devices), devices);
	o.device = name;
	must(pinmem_open(&o, &w->pm), "pinmem_open");
	o.device = comma + 1;
	must(pinmem_open(&o, &w->peer_pm), "pinmem_open");
	w->peer = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	must(pinmem_reg(w->peer_pm, w->peer, PAGE, RW, NULL, &w->peer_mr), "the peer");
	w->peer_seg.size = sizeof(w->peer_seg);
	must(pinmem_mr_segment(w->peer_mr, 0, &w->peer_seg), "the peer's segment");
	if (rc_open(&w->rc, pinmem_pd(w->pm)) ||
	    rc_open(&w->peer_rc, pinmem_pd(w->peer_pm)) ||
	    rc_connect(&w->rc, &w->peer_rc.self) ||
	    rc_connect(&w->peer_rc, &w->rc.self))
		die("the queue pairs cannot be connected");
}

static void open_uring(struct world *w)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_URING };

	must(pinmem_open(&o, &w->pm), "pinmem_open");
	w->file = memfd_create("torture", MFD_CLOEXEC);
	if (w->file < 0 || ftruncate(w->file, PAGE))
		die("memfd_create: %s", strerror(errno));
}

static enum pinmem_monitor monitor_of(struct world *w)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	must(pinmem_cache_stats(w->cache, &s), "pinmem_cache_stats");
	return s.monitor;
}

bool world_sees_all(struct world *w)
{
	return w->cache && monitor_of(w) == PINMEM_MONITOR_PIN_TRACK;
}

/* Files are to be kept: userfaultfd's monitor must take our word for it. */
static void open_cache(struct world *w, struct pinmem_cache_options *o)
{
	must(pinmem_cache_create(w->pm, o, &w->cache), "pinmem_cache_create");
	if (monitor_of(w) == PINMEM_MONITOR_PIN_TRACK)
		return;
	must(pinmem_cache_destroy(w->cache), "pinmem_cache_destroy");
	o->flags = PINMEM_CACHE_TRUST_FILES;
	must(pinmem_cache_create(w->pm, o, &w->cache), "pinmem_cache_create");
}

struct world *world_open(enum cache_kind kind, const char *device,
			 enum pinmem_monitor monitor)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .max_regions = 4096,
					  .max_bytes = 512 * MiB };
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		die("no memory");
	w->kind = kind;
	w->access = device ? RW : PINMEM_ACCESS_LOCAL_WRITE;
	w->file = -1;
	pthread_mutex_init(&w->lock, NULL);
	if (device)
		open_verbs(w, device);
	else
		open_uring(w);
	if (kind == CACHE_UCX) {
		w->ucx = torture_ucx_open(w->pm, w->access);
		return w;
	}
	o.monitor = kind == CACHE_NONE_TOLD ? PINMEM_MONITOR_CALLER : monitor;
	open_cache(w, &o);
	return w;
}

uint64_t world_close(struct world *w)
{
	struct pinmem_stats s = { .size = sizeof(s) };

	if (w->ucx)
		torture_ucx_close(w->ucx);
	else
		must(pinmem_cache_destroy(w->cache), "pinmem_cache_destroy");
	must(pinmem_stats(w->pm, &s), "pinmem_stats");
	if (w->peer_pm) {
		rc_close(&w->rc);
		rc_close(&w->peer_rc);
		must(pinmem_dereg(w->peer_mr, PINMEM_DIRTY, NULL), "the peer's end");
		must(pinmem_close(w->peer_pm), "the peer's end");
		munmap(w->peer, PAGE);
	}
	if (!s.live_regions)
		must(pinmem_close(w->pm), "pinmem_close");
	if (w->file >= 0)
		close(w->file);
	free(w);
	return s.live_regions;
}

struct pinmem_cache *world_cache(struct world *w)
{
	return w->cache;
}

uint64_t world_registrations(struct world *w)
{
	struct pinmem_stats s = { .size = sizeof(s) };

	must(pinmem_stats(w->pm, &s), "pinmem_stats");
	return s.registered;
}

int world_get(struct world *w, void *at, size_t len, bool more, struct held *h)
{
	unsigned int access = w->access;

	if (more && w->peer_pm)
		access |= PINMEM_ACCESS_REMOTE_READ;
	h->ucx = NULL;
	if (w->ucx)
		return torture_ucx_get(w->ucx, at, len, &h->ucx, &h->mr);
	return pinmem_cache_get(w->cache, at, len, access, &h->mr);
}

void world_put(struct world *w, struct held *h, bool dirty)
{
	if (w->ucx)
		torture_ucx_put(w->ucx, h->ucx);
	else
		must(pinmem_cache_put(h->mr, dirty ? PINMEM_DIRTY : PINMEM_CLEAN),
		     "pinmem_cache_put");
}

/* ------------------------------------------------------------------ the oracle */

static bool ring_op(struct world *w, const struct pinmem_segment *s, void *at,
		    bool from_memory)
{
	struct io_uring *ring = pinmem_uring(w->pm);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	bool ok;

	if (from_memory)
		io_uring_prep_write_fixed(sqe, w->file, at, N, 0, s->buf_index);
	else
		io_uring_prep_read_fixed(sqe, w->file, at, N, 0, s->buf_index);
	if (io_uring_submit_and_wait(ring, 1) != 1 || io_uring_wait_cqe(ring, &cqe))
		die("io_uring: %s", strerror(errno));
	ok = cqe->res == N;
	io_uring_cqe_seen(ring, cqe);
	return ok;
}

/* To where the CPU reads it: a file, or the peer's buffer */
static bool device_reads(struct world *w, const struct pinmem_segment *s, void *at,
			 char out[N])
{
	bool ok;

	if (!w->peer_pm)
		return ring_op(w, s, at, true) && pread(w->file, out, N, 0) == N;
	ok = !rc_write(&w->rc, (uintptr_t)at, s->lkey, w->peer_seg.iova,
		       w->peer_seg.rkey, N);
	memcpy(out, w->peer, N);
	return ok;
}

static bool device_writes(struct world *w, const struct pinmem_segment *s, void *at,
			  const char in[N])
{
	if (!w->peer_pm)
		return pwrite(w->file, in, N, 0) == N && ring_op(w, s, at, false);
	memcpy(w->peer, in, N);
	return !rc_write(&w->peer_rc, w->peer_seg.iova, w->peer_seg.lkey, (uintptr_t)at,
			 s->rkey, N);
}

static void pattern(char to[N], uint64_t seed)
{
	struct rng r = { seed | 1 };

	for (size_t i = 0; i < N; i += sizeof(uint64_t)) {
		uint64_t v = rng_next(&r);

		memcpy(to + i, &v, sizeof(v));
	}
}

enum found world_verify(struct world *w, const struct held *h, void *at, uint64_t seed)
{
	struct pinmem_segment s = { .size = sizeof(s) };
	char want[N], got[N];
	enum found f = FOUND_RIGHT;

	must(pinmem_mr_segment(h->mr, 0, &s), "pinmem_mr_segment");
	if ((char *)at < (char *)s.addr || (char *)at + N > (char *)s.addr + s.len)
		return FOUND_STALE; /* not even the same addresses */
	pthread_mutex_lock(&w->lock);
	pattern(want, seed);
	memcpy(at, want, N);
	if (!device_reads(w, &s, at, got))
		f = FOUND_ERROR;
	else if (memcmp(got, want, N))
		f = FOUND_STALE;
	pattern(want, ~seed);
	if (f == FOUND_RIGHT && !device_writes(w, &s, at, want))
		f = FOUND_ERROR;
	else if (f == FOUND_RIGHT && memcmp(at, want, N))
		f = FOUND_STALE;
	pthread_mutex_unlock(&w->lock);
	return f;
}

bool world_touch(struct world *w, const struct held *h)
{
	struct pinmem_segment s = { .size = sizeof(s) };
	char got[N];
	bool ok;

	must(pinmem_mr_segment(h->mr, 0, &s), "pinmem_mr_segment");
	pthread_mutex_lock(&w->lock);
	ok = device_reads(w, &s, s.addr, got);
	pthread_mutex_unlock(&w->lock);
	return ok;
}
