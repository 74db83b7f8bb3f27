/* SPDX-License-Identifier: BSD-2-Clause */
/* sys.h - small facts about this machine, from /proc and /sys. */
#ifndef SYS_H
#define SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** sys_line - the first line of a file, without its newline; false: no such. */
bool sys_line(const char *path, char *buf, size_t size);
/** sys_number - the number that a file begins with; false: none. */
bool sys_number(const char *path, uint64_t *n);
/** sys_meminfo - a line of /proc/meminfo ("MemAvailable"), bytes; 0: none. */
uint64_t sys_meminfo(const char *key);
/** sys_page - size of a base page, bytes. */
uint64_t sys_page(void);
/** sys_huge_page - size of a transparent huge page, bytes; 0: the kernel has none. */
uint64_t sys_huge_page(void);
/** sys_thp_mode - "always", "madvise" or "never"; "" if the kernel has none. */
const char *sys_thp_mode(void);
/** sys_hugetlb_free - free, unreserved hugetlb pages of the default size.
 * @page_size: out, bytes; 0: the kernel has none */
uint64_t sys_hugetlb_free(uint64_t *page_size);
/** sys_cpus - CPUs that this thread may run on. */
unsigned int sys_cpus(void);
/** sys_tmpfs - a directory on tmpfs that this user can write to; NULL: none. */
const char *sys_tmpfs(void);
/** sys_fs_type - the type of the file system that holds a path: "ext4"; "?". */
const char *sys_fs_type(const char *path);
/** sys_errno - "EFAULT" for 14 or -14. */
const char *sys_errno(int err);
/** sys_now_ns - CLOCK_MONOTONIC. */
uint64_t sys_now_ns(void);

#endif
