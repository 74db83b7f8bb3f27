/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memlock.c - what a pin needs of RLIMIT_MEMLOCK, what is left of it in the one
 * of the kernel's three counters that applies, and a sentence with all of that.
 *
 *   VMPIN  mm->pinned_vm    verbs     shown as VmPin: exact
 *   VMLCK  mm->locked_vm    mlock     shown as VmLck: exact
 *   USER   user->locked_vm  io_uring  shown nowhere: an estimate, from the rings
 *                                     of this user that /proc lets us see
 *
 * All of it is about now and about the calling thread (capabilities belong to
 * threads). /proc/thread-self is read and not /proc/self, which shows an
 * empty process once the main thread has exited.
 */
#include "usage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ------------------------------------------------------------- arithmetic */

/* What one page table of 8-byte entries maps: 2 MiB with 4 KiB pages */
static uint64_t huge_page(void)
{
	return page_size() * (page_size() / 8);
}

static uint64_t soft_limit(uint64_t *hard)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	getrlimit(RLIMIT_MEMLOCK, &lim);
	if (hard)
		*hard = lim.rlim_max == RLIM_INFINITY ? UINT64_MAX : lim.rlim_max;
	return lim.rlim_cur == RLIM_INFINITY ? UINT64_MAX : lim.rlim_cur;
}

/* The kernel compares pages: a part of a page of the limit is no use. */
static bool within(uint64_t need, uint64_t used, uint64_t limit)
{
	if (limit == UINT64_MAX)
		return true;
	return add_sat(need, used) <= (limit & ~(page_size() - 1));
}

static int note_hugetlb(const struct mapping *m, void *size)
{
	if (m->backing == PINMEM_HUGETLB)
		*(uint64_t *)size = m->page_size;
	return 1;
}

/* The compound page around a base page, as far as it can be seen from here:
 * large folios below a page table's reach do not show, the kernel counts them. */
static uint64_t compound_at(uintptr_t page)
{
	struct backing_hints hints = { .fd = -1 };
	uint64_t size = page_size();

	backing_walk(page, page + size, &hints, note_hugetlb, &size);
	if (size == page_size() && backing_huge_at(page))
		size = huge_page();
	return size;
}

/*
 * Only the ends of a range can lie in the middle of a compound page, so the
 * cost does not grow with the length. See io_buffer_account_pin() in io_uring.
 * A page that this ring has charged before is not charged again; counting it
 * here never refuses wrongly, for it is then in the sum of what is used, too.
 */
static uint64_t compound_pages(const void *addr, uint64_t len)
{
	uint64_t bytes = whole_pages(addr, len);
	uintptr_t start = page_floor((uintptr_t)addr);
	uintptr_t last = start + bytes - page_size();
	uint64_t before, after, size;

	if (!bytes || last < start)
		return bytes;
	size = compound_at(start);
	before = start & (size - 1);
	size = compound_at(last);
	after = size - page_size() - (last & (size - 1));
	return before + bytes + after;
}

static uint64_t charge_of(const struct backend_caps *caps, const void *addr,
			  uint64_t len)
{
	if (caps->counter == PINMEM_COUNT_NONE)
		return 0;
	if (caps->charges_compound && addr)
		return compound_pages(addr, len);
	return whole_pages(addr, len);
}

/* ------------------------------------------------------ what is used, and where */

/** struct report - the parts of the sentence that the numbers do not say. */
struct report {
	struct pinmem_memlock *out;
	uint64_t len;	/* as asked */
	uint64_t plain; /* the need, if no compound page were charged whole */
	uint64_t hard;
	bool other_ns;	 /* capable, in a user namespace where it is no use */
	bool unknown;	 /* what is used */
	char where[128]; /* whose use it is */
};

