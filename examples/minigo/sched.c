/* SPDX-License-Identifier: MIT */
/*
 * Goroutines and the OS threads that run them. Each thread has a scheduler with a stack of its own
 * (for all threads but the first the thread's native one); a goroutine switches to the scheduler of
 * the thread that it happens to run on, which picks the next one from the run queue.
 *
 * Stacks are mapped with a guard page below and used again. A switch saves the callee-saved
 * registers on the stack that is left.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES (64u << 10)
#define GUARD_BYTES 4096u
#define POLL_EVERY 64

struct sched sched = {.lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};
struct leakprof_runtime *profiled;

static __thread struct worker *worker;
static const void *main_stack; /* for sanitizers */
static size_t main_stack_size;

/* Not inlined: a goroutine may go on in another thread, where the variable is another one. */
static __attribute__((noinline)) struct worker *this_worker(void)
{
	__asm__ volatile("");
	return worker;
}

struct goroutine *go_self(void)
{
	return this_worker()->current;
}

void go_abort(const char *what)
{
	fprintf(stderr, "minigo: %s\n", what);
	abort();
}

void go_lock(void)
{
	pthread_mutex_lock(&sched.lock);
}

void go_unlock(void)
{
	pthread_mutex_unlock(&sched.lock);
}

/* --- Switching --- */

void minigo_switch(void **save, void *load);
void minigo_start(void);

__asm__(".text\n"
	".globl minigo_switch\n"
	".type minigo_switch, @function\n"
	"minigo_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size minigo_switch, . - minigo_switch\n"
	/* The first frame of a goroutine: where unwinding ends. */
	".globl minigo_start\n"
	".type minigo_start, @function\n"
	"minigo_start:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n"
	"	call *%rbx\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".size minigo_start, . - minigo_start\n");

/* What sanitizers must know of a switch to a stack of SIZE bytes at LOW and its FIBER. */
static void tell_switch(void *fiber, const void *low, size_t size, bool last)
{
#if defined(__SANITIZE_ADDRESS__)
	static __thread void *fake;

	__sanitizer_start_switch_fiber(last ? NULL : &fake, low, size);
#endif
#if defined(__SANITIZE_THREAD__)
	__tsan_switch_to_fiber(fiber, 0);
#endif
	(void)fiber, (void)low, (void)size, (void)last;
}

/* And of having come, from a stack of *SIZE bytes at *LOW. */
static void tell_arrival(const void **low, size_t *size)
{
#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_finish_switch_fiber(NULL, low, size);
#endif
	(void)low, (void)size;
}

/* The lock is taken by one fiber and released by another. */
static void tell_lock_given(void)
{
#if defined(__SANITIZE_THREAD__)
	__tsan_mutex_pre_unlock(&sched.lock, 0);
	__tsan_mutex_post_unlock(&sched.lock, 0);
#endif
}

static void tell_lock_taken(void)
{
#if defined(__SANITIZE_THREAD__)
	__tsan_mutex_pre_lock(&sched.lock, 0);
	__tsan_mutex_post_lock(&sched.lock, 0, 0);
#endif
}

static void *new_fiber(void)
{
#if defined(__SANITIZE_THREAD__)
	return __tsan_create_fiber(0);
#else
	return NULL;
#endif
}

static void *current_fiber(void)
{
#if defined(__SANITIZE_THREAD__)
	return __tsan_get_current_fiber();
#else
	return NULL;
#endif
}

static void destroy_fiber(void *fiber)
{
#if defined(__SANITIZE_THREAD__)
	__tsan_destroy_fiber(fiber);
#endif
	(void)fiber;
}

/* To the scheduler of this thread, with the lock held. Returns when the goroutine runs again,
 * without it. */
static void switch_to_scheduler(bool last)
{
	struct worker *here = this_worker();

	tell_lock_given();
	tell_switch(here->fiber, here->stack, here->stack_size, last);
	minigo_switch(&here->current->sp, here->sp);
	here = this_worker();
	tell_arrival(&here->stack, &here->stack_size);
}

void go_leave_locked(void)
{
	switch_to_scheduler(false);
}

/* --- The run queue --- */

static void push_locked(struct goroutine *goroutine)
{
	goroutine->next = NULL;
	if (sched.last)
		sched.last->next = goroutine;
	else
		sched.first = goroutine;
	sched.last = goroutine;
	if (sched.idle_workers)
		pthread_cond_signal(&sched.idle);
	else if (sched.polling)
		poller_wake();
}

static struct goroutine *pop_locked(void)
{
	struct goroutine *goroutine = sched.first;

	if (!goroutine)
		return NULL;
	sched.first = goroutine->next;
	if (!sched.first)
		sched.last = NULL;
	return goroutine;
}

void go_ready_locked(struct goroutine *goroutine)
{
	leakprof_ready(goroutine->profile);
	push_locked(goroutine);
}

/* --- Queues of waiters --- */

void queue_add(struct wait_queue *queue, struct waiter *waiter)
{
	waiter->queue = queue;
	waiter->next = NULL;
	waiter->previous = queue->last;
	if (queue->last)
		queue->last->next = waiter;
	else
		queue->first = waiter;
	queue->last = waiter;
}

void queue_remove(struct waiter *waiter)
{
	struct wait_queue *queue = waiter->queue;

	if (!queue)
		return;
	if (waiter->previous)
		waiter->previous->next = waiter->next;
	else
		queue->first = waiter->next;
	if (waiter->next)
		waiter->next->previous = waiter->previous;
	else
		queue->last = waiter->previous;
	waiter->queue = NULL;
	waiter->next = waiter->previous = NULL;
}

void wake_locked(struct waiter *waiter)
{
	size_t i;

	if (!waiter->select) {
		queue_remove(waiter);
	} else {
		for (i = 0; i < waiter->select_count; i++)
			queue_remove(&waiter->select[i]);
		*waiter->chosen = (size_t)(waiter - waiter->select);
	}
	go_ready_locked(waiter->goroutine);
}

/* --- Stacks --- */

static char *new_stack(void)
{
	char *stack = sched.free_stacks;

	if (stack) {
		sched.free_stacks = *(char **)stack;
		leakprof_forget(stack);
		return stack;
	}
	stack = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE))
		go_abort("no memory for a stack");
	return stack + GUARD_BYTES;
}

