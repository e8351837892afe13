/* SPDX-License-Identifier: MIT */
/*
 * Profiles as bytes: protobuf by protobuf-c, gzip by zlib, and the checks that make a profile from
 * elsewhere safe to walk. The rules are those of Parca's validation and pprof's CheckValid.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "pp_profile.h"

#define GZIP_WINDOW (15 + 16) /* zlib: write a gzip head */
#define GUNZIP_WINDOW (15 + 16)

/* --- Writing --- */

static int compress_to(const void *packed, size_t packed_size, void **data, size_t *size)
{
	z_stream stream = {.next_in = (Bytef *)packed, .avail_in = (uInt)packed_size};
	size_t room;
	int r;

	if (packed_size > UINT32_MAX)
		return -EFBIG;
	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	room = deflateBound(&stream, packed_size);
	*data = malloc(room);
	stream.next_out = *data;
	stream.avail_out = (uInt)room;
	r = *data ? deflate(&stream, Z_FINISH) : Z_MEM_ERROR;
	*size = stream.total_out;
	deflateEnd(&stream);
	if (r == Z_STREAM_END)
		return 0;
	free(*data);
	*data = NULL;
	return -ENOMEM;
}

int pp_pack(const pp_profile *profile, void **data, size_t *size)
{
	size_t packed_size = perftools__profiles__profile__get_packed_size(profile);
	uint8_t *packed = malloc(packed_size ? packed_size : 1);
	int r;

	if (!packed)
		return -ENOMEM;
	perftools__profiles__profile__pack(profile, packed);
	r = compress_to(packed, packed_size, data, size);
	free(packed);
	return r;
}

/* --- Reading --- */

/* Inflates DATA into *OUT of *OUT_SIZE bytes, at most LIMIT. */
static int inflate_all(const void *data, size_t size, size_t limit, uint8_t **out, size_t *out_size,
		       const char **reason)
{
	z_stream stream = {.next_in = (Bytef *)data, .avail_in = (uInt)size};
	size_t room = 0;
	int r = Z_OK;

	*out = NULL;
	*reason = "the gzip data is damaged or cut off";
	if (size > UINT32_MAX || inflateInit2(&stream, GUNZIP_WINDOW) != Z_OK)
		return -ENOMEM;
	while (r == Z_OK && stream.total_out < limit) {
		size_t next = room ? room * 2 : 65536;
		uint8_t *larger;

		next = next > limit ? limit : next;
		larger = realloc(*out, next);
		if (!larger)
			break;
		*out = larger;
		stream.next_out = larger + stream.total_out;
		stream.avail_out = (uInt)(next - stream.total_out);
		room = next;
		r = inflate(&stream, Z_NO_FLUSH);
		if (r == Z_BUF_ERROR && stream.avail_in)
			r = Z_OK;
	}
	*out_size = stream.total_out;
	inflateEnd(&stream);
	if (r == Z_STREAM_END)
		return 0;
	if (r == Z_OK && *out_size >= limit)
		*reason = "the profile is larger than the limit when unpacked";
	free(*out);
	*out = NULL;
	return -EBADMSG;
}

int pp_unpack(const void *data, size_t size, size_t limit, pp_profile **profile,
	      const char **reason)
{
	const uint8_t *bytes = data;
	uint8_t *inflated = NULL;
	int r = -EBADMSG;

	*profile = NULL;
	if (size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) {
		r = inflate_all(data, size, limit, &inflated, &size, reason);
		if (r)
			return r;
		bytes = inflated;
	}
	*reason = "the file is empty";
	if (size)
		*profile = perftools__profiles__profile__unpack(NULL, size, bytes);
	free(inflated);
	if (!size)
		return -EBADMSG;
	*reason = *profile ? pp_invalid(*profile) : "it is not a pprof profile";
	if (!*reason)
		return 0;
	pp_free(*profile);
	*profile = NULL;
	return -EBADMSG;
}

