/* SPDX-License-Identifier: MIT */
/*
 * Ping-pong of two goroutines of minigo over two channels: what one wait costs an annotated
 * runtime. minigo COUNT prints nanoseconds a wait.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "minigo.h"

static struct chan *there;
static struct chan *back;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void answer(void *unused)
{
	bool ok;
	void *value;

	(void)unused;
	while (value = chan_receive(there, &ok), ok)
		chan_send(back, value);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 1000000;
	double start;
	long i;

	minigo_init();
	there = chan_make(0);
	back = chan_make(0);
	go(answer, NULL);
	start = now();
	for (i = 0; i < rounds; i++) {
		chan_send(there, there);
		chan_receive(back, NULL);
	}
	printf("%.2f\n", (now() - start) / (double)(2 * rounds));
	return 0;
}
