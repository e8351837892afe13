/* SPDX-License-Identifier: MIT */
/*
 * See load_raw_stacks.h. Each distinct stack is unwound once, each distinct address symbolized
 * once, and stacks that have the same frames become one trace. The target's files are opened at the
 * start, their debug information when it is first wanted. What cannot be read of them makes frames
 * poorer, never an error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "report/debuginfo.h"
#include "report/load_raw_stacks.h"
#include "report/object.h"
#include "report/unwind.h"

/* The frames of one stack of the stream. */
struct trace {
	bool done;
	uint32_t first;	     /* the first stack that was found to have the same frames */
	uint64_t *addresses; /* and a zero, as a key is not empty; none where FIRST has them */
	size_t count;
	UT_hash_handle hh;
};

struct lp_stacks {
	struct lp_report *report;
	const struct lp_stream *stream;
	const struct lp_load *how;
	struct lp_object **objects; /* one a mapping */
	struct lp_unwinder *unwinder;
	struct trace *traces;	/* one a stack */
	struct trace *distinct; /* of them, by addresses */
};

/* --- Files of the target --- */

static const char *text(const struct lp_stacks *stacks, uint32_t offset)
{
	return lp_stream_string(stacks->stream, offset);
}

static bool is_runtime(const struct lp_stacks *stacks, const char *path)
{
	size_t i;

	for (i = 0; i < stacks->stream->runtime_count; i++)
		if (!strcmp(path, text(stacks, stacks->stream->runtimes[i].path)))
			return true;
	return false;
}

/* The target's file PATH: below its root, where that is another than ours. */
static struct lp_object *open_object(const struct lp_stacks *stacks, const char *path,
				     const char *build_id)
{
	struct lp_object *object;
	char *below;

	if (!stacks->how->root || *path != '/' ||
	    asprintf(&below, "%s%s", stacks->how->root, path) < 0)
		return lp_object_open(path, build_id);
	object = lp_object_open(below, build_id);
	free(below);
	if (!object || object->data)
		return object;
	lp_object_close(object);
	return lp_object_open(path, build_id);
}

static int open_objects(struct lp_stacks *stacks)
{
	const struct lp_stream *stream = stacks->stream;
	size_t i;

	stacks->objects = calloc(stream->mapping_count + 1, sizeof(*stacks->objects));
	if (!stacks->objects)
		return -ENOMEM;
	for (i = 0; i < stream->mapping_count; i++) {
		const struct lp_raw_mapping *mapping = &stream->mappings[i];
		const char *path = text(stacks, mapping->path);
		struct lp_object *object =
			open_object(stacks, path, text(stacks, mapping->build_id));

		if (!object)
			return -ENOMEM;
		lp_object_place(object, mapping->start, mapping->end, mapping->offset);
		object->runtime = is_runtime(stacks, path);
		stacks->objects[i] = object;
	}
	return 0;
}

/* The DWARF of OBJECT, looked for when it is first wanted. */
static struct lp_dwarf *dwarf_of(struct lp_stacks *stacks, struct lp_object *object)
{
	size_t length;

	if (object->dwarf || object->debug || !object->data)
		return object->dwarf;
	if (lp_object_section(object, ".debug_info", &length)) {
		object->dwarf = lp_dwarf_open(object->path);
		return object->dwarf;
	}
	object->debug = lp_object_find_debug(object, stacks->how->debug_path);
	if (object->debug)
		object->dwarf = lp_dwarf_open(object->debug->path);
	return object->dwarf;
}

/* --- Symbols --- */

static void name_by_symbol(struct lp_stacks *stacks, struct lp_object *object, uint64_t address,
			   struct lp_frame *frame)
{
	uint64_t start = address;
	const char *name = lp_object_symbol(object, address, &start);

	if (!name && object->debug)
		name = lp_object_symbol(object->debug, address, &start);
	frame->function = frame->system_name = name ? lp_report_keep(stacks->report, name) : "?";
	frame->file = "";
	frame->offset = name ? (int64_t)(address - start) : -1;
}

static void name_by_dwarf(struct lp_stacks *stacks, const struct lp_source *source,
			  uint64_t address, bool inlined, struct lp_frame *frame)
{
	frame->function = lp_report_keep(stacks->report, source->function);
	frame->system_name = lp_report_keep(stacks->report, source->system_name);
	frame->file = lp_report_keep(stacks->report, source->file);
	frame->line = source->line;
	frame->start_line = source->start_line;
	frame->offset = (int64_t)(address - source->start);
	frame->inlined = inlined;
}

static void symbolize(void *context, struct lp_location *location)
{
	struct lp_stacks *stacks = context;
	struct lp_source sources[LP_INLINE_MAX];
	struct lp_frame *frames;
	struct lp_object *object =
		lp_object_of(stacks->objects, stacks->stream->mapping_count, location->address);
	struct lp_dwarf *dwarf;
	uint64_t address;
	size_t count = 0;
	size_t i;

	if (!object)
		return;
	for (i = 0; i < stacks->stream->mapping_count; i++)
		if (stacks->objects[i] == object)
			location->mapping = (uint32_t)i;
	location->runtime = object->runtime;
	address = location->address - object->bias;
	dwarf = dwarf_of(stacks, object);
	if (dwarf)
		count = lp_dwarf_find(dwarf, address, sources);
	frames = lp_report_alloc(stacks->report, (count ? count : 1) * sizeof(*frames));
	if (!frames)
		return;
	for (i = 0; i < count; i++)
		name_by_dwarf(stacks, &sources[i], address, i + 1 < count, &frames[i]);
	if (!count)
		name_by_symbol(stacks, object, address, frames);
	location->frames = frames;
	location->frame_count = count ? count : 1;
}

