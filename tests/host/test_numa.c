/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_numa.c - nodes of this machine, real moves where it has two of them, and
 * machines that it is not: kernels without NUMA and containers that forbid the
 * system calls (seccomp filters on one thread), and one with three nodes whose
 * pages lie as a test wants them (the function move_pages below).
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <numaif.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)

/* ------------------------------------------------ a machine with three nodes */

/* Where page i of a range lies: '0', '1', '2', or '-' not there. NULL: ask the
 * kernel. These two stand before libnuma's in the order of linking. */
static const char *layout;
static uintptr_t layout_start;

long move_pages(int pid, unsigned long n, void **pages, const int *nodes, int *status,
		int flags)
{
	size_t i;

	if (!layout)
		return syscall(SYS_move_pages, pid, n, pages, nodes, status, flags);
	for (unsigned long p = 0; p < n; p++) {
		i = ((uintptr_t)pages[p] - layout_start) / PAGE;
		status[p] = layout[i] == '-' ? -ENOENT : layout[i] - '0';
	}
	return 0;
}

long get_mempolicy(int *mode, unsigned long *mask, unsigned long maxnode, void *addr,
		   unsigned flags)
{
	if (!layout)
		return syscall(SYS_get_mempolicy, mode, mask, maxnode, addr, flags);
	mask[0] = 7;
	return 0;
}

/* ------------------------------------------------------------- this machine */

static void *map(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	return at;
}

/* The first nodes with memory; returns how many there are, at most 2. */
static int nodes_here(int node[2])
{
	unsigned long mask[16] = { 0 };
	int n = 0;

	if (get_mempolicy(NULL, mask, 8 * sizeof(mask), NULL, MPOL_F_MEMS_ALLOWED)) {
		node[0] = 0;
		return 1;
	}
	for (int i = 0; i < 1024 && n < 2; i++)
		if (mask[i / 64] >> (i % 64) & 1)
			node[n++] = i;
	return n;
}

static bool two_nodes(int node[2], const char *untested)
{
	char text[160];

	if (nodes_here(node) == 2)
		return true;
	snprintf(text, sizeof(text), "one NUMA node only: not tested: %s", untested);
	suite_skip(text);
	return false;
}

static int audit(void *at, size_t len, int node, struct pinmem_placement *p)
{
	memset(p, 0xff, sizeof(*p));
	return place_audit((uintptr_t)at, (uintptr_t)at + len, node, p);
}

static int bind_to(void *at, size_t len, int node)
{
	return place_bind((uintptr_t)at, (uintptr_t)at + len, node);
}

/* ------------------------------------------------------------------ resolve */

static void any_place_is_no_node(void)
{
	int out = 99;

	CHECK_RC(place_resolve(PINMEM_PLACE_ANY, 5, 3, &out), 0);
	CHECK(out == -1);
}

static void the_devices_place_is_its_node_if_that_has_memory(void)
{
	int node[2], out = 99;

	nodes_here(node);
	CHECK_RC(place_resolve(PINMEM_PLACE_DEVICE, 5, node[0], &out), 0);
	CHECK(out == node[0]);
	CHECK_RC(place_resolve(PINMEM_PLACE_DEVICE, 5, -1, &out), 0);
	CHECK(out == -1);
	/* nobody named this node: no error, and no sentence */
	fail(EINVAL, "the sentence before");
	CHECK_RC(place_resolve(PINMEM_PLACE_DEVICE, 5, 1000, &out), 0);
	CHECK(out == -1);
	CHECK_MSG("the sentence before");
}

static void a_named_node_must_exist(void)
{
	static const int bad[] = { -1, -2, 1000, 1023, 1024, 1 << 30 };
	int node[2], out = 99;
	char text[32];

	nodes_here(node);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_RC(place_resolve(PINMEM_PLACE_NODE, bad[i], -1, &out), -ENODEV);
		snprintf(text, sizeof(text), "node %d:", bad[i]);
		CHECK_MSG(text);
		snprintf(text, sizeof(text), "may use node %d", node[0]);
		CHECK_MSG(text);
	}
	CHECK(out == 99);
	CHECK_RC(place_resolve(PINMEM_PLACE_NODE, node[0], -1, &out), 0);
	CHECK(out == node[0]);
}

