/* SPDX-License-Identifier: MIT */
/*
 * A library that opener.c opens while it runs: its goroutine leaks in its own code.
 */
#include "runtime.h"

void plugin_start(void);
void *plugin_worker(void *gate);

static volatile int returned;

__attribute__((noinline, used)) void *plugin_worker(void *gate)
{
	st_cond_wait(gate); /* line: plugin_worker */
	returned++;
	return NULL;
}

static void *start(void *unused)
{
	spawn(plugin_worker, gate_new());
	return unused;
}

void plugin_start(void)
{
	spawn(start, NULL);
}
