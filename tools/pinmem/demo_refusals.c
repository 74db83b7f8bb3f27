/* SPDX-License-Identifier: BSD-2-Clause */
/* demo_refusals.c - step 4: the sentences of what is refused, word by word. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

#define SMALL_LIMIT (64ul << 10)

/* What the child found, sent through a pipe. */
struct refusal {
	int error;
	char sentence[768];
};

static void show_refusal(json_t *list, const char *name, const char *label,
			 const struct refusal *r)
{
	say("  %s: -%s\n", label, sys_errno(r->error));
	say_block(6, "%s", r->sentence);
	json_array_append_new(list, json_pack("{ss, ss, so}", "memory", name, "error",
					      sys_errno(r->error), "sentence",
					      json_text(r->sentence)));
}

static int refuse(struct pinmem *pm, const struct memory *m, unsigned int access,
		  struct refusal *r)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts),
					   .policy = { PINMEM_REFUSE } };
	struct pinmem_mr *mr;

	r->error = pinmem_reg(pm, m->addr, m->len, access, &opts, &mr);
	if (!r->error)
		return pinmem_dereg(mr, PINMEM_CLEAN, NULL);
	snprintf(r->sentence, sizeof(r->sentence), "%s", pinmem_errmsg());
	return 0;
}

/* ------------------------------------------ the limit, seen by a child of ours */

static void drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = { .version =
							 _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return;
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	syscall(SYS_capset, &head, data);
}

/* The child has pinners of its own only; see "fork" in pinmem.h. */
static void limited_child(const struct demo *d, int pipe_end)
{
	struct rlimit lim = { SMALL_LIMIT, SMALL_LIMIT };
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = d->info.backend,
				       .device = d->info.device[0] ? d->info.device
								   : NULL };
	struct refusal r = { 0 };
	struct pinmem *pm;
	struct memory m;

	setrlimit(RLIMIT_MEMLOCK, &lim);
	drop_ipc_lock();
	r.error = pinmem_open(&opts, &pm);
	if (r.error)
		snprintf(r.sentence, sizeof(r.sentence), "%s", pinmem_errmsg());
	else if (!memory_make(MEM_ANON, d->size, NULL, &m))
		refuse(pm, &m, d->access, &r);
	if (write(pipe_end, &r, sizeof(r)) != sizeof(r))
		_exit(1);
	_exit(0);
}

/* Return: 0 with the child's answer. */
static int ask_child(const struct demo *d, struct refusal *r)
{
	int ends[2], status, rc = -1;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid)
		limited_child(d, ends[1]);
	close(ends[1]);
	if (pid > 0) {
		if (read(ends[0], r, sizeof(*r)) == sizeof(*r))
			rc = 0;
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	return rc;
}

void demo_refusals(struct demo *d)
{
	json_t *list = json_array();
	struct refusal r;

	heading("4. What is refused, in the library's words");
	for (size_t i = 0; i < demo_kinds_n && !stop_requested(); i++) {
		struct memory m;

		if (!demo_make(d, demo_kinds[i], &m) &&
		    !refuse(d->pm, &m, d->access, &r) && r.error)
			show_refusal(list, memory_name(m.kind), memory_label(m.kind),
				     &r);
		memory_drop(&m);
	}
	if (d->size > SMALL_LIMIT && !ask_child(d, &r) && r.error)
		show_refusal(list, "limit",
			     text("anonymous, as a process without CAP_IPC_LOCK under "
				  "ulimit -l %lu",
				  SMALL_LIMIT >> 10),
			     &r);
	json_object_set_new(d->json, "refusals", list);
}
