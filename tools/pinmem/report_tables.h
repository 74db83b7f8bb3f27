/* SPDX-License-Identifier: BSD-2-Clause */
/* report_tables.h - the tables of the report's page. */
#ifndef REPORT_TABLES_H
#define REPORT_TABLES_H

#include <jansson.h>
#include <stdio.h>

#include "bench_findings.h"

/** html_text - with what HTML reads as markup escaped. */
void html_text(FILE *f, const char *s);
/** report_machine - what was measured on. */
void report_machine(FILE *f, const json_t *root);
/** report_tables - of a bench's JSON. */
void report_tables(FILE *f, const json_t *root);

#endif
