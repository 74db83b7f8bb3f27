/* SPDX-License-Identifier: BSD-2-Clause */
/* torture_changes.c - the ways to change a mapping; see torture.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

const char *const change_names[CHANGES] = {
	[CHANGE_UNMAP] = "munmap, mmap",
	[CHANGE_FIXED] = "mmap(MAP_FIXED)",
	[CHANGE_FIXED_PART] = "mmap(MAP_FIXED), a part",
	[CHANGE_DONTNEED] = "MADV_DONTNEED",
	[CHANGE_DONTNEED_PART] = "MADV_DONTNEED, a part",
	[CHANGE_FREE] = "MADV_FREE",
	[CHANGE_REMOVE] = "MADV_REMOVE",
	[CHANGE_MOVE_AWAY] = "mremap away",
	[CHANGE_MOVE_BACK] = "mremap away and back",
	[CHANGE_MOVE_ONTO] = "mremap onto it",
	[CHANGE_SHRINK] = "mremap smaller, mmap",
	[CHANGE_PROTECT] = "mprotect and back",
	[CHANGE_COLLAPSE] = "MADV_COLLAPSE, _NOHUGEPAGE",
	[CHANGE_FORK] = "fork",
};

static bool by_libc;

void change_use_libc(bool on)
{
	by_libc = on;
}

/* Raw, they pass by every function that somebody may have patched. */
static void *map(void *at, size_t len, int prot, int flags)
{
	if (by_libc)
		return mmap(at, len, prot, flags, -1, 0);
	return (void *)syscall(SYS_mmap, at, len, prot, flags, -1, 0);
}

static void unmap(void *at, size_t len)
{
	if (by_libc ? munmap(at, len) : (int)syscall(SYS_munmap, at, len))
		die("munmap: %s", strerror(errno));
}

/* Several mappings at once are not moved where one is watched (EFAULT; some of
 * them may have been). */
static bool move(void *from, size_t old, size_t len, int flags, void *to)
{
	void *at = by_libc ? mremap(from, old, len, flags, to)
			   : (void *)syscall(SYS_mremap, from, old, len, flags, to);

	if (at == MAP_FAILED && errno != EFAULT)
		die("mremap: %s", strerror(errno));
	return at != MAP_FAILED;
}

static int advise(void *at, size_t len, int advice)
{
	return by_libc ? madvise(at, len, advice)
		       : (int)syscall(SYS_madvise, at, len, advice);
}

static void *map_at(void *at, size_t len, bool shared)
{
	void *p = map(at, len, PROT_READ | PROT_WRITE,
		      (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return p;
}

/*
 * Where a thread moves things to. Far below where the kernel puts mappings that nobody
 * gave an address, as the slots are: a hole there is not taken by somebody else between
 * a munmap() and the mmap() after it.
 */
#define SCRATCH 0x200000000000ul
#define SCRATCH_SPAN (64 * MiB)

static char *scratch(void)
{
	static unsigned long taken;
	static __thread char *mine;

	if (!mine)
		mine = (char *)(SCRATCH + __atomic_fetch_add(&taken, SCRATCH_SPAN,
							     __ATOMIC_RELAXED));
	return mine;
}

void change_map(void *at, size_t len, bool shared)
{
	map_at(at, len, shared);
}

/* Somewhere in the middle, by pages; len is two pages or more */
static char *part_of(void *at, size_t len, struct rng *r, size_t *n)
{
	size_t pages = len / PAGE, first = rng_below(r, pages);

	*n = (1 + rng_below(r, pages - first)) * PAGE;
	return (char *)at + first * PAGE;
}

static void fork_and_write(char *at, size_t len)
{
	pid_t pid = (pid_t)syscall(SYS_fork);
	int status;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		for (size_t i = 0; i < len; i += PAGE)
			at[i] = 'c';
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

/* Each of these may find that it cannot; then the range is mapped anew, which is a
 * change, too. */
static bool move_onto(void *at, size_t len, bool shared)
{
	char *other = map_at(scratch(), len, shared);

	memset(other, 'o', PAGE);
	if (move(other, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at))
		return true;
	map_at(at, len, shared); /* a part of it may have been moved */
	unmap(other, len);
	return false;
}

static bool move_away(void *at, size_t len, bool shared, bool back)
{
	char *there = map_at(scratch(), len, shared);
	bool moved = move(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, there);

	if (moved && back && move(there, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at))
		return true;
	map_at(at, len, shared);
	unmap(there, len);
	return moved && !back;
}

static bool shrink(void *at, size_t len, bool shared)
{
	size_t n = len / 2 / PAGE * PAGE;

	if (!move(at, len, n, 0, NULL))
		return false;
	map_at((char *)at + n, len - n, shared);
	return true;
}

bool change_do(enum change c, void *at, size_t len, bool shared, struct rng *r)
{
	size_t n;
	char *p;

	switch (c) {
	case CHANGE_UNMAP:
		unmap(at, len);
		map_at(at, len, shared);
		return true;
	case CHANGE_FIXED:
		map_at(at, len, shared);
		return true;
	case CHANGE_FIXED_PART:
		p = part_of(at, len, r, &n);
		map_at(p, n, shared);
		return true;
	case CHANGE_DONTNEED:
		return !advise(at, len, MADV_DONTNEED);
	case CHANGE_DONTNEED_PART:
		p = part_of(at, len, r, &n);
		return !advise(p, n, MADV_DONTNEED);
	case CHANGE_FREE:
		return !shared && !advise(at, len, MADV_FREE);
	case CHANGE_REMOVE:
		return shared && !advise(at, len, MADV_REMOVE);
	case CHANGE_MOVE_AWAY:
	case CHANGE_MOVE_BACK:
		return move_away(at, len, shared, c == CHANGE_MOVE_BACK);
	case CHANGE_MOVE_ONTO:
		return move_onto(at, len, shared);
	case CHANGE_SHRINK:
		return shrink(at, len, shared);
	case CHANGE_PROTECT:
		if (mprotect(at, len, PROT_READ))
			die("mprotect: %s", strerror(errno));
		return !mprotect(at, len, PROT_READ | PROT_WRITE);
	case CHANGE_COLLAPSE:
		advise(at, len, MADV_COLLAPSE); /* refused where pages are pinned */
		return !advise(at, len,
			       rng_below(r, 2) ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	case CHANGE_FORK:
		fork_and_write(at, len);
		return true;
	case CHANGES:
		break;
	}
	return false;
}
