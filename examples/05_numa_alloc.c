/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 05_numa_alloc - memory made for pinning: on the right node, in huge pages.
 *
 * A pin freezes a page where it lies. On a machine with several memory nodes the
 * time to choose is therefore before the pin; afterwards nothing moves it.
 *
 *   usage: 05_numa_alloc [NODE]     (default: the node of the CPU we run on)
 */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pinmem.h"

#define LEN (4u << 20)

static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/* Where do the pages lie? This can be asked of any memory, at any time. */
static int show_placement(const void *mem, int node)
{
	struct pinmem_placement where = { .size = sizeof(where) };
	int rc = pinmem_audit(mem, LEN, node, &where);

	if (rc)
		return failed("pinmem_audit", rc);
	for (int i = 0; i < PINMEM_NODES_MAX; i++)
		if (where.pages[i])
			printf("audit: %" PRIu64 " pages on node %d\n", where.pages[i],
			       i);
	printf("audit: %" PRIu64 " on a wrong node, %" PRIu64 " not there yet\n",
	       where.wrong, where.absent);
	return where.wrong || where.absent;
}

/* Huge pages cost the pin one step where base pages cost 512. */
static int show_backing(struct pinmem *pm, const void *mem)
{
	struct pinmem_verdict v = { .size = sizeof(v) };
	int rc = pinmem_check(pm, mem, LEN, PINMEM_ACCESS_LOCAL_WRITE, NULL, &v);

	if (rc)
		return failed("pinmem_check", rc);
	printf("check: %s memory, verdict: %s\n", pinmem_backing_name(v.backing),
	       pinmem_action_name(v.action));
	return 0;
}

static int pin_and_unpin(struct pinmem *pm, void *mem)
{
	struct pinmem_mr_info info = { .size = sizeof(info) };
	struct pinmem_mr *mr;
	int rc, bad = 0;

	rc = pinmem_reg(pm, mem, LEN, PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr);
	if (rc)
		return failed("pinmem_reg", rc);
	rc = pinmem_mr_query(mr, &info);
	if (rc)
		bad = failed("pinmem_mr_query", rc);
	else
		printf("registered: %" PRIu64 " bytes, %s, on node %d\n", info.len,
		       pinmem_mode_name(info.mode), info.node);
	rc = pinmem_dereg(mr, PINMEM_CLEAN, NULL);
	return rc ? failed("pinmem_dereg", rc) : bad;
}

/* A node that does not exist, or that this process may not use, is refused by
 * pinmem_alloc() with a sentence that names those it may. */
static int use(struct pinmem *pm, int node)
{
	struct pinmem_alloc_options opts = { .size = sizeof(opts),
					     .placement = PINMEM_PLACE_NODE,
					     .node = node };
	int rc, bad;
	void *mem;

	rc = pinmem_alloc(pm, LEN, &opts, &mem);
	if (rc)
		return failed("pinmem_alloc", rc);
	printf("allocated: %u bytes for node %d\n", LEN, node);
	bad = show_backing(pm, mem) || show_placement(mem, node) ||
	      pin_and_unpin(pm, mem);
	rc = pinmem_free(pm, mem, LEN);
	return rc ? failed("pinmem_free", rc) : bad;
}

int main(int argc, char **argv)
{
	struct pinmem_info info = { .size = sizeof(info) };
	unsigned int here = 0;
	struct pinmem *pm;
	int rc, bad;

	getcpu(NULL, &here);
	rc = pinmem_open(NULL, &pm); /* whatever this machine has */
	if (rc)
		return failed("pinmem_open", rc);
	bad = pinmem_query(pm, &info);
	if (bad)
		failed("pinmem_query", bad);
	else
		printf("backend: %s (%s)\n", pinmem_backend_name(info.backend),
		       info.why);
	bad = bad || use(pm, argc > 1 ? atoi(argv[1]) : (int)here);
	rc = pinmem_close(pm);
	return rc ? failed("pinmem_close", rc) : bad;
}
