/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_publish.c - one process reads the live regions of another, also of one that
 * is stopped; a child does not publish its parent's; and who may not, is told.
 */
#include "suite.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"

#define PAGE 4096ul
#define RW PINMEM_ACCESS_LOCAL_WRITE

static struct pinmem *pinner(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open_ops(&fake_ops, &o, "test", &pm), 0);
	return pm;
}

static char *anon(size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
}

struct seen {
	int n;
	uint64_t bytes;
	struct pinmem_mr_info last;
};

static int see(const struct pinmem_mr_info *i, void *arg)
{
	struct seen *s = arg;

	s->n++;
	s->bytes += i->len;
	s->last = *i;
	return 0;
}

static int stop(const struct pinmem_mr_info *i, void *arg)
{
	(void)i;
	++*(int *)arg;
	return 5;
}

static void own_regions_come_and_go(void)
{
	struct pinmem *a = pinner(), *b = pinner();
	struct pinmem_mr *mr[3] = { NULL };
	struct seen s = { 0 };
	char *p = anon(8 * PAGE);
	int calls = 0;

	p[PAGE] = 1;
	CHECK_RC(pinmem_reg(a, p, PAGE, RW, NULL, &mr[0]), 0);
	CHECK_RC(pinmem_reg(b, p + PAGE, 2 * PAGE, 0, NULL, &mr[1]), 0);
	CHECK_RC(pinmem_reg(a, p + 3 * PAGE, 4 * PAGE, RW, NULL, &mr[2]), 0);
	CHECK_RC(pinmem_peek(getpid(), see, &s), 0);
	CHECK(s.n == 3 && s.bytes == 7 * PAGE);
	CHECK_RC(pinmem_peek(getpid(), stop, &calls), 5);
	CHECK(calls == 1);
	CHECK_RC(pinmem_dereg(mr[0], PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_dereg(mr[2], PINMEM_CLEAN, NULL), 0);
	s = (struct seen){ 0 };
	CHECK_RC(pinmem_peek(getpid(), see, &s), 0);
	CHECK(s.n == 1 && s.last.addr == p + PAGE && s.last.len == 2 * PAGE);
	CHECK(s.last.mode == PINMEM_PINNED && s.last.backing == PINMEM_ANON);
	CHECK(s.last.backend == PINMEM_BACKEND_VERBS && s.last.access == 0);
	CHECK(s.last.pinner > 0 && s.last.node >= 0 && s.last.segments == 1);
	/* a freed record is taken again */
	CHECK_RC(pinmem_reg(a, p, PAGE, RW, NULL, &mr[0]), 0);
	s = (struct seen){ 0 };
	CHECK_RC(pinmem_peek(getpid(), see, &s), 0);
	CHECK(s.n == 2);
	CHECK_RC(pinmem_dereg(mr[0], PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_dereg(mr[1], PINMEM_CLEAN, NULL), 0);
	munmap(p, 8 * PAGE);
	CHECK_RC(pinmem_close(a), 0);
	CHECK_RC(pinmem_close(b), 0);
}

/* A child that registers n pages one by one, says so, and waits. */
static pid_t holder(int n, int *ready)
{
	struct pinmem_mr *mr;
	struct pinmem *pm;
	int fds[2];
	pid_t pid;
	char *p;

	fflush(NULL);
	CHECK(!pipe(fds));
	pid = fork();
	if (pid) {
		close(fds[1]);
		*ready = read(fds[0], &n, 1) == 1;
		close(fds[0]);
		return pid;
	}
	pm = pinner();
	p = anon((size_t)(n ? n : 1) * PAGE);
	for (int i = 0; i < n; i++)
		if (pinmem_reg(pm, p + (size_t)i * PAGE, PAGE, RW, NULL, &mr))
			_exit(1);
	if (write(fds[1], "x", 1) != 1)
		_exit(2);
	for (;;)
		pause();
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void another_process_is_read_even_when_stopped(void)
{
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	struct seen s = { 0 };
	char *p = anon(PAGE);
	int ready = 0;
	pid_t pid;

	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	pid = holder(1000, &ready);
	CHECK(ready);
	kill(pid, SIGSTOP);
	CHECK_RC(pinmem_peek(pid, see, &s), 0);
	CHECK(s.n == 1000 && s.bytes == 1000 * PAGE);
	end(pid);
	CHECK_RC(pinmem_peek(pid, see, &s), -ESRCH);
	s = (struct seen){ 0 };
	CHECK_RC(pinmem_peek(getpid(), see, &s), 0);
	CHECK(s.n == 1);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void a_child_does_not_publish_its_parents_regions(void)
{
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	struct seen s = { 0 };
	char *p = anon(PAGE);
	int ready = 0;
	pid_t pid;

	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	pid = holder(0, &ready);
	CHECK(ready);
	CHECK_RC(pinmem_peek(pid, see, &s), -ENOENT);
	CHECK_MSG("publishes no");
	end(pid);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static int peek_parent(void *arg)
{
	struct seen s = { 0 };
	int rc = pinmem_peek(*(pid_t *)arg, see, &s);

	return rc == -EACCES || rc == -EPERM ? 0 : 1;
}

static void a_stranger_may_not_look(void)
{
	pid_t me = getpid();

	CHECK(as_nobody(0, peek_parent, &me) == 0);
	CHECK_RC(pinmem_peek(me, NULL, NULL), -EINVAL);
}

static int small_files(void *arg)
{
	struct rlimit lim = { 1 << 20, 1 << 20 };
	struct pinmem_mr *mr = NULL;
	struct seen s = { 0 };
	struct pinmem *pm;
	char x[8];

	(void)arg;
	if (setrlimit(RLIMIT_FSIZE, &lim))
		return 1;
	pm = pinner(); /* a ftruncate() beyond the limit would kill us: SIGXFSZ */
	if (pinmem_reg(pm, x, 8, RW, NULL, &mr))
		return 2;
	if (pinmem_peek(getpid(), see, &s) != -ENOENT)
		return 3;
	if (pinmem_dereg(mr, PINMEM_CLEAN, NULL) || pinmem_close(pm))
		return 4;
	return 0;
}

static void without_a_place_to_publish_registration_goes_on(void)
{
	CHECK(in_child(small_files, NULL) == 0);
}

struct churn {
	struct pinmem *pm;
	char *p;
	bool stop;  /* atomic */
	int errors; /* atomic */
};

static void *churn(void *arg)
{
	struct churn *c = arg;
	struct pinmem_mr *mr;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		if (pinmem_reg(c->pm, c->p, PAGE, RW, NULL, &mr) ||
		    pinmem_dereg(mr, PINMEM_CLEAN, NULL))
			__atomic_add_fetch(&c->errors, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int whole(const struct pinmem_mr_info *i, void *arg)
{
	struct churn *c = arg;

	/* never half a record */
	CHECK(i->len == PAGE && i->addr >= (void *)c->p);
	CHECK(i->mode == PINMEM_PINNED && i->segments == 1);
	return 0;
}

static void records_are_read_whole_while_they_change(void)
{
	struct churn c = { .pm = pinner(), .p = anon(PAGE) };
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&t[i], NULL, churn, &c));
	for (int i = 0; i < 200; i++) {
		int rc = pinmem_peek(getpid(), whole, &c);

		CHECK(rc == 0 || rc == -ENOENT); /* before the first registration */
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK(c.errors == 0);
	munmap(c.p, PAGE);
	CHECK_RC(pinmem_close(c.pm), 0);
}

struct count {
	uint64_t holders, hits;
	int cached;
};

/* In a child, which looks at its parent: the tallies are read where they are. */
static int parent_is_seen(void *arg)
{
	const struct count *want = arg;
	struct seen s = { 0 };

	if (pinmem_peek(getppid(), see, &s) || s.n != 1)
		return 1;
	return s.last.cached != want->cached || s.last.holders != want->holders ||
	       s.last.hits != want->hits;
}

static int own_list(const struct pinmem_mr_info *i, void *arg)
{
	struct count *c = arg;

	*c = (struct count){ i->holders, i->hits, i->cached };
	return 0;
}

static void *get_twice_and_put_once(void *arg)
{
	struct pinmem_mr *mr;
	char *const *at = arg;

	CHECK_RC(pinmem_cache_get((void *)at[0], at[1], PAGE, RW, &mr), 0);
	CHECK_RC(pinmem_cache_get((void *)at[0], at[1], PAGE, RW, &mr), 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	return NULL;
}

static void holders_and_hits_of_a_cached_region_are_seen(void)
{
	struct pinmem_cache_options o = { .size = sizeof(o),
					  .monitor = PINMEM_MONITOR_CALLER };
	struct count want = { 2, 2, 1 }, got = { 0 };
	struct pinmem_cache *cache = NULL;
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE), *at[2];
	pthread_t thread;

	CHECK_RC(pinmem_cache_create(pm, &o, &cache), 0);
	CHECK_RC(pinmem_cache_get(cache, p, PAGE, RW, &mr), 0);
	at[0] = (char *)cache;
	at[1] = p;
	CHECK(!pthread_create(&thread, NULL, get_twice_and_put_once, at));
	pthread_join(thread, NULL);
	CHECK_RC(pinmem_mr_list(pm, own_list, &got), 0);
	CHECK(got.holders == 2 && got.hits == 2 && got.cached == 1);
	CHECK(in_child(parent_is_seen, &want) == 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	CHECK_RC(pinmem_cache_put(mr, PINMEM_CLEAN), 0);
	want.holders = 0;
	CHECK(in_child(parent_is_seen, &want) == 0);
	CHECK_RC(pinmem_cache_destroy(cache), 0);
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	want = (struct count){ 0, 0, 0 };
	CHECK(in_child(parent_is_seen, &want) == 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static const struct test tests[] = {
	{ "own_regions_come_and_go", own_regions_come_and_go },
	{ "another_process_is_read_even_when_stopped",
	  another_process_is_read_even_when_stopped },
	{ "a_child_does_not_publish_its_parents_regions",
	  a_child_does_not_publish_its_parents_regions },
	{ "a_stranger_may_not_look", a_stranger_may_not_look },
	{ "without_a_place_to_publish_registration_goes_on",
	  without_a_place_to_publish_registration_goes_on },
	{ "holders_and_hits_of_a_cached_region_are_seen",
	  holders_and_hits_of_a_cached_region_are_seen },
	{ "records_are_read_whole_while_they_change",
	  records_are_read_whole_while_they_change },
};
SUITE("publish", tests)
