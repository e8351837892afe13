/* SPDX-License-Identifier: MIT */
/*
 * Very many goroutines on stacks of 1 KiB (crowd.h). many leak COUNT SITES: so many leak at so many
 * sites, stacks of four frames as the digits of the site's number choose them. many chain COUNT:
 * each is reached only through the one before it, the first by a global. Prints READY and sleeps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crowd.h"

#define STACK 1024
#define DIGITS 3

static void *first_object;
static void *next_object; /* what the link that starts next waits for */
static unsigned long sites = 1;

typedef void digit_function(unsigned long number, int left);

static digit_function *const digits[10];

/* By the last digit of NUMBER, to its next frame. The write behind keeps the call from becoming a
 * jump. */
static void walk(unsigned long number, int left)
{
	if (left)
		digits[number % 10](number / 10, left - 1);
	else
		crowd_wait(calloc(1, 16));
	__asm__ volatile("");
}

#define DIGIT(n)                                                                                   \
	static __attribute__((noinline)) void digit_##n(unsigned long number, int left)            \
	{                                                                                          \
		walk(number, left);                                                                \
		__asm__ volatile("# " #n);                                                         \
	}

DIGIT(0)
DIGIT(1)
DIGIT(2)
DIGIT(3)
DIGIT(4)
DIGIT(5)
DIGIT(6)
DIGIT(7)
DIGIT(8)
DIGIT(9)

static digit_function *const digits[10] = {digit_0, digit_1, digit_2, digit_3, digit_4,
					   digit_5, digit_6, digit_7, digit_8, digit_9};

static void leak(void *number)
{
	walk((unsigned long)number % sites, DIGITS);
}

static void link_in_chain(void *unused)
{
	void *mine = next_object;
	void *volatile next = calloc(1, 16);

	(void)unused;
	next_object = next;
	crowd_wait(mine);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned long i;
	int chain = argc > 1 && !strcmp(argv[1], "chain");

	if (!count)
		return 2;
	sites = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	crowd_init(count, STACK);
	first_object = next_object = calloc(1, 16);
	for (i = 0; i < count; i++)
		crowd_go(chain ? link_in_chain : leak, (void *)i);
	next_object = NULL;
	puts("READY");
	fflush(stdout);
	sleep(600);
	return first_object == NULL;
}
