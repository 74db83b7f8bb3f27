/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend_uring.c - pins that are registered buffers of an io_uring.
 *
 * A pin is one slot of the ring's buffer table; the slot's number is what READ_FIXED
 * and WRITE_FIXED are given. The ring is the caller's or our own. So is the table:
 *
 *   ours      registered sparse, unregistered at close. Starts small and doubles in
 *             place up to the kernel's 16384 slots (Linux 6.13), because before it
 *             charges a huge page the kernel searches the whole table for it. On
 *             older kernels all 16384 slots are registered at once.
 *   borrowed  the caller registered it and lends [first, first + total); never grows.
 *
 * Who orders what. The kernel runs every io_uring_register(2) on a ring under that
 * ring's uring_lock, and requests look their buffers up under it too. So each pin,
 * unpin and growth happens at one moment: growing carries over every slot that was
 * pinned before, and whatever comes after finds the new table. Our lock only decides
 * who owns which slot. It is not held over a pin or unpin. It is held while the table
 * grows, so that the slot that growing copies stays empty; who waits for it then is on
 * the way to or from a call that takes the same uring_lock.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "uapi.h"

#define SLOTS_MAX 16384u /* IORING_MAX_REG_BUFFERS */
#define SLOTS_FIRST 256u /* in a table that can grow */
#define ENTRIES_DEFAULT 64u

struct uring {
	struct backend be;
	struct io_uring *ring; /* the caller's, or &own */
	struct io_uring own;
	bool table_ours;
	unsigned int first;		 /* number of our first slot */
	pthread_mutex_t lock;		 /* all below; slots are counted from `first` */
	unsigned int total;		 /* slots of the table that are ours to use */
	unsigned int limit;		 /* what total may grow to */
	int grow_error;			 /* why it may not grow to SLOTS_MAX, or 0 */
	unsigned int fresh;		 /* slots [fresh, total) were never used */
	unsigned int returned;		 /* of the array below */
	unsigned short stack[SLOTS_MAX]; /* slots given back: the warmest on top */
};

static struct uring *uring_of(struct backend *be)
{
	return container_of(be, struct uring, be);
}

/* --------------------------------------------------------------- sentences */

static int fail_not_issuer(void)
{
	return fail(EEXIST, "the ring has IORING_SETUP_SINGLE_ISSUER: only the thread "
			    "that made it can register buffers");
}

static uint64_t limit_of(int resource)
{
	struct rlimit lim = { 0, 0 };

	getrlimit(resource, &lim);
	return lim.rlim_cur;
}

