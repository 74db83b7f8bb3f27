/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_backing.c - what this machine's kernel shows of every kind of memory that it
 * can make, by both ways of asking; and whether the verdict says beforehand what
 * io_uring and mlock(2) then really do.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "maps.h"
#include "suite.h"
#include "uapi.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)
#define LEN (16 * PAGE)
#define RW (PROT_READ | PROT_WRITE)

static const struct backend_caps uring = { .pins = true, .always_writes = true };
static const struct backend_caps verbs = { .pins = true, .odp = true };
static const struct backend_caps mlocks = { .pins = false };

/* ------------------------------------------------------------------- looking */

struct seen {
	size_t n;
	struct mapping m[64]; /* the first ones */
};

static int note(const struct mapping *m, void *arg)
{
	struct seen *s = arg;

	if (s->n < ARRAY_SIZE(s->m))
		s->m[s->n] = *m;
	s->n++;
	return 0;
}

static struct seen look_with(const void *addr, size_t len, struct backing_hints hints)
{
	uintptr_t start = (uintptr_t)addr;
	struct seen s = { 0 };

	CHECK_RC(backing_walk(start, start + len, &hints, note, &s), 0);
	return s;
}

static struct seen look(const void *addr, size_t len)
{
	return look_with(addr, len, (struct backing_hints){ .fd = -1 });
}

static struct pinmem_verdict judge(const struct backend_caps *caps, const void *addr,
				   size_t len, unsigned int access)
{
	struct pinmem_verdict v;
	struct request req = {
		.addr = (uintptr_t)addr,
		.len = len,
		.start = page_floor((uintptr_t)addr),
		.end = page_ceil((uintptr_t)addr + len),
		.access = access,
		.opts = { .fd = -1, .policy = { PINMEM_USE_ODP } },
	};

	memset(&v, 0xff, sizeof(v));
	CHECK_RC(verdict_decide(&req, caps, true, &v), 0);
	return v;
}

static int uring_pin(void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	struct io_uring ring;
	int rc = io_uring_queue_init(2, &ring, 0);

	if (rc)
		return rc;
	rc = io_uring_register_buffers(&ring, &iov, 1);
	if (!rc) /* the exit alone would unpin later, some time */
		CHECK_RC(io_uring_unregister_buffers(&ring), 0);
	io_uring_queue_exit(&ring);
	return rc;
}

/* Without libc: the sanitizers turn its mlock into nothing. */
static int real_mlock(void *addr, size_t len)
{
	int rc = syscall(SYS_mlock, addr, len) ? -errno : 0;

	syscall(SYS_munlock, addr, len);
	return rc;
}

static void same_verdict(const struct backend_caps *caps, void *addr, size_t len,
			 unsigned int access, int want)
{
	struct pinmem_verdict v = judge(caps, addr, len, access);

	if (v.error != want)
		printf("\n    error %d, wanted %d: %s\n", v.error, want, v.reason);
	CHECK(v.error == want);
	CHECK((v.action == PINMEM_PIN) == !want);
	CHECK(!v.error == !v.bad_addr);
	CHECK(strlen(v.reason) > 10);
}

/* The ways of looking that there are: with the ioctl or the text; with the rights
 * to look into map_files, or without. */
enum way { TEXT = 1, UNPRIVILEGED = 2, WAYS = 4 };

static void effective_capabilities(bool none)
{
	static struct __user_cap_data_struct before[2];
	struct __user_cap_header_struct self = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct now[2];

	if (none)
		CHECK(!syscall(SYS_capget, &self, before));
	memcpy(now, before, sizeof(now));
	if (none)
		now[0].effective = now[1].effective = 0;
	CHECK(!syscall(SYS_capset, &self, now)); /* this thread's only */
}

static void go(int way)
{
	backing_force_text = way & TEXT;
	if (way & UNPRIVILEGED)
		effective_capabilities(true);
}

static void come_back(int way)
{
	if (way & UNPRIVILEGED)
		effective_capabilities(false);
	backing_force_text = false;
}

/* What it is, and that pins to write end as predicted; all ways of looking. */
static void expect(void *addr, size_t len, enum pinmem_backing backing, int error)
{
	int rc = uring_pin(addr, len);

	if (rc != error)
		printf("\n    io_uring says %d\n", rc);
	CHECK(rc == error || rc == -EPERM || rc == -ENOSYS); /* no io_uring here */
	for (int way = 0; way < WAYS; way++) {
		struct seen s;

		go(way);
		s = look(addr, len);
		if (s.m[0].backing != backing)
			printf("\n    %s (way %d): %s\n", s.m[0].file, way,
			       pinmem_backing_name(s.m[0].backing));
		CHECK(s.m[0].backing == backing && !s.m[0].doubt);
		CHECK(s.m[0].page_size >= PAGE);
		same_verdict(&uring, addr, len, PINMEM_ACCESS_LOCAL_WRITE, error);
		come_back(way);
	}
}

/* Where only the privileged can see that the range is longer than its file */
static void expect_privileged(void *addr, size_t len, enum pinmem_backing backing)
{
	struct seen s = look(addr, len);

	CHECK(uring_pin(addr, len) != 0);
	if (s.n == 1)
		suite_skip("map_files may not be looked into");
	else
		CHECK(s.n == 2 && s.m[0].backing == backing && s.m[1].past_eof);
}

static void expect_mlock(void *addr, size_t len)
{
	int rc = real_mlock(addr, len);

	CHECK(rc == 0 || rc == -ENOMEM);
	same_verdict(&mlocks, addr, len, 0, rc ? -EFAULT : 0);
}

static void *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void *anon(size_t len, int prot)
{
	return map(len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int sized(int fd, size_t len)
{
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static char disk_path[256];

static int temp_file(const char *dir, size_t len)
{
	int fd;

	snprintf(disk_path, sizeof(disk_path), "%s/pinmem-XXXXXX", dir);
	fd = mkstemp(disk_path);
	return sized(fd, len);
}

/* A file on a disk; -1 (and skipped) where none is known. */
static int disk_file(size_t len)
{
	const char *dir = getenv("PINMEM_EXT4"); /* see tests/vm/README.md */
	struct statfs fs;

	if (!dir)
		dir = "/var/tmp";
	if (!statfs(dir, &fs) && fs.f_type != TMPFS_MAGIC &&
	    fs.f_type != OVERLAYFS_SUPER_MAGIC)
		return temp_file(dir, len);
	suite_skip("/var/tmp is not on a disk");
	return -1;
}

/* Runs fn in a thread that has namespaces of its own, the mounts' for one. */
struct elsewhere {
	int flags;
	void (*fn)(void);
};

static void *go_elsewhere(void *arg)
{
	struct elsewhere *e = arg;

	if (unshare(CLONE_FS | e->flags) ||
	    (e->flags & CLONE_NEWNS &&
	     mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)))
		suite_skip("no namespaces of its own");
	else
		e->fn();
	return NULL;
}

static void elsewhere(int flags, void (*fn)(void))
{
	struct elsewhere e = { flags, fn };
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, go_elsewhere, &e));
	pthread_join(thread, NULL);
}

#define MNT "/var/tmp" /* what is mounted there is seen by this thread only */

static bool mounted(const char *type, const char *at, const char *options)
{
	if (!mount("none", at, type, 0, options))
		return true;
	printf(" (%s: %s)", type, strerror(errno));
	suite_skip("cannot mount");
	return false;
}

static int create(const char *path, size_t len)
{
	return sized(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), len);
}

/* ----------------------------------------------------------------- anonymous */

