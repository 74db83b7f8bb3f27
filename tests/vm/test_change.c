/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_change.c - an ODP region whose memory changes while a peer moves bytes: the
 * owner truncates, punches, unmaps, protects, discards, migrates, forks, writes back
 * and drops caches. Expected are the right bytes or a completion error that pinmem.h
 * documents; never a wrong byte, never a hang; and a region that can be released.
 *
 * usage: test_change [KIND|KIND/CHANGE]..., KIND of anon, ext4-dax, xfs-dax, ext4;
 * PINMEM_SEED in the environment is the seed of the random ranges and naps.
 *
 * Each case, with a region of its own:
 *   1. while the peer WRITEs in a loop, the owner makes the change and takes it back,
 *      over and over, on random ranges; then each page is the peer's, or the owner's
 *      if a WRITE failed, or zero if the change destroys bytes; nothing else
 *   2. the same with READs; the peer's scratch is looked at page by page
 *   3. the change stays, and each of four work requests over the changed range has
 *      exactly the completion of the table: peer's WRITE and READ, own WRITE from
 *      there (the device reads it) and own READ to there (the device writes it)
 *   4. the change is taken back: a fresh WRITE of the peer is what memory has, and
 *      the file through its descriptor, also after writeback and drop_caches; the
 *      bytes around the region are untouched
 *   5. the region is released
 * Messages begin on pages: see odp_whole_pages in pinmem.h.
 * Exit: 0; 1 when a case failed; 77 without ODP; 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

#define PAGES 24ul
#define LEN (PAGES * LINK_PAGE)
#define MARGIN (4 * LINK_PAGE) /* mapped, and in the file, on both sides of it */
#define MAPPED (LEN + 2 * MARGIN)
#define LOOPS 4		   /* of the peer, in one go */
#define TRIES 3		   /* goes: a failed one ends early */
#define MOVE_FLAG (1 << 1) /* MPOL_MF_MOVE */

/* Patterns, each from one author */
enum { OLD = 1, PEER, FRESH, OWN, CHILD, AROUND };

enum kind { ANON, EXT4_DAX, XFS_DAX, EXT4, KINDS };
#define ALL (1u << ANON | FILES)
#define FILES (1u << EXT4_DAX | 1u << XFS_DAX | 1u << EXT4)

struct test;

/* @write, @read: completions of the peer's requests while the change stays; @from,
 * @to: those of own requests from and to the changed range */
struct change {
	const char *name;
	unsigned int kinds;
	bool destroys;
	enum ibv_wc_status write, read, from, to;
	bool (*apply)(struct test *t, uint64_t from, uint64_t to);
	bool (*restore)(struct test *t, uint64_t from, uint64_t to);
};

struct test {
	struct link l;
	enum kind kind;
	const struct change *c;
	int fd;
	char path[512];
	unsigned char *map; /* MAPPED bytes */
	struct pinmem_mr *mr;
	struct link_target target;
	unsigned char *mirror; /* LEN bytes, pinned: what the peer's scratch has */
	struct pinmem_mr *mirror_mr;
	uint64_t random;
	unsigned int made, errors; /* changes while the peer moved; failed goes */
	unsigned int moved;	   /* pages that migrated */
	unsigned int ran, failed;
};

static const char *const kind_names[] = { "anon", "ext4-dax", "xfs-dax", "ext4" };

