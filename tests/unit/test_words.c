/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_words.c - a cache whose monitor gives words, over a made-up /dev/pin_track: a
 * changed word ends a hit, a change during the pin is pinned again, nothing stays
 * watched, and whatever fails leaves the next best thing. The real device:
 * tests/host/test_monitor_pin_track.c.
 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"
#include "fault.h"
#include "uapi.h"

#define PAGE 4096ul
#define PAGES 64ul
#define RW PINMEM_ACCESS_LOCAL_WRITE
#define SLOTS 256u

/* ------------------------------------------------------------ the made-up device */

/**
 * @there: or open(2) says ENOENT
 * @fd: an eventfd, as readable as the device; -1: not open
 * @slots: what is mapped; slot 0 counts all
 * @of: by slot; len 0: free
 * @watch_err: what WATCH fails with
 */
static struct {
	bool there;
	int fd;
	struct uapi_pin_track_info info;
	struct uapi_pin_track_slot *slots;
	pthread_mutex_t lock;
	struct uapi_pin_track_watch of[SLOTS];
	int watch_err;
	unsigned int watched;
} device = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

static void device_reset(void)
{
	device.there = true;
	device.watch_err = 0;
	device.watched = 0;
	memset(device.of, 0, sizeof(device.of));
	device.info = (struct uapi_pin_track_info){
		.size = sizeof(device.info),
		.version = 1,
		.features = UAPI_PIN_TRACK_FEATURE_SLOTS | UAPI_PIN_TRACK_FEATURE_WATCH,
		.max_slots = SLOTS,
		.map_len = SLOTS * sizeof(struct uapi_pin_track_slot),
	};
}

static int device_watch(struct uapi_pin_track_watch *arg)
{
	int err = device.watch_err;
	__u32 i = 1;

	if (arg->size != sizeof(*arg) || arg->flags || arg->reserved || !arg->len)
		return EINVAL;
	pthread_mutex_lock(&device.lock);
	while (i < SLOTS && device.of[i].len)
		i++;
	if (!err && i == SLOTS)
		err = ENOSPC;
	if (!err) {
		arg->slot = i;
		arg->id = i;
		arg->generation = device.slots[i].invalidations;
		device.of[i] = *arg;
		device.watched++;
	}
	pthread_mutex_unlock(&device.lock);
	return err;
}

static int device_unwatch(const struct uapi_pin_track_unpin *arg)
{
	int err = 0;

	pthread_mutex_lock(&device.lock);
	if (arg->size != sizeof(*arg) || arg->flags || arg->id >= SLOTS ||
	    !device.of[arg->id].len)
		err = ENOENT;
	else
		device.of[arg->id].len = 0;
	if (!err) {
		device.watched--;
		device.slots[arg->id].invalidations++;
	}
	pthread_mutex_unlock(&device.lock);
	CU_ASSERT_FALSE(err);
	return err;
}

/* The kernel's part when a mapping changes: before it returns */
static void change(const void *at, size_t len)
{
	uintptr_t start = (uintptr_t)at, end = start + len;

	pthread_mutex_lock(&device.lock);
	for (__u32 i = 1; i < SLOTS; i++) {
		const struct uapi_pin_track_watch *w = &device.of[i];

		if (w->len && w->addr < end && start < w->addr + w->len)
			__atomic_add_fetch(&device.slots[i].invalidations, 1,
					   __ATOMIC_SEQ_CST);
	}
	pthread_mutex_unlock(&device.lock);
	if (device.fd >= 0)
		eventfd_write(device.fd, 1);
}

/* These three are libc's, for all of this program but what is below them. */
int open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (strcmp(path, "/dev/pin_track") != 0)
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (!device.there) {
		errno = ENOENT;
		return -1;
	}
	CU_ASSERT_EQUAL(flags, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	device.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
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
	if (cmd == UAPI_PIN_TRACK_IOC_INFO && device.info.size) {
		memcpy(arg, &device.info, sizeof(device.info));
		return 0;
	}
	if (cmd == UAPI_PIN_TRACK_IOC_WATCH)
		err = device_watch(arg);
	else if (cmd == UAPI_PIN_TRACK_IOC_UNWATCH)
		err = device_unwatch(arg);
	else
		return (int)syscall(SYS_ioctl, fd, cmd, arg);
	errno = err;
	return err ? -1 : 0;
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (fd < 0 || fd != device.fd)
		return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
	CU_ASSERT_EQUAL(prot, PROT_READ);
	CU_ASSERT_EQUAL(flags, MAP_SHARED);
	device.slots = (void *)syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return device.slots;
}

