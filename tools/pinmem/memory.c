/* SPDX-License-Identifier: BSD-2-Clause */
/* memory.c - real memory of every kind; see memory.h. */
#include "memory.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "out.h"
#include "sys.h"

static const struct {
	const char *name, *label;
} kinds[] = {
	[MEM_ANON] = { "anonymous", "anonymous, 4 KiB" },
	[MEM_THP] = { "thp", "huge pages (THP)" },
	[MEM_HUGETLB] = { "hugetlb", "hugetlb pages" },
	[MEM_MEMFD] = { "memfd", "memfd" },
	[MEM_SHM] = { "shm", "POSIX shared memory" },
	[MEM_TMPFS] = { "tmpfs-file", "file on tmpfs" },
	[MEM_FILE] = { "file", "file, mapped shared" },
	[MEM_READONLY] = { "read-only", "mapped read-only" },
	[MEM_HOLE] = { "hole", "a hole in it" },
};

const char *memory_label(enum memory_kind kind)
{
	if (kind == MEM_ANON)
		return text("anonymous, %s", size_text(sys_page()));
	return kinds[kind].label;
}

const char *memory_name(enum memory_kind kind)
{
	return kinds[kind].name;
}

static int give_up(struct memory *m, const char *what)
{
	snprintf(m->why, sizeof(m->why), "%s: %s", what, strerror(errno));
	return -1;
}

/* Maps with the start on a multiple of @align; anonymous only. */
static int map_aligned(struct memory *m, size_t align)
{
	char *p = mmap(NULL, m->len + align, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t head;

	if (p == MAP_FAILED)
		return give_up(m, text("cannot map %s", size_text(m->len)));
	head = (align - (uintptr_t)p % align) % align;
	if (head)
		munmap(p, head);
	munmap(p + head + m->len, align - head);
	m->addr = p + head;
	return 0;
}

static int make_anon(struct memory *m, int advice)
{
	size_t align = sys_huge_page() ? sys_huge_page() : sys_page();

	m->len = (m->len + sys_page() - 1) / sys_page() * sys_page();
	if (map_aligned(m, align))
		return -1;
	/* EINVAL: a kernel without huge pages, which has base pages only */
	madvise(m->addr, m->len, advice);
	return 0;
}

static int make_thp(struct memory *m)
{
	if (!sys_huge_page() || !strcmp(sys_thp_mode(), "never")) {
		snprintf(m->why, sizeof(m->why),
			 "transparent huge pages are off "
			 "(/sys/kernel/mm/transparent_hugepage/enabled)");
		return -1;
	}
	return make_anon(m, MADV_HUGEPAGE);
}

static int make_hugetlb(struct memory *m)
{
	uint64_t page, free = sys_hugetlb_free(&page);

	if (!page) {
		snprintf(m->why, sizeof(m->why), "this kernel has no hugetlb pages");
		return -1;
	}
	m->len = (m->len + page - 1) / page * page;
	if (free * page < m->len) {
		snprintf(m->why, sizeof(m->why),
			 "%s needs %zu free hugetlb pages of %s, %" PRIu64
			 " are free; reserve more in /proc/sys/vm/nr_hugepages",
			 size_text(m->len), m->len / (size_t)page, size_text(page),
			 free);
		return -1;
	}
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (m->addr == MAP_FAILED)
		return give_up(
			m, text("cannot map %s of hugetlb pages", size_text(m->len)));
	return 0;
}

/* m->fd is open, and has its length. */
static int map_fd(struct memory *m, const char *what)
{
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->addr == MAP_FAILED)
		return give_up(m, text("cannot map %s", what));
	return 0;
}

/* Memory of its own needs no room anywhere before it is touched. */
static int map_sparse(struct memory *m, const char *what)
{
	if (ftruncate(m->fd, (off_t)m->len))
		return give_up(m, text("cannot give %s %s", what, size_text(m->len)));
	return map_fd(m, what);
}

/* A file system that is full would kill whoever touches the mapping (SIGBUS). */
static int map_allocated(struct memory *m, const char *what)
{
	int err = posix_fallocate(m->fd, 0, (off_t)m->len);

	if (err) {
		errno = err;
		return give_up(m, text("cannot give %s %s", what, size_text(m->len)));
	}
	return map_fd(m, what);
}

static int make_memfd(struct memory *m)
{
	m->fd = memfd_create("pinmem", MFD_CLOEXEC);
	if (m->fd < 0)
		return give_up(m, "memfd_create");
	return map_sparse(m, "the memfd");
}

