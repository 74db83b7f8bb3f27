/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exports.c - the calls of libibverbs that libpinmem-verbs.so stands before, under
 * libibverbs' symbol versions (preload.map), and the way to libibverbs' own.
 */
#include "preload.h"

#include <dlfcn.h>
#include <stdlib.h>

__thread unsigned int preload_inside;

/* The next one in the search order, which may be another tool's; else libibverbs',
 * which this library needs, so it is there. */
static void *find(const char *name, const char *version)
{
	void *found = dlvsym(RTLD_NEXT, name, version), *handle;

	if (found)
		return found;
	handle = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);
	found = handle ? dlvsym(handle, name, version) : NULL;
	if (!found) {
		log_line("libibverbs.so.1 has no %s of %s", name, version);
		abort();
	}
	return found;
}

/* Threads that come together find the same. */
const struct verbs_calls *real_verbs(void)
{
	static struct verbs_calls calls;
	static bool ready; /* atomic */

	if (__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		return &calls;
	*(void **)&calls.reg_mr = find("ibv_reg_mr_iova2", "IBVERBS_1.8");
	*(void **)&calls.rereg_mr = find("ibv_rereg_mr", "IBVERBS_1.1");
	*(void **)&calls.dereg_mr = find("ibv_dereg_mr", "IBVERBS_1.1");
	*(void **)&calls.dealloc_pd = find("ibv_dealloc_pd", "IBVERBS_1.1");
	*(void **)&calls.unimport_pd = find("ibv_unimport_pd", "IBVERBS_1.10");
	*(void **)&calls.close_device = find("ibv_close_device", "IBVERBS_1.1");
	__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	return &calls;
}

PINMEM_API struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
				     int access)
{
	return preload_reg("ibv_reg_mr", pd, addr, length, (uintptr_t)addr,
			   (unsigned int)access);
}

PINMEM_API struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length,
					  uint64_t iova, int access)
{
	return preload_reg("ibv_reg_mr_iova", pd, addr, length, iova,
			   (unsigned int)access);
}

PINMEM_API struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t length,
					   uint64_t iova, unsigned int access)
{
	return preload_reg("ibv_reg_mr_iova2", pd, addr, length, iova, access);
}

PINMEM_API int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr,
			    size_t length, int access)
{
	return preload_rereg(mr, flags, pd, addr, length, access);
}

PINMEM_API int ibv_dereg_mr(struct ibv_mr *mr)
{
	return preload_dereg(mr);
}

PINMEM_API int ibv_dealloc_pd(struct ibv_pd *pd)
{
	return preload_dealloc_pd(pd);
}

PINMEM_API void ibv_unimport_pd(struct ibv_pd *pd)
{
	preload_unimport_pd(pd);
}

PINMEM_API int ibv_close_device(struct ibv_context *context)
{
	return preload_close_device(context);
}
