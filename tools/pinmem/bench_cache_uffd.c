/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_cache_uffd.c - not a cache: regions whose mappings a userfaultfd watches, with
 * a reader that reads the events and does nothing. What munmap(2) takes with it is the
 * kernel's part: wake the reader, wait until it has read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "bench_cache.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct watched {
	struct pinmem *pm;
	unsigned int access;
	int fd;
	pthread_t reader;
	struct pinmem_mr *mr; /* the last one got */
};

static int trouble(const char *what)
{
	int err = errno;

	snprintf(bench_why, sizeof(bench_why), "%s: %s", what, strerror(err));
	return -err;
}

static void *read_events(void *arg)
{
	const struct watched *u = arg;
	struct uffd_msg msgs[16];

	while (read(u->fd, msgs, sizeof(msgs)) > 0)
		;
	return NULL;
}

static int uffd_open(struct pinmem *pm, bool write, void **cache, const char **monitor)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_EVENT_UNMAP };
	struct watched *u = calloc(1, sizeof(*u));

	if (!u)
		return trouble("memory");
	u->pm = pm;
	u->access = write ? PINMEM_ACCESS_LOCAL_WRITE : 0;
	u->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (u->fd < 0)
		return trouble("userfaultfd");
	if (ioctl(u->fd, UFFDIO_API, &api))
		return trouble("UFFDIO_API");
	errno = pthread_create(&u->reader, NULL, read_events, u);
	if (errno)
		return trouble("the reader's thread");
	*monitor = "";
	*cache = u;
	return 0;
}

static int uffd_get(void *cache, void *addr, size_t len, void **held)
{
	struct uffdio_register range = { .range = { (uintptr_t)addr, len },
					 .mode = UFFDIO_REGISTER_MODE_WP };
	struct watched *u = cache;

	if (ioctl(u->fd, UFFDIO_REGISTER, &range))
		return trouble("UFFDIO_REGISTER");
	if (pinmem_reg(u->pm, addr, len, u->access, NULL, &u->mr)) {
		snprintf(bench_why, sizeof(bench_why), "pinmem: %s", pinmem_errmsg());
		return -EIO;
	}
	*held = u->mr;
	return 0;
}

static int uffd_put(void *cache, void *held)
{
	(void)cache;
	(void)held;
	return 0;
}

static void uffd_settle(void *cache)
{
	pinmem_dereg(((struct watched *)cache)->mr, PINMEM_CLEAN, NULL);
}

const struct cache_peer bare_uffd = {
	.name = "userfaultfd alone",
	.open = uffd_open,
	.get = uffd_get,
	.put = uffd_put,
	.settle = uffd_settle,
};
