/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth: what can still be woken though nothing points to what it waits on, because it was woken
 * already, has a deadline, or by its handle; and what the library keeps for a goroutine that is not
 * a way to wake another. Pth wakes lazily: a case that ends in exit() leaves a waiter whose event
 * has come, in the queue of those that wait. The program calls pth_cancel and pth_resume, so here a
 * handle counts.
 */
#include <pth.h>
#include <unistd.h>

#include "common.h"

struct sync {
	pth_mutex_t mutex;
	pth_cond_t cond;
	pth_barrier_t barrier;
	pth_rwlock_t lock;
	void *data;
};

static void *volatile keeper; /* the global that keeps things alive */
static volatile int ran;      /* waiters that were woken and have run */

static struct sync *new_sync(void)
{
	struct sync *sync = calloc(1, sizeof(*sync));

	pth_mutex_init(&sync->mutex);
	pth_cond_init(&sync->cond);
	pth_barrier_init(&sync->barrier, 2);
	pth_rwlock_init(&sync->lock);
	return sync;
}

static pth_t spawn_with(void *(*start)(void *), void *argument, int joinable)
{
	pth_attr_t attributes = pth_attr_new();
	pth_t thread;

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, joinable);
	thread = pth_spawn(attributes, start, argument);
	pth_attr_destroy(attributes);
	return thread;
}

static void spawn(void *(*start)(void *), void *argument)
{
	spawn_with(start, argument, FALSE);
}

static void let_run(void)
{
	int i;

	for (i = 0; i < 3; i++)
		pth_yield(NULL);
}

/* The snapshot is now, before those that were woken have run. */
static void exit_before_they_run(void)
{
	scrub();
	exit(ran ? 3 : 0);
}

static void *wait_cond(void *argument)
{
	struct sync *sync = argument;

	pth_mutex_acquire(&sync->mutex, FALSE, NULL);
	pth_cond_await(&sync->cond, &sync->mutex, NULL);
	ran++;
	pth_mutex_release(&sync->mutex);
	return NULL;
}

/* Without its mutex, which the notifier of this program never wants. */
static void *wait_cond_unlocked(void *argument)
{
	pth_wait(pth_event(PTH_EVENT_COND, &((struct sync *)argument)->cond));
	return NULL;
}

static void *wait_mutex(void *argument)
{
	pth_mutex_acquire(&((struct sync *)argument)->mutex, FALSE, NULL);
	ran++;
	return NULL;
}

static void *wait_read(void *argument)
{
	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RD, FALSE, NULL);
	ran++;
	return NULL;
}

static void *wait_barrier(void *argument)
{
	pth_barrier_reach(&((struct sync *)argument)->barrier);
	ran++;
	return NULL;
}

static void *wait_join(void *argument)
{
	pth_join(argument, NULL);
	ran++;
	return NULL;
}

static void *wait_join_any(void *argument)
{
	pth_join(NULL, NULL);
	ran++;
	return argument;
}

static void *receive(void *port)
{
	pth_wait(pth_event(PTH_EVENT_MSG, port));
	ran++;
	return NULL;
}

static void *sleep_long(void *argument)
{
	pth_sleep(3600);
	return argument;
}

static void *end_at_once(void *argument)
{
	return argument;
}

/* --- Woken, but has not run --- */

/*
 * What is waited for is handed on by this global, and taken out of it by a function that returns
 * before the snapshot: a start argument would stay in the control block. Each case has a twin that
 * does all but wake; there the waiter is leaked, so nothing else can have kept it alive.
 */
static struct sync *volatile handed;
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

static struct sync *take(void)
{
	struct sync *sync = handed;

	handed = NULL;
	return sync;
}

static __attribute__((noinline)) void notify_taken(void)
{
	struct sync *sync = take();

	if (wake)
		pth_cond_notify(&sync->cond, FALSE);
}

static void *notify_and_exit(void *unused)
{
	notify_taken();
	exit_before_they_run();
	return unused;
}

/* Notifying yields; with this priority the notifier goes on before the one that it woke. */
static void spawn_at(int priority, void *(*start)(void *))
{
	pth_attr_t attributes = pth_attr_new();

	pth_attr_set(attributes, PTH_ATTR_PRIO, priority);
	pth_attr_set(attributes, PTH_ATTR_JOINABLE, FALSE);
	pth_spawn(attributes, start, NULL);
	pth_attr_destroy(attributes);
}

