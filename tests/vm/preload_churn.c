/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * preload_churn.c - registers and deregisters buffers in turn, as a program without a
 * cache of its own does for each message, and says what one such pair costs.
 *
 * usage: preload_churn DEVICE PRELOAD
 * Runs itself without PRELOAD, with it, and with it and its cache, and prints the time
 * of a pair, and by how much the cache is faster than libibverbs alone. Eight buffers
 * from malloc(3), neighbours in memory. Exit: 0; 1 when something failed, or the cache
 * is not faster with every size.
 */
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFERS 8
#define SECONDS 0.5 /* for each measurement */

static const size_t sizes[] = { 4096, 64 << 10, 1 << 20, 4 << 20 };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/** struct result - nanoseconds of a pair, for each size; through a pipe. */
struct result {
	double ns[SIZES];
};

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static struct ibv_pd *open_pd(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			ctx = ibv_open_device(list[i]);
	return ctx ? ibv_alloc_pd(ctx) : NULL;
}

static void churn(struct ibv_pd *pd, char *buffer, size_t len)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, buffer, len,
				       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);

	if (!mr || mr->addr != buffer || mr->length != len || ibv_dereg_mr(mr)) {
		perror("registration");
		exit(1);
	}
}

static double measure(struct ibv_pd *pd, size_t len)
{
	/* from the heap: large ones would each be a mapping of their own */
	char *heap = malloc(BUFFERS * (len + 16)), *buffers[BUFFERS];
	unsigned long pairs = 0;
	double start, ns;

	if (!heap)
		exit(1);
	memset(heap, 1, BUFFERS * (len + 16));
	for (int i = 0; i < BUFFERS; i++)
		buffers[i] = heap + (size_t)i * (len + 16);
	for (int i = 0; i < 2 * BUFFERS; i++)
		churn(pd, buffers[i % BUFFERS], len);
	start = now_ns();
	do {
		for (int i = 0; i < BUFFERS; i++)
			churn(pd, buffers[i], len);
		pairs += BUFFERS;
		ns = now_ns() - start;
	} while (ns < 1e9 * SECONDS);
	free(heap);
	return ns / (double)pairs;
}

static int measure_all(const char *device, int out)
{
	struct ibv_pd *pd = open_pd(device);
	struct result r;

	if (!pd) {
		fprintf(stderr, "%s does not open\n", device);
		return 1;
	}
	for (size_t i = 0; i < SIZES; i++)
		r.ns[i] = measure(pd, sizes[i]);
	return write(out, &r, sizeof(r)) != sizeof(r);
}

/* In a process of its own, with the preload (NULL: without), and its cache on or off */
static void run(char **argv, const char *preload, const char *cache, struct result *r)
{
	char fd[16];
	int pipes[2], status;
	pid_t pid;

	if (pipe(pipes) || (pid = fork()) < 0) {
		perror("fork");
		exit(1);
	}
	if (!pid) {
		snprintf(fd, sizeof(fd), "%d", pipes[1]);
		setenv("PINMEM_VERBS_CACHE", cache, 1);
		if (preload)
			setenv("LD_PRELOAD", preload, 1);
		execl("/proc/self/exe", argv[0], argv[1], "--to", fd, NULL);
		_exit(127);
	}
	close(pipes[1]);
	if (read(pipes[0], r, sizeof(*r)) != sizeof(*r) ||
	    waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "the run with %s failed\n",
			preload ? preload : "nothing");
		exit(1);
	}
	close(pipes[0]);
}

int main(int argc, char **argv)
{
	struct result alone, verdicts, cached;
	bool gained = true;

	if (argc == 4 && !strcmp(argv[2], "--to"))
		return measure_all(argv[1], atoi(argv[3]));
	if (argc != 3) {
		fprintf(stderr, "usage: preload_churn DEVICE PRELOAD\n");
		return 2;
	}
	run(argv, NULL, "off", &alone);
	run(argv, argv[2], "off", &verdicts);
	run(argv, argv[2], "on", &cached);
	printf("register + deregister, %d buffers in turn, on %s\n", BUFFERS, argv[1]);
	printf("%10s %14s %14s %14s %10s\n", "bytes", "libibverbs", "with verdicts",
	       "with cache", "gain");
	for (size_t i = 0; i < SIZES; i++) {
		double gain = alone.ns[i] / cached.ns[i];

		printf("%10zu %11.0f ns %11.0f ns %11.0f ns %9.1fx\n", sizes[i],
		       alone.ns[i], verdicts.ns[i], cached.ns[i], gain);
		gained &= gain > 1;
	}
	return gained ? 0 : 1;
}
