/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 01_file_io - write and read a file straight through pinned memory.
 *
 * Memory that is registered with an io_uring stays pinned between requests: the
 * kernel looks its pages up once, not at every read and write. With O_DIRECT the
 * disk reads and writes these very pages.
 *
 *   usage: 01_file_io [FILE]   FILE is overwritten (default: a new one in $TMPDIR
 *                              or the current directory, gone at the end)
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pinmem.h"

#define LEN (1u << 20) /* O_DIRECT wants whole blocks, and memory on a page */

/* Every call of the library returns 0 or -errno, and leaves a sentence that says
 * why. Print both and that is all the error handling a small program needs. */
static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/* Hand one request to the ring and wait for its answer: bytes, or -errno. */
static int submit_one(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int rc = io_uring_submit_and_wait(ring, 1);

	if (rc < 0 || (rc = io_uring_wait_cqe(ring, &cqe)) < 0)
		return rc;
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

/* The region tells what the device must be told: an address and a buffer index. */
static int there_and_back(struct io_uring *ring, int fd, char *mem,
			  const struct pinmem_segment *seg)
{
	struct io_uring_sqe *sqe;
	int n;

	memset(mem, 'p', LEN);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_write_fixed(sqe, fd, seg->addr, LEN, 0, seg->buf_index);
	n = submit_one(ring);
	printf("written: %d bytes from buffer %d\n", n, seg->buf_index);
	if (n != LEN)
		return 1;

	memset(mem, 0, LEN); /* so that what we find below came from the file */
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_read_fixed(sqe, fd, seg->addr, LEN, 0, seg->buf_index);
	n = submit_one(ring);
	printf("read:    %d bytes\n", n);
	for (size_t i = 0; i < LEN; i++)
		if (mem[i] != 'p') {
			printf("byte %zu is wrong\n", i);
			return 1;
		}
	printf("verified: all bytes came back\n");
	return n != LEN;
}

/* Register, use, release. */
static int use(struct pinmem *pm, int fd, char *mem)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	enum pinmem_unpin got;
	struct pinmem_mr *mr;
	int rc, bad;

	/* LOCAL_WRITE: the device will write into the memory (our read does). */
	rc = pinmem_reg(pm, mem, LEN, PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr);
	if (rc)
		return failed("pinmem_reg", rc);
	rc = pinmem_mr_segment(mr, 0, &seg);
	bad = rc ? failed("pinmem_mr_segment", rc)
		 : there_and_back(pinmem_uring(pm), fd, mem, &seg);

	/* DIRTY, because the device wrote into the pages: the kernel must know
	 * that they changed. The call tells what truly happened. */
	rc = pinmem_dereg(mr, PINMEM_DIRTY, &got);
	if (rc)
		return failed("pinmem_dereg", rc);
	printf("released: %s\n", pinmem_unpin_name(got));
	return bad;
}

/* The caller's file, or one of our own that has no name any more. */
static int open_file(const char *path)
{
	const char *dir = getenv("TMPDIR");
	char made[4096];
	int fd;

	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
	} else {
		snprintf(made, sizeof(made), "%s/pinmem-XXXXXX", dir ? dir : ".");
		fd = mkostemp(made, O_CLOEXEC | O_DIRECT);
		if (fd >= 0)
			unlink(made);
	}
	if (fd < 0)
		perror(path ? path : "a temporary file with O_DIRECT");
	return fd;
}

int main(int argc, char **argv)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = PINMEM_BACKEND_URING };
	int fd = open_file(argc > 1 ? argv[1] : NULL), rc, bad;
	char *mem = aligned_alloc(4096, LEN);
	struct pinmem *pm;

	if (fd < 0 || !mem)
		return 1;
	rc = pinmem_open(&opts, &pm);
	if (rc)
		return failed("pinmem_open", rc);
	bad = use(pm, fd, mem);
	rc = pinmem_close(pm);
	if (rc)
		bad = failed("pinmem_close", rc);
	free(mem);
	close(fd);
	return bad;
}
