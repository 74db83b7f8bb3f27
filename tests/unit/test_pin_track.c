/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pin_track.c - backend_pin_track.c over a made-up /dev/pin_track: what it asks
 * the kernel for, each refusal's errno and sentence, and that nothing stays behind
 * whatever fails. The real device: tests/vm/test_pin_track_backend.c.
 */
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "uapi.h"

#define PAGE 4096ul
#define GIB (1ul << 30)
#define RW PINMEM_ACCESS_LOCAL_WRITE
#define DEVICE "/dev/pin_track"
#define PINS 16

/* ------------------------------------------------------------ the made-up device */

/**
 * @open_err: what open(2) fails with; ENOENT: there is no device
 * @fail_cmd, @fail_nth, @fail_err: the nth call of this ioctl from now on fails, once
 * @fd, @owner: of the last file; there is one at a time
 * @pins: by id - 1; size 0: none
 * @calls: of ioctl(2), by number
 * @flags: of the last unpins, the newest last
 */
static struct {
	int open_err;
	unsigned long fail_cmd;
	int fail_nth, fail_err;
	struct uapi_pin_track_info info;
	int fd;
	pid_t owner;
	struct uapi_pin_track_pin pins[PINS];
	unsigned int calls[6];
	__u32 flags[PINS];
	unsigned int unpins;
} device;

static void device_reset(void)
{
	memset(&device, 0, sizeof(device));
	device.info = (struct uapi_pin_track_info){
		.size = sizeof(device.info),
		.version = 1,
		.features = UAPI_PIN_TRACK_FEATURE_PIN |
			    UAPI_PIN_TRACK_FEATURE_DIRTY_AT_PIN |
			    UAPI_PIN_TRACK_FEATURE_SLOTS,
		.max_len = (uint64_t)UINT32_MAX * PAGE,
		.max_slots = 1 << 21,
	};
	device.fd = -1;
}

/* From now on, once */
static void device_fails(unsigned long cmd, int nth, int err)
{
	device.fail_cmd = cmd;
	device.fail_nth = nth;
	device.fail_err = err;
}

static unsigned int live_pins(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < PINS; i++)
		n += !!device.pins[i].size;
	return n;
}

/* The newest */
static const struct uapi_pin_track_pin *last_pin(void)
{
	for (size_t i = PINS; i--;)
		if (device.pins[i].size)
			return &device.pins[i];
	return &device.pins[0];
}

static int device_pin(struct uapi_pin_track_pin *arg)
{
	const __u32 known = UAPI_PIN_TRACK_WRITE | UAPI_PIN_TRACK_DIRTY_AT_PIN |
			    UAPI_PIN_TRACK_NO_SLOT;
	size_t i = 0;

	if (arg->size != sizeof(*arg) || arg->flags & ~known || arg->reserved ||
	    !arg->len)
		return EINVAL;
	if ((arg->flags & UAPI_PIN_TRACK_DIRTY_AT_PIN) &&
	    !(arg->flags & UAPI_PIN_TRACK_WRITE))
		return EINVAL;
	while (i < PINS && device.pins[i].size)
		i++;
	if (i == PINS)
		return ENOSPC;
	arg->id = i + 1;
	device.pins[i] = *arg;
	return 0;
}

static int device_unpin(const struct uapi_pin_track_unpin *arg)
{
	if (arg->size != sizeof(*arg) ||
	    (arg->flags != UAPI_PIN_TRACK_CLEAN && arg->flags != UAPI_PIN_TRACK_DIRTY))
		return EINVAL;
	if (!arg->id || arg->id > PINS || !device.pins[arg->id - 1].size)
		return ENOENT;
	device.pins[arg->id - 1].size = 0;
	device.flags[device.unpins++ % PINS] = arg->flags;
	return 0;
}

