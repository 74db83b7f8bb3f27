/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verdict.c - may this memory be pinned, why not, and what instead: the opinion on
 * backing.c's facts. What the kernel would say is from check_vma_flags() and
 * gup_fast_folio_allowed() in mm/gup.c, and for mlock(2) from mm/mlock.c; where
 * kernels differ (writing to a file's shared pages: allowed before 6.5), the
 * newest decides.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define GUARDS_MAX (1ul << 30)

/* What is wrong with a mapping; in the order of the table `problems`. */
enum problem {
	FINE,
	HOLE,
	PAST_EOF,
	GUARD,
	DEVICE,
	SECRET,
	UNREADABLE,	/* PROT_NONE, or without PROT_READ */
	READ_ONLY,	/* and writing was asked for */
	BACKEND_WRITES, /* read-only, reading asked for, but the backend pins to write
			 */
	FSDAX,
	WRITEBACK, /* a file's page cache, shared and writable, pinned to write */
};

/* A judgement under way. */
struct judge {
	const struct request *req;
	const struct backend_caps *caps;
	struct pinmem_verdict *v;
	bool write;	 /* the caller asks for writing */
	bool pin_writes; /* the pin would be for writing */
	bool strict;	 /* ODP or staging was asked for, whatever may be pinned */
	unsigned int mappings;
	bool passable;	      /* ODP and staging can serve all mappings */
	bool writable;	      /* all are */
	enum problem problem; /* of the mapping that decides */
	bool hard;	      /* for which there is no way out */
	struct mapping worst; /* that mapping; unset while FINE */
};

/* -------------------------------------------------------------- one mapping */

static enum problem absence(const struct mapping *m)
{
	return m->guard ? GUARD : m->past_eof ? PAST_EOF : HOLE;
}

/* Can the device's own faults (ODP), or a copy, serve it? HMM wants VM_READ. */
static bool is_passable(const struct judge *j, const struct mapping *m)
{
	if (m->backing == PINMEM_UNMAPPED || m->backing == PINMEM_DEVICE ||
	    m->backing == PINMEM_SECRET)
		return false;
	return m->readable && (m->writable || !j->write);
}

/* GUP checks the one right it needs; a page that may be written to may lack the
 * right to be read. mlock(2) faults in what may be accessed in any way. */
static enum problem protection(const struct judge *j, const struct mapping *m)
{
	if (j->write && !m->writable)
		return m->readable ? READ_ONLY : UNREADABLE;
	if (j->pin_writes && !m->writable)
		return m->readable ? BACKEND_WRITES : UNREADABLE;
	if (!j->caps->pins && !j->strict && m->writable)
		return FINE;
	if (!m->readable && (j->strict || !j->pin_writes))
		return UNREADABLE;
	return FINE;
}

/* mlock(2) takes files and DAX files as they are; device memory it passes over in
 * silence, and secret memory it cannot fault in. */
static enum problem examine(const struct judge *j, const struct mapping *m)
{
	enum problem p;

	if (m->backing == PINMEM_UNMAPPED)
		return absence(m);
	if (m->backing == PINMEM_DEVICE)
		return DEVICE;
	if (m->backing == PINMEM_SECRET)
		return SECRET;
	/* GUP looks at this before it looks at the rights */
	if (j->caps->pins && m->backing == PINMEM_FSDAX &&
	    (!m->copied || j->caps->no_dax_copies))
		return FSDAX;
	p = protection(j, m);
	if (p || !j->caps->pins)
		return p;
	if (m->backing == PINMEM_FILE && m->shared && m->writable && j->pin_writes)
		return WRITEBACK;
	return FINE;
}

static void note_first(struct pinmem_verdict *v, const struct mapping *m)
{
	v->backing = m->backing;
	v->shared = m->shared;
	v->page_size = m->page_size;
	memcpy(v->file, m->file, strlen(m->file) + 1);
}

/* The first mapping is shown, until there is one with a problem; one without a way
 * out comes before one with. Nothing can be worse: 1 ends the walk. */
static int judge_mapping(const struct mapping *m, void *arg)
{
	struct judge *j = arg;
	enum problem p = examine(j, m);
	bool passable = is_passable(j, m);

	if (!j->mappings++)
		note_first(j->v, m);
	j->passable &= passable;
	j->writable &= m->writable;
	if (!p)
		return 0;
	if (!j->problem || !passable) {
		j->problem = p;
		j->hard = !passable;
		j->worst = *m;
	}
	return j->hard;
}

/* ---------------------------------------------------------------- sentences */

#define WHOLE_PAGES                                                          \
	"this device's ODP is right only for messages that begin on a page " \
	"boundary, at an MTU of 4096"

static const char *const pinnable[] = {
	[PINMEM_ANON] = "anonymous memory: it may be pinned",
	[PINMEM_THP] = "anonymous memory on huge pages: it may be pinned",
	[PINMEM_HUGETLB] = "hugetlb memory: it may be pinned",
	[PINMEM_SHMEM] = "shared memory without a disk behind it: it may be pinned",
	[PINMEM_FILE] = "a file's pages, private or only read: they may be pinned",
	[PINMEM_FSDAX] =
		"a private mapping of a DAX file whose pages are all copies in "
		"memory: it may be pinned",
	[PINMEM_DEVDAX] =
		"device-dax memory, which no file system moves: it may be pinned",
};

static const char *const wrong[] = {
	[HOLE] = "is not mapped: register only what is mapped",
	[PAST_EOF] = "lies past the end of its file: extend the file, or register less",
	[GUARD] = "is a guard region (MADV_GUARD_INSTALL): leave it out",
	[DEVICE] = "is device memory, which has no pages that could be pinned",
	[SECRET] =
		"is secret memory (memfd_secret(2)), which the kernel lets nobody pin",
	[UNREADABLE] = "is mapped without PROT_READ: mprotect(2) it",
	[READ_ONLY] = "is mapped without PROT_WRITE, but writing was asked for: "
		      "mprotect(2) it, or ask for no write access",
	[BACKEND_WRITES] = "is mapped read-only, and this backend pins for writing "
			   "whatever the access",
	[FSDAX] =
		"lies on a DAX file system: its pages are the storage itself, and the "
		"kernel refuses a long-term pin, which would block truncation",
	[WRITEBACK] =
		"is the page cache of a file, shared and writable: a device "
		"writing there would go unseen by the file system, so a long-term "
		"pin for writing is refused (by Linux since 6.5)",
};

/* The same for mlock(2) and pin_track, where it differs */
static const char *wrong_for(const struct judge *j, enum problem p)
{
	if (p == FSDAX && j->worst.copied)
		return "is a private mapping of a file on a DAX file system: its pages "
		       "are copies now, but this backend refuses such mappings "
		       "whatever was touched before";
	if (!j->caps->pins && p == DEVICE)
		return "is device memory: mlock(2) has nothing to do there";
	if (!j->caps->pins && p == SECRET)
		return "is secret memory (memfd_secret(2)): always resident, and "
		       "mlock(2) fails on it";
	return wrong[p];
}

/* What stands in for memory that has a way out, or what could. */
static const char *way_out(const struct judge *j)
{
	if (j->v->action == PINMEM_USE_ODP && j->caps->odp_whole_pages)
		return "; the device pages it on demand instead, but " WHOLE_PAGES;
	if (j->v->action == PINMEM_USE_ODP)
		return "; the device pages it on demand instead";
	if (j->v->action == PINMEM_USE_STAGE)
		return "; a pinned copy stands in for it, see pinmem_sync()";
	if (j->req->opts.mode == PINMEM_ODP)
		return "; this device has no on-demand paging: ask for PINMEM_STAGED";
	if (j->req->opts.mode == PINMEM_PINNED)
		return "; PINMEM_PINNED was asked for, which leaves no other way";
	if (!j->passable)
		return "; and other parts of the range are mapped without PROT_READ, "
		       "which leaves no other way";
	if (j->caps->odp)
		return "; allow PINMEM_USE_ODP or PINMEM_USE_STAGE in the policy";
	return "; allow PINMEM_USE_STAGE in the policy (this device has no ODP)";
}

static const char *more_help(const struct judge *j)
{
	const struct mapping *m = &j->worst;

	if (j->problem == FSDAX && j->hard)
		return m->readable ? "; and it is mapped without PROT_WRITE, so that "
				     "no other way can serve the writing either"
				   : "; and it is mapped without PROT_READ, so that "
				     "there is no other way either";
	if (j->v->action != PINMEM_REFUSE || j->hard)
		return "";
	if (m->doubt)
		return ", or give a descriptor of the file (PINMEM_REG_FD)";
	if (j->problem == FSDAX && !m->shared && m->writable && !j->caps->no_dax_copies)
		return ", or write to every page first: copies may be pinned";
	if (j->problem == WRITEBACK)
		return j->caps->always_writes ? ", or use a memfd or MAP_PRIVATE"
					      : ", or register it without write access";
	return "";
}

/* " of FILE", without control characters, not too long; or "" */
static void name_file(char *buf, size_t size, const struct mapping *m)
{
	buf[0] = '\0';
	if (!m->file[0])
		return;
	snprintf(buf, size, " of %.*s", (int)size - 5, m->file);
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

static void write_reason(struct judge *j)
{
	const struct mapping *m = &j->worst;
	char size[BYTES_TEXT], file[140];

	format_bytes(size, m->end - m->start);
	name_file(file, sizeof(file), m);
	snprintf(j->v->reason, sizeof(j->v->reason), "%#" PRIxPTR " +%s%s %s%s%s%s",
		 m->start, size, file,
		 m->doubt && j->problem == FSDAX ? "cannot be examined, and perhaps "
						 : "",
		 wrong_for(j, j->problem), j->hard ? "" : way_out(j), more_help(j));
}

static void say(struct pinmem_verdict *v, const char *sentence)
{
	memcpy(v->reason, sentence, strlen(sentence) + 1);
}

/* Nothing is wrong: a constant, for this is on the way of every registration. */
static void praise(struct judge *j)
{
	struct pinmem_verdict *v = j->v;

	if (v->action == PINMEM_USE_ODP && j->caps->odp_whole_pages)
		say(v, "ODP was asked for: the device pages it on demand, "
		       "but " WHOLE_PAGES);
	else if (v->action == PINMEM_USE_ODP)
		say(v, "ODP was asked for: the device pages it on demand");
	else if (v->action == PINMEM_USE_STAGE)
		say(v, "staging was asked for: a pinned copy stands in for it");
	else if (!j->caps->pins)
		say(v, "it may be kept resident by mlock(2), which is not a pin");
	else if (j->mappings > 1)
		say(v, "every mapping of the range may be pinned");
	else
		say(v, pinnable[v->backing]);
}

/* ------------------------------------------------------------ the judgement */

/* GUP refuses a DAX mapping before it looks at its rights; pages that are copies only
 * spare it the mapping if their own rights suffice. */
static int error_of(const struct judge *j)
{
	if (!j->problem)
		return 0;
	return j->caps->pins && j->worst.backing == PINMEM_FSDAX ? -EOPNOTSUPP
								 : -EFAULT;
}

/* The first way out of the policy that this device and all mappings allow. */
static enum pinmem_action first_way_out(const struct judge *j)
{
	const enum pinmem_action *policy = j->req->opts.policy;

	if (!j->passable)
		return PINMEM_REFUSE;
	for (int i = 0; i < PINMEM_POLICY_MAX && policy[i]; i++) {
		if (policy[i] == PINMEM_USE_ODP && !j->caps->odp)
			continue;
		return policy[i];
	}
	return PINMEM_REFUSE;
}

static enum pinmem_action choose(const struct judge *j)
{
	switch (j->req->opts.mode) {
	case PINMEM_ODP:
		return j->passable ? PINMEM_USE_ODP : PINMEM_REFUSE;
	case PINMEM_STAGED:
		return j->passable ? PINMEM_USE_STAGE : PINMEM_REFUSE;
	case PINMEM_PINNED:
	case PINMEM_RESIDENT:
		return j->problem ? PINMEM_REFUSE : PINMEM_PIN;
	case PINMEM_MODE_DEFAULT:
		break;
	}
	return j->problem ? first_way_out(j) : PINMEM_PIN;
}

/* The mode that was asked for, and that this backend can never give; else NULL */
static const char *impossible_mode(const struct judge *j)
{
	switch (j->req->opts.mode) {
	case PINMEM_ODP:
		return j->caps->odp ? NULL
				    : "this device has no on-demand paging: ask for "
				      "PINMEM_PINNED or PINMEM_STAGED";
	case PINMEM_PINNED:
		return j->caps->pins
			       ? NULL
			       : "mlock(2) keeps memory resident but does not pin "
				 "it: ask for PINMEM_RESIDENT, or another backend";
	case PINMEM_RESIDENT:
		return !j->caps->pins ? NULL
				      : "this backend pins memory: PINMEM_RESIDENT is "
					"the mlock backend's";
	default:
		return NULL;
	}
}

static void show_worst(struct judge *j)
{
	const struct mapping *m = &j->worst;

	note_first(j->v, m);
	j->v->bad_addr = (void *)m->start;
	j->v->bad_len = m->end - m->start;
	write_reason(j);
}

static void conclude(struct judge *j)
{
	struct pinmem_verdict *v = j->v;
	const char *never = impossible_mode(j);

	v->mappings = j->mappings;
	v->writable = j->writable;
	v->bad_addr = NULL;
	v->bad_len = 0;
	v->error = never ? -EOPNOTSUPP : error_of(j);
	v->action = never ? PINMEM_REFUSE : choose(j);
	if (j->problem)
		show_worst(j);
	else
		praise(j);
	/* what is wrong with the memory is the better sentence: it names the file and
	 * says that the device has no ODP */
	if (never && !(j->problem && j->req->opts.mode == PINMEM_ODP))
		say(v, never);
}

static void judge_begin(struct judge *j, const struct request *req,
			const struct backend_caps *caps, struct pinmem_verdict *v)
{
	enum pinmem_mode mode = req->opts.mode;

	j->req = req;
	j->caps = caps;
	j->v = v;
	j->write = (req->access & PINMEM_ACCESS_WRITES) ||
		   (req->opts.flags & PINMEM_REG_DIRTY_AT_PIN);
	j->pin_writes = j->write || caps->always_writes;
	j->strict = mode == PINMEM_ODP || mode == PINMEM_STAGED;
	j->mappings = 0;
	j->passable = j->writable = true;
	j->problem = FINE;
	j->hard = false;
}

/*
 * Guard regions are looked for with @detail only: a pin meets them itself, and so do
 * odp_register() and the staging copy. The kernel looks at each page for them, so only
 * where that is no matter (1 GiB: some milliseconds).
 */
int verdict_decide(const struct request *req, const struct backend_caps *caps,
		   bool detail, struct pinmem_verdict *v)
{
	struct backing_hints hints = {
		.fd = req->opts.fd,
		.detail = detail,
		.guards = detail && req->len <= GUARDS_MAX,
	};
	struct judge j; /* large: only what is needed is initialised */
	int rc;

	judge_begin(&j, req, caps, v);
	rc = backing_walk(req->start, req->end, &hints, judge_mapping, &j);
	if (rc < 0)
		return rc;
	if (!j.mappings)
		return fail(EINVAL, "the range is empty");
	conclude(&j);
	return 0;
}

struct verdict_walk {
	struct judge judge;
	struct pinmem_verdict v;
	int (*fn)(const struct pinmem_verdict *v, void *arg);
	void *arg;
};

static int judge_alone(const struct mapping *m, void *arg)
{
	struct verdict_walk *w = arg;
	struct judge *j = &w->judge;

	judge_begin(j, j->req, j->caps, &w->v);
	judge_mapping(m, j);
	conclude(j);
	w->v.bad_addr = (void *)m->start;
	w->v.bad_len = m->end - m->start;
	return w->fn(&w->v, w->arg);
}

int verdict_walk(const struct request *req, const struct backend_caps *caps,
		 int (*fn)(const struct pinmem_verdict *v, void *arg), void *arg)
{
	struct backing_hints hints = {
		.fd = req->opts.fd,
		.detail = true,
		.guards = req->len <= GUARDS_MAX,
	};
	struct verdict_walk w = { .v.size = sizeof(w.v), .fn = fn, .arg = arg };

	judge_begin(&w.judge, req, caps, &w.v);
	return backing_walk(req->start, req->end, &hints, judge_alone, &w);
}
