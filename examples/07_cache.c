/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 07_cache - register once, however often the same memory is used.
 *
 * A program that sends from buffers it is handed does not know whether it has seen one
 * before. It asks the cache each time: the first get registers, later ones find the
 * registration in nanoseconds. Nobody tells the cache when memory is unmapped and the
 * addresses are used for something else; it learns that from the kernel.
 *
 *   usage: 07_cache
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "pinmem.h"

#define BUFFERS 4
#define LEN (1u << 20)
#define USES 1000

static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/* What a middleware does for each message. What it was got for is not changed while it
 * is held; how it was used is told when it is put. */
static int use(struct pinmem_cache *cache, char *buf, size_t len)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct pinmem_mr *mr;
	int rc = pinmem_cache_get(cache, buf, len, PINMEM_ACCESS_LOCAL_WRITE, &mr);

	if (rc)
		return rc;
	/* the region may begin before buf: another get may have asked for more */
	rc = pinmem_mr_query(mr, &info);
	if (!rc)
		rc = pinmem_mr_segment(mr, (uint64_t)(buf - (char *)info.addr), &seg);
	/* ... the device moves bytes, told seg.lkey or seg.buf_index ... */
	pinmem_cache_put(mr, PINMEM_DIRTY);
	return rc;
}

static int show(struct pinmem_cache *cache, const char *when)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };
	int rc = pinmem_cache_stats(cache, &s);

	if (rc)
		return rc;
	printf("%s: %llu registrations, %llu hits; kept: %llu; unmapped: %llu\n", when,
	       (unsigned long long)s.registrations, (unsigned long long)s.hits,
	       (unsigned long long)s.regions, (unsigned long long)s.unmapped);
	return 0;
}

static int run(struct pinmem_cache *cache, char *mem)
{
	int rc = 0;

	for (int i = 0; i < USES && !rc; i++)
		rc = use(cache, mem + (size_t)(i % BUFFERS) * LEN, LEN / 2);
	if (!rc)
		rc = show(cache, "1000 uses of 4 buffers");
	if (rc)
		return rc;
	/* the same addresses, but other memory: behind the cache's back */
	if (mmap(mem, BUFFERS * LEN, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -1;
	rc = show(cache, "mapped anew");
	for (int i = 0; i < BUFFERS && !rc; i++)
		rc = use(cache, mem + (size_t)i * LEN, LEN / 2);
	return rc ? rc : show(cache, "4 uses more");
}

int main(void)
{
	struct pinmem_cache *cache;
	struct pinmem *pm;
	char *mem;
	int rc;

	mem = mmap(NULL, BUFFERS * LEN, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	rc = pinmem_open(NULL, &pm);
	if (rc)
		return failed("pinmem_open", rc);
	rc = pinmem_cache_create(pm, NULL, &cache);
	if (rc) /* PINMEM_MONITOR_CALLER works everywhere, but then we must tell it */
		return failed("pinmem_cache_create", rc);
	rc = run(cache, mem);
	if (rc)
		return failed("the cache", rc);
	rc = pinmem_cache_destroy(cache); /* releases what is kept */
	if (rc)
		return failed("pinmem_cache_destroy", rc);
	return pinmem_close(pm) ? failed("pinmem_close", rc) : 0;
}
