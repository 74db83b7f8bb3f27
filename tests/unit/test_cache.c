/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_cache.c - the calls of the cache over the fake backend: every answer and its
 * sentence, who gets which region, and who releases it when.
 */
#include "suite.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "fake.h"
#include "fault.h"

#define PAGE 4096ul
#define PAGES 256ul
#define R 0
#define RW PINMEM_ACCESS_LOCAL_WRITE
#define RELAXED PINMEM_ACCESS_RELAXED_ORDERING

/* A cache, its pinner, and memory to register. */
struct world {
	struct pinmem *pm;
	struct pinmem_cache *cache;
	char *mem;
};

static struct pinmem *pinner(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open_ops(&fake_ops, &o, "test", &pm), 0);
	return pm;
}

static struct pinmem_cache *cache_of(struct pinmem *pm, uint64_t max_regions)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_CALLER,
					  .max_regions = max_regions };
	struct pinmem_cache *c = NULL;

	CHECK_RC(pinmem_cache_create(pm, &o, &c), 0);
	return c;
}

static char *memory(void)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static struct world world(void)
{
	struct world w = { .pm = pinner(), .mem = memory() };

	w.cache = cache_of(w.pm, 100);
	return w;
}

static void world_end(struct world *w)
{
	CHECK_RC(pinmem_cache_destroy(w->cache), 0);
	CHECK_RC(pinmem_close(w->pm), 0);
	munmap(w->mem, PAGES * PAGE);
}

static struct pinmem_cache_stats stats(struct pinmem_cache *c)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	CHECK_RC(pinmem_cache_stats(c, &s), 0);
	return s;
}

static struct pinmem_mr *get(const struct world *w, size_t page, size_t pages,
			     unsigned int access)
{
	struct pinmem_mr *mr = NULL;

	CHECK_RC(pinmem_cache_get(w->cache, w->mem + page * PAGE, pages * PAGE, access,
				  &mr),
		 0);
	return mr;
}

static void put(struct pinmem_mr *mr)
{
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
}

static void touch(const struct world *w, size_t page, size_t pages, unsigned int access)
{
	put(get(w, page, pages, access));
}

static int invalidate(const struct world *w, size_t page, size_t pages)
{
	return pinmem_cache_invalidate(w->cache, w->mem + page * PAGE, pages * PAGE);
}

static struct pinmem_mr_info info_of(const struct pinmem_mr *mr)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };

	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	return i;
}

/* Is it these pages, with these rights? */
static bool is_region(const struct world *w, const struct pinmem_mr *mr, size_t page,
		      size_t pages, unsigned int access)
{
	struct pinmem_mr_info i = info_of(mr);

	if (i.addr == w->mem + page * PAGE && i.len == pages * PAGE &&
	    i.access == access)
		return true;
	printf("\n    page %td, %" PRIu64 " pages, access 0x%x\n",
	       ((char *)i.addr - w->mem) / (ptrdiff_t)PAGE, i.len / PAGE, i.access);
	return false;
}

/* As where membarrier(2) is forbidden. */
static void without_membarrier(struct world *w)
{
	static const uint32_t never;

	w->cache->hands.unfenced = false;
	w->cache->gate = &never;
	w->cache->gate_open = 1;
}

static void wait_ms(long ms)
{
	struct timespec t = { 0, ms * 1000000 };

	nanosleep(&t, NULL);
}

static void on_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, fn, arg));
	pthread_join(t, NULL);
}

/* ------------------------------------------------------- a seccomp filter, first */

static void *touch_some(void *arg)
{
	const struct world *w = arg;

	for (size_t i = 0; i < 20; i++)
		touch(w, i % 4 * 2, 1, RW);
	return NULL;
}

static int use_without_membarrier(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { ARRAY_SIZE(code), code };
	struct world w;
	bool unfenced;

	(void)arg;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		return 77;
	w = world();
	unfenced = w.cache->hands.unfenced;
	touch_some(&w);
	on_thread(touch_some, &w);
	if (stats(w.cache).hits != 36 || stats(w.cache).misses != 4 ||
	    invalidate(&w, 0, 8) != 4)
		return 2;
	world_end(&w);
	return unfenced || fake_live_pins() || CU_get_number_of_failures();
}

/* Must be the first one: what was found out about membarrier(2) is remembered. */
static void a_cache_works_where_seccomp_forbids_membarrier(void)
{
	int rc = in_child(use_without_membarrier, NULL);

	if (rc == 77)
		suite_skip("no seccomp filters here");
	else
		CHECK_RC(rc, 0);
}

/* ------------------------------------------------------------------ creation */

static int never_called(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	(void)phase, (void)done, (void)total, (void)arg;
	return 0;
}

static int create_with(struct pinmem *pm, struct pinmem_cache_options o,
		       const struct pinmem_reg_options *reg)
{
	struct pinmem_cache *c = (void *)1;
	int rc;

	if (!o.size)
		o.size = sizeof(o);
	o.reg = reg;
	rc = pinmem_cache_create(pm, &o, &c);
	CHECK((rc == 0) == (c != (void *)1)); /* written on success only */
	if (!rc)
		CHECK_RC(pinmem_cache_destroy(c), 0);
	return rc;
}

static void create_rejects_what_makes_no_sense(void)
{
	struct pinmem_cache_options o = { .size = 0 };
	struct pinmem *pm = pinner();

	CHECK_RC(create_with(NULL, o, NULL), -EINVAL);
	CHECK_MSG("the pinner is NULL");
	CHECK_RC(pinmem_cache_create(pm, NULL, NULL), -EINVAL);
	CHECK_MSG("cache is NULL");
	o = (struct pinmem_cache_options){ .size = 4 };
	CHECK_RC(create_with(pm, o, NULL), -EINVAL);
	CHECK_MSG("sizeof(struct pinmem_cache_options)");
	o = (struct pinmem_cache_options){ .flags = 6 };
	CHECK_RC(create_with(pm, o, NULL), -EINVAL);
	CHECK_MSG("flags 0x6 are unknown");
	o = (struct pinmem_cache_options){ .monitor = (enum pinmem_monitor)77 };
	CHECK_RC(create_with(pm, o, NULL), -EINVAL);
	CHECK_MSG("monitor 77 is unknown");
	o = (struct pinmem_cache_options){ .max_regions = (1u << 26) + 1 };
	CHECK_RC(create_with(pm, o, NULL), -EINVAL);
	CHECK_MSG("max_regions 67108865 is more than 67108864");
	o = (struct pinmem_cache_options){ .max_bytes = PAGE - 1 };
	CHECK_RC(create_with(pm, o, NULL), -EINVAL);
	CHECK_MSG("max_bytes 4095 is less than a page");
	CHECK_RC(pinmem_close(pm), 0);
}

