/* SPDX-License-Identifier: MIT */
/*
 * Ping-pong of two goroutines over conditions: what one wait costs. switch RUNTIME COUNT prints
 * nanoseconds a wait.
 */
#include <pth.h>
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long rounds;
static st_cond_t st_conds[2];
static pth_mutex_t mutex = PTH_MUTEX_INIT;
static pth_cond_t pth_conds[2] = {PTH_COND_INIT, PTH_COND_INIT};
static int turn;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void *st_play(void *argument)
{
	long me = (long)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		st_cond_signal(st_conds[!me]);
		st_cond_wait(st_conds[me]);
	}
	st_cond_signal(st_conds[!me]);
	return NULL;
}

static void *pth_play(void *argument)
{
	long me = (long)argument;
	long i;

	pth_mutex_acquire(&mutex, FALSE, NULL);
	for (i = 0; i < rounds; i++) {
		while (turn != me)
			pth_cond_await(&pth_conds[me], &mutex, NULL);
		turn = !me;
		pth_cond_notify(&pth_conds[!me], FALSE);
	}
	pth_mutex_release(&mutex);
	return NULL;
}

int main(int argc, char **argv)
{
	double start;

	if (argc != 3)
		return 2;
	rounds = atol(argv[2]);
	if (!strcmp(argv[1], "st")) {
		st_thread_t other;

		st_init();
		st_conds[0] = st_cond_new();
		st_conds[1] = st_cond_new();
		other = st_thread_create(st_play, (void *)1, 1, 0);
		start = now();
		st_play((void *)0);
		st_thread_join(other, NULL);
	} else {
		pth_t other;

		pth_init();
		other = pth_spawn(PTH_ATTR_DEFAULT, pth_play, (void *)1);
		start = now();
		pth_play((void *)0);
		pth_join(other, NULL);
	}
	printf("%.2f\n", (now() - start) / (double)(2 * rounds));
	return 0;
}
