/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_matrix.c - the verdict against reality: for each kind of memory of this machine
 * what pinmem predicts, and what the kernel really answers to the raw calls. ODP
 * registers anything, so there the answer is what comes of an RDMA WRITE and READ of
 * the range by the other process. Each difference is a failure, and pinmem's.
 * Prints the answers as a table (between BEGIN TABLE and END TABLE) that
 * scripts/update-readme-table puts into README.md.
 *
 * usage: test_matrix [WORD...]   only kinds whose names contain one of the words
 */
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "link.h"
#include "pin_track_user.h"

/*
 * An answer: 0: it works. Negative: an errno. Positive: how it was registered (from
 * WAYS on), NO_EFFECT, or the ibv_wc_status of a failed message.
 */
#define WAYS 1000
#define NO_EFFECT 999 /* mlock(2) says 0, and has locked nothing */
#define CRASH 998     /* was registered, and no byte moved: the kernel would die */

struct matrix {
	struct link link; /* the pinner of a verbs device, and a peer */
	struct pinmem *uring, *mlock;
	struct pinmem *pin_track; /* NULL: this kernel has none */
	int pt;			  /* for its raw calls */
	struct io_uring ring; /* one for all: a new one might fill a hole under test */
	int mem;	      /* /proc/self/mem */
	unsigned char *bytes; /* what the target shall have, or has */
	unsigned char *room;  /* registered: what the peer has read comes here */
	struct pinmem_mr *room_mr;
	struct pinmem_verdict v; /* of the prediction under way */
	char **words;
	unsigned int kinds, seeds, wrong;
};

struct column {
	const char *name;
	int (*predict)(struct matrix *x, struct memory *m);
	int (*ask)(struct matrix *x, const struct kind *k, struct memory *m);
	bool pins;   /* the errno is the kernel's; elsewhere success or not counts */
	bool writes; /* not for memory of the kernel's or the program's */
	bool unseen; /* compared where /dev/pin_track is, and not in the table */
};

/* ----------------------------------------------------------------- predictions */

static int predict(struct matrix *x, struct pinmem *pm, struct memory *m,
		   unsigned int access, enum pinmem_mode mode)
{
	struct pinmem_reg_options o = { .size = sizeof(o),
					.mode = mode,
					.policy = { PINMEM_USE_ODP,
						    PINMEM_USE_STAGE } };

	x->v = (struct pinmem_verdict){ .size = sizeof(x->v) };
	if (pinmem_check(pm, m->addr, m->len, access, &o, &x->v))
		link_die("pinmem_check: %s", pinmem_errmsg());
	if (x->v.action == PINMEM_REFUSE && !x->v.error)
		link_die("a verdict refuses without an errno: %s", x->v.reason);
	if (mode == PINMEM_MODE_DEFAULT && x->v.action != PINMEM_REFUSE)
		return WAYS + (int)x->v.action;
	return x->v.action == PINMEM_REFUSE ? x->v.error : 0;
}

static int predict_write(struct matrix *x, struct memory *m)
{
	return predict(x, x->link.end.pm, m, LINK_ACCESS, PINMEM_PINNED);
}

static int predict_read(struct matrix *x, struct memory *m)
{
	return predict(x, x->link.end.pm, m, PINMEM_ACCESS_REMOTE_READ, PINMEM_PINNED);
}

static int predict_odp_write(struct matrix *x, struct memory *m)
{
	return predict(x, x->link.end.pm, m, LINK_ACCESS, PINMEM_ODP);
}

static int predict_odp_read(struct matrix *x, struct memory *m)
{
	return predict(x, x->link.end.pm, m, PINMEM_ACCESS_REMOTE_READ, PINMEM_ODP);
}

static int predict_uring(struct matrix *x, struct memory *m)
{
	return predict(x, x->uring, m, 0, PINMEM_PINNED);
}

static int predict_pt_write(struct matrix *x, struct memory *m)
{
	return predict(x, x->pin_track, m, PINMEM_ACCESS_LOCAL_WRITE, PINMEM_PINNED);
}

static int predict_pt_read(struct matrix *x, struct memory *m)
{
	return predict(x, x->pin_track, m, 0, PINMEM_PINNED);
}

static int predict_mlock(struct matrix *x, struct memory *m)
{
	return predict(x, x->mlock, m, 0, PINMEM_RESIDENT);
}

