/* SPDX-License-Identifier: BSD-2-Clause */
/* app - somebody else's program: registers memory and releases it. */
#include <pinmem.h>
#include <stdio.h>
#include <string.h>

static char buf[1 << 16];

/* A name that the library has inside, too: it must not meet this one. */
int fail(const char *call);

int fail(const char *call)
{
	fprintf(stderr, "%s: %s\n", call, pinmem_errmsg());
	return 1;
}

int main(void)
{
	struct pinmem_info info = { .size = sizeof(info) };
	struct pinmem_mr *mr;
	struct pinmem *pm;

	if (strcmp(pinmem_version(), WANT_VERSION))
		return fail("another version than was installed");
	if (pinmem_open(NULL, &pm) || pinmem_query(pm, &info))
		return fail("open");
	if (pinmem_reg(pm, buf, sizeof(buf), PINMEM_ACCESS_LOCAL_WRITE, NULL, &mr))
		return fail("reg");
	if (pinmem_dereg(mr, PINMEM_DIRTY, NULL) || pinmem_close(pm))
		return fail("release");
	printf("C, %s: registered and released\n", pinmem_backend_name(info.backend));
	return 0;
}
