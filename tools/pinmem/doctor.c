/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor.c - `pinmem doctor`: kernel, limits, pinners, and the verdict on all. */
#include "doctor.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "args.h"
#include "out.h"
#include "probes.h"
#include "sys.h"
#include "tool.h"
#include "verdict_text.h"

#define GIB (1ull << 30)

static const char help[] =
	"usage: pinmem doctor [--size SIZE] [--json]\n"
	"\n"
	"Says what can be pinned here, by this user: kernel features, limits, RDMA\n"
	"devices, huge pages, NUMA nodes, persistent memory; and what each means.\n"
	"\n"
	"  --size SIZE   how much you want to pin (1G)\n"
	"  --json        one JSON value instead of text\n"
	"\n"
	"Exit code: 0 at least one backend pins memory; 1 none does.\n";

enum { OPT_SIZE = OPT_OWN };

static const struct option options[] = {
	COMMON_OPTIONS,
	VALUE("size", OPT_SIZE),
	END_OF_OPTIONS,
};

/* ---------------------------------------------------------------- kernel */

static json_t *show_kernel(void)
{
	static const struct column cols[] = { { "feature", 0, false },
					      { "here", 4, false },
					      { "what that means", 0, false } };
	json_t *list = json_array();
	struct utsname u;
	struct table *t;

	uname(&u);
	say("pinmem %s on Linux %s, user %u\n", pinmem_version(), u.release, geteuid());
	heading("Kernel");
	t = table_new(cols, ARRAY_SIZE(cols), false);
	for (size_t i = 0; i < probes_n; i++) {
		const struct probe *p = &probes[i];
		struct probe_result r;

		p->run(&r);
		ROW(t, p->name, probe_state_name(r.state),
		    text("%s (%s)", r.means, r.found));
		json_array_append_new(
			list, json_pack("{ss, ss, ss, ss, ss}", "name", p->name, "how",
					p->how, "state", probe_state_name(r.state),
					"found", r.found, "means", r.means));
	}
	table_end(t);
	return json_pack("{ss, so}", "release", u.release, "features", list);
}

/* ---------------------------------------------------------------- limits */

static const char *limit_text(rlim_t limit)
{
	return limit == RLIM_INFINITY ? "unlimited" : size_text(limit);
}

static json_t *limit_json(rlim_t limit)
{
	return limit == RLIM_INFINITY ? json_null() : json_integer((json_int_t)limit);
}

static json_t *show_limits(const struct pinner_health *any)
{
	struct rlimit lim = { 0, 0 };
	uint64_t maps = 0;
	json_t *cgroup = json_null();

	getrlimit(RLIMIT_MEMLOCK, &lim);
	sys_number("/proc/sys/vm/max_map_count", &maps);
	heading("Limits");
	say_block(2, "RLIMIT_MEMLOCK: %s, may be raised to %s%s",
		  limit_text(lim.rlim_cur), limit_text(lim.rlim_max),
		  any && any->limit.bypass
			  ? "; it does not bind this process, which has CAP_IPC_LOCK"
			  : "; it binds this process, which has no CAP_IPC_LOCK");
	if (any && any->limit.cgroup_limit != UINT64_MAX) {
		say_block(2, "memory cgroup: %s, of which %s are in use",
			  size_text(any->limit.cgroup_limit),
			  size_text(any->limit.cgroup_used));
		cgroup = json_integer((json_int_t)any->limit.cgroup_limit);
	}
	say_block(2, "memory: %s available of %s",
		  size_text(sys_meminfo("MemAvailable")),
		  size_text(sys_meminfo("MemTotal")));
	return json_pack("{so, so, sb, so, sI, sI}", "memlock_soft",
			 limit_json(lim.rlim_cur), "memlock_hard",
			 limit_json(lim.rlim_max), "bypass", any && any->limit.bypass,
			 "cgroup", cgroup, "available",
			 (json_int_t)sys_meminfo("MemAvailable"), "max_map_count",
			 (json_int_t)maps);
}

/* --------------------------------------------------------------- pinners */

