/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pinmem.c - the life of pinners and regions over the fake backend: every
 * answer of the public calls, and every failure point undone.
 */
#include "suite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake.h"
#include "fault.h"

#define PAGE 4096ul
#define MIB (1ul << 20)
#define RW PINMEM_ACCESS_LOCAL_WRITE

static struct pinmem *pinner(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open_ops(&fake_ops, &o, "test", &pm), 0);
	return pm;
}

static void *anon(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static struct pinmem_stats stats(struct pinmem *pm)
{
	struct pinmem_stats s = { .size = sizeof(s) };

	CHECK_RC(pinmem_stats(pm, &s), 0);
	return s;
}

/* -------------------------------------------------------------------- open */

static void open_rejects_contradictions(void)
{
	struct pinmem_options ok = { .size = sizeof(ok) }, o;
	struct pinmem *pm = (void *)1;
	struct ibv_pd *pd = (void *)16;
	struct io_uring *ring = (void *)16;

	CHECK_RC(pinmem_open(&ok, NULL), -EINVAL);
	o = ok;
	o.size = 4;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("sizeof(struct pinmem_options)");
	o = ok;
	o.flags = 2;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("flags 0x2");
	o = ok;
	o.pd = pd;
	o.device = "x";
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	o = ok;
	o.pd = pd;
	o.backend = PINMEM_BACKEND_URING;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("not for io_uring");
	o = ok;
	o.uring_entries = 8;
	o.backend = PINMEM_BACKEND_MLOCK;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("not for mlock");
	o = ok;
	o.pd = pd;
	o.ring = ring;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	o = ok;
	o.flags = PINMEM_OPEN_URING_SLOTS;
	o.uring_slots = 4;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("needs a ring");
	o = ok;
	o.backend = (enum pinmem_backend)99;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("99");
	CHECK(pm == (void *)1);
}

static void open_rejects_bad_policies(void)
{
	struct pinmem_options o = { .size = sizeof(o) };
	struct pinmem *pm = NULL;

	o.policy[0] = PINMEM_PIN;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("policy[0]");
	o.policy[0] = PINMEM_POLICY_END;
	o.policy[1] = PINMEM_USE_ODP;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
	CHECK_MSG("ended");
	o.policy[0] = (enum pinmem_action)77;
	CHECK_RC(pinmem_open(&o, &pm), -EINVAL);
}

static void open_knows_newer_options_only_as_zero(void)
{
	struct {
		struct pinmem_options o;
		uint64_t future[4];
	} newer = { .o = { .size = sizeof(newer), .backend = PINMEM_BACKEND_MLOCK } };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open(&newer.o, &pm), 0);
	CHECK_RC(pinmem_close(pm), 0);
	newer.future[2] = 1;
	CHECK_RC(pinmem_open(&newer.o, &pm), -E2BIG);
	CHECK_MSG("does not know");
}

static void every_call_rejects_null(void)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr_info mi = { .size = sizeof(mi) };
	struct pinmem_info info = { .size = sizeof(info) };
	struct pinmem_memlock ml = { .size = sizeof(ml) };
	struct pinmem_placement pl = { .size = sizeof(pl) };
	struct pinmem_mr *mr = NULL;
	void *p;

	CHECK_RC(pinmem_close(NULL), -EINVAL);
	CHECK_RC(pinmem_query(NULL, &info), -EINVAL);
	CHECK_RC(pinmem_stats(NULL, NULL), -EINVAL);
	CHECK_RC(pinmem_check(NULL, "x", 1, 0, NULL, &v), -EINVAL);
	CHECK_RC(pinmem_check_walk(NULL, "x", 1, 0, NULL, NULL, NULL), -EINVAL);
	CHECK_RC(pinmem_reg(NULL, &p, 1, 0, NULL, &mr), -EINVAL);
	CHECK_RC(pinmem_dereg(NULL, PINMEM_CLEAN, NULL), -EINVAL);
	CHECK_RC(pinmem_mr_segment(NULL, 0, &seg), -EINVAL);
	CHECK_RC(pinmem_mr_query(NULL, &mi), -EINVAL);
	CHECK_RC(pinmem_mr_list(NULL, NULL, NULL), -EINVAL);
	CHECK_RC(pinmem_sync(NULL, 0, 0, PINMEM_SYNC_TO_DEVICE), -EINVAL);
	CHECK_RC(pinmem_prefetch(NULL, 0, 0, 0), -EINVAL);
	CHECK_RC(pinmem_memlock(NULL, NULL, 1, &ml), -EINVAL);
	CHECK_RC(pinmem_audit(NULL, 1, -1, &pl), -EINVAL);
	CHECK_RC(pinmem_alloc(NULL, 1, NULL, &p), -EINVAL);
	CHECK_RC(pinmem_free(NULL, NULL, 1), -EINVAL);
	CHECK(pinmem_uring(NULL) == NULL);
	CHECK(pinmem_pd(NULL) == NULL);
}

