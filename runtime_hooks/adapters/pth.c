/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth 2.0.7 (libpth.so.20), in the target. Facts measured in docs/runtimes.md.
 *
 * All blocking ends in pth_wait(event ring), and all public calls reach each other through the PLT,
 * so the wrappers here nest: the outermost names the wait, and its frame is where the program's own
 * frames begin. What is waited for is not looked at here, where it would cost each wait: the
 * snapshot reads it from the ring (pth_snapshot.c).
 *
 * Threads end in pth_exit, after which the control block is freed or kept for a joiner.
 *
 * Runs inside the program: no malloc, no stdio, no lock, and errno is the program's.
 */
#include <errno.h>
#include <string.h>

#include "core/sys.h"
#include "runtime_hooks/adapters/pth.h"

#define SONAME "libpth.so.20"

enum { RWLOCK_RW = 1 };

static const struct lp_wait_kind kinds[] = {
	{"", LP_RULE_LIVE, LP_STATE_WAITING}, /* from the ring */
	{"sync.Mutex.Lock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.RWMutex.RLock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.RWMutex.Lock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.Cond.Wait", LP_RULE_ANY, LP_STATE_WAITING},
	{"barrier wait", LP_RULE_ANY, LP_STATE_WAITING},
	{"join", LP_RULE_JOIN, LP_STATE_WAITING},
};

enum { KIND_WAIT, KIND_MUTEX, KIND_RLOCK, KIND_LOCK, KIND_COND, KIND_BARRIER, KIND_JOIN };

static struct {
	int (*init)(void);
	int (*kill)(void);
	struct pth *(*spawn)(void *, void *(*)(void *), void *);
	void (*exit)(void *) __attribute__((noreturn));
	int (*yield)(struct pth *);
	int (*wait)(struct pth_event *);
	int (*join)(struct pth *, void **);
	int (*mutex_acquire)(struct pth_mutex *, int, struct pth_event *);
	int (*rwlock_acquire)(void *, int, int, struct pth_event *);
	int (*rwlock_release)(void *);
	int (*cond_await)(struct pth_cond *, struct pth_mutex *, struct pth_event *);
	int (*barrier_reach)(void *);
	int (*cancel)(struct pth *);
	int (*abort)(struct pth *);
	int (*resume)(struct pth *);
	int (*key_create)(int *, void (*)(void *));
	int (*atfork_push)(void (*)(void *), void (*)(void *), void (*)(void *), void *);
	struct pth **current;
	struct pth **scheduler_thread;
	void *scheduler;
	void *trampoline;
	struct pth_queue *queues[LP_PTH_QUEUES];
} real;

/* Keys of the library's own static events. */
static bool own_keys[LP_PTH_KEYS];

static bool cancels;
static bool resumes;

static bool resolve(void)
{
	static const struct {
		void *slot;
		const char *name;
	} symbols[] = {
		{&real.init, "pth_init"},
		{&real.kill, "pth_kill"},
		{&real.spawn, "pth_spawn"},
		{&real.exit, "pth_exit"},
		{&real.yield, "pth_yield"},
		{&real.wait, "pth_wait"},
		{&real.join, "pth_join"},
		{&real.mutex_acquire, "pth_mutex_acquire"},
		{&real.rwlock_acquire, "pth_rwlock_acquire"},
		{&real.rwlock_release, "pth_rwlock_release"},
		{&real.cond_await, "pth_cond_await"},
		{&real.barrier_reach, "pth_barrier_reach"},
		{&real.cancel, "pth_cancel"},
		{&real.abort, "pth_abort"},
		{&real.resume, "pth_resume"},
		{&real.key_create, "pth_key_create"},
		{&real.atfork_push, "pth_atfork_push"},
		{&real.current, "__pth_current"},
		{&real.scheduler_thread, "__pth_sched"},
		{&real.trampoline, "pth_uctx_trampoline_ctx"},
		{&real.queues[0], "__pth_NQ"},
		{&real.queues[1], "__pth_RQ"},
		{&real.queues[2], "__pth_WQ"},
		{&real.queues[3], "__pth_DQ"},
		{&real.queues[QUEUE_SUSPENDED], "__pth_SQ"},
		{&real.scheduler, "__pth_scheduler"},
	};
	size_t i;

	if (real.scheduler)
		return true;
	for (i = 0; i < LP_ARRAY_SIZE(symbols); i++) {
		void *address = lp_next(symbols[i].name, SONAME);

		if (!address) {
			errno = ENOSYS;
			return false;
		}
		memcpy(symbols[i].slot, &address, sizeof(address));
	}
	return true;
}

