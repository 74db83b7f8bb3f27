/* SPDX-License-Identifier: BSD-2-Clause */
/* sys.c - small facts about this machine; see sys.h. */
#include "sys.h"

#include <inttypes.h>
#include <mntent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

bool sys_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool found;

	if (!f)
		return false;
	found = fgets(buf, (int)size, f) != NULL;
	fclose(f);
	if (found)
		buf[strcspn(buf, "\n")] = '\0';
	return found;
}

bool sys_number(const char *path, uint64_t *n)
{
	char line[64];

	return sys_line(path, line, sizeof(line)) && sscanf(line, "%" SCNu64, n) == 1;
}

uint64_t sys_meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "re");
	uint64_t kib = 0, n;
	char name[64];

	if (!f)
		return 0;
	while (!kib && fscanf(f, " %63[^:]: %" SCNu64 "%*[^\n]", name, &n) == 2)
		if (!strcmp(name, key))
			kib = n;
	fclose(f);
	return kib * 1024;
}

uint64_t sys_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t sys_huge_page(void)
{
	uint64_t n;

	if (sys_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", &n))
		return n;
	return 0;
}

const char *sys_thp_mode(void)
{
	static char line[128];
	char *open, *close;

	if (!sys_line("/sys/kernel/mm/transparent_hugepage/enabled", line,
		      sizeof(line)))
		return "";
	open = strchr(line, '[');
	close = open ? strchr(open, ']') : NULL;
	if (!close)
		return "";
	*close = '\0';
	return open + 1;
}

static uint64_t hugetlb_counter(uint64_t page_size, const char *name)
{
	char path[128];
	uint64_t n;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
		 page_size / 1024, name);
	return sys_number(path, &n) ? n : 0;
}

uint64_t sys_hugetlb_free(uint64_t *page_size)
{
	uint64_t free, reserved;

	*page_size = sys_meminfo("Hugepagesize");
	if (!*page_size)
		return 0;
	free = hugetlb_counter(*page_size, "free_hugepages");
	reserved = hugetlb_counter(*page_size, "resv_hugepages");
	return free > reserved ? free - reserved : 0;
}

unsigned int sys_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned int)CPU_COUNT(&set);
}

static bool usable_tmpfs(const struct mntent *m)
{
	return !strcmp(m->mnt_type, "tmpfs") && !hasmntopt(m, "ro") &&
	       !access(m->mnt_dir, W_OK | X_OK);
}

const char *sys_tmpfs(void)
{
	static char found[512];
	struct mntent *m;
	FILE *f = setmntent("/proc/self/mounts", "re");

	found[0] = '\0';
	if (!f)
		return NULL;
	while ((m = getmntent(f))) {
		bool best = !strcmp(m->mnt_dir, "/dev/shm");

		if (usable_tmpfs(m) && (best || !found[0]))
			snprintf(found, sizeof(found), "%s", m->mnt_dir);
	}
	endmntent(f);
	return found[0] ? found : NULL;
}

const char *sys_fs_type(const char *path)
{
	static char type[64];
	char line[1024], dev[32];
	struct stat st;
	FILE *f;

	snprintf(type, sizeof(type), "?");
	if (stat(path, &st))
		return type;
	snprintf(dev, sizeof(dev), "%u:%u", major(st.st_dev), minor(st.st_dev));
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return type;
	while (fgets(line, sizeof(line), f)) {
		const char *rest = strstr(line, " - ");
		char at[32];

		if (rest && sscanf(line, "%*d %*d %31s", at) == 1 && !strcmp(at, dev))
			sscanf(rest, " - %63s", type);
	}
	fclose(f);
	return type;
}

const char *sys_errno(int err)
{
	const char *name = strerrorname_np(abs(err));

	return name ? name : "?";
}

uint64_t sys_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