static bool complain(struct test *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool complain(struct test *t, const char *fmt, ...)
{
	va_list ap;

	printf("FAIL %s/%s: ", kind_names[t->kind], t->c->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	return false;
}

static unsigned char *region(struct test *t)
{
	return t->map + MARGIN;
}

static bool is_file(const struct test *t)
{
	return t->kind != ANON;
}

/* xorshift64*: the same ranges for the same seed */
static uint64_t draw(struct test *t, uint64_t below)
{
	t->random ^= t->random >> 12;
	t->random ^= t->random << 25;
	t->random ^= t->random >> 27;
	return (t->random * 0x2545f4914f6cdd1d >> 33) % below;
}

static void draw_range(struct test *t, uint64_t *from, uint64_t *to)
{
	uint64_t a = draw(t, PAGES), n = 1 + draw(t, PAGES - a);

	*from = a * LINK_PAGE;
	*to = (a + n) * LINK_PAGE;
}

/* ------------------------------------------------------------------ the changes */

static bool did(struct test *t, int rc, const char *what)
{
	return !rc || complain(t, "%s: %s", what, strerror(errno));
}

/* What a truncation took beyond the region is the owner's to put back. */
static bool fill_around(struct test *t)
{
	link_fill(t->map, 0, MARGIN, AROUND);
	link_fill(region(t) + LEN, MARGIN + LEN, MARGIN, AROUND);
	return true;
}

static bool shrink(struct test *t, uint64_t from, uint64_t to)
{
	(void)to;
	return did(t, ftruncate(t->fd, (off_t)(MARGIN + from)), "ftruncate, shorter");
}

static bool extend(struct test *t, uint64_t from, uint64_t to)
{
	(void)from;
	(void)to;
	return did(t, ftruncate(t->fd, MAPPED), "ftruncate, longer") && fill_around(t);
}

static bool allocate(struct test *t, int mode, uint64_t from, uint64_t to)
{
	return did(t,
		   fallocate(t->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)(MARGIN + from),
			     (off_t)(to - from)),
		   "fallocate");
}

static bool punch(struct test *t, uint64_t from, uint64_t to)
{
	return allocate(t, FALLOC_FL_PUNCH_HOLE, from, to);
}

static bool zero_range(struct test *t, uint64_t from, uint64_t to)
{
	return allocate(t, FALLOC_FL_ZERO_RANGE, from, to);
}

static bool advise(struct test *t, int advice, uint64_t from, uint64_t to)
{
	return did(t, madvise(region(t) + from, to - from, advice), "madvise");
}

static bool discard(struct test *t, uint64_t from, uint64_t to)
{
	return advise(t, MADV_DONTNEED, from, to);
}

static bool remove_pages(struct test *t, uint64_t from, uint64_t to)
{
	return advise(t, MADV_REMOVE, from, to);
}

static bool protect(struct test *t, int prot, uint64_t from, uint64_t to)
{
	return did(t, mprotect(region(t) + from, to - from, prot), "mprotect");
}

static bool make_readonly(struct test *t, uint64_t from, uint64_t to)
{
	return protect(t, PROT_READ, from, to);
}

static bool make_none(struct test *t, uint64_t from, uint64_t to)
{
	return protect(t, PROT_NONE, from, to);
}

static bool make_writable(struct test *t, uint64_t from, uint64_t to)
{
	return protect(t, PROT_READ | PROT_WRITE, from, to);
}

static bool unmap(struct test *t, uint64_t from, uint64_t to)
{
	return did(t, munmap(region(t) + from, to - from), "munmap");
}

static bool map_again(struct test *t, uint64_t from, uint64_t to)
{
	int flags = is_file(t) ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	void *p =
		mmap(region(t) + from, to - from, PROT_READ | PROT_WRITE,
		     flags | MAP_FIXED, t->fd, is_file(t) ? (off_t)(MARGIN + from) : 0);

	return did(t, p == MAP_FAILED ? -1 : 0, "mmap");
}

/*
 * The child's copy is its own: where it writes, its bytes stay, and elsewhere it keeps
 * what the parent had at the fork, whatever the device writes meanwhile.
 */
static int child_looks(struct test *t)
{
	static const struct timespec nap = { .tv_nsec = 10000000 };
	unsigned char *copy = t->mirror; /* a copy of it, too */

	for (uint64_t p = 0; p < PAGES && t->kind == ANON; p += 2)
		link_fill(region(t) + p * LINK_PAGE, p * LINK_PAGE, LINK_PAGE, CHILD);
	memcpy(copy, region(t), LEN);
	nanosleep(&nap, NULL);
	if (t->kind == ANON && memcmp(copy, region(t), LEN))
		return 1;
	for (uint64_t p = 0; p < PAGES && t->kind == ANON; p += 2)
		if (link_check(copy + p * LINK_PAGE, p * LINK_PAGE, LINK_PAGE, CHILD) >=
		    0)
			return 2;
	return 0;
}

static bool make_child(struct test *t, uint64_t from, uint64_t to)
{
	pid_t pid;
	int status;

	(void)from;
	(void)to;
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(child_looks(t));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return complain(t, "fork: %s", strerror(errno));
	return !status || complain(t, "the child's copy changed: 0x%x", status);
}

static bool write_back(struct test *t, uint64_t from, uint64_t to)
{
	return did(t, msync(region(t) + from, to - from, MS_SYNC), "msync");
}

static bool write_range(struct test *t, uint64_t from, uint64_t to)
{
	return did(t,
		   sync_file_range(t->fd, (off_t)(MARGIN + from), (off_t)(to - from),
				   SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					   SYNC_FILE_RANGE_WAIT_AFTER),
		   "sync_file_range");
}

static bool sync_file(struct test *t, uint64_t from, uint64_t to)
{
	(void)from;
	(void)to;
	return did(t, fsync(t->fd), "fsync");
}

static bool drop_caches(struct test *t, uint64_t from, uint64_t to)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	bool fine = fd >= 0 && write(fd, "3", 1) == 1;

	(void)from;
	(void)to;
	if (fd >= 0)
		close(fd);
	return fine || complain(t, "drop_caches: %s", strerror(errno));
}

