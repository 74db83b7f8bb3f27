/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cgroup.c - which memory cgroup is this process in, of either version, and how much of
 * its limit is left?
 */
#include "usage.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/** struct cgroup - where this process's memory cgroup is, once found. */
struct cgroup {
	bool v1;
	char path[1024]; /* in the hierarchy */
	char top[1024];	 /* where the hierarchy is mounted */
	char dir[2048];	 /* top + path */
};

/* "a,memory,b" has memory */
static bool listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, word, n) && (!p[n] || p[n] == ',' || p[n] == '\n'))
			return true;
	}
	return false;
}

/* A line is "ID:CONTROLLERS:PATH"; "0::PATH" is version 2. The controller is in
 * one hierarchy only: if a line of version 1 has it, that one counts. */
static bool cgroup_path(struct cgroup *cg)
{
	char *line = NULL, *list, *path;
	FILE *f = proc_open(SELF, "cgroup");
	bool found = false;
	size_t room = 0;

	while (f && !cg->v1 && getline(&line, &room, f) > 0) {
		list = strchr(line, ':');
		path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		cg->v1 = listed(list + 1, "memory");
		if (!cg->v1 && strcmp(line, "0:"))
			continue;
		found = strlen(path) < sizeof(cg->path);
		snprintf(cg->path, sizeof(cg->path), "%s", path);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* mountinfo writes blanks and backslashes as \040 */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && isdigit((unsigned char)s[1]) &&
		    isdigit((unsigned char)s[2]) && isdigit((unsigned char)s[3])) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* A mount shows the hierarchy from @root on: cut that from the path. A path that
 * leads out of it (another cgroup namespace's) leaves the mount's own top. */
static void cgroup_dir(struct cgroup *cg, const char *root)
{
	size_t n = strcmp(root, "/") ? strlen(root) : 0;
	const char *rest = cg->path;

	if (strncmp(rest, root, n) || (rest[n] && rest[n] != '/') ||
	    strstr(rest, "/.."))
		rest = "";
	else
		rest += n;
	snprintf(cg->dir, sizeof(cg->dir), "%s%s", cg->top, rest);
}

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE SUPER_OPTIONS" */
static bool cgroup_mount(struct cgroup *cg, char *line)
{
	char *field[5], *save = NULL, *tail = strstr(line, " - ");
	char *type, *super;

	if (!tail)
		return false;
	*tail = '\0';
	type = strtok_r(tail + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	super = strtok_r(NULL, " \n", &save);
	if (!type || strcmp(type, cg->v1 ? "cgroup" : "cgroup2"))
		return false;
	if (cg->v1 && (!super || !listed(super, "memory")))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(field); i++) {
		field[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!field[i])
			return false;
	}
	unescape(field[3]);
	unescape(field[4]);
	if (strlen(field[4]) >= sizeof(cg->top))
		return false;
	strcpy(cg->top, field[4]);
	cgroup_dir(cg, field[3]);
	return true;
}

static bool cgroup_find(struct cgroup *cg)
{
	char *line = NULL;
	bool found = false;
	size_t room = 0;
	FILE *f;

	memset(cg, 0, sizeof(*cg));
	if (!cgroup_path(cg))
		return false;
	f = proc_open(SELF, "mountinfo");
	while (f && !found && getline(&line, &room, f) > 0)
		found = cgroup_mount(cg, line);
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* A number of bytes, or "max": no limit; version 1 has LONG_MAX cut to pages. */
static bool cgroup_value(const char *dir, const char *file, uint64_t *value)
{
	char path[2048 + 32], text[32] = "";
	bool ok;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(text, sizeof(text), f) && isdigit((unsigned char)*text);
	fclose(f);
	*value = ok ? strtoull(text, NULL, 10) : UINT64_MAX;
	return ok && *value < UINT64_MAX / 4;
}

static void consider_cgroup(const struct cgroup *cg, struct pinmem_memlock *out)
{
	uint64_t limit, used;

	if (!cgroup_value(cg->dir, cg->v1 ? "memory.limit_in_bytes" : "memory.max",
			  &limit) ||
	    !cgroup_value(cg->dir, cg->v1 ? "memory.usage_in_bytes" : "memory.current",
			  &used))
		return;
	if (sub_sat(limit, used) >= sub_sat(out->cgroup_limit, out->cgroup_used))
		return;
	out->cgroup_limit = limit;
	out->cgroup_used = used;
}

/* The group and its ancestors all limit: find the one with the least left. */
void find_cgroup(struct pinmem_memlock *out)
{
	struct cgroup cg;
	char *slash;

	out->cgroup_limit = UINT64_MAX;
	out->cgroup_used = 0;
	if (!cgroup_find(&cg))
		return;
	for (;;) {
		consider_cgroup(&cg, out);
		slash = strrchr(cg.dir, '/');
		if (!slash || slash < cg.dir + strlen(cg.top))
			break;
		*slash = '\0';
	}
}
