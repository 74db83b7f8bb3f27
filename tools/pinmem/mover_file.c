/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mover_file.c - moves the bytes of a region to a file and back: with io_uring's
 * READ_FIXED and WRITE_FIXED if the region is in its buffer table, else with
 * pread(2) and pwrite(2). The file is read and written with O_DIRECT where its
 * file system can, so that the disk itself reads and writes the region's pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mover.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

#define CHUNK (1u << 20)
#define DEPTH 8

struct file_mover {
	struct mover base;
	struct io_uring *ring; /* NULL: plain reads and writes */
	int fd;
	bool direct;
};

/* One request: what is left of it after short transfers. */
struct chunk {
	uint64_t offset;
	uint32_t len;
	bool flying;
};

/* One way over the whole region. */
struct job {
	struct file_mover *f;
	struct pinmem_mr *mr;
	bool write;
	uint64_t len;
	uint64_t next; /* first byte that no chunk has taken */
	uint64_t done;
	unsigned int flying;
	int err;
	struct chunk chunks[DEPTH];
};

static int trouble(struct mover *m, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int trouble(struct mover *m, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->why, sizeof(m->why), fmt, ap);
	va_end(ap);
	return -abs(err);
}

/* ------------------------------------------------------- through io_uring */

static int queue_chunk(struct job *j, struct chunk *c)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct io_uring_sqe *sqe;
	uint64_t room;
	char *addr;
	int rc;

	rc = pinmem_mr_segment(j->mr, c->offset, &seg);
	if (rc)
		return trouble(&j->f->base, rc, "%s", pinmem_errmsg());
	sqe = io_uring_get_sqe(j->f->ring);
	if (!sqe)
		return trouble(&j->f->base, EBUSY,
			       "the ring's submission queue is full");
	room = seg.offset + seg.len - c->offset;
	addr = (char *)seg.addr + (c->offset - seg.offset);
	if (j->write)
		io_uring_prep_write_fixed(sqe, j->f->fd, addr,
					  (uint32_t)(c->len < room ? c->len : room),
					  c->offset, seg.buf_index);
	else
		io_uring_prep_read_fixed(sqe, j->f->fd, addr,
					 (uint32_t)(c->len < room ? c->len : room),
					 c->offset, seg.buf_index);
	io_uring_sqe_set_data(sqe, c);
	c->flying = true;
	j->flying++;
	return 0;
}

/* Gives every chunk that rests its next piece of the region. */
static int fill_queue(struct job *j)
{
	int rc;

	for (size_t i = 0; i < DEPTH; i++) {
		struct chunk *c = &j->chunks[i];

		if (c->flying)
			continue;
		if (!c->len) {
			if (j->next == j->len)
				continue;
			c->offset = j->next;
			c->len = j->len - j->next < CHUNK ? (uint32_t)(j->len - j->next)
							  : CHUNK;
			j->next += c->len;
		}
		rc = queue_chunk(j, c);
		if (rc)
			return rc;
	}
	return 0;
}

/* A completion: the whole chunk, a part of it, or an error. */
static int take_completion(struct job *j, const struct io_uring_cqe *cqe)
{
	struct chunk *c = io_uring_cqe_get_data(cqe);

	c->flying = false;
	j->flying--;
	if (cqe->res == -EAGAIN || cqe->res == -EINTR)
		return 0;
	if (cqe->res < 0)
		return trouble(&j->f->base, cqe->res, "%s of %u bytes at %llu: %s",
			       j->write ? "WRITE_FIXED" : "READ_FIXED", c->len,
			       (unsigned long long)c->offset, strerror(-cqe->res));
	if (!cqe->res)
		return trouble(&j->f->base, EIO, "the file ends at byte %llu",
			       (unsigned long long)c->offset);
	c->offset += (uint32_t)cqe->res;
	c->len -= (uint32_t)cqe->res;
	j->done += (uint32_t)cqe->res;
	return 0;
}

static int reap(struct job *j)
{
	struct io_uring_cqe *cqe;
	int rc = io_uring_submit_and_wait(j->f->ring, 1);

	if (rc < 0 && rc != -EINTR)
		return trouble(&j->f->base, rc, "io_uring_enter: %s", strerror(-rc));
	while (!io_uring_peek_cqe(j->f->ring, &cqe)) {
		rc = take_completion(j, cqe);
		io_uring_cqe_seen(j->f->ring, cqe);
		/* the first error is told; the rest of the requests still end */
		if (rc < 0 && !j->err)
			j->err = rc;
	}
	return 0;
}

