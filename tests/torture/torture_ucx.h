/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * torture_ucx.h - UCX's ucs_rcache in the place of ours, with its memory events on. The
 * library is loaded when it is asked for, since it patches libc in whoever loads it.
 */
#ifndef TORTURE_UCX_H
#define TORTURE_UCX_H

#include "pinmem.h"

struct torture_ucx;
struct torture_ucx *torture_ucx_open(struct pinmem *pm, unsigned int access);
void torture_ucx_close(struct torture_ucx *u);
int torture_ucx_get(struct torture_ucx *u, void *at, size_t len, void **region,
		    struct pinmem_mr **mr);
void torture_ucx_put(struct torture_ucx *u, void *region);

#endif
