/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * suite.h - what every test program shares: a CUnit main, and checks that say
 * what was found. A test program defines `const struct test tests[]` and ends with
 * SUITE("name", tests). Runs all, or those whose names are given as arguments.
 * After each test: no live pin (fake_live_pins()), no armed fault.
 */
#ifndef TEST_SUITE_H
#define TEST_SUITE_H

#include <CUnit/CUnit.h>
#include <stddef.h>

#include "internal.h"

struct test {
	const char *name;
	void (*fn)(void);
};

/* One thread has nothing to hide from ThreadSanitizer, and there all is ten times as
 * slow: how much of a long walk is walked. */
#ifdef __SANITIZE_THREAD__
#define SHARE(n) (((n) + 9) / 10)
#define UNTRACED __attribute__((no_sanitize_thread)) /* of all bytes of much memory */
#else
#define SHARE(n) (n)
#define UNTRACED
#endif

int suite_main(const char *name, const struct test *tests, size_t n, int argc,
	       char **argv);
#define SUITE(name, tests)                                                     \
	int main(int argc, char **argv)                                        \
	{                                                                      \
		return suite_main(name, tests, ARRAY_SIZE(tests), argc, argv); \
	}

/* A call returned what it should, else print both and the sentence. */
#define CHECK_RC(expr, want)                                                      \
	do {                                                                      \
		int rc_ = (expr), want_ = (want);                                 \
		if (rc_ != want_)                                                 \
			printf("\n    %s:%d: %s = %d, wanted %d: %s\n", __FILE__, \
			       __LINE__, #expr, rc_, want_, pinmem_errmsg());     \
		CU_ASSERT_EQUAL(rc_, want_);                                      \
	} while (0)
/* The last sentence contains this text. */
#define CHECK_MSG(text)                                                               \
	do {                                                                          \
		bool has_ = strstr(pinmem_errmsg(), text) != NULL;                    \
		if (!has_)                                                            \
			printf("\n    %s:%d: no \"%s\" in: %s\n", __FILE__, __LINE__, \
			       text, pinmem_errmsg());                                \
		CU_ASSERT_TRUE(has_);                                                 \
	} while (0)
#define CHECK(cond)                                                               \
	do {                                                                      \
		bool ok_ = (cond);                                                \
		if (!ok_)                                                         \
			printf("\n    %s:%d: not true: %s\n", __FILE__, __LINE__, \
			       #cond);                                            \
		CU_ASSERT_TRUE(ok_);                                              \
	} while (0)

/** skip - say why a test cannot run here; it is counted and named at the end. */
void suite_skip(const char *why);

/** as_nobody - run fn in a child without capabilities, as an ordinary user, with
 * RLIMIT_MEMLOCK set to @memlock bytes. Return: fn's value (0..120), or -1; 0 after a
 * skip where we are not root. */
int as_nobody(size_t memlock, int (*fn)(void *), void *arg);

/** in_child - run fn in a forked child. Return: fn's value (0..120), or -1. */
int in_child(int (*fn)(void *), void *arg);

#endif
