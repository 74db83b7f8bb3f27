/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_preload.c - libpinmem-verbs.so's rooms over a libibverbs without hardware: what
 * is passed on, refused, kept, and released when. The memory and what tells of its
 * changes are real. (Symbols and versions: tests/vm/preload-clients.)
 */
#include "../../preload/preload.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "fault.h"
#include "suite.h"

#include "fake_verbs.inc.c"

#define PAGE 4096ul
#define LEN (16 * PAGE)
#define RIGHTS \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

/* ------------------------------------------------- libibverbs, as preload.c sees it */

__thread unsigned int preload_inside;

static int reregs, mrs_at_close;

/* Registrations in the kernel, so to speak. The reaper works on them, too. */
static int live(void)
{
	int n;

	pthread_mutex_lock(&fake_lock);
	n = fake.mrs;
	pthread_mutex_unlock(&fake_lock);
	return n;
}

static int fake_rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr,
		      size_t len, int access)
{
	(void)mr, (void)flags, (void)pd, (void)addr, (void)len, (void)access;
	reregs++;
	return IBV_REREG_MR_ERR_CMD;
}

/* The kernel's answer while there are registrations */
static int fake_dealloc(struct ibv_pd *pd)
{
	return live() ? EBUSY : ibv_dealloc_pd(pd);
}

static void fake_unimport(struct ibv_pd *pd)
{
	ibv_dealloc_pd(pd);
}

static int fake_close(struct ibv_context *context)
{
	mrs_at_close = live();
	return ibv_close_device(context);
}

const struct verbs_calls *real_verbs(void)
{
	static const struct verbs_calls calls = {
		.reg_mr = ibv_reg_mr_iova2,
		.rereg_mr = fake_rereg,
		.dereg_mr = ibv_dereg_mr,
		.dealloc_pd = fake_dealloc,
		.unimport_pd = fake_unimport,
		.close_device = fake_close,
	};

	return &calls;
}

/* ----------------------------------------------------------------- one process each */

/* The environment is read once in a process, so each test has a child. */
static int bad;

