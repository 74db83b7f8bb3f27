/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_e2e.c - bytes that go through two RDMA devices, between two processes, into
 * and out of each kind of memory that pinmem registers: SEND, RDMA WRITE, RDMA READ
 * and atomics, from both sides; every byte is compared at both ends, and on a file
 * system once more after it was unmounted and mounted again.
 *
 * usage: test_e2e [NAME...], of pinned, odp, staged, refused, or of single cases
 *   PINNED    anonymous memory on small and on huge pages, shmem, device-dax
 *   ODP       anonymous memory and files on DAX; longer than a segment
 *   STAGED    files on DAX with and without MAP_SYNC, anonymous memory
 *   REFUSED   files on DAX where no way out is allowed or had
 * Prints "ok|FAIL CASE: STEP" for each step; a case ends with its first failure.
 * Exit: 0; 1 when a step failed; 77 when nothing could run; 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x3
#endif

#define LEN 600011ul	       /* of a region: ends in no page, word or packet border */
#define MARGIN (3 * LINK_PAGE) /* mapped before it, at least */
#define MAPPED (2ul << 20)     /* all of it; and devices' and huge pages' alignment */
#define MESSAGE 70001ul	       /* bytes of a SEND */

/* Patterns, each from one author */
enum { FIRST = 1, PEER, USER, SENT, FETCHED, JUNK };

enum kind { ANON, HUGE, ALLOC, SHMEM, DEVDAX, EXT4_DAX, XFS_DAX };

struct test_case {
	const char *name;
	enum kind kind;
	enum pinmem_mode mode;
	enum pinmem_mode expect; /* DEFAULT: ODP if the device has it, else STAGED */
	int map_sync;
};

struct test {
	const struct test_case *c;
	struct link l;
	int fd;
	char path[512];
	unsigned char *map;  /* MAPPED bytes */
	unsigned char *want; /* what must be there */
	uint64_t offset;     /* of the region in both */
	struct pinmem_mr *mr;
	struct link_target target;
	enum pinmem_mode mode;
	uint64_t unit; /* messages begin at multiples of it, in memory */
	unsigned int ran, failed;
	bool case_failed;
};