static void create_rejects_registrations_that_cannot_be_remembered(void)
{
	struct pinmem_cache_options o = { .monitor = PINMEM_MONITOR_CALLER };
	struct pinmem_reg_options reg = { .size = 4 };
	struct pinmem *pm = pinner();

	CHECK_RC(create_with(pm, o, &reg), -EINVAL);
	CHECK_MSG("sizeof(struct pinmem_reg_options)");
	reg = (struct pinmem_reg_options){ .size = sizeof(reg),
					   .flags = PINMEM_REG_FD };
	CHECK_RC(create_with(pm, o, &reg), -EINVAL);
	CHECK_MSG("PINMEM_REG_FD names one");
	reg = (struct pinmem_reg_options){ .size = sizeof(reg),
					   .progress = never_called };
	CHECK_RC(create_with(pm, o, &reg), -EINVAL);
	CHECK_MSG("no progress");
	reg = (struct pinmem_reg_options){ .size = sizeof(reg) };
	CHECK_RC(create_with(pm, o, &reg), 0);
	CHECK_RC(pinmem_close(pm), 0);
}

static void create_knows_newer_options_only_as_zero(void)
{
	struct {
		struct pinmem_cache_options o;
		uint64_t future[4];
	} newer = { .o = { .size = sizeof(newer), .monitor = PINMEM_MONITOR_CALLER } };
	struct pinmem *pm = pinner();
	struct pinmem_cache *c = NULL;

	CHECK_RC(pinmem_cache_create(pm, &newer.o, &c), 0);
	CHECK_RC(pinmem_cache_destroy(c), 0);
	newer.future[3] = 1;
	CHECK_RC(pinmem_cache_create(pm, &newer.o, &c), -E2BIG);
	CHECK_MSG("pinmem_cache_options has an option");
	CHECK_RC(pinmem_close(pm), 0);
}

static void limits_that_are_not_given_are_finite(void)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_CALLER };
	uint64_t quarter = (uint64_t)sysconf(_SC_PHYS_PAGES) / 4 * PAGE;
	struct pinmem *pm = pinner();
	struct pinmem_cache *c = NULL;

	CHECK_RC(pinmem_cache_create(pm, &o, &c), 0);
	CHECK(stats(c).max_regions == 65536);
	CHECK(stats(c).max_bytes == quarter); /* the fake is not bound by memlock */
	CHECK(stats(c).monitor == PINMEM_MONITOR_CALLER);
	CHECK(stats(c).memory > 0);
	CHECK_RC(pinmem_cache_destroy(c), 0);
	o.max_regions = 1u << 26;
	o.max_bytes = PAGE;
	CHECK_RC(pinmem_cache_create(pm, &o, &c), 0);
	CHECK(stats(c).max_regions == 1u << 26);
	CHECK(stats(c).max_bytes == PAGE);
	CHECK_RC(pinmem_cache_destroy(c), 0);
	CHECK_RC(pinmem_close(pm), 0);
}

static int default_under_memlock(void *arg)
{
	struct rlimit lim = { *(rlim_t *)arg, *(rlim_t *)arg };
	struct pinmem *pm;
	struct pinmem_cache *c;
	uint64_t bytes;

	fake_caps.limit_bypassed = false;
	pm = pinner();
	if (setrlimit(RLIMIT_MEMLOCK, &lim))
		return 1;
	c = cache_of(pm, 0);
	bytes = stats(c).max_bytes;
	pinmem_cache_destroy(c);
	pinmem_close(pm);
	return bytes != (lim.rlim_cur / 2 > PAGE ? lim.rlim_cur / 2 : PAGE);
}

static void half_of_memlock_is_the_limit_where_it_binds(void)
{
	rlim_t mib = 1 << 20, page = PAGE, none = 0;

	CHECK_RC(in_child(default_under_memlock, &mib), 0);
	CHECK_RC(in_child(default_under_memlock, &page), 0);
	CHECK_RC(in_child(default_under_memlock, &none), 0);
}

/* --------------------------------------------------------------------- errors */

static void every_call_rejects_null(void)
{
	struct world w = world();
	struct pinmem_cache_stats s = { .size = sizeof(s) };
	struct pinmem_mr *mr = (void *)1;

	for (int used = 0; used < 2;
	     used++) { /* before, and when the thread is known */
		CHECK_RC(pinmem_cache_get(NULL, w.mem, PAGE, RW, &mr), -EINVAL);
		CHECK_MSG("the cache is NULL");
		CHECK_RC(pinmem_cache_get(w.cache, w.mem, PAGE, RW, NULL), -EINVAL);
		CHECK_MSG("mr is NULL");
		CHECK_RC(pinmem_cache_get(w.cache, NULL, PAGE, RW, &mr), -EINVAL);
		CHECK_MSG("addr is NULL");
		CHECK_RC(pinmem_cache_put(NULL, PINMEM_CLEAN), -EINVAL);
		CHECK_MSG("the region is NULL");
		CHECK_RC(pinmem_cache_invalidate(NULL, w.mem, PAGE), -EINVAL);
		CHECK_MSG("the cache is NULL");
		CHECK_RC(pinmem_cache_invalidate(w.cache, NULL, PAGE), -EINVAL);
		CHECK_MSG("addr is NULL");
		CHECK_RC(pinmem_cache_flush(NULL), -EINVAL);
		CHECK_MSG("the cache is NULL");
		CHECK_RC(pinmem_cache_destroy(NULL), -EINVAL);
		CHECK_MSG("the cache is NULL");
		CHECK_RC(pinmem_cache_stats(NULL, &s), -EINVAL);
		CHECK_MSG("the cache is NULL");
		CHECK_RC(pinmem_cache_stats(w.cache, NULL), -EINVAL);
		CHECK_MSG("pinmem_cache_stats");
		CHECK(mr == (void *)1);
		touch(&w, 0, 1, RW);
	}
	world_end(&w);
}

static void get_rejects_bad_ranges_and_rights(void)
{
	struct world w = world();
	struct pinmem_mr *mr = (void *)1;
	char *high = (void *)UINTPTR_MAX;

	touch(&w, 0, 4, RW | PINMEM_ACCESS_REMOTE_WRITE);
	CHECK_RC(pinmem_cache_get(w.cache, w.mem, 0, RW, &mr), -EINVAL);
	CHECK_MSG("len is 0");
	CHECK_RC(pinmem_cache_get(w.cache, w.mem, SIZE_MAX, RW, &mr), -EINVAL);
	CHECK_MSG("overflows");
	CHECK_RC(pinmem_cache_get(w.cache, high, 1, RW, &mr), -EINVAL);
	CHECK_MSG("overflows");
	CHECK_RC(pinmem_cache_get(w.cache, w.mem, PAGE, 1u << 9, &mr), -EINVAL);
	CHECK_MSG("access 0x200 is unknown");
	CHECK_RC(pinmem_cache_get(w.cache, w.mem + 8 * PAGE, PAGE,
				  PINMEM_ACCESS_REMOTE_WRITE, &mr),
		 -EINVAL);
	CHECK_MSG("need PINMEM_ACCESS_LOCAL_WRITE");
	CHECK_RC(pinmem_cache_get(w.cache, (void *)(1ul << 50), PAGE, R, &mr), -EFAULT);
	munmap(w.mem + PAGE * 128, PAGE);
	CHECK_RC(pinmem_cache_get(w.cache, w.mem + PAGE * 127, 3 * PAGE, R, &mr),
		 -EFAULT);
	CHECK(mr == (void *)1);
	CHECK(stats(w.cache).hits + stats(w.cache).misses ==
	      5); /* no EINVALs of range */
	world_end(&w);
}

