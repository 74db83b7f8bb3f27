/* SPDX-License-Identifier: BSD-2-Clause */
/* torture_library.c - a library to be loaded, registered and unloaded. */
__attribute__((aligned(4096))) char torture_bss[64 << 10];
__attribute__((aligned(4096))) char torture_data[8 << 10] = "data";
