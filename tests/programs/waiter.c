/* SPDX-License-Identifier: MIT */
/*
 * Leaks argv[1] goroutines, keeps one that a block of malloc alone refers to, and waits for the end
 * of standard input. Exits with 5.
 */
#include "common.h"
#include "runtime.h"

static gate_t *volatile kept;

static void *leaked_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *kept_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

/* It needs no memory of malloc to be leaked. */
static void *suspended_worker(void *unused)
{
#ifdef USE_ST
	st_usleep(ST_UTIME_NO_TIMEOUT);
#endif
	return unused;
}

static void *start(void *count)
{
	long i;

	spawn(suspended_worker, NULL);
	for (i = 0; i < (long)count; i++)
		spawn(leaked_worker, gate_new());
	kept = malloc(sizeof(*kept));
	*kept = gate_new();
	spawn(kept_worker, *kept);
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	unbuffer();
	runtime_init();
	spawn(start, (void *)(argc > 1 ? atol(argv[1]) : 1));
	for (i = 0; i < 20; i++)
		yield();
	scrub();
	puts("READY");
	read_byte(0);
	return 5;
}
