/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_cache_changes.c - what a miss of one cache costs, and an unmapping. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench_cache_inside.h"
#include "sys.h"
#include "tool.h"

#define MISS_BATCH 32
#define MISS_BATCHES 24
#define UNMAP_SAMPLES 40

/* ---------------------------------------------------------------------- a miss */

static char *miss_region(const struct worker *w, unsigned int i)
{
	return (char *)w->miss.addr + i * REGION_BYTES;
}

static int raw_set(struct worker *w, unsigned int slot, void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	__u64 tag = 0;
	int rc = io_uring_register_buffers_update_tag(&w->ring, slot, &iov, &tag, 1);

	return rc == 1 ? 0 : bench_trouble(rc ? rc : -EIO, "raw pin", strerror(-rc));
}

static int time_raw(struct worker *w, double *ns)
{
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = raw_set(w, i, miss_region(w, i), REGION_BYTES);
	*ns = stopwatch_ns(&watch) / MISS_BATCH;
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = raw_set(w, i, NULL, 0);
	return rc;
}

static int time_reg(struct worker *w, double *ns)
{
	struct pinmem_mr *mr[MISS_BATCH];
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = pinmem_reg(w->pm, miss_region(w, i), REGION_BYTES,
				PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr[i]);
	*ns = stopwatch_ns(&watch) / MISS_BATCH;
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = pinmem_dereg(mr[i], PINMEM_CLEAN, NULL);
	return rc ? bench_trouble(rc, "pinmem", pinmem_errmsg()) : 0;
}

static int time_miss(struct worker *w, double *ns)
{
	void *held[MISS_BATCH];
	struct stopwatch watch;
	int rc = 0;

	stopwatch_start(&watch);
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++) {
		rc = w->peer->get(w->cache, miss_region(w, i), REGION_BYTES, &held[i]);
		if (!rc)
			rc = w->peer->put(w->cache, held[i]);
	}
	*ns = stopwatch_ns(&watch) / MISS_BATCH;
	for (unsigned int i = 0; i < MISS_BATCH && !rc; i++)
		rc = w->peer->forget(w->cache, held[i], miss_region(w, i),
				     REGION_BYTES);
	return rc;
}

static int open_ring(struct worker *w)
{
	int rc;

	if (w->have_ring)
		return 0;
	rc = io_uring_queue_init(8, &w->ring, 0);
	if (rc)
		return bench_trouble(rc, "the ring of the raw interface",
				     strerror(-rc));
	rc = io_uring_register_buffers_sparse(&w->ring, MISS_BATCH);
	if (rc) {
		io_uring_queue_exit(&w->ring);
		return bench_trouble(rc, "its buffer table", strerror(-rc));
	}
	w->have_ring = true;
	return 0;
}

/* Three kinds in turns, in changing order; of the differences the medians. */
int do_miss(struct worker *w, const struct cache_request *req, struct bench_answer *a)
{
	static int (*const kinds[])(struct worker *, double *) = {
		[MISS_RAW] = time_raw, [MISS_REG] = time_reg, [MISS_MISS] = time_miss
	};
	double v[5][MISS_BATCHES];
	int rc = have_memory(w, &w->miss, MISS_BATCH * REGION_BYTES);

	(void)req;
	if (!rc)
		rc = open_ring(w);
	for (unsigned int b = 0; b < MISS_BATCHES && !rc; b++) {
		for (unsigned int k = 0; k < ARRAY_SIZE(kinds) && !rc; k++) {
			unsigned int kind = (b + k) % ARRAY_SIZE(kinds);

			rc = kinds[kind](w, &v[kind][b]);
		}
		v[MISS_OVER_RAW][b] = v[MISS_MISS][b] - v[MISS_RAW][b];
		v[MISS_OVER_REG][b] = v[MISS_MISS][b] - v[MISS_REG][b];
	}
	for (unsigned int k = 0; k < ARRAY_SIZE(v) && !rc; k++)
		a->v[k] = bench_median_of(v[k], MISS_BATCHES);
	return rc;
}

/* --------------------------------------------------------------------- munmap(2) */
/* A mapping of its own: a page that is not mapped for anything lies on either side, so
 * that it is not merged with its neighbours, nor they split. */
static char *lonely_mapping(void)
{
	char *p = mmap(NULL, REGION_BYTES + 2 * sys_page(), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p + sys_page(), REGION_BYTES, PROT_READ | PROT_WRITE)) {
		munmap(p, REGION_BYTES + 2 * sys_page());
		return NULL;
	}
	memory_touch(p + sys_page(), REGION_BYTES);
	return p + sys_page();
}

static void drop_neighbours(char *p)
{
	munmap(p - sys_page(), sys_page());
	munmap(p + REGION_BYTES, sys_page());
}

/* Pinned in the same way, but nobody watches: not libc's munmap(), which libucx has
 * changed. */
static int unmap_plain(struct worker *w, char *p, double *ns)
{
	struct pinmem_mr *mr;
	uint64_t begin;
	long rc;

	if (pinmem_reg(w->pm, p, REGION_BYTES, PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr))
		return bench_trouble(-EIO, "pinmem", pinmem_errmsg());
	begin = sys_now_ns();
	rc = syscall(SYS_munmap, p, REGION_BYTES);
	*ns = (double)(sys_now_ns() - begin);
	if (rc)
		return bench_trouble(-errno, "munmap", strerror(errno));
	return pinmem_dereg(mr, PINMEM_CLEAN, NULL)
		       ? bench_trouble(-EIO, "pinmem", pinmem_errmsg())
		       : 0;
}

static int unmap_cached(struct worker *w, char *p, double *ns)
{
	uint64_t begin;
	void *held;
	int rc = w->peer->get(w->cache, p, REGION_BYTES, &held);

	if (!rc)
		rc = w->peer->put(w->cache, held);
	if (rc)
		return rc;
	begin = sys_now_ns();
	rc = munmap(p, REGION_BYTES);
	*ns = (double)(sys_now_ns() - begin);
	if (rc)
		return bench_trouble(-errno, "munmap", strerror(errno));
	w->peer->settle(w->cache);
	return 0;
}

static int unmap_one(struct worker *w, bool cached, double *ns)
{
	char *p = lonely_mapping();
	int rc;

	if (!p)
		return bench_trouble(-errno, "mmap", strerror(errno));
	rc = (cached ? unmap_cached : unmap_plain)(w, p, ns);
	drop_neighbours(p);
	return rc;
}

int do_unmap(struct worker *w, const struct cache_request *req, struct bench_answer *a)
{
	double plain[UNMAP_SAMPLES], cached[UNMAP_SAMPLES], more[UNMAP_SAMPLES];
	int rc = 0;

	(void)req;
	for (unsigned int i = 0; i < UNMAP_SAMPLES && !rc; i++) {
		rc = unmap_one(w, i % 2, i % 2 ? &cached[i] : &plain[i]);
		if (!rc)
			rc = unmap_one(w, !(i % 2), i % 2 ? &plain[i] : &cached[i]);
		more[i] = cached[i] - plain[i];
	}
	if (rc)
		return rc;
	a->v[UNMAP_PLAIN] = bench_median_of(plain, UNMAP_SAMPLES);
	a->v[UNMAP_CACHED] = bench_median_of(cached, UNMAP_SAMPLES);
	a->v[UNMAP_MORE] = bench_median_of(more, UNMAP_SAMPLES);
	a->v[UNMAP_CACHED_P99] = cached[UNMAP_SAMPLES * 99 / 100];
	return 0;
}
