/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_lane.c - one run of a strategy: memory of the wanted kind, filled; begin, the
 * I/Os and end timed; then every byte compared. See bench_lane.h.
 */
#include "bench_lane.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

/** struct lanes - the process. @ready, @failed: atomic: of the threads of this run */
struct lanes {
	struct lane lane[LANES];
	enum device_kind kind;
	bool ucx;
	int cpus[LANES];
	unsigned int ready;
	bool failed;
};

/** struct run - what one thread does of it. */
struct run {
	struct lanes *all;
	struct lane *lane;
	const struct run_request *req;
	double v[ANSWER_VALUES];
	int rc;
	char why[sizeof(bench_why)];
};

int lane_refused(int rc)
{
	return bench_trouble(rc, "pinmem", pinmem_errmsg());
}

int lane_io(struct lane *l)
{
	const struct transfer t = { &l->piece, NULL, l->point.size, l->point.write };

	return device_move(l->device, &t);
}

/* ------------------------------------------------------------------- memory */

/* A huge page is a whole one: less of it would be base pages. */
static size_t memory_length(const struct point *p)
{
	size_t huge = p->pages == MEM_THP ? sys_huge_page() : 0;

	return huge ? (p->size + huge - 1) / huge * huge : p->size;
}

/* What was asked for is not always what the kernel gives. */
static int right_pages(struct lane *l)
{
	static const struct {
		enum memory_kind kind;
		enum pinmem_backing backing;
	} wanted[] = { { MEM_ANON, PINMEM_ANON },
		       { MEM_THP, PINMEM_THP },
		       { MEM_HUGETLB, PINMEM_HUGETLB },
		       { MEM_FILE, PINMEM_FSDAX } };
	struct pinmem_verdict v = { .size = sizeof(v) };

	if (pinmem_check(l->pm, l->memory.addr, l->point.size,
			 PINMEM_ACCESS_LOCAL_WRITE, NULL, &v))
		return lane_refused(-EIO);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (wanted[i].kind == l->point.pages && wanted[i].backing == v.backing)
			return 0;
	return bench_trouble(-EDQUOT, memory_label(l->point.pages),
			     text("the kernel gave %s memory instead",
				  pinmem_backing_name(v.backing)));
}

/* Its own for each run, so that where its pages lie is chance, and none of it is
 * something that an earlier run has left. */
static int make_memory(struct lane *l, const struct run_request *req)
{
	size_t len = memory_length(&req->point);

	l->memory = (struct memory){ .addr = MAP_FAILED, .fd = -1 };
	if (req->point.pages == MEM_FILE && !req->dax[0])
		return bench_trouble(-EDQUOT, "fsdax",
				     "no file system with dax is mounted here where "
				     "this user may write");
	if (sys_meminfo("MemAvailable") < 3 * LANES * len)
		return bench_trouble(-EDQUOT, size_text(len),
				     "there is not that much memory available");
	if (memory_make(req->point.pages, len, req->dax, &l->memory))
		return bench_trouble(-EDQUOT, memory_name(req->point.pages),
				     l->memory.why);
	if (req->point.write)
		pattern_fill(l->memory.addr, req->point.size, req->seed);
	else
		memset(l->memory.addr, 0x5a, req->point.size);
	return right_pages(l);
}

static int verify(struct lane *l, const struct run_request *req)
{
	uint64_t size = req->point.size;
	size_t wrong;

	if (req->point.write)
		return device_check(l->device, size, req->seed);
	wrong = pattern_check(l->memory.addr, size, DEVICE_IN_SEED);
	if (wrong == size)
		return 0;
	return bench_trouble(-EBADMSG, "the memory",
			     text("byte %zu of what was read is wrong", wrong));
}

/* -------------------------------------------------------------------- a run */

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* All threads are here, prepared. Return: false: not all could be. */
static bool start_together(struct lanes *all, unsigned int threads, int rc)
{
	if (rc)
		__atomic_store_n(&all->failed, true, __ATOMIC_RELEASE);
	__atomic_add_fetch(&all->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&all->ready, __ATOMIC_ACQUIRE) < threads)
		sched_yield();
	return !__atomic_load_n(&all->failed, __ATOMIC_ACQUIRE);
}

static int one_cycle(struct lane *l, const struct strategy *s, double v[RUN_VALUES])
{
	double cpu = cpu_ns();
	uint64_t begin = sys_now_ns(), first, last, end;
	int (*io)(struct lane * l) = s->io ? s->io : lane_io;
	int rc = s->begin ? s->begin(l) : 0;

	first = sys_now_ns();
	for (unsigned int i = 0; i < l->point.reuse && !rc; i++)
		rc = io(l);
	last = sys_now_ns();
	if (!rc && s->end)
		rc = s->end(l);
	end = sys_now_ns();
	v[RUN_BEGIN] = (double)(first - begin);
	v[RUN_END] = (double)(end - last);
	v[RUN_ALL] = (double)(end - begin);
	v[RUN_CPU] = cpu_ns() - cpu;
	return rc;
}

