/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_device.h - what `pinmem bench strategies` moves bytes to and from: a file
 * (io_uring, O_DIRECT), or a peer's memory (RDMA). Only this is timed with the
 * strategies, so it does nothing else: whoever prepares and verifies reads and writes
 * the device's bytes through device_fill() and device_check().
 *
 * A device has two areas of the same length: it is read from IN, which has the pattern
 * IN_SEED, and written to OUT.
 */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pinmem.h"

struct io_uring;
struct device;

enum device_kind { DEVICE_FILE, DEVICE_RDMA, DEVICE_KINDS };
#define DEVICE_IN_SEED 0x1dea000000000000ull

/**
 * struct piece - memory as a device is told of it. @buf_index: -1: not registered
 * @ring: io_uring: whose buffer table that is
 */
struct piece {
	char *addr;
	uint64_t iova;
	uint32_t lkey;
	int buf_index;
	struct io_uring *ring;
};

/** struct transfer - @len bytes. @write: memory → device.
 * @copy: NULL; else the user's memory, and @piece is a bounce buffer of device_bounce()
 *        bytes that they are copied through, with several pieces under way */
struct transfer {
	const struct piece *piece;
	char *copy;
	uint64_t len;
	bool write;
};

/** device_open - with areas of @len bytes. @pm: a pinner of the right backend
 * @dir: for the file. Return: 0; negative: bench_why. */
int device_open(enum device_kind kind, struct pinmem *pm, const char *dir, uint64_t len,
		struct device **d);
void device_close(struct device *d);
/** device_what - "a file in /var/tmp (ext4, O_DIRECT), …"; of device_open(). */
const char *device_what(const struct device *d);
/** device_bounce - how long a bounce buffer is. */
size_t device_bounce(const struct device *d);
/** device_move - returns when the bytes are moved. Return: 0; negative: bench_why. */
int device_move(struct device *d, const struct transfer *t);
/** device_check - are the first @len bytes of OUT this pattern? Return: as above. */
int device_check(struct device *d, uint64_t len, uint64_t seed);

#endif