/* Nothing is known to work but what has worked: a page is pinned and released. */
static bool try_page(struct pinmem *pm)
{
	size_t page = sys_page();
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	struct pinmem_mr *mr;
	bool good = false;

	if (p == MAP_FAILED)
		return false;
	if (!pinmem_reg(pm, p, page, PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr))
		good = !pinmem_dereg(mr, PINMEM_CLEAN, NULL);
	munmap(p, page);
	return good;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Pinned memory cannot be reclaimed: half of what is available is a lot. */
static uint64_t ceiling(const struct pinmem_memlock *m)
{
	uint64_t most = sys_meminfo("MemAvailable");

	if (m->cgroup_limit != UINT64_MAX)
		most = least(most, m->cgroup_limit > m->cgroup_used
					   ? m->cgroup_limit - m->cgroup_used
					   : 0);
	if (!m->bypass && m->limit != UINT64_MAX)
		most = least(most, m->limit > m->used ? m->limit - m->used : 0);
	return most;
}

static void examine(enum pinmem_backend backend, uint64_t want, struct pinner_health *h)
{
	struct pinmem_options opts = { .size = sizeof(opts), .backend = backend };
	struct pinmem *pm;

	h->backend = backend;
	h->info.size = sizeof(h->info);
	h->limit.size = sizeof(h->limit);
	h->limit.cgroup_limit = UINT64_MAX;
	if (pinmem_open(&opts, &pm)) {
		strncpy(h->why, pinmem_errmsg(), sizeof(h->why) - 1);
		return;
	}
	h->opened = true;
	pinmem_query(pm, &h->info);
	h->odp = h->info.odp;
	if (!pinmem_memlock(pm, NULL, want, &h->limit))
		h->ceiling = ceiling(&h->limit);
	if (try_page(pm))
		h->pins = backend != PINMEM_BACKEND_MLOCK;
	else
		h->ceiling = 0;
	strncpy(h->why, h->ceiling ? h->limit.remedy : pinmem_errmsg(),
		sizeof(h->why) - 1);
	pinmem_close(pm);
}

static json_t *pinner_json(const struct pinner_health *h)
{
	json_t *o = json_pack("{ss, sb, sb, sI, ss, so}", "name",
			      pinmem_backend_name(h->backend), "pins", h->pins, "odp",
			      h->odp, "ceiling", (json_int_t)h->ceiling, "device",
			      h->info.device, "why", json_text(h->why));

	if (h->opened)
		json_object_set_new(o, "memlock", memlock_json(&h->limit));
	return o;
}

/* What bounds a pinner that works; how to lift it is in the advice. */
static const char *binding_limit(const struct pinner_health *h)
{
	const struct pinmem_memlock *m = &h->limit;

	if (m->bypass || m->limit == UINT64_MAX)
		return text("what memory is available: %s",
			    m->bypass ? "CAP_IPC_LOCK lifts the limit"
				      : "RLIMIT_MEMLOCK is unlimited");
	return text("RLIMIT_MEMLOCK %s, of which %s%s in use", size_text(m->limit),
		    m->used ? size_text(m->used) : "nothing is", m->used ? " are" : "");
}

static json_t *show_pinners(const struct pinner_health *all, size_t n)
{
	static const struct column cols[] = { { "pinner", 0, false },
					      { "pins", 0, false },
					      { "up to", 0, true },
					      { "why", 0, false } };
	json_t *list = json_array();
	struct table *t;

	heading("Pinners, each tried with a page");
	t = table_new(cols, ARRAY_SIZE(cols), false);
	for (size_t i = 0; i < n; i++) {
		const struct pinner_health *h = &all[i];
		const char *pins = h->pins ? "yes" : "no";

		if (h->backend == PINMEM_BACKEND_MLOCK && h->ceiling)
			pins = "resident";
		ROW(t, pinmem_backend_name(h->backend), pins,
		    h->ceiling ? size_text(h->ceiling) : "-",
		    h->ceiling ? binding_limit(h) : h->why);
		json_array_append_new(list, pinner_json(h));
	}
	table_end(t);
	return list;
}

/* --------------------------------------------------------------- verdict */

static const struct pinner_health *best_of(const struct pinner_health *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].pins)
			return &all[i];
	return NULL;
}

