/* SPDX-License-Identifier: MIT */
/*
 * Leaks one goroutine three calls deep and one inside an inlined function. Built with many flags:
 * what is tested is what the profile says of the frames, so the functions are exported and keep
 * their shape at every optimization. The test finds the lines by their comments.
 */
#include "common.h"
#include "runtime.h"

#define SHOWN __attribute__((noinline, used))

void wait_deep(gate_t gate);
void go_deeper(gate_t gate);
void *deep_worker(void *gate);
void *inline_worker(void *gate);

static volatile int returned;

SHOWN void wait_deep(gate_t gate)
{
	gate_wait(gate); /* line: wait_deep */
	returned++;
}

SHOWN void go_deeper(gate_t gate)
{
	wait_deep(gate); /* line: go_deeper */
	returned++;
}

SHOWN void *deep_worker(void *gate)
{
	go_deeper(gate); /* line: deep_worker */
	returned++;
	return NULL;
}

static inline __attribute__((always_inline)) void wait_inlined(gate_t gate)
{
	st_cond_wait(gate); /* line: wait_inlined */
	returned++;
}

SHOWN void *inline_worker(void *gate)
{
	wait_inlined(gate); /* line: inline_worker */
	returned++;
	return NULL;
}

static void *start(void *unused)
{
	spawn(deep_worker, gate_new());
	spawn(inline_worker, gate_new());
	return unused;
}

int main(void)
{
	int i;

	unbuffer();
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	return 0;
}
