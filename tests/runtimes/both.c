/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth in the main thread and State Threads in another, at once, each with a goroutine that is
 * leaked and one that is not. What a goroutine of one library waits on may be held by one of the
 * other: by a live one it is live, by a leaked one it is leaked.
 */
#include <pth.h>
#include <pthread.h>
#include <st.h>
#include <time.h>

#include "common.h"

struct sync {
	pth_mutex_t mutex;
	pth_cond_t cond;
};

static struct sync *volatile kept; /* by this global */
static struct sync *volatile of_sleeper;
static struct sync *volatile of_leaked;
static st_cond_t volatile of_pth_sleeper;
static volatile int built;

static struct sync *new_sync(void)
{
	struct sync *sync = calloc(1, sizeof(*sync));

	pth_mutex_init(&sync->mutex);
	pth_cond_init(&sync->cond);
	return sync;
}

static void wait_in_pth(struct sync *sync)
{
	pth_mutex_acquire(&sync->mutex, FALSE, NULL);
	pth_cond_await(&sync->cond, &sync->mutex, NULL);
}

static void *pth_leaked(void *sync)
{
	wait_in_pth(sync);
	return NULL;
}

static void *pth_kept(void *sync)
{
	wait_in_pth(sync);
	return NULL;
}

static void *pth_held_by_st_sleeper(void *sync)
{
	wait_in_pth(sync);
	return NULL;
}

static void *pth_held_by_st_leaked(void *sync)
{
	wait_in_pth(sync);
	return NULL;
}

static void *pth_sleeper(void *cond)
{
	void *volatile held = cond;

	pth_sleep(3600);
	return held;
}

static void *st_leaked(void *held)
{
	void *volatile also = held;

	st_cond_wait(st_cond_new());
	return also;
}

static void *st_sleeper(void *held)
{
	void *volatile also = held;

	st_sleep(3600);
	return also;
}

static void *st_held_by_pth_sleeper(void *cond)
{
	st_cond_wait(cond);
	return NULL;
}

/* --- Building --- */

static void *build_st(void *unused)
{
	st_thread_create(st_leaked, of_leaked, 0, 0);
	st_thread_create(st_sleeper, of_sleeper, 0, 0);
	of_leaked = of_sleeper = NULL;
	of_pth_sleeper = st_cond_new();
	st_thread_create(st_held_by_pth_sleeper, of_pth_sleeper, 0, 0);
	return unused;
}

static void *run_st(void *unused)
{
	int i;

	if (st_init())
		abort();
	st_thread_create(build_st, NULL, 0, 0);
	for (i = 0; i < 10; i++)
		st_usleep(0);
	scrub();
	built = 1;
	for (;;)
		st_sleep(3600);
	return unused;
}

static void start(void *(*function)(void *), void *argument)
{
	pth_attr_t attributes = pth_attr_new();

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, FALSE);
	pth_spawn(attributes, function, argument);
	pth_attr_destroy(attributes);
}

static void *build_pth(void *unused)
{
	kept = new_sync();
	of_sleeper = new_sync();
	of_leaked = new_sync();
	start(pth_leaked, new_sync());
	start(pth_kept, kept);
	start(pth_held_by_st_sleeper, of_sleeper);
	start(pth_held_by_st_leaked, of_leaked);
	return unused;
}

static void *take_st_cond(void *unused)
{
	start(pth_sleeper, (void *)of_pth_sleeper);
	of_pth_sleeper = NULL;
	return unused;
}

static void let_run(void)
{
	int i;

	for (i = 0; i < 10; i++)
		pth_yield(NULL);
	scrub();
}

int main(void)
{
	struct timespec moment = {0, 1000000};
	pthread_t thread;

	setvbuf(stdout, NULL, _IONBF, 0);
	pth_init();
	start(build_pth, NULL);
	let_run();
	pthread_create(&thread, NULL, run_st, NULL);
	while (!built)
		nanosleep(&moment, NULL);
	start(take_st_cond, NULL);
	let_run();
	puts("READY");
	return 0;
}