static int device_ioctl(unsigned long cmd, void *arg)
{
	unsigned int nr = _IOC_NR(cmd);

	if (_IOC_TYPE(cmd) != 0xBC || nr >= ARRAY_SIZE(device.calls))
		return ENOTTY;
	device.calls[nr]++;
	if (cmd == device.fail_cmd && device.fail_nth && !--device.fail_nth)
		return device.fail_err;
	if (cmd == UAPI_PIN_TRACK_IOC_INFO) {
		CHECK(((struct uapi_pin_track_info *)arg)->size == device.info.size);
		memcpy(arg, &device.info, sizeof(device.info));
		return 0;
	}
	if (getpid() != device.owner)
		return EPERM;
	if (cmd == UAPI_PIN_TRACK_IOC_PIN)
		return device_pin(arg);
	return cmd == UAPI_PIN_TRACK_IOC_UNPIN ? device_unpin(arg) : ENOTTY;
}

/* fault.c's wrappers end in these. The file is a real one, so that it must be closed.
 */
int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	if (strcmp(path, DEVICE))
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (device.open_err) {
		errno = device.open_err;
		return -1;
	}
	CHECK(flags == (O_RDWR | O_CLOEXEC));
	device.fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", flags);
	device.owner = getpid();
	return device.fd;
}

int ioctl(int fd, unsigned long cmd, ...)
{
	void *arg;
	va_list ap;
	int err;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd != device.fd || fcntl(fd, F_GETFD) < 0)
		return (int)syscall(SYS_ioctl, fd, cmd, arg);
	err = device_ioctl(cmd, arg);
	errno = err ? err : errno;
	return err ? -1 : 0;
}

/* -------------------------------------------------------------------- what is shared
 */

static const struct pinmem_options options = { .size = sizeof(options),
					       .backend = PINMEM_BACKEND_PIN_TRACK };

static struct pinmem *pinner(void)
{
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open(&options, &pm), 0);
	if (!pm)
		abort();
	return pm;
}

static char *anon(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static struct pinmem_mr *reg(struct pinmem *pm, void *p, size_t len,
			     unsigned int access, const struct pinmem_reg_options *opts)
{
	struct pinmem_mr *mr = NULL;

	CHECK_RC(pinmem_reg(pm, p, len, access, opts, &mr), 0);
	if (!mr)
		abort();
	return mr;
}

/* What was done, and with which flags the kernel was called: the newest last */
static void dereg(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin want)
{
	enum pinmem_unpin got = PINMEM_BY_FAULT;

	CHECK_RC(pinmem_dereg(mr, how, &got), 0);
	CHECK(got == want);
}

static __u32 last_flags(void)
{
	return device.flags[(device.unpins - 1) % PINS];
}

static unsigned int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ------------------------------------------------------------------------------ open
 */

static void open_says_what_is_missing(void)
{
	static const struct {
		int err, want;
		const char *text;
	} table[] = {
		{ ENOENT, -EOPNOTSUPP, "kernel/pin_track.patch" },
		{ ENXIO, -EOPNOTSUPP, "module pin_track is not loaded" },
		{ ENODEV, -EOPNOTSUPP, "there is no /dev/pin_track" },
		{ EACCES, -EOPNOTSUPP, "0666" },
		{ EPERM, -EOPNOTSUPP, "device rules of a container" },
		{ EMFILE, -EMFILE, "RLIMIT_NOFILE is " },
		{ ENOMEM, -ENOMEM, "cannot be opened" },
	};
	struct pinmem *pm = (void *)1;
	unsigned int before = open_files();

	device_reset();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		device.open_err = table[i].err;
		CHECK_RC(pinmem_open(&options, &pm), table[i].want);
		CHECK_MSG(table[i].text);
		CHECK_MSG(DEVICE);
	}
	CHECK(pm == (void *)1 && open_files() == before);
}

static void another_device_is_not_taken_for_it(void)
{
	unsigned int before = open_files();
	struct pinmem *pm = NULL;

	device_reset();
	device_fails(UAPI_PIN_TRACK_IOC_INFO, 1, ENOTTY);
	CHECK_RC(pinmem_open(&options, &pm), -EOPNOTSUPP);
	CHECK_MSG("does not tell what it is");
	device.info.features = UAPI_PIN_TRACK_FEATURE_PIN;
	device.info.version = 7;
	CHECK_RC(pinmem_open(&options, &pm), -EOPNOTSUPP);
	CHECK_MSG("(version 7)");
	CHECK_MSG("0x1: 0x3 are needed");
	device_reset();
	device.info.max_len = GIB;
	CHECK_RC(pinmem_open(&options, &pm), -EOPNOTSUPP);
	CHECK_MSG("takes 1073741824 bytes in a pin");
	CHECK(!pm && open_files() == before);
}