/* ------------------------------------------------------------ registration */

static void reg_rejects_bad_ranges(void)
{
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = (void *)1;
	char *p = anon(PAGE);

	CHECK_RC(pinmem_reg(pm, NULL, PAGE, RW, NULL, &mr), -EINVAL);
	CHECK_RC(pinmem_reg(pm, p, 0, RW, NULL, &mr), -EINVAL);
	CHECK_MSG("len is 0");
	CHECK_RC(pinmem_reg(pm, p, SIZE_MAX, RW, NULL, &mr), -EINVAL);
	CHECK_MSG("overflow");
	CHECK_RC(pinmem_reg(pm, (void *)(UINTPTR_MAX - 10), 10, RW, NULL, &mr),
		 -EINVAL);
	CHECK_MSG("overflow");
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, NULL), -EINVAL);
	CHECK(mr == (void *)1);
	CHECK(fake_pins() == 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void reg_rejects_bad_access(void)
{
	struct pinmem *pm;
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE);

	fake_caps.access = PINMEM_ACCESS_LOCAL_WRITE;
	pm = pinner();
	CHECK_RC(pinmem_reg(pm, p, PAGE, 1u << 30, NULL, &mr), -EINVAL);
	CHECK_RC(pinmem_reg(pm, p, PAGE, PINMEM_ACCESS_REMOTE_WRITE, NULL, &mr),
		 -EINVAL);
	CHECK_MSG("LOCAL_WRITE");
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW | PINMEM_ACCESS_REMOTE_WRITE, NULL, &mr),
		 -EOPNOTSUPP);
	CHECK_MSG("cannot give access 0x2");
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void reg_rejects_bad_options(void)
{
	struct pinmem_reg_options ok = { .size = sizeof(ok) }, o;
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE);

	o = ok;
	o.flags = 1u << 20;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -EINVAL);
	o = ok;
	o.mode = (enum pinmem_mode)9;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -EINVAL);
	o = ok;
	o.placement = (enum pinmem_place)9;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -EINVAL);
	o = ok;
	o.flags = PINMEM_REG_DIRTY_AT_PIN;
	CHECK_RC(pinmem_reg(pm, p, PAGE, 0, &o, &mr), -EINVAL);
	CHECK_MSG("DIRTY_AT_PIN");
	o = ok;
	o.policy[0] = PINMEM_PIN;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -EINVAL);
	o = ok;
	o.placement = PINMEM_PLACE_NODE;
	o.node = 4000;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -ENODEV);
	o = ok;
	o.mode = PINMEM_ODP;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -EOPNOTSUPP);
	o.mode = PINMEM_RESIDENT;
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, &o, &mr), -EOPNOTSUPP);
	CHECK(fake_pins() == 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void refused_memory_is_never_tried(void)
{
	struct pinmem *pm;
	struct pinmem_mr *mr = (void *)1;
	char *p = anon(3 * PAGE);

	fake_caps.odp = true;
	pm = pinner();
	munmap(p + PAGE, PAGE);
	CHECK_RC(pinmem_reg(pm, p, 3 * PAGE, RW, NULL, &mr), -EFAULT);
	CHECK(mr == (void *)1);
	mprotect(p, PAGE, PROT_READ);
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), -EFAULT);
	CHECK_RC(pinmem_reg(pm, p, PAGE, 0, NULL, &mr), 0);
	CHECK(fake_pins() == 1);
	CHECK(stats(pm).refused == 2);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, 3 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void region_has_what_was_asked(void)
{
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(4 * PAGE);

	CHECK_RC(pinmem_reg(pm, p + 100, 2 * PAGE + 7, RW, NULL, &mr), 0);
	CHECK(fake_last().addr == p + 100);
	CHECK(fake_last().len == 2 * PAGE + 7);
	CHECK(fake_last().iova == (uintptr_t)p + 100);
	CHECK(fake_last_access() == RW);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.addr == p + 100 && i.len == 2 * PAGE + 7 && i.segments == 1);
	CHECK(i.mode == PINMEM_PINNED && i.backing == PINMEM_ANON && !i.refused);
	CHECK_RC(pinmem_mr_segment(mr, 5, &s), 0);
	CHECK(s.offset == 0 && s.len == 2 * PAGE + 7 && s.addr == p + 100);
	CHECK(s.iova == (uintptr_t)p + 100);
	CHECK(s.lkey == fake_last().lkey && s.rkey == fake_last().rkey);
	CHECK(s.buf_index == -1 && !s.ibv_mr);
	CHECK_RC(pinmem_mr_segment(mr, 2 * PAGE + 7, &s), -ERANGE);
	CHECK_RC(pinmem_mr_segment(mr, 0, NULL), -EINVAL);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, 4 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void long_regions_are_cut_into_segments(void)
{
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem_mr_info i = { .size = sizeof(i) };
	struct pinmem *pm;
	struct pinmem_mr *mr = NULL;
	uint64_t at = 0;
	char *p = anon(16 * PAGE);
	int n = 0;

	fake_caps.max_segment = 4 * PAGE;
	pm = pinner();
	CHECK_RC(pinmem_reg(pm, p + 1, 15 * PAGE, RW, NULL, &mr), 0);
	CHECK(fake_live_pins() == 4);
	for (; at < 15 * PAGE; at += s.len, n++) {
		CHECK_RC(pinmem_mr_segment(mr, at, &s), 0);
		CHECK(s.offset == at && s.addr == p + 1 + at);
		CHECK(s.iova == (uintptr_t)p + 1 + at && s.lkey != 0);
	}
	CHECK(n == 4 && at == 15 * PAGE);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.segments == 4);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, 16 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void a_failing_segment_undoes_the_others(void)
{
	struct pinmem *pm;
	struct pinmem_mr *mr = NULL;
	char *p = anon(16 * PAGE);

	fake_caps.max_segment = 2 * PAGE;
	pm = pinner();
	for (int n = 1; n <= 8; n++) {
		fake_fail_pin(n, EIO);
		CHECK_RC(pinmem_reg(pm, p, 16 * PAGE, RW, NULL, &mr), -EIO);
		CHECK_MSG("told to fail");
		CHECK(fake_live_pins() == 0);
	}
	CHECK(stats(pm).failed == 8 && stats(pm).live_regions == 0);
	munmap(p, 16 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void a_failed_release_can_be_tried_again(void)
{
	struct pinmem *pm;
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem_mr *mr = NULL;
	char *p = anon(8 * PAGE);

	fake_caps.max_segment = 2 * PAGE;
	pm = pinner();
	CHECK_RC(pinmem_reg(pm, p, 8 * PAGE, RW, NULL, &mr), 0);
	fake_fail_unpin(3, EBUSY);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), -EBUSY);
	CHECK(fake_live_pins() == 2 && stats(pm).live_regions == 1);
	CHECK_RC(pinmem_mr_segment(mr, 0, &s), 0);
	CHECK_RC(pinmem_mr_segment(mr, 7 * PAGE, &s), -EINVAL);
	CHECK_MSG("partly released");
	CHECK_RC(pinmem_close(pm), -EBUSY);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK(fake_live_pins() == 0);
	munmap(p, 8 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void every_failing_call_of_a_registration_is_undone(void)
{
	char *p = anon(16 * PAGE);
	bool fired = false;

	FAULT_WALK (n) {
		struct pinmem_options o = { .size = sizeof(o) };
		struct pinmem *pm = NULL;
		struct pinmem_mr *mr = NULL;
		int rc;

		fake_caps.max_segment = 2 * PAGE;
		rc = pinmem_open_ops(&fake_ops, &o, "test", &pm);
		if (!rc)
			rc = pinmem_reg(pm, p, 16 * PAGE, RW, NULL, &mr);
		fired |= fault_fired();
		/* a call that only asks (mincore, /proc) may fail without harm */
		CHECK(!rc || (fault_fired() && pinmem_errmsg()[0]));
		CHECK(rc || mr);
		if (mr)
			CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
		if (pm)
			CHECK_RC(pinmem_close(pm), 0);
		CHECK(fake_live_pins() == 0);
	}
	CHECK(fired);
	munmap(p, 16 * PAGE);
}

/* ----------------------------------------------------------------- release */

struct expectation {
	enum unpin_rule rule;
	unsigned int access;
	enum pinmem_unpin want, got;
	bool redirtied;
};

static void release_tells_what_truly_happens(void)
{
	static const struct expectation table[] = {
		{ UNPIN_NEVER_DIRTIES, RW, PINMEM_CLEAN, PINMEM_CLEAN, false },
		{ UNPIN_NEVER_DIRTIES, RW, PINMEM_DIRTY, PINMEM_DIRTY, true },
		{ UNPIN_DIRTIES_WRITABLE, RW, PINMEM_CLEAN, PINMEM_DIRTY, false },
		{ UNPIN_DIRTIES_WRITABLE, RW, PINMEM_DIRTY, PINMEM_DIRTY, false },
		{ UNPIN_DIRTIES_WRITABLE, 0, PINMEM_CLEAN, PINMEM_CLEAN, false },
		{ UNPIN_DIRTIES_WRITABLE, 0, PINMEM_DIRTY, PINMEM_DIRTY, true },
		{ UNPIN_AS_TOLD, RW, PINMEM_CLEAN, PINMEM_CLEAN, false },
		{ UNPIN_AS_TOLD, RW, PINMEM_DIRTY, PINMEM_DIRTY, false },
		{ UNPIN_AS_TOLD, 0, PINMEM_CLEAN, PINMEM_CLEAN, false },
		{ UNPIN_AS_TOLD, 0, PINMEM_DIRTY, PINMEM_DIRTY, false },
	};
	char *p = anon(2 * PAGE);

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct expectation *e = &table[i];
		struct pinmem_mr_info info = { .size = sizeof(info) };
		enum pinmem_unpin got = PINMEM_BY_FAULT;
		struct pinmem_mr *mr = NULL;
		struct pinmem *pm;

		fake_caps.unpin = e->rule;
		pm = pinner();
		CHECK_RC(pinmem_reg(pm, p, 2 * PAGE, e->access, NULL, &mr), 0);
		CHECK_RC(pinmem_mr_query(mr, &info), 0);
		CHECK((e->want ? info.unpin_dirty : info.unpin_clean) == e->got);
		CHECK_RC(pinmem_dereg(mr, e->want, &got), 0);
		CHECK(got == e->got);
		CHECK(fake_last_how() == e->want);
		CHECK(stats(pm).redirtied_bytes == (e->redirtied ? 2 * PAGE : 0));
		CHECK(stats(pm).unpin_dirty == (got == PINMEM_DIRTY));
		CHECK(stats(pm).unpin_clean == (got == PINMEM_CLEAN));
		CHECK_RC(pinmem_close(pm), 0);
	}
	munmap(p, 2 * PAGE);
}

static void dirty_release_of_unmapped_memory_is_reported_clean(void)
{
	enum pinmem_unpin got = PINMEM_DIRTY;
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE);

	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, &got), 0);
	CHECK(got == PINMEM_CLEAN);
	CHECK_RC(pinmem_close(pm), 0);
}

