/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_ucx.c - libucx's registration cache, ucs_rcache, to be measured: set up
 * as UCX sets it up for its own transports (no limits, munmap events), over the same
 * pinner as libpinmem's.
 *
 * The headers are wanted to build it; the library is loaded at run time, and only into
 * the process that measures it, because it patches libc there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "bench_cache.h"

static int cannot(const char *what, const char *why)
{
	snprintf(bench_why, sizeof(bench_why), "libucx: %s%s", what, why);
	return -EOPNOTSUPP;
}

#if __has_include(<ucs/memory/rcache.h>) && __has_include(<ucm/api/ucm.h>)

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

/* The ABI that the headers describe. */
#define LIBRARY "libucs.so.0"
/* What UCX gives its transports: UCX_RCACHE_MEM_PRIO. */
#define EVENT_PRIORITY 1000

struct ucx {
	struct pinmem *pm;
	unsigned int access;
	int prot;
	ucs_rcache_t *rcache;
	__typeof__(&ucs_rcache_get) get;
	__typeof__(&ucs_rcache_region_put) put;
	__typeof__(&ucs_rcache_region_invalidate) invalidate;
	__typeof__(&ucs_status_string) status;
	uint64_t released; /* atomic */
};

struct ucx_region {
	ucs_rcache_region_t super;
	struct pinmem_mr *mr;
};

static ucs_status_t register_region(void *context, ucs_rcache_t *rcache, void *arg,
				    ucs_rcache_region_t *region, uint16_t flags)
{
	struct ucx_region *r = ucs_container_of(region, struct ucx_region, super);
	struct ucx *u = context;

	(void)rcache;
	(void)arg;
	(void)flags;
	return pinmem_reg(u->pm, (void *)region->super.start,
			  region->super.end - region->super.start, u->access, NULL,
			  &r->mr)
		       ? UCS_ERR_IO_ERROR
		       : UCS_OK;
}

static void release_region(void *context, ucs_rcache_t *rcache,
			   ucs_rcache_region_t *region)
{
	struct ucx_region *r = ucs_container_of(region, struct ucx_region, super);
	struct ucx *u = context;

	(void)rcache;
	pinmem_dereg(r->mr, PINMEM_CLEAN, NULL);
	__atomic_add_fetch(&u->released, 1, __ATOMIC_RELAXED);
}

static void dump_region(void *context, ucs_rcache_t *rcache,
			ucs_rcache_region_t *region, char *buf, size_t max)
{
	(void)context;
	(void)rcache;
	(void)region;
	snprintf(buf, max, "pinmem");
}

static const ucs_rcache_ops_t operations = {
	.mem_reg = register_region,
	.mem_dereg = release_region,
	.dump_region = dump_region,
};

static void *symbol(void *library, const char *name, bool *missing)
{
	void *p = dlsym(library, name);

	*missing |= !p;
	return p;
}

static int create(struct ucx *u)
{
	ucs_rcache_params_t params = {
		.region_struct_size = sizeof(struct ucx_region),
		.alignment = UCS_RCACHE_MIN_ALIGNMENT,
		.max_alignment = 4096,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = EVENT_PRIORITY,
		.ops = &operations,
		.context = u,
		.max_regions = ULONG_MAX,
		.max_size = SIZE_MAX,
		.max_unreleased = SIZE_MAX,
	};
	__typeof__(&ucs_rcache_create) rcache_create;
	bool missing = false;
	ucs_status_t status;
	void *library;

	setenv("UCX_LOG_LEVEL", "error", 0);
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);
	if (!library)
		return cannot("", dlerror());
	rcache_create = symbol(library, "ucs_rcache_create", &missing);
	u->get = symbol(library, "ucs_rcache_get", &missing);
	u->put = symbol(library, "ucs_rcache_region_put", &missing);
	u->invalidate = symbol(library, "ucs_rcache_region_invalidate", &missing);
	u->status = symbol(library, "ucs_status_string", &missing);
	if (missing)
		return cannot(LIBRARY, " does not have ucs_rcache's functions");
	status = rcache_create(&params, "pinmem", NULL, &u->rcache);
	return status == UCS_OK ? 0 : cannot("ucs_rcache_create: ", u->status(status));
}

static int ucx_open(struct pinmem *pm, bool write, void **cache, const char **monitor)
{
	struct ucx *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return -ENOMEM;
	u->pm = pm;
	u->access = write ? PINMEM_ACCESS_LOCAL_WRITE : 0;
	u->prot = write ? PROT_READ | PROT_WRITE : PROT_READ;
	rc = create(u);
	if (rc) {
		free(u);
		return rc;
	}
	*monitor = "hooks in libc";
	*cache = u;
	return 0;
}

static int ucx_hits(void *cache, char *base, const uint32_t *seq, unsigned int n)
{
	const struct ucx *u = cache;
	__typeof__(&ucs_rcache_get) get = u->get;
	__typeof__(&ucs_rcache_region_put) put = u->put;
	ucs_rcache_t *rcache = u->rcache;
	ucs_rcache_region_t *region;
	int prot = u->prot;

	for (unsigned int i = 0; i < n; i++) {
		ucs_status_t status = get(rcache, base + seq[i] * REGION_BYTES,
					  REGION_BYTES, prot, NULL, &region);

		if (status != UCS_OK)
			return cannot("ucs_rcache_get: ", u->status(status));
		put(rcache, region);
	}
	return 0;
}

static int ucx_get(void *cache, void *addr, size_t len, void **held)
{
	struct ucx *u = cache;
	ucs_rcache_region_t *region;
	ucs_status_t status = u->get(u->rcache, addr, len, u->prot, NULL, &region);

	if (status == UCS_ERR_IO_ERROR) /* register_region() said why */
		return cannot("ucs_rcache_get: ", pinmem_errmsg());
	if (status != UCS_OK)
		return cannot("ucs_rcache_get: ", u->status(status));
	*held = region;
	return 0;
}

static int ucx_put(void *cache, void *held)
{
	struct ucx *u = cache;

	u->put(u->rcache, held);
	return 0;
}

static struct pinmem_mr *ucx_region(void *held)
{
	return ((struct ucx_region *)held)->mr;
}

static void told(void *arg)
{
	(void)arg;
}

static int ucx_forget(void *cache, void *held, void *addr, size_t len)
{
	struct ucx *u = cache;
	uint64_t before = __atomic_load_n(&u->released, __ATOMIC_RELAXED);

	(void)addr;
	(void)len;
	u->invalidate(u->rcache, held, told, NULL);
	if (__atomic_load_n(&u->released, __ATOMIC_RELAXED) == before)
		return cannot("an invalidated region ", "was not released");
	return 0;
}

static void ucx_settle(void *cache)
{
	(void)cache; /* its hook releases before munmap(2) */
}

static uint64_t ucx_bytes(void *cache)
{
	(void)cache;
	return 0;
}

#else /* without libucx-dev */

static int ucx_open(struct pinmem *pm, bool write, void **cache, const char **monitor)
{
	(void)pm;
	(void)write;
	(void)cache;
	(void)monitor;
	return cannot("not built in", "");
}
#define ucx_hits NULL
#define ucx_get NULL
#define ucx_put NULL
#define ucx_region NULL
#define ucx_forget NULL
#define ucx_settle NULL
#define ucx_bytes NULL

#endif

const struct cache_peer ucx_cache_peer = {
	.name = "ucs_rcache",
	.open = ucx_open,
	.hits = ucx_hits,
	.get = ucx_get,
	.put = ucx_put,
	.region = ucx_region,
	.forget = ucx_forget,
	.settle = ucx_settle,
	.bytes = ucx_bytes,
};
