/* SPDX-License-Identifier: MIT */
/*
 * Verdicts: which goroutines can still run. Each goroutine is a node; marking (mark.h) tells when
 * the things that nodes wait on are reached, and a node that becomes live has its own stack scanned
 * in turn. One worklist, so every byte is scanned and every node resurrected at most once.
 *
 *     wait object reached ----> LP_RULE_ANY: live
 *                         \---> LP_RULE_OWNER: live as soon as an owner is live too
 *     node becomes live ------> those that it owns a lock for, or that join it
 *     handle reached ---------> live, where the runtime can wake by handle
 *     word into its frames ---> its stack's memory is scanned; the node is not live by that
 *
 * Runs in the snapshot.
 */
#ifndef LP_CORE_VERDICT_H
#define LP_CORE_VERDICT_H

#include "core/goroutine.h"
#include "core/mark.h"

struct lp_node {
	const struct lp_goroutine *goroutine;
	enum lp_state state;
	enum lp_rule rule;
	const char *label;   /* Go's words; "" when it does not wait */
	uintptr_t stack_low; /* memory of its stack; equal bounds: none of its own */
	uintptr_t stack_high;
	uintptr_t scan_low; /* the part of it that is in use, LOW == HIGH: nothing to scan */
	uintptr_t scan_high;
	uintptr_t running_sp; /* where an OS thread is on its stack; 0: none is */
	uint64_t since_ns;    /* when its wait began; 0: unknown */
	uintptr_t handle_low; /* its handle: the control block */
	uintptr_t handle_high;
	const struct lp_wait *wait;	  /* registers of a parked node; NULL: none were saved */
	const struct lp_context *context; /* those that its runtime saved; NULL: WAIT has them */
	uint32_t waits;			  /* with id: the very same wait (history.h) */
	bool waits_uncounted; /* equal WAITS mean the same place; it may have run and come back */
	bool unsure;	      /* live, as it cannot be told; that does not mean that it ran */
	bool handle_wakes;    /* whoever holds the handle can wake it */
	bool service;	      /* the runtime's own: no verdict, no root */
	bool gone;	      /* it has ended: kept to be recognised as an owner */
	bool main;
	bool live;
	bool leaked;  /* reported: see history.h */
	bool reached; /* one of its objects is */
	bool owner_live;
	bool stack_scanned;
	uint32_t dependents; /* first edge to those that wait for it: index + 1 */
	uint32_t extras;     /* first range of more memory that it owns: index + 1 */
	uint64_t heap_bytes; /* that only leaked nodes reach */
};

/* Whether NODE is none of the program's goroutines. */
static inline bool lp_node_hidden(const struct lp_node *node)
{
	return node->service || node->gone;
}

#define LP_NODES_AHEAD 8
#define LP_NODE_FETCHED 512 /* bytes */

/* For a loop over NODES that is at I: calls the stack of one that it will come to into the cache,
 * its used part, as far as it matters. */
static inline void lp_nodes_fetch(const struct lp_vec *nodes, size_t i)
{
	const struct lp_node *node;
	uintptr_t at;

	if (i + LP_NODES_AHEAD >= nodes->count)
		return;
	node = lp_vec_at(nodes, struct lp_node, i + LP_NODES_AHEAD);
	for (at = node->scan_low; at < node->scan_high && at < node->scan_low + LP_NODE_FETCHED;
	     at += 64)
		__builtin_prefetch((const void *)at);
}

struct lp_verdict_state {
	struct lp_mark *mark;
	struct lp_vec nodes; /* struct lp_node */
	struct lp_vec edges;
	struct lp_vec ranges;
	struct lp_vec by_handle; /* sorted by lp_verdict_layout */
	struct lp_vec pending;	 /* nodes that became live and were not followed yet */
	bool counting;		 /* the fixpoint is over: nothing is resurrected any more */
};

void lp_verdict_init(struct lp_verdict_state *state, struct lp_mark *mark);

/* Adds a node for GOROUTINE. NULL when there is no memory. Pointers to nodes last until the next
 * one is added. */
struct lp_node *lp_verdict_add(struct lp_verdict_state *state,
			       const struct lp_goroutine *goroutine);

/* All nodes are there: their stacks go into the layout of the marker. */
void lp_verdict_layout(struct lp_verdict_state *state);

/* What to hand to lp_mark_ready. */
struct lp_mark_client lp_verdict_client(struct lp_verdict_state *state);

/* The node whose handle starts at HANDLE, or NULL. */
struct lp_node *lp_verdict_find(struct lp_verdict_state *state, const void *handle);

/* --- What an adapter says of a waiting node, after lp_mark_ready --- */

/* NODE waits for ADDRESS. */
void lp_node_object(struct lp_verdict_state *state, struct lp_node *node, const void *address);

/* NODE waits for OWNER to act. OWNER NULL: somebody unknown, who counts as live. */
void lp_node_owner(struct lp_verdict_state *state, struct lp_node *node, struct lp_node *owner);

/* The memory LOW .. HIGH is scanned when NODE is. */
void lp_node_extra(struct lp_verdict_state *state, struct lp_node *node, const void *low,
		   const void *high);

/* --- The fixpoint --- */

/* Runs it: every node that is not waiting is live, then whatever follows. The roots are in the
 * marker's queue. */
int lp_verdict_run(struct lp_verdict_state *state);

/* Afterwards: HEAP_BYTES of every node that is not live. */
int lp_verdict_count_held(struct lp_verdict_state *state);

#endif
