/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_device.c - one transfer in pieces, some of them under way at a time, straight
 * or through a bounce buffer; see bench_device.h. What a piece is for a file and for
 * RDMA stands in bench_device_file.c and bench_device_rdma.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "bench_device_ops.h"

int device_open(enum device_kind kind, struct pinmem *pm, const char *dir, uint64_t len,
		struct device **d)
{
	return kind == DEVICE_FILE ? device_file_open(pm, dir, len, d)
				   : device_rdma_open(pm, len, d);
}

void device_close(struct device *d)
{
	if (d)
		d->ops->close(d);
}

const char *device_what(const struct device *d)
{
	return d->what;
}

size_t device_bounce(const struct device *d)
{
	return d->chunk * DEVICE_DEPTH;
}

int device_check(struct device *d, uint64_t len, uint64_t seed)
{
	return d->ops->check(d, len, seed);
}

/* The next piece of a transfer goes into this slot. */
static int start(struct device *d, const struct transfer *t, struct slot *s)
{
	size_t place = (size_t)(s - d->slots) * d->chunk;
	uint64_t in_memory = t->copy ? place : s->at;

	if (t->copy && t->write)
		memcpy(t->piece->addr + in_memory, t->copy + s->at, s->len);
	return d->ops->post(d, t, s, in_memory);
}

static void finish(struct device *d, const struct transfer *t, const struct slot *s)
{
	size_t place = (size_t)(s - d->slots) * d->chunk;

	if (t->copy && !t->write)
		memcpy(t->copy + s->at, t->piece->addr + place, s->len);
}

static int start_all(struct device *d, const struct transfer *t, uint64_t *next)
{
	int rc = 0;

	for (unsigned int i = 0; i < DEVICE_DEPTH && *next < t->len && !rc; i++) {
		struct slot *s = &d->slots[i];

		if (s->len)
			continue;
		s->at = *next;
		s->len = t->len - *next < d->chunk ? t->len - *next : d->chunk;
		rc = start(d, t, s);
		if (rc)
			s->len = 0;
		else
			*next += s->len;
	}
	return rc;
}

int device_move(struct device *d, const struct transfer *t)
{
	uint64_t next = 0, done = 0;
	struct slot *s;
	int rc = 0;

	while (done < t->len && !rc) {
		rc = start_all(d, t, &next);
		if (!rc)
			rc = d->ops->wait(d, t, &s);
		if (!rc) {
			finish(d, t, s);
			done += s->len;
			s->len = 0;
		}
	}
	if (rc) {
		d->ops->abandon(d, t);
		memset(d->slots, 0, sizeof(d->slots));
	}
	return rc;
}