static void notified(void)
{
	handed = new_sync();
	spawn(wait_cond, handed);
	let_run();
	spawn_at(PTH_PRIO_MAX, notify_and_exit);
}

static __attribute__((noinline)) void reach_taken(void)
{
	struct sync *sync = take();

	if (wake)
		pth_barrier_reach(&sync->barrier);
}

static void *reach_and_exit(void *unused)
{
	reach_taken();
	exit_before_they_run();
	return unused;
}

static void barrier_complete(void)
{
	handed = new_sync();
	spawn(wait_barrier, handed);
	let_run();
	spawn_at(PTH_PRIO_MAX, reach_and_exit);
}

static __attribute__((noinline)) void lock_handed(void)
{
	pth_mutex_acquire(&handed->mutex, FALSE, NULL);
	pth_rwlock_acquire(&handed->lock, PTH_RWLOCK_RW, FALSE, NULL);
}

static __attribute__((noinline)) void unlock_taken(void)
{
	struct sync *sync = take();

	pth_mutex_release(&sync->mutex);
	pth_rwlock_release(&sync->lock);
}

static void *lock_and_unlock(void *unused)
{
	lock_handed();
	let_run();
	unlock_taken();
	exit_before_they_run();
	return unused;
}

/* A locked lock without a holder cannot be had: the twin waits in the same place for something
 * else. */
static void unlocked(void)
{
	handed = new_sync();
	spawn(lock_and_unlock, NULL);
	pth_yield(NULL);
	spawn(wake ? wait_mutex : wait_cond_unlocked, handed);
}

static void rwlock_unlocked(void)
{
	handed = new_sync();
	spawn(lock_and_unlock, NULL);
	pth_yield(NULL);
	spawn(wake ? wait_read : wait_cond_unlocked, handed);
}

static pth_msgport_t volatile handed_port;

static __attribute__((noinline)) void put_into_taken(void)
{
	static pth_message_t message;
	pth_msgport_t port = handed_port;

	handed_port = NULL;
	if (wake)
		pth_msgport_put(port, &message);
}

static void *put_and_exit(void *unused)
{
	put_into_taken();
	exit_before_they_run();
	return unused;
}

static void message_put(void)
{
	handed_port = pth_msgport_create(NULL);
	spawn(receive, handed_port);
	let_run();
	spawn_at(PTH_PRIO_MAX, put_and_exit);
}

static __attribute__((noinline)) void pass_taken_on(void)
{
	struct sync *sync = take();

	spawn(sleep_long, wake ? sync : NULL);
}

static void *pass_on_and_exit(void *unused)
{
	pass_taken_on();
	exit_before_they_run();
	return unused;
}

static void not_started(void)
{
	handed = new_sync();
	spawn(wait_cond, handed);
	let_run();
	spawn_at(PTH_PRIO_MAX, pass_on_and_exit);
}

TWINS(notified)
TWINS(barrier_complete)
TWINS(unlocked)
TWINS(rwlock_unlocked)
TWINS(message_put)
TWINS(not_started)

static volatile int ended;

