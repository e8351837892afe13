/* SPDX-License-Identifier: MIT */
/*
 * A report from a raw stream: unwinds each distinct stack once, symbolizes each distinct address
 * once, and groups the profile's goroutines by stack, wait and creator. What cannot be read of the
 * target's files makes frames poorer, never an error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "core/stream_names.h"
#include "core/stream_read.h"
#include "report/debuginfo.h"
#include "report/object.h"
#include "report/report.h"
#include "report/unwind.h"

/* The frames of one stack of the stream. */
struct trace {
	bool done;
	uint32_t first;	     /* the first stack that was found to have the same frames */
	uint64_t *addresses; /* and a zero, as a key is not empty; none where FIRST has them */
	size_t count;
	UT_hash_handle hh;
};

struct group_key {
	uint64_t created_pc;
	uint32_t wait;
	uint32_t trace; /* the first trace with these addresses */
	uint32_t label_set;
	uint32_t status; /* state and verdict, where they differ within the profile */
};

/* Labels that some goroutines have in common: as text, "key\tvalue\n" for each. */
struct label_set {
	char *text;
	uint32_t number; /* from 1 */
	UT_hash_handle hh;
};

struct group {
	struct group_key key;
	uint32_t site;
	UT_hash_handle hh;
};

struct loader {
	struct lp_report *report;
	struct lp_stream stream;
	struct lp_object **objects; /* one a mapping */
	struct lp_unwinder *unwinder;
	struct trace *traces;	/* one a stack */
	struct trace *distinct; /* of them, by addresses */
	struct group *groups;
	struct label_set *label_sets;
	uint32_t *label_start; /* by goroutine: where its labels begin in label_order */
	uint32_t *label_order;
	const struct lp_load *how;
};

/* --- Files of the target --- */

static const char *text(const struct loader *loader, uint32_t offset)
{
	return lp_stream_string(&loader->stream, offset);
}

static bool is_runtime(const struct loader *loader, const char *path)
{
	size_t i;

	for (i = 0; i < loader->stream.runtime_count; i++)
		if (!strcmp(path, text(loader, loader->stream.runtimes[i].path)))
			return true;
	return false;
}

/* The target's file PATH: below its root, where that is another than ours. */
static struct lp_object *open_object(const struct loader *loader, const char *path,
				     const char *build_id)
{
	struct lp_object *object;
	char *below;

	if (!loader->how->root || *path != '/' ||
	    asprintf(&below, "%s%s", loader->how->root, path) < 0)
		return lp_object_open(path, build_id);
	object = lp_object_open(below, build_id);
	free(below);
	if (!object || object->data)
		return object;
	lp_object_close(object);
	return lp_object_open(path, build_id);
}

static int open_objects(struct loader *loader)
{
	const struct lp_stream *stream = &loader->stream;
	size_t i;

	loader->objects = calloc(stream->mapping_count + 1, sizeof(*loader->objects));
	if (!loader->objects)
		return -ENOMEM;
	for (i = 0; i < stream->mapping_count; i++) {
		const struct lp_raw_mapping *mapping = &stream->mappings[i];
		const char *path = text(loader, mapping->path);
		struct lp_object *object =
			open_object(loader, path, text(loader, mapping->build_id));

		if (!object)
			return -ENOMEM;
		lp_object_place(object, mapping->start, mapping->end, mapping->offset);
		object->runtime = is_runtime(loader, path);
		loader->objects[i] = object;
	}
	return 0;
}

/* The DWARF of OBJECT, looked for when it is first wanted. */
static struct lp_dwarf *dwarf_of(struct loader *loader, struct lp_object *object)
{
	size_t length;

	if (object->dwarf || object->debug || !object->data)
		return object->dwarf;
	if (lp_object_section(object, ".debug_info", &length)) {
		object->dwarf = lp_dwarf_open(object->path);
		return object->dwarf;
	}
	object->debug = lp_object_find_debug(object, loader->how->debug_path);
	if (object->debug)
		object->dwarf = lp_dwarf_open(object->debug->path);
	return object->dwarf;
}

/* --- Symbols --- */

