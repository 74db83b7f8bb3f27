/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pin_track_backend.c - the library over /dev/pin_track, in the patched guest:
 * what each release leaves in the pages' dirty bits (/proc/kpageflags), with writeback
 * in between; what is refused, and in which words; and that pins are neither lost nor
 * left behind: forks, kills, limits, threads, two pinners on the same pages.
 *
 * Also that lib/uapi.h is the patch's own header: that does not compile otherwise.
 *
 * usage: test_pin_track_backend [CASE...], as root
 * Exit: 0; 1 when a case failed; 2 when one could not be tried; 77 without the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <pinmem.h>

#include "pin_track_user.h"
#include "uapi.h"

#define PAGE 4096ul
#define PAGES 16ul
#define LEN (PAGES * PAGE)
#define MIB (1ul << 20)
#define RW PINMEM_ACCESS_LOCAL_WRITE
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------- the library's copy of the uapi */

#define SAME_SIZE(name)                                         \
	_Static_assert(sizeof(struct uapi_pin_track_##name) ==  \
			       sizeof(struct pin_track_##name), \
		       #name)
#define SAME_PLACE(name, field)                                          \
	_Static_assert(offsetof(struct uapi_pin_track_##name, field) ==  \
			       offsetof(struct pin_track_##name, field), \
		       #name "." #field)
#define SAME_VALUE(name) \
	_Static_assert(UAPI_PIN_TRACK_##name == PIN_TRACK_##name, #name)

SAME_SIZE(slot);
SAME_PLACE(slot, protections);
SAME_SIZE(pin);
SAME_PLACE(pin, flags);
SAME_PLACE(pin, addr);
SAME_PLACE(pin, len);
SAME_PLACE(pin, cookie);
SAME_PLACE(pin, id);
SAME_PLACE(pin, generation);
SAME_PLACE(pin, pages);
SAME_PLACE(pin, slot);
SAME_SIZE(unpin);
SAME_PLACE(unpin, flags);
SAME_PLACE(unpin, id);
SAME_SIZE(watch);
SAME_PLACE(watch, addr);
SAME_PLACE(watch, len);
SAME_PLACE(watch, id);
SAME_PLACE(watch, generation);
SAME_PLACE(watch, slot);
SAME_SIZE(query);
SAME_PLACE(query, id);
SAME_PLACE(query, nodes);
SAME_PLACE(query, state);
SAME_PLACE(query, cookie);
SAME_PLACE(query, dirty);
SAME_PLACE(query, invalidations);
SAME_PLACE(query, moved);
SAME_PLACE(query, dev_minor);
SAME_SIZE(info);
SAME_PLACE(info, version);
SAME_PLACE(info, state);
SAME_PLACE(info, features);
SAME_PLACE(info, max_len);
SAME_PLACE(info, max_slots);
SAME_PLACE(info, map_len);
SAME_PLACE(info, mm_pages);
SAME_VALUE(WRITE);
SAME_VALUE(DIRTY_AT_PIN);
SAME_VALUE(NO_SLOT);
SAME_VALUE(CLEAN);
SAME_VALUE(DIRTY);
SAME_VALUE(COMPARE);
SAME_VALUE(STALE);
SAME_VALUE(IS_WRITE);
SAME_VALUE(IS_DIRTIED);
SAME_VALUE(IS_FILE);
SAME_VALUE(IS_WATCH);
SAME_VALUE(FEATURE_PIN);
SAME_VALUE(FEATURE_DIRTY_AT_PIN);
SAME_VALUE(FEATURE_SLOTS);
SAME_VALUE(FEATURE_WATCH);
SAME_VALUE(FEATURE_COMPARE);
SAME_VALUE(OWNER);
SAME_VALUE(IOC_PIN);
SAME_VALUE(IOC_UNPIN);
SAME_VALUE(IOC_WATCH);
SAME_VALUE(IOC_UNWATCH);
SAME_VALUE(IOC_QUERY);
SAME_VALUE(IOC_INFO);

/* ---------------------------------------------------------------- what all share */

static unsigned int checks, failures; /* the second: atomic */
static const char *running = "";
static int pagemap, kpageflags;

static bool check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool check(bool ok, const char *fmt, ...)
{
	va_list ap;

	__atomic_add_fetch(&checks, 1, __ATOMIC_RELAXED);
	if (ok)
		return true;
	__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
	printf("FAIL %s: ", running);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (%s)\n", pinmem_errmsg());
	return false;
}

static void die(const char *what)
{
	printf("%s: %s: %s\n", running, what, strerror(errno));
	exit(2);
}

static void check_rc(int rc, int want, const char *what)
{
	check(rc == want, "%s: %d, and not %d", what, rc, want);
}

static void check_message(const char *part)
{
	check(strstr(pinmem_errmsg(), part), "the sentence lacks \"%s\"", part);
}

static struct pinmem *open_pinner(void)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_PIN_TRACK };
	struct pinmem *pm;

	if (pinmem_open(&o, &pm)) {
		printf("%s: pinmem_open: %s\n", running, pinmem_errmsg());
		exit(2);
	}
	return pm;
}

static void close_pinner(struct pinmem *pm)
{
	check_rc(pinmem_close(pm), 0, "close");
}

/* On failure NULL, and it is told. */
static struct pinmem_mr *reg(struct pinmem *pm, void *p, size_t len,
			     unsigned int access)
{
	struct pinmem_mr *mr = NULL;

	check_rc(pinmem_reg(pm, p, len, access, NULL, &mr), 0, "reg");
	return mr;
}

static void dereg(struct pinmem_mr *mr, enum pinmem_unpin how, enum pinmem_unpin want)
{
	enum pinmem_unpin got = PINMEM_BY_FAULT;

	if (!mr)
		return;
	check_rc(pinmem_dereg(mr, how, &got), 0, "dereg");
	check(got == want, "released %s is told as %s, and not %s",
	      pinmem_unpin_name(how), pinmem_unpin_name(got), pinmem_unpin_name(want));
}

static char *map(size_t len, int prot, int flags, int fd)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static char *anon(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static char *path_in(char path[256], const char *env)
{
	const char *dir = getenv(env);

	if (!dir)
		die(env);
	snprintf(path, 256, "%s/pin_track_backend", dir);
	return path;
}

/* A new file of zeroes, which is unlinked at once. */
static int file_in(const char *env)
{
	char path[256];
	int fd;

	unlink(path_in(path, env));
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, LEN) || unlink(path))
		die(path);
	return fd;
}

static uint64_t pagemap_entry(const void *addr)
{
	uint64_t entry;

	if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)addr / PAGE * 8)) != 8)
		die("pagemap");
	return entry;
}

