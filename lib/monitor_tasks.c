/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor_tasks.c - has everybody left the kernel who was in it a while ago?
 *
 * What for: monitor_uffd.c learns of a madvise(2) before it takes the pages, and is not
 * told when it has. When every other thread of the process has since been seen outside
 * of madvise(), it has. (The kernel's own RCU-tasks waits like that.)
 *
 * Once outside is enough, whatever the thread does next. Seen from here, it is when
 *   - it sleeps interruptibly (state S), or is stopped (T, t), idle or ending: nothing
 *     that madvise() does once its event was read waits in this way (it waits for locks
 *     and pages: state D). The exception is MADV_REMOVE on a FUSE mount: memory with a
 *     file behind it, which is only cached on the caller's word.
 *   - its time in user mode has grown: the kernel counts that at a clock tick which
 *     finds it there, or when it passes from one to the other.
 * Not by its system call in /proc/…/syscall: that says "running" of all who run.
 * io_uring's submission thread never leaves the kernel, but leaves madvise() to
 * workers.
 *
 * Another process that shares this one's memory without being its thread (vfork(2)) is
 * not seen; it may only call execve(2) and _exit(2).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "monitor_parts.h"

/* More would need a second buffer of readdir(3)'s (32 KiB). Then nobody has passed. */
#define LISTED_MAX 1000
#define LISTINGS 4

struct tasks_one {
	pid_t tid;
	uint64_t user_ns; /* when it was first looked at; 0: never yet */
};

enum seen { OUTSIDE, MAYBE_INSIDE };

void tasks_init(struct tasks *t)
{
	*t = (struct tasks){ .n = 0 };
	pthread_mutex_init(&t->lock, NULL);
}

void tasks_fini(struct tasks *t)
{
	free(t->of);
	t->of = NULL;
}

/* Nanoseconds in user mode, not scaled as those of /proc are: CPUCLOCK_VIRT of
 * include/linux/posix-timers.h. 0: there is no such thread. */
static uint64_t user_time(pid_t tid)
{
	clockid_t clock = (clockid_t)(~(unsigned int)tid << 3 | 4 | 1);
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 1;
}

/* The thread's state, a letter, with io_uring's threads as R and I; 0: it is gone */
static char state_of(pid_t tid)
{
	char path[64], text[128], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : 'R';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (strstr(text, "(iou-sqp-"))
		return 'I';
	p = strrchr(text, ')'); /* names may have anything in them */
	return p && p[1] ? p[2] : 'R';
}

static enum seen look_at(struct tasks_one *one)
{
	char state = state_of(one->tid);
	uint64_t now;

	if (state != 'R' && state != 'D')
		return OUTSIDE;
	now = user_time(one->tid);
	if (!one->user_ns)
		one->user_ns = now;
	return now > one->user_ns ? OUTSIDE : MAYBE_INSIDE;
}

static void look_again(struct tasks *t)
{
	size_t left = 0;

	for (size_t i = 0; i < t->n; i++)
		if (look_at(&t->of[i]) == MAYBE_INSIDE)
			t->of[left++] = t->of[i];
	t->n = left;
}

/* The caller is here, and so not in there. */
static bool add_thread(struct tasks *t, const char *name)
{
	pid_t tid = atoi(name);
	struct tasks_one *more;

	if (tid <= 0 || tid == gettid() || tid == t->never)
		return true;
	if (t->n % 64 == 0) {
		more = realloc(t->of, (t->n + 64) * sizeof(*more));
		if (!more)
			return false;
		t->of = more;
	}
	t->of[t->n++] = (struct tasks_one){ .tid = tid };
	return true;
}

/*
 * The kernel's walk over the threads ends early when the one it stands at has gone
 * (next_tid() in fs/proc/base.c), and begins anew in the wrong place where a buffer was
 * full. So the last one that was listed must still be there, and all must fit in one.
 */
static bool list_threads(struct tasks *t)
{
	DIR *dir = opendir("/proc/self/task");
	bool good = dir;
	struct dirent *d;
	pid_t last = 0;
	char state;
	int n = 0;

	t->n = 0;
	while (good && (errno = 0, d = readdir(dir))) {
		good = ++n <= LISTED_MAX && add_thread(t, d->d_name);
		last = atoi(d->d_name);
	}
	good = good && !errno && last > 0;
	if (dir)
		closedir(dir);
	state = good ? state_of(last) : 0;
	return state && state != 'X' && state != 'Z';
}

/* Everybody who is a thread now is in question. */
static bool begin(struct tasks *t, uint64_t now)
{
	for (int try = 0; try < LISTINGS; try++) {
		if (list_threads(t)) {
			t->stamp = now;
			return true;
		}
	}
	t->n = 0;
	return false;
}

uint64_t tasks_passed(struct tasks *t, uint64_t stamp, uint64_t now)
{
	uint64_t passed;

	pthread_mutex_lock(&t->lock);
	/* those in question for an older number first: else they might never be done */
	look_again(t);
	if (!t->n && t->stamp < stamp && begin(t, now))
		look_again(t);
	passed = t->n ? 0 : t->stamp;
	pthread_mutex_unlock(&t->lock);
	return passed;
}
