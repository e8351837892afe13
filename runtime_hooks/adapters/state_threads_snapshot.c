/* SPDX-License-Identifier: MIT */
/*
 * State Threads, in the snapshot: who waits, and for what, from the frozen copy of the library's
 * own memory.
 *
 *     control block   state and flags: what it waits for, with a deadline or not; the registers
 *                     that the library saved when it switched away
 *     its wait_links  in a ring with all that wait for one mutex or condition. The one link in it
 *                     that is no thread's is its head: the condition, or part of the mutex
 *     its joiners     the condition that whoever joins it waits for
 *
 * The library wakes eagerly: the state is the truth, but for the few instructions in which it is
 * changed. A thread that the library has in a register just then is live. So is whatever does not
 * look exactly as it should: a ring that does not close, a head amid a heap block, registers that
 * do not lead into the library.
 *
 * The control block lies at the top of the thread's own stack, above it 16 slots of thread data.
 * Objects and waiters point at each other through it; those links are cut in the snapshot's copy.
 * Stacks are never unmapped and used again, so a control block's address comes back with another
 * thread. No pointer is followed that was not looked up before: the program may have overwritten
 * any.
 */
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "core/sys.h"
#include "core/thread.h"
#include "runtime_hooks/adapters/state_threads.h"

#define HAND_MAX 256
#define HANDLER_STACK (1u << 20) /* how much of a signal stack is looked at */

/* Where a ring was found to be broken. */
static const struct list broken;

struct joiners {
	uint64_t condition;
	const struct st *joined;
};

struct ring {
	const struct list *head;
	uintptr_t object; /* the mutex or condition */
};

static struct {
	uintptr_t low; /* of the library; HIGH 0: not looked up yet */
	uintptr_t high;
	const struct st *self;
	uintptr_t hand[HAND_MAX]; /* registers of code in the library that was interrupted */
	size_t hand_count;
	struct lp_vec heads;   /* by node: the head of its ring, &broken; NULL: not known yet */
	struct lp_vec rings;   /* struct ring */
	struct lp_vec joiners; /* struct joiners, sorted */
} reading;

static struct st *thread_of(const struct lp_node *node)
{
	return node->goroutine->handle;
}

static bool in_library(struct lp_collection *collection, uintptr_t address)
{
	const struct lp_elf *elf;

	if (!reading.high) {
		elf = lp_maps_elf(&collection->maps, lp_st_address());
		reading.low = elf ? elf->low : 0;
		reading.high = elf ? elf->high : 1;
	}
	return address >= reading.low && address < reading.high;
}

static void each_node(struct lp_collection *collection,
		      void (*visit)(struct lp_collection *, struct lp_node *))
{
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (node->goroutine->runtime == &lp_state_threads)
			visit(collection, node);
	}
}

/* --- Where a thread is --- */

/* Whether what was saved of THREAD, which is not the current one, is where it will go on. */
static bool is_parked(struct lp_collection *collection, const struct lp_node *node,
		      const struct st *thread)
{
	uintptr_t sp = thread->context.sp;

	return thread->state > ST_RUNNING && thread->state <= ST_SUSPENDED &&
	       thread->state != ST_ZOMBIE && sp >= node->stack_low && sp < node->scan_high &&
	       sp % sizeof(uintptr_t) == 0 && in_library(collection, thread->context.pc);
}

/* Nothing is on its stack, and its creator's registers were saved for it. */
static bool never_ran(const struct lp_node *node)
{
	return thread_of(node)->context.sp == (uintptr_t)node->goroutine->sp;
}

static void locate(struct lp_collection *collection, struct lp_node *node)
{
	const struct st *thread = thread_of(node);

	node->handle_high = (uintptr_t)(thread + 1) + LP_ST_KEYS * sizeof(void *);
	if (!node->main)
		node->scan_high = (uintptr_t)thread;
	if (thread == lp_st_self() || !is_parked(collection, node, thread))
		return;
	node->scan_low = thread->context.sp;
	if (never_ran(node))
		node->scan_low = node->scan_high;
	else
		node->context = &thread->context;
}

/* --- What the library is just about --- */

static void take_in_hand(const uint64_t *registers)
{
	size_t i;

	for (i = 0; i < REG_RIP && reading.hand_count < HAND_MAX; i++)
		reading.hand[reading.hand_count++] = registers[i];
}

/* Where the code of a signal handler returns to: the word below each signal frame. */
static uintptr_t signal_return(void)
{
	struct {
		uintptr_t handler;
		unsigned long flags;
		uintptr_t restorer;
		uint64_t mask;
	} action = {0};

	/* Ours, which libc installed as it does the program's. */
	LP_SYS4(SYS_rt_sigaction, lp_signal, NULL, &action, sizeof(action.mask));
	return action.restorer;
}

