/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_device_file.c - a file that is read and written with O_DIRECT by io_uring, so
 * that the disk reads and writes the memory itself: READ_FIXED and WRITE_FIXED where it
 * is registered, READ and WRITE, for which the kernel pins it each time, where not.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench_device_ops.h"
#include "memory.h"
#include "out.h"
#include "sys.h"

#define CHUNK ((size_t)256 << 10)

struct file_device {
	struct device base;
	int fd;
	unsigned int flying;
	char *scratch; /* CHUNK bytes, for what is not timed */
};

static int trouble(int err, const char *what)
{
	return bench_trouble(-err, what, strerror(err));
}

static int file_post(struct device *d, const struct transfer *t, struct slot *s,
		     uint64_t offset)
{
	struct file_device *f = (struct file_device *)d;
	const struct piece *p = t->piece;
	struct io_uring_sqe *sqe = io_uring_get_sqe(p->ring);
	void *addr = p->addr + offset;
	uint64_t at = s->at + (t->write ? d->len : 0);

	if (!sqe)
		return trouble(EBUSY, "io_uring's submission queue");
	if (t->write && p->buf_index >= 0)
		io_uring_prep_write_fixed(sqe, f->fd, addr, (unsigned int)s->len, at,
					  p->buf_index);
	else if (t->write)
		io_uring_prep_write(sqe, f->fd, addr, (unsigned int)s->len, at);
	else if (p->buf_index >= 0)
		io_uring_prep_read_fixed(sqe, f->fd, addr, (unsigned int)s->len, at,
					 p->buf_index);
	else
		io_uring_prep_read(sqe, f->fd, addr, (unsigned int)s->len, at);
	io_uring_sqe_set_data(sqe, s);
	f->flying++;
	return 0;
}

static int file_wait(struct device *d, const struct transfer *t, struct slot **s)
{
	struct file_device *f = (struct file_device *)d;
	struct io_uring *ring = t->piece->ring;
	struct io_uring_cqe *cqe;
	int rc = 0, res;

	if (io_uring_sq_ready(ring) || io_uring_peek_cqe(ring, &cqe))
		do
			rc = io_uring_submit_and_wait(ring, 1);
		while (rc == -EINTR);
	if (rc >= 0)
		rc = io_uring_peek_cqe(ring, &cqe);
	if (rc)
		return trouble(-rc, "io_uring_enter");
	*s = io_uring_cqe_get_data(cqe);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	f->flying--;
	if (res < 0)
		return trouble(-res, t->write ? "writing the file" : "reading it");
	if ((uint64_t)res != (*s)->len)
		return bench_trouble(
			-EIO, t->write ? "writing the file" : "reading it",
			text("%d bytes of %llu", res, (unsigned long long)(*s)->len));
	return 0;
}

static void file_abandon(struct device *d, const struct transfer *t)
{
	struct file_device *f = (struct file_device *)d;
	struct io_uring_cqe *cqe;

	io_uring_submit(t->piece->ring);
	for (; f->flying; f->flying--) {
		if (io_uring_wait_cqe(t->piece->ring, &cqe))
			break;
		io_uring_cqe_seen(t->piece->ring, cqe);
	}
	f->flying = 0;
}

static int file_check(struct device *d, uint64_t len, uint64_t seed)
{
	struct file_device *f = (struct file_device *)d;

	for (uint64_t at = 0; at < len; at += CHUNK) {
		size_t n = len - at < CHUNK ? len - at : CHUNK, wrong;

		if (pread(f->fd, f->scratch, n, (off_t)(d->len + at)) != (ssize_t)n)
			return trouble(errno, "reading what was written");
		wrong = pattern_check(f->scratch, n, seed + at / 8);
		if (wrong < n)
			return bench_trouble(-EBADMSG, "the file",
					     text("byte %llu of what was written is "
						  "wrong",
						  (unsigned long long)(at + wrong)));
	}
	return 0;
}

static void file_close(struct device *d)
{
	struct file_device *f = (struct file_device *)d;

	if (f->fd >= 0)
		close(f->fd);
	if (f->scratch)
		munmap(f->scratch, CHUNK);
	free(f);
}

static const struct device_ops file_ops = { file_post, file_wait, file_abandon,
					    file_check, file_close };

static int make_file(struct file_device *f, const char *dir)
{
	char path[4096];
	int err;

	if ((size_t)snprintf(path, sizeof(path), "%s/pinmem-XXXXXX", dir) >=
	    sizeof(path))
		return trouble(ENAMETOOLONG, dir);
	f->fd = mkostemp(path, O_CLOEXEC);
	if (f->fd < 0)
		return trouble(errno, text("cannot make a file in %s", dir));
	unlink(path);
	err = posix_fallocate(f->fd, 0, (off_t)(2 * f->base.len));
	if (err)
		return trouble(err, text("cannot give a file in %s %s", dir,
					 size_text(2 * f->base.len)));
	if (fcntl(f->fd, F_SETFL, O_DIRECT))
		return trouble(errno,
			       text("%s (%s) has no O_DIRECT", dir, sys_fs_type(dir)));
	return 0;
}

/* Both areas, so that no block of the file is written for the first time later. */
static int fill_file(struct file_device *f)
{
	uint64_t len = f->base.len;

	for (uint64_t at = 0; at < 2 * len; at += CHUNK) {
		size_t n = 2 * len - at < CHUNK ? 2 * len - at : CHUNK;

		pattern_fill(f->scratch, n, DEVICE_IN_SEED + at / 8);
		if (pwrite(f->fd, f->scratch, n, (off_t)at) != (ssize_t)n)
			return trouble(errno, "filling the file");
	}
	return fsync(f->fd) ? trouble(errno, "fsync") : 0;
}

int device_file_open(struct pinmem *pm, const char *dir, uint64_t len,
		     struct device **d)
{
	struct file_device *f = calloc(1, sizeof(*f));
	int rc;

	(void)pm;
	if (!f)
		return trouble(ENOMEM, "the file");
	f->base.ops = &file_ops;
	f->base.chunk = CHUNK;
	f->base.len = len;
	f->fd = -1;
	f->scratch = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->scratch == MAP_FAILED)
		f->scratch = NULL;
	rc = f->scratch ? make_file(f, dir) : trouble(ENOMEM, "the file");
	if (!rc)
		rc = fill_file(f);
	if (rc) {
		file_close(&f->base);
		return rc;
	}
	snprintf(f->base.what, sizeof(f->base.what),
		 "a file in %s (%s, O_DIRECT) by io_uring, %d requests of up to %s at "
		 "a time",
		 dir, sys_fs_type(dir), DEVICE_DEPTH, size_text(CHUNK));
	*d = &f->base;
	return 0;
}
