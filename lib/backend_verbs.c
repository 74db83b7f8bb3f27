/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backend_verbs.c - pins by RDMA memory regions, plain and explicit ODP, in the
 * caller's protection domain or in one of a device that is opened here.
 *
 * ibv_fork_init() is not called, and nothing depends on it: since Linux 5.12 fork
 * copies pinned pages for the child, so the parent's stay under the device.
 */
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <inttypes.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*
 * Longest single region, whatever a device claims (rxe and mlx5: UINT64_MAX). The
 * kernel keeps 8 bytes for each page of an ODP region in one allocation, which must
 * stay below 2 GiB: 1 TiB is ENOMEM (ib_init_umem_odp(), tried on 7.2). A pin ends at
 * 2^32 pages (ib_umem_get()).
 */
#define SEGMENT_MAX (512ull << 30)

/* rxe takes the length of an ODP region for an int: EINVAL for 2 GiB, and others
 * wrap (rxe_odp_do_pagefault_and_lock(), tried on 7.2). */
#define RXE_VENDOR_ID 0xffffff /* RXE_VENDOR_ID in rxe_param.h: how it is known */
#define RXE_SEGMENT_MAX (1ull << 30)

/* struct ibv_sge.length has 32 bits. */
#define ADVISE_MAX (1ull << 30)

struct verbs {
	struct backend be;
	struct ibv_pd *pd;
	struct ibv_context *opened; /* NULL: the pd is the caller's */
	struct verbs *next;	    /* see abandon() */
	int max_mr;		    /* of the device, for sentences */
	bool rxe;		    /* has ways of its own */
	int live;		    /* atomic: regions of this pinner, likewise */
};

static struct verbs *to_verbs(struct backend *be)
{
	return container_of(be, struct verbs, be);
}

/* ------------------------------------------------------------------- open */

/* The directory of sysfs that lists the devices; the unit tests have other devices. */
const char *backend_verbs_class = "/sys/class/infiniband";

/* One device of a directory, "" if it is empty or not there. */
static const char *first_device(const char *path, char name[256])
{
	struct dirent *entry = NULL;
	DIR *dir = opendir(path);

	while (dir && (entry = readdir(dir)) && entry->d_name[0] == '.')
		;
	snprintf(name, 256, "%s", entry ? entry->d_name : "");
	if (dir)
		closedir(dir);
	return name;
}

/* No list: is there no device, or no driver for it in userspace? */
static int no_device(void)
{
	char name[256];

	if (!*first_device("/sys/class/infiniband", name))
		return fail(ENODEV, "no verbs device: /sys/class/infiniband is empty");
	return fail(ENODEV,
		    "libibverbs has no driver for %s of /sys/class/infiniband: is the "
		    "package ibverbs-providers installed, and the module ib_uverbs "
		    "loaded?",
		    name);
}

static bool port_active(struct ibv_context *ctx)
{
	struct ibv_device_attr attr;
	struct ibv_port_attr port;

	if (ibv_query_device(ctx, &attr))
		return false;
	for (unsigned int i = 1; i <= attr.phys_port_cnt; i++)
		if (!ibv_query_port(ctx, (uint8_t)i, &port) &&
		    (port.state == IBV_PORT_ACTIVE ||
		     port.state == IBV_PORT_ACTIVE_DEFER))
			return true;
	return false;
}

/* Sentences about several devices are put together here; cut when too long. */
struct text {
	char buf[400];
	size_t len;
};

static void text_add(struct text *t, const char *name, const char *what,
		     const char *why)
{
	int n = snprintf(t->buf + t->len, sizeof(t->buf) - t->len, "%s%s%s%s",
			 t->len ? ", " : "", name, what, why);

	t->len += (size_t)n;
	if (t->len >= sizeof(t->buf))
		t->len = sizeof(t->buf) - 1;
}

static int open_named(struct ibv_device **list, const char *name,
		      struct ibv_context **ctx)
{
	struct text names = { .len = 0 };
	int err;

