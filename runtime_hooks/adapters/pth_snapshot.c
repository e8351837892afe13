/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth, in the snapshot: who waits, and for what, from the frozen copy of the library's own
 * memory.
 *
 * What is waited for is read from the ring of events; so is whether it has come, as Pth wakes
 * lazily: a thread whose event has occurred stays in the waiting queue until the scheduler looks.
 *
 * A control block is freed, or kept for a joiner, once its thread has ended: a record is believed
 * only while its thread is in one of the scheduler's queues.
 *
 * Objects and threads point at each other through rings that lead to what nobody waits for; those
 * links are cut in the snapshot's copy, never in the program's memory.
 */
#include <string.h>

#include "core/sys.h"
#include "runtime_hooks/adapters/pth.h"

#define RING_MAX 65536u /* events of one ring, mutexes of one thread, message ports */

/* A thread that is in one of the scheduler's queues. THREAD is first: lp_vec_floor works on it. */
struct queued {
	uint64_t thread;
	bool suspended;
};

static struct lp_vec queued;

static void add_queued(struct pth *thread, bool suspended)
{
	struct queued entry = {(uintptr_t)thread, suspended};

	lp_vec_push(&queued, &entry);
}

static void read_queues(void)
{
	size_t i;

	queued = LP_VEC(struct queued);
	for (i = 0; i < LP_PTH_QUEUES; i++) {
		struct pth *thread = lp_pth_queue(i)->head;
		int left = lp_pth_queue(i)->count;

		for (; thread && left-- > 0; thread = thread->next)
			add_queued(thread, i == QUEUE_SUSPENDED);
	}
	if (lp_pth_self())
		add_queued(lp_pth_self(), false);
	if (lp_pth_scheduler())
		add_queued(lp_pth_scheduler(), false);
	lp_vec_sort(&queued);
}

static const struct queued *find_queued(const void *thread)
{
	long i = lp_vec_floor(&queued, (uintptr_t)thread);
	const struct queued *entry;

	if (i < 0)
		return NULL;
	entry = lp_vec_at(&queued, struct queued, i);
	return entry->thread == (uintptr_t)thread ? entry : NULL;
}

static void locate(struct lp_collection *collection, struct lp_node *node)
{
	const struct pth *thread = node->goroutine->handle;

	(void)collection;
	if (!queued.element)
		read_queues();
	node->handle_high = node->handle_low + sizeof(*thread);
	if (find_queued(thread) && thread->state != STATE_DEAD)
		return;
	node->gone = true;
	node->wait = NULL;
	node->stack_low = node->stack_high = node->scan_low = node->scan_high = 0;
}

/* What a ring of events says. */
struct ring {
	unsigned events;
	bool ready;
	bool io;
	bool timed;
	bool uncertain;
	bool by_thread; /* a lock or a thread is among them */
	struct pth_event *last;
};

static bool has_occurred(const struct pth_event *event)
{
	if (event->status)
		return true;
	switch (event->type) {
	case EVENT_MSG:
		return event->args.port->queued > 0;
	case EVENT_MUTEX:
		return !(event->args.mutex->state & MUTEX_LOCKED);
	case EVENT_COND:
		return event->args.cond->state & COND_SIGNALED;
	case EVENT_TID:
		return event->args.thread && event->args.thread->state == event->goal;
	}
	return false;
}

static void read_event(struct lp_collection *collection, struct pth_event *event, struct ring *ring)
{
	ring->events++;
	ring->last = event;
	ring->ready |= has_occurred(event);
	ring->by_thread |= event->type == EVENT_MUTEX || event->type == EVENT_TID;
	switch (event->type) {
	case EVENT_FD:
	case EVENT_SELECT:
	case EVENT_SIGS:
		ring->io = true;
		return;
	case EVENT_TIME:
		ring->timed = true;
		return;
	case EVENT_FUNC:
		/* The program's function runs on the scheduler's stack. */
		collection->scan_service = true;
		ring->uncertain = true;
		return;
	case EVENT_MSG:
		ring->uncertain |= event->args.port->name != NULL;
		return;
	case EVENT_TID:
		ring->uncertain |= !event->args.thread || event->goal != STATE_DEAD;
		return;
	case EVENT_MUTEX:
	case EVENT_COND:
		return;
	}
	ring->uncertain = true;
}

static void read_ring(struct lp_collection *collection, struct pth_event *first, struct ring *ring)
{
	struct pth_event *event = first;

	memset(ring, 0, sizeof(*ring));
	do {
		read_event(collection, event, ring);
		event = event->next;
	} while (event != first && ring->events < RING_MAX);
	ring->uncertain |= ring->events == RING_MAX;
	/* An owner releases, and a joined thread ends, without anyone reaching anything. */
	ring->uncertain |= ring->events > 1 && ring->by_thread;
}

