/* SPDX-License-Identifier: MIT */
/*
 * See format.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "report/format.h"

/* The length of the UTF-8 sequence at AT; 0: it is none (RFC 3629). */
static size_t sequence(const unsigned char *at)
{
	static const struct {
		unsigned char mask, lead;
		size_t length;
		unsigned least;
	} kinds[] = {{0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};
	size_t i;
	size_t j;

	if (*at < 0x80)
		return 1;
	for (i = 0; i < 3; i++) {
		unsigned code = *at & (unsigned char)~kinds[i].mask;

		if ((*at & kinds[i].mask) != kinds[i].lead)
			continue;
		for (j = 1; j < kinds[i].length && (at[j] & 0xc0) == 0x80; j++)
			code = code << 6 | (at[j] & 0x3f);
		return j == kinds[i].length && code >= kinds[i].least && code <= 0x10ffff &&
				       (code < 0xd800 || code > 0xdfff)
			       ? j
			       : 0;
	}
	return 0;
}

char *lp_clean_text(const char *text)
{
	char *copy = strdup(text);
	unsigned char *at = (unsigned char *)copy;

	while (copy && *at) {
		size_t length = sequence(at);
		bool control = *at < ' ' && *at != '\n' && *at != '\t';

		if (!length || control || *at == 0x7f)
			*at = '?';
		at += length ? length : 1;
	}
	return copy;
}

json_t *lp_json_text(const char *text)
{
	char *clean = text ? lp_clean_text(text) : NULL;
	json_t *value = clean ? json_string(clean) : json_null();

	free(clean);
	return value;
}

void lp_json_string(json_t *object, const char *key, const char *text)
{
	char *clean = lp_clean_text(key);

	if (clean)
		json_object_set_new(object, clean, lp_json_text(text));
	free(clean);
}

void lp_json_fingerprint(json_t *object, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
	json_object_set_new(object, "fingerprint", json_string(text));
}

json_t *lp_json_frame(const struct lp_frame *frame)
{
	json_t *object;

	if (!frame->function)
		return json_null();
	object = json_object();
	lp_json_string(object, "function", frame->function);
	lp_json_string(object, "file", frame->file);
	json_object_set_new(object, "line", json_integer(frame->line));
	json_object_set_new(object, "inlined", json_boolean(frame->inlined));
	return object;
}

static void add_frames(json_t *stack, const struct lp_report *report,
		       const struct lp_location *location)
{
	const char *module =
		location->mapping == LP_NONE ? "" : report->mappings[location->mapping].path;
	size_t i;

	for (i = 0; i < location->frame_count; i++) {
		json_t *frame = lp_json_frame(&location->frames[i]);
		char address[32];

		snprintf(address, sizeof(address), "0x%llx", (unsigned long long)location->address);
		json_object_set_new(frame, "address", json_string(address));
		json_object_set_new(frame, "runtime", json_boolean(location->runtime));
		lp_json_string(frame, "module", module);
		json_array_append_new(stack, frame);
	}
}

void lp_json_site(json_t *object, const struct lp_report *report, const struct lp_site *site)
{
	json_t *labels = json_object();
	json_t *stack = json_array();
	size_t i;

	json_object_set_new(object, "count", json_integer((json_int_t)site->count));
	lp_json_string(object, "wait", site->wait);
	json_object_set_new(object, "oldest_ns", json_integer((json_int_t)site->oldest_ns));
	json_object_set_new(object, "stack_bytes", json_integer((json_int_t)site->stack_bytes));
	json_object_set_new(object, "heap_bytes", json_integer((json_int_t)site->heap_bytes));
	for (i = 0; i < site->label_count; i++)
		lp_json_string(labels, site->labels[i].key, site->labels[i].value);
	json_object_set_new(object, "labels", labels);
	for (i = 0; i < site->location_count; i++)
		add_frames(stack, report, site->locations[i]);
	json_object_set_new(object, "stack", stack);
	json_object_set_new(object, "created_by", lp_json_frame(&site->creator));
}

int lp_json_write(json_t *value, FILE *file)
{
	int r = !value ? -ENOMEM : json_dumpf(value, file, JSON_INDENT(2)) ? -EIO : 0;

	json_decref(value);
	if (!r && fputc('\n', file) == EOF)
		r = -EIO;
	return r;
}