#define OK(cond)                                                                 \
	do {                                                                     \
		if (!(cond)) {                                                   \
			fprintf(stderr, "\n    %s:%d: not true: %s\n", __FILE__, \
				__LINE__, #cond);                                \
			bad++;                                                   \
		}                                                                \
	} while (0)

static struct ibv_context *ctx;
static struct ibv_pd *pd;

static void set_up(void)
{
	fake_verbs_reset();
	ctx = ibv_open_device(&fake_add("fake0")->dev);
	pd = ibv_alloc_pd(ctx);
}

static int in_body(void *arg)
{
	void (*body)(void) = *(void (**)(void))arg;

	bad = 0;
	alarm(60);
	set_up();
	body();
	return bad > 100 ? 100 : bad;
}

/* @env: "NAME=VALUE", ended by NULL */
static void run(void (*body)(void), const char *const env[])
{
	for (int i = 0; env[i]; i++)
		putenv((char *)env[i]);
	CU_ASSERT_EQUAL(in_child(in_body, &body), 0);
	unsetenv("PINMEM_VERBS_CACHE");
	unsetenv("PINMEM_VERBS_POLICY");
	unsetenv("PINMEM_VERBS_LOG");
	unsetenv("PINMEM_VERBS_CACHE_BYTES");
	unsetenv("PINMEM_VERBS_CACHE_REGIONS");
}

#define RUN(body, ...) run(body, (const char *const[]){ __VA_ARGS__, NULL })
#define CACHE "PINMEM_VERBS_CACHE=on"

static int probe(void *arg)
{
	struct settings s = { .cache = true, .regions = 1, .bytes = PAGE };

	(void)arg;
	return !keep_new(&s) || !s.cache;
}

/* Asked in a child: the parent keeps to one thread, or ThreadSanitizer's children may
 * have none. */
static bool cache_works(void)
{
	static int works = -1;

	if (works < 0)
		works = !in_child(probe, NULL);
	if (!works)
		suite_skip("no monitor works here");
	return works;
}

/* A mapping of its own: what becomes of neighbours is no change of it. */
static void *anon(size_t len)
{
	char *p = mmap(NULL, len + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	OK(p != MAP_FAILED && !mprotect(p + PAGE, len, PROT_READ | PROT_WRITE));
	return p + PAGE;
}

static struct ibv_mr *reg(void *addr, size_t len, unsigned int access)
{
	return preload_reg("ibv_reg_mr", pd, addr, len, (uintptr_t)addr, access);
}

/* The reaper's work takes a moment. */
static bool mrs_become(int n)
{
	for (int i = 0; i < 5000 && live() != n; i++)
		usleep(1000);
	return live() == n;
}

/* ------------------------------------------------------------------ without a cache */

static void plain_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr, *other;

	errno = 77;
	mr = reg(p + 100, 5000, RIGHTS);
	OK(mr && errno == 77);
	OK(live() == 1 && fake.reg.addr == p + 100 && fake.reg.len == 5000);
	OK(fake.reg.access == RIGHTS && fake.reg.iova == (uintptr_t)p + 100);
	OK(mr->pd == pd && mr->addr == p + 100 && mr->length == 5000);
	other = reg(p + 100, 5000, RIGHTS);
	OK(other && other != mr);
	OK(!preload_dereg(mr) && live() == 1);
	OK(!preload_dereg(other) && live() == 0 && errno == 77);
	OK(!preload_dealloc_pd(pd) && !preload_close_device(ctx));
}

static void a_registration_is_exactly_what_was_asked_for(void)
{
	RUN(plain_body, NULL);
}

static struct ibv_mr *passed(void *addr, size_t len, uint64_t iova, unsigned int access)
{
	struct ibv_mr *mr =
		preload_reg("ibv_reg_mr_iova2", pd, addr, len, iova, access);

	OK(mr && fake.reg.addr == addr && fake.reg.len == len);
	OK(fake.reg.iova == iova && fake.reg.access == access);
	OK(live() == 1);
	OK(!preload_dereg(mr) && !live()); /* nor kept */
	return mr;
}

static void passed_on_body(void)
{
	unsigned char *p = anon(LEN);
	uint64_t at = (uintptr_t)p;

	passed(p, 0, at, RIGHTS);
	passed(NULL, PAGE, 0, RIGHTS);
	passed(NULL, SIZE_MAX, 0, RIGHTS | IBV_ACCESS_ON_DEMAND);
	passed(p, LEN, 0x1000, RIGHTS);
	passed(p, LEN, at, RIGHTS | IBV_ACCESS_ON_DEMAND);
	passed(p, LEN, at, RIGHTS | IBV_ACCESS_MW_BIND);
	passed(p, LEN, at, RIGHTS | 1u << 31);
	passed(p, SIZE_MAX - PAGE, at, RIGHTS); /* wraps: libibverbs' to say */
	munmap(p, LEN);
	passed(p, LEN, at, RIGHTS | IBV_ACCESS_ON_DEMAND);
}

static void what_has_no_verdict_is_passed_on(void)
{
	RUN(passed_on_body, NULL);
	if (cache_works())
		RUN(passed_on_body, CACHE);
}

static void own_errno_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr;

	fake_fail("reg_mr", 1, ENOSPC);
	fake.fail_nth = 1;
	mr = reg(p, LEN, RIGHTS);
	OK(mr); /* the second try, libibverbs' own answer, is a registration */
	OK(!preload_dereg(mr) && !live());
	mr = reg(p, LEN, IBV_ACCESS_REMOTE_ATOMIC); /* EINVAL by libpinmem */
	OK(mr && fake.reg.access == IBV_ACCESS_REMOTE_ATOMIC);
	OK(!preload_dereg(mr));
	munmap(p + PAGE, PAGE);
	fake.reg.addr = NULL;
	errno = 0;
	OK(!reg(p, LEN, RIGHTS) && errno == EFAULT);
	OK(!fake.reg.addr); /* it was not tried */
}

static void only_a_verdict_refuses(void)
{
	RUN(own_errno_body, NULL);
}

static void failing_dereg_body(void)
{
	struct ibv_mr *mr = reg(anon(LEN), LEN, RIGHTS);

	fake_fail("dereg_mr", 1, EBUSY);
	OK(preload_dereg(mr) == EBUSY && live() == 1);
	OK(!preload_dereg(mr) && !live());
}

static void a_failed_dereg_can_be_tried_again(void)
{
	RUN(failing_dereg_body, NULL);
}

/* ------------------------------------------------------------------------------ ODP */

/* Page cache, shared and writable; NULL: there is none here */
static void *file_map(void)
{
	struct statfs fs;
	FILE *f = fopen("test_preload.tmp", "w+");
	void *p = MAP_FAILED;

	remove("test_preload.tmp");
	if (f && !fstatfs(fileno(f), &fs) && fs.f_type != 0x01021994 /* tmpfs */ &&
	    !ftruncate(fileno(f), LEN))
		p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
	if (f)
		fclose(f);
	return p == MAP_FAILED ? NULL : p;
}

