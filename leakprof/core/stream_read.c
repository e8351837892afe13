/* SPDX-License-Identifier: MIT */
/*
 * See stream_read.h. Sections are found first, each is checked by its sum, then arrays are copied
 * to aligned memory (a newer writer's records may be longer) and all references between them are
 * checked.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/stream_read.h"

struct section {
	const char *data;
	size_t size;
};

struct sections {
	struct section known[LP_SEC_LABELS + 1];
	uint64_t count;
	bool complete;
};

int lp_stream_is(const void *data, size_t size)
{
	return size >= sizeof(struct lp_stream_head) && !memcmp(data, LP_STREAM_MAGIC, 8);
}

static const char *check_end(const struct sections *sections, const struct section *end, size_t at)
{
	struct lp_raw_end record;

	if (end->size < sizeof(record))
		return "the stream is damaged: its last section is too short";
	memcpy(&record, end->data, sizeof(record));
	if (record.sections != sections->count || record.bytes != at)
		return "the stream is damaged: sections are missing";
	return NULL;
}

/* Finds all sections. Returns NULL or a reason. */
static const char *find_sections(const char *data, size_t size, struct sections *sections)
{
	size_t at = sizeof(struct lp_stream_head);

	while (size - at >= sizeof(struct lp_section_head)) {
		struct lp_section_head head;
		struct section section;

		memcpy(&head, data + at, sizeof(head));
		section.data = data + at + sizeof(head);
		if (head.length > size - at - sizeof(head))
			return "the stream was cut off";
		section.size = head.length;
		if (crc32_z(0, (const Bytef *)section.data, section.size) != head.crc)
			return "the stream is damaged: a section has a wrong checksum";
		if (head.type == LP_SEC_END) {
			sections->complete = true;
			return check_end(sections, &section, at);
		}
		if (head.type && head.type <= LP_SEC_LABELS) {
			if (sections->known[head.type].data)
				return "the stream is damaged: a section is there twice";
			sections->known[head.type] = section;
		}
		sections->count++;
		at += sizeof(head) + section.size;
		at += -section.size & 7;
		if (at > size)
			break;
	}
	return "the stream was cut off";
}

/* Copies the records of SECTION, each cut to SIZE bytes. A missing section is an empty one. */
static const char *read_array(const struct section *section, size_t record, void *array,
			      size_t *count)
{
	struct lp_array_head head;
	char *records;
	size_t i;

	*count = 0;
	if (!section->data)
		return NULL;
	if (section->size < sizeof(head))
		return "the stream is damaged: a section is too short";
	memcpy(&head, section->data, sizeof(head));
	if (head.record_size < record)
		return "the stream is of an older leakprof than this one can read";
	if (head.count > (section->size - sizeof(head)) / head.record_size)
		return "the stream is damaged: a section is shorter than it says";
	records = calloc(head.count ? head.count : 1, record);
	if (!records)
		return "there is not enough memory";
	for (i = 0; i < head.count; i++)
		memcpy(records + i * record, section->data + sizeof(head) + i * head.record_size,
		       record);
	*(void **)array = records;
	*count = head.count;
	return NULL;
}

