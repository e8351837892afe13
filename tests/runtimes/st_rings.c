/* SPDX-License-Identifier: MIT */
/*
 * State Threads: what is read of the library's own memory. Rings of several waiters; waits inside
 * nested calls; the program's callbacks at each switch. Then the same leaks with the library's
 * memory overwritten, as a faulty program may do: nothing can be told then, so nothing may be
 * reported, and the snapshot must not stumble.
 */
#include <st.h>
#include <stdint.h>
#include <unistd.h>

#include "common.h"

#define SEVERAL 50

/* Places in a control block. */
enum { STATE = 0, FLAGS = 4, NEXT = 56, PREVIOUS = 64, SP = 168, PC = 176 };

static void *volatile keeper;

static st_thread_t spawn(void *(*start)(void *), void *argument)
{
	st_thread_t thread = st_thread_create(start, argument, 0, 0);

	if (!thread)
		abort();
	return thread;
}

static void let_run(void)
{
	int i;

	for (i = 0; i < 3; i++)
		st_usleep(0);
}

static void *wait_cond(void *argument)
{
	st_cond_wait(argument);
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

static void *wait_timed(void *argument)
{
	st_cond_timedwait(argument, 3600000000ull);
	return NULL;
}

/* --- Rings --- */

static void wait_together(void *(*start)(void *), void *object)
{
	int i;

	for (i = 0; i < SEVERAL; i++)
		spawn(start, object);
	let_run();
}

static void leak_several(void)
{
	wait_together(wait_cond, st_cond_new());
}

static void live_several(void)
{
	keeper = st_cond_new();
	wait_together(wait_cond, keeper);
}

/* One of them goes on by itself, and can signal the others. */
static void live_one_of_several_timed(void)
{
	st_cond_t cond = st_cond_new();

	wait_together(wait_cond, cond);
	spawn(wait_timed, cond);
}

static void *hold_and_leak(void *argument)
{
	st_mutex_lock(argument);
	st_cond_wait(st_cond_new());
	return NULL;
}

static void leak_several_for_a_mutex(void)
{
	keeper = st_mutex_new();
	spawn(hold_and_leak, keeper);
	let_run();
	wait_together(wait_mutex, keeper);
}

/* Those behind the first wait on, and it has not run yet. */
static volatile int signalled;

static void *wait_and_exit(void *argument)
{
	st_cond_wait(argument);
	exit(3);
}

static __attribute__((noinline)) void signal_kept(void)
{
	st_cond_signal(keeper);
	keeper = NULL;
	signalled = 1;
}

static void *signal_and_exit(void *unused)
{
	signal_kept();
	scrub();
	exit(0);
	return unused;
}

/* The first one is still in the ring, and holds what the others wait for. */
static void live_first_of_several_signalled(void)
{
	keeper = st_cond_new();
	spawn(wait_and_exit, keeper);
	let_run();
	wait_together(wait_cond, keeper);
	spawn(signal_and_exit, NULL);
}

/* --- Joins --- */

static void leak_joins_in_a_row(void)
{
	void *last = st_thread_create(wait_cond, st_cond_new(), 1, 0);
	int i;

	for (i = 0; i < SEVERAL; i++)
		last = st_thread_create(wait_join, last, 1, 0);
}

static void live_joins_in_a_row(void)
{
	void *last = st_thread_create(wait_timed, st_cond_new(), 1, 0);
	int i;

	for (i = 0; i < SEVERAL; i++)
		last = st_thread_create(wait_join, last, 1, 0);
}

/* --- Nested calls --- */

static void *take(void)
{
	void *object = keeper;

	keeper = NULL;
	return object;
}

/* What a wait deep inside the library still holds: the only pointer is in a register. */
static void *wait_holding(int (*wait)(void))
{
	register void *held __asm__("r12") = take();
	int result;

	__asm__ volatile("" : "+r"(held));
	result = wait();
	__asm__ volatile("" : "+r"(held));
	return result < 0 ? NULL : held;
}

static st_netfd_t reader;

static int read_forever(void)
{
	char byte;

	return (int)st_read_fully(reader, &byte, 1, ST_UTIME_NO_TIMEOUT);
}

static int sleep_long(void)
{
	return st_sleep(3600);
}

static int lock_for_ever(void)
{
	st_mutex_t mutex = st_mutex_new();

	spawn(hold_and_leak, mutex);
	let_run();
	return st_mutex_lock(mutex);
}

static void *hold_reading(void *unused)
{
	return wait_holding(read_forever) ? unused : NULL;
}

static void *hold_sleeping(void *unused)
{
	return wait_holding(sleep_long) ? unused : NULL;
}

static void *hold_leaking(void *unused)
{
	return wait_holding(lock_for_ever) ? unused : NULL;
}

static void hold(void *(*start)(void *))
{
	int ends[2];

	if (pipe(ends))
		abort();
	reader = st_netfd_open(ends[0]);
	keeper = st_cond_new();
	spawn(wait_cond, keeper);
	let_run();
	spawn(start, NULL);
}

static void live_held_by_reader(void)
{
	hold(hold_reading);
}

static void live_held_by_sleeper(void)
{
	hold(hold_sleeping);
}

static void leak_held_by_leaked(void)
{
	hold(hold_leaking);
}

/* --- Ends --- */

static volatile int ended;

/* It has returned already, and its thread data is being destroyed: that waits, and was woken. */
static void destroy(void *value)
{
	void *volatile held = take();

	st_cond_wait(value);
	ended = held != NULL;
}

static void *end_with_key(void *value)
{
	int key;

	if (st_key_create(&key, destroy) || st_thread_setspecific(key, value))
		abort();
	return NULL;
}

static void *wake_and_exit(void *cond)
{
	st_cond_signal(cond);
	scrub();
	exit(ended ? 3 : 0);
	return NULL;
}

static void live_held_by_one_that_ends(void)
{
	st_cond_t cond = st_cond_new();

	keeper = st_cond_new();
	spawn(wait_cond, keeper);
	let_run();
	spawn(end_with_key, cond);
	let_run();
	spawn(wake_and_exit, cond);
}

/* --- Callbacks --- */

static volatile int switches;
static int exit_at;

static void on_switch(void)
{
	if (++switches == exit_at) {
		scrub();
		exit(0);
	}
}

static void leak_with_callbacks(void)
{
	st_set_switch_in_cb(on_switch);
	st_set_switch_out_cb(on_switch);
	spawn(wait_cond, st_cond_new());
	let_run();
	if (switches < 4 || st_set_switch_in_cb(NULL) != on_switch)
		exit(4);
}

static void *wait_switching_out(void *argument)
{
	void *volatile held = argument;

	exit_at = switches + 1;
	st_cond_wait(st_cond_new());
	return held;
}

/* In the callback, the state of who waits is "waiting" already, but it runs. */
static void live_in_callback(void)
{
	st_cond_t cond = st_cond_new();

	st_set_switch_out_cb(on_switch);
	spawn(wait_cond, cond);
	spawn(wait_switching_out, cond);
}

/* --- Overwritten --- */

static void put(st_thread_t thread, int place, uintptr_t word)
{
	memcpy((char *)thread + place, &word, sizeof(word));
}

static void put_int(st_thread_t thread, int place, int word)
{
	memcpy((char *)thread + place, &word, sizeof(word));
}

/* Two at a condition of their own, and one at another, which must be found whatever happened to
 * those. */
static void *other(void *argument)
{
	st_cond_wait(argument);
	return NULL;
}

static st_thread_t waiters[2];

static void make_waiters(void)
{
	st_cond_t cond = st_cond_new();

	spawn(other, st_cond_new());
	waiters[0] = spawn(wait_cond, cond);
	waiters[1] = spawn(wait_cond, cond);
	let_run();
}

static void leak_whole(void)
{
	make_waiters();
}

static void broken_to_nowhere(void)
{
	make_waiters();
	put(waiters[0], NEXT, 16);
}

static void broken_null(void)
{
	make_waiters();
	put(waiters[1], NEXT, 0);
}

static void broken_unaligned(void)
{
	make_waiters();
	put(waiters[1], NEXT, (uintptr_t)&keeper + 1);
}

static void broken_to_code(void)
{
	make_waiters();
	put(waiters[0], NEXT, (uintptr_t)wait_cond & ~(uintptr_t)7);
}

static void broken_to_itself(void)
{
	make_waiters();
	put(waiters[0], NEXT, (uintptr_t)waiters[0] + NEXT);
	put(waiters[0], PREVIOUS, (uintptr_t)waiters[0] + NEXT);
	put(waiters[1], NEXT, (uintptr_t)waiters[0] + NEXT);
}

/* A ring of threads, without a head. */
static void broken_headless(void)
{
	make_waiters();
	put(waiters[0], PREVIOUS, (uintptr_t)waiters[1] + NEXT);
	put(waiters[1], NEXT, (uintptr_t)waiters[0] + NEXT);
}

/* A second head in the ring. */
static void broken_two_heads(void)
{
	uintptr_t *fake = calloc(2, sizeof(*fake));

	make_waiters();
	fake[0] = (uintptr_t)waiters[1] + NEXT;
	fake[1] = (uintptr_t)waiters[0] + NEXT;
	put(waiters[0], NEXT, (uintptr_t)fake);
	put(waiters[1], PREVIOUS, (uintptr_t)fake);
}

static void broken_back(void)
{
	make_waiters();
	put(waiters[1], PREVIOUS, (uintptr_t)waiters[1] + NEXT);
}

/* Its head lies amid a block, so it is no condition of this library. */
static void broken_head(void)
{
	struct {
		uintptr_t before;
		uintptr_t next;
		uintptr_t previous;
	} *fake = calloc(1, sizeof(*fake));

	make_waiters();
	fake->next = (uintptr_t)waiters[0] + NEXT;
	fake->previous = (uintptr_t)waiters[1] + NEXT;
	put(waiters[0], PREVIOUS, (uintptr_t)&fake->next);
	put(waiters[1], NEXT, (uintptr_t)&fake->next);
}

/* A mutex's ring has a condition's head. */
static void broken_state(void)
{
	make_waiters();
	put_int(waiters[0], STATE, 3);
	put_int(waiters[1], STATE, 3);
}

static void broken_states_of_both(void)
{
	make_waiters();
	put_int(waiters[0], STATE, 3);
}

static void broken_unknown_state(void)
{
	make_waiters();
	put_int(waiters[0], STATE, 8);
	put_int(waiters[1], STATE, -4);
}

static void broken_unknown_flag(void)
{
	make_waiters();
	put_int(waiters[0], FLAGS, 32);
	put_int(waiters[1], FLAGS, 64);
}

static void broken_sp(void)
{
	make_waiters();
	put(waiters[0], SP, (uintptr_t)&keeper);
	put(waiters[1], SP, (uintptr_t)waiters[0]);
}

static void broken_pc(void)
{
	make_waiters();
	put(waiters[0], PC, (uintptr_t)wait_cond);
	put(waiters[1], PC, 0);
}

static const struct test_case cases[] = {
	{"leak_several", leak_several},
	{"live_several", live_several},
	{"live_one_of_several_timed", live_one_of_several_timed},
	{"leak_several_for_a_mutex", leak_several_for_a_mutex},
	{"live_first_of_several_signalled", live_first_of_several_signalled},
	{"leak_joins_in_a_row", leak_joins_in_a_row},
	{"live_joins_in_a_row", live_joins_in_a_row},
	{"live_held_by_reader", live_held_by_reader},
	{"live_held_by_sleeper", live_held_by_sleeper},
	{"leak_held_by_leaked", leak_held_by_leaked},
	{"live_held_by_one_that_ends", live_held_by_one_that_ends},
	{"leak_with_callbacks", leak_with_callbacks},
	{"live_in_callback", live_in_callback},
	{"leak_whole", leak_whole},
	{"broken_to_nowhere", broken_to_nowhere},
	{"broken_null", broken_null},
	{"broken_unaligned", broken_unaligned},
	{"broken_to_code", broken_to_code},
	{"broken_to_itself", broken_to_itself},
	{"broken_headless", broken_headless},
	{"broken_two_heads", broken_two_heads},
	{"broken_back", broken_back},
	{"broken_head", broken_head},
	{"broken_state", broken_state},
	{"broken_states_of_both", broken_states_of_both},
	{"broken_unknown_state", broken_unknown_state},
	{"broken_unknown_flag", broken_unknown_flag},
	{"broken_sp", broken_sp},
	{"broken_pc", broken_pc},
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