static void release_rejects_other_values(void)
{
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE);

	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_BY_FAULT, NULL), -EINVAL);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void double_release_is_caught_in_debug_builds(void)
{
#ifdef PINMEM_DEBUG
	struct pinmem_segment s = { .size = sizeof(s) };
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE);

	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), -EINVAL);
	CHECK_MSG("released before");
	CHECK_RC(pinmem_mr_segment(mr, 0, &s), -EINVAL);
	CHECK(fake_live_pins() == 0 && stats(pm).released == 1);
	/* handles are freed when enough later ones were released */
	for (int i = 0; i < 600; i++) {
		CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
		CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	}
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
#else
	suite_skip("this build has no PINMEM_DEBUG; the sanitizer builds have");
#endif
}

/* ------------------------------------------------------- books, fork, cancel */

static int collect(const struct pinmem_mr_info *i, void *arg)
{
	struct pinmem_mr_info **at = arg;

	*(*at)++ = *i;
	return 0;
}

static int stop_at_once(const struct pinmem_mr_info *i, void *arg)
{
	(void)i;
	++*(int *)arg;
	return 42;
}

static void list_and_counters_follow_the_regions(void)
{
	struct pinmem_mr_info list[4], *at = list;
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr[3] = { NULL };
	char *p = anon(3 * PAGE);
	int calls = 0;

	CHECK_RC(pinmem_mr_list(pm, collect, &at), 0);
	CHECK(at == list);
	for (int i = 0; i < 3; i++)
		CHECK_RC(pinmem_reg(pm, p + i * PAGE, PAGE, RW, NULL, &mr[i]), 0);
	CHECK_RC(pinmem_mr_list(pm, NULL, NULL), -EINVAL);
	CHECK_RC(pinmem_mr_list(pm, stop_at_once, &calls), 42);
	CHECK(calls == 1);
	CHECK_RC(pinmem_dereg(mr[1], PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_mr_list(pm, collect, &at), 0);
	CHECK(at == list + 2);
	CHECK(list[0].addr == p && list[1].addr == p + 2 * PAGE);
	CHECK(stats(pm).live_bytes == 2 * PAGE && stats(pm).peak_bytes == 3 * PAGE);
	CHECK(stats(pm).registered == 3 && stats(pm).released == 1);
	CHECK(stats(pm).pinned == 3);
	CHECK_RC(pinmem_close(pm), -EBUSY);
	CHECK_MSG("2 regions");
	CHECK_RC(pinmem_dereg(mr[2], PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_dereg(mr[0], PINMEM_CLEAN, NULL), 0);
	munmap(p, 3 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

static void list_survives_want_of_memory(void)
{
	struct pinmem_mr_info list[4], *at = list;
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	char *p = anon(PAGE);

	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	fault_only("realloc", ENOMEM);
	fault_arm(1);
	CHECK_RC(pinmem_mr_list(pm, collect, &at), -ENOMEM);
	fault_disarm();
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	munmap(p, PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

struct forked {
	struct pinmem *pm;
	struct pinmem_mr *mr;
	void *p;
};

static int child_of_pinner(void *arg)
{
	struct forked *f = arg;
	struct pinmem_options o = { .size = sizeof(o) };
	struct pinmem_mr *mr = NULL;
	struct pinmem *own = NULL;
	char q[64];

	if (pinmem_reg(f->pm, f->p, PAGE, RW, NULL, &mr) != -ECHILD)
		return 1;
	if (!strstr(pinmem_errmsg(), "parent"))
		return 2;
	if (pinmem_dereg(f->mr, PINMEM_CLEAN, NULL) != -ECHILD)
		return 3;
	if (pinmem_sync(f->mr, 0, 1, PINMEM_SYNC_TO_DEVICE) != -ECHILD)
		return 4;
	if (pinmem_open_ops(&fake_ops, &o, "child", &own) ||
	    pinmem_reg(own, q, sizeof(q), RW, NULL, &mr) ||
	    pinmem_dereg(mr, PINMEM_CLEAN, NULL) || pinmem_close(own))
		return 5;
	if (pinmem_reg(f->pm, f->p, PAGE, RW, NULL, &mr) != -ECHILD)
		return 6;
	if (pinmem_close(f->pm))
		return 7;
	return fake_live_pins() == 1 ? 0 : 8;
}

static void a_child_uses_nothing_of_its_parent(void)
{
	struct forked f = { .pm = pinner(), .p = anon(PAGE) };
	void *block = NULL;

	CHECK_RC(pinmem_reg(f.pm, f.p, PAGE, RW, NULL, &f.mr), 0);
	CHECK_RC(pinmem_alloc(f.pm, PAGE, NULL, &block), 0);
	CHECK(in_child(child_of_pinner, &f) == 0);
	CHECK(fake_live_pins() == 1);
	CHECK_RC(pinmem_free(f.pm, block, PAGE), 0);
	CHECK_RC(pinmem_dereg(f.mr, PINMEM_CLEAN, NULL), 0);
	munmap(f.p, PAGE);
	CHECK_RC(pinmem_close(f.pm), 0);
}

static int cancel_after(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	int *left = arg;

	CHECK(phase[0] && done <= total);
	return --*left == 0;
}

static void progress_cancels_at_every_point(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .progress = cancel_after };
	struct pinmem *pm;
	struct pinmem_mr *mr = NULL;
	bool done = false;

	fake_caps.max_segment = 8 * MIB;
	pm = pinner();
	for (int n = 1; n < 100 && !done; n++) {
		char *p = anon(40 * MIB);
		int left = n, rc;

		o.progress_arg = &left;
		rc = pinmem_reg(pm, p, 40 * MIB, RW, &o, &mr);
		done = !rc;
		if (rc)
			CHECK_RC(rc, -ECANCELED);
		else
			CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
		CHECK(fake_live_pins() == 0);
		munmap(p, 40 * MIB);
	}
	CHECK(done);
	CHECK_RC(pinmem_close(pm), 0);
}

/* ---------------------------------------------------------- ODP, subranges */

static void odp_regions_when_asked_for(void)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = PINMEM_ODP };
	struct pinmem_mr_info i = { .size = sizeof(i) };
	enum pinmem_unpin got = PINMEM_CLEAN;
	struct pinmem *pm;
	struct pinmem_mr *mr = NULL;
	char *p = anon(4 * PAGE);

	fake_caps.odp = true;
	pm = pinner();
	CHECK_RC(pinmem_reg(pm, p, 4 * PAGE, RW, &o, &mr), 0);
	CHECK(fake_last_odp() && fake_last().iova == (uintptr_t)p);
	CHECK_RC(pinmem_mr_query(mr, &i), 0);
	CHECK(i.mode == PINMEM_ODP && i.unpin_dirty == PINMEM_BY_FAULT);
	CHECK_RC(pinmem_prefetch(mr, 10, 2 * PAGE, 1), 0);
	CHECK(fake_prefetched() == 2 * PAGE && stats(pm).prefetch_device == 1);
	CHECK_RC(pinmem_prefetch(mr, 0, 4 * PAGE + 1, 1), -ERANGE);
	CHECK_RC(pinmem_prefetch(mr, 4 * PAGE, 0, 1), 0);
	CHECK_RC(pinmem_sync(mr, 0, PAGE, PINMEM_SYNC_TO_DEVICE), 0);
	CHECK_RC(pinmem_sync(mr, 0, PAGE, (enum pinmem_sync_dir)7), -EINVAL);
	CHECK_RC(pinmem_sync(mr, UINT64_MAX, 2, PINMEM_SYNC_TO_DEVICE), -ERANGE);
	CHECK_RC(pinmem_dereg(mr, PINMEM_DIRTY, &got), 0);
	CHECK(got == PINMEM_BY_FAULT);
	munmap(p, 4 * PAGE);
	CHECK_RC(pinmem_close(pm), 0);
}

/* --------------------------------------------------------------- allocation */

static void allocation_is_there_and_given_back(void)
{
	struct pinmem_alloc_options o = { .size = sizeof(o) };
	struct pinmem *pm = pinner();
	struct pinmem_mr *mr = NULL;
	unsigned char there = 0;
	void *p = NULL;

	CHECK_RC(pinmem_alloc(pm, 0, NULL, &p), -EINVAL);
	CHECK_RC(pinmem_alloc(pm, PAGE, NULL, NULL), -EINVAL);
	CHECK_RC(pinmem_alloc(pm, SIZE_MAX - 10, NULL, &p), -ENOMEM);
	o.flags = 1u << 9;
	CHECK_RC(pinmem_alloc(pm, PAGE, &o, &p), -EINVAL);
	o.flags = 0;
	o.placement = (enum pinmem_place)5;
	CHECK_RC(pinmem_alloc(pm, PAGE, &o, &p), -EINVAL);
	o.placement = PINMEM_PLACE_NODE;
	o.node = 1000;
	CHECK_RC(pinmem_alloc(pm, PAGE, &o, &p), -ENODEV);

	CHECK_RC(pinmem_alloc(pm, 3 * MIB, NULL, &p), 0);
	CHECK((uintptr_t)p % (2 * MIB) == 0);
	CHECK(!mincore((char *)p + 3 * MIB - PAGE, PAGE, &there) && there & 1);
	CHECK_RC(pinmem_reg(pm, p, PAGE, RW, NULL, &mr), 0);
	CHECK_RC(pinmem_free(pm, p, 3 * MIB), -EBUSY);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_close(pm), -EBUSY);
	CHECK_MSG("1 allocations");
	CHECK_RC(pinmem_free(pm, p, MIB), -EINVAL);
	CHECK_RC(pinmem_free(pm, p, 3 * MIB), 0);
	CHECK_RC(pinmem_free(pm, p, 3 * MIB), -EINVAL);
	CHECK_RC(pinmem_close(pm), 0);
}

static void every_failing_call_of_an_allocation_is_undone(void)
{
	struct pinmem_alloc_options o = { .size = sizeof(o), .threads = 2 };
	struct pinmem *pm = pinner();

	FAULT_WALK (n) {
		void *p = NULL;
		int rc = pinmem_alloc(pm, 40 * MIB, &o, &p);

		CHECK(!rc == !!p);
		CHECK(!rc || fault_fired());
		if (p)
			CHECK_RC(pinmem_free(pm, p, 40 * MIB), 0);
	}
	CHECK_RC(pinmem_close(pm), 0);
}

static void unknown_values_have_names(void)
{
	CHECK(!strcmp(pinmem_backend_name((enum pinmem_backend)99), "?"));
	CHECK(!strcmp(pinmem_mode_name(PINMEM_RESIDENT), "resident"));
	CHECK(pinmem_version()[0]);
}

static const struct test tests[] = {
	{ "open_rejects_contradictions", open_rejects_contradictions },
	{ "open_rejects_bad_policies", open_rejects_bad_policies },
	{ "open_knows_newer_options_only_as_zero",
	  open_knows_newer_options_only_as_zero },
	{ "every_call_rejects_null", every_call_rejects_null },
	{ "reg_rejects_bad_ranges", reg_rejects_bad_ranges },
	{ "reg_rejects_bad_access", reg_rejects_bad_access },
	{ "reg_rejects_bad_options", reg_rejects_bad_options },
	{ "refused_memory_is_never_tried", refused_memory_is_never_tried },
	{ "region_has_what_was_asked", region_has_what_was_asked },
	{ "long_regions_are_cut_into_segments", long_regions_are_cut_into_segments },
	{ "a_failing_segment_undoes_the_others", a_failing_segment_undoes_the_others },
	{ "a_failed_release_can_be_tried_again", a_failed_release_can_be_tried_again },
	{ "every_failing_call_of_a_registration_is_undone",
	  every_failing_call_of_a_registration_is_undone },
	{ "release_tells_what_truly_happens", release_tells_what_truly_happens },
	{ "dirty_release_of_unmapped_memory_is_reported_clean",
	  dirty_release_of_unmapped_memory_is_reported_clean },
	{ "release_rejects_other_values", release_rejects_other_values },
	{ "double_release_is_caught_in_debug_builds",
	  double_release_is_caught_in_debug_builds },
	{ "list_and_counters_follow_the_regions",
	  list_and_counters_follow_the_regions },
	{ "list_survives_want_of_memory", list_survives_want_of_memory },
	{ "a_child_uses_nothing_of_its_parent", a_child_uses_nothing_of_its_parent },
	{ "progress_cancels_at_every_point", progress_cancels_at_every_point },
	{ "odp_regions_when_asked_for", odp_regions_when_asked_for },
	{ "allocation_is_there_and_given_back", allocation_is_there_and_given_back },
	{ "every_failing_call_of_an_allocation_is_undone",
	  every_failing_call_of_an_allocation_is_undone },
	{ "unknown_values_have_names", unknown_values_have_names },
};
SUITE("pinmem", tests)
