/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_verbs.c - the verbs backend over a libibverbs without hardware: which device
 * is taken, what it is told, what every refusal is called, and that nothing is lost.
 */
#include "fault.h"
#include "suite.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fake_verbs.inc.c"

#define GIB (1ull << 30)
#define MIB (1ull << 20)
#define WRITES (PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE)

static int open_backend(const char *name, struct ibv_pd *pd, struct backend **be)
{
	struct pinmem_options opts = { .size = sizeof(opts), .device = name, .pd = pd };

	return backend_verbs.open(&opts, be);
}

static struct backend *open_or_die(const char *name)
{
	struct backend *be = NULL;

	CHECK_RC(open_backend(name, NULL, &be), 0);
	if (!be)
		abort();
	return be;
}

static void check_nothing_live(void)
{
	CHECK(fake.lists == 0);
	CHECK(fake.contexts == 0);
	CHECK(fake.pds == 0);
	CHECK(fake.mrs == 0);
}

/* ------------------------------------------------------------------- open */

static void no_device_is_ENODEV_and_names_the_place(void)
{
	struct backend *be = NULL;

	fake_verbs_reset();
	CHECK_RC(open_backend(NULL, NULL, &be), -ENODEV);
	CHECK_MSG("/sys/class/infiniband");
	CHECK_RC(open_backend("rxe0", NULL, &be), -ENODEV);
	CHECK_MSG("/sys/class/infiniband");
	CHECK(!be);
	check_nothing_live();
}

static void kernel_without_verbs_is_ENODEV(void)
{
	struct backend *be = NULL;

	fake_verbs_reset();
	fake.list_err = ENOSYS;
	CHECK_RC(open_backend(NULL, NULL, &be), -ENODEV);
	CHECK_MSG("/sys/class/infiniband");
}

static void list_that_fails_otherwise_keeps_its_errno(void)
{
	struct backend *be = NULL;

	fake_verbs_reset();
	fake.list_err = EPERM;
	CHECK_RC(open_backend(NULL, NULL, &be), -EPERM);
	CHECK_MSG("cannot list");
	fake.list_err = -1; /* NULL without an errno */
	CHECK_RC(open_backend(NULL, NULL, &be), -EIO);
}

/* /sys/class with one entry, or without, in a mount namespace of this child's own */
static int see_sysfs_device(void *arg)
{
	struct backend *be;
	int rc;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/sys/class", "tmpfs", 0, NULL))
		return 77;
	if (mkdir("/sys/class/infiniband", 0755) ||
	    (arg && mkdir("/sys/class/infiniband/mlx5_7", 0755)))
		return 78;
	rc = open_backend(NULL, NULL, &be);
	if (rc != -ENODEV)
		return 1;
	if (arg)
		return !strstr(pinmem_errmsg(), "no driver for mlx5_7") ||
		       !strstr(pinmem_errmsg(), "ibverbs-providers");
	return !strstr(pinmem_errmsg(), "is empty");
}

static void device_without_userspace_driver_is_named(void)
{
	char device[] = "mlx5_7";
	int rc;

	fake_verbs_reset();
	rc = in_child(see_sysfs_device, device);
	if (rc == 77) {
		suite_skip("needs a mount namespace (root)");
		return;
	}
	CHECK(rc == 0);
	CHECK(in_child(see_sysfs_device, NULL) == 0);
}

static void named_device_is_taken_even_with_its_port_down(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	fake_add("rxe1")->state[1] = IBV_PORT_DOWN;
	be = open_or_die("rxe1");
	CHECK(!strcmp(be->caps.device, "rxe1"));
	CHECK(backend_verbs_pd(be)->context->device == &fake.devices[1].dev);
	CHECK(fake.lists == 0);
	backend_verbs.close(be, false);
	check_nothing_live();
}

static void unknown_name_lists_the_names_there_are(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	fake_add("mlx5_0");
	CHECK_RC(open_backend("rxe7", NULL, &be), -ENODEV);
	CHECK_MSG("no verbs device rxe7; there is rxe0, mlx5_0");
	check_nothing_live();
}

static void named_device_that_cannot_be_opened_says_why(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0")->open_err = EACCES;
	CHECK_RC(open_backend("rxe0", NULL, &be), -EACCES);
	CHECK_MSG("/dev/infiniband/uverbs0");
	CHECK_MSG("Permission denied");
	check_nothing_live();
}

