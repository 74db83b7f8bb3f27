/* SPDX-License-Identifier: BSD-2-Clause */
/* probes.c - the table of the kernel's features, each tried; see probes.h. */
#include "probes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys.h"
#include "tool.h"
#include "uapi.h"

const char *probe_state_name(enum probe_state state)
{
	static const char *const names[] = { "no", "part", "yes" };

	return names[state];
}

static void set(struct probe_result *r, enum probe_state state, const char *means,
		const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void set(struct probe_result *r, enum probe_state state, const char *means,
		const char *fmt, ...)
{
	va_list ap;

	r->state = state;
	r->means = means;
	va_start(ap, fmt);
	vsnprintf(r->found, sizeof(r->found), fmt, ap);
	va_end(ap);
}

/* --------------------------------------------------------------- io_uring */

static void probe_uring(struct probe_result *r)
{
	struct io_uring ring;
	uint64_t disabled = 0;
	int rc = io_uring_queue_init(2, &ring, 0);

	sys_number("/proc/sys/kernel/io_uring_disabled", &disabled);
	if (!rc) {
		io_uring_queue_exit(&ring);
		set(r, PROBE_YES,
		    "memory can be pinned without any special hardware: registered "
		    "buffers",
		    "a ring was made");
	} else if (disabled) {
		set(r, PROBE_NO,
		    "the administrator has switched io_uring off: sysctl "
		    "kernel.io_uring_disabled=0 lets everybody use it, 1 those in the "
		    "group kernel.io_uring_group",
		    "%s; kernel.io_uring_disabled is %" PRIu64, sys_errno(rc),
		    disabled);
	} else if (rc == -ENOMEM) {
		set(r, PROBE_NO,
		    "no memory for a ring: RLIMIT_MEMLOCK or a cgroup is full",
		    "ENOMEM");
	} else {
		set(r, PROBE_NO,
		    "without it only verbs hardware can pin; containers often filter "
		    "it out (seccomp), and it can be left out of a kernel "
		    "(CONFIG_IO_URING)",
		    "%s", sys_errno(rc));
	}
}

/* Return: 0 or a negative errno; dst_off beyond the table's end makes it grow. */
static int clone_into(struct io_uring *dst, struct io_uring *src, unsigned int flags,
		      unsigned int dst_off)
{
	struct uapi_clone_buffers arg = { .src_fd = (__u32)src->ring_fd,
					  .flags = flags,
					  .dst_off = dst_off,
					  .nr = flags ? 1 : 0 };

	if (syscall(SYS_io_uring_register, dst->ring_fd,
		    UAPI_IORING_REGISTER_CLONE_BUFFERS, &arg, 1) < 0)
		return -errno;
	return 0;
}

static void probe_sparse(struct probe_result *r)
{
	struct io_uring ring;
	int rc = io_uring_queue_init(2, &ring, 0);

	if (!rc) {
		rc = io_uring_register_buffers_sparse(&ring, 2);
		io_uring_queue_exit(&ring);
	}
	if (rc)
		set(r, PROBE_NO, "buffers cannot be registered one by one (Linux 5.19)",
		    "%s", sys_errno(rc));
	else
		set(r, PROBE_YES, "buffers are registered and released one by one",
		    "a sparse table was registered");
}

static void probe_growth(struct probe_result *r)
{
	struct io_uring ring;
	int rc = io_uring_queue_init(2, &ring, 0);

	if (!rc) {
		rc = io_uring_register_buffers_sparse(&ring, 1);
		if (!rc)
			rc = clone_into(&ring, &ring, UAPI_IORING_CLONE_DST_REPLACE, 1);
		io_uring_queue_exit(&ring);
	}
	if (rc)
		set(r, PROBE_NO,
		    "a buffer table has its full size from the beginning (growth: "
		    "Linux 6.13)",
		    "%s", sys_errno(rc));
	else
		set(r, PROBE_YES, "buffer tables begin small and grow while in use",
		    "a table of 1 slot grew to 2");
}

static void probe_clone(struct probe_result *r)
{
	struct io_uring one, two;
	int rc = io_uring_queue_init(2, &one, 0);

	if (!rc) {
		rc = io_uring_queue_init(2, &two, 0);
		if (!rc) {
			rc = io_uring_register_buffers_sparse(&one, 1);
			if (!rc)
				rc = clone_into(&two, &one, 0, 0);
			io_uring_queue_exit(&two);
		}
		io_uring_queue_exit(&one);
	}
	if (rc)
		set(r, PROBE_NO,
		    "each ring pins its buffers itself (sharing: Linux 6.12)", "%s",
		    sys_errno(rc));
	else
		set(r, PROBE_YES, "several rings can share the pins of one",
		    "a table was cloned to another ring");
}

/* ------------------------------------------------------- looking at mappings */

static void probe_procmap_query(struct probe_result *r)
{
	struct uapi_procmap_query q = { .size = sizeof(q),
					.query_addr = (uintptr_t)&q };
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0) {
		set(r, PROBE_NO,
		    "without /proc nothing can be known of memory, so no verdict is "
		    "possible: mount it",
		    "/proc/self/maps: %s", sys_errno(errno));
		return;
	}
	rc = ioctl(fd, UAPI_PROCMAP_QUERY, &q) ? -errno : 0;
	close(fd);
	if (rc)
		set(r, PROBE_PART,
		    "verdicts read the text of /proc/self/maps, which takes longer in "
		    "programs with many mappings (Linux 6.11)",
		    "%s", sys_errno(rc));
	else
		set(r, PROBE_YES,
		    "a verdict costs a fraction of a microsecond per mapping",
		    "answered");
}

