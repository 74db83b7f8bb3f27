/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.c - know a forked child without a fork handler.
 *
 * Pins, rings, verbs objects and memory locks belong to the process that made
 * them. The number of this process lies in a page that the kernel gives to a
 * child zeroed (MADV_WIPEONFORK, Linux 4.14); the child's first call sees the zero
 * and takes the next number. (The clock, too, is here.)
 */
#include "internal.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t *current; /* in the page that is wiped */
static uint64_t taken;	  /* in ordinary memory: a child goes on counting */

static void make_page(void)
{
	size_t len = page_size();
	void *page;

	page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (page == MAP_FAILED)
		return;
	if (madvise(page, len, MADV_WIPEONFORK)) {
		munmap(page, len);
		return;
	}
	current = page;
}

uint64_t process_generation(void)
{
	uint64_t mine, none = 0;

	pthread_once(&once, make_page);
	if (!current)
		return 0;
	mine = __atomic_load_n(current, __ATOMIC_RELAXED);
	if (mine)
		return mine;
	mine = __atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
	if (__atomic_compare_exchange_n(current, &none, mine, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		return mine;
	return none; /* another thread was first */
}

const uint32_t *process_gate(uint32_t *open)
{
	static const uint32_t always = 1;

	*open = current ? (uint32_t)process_generation() : always;
	return current ? (const uint32_t *)(const void *)current +
				 (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
		       : &always;
}

/* In another cache line than the generation. */
uint32_t *process_word(void)
{
	pthread_once(&once, make_page);
	return current ? (uint32_t *)(void *)(current + 8) : NULL;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