/* Handlers that are running: whom they interrupted in the library. */
static void look_behind_handlers(struct lp_collection *collection, uintptr_t sp)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, sp);
	const struct lp_node *node = lp_collect_stack_node(collection, sp);
	uintptr_t end = region ? region->end : sp;
	uintptr_t back = signal_return();
	uintptr_t at;

	if (node && node->stack_high < end)
		end = node->stack_high;
	else if (!node && end - sp > HANDLER_STACK)
		end = sp + HANDLER_STACK;
	for (at = LP_ALIGN_UP(sp, sizeof(at)); back && at + sizeof(at) + sizeof(mcontext_t) < end;
	     at += sizeof(at)) {
		const ucontext_t *frame = (const ucontext_t *)(at + sizeof(at));
		const greg_t *registers = frame->uc_mcontext.gregs;

		if (*(const uintptr_t *)at == back &&
		    in_library(collection, (uintptr_t)registers[REG_RIP]))
			take_in_hand((const uint64_t *)registers);
	}
}

static void find_hand(struct lp_collection *collection)
{
	struct lp_thread *thread;
	size_t i;

	reading.hand_count = 0;
	for (i = 0; (thread = collection->input->thread_at(i)); i++) {
		if (!thread->used || !thread->stopped)
			continue;
		if (in_library(collection, thread->pc))
			take_in_hand(thread->registers);
		look_behind_handlers(collection, thread->sp);
	}
}

/* Whether the library may be changing THREAD right now. */
static bool in_hand(const struct st *thread)
{
	size_t i;

	for (i = 0; i < reading.hand_count; i++)
		if (reading.hand[i] - (uintptr_t)thread < sizeof(*thread))
			return true;
	return false;
}

/*
 * A detached thread that has ended leaves its control block in the state "running" on a free stack;
 * a joinable one is a zombie. Once joined that is runnable, to clean up; it is left to that.
 */
static void drop_ended(struct lp_collection *collection, struct lp_node *node)
{
	const struct st *thread = thread_of(node);

	(void)collection;
	if (!(node->goroutine->flags & LP_T_ENDING) || thread == reading.self ||
	    (thread->state != ST_RUNNING && thread->state != ST_ZOMBIE) || in_hand(thread))
		return;
	node->gone = true;
	node->context = NULL;
	node->scan_low = node->scan_high;
}

/* --- Rings --- */

static const struct list **head_of(struct lp_collection *collection, const struct lp_node *node)
{
	size_t i = (size_t)(node - lp_vec_at(&collection->verdicts.nodes, struct lp_node, 0));

	return lp_vec_at(&reading.heads, const struct list *, i);
}

/* The node that LINK is the wait_links of, or NULL. */
static struct lp_node *node_of_link(struct lp_collection *collection, const struct list *link)
{
	const char *thread = (const char *)link - offsetof(struct st, wait_links);
	struct lp_node *node = lp_verdict_find(&collection->verdicts, thread);

	return node && node->goroutine->runtime == &lp_state_threads && !node->gone ? node : NULL;
}

/* Whether NODE may be in a ring whose threads wait in STATE: it does, or was woken and has not run.
 */
static bool fits(struct lp_collection *collection, const struct lp_node *node, int state)
{
	const struct st *thread = thread_of(node);

	return (thread->state == state || thread->state <= ST_RUNNABLE) &&
	       *head_of(collection, node) != &broken;
}

/* The heap block that HEAD lies in; 0: none is known. */
static uintptr_t block_of(struct lp_collection *collection, const struct list *head)
{
	size_t size;

	return lp_mark_block(collection->mark, (uintptr_t)head, &size);
}

/* The mutex or condition whose ring has HEAD, and in which threads wait in STATE. */
static uintptr_t object_of(struct lp_collection *collection, const struct list *head, int state)
{
	uintptr_t mutex = (uintptr_t)head - offsetof(struct st_mutex, waiters);

	return state == ST_LOCK || (state == ST_RUNNABLE && block_of(collection, head) == mutex)
		       ? mutex
		       : (uintptr_t)head;
}

/* Whether HEAD is part of something that libst allocated, as far as that can be told. */
static bool is_head(struct lp_collection *collection, const struct list *head, int state)
{
	uintptr_t object = object_of(collection, head, state);
	uintptr_t end = (uintptr_t)(head + 1);
	const struct lp_region *region = lp_maps_find(&collection->maps, object);
	uintptr_t block = block_of(collection, head);

	return end % sizeof(end) == 0 && region && region->end >= end &&
	       (region->prot & (PROT_READ | PROT_WRITE)) == (PROT_READ | PROT_WRITE) &&
	       (!block || block == object);
}