static bool complain(struct test *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool complain(struct test *t, const char *fmt, ...)
{
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("FAIL %s: %s\n", t->c->name, text);
	t->case_failed = true;
	return false;
}

static bool good(struct test *t, const char *what)
{
	printf("ok   %s: %s\n", t->c->name, what);
	return true;
}

static unsigned char *region(struct test *t)
{
	return t->map + t->offset;
}

/* Where the i-th of three parts of the region begins: at a message's border. */
static uint64_t third(const struct test *t, unsigned int i)
{
	return i == 3 ? LEN : LEN * i / 3 / t->unit * t->unit;
}

/* ------------------------------------------------------------- kinds of memory */

static bool is_file(const struct test *t)
{
	return t->c->kind == SHMEM || t->c->kind == EXT4_DAX || t->c->kind == XFS_DAX;
}

static bool is_fsdax(const struct test *t)
{
	return t->c->kind == EXT4_DAX || t->c->kind == XFS_DAX;
}

static const char *directory(const struct test *t)
{
	static const char *const names[] = { [SHMEM] = "PINMEM_SHM",
					     [EXT4_DAX] = "PINMEM_EXT4_DAX",
					     [XFS_DAX] = "PINMEM_XFS_DAX" };

	return getenv(names[t->c->kind]);
}

static enum pinmem_backing backing(const struct test *t)
{
	static const enum pinmem_backing of[] = {
		[ANON] = PINMEM_ANON,	  [HUGE] = PINMEM_THP,
		[ALLOC] = PINMEM_HUGETLB, [SHMEM] = PINMEM_SHMEM,
		[DEVDAX] = PINMEM_DEVDAX, [EXT4_DAX] = PINMEM_FSDAX,
		[XFS_DAX] = PINMEM_FSDAX,
	};

	return of[t->c->kind];
}

/* The first and the last third have bytes, written through the descriptor, so that no
 * page is mapped yet; the middle is a hole, whose blocks the device's writes allocate.
 */
static bool fill_file(struct test *t)
{
	uint64_t part;

	snprintf(t->path, sizeof(t->path), "%s/e2e", directory(t));
	unlink(t->path);
	t->fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (t->fd < 0 || ftruncate(t->fd, MAPPED))
		return complain(t, "%s: %s", t->path, strerror(errno));
	for (unsigned int i = 0; i < 3; i += 2) {
		part = third(t, i + 1) - third(t, i);
		if (pwrite(t->fd, t->want + t->offset + third(t, i), part,
			   (off_t)(t->offset + third(t, i))) != (ssize_t)part)
			return complain(t, "%s: %s", t->path, strerror(errno));
	}
	return true;
}

/* Anonymous memory, huge pages aligned to themselves */
static void *map_anonymous(int advice)
{
	unsigned char *p = mmap(NULL, 2 * MAPPED, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t skip = MAPPED - (uintptr_t)p % MAPPED;

	if (p == MAP_FAILED)
		return p;
	munmap(p, skip);
	if (MAPPED - skip)
		munmap(p + skip + MAPPED, MAPPED - skip);
	madvise(p + skip, MAPPED, advice);
	return p + skip;
}

static void *map_kind(struct test *t)
{
	int flags = t->c->map_sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;
	void *p;

	switch (t->c->kind) {
	case ANON:
		return map_anonymous(MADV_NOHUGEPAGE);
	case HUGE:
		return map_anonymous(MADV_HUGEPAGE);
	case ALLOC:
		return pinmem_alloc(t->l.end.pm, MAPPED, NULL, &p) ? MAP_FAILED : p;
	case DEVDAX:
		t->fd = open(getenv("PINMEM_DEVDAX"), O_RDWR | O_CLOEXEC);
		break;
	default:
		if (!fill_file(t))
			return MAP_FAILED;
	}
	return mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, flags, t->fd, 0);
}

static bool make_memory(struct test *t)
{
	t->fd = -1;
	t->offset = MARGIN + (t->unit == 1 ? 77 : 0);
	memset(t->want, 0, MAPPED);
	link_fill(t->want + t->offset, 0, third(t, 1), FIRST);
	link_fill(t->want + t->offset + third(t, 2), third(t, 2), LEN - third(t, 2),
		  FIRST);
	t->map = map_kind(t);
	if (t->map == MAP_FAILED)
		return t->case_failed || complain(t, "no memory: %s", strerror(errno));
	if (!is_file(t))
		memcpy(t->map, t->want, MAPPED);
	return true;
}

/* Gives up the memory; the file stays. */
static bool drop_memory(struct test *t)
{
	int rc = t->c->kind == ALLOC ? pinmem_free(t->l.end.pm, t->map, MAPPED)
				     : munmap(t->map, MAPPED);

	t->map = MAP_FAILED;
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	return !rc || complain(t, "the memory cannot be given back");
}

/* ---------------------------------------------------------- the smallest steps */

/* All of the mapping, so also what nobody should have written to */
static bool same(struct test *t, const char *when)
{
	if (!memcmp(t->map, t->want, MAPPED))
		return true;
	for (int64_t i = 0;; i++)
		if (t->map[i] != t->want[i])
			return complain(t, "%s: byte %" PRId64 " is 0x%02x, not 0x%02x",
					when, i - (int64_t)t->offset, t->map[i],
					t->want[i]);
}

static void want(struct test *t, uint64_t from, uint64_t to, unsigned int author)
{
	link_fill(t->want + t->offset + from, from, to - from, author);
}

/* The peer moves bytes between its scratch at @local and the region. */
static bool peer(struct test *t, enum link_verb verb, uint64_t from, uint64_t to)
{
	static const char *const names[] = { [LINK_WRITE] = "WRITE",
					     [LINK_READ] = "READ",
					     [LINK_SEND] = "SEND",
					     [LINK_RECV] = "RECV",
					     [LINK_WAIT] = "completion" };
	struct link_request r = { .verb = verb,
				  .target = t->target,
				  .local = from,
				  .remote = from,
				  .len = to - from };
	int rc = link_ask(&t->l, &r, NULL);

	return !rc || complain(t, "peer's %s: %s", names[verb], link_status(rc));
}

static bool peer_fill(struct test *t, uint64_t from, uint64_t to, unsigned int author)
{
	struct link_request r = { .verb = LINK_FILL,
				  .local = from,
				  .at = from,
				  .len = to - from,
				  .seed = author };

	return !link_ask(&t->l, &r, NULL) || complain(t, "peer cannot fill");
}

static bool peer_has(struct test *t, uint64_t from, uint64_t to, unsigned int author,
		     const char *when)
{
	struct link_request r = { .verb = LINK_CHECK,
				  .local = from,
				  .at = from,
				  .len = to - from,
				  .seed = author };
	struct link_answer a;

	return !link_ask(&t->l, &r, &a) ||
	       complain(t, "%s: at the peer's end byte %" PRIu64 " is wrong", when,
			from + a.wrong);
}

/* The peer READs a part anew, and finds in it what @author wrote. */
static bool peer_reads(struct test *t, uint64_t from, uint64_t to, unsigned int author,
		       const char *when)
{
	return peer_fill(t, from, to, JUNK) && peer(t, LINK_READ, from, to) &&
	       peer_has(t, from, to, author, when);
}

/* The region's own end moves bytes between it and the peer's scratch. */
static bool own(struct test *t, enum link_verb verb, uint64_t from, uint64_t to)
{
	struct link_request r = { .verb = verb,
				  .target = t->l.scratch,
				  .local = from,
				  .remote = from,
				  .len = to - from };
	int rc = link_do(&t->l.end, t->mr, &r, NULL);

	return !rc || complain(t, "own work request %d: %s", verb, link_status(rc));
}

static bool sync_part(struct test *t, uint64_t from, uint64_t to,
		      enum pinmem_sync_dir dir)
{
	return !pinmem_sync(t->mr, from, to - from, dir) ||
	       complain(t, "pinmem_sync: %s", pinmem_errmsg());
}

/*
 * The device has written [from, to) of the region. In a staged one nobody sees it
 * before a sync, and then just those bytes that were synced: first one half.
 */
static bool arrived(struct test *t, uint64_t from, uint64_t to, unsigned int author,
		    const char *what)
{
	uint64_t half = from + (to - from) / 2;

	if (t->mode == PINMEM_STAGED) {
		if (!same(t, "before the sync") ||
		    !sync_part(t, from, half, PINMEM_SYNC_FROM_DEVICE))
			return false;
		want(t, from, half, author);
		if (!same(t, "half synced"))
			return false;
	}
	want(t, from, to, author);
	return sync_part(t, half, to, PINMEM_SYNC_FROM_DEVICE) && same(t, what) &&
	       good(t, what);
}

/* ------------------------------------------------------------------- the steps */

/* What a peer is told are the user's addresses, in every mode. */
static bool check_segments(struct test *t)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };

	for (uint64_t at = 0; at < LEN; at += seg.len) {
		if (pinmem_mr_segment(t->mr, at, &seg))
			return complain(t, "pinmem_mr_segment: %s", pinmem_errmsg());
		if (seg.iova != (uintptr_t)region(t) + at)
			return complain(t, "iova 0x%" PRIx64 " is not the user's %p",
					seg.iova, (void *)(region(t) + at));
		if ((seg.addr == region(t) + at) == (t->mode == PINMEM_STAGED))
			return complain(t, "%p is not what %s means", seg.addr,
					pinmem_mode_name(t->mode));
	}
	return true;
}

