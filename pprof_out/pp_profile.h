/* SPDX-License-Identifier: MIT */
/*
 * pprof profiles: building, writing, reading, and Go's two text forms. Knows nothing of coroutines.
 *
 * None of it is thread-safe; every function returns 0 or a positive id on success and -errno on
 * failure unless it says otherwise. Strings are copied.
 */
#ifndef PP_PROFILE_H
#define PP_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "profile.pb-c.h"

typedef Perftools__Profiles__Profile pp_profile;

/* --- Building --- */

struct pp_builder;

struct pp_mapping {
	uint64_t start;
	uint64_t limit;
	uint64_t offset;
	const char *filename;
	const char *build_id;
	bool has_functions; /* and file names, line numbers, inlined frames */
};

struct pp_function {
	const char *name;
	const char *system_name;
	const char *filename;
	int64_t start_line;
};

struct pp_line {
	uint64_t function_id;
	int64_t line;
};

struct pp_label {
	const char *key;
	const char *value;
};

/* A profile whose samples count TYPE in UNIT ("goroutineleak", "count"), of period 1. NULL: no
 * memory. */
struct pp_builder *pp_builder_new(const char *type, const char *unit);
void pp_builder_free(struct pp_builder *builder);

void pp_builder_time(struct pp_builder *builder, uint64_t time_ns, uint64_t duration_ns);

/* A regular expression that must match a whole function name; such frames are left out by tools. */
void pp_builder_drop_frames(struct pp_builder *builder, const char *regexp);

void pp_builder_comment(struct pp_builder *builder, const char *text);

/* Each returns the id of the new, or of an equal earlier, record; 0: no memory (which
 * pp_builder_finish reports). */
uint64_t pp_builder_mapping(struct pp_builder *builder, const struct pp_mapping *mapping);
uint64_t pp_builder_function(struct pp_builder *builder, const struct pp_function *function);

/* ADDRESS is that of the call instruction; LINES innermost first. MAPPING_ID 0: none. */
uint64_t pp_builder_location(struct pp_builder *builder, uint64_t mapping_id, uint64_t address,
			     const struct pp_line *lines, size_t count);

/* Adds VALUE to the sample of these locations (innermost first) and labels. Returns the sample's
 * number in the profile, from 1; 0: no memory. */
uint64_t pp_builder_sample(struct pp_builder *builder, const uint64_t *location_ids, size_t count,
			   int64_t value, const struct pp_label *labels, size_t label_count);

/* Leaves out the samples whose value is 0. */
void pp_builder_drop_zero(struct pp_builder *builder);

/* The profile, owned by BUILDER and complete; NULL: memory ran out on the way. */
const pp_profile *pp_builder_finish(struct pp_builder *builder);

/* --- Writing and reading --- */

/*
 * PROFILE as gzip'd protobuf, in memory of *SIZE bytes at *DATA that the caller frees. The same
 * profile always gives the same bytes. Returns 0 or -ENOMEM.
 */
int pp_pack(const pp_profile *profile, void **data, size_t *size);

/*
 * Reads a profile, gzip'd or not, and checks it by the rules that Parca enforces, and that all
 * references lead somewhere. LIMIT bounds the unpacked size. Returns 0; -EBADMSG with a constant
 * reason at *REASON; -ENOMEM. *PROFILE is to be freed by pp_free.
 */
int pp_unpack(const void *data, size_t size, size_t limit, pp_profile **profile,
	      const char **reason);
void pp_free(pp_profile *profile);

/* Checks only. Returns NULL, or a constant reason why PROFILE is not valid. */
const char *pp_invalid(const pp_profile *profile);

/* The text of string INDEX of a valid profile. */
const char *pp_string(const pp_profile *profile, int64_t index);

/*
 * What SECOND has more than FIRST, both valid, of one sample type: samples of the same locations
 * and labels are subtracted, those that come to nothing left out; values may be negative. The time
 * is SECOND's, the duration that from FIRST. Comments are left out. NULL: no memory.
 */
struct pp_builder *pp_delta(const pp_profile *first, const pp_profile *second);

/* --- Go's text forms --- */

/*
 * As Go's debug=1, under the name NAME. OFFSET, if not NULL, tells how far ADDRESS is into the
 * function of LINE of LOCATION, or -1 for unknown. Returns 0 or -errno of a failed write.
 */
int pp_write_debug1(FILE *file, const pp_profile *profile, const char *name,
		    int64_t (*offset)(void *context, const Perftools__Profiles__Location *location,
				      size_t line),
		    void *context);

struct pp_frame {
	const char *function;
	const char *file;
	int64_t line;
	int64_t offset; /* into the function; -1: unknown */
	bool inlined;
};

struct pp_goroutine {
	uint64_t id;
	const char *state;
	bool leaked;
	int64_t minutes; /* it waits; below 1: not shown */
	const struct pp_label *labels;
	size_t label_count;
	const struct pp_frame *frames; /* innermost first */
	size_t frame_count;
	struct pp_frame created_by; /* FUNCTION NULL: unknown */
	uint64_t creator;	    /* id; 0: unknown */
};

/* One goroutine as Go's debug=2 has it, with the empty line behind. Returns 0 or -errno of a failed
 * write. */
int pp_write_debug2(FILE *file, const struct pp_goroutine *goroutine);

#endif
