/* SPDX-License-Identifier: MIT */
/*
 * pprof_out: building, the round trip, what is refused, and Go's text forms to the byte.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pp_profile.h"

static uint64_t add_location(struct pp_builder *builder, uint64_t address, const char *function,
			     const char *file, int64_t line)
{
	struct pp_line lines = {
		pp_builder_function(builder, &(struct pp_function){function, function, file, 1}),
		line};

	return pp_builder_location(builder, 0, address, &lines, 1);
}

/* Two records of reference/go1.27-goroutineleak.debug1.txt: one plain, one with labels. */
static struct pp_builder *sample_builder(void)
{
	struct pp_builder *builder = pp_builder_new("goroutineleak", "count");
	const struct pp_label labels[] = {{"tenant", "acme"}, {"handler", "/search"}};
	uint64_t deep[2];
	uint64_t receive;

	deep[0] = add_location(builder, 0x48d9c4, "internal/sync.runtime_SemacquireMutex",
			       "GOROOT/src/runtime/sema.go", 95);
	deep[1] = add_location(builder, 0x6bc3ae, "main.leakMutex.func1", "SRC/main.go", 43);
	receive = add_location(builder, 0x6bc2f8, "main.leakRecv.func1", "SRC/main.go", 27);
	pp_builder_sample(builder, &receive, 1, 1, labels, 2);
	pp_builder_sample(builder, deep, 2, 1, NULL, 0);
	pp_builder_sample(builder, deep, 2, 2, NULL, 0);
	return builder;
}

static void merges_equal_samples_and_numbers_records_from_one(void **state)
{
	struct pp_builder *builder = sample_builder();
	const pp_profile *profile = pp_builder_finish(builder);

	(void)state;
	assert_int_equal(profile->n_sample, 2);
	assert_int_equal(profile->sample[1]->value[0], 3);
	assert_int_equal(profile->n_location, 3);
	assert_int_equal(profile->location[2]->id, 3);
	assert_string_equal(profile->string_table[0], "");
	assert_null(pp_invalid(profile));
	pp_builder_free(builder);
}

static void reads_what_it_packed(void **state)
{
	struct pp_builder *builder = sample_builder();
	pp_profile *profile;
	const char *reason;
	void *data;
	size_t size;

	(void)state;
	assert_int_equal(pp_pack(pp_builder_finish(builder), &data, &size), 0);
	assert_int_equal(pp_unpack(data, size, 1 << 20, &profile, &reason), 0);
	assert_int_equal(profile->n_sample, 2);
	assert_string_equal(pp_string(profile, profile->period_type->type), "goroutineleak");
	pp_free(profile);
	assert_int_equal(pp_unpack(data, size, 16, &profile, &reason), -EBADMSG);
	assert_int_equal(pp_unpack(data, size / 2, 1 << 20, &profile, &reason), -EBADMSG);
	free(data);
	pp_builder_free(builder);
}

static void an_empty_profile_is_valid(void **state)
{
	struct pp_builder *builder = pp_builder_new("goroutineleak", "count");
	pp_profile *profile;
	const char *reason;
	void *data;
	size_t size;

	(void)state;
	assert_int_equal(pp_pack(pp_builder_finish(builder), &data, &size), 0);
	assert_int_equal(pp_unpack(data, size, 1 << 20, &profile, &reason), 0);
	assert_int_equal(profile->n_sample, 0);
	pp_free(profile);
	free(data);
	pp_builder_free(builder);
}

/* Each rule of Parca's, broken one at a time. */
static void refuses_what_parca_refuses(void **state)
{
	struct pp_builder *builder = sample_builder();
	pp_profile *profile = (pp_profile *)pp_builder_finish(builder);
	char *first = profile->string_table[0];

	(void)state;
	profile->string_table[0] = "x";
	assert_non_null(pp_invalid(profile));
	profile->string_table[0] = first;
	profile->location[1]->id = 7;
	assert_non_null(pp_invalid(profile));
	profile->location[1]->id = 2;
	profile->function[0]->name = 1000;
	assert_non_null(pp_invalid(profile));
	profile->function[0]->name = 1;
	profile->sample[0]->location_id[0] = 0;
	assert_non_null(pp_invalid(profile));
	profile->sample[0]->location_id[0] = 3;
	profile->sample[0]->n_value = 0;
	assert_non_null(pp_invalid(profile));
	profile->sample[0]->n_value = 1;
	profile->sample[0]->label[0]->key = 0;
	assert_non_null(pp_invalid(profile));
	profile->sample[0]->label[0]->key = 1;
	assert_null(pp_invalid(profile));
	pp_builder_free(builder);
}

