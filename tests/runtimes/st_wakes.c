/* SPDX-License-Identifier: MIT */
/*
 * State Threads: what can still be woken though nothing points to what it waits on, because it was
 * woken already or by its handle; and what the library keeps for a goroutine that is not a way to
 * wake another. The program calls st_thread_interrupt, so here a handle counts.
 */
#include <st.h>
#include <unistd.h>

#include "common.h"

static void *volatile keeper; /* the global that keeps things alive */
static volatile int ran;      /* waiters that were woken and have run */

static void spawn(void *(*start)(void *), void *argument)
{
	if (!st_thread_create(start, argument, 0, 0))
		abort();
}

static void let_run(void)
{
	int i;

	for (i = 0; i < 3; i++)
		st_usleep(0);
}

/* The snapshot is now, before those that were woken have run. */
static void exit_before_they_run(void)
{
	scrub();
	exit(ran ? 3 : 0);
}

static void *wait_cond(void *argument)
{
	st_cond_wait(argument);
	ran++;
	return NULL;
}

static void *wait_mutex(void *argument)
{
	st_mutex_lock(argument);
	ran++;
	return NULL;
}

static void *wait_join(void *argument)
{
	st_thread_join(argument, NULL);
	ran++;
	return NULL;
}

static void *wait_forever(void *argument)
{
	st_usleep(ST_UTIME_NO_TIMEOUT);
	ran++;
	return argument;
}

static void *sleep_long(void *argument)
{
	st_sleep(3600);
	return argument;
}

/* --- Woken, but has not run --- */

/*
 * What is waited for is handed on by this global, and taken out of it by a function that returns
 * before the snapshot: a start argument would stay in the control block. Each case has a twin that
 * does all but wake; there the waiter is leaked, so nothing else can have kept it alive.
 */
static void *volatile handed;
static int wake;

#define TWINS(name)                                                                                \
	static void live_##name(void)                                                              \
	{                                                                                          \
		wake = 1;                                                                          \
		name();                                                                            \
	}                                                                                          \
	static void leak_##name(void)                                                              \
	{                                                                                          \
		wake = 0;                                                                          \
		name();                                                                            \
	}

static void *take(void)
{
	void *object = handed;

	handed = NULL;
	return object;
}

static __attribute__((noinline)) void signal_taken(void)
{
	st_cond_t cond = take();

	if (wake)
		st_cond_signal(cond);
}

static void *signal_and_exit(void *unused)
{
	signal_taken();
	exit_before_they_run();
	return unused;
}

static void signalled(void)
{
	handed = st_cond_new();
	spawn(wait_cond, handed);
	let_run();
	spawn(signal_and_exit, NULL);
}

static __attribute__((noinline)) void interrupt_taken(void)
{
	st_thread_t thread = take();

	if (wake)
		st_thread_interrupt(thread);
}

static void *interrupt_and_exit(void *unused)
{
	interrupt_taken();
	exit_before_they_run();
	return unused;
}

static void interrupted(void)
{
	handed = st_thread_create(wait_forever, NULL, 0, 0);
	let_run();
	spawn(interrupt_and_exit, NULL);
}

static void *hold_and_leak(void *argument)
{
	st_mutex_lock(argument);
	st_cond_wait(st_cond_new());
	return NULL;
}

/* Whose holder is leaked. */
static void interrupted_mutex(void)
{
	st_mutex_t mutex = st_mutex_new();

	spawn(hold_and_leak, mutex);
	let_run();
	handed = st_thread_create(wait_mutex, mutex, 0, 0);
	let_run();
	spawn(interrupt_and_exit, NULL);
}

static __attribute__((noinline)) void unlock_taken(void)
{
	st_mutex_unlock(take());
}

static __attribute__((noinline)) void lock_handed(void)
{
	st_mutex_lock(handed);
}

static void *lock_and_unlock(void *unused)
{
	lock_handed();
	let_run();
	unlock_taken();
	exit_before_they_run();
	return unused;
}

/* Unlocking hands over: the waiter is the owner of a lock that it has not been told of. */
static void live_handed_over(void)
{
	handed = st_mutex_new();
	spawn(lock_and_unlock, NULL);
	st_usleep(0);
	spawn(wait_mutex, handed);
}

static __attribute__((noinline)) void pass_taken_on(void)
{
	void *object = take();

	spawn(sleep_long, wake ? object : NULL);
}

static void *pass_on_and_exit(void *unused)
{
	pass_taken_on();
	exit_before_they_run();
	return unused;
}

static void not_started(void)
{
	handed = st_cond_new();
	spawn(wait_cond, handed);
	let_run();
	spawn(pass_on_and_exit, NULL);
}

TWINS(signalled)
TWINS(interrupted)
TWINS(interrupted_mutex)
TWINS(not_started)

static volatile int ended;

static void *end_when_interrupted(void *argument)
{
	st_usleep(ST_UTIME_NO_TIMEOUT);
	ended = 1;
	return argument;
}