/* 0: none */
static uint64_t pfn_of(const void *addr)
{
	uint64_t entry = pagemap_entry(addr);

	return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

static unsigned int dirty_pages(const char *p)
{
	unsigned int n = 0;
	uint64_t flags;

	for (size_t i = 0; i < PAGES; i++) {
		uint64_t pfn = pfn_of(p + i * PAGE);

		if (!pfn)
			continue;
		if (pread(kpageflags, &flags, 8, (off_t)(pfn * 8)) != 8)
			die("kpageflags");
		n += flags >> 4 & 1; /* KPF_DIRTY */
	}
	return n;
}

static void check_dirty(const char *p, unsigned int want, const char *when)
{
	unsigned int n = dirty_pages(p);

	check(n == want, "%u pages are dirty %s, and not %u", n, when, want);
}

static long vmpin_kib(void)
{
	return pt_number_in("/proc/self/status", "VmPin:");
}

static int in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		failures = 0;
		status = fn(arg);
		fflush(NULL);
		_exit(status ? status : failures ? 120 : 0);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* -------------------------------------------------------------------- what it is */

static void what_a_pinner_is(void)
{
	struct pinmem_info i = { .size = sizeof(i) };
	struct pinmem_mr_info m = { .size = sizeof(m) };
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem *pm = open_pinner();
	char *p = anon(LEN);
	struct pinmem_mr *mr = reg(pm, p + 5, LEN - 10, RW);

	check_rc(pinmem_query(pm, &i), 0, "query");
	check(i.backend == PINMEM_BACKEND_PIN_TRACK && !i.odp && i.node == -1 &&
		      !i.slots && !i.device[0],
	      "another pinner");
	check(!strcmp(pinmem_backend_name(i.backend), "pin_track"), "its name");
	check(i.max_segment >= 1ul << 40 && i.max_segment % (1ul << 30) == 0,
	      "max_segment is %" PRIu64, i.max_segment);
	check(!pinmem_uring(pm) && !pinmem_pd(pm), "what it has not");
	check_rc(pinmem_mr_query(mr, &m), 0, "mr_query");
	check(m.mode == PINMEM_PINNED && m.unpin_clean == PINMEM_CLEAN &&
		      m.unpin_dirty == PINMEM_DIRTY && m.segments == 1,
	      "another region");
	check_rc(pinmem_mr_segment(mr, 7, &s), 0, "segment");
	check(s.addr == p + 5 && s.buf_index == -1 && !s.rkey, "another segment");
	check(vmpin_kib() == LEN / 1024, "VmPin is %ld KiB", vmpin_kib());
	check_rc(pinmem_close(pm), -EBUSY, "close");
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	check(vmpin_kib() == 0, "VmPin is %ld KiB", vmpin_kib());
	check_rc(pinmem_reg(pm, p, LEN, PINMEM_ACCESS_REMOTE_READ, NULL, &mr),
		 -EOPNOTSUPP, "remote");
	munmap(p, LEN);
	close_pinner(pm);
}

/* ----------------------------------------------------------------- clean and dirty */

/**
 * struct kind - memory whose dirty bits are looked at.
 * @env: the directory of a file that is mapped shared; NULL: anonymous memory
 * @writeback: there is one
 * @access: it may be pinned with
 */
static const struct kind {
	const char *name, *env;
	bool writeback;
	unsigned int access;
} kinds[] = {
	{ "anonymous, to write", NULL, false, RW },
	{ "anonymous, to read", NULL, false, 0 },
	{ "tmpfs, to write", "PINMEM_TMPFS", false, RW },
	{ "tmpfs, to read", "PINMEM_TMPFS", false, 0 },
	{ "ext4, to read", "PINMEM_EXT4", true, 0 },
	{ "xfs, to read", "PINMEM_XFS", true, 0 },
};

static char name_of_case[64];

/* Pages that are there, and clean. */
static char *clean_pages(const struct kind *k, int *fd)
{
	char *p;

	*fd = k->env ? file_in(k->env) : -1;
	p = k->env ? map(LEN, PROT_READ | PROT_WRITE, MAP_SHARED, *fd) : anon(LEN);
	if (!k->env)
		memset(p, 1, LEN); /* of the page table's entry only */
	else if (k->writeback)
		memset(p, 1, LEN);
	if (k->writeback && msync(p, LEN, MS_SYNC))
		die("msync");
	if (madvise(p, LEN, MADV_POPULATE_READ))
		die("populate");
	check_dirty(p, 0, "to begin with");
	return p;
}

static void write_and_write_back(char *p)
{
	memset(p, 2, LEN);
	if (msync(p, LEN, MS_SYNC))
		die("msync");
	check_dirty(p, 0, "after writeback");
}

static void release_is_as_told(struct pinmem *pm, const struct kind *k,
			       enum pinmem_unpin how, bool writeback)
{
	struct pinmem_stats s = { .size = sizeof(s) };
	struct pinmem_mr *mr;
	int fd;
	char *p = clean_pages(k, &fd);

	mr = reg(pm, p, LEN, k->access);
	check_dirty(p, 0, "after the pin");
	if (writeback)
		write_and_write_back(p);
	dereg(mr, how, how);
	check_dirty(p, how == PINMEM_DIRTY ? PAGES : 0, "after the release");
	if (k->writeback) { /* the file system knows of them */
		if (fsync(fd))
			die("fsync");
		check_dirty(p, 0, "after fsync");
	}
	check_rc(pinmem_stats(pm, &s), 0, "stats");
	check(s.redirtied_bytes == 0, "userspace has dirtied %" PRIu64 " B",
	      s.redirtied_bytes);
	munmap(p, LEN);
	close(fd);
}

static void every_release_is_as_told(void)
{
	struct pinmem *pm = open_pinner();

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];

		snprintf(name_of_case, sizeof(name_of_case), "%s", k->name);
		running = name_of_case;
		release_is_as_told(pm, k, PINMEM_CLEAN, false);
		release_is_as_told(pm, k, PINMEM_DIRTY, false);
		if (!k->writeback)
			continue;
		release_is_as_told(pm, k, PINMEM_CLEAN, true);
		release_is_as_told(pm, k, PINMEM_DIRTY, true);
	}
	close_pinner(pm);
}

