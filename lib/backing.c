/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backing.c - what lies behind a range of addresses: facts, no opinion.
 *
 * Asked in this order, each only as far as the one before left a question:
 *   which mapping?   PROCMAP_QUERY (Linux 6.11), else the text of /proc/self/maps
 *   which file?      the caller's descriptor, the mapping's name, map_files, own
 *                    descriptors: whatever has the mapping's device and inode
 *   is it DAX?       statx(2); where the file cannot be found: mount, block device
 *                    and the mapping's flags, which can only rule DAX out
 *   which pages?     /proc/self/pagemap, for the few questions that need it
 */
#include "maps.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "uapi.h"

#define SECRETMEM_MAGIC 0x5345434d /* include/uapi/linux/magic.h, 5.14 */

struct walk {
	const struct backing_hints *hints;
	int (*fn)(const struct mapping *m, void *arg);
	void *arg;
	int pagemap; /* -1: not open */
	struct maps maps;
};

int backing_vmflag(uintptr_t addr, const char *flag)
{
	char flags[256];
	int rc = smaps_find(addr, "VmFlags:", flags, sizeof(flags));

	if (rc)
		return fail(rc,
			    "/proc/thread-self/smaps has no VmFlags for %#" PRIxPTR
			    ": %s",
			    addr, strerror(-rc));
	return smaps_flag(flags, flag);
}

/* ----------------------------------------------------------------- what is it? */

/*
 * For a file that statx(2) cannot be asked about. Mappings of DAX files are born
 * with VM_HUGEPAGE ("hg") on ext4, xfs, erofs and virtiofs (not on ext2); only
 * madvise(MADV_NOHUGEPAGE) takes it away, and leaves its mark ("nh"). Only DAX
 * can be mapped MAP_SYNC ("sf").
 */
static enum pinmem_backing dax_or_file(const struct vma *v, const struct mount *mnt,
				       struct mapping *m)
{
	char flags[256] = "";

	if (cannot_be_dax(v, mnt))
		return PINMEM_FILE;
	smaps_find(v->start, "VmFlags:", flags, sizeof(flags));
	if (smaps_flag(flags, "io") || smaps_flag(flags, "pf"))
		return PINMEM_DEVICE;
	if (smaps_flag(flags, "sf"))
		return PINMEM_FSDAX;
	if (*flags && strcmp(mnt->type, "ext2") && !smaps_flag(flags, "hg") &&
	    !smaps_flag(flags, "nh"))
		return PINMEM_FILE;
	m->doubt = true;
	return PINMEM_FSDAX;
}

/*
 * What a driver, an anonymous inode, a socket or the vdso maps. VM_IO and VM_PFNMAP
 * are refused by GUP; pages that were inserted one by one (VM_MIXEDMAP: rings of
 * io_uring and of packet sockets) pin like shared memory. The rest (aio's ring)
 * comes through a page cache, and is tracked like a file's.
 */
static enum pinmem_backing kernel_memory(const struct vma *v, struct file *f)
{
	char flags[256];

	f->ends = false;
	if (smaps_find(v->start, "VmFlags:", flags, sizeof(flags)) ||
	    smaps_flag(flags, "io") || smaps_flag(flags, "pf"))
		return PINMEM_DEVICE;
	return smaps_flag(flags, "mm") ? PINMEM_SHMEM : PINMEM_FILE;
}

static enum pinmem_backing of_char_device(const struct vma *v, struct file *f)
{
	if (is_dax_device(f->rdev_major, f->rdev_minor))
		return PINMEM_DEVDAX;
	/* a private mapping of /dev/zero is anonymous memory, whatever its file */
	if (f->rdev_major == 1 && f->rdev_minor == 5 && !v->shared)
		return PINMEM_ANON;
	return kernel_memory(v, f);
}

static enum pinmem_backing of_found(const struct vma *v, struct file *f,
				    struct mapping *m)
{
	struct mount mnt;

	if (S_ISCHR(f->mode))
		return of_char_device(v, f);
	if (S_ISBLK(f->mode))
		return PINMEM_FILE;
	if (!S_ISREG(f->mode))
		return kernel_memory(v, f);
	switch (f->magic) {
	case TMPFS_MAGIC:
		return PINMEM_SHMEM;
	case HUGETLBFS_MAGIC:
		return PINMEM_HUGETLB;
	case SECRETMEM_MAGIC:
		return PINMEM_SECRET;
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
		return kernel_memory(v, f);
	}
	if (f->dax >= 0)
		return f->dax ? PINMEM_FSDAX : PINMEM_FILE;
	find_mount(v, &mnt);
	return dax_or_file(v, &mnt, m);
}

