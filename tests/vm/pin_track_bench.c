/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin_track_bench.c - drives the kernel's benchmark of ways to track pins, and makes
 * the transient references that some of them are mistaken about: other threads migrate
 * the pages, isolate them from the LRU, and look them up in the page cache, while the
 * kernel judges which of them are pinned.
 *
 * usage: pin_track_bench [RUNS]
 * Prints the kernel's lines (`tracker=NAME key=value...`), those of op=classify with
 * `backing=` and `transient=` in front.
 * Exit: 0; 1 when a line is not as it must be; 2 when it could not be tried.
 */
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "pin_track_user.h"

#define PAGE 4096ul
#define PAGES 256ul
#define LEN (PAGES * PAGE)
#define RUN "/sys/kernel/debug/pin_track_bench/run"
#define MOVE 2 /* MPOL_MF_MOVE */

static const char *const trackers[] = { "bias",	     "xarray",	     "itree",
					"heuristic", "dirty_at_pin", "dirty_at_unpin" };
#define TRACKERS (sizeof(trackers) / sizeof(trackers[0]))

enum transient { NOTHING, MIGRATION, ISOLATION, LOOKUP, REFERENCES, TRANSIENTS };
static const char *const transients[] = { "nothing", "migration", "isolation", "lookup",
					  "references" };

struct area {
	char *map;
	int file; /* -1: anonymous */
	enum transient what;
	bool stop;
};

/* Runs it in the kernel, and copies the line that it added to @line. */
static int bench(const char *command, char *line, size_t size)
{
	static char text[1 << 17];
	int fd = open(RUN, O_RDWR | O_CLOEXEC);
	ssize_t got;
	char *last;

	if (fd < 0 || write(fd, command, strlen(command)) < 0) {
		printf("%s: %s\n", command, strerror(errno));
		exit(2);
	}
	got = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	if (got <= 0)
		return -1;
	text[got - 1] = '\0';
	last = strrchr(text, '\n');
	snprintf(line, size, "%.*s", (int)size - 1, last ? last + 1 : text);
	return 0;
}

static unsigned long value_of(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtoul(at + strlen(key), NULL, 10) : ~0ul;
}

static void migrate(struct area *a, int node)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];
	unsigned long i;

	for (i = 0; i < PAGES; i++) {
		pages[i] = a->map + i * PAGE;
		nodes[i] = node;
	}
	syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MOVE);
}

static void *make_transients(void *arg)
{
	static char buffer[LEN];
	struct area *a = arg;
	int node = 0;

	while (!__atomic_load_n(&a->stop, __ATOMIC_RELAXED)) {
		switch (a->what) {
		case MIGRATION:
			node = !node;
			migrate(a, node);
			break;
		case ISOLATION:
			madvise(a->map, LEN, 20 /* MADV_COLD */);
			madvise(a->map, LEN, 21 /* MADV_PAGEOUT */);
			break;
		case LOOKUP:
			if (pread(a->file, buffer, LEN, 0) < 0)
				return NULL;
			break;
		default:
			return NULL;
		}
	}
	return NULL;
}

/*
 * Plain references, 1100 for each of the last pages: pipes keep them. From 1024 on
 * the page count of a small page says pinned.
 */
static int take_references(struct area *a, int (*pipes)[2], int n)
{
	struct iovec iov = { a->map + LEN - PAGE, PAGE };
	int i, j;

	for (i = 0; i < n; i++) {
		if (pipe(pipes[i]))
			return -1;
		for (j = 0; j < 10; j++)
			if (vmsplice(pipes[i][1], &iov, 1, SPLICE_F_NONBLOCK) < 0)
				return -1;
	}
	return 0;
}

static void drop_references(int (*pipes)[2], int n)
{
	while (n--) {
		close(pipes[n][0]);
		close(pipes[n][1]);
	}
}

