/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_fallback.c - staging and ODP over the fake backend, on real memory: where
 * every byte goes, and that no mapping a user can leave behind raises a signal.
 */
#include "fake.h"
#include "fault.h"
#include "suite.h"
#include "uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmem.h>
#include <numa.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MIB (1ul << 20)
#define PAGE 4096ul
#define WRITES (PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE)

/* ------------------------------------------------------------------ helpers */

static struct pinmem *open_fake(void)
{
	struct pinmem_options opts = { .size = sizeof(opts) };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open_ops(&fake_ops, &opts, "test", &pm), 0);
	if (!pm)
		abort();
	return pm;
}

static int reg(struct pinmem *pm, void *addr, size_t len, enum pinmem_mode mode,
	       struct pinmem_mr **mr)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts), .mode = mode };

	return pinmem_reg(pm, addr, len, WRITES, &opts, mr);
}

static struct pinmem_mr *stage(struct pinmem *pm, void *addr, size_t len)
{
	struct pinmem_mr *mr = NULL;

	CHECK_RC(reg(pm, addr, len, PINMEM_STAGED, &mr), 0);
	if (!mr)
		abort();
	CHECK(mr->mode == PINMEM_STAGED);
	return mr;
}

/* What a device would see at this offset of the region */
static unsigned char *copy_of(struct pinmem_mr *mr, uint64_t offset)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };

	CHECK_RC(pinmem_mr_segment(mr, offset, &seg), 0);
	return (unsigned char *)seg.addr + (offset - seg.offset);
}

static void release(struct pinmem *pm, struct pinmem_mr *mr)
{
	if (mr)
		CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_close(pm), 0);
}

static UNTRACED unsigned char pattern(size_t i, unsigned int seed)
{
	return (unsigned char)((i * 2654435761u >> 11) + seed);
}

static UNTRACED void fill_from(unsigned char *p, size_t at, size_t len,
			       unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(at + i, seed);
}

static void fill(unsigned char *p, size_t len, unsigned int seed)
{
	fill_from(p, 0, len, seed);
}

/* Does p[0..len) hold the pattern from @at on? */
static UNTRACED bool holds(const unsigned char *p, size_t at, size_t len,
			   unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(at + i, seed))
			return false;
	return true;
}

