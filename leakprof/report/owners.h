/* SPDX-License-Identifier: MIT */
/*
 * Owners of source files by a CODEOWNERS file as GitHub reads it: lines of PATTERN OWNER..., the
 * last line that fits wins, one without owners takes them away. Patterns are gitignore's, but for
 * !, [ ] and \#, which do not work there: such a line is left out.
 *
 *     *            every file
 *     *.c          in any folder
 *     docs/        everything below any folder docs
 *     /build/logs/ everything below this folder, / being the root of the sources
 *     docs/STAR    the files in docs, but not those of its folders (STAR: one asterisk)
 *     a/ ** /b     a/b, a/x/b, a/x/y/b (without the blanks)
 */
#ifndef LP_REPORT_OWNERS_H
#define LP_REPORT_OWNERS_H

#include <stdbool.h>
#include <stddef.h>

#include "report/report.h"

struct lp_owner_rule {
	char *text;	 /* of the line; what follows points into it */
	char **segments; /* the pattern between its slashes */
	size_t segment_count;
	const char *owners; /* one space between; "" for none */
	bool folder;	    /* it fits folders alone, that is, what is in them */
	bool direct;	    /* it does not fit what is in the folders that it fits */
};

struct lp_owners {
	struct lp_owner_rule *rules;
	size_t count;
	unsigned *bad_lines; /* those that were left out */
	size_t bad_count;
	const char **roots; /* folders that patterns are relative to, as given */
	size_t root_count;
};

/* Adds the rules of TEXT (copied). Returns 0 or -ENOMEM. */
int lp_owners_read(struct lp_owners *owners, const char *text);

/* Adds the folder ROOT, which must last. Returns 0 or -ENOMEM. */
int lp_owners_root(struct lp_owners *owners, const char *root);

void lp_owners_free(struct lp_owners *owners);

/*
 * Who owns the file PATH: relative to the root of the sources, or absolute below one of the roots.
 * "" or NULL: nobody. Lives as long as OWNERS.
 */
const char *lp_owners_find(const struct lp_owners *owners, const char *path);

/* Who owns SITE: the file that it blocks in, else its nearest caller's with an owner, else that of
 * its creator. NULL: nobody. */
const char *lp_owners_of_site(const struct lp_owners *owners, const struct lp_site *site);

#endif