static json_t *show_advice(const struct pinner_health *all,
			   const struct pinner_health *best, uint64_t want,
			   unsigned int dax)
{
	json_t *list = json_array();
	const struct pinner_health *verbs = &all[0];
	const char *advice[4];
	size_t n = 0;

	if (best && best->ceiling < want)
		advice[n++] =
			text("To pin %s: %s", size_text(want), best->limit.remedy);
	if (!verbs->pins)
		advice[n++] = text("To pin for RDMA: get a device; now there is %s",
				   verbs->why);
	if (dax && !verbs->odp)
		advice[n++] = "To use files on a DAX file system: stage them (policy "
			      "stage), for no device here pages on demand.";
	if (!best)
		advice[n++] = text("To pin with io_uring: %s", all[1].why);
	for (size_t i = 0; i < n; i++) {
		say_block(2, "%s", advice[i]);
		json_array_append_new(list, json_text(advice[i]));
	}
	return list;
}

static json_t *show_verdict(const struct pinner_health *all, size_t n, uint64_t want,
			    unsigned int dax)
{
	const struct pinner_health *best = best_of(all, n);
	const char *verdict = "Nothing can be pinned here by this user.";

	if (best)
		verdict = text("You can pin up to %s with %s%s%s.",
			       size_text(best->ceiling),
			       pinmem_backend_name(best->backend),
			       best->info.device[0] ? " over " : "", best->info.device);
	heading("Verdict");
	say_block(2, "%s", verdict);
	return json_pack("{ss, sI, so, so}", "sentence", verdict, "ceiling",
			 best ? (json_int_t)best->ceiling : (json_int_t)0, "backend",
			 best ? json_string(pinmem_backend_name(best->backend))
			      : json_null(),
			 "advice", show_advice(all, best, want, dax));
}

static int take_own(int option, const char *arg, void *want)
{
	(void)option;
	return parse_size("size", arg, false, want) ? 0 : EXIT_USAGE;
}

static int run(int argc, char **argv)
{
	static const enum pinmem_backend backends[] = { PINMEM_BACKEND_VERBS,
							PINMEM_BACKEND_URING,
							PINMEM_BACKEND_PIN_TRACK,
							PINMEM_BACKEND_MLOCK };
	struct pinner_health all[ARRAY_SIZE(backends)] = { 0 };
	const struct pinner_health *opened = NULL;
	struct common common = { 0 };
	uint64_t want = GIB;
	unsigned int dax;
	json_t *root;
	int code =
		args_parse(argc, argv, &cmd_doctor, options, &common, take_own, &want);

	if (code == PARSED)
		code = args_no_operands(argc, argv, &cmd_doctor);
	if (code != PARSED)
		return code;
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		examine(backends[i], want, &all[i]);
		if (all[i].opened && !opened)
			opened = &all[i];
	}
	root = json_object();
	json_object_set_new(root, "pinmem", json_string(pinmem_version()));
	json_object_set_new(root, "kernel", show_kernel());
	json_object_set_new(root, "limits", show_limits(opened));
	json_object_set_new(root, "devices", doctor_devices());
	json_object_set_new(root, "hugepages", doctor_hugepages());
	json_object_set_new(root, "nodes", doctor_nodes());
	json_object_set_new(root, "dax", doctor_dax(&dax));
	json_object_set_new(root, "pinners", show_pinners(all, ARRAY_SIZE(all)));
	json_object_set_new(root, "cache", doctor_cache());
	json_object_set_new(root, "verdict",
			    show_verdict(all, ARRAY_SIZE(all), want, dax));
	return out_finish(best_of(all, ARRAY_SIZE(all)) ? EXIT_YES : EXIT_NO, root);
}

const struct command cmd_doctor = {
	"doctor",
	"what can be pinned here, what not, and what to do about it",
	help,
	run,
};