static int predict_reg(struct matrix *x, struct memory *m)
{
	return predict(x, x->link.end.pm, m, LINK_ACCESS, PINMEM_MODE_DEFAULT);
}

/* ----------------------------------------------------------------- bytes, moved */

/* A stretch of the target: of long ones the beginning and the end are moved. */
struct part {
	uint64_t at, len;
};

static struct part part(const struct memory *m, bool last)
{
	uint64_t len = m->len < MATRIX_LEN ? m->len : MATRIX_LEN;

	return (struct part){ last ? m->len - len : 0, len };
}

/* The target's bytes, and no signal is raised. Some kernels let nobody look at what may
 * only be written; it is not asked about any more after this. */
static int look_at_target(struct matrix *x, struct memory *m, struct part p)
{
	ssize_t len = (ssize_t)p.len;
	off_t at = (off_t)(m->addr + p.at);

	if (pread(x->mem, x->bytes, p.len, at) == len)
		return 0;
	if (mprotect(m->addr, m->len, PROT_READ | PROT_WRITE))
		return -EFAULT;
	return pread(x->mem, x->bytes, p.len, at) == len ? 0 : -EFAULT;
}

/* A dead connection is made anew for the next question. */
static int ask_peer(struct matrix *x, const struct link_request *r)
{
	int rc = link_ask(&x->link, r, NULL);

	if (rc)
		link_reconnect(&x->link);
	return rc;
}

static void fill_peer(struct matrix *x, struct part p, unsigned int seed)
{
	struct link_request r = { .verb = LINK_FILL, .len = p.len, .seed = seed };

	if (link_ask(&x->link, &r, NULL))
		link_die("the peer cannot fill its scratch");
}

static int peer_writes(struct matrix *x, struct memory *m, struct part p,
		       const struct link_target *t, struct pinmem_mr *mr)
{
	struct link_request r = {
		.verb = LINK_WRITE, .target = *t, .remote = p.at, .len = p.len
	};
	unsigned int seed = ++x->seeds;
	int rc;

	fill_peer(x, p, seed);
	rc = ask_peer(x, &r);
	if (!rc && mr)
		rc = pinmem_sync(mr, p.at, p.len, PINMEM_SYNC_FROM_DEVICE);
	if (!rc)
		rc = look_at_target(x, m, p);
	if (!rc && link_check(x->bytes, 0, p.len, seed) >= 0)
		rc = -EBADMSG;
	return rc;
}

/* The peer's scratch has what it read, which comes here by a way that is known good */
static int peer_reads(struct matrix *x, const struct kind *k, struct memory *m,
		      struct part p, const struct link_target *t)
{
	struct link_request r = {
		.verb = LINK_READ, .target = *t, .remote = p.at, .len = p.len
	};
	int rc;

	fill_peer(x, p, ++x->seeds);
	rc = ask_peer(x, &r);
	if (rc)
		return rc;
	r.target = x->link.scratch;
	r.remote = 0;
	rc = link_do(&x->link.end, x->room_mr, &r, NULL);
	if (rc)
		link_die("cannot read the peer's scratch: %s", link_status(rc));
	rc = look_at_target(x, m, p);
	if (!rc && !k->live && memcmp(x->bytes, x->room, p.len))
		rc = -EBADMSG;
	return rc;
}

/* @mr: what may have to be synced; may be NULL */
static int move(struct matrix *x, const struct kind *k, struct memory *m,
		const struct link_target *t, bool write, struct pinmem_mr *mr)
{
	int rc = 0;

	for (int last = 0; last < (m->len > MATRIX_LEN ? 2 : 1) && !rc; last++) {
		if (write)
			rc = peer_writes(x, m, part(m, last), t, mr);
		if (!rc)
			rc = peer_reads(x, k, m, part(m, last), t);
	}
	return rc;
}

/* --------------------------------------------------------------------- raw calls */

static struct ibv_mr *reg(struct matrix *x, struct memory *m, unsigned int access)
{
	return ibv_reg_mr(pinmem_pd(x->link.end.pm), m->addr, m->len, access);
}

static void dereg(struct ibv_mr *mr)
{
	if (ibv_dereg_mr(mr))
		link_die("ibv_dereg_mr: %s", strerror(errno));
}

static int ask_verbs(struct matrix *x, struct memory *m, unsigned int access)
{
	struct ibv_mr *mr = reg(x, m, access);

	if (!mr)
		return -errno;
	dereg(mr);
	return 0;
}

