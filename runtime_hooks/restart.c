/* SPDX-License-Identifier: MIT */
/*
 * Calls that our signal interrupts go on as if it had not come.
 *
 * The kernel restarts most system calls by itself (SA_RESTART). The others return -EINTR to the
 * instruction behind `syscall`. Where the handler finds its thread exactly there, it sets the
 * thread back to that instruction, so that the call is made again with the same arguments. No
 * signal of the program is lost by that: one that is pending is delivered before the call is made
 * again, as if it had come just before the call, and one that a call such as ppoll lets in
 * atomically is let in by the call made again.
 *
 * The system call's number is read from the `mov $number, %eax` before the instruction, which is
 * how glibc's wrappers look. The time that has passed is taken off
 *     - by the kernel: select, pselect, ppoll write back what is left; absolute futex waits need
 * nothing
 *     - by going on with what is left, which nanosleep and clock_nanosleep are made to store
 *     - by the wrapper here, for those with a relative timeout in a register: poll, epoll_wait and
 * the like
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <threads.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

/* What must be done to a call before it can be made again. */
enum remedy {
	AS_IT_IS = 1,
	FUTEX,	      /* only if the timeout is absolute */
	SLEEP,	      /* the request becomes the remainder */
	MILLISECONDS, /* a count in a register, from the deadline of the wrapper */
	TIMESPEC,     /* a struct, likewise */
};

struct restartable {
	int number;
	enum remedy remedy;
	int timeout; /* register of it (or of the request; the remainder is the next argument) */
};

static const struct restartable restartables[] = {
	{SYS_poll, MILLISECONDS, REG_RDX},
	{SYS_epoll_wait, MILLISECONDS, REG_R10},
	{SYS_epoll_pwait, MILLISECONDS, REG_R10},
	{SYS_epoll_pwait2, TIMESPEC, REG_R10},
	{SYS_rt_sigtimedwait, TIMESPEC, REG_RDX},
	{SYS_nanosleep, SLEEP, REG_RDI},
	{SYS_clock_nanosleep, SLEEP, REG_RDX},
	{SYS_futex, FUTEX, REG_RSI},
	{SYS_select, AS_IT_IS, 0},
	{SYS_pselect6, AS_IT_IS, 0},
	{SYS_ppoll, AS_IT_IS, 0},
	{SYS_pause, AS_IT_IS, 0},
	{SYS_rt_sigsuspend, AS_IT_IS, 0},
	{SYS_semop, AS_IT_IS, 0},
	{SYS_semtimedop, TIMESPEC, REG_R10},
	{SYS_msgrcv, AS_IT_IS, 0},
	{SYS_msgsnd, AS_IT_IS, 0},
	{SYS_io_getevents, AS_IT_IS, 0},
	/* These return -EINTR only on sockets with SO_RCVTIMEO or SO_SNDTIMEO, which then starts
	   anew. */
	{SYS_accept, AS_IT_IS, 0},
	{SYS_accept4, AS_IT_IS, 0},
	{SYS_connect, AS_IT_IS, 0},
	{SYS_recvfrom, AS_IT_IS, 0},
	{SYS_recvmsg, AS_IT_IS, 0},
	{SYS_recvmmsg, AS_IT_IS, 0},
	{SYS_sendto, AS_IT_IS, 0},
	{SYS_sendmsg, AS_IT_IS, 0},
	{SYS_read, AS_IT_IS, 0},
	{SYS_write, AS_IT_IS, 0},
	{SYS_readv, AS_IT_IS, 0},
	{SYS_writev, AS_IT_IS, 0},
};

/*
 * "b8 imm32": mov $imm32, %eax; "0f 05": syscall. Where the compiler put something between them,
 * the wrapper's record tells.
 */
static bool interrupted_call(const greg_t *registers, int *number)
{
	const unsigned char *code = (const unsigned char *)registers[REG_RIP] - 7;

	if (registers[REG_RAX] != -EINTR || code[5] != 0x0f || code[6] != 0x05)
		return false;
	if (code[0] == 0xb8)
		memcpy(number, code + 1, sizeof(*number));
	else if (lp_self && lp_self->timed)
		*number = (int)lp_self->timed->number;
	else
		return false;
	return true;
}

