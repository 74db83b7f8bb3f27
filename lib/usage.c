/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * usage.c - who is charged what now: capabilities and counters of a process, and the
 * registered buffers of all io_urings of a user.
 */
#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ------------------------------------------------------------ /proc/…/status */

static void status_line(struct status *st, const char *line)
{
	if (sscanf(line, "VmPin: %" SCNu64 " kB", &st->vmpin) == 1) {
		st->vmpin *= 1024;
		st->vmpin_known = true;
	} else if (sscanf(line, "VmLck: %" SCNu64 " kB", &st->vmlck) == 1) {
		st->vmlck *= 1024;
		st->vmlck_known = true;
	} else if (sscanf(line, "Uid: %lu", &st->uid) != 1) {
		sscanf(line, "CapEff: %" SCNx64, &st->cap_eff);
	}
}

FILE *proc_open(const char *process, const char *file)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/%s/%s", process, file);
	return fopen(path, "re");
}

bool status_read(const char *process, struct status *st)
{
	FILE *f = proc_open(process, "status");
	char line[256];

	memset(st, 0, sizeof(*st));
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		status_line(st, line);
	fclose(f);
	return true;
}

/* ------------------------------------------------------------- capability */

/* The kernel's number of the initial user namespace: PROC_USER_INIT_INO */
#define INITIAL_USER_NS 0xEFFFFFFDul

int user_namespace(const char *process)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/user", process);
	if (stat(path, &st))
		return NS_UNKNOWN;
	return st.st_ino == INITIAL_USER_NS ? NS_INITIAL : NS_OTHER;
}

bool cap_effective(void)
{
	struct __user_cap_header_struct head = { .version =
							 _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	memset(data, 0, sizeof(data));
	if (syscall(SYS_capget, &head, data))
		return false;
	return data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK);
}

/*
 * capable() asks in the initial user namespace: the root of a container's own
 * namespace has the capability and it counts for nothing. Where the namespace
 * cannot be known (no /proc) the kernel is left to refuse.
 */
bool memlock_bypass(void)
{
	return cap_effective() && user_namespace(SELF) != NS_OTHER;
}

/* ---------------------------------------------------- io_uring: user->locked_vm */

/* The rings themselves were charged before 5.12, and again from 6.14 on (6.18: tried)
 * until 7.2 (tried: they are not). */
static bool kernel_charges_rings(void)
{
	unsigned int major = 0, minor = 0, version;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return false;
	version = major * 1000 + minor;
	return version < 5012 || (version >= 6014 && version < 7002);
}

/* Two areas: the SQEs of 64 B; and the CQEs of 16 B behind the head words (less
 * than 320 B) and before the 4 B indices. SQE128 and CQE32 do not show. */
static uint64_t ring_memory(uint64_t sq, uint64_t cq)
{
	return whole_pages(NULL, sq * 64) + whole_pages(NULL, 320 + cq * 16 + sq * 4);
}

/*
 * One line of the list below "UserBufs:", "  INDEX: 0xADDR/LEN". Free slots are
 * "<none>" since 6.13; before it they were the kernel's dummy buffer, at ~0.
 */
static bool buffer_line(const char *line, uint64_t *bytes)
{
	uint64_t addr, len;

	if (!isspace((unsigned char)*line) && !isdigit((unsigned char)*line))
		return false;
	if (sscanf(line, " %*u: 0x%" SCNx64 "/%" SCNu64, &addr, &len) == 2 &&
	    addr != UINT64_MAX)
		*bytes = add_sat(*bytes,
				 whole_pages((const void *)(uintptr_t)addr, len));
	return true;
}

static uint64_t ring_bytes(FILE *fdinfo, bool rings_charged)
{
	uint64_t mask, sq = 0, cq = 0, bytes = 0;
	bool in_list = false;
	char line[256];

	while (fgets(line, sizeof(line), fdinfo)) {
		if (in_list && buffer_line(line, &bytes))
			continue;
		in_list = !strncmp(line, "UserBufs:", 9);
		if (sscanf(line, "SqMask: %" SCNx64, &mask) == 1)
			sq = mask + 1;
		else if (sscanf(line, "CqMask: %" SCNx64, &mask) == 1)
			cq = mask + 1;
	}
	if (rings_charged && sq)
		bytes = add_sat(bytes, ring_memory(sq, cq));
	return bytes;
}

