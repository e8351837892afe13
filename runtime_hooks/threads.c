/* SPDX-License-Identifier: MIT */
/*
 * OS threads of the target: a slot each, with the bounds of its stack and a signal stack of ours,
 * because a coroutine's stack may be smaller than a signal frame.
 *
 * Threads enter by the interposed pthread_create and thrd_create; the main thread by init.c; any
 * other (a raw clone) gets a slot without a signal stack when it is first stopped. A slot whose
 * thread is gone without a word is taken back by the next collection (stop.c).
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <threads.h>

#include "core/own.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

#define CHUNK_THREADS 32u
#define CHUNK_MAX 1024u
#define HANDLER_BYTES 8192u /* what our handler itself needs, with room */
#define HANDLER_LEAST 2048u /* without */

__thread struct lp_thread *lp_self __attribute__((tls_model("initial-exec")));

static struct lp_thread *chunks[CHUNK_MAX];

struct lp_thread *lp_thread_at(size_t i)
{
	struct lp_thread *chunk;

	if (i / CHUNK_THREADS >= CHUNK_MAX)
		return NULL;
	chunk = __atomic_load_n(&chunks[i / CHUNK_THREADS], __ATOMIC_ACQUIRE);
	return chunk ? &chunk[i % CHUNK_THREADS] : NULL;
}

static struct lp_thread *new_chunk(size_t n)
{
	struct lp_thread *chunk = lp_own_map(CHUNK_THREADS * sizeof(*chunk));
	struct lp_thread *other = NULL;

	if (!chunk)
		return NULL;
	if (__atomic_compare_exchange_n(&chunks[n], &other, chunk, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return chunk;
	lp_own_unmap(chunk, CHUNK_THREADS * sizeof(*chunk));
	return other;
}

struct lp_thread *lp_thread_claim(int tid)
{
	size_t i;

	for (i = 0; i < CHUNK_THREADS * CHUNK_MAX; i++) {
		struct lp_thread *thread = lp_thread_at(i);
		uint32_t unused = 0;

		if (!thread) {
			if (!new_chunk(i / CHUNK_THREADS))
				return NULL;
			thread = lp_thread_at(i);
		}
		if (!__atomic_load_n(&thread->used, __ATOMIC_RELAXED) &&
		    __atomic_compare_exchange_n(&thread->used, &unused, 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED)) {
			thread->tid = tid;
			return thread;
		}
	}
	return NULL;
}

/* What the kernel pushes when it delivers a signal. */
static size_t frame_size(void)
{
	unsigned long size = getauxval(AT_MINSIGSTKSZ);

	return size ? size : 4096;
}

static size_t alternate_size(void)
{
	return LP_ALIGN_UP(frame_size() + HANDLER_BYTES, LP_PAGE);
}

void lp_thread_release(struct lp_thread *thread)
{
	void *alternate = thread->alternate;
	uint32_t i;
	char *bytes = (char *)thread;

	for (i = sizeof(thread->used); i < sizeof(*thread); i++)
		bytes[i] = 0;
	__atomic_store_n(&thread->used, 0, __ATOMIC_RELEASE);
	if (alternate)
		lp_own_unmap(alternate, alternate_size());
}

static void install_alternate(struct lp_thread *thread)
{
	stack_t stack = {.ss_size = alternate_size()};
	stack_t old = {0};

	LP_SYS2(SYS_sigaltstack, NULL, &old);
	if (!(old.ss_flags & SS_DISABLE))
		return;
	stack.ss_sp = lp_own_map(stack.ss_size);
	if (!stack.ss_sp)
		return;
	thread->alternate = stack.ss_sp;
	LP_SYS2(SYS_sigaltstack, &stack, NULL);
}

static void remove_alternate(struct lp_thread *thread)
{
	stack_t none = {.ss_flags = SS_DISABLE};
	stack_t current = {0};

	LP_SYS2(SYS_sigaltstack, NULL, &current);
	if (thread->alternate && current.ss_sp == thread->alternate)
		LP_SYS2(SYS_sigaltstack, &none, NULL);
}

void lp_thread_enter(void)
{
	struct lp_thread *thread;
	pthread_attr_t attributes;
	void *stack;
	size_t size;

	if (lp_self)
		return;
	thread = lp_thread_claim((int)LP_SYS0(SYS_gettid));
	if (!thread)
		return;
	/* The main thread's stack is the mapping named [stack]: the snapshot sees it, asking glibc
	 * costs a file. */
	if (thread->tid != lp_pid && !pthread_getattr_np(pthread_self(), &attributes)) {
		if (!pthread_attr_getstack(&attributes, &stack, &size)) {
			thread->stack_low = (uintptr_t)stack;
			thread->stack_high = (uintptr_t)stack + size;
		}
		pthread_attr_destroy(&attributes);
	}
	install_alternate(thread);
	lp_self = thread;
}

static void leave(void *unused)
{
	struct lp_thread *thread = lp_self;

	(void)unused;
	if (!thread)
		return;
	/* A stop from here on borrows a slot for as long as it lasts. */
	lp_self = NULL;
	remove_alternate(thread);
	lp_thread_release(thread);
}

void lp_threads_after_fork(void)
{
	struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = lp_thread_at(i)); i++)
		if (thread->used && thread != lp_self)
			lp_thread_release(thread);
	if (lp_self)
		lp_self->tid = (int)LP_SYS0(SYS_gettid);
}

