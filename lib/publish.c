/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * publish.c - the live regions of this process, readable from another one.
 *
 * One memfd per process holds a record per region. Whoever may look into
 * /proc/PID/fd (ptrace(2)'s read check: same user, or CAP_SYS_PTRACE) may map and
 * read it; nothing has to be asked of the process, which may hang or be stopped.
 *
 * A record is written under the table's lock, between an odd and the next even
 * sequence number; a reader that sees an odd or changing number looks again. A
 * forked child does not get the mapping (MADV_DONTFORK), and makes a table of its
 * own, with a lock of its own: the parent's may have been held while it forked.
 * What cannot be published is not an error: registrations go on.
 */
#include "hands.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define NAME "pinmem-regions"
#define MAGIC 0x70696e6d656d3032ull /* "pinmem02" */
#define CAPACITY (1u << 20)
#define NONE UINT32_MAX
#define TRIES 1000	/* of a reader, for one record */
#define HANDS_MAX 65536 /* threads that a reader believes in */

struct record {
	uint64_t seq; /* atomic; odd: being written; live iff len > 0 */
	uint64_t addr, len;
	uint64_t born_ns;
	uint64_t pinner; /* an id, not an address */
	uint32_t backend, mode, backing, access, segments;
	int32_t refused;
	uint32_t unpin_clean, unpin_dirty;
	uint32_t next_free; /* for the writer */
	uint32_t cached;    /* 0, 1, or 2: its holders can be counted */
	uint64_t hands;	    /* where: addresses in that process */
	uint64_t number, gets;
};

_Static_assert(sizeof(struct record) % sizeof(uint64_t) == 0, "read by words");

struct header {
	uint64_t magic;
	uint32_t record_size;
	int64_t pid;   /* a child that inherited the descriptor is not it */
	uint32_t used; /* atomic: records [0, used) were ever written */
};

struct table {
	uint64_t generation;
	struct header *head;
	struct record *records;
	pthread_mutex_t lock; /* free, and the records */
	uint32_t free;
};

static struct table *current; /* atomic */

#define TABLE_BYTES (sizeof(struct header) + CAPACITY * sizeof(struct record))

/* ----------------------------------------------------------------- writing */

/* Beyond RLIMIT_FSIZE ftruncate() would raise SIGXFSZ in somebody else's program. */
static bool size_allowed(void)
{
	struct rlimit lim;

	return !getrlimit(RLIMIT_FSIZE, &lim) &&
	       (lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur >= TABLE_BYTES);
}

static struct header *map_new(int *fd_out)
{
	struct header *head = MAP_FAILED;
	int fd;

	if (!size_allowed())
		return NULL;
	fd = memfd_create(NAME, MFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!ftruncate(fd, (off_t)TABLE_BYTES))
		head = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
	if (head == MAP_FAILED) {
		close(fd);
		return NULL;
	}
	madvise(head, TABLE_BYTES, MADV_DONTFORK);
	madvise(head, TABLE_BYTES, MADV_DONTDUMP);
	head->record_size = sizeof(struct record);
	head->pid = getpid();
	__atomic_store_n(&head->magic, MAGIC, __ATOMIC_RELEASE);
	*fd_out = fd; /* stays open: it is how others find the table */
	return head;
}

static struct table *table_new(struct table *old)
{
	struct table *t = calloc(1, sizeof(*t));
	int fd = -1;

	if (!t)
		return NULL;
	t->generation = process_generation();
	t->free = NONE;
	pthread_mutex_init(&t->lock, NULL);
	t->head = map_new(&fd); /* NULL: this process publishes nothing */
	if (t->head)
		t->records = (struct record *)(void *)(t->head + 1);
	if (__atomic_compare_exchange_n(&current, &old, t, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return t;
	if (t->head) { /* another thread was first */
		munmap(t->head, TABLE_BYTES);
		close(fd);
	}
	free(t);
	return old;
}

static struct table *table_get(void)
{
	struct table *t = __atomic_load_n(&current, __ATOMIC_ACQUIRE);

	if (!t || t->generation != process_generation())
		t = table_new(t);
	return t && t->head ? t : NULL;
}

/* Between an odd number and the next even one. The words go in by release stores: none
 * is seen before the odd number is. */
static void record_write(struct record *r, const struct record *content)
{
	const uint64_t *from = (const void *)content;
	uint64_t *to = (void *)r, seq = r->seq;

	__atomic_store_n(&r->seq, seq + 1, __ATOMIC_RELAXED);
	for (size_t i = 1; i < sizeof(*r) / sizeof(*to); i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
	__atomic_store_n(&r->seq, seq + 2, __ATOMIC_RELEASE);
}

static uint32_t record_take(struct table *t)
{
	uint32_t at = t->free;

	if (at != NONE) {
		t->free = t->records[at].next_free;
		return at;
	}
	if (t->head->used == CAPACITY)
		return NONE; /* this one is not seen from outside */
	at = t->head->used;
	__atomic_store_n(&t->head->used, at + 1, __ATOMIC_RELEASE);
	return at;
}

static void record_fill(const struct pinmem_mr *mr, struct record *r)
{
	*r = (struct record){
		.addr = mr->addr,
		.len = mr->len,
		.born_ns = mr->born_ns,
		.pinner = mr->pm->id,
		.backend = mr->pm->be->ops->id,
		.mode = mr->mode,
		.backing = mr->backing,
		.access = mr->access,
		.segments = mr->nsegs,
		.refused = mr->refused,
		.unpin_clean = region_outcome(mr, PINMEM_CLEAN),
		.unpin_dirty = region_outcome(mr, PINMEM_DIRTY),
		.cached = mr->cache ? mr->cache_id ? 2 : 1 : 0,
		.hands = (uintptr_t)mr->hands,
		.number = mr->cache_id,
		.gets = mr->cache_gets,
	};
}

uint32_t publish_enter(const struct pinmem_mr *mr)
{
	struct table *t = table_get();
	struct record r;
	uint32_t at;

	if (!t)
		return NONE;
	record_fill(mr, &r);
	pthread_mutex_lock(&t->lock);
	at = record_take(t);
	if (at != NONE)
		record_write(&t->records[at], &r);
	pthread_mutex_unlock(&t->lock);
	return at;
}

void publish_cached(const struct pinmem_mr *mr)
{
	struct table *t = table_get();
	struct record r;

	if (!t || mr->published == NONE)
		return;
	record_fill(mr, &r);
	pthread_mutex_lock(&t->lock);
	record_write(&t->records[mr->published], &r);
	pthread_mutex_unlock(&t->lock);
}

void publish_leave(uint32_t at)
{
	struct table *t = table_get();
	struct record none = { .len = 0 };

	if (!t || at == NONE)
		return;
	pthread_mutex_lock(&t->lock);
	none.next_free = t->free;
	record_write(&t->records[at], &none);
	t->free = at;
	pthread_mutex_unlock(&t->lock);
}

/* ----------------------------------------------------------------- reading */

/* The table of a process among its descriptors. Return: a descriptor, or -errno. */
static int find_table(int dir, pid_t pid)
{
	static const char want[] = "/memfd:" NAME " (deleted)";
	char target[sizeof(want)];
	struct dirent *e;
	DIR *d = fdopendir(dir);
	int fd = -ENOENT;

	if (!d)
		return -errno;
	while (fd < 0 && (e = readdir(d))) {
		struct header head;

		if (readlinkat(dirfd(d), e->d_name, target, sizeof(target)) !=
			    (ssize_t)sizeof(want) - 1 ||
		    memcmp(target, want, sizeof(want) - 1))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
		    head.magic != MAGIC || head.pid != pid) {
			close(fd);
			fd = -ENOENT;
		}
	}
	closedir(d);
	return fd;
}

/* A consistent copy: word by word, each read before what is read after it. Return:
 * false if there is no live region in it. */
static bool record_read(const struct record *r, struct record *copy)
{
	const uint64_t *from = (const void *)r;
	uint64_t *to = (void *)copy;

	for (int try = 0; try < TRIES; try++) {
		for (size_t i = 0; i < sizeof(*r) / sizeof(*to); i++)
			to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
		if (!(copy->seq & 1) &&
		    __atomic_load_n(&r->seq, __ATOMIC_RELAXED) == copy->seq)
			return copy->len > 0;
	}
	return false; /* its writer was stopped, or died, in the middle */
}

static void record_describe(const struct record *r, pid_t pid, uint64_t now,
			    struct pinmem_mr_info *i)
{
	*i = (struct pinmem_mr_info){
		.size = sizeof(*i),
		.addr = (void *)(uintptr_t)r->addr,
		.len = r->len,
		.mode = (enum pinmem_mode)r->mode,
		.backing = (enum pinmem_backing)r->backing,
		.access = r->access,
		.segments = r->segments,
		.unpin_clean = (enum pinmem_unpin)r->unpin_clean,
		.unpin_dirty = (enum pinmem_unpin)r->unpin_dirty,
		.refused = r->refused,
		.node = place_node_in(pid, (void *)(uintptr_t)r->addr),
		.backend = (enum pinmem_backend)r->backend,
		.pinner = r->pinner,
		.age_ns = now > r->born_ns ? now - r->born_ns : 0,
	};
}

static bool copy_from(pid_t pid, uint64_t addr, void *to, size_t len)
{
	struct iovec local = { to, len }, remote = { (void *)(uintptr_t)addr, len };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

/*
 * A cached region's holders, from the tallies of the other process's threads. That
 * process runs on: the sum is about now. Unlike the table it takes what ptrace(2) calls
 * the attach check (Yama's ptrace_scope); where that fails, nothing is told.
 */
static void count_holders(const struct record *r, pid_t pid, struct pinmem_mr_info *i)
{
	struct tally sum = { 0, 0 }, one;
	struct hands hands;
	struct hand hand;
	uint64_t next;

	i->cached = r->cached != 0;
	i->holders = r->cached == 1;
	if (r->cached != 2 || !copy_from(pid, r->hands, &hands, sizeof(hands)) ||
	    r->number >= hands.numbers)
		return;
	next = (uintptr_t)hands.first;
	for (int n = 0; next && n < HANDS_MAX; n++) {
		if (!copy_from(pid, next, &hand, sizeof(hand)) ||
		    !copy_from(pid, (uintptr_t)(hand.tallies + r->number), &one,
			       sizeof(one)))
			return;
		sum.gets += one.gets;
		sum.puts += one.puts;
		next = (uintptr_t)hand.next;
	}
	i->holders = tally_holders(sum);
	i->hits = sum.gets - r->gets;
}

static int walk_table(const struct header *head, size_t room, pid_t pid,
		      int (*fn)(const struct pinmem_mr_info *info, void *arg),
		      void *arg)
{
	const struct record *records = (const void *)(head + 1);
	uint32_t used = __atomic_load_n(&head->used, __ATOMIC_ACQUIRE);
	uint64_t now = now_ns();
	struct pinmem_mr_info info;
	struct record r = { .seq = 0 };
	int rc = 0;

	/* the file is another process's: believe none of its numbers */
	if (head->record_size != sizeof(struct record))
		return fail(EPROTO,
			    "process %d has another version of libpinmem: records of "
			    "%u and not %zu bytes",
			    (int)pid, head->record_size, sizeof(struct record));
	if (used > (room - sizeof(*head)) / sizeof(*records))
		return fail(EPROTO, "the table of process %d is damaged", (int)pid);
	for (uint32_t i = 0; i < used && !rc; i++) {
		if (!record_read(&records[i], &r))
			continue;
		record_describe(&r, pid, now, &info);
		count_holders(&r, pid, &info);
		rc = fn(&info, arg);
	}
	return rc;
}

int pinmem_peek(pid_t pid, int (*fn)(const struct pinmem_mr_info *info, void *arg),
		void *arg)
{
	struct header *head;
	struct stat st;
	char path[32];
	int fd, rc;

	if (!fn)
		return fail(EINVAL, "no function to call: fn is NULL");
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(errno == ENOENT ? ESRCH : errno,
			    "the descriptors of process %d cannot be read: %s",
			    (int)pid,
			    errno == ENOENT ? "no such process" : strerror(errno));
	fd = find_table(fd, pid);
	if (fd == -ENOENT)
		return fail(ENOENT, "process %d publishes no pinned regions", (int)pid);
	if (fd < 0)
		return fail(fd, "the regions of process %d cannot be read: %s",
			    (int)pid, strerror(-fd));
	rc = fstat(fd, &st) ? -errno : 0;
	head = rc ? MAP_FAILED
		  : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (head == MAP_FAILED)
		rc = fail(errno, "the regions of process %d cannot be mapped: %s",
			  (int)pid, strerror(errno));
	close(fd);
	if (rc)
		return rc;
	rc = walk_table(head, (size_t)st.st_size, pid, fn, arg);
	munmap(head, (size_t)st.st_size);
	return rc;
}