static void put_rejects_what_is_no_caches_region(void)
{
	struct world w = world();
	struct pinmem_mr *mr = NULL, *cached = get(&w, 0, 1, RW);

	CHECK_RC(pinmem_reg(w.pm, w.mem, PAGE, RW, NULL, &mr), 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), -EINVAL);
	CHECK_MSG("belongs to no cache: use pinmem_dereg()");
	CHECK_RC(pinmem_cache_put(cached, PINMEM_BY_FAULT), -EINVAL);
	CHECK_MSG("CLEAN or DIRTY, not 2");
	CHECK_RC(pinmem_dereg(cached, PINMEM_CLEAN, NULL), -EINVAL);
	CHECK_MSG("belongs to a cache: use pinmem_cache_put()");
	CHECK(fake_live_pins() == 2);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	put(cached);
	world_end(&w);
}

static void what_is_in_use_is_not_ended(void)
{
	struct world w = world();
	struct pinmem_mr *a = get(&w, 0, 1, RW), *b = get(&w, 2, 1, RW);

	CHECK_RC(pinmem_close(w.pm), -EBUSY);
	CHECK_MSG("1 caches are live: destroy them first");
	CHECK_RC(pinmem_cache_destroy(w.cache), -EBUSY);
	CHECK_MSG("2 regions of the cache are held");
	CHECK(invalidate(&w, 0, 1) == 1);
	CHECK_RC(pinmem_cache_destroy(w.cache), -EBUSY); /* left, but held */
	CHECK(get(&w, 2, 1, RW) == b);			 /* nothing was changed */
	put(b);
	put(b);
	put(a);
	CHECK(fake_live_pins() == 1);
	world_end(&w);
}

static void statistics_fit_callers_of_other_versions(void)
{
	struct {
		struct pinmem_cache_stats s;
		uint64_t future;
	} newer = { .s = { .size = sizeof(newer) }, .future = 7 };
	struct pinmem_cache_stats older = { .size = offsetof(struct pinmem_cache_stats,
							     bytes) };
	struct world w = world();

	touch(&w, 0, 3, RW);
	older.bytes = 99;
	CHECK_RC(pinmem_cache_stats(w.cache, &older), 0);
	CHECK(older.regions == 1 && older.bytes == 99);
	CHECK_RC(pinmem_cache_stats(w.cache, &newer.s), 0);
	CHECK(newer.s.bytes == 3 * PAGE && newer.future == 0);
	older.size = 3;
	CHECK_RC(pinmem_cache_stats(w.cache, &older), -EINVAL);
	world_end(&w);
}

/* --------------------------------------------------------- which region is got */

static void whole_pages_are_registered_and_found_again(void)
{
	struct world w = world();
	struct pinmem_mr *a = NULL, *b = NULL;
	struct pinmem_mr_info i;

	CHECK_RC(pinmem_cache_get(w.cache, w.mem + 100, PAGE, RW, &a), 0);
	CHECK(is_region(&w, a, 0, 2, RW));
	CHECK_RC(pinmem_cache_get(w.cache, w.mem + 2 * PAGE - 1, 1, RW, &b), 0);
	CHECK(a == b);
	i = info_of(a);
	CHECK(i.cached == 1 && i.holders == 2 && i.hits == 1);
	CHECK(stats(w.cache).hits == 1 && stats(w.cache).misses == 1);
	CHECK(stats(w.cache).held == 1 && stats(w.cache).bytes == 2 * PAGE);
	put(a);
	put(b);
	CHECK(stats(w.cache).held == 0 && stats(w.cache).regions == 1);
	CHECK(fake_live_pins() == 1);
	world_end(&w);
}

static void whatever_lies_within_is_a_hit(void)
{
	struct world w = world();

	touch(&w, 10, 20, RW);
	for (size_t first = 10; first < 30; first++)
		for (size_t last = first; last < 30; last++)
			touch(&w, first, last - first + 1, RW);
	CHECK(stats(w.cache).misses == 1);
	CHECK(fake_pins() == 1);
	world_end(&w);
}

static void neighbours_are_not_merged(void)
{
	struct world w = world();

	touch(&w, 0, 2, RW);
	touch(&w, 2, 2, RW);
	CHECK(stats(w.cache).regions == 2);
	CHECK(stats(w.cache).merges == 0);
	world_end(&w);
}

static void one_region_with_all_rights_replaces_those_that_overlap(void)
{
	struct world w = world();
	struct pinmem_mr *mr;

	touch(&w, 0, 4, RW);
	touch(&w, 6, 3, PINMEM_ACCESS_REMOTE_READ | RELAXED);
	touch(&w, 20, 1, RW);
	mr = get(&w, 3, 4, R);
	CHECK(is_region(&w, mr, 0, 9, RW | PINMEM_ACCESS_REMOTE_READ));
	CHECK(stats(w.cache).merges == 1);
	CHECK(stats(w.cache).regions == 2);
	CHECK(fake_live_pins() == 2);
	CHECK(get(&w, 8, 1, RW) == mr);
	put(mr);
	put(mr);
	world_end(&w);
}

static void a_long_region_is_not_made_longer_by_a_short_range(void)
{
	struct world w = world();
	struct pinmem_mr *mr;

	touch(&w, 0, 64, RW);
	mr = get(&w, 63, 2, R);
	CHECK(is_region(&w, mr, 63, 2, R)); /* and not 65 pages */
	CHECK(stats(w.cache).regions == 1);
	CHECK(fake_live_pins() == 1);
	put(mr);
	CHECK(invalidate(&w, 0, PAGES) == 1);
	touch(&w, 0, 6, RW);
	mr = get(&w, 5, 2, R);
	CHECK(is_region(&w, mr, 0, 7, RW));
	put(mr);
	world_end(&w);
}

/* The rights of the old region cannot be had on the new pages. */
static void what_cannot_be_merged_is_registered_as_asked(void)
{
	struct world w = world();
	struct pinmem_mr *mr;

	CHECK(!mprotect(w.mem + 4 * PAGE, 4 * PAGE, PROT_READ));
	touch(&w, 2, 2, RW);
	mr = get(&w, 3, 2, R);
	CHECK(is_region(&w, mr, 3, 2, R));
	CHECK(stats(w.cache).regions == 1);
	put(mr);
	world_end(&w);
}

