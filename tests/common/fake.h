/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake.h - a backend that pins nothing, counts everything, and fails on demand.
 * It obeys the rules of struct backend_ops and checks that its caller does.
 */
#ifndef TEST_FAKE_H
#define TEST_FAKE_H

#include "internal.h"

extern const struct backend_ops fake_ops;

/* What the next fake backend that is opened can do; fake_reset() restores. */
extern struct backend_caps fake_caps;

/* The Nth pin (or pin_odp), unpin, from now on fails with this errno, once. */
void fake_fail_pin(int n, int err);
void fake_fail_unpin(int n, int err);

/* Pins beyond so many live ones fail with this errno; 0: no such limit. */
void fake_max_pins(long n, int err);
/* Called in each pin before it is taken, without any lock: to wait, to meddle. */
void fake_on_pin(void (*fn)(const struct segment *seg, void *arg), void *arg);

/* Is the pin of this key live, and does it cover the range? */
bool fake_is_pinned(uint32_t lkey, const void *addr, size_t len);
uint32_t fake_next_key(void); /* keys only grow: later pins have this one or more */

long fake_live_pins(void);	     /* pins that were not unpinned, all backends */
long fake_pins(void);		     /* pins ever taken since fake_reset() */
unsigned long fake_prefetched(void); /* bytes */
struct segment fake_last(void);	     /* the last segment pinned */
enum pinmem_unpin fake_last_how(void);
unsigned int fake_last_access(void);
bool fake_last_odp(void);
void fake_reset(void);

#endif