static void probe_pagemap_scan(struct probe_result *r)
{
	struct uapi_page_region region;
	struct uapi_pm_scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)&scan & ~(sys_page() - 1),
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = UAPI_PAGE_IS_PRESENT,
		.return_mask = UAPI_PAGE_IS_PRESENT,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), rc = -ENOENT;

	scan.end = scan.start + sys_page();
	if (fd >= 0) {
		rc = ioctl(fd, UAPI_PAGEMAP_SCAN, &scan) < 0 ? -errno : 0;
		close(fd);
	}
	if (rc)
		set(r, PROBE_NO,
		    "private mappings of DAX files and guard pages are found by "
		    "reading page by page (Linux 6.7)",
		    "%s", sys_errno(rc));
	else
		set(r, PROBE_YES,
		    "private mappings of DAX files and guard pages are found quickly",
		    "answered");
}

/* -------------------------------------------------------------------- memory */

/* Does a new page take this advice? Return: 0 or a negative errno. */
static int try_advice(int advice)
{
	void *page = mmap(NULL, sys_page(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (page == MAP_FAILED)
		return -errno;
	rc = madvise(page, sys_page(), advice) ? -errno : 0;
	munmap(page, sys_page());
	return rc;
}

static void probe_populate(struct probe_result *r)
{
	int rc = try_advice(MADV_POPULATE_WRITE);

	if (rc)
		set(r, PROBE_NO,
		    "memory cannot be populated, nor made dirty, without touching it "
		    "(Linux 5.14)",
		    "%s", sys_errno(rc));
	else
		set(r, PROBE_YES,
		    "untouched memory is populated by several threads; pages are made "
		    "dirty where the unpin does not",
		    "a page was populated");
}

static void probe_guard(struct probe_result *r)
{
	int rc = try_advice(UAPI_MADV_GUARD_INSTALL);

	if (rc)
		set(r, PROBE_NO, "there are no guard pages to mind (Linux 6.13)", "%s",
		    sys_errno(rc));
	else
		set(r, PROBE_YES, "guard pages exist here: verdicts look for them",
		    "a guard page was installed");
}

static void probe_secret(struct probe_result *r)
{
	long fd = syscall(SYS_memfd_secret, 0);

	if (fd < 0) {
		set(r, PROBE_NO,
		    "no program here can have secret memory, which no device may ever "
		    "be given",
		    "%s", sys_errno(errno));
		return;
	}
	close((int)fd);
	set(r, PROBE_YES,
	    "secret memory exists here: no device may be given it; it is refused",
	    "one was made");
}

/* ----------------------------------------------------- noticing what changes */

/* Return: a descriptor, by the call or by the device (6.1), or a negative errno of the
 * call. User mode only: no capability and no vm.unprivileged_userfaultfd is needed. */
static int uffd_new(const char **way)
{
	const long flags = O_CLOEXEC | UFFD_USER_MODE_ONLY;
	long fd = syscall(SYS_userfaultfd, flags);
	int err = errno, device;

	*way = "userfaultfd(2)";
	if (fd >= 0)
		return (int)fd;
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -err;
	*way = "/dev/userfaultfd";
	fd = ioctl(device, UAPI_USERFAULTFD_IOC_NEW, flags);
	close(device);
	return fd < 0 ? -err : (int)fd;
}

/* Return: 0 or a negative errno; features that all must be there */
static int uffd_try(uint64_t features, const char **way)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = uffd_new(way), rc;

	if (fd < 0)
		return fd;
	rc = ioctl(fd, UFFDIO_API, &api) ? -errno : 0;
	if (!rc && !(api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP))
		rc = -EOPNOTSUPP;
	close(fd);
	return rc;
}

#define UFFD_EVENTS                                            \
	(UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | \
	 UFFD_FEATURE_EVENT_REMOVE)

static const char *uffd_obstacle(int rc)
{
	switch (rc) {
	case -EPERM:
		return "a registration cache cannot learn of unmapped memory by itself "
		       "here, programs must tell it: a seccomp filter (of the "
		       "container) forbids userfaultfd(2), and /dev/userfaultfd cannot "
		       "be opened instead";
	case -ENOSYS:
		return "a registration cache cannot learn of unmapped memory by itself "
		       "here, programs must tell it: the kernel was built without "
		       "CONFIG_USERFAULTFD, or a seccomp filter hides it";
	default:
		return "a registration cache cannot learn of unmapped memory by itself "
		       "here, programs must tell it: the kernel is too old (Linux "
		       "5.19, "
		       "on arm64 6.10)";
	}
}

static void probe_uffd(struct probe_result *r)
{
	const char *way;
	int rc = uffd_try(UFFD_EVENTS, &way);

	if (rc)
		set(r, PROBE_NO, uffd_obstacle(rc), "%s", sys_errno(rc));
	else
		set(r, PROBE_YES,
		    "a registration cache can learn of unmapped memory by itself, also "
		    "for unprivileged users",
		    "by %s, for user mode only: no capability and no sysctl is needed",
		    way);
}

static void probe_wp_async(struct probe_result *r)
{
	const char *way;
	int rc = uffd_try(UFFD_EVENTS | UAPI_UFFD_FEATURE_WP_ASYNC, &way);

	if (rc)
		set(r, PROBE_NO,
		    "file mappings cannot be watched for being unmapped, only "
		    "anonymous, shared and hugetlb memory (Linux 6.7)",
		    "%s", sys_errno(rc));
	else
		set(r, PROBE_YES,
		    "mappings of any kind can be watched for being unmapped",
		    "granted");
}

static const struct {
	uint64_t bit;
	const char *name;
} pin_track_features[] = {
	{ UAPI_PIN_TRACK_FEATURE_PIN, " pins" },
	{ UAPI_PIN_TRACK_FEATURE_DIRTY_AT_PIN, " dirty-at-pin" },
	{ UAPI_PIN_TRACK_FEATURE_SLOTS, " slots" },
	{ UAPI_PIN_TRACK_FEATURE_WATCH, " watches" },
	{ UAPI_PIN_TRACK_FEATURE_COMPARE, " compare" },
};

static void say_pin_track(struct probe_result *r,
			  const struct uapi_pin_track_info *info)
{
	bool watches = info->features & UAPI_PIN_TRACK_FEATURE_WATCH;
	char names[80] = "";

	for (size_t i = 0; i < ARRAY_SIZE(pin_track_features); i++)
		if (info->features & pin_track_features[i].bit)
			strcat(names, pin_track_features[i].name);
	set(r, PROBE_YES,
	    watches ? "unpins are clean or dirty exactly as asked, and a registration "
		      "cache sees all that takes pages away, truncation of files, too"
		    : "unpins are clean or dirty exactly as asked",
	    "version %u has%s; at most %" PRIu64 " GiB in a pin, %" PRIu64
	    " pins and watches in a file",
	    info->version, names, (uint64_t)info->max_len >> 30,
	    (uint64_t)info->max_slots - 1);
}

static void probe_pin_track(struct probe_result *r)
{
	struct uapi_pin_track_info info = { .size = sizeof(info) };
	int fd = open("/dev/pin_track", O_RDWR | O_CLOEXEC), rc = -errno;

	if (fd < 0 && (rc == -EACCES || rc == -EPERM)) {
		set(r, PROBE_PART,
		    "it is there, but this user may not open it: its mode (0666 unless "
		    "changed) or a container's device rules forbid it",
		    "%s", sys_errno(rc));
		return;
	}
	if (fd < 0) {
		set(r, PROBE_NO,
		    "this kernel is not patched: whether an unpin dirties the pages is "
		    "up to verbs (always) or io_uring (never)",
		    "%s", sys_errno(rc));
		return;
	}
	rc = ioctl(fd, UAPI_PIN_TRACK_IOC_INFO, &info) ? -errno : 0;
	close(fd);
	if (rc)
		set(r, PROBE_PART,
		    "what is there is not of kernel/pin_track.patch: it cannot be used",
		    "%s", sys_errno(rc));
	else
		say_pin_track(r, &info);
}

const struct probe probes[] = {
	{ "io_uring", "io_uring_setup(2)", probe_uring },
	{ "sparse buffer table", "IORING_REGISTER_BUFFERS2", probe_sparse },
	{ "buffer table growth", "IORING_REGISTER_CLONE_BUFFERS", probe_growth },
	{ "buffers shared by rings", "IORING_REGISTER_CLONE_BUFFERS", probe_clone },
	{ "PROCMAP_QUERY", "ioctl(2) on /proc/self/maps", probe_procmap_query },
	{ "PAGEMAP_SCAN", "ioctl(2) on /proc/self/pagemap", probe_pagemap_scan },
	{ "MADV_POPULATE_WRITE", "madvise(2)", probe_populate },
	{ "MADV_GUARD_INSTALL", "madvise(2)", probe_guard },
	{ "memfd_secret", "memfd_secret(2)", probe_secret },
	{ "userfaultfd", "userfaultfd(2)", probe_uffd },
	{ "userfaultfd WP_ASYNC", "UFFDIO_API", probe_wp_async },
	{ "/dev/pin_track", "PIN_TRACK_IOC_INFO", probe_pin_track },
};
const size_t probes_n = ARRAY_SIZE(probes);