static unsigned char *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static unsigned char *map_anon(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static unsigned char *map_shared(int fd, size_t len)
{
	if (ftruncate(fd, (off_t)len))
		abort();
	return map(len, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
}

/* A file without a name, in a directory on a disk or in memory; -1: none there */
static int temp_file(const char *dir)
{
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static const char *disk_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir ? dir : "/var/tmp";
}

/* What a sanitizer maps at the first use of an address is no leak of ours. */
static void warm_up(struct pinmem *pm, void *addr, size_t len, enum pinmem_mode mode)
{
	struct pinmem_mr *mr = NULL;

	CHECK_RC(reg(pm, addr, len, mode, &mr), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
}

static size_t count_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	size_t n = 0;
	int c;

	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/*
 * libpmem's calls, replaced in this executable: counted, and made to fail. The host
 * has no DAX, so who is called when is tested here; that it persists, in tests/vm.
 */
static int msync_err, msyncs, pmem_copies;
static const void *msync_addr;
static size_t msync_len;

int pmem_msync(const void *addr, size_t len)
{
	uintptr_t start = page_floor((uintptr_t)addr);

	msyncs++;
	msync_addr = addr;
	msync_len = len;
	if (msync_err) {
		errno = msync_err;
		return -1;
	}
	return msync((void *)start, (uintptr_t)addr + len - start, MS_SYNC);
}

void *pmem_memcpy_persist(void *to, const void *from, size_t len)
{
	pmem_copies++;
	return memcpy(to, from, len);
}

/* ------------------------------------------------------------------ staging */

static void staged_copy_begins_with_the_targets_bytes(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr;

	fill(p, 4 * PAGE, 1);
	mr = stage(pm, p + 777, 2 * PAGE);
	CHECK(holds(copy_of(mr, 0), 777, 2 * PAGE, 1));
	CHECK(copy_of(mr, 0) != p + 777);
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

static void iova_is_the_users_address_and_page_offset_is_kept(void)
{
	unsigned char *p = map_anon(8 * MIB);
	size_t at = 3 * PAGE + 123, len = 5 * MIB + 45;
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr *mr;
	struct pinmem *pm;

	fake_caps.iova = true;
	fake_caps.max_segment = 2 * MIB;
	pm = open_fake();
	mr = stage(pm, p + at, len);
	CHECK(fake_live_pins() == 3);
	for (uint64_t off = 0; off < len; off += 2 * MIB) {
		CHECK_RC(pinmem_mr_segment(mr, off, &seg), 0);
		CHECK(seg.iova == (uintptr_t)p + at + off);
		CHECK(((uintptr_t)seg.addr ^ seg.iova) % PAGE == 0);
		CHECK((uintptr_t)seg.addr != seg.iova);
	}
	CHECK(seg.len == MIB + 45 && fake_last_access() == WRITES && !fake_last_odp());
	release(pm, mr);
	munmap(p, 8 * MIB);
}

static void sync_to_device_moves_only_its_sub_range(void)
{
	size_t len = 20 * MIB, at = 5 * MIB + 11, n = 9 * MIB + 1; /* three chunks */
	unsigned char *p = map_anon(len);
	struct pinmem *pm;
	struct pinmem_mr *mr;

	fake_caps.max_segment = 2 * MIB;
	pm = open_fake();
	fill(p, len, 1);
	mr = stage(pm, p + 3, len - 5);
	fill(p, len, 2);
	CHECK_RC(pinmem_sync(mr, at, n, PINMEM_SYNC_TO_DEVICE), 0);
	CHECK(holds(copy_of(mr, 0), 3, at, 1));
	CHECK(holds(copy_of(mr, 0) + at, 3 + at, n, 2));
	CHECK(holds(copy_of(mr, 0) + at + n, 3 + at + n, len - 5 - at - n, 1));
	CHECK(holds(p, 0, len, 2));
	release(pm, mr);
	munmap(p, len);
}

static void sync_from_device_moves_only_its_sub_range(void)
{
	size_t len = 20 * MIB, at = 7 * MIB + 4095, n = 9 * MIB + 2;
	unsigned char *p = map_anon(len);
	struct pinmem *pm = open_fake();
	unsigned char *copy;
	struct pinmem_mr *mr;

	fill(p, len, 1);
	mr = stage(pm, p + 3, len - 5);
	copy = copy_of(mr, 0);
	fill_from(copy, 3, len - 5, 4);
	CHECK_RC(pinmem_sync(mr, at, n, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(holds(p, 0, 3 + at, 1));
	CHECK(holds(p + 3 + at, 3 + at, n, 4));
	CHECK(holds(p + 3 + at + n, 3 + at + n, len - 3 - at - n, 1));
	release(pm, mr);
	munmap(p, len);
}

static void single_bytes_at_both_ends_are_synced(void)
{
	unsigned char *p = map_anon(3 * PAGE);
	size_t len = PAGE + 2;
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p + PAGE - 1, len);

	copy_of(mr, 0)[0] = 0x11;
	copy_of(mr, 0)[len - 1] = 0x22;
	CHECK_RC(pinmem_sync(mr, 0, 1, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK_RC(pinmem_sync(mr, len - 1, 1, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(p[PAGE - 1] == 0x11 && p[2 * PAGE] == 0x22);
	CHECK(p[PAGE - 2] == 0 && p[2 * PAGE + 1] == 0 && p[PAGE] == 0);
	release(pm, mr);
	munmap(p, 3 * PAGE);
}

static void sync_through_file(int fd, const char *what)
{
	size_t len = 3 * MIB + PAGE, at = 2 * MIB + 5, n = MIB;
	unsigned char *p, *back = malloc(len);
	struct pinmem *pm;
	struct pinmem_mr *mr;

	if (fd < 0 || !back) {
		suite_skip(what);
		free(back);
		return;
	}
	p = map_shared(fd, len);
	pm = open_fake();
	fill(p, len, 1);
	mr = stage(pm, p, len);
	fill(copy_of(mr, 0), len, 9);
	CHECK_RC(pinmem_sync(mr, at, n, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(pread(fd, back, len, 0) == (ssize_t)len);
	CHECK(holds(back, 0, at, 1));
	CHECK(holds(back + at, at, n, 9));
	CHECK(holds(back + at + n, at + n, len - at - n, 1));
	CHECK(msyncs == 0 && pmem_copies == 0); /* in memory is enough, off DAX */
	release(pm, mr);
	munmap(p, len);
	close(fd);
	free(back);
}

static void sync_reaches_memfd_tmpfs_and_page_cache(void)
{
	msyncs = pmem_copies = 0;
	sync_through_file(memfd_create("fallback", MFD_CLOEXEC), "no memfd");
	sync_through_file(temp_file("/dev/shm"), "no tmpfs on /dev/shm");
	sync_through_file(temp_file(disk_dir()), "no O_TMPFILE in $TMPDIR or /var/tmp");
}

static void sync_on_a_hole_in_a_file_allocates_it(void)
{
	int fd = temp_file(disk_dir());
	struct pinmem *pm;
	struct pinmem_mr *mr;
	unsigned char *p, b = 0;

	if (fd < 0) {
		suite_skip("no O_TMPFILE in $TMPDIR or /var/tmp");
		return;
	}
	p = map_shared(fd, MIB);
	pm = open_fake();
	mr = stage(pm, p, MIB);
	*copy_of(mr, 77777) = 0x42;
	CHECK_RC(pinmem_sync(mr, 77777, 1, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(pread(fd, &b, 1, 77777) == 1 && b == 0x42);
	release(pm, mr);
	munmap(p, MIB);
	close(fd);
}

static void truncated_file_is_EFAULT_and_no_signal(void)
{
	int fd = temp_file(disk_dir());
	struct pinmem *pm;
	struct pinmem_mr *mr;
	unsigned char *p;

	if (fd < 0)
		fd = memfd_create("fallback", MFD_CLOEXEC);
	p = map_shared(fd, 4 * PAGE);
	pm = open_fake();
	mr = stage(pm, p, 4 * PAGE);
	CHECK(!ftruncate(fd, PAGE));
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE), -EFAULT);
	CHECK_MSG("end of its file");
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_TO_DEVICE), -EFAULT);
	/* what is left of the file still works, and so does all when it grows */
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(!ftruncate(fd, 4 * PAGE));
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	release(pm, mr);
	munmap(p, 4 * PAGE);
	close(fd);
}

/* In a mount namespace of this child's own: a tmpfs with room for 8 pages */
static int sync_onto_full_fs(void *arg)
{
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm;
	unsigned char *p;
	int fd, rc;

	(void)arg;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/mnt", "tmpfs", 0, "size=32k"))
		return 77;
	fd = temp_file("/mnt");
	if (fd < 0 || ftruncate(fd, 64 * PAGE))
		return 78;
	p = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	pm = open_fake();
	/* past the reads of the initial copy, which put zero pages in place */
	if (reg(pm, p, 4 * PAGE, PINMEM_STAGED, &mr))
		return 1;
	if (pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE))
		return 2;
	if (pinmem_dereg(mr, PINMEM_CLEAN, NULL))
		return 3;
	rc = reg(pm, p, 64 * PAGE, PINMEM_STAGED, &mr);
	if (!rc)
		rc = pinmem_sync(mr, 0, 64 * PAGE, PINMEM_SYNC_FROM_DEVICE);
	return rc == -EFAULT ? 0 : 4;
}

static void full_file_system_is_EFAULT_and_no_signal(void)
{
	int rc = in_child(sync_onto_full_fs, NULL);

	if (rc == 77)
		suite_skip("needs a mount namespace (root)");
	else
		CHECK(rc == 0);
}

static void read_only_target_is_EACCES_from_the_device_only(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 4 * PAGE);

	fill(copy_of(mr, 0), 4 * PAGE, 3);
	CHECK(!mprotect(p + 2 * PAGE, PAGE, PROT_READ));
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE), -EACCES);
	CHECK_MSG("read-only");
	CHECK_RC(pinmem_sync(mr, 0, 2 * PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(holds(p, 0, 2 * PAGE, 3) && p[2 * PAGE] == 0);
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_TO_DEVICE), 0);
	/* it is asked anew each time: writable again is writable again */
	CHECK(!mprotect(p + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

static void inaccessible_target_is_an_error_both_ways(void)
{
	unsigned char *p = map_anon(2 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 2 * PAGE);

	CHECK(!mprotect(p, 2 * PAGE, PROT_NONE));
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_FROM_DEVICE), -EACCES);
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_TO_DEVICE), -EFAULT);
	release(pm, mr);
	munmap(p, 2 * PAGE);
}

static void unmapped_target_is_EFAULT_and_can_still_be_released(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 4 * PAGE);

	munmap(p + PAGE, PAGE);
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE), -EFAULT);
	CHECK_MSG("not mapped");
	CHECK_RC(pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_TO_DEVICE), -EFAULT);
	CHECK_RC(pinmem_sync(mr, 2 * PAGE, PAGE, PINMEM_SYNC_TO_DEVICE), 0);
	munmap(p, 4 * PAGE);
	CHECK_RC(pinmem_sync(mr, 0, 1, PINMEM_SYNC_FROM_DEVICE), -EFAULT);
	release(pm, mr);
}

