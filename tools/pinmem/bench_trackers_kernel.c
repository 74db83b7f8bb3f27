/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_trackers_kernel.c - drives the kernel's benchmark of ways to track pins, and
 * makes the transient references that some of them are mistaken about: a thread that
 * migrates the pages, isolates them from the LRU or looks them up in the page cache;
 * and plain references, which stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "bench_trackers.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

#define BENCH "/sys/kernel/debug/pin_track_bench/run"
#define MOVE 2 /* MPOL_MF_MOVE */

const char *const tracker_names[TRACKERS] = {
	"bias", "xarray", "itree", "heuristic", "dirty_at_pin", "dirty_at_unpin",
};
const char *const transient_names[TRANSIENTS] = {
	"nothing", "migration", "isolation", "lookup", "references",
};

/* ------------------------------------------------------- the kernel's benchmark */

static int open_bench(void)
{
	int fd = open(BENCH, O_RDWR | O_CLOEXEC), err = errno;

	if (fd >= 0)
		return fd;
	snprintf(bench_why, sizeof(bench_why),
		 "%s cannot be opened (%s): it takes a kernel with "
		 "kernel/pin_track.patch "
		 "and CONFIG_PIN_TRACK_BENCH=y, debugfs mounted, and root; "
		 "`tests/vm/run --kernel patched` boots one",
		 BENCH, sys_errno(err));
	return -err;
}

