/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend_pin_track.c - pins of /dev/pin_track (kernel/pin_track.patch), which end
 * CLEAN or DIRTY exactly as told.
 *
 * A pin is an id in an open file, and no device's registration: the pages stay where
 * they are, for whatever reaches them in a way of its own. What it costs and who is
 * refused is as with verbs (ib_umem_get()), but for DAX: each mapping of a DAX file is
 * refused, also a private one whose pages are all copies.
 *
 * Who may use it. The file is of the address space that opened it: any thread may pin
 * and unpin, at any time; the kernel holds no lock meanwhile, and we have none. A
 * forked child has the descriptor, too, and may do nothing with it but close it. The
 * kernel ends what is still pinned when the last copy is closed (pins for writing
 * DIRTY): so the pins of a parent that was killed stay as long as a child keeps the
 * pinner open.
 *
 * No pin has a slot (UAPI_PIN_TRACK_NO_SLOT), which would tell of changes of the
 * mapping: that is monitor_pin_track.c's, which watches from a file of its own.
 */
#include "pin_track.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define DEVICE PIN_TRACK_DEVICE
#define GIB ((uint64_t)1 << 30)
#define FEATURES (UAPI_PIN_TRACK_FEATURE_PIN | UAPI_PIN_TRACK_FEATURE_DIRTY_AT_PIN)

struct tracker {
	struct backend be;
	int fd;
	uint64_t max_pins;
};

static struct tracker *tracker_of(struct backend *be)
{
	return container_of(be, struct tracker, be);
}

static uint64_t limit_of(int resource)
{
	struct rlimit lim = { 0, 0 };

	getrlimit(resource, &lim);
	return lim.rlim_cur;
}

/* --------------------------------------------------------------- sentences */

static int fail_foreign(const struct segment *seg, const char *what)
{
	return fail(EPERM,
		    "%s %zu bytes at %p: this pinner's descriptor of " DEVICE
		    " belongs to another address space: open a pinner of your own",
		    what, seg->len, seg->addr);
}

static int fail_taken_away(const struct segment *seg, int err, const char *what)
{
	return fail(err,
		    "%s %zu bytes at %p: this pinner's descriptor of " DEVICE
		    " was closed or replaced behind it: %s",
		    what, seg->len, seg->addr, strerror(err));
}

/* Two things are no permission to the kernel: a limit of nothing, and not ours. */
static int fail_permission(const struct segment *seg)
{
	if (limit_of(RLIMIT_MEMLOCK) || memlock_bypass())
		return fail_foreign(seg, "pinning");
	return fail(ENOMEM,
		    "pinning %zu bytes at %p: RLIMIT_MEMLOCK is 0; raise `ulimit -l` "
		    "or grant CAP_IPC_LOCK",
		    seg->len, seg->addr);
}

static int fail_memory(const struct segment *seg)
{
	char size[BYTES_TEXT], text[BYTES_TEXT];
	uint64_t limit = limit_of(RLIMIT_MEMLOCK);

	return fail(ENOMEM,
		    "pinning %s at %p: the kernel is out of memory, or cannot move "
		    "pages to where they may stay, or VmPin of this process would "
		    "exceed RLIMIT_MEMLOCK (%s)",
		    format_bytes(size, seg->len), seg->addr,
		    limit == RLIM_INFINITY ? "unlimited" : format_bytes(text, limit));
}

static int fail_pin(const struct tracker *t, const struct segment *seg, bool write,
		    int err)
{
	char size[BYTES_TEXT];

	format_bytes(size, seg->len);
	switch (err) {
	case EFAULT:
		return fail(err,
			    "%s at %p cannot be pinned for %s: a part is not mapped, "
			    "or not %s, or of a kind that takes no such pin",
			    size, seg->addr, write ? "writing" : "reading",
			    write ? "writable" : "readable");
	case EOPNOTSUPP:
		return fail(err,
			    "%s at %p cannot be pinned: a part is a mapping of a file "
			    "on a DAX file system",
			    size, seg->addr);
	case ENOMEM:
		return fail_memory(seg);
	case EPERM:
		return fail_permission(seg);
	case ENOSPC:
		return fail(err,
			    "pinning %s at %p: this pinner has %" PRIu64 " pins, as "
			    "many as the kernel allows: open another one",
			    size, seg->addr, t->max_pins);
	case EBADF:
	case ENOTTY:
		return fail_taken_away(seg, err, "pinning");
	default:
		return fail(err, "pinning %s at %p failed: %s", size, seg->addr,
			    strerror(err));
	}
}

/* What was pinned for reading the kernel dirties by a write fault in the mapping, so
 * that file systems hear of it. */
