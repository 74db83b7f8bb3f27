/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mapfile.c - which file is mapped, and what carries it: found by the device and the
 * inode that the mapping shows, wherever they may turn up.
 */
#include "maps.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

bool ends_with(const char *s, const char *end)
{
	size_t length = strlen(s), tail = strlen(end);

	return length >= tail && !strcmp(s + length - tail, end);
}

/*
 * The mapping shows the device of the superblock. btrfs tells stat(2) that of the
 * subvolume; overlayfs one of its layers, on kernels before 6.8 it maps the file
 * below, and without xino the inode numbers differ too. An overlay's name is
 * then believed, for a deleted file says so in its name.
 */
static bool same_file(const struct maps *m, const struct statx *st, long magic,
		      bool by_name)
{
	const struct vma *v = &m->vma;

	if (st->stx_ino != v->inode)
		return magic == OVERLAYFS_SUPER_MAGIC && by_name &&
		       S_ISREG(st->stx_mode) && !ends_with(m->name, " (deleted)");
	return (st->stx_dev_major == v->dev_major &&
		st->stx_dev_minor == v->dev_minor) ||
	       magic == BTRFS_SUPER_MAGIC || magic == OVERLAYFS_SUPER_MAGIC;
}

/*
 * The device of the kernel's own tmpfs, where memfds, SysV segments and shared
 * anonymous memory live: 0 if it cannot be had. One for all processes.
 */
static uint64_t kernel_tmpfs(void)
{
	static uint64_t device;
	uint64_t known = __atomic_load_n(&device, __ATOMIC_RELAXED);
	struct stat st;
	int fd;

	if (known)
		return known;
	fd = memfd_create("pinmem", MFD_CLOEXEC);
	if (fd < 0)
		return 0;
	if (!fstat(fd, &st))
		__atomic_store_n(&device, known = st.st_dev, __ATOMIC_RELAXED);
	close(fd);
	return known;
}

/* The device number says it; without it (memfd_create(2) forbidden) the name. */
bool on_kernel_tmpfs(const struct maps *m)
{
	uint64_t device = kernel_tmpfs();

	if (device)
		return device == makedev(m->vma.dev_major, m->vma.dev_minor);
	return !m->vma.dev_major &&
	       (never_open(m->name) || !strncmp(m->name, "/memfd:", 7));
}

/* The file system's magic and block size; the kernel's tmpfs needs no question. */
static bool probe_fs(const struct maps *m, int fd, const char *path, struct file *f)
{
	struct statfs fs;

	if (kernel_tmpfs() == makedev(m->vma.dev_major, m->vma.dev_minor)) {
		f->magic = TMPFS_MAGIC;
		return true;
	}
	if (*path ? statfs(path, &fs) : fstatfs(fd, &fs))
		return false;
	f->magic = fs.f_type;
	f->bsize = (uint64_t)fs.f_bsize;
	return true;
}

/* Is this the mapped file? By descriptor, or by path with AT_FDCWD. */
static bool probe(const struct maps *m, int fd, const char *path, struct file *f)
{
	int flags = *path ? AT_NO_AUTOMOUNT : AT_NO_AUTOMOUNT | AT_EMPTY_PATH;
	struct statx st;

	if (statx(fd, path, flags, STATX_BASIC_STATS, &st))
		return false;
	if (!*path && st.stx_ino != m->vma.inode)
		return false;
	if (!probe_fs(m, fd, path, f) || !same_file(m, &st, f->magic, *path))
		return false;
	f->found = true;
	f->mode = st.stx_mode;
	f->ends = S_ISREG(f->mode);
	f->rdev_major = st.stx_rdev_major;
	f->rdev_minor = st.stx_rdev_minor;
	f->size = st.stx_size;
	f->dax = st.stx_attributes_mask & STATX_ATTR_DAX
			 ? !!(st.stx_attributes & STATX_ATTR_DAX)
			 : -1;
	return true;
}

/* The text of maps has \012 for a newline, and for a \012 as well. */
static bool probe_unescaped(const struct maps *m, struct file *f)
{
	char path[PATH_MAX], *to = path;

	if (!strstr(m->name, "\\012"))
		return false;
	for (const char *p = m->name; *p; to++) {
		bool newline = !strncmp(p, "\\012", 4);

		*to = newline ? '\n' : *p;
		p += newline ? 4 : 1;
	}
	*to = '\0';
	return probe(m, AT_FDCWD, path, f);
}

static bool probe_name(const struct maps *m, struct file *f)
{
	return m->name[0] == '/' &&
	       (probe(m, AT_FDCWD, m->name, f) || probe_unescaped(m, f));
}

static void map_files_path(char *path, size_t size, const struct maps *m)
{
	snprintf(path, size, "/proc/self/map_files/%" PRIxPTR "-%" PRIxPTR,
		 m->vma.start, m->vma.end);
}

/* Needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN; finds deleted files too. */
static bool probe_map_files(const struct maps *m, struct file *f)
{
	char path[64];

	map_files_path(path, sizeof(path), m);
	return probe(m, AT_FDCWD, path, f);
}