static void odp_body(void)
{
	void *p = file_map();
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	OK(mr && fake.reg.access == (RIGHTS | IBV_ACCESS_ON_DEMAND));
	OK(!preload_dereg(mr));
}

static void refuse_body(void)
{
	errno = 0;
	OK(!reg(file_map(), LEN, RIGHTS) && errno == EFAULT && !fake.reg.addr);
}

static void the_policy_is_odp_or_refuse(void)
{
	if (!file_map()) {
		suite_skip("no file system with a page cache here");
		return;
	}
	RUN(odp_body, NULL);
	RUN(odp_body, "PINMEM_VERBS_POLICY=odp");
	RUN(refuse_body, "PINMEM_VERBS_POLICY=refuse");
}

/* ---------------------------------------------------------------------- what is kept
 */

static void kept_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *first = reg(p + 8, 100, RIGHTS), *mr;

	OK(!preload_dereg(first) && live() == 1);
	mr = reg(p + 8, 100, RIGHTS);
	OK(mr == first && live() == 1);
	OK(reg(p + 8, 100, RIGHTS) != first && live() == 2); /* it is out */
	OK(!preload_dereg(first));
	OK(reg(p + 8, 101, RIGHTS) != first);
	OK(reg(p + 9, 100, RIGHTS) != first);
	OK(reg(p + 8, 100, IBV_ACCESS_REMOTE_READ) != first);
	OK(reg(p + 8, 100, RIGHTS | IBV_ACCESS_RELAXED_ORDERING) != first);
	pd = ibv_alloc_pd(ctx);
	mr = reg(p + 8, 100, RIGHTS);
	OK(mr != first && mr->pd == pd);
	OK(live() == 7);
}

static void exactly_the_same_range_is_kept(void)
{
	if (cache_works())
		RUN(kept_body, CACHE);
}

/* Buffers as malloc(3) gives them share their pages: none may push another out. */
static void neighbours_body(void)
{
	unsigned char *p = anon(64 * PAGE);
	struct ibv_mr *mr[40];

	for (int i = 0; i < 40; i++) {
		mr[i] = reg(p + i * 5008, 5000, RIGHTS);
		preload_dereg(mr[i]);
	}
	OK(live() == 40);
	for (int i = 0; i < 40; i++) {
		OK(reg(p + i * 5008, 5000, RIGHTS) == mr[i]);
		preload_dereg(mr[i]);
	}
	OK(live() == 40);
}

static void neighbours_keep_each_other(void)
{
	if (cache_works())
		RUN(neighbours_body, CACHE);
}

/* Right after a change it may be registered and not kept: see monitor_watch(). */
static bool becomes_kept(void *p)
{
	for (int i = 0; i < 1000 && !live(); i++) {
		preload_dereg(reg(p, LEN, RIGHTS));
		usleep(live() ? 0 : 1000);
	}
	return live() == 1;
}

static void changed_body(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	unsigned char *p = anon(LEN), *out = anon(LEN);
	struct ibv_mr *mr;

	for (int i = 0; i < 5; i++) {
		OK(becomes_kept(p));
		if (i == 0)
			OK(mmap(p, LEN, PROT_READ | PROT_WRITE, flags, -1, 0) == p);
		if (i == 1)
			OK(!madvise(p + PAGE, PAGE, MADV_DONTNEED));
		if (i == 2)
			OK(mremap(anon(LEN), LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED,
				  p) == p);
		if (i == 3)
			OK(!munmap(p + LEN - PAGE, PAGE));
		if (i == 4)
			OK(!munmap(p, LEN));
		OK(mrs_become(0)); /* by the reaper: nobody asks for the range again */
		if (i >= 3)
			p = anon(LEN);
	}
	/* what the program has stays, until it gives it back */
	mr = reg(out, LEN, RIGHTS);
	munmap(out, LEN);
	OK(live() == 1 && !preload_dereg(mr) && mrs_become(0));
}

static void a_changed_mapping_is_released(void)
{
	if (cache_works())
		RUN(changed_body, CACHE);
}

