/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pinmem.c - the public calls on this machine's real kernel: io_uring pins with
 * real I/O, mlock residency, population, dirtiness as smaps shows it, and what goes
 * wrong outside the library (rights, /proc, signals, threads, forks, files).
 */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define PAGE 4096ul
#define MIB (1ul << 20)
#define GIB (1ul << 30)
#define RW PINMEM_ACCESS_LOCAL_WRITE

static struct pinmem *pinner(enum pinmem_backend backend)
{
	struct pinmem_options o = { .size = sizeof(o), .backend = backend };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open(&o, &pm), 0);
	return pm;
}

/* Whose pins where no bytes are moved; see pin_track_does_as_well(). */
static enum pinmem_backend pins = PINMEM_BACKEND_URING;

static char *anon(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* A file on a disk file system, unlinked at once. */
static int disk_file(size_t len)
{
	const char *vm = getenv("PINMEM_EXT4"); /* where /var/tmp is in memory */
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/pinmem-test-XXXXXX", vm ? vm : "/var/tmp");
	fd = mkstemp(name);
	CHECK(fd >= 0);
	unlink(name);
	CHECK(!ftruncate(fd, (off_t)len));
	return fd;
}

static size_t resident_pages(char *p, size_t len)
{
	size_t n = len / PAGE, there = 0;
	unsigned char *vec = calloc(n, 1);

	CHECK(!mincore(p, len, vec));
	for (size_t i = 0; i < n; i++)
		there += vec[i] & 1;
	free(vec);
	return there;
}

/* ------------------------------------------------------------------ pinners */

static void auto_says_which_backend_and_why(void)
{
	struct pinmem_info i = { .size = sizeof(i) };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open(NULL, &pm), 0);
	CHECK_RC(pinmem_query(pm, &i), 0);
	CHECK(i.backend != PINMEM_BACKEND_AUTO && i.why[0]);
	if (access("/sys/class/infiniband", F_OK)) {
		CHECK(i.backend == PINMEM_BACKEND_URING);
		CHECK(strstr(i.why, "no verbs") != NULL);
		CHECK(i.slots > 0 && i.slots_used == 0 && i.max_segment >= GIB);
		CHECK(pinmem_uring(pm) != NULL && pinmem_pd(pm) == NULL);
	}
	CHECK_RC(pinmem_close(pm), 0);
}

static int no_uring(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_URING };
	struct pinmem_info i = { .size = sizeof(i) };
	enum pinmem_backend next = access("/dev/pin_track", R_OK | W_OK)
					   ? PINMEM_BACKEND_MLOCK
					   : PINMEM_BACKEND_PIN_TRACK;
	struct pinmem *pm = NULL;

	(void)arg;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return 1;
	if (pinmem_open(&o, &pm) != -EOPNOTSUPP ||
	    !strstr(pinmem_errmsg(), "io_uring_disabled"))
		return 2;
	if (access("/sys/class/infiniband", F_OK)) {
		if (pinmem_open(NULL, &pm) || pinmem_query(pm, &i))
			return 3;
		if (i.backend != next || !strstr(i.why, "no io_uring"))
			return 4;
		if (pinmem_close(pm))
			return 5;
	}
	return 0;
}

static void without_io_uring_auto_takes_another(void)
{
	CHECK(in_child(no_uring, NULL) == 0);
}

static int no_proc(void *arg)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm = NULL;
	char x[16];

	(void)arg;
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		return 77;
	if (pinmem_open(NULL, &pm))
		return 1;
	if (pinmem_check(pm, x, sizeof(x), RW, NULL, &v) != -EOPNOTSUPP ||
	    !strstr(pinmem_errmsg(), "/proc"))
		return 2;
	if (pinmem_reg(pm, x, sizeof(x), RW, NULL, &mr) != -EOPNOTSUPP)
		return 3;
	return pinmem_close(pm) ? 4 : 0;
}

static void without_proc_nothing_is_pinned_blindly(void)
{
	int rc = in_child(no_proc, NULL);

	if (rc == 77)
		suite_skip("cannot make a mount namespace");
	else
		CHECK(rc == 0);
}

/* ------------------------------------------------------------- real I/O, pins */