/* What a free stack still holds keeps nothing alive. */
static void free_stack(char *stack)
{
	*(char **)stack = sched.free_stacks;
	sched.free_stacks = stack;
	leakprof_internal(stack, STACK_BYTES);
}

/* --- Life of a goroutine --- */

static _Noreturn void end(void)
{
	go_lock();
	this_worker()->ended = go_self();
	switch_to_scheduler(true);
	abort();
}

static void run(void)
{
	struct goroutine *self = go_self();

	tell_arrival(&this_worker()->stack, &this_worker()->stack_size);
	self->function(self->argument);
	end();
}

static void prepare_stack(struct goroutine *goroutine)
{
	void **top = (void **)(goroutine->stack + STACK_BYTES);

	*--top = NULL;
	*--top = NULL;
	*--top = (void *)(uintptr_t)minigo_start;
	*--top = NULL;			 /* rbp */
	*--top = (void *)(uintptr_t)run; /* rbx */
	top -= 4;
	memset(top, 0, 4 * sizeof(*top));
	goroutine->sp = top;
}

static void tell_created(struct goroutine *goroutine, const void *created_pc)
{
	struct leakprof_new info = {
		.size = sizeof(info),
		.handle = goroutine,
		.handle_size = sizeof(*goroutine),
		.data = &goroutine->argument,
		.data_size = sizeof(goroutine->argument),
		.stack = goroutine->stack,
		.stack_size = STACK_BYTES,
		.entry = (const void *)(uintptr_t)goroutine->function,
		.created_pc = created_pc,
	};

	if (worker && go_self())
		info.creator = go_self()->profile;
	goroutine->profile = leakprof_created(profiled, &info);
	leakprof_left(goroutine->profile, goroutine->sp);
}

