/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault.h - make the Nth system or library call fail.
 *
 * The calls in tests/CMakeLists.txt (FAULT_CALLS) are wrapped by the linker. Armed
 * with n, the nth of them (1 is the next) made by the process fails with ENOMEM, or
 * with the errno set for that call; the ones after it succeed again.
 */
#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include <stdbool.h>

void fault_arm(int n);
void fault_disarm(void);
bool fault_fired(void);

/** fault_only - let only this call count ("mmap"), failing with @err; NULL: all. */
void fault_only(const char *call, int err);

/** FAULT_WALK - run a block with the 1st, 2nd, … call failing, until a run in
 * which nothing failed. `fault_fired()` tells in the block, after the call. */
#define FAULT_WALK(n)                                  \
	for (int n = 1, go_ = 1; go_ && n < 1000;      \
	     go_ = fault_fired(), fault_disarm(), n++) \
		if (fault_arm(n), 1)

#endif
