/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * demo_moves.c - step 2: real data goes through the registered memory.
 *
 * Each piece of memory is filled with bytes that only its seed gives. The device
 * takes them out (the region is released CLEAN: the device only read it); the memory
 * is cleared; the device brings them back (released DIRTY: it wrote); every byte is
 * compared. What may not be registered, but staged, goes through a staging copy.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "demo.h"
#include "mover.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

/* One row of step 2. */
struct moved {
	enum pinmem_mode out_mode, in_mode; /* of the regions; 0: not registered */
	enum pinmem_unpin clean, dirty;	    /* what truly happened */
	double out_ns, in_ns;
	bool elsewhere; /* brought back into other memory */
	bool verified;
	int error;
	char why[768];
};

static int trouble(struct moved *r, int err, const char *what, const char *why)
{
	snprintf(r->why, sizeof(r->why), "%s: %s", what, why);
	r->error = err;
	return err;
}

/* Registers memory as it may be, staged if only that is allowed. */
static int register_somehow(struct demo *d, const struct memory *m, unsigned int access,
			    struct pinmem_mr **mr)
{
	struct pinmem_reg_options opts = demo_options(m);
	struct pinmem_verdict v = { .size = sizeof(v) };
	int rc = pinmem_check(d->pm, m->addr, m->len, access, &opts, &v);

	if (rc)
		return rc;
	if (v.action == PINMEM_REFUSE)
		opts.policy[0] = PINMEM_USE_STAGE;
	return pinmem_reg(d->pm, m->addr, m->len, access, &opts, mr);
}

static enum pinmem_mode mode_of(const struct pinmem_mr *mr)
{
	struct pinmem_mr_info info = { .size = sizeof(info) };

	return pinmem_mr_query(mr, &info) ? PINMEM_MODE_DEFAULT : info.mode;
}

/* A release that fails leaves the region: then the memory must not go either. */
static int release(struct pinmem_mr *mr, enum pinmem_unpin how, struct moved *r,
		   enum pinmem_unpin *got)
{
	int rc = pinmem_dereg(mr, how, got);

	return rc ? trouble(r, rc, "release", pinmem_errmsg()) : 0;
}

static int take_out(struct demo *d, struct mover *mover, struct memory *m,
		    struct moved *r)
{
	struct pinmem_mr *mr;
	uint64_t begin;
	int rc = register_somehow(d, m, 0, &mr), rc2;

	if (rc)
		return trouble(r, rc, "registration", pinmem_errmsg());
	r->out_mode = mode_of(mr);
	begin = sys_now_ns();
	rc = pinmem_sync(mr, 0, m->len, PINMEM_SYNC_TO_DEVICE);
	if (rc)
		trouble(r, rc, "sync", pinmem_errmsg());
	if (!rc)
		rc = mover->ops->out(mover, mr, m->len);
	r->out_ns = (double)(sys_now_ns() - begin);
	if (rc && !r->error)
		trouble(r, rc, "data movement", mover->why);
	rc2 = release(mr, PINMEM_CLEAN, r, &r->clean);
	return rc ? rc : rc2;
}

static int bring_back(struct demo *d, struct mover *mover, struct memory *m,
		      struct moved *r)
{
	struct pinmem_mr *mr;
	uint64_t begin;
	int rc = register_somehow(d, m, mover->in_access, &mr), rc2;

	if (rc)
		return trouble(r, rc, "registration", pinmem_errmsg());
	r->in_mode = mode_of(mr);
	begin = sys_now_ns();
	rc = mover->ops->in(mover, mr, m->len);
	if (rc)
		trouble(r, rc, "data movement", mover->why);
	if (!rc)
		rc = pinmem_sync(mr, 0, m->len, PINMEM_SYNC_FROM_DEVICE);
	r->in_ns = (double)(sys_now_ns() - begin);
	if (rc && !r->error)
		trouble(r, rc, "sync", pinmem_errmsg());
	rc2 = release(mr, PINMEM_DIRTY, r, &r->dirty);
	return rc ? rc : rc2;
}

static int verify(const struct memory *m, uint64_t seed, struct moved *r)
{
	size_t good = pattern_check(m->addr, m->len, seed);

	r->verified = good == m->len;
	if (r->verified)
		return 0;
	return trouble(r, -EIO, "contents",
		       text("byte %zu of %zu is not the one that was taken out", good,
			    m->len));
}

/* Read-only memory cannot be written back to: its bytes go to other memory. */
static int back_elsewhere(struct demo *d, struct mover *mover, const struct memory *m,
			  struct moved *r)
{
	struct memory other;
	int rc;

	r->elsewhere = true;
	if (memory_make(MEM_ANON, m->len, NULL, &other))
		rc = trouble(r, -ENOMEM, "memory to read back into", other.why);
	else
		rc = bring_back(d, mover, &other, r);
	if (!rc)
		rc = verify(&other, m->seed, r);
	memory_drop(&other);
	return rc;
}

static int there_and_back(struct demo *d, struct mover *mover, struct memory *m,
			  struct moved *r)
{
	int rc;

