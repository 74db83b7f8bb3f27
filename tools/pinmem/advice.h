/* SPDX-License-Identifier: BSD-2-Clause */
/* advice.h - what to do on a machine, in plain words, computed from what was measured.
 */
#ifndef ADVICE_H
#define ADVICE_H

#include <jansson.h>

/**
 * advice - sentences.
 * @strategies: of findings_add(); @cache: of `bench cache`; each may be NULL
 * Return: an array of strings, maybe empty; NULL: out of memory.
 */
json_t *advice(const json_t *strategies, const json_t *cache);

#endif
