/* SPDX-License-Identifier: MIT */
/*
 * Runtimes that tell of themselves by leakprof.h. In the target nothing is interposed: annotate.c
 * and the header keep the records. Here, in the snapshot, what they say is turned into nodes.
 *
 * A control block is never followed: where it lies in a heap block of its own or in memory of the
 * runtime, it is cleared in the frozen copy, after the part that holds the program's words was
 * copied out, to be scanned with the goroutine.
 *
 * Everything here was written by the program: a kind or a wait that cannot be read makes its
 * goroutine live.
 */
#include <string.h>

#include "core/own.h"
#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/adapters/adapters.h"

#define OWNERS_MAX 100000u
#define CASES_MAX 65536u
#define BLOCK_SLACK 64u /* what malloc may give more than was asked for */

static uintptr_t address(void)
{
	return 0;
}

/* --- Reading what the program wrote --- */

static bool is_mapped(const struct lp_collection *collection, const void *start, size_t size)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, (uintptr_t)start);

	return region && region->prot & PROT_READ && region->end - (uintptr_t)start >= size;
}

/* Reads KIND, of whatever version, into *KNOWN. */
static bool read_kind(struct lp_collection *collection, const struct leakprof_kind *kind,
		      struct leakprof_kind *known)
{
	memset(known, 0, sizeof(*known));
	if (is_mapped(collection, kind, sizeof(kind->size)) &&
	    kind->size >= offsetof(struct leakprof_kind, queue_offset) &&
	    is_mapped(collection, kind,
		      kind->size < sizeof(*known) ? kind->size : sizeof(*known))) {
		memcpy(known, kind, kind->size < sizeof(*known) ? kind->size : sizeof(*known));
		return known->rule <= LEAKPROF_NEVER && known->name;
	}
	lp_collect_note(collection, LP_NOTE_WARNING,
			"a wait that was annotated cannot be understood: try check_annotations=1");
	return false;
}

static const struct leakprof_wait *wait_of(const struct lp_node *node)
{
	return (const struct leakprof_wait *)node->wait;
}

/* --- Where a goroutine is --- */

static void locate(struct lp_collection *collection, struct lp_node *node)
{
	const struct lp_goroutine *goroutine = node->goroutine;
	uintptr_t sp = (uintptr_t)goroutine->sp;

	node->handle_high =
		node->handle_low + (goroutine->handle_size ? goroutine->handle_size : 1);
	node->scan_low = sp >= node->stack_low && sp < node->stack_high ? sp : node->stack_low;
	if (node->wait && !is_mapped(collection, node->wait, sizeof(struct leakprof_wait)))
		node->wait = NULL;
}

/* --- Verdicts --- */

static void add_owners(struct lp_collection *collection, struct lp_node *node,
		       const struct leakprof_kind *kind, const void *object)
{
	void *cursor = NULL;
	unsigned count = 0;
	const void *owner;

	while (kind->owner && (owner = kind->owner(object, node->goroutine->handle, &cursor)) &&
	       count++ < OWNERS_MAX) {
		struct lp_node *found = lp_verdict_find(&collection->verdicts, owner);

		/* One that has ended cannot release anything. */
		if (found || owner == LEAKPROF_OWNER_UNKNOWN)
			lp_node_owner(&collection->verdicts, node, found);
	}
	if (!count || count >= OWNERS_MAX)
		lp_node_owner(&collection->verdicts, node, NULL);
}

static void add_cases(struct lp_collection *collection, struct lp_node *node,
		      const struct leakprof_wait *wait)
{
	const struct leakprof_case *cases = wait->object;
	size_t i;

	if (wait->count > CASES_MAX ||
	    !is_mapped(collection, cases, wait->count * sizeof(*cases))) {
		node->rule = LP_RULE_LIVE;
		return;
	}
	for (i = 0; i < wait->count; i++)
		if (cases[i].object)
			lp_node_object(&collection->verdicts, node, cases[i].object);
}