struct pth *lp_pth_self(void)
{
	return *real.current;
}

struct pth *lp_pth_scheduler(void)
{
	return *real.scheduler_thread;
}

const struct pth_queue *lp_pth_queue(size_t number)
{
	return real.queues[number];
}

uintptr_t lp_pth_trampoline(void)
{
	return (uintptr_t)real.trampoline;
}

uintptr_t lp_pth_address(void)
{
	return lp_pth.seen && real.current ? (uintptr_t)real.current : 0;
}

bool lp_pth_cancels(void)
{
	return cancels;
}

bool lp_pth_resumes(void)
{
	return resumes;
}

bool lp_pth_own_key(size_t key)
{
	return own_keys[key];
}

static struct lp_goroutine *self(void)
{
	return *real.current ? lp_goroutine_find(&lp_pth, *real.current) : NULL;
}

/* The calling goroutine, if this is the outermost blocking call that it is in. */
static struct lp_goroutine *outermost(void)
{
	struct lp_goroutine *goroutine = self();

	return goroutine && !goroutine->wait ? goroutine : NULL;
}

LP_EXPORT int pth_init(void)
{
	if (!resolve())
		return 0;
	lp_runtime_seen(&lp_pth);
	return real.init();
}

LP_EXPORT int pth_kill(void)
{
	int r;

	if (!resolve())
		return 0;
	r = real.kill();
	if (r)
		lp_runtime_reset(&lp_pth);
	return r;
}

LP_EXPORT struct pth *pth_spawn(void *attributes, void *(*start)(void *), void *argument)
{
	struct lp_goroutine values = {.entry = (void *)start,
				      .created_pc = __builtin_return_address(0)};
	struct lp_goroutine *creator;
	struct lp_goroutine *old;
	struct pth *thread;

	if (!resolve())
		return NULL;
	creator = self();
	thread = real.spawn(attributes, start, argument);
	if (!thread)
		return NULL;
	/* This build leaves the scheduler's copy of the signal mask uninitialised: it may block any
	 * signal. */
	memset(thread->context + sizeof(thread->context) - 136, 0, 128);
	old = lp_goroutine_find(&lp_pth, thread);
	if (old)
		lp_goroutine_end(old);
	values.handle = thread;
	lp_goroutine_set_stack(&values, thread->stack, thread->stack_size);
	lp_scope_created(&values, creator);
	if (start == (void *(*)(void *)) - 1) {
		values.flags = LP_T_MAIN;
		values.entry = NULL;
		values.created_pc = NULL;
	} else if ((void *)start == real.scheduler) {
		values.flags = LP_T_SERVICE;
	}
	lp_goroutine_new(&lp_pth, &values);
	return thread;
}

/* Also called by the library, when a start function returns and when a thread is cancelled. */
LP_EXPORT __attribute__((noreturn)) void pth_exit(void *value)
{
	struct lp_goroutine *goroutine;

	if (!resolve())
		__builtin_trap();
	goroutine = self();
	if (goroutine) {
		/* Cleanup handlers are to run: a wait in one of them is an outermost one. */
		lp_wait_end(goroutine);
		lp_goroutine_ending(goroutine);
	}
	real.exit(value);
}