static void used_of_user(struct report *r)
{
	struct scan s;

	if (!scan_user(&s)) {
		r->unknown = true;
		return;
	}
	r->out->used = s.bytes;
	snprintf(r->where, sizeof(r->where),
		 s.cut ? "at least: the first %u io_uring%s of user %lu in /proc"
		       : "an estimate: the %u io_uring%s of user %lu in /proc",
		 s.nrings, s.nrings == 1 ? "" : "s", s.uid);
}

static void used_of_process(struct report *r, const char *name)
{
	bool pin = r->out->counter == PINMEM_COUNT_VMPIN;
	struct status st;

	status_read(SELF, &st);
	r->out->used = pin ? st.vmpin : st.vmlck;
	r->out->exact = pin ? st.vmpin_known : st.vmlck_known;
	r->unknown = !r->out->exact;
	snprintf(r->where, sizeof(r->where), "%s of this process", name);
}

static void find_used(struct report *r)
{
	switch (r->out->counter) {
	case PINMEM_COUNT_NONE:
		r->out->exact = 1;
		break;
	case PINMEM_COUNT_VMPIN:
		used_of_process(r, "VmPin");
		break;
	case PINMEM_COUNT_VMLCK:
		used_of_process(r, "VmLck");
		break;
	case PINMEM_COUNT_USER:
		if (!r->out->bypass)
			used_of_user(r);
		break;
	}
}

static uint64_t overlap(uintptr_t a, uintptr_t a_end, uintptr_t b, uintptr_t b_end)
{
	uintptr_t start = a > b ? a : b, end = a_end < b_end ? a_end : b_end;

	return end > start ? end - start : 0;
}

/* Bytes of a range that are mlocked already: locking them again is free, see
 * count_mm_mlocked_page_nr(). Slow, so asked only where it decides. */
static uint64_t locked_within(uintptr_t start, uintptr_t end)
{
	FILE *f = proc_open(SELF, "smaps");
	uintptr_t from = 0, to = 0;
	uint64_t locked = 0;
	char *line = NULL;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
			continue;
		if (!strncmp(line, "VmFlags:", 8) && strstr(line, " lo "))
			locked += overlap(from, to, start, end);
	}
	free(line);
	if (f)
		fclose(f);
	return locked;
}

/* Does it fit? Narrows the need to what is not locked yet, if that decides. */
static bool decide(struct pinmem_memlock *out, const void *addr)
{
	uintptr_t start = page_floor((uintptr_t)addr);

	if (out->bypass || within(out->need, out->used, out->limit))
		return true;
	if (!addr || out->counter != PINMEM_COUNT_VMLCK || !out->used)
		return false;
	out->need = sub_sat(out->need, locked_within(start, start + out->need));
	return within(out->need, out->used, out->limit);
}

/* --------------------------------------------------------------- the sentence */

static void say(struct pinmem_memlock *out, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct pinmem_memlock *out, const char *fmt, ...)
{
	size_t n = strlen(out->remedy);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->remedy + n, sizeof(out->remedy) - n, fmt, ap);
	va_end(ap);
}

static void say_numbers(const struct report *r)
{
	struct pinmem_memlock *out = r->out;
	char text[BYTES_TEXT];

	say(out, "%s %s needs %" PRIu64 " B of RLIMIT_MEMLOCK",
	    out->counter == PINMEM_COUNT_VMLCK ? "locking" : "pinning",
	    format_bytes(text, r->len), out->need);
	if (out->need > r->plain)
		say(out, " (huge pages are charged whole)");
	if (out->limit == UINT64_MAX)
		say(out, ", limit none");
	else
		say(out, ", limit %" PRIu64 " B", out->limit);
	if (r->unknown)
		say(out, ", in use unknown (/proc does not tell)");
	else if (*r->where)
		say(out, ", in use %" PRIu64 " B (%s)", out->used, r->where);
}

/* ulimit counts in KiB. The capability is asked for when a ring is made, by the
 * other two at each call. */
