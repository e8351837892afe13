/* SPDX-License-Identifier: MIT */
/*
 * Unwinding a copied stack with libunwind, as perf does (tools/perf/util/unwind-libunwind-local.c):
 * memory comes from the copy and from the files that were mapped, unwind tables from .eh_frame_hdr.
 */
#ifndef LP_REPORT_UNWIND_H
#define LP_REPORT_UNWIND_H

#include "core/stream_read.h"
#include "report/object.h"

#define LP_FRAMES_MAX 512

struct lp_unwinder;

/* OBJECTS must outlive the unwinder. NULL: no memory. */
struct lp_unwinder *lp_unwinder_new(struct lp_object *const *objects, size_t count);
void lp_unwinder_free(struct lp_unwinder *unwinder);

/*
 * Writes the addresses of the call instructions of STACK to ADDRESSES (LP_FRAMES_MAX of them),
 * innermost first. Returns how many; frames that cannot be unwound end the list.
 */
size_t lp_unwind(struct lp_unwinder *unwinder, const struct lp_stream *stream,
		 const struct lp_raw_stack *stack, uint64_t *addresses);

/* The object that target address ADDRESS lies in, or NULL. */
struct lp_object *lp_object_of(struct lp_object *const *objects, size_t count, uint64_t address);

#endif
