/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin_track_flags.c - what a pin leaves behind, seen from outside the driver: the dirty
 * bit in /proc/kpageflags after each kind of unpin, with writeback in between; the
 * category PAGE_IS_PINNED against pins of io_uring, verbs and /dev/pin_track; and what
 * may be pinned at all.
 *
 * usage: pin_track_flags, as root, in the patched guest
 * Exit: 0; 1 when something was not as expected; 2 when it could not be tried.
 */
#include <infiniband/verbs.h>
#include <liburing.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pin_track_user.h"

#define PAGE 4096ul
#define PAGES 16ul
#define LEN (PAGES * PAGE)
#define POPULATE_READ 22
#define PAGE_IS_PINNED (1ull << 9)

struct page_region {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t inverted, mask, anyof, returned;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct scan)

static int fd, pagemap, kpageflags;
static const volatile struct pin_track_slot *slots;
static unsigned int checks, failures;

static void check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void check(bool ok, const char *fmt, ...)
{
	va_list ap;

	checks++;
	if (ok)
		return;
	failures++;
	printf("FAIL: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(2);
}

/* The flags of the page that is mapped there, or 0. */
static uint64_t flags_of(const void *addr)
{
	uint64_t entry, flags;

	if (pread(pagemap, &entry, 8, (uintptr_t)addr / PAGE * 8) != 8)
		die("pagemap");
	if (!(entry >> 63))
		return 0;
	if (pread(kpageflags, &flags, 8, (entry & ((1ull << 55) - 1)) * 8) != 8)
		die("kpageflags");
	return flags;
}

static unsigned int dirty_pages(const char *map)
{
	unsigned int i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += flags_of(map + i * PAGE) >> 4 & 1;
	return n;
}

static char *map_file(const char *dir, int prot, int flags, int *file)
{
	char path[256], *map;

	snprintf(path, sizeof(path), "%s/pin_track_flags", dir);
	unlink(path);
	*file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (*file < 0 || ftruncate(*file, LEN))
		die(path);
	map = mmap(NULL, LEN, prot, flags, *file, 0);
	if (map == MAP_FAILED)
		die("mmap");
	return map;
}

static void unmap_file(char *map, int file)
{
	munmap(map, LEN);
	close(file);
}

static uint64_t must_pin(const char *name, const char *map, uint32_t flags,
			 struct pin_track_pin *p)
{
	int rc = pt_pin(fd, map, LEN, flags, p);

	check(!rc, "%s: pin, flags %x: %s", name, flags, strerror(-rc));
	return p->id;
}

static void must_unpin(const char *name, uint64_t id, uint32_t flags)
{
	int rc = pt_unpin(fd, id, flags);

	check(!rc, "%s: unpin, flags %x: %s", name, flags, strerror(-rc));
}

/* Memory without writeback: a page that was only read is clean until told. */
static void test_shmem(uint32_t access)
{
	const char *name = access ? "tmpfs, pinned for writing" : "tmpfs, for reading";
	struct pin_track_pin p;
	uint64_t id;
	int file;
	char *map = map_file(getenv("PINMEM_TMPFS"), PROT_READ | PROT_WRITE, MAP_SHARED,
			     &file);

	if (madvise(map, LEN, POPULATE_READ))
		die("populate");
	check(dirty_pages(map) == 0, "%s: %u dirty after reading", name,
	      dirty_pages(map));
	id = must_pin(name, map, access, &p);
	check(dirty_pages(map) == 0, "%s: %u dirty after pinning", name,
	      dirty_pages(map));
	must_unpin(name, id, PIN_TRACK_CLEAN);
	check(dirty_pages(map) == 0, "%s: %u dirty after CLEAN", name,
	      dirty_pages(map));
	id = must_pin(name, map, access, &p);
	must_unpin(name, id, PIN_TRACK_DIRTY);
	check(dirty_pages(map) == PAGES, "%s: %u dirty after DIRTY", name,
	      dirty_pages(map));
	unmap_file(map, file);
}

static void test_dirty_at_pin(void)
{
	struct pin_track_pin p;
	int file;
	char *map = map_file(getenv("PINMEM_TMPFS"), PROT_READ | PROT_WRITE, MAP_SHARED,
			     &file);

	if (madvise(map, LEN, POPULATE_READ))
		die("populate");
	must_pin("dirty at pin", map, PIN_TRACK_WRITE | PIN_TRACK_DIRTY_AT_PIN, &p);
	check(dirty_pages(map) == PAGES, "dirty at pin: %u dirty", dirty_pages(map));
	must_unpin("dirty at pin", p.id, PIN_TRACK_CLEAN);
	unmap_file(map, file);
}

/* Stores, and writes back; the pages are clean afterwards. */
static void store_and_write_back(const char *name, char *map)
{
	memset(map, 'x', LEN);
	check(dirty_pages(map) == PAGES, "%s: %u dirty after a store", name,
	      dirty_pages(map));
	if (msync(map, LEN, MS_SYNC))
		die("msync");
	check(dirty_pages(map) == 0, "%s: %u dirty after writeback", name,
	      dirty_pages(map));
}

/*
 * A file with writeback: it can be pinned for reading only, and is written to by the
 * processor, and written back, while it is pinned.
 */
static void test_file(const char *name, const char *dir)
{
	struct pin_track_pin p;
	struct pin_track_query q;
	struct stat st;
	int file, rc;
	char *map = map_file(dir, PROT_READ | PROT_WRITE, MAP_SHARED, &file);

	store_and_write_back(name, map);
	rc = pt_pin(fd, map, LEN, PIN_TRACK_WRITE, &p);
	check(rc == -EFAULT, "%s: a shared mapping pinned for writing: %d", name, rc);

	must_pin(name, map, 0, &p);
	check(dirty_pages(map) == 0, "%s: dirty after pinning", name);
	must_unpin(name, p.id, PIN_TRACK_CLEAN);
	check(dirty_pages(map) == 0, "%s: dirty after CLEAN", name);

	must_pin(name, map, 0, &p);
	store_and_write_back(name, map);
	check(slots[p.slot].invalidations == p.generation,
	      "%s: writeback made it stale", name);
	check(slots[p.slot].protections > 0, "%s: writeback was not counted", name);
	must_unpin(name, p.id, PIN_TRACK_CLEAN);
	check(dirty_pages(map) == 0, "%s: dirty after store, writeback, CLEAN", name);

	must_pin(name, map, 0, &p);
	store_and_write_back(name, map);
	must_unpin(name, p.id, PIN_TRACK_DIRTY);
	check(dirty_pages(map) == PAGES, "%s: %u dirty after store, writeback, DIRTY",
	      name, dirty_pages(map));
	if (msync(map, LEN, MS_SYNC))
		die("msync");
	check(dirty_pages(map) == 0, "%s: not written back after DIRTY", name);

	must_pin(name, map, 0, &p);
	rc = pt_query(fd, p.id, 0, &q);
	fstat(file, &st);
	check(!rc && q.dirty == 0 && q.ino == st.st_ino, "%s: query of a clean file",
	      name);
	if (mprotect(map, LEN, PROT_READ))
		die("mprotect");
	rc = pt_unpin(fd, p.id, PIN_TRACK_DIRTY);
	check(rc == -EFAULT, "%s: DIRTY through a read-only mapping: %d", name, rc);
	check(dirty_pages(map) == 0, "%s: dirty after a failed DIRTY", name);
	must_unpin(name, p.id, PIN_TRACK_CLEAN);

	if (mprotect(map, LEN, PROT_READ | PROT_WRITE))
		die("mprotect");
	must_pin(name, map, 0, &p);
	if (ftruncate(file, PAGE))
		die("ftruncate");
	check(slots[p.slot].invalidations != p.generation, "%s: truncation not seen",
	      name);
	rc = pt_unpin(fd, p.id, PIN_TRACK_DIRTY);
	check(rc == -EFAULT, "%s: DIRTY after truncation: %d", name, rc);
	must_unpin(name, p.id, PIN_TRACK_CLEAN);
	unmap_file(map, file);
}

/* The mapping has other pages than the pin: these must not be dirtied instead. */
static void test_stale(void)
{
	char *map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	struct pin_track_pin p;
	int rc;

	memset(map, 1, LEN);
	must_pin("stale", map, 0, &p);
	if (madvise(map, PAGE, MADV_DONTNEED))
		die("madvise");
	rc = pt_unpin(fd, p.id, PIN_TRACK_DIRTY);
	check(rc == -ESTALE, "DIRTY of a page that is not mapped any more: %d", rc);
	must_unpin("stale", p.id, PIN_TRACK_CLEAN);
	munmap(map, LEN);
}

static void expect_pin(const char *name, const void *addr, size_t len, uint32_t flags,
		       int want)
{
	struct pin_track_pin p;
	int rc = pt_pin(fd, addr, len, flags, &p);

	check(rc == want, "%s, flags %x: %d, wanted %d", name, flags, rc, want);
	if (!rc)
		must_unpin(name, p.id, PIN_TRACK_CLEAN);
}

/* Also where all pages are private copies, which the fast path lets through. */
static void test_fsdax(const char *name, const char *dir)
{
	int file;
	char *map = map_file(dir, PROT_READ | PROT_WRITE, MAP_SHARED, &file);

	expect_pin(name, map, LEN, PIN_TRACK_WRITE, -EOPNOTSUPP);
	expect_pin(name, map, LEN, 0, -EOPNOTSUPP);
	memset(map, 1, LEN);
	expect_pin(name, map, LEN, 0, -EOPNOTSUPP);
	unmap_file(map, file);

	map = map_file(dir, PROT_READ | PROT_WRITE, MAP_PRIVATE, &file);
	expect_pin(name, map, LEN, PIN_TRACK_WRITE, -EOPNOTSUPP);
	memset(map, 1, LEN);
	expect_pin(name, map, LEN, PIN_TRACK_WRITE, -EOPNOTSUPP);
	expect_pin(name, map, LEN, 0, -EOPNOTSUPP);
	unmap_file(map, file);
}

static void test_kinds(void)
{
	const size_t huge = 2 << 20;
	struct pin_track_query q;
	struct pin_track_pin p;
	char *map;
	int file;

	file = open(getenv("PINMEM_DEVDAX"), O_RDWR | O_CLOEXEC);
	map = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (map == MAP_FAILED)
		die("device-dax");
	expect_pin("device-dax", map, huge, PIN_TRACK_WRITE, 0);
	munmap(map, huge);
	close(file);

	map = mmap(NULL, huge, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (map == MAP_FAILED)
		die("hugetlb");
	expect_pin("hugetlb", map, huge, PIN_TRACK_WRITE, 0);
	check(!pt_pin(fd, map + PAGE, 2 * PAGE, PIN_TRACK_WRITE, &p),
	      "part of hugetlb");
	check(!pt_query(fd, p.id, PIN_TRACK_COMPARE, &q) && q.pages == 2 &&
		      q.folios == 1 && q.moved == 0,
	      "query of a part of a huge page: %lu pages, %lu folios, %lu moved",
	      (unsigned long)q.pages, (unsigned long)q.folios, (unsigned long)q.moved);
	must_unpin("part of hugetlb", p.id, PIN_TRACK_DIRTY);
	munmap(map, huge);

	file = syscall(SYS_memfd_secret, 0);
	if (file >= 0) {
		map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		expect_pin("memfd_secret", map, LEN, 0, -EFAULT);
		close(file);
	}
}

/* Bits of the pages of a range that have the category. */
static uint64_t pinned_pages(const char *map)
{
	struct page_region r[PAGES];
	struct scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)map,
		.end = (uintptr_t)map + LEN,
		.vec = (uintptr_t)r,
		.vec_len = PAGES,
		.mask = PAGE_IS_PINNED,
		.returned = PAGE_IS_PINNED,
	};
	uint64_t bits = 0, at;
	long i, n;

	n = ioctl(pagemap, PAGEMAP_SCAN, &scan);
	if (n < 0)
		die("PAGEMAP_SCAN");
	for (i = 0; i < n; i++)
		for (at = r[i].start; at < r[i].end; at += PAGE)
			bits |= 1ull << (at - (uintptr_t)map) / PAGE;
	return bits;
}