/* A range that is not aligned touches one page more than it has. */
static void max_segment(uint64_t max_len, uint64_t want)
{
	struct pinmem_info i = { .size = sizeof(i) };
	struct pinmem *pm;

	device.info.max_len = max_len;
	pm = pinner();
	CHECK_RC(pinmem_query(pm, &i), 0);
	CHECK(i.max_segment == want && want + PAGE <= max_len);
	CHECK_RC(pinmem_close(pm), 0);
}

static void a_pinner_is_what_the_device_says(void)
{
	struct pinmem_memlock m = { .size = sizeof(m) };
	struct pinmem_info i = { .size = sizeof(i) };
	unsigned int before = open_files();
	struct pinmem *pm;

	device_reset();
	max_segment((uint64_t)UINT32_MAX * PAGE, 16383 * GIB);
	max_segment(GIB + PAGE, GIB);
	max_segment(2 * GIB, GIB);
	pm = pinner();
	CHECK_RC(pinmem_query(pm, &i), 0);
	CHECK(i.backend == PINMEM_BACKEND_PIN_TRACK && !i.odp && i.node == -1);
	CHECK(!i.slots && !i.device[0] && !strcmp(i.why, "asked for"));
	CHECK(!pinmem_uring(pm) && !pinmem_pd(pm));
	CHECK(!strcmp(pinmem_backend_name(i.backend), "pin_track"));
	CHECK_RC(pinmem_memlock(pm, NULL, 5, &m), 0);
	CHECK(m.counter == PINMEM_COUNT_VMPIN && m.need == PAGE);
	CHECK(pm->be->caps.pins && pm->be->caps.no_dax_copies);
	CHECK_RC(pinmem_close(pm), 0);
	CHECK(open_files() == before);
}

static void options_of_others_are_refused(void)
{
	struct pinmem_options o = options;
	struct pinmem *pm = NULL;

	device_reset();
	o.device = "rxe0";
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("not for pin_track");
	o = options;
	o.uring_entries = 8;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("not for pin_track");
}

/* Without verbs, and with or without io_uring */
static void auto_takes(bool uring, enum pinmem_backend want, const char *why)
{
	struct pinmem_info i = { .size = sizeof(i) };
	struct pinmem *pm = NULL;

	fault_only("io_uring_queue_init", EPERM);
	fault_arm(uring ? 0 : 1);
	CHECK_RC(pinmem_open(NULL, &pm), 0);
	fault_disarm();
	if (!pm)
		return;
	CHECK_RC(pinmem_query(pm, &i), 0);
	CHECK(i.backend == want);
	CHECK(strstr(i.why, why) && strstr(i.why, "no verbs"));
	CHECK_RC(pinmem_close(pm), 0);
}

static void auto_takes_it_after_io_uring_and_before_mlock(void)
{
	const char *class = backend_verbs_class;
	struct io_uring ring;

	backend_verbs_class = "/nonexistent";
	device_reset();
	auto_takes(false, PINMEM_BACKEND_PIN_TRACK, "no io_uring");
	device.open_err = ENOENT;
	auto_takes(false, PINMEM_BACKEND_MLOCK, "no pin_track (there is no ");
	device.open_err = 0;
	if (io_uring_queue_init(1, &ring, 0)) {
		suite_skip("there is no io_uring");
	} else {
		io_uring_queue_exit(&ring);
		auto_takes(true, PINMEM_BACKEND_URING, "no verbs");
	}
	backend_verbs_class = class;
}

/* ---------------------------------------------------------------- what is asked for */