static int ask_write(struct matrix *x, const struct kind *k, struct memory *m)
{
	(void)k;
	return ask_verbs(x, m,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC);
}

static int ask_read(struct matrix *x, const struct kind *k, struct memory *m)
{
	int local = ask_verbs(x, m, 0);
	int remote = ask_verbs(x, m, IBV_ACCESS_REMOTE_READ);

	(void)k;
	if (local != remote)
		link_die("the kernel reads %d locally, %d remotely", local, remote);
	return remote;
}

static int ask_odp(struct matrix *x, const struct kind *k, struct memory *m, bool write)
{
	struct link_target t = { .segments = 1 };
	unsigned int access = IBV_ACCESS_ON_DEMAND | IBV_ACCESS_REMOTE_READ;
	struct ibv_mr *mr;
	int rc = 0;

	if (write)
		access |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	mr = reg(x, m, access);
	if (!mr)
		return -errno;
	t.seg[0].len = m->len;
	t.seg[0].iova = (uintptr_t)m->addr;
	t.seg[0].rkey = mr->rkey;
	if (k->odp_kills) /* must be refused, and is, when this says that it fails */
		rc = CRASH;
	else
		rc = move(x, k, m, &t, write, NULL);
	dereg(mr);
	return rc;
}

static int ask_odp_write(struct matrix *x, const struct kind *k, struct memory *m)
{
	return ask_odp(x, k, m, true);
}

static int ask_odp_read(struct matrix *x, const struct kind *k, struct memory *m)
{
	return ask_odp(x, k, m, false);
}

static int register_buffer(struct io_uring *ring, void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	int rc = io_uring_register_buffers(ring, &iov, 1);

	if (!rc && io_uring_unregister_buffers(ring))
		link_die("io_uring_unregister_buffers fails");
	return rc;
}

/* When the fast path has pinned the first pages, io_uring makes EFAULT of whatever
 * the next one is refused for: so ask about that page alone. */
static int ask_uring(struct matrix *x, const struct kind *k, struct memory *m)
{
	int rc = register_buffer(&x->ring, m->addr, m->len), one = 0;

	(void)k;
	for (size_t at = 0; rc == -EFAULT && !one && at < m->len; at += m->page)
		one = register_buffer(&x->ring, m->addr + at, m->page);
	return one ? one : rc;
}

static int ask_pin_track(struct matrix *x, struct memory *m, uint32_t flags)
{
	struct pin_track_pin p;
	int rc = pt_pin(x->pt, m->addr, m->len, flags, &p);

	if (!rc && pt_unpin(x->pt, p.id, PIN_TRACK_CLEAN))
		link_die("unpinning fails: %s", strerror(errno));
	return rc;
}

static int ask_pt_write(struct matrix *x, const struct kind *k, struct memory *m)
{
	(void)k;
	return ask_pin_track(x, m, PIN_TRACK_WRITE);
}

static int ask_pt_read(struct matrix *x, const struct kind *k, struct memory *m)
{
	(void)k;
	return ask_pin_track(x, m, 0);
}

static bool all_present(struct memory *m)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool present = fd >= 0;
	uint64_t entry;

	for (uintptr_t at = (uintptr_t)m->addr;
	     present && at < (uintptr_t)m->addr + m->len; at += MATRIX_PAGE)
		present = pread(fd, &entry, 8, (off_t)(at / MATRIX_PAGE * 8)) == 8 &&
			  entry >> 63;
	close(fd);
	return present;
}

static int ask_mlock(struct matrix *x, const struct kind *k, struct memory *m)
{
	int rc = mlock(m->addr, m->len) ? -errno : 0;

	(void)x;
	(void)k;
	if (!rc && !all_present(m))
		rc = NO_EFFECT;
	munlock(m->addr, m->len);
	return rc;
}

/* What the library makes of it with all ways out allowed, and do the bytes come? */
static int ask_reg(struct matrix *x, const struct kind *k, struct memory *m)
{
	static const enum pinmem_action ways[] = { [PINMEM_PINNED] = PINMEM_PIN,
						   [PINMEM_ODP] = PINMEM_USE_ODP,
						   [PINMEM_STAGED] = PINMEM_USE_STAGE };
	struct pinmem_reg_options o = {
		.size = sizeof(o), .policy = { PINMEM_USE_ODP, PINMEM_USE_STAGE }
	};
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct link_target t;
	struct pinmem_mr *mr;
	int rc = pinmem_reg(x->link.end.pm, m->addr, m->len, LINK_ACCESS, &o, &mr);

	if (rc)
		return rc;
	link_target(mr, &t);
	rc = pinmem_mr_query(mr, &info);
	if (!rc)
		rc = move(x, k, m, &t, true, mr);
	if (pinmem_dereg(mr, PINMEM_DIRTY, NULL))
		link_die("pinmem_dereg: %s", pinmem_errmsg());
	return rc ? rc : WAYS + (int)ways[info.mode];
}

