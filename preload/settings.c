/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.c - what the environment says, and the line that is written to stderr.
 */
#include "preload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define REGIONS_DEFAULT 65536
#define REGIONS_MAX (1u << 24)

/* One write(2), so that lines of several processes stay whole. */
void log_line(const char *fmt, ...)
{
	char line[1200];
	int saved = errno, n;
	size_t len;
	va_list ap;

	n = snprintf(line, sizeof(line), "libpinmem-verbs[%d]: ", (int)getpid());
	len = (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	len += (size_t)n;
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	line[len] = '\n';
	if (write(STDERR_FILENO, line, len + 1) < 0) {
		/* nobody to tell */
	}
	errno = saved;
}

/* One of the words, by its number; the first is the default. */
static unsigned int word_of(const char *name, const char *const words[], size_t n)
{
	const char *value = secure_getenv(name);
	char all[64] = "";

	if (!value || !*value)
		return 0;
	for (unsigned int i = 0; i < n; i++) {
		if (!strcmp(value, words[i]))
			return i;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			 i ? ", " : "", words[i]);
	}
	log_line("%s=%s is none of %s: taken as %s", name, value, all, words[0]);
	return 0;
}

/* A number, perhaps with K, M, G, T behind it. False: it is none. */
static bool parse_number(const char *text, uint64_t *number)
{
	static const char units[] = "KMGT";
	unsigned int shift = 0;
	const char *unit;
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return false;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (*end || *number > UINT64_MAX >> shift)
		return false;
	*number <<= shift;
	return true;
}

static uint64_t number_of(const char *name, uint64_t min, uint64_t max, uint64_t usual)
{
	const char *value = secure_getenv(name);
	uint64_t number;

	if (!value || !*value)
		return usual;
	if (parse_number(value, &number) && number >= min && number <= max)
		return number;
	log_line("%s=%s is no number from %" PRIu64 " to %" PRIu64
		 " (with K, M, G or T, if wanted): taken as %" PRIu64,
		 name, value, min, max, usual);
	return usual;
}

/* As pinmem_cache_create(): a quarter of the memory, or half of the memlock limit where
 * that binds and is less. */
static uint64_t default_bytes(void)
{
	uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) / 4 * page_size();
	struct rlimit lim;

	if (!memlock_bypass() && !getrlimit(RLIMIT_MEMLOCK, &lim) &&
	    lim.rlim_cur / 2 < bytes)
		bytes = lim.rlim_cur / 2;
	return bytes < page_size() ? page_size() : bytes;
}

void settings_read(struct settings *s)
{
	static const char *const policies[] = { "odp", "refuse" };
	static const char *const switches[] = { "off", "on" };
	static const char *const levels[] = { "off", "refused", "all" };

	s->odp = !word_of("PINMEM_VERBS_POLICY", policies, ARRAY_SIZE(policies));
	s->cache = word_of("PINMEM_VERBS_CACHE", switches, ARRAY_SIZE(switches));
	s->log =
		(enum log_level)word_of("PINMEM_VERBS_LOG", levels, ARRAY_SIZE(levels));
	s->bytes = number_of("PINMEM_VERBS_CACHE_BYTES", page_size(), UINT64_MAX,
			     default_bytes());
	s->regions = number_of("PINMEM_VERBS_CACHE_REGIONS", 1, REGIONS_MAX,
			       REGIONS_DEFAULT);
}
