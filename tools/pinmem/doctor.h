/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor.h - the parts of `pinmem doctor`: each prints itself and returns its JSON. */
#ifndef DOCTOR_H
#define DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "pinmem.h"

/**
 * struct pinner_health - what one backend can do for this user.
 * @pins:    it has pinned a page, here and now
 * @odp:     and takes on-demand paging regions
 * @ceiling: how much it can pin, bytes, as far as limits and memory tell
 * @why:     why not, or what limits it
 */
struct pinner_health {
	enum pinmem_backend backend;
	bool opened, pins, odp;
	uint64_t ceiling;
	struct pinmem_info info;
	struct pinmem_memlock limit;
	char why[768];
};

json_t *doctor_devices(void);	/* doctor_devices.c */
json_t *doctor_cache(void);	/* doctor_cache.c */
json_t *doctor_hugepages(void); /* doctor_memory.c */
json_t *doctor_nodes(void);
/** doctor_dax - @found: out: file systems and devices with DAX that can be used */
json_t *doctor_dax(unsigned int *found);

#endif
