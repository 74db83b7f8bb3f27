/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_bounded.c - with a region registered, ordinary operations on its memory and its
 * file return within a bound: nothing waits for somebody else's pin.
 *
 * usage: test_bounded [CASE...]
 * Each case is a region on one kind of memory, in a process of its own, which does
 *   fsync, punch a hole, truncate (to a half, to nothing), unmount while it is mapped
 *   (EBUSY), munmap, close, unmount while it is registered, release, unmount;
 * and once more, to exit with the region as it is. What the kind cannot do is left
 * out. Every step is timed. A step that takes longer than BOUND_S is a failure with
 * its name, and so is one that never returns.
 *   pinned  anonymous memory, tmpfs, device-dax; page-cache files for reading
 *   odp     files on DAX and in the page cache, where the device has ODP
 *   staged  files on DAX
 * Exit: 0; 1 when a case failed; 77 outside of tests/vm/run's machine; 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

#define BOUND_S 5 /* for one step */
#define CASE_S 40 /* for all of a case: then a step never returns */
#define LEN (4ul << 20)

/* @dir, @device, @type, @options: to unmount and mount again; NULL where not done */
struct test_case {
	const char *name;
	enum pinmem_mode mode;
	unsigned int access;
	const char *dir, *device, *type, *options;
};

/* What the parent must know of the child that hangs. */
struct shared {
	char step[64];
	double began;
};

struct test {
	const struct test_case *c;
	struct shared *shared;
	struct pinmem *pm;
	struct pinmem_mr *mr;
	unsigned char *map;
	char dir[256], path[300];
	int fd;
	bool failed;
};

#define WRITES (PINMEM_ACCESS_LOCAL_WRITE | PINMEM_ACCESS_REMOTE_WRITE)
#define READS PINMEM_ACCESS_REMOTE_READ

