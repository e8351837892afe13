/* SPDX-License-Identifier: MIT */
/*
 * minigo: a small Go-style runtime for C, as a user of leakprof would write one: goroutines on
 * stacks of their own, channels, select, locks, wait groups, contexts, timers and descriptors, over
 * one or several OS threads.
 *
 *     static void greet(void *out)
 *     {
 *             chan_send(out, "hello");
 *     }
 *
 *     int main(void)
 *     {
 *             struct chan *out = chan_make(0);
 *
 *             minigo_init();
 *             go(greet, out);
 *             puts(chan_receive(out, NULL));
 *             return 0;
 *     }
 *
 * main itself is a goroutine once minigo_init has returned. MINIGO_THREADS=N in the environment
 * runs goroutines on N OS threads (default 1); they then move between them. With one, goroutines
 * switch only where they wait or call go_yield, so that a program has one order of events.
 * Goroutines that wait for ever do not end the process: it ends when main returns.
 *
 * Values are pointers. All objects come from malloc and go back by their `_free`, or never; those
 * with a static form (mutexes and the like) need no initialisation but zero. Misuse (unlocking what
 * another holds, closing twice) aborts with a line on stderr.
 */
#ifndef MINIGO_H
#define MINIGO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Goroutines --- */

/* Starts the runtime: the calling code becomes the goroutine main. */
void minigo_init(void);

/* Runs FUNCTION(ARGUMENT) in a new goroutine. It starts later, in the order of creation where there
 * is one thread. */
void go(void (*function)(void *), void *argument);

/* Lets every goroutine that is ready now run before the caller goes on. */
void go_yield(void);

/* Ends the calling goroutine (Go's runtime.Goexit). In main: the others go on, and the process ends
 * when none is left that can run. */
_Noreturn void go_exit(void);

/* Waits for ever (Go's select {}). */
_Noreturn void go_park(void);

/* Waits until every other goroutine waits, and no timer goes off within so many nanoseconds. For
 * tests. */
void go_settle(int64_t nanoseconds);

/* Goroutines that exist. */
size_t go_count(void);

/* --- Channels --- */

struct chan;

/* A channel of CAPACITY values; 0: unbuffered. */
struct chan *chan_make(size_t capacity);
void chan_free(struct chan *chan);

/* On a NULL channel both wait for ever. Sending on a closed channel aborts. */
void chan_send(struct chan *chan, void *value);

/* Returns the value; NULL and *OK false (OK may be NULL) when the channel is closed and empty. A
 * range is `while (value = chan_receive(chan, &ok), ok)`. */
void *chan_receive(struct chan *chan, bool *ok);

/* As select with a default: false when it would wait. */
bool chan_try_send(struct chan *chan, void *value);
bool chan_try_receive(struct chan *chan, void **value, bool *ok);

/* Wakes all receivers; senders abort. */
void chan_close(struct chan *chan);
size_t chan_length(struct chan *chan);

/* One alternative of a select: sends VALUE where SEND, else receives into VALUE and OK. A NULL CHAN
 * is never chosen. */
struct chan_case {
	struct chan *chan;
	void *value;
	bool send;
	bool ok;
};

/* Waits until one of COUNT alternatives can go on, does it, and returns its index. Where several
 * can, it takes a random one. With COUNT 0 it waits for ever. */
size_t chan_select(struct chan_case *cases, size_t count);

/* As select with a default: COUNT when none can go on. */
size_t chan_try_select(struct chan_case *cases, size_t count);

/* --- sync --- */

struct waiter;

struct wait_queue {
	struct waiter *first;
	struct waiter *last;
};

/* Belongs to who locked it: unlocking by another aborts; locking it again waits for ever. */
struct mutex {
	struct goroutine *owner;
	struct wait_queue waiters;
};

void mutex_lock(struct mutex *mutex);
bool mutex_try_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

/* Readers and a writer; a writer that waits keeps new readers out. Its readers are a list, so that
 * whoever looks knows who holds it. */
struct rwmutex {
	struct goroutine *writer;
	struct hold *readers;
	struct wait_queue waiters;
};

void rwmutex_lock(struct rwmutex *lock);
void rwmutex_unlock(struct rwmutex *lock);
void rwmutex_rlock(struct rwmutex *lock);
void rwmutex_runlock(struct rwmutex *lock);

struct wait_group {
	long count;
	struct wait_queue waiters;
};

void wait_group_add(struct wait_group *group, long delta);
void wait_group_done(struct wait_group *group);
void wait_group_wait(struct wait_group *group);

/* MUTEX is held by the caller of cond_wait; released while it waits. */
struct cond {
	struct wait_queue waiters;
};

void cond_wait(struct cond *cond, struct mutex *mutex);
void cond_signal(struct cond *cond);
void cond_broadcast(struct cond *cond);

/* Anyone may release it. */
struct semaphore {
	long count;
	struct wait_queue waiters;
};

void semaphore_acquire(struct semaphore *semaphore);
void semaphore_release(struct semaphore *semaphore);

struct once {
	struct mutex mutex;
	bool done;
};

void once_do(struct once *once, void (*function)(void *), void *argument);

/* --- Time --- */

#define MILLISECOND 1000000ll
#define SECOND 1000000000ll

/* Nanoseconds, as everywhere here. */
void go_sleep(int64_t nanoseconds);

/* A channel of capacity 1 that gets one value (not NULL) after a while. */
struct chan *time_after(int64_t nanoseconds);

struct timer;

/* A channel that gets a value every so often until the ticker is stopped. */
struct timer *ticker_new(int64_t nanoseconds);

/* Like time_after, but can be stopped. */
struct timer *timer_new(int64_t nanoseconds);

/* Runs FUNCTION(ARGUMENT) in a goroutine of its own after a while. */
struct timer *timer_after_func(int64_t nanoseconds, void (*function)(void *), void *argument);

/* The channel of a timer or ticker. */
struct chan *timer_chan(struct timer *timer);

/* Whether it had not gone off yet. The timer lives on until timer_free. */
bool timer_stop(struct timer *timer);
void timer_free(struct timer *timer);

/* --- context --- */

struct context;

/* A context that is never cancelled. */
struct context *context_background(void);

/* Cancelled with its parent, by context_cancel, or when its time has come. */
struct context *context_with_cancel(struct context *parent);
struct context *context_with_timeout(struct context *parent, int64_t nanoseconds);

/* Closed when it is cancelled; NULL for the background. */
struct chan *context_done(struct context *context);
bool context_is_done(struct context *context);
void context_cancel(struct context *context);

/* --- Descriptors (made non-blocking) --- */

/* As read(2) and write(2), but only the calling goroutine waits. */
ptrdiff_t go_read(int fd, void *buffer, size_t size);
ptrdiff_t go_write(int fd, const void *buffer, size_t size);

/* As accept(2). */
int go_accept(int fd);

#endif
