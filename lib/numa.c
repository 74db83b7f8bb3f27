/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * numa.c - on which nodes do pages lie, and moving them before a pin freezes them.
 *
 * mbind(2) leaves more behind than moved pages: a policy on the range, which
 * stays after the release and splits the mapping at the range's ends (mind
 * vm.max_map_count). On shared memory of tmpfs the policy belongs to the file.
 * It moves the pages of this process alone: what others map too, page cache
 * included, stays where it is without an error, and so does what is pinned
 * already. place_audit() tells what came of it.
 *
 * A kernel without CONFIG_NUMA answers ENOSYS to all three system calls: it has
 * node 0 and nothing else. EPERM is another thing (container runtimes filter
 * these calls): the nodes are there and cannot be asked for.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <string.h>
#include <sys/mman.h>

#define NODES 1024 /* MAX_NUMNODES is at most this; the kernel takes more bits */
#define WORD_BITS (8 * sizeof(unsigned long))
#define SAMPLES_MAX 65536
#define BATCH 512

/** struct nodes - a set of nodes, as the system calls take it. */
struct nodes {
	unsigned long bits[NODES / WORD_BITS];
};

static void nodes_add(struct nodes *n, int node)
{
	n->bits[(unsigned int)node / WORD_BITS] |= 1ul
						   << (unsigned int)node % WORD_BITS;
}

static bool nodes_have(const struct nodes *n, int node)
{
	return node >= 0 && node < NODES &&
	       n->bits[(unsigned int)node / WORD_BITS] >>
			       (unsigned int)node % WORD_BITS &
		       1;
}

/* Nodes with memory that this thread may use (its cpuset). 0, or -errno. */
static int nodes_allowed(struct nodes *n)
{
	memset(n, 0, sizeof(*n));
	if (!get_mempolicy(NULL, n->bits, NODES, NULL, MPOL_F_MEMS_ALLOWED))
		return 0;
	if (errno != ENOSYS)
		return -errno;
	nodes_add(n, 0);
	return 0;
}

static void nodes_text(const struct nodes *n, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (int node = 0; node < NODES && at + 8 < size; node++)
		if (nodes_have(n, node))
			at += (size_t)snprintf(text + at, size - at, "%s%d",
					       at ? ", " : "", node);
}

/* If the nodes cannot be asked for, mbind decides. */
static int node_check(int node)
{
	struct nodes allowed;
	char text[128];

	if (nodes_allowed(&allowed) && node >= 0 && node < NODES)
		return 0;
	if (nodes_have(&allowed, node))
		return 0;
	nodes_text(&allowed, text, sizeof(text));
	return fail(
		ENODEV,
		"there is no memory to be had on node %d: this thread may use node %s",
		node, text);
}

/*
 * A device may sit on a node without memory, or outside of our cpuset, and the
 * nodes may not be ours to ask for. Nobody has named that node, so none of this
 * is an error.
 */
static int device_place(int node)
{
	struct nodes allowed;

	return !nodes_allowed(&allowed) && nodes_have(&allowed, node) ? node : -1;
}

int place_resolve(enum pinmem_place place, int node, int device_node, int *out)
{
	int rc;

	switch (place) {
	case PINMEM_PLACE_ANY:
		*out = -1;
		return 0;
	case PINMEM_PLACE_DEVICE:
		*out = device_place(device_node);
		return 0;
	case PINMEM_PLACE_NODE:
		rc = node_check(node);
		if (!rc)
			*out = node;
		return rc;
	}
	return fail(EINVAL, "placement %d is none of ANY, DEVICE, NODE", (int)place);
}

static int bind_failed(uintptr_t start, size_t len, int node, int err)
{
	switch (err) {
	case EINVAL:
		return fail(ENODEV, "node %d has no memory for this thread's cpuset",
			    node);
	case EFAULT:
		return fail(EFAULT,
			    "0x%" PRIxPTR " +%zu bytes cannot be moved to node %d: "
			    "not mapped throughout",
			    start, len, node);
	case ENOMEM:
		return fail(ENOMEM,
			    "0x%" PRIxPTR " +%zu bytes cannot be bound to node %d: "
			    "out of memory, or of mappings (vm.max_map_count)",
			    start, len, node);
	case EPERM:
		return fail(EPERM,
			    "mbind(2) is forbidden here, probably by a container's "
			    "seccomp filter: allow it, or give CAP_SYS_NICE");
	}
	return fail(err, "mbind(0x%" PRIxPTR " +%zu bytes, node %d): %s", start, len,
		    node, strerror(err));
}