static void name_by_symbol(struct loader *loader, struct lp_object *object, uint64_t address,
			   struct lp_frame *frame)
{
	uint64_t start = address;
	const char *name = lp_object_symbol(object, address, &start);

	if (!name && object->debug)
		name = lp_object_symbol(object->debug, address, &start);
	frame->function = frame->system_name = name ? lp_report_keep(loader->report, name) : "?";
	frame->file = "";
	frame->offset = name ? (int64_t)(address - start) : -1;
}

static void name_by_dwarf(struct loader *loader, const struct lp_source *source, uint64_t address,
			  bool inlined, struct lp_frame *frame)
{
	frame->function = lp_report_keep(loader->report, source->function);
	frame->system_name = lp_report_keep(loader->report, source->system_name);
	frame->file = lp_report_keep(loader->report, source->file);
	frame->line = source->line;
	frame->start_line = source->start_line;
	frame->offset = (int64_t)(address - source->start);
	frame->inlined = inlined;
}

static void symbolize(void *context, struct lp_location *location)
{
	struct loader *loader = context;
	struct lp_source sources[LP_INLINE_MAX];
	struct lp_frame *frames;
	struct lp_object *object =
		lp_object_of(loader->objects, loader->stream.mapping_count, location->address);
	struct lp_dwarf *dwarf;
	uint64_t address;
	size_t count = 0;
	size_t i;

	if (!object)
		return;
	for (i = 0; i < loader->stream.mapping_count; i++)
		if (loader->objects[i] == object)
			location->mapping = (uint32_t)i;
	location->runtime = object->runtime;
	address = location->address - object->bias;
	dwarf = dwarf_of(loader, object);
	if (dwarf)
		count = lp_dwarf_find(dwarf, address, sources);
	frames = lp_report_alloc(loader->report, (count ? count : 1) * sizeof(*frames));
	if (!frames)
		return;
	for (i = 0; i < count; i++)
		name_by_dwarf(loader, &sources[i], address, i + 1 < count, &frames[i]);
	if (!count)
		name_by_symbol(loader, object, address, frames);
	location->frames = frames;
	location->frame_count = count ? count : 1;
}

static struct lp_location *locate(struct loader *loader, uint64_t address)
{
	return lp_report_location(loader->report, address, symbolize, loader);
}

/* The address at which the function that holds ADDRESS begins; 0: unknown. */
static uint64_t function_start(struct loader *loader, uint64_t address)
{
	const struct lp_location *location = locate(loader, address);

	if (!location || !location->frame_count ||
	    location->frames[location->frame_count - 1].offset < 0)
		return 0;
	return address - (uint64_t)location->frames[location->frame_count - 1].offset;
}

/* --- Stacks --- */

/* Frames outside the goroutine's first function, or outside main, are the runtime's and libc's. */
static size_t trim(struct loader *loader, const struct lp_raw_goroutine *goroutine,
		   const uint64_t *addresses, size_t count)
{
	size_t i;

	for (i = count; i-- > 0;) {
		const struct lp_location *location = locate(loader, addresses[i]);

		if (goroutine->entry_pc &&
		    function_start(loader, addresses[i]) == goroutine->entry_pc)
			return i + 1;
		if (goroutine->flags & LP_G_MAIN && location && location->frame_count &&
		    !strcmp(location->frames[location->frame_count - 1].function, "main"))
			return i + 1;
	}
	return count;
}

/* Makes TRACE number NUMBER one of those that differ, or finds the one that has the same frames. */
static void keep_trace(struct loader *loader, struct trace *trace, uint32_t number)
{
	size_t size = (trace->count + 1) * sizeof(*trace->addresses);
	struct trace *same;

	HASH_FIND(hh, loader->distinct, trace->addresses, size, same);
	trace->first = same ? same->first : number;
	if (!same)
		HASH_ADD_KEYPTR(hh, loader->distinct, trace->addresses, size, trace);
	else {
		free(trace->addresses);
		trace->addresses = NULL;
	}
}

/* How many of the innermost frames are in a coroutine library: a stack that was left there begins,
 * for a reader, where the program called the library. 0 where nothing else is there. */