static void *end_here(void *argument)
{
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

/* The joined one ends while the joiner waits; whoever exits runs in between: new ones go first,
 * lowest last. */
static void live_joined_ended(void)
{
	pth_t thread = spawn_with(end_here, NULL, TRUE);

	pth_suspend(thread);
	spawn(wait_join, thread);
	let_run();
	spawn_at(PTH_PRIO_MIN, exit_when_ended);
	pth_resume(thread);
}

static __attribute__((noinline)) void cancel_kept(void)
{
	pth_cancel(keeper);
	keeper = NULL;
}

/* With its handle gone. Its twin is leak_handle_dropped. */
static void live_cancelled(void)
{
	keeper = spawn_with(wait_cond, new_sync(), TRUE);
	let_run();
	cancel_kept();
	exit_before_they_run();
}

/* One signal, for one of two: the other one waits on. */
static void leak_second_of_two(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(wait_cond, sync);
	let_run();
	pth_cond_notify(&sync->cond, FALSE);
}

static void *hold_mutex(void *argument)
{
	struct sync *sync = argument;
	struct sync *own = new_sync();

	pth_mutex_acquire(&sync->mutex, FALSE, NULL);
	pth_mutex_acquire(&own->mutex, FALSE, NULL);
	pth_cond_await(&own->cond, &own->mutex, NULL);
	return NULL;
}

/* Woken from the condition, but its mutex is not to be had any more. */
static void leak_relocking(void)
{
	keeper = new_sync();
	spawn(wait_cond, keeper);
	let_run();
	spawn(hold_mutex, keeper);
	let_run();
	pth_cond_notify(&((struct sync *)keeper)->cond, FALSE);
}

/* --- With a deadline --- */

static pth_event_t in_an_hour(void)
{
	return pth_event(PTH_EVENT_TIME, pth_timeout(3600, 0));
}

static void *lock_timed(void *argument)
{
	pth_mutex_acquire(&((struct sync *)argument)->mutex, FALSE, in_an_hour());
	return NULL;
}

static void *write_timed(void *argument)
{
	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RW, FALSE, in_an_hour());
	return NULL;
}

static void *receive_timed(void *argument)
{
	pth_wait(pth_event_concat(pth_event(PTH_EVENT_MSG, argument), in_an_hour(), NULL));
	return NULL;
}

static void *hold_write(void *argument)
{
	struct sync *own = new_sync();

	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RW, FALSE, NULL);
	pth_mutex_acquire(&own->mutex, FALSE, NULL);
	pth_cond_await(&own->cond, &own->mutex, NULL);
	return NULL;
}

static void leak_but_timed_mutex(void)
{
	struct sync *sync = new_sync();

	spawn(hold_mutex, sync);
	let_run();
	spawn(lock_timed, sync);
}

static void leak_but_timed_rwlock(void)
{
	struct sync *sync = new_sync();

	spawn(hold_write, sync);
	let_run();
	spawn(write_timed, sync);
}

static void live_timed_port(void)
{
	spawn(receive_timed, pth_msgport_create(NULL));
}

/* --- By handle --- */

static void live_handle_kept(void)
{
	keeper = spawn_with(wait_cond, new_sync(), TRUE);
}

static void leak_handle_dropped(void)
{
	live_handle_kept();
	let_run();
	keeper = NULL;
}

static void live_suspended(void)
{
	keeper = spawn_with(sleep_long, NULL, TRUE);
	let_run();
	pth_suspend(keeper);
}

static void leak_suspended(void)
{
	live_suspended();
	keeper = NULL;
}

/* Called nowhere, but the program could. */
void *volatile never_called;

static void resume_and_cancel(void)
{
	pth_resume(keeper);
	pth_cancel(keeper);
}

static void live_join_any(void)
{
	spawn(wait_join_any, NULL);
}

/* --- What the library keeps for the program --- */

static void *sleep_in_cleanup_scope(void *argument)
{
	pth_cleanup_push(free, hide(argument));
	argument = NULL;
	scrub();
	pth_sleep(3600);
	return argument;
}

static void *leak_in_cleanup_scope(void *argument)
{
	struct sync *own = new_sync();

	pth_cleanup_push(free, hide(argument));
	wait_cond(own);
	return NULL;
}

static void live_cleanup(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(sleep_in_cleanup_scope, sync);
}

static void leak_cleanup_of_leaked(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(leak_in_cleanup_scope, sync);
}

/* What an ended goroutine returned is there for whoever joins it. */
static void live_result(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	keeper = spawn_with(end_at_once, sync, TRUE);
}

static void leak_result_joined(void)
{
	live_result();
	let_run();
	pth_join(keeper, NULL);
	keeper = NULL;
}

static void put_message(pth_msgport_t port, void *data)
{
	pth_message_t *message = calloc(1, sizeof(*message));

	message->m_data = data;
	pth_msgport_put(port, message);
}

static void live_message(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	keeper = pth_msgport_create(NULL);
	put_message(keeper, sync);
}

/* All ports are in one ring: the kept one must not lead to the dropped one and to what is queued
 * there. */
static void leak_message_in_dropped_port(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	keeper = pth_msgport_create(NULL);
	put_message(pth_msgport_create(NULL), sync);
}

