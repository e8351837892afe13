/* SPDX-License-Identifier: MIT */
/*
 * What one wait costs an annotated runtime, or one goroutine: two goroutines of minigo take turns,
 * or one starts others that end at once.
 *
 *     minigo_switch chan|select|cond|mutex|spawn COUNT
 *
 * prints nanoseconds a wait, or a goroutine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "minigo.h"

#define CASES 8

static long rounds;
static struct chan *there[CASES];
static struct chan *back;
static struct mutex mutex;
static struct cond conds[2];
static struct wait_group ended;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void chan_answer(void *unused)
{
	bool ok;
	void *value;

	(void)unused;
	while (value = chan_receive(there[0], &ok), ok)
		chan_send(back, value);
}

static void chan_play(void)
{
	long i;

	for (i = 0; i < rounds; i++) {
		chan_send(there[0], back);
		chan_receive(back, NULL);
	}
}

static void select_answer(void *unused)
{
	struct chan_case cases[CASES] = {0};
	long i;

	(void)unused;
	for (;;) {
		size_t chosen;

		for (i = 0; i < CASES; i++)
			cases[i].chan = there[i];
		chosen = chan_select(cases, CASES);
		chan_send(back, cases[chosen].value);
	}
}

static void select_play(void)
{
	long i;

	for (i = 0; i < rounds; i++) {
		chan_send(there[i % CASES], back);
		chan_receive(back, NULL);
	}
}

static void cond_turns(long me)
{
	long i;

	mutex_lock(&mutex);
	for (i = 0; i < rounds; i++) {
		cond_signal(&conds[!me]);
		cond_wait(&conds[me], &mutex);
	}
	cond_signal(&conds[!me]);
	mutex_unlock(&mutex);
}

static void cond_answer(void *unused)
{
	(void)unused;
	cond_turns(1);
}

static void cond_play(void)
{
	cond_turns(0);
}

/* Whoever unlocks hands the mutex to the other, so that every lock waits. */
static void mutex_answer(void *unused)
{
	long i;

	(void)unused;
	for (i = 0; i < rounds; i++) {
		mutex_lock(&mutex);
		if (!i)
			go_yield(); /* the other comes to its lock */
		mutex_unlock(&mutex);
	}
}

static void mutex_play(void)
{
	mutex_answer(NULL);
}

static void end(void *unused)
{
	(void)unused;
	wait_group_done(&ended);
}

static void spawn_play(void)
{
	long i;

	for (i = 0; i < 2 * rounds; i++) {
		wait_group_add(&ended, 1);
		go(end, NULL);
		wait_group_wait(&ended);
	}
}

static const struct {
	const char *name;
	void (*answer)(void *);
	void (*play)(void);
} cases[] = {
	{"chan", chan_answer, chan_play}, {"select", select_answer, select_play},
	{"cond", cond_answer, cond_play}, {"mutex", mutex_answer, mutex_play},
	{"spawn", NULL, spawn_play},
};

int main(int argc, char **argv)
{
	size_t i;
	double start;

	if (argc != 3)
		return 2;
	rounds = atol(argv[2]) / 2;
	minigo_init();
	for (i = 0; i < CASES; i++)
		there[i] = chan_make(0);
	back = chan_make(0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name))
			continue;
		if (cases[i].answer)
			go(cases[i].answer, NULL);
		start = now();
		cases[i].play();
		printf("%.2f\n", (now() - start) / (double)(2 * rounds));
		return 0;
	}
	return 2;
}