static void say_remedy(const struct report *r)
{
	struct pinmem_memlock *out = r->out;
	uint64_t want = add_sat(out->need, out->used);

	say(out, "; raise `ulimit -l` to at least %" PRIu64, want / 1024);
	if (r->hard == UINT64_MAX)
		say(out, " (KiB; there is no hard limit)");
	else
		say(out, " (KiB; the hard limit is %" PRIu64 "%s)", r->hard / 1024,
		    r->hard >= want ? " and allows it" : ", too low");
	say(out,
	    ", with LimitMEMLOCK= for a systemd service or memlock in limits.conf"
	    ", or grant CAP_IPC_LOCK%s",
	    out->counter == PINMEM_COUNT_USER ? " before the io_uring is made" : "");
	if (r->other_ns)
		say(out, " in the initial user namespace (having it in another one"
			 " does not count)");
}

static void say_cgroup(struct pinmem_memlock *out, uint64_t need)
{
	if (need <= sub_sat(out->cgroup_limit, out->cgroup_used))
		return;
	say(out,
	    "; the memory cgroup allows %" PRIu64 " B and %" PRIu64
	    " B are in use: more than the rest must not be populated",
	    out->cgroup_limit, out->cgroup_used);
}

static void say_all(const struct report *r)
{
	struct pinmem_memlock *out = r->out;

	out->remedy[0] = '\0';
	if (out->counter == PINMEM_COUNT_NONE) {
		say(out, "nothing is charged to RLIMIT_MEMLOCK");
		return;
	}
	say_numbers(r);
	if (out->bypass)
		say(out, ": CAP_IPC_LOCK lifts the limit");
	else if (within(out->need, out->used, out->limit))
		say(out, ": within the limit");
	else
		say_remedy(r);
	say_cgroup(out, out->need);
}

/* --------------------------------------------------------------- the two doors */

int memlock_examine(const struct backend_caps *caps, const void *addr, size_t len,
		    struct pinmem_memlock *out)
{
	struct report r = { .out = out, .len = len };

	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->counter = caps->counter;
	out->limit = soft_limit(&r.hard);
	out->need = charge_of(caps, addr, len);
	r.plain = whole_pages(addr, len);
	/* io_uring asked when the ring was made, the others ask at each pin */
	out->bypass = caps->counter == PINMEM_COUNT_USER ? caps->limit_bypassed
							 : memlock_bypass();
	r.other_ns =
		!out->bypass && cap_effective() && user_namespace(SELF) == NS_OTHER;
	find_used(&r);
	find_cgroup(out);
	out->fits = decide(out, addr);
	/* memory that is there already, or that another group pays for, may be
	 * larger than the group's limit; memory to be had may not */
	if (!addr && out->need > out->cgroup_limit)
		out->fits = 0;
	say_all(&r);
	return 0;
}

/*
 * What this lets through the kernel still decides, and its ENOMEM is explained
 * by memlock_examine(). So this looks only for what is worth refusing before
 * memory is populated and moved for nothing: not at pins below an eighth of the
 * limit, which mostly fit, and for which reading /proc (20 µs) would cost
 * more than the pin; and not at the estimate for io_uring, which may be wrong.
 */
int memlock_precheck(const struct backend_caps *caps, const void *addr, size_t len)
{
	struct pinmem_memlock m;
	struct status st;
	uint64_t limit, need, used = 0;

	if (caps->limit_bypassed || caps->counter == PINMEM_COUNT_NONE)
		return 0;
	limit = soft_limit(NULL);
	if (limit == UINT64_MAX || whole_pages(addr, len) <= limit / 8)
		return 0;
	need = charge_of(caps, addr, len);
	if (caps->counter != PINMEM_COUNT_USER && status_read(SELF, &st))
		used = caps->counter == PINMEM_COUNT_VMPIN ? st.vmpin : st.vmlck;
	if (within(need, used, limit))
		return 0;
	memlock_examine(caps, addr, len, &m);
	if (m.fits) /* capable by now, or partly locked already */
		return 0;
	return fail(ENOMEM, "%s", m.remedy);
}