static int io(struct io_uring *ring, int fd, const struct pinmem_segment *s, size_t len,
	      uint64_t at, bool write)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int rc;

	if (write)
		io_uring_prep_write_fixed(sqe, fd, s->addr, (unsigned int)len, at,
					  s->buf_index);
	else
		io_uring_prep_read_fixed(sqe, fd, s->addr, (unsigned int)len, at,
					 s->buf_index);
	io_uring_submit(ring);
	if (io_uring_wait_cqe(ring, &cqe))
		return -EIO;
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

static void bytes_travel_through_a_region(void)
{
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem *pm = pinner(PINMEM_BACKEND_URING);
	enum pinmem_unpin got = PINMEM_CLEAN;
	struct pinmem_mr *mr = NULL;
	char *p = anon(MIB), *want = malloc(MIB);
	int fd = disk_file(2 * MIB);

	for (size_t i = 0; i < MIB; i++)
		p[i] = want[i] = (char)(i * 31 + i / 4096);
	CHECK_RC(pinmem_reg(pm, p, MIB, RW, NULL, &mr), 0);
	CHECK_RC(pinmem_mr_segment(mr, 0, &s), 0);
	CHECK(io(pinmem_uring(pm), fd, &s, MIB, MIB, true) == (int)MIB);
	memset(p, 0, MIB);
	CHECK(io(pinmem_uring(pm), fd, &s, MIB, MIB, false) == (int)MIB);
	CHECK(!memcmp(p, want, MIB));
	CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, &got), 0);
	CHECK(got == PINMEM_DIRTY);
	CHECK(io(pinmem_uring(pm), fd, &s, 512, 0, false) == -EFAULT);
	CHECK(!memcmp(p, want, MIB));
	munmap(p, MIB);
	free(want);
	close(fd);
	CHECK_RC(pinmem_close(pm), 0);
}

static void regions_beyond_a_gigabyte_have_segments(void)
{
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem *pm = pinner(PINMEM_BACKEND_URING);
	struct pinmem_mr *mr = NULL;
	size_t len = GIB + 8 * MIB;
	void *p = NULL;
	int fd = disk_file(MIB);

	CHECK_RC(pinmem_alloc(pm, len, NULL, &p), 0);
	CHECK_RC(pinmem_reg(pm, p, len, RW, NULL, &mr), 0);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.segments == 2 && i.len == len);
	CHECK_RC(pinmem_mr_segment(mr, GIB + 5, &s), 0);
	CHECK(s.offset == GIB && s.addr == (char *)p + GIB && s.len == 8 * MIB);
	memset(s.addr, 0x5a, 4096);
	CHECK(io(pinmem_uring(pm), fd, &s, 4096, 0, true) == 4096);
	memset(s.addr, 0, 4096);
	CHECK(io(pinmem_uring(pm), fd, &s, 4096, 0, false) == 4096);
	CHECK(((char *)s.addr)[4095] == 0x5a);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_free(pm, p, len), 0);
	close(fd);
	CHECK_RC(pinmem_close(pm), 0);
}

static void staged_region_moves_bytes_of_a_page_cache_file(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.policy = { PINMEM_USE_STAGE } };
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem *pm = pinner(PINMEM_BACKEND_URING);
	struct pinmem_mr *mr = NULL;
	int file = disk_file(64 * PAGE), src = disk_file(64 * PAGE);
	char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	char buf[PAGE];

	CHECK_RC(pinmem_reg(pm, p, 64 * PAGE, RW, NULL, &mr), -EFAULT);
	CHECK_RC(pinmem_reg(pm, p, 64 * PAGE, RW, &o, &mr), 0);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.mode == PINMEM_STAGED && i.refused == -EFAULT);
	CHECK(i.backing == PINMEM_FILE);
	CHECK_RC(pinmem_mr_segment(mr, 0, &s), 0);
	CHECK(s.addr != p && s.iova == (uintptr_t)p);
	memset(buf, 0x77, sizeof(buf));
	CHECK(pwrite(src, buf, PAGE, 0) == (ssize_t)PAGE);
	CHECK(io(pinmem_uring(pm), src, &s, PAGE, 0, false) == (int)PAGE);
	CHECK(p[0] == 0);
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_FROM_DEVICE), 0);
	CHECK(p[0] == 0x77 && p[PAGE - 1] == 0x77 && p[PAGE] == 0);
	CHECK(pread(file, buf, PAGE, 0) == (ssize_t)PAGE && buf[9] == 0x77);
	CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, NULL), 0);
	munmap(p, 64 * PAGE);
	close(file);
	close(src);
	CHECK_RC(pinmem_close(pm), 0);
}