/* ------------------------------------------------------------------- what is used */

static struct pinmem *pm;
static struct pinmem_cache *cache;
static char *mem;

static int create(enum pinmem_monitor kind, uint64_t max_regions)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = kind,
					  .max_regions = max_regions };

	return pinmem_cache_create(pm, &o, &cache);
}

static void begin_without_cache(void)
{
	struct pinmem_options o = { .size = sizeof(o) };

	device_reset();
	CHECK_RC(pinmem_open_ops(&fake_ops, &o, "test", &pm), 0);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(mem, 1, PAGES * PAGE);
}

static void end_without_cache(void)
{
	CHECK_RC(pinmem_close(pm), 0);
	munmap(mem, PAGES * PAGE);
	CHECK(device.watched == 0);
}

static void begin(void)
{
	begin_without_cache();
	CHECK_RC(create(PINMEM_MONITOR_PIN_TRACK, 16), 0);
}

static void end(void)
{
	CHECK_RC(pinmem_cache_destroy(cache), 0);
	device.fd = -1;
	end_without_cache();
}

static struct pinmem_cache_stats stats(void)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	CHECK_RC(pinmem_cache_stats(cache, &s), 0);
	return s;
}

static struct pinmem_mr *get(size_t page, size_t pages)
{
	struct pinmem_mr *mr = NULL;

	CHECK_RC(pinmem_cache_get(cache, mem + page * PAGE, pages * PAGE, RW, &mr), 0);
	return mr;
}

static bool hits(size_t page, size_t pages)
{
	long before = fake_pins();

	CHECK_RC(pinmem_cache_put(get(page, pages), PINMEM_CLEAN), 0);
	return fake_pins() == before;
}

/* ------------------------------------------------------------------------- tests */

static void a_changed_word_ends_a_hit(void)
{
	begin();
	CHECK(stats().monitor == PINMEM_MONITOR_PIN_TRACK);
	CHECK(!hits(0, 4));
	CHECK(hits(0, 4));
	CHECK(hits(2, 1));
	change(mem + 3 * PAGE, PAGE);
	CHECK(!hits(0, 4));
	CHECK(stats().changed == 1);
	CHECK(hits(0, 4));
	change(mem + 4 * PAGE, PAGE); /* of nobody's */
	CHECK(hits(0, 4));
	end();
}

static void only_what_changed_leaves(void)
{
	begin();
	for (size_t i = 0; i < 8; i++)
		CHECK(!hits(4 * i, 2));
	change(mem + 8 * PAGE, 5 * PAGE); /* the 3rd and the 4th */
	for (size_t i = 0; i < 8; i++)
		CHECK(hits(4 * i, 2) == (i != 2 && i != 3));
	CHECK(stats().changed == 2);
	CHECK(stats().regions == 8);
	end();
}

static void what_is_stale_is_not_merged(void)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem_mr *mr;

	begin();
	CHECK(!hits(0, 4));
	change(mem, PAGE);
	mr = get(2, 4);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.addr == mem + 2 * PAGE && i.len == 4 * PAGE);
	CHECK(stats().merges == 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	end();
}

static int changes_left;

static void change_while_pinning(const struct segment *seg, void *arg)
{
	(void)arg;
	if (changes_left && changes_left--)
		change(seg->addr, seg->len);
}

static void a_pin_that_changes_the_mapping_is_done_again(void)
{
	begin();
	fake_on_pin(change_while_pinning, NULL);
	changes_left = 2;
	CHECK(!hits(0, 4));
	CHECK(fake_pins() == 3 && fake_live_pins() == 1);
	CHECK(hits(0, 4));
	CHECK(stats().alone_raced == 0);
	end();
}

