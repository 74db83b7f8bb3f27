/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor_pin_track.c - watches of /dev/pin_track (kernel/pin_track.patch) as a source
 * of the monitor: each watch has a word in a page that the kernel writes.
 *
 * The kernel raises the word before it changes a page table of the range, whoever
 * changes it: munmap() and its like, and also what userfaultfd does not tell of, as a
 * file's truncation, shmdt(), SHM_REMAP, guard pages. Protection, fork and writeback do
 * not raise it. A migration that failed because the page is pinned does: a region is
 * then registered anew for nothing.
 *
 * Why "watch, pin, compare" misses nothing. WATCH samples the word, and then waits for
 * the changes that are under way to end. So one that began before the sample is over
 * before the pin, and one that began after it is in the word.
 *
 * One descriptor and one mapping of all words (read only; a page of it exists once it
 * is used) serve the process. A child has neither: it finds the gate shut before it
 * would look at a word.
 */
#include "monitor.h"
#include "pin_track.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define FEATURES (UAPI_PIN_TRACK_FEATURE_SLOTS | UAPI_PIN_TRACK_FEATURE_WATCH)

struct monitor_source {
	int fd;
	const struct uapi_pin_track_slot *slots;
	size_t map_len;
};

static int map_slots(struct monitor_source *s)
{
	void *p = mmap(NULL, s->map_len, PROT_READ, MAP_SHARED, s->fd, 0);

	if (p == MAP_FAILED)
		return fail(errno,
			    "no room to map the words of " PIN_TRACK_DEVICE ": %s",
			    strerror(errno));
	madvise(p, s->map_len, MADV_DONTFORK); /* spares the child; no more */
	s->slots = p;
	return 0;
}

static int pt_open(struct monitor_source **out, int *fd)
{
	struct monitor_source *s = calloc(1, sizeof(*s));
	struct uapi_pin_track_info info;
	int rc;

	if (!s)
		return fail(ENOMEM, "no memory for a monitor");
	s->fd = pin_track_open(O_NONBLOCK, FEATURES, &info);
	if (s->fd < 0) {
		rc = s->fd;
		goto free_source;
	}
	s->map_len = info.map_len;
	rc = map_slots(s);
	if (rc)
		goto close_fd;
	*fd = s->fd;
	*out = s;
	return 0;

close_fd:
	close(s->fd);
free_source:
	free(s);
	return rc;
}

/* The number that is read is of no use but that the descriptor is not readable then. */
static bool pt_take(struct monitor_source *s, struct monitor *m)
{
	uint64_t count;
	ssize_t n = read(s->fd, &count, sizeof(count));

	monitor_look(m);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static int pt_watch(struct monitor_source *s, struct monitor *m, uintptr_t start,
		    uintptr_t end, struct watch *w)
{
	struct uapi_pin_track_watch arg = { .size = sizeof(arg),
					    .addr = start,
					    .len = end - start };

	(void)m;
	if (ioctl(s->fd, UAPI_PIN_TRACK_IOC_WATCH, &arg))
		return errno == ENOMEM || errno == ENOSPC ? -errno : -EINVAL;
	w->word = (const uint64_t *)&s->slots[arg.slot].invalidations;
	w->generation = arg.generation;
	w->id = arg.id;
	return 0;
}

/* Cannot fail: the watch is there, and this is the process that has opened. */
static void pt_unwatch(struct monitor_source *s, struct watch *w)
{
	struct uapi_pin_track_unpin arg = { .size = sizeof(arg), .id = w->id };

	ioctl(s->fd, UAPI_PIN_TRACK_IOC_UNWATCH, &arg);
}

static void pt_end(struct monitor_source *s, struct monitor *m)
{
	(void)s; /* nobody waits for the reader; close() ends what is left */
	(void)m;
}

static void pt_close(struct monitor_source *s)
{
	munmap((void *)(uintptr_t)s->slots, s->map_len);
	close(s->fd);
	free(s);
}

const struct monitor_ops monitor_pin_track = {
	.kind = PINMEM_MONITOR_PIN_TRACK,
	.words = true,
	.open = pt_open,
	.take = pt_take,
	.watch = pt_watch,
	.unwatch = pt_unwatch,
	.end = pt_end,
	.close = pt_close,
};