static struct pinmem_reg_options reg_options(const struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = t->c->mode };

	if (t->c->mode == PINMEM_MODE_DEFAULT) {
		o.policy[0] = PINMEM_USE_ODP;
		o.policy[1] = PINMEM_USE_STAGE;
	}
	return o;
}

static bool registers(struct test *t)
{
	struct pinmem_reg_options o = reg_options(t);
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct pinmem_verdict v = { .size = sizeof(v) };
	char text[128];

	if (pinmem_reg(t->l.end.pm, region(t), LEN, LINK_ACCESS, &o, &t->mr))
		return complain(t, "pinmem_reg: %s", pinmem_errmsg());
	if (pinmem_mr_query(t->mr, &info))
		return complain(t, "pinmem_mr_query: %s", pinmem_errmsg());
	if (pinmem_check(t->l.end.pm, region(t), LEN, LINK_ACCESS, &o, &v))
		return complain(t, "pinmem_check: %s", pinmem_errmsg());
	if (info.mode != t->mode || v.backing != backing(t))
		return complain(
			t, "it is %s on %s, not %s on %s", pinmem_mode_name(info.mode),
			pinmem_backing_name(v.backing), pinmem_mode_name(t->mode),
			pinmem_backing_name(backing(t)));
	if (info.refused != (is_fsdax(t) ? -EOPNOTSUPP : 0))
		return complain(t, "refused is %d", info.refused);
	link_target(t->mr, &t->target);
	snprintf(text, sizeof(text), "%lu bytes are %s, on %s memory", LEN,
		 pinmem_mode_name(info.mode), pinmem_backing_name(v.backing));
	return check_segments(t) && good(t, text);
}

