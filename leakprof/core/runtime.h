/* SPDX-License-Identifier: MIT */
/*
 * A runtime (a coroutine library of the target, or the program's own) and the contract of its
 * adapter.
 *
 * In the target an adapter interposes the library's public calls and tells the registry who is
 * created, who ends, and, unless the library's memory tells it, who waits. In the snapshot, on the
 * frozen copy, it answers the questions of struct lp_adapter from the library's own state.
 */
#ifndef LP_CORE_RUNTIME_H
#define LP_CORE_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_adapter;
struct lp_collection;
struct lp_goroutine;
struct lp_node;
struct lp_wait_kind;

struct lp_runtime {
	const struct lp_adapter *adapter;
	const char *name;	     /* for people: "GNU Pth" */
	struct lp_goroutine **table; /* by handle: open addressing; NULL: annotated */
	size_t table_size;	     /* a power of two */
	size_t table_used;
	uint64_t created; /* without service goroutines */
	uint64_t finished;
	void (*yield)(void); /* annotated: as the adapter's */
	int thread;	     /* TID of the OS thread that it runs in */
	bool seen;	     /* it was initialised in this process */
	bool shared;	     /* used by several threads, without a table */
};

struct lp_adapter {
	/* Lets other goroutines run for a moment, where the caller may switch; NULL: only by other
	 * OS threads. Called in the target. */
	void (*yield)(void);

	/* What GOROUTINE waits in, as the library has it at the moment; NULL: it does not. For
	 * statistics, called in the target, or in a process that shares its memory. Where it is
	 * NULL goroutines tell by their wait. */
	const struct lp_wait_kind *(*peek)(const struct lp_goroutine *goroutine);

	/* An address in the library's code or data: its loaded object is no root. 0: not loaded. */
	uintptr_t (*address)(void);

	/*
	 * Where the stack and the control block of NODE are. stack_*, scan_*, handle_*, wait and
	 * waits come filled from the goroutine's record and its wait; the adapter corrects what the
	 * library knows better, and sets context where the library has saved registers.
	 */
	void (*locate)(struct lp_collection *collection, struct lp_node *node);

	/*
	 * Sets state, rule and label of all nodes of RUNTIME and tells their objects, owners and
	 * extra memory (lp_node_*). The library's own roots are queued here.
	 */
	void (*inspect)(struct lp_collection *collection, struct lp_runtime *runtime);

	/*
	 * Called when every runtime is inspected: takes out of the frozen copy what leads from
	 * objects to waiters and from goroutine to goroutine (lp_collect_cut), so that marking does
	 * not follow it.
	 */
	void (*cut)(struct lp_collection *collection, struct lp_runtime *runtime);
};

#endif