void go_spawn_locked(void (*function)(void *), void *argument, const void *created_pc)
{
	struct goroutine *goroutine = calloc(1, sizeof(*goroutine));

	if (!goroutine)
		go_abort("no memory for a goroutine");
	goroutine->function = function;
	goroutine->argument = argument;
	goroutine->stack = new_stack();
	goroutine->fiber = new_fiber();
	prepare_stack(goroutine);
	tell_created(goroutine, created_pc);
	sched.count++;
	push_locked(goroutine);
}

void go(void (*function)(void *), void *argument)
{
	go_lock();
	go_spawn_locked(function, argument, __builtin_return_address(0));
	go_unlock();
}

static void free_holds(struct goroutine *goroutine)
{
	while (goroutine->overflow) {
		struct hold *next = goroutine->overflow->overflow;

		free(goroutine->overflow);
		goroutine->overflow = next;
	}
}

/* A control block that a lock still names as its owner: it stays, but leads nowhere any more. */
static void strip(struct goroutine *goroutine)
{
	struct hold *hold;
	size_t i;

	goroutine->sp = NULL;
	goroutine->argument = NULL;
	for (i = 0; i < HOLDS; i++)
		goroutine->holds[i].lock = NULL;
	for (hold = goroutine->overflow; hold; hold = hold->overflow)
		hold->lock = NULL;
}

static void bury_locked(struct goroutine *goroutine)
{
	leakprof_finished(goroutine->profile);
	goroutine->profile = NULL;
	goroutine->finished = true;
	sched.count--;
	if (goroutine == &sched.main) {
		sched.main_ended = true;
		return;
	}
	free_stack(goroutine->stack);
	goroutine->stack = NULL;
	destroy_fiber(goroutine->fiber);
	if (goroutine->owned) {
		strip(goroutine);
		return;
	}
	free_holds(goroutine);
	free(goroutine);
}

_Noreturn void go_exit(void)
{
	end();
}

void go_yield(void)
{
	go_lock();
	push_locked(go_self());
	switch_to_scheduler(false);
}

/* For leak checks, which call it wherever they are made. */
static void let_others_run(void)
{
	if (worker && go_self())
		go_yield();
}

_Noreturn void go_park(void)
{
	static const struct leakprof_kind kind = {
		.size = sizeof(kind), .rule = LEAKPROF_NEVER, .name = "select (no cases)"};
	struct leakprof_wait wait;

	leakprof_wait_begin(go_self()->profile, &wait, &kind, NULL, 0, 0);
	go_lock();
	switch_to_scheduler(false);
	abort();
}

bool others_run_locked(void)
{
	const struct goroutine *ready;
	size_t i;

	for (i = 0; i < sched.worker_count; i++)
		if (sched.workers[i].current && !sched.workers[i].current->settling)
			return true;
	for (ready = sched.first; ready; ready = ready->next)
		if (!ready->settling)
			return true;
	return false;
}

size_t go_count(void)
{
	size_t count;

	go_lock();
	count = sched.count;
	go_unlock();
	return count;
}

/* --- The scheduler of a thread --- */

static void run_locked(struct worker *here, struct goroutine *goroutine)
{
	here->current = goroutine;
	leakprof_entered(goroutine->profile);
	go_unlock();
	if (goroutine->stack)
		tell_switch(goroutine->fiber, goroutine->stack, STACK_BYTES, false);
	else
		tell_switch(goroutine->fiber, main_stack, main_stack_size, false);
	minigo_switch(&here->sp, goroutine->sp);
	tell_arrival(NULL, NULL);
	tell_lock_taken();
	/* With the lock, which the goroutine took. */
	here->current = NULL;
	leakprof_left(goroutine->profile, goroutine->sp);
	if (here->ended) {
		bury_locked(here->ended);
		here->ended = NULL;
	}
}

