/* SPDX-License-Identifier: MIT */
/*
 * st_history: as history, with State Threads: a worker waits at a condition that only a disguised
 * pointer leads to, so that it is taken for leaked. What standard input tells to do:
 *
 *     collect    takes a snapshot
 *     run        the worker goes on, and waits again in the same place
 *     name       a word in a global variable leads to the condition
 *     end        the worker ends
 *
 * Answers each line with "done", and the last with how many callbacks at switches it had.
 */
#include <st.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "leakprof.h"

static uintptr_t disguised;
static void *volatile named;
static volatile int last;
static int switches;

static void on_switch(void)
{
	switches++;
}

static void *work(void *cond)
{
	while (!last)
		st_cond_wait(cond);
	return NULL;
}

static __attribute__((noinline)) void make_worker(void)
{
	st_cond_t cond = st_cond_new();

	disguised = ~(uintptr_t)cond;
	st_thread_create(work, cond, 0, 0);
}

static __attribute__((noinline)) void obey(const char *order)
{
	last = !strcmp(order, "end\n");
	if (!strcmp(order, "collect\n"))
		leakprof_collect();
	else if (!strcmp(order, "name\n"))
		named = (void *)~disguised;
	else
		st_cond_signal((st_cond_t)~disguised);
}

/* Over what the calls before left below. */
static __attribute__((noinline)) void wipe(void)
{
	char below[8192];

	memset(below, 0, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory");
}

static void let_run(void)
{
	int i;

	for (i = 0; i < 3; i++)
		st_usleep(0);
}

int main(void)
{
	static char output[256];
	static char input[4096];
	char line[64];

	setvbuf(stdout, output, _IOLBF, sizeof(output));
	setvbuf(stdin, input, _IOFBF, sizeof(input));
	if (st_init())
		return 1;
	st_set_switch_in_cb(on_switch);
	make_worker();
	let_run();
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		wipe();
		obey(line);
		let_run();
		wipe();
		puts("done");
	}
	printf("%d\n", switches);
	return st_set_switch_in_cb(NULL) != on_switch;
}
