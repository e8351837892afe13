/* SPDX-License-Identifier: MIT */
/*
 * Both libraries behind one small interface, for test programs that are built once for each: what
 * they test lies outside the library. USE_ST chooses State Threads, otherwise it is GNU Pth. A gate
 * is something that goroutines wait on: a condition, allocated, and reached by a pointer to it
 * alone.
 */
#ifndef TESTS_RUNTIMES_RUNTIME_H
#define TESTS_RUNTIMES_RUNTIME_H

#include <stdlib.h>
#include <unistd.h>

#ifdef USE_ST
#include <st.h>
#else
#include <pth.h>
#endif

#define HOUR 3600

#ifdef USE_ST

typedef st_cond_t gate_t;

static inline void runtime_init(void)
{
	if (st_init())
		abort();
}

static inline void spawn(void *(*start)(void *), void *argument)
{
	if (!st_thread_create(start, argument, 0, 0))
		abort();
}

static inline void yield(void)
{
	st_usleep(0);
}

static inline gate_t gate_new(void)
{
	return st_cond_new();
}

static inline void gate_wait(gate_t gate)
{
	st_cond_wait(gate);
}

/* An hour long. */
static inline void gate_wait_timed(gate_t gate)
{
	st_cond_timedwait(gate, HOUR * 1000000ull);
}

static inline void gate_open(gate_t gate)
{
	st_cond_broadcast(gate);
}

static inline void read_byte(int fd)
{
	char byte;

	if (st_read(st_netfd_open(fd), &byte, 1, ST_UTIME_NO_TIMEOUT) < 0)
		abort();
}

#else

struct gate {
	pth_mutex_t mutex;
	pth_cond_t cond;
};

typedef struct gate *gate_t;

static inline void runtime_init(void)
{
	if (!pth_init())
		abort();
}

static inline void spawn(void *(*start)(void *), void *argument)
{
	pth_attr_t attributes = pth_attr_new();

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, FALSE);
	if (!pth_spawn(attributes, start, argument))
		abort();
	pth_attr_destroy(attributes);
}

static inline void yield(void)
{
	pth_yield(NULL);
}

static inline gate_t gate_new(void)
{
	struct gate *gate = calloc(1, sizeof(*gate));

	pth_mutex_init(&gate->mutex);
	pth_cond_init(&gate->cond);
	return gate;
}

static inline void gate_wait(gate_t gate)
{
	pth_mutex_acquire(&gate->mutex, FALSE, NULL);
	pth_cond_await(&gate->cond, &gate->mutex, NULL);
	pth_mutex_release(&gate->mutex);
}

/* An hour long. */
static inline void gate_wait_timed(gate_t gate)
{
	pth_event_t timer = pth_event(PTH_EVENT_TIME, pth_timeout(HOUR, 0));

	pth_mutex_acquire(&gate->mutex, FALSE, NULL);
	pth_cond_await(&gate->cond, &gate->mutex, timer);
	pth_mutex_release(&gate->mutex);
	pth_event_free(timer, PTH_FREE_THIS);
}

static inline void gate_open(gate_t gate)
{
	pth_cond_notify(&gate->cond, TRUE);
}

static inline void read_byte(int fd)
{
	char byte;

	if (pth_read(fd, &byte, 1) < 0)
		abort();
}

#endif

#endif