static const struct test_case cases[] = {
	{ "pinned-anon", PINMEM_PINNED, WRITES, NULL, NULL, NULL, NULL },
	{ "pinned-devdax", PINMEM_PINNED, WRITES, NULL, "PINMEM_DEVDAX", NULL, NULL },
	{ "pinned-tmpfs", PINMEM_PINNED, WRITES, "", NULL, "tmpfs", NULL },
	{ "pinned-ext4", PINMEM_PINNED, READS, "PINMEM_EXT4", "PINMEM_EXT4_DEV", "ext4",
	  NULL },
	{ "pinned-xfs", PINMEM_PINNED, READS, "PINMEM_XFS", "PINMEM_XFS_DEV", "xfs",
	  NULL },
	{ "odp-ext4", PINMEM_ODP, WRITES, "PINMEM_EXT4", "PINMEM_EXT4_DEV", "ext4",
	  NULL },
	{ "odp-ext4-dax", PINMEM_ODP, WRITES, "PINMEM_EXT4_DAX", "PINMEM_EXT4_DAX_DEV",
	  "ext4", "dax=always" },
	{ "odp-xfs-dax", PINMEM_ODP, WRITES, "PINMEM_XFS_DAX", "PINMEM_XFS_DAX_DEV",
	  "xfs", "dax=always" },
	{ "staged-ext4-dax", PINMEM_STAGED, WRITES, "PINMEM_EXT4_DAX",
	  "PINMEM_EXT4_DAX_DEV", "ext4", "dax=always" },
	{ "staged-xfs-dax", PINMEM_STAGED, WRITES, "PINMEM_XFS_DAX",
	  "PINMEM_XFS_DAX_DEV", "xfs", "dax=always" },
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static bool complain(struct test *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool complain(struct test *t, const char *fmt, ...)
{
	va_list ap;

	printf("FAIL %s: ", t->c->name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	t->failed = true;
	return false;
}

/* ------------------------------------------------------------------------- steps */

static void begin(struct test *t, const char *step)
{
	snprintf(t->shared->step, sizeof(t->shared->step), "%s", step);
	t->shared->began = now();
}

/* @err: 0 or the errno that the step ended with */
static bool end(struct test *t, int err, int expected)
{
	double took = now() - t->shared->began;

	printf("     %s: %s: %s, %.1f ms\n", t->c->name, t->shared->step, strerror(err),
	       1e3 * took);
	if (err != expected)
		return complain(t, "%s: %s, not %s", t->shared->step, strerror(err),
				strerror(expected));
	return took < link_seconds(BOUND_S) ||
	       complain(t, "%s took %.1f s", t->shared->step, took);
}

/* A system call that gives -1 and errno when it fails. */
#define STEP(t, what, call, expected) \
	(begin(t, what), end(t, (call) ? errno : 0, expected))

static bool is_file(const struct test *t)
{
	return t->c->dir != NULL;
}

static bool registers(struct test *t)
{
	struct pinmem_reg_options o = { .size = sizeof(o), .mode = t->c->mode };
	int rc;

	begin(t, "register");
	rc = pinmem_reg(t->pm, t->map, LEN, t->c->access, &o, &t->mr);
	if (rc)
		complain(t, "pinmem_reg: %s", pinmem_errmsg());
	return end(t, -rc, 0);
}

static bool releases(struct test *t)
{
	int rc;

	begin(t, "release");
	rc = pinmem_dereg(t->mr, PINMEM_DIRTY, NULL);
	if (rc)
		complain(t, "pinmem_dereg: %s", pinmem_errmsg());
	return end(t, -rc, 0);
}

/* Some of what fsync has to write was written after the pin. */
static bool changes_file(struct test *t)
{
	static const char bytes[8192];

	if (pwrite(t->fd, bytes, sizeof(bytes), 12345) != (ssize_t)sizeof(bytes))
		return complain(t, "pwrite: %s", strerror(errno));
	return STEP(t, "fsync", fsync(t->fd), 0) &&
	       STEP(t, "punch a hole",
		    fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      1 << 20, 1 << 20),
		    0) &&
	       STEP(t, "truncate to a half", ftruncate(t->fd, LEN / 2), 0) &&
	       STEP(t, "truncate to nothing", ftruncate(t->fd, 0), 0);
}

/* The sync of a staged region whose file has gone must say so, not wait or die. */
static bool syncs_into_nothing(struct test *t)
{
	int rc;

	if (t->c->mode != PINMEM_STAGED)
		return true;
	begin(t, "sync from the device");
	rc = pinmem_sync(t->mr, 0, LEN, PINMEM_SYNC_FROM_DEVICE);
	return end(t, -rc, EFAULT);
}

/* What a file of a moment ago is still busy with may take a moment. */
static int unmount_soon(const char *dir)
{
	static const struct timespec nap = { .tv_nsec = 100000000 };

	for (int i = 0; umount2(dir, 0); i++) {
		if (errno != EBUSY || i == 20)
			return -1;
		nanosleep(&nap, NULL);
	}
	return 0;
}

static int mount_it(struct test *t)
{
	const char *device = t->c->device ? getenv(t->c->device) : "tmpfs";

	return mount(device, t->dir, t->c->type, 0, t->c->options);
}

/* ------------------------------------------------------------------------- cases */

/* Memory of the kind, touched. A tmpfs is one of our own, which may be unmounted. */
static bool make_memory(struct test *t)
{
	int flags = MAP_SHARED;

	t->fd = -1;
	if (is_file(t)) {
		t->fd = open(t->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (t->fd < 0 || posix_fallocate(t->fd, 0, LEN))
			return complain(t, "%s: %s", t->path, strerror(errno));
	} else if (t->c->device) {
		t->fd = open(getenv(t->c->device), O_RDWR | O_CLOEXEC);
	} else {
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
	}
	t->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, t->fd, 0);
	if (t->map == MAP_FAILED)
		return complain(t, "mmap: %s", strerror(errno));
	memset(t->map, 0x55, LEN);
	return true;
}

static bool works(struct test *t)
{
	bool fine = make_memory(t) && registers(t);

	if (fine && is_file(t))
		fine = changes_file(t) && syncs_into_nothing(t) &&
		       STEP(t, "unmount while mapped", umount2(t->dir, 0), EBUSY);
	fine = fine && STEP(t, "munmap", munmap(t->map, LEN), 0);
	if (fine && t->fd >= 0)
		fine = STEP(t, "close", close(t->fd), 0);
	if (fine && is_file(t))
		fine = STEP(t, "unmount while registered", unmount_soon(t->dir), 0) &&
		       STEP(t, "mount", mount_it(t), 0);
	return fine && releases(t) &&
	       (!is_file(t) ||
		(STEP(t, "unmount after the release", unmount_soon(t->dir), 0) &&
		 STEP(t, "mount again", mount_it(t), 0)));
}

static bool exits(struct test *t)
{
	bool fine = make_memory(t) && registers(t);

	begin(t, "exit with the region");
	return fine;
}

/* Runs in the child: 0, 1, or 77 when the device cannot do that. */
static int child(struct test *t, bool (*run)(struct test *t))
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_VERBS,
				    .device = getenv("PINMEM_RXE0") };
	struct pinmem_info info = { .size = sizeof(info) };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(link_seconds(CASE_S));
	if (pinmem_open(&o, &t->pm) || pinmem_query(t->pm, &info))
		return !complain(t, "pinmem_open: %s", pinmem_errmsg());
	if (t->c->mode == PINMEM_ODP && !info.odp)
		return 77;
	if (!run(t))
		return 1;
	return run == exits ? 0 : !STEP(t, "pinmem_close", -pinmem_close(t->pm), 0);
}