static void an_unknown_placement_is_refused(void)
{
	int out = 99;

	CHECK_RC(place_resolve((enum pinmem_place)77, 0, 0, &out), -EINVAL);
	CHECK_MSG("placement 77");
	CHECK(out == 99);
}

/* --------------------------------------------------------------------- bind */

static void a_bound_range_keeps_its_policy(void)
{
	unsigned long mask[16] = { 0 };
	int node[2], mode = -1;
	char *at = map(8 * PAGE);

	nodes_here(node);
	memset(at, 1, 4 * PAGE);
	CHECK_RC(bind_to(at, 8 * PAGE, node[0]), 0);
	CHECK_RC((int)get_mempolicy(&mode, mask, 1024, at + 7 * PAGE, MPOL_F_ADDR), 0);
	CHECK(mode == MPOL_BIND && (mask[node[0] / 64] >> node[0] % 64 & 1));
	at[7 * PAGE] = 1;
	CHECK(place_node_of(at) == node[0] && place_node_of(at + 7 * PAGE) == node[0]);
	CHECK(at[4 * PAGE - 1] == 1);
	munmap(at, 8 * PAGE);
}

static void bind_names_what_is_wrong(void)
{
	char *at = map(3 * PAGE);
	int node[2];

	nodes_here(node);
	CHECK_RC(bind_to(at, PAGE, 1000), -ENODEV);
	CHECK_MSG("no memory to be had on node 1000");
	CHECK_RC(bind_to(at, PAGE, -1), -ENODEV);
	munmap(at + PAGE, PAGE);
	CHECK_RC(bind_to(at, 3 * PAGE, node[0]), -EFAULT);
	CHECK_MSG("not mapped throughout");
	CHECK_MSG("12288 bytes");
	munmap(at, 3 * PAGE);
}

static void a_bound_range_may_be_empty(void)
{
	int node[2];
	char *at = map(PAGE);

	nodes_here(node);
	CHECK_RC(bind_to(at, 0, node[0]), 0);
	munmap(at, PAGE);
}

/* Every second page with other rights, until there are no mappings left */
static int bind_without_mappings(void *arg)
{
	size_t pages = 140000;
	char *at = map(3 * PAGE), *many = map(pages * PAGE);
	int node[2], rc;

	(void)arg;
	nodes_here(node);
	for (size_t i = 1; i < pages; i += 2)
		if (mprotect(many + i * PAGE, PAGE, PROT_READ)) {
			rc = bind_to(at + PAGE, PAGE, node[0]);
			return rc == -ENOMEM && strstr(pinmem_errmsg(), "max_map_count")
				       ? 0
				       : 1;
		}
	return 77;
}

static void running_out_of_mappings_is_told(void)
{
	int rc = in_child(bind_without_mappings, NULL);

	if (rc == 77)
		suite_skip("vm.max_map_count is too large to be reached");
	else
		CHECK_RC(rc, 0);
}

static void a_range_moves_to_another_node(void)
{
	struct pinmem_placement p;
	int node[2];
	char *at;

	if (!two_nodes(node, "moving pages"))
		return;
	at = map(64 * PAGE);
	memset(at, 7, 64 * PAGE);
	for (int i = 0; i < 4; i++) {
		CHECK_RC(bind_to(at, 64 * PAGE, node[i % 2]), 0);
		CHECK_RC(audit(at, 64 * PAGE, node[i % 2], &p), 0);
		CHECK(p.pages[node[i % 2]] == 64 && !p.wrong && !p.absent);
		CHECK(place_node_of(at + 5 * PAGE) == node[i % 2]);
	}
	CHECK(at[0] == 7 && at[64 * PAGE - 1] == 7);
	munmap(at, 64 * PAGE);
}

