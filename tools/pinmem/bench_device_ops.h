/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_device_ops.h - what each kind of device gives bench_device.c. */
#ifndef BENCH_DEVICE_OPS_H
#define BENCH_DEVICE_OPS_H

#include "bench_device.h"

#define DEVICE_DEPTH 8

/** struct slot - a piece under way. @at, @len: of the area; @len 0: none */
struct slot {
	uint64_t at, len;
};

/**
 * struct device_ops
 * @post: start it; the memory is at @offset of the transfer's piece
 * @wait: for one; @s: out, which
 * @abandon: after a failure: nothing is under way when it returns
 */
struct device_ops {
	int (*post)(struct device *d, const struct transfer *t, struct slot *s,
		    uint64_t offset);
	int (*wait)(struct device *d, const struct transfer *t, struct slot **s);
	void (*abandon)(struct device *d, const struct transfer *t);
	int (*check)(struct device *d, uint64_t len, uint64_t seed);
	void (*close)(struct device *d);
};

struct device {
	const struct device_ops *ops;
	size_t chunk;
	uint64_t len;
	struct slot slots[DEVICE_DEPTH];
	char what[512];
};

/** device_trouble - keeps the sentence in bench_why. Return: @rc. */
int bench_trouble(int rc, const char *what, const char *why);
int device_file_open(struct pinmem *pm, const char *dir, uint64_t len,
		     struct device **d);
int device_rdma_open(struct pinmem *pm, uint64_t len, struct device **d);

#endif