static const char *label_of(const struct ring *ring)
{
	if (ring->events > 1)
		return "select";
	switch (ring->last->type) {
	case EVENT_MSG:
		return "chan receive";
	case EVENT_MUTEX:
		return "sync.Mutex.Lock";
	case EVENT_COND:
		return "sync.Cond.Wait";
	case EVENT_TID:
		return "join";
	case EVENT_TIME:
		return "sleep";
	}
	return "IO wait";
}

static void add_owner(struct lp_collection *collection, struct lp_node *node,
		      const struct pth *owner)
{
	struct lp_node *found = owner ? lp_verdict_find(&collection->verdicts, owner) : NULL;

	lp_node_owner(&collection->verdicts, node, found);
}

static void add_objects(struct lp_collection *collection, struct lp_node *node,
			struct pth_event *first)
{
	struct pth_event *event = first;

	do {
		lp_node_object(&collection->verdicts, node, event->args.object);
		event = event->next;
	} while (event != first);
}

/* NODE waits for the events of RING: by which rule, and for what. */
static void judge(struct lp_collection *collection, struct lp_node *node, const struct ring *ring,
		  struct pth_event *first)
{
	node->state = LP_STATE_WAITING;
	node->label =
		node->wait && node->wait->kind->label[0] ? node->wait->kind->label : label_of(ring);
	node->rule = LP_RULE_LIVE;
	if (ring->ready) {
		node->state = LP_STATE_RUNNABLE;
		node->label = "";
	} else if (ring->io) {
		node->state = LP_STATE_IO;
	} else if (ring->timed) {
		node->state = LP_STATE_SLEEP;
	} else if (ring->events == 1 && ring->last->type == EVENT_TID && !ring->uncertain) {
		node->rule = LP_RULE_JOIN;
		add_owner(collection, node, ring->last->args.thread);
	} else if (ring->events == 1 && ring->last->type == EVENT_MUTEX) {
		/* Whoever exits releases its locks: an owner that can run is enough. */
		node->rule = LP_RULE_JOIN;
		add_owner(collection, node, ring->last->args.mutex->owner);
	} else if (!ring->uncertain) {
		node->rule = LP_RULE_ANY;
		add_objects(collection, node, first);
	}
}

static void inspect_thread(struct lp_collection *collection, struct lp_node *node,
			   struct pth *thread)
{
	const struct queued *entry = find_queued(thread);
	struct ring ring;

	node->rule = LP_RULE_LIVE;
	node->label = "";
	node->since_ns = (uint64_t)thread->last_ran.tv_sec * 1000000000u +
			 (uint64_t)thread->last_ran.tv_usec * 1000u;
	if (thread == lp_pth_self()) {
		node->state = LP_STATE_RUNNING;
	} else if (entry->suspended) {
		node->state = LP_STATE_WAITING;
		node->label = "suspended";
		node->rule = LP_RULE_NEVER;
	} else if (thread->state != STATE_WAITING || thread->cancel_requested || !thread->events) {
		node->state = LP_STATE_RUNNABLE;
	} else {
		read_ring(collection, thread->events, &ring);
		judge(collection, node, &ring, thread->events);
	}
}

/* On a user context a thread waits on another stack than its own, which nothing need refer to. */
static void lay_other_stack(struct lp_collection *collection, struct lp_node *node)
{
	uintptr_t low = (uintptr_t)node->wait;
	const struct lp_region *region = lp_maps_find(&collection->maps, low);
	size_t size = 0;
	uintptr_t block;

	if (!region || (low >= node->stack_low && low < node->stack_high))
		return;
	block = lp_mark_block(collection->mark, low, &size);
	lp_node_extra(&collection->verdicts, node, (void *)low,
		      (void *)(block ? block + size : region->end));
}

/* What belongs to a thread beside its stack is reached through a control block that itself is not
 * followed. */
static void lay_open(struct lp_collection *collection, struct lp_node *node, struct pth *thread)
{
	lp_mark_opaque(collection->mark, (uintptr_t)thread);
	if (thread->stack && !thread->stack_loan)
		lp_mark_opaque(collection->mark, (uintptr_t)thread->stack);
	lp_node_extra(&collection->verdicts, node, &thread->argument, &thread->argument + 1);
	lp_node_extra(&collection->verdicts, node, &thread->data, &thread->data + 1);
	lp_node_extra(&collection->verdicts, node, &thread->cleanups, &thread->cleanups + 1);
	lay_other_stack(collection, node);
	/* Whoever joins a dead thread gets its result, even one that joins any. */
	if (thread->state == STATE_DEAD)
		lp_mark_word(collection->mark, (uintptr_t)thread->result);
}

