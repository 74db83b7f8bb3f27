/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memlock.c - what a pin needs of RLIMIT_MEMLOCK, what is left of it in the one
 * of the kernel's three counters that applies, and a sentence with all of that.
 *
 *   VMPIN  mm->pinned_vm    verbs     shown as VmPin: exact
 *   VMLCK  mm->locked_vm    mlock     shown as VmLck: exact
 *   USER   user->locked_vm  io_uring  shown nowhere: an estimate, from the rings
 *                                     of this user that /proc lets us see
 *
 * All of it is about now and about the calling thread (capabilities belong to
 * threads). /proc/thread-self is read and not /proc/self, which shows an
 * empty process once the main thread has exited.
 */
#include "internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define SELF "thread-self"

/* ------------------------------------------------------------- arithmetic */

static uint64_t base_page(void)
{
	return (uint64_t)getpagesize();
}

/* What one page table of 8-byte entries maps: 2 MiB with 4 KiB pages */
static uint64_t huge_page(void)
{
	return base_page() * (base_page() / 8);
}

static uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t sub_sat(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t soft_limit(uint64_t *hard)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	getrlimit(RLIMIT_MEMLOCK, &lim);
	if (hard)
		*hard = lim.rlim_max == RLIM_INFINITY ? UINT64_MAX : lim.rlim_max;
	return lim.rlim_cur == RLIM_INFINITY ? UINT64_MAX : lim.rlim_cur;
}

/* The kernel compares pages: a part of a page of the limit is no use. */
static bool within(uint64_t need, uint64_t used, uint64_t limit)
{
	if (limit == UINT64_MAX)
		return true;
	return add_sat(need, used) <= (limit & ~(base_page() - 1));
}

static uint64_t whole_pages(const void *addr, uint64_t len)
{
	uint64_t mask = base_page() - 1;
	uint64_t bytes = add_sat((uintptr_t)addr & mask, len);

	return add_sat(bytes, mask) & ~mask;
}

static int note_hugetlb(const struct mapping *m, void *size)
{
	if (m->backing == PINMEM_HUGETLB)
		*(uint64_t *)size = m->page_size;
	return 1;
}

/* The compound page around a base page, as far as it can be seen from here:
 * large folios below a page table's reach do not show, the kernel counts them. */
static uint64_t compound_at(uintptr_t page)
{
	struct backing_hints hints = { .fd = -1 };
	uint64_t size = base_page();

	backing_walk(page, page + size, &hints, note_hugetlb, &size);
	if (size == base_page() && backing_huge_at(page))
		size = huge_page();
	return size;
}

/*
 * Only the ends of a range can lie in the middle of a compound page, so the
 * cost does not grow with the length. See io_buffer_account_pin() in io_uring.
 * A page that this ring has charged before is not charged again; counting it
 * here never refuses wrongly, for it is then in the sum of what is used, too.
 */
static uint64_t compound_pages(const void *addr, uint64_t len)
{
	uint64_t bytes = whole_pages(addr, len);
	uintptr_t start = page_floor((uintptr_t)addr);
	uintptr_t last = start + bytes - base_page();
	uint64_t before, after, size;

	if (!bytes || last < start)
		return bytes;
	size = compound_at(start);
	before = start & (size - 1);
	size = compound_at(last);
	after = size - base_page() - (last & (size - 1));
	return before + bytes + after;
}

static uint64_t charge_of(const struct backend_caps *caps, const void *addr,
			  uint64_t len)
{
	if (caps->counter == PINMEM_COUNT_NONE)
		return 0;
	if (caps->charges_compound && addr)
		return compound_pages(addr, len);
	return whole_pages(addr, len);
}

/* ------------------------------------------------------------ /proc/…/status */

/** struct status - what /proc/PID/status says of a process. */
struct status {
	bool vmpin_known, vmlck_known;
	uint64_t vmpin, vmlck; /* bytes */
	uint64_t cap_eff;
	unsigned long uid; /* real */
};

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

static FILE *proc_open(const char *process, const char *file)
{
	char path[600];

	snprintf(path, sizeof(path), "/proc/%s/%s", process, file);
	return fopen(path, "re");
}

static bool status_read(const char *process, struct status *st)
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

enum { NS_UNKNOWN, NS_INITIAL, NS_OTHER };

static int user_namespace(const char *process)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/user", process);
	if (stat(path, &st))
		return NS_UNKNOWN;
	return st.st_ino == INITIAL_USER_NS ? NS_INITIAL : NS_OTHER;
}

static bool cap_effective(void)
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

#define SCAN_NS (50 * 1000000ull) /* a call may not take longer than about this */
#define SCAN_RINGS 256