	if (m->kind == MEM_READONLY) {
		rc = take_out(d, mover, m, r);
		return rc ? rc : back_elsewhere(d, mover, m, r);
	}
	pattern_fill(m->addr, m->len, m->seed);
	rc = take_out(d, mover, m, r);
	if (rc)
		return rc;
	memset(m->addr, 0, m->len);
	rc = bring_back(d, mover, m, r);
	return rc ? rc : verify(m, m->seed, r);
}

/* --------------------------------------------------------------- showing it */

static void show_moved(struct table *t, const struct memory *m, const struct moved *r)
{
	/* what a device may write to is the harder case, and may be treated differently
	 */
	enum pinmem_mode mode = r->in_mode && !r->elsewhere ? r->in_mode : r->out_mode;

	if (r->error) {
		ROW(t, memory_label(m->kind), mode ? pinmem_mode_name(mode) : "",
		    "failed", NULL, NULL, NULL, NULL);
		say_block(6, "%s", r->why);
		return;
	}
	ROW(t, memory_label(m->kind), pinmem_mode_name(mode),
	    rate_text(m->len, r->out_ns), rate_text(m->len, r->in_ns),
	    r->elsewhere ? "verified*" : "verified", pinmem_unpin_name(r->clean),
	    pinmem_unpin_name(r->dirty));
}

static json_t *moved_json(const struct memory *m, const struct moved *r)
{
	json_t *o =
		json_pack("{ss, sI, sb, ss, ss}", "memory", memory_name(m->kind), "len",
			  (json_int_t)m->len, "verified", r->verified, "out_mode",
			  r->out_mode ? pinmem_mode_name(r->out_mode) : "", "back_mode",
			  r->in_mode ? pinmem_mode_name(r->in_mode) : "");

	if (r->error) {
		json_object_set_new(o, "error", json_string(sys_errno(r->error)));
		json_object_set_new(o, "sentence", json_text(r->why));
		return o;
	}
	json_object_update_new(
		o, json_pack("{sf, sf, sb, ss, ss}", "out_ns", r->out_ns, "in_ns",
			     r->in_ns, "back_into_other_memory", r->elsewhere,
			     "unpin_clean_was", pinmem_unpin_name(r->clean),
			     "unpin_dirty_was", pinmem_unpin_name(r->dirty)));
	return o;
}

/* What the limits cannot bear, or the user stopped, is no fault. */
static void count(struct demo *d, const struct moved *r)
{
	if (r->verified && !r->error)
		d->moved++;
	else if (r->error != -ENOMEM && r->error != -ECANCELED)
		d->failed = true;
}

static void move_kind(struct demo *d, struct mover *mover, enum memory_kind kind,
		      struct table *t, json_t *list)
{
	struct moved r = { 0 };
	struct memory m;

	if (demo_make(d, kind, &m)) { /* step 1 has said why */
		memory_drop(&m);
		return;
	}
	there_and_back(d, mover, &m, &r);
	count(d, &r);
	show_moved(t, &m, &r);
	json_array_append_new(list, moved_json(&m, &r));
	memory_drop(&m);
}

static int open_mover(struct demo *d, struct mover **mover)
{
	char why[512];
	uint64_t most = d->size, page;
	int rc;

	/* hugetlb memory comes in whole pages; see memory_make() */
	sys_hugetlb_free(&page);
	if (page)
		most = (most + page - 1) / page * page;
	if (d->info.backend == PINMEM_BACKEND_VERBS)
		rc = mover_rdma_open(d->pm, most, mover, why);
	else
		rc = mover_file_open(d->pm, d->dir, most, mover, why);
	if (!rc)
		return 0;
	d->failed = true;
	say_block(2, "No data can be moved: %s", why);
	json_object_set_new(d->json, "move_error", json_text(why));
	return rc;
}

void demo_moves(struct demo *d)
{
	static const struct column cols[] = {
		{ "memory", 19, false },  { "as", 8, false },
		{ "out", 9, true },	  { "back", 9, true },
		{ "contents", 9, false }, { "CLEAN", 5, false },
		{ "DIRTY", 5, false },
	};
	json_t *list = json_array();
	struct mover *mover;
	struct table *t;

	heading("2. Real data through the registered memory");
	json_object_set_new(d->json, "moves", list);
	if (open_mover(d, &mover))
		return;
	say_block(2, "%s to and from %s.", size_text(d->size), mover->title);
	json_object_set_new(d->json, "moved_with", json_text(mover->title));
	t = table_new(cols, ARRAY_SIZE(cols), true);
	for (size_t i = 0; i < demo_kinds_n && !stop_requested(); i++)
		if (demo_kinds[i] != MEM_HOLE)
			move_kind(d, mover, demo_kinds[i], t, list);
	table_end(t);
	mover->ops->close(mover);
	say_block(2, "CLEAN: what became of the pages when the unpin after \"out\" was "
		     "asked to leave them clean; DIRTY: when the one after \"back\" "
		     "was asked to mark them dirty. A staged region's pages are those "
		     "of its copy: they stay clean.");
	say_block(2,
		  "* Brought back into other memory, for this may not be written to.");
}