/*
 * Goes along the ring from START, the link of a thread that waits in STATE. Returns how many links,
 * START among them, are as they should be. *HEAD is the ring's head when it was gone round, else
 * &broken.
 */
static size_t walk(struct lp_collection *collection, const struct list *start, int state,
		   const struct list **head)
{
	size_t most = collection->verdicts.nodes.count + 1;
	const struct list *found = NULL;
	const struct list *at = start;
	size_t count;

	*head = &broken;
	for (count = 1; count <= most; count++) {
		const struct list *next = at->next;
		struct lp_node *node = node_of_link(collection, next);

		if (node ? !fits(collection, node, state)
			 : found || !is_head(collection, next, state))
			return count;
		if (next->prev != at)
			return count;
		if (!node)
			found = next;
		if (next == start) {
			*head = found ? found : &broken;
			return count;
		}
		at = next;
	}
	return count;
}

/* The head of the ring that NODE is in; &broken: it cannot be told. Each ring is gone round once.
 */
static const struct list *find_head(struct lp_collection *collection, const struct lp_node *node)
{
	const struct list *at = &thread_of(node)->wait_links;
	int state = thread_of(node)->state;
	struct ring ring;
	size_t count;

	if (*head_of(collection, node))
		return *head_of(collection, node);
	count = walk(collection, at, state, &ring.head);
	for (; count-- > 0; at = at->next) {
		const struct lp_node *member = node_of_link(collection, at);

		if (member)
			*head_of(collection, member) = ring.head;
	}
	ring.object = object_of(collection, ring.head, state);
	if (ring.head != &broken)
		lp_vec_push(&reading.rings, &ring);
	return ring.head;
}

/* --- Verdicts --- */

static void add_joiners(struct lp_collection *collection, struct lp_node *node)
{
	struct joiners joiners = {(uintptr_t)thread_of(node)->joiners, thread_of(node)};

	(void)collection;
	if (joiners.condition && !node->gone)
		lp_vec_push(&reading.joiners, &joiners);
}

/* The thread whose end CONDITION tells of, or NULL. */
static const struct st *joined_by(const struct list *condition)
{
	long i = lp_vec_floor(&reading.joiners, (uintptr_t)condition);
	const struct joiners *found = i < 0 ? NULL : lp_vec_at(&reading.joiners, struct joiners, i);

	return found && found->condition == (uintptr_t)condition ? found->joined : NULL;
}

static void judge_mutex(struct lp_collection *collection, struct lp_node *node,
			const struct st_mutex *mutex)
{
	struct lp_node *owner = lp_verdict_find(&collection->verdicts, mutex->owner);

	/* It was just handed over to the waiter. */
	if (owner == node)
		return;
	node->rule = LP_RULE_OWNER;
	lp_node_object(&collection->verdicts, node, mutex);
	/* The library never clears the owner: one that has ended cannot unlock any more. */
	if (!owner || !owner->gone)
		lp_node_owner(&collection->verdicts, node, owner);
}

static void judge_condition(struct lp_collection *collection, struct lp_node *node,
			    const struct list *condition)
{
	const struct st *joined = joined_by(condition);

	if (joined) {
		node->rule = LP_RULE_JOIN;
		node->label = "join";
		lp_node_owner(&collection->verdicts, node,
			      lp_verdict_find(&collection->verdicts, joined));
		return;
	}
	node->rule = LP_RULE_ANY;
	lp_node_object(&collection->verdicts, node, condition);
}