/* ---------------------------------------------------------------- dirtiness */

/* Dirty KiB of the mapping at p, as smaps shows it. */
static long dirty_kib(void *p)
{
	unsigned long start, end;
	long sum = 0, kib;
	bool here = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start == (uintptr_t)p;
		else if (here && (sscanf(line, "Private_Dirty: %ld", &kib) == 1 ||
				  sscanf(line, "Shared_Dirty: %ld", &kib) == 1))
			sum += kib;
	}
	fclose(f);
	return sum;
}

/* mlock takes page-cache files, and their dirtiness can be seen and written back. */
static void dirty_and_clean_are_seen_in_smaps(void)
{
	struct pinmem *pm = pinner(PINMEM_BACKEND_MLOCK);
	struct pinmem_mr_info i = { .size = sizeof(i) };
	enum pinmem_unpin got;
	struct pinmem_mr *mr = NULL;
	int fd = disk_file(16 * PAGE);
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	memset(p, 1, 16 * PAGE);
	CHECK(!fsync(fd) && dirty_kib(p) == 0);
	CHECK_RC(pinmem_reg(pm, p, 16 * PAGE, 0, NULL, &mr), 0);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.mode == PINMEM_RESIDENT);
	CHECK(!fsync(fd));
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, &got), 0);
	CHECK(got == PINMEM_CLEAN && dirty_kib(p) == 0);
	CHECK_RC(pinmem_reg(pm, p, 16 * PAGE, 0, NULL, &mr), 0);
	CHECK(!fsync(fd)); /* the writeback in between */
	CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, &got), 0);
	CHECK(got == PINMEM_DIRTY && dirty_kib(p) == 64);
	munmap(p, 16 * PAGE);
	close(fd);
	CHECK_RC(pinmem_close(pm), 0);
}

static void dirty_at_pin_is_seen_in_smaps(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.flags = PINMEM_REG_DIRTY_AT_PIN };
	struct pinmem *pm = pinner(PINMEM_BACKEND_MLOCK);
	struct pinmem_mr *mr = NULL;
	int fd = disk_file(16 * PAGE);
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	memset(p, 1, 16 * PAGE);
	CHECK(!fsync(fd) && dirty_kib(p) == 0);
	CHECK_RC(pinmem_reg(pm, p, 16 * PAGE, RW, &o, &mr), 0);
	CHECK(dirty_kib(p) == 64);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	mprotect(p, 16 * PAGE, PROT_READ);
	CHECK(pinmem_reg(pm, p, 16 * PAGE, RW, &o, &mr) < 0);
	munmap(p, 16 * PAGE);
	close(fd);
	CHECK_RC(pinmem_close(pm), 0);
}

/* --------------------------------------------------------------- population */

static int count_calls(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	(void)phase;
	CHECK(done <= total);
	++*(int *)arg;
	return 0;
}

static void untouched_memory_is_populated_first(void)
{
	int calls = 0;
	struct pinmem_reg_options o = { .size = sizeof(o),
					.threads = 3,
					.progress = count_calls,
					.progress_arg = &calls };
	struct pinmem_stats s = { .size = sizeof(s) };
	struct pinmem *pm = pinner(pins);
	struct pinmem_mr *mr = NULL;
	char *p = anon(64 * MIB);

	madvise(p, 64 * MIB, MADV_NOHUGEPAGE);
	p[77] = 7;
	CHECK_RC(pinmem_reg(pm, p, 64 * MIB, RW, &o, &mr), 0);
	CHECK(calls > 2 && p[77] == 7);
	CHECK(resident_pages(p, 64 * MIB) == 64 * MIB / PAGE);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_reg(pm, p, 64 * MIB, RW, &o, &mr), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_stats(pm, &s), 0);
	CHECK(s.populated_bytes == 64 * MIB); /* the second time it was there */
	munmap(p, 64 * MIB);
	CHECK_RC(pinmem_close(pm), 0);
}