/* MPOL_MF_MOVE without MPOL_MF_STRICT: a page that cannot move is not an error */
int place_bind(uintptr_t start, uintptr_t end, int node)
{
	struct nodes to = { { 0 } };
	size_t len = end - start;
	int rc = node_check(node);

	if (rc)
		return rc;
	nodes_add(&to, node);
	/* one bit more: the kernel takes maxnode to be one past the last */
	if (!mbind((void *)start, len, MPOL_BIND, to.bits, NODES + 1, MPOL_MF_MOVE))
		return 0;
	if (errno == ENOSYS) /* there is node 0 only: everything is there */
		return 0;
	return bind_failed(start, len, node, errno);
}

/* ------------------------------------------------------------------ audit */

/* Without CONFIG_NUMA: what is there is on node 0. */
static int where_without_numa(unsigned long n, void *const *pages, int *status)
{
	size_t page = page_size();
	unsigned char resident;

	for (unsigned long i = 0; i < n; i++) {
		if (mincore(pages[i], page, &resident))
			return -errno;
		status[i] = resident & 1 ? 0 : -ENOENT;
	}
	return 0;
}

/*
 * A node for each page, or a negative errno: -ENOENT not there, -EFAULT the zero
 * page or no page table yet, or not mapped.
 */
static int where(unsigned long n, void **pages, int *status)
{
	if (!move_pages(0, n, pages, NULL, status, 0))
		return 0;
	return errno == ENOSYS ? where_without_numa(n, pages, status) : -errno;
}

int place_node_of(const void *addr)
{
	void *page = (void *)page_floor((uintptr_t)addr);
	int status = -1;

	if (where(1, &page, &status) || status < 0)
		return -1;
	return status;
}

int place_node_in(pid_t pid, const void *addr)
{
	void *page = (void *)page_floor((uintptr_t)addr);
	int status = -1;

	if (move_pages(pid, 1, &page, NULL, &status, 0) || status < 0)
		return -1;
	return status;
}

/** struct audit - a walk over the samples of a range. */
struct audit {
	struct pinmem_placement *out;
	uintptr_t end;
	int node;
	bool run_over; /* the first wrong run has ended */
};

static void audit_page(struct audit *a, uintptr_t at, int status)
{
	struct pinmem_placement *out = a->out;
	bool wrong = status >= 0 && a->node >= 0 && status != a->node;
	uint64_t step = out->step < a->end - at ? out->step : a->end - at;

	if (status < 0)
		out->absent++;
	else if (status < PINMEM_NODES_MAX)
		out->pages[status]++;
	out->wrong += wrong;
	if (!wrong) {
		a->run_over |= out->wrong > 0;
	} else if (!a->run_over) {
		if (!out->wrong_addr)
			out->wrong_addr = (void *)at;
		out->wrong_len += step;
	}
}

static int audit_batch(struct audit *a, uintptr_t *at)
{
	void *pages[BATCH];
	int status[BATCH];
	unsigned long n = 0;
	int rc;

	for (uintptr_t p = *at; p < a->end && n < BATCH; p += a->out->step)
		pages[n++] = (void *)p;
	rc = where(n, pages, status);
	if (rc)
		return rc;
	for (unsigned long i = 0; i < n; i++)
		audit_page(a, (uintptr_t)pages[i], status[i]);
	*at += n * a->out->step;
	return 0;
}

/* Steps are whole pages, so that at most SAMPLES_MAX of them cover the range. */
static uint64_t step_for(uint64_t len)
{
	uint64_t page = page_size(), pages = len / page;

	return page * (pages ? (pages + SAMPLES_MAX - 1) / SAMPLES_MAX : 1);
}

int place_audit(uintptr_t start, uintptr_t end, int node, struct pinmem_placement *out)
{
	struct audit a = { .out = out, .end = end, .node = node };
	int rc = node < 0 ? 0 : node_check(node);

	if (rc)
		return rc;
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->step = step_for(end - start);
	/* move_pages gives EFAULT for holes and for the zero page alike */
	if (!range_mapped(start, end))
		return fail(EFAULT, "0x%" PRIxPTR " +%zu bytes: not mapped throughout",
			    start, (size_t)(end - start));
	for (uintptr_t at = start; !rc && at < end && at >= start;)
		rc = audit_batch(&a, &at);
	if (rc == -EPERM)
		return fail(EPERM, "move_pages(2) is forbidden here, probably by a "
				   "container's seccomp filter");
	if (rc)
		return fail(rc, "move_pages(0x%" PRIxPTR " +%zu bytes): %s", start,
			    (size_t)(end - start), strerror(-rc));
	return 0;
}