/* The hole in the middle is read too, but it has no author. */
static bool peer_reads_all(struct test *t)
{
	return peer_fill(t, 0, LEN, JUNK) && peer(t, LINK_READ, 0, LEN) &&
	       peer_has(t, 0, third(t, 1), FIRST, "READ") &&
	       peer_has(t, third(t, 2), LEN, FIRST, "READ") && same(t, "READ") &&
	       good(t, "the peer READs what was there");
}

static bool peer_writes(struct test *t)
{
	uint64_t from = third(t, 1), to = third(t, 2);

	return peer_fill(t, from, to, PEER) && peer(t, LINK_WRITE, from, to) &&
	       peer_reads(t, from, to, PEER, "READ after WRITE") &&
	       arrived(t, from, to, PEER, "the peer's WRITE is here");
}

/* A staged region shows the peer only what was synced: nothing, one half, all. */
static bool user_writes(struct test *t)
{
	uint64_t from = third(t, 2), half = third(t, 2) + 20 * LINK_PAGE;

	link_fill(region(t) + from, from, LEN - from, USER);
	want(t, from, LEN, USER);
	if (t->mode == PINMEM_STAGED &&
	    (!peer_reads(t, from, LEN, FIRST, "before the sync") ||
	     !sync_part(t, from, half, PINMEM_SYNC_TO_DEVICE) ||
	     !peer_reads(t, from, half, USER, "half synced") ||
	     !peer_reads(t, half, LEN, FIRST, "half synced")))
		return false;
	return sync_part(t, half, LEN, PINMEM_SYNC_TO_DEVICE) &&
	       peer_reads(t, from, LEN, USER, "after the sync") && same(t, "READ") &&
	       good(t, "the peer READs what the user wrote");
}

static bool peer_sends(struct test *t)
{
	int rc;

	if (!own(t, LINK_RECV, 0, MESSAGE) || !peer_fill(t, 0, MESSAGE, SENT) ||
	    !peer(t, LINK_SEND, 0, MESSAGE))
		return false;
	rc = link_wait(&t->l.end);
	if (rc)
		return complain(t, "RECV: %s", link_status(rc));
	return arrived(t, 0, MESSAGE, SENT, "the peer's SEND is received here");
}

static bool user_sends(struct test *t)
{
	uint64_t from = third(t, 2), to = from + MESSAGE;

	return peer_fill(t, from, to, JUNK) && peer(t, LINK_RECV, from, to) &&
	       own(t, LINK_SEND, from, to) && peer(t, LINK_WAIT, from, to) &&
	       peer_has(t, from, to, USER, "RECV") &&
	       good(t, "the peer receives a SEND from here");
}

/* All parts, by all their authors, leave through this end's lkey. */
static bool own_write(struct test *t)
{
	return peer_fill(t, 0, LEN, JUNK) && own(t, LINK_WRITE, 0, LEN) &&
	       peer_has(t, 0, MESSAGE, SENT, "own WRITE") &&
	       peer_has(t, MESSAGE, third(t, 1), FIRST, "own WRITE") &&
	       peer_has(t, third(t, 1), third(t, 2), PEER, "own WRITE") &&
	       peer_has(t, third(t, 2), LEN, USER, "own WRITE") &&
	       good(t, "the peer has what was WRITten from here");
}

static bool own_read(struct test *t)
{
	uint64_t to = third(t, 1);

	return peer_fill(t, 0, to, FETCHED) && own(t, LINK_READ, 0, to) &&
	       arrived(t, 0, to, FETCHED, "READ from the peer is here");
}