/** struct scan - the sum over the rings of a user, and how far it went. */
struct scan {
	unsigned long uid;
	bool rings_charged; /* this kernel charges the rings themselves */
	uint64_t bytes;
	bool cut; /* out of time or of room */
	uint64_t deadline;
	unsigned int nrings;
	struct {
		dev_t dev;
		ino_t ino;
		uint64_t bytes;
	} rings[SCAN_RINGS];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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

static bool scan_user(struct scan *s)
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

/* ------------------------------------------------------ what is used, and where */

/** struct report - the parts of the sentence that the numbers do not say. */
struct report {
	struct pinmem_memlock *out;
	uint64_t len;	/* as asked */
	uint64_t plain; /* the need, if no compound page were charged whole */
	uint64_t hard;
	bool other_ns;	 /* capable, in a user namespace where it is no use */
	bool unknown;	 /* what is used */
	char where[128]; /* whose use it is */
};

static void used_of_user(struct report *r)
{
	struct scan s;

	if (!scan_user(&s)) {
		r->unknown = true;
		return;
	}
	r->out->used = s.bytes;
	snprintf(r->where, sizeof(r->where),
		 s.cut ? "at least: the first %u io_uring%s of user %lu in /proc"
		       : "an estimate: the %u io_uring%s of user %lu in /proc",
		 s.nrings, s.nrings == 1 ? "" : "s", s.uid);
}

static void used_of_process(struct report *r, const char *name)
{
	bool pin = r->out->counter == PINMEM_COUNT_VMPIN;
	struct status st;

	status_read(SELF, &st);
	r->out->used = pin ? st.vmpin : st.vmlck;
	r->out->exact = pin ? st.vmpin_known : st.vmlck_known;
	r->unknown = !r->out->exact;
	snprintf(r->where, sizeof(r->where), "%s of this process", name);
}

static void find_used(struct report *r)
{
	switch (r->out->counter) {
	case PINMEM_COUNT_NONE:
		r->out->exact = 1;
		break;
	case PINMEM_COUNT_VMPIN:
		used_of_process(r, "VmPin");
		break;
	case PINMEM_COUNT_VMLCK:
		used_of_process(r, "VmLck");
		break;
	case PINMEM_COUNT_USER:
		if (!r->out->bypass)
			used_of_user(r);
		break;
	}
}

static uint64_t overlap(uintptr_t a, uintptr_t a_end, uintptr_t b, uintptr_t b_end)
{
	uintptr_t start = a > b ? a : b, end = a_end < b_end ? a_end : b_end;

	return end > start ? end - start : 0;
}

/* Bytes of a range that are mlocked already: locking them again is free, see
 * count_mm_mlocked_page_nr(). Slow, so asked only where it decides. */
static uint64_t locked_within(uintptr_t start, uintptr_t end)
{
	FILE *f = proc_open(SELF, "smaps");
	uintptr_t from = 0, to = 0;
	uint64_t locked = 0;
	char *line = NULL;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
			continue;
		if (!strncmp(line, "VmFlags:", 8) && strstr(line, " lo "))
			locked += overlap(from, to, start, end);
	}
	free(line);
	if (f)
		fclose(f);
	return locked;
}

/* Does it fit? Narrows the need to what is not locked yet, if that decides. */
static bool decide(struct pinmem_memlock *out, const void *addr)
{
	uintptr_t start = page_floor((uintptr_t)addr);

	if (out->bypass || within(out->need, out->used, out->limit))
		return true;
	if (!addr || out->counter != PINMEM_COUNT_VMLCK || !out->used)
		return false;
	out->need = sub_sat(out->need, locked_within(start, start + out->need));
	return within(out->need, out->used, out->limit);
}

/* ----------------------------------------------------------------- cgroup */

/** struct cgroup - where this process's memory cgroup is, once found. */
struct cgroup {
	bool v1;
	char path[1024]; /* in the hierarchy */
	char top[1024];	 /* where the hierarchy is mounted */
	char dir[2048];	 /* top + path */
};

/* "a,memory,b" has memory */
static bool listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, word, n) && (!p[n] || p[n] == ',' || p[n] == '\n'))
			return true;
	}
	return false;
}

/* A line is "ID:CONTROLLERS:PATH"; "0::PATH" is version 2. The controller is in
 * one hierarchy only: if a line of version 1 has it, that one counts. */