static void *exit_when_ended(void *unused)
{
	if (!ended)
		exit(4);
	exit_before_they_run();
	return unused;
}

/* The joined one ends while the joiner waits; whoever exits stands before it in the queue. */
static void live_joined_ended(void)
{
	st_thread_t thread = st_thread_create(end_when_interrupted, NULL, 1, 0);

	spawn(wait_join, thread);
	let_run();
	st_thread_interrupt(thread);
	spawn(exit_when_ended, NULL);
}

/* --- By handle --- */

static void live_handle_kept(void)
{
	keeper = st_thread_create(wait_forever, NULL, 0, 0);
}

static void live_handle_of_waiter_kept(void)
{
	keeper = st_thread_create(wait_cond, st_cond_new(), 0, 0);
}

static void leak_handle_dropped(void)
{
	live_handle_kept();
	let_run();
	keeper = NULL;
}

/* The lock names its owner: that is the library's word, no handle that the program has. */
static void leak_owner_of_a_live_lock(void)
{
	keeper = st_mutex_new();
	spawn(hold_and_leak, keeper);
}

static void leak_owner_of_a_wanted_live_lock(void)
{
	leak_owner_of_a_live_lock();
	let_run();
	spawn(wait_mutex, keeper);
}

/* --- What the library keeps for the program --- */

static __attribute__((noinline)) void keep_in_key(void *value)
{
	int key;

	if (st_key_create(&key, NULL) || st_thread_setspecific(key, value))
		abort();
}

static void *leak_with_key(void *argument)
{
	keep_in_key(argument);
	st_cond_wait(st_cond_new());
	return NULL;
}

static void leak_key_of_leaked(void)
{
	st_cond_t cond = st_cond_new();

	spawn(wait_cond, cond);
	spawn(leak_with_key, cond);
}

static void *sleep_with_key(void *unused)
{
	keep_in_key(take());
	scrub();
	return sleep_long(unused);
}

static void live_key_of_sleeper(void)
{
	handed = st_cond_new();
	spawn(wait_cond, handed);
	spawn(sleep_with_key, NULL);
}

static void *end_at_once(void *argument)
{
	return argument;
}

/* What an ended goroutine returned is there for whoever joins it. */
static void live_result(void)
{
	st_cond_t cond = st_cond_new();

	spawn(wait_cond, cond);
	keeper = st_thread_create(end_at_once, cond, 1, 0);
}

static void leak_result_joined(void)
{
	live_result();
	let_run();
	st_thread_join(keeper, NULL);
	keeper = NULL;
}

static void live_descriptor_data(void)
{
	int ends[2];
	st_cond_t cond = st_cond_new();

	if (pipe(ends))
		abort();
	keeper = st_netfd_open(ends[0]);
	st_netfd_setspecific(keeper, cond, NULL);
	spawn(wait_cond, cond);
}

static void leak_descriptor_closed(void)
{
	live_descriptor_data();
	let_run();
	st_netfd_close(keeper);
	keeper = NULL;
}

/* The stack of an ended goroutine stays in the library, with all that was on it. */
static void *fill_stack_and_end(void *argument)
{
	void *volatile words[256];
	int i;

	for (i = 0; i < 256; i++)
		words[i] = argument;
	st_usleep(0);
	return words[255] ? NULL : argument;
}

static void leak_ended_stack(void)
{
	st_cond_t cond = st_cond_new();

	spawn(wait_cond, cond);
	spawn(fill_stack_and_end, cond);
}

static const struct test_case cases[] = {
	{"live_signalled", live_signalled},
	{"leak_signalled", leak_signalled},
	{"live_interrupted", live_interrupted},
	{"leak_interrupted", leak_interrupted},
	{"live_interrupted_mutex", live_interrupted_mutex},
	{"leak_interrupted_mutex", leak_interrupted_mutex},
	{"live_handed_over", live_handed_over},
	{"live_not_started", live_not_started},
	{"leak_not_started", leak_not_started},
	{"live_joined_ended", live_joined_ended},
	{"live_handle_kept", live_handle_kept},
	{"live_handle_of_waiter_kept", live_handle_of_waiter_kept},
	{"leak_handle_dropped", leak_handle_dropped},
	{"leak_owner_of_a_live_lock", leak_owner_of_a_live_lock},
	{"leak_owner_of_a_wanted_live_lock", leak_owner_of_a_wanted_live_lock},
	{"leak_key_of_leaked", leak_key_of_leaked},
	{"live_key_of_sleeper", live_key_of_sleeper},
	{"live_result", live_result},
	{"leak_result_joined", leak_result_joined},
	{"live_descriptor_data", live_descriptor_data},
	{"leak_descriptor_closed", leak_descriptor_closed},
	{"leak_ended_stack", leak_ended_stack},
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

	setvbuf(stdout, NULL, _IONBF, 0);
	puts("READY");
	if (st_init())
		return 1;
	spawn(run_case, (void *)test);
	for (i = 0; i < 20; i++)
		st_usleep(0);
	scrub();
	return 0;
}
