/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache_model.inc.c - bytes decoded into operations on a cache, each checked against a
 * plain oracle that knows which regions there are, who holds them, and which must never
 * be seen again. The random test and the fuzzer both run it.
 *
 * The bytes: limits (3 bytes), then operations. What is read beyond the end is 0.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cache.h"
#include "fake.h"

#define PAGE 4096ul
#define PAGES 64u    /* of memory, of which from READONLY on none can be written, */
#define READONLY 48u /* and from HOLE on nothing is mapped */
#define HOLE 62u
#define HANDLES 24u
#define REGIONS 8192u

/* A registration that some get has returned. */
struct seen {
	uint32_t key; /* the pin's */
	uintptr_t at;
	size_t len;
	unsigned int access;
	unsigned int holders;
	uint64_t failures; /* release_failures when it came */
	bool alone;
	bool left; /* the cache: not to be got any more */
};

struct model {
	const uint8_t *data;
	size_t n, next;
	struct pinmem *pm;
	struct pinmem_cache *cache;
	uint64_t max_regions, max_bytes;
	long max_pins;
	uint32_t count; /* of seen */
	struct {
		struct pinmem_mr *mr;
		struct seen *region;
	} held[HANDLES];
	uint32_t handles;
	uint64_t answered; /* gets that count as a hit or a miss */
	bool fault_armed;
	const char *wrong;	   /* the first thing that was */
	struct seen seen[REGIONS]; /* the last: large, and not to be cleared */
};

static char *model_memory;

#define WRONG(m, what)                                                         \
	do {                                                                   \
		if (!(m)->wrong) {                                             \
			(m)->wrong = what;                                     \
			printf("\n    line %d, byte %zu: %s (%s)\n", __LINE__, \
			       (m)->next, what, pinmem_errmsg());              \
		}                                                              \
	} while (0)