static void protection_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	OK(!preload_dereg(mr));
	OK(!mprotect(p + PAGE, PAGE, PROT_READ));
	errno = 0;
	OK(!reg(p, LEN, RIGHTS) && errno == EFAULT);
	OK(!mprotect(p + PAGE, PAGE, PROT_NONE));
	OK(!reg(p, LEN, RIGHTS) && errno == EFAULT);
	OK(!mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE));
	OK(reg(p, LEN, RIGHTS));
}

static void a_hit_minds_mprotect(void)
{
	if (cache_works())
		RUN(protection_body, CACHE);
}

static void rereg_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	OK(preload_rereg(mr, 0, NULL, NULL, 0, 0) == IBV_REREG_MR_ERR_CMD);
	OK(reregs == 1 && !preload_dereg(mr) && !live());
}

static void what_was_reregistered_is_not_kept(void)
{
	RUN(rereg_body, NULL);
	if (cache_works())
		RUN(rereg_body, CACHE);
}

static void file_body(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	void *p;

	OK(!ftruncate(fd, LEN));
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OK(!preload_dereg(reg(p, LEN, RIGHTS)) && !live());
}

static void files_that_may_shrink_are_not_kept(void)
{
	if (cache_works())
		RUN(file_body, CACHE);
}

static void fork_init_body(void)
{
	fake.fork_status = IBV_FORK_ENABLED;
	OK(!preload_dereg(reg(anon(LEN), LEN, RIGHTS)) && !live());
}

static void pages_hidden_from_children_are_not_kept(void)
{
	if (cache_works())
		RUN(fork_init_body, CACHE);
}

/* ---------------------------------------------------------------------------- limits
 */

static void few_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr[6];

	for (int i = 0; i < 6; i++)
		preload_dereg(reg(p + (unsigned int)i * PAGE, PAGE, RIGHTS));
	OK(live() == 3);
	for (int i = 0; i < 6; i++)
		mr[i] = reg(p + (unsigned int)i * PAGE, PAGE, RIGHTS);
	OK(live() == 6); /* what the program has is its own */
	for (int i = 0; i < 6; i++)
		preload_dereg(mr[i]);
	OK(live() == 3);
}

static void bytes_body(void)
{
	unsigned char *p = anon(LEN);

	preload_dereg(reg(p, 3 * PAGE, RIGHTS));
	OK(live() == 0); /* larger than all */
	for (unsigned int i = 0; i < 6; i++)
		preload_dereg(reg(p + i * PAGE, PAGE, RIGHTS));
	OK(live() == 2);
	preload_dereg(reg(p, 3 * PAGE, RIGHTS));
	OK(live() == 2); /* nor do others make room for what cannot be kept */
}

static void limits_are_kept(void)
{
	if (!cache_works())
		return;
	RUN(few_body, CACHE, "PINMEM_VERBS_CACHE_REGIONS=3");
	RUN(bytes_body, CACHE, "PINMEM_VERBS_CACHE_BYTES=8K");
}

static void relieved_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr;

	preload_dereg(reg(p, PAGE, RIGHTS));
	preload_dereg(reg(p + PAGE, PAGE, RIGHTS));
	fake_fail("reg_mr", 1, ENOMEM);
	mr = reg(p + 2 * PAGE, PAGE, RIGHTS);
	OK(mr && live() == 1); /* the idle ones made room for it */
	preload_dereg(mr);
	fake_fail("reg_mr", 1, ENOMEM);
	passed(p, LEN, 0x1000, RIGHTS); /* likewise */
}

static void kept_ones_go_where_memory_is_short(void)
{
	if (cache_works())
		RUN(relieved_body, CACHE);
}

/* ------------------------------------------------------------------------------ ends
 */

static void ends_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	preload_dereg(reg(p + PAGE, PAGE, RIGHTS));
	OK(preload_dealloc_pd(pd) == EBUSY && live() == 1);
	OK(!preload_dereg(mr));
	mr = reg(p, LEN, RIGHTS); /* the domain goes on */
	OK(mr && !preload_dereg(mr));
	OK(!preload_dealloc_pd(pd) && !live() && !fake.pds);
	pd = ibv_alloc_pd(ctx);
	mr = reg(p, LEN, RIGHTS);
	OK(mr && mr->pd == pd && !preload_dereg(mr));
	preload_unimport_pd(pd);
	OK(!live() && !fake.pds);
}

static void a_domain_ends_as_ever(void)
{
	RUN(ends_body, NULL);
	if (cache_works())
		RUN(ends_body, CACHE);
}

