/* SPDX-License-Identifier: MIT */
/*
 * Reading raw streams: what a snapshot wrote is read, and every kind of damage is refused with a
 * reason. The stream is made here by hand, as an older or newer writer might.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "core/stream_read.h"

static _Alignas(8) char data[65536];
static size_t size;
static uint64_t sections;

static void put(const void *bytes, size_t length)
{
	memcpy(data + size, bytes, length);
	size += length;
}

static void begin(void)
{
	struct lp_stream_head head = {.version = LP_STREAM_VERSION};

	memset(data, 0, sizeof(data));
	size = 0;
	sections = 0;
	memcpy(head.magic, LP_STREAM_MAGIC, sizeof(head.magic));
	put(&head, sizeof(head));
}

static void section(uint32_t type, const void *payload, size_t length)
{
	struct lp_section_head head = {.type = type, .length = length};

	head.crc = (uint32_t)crc32(crc32(0, NULL, 0), payload, (unsigned)length);
	put(&head, sizeof(head));
	put(payload, length);
	size = (size + 7) & ~7ul;
	sections++;
}

/* Records of RECORD bytes, of which the first KNOWN are those at RECORDS. */
static void array(uint32_t type, const void *records, uint32_t count, uint32_t known,
		  uint32_t record)
{
	char payload[4096] = {0};
	struct lp_array_head head = {record, count};
	uint32_t i;

	memcpy(payload, &head, sizeof(head));
	for (i = 0; i < count; i++)
		memcpy(payload + sizeof(head) + (size_t)i * record,
		       (const char *)records + (size_t)i * known, known < record ? known : record);
	section(type, payload, sizeof(head) + (size_t)count * record);
}

static void finish(void)
{
	struct lp_raw_end end = {sections, size};

	section(LP_SEC_END, &end, sizeof(end));
}

static struct lp_raw_goroutine goroutine = {
	.id = 7, .wait = 1, .verdict = LP_LEAKED, .stack = LP_NONE, .state = LP_STATE_WAITING};

static void make(uint32_t record_size)
{
	static const char strings[] = "\0chan receive\0minigo";
	struct lp_raw_process process = {.pid = 42};
	struct lp_raw_runtime runtime = {.name = 14};

	begin();
	section(LP_SEC_PROCESS, &process, sizeof(process));
	array(LP_SEC_RUNTIMES, &runtime, 1, sizeof(runtime), sizeof(runtime));
	array(LP_SEC_GOROUTINES, &goroutine, 1, sizeof(goroutine), record_size);
	section(LP_SEC_STRINGS, strings, sizeof(strings));
}

static int read_it(size_t length)
{
	struct lp_stream stream;
	const char *reason = NULL;
	int r = lp_stream_read(&stream, data, length, &reason);

	if (r) {
		assert_int_equal(r, -EBADMSG);
		assert_non_null(reason);
		return r;
	}
	assert_int_equal(stream.process.pid, 42);
	assert_int_equal(stream.goroutine_count, 1);
	assert_int_equal(stream.goroutines[0].id, 7);
	assert_string_equal(lp_stream_string(&stream, stream.goroutines[0].wait), "chan receive");
	lp_stream_free(&stream);
	return 0;
}

static void a_whole_stream_is_read(void **state)
{
	(void)state;
	make(sizeof(goroutine));
	finish();
	assert_true(lp_stream_is(data, size));
	assert_int_equal(read_it(size), 0);
}

static void longer_records_and_unknown_sections_of_a_newer_writer_are_read(void **state)
{
	(void)state;
	make(sizeof(goroutine) + 24);
	section(200, "what is this", 12);
	finish();
	assert_int_equal(read_it(size), 0);
}

static void shorter_records_are_refused(void **state)
{
	(void)state;
	make(sizeof(goroutine) - 8);
	finish();
	assert_int_not_equal(read_it(size), 0);
}

static void every_truncation_is_refused(void **state)
{
	size_t length;

	(void)state;
	make(sizeof(goroutine));
	finish();
	for (length = 0; length < size; length++)
		assert_int_not_equal(read_it(length), 0);
}

static void every_flipped_bit_of_a_payload_is_refused(void **state)
{
	size_t whole;
	size_t i;

	(void)state;
	make(sizeof(goroutine));
	finish();
	whole = size;
	for (i = sizeof(struct lp_stream_head) + sizeof(struct lp_section_head);
	     i < sizeof(struct lp_stream_head) + sizeof(struct lp_section_head) +
			 sizeof(struct lp_raw_process);
	     i++) {
		data[i] ^= 4;
		assert_int_not_equal(read_it(whole), 0);
		data[i] ^= 4;
	}
	assert_int_equal(read_it(whole), 0);
}

static void references_that_lead_nowhere_are_refused(void **state)
{
	struct lp_raw_goroutine good = goroutine;

	(void)state;
	goroutine.wait = 1000;
	make(sizeof(goroutine));
	finish();
	assert_int_not_equal(read_it(size), 0);
	goroutine = good;
	goroutine.runtime = 1;
	make(sizeof(goroutine));
	finish();
	assert_int_not_equal(read_it(size), 0);
	goroutine = good;
	goroutine.stack = 0;
	make(sizeof(goroutine));
	finish();
	assert_int_not_equal(read_it(size), 0);
	goroutine = good;
}

static void a_section_that_comes_twice_or_no_end_is_refused(void **state)
{
	struct lp_raw_process process = {.pid = 42};

	(void)state;
	make(sizeof(goroutine));
	assert_int_not_equal(read_it(size), 0);
	section(LP_SEC_PROCESS, &process, sizeof(process));
	finish();
	assert_int_not_equal(read_it(size), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_stream_is_read),
		cmocka_unit_test(longer_records_and_unknown_sections_of_a_newer_writer_are_read),
		cmocka_unit_test(shorter_records_are_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_flipped_bit_of_a_payload_is_refused),
		cmocka_unit_test(references_that_lead_nowhere_are_refused),
		cmocka_unit_test(a_section_that_comes_twice_or_no_end_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
