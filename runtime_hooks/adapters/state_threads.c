/* SPDX-License-Identifier: MIT */
/*
 * State Threads 1.9 (libst.so.1). Facts measured in docs/runtimes.md.
 *
 * Four calls block: st_mutex_lock, st_cond_timedwait, st_usleep, st_poll; the others reach them
 * through the PLT, so the wrappers nest and the outermost names the wait. The library wakes
 * eagerly: a thread's state in its control block is the truth at any time.
 *
 * The control block lies at the top of the thread's own stack, above it 16 slots of thread data.
 * Objects and waiters point at each other through it; those links are cut in the snapshot's copy.
 * Stacks are never unmapped and used again, so a control block's address comes back with another
 * thread.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"

#define SONAME "libst.so.1"
#define KEYS 16
#define NO_TIMEOUT (~0ull)

enum { ST_RUNNING, ST_RUNNABLE, ST_IO, ST_LOCK, ST_COND, ST_SLEEPING, ST_ZOMBIE, ST_SUSPENDED };
enum { FLAG_SLEEPING = 4 }; /* on the sleep queue: it has a deadline */

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
};

/* The control block, as far as it is read. */
struct st {
	int state;
	int flags;
	void *(*start)(void *);
	void *argument;
	void *result;
	struct st_stack *stack;
	struct list links;
	struct list wait_links;
	unsigned long long due;
	struct st *left;
	struct st *right;
	int heap_index;
	void **data;
	struct list *joiners;
	uintptr_t context[8]; /* rbx, rbp, r12 .. r15, rsp, pc */
};

_Static_assert(offsetof(struct st, data) == 104 && offsetof(struct st, context[6]) == 168,
	       "offsets of libst 1.9's control block");

struct st_mutex {
	struct st *owner;
	struct list waiters;
};

static const struct lp_wait_kind kinds[] = {
	{"sync.Mutex.Lock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.Cond.Wait", LP_RULE_ANY, LP_STATE_WAITING},
	{"sync.Cond.Wait", LP_RULE_LIVE, LP_STATE_SLEEP}, /* with a deadline */
	{"join", LP_RULE_JOIN, LP_STATE_WAITING},
	{"sleep", LP_RULE_LIVE, LP_STATE_SLEEP},
	{"sleep (no deadline)", LP_RULE_NEVER, LP_STATE_WAITING},
	{"IO wait", LP_RULE_LIVE, LP_STATE_IO},
};

enum { KIND_MUTEX, KIND_COND, KIND_TIMED_COND, KIND_JOIN, KIND_SLEEP, KIND_SUSPEND, KIND_IO };

static struct {
	int (*init)(void);
	struct st *(*self)(void);
	struct st *(*create)(void *(*)(void *), void *, int, int);
	void (*exit)(void *) __attribute__((noreturn));
	int (*join)(struct st *, void **);
	void (*interrupt)(struct st *);
	int (*mutex_lock)(struct st_mutex *);
	int (*cond_timedwait)(struct list *, unsigned long long);
	int (*usleep)(unsigned long long);
	int (*poll)(struct pollfd *, int, unsigned long long);
	unsigned long long (*last_clock)(void);
} real;

/* The idle thread is created inside st_init. */
static bool initialising;

/* The program was seen to interrupt, whatever its import tables say (dlsym). */
static bool interrupts;

static bool resolve(void)
{
	static const struct {
		void *slot;
		const char *name;
	} symbols[] = {
		{&real.init, "st_init"},
		{&real.self, "st_thread_self"},
		{&real.create, "st_thread_create"},
		{&real.exit, "st_thread_exit"},
		{&real.join, "st_thread_join"},
		{&real.interrupt, "st_thread_interrupt"},
		{&real.mutex_lock, "st_mutex_lock"},
		{&real.cond_timedwait, "st_cond_timedwait"},
		{&real.usleep, "st_usleep"},
		{&real.last_clock, "st_utime_last_clock"},
		{&real.poll, "st_poll"},
	};
	size_t i;

	if (LP_LIKELY(real.poll))
		return true;
	for (i = 0; i < LP_ARRAY_SIZE(symbols); i++) {
		void *function = lp_next(symbols[i].name, SONAME);

		if (!function) {
			errno = ENOSYS;
			return false;
		}
		memcpy(symbols[i].slot, &function, sizeof(function));
	}
	return true;
}

/* --- In the target --- */

static struct lp_goroutine *find_self(void)
{
	struct st *self = real.self();

	return LP_LIKELY(self) ? lp_goroutine_find(&lp_state_threads, self) : NULL;
}

/* The calling goroutine, if this is the outermost blocking call that it is in. */
static inline struct lp_goroutine *outermost(void)
{
	struct lp_goroutine *goroutine = find_self();

	return LP_LIKELY(goroutine && !goroutine->wait) ? goroutine : NULL;
}