static void access_decides_what_is_pinned_for(void)
{
	struct pinmem_reg_options dirty = { .size = sizeof(dirty),
					    .flags = PINMEM_REG_DIRTY_AT_PIN };
	struct pinmem_mr *mr;
	struct pinmem *pm;
	char *p = anon(4 * PAGE);

	device_reset();
	pm = pinner();
	mr = reg(pm, p + 7, 2 * PAGE, 0, NULL);
	CHECK(last_pin()->flags == UAPI_PIN_TRACK_NO_SLOT);
	CHECK(last_pin()->addr == (uintptr_t)p + 7 && last_pin()->len == 2 * PAGE);
	CHECK(last_pin()->cookie == (uintptr_t)p + 7);
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	mr = reg(pm, p, PAGE, RW, NULL);
	CHECK(last_pin()->flags == (UAPI_PIN_TRACK_NO_SLOT | UAPI_PIN_TRACK_WRITE));
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	mr = reg(pm, p, PAGE, RW, &dirty);
	CHECK(last_pin()->flags == (UAPI_PIN_TRACK_NO_SLOT | UAPI_PIN_TRACK_WRITE |
				    UAPI_PIN_TRACK_DIRTY_AT_PIN));
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	CHECK_RC(pinmem_reg(pm, p, PAGE, PINMEM_ACCESS_REMOTE_READ, NULL, &mr),
		 -EOPNOTSUPP);
	CHECK_MSG("pin_track cannot give access");
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 4 * PAGE);
}

static void a_copy_is_pinned_in_place_of_its_target(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.mode = PINMEM_STAGED,
					.flags = PINMEM_REG_DIRTY_AT_PIN };
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem_mr *mr;
	struct pinmem *pm;
	char *p = anon(PAGE);

	device_reset();
	pm = pinner();
	mr = reg(pm, p, PAGE, RW, &o);
	CHECK_RC(pinmem_mr_segment(mr, 0, &s), 0);
	CHECK(s.addr != p && last_pin()->addr == (uintptr_t)s.addr);
	CHECK(last_pin()->cookie == (uintptr_t)p);
	CHECK(last_pin()->flags == (UAPI_PIN_TRACK_NO_SLOT | UAPI_PIN_TRACK_WRITE));
	dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
	CHECK(last_flags() == UAPI_PIN_TRACK_CLEAN);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, PAGE);
}

/* --------------------------------------------------------------- release, as told */

static void release_is_as_told(void)
{
	struct pinmem_stats s = { .size = sizeof(s) };
	struct pinmem *pm;
	char *p = anon(PAGE);

	device_reset();
	pm = pinner();
	for (unsigned int access = 0; access <= RW; access += RW) {
		dereg(reg(pm, p, PAGE, access, NULL), PINMEM_CLEAN, PINMEM_CLEAN);
		CHECK(last_flags() == UAPI_PIN_TRACK_CLEAN);
		dereg(reg(pm, p, PAGE, access, NULL), PINMEM_DIRTY, PINMEM_DIRTY);
		CHECK(last_flags() == UAPI_PIN_TRACK_DIRTY);
	}
	CHECK(live_pins() == 0 && device.unpins == 4);
	CHECK_RC(pinmem_stats(pm, &s), 0);
	CHECK(s.redirtied_bytes == 0 && s.unpin_dirty == 2 && s.unpin_clean == 2);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, PAGE);
}

/* The kernel finds it out at the unpin: the release goes on, and tells. */
static void dirty_that_cannot_be_is_released_clean(void)
{
	static const struct {
		int err;
		const char *text;
	} table[] = { { ESTALE, "other pages are mapped there" },
		      { EFAULT, "not mapped writable any more" } };
	struct pinmem *pm;
	char *p = anon(PAGE);

	device_reset();
	pm = pinner();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct pinmem_mr *mr = reg(pm, p, PAGE, 0, NULL);

		device_fails(UAPI_PIN_TRACK_IOC_UNPIN, 1, table[i].err);
		dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
		CHECK_MSG(table[i].text);
		CHECK_MSG("4096 bytes");
		CHECK(live_pins() == 0 && last_flags() == UAPI_PIN_TRACK_CLEAN);
	}
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, PAGE);
}