static void dirty_at_pin(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.flags = PINMEM_REG_DIRTY_AT_PIN };
	struct pinmem *pm = open_pinner();
	struct pinmem_mr *mr = NULL;
	int fd;
	char *p = clean_pages(&kinds[2], &fd);

	check_rc(pinmem_reg(pm, p, LEN, RW, &o, &mr), 0, "reg");
	check_dirty(p, PAGES, "after the pin");
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	check_dirty(p, PAGES, "after the release");
	munmap(p, LEN);
	close(fd);
	p = anon(LEN); /* here it is the kernel's flag: the entries are dirty already */
	memset(p, 1, LEN);
	check_dirty(p, 0, "to begin with");
	check_rc(pinmem_reg(pm, p, LEN, RW, &o, &mr), 0, "reg");
	check_dirty(p, PAGES, "after the pin");
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	munmap(p, LEN);
	close_pinner(pm);
}

/* A pin for writing knows its pages, wherever they are mapped by then. */
static void dirty_after_the_mapping_went(void)
{
	struct pinmem *pm = open_pinner();
	struct pinmem_mr *mr;
	int fd;
	char *p = clean_pages(&kinds[2], &fd), *again;

	mr = reg(pm, p, LEN, RW);
	munmap(p, LEN);
	dereg(mr, PINMEM_DIRTY, PINMEM_DIRTY);
	again = map(LEN, PROT_READ, MAP_SHARED, fd);
	if (madvise(again, LEN, MADV_POPULATE_READ))
		die("populate");
	check_dirty(again, PAGES, "in the file");
	munmap(again, LEN);
	close(fd);
	close_pinner(pm);
}