static void anonymous_memory_pins(void)
{
	char *p = anon(LEN, RW);
	struct pinmem_verdict v;

	expect(p, LEN, PINMEM_ANON, 0);
	expect_mlock(p, LEN);
	v = judge(&uring, p + 100, 5000, 0); /* parts of pages */
	CHECK(v.action == PINMEM_PIN && v.backing == PINMEM_ANON && v.mappings == 1);
	CHECK(v.writable && !v.shared && v.page_size == PAGE && !v.file[0]);
	CHECK(strstr(v.reason, "anonymous") != NULL);
	munmap(p, LEN);
}

static void memory_that_may_not_be_written_does_not_pin_to_write(void)
{
	char *p = anon(LEN, PROT_READ);

	expect(p, LEN, PINMEM_ANON, -EFAULT);
	expect_mlock(p, LEN);
	same_verdict(&verbs, p, LEN, 0, 0);
	same_verdict(&verbs, p, LEN, PINMEM_ACCESS_LOCAL_WRITE, -EFAULT);
	munmap(p, LEN);
}

static void prot_none_does_not_pin(void)
{
	char *p = anon(LEN, PROT_NONE);

	expect(p, LEN, PINMEM_ANON, -EFAULT);
	expect_mlock(p, LEN);
	CHECK(!look(p, LEN).m[0].readable);
	munmap(p, LEN);
}

static void write_only_memory_pins_to_write(void)
{
	char *p = anon(LEN, PROT_WRITE);

	expect(p, LEN, PINMEM_ANON, 0);
	same_verdict(&verbs, p, LEN, 0, -EFAULT);
	munmap(p, LEN);
}

static void stack_and_heap_are_anonymous(void)
{
	char on_stack[8];
	char *heap = malloc(LEN);

	expect((void *)page_floor((uintptr_t)on_stack), PAGE, PINMEM_ANON, 0);
	expect((void *)page_floor((uintptr_t)heap), PAGE, PINMEM_ANON, 0);
	free(heap);
}

static void private_dev_zero_is_anonymous(void)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	char *p = map(LEN, RW, MAP_PRIVATE, fd);

	expect(p, LEN, PINMEM_ANON, 0);
	expect_mlock(p, LEN);
	munmap(p, LEN);
	close(fd);
}

static void huge_pages_are_told_from_small_ones(void)
{
	char *p = anon(4 * HUGE, RW);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	struct backing_hints detail = { .fd = -1, .detail = true };

	madvise(at, 2 * HUGE, MADV_HUGEPAGE);
	memset(at, 1, 2 * HUGE);
	if (backing_huge_at((uintptr_t)at + 5 * PAGE) != 1) {
		suite_skip("no transparent huge page to be had");
	} else {
		CHECK(look_with(at, 2 * HUGE, detail).m[0].backing == PINMEM_THP);
		CHECK(judge(&uring, at, HUGE, 0).backing == PINMEM_THP);
		expect(at, 2 * HUGE, PINMEM_ANON, 0); /* detail was not asked for */
	}
	munmap(p, 4 * HUGE);
	p = anon(LEN, RW);
	memset(p, 1, LEN);
	CHECK(look_with(p, LEN, detail).m[0].backing == PINMEM_ANON);
	CHECK(!backing_huge_at((uintptr_t)p));
	munmap(p, LEN);
	CHECK(!backing_huge_at((uintptr_t)p)); /* nothing there */
}

/* ------------------------------------------------------------------- hugetlb */

static long hugepages(long n)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", n < 0 ? "re" : "we");
	long old = -1;

	if (!f)
		return -1;
	if (n >= 0)
		fprintf(f, "%ld", n);
	else if (fscanf(f, "%ld", &old) != 1)
		old = -1;
	fclose(f);
	return old;
}

static void expect_hugetlb(void *p, size_t len)
{
	if (p == MAP_FAILED) {
		suite_skip("no 2 MiB hugetlb pages to be had");
		return;
	}
	expect(p, len, PINMEM_HUGETLB, 0);
	expect_mlock(p, len);
	for (int way = 0; way < WAYS; way++) {
		go(way);
		CHECK(look(p, len).m[0].page_size == HUGE);
		CHECK(look(p, len).m[0].page_size == HUGE); /* remembered */
		come_back(way);
	}
	munmap(p, len);
}

static void hugetlb_memory_pins(void)
{
	int shared = MAP_SHARED, private = MAP_PRIVATE, anonymous;
	long before = hugepages(-1);
	int fd, id;
	void *p;

	hugepages(before + 4);
	anonymous = MAP_ANONYMOUS | MAP_HUGETLB;
	expect_hugetlb(mmap(NULL, HUGE, RW, private | anonymous, -1, 0), HUGE);
	expect_hugetlb(mmap(NULL, HUGE, RW, shared | anonymous, -1, 0), HUGE);
	fd = sized(memfd_create("huge", MFD_HUGETLB | MFD_CLOEXEC), HUGE);
	expect_hugetlb(mmap(NULL, HUGE, RW, shared, fd, 0), HUGE);
	p = mmap(NULL, HUGE, RW, private, fd, 0);
	close(fd);
	expect_hugetlb(p, HUGE);
	id = shmget(IPC_PRIVATE, HUGE, 0600 | SHM_HUGETLB);
	p = id < 0 ? MAP_FAILED : shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	expect_hugetlb(p, HUGE);
	hugepages(before);
}

static void hugetlb_past_the_end_of_its_file_does_not_pin(void)
{
	long before = hugepages(-1);
	struct seen s;
	int fd;
	char *p;

	hugepages(before + 4);
	fd = sized(memfd_create("huge", MFD_HUGETLB | MFD_CLOEXEC), 2 * HUGE);
	p = mmap(NULL, 2 * HUGE, RW, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		suite_skip("no 2 MiB hugetlb pages to be had");
	} else {
		sized(fd, HUGE);
		expect(p, 2 * HUGE, PINMEM_HUGETLB, -EFAULT);
		s = look(p, 2 * HUGE);
		CHECK(s.n == 2 && s.m[0].end - s.m[0].start == HUGE);
		CHECK(s.m[1].past_eof && s.m[1].backing == PINMEM_UNMAPPED);
		munmap(p, 2 * HUGE);
	}
	close(fd);
	hugepages(before);
}

static void look_at_hugetlbfs(void)
{
	char *p;
	int fd;

	if (!mounted("hugetlbfs", MNT, NULL))
		return;
	fd = create(MNT "/f", HUGE);
	p = mmap(NULL, HUGE, RW, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		suite_skip("no 2 MiB hugetlb pages to be had");
	} else {
		expect(p, HUGE, PINMEM_HUGETLB, 0);
		unlink(MNT "/f");
		close(fd); /* now only its mount tells */
		expect(p, HUGE, PINMEM_HUGETLB, 0);
		CHECK(look(p, HUGE).m[0].page_size == HUGE);
		munmap(p, HUGE);
	}
}

static void file_on_hugetlbfs_is_hugetlb(void)
{
	long before = hugepages(-1);

	hugepages(before + 2);
	elsewhere(CLONE_NEWNS, look_at_hugetlbfs);
	hugepages(before);
}

/* --------------------------------------------------------------------- shmem */

static void memfd_pins_however_mapped(void)
{
	int fd = sized(memfd_create("a\nname", MFD_CLOEXEC), LEN);
	char *shared = map(LEN, RW, MAP_SHARED, fd);
	char *private = map(LEN, RW, MAP_PRIVATE, fd);
	struct pinmem_verdict v;

	expect(shared, LEN, PINMEM_SHMEM, 0);
	expect_mlock(shared, LEN);
	v = judge(&uring, shared, LEN, 0);
	CHECK(v.shared && !strncmp(v.file, "/memfd:a", 8));
	expect(private, LEN, PINMEM_SHMEM, 0);
	CHECK(!judge(&uring, private, LEN, 0).shared);
	close(fd);
	expect(shared, LEN, PINMEM_SHMEM, 0);
	munmap(shared, LEN);
	munmap(private, LEN);
}

