/* SPDX-License-Identifier: MIT */
/*
 * A goroutine in each state there is, with one OS thread. Alone: says READY and runs in spin until
 * a byte comes on standard input. With "stats": prints what leakprof_stats says.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "leakprof.h"
#include "minigo.h"

static struct chan *for_main;
static int ends[2];

__attribute__((noinline)) static void yields(void)
{
	go_yield();
	__asm__ volatile("");
}

static void spins_a_little(void *unused)
{
	(void)unused;
	for (;;)
		yields();
}

static void never_ran(void *unused)
{
	(void)unused;
}

static void reads(void *unused)
{
	char byte;

	(void)unused;
	go_read(ends[0], &byte, 1);
}

static void sleeps(void *unused)
{
	(void)unused;
	go_sleep(1000 * SECOND);
}

static void waits_for_main(void *unused)
{
	(void)unused;
	chan_receive(for_main, NULL);
}

static void is_leaked(void *unused)
{
	(void)unused;
	chan_receive(chan_make(0), NULL);
}

__attribute__((noinline)) static void spin(void)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};

	while (poll(&input, 1, 0) <= 0)
		;
}

static int print_stats(void)
{
	struct leakprof_stats stats = {.size = sizeof(stats)};
	/* As a program that was built when there was less. */
	struct leakprof_stats small = {.size = offsetof(struct leakprof_stats, running),
				       .running = 77};
	int r = leakprof_stats(&stats);
	unsigned i;

	if (r) {
		printf("none %d\n", r);
		return 0;
	}
	printf("version %u\nrunning %lu\nrunnable %lu\nwaiting %lu\nio %lu\nsleeping %lu\n",
	       stats.version, stats.running, stats.runnable, stats.waiting, stats.io,
	       stats.sleeping);
	printf("created %lu\nfinished %lu\nsnapshots %lu\nleaked %lu\n", stats.created,
	       stats.finished, stats.snapshots, stats.leaked);
	for (i = 0; i < stats.kind_count; i++)
		printf("kind %s %lu\n", stats.kinds[i].name, stats.kinds[i].count);
	r = leakprof_stats(&small);
	printf("short %d\n", r || small.size >= sizeof(stats) || small.running != 77 ||
				     small.created != stats.created);
	return 0;
}

/* Until a snapshot that was begun has said what it found. */
static void wait_for_snapshot(void)
{
	struct leakprof_stats stats = {.size = sizeof(stats)};

	do
		usleep(1000);
	while (!leakprof_stats(&stats) && !stats.snapshot_ns);
}

int main(int argc, char **argv)
{
	static void (*const functions[])(void *) = {reads, sleeps, waits_for_main, is_leaked,
						    spins_a_little};
	size_t i;

	setvbuf(stdout, NULL, _IONBF, 0);
	minigo_init();
	if (pipe(ends))
		return 1;
	for_main = chan_make(0);
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		go(functions[i], NULL);
	go_yield();
	go(never_ran, NULL);
	if (argc > 1 && !strcmp(argv[1], "stats")) {
		if (!leakprof_collect())
			wait_for_snapshot();
		return print_stats();
	}
	puts("READY");
	spin();
	return 0;
}
