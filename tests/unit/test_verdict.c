/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_verdict.c - the table of verdicts: what is said of every kind of memory, for
 * every kind of backend, policy and mode. The facts are made up here, so that DAX is
 * judged on a machine without it: verdict.c is compiled once more, over a
 * backing_walk() that tells them.
 */
#define backing_walk made_up_walk
#define verdict_decide decide
#define verdict_walk walk_verdicts
#include "../../lib/verdict.c"

#include <stdlib.h>

#include "suite.h"

#define BASE 0x100000ul
#define PAGE 4096ul
#define WRITE PINMEM_ACCESS_LOCAL_WRITE

/* ------------------------------------------------------------- made-up facts */

static struct mapping facts[4];
static size_t n_facts;
static struct backing_hints asked;
static int walk_error;

int made_up_walk(uintptr_t start, uintptr_t end, const struct backing_hints *hints,
		 int (*fn)(const struct mapping *m, void *arg), void *arg)
{
	int rc = walk_error;

	CHECK(start == BASE && end == BASE + n_facts * PAGE);
	asked = *hints;
	for (size_t i = 0; i < n_facts && !rc; i++)
		rc = fn(&facts[i], arg);
	return rc;
}

/* The next page of the range; "rw" "r-" "-w" "--", then 's' or 'p' */
static struct mapping *add(enum pinmem_backing backing, const char *how)
{
	struct mapping *m = &facts[n_facts];

	*m = (struct mapping){
		.start = BASE + n_facts * PAGE,
		.end = BASE + (n_facts + 1) * PAGE,
		.backing = backing,
		.readable = how[0] == 'r',
		.writable = how[1] == 'w',
		.shared = how[2] == 's',
		.page_size = PAGE,
	};
	n_facts++;
	return m;
}

static struct mapping *only(enum pinmem_backing backing, const char *how)
{
	n_facts = 0;
	return add(backing, how);
}

static struct mapping *dax_file(void)
{
	struct mapping *m = only(PINMEM_FSDAX, "rws");

	strcpy(m->file, "/mnt/dax/f");
	return m;
}

static const struct backend_caps verbs = { .pins = true, .iova = true };
static const struct backend_caps odp = { .pins = true, .iova = true, .odp = true };
static const struct backend_caps uring = { .pins = true, .always_writes = true };
static const struct backend_caps pin_track = { .pins = true, .no_dax_copies = true };
static const struct backend_caps mlocks = { .pins = false };

static struct pinmem_verdict v; /* the last verdict */

static struct request request(unsigned int access)
{
	return (struct request){
		.addr = BASE,
		.len = n_facts * PAGE,
		.start = BASE,
		.end = BASE + n_facts * PAGE,
		.access = access,
		.opts = { .fd = -1, .policy = { PINMEM_USE_ODP } },
	};
}

static void decide_on(const struct request *req, const struct backend_caps *caps)
{
	memset(&v, 0xff, sizeof(v)); /* every field is set */
	CHECK_RC(decide(req, caps, false, &v), 0);
	CHECK(v.action > PINMEM_POLICY_END && v.action <= PINMEM_REFUSE);
	CHECK(strlen(v.reason) > 10 && !strchr(v.reason, '\n'));
	CHECK(v.mappings > 0 && v.page_size == PAGE);
	CHECK(v.shared == 0 || v.shared == 1);
	CHECK(v.writable == 0 || v.writable == 1);
}

static bool says(const char *text)
{
	if (strstr(v.reason, text))
		return true;
	printf("\n    no \"%s\" in: %s\n", text, v.reason);
	return false;
}

static void expect(const struct backend_caps *caps, unsigned int access,
		   enum pinmem_action action, int error)
{
	struct request req = request(access);

	decide_on(&req, caps);
	if (v.action != action || v.error != error)
		printf("\n    %s, %d: %s\n", pinmem_action_name(v.action), v.error,
		       v.reason);
	CHECK(v.action == action);
	CHECK(v.error == error);
	CHECK(!v.error == !v.bad_addr && !v.error == !v.bad_len);
}