static void close_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	preload_dereg(reg(p, PAGE, RIGHTS));
	OK(!preload_close_device(ctx));
	OK(mrs_at_close == 1); /* the program's; not what was kept */
	munmap(p, LEN);
	usleep(50000); /* nobody releases it in a device that is not there */
	OK(live() == 1);
	free(mr);
}

static void a_device_may_be_closed_with_registrations(void)
{
	RUN(close_body, NULL);
	if (cache_works())
		RUN(close_body, CACHE);
}

static int child_exits(void *arg)
{
	(void)arg;
	return 0;
}

/* The child takes it from both, as it may. */
static int thief_body(void *mr)
{
	OK(!preload_dereg(mr) && live() == 0);
	return bad;
}

static void thief(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	OK(!in_child(thief_body, mr));
	OK(!preload_dereg(mr) && !live()); /* so it is not kept */
	mr = reg(p, LEN, RIGHTS);
	OK(!preload_dereg(mr) && live() == 1);
	OK(!in_child(child_exits, NULL));
	OK(reg(p, LEN, RIGHTS) == mr); /* nobody's at the fork */
}

static void what_a_child_has_too_is_not_kept(void)
{
	if (cache_works())
		RUN(thief, CACHE);
}

static int forked_body(void *mr)
{
	struct ibv_mr *own;

	OK(!preload_dereg(mr) && live() == 1); /* passed on */
	own = reg(anon(LEN), LEN, RIGHTS);
	OK(own && live() == 2 && !preload_dereg(own));
	OK(live() == 1 + (getenv("PINMEM_VERBS_CACHE") != NULL));
	return bad;
}

static void fork_body(void)
{
	unsigned char *p = anon(LEN);
	struct ibv_mr *mr = reg(p, LEN, RIGHTS);

	preload_dereg(reg(p, PAGE, RIGHTS));
	if (!getenv("PINMEM_VERBS_CACHE"))
		fake.mrs++; /* so that the child counts the same */
	OK(!in_child(forked_body, mr));
	OK(live() == 2 && !preload_dereg(mr));
}

static void a_child_begins_anew(void)
{
	RUN(fork_body, NULL);
#ifndef __SANITIZE_THREAD__ /* it lets no child of threads have threads */
	if (cache_works())
		RUN(fork_body, CACHE);
#endif
}

/* --------------------------------------------------------------------------- threads
 */

#define THREADS 4

static void *worker(void *arg)
{
	unsigned char *p = arg;
	long failed = 0;

	for (unsigned int i = 0; i < SHARE(1000); i++) {
		unsigned char *at = p + (i % 7) * 700;
		struct ibv_mr *mr = reg(at, 6000, RIGHTS);

		failed += !mr || mr->addr != at || mr->length != 6000;
		if (i % 50 == 25)
			failed += madvise(p, PAGE, MADV_DONTNEED) != 0;
		failed += preload_dereg(mr) != 0;
	}
	return (void *)failed;
}

static void threads_body(void)
{
	pthread_t threads[THREADS];
	unsigned char *p = anon(LEN);
	void *failed;

	for (int i = 0; i < THREADS; i++)
		OK(!pthread_create(&threads[i], NULL, worker, p));
	for (int i = 0; i < THREADS; i++) {
		OK(!pthread_join(threads[i], &failed));
		OK(!failed);
	}
	OK(!preload_dealloc_pd(pd) && !live());
}

static void many_threads(void)
{
	RUN(threads_body, NULL);
	if (cache_works())
		RUN(threads_body, CACHE);
}

/* ----------------------------------------------------------------- words and failures
 */

/* What a body writes to stderr */
static char said[4096];

static void hear(void (*body)(void))
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	OK(!pipe2(fds, O_CLOEXEC | O_NONBLOCK));
	dup2(fds[1], STDERR_FILENO);
	body();
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

static void one_of_each(void)
{
	unsigned char *p = anon(LEN);

	preload_dereg(reg(p, PAGE, RIGHTS));
	preload_dereg(reg(p, PAGE, RIGHTS));
	preload_dereg(reg(p, 0, RIGHTS));
	munmap(p, LEN);
	/* not p: another thread may have mapped something there */
	reg((void *)PAGE, PAGE, RIGHTS);
}

static int lines(void)
{
	int n = 0;

	for (const char *c = said; *c; c++)
		n += *c == '\n';
	return n;
}

static void silent_body(void)
{
	hear(one_of_each);
	OK(!*said);
}

static void refused_body(void)
{
	hear(one_of_each);
	OK(lines() == 1 && strstr(said, ": refused: ") &&
	   strstr(said, "is not mapped"));
}

