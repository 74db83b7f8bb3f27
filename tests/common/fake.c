/* SPDX-License-Identifier: BSD-2-Clause */
/* fake.c - the counting, failing backend; see fake.h. */
#include "fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CAPS                                                                  \
	{                                                                             \
		.max_segment = 1ul << 30, .pins = true, .unpin = UNPIN_NEVER_DIRTIES, \
		.counter = PINMEM_COUNT_VMPIN, .limit_bypassed = true, .access = ~0u, \
		.node = -1,                                                           \
	}

struct backend_caps fake_caps = DEFAULT_CAPS;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below */
static long live, taken;
static int fail_pin, fail_pin_err, fail_unpin, fail_unpin_err;
static unsigned long prefetched;
static struct segment last;
static enum pinmem_unpin last_how;
static unsigned int last_access;
static bool last_odp;
static uint32_t next_key = 1;
static long max_pins;
static int max_pins_err;
static void (*on_pin)(const struct segment *seg, void *arg);
static void *on_pin_arg;

/* The live pins by their keys: a key's slot is free before the key is given. */
#define PINS_MAX (1u << 16)
static struct segment pins[PINS_MAX];

void fake_reset(void)
{
	pthread_mutex_lock(&lock);
	fake_caps = (struct backend_caps)DEFAULT_CAPS;
	if (live) /* else all slots are free */
		memset(pins, 0, sizeof(pins));
	live = taken = 0;
	fail_pin = fail_unpin = 0;
	prefetched = 0;
	max_pins = 0;
	on_pin = NULL;
	memset(&last, 0, sizeof(last));
	pthread_mutex_unlock(&lock);
}

void fake_fail_pin(int n, int err)
{
	pthread_mutex_lock(&lock);
	fail_pin = n;
	fail_pin_err = err;
	pthread_mutex_unlock(&lock);
}

void fake_fail_unpin(int n, int err)
{
	pthread_mutex_lock(&lock);
	fail_unpin = n;
	fail_unpin_err = err;
	pthread_mutex_unlock(&lock);
}

void fake_max_pins(long n, int err)
{
	pthread_mutex_lock(&lock);
	max_pins = n;
	max_pins_err = err;
	pthread_mutex_unlock(&lock);
}

void fake_on_pin(void (*fn)(const struct segment *seg, void *arg), void *arg)
{
	pthread_mutex_lock(&lock);
	on_pin = fn;
	on_pin_arg = arg;
	pthread_mutex_unlock(&lock);
}

bool fake_is_pinned(uint32_t lkey, const void *addr, size_t len)
{
	const struct segment *pin = &pins[lkey % PINS_MAX];
	uintptr_t at = (uintptr_t)addr, start;
	bool is;

	pthread_mutex_lock(&lock);
	start = (uintptr_t)pin->addr;
	is = pin->lkey == lkey && at >= start && at - start <= pin->len &&
	     len <= pin->len - (at - start);
	pthread_mutex_unlock(&lock);
	return is;
}

uint32_t fake_next_key(void)
{
	uint32_t key;

	pthread_mutex_lock(&lock);
	key = next_key;
	pthread_mutex_unlock(&lock);
	return key;
}

long fake_live_pins(void)
{
	long n;

	pthread_mutex_lock(&lock);
	n = live;
	pthread_mutex_unlock(&lock);
	return n;
}

long fake_pins(void)
{
	long n;

	pthread_mutex_lock(&lock);
	n = taken;
	pthread_mutex_unlock(&lock);
	return n;
}

unsigned long fake_prefetched(void)
{
	return prefetched;
}

struct segment fake_last(void)
{
	return last;
}

enum pinmem_unpin fake_last_how(void)
{
	return last_how;
}

unsigned int fake_last_access(void)
{
	return last_access;
}

bool fake_last_odp(void)
{
	return last_odp;
}

static int fake_open(const struct pinmem_options *opts, struct backend **out)
{
	struct backend *be = calloc(1, sizeof(*be));

	(void)opts;
	if (!be)
		return fail(ENOMEM, "no memory for the fake backend");
	be->ops = &fake_ops;
	be->caps = fake_caps;
	*out = be;
	return 0;
}

static void fake_close(struct backend *be, bool forked)
{
	(void)forked;
	free(be);
}

/* Under the lock. Return: a key never given before, or 0. */
static uint32_t key_take(void)
{
	for (uint32_t n = 0; n < PINS_MAX; n++) {
		uint32_t key = next_key++;

		if (!pins[key % PINS_MAX].lkey)
			return key;
	}
	return 0;
}

static void call_on_pin(const struct segment *seg)
{
	void (*fn)(const struct segment *s, void *arg);
	void *arg;

	pthread_mutex_lock(&lock);
	fn = on_pin;
	arg = on_pin_arg;
	pthread_mutex_unlock(&lock);
	if (fn)
		fn(seg, arg);
}

static int take(struct backend *be, struct segment *seg, unsigned int access, bool odp)
{
	uint32_t key;
	int rc = 0;

	call_on_pin(seg);
	pthread_mutex_lock(&lock);
	if (!seg->len || seg->len > be->caps.max_segment) {
		rc = fail(EINVAL, "fake: segment of %zu bytes", seg->len);
	} else if (fail_pin && !--fail_pin) {
		rc = fail(fail_pin_err, "fake: told to fail");
	} else if (max_pins && live >= max_pins) {
		rc = fail(max_pins_err, "fake: %ld pins are all", max_pins);
	} else if (!(key = key_take())) {
		rc = fail(ENOMEM, "fake: more than %u live pins", PINS_MAX);
	} else {
		live++;
		taken++;
		seg->lkey = key;
		seg->rkey = seg->lkey | 1u << 31;
		last = pins[key % PINS_MAX] = *seg;
		last_access = access;
		last_odp = odp;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static int fake_pin(struct backend *be, struct segment *seg, unsigned int access)
{
	return take(be, seg, access, false);
}

static int fake_pin_odp(struct backend *be, struct segment *seg, unsigned int access)
{
	return take(be, seg, access, true);
}

static int fake_unpin(struct backend *be, struct segment *seg, enum pinmem_unpin how)
{
	int rc = 0;

	(void)be;
	pthread_mutex_lock(&lock);
	if (!seg->lkey) {
		rc = fail(EINVAL, "fake: this segment is not pinned");
	} else if (fail_unpin && !--fail_unpin) {
		rc = fail(fail_unpin_err, "fake: told to fail");
	} else if (pins[seg->lkey % PINS_MAX].lkey != seg->lkey) {
		rc = fail(EINVAL, "fake: this segment was unpinned before");
	} else {
		live--;
		last_how = how;
		pins[seg->lkey % PINS_MAX].lkey = 0;
		seg->lkey = 0;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static int fake_prefetch(struct backend *be, const struct segment *seg, uint64_t offset,
			 uint64_t len, bool write)
{
	(void)write;
	if (!be->caps.odp)
		return fail(EOPNOTSUPP, "fake: no prefetch");
	if (offset + len > seg->len)
		return fail(EINVAL, "fake: prefetch past the segment");
	__atomic_add_fetch(&prefetched, len, __ATOMIC_RELAXED);
	return 0;
}

const struct backend_ops fake_ops = {
	.id = PINMEM_BACKEND_VERBS,
	.open = fake_open,
	.close = fake_close,
	.pin = fake_pin,
	.pin_odp = fake_pin_odp,
	.unpin = fake_unpin,
	.prefetch = fake_prefetch,
};
