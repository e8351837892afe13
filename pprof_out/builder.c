/* SPDX-License-Identifier: MIT */
/*
 * The builder: grows the arrays of a protobuf-c message and finds equal records by hash tables
 * whose keys are the records' own contents, written out as 64-bit words. A failed allocation is
 * remembered and reported at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "pp_profile.h"

struct entry {
	uint64_t value; /* string index, id, or sample index + 1 */
	UT_hash_handle hh;
	char key[];
};

struct pp_builder {
	pp_profile profile;
	Perftools__Profiles__ValueType sample_type;
	Perftools__Profiles__ValueType period_type;
	Perftools__Profiles__ValueType *sample_types[1];
	struct entry *strings;
	struct entry *mappings;
	struct entry *functions;
	struct entry *locations;
	struct entry *samples;
	bool failed;
};

/* --- Tables and arrays --- */

static struct entry *find(struct entry *table, const void *key, size_t size)
{
	struct entry *entry;

	HASH_FIND(hh, table, key, size, entry);
	return entry;
}

static bool remember(struct pp_builder *builder, struct entry **table, const void *key, size_t size,
		     uint64_t value)
{
	struct entry *entry = malloc(sizeof(*entry) + size);

	if (!entry) {
		builder->failed = true;
		return false;
	}
	entry->value = value;
	memcpy(entry->key, key, size);
	HASH_ADD_KEYPTR(hh, *table, entry->key, size, entry);
	return true;
}

static void forget(struct entry **table)
{
	struct entry *entry;
	struct entry *next;

	HASH_ITER(hh, *table, entry, next)
	{
		HASH_DEL(*table, entry);
		free(entry);
	}
}

/* Appends POINTER to an array of pointers that doubles at powers of two. Takes POINTER over, also
 * on failure. */
static bool append(struct pp_builder *builder, void *array, size_t *count, void *pointer)
{
	void ***pointers = array;

	if (pointer && (*count & (*count - 1)) == 0) {
		void **larger = realloc(*pointers, (*count ? *count * 2 : 1) * sizeof(*larger));

		if (larger)
			*pointers = larger;
		else
			goto out_free;
	}
	if (!pointer)
		goto out_free;
	(*pointers)[(*count)++] = pointer;
	return true;

out_free:
	free(pointer);
	builder->failed = true;
	return false;
}

static int64_t intern(struct pp_builder *builder, const char *text)
{
	struct entry *entry;

	if (!text || !*text)
		return 0;
	entry = find(builder->strings, text, strlen(text));
	if (entry)
		return (int64_t)entry->value;
	if (!append(builder, &builder->profile.string_table, &builder->profile.n_string_table,
		    strdup(text)) ||
	    !remember(builder, &builder->strings, text, strlen(text),
		      builder->profile.n_string_table - 1))
		return 0;
	return (int64_t)builder->profile.n_string_table - 1;
}

/* --- Life --- */

struct pp_builder *pp_builder_new(const char *type, const char *unit)
{
	struct pp_builder *builder = calloc(1, sizeof(*builder));

	if (!builder)
		return NULL;
	perftools__profiles__profile__init(&builder->profile);
	perftools__profiles__value_type__init(&builder->sample_type);
	append(builder, &builder->profile.string_table, &builder->profile.n_string_table,
	       strdup(""));
	builder->sample_type.type = intern(builder, type);
	builder->sample_type.unit = intern(builder, unit);
	builder->period_type = builder->sample_type;
	builder->sample_types[0] = &builder->sample_type;
	builder->profile.n_sample_type = 1;
	builder->profile.sample_type = builder->sample_types;
	builder->profile.period_type = &builder->period_type;
	builder->profile.period = 1;
	return builder;
}

static void free_sample(Perftools__Profiles__Sample *sample)
{
	size_t i;

	for (i = 0; i < sample->n_label; i++)
		free(sample->label[i]);
	free(sample->label);
	free(sample->location_id);
	free(sample->value);
	free(sample);
}

static void free_samples(pp_profile *profile)
{
	size_t i;

	for (i = 0; i < profile->n_sample; i++)
		free_sample(profile->sample[i]);
	free(profile->sample);
}

