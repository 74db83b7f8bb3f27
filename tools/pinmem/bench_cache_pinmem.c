/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_cache_pinmem.c - libpinmem's cache, and libpinmem without one, to be measured.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"
#include "bench_cache.h"
#include "sys.h"

#define MAX_REGIONS (2u * LARGE_REGIONS)
#define MAX_BYTES (1ull << 40)
#define SETTLE_NS 1000000000ull

/* Called through pointers, as with -fno-plt, and as libucx is here. */
struct ours {
	struct pinmem *pm;
	struct pinmem_cache *cache;
	unsigned int access;
	__typeof__(&pinmem_cache_get) get;
	__typeof__(&pinmem_cache_put) put;
};

static int trouble(int rc)
{
	snprintf(bench_why, sizeof(bench_why), "pinmem: %s", pinmem_errmsg());
	return rc;
}

static int cache_create(struct ours *o)
{
	struct pinmem_cache_options opts = { .size = sizeof(opts),
					     .max_regions = MAX_REGIONS,
					     .max_bytes = MAX_BYTES };
	int rc = pinmem_cache_create(o->pm, &opts, &o->cache);

	if (rc != -EOPNOTSUPP)
		return rc;
	/* hits can be measured without a monitor, and the table says so */
	opts.monitor = PINMEM_MONITOR_CALLER;
	return pinmem_cache_create(o->pm, &opts, &o->cache);
}

static int ours_open(struct pinmem *pm, bool write, void **cache, const char **monitor)
{
	struct pinmem_cache_stats stats = { .size = sizeof(stats) };
	struct ours *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return -ENOMEM;
	o->pm = pm;
	o->access = write ? PINMEM_ACCESS_LOCAL_WRITE : 0;
	o->get = pinmem_cache_get;
	o->put = pinmem_cache_put;
	rc = cache_create(o);
	if (!rc)
		rc = pinmem_cache_stats(o->cache, &stats);
	if (rc) {
		free(o);
		return trouble(rc);
	}
	*monitor = pinmem_monitor_name(stats.monitor);
	*cache = o;
	return 0;
}

static int ours_hits(void *cache, char *base, const uint32_t *seq, unsigned int n)
{
	const struct ours *o = cache;
	__typeof__(&pinmem_cache_get) get = o->get;
	__typeof__(&pinmem_cache_put) put = o->put;
	struct pinmem_cache *c = o->cache;
	unsigned int access = o->access;
	struct pinmem_mr *mr;

	for (unsigned int i = 0; i < n; i++)
		if (get(c, base + seq[i] * REGION_BYTES, REGION_BYTES, access, &mr) ||
		    put(mr, PINMEM_CLEAN))
			return trouble(-EIO);
	return 0;
}

static int ours_get(void *cache, void *addr, size_t len, void **held)
{
	struct ours *o = cache;
	struct pinmem_mr *mr;
	int rc;

	rc = pinmem_cache_get(o->cache, addr, len, o->access, &mr);
	if (rc)
		return trouble(rc);
	*held = mr;
	return 0;
}

static int ours_put(void *cache, void *held)
{
	(void)cache;
	return pinmem_cache_put(held, PINMEM_CLEAN) ? trouble(-EIO) : 0;
}

static struct pinmem_mr *ours_region(void *held)
{
	return held;
}

static int ours_forget(void *cache, void *held, void *addr, size_t len)
{
	(void)held;
	return pinmem_cache_invalidate(((struct ours *)cache)->cache, addr, len) < 0
		       ? trouble(-EIO)
		       : 0;
}

static void ours_settle(void *cache)
{
	const struct timespec nap = { .tv_nsec = 50000 };
	struct pinmem_cache_stats stats = { .size = sizeof(stats), .leaving = 1 };
	uint64_t begin = sys_now_ns();

	while (stats.leaving && sys_now_ns() - begin < SETTLE_NS) {
		if (pinmem_cache_stats(((struct ours *)cache)->cache, &stats))
			return;
		if (stats.leaving)
			nanosleep(&nap, NULL);
	}
}

static uint64_t ours_bytes(void *cache)
{
	struct pinmem_cache_stats stats = { .size = sizeof(stats) };

	return pinmem_cache_stats(((struct ours *)cache)->cache, &stats) ? 0
									 : stats.memory;
}

const struct cache_peer pinmem_cache_peer = {
	.name = "pinmem",
	.open = ours_open,
	.hits = ours_hits,
	.get = ours_get,
	.put = ours_put,
	.region = ours_region,
	.forget = ours_forget,
	.settle = ours_settle,
	.bytes = ours_bytes,
};

/* ------------------------------------------------------------- without a cache */

static int bare_open(struct pinmem *pm, bool write, void **cache, const char **monitor)
{
	struct ours *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->pm = pm;
	o->access = write ? PINMEM_ACCESS_LOCAL_WRITE : 0;
	*monitor = "";
	*cache = o;
	return 0;
}

static int bare_get(void *cache, void *addr, size_t len, void **held)
{
	struct ours *o = cache;
	struct pinmem_mr *mr;

	if (pinmem_reg(o->pm, addr, len, o->access, NULL, &mr))
		return trouble(-EIO);
	*held = mr;
	return 0;
}

static int bare_put(void *cache, void *held)
{
	(void)cache;
	(void)held; /* stays, as in a cache */
	return 0;
}

const struct cache_peer bare_regions = {
	.name = "bare regions",
	.open = bare_open,
	.get = bare_get,
	.put = bare_put,
};
