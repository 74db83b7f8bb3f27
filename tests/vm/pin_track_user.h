/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin_track_user.h - what the tests of the kernel patch share: /dev/pin_track's calls,
 * which return 0 or a negative errno, and what the kernel tells about pins. The
 * layouts come from the patch itself (pin_track_header), not from lib/uapi.h: these
 * tests are about the kernel, and know nothing of the library.
 */
#ifndef PINMEM_TESTS_VM_PIN_TRACK_USER_H
#define PINMEM_TESTS_VM_PIN_TRACK_USER_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/pin_track.h>

static inline int pt_open(void)
{
	int fd = open("/dev/pin_track", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int pt_pin(int fd, const void *addr, size_t len, uint32_t flags,
			 struct pin_track_pin *out)
{
	*out = (struct pin_track_pin){
		.size = sizeof(*out),
		.flags = flags,
		.addr = (uintptr_t)addr,
		.len = len,
	};
	return ioctl(fd, PIN_TRACK_IOC_PIN, out) ? -errno : 0;
}

static inline int pt_unpin(int fd, uint64_t id, uint32_t flags)
{
	struct pin_track_unpin arg = { .size = sizeof(arg), .flags = flags, .id = id };

	return ioctl(fd, PIN_TRACK_IOC_UNPIN, &arg) ? -errno : 0;
}

static inline int pt_watch(int fd, const void *addr, size_t len,
			   struct pin_track_watch *out)
{
	*out = (struct pin_track_watch){
		.size = sizeof(*out),
		.addr = (uintptr_t)addr,
		.len = len,
	};
	return ioctl(fd, PIN_TRACK_IOC_WATCH, out) ? -errno : 0;
}

static inline int pt_unwatch(int fd, uint64_t id)
{
	struct pin_track_unpin arg = { .size = sizeof(arg), .id = id };

	return ioctl(fd, PIN_TRACK_IOC_UNWATCH, &arg) ? -errno : 0;
}

static inline int pt_query(int fd, uint64_t id, uint32_t flags,
			   struct pin_track_query *out)
{
	*out = (struct pin_track_query){ .size = sizeof(*out),
					 .flags = flags,
					 .id = id };
	return ioctl(fd, PIN_TRACK_IOC_QUERY, out) ? -errno : 0;
}

static inline int pt_info(int fd, struct pin_track_info *out)
{
	*out = (struct pin_track_info){ .size = sizeof(*out) };
	return ioctl(fd, PIN_TRACK_IOC_INFO, out) ? -errno : 0;
}

/* The number after a name in a file of lines, or -1. */
static inline long pt_number_in(const char *path, const char *name)
{
	char line[512];
	long value = -1;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = strtol(line + strlen(name), NULL, 10);
	if (f)
		fclose(f);
	return value;
}

/* Pins of the whole system; root's, for the counters of all processors. */
static inline long pt_pins_held(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		perror("stat_refresh");
	close(fd);
	return pt_number_in("/proc/vmstat", "nr_foll_pin_acquired ") -
	       pt_number_in("/proc/vmstat", "nr_foll_pin_released ");
}

/* The same, once those that are still to be released had time for it. */
static inline long pt_pins_settle(long want)
{
	long held = -1;
	int i;

	for (i = 0; i < 200 && held != want; i++) {
		held = pt_pins_held();
		if (held != want)
			usleep(20000);
	}
	return held;
}

#endif
