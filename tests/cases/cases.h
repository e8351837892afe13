/* SPDX-License-Identifier: MIT */
/*
 * Leak cases over minigo. A case is a function that runs in a goroutine of its own, so that nothing
 * of it is left on a stack when it is over; what it leaks is written beside it, by entry function
 * and wait. With FIXED it does the same without the bug: nothing may be reported. Each runs in a
 * process of its own (main.c), with one OS thread and with four, so interleavings are forced by
 * channels and go_settle, never by luck.
 */
#ifndef CASES_H
#define CASES_H

#include <stdlib.h>
#include <string.h>

#include "minigo.h"

struct leak_case {
	const char *name;
	void (*run)(bool fixed);
	const char *leaks; /* "entry [wait] count; ...", "" for none */
	const char *go;	   /* what Go 1.27 reports for the same program, where that differs */
	bool main_parks; /* main waits for ever meanwhile, and another goroutine ends the process */
};

/* For a case that must leave something in a variable that nobody reads again. */
extern struct chan *cases_global_buffer;

/* One table a file, ended by a row without a name. */
extern const struct leak_case micro_cases[];
extern const struct leak_case stress_cases[];
extern const struct leak_case pattern_cases[];
extern const struct leak_case goker_cases[];
extern const struct leak_case race_cases[];
extern const struct leak_case semantic_cases[];

/* All others wait, and nothing will happen within 100 ms. */
static inline void settle(void)
{
	go_settle(100 * MILLISECOND);
}

static inline void *new_zero(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		abort();
	return memory;
}

#define NEW(type) ((type *)new_zero(sizeof(type)))
#define VALUE ((void *)1)

/* Reads until the channel is closed. */
static inline void drain(struct chan *chan)
{
	bool ok = true;

	while (ok)
		chan_receive(chan, &ok);
}

#endif
