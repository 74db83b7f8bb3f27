/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_worker.h - a process that measures, and is asked over a socket. What disturbs
 * the process it runs in (libucx patches libc), or ends it, stays there.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ANSWER_VALUES 8

/**
 * struct bench_answer
 * @rc:   0; -EDQUOT, -EOPNOTSUPP: not to be had here; negative: failed. @text: why
 * @busy: no answer yet: @done of @total is
 */
struct bench_answer {
	int rc;
	bool busy;
	uint64_t done, total;
	double v[ANSWER_VALUES];
	char text[768];
};

/** bench_serve_fn - in the process: answer a request. What it leaves in bench_why is
 * the answer's text if it fails. Return: the answer's rc. */
typedef int (*bench_serve_fn)(void *ctx, const void *request, struct bench_answer *a);

/** struct bench_worker - @name: for its complaints */
struct bench_worker {
	const char *name;
	pid_t pid;
	int fd;
};

/** worker_start - a process that serves requests of @size bytes each; @ctx is copied
 * to it by fork(2). Return: 0; negative: bench_why. */
int worker_start(struct bench_worker *w, const char *name, bench_serve_fn serve,
		 void *ctx, size_t size);
/** worker_ask - and wait for the answer. Return: answer->rc; negative: bench_why. */
int worker_ask(struct bench_worker *w, const void *request, size_t size,
	       struct bench_answer *answer);
/** worker_busy - in the process: tell how far a long answer is. */
void worker_busy(uint64_t done, uint64_t total);
/** worker_stop - the process ends, with all that it has pinned. */
void worker_stop(struct bench_worker *w);

#endif
