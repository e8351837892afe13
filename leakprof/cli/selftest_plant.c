/* SPDX-License-Identifier: MIT */
/*
 * What `leakprof selftest` runs under the shim: leaks one goroutine of each kind of wait, and keeps
 * others that must not be reported. By leakprof.h over user contexts, and with GNU Pth and State
 * Threads where these are installed.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "cli/selftest.h"
#include "leakprof.h"

#define STACK_BYTES 65536
#define SCRUBBED 16384

/* --- A runtime --- */

struct coroutine {
	ucontext_t context;
	struct leakprof_goroutine *profile;
	const struct leakprof_kind *kind;
	const void *object;
};

struct lock {
	const struct coroutine *owner;
};

static struct leakprof_runtime *runtime;
static ucontext_t scheduler;
static struct coroutine *current;

/* What the program still holds. */
static void *volatile kept;
static struct lock locks[2];

static const void *owner_of(const void *object, const void *waiter, void **cursor)
{
	const struct lock *lock = object;

	(void)waiter;
	if (*cursor)
		return NULL;
	*cursor = (void *)(uintptr_t)lock;
	return lock->owner;
}

#define KIND(words, how, owners)                                                                   \
	{                                                                                          \
		.size = sizeof(struct leakprof_kind), .rule = (how), .name = (words),              \
		.owner = (owners)                                                                  \
	}

static const struct leakprof_kind receive = KIND("chan receive", LEAKPROF_ANY, NULL);
static const struct leakprof_kind send = KIND("chan send", LEAKPROF_ANY, NULL);
static const struct leakprof_kind send_nil = KIND("chan send (nil chan)", LEAKPROF_ANY, NULL);
static const struct leakprof_kind no_cases = KIND("select (no cases)", LEAKPROF_NEVER, NULL);
static const struct leakprof_kind mutex = KIND("sync.Mutex.Lock", LEAKPROF_OWNER, owner_of);
static const struct leakprof_kind join = KIND("join", LEAKPROF_JOIN, NULL);
static const struct leakprof_kind asleep = KIND("sleep", LEAKPROF_LIVE, NULL);

static void wait_for_ever(void)
{
	struct leakprof_wait wait;

	leakprof_wait_begin(current->profile, &wait, current->kind, current->object, 0, 0);
	swapcontext(&current->context, &scheduler);
	leakprof_wait_end(current->profile);
}

/* A goroutine that waits as KIND says for OBJECT. */
static struct coroutine *plant(const struct leakprof_kind *kind, const void *object)
{
	struct coroutine *coroutine = calloc(1, sizeof(*coroutine));
	char *stack = calloc(1, STACK_BYTES);
	struct leakprof_new info = {.size = sizeof(info),
				    .handle = coroutine,
				    .handle_size = sizeof(*coroutine),
				    .stack = stack,
				    .stack_size = STACK_BYTES,
				    .entry = (const void *)(uintptr_t)wait_for_ever};

	if (!coroutine || !stack)
		exit(1);
	coroutine->kind = kind;
	coroutine->object = object;
	coroutine->profile = leakprof_created(runtime, &info);
	getcontext(&coroutine->context);
	coroutine->context.uc_stack.ss_sp = stack;
	coroutine->context.uc_stack.ss_size = STACK_BYTES;
	makecontext(&coroutine->context, wait_for_ever, 0);
	current = coroutine;
	swapcontext(&scheduler, &coroutine->context);
	current = NULL;
	return coroutine;
}

static void plant_annotated(void)
{
	runtime = leakprof_runtime("selftest");
	leakprof_internal(&scheduler, sizeof(scheduler));
	plant(&receive, malloc(64));
	plant(&send_nil, NULL);
	plant(&no_cases, NULL);
	plant(&join, plant(&receive, malloc(64)));
	/* Locked crosswise, in memory that anyone can reach. */
	locks[0].owner = plant(&mutex, &locks[1]);
	locks[1].owner = plant(&mutex, &locks[0]);
	kept = malloc(64);
	plant(&send, kept);
	plant(&asleep, NULL);
}

/* --- Libraries --- */

/* SYMBOL, from whoever has it first: the shim. */
static bool find(void *slot, const char *symbol)
{
	void *address = dlsym(RTLD_DEFAULT, symbol);

	memcpy(slot, &address, sizeof(address));
	return address;
}

static struct {
	int (*init)(void);
	void *(*spawn)(void *, void *(*)(void *), void *);
	int (*yield)(void *);
	int (*mutex_init)(void *);
	int (*mutex_acquire)(void *, int, void *);
	int (*cond_init)(void *);
	int (*cond_await)(void *, void *, void *);
} pth;

static void *wait_pth(void *unused)
{
	void *lock = calloc(1, 256);
	void *condition = calloc(1, 256);

	pth.mutex_init(lock);
	pth.cond_init(condition);
	pth.mutex_acquire(lock, 0, NULL);
	pth.cond_await(condition, lock, NULL);
	return unused;
}

static bool plant_pth(void)
{
	int i;

	if (!dlopen("libpth.so.20", RTLD_NOW | RTLD_GLOBAL) || !find(&pth.init, "pth_init") ||
	    !find(&pth.spawn, "pth_spawn") || !find(&pth.yield, "pth_yield") ||
	    !find(&pth.mutex_init, "pth_mutex_init") ||
	    !find(&pth.mutex_acquire, "pth_mutex_acquire") ||
	    !find(&pth.cond_init, "pth_cond_init") || !find(&pth.cond_await, "pth_cond_await"))
		return false;
	pth.init();
	pth.spawn(NULL, wait_pth, NULL);
	for (i = 0; i < 3; i++)
		pth.yield(NULL);
	return true;
}

static struct {
	int (*init)(void);
	void *(*create)(void *(*)(void *), void *, int, int);
	int (*usleep)(unsigned long long);
	void *(*cond_new)(void);
	int (*cond_wait)(void *);
} st;

static void *wait_st(void *unused)
{
	st.cond_wait(st.cond_new());
	return unused;
}

static bool plant_st(void)
{
	if (!dlopen("libst.so.1", RTLD_NOW | RTLD_GLOBAL) || !find(&st.init, "st_init") ||
	    !find(&st.create, "st_thread_create") || !find(&st.usleep, "st_usleep") ||
	    !find(&st.cond_new, "st_cond_new") || !find(&st.cond_wait, "st_cond_wait"))
		return false;
	if (st.init())
		return false;
	st.create(wait_st, NULL, 0, 0);
	st.usleep(0);
	return true;
}

/* What calls have left on the stack below. */
static __attribute__((noinline)) void scrub(void)
{
	volatile char bytes[SCRUBBED];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
}

int lp_selftest_plant(void)
{
	int planted;

	plant_annotated();
	planted = (plant_pth() ? LP_PLANTED_PTH : 0) | (plant_st() ? LP_PLANTED_ST : 0);
	scrub();
	return planted;
}