/* Touched pages must arrive on the other node: an ODP region pins nothing. A page that
 * the device holds locked just now may stay (EBUSY, EAGAIN), while it moves bytes. */
static bool migrate(struct test *t, uint64_t from, uint64_t to)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];
	unsigned long n = 0;

	for (uint64_t at = from; at < to; at += LINK_PAGE)
		pages[n++] = region(t) + at;
	if (syscall(SYS_move_pages, 0, n, pages, NULL, status, 0))
		return did(t, -1, "move_pages, asking");
	for (unsigned long i = 0; i < n; i++)
		nodes[i] = status[i] == 0 ? 1 : 0;
	if (syscall(SYS_move_pages, 0, n, pages, nodes, status, MOVE_FLAG) < 0)
		return did(t, -1, "move_pages");
	for (unsigned long i = 0; i < n; i++) {
		t->moved += status[i] == nodes[i];
		if (status[i] != nodes[i] && status[i] != -EBUSY &&
		    status[i] != -EAGAIN && status[i] != -ENOENT)
			return complain(t, "page %lu of %lu: move_pages says %d", i, n,
					status[i]);
	}
	return true;
}

#define FINE IBV_WC_SUCCESS
#define REMOTE IBV_WC_REM_ACCESS_ERR
#define LOCAL IBV_WC_LOC_PROT_ERR

static const struct change changes[] = {
	{ "truncate", FILES, true, REMOTE, REMOTE, LOCAL, LOCAL, shrink, extend },
	{ "punch-hole", FILES, true, FINE, FINE, FINE, FINE, punch, NULL },
	{ "zero-range", FILES, true, FINE, FINE, FINE, FINE, zero_range, NULL },
	{ "madv-remove", FILES, true, FINE, FINE, FINE, FINE, remove_pages, NULL },
	{ "madv-dontneed", FILES, false, FINE, FINE, FINE, FINE, discard, NULL },
	{ "madv-dontneed", 1u << ANON, true, FINE, FINE, FINE, FINE, discard, NULL },
	{ "read-only", ALL, false, REMOTE, FINE, FINE, LOCAL, make_readonly,
	  make_writable },
	{ "no-access", ALL, false, REMOTE, REMOTE, LOCAL, LOCAL, make_none,
	  make_writable },
	{ "munmap", FILES, false, REMOTE, REMOTE, LOCAL, LOCAL, unmap, map_again },
	{ "munmap", 1u << ANON, true, REMOTE, REMOTE, LOCAL, LOCAL, unmap, map_again },
	{ "map-fixed", FILES, false, FINE, FINE, FINE, FINE, map_again, NULL },
	{ "map-fixed", 1u << ANON, true, FINE, FINE, FINE, FINE, map_again, NULL },
	{ "fork", ALL, false, FINE, FINE, FINE, FINE, make_child, NULL },
	{ "msync", FILES, false, FINE, FINE, FINE, FINE, write_back, NULL },
	{ "sync-file-range", FILES, false, FINE, FINE, FINE, FINE, write_range, NULL },
	{ "fsync", FILES, false, FINE, FINE, FINE, FINE, sync_file, NULL },
	{ "drop-caches", ALL, false, FINE, FINE, FINE, FINE, drop_caches, NULL },
	{ "migrate", 1u << ANON, false, FINE, FINE, FINE, FINE, migrate, NULL },
};

/* --------------------------------------------------------- memory and its region */