static void expect_mode(const struct backend_caps *caps, enum pinmem_mode mode,
			unsigned int access, enum pinmem_action action, int error)
{
	struct request req = request(access);

	req.opts.mode = mode;
	decide_on(&req, caps);
	if (v.action != action || v.error != error)
		printf("\n    %s, %d: %s\n", pinmem_action_name(v.action), v.error,
		       v.reason);
	CHECK(v.action == action);
	CHECK(v.error == error);
}

static void expect_policy(const struct backend_caps *caps, enum pinmem_action first,
			  enum pinmem_action second, unsigned int access,
			  enum pinmem_action action)
{
	struct request req = request(access);

	req.opts.policy[0] = first;
	req.opts.policy[1] = second;
	decide_on(&req, caps);
	CHECK(v.action == action);
}

/* -------------------------------------------------------- what may be pinned */

static void ordinary_memory_is_pinned(void)
{
	static const enum pinmem_backing kinds[] = { PINMEM_ANON, PINMEM_THP,
						     PINMEM_HUGETLB, PINMEM_SHMEM,
						     PINMEM_DEVDAX };
	static const char *const how[] = { "rws", "rwp" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds) * 2; i++) {
		only(kinds[i / 2], how[i % 2]);
		expect(&verbs, WRITE, PINMEM_PIN, 0);
		expect(&verbs, 0, PINMEM_PIN, 0);
		expect(&uring, 0, PINMEM_PIN, 0);
		CHECK(says("may be pinned"));
		expect(&mlocks, WRITE, PINMEM_PIN, 0);
		CHECK(says("mlock(2), which is not a pin"));
		CHECK(v.backing == kinds[i / 2] && v.writable && v.mappings == 1);
		CHECK(v.shared == (i % 2 == 0) && !v.file[0]);
	}
}

static void private_copies_of_a_file_are_pinned(void)
{
	only(PINMEM_FILE, "rwp");
	expect(&verbs, WRITE, PINMEM_PIN, 0);
	expect(&uring, 0, PINMEM_PIN, 0);
	CHECK(says("file's pages"));
}

static void a_file_that_is_only_read_is_pinned(void)
{
	only(PINMEM_FILE, "rws");
	expect(&verbs, 0, PINMEM_PIN, 0);
	expect(&verbs, PINMEM_ACCESS_REMOTE_READ, PINMEM_PIN, 0);
	only(PINMEM_FILE, "r-s");
	expect(&verbs, 0, PINMEM_PIN, 0);
	CHECK(!v.writable);
}

static void write_only_memory_is_pinned_to_write(void)
{
	only(PINMEM_ANON, "-wp");
	expect(&mlocks, 0, PINMEM_PIN, 0);
	only(PINMEM_ANON, "-wp");
	expect(&verbs, WRITE, PINMEM_PIN, 0);
	expect(&uring, 0, PINMEM_PIN, 0);
	expect(&verbs, 0, PINMEM_REFUSE, -EFAULT);
	CHECK(says("without PROT_READ"));
}