static int map_area(struct area *a, bool file)
{
	char path[256];
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	a->file = -1;
	if (file) {
		snprintf(path, sizeof(path), "%s/pin_track_bench",
			 getenv("PINMEM_TMPFS"));
		a->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (a->file < 0 || ftruncate(a->file, LEN))
			return -1;
		flags = MAP_SHARED;
	}
	a->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, a->file, 0);
	if (a->map == MAP_FAILED)
		return -1;
	madvise(a->map, LEN, MADV_NOHUGEPAGE);
	memset(a->map, 1, LEN);
	return 0;
}

/* What a line must say: mainline's count and the exact trackers make no mistakes,
 * but for the one that is known. */
static bool plausible(const char *tracker, enum transient what, const char *line)
{
	unsigned long fp = value_of(line, "false_positives=");
	unsigned long fn = value_of(line, "false_negatives=");
	bool counts = !strcmp(tracker, "bias") || !strncmp(tracker, "dirty", 5);

	if (!strcmp(tracker, "heuristic"))
		return true;
	if (counts && what == REFERENCES)
		return fp > 0 && fn == 0;
	return fp == 0 && fn == 0;
}

/* Mistakes of the heuristic over all transients: it must make some. */
static unsigned long mistakes;

static int classify(const char *tracker, bool file, enum transient what,
		    unsigned long runs)
{
	struct area a = { .what = what };
	int pipes[110][2], rc;
	char command[256], line[512];
	pthread_t thread;

	if (map_area(&a, file))
		return -1;
	if (what == REFERENCES && take_references(&a, pipes, 110))
		return -1;
	if (pthread_create(&thread, NULL, make_transients, &a))
		return -1;
	snprintf(command, sizeof(command),
		 "tracker=%s op=classify addr=%#lx pages=%lu runs=%lu", tracker,
		 (unsigned long)a.map, PAGES, runs);
	rc = bench(command, line, sizeof(line));
	__atomic_store_n(&a.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	if (what == REFERENCES)
		drop_references(pipes, 110);
	munmap(a.map, LEN);
	if (file)
		close(a.file);
	if (!strcmp(tracker, "heuristic") && what != NOTHING && what != REFERENCES)
		mistakes += value_of(line, "false_positives=");
	printf("backing=%s transient=%s %s\n", file ? "tmpfs" : "anon",
	       transients[what], line);
	if (rc || !plausible(tracker, what, line)) {
		printf("FAIL: not plausible\n");
		return 1;
	}
	return 0;
}

static int cost(const char *tracker, unsigned long pages, unsigned int threads,
		unsigned long runs)
{
	char command[128], line[512];

	snprintf(command, sizeof(command), "tracker=%s pages=%lu threads=%u runs=%lu",
		 tracker, pages, threads, runs);
	if (bench(command, line, sizeof(line)))
		return 1;
	printf("%s\n", line);
	if (value_of(line, "false_negatives=") && strcmp(tracker, "heuristic")) {
		printf("FAIL: pinned pages that are not found\n");
		return 1;
	}
	if ((value_of(line, "lost_dirty=") > 0) != !strcmp(tracker, "dirty_at_pin")) {
		printf("FAIL: writeback in between loses what dirty_at_pin set, "
		       "only\n");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;
	unsigned int i, threads, file;
	enum transient what;
	int failures = 0;

	for (i = 0; i < TRACKERS; i++)
		for (threads = 1; threads <= 2; threads++) {
			failures += cost(trackers[i], 1, threads, runs);
			failures += cost(trackers[i], 16, threads, runs);
			failures += cost(trackers[i], 256, threads, runs / 10 + 1);
		}
	for (i = 0; i < TRACKERS - 2; i++)
		for (file = 0; file < 2; file++)
			for (what = 0; what < TRANSIENTS; what++)
				if (file || what != LOOKUP)
					failures +=
						classify(trackers[i], file, what, runs);
	if (!mistakes) {
		printf("FAIL: no transient reference was met: the test tests "
		       "nothing\n");
		failures++;
	}
	return failures ? 1 : 0;
}
