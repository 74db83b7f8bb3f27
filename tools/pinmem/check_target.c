/* SPDX-License-Identifier: BSD-2-Clause */
/* check_target.c - maps what `pinmem check` looks at; see check_target.h. */
#include "check_target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "out.h"
#include "sys.h"

static int refuse(struct target *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static int refuse(struct target *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->memory.why, sizeof(t->memory.why), fmt, ap);
	va_end(ap);
	return -1;
}

static void note(struct target *t, const char *sentence)
{
	size_t used = strlen(t->note);

	snprintf(t->note + used, sizeof(t->note) - used, "%s%s", used ? " " : "",
		 sentence);
}

/* Opening a pipe would wait for its other end, a socket cannot be opened. */
static int check_type(struct target *t, const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFBLK:
	case S_IFCHR:
		return 0;
	case S_IFDIR:
		return refuse(
			t,
			"%s is a directory: there is nothing in it to map; name a file",
			t->path);
	default:
		return refuse(t, "%s is a pipe or socket: its bytes cannot be mapped",
			      t->path);
	}
}

static int open_target(struct target *t)
{
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	const char *reason;

	t->memory.fd = open(t->path, O_RDWR | flags);
	t->mapped_writable = t->memory.fd >= 0;
	if (t->mapped_writable)
		return 0;
	reason = strerror(errno);
	t->memory.fd = open(t->path, O_RDONLY | flags);
	if (t->memory.fd < 0)
		return refuse(t, "%s cannot be opened: %s", t->path, strerror(errno));
	note(t, text("It cannot be opened for writing (%s).", reason));
	return 0;
}

/* /dev/daxX.Y says its size in sysfs only; other devices have none. */
static uint64_t device_size(struct target *t, const struct stat *st, uint64_t length)
{
	uint64_t size;

	if (sys_number(text("/sys/dev/char/%u:%u/size", major(st->st_rdev),
			    minor(st->st_rdev)),
		       &size) &&
	    size)
		return size;
	if (length)
		return length;
	note(t, text("It is a device without a size: its first %s are looked at (--len "
		     "for more).",
		     size_text(sys_page())));
	return sys_page();
}

static int find_size(struct target *t, const struct stat *st, uint64_t length)
{
	uint64_t size = (uint64_t)st->st_size;

	if (S_ISCHR(st->st_mode))
		size = device_size(t, st, length);
	if (S_ISBLK(st->st_mode) && ioctl(t->memory.fd, BLKGETSIZE64, &size))
		return refuse(t, "%s does not tell its size: %s", t->path,
			      strerror(errno));
	if (!size)
		return refuse(t, "%s is empty: there is nothing to pin", t->path);
	t->memory.len = size;
	return 0;
}

static int map_as(struct target *t, int prot, int flags)
{
	t->memory.addr =
		mmap(NULL, t->memory.len, prot, flags | MAP_NORESERVE, t->memory.fd, 0);
	return t->memory.addr == MAP_FAILED ? -1 : 0;
}

/* A file opened for writing may still not be mapped so: append-only, sealed. */
static int map_target(struct target *t, bool private)
{
	int flags = private ? MAP_PRIVATE : MAP_SHARED;

	if (private || t->mapped_writable) {
		t->mapped_writable = true;
		if (!map_as(t, PROT_READ | PROT_WRITE, flags))
			return 0;
		if (errno == EACCES || errno == EPERM)
			note(t, text("It cannot be mapped for writing (%s).",
				     strerror(errno)));
	}
	t->mapped_writable = false;
	if (!map_as(t, PROT_READ, flags))
		return 0;
	return refuse(t, "%s cannot be mapped: %s", t->path, strerror(errno));
}

static int map_path(struct target *t, uint64_t length, bool private)
{
	struct stat st;

	if (stat(t->path, &st))
		return refuse(t, "%s: %s", t->path, strerror(errno));
	if (check_type(t, &st) || open_target(t))
		return -1;
	/* what was opened, which need not be what was there before */
	if (fstat(t->memory.fd, &st) || check_type(t, &st) || find_size(t, &st, length))
		return -1;
	return map_target(t, private);
}

int target_map(struct target *t, uint64_t length, bool private)
{
	if (t->path) {
		t->memory = (struct memory){ .addr = MAP_FAILED, .fd = -1 };
		return map_path(t, length, private);
	}
	t->mapped_writable = true;
	return memory_make(t->kind, t->want, NULL, &t->memory);
}
