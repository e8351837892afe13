/* SPDX-License-Identifier: MIT */
/*
 * State Threads: one case for each way to wait, leaked and live. As pth.c: each case runs in a
 * goroutine that ends before the program exits, and the program wakes nobody by handle (st_wakes.c
 * does).
 */
#include <st.h>

#include "common.h"

static void *volatile keeper;

static void spawn(void *(*start)(void *), void *argument)
{
	if (!st_thread_create(start, argument, 0, 0))
		abort();
}

static void *wait_cond(void *argument)
{
	st_cond_wait(argument);
	return NULL;
}

static void *wait_timed(void *argument)
{
	st_cond_timedwait(argument, 3600000000ull);
	return NULL;
}

static void *wait_mutex(void *argument)
{
	st_mutex_lock(argument);
	return NULL;
}

static void *wait_join(void *argument)
{
	st_thread_join(argument, NULL);
	return NULL;
}

static void *wait_forever(void *argument)
{
	st_usleep(ST_UTIME_NO_TIMEOUT);
	return argument;
}

static void *sleep_long(void *argument)
{
	void *volatile held = argument;

	st_sleep(3600);
	return held;
}

static void leak_cond(void)
{
	spawn(wait_cond, st_cond_new());
}

static void live_cond_global(void)
{
	keeper = st_cond_new();
	spawn(wait_cond, keeper);
}

static void live_timed(void)
{
	spawn(wait_timed, st_cond_new());
}

static void *hold_and_end(void *argument)
{
	st_mutex_lock(argument);
	return NULL;
}

static void leak_mutex_of_ended(void)
{
	keeper = st_mutex_new();
	/* Both exist before the first runs: otherwise the second gets its stack, and so its
	 * identity as owner. */
	spawn(hold_and_end, keeper);
	spawn(wait_mutex, keeper);
}

static void *hold_and_leak(void *argument)
{
	st_mutex_lock(argument);
	st_cond_wait(st_cond_new());
	return NULL;
}

static void leak_mutex_of_leaked(void)
{
	keeper = st_mutex_new();
	spawn(hold_and_leak, keeper);
	st_usleep(0);
	spawn(wait_mutex, keeper);
}

static void *hold_and_sleep(void *argument)
{
	st_mutex_lock(argument);
	st_sleep(3600);
	return NULL;
}

static void live_mutex_of_sleeper(void)
{
	st_mutex_t mutex = st_mutex_new();

	spawn(hold_and_sleep, mutex);
	st_usleep(0);
	spawn(wait_mutex, mutex);
}

static st_mutex_t first;
static st_mutex_t second;

static void *lock_ab(void *argument)
{
	st_mutex_lock(first);
	st_usleep(0);
	st_mutex_lock(second);
	return argument;
}

static void *lock_ba(void *argument)
{
	st_mutex_lock(second);
	st_usleep(0);
	st_mutex_lock(first);
	return argument;
}

static void leak_ab_ba(void)
{
	first = st_mutex_new();
	second = st_mutex_new();
	spawn(lock_ab, NULL);
	spawn(lock_ba, NULL);
}

static void leak_join(void)
{
	spawn(wait_join, st_thread_create(wait_cond, st_cond_new(), 1, 0));
}

static void live_join(void)
{
	spawn(wait_join, st_thread_create(sleep_long, NULL, 1, 0));
}

static void leak_suspended(void)
{
	spawn(wait_forever, NULL);
}

static void leak_handle_kept(void)
{
	keeper = st_thread_create(wait_forever, NULL, 0, 0);
}

static void leak_handle_of_waiter_kept(void)
{
	keeper = st_thread_create(wait_cond, st_cond_new(), 1, 0);
}

/* A stack that is used again: the goroutine that had it before must not be seen. */
static void *end_at_once(void *argument)
{
	return argument;
}

static void leak_on_reused_stack(void)
{
	int i;

	for (i = 0; i < 10; i++) {
		spawn(end_at_once, NULL);
		st_usleep(0);
	}
	spawn(wait_cond, st_cond_new());
}

/* Each is woken by the one before, which it alone can reach: all are live as long as the last one
 * is. */
#define CHAIN 20000

struct link {
	st_cond_t own;
	st_cond_t next;
};

static void *chain_link(void *argument)
{
	st_cond_t own = ((struct link *)argument)->own;
	st_cond_t volatile next = ((struct link *)argument)->next;

	memset(argument, 0, sizeof(struct link));
	free(argument);
	st_cond_wait(own);
	return next;
}

static void make_chain(void *(*end)(void *))
{
	st_cond_t next = st_cond_new();
	int i;

	if (end)
		spawn(end, next);
	for (i = 0; i < CHAIN; i++) {
		struct link *link = malloc(sizeof(*link));

		link->own = next;
		link->next = next = st_cond_new();
		if (!st_thread_create(chain_link, link, 0, 4096))
			abort();
	}
}

static void live_chain(void)
{
	make_chain(sleep_long);
}

static void leak_chain(void)
{
	make_chain(NULL);
}

static const struct test_case cases[] = {
	{"leak_cond", leak_cond},
	{"live_cond_global", live_cond_global},
	{"live_timed", live_timed},
	{"leak_mutex_of_ended", leak_mutex_of_ended},
	{"leak_mutex_of_leaked", leak_mutex_of_leaked},
	{"live_mutex_of_sleeper", live_mutex_of_sleeper},
	{"leak_ab_ba", leak_ab_ba},
	{"leak_join", leak_join},
	{"live_join", live_join},
	{"leak_suspended", leak_suspended},
	{"leak_handle_kept", leak_handle_kept},
	{"leak_handle_of_waiter_kept", leak_handle_of_waiter_kept},
	{"leak_on_reused_stack", leak_on_reused_stack},
	{"live_chain", live_chain},
	{"leak_chain", leak_chain},
};

static void *run_case(void *argument)
{
	((const struct test_case *)argument)->run();
	return NULL;
}

int main(int argc, char **argv)
{
	const struct test_case *test =
		find_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
	int i;

	/* stdio's buffer, allocated later, would hold what freed blocks left in its memory. */
	puts("READY");
	if (st_init())
		return 1;
	spawn(run_case, (void *)test);
	for (i = 0; i < 20; i++)
		st_usleep(0);
	scrub();
	return 0;
}
