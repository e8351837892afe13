/* SPDX-License-Identifier: MIT */
/*
 * Reads a raw stream (stream.h) that is wholly in memory. Every byte of it is hostile: after
 * lp_stream_read has returned 0, every count, index, offset and string below has been checked, and
 * users need not check again.
 */
#ifndef LP_CORE_STREAM_READ_H
#define LP_CORE_STREAM_READ_H

#include <stddef.h>
#include <stdint.h>

#include "core/stream.h"

/* Why something failed: one line for a person, without a newline. */
struct lp_reason {
	char text[256];
};

/* Sets REASON (may be NULL) as printf does, and returns ERROR. Control characters become '?'. */
int lp_reason_set(struct lp_reason *reason, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Limits: a stream over one of them is refused with -E2BIG. */
#define LP_STREAM_MAX_BYTES (16ull << 30)
#define LP_STREAM_MAX_SECTIONS 64u
#define LP_STREAM_MAX_RECORDS (64u << 20) /* of one section */

/* Records of one section, copied from the stream into an array of our own size and alignment. */
struct lp_stream {
	struct lp_raw_process process;
	struct lp_raw_figure *figures;
	size_t figure_count;
	struct lp_raw_mapping *mappings; /* by address, not overlapping */
	size_t mapping_count;
	struct lp_raw_runtime *runtimes;
	size_t runtime_count;
	struct lp_raw_goroutine *goroutines;
	size_t goroutine_count;
	struct lp_raw_stack *stacks;
	size_t stack_count;
	struct lp_raw_note *notes;
	size_t note_count;
	struct lp_raw_label *labels; /* by goroutine */
	size_t label_count;
	const char *strings; /* in the stream's memory, as STACK_BYTES */
	size_t string_bytes;
	const unsigned char *stack_bytes;
	size_t stack_byte_count;
};

/*
 * Reads SIZE bytes of DATA, which must stay as they are as long as STREAM is used. Returns 0 or
 * -EBADMSG (broken), -EPROTONOSUPPORT (another version), -E2BIG (over a limit), -ENOMEM; then
 * REASON says why and STREAM is empty.
 */
int lp_stream_read(struct lp_stream *stream, const void *data, size_t size,
		   struct lp_reason *reason);

/* Frees what lp_stream_read allocated, not the stream's memory. */
void lp_stream_free(struct lp_stream *stream);

/* The string at OFFSET. */
const char *lp_stream_string(const struct lp_stream *stream, uint32_t offset);

/* The copied bytes of STACK, stack->length of them, from address stack->sp on. */
const unsigned char *lp_stream_stack_bytes(const struct lp_stream *stream,
					   const struct lp_raw_stack *stack);

#endif
