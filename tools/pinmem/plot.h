/* SPDX-License-Identifier: BSD-2-Clause */
/* plot.h - curves drawn by gnuplot, as SVG and as PNG. */
#ifndef PLOT_H
#define PLOT_H

#include <stdbool.h>

/** struct curve - @n points; those with y <= 0 are left out. */
struct curve {
	const char *name;
	const double *x, *y;
	unsigned int n;
};

/** struct plot - both axes are logarithmic. */
struct plot {
	const char *title, *x, *y;
	const struct curve *curves;
	unsigned int n;
};

/** plot_file_ok - does the name end in .svg or .png? */
bool plot_file_ok(const char *file);
/** plot_draw - into @file and into its neighbour with the other ending.
 * Return: true; false after a sentence on stderr. */
bool plot_draw(const char *file, const struct plot *plot);

#endif