static bool make_file(struct test *t)
{
	static const char *const dirs[] = { NULL, "PINMEM_EXT4_DAX", "PINMEM_XFS_DAX",
					    "PINMEM_EXT4" };

	snprintf(t->path, sizeof(t->path), "%s/change", getenv(dirs[t->kind]));
	unlink(t->path);
	t->fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return (t->fd >= 0 && !ftruncate(t->fd, MAPPED)) ||
	       complain(t, "%s: %s", t->path, strerror(errno));
}

static bool make_memory(struct test *t)
{
	int flags = is_file(t) ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;

	t->fd = -1;
	t->map = MAP_FAILED;
	if (is_file(t) && !make_file(t))
		return false;
	t->map = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, flags, t->fd, 0);
	if (t->map == MAP_FAILED)
		return complain(t, "mmap: %s", strerror(errno));
	return fill_around(t);
}

static bool make_region(struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = PINMEM_ODP };

	if (pinmem_reg(t->l.end.pm, region(t), LEN, LINK_ACCESS, &o, &t->mr))
		return complain(t, "pinmem_reg: %s", pinmem_errmsg());
	link_target(t->mr, &t->target);
	return true;
}

static bool release(struct test *t)
{
	bool fine = !t->mr || !pinmem_dereg(t->mr, PINMEM_DIRTY, NULL) ||
		    complain(t, "pinmem_dereg: %s", pinmem_errmsg());

	t->mr = NULL;
	if (t->map != MAP_FAILED)
		munmap(t->map, MAPPED);
	if (t->fd >= 0) {
		close(t->fd);
		unlink(t->path);
	}
	return fine;
}

/* ------------------------------------------------------------- moving and looking */

static bool peer_fill(struct test *t, unsigned int author)
{
	struct link_request r = { .verb = LINK_FILL, .len = LEN, .seed = author };

	return !link_ask(&t->l, &r, NULL) || complain(t, "the peer cannot fill");
}

static struct link_request peer_request(struct test *t, enum link_verb verb,
					uint64_t from, uint64_t to)
{
	struct link_request r = { .verb = verb,
				  .target = t->target,
				  .local = from,
				  .remote = from,
				  .len = to - from };

	return r;
}

/*
 * An error is never left behind: both ends are connected anew. rxe shows a completion
 * with an error before it puts its queue pair into the error state (COMPST_ERROR in
 * rxe_comp.c), so a reset right after it may be undone.
 */
static int settle(struct test *t, int rc)
{
	static const struct timespec nap = { .tv_nsec = 50000000 };

	if (rc > 0) {
		nanosleep(&nap, NULL);
		link_reconnect(&t->l);
	}
	return rc;
}

static int peer(struct test *t, enum link_verb verb, uint64_t from, uint64_t to)
{
	struct link_request r = peer_request(t, verb, from, to);

	return settle(t, link_ask(&t->l, &r, NULL));
}

static int own(struct test *t, struct pinmem_mr *mr, enum link_verb verb, uint64_t from,
	       uint64_t to)
{
	struct link_request r = { .verb = verb,
				  .target = t->l.scratch,
				  .local = from,
				  .remote = from,
				  .len = to - from };

	return settle(t, link_do(&t->l.end, mr, &r, NULL));
}

static bool is_zero(const unsigned char *p)
{
	return !p[0] && !memcmp(p, p + 1, LINK_PAGE - 1);
}

/* Each page is whole, and of an allowed author (a mask; bit 0: zeros). */
static bool pages_are(struct test *t, const unsigned char *p, unsigned int authors,
		      const char *when)
{
	for (uint64_t at = 0; at < LEN; at += LINK_PAGE) {
		bool known = authors & 1 && is_zero(p + at);

		for (unsigned int a = OLD; a <= AROUND && !known; a++)
			known = authors >> a & 1 &&
				link_check(p + at, at, LINK_PAGE, a) < 0;
		if (!known)
			return complain(t,
					"%s: page %" PRIu64 " begins with %02x %02x "
					"%02x %02x, and is of none of 0x%x",
					when, at / LINK_PAGE, p[at], p[at + 1],
					p[at + 2], p[at + 3], authors);
	}
	return true;
}

static bool around_is(struct test *t, const unsigned char *p, const char *when)
{
	return (link_check(p, 0, MARGIN, AROUND) < 0 &&
		link_check(p + MARGIN + LEN, MARGIN + LEN, MARGIN, AROUND) < 0) ||
	       complain(t, "%s: bytes around the region changed", when);
}

