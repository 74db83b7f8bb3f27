/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matrix.h - every kind of memory that the machine has, made anew for each question
 * that test_matrix.c asks about it: a pin, or an mlock, changes what lies there.
 */
#ifndef PINMEM_TESTS_VM_MATRIX_H
#define PINMEM_TESTS_VM_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MATRIX_PAGE 4096ul
#define MATRIX_HUGE (2ul << 20)
#define MATRIX_LEN (16 * MATRIX_PAGE)
#define MATRIX_LEN_MAX (2 * MATRIX_HUGE)

/* A range of addresses, and what must be undone. */
struct memory {
	char *addr;
	size_t len;
	void *map; /* NULL: nothing to unmap */
	size_t map_len;
	size_t page;
	int fd;		/* -1: none */
	pid_t child;	/* that shares the pages; 0: none */
	void *ring;	/* of an io_uring */
	char path[256]; /* "": nothing to unlink */
};

struct kind {
	char name[96];
	/* where pinmem and the kernel may differ: the kernel looks at the mapping
	 * before it looks for pages, so that a pin past the end of a DAX file is
	 * refused for the DAX */
	bool dax_past_eof;
	/* or it takes what may not be read, if all of it happens to be there */
	bool lucky;
	/* an ODP message would crash the kernel (rxe up to Linux 7.2 at least
	 * copies by the direct map, where secret memory is not) */
	bool odp_kills;
	/* or copies of a DAX file pin after a write fault, which pinmem_reg() sees to:
	 * a fork took the right to be written to from their pages */
	bool after_fork;
	bool not_ours;	 /* the kernel's or the program's: only to be read */
	bool live;	 /* changes while one looks */
	bool may_lack;	 /* not in every kernel */
	const void *how; /* what matrix_make() needs */
	const void *where;
};

/* Calls fn for each kind, in the table's order. */
void matrix_each(void (*fn)(const struct kind *k, void *arg), void *arg);

/* Return: NULL, or why there is no such memory here */
const char *matrix_make(const struct kind *k, struct memory *m);
void matrix_unmake(struct memory *m);

#endif
