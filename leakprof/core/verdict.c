/* SPDX-License-Identifier: MIT */
/*
 * See verdict.h for the idea. A watch of the marker is numbered 2 * node for a wait object, 2 *
 * node + 1 for the node's handle.
 */
#include "core/verdict.h"

/* From an owner, or one that is joined, to a node that waits for it. */
struct edge {
	uint32_t node;
	uint32_t next; /* index + 1 */
};

struct extra {
	uintptr_t low;
	uintptr_t high;
	uint32_t next; /* index + 1 */
};

struct handle {
	uint64_t address;
	uint32_t node;
};

static struct lp_node *node_at(struct lp_verdict_state *state, uint32_t i)
{
	return lp_vec_at(&state->nodes, struct lp_node, i);
}

static uint32_t index_of(struct lp_verdict_state *state, const struct lp_node *node)
{
	return (uint32_t)(node - lp_vec_at(&state->nodes, struct lp_node, 0));
}

void lp_verdict_init(struct lp_verdict_state *state, struct lp_mark *mark)
{
	state->mark = mark;
	state->nodes = LP_VEC(struct lp_node);
	state->edges = LP_VEC(struct edge);
	state->ranges = LP_VEC(struct extra);
	state->by_handle = LP_VEC(struct handle);
	state->pending = LP_VEC(uint32_t);
	state->counting = false;
}

struct lp_node *lp_verdict_add(struct lp_verdict_state *state, const struct lp_goroutine *goroutine)
{
	struct lp_node *node = lp_vec_add(&state->nodes, 1);

	if (!node)
		return NULL;
	node->goroutine = goroutine;
	node->rule = LP_RULE_LIVE;
	node->state = LP_STATE_RUNNABLE;
	node->label = "";
	return node;
}

void lp_verdict_layout(struct lp_verdict_state *state)
{
	uint32_t i;

	for (i = 0; i < state->nodes.count; i++) {
		struct lp_node *node = node_at(state, i);
		struct handle handle = {node->handle_low, i};

		lp_mark_stack(state->mark, node->stack_low, node->stack_high, i);
		if (handle.address)
			lp_vec_push(&state->by_handle, &handle);
	}
	lp_vec_sort(&state->by_handle);
}

struct lp_node *lp_verdict_find(struct lp_verdict_state *state, const void *handle)
{
	long i = lp_vec_floor(&state->by_handle, (uintptr_t)handle);
	const struct handle *found;

	if (i < 0)
		return NULL;
	found = lp_vec_at(&state->by_handle, struct handle, i);
	return found->address == (uintptr_t)handle ? node_at(state, found->node) : NULL;
}

/* --- Becoming live --- */

static void scan_stack(struct lp_verdict_state *state, struct lp_node *node)
{
	if (node->stack_scanned)
		return;
	node->stack_scanned = true;
	lp_mark_range(state->mark, node->scan_low, node->scan_high);
	lp_mark_stack_reached(state->mark, node->stack_low);
}