static void replaced_regions_stay_registered_for_their_holders(void)
{
	struct world w = world();
	struct pinmem_mr *old = get(&w, 0, 2, RW), *mr = get(&w, 1, 2, RW);

	CHECK(old != mr);
	CHECK(is_region(&w, mr, 0, 3, RW));
	CHECK(fake_live_pins() == 2);
	CHECK(stats(w.cache).leaving == 1);
	CHECK(stats(w.cache).leaving_bytes == 2 * PAGE);
	CHECK(get(&w, 0, 2, RW) == mr);
	put(old);
	CHECK(fake_live_pins() == 1);
	CHECK(stats(w.cache).deferred == 1);
	CHECK(stats(w.cache).leaving == 0 && stats(w.cache).leaving_bytes == 0);
	put(mr);
	put(mr);
	world_end(&w);
}

static void more_rights_serve_and_fewer_do_not(void)
{
	struct world w = world();
	struct pinmem_mr *read = get(&w, 0, 2, R), *write;

	write = get(&w, 0, 1, RW);
	CHECK(write != read);
	CHECK(is_region(&w, write, 0, 2, RW));
	CHECK(get(&w, 0, 2, R) == write);
	CHECK(stats(w.cache).misses == 2);
	put(write);
	put(write);
	put(read);
	CHECK(fake_live_pins() == 1);
	world_end(&w);
}

static void relaxed_ordering_is_only_for_who_asks_for_it(void)
{
	struct world w = world();
	struct pinmem_mr *relaxed = get(&w, 0, 1, RW | RELAXED), *strict;

	CHECK(get(&w, 0, 1, RW | RELAXED) == relaxed);
	put(relaxed);
	put(relaxed);
	strict = get(&w, 0, 1, RW);
	CHECK(is_region(&w, strict, 0, 1, RW));
	CHECK(get(&w, 0, 1, RW | RELAXED) == strict);
	put(strict);
	put(strict);
	CHECK(fake_live_pins() == 1);
	world_end(&w);
}

static void regions_of_two_caches_and_pinners_are_their_own(void)
{
	struct world w = world(), v = world();
	struct world u = { .pm = w.pm, .mem = w.mem, .cache = cache_of(w.pm, 10) };

	v.mem = w.mem;
	for (size_t i = 0; i < 20; i++) { /* one thread, by turns */
		struct pinmem_mr *a = get(&w, i % 4, 1, RW), *b = get(&u, i % 4, 1, RW);
		struct pinmem_mr *c = get(&v, i % 4, 1, RW);

		CHECK(a != b && b != c && a != c);
		put(b);
		put(a);
		put(c);
	}
	CHECK(fake_live_pins() == 12);
	CHECK(stats(u.cache).hits == 16);
	CHECK_RC(pinmem_close(w.pm), -EBUSY);
	CHECK_MSG("2 caches");
	CHECK_RC(pinmem_cache_destroy(u.cache), 0);
	touch(&w, 0, 1, RW);
	CHECK(stats(w.cache).hits == 17);
	v.mem = memory();
	world_end(&v);
	world_end(&w);
}

static void a_staged_region_is_the_callers_alone(void)
{
	struct pinmem_reg_options reg = { .size = sizeof(reg), .mode = PINMEM_STAGED };
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_CALLER,
					  .reg = &reg };
	struct world w = { .pm = pinner(), .mem = memory() };
	struct pinmem_mr *a, *b;

	CHECK_RC(pinmem_cache_create(w.pm, &o, &w.cache), 0);
	memset(&reg, 0xff, sizeof(reg)); /* it was copied */
	a = get(&w, 0, 1, RW);
	b = get(&w, 0, 1, RW);
	CHECK(a != b);
	CHECK(info_of(a).mode == PINMEM_STAGED);
	CHECK(info_of(a).cached == 1 && info_of(a).holders == 1);
	CHECK(stats(w.cache).alone == 2 && stats(w.cache).alone_other == 2);
	CHECK(stats(w.cache).regions == 0 && stats(w.cache).hits == 0);
	CHECK_RC(pinmem_cache_destroy(w.cache), -EBUSY);
	CHECK(invalidate(&w, 0, 1) == 0);
	put(a);
	CHECK(fake_live_pins() == 1);
	put(b);
	world_end(&w);
}

/* ------------------------------------------------------------------- releases */

static void invalidated_regions_are_not_got_again(void)
{
	struct world w = world();
	struct pinmem_mr *old = get(&w, 0, 4, RW), *mr;

	touch(&w, 6, 2, RW);
	touch(&w, 20, 2, RW);
	CHECK(invalidate(&w, 3, 4) == 2); /* a page of each is enough */
	CHECK(fake_live_pins() == 2);
	CHECK(stats(w.cache).invalidated == 2);
	mr = get(&w, 0, 4, RW);
	CHECK(mr != old);
	put(mr);
	put(old);
	CHECK(fake_live_pins() == 2);
	CHECK(invalidate(&w, 100, 10) == 0);
	world_end(&w);
}

static void a_flush_forgets_all(void)
{
	struct world w = world();
	struct pinmem_mr *held = get(&w, 50, 1, RW);

	for (size_t i = 0; i < 10; i++)
		touch(&w, 2 * i, 1, RW);
	CHECK_RC(pinmem_cache_flush(w.cache), 0);
	CHECK(fake_live_pins() == 1);
	CHECK(stats(w.cache).regions == 0 && stats(w.cache).bytes == 0);
	CHECK(stats(w.cache).invalidated == 11);
	put(held);
	CHECK(fake_live_pins() == 0);
	CHECK_RC(pinmem_cache_flush(w.cache), 0);
	world_end(&w);
}

static void one_dirty_put_makes_the_release_dirty(void)
{
	struct world w = world();
	struct pinmem_mr *mr = get(&w, 0, 1, RW);

	CHECK(get(&w, 0, 1, RW) == mr);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_DIRTY), 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	touch(&w, 0, 1, RW);
	CHECK_RC(pinmem_cache_flush(w.cache), 0);
	CHECK(fake_last_how() == PINMEM_DIRTY);
	touch(&w, 0, 1, RW); /* the next region of that number begins clean */
	CHECK_RC(pinmem_cache_flush(w.cache), 0);
	CHECK(fake_last_how() == PINMEM_CLEAN);
	world_end(&w);
}

static void the_last_holders_put_is_as_dirty_as_any(void)
{
	struct world w = world();
	struct pinmem_mr *mr = get(&w, 0, 1, RW);

	CHECK(get(&w, 0, 1, RW) == mr);
	CHECK(invalidate(&w, 0, 1) == 1);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	CHECK(fake_live_pins() == 1);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_DIRTY), 0);
	CHECK(fake_live_pins() == 0);
	CHECK(fake_last_how() == PINMEM_DIRTY);
	world_end(&w);
}

static void *put_dirty(void *mr)
{
	CHECK_RC(pinmem_cache_put(mr, PINMEM_DIRTY), 0);
	return NULL;
}

