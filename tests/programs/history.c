/* SPDX-License-Identifier: MIT */
/*
 * history MODE: goroutines over leakprof.h that wait while snapshots are taken, on whatever a line
 * of standard input tells to do:
 *
 *     collect    takes a snapshot
 *     leak       one more goroutine waits for an object that nobody knows
 *     name       a word in a global variable leads to the object of the first
 *     run        the first one, to whose object a disguised pointer was kept, goes on and waits
 * again end        the first one ends
 *
 * Answers each line with "done". The goroutines are records only: they never have code of their
 * own.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leakprof.h"

#define STACK 4096
#define MAX 16

static const struct leakprof_kind kind = {
	.size = sizeof(kind), .rule = LEAKPROF_ANY, .name = "chan receive"};

/* What a goroutine's stack looks like from outside. */
struct stack {
	char unused[STACK];
	struct leakprof_wait wait;
	uintptr_t frame[4];
};

static struct leakprof_runtime *runtime;
static struct leakprof_goroutine *goroutines[MAX];
static uintptr_t disguised[MAX]; /* stacks */
static size_t count;
static void *volatile named;

static struct stack *stack_of(size_t i)
{
	return (struct stack *)~disguised[i];
}

static __attribute__((noinline)) void begin(struct leakprof_goroutine *goroutine,
					    struct stack *stack, void *object)
{
	leakprof_wait_begin(goroutine, &stack->wait, &kind, object, 0, 0);
	memset(stack->wait.registers, 0, sizeof(stack->wait.registers));
	stack->wait.frame = stack->frame;
}

static __attribute__((noinline)) void leak(void)
{
	struct leakprof_new info = {.size = sizeof(info)};
	struct stack *stack = calloc(1, sizeof(*stack));
	void *object = calloc(1, 64);

	if (!stack || !object || count == MAX)
		abort();
	info.stack = stack;
	info.stack_size = sizeof(*stack);
	info.entry = (const void *)(uintptr_t)leak;
	disguised[count] = ~(uintptr_t)stack;
	goroutines[count] = leakprof_created(runtime, &info);
	begin(goroutines[count], stack, object);
	leakprof_left(goroutines[count++], &stack->wait);
}

static __attribute__((noinline)) void run(void)
{
	struct stack *stack = stack_of(0);
	void *object = (void *)(uintptr_t)stack->wait.object;

	leakprof_ready(goroutines[0]);
	leakprof_entered(goroutines[0]);
	begin(goroutines[0], stack, object);
	leakprof_left(goroutines[0], &stack->wait);
}

static __attribute__((noinline)) void obey(const char *order)
{
	if (!strcmp(order, "collect\n"))
		leakprof_collect();
	else if (!strcmp(order, "leak\n"))
		leak();
	else if (!strcmp(order, "name\n"))
		named = (void *)(uintptr_t)stack_of(0)->wait.object;
	else if (!strcmp(order, "run\n"))
		run();
	else if (!strcmp(order, "end\n"))
		leakprof_finished(goroutines[0]);
}

/* Over what the calls before left below. */
static __attribute__((noinline)) void wipe(void)
{
	char below[8192];

	memset(below, 0, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory");
}

int main(void)
{
	static char output[256];
	static char input[4096];
	char line[64];

	setvbuf(stdout, output, _IOLBF, sizeof(output));
	setvbuf(stdin, input, _IOFBF, sizeof(input));
	runtime = leakprof_runtime("records");
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		wipe();
		obey(line);
		wipe();
		puts("done");
	}
	return 0;
}
