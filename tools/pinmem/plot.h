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

/** struct mark - a vertical line with words at its top. */
struct mark {
	double x;
	const char *label;
};

/** enum unit - what an axis counts, for the words at its tics. */
enum unit { UNIT_COUNT, UNIT_BYTES, UNIT_TIME, UNIT_RATIO };

/** struct plot - both axes are logarithmic. @line: a horizontal line here; 0: none
 * @faint: bits: these curves are thin and dashed */
struct plot {
	const char *title, *x, *y;
	const struct curve *curves;
	unsigned int n;
	enum unit x_unit, y_unit;
	const struct mark *marks;
	unsigned int marks_n;
	double line;
	unsigned int faint;
};

/** plot_file_ok - does the name end in .svg or .png? */
bool plot_file_ok(const char *file);
/** plot_name - @file with a word before its ending ("a-word.svg"); "": as it is. */
const char *plot_name(const char *file, const char *word);
/** plot_draw - into @file and into its neighbour with the other ending.
 * Return: true; false after a sentence on stderr. */
bool plot_draw(const char *file, const struct plot *plot);
/** plot_inline - an SVG for a page, on no background; @id: unique on the page.
 * Return: as above. */
bool plot_inline(const char *file, const struct plot *plot, const char *id);

#endif
