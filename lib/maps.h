/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * maps.h - what backing.c, the only user, builds its facts on: the mappings of this
 * process one after the other, the files behind them, and procfs' text.
 */
#ifndef PINMEM_MAPS_H
#define PINMEM_MAPS_H

#include <limits.h>
#include <string.h>

#include "internal.h"

/* Set when the kernel turns out to have no PROCMAP_QUERY; tests set it too. */
extern bool backing_force_text;

/** text_copy - a string, cut to fit */
static inline void text_copy(char *to, const char *from, size_t size)
{
	size_t length = strnlen(from, size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}

/** struct lines - a text file of procfs, line by line. */
struct lines {
	int fd;
	int err;	  /* why there are no more lines; 0: the end */
	size_t next, end; /* the bytes of buf that were not looked at yet */
	char buf[32768];  /* of a longer line only the first half */
};

/** lines_open - NULL with errno */
struct lines *lines_open(const char *path);
/** lines_next - the next line, without its newline; NULL: no more */
char *lines_next(struct lines *l);
void lines_close(struct lines *l);

/** struct vma - one mapping as the kernel shows it; its name is in struct maps. */
struct vma {
	uintptr_t start, end;
	uint64_t offset, inode;
	uint64_t page_size; /* 0: the text does not tell */
	unsigned int dev_major, dev_minor;
	bool readable, writable, shared;
};

/** vma_no_file - memory without a file. Not by the inode alone: that of a SysV
 * segment is its id, and the first one's is 0. */
static inline bool vma_no_file(const struct vma *v)
{
	return !v->inode && !v->dev_major && !v->dev_minor;
}

/** vma_plain - anonymous memory as most is; its name is not asked for. */
static inline bool vma_plain(const struct vma *v)
{
	return vma_no_file(v) && v->writable && !v->shared;
}

/** struct maps - one walk over the mappings, upwards. */
struct maps {
	struct vma vma;
	int fd;		    /* /proc/self/maps; -1: not open */
	uint64_t kept;	    /* not 0: fd belongs to all walks of this process */
	bool fresh;	    /* fd was opened by this walk: it is what it should be */
	struct lines *text; /* NULL while PROCMAP_QUERY works */
	char name[PATH_MAX];
};

void maps_begin(struct maps *m);
/**
 * maps_next - fill m->vma and m->name with the mapping at @at or the next above.
 * @last: no name is needed of a mapping that starts above
 * One ioctl for plain anonymous memory, two for other.
 * Return: 1; 0: there is none; -EOPNOTSUPP without /proc, -ENOMEM, …
 */
int maps_next(struct maps *m, uintptr_t at, uintptr_t last);
void maps_end(struct maps *m);

/**
 * smaps_find - what follows @key ("VmFlags:") for the mapping at @addr.
 * The kernel walks the page tables of every mapping below: milliseconds in a
 * large process. Return: 0, -EFAULT: not there, or another errno; no sentence.
 */
int smaps_find(uintptr_t addr, const char *key, char *value, size_t size);
/** smaps_flag - does the text of VmFlags (" rd wr io ") have this one? */
bool smaps_flag(const char *flags, const char *flag);

/* -------------------------------------------------------------- mapfile.c */

/** struct file - the file behind a mapping. All zero: it was not found. */
struct file {
	bool found;
	bool ends; /* pages past its size cannot be had */
	int dax;   /* 1, 0; -1: the kernel does not tell (before 5.8) */
	mode_t mode;
	unsigned int rdev_major, rdev_minor;
	uint64_t size;	/* bytes */
	uint64_t bsize; /* bytes; the page size on hugetlbfs */
	long magic;	/* of its file system */
};

/** find_file - by the caller's @fd (or -1), by the mapping's name, by map_files,
 * among the descriptors of this process; what does not match is passed over. */
void find_file(const struct maps *m, int fd, struct file *f);
/** file_sealed - is it a memfd whose pages nobody can take away through a descriptor?
 * false also where it cannot be found out. Searches the descriptors: slow. */
bool file_sealed(const struct maps *m);
/** never_open - memory of MAP_ANONYMOUS or shmat(2), by its name: no descriptor
 * leads there. */
bool never_open(const char *name);
/** on_kernel_tmpfs - memfd, SysV or shared anonymous memory, on base pages. */
bool on_kernel_tmpfs(const struct maps *m);
/** is_dax_device - does this character device belong to device-dax? */
bool is_dax_device(unsigned int dev_major, unsigned int dev_minor);

/** struct mount - the file system on a device, from /proc/thread-self/mountinfo. */
struct mount {
	char type[32]; /* "": not mounted where we can see it */
	bool dax_never;
	bool rtdev; /* xfs with files on a second device */
};
void find_mount(const struct vma *v, struct mount *mnt);
/** mount_is - is its type among these? NULL ends the list. */
bool mount_is(const struct mount *mnt, const char *const *types);
/** cannot_be_dax - do file system, mount options or block device rule DAX out? */
bool cannot_be_dax(const struct vma *v, const struct mount *mnt);

bool ends_with(const char *s, const char *end);

#endif
