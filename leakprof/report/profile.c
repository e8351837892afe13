/* SPDX-License-Identifier: MIT */
/*
 * A report as a pprof profile, and back. One sample a site: its count, its call-site addresses, and
 * the labels `wait` (Go's word), `created_by` ("function file:line") and the program's own. Frames
 * of coroutine libraries are in the profile, but named in drop_frames, so that tools show the
 * program's blocking line first.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pp_profile.h"
#include "report/report.h"

#define PROFILE_MAX (1u << 30)
#define DROP_MAX 4096
#define FACTS_HEAD "leakprof facts: "
#define FACT_SEPARATOR " | "
#define LEAKED_MARK " (leaked)" /* in the goroutine profile: behind the wait */

/* --- To a profile --- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A profile that is being built, and the ids of the locations that it has by their numbers; 0: not
 * yet. */
struct writing {
	struct pp_builder *builder;
	const struct lp_report *report;
	uint64_t *ids;
};

static uint64_t add_location(struct pp_builder *builder, const struct lp_report *report,
			     const struct lp_location *location)
{
	struct pp_line *lines = calloc(location->frame_count + 1, sizeof(*lines));
	uint64_t mapping = 0;
	uint64_t id;
	size_t i;

	if (!lines)
		return 0;
	if (location->mapping != LP_NONE) {
		const struct lp_report_mapping *raw = &report->mappings[location->mapping];

		mapping = pp_builder_mapping(builder,
					     &(struct pp_mapping){raw->start, raw->end, raw->offset,
								  raw->path, raw->build_id, true});
	}
	for (i = 0; i < location->frame_count; i++) {
		const struct lp_frame *frame = &location->frames[i];

		lines[i].line = frame->line;
		lines[i].function_id = pp_builder_function(
			builder, &(struct pp_function){frame->function, frame->system_name,
						       frame->file, frame->start_line});
	}
	id = pp_builder_location(builder, mapping, location->address, lines, location->frame_count);
	free(lines);
	return id;
}

static uint64_t location_id(struct writing *writing, const struct lp_report *owner,
			    const struct lp_location *location)
{
	uint64_t *id = &writing->ids[location->number];

	if (owner != writing->report)
		return add_location(writing->builder, owner, location);
	if (!*id)
		*id = add_location(writing->builder, owner, location);
	return *id;
}

/* OWNER: the report that the locations of SITE are of. Returns the number of SITE's sample, from 1;
 * 0: no memory. */
static uint64_t add_site(struct writing *writing, const struct lp_report *owner,
			 const struct lp_site *site)
{
	uint64_t *ids = calloc(site->location_count + 1, sizeof(*ids));
	struct pp_label *labels = calloc(site->label_count + 2, sizeof(*labels));
	char creator[1024];
	char wait[512];
	uint64_t number;
	size_t count = 0;
	size_t i;

	if (!ids || !labels) {
		free(ids);
		free(labels);
		return 0;
	}
	snprintf(wait, sizeof(wait), "%s%s", site->wait,
		 site->leaked && writing->report->profile == LP_PROFILE_GOROUTINE ? LEAKED_MARK
										  : "");
	labels[count++] = (struct pp_label){"wait", wait};
	for (i = 0; i < site->location_count; i++)
		ids[i] = location_id(writing, owner, site->locations[i]);
	if (site->creator.function) {
		snprintf(creator, sizeof(creator), "%s %s:%" PRId64, site->creator.function,
			 base_name(site->creator.file), site->creator.line);
		labels[count++] = (struct pp_label){"created_by", creator};
	}
	for (i = 0; i < site->label_count; i++)
		labels[count++] = (struct pp_label){site->labels[i].key, site->labels[i].value};
	number = pp_builder_sample(writing->builder, ids, site->location_count,
				   (int64_t)site->count, labels, count);
	free(ids);
	free(labels);
	return number;
}

/* "name|name": the library functions that occur. Names of C functions need no quoting. */
static void drop_runtime_frames(struct pp_builder *builder, const struct lp_report *report)
{
	char regexp[DROP_MAX] = "";
	size_t length = 0;
	size_t i;
	size_t j;

	for (i = 0; i < report->site_count; i++) {
		for (j = 0; j < report->sites[i].location_count; j++) {
			const struct lp_location *location = report->sites[i].locations[j];
			const char *name =
				location->frame_count ? location->frames[0].function : "?";
			size_t size = strlen(name);

			if (!location->runtime || *name == '?' ||
			    length + size + 2 > sizeof(regexp) || strstr(regexp, name))
				continue;
			length += (size_t)sprintf(regexp + length, "%s%s", length ? "|" : "", name);
		}
	}
	if (length)
		pp_builder_drop_frames(builder, regexp);
}