	errno = 0; /* not every provider sets it */
	for (int i = 0; list[i]; i++) {
		const char *found = ibv_get_device_name(list[i]);

		if (strcmp(found, name)) {
			text_add(&names, found, "", "");
			continue;
		}
		*ctx = ibv_open_device(list[i]);
		if (*ctx)
			return 0;
		err = errno ? errno : EIO;
		return fail(
			err,
			"the verbs device %s cannot be opened (/dev/infiniband/%s): %s",
			name, list[i]->dev_name, strerror(err));
	}
	return fail(ENODEV, "there is no verbs device %s; there is %s", name,
		    names.buf);
}

static int open_first_active(struct ibv_device **list, struct ibv_context **ctx)
{
	struct text why = { .len = 0 };

	for (int i = 0; list[i]; i++) {
		const char *name = ibv_get_device_name(list[i]);

		*ctx = ibv_open_device(list[i]);
		if (!*ctx) {
			text_add(&why, name, " cannot be opened: ", strerror(errno));
		} else if (port_active(*ctx)) {
			return 0;
		} else {
			text_add(&why, name, " has no active port", "");
			ibv_close_device(*ctx);
		}
	}
	return fail(ENODEV, "no verbs device with an active port: %s", why.buf);
}

static int open_device(const char *name, struct ibv_context **ctx)
{
	struct ibv_device **list;
	char seen[256];
	int err, rc;

	/* asked before libibverbs is: a program without any verbs device shall not get
	 * its warnings about RLIMIT_MEMLOCK on stderr */
	if (!*first_device(backend_verbs_class, seen))
		return no_device();
	errno = 0;
	list = ibv_get_device_list(NULL);
	err = errno ? errno : EIO;
	if (!list && err == ENOSYS) /* the kernel has no verbs at all */
		return no_device();
	if (!list)
		return fail(err, "libibverbs cannot list its devices: %s",
			    strerror(err));
	if (!list[0])
		rc = no_device();
	else if (name)
		rc = open_named(list, name, ctx);
	else
		rc = open_first_active(list, ctx);
	ibv_free_device_list(list); /* an open device holds its own reference */
	return rc;
}

static size_t segment_limit(const struct ibv_device_attr *attr, bool rxe)
{
	static const uint64_t units[] = { 1ull << 30, 2ull << 20, 1ull << 12 };
	uint64_t max = rxe ? RXE_SEGMENT_MAX : SEGMENT_MAX;

	if (attr->max_mr_size < max)
		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (attr->max_mr_size >= units[i])
				return attr->max_mr_size - attr->max_mr_size % units[i];
	return max; /* also for 0: the device says nothing */
}

static int device_node(const struct ibv_device *dev)
{
	char path[sizeof(dev->ibdev_path) + 32];
	int node = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/device/numa_node", dev->ibdev_path);
	f = fopen(path, "re");
	if (!f)
		return -1; /* a virtual device, as rxe, has none */
	if (fscanf(f, "%d", &node) != 1 || node < 0)
		node = -1;
	fclose(f);
	return node;
}

static int learn_caps(struct verbs *v)
{
	struct ibv_device *dev = v->pd->context->device;
	struct backend_caps *caps = &v->be.caps;
	struct ibv_device_attr_ex attr;
	int err = ibv_query_device_ex(v->pd->context, NULL, &attr);

	if (err)
		return fail(err, "the verbs device %s does not say what it can do: %s",
			    ibv_get_device_name(dev), strerror(abs(err)));
	v->rxe = attr.orig_attr.vendor_id == RXE_VENDOR_ID;
	*caps = (struct backend_caps){
		.max_segment = segment_limit(&attr.orig_attr, v->rxe),
		.pins = true,
		.odp = attr.odp_caps.general_caps & IBV_ODP_SUPPORT &&
		       attr.odp_caps.per_transport_caps.rc_odp_caps,
		.odp_whole_pages = v->rxe, /* up to 7.3 at least */
		.iova = true,
		.unpin = UNPIN_DIRTIES_WRITABLE,
		.counter = PINMEM_COUNT_VMPIN,
		.limit_bypassed = memlock_bypass(),
		.access = PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE |
			  PINMEM_ACCESS_REMOTE_READ | PINMEM_ACCESS_RELAXED_ORDERING,
		.node = device_node(dev),
	};
	if (attr.orig_attr.atomic_cap != IBV_ATOMIC_NONE)
		caps->access |= PINMEM_ACCESS_REMOTE_ATOMIC;
	snprintf(caps->device, sizeof(caps->device), "%s", ibv_get_device_name(dev));
	v->max_mr = attr.orig_attr.max_mr;
	return 0;
}

