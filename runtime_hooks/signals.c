/* SPDX-License-Identifier: MIT */
/*
 * The one signal that leakprof uses: its handler, and the interposed calls that keep it out of the
 * program's sight, as glibc keeps its own two. The program cannot block it, wait for it, or change
 * what it does.
 *
 * It arrives as
 *     si_code SI_QUEUE   from `leakprof snapshot`: si_value names the requester (protocol.h)
 *     si_code SI_TIMER   from the interval timer
 *     si_code CLD_*      when the snapshot process ends
 *     LP_STOP_CODE       from the coordinator of a collection, to each thread
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "core/protocol.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

int lp_signal;

static void request_from(const siginfo_t *info, void *context)
{
	struct lp_request request = {.trigger = LP_TRIGGER_SIGNAL};
	uint64_t value = (uintptr_t)info->si_value.sival_ptr;

	if (info->si_code == SI_TIMER)
		request.trigger = LP_TRIGGER_INTERVAL;
	else if (info->si_code != SI_QUEUE)
		return;
	request.token = value & LP_TOKEN_MASK;
	if (info->si_code == SI_QUEUE && value >> LP_ASK_SHIFT == LP_ASK_STATS)
		lp_stats_send(request.token);
	else
		lp_collect(&request, context, 0);
}

static void a_child_ended(void *context)
{
	lp_stats_reap();
	lp_snapshot_ended(context);
}

static void handler(int number, siginfo_t *info, void *context)
{
	struct lp_thread *self = lp_self;
	struct lp_thread *borrowed = NULL;

	(void)number;
	/* vfork's child shares our memory and a raw fork's child our state: neither is ours to
	 * collect. */
	if (lp_pid != (int)LP_SYS0(SYS_getpid))
		return;
	if (!self)
		self = borrowed = lp_thread_claim((int)LP_SYS0(SYS_gettid));
	if (!self)
		return;
	lp_restart(context);
	if (info->si_code >= CLD_EXITED && info->si_code <= CLD_CONTINUED)
		a_child_ended(context);
	else if (info->si_code != LP_STOP_CODE)
		request_from(info, context);
	lp_stop_here(self, context);
	if (borrowed)
		lp_thread_release(borrowed);
}

/* --- Interposed --- */

/* Our signal, also before the shim is up: a library that was loaded before it may block all signals
 * in a thread of its own. */
static int ours(void)
{
	return lp_signal ? lp_signal : lp_pid ? 0 : lp_signal_wanted();
}

static bool is_ours(int number)
{
	return number && number == lp_signal;
}

/* A copy of SET without our signal. NULL stays NULL. */
static const sigset_t *without_ours(const sigset_t *set, sigset_t *copy)
{
	int number = set ? ours() : 0;

	if (!number)
		return set;
	*copy = *set;
	sigdelset(copy, number);
	return copy;
}

/* The program may unblock our signal, which some of its code may have blocked by a system call. */
static const sigset_t *mask_to_set(int how, const sigset_t *set, sigset_t *copy)
{
	return how == SIG_UNBLOCK ? set : without_ours(set, copy);
}

static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);

static int next_sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	if (!real_sigaction)
		real_sigaction = lp_next("sigaction", NULL);
	return real_sigaction(number, new, old);
}

LP_EXPORT int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	struct sigaction copy;

	if (is_ours(number)) {
		errno = EINVAL;
		return -1;
	}
	if (new &&lp_signal) {
		copy = *new;
		sigdelset(&copy.sa_mask, lp_signal);
		new = &copy;
	}
	return next_sigaction(number, new, old);
}

/* glibc's signal() does not come back through the interposed sigaction. */
LP_EXPORT sighandler_t signal(int number, sighandler_t function)
{
	static sighandler_t (*real)(int, sighandler_t);

	if (!real)
		real = lp_next("signal", NULL);
	if (is_ours(number)) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return real(number, function);
}

LP_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	static int (*real)(int, const sigset_t *, sigset_t *);
	sigset_t copy;

	if (!real)
		real = lp_next("sigprocmask", NULL);
	return real(how, mask_to_set(how, set, &copy), old);
}

LP_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	static int (*real)(int, const sigset_t *, sigset_t *);
	sigset_t copy;

	if (!real)
		real = lp_next("pthread_sigmask", NULL);
	return real(how, mask_to_set(how, set, &copy), old);
}

LP_EXPORT int sigsuspend(const sigset_t *set)
{
	static int (*real)(const sigset_t *);
	sigset_t copy;

	if (!real)
		real = lp_next("sigsuspend", NULL);
	return real(without_ours(set, &copy));
}

LP_EXPORT int sigwait(const sigset_t *set, int *number)
{
	static int (*real)(const sigset_t *, int *);
	sigset_t copy;

	if (!real)
		real = lp_next("sigwait", NULL);
	return real(without_ours(set, &copy), number);
}

LP_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	static int (*real)(const sigset_t *, siginfo_t *);
	sigset_t copy;

	if (!real)
		real = lp_next("sigwaitinfo", NULL);
	return real(without_ours(set, &copy), info);
}

LP_EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	static int (*real)(int, const sigset_t *, int);
	sigset_t copy;

	if (!real)
		real = lp_next("signalfd", NULL);
	return real(fd, without_ours(set, &copy), flags);
}

const sigset_t *lp_without_signal(const sigset_t *set, sigset_t *copy)
{
	return without_ours(set, copy);
}

/*
 * glibc's sigaction: a sanitizer's, which may come between, has handlers wait for a better moment.
 * Not a system call, as the kernel asks for a restorer.
 */
static int own_sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	int (*action)(int, const struct sigaction *, struct sigaction *) =
		libc ? dlsym(libc, "sigaction") : NULL;

	if (libc)
		dlclose(libc);
	return action ? action(number, new, old) : next_sigaction(number, new, old);
}

int lp_signals_init(void)
{
	struct sigaction action = {.sa_sigaction = handler,
				   .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
	struct sigaction old;
	int number = (int)lp_options.signal;

	if (number < SIGRTMIN || number > SIGRTMAX)
		return -EINVAL;
	if (own_sigaction(number, NULL, &old))
		return -errno;
	if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)
		return -EBUSY;
	sigfillset(&action.sa_mask);
	if (own_sigaction(number, &action, NULL))
		return -errno;
	lp_signal = number;
	return 0;
}

void lp_signals_open(void)
{
	uint64_t ours = lp_signal ? 1ull << (lp_signal - 1) : 0;

	LP_SYS4(SYS_rt_sigprocmask, SIG_UNBLOCK, &ours, NULL, 8);
}
