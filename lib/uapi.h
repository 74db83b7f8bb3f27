/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uapi.h - kernel interfaces newer than Debian 12's kernel headers (6.1).
 *
 * The layouts are the kernel's ABI, from include/uapi/linux/fs.h, io_uring.h and
 * mman.h of Linux 6.12 and later, and pin_track.h of kernel/pin_track.patch. They have
 * names of our own, so that newer system headers do not clash. Whether the running
 * kernel has them is found by trying.
 */
#ifndef PINMEM_UAPI_H
#define PINMEM_UAPI_H

#include <linux/types.h>
#include <sys/ioctl.h>

/* PROCMAP_QUERY on /proc/PID/maps, 6.11 */
struct uapi_procmap_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size;
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};
#define UAPI_PROCMAP_QUERY _IOWR('f', 17, struct uapi_procmap_query)
#define UAPI_PROCMAP_READABLE 0x01
#define UAPI_PROCMAP_WRITABLE 0x02
#define UAPI_PROCMAP_EXECUTABLE 0x04
#define UAPI_PROCMAP_SHARED 0x08
#define UAPI_PROCMAP_COVERING_OR_NEXT 0x10

/* PAGEMAP_SCAN on /proc/PID/pagemap, 6.7 */
struct uapi_page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};
struct uapi_pm_scan {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};
#define UAPI_PAGEMAP_SCAN _IOWR('f', 16, struct uapi_pm_scan)
#define UAPI_PAGE_IS_WPALLOWED (1 << 0)
#define UAPI_PAGE_IS_WRITTEN (1 << 1)
#define UAPI_PAGE_IS_FILE (1 << 2)
#define UAPI_PAGE_IS_PRESENT (1 << 3)
#define UAPI_PAGE_IS_SWAPPED (1 << 4)
#define UAPI_PAGE_IS_PFNZERO (1 << 5)
#define UAPI_PAGE_IS_HUGE (1 << 6)
#define UAPI_PAGE_IS_SOFT_DIRTY (1 << 7)
#define UAPI_PAGE_IS_GUARD (1 << 8) /* 6.15 */

/* MADV_GUARD_INSTALL, 6.13 */
#define UAPI_MADV_GUARD_INSTALL 102
#define UAPI_MADV_GUARD_REMOVE 103

/* userfaultfd(2): /dev/userfaultfd, 6.1; memory of any kind, no fault ever, 6.7 */
#define UAPI_USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#define UAPI_UFFD_FEATURE_WP_ASYNC (1 << 15)

/* IORING_REGISTER_CLONE_BUFFERS, 6.12; with DST_REPLACE, 6.13 */
struct uapi_clone_buffers {
	__u32 src_fd;
	__u32 flags;
	__u32 src_off;
	__u32 dst_off;
	__u32 nr;
	__u32 pad[3];
};
#define UAPI_IORING_REGISTER_CLONE_BUFFERS 30
#define UAPI_IORING_CLONE_DST_REPLACE (1U << 1)

/*
 * /dev/pin_track (kernel/pin_track.patch; Documentation/misc-devices/pin_track.rst).
 * Each structure begins with its size, as the caller knows it. All but INFO is EPERM
 * from any other address space than the one that opened the file.
 */
struct uapi_pin_track_slot { /* of the file's mapping */
	__u64 invalidations;
	__u64 protections;
};

#define UAPI_PIN_TRACK_WRITE (1U << 0)
#define UAPI_PIN_TRACK_DIRTY_AT_PIN (1U << 1)
#define UAPI_PIN_TRACK_NO_SLOT (1U << 2)
struct uapi_pin_track_pin {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 len;
	__u64 cookie;
	__u64 id;
	__u64 generation;
	__u64 pages;
	__u32 slot;
	__u32 reserved;
};

#define UAPI_PIN_TRACK_CLEAN (1U << 0)
#define UAPI_PIN_TRACK_DIRTY (1U << 1)
struct uapi_pin_track_unpin { /* UNPIN, UNWATCH (without flags) */
	__u32 size;
	__u32 flags;
	__u64 id;
};

struct uapi_pin_track_watch {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 len;
	__u64 id;
	__u64 generation;
	__u32 slot;
	__u32 reserved;
};

#define UAPI_PIN_TRACK_COMPARE (1U << 0)
#define UAPI_PIN_TRACK_STALE (1U << 0) /* bits of state */
#define UAPI_PIN_TRACK_IS_WRITE (1U << 1)
#define UAPI_PIN_TRACK_IS_DIRTIED (1U << 2)
#define UAPI_PIN_TRACK_IS_FILE (1U << 3)
#define UAPI_PIN_TRACK_IS_WATCH (1U << 4)
struct uapi_pin_track_query {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u64 nodes;
	__u32 nr_nodes;
	__u32 state;
	__u64 addr;
	__u64 len;
	__u64 cookie;
	__u64 pages;
	__u64 folios;
	__u64 dirty;
	__u64 age_ns;
	__u64 invalidations;
	__u64 protections;
	__u64 moved;
	__u64 ino;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 slot;
	__u32 reserved;
};

#define UAPI_PIN_TRACK_FEATURE_PIN (1ULL << 0)
#define UAPI_PIN_TRACK_FEATURE_DIRTY_AT_PIN (1ULL << 1)
#define UAPI_PIN_TRACK_FEATURE_SLOTS (1ULL << 2)
#define UAPI_PIN_TRACK_FEATURE_WATCH (1ULL << 3)
#define UAPI_PIN_TRACK_FEATURE_COMPARE (1ULL << 4)
#define UAPI_PIN_TRACK_OWNER (1U << 0) /* bit of state */
struct uapi_pin_track_info {
	__u32 size;
	__u32 flags;
	__u32 version;
	__u32 state;
	__u64 features;
	__u64 max_len;
	__u64 max_slots;
	__u64 map_len;
	__u64 pins;
	__u64 watches;
	__u64 pages;
	__u64 mm_pages;
};

#define UAPI_PIN_TRACK_IOC_PIN _IO(0xBC, 0x00)
#define UAPI_PIN_TRACK_IOC_UNPIN _IO(0xBC, 0x01)
#define UAPI_PIN_TRACK_IOC_WATCH _IO(0xBC, 0x02)
#define UAPI_PIN_TRACK_IOC_UNWATCH _IO(0xBC, 0x03)
#define UAPI_PIN_TRACK_IOC_QUERY _IO(0xBC, 0x04)
#define UAPI_PIN_TRACK_IOC_INFO _IO(0xBC, 0x05)

#endif