/* hugetlb memory on the kernel's own mounts, one for each page size */
static bool on_kernel_hugetlbfs(const struct walk *w)
{
	const char *name = w->maps.name;

	if (w->maps.vma.dev_major || !ends_with(name, " (deleted)"))
		return false;
	return !strcmp(name, "/anon_hugepage (deleted)") ||
	       ((!strncmp(name, "/memfd:", 7) || !strncmp(name, "/SYSV", 5)) &&
		!on_kernel_tmpfs(&w->maps));
}

/* The file is gone, out of reach, or was never anywhere. */
static enum pinmem_backing of_unfound(const struct walk *w, struct file *f,
				      struct mapping *m)
{
	static const char *const kernels[] = { "proc", "sysfs", "debugfs", "tracefs",
					       NULL };
	static const char *const shmem[] = { "tmpfs", "devtmpfs", NULL };
	const struct vma *v = &w->maps.vma;
	struct mount mnt;

	if (!strncmp(w->maps.name, "/dev/dax", 8) && isdigit(w->maps.name[8]))
		return PINMEM_DEVDAX;
	if (v->page_size > page_size() || on_kernel_hugetlbfs(w))
		return PINMEM_HUGETLB;
	if (on_kernel_tmpfs(&w->maps))
		return PINMEM_SHMEM;
	if (!v->dev_major && !strcmp(w->maps.name, "/secretmem (deleted)"))
		return PINMEM_SECRET;
	find_mount(v, &mnt);
	if (!strcmp(mnt.type, "hugetlbfs"))
		return PINMEM_HUGETLB;
	if ((w->maps.name[0] && w->maps.name[0] != '/') || mount_is(&mnt, kernels) ||
	    (!strncmp(w->maps.name, "/dev/", 5) &&
	     strncmp(w->maps.name, "/dev/shm/", 9)))
		return kernel_memory(v, f);
	if (mount_is(&mnt, shmem))
		return PINMEM_SHMEM;
	return dax_or_file(v, &mnt, m);
}

/* For the text, which does not tell. hugetlbfs has its page size as block size;
 * that of the kernel's own mounts is remembered, since smaps is slow. */
static uint64_t huge_page_size(const struct walk *w, const struct file *f)
{
	static uint64_t known; /* device in the high half, page size in KiB below */
	uint64_t device = makedev(w->maps.vma.dev_major, w->maps.vma.dev_minor), kib;
	uint64_t last = __atomic_load_n(&known, __ATOMIC_RELAXED);
	char text[64];

	if (f->found && f->magic == HUGETLBFS_MAGIC)
		return f->bsize;
	if (device && last >> 32 == device)
		return (last & UINT32_MAX) * 1024;
	if (smaps_find(w->maps.vma.start, "KernelPageSize:", text, sizeof(text)))
		return page_size();
	kib = strtoull(text, NULL, 10);
	if (on_kernel_hugetlbfs(w))
		__atomic_store_n(&known, device << 32 | kib, __ATOMIC_RELAXED);
	return kib * 1024;
}

static void classify(const struct walk *w, struct mapping *m, struct file *f)
{
	const struct vma *v = &w->maps.vma;

	if (vma_no_file(v)) {
		/* [vvar] was VM_PFNMAP before 7.3, [vvar_vclock] is; [vdso] is
		 * ordinary pages */
		m->backing = strncmp(w->maps.name, "[vvar", 5) ? PINMEM_ANON
							       : kernel_memory(v, f);
		f->ends = false;
		return;
	}
	find_file(&w->maps, w->hints ? w->hints->fd : -1, f);
	m->backing = f->found ? of_found(v, f, m) : of_unfound(w, f, m);
	if (!v->page_size &&
	    (m->backing == PINMEM_HUGETLB || m->backing == PINMEM_DEVDAX))
		m->page_size = huge_page_size(w, f);
}

/* ----------------------------------------------------------------- which pages? */

static int scan(int pagemap, uintptr_t start, uintptr_t end, uint64_t category,
		struct uapi_page_region *found, size_t n, uintptr_t *stopped)
{
	struct uapi_pm_scan s = {
		.size = sizeof(s),
		.start = start,
		.end = end,
		.vec = (uintptr_t)found,
		.vec_len = n,
		.category_mask = category,
		.return_mask = category,
	};
	int rc = ioctl(pagemap, UAPI_PAGEMAP_SCAN, &s);

	*stopped = s.walk_end;
	return rc;
}

static int open_pagemap(void)
{
	return open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
}

