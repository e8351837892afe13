/* SPDX-License-Identifier: MIT */
/*
 * The result of a leak check: what was found in all processes that a program ran, less what
 * suppressions put aside and a baseline knows, and the forms that it is written in (format_*.c).
 */
#ifndef LP_REPORT_RESULTS_H
#define LP_REPORT_RESULTS_H

#include "report/report.h"
#include "report/suppress.h"

enum lp_finding_status {
	LP_FOUND_NEW,	/* fails the check */
	LP_FOUND_GROWN, /* fails: more than the baseline has */
	LP_FOUND_KNOWN, /* the baseline has as many */
	LP_FOUND_SUPPRESSED,
};

struct lp_finding {
	const struct lp_report *report; /* of the process */
	const struct lp_site *site;
	enum lp_finding_status status;
	const struct lp_rule *rule; /* LP_FOUND_SUPPRESSED */
	uint64_t known;		    /* goroutines that the baseline has */
	uint64_t fingerprint;	    /* equal for the same site: lp_site_fingerprint */
};

struct lp_results {
	const char *command; /* what was run */
	const char *mode;    /* "unreachable" or "alive" */
	int status;	     /* of the program, as wait(2) has it */
	bool timed_out;
	uint64_t time_ns;	/* when it was started */
	uint64_t duration_ns;	/* of the program */
	const char *unmeasured; /* why nothing was measured, NULL: something was */
	struct lp_report **reports;
	size_t report_count;
	struct lp_finding *findings; /* failing ones first, then biggest first */
	size_t finding_count;
	size_t failing; /* sites */
	uint64_t failing_goroutines;
	struct lp_rules *rules;
};

bool lp_finding_fails(const struct lp_finding *finding);

/* "3 goroutines leaked at chan send (leaked)": a title of one line, cut to SIZE. */
void lp_finding_title(const struct lp_finding *finding, const char *mode, char *text, size_t size);

/* "new", "grown", "known" or "suppressed". */
const char *lp_finding_status_name(enum lp_finding_status status);

/* Fills the findings of RESULTS from its reports and rules. BASELINE: what is known, or NULL.
 * Returns 0 or -ENOMEM. */
int lp_results_judge(struct lp_results *results, const struct lp_report *baseline);
void lp_results_free(struct lp_results *results); /* not the reports */

/* All findings as one profile, also those that do not fail: it can be a baseline. Returns 0 or
 * -ENOMEM. There must be a report. */
int lp_results_profile(const struct lp_results *results, void **data, size_t *size);

/* --- Forms: 0 or -errno --- */

int lp_format_text(const struct lp_results *results, FILE *file);
int lp_format_json(const struct lp_results *results, FILE *file);
int lp_format_junit(const struct lp_results *results, FILE *file)
	__attribute__((weak)); /* NULL: see cli/delegate.c */
int lp_format_sarif(const struct lp_results *results, FILE *file);
int lp_format_github(const struct lp_results *results, FILE *file);

/* A path as readers of CI results want it: below ROOT relative to it, else as it is. */
const char *lp_relative_path(const char *path, const char *root);

#endif