static void shared_anonymous_memory_is_shmem(void)
{
	char *p = map(LEN, RW, MAP_SHARED | MAP_ANONYMOUS, -1);

	expect(p, LEN, PINMEM_SHMEM, 0);
	expect_mlock(p, LEN);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, LEN, "a name");
	expect(p, LEN, PINMEM_SHMEM, 0);
	munmap(p, LEN);
}

static void shared_anonymous_memory_grown_by_mremap_ends_where_it_did(void)
{
	char *p = map(LEN, RW, MAP_SHARED | MAP_ANONYMOUS, -1);

	p = mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE);
	expect_privileged(p, 2 * LEN, PINMEM_SHMEM);
	munmap(p, 2 * LEN);
}

static void sysv_memory_is_shmem(void)
{
	int id = shmget(IPC_PRIVATE, LEN, 0600);
	char *p = shmat(id, NULL, 0);

	shmctl(id, IPC_RMID, NULL);
	CHECK(p != (void *)-1);
	expect(p, LEN, PINMEM_SHMEM, 0);
	shmdt(p);
}

static void look_at_first_segment(void)
{
	int id = shmget(IPC_PRIVATE, LEN, 0600);
	char *p = shmat(id, NULL, 0);

	CHECK(id == 0 && p != (void *)-1);
	expect(p, LEN, PINMEM_SHMEM, 0);
	CHECK(look(p, LEN).m[0].inode == 0);
	shmdt(p);
}

static void sysv_segment_0_has_inode_0_and_is_shmem(void)
{
	elsewhere(CLONE_NEWIPC, look_at_first_segment);
}

static void file_on_tmpfs_is_shmem_also_when_deleted(void)
{
	int fd;
	char *p;

	unlink("/dev/shm/pinmem-test");
	fd = create("/dev/shm/pinmem-test", LEN);
	p = map(LEN, RW, MAP_SHARED, fd);

	expect(p, LEN, PINMEM_SHMEM, 0);
	unlink("/dev/shm/pinmem-test");
	expect(p, LEN, PINMEM_SHMEM, 0);
	close(fd);
	expect(p, LEN, PINMEM_SHMEM, 0);
	munmap(p, LEN);
}

static void secret_memory_is_refused(void)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);
	char *p;

	if (fd < 0) {
		suite_skip("no memfd_secret(2)");
		return;
	}
	sized(fd, LEN);
	p = map(LEN, RW, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_SECRET, -EFAULT);
	expect_mlock(p, LEN);
	close(fd);
	expect(p, LEN, PINMEM_SECRET, -EFAULT);
	munmap(p, LEN);
}

/* --------------------------------------------------------------------- files */

