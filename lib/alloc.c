/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc.c - anonymous memory made for pinning: on huge pages where there are any,
 * on one node where asked, and all there before it is handed out. For the caller
 * (pinmem_alloc) and for the copies of staged regions (block_map).
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THP_SIZE (2ul << 20) /* a PMD on x86-64, and on arm64 with 4 KiB pages */

/* The default hugetlb page size in bytes; 0 without hugetlb. */
static size_t hugetlb_size(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Hugepagesize: %lu kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

static void *map_anonymous(size_t len, int flags)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static int finish(struct block *b, unsigned int flags, int node,
		  const struct populate_how *how)
{
	uintptr_t start = (uintptr_t)b->addr;
	int rc = 0;

	if (node >= 0)
		rc = place_bind(start, start + b->mapped, node);
	if (!rc && !(flags & PINMEM_ALLOC_NO_POPULATE))
		rc = populate_write(start, start + b->mapped, how);
	if (rc)
		block_unmap(b);
	return rc;
}

/*
 * mmap() reserves the pages, but not their node: a bound fault finding its node's
 * pool empty would be a SIGBUS later. So what is bound is also populated here, and
 * -EFAULT from that means: no such page on that node.
 */
static int map_hugetlb(size_t len, unsigned int flags, int node,
		       const struct populate_how *how, struct block *b)
{
	size_t huge = hugetlb_size();

	if (!huge || len < huge)
		return -ENOMEM;
	if ((flags & PINMEM_ALLOC_NO_POPULATE) && node >= 0)
		return -ENOMEM;
	b->mapped = (len + huge - 1) / huge * huge;
	b->addr = map_anonymous(b->mapped, MAP_HUGETLB);
	if (b->addr == MAP_FAILED)
		return -ENOMEM;
	return finish(b, flags, node, how);
}

/* A 2 MiB aligned mapping, cut out of one that is 2 MiB longer. */
static int map_thp(size_t len, unsigned int flags, int node,
		   const struct populate_how *how, struct block *b)
{
	size_t head, slack = THP_SIZE;
	char *raw;

	b->mapped = (len + THP_SIZE - 1) / THP_SIZE * THP_SIZE;
	raw = map_anonymous(b->mapped + slack, 0);
	if (raw == MAP_FAILED)
		return fail(errno, "cannot map %zu bytes: %s", b->mapped,
			    strerror(errno));
	head = -(uintptr_t)raw % THP_SIZE;
	if (head)
		munmap(raw, head);
	if (slack - head)
		munmap(raw + head + b->mapped, slack - head);
	b->addr = raw + head;
	/* refused where THP is compiled out: then these are base pages */
	madvise(b->addr, b->mapped, MADV_HUGEPAGE);
	return finish(b, flags, node, how);
}

static int map_base(size_t len, unsigned int flags, int node,
		    const struct populate_how *how, struct block *b)
{
	size_t page = page_size();

	b->mapped = (len + page - 1) / page * page;
	b->addr = map_anonymous(b->mapped, 0);
	if (b->addr == MAP_FAILED)
		return fail(errno, "cannot map %zu bytes: %s", b->mapped,
			    strerror(errno));
	if (flags & PINMEM_ALLOC_BASE_PAGES)
		madvise(b->addr, b->mapped, MADV_NOHUGEPAGE);
	return finish(b, flags, node, how);
}

int block_map(size_t len, unsigned int flags, int node, const struct populate_how *how,
	      struct block *out)
{
	struct block b = { 0 };
	int rc;

	if (len > SIZE_MAX / 2)
		return fail(ENOMEM, "%zu bytes are more than an address space holds",
			    len);
	if ((flags & PINMEM_ALLOC_BASE_PAGES) || len < THP_SIZE) {
		rc = map_base(len, flags, node, how, &b);
	} else {
		rc = map_hugetlb(len, flags, node, how, &b);
		if (rc == -ENOMEM || rc == -EFAULT)
			rc = map_thp(len, flags, node, how, &b);
	}
	if (!rc)
		*out = b;
	return rc;
}

void block_unmap(struct block *b)
{
	if (b->addr)
		munmap(b->addr, b->mapped);
	b->addr = NULL;
}

static int alloc_options_check(const struct pinmem_alloc_options *o)
{
	const unsigned int known = PINMEM_ALLOC_BASE_PAGES | PINMEM_ALLOC_NO_POPULATE;

	if (o->flags & ~known)
		return fail(EINVAL, "flags 0x%x are unknown", o->flags & ~known);
	if ((unsigned int)o->placement > PINMEM_PLACE_NODE)
		return fail(EINVAL, "placement %d is unknown", (int)o->placement);
	return 0;
}

int pinmem_alloc(struct pinmem *pm, size_t len, const struct pinmem_alloc_options *opts,
		 void **addr)
{
	struct pinmem_alloc_options o;
	struct populate_how how;
	struct allocation *a;
	int rc, node;

	rc = pinner_check(pm);
	if (!rc)
		rc = options_copy(&o, sizeof(o), opts, "pinmem_alloc_options");
	if (!rc)
		rc = alloc_options_check(&o);
	if (rc)
		return rc;
	if (!len || !addr)
		return fail(EINVAL, len ? "no place for the address: addr is NULL"
					: "len is 0");
	if (o.placement == PINMEM_PLACE_ANY)
		o.placement = PINMEM_PLACE_DEVICE;
	rc = place_resolve(o.placement, o.node, pm->be->caps.node, &node);
	if (rc)
		return rc;
	a = calloc(1, sizeof(*a));
	if (!a)
		return fail(ENOMEM, "no memory to remember an allocation");
	how = (struct populate_how){ o.threads, o.progress, o.progress_arg };
	rc = block_map(len, o.flags, node, &how, &a->block);
	if (rc) {
		free(a);
		return rc;
	}
	a->len = len;
	pthread_mutex_lock(&pm->lock);
	a->next = pm->allocations;
	pm->allocations = a;
	pthread_mutex_unlock(&pm->lock);
	*addr = a->block.addr;
	return 0;
}

/* Is a region pinned in place in it? (pm->lock held) */
static bool in_use(const struct pinmem *pm, const struct block *b)
{
	uintptr_t start = (uintptr_t)b->addr, end = start + b->mapped;

	for (const struct pinmem_mr *mr = pm->first; mr; mr = mr->next)
		if (mr->addr < end && mr->addr + mr->len > start)
			return true;
	return false;
}

int pinmem_free(struct pinmem *pm, void *addr, size_t len)
{
	struct allocation **at, *a;
	int rc = pinner_check(pm);

	if (rc)
		return rc;
	pthread_mutex_lock(&pm->lock);
	for (at = &pm->allocations; (a = *at); at = &a->next)
		if (a->block.addr == addr && a->len == len)
			break;
	if (!a) {
		rc = fail(EINVAL, "%p +%zu was not given out by pinmem_alloc()", addr,
			  len);
	} else if (in_use(pm, &a->block)) {
		rc = fail(EBUSY, "a region lies in %p +%zu: release it first", addr,
			  len);
	} else {
		*at = a->next;
	}
	pthread_mutex_unlock(&pm->lock);
	if (rc)
		return rc;
	block_unmap(&a->block);
	free(a);
	return 0;
}
