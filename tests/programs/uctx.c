/* SPDX-License-Identifier: MIT */
/*
 * Goroutines of GNU Pth that run on another stack than their own (pth_uctx_make). Live: one that
 * sleeps there, and so keeps what that stack alone refers to; one that sleeps on its own stack,
 * with a user context left half-way whose stack refers to something; one that sleeps there, with
 * what its own stack refers to. Leaked: one that waits there for what nobody has. argv[1] is the
 * case.
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
};

/* What the next goroutine is given: not as its argument, which it would keep. */
static gate_t volatile handed;

static gate_t take(void)
{
	gate_t gate = hide(handed);

	handed = NULL;
	return gate;
}

static void on_other_stack(void (*function)(void *), struct pair *pair)
{
	if (!pth_uctx_create(&pair->own) || !pth_uctx_create(&pair->other) ||
	    !pth_uctx_make(pair->other, NULL, STACK, NULL, function, pair, pair->own))
		abort();
	scrub();
	pth_uctx_switch(pair->own, pair->other);
}

static void sleep_holding(void *argument)
{
	volatile gate_t held = take();

	/* As in a function that uses them all: none refers to what the caller has. */
	__asm__ volatile("xor %%ebx, %%ebx; xor %%r12d, %%r12d; xor %%r13d, %%r13d;"
			 "xor %%r14d, %%r14d; xor %%r15d, %%r15d"
			 :
			 :
			 : "rbx", "r12", "r13", "r14", "r15");
	pth_sleep(HOUR);
	gate_open(held);
	(void)argument;
}

static void *sleeper_there(void *unused)
{
	struct pair pair;

	on_other_stack(sleep_holding, &pair);
	return unused;
}

static void come_back_holding(void *argument)
{
	struct pair *pair = argument;
	volatile gate_t held = take();

	pth_uctx_switch(pair->other, pair->own);
	gate_open(held);
}

static void *sleeper_here(void *unused)
{
	struct pair pair;

	on_other_stack(come_back_holding, &pair);
	pth_sleep(HOUR);
	return unused;
}

/* Nothing on its own stack leads to the other one. */
static void *sleeper_lost(void *unused)
{
	on_other_stack(sleep_holding, calloc(1, sizeof(struct pair)));
	return unused;
}

static void sleep_with_nothing(void *argument)
{
	pth_sleep(HOUR);
	(void)argument;
}

static void *sleeper_with_two(void *unused)
{
	volatile gate_t held = take();
	struct pair pair;

	on_other_stack(sleep_with_nothing, &pair);
	gate_open(held);
	return unused;
}

static void wait_there(void *argument)
{
	(void)argument;
	gate_wait(take());
}

static void *waiter_there(void *unused)
{
	struct pair pair;

	on_other_stack(wait_there, &pair);
	return unused;
}

static void do_nothing(void *unused)
{
	(void)unused;
}

/* The library remembers the last context that was made. */
static void *come_and_go(void *unused)
{
	struct pair pair;

	on_other_stack(do_nothing, &pair);
	pth_uctx_destroy(pair.other);
	pth_uctx_destroy(pair.own);
	return unused;
}

static void with_waiter(void *(*sleeper)(void *))
{
	handed = gate_new();
	spawn(kept_worker, handed);
	spawn(sleeper, NULL);
	yield();
	yield();
}

static void live_there(void)
{
	with_waiter(sleeper_there);
}

static void live_lost(void)
{
	with_waiter(sleeper_lost);
	spawn(come_and_go, NULL);
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
	handed = gate_new();
	spawn(waiter_there, NULL);
	yield();
	yield();
	spawn(come_and_go, NULL);
}

static const struct test_case cases[] = {
	{"live_there", live_there},	  {"live_lost", live_lost},   {"live_here", live_here},
	{"live_with_two", live_with_two}, {"leak_there", leak_there},
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

	unbuffer();
	runtime_init();
	spawn(run_case, (void *)test);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	return 0;
}