static bool cgroup_path(struct cgroup *cg)
{
	char *line = NULL, *list, *path;
	FILE *f = proc_open(SELF, "cgroup");
	bool found = false;
	size_t room = 0;

	while (f && !cg->v1 && getline(&line, &room, f) > 0) {
		list = strchr(line, ':');
		path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		cg->v1 = listed(list + 1, "memory");
		if (!cg->v1 && strcmp(line, "0:"))
			continue;
		found = strlen(path) < sizeof(cg->path);
		snprintf(cg->path, sizeof(cg->path), "%s", path);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* mountinfo writes blanks and backslashes as \040 */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && isdigit((unsigned char)s[1]) &&
		    isdigit((unsigned char)s[2]) && isdigit((unsigned char)s[3])) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* A mount shows the hierarchy from @root on: cut that from the path. A path that
 * leads out of it (another cgroup namespace's) leaves the mount's own top. */
static void cgroup_dir(struct cgroup *cg, const char *root)
{
	size_t n = strcmp(root, "/") ? strlen(root) : 0;
	const char *rest = cg->path;

	if (strncmp(rest, root, n) || (rest[n] && rest[n] != '/') ||
	    strstr(rest, "/.."))
		rest = "";
	else
		rest += n;
	snprintf(cg->dir, sizeof(cg->dir), "%s%s", cg->top, rest);
}

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE SUPER_OPTIONS" */
static bool cgroup_mount(struct cgroup *cg, char *line)
{
	char *field[5], *save = NULL, *tail = strstr(line, " - ");
	char *type, *super;

	if (!tail)
		return false;
	*tail = '\0';
	type = strtok_r(tail + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	super = strtok_r(NULL, " \n", &save);
	if (!type || strcmp(type, cg->v1 ? "cgroup" : "cgroup2"))
		return false;
	if (cg->v1 && (!super || !listed(super, "memory")))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(field); i++) {
		field[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!field[i])
			return false;
	}
	unescape(field[3]);
	unescape(field[4]);
	if (strlen(field[4]) >= sizeof(cg->top))
		return false;
	strcpy(cg->top, field[4]);
	cgroup_dir(cg, field[3]);
	return true;
}

static bool cgroup_find(struct cgroup *cg)
{
	char *line = NULL;
	bool found = false;
	size_t room = 0;
	FILE *f;

	memset(cg, 0, sizeof(*cg));
	if (!cgroup_path(cg))
		return false;
	f = proc_open(SELF, "mountinfo");
	while (f && !found && getline(&line, &room, f) > 0)
		found = cgroup_mount(cg, line);
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* A number of bytes, or "max": no limit; version 1 has LONG_MAX cut to pages. */
static bool cgroup_value(const char *dir, const char *file, uint64_t *value)
{
	char path[2048 + 32], text[32] = "";
	bool ok;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(text, sizeof(text), f) && isdigit((unsigned char)*text);
	fclose(f);
	*value = ok ? strtoull(text, NULL, 10) : UINT64_MAX;
	return ok && *value < UINT64_MAX / 4;
}

static void consider_cgroup(const struct cgroup *cg, struct pinmem_memlock *out)
{
	uint64_t limit, used;

	if (!cgroup_value(cg->dir, cg->v1 ? "memory.limit_in_bytes" : "memory.max",
			  &limit) ||
	    !cgroup_value(cg->dir, cg->v1 ? "memory.usage_in_bytes" : "memory.current",
			  &used))
		return;
	if (sub_sat(limit, used) >= sub_sat(out->cgroup_limit, out->cgroup_used))
		return;
	out->cgroup_limit = limit;
	out->cgroup_used = used;
}

/* The group and its ancestors all limit: find the one with the least left. */
static void find_cgroup(struct pinmem_memlock *out)
{
	struct cgroup cg;
	char *slash;

	out->cgroup_limit = UINT64_MAX;
	out->cgroup_used = 0;
	if (!cgroup_find(&cg))
		return;
	for (;;) {
		consider_cgroup(&cg, out);
		slash = strrchr(cg.dir, '/');
		if (!slash || slash < cg.dir + strlen(cg.top))
			break;
		*slash = '\0';
	}
}

/* --------------------------------------------------------------- the sentence */

static void say(struct pinmem_memlock *out, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct pinmem_memlock *out, const char *fmt, ...)
{
	size_t n = strlen(out->remedy);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->remedy + n, sizeof(out->remedy) - n, fmt, ap);
	va_end(ap);
}

static void say_numbers(const struct report *r)
{
	struct pinmem_memlock *out = r->out;
	char text[BYTES_TEXT];

	say(out, "%s %s needs %" PRIu64 " B of RLIMIT_MEMLOCK",
	    out->counter == PINMEM_COUNT_VMLCK ? "locking" : "pinning",
	    format_bytes(text, r->len), out->need);
	if (out->need > r->plain)
		say(out, " (huge pages are charged whole)");
	if (out->limit == UINT64_MAX)
		say(out, ", limit none");
	else
		say(out, ", limit %" PRIu64 " B", out->limit);
	if (r->unknown)
		say(out, ", in use unknown (/proc does not tell)");
	else if (*r->where)
		say(out, ", in use %" PRIu64 " B (%s)", out->used, r->where);
}

/* ulimit counts in KiB. The capability is asked for when a ring is made, by the
 * other two at each call. */
static void say_remedy(const struct report *r)
{
	struct pinmem_memlock *out = r->out;
	uint64_t want = add_sat(out->need, out->used);

	say(out, "; raise `ulimit -l` to at least %" PRIu64, want / 1024);
	if (r->hard == UINT64_MAX)
		say(out, " (KiB; there is no hard limit)");
	else
		say(out, " (KiB; the hard limit is %" PRIu64 "%s)", r->hard / 1024,
		    r->hard >= want ? " and allows it" : ", too low");
	say(out,
	    ", with LimitMEMLOCK= for a systemd service or memlock in limits.conf"
	    ", or grant CAP_IPC_LOCK%s",
	    out->counter == PINMEM_COUNT_USER ? " before the io_uring is made" : "");
	if (r->other_ns)
		say(out, " in the initial user namespace (having it in another one"
			 " does not count)");
}

static void say_cgroup(struct pinmem_memlock *out, uint64_t need)
{
	if (need <= sub_sat(out->cgroup_limit, out->cgroup_used))
		return;
	say(out,
	    "; the memory cgroup allows %" PRIu64 " B and %" PRIu64
	    " B are in use: more than the rest must not be populated",
	    out->cgroup_limit, out->cgroup_used);
}

static void say_all(const struct report *r)
{
	struct pinmem_memlock *out = r->out;

	out->remedy[0] = '\0';
	if (out->counter == PINMEM_COUNT_NONE) {
		say(out, "nothing is charged to RLIMIT_MEMLOCK");
		return;
	}
	say_numbers(r);
	if (out->bypass)
		say(out, ": CAP_IPC_LOCK lifts the limit");
	else if (within(out->need, out->used, out->limit))
		say(out, ": within the limit");
	else
		say_remedy(r);
	say_cgroup(out, out->need);
}

/* --------------------------------------------------------------- the two doors */

int memlock_examine(const struct backend_caps *caps, const void *addr, size_t len,
		    struct pinmem_memlock *out)
{
	struct report r = { .out = out, .len = len };

	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->counter = caps->counter;
	out->limit = soft_limit(&r.hard);
	out->need = charge_of(caps, addr, len);
	r.plain = whole_pages(addr, len);
	/* io_uring asked when the ring was made, the others ask at each pin */
	out->bypass = caps->counter == PINMEM_COUNT_USER ? caps->limit_bypassed
							 : memlock_bypass();
	r.other_ns =
		!out->bypass && cap_effective() && user_namespace(SELF) == NS_OTHER;
	find_used(&r);
	find_cgroup(out);
	out->fits = decide(out, addr);
	/* memory that is there already, or that another group pays for, may be
	 * larger than the group's limit; memory to be had may not */
	if (!addr && out->need > out->cgroup_limit)
		out->fits = 0;
	say_all(&r);
	return 0;
}

/*
 * What this lets through the kernel still decides, and its ENOMEM is explained
 * by memlock_examine(). So this looks only for what is worth refusing before
 * memory is populated and moved for nothing: not at pins below an eighth of the
 * limit, which mostly fit, and for which reading /proc (20 µs) would cost
 * more than the pin; and not at the estimate for io_uring, which may be wrong.
 */
int memlock_precheck(const struct backend_caps *caps, const void *addr, size_t len)
{
	struct pinmem_memlock m;
	struct status st;
	uint64_t limit, need, used = 0;

	if (caps->limit_bypassed || caps->counter == PINMEM_COUNT_NONE)
		return 0;
	limit = soft_limit(NULL);
	if (limit == UINT64_MAX || whole_pages(addr, len) <= limit / 8)
		return 0;
	need = charge_of(caps, addr, len);
	if (caps->counter != PINMEM_COUNT_USER && status_read(SELF, &st))
		used = caps->counter == PINMEM_COUNT_VMPIN ? st.vmpin : st.vmlck;
	if (within(need, used, limit))
		return 0;
	memlock_examine(caps, addr, len, &m);
	if (m.fits) /* capable by now, or partly locked already */
		return 0;
	return fail(ENOMEM, "%s", m.remedy);
}