/*
 * A descriptor that was duplicated or inherited shows the same ring again. Since
 * 5.12 each ring has an inode of its own; before it all share one, and only
 * rings of the same size are then taken for the same.
 */
static bool seen_before(const struct scan *s, const struct stat *st, uint64_t bytes)
{
	for (unsigned int i = 0; i < s->nrings; i++)
		if (s->rings[i].ino && s->rings[i].ino == st->st_ino &&
		    s->rings[i].dev == st->st_dev && s->rings[i].bytes == bytes)
			return true;
	return false;
}

static void add_ring(struct scan *s, const struct stat *st, uint64_t bytes)
{
	if (seen_before(s, st, bytes))
		return;
	s->bytes = add_sat(s->bytes, bytes);
	s->rings[s->nrings].dev = st->st_dev;
	s->rings[s->nrings].ino = st->st_ino;
	s->rings[s->nrings].bytes = bytes;
	s->nrings++;
	s->cut |= s->nrings == SCAN_RINGS;
}

static void scan_ring(struct scan *s, const char *process, int dir, const char *fd)
{
	char file[300];
	struct stat st;
	FILE *f;

	snprintf(file, sizeof(file), "fdinfo/%s", fd);
	f = proc_open(process, file);
	if (!f)
		return;
	if (fstatat(dir, fd, &st, 0))
		memset(&st, 0, sizeof(st));
	add_ring(s, &st, ring_bytes(f, s->rings_charged));
	fclose(f);
}

/* Who had CAP_IPC_LOCK when the ring was made pays nothing; that it has it now
 * is the nearest thing that can be seen. */
static bool pays(const struct scan *s, const char *process)
{
	struct status st;

	if (!status_read(process, &st) || st.uid != s->uid)
		return false;
	return !(st.cap_eff & (1ull << CAP_IPC_LOCK)) ||
	       user_namespace(process) == NS_OTHER;
}

static void scan_process(struct scan *s, const char *process)
{
	static const char ring[] = "anon_inode:[io_uring]";
	bool known = !strcmp(process, SELF);
	char path[300], target[sizeof(ring)];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", process);
	dir = opendir(path);
	if (!dir) /* gone, or with capabilities that we have not: then it pays nothing
		   */
		return;
	while (!s->cut && (e = readdir(dir))) {
		s->cut |= now_ns() > s->deadline;
		if (readlinkat(dirfd(dir), e->d_name, target, sizeof(target)) !=
			    (ssize_t)sizeof(ring) - 1 ||
		    memcmp(target, ring, sizeof(ring) - 1))
			continue;
		if (!known && !pays(s, process))
			break;
		known = true;
		scan_ring(s, process, dirfd(dir), e->d_name);
	}
	closedir(dir);
}

/* Its directory belongs to a process's effective user: one stat(2) tells those
 * that are worth opening from the thousands that are not. */
static bool of_user(int proc, const char *name, unsigned long uid)
{
	struct stat st;

	return isdigit((unsigned char)*name) && !fstatat(proc, name, &st, 0) &&
	       (st.st_uid == uid || st.st_uid == geteuid());
}

bool scan_user(struct scan *s)
{
	char self[32] = "";
	struct dirent *e;
	DIR *proc;

	memset(s, 0, sizeof(*s));
	s->uid = getuid();
	s->rings_charged = kernel_charges_rings();
	s->deadline = now_ns() + SCAN_NS;
	proc = opendir("/proc");
	if (!proc)
		return false;
	/* our own first, so that it is in the sum however early that is cut */
	scan_process(s, SELF);
	if (readlinkat(dirfd(proc), "self", self, sizeof(self) - 1) < 0) {
		closedir(proc);
		return false; /* a directory, but not of processes */
	}
	while (!s->cut && (e = readdir(proc)))
		if (of_user(dirfd(proc), e->d_name, s->uid) && strcmp(e->d_name, self))
			scan_process(s, e->d_name);
	closedir(proc);
	return true;
}
