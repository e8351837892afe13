/* SPDX-License-Identifier: MIT */
/*
 * A report from a raw stream: groups the profile's goroutines by stack, wait, creator and labels
 * into sites, and copies the rest. What their stacks lead through is in load_raw_stacks.c; no file
 * of the target is looked at here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "core/stream_names.h"
#include "core/stream_read.h"
#include "report/load_raw_stacks.h"
#include "report/report.h"

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
	struct lp_stacks *stacks;
	struct group *groups;
	struct label_set *label_sets;
	uint32_t *label_start; /* by goroutine: where its labels begin in label_order */
	uint32_t *label_order;
	const struct lp_load *how;
};

static const char *text(const struct loader *loader, uint32_t offset)
{
	return lp_stream_string(&loader->stream, offset);
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
	const struct lp_location *location =
		address ? lp_stacks_locate(loader->stacks, address) : NULL;

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
	size_t count = goroutine->entry_pc ? 1 : 0;
	const uint64_t *addresses = &goroutine->entry_pc;
	const struct lp_location **locations;
	size_t i;

	if (number != LP_NONE)
		addresses = lp_stacks_trace(loader->stacks, number, &count);
	locations = lp_report_alloc(loader->report, count * sizeof(*locations));
	site->leaked = goroutine->verdict == LP_LEAKED;
	site->state = goroutine->state <= LP_STATE_SLEEP ? goroutine->state : 0;
	site->wait = lp_report_keep(loader->report, wait_words(loader, goroutine));
	/* Nobody created the one that the program began in. */
	site->creator = frame_at(loader, goroutine->created_pc && !(goroutine->flags & LP_G_MAIN)
						 ? goroutine->created_pc - 1
						 : 0);
	for (i = 0; locations && i < count; i++) {
		locations[i] = lp_stacks_locate(loader->stacks, addresses[i]);
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
	struct group_key key = {goroutine->created_pc, goroutine->wait,
				lp_stacks_trace_of(loader->stacks, goroutine),
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
	int r = lp_stacks_open(&loader->stacks, report, stream, loader->how);

	if (r)
		return r;
	report->sites = lp_report_alloc(report, stream->goroutine_count * sizeof(*report->sites));
	report->goroutines =
		lp_report_alloc(report, stream->goroutine_count * sizeof(*report->goroutines));
	if (!report->sites || !report->goroutines)
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
	int r = lp_stream_read(&loader.stream, data, size, reason);

	if (r)
		return r;
	report->profile = how->profile ? how->profile : LP_PROFILE_LEAK;
	r = load(&loader);
	HASH_CLEAR(hh, loader.groups);
	free_labels(&loader);
	lp_stacks_close(loader.stacks);
	lp_stream_free(&loader.stream);
	return r;
}