static void auto_takes_the_first_device_with_an_active_port(void)
{
	struct backend *be;
	struct fake_device *two;

	fake_verbs_reset();
	fake_add("down0")->state[1] = IBV_PORT_DOWN;
	fake_add("locked0")->open_err = EACCES;
	fake_add("mute0")->query_err = EIO;
	two = fake_add("two0");
	two->ports = 2;
	two->state[1] = IBV_PORT_INIT;
	two->state[2] = IBV_PORT_ACTIVE_DEFER;
	fake_add("never0");
	be = open_or_die(NULL);
	CHECK(!strcmp(be->caps.device, "two0"));
	CHECK(fake.contexts == 1);
	backend_verbs.close(be, false);
	check_nothing_live();
}

static void no_active_port_is_ENODEV_with_every_device_told(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("down0")->state[1] = IBV_PORT_DOWN;
	fake_add("locked0")->open_err = EACCES;
	fake_add("portless0")->ports = 0;
	CHECK_RC(open_backend(NULL, NULL, &be), -ENODEV);
	CHECK_MSG("active port");
	CHECK_MSG("down0 has no active port");
	CHECK_MSG("locked0 cannot be opened: Permission denied");
	CHECK_MSG("portless0 has no active port");
	check_nothing_live();
}

static void many_long_names_are_cut_and_not_overrun(void)
{
	char name[IBV_SYSFS_NAME_MAX];
	struct backend *be;

	fake_verbs_reset();
	for (int i = 0; i < FAKE_DEVICES; i++) {
		memset(name, 'a' + i, sizeof(name) - 1);
		name[sizeof(name) - 1] = 0;
		fake_add(name)->state[1] = IBV_PORT_DOWN;
	}
	CHECK_RC(open_backend("none", NULL, &be), -ENODEV);
	CHECK_MSG("aaaa");
	CHECK_RC(open_backend(NULL, NULL, &be), -ENODEV);
	CHECK(strlen(pinmem_errmsg()) < 768);
	check_nothing_live();
}

static void callers_domain_is_used_and_left_alone(void)
{
	struct ibv_context *ctx;
	struct backend *be = NULL;
	struct ibv_pd *pd;

	fake_verbs_reset();
	ctx = ibv_open_device(&fake_add("rxe0")->dev);
	pd = ibv_alloc_pd(ctx);
	CHECK_RC(open_backend(NULL, pd, &be), 0);
	CHECK(backend_verbs_pd(be) == pd);
	CHECK(!strcmp(be->caps.device, "rxe0"));
	backend_verbs.close(be, false);
	CHECK(fake.pds == 1 && fake.contexts == 1);
	CHECK_RC(open_backend("rxe0", pd, &be), -EINVAL);
	CHECK_MSG("contradict");
	ibv_dealloc_pd(pd);
	ibv_close_device(ctx);
	check_nothing_live();
}

static void domain_that_cannot_be_had_closes_the_device(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	fake_fail("alloc_pd", 1, ENOSPC);
	CHECK_RC(open_backend(NULL, NULL, &be), -ENOSPC);
	CHECK_MSG("protection domain");
	check_nothing_live();
}

static void device_that_answers_no_query_is_given_back(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0")->query_err = EIO;
	CHECK_RC(open_backend("rxe0", NULL, &be), -EIO);
	CHECK_MSG("rxe0 does not say");
	check_nothing_live();
}

static void domain_still_in_use_keeps_its_device_open(void)
{
	struct backend *be;
	struct ibv_pd *pd;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	pd = backend_verbs_pd(be);
	fake_fail("dealloc_pd", 1, EBUSY);
	backend_verbs.close(be, false);
	CHECK(fake.pds == 1 && fake.contexts == 1);
	CHECK(fcntl(pd->context->cmd_fd, F_GETFD) >= 0);
	ibv_close_device(pd->context);
	ibv_dealloc_pd(pd);
	check_nothing_live();
}

static void every_failing_call_of_open_is_undone(void)
{
	fake_verbs_reset();
	fake_add("rxe0");
	FAULT_WALK (n) {
		struct backend *be = NULL;
		int rc = open_backend(NULL, NULL, &be);

		fault_disarm();
		if (!rc)
			backend_verbs.close(be, false);
		else
			CHECK(fault_fired() && *pinmem_errmsg());
		check_nothing_live();
	}
}