static int64_t offset(void *context, const Perftools__Profiles__Location *location, size_t line)
{
	(void)context;
	(void)line;
	return location->address == 0x48d9c4 ? 0x24 : location->address == 0x6bc3ae ? 0xe : 0x18;
}

static void debug1_is_gos(void **state)
{
	static const char wanted[] =
		"goroutineleak profile: total 4\n"
		"3 @ 0x48d9c5 0x6bc3af\n"
		"#\t0x48d9c4\tinternal/sync.runtime_SemacquireMutex+0x24\tGOROOT/src/runtime/"
		"sema.go:95\n"
		"#\t0x6bc3ae\tmain.leakMutex.func1+0xe\t\t\tSRC/main.go:43\n"
		"\n"
		"1 @ 0x6bc2f9\n"
		"# labels: {\"handler\":\"/search\", \"tenant\":\"acme\"}\n"
		"#\t0x6bc2f8\tmain.leakRecv.func1+0x18\tSRC/main.go:27\n"
		"\n";
	struct pp_builder *builder = sample_builder();
	char *text;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(
		pp_write_debug1(file, pp_builder_finish(builder), "goroutineleak", offset, NULL),
		0);
	fclose(file);
	assert_string_equal(text, wanted);
	free(text);
	pp_builder_free(builder);
}

static void debug2_is_gos(void **state)
{
	static const char wanted[] = "goroutine 30 [chan receive (leaked), 2 minutes] {handler: "
				     "/search, tenant: acme}:\n"
				     "main.leakRecv.func1(...)\n"
				     "\tSRC/main.go:27 +0x19\n"
				     "created by main.leakRecv in goroutine 1\n"
				     "\tSRC/main.go:27 +0x67\n"
				     "\n";
	const struct pp_label labels[] = {{"handler", "/search"}, {"tenant", "acme"}};
	const struct pp_frame frame = {"main.leakRecv.func1", "SRC/main.go", 27, 0x19, false};
	const struct pp_goroutine goroutine = {30,
					       "chan receive",
					       true,
					       2,
					       labels,
					       2,
					       &frame,
					       1,
					       {"main.leakRecv", "SRC/main.go", 27, 0x67, false},
					       1};
	char *text;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(pp_write_debug2(file, &goroutine), 0);
	fclose(file);
	assert_string_equal(text, wanted);
	free(text);
}

static void a_delta_has_what_came_and_what_went(void **state)
{
	struct pp_builder *first = sample_builder();
	struct pp_builder *second = pp_builder_new("goroutineleak", "count");
	struct pp_builder *delta;
	const pp_profile *profile;
	uint64_t receive;
	uint64_t other;

	(void)state;
	/* Without the labelled sample of the first, one fewer of "deep", and a new place. */
	other = add_location(second, 0x400000, "main.other", "SRC/main.go", 7);
	receive = add_location(second, 0x6bc2f8, "main.leakRecv.func1", "SRC/main.go", 27);
	pp_builder_sample(second, &other, 1, 5, NULL, 0);
	pp_builder_sample(second, &receive, 1, 1,
			  (const struct pp_label[]){{"tenant", "acme"}, {"handler", "/search"}}, 2);
	pp_builder_time(first, 1000, 0);
	pp_builder_time(second, 4000, 0);
	delta = pp_delta(pp_builder_finish(first), pp_builder_finish(second));
	profile = pp_builder_finish(delta);
	assert_null(pp_invalid(profile));
	assert_int_equal(profile->n_sample, 2);
	assert_int_equal(profile->sample[0]->value[0], 5);
	assert_int_equal(profile->sample[1]->value[0], -3);
	assert_int_equal(profile->sample[1]->n_location_id, 2);
	assert_int_equal(profile->time_nanos, 4000);
	assert_int_equal(profile->duration_nanos, 3000);
	pp_builder_free(first);
	pp_builder_free(second);
	pp_builder_free(delta);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_equal_samples_and_numbers_records_from_one),
		cmocka_unit_test(reads_what_it_packed),
		cmocka_unit_test(an_empty_profile_is_valid),
		cmocka_unit_test(a_delta_has_what_came_and_what_went),
		cmocka_unit_test(refuses_what_parca_refuses),
		cmocka_unit_test(debug1_is_gos),
		cmocka_unit_test(debug2_is_gos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