LP_EXPORT int st_init(void)
{
	struct lp_goroutine values = {.flags = LP_T_MAIN};
	int r;

	if (!resolve())
		return -1;
	if (!lp_state_threads.seen)
		lp_runtime_seen(&lp_state_threads);
	initialising = true;
	r = real.init();
	initialising = false;
	values.handle = r ? NULL : real.self();
	if (values.handle && !lp_goroutine_find(&lp_state_threads, values.handle))
		lp_goroutine_new(&lp_state_threads, &values);
	return r;
}

LP_EXPORT struct st *st_thread_create(void *(*start)(void *), void *argument, int joinable,
				      int stack_size)
{
	struct lp_goroutine values = {.entry = (void *)start,
				      .created_pc = __builtin_return_address(0)};
	struct lp_goroutine *creator;
	struct lp_goroutine *old;
	struct st *thread;

	if (!resolve())
		return NULL;
	thread = real.create(start, argument, joinable, stack_size);
	if (!thread)
		return NULL;
	creator = find_self();
	old = lp_goroutine_find(&lp_state_threads, thread);
	if (old)
		lp_goroutine_end(old);
	values.handle = thread;
	/* With its two red zones, which are accessible in this build. */
	lp_goroutine_set_stack(&values, thread->stack->mapping,
			       (size_t)thread->stack->mapping_size);
	lp_scope_created(&values, creator);
	values.flags = initialising ? LP_T_SERVICE : 0;
	lp_goroutine_new(&lp_state_threads, &values);
	return thread;
}

/* Also called by the library, when a start function returns. */
LP_EXPORT __attribute__((noreturn)) void st_thread_exit(void *result)
{
	struct lp_goroutine *goroutine;

	if (!resolve())
		__builtin_trap();
	goroutine = find_self();
	if (goroutine) {
		/* Destructors of thread data are to run: a wait in one of them is an outermost one.
		 */
		lp_wait_end(goroutine);
		lp_goroutine_ending(goroutine);
	}
	real.exit(result);
}

LP_EXPORT void st_thread_interrupt(struct st *thread)
{
	interrupts = true;
	if (resolve())
		real.interrupt(thread);
}

/*
 * Every wrapper of a blocking call: publishes the wait around the real call, unless another one
 * has. EXPRESSION is the call.
 */
#define BLOCKING(kind, object, expression)                                                         \
	do {                                                                                       \
		struct lp_goroutine *goroutine;                                                    \
		struct lp_wait wait;                                                               \
		int result;                                                                        \
                                                                                                   \
		if (LP_UNLIKELY(!resolve()))                                                       \
			return -1;                                                                 \
		goroutine = outermost();                                                           \
		if (LP_UNLIKELY(!goroutine))                                                       \
			return expression;                                                         \
		lp_wait_begin(goroutine, &wait, &kinds[kind], object, __builtin_frame_address(0)); \
		result = expression;                                                               \
		lp_wait_end(goroutine);                                                            \
		return result;                                                                     \
	} while (0)

LP_EXPORT int st_thread_join(struct st *thread, void **result_pointer)
{
	BLOCKING(KIND_JOIN, thread, real.join(thread, result_pointer));
}

LP_EXPORT int st_mutex_lock(struct st_mutex *mutex)
{
	BLOCKING(KIND_MUTEX, mutex, real.mutex_lock(mutex));
}

LP_EXPORT int st_cond_timedwait(struct list *cond, unsigned long long timeout)
{
	BLOCKING(timeout == NO_TIMEOUT ? KIND_COND : KIND_TIMED_COND, cond,
		 real.cond_timedwait(cond, timeout));
}

/* As the library's own: a wait without a timeout. */
LP_EXPORT int st_cond_wait(struct list *cond)
{
	BLOCKING(KIND_COND, cond, real.cond_timedwait(cond, NO_TIMEOUT));
}

LP_EXPORT int st_usleep(unsigned long long microseconds)
{
	BLOCKING(microseconds == NO_TIMEOUT ? KIND_SUSPEND : KIND_SLEEP, NULL,
		 real.usleep(microseconds));
}

LP_EXPORT int st_sleep(int seconds)
{
	unsigned long long microseconds =
		seconds < 0 ? NO_TIMEOUT : (unsigned long long)seconds * 1000000;

	BLOCKING(seconds < 0 ? KIND_SUSPEND : KIND_SLEEP, NULL, real.usleep(microseconds));
}

LP_EXPORT int st_poll(struct pollfd *fds, int count, unsigned long long timeout)
{
	BLOCKING(KIND_IO, fds, real.poll(fds, count, timeout));
}

/* A microsecond, so that sleepers come to run too. */
static void yield(void)
{
	const struct lp_goroutine *goroutine = real.poll ? find_self() : NULL;

	if (goroutine && !(goroutine->flags & (LP_T_SERVICE | LP_T_ENDING)))
		real.usleep(1);
}

/* --- In the snapshot --- */