static bool is_absolute_futex(int operation)
{
	int command = operation & FUTEX_CMD_MASK;

	return command == FUTEX_WAIT_BITSET || command == FUTEX_LOCK_PI ||
	       command == FUTEX_WAIT_REQUEUE_PI;
}

/* Nanoseconds until the deadline of the wrapper that made call NUMBER; false without such a
 * wrapper. */
static bool time_left(int number, uint64_t *left)
{
	const struct lp_timed_call *call = lp_self ? lp_self->timed : NULL;
	uint64_t now;

	if (!call || call->number != number)
		return false;
	now = lp_sys_clock_ns(CLOCK_MONOTONIC);
	*left = call->deadline_ns > now ? call->deadline_ns - now : 0;
	return true;
}

static bool take_off_time(greg_t *registers, int number, int timeout, bool timespec)
{
	uint64_t left;

	if (timespec ? !registers[timeout] : (int)registers[timeout] <= 0)
		return true;
	if (!time_left(number, &left))
		return false;
	if (timespec) {
		struct timespec *value = (struct timespec *)registers[timeout];

		value->tv_sec = (time_t)(left / 1000000000u);
		value->tv_nsec = (long)(left % 1000000000u);
	} else {
		registers[timeout] = (greg_t)((left + 999999) / 1000000);
	}
	return true;
}

/* The remainder is in the register of the argument behind the request; NULL: the caller is no
 * wrapper of ours. */
static bool go_on_sleeping(greg_t *registers, int number, int request)
{
	int remainder = number == SYS_nanosleep ? REG_RSI : REG_R10;

	if (number == SYS_clock_nanosleep && registers[REG_RSI] & TIMER_ABSTIME)
		return true;
	if (!registers[remainder])
		return false;
	registers[request] = registers[remainder];
	return true;
}

static bool prepare(greg_t *registers, const struct restartable *call)
{
	switch (call->remedy) {
	case AS_IT_IS:
		return true;
	case FUTEX:
		return is_absolute_futex((int)registers[REG_RSI]);
	case SLEEP:
		return go_on_sleeping(registers, call->number, call->timeout);
	case MILLISECONDS:
		return take_off_time(registers, call->number, call->timeout, false);
	case TIMESPEC:
		return take_off_time(registers, call->number, call->timeout, true);
	}
	return false;
}

void lp_restart(void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	int number;
	size_t i;

	if (!interrupted_call(registers, &number))
		return;
	for (i = 0; i < LP_ARRAY_SIZE(restartables); i++) {
		if (restartables[i].number != number)
			continue;
		if (prepare(registers, &restartables[i])) {
			registers[REG_RAX] = number;
			registers[REG_RIP] -= 2;
		}
		return;
	}
}

/* --- Interposed: calls whose relative timeout the handler must be able to shorten --- */

static void begin(struct lp_timed_call *call, long number, uint64_t timeout_ns)
{
	call->number = number;
	call->deadline_ns = lp_sys_clock_ns(CLOCK_MONOTONIC) + timeout_ns;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	lp_self->timed = call;
}

static void end(void)
{
	lp_self->timed = NULL;
}

static uint64_t from_milliseconds(int timeout)
{
	return (uint64_t)timeout * 1000000u;
}

static uint64_t from_timespec(const struct timespec *timeout)
{
	return (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
}

LP_EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	static int (*real)(struct pollfd *, nfds_t, int);
	struct lp_timed_call call;
	int r;

	if (!real)
		real = lp_next("poll", NULL);
	if (timeout <= 0 || !lp_self)
		return real(fds, count, timeout);
	begin(&call, SYS_poll, from_milliseconds(timeout));
	r = real(fds, count, timeout);
	end();
	return r;
}

