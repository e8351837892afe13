/* SPDX-License-Identifier: MIT */
/*
 * What one wait costs, or one goroutine: two goroutines of State Threads or GNU Pth take turns over
 * conditions, a mutex or message ports, or one starts others that end at once.
 *
 *     switch st cond|mutex|spawn COUNT
 *     switch pth cond|mutex|port|spawn COUNT
 *
 * prints nanoseconds a wait, or a goroutine.
 */
#include <pth.h>
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long rounds;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* --- State Threads --- */

static st_cond_t st_conds[2];
static st_mutex_t st_mutex;

static void *st_cond_play(void *argument)
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

/* Whoever unlocks hands the mutex to the other, so that every lock waits. */
static void *st_mutex_play(void *argument)
{
	long i;

	for (i = 0; i < rounds; i++) {
		st_mutex_lock(st_mutex);
		if (!i && !argument)
			st_usleep(0); /* the other comes to its lock */
		st_mutex_unlock(st_mutex);
	}
	return NULL;
}

static void *st_end(void *argument)
{
	return argument;
}

static void *st_spawn(void *argument)
{
	long i;

	for (i = 0; i < 2 * rounds; i++)
		st_thread_join(st_thread_create(st_end, NULL, 1, 16384), NULL);
	return argument;
}

static double with_st(void *(*play)(void *))
{
	st_thread_t other = NULL;
	double start;

	st_init();
	st_conds[0] = st_cond_new();
	st_conds[1] = st_cond_new();
	st_mutex = st_mutex_new();
	if (play != st_spawn)
		other = st_thread_create(play, (void *)1, 1, 0);
	start = now();
	play((void *)0);
	if (other)
		st_thread_join(other, NULL);
	return now() - start;
}

/* --- GNU Pth --- */

static pth_mutex_t mutex = PTH_MUTEX_INIT;
static pth_cond_t pth_conds[2] = {PTH_COND_INIT, PTH_COND_INIT};
static pth_msgport_t ports[2];
static int turn;

static void *pth_cond_play(void *argument)
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

static void *pth_mutex_play(void *argument)
{
	long i;

	for (i = 0; i < rounds; i++) {
		pth_mutex_acquire(&mutex, FALSE, NULL);
		pth_yield(NULL); /* the other comes to wait */
		pth_mutex_release(&mutex);
		pth_yield(NULL);
	}
	return argument;
}

static void *pth_port_play(void *argument)
{
	long me = (long)argument;
	pth_message_t message = {0};
	pth_event_t event = pth_event(PTH_EVENT_MSG, ports[me]);
	long i;

	for (i = 0; i < rounds; i++) {
		pth_msgport_put(ports[!me], &message);
		pth_wait(event);
		pth_msgport_get(ports[me]);
	}
	pth_event_free(event, PTH_FREE_THIS);
	return NULL;
}

static void *pth_end(void *argument)
{
	return argument;
}

static void *pth_spawn_all(void *argument)
{
	long i;

	for (i = 0; i < 2 * rounds; i++)
		pth_join(pth_spawn(PTH_ATTR_DEFAULT, pth_end, NULL), NULL);
	return argument;
}

static double with_pth(void *(*play)(void *))
{
	pth_t other = NULL;
	double start;

	pth_init();
	ports[0] = pth_msgport_create("0");
	ports[1] = pth_msgport_create("1");
	if (play != pth_spawn_all)
		other = pth_spawn(PTH_ATTR_DEFAULT, play, (void *)1);
	start = now();
	play((void *)0);
	if (other)
		pth_join(other, NULL);
	return now() - start;
}

static const struct {
	const char *runtime;
	const char *name;
	double (*with)(void *(*play)(void *));
	void *(*play)(void *);
} cases[] = {
	{"st", "cond", with_st, st_cond_play},	    {"st", "mutex", with_st, st_mutex_play},
	{"st", "spawn", with_st, st_spawn},	    {"pth", "cond", with_pth, pth_cond_play},
	{"pth", "mutex", with_pth, pth_mutex_play}, {"pth", "port", with_pth, pth_port_play},
	{"pth", "spawn", with_pth, pth_spawn_all},
};

int main(int argc, char **argv)
{
	size_t i;

	if (argc != 4)
		return 2;
	rounds = atol(argv[3]) / 2;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].runtime) || strcmp(argv[2], cases[i].name))
			continue;
		printf("%.2f\n", cases[i].with(cases[i].play) / (double)(2 * rounds));
		return 0;
	}
	return 2;
}