/* ---------------------------------------------------------------------- atomics */

static uint64_t word_at(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* One atomic of the peer, on the region's word at @at, which must have been @old */
static bool peer_atomic(struct test *t, enum link_verb verb, uint64_t at, uint64_t old,
			uint64_t compare, uint64_t value)
{
	struct link_request r = { .verb = verb,
				  .target = t->target,
				  .remote = at,
				  .compare = compare,
				  .value = value };
	struct link_answer a;
	int rc = link_ask(&t->l, &r, &a);

	if (rc)
		return complain(t, "peer's atomic: %s", link_status(rc));
	return a.old == old ||
	       complain(t, "peer's atomic found 0x%" PRIx64 ", not 0x%" PRIx64, a.old,
			old);
}

/* An addition, an exchange, and one that must not happen */
static bool peer_atomics(struct test *t)
{
	uint64_t at = third(t, 1) + 9 * LINK_PAGE + 1000;
	uint64_t first, add = 0x0123456789abcdef, new = 0xfedcba9876543210;

	at += 8 - (uintptr_t)(region(t) + at) % 8;
	first = word_at(t->want + t->offset + at);
	if (!peer_atomic(t, LINK_ADD, at, first, 0, add) ||
	    !peer_atomic(t, LINK_ADD, at, first + add, 0, 1) ||
	    !peer_atomic(t, LINK_SWAP, at, first + add + 1, first + add + 1, new) ||
	    !peer_atomic(t, LINK_SWAP, at, new, new + 1, 0))
		return false;
	if (t->mode == PINMEM_STAGED && !same(t, "atomics before the sync"))
		return false;
	memcpy(t->want + t->offset + at, &new, 8);
	return sync_part(t, at, at + 8, PINMEM_SYNC_FROM_DEVICE) &&
	       same(t, "peer's atomics") && peer_atomic(t, LINK_ADD, at, new, 0, 0) &&
	       good(t, "the peer's FETCH_ADD and CMP_SWAP count here");
}

/* The old value of the peer's word lands in the region, at @at. */
static bool own_atomic(struct test *t, enum link_verb verb, uint64_t at, uint64_t old,
		       uint64_t compare, uint64_t value)
{
	struct link_request r = { .verb = verb,
				  .target = t->l.scratch,
				  .local = at,
				  .compare = compare,
				  .value = value };
	int rc = link_do(&t->l.end, t->mr, &r, NULL);

	if (rc)
		return complain(t, "own atomic: %s", link_status(rc));
	memcpy(t->want + t->offset + at, &old, 8);
	return sync_part(t, at, at + 8, PINMEM_SYNC_FROM_DEVICE) &&
	       same(t, "own atomic's result");
}

static bool own_atomics(struct test *t)
{
	uint64_t at = third(t, 1) + 4 * LINK_PAGE, first;
	unsigned char bytes[8];

	if (t->unit == 1)
		at += 8 - (uintptr_t)(region(t) + at) % 8;
	link_fill(bytes, 0, 8, JUNK);
	first = word_at(bytes);
	return peer_fill(t, 0, 8, JUNK) && own_atomic(t, LINK_ADD, at, first, 0, 41) &&
	       own_atomic(t, LINK_SWAP, at, first + 41, first + 41, 12345) &&
	       own_atomic(t, LINK_SWAP, at, 12345, 54321, 0) &&
	       own_atomic(t, LINK_ADD, at, 12345, 0, 0) &&
	       good(t, "atomics on the peer's word bring its old value here");
}

/* -------------------------------------------------------------------- afterwards */

static bool releases(struct test *t)
{
	static const enum pinmem_unpin expected[] = { [PINMEM_PINNED] = PINMEM_DIRTY,
						      [PINMEM_ODP] = PINMEM_BY_FAULT,
						      [PINMEM_STAGED] = PINMEM_CLEAN };
	enum pinmem_unpin got;

	if (pinmem_dereg(t->mr, PINMEM_DIRTY, &got))
		return complain(t, "pinmem_dereg: %s", pinmem_errmsg());
	t->mr = NULL;
	if (got != expected[t->mode])
		return complain(t, "released %s", pinmem_unpin_name(got));
	return same(t, "after the release") && good(t, "released");
}

/* A file that was closed just now may keep its file system busy for a moment. */
static bool mount_again(struct test *t)
{
	const char *dir = directory(t), *type = t->c->kind == XFS_DAX ? "xfs" : "ext4";
	const char *device = getenv(t->c->kind == XFS_DAX ? "PINMEM_XFS_DAX_DEV"
							  : "PINMEM_EXT4_DAX_DEV");
	struct timespec nap = { .tv_nsec = 100000000 };

	for (int tries = 0; umount2(dir, 0); tries++) {
		if (errno != EBUSY || tries == 50)
			return complain(t, "umount of %s: %s", dir, strerror(errno));
		nanosleep(&nap, NULL);
	}
	if (mount(device, dir, type, 0, "dax=always"))
		return complain(t, "mount of %s: %s", dir, strerror(errno));
	return true;
}

static bool file_has_it(struct test *t)
{
	unsigned char *bytes = malloc(MAPPED);
	int fd = open(t->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 || !bytes ? -1 : pread(fd, bytes, MAPPED, 0);
	bool equal = n == (ssize_t)MAPPED && !memcmp(bytes, t->want, MAPPED);

	if (fd >= 0)
		close(fd);
	free(bytes);
	if (n != (ssize_t)MAPPED)
		return complain(t, "%s: %zd bytes, not %lu", t->path, n, MAPPED);
	return equal || complain(t, "%s has other bytes", t->path);
}

static bool is_stored(struct test *t)
{
	if (!drop_memory(t))
		return false;
	if (!is_file(t))
		return true;
	if (is_fsdax(t) && !mount_again(t))
		return false;
	return file_has_it(t) &&
	       good(t, is_fsdax(t) ? "mounted again, the file has every byte"
				   : "the file has every byte");
}

/* A step that fails leaves the connection, the region or the memory behind. */
static void clean_up(struct test *t)
{
	if (t->mr && pinmem_dereg(t->mr, PINMEM_DIRTY, NULL))
		link_die("%s: pinmem_dereg: %s", t->c->name, pinmem_errmsg());
	t->mr = NULL;
	if (t->map && t->map != MAP_FAILED)
		drop_memory(t);
	t->map = NULL;
	if (t->fd >= 0)
		close(t->fd);
	if (is_file(t))
		unlink(t->path);
	if (t->case_failed)
		link_reconnect(&t->l);
}

static void run_case(struct test *t)
{
	static bool (*const steps[])(struct test *) = {
		make_memory, registers,	 peer_reads_all, peer_writes, user_writes,
		peer_sends,  user_sends, own_write,	 own_read,    peer_atomics,
		own_atomics, releases,	 is_stored,
	};

	t->mode = t->c->expect;
	if (!t->mode)
		t->mode = t->l.end.odp ? PINMEM_ODP : PINMEM_STAGED;
	t->unit = t->mode == PINMEM_ODP && t->l.end.odp_whole_pages ? LINK_PAGE : 1;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!steps[i](t))
			break;
	clean_up(t);
}

/* ----------------------------------------------------------------- other cases */

/* One message pair over @at, where the peer's scratch has the bytes [0, LEN). */
static bool round_trip(struct test *t, const unsigned char *p, uint64_t at)
{
	struct link_request r = { .verb = LINK_WRITE, .remote = at, .len = LEN };
	int rc;

	r.target = t->target;
	if (!peer_fill(t, 0, LEN, PEER))
		return false;
	rc = link_ask(&t->l, &r, NULL);
	if (rc)
		return complain(t, "peer's WRITE: %s", link_status(rc));
	if (link_check(p + at, 0, LEN, PEER) >= 0)
		return complain(t, "the peer's WRITE is not here");
	if (!peer_fill(t, 0, LEN, JUNK))
		return false;
	r.verb = LINK_READ;
	rc = link_ask(&t->l, &r, NULL);
	if (rc)
		return complain(t, "peer's READ: %s", link_status(rc));
	return peer_has(t, 0, LEN, PEER, "READ") &&
	       good(t, "WRITE and READ over the border of two segments");
}

/*
 * rxe's ODP regions end at 1 GiB: a longer one has segments with keys of their own,
 * and a message that would cross from one to the next must be cut. Only the pages
 * that the device wants are ever there.
 */
static bool crosses_segments(struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = PINMEM_ODP };
	uint64_t border = 1ul << 30, len = border + MAPPED;
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	bool fine;

	if (p == MAP_FAILED)
		return complain(t, "mmap: %s", strerror(errno));
	if (pinmem_reg(t->l.end.pm, p, len, LINK_ACCESS, &o, &t->mr)) {
		munmap(p, len);
		return complain(t, "pinmem_reg: %s", pinmem_errmsg());
	}
	link_target(t->mr, &t->target);
	if (t->target.segments == 2)
		fine = round_trip(t, p, border - 10 * LINK_PAGE);
	else
		fine = complain(t, "%u segments, not 2", t->target.segments);
	if (pinmem_dereg(t->mr, PINMEM_DIRTY, NULL))
		link_die("pinmem_dereg: %s", pinmem_errmsg());
	t->mr = NULL;
	munmap(p, len);
	return fine;
}