static int make_shm(struct memory *m)
{
	char name[64];

	snprintf(name, sizeof(name), "/pinmem-%ld", (long)getpid());
	m->fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (m->fd < 0)
		return give_up(m, "shm_open");
	shm_unlink(name);
	return map_sparse(m, "the shared memory");
}

/* The file has a name while it lives, as files of real programs do. */
static int make_file(struct memory *m, const char *dir)
{
	if (!dir) {
		snprintf(m->why, sizeof(m->why),
			 "no tmpfs is mounted where this user may write");
		return -1;
	}
	if ((size_t)snprintf(m->path, sizeof(m->path), "%s/pinmem-XXXXXX", dir) >=
	    sizeof(m->path)) {
		m->path[0] = '\0';
		errno = ENAMETOOLONG;
		return give_up(m, dir);
	}
	m->fd = mkostemp(m->path, O_CLOEXEC);
	if (m->fd < 0) {
		m->path[0] = '\0';
		return give_up(m, text("cannot make a file in %s", dir));
	}
	return map_allocated(m, m->path);
}

/* There before it is protected: a read-only mapping can get no page by writing. */
static int make_readonly(struct memory *m)
{
	if (make_anon(m, MADV_NOHUGEPAGE))
		return -1;
	pattern_fill(m->addr, m->len, m->seed);
	if (mprotect(m->addr, m->len, PROT_READ))
		return give_up(m, "mprotect");
	return 0;
}

static int make_hole(struct memory *m)
{
	if (make_anon(m, MADV_NOHUGEPAGE))
		return -1;
	if (munmap((char *)m->addr + m->len / 2 / sys_page() * sys_page(), sys_page()))
		return give_up(m, "munmap");
	return 0;
}

int memory_make(enum memory_kind kind, size_t len, const char *dir, struct memory *m)
{
	*m = (struct memory){ .kind = kind, .addr = MAP_FAILED, .len = len, .fd = -1 };
	m->seed = (uint64_t)(kind + 1) << 40;
	switch (kind) {
	case MEM_ANON:
		return make_anon(m, MADV_NOHUGEPAGE);
	case MEM_THP:
		return make_thp(m);
	case MEM_HUGETLB:
		return make_hugetlb(m);
	case MEM_MEMFD:
		return make_memfd(m);
	case MEM_SHM:
		return make_shm(m);
	case MEM_TMPFS:
		return make_file(m, sys_tmpfs());
	case MEM_FILE:
		return make_file(m, dir);
	case MEM_READONLY:
		return make_readonly(m);
	case MEM_HOLE:
		return make_hole(m);
	}
	return -1;
}

void memory_drop(struct memory *m)
{
	if (m->addr != MAP_FAILED)
		munmap(m->addr, m->len);
	if (m->fd >= 0)
		close(m->fd);
	if (m->path[0])
		unlink(m->path);
	m->addr = MAP_FAILED;
	m->fd = -1;
	m->path[0] = '\0';
}

#define STEP (16u << 20) /* between two looks at the progress; bytes */

static void tell(const char *what, size_t done, size_t total)
{
	if (done % STEP == 0)
		progress_show(what, done, total);
}

void memory_touch(void *addr, size_t len)
{
	for (size_t i = 0; i < len; i += sys_page()) {
		((volatile char *)addr)[i] = 1;
		tell("touching memory", i, len);
	}
	progress_clear();
}

/* splitmix64: any place of the sequence can be had without those before it. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

void pattern_fill(void *addr, size_t len, uint64_t seed)
{
	uint64_t *p = addr;

	for (size_t i = 0; i < len / sizeof(*p); i++) {
		p[i] = mix(seed + i);
		tell("filling memory", i * sizeof(*p), len);
	}
	progress_clear();
}

size_t pattern_check(const void *addr, size_t len, uint64_t seed)
{
	const uint64_t *p = addr;
	uint64_t wrong = 0;
	size_t i;

	for (i = 0; i < len / sizeof(*p) && !wrong; i++) {
		wrong = p[i] ^ mix(seed + i);
		tell("comparing memory", i * sizeof(*p), len);
	}
	progress_clear();
	if (!wrong)
		return len;
	return (i - 1) * sizeof(*p) + (size_t)__builtin_ctzll(le64toh(wrong)) / 8;
}