/*
 * Every wrapper of a blocking call: publishes the wait around the real call, unless another one
 * has. EXPRESSION is the call.
 */
#define BLOCKING(kind, expression)                                                                 \
	do {                                                                                       \
		struct lp_goroutine *goroutine;                                                    \
		struct lp_wait wait;                                                               \
		int result;                                                                        \
                                                                                                   \
		if (!resolve())                                                                    \
			return 0;                                                                  \
		goroutine = outermost();                                                           \
		if (!goroutine)                                                                    \
			return expression;                                                         \
		lp_wait_begin(goroutine, &wait, &kinds[kind], NULL, __builtin_frame_address(0));   \
		result = expression;                                                               \
		lp_wait_end(goroutine);                                                            \
		return result;                                                                     \
	} while (0)

/* Where a thread of the library runs, and not its scheduler. */
void lp_pth_yield(void)
{
	if (real.yield && *real.current && *real.current != *real.scheduler_thread)
		real.yield(NULL);
}

LP_EXPORT int pth_yield(struct pth *to)
{
	BLOCKING(KIND_WAIT, real.yield(to));
}

LP_EXPORT int pth_wait(struct pth_event *ring)
{
	BLOCKING(KIND_WAIT, real.wait(ring));
}

LP_EXPORT int pth_join(struct pth *thread, void **value)
{
	BLOCKING(KIND_JOIN, real.join(thread, value));
}

LP_EXPORT int pth_mutex_acquire(struct pth_mutex *mutex, int try_only, struct pth_event *extra)
{
	BLOCKING(KIND_MUTEX, real.mutex_acquire(mutex, try_only, extra));
}

LP_EXPORT int pth_rwlock_acquire(void *lock, int operation, int try_only, struct pth_event *extra)
{
	BLOCKING(operation == RWLOCK_RW ? KIND_LOCK : KIND_RLOCK,
		 real.rwlock_acquire(lock, operation, try_only, extra));
}

/* Giving back a read lock takes the lock's inner mutex. */
LP_EXPORT int pth_rwlock_release(void *lock)
{
	BLOCKING(KIND_MUTEX, real.rwlock_release(lock));
}

LP_EXPORT int pth_cond_await(struct pth_cond *cond, struct pth_mutex *mutex,
			     struct pth_event *extra)
{
	BLOCKING(KIND_COND, real.cond_await(cond, mutex, extra));
}

LP_EXPORT int pth_barrier_reach(void *barrier)
{
	BLOCKING(KIND_BARRIER, real.barrier_reach(barrier));
}

LP_EXPORT int pth_cancel(struct pth *thread)
{
	cancels = true;
	return resolve() ? real.cancel(thread) : 0;
}

LP_EXPORT int pth_abort(struct pth *thread)
{
	cancels = true;
	return resolve() ? real.abort(thread) : 0;
}

LP_EXPORT int pth_resume(struct pth *thread)
{
	resumes = true;
	return resolve() ? real.resume(thread) : 0;
}

/* The library's own static events are kept under keys whose variables lie in its data. */
LP_EXPORT int pth_key_create(int *key, void (*destructor)(void *))
{
	uintptr_t distance;
	int r;

	if (!resolve())
		return 0;
	r = real.key_create(key, destructor);
	distance = (uintptr_t)key - (uintptr_t)real.current + (1u << 16);
	if (r && *key >= 0 && *key < LP_PTH_KEYS)
		own_keys[*key] = distance < 2u << 16;
	return r;
}

LP_EXPORT int pth_atfork_push(void (*prepare)(void *), void (*parent)(void *),
			      void (*child)(void *), void *argument)
{
	if (!resolve())
		return 0;
	lp_add_root(argument);
	return real.atfork_push(prepare, parent, child, argument);
}

struct lp_runtime lp_pth = {.adapter = &lp_pth_adapter, .name = "GNU Pth"};
