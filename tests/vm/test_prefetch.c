/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_prefetch.c - what pinmem_prefetch() spares the first RDMA WRITE into an ODP
 * region: the device's page faults and the file system's, counted by the kernel.
 *
 * For each kind of memory a region over untouched pages, and a peer that WRITEs all of
 * it. Counted from just before the WRITE to just after it, with and without a prefetch:
 *   device  calls of ib_umem_odp_map_dma_and_lock(), a kprobe: the device faults
 *   fs      dax_pte_fault and dax_pmd_fault, or what the kind has
 * and the WRITE's time. Without a prefetch both must be there, or the counters count
 * nothing. With one, no file system fault may be left; a prefetch through the device
 * (statistics: prefetch_device) leaves no device fault either, one by touching leaves
 * those.
 * Exit: 0; 1 when a case failed; 77 without ODP or tracing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

#define PAGES 64ul
#define LEN (PAGES * LINK_PAGE)
#define TRACING "/sys/kernel/tracing/"
#define INSTANCE TRACING "instances/pinmem_prefetch/"
#define PROBE "pinmem_odp_fault"

enum kind { EXT4_DAX, XFS_DAX, ANON, KINDS };
enum how { NOT, TO_READ, TO_WRITE };

struct counts {
	unsigned int device, fs;
	double ms;
};

struct test {
	struct link l;
	enum kind kind;
	unsigned int failed;
};

static const char *const kind_names[] = { "ext4-dax", "xfs-dax", "anon" };

static bool complain(struct test *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool complain(struct test *t, const char *fmt, ...)
{
	va_list ap;

	printf("FAIL %s: ", kind_names[t->kind]);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	t->failed++;
	return false;
}

/* ----------------------------------------------------------------------- tracing */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	bool fine = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return fine;
}

/* In an instance of its own, so that nobody else's tracing is disturbed. */
static bool start_tracing(void)
{
	return put(TRACING "kprobe_events",
		   "p:" PROBE "/fault ib_umem_odp_map_dma_and_lock\n") &&
	       (!mkdir(INSTANCE, 0700) || errno == EEXIST) &&
	       put(INSTANCE "events/" PROBE "/fault/enable", "1") &&
	       put(INSTANCE "events/fs_dax/dax_pte_fault/enable", "1") &&
	       put(INSTANCE "events/fs_dax/dax_pmd_fault/enable", "1");
}

static void stop_tracing(void)
{
	put(INSTANCE "events/enable", "0");
	rmdir(INSTANCE);
	put(TRACING "kprobe_events", "-:" PROBE "/fault\n");
}

static void forget(void)
{
	int fd = open(INSTANCE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		link_die("%strace: %s", INSTANCE, strerror(errno));
	close(fd);
}

static void count(struct counts *c)
{
	FILE *f = fopen(INSTANCE "trace", "re");
	char line[512];

	if (!f)
		link_die("%strace: %s", INSTANCE, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		c->device += line[0] != '#' && strstr(line, " fault: ");
		c->fs += strstr(line, " dax_pte_fault: ") ||
			 strstr(line, " dax_pmd_fault: ");
	}
	fclose(f);
}

/* ------------------------------------------------------------------------ a case */

/* A hole of a file, or anonymous memory: nothing is there yet. */
static unsigned char *map_untouched(struct test *t)
{
	const char *dir = t->kind == ANON
				  ? NULL
				  : getenv(t->kind == EXT4_DAX ? "PINMEM_EXT4_DAX"
							       : "PINMEM_XFS_DAX");
	int flags = dir ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
	char path[512];
	void *p;

	if (dir) {
		snprintf(path, sizeof(path), "%s/prefetch", dir);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, LEN))
			link_die("%s: %s", path, strerror(errno));
		unlink(path);
	}
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED)
		link_die("mmap: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	else
		madvise(p, LEN, MADV_NOHUGEPAGE);
	return p;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return 1e3 * (double)ts.tv_sec + 1e-6 * (double)ts.tv_nsec;
}

/* The peer WRITEs everything, and what happens meanwhile is counted. */
static bool first_write(struct test *t, struct pinmem_mr *mr, const unsigned char *p,
			struct counts *c)
{
	struct link_request r = { .verb = LINK_FILL, .len = LEN, .seed = 5 };
	double start;
	int rc = link_ask(&t->l, &r, NULL);