#define EXPECT(m, cond)                  \
	do {                             \
		if (!(cond))             \
			WRONG(m, #cond); \
	} while (0)

static uint8_t take_byte(struct model *m)
{
	return m->next < m->n ? m->data[m->next++] : 0;
}

static struct pinmem_cache_stats model_stats(struct model *m)
{
	struct pinmem_cache_stats s = { .size = sizeof(s) };

	EXPECT(m, !pinmem_cache_stats(m->cache, &s));
	return s;
}

static bool is_pinned(const struct seen *s)
{
	return fake_is_pinned(s->key, (void *)s->at, s->len);
}

static bool overlaps(const struct seen *s, uintptr_t at, size_t len)
{
	return s->at < at + len && at < s->at + s->len;
}

/* In the cache as far as the oracle can tell: it has not left, and is still pinned. A
 * release that failed makes the two look alike. */
static bool is_kept(const struct seen *s)
{
	return !s->alone && !s->left && is_pinned(s);
}

static bool may_serve(unsigned int have, unsigned int want)
{
	const unsigned int relaxed = PINMEM_ACCESS_RELAXED_ORDERING;

	return !(want & ~have & ~relaxed) && (!(have & relaxed) || want & relaxed);
}

/* --------------------------------------------------------------------- a get */

struct wish {
	uintptr_t at;
	size_t len;
	unsigned int access;
	bool possible; /* the mapping allows it */
};

static struct wish take_wish(struct model *m)
{
	static const unsigned int access[] = {
		0,
		PINMEM_ACCESS_LOCAL_WRITE,
		PINMEM_ACCESS_REMOTE_READ,
		PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE,
		PINMEM_ACCESS_RELAXED_ORDERING,
		PINMEM_ACCESS_RELAXED_ORDERING | PINMEM_ACCESS_LOCAL_WRITE,
		PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_ATOMIC,
		PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_READ,
	};
	unsigned int page = take_byte(m) % PAGES, size = take_byte(m);
	unsigned int how = take_byte(m);
	struct wish w = { .access = access[how & 7] };
	size_t room = (PAGES - page) * PAGE;
	uintptr_t end;

	w.at = (uintptr_t)model_memory + page * PAGE;
	w.len = (1 + size % (how & 8 ? 32 : 4)) * PAGE;
	if (how & 16) { /* not by whole pages */
		w.at += how * 13;
		w.len = 1 + size * 37;
		room -= how * 13;
	}
	if (w.len > room)
		w.len = room;
	end = (w.at + w.len - (uintptr_t)model_memory + PAGE - 1) / PAGE;
	w.possible = end <= HOLE &&
		     (end <= READONLY || !(w.access & PINMEM_ACCESS_LOCAL_WRITE));
	return w;
}

/* The region that must be hit, or NULL. */
static struct seen *served_by(struct model *m, const struct wish *w, uint64_t failures)
{
	for (uint32_t i = 0; i < m->count; i++) {
		struct seen *s = &m->seen[i];

		if (is_kept(s) && s->failures == failures && s->at <= w->at &&
		    w->at + w->len <= s->at + s->len && may_serve(s->access, w->access))
			return s;
	}
	return NULL;
}

static struct seen *known_by_key(struct model *m, uint32_t key)
{
	for (uint32_t i = m->count; i--;)
		if (m->seen[i].key == key)
			return &m->seen[i];
	return NULL;
}

/* It was made for this get. If it is kept, what it overlaps has left. */
static struct seen *see_new(struct model *m, const struct pinmem_mr_info *i,
			    uint32_t key, bool alone, uint64_t failures)
{
	struct seen *s = &m->seen[m->count++];

	*s = (struct seen){ .key = key,
			    .at = (uintptr_t)i->addr,
			    .len = i->len,
			    .access = i->access,
			    .alone = alone,
			    .failures = failures };
	for (struct seen *o = m->seen; o < s && !alone; o++)
		if (!o->alone && overlaps(o, s->at, s->len))
			o->left = true;
	return s;
}

static void check_got(struct model *m, const struct wish *w,
		      const struct pinmem_mr_info *i, uint32_t key)
{
	uintptr_t at = (uintptr_t)i->addr;

	EXPECT(m, at % PAGE == 0 && i->len % PAGE == 0);
	EXPECT(m, at <= w->at && w->at + w->len <= at + i->len);
	EXPECT(m, may_serve(i->access, w->access));
	EXPECT(m, i->mode == PINMEM_PINNED);
	EXPECT(m, fake_is_pinned(key, i->addr, i->len));
}

static void got(struct model *m, const struct wish *w, struct pinmem_mr *mr,
		const struct seen *must, const struct pinmem_cache_stats *before)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_cache_stats after = model_stats(m);
	bool made = after.registrations != before->registrations;
	struct seen *s;

	EXPECT(m, !pinmem_mr_query(mr, &i));
	EXPECT(m, !pinmem_mr_segment(mr, 0, &seg));
	check_got(m, w, &i, seg.lkey);
	s = known_by_key(m, seg.lkey);
	EXPECT(m, made == !s);
	EXPECT(m, made == (after.misses != before->misses));
	EXPECT(m, made || after.hits == before->hits + 1);
	EXPECT(m, !must || s == must);
	if (!s)
		s = see_new(m, &i, seg.lkey, after.alone != before->alone,
			    after.release_failures);
	else
		EXPECT(m, !s->left && !s->alone); /* never again */
	s->holders++;
	m->held[m->handles].mr = mr;
	m->held[m->handles++].region = s;
	EXPECT(m, i.cached == 1 && i.holders == s->holders);
}

static void do_get(struct model *m)
{
	struct pinmem_cache_stats before = model_stats(m), after;
	struct wish w = take_wish(m);
	struct seen *must = served_by(m, &w, before.release_failures);
	struct pinmem_mr *mr = NULL;
	int rc;

	if (m->handles == HANDLES || m->count == REGIONS)
		return;
	rc = pinmem_cache_get(m->cache, (void *)w.at, w.len, w.access, &mr);
	m->answered++;
	if (!rc) {
		got(m, &w, mr, must, &before);
		return;
	}
	after = model_stats(m);
	EXPECT(m, !mr && !must);
	EXPECT(m, after.misses == before.misses + 1);
	EXPECT(m, !w.possible || m->fault_armed || m->max_pins);
	EXPECT(m, w.possible || rc == -EFAULT || m->fault_armed || m->max_pins);
	/* the backend is full: then all that was idle was given up before */
	if (w.possible && !m->fault_armed && !after.release_failures)
		EXPECT(m,
		       after.regions == after.held && fake_live_pins() >= m->max_pins);
}

