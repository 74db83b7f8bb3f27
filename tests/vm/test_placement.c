/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_placement.c - memory on the node that was asked for, before and after the pin.
 *
 * usage: test_placement [BACKEND...], of verbs, uring
 * In a machine of two nodes, with a pinner of verbs (rxe0) and one of io_uring. Where a
 * page lies is asked of move_pages(2) here, not of the library.
 *   placed     memory touched on one node and registered for the other is there before
 *              (when populating tells of it) and after the pin, to the last page
 *   not asked  pages stay where they are, and pinmem_audit() counts and names exactly
 *              the wrong ones; also of a range that begins and ends within a page
 *   pinned     pages cannot be moved any more; the same pages can before and after
 *   alloc      pinmem_alloc() on each node: base pages, huge pages, hugetlb
 *   populated  what the library populates with threads is on the caller's node
 * Exit: 0; 1 when a case failed; 77 without two nodes; 2 usage.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "link.h"

#define PAGES 1024ul
#define LEN (PAGES * LINK_PAGE)
#define HUGE (2ul << 20)
#define BATCH 256ul
#define MOVE_FLAG (1 << 1)		 /* MPOL_MF_MOVE */
#define WRITES PINMEM_ACCESS_LOCAL_WRITE /* all that io_uring knows */

struct test {
	const char *backend;
	struct pinmem *pm;
	const char *name; /* of the case */
	unsigned int ran, failed;
};