static size_t inside_runtime(struct loader *loader, const uint64_t *addresses, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct lp_location *location = locate(loader, addresses[i]);

		if (!location || !location->runtime)
			return i;
	}
	return 0;
}

static void unwind(struct loader *loader, const struct lp_raw_goroutine *goroutine,
		   struct trace *trace)
{
	uint64_t addresses[LP_FRAMES_MAX];
	size_t inside;

	trace->done = true;
	trace->first = goroutine->stack;
	trace->count = lp_unwind(loader->unwinder, &loader->stream,
				 &loader->stream.stacks[goroutine->stack], addresses);
	trace->count = trim(loader, goroutine, addresses, trace->count);
	inside = inside_runtime(loader, addresses, trace->count);
	trace->count -= inside;
	trace->addresses = calloc(trace->count + 1, sizeof(*addresses));
	if (!trace->addresses) {
		trace->count = 0;
		return;
	}
	memcpy(trace->addresses, addresses + inside, trace->count * sizeof(*addresses));
	keep_trace(loader, trace, goroutine->stack);
}

/* The trace of GOROUTINE, as the number of the first stack that has the same; LP_NONE: it has no
 * stack. */
static uint32_t trace_of(struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	struct trace *trace;

	if (goroutine->stack == LP_NONE)
		return LP_NONE;
	trace = &loader->traces[goroutine->stack];
	if (!trace->done)
		unwind(loader, goroutine, trace);
	return trace->first;
}

/* --- Labels --- */

/* Sorts the labels by goroutine. */
static int order_labels(struct loader *loader)
{
	const struct lp_stream *stream = &loader->stream;
	uint32_t *next;
	size_t i;

	loader->label_start = calloc(stream->goroutine_count + 2, sizeof(*loader->label_start));
	loader->label_order = calloc(stream->label_count + 1, sizeof(*loader->label_order));
	if (!loader->label_start || !loader->label_order)
		return -ENOMEM;
	/* Counted two places on, so that filling leaves each start where it belongs. */
	for (i = 0; i < stream->label_count; i++)
		loader->label_start[stream->labels[i].goroutine + 2]++;
	for (i = 1; i < stream->goroutine_count + 2; i++)
		loader->label_start[i] += loader->label_start[i - 1];
	next = loader->label_start + 1;
	for (i = 0; i < stream->label_count; i++)
		loader->label_order[next[stream->labels[i].goroutine]++] = (uint32_t)i;
	return 0;
}

static void free_labels(struct loader *loader)
{
	struct label_set *set;
	struct label_set *next;

	HASH_ITER(hh, loader->label_sets, set, next)
	{
		HASH_DEL(loader->label_sets, set);
		free(set->text);
		free(set);
	}
	free(loader->label_start);
	free(loader->label_order);
}

static bool has_labels(const struct loader *loader, size_t number)
{
	return loader->label_start[number] != loader->label_start[number + 1] ||
	       *text(loader, loader->stream.goroutines[number].name);
}

/* The labels of goroutine NUMBER, its name as the last one: *COUNT of them, or NULL. */
static struct lp_label *labels_of(struct loader *loader, size_t number, size_t *count)
{
	const struct lp_stream *stream = &loader->stream;
	uint32_t first = loader->label_start[number];
	uint32_t end = loader->label_start[number + 1];
	const char *name = text(loader, stream->goroutines[number].name);
	struct lp_label *labels = calloc(end - first + 1, sizeof(*labels));

	*count = 0;
	for (; labels && first < end; first++) {
		const struct lp_raw_label *raw = &stream->labels[loader->label_order[first]];

		labels[(*count)++] =
			(struct lp_label){text(loader, raw->key), text(loader, raw->value)};
	}
	if (labels && *name)
		labels[(*count)++] = (struct lp_label){"name", name};
	return labels;
}

static char *label_text(const struct lp_label *labels, size_t count)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	size_t i;

	for (i = 0; stream && i < count; i++)
		fprintf(stream, "%s\t%s\n", labels[i].key, labels[i].value);
	if (stream)
		fclose(stream);
	return text;
}

