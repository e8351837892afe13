/* SPDX-License-Identifier: MIT */
/*
 * The stacks of a raw stream, as the places that they lead through: unwound, and symbolized from
 * the target's files. For load_raw.c only; knows nothing of goroutines' labels, nor of sites.
 */
#ifndef LP_REPORT_LOAD_RAW_STACKS_H
#define LP_REPORT_LOAD_RAW_STACKS_H

#include "core/stream_read.h"
#include "report/report.h"

struct lp_stacks;

/*
 * Opens the target's files. REPORT, which gets the locations, STREAM and HOW must outlive STACKS.
 * Returns 0 or -ENOMEM; *STACKS is to be closed either way.
 */
int lp_stacks_open(struct lp_stacks **stacks, struct lp_report *report,
		   const struct lp_stream *stream, const struct lp_load *how);
void lp_stacks_close(struct lp_stacks *stacks);

/* The location of ADDRESS, symbolized; NULL: no memory. */
const struct lp_location *lp_stacks_locate(struct lp_stacks *stacks, uint64_t address);

/* The trace of GOROUTINE, as the number of the first stack that has the same; LP_NONE: it has no
 * stack. */
uint32_t lp_stacks_trace_of(struct lp_stacks *stacks, const struct lp_raw_goroutine *goroutine);

/* The *COUNT addresses of trace NUMBER, innermost first. */
const uint64_t *lp_stacks_trace(const struct lp_stacks *stacks, uint32_t number, size_t *count);

#endif
