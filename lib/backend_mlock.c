/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend_mlock.c - memory kept resident by mlock2(2): never swapped out, but not
 * pinned, since the kernel may still migrate it.
 *
 * Memory locks belong to pages and do not nest: one munlock(2) undoes any number of
 * mlock(2)s, also for a neighbour that shares only the edge page. So the process has
 * one table of the ranges that regions of all mlock pinners hold, and a release unlocks
 * only what no other range covers. (Locks that the program takes itself, with mlock(2)
 * or mlockall(2), do not show here; a release inside them undoes them.)
 *
 * Order of a pin: enter the range, then lock its pages. From then on no release takes
 * these pages' locks away, whichever thread comes first; so the table's lock is not
 * held while pages are faulted in. Unlocking happens under it, lest a range enter
 * between the look at the table and the munlock(2).
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define GIB ((size_t)1 << 30)

struct range {
	uintptr_t start, end; /* page aligned */
};

/*
 * Memory locks are not inherited, so a forked child has a table of its own. It does not
 * clear the parent's: another thread may have held its lock, or been changing it, at
 * the fork. That one stays linked here, out of use.
 */
struct table {
	uint64_t generation; /* of the process whose locks these are */
	struct table *parent;
	pthread_mutex_t lock; /* all below */
	struct range *v;      /* by start */
	size_t n, room;
	uintptr_t longest; /* >= each range's length */
};

struct mlocker {
	struct backend be;
	struct table *table;
};

static struct table *newest; /* atomic */

static struct table *table_of_process(void)
{
	uint64_t generation = process_generation();
	struct table *t = __atomic_load_n(&newest, __ATOMIC_ACQUIRE), *mine;

	if (t && t->generation == generation)
		return t;
	mine = generation ? calloc(1, sizeof(*mine)) : NULL;
	if (!mine)
		return NULL;
	mine->generation = generation;
	mine->parent = t;
	pthread_mutex_init(&mine->lock, NULL);
	if (__atomic_compare_exchange_n(&newest, &t, mine, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return mine;
	pthread_mutex_destroy(&mine->lock); /* another thread was first */
	free(mine);
	return t;
}

/* --------------------------------------------- the table; its lock is held */

/* The first range that starts at or after an address. */
static size_t first_from(const struct table *t, uintptr_t start)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->v[mid].start < start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int enter(struct table *t, struct range r)
{
	size_t at;

	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 16;
		struct range *v = realloc(t->v, room * sizeof(*v));

		if (!v)
			return fail(ENOMEM,
				    "no memory for the table of %zu locked ranges",
				    t->n + 1);
		t->v = v;
		t->room = room;
	}
	at = first_from(t, r.start);
	memmove(t->v + at + 1, t->v + at, (t->n - at) * sizeof(r));
	t->v[at] = r;
	t->n++;
	if (t->longest < r.end - r.start)
		t->longest = r.end - r.start;
	return 0;
}

/* Equal ranges are interchangeable. Return: t->n if there is none. */
static size_t find(const struct table *t, struct range r)
{
	size_t i = first_from(t, r.start);

	while (i < t->n && t->v[i].start == r.start && t->v[i].end != r.end)
		i++;
	return i < t->n && t->v[i].start == r.start ? i : t->n;
}

static void leave(struct table *t, size_t at)
{
	memmove(t->v + at, t->v + at + 1, (t->n - at - 1) * sizeof(*t->v));
	if (--t->n)
		return;
	free(t->v);
	t->v = NULL;
	t->room = 0;
	t->longest = 0;
}

/* Not through libc: the sanitizers make munlock(), but not mlock2(), do nothing. */
static int kernel_munlock(uintptr_t start, uintptr_t end)
{
	return (int)syscall(SYS_munlock, start, end - start);
}

static int unlock_mapping(const struct mapping *m, void *arg)
{
	(void)arg;
	if (!kernel_munlock(m->start, m->end))
		return 0;
	return range_mapped(m->start, m->end) ? -ENOMEM : 0;
}

/*
 * Where the caller has unmapped a part meanwhile, munlock(2) stops at the hole: go from
 * mapping to mapping. (Without /proc what lies behind the hole stays locked until
 * it is unmapped.) Without a hole ENOMEM says that unlocking must split a mapping, and
 * that there are vm.max_map_count already: then all is still locked.
 */
static int unlock(uintptr_t start, uintptr_t end)
{
	const struct backing_hints hints = { .fd = -1 };
	int err;

	if (!kernel_munlock(start, end))
		return 0;
	err = errno;
	if (!range_mapped(start, end)) {
		err = -backing_walk(start, end, &hints, unlock_mapping, NULL);
		if (!err || err == EOPNOTSUPP)
			return 0;
	}
	return fail(err, "munlock(2) of %zu bytes at %p failed: %s", end - start,
		    (void *)start, strerror(err));
}

static int lock_on_fault(uintptr_t start, uintptr_t end)
{
	return mlock2((void *)start, end - start, MLOCK_ONFAULT) ? -errno : 0;
}

/* Those parts of a range that no other one covers, until fn returns nonzero. */
static int each_uncovered(const struct table *t, size_t self,
			  int (*fn)(uintptr_t start, uintptr_t end))
{
	struct range r = t->v[self];
	uintptr_t done = r.start; /* seen or covered up to here */
	size_t i = first_from(t, r.start > t->longest ? r.start - t->longest : 0);
	int rc = 0;

	for (; i < t->n && t->v[i].start < r.end && done < r.end && !rc; i++) {
		struct range other = t->v[i];

		if (i == self || other.end <= done)
			continue;
		if (other.start > done)
			rc = fn(done, other.start);
		done = other.end;
	}
	return !rc && done < r.end ? fn(done, r.end) : rc;
}

/* ---------------------------------------------------------------- failures */

/* Why the kernel did not lock a range. It says ENOMEM for most of them. */
enum refusal {
	NO_MEMORY,
	NO_LIMIT, /* RLIMIT_MEMLOCK is 0 */
	HOLE,
	UNREADABLE, /* mapped, but a page cannot be faulted in */
	LIMIT_OR_SPLIT,
};

/* Locking without faulting in fails where mappings cannot be locked at all. */
static enum refusal refusal_of(const struct table *t, size_t at, int err)
{
	if (err == EPERM)
		return NO_LIMIT;
	if (err != ENOMEM)
		return NO_MEMORY;
	if (!range_mapped(t->v[at].start, t->v[at].end))
		return HOLE;
	return each_uncovered(t, at, lock_on_fault) ? LIMIT_OR_SPLIT : UNREADABLE;
}

static int fail_lock(const struct segment *seg, enum refusal why, int err)
{
	char size[BYTES_TEXT], limit[BYTES_TEXT];
	struct rlimit lim = { 0, 0 };

	format_bytes(size, seg->len);
	switch (why) {
	case NO_LIMIT:
		return fail(ENOMEM,
			    "%s at %p cannot be locked: RLIMIT_MEMLOCK is 0; raise "
			    "`ulimit -l` or grant CAP_IPC_LOCK",
			    size, seg->addr);
	case HOLE:
		return fail(EFAULT,
			    "%s at %p cannot be locked: not all of it is mapped", size,
			    seg->addr);
	case UNREADABLE:
		return fail(EFAULT,
			    "%s at %p cannot be locked: a page cannot be faulted in "
			    "(PROT_NONE, a guard region, or past the end of its file)",
			    size, seg->addr);
	case LIMIT_OR_SPLIT:
		getrlimit(RLIMIT_MEMLOCK, &lim);
		return fail(ENOMEM,
			    "%s at %p cannot be locked: it does not fit into "
			    "RLIMIT_MEMLOCK (%s), or splitting a mapping would exceed "
			    "sysctl vm.max_map_count",
			    size, seg->addr,
			    lim.rlim_cur == RLIM_INFINITY || memlock_bypass()
				    ? "which does not apply"
				    : format_bytes(limit, lim.rlim_cur));
	case NO_MEMORY:
		break;
	}
	if (err == EAGAIN) /* mlock's word for: a page could not be allocated */
		err = ENOMEM;
	return fail(err, "%s at %p could not be locked: %s", size, seg->addr,
		    strerror(err));
}

/* ---------------------------------------------------------------- the door */

static struct table *table_of(struct backend *be)
{
	return container_of(be, struct mlocker, be)->table;
}

static struct range range_of(const struct segment *seg)
{
	uintptr_t addr = (uintptr_t)seg->addr;