/* Whoever takes the message can reply. */
static void live_reply_port(void)
{
	pth_message_t *message = calloc(1, sizeof(*message));

	message->m_replyport = pth_msgport_create(NULL);
	keeper = pth_msgport_create(NULL);
	pth_msgport_put(keeper, message);
	spawn(receive, message->m_replyport);
}

static int not_yet(void *argument)
{
	return argument == NULL;
}

static void *poll_function(void *argument)
{
	pth_time_t hour = pth_time(3600, 0);

	pth_wait(pth_event(PTH_EVENT_FUNC, not_yet, argument, hour));
	return NULL;
}

static void live_function(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(poll_function, sync);
}

static void nothing(void *argument)
{
	(void)argument;
}

static void live_atfork(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	pth_atfork_push(nothing, nothing, nothing, sync);
}

/* The library keeps its event of the last wait with a goroutine that has long gone on. */
static __attribute__((noinline)) void wait_taken(void)
{
	wait_cond(take());
}

static void *wait_and_sleep(void *unused)
{
	wait_taken();
	scrub();
	pth_sleep(3600);
	return unused;
}

static void leak_event_of_the_past(void)
{
	struct sync *sync = new_sync();

	handed = sync;
	spawn(wait_and_sleep, NULL);
	let_run();
	pth_cond_notify(&sync->cond, FALSE);
	let_run();
	pth_cond_init(&sync->cond);
	spawn(wait_cond, sync);
}

/* Holds a lock of which it has lost the pointer. */
static __attribute__((noinline)) void lock_taken(void)
{
	pth_mutex_acquire(&take()->mutex, FALSE, NULL);
}

static void *lock_and_sleep(void *unused)
{
	lock_taken();
	scrub();
	pth_sleep(3600);
	return unused;
}

/* When the sleeper ends, the library releases its lock. */
static void live_lock_released_by_exit(void)
{
	struct sync *sync = new_sync();

	handed = sync;
	spawn(lock_and_sleep, NULL);
	let_run();
	spawn(wait_mutex, sync);
}

static const struct test_case cases[] = {
	{"live_notified", live_notified},
	{"leak_notified", leak_notified},
	{"live_barrier_complete", live_barrier_complete},
	{"leak_barrier_complete", leak_barrier_complete},
	{"live_unlocked", live_unlocked},
	{"leak_unlocked", leak_unlocked},
	{"live_rwlock_unlocked", live_rwlock_unlocked},
	{"leak_rwlock_unlocked", leak_rwlock_unlocked},
	{"live_message_put", live_message_put},
	{"leak_message_put", leak_message_put},
	{"live_not_started", live_not_started},
	{"leak_not_started", leak_not_started},
	{"live_joined_ended", live_joined_ended},
	{"live_cancelled", live_cancelled},
	{"leak_second_of_two", leak_second_of_two},
	{"leak_relocking", leak_relocking},
	{"leak_but_timed_mutex", leak_but_timed_mutex},
	{"leak_but_timed_rwlock", leak_but_timed_rwlock},
	{"live_timed_port", live_timed_port},
	{"live_handle_kept", live_handle_kept},
	{"leak_handle_dropped", leak_handle_dropped},
	{"live_suspended", live_suspended},
	{"leak_suspended", leak_suspended},
	{"live_join_any", live_join_any},
	{"live_cleanup", live_cleanup},
	{"leak_cleanup_of_leaked", leak_cleanup_of_leaked},
	{"live_result", live_result},
	{"leak_result_joined", leak_result_joined},
	{"live_message", live_message},
	{"leak_message_in_dropped_port", leak_message_in_dropped_port},
	{"live_reply_port", live_reply_port},
	{"live_function", live_function},
	{"live_atfork", live_atfork},
	{"leak_event_of_the_past", leak_event_of_the_past},
	{"live_lock_released_by_exit", live_lock_released_by_exit},
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

	never_called = resume_and_cancel;
	setvbuf(stdout, NULL, _IONBF, 0);
	puts("READY");
	pth_init();
	spawn(run_case, (void *)test);
	for (i = 0; i < 12; i++)
		pth_yield(NULL);
	scrub();
	return 0;
}
