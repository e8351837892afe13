/* SPDX-License-Identifier: MIT */
/*
 * Goroutines of GNU Pth that run on another stack than their own (pth_uctx_make). Live: one that
 * sleeps there, and so keeps what that stack alone refers to; one that sleeps on its own stack, with
 * a user context left half-way whose stack refers to something; one that sleeps there, with what its
 * own stack refers to. Leaked: one that waits there for what nobody has. argv[1] is the case.
 */
#include "common.h"
#include "runtime.h"

#define STACK 65536

static void *kept_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

struct pair {
	pth_uctx_t own;
	pth_uctx_t other;
	gate_t gate;
};

static void on_other_stack(void *argument, void (*function)(void *), struct pair *pair)
{
	pair->gate = argument;
	if (!pth_uctx_create(&pair->own) || !pth_uctx_create(&pair->other) ||
	    !pth_uctx_make(pair->other, NULL, STACK, NULL, function, pair, pair->own))
		abort();
	pth_uctx_switch(pair->own, pair->other);
}

static gate_t take(struct pair *pair)
{
	gate_t gate = hide(pair->gate);

	pair->gate = NULL;
	return gate;
}

static void sleep_holding(void *argument)
{
	volatile gate_t held = take(argument);

	pth_sleep(HOUR);
	gate_open(held);
}

static void *sleeper_there(void *gate)
{
	struct pair pair;

	on_other_stack(gate, sleep_holding, &pair);
	return NULL;
}

static void come_back_holding(void *argument)
{
	struct pair *pair = argument;
	volatile gate_t held = take(pair);

	pth_uctx_switch(pair->other, pair->own);
	gate_open(held);
}

static void *sleeper_here(void *gate)
{
	struct pair pair;

	on_other_stack(gate, come_back_holding, &pair);
	pth_sleep(HOUR);
	return NULL;
}

static void sleep_with_nothing(void *argument)
{
	take(argument);
	pth_sleep(HOUR);
}

static void *sleeper_with_two(void *gate)
{
	volatile gate_t held = gate;
	struct pair pair;

	on_other_stack(NULL, sleep_with_nothing, &pair);
	gate_open(held);
	return NULL;
}

static void wait_there(void *argument)
{
	gate_wait(take(argument));
}

static void *waiter_there(void *gate)
{
	struct pair pair;

	on_other_stack(gate, wait_there, &pair);
	return NULL;
}

static void with_waiter(void *(*sleeper)(void *))
{
	gate_t gate = gate_new();

	spawn(kept_worker, gate);
	spawn(sleeper, gate);
}

static void live_there(void)
{
	with_waiter(sleeper_there);
}

static void live_here(void)
{
	with_waiter(sleeper_here);
}

static void live_with_two(void)
{
	with_waiter(sleeper_with_two);
}

static void leak_there(void)
{
	spawn(waiter_there, gate_new());
}

static const struct test_case cases[] = {
	{"live_there", live_there},
	{"live_here", live_here},
	{"live_with_two", live_with_two},
	{"leak_there", leak_there},
};

static void *run_case(void *argument)
{
	((const struct test_case *)argument)->run();
	return NULL;
}

int main(int argc, char **argv)
{
	const struct test_case *test =
		find_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
	int i;

	puts("READY");
	runtime_init();
	spawn(run_case, (void *)test);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	return 0;
}
