/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matrix_kinds.c - makes the memory that matrix.h promises: files of each file system
 * in each shape, and all that is not a file.
 */
#include "matrix.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "link.h"

#define RW (PROT_READ | PROT_WRITE)
#define MADV_GUARD 102 /* MADV_GUARD_INSTALL, 6.13 */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------- what may happen to a mapping */

static void must(bool ok, const char *what)
{
	if (!ok)
		link_die("%s: %s", what, strerror(errno));
}

static void write_to(struct memory *m)
{
	memset(m->addr, 'w', m->len);
}

static void write_to_half(struct memory *m)
{
	memset(m->addr, 'h', m->len / 2);
}

static void read_from(struct memory *m)
{
	for (size_t at = 0; at < m->len; at += m->page)
		*(volatile char *)(m->addr + at);
}

static void start_child(struct memory *m)
{
	write_to(m);
	m->child = fork();
	must(m->child >= 0, "fork");
	if (!m->child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static void end_child(struct memory *m)
{
	if (m->child) {
		kill(m->child, SIGKILL);
		must(waitpid(m->child, NULL, 0) == m->child, "waitpid");
	}
	m->child = 0;
}

static void start_and_end_child(struct memory *m)
{
	start_child(m);
	end_child(m);
}

static void make_read_only(struct memory *m)
{
	write_to(m);
	must(!mprotect(m->addr, m->len, PROT_READ), "mprotect");
}

static void shorten(struct memory *m)
{
	must(!ftruncate(m->fd, (off_t)(m->len / 2)), "ftruncate");
}

static void empty(struct memory *m)
{
	must(!ftruncate(m->fd, 0), "ftruncate");
}

static void shorten_written(struct memory *m)
{
	write_to(m);
	shorten(m);
}

static void punch(struct memory *m)
{
	must(!fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)m->page, (off_t)m->page),
	     "fallocate");
}

static void delete (struct memory *m)
{
	if (m->path[0])
		must(!unlink(m->path), m->path);
	m->path[0] = '\0';
}

static void delete_and_close(struct memory *m)
{
	delete (m);
	close(m->fd);
	m->fd = -1;
}

/* Its extents are then another file's too, and copied when they are written to. */
static void share_extents(struct memory *m)
{
	char path[sizeof(m->path) + 8];
	int fd;

	snprintf(path, sizeof(path), "%s.clone", m->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0, path);
	must(!ioctl(fd, FICLONE, m->fd), "FICLONE");
	must(!unlink(path), path);
	close(fd);
}

/* ---------------------------------------------------------------------- files */

struct place {
	const char *name;
	const char *env;  /* of the directory; NULL: a memfd */
	unsigned int mfd; /* its flags */
	size_t page;
};

struct shape {
	const char *name;
	int prot, flags;
	void (*change)(struct memory *m);
	bool sparse, past_eof;
};

static const struct place dax_places[] = {
	{ "ext4 dax", "PINMEM_EXT4_DAX", 0, MATRIX_PAGE },
	{ "xfs dax", "PINMEM_XFS_DAX", 0, MATRIX_PAGE },
	{ "ext4 dax flag", "PINMEM_EXT4_INODE_DAX", 0, MATRIX_PAGE },
	{ "xfs reflink dax flag", "PINMEM_XFS_REFLINK_DAX", 0, MATRIX_PAGE },
};

static const struct shape dax_shapes[] = {
	{ "shared", RW, MAP_SHARED, NULL, false, false },
	{ "shared, written", RW, MAP_SHARED, write_to, false, false },
	{ "shared, MAP_SYNC", RW, MAP_SHARED_VALIDATE | MAP_SYNC, NULL, false, false },
	{ "shared, sparse", RW, MAP_SHARED, NULL, true, false },
	{ "shared, read-only", PROT_READ, MAP_SHARED, NULL, false, false },
	{ "shared, file shortened", RW, MAP_SHARED, shorten, false, true },
	{ "shared, written, file shortened", RW, MAP_SHARED, shorten_written, false,
	  true },
	{ "shared, file emptied", RW, MAP_SHARED, empty, false, true },
	{ "shared, hole punched", RW, MAP_SHARED, punch, false, false },
	{ "shared, deleted", RW, MAP_SHARED, delete, false, false },
	{ "shared, deleted, closed", RW, MAP_SHARED, delete_and_close, false, false },
	{ "private", RW, MAP_PRIVATE, NULL, false, false },
	{ "private, read", RW, MAP_PRIVATE, read_from, false, false },
	{ "private, sparse, read", RW, MAP_PRIVATE, read_from, true, false },
	{ "private, read-only", PROT_READ, MAP_PRIVATE, NULL, false, false },
	{ "private, half copied", RW, MAP_PRIVATE, write_to_half, false, false },
	{ "private, copied", RW, MAP_PRIVATE, write_to, false, false },
	{ "private, copied, forked", RW, MAP_PRIVATE, start_child, false, false },
	{ "private, copied, child gone", RW, MAP_PRIVATE, start_and_end_child, false,
	  false },
	{ "private, copied, then read-only", RW, MAP_PRIVATE, make_read_only, false,
	  false },
};

