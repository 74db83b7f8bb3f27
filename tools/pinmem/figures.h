/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * figures.h - the plots of each bench, made from its JSON and from nothing else: every
 * number in a plot is one of the file.
 */
#ifndef FIGURES_H
#define FIGURES_H

#include <jansson.h>
#include <stdbool.h>

#include "plot.h"

/**
 * figures_each - call @fn for each figure of a bench's JSON.
 * @name: one word, for a file's name; "" if the bench has one figure only
 * @fn:   nonzero ends it. Return: 0, or what @fn returned.
 */
typedef int (*figure_fn)(const char *name, const struct plot *plot, void *ctx);
int figures_each(const json_t *root, figure_fn fn, void *ctx);
/** figures_draw - all of them, as SVG and PNG; a figure's name goes before @file's
 * ending. Return: false after a sentence. */
bool figures_draw(const json_t *root, const char *file);

#endif