/* ------------------------------------------------------------------- caps */

static void longest_segment_is_a_multiple_of_huge_pages(void)
{
	static const struct {
		uint64_t claimed, want;
	} cases[] = {
		{ 0, 512 * GIB },
		{ UINT64_MAX, 512 * GIB },
		{ 512 * GIB, 512 * GIB },
		{ 513 * GIB, 512 * GIB },
		{ 7 * GIB + 5, 7 * GIB },
		{ GIB, GIB },
		{ GIB - 1, GIB - 2 * MIB },
		{ 2 * MIB, 2 * MIB },
		{ 2 * MIB - 1, 2 * MIB - 4096 },
		{ 4096, 4096 },
		{ 17, 512 * GIB },
	};

	fake_verbs_reset();
	fake_add("rxe0");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct backend *be;

		fake.devices[0].attr.orig_attr.max_mr_size = cases[i].claimed;
		be = open_or_die(NULL);
		CHECK(be->caps.max_segment == cases[i].want);
		backend_verbs.close(be, false);
	}
}

/* It says UINT64_MAX, and then takes the length of an ODP region for an int. */
static void rxe_gets_segments_of_a_gigabyte(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("soft0")->attr.orig_attr.vendor_id = 0xffffff;
	be = open_or_die(NULL);
	CHECK(be->caps.max_segment == GIB);
	backend_verbs.close(be, false);
	fake.devices[0].attr.orig_attr.max_mr_size = 64 * MIB;
	be = open_or_die(NULL);
	CHECK(be->caps.max_segment == 64 * MIB);
	backend_verbs.close(be, false);
}

static void odp_needs_the_device_and_the_rc_transport(void)
{
	struct backend *be;
	struct fake_device *d;

	fake_verbs_reset();
	d = fake_add("rxe0");
	be = open_or_die(NULL);
	CHECK(be->caps.odp);
	backend_verbs.close(be, false);
	d->attr.odp_caps.per_transport_caps.rc_odp_caps = 0;
	be = open_or_die(NULL);
	CHECK(!be->caps.odp);
	backend_verbs.close(be, false);
	d->attr.odp_caps.per_transport_caps.rc_odp_caps = IBV_ODP_SUPPORT_READ;
	d->attr.odp_caps.general_caps = IBV_ODP_SUPPORT_IMPLICIT;
	be = open_or_die(NULL);
	CHECK(!be->caps.odp);
	backend_verbs.close(be, false);
}

static void atomics_are_offered_only_where_the_device_has_them(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	CHECK(be->caps.access & PINMEM_ACCESS_REMOTE_ATOMIC);
	CHECK(be->caps.access & PINMEM_ACCESS_RELAXED_ORDERING);
	backend_verbs.close(be, false);
	fake.devices[0].attr.orig_attr.atomic_cap = IBV_ATOMIC_NONE;
	be = open_or_die(NULL);
	CHECK(!(be->caps.access & PINMEM_ACCESS_REMOTE_ATOMIC));
	CHECK(be->caps.access & PINMEM_ACCESS_REMOTE_WRITE);
	backend_verbs.close(be, false);
}

static void rules_of_verbs_are_told(void)
{
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	CHECK(be->ops == &backend_verbs && be->ops->id == PINMEM_BACKEND_VERBS);
	CHECK(be->caps.pins && be->caps.iova && !be->caps.always_writes);
	CHECK(be->caps.unpin == UNPIN_DIRTIES_WRITABLE);
	CHECK(be->caps.counter == PINMEM_COUNT_VMPIN && !be->caps.charges_compound);
	CHECK(be->caps.limit_bypassed == memlock_bypass());
	backend_verbs.close(be, false);
}

static int node_of_file(const char *text)
{
	struct fake_device *d = &fake.devices[0];
	char file[sizeof(d->dev.ibdev_path) + 32];
	struct backend *be;
	FILE *f;
	int node;

	snprintf(file, sizeof(file), "%s/device/numa_node", d->dev.ibdev_path);
	f = fopen(file, "w");
	if (!f)
		return -2;
	fputs(text, f);
	fclose(f);
	be = open_or_die(NULL);
	node = be->caps.node;
	backend_verbs.close(be, false);
	unlink(file);
	return node;
}

