/* SPDX-License-Identifier: BSD-2-Clause */
/* suite.c - CUnit main, skips, and children with other rights; see suite.h. */
#include "suite.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"
#include "fault.h"

static int skipped;
static const char *running = "";

void suite_skip(const char *why)
{
	printf(" SKIP %s: %s", running, why);
	skipped++;
}

static void test_start(const CU_pTest test, const CU_pSuite suite)
{
	(void)suite;
	running = test->pName;
	printf("  %s ...", running);
	fflush(stdout);
}

static void test_done(const CU_pTest test, const CU_pSuite suite,
		      const CU_pFailureRecord failure)
{
	(void)test;
	(void)suite;
	if (failure)
		printf(" FAILED at %s:%u: %s\n", failure->strFileName,
		       failure->uiLineNumber, failure->strCondition);
	else
		printf(" ok\n");
	fflush(stdout);
}

static const struct test *all_tests;
static size_t current;

/* CUnit's test functions take no argument: run them in order. */
static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

static void no_leftovers(void)
{
	fault_disarm();
	CHECK(fake_live_pins() == 0);
	fake_reset();
}

int suite_main(const char *name, const struct test *tests, size_t n, int argc,
	       char **argv)
{
	CU_pSuite suite;
	unsigned int failures;

	all_tests = tests;
	current = 0;
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite_with_setup_and_teardown(name, NULL, NULL, NULL,
						     no_leftovers);
	if (!suite)
		return 1;
	for (size_t i = 0; i < n; i++)
		if (wanted(tests[i].name, argc, argv) &&
		    !CU_add_test(suite, tests[i].name, tests[i].fn))
			return 1;
	CU_set_test_start_handler(test_start);
	CU_set_test_complete_handler(test_done);
	CU_set_all_test_complete_handler(NULL);
	printf("suite %s\n", name);
	CU_run_all_tests();
	CU_basic_show_failures(CU_get_failure_list());
	failures = CU_get_number_of_failures();
	printf("\nRun Summary:    Type  Total    Ran Passed Failed Inactive\n"
	       "              suites      1      1    n/a      0        0\n"
	       "               tests %6u %6u %6u %6u        0\n"
	       "             asserts %6u %6u %6u %6u      n/a\n",
	       CU_get_number_of_tests_run(), CU_get_number_of_tests_run(),
	       CU_get_number_of_tests_run() - CU_get_number_of_tests_failed(),
	       CU_get_number_of_tests_failed(), CU_get_number_of_asserts(),
	       CU_get_number_of_asserts(), CU_get_number_of_successes(), failures);
	if (skipped)
		printf("%d skipped in suite %s\n", skipped, name);
	n = CU_get_number_of_tests_run();
	CU_cleanup_registry();
	if (failures || !n)
		return 1;
	return 0;
}

/* In the coverage build: what a child ran is counted too. */
#ifdef PINMEM_COVERAGE
void __gcov_dump(void);
#else
static void __gcov_dump(void)
{
}
#endif

int in_child(int (*fn)(void *), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid) {
		status = fn(arg);
		__gcov_dump();
		_exit(status);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct nobody {
	size_t memlock;
	int (*fn)(void *);
	void *arg;
};

static int become_nobody(void *p)
{
	struct nobody *n = p;
	struct rlimit lim = { n->memlock, n->memlock };

	if (setrlimit(RLIMIT_MEMLOCK, &lim))
		return 121;
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
	    setresuid(65534, 65534, 65534))
		return 122;
	/* /proc/self stays ours to read after the change of user */
	if (prctl(PR_SET_DUMPABLE, 1))
		return 123;
	return n->fn(n->arg);
}

int as_nobody(size_t memlock, int (*fn)(void *), void *arg)
{
	struct nobody n = { memlock, fn, arg };

	if (geteuid()) {
		suite_skip("needs root, to become an ordinary user");
		return 0;
	}
	return in_child(become_nobody, &n);
}