static int disabled_by_sysctl(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = 0;

	if (!f)
		return 0; /* before Linux 6.6 */
	if (fscanf(f, "%d", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

static int fail_forbidden(void)
{
	int value = disabled_by_sysctl();

	if (value)
		return fail(EOPNOTSUPP,
			    "io_uring is switched off: sysctl kernel.io_uring_disabled "
			    "is %d; %s",
			    value,
			    value == 1 ? "0 allows it, or CAP_SYS_ADMIN, or membership "
					 "in the group kernel.io_uring_group"
				       : "0 allows it");
	return fail(
		EOPNOTSUPP,
		"io_uring_setup(2) is not permitted: a seccomp filter or a security "
		"module forbids it (sysctl kernel.io_uring_disabled does not)");
}

static const char *memlock_text(char buf[BYTES_TEXT])
{
	uint64_t limit = limit_of(RLIMIT_MEMLOCK);

	return limit == RLIM_INFINITY ? "unlimited" : format_bytes(buf, limit);
}

static int fail_setup(int rc, unsigned int entries)
{
	char limit[BYTES_TEXT];

	switch (-rc) {
	case EPERM:
		return fail_forbidden();
	case ENOSYS:
		return fail(EOPNOTSUPP,
			    "there is no io_uring_setup(2): the kernel was built "
			    "without CONFIG_IO_URING, or a seccomp filter hides it");
	case EINVAL:
		return fail(rc, "uring_entries is %u: the kernel takes 1 to 32768",
			    entries);
	case ENOMEM:
		return fail(rc,
			    "no kernel memory for a ring of %u entries, or no room in "
			    "RLIMIT_MEMLOCK (%s), which rings count against before "
			    "Linux 5.12 and since 6.14",
			    entries, memlock_text(limit));
	case EMFILE:
		return fail(rc,
			    "no file descriptor for a ring: RLIMIT_NOFILE is %" PRIu64,
			    limit_of(RLIMIT_NOFILE));
	default:
		return fail(rc, "io_uring_setup(2) failed: %s", strerror(-rc));
	}
}

static int fail_table(int rc)
{
	switch (-rc) {
	case EBUSY:
		return fail(rc, "the ring already has a buffer table: lend slots of it "
				"(PINMEM_OPEN_URING_SLOTS), or unregister it first");
	case EEXIST:
		return fail_not_issuer();
	case EINVAL:
		return fail(
			EOPNOTSUPP,
			"sparse buffer tables need Linux 5.19, this kernel has none");
	case EBADF:
	case EOPNOTSUPP:
		return fail(EINVAL, "the ring given is not an open io_uring");
	default:
		return fail(rc, "registering a buffer table failed: %s", strerror(-rc));
	}
}

static int fail_borrow(int rc, unsigned int first, unsigned int slots)
{
	switch (-rc) {
	case ENXIO:
		return fail(EINVAL,
			    "the ring has no buffer table to lend slots of: register "
			    "one (sparse), or open without PINMEM_OPEN_URING_SLOTS");
	case EINVAL:
		return fail(rc, "the ring's buffer table ends before slot %u",
			    first + slots - 1);
	default:
		return fail_table(rc);
	}
}

static int fail_pin(const struct segment *seg, int rc)
{
	char size[BYTES_TEXT], limit[BYTES_TEXT];

	format_bytes(size, seg->len);
	switch (-rc) {
	case EOVERFLOW: /* past the end of the address space */
	case EFAULT:
		return fail(EFAULT,
			    "%s at %p cannot be pinned: a part is not mapped, not "
			    "writable, or of a kind that takes no long-term pin "
			    "(io_uring pins for writing, always)",
			    size, seg->addr);
	case EOPNOTSUPP:
		return fail(rc,
			    "%s at %p cannot be pinned: a part is a file on a DAX file "
			    "system, or (before Linux 6.5) any file",
			    size, seg->addr);
	case ENOMEM:
		return fail(rc,
			    "pinning %s at %p: the kernel is out of memory, or all "
			    "io_uring buffers of this user together would exceed "
			    "RLIMIT_MEMLOCK (%s)",
			    size, seg->addr, memlock_text(limit));
	case EEXIST:
		return fail_not_issuer();
	case ENXIO:
	case EINVAL:
	case EBADF:
		return fail(rc,
			    "pinning %s at %p: the ring or its buffer table was taken "
			    "away behind this pinner: %s",
			    size, seg->addr, strerror(-rc));
	default:
		return fail(rc, "pinning %s at %p failed: %s", size, seg->addr,
			    strerror(-rc));
	}
}

/* ------------------------------------------------------------------- table */

/* Needs CLONE_BUFFERS as of 6.13, which liburing 2.3 does not know. */
static int clone_slot(int dst_fd, int src_fd, unsigned int src, unsigned int dst)
{
	struct uapi_clone_buffers arg = {
		.src_fd = (__u32)src_fd,
		.flags = UAPI_IORING_CLONE_DST_REPLACE,
		.src_off = src,
		.dst_off = dst,
		.nr = 1,
	};

	if (syscall(__NR_io_uring_register, dst_fd, UAPI_IORING_REGISTER_CLONE_BUFFERS,
		    &arg, 1) < 0)
		return -errno;
	return 0;
}

/*
 * Ask without touching anything: a kernel that can grow a table gets as far as
 * looking at the source's descriptor, of which there is none. Older kernels know the
 * flag or the whole call not; a restricted ring or a seccomp filter says so.
 */
static bool can_grow(const struct io_uring *ring)
{
	return ring->ring_fd >= 0 && clone_slot(ring->ring_fd, -1, 0, 0) == -EBADF;
}

/*
 * Copying an empty slot of the table to where no slot is yet makes the kernel
 * replace the table by one that is long enough, with all the slots there were. It needs
 * no second ring, which would have to be made with the capabilities and the user
 * that this one was made with. See io_clone_buffers() in io_uring/rsrc.c.
 */
static int table_grow(struct uring *u, unsigned int empty)
{
	unsigned int want = u->total * 2;
	int rc = clone_slot(u->ring->ring_fd, u->ring->ring_fd, empty, want - 1);

	switch (-rc) {
	case 0:
		u->total = want;
		return 0;
	case ENOMEM:
		return fail(rc, "no kernel memory for a buffer table of %u slots",
			    want);
	case EEXIST:
		return fail_not_issuer();
	default: /* a seccomp filter set up meanwhile: do with what there is */
		u->grow_error = -rc;
		u->limit = u->total;
		return 0;
	}
}

/* To new kernels a descriptor of -1 is no ring at all, rather than a bad one. */
static int ring_error(const struct uring *u, int rc)
{
	return rc == -EINVAL && u->ring->ring_fd < 0 ? -EBADF : rc;
}

static int table_register(struct uring *u)
{
	unsigned int slots = can_grow(u->ring) ? SLOTS_FIRST : SLOTS_MAX;
	int rc = io_uring_register_buffers_sparse(u->ring, slots);

	if (rc < 0)
		return fail_table(ring_error(u, rc));
	u->table_ours = true;
	u->total = slots;
	u->limit = SLOTS_MAX;
	return 0;
}

/* An update from no iovec changes nothing: EFAULT says that the slots are there. */
static int table_borrow(struct uring *u, unsigned int first, unsigned int slots)
{
	int rc =
		io_uring_register_buffers_update_tag(u->ring, first, NULL, NULL, slots);

	if (rc != -EFAULT)
		return fail_borrow(ring_error(u, rc), first, slots);
	u->first = first;
	u->total = slots;
	u->limit = slots;
	return 0;
}

/*
 * Up to Linux 6.12 the kernel waits here for the caller's requests in flight, and may
 * be interrupted by a signal. ENXIO, EBADF: the caller took the table away, EEXIST:
 * this is not the thread that may; there is nobody to tell.
 */
static void table_unregister(struct uring *u)
{
	while (io_uring_unregister_buffers(u->ring) == -EINTR)
		;
}

/* ------------------------------------------------------------------- slots */

static int fail_full(const struct uring *u)
{
	if (u->grow_error)
		return fail(ENOSPC,
			    "all %u buffer slots of the ring are taken, and the kernel "
			    "does not let the table grow: %s",
			    u->total, strerror(u->grow_error));
	if (!u->table_ours)
		return fail(ENOSPC,
			    "all %u buffer slots that the ring's owner lent are taken",
			    u->total);
	return fail(ENOSPC,
		    "all %u buffer slots of the ring are taken: the kernel allows no "
		    "more per ring",
		    u->total);
}

/*
 * The last free slot of a table that can grow is what it grows from, so:
 *   total < limit  =>  free slots >= 1, whenever the lock is free
 */
static int slot_take(struct uring *u, unsigned int *slot)
{
	unsigned int left;
	int rc = 0;

	pthread_mutex_lock(&u->lock);
	left = u->total - u->fresh + u->returned;
	if (left == 1 && u->total < u->limit)
		rc = table_grow(u, u->returned ? u->stack[u->returned - 1] : u->fresh);
	else if (!left)
		rc = fail_full(u);
	if (!rc)
		*slot = u->first + (u->returned ? u->stack[--u->returned] : u->fresh++);
	pthread_mutex_unlock(&u->lock);
	return rc;
}

static void slot_give(struct uring *u, unsigned int slot)
{
	pthread_mutex_lock(&u->lock);
	u->stack[u->returned++] = (unsigned short)(slot - u->first);
	pthread_mutex_unlock(&u->lock);
}

static int slot_update(struct uring *u, unsigned int slot, const struct iovec *iov)
{
	int rc;

	do
		rc = io_uring_register_buffers_update_tag(u->ring, slot, iov, NULL, 1);
	while (rc == -EINTR);
	return rc < 0 ? rc : 0;
}

/* ---------------------------------------------------------------- the door */

static int uring_pin(struct backend *be, struct segment *seg, unsigned int access)
{
	struct uring *u = uring_of(be);
	struct iovec iov = { seg->addr, seg->len };
	unsigned int slot;
	int rc;

	(void)access; /* the kernel pins for writing whatever we say */
	rc = slot_take(u, &slot);
	if (rc)
		return rc;
	rc = slot_update(u, slot, &iov);
	if (rc)
		goto give_slot;
	seg->slot = (int)slot;
	return 0;

give_slot:
	slot_give(u, slot);
	return fail_pin(seg, rc);
}

/*
 * Requests in flight keep their pages: the kernel drops the pin when the last of them
 * has completed (before 6.13: when those of the whole ring that began earlier have).
 */
static int uring_unpin(struct backend *be, struct segment *seg, enum pinmem_unpin how)
{
	struct uring *u = uring_of(be);
	struct iovec none = { NULL, 0 };
	int rc;

	(void)how;
	if (seg->slot < 0)
		return fail(EINVAL, "%p is not in a buffer slot of this ring",
			    seg->addr);
	rc = slot_update(u, (unsigned int)seg->slot, &none);
	if (rc == -EEXIST)
		return fail_not_issuer();
	if (rc)
		return fail(rc, "releasing buffer slot %d failed: %s", seg->slot,
			    strerror(-rc));
	slot_give(u, (unsigned int)seg->slot);
	seg->slot = -1;
	return 0;
}

static void uring_slots(struct backend *be, unsigned int *total, unsigned int *used)
{
	struct uring *u = uring_of(be);

	pthread_mutex_lock(&u->lock);
	*total = u->total;
	*used = u->fresh - u->returned;
	pthread_mutex_unlock(&u->lock);
}

struct io_uring *backend_uring_ring(struct backend *be)
{
	return uring_of(be)->ring;
}

/* ------------------------------------------------------------ open, close */

/*
 * Is what a caller's ring pins charged as it would be on a ring made by us, now? The
 * kernel only clones between rings that are charged alike (and only from 6.12 on; no
 * answer is no). The empty slot that the other ring gets goes with it.
 */
static bool charged_alike(const struct uring *u)
{
	struct io_uring other;
	int rc;

	if (u->ring->ring_fd < 0 || io_uring_queue_init(1, &other, 0) < 0)
		return false;
	rc = clone_slot(other.ring_fd, u->ring->ring_fd, u->first, 0);
	io_uring_queue_exit(&other);
	return !rc;
}

/*
 * The kernel decides when a ring is made whether its pins are charged. Who made a
 * caller's ring, and with which capabilities, does not show: where it may be exempt, it
 * counts as exempt, and the kernel's refusal is explained when it comes. The other
 * error would refuse pins that the kernel grants.
 */
static bool limit_bypassed(const struct uring *u, bool capable)
{
	return capable || (u->ring != &u->own && !charged_alike(u));
}

static int check_options(const struct pinmem_options *o)
{
	if (!(o->flags & PINMEM_OPEN_URING_SLOTS)) {
		if (o->uring_first || o->uring_slots)
			return fail(EINVAL, "uring_first or uring_slots is set without "
					    "PINMEM_OPEN_URING_SLOTS");
		return 0;
	}
	if (!o->ring)
		return fail(
			EINVAL,
			"PINMEM_OPEN_URING_SLOTS needs a ring whose slots these are");
	if (!o->uring_slots || o->uring_first > SLOTS_MAX ||
	    o->uring_slots > SLOTS_MAX - o->uring_first)
		return fail(EINVAL,
			    "slots [%u, +%u) are not in a buffer table: the kernel "
			    "allows 1 to %u slots",
			    o->uring_first, o->uring_slots, SLOTS_MAX);
	return 0;
}

static int own_ring(struct uring *u, unsigned int entries)
{
	int rc;

	if (!entries)
		entries = ENTRIES_DEFAULT;
	rc = io_uring_queue_init(entries, &u->own, 0);
	return rc < 0 ? fail_setup(rc, entries) : 0;
}

static const struct backend_caps uring_caps = {
	/* the kernel's limit (tried: 6.18 refuses more; 7.2 takes 1 TiB) */
	.max_segment = 1ul << 30,
	.pins = true,
	.always_writes = true,
	.unpin = UNPIN_NEVER_DIRTIES,
	.counter = PINMEM_COUNT_USER,
	.charges_compound = true,
	.access = PINMEM_ACCESS_LOCAL_WRITE, /* nothing is remote here */
	.node = -1,
};

static int uring_open(const struct pinmem_options *o, struct backend **be)
{
	bool capable = memlock_bypass();
	struct uring *u;
	int rc;

	rc = check_options(o);
	if (rc)
		return rc;
	u = calloc(1, sizeof(*u));
	if (!u)
		return fail(ENOMEM, "no memory for an io_uring pinner");
	u->be.ops = &backend_uring;
	u->be.caps = uring_caps;
	pthread_mutex_init(&u->lock, NULL);
	u->ring = o->ring ? o->ring : &u->own;
	rc = o->ring ? 0 : own_ring(u, o->uring_entries);
	if (rc)
		goto free;
	if (o->flags & PINMEM_OPEN_URING_SLOTS)
		rc = table_borrow(u, o->uring_first, o->uring_slots);
	else
		rc = table_register(u);
	if (rc)
		goto exit_ring;
	u->be.caps.limit_bypassed = limit_bypassed(u, capable);
	*be = &u->be;
	return 0;

exit_ring:
	if (!o->ring)
		io_uring_queue_exit(&u->own);
free:
	pthread_mutex_destroy(&u->lock);
	free(u);
	return rc;
}

/*
 * In a forked child the ring's memory and descriptor are copies, which can go; the
 * table is not: unregistering would reach the parent's pins. The lock may have been
 * held by a thread that the child does not have.
 */
static void uring_close(struct backend *be, bool forked)
{
	struct uring *u = uring_of(be);

	if (u->ring == &u->own)
		io_uring_queue_exit(&u->own);
	else if (u->table_ours && !forked)
		table_unregister(u);
	if (!forked)
		pthread_mutex_destroy(&u->lock);
	free(u);
}

const struct backend_ops backend_uring = {
	.id = PINMEM_BACKEND_URING,
	.open = uring_open,
	.close = uring_close,
	.pin = uring_pin,
	.unpin = uring_unpin,
	.slots = uring_slots,
};