/* All facts in one comment: pprof prints every comment above every report. */
struct facts {
	char *text;
	size_t size;
	FILE *stream;
	bool any;
};

static void add_fact(void *context, const char *line)
{
	struct facts *facts = context;

	fputs(facts->any ? FACT_SEPARATOR : FACTS_HEAD, facts->stream);
	facts->any = true;
	for (; *line; line++)
		fputc(*line == '|' || *line == '\n' ? '!' : *line, facts->stream);
}

/* SAMPLES: the sites as they became samples. */
static void add_comments(struct pp_builder *builder, const struct lp_report *report,
			 struct lp_site *samples, size_t sample_count)
{
	struct lp_report merged = *report;
	struct facts facts = {0};

	facts.stream = open_memstream(&facts.text, &facts.size);
	if (!facts.stream)
		return;
	fputs("leakprof: ", facts.stream);
	lp_report_summary(report, facts.stream);
	fflush(facts.stream);
	facts.text[facts.size - 1] = 0; /* the newline */
	pp_builder_comment(builder, facts.text);
	fclose(facts.stream);
	free(facts.text);
	facts = (struct facts){.stream = NULL};
	facts.stream = open_memstream(&facts.text, &facts.size);
	if (!facts.stream)
		return;
	merged.sites = samples;
	merged.site_count = sample_count;
	lp_report_write_comments(&merged, add_fact, &facts);
	fclose(facts.stream);
	pp_builder_comment(builder, facts.text);
	free(facts.text);
}

static void read_facts(struct lp_report *report, const char *comment)
{
	char *text;
	char *end;

	if (strncmp(comment, FACTS_HEAD, strlen(FACTS_HEAD)))
		return;
	text = (char *)lp_report_keep(report, comment + strlen(FACTS_HEAD));
	for (; (end = strstr(text, FACT_SEPARATOR)); text = end + strlen(FACT_SEPARATOR)) {
		*end = 0;
		lp_report_read_comment(report, text);
	}
	lp_report_read_comment(report, text);
}

/* Sites that a profile cannot tell apart, as those of two calls in one line, are one sample. */
static void merge_facts(struct lp_site *sample, const struct lp_site *site)
{
	bool first = !sample->count;

	sample->count += site->count;
	sample->state = first || sample->state == site->state ? site->state : 0;
	sample->stack_bytes += site->stack_bytes;
	sample->heap_bytes += site->heap_bytes;
	if (site->oldest_ns > sample->oldest_ns)
		sample->oldest_ns = site->oldest_ns;
}

/* Adds the sites, and what is known of each sample to SAMPLES, which has room for all. Returns how
 * many samples there are or -ENOMEM. */
static int64_t add_sites(struct pp_builder *builder, const struct lp_report *report,
			 const struct lp_report *const *owners, struct lp_site *samples)
{
	struct writing writing = {builder, report,
				  calloc(report->place_count + 1, sizeof(uint64_t))};
	uint64_t number = writing.ids != NULL;
	uint64_t count = 0;
	size_t i;

	for (i = 0; number && i < report->site_count; i++) {
		number = add_site(&writing, owners ? owners[i] : report, &report->sites[i]);
		if (number)
			merge_facts(&samples[number - 1], &report->sites[i]);
		if (number > count)
			count = number;
	}
	free(writing.ids);
	return number ? (int64_t)count : -ENOMEM;
}

/* OWNERS: of which report each site is, whose mappings its locations name; NULL: of REPORT.
 * COMMENT: in place of what REPORT knows, or NULL. */
static struct pp_builder *build(const struct lp_report *report,
				const struct lp_report *const *owners, const char *comment)
{
	struct pp_builder *builder = pp_builder_new(lp_profile_name(report->profile), "count");
	struct lp_site *samples = calloc(report->site_count + 1, sizeof(*samples));
	int64_t count;
	size_t i;

	if (!builder || !samples)
		goto out_free;
	pp_builder_time(builder, report->time_ns, 0);
	/* The program's own mapping comes first: tools take the first one for the binary. */
	for (i = 0; i < report->mapping_count; i++) {
		const struct lp_report_mapping *raw = &report->mappings[i];

		if (!strcmp(raw->path, report->program))
			pp_builder_mapping(builder,
					   &(struct pp_mapping){raw->start, raw->end, raw->offset,
								raw->path, raw->build_id, true});
	}
	count = add_sites(builder, report, owners, samples);
	if (count < 0)
		goto out_free;
	drop_runtime_frames(builder, report);
	if (comment)
		pp_builder_comment(builder, comment);
	else
		add_comments(builder, report, samples, (size_t)count);
	free(samples);
	return builder;

out_free:
	free(samples);
	pp_builder_free(builder);
	return NULL;
}

