/* SPDX-License-Identifier: MIT */
/*
 * Suspects: goroutines that reachability keeps alive, but that look stuck, as Uber's LeakProf finds
 * them (Saioc and others, "Unveiling and Vanquishing Goroutine Leaks in Enterprise Microservices",
 * CGO 2024). A guess by numbers, so they are a class of their own and never count as leaks.
 *
 * A goroutine is a candidate when it is live and waits for others: not when it runs, is ready,
 * waits for I/O or sleeps with a deadline, all of which end by themselves, nor when it is main,
 * which waits by trade. Candidates of one place (lp_site_fingerprint: whatever their labels) are
 * judged together.
 */
#ifndef LP_REPORT_SUSPECTS_H
#define LP_REPORT_SUSPECTS_H

#include <uthash.h>

#include "report/report.h"

/* Why a place is suspect: bits, as several may hold. */
enum lp_suspect_reason {
	LP_SUSPECT_GROWING = 1, /* many more than in an earlier profile */
	LP_SUSPECT_MANY = 2,
	LP_SUSPECT_OLD = 4, /* the one that has waited longest */
};

/* How few more than before are not worth a word, whatever the factor. */
#define LP_SUSPECT_GROWTH_MIN 10

struct lp_suspect_rules {
	uint64_t min_count;  /* at one place; 0: any number is no reason */
	uint64_t min_age_ns; /* 0: no age is a reason */
	double growth;	     /* the factor that is a reason */
};

/*
 * LeakProf asks for 10,000 goroutines, of Go's 2 KiB each. The stack of a coroutine in C is more
 * like 64 KiB, and its programs have fewer: 100 hold some 6 MiB.
 */
#define LP_SUSPECT_RULES                                                                           \
	(struct lp_suspect_rules)                                                                  \
	{                                                                                          \
		.min_count = 100, .min_age_ns = 600000000000u, .growth = 2                         \
	}

struct lp_suspect {
	struct lp_site site; /* all of the place; no labels where it has several parts */
	uint64_t fingerprint;
	uint64_t before;  /* goroutines of the place in the earlier profile */
	unsigned reasons; /* enum lp_suspect_reason bits; 0: not suspect */
	char words[32];	  /* the same, "growing, many" */
	UT_hash_handle hh;
};

struct lp_suspects {
	const struct lp_report *report;
	struct lp_suspect_rules rules;
	bool compared;		   /* with an earlier profile */
	struct lp_suspect *places; /* that have candidates, by fingerprint */
	struct lp_suspect *memory; /* that they are in */
	struct lp_suspect **found; /* the suspects among them: most reasons, then biggest, first */
	size_t count;
	uint64_t goroutines; /* at these */
	uint64_t ageless;    /* candidates of which no runtime told how long they wait */
};

/*
 * Fills SUSPECTS, zero before, from REPORT, which must last and be of LP_PROFILE_GOROUTINE. EARLIER
 * is one of the same program, or NULL. Returns 0 or -ENOMEM.
 */
int lp_suspects_find(struct lp_suspects *suspects, const struct lp_report *report,
		     const struct lp_report *earlier, const struct lp_suspect_rules *rules);
void lp_suspects_free(struct lp_suspects *suspects);

/* For a person; as JSON. Return 0 or -errno. */
int lp_suspects_text(const struct lp_suspects *suspects, FILE *file, bool colour);
int lp_suspects_json(const struct lp_suspects *suspects, FILE *file);

/* A profile of type goroutine that has them alone, with a label `suspect`: the reasons. Returns 0
 * or -ENOMEM. */
int lp_suspects_profile(const struct lp_suspects *suspects, void **data, size_t *size);

#endif