#define READ(type, member)                                                                         \
	if (!reason)                                                                               \
	reason = read_array(&sections->known[type], sizeof(*stream->member##s),                    \
			    &stream->member##s, &stream->member##_count)

static const char *read_arrays(struct lp_stream *stream, const struct sections *sections)
{
	const char *reason = NULL;

	READ(LP_SEC_FIGURES, figure);
	READ(LP_SEC_MAPPINGS, mapping);
	READ(LP_SEC_RUNTIMES, runtime);
	READ(LP_SEC_GOROUTINES, goroutine);
	READ(LP_SEC_STACKS, stack);
	READ(LP_SEC_NOTES, note);
	READ(LP_SEC_LABELS, label);
	return reason;
}

/* --- References --- */

static bool is_string(const struct lp_stream *stream, uint32_t offset)
{
	/* The last byte is NUL, so any offset inside is a string. */
	return offset < stream->strings_size;
}

static bool check_strings(const struct lp_stream *stream)
{
	const struct lp_raw_process *process = &stream->process;
	bool good = is_string(stream, process->exe) && is_string(stream, process->cmdline) &&
		    is_string(stream, process->shim) &&
		    is_string(stream, process->suppressions[0]) &&
		    is_string(stream, process->suppressions[1]);
	size_t i;

	for (i = 0; i < stream->mapping_count; i++)
		good &= is_string(stream, stream->mappings[i].path) &&
			is_string(stream, stream->mappings[i].build_id);
	for (i = 0; i < stream->runtime_count; i++)
		good &= is_string(stream, stream->runtimes[i].name) &&
			is_string(stream, stream->runtimes[i].path);
	for (i = 0; i < stream->note_count; i++)
		good &= is_string(stream, stream->notes[i].text);
	for (i = 0; i < stream->label_count; i++)
		good &= is_string(stream, stream->labels[i].key) &&
			is_string(stream, stream->labels[i].value) &&
			stream->labels[i].goroutine < stream->goroutine_count;
	return good;
}

static bool check_goroutines(const struct lp_stream *stream)
{
	size_t i;

	for (i = 0; i < stream->goroutine_count; i++) {
		const struct lp_raw_goroutine *goroutine = &stream->goroutines[i];

		if (goroutine->runtime >= stream->runtime_count ||
		    !is_string(stream, goroutine->wait) || !is_string(stream, goroutine->name) ||
		    (goroutine->stack != LP_NONE && goroutine->stack >= stream->stack_count))
			return false;
	}
	for (i = 0; i < stream->stack_count; i++)
		if (stream->stacks[i].offset > stream->stack_bytes_size ||
		    stream->stacks[i].length >
			    stream->stack_bytes_size - stream->stacks[i].offset ||
		    stream->stacks[i].sp + stream->stacks[i].length < stream->stacks[i].sp)
			return false;
	return true;
}

static const char *check_mappings(const struct lp_stream *stream)
{
	uint64_t last = 0;
	size_t i;

	for (i = 0; i < stream->mapping_count; i++) {
		if (stream->mappings[i].start < last ||
		    stream->mappings[i].end <= stream->mappings[i].start)
			return "the stream is damaged: mappings are out of order";
		last = stream->mappings[i].end;
	}
	return NULL;
}

int lp_stream_read(struct lp_stream *stream, const void *data, size_t size, const char **reason)
{
	struct sections sections = {0};
	struct lp_stream_head head;

	memset(stream, 0, sizeof(*stream));
	*reason = "it is not a raw snapshot";
	if (!lp_stream_is(data, size))
		return -EBADMSG;
	memcpy(&head, data, sizeof(head));
	*reason = "the raw snapshot is of another version of leakprof";
	if (head.version != LP_STREAM_VERSION)
		return -EBADMSG;
	*reason = find_sections(data, size, &sections);
	if (*reason)
		return -EBADMSG;
	*reason = "the stream is damaged: a section is missing or too short";
	if (sections.known[LP_SEC_PROCESS].size < sizeof(stream->process) ||
	    !sections.known[LP_SEC_STRINGS].size)
		return -EBADMSG;
	memcpy(&stream->process, sections.known[LP_SEC_PROCESS].data, sizeof(stream->process));
	stream->strings = sections.known[LP_SEC_STRINGS].data;
	stream->strings_size = sections.known[LP_SEC_STRINGS].size;
	stream->stack_bytes = sections.known[LP_SEC_STACK_BYTES].data;
	stream->stack_bytes_size = sections.known[LP_SEC_STACK_BYTES].size;
	*reason = read_arrays(stream, &sections);
	if (!*reason && (stream->strings[0] || stream->strings[stream->strings_size - 1] ||
			 !check_strings(stream) || !check_goroutines(stream)))
		*reason = "the stream is damaged: a reference leads nowhere";
	if (!*reason)
		*reason = check_mappings(stream);
	if (!*reason)
		return 0;
	lp_stream_free(stream);
	return -EBADMSG;
}

void lp_stream_free(struct lp_stream *stream)
{
	free(stream->figures);
	free(stream->mappings);
	free(stream->runtimes);
	free(stream->goroutines);
	free(stream->stacks);
	free(stream->notes);
	free(stream->labels);
	memset(stream, 0, sizeof(*stream));
}

const char *lp_stream_string(const struct lp_stream *stream, uint32_t offset)
{
	return stream->strings + offset;
}