/* The number of goroutine NUMBER's set of labels; 0: it has none, or there is no memory. */
static uint32_t label_set_of(struct loader *loader, size_t number)
{
	size_t count;
	struct lp_label *labels;
	struct label_set *set = NULL;
	char *text;

	if (!has_labels(loader, number))
		return 0;
	labels = labels_of(loader, number, &count);
	text = count ? label_text(labels, count) : NULL;
	free(labels);
	if (!text)
		return 0;
	HASH_FIND_STR(loader->label_sets, text, set);
	if (set) {
		free(text);
		return set->number;
	}
	set = calloc(1, sizeof(*set));
	if (!set) {
		free(text);
		return 0;
	}
	set->text = text;
	set->number = HASH_COUNT(loader->label_sets) + 1;
	HASH_ADD_KEYPTR(hh, loader->label_sets, set->text, strlen(set->text), set);
	return set->number;
}

static void keep_labels(struct loader *loader, struct lp_site *site, size_t number)
{
	size_t count;
	struct lp_label *labels = labels_of(loader, number, &count);
	struct lp_label *kept =
		labels ? lp_report_alloc(loader->report, count * sizeof(*kept)) : NULL;

	for (; kept && site->label_count < count; site->label_count++)
		kept[site->label_count] = (struct lp_label){
			lp_report_keep(loader->report, labels[site->label_count].key),
			lp_report_keep(loader->report, labels[site->label_count].value)};
	site->labels = kept;
	free(labels);
}

/* --- Sites --- */

static struct lp_frame frame_at(struct loader *loader, uint64_t address)
{
	const struct lp_location *location = address ? locate(loader, address) : NULL;

	return location && location->frame_count ? location->frames[0] : (struct lp_frame){0};
}

/* Of a leaked goroutine the wait may have no words; any other is at least in a state. */
static const char *wait_words(const struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	const char *words = text(loader, goroutine->wait);

	return *words || goroutine->verdict == LP_LEAKED ? words : lp_state_name(goroutine->state);
}

static void fill_site(struct loader *loader, struct lp_site *site,
		      const struct lp_raw_goroutine *goroutine, uint32_t number)
{
	const struct trace *trace = number == LP_NONE ? NULL : &loader->traces[number];
	size_t count = trace ? trace->count : goroutine->entry_pc ? 1 : 0;
	const struct lp_location **locations =
		lp_report_alloc(loader->report, count * sizeof(*locations));
	size_t i;

	site->leaked = goroutine->verdict == LP_LEAKED;
	site->state = goroutine->state <= LP_STATE_SLEEP ? goroutine->state : 0;
	site->wait = lp_report_keep(loader->report, wait_words(loader, goroutine));
	/* Nobody created the one that the program began in. */
	site->creator = frame_at(loader, goroutine->created_pc && !(goroutine->flags & LP_G_MAIN)
						 ? goroutine->created_pc - 1
						 : 0);
	for (i = 0; locations && i < count; i++) {
		locations[i] = locate(loader, trace ? trace->addresses[i] : goroutine->entry_pc);
		if (!locations[i])
			break;
		site->location_count++;
	}
	site->locations = locations;
}

/* Waits of one kind have one state, so that leaks need not be told apart by it. */
static uint32_t status_of(const struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	return loader->report->profile == LP_PROFILE_LEAK
		       ? 0
		       : goroutine->state << 1 | (goroutine->verdict == LP_LEAKED);
}

/* The site of GOROUTINE, a new one when it is the first there; LP_NONE: no memory. */
static uint32_t site_of(struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	struct lp_report *report = loader->report;
	size_t number = (size_t)(goroutine - loader->stream.goroutines);
	struct group_key key = {goroutine->created_pc, goroutine->wait, trace_of(loader, goroutine),
				label_set_of(loader, number), status_of(loader, goroutine)};
	struct group *group;

	HASH_FIND(hh, loader->groups, &key, sizeof(key), group);
	if (group)
		return group->site;
	group = lp_report_alloc(report, sizeof(*group));
	if (!group)
		return LP_NONE;
	group->key = key;
	group->site = (uint32_t)report->site_count++;
	HASH_ADD(hh, loader->groups, key, sizeof(key), group);
	fill_site(loader, &report->sites[group->site], goroutine, key.trace);
	keep_labels(loader, &report->sites[group->site], number);
	return group->site;
}