/* One refusal, whose sentence has the word @named; nothing stays behind. */
static bool refused(struct test *t, const struct pinmem_reg_options *o,
		    const char *named, const char *what)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_stats s = { .size = sizeof(s) };
	struct pinmem *pm = t->l.end.pm;
	uint64_t live;
	int rc;

	if (pinmem_stats(pm, &s))
		return complain(t, "pinmem_stats: %s", pinmem_errmsg());
	live = s.live_regions;
	if (pinmem_check(pm, region(t), LEN, LINK_ACCESS, o, &v))
		return complain(t, "pinmem_check: %s", pinmem_errmsg());
	if (v.action != PINMEM_REFUSE || v.error != -EOPNOTSUPP ||
	    strcmp(v.file, t->path))
		return complain(t, "%s: the verdict is %s, error %d, file %s", what,
				pinmem_action_name(v.action), v.error, v.file);
	rc = pinmem_reg(pm, region(t), LEN, LINK_ACCESS, o, &t->mr);
	if (rc != -EOPNOTSUPP || !strstr(pinmem_errmsg(), named))
		return complain(t, "%s: pinmem_reg is %d, not -EOPNOTSUPP with %s: %s",
				what, rc, named, pinmem_errmsg());
	pinmem_stats(pm, &s);
	if (s.live_regions != live)
		return complain(t, "%s: a region is left", what);
	printf("     %s\n", pinmem_errmsg());
	return good(t, what);
}