static bool complain(struct test *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool complain(struct test *t, const char *fmt, ...)
{
	va_list ap;

	printf("FAIL %s/%s: ", t->backend, t->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	return false;
}

/* -------------------------------------------------------------- nodes and pages */

/* The machine has one processor on each node. */
static void run_on(int node)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((size_t)node, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		link_die("no processor %d: %s", node, strerror(errno));
}

static void run_anywhere(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	CPU_SET(1, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static unsigned char *map_base_pages(uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		link_die("mmap: %s", strerror(errno));
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

/* First touch decides. */
static void touch(unsigned char *p, uint64_t len, int node)
{
	run_on(node);
	memset(p, 0x77, len);
	run_anywhere();
}

/* How many pages of the range lie on each node; the rest is not there. */
static void where(const unsigned char *p, uint64_t len, uint64_t on[2])
{
	void *pages[BATCH];
	int status[BATCH];
	uint64_t n;

	on[0] = on[1] = 0;
	for (uint64_t at = 0; at < len; at += n * LINK_PAGE) {
		for (n = 0; n < BATCH && at + n * LINK_PAGE < len; n++)
			pages[n] = (void *)(p + at + n * LINK_PAGE);
		if (syscall(SYS_move_pages, 0, n, pages, NULL, status, 0))
			link_die("move_pages: %s", strerror(errno));
		for (uint64_t i = 0; i < n; i++)
			if (status[i] == 0 || status[i] == 1)
				on[status[i]]++;
	}
}

static bool all_on(struct test *t, const unsigned char *p, uint64_t len, int node,
		   const char *when)
{
	uint64_t on[2];

	where(p, len, on);
	return on[node] == len / LINK_PAGE ||
	       complain(t,
			"%s: %" PRIu64 " pages on node 0, %" PRIu64 " on node 1, of "
			"%lu that belong on node %d",
			when, on[0], on[1], len / LINK_PAGE, node);
}

/* Try to move every page. Return: how many are on the other node then */
static uint64_t move_to(unsigned char *p, uint64_t len, int node)
{
	void *pages[BATCH];
	int nodes[BATCH], status[BATCH];
	uint64_t n, on[2];

	for (uint64_t at = 0; at < len; at += n * LINK_PAGE) {
		for (n = 0; n < BATCH && at + n * LINK_PAGE < len; n++) {
			pages[n] = p + at + n * LINK_PAGE;
			nodes[n] = node;
		}
		if (syscall(SYS_move_pages, 0, n, pages, nodes, status, MOVE_FLAG) < 0)
			link_die("move_pages: %s", strerror(errno));
	}
	where(p, len, on);
	return on[node];
}

/* ------------------------------------------------------------------------ placed */

struct progress {
	const unsigned char *p;
	uint64_t on[2];
	bool pinning;
};

/* Where the pages are just before the pin */
static int look(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	struct progress *progress = arg;

	(void)total;
	if (!done && !strcmp(phase, "pin") && !progress->pinning) {
		progress->pinning = true;
		where(progress->p, LEN, progress->on);
	}
	return 0;
}

static bool is_placed(struct test *t, unsigned char *p, int node)
{
	struct progress seen = { .p = p };
	struct pinmem_reg_options o = { .size = sizeof(o),
					.placement = PINMEM_PLACE_NODE,
					.node = node,
					.progress = look,
					.progress_arg = &seen };
	struct pinmem_placement place = { .size = sizeof(place) };
	struct pinmem_mr *mr;
	bool fine;

	if (pinmem_reg(t->pm, p, LEN, WRITES, &o, &mr))
		return complain(t, "pinmem_reg: %s", pinmem_errmsg());
	fine = all_on(t, p, LEN, node, "pinned");
	if (seen.pinning && seen.on[node] != PAGES)
		fine = complain(t,
				"only %" PRIu64 " of %lu pages were on node %d "
				"before the pin",
				seen.on[node], PAGES, node);
	if (pinmem_audit(p, LEN, node, &place) || place.wrong ||
	    place.pages[node] != PAGES)
		fine = complain(t, "the audit finds %" PRIu64 " wrong pages",
				place.wrong);
	if (pinmem_dereg(mr, PINMEM_DIRTY, NULL))
		fine = complain(t, "pinmem_dereg: %s", pinmem_errmsg());
	fine = fine && all_on(t, p, LEN, node, "released");
	if (fine)
		printf("     %s/%s: node %d, %sseen before the pin\n", t->backend,
		       t->name, node, seen.pinning ? "" : "not ");
	return fine;
}

/* Touched on the other node, on both, and not at all */
static bool placed(struct test *t)
{
	bool fine = true;

	for (int node = 0; node < 2 && fine; node++) {
		for (int touched = 0; touched < 3 && fine; touched++) {
			unsigned char *p = map_base_pages(LEN);

			if (touched)
				touch(p, LEN, !node);
			if (touched == 2)
				move_to(p + LEN / 4, LEN / 4, node);
			fine = is_placed(t, p, node);
			munmap(p, LEN);
		}
	}
	return fine;
}

/* --------------------------------------------------------------------- not asked */

/* Node 0 everywhere but for the 7 pages from page 100 on, and page 900. */
static unsigned char *make_mix(void)
{
	unsigned char *p = map_base_pages(LEN);

	touch(p, LEN, 0);
	move_to(p + 100 * LINK_PAGE, 7 * LINK_PAGE, 1);
	move_to(p + 900 * LINK_PAGE, LINK_PAGE, 1);
	return p;
}

static bool audit_is(struct test *t, const unsigned char *p, uint64_t len, int node,
		     const uint64_t pages[2], uint64_t wrong, const unsigned char *addr,
		     uint64_t wrong_len)
{
	struct pinmem_placement place = { .size = sizeof(place) };

	if (pinmem_audit(p, len, node, &place))
		return complain(t, "pinmem_audit: %s", pinmem_errmsg());
	if (place.pages[0] != pages[0] || place.pages[1] != pages[1] || place.absent)
		return complain(t,
				"the audit counts %" PRIu64 " and %" PRIu64
				" pages, not %" PRIu64 " and %" PRIu64,
				place.pages[0], place.pages[1], pages[0], pages[1]);
	if (place.wrong != wrong || place.wrong_addr != addr ||
	    place.wrong_len != wrong_len)
		return complain(t,
				"node %d: the audit names %" PRIu64 " wrong pages, "
				"%p +%" PRIu64 ", not %" PRIu64 ", %p +%" PRIu64,
				node, place.wrong, place.wrong_addr, place.wrong_len,
				wrong, (const void *)addr, wrong_len);
	return true;
}

static bool audits(struct test *t, const unsigned char *p)
{
	const uint64_t mix[2] = { PAGES - 8, 8 }, some[2] = { 99, 3 };

	return audit_is(t, p, LEN, -1, mix, 0, NULL, 0) &&
	       audit_is(t, p, LEN, 0, mix, 8, p + 100 * LINK_PAGE, 7 * LINK_PAGE) &&
	       audit_is(t, p, LEN, 1, mix, PAGES - 8, p, 100 * LINK_PAGE) &&
	       /* from within page 1 to within page 102 */
	       audit_is(t, p + LINK_PAGE + 77, 101 * LINK_PAGE, 0, some, 3,
			p + 100 * LINK_PAGE, 3 * LINK_PAGE);
}

static bool not_asked(struct test *t)
{
	unsigned char *p = make_mix();
	struct pinmem_mr *mr = NULL;
	bool fine = audits(t, p);

	if (fine && pinmem_reg(t->pm, p, LEN, WRITES, NULL, &mr))
		fine = complain(t, "pinmem_reg: %s", pinmem_errmsg());
	fine = fine && audits(t, p);
	if (mr && pinmem_dereg(mr, PINMEM_DIRTY, NULL))
		fine = complain(t, "pinmem_dereg: %s", pinmem_errmsg());
	munmap(p, LEN);
	return fine;
}

/* ------------------------------------------------------------------------ pinned */

/* The same pages can be moved before the pin, and after it. An io_uring drops its pins
 * a moment after the release has returned, so that is waited for. */
static bool moves_after(struct test *t, unsigned char *p)
{
	for (int i = 0; i < 100; i++) {
		if (move_to(p, LEN, 1) == PAGES)
			return true;
		usleep(20000);
	}
	return complain(t, "released pages cannot be moved");
}

static bool stays_pinned(struct test *t)
{
	unsigned char *p = map_base_pages(LEN);
	struct pinmem_mr *mr;
	uint64_t moved;
	bool fine;

	touch(p, LEN, 0);
	if (move_to(p, LEN, 1) != PAGES || move_to(p, LEN, 0) != PAGES)
		link_die("pages that nobody pins cannot be moved");
	if (pinmem_reg(t->pm, p, LEN, WRITES, NULL, &mr)) {
		munmap(p, LEN);
		return complain(t, "pinmem_reg: %s", pinmem_errmsg());
	}
	moved = move_to(p, LEN, 1);
	fine = !moved || complain(t, "%" PRIu64 " pinned pages moved", moved);
	fine = all_on(t, p, LEN, 0, "pinned, and asked to move") && fine;
	if (pinmem_dereg(mr, PINMEM_DIRTY, NULL))
		fine = complain(t, "pinmem_dereg: %s", pinmem_errmsg());
	fine = fine && moves_after(t, p);
	munmap(p, LEN);
	return fine;
}

/* ------------------------------------------------------------------------- alloc */

static bool set_free_hugetlb(int node, unsigned int pages)
{
	char path[128];
	FILE *f;
	bool fine;

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/"
		 "nr_hugepages",
		 node);
	f = fopen(path, "we");
	fine = f && fprintf(f, "%u", pages) > 0;
	return f && !fclose(f) && fine;
}

static bool allocates_one(struct test *t, int node, unsigned int flags,
			  enum pinmem_backing expected)
{
	struct pinmem_alloc_options o = { .size = sizeof(o),
					  .flags = flags,
					  .placement = PINMEM_PLACE_NODE,
					  .node = node };
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_mr *mr = NULL;
	bool fine;
	void *p;

	run_on(!node);
	if (pinmem_alloc(t->pm, 2 * HUGE, &o, &p)) {
		run_anywhere();
		return complain(t, "pinmem_alloc: %s", pinmem_errmsg());
	}
	run_anywhere();
	fine = all_on(t, p, 2 * HUGE, node, "allocated");
	if (pinmem_check(t->pm, p, 2 * HUGE, WRITES, NULL, &v) || v.backing != expected)
		fine = complain(t, "it is %s, not %s", pinmem_backing_name(v.backing),
				pinmem_backing_name(expected));
	if (pinmem_reg(t->pm, p, 2 * HUGE, WRITES, NULL, &mr))
		fine = complain(t, "pinmem_reg: %s", pinmem_errmsg());
	fine = fine && all_on(t, p, 2 * HUGE, node, "allocated and pinned");
	if ((mr && pinmem_dereg(mr, PINMEM_DIRTY, NULL)) ||
	    pinmem_free(t->pm, p, 2 * HUGE))
		fine = complain(t, "release: %s", pinmem_errmsg());
	return fine;
}

/* With and without hugetlb pages: the other kinds come then. */
static bool allocates(struct test *t)
{
	unsigned int reserved = (unsigned int)atoi(getenv("PINMEM_HUGEPAGES_PER_NODE"));
	bool fine = true;

	for (int node = 0; node < 2 && fine; node++) {
		fine = allocates_one(t, node, 0, PINMEM_HUGETLB);
		set_free_hugetlb(0, 0);
		set_free_hugetlb(1, 0);
		fine = fine && allocates_one(t, node, 0, PINMEM_THP) &&
		       allocates_one(t, node, PINMEM_ALLOC_BASE_PAGES, PINMEM_ANON);
		if (!set_free_hugetlb(0, reserved) || !set_free_hugetlb(1, reserved))
			fine = complain(t, "hugetlb pages cannot be reserved again");
	}
	return fine;
}

/* --------------------------------------------------------------------- populated */

/* 64 MiB are four chunks for four threads, which must stay on the caller's node. */
static bool populated(struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .threads = 4 };
	struct pinmem_stats a = { .size = sizeof(a) }, b = { .size = sizeof(b) };
	uint64_t len = 64ul << 20;
	bool fine = true;

	for (int node = 0; node < 2 && fine; node++) {
		unsigned char *p = map_base_pages(len);
		struct pinmem_mr *mr = NULL;

		run_on(node);
		pinmem_stats(t->pm, &a);
		if (pinmem_reg(t->pm, p, len, WRITES, &o, &mr))
			fine = complain(t, "pinmem_reg: %s", pinmem_errmsg());
		run_anywhere();
		pinmem_stats(t->pm, &b);
		if (fine && b.populated_bytes - a.populated_bytes != len)
			fine = complain(t, "%" PRIu64 " bytes were populated",
					b.populated_bytes - a.populated_bytes);
		fine = fine && all_on(t, p, len, node, "populated");
		if (mr && pinmem_dereg(mr, PINMEM_DIRTY, NULL))
			fine = complain(t, "pinmem_dereg: %s", pinmem_errmsg());
		munmap(p, len);
	}
	return fine;
}

/* -------------------------------------------------------------------------- main */

static void run_cases(struct test *t)
{
	static const struct {
		const char *name;
		bool (*run)(struct test *t);
	} cases[] = { { "placed", placed },
		      { "not-asked", not_asked },
		      { "pinned", stays_pinned },
		      { "alloc", allocates },
		      { "populated", populated } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		t->name = cases[i].name;
		t->ran++;
		if (cases[i].run(t))
			printf("ok   %s/%s\n", t->backend, t->name);
		else
			t->failed++;
	}
}

static void run_backend(struct test *t, enum pinmem_backend backend, const char *device)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = backend,
				    .device = device };

	t->backend = pinmem_backend_name(backend);
	if (pinmem_open(&o, &t->pm))
		link_die("pinmem_open: %s", pinmem_errmsg());
	run_cases(t);
	if (pinmem_close(t->pm))
		link_die("pinmem_close: %s", pinmem_errmsg());
}

static bool wanted(enum pinmem_backend backend, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], pinmem_backend_name(backend)))
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	const char *nodes = getenv("PINMEM_NUMA_NODES");
	struct test t = { .name = "" };

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!nodes || atoi(nodes) != 2) {
		puts("PINMEM_NUMA_NODES is not 2: this runs in tests/vm/run's machine");
		return 77;
	}
	if (wanted(PINMEM_BACKEND_VERBS, argc, argv))
		run_backend(&t, PINMEM_BACKEND_VERBS, getenv("PINMEM_RXE0"));
	if (wanted(PINMEM_BACKEND_URING, argc, argv))
		run_backend(&t, PINMEM_BACKEND_URING, NULL);
	printf("%u cases, %u failed\n", t.ran, t.failed);
	return t.failed ? 1 : t.ran ? 0 : 2;
}