/* ------------------------------------------------- what cannot be made dirty is told
 */

static void protect(char *p, int fd)
{
	(void)fd;
	if (mprotect(p, LEN, PROT_READ))
		die("mprotect");
}

static void unmap(char *p, int fd)
{
	(void)fd;
	munmap(p, LEN);
}

static void replace(char *p, int fd)
{
	(void)fd;
	if (mmap(p, LEN, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p)
		die("mmap");
}

static void truncate_file(char *p, int fd)
{
	(void)p;
	if (ftruncate(fd, 0))
		die("ftruncate");
}

static void dirty_that_cannot_be(void)
{
	static const struct {
		const char *name, *why;
		void (*change)(char *p, int fd);
	} changes[] = {
		{ "mapped read-only meanwhile", "not mapped writable", protect },
		{ "unmapped meanwhile", "not mapped writable", unmap },
		{ "mapped anew meanwhile", "other pages", replace },
		{ "truncated meanwhile", "not mapped writable", truncate_file },
	};
	struct pinmem *pm = open_pinner();
	long held = pt_pins_held();

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct pinmem_mr *mr;
		int fd;
		char *p, *again;

		running = changes[i].name;
		p = clean_pages(&kinds[4], &fd);
		mr = reg(pm, p, LEN, 0);
		changes[i].change(p, fd);
		dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
		check_message(changes[i].why);
		check(pt_pins_settle(held) == held, "pins stay");
		again = map(LEN, PROT_READ, MAP_SHARED, fd);
		if (changes[i].change != truncate_file) {
			if (madvise(again, LEN, MADV_POPULATE_READ))
				die("populate");
			check_dirty(again, 0, "in the file");
		}
		munmap(again, LEN);
		munmap(p, LEN);
		close(fd);
	}
	close_pinner(pm);
}

static void read_only_mappings_stay_clean(void)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem *pm = open_pinner();
	int fd = file_in("PINMEM_EXT4");
	char *p = map(LEN, PROT_READ, MAP_SHARED, fd);
	struct pinmem_mr *mr = reg(pm, p, LEN, 0);

	check_rc(pinmem_mr_query(mr, &i), 0, "mr_query");
	check(i.unpin_dirty == PINMEM_CLEAN, "it is told to become dirty");
	dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
	check_dirty(p, 0, "after the release");
	munmap(p, LEN);
	close(fd);
	close_pinner(pm);
}

/* ------------------------------------------------------------------- what is refused
 */

static void check_verdict(struct pinmem *pm, void *p, unsigned int access, int error,
			  const char *reason)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_mr *mr = NULL;

	check_rc(pinmem_check(pm, p, LEN, access, NULL, &v), 0, "check");
	check(v.action == PINMEM_REFUSE && v.error == error, "a verdict: %s, %d",
	      pinmem_action_name(v.action), v.error);
	check(strstr(v.reason, reason), "no \"%s\" in: %s", reason, v.reason);
	check_rc(pinmem_reg(pm, p, LEN, access, NULL, &mr), error, "reg");
	check_message(reason);
}