static void guard_page_in_the_target_is_EFAULT(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 4 * PAGE);

	if (madvise(p + PAGE, PAGE, UAPI_MADV_GUARD_INSTALL)) {
		suite_skip("no MADV_GUARD_INSTALL (6.13)");
	} else {
		CHECK_RC(pinmem_sync(mr, 0, 2 * PAGE, PINMEM_SYNC_TO_DEVICE), -EFAULT);
		CHECK_RC(pinmem_sync(mr, 0, 2 * PAGE, PINMEM_SYNC_FROM_DEVICE),
			 -EFAULT);
	}
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

static void sync_goes_where_the_addresses_point_now(void)
{
	unsigned char *p = map_anon(2 * PAGE), *q;
	int fd = memfd_create("fallback", MFD_CLOEXEC);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 2 * PAGE);
	unsigned char b = 0;

	CHECK(!ftruncate(fd, 2 * PAGE));
	q = mmap(p, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	CHECK(q == p);
	*copy_of(mr, PAGE) = 0x77;
	CHECK_RC(pinmem_sync(mr, PAGE, 1, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(pread(fd, &b, 1, PAGE) == 1 && b == 0x77);
	release(pm, mr);
	munmap(p, 2 * PAGE);
	close(fd);
}

/* ------------------------------------------------------ staging: persistence */

static void fsdax_target_is_committed_unless_mapped_with_MAP_SYNC(void)
{
	int fd = temp_file(disk_dir()), copies;
	unsigned char *p;
	struct pinmem *pm;
	struct pinmem_mr *mr;

	if (fd < 0)
		fd = memfd_create("fallback", MFD_CLOEXEC);
	p = map_shared(fd, 16 * PAGE);
	pm = open_fake();
	mr = stage(pm, p, 16 * PAGE);
	CHECK(!mr->target_fsdax && !mr->target_map_sync);
	mr->target_fsdax = true; /* as it would be on a DAX file system */
	msyncs = pmem_copies = 0;
	fill(copy_of(mr, 0), 16 * PAGE, 5);
	CHECK_RC(pinmem_sync(mr, 5, 3 * PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(msyncs == 1 && msync_addr == p + 5 && msync_len == 3 * PAGE);
	/* in one piece or two: the addresses may straddle a chunk's boundary */
	copies = pmem_copies;
	CHECK(copies == 1 || copies == 2);
	CHECK(holds(p + 5, 5, 3 * PAGE, 5) && p[4] == 0 && p[3 * PAGE + 5] == 0);
	CHECK_RC(pinmem_sync(mr, 5, 3 * PAGE, PINMEM_SYNC_TO_DEVICE), 0);
	CHECK(msyncs == 1 && pmem_copies == copies);
	mr->target_map_sync = true;
	CHECK_RC(pinmem_sync(mr, 0, 16 * PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(msyncs == 1 && pmem_copies > copies && holds(p, 0, 16 * PAGE, 5));
	release(pm, mr);
	munmap(p, 16 * PAGE);
	close(fd);
}

static void failed_commit_is_told_by_errno(void)
{
	unsigned char *p = map_anon(PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, PAGE);

	mr->target_fsdax = true;
	msync_err = EIO;
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_FROM_DEVICE), -EIO);
	CHECK_MSG("msync");
	msync_err = ENOMEM; /* unmapped between the copy and the msync */
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_FROM_DEVICE), -EFAULT);
	CHECK_MSG("mapped");
	msync_err = 0;
	release(pm, mr);
	munmap(p, PAGE);
}

/* ----------------------------------------------------- staging: registration */

static void copy_lies_on_the_devices_node_if_that_can_be(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm;
	struct pinmem_mr *mr;

	fake_caps.node = numa_available() < 0 ? -1 : numa_max_node();
	pm = open_fake();
	mr = stage(pm, p, 4 * PAGE);
	CHECK(fake_caps.node < 0 || place_node_of(copy_of(mr, 0)) == fake_caps.node);
	release(pm, mr);
	fake_caps.node = 63; /* no such node: local to nobody is better than none */
	pm = open_fake();
	mr = stage(pm, p, 4 * PAGE);
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

struct heard {
	unsigned int populate, copy, pin, calls, cancel_at;
	uint64_t copied;
	bool order;
};

static int hear(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	struct heard *h = arg;

	if (!strcmp(phase, "populate")) {
		h->populate++;
	} else if (!strcmp(phase, "copy")) {
		h->copy++;
		h->order = h->order && done >= h->copied && done <= total;
		h->copied = done;
	} else if (!strcmp(phase, "pin")) {
		h->pin++;
	}
	return ++h->calls == h->cancel_at;
}

static void progress_is_told_and_may_cancel_anywhere(void)
{
	struct heard h = { .order = true };
	struct pinmem_reg_options opts = { .size = sizeof(opts),
					   .mode = PINMEM_STAGED,
					   .threads = 1, /* whose stacks are no leak */
					   .progress = hear,
					   .progress_arg = &h };
	size_t len = 18 * MIB, before;
	unsigned char *p = map_anon(len);
	struct pinmem *pm;
	struct pinmem_mr *mr;
	unsigned int calls;

	fake_caps.max_segment = 8 * MIB;
	pm = open_fake();
	CHECK_RC(pinmem_reg(pm, p, len, WRITES, &opts, &mr), 0);
	CHECK(h.populate && h.copy >= 3 && h.pin >= 3 && h.order && h.copied == len);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	before = count_mappings();
	calls = h.calls;
	for (unsigned int n = 1; n <= calls; n++) {
		h = (struct heard){ .order = true, .cancel_at = n };
		mr = NULL;
		if (pinmem_reg(pm, p, len, WRITES, &opts, &mr) == -ECANCELED) {
			CHECK(!mr && fake_live_pins() == 0);
			CHECK_MSG("cancelled");
		} else {
			CHECK(mr && n > 3); /* populating tells as often as it likes */
			CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
		}
		CHECK(count_mappings() == before);
	}
	release(pm, NULL);
	munmap(p, len);
}

static void failing_segment_gives_the_copy_back(void)
{
	unsigned char *p = map_anon(6 * MIB);
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm;
	size_t before;

	fake_caps.max_segment = 2 * MIB;
	pm = open_fake();
	warm_up(pm, p, 6 * MIB, PINMEM_STAGED);
	before = count_mappings();
	for (int n = 1; n <= 3; n++) {
		fake_fail_pin(n, EIO);
		CHECK_RC(reg(pm, p, 6 * MIB, PINMEM_STAGED, &mr), -EIO);
		CHECK(!mr && fake_live_pins() == 0 && count_mappings() == before);
	}
	release(pm, NULL);
	munmap(p, 6 * MIB);
}

static void failed_release_keeps_the_copy(void)
{
	unsigned char *p = map_anon(2 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 2 * PAGE);

	fake_fail_unpin(1, EIO);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), -EIO);
	*copy_of(mr, 9) = 0x19;
	CHECK_RC(pinmem_sync(mr, 9, 1, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(p[9] == 0x19);
	release(pm, mr);
	munmap(p, 2 * PAGE);
}

static void walk_registration(enum pinmem_mode mode)
{
	unsigned char *p = map_anon(6 * MIB);
	struct pinmem *pm;
	size_t before;

	fake_caps.max_segment = 2 * MIB;
	fake_caps.odp = true;
	pm = open_fake();
	before = count_mappings();
	FAULT_WALK (n) {
		struct pinmem_mr *mr = NULL;
		int rc = reg(pm, p, 6 * MIB, mode, &mr);

		fault_disarm();
		CHECK(rc ? !mr && fault_fired() : !!mr);
		if (mr)
			CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
		CHECK(fake_live_pins() == 0 && count_mappings() == before);
	}
	release(pm, NULL);
	munmap(p, 6 * MIB);
}

static void every_failing_call_of_staging_is_undone(void)
{
	walk_registration(PINMEM_STAGED);
}

static void every_failing_call_of_sync_is_told(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 4 * PAGE);

	mr->target_fsdax = true;
	FAULT_WALK (n) {
		int rc = pinmem_sync(mr, 0, 4 * PAGE, PINMEM_SYNC_FROM_DEVICE);

		CHECK(rc ? fault_fired() : !fault_fired());
	}
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

/* Also when looking for a better sentence fails (no /proc, no memory) */
static void sync_onto_nothing_is_EFAULT_whatever_else_fails(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake();
	struct pinmem_mr *mr = stage(pm, p, 4 * PAGE);

	munmap(p, 4 * PAGE);
	FAULT_WALK (n) {
		CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_FROM_DEVICE), -EFAULT);
		CHECK_MSG("not mapped");
	}
	release(pm, mr);
}

/* --------------------------------------------------------------------- ODP */

static struct pinmem *open_fake_odp(size_t max_segment)
{
	fake_caps.odp = fake_caps.iova = true;
	fake_caps.max_segment = max_segment;
	return open_fake();
}

static void odp_region_is_registered_in_place(void)
{
	unsigned char *p = map_anon(6 * MIB);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr *mr = NULL;
	unsigned char present;

	CHECK_RC(reg(pm, p + 5, 5 * MIB, PINMEM_ODP, &mr), 0);
	CHECK(mr->mode == PINMEM_ODP && fake_last_odp() && fake_live_pins() == 3);
	CHECK_RC(pinmem_mr_segment(mr, 4 * MIB, &seg), 0);
	CHECK(seg.addr == p + 5 + 4 * MIB && seg.iova == (uintptr_t)seg.addr);
	CHECK(!mincore(p + 3 * MIB, PAGE, &present) && !(present & 1));
	release(pm, mr);
	munmap(p, 6 * MIB);
}

static void odp_over_a_guard_region_is_refused(void)
{
	unsigned char *p = map_anon(8 * PAGE);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_mr *mr = NULL;

	if (madvise(p + 3 * PAGE, PAGE, UAPI_MADV_GUARD_INSTALL)) {
		suite_skip("no MADV_GUARD_INSTALL (6.13)");
	} else {
		CHECK_RC(reg(pm, p, 8 * PAGE, PINMEM_ODP, &mr), -EFAULT);
		CHECK_MSG("guard region");
		CHECK(!mr && fake_pins() == 0);
		CHECK_RC(reg(pm, p, 3 * PAGE, PINMEM_ODP, &mr), 0);
		CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	}
	release(pm, NULL);
	munmap(p, 8 * PAGE);
}

static void odp_over_a_hole_made_meanwhile_is_refused(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_reg_options opts = { .size = sizeof(opts), .fd = -1 };
	struct pinmem_mr mr = {
		.pm = pm, .addr = (uintptr_t)p, .len = 4 * PAGE, .access = WRITES
	};

	munmap(p + 2 * PAGE, PAGE); /* after the verdict */
	CHECK_RC(odp_register(&mr, &opts), -EFAULT);
	CHECK_MSG("not mapped");
	CHECK(fake_pins() == 0);
	release(pm, NULL);
	munmap(p, 4 * PAGE);
}

static void every_failing_call_of_odp_is_undone(void)
{
	walk_registration(PINMEM_ODP);
}

static bool present(void *at)
{
	unsigned char vec = 0;

	return !mincore(at, PAGE, &vec) && (vec & 1);
}

static struct {
	const void *addr;
	uint64_t offset, len;
	bool write;
} parts[4];
static unsigned int nparts;

static int prefetch_noted(struct backend *be, const struct segment *seg,
			  uint64_t offset, uint64_t len, bool write)
{
	(void)be;
	parts[nparts % ARRAY_SIZE(parts)].addr = seg->addr;
	parts[nparts % ARRAY_SIZE(parts)].offset = offset;
	parts[nparts % ARRAY_SIZE(parts)].len = len;
	parts[nparts++ % ARRAY_SIZE(parts)].write = write;
	return 0;
}

static bool part_is(unsigned int i, const void *addr, uint64_t offset, uint64_t len,
		    bool write)
{
	return parts[i].addr == addr && parts[i].offset == offset &&
	       parts[i].len == len && parts[i].write == write;
}

static void prefetch_is_split_over_the_segments(void)
{
	struct backend_ops ops = fake_ops;
	unsigned char *p = map_anon(6 * MIB);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_stats stats = { .size = sizeof(stats) };
	struct pinmem_mr *mr = NULL;

	nparts = 0;
	ops.prefetch = prefetch_noted;
	CHECK_RC(reg(pm, p + 5, 5 * MIB, PINMEM_ODP, &mr), 0);
	pm->be->ops = &ops;
	CHECK_RC(pinmem_prefetch(mr, MIB + 1, 3 * MIB + 7, 1), 0);
	CHECK(nparts == 3 && part_is(0, p + 5, MIB + 1, MIB - 1, true));
	CHECK(part_is(1, p + 5 + 2 * MIB, 0, 2 * MIB, true));
	CHECK(part_is(2, p + 5 + 4 * MIB, 0, 8, true));
	CHECK_RC(pinmem_prefetch(mr, 5 * MIB - 1, 1, 0), 0);
	CHECK(nparts == 4 && part_is(3, p + 5 + 4 * MIB, MIB - 1, 1, false));
	CHECK_RC(pinmem_prefetch(mr, 0, 0, 0), 0);
	CHECK(nparts == 4 && !present(p + 5 * MIB) && !present(p + MIB));
	CHECK_RC(pinmem_stats(pm, &stats), 0);
	CHECK(stats.prefetch_device == 2 && stats.prefetch_touch == 0);
	release(pm, mr);
	munmap(p, 6 * MIB);
}

static void prefetch_touches_the_pages_where_the_device_cannot(void)
{
	unsigned char *p = map_anon(6 * MIB);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_stats stats = { .size = sizeof(stats) };
	struct pinmem_mr *mr = NULL;

	madvise(p, 6 * MIB, MADV_NOHUGEPAGE);
	CHECK_RC(reg(pm, p, 6 * MIB, PINMEM_ODP, &mr), 0);
	pm->be->caps.odp = false; /* now the fake's prefetch is -EOPNOTSUPP */
	CHECK_RC(pinmem_prefetch(mr, 2 * PAGE + 1, PAGE, 1), 0);
	CHECK(!present(p + PAGE) && present(p + 2 * PAGE) && present(p + 3 * PAGE) &&
	      !present(p + 4 * PAGE));
	CHECK(fake_prefetched() == 0);
	CHECK_RC(pinmem_prefetch(mr, 3 * MIB, 1, 0), 0);
	CHECK(present(p + 3 * MIB));
	CHECK_RC(pinmem_stats(pm, &stats), 0);
	CHECK(stats.prefetch_device == 0 && stats.prefetch_touch == 2);
	release(pm, mr);
	munmap(p, 6 * MIB);
}

static void prefetch_touches_where_the_backend_has_no_such_call(void)
{
	struct backend_ops ops = fake_ops;
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_mr *mr = NULL;

	CHECK_RC(reg(pm, p, 4 * PAGE, PINMEM_ODP, &mr), 0);
	ops.prefetch = NULL;
	pm->be->ops = &ops;
	CHECK_RC(pinmem_prefetch(mr, 0, 1, 1), 0);
	CHECK(present(p) && !present(p + PAGE));
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

static void prefetch_of_what_is_gone_is_EFAULT(void)
{
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_mr *mr = NULL;

	CHECK_RC(reg(pm, p, 4 * PAGE, PINMEM_ODP, &mr), 0);
	pm->be->caps.odp = false;
	munmap(p, 4 * PAGE);
	CHECK_RC(pinmem_prefetch(mr, 0, PAGE, 1), -EFAULT);
	CHECK_RC(pinmem_prefetch(mr, 0, PAGE, 0), -EFAULT);
	release(pm, mr);
}

static int prefetch_fails(struct backend *be, const struct segment *seg,
			  uint64_t offset, uint64_t len, bool write)
{
	(void)be;
	(void)seg;
	(void)offset;
	(void)len;
	(void)write;
	return fail(EIO, "the device is gone");
}

static void prefetch_that_the_device_fails_is_not_hidden_by_touching(void)
{
	struct backend_ops ops = fake_ops;
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_mr *mr = NULL;

	CHECK_RC(reg(pm, p, 4 * PAGE, PINMEM_ODP, &mr), 0);
	ops.prefetch = prefetch_fails;
	pm->be->ops = &ops;
	CHECK_RC(pinmem_prefetch(mr, 0, PAGE, 1), -EIO);
	CHECK_MSG("device is gone");
	CHECK(!present(p));
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

static void prefetch_for_writing_needs_write_access(void)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts), .mode = PINMEM_ODP };
	unsigned char *p = map_anon(4 * PAGE);
	struct pinmem *pm = open_fake_odp(2 * MIB);
	struct pinmem_mr *mr = NULL;

	CHECK_RC(pinmem_reg(pm, p, 4 * PAGE, PINMEM_ACCESS_REMOTE_READ, &opts, &mr), 0);
	CHECK_RC(pinmem_prefetch(mr, 0, PAGE, 1), -EINVAL);
	CHECK_MSG("LOCAL_WRITE");
	CHECK_RC(pinmem_prefetch(mr, 0, PAGE, 0), 0);
	release(pm, mr);
	munmap(p, 4 * PAGE);
}

