/* SPDX-License-Identifier: MIT */
/*
 * The words for the raw stream's numbers: for a person, and as keys in a profile's comments.
 */
#ifndef LP_CORE_STREAM_NAMES_H
#define LP_CORE_STREAM_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "core/stream.h"

enum lp_unit { LP_UNIT_COUNT, LP_UNIT_BYTES, LP_UNIT_NS };

struct lp_figure_name {
	enum lp_figure key;
	enum lp_unit unit;
	const char *word;  /* as a key: "pause_ns" */
	const char *title; /* for a person: "pause of the target" */
};

/* In the order in which a person wants them. */
extern const struct lp_figure_name lp_figure_names[];
extern const size_t lp_figure_name_count;

/* NULL where KEY or WORD is unknown. */
const struct lp_figure_name *lp_figure_by_key(uint32_t key);
const struct lp_figure_name *lp_figure_by_word(const char *word);

/* Words of enum lp_trigger, lp_state, lp_severity, lp_section_type; "unknown" for any other number.
 */
const char *lp_trigger_name(uint32_t trigger);
const char *lp_state_name(uint32_t state);
const char *lp_severity_name(uint32_t severity);
const char *lp_section_name(uint32_t type);

/* The number that the words above stand for, 0 where there is none. */
uint32_t lp_trigger_by_name(const char *name);
uint32_t lp_state_by_name(const char *name);
uint32_t lp_severity_by_name(const char *name);

/* enum lp_measured as a word ("no_runtime"), and why nothing was measured, for a person ("" when it
 * was). */
const char *lp_measured_name(uint32_t measured);
const char *lp_measured_why(uint32_t measured);
uint32_t lp_measured_by_name(const char *name); /* LP_MEASURED_FAILED where unknown */

#endif
