/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * preload.c - libpinmem-verbs.so: verdicts, ODP and kept registrations for programs
 * that call libibverbs.
 *
 *	LD_PRELOAD=libpinmem-verbs.so program …
 *	cc program.c -lpinmem-verbs -libverbs         (in this order)
 *
 * ibv_reg_mr(), ibv_reg_mr_iova(), ibv_reg_mr_iova2(): what lies behind the range is
 * looked at first. What may be pinned is registered as ever; what may not is registered
 * for ODP, or refused with errno. The struct ibv_mr is the provider's own, so every
 * other verbs call takes it. ibv_dereg_mr(), ibv_rereg_mr(), ibv_dealloc_pd(),
 * ibv_unimport_pd() and ibv_close_device() follow. Passed on to libibverbs as it is:
 * ibv_reg_dmabuf_mr(), and a registration that has a length of 0, an address of NULL,
 * an iova other than the address, access flags other than LOCAL_WRITE, REMOTE_WRITE,
 * REMOTE_READ, REMOTE_ATOMIC and RELAXED_ORDERING (so: a program that asks for ODP
 * itself), or more bytes than the library registers at once (rxe: 1 GiB).
 *
 * Environment, read at the first registration (and ignored for set-user-ID programs):
 *
 *	PINMEM_VERBS_POLICY=odp|refuse
 *		What becomes of memory that may not be pinned: odp (default) registers it
 *		for on-demand paging, where the device can and the mapping is one it can
 *		serve, else refuses; refuse always does. Staging is never used.
 *	PINMEM_VERBS_CACHE=off|on
 *		on: what ibv_dereg_mr() gives back stays registered, and the next
 *		registration of exactly that range, with the same access in the same
 *		protection domain, gets it, unless the mapping has changed. Until then a
 *		peer that knows the rkey still reaches the memory. Default off. Needs
 *		userfaultfd(2) or /dev/pin_track. With userfaultfd(2) memory that has a
 *		file behind it is kept only where it is registered for ODP, is device-dax,
 *		or a memfd sealed against shrinking and writing; and these are not to meet
 *		a range that was given back: shmat(2) with SHM_REMAP, remap_file_pages(2),
 *		MADV_GUARD_INSTALL.
 *	PINMEM_VERBS_CACHE_BYTES=N[K|M|G|T]
 *		How much is kept at most, what the program has itself included. Default:
 *		a quarter of the memory, or half of RLIMIT_MEMLOCK where that binds and
 *		is less.
 *	PINMEM_VERBS_CACHE_REGIONS=N
 *		… how many (1 to 16777216; 65536).
 *	PINMEM_VERBS_LOG=off|refused|all
 *		Lines on stderr: none (default); one for each registration that is
 *		refused, with the reason; one for each registration.
 *
 * A value that is none of these: one line on stderr, and the default.
 *
 * errno of a refusal: EOPNOTSUPP for a file on a DAX file system, EFAULT for memory
 * that is not there, not accessible as asked, secret, device memory, or a file's page
 * cache to be written to (which kernels before 6.5 would pin). Else libibverbs' own.
 *
 * Not met: programs that look libibverbs' calls up themselves, with dlsym(3) on a
 * handle of libibverbs.so.1 (NCCL); a provider's own calls (mlx5dv_…).
 *
 * After fork(2) a child has nothing of its parent's here: its own registrations begin
 * anew, and what it does to its parent's is passed on.
 */
#include "preload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a process has; a forked child has another one. */
struct state {
	uint64_t generation;
	pthread_mutex_t lock; /* while it is made ready */
	bool ready;	      /* atomic */
	struct settings settings;
	struct domains domains;
	struct keep *keep;
};

static struct state *current; /* atomic */

/* This process's state, if it has one. */
static struct state *state_find(void)
{
	struct state *st = __atomic_load_n(&current, __ATOMIC_ACQUIRE);