static void judge_join(struct lp_collection *collection, struct lp_node *node, const void *handle)
{
	struct lp_node *joined = lp_verdict_find(&collection->verdicts, handle);

	if (joined)
		lp_node_owner(&collection->verdicts, node, joined);
	else
		node->rule = LP_RULE_LIVE;
}

static void judge(struct lp_collection *collection, struct lp_node *node,
		  const struct leakprof_kind *kind)
{
	static const enum lp_rule rules[] = {LP_RULE_LIVE, LP_RULE_ANY, LP_RULE_OWNER, LP_RULE_JOIN,
					     LP_RULE_NEVER};
	static const enum lp_state states[] = {LP_STATE_WAITING, LP_STATE_IO, LP_STATE_SLEEP};
	const struct leakprof_wait *wait = wait_of(node);

	node->label = kind->name;
	node->state = states[kind->state < LP_ARRAY_SIZE(states) ? kind->state : 0];
	node->rule = rules[kind->rule];
	node->since_ns = wait->since_ns;
	if (node->rule == LP_RULE_JOIN)
		judge_join(collection, node, wait->object);
	else if (node->rule == LP_RULE_ANY && wait->count)
		add_cases(collection, node, wait);
	else if ((node->rule == LP_RULE_ANY || node->rule == LP_RULE_OWNER) && wait->object)
		lp_node_object(&collection->verdicts, node, wait->object);
	if (node->rule == LP_RULE_OWNER)
		add_owners(collection, node, kind, wait->object);
}

/* The program's words in the control block, which itself will be cleared. */
static void keep_data(struct lp_collection *collection, struct lp_node *node)
{
	const struct lp_goroutine *goroutine = node->goroutine;
	size_t offset = goroutine->data_offset * sizeof(uintptr_t);
	size_t rest = LP_ALIGN_DOWN(goroutine->handle_size, sizeof(uintptr_t)) - offset;
	size_t size = goroutine->data_size == LP_DATA_REST
			      ? rest
			      : goroutine->data_size * sizeof(uintptr_t);
	uintptr_t data = (uintptr_t)goroutine->handle + offset;
	char *copy;

	if (!goroutine->handle_size || !size || !is_mapped(collection, (void *)data, size))
		return;
	copy = lp_collect_keep(collection, (void *)data, size);
	if (copy)
		lp_node_extra(&collection->verdicts, node, copy, copy + size);
	else
		lp_collect_blind(collection,
				 "the snapshot had no memory for what control blocks hold");
}

static void inspect_node(struct lp_collection *collection, struct lp_node *node)
{
	struct leakprof_kind kind;

	if (lp_node_hidden(node))
		return;
	node->rule = LP_RULE_LIVE;
	node->handle_wakes = node->goroutine->flags & LP_T_CANCELLABLE;
	keep_data(collection, node);
	if (node->wait && read_kind(collection, wait_of(node)->kind, &kind))
		judge(collection, node, &kind);
	if (node->goroutine->flags & LP_T_IGNORED)
		node->rule = LP_RULE_LIVE;
}

/* Calls what VISIT will read of a node that it comes to later into the cache. */
static void fetch(const struct lp_vec *nodes, size_t i)
{
	const struct lp_node *node;

	if (i >= nodes->count)
		return;
	node = lp_vec_at(nodes, struct lp_node, i);
	__builtin_prefetch(node->wait);
	__builtin_prefetch((const void *)node->handle_low);
	__builtin_prefetch(node->goroutine);
}

static void each_node(struct lp_collection *collection, const struct lp_runtime *runtime,
		      void (*visit)(struct lp_collection *, struct lp_node *))
{
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		fetch(nodes, i + LP_NODES_AHEAD);
		if (node->goroutine->runtime == runtime)
			visit(collection, node);
	}
}

static void inspect(struct lp_collection *collection, struct lp_runtime *runtime)
{
	each_node(collection, runtime, inspect_node);
}

/* --- What is not followed --- */

