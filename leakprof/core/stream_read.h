/* SPDX-License-Identifier: MIT */
/*
 * Reading a raw stream (stream.h) that lies in memory. Every byte is taken for hostile: a stream
 * that was read is safe to walk, all its indexes and strings lead somewhere.
 */
#ifndef LP_CORE_STREAM_READ_H
#define LP_CORE_STREAM_READ_H

#include <stddef.h>

#include "core/stream.h"

struct lp_stream {
	struct lp_raw_process process;
	struct lp_raw_figure *figures;
	struct lp_raw_mapping *mappings;
	struct lp_raw_runtime *runtimes;
	struct lp_raw_goroutine *goroutines;
	struct lp_raw_stack *stacks;
	struct lp_raw_note *notes;
	struct lp_raw_label *labels;
	size_t figure_count;
	size_t mapping_count;
	size_t runtime_count;
	size_t goroutine_count;
	size_t stack_count;
	size_t note_count;
	size_t label_count;
	const char *strings;	 /* in the caller's memory */
	const char *stack_bytes; /* likewise */
	size_t strings_size;
	size_t stack_bytes_size;
};

/* Whether DATA begins as a raw stream does. */
int lp_stream_is(const void *data, size_t size);

/*
 * Reads DATA, which must outlive STREAM. Returns 0; -EBADMSG with a constant reason at *REASON;
 * -ENOMEM.
 */
int lp_stream_read(struct lp_stream *stream, const void *data, size_t size, const char **reason);

void lp_stream_free(struct lp_stream *stream);

/* The string at OFFSET of a stream that was read. */
const char *lp_stream_string(const struct lp_stream *stream, uint32_t offset);

#endif