	if (!st || st->generation != process_generation() ||
	    !__atomic_load_n(&st->ready, __ATOMIC_ACQUIRE))
		return NULL;
	return st;
}

/* The parent's state is left where it is: its locks may be held, for ever. */
static struct state *state_add(uint64_t generation)
{
	struct state *old = __atomic_load_n(&current, __ATOMIC_ACQUIRE), *st;

	if (old && old->generation == generation)
		return old;
	st = calloc(1, sizeof(*st));
	if (!st)
		return NULL;
	st->generation = generation;
	pthread_mutex_init(&st->lock, NULL);
	pthread_mutex_init(&st->domains.lock, NULL);
	if (__atomic_compare_exchange_n(&current, &old, st, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return st;
	free(st);
	return old;
}

static void before_fork(void)
{
	struct state *st = state_find();

	if (st)
		keep_before_fork(st->keep);
}

/* In the state's lock. A child has its parent's handler. */
static void state_make(struct state *st)
{
	static bool handler; /* atomic */

	settings_read(&st->settings);
	st->keep = keep_new(&st->settings);
	if (st->keep && st->settings.cache &&
	    !__atomic_exchange_n(&handler, true, __ATOMIC_RELAXED))
		pthread_atfork(before_fork, NULL, NULL);
	__atomic_store_n(&st->ready, st->keep, __ATOMIC_RELEASE);
}

static struct state *state_get(void)
{
	struct state *st = state_find();
	uint64_t generation;

	if (st)
		return st;
	generation = process_generation();
	st = generation ? state_add(generation) : NULL;
	if (!st)
		return NULL;
	pthread_mutex_lock(&st->lock);
	if (!st->ready)
		state_make(st);
	pthread_mutex_unlock(&st->lock);
	return st->ready ? st : NULL;
}

/* ------------------------------------------------------------- registration */

/** struct asked - one call of the program's. */
struct asked {
	const char *call;
	struct ibv_pd *pd;
	void *addr;
	size_t len;
	uint64_t iova;
	unsigned int access;
};

static void log_request(const struct asked *q, const char *what, const char *why)
{
	log_line("%s(%p, %zu, 0x%x): %s: %s", q->call, q->addr, q->len, q->access, what,
		 why);
}

/* To libibverbs, as it is. What is kept must not be why it fails. */
static struct ibv_mr *pass_on(const struct state *st, const struct asked *q,
			      const char *why)
{
	struct ibv_mr *mr;

	if (st && st->settings.log == LOG_ALL)
		log_request(q, "passed on", why);
	do {
		mr = real_verbs()->reg_mr(q->pd, q->addr, q->len, q->iova, q->access);
	} while (!mr && errno == ENOMEM && st && keep_release(st->keep, NULL));
	return mr;
}

/* Why there can be no verdict; NULL: there can. */
static const char *not_expressible(const struct asked *q)
{
	unsigned int ours;

	if (!q->len)
		return "its length is 0";
	if (!q->addr)
		return "its address is NULL";
	if (q->iova != (uintptr_t)q->addr)
		return "its iova is not its address";
	if (access_of_verbs(q->access, &ours))
		return "it has access flags that libpinmem does not know";
	return NULL;
}

static void log_success(const struct asked *q, const struct domain *d, bool hit)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	unsigned int access;

	access_of_verbs(q->access, &access);
	if (hit)
		log_request(q, "kept", "its mapping has not changed since");
	else if (!pinmem_check(d->pm, q->addr, q->len, access, NULL, &v))
		log_request(q, v.action == PINMEM_USE_ODP ? "odp" : "pinned", v.reason);
}

/*
 * A registration that did not succeed. If the verdict is against it, that is the
 * answer; else libibverbs is asked, whose answer is the one that the program knows.
 */
static struct ibv_mr *refuse(const struct state *st, const struct asked *q,
			     const struct domain *d)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	char why[600];
	unsigned int access;