static uintptr_t address(void)
{
	return lp_state_threads.seen ? (uintptr_t)real.poll : 0;
}

/*
 * Whether the thread of NODE has ended. A detached one leaves its control block in the state
 * "running" on a free stack; a joinable one is a zombie, then runnable for its own clean-up.
 */
static bool has_ended(const struct lp_node *node)
{
	const struct st *thread = node->goroutine->handle;

	if (!(node->goroutine->flags & LP_T_ENDING) || thread == real.self())
		return false;
	return thread->state == ST_RUNNING || thread->state == ST_RUNNABLE ||
	       thread->state == ST_ZOMBIE;
}

static void locate(struct lp_collection *collection, struct lp_node *node)
{
	const struct st *thread = node->goroutine->handle;

	(void)collection;
	node->handle_high = (uintptr_t)(thread->data + KEYS);
	if (!node->main)
		node->scan_high = (uintptr_t)thread;
	if (!has_ended(node))
		return;
	node->gone = true;
	node->wait = NULL;
	node->scan_low = node->scan_high;
}

static void wait_for_owner(struct lp_collection *collection, struct lp_node *node,
			   const struct st *owner)
{
	struct lp_node *found = lp_verdict_find(&collection->verdicts, owner);

	/* The library never clears the owner: one that has ended cannot unlock any more. */
	if (!found || !found->gone)
		lp_node_owner(&collection->verdicts, node, found);
}

static void judge_join(struct lp_collection *collection, struct lp_node *node,
		       const struct st *joined)
{
	struct lp_node *found = lp_verdict_find(&collection->verdicts, joined);

	node->rule = found && !found->gone ? LP_RULE_JOIN : LP_RULE_LIVE;
	if (node->rule == LP_RULE_JOIN)
		lp_node_owner(&collection->verdicts, node, found);
}

/* NODE is blocked, by the library's own word; what for is in its wait record. */
static void judge(struct lp_collection *collection, struct lp_node *node, const struct st *thread)
{
	const struct lp_wait *wait = node->wait;

	if (!wait)
		return;
	node->state = wait->kind->state;
	node->label = wait->kind->label;
	if (thread->flags & FLAG_SLEEPING)
		return;
	node->rule = wait->kind->rule;
	if (node->rule == LP_RULE_JOIN) {
		judge_join(collection, node, wait->object);
	} else if (node->rule == LP_RULE_OWNER) {
		const struct st_mutex *mutex = wait->object;

		lp_node_object(&collection->verdicts, node, mutex);
		wait_for_owner(collection, node, mutex->owner);
	} else if (node->rule == LP_RULE_ANY) {
		lp_node_object(&collection->verdicts, node, wait->object);
	}
}

static void inspect_thread(struct lp_collection *collection, struct lp_node *node,
			   struct st *thread)
{
	node->rule = LP_RULE_LIVE;
	node->label = "";
	node->state = LP_STATE_RUNNABLE;
	if (thread == real.self())
		node->state = LP_STATE_RUNNING;
	else if (thread->state >= ST_IO && thread->state != ST_ZOMBIE)
		judge(collection, node, thread);
	lp_node_extra(&collection->verdicts, node, &thread->argument, &thread->argument + 1);
	lp_node_extra(&collection->verdicts, node, thread->data, thread->data + KEYS);
}

/* From a lock or condition to its waiters and its owner: not a way that the program can go. */
static void cut_links(struct lp_collection *collection, const struct lp_node *node)
{
	const struct lp_wait *wait = node->wait;

	if (!wait || !wait->object)
		return;
	if (wait->kind == &kinds[KIND_MUTEX])
		lp_collect_cut(collection, wait->object, sizeof(struct st_mutex));
	else if (wait->kind == &kinds[KIND_COND] || wait->kind == &kinds[KIND_TIMED_COND])
		lp_collect_cut(collection, wait->object, sizeof(struct list));
}

static void inspect(struct lp_collection *collection, struct lp_runtime *runtime)
{
	bool wakes = interrupts || lp_maps_imported(&collection->maps, "st_thread_interrupt");
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);
		struct st *thread = node->goroutine->handle;

		if (node->goroutine->runtime != runtime)
			continue;
		node->handle_wakes = wakes;
		if (node->main)
			lp_mark_opaque(collection->mark, (uintptr_t)thread);
		if (node->gone && thread->state == ST_ZOMBIE)
			lp_mark_word(collection->mark, (uintptr_t)thread->result);
		if (!lp_node_hidden(node))
			inspect_thread(collection, node, thread);
	}
}

static void cut(struct lp_collection *collection, struct lp_runtime *runtime)
{
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		const struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (node->goroutine->runtime == runtime && !lp_node_hidden(node))
			cut_links(collection, node);
	}
}

static const struct lp_adapter adapter = {yield, address, locate, inspect, cut};

struct lp_runtime lp_state_threads = {.adapter = &adapter, .name = "State Threads"};
