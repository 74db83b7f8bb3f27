/* SPDX-License-Identifier: BSD-2-Clause */
/* verdict_text.h - verdicts, limits and regions as JSON, for all who show them. */
#ifndef VERDICT_TEXT_H
#define VERDICT_TEXT_H

#include <jansson.h>

#include "pinmem.h"

json_t *verdict_json(const struct pinmem_verdict *v);
json_t *memlock_json(const struct pinmem_memlock *m);
json_t *region_json(const struct pinmem_mr_info *info);

#endif