int lp_report_pack(const struct lp_report *report, const struct lp_report *const *owners,
		   const char *comment, void **data, size_t *size)
{
	struct pp_builder *builder = build(report, owners, comment);
	const pp_profile *profile = builder ? pp_builder_finish(builder) : NULL;
	int r = profile ? pp_pack(profile, data, size) : -ENOMEM;

	pp_builder_free(builder);
	return r;
}

int lp_report_profile(const struct lp_report *report, void **data, size_t *size)
{
	return lp_report_pack(report, NULL, NULL, data, size);
}

static int64_t offset_of(void *context, const Perftools__Profiles__Location *message, size_t line)
{
	const struct lp_location *location = lp_report_find(context, message->address);

	return location && line < location->frame_count ? location->frames[line].offset : -1;
}

int lp_report_write_debug1(const struct lp_report *report, FILE *file)
{
	struct pp_builder *builder = build(report, NULL, NULL);
	const pp_profile *profile = builder ? pp_builder_finish(builder) : NULL;
	int r = -ENOMEM;

	if (profile)
		r = pp_write_debug1(file, profile, lp_profile_name(report->profile), offset_of,
				    (void *)report);
	pp_builder_free(builder);
	return r;
}

/* --- From a profile --- */

struct reading {
	struct lp_report *report;
	const pp_profile *profile;
	const Perftools__Profiles__Location *message;
};

static void make_location(void *context, struct lp_location *location)
{
	const struct reading *reading = context;
	const pp_profile *profile = reading->profile;
	const Perftools__Profiles__Location *message = reading->message;
	struct lp_frame *frames =
		lp_report_alloc(reading->report, message->n_line * sizeof(*frames));
	size_t i;

	location->mapping = message->mapping_id ? (uint32_t)message->mapping_id - 1 : LP_NONE;
	for (i = 0; frames && i < message->n_line; i++) {
		const Perftools__Profiles__Function *function =
			profile->function[message->line[i]->function_id - 1];

		frames[i].function =
			lp_report_keep(reading->report, pp_string(profile, function->name));
		frames[i].system_name =
			lp_report_keep(reading->report, pp_string(profile, function->system_name));
		frames[i].file =
			lp_report_keep(reading->report, pp_string(profile, function->filename));
		frames[i].line = message->line[i]->line;
		frames[i].start_line = function->start_line;
		frames[i].offset = -1;
		frames[i].inlined = i + 1 < message->n_line;
	}
	location->frames = frames;
	location->frame_count = frames ? message->n_line : 0;
}

static void read_wait(struct lp_report *report, struct lp_site *site, const char *value)
{
	size_t length = strlen(value);
	size_t mark = strlen(LEAKED_MARK);
	char *wait = (char *)lp_report_keep(report, value);

	site->wait = wait;
	if (report->profile == LP_PROFILE_LEAK || length < mark ||
	    strcmp(value + length - mark, LEAKED_MARK) || !*wait)
		return;
	wait[length - mark] = 0;
	site->leaked = true;
}

/* "function file:line" */
static void read_creator(struct lp_report *report, struct lp_site *site, const char *text)
{
	char *copy = (char *)lp_report_keep(report, text);
	char *space = strchr(copy, ' ');
	char *colon = space ? strrchr(space, ':') : NULL;

	site->creator = (struct lp_frame){.function = copy, .file = "", .offset = -1};
	if (!colon)
		return;
	*space = *colon = 0;
	site->creator.file = space + 1;
	site->creator.line = strtol(colon + 1, NULL, 10);
}

static void read_labels(struct lp_report *report, const pp_profile *profile,
			const Perftools__Profiles__Sample *sample, struct lp_site *site)
{
	struct lp_label *labels = lp_report_alloc(report, sample->n_label * sizeof(*labels));
	size_t i;

	site->wait = "";
	site->leaked = report->profile == LP_PROFILE_LEAK;
	site->labels = labels;
	for (i = 0; i < sample->n_label; i++) {
		const char *key = pp_string(profile, sample->label[i]->key);
		const char *value = pp_string(profile, sample->label[i]->str);

		if (!strcmp(key, "wait"))
			read_wait(report, site, value);
		else if (!strcmp(key, "created_by"))
			read_creator(report, site, value);
		else if (labels && sample->label[i]->str)
			labels[site->label_count++] = (struct lp_label){
				lp_report_keep(report, key), lp_report_keep(report, value)};
	}
}