static void shared_file_does_not_pin_to_write(void)
{
	int fd = disk_file(LEN);
	char *p;

	if (fd < 0)
		return;
	p = map(LEN, RW, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	expect_mlock(p, LEN);
	same_verdict(&verbs, p, LEN, 0, 0);
	same_verdict(&verbs, p, LEN, PINMEM_ACCESS_REMOTE_READ, 0);
	CHECK(judge(&verbs, p, LEN, PINMEM_ACCESS_LOCAL_WRITE).action ==
	      PINMEM_USE_ODP);
	CHECK(!strcmp(judge(&uring, p, LEN, 0).file, disk_path));
	munmap(p, LEN);
	unlink(disk_path);
	close(fd);
}

static void private_file_pins(void)
{
	int fd = disk_file(LEN);
	char *p;

	if (fd < 0)
		return;
	p = map(LEN, RW, MAP_PRIVATE, fd);
	expect(p, LEN, PINMEM_FILE, 0);
	expect_mlock(p, LEN);
	munmap(p, LEN);
	p = map(LEN, PROT_READ, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	same_verdict(&verbs, p, LEN, 0, 0);
	munmap(p, LEN);
	unlink(disk_path);
	close(fd);
}

static void deleted_file_is_still_a_file(void)
{
	int fd = disk_file(LEN);
	char *p;

	if (fd < 0)
		return;
	p = map(LEN, RW, MAP_SHARED, fd);
	unlink(disk_path);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	close(fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	/* another file with its name is not taken for it */
	fd = create(disk_path, 0);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	CHECK(look(p, LEN).n == 1);
	munmap(p, LEN);
	unlink(disk_path);
	close(fd);
}

static void what_lies_past_the_end_of_the_file_is_unmapped(void)
{
	int fd = disk_file(LEN);
	struct seen s;
	char *p;

	if (fd < 0)
		return;
	p = map(LEN, RW, MAP_PRIVATE, fd);
	sized(fd, 4 * PAGE + 1); /* its last page is whole */
	s = look(p, LEN);
	CHECK(s.n == 2 && s.m[0].backing == PINMEM_FILE && !s.m[0].past_eof);
	CHECK(s.m[0].end == (uintptr_t)p + 5 * PAGE && s.m[1].start == s.m[0].end);
	CHECK(s.m[1].end == (uintptr_t)p + LEN && s.m[1].offset == 5 * PAGE);
	CHECK(s.m[1].backing == PINMEM_UNMAPPED && s.m[1].past_eof);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	expect(p, 5 * PAGE, PINMEM_FILE, 0);
	expect_mlock(p, LEN);
	s = look(p + 5 * PAGE, PAGE); /* not one page of it */
	CHECK(s.n == 1 && s.m[0].past_eof);
	sized(fd, 0);
	s = look(p, LEN);
	CHECK(s.n == 1 && s.m[0].past_eof && s.m[0].start == (uintptr_t)p);
	expect(p, LEN, PINMEM_UNMAPPED, -EFAULT);
	unlink(disk_path); /* found without its name */
	CHECK(look(p, LEN).m[0].past_eof);
	munmap(p, LEN);
	close(fd);
}

static void offset_of_a_mapping_counts(void)
{
	int fd = disk_file(LEN);
	struct seen s;
	char *p;

	if (fd < 0)
		return;
	p = mmap(NULL, LEN, RW, MAP_PRIVATE, fd, 4 * PAGE);
	for (int text = 0; text < 2; text++) {
		backing_force_text = text;
		s = look(p + PAGE, LEN - PAGE);
		CHECK(s.n == 2 && s.m[0].offset == 5 * PAGE);
		CHECK(s.m[1].start == (uintptr_t)p + LEN - 4 * PAGE && s.m[1].past_eof);
	}
	backing_force_text = false;
	munmap(p, LEN);
	unlink(disk_path);
	close(fd);
}

static void try_name(const char *name)
{
	char path[512];
	struct seen s;
	char *p;
	int fd;

	snprintf(path, sizeof(path), "/var/tmp/%s", name);
	unlink(path);
	fd = create(path, PAGE);
	p = map(LEN, RW, MAP_PRIVATE, fd);
	close(fd);
	for (int way = 0; way < WAYS; way++) {
		go(way);
		s = look(p, LEN);
		CHECK(s.n == 2 && s.m[1].past_eof); /* so its size was found */
		CHECK(!strncmp(s.m[0].file, "/var/tmp/pinmem", 15));
		come_back(way);
	}
	munmap(p, LEN);
	unlink(path);
}

static void strange_names_are_found(void)
{
	static const char *const names[] = {
		"pinmem\nnewline\n",
		"pinmem\\012no newline",
		"pinmem gone (deleted)",
		"pinmem: - \xff ..",
		"pinmem-0123456789-0123456789-0123456789-0123456789-0123456789-"
		"0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-"
		"0123456789-0123456789-0123456789-0123456789-0123456789-0123456789",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		try_name(names[i]);
}

/* Deeper than a name can be told: found by other means, or not at all. */
static void path_too_long_for_its_name_does_no_harm(void)
{
	int fd = disk_file(0), dir, up[20];
	char name[252] = "";
	char *p;

	if (fd < 0)
		return;
	close(fd);
	unlink(disk_path);
	memset(name, 'd', 250);
	CHECK(!mkdir(disk_path, 0700));
	dir = open(disk_path, O_PATH | O_CLOEXEC);
	for (int i = 0; i < 20; i++) {
		up[i] = dir;
		CHECK(!mkdirat(dir, name, 0700));
		dir = openat(dir, name, O_PATH | O_CLOEXEC);
	}
	fd = sized(openat(dir, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600), LEN);
	p = map(LEN, RW, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	munmap(p, LEN);
	close(fd);
	unlinkat(dir, "f", 0);
	for (int i = 20; i--; close(up[i])) {
		close(dir);
		dir = -1;
		CHECK(!unlinkat(up[i], name, AT_REMOVEDIR));
	}
	CHECK(!rmdir(disk_path));
}

static size_t mappings_seen(void *p, int fd)
{
	return look_with(p, LEN, (struct backing_hints){ .fd = fd }).n;
}

static void deleted_file_is_found_by_descriptor(void)
{
	int fd = disk_file(PAGE);
	char *p;

	if (fd < 0)
		return;
	unlink(disk_path);
	p = map(LEN, RW, MAP_SHARED, fd);
	effective_capabilities(true);
	CHECK(mappings_seen(p, fd) == 2);
	CHECK(mappings_seen(p, 0) == 2);     /* another's; found by a search */
	CHECK(mappings_seen(p, -1) == 2);    /* by a guess */
	CHECK(mappings_seen(p, 12345) == 2); /* nobody's */
	close(fd);
	CHECK(mappings_seen(p, fd) == 1); /* nowhere: its size is not known */
	effective_capabilities(false);
	CHECK(uring_pin(p, LEN) != 0);
	munmap(p, LEN);
}

static void look_at_ramfs(void)
{
	char *p;
	int fd;

	if (!mounted("ramfs", MNT, NULL))
		return;
	fd = create(MNT "/f", LEN);
	p = map(LEN, RW, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	unlink(MNT "/f");
	close(fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	munmap(p, LEN);
}

/* Unlike shmem: it has page_mkwrite, so GUP takes it for a file with writeback. */
static void ramfs_is_refused_like_a_file(void)
{
	elsewhere(CLONE_NEWNS, look_at_ramfs);
}

static void look_at_tmpfs(void)
{
	char *p;
	int fd;

	if (!mounted("tmpfs", MNT, NULL))
		return;
	fd = create(MNT "/f", LEN);
	p = map(LEN, RW, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_SHMEM, 0);
	unlink(MNT "/f");
	close(fd);
	expect(p, LEN, PINMEM_SHMEM, 0);
	munmap(p, LEN);
}

static void deleted_file_is_known_by_its_mount(void)
{
	elsewhere(CLONE_NEWNS, look_at_tmpfs);
}

/* An overlay of a disk and a tmpfs, seen by this thread only */
static bool mounted_overlay(const char *xino)
{
	char options[128];

	snprintf(options, sizeof(options),
		 "lowerdir=/var/lib,upperdir=" MNT "/upper,workdir=" MNT "/work,%s",
		 xino);
	return mounted("tmpfs", MNT, NULL) && !mkdir(MNT "/upper", 0755) &&
	       !mkdir(MNT "/work", 0755) && !mkdir(MNT "/mnt", 0755) &&
	       mounted("overlay", MNT "/mnt", options);
}

static void look_at_overlay(const char *xino)
{
	struct seen s;
	char *p;
	int fd;

	if (!mounted_overlay(xino))
		return;
	fd = create(MNT "/mnt/f", PAGE);
	p = map(LEN, RW, MAP_SHARED, fd);
	close(fd);
	for (int way = 0; way < WAYS; way++) {
		go(way);
		s = look(p, LEN);
		CHECK(s.n == 2 && s.m[0].backing == PINMEM_FILE && s.m[1].past_eof);
		come_back(way);
	}
	munmap(p, LEN);
}

static void overlay_without_xino(void)
{
	look_at_overlay("xino=off");
}

static void overlay_with_xino(void)
{
	look_at_overlay("xino=on");
}

/* Where several layers are not on one file system, stat's device and (without
 * xino) inode are not the mapping's. */
static void overlay_file_is_known_by_its_name(void)
{
	elsewhere(CLONE_NEWNS, overlay_without_xino);
	elsewhere(CLONE_NEWNS, overlay_with_xino);
}

/* Its name is gone, its device is no disk: nothing but the flags is left. */
static void doubt_on_overlay(void)
{
	struct pinmem_verdict v;
	struct mapping m;
	char *p;
	int fd;

	if (!mounted_overlay("xino=on"))
		return;
	fd = create(MNT "/mnt/f", LEN);
	p = map(LEN, RW, MAP_PRIVATE, fd);
	unlink(MNT "/mnt/f");
	close(fd);
	effective_capabilities(true);
	m = look(p, LEN).m[0];
	CHECK(m.backing == PINMEM_FILE && !m.doubt);
	madvise(p, LEN, MADV_HUGEPAGE); /* as every mapping of DAX */
	m = look(p, LEN).m[0];
	CHECK(m.backing == PINMEM_FSDAX && m.doubt && !m.copied);
	v = judge(&uring, p, LEN, 0);
	CHECK(v.error == -EOPNOTSUPP && strstr(v.reason, "perhaps"));
	madvise(p, LEN, MADV_NOHUGEPAGE);
	m = look(p, LEN).m[0];
	CHECK(m.backing == PINMEM_FSDAX && m.doubt);
	/* copies pin, whatever they are copies of: but all pages must be */
	memset(p, 1, LEN - PAGE);
	CHECK(*(volatile char *)(p + LEN - PAGE) == 0);
	CHECK(!look(p, LEN).m[0].copied && look(p, LEN - PAGE).m[0].copied);
	memset(p, 1, LEN);
	CHECK(look(p, LEN).m[0].copied);
	CHECK(judge(&uring, p, LEN, 0).action == PINMEM_PIN);
	effective_capabilities(false);
	munmap(p, LEN);
}

static void what_could_be_dax_is_taken_for_it(void)
{
	elsewhere(CLONE_NEWNS, doubt_on_overlay);
}

static int loop_device(int file)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = {
		.fd = (unsigned int)file,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	char path[32];
	int n, fd;

	n = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE, NULL);
	if (control >= 0)
		close(control);
	if (n < 0)
		return -1;
	snprintf(path, sizeof(path), "/dev/loop%d", n);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && !ioctl(fd, LOOP_CONFIGURE, &config))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void block_device_is_refused_like_a_file(void)
{
	int file = sized(memfd_create("disk", MFD_CLOEXEC), LEN);
	int fd = loop_device(file);
	char *p;

	if (fd < 0) {
		suite_skip("no loop device to be had");
	} else {
		p = map(LEN, RW, MAP_SHARED, fd);
		expect(p, LEN, PINMEM_FILE, -EFAULT);
		munmap(p, LEN);
		close(fd);
	}
	close(file);
}

/* ----------------------------------------------------------------------- DAX */

/* The machine of tests/vm has these. */
static const char *const dax_dirs[] = { "PINMEM_EXT4_DAX", "PINMEM_XFS_DAX",
					"PINMEM_EXT4_INODE_DAX",
					"PINMEM_XFS_REFLINK_DAX" };

static void on_each_dax(void (*fn)(const char *dir))
{
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(dax_dirs); i++) {
		const char *dir = getenv(dax_dirs[i]);

		if (dir)
			fn(dir);
		any |= dir != NULL;
	}
	if (!any)
		suite_skip("no DAX here: see tests/vm");
}

static void look_at_dax(const char *dir)
{
	int fd = temp_file(dir, LEN);
	char *p = map(LEN, RW, MAP_SHARED, fd);
	struct pinmem_verdict v;

	expect(p, LEN, PINMEM_FSDAX, -EOPNOTSUPP);
	expect_mlock(p, LEN);
	v = judge(&verbs, p, LEN, 0);
	CHECK(v.action == PINMEM_USE_ODP && v.error == -EOPNOTSUPP);
	CHECK(!strcmp(v.file, disk_path) && strstr(v.reason, disk_path));
	munmap(p, LEN);
	p = map(LEN, PROT_READ, MAP_PRIVATE, fd);
	same_verdict(&verbs, p, LEN, 0, -EOPNOTSUPP);
	CHECK(look(p, LEN).m[0].backing == PINMEM_FSDAX);
	munmap(p, LEN);
	p = map(LEN, RW, MAP_SHARED, fd);
	sized(fd, PAGE); /* what is past its end cannot be had in any way */
	CHECK(uring_pin(p, LEN) != 0);
	same_verdict(&verbs, p, LEN, 0, -EFAULT);
	munmap(p, LEN);
	unlink(disk_path);
	close(fd);
}

static void file_on_dax_is_refused(void)
{
	on_each_dax(look_at_dax);
}

static void look_at_deleted_dax(const char *dir)
{
	int fd = temp_file(dir, LEN);
	char *p = map(LEN, RW, MAP_SHARED, fd);
	struct mapping m;

	unlink(disk_path);
	expect(p, LEN, PINMEM_FSDAX, -EOPNOTSUPP); /* by the descriptor */
	close(fd);
	m = look(p, LEN).m[0];
	CHECK(m.backing == PINMEM_FSDAX && !m.doubt); /* by map_files */
	for (int way = UNPRIVILEGED; way < WAYS; way++) {
		go(way);
		m = look(p, LEN).m[0];
		CHECK(m.backing == PINMEM_FSDAX && m.doubt); /* for nothing says no */
		same_verdict(&uring, p, LEN, 0, -EOPNOTSUPP);
		come_back(way);
	}
	munmap(p, LEN);
}

static void deleted_file_on_dax_is_refused(void)
{
	on_each_dax(look_at_deleted_dax);
}

static void look_at_map_sync(const char *dir)
{
	int fd = temp_file(dir, LEN);
	char *p = map(LEN, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd);

	unlink(disk_path);
	close(fd);
	CHECK_RC(backing_vmflag((uintptr_t)p, "sf"), 1);
	expect(p, LEN, PINMEM_FSDAX, -EOPNOTSUPP); /* without any doubt */
	munmap(p, LEN);
}

static void mapping_with_map_sync_is_dax(void)
{
	on_each_dax(look_at_map_sync);
}

static int keep_copies(void *arg)
{
	char *p = arg;

	/* the parent's pages are shared with this child */
	return look(p, LEN).m[0].copied;
}

static void look_at_private_dax(const char *dir)
{
	int fd = temp_file(dir, LEN);
	char *p = map(LEN, RW, MAP_PRIVATE, fd);

	CHECK(p[0] == 0); /* a hole of the file, read: the zero page */
	expect(p, LEN, PINMEM_FSDAX, -EOPNOTSUPP);
	CHECK(write(fd, "storage", 7) == 7 && p[0] == 's');
	CHECK(!look(p, PAGE).m[0].copied); /* present, but not a copy */
	expect(p, PAGE, PINMEM_FSDAX, -EOPNOTSUPP);
	memset(p, 1, LEN - PAGE);
	CHECK(!look(p, LEN).m[0].copied);
	same_verdict(&uring, p, LEN, 0, -EOPNOTSUPP);
	memset(p, 1, LEN);
	CHECK(look(p, LEN).m[0].copied);
	CHECK_RC(in_child(keep_copies, p), 0);
	memset(p, 1, LEN); /* which the fork has made read-only */
	expect(p, LEN, PINMEM_FSDAX, 0);
	munmap(p, LEN);
	unlink(disk_path);
	close(fd);
}

static void private_mapping_of_dax_pins_when_all_is_copied(void)
{
	on_each_dax(look_at_private_dax);
}

static void file_without_dax_on_a_dax_device_is_a_file(void)
{
	const char *dir = getenv("PINMEM_EXT4_INODE");
	char *p;
	int fd;

	if (!dir) {
		suite_skip("no DAX here: see tests/vm");
		return;
	}
	fd = temp_file(dir, LEN);
	p = map(LEN, RW, MAP_SHARED, fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT);
	unlink(disk_path);
	close(fd);
	expect(p, LEN, PINMEM_FILE, -EFAULT); /* by the flags of its mapping */
	munmap(p, LEN);
}

static void device_dax_pins(void)
{
	const char *path = getenv("PINMEM_DEVDAX");
	char *p;
	int fd;

	if (!path) {
		suite_skip("no device-dax here: see tests/vm");
		return;
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	p = map(2 * HUGE, RW, MAP_SHARED, fd);
	expect(p, 2 * HUGE, PINMEM_DEVDAX, 0);
	expect_mlock(p, 2 * HUGE);
	for (int way = 0; way < WAYS; way++) {
		go(way);
		CHECK(look(p, HUGE).m[0].page_size == HUGE);
		come_back(way);
	}
	munmap(p, 2 * HUGE);
	close(fd);
}

/* ------------------------------------------------------------- kernel memory */

static void *find_named(const char *name, size_t *len)
{
	struct lines *l = lines_open("/proc/self/maps");
	uintptr_t start, end;
	void *found = NULL;
	char *line;

	while (!found && (line = lines_next(l)))
		if (strstr(line, name) && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			found = (void *)start;
			*len = end - start;
		}
	lines_close(l);
	return found;
}

/* Since 7.3 it is pages that nobody may write. */
static void vvar_is_what_its_flags_say(void)
{
	size_t len = 0;
	void *p = find_named("[vvar]", &len);
	int device, read;

	if (!p) {
		suite_skip("no [vvar]");
		return;
	}
	device = backing_vmflag((uintptr_t)p, "pf");
	read = device ? -EFAULT : 0;
	expect(p, len, device ? PINMEM_DEVICE : PINMEM_SHMEM, -EFAULT);
	same_verdict(&verbs, p, len, 0, read);
	/* of a device's mlock(2) says 0, and did nothing */
	same_verdict(&mlocks, p, len, 0, read);
}

static void vdso_is_ordinary_read_only_memory(void)
{
	size_t len = 0;
	void *p = find_named("[vdso]", &len);

	expect(p, len, PINMEM_ANON, -EFAULT);
	same_verdict(&verbs, p, len, 0, 0);
}

static void vsyscall_is_not_mapped(void)
{
	size_t len = 0;
	void *p = find_named("[vsyscall]", &len);

	if (p)
		expect(p, len, PINMEM_UNMAPPED, -EFAULT);
	else
		suite_skip("no [vsyscall]");
}

static void ring_of_io_uring_pins(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(8, &ring, 0)) {
		suite_skip("no io_uring");
		return;
	}
	expect(ring.sq.sqes, PAGE, PINMEM_SHMEM, 0);
	io_uring_queue_exit(&ring);
}

static void ring_of_a_packet_socket_pins(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct tpacket_req ring = { .tp_block_size = PAGE,
				    .tp_block_nr = 16,
				    .tp_frame_size = 2048,
				    .tp_frame_nr = 32 };
	char *p;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring))) {
		suite_skip("no packet socket");
	} else {
		p = map(LEN, RW, MAP_SHARED, fd);
		expect(p, LEN, PINMEM_SHMEM, 0);
		munmap(p, LEN);
	}
	close(fd);
}

/* Its pages were inserted one by one until 6.16, and are VM_PFNMAP since. */
static void ring_of_perf_is_predicted(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_SW_CPU_CLOCK,
					.exclude_kernel = 1 };
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	char *p = fd < 0 ? MAP_FAILED : mmap(NULL, 9 * PAGE, RW, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED) {
		suite_skip("no perf events");
	} else {
		expect(p, 9 * PAGE,
		       backing_vmflag((uintptr_t)p, "pf") ? PINMEM_DEVICE : PINMEM_FILE,
		       -EFAULT);
		munmap(p, 9 * PAGE);
	}
	close(fd);
}

static void ring_of_aio_is_refused_like_a_file(void)
{
	aio_context_t ring = 0;

	if (syscall(SYS_io_setup, 16, &ring)) {
		suite_skip("no aio");
		return;
	}
	expect((void *)ring, PAGE, PINMEM_FILE, -EFAULT);
	syscall(SYS_io_destroy, ring);
}

/* -------------------------------------------------------- holes, guards, range */

static void holes_are_reported_between_mappings(void)
{
	char *p = anon(LEN, RW);
	struct seen s;

	munmap(p + 3 * PAGE, 2 * PAGE);
	munmap(p + LEN - PAGE, PAGE);
	for (int text = 0; text < 2; text++) {
		backing_force_text = text;
		s = look(p, LEN);
		CHECK(s.n == 4 && s.m[0].backing == PINMEM_ANON);
		CHECK(s.m[0].start == (uintptr_t)p && s.m[0].end == s.m[1].start);
		CHECK(s.m[1].backing == PINMEM_UNMAPPED && s.m[1].end == s.m[2].start);
		CHECK(s.m[1].end - s.m[1].start == 2 * PAGE);
		CHECK(s.m[2].backing == PINMEM_ANON && s.m[2].end == s.m[3].start);
		CHECK(s.m[3].backing == PINMEM_UNMAPPED && s.m[3].readable == false);
		CHECK(s.m[3].end == (uintptr_t)p + LEN && !s.m[3].past_eof);
		s = look(p + 3 * PAGE, PAGE);
		CHECK(s.n == 1 && s.m[0].backing == PINMEM_UNMAPPED);
	}
	backing_force_text = false;
	expect(p, LEN, PINMEM_ANON, -EFAULT);
	expect_mlock(p, LEN);
	CHECK(judge(&uring, p, LEN, 0).bad_addr == p + 3 * PAGE);
	CHECK(judge(&uring, p, LEN, 0).bad_len == 2 * PAGE);
	munmap(p, LEN);
}

static void an_empty_range_has_no_mappings(void)
{
	CHECK(look((void *)PAGE, 0).n == 0);
}

static void the_top_of_the_address_space_is_a_hole(void)
{
	uintptr_t last = 0 - PAGE;
	struct seen s;

	for (int text = 0; text < 2; text++) {
		backing_force_text = text;
		s = look((void *)last, PAGE); /* its end is 0 */
		CHECK(s.n == 1 && s.m[0].backing == PINMEM_UNMAPPED);
		CHECK(s.m[0].start == last && s.m[0].end == 0);
		s = look((void *)(last - PAGE), PAGE);
		CHECK(s.n == 1 && s.m[0].end == last);
	}
	backing_force_text = false;
	CHECK(judge(&uring, (void *)last, PAGE, 0).bad_len == PAGE);
}

static int in_order(const struct mapping *m, void *arg)
{
	uintptr_t *next = arg;

	CHECK(m->start == *next);
	*next = m->end;
	return 0;
}

static void the_whole_address_space_is_covered_without_gap(void)
{
	for (int text = 0; text < 2; text++) {
		uintptr_t next = 0;

		backing_force_text = text;
		CHECK_RC(backing_walk(0, 0, NULL, in_order, &next), 0);
		CHECK(next == 0);
	}
	backing_force_text = false;
}

static int stop_at_third(const struct mapping *m, void *arg)
{
	(void)m;
	return ++*(int *)arg == 3 ? 42 : 0;
}

static void a_walk_ends_when_told(void)
{
	int n = 0;

	CHECK_RC(backing_walk(0, 0, NULL, stop_at_third, &n), 42);
	CHECK(n == 3);
}

/* of this process' own time */
static int64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void thousands_of_mappings_are_walked(void)
{
	size_t n = 6000;
	char *p = anon(n * PAGE, RW);
	struct pinmem_verdict v;

	for (size_t i = 0; i < n; i += 2)
		mprotect(p + i * PAGE, PAGE, PROT_READ);
	for (int text = 0; text < 2; text++) {
		backing_force_text = text;
		CHECK(look(p, n * PAGE).n == n);
	}
	backing_force_text = false;
	v = judge(&verbs, p, n * PAGE, 0);
	CHECK(v.action == PINMEM_PIN && v.mappings == n && !v.writable);
	v = judge(&verbs, p + PAGE, (n - 1) * PAGE, PINMEM_ACCESS_LOCAL_WRITE);
	CHECK(v.action == PINMEM_REFUSE && v.bad_addr == p + 2 * PAGE);
	CHECK(v.mappings == 2); /* nothing can become worse */
	munmap(p, n * PAGE);
}

static void terabytes_cost_no_work_per_page(void)
{
	struct backing_hints all = { .fd = -1, .detail = true, .guards = true };
	int64_t before = milliseconds();
	size_t len = 8ul << 40;
	struct seen s;
	char *p;

	p = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		suite_skip("no 8 TiB of address space");
		return;
	}
	s = look_with(p, len, all);
	CHECK(s.n == 1 && s.m[0].end - s.m[0].start == len);
	CHECK(judge(&verbs, p, len, 0).action == PINMEM_PIN);
	CHECK(milliseconds() - before < 1000);
	munmap(p, len);
}

