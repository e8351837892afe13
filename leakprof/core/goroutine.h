/* SPDX-License-Identifier: MIT */
/*
 * What the target knows of a goroutine, and how it says that one waits.
 *
 * A goroutine is one fixed record, written when it is created and when it ends. A wait is a record
 * on the waiter's own stack, in the frame of the interposed call, published by one store into the
 * goroutine and withdrawn by another: no lock, no allocation, no system call. The snapshot reads
 * both from its frozen copy. Of a runtime whose own memory says who waits, and where, no wait is
 * recorded: the adapter finds a struct lp_context instead.
 *
 *     goroutine --wait--> struct lp_wait, in the wrapper's frame --frame--> wrapper's frame pointer
 *                                                                    [0] the caller's rbp
 *                                                                    [1] return address in the
 * caller [2] the caller's frame
 */
#ifndef LP_CORE_GOROUTINE_H
#define LP_CORE_GOROUTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/stream.h"

/* When a waiting goroutine is live (DESIGN.md, "By kind of wait"). */
enum lp_rule {
	LP_RULE_LIVE,  /* always: I/O, timers, whatever is uncertain */
	LP_RULE_ANY,   /* any of its objects is reached */
	LP_RULE_OWNER, /* its object is reached and an owner of it is live */
	LP_RULE_JOIN,  /* the goroutine that it joins is live */
	LP_RULE_NEVER, /* never, but for its handle */
};

/* A kind of wait: constant, one per kind and adapter. */
struct lp_wait_kind {
	const char *label; /* Go's words */
	enum lp_rule rule;
	enum lp_state state; /* LP_STATE_WAITING, _IO or _SLEEP */
};

struct lp_wait {
	const struct lp_wait_kind *kind;
	uintptr_t *frame; /* see above */
	uintptr_t bx, r12, r13, r14, r15;
	void *object; /* what the adapter's kind waits on; its meaning is the adapter's */
};

/* Registers that a runtime itself keeps of a goroutine it has switched away from, as State Threads'
 * switch code lays them out. PC is where it goes on. */
struct lp_context {
	uintptr_t bx, bp, r12, r13, r14, r15, sp, pc;
};

struct leakprof_label;
struct lp_runtime;

/*
 * In the target. ID is 0 in a free slot and is written last. It begins as struct leakprof_goroutine
 * does, and the wait of an annotated runtime as struct leakprof_wait (leakprof.h).
 */
struct lp_goroutine {
	struct lp_wait *wait; /* NULL: not in a blocking call */
	void *sp; /* annotated: where its stack was left; NULL: unknown. State Threads: where
		     its stack begins */
	uint32_t checked; /* annotated: calls are checked */
	uint32_t waits;	  /* begun so far: the same number is the very same wait */
	uint8_t flags;	  /* enum lp_target_flag bits */
	uint8_t label_count;
	uint16_t scope; /* of leak checks, that it was created in (scopes.c); 0: none */
	uint32_t stack_size;
	uint64_t id;
	uint64_t creator;
	uint64_t created_ns; /* CLOCK_REALTIME */
	void *handle;	     /* the runtime's own: a pth_t, st_thread_t, control block */
	char *stack_low;     /* NULL: the stack of its OS thread */
	void *entry;
	void *created_pc;
	struct lp_runtime *runtime;
	const char *name;
	const struct leakprof_label *labels;
	uint32_t handle_size; /* annotated */
	uint16_t data_offset; /* annotated: the program's words in the control block, in units of 8
				 bytes */
	uint16_t data_size;   /* LP_DATA_REST: up to its end */
	int32_t thread;	      /* of one without a stack of its own; 0: the runtime's */
	uint32_t slot;	      /* next free slot while free */
};

#define LP_DATA_REST 0xffffu

_Static_assert(sizeof(struct lp_goroutine) <= 128, "bytes per goroutine");

/* Sets the bounds of a stack. Of one of 4 GiB or more the upper part counts, where it is used. */
static inline void lp_goroutine_set_stack(struct lp_goroutine *goroutine, char *low, size_t size)
{
	const size_t most = UINT32_MAX & ~(size_t)15;

	goroutine->stack_low = size > most ? low + (size - most) : low;
	goroutine->stack_size = (uint32_t)(size > most ? most : size);
}

static inline char *lp_goroutine_stack_high(const struct lp_goroutine *goroutine)
{
	return goroutine->stack_low ? goroutine->stack_low + goroutine->stack_size : NULL;
}

enum lp_target_flag {
	LP_T_MAIN = 1,	  /* the goroutine that the runtime was started in */
	LP_T_SERVICE = 2, /* the runtime's own (scheduler, idle thread): no goroutine for the user,
			     no root */
	LP_T_ENDING = 4,  /* it is on its way out: running its last handlers, or gone */
	LP_T_CANCELLABLE = 8,
	LP_T_IGNORED = 16,
};

#endif