static void population_says_why_it_cannot(void)
{
	char *p = anon(8 * PAGE);
	int fd = memfd_create("pinmem-test", MFD_CLOEXEC);
	char *f;

	munmap(p + 4 * PAGE, PAGE);
	CHECK_RC(populate_write((uintptr_t)p, (uintptr_t)p + 8 * PAGE, NULL), -EFAULT);
	CHECK_MSG("not mapped");
	mprotect(p, PAGE, PROT_READ);
	CHECK_RC(populate_write((uintptr_t)p, (uintptr_t)p + PAGE, NULL), -EFAULT);
	CHECK_RC(populate_read((uintptr_t)p, (uintptr_t)p + PAGE, NULL), 0);
	CHECK(!ftruncate(fd, PAGE));
	f = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK_RC(populate_write((uintptr_t)f, (uintptr_t)f + 4 * PAGE, NULL), -EFAULT);
	CHECK_MSG("end of its file");
	munmap(f, 4 * PAGE);
	munmap(p, 8 * PAGE);
	close(fd);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void signals_do_not_break_a_registration(void)
{
	struct sigaction sa = { .sa_handler = on_alarm }, old; /* no SA_RESTART */
	struct itimerval often = { { 0, 200 }, { 0, 200 } },
			 off = { { 0, 0 }, { 0, 0 } };
	struct pinmem *pm = pinner(pins);
	int before;

	sigaction(SIGALRM, &sa, &old);
	before = alarms;
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 10; i++) {
		char *p = anon(48 * MIB);
		struct pinmem_mr *mr = NULL;

		CHECK_RC(pinmem_reg(pm, p, 48 * MIB, RW, NULL, &mr), 0);
		CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, NULL), 0);
		munmap(p, 48 * MIB);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	CHECK(alarms > before);
	CHECK_RC(pinmem_close(pm), 0);
}

/* --------------------------------------------------------- threads and forks */

struct worker {
	struct pinmem *pm;
	char *p;
	struct pinmem_mr *left; /* registered by this thread, released by another */
	int errors;
};

static void *register_in_a_loop(void *arg)
{
	struct worker *w = arg;
	struct pinmem_mr *mr[8];

	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 8; i++)
			w->errors += !!pinmem_reg(w->pm, w->p + i * 4 * PAGE, 4 * PAGE,
						  RW, NULL, &mr[i]);
		for (int i = 0; i < 8; i++)
			w->errors +=
				!!pinmem_dereg(mr[i], (enum pinmem_unpin)(i & 1), NULL);
	}
	w->errors += !!pinmem_reg(w->pm, w->p, PAGE, RW, NULL, &w->left);
	return NULL;
}

