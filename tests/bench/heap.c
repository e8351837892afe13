/* SPDX-License-Identifier: MIT */
/*
 * heap pairs1 COUNT, pairs4 COUNT: nanoseconds of a malloc and free of a small block among others,
 * in one or four threads (each COUNT times). heap hold MIB: holds that much in linked blocks of 1
 * KiB, for the pause; prints READY and sleeps. heap leak COUNT: leaks that many State Threads
 * goroutines at one site, prints READY and sleeps. heap chain COUNT: each goroutine is reached only
 * through the one before it, the first by a global. heap threads COUNT: so many more OS threads
 * sleep. All that sleep write every page of what they hold again for each line of standard input,
 * and print READY again. heap write MIB: holds that much and writes one word of every page of it in
 * a second, in steps of a millisecond; prints for each such pass the milliseconds that the writes
 * took, and by how many the latest step was late.
 */
#include <pthread.h>
#include <st.h>
#include <stdint.h>
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
	for (i = 0; i < KEPT; i++)
		free(blocks[i]);
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

static void rewrite(void)
{
	void **block;
	uintptr_t page = 0;

	for (block = kept_alive; block; block = block[0]) {
		if ((uintptr_t)block >> 12 != page)
			block[1] = (char *)block[1] + 1;
		page = (uintptr_t)block >> 12;
	}
}

#define STEPS 1000

static void sleep_until(double time)
{
	const struct timespec when = {(time_t)(time / 1e9),
				      (long)(time - 1e9 * (time_t)(time / 1e9))};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL))
		;
}

/* One pass over COUNT blocks; a step that is late is not made up for. */
static void write_steadily(long count)
{
	void **block = kept_alive;
	double next = now();
	double busy = 0;
	double worst = 0;
	long step;

	for (step = 0; step < STEPS; step++) {
		long left = count / STEPS;
		double begin;
		double end;

		next += 1e6;
		sleep_until(next);
		begin = now();
		for (; left > 0 && block; left--) {
			block[1] = (char *)block[1] + 1;
			block = block[0];
		}
		end = now();
		busy += end - begin;
		worst = end - next > worst ? end - next : worst;
		next = end > next + 1e6 ? end : next;
	}
	printf("%.3f %.3f\n", busy / 1e6, worst / 1e6);
	fflush(stdout);
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
	if (!strcmp(argv[1], "hold") || !strcmp(argv[1], "write"))
		hold(count);
	else if (!strcmp(argv[1], "threads"))
		start_threads(count);
	else if (!strcmp(argv[1], "chain"))
		start_goroutines(wait_for_link, count);
	start_goroutines(wait_forever, !strcmp(argv[1], "leak") ? count : 1);
	st_usleep(0);
	next_cond = NULL;
	for (;;) {
		int c;

		puts("READY");
		fflush(stdout);
		while (!strcmp(argv[1], "write"))
			write_steadily(1024 * count);
		while ((c = getchar()) != '\n')
			if (c == EOF)
				st_sleep(600);
		rewrite();
	}
	return 0;
}