static uint64_t waited(const struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	uint64_t now = loader->stream.process.time_ns;

	return goroutine->state >= LP_STATE_WAITING && goroutine->wait_since_ns &&
			       goroutine->wait_since_ns < now
		       ? now - goroutine->wait_since_ns
		       : 0;
}

static void add_goroutine(struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	struct lp_report *report = loader->report;
	struct lp_report_goroutine *added = &report->goroutines[report->goroutine_count];
	struct lp_site *site;

	added->site = site_of(loader, goroutine);
	if (added->site == LP_NONE)
		return;
	added->id = goroutine->id;
	added->creator = goroutine->creator;
	added->waited_ns = waited(loader, goroutine);
	report->goroutine_count++;
	site = &report->sites[added->site];
	site->count++;
	site->stack_bytes += goroutine->stack_bytes;
	site->heap_bytes += goroutine->heap_bytes;
	if (added->waited_ns > site->oldest_ns)
		site->oldest_ns = added->waited_ns;
}

struct order {
	struct lp_site site;
	uint32_t old;
};

static int by_size(const void *a, const void *b)
{
	const struct order *x = a;
	const struct order *y = b;
	uint64_t bytes_x = x->site.stack_bytes + x->site.heap_bytes;
	uint64_t bytes_y = y->site.stack_bytes + y->site.heap_bytes;

	if (x->site.count != y->site.count)
		return x->site.count < y->site.count ? 1 : -1;
	if (bytes_x != bytes_y)
		return bytes_x < bytes_y ? 1 : -1;
	return (x->old > y->old) - (x->old < y->old);
}