static void expect_pinned(const char *when, const char *map, uint64_t want)
{
	uint64_t got = 0;
	int i;

	/* io_uring and verbs may release later. */
	for (i = 0; i < 100; i++) {
		got = pinned_pages(map);
		if (got == want)
			break;
		usleep(20000);
	}
	check(got == want, "PAGE_IS_PINNED %s: %#lx, wanted %#lx", when,
	      (unsigned long)got, (unsigned long)want);
}

static struct ibv_pd *open_pd(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = NULL;
	struct ibv_pd *pd;
	int i;

	for (i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), getenv("PINMEM_RXE0")))
			context = ibv_open_device(list[i]);
	pd = context ? ibv_alloc_pd(context) : NULL;
	if (!pd)
		die("rxe");
	ibv_free_device_list(list);
	return pd;
}

/* Of 16 pages: 1 and 2 pinned by io_uring, 5 by verbs, 8 to 10 by /dev/pin_track. */
static void test_category(const char *name, char *map)
{
	struct iovec iov = { map + PAGE, 2 * PAGE };
	struct ibv_pd *pd = open_pd();
	struct pin_track_pin p;
	struct io_uring ring;
	struct ibv_mr *mr;
	int rc;

	madvise(map, LEN, MADV_NOHUGEPAGE);
	memset(map, 1, LEN);
	if (io_uring_queue_init(4, &ring, 0))
		die("io_uring");
	expect_pinned("of nothing", map, 0);
	rc = io_uring_register_buffers(&ring, &iov, 1);
	check(!rc, "%s: io_uring: %d", name, rc);
	expect_pinned("of io_uring", map, 0x6);
	mr = ibv_reg_mr(pd, map + 5 * PAGE, PAGE, IBV_ACCESS_LOCAL_WRITE);
	check(mr, "%s: ibv_reg_mr: %d", name, errno);
	expect_pinned("of io_uring and verbs", map, 0x26);
	rc = pt_pin(fd, map + 8 * PAGE, 3 * PAGE, PIN_TRACK_WRITE, &p);
	check(!rc, "%s: pin: %d", name, rc);
	expect_pinned("of all three", map, 0x726);
	io_uring_unregister_buffers(&ring);
	io_uring_queue_exit(&ring);
	expect_pinned("without io_uring", map, 0x720);
	if (mr)
		ibv_dereg_mr(mr);
	expect_pinned("without verbs", map, 0x700);
	must_unpin(name, p.id, PIN_TRACK_DIRTY);
	expect_pinned("after all", map, 0);
	ibv_dealloc_pd(pd);
}