static bool is_dropped(const char *list, const char *name)
{
	size_t length = strlen(name);
	const char *at = list;

	while (length && (at = strstr(at, name))) {
		if ((at == list || at[-1] == '|') && (at[length] == '|' || !at[length]))
			return true;
		at += length;
	}
	return false;
}

static int read_sample(struct reading *reading, const Perftools__Profiles__Sample *sample)
{
	struct lp_report *report = reading->report;
	struct lp_site *site = &report->sites[report->site_count];
	const struct lp_location **locations =
		lp_report_alloc(report, sample->n_location_id * sizeof(*locations));
	size_t i;

	if (!locations)
		return -ENOMEM;
	if (sample->value[sample->n_value - 1] < 0)
		return -EBADMSG;
	site->count = (uint64_t)sample->value[sample->n_value - 1];
	read_labels(report, reading->profile, sample, site);
	for (i = 0; i < sample->n_location_id; i++) {
		struct lp_location *location;

		reading->message = reading->profile->location[sample->location_id[i] - 1];
		location = lp_report_location(report, reading->message->address, make_location,
					      reading);
		if (!location)
			return -ENOMEM;
		location->runtime =
			location->frame_count &&
			is_dropped(pp_string(reading->profile, reading->profile->drop_frames),
				   location->frames[0].function);
		locations[site->location_count++] = location;
	}
	site->locations = locations;
	report->site_count++;
	return 0;
}

static int read_mappings(struct lp_report *report, const pp_profile *profile)
{
	size_t i;

	report->mappings = lp_report_alloc(report, profile->n_mapping * sizeof(*report->mappings));
	if (!report->mappings)
		return -ENOMEM;
	for (i = 0; i < profile->n_mapping; i++) {
		const Perftools__Profiles__Mapping *mapping = profile->mapping[i];

		report->mappings[report->mapping_count++] = (struct lp_report_mapping){
			mapping->memory_start, mapping->memory_limit, mapping->file_offset,
			lp_report_keep(report, pp_string(profile, mapping->filename)),
			lp_report_keep(report, pp_string(profile, mapping->build_id))};
	}
	return 0;
}

static int read_profile(struct lp_report *report, const pp_profile *profile)
{
	struct reading reading = {report, profile, NULL};
	size_t i;
	int r = read_mappings(report, profile);

	report->from_profile = true;
	report->time_ns = (uint64_t)profile->time_nanos;
	report->sites = lp_report_alloc(report, profile->n_sample * sizeof(*report->sites));
	if (!report->sites)
		return -ENOMEM;
	for (i = 0; !r && i < profile->n_sample; i++)
		r = read_sample(&reading, profile->sample[i]);
	for (i = 0; !r && i < profile->n_comment; i++)
		read_facts(report, pp_string(profile, profile->comment[i]));
	report->goroutine_count = 0;
	return r;
}

static bool has_facts(const pp_profile *profile)
{
	size_t i;

	for (i = 0; i < profile->n_comment; i++)
		if (!strncmp(pp_string(profile, profile->comment[i]), FACTS_HEAD,
			     strlen(FACTS_HEAD)))
			return true;
	return false;
}

int lp_report_load_profile(struct lp_report *report, const struct lp_load *how, const void *data,
			   size_t size, const char **reason)
{
	pp_profile *profile;
	int r = pp_unpack(data, size, PROFILE_MAX, &profile, reason);

	if (r)
		return r;
	r = -EBADMSG;
	*reason = "it is a pprof profile, but not one of leakprof";
	report->profile = lp_profile_find(pp_string(profile, profile->sample_type[0]->type));
	/* Go's own goroutine profiles have the same sample type, and say nothing of leaks. */
	if (report->profile == LP_PROFILE_GOROUTINE && !has_facts(profile))
		report->profile = LP_PROFILE_STORED;
	if (report->profile && how->profile && report->profile != how->profile) {
		*reason = report->profile == LP_PROFILE_LEAK
				  ? "it is a profile of leaks only (goroutineleak); leakprof "
				    "snapshot --profile=goroutine takes one of all"
				  : "it is a profile of all goroutines (goroutine), not of leaks";
	} else if (report->profile) {
		*reason = "it is a difference of two profiles: look at it with go tool pprof";
		r = read_profile(report, profile);
	}
	pp_free(profile);
	return r;
}
