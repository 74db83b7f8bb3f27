/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mover.h - a device, as the demo sees it: it takes the bytes of a region away,
 * and brings them back. There is one for files (io_uring, or plain reads and writes
 * where nothing is pinned), and one for RDMA.
 */
#ifndef MOVER_H
#define MOVER_H

#include <stdint.h>

#include "pinmem.h"

struct mover;

/**
 * struct mover_ops
 * @out: the device reads @len bytes of the region and keeps them
 * @in:  the device writes them into the region
 * Both return 0 or a negative errno with a sentence in mover->why; when they return,
 * the device uses the region no more.
 */
struct mover_ops {
	int (*out)(struct mover *m, struct pinmem_mr *mr, uint64_t len);
	int (*in)(struct mover *m, struct pinmem_mr *mr, uint64_t len);
	void (*close)(struct mover *m);
};

/**
 * struct mover
 * @in_access: what a region needs for @in; @out needs no right
 * @title:     "64 MiB to and from a file …"
 */
struct mover {
	const struct mover_ops *ops;
	unsigned int in_access;
	char title[512];
	char why[512];
};

/** mover_file_open, mover_rdma_open - for regions of up to @len bytes.
 * @dir: where the file is made; it has no name and goes away by itself
 * @why: out, a sentence, when it fails; of 512 bytes
 * Return: 0 or a negative errno. */
int mover_file_open(struct pinmem *pm, const char *dir, uint64_t len, struct mover **m,
		    char why[512]);
int mover_rdma_open(struct pinmem *pm, uint64_t len, struct mover **m, char why[512]);

#endif
