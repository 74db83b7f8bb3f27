/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 04_staging - let a device work on memory that cannot be pinned, through a copy.
 *
 * Shared mappings of files must not be pinned for writing, be they on persistent
 * memory (DAX) or in the page cache. A staged region is a pinned copy instead, and
 * pinmem_sync() moves the bytes, in the direction and of the part that is asked for,
 * and at no other time.
 *
 * The device is an io_uring here, which every machine has; with RDMA it is the same,
 * and a peer even uses the addresses of the file's mapping.
 *
 *   usage: 04_staging [FILE]   FILE is overwritten (default: a new one in $TMPDIR or
 *                              the current directory, gone at the end)
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pinmem.h"

#define LEN 10000u /* neither it nor HALF is a multiple of a page */
#define HALF 5000u

static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/* Are bytes [from, to) all `c`? */
static int all(const char *mem, size_t from, size_t to, char c)
{
	for (; from < to; from++)
		if (mem[from] != c)
			return 0;
	return 1;
}

static int expect(int ok, const char *what)
{
	printf("%s: %s\n", ok ? "ok" : "WRONG", what);
	return !ok;
}

/* One request and its answer: bytes, or -errno. */
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

/* The device reads from `fd` into the copy: the segment has the copy's address. */
static int device_reads(struct io_uring *ring, int fd, const struct pinmem_segment *seg)
{
	io_uring_prep_read_fixed(io_uring_get_sqe(ring), fd, seg->addr, LEN, 0,
				 seg->buf_index);
	return submit_one(ring) != LEN;
}

/* The device writes the copy to `fd`. */
static int device_writes(struct io_uring *ring, int fd,
			 const struct pinmem_segment *seg)
{
	io_uring_prep_write_fixed(io_uring_get_sqe(ring), fd, seg->addr, LEN, 0,
				  seg->buf_index);
	return submit_one(ring) != LEN;
}

/* The device brings 'd's. Nobody sees them before they are synced. */
static int from_device(struct io_uring *ring, struct pinmem_mr *mr, const char *mem,
		       int other, const struct pinmem_segment *seg)
{
	static char bytes[LEN];
	int rc;

	memset(bytes, 'd', LEN);
	if (pwrite(other, bytes, LEN, 0) != LEN || device_reads(ring, other, seg)) {
		fprintf(stderr, "the device could not read\n");
		return 1;
	}
	if (expect(all(mem, 0, LEN, 'u'), "before the sync the file is as it was"))
		return 1;
	rc = pinmem_sync(mr, 0, HALF, PINMEM_SYNC_FROM_DEVICE);
	if (rc)
		return failed("pinmem_sync", rc);
	return expect(all(mem, 0, HALF, 'd') && all(mem, HALF, LEN, 'u'),
		      "a sync moves just the bytes asked for");
}

/* The user writes 'v's. The device has them after a sync only. */
static int to_device(struct io_uring *ring, struct pinmem_mr *mr, char *mem, int other,
		     const struct pinmem_segment *seg)
{
	static char bytes[LEN];
	int rc;

	memset(mem, 'v', HALF);
	rc = pinmem_sync(mr, 0, HALF, PINMEM_SYNC_TO_DEVICE);
	if (rc)
		return failed("pinmem_sync", rc);
	if (device_writes(ring, other, seg) || pread(other, bytes, LEN, 0) != LEN) {
		fprintf(stderr, "the device could not write\n");
		return 1;
	}
	return expect(
		all(bytes, 0, HALF, 'v') && all(bytes, HALF, LEN, 'd'),
		"the device has the user's bytes, and its own where none were synced");
}

static int use(struct pinmem *pm, char *mem, int other)
{
	/* Outright, so that it works with files that could be pinned too (tmpfs). A
	 * program would rather allow it: .policy = { PINMEM_USE_STAGE }. */
	struct pinmem_reg_options opts = { .size = sizeof(opts),
					   .mode = PINMEM_STAGED };
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr *mr;
	int rc, bad;

	memset(mem, 'u', LEN); /* the copy begins with what is there */
	rc = pinmem_reg(pm, mem, LEN, PINMEM_ACCESS_LOCAL_WRITE, &opts, &mr);
	if (rc)
		return failed("pinmem_reg", rc);
	rc = pinmem_mr_query(mr, &info);
	if (!rc)
		rc = pinmem_mr_segment(mr, 0, &seg);
	if (rc)
		return failed("pinmem_mr_segment", rc);
	printf("a %s region stands for %s memory\n", pinmem_mode_name(info.mode),
	       pinmem_backing_name(info.backing));
	bad = from_device(pinmem_uring(pm), mr, mem, other, &seg) ||
	      to_device(pinmem_uring(pm), mr, mem, other, &seg);

	/* The release syncs nothing: what was not synced is lost. */
	rc = pinmem_dereg(mr, PINMEM_CLEAN, NULL);
	if (rc)
		return failed("pinmem_dereg", rc);
	return bad || expect(all(mem, 0, HALF, 'v') && all(mem, HALF, LEN, 'u'),
			     "what was never synced is not in the file");
}

/* The caller's file, or one of our own that has no name any more. */
static int open_file(const char *path)
{
	const char *dir = getenv("TMPDIR");
	char made[4096];
	int fd;

	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	} else {
		snprintf(made, sizeof(made), "%s/pinmem-XXXXXX", dir ? dir : ".");
		fd = mkostemp(made, O_CLOEXEC);
		if (fd >= 0)
			unlink(made);
	}
	if (fd < 0 || ftruncate(fd, LEN))
		perror(path ? path : "a temporary file");
	return fd;
}

int main(int argc, char **argv)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = PINMEM_BACKEND_URING };
	int fd = open_file(argc > 1 ? argv[1] : NULL), other = open_file(NULL);
	struct pinmem *pm;
	int rc, bad;
	char *mem;

	if (fd < 0 || other < 0)
		return 1;
	mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	rc = pinmem_open(&opts, &pm);
	if (rc)
		return failed("pinmem_open", rc);
	bad = use(pm, mem, other);
	rc = pinmem_close(pm);
	if (rc)
		bad = failed("pinmem_close", rc);
	munmap(mem, LEN);
	close(fd);
	close(other);
	return bad;
}
