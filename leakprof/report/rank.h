/* SPDX-License-Identifier: MIT */
/*
 * The sites of a fleet by their impact: the root mean square of how many goroutines an instance has
 * there, over all instances, one profile each (a site that an instance has not counts as 0). It is
 * LeakProf's measure: a thousand in one instance weigh more than one in each of a thousand, as that
 * one instance is about to fall over.
 *
 * Only numbers and copied names are kept of a profile, so that thousands fit.
 *
 * Of profiles of all goroutines, those count that wait for others: not those that run, are ready,
 * wait for I/O or sleep with a deadline.
 */
#ifndef LP_REPORT_RANK_H
#define LP_REPORT_RANK_H

#include <uthash.h>

#include "report/owners.h"
#include "report/report.h"

struct lp_ranked {
	uint64_t fingerprint; /* lp_site_fingerprint */
	uint64_t max;	      /* goroutines in one instance */
	uint64_t total;
	uint64_t leaked;    /* of TOTAL */
	uint64_t instances; /* that have it */
	double squares;
	double rms; /* set by lp_ranking_finish */
	/* Of the instance that has the most: */
	char *name; /* its profile */
	char *wait;
	char *function; /* that blocks; "?": unknown */
	char *file;
	int64_t line;
	char *creator; /* "": unknown */
	char *creator_file;
	int64_t creator_line;
	const char *owners; /* NULL: nobody */
	UT_hash_handle hh;
};

struct lp_ranking {
	const struct lp_owners *owners; /* NULL: nobody asked */
	enum lp_profile profile;	/* LP_PROFILE_STORED: none was added yet */
	uint64_t instances;
	struct lp_ranked *sites;
};

/* What of a ranking is shown. */
struct lp_rank_limits {
	uint64_t min; /* goroutines in one instance at least */
	uint64_t top; /* sites; 0: all */
};

/* Adds REPORT, of the ranking's profile, which need not last. NAME is where it came from. Returns 0
 * or -ENOMEM. */
int lp_ranking_add(struct lp_ranking *ranking, const struct lp_report *report, const char *name);

/* All is added: sorts the sites, the largest impact first. */
void lp_ranking_finish(struct lp_ranking *ranking);
void lp_ranking_free(struct lp_ranking *ranking);

/* For a person; as JSON. Return 0 or -errno. */
int lp_ranking_text(const struct lp_ranking *ranking, const struct lp_rank_limits *limits,
		    FILE *file);
int lp_ranking_json(const struct lp_ranking *ranking, const struct lp_rank_limits *limits,
		    FILE *file);

#endif
