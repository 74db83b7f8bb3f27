/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_findings.h - what follows from the numbers of `pinmem bench strategies`. All of
 * it reads the JSON and nothing else, so that a report of recorded numbers finds the
 * same as the run that recorded them.
 */
#ifndef BENCH_FINDINGS_H
#define BENCH_FINDINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/** struct family - a family of points: all sizes and reuses of it. */
struct family {
	const char *device, *direction, *pages;
	int threads;
};
/** families - that were measured, in the order of the JSON; at most @max.
 * Return: how many. */
unsigned int families(const json_t *root, struct family *f, unsigned int max);
#define FAMILIES_MAX 64

/** result - of a strategy at a point; NULL: not measured. */
const json_t *result(const json_t *root, const struct family *f, json_int_t size,
		     json_int_t reuse, const char *strategy);
/** number - of an object, 0 if it has none; number_in: of an object in it. */
double number(const json_t *o, const char *key);
double number_in(const json_t *o, const char *inner, const char *key);

/** word_is - is that value of the object this string? */
bool word_is(const json_t *o, const char *key, const char *value);

/** words_joined - "a, b, c" of an array of strings; as long as text(). */
const char *words_joined(const json_t *names);
/** in_family - is a point, a crossover, a cheapest one of this family? */
bool in_family(const json_t *o, const struct family *f);

/** enum axis, values - the measured sizes or reuses, ascending. Return: how many. */
enum axis { AXIS_SIZE, AXIS_REUSE };
#define AXIS_MAX 16
unsigned int axis_values(const json_t *root, const struct family *f, enum axis axis,
			 json_int_t v[AXIS_MAX]);

/** cheapest_name - of root.cheapest; NULL: not measured. */
const char *cheapest_name(const json_t *root, const struct family *f, json_int_t size,
			  json_int_t reuse);
/** findings_add - root.crossovers, root.cheapest and root.advice, in place of older
 * ones. Return: 0; -ENOMEM. */
int findings_add(json_t *root);
/** findings_show - as tables. */
void findings_show(const json_t *root);
/** findings_csv - all results, a line each. Return: false after a sentence. */
bool findings_csv(const json_t *root, const char *file);

/** size_phrase - "24 KiB": two digits, for a crossing between measured sizes. */
const char *size_phrase(double bytes);

#endif