static void a_mapping_that_changes_all_the_time_is_not_kept(void)
{
	struct pinmem_mr *mr;

	begin();
	fake_on_pin(change_while_pinning, NULL);
	changes_left = 1000;
	mr = get(0, 4);
	CHECK(fake_live_pins() == 1);
	CHECK(stats().alone_raced == 1 && stats().regions == 0);
	CHECK(device.watched == 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	CHECK(fake_live_pins() == 0);
	changes_left = 0;
	end();
}

static void a_second_pin_that_fails_is_the_caller_s_error(void)
{
	struct pinmem_mr *mr = NULL;

	begin();
	fake_on_pin(change_while_pinning, NULL);
	changes_left = 1;
	fake_fail_pin(2, EFAULT);
	CHECK_RC(pinmem_cache_get(cache, mem, PAGE, RW, &mr), -EFAULT);
	CHECK(device.watched == 0);
	changes_left = 1;
	fake_fail_unpin(1, EIO); /* then the first one has to do */
	mr = get(0, 1);
	CHECK(stats().alone_raced == 1 && fake_live_pins() == 1);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	end();
}

static bool soon_none_is_live(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	for (int i = 0; i < 5000 && fake_live_pins(); i++)
		nanosleep(&moment, NULL);
	return !fake_live_pins();
}

static void what_changed_is_released_without_a_get(void)
{
	struct pinmem_mr *held;

	begin();
	for (size_t i = 0; i < 8; i++)
		hits(4 * i, 2);
	change(mem, PAGES * PAGE);
	CHECK(soon_none_is_live());
	CHECK(stats().regions == 0 && stats().changed == 8);
	held = get(0, 2);
	change(mem, PAGE);
	CHECK(!hits(0, 2));
	CHECK(fake_live_pins() == 2);
	CHECK_RC(pinmem_cache_put(held, PINMEM_CLEAN), 0);
	CHECK(fake_live_pins() == 1);
	end();
}

static void watches_end_with_their_regions(void)
{
	begin();
	for (size_t i = 0; i < 60; i++)
		hits(i, 1);
	CHECK(stats().evictions == 44);
	CHECK(device.watched == 16);
	CHECK(pinmem_cache_invalidate(cache, mem + 59 * PAGE, PAGE) == 1);
	CHECK(device.watched == 15);
	CHECK_RC(pinmem_cache_flush(cache), 0);
	CHECK(device.watched == 0);
	end();
}

static void files_need_nobody_s_word(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct pinmem_mr *mr;
	long before;
	char *file;

	begin();
	CHECK_RC(ftruncate(fd, PAGE), 0);
	file = (char *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			       fd, 0);
	for (int i = 0; i < 2; i++) {
		before = fake_pins();
		CHECK_RC(pinmem_cache_get(cache, file, PAGE, RW, &mr), 0);
		CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
		CHECK(fake_pins() == before + !i);
	}
	CHECK(stats().alone_file == 0);
	end();
	munmap(file, PAGE);
	close(fd);
}

static void without_a_watch_it_is_registered_and_not_kept(void)
{
	static const int errs[] = { ENOSPC, ENOMEM, EPERM };
	struct pinmem_mr *mr;

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(errs); i++) {
		device.watch_err = errs[i];
		mr = get(0, 4);
		CHECK(stats().alone_monitor == i + 1);
		CHECK(stats().regions == 0);
		CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	}
	device.watch_err = 0;
	CHECK(!hits(0, 4));
	CHECK(hits(0, 4));
	end();
}

static void all_slots_may_be_taken(void)
{
	begin_without_cache();
	device.info.max_slots = 2; /* the made-up device has more; no matter */
	CHECK_RC(create(PINMEM_MONITOR_PIN_TRACK, 1000), 0);
	for (__u32 i = 3; i < SLOTS; i++)
		device.of[i].len = PAGE; /* somebody else's */
	CHECK(!hits(0, 1));
	CHECK(!hits(1, 1));
	CHECK(!hits(2, 1));
	CHECK(stats().alone_monitor == 1);
	CHECK(stats().regions == 2);
	memset(&device.of[3], 0, sizeof(device.of[0]) * (SLOTS - 3));
	end();
}

/* -------------------------------------------------------------- how it begins */

static void auto_takes_it_first_and_else_userfaultfd(void)
{
	begin_without_cache();
	CHECK_RC(create(PINMEM_MONITOR_AUTO, 16), 0);
	CHECK(stats().monitor == PINMEM_MONITOR_PIN_TRACK);
	end();
	begin_without_cache();
	device.there = false;
	CHECK_RC(create(PINMEM_MONITOR_AUTO, 16), 0);
	CHECK(stats().monitor == PINMEM_MONITOR_USERFAULTFD);
	end();
}

static void what_is_missing_is_said(void)
{
	begin_without_cache();
	device.there = false;
	CHECK_RC(create(PINMEM_MONITOR_PIN_TRACK, 16), -EOPNOTSUPP);
	CHECK_MSG("there is no /dev/pin_track");
	device.there = true;
	device.info.features = UAPI_PIN_TRACK_FEATURE_SLOTS;
	CHECK_RC(create(PINMEM_MONITOR_PIN_TRACK, 16), -EOPNOTSUPP);
	CHECK_MSG("are needed");
	device.info.size = 0; /* not a pin_track at all */
	CHECK_RC(create(PINMEM_MONITOR_PIN_TRACK, 16), -EOPNOTSUPP);
	CHECK_MSG("does not tell what it is");
	device.fd = -1;
	end_without_cache();
}