static void fsdax_is_refused(const char *env)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.policy = { PINMEM_USE_STAGE } };
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem *pm = open_pinner();
	struct pinmem_mr *mr = NULL;
	int fd = file_in(env);
	char *p = map(LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	char *copy = map(LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);

	memset(p, 'd', LEN);
	check_verdict(pm, p, RW, -EOPNOTSUPP, "PINMEM_USE_STAGE");
	check_verdict(pm, p, 0, -EOPNOTSUPP, "DAX file system");
	check_verdict(pm, copy, RW, -EOPNOTSUPP, "DAX file system");
	memset(copy, 'c', LEN);
	check_verdict(pm, copy, RW, -EOPNOTSUPP, "its pages are copies now");
	check_rc(pinmem_reg(pm, p, LEN, RW, &o, &mr), 0, "staged");
	if (mr) {
		struct pinmem_segment s = { .size = sizeof(s) };

		check_rc(pinmem_mr_query(mr, &i), 0, "mr_query");
		check(i.mode == PINMEM_STAGED && i.refused == -EOPNOTSUPP,
		      "not staged");
		check_rc(pinmem_mr_segment(mr, 0, &s), 0, "segment");
		check_rc(pinmem_sync(mr, 0, LEN, PINMEM_SYNC_TO_DEVICE), 0, "sync");
		check(((char *)s.addr)[LEN - 1] == 'd', "not synced");
		memset(s.addr, 's', LEN);
		check_rc(pinmem_sync(mr, 0, LEN, PINMEM_SYNC_FROM_DEVICE), 0, "sync");
		check(p[0] == 's' && p[LEN - 1] == 's', "not synced back");
		dereg(mr, PINMEM_DIRTY, PINMEM_CLEAN);
	}
	munmap(p, LEN);
	munmap(copy, LEN);
	close(fd);
	close_pinner(pm);
}

static void dax_files_are_refused(void)
{
	fsdax_is_refused("PINMEM_EXT4_DAX");
	fsdax_is_refused("PINMEM_XFS_DAX");
}

static void page_cache_is_refused_for_writing(void)
{
	struct pinmem *pm = open_pinner();
	int fd = file_in("PINMEM_EXT4");
	char *p = map(LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd);

	check_verdict(pm, p, RW, -EFAULT, "register it without write access");
	dereg(reg(pm, p, LEN, 0), PINMEM_CLEAN, PINMEM_CLEAN);
	munmap(p, LEN);
	close(fd);
	close_pinner(pm);
}

/* ------------------------------------------------------------------- limits, as nobody
 */

static void become_nobody(rlim_t memlock)
{
	struct rlimit lim = { memlock, memlock };

	if (setrlimit(RLIMIT_MEMLOCK, &lim) || setresgid(65534, 65534, 65534) ||
	    setresuid(65534, 65534, 65534) || prctl(PR_SET_DUMPABLE, 1))
		die("nobody");
}

static int nobody_within_a_limit(void *arg)
{
	struct pinmem_mr *mr[9] = { NULL }, *more = NULL;
	struct pinmem *pm;
	char *p = anon(MIB);

	(void)arg;
	become_nobody(64 * PAGE);
	pm = open_pinner();
	check_rc(pinmem_reg(pm, p, MIB, RW, NULL, &more), -ENOMEM, "a MiB");
	check_message("needs 1048576 B of RLIMIT_MEMLOCK, limit 262144 B");
	check_message("ulimit -l");
	for (int i = 0; i < 8; i++) /* so small that the kernel is asked */
		mr[i] = reg(pm, p + i * 8 * (int)PAGE, 8 * PAGE, RW);
	check(vmpin_kib() == 256, "VmPin is %ld KiB", vmpin_kib());
	check_rc(pinmem_reg(pm, p, 8 * PAGE, RW, NULL, &more), -ENOMEM, "the ninth");
	check_message("in use 262144 B (VmPin of this process)");
	dereg(mr[3], PINMEM_DIRTY, PINMEM_DIRTY);
	mr[8] = reg(pm, p + MIB / 2, 8 * PAGE, 0);
	for (int i = 0; i < 9; i++)
		if (i != 3)
			dereg(mr[i], PINMEM_CLEAN, PINMEM_CLEAN);
	close_pinner(pm);
	return 0;
}

