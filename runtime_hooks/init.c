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

int lp_signal_wanted(void)
{
	const char *text = environ && !getauxval(AT_SECURE) ? getenv(LP_OPTIONS_ENV) : NULL;
	struct lp_options options;
	const char *bad;

	lp_options_default(&options);
	if (text && lp_options_parse(&options, text, &bad))
		return 0;
	return options.signal <= (uint32_t)SIGRTMAX ? (int)options.signal : 0;
}

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

/* --- Fork --- */

static void after_fork(void)
{
	if (!lp_pid)
		return;
	lp_pid = (int)LP_SYS0(SYS_getpid);
	lp_forked = true;
	lp_exit_after_fork();
	lp_scope_after_fork();
	lp_registry_after_fork();
	lp_annotations_after_fork();
	lp_threads_after_fork();
	lp_stop_after_fork();
	lp_snapshot_after_fork();
	lp_stats_after_fork();
	start_interval();
}

/* --- Start --- */

static int start(void)
{
	int r = lp_signals_init();

	lp_exec_init();
	lp_registry_init();
	if (!r)
		r = lp_snapshot_init();
	if (!r)
		r = -pthread_atfork(NULL, NULL, after_fork);
	if (!r)
		r = lp_exit_init();
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
	lp_pause_init();
	lp_thread_enter();
	lp_signals_open();
	start_interval();
	errno = saved;
}
