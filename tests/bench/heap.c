/* SPDX-License-Identifier: MIT */
/*
 * heap pairs1 COUNT, pairs4 COUNT: nanoseconds of a malloc and free of a small block among others,
 * in one or four threads (each COUNT times). heap hold MIB: holds that much in linked blocks of 1
 * KiB, for the pause; prints READY and sleeps. heap leak COUNT: leaks that many State Threads
 * goroutines at one site, prints READY and sleeps. heap chain COUNT: each goroutine is reached only
 * through the one before it, the first by a global. heap threads COUNT: so many more OS threads
 * sleep.
 */
#include <pthread.h>
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEPT 1024
#define STACK 16384

static void **kept_alive;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void *allocate(void *argument)
{
	void *blocks[KEPT] = {0};
	unsigned seed = 1;
	long count = (long)argument;
	long i;

	for (i = 0; i < count; i++) {
		unsigned slot;

		seed = seed * 1103515245 + 12345;
		slot = seed >> 16 & (KEPT - 1);
		free(blocks[slot]);
		blocks[slot] = malloc((seed >> 8 & 255) + 8);
	}
	return NULL;
}

static void pairs(int threads, long count)
{
	pthread_t started[8];
	double start = now();
	int i;

	for (i = 1; i < threads; i++)
		if (pthread_create(&started[i], NULL, allocate, (void *)count))
			abort();
	allocate((void *)count);
	for (i = 1; i < threads; i++)
		pthread_join(started[i], NULL);
	printf("%.2f\n", (now() - start) / (double)count);
}

static void hold(long mebibytes)
{
	long i;

	for (i = 0; i < mebibytes * 1024; i++) {
		void **block = malloc(1008);

		memset(block, 0, 1008);
		block[0] = kept_alive;
		kept_alive = block;
	}
}

static void *wait_forever(void *argument)
{
	st_cond_wait(st_cond_new());
	return argument;
}

static st_cond_t first_cond;
static st_cond_t next_cond; /* what the link that starts next waits for */

static void *wait_for_link(void *argument)
{
	st_cond_t mine = next_cond;
	st_cond_t volatile next = st_cond_new();

	next_cond = next;
	st_cond_wait(mine);
	st_cond_signal(next);
	return argument;
}

static void *sleep_long(void *argument)
{
	sleep(600);
	return argument;
}

static void start_goroutines(void *(*function)(void *), long count)
{
	while (count-- > 0) {
		if (!st_thread_create(function, NULL, 0, STACK))
			abort();
		if (function == wait_for_link)
			st_usleep(0);
	}
}

static void start_threads(long count)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1 << 16);
	while (count-- > 0)
		if (pthread_create(&thread, &attributes, sleep_long, NULL))
			abort();
}

int main(int argc, char **argv)
{
	long count = argc > 2 ? atol(argv[2]) : 0;

	if (argc != 3)
		return 2;
	if (!strncmp(argv[1], "pairs", 5)) {
		pairs(atoi(argv[1] + 5), count);
		return 0;
	}
	st_init();
	first_cond = next_cond = st_cond_new();
	if (!strcmp(argv[1], "hold"))
		hold(count);
	else if (!strcmp(argv[1], "threads"))
		start_threads(count);
	else if (!strcmp(argv[1], "chain"))
		start_goroutines(wait_for_link, count);
	start_goroutines(wait_forever, !strcmp(argv[1], "leak") ? count : 1);
	st_usleep(0);
	next_cond = NULL;
	puts("READY");
	fflush(stdout);
	st_sleep(600);
	return 0;
}
