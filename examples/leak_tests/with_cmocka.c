/* SPDX-License-Identifier: MIT */
/*
 * Leak checks with cmocka: each test has a scope of its own, and fails in its teardown when a
 * goroutine of it is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <leakprof.h>

#include "fetch.h"

static void report(void *unused, const char *text, size_t length)
{
	(void)unused;
	print_error("%.*s", (int)length, text);
}

static int begin(void **state)
{
	*state = leakprof_scope_begin();
	return 0;
}

static int end(void **state)
{
	const struct leakprof_check_info info = {.size = sizeof(info), .sink = report};

	return leakprof_scope_end(*state, &info);
}

static void takes_all(void **state)
{
	(void)state;
	assert_int_equal(fetch_all(3), 126);
}

static void takes_the_first(void **state)
{
	(void)state;
	assert_int_equal(fetch_first(3), 42);
}

static int start(void **state)
{
	(void)state;
	return leakprof_available() ? st_init() : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_all, begin, end),
		cmocka_unit_test_setup_teardown(takes_the_first, begin, end),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
