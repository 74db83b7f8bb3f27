/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 06_refusal - memory that may not be pinned: hear why, and go on all the same.
 *
 * A file that is mapped through the page cache must not be pinned for writing: the
 * file system would not learn when the device writes (the kernel refuses it since
 * 6.5). A read-only mapping cannot be written by anybody. The library says so
 * before anything is tried. The way out is a pinned copy, the staging: the device
 * works on the copy, and pinmem_sync() moves the bytes when the program says so.
 *
 *   usage: 06_refusal [FILE]   FILE is overwritten (default: a new one in $TMPDIR
 *                              or the current directory, gone at the end)
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pinmem.h"

#define LEN 4096u

static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/* The verdict asks nothing of the memory; a refusal is an answer, not an error. */
static int show_verdict(struct pinmem *pm, const void *mem, unsigned int access,
			const struct pinmem_reg_options *opts)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	int rc = pinmem_check(pm, mem, LEN, access, opts, &v);

	if (rc)
		return failed("pinmem_check", rc);
	printf("  verdict: %s (%s)\n  reason:  %s\n", pinmem_action_name(v.action),
	       v.error ? strerror(-v.error) : "may be pinned", v.reason);
	return 0;
}

/* One byte stream stands for the device: a pipe. Bytes moved, or -errno. */
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

/* The device writes: it fills the copy, then the copy goes to the file. */
static int device_writes(struct pinmem *pm, struct pinmem_mr *mr,
			 const struct pinmem_segment *seg, const char *mem, int pipe[2])
{
	struct io_uring *ring = pinmem_uring(pm);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	char news[LEN];
	int rc;

	memset(news, 'n', LEN);
	if (write(pipe[1], news, LEN) != LEN)
		return 1;
	io_uring_prep_read_fixed(sqe, pipe[0], seg->addr, LEN, 0, seg->buf_index);
	if (submit_one(ring) != LEN)
		return 1;
	printf("  device wrote the copy; the file still begins with '%c'\n", mem[0]);
	rc = pinmem_sync(mr, 0, LEN, PINMEM_SYNC_FROM_DEVICE);
	if (rc)
		return failed("pinmem_sync", rc);
	printf("  after the sync the file begins with '%c'\n", mem[0]);
	return memcmp(mem, news, LEN) != 0;
}

/* The device reads: first the memory goes to the copy. The other way is refused. */
static int device_reads(struct pinmem *pm, struct pinmem_mr *mr,
			const struct pinmem_segment *seg, const char *mem, int pipe[2])
{
	struct io_uring *ring = pinmem_uring(pm);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	char seen[LEN];
	int rc = pinmem_sync(mr, 0, LEN, PINMEM_SYNC_TO_DEVICE);

	if (rc)
		return failed("pinmem_sync", rc);
	io_uring_prep_write_fixed(sqe, pipe[1], seg->addr, LEN, 0, seg->buf_index);
	if (submit_one(ring) != LEN || read(pipe[0], seen, LEN) != LEN)
		return 1;
	printf("  device read '%c' from the copy\n", seen[0]);
	rc = pinmem_sync(mr, 0, LEN, PINMEM_SYNC_FROM_DEVICE);
	printf("  back to read-only memory: %s\n", rc ? pinmem_errmsg() : "allowed?");
	return !rc || memcmp(mem, seen, LEN);
}

typedef int device_fn(struct pinmem *pm, struct pinmem_mr *mr,
		      const struct pinmem_segment *seg, const char *mem, int pipe[2]);

/* Refused as it is, staged when asked for; then let the device at it. */
static int stage(struct pinmem *pm, char *mem, unsigned int access, device_fn *device,
		 int pipe[2])
{
	struct pinmem_reg_options opts = { .size = sizeof(opts),
					   .policy = { PINMEM_USE_STAGE } };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr *mr;
	int rc, bad;

	rc = pinmem_reg(pm, mem, LEN, access, NULL, &mr);
	if (rc) {
		printf("  pinmem_reg: %s\n", strerror(-rc));
	} else { /* not a page-cache file after all, but tmpfs perhaps */
		printf("  pinmem_reg: pinned; we stage it nevertheless\n");
		pinmem_dereg(mr, PINMEM_CLEAN, NULL);
		opts.mode = PINMEM_STAGED;
	}
	if (show_verdict(pm, mem, access, &opts))
		return 1;
	rc = pinmem_reg(pm, mem, LEN, access, &opts, &mr);
	if (rc)
		return failed("pinmem_reg", rc);
	rc = pinmem_mr_segment(mr, 0, &seg);
	bad = rc ? failed("pinmem_mr_segment", rc) : device(pm, mr, &seg, mem, pipe);
	rc = pinmem_dereg(mr, PINMEM_CLEAN, NULL); /* nothing is synced implicitly */
	return rc ? failed("pinmem_dereg", rc) : bad;
}

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
	if (fd < 0)
		perror(path ? path : "a temporary file");
	return fd;
}

static int use(struct pinmem *pm, int fd, int pipe[2])
{
	char *file, *fixed;
	int bad;

	if (ftruncate(fd, LEN) || pwrite(fd, "old", 3, 0) != 3) {
		perror("the file");
		return 1;
	}
	file = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fixed = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED || fixed == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	printf("a file, mapped shared and writable:\n");
	bad = show_verdict(pm, file, PINMEM_ACCESS_LOCAL_WRITE, NULL) ||
	      stage(pm, file, PINMEM_ACCESS_LOCAL_WRITE, device_writes, pipe);

	/* Access 0: the device only reads. But io_uring always pins for writing,
	 * and what nobody may write cannot be pinned so. */
	printf("the same file, mapped read-only:\n");
	bad |= show_verdict(pm, fixed, 0, NULL) ||
	       stage(pm, fixed, 0, device_reads, pipe);
	munmap(file, LEN);
	munmap(fixed, LEN);
	return bad;
}

int main(int argc, char **argv)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = PINMEM_BACKEND_URING };
	int fd = open_file(argc > 1 ? argv[1] : NULL), pipe_fds[2], rc, bad;
	struct pinmem *pm;

	if (fd < 0 || pipe(pipe_fds))
		return 1;
	rc = pinmem_open(&opts, &pm);
	if (rc)
		return failed("pinmem_open", rc);
	bad = use(pm, fd, pipe_fds);
	rc = pinmem_close(pm);
	if (rc)
		bad = failed("pinmem_close", rc);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(fd);
	return bad;
}