static int nobody_without_a_limit(void *arg)
{
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm;
	char *p = anon(LEN);

	(void)arg;
	become_nobody(0);
	pm = open_pinner();
	check_rc(pinmem_reg(pm, p, 1, RW, NULL, &mr), -ENOMEM, "with limit 0");
	check_message("limit 0 B");
	close_pinner(pm);
	return 0;
}

static void limits_of_a_nobody(void)
{
	int rc = in_child(nobody_within_a_limit, NULL);

	check(rc == 0, "with a limit: %d", rc);
	rc = in_child(nobody_without_a_limit, NULL);
	check(rc == 0, "with limit 0: %d", rc);
}

/* -------------------------------------------------------------------- fork and kill */

struct inherited {
	struct pinmem *pm;
	struct pinmem_mr *mr;
};

static int child_of_a_pinner(void *arg)
{
	struct inherited *i = arg;
	struct pinmem_mr *mr = NULL;
	struct pinmem *own;
	char *p = anon(LEN);

	check_rc(pinmem_dereg(i->mr, PINMEM_CLEAN, NULL), -ECHILD, "the parent's");
	check_rc(pinmem_reg(i->pm, p, LEN, RW, NULL, &mr), -ECHILD, "the parent's");
	check_rc(pinmem_close(i->pm), 0, "close in the child");
	own = open_pinner();
	dereg(reg(own, p, LEN, RW), PINMEM_DIRTY, PINMEM_DIRTY);
	close_pinner(own);
	return 0;
}

static void a_fork_leaves_pins_right(void)
{
	struct inherited i = { .pm = open_pinner() };
	long held = pt_pins_held();
	char *p = anon(LEN);
	uint64_t pfn;
	int rc;

	memset(p, 3, LEN);
	i.mr = reg(i.pm, p, LEN, RW);
	pfn = pfn_of(p);
	rc = in_child(child_of_a_pinner, &i);
	check(rc == 0, "the child says %d", rc);
	check(pt_pins_settle(held + (long)PAGES) == held + (long)PAGES,
	      "%ld pages are pinned", pt_pins_held() - held);
	memset(p, 4, LEN); /* nothing is copied: these are the pinned pages */
	check(pfn && pfn_of(p) == pfn, "the page is another one");
	dereg(i.mr, PINMEM_CLEAN, PINMEM_CLEAN);
	check(pt_pins_settle(held) == held, "pins stay");
	munmap(p, LEN);
	close_pinner(i.pm);
}

static pid_t start(void (*fn)(void *arg), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(arg);
		_exit(0);
	}
	return pid;
}

static void kill_and_wait(pid_t pid)
{
	if (kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid)
		die("kill");
}

/* Long pins of untouched memory: almost all of its time is spent pinning. */
static void pin_for_ever(void *arg)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.flags = PINMEM_REG_NO_POPULATE };
	struct pinmem *pm = open_pinner();
	size_t len = 64 * MIB;

	(void)arg;
	for (;;) {
		char *p = anon(len);
		struct pinmem_mr *mr;

		madvise(p, len, MADV_NOHUGEPAGE);
		if (pinmem_reg(pm, p, len, RW, &o, &mr) ||
		    pinmem_dereg(mr, PINMEM_DIRTY, NULL))
			_exit(1);
		munmap(p, len);
	}
}

static void a_kill_in_mid_pin_loses_nothing(void)
{
	long held = pt_pins_held(), most = 0, now;

	for (int i = 0; i < 12; i++) {
		pid_t pid = start(pin_for_ever, NULL);

		usleep(100000 + (unsigned int)i * 7919);
		now = pt_pins_held();
		most = now - held > most ? now - held : most;
		kill_and_wait(pid);
		now = pt_pins_settle(held);
		check(now == held, "%ld pages stay pinned", now - held);
	}
	check(most > 0, "nobody was killed with anything pinned");
}