static void a_private_dax_mapping_of_copies_is_pinned(void)
{
	only(PINMEM_FSDAX, "rwp")->copied = true;
	expect(&verbs, WRITE, PINMEM_PIN, 0);
	CHECK(says("copies"));
	only(PINMEM_FSDAX, "rwp");
	expect(&verbs, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("write to every page first"));
	only(PINMEM_FSDAX, "r-p"); /* which it then cannot */
	expect(&verbs, 0, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(!strstr(v.reason, "write to every page"));
	only(PINMEM_FSDAX, "r-p")->copied = true;
	expect(&verbs, 0, PINMEM_PIN, 0);
	expect(&verbs, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("without PROT_WRITE"));
}

static void pin_track_refuses_dax_mappings_of_copies_too(void)
{
	only(PINMEM_FSDAX, "rwp")->copied = true;
	expect(&pin_track, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("its pages are copies now"));
	CHECK(says("allow PINMEM_USE_STAGE"));
	CHECK(!strstr(v.reason, "write to every page"));
	expect(&pin_track, 0, PINMEM_REFUSE, -EOPNOTSUPP);
	only(PINMEM_FSDAX, "rwp");
	expect(&pin_track, 0, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("the storage itself"));
	CHECK(!strstr(v.reason, "write to every page"));
	only(PINMEM_FSDAX, "r-p")->copied = true;
	expect(&pin_track, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("without PROT_WRITE"));
	only(PINMEM_FILE, "rws"); /* as verbs otherwise */
	expect(&pin_track, 0, PINMEM_PIN, 0);
	expect(&pin_track, WRITE, PINMEM_REFUSE, -EFAULT);
	CHECK(says("register it without write access"));
}

/* ------------------------------------------------------------ what has no way out */

static void expect_hard(unsigned int access, const char *text)
{
	expect(&verbs, access, PINMEM_REFUSE, -EFAULT);
	CHECK(says(text));
	expect(&odp, access, PINMEM_REFUSE, -EFAULT);
	expect(&uring, access, PINMEM_REFUSE, -EFAULT);
	expect(&mlocks, access, PINMEM_REFUSE, -EFAULT);
	expect_policy(&odp, PINMEM_USE_ODP, PINMEM_USE_STAGE, access, PINMEM_REFUSE);
	expect_mode(&odp, PINMEM_ODP, access, PINMEM_REFUSE, -EFAULT);
	expect_mode(&odp, PINMEM_STAGED, access, PINMEM_REFUSE, -EFAULT);
	expect_mode(&odp, PINMEM_PINNED, access, PINMEM_REFUSE, -EFAULT);
	CHECK(!strstr(v.reason, "PINMEM_USE")); /* no false hope */
}

static void what_is_not_there_has_no_way_out(void)
{
	only(PINMEM_UNMAPPED, "--p");
	expect_hard(0, "is not mapped");
	expect_hard(WRITE, "is not mapped");
	only(PINMEM_UNMAPPED, "rws")->past_eof = true;
	strcpy(facts[0].file, "/tmp/short");
	expect_hard(0, "of /tmp/short lies past the end of its file");
	only(PINMEM_UNMAPPED, "rwp")->guard = true;
	expect_hard(0, "guard region");
}

static void device_and_secret_memory_have_no_way_out(void)
{
	only(PINMEM_DEVICE, "rws");
	expect_hard(0, "device memory");
	expect(&mlocks, 0, PINMEM_REFUSE, -EFAULT);
	CHECK(says("mlock(2) has nothing to do"));
	only(PINMEM_SECRET, "rws");
	expect_hard(WRITE, "memfd_secret");
	expect(&mlocks, 0, PINMEM_REFUSE, -EFAULT);
	CHECK(says("always resident"));
}

static void protected_memory_has_no_way_out(void)
{
	only(PINMEM_ANON, "--p");
	expect_hard(0, "without PROT_READ");
	expect_hard(WRITE, "without PROT_READ");
	only(PINMEM_SHMEM, "r-s");
	expect_hard(WRITE, "without PROT_WRITE");
	expect_hard(PINMEM_ACCESS_REMOTE_ATOMIC, "ask for no write access");
}

static void dirty_at_pin_needs_writable_memory(void)
{
	struct request req;

	only(PINMEM_ANON, "r-p");
	req = request(0);
	req.opts.flags = PINMEM_REG_DIRTY_AT_PIN;
	decide_on(&req, &verbs);
	CHECK(v.action == PINMEM_REFUSE && v.error == -EFAULT);
}

/* ------------------------------------------------------------ what has a way out */

static void dax_is_refused_with_its_name_and_the_remedies(void)
{
	dax_file();
	expect(&verbs, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(v.backing == PINMEM_FSDAX && !strcmp(v.file, "/mnt/dax/f"));
	CHECK(v.bad_addr == (void *)BASE && v.bad_len == PAGE);
	CHECK(says("0x100000 +4 KiB (4096 B) of /mnt/dax/f lies on a DAX file system"));
	CHECK(says("allow PINMEM_USE_STAGE in the policy (this device has no ODP)"));
	expect(&uring, 0, PINMEM_REFUSE, -EOPNOTSUPP);
	facts[0].writable = false;
	expect(&verbs, 0, PINMEM_REFUSE, -EOPNOTSUPP);
}

static void dax_takes_the_first_way_out_that_the_device_has(void)
{
	dax_file();
	expect(&odp, WRITE, PINMEM_USE_ODP, -EOPNOTSUPP);
	CHECK(says("pages it on demand instead"));
	expect_policy(&verbs, PINMEM_USE_STAGE, 0, WRITE, PINMEM_USE_STAGE);
	CHECK(v.error == -EOPNOTSUPP && says("copy stands in"));
	expect_policy(&verbs, PINMEM_USE_ODP, PINMEM_USE_STAGE, 0, PINMEM_USE_STAGE);
	expect_policy(&odp, PINMEM_USE_ODP, PINMEM_USE_STAGE, 0, PINMEM_USE_ODP);
	expect_policy(&odp, PINMEM_USE_STAGE, PINMEM_USE_ODP, 0, PINMEM_USE_STAGE);
	expect_policy(&odp, PINMEM_REFUSE, PINMEM_USE_ODP, 0, PINMEM_REFUSE);
	CHECK(says("allow PINMEM_USE_ODP or PINMEM_USE_STAGE"));
	expect_policy(&uring, PINMEM_USE_ODP, PINMEM_REFUSE, 0, PINMEM_REFUSE);
}

static void a_policy_of_full_length_is_read_to_its_end(void)
{
	struct request req;

	dax_file();
	req = request(0);
	for (int i = 0; i < PINMEM_POLICY_MAX; i++)
		req.opts.policy[i] = PINMEM_USE_ODP;
	decide_on(&req, &verbs);
	CHECK(v.action == PINMEM_REFUSE);
	req.opts.policy[PINMEM_POLICY_MAX - 1] = PINMEM_USE_STAGE;
	decide_on(&req, &verbs);
	CHECK(v.action == PINMEM_USE_STAGE);
}

static void doubtful_dax_says_so(void)
{
	dax_file()->doubt = true;
	expect(&verbs, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("cannot be examined, and perhaps lies on a DAX"));
	CHECK(says("PINMEM_REG_FD"));
}

static void mlock_takes_dax_and_files(void)
{
	dax_file();
	expect(&mlocks, WRITE, PINMEM_PIN, 0);
	only(PINMEM_FILE, "rws");
	expect(&mlocks, WRITE, PINMEM_PIN, 0);
}

static void a_file_that_is_written_takes_a_way_out(void)
{
	only(PINMEM_FILE, "rws");
	expect(&verbs, WRITE, PINMEM_REFUSE, -EFAULT);
	CHECK(says("page cache") && says("register it without write access"));
	expect(&odp, PINMEM_ACCESS_REMOTE_WRITE, PINMEM_USE_ODP, -EFAULT);
	expect_policy(&uring, PINMEM_USE_STAGE, 0, 0, PINMEM_USE_STAGE);
	expect(&uring, 0, PINMEM_REFUSE, -EFAULT);
	CHECK(says("memfd or MAP_PRIVATE"));
}

static void read_only_memory_is_staged_where_the_backend_writes(void)
{
	only(PINMEM_SHMEM, "r-s");
	expect(&uring, 0, PINMEM_REFUSE, -EFAULT);
	CHECK(says("pins for writing whatever the access"));
	expect_policy(&uring, PINMEM_USE_STAGE, 0, 0, PINMEM_USE_STAGE);
	expect_policy(&uring, PINMEM_USE_STAGE, 0, WRITE, PINMEM_REFUSE);
}

static void write_only_dax_cannot_be_served_otherwise(void)
{
	dax_file()->readable = false;
	expect(&odp, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	dax_file();
	add(PINMEM_ANON, "-wp");
	expect(&odp, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("other parts of the range are mapped without PROT_READ"));
}

/* -------------------------------------------------------------- modes asked for */

static void pinned_rules_the_ways_out_out(void)
{
	dax_file();
	expect_mode(&odp, PINMEM_PINNED, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("PINMEM_PINNED was asked for"));
	only(PINMEM_ANON, "rwp");
	expect_mode(&odp, PINMEM_PINNED, WRITE, PINMEM_PIN, 0);
	expect_mode(&mlocks, PINMEM_PINNED, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("does not pin") && !v.bad_addr);
}

static void resident_is_for_mlock_only(void)
{
	only(PINMEM_ANON, "rwp");
	expect_mode(&mlocks, PINMEM_RESIDENT, WRITE, PINMEM_PIN, 0);
	expect_mode(&verbs, PINMEM_RESIDENT, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("PINMEM_RESIDENT is the mlock backend's"));
	only(PINMEM_UNMAPPED, "--p");
	expect_mode(&mlocks, PINMEM_RESIDENT, 0, PINMEM_REFUSE, -EFAULT);
}

static void odp_may_be_asked_for_what_could_be_pinned(void)
{
	only(PINMEM_ANON, "rwp");
	expect_mode(&odp, PINMEM_ODP, WRITE, PINMEM_USE_ODP, 0);
	CHECK(says("ODP was asked for"));
	expect_mode(&verbs, PINMEM_ODP, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("no on-demand paging"));
	only(PINMEM_ANON, "-wp"); /* which a pin would take */
	expect_mode(&odp, PINMEM_ODP, WRITE, PINMEM_REFUSE, -EFAULT);
	CHECK(says("without PROT_READ"));
	dax_file();
	expect_mode(&odp, PINMEM_ODP, WRITE, PINMEM_USE_ODP, -EOPNOTSUPP);
}

static void staging_may_be_asked_for_what_could_be_pinned(void)
{
	only(PINMEM_ANON, "rwp");
	expect_mode(&uring, PINMEM_STAGED, WRITE, PINMEM_USE_STAGE, 0);
	CHECK(says("staging was asked for"));
	dax_file();
	expect_mode(&uring, PINMEM_STAGED, WRITE, PINMEM_USE_STAGE, -EOPNOTSUPP);
	only(PINMEM_ANON, "r-p");
	expect_mode(&uring, PINMEM_STAGED, 0, PINMEM_USE_STAGE, -EFAULT);
	expect_mode(&uring, PINMEM_STAGED, WRITE, PINMEM_REFUSE, -EFAULT);
}

/* -------------------------------------------------------------- several mappings */

static void the_strictest_mapping_decides(void)
{
	only(PINMEM_ANON, "rwp");
	strcpy(add(PINMEM_FSDAX, "rws")->file, "/mnt/f");
	add(PINMEM_UNMAPPED, "--p");
	add(PINMEM_ANON, "rwp");
	expect(&odp, WRITE, PINMEM_REFUSE, -EFAULT); /* though DAX comes first */
	CHECK(v.backing == PINMEM_UNMAPPED && v.bad_addr == (void *)(BASE + 2 * PAGE));
	CHECK(v.mappings == 3 && !v.file[0]); /* the fourth cannot change it */
	facts[2].backing = PINMEM_SHMEM;
	facts[2].readable = facts[2].writable = true;
	expect(&odp, WRITE, PINMEM_USE_ODP, -EOPNOTSUPP);
	CHECK(v.backing == PINMEM_FSDAX && v.bad_addr == (void *)(BASE + PAGE));
	CHECK(v.mappings == 4 && !strcmp(v.file, "/mnt/f") && v.writable);
}

static void of_equals_the_first_is_shown(void)
{
	only(PINMEM_FILE, "rws");
	add(PINMEM_FSDAX, "rws");
	expect(&verbs, WRITE, PINMEM_REFUSE, -EFAULT);
	CHECK(v.backing == PINMEM_FILE && v.bad_addr == (void *)BASE);
}

static void many_good_mappings_are_pinned_as_one(void)
{
	strcpy(only(PINMEM_SHMEM, "rws")->file, "/memfd:x (deleted)");
	add(PINMEM_ANON, "r-p");
	add(PINMEM_HUGETLB, "rwp")->page_size = 2 << 20;
	expect(&verbs, 0, PINMEM_PIN, 0);
	CHECK(v.mappings == 3 && v.backing == PINMEM_SHMEM && v.shared);
	CHECK(!v.writable && !strcmp(v.file, "/memfd:x (deleted)"));
	CHECK(says("every mapping"));
}

static int collect(const struct pinmem_verdict *one, void *arg)
{
	struct pinmem_verdict **next = arg;

	*(*next)++ = *one;
	return one->error == -EFAULT ? 7 : 0;
}

static void a_walk_gives_a_verdict_for_each_mapping(void)
{
	struct pinmem_verdict all[4], *next = all;
	struct request req;

	only(PINMEM_ANON, "rwp");
	add(PINMEM_FSDAX, "rws");
	add(PINMEM_ANON, "r-p");
	add(PINMEM_ANON, "rwp");
	req = request(WRITE);
	CHECK_RC(walk_verdicts(&req, &odp, collect, &next), 7);
	CHECK(next == all + 3 && asked.guards && asked.detail);
	CHECK(all[0].action == PINMEM_PIN && !all[0].error && all[0].writable);
	CHECK(all[1].action == PINMEM_USE_ODP && all[1].error == -EOPNOTSUPP);
	CHECK(all[2].action == PINMEM_REFUSE && !all[2].writable);
	for (size_t i = 0; i < 3; i++) {
		CHECK(all[i].bad_addr == (void *)facts[i].start);
		CHECK(all[i].bad_len == PAGE && all[i].mappings == 1);
		CHECK(all[i].size == sizeof(all[i]));
	}
}

/* --------------------------------------------------------------------- edges */

static void hints_are_passed_on(void)
{
	struct request req;

	only(PINMEM_ANON, "rwp");
	req = request(0);
	req.opts.fd = 5;
	decide_on(&req, &verbs);
	CHECK(asked.fd == 5 && !asked.detail && !asked.guards);
	CHECK_RC(decide(&req, &verbs, true, &v), 0);
	CHECK(asked.detail && asked.guards);
}

static void errors_of_the_walk_are_passed_on(void)
{
	struct request req;

	only(PINMEM_ANON, "rwp");
	req = request(0);
	walk_error = -EOPNOTSUPP;
	CHECK_RC(decide(&req, &verbs, false, &v), -EOPNOTSUPP);
	walk_error = 0;
	n_facts = 0;
	req = request(0);
	CHECK_RC(decide(&req, &verbs, false, &v), -EINVAL);
	CHECK_MSG("empty");
}

static void a_hostile_file_name_does_no_harm(void)
{
	struct mapping *m = dax_file();

	memset(m->file, 'a', sizeof(m->file) - 1);
	memcpy(m->file, "/\n\033[31m%s%n\x7f", 12);
	m->file[sizeof(m->file) - 1] = '\0';
	m->doubt = true;
	expect(&verbs, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(!strchr(v.reason, '\033') && says("of /??[31m%s%n?a"));
	CHECK(says("PINMEM_REG_FD)")); /* the whole sentence fits */
	CHECK(!strcmp(v.file, m->file));
}

/* Not "ask for PINMEM_PINNED": that is impossible on DAX, too. */
static void odp_asked_for_dax_without_odp_names_the_file(void)
{
	struct request req;

	dax_file();
	req = request(WRITE);
	req.opts.mode = PINMEM_ODP;
	decide_on(&req, &verbs);
	CHECK(v.action == PINMEM_REFUSE && v.error == -EOPNOTSUPP);
	CHECK(says("/mnt/dax/f") && says("no on-demand paging: ask for PINMEM_STAGED"));
}

/* GUP looks at DAX before it looks at the rights. */
static void read_only_dax_is_refused_as_dax(void)
{
	only(PINMEM_FSDAX, "r-s");
	expect(&uring, 0, PINMEM_REFUSE, -EOPNOTSUPP);
	only(PINMEM_FSDAX, "r-s");
	expect(&odp, 0, PINMEM_USE_ODP, -EOPNOTSUPP);
	only(PINMEM_FSDAX, "r-s");
	expect(&odp, WRITE, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("without PROT_WRITE"));
	only(PINMEM_FSDAX, "--s");
	expect(&odp, 0, PINMEM_REFUSE, -EOPNOTSUPP);
	CHECK(says("without PROT_READ"));
	only(PINMEM_FSDAX, "r-s");
	expect(&mlocks, WRITE, PINMEM_REFUSE, -EFAULT);
}

/* rxe's ODP moves bytes that do not begin on a page to the wrong place. */
static void an_odp_that_needs_whole_pages_says_so(void)
{
	struct backend_caps rxe = odp;
	struct request req;

	rxe.odp_whole_pages = true;
	only(PINMEM_FSDAX, "rws");
	req = request(WRITE);
	decide_on(&req, &rxe);
	CHECK(v.action == PINMEM_USE_ODP);
	CHECK(strstr(v.reason, "page boundary") != NULL);
	decide_on(&req, &odp);
	CHECK(!strstr(v.reason, "page boundary"));
	only(PINMEM_ANON, "rwp");
	req.opts.mode = PINMEM_ODP;
	decide_on(&req, &rxe);
	CHECK(v.action == PINMEM_USE_ODP);
	CHECK(strstr(v.reason, "page boundary") != NULL);
}

static void the_longest_sentences_fit(void)
{
	static const char *const how[] = { "rws", "rwp", "r-s", "r-p", "-ws", "--p" };
	static const struct backend_caps *const caps[] = { &verbs, &odp, &uring,
							   &mlocks };
	struct mapping *m;

	for (int b = PINMEM_UNMAPPED; b <= PINMEM_SECRET; b++)
		for (size_t i = 0; i < ARRAY_SIZE(how) * ARRAY_SIZE(caps) * 8; i++) {
			m = only((enum pinmem_backing)b, how[i % ARRAY_SIZE(how)]);
			memset(m->file, 'x', sizeof(m->file) - 1);
			m->start = 0xfffffffffffff000 - (1ul << 62);
			m->end = 0xfffffffffffff000;
			m->doubt = i & 1;
			add(PINMEM_ANON, "-wp");
			struct request req = request(i & 2 ? WRITE : 0);

			req.opts.mode = i & 4 ? PINMEM_PINNED : PINMEM_MODE_DEFAULT;
			decide_on(&req, caps[i / 8 % ARRAY_SIZE(caps)]);
			CHECK(strlen(v.reason) < sizeof(v.reason) - 1);
		}
}

#define TEST(name)          \
	{                   \
#name, name \
	}
static const struct test tests[] = {
	TEST(an_odp_that_needs_whole_pages_says_so),
	TEST(read_only_dax_is_refused_as_dax),
	TEST(odp_asked_for_dax_without_odp_names_the_file),
	TEST(ordinary_memory_is_pinned),
	TEST(private_copies_of_a_file_are_pinned),
	TEST(a_file_that_is_only_read_is_pinned),
	TEST(write_only_memory_is_pinned_to_write),
	TEST(a_private_dax_mapping_of_copies_is_pinned),
	TEST(pin_track_refuses_dax_mappings_of_copies_too),
	TEST(what_is_not_there_has_no_way_out),
	TEST(device_and_secret_memory_have_no_way_out),
	TEST(protected_memory_has_no_way_out),
	TEST(dirty_at_pin_needs_writable_memory),
	TEST(dax_is_refused_with_its_name_and_the_remedies),
	TEST(dax_takes_the_first_way_out_that_the_device_has),
	TEST(a_policy_of_full_length_is_read_to_its_end),
	TEST(doubtful_dax_says_so),
	TEST(mlock_takes_dax_and_files),
	TEST(a_file_that_is_written_takes_a_way_out),
	TEST(read_only_memory_is_staged_where_the_backend_writes),
	TEST(write_only_dax_cannot_be_served_otherwise),
	TEST(pinned_rules_the_ways_out_out),
	TEST(resident_is_for_mlock_only),
	TEST(odp_may_be_asked_for_what_could_be_pinned),
	TEST(staging_may_be_asked_for_what_could_be_pinned),
	TEST(the_strictest_mapping_decides),
	TEST(of_equals_the_first_is_shown),
	TEST(many_good_mappings_are_pinned_as_one),
	TEST(a_walk_gives_a_verdict_for_each_mapping),
	TEST(hints_are_passed_on),
	TEST(errors_of_the_walk_are_passed_on),
	TEST(a_hostile_file_name_does_no_harm),
	TEST(the_longest_sentences_fit),
};
SUITE("verdict", tests)