static int by_id(const void *a, const void *b)
{
	const struct lp_report_goroutine *x = a;
	const struct lp_report_goroutine *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* Biggest sites first, goroutines by id. */
static int sort(struct lp_report *report)
{
	struct order *order = calloc(report->site_count + 1, sizeof(*order));
	uint32_t *place = calloc(report->site_count + 1, sizeof(*place));
	size_t i;

	if (!order || !place) {
		free(order);
		free(place);
		return -ENOMEM;
	}
	for (i = 0; i < report->site_count; i++)
		order[i] = (struct order){report->sites[i], (uint32_t)i};
	qsort(order, report->site_count, sizeof(*order), by_size);
	for (i = 0; i < report->site_count; i++) {
		report->sites[i] = order[i].site;
		place[order[i].old] = (uint32_t)i;
	}
	for (i = 0; i < report->goroutine_count; i++)
		report->goroutines[i].site = place[report->goroutines[i].site];
	qsort(report->goroutines, report->goroutine_count, sizeof(*report->goroutines), by_id);
	free(order);
	free(place);
	return 0;
}

/* --- The rest of the stream --- */

static int copy_tables(struct loader *loader)
{
	struct lp_report *report = loader->report;
	const struct lp_stream *stream = &loader->stream;
	size_t i;

	report->mappings =
		lp_report_alloc(report, stream->mapping_count * sizeof(*report->mappings));
	report->runtimes =
		lp_report_alloc(report, stream->runtime_count * sizeof(*report->runtimes));
	report->notes = lp_report_alloc(report, stream->note_count * sizeof(*report->notes));
	if (!report->mappings || !report->runtimes || !report->notes)
		return -ENOMEM;
	for (i = 0; i < stream->mapping_count; i++) {
		const struct lp_raw_mapping *raw = &stream->mappings[i];

		report->mappings[report->mapping_count++] = (struct lp_report_mapping){
			raw->start, raw->end, raw->offset,
			lp_report_keep(report, text(loader, raw->path)),
			lp_report_keep(report, text(loader, raw->build_id))};
	}
	for (i = 0; i < stream->runtime_count; i++) {
		const struct lp_raw_runtime *raw = &stream->runtimes[i];

		report->runtimes[report->runtime_count++] =
			(struct lp_report_runtime){lp_report_keep(report, text(loader, raw->name)),
						   lp_report_keep(report, text(loader, raw->path)),
						   raw->created, raw->finished};
	}
	for (i = 0; i < stream->note_count; i++)
		report->notes[report->note_count++] = (struct lp_report_note){
			stream->notes[i].severity,
			lp_report_keep(report, text(loader, stream->notes[i].text))};
	return 0;
}

static void copy_process(struct loader *loader)
{
	struct lp_report *report = loader->report;
	const struct lp_raw_process *process = &loader->stream.process;
	size_t i;

	report->pid = process->pid;
	report->trigger = process->trigger;
	report->measured = process->measured;
	report->serial = process->serial;
	report->forked = process->flags & LP_PROCESS_FORKED;
	report->program = lp_report_keep(report, text(loader, process->exe));
	report->cmdline = lp_report_keep(report, text(loader, process->cmdline));
	report->version = lp_report_keep(report, text(loader, process->shim));
	for (i = 0; i < 2; i++)
		report->suppressions[i] =
			lp_report_keep(report, text(loader, process->suppressions[i]));
	report->time_ns = process->time_ns;
	report->start_ns = process->start_ns;
	for (i = 0; i < loader->stream.figure_count; i++)
		if (loader->stream.figures[i].key <= LP_FIG_LAST)
			report->figures[loader->stream.figures[i].key] =
				loader->stream.figures[i].value;
	for (i = 0; i < loader->stream.goroutine_count; i++)
		if (loader->stream.goroutines[i].state <= LP_STATE_SLEEP)
			report->states[loader->stream.goroutines[i].state]++;
}

static bool is_wanted(const struct loader *loader, const struct lp_raw_goroutine *goroutine)
{
	bool all = loader->report->profile == LP_PROFILE_GOROUTINE;

	if (loader->how->check &&
	    (goroutine->flags & LP_G_ASIDE || (all && goroutine->flags & LP_G_MAIN)))
		return false;
	return all || goroutine->verdict == LP_LEAKED;
}

static int load(struct loader *loader)
{
	struct lp_report *report = loader->report;
	const struct lp_stream *stream = &loader->stream;
	size_t i;
	int r = open_objects(loader);

	if (r)
		return r;
	loader->unwinder = lp_unwinder_new(loader->objects, stream->mapping_count);
	loader->traces = calloc(stream->stack_count + 1, sizeof(*loader->traces));
	report->sites = lp_report_alloc(report, stream->goroutine_count * sizeof(*report->sites));
	report->goroutines =
		lp_report_alloc(report, stream->goroutine_count * sizeof(*report->goroutines));
	if (!loader->unwinder || !loader->traces || !report->sites || !report->goroutines)
		return -ENOMEM;
	copy_process(loader);
	r = copy_tables(loader);
	if (!r)
		r = order_labels(loader);
	if (r)
		return r;
	for (i = 0; i < stream->goroutine_count; i++)
		if (is_wanted(loader, &stream->goroutines[i]))
			add_goroutine(loader, &stream->goroutines[i]);
	return sort(report);
}

int lp_report_load_raw(struct lp_report *report, const struct lp_load *how, const void *data,
		       size_t size, const char **reason)
{
	struct loader loader = {.report = report, .how = how};
	size_t i;
	int r = lp_stream_read(&loader.stream, data, size, reason);

	if (r)
		return r;
	report->profile = how->profile ? how->profile : LP_PROFILE_LEAK;
	r = load(&loader);
	HASH_CLEAR(hh, loader.groups);
	HASH_CLEAR(hh, loader.distinct);
	free_labels(&loader);
	lp_unwinder_free(loader.unwinder);
	for (i = 0; loader.traces && i < loader.stream.stack_count; i++)
		free(loader.traces[i].addresses);
	free(loader.traces);
	for (i = 0; loader.objects && i < loader.stream.mapping_count; i++) {
		if (loader.objects[i])
			lp_dwarf_close(loader.objects[i]->dwarf);
		lp_object_close(loader.objects[i]);
	}
	free(loader.objects);
	lp_stream_free(&loader.stream);
	return r;
}