static bool refuses_fsdax(struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = PINMEM_PINNED };
	bool fine;

	if (!make_memory(t))
		return false;
	fine = refused(t, &o, t->path, "PINNED is refused");
	o.mode = PINMEM_MODE_DEFAULT;
	o.policy[0] = PINMEM_REFUSE;
	fine = fine && refused(t, &o, t->path, "the policy REFUSE refuses");
	if (t->l.end.odp)
		return fine;
	o.policy[0] = PINMEM_POLICY_END;
	fine = fine &&
	       refused(t, &o, t->path, "without ODP the default policy refuses");
	o.mode = PINMEM_ODP;
	return fine && refused(t, &o, "no on-demand paging",
			       "without ODP the mode ODP is refused");
}

static bool refuses_odp_of_anonymous(struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = PINMEM_ODP };
	int rc;

	if (!make_memory(t))
		return false;
	rc = pinmem_reg(t->l.end.pm, region(t), LEN, LINK_ACCESS, &o, &t->mr);
	if (rc != -EOPNOTSUPP)
		return complain(t, "pinmem_reg is %d, not -EOPNOTSUPP: %s", rc,
				pinmem_errmsg());
	printf("     %s\n", pinmem_errmsg());
	return good(t, "without ODP the mode ODP is refused");
}

/* -------------------------------------------------------------------------- main */