/* ------------------------------------------------------------------ the others */

static void check_released(struct model *m, const struct seen *s, uint64_t failures)
{
	if (!s->holders && (s->left || s->alone) &&
	    model_stats(m).release_failures == failures)
		EXPECT(m, !is_pinned(s));
}

static void do_put(struct model *m)
{
	uint32_t which = m->handles ? take_byte(m) % m->handles : 0;
	uint64_t failures = model_stats(m).release_failures;
	struct seen *s;
	int rc;

	if (!m->handles)
		return;
	s = m->held[which].region;
	rc = pinmem_cache_put(m->held[which].mr,
			      take_byte(m) & 1 ? PINMEM_DIRTY : PINMEM_CLEAN);
	if (rc) { /* still the caller's */
		EXPECT(m, s->alone && m->fault_armed && is_pinned(s));
		return;
	}
	m->held[which] = m->held[--m->handles];
	s->holders--;
	check_released(m, s, failures);
	EXPECT(m, s->left || s->alone || is_pinned(s)); /* idle, and kept */
}

/* Mark what leaves. Return: how many do for sure; @most: at most. */
static int leave_range(struct model *m, uintptr_t at, size_t len, uint64_t failures,
		       int *most)
{
	int sure = 0;

	*most = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		struct seen *s = &m->seen[i];

		if (!overlaps(s, at, len))
			continue;
		if (is_kept(s)) {
			sure += s->failures == failures;
			++*most;
		}
		s->left = !s->alone;
	}
	return sure;
}

static void check_all_released(struct model *m, uint64_t failures)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->seen[i].left || m->seen[i].alone)
			check_released(m, &m->seen[i], failures);
}

static void do_invalidate(struct model *m)
{
	uint64_t failures = model_stats(m).release_failures;
	uintptr_t at = (uintptr_t)model_memory + take_byte(m) % PAGES * PAGE;
	size_t len = (1 + take_byte(m) % 8) * PAGE - PAGE / 2;
	int most, sure = leave_range(m, at, len, failures, &most), n;

	n = pinmem_cache_invalidate(m->cache, (void *)at, len);
	EXPECT(m, sure <= n && n <= most);
	if (!failures)
		check_all_released(m, 0);
}

static void do_flush(struct model *m)
{
	uint64_t failures = model_stats(m).release_failures;
	int most, rc;

	leave_range(m, (uintptr_t)model_memory, PAGES * PAGE, failures, &most);
	rc = pinmem_cache_flush(m->cache);
	EXPECT(m, !rc || m->fault_armed);
	EXPECT(m, (rc != 0) == (model_stats(m).release_failures != failures));
	EXPECT(m, !model_stats(m).regions);
	if (!rc)
		check_all_released(m, failures);
}

static void do_fault(struct model *m)
{
	static const int errs[] = { EIO, ENOMEM, ENOSPC, EFAULT };
	unsigned int how = take_byte(m);

	m->fault_armed = true; /* for good: when it strikes is not the oracle's */
	if (how & 1)
		fake_fail_pin(1 + (how >> 4) % 3, errs[how >> 1 & 3]);
	else
		fake_fail_unpin(1 + (how >> 4) % 3, EIO);
}

static void do_nonsense(struct model *m)
{
	struct pinmem_mr *mr;

	EXPECT(m, pinmem_cache_get(m->cache, NULL, 1, 0, &mr) == -EINVAL);
	EXPECT(m, pinmem_cache_get(m->cache, model_memory, 0, 0, &mr) == -EINVAL);
	EXPECT(m,
	       pinmem_cache_get(m->cache, model_memory, SIZE_MAX, 0, &mr) == -EINVAL);
	EXPECT(m, pinmem_cache_invalidate(m->cache, model_memory, 0) == -EINVAL);
	if (m->handles)
		EXPECT(m, pinmem_dereg(m->held[0].mr, PINMEM_CLEAN, NULL) == -EINVAL);
}

