/* SPDX-License-Identifier: MIT */
/*
 * Start and end of leakprof in a process: options, signal, control page, interval timer, the
 * collection at exit, and a new start in forked children. Whatever fails here makes leakprof
 * dormant, never the program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "core/options.h"
#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

struct lp_options lp_options;
int lp_pid;
bool lp_forked;
const char *lp_dormant_reason;

static int exit_collected;

void lp_dormant(const char *reason)
{
	const char *none = NULL;

	__atomic_compare_exchange_n(&lp_dormant_reason, &none, reason, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
}

bool lp_awake(void)
{
	return lp_pid && !lp_dormant_reason;
}

void *lp_next(const char *symbol, const char *soname)
{
	void *function = dlsym(RTLD_NEXT, symbol);
	void *library;

	if (function || !soname)
		return function;
	library = dlopen(soname, RTLD_LAZY | RTLD_NOLOAD);
	if (!library)
		return NULL;
	function = dlsym(library, symbol);
	dlclose(library);
	return function;
}

const char *lp_program_name(void)
{
	return program_invocation_short_name;
}

/* --- Options --- */

static void read_options(void)
{
	const char *text = getenv(LP_OPTIONS_ENV);
	const char *bad;

	lp_options_default(&lp_options);
	if (text && lp_options_parse(&lp_options, text, &bad))
		lp_dormant("LEAKPROF_OPTIONS has an error: run `leakprof help options`");
	if (lp_options.help)
		lp_options_help(2, LP_OPT_TARGET);
}

/* --- Interval --- */

static void start_interval(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = lp_signal};
	struct itimerspec when;
	timer_t timer;

	if (!lp_options.interval_ns)
		return;
	when.it_interval.tv_sec = (time_t)(lp_options.interval_ns / 1000000000u);
	when.it_interval.tv_nsec = (long)(lp_options.interval_ns % 1000000000u);
	when.it_value = when.it_interval;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL))
		lp_dormant("the interval timer could not be started");
}

/* --- Exit --- */

static bool any_runtime(void)
{
	size_t i;

	for (i = 0; i < lp_runtime_count; i++)
		if (lp_runtimes[i]->seen)
			return true;
	return false;
}

/* "leakprof/PID/token": whether `leakprof run` PID is our parent, so that it waits for an answer of
 * ours. */
static bool is_watched(void)
{
	const char *at = strchr(lp_options.connect, '/');

	return at && atoi(at + 1) == getppid();
}

/* The collection at exit: at most once, and only in a process that has something to tell. */
static void __attribute__((noinline)) collect_exit(void)
{
	const struct lp_request request = {.trigger = LP_TRIGGER_EXIT};
	int saved = errno;

	/* Callee-saved registers go onto the stack, above the frame address less the red zone. */
	__builtin_unwind_init();
	if (!lp_options.at_exit || !lp_pid || lp_pid != (int)LP_SYS0(SYS_getpid) ||
	    __atomic_exchange_n(&exit_collected, 1, __ATOMIC_ACQ_REL))
		return;
	if (any_runtime() || is_watched() || !lp_options.connect[0])
		lp_collect(&request, NULL, (uintptr_t)__builtin_frame_address(0));
	errno = saved;
}

LP_EXPORT void _exit(int status)
{
	collect_exit();
	LP_SYS1(SYS_exit_group, status);
	__builtin_unreachable();
}

LP_EXPORT void _Exit(int status)
{
	collect_exit();
	LP_SYS1(SYS_exit_group, status);
	__builtin_unreachable();
}

/* --- Fork --- */

static void after_fork(void)
{
	if (!lp_pid)
		return;
	lp_pid = (int)LP_SYS0(SYS_getpid);
	lp_forked = true;
	exit_collected = 0;
	lp_registry_after_fork();
	lp_annotations_after_fork();
	lp_threads_after_fork();
	lp_stop_after_fork();
	lp_snapshot_after_fork();
	start_interval();
}

/* --- Start --- */

static int start(void)
{
	int r = lp_signals_init();

	if (!r)
		r = lp_snapshot_init();
	if (!r)
		r = -pthread_atfork(NULL, NULL, after_fork);
	if (!r && atexit(collect_exit))
		r = -ENOMEM;
	/* Which may be at exit, before that. */
	lp_sanitizer_on_death(collect_exit);
	return r;
}

static void __attribute__((constructor(101))) init(void)
{
	int saved = errno;
	int r;

	/* Privileged by set-user-ID: others' environment must not steer files here. */
	if (getauxval(AT_SECURE))
		return;
	read_options();
	lp_pid = (int)LP_SYS0(SYS_getpid);
	lp_heap_warning(); /* asks the dynamic linker, which the snapshot must not */
	r = start();
	if (r == -EBUSY)
		lp_dormant("the program uses leakprof's signal: choose another with the option "
			   "signal");
	else if (r)
		lp_dormant("leakprof could not start: no memory, or a system call is not allowed");
	lp_thread_enter();
	start_interval();
	errno = saved;
}
