/* SPDX-License-Identifier: BSD-2-Clause */
/* torture_ucx.c - ucs_rcache over a pinner of ours; see torture_ucx.h. */
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include "torture.h"
#include "torture_ucx.h"

struct torture_ucx {
	struct pinmem *pm;
	unsigned int access;
	ucs_rcache_t *rcache;
	__typeof__(&ucs_rcache_get) get;
	__typeof__(&ucs_rcache_region_put) put;
	__typeof__(&ucs_rcache_destroy) destroy;
};

struct region {
	ucs_rcache_region_t super;
	struct pinmem_mr *mr;
};

static ucs_status_t reg(void *context, ucs_rcache_t *rcache, void *arg,
			ucs_rcache_region_t *region, uint16_t flags)
{
	struct region *r = ucs_container_of(region, struct region, super);
	struct torture_ucx *u = context;

	(void)rcache;
	(void)arg;
	(void)flags;
	return pinmem_reg(u->pm, (void *)region->super.start,
			  region->super.end - region->super.start, u->access, NULL,
			  &r->mr)
		       ? UCS_ERR_IO_ERROR
		       : UCS_OK;
}

static void dereg(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region)
{
	(void)context;
	(void)rcache;
	pinmem_dereg(ucs_container_of(region, struct region, super)->mr, PINMEM_CLEAN,
		     NULL);
}

static void dump(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region,
		 char *buf, size_t max)
{
	(void)context;
	(void)rcache;
	(void)region;
	if (max)
		*buf = '\0';
}

static const ucs_rcache_ops_t operations = { reg, dereg, dump };

static void *symbol(void *library, const char *name)
{
	void *p = dlsym(library, name);

	if (!p)
		die("libucs has no %s", name);
	return p;
}

struct torture_ucx *torture_ucx_open(struct pinmem *pm, unsigned int access)
{
	struct torture_ucx *u = calloc(1, sizeof(*u));
	void *library = dlopen("libucs.so.0", RTLD_NOW | RTLD_GLOBAL);
	ucs_rcache_params_t params = {
		.region_struct_size = sizeof(struct region),
		.alignment = UCS_RCACHE_MIN_ALIGNMENT,
		.max_alignment = PAGE,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = 1000, /* as UCX's transports ask for */
		.ops = &operations,
		.context = u,
		.max_regions = ULONG_MAX,
		.max_size = SIZE_MAX,
		.max_unreleased = SIZE_MAX,
	};
	__typeof__(&ucs_rcache_create) create;

	if (!u || !library)
		die("libucs.so.0 (Debian: libucx0) cannot be loaded");
	create = symbol(library, "ucs_rcache_create");
	u->get = symbol(library, "ucs_rcache_get");
	u->put = symbol(library, "ucs_rcache_region_put");
	u->destroy = symbol(library, "ucs_rcache_destroy");
	u->pm = pm;
	u->access = access;
	if (create(&params, "torture", NULL, &u->rcache) != UCS_OK)
		die("ucs_rcache_create failed");
	return u;
}

void torture_ucx_close(struct torture_ucx *u)
{
	u->destroy(u->rcache);
	free(u);
}

int torture_ucx_get(struct torture_ucx *u, void *at, size_t len, void **region,
		    struct pinmem_mr **mr)
{
	ucs_rcache_region_t *r;

	if (u->get(u->rcache, at, len, PROT_READ | PROT_WRITE, NULL, &r) != UCS_OK)
		return -1;
	*region = r;
	*mr = ucs_container_of(r, struct region, super)->mr;
	return 0;
}

void torture_ucx_put(struct torture_ucx *u, void *region)
{
	u->put(u->rcache, region);
}