static void one_pinner_many_threads(void)
{
	struct pinmem_stats s = { .size = sizeof(s) };
	struct pinmem *pm = pinner(pins);
	struct worker w[4];
	pthread_t t[4];

	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker){ pm, anon(32 * PAGE), NULL, 0 };
		CHECK(!pthread_create(&t[i], NULL, register_in_a_loop, &w[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		CHECK(w[i].errors == 0);
	}
	CHECK_RC(pinmem_stats(pm, &s), 0);
	CHECK(s.live_regions == 4 && s.registered == 4 * 801);
	for (int i = 0; i < 4; i++) { /* the threads that registered are gone */
		CHECK_RC(pinmem_dereg(w[i].left, PINMEM_CLEAN, NULL), 0);
		munmap(w[i].p, 32 * PAGE);
	}
	CHECK_RC(pinmem_close(pm), 0);
}

struct forked {
	struct pinmem *pm;
	struct pinmem_mr *mr;
};

static int child_leaves_parent_alone(void *arg)
{
	struct forked *f = arg;
	struct pinmem_mr *mr = NULL;
	struct pinmem *own = NULL;
	char x[64];

	if (pinmem_dereg(f->mr, PINMEM_CLEAN, NULL) != -ECHILD)
		return 1;
	if (pinmem_open(NULL, &own) || pinmem_reg(own, x, 64, RW, NULL, &mr) ||
	    pinmem_dereg(mr, PINMEM_DIRTY, NULL) || pinmem_close(own))
		return 2;
	return pinmem_close(f->pm) ? 3 : 0;
}

static void fork_with_live_regions(enum pinmem_backend backend)
{
	struct pinmem_segment s = { .size = sizeof(s) };
	struct forked f = { pinner(backend), NULL };
	char *p = anon(16 * PAGE);
	int fd = disk_file(16 * PAGE);

	memset(p, 3, 16 * PAGE);
	CHECK_RC(pinmem_reg(f.pm, p, 16 * PAGE, RW, NULL, &f.mr), 0);
	CHECK(in_child(child_leaves_parent_alone, &f) == 0);
	if (backend == PINMEM_BACKEND_URING) {
		CHECK_RC(pinmem_mr_segment(f.mr, 0, &s), 0);
		p[5] = 9; /* after the fork: the pin must still be of our page */
		CHECK(io(pinmem_uring(f.pm), fd, &s, PAGE, 0, true) == (int)PAGE);
		p[5] = 0;
		CHECK(io(pinmem_uring(f.pm), fd, &s, PAGE, 0, false) == (int)PAGE);
		CHECK(p[5] == 9 && p[6] == 3);
	}
	CHECK_RC(pinmem_dereg(f.mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, 16 * PAGE);
	close(fd);
	CHECK_RC(pinmem_close(f.pm), 0);
}

static void a_fork_leaves_pins_right(void)
{
	fork_with_live_regions(pins);
}

static void a_fork_leaves_mlock_right(void)
{
	fork_with_live_regions(PINMEM_BACKEND_MLOCK);
}

static bool shows_memory(const char *maps)
{
	int fd = open(maps, O_RDONLY | O_CLOEXEC);
	char c;
	bool shown = fd >= 0 && read(fd, &c, 1) == 1;

	close(fd);
	return shown;
}

static void *only_thread_left(void *arg)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm = NULL;
	char *p = anon(8 * PAGE), *f;
	int fd = disk_file(8 * PAGE);

	(void)arg;
	for (int i = 0; shows_memory("/proc/self/maps"); i++) {
		if (i == 1000)
			_exit(5);
		usleep(1000);
	}
	if (pinmem_open(NULL, &pm) || pinmem_reg(pm, p, PAGE, RW, NULL, &mr) ||
	    pinmem_dereg(mr, PINMEM_DIRTY, NULL))
		_exit(1);
	f = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pinmem_check(pm, f, 8 * PAGE, RW, NULL, &v) || v.backing != PINMEM_FILE)
		_exit(2);
	_exit(pinmem_close(pm) ? 3 : 0);
}

/* /proc/self shows an empty process then. */
static int exit_main_thread(void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, only_thread_left, arg))
		return 4;
	pthread_exit(NULL);
}

static void the_main_thread_may_be_gone(void)
{
	CHECK(in_child(exit_main_thread, NULL) == 0);
}

/* ------------------------------------------------------------------- limits */

static int limited(void *arg)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = *(enum pinmem_backend *)arg };
	struct pinmem_memlock m = { .size = sizeof(m) };
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm = NULL;
	char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (pinmem_open(&o, &pm))
		return 1;
	if (pinmem_reg(pm, p, MIB, RW, NULL, &mr) != -ENOMEM)
		return 2;
	if (!strstr(pinmem_errmsg(), "1048576") ||
	    !strstr(pinmem_errmsg(), "ulimit -l"))
		return 3;
	if (pinmem_memlock(pm, p, MIB, &m) || m.fits || m.bypass || m.need != MIB)
		return 4;
	if (pinmem_memlock(pm, NULL, 0, &m) != -EINVAL)
		return 5;
	return pinmem_close(pm) ? 6 : 0;
}

/* Linux 6.14 charges the rings themselves: with a limit of 0 there is none. */
static int no_limit_at_all(void *arg)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_URING };
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm = NULL;
	char x[64];
	int rc;

	(void)arg;
	rc = pinmem_open(&o, &pm);
	if (rc && (rc != -ENOMEM || !strstr(pinmem_errmsg(), "RLIMIT_MEMLOCK")))
		return 1;
	if (!rc && pinmem_close(pm))
		return 2;
	if (pinmem_open(NULL, &pm))
		return 3;
	if (pinmem_reg(pm, x, sizeof(x), RW, NULL, &mr) != -ENOMEM)
		return 4;
	if (!strstr(pinmem_errmsg(), "limit 0 B"))
		return 5;
	return pinmem_close(pm) ? 6 : 0;
}

