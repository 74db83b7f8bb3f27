/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * books.c - who is registered and what was done: the list of live regions and the
 * counters of a pinner, and their public readers.
 */
#include "hands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void books_count(struct pinmem *pm, uint64_t *counter, uint64_t n)
{
	pthread_mutex_lock(&pm->lock);
	*counter += n;
	pthread_mutex_unlock(&pm->lock);
}

void books_enter(struct pinmem_mr *mr)
{
	struct pinmem *pm = mr->pm;
	struct pinmem_stats *s = &pm->stats;
	uint64_t *const by_mode[] = { NULL, &s->pinned, &s->odp, &s->staged,
				      &s->resident };

	mr->born_ns = now_ns();
	pthread_mutex_lock(&pm->lock);
	mr->prev = pm->last;
	if (pm->last)
		pm->last->next = mr;
	else
		pm->first = mr;
	pm->last = mr;
	s->registered++;
	s->live_regions++;
	s->live_bytes += mr->len;
	if (s->live_bytes > s->peak_bytes)
		s->peak_bytes = s->live_bytes;
	++*by_mode[mr->mode];
	pthread_mutex_unlock(&pm->lock);
	mr->published = publish_enter(mr);
}

void books_leave(struct pinmem_mr *mr, enum pinmem_unpin got)
{
	struct pinmem *pm = mr->pm;
	struct pinmem_stats *s = &pm->stats;

	publish_leave(mr->published);
	pthread_mutex_lock(&pm->lock);
	if (mr->prev)
		mr->prev->next = mr->next;
	else
		pm->first = mr->next;
	if (mr->next)
		mr->next->prev = mr->prev;
	else
		pm->last = mr->prev;
	s->released++;
	s->live_regions--;
	s->live_bytes -= mr->len;
	if (got == PINMEM_CLEAN)
		s->unpin_clean++;
	else if (got == PINMEM_DIRTY)
		s->unpin_dirty++;
	pthread_mutex_unlock(&pm->lock);
}

int pinmem_stats(struct pinmem *pm, struct pinmem_stats *stats)
{
	struct pinmem_stats s;
	int rc = pinner_check(pm);

	if (rc)
		return rc;
	pthread_mutex_lock(&pm->lock);
	s = pm->stats;
	pthread_mutex_unlock(&pm->lock);
	return result_copy(stats, &s, sizeof(s), "pinmem_stats");
}

/* While the holders come and go; the hits of its number's earlier regions apart. */
static void describe_holders(const struct pinmem_mr *mr, struct pinmem_mr_info *i)
{
	struct pinmem_cache *cache = __atomic_load_n(&mr->cache, __ATOMIC_ACQUIRE);
	struct tally sum;

	i->cached = cache != NULL;
	if (!cache || !mr->cache_id) {
		i->holders = cache != NULL; /* whoever it was registered for alone */
		return;
	}
	sum = hands_sum(mr->hands, mr->cache_id);
	i->holders = tally_holders(sum);
	i->hits = sum.gets - mr->cache_gets;
}

static void describe(const struct pinmem_mr *mr, uint64_t now, struct pinmem_mr_info *i)
{
	memset(i, 0, sizeof(*i));
	i->size = sizeof(*i);
	i->addr = (void *)mr->addr;
	i->len = mr->len;
	i->mode = mr->mode;
	i->backing = mr->backing;
	i->access = mr->access;
	i->segments = mr->nsegs;
	i->unpin_clean = region_outcome(mr, PINMEM_CLEAN);
	i->unpin_dirty = region_outcome(mr, PINMEM_DIRTY);
	i->refused = mr->refused;
	i->backend = mr->pm->be->ops->id;
	i->pinner = mr->pm->id;
	i->age_ns = now - mr->born_ns;
	describe_holders(mr, i);
}

int pinmem_mr_query(const struct pinmem_mr *mr, struct pinmem_mr_info *info)
{
	struct pinmem_mr_info i;
	int rc = region_check(mr);

	if (rc)
		return rc;
	describe(mr, now_ns(), &i);
	i.node = place_node_of(i.addr);
	return result_copy(info, &i, sizeof(i), "pinmem_mr_info");
}

/* Copy the books; the list may grow between counting and copying. */
static int snapshot(struct pinmem *pm, struct pinmem_mr_info **list, size_t *n)
{
	struct pinmem_mr_info *copy = NULL, *bigger;
	uint64_t now = now_ns();
	size_t room = 0, have;

	for (;;) {
		pthread_mutex_lock(&pm->lock);
		have = pm->stats.live_regions;
		if (have <= room)
			break;
		pthread_mutex_unlock(&pm->lock);
		bigger = realloc(copy, (have + 16) * sizeof(*copy));
		if (!bigger) {
			free(copy);
			return fail(ENOMEM, "no memory for a list of %zu regions",
				    have);
		}
		copy = bigger;
		room = have + 16;
	}
	have = 0;
	for (struct pinmem_mr *mr = pm->first; mr; mr = mr->next)
		describe(mr, now < mr->born_ns ? mr->born_ns : now, &copy[have++]);
	pthread_mutex_unlock(&pm->lock);
	*list = copy;
	*n = have;
	return 0;
}

int pinmem_mr_list(struct pinmem *pm,
		   int (*fn)(const struct pinmem_mr_info *info, void *arg), void *arg)
{
	struct pinmem_mr_info *list = NULL;
	size_t n = 0;
	int rc = pinner_check(pm);

	if (rc)
		return rc;
	if (!fn)
		return fail(EINVAL, "no function to call: fn is NULL");
	rc = snapshot(pm, &list, &n);
	if (rc)
		return rc;
	for (size_t i = 0; i < n && !rc; i++) {
		list[i].node = place_node_of(list[i].addr);
		rc = fn(&list[i], arg);
	}
	free(list);
	return rc;
}