static void huge_pages_move_too(void)
{
	struct pinmem_placement p;
	char *at, *huge;
	int node[2];

	if (!two_nodes(node, "moving huge pages"))
		return;
	at = map(2 * HUGE);
	huge = (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	madvise(huge, HUGE, MADV_HUGEPAGE);
	memset(huge, 7, HUGE);
	CHECK_RC(bind_to(huge, HUGE, node[1]), 0);
	CHECK_RC(audit(huge, HUGE, node[1], &p), 0);
	CHECK(p.pages[node[1]] == 512 && !p.wrong && huge[HUGE - 1] == 7);
	munmap(at, 2 * HUGE);
}

static void the_wrong_part_is_found(void)
{
	struct pinmem_placement p;
	int node[2];
	char *at;

	if (!two_nodes(node, "an audit of pages on two nodes"))
		return;
	at = map(16 * PAGE);
	memset(at, 7, 16 * PAGE);
	CHECK_RC(bind_to(at, 8 * PAGE, node[0]), 0);
	CHECK_RC(bind_to(at + 8 * PAGE, 8 * PAGE, node[1]), 0);
	CHECK_RC(audit(at, 16 * PAGE, node[0], &p), 0);
	CHECK(p.pages[node[0]] == 8 && p.pages[node[1]] == 8 && p.wrong == 8);
	CHECK(p.wrong_addr == at + 8 * PAGE && p.wrong_len == 8 * PAGE);
	CHECK_RC(audit(at, 16 * PAGE, -1, &p), 0);
	CHECK(!p.wrong && !p.wrong_addr && !p.wrong_len);
	munmap(at, 16 * PAGE);
}

static void a_pinned_page_stays_and_the_audit_tells(void)
{
	struct pinmem_placement p;
	struct io_uring ring;
	struct iovec iov;
	int node[2];
	char *at;

	if (!two_nodes(node, "pinned pages do not move"))
		return;
	if (io_uring_queue_init(4, &ring, 0)) {
		suite_skip("no io_uring to pin with");
		return;
	}
	at = map(4 * PAGE);
	memset(at, 7, 4 * PAGE);
	CHECK_RC(bind_to(at, 4 * PAGE, node[0]), 0);
	iov.iov_base = at + PAGE;
	iov.iov_len = PAGE;
	CHECK_RC(io_uring_register_buffers(&ring, &iov, 1), 0);
	CHECK_RC(bind_to(at, 4 * PAGE, node[1]), 0);
	CHECK_RC(audit(at, 4 * PAGE, node[1], &p), 0);
	CHECK(p.wrong == 1 && p.wrong_addr == at + PAGE && p.wrong_len == PAGE);
	io_uring_queue_exit(&ring);
	munmap(at, 4 * PAGE);
}

/* -------------------------------------------------------------------- audit */

static void the_node_of_a_page_is_known_once_it_is_there(void)
{
	char *at = map(3 * PAGE);
	volatile char *reader = at;
	int node[2];

	CHECK(place_node_of(at) == -1);
	(void)reader[PAGE]; /* the zero page is nowhere */
	CHECK(place_node_of(at + PAGE) == -1);
	at[0] = 1;
	CHECK(place_node_of(at + 17) >= 0);
	if (nodes_here(node) == 1)
		CHECK(place_node_of(at + PAGE - 1) == node[0]);
	munmap(at, 3 * PAGE);
	CHECK(place_node_of(at) == -1);
	CHECK(place_node_of(NULL) == -1);
}

static void a_page_of_another_process_is_found(void)
{
	char *at = map(2 * PAGE);
	pid_t pid;

	at[0] = 1;
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	CHECK(place_node_in(pid, at + 5) == place_node_of(at));
	CHECK(place_node_in(pid, at + PAGE) == -1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK(place_node_in(pid, at) == -1); /* gone */
	munmap(at, 2 * PAGE);
}

static void what_is_there_and_what_is_not_are_counted(void)
{
	struct pinmem_placement p;
	char *at = map(1000 * PAGE);
	uint64_t there = 0;

	memset(at + 100 * PAGE, 1, 600 * PAGE);
	CHECK_RC(audit(at, 1000 * PAGE, -1, &p), 0);
	for (int i = 0; i < PINMEM_NODES_MAX; i++)
		there += p.pages[i];
	CHECK(p.size == sizeof(p) && p.step == PAGE);
	CHECK(there == 600 && p.absent == 400 && !p.wrong && !p.wrong_addr);
	munmap(at, 1000 * PAGE);
}

static void every_kind_of_memory_can_be_audited(void)
{
	struct pinmem_placement p;
	int fd = memfd_create("audit", MFD_CLOEXEC), node[2];
	char *shared;

	nodes_here(node);
	CHECK_RC(ftruncate(fd, 4 * PAGE), 0);
	shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	shared[PAGE] = 1;
	CHECK_RC(audit(shared, 4 * PAGE, -1, &p), 0);
	CHECK(p.absent == 3);
	CHECK_RC(bind_to(shared, 4 * PAGE, node[0]), 0);
	mprotect(shared, 4 * PAGE, PROT_NONE);
	CHECK_RC(audit(shared, 4 * PAGE, -1, &p), 0);
	munmap(shared, 4 * PAGE);
	close(fd);
}

static void a_hole_is_not_the_same_as_an_absent_page(void)
{
	struct pinmem_placement p;
	char *at = map(8 * PAGE);

	CHECK_RC(audit(at, 8 * PAGE, -1, &p), 0);
	CHECK(p.absent == 8);
	munmap(at + 7 * PAGE, PAGE);
	CHECK_RC(audit(at, 8 * PAGE, -1, &p), -EFAULT);
	CHECK_MSG("32768 bytes: not mapped throughout");
	CHECK_RC(audit(at, 7 * PAGE, -1, &p), 0);
	munmap(at, 7 * PAGE);
}

static void the_wanted_node_must_exist(void)
{
	struct pinmem_placement p;
	char *at = map(PAGE);

	memset(&p, 0x55, sizeof(p));
	CHECK_RC(place_audit((uintptr_t)at, (uintptr_t)at + PAGE, 1000, &p), -ENODEV);
	CHECK(p.step == 0x5555555555555555); /* out-parameters: on success only */
	munmap(at, PAGE);
}

static void large_ranges_are_sampled_evenly(void)
{
	struct pinmem_placement p;
	size_t len = (1ul << 30) + 3 * PAGE;
	char *at = map(len);
	size_t step = 5 * PAGE; /* 2^18 + 3 pages over 2^16 samples */

	CHECK_RC(audit(at, len, -1, &p), 0);
	CHECK(p.step == step && p.absent == (len + step - 1) / step);
	CHECK(p.absent <= 65536);
	at[3 * step] = 1;
	at[4 * step + PAGE] = 1;
	CHECK_RC(audit(at, len, -1, &p), 0);
	CHECK(p.absent == (len + step - 1) / step - 1);
	munmap(at, len);
	at = map(65536 * PAGE);
	CHECK_RC(audit(at, 65536 * PAGE, -1, &p), 0);
	CHECK(p.step == PAGE && p.absent == 65536);
	munmap(at, 65536 * PAGE);
}

static void an_empty_range_has_nothing(void)
{
	struct pinmem_placement p;
	char *at = map(PAGE);

	CHECK_RC(audit(at, 0, -1, &p), 0);
	CHECK(p.step == PAGE && !p.absent && !p.wrong);
	munmap(at, PAGE);
}

/* One character for each page: the audit of it, wanting node 0 */
static struct pinmem_placement audit_layout(const char *text)
{
	struct pinmem_placement p;
	size_t len = strlen(text) * PAGE;
	char *at = map(len);

	layout_start = (uintptr_t)at;
	layout = text;
	CHECK_RC(audit(at, len, 0, &p), 0);
	layout = NULL;
	munmap(at, len);
	if (p.wrong_addr)
		p.wrong_addr = (void *)((uintptr_t)p.wrong_addr - layout_start);
	return p;
}

static void the_first_run_of_wrong_pages_is_told(void)
{
	struct pinmem_placement p;

	p = audit_layout("0012021-");
	CHECK(p.pages[0] == 3 && p.pages[1] == 2 && p.pages[2] == 2 && p.absent == 1);
	CHECK(p.wrong == 4);
	CHECK(p.wrong_addr == (void *)(2 * PAGE) && p.wrong_len == 2 * PAGE);
	p = audit_layout("1");
	CHECK(p.wrong == 1 && p.wrong_addr == NULL && p.wrong_len == PAGE);
	p = audit_layout("0-11");
	CHECK(p.wrong_addr == (void *)(2 * PAGE) && p.wrong_len == 2 * PAGE);
	p = audit_layout("01-1");
	CHECK(p.wrong == 2 && p.wrong_len == PAGE);
	p = audit_layout("00-0");
	CHECK(!p.wrong && !p.wrong_addr && !p.wrong_len);
}

static void a_run_goes_on_from_batch_to_batch(void)
{
	struct pinmem_placement p;
	char text[1301];

	memset(text, '1', sizeof(text));
	text[0] = text[1299] = '0';
	text[1300] = '\0';
	p = audit_layout(text);
	CHECK(p.wrong == 1298 && p.pages[0] == 2);
	CHECK(p.wrong_addr == (void *)PAGE && p.wrong_len == 1298 * PAGE);
}

/* The last sample stands for what is left of the range, not for a whole step. */
static void a_sampled_run_ends_with_the_range(void)
{
	struct pinmem_placement p;
	size_t pages = 2 * 65536 - 1;
	char *text = malloc(pages + 1);

	CHECK(text != NULL);
	if (!text)
		return;
	memset(text, '2', pages);
	text[pages] = '\0';
	p = audit_layout(text);
	CHECK(p.step == 2 * PAGE && p.wrong == 65536 && p.pages[2] == 65536);
	CHECK(p.wrong_addr == NULL && p.wrong_len == pages * PAGE);
	free(text);
}

/* Nodes beyond those that can be counted are wrong all the same. */
static void nodes_out_of_count_are_not_lost(void)
{
	struct pinmem_placement p = audit_layout("0\x7f");

	CHECK('\x7f' - '0' >= PINMEM_NODES_MAX);
	CHECK(p.pages[0] == 1 && p.wrong == 1 && !p.absent);
}

/* -------------------------------------------------- kernels that say no */

struct filtered {
	unsigned int err;
	void (*fn)(void);
	bool failed;
};

/* The three system calls fail with an errno, for this thread. */
static int forbid(unsigned int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mbind, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_get_mempolicy, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_move_pages, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static void *run_filtered(void *p)
{
	struct filtered *f = p;

	f->failed = forbid(f->err);
	if (!f->failed)
		f->fn();
	return NULL;
}

static void where_it_fails(unsigned int err, void (*fn)(void))
{
	struct filtered f = { .err = err, .fn = fn };
	pthread_t thread;

	CHECK_RC(pthread_create(&thread, NULL, run_filtered, &f), 0);
	pthread_join(thread, NULL);
	if (f.failed)
		suite_skip("no seccomp filters here");
}

static void use_one_node(void)
{
	struct pinmem_placement p;
	char *at = map(6 * PAGE);
	int out = 99;

	at[PAGE] = 1;
	CHECK_RC(place_resolve(PINMEM_PLACE_NODE, 0, -1, &out), 0);
	CHECK(out == 0);
	CHECK_RC(place_resolve(PINMEM_PLACE_NODE, 1, -1, &out), -ENODEV);
	CHECK_MSG("may use node 0");
	CHECK_RC(place_resolve(PINMEM_PLACE_DEVICE, 0, 1, &out), 0);
	CHECK(out == -1);
	CHECK_RC(bind_to(at, 6 * PAGE, 0), 0);
	CHECK_RC(bind_to(at, 6 * PAGE, 1), -ENODEV);
	CHECK(place_node_of(at + PAGE) == 0 && place_node_of(at) == -1);
	CHECK_RC(audit(at, 6 * PAGE, 0, &p), 0);
	CHECK(p.pages[0] == 1 && p.absent == 5 && !p.wrong);
	CHECK_RC(audit(at, 6 * PAGE, 1, &p), -ENODEV);
	munmap(at, 6 * PAGE);
	CHECK(place_node_of(at) == -1);
	CHECK_RC(audit(at, 6 * PAGE, 0, &p), -EFAULT);
}

static void a_kernel_without_numa_has_node_0(void)
{
	where_it_fails(ENOSYS, use_one_node);
}

static void be_forbidden(void)
{
	struct pinmem_placement p;
	char *at = map(2 * PAGE);
	int out = 99;

	at[0] = 1;
	CHECK_RC(place_resolve(PINMEM_PLACE_NODE, 0, -1, &out), 0);
	CHECK_RC(place_resolve(PINMEM_PLACE_NODE, -1, -1, &out), -ENODEV);
	CHECK_RC(place_resolve(PINMEM_PLACE_NODE, 1024, -1, &out), -ENODEV);
	/* a default must not fail where it cannot be had */
	CHECK_RC(place_resolve(PINMEM_PLACE_DEVICE, 0, 0, &out), 0);
	CHECK(out == -1);
	CHECK_RC(bind_to(at, 2 * PAGE, 0), -EPERM);
	CHECK_MSG("mbind(2) is forbidden here");
	CHECK(place_node_of(at) == -1);
	CHECK_RC(audit(at, 2 * PAGE, 0, &p), -EPERM);
	CHECK_MSG("move_pages(2) is forbidden here");
	munmap(at, 2 * PAGE);
}

static void a_container_that_forbids_the_calls_is_named(void)
{
	where_it_fails(EPERM, be_forbidden);
}

static void be_broken(void)
{
	struct pinmem_placement p;
	char *at = map(PAGE);

	CHECK_RC(bind_to(at, PAGE, 0), -EIO);
	CHECK_MSG("Input/output error");
	CHECK_RC(audit(at, PAGE, 0, &p), -EIO);
	CHECK_MSG("Input/output error");
	munmap(at, PAGE);
}

static void any_other_errno_is_passed_on(void)
{
	where_it_fails(EIO, be_broken);
}

static void *ask_often(void *at)
{
	struct pinmem_placement p;
	intptr_t bad = 0;

	for (int i = 0; i < 200; i++) {
		bad |= place_node_of(at) < 0;
		bad |= place_audit((uintptr_t)at, (uintptr_t)at + PAGE, -1, &p) != 0;
	}
	return (void *)bad;
}

static void threads_may_ask_at_once(void)
{
	pthread_t threads[4];
	char *at = map(PAGE);
	void *bad;

	at[0] = 1;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		CHECK_RC(pthread_create(&threads[i], NULL, ask_often, at), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], &bad);
		CHECK(!bad);
	}
	munmap(at, PAGE);
}

#define TEST(fn)        \
	{               \
#fn, fn \
	}
static const struct test tests[] = {
	TEST(any_place_is_no_node),
	TEST(the_devices_place_is_its_node_if_that_has_memory),
	TEST(a_named_node_must_exist),
	TEST(an_unknown_placement_is_refused),
	TEST(a_bound_range_keeps_its_policy),
	TEST(bind_names_what_is_wrong),
	TEST(a_bound_range_may_be_empty),
	TEST(running_out_of_mappings_is_told),
	TEST(a_range_moves_to_another_node),
	TEST(huge_pages_move_too),
	TEST(the_wrong_part_is_found),
	TEST(a_pinned_page_stays_and_the_audit_tells),
	TEST(the_node_of_a_page_is_known_once_it_is_there),
	TEST(a_page_of_another_process_is_found),
	TEST(what_is_there_and_what_is_not_are_counted),
	TEST(every_kind_of_memory_can_be_audited),
	TEST(a_hole_is_not_the_same_as_an_absent_page),
	TEST(the_wanted_node_must_exist),
	TEST(large_ranges_are_sampled_evenly),
	TEST(an_empty_range_has_nothing),
	TEST(the_first_run_of_wrong_pages_is_told),
	TEST(a_run_goes_on_from_batch_to_batch),
	TEST(a_sampled_run_ends_with_the_range),
	TEST(nodes_out_of_count_are_not_lost),
	TEST(a_kernel_without_numa_has_node_0),
	TEST(a_container_that_forbids_the_calls_is_named),
	TEST(any_other_errno_is_passed_on),
	TEST(threads_may_ask_at_once),
};

SUITE("numa", tests)
