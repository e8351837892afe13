/* SPDX-License-Identifier: MIT */
/*
 * The collection at exit: when main returns, by exit(), or by _exit().
 *
 * Where main has returned, or exit() was called, is remembered: frames below belong to libc and to
 * handlers of others, and lie where the program's own calls have left stale words, which would hide
 * leaks. So __libc_start_main and exit are interposed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

static int exit_collected;

/* From here up frames are the program's, or nobody's; 0: it did not come this way. */
static uintptr_t program_frames;

typedef int main_function(int argc, char **argv, char **environment);

static main_function *program_main;

/* "leakprof/PID/token": whether `leakprof run` PID is our parent, so that it waits for an answer of
 * ours. */
static bool is_watched(void)
{
	const char *at = strchr(lp_options.connect, '/');

	return at && atoi(at + 1) == getppid();
}

/* At most once, and only in a process that has something to tell. */
static void collect(uintptr_t sp)
{
	struct lp_request request = {.trigger = LP_TRIGGER_EXIT};
	int saved = errno;

	if (!lp_options.at_exit || !lp_pid || lp_pid != (int)LP_SYS0(SYS_getpid) ||
	    __atomic_exchange_n(&exit_collected, 1, __ATOMIC_ACQ_REL))
		return;
	if (lp_options.settle_ns)
		lp_scope_settle(NULL, lp_options.settle_ns);
	request.suppressions = lp_default_suppressions();
	if (lp_runtime_any() || is_watched() || !lp_options.connect[0])
		lp_collect(&request, NULL, sp);
	errno = saved;
}

static __attribute__((noinline)) void collect_here(void)
{
	struct lp_saved saved;

	LP_SAVE_REGISTERS(&saved);
	collect((uintptr_t)&saved);
}

/* Called by exit(), on the stack that it was called on. */
static void at_exit(void)
{
	if (program_frames)
		collect(program_frames);
	else
		collect_here();
}

static void (*real_exit)(int) __attribute__((noreturn));

static void find_exit(void)
{
	void *next = lp_next("exit", NULL);

	memcpy(&real_exit, &next, sizeof(next));
}

int lp_exit_init(void)
{
	find_exit();
	/* A sanitizer that ends the process does not come by there. */
	lp_sanitizer_on_death(collect_here);
	return atexit(at_exit) ? -ENOMEM : 0;
}

void lp_exit_after_fork(void)
{
	exit_collected = 0;
}

/* --- Ways out --- */

LP_EXPORT __attribute__((noreturn)) void exit(int status)
{
	struct lp_saved saved;

	LP_SAVE_REGISTERS(&saved);
	/* A child of vfork shares this memory. */
	if (!program_frames && lp_pid == (int)LP_SYS0(SYS_getpid))
		program_frames = (uintptr_t)&saved;
	/* In a constructor before ours. */
	if (!real_exit)
		find_exit();
	real_exit(status);
}

/* What main called lies below this frame. */
static int run_main(int argc, char **argv, char **environment)
{
	int status = program_main(argc, argv, environment);
	struct lp_saved saved;

	LP_SAVE_REGISTERS(&saved);
	program_frames = (uintptr_t)&saved;
	return status;
}

LP_EXPORT int __libc_start_main(main_function *given, int argc, char **argv, void (*init)(void),
				void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
	int (*real)(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void),
		    void *) = NULL;
	void *next = lp_next("__libc_start_main", NULL);

	program_main = given;
	memcpy(&real, &next, sizeof(real));
	return real(run_main, argc, argv, init, fini, loader_fini, stack_end);
}

LP_EXPORT void _exit(int status)
{
	collect_here();
	LP_SYS1(SYS_exit_group, status);
	__builtin_unreachable();
}

LP_EXPORT void _Exit(int status)
{
	collect_here();
	LP_SYS1(SYS_exit_group, status);
	__builtin_unreachable();
}