static void free_locations(pp_profile *profile)
{
	size_t i;
	size_t j;

	for (i = 0; i < profile->n_location; i++) {
		for (j = 0; j < profile->location[i]->n_line; j++)
			free(profile->location[i]->line[j]);
		free(profile->location[i]->line);
		free(profile->location[i]);
	}
	free(profile->location);
}

void pp_builder_free(struct pp_builder *builder)
{
	pp_profile *profile;
	size_t i;

	if (!builder)
		return;
	profile = &builder->profile;
	free_samples(profile);
	free_locations(profile);
	for (i = 0; i < profile->n_mapping; i++)
		free(profile->mapping[i]);
	for (i = 0; i < profile->n_function; i++)
		free(profile->function[i]);
	for (i = 0; i < profile->n_string_table; i++)
		free(profile->string_table[i]);
	free(profile->mapping);
	free(profile->function);
	free(profile->string_table);
	free(profile->comment);
	forget(&builder->strings);
	forget(&builder->mappings);
	forget(&builder->functions);
	forget(&builder->locations);
	forget(&builder->samples);
	free(builder);
}

/* --- Contents --- */

void pp_builder_time(struct pp_builder *builder, uint64_t time_ns, uint64_t duration_ns)
{
	builder->profile.time_nanos = (int64_t)time_ns;
	builder->profile.duration_nanos = (int64_t)duration_ns;
}

void pp_builder_drop_frames(struct pp_builder *builder, const char *regexp)
{
	builder->profile.drop_frames = intern(builder, regexp);
}

void pp_builder_comment(struct pp_builder *builder, const char *text)
{
	pp_profile *profile = &builder->profile;
	int64_t *larger = realloc(profile->comment, (profile->n_comment + 1) * sizeof(*larger));

	if (!larger) {
		builder->failed = true;
		return;
	}
	profile->comment = larger;
	profile->comment[profile->n_comment++] = intern(builder, text);
}

uint64_t pp_builder_mapping(struct pp_builder *builder, const struct pp_mapping *mapping)
{
	const uint64_t key[] = {mapping->start, mapping->limit, mapping->offset,
				(uint64_t)intern(builder, mapping->filename)};
	struct entry *entry = find(builder->mappings, key, sizeof(key));
	Perftools__Profiles__Mapping *message;

	if (entry)
		return entry->value;
	message = malloc(sizeof(*message));
	if (!append(builder, &builder->profile.mapping, &builder->profile.n_mapping, message))
		return 0;
	perftools__profiles__mapping__init(message);
	message->id = builder->profile.n_mapping;
	message->memory_start = mapping->start;
	message->memory_limit = mapping->limit;
	message->file_offset = mapping->offset;
	message->filename = (int64_t)key[3];
	message->build_id = intern(builder, mapping->build_id);
	message->has_functions = mapping->has_functions;
	message->has_filenames = mapping->has_functions;
	message->has_line_numbers = mapping->has_functions;
	message->has_inline_frames = mapping->has_functions;
	remember(builder, &builder->mappings, key, sizeof(key), message->id);
	return message->id;
}

uint64_t pp_builder_function(struct pp_builder *builder, const struct pp_function *function)
{
	const uint64_t key[] = {(uint64_t)intern(builder, function->name),
				(uint64_t)intern(builder, function->system_name),
				(uint64_t)intern(builder, function->filename),
				(uint64_t)function->start_line};
	struct entry *entry = find(builder->functions, key, sizeof(key));
	Perftools__Profiles__Function *message;

	if (entry)
		return entry->value;
	message = malloc(sizeof(*message));
	if (!append(builder, &builder->profile.function, &builder->profile.n_function, message))
		return 0;
	perftools__profiles__function__init(message);
	message->id = builder->profile.n_function;
	message->name = (int64_t)key[0];
	message->system_name = (int64_t)key[1];
	message->filename = (int64_t)key[2];
	message->start_line = function->start_line;
	remember(builder, &builder->functions, key, sizeof(key), message->id);
	return message->id;
}

