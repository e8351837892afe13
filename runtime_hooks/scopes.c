/* SPDX-License-Identifier: MIT */
/*
 * Which goroutines a leak check is about: those born in a scope, and none of those that were there
 * before lp_scope_ignore_current.
 *
 * A scope belongs to the goroutine that began it, or to the OS thread where that runs none, and is
 * handed on: a new goroutine is of its creator's scope. So tests that run side by side, on several
 * threads or in several goroutines, each have their own. A scope is a number in the goroutine's
 * record; begun inside another one, it knows that as its parent, and what is born in it counts for
 * both. Numbers are used again only after all others were.
 *
 * Runs inside the target: no malloc, no stdio. Scopes are begun and ended under a lock that is held
 * for a few instructions, but when numbers come round again.
 */
#include <time.h>

#include "core/own.h"
#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

#define SCOPES 65536u /* 0: none */
#define PAUSE_MAX_NS 10000000u

struct scope {
	struct lp_goroutine *goroutine; /* that began it; NULL: a thread without one */
	uint64_t id;			/* of GOROUTINE */
	uint16_t parent;
	bool begun; /* this number was used before */
};

static struct scope *scopes; /* mapped with the first one */
static uint16_t last;
static uint32_t lock;
static uint64_t ignored; /* goroutines up to this id */
static __thread uint16_t thread_scope __attribute__((tls_model("initial-exec")));

static void acquire(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		LP_SYS0(SYS_sched_yield);
}

static void release(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

static uint16_t number_of(const struct leakprof_scope *scope)
{
	return scope ? (uint16_t)((const struct scope *)scope - scopes) : 0;
}

void lp_scope_created(struct lp_goroutine *values, const struct lp_goroutine *creator)
{
	values->creator = creator ? creator->id : 0;
	values->scope = creator ? creator->scope : thread_scope;
}

/* Whether the calling thread runs GOROUTINE, by the stack that SP is on. */
static bool is_running(const struct lp_goroutine *goroutine, const char *sp, int tid)
{
	if (!goroutine->id || goroutine->flags & LP_T_SERVICE)
		return false;
	if (goroutine->stack_low)
		return sp >= goroutine->stack_low && sp < lp_goroutine_stack_high(goroutine);
	return goroutine->flags & LP_T_MAIN &&
	       (goroutine->thread ? goroutine->thread : goroutine->runtime->thread) == tid;
}

/* The goroutine that calls: the one whose stack this is, else main of its thread. NULL: none. */
static struct lp_goroutine *running(void)
{
	const char *sp = __builtin_frame_address(0);
	int tid = (int)LP_SYS0(SYS_gettid);
	struct lp_goroutine *main = NULL;
	struct lp_goroutine *goroutine;
	size_t i;

	for (i = 0; (goroutine = lp_goroutine_at(i)); i++) {
		if (!is_running(goroutine, sp, tid))
			continue;
		if (goroutine->stack_low)
			return goroutine;
		main = goroutine;
	}
	return main;
}

/* Goroutines of an earlier scope of this NUMBER are of none any more. */
static void forget(uint16_t number)
{
	struct lp_goroutine *goroutine;
	size_t i;

	for (i = 0; (goroutine = lp_goroutine_at(i)); i++)
		if (goroutine->scope == number)
			goroutine->scope = 0;
}

static struct scope *take(void)
{
	struct scope *scope;

	if (!scopes)
		scopes = lp_own_map(SCOPES * sizeof(*scopes));
	if (!scopes)
		return NULL;
	if (++last == 0)
		last = 1;
	scope = &scopes[last];
	if (scope->begun)
		forget(last);
	scope->begun = true;
	return scope;
}

struct leakprof_scope *lp_scope_begin(void)
{
	struct lp_goroutine *goroutine = running();
	uint16_t *current = goroutine ? &goroutine->scope : &thread_scope;
	struct scope *scope;

	if (!lp_awake())
		return NULL;
	acquire();
	scope = take();
	if (scope) {
		*scope = (struct scope){goroutine, goroutine ? goroutine->id : 0, *current, true};
		*current = (uint16_t)(scope - scopes);
	}
	release();
	return (struct leakprof_scope *)scope;
}

/* A main goroutine that came to be in scope NUMBER, as its runtime was started there, was not born
 * in it. */
static void release_main(uint16_t number, uint16_t parent)
{
	struct lp_goroutine *goroutine;
	size_t i;

	for (i = 0; (goroutine = lp_goroutine_at(i)); i++)
		if (goroutine->flags & LP_T_MAIN && goroutine->scope == number)
			goroutine->scope = parent;
}

void lp_scope_end(struct leakprof_scope *ended)
{
	struct scope *scope = (struct scope *)ended;
	uint16_t number = number_of(ended);

	if (!scope)
		return;
	if (scope->goroutine && scope->goroutine->id == scope->id)
		scope->goroutine->scope = scope->parent;
	if (thread_scope == number)
		thread_scope = scope->parent;
	release_main(number, scope->parent);
}

void lp_scope_after_fork(void)
{
	lock = 0;
}

void lp_scope_ignore_current(void)
{
	__atomic_store_n(&ignored, lp_goroutine_last_id(), __ATOMIC_RELAXED);
}

bool lp_scope_is_aside(const struct lp_goroutine *goroutine, const struct leakprof_scope *scope)
{
	uint16_t wanted = number_of(scope);
	uint16_t number = goroutine->scope;
	unsigned depth;

	if (goroutine->id <= ignored)
		return true;
	/* A parent's number may have been used again: no endless way up. */
	for (depth = 0; wanted && number != wanted && depth < SCOPES; depth++) {
		if (!number)
			return true;
		number = scopes[number].parent;
	}
	return wanted && number != wanted;
}

size_t lp_scope_count(const struct leakprof_scope *scope)
{
	const unsigned others = LP_T_MAIN | LP_T_SERVICE | LP_T_ENDING | LP_T_IGNORED;
	struct lp_goroutine *goroutine;
	size_t count = 0;
	size_t i;

	for (i = 0; (goroutine = lp_goroutine_at(i)); i++)
		count += goroutine->id && !(goroutine->flags & others) &&
			 !lp_scope_is_aside(goroutine, scope);
	return count;
}

static void yield_all(void)
{
	int tid = (int)LP_SYS0(SYS_gettid);
	size_t i;

	for (i = 0; i < lp_runtime_count; i++) {
		const struct lp_runtime *runtime = lp_runtimes[i];
		void (*yield)(void) = runtime->yield ? runtime->yield : runtime->adapter->yield;

		if (runtime->seen && yield && (runtime->shared || runtime->thread == tid))
			yield();
	}
}

void lp_scope_settle(const struct leakprof_scope *scope, uint64_t nanoseconds)
{
	uint64_t end = lp_sys_clock_ns(CLOCK_MONOTONIC) + nanoseconds;
	struct timespec pause = {0, 1000};

	while (lp_scope_count(scope) && lp_sys_clock_ns(CLOCK_MONOTONIC) < end) {
		yield_all();
		LP_SYS2(SYS_nanosleep, &pause, NULL);
		if (pause.tv_nsec < PAUSE_MAX_NS)
			pause.tv_nsec *= 2;
	}
}