static const struct place reflink_places[] = {
	{ "xfs reflink dax flag", "PINMEM_XFS_REFLINK_DAX", 0, MATRIX_PAGE },
};

static const struct shape reflink_shapes[] = {
	{ "shared, cloned", RW, MAP_SHARED, share_extents, false, false },
};

static const struct place cache_places[] = {
	{ "ext4", "PINMEM_EXT4", 0, MATRIX_PAGE },
	{ "xfs", "PINMEM_XFS", 0, MATRIX_PAGE },
};

static const struct shape cache_shapes[] = {
	{ "shared", RW, MAP_SHARED, NULL, false, false },
	{ "shared, written", RW, MAP_SHARED, write_to, false, false },
	{ "shared, read-only", PROT_READ, MAP_SHARED, NULL, false, false },
	{ "shared, file shortened", RW, MAP_SHARED, shorten, false, false },
	{ "shared, hole punched", RW, MAP_SHARED, punch, false, false },
	{ "shared, deleted", RW, MAP_SHARED, delete, false, false },
	{ "shared, deleted, closed", RW, MAP_SHARED, delete_and_close, false, false },
	{ "private", RW, MAP_PRIVATE, NULL, false, false },
	{ "private, copied, forked", RW, MAP_PRIVATE, start_child, false, false },
	{ "private, read-only", PROT_READ, MAP_PRIVATE, NULL, false, false },
	{ "private, file shortened", RW, MAP_PRIVATE, shorten, false, false },
};

/* On a file system that could do DAX, a file that does not */
static const struct place flagless_places[] = {
	{ "ext4 without dax flag", "PINMEM_EXT4_INODE", 0, MATRIX_PAGE },
	{ "xfs reflink without dax flag", "PINMEM_XFS_REFLINK", 0, MATRIX_PAGE },
};

static const struct shape flagless_shapes[] = {
	{ "shared", RW, MAP_SHARED, NULL, false, false },
	{ "shared, deleted, closed", RW, MAP_SHARED, delete_and_close, false, false },
	{ "private", RW, MAP_PRIVATE, NULL, false, false },
};

static const struct place shmem_places[] = {
	{ "tmpfs", "PINMEM_TMPFS", 0, MATRIX_PAGE },
	{ "/dev/shm", "PINMEM_SHM", 0, MATRIX_PAGE },
	{ "memfd", NULL, 0, MATRIX_PAGE },
};

static const struct shape shmem_shapes[] = {
	{ "shared", RW, MAP_SHARED, NULL, false, false },
	{ "shared, sparse", RW, MAP_SHARED, NULL, true, false },
	{ "shared, read-only", PROT_READ, MAP_SHARED, NULL, false, false },
	{ "shared, file shortened", RW, MAP_SHARED, shorten, false, false },
	{ "shared, hole punched", RW, MAP_SHARED, punch, false, false },
	{ "shared, deleted, closed", RW, MAP_SHARED, delete_and_close, false, false },
	{ "private", RW, MAP_PRIVATE, NULL, false, false },
};

static const struct place huge_places[] = {
	{ "hugetlbfs", "PINMEM_HUGETLBFS", 0, MATRIX_HUGE },
	{ "memfd hugetlb", NULL, MFD_HUGETLB, MATRIX_HUGE },
};