static int run_uring(struct job *j)
{
	int rc = 0;

	while (j->flying || (!j->err && j->done < j->len)) {
		if (!j->err && stop_requested())
			j->err = trouble(&j->f->base, ECANCELED, "interrupted");
		if (!j->err)
			j->err = fill_queue(j);
		if (j->flying)
			rc = reap(j);
		if (rc)
			return rc;
		progress_show(j->write ? "writing the file" : "reading the file",
			      j->done, j->len);
	}
	return j->err;
}

/* ---------------------------------------------------- plain read and write */

static int run_plain(struct job *j)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	int rc;

	while (j->done < j->len) {
		uint64_t left = j->len - j->done;
		ssize_t n;
		char *addr;

		if (stop_requested())
			return trouble(&j->f->base, ECANCELED, "interrupted");
		rc = pinmem_mr_segment(j->mr, j->done, &seg);
		if (rc)
			return trouble(&j->f->base, rc, "%s", pinmem_errmsg());
		addr = (char *)seg.addr + (j->done - seg.offset);
		left = left < CHUNK ? left : CHUNK;
		if (j->write)
			n = pwrite(j->f->fd, addr, left, (off_t)j->done);
		else
			n = pread(j->f->fd, addr, left, (off_t)j->done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return trouble(&j->f->base, n ? errno : EIO,
				       "%s at byte %llu: %s",
				       j->write ? "pwrite" : "pread",
				       (unsigned long long)j->done,
				       n ? strerror(errno) : "nothing was moved");
		j->done += (uint64_t)n;
		progress_show(j->write ? "writing the file" : "reading the file",
			      j->done, j->len);
	}
	return 0;
}

/* ------------------------------------------------------------------ mover */

static int run(struct mover *m, struct pinmem_mr *mr, uint64_t len, bool write)
{
	struct file_mover *f = (struct file_mover *)m;
	struct job j = { .f = f, .mr = mr, .write = write, .len = len };

	return f->ring ? run_uring(&j) : run_plain(&j);
}

static int file_out(struct mover *m, struct pinmem_mr *mr, uint64_t len)
{
	struct file_mover *f = (struct file_mover *)m;
	int rc = run(m, mr, len, true);

	if (rc)
		return rc;
	if (fsync(f->fd))
		return trouble(m, errno, "fsync: %s", strerror(errno));
	/* else the read would come from memory, and prove nothing of the disk */
	if (!f->direct)
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

static int file_in(struct mover *m, struct pinmem_mr *mr, uint64_t len)
{
	return run(m, mr, len, false);
}

static void file_close(struct mover *m)
{
	struct file_mover *f = (struct file_mover *)m;

	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static const struct mover_ops file_ops = { file_out, file_in, file_close };

/* A file without a name, also where O_TMPFILE is not known. */
static int open_unnamed(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	if ((size_t)snprintf(path, sizeof(path), "%s/pinmem-XXXXXX", dir) >=
	    sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static int file_prepare(struct file_mover *f, const char *dir, uint64_t len)
{
	int err;

	f->fd = open_unnamed(dir);
	if (f->fd < 0)
		return trouble(&f->base, errno, "cannot make a file in %s: %s", dir,
			       strerror(errno));
	err = posix_fallocate(f->fd, 0, (off_t)len);
	if (err)
		return trouble(&f->base, err, "cannot give a file in %s %s: %s", dir,
			       size_text(len), strerror(err));
	f->direct = !fcntl(f->fd, F_SETFL, O_DIRECT);
	return 0;
}

int mover_file_open(struct pinmem *pm, const char *dir, uint64_t len, struct mover **m,
		    char why[512])
{
	struct file_mover *f = calloc(1, sizeof(*f));
	int rc;

	if (!f) {
		snprintf(why, 512, "out of memory");
		return -ENOMEM;
	}
	f->fd = -1;
	f->base.ops = &file_ops;
	f->base.in_access = PINMEM_ACCESS_LOCAL_WRITE;
	f->ring = pinmem_uring(pm);
	rc = file_prepare(f, dir, len);
	if (rc) {
		memcpy(why, f->base.why, 512);
		file_close(&f->base);
		return rc;
	}
	snprintf(f->base.title, sizeof(f->base.title),
		 "a file in %s (%s, %s) with %s, %s each", dir, sys_fs_type(dir),
		 f->direct ? "O_DIRECT"
			   : "through the page cache, for this file system has no "
			     "O_DIRECT",
		 f->ring ? text("io_uring WRITE_FIXED and READ_FIXED, %d at a time",
				DEPTH)
			 : "pwrite and pread, one at a time",
		 size_text(len < CHUNK ? len : CHUNK));
	*m = &f->base;
	return 0;
}