	snprintf(why, sizeof(why), "%s", pinmem_errmsg());
	access_of_verbs(q->access, &access);
	if (pinmem_check(d->pm, q->addr, q->len, access, NULL, &v) ||
	    v.action != PINMEM_REFUSE)
		return pass_on(st, q, why);
	if (st->settings.log != LOG_OFF)
		log_request(q, "refused", v.reason);
	errno = -v.error;
	return NULL;
}

static struct ibv_mr *reg(struct state *st, const struct asked *q)
{
	struct range range = { .addr = q->addr, .len = q->len, .access = q->access };
	struct ibv_mr *mr;
	bool hit;
	int saved = errno;

	range.domain = domain_get(&st->domains, q->pd, st->settings.odp);
	if (!range.domain)
		return pass_on(st, q, pinmem_errmsg());
	if (q->len > range.domain->longest)
		return pass_on(st, q, "it is longer than one registration here");
	if (keep_get(st->keep, &range, &mr, &hit))
		return refuse(st, q, range.domain);
	if (st->settings.log == LOG_ALL)
		log_success(q, range.domain, hit);
	errno = saved;
	return mr;
}

struct ibv_mr *preload_reg(const char *call, struct ibv_pd *pd, void *addr, size_t len,
			   uint64_t iova, unsigned int access)
{
	struct asked q = { call, pd, addr, len, iova, access };
	struct state *st;
	const char *why;

	if (preload_inside)
		return pass_on(NULL, &q, NULL);
	st = state_get();
	why = st ? not_expressible(&q) : "there is no memory for libpinmem-verbs";
	return why ? pass_on(st, &q, why) : reg(st, &q);
}

/* ------------------------------------------------------------ its life after */

/* Whatever becomes of it, it is not what was registered. */
int preload_rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr,
		  size_t len, int access)
{
	struct state *st = preload_inside ? NULL : state_find();

	if (st)
		keep_spoil(st->keep, mr);
	return real_verbs()->rereg_mr(mr, flags, pd, addr, len, access);
}

int preload_dereg(struct ibv_mr *mr)
{
	struct state *st = preload_inside ? NULL : state_find();
	int saved = errno, rc;

	if (!st || !keep_put(st->keep, mr, &rc))
		return real_verbs()->dereg_mr(mr);
	errno = rc ? rc : saved;
	return rc;
}

/* --------------------------------------------------- ends of domains, devices */

/* What is kept must go first, or it were busy; then it has what the program has. */
static struct domain *before_end(struct state *st, struct ibv_pd *pd)
{
	struct domain *d = st ? domain_find(&st->domains, pd) : NULL;

	if (d) {
		keep_release(st->keep, d);
		domain_hide(&st->domains, d);
	}
	return d;
}

static void after_end(struct state *st, struct domain *d)
{
	keep_forget(st->keep, d);
	domain_end(&st->domains, d);
}

int preload_dealloc_pd(struct ibv_pd *pd)
{
	struct state *st = preload_inside ? NULL : state_find();
	struct domain *d = before_end(st, pd);
	int rc = real_verbs()->dealloc_pd(pd);

	if (d && rc)
		domain_show(&st->domains, d, pd);
	else if (d)
		after_end(st, d);
	return rc;
}

void preload_unimport_pd(struct ibv_pd *pd)
{
	struct state *st = preload_inside ? NULL : state_find();
	struct domain *d = before_end(st, pd);

	real_verbs()->unimport_pd(pd);
	if (d)
		after_end(st, d);
}

/* The domains that the program has left in it end with it, and its registrations. */
int preload_close_device(struct ibv_context *context)
{
	struct state *st = preload_inside ? NULL : state_find();
	struct domain *d;

	while (st && (d = domain_next_of(&st->domains, context))) {
		before_end(st, d->pd);
		after_end(st, d);
	}
	return real_verbs()->close_device(context);
}
