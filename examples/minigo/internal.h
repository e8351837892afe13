/* SPDX-License-Identifier: MIT */
/*
 * What the files of minigo share. One lock, sched.lock, guards every queue, channel, lock and
 * timer: it is simple, and enough for an example. Functions that end in _locked want it held.
 *
 * A goroutine that waits holds the lock while it queues itself and while it switches to its
 * thread's scheduler, which releases it: nobody can make the goroutine run before its stack is
 * left.
 *
 * The annotations for leakprof are the lines with leakprof_; nothing else knows of it.
 */
#ifndef MINIGO_INTERNAL_H
#define MINIGO_INTERNAL_H

#include <pthread.h>

#include "leakprof.h"
#include "minigo.h"

#define HOLDS 4
#define THREADS_MAX 64

/* That a goroutine holds a read lock: in the list of the lock's readers. */
struct hold {
	struct rwmutex *lock; /* NULL: unused */
	struct goroutine *reader;
	struct hold *next;
	struct hold *previous;
	struct hold *overflow; /* of the goroutine's: more than fit into its control block */
};

/* The control block. Of it only the argument is the program's: the rest leads to other goroutines.
 */
struct goroutine {
	void *sp;		/* where its stack was left */
	struct goroutine *next; /* in the run queue */
	char *stack;		/* NULL: main's, which is its thread's own */
	void (*function)(void *);
	void *argument;
	struct leakprof_goroutine *profile;
	struct hold holds[HOLDS];
	struct hold *overflow;
	size_t owned; /* mutexes: while there is one, they name this block as their owner */
	bool finished;
	bool settling; /* in go_settle: not counted as running */
	void *fiber;   /* sanitizers' */
};

/* On the stack of who waits, in the queue of what it waits for. */
struct waiter {
	struct goroutine *goroutine;
	struct wait_queue *queue; /* NULL: in none */
	struct waiter *next;
	struct waiter *previous;
	void *value; /* to send, or received */
	bool ok;
	bool reader;	       /* for a read lock */
	struct waiter *select; /* the first of a select's, or NULL */
	size_t select_count;
	size_t *chosen;
};

struct worker {
	void *sp; /* where its scheduler was left */
	struct goroutine *current;
	struct goroutine *ended; /* whose stack can go, once it is left */
	struct leakprof_goroutine *profile;
	/* Of the scheduler, for sanitizers. */
	void *fiber;
	const void *stack;
	size_t stack_size;
};

/* All of it leads from goroutine to goroutine. */
struct sched {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct goroutine *first; /* the run queue */
	struct goroutine *last;
	char *free_stacks;
	size_t count; /* goroutines */
	size_t idle_workers;
	bool polling; /* a worker sleeps in the poller */
	bool main_ended;
	struct worker workers[THREADS_MAX];
	size_t worker_count;
	struct goroutine main;
};

extern struct sched sched;
extern struct leakprof_runtime *profiled;

/* The calling goroutine. */
struct goroutine *go_self(void);

_Noreturn void go_abort(const char *what);

void go_lock(void);
void go_unlock(void);

/* Leaves the calling goroutine, which must be in some queue, until it is made ready. Returns
 * without the lock. */
void go_leave_locked(void);

/* Whether a goroutine other than those in go_settle runs or is ready to. */
bool others_run_locked(void);

/* Puts GOROUTINE at the end of the run queue. */
void go_ready_locked(struct goroutine *goroutine);

void go_spawn_locked(void (*function)(void *), void *argument, const void *created_pc);

/* --- Queues of waiters --- */

void queue_add(struct wait_queue *queue, struct waiter *waiter);
void queue_remove(struct waiter *waiter);

/* Takes WAITER, and the others of its select, out of their queues; its goroutine will run. */
void wake_locked(struct waiter *waiter);

/* --- Time and descriptors, for the scheduler --- */

int64_t now_ns(void);

/* Fires what is due. */
void timers_run_locked(void);

/* Nanoseconds to the next timer, -1: there is none. */
int64_t timer_next_locked(void);

/* Waits at most so long (-1: no limit) for descriptors or poller_wake; without the lock, except for
 * the results. */
void poller_wait_locked(int64_t nanoseconds);
void poller_wake(void);
size_t poller_count(void);

/* Sends without waiting; a full channel keeps what it has. */
void chan_offer_locked(struct chan *chan, void *value);
void chan_close_locked(struct chan *chan);

#endif