/* Where a file was found the last time; a guess only */
static int last_descriptor = -1;

static bool probe_descriptor(const struct maps *m, int fd, struct file *f)
{
	return fd >= 0 && probe(m, fd, "", f);
}

/* A program that maps a memfd or a deleted file often still has it open. Return: the
 * descriptor, or -1. */
static int find_descriptor(const struct maps *m, struct file *f)
{
	int found = __atomic_load_n(&last_descriptor, __ATOMIC_RELAXED);
	struct dirent *entry;
	DIR *dir;

	if (probe_descriptor(m, found, f))
		return found;
	dir = opendir("/proc/thread-self/fd");
	found = -1;
	while (dir && found < 0 && (entry = readdir(dir))) {
		int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);

		if (probe_descriptor(m, fd, f))
			found = fd;
	}
	if (dir)
		closedir(dir);
	if (found >= 0)
		__atomic_store_n(&last_descriptor, found, __ATOMIC_RELAXED);
	return found;
}

bool never_open(const char *name)
{
	return !strcmp(name, "/dev/zero (deleted)") || !strncmp(name, "/SYSV", 5) ||
	       !strncmp(name, "[anon_shmem:", 12);
}

void find_file(const struct maps *m, int fd, struct file *f)
{
	*f = (struct file){ 0 };
	if (!strcmp(m->name, "/anon_hugepage (deleted)"))
		return; /* as long as its mapping, and nothing else to be known */
	if (fd >= 0 && probe(m, fd, "", f))
		return;
	if (never_open(m->name)) {
		probe_map_files(m, f);
		return;
	}
	if (!on_kernel_tmpfs(m) && probe_name(m, f)) /* no path leads to a memfd */
		return;
	if (!probe_descriptor(m, __atomic_load_n(&last_descriptor, __ATOMIC_RELAXED),
			      f) &&
	    !probe_map_files(m, f))
		find_descriptor(m, f);
}

/* Holes are punched by writing, so F_SEAL_SHRINK alone is not enough; MADV_REMOVE of
 * another mapping is refused by the same seals (shmem_fallocate(), mm/shmem.c). */
static bool fd_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && seals & F_SEAL_SHRINK &&
	       seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

bool file_sealed(const struct maps *m)
{
	char path[64];
	struct file f = { 0 };
	int fd = find_descriptor(m, &f);
	bool sealed;

	if (fd >= 0)
		return fd_sealed(fd);
	map_files_path(path, sizeof(path), m);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	sealed = fd_sealed(fd);
	close(fd);
	return sealed;
}

/* ------------------------------------------------------ what carries the file? */

/* Reads a small file of sysfs; "" if there is none. */
static const char *read_sysfs(char *buf, size_t size, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return buf;
}

bool is_dax_device(unsigned int dev_major, unsigned int dev_minor)
{
	char path[64], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", dev_major,
		 dev_minor);
	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	return ends_with(link, "/dax");
}

/* A block device that is not DAX capable cannot carry a DAX file system; that of
 * a partition is its disk's to tell. */
static bool block_without_dax(const struct vma *v)
{
	static const char *const up[] = { "", "../" };
	char path[64], text[8];

	if (!v->dev_major)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(up); i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/dax",
			 v->dev_major, v->dev_minor, up[i]);
		if (*read_sysfs(text, sizeof(text), path))
			return text[0] == '0';
	}
	return false;
}

static bool parse_mount(char *line, const struct vma *v, struct mount *mnt)
{
	unsigned int dev_major, dev_minor;
	char *type = strstr(line, " - ");

	if (!type || sscanf(line, "%*u %*u %u:%u", &dev_major, &dev_minor) != 2 ||
	    dev_major != v->dev_major || dev_minor != v->dev_minor)
		return false;
	type += 3;
	snprintf(mnt->type, sizeof(mnt->type), "%.*s", (int)strcspn(type, " "), type);
	mnt->dax_never = strstr(type, "dax=never") != NULL;
	mnt->rtdev = strstr(type, "rtdev=") != NULL;
	return true;
}

void find_mount(const struct vma *v, struct mount *mnt)
{
	struct lines *l = lines_open("/proc/thread-self/mountinfo");
	char *line;

	*mnt = (struct mount){ 0 };
	if (!l)
		return;
	while ((line = lines_next(l)) && !parse_mount(line, v, mnt))
		;
	lines_close(l);
}

bool mount_is(const struct mount *mnt, const char *const *types)
{
	for (; *types; types++)
		if (!strcmp(mnt->type, *types))
			return true;
	return false;
}

bool cannot_be_dax(const struct vma *v, const struct mount *mnt)
{
	static const char *const with_dax[] = { "ext2",	    "ext3",    "ext4",
						"xfs",	    "erofs",   "fuse",
						"virtiofs", "overlay", NULL };

	if (mnt->type[0] && !mount_is(mnt, with_dax))
		return true;
	return mnt->dax_never || (!mnt->rtdev && block_without_dax(v));
}