static bool in_ring(const struct pth_event *first, const struct pth_event *event)
{
	const struct pth_event *at = first;
	unsigned n = 0;

	if (!first)
		return false;
	do {
		if (at == event)
			return true;
		at = at->next;
	} while (at != first && n++ < RING_MAX);
	return false;
}

/* Clears the arguments that EVENT does not use: malloc left there what the memory held before. */
static void forget_words(struct lp_collection *collection, struct pth_event *event, bool waited_for)
{
	size_t used = LP_ARRAY_SIZE(event->args.words);

	if (!waited_for || event->type == EVENT_FD || event->type == EVENT_TIME)
		used = 0;
	else if (event->type == EVENT_MSG || event->type == EVENT_MUTEX ||
		 event->type == EVENT_COND || event->type == EVENT_TID)
		used = 1;
	lp_collect_cut(collection, &event->args.words[used],
		       sizeof(event->args.words) - used * sizeof(uintptr_t));
}

/* The library's static events keep what they were last used for: a thread that no longer waits
 * holds nothing. */
static void forget_old_events(struct lp_collection *collection, struct pth *thread)
{
	size_t i;

	for (i = 0; thread->data && i < LP_PTH_KEYS; i++) {
		struct pth_event *event = thread->data[i];

		if (lp_pth_own_key(i) && event)
			forget_words(collection, event, in_ring(thread->events, event));
	}
}

/* Cuts a ring of mutexes or message ports apart. */
static void cut_ring(struct lp_collection *collection, struct ring_node *first)
{
	struct ring_node *node = first;
	unsigned n = 0;

	while (node && n++ < RING_MAX) {
		struct ring_node *next = node->next;

		lp_collect_cut(collection, node, sizeof(*node));
		node = next == first ? NULL : next;
	}
}

static void cut_mutexes(struct lp_collection *collection, struct ring_node *first)
{
	struct ring_node *node = first;
	unsigned n = 0;

	while (node && n++ < RING_MAX) {
		lp_collect_cut(collection, &((struct pth_mutex *)node)->owner,
			       sizeof(struct pth *));
		node = node->next == first ? NULL : node->next;
	}
	cut_ring(collection, first);
}

/* Every message port is in one ring with every other: one that is waited for leads to all. */
static void cut_ports(struct lp_collection *collection, struct pth_event *first)
{
	struct pth_event *event = first;
	unsigned n = 0;

	do {
		if (event->type == EVENT_MSG && event->args.port->node.next) {
			struct ring_node *node = &event->args.port->node;

			do {
				lp_collect_cut(collection, &((struct pth_msgport *)node)->creator,
					       sizeof(struct pth *));
				node = node->next;
			} while (node != &event->args.port->node && n++ < RING_MAX);
			cut_ring(collection, node);
		}
		event = event->next;
	} while (event != first && n++ < RING_MAX);
}

static void each_node(struct lp_collection *collection,
		      void (*visit)(struct lp_collection *, struct lp_node *, struct pth *))
{
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (node->goroutine->runtime == &lp_pth && find_queued(node->goroutine->handle))
			visit(collection, node, node->goroutine->handle);
	}
}

static void inspect_node(struct lp_collection *collection, struct lp_node *node, struct pth *thread)
{
	lay_open(collection, node, thread);
	if (!lp_node_hidden(node))
		inspect_thread(collection, node, thread);
}

static void cut_links(struct lp_collection *collection, struct lp_node *node, struct pth *thread)
{
	if (thread->events && !lp_node_hidden(node))
		cut_ports(collection, thread->events);
	cut_mutexes(collection, thread->mutexes);
	forget_old_events(collection, thread);
}

static void set_handle_wakes(struct lp_collection *collection)
{
	bool cancelled = lp_pth_cancels() || lp_maps_imported(&collection->maps, "pth_cancel") ||
			 lp_maps_imported(&collection->maps, "pth_abort");
	bool resumed = lp_pth_resumes() || lp_maps_imported(&collection->maps, "pth_resume");
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (node->goroutine->runtime == &lp_pth)
			node->handle_wakes = cancelled || (resumed && node->rule == LP_RULE_NEVER);
	}
}

static void inspect(struct lp_collection *collection, struct lp_runtime *runtime)
{
	uintptr_t trampoline = lp_pth_trampoline();

	(void)runtime;
	each_node(collection, inspect_node);
	set_handle_wakes(collection);
	lp_mark_range(collection->mark, trampoline, trampoline + 5 * sizeof(void *));
}

static void cut(struct lp_collection *collection, struct lp_runtime *runtime)
{
	(void)runtime;
	each_node(collection, cut_links);
}

const struct lp_adapter lp_pth_adapter = {lp_pth_yield, NULL, lp_pth_address, locate, inspect, cut};