static void node_is_read_from_sysfs(void)
{
	const char *tmp = getenv("TMPDIR");
	struct fake_device *d;
	struct backend *be;
	char sub[300];

	fake_verbs_reset();
	d = fake_add("mlx5_0");
	be = open_or_die(NULL);
	CHECK(be->caps.node == -1); /* no such file: a virtual device */
	backend_verbs.close(be, false);

	snprintf(d->dev.ibdev_path, sizeof(d->dev.ibdev_path), "%s/pinmem-XXXXXX",
		 tmp ? tmp : "/tmp");
	CHECK(mkdtemp(d->dev.ibdev_path) != NULL);
	snprintf(sub, sizeof(sub), "%s/device", d->dev.ibdev_path);
	CHECK(mkdir(sub, 0700) == 0);
	CHECK(node_of_file("1\n") == 1);
	CHECK(node_of_file("0\n") == 0);
	CHECK(node_of_file("-1\n") == -1);
	CHECK(node_of_file("-7\n") == -1);
	CHECK(node_of_file("") == -1);
	rmdir(sub);
	rmdir(d->dev.ibdev_path);
}

/* -------------------------------------------------------------------- pin */

static char memory[8192] __attribute__((aligned(4096)));

static struct segment segment_of_memory(void)
{
	return (struct segment){ .addr = memory,
				 .len = sizeof(memory),
				 .iova = (uintptr_t)memory,
				 .slot = -1 };
}

static void pin_passes_range_and_returns_keys(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	CHECK_RC(backend_verbs.pin(be, &seg, WRITES), 0);
	CHECK(fake.reg.addr == memory && fake.reg.len == sizeof(memory));
	CHECK(fake.reg.iova == (uintptr_t)memory);
	CHECK(fake.reg.access == (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
	CHECK(seg.ibv_mr && seg.lkey == seg.ibv_mr->lkey &&
	      seg.rkey == seg.ibv_mr->rkey);
	CHECK(seg.lkey != seg.rkey);
	CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_CLEAN), 0);
	CHECK(!seg.ibv_mr && !seg.lkey && !seg.rkey);
	backend_verbs.close(be, false);
	check_nothing_live();
}

static void odp_is_the_same_with_one_flag_more(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	CHECK_RC(backend_verbs.pin_odp(be, &seg, PINMEM_ACCESS_REMOTE_READ), 0);
	CHECK(fake.reg.access == (IBV_ACCESS_ON_DEMAND | IBV_ACCESS_REMOTE_READ));
	CHECK(fake.reg.iova == (uintptr_t)fake.reg.addr);
	CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_CLEAN), 0);
	backend_verbs.close(be, false);
	check_nothing_live();
}

static void iova_may_differ_from_the_address(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	seg.iova = 0x700000000000;
	CHECK_RC(backend_verbs.pin(be, &seg, 0), 0);
	CHECK(fake.reg.iova == 0x700000000000 && fake.reg.addr == memory);
	CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_CLEAN), 0);
	backend_verbs.close(be, false);
}

static void access_flags_map_one_to_one(void)
{
	static const unsigned int map[][2] = {
		{ 0, 0 },
		{ PINMEM_ACCESS_LOCAL_WRITE, IBV_ACCESS_LOCAL_WRITE },
		{ PINMEM_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_WRITE },
		{ PINMEM_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_READ },
		{ PINMEM_ACCESS_REMOTE_ATOMIC, IBV_ACCESS_REMOTE_ATOMIC },
		{ PINMEM_ACCESS_RELAXED_ORDERING, IBV_ACCESS_RELAXED_ORDERING },
	};
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
		struct segment seg = segment_of_memory();

		CHECK_RC(backend_verbs.pin(be, &seg, map[i][0]), 0);
		CHECK(fake.reg.access == map[i][1]);
		CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_DIRTY), 0);
	}
	backend_verbs.close(be, false);
}

