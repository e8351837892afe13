/* SPDX-License-Identifier: MIT */
/*
 * Leak checks in a test program without a framework. Run it with the shim:
 *
 *     LD_PRELOAD=libleakprof.so LEAKPROF_OPTIONS=at_exit=0 ./with_main
 */
#include <leakprof.h>
#include <stdio.h>

#include "fetch.h"

static int failures;

static void run(const char *name, void (*test)(void))
{
	struct leakprof_scope *scope = leakprof_scope_begin();
	int leaks;

	test();
	leaks = leakprof_scope_end(scope, NULL);
	printf("%s %s\n", leaks ? "FAIL" : "ok  ", name);
	failures += leaks != 0;
}

static void takes_all(void)
{
	fetch_all(3);
}

static void takes_the_first(void)
{
	fetch_first(3);
}

int main(void)
{
	if (!leakprof_available()) {
		fputs("run this with LD_PRELOAD=libleakprof.so\n", stderr);
		return 2;
	}
	st_init();
	run("takes_all", takes_all);
	run("takes_the_first", takes_the_first);
	return failures != 0;
}
