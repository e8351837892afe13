/* SPDX-License-Identifier: MIT */
/*
 * Values that the program sends along with queued signals: while such a signal is pending only the
 * kernel has its value, and shows it to nobody but a tracer. So the values are noted here when they
 * are sent; the snapshot takes them for reached while any signal is pending. A program that sends
 * more of them than fit here has the oldest forgotten, which the snapshot then has to say.
 *
 * No lock: a value is noted before its signal is sent, each sender in a slot of its own.
 */
#include <errno.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

#define VALUES_MAX 16384u

static uintptr_t values[VALUES_MAX];
static size_t noted;

static void note(union sigval value)
{
	uintptr_t word = (uintptr_t)value.sival_ptr;

	/* A number. */
	if (word < LP_PAGE)
		return;
	values[__atomic_fetch_add(&noted, 1, __ATOMIC_RELAXED) % VALUES_MAX] = word;
}

const uintptr_t *lp_queued_values(size_t *count, bool *lost)
{
	*lost = noted > VALUES_MAX;
	*count = *lost ? VALUES_MAX : noted;
	return values;
}

LP_EXPORT int sigqueue(pid_t pid, int number, const union sigval value)
{
	static int (*real)(pid_t, int, const union sigval);

	if (!real)
		real = lp_next("sigqueue", NULL);
	note(value);
	return real(pid, number, value);
}

LP_EXPORT int pthread_sigqueue(pthread_t thread, int number, const union sigval value)
{
	static int (*real)(pthread_t, int, const union sigval);

	if (!real)
		real = lp_next("pthread_sigqueue", NULL);
	note(value);
	return real(thread, number, value);
}

LP_EXPORT int mq_notify(mqd_t queue, const struct sigevent *event)
{
	static int (*real)(mqd_t, const struct sigevent *);

	if (!real)
		real = lp_next("mq_notify", "librt.so.1");
	if (event)
		note(event->sigev_value);
	return real(queue, event);
}