/* One thread polls at a time: it is the one that poller_wake wakes. */
static void poll_locked(int64_t nanoseconds)
{
	sched.polling = true;
	poller_wait_locked(nanoseconds);
	sched.polling = false;
	/* Somebody must poll while this one runs what it found. */
	if (sched.idle_workers)
		pthread_cond_signal(&sched.idle);
}

static void sleep_locked(void)
{
	int64_t next_timer = timer_next_locked();

	if (sched.polling) {
		sched.idle_workers++;
		pthread_cond_wait(&sched.idle, &sched.lock);
		sched.idle_workers--;
		return;
	}
	if (sched.main_ended && next_timer < 0 && !poller_count() &&
	    sched.idle_workers + 1 == sched.worker_count)
		exit(0);
	poll_locked(next_timer);
}

static _Noreturn void schedule(struct worker *here)
{
	unsigned turns = 0;

	go_lock();
	for (;;) {
		struct goroutine *goroutine;

		timers_run_locked();
		if (++turns % POLL_EVERY == 0 && poller_count() && !sched.polling)
			poll_locked(0);
		goroutine = pop_locked();
		if (goroutine)
			run_locked(here, goroutine);
		else
			sleep_locked();
	}
}

/* The scheduler's own stack keeps nothing of the program's alive. */
static void tell_scheduler(struct worker *here, void *stack)
{
	struct leakprof_new info = {.size = sizeof(info),
				    .flags = LEAKPROF_SERVICE,
				    .stack = stack,
				    .stack_size = STACK_BYTES,
				    .name = "scheduler"};

	here->profile = leakprof_created(profiled, &info);
}

static void *run_worker(void *argument)
{
	worker = argument;
	worker->fiber = current_fiber();
	tell_scheduler(worker, NULL);
	schedule(worker);
}

static void run_first_scheduler(void)
{
	tell_arrival(&main_stack, &main_stack_size);
	tell_lock_taken();
	/* As if a goroutine had just come here. */
	leakprof_left(sched.main.profile, sched.main.sp);
	worker->current = NULL;
	go_unlock();
	schedule(worker);
}

/* The calling code becomes the goroutine main, the scheduler of its thread gets a stack. */
static void start_main(void)
{
	struct leakprof_new info = {.size = sizeof(info),
				    .flags = LEAKPROF_MAIN,
				    .handle = &sched.main,
				    .handle_size = sizeof(sched.main),
				    .name = "main"};
	struct goroutine scheduler = {.stack = new_stack(), .function = NULL};

	worker = &sched.workers[0];
	worker->current = &sched.main;
	sched.main.fiber = current_fiber();
	sched.main.profile = leakprof_created(profiled, &info);
	sched.count = 1;
	prepare_stack(&scheduler);
	((void **)scheduler.sp)[4] = (void *)(uintptr_t)run_first_scheduler;
	worker->sp = scheduler.sp;
	worker->stack = scheduler.stack;
	worker->stack_size = STACK_BYTES;
	worker->fiber = new_fiber();
	tell_scheduler(worker, scheduler.stack);
	/* Once there and back, so that the scheduler waits in its loop. */
	go_yield();
}

void minigo_init(void)
{
	const char *text = getenv("MINIGO_THREADS");
	long threads = text ? strtol(text, NULL, 10) : 1;
	pthread_t thread;
	long i;

	profiled = leakprof_runtime("minigo");
	leakprof_settle_by(profiled, let_others_run);
	leakprof_internal(&sched, sizeof(sched));
	sched.worker_count = threads < 1	     ? 1
			     : threads > THREADS_MAX ? THREADS_MAX
						     : (size_t)threads;
	start_main();
	for (i = 1; i < (long)sched.worker_count; i++)
		if (pthread_create(&thread, NULL, run_worker, &sched.workers[i]))
			go_abort("a thread could not be started");
}
