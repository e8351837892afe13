/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: a goroutine that would block waits until epoll says that it need not. One shot a
 * wait: a descriptor is registered with its waiter's address, and nobody else is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

#define EVENTS 64

static struct {
	int epoll;
	int wake;
	size_t waiting;
} poller = {-1, -1, 0};

static void open_poller(void)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};

	if (poller.epoll >= 0)
		return;
	poller.epoll = epoll_create1(EPOLL_CLOEXEC);
	poller.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (poller.epoll < 0 || poller.wake < 0 ||
	    epoll_ctl(poller.epoll, EPOLL_CTL_ADD, poller.wake, &event))
		go_abort("no descriptor for the poller");
}

void poller_wake(void)
{
	uint64_t one = 1;

	if (poller.wake >= 0 && write(poller.wake, &one, sizeof(one)) < 0)
		return;
}

size_t poller_count(void)
{
	return poller.waiting;
}

static void wake_all_locked(const struct epoll_event *events, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		struct waiter *waiter = events[i].data.ptr;

		if (!waiter)
			continue;
		poller.waiting--;
		wake_locked(waiter);
	}
}

void poller_wait_locked(int64_t nanoseconds)
{
	struct epoll_event events[EVENTS];
	int64_t milliseconds = nanoseconds < 0 ? -1 : (nanoseconds + MILLISECOND - 1) / MILLISECOND;
	int count;

	open_poller();
	if (milliseconds > 1000000)
		milliseconds = 1000000;
	go_unlock();
	count = epoll_wait(poller.epoll, events, EVENTS, (int)milliseconds);
	go_lock();
	wake_all_locked(events, count);
}

static const struct leakprof_kind io_kind = {
	.size = sizeof(io_kind), .rule = LEAKPROF_LIVE, .state = LEAKPROF_IO, .name = "IO wait"};

/* FD was not ready: waits until it is. */
static void wait_for(int fd, uint32_t what)
{
	struct waiter waiter = {.goroutine = go_self()};
	struct epoll_event event = {.events = what | EPOLLONESHOT, .data.ptr = &waiter};

	go_lock();
	open_poller();
	if (epoll_ctl(poller.epoll, EPOLL_CTL_MOD, fd, &event) &&
	    epoll_ctl(poller.epoll, EPOLL_CTL_ADD, fd, &event)) {
		go_unlock();
		return;
	}
	poller.waiting++;
	if (sched.idle_workers && !sched.polling)
		pthread_cond_signal(&sched.idle);
	go_leave_locked();
}

static void make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Not inlined: where errno is depends on the thread, which may be another one after a wait. */
static __attribute__((noinline)) int last_error(void)
{
	__asm__ volatile("");
	return errno;
}

/* Repeats CALL while it would block. */
#define BLOCKING(fd, what, type, call)                                                             \
	do {                                                                                       \
		struct goroutine *self = go_self();                                                \
		struct leakprof_wait wait;                                                         \
		type result;                                                                       \
                                                                                                   \
		make_nonblocking(fd);                                                              \
		leakprof_wait_begin(self->profile, &wait, &io_kind, NULL, 0, 0);                   \
		while ((result = call) < 0 && (last_error() == EAGAIN || last_error() == EINTR))   \
			if (last_error() == EAGAIN)                                                \
				wait_for(fd, what);                                                \
		leakprof_wait_end(self->profile);                                                  \
		return result;                                                                     \
	} while (0)

ptrdiff_t go_read(int fd, void *buffer, size_t size)
{
	BLOCKING(fd, EPOLLIN, ptrdiff_t, read(fd, buffer, size));
}

ptrdiff_t go_write(int fd, const void *buffer, size_t size)
{
	BLOCKING(fd, EPOLLOUT, ptrdiff_t, write(fd, buffer, size));
}

int go_accept(int fd)
{
	BLOCKING(fd, EPOLLIN, int, accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}
