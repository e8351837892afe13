/* SPDX-License-Identifier: MIT */
/*
 * What the two halves of State Threads' adapter share: how the library lays its memory out
 * (measured in docs/runtimes.md), and what the target's half tells the snapshot's.
 */
#ifndef LP_HOOKS_STATE_THREADS_H
#define LP_HOOKS_STATE_THREADS_H

#include "runtime_hooks/adapters/adapters.h"

#define LP_ST_KEYS 16

enum { ST_RUNNING, ST_RUNNABLE, ST_IO, ST_LOCK, ST_COND, ST_SLEEPING, ST_ZOMBIE, ST_SUSPENDED };

enum {
	FLAG_PRIMORDIAL = 1,
	FLAG_SLEEPING = 4, /* on the sleep queue: it has a deadline */
};

struct list {
	struct list *next;
	struct list *prev;
};

struct st_stack {
	struct list links;
	char *mapping;
	int mapping_size;
	int size;
	char *bottom;
	char *top;
	char *start; /* where the thread's own frames begin */
};

/* The control block. The thread's data lies behind it. */
struct st {
	int state;
	int flags;
	void *(*start)(void *);
	void *argument;
	void *result;
	struct st_stack *stack;
	struct list links;
	struct list wait_links; /* in the ring of those that wait for a mutex or condition */
	unsigned long long due;
	struct st *left;
	struct st *right;
	int heap_index;
	void **data;
	struct list *joiners;	   /* a condition */
	struct lp_context context; /* written when the thread is switched away from */
	uintptr_t unused[17];	   /* of its jmp_buf */
};

_Static_assert(offsetof(struct st, stack) == 32 && offsetof(struct st, wait_links) == 56 &&
		       offsetof(struct st, data) == 104 && offsetof(struct st, context) == 120 &&
		       offsetof(struct st, context.sp) == 168 && sizeof(struct st) == 320,
	       "offsets of libst 1.9's control block");

/* A condition is the head of its ring alone. */
struct st_mutex {
	struct st *owner;
	struct list waiters;
};

/* The thread that the library is in; NULL: none. */
struct st *lp_st_self(void);

/* An address in the library; 0: it is not loaded. */
uintptr_t lp_st_address(void);

/* The program was seen to interrupt, whatever its import tables say (dlsym). */
bool lp_st_interrupts(void);

/* Whether the target counts waits. */
bool lp_st_counts(void);

/* The adapter's, see struct lp_adapter. */
void lp_st_yield(void);
const struct lp_wait_kind *lp_st_peek(const struct lp_goroutine *goroutine);

extern const struct lp_adapter lp_st_adapter;

#endif
