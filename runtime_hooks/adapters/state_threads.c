/* SPDX-License-Identifier: MIT */
/*
 * State Threads 1.9 (libst.so.1), in the target. Facts measured in docs/runtimes.md.
 *
 * No call that blocks is interposed: a switch takes 16 ns, and a wrapper that returns on another
 * stack than it was called on costs as much again, as the processor predicts where calls return to.
 * The library's own control block says who waits and its rings say for what, and the snapshot reads
 * both (state_threads_snapshot.c). Here is only what creates, ends, initialises and interrupts.
 *
 * All that is read of the library is read by offsets of one build. Whether they are right is seen
 * when a thread is created, from what was passed and what must then be where; if they are not,
 * leakprof gives up.
 */
#include <errno.h>
#include <string.h>

#include "core/sys.h"
#include "runtime_hooks/adapters/state_threads.h"

#define SONAME "libst.so.1"

typedef void (*callback)(void);

static struct {
	int (*init)(void);
	struct st *(*self)(void);
	struct st *(*create)(void *(*)(void *), void *, int, int);
	void (*exit)(void *) __attribute__((noreturn));
	void (*interrupt)(struct st *);
	int (*usleep)(unsigned long long);
	callback (*set_switch_in)(callback);
} real;

/* The idle thread is created inside st_init. */
static bool initialising;

static bool interrupts;

static bool resolve(void)
{
	static const struct {
		void *slot;
		const char *name;
		bool optional; /* a choice when the library was built */
	} symbols[] = {
		{&real.init, "st_init", false},
		{&real.create, "st_thread_create", false},
		{&real.exit, "st_thread_exit", false},
		{&real.interrupt, "st_thread_interrupt", false},
		{&real.set_switch_in, "st_set_switch_in_cb", true},
		{&real.usleep, "st_usleep", true},
		{&real.self, "st_thread_self", false},
	};
	size_t i;

	if (LP_LIKELY(real.self))
		return true;
	for (i = 0; i < LP_ARRAY_SIZE(symbols); i++) {
		void *function = lp_next(symbols[i].name, SONAME);

		if (!function && !symbols[i].optional) {
			errno = ENOSYS;
			return false;
		}
		memcpy(symbols[i].slot, &function, sizeof(function));
	}
	return true;
}

struct st *lp_st_self(void)
{
	return real.self();
}

uintptr_t lp_st_address(void)
{
	return lp_state_threads.seen ? (uintptr_t)real.self : 0;
}

bool lp_st_interrupts(void)
{
	return interrupts;
}

static struct lp_goroutine *find_self(void)
{
	struct st *self = real.self();

	return LP_LIKELY(self) ? lp_goroutine_find(&lp_state_threads, self) : NULL;
}

/* --- Whether this build is the one that is known --- */

static bool known(bool is_known)
{
	if (!is_known)
		lp_dormant("this build of libst.so.1 lays its threads out otherwise than that of "
			   "State Threads 1.9, which alone leakprof knows");
	return is_known;
}

static bool is_main(const struct st *thread)
{
	return thread->state == ST_RUNNING && thread->flags == FLAG_PRIMORDIAL && !thread->start &&
	       !thread->stack && thread->data == (void **)(thread + 1);
}

static bool is_empty(const struct list *ring)
{
	return ring->next == ring && ring->prev == ring;
}

static bool is_stack(const struct st_stack *stack, const struct st *thread)
{
	return stack && stack->mapping_size > 0 && stack->mapping <= stack->bottom &&
	       stack->bottom < stack->start && stack->start < (char *)thread &&
	       stack->top == (char *)(thread->data + LP_ST_KEYS) &&
	       stack->top <= stack->mapping + stack->mapping_size;
}

/* Whether THREAD is what st_thread_create makes of these arguments. Pointers are followed once all
 * around them is right. */
static bool is_new(const struct st *thread, void *(*start)(void *), const void *argument,
		   int joinable)
{
	return thread->state == ST_RUNNABLE && !thread->flags && thread->start == start &&
	       thread->argument == argument && thread->data == (void **)(thread + 1) &&
	       !thread->joiners == !joinable && is_stack(thread->stack, thread) &&
	       thread->context.sp == (uintptr_t)thread->stack->start &&
	       (!joinable || is_empty(thread->joiners));
}

/* --- Counting waits, where the option confirm needs it --- */

/* The library's callback, which is ours then, and the program's behind it. */
static bool counting;
static callback program_switch_in;

static void count_switch(void)
{
	struct lp_goroutine *goroutine = find_self();

	if (goroutine)
		goroutine->waits++;
	if (program_switch_in)
		program_switch_in();
}

bool lp_st_counts(void)
{
	return counting;
}

/* The library forgets its callbacks when it is initialised. */
static void count_switches(void)
{
	callback old;

	if (!real.set_switch_in)
		return;
	old = real.set_switch_in(count_switch);
	if (old != count_switch)
		program_switch_in = old;
	counting = true;
}

LP_EXPORT callback st_set_switch_in_cb(callback new)
{
	callback old = program_switch_in;

	if (!resolve() || !real.set_switch_in)
		return NULL;
	if (!counting)
		return real.set_switch_in(new);
	program_switch_in = new;
	return old;
}

/* --- What others want to know while the program runs --- */

void lp_st_yield(void)
{
	const struct lp_goroutine *goroutine = real.self ? find_self() : NULL;

	/* A microsecond, so that sleepers come to run too. */
	if (goroutine && real.usleep && !(goroutine->flags & (LP_T_SERVICE | LP_T_ENDING)))
		real.usleep(1);
}

const struct lp_wait_kind *lp_st_peek(const struct lp_goroutine *goroutine)
{
	static const struct lp_wait_kind kinds[] = {
		[ST_IO] = {"IO wait", LP_RULE_LIVE, LP_STATE_IO},
		[ST_LOCK] = {"sync.Mutex.Lock", LP_RULE_OWNER, LP_STATE_WAITING},
		[ST_COND] = {"sync.Cond.Wait", LP_RULE_ANY, LP_STATE_WAITING},
		[ST_SLEEPING] = {"sleep", LP_RULE_LIVE, LP_STATE_SLEEP},
		[ST_SUSPENDED] = {"sleep (no deadline)", LP_RULE_NEVER, LP_STATE_WAITING},
	};
	const struct st *thread = goroutine->handle;
	unsigned state = (unsigned)__atomic_load_n(&thread->state, __ATOMIC_RELAXED);

	return state < LP_ARRAY_SIZE(kinds) && kinds[state].label ? &kinds[state] : NULL;
}

/* --- Who exists --- */

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
	if (r || !values.handle || lp_goroutine_find(&lp_state_threads, values.handle) ||
	    !known(is_main(values.handle)))
		return r;
	lp_goroutine_new(&lp_state_threads, &values);
	if (lp_options.confirm > 1)
		count_switches();
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
	if (!thread || !known(is_new(thread, start, argument, joinable)))
		return thread;
	creator = find_self();
	old = lp_goroutine_find(&lp_state_threads, thread);
	if (old)
		lp_goroutine_end(old);
	values.handle = thread;
	values.sp = (void *)thread->context.sp;
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
	/* Destructors of thread data are to run, and may wait. */
	if (goroutine)
		lp_goroutine_ending(goroutine);
	real.exit(result);
}

LP_EXPORT void st_thread_interrupt(struct st *thread)
{
	interrupts = true;
	if (resolve())
		real.interrupt(thread);
}

struct lp_runtime lp_state_threads = {.adapter = &lp_st_adapter, .name = "State Threads"};
