/* SPDX-License-Identifier: MIT */
/*
 * A randomized oracle: random programs over minigo, run for real, beside a model of each that knows
 * nothing of addresses and computes which of its goroutines are leaked. See README.md in this
 * folder.
 *
 * A program is a random walk. At each step the model picks an idle actor (a goroutine that waits
 * for orders) and something that it can do, and works out what must follow; then the actor does it.
 * Orders name things by where the actor has them (its local variables), so that the driver, which
 * runs the model, never holds a pointer of the programs.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "minigo.h"

#define PROGRAMS_MAX 1000 /* in one process */
#define ACTORS 8	  /* of one program, at most */
#define LOCALS 6	  /* pointers that an actor holds in its frame */
#define SLOTS 3		  /* pointers that a box holds */
#define GLOBALS 3	  /* global variables of one program */
#define CASES 3		  /* of a select */
#define PLACES 288	  /* of the OS threads that are no workers: TLS variables and registers */
#define HOUR (3600 * SECOND)

/* What goroutines share: pointers, and everything of sync. PAD bytes more lie behind. */
struct box {
	void *slots[SLOTS];
	struct mutex mutexes[2]; /* the second is the condition's */
	struct rwmutex rwmutex;
	struct wait_group group;
	struct cond cond;
	struct semaphore semaphore;
	char pad[];
};

enum op {
	OP_EXIT,
	/* pointers */
	OP_COPY,    /* local[to] = local[from] + offset */
	OP_CLEAR,   /* local[to] = NULL */
	OP_STORE,   /* box->slots[slot] = local[from], or NULL with from < 0 */
	OP_LOAD,    /* local[to] = box->slots[slot] */
	OP_PUBLISH, /* globals[slot] = local[from], or NULL */
	OP_FETCH,   /* local[to] = globals[slot] */
	OP_PLACE,   /* an OS thread keeps local[from], or nothing, in place SLOT */
	OP_ADDRESS, /* local[to] = &local[from] */
	OP_SPAWN,   /* of actor NUMBER, with local[from] as its argument */
	/* objects */
	OP_BOX,	       /* local[to], with PAD bytes more */
	OP_CHAN,       /* of capacity PAD */
	OP_CONTEXT,    /* child of the context local[from], or of the background */
	OP_TIMEOUT,    /* the same, with a deadline in an hour */
	OP_DONE,       /* local[to] = done of the context */
	OP_AFTER,      /* local[to] = the channel of a timer that goes off in an hour */
	OP_TIMER,      /* local[to] = such a timer */
	OP_TIMER_CHAN, /* local[to] = its channel */
	OP_TIMER_STOP,
	/* what may wait */
	OP_SEND, /* local[from] */
	OP_RECEIVE,
	OP_RECEIVE_HOLDING, /* while local[from] is in a register alone */
	OP_SELECT,
	OP_LOCK, /* box->mutexes[slot] */
	OP_READ_LOCK,
	OP_WRITE_LOCK,
	OP_GROUP_WAIT,
	OP_COND_WAIT,
	OP_ACQUIRE,
	/* what may wake */
	OP_CLOSE,
	OP_CANCEL,
	OP_UNLOCK,
	OP_READ_UNLOCK,
	OP_WRITE_UNLOCK,
	OP_GROUP_ADD,
	OP_GROUP_DONE,
	OP_SIGNAL,
	OP_BROADCAST,
	OP_RELEASE,
	/* what waits, but may always go on, or never */
	OP_SLEEP,
	OP_READ,
	OP_PARK,
	OP_SEND_NIL,
	OP_COUNT
};

struct select_case {
	int on; /* local variable; -1: NULL */
	int offset;
	bool send;
	int from;
};

/* ON is the local variable that leads to the object, with OFFSET bytes added to its address. -1 is
 * no variable. */
struct order {
	enum op op;
	int on, offset;
	int from, from_offset;
	int to;
	int add; /* OP_COPY */
	int slot;
	int number;
	int pad;
	int case_count;
	struct select_case cases[CASES];
};

/* --- The model --- */

/* Starts program NUMBER (from 0) with its random numbers. THREADS: of minigo. */
void model_begin(int number, uint64_t seed, int threads);

/* Chooses a step of the program, applies it, and stores what the actor is to do. Returns the actor,
 * -1 when nothing was found to do. */
int model_step(int number, struct order *order);

/* As model_step, in the last phase: actors end or drop what they hold, globals are cleared. -1:
 * over.
 */
int model_wind_up(int number, struct order *order);

/* As model_step, but one that makes another goroutine ready. */
int model_wake(int number, struct order *order);

/* How many orders ACTOR must have finished by now (its start is one). */
int model_finished(int number, int actor);

/* Whether the last step left its actor waiting. */
bool model_waits(int number);

/* Whether ACTOR exists, and what it does, for people. NULL: it has ended, or was never started. */
const char *model_state(int number, int actor);

/* Computes the verdicts; then: */
void model_judge(int number);
bool model_leaked(int number, int actor);

/* Whether a leaked one is hidden by a word that is no program's: the pointer from one who waits to
 * the next in the same queue, on the stack of a goroutine that waits itself, and whose stack is
 * reached by the address of a variable there. */
bool model_may_be_hidden(int number, int actor);

#endif