	r.verb = LINK_WRITE;
	link_target(mr, &r.target);
	forget();
	start = now_ms();
	if (!rc)
		rc = link_ask(&t->l, &r, NULL);
	c->ms = now_ms() - start;
	count(c);
	if (rc)
		return complain(t, "the peer's WRITE: %s", link_status(rc));
	return link_check(p, 0, LEN, 5) < 0 || complain(t, "wrong bytes");
}

static bool prefetches(struct test *t, struct pinmem_mr *mr, enum how how, bool *device)
{
	struct pinmem_stats a = { .size = sizeof(a) }, b = { .size = sizeof(b) };

	if (how == NOT)
		return true;
	pinmem_stats(t->l.end.pm, &a);
	if (pinmem_prefetch(mr, 0, LEN, how == TO_WRITE))
		return complain(t, "pinmem_prefetch: %s", pinmem_errmsg());
	pinmem_stats(t->l.end.pm, &b);
	*device = b.prefetch_device == a.prefetch_device + 1;
	return *device + (b.prefetch_touch == a.prefetch_touch + 1) == 1 ||
	       complain(t, "the statistics do not tell how it prefetched");
}

/* Each with a region and memory of its own. */
static bool measure(struct test *t, enum how how, struct counts *c, bool *device)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = PINMEM_ODP };
	unsigned char *p = map_untouched(t);
	struct pinmem_mr *mr;
	bool fine;

	memset(c, 0, sizeof(*c));
	if (pinmem_reg(t->l.end.pm, p, LEN, LINK_ACCESS, &o, &mr)) {
		munmap(p, LEN);
		return complain(t, "pinmem_reg: %s", pinmem_errmsg());
	}
	fine = prefetches(t, mr, how, device) && first_write(t, mr, p, c);
	if (pinmem_dereg(mr, PINMEM_DIRTY, NULL))
		fine = complain(t, "pinmem_dereg: %s", pinmem_errmsg());
	munmap(p, LEN);
	return fine;
}

static void show(struct test *t, const char *what, const struct counts *c)
{
	printf("     %s: %s: %u device faults, %u of the file system, %.1f ms\n",
	       kind_names[t->kind], what, c->device, c->fs, c->ms);
}

static void run_case(struct test *t)
{
	struct counts without, reading, writing;
	bool device = false;

	if (!measure(t, NOT, &without, &device) ||
	    !measure(t, TO_READ, &reading, &device) ||
	    !measure(t, TO_WRITE, &writing, &device))
		return;
	show(t, "not prefetched", &without);
	show(t, "prefetched for reading", &reading);
	show(t, "prefetched for writing", &writing);
	if (!without.device || (t->kind != ANON && without.fs < PAGES))
		complain(t, "the counters miss the faults of untouched memory");
	else if (writing.fs)
		complain(t, "%u faults of the file system after a prefetch",
			 writing.fs);
	else if (device && writing.device)
		complain(t, "%u device faults after a prefetch through the device",
			 writing.device);
	else
		printf("ok   %s: prefetched %s: %u of %u device faults and %u of %u of "
		       "the file system are left, %.0f %% of the time\n",
		       kind_names[t->kind], device ? "by the device" : "by touching",
		       writing.device, without.device, writing.fs, without.fs,
		       100 * writing.ms / without.ms);
}

int main(void)
{
	struct test t = { .failed = 0 };

	link_start(&t.l, LEN);
	if (!t.l.end.odp || !start_tracing()) {
		printf("skip: %s has no ODP, or the kernel cannot trace it\n",
		       t.l.end.device);
		link_stop(&t.l);
		return 77;
	}
	/* Balancing takes access from the page tables, to see who wants it back, and with
	 * it what the device has: between a prefetch and a WRITE it would undo the
	 * prefetch. Kernels without it have no such file. */
	put("/proc/sys/kernel/numa_balancing", "0\n");
	for (t.kind = 0; t.kind < KINDS; t.kind++)
		run_case(&t);
	stop_tracing();
	link_stop(&t.l);
	return t.failed ? 1 : 0;
}
