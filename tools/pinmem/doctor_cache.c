/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor_cache.c - does a registration cache work here, and how near are its limits? */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"
#include "out.h"
#include "sys.h"

/* How many mappings a process of the size of this one has. */
static uint64_t mappings_in_use(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	uint64_t n = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* Return: the monitor's name; NULL with pinmem_errmsg() */
static const char *monitor_of(struct pinmem *pm)
{
	struct pinmem_cache_stats stats = { .size = sizeof(stats) };
	struct pinmem_cache *cache;
	int rc = pinmem_cache_create(pm, NULL, &cache);

	if (rc)
		return NULL;
	rc = pinmem_cache_stats(cache, &stats);
	pinmem_cache_destroy(cache);
	return rc ? NULL : pinmem_monitor_name(stats.monitor);
}

/* Nothing is known to work but what has worked: a cache is made. Its pinner does not
 * matter to the monitor; this one needs nothing. */
static const char *try_monitor(void)
{
	struct pinmem_options o = { .size = sizeof(o),
				    .backend = PINMEM_BACKEND_MLOCK };
	const char *monitor;
	struct pinmem *pm;

	if (pinmem_open(&o, &pm))
		return NULL;
	monitor = monitor_of(pm);
	pinmem_close(pm);
	return monitor;
}

json_t *doctor_cache(void)
{
	const char *monitor = try_monitor();
	const char *why = monitor ? "" : pinmem_errmsg();
	uint64_t max = 0, used = mappings_in_use();

	sys_number("/proc/sys/vm/max_map_count", &max);
	heading("Registration cache");
	if (monitor && !strcmp(monitor, pinmem_monitor_name(PINMEM_MONITOR_PIN_TRACK)))
		say_block(2, "It works for this user: by /dev/pin_track nothing that "
			     "happens to cached memory goes unseen, the truncation of "
			     "files included.");
	else if (monitor)
		say_block(
			2,
			"It works for this user: by %s it learns of memory that is "
			"unmapped or remapped. Not of files that are truncated: their "
			"memory is registered anew each time, unless the program gives "
			"its word or they are sealed.",
			monitor);
	else
		say_block(2,
			  "No monitor works for this user, so a program must tell the "
			  "cache itself what it unmaps: %s",
			  why);
	if (max)
		say_block(2,
			  "vm.max_map_count: a process may have %" PRIu64
			  " mappings (this one has %" PRIu64
			  "). Memory that is watched is not merged with what is mapped "
			  "next to it later, so programs come to have more of them.",
			  max, used);
	return json_pack("{so, so, sI, sI}", "monitor",
			 monitor ? json_string(monitor) : json_null(), "why",
			 json_text(why), "max_map_count", (json_int_t)max, "mappings",
			 (json_int_t)used);
}