static bool huge_at(int pagemap, uintptr_t addr)
{
	uintptr_t size = page_size(), page = page_floor(addr), end;
	struct uapi_page_region region;

	return scan(pagemap, page, page + size, UAPI_PAGE_IS_HUGE, &region, 1, &end) ==
	       1;
}

int backing_huge_at(uintptr_t addr)
{
	int fd = open_pagemap();
	bool huge;

	if (fd < 0)
		return 0;
	huge = huge_at(fd, addr);
	close(fd);
	return huge;
}

/* Anonymous memory is called THP if more than half of 16 samples are. */
static bool mostly_huge(int pagemap, uintptr_t start, uintptr_t end)
{
	uintptr_t step = (end - start) / 16;
	int huge = 0;

	for (int i = 0; i < 16; i++)
		huge += huge_at(pagemap, start + (uintptr_t)i * step);
	return huge > 8;
}

/*
 * Are all pages of a private DAX mapping copies? Only such pass GUP's fast path;
 * one other sends it to the slow one, which refuses the mapping. A copy is
 * present (63), not the file's (61) and nobody else's (56): a page shared since a
 * fork is write-protected. Before devmap PTEs went (6.16), a DAX page had neither
 * of the two latter bits, so PAGEMAP_SCAN, which lacks "exclusive", cannot tell.
 */
static bool all_copied(int pagemap, uintptr_t start, uintptr_t end)
{
	const uint64_t mask = 1ULL << 63 | 1ULL << 61 | 1ULL << 56;
	const uint64_t want = 1ULL << 63 | 1ULL << 56;
	uintptr_t page = page_size();
	uint64_t entries[512];

	while (start < end) {
		size_t n = (end - start) / page;
		size_t bytes = (n < 512 ? n : 512) * sizeof(entries[0]);
		off_t at = (off_t)(start / page * sizeof(entries[0]));
		ssize_t got = pread(pagemap, entries, bytes, at);

		if (got <= 0)
			return false;
		for (ssize_t i = 0; i < got / (ssize_t)sizeof(entries[0]); i++)
			if ((entries[i] & mask) != want)
				return false;
		start += (uintptr_t)got / sizeof(entries[0]) * page;
	}
	return true;
}

/* --------------------------------------------------------------------- the walk */

static int tell(struct walk *w, struct mapping *m, uintptr_t start, uintptr_t end)
{
	m->offset += start - m->start;
	m->start = start;
	m->end = end;
	return w->fn(m, w->arg);
}

static int tell_unmapped(struct walk *w, const struct mapping *m, bool guard,
			 uintptr_t start, uintptr_t end)
{
	struct mapping gap = *m;

	gap.backing = PINMEM_UNMAPPED;
	gap.guard = guard;
	gap.past_eof = !guard;
	gap.doubt = gap.copied = false;
	return tell(w, &gap, start, end);
}

/* PAGE_IS_GUARD is known since 6.15; before, guards are not seen. */
static int tell_around_guards(struct walk *w, struct mapping *m, uintptr_t start,
			      uintptr_t end)
{
	struct uapi_page_region guards[16];
	uintptr_t from = start, stopped;
	int rc = 0, n;

	do {
		n = scan(w->pagemap, from, end, UAPI_PAGE_IS_GUARD, guards,
			 ARRAY_SIZE(guards), &stopped);
		for (int i = 0; i < n && !rc; i++) {
			if (start < guards[i].start)
				rc = tell(w, m, start, guards[i].start);
			if (!rc)
				rc = tell_unmapped(w, m, true, guards[i].start,
						   guards[i].end);
			start = guards[i].end;
		}
		from = stopped;
	} while (!rc && n == (int)ARRAY_SIZE(guards) && from < end);
	return rc || start == end ? rc : tell(w, m, start, end);
}

/* Memory that is there, as far as the mapping goes */
static int tell_pages(struct walk *w, struct mapping *m, uintptr_t start, uintptr_t end)
{
	bool detail = w->hints && w->hints->detail && m->backing == PINMEM_ANON;
	bool guards = w->hints && w->hints->guards && m->backing != PINMEM_DEVICE;
	bool copies = m->backing == PINMEM_FSDAX && !m->shared;

	if (w->pagemap < 0 && (detail || guards || copies))
		w->pagemap = open_pagemap();
	if (w->pagemap < 0)
		return tell(w, m, start, end);
	if (detail && mostly_huge(w->pagemap, start, end))
		m->backing = PINMEM_THP;
	if (copies)
		m->copied = all_copied(w->pagemap, start, end);
	return guards ? tell_around_guards(w, m, start, end) : tell(w, m, start, end);
}