static void another_thread_may_put_and_so_release(void)
{
	struct world w = world();
	struct pinmem_mr *mr = get(&w, 0, 1, RW);

	on_thread(put_dirty, mr);
	CHECK(stats(w.cache).held == 0);
	CHECK(get(&w, 0, 1, RW) == mr);
	CHECK(invalidate(&w, 0, 1) == 1);
	CHECK(fake_live_pins() == 1);
	on_thread(put_dirty, mr);
	CHECK(fake_live_pins() == 0);
	CHECK(stats(w.cache).deferred == 1);
	world_end(&w);
}

static void a_release_that_fails_is_tried_again(void)
{
	struct world w = world();
	struct pinmem_mr *mr;

	touch(&w, 0, 1, RW);
	fake_fail_unpin(1, EIO);
	CHECK(invalidate(&w, 0, 1) == 1);
	CHECK(fake_live_pins() == 1);
	CHECK(stats(w.cache).release_failures == 1 && stats(w.cache).leaving == 1);
	touch(&w, 10, 1, RW); /* a miss sweeps */
	CHECK(fake_live_pins() == 1 && stats(w.cache).leaving == 0);
	mr = get(&w, 20, 1, RW);
	CHECK(invalidate(&w, 20, 1) == 1);
	fake_fail_unpin(1, EIO);
	put(mr); /* is done with it, whatever becomes of the release */
	CHECK(stats(w.cache).release_failures == 2 && stats(w.cache).leaving == 1);
	CHECK(invalidate(&w, 30, 1) == 0);
	CHECK(stats(w.cache).leaving == 0);
	world_end(&w);
}

static void flush_and_destroy_tell_of_releases_that_failed(void)
{
	struct world w = world();

	touch(&w, 0, 1, RW);
	touch(&w, 2, 1, RW);
	fake_fail_unpin(1, EIO);
	CHECK_RC(pinmem_cache_flush(w.cache), -EIO);
	CHECK_MSG("told to fail");
	CHECK(fake_live_pins() == 1);
	fake_fail_unpin(1, ENODEV);
	CHECK_RC(pinmem_cache_destroy(w.cache), -ENODEV);
	CHECK(stats(w.cache).leaving == 1); /* it is still there */
	world_end(&w);
}

static void a_lone_region_that_cannot_be_released_stays_its_callers(void)
{
	struct world w = world();
	struct pinmem_mr *mr, *alone;

	CHECK_RC(pinmem_cache_destroy(w.cache), 0);
	w.cache = cache_of(w.pm, 1);
	mr = get(&w, 0, 1, RW);
	alone = get(&w, 2, 1, RW); /* for nobody can be evicted */
	CHECK(stats(w.cache).alone_full == 1);
	fake_fail_unpin(1, EIO);
	CHECK_RC(pinmem_cache_put(alone, PINMEM_CLEAN), -EIO);
	CHECK_MSG("told to fail");
	CHECK(stats(w.cache).alone == 1 && stats(w.cache).release_failures == 1);
	CHECK_RC(pinmem_cache_put(alone, PINMEM_DIRTY), 0);
	CHECK(fake_last_how() == PINMEM_DIRTY);
	CHECK(stats(w.cache).alone == 0);
	put(mr);
	world_end(&w);
}

/* ------------------------------------------------------------- many at a time */

/* Pins at or after a page wait until the door opens. */
struct door {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const char *from;
	bool open;
	int waiting;
};

static void wait_at_door(const struct segment *seg, void *arg)
{
	struct door *d = arg;

	if ((const char *)seg->addr < d->from)
		return;
	pthread_mutex_lock(&d->lock);
	d->waiting++;
	pthread_cond_broadcast(&d->changed);
	while (!d->open)
		pthread_cond_wait(&d->changed, &d->lock);
	d->waiting--;
	pthread_mutex_unlock(&d->lock);
}

static void door_shut(struct door *d, const char *from)
{
	*d = (struct door){ .lock = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER,
			    .from = from };
	fake_on_pin(wait_at_door, d);
}