static int open_own_pd(struct verbs *v, const char *name)
{
	int err, rc = open_device(name, &v->opened);

	if (rc)
		return rc;
	errno = 0;
	v->pd = ibv_alloc_pd(v->opened);
	if (v->pd)
		return 0;
	err = errno ? errno : ENOMEM;
	rc = fail(err, "the verbs device %s gives no protection domain: %s",
		  ibv_get_device_name(v->opened->device), strerror(err));
	ibv_close_device(v->opened);
	return rc;
}

static void close_own_pd(struct verbs *v)
{
	/*
	 * EBUSY: the caller has queue pairs or regions of his own in the domain
	 * that pinmem_pd() lent him. Closing the device would pull it from under
	 * them; so it stays, until the process ends.
	 */
	if (!ibv_dealloc_pd(v->pd))
		ibv_close_device(v->opened);
}

static int verbs_open(const struct pinmem_options *opts, struct backend **out)
{
	struct verbs *v;
	int rc = 0;

	if (opts->pd && opts->device)
		return fail(EINVAL,
			    "options pd and device contradict: a protection domain has "
			    "its device (%s)",
			    ibv_get_device_name(opts->pd->context->device));
	v = calloc(1, sizeof(*v));
	if (!v)
		return fail(ENOMEM, "no memory for a verbs pinner (%zu B)", sizeof(*v));
	v->be.ops = &backend_verbs;
	v->pd = opts->pd;
	if (!v->pd)
		rc = open_own_pd(v, opts->device);
	if (rc)
		goto free_verbs;
	rc = learn_caps(v);
	if (rc)
		goto close_pd;
	*out = &v->be;
	return 0;

close_pd:
	if (v->opened)
		close_own_pd(v);
free_verbs:
	free(v);
	return rc;
}

/*
 * In a forked child. Domain and context belong to libibverbs and its provider,
 * and giving them back means ioctls on a descriptor shared with the parent: they
 * would destroy the parent's objects. So the child's copy is kept, where leak
 * checkers see it, and only the descriptors are closed, for the parent's close to
 * be the last one.
 */