static void each_refusal_of_a_pin_has_errno_and_cause(void)
{
	static const struct {
		bool odp;
		unsigned int access;
		int err, want;
		const char *text;
	} cases[] = {
		{ false, WRITES, EOPNOTSUPP, EOPNOTSUPP, "DAX file system" },
		{ true, WRITES, EOPNOTSUPP, EOPNOTSUPP, "explicit ODP" },
		{ false, WRITES, EFAULT, EFAULT, "truncated" },
		{ false, WRITES, ENOMEM, ENOMEM, "takes 4096 regions and 0 are" },
		{ true, WRITES, ENOMEM, ENOMEM, "8 KiB (8192 B)" },
		{ false, PINMEM_ACCESS_REMOTE_WRITE, EINVAL, EINVAL, "LOCAL_WRITE" },
		{ false, WRITES, EINVAL, EINVAL, "rxe0 cannot register 8192 B" },
		{ false, WRITES, EINTR, EINTR, "signal" },
		{ false, WRITES, EIO, EIO, "removed" },
		{ false, WRITES, ENODEV, ENODEV, "removed" },
		{ false, WRITES, ENOSPC, ENOSPC, "No space left" },
		{ false, WRITES, -1, EIO, "rxe0" }, /* NULL without an errno */
	};
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct segment seg = segment_of_memory();

		fake_fail("reg_mr", 1, cases[i].err);
		CHECK_RC(cases[i].odp ? backend_verbs.pin_odp(be, &seg, cases[i].access)
				      : backend_verbs.pin(be, &seg, cases[i].access),
			 -cases[i].want);
		CHECK_MSG(cases[i].text);
		CHECK(!seg.ibv_mr && !seg.lkey);
	}
	backend_verbs.close(be, false);
	check_nothing_live();
}

static void enomem_counts_regions_and_thinks_of_fork_init(void)
{
	struct segment a = segment_of_memory(), b = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0")->attr.orig_attr.max_mr = 1;
	fake.fork_status = IBV_FORK_ENABLED;
	be = open_or_die(NULL);
	CHECK_RC(backend_verbs.pin(be, &a, WRITES), 0);
	fake_fail("reg_mr", 1, ENOMEM);
	CHECK_RC(backend_verbs.pin(be, &b, WRITES), -ENOMEM);
	CHECK_MSG("takes 1 regions and 1 are");
	CHECK_MSG("max_map_count");
	CHECK_RC(backend_verbs.unpin(be, &a, PINMEM_CLEAN), 0);
	fake_fail("reg_mr", 1, ENOMEM);
	CHECK_RC(backend_verbs.pin(be, &b, WRITES), -ENOMEM);
	CHECK_MSG("and 0 are");
	backend_verbs.close(be, false);
}

static void failed_unpin_leaves_the_region_and_can_be_repeated(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;
	uint32_t lkey;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	CHECK_RC(backend_verbs.pin(be, &seg, WRITES), 0);
	lkey = seg.lkey;
	fake_fail("dereg_mr", 1, EBUSY);
	CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_DIRTY), -EBUSY);
	CHECK_MSG("memory windows");
	fake_fail("dereg_mr", 1, EIO);
	CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_DIRTY), -EIO);
	CHECK_MSG("Input/output error");
	CHECK(seg.ibv_mr && seg.lkey == lkey && fake.mrs == 1);
	CHECK_RC(backend_verbs.unpin(be, &seg, PINMEM_DIRTY), 0);
	backend_verbs.close(be, false);
	check_nothing_live();
}

/* --------------------------------------------------------------- prefetch */

static void prefetch_is_cut_and_addressed_by_iova(void)
{
	struct segment seg = { .addr = memory, .len = 5 * GIB, .iova = 1ull << 40 };
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	seg.lkey = 77;
	CHECK_RC(backend_verbs.prefetch(be, &seg, 3, 2 * GIB + 9, false), 0);
	CHECK(fake.advised == 3);
	CHECK(fake.advice == IBV_ADVISE_MR_ADVICE_PREFETCH);
	CHECK(fake.advise_flags == IBV_ADVISE_MR_FLAG_FLUSH);
	CHECK(fake.sges[0].addr == (1ull << 40) + 3 && fake.sges[0].length == GIB);
	CHECK(fake.sges[2].addr == (1ull << 40) + 3 + 2 * GIB);
	CHECK(fake.sges[2].length == 9 && fake.sges[2].lkey == 77);
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, true), 0);
	CHECK(fake.advised == 4);
	CHECK(fake.advice == IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE);
	backend_verbs.close(be, false);
}