/* Where the file's last page ends in the mapping */
static uintptr_t data_end(const struct vma *v, const struct mapping *m,
			  const struct file *f)
{
	uint64_t size = f->size;

	if (!f->ends)
		return v->end;
	size = (size + m->page_size - 1) / m->page_size * m->page_size;
	if (size <= v->offset)
		return v->start;
	size -= v->offset;
	return size < v->end - v->start ? v->start + size : v->end;
}

static void mapping_init(struct mapping *m, const struct vma *v)
{
	memset(m, 0, offsetof(struct mapping, file) + 1);
	m->start = v->start;
	m->end = v->end;
	m->backing = PINMEM_ANON;
	m->readable = v->readable;
	m->writable = v->writable;
	m->shared = v->shared;
	m->page_size = v->page_size ? v->page_size : page_size();
	m->offset = v->offset;
	m->inode = v->inode;
	m->dev_major = v->dev_major;
	m->dev_minor = v->dev_minor;
}

/* The part [start, end) of the current mapping */
static int tell_vma(struct walk *w, uintptr_t start, uintptr_t end)
{
	struct mapping m;
	struct file f;
	uintptr_t stop;
	int rc = 0;

	mapping_init(&m, &w->maps.vma);
	if (vma_plain(&w->maps.vma))
		return tell_pages(w, &m, start, end);
	classify(w, &m, &f);
	text_copy(m.file, w->maps.name, sizeof(m.file));
	stop = data_end(&w->maps.vma, &m, &f);
	if (stop > end)
		stop = end;
	if (stop > start)
		rc = tell_pages(w, &m, start, stop);
	else
		stop = start;
	return rc || stop == end ? rc : tell_unmapped(w, &m, false, stop, end);
}

static int tell_hole(struct walk *w, uintptr_t start, uintptr_t end)
{
	struct mapping m;

	memset(&m, 0, offsetof(struct mapping, file) + 1);
	m.start = start;
	m.page_size = page_size();
	return tell(w, &m, start, end);
}

static int walk(struct walk *w, uintptr_t at, uintptr_t end)
{
	const struct vma *v = &w->maps.vma;
	uintptr_t last = end - 1; /* an end of 0 is the top of the address space */
	int rc;

	for (;;) {
		uintptr_t stop;

		rc = maps_next(&w->maps, at, last);
		if (rc < 0)
			return rc;
		if (!rc || v->start > last)
			return tell_hole(w, at, end);
		if (v->start > at) {
			rc = tell_hole(w, at, v->start);
			if (rc)
				return rc;
			at = v->start;
		}
		stop = v->end > last ? end : v->end;
		rc = tell_vma(w, at, stop);
		if (rc || stop == end)
			return rc;
		at = stop;
	}
}

int backing_walk(uintptr_t start, uintptr_t end, const struct backing_hints *hints,
		 int (*fn)(const struct mapping *m, void *arg), void *arg)
{
	struct walk w; /* large: only what is needed is initialised */
	int rc;

	if (start && start == end)
		return 0;
	w.hints = hints;
	w.fn = fn;
	w.arg = arg;
	w.pagemap = -1;
	maps_begin(&w.maps);
	rc = walk(&w, start, end);
	if (w.pagemap >= 0)
		close(w.pagemap);
	maps_end(&w.maps);
	return rc;
}

/* SysV segments are unmapped without an event (shmdt(2)): nobody's word helps there.
 * Private memory of MAP_HUGETLB has a file that nobody can reach. */
static bool vma_settled(const struct walk *w, bool trusted)
{
	const struct vma *v = &w->maps.vma;
	const char *name = w->maps.name;
	struct mapping m;
	struct file f;

	if (vma_no_file(v))
		return true;
	if (!strncmp(name, "/SYSV", 5))
		return false;
	if (trusted || (!strcmp(name, "/anon_hugepage (deleted)") && !v->shared))
		return true;
	mapping_init(&m, v);
	classify(w, &m, &f);
	if (m.backing == PINMEM_DEVDAX || m.backing == PINMEM_ANON)
		return true;
	return (m.backing == PINMEM_SHMEM || m.backing == PINMEM_HUGETLB) &&
	       !never_open(name) && file_sealed(&w->maps);
}

bool backing_settled(uintptr_t start, uintptr_t end, bool trusted)
{
	bool settled = true;
	uintptr_t at = start;
	struct walk w;

	w.hints = NULL;
	maps_begin(&w.maps);
	while (settled && at < end) {
		settled = maps_next(&w.maps, at, end - 1) == 1 &&
			  w.maps.vma.start <= at && vma_settled(&w, trusted);
		at = w.maps.vma.end;
	}
	maps_end(&w.maps);
	return settled;
}
