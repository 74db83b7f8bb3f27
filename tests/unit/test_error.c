/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_error.c - the sentence, the names, and structs of callers that are older or
 * newer than the library.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

/* ------------------------------------------------------------------ sentence */

static void *first_words(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)(*pinmem_errmsg() == '\0');
}

static void a_thread_that_failed_never_has_no_sentence(void)
{
	pthread_t thread;
	void *empty = NULL;

	fail(EIO, "somebody else's");
	CHECK_RC(pthread_create(&thread, NULL, first_words, NULL), 0);
	pthread_join(thread, &empty);
	CHECK(empty != NULL && pinmem_errmsg() != NULL);
}

static void fail_returns_the_negative_errno_whatever_its_sign(void)
{
	CHECK_RC(fail(ENODEV, "a"), -ENODEV);
	CHECK_RC(fail(-ENODEV, "b %d %s", 7, "c"), -ENODEV);
	CHECK(!strcmp(pinmem_errmsg(), "b 7 c"));
	CHECK_RC(fail(0, "d"), 0);
}

static void a_new_sentence_may_contain_the_old_one(void)
{
	fail(EIO, "disk %d", 3);
	fail(EIO, "%s, and %s", pinmem_errmsg(), pinmem_errmsg());
	CHECK(!strcmp(pinmem_errmsg(), "disk 3, and disk 3"));
	for (int i = 0; i < 12; i++) /* doubling past its room */
		fail(EIO, "%s %s", pinmem_errmsg(), pinmem_errmsg());
	CHECK(!strncmp(pinmem_errmsg(), "disk 3, and disk 3 disk 3", 25));
	CHECK(strlen(pinmem_errmsg()) < 4096);
}

static void a_sentence_too_long_is_cut_and_ended(void)
{
	char *text = malloc(5000);
	size_t len;

	CHECK(text != NULL);
	if (!text)
		return;
	memset(text, 'x', 4999);
	text[4999] = '\0';
	CHECK_RC(fail(EIO, "%s", text), -EIO);
	len = strlen(pinmem_errmsg());
	CHECK(len >= 512 && len < 4999); /* a whole remedy has room */
	CHECK(pinmem_errmsg()[len - 1] == 'x');
	free(text);
}

struct speaker {
	pthread_barrier_t *barrier;
	int number;
	bool heard_itself;
};

static void *speak(void *arg)
{
	struct speaker *s = arg;
	char text[32];

	s->heard_itself = true;
	snprintf(text, sizeof(text), "thread %d", s->number);
	for (int i = 0; i < 100; i++) {
		fail(EIO, "thread %d", s->number);
		pthread_barrier_wait(s->barrier);
		s->heard_itself &= !strcmp(pinmem_errmsg(), text);
		pthread_barrier_wait(s->barrier);
	}
	return NULL;
}

