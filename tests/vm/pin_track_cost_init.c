/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin_track_cost_init.c - process 1 of the machine that pin_track_cost boots: how many
 * instructions a pin and unpin through io_uring take. QEMU's -icount makes a nanosecond
 * of an instruction; what else the machine did meanwhile (timer interrupts) is left out
 * by the minimum of many rounds. Prints one line `cost PAGES INSTRUCTIONS` for each
 * size, and ends the machine.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define ROUNDS 60
#define CALLS 20 /* in a round, for a clock that is coarse */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* One registration and its end. */
static int pin_and_unpin(int ring, struct iovec *iov)
{
	if (syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, iov, 1))
		return -1;
	return syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL,
		       0);
}

static int measure(int ring, char *mem, unsigned long pages)
{
	struct iovec iov = { mem, pages * PAGE };
	uint64_t best = UINT64_MAX, start, took;
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		start = now_ns();
		for (i = 0; i < CALLS; i++)
			if (pin_and_unpin(ring, &iov))
				return -1;
		took = now_ns() - start;
		if (took < best)
			best = took;
	}
	printf("cost %lu %llu\n", pages, (unsigned long long)best / CALLS);
	return 0;
}

int main(void)
{
	static const unsigned long sizes[] = { 1, 16, 256 };
	struct io_uring_params params;
	unsigned int i;
	int fd, ring;
	char *mem;

	mkdir("/dev", 0755);
	mknod("/dev/console", S_IFCHR | 0600, makedev(5, 1));
	fd = open("/dev/console", O_RDWR);
	dup2(fd, 1);
	memset(&params, 0, sizeof(params));
	ring = syscall(__NR_io_uring_setup, 4, &params);
	mem = mmap(NULL, 256 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (ring < 0 || mem == MAP_FAILED)
		printf("failed: no ring, or no memory\n");
	for (i = 0; i < 3; i++)
		if (measure(ring, mem, sizes[i]))
			printf("failed: registering %lu pages\n", sizes[i]);
	printf("cost end\n");
	fflush(stdout);
	sleep(1);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