static int fail_unpin(const struct segment *seg, int err)
{
	switch (err) {
	case ESTALE:
	case EFAULT:
		return fail(ESTALE,
			    "%zu bytes at %p, pinned for reading, cannot be released "
			    "DIRTY: %s; release them CLEAN",
			    seg->len, seg->addr,
			    err == ESTALE ? "other pages are mapped there by now"
					  : "they are not mapped writable any more");
	case ENOENT:
		return fail(err,
			    "%zu bytes at %p were released behind this pinner: there "
			    "is no pin %#" PRIx64,
			    seg->len, seg->addr, seg->pin);
	case EPERM:
		return fail_foreign(seg, "releasing");
	case EBADF:
	case ENOTTY:
		return fail_taken_away(seg, err, "releasing");
	default:
		return fail(err, "releasing %zu bytes at %p failed: %s", seg->len,
			    seg->addr, strerror(err));
	}
}

/* ---------------------------------------------------------------- the door */

static int pt_pin(struct backend *be, struct segment *seg, unsigned int access)
{
	struct tracker *t = tracker_of(be);
	struct uapi_pin_track_pin arg = {
		.size = sizeof(arg),
		.flags = UAPI_PIN_TRACK_NO_SLOT,
		.addr = (uintptr_t)seg->addr,
		.len = seg->len,
		.cookie = seg->iova, /* /proc/PID/fdinfo: the target of a copy */
	};
	bool write = access & PINMEM_ACCESS_WRITES;

	if (write)
		arg.flags |= UAPI_PIN_TRACK_WRITE;
	if (seg->dirty_at_pin)
		arg.flags |= UAPI_PIN_TRACK_DIRTY_AT_PIN;
	if (ioctl(t->fd, UAPI_PIN_TRACK_IOC_PIN, &arg))
		return fail_pin(t, seg, write, errno);
	seg->pin = arg.id;
	return 0;
}

static int pt_unpin(struct backend *be, struct segment *seg, enum pinmem_unpin how)
{
	struct uapi_pin_track_unpin arg = {
		.size = sizeof(arg),
		.flags = how == PINMEM_DIRTY ? UAPI_PIN_TRACK_DIRTY
					     : UAPI_PIN_TRACK_CLEAN,
		.id = seg->pin,
	};

	if (!seg->pin)
		return fail(EINVAL, "%p is not pinned by this pinner", seg->addr);
	if (ioctl(tracker_of(be)->fd, UAPI_PIN_TRACK_IOC_UNPIN, &arg))
		return fail_unpin(seg, errno);
	seg->pin = 0;
	return 0;
}

/* ------------------------------------------------------------ open, close */

/* The kernel's limit is of pages, of which a range that is not aligned touches one
 * more than it has. */
static int take_limits(struct tracker *t, const struct uapi_pin_track_info *info)
{
	if (info->max_len < GIB + page_size())
		return fail(EOPNOTSUPP,
			    DEVICE " (version %u) takes %" PRIu64
				   " bytes in a pin: more than a GiB is needed",
			    info->version, (uint64_t)info->max_len);
	t->be.caps.max_segment = (info->max_len - page_size()) & ~(GIB - 1);
	t->max_pins = info->max_slots - 1;
	return 0;
}

static const struct backend_caps pt_caps = {
	.pins = true,
	.no_dax_copies = true,
	.unpin = UNPIN_AS_TOLD,
	.counter = PINMEM_COUNT_VMPIN,
	.access = PINMEM_ACCESS_LOCAL_WRITE, /* nothing is remote here */
	.node = -1,
};

static int pt_open(const struct pinmem_options *opts, struct backend **be)
{
	struct tracker *t = calloc(1, sizeof(*t));
	struct uapi_pin_track_info info;
	int rc;

	(void)opts;
	if (!t)
		return fail(ENOMEM, "no memory for a pin_track pinner");
	t->be.ops = &backend_pin_track;
	t->be.caps = pt_caps;
	t->be.caps.limit_bypassed = memlock_bypass();
	t->fd = pin_track_open(0, FEATURES, &info);
	if (t->fd < 0) {
		rc = t->fd;
		goto free_tracker;
	}
	rc = take_limits(t, &info);
	if (rc)
		goto close_fd;
	*be = &t->be;
	return 0;

close_fd:
	close(t->fd);
free_tracker:
	free(t);
	return rc;
}

/* In a child this closes its copy: the pins are the parent's file's. */
static void pt_close(struct backend *be, bool forked)
{
	struct tracker *t = tracker_of(be);

	(void)forked;
	close(t->fd);
	free(t);
}

const struct backend_ops backend_pin_track = {
	.id = PINMEM_BACKEND_PIN_TRACK,
	.open = pt_open,
	.close = pt_close,
	.pin = pt_pin,
	.unpin = pt_unpin,
};