/* ------------------------------------------------------------------ invariants */

static void check_always(struct model *m)
{
	struct pinmem_cache_stats s = model_stats(m);
	uint64_t held = 0, alone = 0, leaving = 0;

	for (uint32_t i = 0; i < m->count; i++) {
		const struct seen *r = &m->seen[i];

		if (!r->holders)
			continue;
		EXPECT(m, is_pinned(r));
		held += !r->left && !r->alone;
		alone += r->alone;
		leaving += r->left;
	}
	EXPECT(m, s.regions <= m->max_regions);
	EXPECT(m, !m->max_bytes || s.bytes <= m->max_bytes);
	EXPECT(m, s.held == held && s.alone == alone);
	EXPECT(m, s.release_failures ? s.leaving >= leaving : s.leaving == leaving);
	EXPECT(m, (uint64_t)fake_live_pins() == s.regions + s.leaving + s.alone);
	EXPECT(m, !m->max_pins || fake_live_pins() <= m->max_pins);
	EXPECT(m, s.hits + s.misses == m->answered);
}

static void step(struct model *m)
{
	switch (take_byte(m) & 15) {
	case 0 ... 6:
		do_get(m);
		break;
	case 7 ... 11:
		do_put(m);
		break;
	case 12:
	case 13:
		do_invalidate(m);
		break;
	case 14:
		switch (take_byte(m) & 3) {
		case 0:
			do_flush(m);
			break;
		case 1:
			do_nonsense(m);
			break;
		}
		break;
	default:
		do_fault(m);
	}
	check_always(m);
}

/* ------------------------------------------------------------- beginning and end */

static void model_open(struct model *m)
{
	static const int errs[] = { ENOMEM, ENOSPC };
	struct pinmem_options po = { .size = sizeof(po) };
	struct pinmem_cache_options co = { .size = sizeof(co),
					   .monitor = PINMEM_MONITOR_CALLER };
	unsigned int regions = take_byte(m), bytes = take_byte(m), pins = take_byte(m);

	m->max_regions = co.max_regions = 1 + regions % 24;
	m->max_bytes = co.max_bytes = bytes & 128 ? 0 : (1 + bytes % 64) * PAGE;
	m->max_pins = pins & 3 ? 0 : 2 + (pins >> 3);
	fake_reset();
	fake_max_pins(m->max_pins, errs[pins >> 2 & 1]);
	EXPECT(m, !pinmem_open_ops(&fake_ops, &po, "model", &m->pm));
	EXPECT(m, !pinmem_cache_create(m->pm, &co, &m->cache));
}

/* Put all; then nothing is left, whatever could not be released at first. */
static void model_close(struct model *m)
{
	fake_fail_pin(0, 0);
	fake_fail_unpin(0, 0);
	while (m->handles) {
		EXPECT(m, pinmem_cache_destroy(m->cache) == -EBUSY);
		EXPECT(m, pinmem_close(m->pm) == -EBUSY);
		do_put(m);
	}
	EXPECT(m, !pinmem_cache_destroy(m->cache));
	EXPECT(m, fake_live_pins() == 0);
	EXPECT(m, !pinmem_close(m->pm));
}

static void map_memory(void)
{
	if (model_memory)
		return;
	model_memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(model_memory, 1, PAGES * PAGE);
	mprotect(model_memory + READONLY * PAGE, (PAGES - READONLY) * PAGE, PROT_READ);
	munmap(model_memory + HOLE * PAGE, (PAGES - HOLE) * PAGE);
}

/* Return: NULL, or what was wrong first. */
static const char *model_run(const uint8_t *data, size_t n)
{
	static struct model m; /* large */

	map_memory();
	memset(&m, 0, offsetof(struct model, seen));
	m.data = data;
	m.n = n;
	model_open(&m);
	while (m.next < m.n && !m.wrong)
		step(&m);
	if (!m.wrong)
		model_close(&m);
	return m.wrong;
}