void pp_free(pp_profile *profile)
{
	if (profile)
		perftools__profiles__profile__free_unpacked(profile, NULL);
}

const char *pp_string(const pp_profile *profile, int64_t index)
{
	return profile->string_table[index];
}

/* --- Checking --- */

static bool is_text(const pp_profile *profile, int64_t index)
{
	return index >= 0 && (uint64_t)index < profile->n_string_table;
}

static const char *check_types(const pp_profile *profile)
{
	size_t i;

	if (!profile->n_string_table || profile->string_table[0][0])
		return "the string table does not begin with the empty string";
	if (!profile->n_sample_type)
		return "it has no sample type";
	for (i = 0; i < profile->n_sample_type; i++)
		if (!is_text(profile, profile->sample_type[i]->type) ||
		    !is_text(profile, profile->sample_type[i]->unit))
			return "a sample type has no name";
	if (profile->period_type && (!is_text(profile, profile->period_type->type) ||
				     !is_text(profile, profile->period_type->unit)))
		return "the period type has no name";
	for (i = 0; i < profile->n_comment; i++)
		if (!is_text(profile, profile->comment[i]))
			return "a comment has no text";
	return is_text(profile, profile->drop_frames) && is_text(profile, profile->keep_frames)
		       ? NULL
		       : "a frame filter has no text";
}

static const char *check_mappings(const pp_profile *profile)
{
	size_t i;

	for (i = 0; i < profile->n_mapping; i++) {
		if (profile->mapping[i]->id != i + 1)
			return "mapping ids are not 1, 2, 3 ...";
		if (!is_text(profile, profile->mapping[i]->filename) ||
		    !is_text(profile, profile->mapping[i]->build_id))
			return "a mapping's text is not in the string table";
	}
	return NULL;
}

static const char *check_functions(const pp_profile *profile)
{
	size_t i;

	for (i = 0; i < profile->n_function; i++) {
		const Perftools__Profiles__Function *function = profile->function[i];

		if (function->id != i + 1)
			return "function ids are not 1, 2, 3 ...";
		if (!is_text(profile, function->name) || !is_text(profile, function->system_name) ||
		    !is_text(profile, function->filename))
			return "a function's text is not in the string table";
	}
	return NULL;
}

static const char *check_locations(const pp_profile *profile)
{
	size_t i;
	size_t j;

	for (i = 0; i < profile->n_location; i++) {
		const Perftools__Profiles__Location *location = profile->location[i];

		if (location->id != i + 1)
			return "location ids are not 1, 2, 3 ...";
		if (location->mapping_id > profile->n_mapping)
			return "a location's mapping does not exist";
		for (j = 0; j < location->n_line; j++)
			if (!location->line[j]->function_id ||
			    location->line[j]->function_id > profile->n_function)
				return "a line's function does not exist";
	}
	return NULL;
}

static const char *check_sample(const pp_profile *profile,
				const Perftools__Profiles__Sample *sample)
{
	size_t i;

	if (sample->n_value != profile->n_sample_type)
		return "a sample has not one value for each sample type";
	for (i = 0; i < sample->n_location_id; i++)
		if (!sample->location_id[i] || sample->location_id[i] > profile->n_location)
			return "a sample's location does not exist";
	for (i = 0; i < sample->n_label; i++) {
		if (!sample->label[i]->key || !is_text(profile, sample->label[i]->key))
			return "a label has no key";
		if (!is_text(profile, sample->label[i]->str) ||
		    !is_text(profile, sample->label[i]->num_unit))
			return "a label's text is not in the string table";
	}
	return NULL;
}

const char *pp_invalid(const pp_profile *profile)
{
	const char *reason = check_types(profile);
	size_t i;

	if (!reason)
		reason = check_mappings(profile);
	if (!reason)
		reason = check_functions(profile);
	if (!reason)
		reason = check_locations(profile);
	for (i = 0; !reason && i < profile->n_sample; i++)
		reason = check_sample(profile, profile->sample[i]);
	return reason;
}