static void abandon(struct verbs *v)
{
	static struct verbs *abandoned; /* atomic */

	close(v->opened->cmd_fd);
	close(v->opened->async_fd);
	v->next = __atomic_load_n(&abandoned, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&abandoned, &v->next, v, true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

static void verbs_close(struct backend *be, bool forked)
{
	struct verbs *v = to_verbs(be);

	if (v->opened && forked) {
		abandon(v);
		return;
	}
	if (v->opened)
		close_own_pd(v);
	free(v);
}

struct ibv_pd *backend_verbs_pd(struct backend *be)
{
	return to_verbs(be)->pd;
}

/* -------------------------------------------------------------- pin, unpin */

static unsigned int verbs_access(unsigned int access)
{
	static const struct {
		unsigned int ours, verbs;
	} map[] = {
		{ PINMEM_ACCESS_LOCAL_WRITE, IBV_ACCESS_LOCAL_WRITE },
		{ PINMEM_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_WRITE },
		{ PINMEM_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_READ },
		{ PINMEM_ACCESS_REMOTE_ATOMIC, IBV_ACCESS_REMOTE_ATOMIC },
		{ PINMEM_ACCESS_RELAXED_ORDERING, IBV_ACCESS_RELAXED_ORDERING },
	};
	unsigned int flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (access & map[i].ours)
			flags |= map[i].verbs;
	return flags;
}

/* One errno, several limits. Whether it was RLIMIT_MEMLOCK, segments.c examines. */
static int no_memory(struct verbs *v, const struct segment *seg)
{
	bool dontfork = ibv_is_fork_initialized() == IBV_FORK_ENABLED;
	char bytes[BYTES_TEXT];

	return fail(ENOMEM,
		    "%s has no room to register %s: it takes %d regions and %d are "
		    "this pinner's, or the kernel is short of memory%s",
		    v->be.caps.device, format_bytes(bytes, seg->len), v->max_mr,
		    __atomic_load_n(&v->live, __ATOMIC_RELAXED),
		    dontfork ? ", or vm.max_map_count is reached (ibv_fork_init() "
			       "splits mappings)"
			     : "");
}

/* One errno for all that contradicts, too */
static int invalid(struct verbs *v, const struct segment *seg, unsigned int access)
{
	const unsigned int writes =
		PINMEM_ACCESS_REMOTE_WRITE | PINMEM_ACCESS_REMOTE_ATOMIC;

	if (access & writes && !(access & PINMEM_ACCESS_LOCAL_WRITE))
		return fail(
			EINVAL,
			"access 0x%x: REMOTE_WRITE and REMOTE_ATOMIC need LOCAL_WRITE",
			access);
	return fail(EINVAL,
		    "%s cannot register %zu B at %p as 0x%" PRIx64 " with access 0x%x",
		    v->be.caps.device, seg->len, seg->addr, seg->iova, access);
}

static int pin_failed(struct verbs *v, const struct segment *seg, unsigned int access,
		      bool odp, int err)
{
	const char *device = v->be.caps.device;

	switch (err) {
	case EOPNOTSUPP:
		if (odp)
			return fail(err,
				    "%s or its driver takes no explicit ODP region "
				    "(rxe: since Linux 6.15)",
				    device);
		return fail(err,
			    "%zu B at %p: the kernel pins no file of a DAX file system "
			    "for the long term",
			    seg->len, seg->addr);
	case EFAULT:
		return fail(err,
			    "%zu B at %p: a page is not there or not accessible; the "
			    "mapping was changed or its file truncated after it was "
			    "looked at",
			    seg->len, seg->addr);
	case ENOMEM:
		return no_memory(v, seg);
	case EINVAL:
		return invalid(v, seg, access);
	case EINTR:
		return fail(err,
			    "a signal interrupted the registration of %zu B at %p; "
			    "nothing is pinned",
			    seg->len, seg->addr);
	case EIO:
	case ENODEV:
		return fail(err, "%s was removed, or its driver unloaded (%s)", device,
			    strerror(err));
	default:
		return fail(err, "%s refuses to register %zu B at %p: %s", device,
			    seg->len, seg->addr, strerror(err));
	}
}

/*
 * Always the iova call, in all modes: it takes the optional access flags, which
 * libibverbs itself takes away where the kernel does not know them (before 5.8).
 */
static int register_mr(struct backend *be, struct segment *seg, unsigned int access,
		       bool odp)
{
	struct verbs *v = to_verbs(be);
	unsigned int flags = verbs_access(access);
	struct ibv_mr *mr;

	if (odp)
		flags |= IBV_ACCESS_ON_DEMAND;
	errno = 0;
	mr = ibv_reg_mr_iova2(v->pd, seg->addr, seg->len, seg->iova, flags);
	if (!mr)
		return pin_failed(v, seg, access, odp, errno ? errno : EIO);
	__atomic_add_fetch(&v->live, 1, __ATOMIC_RELAXED);
	seg->lkey = mr->lkey;
	seg->rkey = mr->rkey;
	seg->ibv_mr = mr;
	return 0;
}

static int verbs_pin(struct backend *be, struct segment *seg, unsigned int access)
{
	return register_mr(be, seg, access, false);
}

static int verbs_pin_odp(struct backend *be, struct segment *seg, unsigned int access)
{
	return register_mr(be, seg, access, true);
}

static int verbs_unpin(struct backend *be, struct segment *seg, enum pinmem_unpin how)
{
	struct verbs *v = to_verbs(be);
	int err;

	(void)how; /* ib_umem_release() gives no choice */
	err = ibv_dereg_mr(seg->ibv_mr);
	if (err == EBUSY)
		return fail(err,
			    "%s does not give back the region with lkey 0x%x: memory "
			    "windows are bound to it",
			    be->caps.device, seg->lkey);
	if (err)
		return fail(err, "%s does not give back the region with lkey 0x%x: %s",
			    be->caps.device, seg->lkey, strerror(abs(err)));
	__atomic_sub_fetch(&v->live, 1, __ATOMIC_RELAXED);
	seg->ibv_mr = NULL;
	seg->lkey = seg->rkey = 0;
	return 0;
}

/*
 * The rxe provider of rdma-core 44 has no advise_mr, but the kernel's rxe has (tried
 * on 7.2): ask the kernel itself. This is its stable interface
 * (rdma/ib_user_ioctl_cmds.h), as ibv_cmd_advise_mr() uses it. Return: an errno
 */
static int rxe_advise(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		      struct ibv_sge *sge)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attrs[4];
	} cmd = {
		.hdr = { .length = sizeof(cmd),
			 .object_id = UVERBS_OBJECT_MR,
			 .method_id = UVERBS_METHOD_ADVISE_MR,
			 .num_attrs = 4,
			 .driver_id = RDMA_DRIVER_RXE },
		.attrs = {
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_PD_HANDLE,
			  .flags = UVERBS_ATTR_F_MANDATORY,
			  .data = pd->handle },
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_ADVICE,
			  .len = sizeof(uint64_t),
			  .flags = UVERBS_ATTR_F_MANDATORY,
			  .data = advice },
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_FLAGS,
			  .len = sizeof(uint32_t),
			  .flags = UVERBS_ATTR_F_MANDATORY,
			  .data = IBV_ADVISE_MR_FLAG_FLUSH },
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_SGE_LIST,
			  .len = sizeof(*sge),
			  .flags = UVERBS_ATTR_F_MANDATORY,
			  .data = (uintptr_t)sge },
		},
	};

	if (!ioctl(pd->context->cmd_fd, RDMA_VERBS_IOCTL, &cmd))
		return 0;
	/* a kernel whose rxe has no such method, or no such ioctl */
	return errno == EFAULT || errno == ENOMEM || errno == EINTR ? errno
								    : EOPNOTSUPP;
}

