/* SPDX-License-Identifier: MIT */
/*
 * What the forms of a result share: text of the target, which may be any bytes, as valid UTF-8
 * without control characters, and jansson's values from it.
 */
#ifndef LP_REPORT_FORMAT_H
#define LP_REPORT_FORMAT_H

#include <jansson.h>
#include <stdio.h>

#include "report/report.h"

/* A copy of TEXT with ? for what is no valid text, to be freed; NULL: no memory. */
char *lp_clean_text(const char *text);

/* TEXT as a JSON string; NULL: as null. */
json_t *lp_json_text(const char *text);

/* The same, as member KEY (any text) of OBJECT. */
void lp_json_string(json_t *object, const char *key, const char *text);

/* VALUE as member "fingerprint" of OBJECT: 16 hexadecimal digits. */
void lp_json_fingerprint(json_t *object, uint64_t value);

/* FRAME as an object; null where it has no function. */
json_t *lp_json_frame(const struct lp_frame *frame);

/* SITE of REPORT as members of OBJECT: count, wait, times, sizes, labels, stack, creator. */
void lp_json_site(json_t *object, const struct lp_report *report, const struct lp_site *site);

/* Writes VALUE, which it takes over. Returns 0 or -errno. */
int lp_json_write(json_t *value, FILE *file);

#endif
