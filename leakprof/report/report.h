/* SPDX-License-Identifier: MIT */
/*
 * The reporter: one collection, read from a raw stream or from a profile, and written in every form
 * there is.
 *
 *     raw stream -> unwind, symbolize, group --\
 *                                               >-- struct lp_report -> profile, text, debug=1,
 * debug=2, info profile -----------------> read ---------/
 *
 * Both ways in give the same report but for what a profile does not hold: goroutines one by one
 * (debug=2). No function prints to stderr or exits. A report belongs to one thread at a time;
 * separate reports are independent.
 */
#ifndef LP_REPORT_REPORT_H
#define LP_REPORT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/stream.h"
#include "core/stream_read.h" /* struct lp_reason */

/* Which goroutines a report is about. */
enum lp_scope {
	LP_SCOPE_LEAKED = 0, /* the profile goroutineleak */
	LP_SCOPE_ALL = 1,    /* the profile goroutine */
};

struct lp_report_options {
	enum lp_scope scope;	/* of a report from a raw stream; a profile has its own */
	const char *debug_path; /* folder of more debug files (.build-id/xx/yyy.debug); NULL:
				   $LEAKPROF_DEBUG_PATH */
	bool no_symbols;	/* addresses only: read no file of the target's */
};

struct lp_report;

/* Whether DATA begins as a raw stream does (else it may be a profile). */
bool lp_report_is_raw(const void *data, size_t size);

/*
 * Reads SIZE bytes of DATA, a whole raw stream or a profile (gzip'd or not), whichever it is, into
 * a new *REPORT, which keeps nothing of DATA. Raw streams are unwound and symbolized from the files
 * that the target had mapped; what cannot be read there makes frames poorer and adds a note, never
 * an error. OPTIONS may be NULL: defaults. Returns 0; -EBADMSG (broken), -EPROTONOSUPPORT (another
 * version), -E2BIG (over a limit) for bad input, or -ENOMEM. On error *REPORT is NULL and REASON
 * has one line without a newline: "section 6 (goroutines): bad CRC".
 */
int lp_report_load(struct lp_report **report, const void *data, size_t size,
		   const struct lp_report_options *options, struct lp_reason *reason);

/* REPORT may be NULL. */
void lp_report_free(struct lp_report *report);

/* Whether zero leaks means that there are none: anything but LP_MEASURED is no result (exit code
 * 3). */
enum lp_measured lp_report_measured(const struct lp_report *report);

/* Why nothing was measured, one line for a person; NULL when something was. Lives as long as
 * REPORT. */
const char *lp_report_unmeasured_why(const struct lp_report *report);

/* Leaked goroutines, of whatever scope the report is. */
uint64_t lp_report_leaked(const struct lp_report *report);

/* Of the target: its PID, and the serial number of this collection in it. */
uint32_t lp_report_pid(const struct lp_report *report);
uint32_t lp_report_serial(const struct lp_report *report);

/* When the target was stopped, nanoseconds since 1970. */
uint64_t lp_report_time_ns(const struct lp_report *report);

/* Path of the target's program; "" when unknown. Lives as long as REPORT. */
const char *lp_report_program(const struct lp_report *report);

/*
 * All writers below write to OUT and leave it open. They return 0, -EIO when OUT has failed (or was
 * failing before; ferror(3) tells), or -ENOMEM.
 */

/*
 * The profile as a gzip'd pprof file. In *DATA, from malloc, for the caller to free; *SIZE bytes.
 * Never empty: without leaks it is a valid profile with no sample. Returns 0 or -ENOMEM, -EINVAL.
 */
int lp_report_profile(const struct lp_report *report, void **data, size_t *size);

/* One line, ending in a newline: what was measured, and the verdict. Also the first line of
 * lp_report_text. */
int lp_report_summary(const struct lp_report *report, FILE *out);

/* The report for a person: summary, leaks by site with the biggest first, notes. COLOUR: with
 * escape sequences. */
int lp_report_text(const struct lp_report *report, FILE *out, bool colour);

/* Whether text for FILE may be coloured: it is a terminal, NO_COLOR is not set, TERM is not "dumb".
 */
bool lp_report_colour(FILE *file);

/*
 * Go's text forms, LEVEL 1 or 2. Level 2 lists goroutines one by one, which only a raw stream
 * knows: -ENOTSUP for a report from a profile, -EINVAL for another LEVEL; REASON then says what to
 * do instead.
 */
int lp_report_debug(const struct lp_report *report, FILE *out, int level, struct lp_reason *reason);

/* What was seen and measured: process, trigger, runtimes, goroutines by state, figures, notes,
 * mappings. */
int lp_report_info(const struct lp_report *report, FILE *out);

#endif