int tracker_bench_there(void)
{
	int fd = open_bench();

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Each run adds a line; the last one must be of what was asked for. */
static int parse(const char *line, const char *asked, struct tracker_figures *f)
{
	size_t len = strlen(asked);

	if (!strncmp(line, asked, len) &&
	    sscanf(line + len,
		   " pin_ns=%llu unpin_ns=%llu irq_unpin_ns=%llu query_ns=%llu "
		   "bytes_per_pin=%llu queries=%llu false_positives=%llu "
		   "false_negatives=%llu lost_dirty=%llu",
		   &f->pin_ns, &f->unpin_ns, &f->irq_unpin_ns, &f->query_ns,
		   &f->bytes_per_pin, &f->queries, &f->false_positives,
		   &f->false_negatives, &f->lost_dirty) == 9)
		return 0;
	snprintf(bench_why, sizeof(bench_why),
		 "the kernel was asked for '%s' and answered '%.200s': a kernel with "
		 "another version of the patch, or somebody else uses it",
		 asked, line);
	return -EPROTO;
}

static int read_last(int fd, const char *asked, struct tracker_figures *f)
{
	static char all[1 << 17];
	ssize_t got = pread(fd, all, sizeof(all) - 1, 0);
	char *last;

	if (got <= 0)
		return bench_trouble(-EPROTO, BENCH, "says nothing after a run");
	all[got - 1] = '\0';
	last = strrchr(all, '\n');
	return parse(last ? last + 1 : all, asked, f);
}

int tracker_bench(const struct tracker_run *run, struct tracker_figures *f)
{
	char asked[160], command[224];
	int fd = open_bench(), rc = 0;

	if (fd < 0)
		return fd;
	snprintf(asked, sizeof(asked),
		 "tracker=%s op=%s pages=%lu threads=%lu runs=%lu",
		 tracker_names[run->tracker], run->classify ? "classify" : "cost",
		 run->pages, run->threads, run->runs);
	snprintf(command, sizeof(command), "%s addr=%p", asked, run->addr);
	if (write(fd, command, strlen(command)) < 0)
		rc = bench_trouble(-errno, asked, strerror(errno));
	if (!rc)
		rc = read_last(fd, asked, f);
	close(fd);
	return rc;
}

/* -------------------------------------------------------- who disturbs the pages */

/* Two nodes that this process may have memory of. Return: were there two? */
static bool two_nodes(int nodes[2])
{
	int n = 0;

	if (numa_available() < 0)
		return false;
	for (int node = 0; node <= numa_max_node() && n < 2; node++)
		if (numa_bitmask_isbitset(numa_get_mems_allowed(), (unsigned int)node))
			nodes[n++] = node;
	return n == 2;
}

/* Pinned pages stay: that the kernel tries is what makes the reference. */
static int migrate(struct disturbance *d)
{
	void *pages[DISTURBED_PAGES];
	int to[DISTURBED_PAGES], status[DISTURBED_PAGES], nodes[2];

	if (!two_nodes(nodes))
		return -EOPNOTSUPP;
	for (unsigned long i = 0; i < DISTURBED_PAGES; i++) {
		pages[i] = (char *)d->memory.addr + i * sys_page();
		to[i] = nodes[d->turns & 1];
	}
	return syscall(SYS_move_pages, 0, DISTURBED_PAGES, pages, to, status, MOVE) < 0
		       ? -errno
		       : 0;
}

static int isolate(struct disturbance *d)
{
	if (madvise(d->memory.addr, d->memory.len, 20 /* MADV_COLD */) ||
	    madvise(d->memory.addr, d->memory.len, 21 /* MADV_PAGEOUT */))
		return -errno;
	return 0;
}

static int look_up(struct disturbance *d)
{
	static char buffer[DISTURBED_PAGES * 4096];

	return pread(d->memory.fd, buffer, sizeof(buffer), 0) < 0 ? -errno : 0;
}

static void *disturb(void *arg)
{
	struct disturbance *d = arg;
	int rc = 0;

	while (!rc && !__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
		rc = d->what == MIGRATION   ? migrate(d)
		     : d->what == ISOLATION ? isolate(d)
					    : look_up(d);
		if (rc)
			__atomic_store_n(&d->err, rc, __ATOMIC_RELEASE);
		else
			__atomic_fetch_add(&d->turns, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static int disturbed(const struct disturbance *d)
{
	int rc = __atomic_load_n(&d->err, __ATOMIC_ACQUIRE);

	return rc ? bench_trouble(rc, transient_names[d->what],
				  rc == -EOPNOTSUPP ? "there are not two NUMA nodes"
						    : strerror(-rc))
		  : 0;
}

/* Returns once it works on the pages. */
static int start_thread(struct disturbance *d)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	int rc = pthread_create(&d->thread, NULL, disturb, d);

	if (rc)
		return bench_trouble(-rc, "a thread", strerror(rc));
	d->running = true;
	while (!rc && !__atomic_load_n(&d->turns, __ATOMIC_ACQUIRE)) {
		nanosleep(&moment, NULL);
		rc = disturbed(d);
	}
	return rc;
}

/* 1100 of the last page; pipes keep them. From 1024 on the page count of a small page
 * says pinned. */
static int take_references(struct disturbance *d)
{
	struct iovec iov = { .iov_base = (char *)d->memory.addr + d->memory.len -
					 sys_page(),
			     .iov_len = sys_page() };

	while (d->n_pipes < ARRAY_SIZE(d->pipes)) {
		int *ends = d->pipes[d->n_pipes];

		if (pipe2(ends, O_CLOEXEC))
			return bench_trouble(-errno, "a pipe", strerror(errno));
		d->n_pipes++;
		for (int i = 0; i < 10; i++, d->turns++)
			if (vmsplice(ends[1], &iov, 1, SPLICE_F_NONBLOCK) < 0)
				return bench_trouble(-errno, "vmsplice",
						     strerror(errno));
	}
	return 0;
}

static void drop_references(struct disturbance *d)
{
	while (d->n_pipes) {
		d->n_pipes--;
		close(d->pipes[d->n_pipes][0]);
		close(d->pipes[d->n_pipes][1]);
	}
}

int disturbance_start(struct disturbance *d, enum memory_kind kind, enum transient what)
{
	*d = (struct disturbance){ .what = what, .memory.fd = -1 };
	if (memory_make(kind, DISTURBED_PAGES * sys_page(), NULL, &d->memory))
		return bench_trouble(-ENOMEM, memory_label(kind), d->memory.why);
	madvise(d->memory.addr, d->memory.len, MADV_NOHUGEPAGE);
	memory_touch(d->memory.addr, d->memory.len);
	if (what == REFERENCES)
		return take_references(d);
	return what == NOTHING ? 0 : start_thread(d);
}

int disturbance_stop(struct disturbance *d)
{
	drop_references(d);
	if (!d->running)
		return 0;
	__atomic_store_n(&d->stop, true, __ATOMIC_RELAXED);
	pthread_join(d->thread, NULL);
	d->running = false;
	return disturbed(d);
}

void disturbance_drop(struct disturbance *d)
{
	disturbance_stop(d);
	memory_drop(&d->memory);
}