#define TEST(f)                     \
	{                           \
		.name = #f, .fn = f \
	}

static const struct test tests[] = {
	TEST(staged_copy_begins_with_the_targets_bytes),
	TEST(iova_is_the_users_address_and_page_offset_is_kept),
	TEST(sync_to_device_moves_only_its_sub_range),
	TEST(sync_from_device_moves_only_its_sub_range),
	TEST(single_bytes_at_both_ends_are_synced),
	TEST(sync_reaches_memfd_tmpfs_and_page_cache),
	TEST(sync_on_a_hole_in_a_file_allocates_it),
	TEST(truncated_file_is_EFAULT_and_no_signal),
	TEST(full_file_system_is_EFAULT_and_no_signal),
	TEST(read_only_target_is_EACCES_from_the_device_only),
	TEST(inaccessible_target_is_an_error_both_ways),
	TEST(unmapped_target_is_EFAULT_and_can_still_be_released),
	TEST(guard_page_in_the_target_is_EFAULT),
	TEST(sync_goes_where_the_addresses_point_now),
	TEST(fsdax_target_is_committed_unless_mapped_with_MAP_SYNC),
	TEST(failed_commit_is_told_by_errno),
	TEST(copy_lies_on_the_devices_node_if_that_can_be),
	TEST(progress_is_told_and_may_cancel_anywhere),
	TEST(failing_segment_gives_the_copy_back),
	TEST(failed_release_keeps_the_copy),
	TEST(every_failing_call_of_staging_is_undone),
	TEST(every_failing_call_of_sync_is_told),
	TEST(sync_onto_nothing_is_EFAULT_whatever_else_fails),
	TEST(odp_region_is_registered_in_place),
	TEST(odp_over_a_guard_region_is_refused),
	TEST(odp_over_a_hole_made_meanwhile_is_refused),
	TEST(every_failing_call_of_odp_is_undone),
	TEST(prefetch_is_split_over_the_segments),
	TEST(prefetch_touches_the_pages_where_the_device_cannot),
	TEST(prefetch_touches_where_the_backend_has_no_such_call),
	TEST(prefetch_of_what_is_gone_is_EFAULT),
	TEST(prefetch_that_the_device_fails_is_not_hidden_by_touching),
	TEST(prefetch_for_writing_needs_write_access),
};

SUITE("fallback", tests)