static const struct shape huge_shapes[] = {
	{ "shared", RW, MAP_SHARED, NULL, true, false },
	{ "shared, read-only", PROT_READ, MAP_SHARED, NULL, true, false },
	{ "shared, file shortened", RW, MAP_SHARED, shorten, true, false },
	{ "shared, deleted, closed", RW, MAP_SHARED, delete_and_close, true, false },
	{ "private", RW, MAP_PRIVATE, NULL, true, false },
};

static void fill_file(int fd, size_t len)
{
	static char bytes[MATRIX_LEN];

	link_fill(bytes, 0, len, 99);
	must(pwrite(fd, bytes, len, 0) == (ssize_t)len, "pwrite");
}

static const char *make_file(const struct place *p, const struct shape *s,
			     struct memory *m)
{
	const char *dir = p->env ? getenv(p->env) : NULL;

	if (p->env && !dir)
		return p->env;
	m->page = p->page;
	m->len = p->page == MATRIX_HUGE ? MATRIX_LEN_MAX : MATRIX_LEN;
	if (dir) {
		snprintf(m->path, sizeof(m->path), "%s/matrix-XXXXXX", dir);
		m->fd = mkostemp(m->path, O_CLOEXEC);
	} else {
		m->fd = memfd_create("matrix", p->mfd | MFD_CLOEXEC);
	}
	must(m->fd >= 0 && !ftruncate(m->fd, (off_t)m->len), p->name);
	if (!s->sparse)
		fill_file(m->fd, m->len);
	m->map = mmap(NULL, m->len, s->prot, s->flags, m->fd, 0);
	must(m->map != MAP_FAILED, p->name);
	m->addr = m->map;
	m->map_len = m->len;
	if (s->change)
		s->change(m);
	return NULL;
}

/* -------------------------------------------------------------------- the rest */

static void map(struct memory *m, size_t len, int prot, int flags, int fd)
{
	m->map = mmap(NULL, len, prot, flags, fd, 0);
	must(m->map != MAP_FAILED, "mmap");
	m->addr = m->map;
	m->len = m->map_len = len;
}

