/* SPDX-License-Identifier: BSD-2-Clause */
/* fault.c - the Nth call fails; see fault.h. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static int countdown; /* atomic; 0: not armed */
static bool fired;
static const char *only;
static int only_err;

void fault_arm(int n)
{
	fired = false;
	__atomic_store_n(&countdown, n, __ATOMIC_SEQ_CST);
}

void fault_disarm(void)
{
	__atomic_store_n(&countdown, 0, __ATOMIC_SEQ_CST);
	only = NULL;
	only_err = 0;
}

bool fault_fired(void)
{
	return fired;
}

void fault_only(const char *call, int err)
{
	only = call;
	only_err = err;
}

/* 0, or the errno to fail with */
static int fault_now(const char *call)
{
	if (!__atomic_load_n(&countdown, __ATOMIC_SEQ_CST))
		return 0;
	if (only && strcmp(only, call))
		return 0;
	if (__atomic_sub_fetch(&countdown, 1, __ATOMIC_SEQ_CST))
		return 0;
	fired = true;
	return only_err ? only_err : ENOMEM;
}

/* How each kind of function says that it failed */
#define WRAP(ret, name, args, call, bad)     \
	ret __real_##name args;              \
	ret __wrap_##name args;              \
	ret __wrap_##name args               \
	{                                    \
		int err_ = fault_now(#name); \
		if (err_) {                  \
			errno = err_;        \
			return bad;          \
		}                            \
		return __real_##name call;   \
	}

WRAP(void *, malloc, (size_t n), (n), NULL)
WRAP(void *, calloc, (size_t n, size_t m), (n, m), NULL)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP(char *, strdup, (const char *s), (s), NULL)
WRAP(void *, mmap, (void *a, size_t l, int p, int f, int d, off_t o),
     (a, l, p, f, d, o), MAP_FAILED)
WRAP(int, madvise, (void *a, size_t l, int v), (a, l, v), -1)
WRAP(FILE *, fopen, (const char *p, const char *m), (p, m), NULL)
WRAP(int, ioctl, (int fd, unsigned long r, void *p), (fd, r, p), -1)
WRAP(int, mlock2, (const void *a, size_t l, unsigned int f), (a, l, f), -1)
WRAP(int, pthread_create,
     (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *p),
     (t, a, f, p), err_)
WRAP(int, io_uring_queue_init, (unsigned int n, struct io_uring *r, unsigned int f),
     (n, r, f), -err_)
WRAP(int, io_uring_register_buffers_sparse, (struct io_uring * r, unsigned int n),
     (r, n), -err_)
WRAP(int, io_uring_register_buffers_update_tag,
     (struct io_uring * r, unsigned int o, const struct iovec *v, const __u64 *t,
      unsigned int n),
     (r, o, v, t, n), -err_)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	int err = fault_now("open");
	mode_t mode = 0;
	va_list ap;

	if (err) {
		errno = err;
		return -1;
	}
	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return __real_open(path, flags, mode);
}

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...)
{
	int err = fault_now("openat");
	mode_t mode = 0;
	va_list ap;

	if (err) {
		errno = err;
		return -1;
	}
	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return __real_openat(dir, path, flags, mode);
}
