/* SPDX-License-Identifier: MIT */
/*
 * Words for the numbers of the raw stream: the same in every output and in profile comments.
 */
#ifndef LP_CORE_STREAM_NAMES_H
#define LP_CORE_STREAM_NAMES_H

#include <stdint.h>

#include "core/stream.h"

enum lp_unit { LP_UNIT_COUNT, LP_UNIT_BYTES, LP_UNIT_NANOSECONDS };

struct lp_figure_name {
	enum lp_figure key;
	const char *name; /* one word, for machines */
	const char *text; /* for people */
	enum lp_unit unit;
};

extern const struct lp_figure_name lp_figure_names[];
extern const uint32_t lp_figure_name_count;

/* "at exit", "on request" ...; "unknown trigger" for a number that is none. */
const char *lp_trigger_name(uint32_t trigger);

/* Why nothing was measured, as a whole sentence without a full stop; NULL for LP_MEASURED. */
const char *lp_measured_reason(uint32_t measured);

/* Go's word for a state without a wait: "running", "runnable"; "waiting" for the others. */
const char *lp_state_name(uint32_t state);

#endif
