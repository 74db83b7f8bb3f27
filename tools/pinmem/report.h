/* SPDX-License-Identifier: BSD-2-Clause */
/* report.h - the results of `pinmem bench` as one page. */
#ifndef REPORT_H
#define REPORT_H

/** report_write - DIR/report.html from the .json files in it. Return: exit code. */
int report_write(const char *dir);

#endif