static void a_memlock_refusal_has_numbers_and_a_remedy(void)
{
	enum pinmem_backend mlock = PINMEM_BACKEND_MLOCK;

	CHECK(as_nobody(0, limited, &mlock) == 0);
	CHECK(as_nobody(64 * PAGE, limited, &mlock) == 0);
	CHECK(as_nobody(64 * PAGE, limited, &pins) == 0);
	CHECK(as_nobody(0, no_limit_at_all, NULL) == 0);
}

static int fits_once(void *arg)
{
	struct pinmem_mr *mr = NULL, *other = NULL;
	struct pinmem *pm = NULL;
	char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	(void)arg;
	madvise(p, MIB, MADV_NOHUGEPAGE);
	if (pinmem_open(NULL, &pm))
		return 1;
	if (pinmem_reg(pm, p, MIB / 2, RW, NULL, &mr))
		return 2;
	if (pinmem_reg(pm, p + MIB / 2, MIB / 2, RW, NULL, &other) != -ENOMEM)
		return 3;
	if (!strstr(pinmem_errmsg(), "524288"))
		return 4;
	if (pinmem_dereg(mr, PINMEM_CLEAN, NULL))
		return 5;
	return 0;
}

static void what_is_in_use_counts(void)
{
	CHECK(as_nobody(MIB * 3 / 4, fits_once, NULL) == 0);
}

/* ----------------------------------------------------- ranges of every kind */

static void verdict_on_a_terabyte_is_immediate(void)
{
	size_t len = 1ul << 40;
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem *pm = pinner(pins);
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		suite_skip("cannot reserve 1 TiB of addresses");
	} else {
		CHECK_RC(pinmem_check(pm, p, len, RW, NULL, &v), 0);
		CHECK(v.action == PINMEM_PIN);
		munmap(p + len / 2, PAGE);
		CHECK_RC(pinmem_check(pm, p, len, RW, NULL, &v), 0);
		CHECK(v.action == PINMEM_REFUSE && v.error == -EFAULT);
		CHECK(v.bad_addr == p + len / 2 && v.bad_len == PAGE);
		munmap(p, len);
	}
	CHECK_RC(pinmem_close(pm), 0);
}

static int walk_one(const struct pinmem_verdict *v, void *arg)
{
	uint64_t *sum = arg;

	*sum += v->bad_len;
	return 0;
}

