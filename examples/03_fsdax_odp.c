/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 03_fsdax_odp - an RDMA device writes into a file on persistent memory.
 *
 * A file on a DAX file system is mapped without a page cache: the memory is the
 * storage. Such pages must not be pinned, since the file system could not truncate the
 * file any more, and the kernel refuses with EOPNOTSUPP. The way out is on-demand
 * paging (ODP): the device follows the page tables, and nothing is pinned. pinmem finds
 * out which of the two it has to be.
 *
 *   usage: 03_fsdax_odp [FILE [DEVICE]]    FILE is overwritten (default: a new one in
 *                                          $TMPDIR or the current directory)
 *   Exit 77: there is no RDMA device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pinmem.h"
#include "rc.h"

#define LEN (256u << 10)

static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/*
 * One queue pair, connected to itself: the device writes LEN bytes from `from` to `to`.
 * A message into an ODP region begins on a page here (both do): rxe, Linux' software
 * device, puts others in the wrong place, and pinmem_query() says so
 * (`odp_whole_pages`).
 */
static int move(struct pinmem *pm, struct pinmem_mr *from, struct pinmem_mr *to)
{
	struct pinmem_segment f = { .size = sizeof(f) }, t = { .size = sizeof(t) };
	struct rc rc;
	int bad;

	if (pinmem_mr_segment(from, 0, &f) || pinmem_mr_segment(to, 0, &t))
		return 1;
	bad = rc_open(&rc, pinmem_pd(pm)) || rc_connect(&rc, &rc.self);
	if (bad)
		perror("no queue pair");
	else
		bad = rc_write(&rc, f.iova, f.lkey, t.iova, t.rkey, LEN);
	rc_close(&rc);
	return bad;
}

/* The memory that the device takes the bytes from is ordinary, and is pinned. */
static int write_by_device(struct pinmem *pm, struct pinmem_mr *to)
{
	struct pinmem_mr *from;
	void *mem;
	int rc, bad;

	rc = pinmem_alloc(pm, LEN, NULL, &mem);
	if (rc)
		return failed("pinmem_alloc", rc);
	memset(mem, 'd', LEN);
	rc = pinmem_reg(pm, mem, LEN, 0, NULL, &from);
	if (rc)
		return failed("pinmem_reg", rc);
	bad = move(pm, from, to);
	pinmem_dereg(from, PINMEM_CLEAN, NULL);
	pinmem_free(pm, mem, LEN);
	return bad;
}

/* Read through the file system what the device wrote behind its back. */
static int verify(int fd)
{
	static char bytes[LEN];

	if (pread(fd, bytes, LEN, 0) != LEN) {
		perror("pread");
		return 1;
	}
	for (size_t i = 0; i < LEN; i++)
		if (bytes[i] != 'd') {
			printf("byte %zu of the file is wrong\n", i);
			return 1;
		}
	printf("verified: the file has all %u bytes\n", LEN);
	return 0;
}

/* Ask first: the verdict pins nothing, and says what a registration would do. */
static int ask(struct pinmem *pm, void *mem, unsigned int access,
	       struct pinmem_verdict *v)
{
	struct pinmem_info info = { .size = sizeof(info) };
	int rc = pinmem_query(pm, &info);

	if (!rc)
		rc = pinmem_check(pm, mem, LEN, access, NULL, v);
	if (rc)
		return failed("pinmem_check", rc);
	printf("device:  %s, which has %sODP\n", info.device, info.odp ? "" : "no ");
	printf("backing: %s%s\n", pinmem_backing_name(v->backing),
	       v->backing == PINMEM_FSDAX ? "" : ", so this file is not on DAX");
	printf("verdict: %s\n", pinmem_action_name(v->action));
	if (*v->reason)
		printf("  because %s\n", v->reason);
	return 0;
}

static int use(struct pinmem *pm, int fd, void *mem)
{
	unsigned int access = PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE;
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct pinmem_verdict v = { .size = sizeof(v) };
	struct pinmem_mr *mr;
	enum pinmem_unpin got;
	int rc, bad;

	if (ask(pm, mem, access, &v))
		return 1;
	if (v.action == PINMEM_REFUSE) {
		/* Page cache may not be pinned for writing at all; DAX without ODP
		 * needs a staging copy: see 04_staging. */
		printf("nothing was registered\n");
		return 0;
	}

	/* The default policy: pin what may be pinned, else ODP, else refuse. */
	rc = pinmem_reg(pm, mem, LEN, access, NULL, &mr);
	if (rc)
		return failed("pinmem_reg", rc);
	pinmem_mr_query(mr, &info);
	printf("region:  %s\n", pinmem_mode_name(info.mode));

	/* The first touch of a page by the device is a page fault, which takes long;
	 * a prefetch has it now. It is a hint, and does nothing for pinned memory. */
	rc = pinmem_prefetch(mr, 0, LEN, 1);
	if (rc)
		failed("pinmem_prefetch", rc);
	bad = write_by_device(pm, mr);

	/* No unpin marks the pages dirty, since none was pinned: the device's page
	 * faults have done so, one by one. */
	rc = pinmem_dereg(mr, PINMEM_DIRTY, &got);
	if (rc)
		return failed("pinmem_dereg", rc);
	printf("released: %s\n", pinmem_unpin_name(got));
	return bad || verify(fd);
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
				       .backend = PINMEM_BACKEND_VERBS,
				       .device = argc > 2 ? argv[2] : NULL };
	struct pinmem *pm;
	void *mem;
	int fd, rc, bad;

	rc = pinmem_open(&opts, &pm);
	if (rc == -ENODEV && argc < 3) {
		printf("there is no RDMA device to write to the file: %s\n",
		       pinmem_errmsg());
		return 77;
	}
	if (rc)
		return failed("pinmem_open", rc);
	fd = open_file(argc > 1 ? argv[1] : NULL);
	if (fd < 0)
		return 1;
	mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	bad = use(pm, fd, mem);
	rc = pinmem_close(pm);
	if (rc)
		bad = failed("pinmem_close", rc);
	munmap(mem, LEN);
	close(fd);
	return bad;
}