static void every_failure_of_creation_is_undone(void)
{
	int walked = 0;

	begin_without_cache();
	FAULT_WALK (n) {
		int rc = create(PINMEM_MONITOR_PIN_TRACK, 16);

		walked = n;
		if (rc)
			continue;
		CHECK_RC(pinmem_cache_destroy(cache), 0);
	}
	CHECK(walked > 5);
	device.fd = -1;
	end_without_cache();
}

static void every_failure_of_a_get_is_harmless(void)
{
	struct pinmem_mr *mr;
	int walked = 0;

	begin();
	FAULT_WALK (n) {
		int rc = pinmem_cache_get(cache, mem, 4 * PAGE, RW, &mr);

		walked = n;
		fault_disarm(); /* the end of a watch cannot fail */
		if (!rc)
			CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
		CHECK_RC(pinmem_cache_flush(cache), 0);
		CHECK(device.watched == 0 && fake_live_pins() == 0);
	}
	CHECK(walked > 3);
	end();
}

/* ------------------------------------------------------------------ with threads */

/*
 * A changer counts what it has changed, after it did. Who read the count and gets then
 * must not get a region that was pinned before: pins have keys that only grow.
 */
static struct {
	uint32_t next_key; /* atomic: pins from before the last change have less */
	bool stop;	   /* atomic */
	uint64_t gets, stale;
} race;

static void *get_all_the_time(void *arg)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr *mr;

	(void)arg;
	while (!__atomic_load_n(&race.stop, __ATOMIC_RELAXED)) {
		uint32_t key = __atomic_load_n(&race.next_key, __ATOMIC_ACQUIRE);

		if (pinmem_cache_get(cache, mem, 4 * PAGE, RW, &mr))
			break;
		if (pinmem_mr_segment(mr, 0, &seg) || seg.lkey < key)
			__atomic_add_fetch(&race.stale, 1, __ATOMIC_RELAXED);
		pinmem_cache_put(mr, PINMEM_CLEAN);
		__atomic_add_fetch(&race.gets, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void no_hit_is_older_than_a_change(void)
{
	const struct timespec moment = { .tv_nsec = 50000 };
	pthread_t t[3];

	begin();
	memset(&race, 0, sizeof(race));
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		CHECK_RC(pthread_create(&t[i], NULL, get_all_the_time, NULL), 0);
	for (int i = 0; i < SHARE(2000); i++) {
		uint32_t key = fake_next_key();

		change(mem, PAGE);
		__atomic_store_n(&race.next_key, key, __ATOMIC_RELEASE);
		if (i % 4)
			nanosleep(&moment, NULL);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	CHECK(race.stale == 0);
	CHECK(race.gets > 0);
	CHECK(stats().changed > 0);
	end();
}

static const struct test tests[] = {
	{ "a_changed_word_ends_a_hit", a_changed_word_ends_a_hit },
	{ "only_what_changed_leaves", only_what_changed_leaves },
	{ "what_is_stale_is_not_merged", what_is_stale_is_not_merged },
	{ "a_pin_that_changes_the_mapping_is_done_again",
	  a_pin_that_changes_the_mapping_is_done_again },
	{ "a_mapping_that_changes_all_the_time_is_not_kept",
	  a_mapping_that_changes_all_the_time_is_not_kept },
	{ "a_second_pin_that_fails_is_the_caller_s_error",
	  a_second_pin_that_fails_is_the_caller_s_error },
	{ "what_changed_is_released_without_a_get",
	  what_changed_is_released_without_a_get },
	{ "watches_end_with_their_regions", watches_end_with_their_regions },
	{ "files_need_nobody_s_word", files_need_nobody_s_word },
	{ "without_a_watch_it_is_registered_and_not_kept",
	  without_a_watch_it_is_registered_and_not_kept },
	{ "all_slots_may_be_taken", all_slots_may_be_taken },
	{ "auto_takes_it_first_and_else_userfaultfd",
	  auto_takes_it_first_and_else_userfaultfd },
	{ "what_is_missing_is_said", what_is_missing_is_said },
	{ "every_failure_of_creation_is_undone", every_failure_of_creation_is_undone },
	{ "every_failure_of_a_get_is_harmless", every_failure_of_a_get_is_harmless },
	{ "no_hit_is_older_than_a_change", no_hit_is_older_than_a_change },
};

SUITE("words", tests)