/* … and where it is known before, the kernel is not asked to touch the mapping. */
static void what_cannot_be_dirtied_is_not_tried(void)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem_mr *mr;
	struct pinmem *pm;
	char *p = anon(PAGE);

	device_reset();
	pm = pinner();
	mr = reg(pm, p, PAGE, 0, NULL);
	mr->remapped = true; /* as a cache does that has learnt of it */
	dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
	CHECK(last_flags() == UAPI_PIN_TRACK_CLEAN);
	mr = reg(pm, p, PAGE, RW, NULL);
	mr->remapped = true; /* a pin for writing knows its pages */
	dereg(mr, PINMEM_DIRTY, PINMEM_DIRTY);
	CHECK(last_flags() == UAPI_PIN_TRACK_DIRTY);
	mprotect(p, PAGE, PROT_READ);
	mr = reg(pm, p, PAGE, 0, NULL);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.unpin_dirty == PINMEM_CLEAN && i.unpin_clean == PINMEM_CLEAN);
	dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
	CHECK(last_flags() == UAPI_PIN_TRACK_CLEAN && device.unpins == 3);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, PAGE);
}

static void segments_are_pinned_all_or_none_and_released_each(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.flags = PINMEM_REG_NO_POPULATE };
	struct pinmem_mr *mr = NULL;
	size_t len = 2 * GIB + PAGE;
	struct pinmem *pm;
	char *p = anon(len);

	device_reset();
	device.info.max_len = GIB + PAGE;
	pm = pinner();
	device_fails(UAPI_PIN_TRACK_IOC_PIN, 3, ENOMEM);
	CHECK_RC(pinmem_reg(pm, p, len, RW, &o, &mr), -ENOMEM);
	CHECK(live_pins() == 0 && device.unpins == 2);
	CHECK(last_flags() == UAPI_PIN_TRACK_CLEAN);
	mr = reg(pm, p, len, 0, &o);
	CHECK(live_pins() == 3);
	device_fails(UAPI_PIN_TRACK_IOC_UNPIN, 2, ESTALE);
	dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN); /* not all is dirty */
	CHECK(live_pins() == 0 && device.unpins == 5);
	CHECK(device.flags[2] == UAPI_PIN_TRACK_DIRTY);
	CHECK(device.flags[3] == UAPI_PIN_TRACK_CLEAN);
	CHECK(device.flags[4] == UAPI_PIN_TRACK_CLEAN);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, len);
}

/* ------------------------------------------------------------------------- refusals */

static struct backend *backend(void)
{
	struct backend *be = NULL;

	CHECK_RC(backend_pin_track.open(&options, &be), 0);
	if (!be)
		abort();
	return be;
}

static void refuse_pin(struct backend *be, unsigned int access, int err, int want,
		       const char *text)
{
	struct segment seg = { .addr = (void *)(16 * PAGE), .len = 3 * PAGE };

	device_fails(UAPI_PIN_TRACK_IOC_PIN, 1, err);
	CHECK_RC(backend_pin_track.pin(be, &seg, access), want);
	CHECK_MSG(text);
	CHECK_MSG("12288");
	CHECK_MSG("0x10000");
	CHECK(!seg.pin && live_pins() == 0);
}

static void each_refusal_of_a_pin_has_errno_and_cause(void)
{
	struct backend *be;

	device_reset();
	be = backend();
	refuse_pin(be, RW, EFAULT, -EFAULT,
		   "for writing: a part is not mapped, or not "
		   "writable");
	refuse_pin(be, 0, EFAULT, -EFAULT,
		   "for reading: a part is not mapped, or not "
		   "readable");
	refuse_pin(be, RW, EOPNOTSUPP, -EOPNOTSUPP, "DAX file system");
	refuse_pin(be, RW, ENOMEM, -ENOMEM, "RLIMIT_MEMLOCK (");
	refuse_pin(be, RW, EPERM, -EPERM, "another address space");
	refuse_pin(be, RW, ENOSPC, -ENOSPC, "has 2097151 pins");
	refuse_pin(be, RW, EBADF, -EBADF, "closed or replaced behind it");
	refuse_pin(be, RW, ENOTTY, -ENOTTY, "closed or replaced behind it");
	refuse_pin(be, RW, EINTR, -EINTR, "Interrupted");
	backend_pin_track.close(be, false);
}

