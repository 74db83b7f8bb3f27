/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor_memory.c - huge pages, NUMA nodes, and file systems and devices with DAX. */
#include <dirent.h>
#include <glob.h>
#include <inttypes.h>
#include <mntent.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"
#include "out.h"
#include "sys.h"
#include "tool.h"

/* ------------------------------------------------------------- huge pages */

static json_t *show_thp(void)
{
	const char *mode = sys_thp_mode();
	const char *means =
		!strcmp(mode, "always")
			? "large anonymous memory is on huge pages by itself"
		: !strcmp(mode, "madvise")
			? "memory of pinmem_alloc(), and what a program asks it for "
			  "with MADV_HUGEPAGE, is on huge pages"
		: !strcmp(mode, "never")
			? "pinning is much slower without huge pages: echo madvise > "
			  "/sys/kernel/mm/transparent_hugepage/enabled"
			: "this kernel has no transparent huge pages";

	say_block(2, "transparent: %s%s; %s", *mode ? mode : "none",
		  sys_huge_page() ? text(", %s", size_text(sys_huge_page())) : "",
		  means);
	return json_pack("{ss, sI, ss}", "mode", mode, "page_size",
			 (json_int_t)sys_huge_page(), "means", means);
}

/* One pool: "…/node/node0/hugepages/hugepages-2048kB", node -1: the sum of all */
static void show_pool(struct table *t, json_t *pools, const char *path, int node)
{
	uint64_t kib = 0, all = 0, free = 0;
	const char *base = strrchr(path, '/');

	if (!base || sscanf(base, "/hugepages-%" SCNu64 "kB", &kib) != 1)
		return;
	sys_number(text("%s/nr_hugepages", path), &all);
	sys_number(text("%s/free_hugepages", path), &free);
	ROW(t, size_text(kib * 1024), node < 0 ? "all" : text("%d", node),
	    text("%" PRIu64, all), text("%" PRIu64, free),
	    size_text(free * kib * 1024));
	json_array_append_new(pools,
			      json_pack("{sI, si, sI, sI}", "page_size",
					(json_int_t)kib * 1024, "node", node, "pages",
					(json_int_t)all, "free", (json_int_t)free));
}

static void show_pools(struct table *t, json_t *pools, const char *pattern, int node)
{
	glob_t g;

	if (glob(pattern, 0, NULL, &g))
		return;
	for (size_t i = 0; i < g.gl_pathc; i++)
		show_pool(t, pools, g.gl_pathv[i], node);
	globfree(&g);
}

/* How many nodes to go through; one node is all nodes. */
static int nodes(void)
{
	return numa_available() >= 0 && numa_max_node() > 0 ? numa_max_node() + 1 : 0;
}

json_t *doctor_hugepages(void)
{
	static const struct column cols[] = {
		{ "hugetlb page", 12, true }, { "node", 4, true }, { "pages", 6, true },
		{ "free", 6, true },	      { "is", 8, true },
	};
	json_t *pools = json_array(), *thp;
	uint64_t page, free;
	struct table *t;

	heading("Huge pages");
	thp = show_thp();
	t = table_new(cols, ARRAY_SIZE(cols), false);
	show_pools(t, pools, "/sys/kernel/mm/hugepages/hugepages-*", -1);
	for (int node = 0; node < nodes(); node++)
		show_pools(t, pools,
			   text("/sys/devices/system/node/node%d/hugepages/hugepages-*",
				node),
			   node);
	table_end(t);
	free = sys_hugetlb_free(&page);
	if (page && !free)
		say_block(2,
			  "No hugetlb page is free; they are never split and fastest "
			  "to pin. Reserve 1 GiB of them: echo %" PRIu64
			  " > /proc/sys/vm/nr_hugepages",
			  (uint64_t)(1 << 30) / page);
	return json_pack("{so, so}", "transparent", thp, "hugetlb", pools);
}

/* -------------------------------------------------------------- NUMA nodes */