static bool file_is(struct test *t, unsigned int author, const char *when)
{
	unsigned char *p = malloc(MAPPED);
	bool fine;

	if (!p || pread(t->fd, p, MAPPED, 0) != (ssize_t)MAPPED)
		fine = complain(t, "%s: pread: %s", when, strerror(errno));
	else
		fine = pages_are(t, p + MARGIN, 1u << author, when) &&
		       around_is(t, p, when);
	free(p);
	return fine;
}

/* ----------------------------------------------------- 1, 2: while the peer moves */

static bool peer_is_done(struct test *t)
{
	struct pollfd p = { .fd = t->l.sock, .events = POLLIN };

	return poll(&p, 1, (int)draw(t, 4)) > 0;
}

/* One go: the peer moves LOOPS times, and the memory changes until it is through. */
static bool go(struct test *t, enum link_verb verb, int *rc)
{
	struct link_request r = peer_request(t, verb, 0, LEN);
	uint64_t from, to;
	bool fine;

	r.times = LOOPS;
	link_tell(&t->l, &r);
	do {
		draw_range(t, &from, &to);
		fine = t->c->apply(t, from, to);
		if (fine && draw(t, 2))
			peer_is_done(t);
		if (t->c->restore)
			fine = t->c->restore(t, from, to) && fine;
		t->made++;
	} while (fine && !peer_is_done(t));
	*rc = settle(t, link_hear(&t->l, NULL));
	return fine;
}

static bool is_documented(struct test *t, enum ibv_wc_status expected, int rc)
{
	t->errors += rc != 0;
	return !rc || rc == (int)expected ||
	       complain(t, "an undocumented completion: %s", link_status(rc));
}

static bool writes_meet_it(struct test *t)
{
	unsigned int authors = 1u << PEER | (t->c->destroys ? 1 : 0);
	int rc;

	link_fill(region(t), 0, LEN, OLD);
	if (!peer_fill(t, PEER) || !go(t, LINK_WRITE, &rc) ||
	    !is_documented(t, t->c->write, rc))
		return false;
	return pages_are(t, region(t), rc ? authors | 1u << OLD : authors,
			 "during WRITEs");
}

/* What the peer fetched; pages after a failure are still what it had before. */
static bool reads_meet_it(struct test *t)
{
	unsigned int authors = 1u << OLD | (t->c->destroys ? 1 : 0);
	int rc;

	link_fill(region(t), 0, LEN, OLD);
	if (!peer_fill(t, PEER) || !go(t, LINK_READ, &rc) ||
	    !is_documented(t, t->c->read, rc))
		return false;
	if (own(t, t->mirror_mr, LINK_READ, 0, LEN))
		return complain(t, "the peer's scratch cannot be read");
	return pages_are(t, t->mirror, rc ? authors | 1u << PEER : authors,
			 "peer during READs") &&
	       pages_are(t, region(t), authors, "during READs");
}

static bool both_meet_it(struct test *t)
{
	t->made = t->errors = t->moved = 0;
	for (int i = 0; i < TRIES; i++)
		if (!writes_meet_it(t) || !reads_meet_it(t))
			return false;
	return t->c->apply != migrate || t->moved ||
	       complain(t, "no page has moved to the other node");
}

/* ------------------------------------------------------------ 3: while it stays */

/* rxe flushes its own request that fails, and tells the cause or not. */
static bool is_expected(enum ibv_wc_status expected, int rc)
{
	return rc == (int)expected || (expected == LOCAL && rc == IBV_WC_WR_FLUSH_ERR);
}

static bool completes(struct test *t, const char *what, int rc,
		      enum ibv_wc_status expected)
{
	printf("     %s/%s: %s: %s\n", kind_names[t->kind], t->c->name, what,
	       link_status(rc));
	return is_expected(expected, rc) ||
	       complain(t, "%s: \"%s\", not \"%s\"", what, link_status(rc),
			ibv_wc_status_str(expected));
}