/* --- Interposed --- */

struct start {
	void *(*function)(void *);
	thrd_start_t c11_function;
	void *argument;
};

static void *run(void *argument)
{
	struct start start = *(struct start *)argument;
	void *result;

	free(argument);
	lp_thread_enter();
	pthread_cleanup_push(leave, NULL);
	result = start.function ? start.function(start.argument)
				: (void *)(intptr_t)start.c11_function(start.argument);
	pthread_cleanup_pop(1);
	return result;
}

static int run_c11(void *argument)
{
	return (int)(intptr_t)run(argument);
}

/*
 * START is the program's memory while the thread has not run yet: the argument stays reachable
 * through the heap block, whose address the new thread's descriptor holds.
 */
static struct start *new_start(void *argument)
{
	struct start *start = NULL;

	if (lp_awake() && !lp_sanitizer_is_calling()) {
		if (lp_sanitizer_starts_threads())
			lp_dormant("clang's ThreadSanitizer hides the start of threads: build with "
				   "gcc's, or with one thread");
		else
			start = malloc(sizeof(*start));
	}

	if (start)
		*start = (struct start){.argument = argument};
	return start;
}

LP_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			     void *(*function)(void *), void *argument)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	struct start *start = new_start(argument);
	int r;

	if (!real)
		real = lp_next("pthread_create", NULL);
	if (!start)
		return real(thread, attributes, function, argument);
	start->function = function;
	r = real(thread, attributes, run, start);
	if (r)
		free(start);
	return r;
}

LP_EXPORT int thrd_create(thrd_t *thread, thrd_start_t function, void *argument)
{
	static int (*real)(thrd_t *, thrd_start_t, void *);
	struct start *start = new_start(argument);
	int r;

	if (!real)
		real = lp_next("thrd_create", NULL);
	if (!start)
		return real(thread, function, argument);
	start->c11_function = function;
	r = real(thread, run_c11, start);
	if (r != thrd_success)
		free(start);
	return r;
}

/* Whether the kernel would take STACK, but a signal on it would write below it. */
static bool is_too_small(const stack_t *stack)
{
	return !(stack->ss_flags & ~SS_ONSTACK) && stack->ss_size >= 2048 &&
	       stack->ss_size < frame_size() + HANDLER_LEAST;
}

/* What the program is shown of its signal stack, where the kernel has BEFORE. */
static stack_t as_set(const struct lp_thread *self, const stack_t *before)
{
	stack_t shown = *before;

	if (before->ss_sp != self->alternate)
		return shown;
	if (!self->small.ss_sp)
		return (stack_t){.ss_flags = SS_DISABLE};
	shown.ss_sp = self->small.ss_sp;
	shown.ss_size = self->small.ss_size;
	return shown;
}

/*
 * The program's signal stack; ours takes its place while it has none, or one that is too small for
 * our signal, and is not shown.
 */
LP_EXPORT int sigaltstack(const stack_t *new, stack_t *old)
{
	static int (*real)(const stack_t *, stack_t *);
	struct lp_thread *self = lp_self;
	stack_t ours = {.ss_size = alternate_size()};
	bool keep;
	stack_t before;
	stack_t wanted;
	int r;

	if (!real)
		real = lp_next("sigaltstack", NULL);
	if (!self || !self->alternate)
		return real(new, old);
	ours.ss_sp = self->alternate;
	wanted = new ? *new : ours;
	keep = wanted.ss_flags & SS_DISABLE || is_too_small(&wanted);
	r = real(new &&keep ? &ours : new, &before);
	if (r)
		return r;
	if (old)
		*old = as_set(self, &before);
	if (new)
		self->small = keep && !(wanted.ss_flags & SS_DISABLE) ? wanted : (stack_t){0};
	return 0;
}