	return (struct range){ page_floor(addr), page_ceil(addr + seg->len) };
}

static int mlock_unpin(struct backend *be, struct segment *seg, enum pinmem_unpin how)
{
	struct table *t = table_of(be);
	size_t at;
	int rc;

	(void)how; /* the pages' dirty bits are untouched */
	pthread_mutex_lock(&t->lock);
	at = find(t, range_of(seg));
	if (at == t->n)
		rc = fail(EINVAL, "%zu bytes at %p are not locked", seg->len,
			  seg->addr);
	else
		rc = each_uncovered(t, at, unlock);
	if (!rc)
		leave(t, at);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* The kernel leaves locked what it locked before it failed. */
static enum refusal undo(struct table *t, struct range r, int err)
{
	enum refusal why;
	size_t at;

	pthread_mutex_lock(&t->lock);
	at = find(t, r);
	why = refusal_of(t, at, err);
	each_uncovered(t, at, unlock);
	leave(t, at);
	pthread_mutex_unlock(&t->lock);
	return why;
}

static int mlock_pin(struct backend *be, struct segment *seg, unsigned int access)
{
	struct table *t = table_of(be);
	struct range r = range_of(seg);
	int rc, err;

	(void)access;
	pthread_mutex_lock(&t->lock);
	rc = enter(t, r);
	pthread_mutex_unlock(&t->lock);
	if (rc)
		return rc;
	if (!mlock2((void *)r.start, r.end - r.start, 0))
		return 0;
	err = errno;
	return fail_lock(seg, undo(t, r, err), err);
}

static int mlock_open(const struct pinmem_options *opts, struct backend **be)
{
	struct mlocker *m = calloc(1, sizeof(*m));

	(void)opts;
	if (m)
		m->table = table_of_process();
	if (!m || !m->table) {
		free(m);
		return fail(ENOMEM, "no memory for an mlock pinner");
	}
	m->be.ops = &backend_mlock;
	m->be.caps = (struct backend_caps){
		.max_segment = SIZE_MAX & ~(GIB - 1),
		.unpin = UNPIN_NEVER_DIRTIES,
		.counter = PINMEM_COUNT_VMLCK,
		.limit_bypassed = memlock_bypass(),
		.access = PINMEM_ACCESS_LOCAL_WRITE,
		.node = -1,
	};
	*be = &m->be;
	return 0;
}

static void mlock_close(struct backend *be, bool forked)
{
	(void)forked;
	free(container_of(be, struct mlocker, be));
}

const struct backend_ops backend_mlock = {
	.id = PINMEM_BACKEND_MLOCK,
	.open = mlock_open,
	.close = mlock_close,
	.pin = mlock_pin,
	.unpin = mlock_unpin,
};