/* Its child has the pinner, too; it closes it when it is told to. */
static void leave_pins_to_a_child(void *arg)
{
	int *pipes = arg;
	struct pinmem *pm = open_pinner();
	char *p = anon(LEN), c = 'r';

	reg(pm, p, LEN, RW);
	if (fork()) {
		pause();
	} else {
		if (write(pipes[1], &c, 1) != 1 || read(pipes[2], &c, 1) != 1)
			_exit(1);
		pinmem_close(pm);
		if (write(pipes[1], &c, 1) != 1)
			_exit(1);
		pause();
	}
}

/* As the backend says: pins of a killed parent end when no child has the file open. */
static void pins_end_with_the_last_descriptor(void)
{
	int up[2], down[2], pipes[4];
	long held = pt_pins_held();
	char c;
	pid_t pid;

	if (pipe2(up, O_CLOEXEC) || pipe2(down, O_CLOEXEC))
		die("pipe");
	pipes[0] = up[0];
	pipes[1] = up[1];
	pipes[2] = down[0];
	pipes[3] = down[1];
	pid = start(leave_pins_to_a_child, pipes);
	if (read(up[0], &c, 1) != 1)
		die("read");
	kill_and_wait(pid);
	check(pt_pins_held() == held + (long)PAGES, "%ld pages are pinned",
	      pt_pins_held() - held);
	if (write(down[1], "c", 1) != 1 || read(up[0], &c, 1) != 1)
		die("the child");
	check(pt_pins_settle(held) == held, "pins stay");
	for (int i = 0; i < 4; i++)
		close(pipes[i]);
}

/* ---------------------------------------------------------- two pinners, many threads
 */

static void two_pinners_on_the_same_pages(void)
{
	struct pinmem *a = open_pinner(), *b = open_pinner();
	long held = pt_pins_held();
	struct pinmem_mr *of_a, *of_b;
	int fd;
	char *p = clean_pages(&kinds[2], &fd);

	of_a = reg(a, p, LEN, RW);
	of_b = reg(b, p, LEN / 2, 0);
	check(pt_pins_held() == held + (long)(PAGES + PAGES / 2), "%ld pins",
	      pt_pins_held() - held);
	dereg(of_a, PINMEM_CLEAN, PINMEM_CLEAN);
	check_dirty(p, 0, "after the first release");
	check(pt_pins_settle(held + (long)PAGES / 2) == held + (long)PAGES / 2,
	      "%ld pins", pt_pins_held() - held);
	close_pinner(a);
	check(pt_pins_held() == held + (long)PAGES / 2, "the other's are gone");
	dereg(of_b, PINMEM_DIRTY, PINMEM_DIRTY);
	check_dirty(p, PAGES / 2, "after the second release");
	check(pt_pins_settle(held) == held, "pins stay");
	munmap(p, LEN);
	close(fd);
	close_pinner(b);
}

struct worker {
	pthread_t thread;
	struct pinmem *pm;
	char *p;
	struct pinmem_mr *left; /* for another thread to release */
};

static void *register_and_release(void *arg)
{
	struct worker *w = arg;
	struct pinmem_mr *mr[8];

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(mr); i++)
			mr[i] = reg(w->pm, w->p + i * PAGE, 2 * PAGE, i & 1 ? RW : 0);
		for (size_t i = 0; i < ARRAY_SIZE(mr); i++)
			dereg(mr[i], i & 2 ? PINMEM_DIRTY : PINMEM_CLEAN,
			      i & 2 ? PINMEM_DIRTY : PINMEM_CLEAN);
	}
	w->left = reg(w->pm, w->p, PAGE, RW);
	return NULL;
}

static void one_pinner_many_threads(void)
{
	struct pinmem_stats s = { .size = sizeof(s) };
	struct pinmem *pm = open_pinner();
	long held = pt_pins_held();
	struct worker w[4];

	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct worker){ .pm = pm, .p = anon(LEN) };
		memset(w[i].p, 1, LEN);
		if (pthread_create(&w[i].thread, NULL, register_and_release, &w[i]))
			die("thread");
	}
	for (size_t i = 0; i < ARRAY_SIZE(w); i++)
		pthread_join(w[i].thread, NULL);
	check(pt_pins_settle(held + 4) == held + 4, "%ld pins", pt_pins_held() - held);
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		dereg(w[i].left, PINMEM_DIRTY, PINMEM_DIRTY);
		munmap(w[i].p, LEN);
	}
	check_rc(pinmem_stats(pm, &s), 0, "stats");
	check(s.live_regions == 0 && s.registered == 4 * 401, "%" PRIu64 " registered",
	      s.registered);
	check(pt_pins_settle(held) == held, "pins stay");
	close_pinner(pm);
}