static int no_limit_is_no_permission(void *arg)
{
	struct segment seg = { .addr = (void *)(16 * PAGE), .len = PAGE };
	struct backend *be;

	(void)arg;
	device_reset();
	if (backend_pin_track.open(&options, &be))
		return 1;
	device_fails(UAPI_PIN_TRACK_IOC_PIN, 1, EPERM);
	if (backend_pin_track.pin(be, &seg, RW) != -ENOMEM)
		return 2;
	if (!strstr(pinmem_errmsg(), "RLIMIT_MEMLOCK is 0; raise `ulimit -l`"))
		return 3;
	if (backend_pin_track.pin(be, &seg, RW))
		return 4;
	device_fails(UAPI_PIN_TRACK_IOC_UNPIN, 1, EPERM); /* not for want of a limit */
	if (backend_pin_track.unpin(be, &seg, PINMEM_CLEAN) != -EPERM)
		return 5;
	backend_pin_track.close(be, false);
	return 0;
}

static void permission_is_told_from_a_limit_of_nothing(void)
{
	CHECK(as_nobody(0, no_limit_is_no_permission, NULL) == 0);
}

static void each_failed_release_has_errno_and_cause_and_can_be_tried_again(void)
{
	static const struct {
		int err, want;
		const char *text;
	} table[] = {
		{ ESTALE, -ESTALE, "release them CLEAN" },
		{ EFAULT, -ESTALE, "release them CLEAN" },
		{ ENOENT, -ENOENT, "there is no pin 0x1" },
		{ EPERM, -EPERM, "another address space" },
		{ EBADF, -EBADF, "closed or replaced behind it" },
		{ EINTR, -EINTR, "Interrupted" },
	};
	struct segment seg = { .addr = (void *)(16 * PAGE), .len = 3 * PAGE };
	struct backend *be;

	device_reset();
	be = backend();
	CHECK_RC(backend_pin_track.unpin(be, &seg, PINMEM_CLEAN), -EINVAL);
	CHECK_MSG("not pinned");
	CHECK_RC(backend_pin_track.pin(be, &seg, RW), 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		device_fails(UAPI_PIN_TRACK_IOC_UNPIN, 1, table[i].err);
		CHECK_RC(backend_pin_track.unpin(be, &seg, PINMEM_DIRTY),
			 table[i].want);
		CHECK_MSG(table[i].text);
		CHECK_MSG("12288 bytes");
		CHECK(seg.pin && live_pins() == 1);
	}
	CHECK_RC(backend_pin_track.unpin(be, &seg, PINMEM_DIRTY), 0);
	CHECK(live_pins() == 0 && last_flags() == UAPI_PIN_TRACK_DIRTY);
	CHECK_RC(backend_pin_track.unpin(be, &seg, PINMEM_DIRTY), -EINVAL);
	backend_pin_track.close(be, false);
}

static void a_region_whose_release_failed_is_still_there(void)
{
	struct pinmem_mr *mr;
	struct pinmem *pm;
	char *p = anon(PAGE);

	device_reset();
	pm = pinner();
	mr = reg(pm, p, PAGE, RW, NULL);
	device_fails(UAPI_PIN_TRACK_IOC_UNPIN, 1, EPERM);
	CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, NULL), -EPERM);
	CHECK_RC(pinmem_close(pm), -EBUSY);
	dereg(mr, PINMEM_DIRTY, PINMEM_DIRTY);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, PAGE);
}

