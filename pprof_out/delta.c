/* SPDX-License-Identifier: MIT */
/*
 * The difference of two profiles, as Go's `seconds` parameter has it: FIRST is added with its sign
 * changed, SECOND as it is, and the builder merges what is equal.
 */
#include <stdlib.h>

#include "pp_profile.h"

static uint64_t copy_mapping(struct pp_builder *builder, const pp_profile *from, uint64_t id)
{
	const Perftools__Profiles__Mapping *mapping;

	if (!id)
		return 0;
	mapping = from->mapping[id - 1];
	return pp_builder_mapping(
		builder,
		&(struct pp_mapping){mapping->memory_start, mapping->memory_limit,
				     mapping->file_offset, pp_string(from, mapping->filename),
				     pp_string(from, mapping->build_id), mapping->has_functions});
}

static uint64_t copy_location(struct pp_builder *builder, const pp_profile *from, uint64_t id)
{
	const Perftools__Profiles__Location *location = from->location[id - 1];
	struct pp_line *lines = calloc(location->n_line + 1, sizeof(*lines));
	uint64_t copy;
	size_t i;

	if (!lines)
		return 0;
	for (i = 0; i < location->n_line; i++) {
		const Perftools__Profiles__Function *function =
			from->function[location->line[i]->function_id - 1];

		lines[i].line = location->line[i]->line;
		lines[i].function_id = pp_builder_function(
			builder, &(struct pp_function){pp_string(from, function->name),
						       pp_string(from, function->system_name),
						       pp_string(from, function->filename),
						       function->start_line});
	}
	copy = pp_builder_location(builder, copy_mapping(builder, from, location->mapping_id),
				   location->address, lines, location->n_line);
	free(lines);
	return copy;
}

static bool copy_sample(struct pp_builder *builder, const pp_profile *from,
			const Perftools__Profiles__Sample *sample, int64_t sign)
{
	uint64_t *ids = calloc(sample->n_location_id + 1, sizeof(*ids));
	struct pp_label *labels = calloc(sample->n_label + 1, sizeof(*labels));
	bool good = ids && labels;
	size_t count = 0;
	size_t i;

	for (i = 0; good && i < sample->n_location_id; i++) {
		ids[i] = copy_location(builder, from, sample->location_id[i]);
		good = ids[i];
	}
	for (i = 0; good && i < sample->n_label; i++)
		if (sample->label[i]->str)
			labels[count++] = (struct pp_label){pp_string(from, sample->label[i]->key),
							    pp_string(from, sample->label[i]->str)};
	if (good)
		pp_builder_sample(builder, ids, sample->n_location_id, sign * sample->value[0],
				  labels, count);
	free(ids);
	free(labels);
	return good;
}

static bool copy(struct pp_builder *builder, const pp_profile *from, int64_t sign)
{
	bool good = true;
	size_t i;

	/* In their order, as the first mapping is the program's own. */
	for (i = 0; i < from->n_mapping; i++)
		good &= copy_mapping(builder, from, from->mapping[i]->id) != 0;
	for (i = 0; good && i < from->n_sample; i++)
		good = copy_sample(builder, from, from->sample[i], sign);
	return good;
}

struct pp_builder *pp_delta(const pp_profile *first, const pp_profile *second)
{
	struct pp_builder *builder =
		pp_builder_new(pp_string(second, second->sample_type[0]->type),
			       pp_string(second, second->sample_type[0]->unit));

	if (!builder)
		return NULL;
	if (!copy(builder, second, 1) || !copy(builder, first, -1)) {
		pp_builder_free(builder);
		return NULL;
	}
	pp_builder_drop_zero(builder);
	pp_builder_drop_frames(builder, pp_string(second, second->drop_frames));
	pp_builder_time(builder, (uint64_t)second->time_nanos,
			second->time_nanos > first->time_nanos
				? (uint64_t)(second->time_nanos - first->time_nanos)
				: 0);
	return builder;
}
