/* SPDX-License-Identifier: MIT */
/*
 * The table of options: values, units, separators, errors, patterns.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/options.h"

static struct lp_options options;
static const char *bad;

static int parse(const char *text)
{
	lp_options_default(&options);
	return lp_options_parse(&options, text, &bad);
}

static void reads_values_with_units(void **state)
{
	(void)state;
	assert_int_equal(
		parse("interval=1500ms:stack_limit=2M:at_exit=no:signal=40:pointer_mask=0xff"), 0);
	assert_int_equal(options.interval_ns, 1500000000);
	assert_int_equal(options.stack_limit, 2 << 20);
	assert_false(options.at_exit);
	assert_int_equal(options.signal, 40);
	assert_int_equal(options.pointer_mask, 0xff);
}

static void keeps_defaults_of_what_is_not_named(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_true(options.at_exit);
	assert_int_equal(options.signal, 62);
	assert_int_equal(options.timeout_ns, 60000000000);
	assert_string_equal(options.output, LP_OUTPUT_DEFAULT);
}

static void reads_an_escaped_colon(void **state)
{
	(void)state;
	assert_int_equal(parse("output=a\\:b:keep_raw"), 0);
	assert_string_equal(options.output, "a:b");
	assert_true(options.keep_raw);
}

static void refuses_what_it_does_not_know(void **state)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
		{"colour=red", -ENOENT},
		{"interval=fast", -EINVAL},
		{"interval=1fortnight", -EINVAL},
		{"signal=99999999999", -EINVAL},
		{"stack_limit=99999999999G", -EINVAL},
		{"at_exit=perhaps", -EINVAL},
		{"copies=3", -EINVAL},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].text), cases[i].error);
		assert_ptr_equal(bad, cases[i].text);
	}
}

static void expands_patterns(void **state)
{
	char path[32];

	(void)state;
	assert_int_equal(
		lp_options_expand("%e.%p.%n.%t.%%.%x", 12, 3, "prog", 45, path, sizeof(path)), 0);
	assert_string_equal(path, "prog.12.3.45.%.%x");
	assert_int_equal(lp_options_expand("%p", 123456, 1, "", 0, path, 4), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_values_with_units),
		cmocka_unit_test(keeps_defaults_of_what_is_not_named),
		cmocka_unit_test(reads_an_escaped_colon),
		cmocka_unit_test(refuses_what_it_does_not_know),
		cmocka_unit_test(expands_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