static void door_await(struct door *d, int waiting)
{
	pthread_mutex_lock(&d->lock);
	while (d->waiting < waiting)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

static void door_open(struct door *d)
{
	pthread_mutex_lock(&d->lock);
	d->open = true;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

struct getter {
	const struct world *w;
	size_t page, pages;
	unsigned int access;
	pthread_t thread;
	struct pinmem_mr *mr;
	int rc;
};

static void *get_it(void *arg)
{
	struct getter *g = arg;

	g->rc = pinmem_cache_get(g->w->cache, g->w->mem + g->page * PAGE,
				 g->pages * PAGE, g->access, &g->mr);
	return NULL;
}

static void start(struct getter *g, const struct world *w, size_t page, size_t pages,
		  unsigned int access)
{
	*g = (struct getter){ .w = w, .page = page, .pages = pages, .access = access };
	CHECK(!pthread_create(&g->thread, NULL, get_it, g));
}

static struct pinmem_mr *finish(struct getter *g, int rc)
{
	pthread_join(g->thread, NULL);
	CHECK_RC(g->rc, rc);
	return g->mr;
}

static void await_waits(const struct world *w, uint64_t waits)
{
	for (int i = 0; stats(w->cache).waits < waits && i < 5000; i++)
		wait_ms(1);
	CHECK(stats(w->cache).waits == waits);
}

static void threads_that_miss_together_register_once(void)
{
	struct world w = world();
	struct getter g[4];
	struct door door;

	door_shut(&door, w.mem);
	start(&g[0], &w, 0, 4, RW);
	door_await(&door, 1);
	for (size_t i = 1; i < 4; i++)
		start(&g[i], &w, i, 1, i == 1 ? R : RW); /* parts of it */
	await_waits(&w, 3);
	door_open(&door);
	for (int i = 0; i < 4; i++)
		CHECK(finish(&g[i], 0) == g[0].mr);
	CHECK(fake_pins() == 1);
	CHECK(stats(w.cache).misses == 4 && stats(w.cache).hits == 0);
	CHECK(info_of(g[0].mr).holders == 4);
	for (int i = 0; i < 4; i++)
		put(g[i].mr);
	world_end(&w);
}

static void nobody_waits_for_a_registration_that_will_not_serve(void)
{
	struct world w = world();
	struct getter g[3];
	struct door door;

	door_shut(&door, w.mem);
	start(&g[0], &w, 0, 2, R);
	door_await(&door, 1);
	start(&g[1], &w, 1, 2, R); /* more than it */
	door_await(&door, 2);
	start(&g[2], &w, 0, 1, RW); /* more rights than both */
	door_await(&door, 3);
	door_open(&door);
	for (int i = 0; i < 3; i++)
		put(finish(&g[i], 0));
	CHECK(stats(w.cache).waits == 0);
	CHECK((long)stats(w.cache).regions == fake_live_pins());
	world_end(&w);
}

static void a_pin_that_takes_long_hinders_nobody_elsewhere(void)
{
	struct world w = world();
	struct getter g;
	struct door door;

	touch(&w, 0, 4, RW);
	door_shut(&door, w.mem + 100 * PAGE);
	start(&g, &w, 100, 10, RW);
	door_await(&door, 1);
	for (size_t i = 0; i < 1000; i++)
		touch(&w, i % 4, 1, RW);
	touch(&w, 20, 2, RW); /* misses */
	CHECK(invalidate(&w, 0, 30) == 2);
	CHECK_RC(pinmem_cache_flush(w.cache), 0);
	CHECK(stats(w.cache).hits == 1000);
	CHECK(stats(w.cache).registrations == 2); /* and it is still under way */
	door_open(&door);
	put(finish(&g, 0));
	world_end(&w);
}

static void who_waited_for_a_registration_that_fails_makes_its_own(void)
{
	struct world w = world();
	struct getter g[2];
	struct door door;

	door_shut(&door, w.mem);
	start(&g[0], &w, 0, 1, RW);
	door_await(&door, 1);
	start(&g[1], &w, 0, 1, RW);
	await_waits(&w, 1);
	fake_fail_pin(1, EIO);
	door_open(&door);
	finish(&g[0], -EIO);
	put(finish(&g[1], 0));
	CHECK(fake_pins() == 1);
	world_end(&w);
}

static void what_is_invalidated_while_it_is_registered_is_not_kept(void)
{
	struct world w = world();
	struct getter g;
	struct door door;
	struct pinmem_mr *mr, *alone;

	for (uint64_t flush = 0; flush < 2; flush++) {
		door_shut(&door, w.mem);
		start(&g, &w, 0, 4, RW);
		door_await(&door, 1);
		if (flush)
			CHECK_RC(pinmem_cache_flush(w.cache), 0);
		else
			CHECK(invalidate(&w, 3, 1) == 0);
		door_open(&door);
		alone = finish(&g, 0);
		CHECK(stats(w.cache).alone_raced == flush + 1);
		CHECK(stats(w.cache).regions == 0);
		mr = get(&w, 0, 4, RW);
		CHECK(mr != alone);
		CHECK(fake_live_pins() == 2);
		put(alone);
		put(mr);
		CHECK(invalidate(&w, 0, 4) == 1);
		CHECK(fake_live_pins() == 0);
	}
	world_end(&w);
}

static void registrations_beside_an_invalidation_are_kept(void)
{
	struct world w = world();
	struct getter g;
	struct door door;

	door_shut(&door, w.mem);
	start(&g, &w, 0, 4, RW);
	door_await(&door, 1);
	CHECK(invalidate(&w, 4, 4) == 0);
	door_open(&door);
	put(finish(&g, 0));
	CHECK(stats(w.cache).regions == 1);
	world_end(&w);
}

/* ------------------------------------------------------------- want of something */

static void idle_regions_go_where_the_kernel_is_out_of(int err)
{
	struct world w = world();
	struct pinmem_mr *held[3], *mr = NULL;

	fake_max_pins(3, err);
	for (size_t i = 0; i < 10; i++)
		touch(&w, 2 * i, 1, RW);
	CHECK(stats(w.cache).relieved == 7 && stats(w.cache).evictions == 0);
	CHECK(fake_live_pins() == 3);
	touch(&w, 40, 3, RW); /* takes the place of three pages */
	CHECK(stats(w.cache).relieved == 10);
	for (size_t i = 0; i < 3; i++)
		held[i] = get(&w, 50 + 2 * i, 1, RW);
	CHECK_RC(pinmem_cache_get(w.cache, w.mem, PAGE, RW, &mr), -err);
	CHECK_MSG("3 pins are all");
	for (size_t i = 0; i < 3; i++)
		put(held[i]);
	touch(&w, 0, 1, RW);
	world_end(&w);
}

static void idle_regions_go_when_memory_is_wanted(void)
{
	idle_regions_go_where_the_kernel_is_out_of(ENOMEM);
}

static void idle_regions_go_when_slots_are_wanted(void)
{
	idle_regions_go_where_the_kernel_is_out_of(ENOSPC);
}

static void other_errors_release_nobody(void)
{
	struct world w = world();
	struct pinmem_mr *mr = NULL;

	touch(&w, 0, 1, RW);
	fake_fail_pin(1, EIO);
	CHECK_RC(pinmem_cache_get(w.cache, w.mem + 8 * PAGE, PAGE, RW, &mr), -EIO);
	CHECK_MSG("told to fail");
	CHECK(stats(w.cache).relieved == 0 && stats(w.cache).regions == 1);
	world_end(&w);
}

/* Regions that have left and are held use numbers, too, and those are not endless. */
static void without_a_number_a_region_is_for_its_caller_alone(void)
{
	struct pinmem_mr *held[200];
	struct world w = world();

	CHECK_RC(pinmem_cache_destroy(w.cache), 0);
	w.cache = cache_of(w.pm, 1);
	for (size_t i = 0; i < 200; i++) {
		held[i] = get(&w, 0, 1, RW);
		invalidate(&w, 0, 1);
	}
	CHECK(stats(w.cache).leaving > 60);
	CHECK(stats(w.cache).alone_other > 0);
	CHECK(stats(w.cache).leaving + stats(w.cache).alone == 200);
	for (size_t i = 0; i < 200; i++)
		put(held[i]);
	CHECK(fake_live_pins() == 0);
	touch(&w, 0, 1, RW);
	touch(&w, 0, 1, RW);
	CHECK(stats(w.cache).hits == 1);
	world_end(&w);
}

static void numbers_are_used_again(void)
{
	struct world w = world();

	for (size_t i = 0; i < 3000; i++) {
		touch(&w, i % PAGES, 1, RW);
		invalidate(&w, i % PAGES, 1);
	}
	CHECK(w.cache->used == 2);
	CHECK(stats(w.cache).hits == 0);
	world_end(&w);
}

static void every_failing_call_of_a_creation_is_undone(void)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_CALLER };
	struct pinmem *pm = pinner();
	bool failed = false;

	FAULT_WALK (n) {
		struct pinmem_cache *c = NULL;
		int rc = pinmem_cache_create(pm, &o, &c);

		if (rc) {
			failed = true;
			CHECK(fault_fired() && !c);
			CHECK_RC(rc, -ENOMEM);
			CHECK(pinmem_errmsg()[0] != 0);
		} else {
			CHECK_RC(pinmem_cache_destroy(c), 0);
		}
	}
	CHECK(failed);
	CHECK_RC(pinmem_close(pm), 0);
}

