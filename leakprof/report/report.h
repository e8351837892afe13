/* SPDX-License-Identifier: MIT */
/*
 * A report: what one collection found, filled from a raw stream or from a profile, and written in
 * every form there is.
 *
 *     raw stream -> unwind, symbolize, group ---+
 *                                               +--> struct lp_report --> profile, text, Go's
 * texts, info profile -> samples and comments ----------+
 *
 * Both give the same report, but for what a profile does not hold: single goroutines and what
 * function an address is how far into. Nothing here prints to stderr or exits.
 */
#ifndef LP_REPORT_REPORT_H
#define LP_REPORT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/stream.h"

struct lp_place;

/* Go's profiles that there are. */
enum lp_profile {
	LP_PROFILE_STORED,    /* to load: what a profile is of; of a raw snapshot, the leaks */
	LP_PROFILE_LEAK,      /* "goroutineleak" */
	LP_PROFILE_GOROUTINE, /* "goroutine": all of them */
};

struct lp_frame {
	const char *function; /* "?" when unknown */
	const char *system_name;
	const char *file; /* "" when unknown */
	int64_t line;
	int64_t start_line;
	int64_t offset; /* of the address into the function; -1: unknown */
	bool inlined;
};

/* One address: of a call instruction, in a mapping of the report; frames innermost first. */
struct lp_location {
	uint64_t address;
	uint32_t number;  /* of the report's locations, from 0 */
	uint32_t mapping; /* index, or LP_NONE */
	bool runtime;	  /* in a coroutine library */
	const struct lp_frame *frames;
	size_t frame_count;
};

struct lp_label {
	const char *key;
	const char *value;
};

/* Goroutines of the profile that are at one place, with the same labels. */
struct lp_site {
	uint64_t count;
	const char *wait; /* Go's words; "running" and the like for one that does not wait */
	uint32_t state;	  /* enum lp_state; 0: unknown */
	bool leaked;
	const struct lp_location *const *locations; /* innermost first */
	size_t location_count;
	struct lp_frame creator; /* FUNCTION NULL: unknown */
	const struct lp_label
		*labels; /* the program's own, and its name for the goroutines as "name" */
	size_t label_count;
	uint64_t oldest_ns; /* how long the oldest has waited; 0: unknown */
	uint64_t stack_bytes;
	uint64_t heap_bytes;
};

struct lp_report_goroutine {
	uint64_t id;
	uint64_t creator;
	uint64_t waited_ns; /* 0: unknown */
	uint32_t site;
};

struct lp_report_mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	const char *path;
	const char *build_id;
};

struct lp_report_runtime {
	const char *name;
	const char *path;
	uint64_t created;
	uint64_t finished;
};

struct lp_report_note {
	enum lp_severity severity;
	const char *text;
};

struct lp_report {
	enum lp_profile profile; /* what SITES and GOROUTINES are of */
	uint32_t pid;
	uint32_t trigger;
	uint32_t measured;
	uint32_t serial;
	const char *suppressions[2]; /* the program's own, and of its call of a check; "" from a
					profile */
	bool forked; /* a child that goes on with its parent's program; unknown from a profile */
	const char *program;
	const char *cmdline;
	const char *version; /* of the leakprof that measured */
	uint64_t time_ns;
	uint64_t start_ns;
	uint64_t figures[LP_FIG_LAST + 1];
	uint64_t states[LP_STATE_SLEEP + 1]; /* goroutines by state */
	struct lp_site *sites;		     /* biggest first */
	size_t site_count;
	struct lp_report_goroutine *goroutines; /* by id; none from a profile */
	size_t goroutine_count;
	bool from_profile;
	struct lp_report_mapping *mappings;
	size_t mapping_count;
	struct lp_report_runtime *runtimes;
	size_t runtime_count;
	struct lp_report_note *notes;
	size_t note_count;
	struct lp_place *places; /* locations by address */
	uint32_t place_count;
	void **kept; /* memory that goes with the report */
	size_t kept_count;
};

/* How to load a report. */
struct lp_load {
	enum lp_profile profile; /* a file that is of another one is refused */
	const char *debug_path;	 /* one more folder of debug files, or NULL */
	bool check;		 /* for a leak check: without main and what is left aside */
	const char *root;	 /* below which the target's files are looked for first, or NULL */
};

