/* SPDX-License-Identifier: MIT */
/*
 * Leak checks with Check, which runs each test in a process of its own: the fixture starts the
 * runtime there, and its end fails the test when a goroutine is left.
 */
#include <check.h>
#include <leakprof.h>

#include "fetch.h"

static struct leakprof_scope *scope;

static void begin(void)
{
	ck_assert(leakprof_available());
	st_init();
	scope = leakprof_scope_begin();
}

static void end(void)
{
	ck_assert_int_eq(leakprof_scope_end(scope, NULL), 0);
}

START_TEST(takes_all)
{
	ck_assert_int_eq(fetch_all(3), 126);
}
END_TEST

START_TEST(takes_the_first)
{
	ck_assert_int_eq(fetch_first(3), 42);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fetch");
	TCase *tests = tcase_create("leaks");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, takes_all);
	tcase_add_test(tests, takes_the_first);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
