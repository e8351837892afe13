/* SPDX-License-Identifier: MIT */
/*
 * Two measurements side by side, for baselines and diff. Sites are the same when they wait alike in
 * the same functions of the same files and were created in the same one: lines, addresses and
 * folders may differ, so that a rebuilt program still matches.
 */
#ifndef LP_REPORT_COMPARE_H
#define LP_REPORT_COMPARE_H

#include <uthash.h>

#include "report/report.h"

enum { LP_BEFORE, LP_AFTER };

/* Goroutines at all sites that are the same. */
struct lp_tally {
	uint64_t fingerprint;
	uint64_t counts[2]; /* LP_BEFORE, LP_AFTER */
	const struct lp_report *report;
	const struct lp_site *site; /* the last one added */
	UT_hash_handle hh;
};

/* Equal for the same sites. */
uint64_t lp_site_fingerprint(const struct lp_site *site);

/* Adds SITE of REPORT, both of which must last, to *TALLIES (NULL: empty) on side WHICH. NULL: no
 * memory. */
struct lp_tally *lp_tally_add(struct lp_tally **tallies, int which, const struct lp_report *report,
			      const struct lp_site *site);

/* The same with all sites of REPORT (NULL: none). Returns 0 or -ENOMEM. */
int lp_tally_add_report(struct lp_tally **tallies, int which, const struct lp_report *report);

/* The tally of FINGERPRINT, or NULL. */
struct lp_tally *lp_tally_find(struct lp_tally *tallies, uint64_t fingerprint);

void lp_tally_free(struct lp_tally **tallies);

/* The difference for a person: new, grown, shrunk and gone sites, the largest change first. Returns
 * 0 or -errno. */
int lp_diff_text(struct lp_tally **tallies, FILE *file);

/* As a profile: AFTER less BEFORE, so that what is gone is negative, of the time and comments of
 * AFTER. */
int lp_diff_profile(struct lp_tally *tallies, const struct lp_report *after, void **data,
		    size_t *size);

/* The larger count of each site as a profile, of the time of HEAD: a baseline. */
int lp_most_profile(struct lp_tally *tallies, const struct lp_report *head, void **data,
		    size_t *size);

#endif