static bool install_guard(char *p, size_t len)
{
	if (!madvise(p, len, UAPI_MADV_GUARD_INSTALL))
		return true;
	suite_skip("no guard regions (Linux 6.13)");
	return false;
}

static void guard_regions_are_seen_when_looked_for(void)
{
	struct backing_hints guards = { .fd = -1, .guards = true };
	char *p = anon(LEN, RW);
	struct seen s;

	if (install_guard(p + 4 * PAGE, 2 * PAGE)) {
		CHECK(look(p, LEN).n == 1);
		s = look_with(p, LEN, guards);
		CHECK(s.n == 3 && s.m[1].guard && s.m[1].backing == PINMEM_UNMAPPED);
		CHECK(s.m[1].start == (uintptr_t)p + 4 * PAGE);
		CHECK(s.m[2].start == (uintptr_t)p + 6 * PAGE && !s.m[2].guard);
		CHECK(s.m[2].backing == PINMEM_ANON &&
		      s.m[2].end == (uintptr_t)p + LEN);
		expect(p, LEN, PINMEM_ANON, -EFAULT);
		expect_mlock(p, LEN);
		CHECK(strstr(judge(&uring, p, LEN, 0).reason, "guard") != NULL);
	}
	munmap(p, LEN);
}

static void more_guard_regions_than_one_scan_returns_are_seen(void)
{
	struct backing_hints guards = { .fd = -1, .guards = true };
	char *p = anon(80 * PAGE, RW);
	struct seen s;
	bool ok = true;

	for (size_t i = 0; i < 80 && ok; i += 2)
		ok = install_guard(p + i * PAGE, PAGE);
	if (ok) {
		s = look_with(p, 80 * PAGE, guards);
		CHECK(s.n == 80);
		for (size_t i = 0; i < ARRAY_SIZE(s.m); i++) {
			CHECK(s.m[i].guard == (i % 2 == 0));
			CHECK(s.m[i].start == (uintptr_t)p + i * PAGE);
		}
	}
	munmap(p, 80 * PAGE);
}