static void walk_covers_every_byte_once(void)
{
	struct pinmem *pm = pinner(pins);
	uint64_t sum = 0;
	char *p = anon(64 * PAGE);

	for (int i = 1; i < 64; i += 2)
		mprotect(p + i * PAGE, PAGE, PROT_READ);
	munmap(p + 10 * PAGE, 3 * PAGE);
	CHECK_RC(pinmem_check_walk(pm, p, 64 * PAGE, RW, NULL, walk_one, &sum), 0);
	CHECK(sum == 64 * PAGE);
	CHECK_RC(pinmem_check_walk(pm, p, PAGE, RW, NULL, NULL, NULL), -EINVAL);
	munmap(p, 64 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void a_guard_region_is_named(void)
{
	struct pinmem *pm = pinner(pins);
	struct pinmem_mr *mr = NULL;
	char *p = anon(8 * PAGE), where[32];

	memset(p, 1, 8 * PAGE);
	if (madvise(p + 5 * PAGE, PAGE, 102 /* MADV_GUARD_INSTALL, 6.13 */)) {
		suite_skip("no MADV_GUARD_INSTALL before Linux 6.13");
	} else {
		CHECK_RC(pinmem_reg(pm, p, 8 * PAGE, RW, NULL, &mr), -EFAULT);
		CHECK_MSG("guard");
		snprintf(where, sizeof(where), "0x%" PRIxPTR, (uintptr_t)p + 5 * PAGE);
		CHECK_MSG(where);
	}
	munmap(p, 8 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void audit_counts_the_pages(void)
{
	struct pinmem_placement pl = { .size = sizeof(pl) };
	char *p = anon(16 * PAGE);
	uint64_t sum = 0;

	memset(p, 1, 12 * PAGE);
	CHECK_RC(pinmem_audit(p, 16 * PAGE, -1, &pl), 0);
	for (int i = 0; i < PINMEM_NODES_MAX; i++)
		sum += pl.pages[i];
	CHECK(sum == 12 && pl.absent == 4 && pl.wrong == 0 && pl.step == PAGE);
	CHECK_RC(pinmem_audit(p, 0, -1, &pl), -EINVAL);
	munmap(p, 16 * PAGE);
}

static void placement_on_the_only_node_is_kept(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.placement = PINMEM_PLACE_NODE,
					.node = 0 };
	struct pinmem_placement pl = { .size = sizeof(pl) };
	struct pinmem *pm = pinner(pins);
	struct pinmem_mr *mr = NULL;
	char *p = anon(16 * PAGE);

	memset(p, 1, 16 * PAGE);
	CHECK_RC(pinmem_reg(pm, p, 16 * PAGE, RW, &o, &mr), 0);
	CHECK_RC(pinmem_audit(p, 16 * PAGE, 0, &pl), 0);
	CHECK(pl.wrong == 0 && pl.pages[0] == 16);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	o.placement = PINMEM_PLACE_DEVICE;
	CHECK_RC(pinmem_reg(pm, p, 16 * PAGE, RW, &o, &mr), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, 16 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void pin_track_does_as_well(void)
{
	static void (*const all[])(void) = {
		untouched_memory_is_populated_first,
		signals_do_not_break_a_registration,
		one_pinner_many_threads,
		a_fork_leaves_pins_right,
		a_memlock_refusal_has_numbers_and_a_remedy,
		verdict_on_a_terabyte_is_immediate,
		walk_covers_every_byte_once,
		placement_on_the_only_node_is_kept,
	};

	if (access("/dev/pin_track", R_OK | W_OK)) {
		suite_skip("there is no /dev/pin_track");
		return;
	}
	pins = PINMEM_BACKEND_PIN_TRACK;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		all[i]();
	pins = PINMEM_BACKEND_URING;
}

static const struct test tests[] = {
	{ "auto_says_which_backend_and_why", auto_says_which_backend_and_why },
	{ "without_io_uring_auto_takes_another", without_io_uring_auto_takes_another },
	{ "without_proc_nothing_is_pinned_blindly",
	  without_proc_nothing_is_pinned_blindly },
	{ "bytes_travel_through_a_region", bytes_travel_through_a_region },
	{ "regions_beyond_a_gigabyte_have_segments",
	  regions_beyond_a_gigabyte_have_segments },
	{ "staged_region_moves_bytes_of_a_page_cache_file",
	  staged_region_moves_bytes_of_a_page_cache_file },
	{ "dirty_and_clean_are_seen_in_smaps", dirty_and_clean_are_seen_in_smaps },
	{ "dirty_at_pin_is_seen_in_smaps", dirty_at_pin_is_seen_in_smaps },
	{ "untouched_memory_is_populated_first", untouched_memory_is_populated_first },
	{ "population_says_why_it_cannot", population_says_why_it_cannot },
	{ "signals_do_not_break_a_registration", signals_do_not_break_a_registration },
	{ "one_pinner_many_threads", one_pinner_many_threads },
	{ "the_main_thread_may_be_gone", the_main_thread_may_be_gone },
	{ "a_fork_leaves_pins_right", a_fork_leaves_pins_right },
	{ "a_fork_leaves_mlock_right", a_fork_leaves_mlock_right },
	{ "a_memlock_refusal_has_numbers_and_a_remedy",
	  a_memlock_refusal_has_numbers_and_a_remedy },
	{ "what_is_in_use_counts", what_is_in_use_counts },
	{ "verdict_on_a_terabyte_is_immediate", verdict_on_a_terabyte_is_immediate },
	{ "walk_covers_every_byte_once", walk_covers_every_byte_once },
	{ "a_guard_region_is_named", a_guard_region_is_named },
	{ "audit_counts_the_pages", audit_counts_the_pages },
	{ "placement_on_the_only_node_is_kept", placement_on_the_only_node_is_kept },
	{ "pin_track_does_as_well", pin_track_does_as_well },
};
SUITE("pinmem on this kernel", tests)