static void every_failing_call_of_a_miss_is_undone(void)
{
	struct pinmem_mr *mr = NULL;
	bool failed = false;

	FAULT_WALK (n) {
		struct world w;
		int rc;

		fault_disarm();
		w = world();
		fault_arm(n);
		rc = pinmem_cache_get(w.cache, w.mem, PAGE, RW, &mr);
		fault_disarm(); /* fault_fired() stays */
		CHECK(!rc || (fault_fired() && pinmem_errmsg()[0]));
		failed |= rc != 0;
		CHECK(fake_live_pins() == !rc);
		if (!rc)
			put(mr);
		touch(&w, 0, 1, RW); /* the next one finds all in order */
		world_end(&w);
	}
	CHECK(failed);
}

/* ------------------------------------------------------------------- threads */

static unsigned int count_hands(const struct pinmem_cache *c)
{
	unsigned int n = 0;

	for (struct hand *h = c->hands.first; h; h = h->next)
		n++;
	return n;
}

static void a_thread_inherits_what_another_left_behind(void)
{
	struct world w = world();

	touch_some(&w);
	for (int i = 0; i < 50; i++)
		on_thread(touch_some, &w);
	CHECK(count_hands(w.cache) == 2);
	CHECK(stats(w.cache).hits == 51 * 20 - 4);
	CHECK(stats(w.cache).held == 0);
	world_end(&w);
}

static void what_a_thread_held_when_it_ended_is_held_on(void)
{
	struct world w = world();
	struct getter g = { .w = &w, .page = 0, .pages = 1, .access = RW };

	on_thread(get_it, &g);
	on_thread(touch_some, &w); /* has that thread's tallies now */
	CHECK(stats(w.cache).held == 1);
	CHECK_RC(pinmem_cache_destroy(w.cache), -EBUSY);
	CHECK(invalidate(&w, 0, 1) == 1);
	CHECK(fake_live_pins() == 4);
	put(g.mr);
	CHECK(fake_live_pins() == 3);
	world_end(&w);
}

struct lifetime {
	struct world old, young;
	pthread_barrier_t barrier;
};

static void *outlive_a_cache(void *arg)
{
	struct lifetime *l = arg;

	touch_some(&l->old);
	pthread_barrier_wait(&l->barrier);
	pthread_barrier_wait(&l->barrier); /* the old cache is gone */
	touch_some(&l->young);
	return NULL;
}

static void a_thread_may_outlive_a_cache(void)
{
	struct lifetime l = { .old = world() };
	pthread_t t;

	pthread_barrier_init(&l.barrier, NULL, 2);
	CHECK(!pthread_create(&t, NULL, outlive_a_cache, &l));
	pthread_barrier_wait(&l.barrier);
	world_end(&l.old);
	l.young = world();
	pthread_barrier_wait(&l.barrier);
	pthread_join(t, NULL);
	CHECK(stats(l.young.cache).hits == 16);
	world_end(&l.young);
	pthread_barrier_destroy(&l.barrier);
}

static pthread_key_t late_key;
static const struct world *late_world;
static int late_runs;

/* Destructors run in no order that is said: the cache's own may have run before. */
static void use_late(void *again)
{
	touch(late_world, 0, 1, RW);
	late_runs++;
	if (again != late_world->mem)
		pthread_setspecific(late_key, late_world->mem); /* once more, later */
}

static void *use_and_end(void *arg)
{
	touch(arg, 0, 1, RW);
	pthread_setspecific(late_key, arg);
	return NULL;
}

static void a_thread_may_use_the_cache_while_it_ends(void)
{
	struct world w = world();

	late_world = &w;
	late_runs = 0;
	CHECK(!pthread_key_create(&late_key, use_late));
	for (int i = 0; i < 10; i++)
		on_thread(use_and_end, &w);
	CHECK(late_runs == 20);
	CHECK(count_hands(w.cache) <= 3);
	CHECK(stats(w.cache).hits == 29 && stats(w.cache).held == 0);
	pthread_key_delete(late_key);
	world_end(&w);
}

struct replacer {
	const struct world *w;
	bool stop; /* atomic */
};

static void *replace(void *arg)
{
	struct replacer *r = arg;

	for (int i = 0; i < 4000; i++) {
		touch(r->w, 0, 1, RW);
		invalidate(r->w, 0, 1);
	}
	__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
	return NULL;
}

/* By what the thread remembers: the number is the same again and again. */
static void a_region_may_be_got_and_put_the_moment_it_is_entered(void)
{
	struct world w = world();
	struct replacer r = { .w = &w };
	char *stays = w.mem + 8 * PAGE;
	pthread_t t;

	touch(&w, 8, 8, RW);
	CHECK(!pthread_create(&t, NULL, replace, &r));
	for (size_t i = 0; !__atomic_load_n(&r.stop, __ATOMIC_RELAXED); i++) {
		struct pinmem_mr *other = NULL;

		/* an address never asked for, so that it is what was found last */
		CHECK_RC(pinmem_cache_get(w.cache, stays + i % (8 * PAGE), 1, RW,
					  &other),
			 0);
		put(get(&w, 0, 1, RW));
		put(other);
	}
	pthread_join(t, NULL);
	CHECK(stats(w.cache).leaving == 0 && stats(w.cache).held == 0);
	world_end(&w);
}

static void without_membarrier_all_is_as_with_it(void)
{
	struct world w = world();
	struct pinmem_mr *mr, *again;

	without_membarrier(&w);
	mr = get(&w, 0, 4, RW);
	again = get(&w, 1, 2, R);
	CHECK(mr == again);
	CHECK(stats(w.cache).hits == 1 && stats(w.cache).misses == 1);
	CHECK(invalidate(&w, 0, 1) == 1);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_DIRTY), 0);
	CHECK(fake_live_pins() == 1);
	on_thread(put_dirty, again);
	CHECK(fake_live_pins() == 0 && fake_last_how() == PINMEM_DIRTY);
	on_thread(touch_some, &w);
	CHECK(stats(w.cache).hits == 17);
	CHECK_RC(pinmem_cache_get(w.cache, NULL, 1, RW, &mr), -EINVAL);
	CHECK_RC(pinmem_cache_get(w.cache, w.mem, 0, RW, &mr), -EINVAL);
	world_end(&w);
}

/* ------------------------------------------------------------------------ fork */

struct family {
	struct world w;
	struct pinmem_mr *kept, *alone;
};

static int child_of_a_cache(void *arg)
{
	struct family *f = arg;
	struct pinmem_cache_stats s = { .size = sizeof(s) };
	struct pinmem_mr *mr = NULL;
	struct world own;

	CHECK_RC(pinmem_cache_get(f->w.cache, f->w.mem, PAGE, RW, &mr), -ECHILD);
	CHECK_MSG("parent process");
	CHECK_RC(pinmem_cache_put(f->kept, PINMEM_CLEAN), -ECHILD);
	CHECK_MSG("parent process");
	CHECK_RC(pinmem_cache_put(f->alone, PINMEM_CLEAN), -ECHILD);
	CHECK_RC(pinmem_cache_invalidate(f->w.cache, f->w.mem, PAGE), -ECHILD);
	CHECK_RC(pinmem_cache_flush(f->w.cache), -ECHILD);
	CHECK_RC(pinmem_cache_stats(f->w.cache, &s), -ECHILD);
	CHECK_RC(pinmem_cache_create(f->w.pm, NULL, &f->w.cache), -ECHILD);
	own = world(); /* but its own it may have */
	touch_some(&own);
	CHECK(stats(own.cache).hits == 16);
	CHECK_RC(pinmem_cache_destroy(f->w.cache), 0); /* held or not */
	CHECK_RC(pinmem_close(f->w.pm), 0);
	world_end(&own);
	return (int)CU_get_number_of_failures();
}

