/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * maps.c - which mapping is at an address: PROCMAP_QUERY (Linux 6.11), else the text
 * of /proc/self/maps; and what only the text of smaps tells.
 */
#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "uapi.h"

bool backing_force_text; /* atomic */

static int proc_error(const char *path, int err)
{
	if (err == ENOENT || err == ENOTDIR)
		return fail(EOPNOTSUPP,
			    "%s is not there, so nothing can be known about memory: "
			    "mount /proc",
			    path);
	return fail(err, "cannot open %s: %s", path, strerror(err));
}

/* ------------------------------------------------------------- text, by line */

struct lines *lines_open(const char *path)
{
	struct lines *l = malloc(sizeof(*l));

	if (!l)
		return NULL;
	l->err = 0;
	l->next = l->end = 0;
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (l->fd >= 0)
		return l;
	free(l);
	return NULL;
}

void lines_close(struct lines *l)
{
	if (!l)
		return;
	close(l->fd);
	free(l);
}

static bool lines_fill(struct lines *l)
{
	ssize_t n;

	memmove(l->buf, l->buf + l->next, l->end - l->next);
	l->end -= l->next;
	l->next = 0;
	if (l->end == sizeof(l->buf))
		l->end /= 2; /* a monster of a line: its first half will do */
	do {
		n = read(l->fd, l->buf + l->end, sizeof(l->buf) - l->end);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		l->err = errno;
	if (n <= 0)
		return false;
	l->end += (size_t)n;
	return true;
}

char *lines_next(struct lines *l)
{
	char *line, *newline;

	do {
		line = l->buf + l->next;
		newline = memchr(line, '\n', l->end - l->next);
	} while (!newline && lines_fill(l));
	if (!newline)
		return NULL;
	*newline = '\0';
	l->next = (size_t)(newline + 1 - l->buf);
	return line;
}

/* ----------------------------------------------------------- the descriptor */

/*
 * The descriptor of /proc/self/maps that all walks share; 0: none yet. From the top:
 *   24 bits  process_generation() that it belongs to, for an inherited descriptor
 *            shows a child the parent's memory
 *   16 bits  counted up with each replacement, for the number may be the same again
 *   24 bits  the descriptor, +1
 */
static uint64_t kept;
static uint64_t kept_inode;

static uint64_t generation_bits(void)
{
	return process_generation() << 40;
}

static int descriptor_of(uint64_t value)
{
	return (int)(value & 0xffffff) - 1;
}

/*
 * The child of a parent that kept one inherits it, for nothing: it is closed, if
 * that number is still that file.
 */
static void close_inherited(int fd)
{
	struct statfs fs;
	struct stat st;

	if (!fstat(fd, &st) && !fstatfs(fd, &fs) && fs.f_type == PROC_SUPER_MAGIC &&
	    st.st_ino == __atomic_load_n(&kept_inode, __ATOMIC_ACQUIRE))
		close(fd);
}

/* Keep m->fd in place of @bad, unless another thread was faster. */
static void keep(struct maps *m, uint64_t bad)
{
	uint64_t replaced = ((bad >> 24) + 1) & 0xffff, old = bad;
	uint64_t mine = generation_bits() | replaced << 24 | (uint64_t)(m->fd + 1);
	struct stat st;

	if (!generation_bits() || fstat(m->fd, &st))
		return;
	if (!__atomic_compare_exchange_n(&kept, &old, mine, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return;
	if (bad && (bad ^ mine) >> 40)
		close_inherited(descriptor_of(bad));
	__atomic_store_n(&kept_inode, st.st_ino, __ATOMIC_RELEASE);
	m->kept = mine;
}

/* @bad: what was kept, and is of no use */
static int open_maps(struct maps *m, uint64_t bad)
{
	m->kept = 0;
	m->fresh = true;
	m->fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	if (m->fd < 0)
		return proc_error("/proc/thread-self/maps", errno);
	keep(m, bad);
	return 0;
}

static int get_maps(struct maps *m)
{
	uint64_t now;

	if (m->fd >= 0)
		return 0;
	now = __atomic_load_n(&kept, __ATOMIC_ACQUIRE);
	if (!now || (now ^ generation_bits()) >> 40)
		return open_maps(m, now);
	m->fd = descriptor_of(now);
	m->kept = now;
	return 0;
}

/* --------------------------------------------------------------- by the ioctl */

static int query(struct maps *m, uintptr_t at, bool name)
{
	struct uapi_procmap_query q = {
		.size = sizeof(q),
		.query_flags = UAPI_PROCMAP_COVERING_OR_NEXT,
		.query_addr = at,
	};
	struct vma *v = &m->vma;

	if (name) {
		q.vma_name_addr = (uintptr_t)m->name;
		q.vma_name_size = sizeof(m->name);
	}
	m->name[0] = '\0';
	if (ioctl(m->fd, UAPI_PROCMAP_QUERY, &q))
		return -errno;
	v->start = q.vma_start;
	v->end = q.vma_end;
	v->offset = q.vma_offset;
	v->inode = q.inode;
	v->page_size = q.vma_page_size;
	v->dev_major = q.dev_major;
	v->dev_minor = q.dev_minor;
	v->readable = q.vma_flags & UAPI_PROCMAP_READABLE;
	v->writable = q.vma_flags & UAPI_PROCMAP_WRITABLE;
	v->shared = q.vma_flags & UAPI_PROCMAP_SHARED;
	return 0;
}

/*
 * Somebody may have closed all descriptors of the process, ours too, and opened
 * others under its number: so a kept one that fails is replaced, once.
 */
static int query_again(struct maps *m, uintptr_t at, bool name, int rc)
{
	if (rc == -ENAMETOOLONG)
		return query(m, at, false);
	if (!rc || rc == -ENOENT || rc == -ENOMEM || m->fresh)
		return rc;
	rc = open_maps(m, m->kept);
	return rc ? rc : query(m, at, name);
}

/* Return: 1; 0: nothing at or above @at; -ENOSYS: read the text; or an error */
static int ask(struct maps *m, uintptr_t at, bool name)
{
	int rc = get_maps(m);

	if (rc)
		return rc;
	rc = query_again(m, at, name, query(m, at, name));
	if (m->fd < 0)
		return rc;
	switch (rc) {
	case 0:
		return 1;
	case -ENOENT:
		return 0;
	case -ENOMEM:
		return fail(ENOMEM, "no memory to look at the mapping at %#" PRIxPTR,
			    at);
	case -ENOTTY:
		__atomic_store_n(&backing_force_text, true, __ATOMIC_RELAXED);
	}
	return -ENOSYS;
}

/* ---------------------------------------------------------------- by the text */

/* "start-end " in hexadecimal; also what a mapping begins with in smaps */
static char *parse_bounds(char *line, uintptr_t *start, uintptr_t *end)
{
	char *p;

	*start = strtoul(line, &p, 16);
	if (p == line || *p != '-')
		return NULL;
	*end = strtoul(p + 1, &p, 16);
	return *p == ' ' ? p + 1 : NULL;
}

static bool parse_vma(char *line, struct vma *v, char name[PATH_MAX])
{
	char *p = parse_bounds(line, &v->start, &v->end);

	if (!p || strlen(p) < 5)
		return false;
	v->readable = p[0] == 'r';
	v->writable = p[1] == 'w';
	v->shared = p[3] == 's';
	v->offset = strtoull(p + 4, &p, 16);
	v->dev_major = (unsigned int)strtoul(p, &p, 16);
	if (*p++ != ':')
		return false;
	v->dev_minor = (unsigned int)strtoul(p, &p, 16);
	v->inode = strtoull(p, &p, 10);
	v->page_size = 0;
	p += strspn(p, " ");
	text_copy(name, p, PATH_MAX);
	return true;
}

static int text_next(struct maps *m, uintptr_t at)
{
	char *line;

	if (!m->text)
		m->text = lines_open("/proc/thread-self/maps");
	if (!m->text)
		return proc_error("/proc/thread-self/maps", errno);
	while ((line = lines_next(m->text)))
		/* [vsyscall] is in the kernel's half, and no mapping of ours */
		if (parse_vma(line, &m->vma, m->name) && m->vma.end > at &&
		    strcmp(m->name, "[vsyscall]"))
			return 1;
	if (m->text->err)
		return fail(m->text->err, "cannot read /proc/self/maps: %s",
			    strerror(m->text->err));
	return 0;
}

void maps_begin(struct maps *m)
{
	m->fd = -1;
	m->kept = 0;
	m->fresh = false;
	m->text = NULL;
	m->name[0] = '\0';
}

int maps_next(struct maps *m, uintptr_t at, uintptr_t last)
{
	int rc = -ENOSYS;

	if (!m->text && !__atomic_load_n(&backing_force_text, __ATOMIC_RELAXED))
		rc = ask(m, at, false);
	if (rc == 1 && m->vma.start <= last && !vma_plain(&m->vma))
		rc = ask(m, at, true);
	return rc == -ENOSYS ? text_next(m, at) : rc;
}

void maps_end(struct maps *m)
{
	if (m->fd >= 0 && !m->kept)
		close(m->fd);
	lines_close(m->text);
}

/* ---------------------------------------------------------------------- smaps */

int smaps_find(uintptr_t addr, const char *key, char *value, size_t size)
{
	struct lines *l = lines_open("/proc/thread-self/smaps");
	size_t length = strlen(key);
	uintptr_t start, end;
	bool here = false;
	int rc = -EFAULT;
	char *line;

	if (!l)
		return -errno;
	while (rc && (line = lines_next(l))) {
		if (parse_bounds(line, &start, &end))
			here = start <= addr && addr < end;
		if (!here || strncmp(line, key, length))
			continue;
		text_copy(value, line + length, size);
		rc = 0;
	}
	if (rc && l->err)
		rc = -l->err;
	lines_close(l);
	return rc;
}

bool smaps_flag(const char *flags, const char *flag)
{
	size_t length = strlen(flag);

	for (const char *p = flags; (p = strstr(p, flag)); p += length)
		if (p > flags && p[-1] == ' ' && (!p[length] || p[length] == ' '))
			return true;
	return false;
}