/* Says where in the kernel a process stays that no signal ends. */
static void show_stack(pid_t pid)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stack", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		printf("     %s", line);
	if (f)
		fclose(f);
}

/* Return: as waitpid()'s, or -1: it does not end. */
static int wait_for(pid_t pid, double until)
{
	static const struct timespec nap = { .tv_nsec = 5000000 };
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now() > until)
			return -1;
		nanosleep(&nap, NULL);
	}
	return status;
}

static bool judge(struct test *t, pid_t pid, int status)
{
	const struct shared *s = t->shared;

	if (status == -1) {
		show_stack(pid);
		return complain(t, "%s: hangs, and cannot be killed", s->step);
	}
	if (WIFSIGNALED(status))
		return complain(t, "%s: hangs or dies: ended by signal %d", s->step,
				WTERMSIG(status));
	return !WEXITSTATUS(status) || complain(t, "failed");
}

static int in_child(struct test *t, bool (*run)(struct test *t))
{
	int status;
	pid_t pid;

	memset(t->shared, 0, sizeof(*t->shared));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return complain(t, "fork: %s", strerror(errno));
	if (!pid) {
		status = child(t, run);
		fflush(stdout);
		_exit(status);
	}
	status = wait_for(pid, now() + link_seconds(CASE_S + BOUND_S));
	if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return 77;
	if (!judge(t, pid, status))
		return 1;
	/* the exit is a step, which the child cannot measure itself */
	return run == exits && !end(t, 0, 0);
}

/* A tmpfs is mounted for the case, so that the machine's own stays. */
static void run_case(struct test *t)
{
	bool own_mount = is_file(t) && !*t->c->dir;
	int rc;

	if (own_mount) {
		snprintf(t->dir, sizeof(t->dir), "/tmp/bounded-XXXXXX");
		if (!mkdtemp(t->dir) || mount_it(t)) {
			complain(t, "mount of tmpfs: %s", strerror(errno));
			return;
		}
	} else if (is_file(t)) {
		snprintf(t->dir, sizeof(t->dir), "%s", getenv(t->c->dir));
	}
	snprintf(t->path, sizeof(t->path), "%s/bounded", t->dir);
	rc = in_child(t, works);
	if (rc != 77)
		rc |= in_child(t, exits);
	if (own_mount && (unmount_soon(t->dir) || rmdir(t->dir)))
		complain(t, "umount of %s: %s", t->dir, strerror(errno));
	else if (is_file(t) && rc != 77)
		unlink(t->path);
	printf("%s %s\n",
	       rc == 77		 ? "skip"
	       : rc || t->failed ? "FAIL"
				 : "ok  ",
	       t->c->name);
}

/* -------------------------------------------------------------------------- main */

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	struct test t = { .fd = -1 };
	unsigned int ran = 0, failed = 0;

	if (!getenv("PINMEM_VM")) {
		puts("PINMEM_VM is not set: this runs in tests/vm/run's machine");
		return 77;
	}
	t.shared = mmap(NULL, sizeof(*t.shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t.shared == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!wanted(cases[i].name, argc, argv))
			continue;
		t.c = &cases[i];
		t.failed = false;
		t.fd = -1;
		run_case(&t);
		ran++;
		failed += t.failed;
	}
	printf("%u cases, %u failed\n", ran, failed);
	return failed ? 1 : ran ? 0 : 2;
}