/* --------------------------------------------------------------------- the table */

enum { VERBS_WRITE, ODP_WRITE = 2, PINMEM = 6 };

static const struct column columns[] = {
	[VERBS_WRITE] = { "verbs write", predict_write, ask_write, .pins = true },
	{ "verbs read-only", predict_read, ask_read, .pins = true },
	[ODP_WRITE] = { "ODP write", predict_odp_write, ask_odp_write, .writes = true },
	{ "ODP read-only", predict_odp_read, ask_odp_read, .writes = false },
	{ "io_uring", predict_uring, ask_uring, .pins = true },
	{ "mlock", predict_mlock, ask_mlock, .pins = false },
	[PINMEM] = { "pinmem", predict_reg, ask_reg, .pins = true, .writes = true },
	/* as verbs but for copies of DAX files: two wide columns would say no more */
	{ "pin_track write", predict_pt_write, ask_pt_write, .pins = true,
	  .unseen = true },
	{ "pin_track read-only", predict_pt_read, ask_pt_read, .pins = true,
	  .unseen = true },
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))
#define CELL 64

static const char *text(int answer)
{
	if (!answer)
		return "ok";
	if (answer < 0)
		return strerrorname_np(-answer);
	if (answer >= WAYS)
		return pinmem_action_name((enum pinmem_action)(answer - WAYS));
	if (answer == CRASH)
		return "crashes";
	return answer == NO_EFFECT ? "no effect" : "fails later";
}

/* Failed as a message or a call should, not by a hang or with wrong bytes */
static bool failed_well(int real)
{
	return real && real != -EBADMSG && real != -ETIMEDOUT &&
	       real != IBV_WC_RETRY_EXC_ERR;
}

static bool agree(const struct column *c, const struct kind *k, int predicted, int real)
{
	if (predicted == real)
		return true;
	/* GUP's fast path looks at the pages that are there, and not at the mapping */
	if (k->lucky && predicted == -EFAULT && !real)
		return c->ask == ask_read || c->ask == ask_pt_read;
	/* no way out of where nothing is: that comes first in a verdict */
	if (k->dax_past_eof && predicted == -EFAULT && real == -EOPNOTSUPP)
		return c->pins;
	return !c->pins && predicted < 0 && failed_well(real);
}

static void say_cell(char *cell, const struct column *c, int predicted, int real)
{
	int n = snprintf(cell, CELL, "%s", text(real));

	if (c->pins && predicted != real)
		snprintf(cell + n, CELL - (size_t)n, " (pinmem: %s)", text(predicted));
}

static void complain(struct matrix *x, const struct column *c, const struct kind *k,
		     int predicted, int real)
{
	bool message = real > 0 && real < CRASH;

	printf("FAIL %s, %s: pinmem predicts %s (%s), the kernel answers %s%s%s\n",
	       k->name, c->name, text(predicted), x->v.reason, text(real),
	       message ? ": " : "", message ? link_status(real) : "");
	x->wrong++;
}

/* Return: the answer */
static int question(struct matrix *x, const struct column *c, const struct kind *k,
		    char *cell)
{
	struct memory m;
	const char *why = matrix_make(k, &m);
	int predicted, real;

	if (why && !k->may_lack)
		link_die("%s: %s", k->name, why);
	if (why) {
		matrix_unmake(&m);
		snprintf(cell, CELL, "none");
		return -ENOSYS;
	}
	predicted = c->predict(x, &m);
	real = c->ask(x, k, &m);
	say_cell(cell, c, predicted, real);
	if (k->after_fork && !predicted && real == -EOPNOTSUPP &&
	    !madvise(m.addr, m.len, MADV_POPULATE_WRITE))
		real = c->ask(x, k, &m);
	matrix_unmake(&m);
	if (!agree(c, k, predicted, real))
		complain(x, c, k, predicted, real);
	return real;
}

