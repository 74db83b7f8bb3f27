/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error.c - the sentence of the last failure, names of values, and the
 * size-first structs: all that every other room needs to talk to the caller.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static __thread char message[768];

int fail(int err, const char *fmt, ...)
{
	char text[sizeof(message)]; /* an argument may be the old message */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(message, text, sizeof(message));
	return -abs(err);
}

const char *pinmem_errmsg(void)
{
	return message;
}

const char *pinmem_version(void)
{
	return PINMEM_VERSION;
}

const char *format_bytes(char buf[BYTES_TEXT], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	size_t unit = 0;
	uint64_t n = bytes;

	while (n >= 1024 && n % 1024 == 0 && unit + 1 < ARRAY_SIZE(units)) {
		n /= 1024;
		unit++;
	}
	if (unit)
		snprintf(buf, BYTES_TEXT, "%" PRIu64 " %s (%" PRIu64 " B)", n,
			 units[unit], bytes);
	else
		snprintf(buf, BYTES_TEXT, "%" PRIu64 " B", bytes);
	return buf;
}

int options_copy(void *copy, size_t known, const void *given, const char *what)
{
	size_t size;

	memset(copy, 0, known);
	memcpy(copy, &known, sizeof(known));
	if (!given)
		return 0;
	memcpy(&size, given, sizeof(size));
	if (size < sizeof(size))
		return fail(EINVAL, "%s.size is %zu: set it to sizeof(struct %s)", what,
			    size, what);
	for (size_t i = known; i < size; i++)
		if (((const char *)given)[i])
			return fail(E2BIG,
				    "%s has an option at byte %zu that version %s of "
				    "the library does not know",
				    what, i, pinmem_version());
	if (size > known)
		size = known;
	memcpy((char *)copy + sizeof(size), (const char *)given + sizeof(size),
	       size - sizeof(size));
	return 0;
}

int result_copy(void *caller, const void *result, size_t known, const char *what)
{
	size_t size;

	if (!caller)
		return fail(EINVAL, "%s: the struct to fill is NULL", what);
	memcpy(&size, caller, sizeof(size));
	if (size < sizeof(size))
		return fail(EINVAL, "%s.size is %zu: set it to sizeof(struct %s)", what,
			    size, what);
	if (size > known) {
		memset((char *)caller + known, 0, size - known);
		size = known;
	}
	memcpy((char *)caller + sizeof(size), (const char *)result + sizeof(size),
	       size - sizeof(size));
	return 0;
}

#define NAME(table, value) \
	((size_t)(value) < ARRAY_SIZE(table) && (table)[value] ? (table)[value] : "?")

const char *pinmem_backend_name(enum pinmem_backend backend)
{
	static const char *const names[] = { "auto", "verbs", "io_uring", "pin_track",
					     "mlock" };

	return NAME(names, backend);
}

const char *pinmem_mode_name(enum pinmem_mode mode)
{
	static const char *const names[] = { "default", "pinned", "odp", "staged",
					     "resident" };

	return NAME(names, mode);
}

const char *pinmem_backing_name(enum pinmem_backing backing)
{
	static const char *const names[] = { "unmapped", "anonymous",  "thp",
					     "hugetlb",	 "shmem",      "file",
					     "fsdax",	 "device-dax", "device",
					     "secret" };

	return NAME(names, backing);
}

const char *pinmem_action_name(enum pinmem_action action)
{
	static const char *const names[] = { "end", "pin", "odp", "stage", "refuse" };

	return NAME(names, action);
}

const char *pinmem_monitor_name(enum pinmem_monitor monitor)
{
	static const char *const names[] = {
		[PINMEM_MONITOR_AUTO] = "auto",
		[PINMEM_MONITOR_USERFAULTFD] = "userfaultfd",
		[PINMEM_MONITOR_PIN_TRACK] = "pin_track",
		[PINMEM_MONITOR_CALLER] = "caller",
	};

	return NAME(names, monitor);
}

const char *pinmem_unpin_name(enum pinmem_unpin unpin)
{
	static const char *const names[] = { "clean", "dirty", "by-fault" };

	return NAME(names, unpin);
}
