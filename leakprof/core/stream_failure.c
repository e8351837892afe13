/* SPDX-License-Identifier: MIT */
/*
 * The raw stream of a collection that could not be made: who it was, and why. It needs no memory,
 * no descriptor but the one that it is written to, and no /proc, as these may be what is missing.
 * Runs in the target too.
 */
#include <errno.h>
#include <string.h>

#include "core/collect.h"
#include "core/sys.h"

struct buffer {
	char bytes[2048];
	size_t size;
	uint64_t sections;
};

static uint32_t crc32(const char *data, size_t size)
{
	uint32_t crc = ~0u;
	int bit;

	while (size-- > 0) {
		crc ^= (unsigned char)*data++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void put(struct buffer *buffer, const void *data, size_t size)
{
	if (size > sizeof(buffer->bytes) - buffer->size)
		return;
	memcpy(buffer->bytes + buffer->size, data, size);
	buffer->size += size;
}

static void put_section(struct buffer *buffer, enum lp_section_type type, const void *data,
			size_t size)
{
	static const char padding[8];
	struct lp_section_head head = {type, crc32(data, size), size};

	put(buffer, &head, sizeof(head));
	put(buffer, data, size);
	put(buffer, padding, -size & 7);
	buffer->sections++;
}

/* Appends TEXT to the strings. Returns its offset. */
static uint32_t add_string(struct buffer *strings, const char *text)
{
	uint32_t offset = (uint32_t)strings->size;
	size_t length = strnlen(text, 256);

	put(strings, text, length);
	put(strings, "", 1);
	return offset;
}

static void put_note(struct buffer *buffer, uint32_t text)
{
	const struct {
		struct lp_array_head head;
		struct lp_raw_note note;
	} notes = {{sizeof(struct lp_raw_note), 1}, {LP_NOTE_ERROR, text}};

	put_section(buffer, LP_SEC_NOTES, &notes, sizeof(notes));
}

static int write_all(int fd, const char *at, size_t size)
{
	while (size) {
		long n = lp_sys_write_quietly(fd, at, size);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? (int)n : -EIO;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

int lp_stream_write_failure(const struct lp_collect_input *input, const char *program,
			    const char *reason, int fd)
{
	struct buffer buffer = {.size = 0};
	struct buffer strings = {.bytes = "", .size = 1};
	struct lp_stream_head head = {.version = LP_STREAM_VERSION};
	struct lp_raw_process process = {
		.pid = input->pid,
		.trigger = input->trigger,
		.measured = LP_MEASURED_FAILED,
		.serial = input->serial,
		.exe = add_string(&strings, program),
		.shim = add_string(&strings, LP_VERSION),
		.time_ns = input->time_ns,
		.start_ns = input->process_start_ns,
	};
	struct lp_raw_end end;

	memcpy(head.magic, LP_STREAM_MAGIC, sizeof(head.magic));
	put(&buffer, &head, sizeof(head));
	put_section(&buffer, LP_SEC_PROCESS, &process, sizeof(process));
	put_note(&buffer, add_string(&strings, reason));
	put_section(&buffer, LP_SEC_STRINGS, strings.bytes, strings.size);
	end = (struct lp_raw_end){buffer.sections, buffer.size};
	put_section(&buffer, LP_SEC_END, &end, sizeof(end));
	return write_all(fd, buffer.bytes, buffer.size);
}