static void every_failing_call_is_undone(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.flags = PINMEM_REG_DIRTY_AT_PIN };
	unsigned int before, walked = 0;
	char *p = anon(4 * PAGE);
	struct pinmem *warm;

	device_reset();
	warm = pinner(); /* what the library opens once is open then */
	dereg(reg(warm, p, PAGE, RW, &o), PINMEM_CLEAN, PINMEM_CLEAN);
	CHECK_RC(pinmem_close(warm), 0);
	before = open_files();
	FAULT_WALK (n) {
		struct pinmem_mr *mr = NULL;
		struct pinmem *pm = NULL;
		int rc = pinmem_open(&options, &pm);

		if (!rc)
			rc = pinmem_reg(pm, p, 4 * PAGE, RW, &o, &mr);
		CHECK(fault_fired() || !rc);
		CHECK(live_pins() == (rc ? 0 : 1));
		if (mr && pinmem_dereg(mr, PINMEM_DIRTY, NULL)) {
			CHECK(fault_fired() && live_pins() == 1);
			CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, NULL), 0);
		}
		CHECK(live_pins() == 0);
		if (pm)
			CHECK_RC(pinmem_close(pm), 0);
		CHECK(open_files() == before);
		walked++;
	}
	CHECK(walked > 5);
	munmap(p, 4 * PAGE);
}

/* ----------------------------------------------------------------------------- fork */

struct inherited {
	struct pinmem *pm;
	struct pinmem_mr *mr;
};

static int child_asks_nothing(void *arg)
{
	struct inherited *i = arg;
	unsigned int pins = device.calls[_IOC_NR(UAPI_PIN_TRACK_IOC_PIN)];
	unsigned int unpins = device.calls[_IOC_NR(UAPI_PIN_TRACK_IOC_UNPIN)];

	if (pinmem_dereg(i->mr, PINMEM_CLEAN, NULL) != -ECHILD)
		return 1;
	if (pinmem_close(i->pm))
		return 2;
	if (device.calls[_IOC_NR(UAPI_PIN_TRACK_IOC_PIN)] != pins ||
	    device.calls[_IOC_NR(UAPI_PIN_TRACK_IOC_UNPIN)] != unpins)
		return 3;
	return fcntl(device.fd, F_GETFD) < 0 ? 0 : 4;
}

static void a_child_closes_its_copy_and_no_more(void)
{
	struct inherited i;
	char *p = anon(PAGE);

	device_reset();
	i.pm = pinner();
	i.mr = reg(i.pm, p, PAGE, RW, NULL);
	CHECK(in_child(child_asks_nothing, &i) == 0);
	dereg(i.mr, PINMEM_DIRTY, PINMEM_DIRTY);
	CHECK_RC(pinmem_close(i.pm), 0);
	munmap(p, PAGE);
}

static const struct test tests[] = {
	{ "open_says_what_is_missing", open_says_what_is_missing },
	{ "another_device_is_not_taken_for_it", another_device_is_not_taken_for_it },
	{ "a_pinner_is_what_the_device_says", a_pinner_is_what_the_device_says },
	{ "options_of_others_are_refused", options_of_others_are_refused },
	{ "auto_takes_it_after_io_uring_and_before_mlock",
	  auto_takes_it_after_io_uring_and_before_mlock },
	{ "access_decides_what_is_pinned_for", access_decides_what_is_pinned_for },
	{ "a_copy_is_pinned_in_place_of_its_target",
	  a_copy_is_pinned_in_place_of_its_target },
	{ "release_is_as_told", release_is_as_told },
	{ "dirty_that_cannot_be_is_released_clean",
	  dirty_that_cannot_be_is_released_clean },
	{ "what_cannot_be_dirtied_is_not_tried", what_cannot_be_dirtied_is_not_tried },
	{ "segments_are_pinned_all_or_none_and_released_each",
	  segments_are_pinned_all_or_none_and_released_each },
	{ "each_refusal_of_a_pin_has_errno_and_cause",
	  each_refusal_of_a_pin_has_errno_and_cause },
	{ "permission_is_told_from_a_limit_of_nothing",
	  permission_is_told_from_a_limit_of_nothing },
	{ "each_failed_release_has_errno_and_cause_and_can_be_tried_again",
	  each_failed_release_has_errno_and_cause_and_can_be_tried_again },
	{ "a_region_whose_release_failed_is_still_there",
	  a_region_whose_release_failed_is_still_there },
	{ "every_failing_call_is_undone", every_failing_call_is_undone },
	{ "a_child_closes_its_copy_and_no_more", a_child_closes_its_copy_and_no_more },
};
SUITE("pin_track", tests)
