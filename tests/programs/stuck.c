/* SPDX-License-Identifier: MIT */
/*
 * stuck NAME=COUNT...: so many goroutines of each kind over minigo, then the process ends while
 * they and main wait.
 *
 *     workers    wait for a channel in a global variable: live, with one of three labels each
 *     late       the same in another function
 *     sleepers   sleep for an hour
 *     readers    wait for I/O
 *     leaks      wait for a channel that nobody knows
 *     twins      the same, created in pairs in one line, which a profile cannot tell apart
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static const struct leakprof_label shards[] = {{"shard", "0"}, {"shard", "1"}, {"shard", "2"}};

static struct chan *jobs;
static struct chan *end;
static int pipes[2];

static void worker(void *label)
{
	leakprof_labels(go_self()->profile, label, 1);
	chan_receive(jobs, NULL);
}

static void late_worker(void *unused)
{
	(void)unused;
	chan_receive(jobs, NULL);
}

static void sleeper(void *unused)
{
	(void)unused;
	go_sleep(3600 * SECOND);
}

static void reader(void *unused)
{
	char byte;

	(void)unused;
	go_read(pipes[0], &byte, 1);
}

static void leak(void *unused)
{
	(void)unused;
	chan_receive(chan_make(0), NULL);
}

static void start_worker(long i)
{
	go(worker, (void *)&shards[i % 3]);
}

static void start_late(long i)
{
	(void)i;
	go(late_worker, NULL);
}

static void start_sleeper(long i)
{
	(void)i;
	go(sleeper, NULL);
}

static void start_reader(long i)
{
	(void)i;
	go(reader, NULL);
}

static void start_leak(long i)
{
	(void)i;
	go(leak, NULL);
}

/* clang-format off */
static void start_twins(long i)
{
	if (i % 2) { go(leak, NULL); } else { go(leak, NULL); }
}
/* clang-format on */

static const struct {
	const char *name;
	void (*start)(long i);
} kinds[] = {{"workers", start_worker}, {"late", start_late},  {"sleepers", start_sleeper},
	     {"readers", start_reader}, {"leaks", start_leak}, {"twins", start_twins}};

static void start(const char *text)
{
	const char *value = strchr(text, '=');
	size_t length = value ? (size_t)(value - text) : 0;
	size_t k;
	long i;

	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		if (length == strlen(kinds[k].name) && !memcmp(text, kinds[k].name, length))
			for (i = 0; i < atol(value + 1); i++)
				kinds[k].start(i);
}

static void finish(void *unused)
{
	(void)unused;
	go_settle(100 * MILLISECOND);
	exit(0);
}

int main(int argc, char **argv)
{
	int i;

	if (pipe(pipes))
		return 1;
	minigo_init();
	jobs = chan_make(0);
	end = chan_make(0);
	for (i = 1; i < argc; i++)
		start(argv[i]);
	go(finish, NULL);
	chan_receive(end, NULL);
	return 0;
}