/* --------------------------------------------------------------- cache, and outside */

/* What any holder says of a cached region becomes of its pages. */
static void a_cached_region_is_released_as_told(void)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };
	struct pinmem *pm = open_pinner();
	struct pinmem_cache *cache = NULL;
	struct pinmem_mr *mr = NULL, *again = NULL;
	long held = pt_pins_held();
	char *p = anon(LEN);

	memset(p, 1, LEN);
	check_rc(pinmem_cache_create(pm, NULL, &cache), 0, "cache");
	check_rc(pinmem_cache_get(cache, p, LEN, RW, &mr), 0, "get");
	check_rc(pinmem_cache_put(mr, PINMEM_DIRTY), 0, "put");
	check_rc(pinmem_cache_get(cache, p, LEN, RW, &again), 0, "get");
	check_rc(pinmem_cache_put(again, PINMEM_CLEAN), 0, "put");
	check_rc(pinmem_cache_stats(cache, &s), 0, "stats");
	check(mr == again && s.hits == 1 && s.registrations == 1,
	      "%" PRIu64 " hits, %" PRIu64 " registrations", s.hits, s.registrations);
	check_dirty(p, 0, "while it is registered");
	check_rc(pinmem_cache_flush(cache), 0, "flush");
	check_dirty(p, PAGES, "after the release");
	check(pt_pins_settle(held) == held, "pins stay");
	check_rc(pinmem_cache_destroy(cache), 0, "destroy");
	munmap(p, LEN);
	close_pinner(pm);
}

static int see_region(const struct pinmem_mr_info *i, void *arg)
{
	*(struct pinmem_mr_info *)arg = *i;
	return 0;
}

static int look_from_outside(void *arg)
{
	struct pinmem_mr_info i = { .size = 0 };

	check_rc(pinmem_peek(getppid(), see_region, &i), 0, "peek");
	check(i.backend == PINMEM_BACKEND_PIN_TRACK && i.addr == arg && i.len == LEN,
	      "another region is seen");
	return 0;
}

static void seen_from_outside(void)
{
	struct pinmem *pm = open_pinner();
	char *p = anon(LEN);
	struct pinmem_mr *mr = reg(pm, p, LEN, RW);
	int rc = in_child(look_from_outside, p);

	check(rc == 0, "the child says %d", rc);
	dereg(mr, PINMEM_CLEAN, PINMEM_CLEAN);
	munmap(p, LEN);
	close_pinner(pm);
}

/* ------------------------------------------------------------------------------ main
 */

static const struct {
	const char *name;
	void (*fn)(void);
} cases[] = {
#define CASE(name)          \
	{                   \
#name, name \
	}
	CASE(what_a_pinner_is),
	CASE(every_release_is_as_told),
	CASE(dirty_at_pin),
	CASE(dirty_after_the_mapping_went),
	CASE(dirty_that_cannot_be),
	CASE(read_only_mappings_stay_clean),
	CASE(dax_files_are_refused),
	CASE(page_cache_is_refused_for_writing),
	CASE(limits_of_a_nobody),
	CASE(a_fork_leaves_pins_right),
	CASE(a_kill_in_mid_pin_loses_nothing),
	CASE(pins_end_with_the_last_descriptor),
	CASE(two_pinners_on_the_same_pages),
	CASE(one_pinner_many_threads),
	CASE(a_cached_region_is_released_as_told),
	CASE(seen_from_outside),
};

static bool wanted(const char *name, char **argv)
{
	for (char **word = argv + 1; *word; word++)
		if (!strcmp(*word, name))
			return true;
	return !argv[1];
}

int main(int argc, char **argv)
{
	unsigned int run = 0;

	(void)argc;
	if (access("/dev/pin_track", R_OK | W_OK)) {
		printf("/dev/pin_track: %s\n", strerror(errno));
		return 77;
	}
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0 || kpageflags < 0)
		die("page flags");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int before = failures;

		if (!wanted(cases[i].name, argv))
			continue;
		running = cases[i].name;
		cases[i].fn();
		printf("%s: %s\n", cases[i].name, failures == before ? "ok" : "FAILED");
		run++;
	}
	printf("%u cases, %u checks, %u failures\n", run, checks, failures);
	return failures || !run;
}