/* ------------------------------------------------- descriptors, fork, failures */

static void plain_memory_costs_one_system_call(void)
{
	char *p = anon(LEN, RW);
	struct backing_hints hints = { .fd = -1 };
	uintptr_t at = (uintptr_t)p;
	struct seen s = { 0 };

	look(p, LEN);
	fault_arm(2); /* of all that allocate, open or control */
	CHECK_RC(backing_walk(at, at + LEN, &hints, note, &s), 0);
	CHECK(!fault_fired());
	fault_arm(1);
	fault_only("ioctl", ENOMEM);
	CHECK_RC(backing_walk(at, at + LEN, &hints, note, &s), -ENOMEM);
	CHECK(fault_fired());
	munmap(p, LEN);
}

/* Descriptors of /proc/PID/maps; *one: the last of them */
static int count_maps_descriptors(int *one)
{
	char link[64], to[64];
	ssize_t n;
	int count = 0;

	for (int fd = 0; fd < 1024; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, to, sizeof(to) - 1);
		to[n > 0 ? n : 0] = '\0';
		if (!ends_with(to, "/maps"))
			continue;
		*one = fd;
		count++;
	}
	return count;
}

static int look_after_fork(void *arg)
{
	char *p = arg;
	int fd = -1, parents = -1;

	if (count_maps_descriptors(&parents) != 1)
		return 1;
	/* ours differ from the parent's from here on */
	munmap(p, PAGE);
	mprotect(p + PAGE, PAGE, PROT_NONE);
	if (look(p, PAGE).m[0].backing != PINMEM_UNMAPPED)
		return 2;
	if (look(p + PAGE, PAGE).m[0].readable)
		return 3;
	if (count_maps_descriptors(&fd) != 1) /* the parent's is closed */
		return 4;
	close(fd);
	/* the parent's number may be a file of ours by now: it is left alone */
	return 0;
}

