/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor_devices.c - verbs devices: ports, limits, on-demand paging, NUMA node. */
#include <errno.h>
#include <glob.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"
#include "out.h"
#include "sys.h"

static int node_of(const struct ibv_device *dev)
{
	char path[512], line[32];
	int node;

	snprintf(path, sizeof(path), "%s/device/numa_node", dev->ibdev_path);
	if (sys_line(path, line, sizeof(line)) && sscanf(line, "%d", &node) == 1)
		return node;
	return -1;
}

static const char *odp_text(const struct ibv_odp_caps *odp)
{
	uint32_t rc = odp->per_transport_caps.rc_odp_caps;
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {
		{ IBV_ODP_SUPPORT_SEND, "send" },     { IBV_ODP_SUPPORT_RECV, "recv" },
		{ IBV_ODP_SUPPORT_WRITE, "write" },   { IBV_ODP_SUPPORT_READ, "read" },
		{ IBV_ODP_SUPPORT_ATOMIC, "atomic" },
	};
	const char *s = "";

	if (!(odp->general_caps & IBV_ODP_SUPPORT))
		return "none: what may not be pinned (fsdax) must be staged or refused";
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (rc & names[i].bit)
			s = text("%s %s", s, names[i].name);
	return text("explicit%s; RC:%s. What may not be pinned (fsdax) can be paged on "
		    "demand",
		    odp->general_caps & IBV_ODP_SUPPORT_IMPLICIT ? " and implicit" : "",
		    s);
}

/* What the library knows of the device beyond what it says itself. */
static bool odp_whole_pages(const char *device)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_VERBS,
				    .device = device };
	struct pinmem_info info = { .size = sizeof(info) };
	struct pinmem *pm;

	if (pinmem_open(&o, &pm))
		return false;
	pinmem_query(pm, &info);
	pinmem_close(pm);
	return info.odp && info.odp_whole_pages;
}

static json_t *show_ports(struct ibv_context *ctx, unsigned int count)
{
	json_t *ports = json_array();

	for (unsigned int n = 1; n <= count; n++) {
		struct ibv_port_attr p;
		bool ethernet;

		if (ibv_query_port(ctx, (uint8_t)n, &p))
			continue;
		ethernet = p.link_layer == IBV_LINK_LAYER_ETHERNET;
		say_block(4, "port %u: %s, %s, MTU %u%s", n,
			  ibv_port_state_str(p.state),
			  ethernet ? "Ethernet" : "InfiniBand", 128u << p.active_mtu,
			  p.state == IBV_PORT_ACTIVE
				  ? ""
				  : "; it cannot be used until it is active");
		json_array_append_new(
			ports, json_pack("{si, ss, ss, si}", "port", (int)n, "state",
					 ibv_port_state_str(p.state), "link",
					 ethernet ? "ethernet" : "infiniband", "mtu",
					 128 << p.active_mtu));
	}
	return ports;
}

static json_t *show_opened(struct ibv_device *dev, struct ibv_context *ctx)
{
	struct ibv_device_attr_ex attr = { 0 };
	const char *name = ibv_get_device_name(dev);
	int rc = ibv_query_device_ex(ctx, NULL, &attr);
	const struct ibv_device_attr *a = &attr.orig_attr;
	json_t *ports;
	bool whole;

	if (rc) {
		say_block(2, "%s: it does not answer: %s", name, strerror(rc));
		return json_pack("{ss, ss}", "name", name, "error", sys_errno(rc));
	}
	say_block(2, "%s: %s, %s, up to %d regions of %s", name,
		  ibv_node_type_str(dev->node_type),
		  node_of(dev) < 0 ? "near to no NUMA node"
				   : text("on NUMA node %d", node_of(dev)),
		  a->max_mr,
		  a->max_mr_size >> 60
			  ? "any length"
			  : text("up to %s each", size_text(a->max_mr_size)));
	ports = show_ports(ctx, a->phys_port_cnt);
	whole = odp_whole_pages(name);
	say_block(
		4, "on-demand paging: %s%s", odp_text(&attr.odp_caps),
		whole ? ", but only messages that begin on a page boundary, at an MTU "
			"of 4096, go where they should: others are put in the wrong "
			"bytes without an error"
		      : "");
	return json_pack(
		"{ss, si, si, so, sb, sb, sb, si, so}", "name", name, "node",
		node_of(dev), "max_mr", a->max_mr, "max_mr_size",
		json_real((double)a->max_mr_size), "odp",
		!!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT), "odp_implicit",
		!!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT_IMPLICIT),
		"odp_whole_pages", whole, "odp_rc_caps",
		(int)attr.odp_caps.per_transport_caps.rc_odp_caps, "ports", ports);
}

static json_t *show_device(struct ibv_device *dev)
{
	struct ibv_context *ctx = ibv_open_device(dev);
	json_t *o;

	if (!ctx) {
		say_block(2,
			  "%s: it cannot be opened: %s; who uses it must be allowed to "
			  "open /dev/infiniband/%s",
			  ibv_get_device_name(dev), strerror(errno), dev->dev_name);
		return json_pack("{ss, ss}", "name", ibv_get_device_name(dev), "error",
				 sys_errno(errno));
	}
	o = show_opened(dev, ctx);
	ibv_close_device(ctx);
	return o;
}

static bool any_device(void)
{
	glob_t g;
	bool any = !glob("/sys/class/infiniband/*", 0, NULL, &g);

	if (any)
		globfree(&g);
	return any;
}

json_t *doctor_devices(void)
{
	struct ibv_device **list;
	json_t *devices = json_array();
	int n = 0;

	heading("Verbs devices (RDMA)");
	/* without a device libibverbs has nothing to say but warnings on stderr */
	list = any_device() ? ibv_get_device_list(&n) : NULL;
	for (int i = 0; list && i < n; i++)
		json_array_append_new(devices, show_device(list[i]));
	if (!n)
		say_block(2,
			  "none%s. RDMA needs one; a software one for any network "
			  "interface: modprobe rdma_rxe; rdma link add rxe0 type rxe "
			  "netdev eth0",
			  any_device() ? " that a user program can open: the kernel "
					 "module ib_uverbs is not loaded"
				       : "");
	if (list)
		ibv_free_device_list(list);
	return devices;
}