static void prefetch_errors_are_told_apart(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0");
	be = open_or_die(NULL);
	fake.advise_err = ENOSYS;
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, true), -EOPNOTSUPP);
	fake.advise_err = EOPNOTSUPP;
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, true), -EOPNOTSUPP);
	fake.advise_err = EFAULT;
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, true), -EFAULT);
	CHECK_MSG("not mapped");
	fake.advise_err = EPERM;
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, true), -EPERM);
	CHECK_MSG("rxe0 does not prefetch");
	backend_verbs.close(be, false);
}

static void provider_without_advice_is_EOPNOTSUPP(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0")->no_advise = true;
	be = open_or_die(NULL);
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, false), -EOPNOTSUPP);
	CHECK_MSG("rxe0");
	backend_verbs.close(be, false);
}

/* Its provider has no advice, the kernel behind it has. */
static void rxe_is_asked_behind_its_provider(void)
{
	struct segment seg = segment_of_memory();
	struct backend *be;

	fake_verbs_reset();
	fake_add("rxe0")->no_advise = true;
	fake.devices[0].attr.orig_attr.vendor_id = 0xffffff;
	be = open_or_die(NULL);
	CHECK(be->caps.odp_whole_pages);
	/* the fake's descriptor knows no such call: as a kernel that lacks it */
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, false), -EOPNOTSUPP);
	fault_only("ioctl", EFAULT);
	fault_arm(1);
	CHECK_RC(backend_verbs.prefetch(be, &seg, 0, 1, true), -EFAULT);
	CHECK(fault_fired());
	fault_disarm();
	backend_verbs.close(be, false);
}

/* ------------------------------------------------------------------- fork */

struct forked {
	struct backend *own, *borrowed;
	int fds[2], callers_fd;
};

static int close_both_in_child(void *arg)
{
	struct forked *f = arg;
	int pds = fake.pds, contexts = fake.contexts, mrs = fake.mrs;

	backend_verbs.close(f->own, true);
	backend_verbs.close(f->borrowed, true);
	/* no verb was used, and the descriptors that were ours are closed */
	return fake.pds != pds || fake.contexts != contexts || fake.mrs != mrs ||
	       fcntl(f->fds[0], F_GETFD) >= 0 || fcntl(f->fds[1], F_GETFD) >= 0 ||
	       fcntl(f->callers_fd, F_GETFD) < 0;
}

static void close_in_a_child_uses_no_verb(void)
{
	struct segment seg = segment_of_memory();
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct forked f;

	fake_verbs_reset();
	ctx = ibv_open_device(&fake_add("rxe0")->dev);
	pd = ibv_alloc_pd(ctx);
	f.own = open_or_die(NULL);
	CHECK_RC(open_backend(NULL, pd, &f.borrowed), 0);
	f.fds[0] = backend_verbs_pd(f.own)->context->cmd_fd;
	f.fds[1] = backend_verbs_pd(f.own)->context->async_fd;
	f.callers_fd = ctx->cmd_fd;
	CHECK_RC(backend_verbs.pin(f.own, &seg, WRITES), 0);
	CHECK(in_child(close_both_in_child, &f) == 0);
	CHECK(fcntl(f.fds[0], F_GETFD) >= 0);
	CHECK_RC(backend_verbs.unpin(f.own, &seg, PINMEM_CLEAN), 0);
	backend_verbs.close(f.own, false);
	backend_verbs.close(f.borrowed, false);
	ibv_dealloc_pd(pd);
	ibv_close_device(ctx);
	check_nothing_live();
}

/* ---------------------------------------------------- through the public API */

static struct pinmem *open_pinner(const char *name)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = PINMEM_BACKEND_VERBS,
				       .device = name };
	struct pinmem *pm = NULL;

	CHECK_RC(pinmem_open(&opts, &pm), 0);
	if (!pm)
		abort();
	return pm;
}