static void cut_queue(struct lp_collection *collection, const void *object,
		      const struct leakprof_kind *kind)
{
	struct leakprof_kind known;

	if (object && kind && read_kind(collection, kind, &known) && known.queue_size)
		lp_collect_cut(collection, (const char *)object + known.queue_offset,
			       known.queue_size);
}

static void cut_queues(struct lp_collection *collection, struct lp_node *node)
{
	const struct leakprof_wait *wait = wait_of(node);
	const struct leakprof_case *cases;
	size_t i;

	if (!wait)
		return;
	if (!wait->count) {
		cut_queue(collection, wait->object, wait->kind);
		return;
	}
	cases = wait->object;
	if (wait->count > CASES_MAX || !is_mapped(collection, cases, wait->count * sizeof(*cases)))
		return;
	for (i = 0; i < wait->count; i++)
		cut_queue(collection, cases[i].object, cases[i].kind);
}

static size_t overlap(uintptr_t low, uintptr_t high, uintptr_t other_low, uintptr_t other_high)
{
	uintptr_t from = low > other_low ? low : other_low;
	uintptr_t to = high < other_high ? high : other_high;

	return from < to ? to - from : 0;
}

/* A heap block that holds a stack, and little else than that and the control block, is not scanned
 * as a block. */
static void hide_stack_block(struct lp_collection *collection, const struct lp_node *node)
{
	size_t size;
	uintptr_t block = lp_mark_block(collection->mark, node->stack_low, &size);
	size_t known;

	if (!block || !node->goroutine->stack_low)
		return;
	known = overlap(block, block + size, node->stack_low, node->stack_high);
	if (node->handle_high <= node->stack_low || node->handle_low >= node->stack_high)
		known += overlap(block, block + size, node->handle_low, node->handle_high);
	if (size - known <= BLOCK_SLACK)
		lp_mark_opaque(collection->mark, block);
}

static void cut_links(struct lp_collection *collection, struct lp_node *node)
{
	cut_queues(collection, node);
	hide_stack_block(collection, node);
}

static void cut_control_block(struct lp_collection *collection, struct lp_node *node)
{
	const struct lp_goroutine *goroutine = node->goroutine;

	if (goroutine->handle_size)
		lp_collect_cut(collection, goroutine->handle, goroutine->handle_size);
}

static void mark_words(struct lp_collection *collection, const struct lp_annotation *annotation)
{
	uintptr_t at = LP_ALIGN_UP(annotation->address, sizeof(uintptr_t));

	if (!is_mapped(collection, (void *)annotation->address, annotation->size))
		return;
	for (; at + sizeof(uintptr_t) <= annotation->address + annotation->size;
	     at += sizeof(uintptr_t))
		lp_mark_word(collection->mark, *(const uintptr_t *)at);
}

/* What the program said of its memory: first what counts, then what does not. */
static void cut_memory(struct lp_collection *collection)
{
	size_t count;
	const struct lp_annotation *annotations = lp_annotations(&count);
	size_t i;

	for (i = 0; i < count; i++) {
		if (annotations[i].use == LP_USE_ROOT)
			mark_words(collection, &annotations[i]);
		else if (annotations[i].use == LP_USE_IGNORED)
			lp_mark_word(collection->mark, annotations[i].address);
	}
	for (i = 0; i < count; i++)
		if (annotations[i].use == LP_USE_INTERNAL)
			lp_collect_cut(collection, (void *)annotations[i].address,
				       annotations[i].size);
}

static void cut(struct lp_collection *collection, struct lp_runtime *runtime)
{
	each_node(collection, runtime, cut_links);
	each_node(collection, runtime, cut_control_block);
	cut_memory(collection);
}

static const struct lp_adapter adapter = {NULL, NULL, address, locate, inspect, cut};

struct lp_runtime lp_annotated[LP_ANNOTATED_MAX] = {
	{.adapter = &adapter}, {.adapter = &adapter}, {.adapter = &adapter}, {.adapter = &adapter},
	{.adapter = &adapter}, {.adapter = &adapter}, {.adapter = &adapter}, {.adapter = &adapter},
};
