/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What drivers/misc/pin_track.c, which is written for 6.12, finds elsewhere in later
 * kernels. Included before everything else, by the module's Makefile.
 */
#ifndef PIN_TRACK_COMPAT_H
#define PIN_TRACK_COMPAT_H

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/version.h>

/* 6.18: struct page is contiguous in every memory model that is left */
#ifndef nth_page
#define nth_page(page, n) ((page) + (n))
#endif

/* 6.14: pgmap is the folio's; the Makefile makes page->pgmap this */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
#define page_pgmap(page) ((page)->pgmap)
#endif

#endif