static int advise(struct backend *be, enum ibv_advise_mr_advice advice,
		  struct ibv_sge *sge)
{
	struct verbs *v = to_verbs(be);
	int err = ibv_advise_mr(v->pd, advice, IBV_ADVISE_MR_FLAG_FLUSH, sge, 1);

	if (err == EOPNOTSUPP && v->rxe)
		err = rxe_advise(v->pd, advice, sge);
	return err;
}

static int verbs_prefetch(struct backend *be, const struct segment *seg,
			  uint64_t offset, uint64_t len, bool write)
{
	enum ibv_advise_mr_advice advice = write ? IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE
						 : IBV_ADVISE_MR_ADVICE_PREFETCH;
	int err = 0;

	while (len && !err) {
		uint64_t part = len < ADVISE_MAX ? len : ADVISE_MAX;
		struct ibv_sge sge = { .addr = seg->iova + offset,
				       .length = (uint32_t)part,
				       .lkey = seg->lkey };

		err = advise(be, advice, &sge);
		offset += part;
		len -= part;
	}
	switch (err) {
	case 0:
		return 0;
	case EOPNOTSUPP:
	case ENOSYS:
		return fail(EOPNOTSUPP,
			    "%s or its driver does not prefetch ODP regions",
			    be->caps.device);
	case EFAULT:
		return fail(err,
			    "prefetch at %p: a page is not mapped, or not so that the "
			    "region's access would be allowed",
			    seg->addr);
	default:
		return fail(err, "%s does not prefetch: %s", be->caps.device,
			    strerror(abs(err)));
	}
}

const struct backend_ops backend_verbs = {
	.id = PINMEM_BACKEND_VERBS,
	.open = verbs_open,
	.close = verbs_close,
	.pin = verbs_pin,
	.pin_odp = verbs_pin_odp,
	.unpin = verbs_unpin,
	.prefetch = verbs_prefetch,
};
