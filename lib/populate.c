/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * populate.c - fault memory in, with several threads, before a pin does it with one.
 *
 * A pin of untouched memory spends its time zeroing pages, on one CPU. The range
 * is cut into chunks that the caller's thread and a few short-lived helpers take
 * in turn, each with MADV_POPULATE_WRITE or _READ (Linux 5.14): no byte changes,
 * no signal is raised, whatever lies there.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK (16ul << 20) /* bytes: about 2 ms of zeroing */
#define SMALL (4ul << 20)  /* below, the pin faults as fast itself */
#define HELPERS_MAX 15

struct job {
	uintptr_t start, end;
	int advice;
	bool stay; /* helpers stay on the CPUs below */
	cpu_set_t cpus;
	uintptr_t next; /* atomic: start of the next chunk */
	uint64_t done;	/* atomic: bytes */
	int error;	/* atomic: the first errno, positive */
};

/* MS_ASYNC has done nothing since 2.6.19 but look whether all is mapped. */
bool range_mapped(uintptr_t start, uintptr_t end)
{
	return !msync((void *)start, end - start, MS_ASYNC) || errno != ENOMEM;
}

static int explain(const struct job *job, int err)
{
	const char *what = job->advice == MADV_POPULATE_WRITE ? "write" : "read";

	if (err == ECANCELED)
		return fail(err, "populating was cancelled by the progress callback");
	if (err == ENOMEM && range_mapped(job->start, job->end))
		return fail(err,
			    "no memory (or cgroup limit) while populating %zu bytes",
			    (size_t)(job->end - job->start));
	return fail(EFAULT, "cannot populate 0x%" PRIxPTR "..0x%" PRIxPTR " for %s: %s",
		    job->start, job->end, what,
		    err == ENOMEM   ? "part of it is not mapped"
		    : err == EINVAL ? "part of it is not mapped for that"
		    : err == EFAULT ? "past the end of its file, a guard page, or its "
				      "file system is full"
		    : err == EHWPOISON ? "a page has a hardware memory error"
				       : strerror(err));
}

static void populate_chunk(struct job *job, uintptr_t at)
{
	size_t len = job->end - at < CHUNK ? job->end - at : CHUNK;
	int none = 0;

	while (madvise((void *)at, len, job->advice))
		if (errno != EINTR && errno != EAGAIN) {
			__atomic_compare_exchange_n(&job->error, &none, errno, false,
						    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
			return;
		}
	__atomic_add_fetch(&job->done, len, __ATOMIC_RELAXED);
}

/* Take the next chunk. Return: false when nothing is left, or all is lost. */
static bool populate_next(struct job *job)
{
	uintptr_t at;

	if (__atomic_load_n(&job->error, __ATOMIC_RELAXED))
		return false;
	at = __atomic_fetch_add(&job->next, CHUNK, __ATOMIC_RELAXED);
	if (at >= job->end)
		return false;
	populate_chunk(job, at);
	return true;
}

static void *helper_main(void *arg)
{
	struct job *job = arg;

	if (job->stay)
		sched_setaffinity(0, sizeof(job->cpus), &job->cpus);
	while (populate_next(job))
		;
	return NULL;
}

/*
 * First touch decides the node. Where no policy binds the range, helpers must not
 * put pages on nodes on which the caller's own touch would not have put them.
 */
static int choose_cpus(struct job *job)
{
	struct bitmask *node_cpus;
	cpu_set_t both;
	int cpu = sched_getcpu();

	if (sched_getaffinity(0, sizeof(job->cpus), &job->cpus))
		return 1;
	if (cpu < 0 || numa_available() < 0 || numa_num_configured_nodes() < 2)
		return CPU_COUNT(&job->cpus);
	node_cpus = numa_allocate_cpumask();
	if (!numa_node_to_cpus(numa_node_of_cpu(cpu), node_cpus)) {
		CPU_ZERO(&both);
		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET(i, &job->cpus) &&
			    numa_bitmask_isbitset(node_cpus, (unsigned int)i))
				CPU_SET(i, &both);
		if (CPU_COUNT(&both)) {
			job->cpus = both;
			job->stay = true;
		}
	}
	numa_free_cpumask(node_cpus);
	return CPU_COUNT(&job->cpus);
}

static unsigned int start_helpers(struct job *job, unsigned int want,
				  pthread_t helpers[HELPERS_MAX])
{
	unsigned int n = 0;
	sigset_t all, old;

	/* the program's signals are for the program's threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n < want && !pthread_create(&helpers[n], NULL, helper_main, job))
		n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

static int tell(struct job *job, const struct populate_how *how)
{
	uint64_t done = __atomic_load_n(&job->done, __ATOMIC_RELAXED);

	if (!how || !how->progress ||
	    !how->progress("populate", done, job->end - job->start, how->arg))
		return 0;
	__atomic_store_n(&job->error, ECANCELED, __ATOMIC_RELAXED);
	return -ECANCELED;
}

static int populate(uintptr_t start, uintptr_t end, int advice,
		    const struct populate_how *how)
{
	struct job job = {
		.start = start, .end = end, .advice = advice, .next = start
	};
	size_t chunks = (end - start + CHUNK - 1) / CHUNK;
	unsigned int want = how ? how->threads : 1, n = 0;
	pthread_t helpers[HELPERS_MAX];

	if (chunks > 1 && want != 1) {
		int cpus = choose_cpus(&job);

		if (!want)
			want = (unsigned int)cpus;
		if (want > chunks)
			want = (unsigned int)chunks;
		if (want > HELPERS_MAX + 1)
			want = HELPERS_MAX + 1;
		n = start_helpers(&job, want - 1, helpers);
	}
	while (!tell(&job, how) && populate_next(&job))
		;
	while (n)
		pthread_join(helpers[--n], NULL);
	if (!job.error)
		tell(&job, how);
	return job.error ? explain(&job, job.error) : 0;
}

int populate_write(uintptr_t start, uintptr_t end, const struct populate_how *how)
{
	return populate(start, end, MADV_POPULATE_WRITE, how);
}

int populate_read(uintptr_t start, uintptr_t end, const struct populate_how *how)
{
	return populate(start, end, MADV_POPULATE_READ, how);
}

/*
 * Untouched memory is mostly untouched to its end. One page is asked, for mincore(2)
 * costs as much as pinning some pages does. A wrong "no" costs speed only: the pin
 * faults in what is missing.
 */
bool populate_needed(uintptr_t start, uintptr_t end)
{
	size_t page = page_size();
	unsigned char last;

	return end - start >= SMALL && !mincore((void *)(end - page), page, &last) &&
	       !(last & 1);
}
