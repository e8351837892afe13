/* SPDX-License-Identifier: MIT */
/*
 * Suppressions: leaks that are known and put aside, in LeakSanitizer's file format. One
 * KIND:PATTERN a line; # begins a comment. A pattern is looked for anywhere in a name; * stands for
 * anything, ^ and $ tie it to the name's start and end.
 *
 *     leak:     any function, file or module of the stack, as LeakSanitizer has it
 *     top:      the function that blocks, the innermost outside the coroutine library
 *     any:      any function of the stack
 *     created:  the function that created the goroutine, or its file
 *     lib:      the module of any frame
 *     state:    the wait, "chan receive"
 */
#ifndef LP_REPORT_SUPPRESS_H
#define LP_REPORT_SUPPRESS_H

#include <regex.h>
#include <stddef.h>
#include <stdint.h>

#include "report/report.h"

struct lp_rule {
	const char *text;   /* "top:wait_for_config" */
	const char *origin; /* a file's name, or who else gave it */
	unsigned line;
	const struct lp_rule_kind *kind;
	regex_t pattern;
	uint64_t goroutines; /* that it has put aside */
	uint64_t bytes;
};

struct lp_rules {
	struct lp_rule *rules;
	size_t count;
	char error[512]; /* "file:3: what is wrong" */
};

/*
 * Adds the rules in TEXT, which ORIGIN names in messages (copied). Returns 0; -EINVAL with one line
 * in RULES->error; -ENOMEM.
 */
int lp_rules_add(struct lp_rules *rules, const char *origin, const char *text);
void lp_rules_free(struct lp_rules *rules);

/* The first of RULES that fits SITE of REPORT, counted as used; NULL: none. */
const struct lp_rule *lp_rules_match(struct lp_rules *rules, const struct lp_report *report,
				     const struct lp_site *site);

/* The rule that would put SITE aside, to paste; to be freed. NULL: no memory. */
char *lp_rule_for(const struct lp_site *site);

#endif