static void add_line(struct pp_builder *builder, Perftools__Profiles__Location *location,
		     const struct pp_line *line)
{
	Perftools__Profiles__Line *message = malloc(sizeof(*message));

	if (!append(builder, &location->line, &location->n_line, message))
		return;
	perftools__profiles__line__init(message);
	message->function_id = line->function_id;
	message->line = line->line;
}

uint64_t pp_builder_location(struct pp_builder *builder, uint64_t mapping_id, uint64_t address,
			     const struct pp_line *lines, size_t count)
{
	const uint64_t key[] = {mapping_id, address};
	struct entry *entry = find(builder->locations, key, sizeof(key));
	Perftools__Profiles__Location *message;
	size_t i;

	if (entry)
		return entry->value;
	message = malloc(sizeof(*message));
	if (!append(builder, &builder->profile.location, &builder->profile.n_location, message))
		return 0;
	perftools__profiles__location__init(message);
	message->id = builder->profile.n_location;
	message->mapping_id = mapping_id;
	message->address = address;
	for (i = 0; i < count; i++)
		add_line(builder, message, &lines[i]);
	remember(builder, &builder->locations, key, sizeof(key), message->id);
	return message->id;
}

static void add_label(struct pp_builder *builder, Perftools__Profiles__Sample *sample,
		      const struct pp_label *label)
{
	Perftools__Profiles__Label *message = malloc(sizeof(*message));

	if (!append(builder, &sample->label, &sample->n_label, message))
		return;
	perftools__profiles__label__init(message);
	message->key = intern(builder, label->key);
	message->str = intern(builder, label->value);
}

static void new_sample(struct pp_builder *builder, const uint64_t *location_ids, size_t count,
		       int64_t value, const struct pp_label *labels, size_t label_count)
{
	Perftools__Profiles__Sample *sample = malloc(sizeof(*sample));
	size_t i;

	if (!append(builder, &builder->profile.sample, &builder->profile.n_sample, sample))
		return;
	perftools__profiles__sample__init(sample);
	sample->location_id = malloc((count ? count : 1) * sizeof(*sample->location_id));
	sample->value = malloc(sizeof(*sample->value));
	if (!sample->location_id || !sample->value) {
		builder->failed = true;
		return;
	}
	memcpy(sample->location_id, location_ids, count * sizeof(*location_ids));
	sample->n_location_id = count;
	sample->value[0] = value;
	sample->n_value = 1;
	for (i = 0; i < label_count; i++)
		add_label(builder, sample, &labels[i]);
}

uint64_t pp_builder_sample(struct pp_builder *builder, const uint64_t *location_ids, size_t count,
			   int64_t value, const struct pp_label *labels, size_t label_count)
{
	size_t words = 1 + count + 2 * label_count;
	uint64_t *key = malloc(words * sizeof(*key));
	struct entry *entry;
	uint64_t number;
	size_t i;

	if (!key) {
		builder->failed = true;
		return 0;
	}
	key[0] = count;
	memcpy(key + 1, location_ids, count * sizeof(*key));
	for (i = 0; i < label_count; i++) {
		key[1 + count + 2 * i] = (uint64_t)intern(builder, labels[i].key);
		key[2 + count + 2 * i] = (uint64_t)intern(builder, labels[i].value);
	}
	entry = find(builder->samples, key, words * sizeof(*key));
	number = entry ? entry->value : builder->profile.n_sample;
	if (entry) {
		builder->profile.sample[number]->value[0] += value;
	} else {
		new_sample(builder, location_ids, count, value, labels, label_count);
		if (!builder->failed)
			remember(builder, &builder->samples, key, words * sizeof(*key), number);
	}
	free(key);
	return builder->failed ? 0 : number + 1;
}

void pp_builder_drop_zero(struct pp_builder *builder)
{
	pp_profile *profile = &builder->profile;
	size_t kept = 0;
	size_t i;

	/* What is looked up afterwards would lead to wrong places. */
	forget(&builder->samples);
	for (i = 0; i < profile->n_sample; i++) {
		if (profile->sample[i]->value[0])
			profile->sample[kept++] = profile->sample[i];
		else
			free_sample(profile->sample[i]);
	}
	profile->n_sample = kept;
}

const pp_profile *pp_builder_finish(struct pp_builder *builder)
{
	return builder->failed ? NULL : &builder->profile;
}