json_t *doctor_nodes(void)
{
	json_t *nodes = json_array();
	int shown = 0;

	heading("NUMA nodes");
	for (int n = 0; numa_available() >= 0 && n <= numa_max_node(); n++) {
		long long free = 0, size = numa_node_size64(n, &free);

		if (size < 0)
			continue;
		say("  node %d: %s, %s free\n", n, size_text((uint64_t)size),
		    size_text((uint64_t)free));
		json_array_append_new(nodes, json_pack("{si, sI, sI}", "node", n,
						       "size", (json_int_t)size, "free",
						       (json_int_t)free));
		shown++;
	}
	if (!shown)
		say_block(2, "This kernel tells of none; memory lies where it lies.");
	else if (shown == 1)
		say_block(2, "One node: every device is near to all memory.");
	else
		say_block(
			2,
			"A pin keeps pages where they are: place them on the device's "
			"node first (pinmem_alloc() and PINMEM_PLACE_DEVICE do).");
	return nodes;
}

/* --------------------------------------------------------------------- DAX */

static bool dax_mount(const struct mntent *m)
{
	const char *opt = hasmntopt(m, "dax");

	return opt && strncmp(opt, "dax=never", 9) != 0;
}

static unsigned int show_dax_mounts(json_t *list)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	unsigned int n = 0;
	struct mntent *m;

	while (f && (m = getmntent(f))) {
		if (!dax_mount(m))
			continue;
		say_block(2,
			  "%s (%s): the pages of %s are the storage; they are not "
			  "pinned, but paged on demand, staged or refused",
			  m->mnt_dir, m->mnt_type,
			  strncmp(hasmntopt(m, "dax"), "dax=inode", 9)
				  ? "its files"
				  : "those of its files that are marked for DAX");
		json_array_append_new(list, json_pack("{ss, so, ss}", "kind", "fsdax",
						      "path", json_text(m->mnt_dir),
						      "type", m->mnt_type));
		n++;
	}
	if (f)
		endmntent(f);
	return n;
}

static unsigned int show_dax_devices(json_t *list)
{
	unsigned int n = 0;
	glob_t g;

	if (glob("/dev/dax*", 0, NULL, &g))
		return 0;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		bool usable = !access(g.gl_pathv[i], R_OK | W_OK);

		say_block(2, "%s (device-dax): it can be pinned%s", g.gl_pathv[i],
			  usable ? "" : ", but this user may not open it");
		json_array_append_new(
			list, json_pack("{ss, so, sb}", "kind", "device-dax", "path",
					json_text(g.gl_pathv[i]), "usable", usable));
		n += usable;
	}
	globfree(&g);
	return n;
}

static bool mounted(const char *device)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	bool found = false;
	struct mntent *m;

	while (f && !found && (m = getmntent(f)))
		found = !strcmp(m->mnt_fsname, device);
	if (f)
		endmntent(f);
	return found;
}

/* Persistent memory that a file system could be mounted from with DAX. */
static void show_dax_disks(json_t *list)
{
	uint64_t yes;
	glob_t g;

	if (glob("/sys/block/*/queue/dax", 0, NULL, &g))
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		char name[64];

		if (!sys_number(g.gl_pathv[i], &yes) || !yes ||
		    sscanf(g.gl_pathv[i], "/sys/block/%63[^/]", name) != 1 ||
		    mounted(text("/dev/%s", name)))
			continue;
		say_block(2,
			  "/dev/%s can do DAX: a file system on it can be mounted with "
			  "-o dax=always",
			  name);
		json_array_append_new(list, json_pack("{ss, ss}", "kind", "disk",
						      "path", text("/dev/%s", name)));
	}
	globfree(&g);
}

json_t *doctor_dax(unsigned int *found)
{
	json_t *list = json_array();

	heading("Persistent memory (DAX)");
	*found = show_dax_mounts(list) + show_dax_devices(list);
	show_dax_disks(list);
	if (!json_array_size(list))
		say_block(2, "none: no file system is mounted with dax, there is no "
			     "/dev/dax and no disk that can do it.");
	return list;
}
