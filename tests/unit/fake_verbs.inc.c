/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_verbs.inc.c - a libibverbs without hardware, included by a test program.
 *
 * The library objects in the same executable call these functions instead of the
 * shared library's. Devices are described by the test; every object is counted, so
 * that a leak or a double release shows, and one call can be told to fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAKE_DEVICES 24

struct fake_device {
	struct ibv_device dev;
	int open_err;
	int query_err;
	unsigned int ports;
	enum ibv_port_state state[3]; /* of port 1, 2 */
	struct ibv_device_attr_ex attr;
	bool no_advise; /* a provider without advise_mr */
};

struct fake_verbs {
	struct fake_device devices[FAKE_DEVICES];
	int ndevices;
	int list_err;
	const char *fail_call; /* "alloc_pd", "dealloc_pd", "reg_mr", "dereg_mr" */
	int fail_nth, fail_err;
	int advise_err;
	enum ibv_fork_status fork_status;

	/* what is live */
	int lists, contexts, pds, mrs;
	/* what was asked last, or how often */
	struct {
		void *addr;
		size_t len;
		uint64_t iova;
		unsigned int access;
	} reg;
	int advised;
	enum ibv_advise_mr_advice advice;
	uint32_t advise_flags;
	struct ibv_sge sges[8];
};

static struct fake_verbs fake;
static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;

static void fake_verbs_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	backend_verbs_class = "/sys/class"; /* not empty */
}

/* A device with one active port, ODP, and no limit on the length */
static struct fake_device *fake_add(const char *name)
{
	struct fake_device *d = &fake.devices[fake.ndevices++];

	snprintf(d->dev.name, sizeof(d->dev.name), "%s", name);
	snprintf(d->dev.dev_name, sizeof(d->dev.dev_name), "uverbs%d",
		 fake.ndevices - 1);
	snprintf(d->dev.ibdev_path, sizeof(d->dev.ibdev_path),
		 "/nonexistent/infiniband/%s", name);
	d->ports = 1;
	d->state[1] = d->state[2] = IBV_PORT_ACTIVE;
	d->attr.orig_attr.max_mr_size = UINT64_MAX;
	d->attr.orig_attr.max_mr = 4096;
	d->attr.orig_attr.atomic_cap = IBV_ATOMIC_HCA;
	d->attr.odp_caps.general_caps = IBV_ODP_SUPPORT;
	d->attr.odp_caps.per_transport_caps.rc_odp_caps = IBV_ODP_SUPPORT_WRITE;
	return d;
}

static void fake_fail(const char *call, int nth, int err)
{
	fake.fail_call = call;
	fake.fail_nth = nth;
	fake.fail_err = err;
}

/* 0, or the errno to fail with (fake_lock held) */
static int fake_told(const char *call)
{
	if (!fake.fail_nth || strcmp(fake.fail_call, call) || --fake.fail_nth)
		return 0;
	return fake.fail_err;
}

static struct fake_device *to_fake(struct ibv_device *dev)
{
	return container_of(dev, struct fake_device, dev);
}

struct ibv_device **ibv_get_device_list(int *n)
{
	struct ibv_device **list;

	if (n)
		*n = fake.ndevices;
	if (fake.list_err) {
		errno = fake.list_err > 0 ? fake.list_err : errno;
		return NULL;
	}
	list = calloc((size_t)fake.ndevices + 1, sizeof(*list));
	if (!list)
		return NULL;
	for (int i = 0; i < fake.ndevices; i++)
		list[i] = &fake.devices[i].dev;
	fake.lists++;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	free(list);
	fake.lists--;
}

const char *ibv_get_device_name(struct ibv_device *dev)
{
	return dev->name;
}

static int fake_query_port(struct ibv_context *ctx, uint8_t port,
			   struct ibv_port_attr *attr, size_t len)
{
	memset(attr, 0, len);
	attr->state = to_fake(ctx->device)->state[port];
	return 0;
}

static int fake_query_device_ex(struct ibv_context *ctx,
				const struct ibv_query_device_ex_input *input,
				struct ibv_device_attr_ex *attr, size_t len)
{
	struct fake_device *d = to_fake(ctx->device);

	(void)input;
	if (d->query_err)
		return d->query_err;
	memcpy(attr, &d->attr, len);
	attr->orig_attr.phys_port_cnt = (uint8_t)d->ports;
	return 0;
}

int ibv_query_device(struct ibv_context *ctx, struct ibv_device_attr *attr)
{
	struct ibv_device_attr_ex ex;
	int err = fake_query_device_ex(ctx, NULL, &ex, sizeof(ex));

	*attr = ex.orig_attr;
	return err;
}

static int fake_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
			  uint32_t flags, struct ibv_sge *sg, uint32_t n)
{
	(void)pd;
	if (fake.advise_err)
		return fake.advise_err;
	fake.advice = advice;
	fake.advise_flags = flags;
	for (uint32_t i = 0; i < n; i++)
		fake.sges[fake.advised++ % (int)ARRAY_SIZE(fake.sges)] = sg[i];
	return 0;
}

struct ibv_context *ibv_open_device(struct ibv_device *dev)
{
	struct fake_device *d = to_fake(dev);
	struct verbs_context *v;

	if (d->open_err) {
		errno = d->open_err;
		return NULL;
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	v->sz = sizeof(*v);
	v->query_port = fake_query_port;
	v->query_device_ex = fake_query_device_ex;
	v->advise_mr = d->no_advise ? NULL : fake_advise_mr;
	v->context.device = dev;
	v->context.abi_compat = __VERBS_ABI_IS_EXTENDED;
	v->context.cmd_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	v->context.async_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	fake.contexts++;
	return &v->context;
}

int ibv_close_device(struct ibv_context *ctx)
{
	close(ctx->cmd_fd);
	close(ctx->async_fd);
	free(verbs_get_ctx(ctx));
	fake.contexts--;
	return 0;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *ctx)
{
	struct ibv_pd *pd;

	errno = fake_told("alloc_pd");
	if (errno)
		return NULL;
	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;
	pd->context = ctx;
	fake.pds++;
	return pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	int err = fake_told("dealloc_pd");

	if (err)
		return err;
	free(pd);
	fake.pds--;
	return 0;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len,
				uint64_t iova, unsigned int access)
{
	struct ibv_mr *mr = NULL;
	int err;

	pthread_mutex_lock(&fake_lock);
	err = fake_told("reg_mr");
	/* what uverbs checks */
	if (!err && (iova ^ (uintptr_t)addr) & 4095)
		err = EINVAL;
	if (!err)
		mr = calloc(1, sizeof(*mr));
	if (mr) {
		*mr = (struct ibv_mr){ .context = pd->context,
				       .pd = pd,
				       .addr = addr,
				       .length = len,
				       .lkey = 0x100 + (uint32_t)fake.mrs,
				       .rkey = 0x200 + (uint32_t)fake.mrs };
		fake.mrs++;
		fake.reg.addr = addr;
		fake.reg.len = len;
		fake.reg.iova = iova;
		fake.reg.access = access;
	}
	pthread_mutex_unlock(&fake_lock);
	if (err > 0) /* negative: NULL without an errno, as bad providers do */
		errno = err;
	return mr;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	int err;

	pthread_mutex_lock(&fake_lock);
	err = fake_told("dereg_mr");
	if (!err)
		fake.mrs--;
	pthread_mutex_unlock(&fake_lock);
	if (!err)
		free(mr);
	return err;
}

enum ibv_fork_status ibv_is_fork_initialized(void)
{
	return fake.fork_status;
}