static void all_body(void)
{
	/* see becomes_kept() */
	for (int i = 0; i < 1000 && !strstr(said, ": kept: "); i++)
		hear(one_of_each);
	OK(lines() == 4 && strstr(said, ": pinned: ") && strstr(said, ": kept: ") &&
	   strstr(said, ": passed on: ") && strstr(said, ": refused: "));
	if (bad)
		fputs(said, stderr);
}

static void the_log_has_a_line_for_each(void)
{
	RUN(silent_body, NULL);
	RUN(refused_body, "PINMEM_VERBS_LOG=refused");
	if (cache_works())
		RUN(all_body, CACHE, "PINMEM_VERBS_LOG=all");
}

static void bad_values_body(void)
{
	hear(one_of_each);
	OK(lines() == 5);
	OK(strstr(said, "PINMEM_VERBS_POLICY=stage is none of odp, refuse: "
			"taken as odp"));
	OK(strstr(said, "PINMEM_VERBS_CACHE=yes") && strstr(said, "taken as off"));
	OK(strstr(said, "PINMEM_VERBS_LOG=2 is none of off, refused, all"));
	OK(strstr(said, "PINMEM_VERBS_CACHE_BYTES=-1") && !live());
	OK(strstr(said, "PINMEM_VERBS_CACHE_REGIONS=0") && strstr(said, "65536"));
}

static void bad_values_are_told_and_not_taken(void)
{
	RUN(bad_values_body, "PINMEM_VERBS_POLICY=stage", "PINMEM_VERBS_CACHE=yes",
	    "PINMEM_VERBS_LOG=2", "PINMEM_VERBS_CACHE_BYTES=-1",
	    "PINMEM_VERBS_CACHE_REGIONS=0");
}

static void walk_body(void)
{
	unsigned char *p = anon(LEN);
	int succeeded = 0;

	FAULT_WALK (n) {
		struct ibv_mr *mr = reg(p, LEN, RIGHTS);

		/* the call that failed was perhaps libpinmem's own: then libibverbs has
		 * registered it */
		OK(mr || fault_fired());
		fault_disarm();
		succeeded += mr != NULL;
		if (mr)
			OK(!preload_dereg(mr));
		pd = preload_dealloc_pd(pd) ? NULL : ibv_alloc_pd(ctx);
		OK(pd && !live());
	}
	OK(succeeded);
}

static void every_failing_call_is_undone(void)
{
	RUN(walk_body, NULL);
	if (cache_works())
		RUN(walk_body, CACHE);
}

static const struct test tests[] = {
	{ "a_registration_is_exactly_what_was_asked_for",
	  a_registration_is_exactly_what_was_asked_for },
	{ "what_has_no_verdict_is_passed_on", what_has_no_verdict_is_passed_on },
	{ "only_a_verdict_refuses", only_a_verdict_refuses },
	{ "a_failed_dereg_can_be_tried_again", a_failed_dereg_can_be_tried_again },
	{ "the_policy_is_odp_or_refuse", the_policy_is_odp_or_refuse },
	{ "exactly_the_same_range_is_kept", exactly_the_same_range_is_kept },
	{ "neighbours_keep_each_other", neighbours_keep_each_other },
	{ "a_changed_mapping_is_released", a_changed_mapping_is_released },
	{ "a_hit_minds_mprotect", a_hit_minds_mprotect },
	{ "what_was_reregistered_is_not_kept", what_was_reregistered_is_not_kept },
	{ "files_that_may_shrink_are_not_kept", files_that_may_shrink_are_not_kept },
	{ "pages_hidden_from_children_are_not_kept",
	  pages_hidden_from_children_are_not_kept },
	{ "limits_are_kept", limits_are_kept },
	{ "kept_ones_go_where_memory_is_short", kept_ones_go_where_memory_is_short },
	{ "a_domain_ends_as_ever", a_domain_ends_as_ever },
	{ "a_device_may_be_closed_with_registrations",
	  a_device_may_be_closed_with_registrations },
	{ "a_child_begins_anew", a_child_begins_anew },
	{ "what_a_child_has_too_is_not_kept", what_a_child_has_too_is_not_kept },
	{ "many_threads", many_threads },
	{ "the_log_has_a_line_for_each", the_log_has_a_line_for_each },
	{ "bad_values_are_told_and_not_taken", bad_values_are_told_and_not_taken },
	{ "every_failing_call_is_undone", every_failing_call_is_undone },
};
SUITE("preload", tests)