static const char *anon(struct memory *m, int prot)
{
	map(m, MATRIX_LEN, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	write_to(m);
	must(!mprotect(m->addr, m->len, prot), "mprotect");
	return NULL;
}

static const char *anon_written(struct memory *m)
{
	return anon(m, RW);
}

static const char *anon_untouched(struct memory *m)
{
	map(m, MATRIX_LEN, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	return NULL;
}

static const char *anon_read(struct memory *m)
{
	anon_untouched(m);
	read_from(m);
	return NULL;
}

static const char *anon_read_only(struct memory *m)
{
	return anon(m, PROT_READ);
}

static const char *anon_write_only(struct memory *m)
{
	map(m, MATRIX_LEN, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	return NULL;
}

static const char *anon_write_only_written(struct memory *m)
{
	return anon(m, PROT_WRITE);
}

static const char *anon_prot_none(struct memory *m)
{
	return anon(m, PROT_NONE);
}

static const char *anon_forked(struct memory *m)
{
	anon(m, RW);
	start_child(m);
	return NULL;
}

static const char *anon_partly_read_only(struct memory *m)
{
	anon(m, RW);
	must(!mprotect(m->addr + m->page, m->page, PROT_READ), "mprotect");
	return NULL;
}

static const char *thp(struct memory *m)
{
	map(m, 2 * MATRIX_HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	m->addr = (char *)(((uintptr_t)m->map + MATRIX_HUGE - 1) & -MATRIX_HUGE);
	m->len = MATRIX_HUGE;
	must(!madvise(m->addr, m->len, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	write_to(m);
	return NULL;
}

static const char *map_hugetlb(struct memory *m)
{
	map(m, MATRIX_HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	return NULL;
}

static const char *map_hugetlb_shared(struct memory *m)
{
	map(m, MATRIX_HUGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	return NULL;
}

static const char *shared_anon(struct memory *m)
{
	map(m, MATRIX_LEN, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	return NULL;
}

static const char *sysv(struct memory *m)
{
	int id = shmget(IPC_PRIVATE, MATRIX_LEN, 0600);

	m->map = shmat(id, NULL, 0);
	must(m->map != (void *)-1, "shmat");
	shmctl(id, IPC_RMID, NULL);
	m->addr = m->map;
	m->len = m->map_len = MATRIX_LEN; /* munmap(2) detaches it as well */
	return NULL;
}

static const char *open_and_map(struct memory *m, const char *path, size_t len,
				int prot, int flags)
{
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	must(m->fd >= 0, path);
	map(m, len, prot, flags, m->fd);
	return NULL;
}

static const char *zero_private(struct memory *m)
{
	return open_and_map(m, "/dev/zero", MATRIX_LEN, RW, MAP_PRIVATE);
}

static const char *zero_shared(struct memory *m)
{
	return open_and_map(m, "/dev/zero", MATRIX_LEN, RW, MAP_SHARED);
}

static const char *devdax(struct memory *m)
{
	return open_and_map(m, getenv("PINMEM_DEVDAX"), MATRIX_HUGE, RW, MAP_SHARED);
}

static const char *devdax_read_only(struct memory *m)
{
	return open_and_map(m, getenv("PINMEM_DEVDAX"), MATRIX_HUGE, PROT_READ,
			    MAP_SHARED);
}

static const char *secret(struct memory *m)
{
	m->fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (m->fd < 0)
		return "no memfd_secret(2)";
	must(!ftruncate(m->fd, (off_t)MATRIX_LEN), "ftruncate");
	map(m, MATRIX_LEN, RW, MAP_SHARED, m->fd);
	write_to(m);
	return NULL;
}

static const char *unmapped(struct memory *m)
{
	anon(m, RW);
	must(!munmap(m->map, m->map_len), "munmap");
	m->map = NULL;
	return NULL;
}

static const char *hole(struct memory *m)
{
	anon(m, RW);
	must(!munmap(m->addr + 5 * m->page, m->page), "munmap");
	return NULL;
}

static const char *guard_in(struct memory *m)
{
	if (!madvise(m->addr + 5 * m->page, m->page, MADV_GUARD))
		return NULL;
	return "no MADV_GUARD_INSTALL for it";
}

static const char *anon_guard(struct memory *m)
{
	anon(m, RW);
	return guard_in(m);
}

static const char *shared_guard(struct memory *m)
{
	map(m, MATRIX_LEN, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	return guard_in(m);
}

/* Anonymous memory, then a DAX file over its second half */
static const char *anon_then_dax(struct memory *m)
{
	static const struct shape plain = { .sparse = true,
					    .prot = RW,
					    .flags = MAP_SHARED };
	make_file(&dax_places[0], &plain, m);
	must(!munmap(m->map, m->map_len), "munmap");
	anon(m, RW);
	must(mmap(m->addr + m->len / 2, m->len / 2, RW, MAP_SHARED | MAP_FIXED, m->fd,
		  0) != MAP_FAILED,
	     "mmap");
	return NULL;
}

static const char *find_mapping(struct memory *m, const char *name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	uintptr_t start, end;
	const char *why = "no such mapping";

	must(f != NULL, "/proc/self/maps");
	while (why && fgets(line, sizeof(line), f))
		if (strstr(line, name) && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			m->addr = (char *)start;
			m->len = end - start;
			why = NULL;
		}
	fclose(f);
	return why;
}

static const char *vvar(struct memory *m)
{
	return find_mapping(m, "[vvar]");
}

static const char *vdso(struct memory *m)
{
	return find_mapping(m, "[vdso]");
}

static const char *verbs_queue(struct memory *m)
{
	return find_mapping(m, "uverbs");
}

static const char *program_text(struct memory *m)
{
	m->addr = (char *)((uintptr_t)program_text & -MATRIX_PAGE);
	m->len = MATRIX_PAGE;
	return NULL;
}

static const char *uring_queue(struct memory *m)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));

	must(ring && !io_uring_queue_init(64, ring, 0), "io_uring_queue_init");
	m->ring = ring;
	m->addr = (char *)ring->sq.sqes;
	m->len = MATRIX_PAGE;
	return NULL;
}

struct single {
	const char *name;
	const char *(*make)(struct memory *m);
	enum { NOT_OURS = 1, MAY_LACK = 2, LUCKY = 4, ODP_KILLS = 8, LIVE = 16 } flags;
};

static const struct single singles[] = {
	{ "anonymous, written", anon_written, 0 },
	{ "anonymous, untouched", anon_untouched, 0 },
	{ "anonymous, read", anon_read, 0 },
	{ "anonymous, read-only", anon_read_only, 0 },
	{ "anonymous, one page read-only", anon_partly_read_only, 0 },
	{ "anonymous, write-only", anon_write_only, 0 },
	{ "anonymous, write-only, written", anon_write_only_written, LUCKY },
	{ "anonymous, PROT_NONE", anon_prot_none, 0 },
	{ "anonymous, forked", anon_forked, 0 },
	{ "anonymous, THP", thp, 0 },
	{ "MAP_HUGETLB, private", map_hugetlb, 0 },
	{ "MAP_HUGETLB, shared", map_hugetlb_shared, 0 },
	{ "anonymous, shared", shared_anon, 0 },
	{ "SysV shared memory", sysv, 0 },
	{ "/dev/zero, private", zero_private, 0 },
	{ "/dev/zero, shared", zero_shared, 0 },
	{ "device-dax", devdax, 0 },
	{ "device-dax, read-only", devdax_read_only, 0 },
	{ "memfd_secret", secret, MAY_LACK | ODP_KILLS },
	{ "unmapped", unmapped, 0 },
	{ "anonymous, hole inside", hole, 0 },
	{ "anonymous, guard region inside", anon_guard, MAY_LACK },
	{ "anonymous, shared, guard region inside", shared_guard, MAY_LACK },
	{ "anonymous, then ext4 dax", anon_then_dax, 0 },
	{ "[vvar]", vvar, NOT_OURS | LIVE },
	{ "[vdso]", vdso, NOT_OURS },
	{ "queue of a verbs device", verbs_queue, NOT_OURS | LIVE },
	{ "queue of an io_uring", uring_queue, NOT_OURS },
	{ "program text", program_text, NOT_OURS },
};

/* --------------------------------------------------------------------- the list */

static void each_file(const struct place *places, size_t n_places,
		      const struct shape *shapes, size_t n_shapes,
		      void (*fn)(const struct kind *k, void *arg), void *arg)
{
	for (size_t p = 0; p < n_places; p++)
		for (size_t s = 0; s < n_shapes; s++) {
			struct kind k = { .dax_past_eof = shapes[s].past_eof,
					  .after_fork = shapes[s].change ==
							start_and_end_child,
					  .how = &shapes[s],
					  .where = &places[p] };

			snprintf(k.name, sizeof(k.name), "%s, %s", places[p].name,
				 shapes[s].name);
			fn(&k, arg);
		}
}

#define EACH_FILE(set, fn, arg)                                         \
	each_file(set##_places, ARRAY_SIZE(set##_places), set##_shapes, \
		  ARRAY_SIZE(set##_shapes), fn, arg)

void matrix_each(void (*fn)(const struct kind *k, void *arg), void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(singles); i++) {
		struct kind k = { .not_ours = singles[i].flags & NOT_OURS,
				  .may_lack = singles[i].flags & MAY_LACK,
				  .lucky = singles[i].flags & LUCKY,
				  .live = singles[i].flags & LIVE,
				  .odp_kills = singles[i].flags & ODP_KILLS,
				  .how = &singles[i] };

		snprintf(k.name, sizeof(k.name), "%s", singles[i].name);
		fn(&k, arg);
	}
	EACH_FILE(huge, fn, arg);
	EACH_FILE(shmem, fn, arg);
	EACH_FILE(cache, fn, arg);
	EACH_FILE(flagless, fn, arg);
	EACH_FILE(dax, fn, arg);
	EACH_FILE(reflink, fn, arg);
}

const char *matrix_make(const struct kind *k, struct memory *m)
{
	*m = (struct memory){ .fd = -1, .page = MATRIX_PAGE };
	if (k->where)
		return make_file(k->where, k->how, m);
	return ((const struct single *)k->how)->make(m);
}

void matrix_unmake(struct memory *m)
{
	end_child(m);
	if (m->map)
		must(!munmap(m->map, m->map_len), "munmap");
	if (m->ring) {
		io_uring_queue_exit(m->ring);
		free(m->ring);
	}
	if (m->fd >= 0)
		close(m->fd);
	if (m->path[0])
		must(!unlink(m->path), m->path);
}