/* Of a file that is not his, a user does not see whether others pinned its pages. */
static void test_category_of_others(void)
{
	struct pin_track_pin p;
	int file, status = -1;
	pid_t pid;
	char *map = map_file(getenv("PINMEM_TMPFS"), PROT_READ | PROT_WRITE, MAP_SHARED,
			     &file);

	memset(map, 1, LEN);
	must_pin("category of others", map, PIN_TRACK_WRITE, &p);
	expect_pinned("for the owner of the file", map, 0xffff);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(2);
		/* pagemap was opened by root: what counts is who asks */
		_exit(pinned_pages(map) ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	check(status == 0, "others see who pinned a file that is not theirs: %x",
	      status);
	must_unpin("category of others", p.id, PIN_TRACK_CLEAN);
	unmap_file(map, file);
}

static void open_all(void)
{
	struct pin_track_info info;

	fd = pt_open();
	if (fd < 0) {
		errno = -fd;
		die("/dev/pin_track");
	}
	if (pt_info(fd, &info))
		die("INFO");
	slots = mmap(NULL, info.map_len, PROT_READ, MAP_SHARED, fd, 0);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (slots == MAP_FAILED || pagemap < 0 || kpageflags < 0)
		die("open");
}

int main(void)
{
	long before = pt_pins_held();
	char *map;
	int file;

	open_all();
	test_shmem(PIN_TRACK_WRITE);
	test_shmem(0);
	test_dirty_at_pin();
	test_file("ext4", getenv("PINMEM_EXT4"));
	test_file("xfs", getenv("PINMEM_XFS"));
	test_stale();
	test_fsdax("ext4 with dax", getenv("PINMEM_EXT4_DAX"));
	test_fsdax("xfs with dax", getenv("PINMEM_XFS_DAX"));
	test_kinds();

	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	test_category("anonymous", map);
	munmap(map, LEN);
	map = map_file(getenv("PINMEM_TMPFS"), PROT_READ | PROT_WRITE, MAP_SHARED,
		       &file);
	test_category("tmpfs", map);
	unmap_file(map, file);
	test_category_of_others();

	close(fd);
	check(pt_pins_settle(before) == before, "%ld pins are left",
	      pt_pins_held() - before);
	printf("%u checks, %u failures\n", checks, failures);
	return failures ? 1 : 0;
}
