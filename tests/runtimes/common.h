/* SPDX-License-Identifier: MIT */
/*
 * What the test programs share: a table of cases, and what keeps stale words out of what is
 * scanned. A program is run as PROGRAM CASE; the expected leaks of each case are in
 * tests/e2e/e2e.py.
 */
#ifndef TESTS_RUNTIMES_COMMON_H
#define TESTS_RUNTIMES_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_case {
	const char *name;
	void (*run)(void);
};

/* Overwrites what dead frames below the caller's left on the stack. */
static __attribute__((noinline, unused)) void scrub(void)
{
	volatile char bytes[8192];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
}

/* stdio's buffer, allocated later, would hold what freed blocks left in its memory. */
static __attribute__((unused)) void unbuffer(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
}

/* Keeps the compiler from knowing, and so from keeping, VALUE. */
static inline void *hide(void *value)
{
	__asm__ volatile("" : "+r"(value));
	return value;
}

static __attribute__((unused)) const struct test_case *
find_case(const struct test_case *cases, size_t count, int argc, char **argv)
{
	size_t i;

	for (i = 0; argc > 1 && i < count; i++)
		if (!strcmp(cases[i].name, argv[1]))
			return &cases[i];
	fprintf(stderr, "usage: %s CASE\n", argv[0]);
	exit(2);
}

#endif