static char *map_anon(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void auto_prefers_an_active_verbs_device(void)
{
	struct pinmem_info info = { .size = sizeof(info) };
	struct pinmem *pm = NULL;

	fake_verbs_reset();
	fake_add("rxe0");
	CHECK_RC(pinmem_open(NULL, &pm), 0);
	CHECK_RC(pinmem_query(pm, &info), 0);
	CHECK(info.backend == PINMEM_BACKEND_VERBS && info.odp == 1);
	CHECK(!strcmp(info.device, "rxe0"));
	CHECK(pinmem_pd(pm) != NULL);
	CHECK(pinmem_uring(pm) == NULL);
	CHECK_RC(pinmem_close(pm), 0);
	check_nothing_live();
}

static void long_region_becomes_segments_with_the_users_addresses(void)
{
	struct pinmem_segment seg = { .size = sizeof(seg) };
	size_t len = 5 * MIB + 123;
	struct pinmem_mr *mr;
	enum pinmem_unpin got;
	struct pinmem *pm;
	char *p;

	fake_verbs_reset();
	fake_add("rxe0")->attr.orig_attr.max_mr_size = 2 * MIB;
	pm = open_pinner("rxe0");
	p = map_anon(6 * MIB);
	CHECK_RC(pinmem_reg(pm, p + 7, len, WRITES, NULL, &mr), 0);
	CHECK(fake.mrs == 3);
	CHECK_RC(pinmem_mr_segment(mr, 4 * MIB, &seg), 0);
	CHECK(seg.offset == 4 * MIB && seg.len == MIB + 123);
	CHECK(seg.iova == (uintptr_t)p + 7 + 4 * MIB && seg.buf_index == -1);
	CHECK(seg.ibv_mr && seg.lkey && seg.rkey);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, &got), 0);
	CHECK(got == PINMEM_DIRTY); /* verbs dirties what is writable */
	CHECK_RC(pinmem_reg(pm, p, 4096, PINMEM_ACCESS_REMOTE_READ, NULL, &mr), 0);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, &got), 0);
	CHECK(got == PINMEM_CLEAN);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 6 * MIB);
	check_nothing_live();
}

static void segment_that_fails_undoes_those_before(void)
{
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm;
	char *p;

	fake_verbs_reset();
	fake_add("rxe0")->attr.orig_attr.max_mr_size = 2 * MIB;
	pm = open_pinner("rxe0");
	p = map_anon(6 * MIB);
	for (int n = 1; n <= 3; n++) {
		fake_fail("reg_mr", n, ENOMEM);
		CHECK_RC(pinmem_reg(pm, p, 6 * MIB, WRITES, NULL, &mr), -ENOMEM);
		CHECK_MSG("rxe0 has no room");
		CHECK(!mr && fake.mrs == 0);
	}
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 6 * MIB);
	check_nothing_live();
}

static void staged_region_is_registered_at_the_users_address(void)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts),
					   .mode = PINMEM_STAGED };
	struct pinmem_segment seg = { .size = sizeof(seg) };
	struct pinmem_mr *mr;
	struct pinmem *pm;
	char *p;

	fake_verbs_reset();
	fake_add("rxe0");
	pm = open_pinner("rxe0");
	p = map_anon(3 * MIB);
	memset(p, 0x5a, 3 * MIB);
	CHECK_RC(pinmem_reg(pm, p + 1001, 2 * MIB, WRITES, &opts, &mr), 0);
	CHECK(fake.reg.iova == (uintptr_t)p + 1001);
	CHECK(fake.reg.addr != p + 1001);
	CHECK(*(char *)fake.reg.addr == 0x5a);
	CHECK_RC(pinmem_mr_segment(mr, 0, &seg), 0);
	CHECK(seg.iova == (uintptr_t)p + 1001 && seg.addr == fake.reg.addr);
	CHECK_RC(pinmem_dereg(mr, PINMEM_CLEAN, NULL), 0);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 3 * MIB);
	check_nothing_live();
}

static void odp_is_refused_where_the_device_has_none(void)
{
	struct pinmem_reg_options opts = { .size = sizeof(opts), .mode = PINMEM_ODP };
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm;
	char *p = map_anon(4096);

	fake_verbs_reset();
	fake_add("rxe0")->attr.odp_caps.general_caps = 0;
	pm = open_pinner("rxe0");
	CHECK_RC(pinmem_reg(pm, p, 4096, WRITES, &opts, &mr), -EOPNOTSUPP);
	CHECK(!mr && fake.mrs == 0);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 4096);
}