/* All that NODE itself holds: stack, saved registers, extra memory. */
static void scan_node(struct lp_verdict_state *state, struct lp_node *node)
{
	const struct lp_wait *wait = node->wait;
	uint32_t i;

	scan_stack(state, node);
	if (wait) {
		const uintptr_t registers[] = {wait->bx, wait->r12, wait->r13, wait->r14,
					       wait->r15};

		for (i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
			lp_mark_word(state->mark, registers[i]);
	}
	for (i = node->extras; i;) {
		const struct extra *extra = lp_vec_at(&state->ranges, struct extra, i - 1);

		lp_mark_range(state->mark, extra->low, extra->high);
		i = extra->next;
	}
}

/* Queues NODE: what becomes live by it may be a chain of any length, so nothing here recurses. */
static void resurrect(struct lp_verdict_state *state, struct lp_node *node)
{
	uint32_t number = index_of(state, node);

	if (node->live || state->counting)
		return;
	node->live = true;
	lp_vec_push(&state->pending, &number);
}

static void check(struct lp_verdict_state *state, struct lp_node *node)
{
	switch (node->rule) {
	case LP_RULE_ANY:
		if (node->reached)
			resurrect(state, node);
		return;
	case LP_RULE_OWNER:
		if (node->reached && node->owner_live)
			resurrect(state, node);
		return;
	case LP_RULE_JOIN:
		if (node->owner_live)
			resurrect(state, node);
		return;
	case LP_RULE_LIVE:
		resurrect(state, node);
		return;
	case LP_RULE_NEVER:
		return;
	}
}

/* What follows from NODE being live: its memory is reached, its locks may be released, its joiners
 * may go on. */
static void follow(struct lp_verdict_state *state, struct lp_node *node)
{
	uint32_t i = node->dependents;

	scan_node(state, node);
	while (i) {
		struct edge edge = *lp_vec_at(&state->edges, struct edge, i - 1);
		struct lp_node *waiter = node_at(state, edge.node);

		i = edge.next;
		waiter->owner_live = true;
		check(state, waiter);
	}
}

static int run(struct lp_verdict_state *state)
{
	int r;

	do {
		while (state->pending.count)
			follow(state, node_at(state, *lp_vec_at(&state->pending, uint32_t,
								--state->pending.count)));
		r = lp_mark_run(state->mark);
	} while (!r && state->pending.count);
	return r;
}

static void on_reached(void *context, uint32_t watch)
{
	struct lp_verdict_state *state = context;
	struct lp_node *node = node_at(state, watch / 2);

	if (watch % 2) {
		if (node->handle_wakes)
			resurrect(state, node);
		return;
	}
	node->reached = true;
	check(state, node);
}

static void on_stack(void *context, uint32_t stack, uintptr_t address)
{
	struct lp_verdict_state *state = context;
	struct lp_node *node = node_at(state, stack);

	if (address >= node->handle_low && address < node->handle_high) {
		on_reached(state, 2 * stack + 1);
		return;
	}
	if (address >= node->scan_low && address < node->scan_high && !lp_node_hidden(node))
		scan_stack(state, node);
}

struct lp_mark_client lp_verdict_client(struct lp_verdict_state *state)
{
	return (struct lp_mark_client){on_reached, on_stack, state};
}

/* --- What adapters say --- */

void lp_node_object(struct lp_verdict_state *state, struct lp_node *node, const void *address)
{
	if (lp_mark_watch(state->mark, (uintptr_t)address, 2 * index_of(state, node)) ==
	    LP_PLACE_REACHED)
		node->reached = true;
}

void lp_node_owner(struct lp_verdict_state *state, struct lp_node *node, struct lp_node *owner)
{
	struct edge edge = {.node = index_of(state, node)};

	if (!owner) {
		node->owner_live = true;
		return;
	}
	edge.next = owner->dependents;
	if (lp_vec_push(&state->edges, &edge))
		owner->dependents = (uint32_t)state->edges.count;
}

void lp_node_extra(struct lp_verdict_state *state, struct lp_node *node, const void *low,
		   const void *high)
{
	struct extra extra = {(uintptr_t)low, (uintptr_t)high, node->extras};

	if (lp_vec_push(&state->ranges, &extra))
		node->extras = (uint32_t)state->ranges.count;
}

/* --- The fixpoint --- */

/* A handle that is a block of its own is watched; one that lies in the stack is seen by on_stack.
 */
static void watch_handle(struct lp_verdict_state *state, struct lp_node *node)
{
	bool in_stack = node->handle_low >= node->stack_low && node->handle_low < node->stack_high;

	if (node->handle_low && !in_stack &&
	    lp_mark_watch(state->mark, node->handle_low, 2 * index_of(state, node) + 1) ==
		    LP_PLACE_REACHED &&
	    node->handle_wakes)
		resurrect(state, node);
}

int lp_verdict_run(struct lp_verdict_state *state)
{
	uint32_t i;

	for (i = 0; i < state->nodes.count; i++) {
		struct lp_node *node = node_at(state, i);

		if (lp_node_hidden(node))
			continue;
		watch_handle(state, node);
		check(state, node);
	}
	return run(state);
}

int lp_verdict_count_held(struct lp_verdict_state *state)
{
	uint32_t i;
	int r;

	state->counting = true;
	for (i = 0; i < state->nodes.count; i++) {
		struct lp_node *node = node_at(state, i);
		uint64_t before = lp_mark_figures(state->mark)->marked_bytes;

		lp_nodes_fetch(&state->nodes, i);

		if (node->live || lp_node_hidden(node))
			continue;
		scan_node(state, node);
		r = lp_mark_run(state->mark);
		if (r)
			return r;
		node->heap_bytes = lp_mark_figures(state->mark)->marked_bytes - before;
	}
	return 0;
}