/* With the count of waits, if there is one: a number for where NODE waits and what for. */
static uint32_t place_of(const struct st *thread, const struct list *head)
{
	const uintptr_t *words = (const uintptr_t *)&thread->context;
	uint64_t hash = (uintptr_t)head ^ (unsigned)thread->state;
	size_t i;

	for (i = 0; i < sizeof(thread->context) / sizeof(*words); i++) {
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	return (uint32_t)(hash >> 32);
}

/* NODE waits without a deadline, and was not woken. */
static void judge(struct lp_collection *collection, struct lp_node *node, const struct st *thread)
{
	const struct list *head = NULL;

	if (thread->state == ST_LOCK || thread->state == ST_COND)
		head = find_head(collection, node);
	if (!node->context || in_hand(thread) || head == &broken) {
		node->unsure = true;
		return;
	}
	if (thread->state == ST_LOCK)
		judge_mutex(collection, node,
			    (const struct st_mutex *)object_of(collection, head, thread->state));
	else if (thread->state == ST_COND)
		judge_condition(collection, node, head);
	else if (thread->state == ST_SUSPENDED)
		node->rule = LP_RULE_NEVER;
	node->waits += place_of(thread, head);
}

static void inspect_thread(struct lp_collection *collection, struct lp_node *node,
			   struct st *thread)
{
	static const struct {
		const char *label;
		enum lp_state state;
	} waits[] = {
		[ST_IO] = {"IO wait", LP_STATE_IO},
		[ST_LOCK] = {"sync.Mutex.Lock", LP_STATE_WAITING},
		[ST_COND] = {"sync.Cond.Wait", LP_STATE_WAITING},
		[ST_SLEEPING] = {"sleep", LP_STATE_SLEEP},
		[ST_SUSPENDED] = {"sleep (no deadline)", LP_STATE_WAITING},
	};

	node->rule = LP_RULE_LIVE;
	node->label = "";
	node->state = thread == reading.self ? LP_STATE_RUNNING : LP_STATE_RUNNABLE;
	if (thread == reading.self || (unsigned)thread->state >= LP_ARRAY_SIZE(waits) ||
	    !waits[thread->state].label)
		return;
	node->label = waits[thread->state].label;
	node->state = waits[thread->state].state;
	if (thread->state == ST_COND && thread->flags & FLAG_SLEEPING)
		node->state = LP_STATE_SLEEP;
	if (!(thread->flags & ~FLAG_PRIMORDIAL))
		judge(collection, node, thread);
}

/*
 * What the control block holds of the program's: the start argument; the thread's data, and before
 * them the registers to go on with. The current thread has those already, unless it is just given
 * them.
 */
static void add_held(struct lp_collection *collection, struct lp_node *node, struct st *thread)
{
	bool saved = thread != reading.self || in_hand(thread);
	void *from = saved && !never_ran(node) ? (void *)&thread->context : thread + 1;

	lp_node_extra(&collection->verdicts, node, &thread->argument, &thread->argument + 1);
	lp_node_extra(&collection->verdicts, node, from, (void **)(thread + 1) + LP_ST_KEYS);
}

static void inspect_node(struct lp_collection *collection, struct lp_node *node)
{
	struct st *thread = thread_of(node);

	if (node->main)
		lp_mark_opaque(collection->mark, (uintptr_t)thread);
	if (node->gone && thread->state == ST_ZOMBIE)
		lp_mark_word(collection->mark, (uintptr_t)thread->result);
	if (lp_node_hidden(node))
		return;
	node->waits_uncounted = !lp_st_counts();
	inspect_thread(collection, node, thread);
	add_held(collection, node, thread);
}

/* One that was woken and has not run is still in its ring, maybe with nobody who waits there. */
static void find_ring_of_woken(struct lp_collection *collection, struct lp_node *node)
{
	if (node->context && thread_of(node)->state == ST_RUNNABLE)
		find_head(collection, node);
}

static void set_handle_wakes(struct lp_collection *collection, struct lp_node *node)
{
	(void)collection;
	node->handle_wakes = true;
}

static void inspect(struct lp_collection *collection, struct lp_runtime *runtime)
{
	(void)runtime;
	reading.self = lp_st_self();
	reading.heads = LP_VEC(const struct list *);
	reading.rings = LP_VEC(struct ring);
	reading.joiners = LP_VEC(struct joiners);
	if (!lp_vec_add(&reading.heads, collection->verdicts.nodes.count))
		return;
	find_hand(collection);
	each_node(collection, drop_ended);
	each_node(collection, add_joiners);
	lp_vec_sort(&reading.joiners);
	if (lp_st_interrupts() || lp_maps_imported(&collection->maps, "st_thread_interrupt"))
		each_node(collection, set_handle_wakes);
	each_node(collection, inspect_node);
	each_node(collection, find_ring_of_woken);
}

/* From a lock or condition to its waiters and its owner: not a way that the program can go. */
static void cut(struct lp_collection *collection, struct lp_runtime *runtime)
{
	size_t i;

	(void)runtime;
	for (i = 0; i < reading.rings.count; i++) {
		const struct ring *ring = lp_vec_at(&reading.rings, struct ring, i);

		lp_collect_cut(collection, (const void *)ring->object,
			       (uintptr_t)(ring->head + 1) - ring->object);
	}
}

const struct lp_adapter lp_st_adapter = {lp_st_yield, lp_st_peek, lp_st_address,
					 locate,      inspect,	  cut};
