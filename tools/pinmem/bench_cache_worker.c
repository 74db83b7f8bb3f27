/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_worker.c - the process that measures one cache; see bench_cache.h. Two
 * threads, each on a CPU of its own; the second one works when it is told to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench_cache_inside.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

/* ------------------------------------------------------------ the second thread */

static void *second_main(void *arg)
{
	struct worker *w = arg;

	bench_pin_to(w->cpus[1]);
	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->job)
			pthread_cond_wait(&w->cond, &w->lock);
		pthread_mutex_unlock(&w->lock);
		bench_why[0] = '\0';
		w->job(w);
		pthread_mutex_lock(&w->lock);
		memcpy(w->second_why, bench_why, sizeof(bench_why));
		w->job = NULL;
		pthread_cond_broadcast(&w->cond);
	}
	return NULL;
}

void second_start(struct worker *w, void (*job)(struct worker *w))
{
	pthread_mutex_lock(&w->lock);
	w->job = job;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

void second_wait(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->job)
		pthread_cond_wait(&w->cond, &w->lock);
	if (w->second_why[0])
		memcpy(bench_why, w->second_why, sizeof(bench_why));
	pthread_mutex_unlock(&w->lock);
}

/* All threads begin together. */
void start_line(struct worker *w, unsigned int threads)
{
	__atomic_add_fetch(&w->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&w->ready, __ATOMIC_ACQUIRE) < threads)
		;
}

bool stopped(struct worker *w)
{
	return __atomic_load_n(&w->stop, __ATOMIC_ACQUIRE);
}

void set_stop(struct worker *w, bool stop)
{
	__atomic_store_n(&w->stop, stop, __ATOMIC_RELEASE);
}

/* -------------------------------------------------------------------- memory */

int limits_allow(struct worker *w, uint64_t len)
{
	struct pinmem_memlock m = { .size = sizeof(m) };

	if (pinmem_memlock(w->pm, NULL, len, &m))
		return bench_trouble(-EIO, "pinmem", pinmem_errmsg());
	if (m.fits)
		return 0;
	snprintf(bench_why, sizeof(bench_why), "%s", m.remedy);
	return -EDQUOT;
}

/* Memory that is there, on base pages; kept for the next time. */
int have_memory(struct worker *w, struct memory *m, uint64_t len)
{
	int rc = limits_allow(w, len);

	if (rc || m->len >= len)
		return rc;
	if (sys_meminfo("MemAvailable") < 2 * len)
		return bench_trouble(-EDQUOT, size_text(len),
				     "there is not that much memory available");
	if (memory_make(MEM_ANON, len, NULL, m)) {
		bench_trouble(0, "memory", m->why);
		memory_drop(m);
		m->len = 0;
		return -EDQUOT;
	}
	memory_touch(m->addr, m->len);
	return 0;
}

/* ------------------------------------------------------------------- the process */

/* Anonymous memory of this process: the zero page and page tables are not in it. */
static uint64_t anon_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

static int do_memory(struct worker *w, const struct cache_request *req,
		     struct bench_answer *a)
{
	(void)req;
	a->v[MEMORY_ANON] = (double)anon_bytes() - (double)w->anon_before;
	a->v[MEMORY_BYTES] = w->peer->bytes ? (double)w->peer->bytes(w->cache) : 0;
	return 0;
}

/* The memory that hits read their way from; it is the process's own. */
static int make_hitters(struct worker *w)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		w->hitters[i].worker = w;
		w->hitters[i].seq = malloc(SEQUENCE_LONG * sizeof(uint32_t));
		if (!w->hitters[i].seq)
			return bench_trouble(-ENOMEM, "memory", "there is none");
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	return 0;
}