static void a_child_uses_nothing_of_its_parents_cache(void)
{
	struct family f = { .w = world() };

	CHECK_RC(pinmem_cache_destroy(f.w.cache), 0);
	f.w.cache = cache_of(f.w.pm, 1);
	f.kept = get(&f.w, 0, 1, RW);
	f.alone = get(&f.w, 4, 1, RW);
	on_thread(touch_some, &f.w); /* one whose hand nobody has in the child */
	CHECK_RC(in_child(child_of_a_cache, &f), 0);
	CHECK(get(&f.w, 0, 1, RW) == f.kept);
	put(f.kept);
	put(f.kept);
	put(f.alone);
	CHECK(fake_live_pins() == 1);
	world_end(&f.w);
}

static const struct test tests[] = {
	{ "a_cache_works_where_seccomp_forbids_membarrier",
	  a_cache_works_where_seccomp_forbids_membarrier },
	{ "create_rejects_what_makes_no_sense", create_rejects_what_makes_no_sense },
	{ "create_rejects_registrations_that_cannot_be_remembered",
	  create_rejects_registrations_that_cannot_be_remembered },
	{ "create_knows_newer_options_only_as_zero",
	  create_knows_newer_options_only_as_zero },
	{ "limits_that_are_not_given_are_finite",
	  limits_that_are_not_given_are_finite },
	{ "half_of_memlock_is_the_limit_where_it_binds",
	  half_of_memlock_is_the_limit_where_it_binds },
	{ "every_call_rejects_null", every_call_rejects_null },
	{ "get_rejects_bad_ranges_and_rights", get_rejects_bad_ranges_and_rights },
	{ "put_rejects_what_is_no_caches_region",
	  put_rejects_what_is_no_caches_region },
	{ "what_is_in_use_is_not_ended", what_is_in_use_is_not_ended },
	{ "statistics_fit_callers_of_other_versions",
	  statistics_fit_callers_of_other_versions },
	{ "whole_pages_are_registered_and_found_again",
	  whole_pages_are_registered_and_found_again },
	{ "whatever_lies_within_is_a_hit", whatever_lies_within_is_a_hit },
	{ "neighbours_are_not_merged", neighbours_are_not_merged },
	{ "one_region_with_all_rights_replaces_those_that_overlap",
	  one_region_with_all_rights_replaces_those_that_overlap },
	{ "a_long_region_is_not_made_longer_by_a_short_range",
	  a_long_region_is_not_made_longer_by_a_short_range },
	{ "what_cannot_be_merged_is_registered_as_asked",
	  what_cannot_be_merged_is_registered_as_asked },
	{ "replaced_regions_stay_registered_for_their_holders",
	  replaced_regions_stay_registered_for_their_holders },
	{ "more_rights_serve_and_fewer_do_not", more_rights_serve_and_fewer_do_not },
	{ "relaxed_ordering_is_only_for_who_asks_for_it",
	  relaxed_ordering_is_only_for_who_asks_for_it },
	{ "regions_of_two_caches_and_pinners_are_their_own",
	  regions_of_two_caches_and_pinners_are_their_own },
	{ "a_staged_region_is_the_callers_alone",
	  a_staged_region_is_the_callers_alone },
	{ "invalidated_regions_are_not_got_again",
	  invalidated_regions_are_not_got_again },
	{ "a_flush_forgets_all", a_flush_forgets_all },
	{ "one_dirty_put_makes_the_release_dirty",
	  one_dirty_put_makes_the_release_dirty },
	{ "the_last_holders_put_is_as_dirty_as_any",
	  the_last_holders_put_is_as_dirty_as_any },
	{ "another_thread_may_put_and_so_release",
	  another_thread_may_put_and_so_release },
	{ "a_release_that_fails_is_tried_again", a_release_that_fails_is_tried_again },
	{ "flush_and_destroy_tell_of_releases_that_failed",
	  flush_and_destroy_tell_of_releases_that_failed },
	{ "a_lone_region_that_cannot_be_released_stays_its_callers",
	  a_lone_region_that_cannot_be_released_stays_its_callers },
	{ "threads_that_miss_together_register_once",
	  threads_that_miss_together_register_once },
	{ "nobody_waits_for_a_registration_that_will_not_serve",
	  nobody_waits_for_a_registration_that_will_not_serve },
	{ "a_pin_that_takes_long_hinders_nobody_elsewhere",
	  a_pin_that_takes_long_hinders_nobody_elsewhere },
	{ "who_waited_for_a_registration_that_fails_makes_its_own",
	  who_waited_for_a_registration_that_fails_makes_its_own },
	{ "what_is_invalidated_while_it_is_registered_is_not_kept",
	  what_is_invalidated_while_it_is_registered_is_not_kept },
	{ "registrations_beside_an_invalidation_are_kept",
	  registrations_beside_an_invalidation_are_kept },
	{ "idle_regions_go_when_memory_is_wanted",
	  idle_regions_go_when_memory_is_wanted },
	{ "idle_regions_go_when_slots_are_wanted",
	  idle_regions_go_when_slots_are_wanted },
	{ "other_errors_release_nobody", other_errors_release_nobody },
	{ "without_a_number_a_region_is_for_its_caller_alone",
	  without_a_number_a_region_is_for_its_caller_alone },
	{ "numbers_are_used_again", numbers_are_used_again },
	{ "every_failing_call_of_a_creation_is_undone",
	  every_failing_call_of_a_creation_is_undone },
	{ "every_failing_call_of_a_miss_is_undone",
	  every_failing_call_of_a_miss_is_undone },
	{ "a_thread_inherits_what_another_left_behind",
	  a_thread_inherits_what_another_left_behind },
	{ "what_a_thread_held_when_it_ended_is_held_on",
	  what_a_thread_held_when_it_ended_is_held_on },
	{ "a_thread_may_outlive_a_cache", a_thread_may_outlive_a_cache },
	{ "a_thread_may_use_the_cache_while_it_ends",
	  a_thread_may_use_the_cache_while_it_ends },
	{ "a_region_may_be_got_and_put_the_moment_it_is_entered",
	  a_region_may_be_got_and_put_the_moment_it_is_entered },
	{ "without_membarrier_all_is_as_with_it",
	  without_membarrier_all_is_as_with_it },
	{ "a_child_uses_nothing_of_its_parents_cache",
	  a_child_uses_nothing_of_its_parents_cache },
};

SUITE("cache", tests)
