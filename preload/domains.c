/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * domains.c - one pinner for each protection domain of the program.
 *
 * Looked up at each registration, so without a lock: places are never freed, and whose
 * place it is tells one word. A program must not register in a domain while it
 * deallocates it, so that word does not change under a lookup that matters.
 */
#include "preload.h"

#include <stdlib.h>

static struct domain **bucket_of(struct domains *all, const struct ibv_pd *pd)
{
	uint64_t hash = (uintptr_t)pd * 0x9e3779b97f4a7c15ull;

	return &all->buckets[hash >> 58];
}
_Static_assert(DOMAIN_BUCKETS == 1 << (64 - 58), "bucket_of() takes six bits");

struct domain *domain_find(struct domains *all, const struct ibv_pd *pd)
{
	struct domain *d = __atomic_load_n(bucket_of(all, pd), __ATOMIC_ACQUIRE);

	while (d && __atomic_load_n(&d->pd, __ATOMIC_ACQUIRE) != pd)
		d = d->next;
	return d;
}

static int open_pinner(struct domain *d, struct ibv_pd *pd, bool odp)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_VERBS,
				    .pd = pd };
	struct pinmem_info info = { .size = sizeof(info) };
	int rc;

	/* never STAGE: nobody would sync */
	o.policy[0] = odp ? PINMEM_USE_ODP : PINMEM_REFUSE;
	rc = pinmem_open(&o, &d->pm);
	if (rc)
		return rc;
	rc = pinmem_query(d->pm, &info);
	if (rc) {
		pinmem_close(d->pm);
		return rc;
	}
	d->longest = info.max_segment;
	d->context = pd->context;
	return 0;
}

/* Under the lock: a place that nobody has, new or used. */
static struct domain *free_place(struct domain **bucket)
{
	struct domain *d = *bucket;

	while (d && d->pd)
		d = d->next;
	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->next = *bucket;
	__atomic_store_n(bucket, d, __ATOMIC_RELEASE);
	return d;
}

struct domain *domain_get(struct domains *all, struct ibv_pd *pd, bool odp)
{
	struct domain *d = domain_find(all, pd);

	if (d)
		return d;
	pthread_mutex_lock(&all->lock);
	d = domain_find(all, pd);
	if (!d) {
		d = free_place(bucket_of(all, pd));
		if (d && open_pinner(d, pd, odp))
			d = NULL;
		if (d)
			__atomic_store_n(&d->pd, pd, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&all->lock);
	return d;
}

struct domain *domain_next_of(struct domains *all, const struct ibv_context *context)
{
	struct domain *d = NULL;

	pthread_mutex_lock(&all->lock);
	for (size_t i = 0; !d && i < DOMAIN_BUCKETS; i++)
		for (d = all->buckets[i]; d; d = d->next)
			if (d->pd && d->pd != DOMAIN_HIDDEN && d->context == context)
				break;
	pthread_mutex_unlock(&all->lock);
	return d;
}

static void set_pd(struct domains *all, struct domain *d, struct ibv_pd *pd)
{
	pthread_mutex_lock(&all->lock);
	__atomic_store_n(&d->pd, pd, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&all->lock);
}

void domain_hide(struct domains *all, struct domain *d)
{
	set_pd(all, d, DOMAIN_HIDDEN);
}

void domain_show(struct domains *all, struct domain *d, struct ibv_pd *pd)
{
	set_pd(all, d, pd);
}

void domain_end(struct domains *all, struct domain *d)
{
	if (!pinmem_close(d->pm)) /* else -EBUSY: see preload.h */
		set_pd(all, d, NULL);
}