static void atomic_access_is_refused_where_the_device_has_none(void)
{
	struct pinmem_mr *mr = NULL;
	struct pinmem *pm;
	char *p = map_anon(4096);

	fake_verbs_reset();
	fake_add("rxe0")->attr.orig_attr.atomic_cap = IBV_ATOMIC_NONE;
	pm = open_pinner("rxe0");
	CHECK_RC(pinmem_reg(pm, p, 4096, WRITES | PINMEM_ACCESS_REMOTE_ATOMIC, NULL,
			    &mr),
		 -EOPNOTSUPP);
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 4096);
}

struct worker {
	struct pinmem *pm;
	char *at;
};

static void *register_often(void *arg)
{
	struct worker *w = arg;
	intptr_t failures = 0;

	for (int i = 0; i < 200; i++) {
		struct pinmem_mr *mr;

		if (pinmem_reg(w->pm, w->at, 8192, WRITES, NULL, &mr) ||
		    pinmem_dereg(mr, PINMEM_CLEAN, NULL))
			failures++;
	}
	return (void *)failures;
}

static void threads_share_a_pinner(void)
{
	pthread_t threads[4];
	struct worker w[4];
	char *p = map_anon(4 * 8192);
	struct pinmem *pm;
	void *failures;

	fake_verbs_reset();
	fake_add("rxe0");
	pm = open_pinner(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		w[i] = (struct worker){ pm, p + i * 8192 };
		CHECK(!pthread_create(&threads[i], NULL, register_often, &w[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], &failures);
		CHECK(!failures);
	}
	CHECK_RC(pinmem_close(pm), 0);
	munmap(p, 4 * 8192);
	check_nothing_live();
}

#define TEST(f)                     \
	{                           \
		.name = #f, .fn = f \
	}

static const struct test tests[] = {
	TEST(no_device_is_ENODEV_and_names_the_place),
	TEST(kernel_without_verbs_is_ENODEV),
	TEST(list_that_fails_otherwise_keeps_its_errno),
	TEST(device_without_userspace_driver_is_named),
	TEST(named_device_is_taken_even_with_its_port_down),
	TEST(unknown_name_lists_the_names_there_are),
	TEST(named_device_that_cannot_be_opened_says_why),
	TEST(auto_takes_the_first_device_with_an_active_port),
	TEST(no_active_port_is_ENODEV_with_every_device_told),
	TEST(many_long_names_are_cut_and_not_overrun),
	TEST(callers_domain_is_used_and_left_alone),
	TEST(domain_that_cannot_be_had_closes_the_device),
	TEST(device_that_answers_no_query_is_given_back),
	TEST(domain_still_in_use_keeps_its_device_open),
	TEST(every_failing_call_of_open_is_undone),
	TEST(longest_segment_is_a_multiple_of_huge_pages),
	TEST(rxe_gets_segments_of_a_gigabyte),
	TEST(odp_needs_the_device_and_the_rc_transport),
	TEST(atomics_are_offered_only_where_the_device_has_them),
	TEST(rules_of_verbs_are_told),
	TEST(node_is_read_from_sysfs),
	TEST(pin_passes_range_and_returns_keys),
	TEST(odp_is_the_same_with_one_flag_more),
	TEST(iova_may_differ_from_the_address),
	TEST(access_flags_map_one_to_one),
	TEST(each_refusal_of_a_pin_has_errno_and_cause),
	TEST(enomem_counts_regions_and_thinks_of_fork_init),
	TEST(failed_unpin_leaves_the_region_and_can_be_repeated),
	TEST(prefetch_is_cut_and_addressed_by_iova),
	TEST(prefetch_errors_are_told_apart),
	TEST(provider_without_advice_is_EOPNOTSUPP),
	TEST(rxe_is_asked_behind_its_provider),
	TEST(close_in_a_child_uses_no_verb),
	TEST(auto_prefers_an_active_verbs_device),
	TEST(long_region_becomes_segments_with_the_users_addresses),
	TEST(segment_that_fails_undoes_those_before),
	TEST(staged_region_is_registered_at_the_users_address),
	TEST(odp_is_refused_where_the_device_has_none),
	TEST(atomic_access_is_refused_where_the_device_has_none),
	TEST(threads_share_a_pinner),
};

SUITE("verbs", tests)