LP_EXPORT int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	struct lp_timed_call call;
	int r;

	if (!real)
		real = lp_next("epoll_wait", NULL);
	if (timeout <= 0 || !lp_self)
		return real(epoll, events, count, timeout);
	begin(&call, SYS_epoll_wait, from_milliseconds(timeout));
	r = real(epoll, events, count, timeout);
	end();
	return r;
}

LP_EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout,
			  const sigset_t *mask)
{
	static int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
	struct lp_timed_call call;
	sigset_t copy;
	int r;

	if (!real)
		real = lp_next("epoll_pwait", NULL);
	mask = lp_without_signal(mask, &copy);
	if (!timeout || !lp_self)
		return real(epoll, events, count, timeout, mask);
	begin(&call, SYS_epoll_pwait, from_milliseconds(timeout));
	r = real(epoll, events, count, timeout, mask);
	end();
	return r;
}

LP_EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int count,
			   const struct timespec *timeout, const sigset_t *mask)
{
	static int (*real)(int, struct epoll_event *, int, const struct timespec *,
			   const sigset_t *);
	struct lp_timed_call call;
	struct timespec left;
	sigset_t copy;
	int r;

	if (!real)
		real = lp_next("epoll_pwait2", NULL);
	if (!real) {
		errno = ENOSYS;
		return -1;
	}
	mask = lp_without_signal(mask, &copy);
	if (!timeout || !lp_self)
		return real(epoll, events, count, timeout, mask);
	left = *timeout;
	begin(&call, SYS_epoll_pwait2, from_timespec(timeout));
	r = real(epoll, events, count, &left, mask);
	end();
	return r;
}

LP_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	static int (*real)(const sigset_t *, siginfo_t *, const struct timespec *);
	struct lp_timed_call call;
	struct timespec left;
	sigset_t copy;
	int r;

	if (!real)
		real = lp_next("sigtimedwait", NULL);
	set = lp_without_signal(set, &copy);
	if (!timeout || !lp_self)
		return real(set, info, timeout);
	left = *timeout;
	begin(&call, SYS_rt_sigtimedwait, from_timespec(timeout));
	r = real(set, info, &left);
	end();
	return r;
}

LP_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		    const sigset_t *mask)
{
	static int (*real)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
	sigset_t copy;

	if (!real)
		real = lp_next("ppoll", NULL);
	return real(fds, count, timeout, lp_without_signal(mask, &copy));
}

LP_EXPORT int pselect(int count, fd_set *readable, fd_set *writable, fd_set *exceptional,
		      const struct timespec *timeout, const sigset_t *mask)
{
	static int (*real)(int, fd_set *, fd_set *, fd_set *, const struct timespec *,
			   const sigset_t *);
	sigset_t copy;

	if (!real)
		real = lp_next("pselect", NULL);
	return real(count, readable, writable, exceptional, timeout,
		    lp_without_signal(mask, &copy));
}

LP_EXPORT int nanosleep(const struct timespec *request, struct timespec *remainder)
{
	static int (*real)(const struct timespec *, struct timespec *);
	struct timespec unused;

	if (!real)
		real = lp_next("nanosleep", NULL);
	return real(request, remainder ? remainder : &unused);
}

LP_EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request,
			      struct timespec *remainder)
{
	static int (*real)(clockid_t, int, const struct timespec *, struct timespec *);
	struct timespec unused;

	if (!real)
		real = lp_next("clock_nanosleep", NULL);
	if (!remainder && !(flags & TIMER_ABSTIME))
		remainder = &unused;
	return real(clock, flags, request, remainder);
}

LP_EXPORT int usleep(useconds_t microseconds)
{
	struct timespec request = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};

	return nanosleep(&request, NULL);
}

LP_EXPORT int thrd_sleep(const struct timespec *request, struct timespec *remainder)
{
	static int (*real)(const struct timespec *, struct timespec *);
	struct timespec unused;

	if (!real)
		real = lp_next("thrd_sleep", NULL);
	return real(request, remainder ? remainder : &unused);
}