static int look_after_closefrom(void *arg)
{
	int null, fd = -1;

	close_range(3, ~0u, 0);
	null = open("/dev/null", O_RDWR); /* may have the parent's number */
	dup2(null, 9);
	if (look(arg, PAGE).m[0].backing != PINMEM_ANON)
		return 1;
	if (count_maps_descriptors(&fd) != 1 || fcntl(null, F_GETFD) < 0 ||
	    fcntl(9, F_GETFD) < 0)
		return 2;
	return 0;
}

static void a_child_sees_its_own_mappings(void)
{
	char *p = anon(LEN, RW);

	look(p, LEN);
	CHECK_RC(in_child(look_after_fork, p), 0);
	CHECK_RC(in_child(look_after_closefrom, p), 0);
	CHECK(look(p, LEN).n == 1);
	munmap(p, LEN);
}

static void a_descriptor_closed_behind_our_back_is_replaced(void)
{
	int fd = -1, null = open("/dev/null", O_RDWR | O_CLOEXEC), other = -1;
	char *p = anon(LEN, RW);

	look(p, LEN);
	CHECK(count_maps_descriptors(&fd) == 1);
	close(fd);
	CHECK(look(p, LEN).m[0].backing == PINMEM_ANON);
	CHECK(count_maps_descriptors(&fd) == 1);
	dup2(null, fd); /* somebody else's now */
	CHECK(look(p, LEN).m[0].backing == PINMEM_ANON);
	CHECK(count_maps_descriptors(&other) == 1 && other != fd);
	CHECK(fcntl(fd, F_GETFD) >= 0 && !backing_force_text);
	close(fd);
	close(null);
	munmap(p, LEN);
}

/* The next look opens /proc/self/maps anew. */
static void forget(void)
{
	int fd;

	while (count_maps_descriptors(&fd))
		close(fd);
}

/* In a child, whose first look opens a descriptor anew: then an ioctl that fails is
 * the kernel's word. */
static int look_with_ioctl_failing(void *p, int err)
{
	struct seen s;

	fault_arm(1);
	fault_only("ioctl", err);
	s = look(p, LEN);
	if (!fault_fired() || s.n != 1 || s.m[0].backing != PINMEM_ANON)
		return 1;
	fault_arm(1);
	s = look(p, LEN);
	return s.n != 1 || s.m[0].backing != PINMEM_ANON ? 2 : 0;
}

static int ioctl_unknown(void *p)
{
	if (look_with_ioctl_failing(p, ENOTTY))
		return 1;
	return !backing_force_text || fault_fired() ? 2 : 0; /* not tried again */
}

static int ioctl_forbidden(void *p)
{
	if (look_with_ioctl_failing(p, EPERM)) /* by seccomp */
		return 1;
	return backing_force_text || !fault_fired() ? 2 : 0;
}

static void without_procmap_query_the_text_is_read(void)
{
	char *p = anon(LEN, RW);

	CHECK_RC(in_child(ioctl_unknown, p), 0);
	CHECK_RC(in_child(ioctl_forbidden, p), 0);
	munmap(p, LEN);
}

static int look_rc(char *p)
{
	struct seen s = { 0 };
	int rc = backing_walk((uintptr_t)p, (uintptr_t)p + LEN, NULL, note, &s);

	CHECK(!rc == (s.n == 1));
	return rc;
}

static void look_without_proc(void)
{
	char *p = anon(LEN, RW);

	if (!mounted("tmpfs", "/proc", NULL))
		return;
	CHECK_RC(look_rc(p), 0); /* by the descriptor that was kept */
	backing_force_text = true;
	CHECK_RC(look_rc(p), -EOPNOTSUPP);
	CHECK_MSG("mount /proc");
	backing_force_text = false;
	CHECK(backing_vmflag((uintptr_t)p, "rd") < 0);
	CHECK(!backing_huge_at((uintptr_t)p));
	umount("/proc");
	forget();
	CHECK(mounted("tmpfs", "/proc", NULL));
	CHECK_RC(look_rc(p), -EOPNOTSUPP);
	CHECK_MSG("mount /proc");
	umount("/proc");
	munmap(p, LEN);
}

static void without_proc_nothing_is_known(void)
{
	char *p = anon(LEN, RW);

	look(p, LEN);
	elsewhere(CLONE_NEWNS, look_without_proc);
	munmap(p, LEN);
}

static void without_a_free_descriptor_it_says_so(void)
{
	char *p = anon(LEN, RW);
	struct rlimit limit, none;

	look(p, LEN);
	forget();
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	none = limit;
	none.rlim_cur = 0;
	CHECK(!setrlimit(RLIMIT_NOFILE, &none));
	CHECK_RC(look_rc(p), -EMFILE);
	CHECK_MSG("Too many open files");
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_RC(look_rc(p), 0);
	munmap(p, LEN);
}

static void lines_too_long_are_cut(void)
{
	char path[] = "/var/tmp/pinmem-XXXXXX", *line;
	size_t longest = 100000;
	char *text = malloc(longest);
	struct lines *l;
	int fd = mkstemp(path);

	memset(text, 'x', longest);
	text[longest - 1] = '\n';
	CHECK(write(fd, "first\n", 6) == 6);
	CHECK(write(fd, text, longest) == (ssize_t)longest);
	CHECK(write(fd, "last\nwithout newline", 20) == 20);
	l = lines_open(path);
	line = lines_next(l);
	CHECK(line && !strcmp(line, "first"));
	line = lines_next(l);
	CHECK(line && strlen(line) > 16000 && strlen(line) < 33000);
	line = lines_next(l);
	CHECK(line && !strcmp(line, "last"));
	CHECK(!lines_next(l) && !l->err);
	lines_close(l);
	close(fd);
	unlink(path);
	free(text);
	l = lines_open("/"); /* which opens, but cannot be read */
	CHECK(l && !lines_next(l) && l->err == EISDIR);
	lines_close(l);
}