/*
 * Reads DATA, a raw snapshot or a profile. Returns 0; -EBADMSG with a one-line constant reason at
 * *REASON; -ENOMEM. *REPORT is to be freed by lp_report_free.
 */
int lp_report_load_as(struct lp_report **report, const struct lp_load *how, const void *data,
		      size_t size, const char **reason);

/* The leaks. */
int lp_report_load(struct lp_report **report, const void *data, size_t size, const char *debug_path,
		   const char **reason);
void lp_report_free(struct lp_report *report);

/* "goroutineleak", "goroutine". */
const char *lp_profile_name(enum lp_profile profile);

/* The profile of that NAME; LP_PROFILE_STORED: there is none. */
enum lp_profile lp_profile_find(const char *name);

/* How many goroutines the profile has. */
uint64_t lp_report_total(const struct lp_report *report);

/* How many goroutines are leaked. */
uint64_t lp_report_leaked(const struct lp_report *report);

/* Why nothing was measured, or NULL: then no leak means none. */
const char *lp_report_unmeasured(const struct lp_report *report);

/* Fills the % signs of PATTERN (see struct lp_options, output) in for REPORT, cut to SIZE bytes. */
void lp_report_name(const struct lp_report *report, const char *pattern, char *name, size_t size);

/* The profile as gzip'd pprof, to be freed. Returns 0 or -ENOMEM. */
int lp_report_profile(const struct lp_report *report, void **data, size_t *size);

/*
 * As lp_report_profile, of sites of several reports: OWNERS says for each site of REPORT which
 * report its locations are of (NULL: all of REPORT). COMMENT, if not NULL, stands in place of what
 * REPORT knows, and counts may be negative (as int64_t).
 */
int lp_report_pack(const struct lp_report *report, const struct lp_report *const *owners,
		   const char *comment, void **data, size_t *size);

/* For a person. COLOUR: with escape sequences. These return 0 or -errno of a failed write. */
int lp_report_text(const struct lp_report *report, FILE *file, bool colour);

/* SITE alone, as the text of a report has it. ALL: live ones stand between. */
void lp_site_text(const struct lp_site *site, bool all, FILE *file, bool colour);

/* One line: counts, or why nothing was measured. */
int lp_report_summary(const struct lp_report *report, FILE *file);

/* Go's text forms, LEVEL 1 or 2. -ENOTSUP: level 2 of a profile, which does not hold single
 * goroutines. */
int lp_report_debug(const struct lp_report *report, FILE *file, int level);

int lp_report_info(const struct lp_report *report, FILE *file);

/* --- For the files of this folder --- */

/* SIZE zero bytes that are freed with REPORT; NULL: no memory. */
void *lp_report_alloc(struct lp_report *report, size_t size);

/* A copy of TEXT, freed with REPORT; "" when there is no memory. */
const char *lp_report_keep(struct lp_report *report, const char *text);

/* The location of ADDRESS, made by MAKE (which fills it) when it is not there yet. NULL: no memory.
 */
struct lp_location *lp_report_location(struct lp_report *report, uint64_t address,
				       void (*make)(void *context, struct lp_location *location),
				       void *context);

/* The location of ADDRESS, or NULL. */
const struct lp_location *lp_report_find(const struct lp_report *report, uint64_t address);

/* The frame that a person wants to see of SITE: the innermost outside the coroutine library; NULL:
 * none. */
const struct lp_frame *lp_site_frame(const struct lp_site *site);

int lp_report_load_raw(struct lp_report *report, const struct lp_load *how, const void *data,
		       size_t size, const char **reason);
int lp_report_load_profile(struct lp_report *report, const struct lp_load *how, const void *data,
			   size_t size, const char **reason);

/* text.c: the first line: of which program, and when. */
void lp_report_head(const struct lp_report *report, FILE *file);

/* profile.c: debug=1 is a form of the profile. */
int lp_report_write_debug1(const struct lp_report *report, FILE *file);

/* comments.c: what pprof has no field for. ADD is called with each line. */
void lp_report_write_comments(const struct lp_report *report,
			      void (*add)(void *context, const char *line), void *context);
void lp_report_read_comment(struct lp_report *report, const char *line);

#endif
