/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor_uffd.c - changes of mappings, from userfaultfd(2): source of monitor.c.
 *
 * Mappings are registered for write-protection tracking, and nothing is ever write-
 * protected: so there is no page fault, only the events UNMAP, REMAP and REMOVE. They
 * come from the kernel's own paths, whoever calls them and however. What makes events
 * and what does not: tests/host/test_monitor.c, line by line.
 *
 * THE SET of addresses known to be registered spares the next region in a mapping all
 * system calls. Its rule:
 *
 *	what is in the set is registered, or an event that takes it out is under way
 *
 * Under way is from when the changer holds the mm's lock until its event was handled.
 * So who found a range in the set, then no event under way, and was told of none of
 * that range meanwhile, knows that it is registered and has not changed:
 * monitor_confirm(). (That an event is yet to come is not enough. Somebody else's
 * mmap() may have filled the hole, and have no event of its own when it goes again.)
 * How the rule is kept:
 *
 *   - An event takes its range out before the listeners are told.
 *   - Nothing that the kernel says once is believed: between any two calls the
 *     mapping may have gone and another, unregistered one, come. adopt() therefore
 *       1. asks for the mapping's bounds [s, e) and enters them in a list of
 *          attempts; every event that touches an attempt spoils it
 *       2. registers [s, e): all that is mapped there now, perhaps with holes
 *       3. asks again, and wants one mapping over all of [s, e). A mapping is
 *          registered all or not at all (those that are and those that are not are
 *          never merged), so it is registered, unless everything that was mapped
 *          there at step 2 has gone since. That would have made events:
 *       4. waits until none is under way: UFFDIO_WRITEPROTECT says EAGAIN while one
 *          is; and until what was read is handled. If the attempt is not spoiled
 *          then, [s, e) goes into the set.
 *     Else it begins again, and gives up after some rounds. The first one is for the
 *     whole mapping, which the kernel may have merged with memory that other threads
 *     come and go in; the others only for what was asked for: [s, e) is that part of
 *     it, and is registered once more by itself, so that the success of step 2 means
 *     that some of [s, e), and not of the rest, was mapped.
 *   - What the kernel registers by itself is left out, which costs a call and harms
 *     nothing: where mremap() moved a mapping to (by when its event is read, that may
 *     have been unmapped again), what a mapping grew by.
 *   - System V segments are not registered: shmdt(2) sends no event, and the
 *     addresses would stay in the set. Changes of other mappings that send none
 *     (shmat() with SHM_REMAP, remap_file_pages(2)): monitor_distrust().
 *
 * DISCARDS. The event of munmap(), mmap(), mremap() and brk() comes when the change
 * is made; that of madvise(MADV_DONTNEED, MADV_FREE, MADV_REMOVE) before (madvise.c:
 * userfaultfd_remove(), then zap). Between, somebody may pin the very pages that are
 * about to be taken, and the cache would keep a stale region. So a discarded range is
 * remembered, and not watched anew (-EAGAIN) until every thread was seen outside of
 * madvise(): monitor_tasks.c. That is looked at by whoever wants to watch the range,
 * and by nobody if nobody does.
 *
 * REUSED ADDRESSES. The mm's lock is free again before the event is sent. So while one
 * thread is in munmap(), another may be given the same addresses by mmap() and finish
 * that; nothing tells of it, and until the event is read nobody knows that what was
 * cached there is stale. Only asking the kernel shows it: uffd_under_way().
 *
 * THE END. A forked child has inherited the descriptor (there is no close-on-fork),
 * so that closing ours may not end the registrations, and without a reader everybody
 * who unmaps such memory would be held for ever. So they are ended one by one, whole
 * mappings, while the reader still reads; then nobody new can come, and those who are
 * under way are waited for. Since the set may lack something (`lost`), the mappings
 * of the whole process are gone through if need be. That a mapping is ours to
 * unregister is found by registering it: EBUSY if it is another userfaultfd's.
 * (Before 6.17 the kernel would let us unregister that one's.)
 *
 * What watching does to a program. A mapping that is watched does not merge with a
 * new neighbour that is not, so there may be more mappings; khugepaged leaves ranges
 * with holes alone; shared file mappings are faulted in page by page; mremap() of
 * several mappings at once (6.17) says EFAULT.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "maps.h"
#include "monitor.h"
#include "monitor_parts.h"
#include "uapi.h"

#define EVENTS                                                 \
	(UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | \
	 UFFD_FEATURE_EVENT_REMOVE)
#define ROUNDS 8	     /* of adopt() */
#define LAST_EVENTS_MS 2000u /* how long the end waits for them */
#define DISCARDS 32

struct attempt {
	uintptr_t start, end;
	bool spoiled;
	struct attempt *next;
};

struct discard {
	uintptr_t start, end;
	uint64_t stamp;
};

struct monitor_source {
	int fd;
	pthread_mutex_t grow_lock; /* the set's growth; taken with nothing else held */
	pthread_mutex_t lock;	   /* all below, but for the reader's own */
	struct spans set;
	bool gone; /* the descriptor is not ours any more */
	bool lost; /* something may be registered and not in the set */
	struct attempt *attempts;
	struct discard discards[DISCARDS]; /* that may not be over */
	unsigned int ndiscards;
	uint64_t stamp; /* discards so far */
	struct tasks tasks;
	struct uffd_msg msgs[64]; /* the reader's */
};

static bool overlap(uintptr_t start, uintptr_t end, uintptr_t from, uintptr_t to)
{
	return start < to && from < end;
}

/* ------------------------------------------------------------------- the kernel */

static int uffd_register(const struct monitor_source *s, uintptr_t start, uintptr_t end)
{
	struct uffdio_register r = { .range = { .start = start, .len = end - start },
				     .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(s->fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

static void uffd_unregister(const struct monitor_source *s, uintptr_t start,
			    uintptr_t end)
{
	struct uffdio_range r = { .start = start, .len = end - start };

	ioctl(s->fd, UFFDIO_UNREGISTER, &r);
}

/* Is an event under way? That is looked at before the range, which is none: so the mm's
 * lock is not taken. */
static bool uffd_under_way(struct monitor_source *s)
{
	struct uffdio_writeprotect w = { .range = { .len = 0 } };

	return ioctl(s->fd, UFFDIO_WRITEPROTECT, &w) && errno != ENOENT &&
	       errno != EINVAL;
}

/* --------------------------------------------------------------------- the events */

static void spoil(struct monitor_source *s, uintptr_t start, uintptr_t end)
{
	for (struct attempt *a = s->attempts; a; a = a->next)
		if (overlap(a->start, a->end, start, end))
			a->spoiled = true;
}

static void forget(struct monitor_source *s, uintptr_t start, uintptr_t end)
{
	spoil(s, start, end);
	if (!spans_remove(&s->set, start, end))
		s->lost = true;
}

/* When there are too many, the last two become one that reaches over both. */
static void note_discard(struct monitor_source *s, uintptr_t start, uintptr_t end)
{
	struct discard *d = &s->discards[s->ndiscards];

	if (s->ndiscards < DISCARDS) {
		s->ndiscards++;
	} else {
		d--;
		start = d->start < start ? d->start : start;
		end = d->end > end ? d->end : end;
	}
	*d = (struct discard){ .start = start, .end = end, .stamp = ++s->stamp };
}

static void handle(struct monitor_source *s, struct monitor *m,
		   const struct uffd_msg *msg)
{
	uintptr_t start = (uintptr_t)msg->arg.remove.start;
	uintptr_t end = (uintptr_t)msg->arg.remove.end;
	enum monitor_cause cause = MONITOR_UNMAP;

	pthread_mutex_lock(&s->lock);
	switch (msg->event) {
	case UFFD_EVENT_UNMAP:
		forget(s, start, end);
		break;
	case UFFD_EVENT_REMAP:
		cause = MONITOR_REMAP;
		start = (uintptr_t)msg->arg.remap.from;
		end = start + (uintptr_t)msg->arg.remap.len;
		forget(s, start, end);
		/* the new place; and with MREMAP_DONTUNMAP the old one, too */
		s->lost = true;
		break;
	case UFFD_EVENT_REMOVE:
		cause = MONITOR_DISCARD;
		note_discard(s, start, end);
		break;
	default:
		end = start; /* there are no others */
	}
	pthread_mutex_unlock(&s->lock);
	if (start < end)
		monitor_tell(m, start, end, cause);
}

/* Somebody has closed our descriptor: there is nothing that is watched any more. */
static void give_up(struct monitor_source *s, struct monitor *m)
{
	pthread_mutex_lock(&s->lock);
	forget(s, 0, UINTPTR_MAX);
	s->gone = true;
	pthread_mutex_unlock(&s->lock);
	monitor_tell(m, 0, page_floor(UINTPTR_MAX), MONITOR_UNMAP);
}

static bool uffd_take(struct monitor_source *s, struct monitor *m)
{
	ssize_t n;

	if (!s->tasks.never)
		s->tasks.never = gettid();
	do {
		n = read(s->fd, s->msgs, sizeof(s->msgs));
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*s->msgs); i++)
			handle(s, m, &s->msgs[i]);
	} while (n == sizeof(s->msgs) || (n < 0 && errno == EINTR));
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return true; /* fewer than there was room for: that was all */
	give_up(s, m);
	return false;
}

/* ----------------------------------------------------------------------- to watch */

/* Return: 1: m->vma holds @at; 0: nothing does; or an error */
static int mapping_at(struct maps *maps, uintptr_t at)
{
	int rc;

	maps_begin(maps);
	rc = maps_next(maps, at, at);
	maps_end(maps);
	return rc == 1 ? maps->vma.start <= at : rc;
}

/* shmdt(2) sends no event */
static bool sysv(const struct maps *maps)
{
	return !strncmp(maps->name, "/SYSV", 5);
}

static int register_error(int rc)
{
	switch (rc) {
	case -EBUSY:
	case -ENOMEM:
		return rc;
	default:
		return -EINVAL;
	}
}

/* Steps 2 to 4, with the attempt in the list. */
static int register_attempt(struct monitor_source *s, struct monitor *m,
			    struct maps *maps, const struct attempt *a)
{
	uintptr_t start = maps->vma.start, end = maps->vma.end;
	int rc = uffd_register(s, start, end), found;

	if (!rc && (start < a->start || a->end < end))
		rc = uffd_register(s, a->start, a->end);
	found = mapping_at(maps, a->start);
	if (found < 0)
		return found;
	if (!found || maps->vma.start > a->start || maps->vma.end < a->end)
		return -EAGAIN;
	if (sysv(maps)) /* it came between; and would go without an event */
		return -EAGAIN;
	return rc ? register_error(rc) : monitor_confirm(m);
}

static void attempt_begin(struct monitor_source *s, struct attempt *a)
{
	pthread_mutex_lock(&s->lock);
	a->next = s->attempts;
	s->attempts = a;
	pthread_mutex_unlock(&s->lock);
}

/* Return: @rc, or why it was not to be */
static int attempt_end(struct monitor_source *s, struct attempt *a, int rc)
{
	struct attempt **at = &s->attempts;

	pthread_mutex_lock(&s->lock);
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	if (!rc && a->spoiled)
		rc = -EAGAIN;
	if (!rc && !spans_add(&s->set, a->start, a->end))
		rc = -ENOMEM;
	if (rc)
		s->lost = true;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/*
 * @narrow: enter no more into the set than was asked for
 * Return: 0, and *at is how far it reaches; -EAGAIN: it changed meanwhile; or an error
 */
static int adopt(struct monitor_source *s, struct monitor *m, uintptr_t *at,
		 uintptr_t end, bool narrow)
{
	struct maps maps;
	struct attempt a = { .spoiled = false };
	int rc = mapping_at(&maps, *at);

	if (rc <= 0)
		return rc ? rc : -EFAULT;
	if (sysv(&maps))
		return -EINVAL;
	a.start = narrow ? *at : maps.vma.start;
	a.end = narrow && end < maps.vma.end ? end : maps.vma.end;
	attempt_begin(s, &a);
	rc = register_attempt(s, m, &maps, &a);
	rc = attempt_end(s, &a, rc);
	if (!rc)
		*at = a.end;
	return rc;
}

static int adopt_all(struct monitor_source *s, struct monitor *m, uintptr_t at,
		     uintptr_t end)
{
	int rc = 0, rounds = 0;

	while (!rc && at < end) {
		rc = adopt(s, m, &at, end, rounds > 0);
		if (rc == -EAGAIN && ++rounds < ROUNDS)
			rc = 0;
	}
	return rc == -EAGAIN ? -EFAULT : rc;
}

/* Under the lock: how far from @at on all is known to be registered. */
static uintptr_t known_until(const struct monitor_source *s, uintptr_t at,
			     uintptr_t end)
{
	uintptr_t next;

	while (at < end && (next = spans_end_at(&s->set, at)))
		at = next;
	return at;
}

/* Under the lock: the last discard in a range that may not be over; 0: none. */
static uint64_t last_discard(const struct monitor_source *s, uintptr_t start,
			     uintptr_t end)
{
	uint64_t last = 0;

	for (unsigned int i = 0; i < s->ndiscards; i++)
		if (overlap(s->discards[i].start, s->discards[i].end, start, end))
			last = s->discards[i].stamp;
	return last;
}

static int discards_over(struct monitor_source *s, uint64_t stamp, uint64_t now)
{
	uint64_t passed = tasks_passed(&s->tasks, stamp, now);
	unsigned int left = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < s->ndiscards; i++)
		if (s->discards[i].stamp > passed)
			s->discards[left++] = s->discards[i];
	s->ndiscards = left;
	pthread_mutex_unlock(&s->lock);
	return passed < stamp ? -EAGAIN : 0;
}

static int reserve(struct monitor_source *s)
{
	int rc;

	pthread_mutex_lock(&s->grow_lock);
	rc = spans_reserve(&s->set);
	pthread_mutex_unlock(&s->grow_lock);
	return rc ? -ENOMEM : 0;
}

static int uffd_watch(struct monitor_source *s, struct monitor *m, uintptr_t start,
		      uintptr_t end, struct watch *w)
{
	uint64_t discard, now;
	uintptr_t at;
	bool low;
	int rc;

	(void)w; /* the gate tells */
	pthread_mutex_lock(&s->lock);
	rc = s->gone ? -EINVAL : 0;
	discard = last_discard(s, start, end);
	now = s->stamp;
	at = known_until(s, start, end);
	low = spans_low(&s->set);
	pthread_mutex_unlock(&s->lock);
	if (!rc && discard)
		rc = discards_over(s, discard, now);
	if (rc || at >= end)
		return rc;
	if (low)
		rc = reserve(s);
	return rc ? rc : adopt_all(s, m, at, end);
}

static void uffd_distrust(struct monitor_source *s, uintptr_t start, uintptr_t end)
{
	pthread_mutex_lock(&s->lock);
	forget(s, start, end);
	s->lost = true;
	pthread_mutex_unlock(&s->lock);
}

/* ------------------------------------------------------------------- begin and end */

/* End the registrations of the mappings in a range, if they are ours. */
static void release_range(const struct monitor_source *s, uintptr_t at, uintptr_t end)
{
	struct maps maps;
	int rc;

	maps_begin(&maps);
	while ((rc = maps_next(&maps, at, 0)) == 1 && maps.vma.start < end) {
		if (!uffd_register(s, maps.vma.start, maps.vma.end))
			uffd_unregister(s, maps.vma.start, maps.vma.end);
		at = maps.vma.end;
	}
	maps_end(&maps);
	if (rc < 0) /* /proc has gone */
		uffd_unregister(s, at, end);
}

static bool take_first(struct monitor_source *s, uintptr_t *start, uintptr_t *end)
{
	pthread_mutex_lock(&s->lock);
	*start = spans_first(&s->set);
	*end = spans_end_at(&s->set, *start);
	if (*end)
		forget(s, *start, *end);
	pthread_mutex_unlock(&s->lock);
	return *end;
}

static void uffd_end(struct monitor_source *s, struct monitor *m)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	uintptr_t start, end;
	bool lost, gone;

	while (take_first(s, &start, &end))
		release_range(s, start, end);
	pthread_mutex_lock(&s->lock);
	lost = s->lost;
	gone = s->gone;
	pthread_mutex_unlock(&s->lock);
	if (gone)
		return;
	if (lost)
		release_range(s, 0, page_floor(UINTPTR_MAX));
	/* bounded, for kernels that count a failed mremap() as under way for ever */
	for (unsigned int i = 0; i < LAST_EVENTS_MS && monitor_confirm(m); i++)
		nanosleep(&moment, NULL);
}

static int from_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd, err;

	if (device < 0)
		return -errno;
	fd = ioctl(device, UAPI_USERFAULTFD_IOC_NEW,
		   (void *)(uintptr_t)(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
	err = errno;
	close(device);
	return fd < 0 ? -err : fd;
}

static int no_descriptor(int err, int device)
{
	switch (err) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return fail(err, "no userfaultfd for the cache's monitor: %s",
			    strerror(err));
	case EINVAL:
		return fail(
			EOPNOTSUPP,
			"this kernel's userfaultfd(2) does not know "
			"UFFD_USER_MODE_ONLY: the cache's monitor needs Linux 5.19");
	default:
		return fail(
			EOPNOTSUPP,
			"userfaultfd(2), which the cache's monitor needs, is not to "
			"be had: %s; nor is /dev/userfaultfd: %s. Have the seccomp "
			"filter (of the container) allow the call, or the device "
			"opened, in a kernel with CONFIG_USERFAULTFD; or take over "
			"invalidation (PINMEM_MONITOR_CALLER)",
			strerror(err), strerror(device));
	}
}

static int new_descriptor(void)
{
	long fd =
		syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	int err = errno, device;

	if (fd >= 0)
		return (int)fd;
	device = err == EPERM || err == ENOSYS ? from_device() : -EPERM;
	return device >= 0 ? device : no_descriptor(err, -device);
}

/* Return: a descriptor; -EINVAL: these features are not to be had; or an error */
static int new_with(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = new_descriptor();

	if (fd < 0)
		return fd;
	if (!ioctl(fd, UFFDIO_API, &api) &&
	    api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP)
		return fd;
	close(fd);
	return -EINVAL;
}

static int open_fd(void)
{
	int fd = new_with(EVENTS | UAPI_UFFD_FEATURE_WP_ASYNC);

	if (fd == -EINVAL) /* before 6.7: anonymous memory, shmem and hugetlb only */
		fd = new_with(EVENTS);
	if (fd == -EINVAL)
		return fail(
			EOPNOTSUPP,
			"this kernel's userfaultfd(2) cannot tell of unmapped memory "
			"or not track writes: the cache's monitor needs Linux 5.19 "
			"on x86-64, 6.10 on arm64; or take over invalidation "
			"(PINMEM_MONITOR_CALLER)");
	return fd;
}

static int uffd_open(struct monitor_source **out, int *fd)
{
	struct monitor_source *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return fail(ENOMEM, "no memory for a monitor");
	rc = spans_init(&s->set);
	if (rc)
		goto free_source;
	s->fd = open_fd();
	if (s->fd < 0) {
		rc = s->fd;
		goto fini_set;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->grow_lock, NULL);
	tasks_init(&s->tasks);
	*out = s;
	*fd = s->fd;
	return 0;

fini_set:
	spans_fini(&s->set);
free_source:
	free(s);
	return rc;
}

static void uffd_close(struct monitor_source *s)
{
	if (!s->gone) /* its number may be another's */
		close(s->fd);
	tasks_fini(&s->tasks);
	spans_fini(&s->set);
	free(s);
}

const struct monitor_ops monitor_uffd = {
	.kind = PINMEM_MONITOR_USERFAULTFD,
	.open = uffd_open,
	.take = uffd_take,
	.under_way = uffd_under_way,
	.watch = uffd_watch,
	.distrust = uffd_distrust,
	.end = uffd_end,
	.close = uffd_close,
};
