/* SPDX-License-Identifier: MIT */
/*
 * What the two halves of GNU Pth's adapter share: how the library lays its memory out (measured in
 * docs/runtimes.md), and what the target's half tells the snapshot's.
 */
#ifndef LP_HOOKS_PTH_H
#define LP_HOOKS_PTH_H

#include <sys/time.h>

#include "runtime_hooks/adapters/adapters.h"

#define LP_PTH_KEYS 256

/* The scheduler's queues: new, ready, waiting, dead, suspended. */
#define LP_PTH_QUEUES 5
enum { QUEUE_SUSPENDED = 4 };

/* Event types. */
enum {
	EVENT_FD = 1 << 1,
	EVENT_SELECT = 1 << 2,
	EVENT_SIGS = 1 << 3,
	EVENT_TIME = 1 << 4,
	EVENT_MSG = 1 << 5,
	EVENT_MUTEX = 1 << 6,
	EVENT_COND = 1 << 7,
	EVENT_TID = 1 << 8,
	EVENT_FUNC = 1 << 9,
};

enum { STATE_NEW = 1, STATE_READY, STATE_WAITING, STATE_DEAD };
enum { MUTEX_LOCKED = 1 << 1, COND_SIGNALED = 1 << 1 };

struct ring_node {
	struct ring_node *next;
	struct ring_node *prev;
};

struct pth_mutex {
	struct ring_node node;
	int state;
	struct pth *owner;
	unsigned long count;
};

struct pth_cond {
	unsigned long state;
	unsigned waiters;
};

struct pth_msgport {
	struct ring_node node;
	const char *name;
	struct pth *creator;
	struct ring_node *queue;
	unsigned queued;
};

struct pth_event {
	struct pth_event *next;
	struct pth_event *prev;
	int status; /* 0: pending */
	int type;
	int goal;
	union {
		void *object;
		struct pth_mutex *mutex;
		struct pth_cond *cond;
		struct pth_msgport *port;
		struct pth *thread;
		uintptr_t words[5];
	} args;
};

/* The control block, as far as it is read. */
struct pth {
	struct pth *next;
	struct pth *prev;
	int queue_priority;
	int priority;
	char name[40];
	int dispatches;
	int state;
	struct timeval spawned;
	struct timeval last_ran;
	struct timeval ran;
	struct pth_event *events; /* 120 */
	char signals[136];	  /* sigpending, sigpendcnt */
	char context[1112]; /* 264: what swapcontext saves, and a copy of the signal mask at its end
			     */
	char *stack;	    /* 1376 */
	unsigned stack_size;
	long *guard;
	int stack_loan;
	void *(*start)(void *); /* 1408 */
	void *argument;
	int joinable;
	void *result; /* 1432 */
	void **data;
	int data_count;
	int cancel_requested; /* 1452 */
	unsigned cancel_state;
	void *cleanups;
	struct ring_node *mutexes; /* 1472 */
};

_Static_assert(offsetof(struct pth, events) == 120 && offsetof(struct pth, stack) == 1376 &&
		       offsetof(struct pth, start) == 1408 &&
		       offsetof(struct pth, cancel_requested) == 1452 &&
		       offsetof(struct pth, mutexes) == 1472,
	       "offsets of libpth 2.0.7's control block");

struct pth_queue {
	struct pth *head;
	int count;
};

/* The thread that the library is in; NULL: none. */
struct pth *lp_pth_self(void);

/* The library's own thread, in which its scheduler runs; NULL: none. */
struct pth *lp_pth_scheduler(void);

/* Queue NUMBER of the scheduler's. */
const struct pth_queue *lp_pth_queue(size_t number);

/* Where the library keeps what a new user context begins with. */
uintptr_t lp_pth_trampoline(void);

/* An address in the library; 0: it is not loaded. */
uintptr_t lp_pth_address(void);

/* The program was seen to call what wakes by handle, whatever its import tables say (dlsym). */
bool lp_pth_cancels(void);
bool lp_pth_resumes(void);

/* Whether KEY, below LP_PTH_KEYS, is one of the library's own static events. */
bool lp_pth_own_key(size_t key);

/* The adapter's, see struct lp_adapter. */
void lp_pth_yield(void);

extern const struct lp_adapter lp_pth_adapter;

#endif