static const struct test_case cases[] = {
	{ "pinned-anon", ANON, PINMEM_PINNED, PINMEM_PINNED, 0 },
	{ "pinned-thp", HUGE, PINMEM_PINNED, PINMEM_PINNED, 0 },
	{ "pinned-alloc", ALLOC, PINMEM_PINNED, PINMEM_PINNED, 0 },
	{ "pinned-shmem", SHMEM, PINMEM_PINNED, PINMEM_PINNED, 0 },
	{ "pinned-devdax", DEVDAX, PINMEM_PINNED, PINMEM_PINNED, 0 },
	{ "odp-anon", ANON, PINMEM_ODP, PINMEM_ODP, 0 },
	{ "odp-ext4-dax", EXT4_DAX, PINMEM_ODP, PINMEM_ODP, 0 },
	{ "odp-xfs-dax", XFS_DAX, PINMEM_ODP, PINMEM_ODP, 0 },
	{ "odp-segments", ANON, PINMEM_ODP, PINMEM_ODP, 0 },
	{ "staged-anon", ANON, PINMEM_STAGED, PINMEM_STAGED, 0 },
	{ "staged-ext4-dax", EXT4_DAX, PINMEM_STAGED, PINMEM_STAGED, 0 },
	{ "staged-xfs-dax", XFS_DAX, PINMEM_STAGED, PINMEM_STAGED, 0 },
	{ "staged-xfs-dax-map-sync", XFS_DAX, PINMEM_STAGED, PINMEM_STAGED, 1 },
	{ "policy-ext4-dax", EXT4_DAX, 0, 0, 0 },
	{ "policy-xfs-dax-map-sync", XFS_DAX, 0, 0, 1 },
	{ "refused-anon", ANON, PINMEM_ODP, 0, 0 },
	{ "refused-ext4-dax", EXT4_DAX, 0, 0, 0 },
	{ "refused-xfs-dax", XFS_DAX, 0, 0, 0 },
};

static bool is_group(const struct test_case *c, const char *group)
{
	return !strncmp(c->name, group, strlen(group));
}

static bool wanted(const struct test_case *c, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (is_group(c, argv[i]))
			return true;
	return argc == 1;
}

static void run_one(struct test *t, const struct test_case *c)
{
	t->c = c;
	t->unit = 1;
	t->fd = -1;
	t->case_failed = false;
	if (c->mode == PINMEM_ODP && is_group(c, "refused") == t->l.end.odp) {
		printf("skip %s: %s has %sODP\n", c->name, t->l.end.device,
		       t->l.end.odp ? "" : "no ");
		return;
	}
	t->ran++;
	if (!strcmp(c->name, "odp-segments")) {
		crosses_segments(t);
		clean_up(t);
	} else if (is_group(c, "refused")) {
		if (c->kind == ANON)
			refuses_odp_of_anonymous(t);
		else
			refuses_fsdax(t);
		clean_up(t);
	} else {
		run_case(t);
	}
	t->failed += t->case_failed;
}

/* Bytes that came in over an end of the wire */
static uint64_t received(const char *var)
{
	const char *name = getenv(var);
	char path[128];
	uint64_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/rx_bytes",
		 name ? name : "none");
	f = fopen(path, "r");
	if (!f || fscanf(f, "%" SCNu64, &n) != 1)
		link_die("%s cannot be read", path);
	fclose(f);
	return n;
}

/* Every case moves at least the region, once, in each direction. */
static void check_wire(struct test *t, const uint64_t before[2])
{
	static const struct test_case wire = { .name = "wire" };
	uint64_t in = received("PINMEM_RXE0_NETDEV") - before[0];
	uint64_t out = received("PINMEM_RXE1_NETDEV") - before[1];
	char text[128];

	t->c = &wire;
	snprintf(text, sizeof(text),
		 "%" PRIu64 " bytes came over it, and %" PRIu64 " went", in, out);
	if (in < LEN || out < LEN) {
		complain(t, "only %s", text);
		t->failed++;
	} else {
		good(t, text);
	}
}

int main(int argc, char **argv)
{
	struct test t = { .fd = -1 };
	uint64_t before[2];
	bool moved = false;

	t.want = malloc(MAPPED);
	if (!t.want)
		return 1;
	link_start(&t.l, MAPPED);
	before[0] = received("PINMEM_RXE0_NETDEV");
	before[1] = received("PINMEM_RXE1_NETDEV");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!wanted(&cases[i], argc, argv))
			continue;
		run_one(&t, &cases[i]);
		moved = moved || (!is_group(&cases[i], "refused") && t.ran);
	}
	if (moved)
		check_wire(&t, before);
	link_stop(&t.l);
	free(t.want);
	printf("%u cases, %u failed\n", t.ran, t.failed);
	return t.failed ? 1 : t.ran ? 0 : 77;
}