static void each_thread_has_a_sentence_of_its_own(void)
{
	pthread_barrier_t barrier;
	struct speaker s[2] = { { &barrier, 1, false }, { &barrier, 2, false } };
	pthread_t threads[2];

	fail(EIO, "of the main thread");
	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < 2; i++)
		CHECK_RC(pthread_create(&threads[i], NULL, speak, &s[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	CHECK(s[0].heard_itself && s[1].heard_itself);
	CHECK_MSG("of the main thread");
}

/* -------------------------------------------------------------------- names */

/* Each value up to the last has a name that no other has; the next has none. */
#define CHECK_NAMES(name, last)                                                  \
	do {                                                                     \
		for (int i_ = 0; i_ <= (int)(last); i_++) {                      \
			CHECK(name(i_) && *name(i_) && strcmp(name(i_), "?"));   \
			CHECK(!strpbrk(name(i_), "ABCDEFGHIJKLMNOPQRSTUVWXYZ")); \
			for (int j_ = 0; j_ < i_; j_++)                          \
				CHECK(strcmp(name(i_), name(j_)));               \
		}                                                                \
		CHECK(!strcmp(name((int)(last) + 1), "?"));                      \
		CHECK(!strcmp(name(-1), "?"));                                   \
		CHECK(!strcmp(name(INT_MAX), "?"));                              \
	} while (0)

static void every_value_has_a_name_and_no_other_has(void)
{
	CHECK_NAMES(pinmem_backend_name, PINMEM_BACKEND_MLOCK);
	CHECK_NAMES(pinmem_mode_name, PINMEM_RESIDENT);
	CHECK_NAMES(pinmem_backing_name, PINMEM_SECRET);
	CHECK_NAMES(pinmem_action_name, PINMEM_REFUSE);
	CHECK_NAMES(pinmem_unpin_name, PINMEM_BY_FAULT);
}

static void names_are_those_of_their_values(void)
{
	CHECK(!strcmp(pinmem_backend_name(PINMEM_BACKEND_URING), "io_uring"));
	CHECK(!strcmp(pinmem_mode_name(PINMEM_STAGED), "staged"));
	CHECK(!strcmp(pinmem_backing_name(PINMEM_UNMAPPED), "unmapped"));
	CHECK(!strcmp(pinmem_backing_name(PINMEM_FSDAX), "fsdax"));
	CHECK(!strcmp(pinmem_backing_name(PINMEM_SECRET), "secret"));
	CHECK(!strcmp(pinmem_action_name(PINMEM_PIN), "pin"));
	CHECK(!strcmp(pinmem_action_name(PINMEM_REFUSE), "refuse"));
	CHECK(!strcmp(pinmem_unpin_name(PINMEM_DIRTY), "dirty"));
}

static void the_version_is_that_of_the_build(void)
{
	CHECK(!strcmp(pinmem_version(), PINMEM_VERSION));
}

/* -------------------------------------------------------------------- bytes */

static bool bytes_are(uint64_t bytes, const char *want)
{
	char buf[BYTES_TEXT];

	if (format_bytes(buf, bytes) == buf && !strcmp(buf, want))
		return true;
	printf("\n    \"%s\", wanted \"%s\"\n", buf, want);
	return false;
}

static void bytes_are_told_in_the_largest_exact_unit(void)
{
	CHECK(bytes_are(0, "0 B"));
	CHECK(bytes_are(1, "1 B"));
	CHECK(bytes_are(1023, "1023 B"));
	CHECK(bytes_are(1024, "1 KiB (1024 B)"));
	CHECK(bytes_are(1025, "1025 B"));
	CHECK(bytes_are(1536, "1536 B"));
	CHECK(bytes_are(4096, "4 KiB (4096 B)"));
	CHECK(bytes_are(64ull << 20, "64 MiB (67108864 B)"));
	CHECK(bytes_are((64ull << 20) + 1024, "65537 KiB (67109888 B)"));
	CHECK(bytes_are(1ull << 30, "1 GiB (1073741824 B)"));
	CHECK(bytes_are(3ull << 40, "3 TiB (3298534883328 B)"));
	CHECK(bytes_are(1ull << 50, "1 PiB (1125899906842624 B)"));
	/* there is no larger unit, and the longest texts fit */
	CHECK(bytes_are(1ull << 60, "1024 PiB (1152921504606846976 B)"));
	CHECK(bytes_are(UINT64_MAX, "18446744073709551615 B"));
	CHECK(bytes_are(UINT64_MAX - 1023,
			"18014398509481983 KiB (18446744073709550592 B)"));
}

/* -------------------------------------------------- structs of other versions */

/* What three versions of a caller know of one struct; the library knows v2. */
struct v1 {
	size_t size;
	int a;
};
struct v2 {
	size_t size;
	int a;
	int b;
	char text[8];
};
struct v3 {
	size_t size;
	int a;
	int b;
	char text[8];
	int c;
	char last;
};

static void missing_options_are_the_defaults(void)
{
	struct v2 copy;

	memset(&copy, 0xff, sizeof(copy));
	CHECK_RC(options_copy(&copy, sizeof(copy), NULL, "v"), 0);
	CHECK(copy.size == sizeof(copy) && !copy.a && !copy.b && !copy.text[7]);
}

static void an_older_callers_options_are_completed_with_zero(void)
{
	/* what follows in memory is not part of it */
	struct {
		struct v1 given;
		char beyond[32];
	} s;
	struct v2 copy;

	memset(&s, 0xff, sizeof(s));
	memset(&copy, 0xee, sizeof(copy));
	s.given.size = offsetof(struct v1, a) + sizeof(int);
	s.given.a = 5;
	CHECK_RC(options_copy(&copy, sizeof(copy), &s.given, "v"), 0);
	CHECK(copy.size == sizeof(copy) && copy.a == 5);
	CHECK(!copy.b && !copy.text[0] && !copy.text[7]);
}

static void options_may_be_a_size_and_no_more(void)
{
	size_t given = sizeof(given);
	struct v2 copy;

	memset(&copy, 0xee, sizeof(copy));
	CHECK_RC(options_copy(&copy, sizeof(copy), &given, "v"), 0);
	CHECK(copy.size == sizeof(copy) && !copy.a && !copy.b && !copy.text[7]);
}

static void a_field_cut_in_the_middle_is_taken_as_it_is(void)
{
	struct v2 given = { .size = offsetof(struct v2, text) + 3, .b = 6 }, copy;

	memcpy(given.text, "abcdefgh", 8);
	CHECK_RC(options_copy(&copy, sizeof(copy), &given, "v"), 0);
	CHECK(copy.b == 6 && !memcmp(copy.text, "abc\0\0\0\0\0", 8));
}

static void a_newer_callers_options_pass_while_unused(void)
{
	struct v3 given;
	struct v2 copy;

	memset(&given, 0, sizeof(given));
	given.size = sizeof(given);
	given.b = 7;
	CHECK_RC(options_copy(&copy, sizeof(copy), &given, "v"), 0);
	CHECK(copy.size == sizeof(copy) && copy.b == 7);
}

static void an_option_that_is_not_known_is_named(void)
{
	struct v3 given;
	struct v2 copy;
	char text[64];

	memset(&given, 0, sizeof(given));
	given.size = sizeof(given);
	given.c = 1;
	CHECK_RC(options_copy(&copy, sizeof(copy), &given, "struct_name"), -E2BIG);
	snprintf(text, sizeof(text), "struct_name has an option at byte %zu",
		 offsetof(struct v3, c));
	CHECK_MSG(text);
	CHECK_MSG(pinmem_version());
	/* the very last byte counts, too */
	given.c = 0;
	given.last = -1;
	CHECK_RC(options_copy(&copy, sizeof(copy), &given, "struct_name"), -E2BIG);
	/* and one byte less does not have it */
	given.size = offsetof(struct v3, last);
	CHECK_RC(options_copy(&copy, sizeof(copy), &given, "struct_name"), 0);
}

static void a_size_that_is_no_size_is_refused(void)
{
	struct v2 s = { 0 }, copy, before;

	for (size_t size = 0; size < sizeof(size_t); size++) {
		s.size = size;
		before = s;
		CHECK_RC(options_copy(&copy, sizeof(copy), &s, "thing"), -EINVAL);
		CHECK_MSG("set it to sizeof(struct thing)");
		CHECK_RC(result_copy(&s, &copy, sizeof(copy), "thing"), -EINVAL);
		CHECK_MSG("set it to sizeof(struct thing)");
		CHECK(!memcmp(&s, &before, sizeof(s)));
	}
}

static const struct v2 result = {
	.size = sizeof(struct v2), .a = 1, .b = 2, .text = "result"
};

static void a_result_goes_to_a_caller_of_the_same_version(void)
{
	struct v2 s = { .size = sizeof(s), .a = 9 };

	CHECK_RC(result_copy(&s, &result, sizeof(result), "v"), 0);
	CHECK(s.size == sizeof(s) && s.a == 1 && s.b == 2 && !strcmp(s.text, "result"));
}

static void an_older_caller_gets_what_it_has_room_for(void)
{
	struct {
		struct v1 s;
		char beyond[32];
	} c;

	memset(&c, 0x55, sizeof(c));
	c.s.size = offsetof(struct v1, a) + sizeof(int);
	CHECK_RC(result_copy(&c.s, &result, sizeof(result), "v"), 0);
	CHECK(c.s.size == offsetof(struct v1, a) + sizeof(int) && c.s.a == 1);
	for (size_t i = c.s.size; i < sizeof(c); i++)
		CHECK(((char *)&c)[i] == 0x55);
}

static void a_newer_caller_gets_zero_for_what_is_not_known(void)
{
	struct v3 s;

	memset(&s, 0x55, sizeof(s));
	s.size = sizeof(s);
	CHECK_RC(result_copy(&s, &result, sizeof(result), "v"), 0);
	CHECK(s.size == sizeof(s) && s.a == 1 && s.b == 2 && !s.c && !s.last);
}

static void a_result_may_be_a_size_and_no_more(void)
{
	size_t sizes[2] = { sizeof(size_t), 77 };

	CHECK_RC(result_copy(sizes, &result, sizeof(result), "v"), 0);
	CHECK(sizes[0] == sizeof(size_t) && sizes[1] == 77);
}

static void a_result_needs_a_place(void)
{
	CHECK_RC(result_copy(NULL, &result, sizeof(result), "thing"), -EINVAL);
	CHECK_MSG("thing: the struct to fill is NULL");
}

#define TEST(fn)        \
	{               \
#fn, fn \
	}
static const struct test tests[] = {
	TEST(a_thread_that_failed_never_has_no_sentence),
	TEST(fail_returns_the_negative_errno_whatever_its_sign),
	TEST(a_new_sentence_may_contain_the_old_one),
	TEST(a_sentence_too_long_is_cut_and_ended),
	TEST(each_thread_has_a_sentence_of_its_own),
	TEST(every_value_has_a_name_and_no_other_has),
	TEST(names_are_those_of_their_values),
	TEST(the_version_is_that_of_the_build),
	TEST(bytes_are_told_in_the_largest_exact_unit),
	TEST(missing_options_are_the_defaults),
	TEST(an_older_callers_options_are_completed_with_zero),
	TEST(options_may_be_a_size_and_no_more),
	TEST(a_field_cut_in_the_middle_is_taken_as_it_is),
	TEST(a_newer_callers_options_pass_while_unused),
	TEST(an_option_that_is_not_known_is_named),
	TEST(a_size_that_is_no_size_is_refused),
	TEST(a_result_goes_to_a_caller_of_the_same_version),
	TEST(an_older_caller_gets_what_it_has_room_for),
	TEST(a_newer_caller_gets_zero_for_what_is_not_known),
	TEST(a_result_may_be_a_size_and_no_more),
	TEST(a_result_needs_a_place),
};

SUITE("error", tests)