/* Of the cycles the medians: who is interrupted in one of them is not slower. */
static int cycles(struct run *r, const struct strategy *s)
{
	double v[RUN_VALUES][CYCLES_MAX], one[RUN_VALUES] = { 0 };
	unsigned int n = r->req->cycles;
	int rc = 0;

	for (unsigned int i = 0; i < n && !rc; i++) {
		rc = stop_requested() ? bench_trouble(-ECANCELED, "interrupted", "")
				      : one_cycle(r->lane, s, one);
		for (int k = 0; k < RUN_VALUES; k++)
			v[k][i] = one[k];
	}
	for (int k = 0; k < RUN_VALUES && !rc; k++)
		r->v[k] = bench_median_of(v[k], n);
	return rc;
}

static int run_one(struct run *r)
{
	const struct strategy *s = &strategies[r->req->strategy];
	struct lane *l = r->lane;
	int rc;

	l->point = r->req->point;
	rc = make_memory(l, r->req);
	if (!rc && s->prepare)
		rc = s->prepare(l);
	if (start_together(r->all, r->req->point.threads, rc))
		rc = cycles(r, s);
	else if (!rc)
		rc = bench_trouble(-EAGAIN, "the other thread", "it cannot begin");
	if (s->finish)
		s->finish(l);
	if (!rc)
		rc = verify(l, r->req);
	memory_drop(&l->memory);
	return rc;
}

static void *run_thread(void *arg)
{
	struct run *r = arg;

	bench_pin_to(r->all->cpus[r->lane->number]);
	r->rc = run_one(r);
	snprintf(r->why, sizeof(r->why), "%s", bench_why);
	return NULL;
}

/* ------------------------------------------------------------------- lanes */

static int open_pinner(struct lane *l)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = l->kind == DEVICE_FILE
							  ? PINMEM_BACKEND_URING
							  : PINMEM_BACKEND_VERBS };
	int rc = pinmem_open(&opts, &l->pm);

	return rc ? bench_trouble(-EOPNOTSUPP, "pinmem", pinmem_errmsg()) : 0;
}

static int open_raw(struct lane *l)
{
	int rc;

	if (l->kind != DEVICE_FILE)
		return 0;
	rc = io_uring_queue_init(64, &l->raw, 0);
	if (rc)
		return bench_trouble(rc, "the ring of the raw interface",
				     strerror(-rc));
	rc = io_uring_register_buffers_sparse(&l->raw, 1);
	return rc ? bench_trouble(rc, "its buffer table", strerror(-rc)) : 0;
}

static int open_lane(struct lane *l, const struct run_request *req)
{
	int rc = open_pinner(l);

	if (!rc)
		rc = open_raw(l);
	return rc ? rc
		  : device_open(l->kind, l->pm, req->dir, req->point.size, &l->device);
}

static int open_lanes(struct lanes *all, const struct run_request *req,
		      struct bench_answer *a)
{
	bench_cpus(all->cpus, LANES);
	for (unsigned int i = 0; i < LANES; i++) {
		struct lane *l = &all->lane[i];
		int rc;

		l->number = i;
		l->kind = all->kind;
		l->peer = all->ucx ? &ucx_cache_peer : &pinmem_cache_peer;
		rc = open_lane(l, req);
		if (rc)
			return rc;
	}
	snprintf(a->text, sizeof(a->text), "%s", device_what(all->lane[0].device));
	return 0;
}

/* What each thread pays. */
static void add_up(const struct run *runs, unsigned int n, struct bench_answer *a)
{
	for (unsigned int i = 0; i < n; i++)
		for (int v = 0; v < RUN_VALUES; v++)
			a->v[v] += runs[i].v[v] / n;
}

/* Who waited in vain for the other one (EAGAIN) has nothing to tell. */
static int first_failure(const struct run *runs, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (runs[i].rc && runs[i].rc != -EAGAIN) {
			snprintf(bench_why, sizeof(bench_why), "%s", runs[i].why);
			return runs[i].rc;
		}
	return 0;
}

static int run_all(struct lanes *all, const struct run_request *req,
		   struct bench_answer *a)
{
	unsigned int n = req->point.threads, started = 0;
	struct run runs[LANES];
	pthread_t threads[LANES];
	int rc = 0;

	if (n > LANES || (n > 1 && all->cpus[n - 1] < 0))
		return bench_trouble(-EDQUOT, text("%u threads", n),
				     "this process may run on one CPU only");
	all->ready = 0;
	all->failed = false;
	while (started < n && !rc) {
		runs[started] = (struct run){ .all = all,
					      .lane = &all->lane[started],
					      .req = req };
		rc = pthread_create(&threads[started], NULL, run_thread,
				    &runs[started]);
		started += !rc;
	}
	if (rc)
		start_together(all, n, rc);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (rc)
		return bench_trouble(-rc, "a thread", strerror(rc));
	rc = first_failure(runs, n);
	if (!rc)
		add_up(runs, n, a);
	return rc;
}

static int serve(void *ctx, const void *request, struct bench_answer *a)
{
	const struct run_request *req = request;

	return req->op == RUN_OPEN ? open_lanes(ctx, req, a) : run_all(ctx, req, a);
}

int lanes_start(struct bench_worker *w, const char *name, enum device_kind kind,
		bool ucx)
{
	struct lanes all = { .kind = kind, .ucx = ucx };

	return worker_start(w, name, serve, &all, sizeof(struct run_request));
}
