/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_worker.c - a process that measures; see bench_worker.h. */
#include "bench_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "out.h"
#include "tool.h"

#define REQUEST_MAX 4096

static int asker = -1; /* in the process: who asks */

static int trouble(int rc, const char *what, const char *why)
{
	snprintf(bench_why, sizeof(bench_why), "%s: %s", what, why);
	return rc;
}

void worker_busy(uint64_t done, uint64_t total)
{
	struct bench_answer a = { .busy = true, .done = done, .total = total };

	/* nobody there: the next read says so */
	(void)!send(asker, &a, sizeof(a), MSG_NOSIGNAL);
}

/* A bar is the asker's. */
static void no_progress(void)
{
	int null = isatty(STDERR_FILENO) ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;

	if (null < 0)
		return;
	dup2(null, STDERR_FILENO);
	close(null);
	out_setup(true, false);
}

/* Nothing is released one by one at the end: a process that ends has no pins. */
static void be_worker(bench_serve_fn serve, void *ctx, size_t size)
{
	_Alignas(16) char request[REQUEST_MAX];
	struct bench_answer a;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	no_progress();
	while (recv(asker, request, size, 0) == (ssize_t)size) {
		memset(&a, 0, sizeof(a));
		bench_why[0] = '\0';
		a.rc = serve(ctx, request, &a);
		if (a.rc)
			snprintf(a.text, sizeof(a.text), "%s", bench_why);
		if (send(asker, &a, sizeof(a), MSG_NOSIGNAL) != (ssize_t)sizeof(a))
			return;
	}
}

int worker_ask(struct bench_worker *w, const void *request, size_t size,
	       struct bench_answer *answer)
{
	ssize_t got = -1;

	if (send(w->fd, request, size, MSG_NOSIGNAL) == (ssize_t)size)
		do {
			got = recv(w->fd, answer, sizeof(*answer), 0);
			if (got == (ssize_t)sizeof(*answer) && answer->busy)
				progress_show(text("%s: registering", w->name),
					      answer->done, answer->total);
		} while ((got < 0 && errno == EINTR) ||
			 (got == (ssize_t)sizeof(*answer) && answer->busy));
	if (got != (ssize_t)sizeof(*answer))
		return trouble(-EPIPE, w->name,
			       "the process that measures it has ended");
	if (answer->rc)
		snprintf(bench_why, sizeof(bench_why), "%s", answer->text);
	return answer->rc;
}

int worker_start(struct bench_worker *w, const char *name, bench_serve_fn serve,
		 void *ctx, size_t size)
{
	int fds[2], rc = 0;

	*w = (struct bench_worker){ .name = name, .pid = -1, .fd = -1 };
	if (size > REQUEST_MAX)
		return trouble(-EMSGSIZE, name, "its requests are too long");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return trouble(-errno, "socketpair", strerror(errno));
	fflush(NULL); /* the child must not print it again */
	w->pid = fork();
	if (!w->pid) {
		close(fds[0]);
		asker = fds[1];
		be_worker(serve, ctx, size);
		_exit(EXIT_YES);
	}
	if (w->pid < 0)
		rc = trouble(-errno, "fork", strerror(errno));
	close(fds[1]);
	w->fd = fds[0];
	if (rc)
		worker_stop(w);
	return rc;
}

void worker_stop(struct bench_worker *w)
{
	/* closing alone would not do: the other processes have a copy of it */
	if (w->fd >= 0 && !shutdown(w->fd, SHUT_RDWR))
		close(w->fd);
	if (w->pid > 0)
		while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
			;
	w->fd = -1;
	w->pid = -1;
}