/* A pin where the kernel allows it, else ODP where that works: told by the raw answers,
 * not by pinmem's. Staging is what is left, and the kernel has no word on it. */
static void check_way(struct matrix *x, const struct kind *k, const int *answers)
{
	int want = WAYS + (int)(answers[VERBS_WRITE] ? PINMEM_USE_ODP : PINMEM_PIN);

	if ((answers[VERBS_WRITE] && answers[ODP_WRITE]) || answers[PINMEM] == want)
		return;
	printf("FAIL %s, pinmem: %s, and not %s, which the kernel allows\n", k->name,
	       text(answers[PINMEM]), text(want));
	x->wrong++;
}

static bool wanted(const struct matrix *x, const char *name)
{
	for (char **word = x->words; *word; word++)
		if (strstr(name, *word))
			return true;
	return !*x->words;
}

/* Complaints come before their row. */
static void print_row(const struct kind *k, void *arg)
{
	struct matrix *x = arg;
	char cells[COLUMNS][CELL];
	int answers[COLUMNS];

	if (!wanted(x, k->name))
		return;
	x->kinds++;
	for (size_t i = 0; i < COLUMNS; i++)
		if (columns[i].writes && k->not_ours)
			strcpy(cells[i], "-");
		else if (!columns[i].unseen || x->pin_track)
			answers[i] = question(x, &columns[i], k, cells[i]);
	if (!k->not_ours)
		check_way(x, k, answers);
	printf("| %s |", k->name);
	for (size_t i = 0; i < COLUMNS; i++)
		if (!columns[i].unseen)
			printf(" %s |", cells[i]);
	printf("\n");
}

static void print_table(struct matrix *x)
{
	struct utsname u;

	uname(&u);
	printf("BEGIN TABLE %s\n| memory |", u.release);
	for (size_t i = 0; i < COLUMNS; i++)
		if (!columns[i].unseen)
			printf(" %s |", columns[i].name);
	printf("\n|---|");
	for (size_t i = 0; i < COLUMNS; i++)
		if (!columns[i].unseen)
			printf("---|");
	printf("\n");
	matrix_each(print_row, x);
	printf("END TABLE\n");
}

/* ------------------------------------------------------------------------- main */

static struct pinmem *open_pinner(enum pinmem_backend backend)
{
	struct pinmem_options o = { .size = sizeof(o), .backend = backend };
	struct pinmem *pm;

	if (pinmem_open(&o, &pm))
		link_die("pinmem_open: %s", pinmem_errmsg());
	return pm;
}

static void begin(struct matrix *x)
{
	void *room;

	link_start(&x->link, MATRIX_LEN);
	x->uring = open_pinner(PINMEM_BACKEND_URING);
	x->mlock = open_pinner(PINMEM_BACKEND_MLOCK);
	x->pt = pt_open();
	x->pin_track = x->pt == -ENOENT ? NULL : open_pinner(PINMEM_BACKEND_PIN_TRACK);
	if (io_uring_queue_init(2, &x->ring, 0))
		link_die("no io_uring");
	x->mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	x->bytes = malloc(MATRIX_LEN);
	if (!x->bytes || pinmem_alloc(x->link.end.pm, MATRIX_LEN, NULL, &room) ||
	    pinmem_reg(x->link.end.pm, room, MATRIX_LEN, LINK_ACCESS, NULL,
		       &x->room_mr))
		link_die("no room: %s", pinmem_errmsg());
	x->room = room;
}

static void end(struct matrix *x)
{
	if (pinmem_dereg(x->room_mr, PINMEM_CLEAN, NULL) ||
	    pinmem_free(x->link.end.pm, x->room, MATRIX_LEN) ||
	    pinmem_close(x->uring) || pinmem_close(x->mlock) ||
	    (x->pin_track && pinmem_close(x->pin_track)))
		link_die("something stays: %s", pinmem_errmsg());
	link_stop(&x->link);
	io_uring_queue_exit(&x->ring);
	if (x->pin_track)
		close(x->pt);
	close(x->mem);
	free(x->bytes);
}

int main(int argc, char **argv)
{
	struct matrix x = { .words = argv + 1 };

	(void)argc;
	begin(&x);
	print_table(&x);
	end(&x);
	printf("%u kinds of memory, %u predictions wrong\n", x.kinds, x.wrong);
	return x.wrong || !x.kinds;
}
