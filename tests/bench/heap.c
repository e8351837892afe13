/* SPDX-License-Identifier: MIT */
/*
 * heap pairs COUNT: nanoseconds of a malloc and free of a small block among others.
 * heap hold MIB: holds that much in linked blocks of 1 KiB, for the pause; prints READY and sleeps.
 * heap leak COUNT: leaks that many State Threads goroutines at one site, prints READY and sleeps.
 */
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEPT 1024

static void **kept_alive;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void pairs(long count)
{
	static void *blocks[KEPT];
	unsigned seed = 1;
	double start = now();
	long i;

	for (i = 0; i < count; i++) {
		unsigned slot;

		seed = seed * 1103515245 + 12345;
		slot = seed >> 16 & (KEPT - 1);
		free(blocks[slot]);
		blocks[slot] = malloc((seed >> 8 & 255) + 8);
	}
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

int main(int argc, char **argv)
{
	long count = argc > 2 ? atol(argv[2]) : 0;
	long i;

	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "pairs")) {
		pairs(count);
		return 0;
	}
	st_init();
	if (!strcmp(argv[1], "hold"))
		hold(count);
	for (i = 0; i < (*argv[1] == 'l' ? count : 1); i++)
		if (!st_thread_create(wait_forever, NULL, 0, 16384))
			return 1;
	st_usleep(0);
	puts("READY");
	fflush(stdout);
	st_sleep(600);
	return 0;
}