const struct lp_location *lp_stacks_locate(struct lp_stacks *stacks, uint64_t address)
{
	return lp_report_location(stacks->report, address, symbolize, stacks);
}

/* The address at which the function that holds ADDRESS begins; 0: unknown. */
static uint64_t function_start(struct lp_stacks *stacks, uint64_t address)
{
	const struct lp_location *location = lp_stacks_locate(stacks, address);

	if (!location || !location->frame_count ||
	    location->frames[location->frame_count - 1].offset < 0)
		return 0;
	return address - (uint64_t)location->frames[location->frame_count - 1].offset;
}

/* --- Stacks --- */

/* Frames outside the goroutine's first function, or outside main, are the runtime's and libc's. */
static size_t trim(struct lp_stacks *stacks, const struct lp_raw_goroutine *goroutine,
		   const uint64_t *addresses, size_t count)
{
	size_t i;

	for (i = count; i-- > 0;) {
		const struct lp_location *location = lp_stacks_locate(stacks, addresses[i]);

		if (goroutine->entry_pc &&
		    function_start(stacks, addresses[i]) == goroutine->entry_pc)
			return i + 1;
		if (goroutine->flags & LP_G_MAIN && location && location->frame_count &&
		    !strcmp(location->frames[location->frame_count - 1].function, "main"))
			return i + 1;
	}
	return count;
}

/* Makes TRACE number NUMBER one of those that differ, or finds the one that has the same frames. */
static void keep_trace(struct lp_stacks *stacks, struct trace *trace, uint32_t number)
{
	size_t size = (trace->count + 1) * sizeof(*trace->addresses);
	struct trace *same;

	HASH_FIND(hh, stacks->distinct, trace->addresses, size, same);
	trace->first = same ? same->first : number;
	if (!same)
		HASH_ADD_KEYPTR(hh, stacks->distinct, trace->addresses, size, trace);
	else {
		free(trace->addresses);
		trace->addresses = NULL;
	}
}

/* How many of the innermost frames are in a coroutine library: a stack that was left there begins,
 * for a reader, where the program called the library. 0 where nothing else is there. */
static size_t inside_runtime(struct lp_stacks *stacks, const uint64_t *addresses, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct lp_location *location = lp_stacks_locate(stacks, addresses[i]);

		if (!location || !location->runtime)
			return i;
	}
	return 0;
}

static void unwind(struct lp_stacks *stacks, const struct lp_raw_goroutine *goroutine,
		   struct trace *trace)
{
	uint64_t addresses[LP_FRAMES_MAX];
	size_t inside;

	trace->done = true;
	trace->first = goroutine->stack;
	trace->count = lp_unwind(stacks->unwinder, stacks->stream,
				 &stacks->stream->stacks[goroutine->stack], addresses);
	trace->count = trim(stacks, goroutine, addresses, trace->count);
	inside = inside_runtime(stacks, addresses, trace->count);
	trace->count -= inside;
	trace->addresses = calloc(trace->count + 1, sizeof(*addresses));
	if (!trace->addresses) {
		trace->count = 0;
		return;
	}
	memcpy(trace->addresses, addresses + inside, trace->count * sizeof(*addresses));
	keep_trace(stacks, trace, goroutine->stack);
}

uint32_t lp_stacks_trace_of(struct lp_stacks *stacks, const struct lp_raw_goroutine *goroutine)
{
	struct trace *trace;

	if (goroutine->stack == LP_NONE)
		return LP_NONE;
	trace = &stacks->traces[goroutine->stack];
	if (!trace->done)
		unwind(stacks, goroutine, trace);
	return trace->first;
}

const uint64_t *lp_stacks_trace(const struct lp_stacks *stacks, uint32_t number, size_t *count)
{
	*count = stacks->traces[number].count;
	return stacks->traces[number].addresses;
}

/* --- All of it --- */

int lp_stacks_open(struct lp_stacks **opened, struct lp_report *report,
		   const struct lp_stream *stream, const struct lp_load *how)
{
	struct lp_stacks *stacks = calloc(1, sizeof(*stacks));
	int r;

	*opened = stacks;
	if (!stacks)
		return -ENOMEM;
	stacks->report = report;
	stacks->stream = stream;
	stacks->how = how;
	r = open_objects(stacks);
	if (r)
		return r;
	stacks->unwinder = lp_unwinder_new(stacks->objects, stream->mapping_count);
	stacks->traces = calloc(stream->stack_count + 1, sizeof(*stacks->traces));
	return stacks->unwinder && stacks->traces ? 0 : -ENOMEM;
}

void lp_stacks_close(struct lp_stacks *stacks)
{
	size_t i;

	if (!stacks)
		return;
	HASH_CLEAR(hh, stacks->distinct);
	lp_unwinder_free(stacks->unwinder);
	for (i = 0; stacks->traces && i < stacks->stream->stack_count; i++)
		free(stacks->traces[i].addresses);
	free(stacks->traces);
	for (i = 0; stacks->objects && i < stacks->stream->mapping_count; i++) {
		if (stacks->objects[i])
			lp_dwarf_close(stacks->objects[i]->dwarf);
		lp_object_close(stacks->objects[i]);
	}
	free(stacks->objects);
	free(stacks);
}
