/* SPDX-License-Identifier: MIT */
/*
 * State Threads in one OS thread, eight plain ones beside it that allocate, sleep and wait in every
 * way that a signal could interrupt. Runs for argv[1] seconds; prints what it saw: no call may fail
 * with EINTR, no sleep be short, no child be seen but its own.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <st.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_int interrupted;
static atomic_int short_sleeps;
static atomic_int child_signals;
static atomic_int stop;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The program's own signal may interrupt the main thread only. */
static void block(int number)
{
	sigset_t set;

	sigemptyset(&set);
	if (number)
		sigaddset(&set, number);
	else
		sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void check(int result, double start, double seconds)
{
	interrupted += result < 0 && errno == EINTR;
	short_sleeps += now() - start < seconds - 0.0005;
}

static void *allocate(void *argument)
{
	void *blocks[64] = {0};
	unsigned seed = 1;

	block(argument ? 0 : SIGCHLD);
	while (!stop) {
		unsigned i;

		seed = seed * 1103515245 + 12345;
		i = seed >> 16 & 63;
		if (seed >> 24 & 1) {
			blocks[i] = realloc(blocks[i], (seed >> 8 & 0xfff) + 1);
		} else {
			free(blocks[i]);
			blocks[i] = malloc(seed >> 10 & 0xffff);
		}
	}
	return NULL;
}

static void *wait_epoll(void *argument)
{
	struct epoll_event event;
	int epoll = epoll_create1(0);

	(void)argument;
	block(SIGCHLD);
	while (!stop) {
		double start = now();

		check(epoll_wait(epoll, &event, 1, 50), start, 0.05);
	}
	return NULL;
}

static void *wait_epoll_forever(void *argument)
{
	struct epoll_event event;
	int result;

	(void)argument;
	block(SIGCHLD);
	result = epoll_wait(epoll_create1(0), &event, 1, -1);
	interrupted += result < 0;
	return NULL;
}

static void *sleep_all_ways(void *argument)
{
	(void)argument;
	block(SIGCHLD);
	while (!stop) {
		struct timespec request = {0, 30000000};
		struct timeval timeout = {0, 20000};
		double start = now();

		check(nanosleep(&request, NULL), start, 0.03);
		start = now();
		check(usleep(10000), start, 0.01);
		start = now();
		check(poll(NULL, 0, 20), start, 0.02);
		start = now();
		check(select(0, NULL, NULL, NULL, &timeout), start, 0.02);
	}
	return NULL;
}

static void *read_pipe(void *argument)
{
	int ends[2];
	char byte;

	(void)argument;
	block(SIGCHLD);
	interrupted += pipe(ends) || read(ends[0], &byte, 1) < 0;
	return NULL;
}

static void on_child(int number)
{
	(void)number;
	child_signals++;
}

static int reap(int flags)
{
	int seen = 0;

	while (waitpid(-1, NULL, flags) > 0)
		seen++;
	return seen;
}

int main(int argc, char **argv)
{
	void *(*const threads[])(void *) = {allocate,		allocate,	wait_epoll,
					    wait_epoll_forever, sleep_all_ways, sleep_all_ways,
					    read_pipe,		allocate};
	double end = now() + (argc > 1 ? atof(argv[1]) : 1);
	pthread_t thread;
	int children = 0;
	int seen = 0;
	long rounds = 0;
	size_t i;

	st_init();
	signal(SIGCHLD, on_child);
	for (i = 0; i < 8; i++)
		pthread_create(&thread, NULL, threads[i], i == 7 ? &thread : NULL);
	printf("READY\n");
	fflush(stdout);
	while (now() < end) {
		st_usleep(5000);
		if (++rounds % 20 == 0) {
			pid_t child = fork();

			if (!child)
				_exit(0);
			children++;
		}
		seen += reap(WNOHANG);
	}
	stop = 1;
	st_usleep(100000);
	seen += reap(0);
	printf("interrupted=%d short=%d strange_children=%d\n", interrupted, short_sleeps,
	       seen - children);
	return interrupted || short_sleeps || seen != children;
}