static int do_open(struct worker *w, const struct cache_request *req,
		   struct bench_answer *a)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = w->setting == SETTING_SMALL
							  ? PINMEM_BACKEND_URING
							  : PINMEM_BACKEND_MLOCK };
	const char *monitor = "";
	int rc = make_hitters(w);

	(void)req;
	if (rc)
		return rc;
	rc = pinmem_open(&opts, &w->pm);
	if (rc)
		return bench_trouble(rc, "the pinner", pinmem_errmsg());
	w->anon_before = anon_bytes();
	/* its own threads may run where they like */
	rc = w->peer->open(w->pm, w->setting == SETTING_SMALL, &w->cache, &monitor);
	if (rc)
		return rc;
	bench_cpus(w->cpus, THREADS);
	bench_pin_to(w->cpus[0]);
	snprintf(a->text, sizeof(a->text), "%s", monitor);
	rc = pthread_create(&w->second, NULL, second_main, w);
	return rc ? bench_trouble(-rc, "the second thread", strerror(rc)) : 0;
}

/* Addresses for all regions that there may be. */
static int map_regions(struct worker *w)
{
	size_t len = LARGE_REGIONS * REGION_BYTES;

	if (w->setting == SETTING_SMALL) {
		if (memory_make(MEM_ANON, SMALL_REGIONS * REGION_BYTES, NULL,
				&w->memory))
			return bench_trouble(-ENOMEM, "memory", w->memory.why);
		w->base = w->memory.addr;
		return 0;
	}
	w->base = mmap(NULL, len, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->base == MAP_FAILED) {
		w->base = NULL;
		return bench_trouble(-EDQUOT, "64 GiB of addresses", strerror(errno));
	}
	/* splitting huge zero pages is not what is measured */
	madvise(w->base, len, MADV_NOHUGEPAGE);
	return 0;
}

static int fill_one(struct worker *w, unsigned int i)
{
	char *addr = w->base + i * REGION_BYTES;
	void *held;
	int rc;

	if (w->setting == SETTING_SMALL)
		memory_touch(addr, REGION_BYTES);
	rc = w->peer->get(w->cache, addr, REGION_BYTES, &held);
	return rc ? rc : w->peer->put(w->cache, held);
}

static int do_fill(struct worker *w, const struct cache_request *req,
		   struct bench_answer *a)
{
	unsigned int from = w->filled;
	uint64_t begin;
	int rc = w->base ? 0 : map_regions(w);

	if (!rc)
		rc = limits_allow(w, (req->n - from) * REGION_BYTES);
	begin = sys_now_ns();
	while (!rc && w->filled < req->n) {
		rc = fill_one(w, w->filled);
		if (!rc)
			w->filled++;
		if (!(w->filled % 4096)) {
			worker_busy(w->filled - from, req->n - from);
			if (stop_requested())
				rc = bench_trouble(-ECANCELED, "interrupted", "");
		}
	}
	if (!rc && w->filled > from)
		a->v[FILL_NS] =
			(double)(sys_now_ns() - begin) / (double)(w->filled - from);
	return rc;
}

static int (*const operations[OP_COUNT])(struct worker *w,
					 const struct cache_request *req,
					 struct bench_answer *a) = {
	[OP_OPEN] = do_open,	 [OP_FILL] = do_fill,	[OP_HITS] = do_hits,
	[OP_TAIL] = do_tail,	 [OP_MISS] = do_miss,	[OP_UNMAP] = do_unmap,
	[OP_MEMORY] = do_memory, [OP_FLOOR] = do_floor,
};

static int serve(void *ctx, const void *request, struct bench_answer *a)
{
	const struct cache_request *req = request;

	return operations[req->op](ctx, req, a);
}

/* ------------------------------------------------------------- the other process */

int cache_ask(struct bench_worker *w, const struct cache_request *req,
	      struct bench_answer *answer)
{
	return worker_ask(w, req, sizeof(*req), answer);
}

int cache_start(struct bench_worker *cache, const struct cache_peer *peer,
		enum setting setting, char monitor[64])
{
	const struct cache_request req = { .op = OP_OPEN };
	struct worker *w = calloc(1, sizeof(*w));
	struct bench_answer answer;
	int rc;

	if (!w)
		return bench_trouble(-ENOMEM, "memory", "there is none");
	w->peer = peer;
	w->setting = setting;
	rc = worker_start(cache, peer->name, serve, w, sizeof(req));
	free(w); /* the process has a copy */
	if (rc)
		return rc;
	rc = cache_ask(cache, &req, &answer);
	if (rc)
		worker_stop(cache);
	else if (monitor)
		snprintf(monitor, 64, "%.63s", answer.text);
	return rc;
}