/* All four are tried, whatever the first gives. */
static bool stays(struct test *t)
{
	const struct change *c = t->c;
	uint64_t from = 4 * LINK_PAGE, to = LEN - 4 * LINK_PAGE;
	bool fine;

	link_fill(region(t), 0, LEN, OLD);
	if (!peer_fill(t, PEER) || !c->apply(t, from, to))
		return false;
	fine = completes(t, "peer's READ", peer(t, LINK_READ, from, to), c->read);
	if (c->destroys)
		fine = fine && c->apply(t, from, to);
	fine = completes(t, "peer's WRITE", peer(t, LINK_WRITE, from, to), c->write) &&
	       fine;
	fine = completes(t, "own WRITE from there", own(t, t->mr, LINK_WRITE, from, to),
			 c->from) &&
	       fine;
	fine = completes(t, "own READ to there", own(t, t->mr, LINK_READ, from, to),
			 c->to) &&
	       fine;
	if (c->restore)
		fine = c->restore(t, from, to) && fine;
	return fine;
}

/* --------------------------------------------------------------- 4: and afterwards */

static bool is_right_again(struct test *t)
{
	int rc;

	if (!peer_fill(t, FRESH))
		return false;
	rc = peer(t, LINK_WRITE, 0, LEN);
	if (rc)
		return complain(t, "a fresh WRITE: %s", link_status(rc));
	if (!pages_are(t, region(t), 1u << FRESH, "a fresh WRITE") ||
	    !around_is(t, t->map, "a fresh WRITE"))
		return false;
	if (is_file(t) &&
	    (!file_is(t, FRESH, "the file") || !sync_file(t, 0, 0) ||
	     !drop_caches(t, 0, 0) || !file_is(t, FRESH, "the file, dropped")))
		return false;
	rc = peer_fill(t, PEER) ? peer(t, LINK_READ, 0, LEN) : -EIO;
	if (rc || own(t, t->mirror_mr, LINK_READ, 0, LEN))
		return complain(t, "a fresh READ: %s", link_status(rc));
	return pages_are(t, t->mirror, 1u << FRESH, "a fresh READ");
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void run_case(struct test *t)
{
	double start = now();
	bool fine = make_memory(t) && make_region(t) && both_meet_it(t) && stays(t) &&
		    is_right_again(t);

	fine = release(t) && fine;
	t->ran++;
	t->failed += !fine;
	if (fine)
		printf("ok   %s/%s: %u changes, %u of %d goes failed as documented, "
		       "%.1f s\n",
		       kind_names[t->kind], t->c->name, t->made, t->errors, 2 * TRIES,
		       now() - start);
}

/* -------------------------------------------------------------------------- main */

static bool wanted(const char *kind, const char *change, int argc, char **argv)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/%s", kind, change);
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], kind) || !strcmp(argv[i], name))
			return true;
	return argc == 1;
}

static void make_mirror(struct test *t)
{
	void *p;

	if (pinmem_alloc(t->l.end.pm, LEN, NULL, &p) ||
	    pinmem_reg(t->l.end.pm, p, LEN, LINK_ACCESS, NULL, &t->mirror_mr))
		link_die("mirror: %s", pinmem_errmsg());
	t->mirror = p;
}

static void run_all(struct test *t, int argc, char **argv)
{
	for (t->kind = ANON; t->kind < KINDS; t->kind++)
		for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
			t->c = &changes[i];
			if (t->c->kinds >> t->kind & 1 &&
			    wanted(kind_names[t->kind], t->c->name, argc, argv))
				run_case(t);
		}
}

int main(int argc, char **argv)
{
	const char *seed = getenv("PINMEM_SEED");
	struct test t = { .fd = -1, .random = seed ? strtoull(seed, NULL, 0) : 0 };

	if (!t.random)
		t.random = 20110419;
	link_start(&t.l, LEN);
	if (!t.l.end.odp) {
		printf("skip: %s has no ODP\n", t.l.end.device);
		link_stop(&t.l);
		return 77;
	}
	printf("PINMEM_SEED=%" PRIu64 "\n", t.random);
	make_mirror(&t);
	run_all(&t, argc, argv);
	if (pinmem_dereg(t.mirror_mr, PINMEM_DIRTY, NULL) ||
	    pinmem_free(t.l.end.pm, t.mirror, LEN))
		link_die("mirror: %s", pinmem_errmsg());
	link_stop(&t.l);
	printf("%u cases, %u failed\n", t.ran, t.failed);
	return t.failed ? 1 : t.ran ? 0 : 2;
}
