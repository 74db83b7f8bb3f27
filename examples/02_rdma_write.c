/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 02_rdma_write - one process writes into the memory of another.
 *
 * The owner of some memory registers it, and tells the writer two numbers per segment:
 * an address and a key. From then on the writer's device and the owner's device do
 * the rest, and the owner's processor takes no part in it. That is why the memory must
 * be pinned: nobody asks the kernel any more where its pages are.
 *
 *   usage: 02_rdma_write [OWNER'S-DEVICE [WRITER'S-DEVICE]]
 *          (default: the first two that are up, or the only one for both)
 *   Exit 77: no RDMA device is up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pinmem.h"
#include "rc.h"

#define LEN (1u << 20)

static int failed(const char *call, int rc)
{
	fprintf(stderr, "%s: %s\n  why: %s\n", call, strerror(-rc), pinmem_errmsg());
	return 1;
}

/* One of the two processes: a pinner on its own device, memory, a queue pair. A
 * pinner belongs to the process that opened it, so each opens its own, after fork. */
struct side {
	struct pinmem *pm;
	void *mem;
	struct pinmem_mr *mr;
	struct pinmem_segment seg;
	struct rc rc;
};

static int open_side(struct side *s, const char *device, unsigned int access)
{
	struct pinmem_options opts = { .size = sizeof(opts),
				       .backend = PINMEM_BACKEND_VERBS,
				       .device = device };
	int rc;

	rc = pinmem_open(&opts, &s->pm);
	if (rc)
		return failed("pinmem_open", rc);

	/* Memory made for this: huge pages, near the device, already there. */
	rc = pinmem_alloc(s->pm, LEN, NULL, &s->mem);
	if (rc)
		return failed("pinmem_alloc", rc);
	rc = pinmem_reg(s->pm, s->mem, LEN, access, NULL, &s->mr);
	if (rc)
		return failed("pinmem_reg", rc);

	/* A region of a few MiB has one segment; see pinmem_mr_segment() for more. */
	s->seg.size = sizeof(s->seg);
	rc = pinmem_mr_segment(s->mr, 0, &s->seg);
	if (rc)
		return failed("pinmem_mr_segment", rc);
	if (rc_open(&s->rc, pinmem_pd(s->pm))) {
		perror("no queue pair");
		return 1;
	}
	return 0;
}

/* The queue pair first: it lives in the pinner's protection domain. */
static int close_side(struct side *s)
{
	enum pinmem_unpin got;
	int rc;

	rc_close(&s->rc);
	rc = pinmem_dereg(s->mr, PINMEM_DIRTY, &got);
	if (rc)
		return failed("pinmem_dereg", rc);
	pinmem_free(s->pm, s->mem, LEN);
	rc = pinmem_close(s->pm);
	return rc ? failed("pinmem_close", rc) : 0;
}

/* What one side tells the other; over a network it would be a TCP connection. */
struct hello {
	struct rc_address address;
	uint64_t iova;
	uint32_t rkey;
};

static int exchange(struct side *s, int sock, struct hello *other)
{
	struct hello mine = { s->rc.self, s->seg.iova, s->seg.rkey };

	if (write(sock, &mine, sizeof(mine)) != sizeof(mine) ||
	    read(sock, other, sizeof(*other)) != sizeof(*other)) {
		fprintf(stderr, "the other process has gone\n");
		return 1;
	}
	if (rc_connect(&s->rc, &other->address)) {
		perror("cannot connect the queue pairs");
		return 1;
	}
	return 0;
}

/* The process that writes. Its own memory is only read by its device: access 0. */
static int writer(const char *device, int sock)
{
	struct side s = { .pm = NULL };
	struct hello owner;
	char go;

	if (open_side(&s, device, 0) || exchange(&s, sock, &owner))
		return 1;
	memset(s.mem, 'w', LEN);
	if (read(sock, &go, 1) != 1) /* the owner is connected too */
		return 1;
	if (rc_write(&s.rc, s.seg.iova, s.seg.lkey, owner.iova, owner.rkey, LEN))
		return 1;
	printf("writer: %u bytes are written to 0x%llx of the owner\n", LEN,
	       (unsigned long long)owner.iova);
	fflush(stdout);
	if (write(sock, "!", 1) != 1) /* the completion says that they have arrived */
		return 1;
	return close_side(&s);
}

static int owner(const char *device, int sock)
{
	struct side s = { .pm = NULL };
	struct hello other;
	char done;

	if (open_side(&s, device,
		      PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE) ||
	    exchange(&s, sock, &other))
		return 1;
	if (write(sock, ".", 1) != 1 || read(sock, &done, 1) != 1) {
		fprintf(stderr, "the writer has failed\n");
		return 1;
	}
	for (size_t i = 0; i < LEN; i++)
		if (((char *)s.mem)[i] != 'w') {
			printf("owner: byte %zu is wrong\n", i);
			return 1;
		}
	printf("owner: all bytes are here\n");
	return close_side(&s);
}

static int is_active(struct ibv_device *device)
{
	struct ibv_context *ctx = ibv_open_device(device);
	struct ibv_port_attr port;
	int active = 0;

	if (!ctx)
		return 0;
	if (!ibv_query_port(ctx, RC_PORT, &port))
		active = port.state == IBV_PORT_ACTIVE;
	ibv_close_device(ctx);
	return active;
}

/* The names of the first two devices that are up; the same twice if there is one. */
static int find_devices(const char *name[2])
{
	static char names[2][IBV_SYSFS_NAME_MAX];
	struct ibv_device **list = ibv_get_device_list(NULL);
	int found = 0;

	for (int i = 0; list && list[i] && found < 2; i++)
		if (is_active(list[i])) {
			snprintf(names[found], sizeof(names[0]), "%s",
				 ibv_get_device_name(list[i]));
			name[found] = names[found];
			found++;
		}
	if (found == 1)
		name[1] = name[0];
	if (list)
		ibv_free_device_list(list);
	return found;
}

int main(int argc, char **argv)
{
	const char *device[2] = { NULL, NULL };
	int sock[2], status, bad;
	pid_t child;

	if (argc < 2 && !find_devices(device)) {
		printf("no RDMA device here is up: try `rdma link add rxe0 type rxe "
		       "netdev eth0`\n");
		return 77;
	}
	if (argc > 1)
		device[0] = device[1] = argv[1];
	if (argc > 2)
		device[1] = argv[2];
	printf("owner on %s, writer on %s\n", device[0], device[1]);
	fflush(stdout);

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock) || (child = fork()) < 0) {
		perror("a second process");
		return 1;
	}
	if (!child) {
		close(sock[0]);
		return writer(device[1], sock[1]);
	}
	close(sock[1]);
	bad = owner(device[0], sock[0]);
	close(sock[0]);
	return waitpid(child, &status, 0) != child || status || bad;
}