static void vmflags_are_read(void)
{
	char *p = anon(LEN, RW);

	CHECK_RC(backing_vmflag((uintptr_t)p, "wr"), 1);
	CHECK_RC(backing_vmflag((uintptr_t)p + LEN - 1, "rd"), 1);
	CHECK_RC(backing_vmflag((uintptr_t)p, "sf"), 0);
	CHECK_RC(backing_vmflag((uintptr_t)p, "r"), 0); /* not half a flag */
	munmap(p, LEN);
	CHECK_RC(backing_vmflag((uintptr_t)p, "rd"), -EFAULT);
	CHECK_MSG("VmFlags");
}

/* Anonymous, shared, aio's ring, a hole: whatever fails, a true answer, or an error
 * with its sentence. Return: did nothing fail? */
static bool look_with_nth_call_failing(char *p, size_t len, int n)
{
	struct backing_hints hints = { .fd = -1, .detail = true, .guards = true };
	uintptr_t at = (uintptr_t)p;
	struct seen s = { 0 };
	bool fired;
	int rc;

	forget();
	fault_arm(n);
	rc = backing_walk(at, at + len, &hints, note, &s);
	if (rc < 0)
		CHECK(fault_fired() && strlen(pinmem_errmsg()));
	backing_huge_at(at);
	rc = rc ? rc : backing_vmflag(at, "rd");
	fired = fault_fired();
	fault_disarm();
	if (rc < 0)
		return false;
	CHECK(s.n == 4 && s.m[0].backing == PINMEM_ANON);
	CHECK(s.m[1].backing == PINMEM_SHMEM && s.m[3].backing == PINMEM_UNMAPPED);
	/* a page cache; or, if nothing can be read, who knows what */
	CHECK(s.m[2].backing == PINMEM_FILE || s.m[2].backing == PINMEM_DEVICE ||
	      s.m[2].doubt);
	return !fired;
}

static void any_call_may_fail(void)
{
	int fd = sized(memfd_create("x", MFD_CLOEXEC), LEN), n;
	size_t len = 2 * LEN + 2 * PAGE;
	char *p = anon(len, RW);
	aio_context_t ring = 0;

	CHECK(!syscall(SYS_io_setup, 16, &ring));
	CHECK(mmap(p + LEN, LEN, RW, MAP_SHARED | MAP_FIXED, fd, 0) == p + LEN);
	CHECK(mremap((void *)ring, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     p + 2 * LEN) == p + 2 * LEN);
	process_generation();		  /* its page and … */
	munmap(p + 2 * LEN + PAGE, PAGE); /* … malloc's do not fill this hole */
	for (int way = 0; way < WAYS; way++) {
		go(way);
		for (n = 1; !look_with_nth_call_failing(p, len, n); n++)
			;
		CHECK(n > 5);
		come_back(way);
	}
	syscall(SYS_io_destroy, p + 2 * LEN);
	munmap(p, len);
	close(fd);
}

/* --------------------------------------------------------------------- threads */

struct shared_walk {
	char *p;
	int stop;
	int wrong;
};

static int only_right(const struct mapping *m, void *arg)
{
	int *wrong = arg;

	if (m->backing != PINMEM_ANON && m->backing != PINMEM_UNMAPPED)
		__atomic_store_n(wrong, 1, __ATOMIC_RELAXED);
	return 0;
}

static void *walker(void *arg)
{
	struct shared_walk *w = arg;
	uintptr_t at = (uintptr_t)w->p;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED))
		if (backing_walk(at, at + LEN, NULL, only_right, &w->wrong))
			__atomic_store_n(&w->wrong, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void threads_walk_while_mappings_and_descriptors_change(void)
{
	struct shared_walk w = { .p = anon(LEN, RW) };
	pthread_t threads[3];
	int fd = -1;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		CHECK(!pthread_create(&threads[i], NULL, walker, &w));
	for (int i = 0; i < 300; i++) {
		munmap(w.p + 4 * PAGE, PAGE);
		mmap(w.p + 4 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
		if (i % 100 == 50 && count_maps_descriptors(&fd))
			syscall(SYS_close, fd); /* a race that is meant */
	}
	__atomic_store_n(&w.stop, 1, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	CHECK(!w.wrong);
	CHECK(count_maps_descriptors(&fd) <= 1); /* none was lost */
	munmap(w.p, LEN);
}

#define TEST(name)          \
	{                   \
#name, name \
	}
static const struct test tests[] = {
	TEST(any_call_may_fail),
	TEST(anonymous_memory_pins),
	TEST(memory_that_may_not_be_written_does_not_pin_to_write),
	TEST(prot_none_does_not_pin),
	TEST(write_only_memory_pins_to_write),
	TEST(stack_and_heap_are_anonymous),
	TEST(private_dev_zero_is_anonymous),
	TEST(huge_pages_are_told_from_small_ones),
	TEST(hugetlb_memory_pins),
	TEST(hugetlb_past_the_end_of_its_file_does_not_pin),
	TEST(file_on_hugetlbfs_is_hugetlb),
	TEST(memfd_pins_however_mapped),
	TEST(shared_anonymous_memory_is_shmem),
	TEST(shared_anonymous_memory_grown_by_mremap_ends_where_it_did),
	TEST(sysv_memory_is_shmem),
	TEST(sysv_segment_0_has_inode_0_and_is_shmem),
	TEST(file_on_tmpfs_is_shmem_also_when_deleted),
	TEST(secret_memory_is_refused),
	TEST(shared_file_does_not_pin_to_write),
	TEST(private_file_pins),
	TEST(deleted_file_is_still_a_file),
	TEST(what_lies_past_the_end_of_the_file_is_unmapped),
	TEST(offset_of_a_mapping_counts),
	TEST(strange_names_are_found),
	TEST(path_too_long_for_its_name_does_no_harm),
	TEST(deleted_file_is_found_by_descriptor),
	TEST(ramfs_is_refused_like_a_file),
	TEST(overlay_file_is_known_by_its_name),
	TEST(what_could_be_dax_is_taken_for_it),
	TEST(deleted_file_is_known_by_its_mount),
	TEST(block_device_is_refused_like_a_file),
	TEST(file_on_dax_is_refused),
	TEST(deleted_file_on_dax_is_refused),
	TEST(mapping_with_map_sync_is_dax),
	TEST(private_mapping_of_dax_pins_when_all_is_copied),
	TEST(file_without_dax_on_a_dax_device_is_a_file),
	TEST(device_dax_pins),
	TEST(vvar_is_what_its_flags_say),
	TEST(vdso_is_ordinary_read_only_memory),
	TEST(vsyscall_is_not_mapped),
	TEST(ring_of_io_uring_pins),
	TEST(ring_of_a_packet_socket_pins),
	TEST(ring_of_perf_is_predicted),
	TEST(ring_of_aio_is_refused_like_a_file),
	TEST(holes_are_reported_between_mappings),
	TEST(an_empty_range_has_no_mappings),
	TEST(the_top_of_the_address_space_is_a_hole),
	TEST(the_whole_address_space_is_covered_without_gap),
	TEST(a_walk_ends_when_told),
	TEST(thousands_of_mappings_are_walked),
	TEST(terabytes_cost_no_work_per_page),
	TEST(guard_regions_are_seen_when_looked_for),
	TEST(more_guard_regions_than_one_scan_returns_are_seen),
	TEST(plain_memory_costs_one_system_call),
	TEST(a_child_sees_its_own_mappings),
	TEST(a_descriptor_closed_behind_our_back_is_replaced),
	TEST(without_procmap_query_the_text_is_read),
	TEST(without_proc_nothing_is_known),
	TEST(without_a_free_descriptor_it_says_so),
	TEST(lines_too_long_are_cut),
	TEST(vmflags_are_read),
	TEST(threads_walk_while_mappings_and_descriptors_change),
};
SUITE("backing", tests)
