/* SPDX-License-Identifier: MIT */
/*
 * Timers, in a binary heap by the time that they go off, and what is made of them: sleeping, After,
 * tickers, contexts.
 *
 * For leakprof the heap is ordinary memory: what a timer will send to or call is reached by it,
 * until it went off or was stopped.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

struct timer {
	int64_t when;
	int64_t period;		  /* 0: once */
	size_t place;		  /* in the heap, from 1; 0: not there */
	struct chan *chan;	  /* gets a value */
	struct waiter *sleeper;	  /* or this one wakes up */
	struct context *context;  /* or this one is cancelled */
	void (*function)(void *); /* or this runs in a goroutine */
	void *argument;
	/* No padding behind these, where stale halves of pointers would lie. */
	uint32_t unnamed;  /* nobody can free it but us */
	uint32_t settling; /* go_settle's own */
};

static struct {
	struct timer **heap; /* from 1 */
	size_t count;
	size_t room;
} timers;

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

/* --- The heap --- */

static void place(struct timer *timer, size_t i)
{
	timers.heap[i] = timer;
	timer->place = i;
}

static void sift_up(struct timer *timer, size_t i)
{
	for (; i > 1 && timers.heap[i / 2]->when > timer->when; i /= 2)
		place(timers.heap[i / 2], i);
	place(timer, i);
}

static void sift_down(struct timer *timer, size_t i)
{
	size_t child;

	for (; (child = 2 * i) <= timers.count; i = child) {
		if (child < timers.count && timers.heap[child + 1]->when < timers.heap[child]->when)
			child++;
		if (timers.heap[child]->when >= timer->when)
			break;
		place(timers.heap[child], i);
	}
	place(timer, i);
}

static void add_locked(struct timer *timer, int64_t nanoseconds)
{
	if (timers.count + 2 > timers.room) {
		size_t room = timers.room ? 2 * timers.room : 64;

		timers.heap = realloc(timers.heap, (room + 1) * sizeof(*timers.heap));
		if (!timers.heap)
			go_abort("no memory for a timer");
		/* What the memory held before must not look like timers to whoever scans it (with
		 * the one more, that is all that malloc gives). */
		memset(timers.heap + timers.room, 0,
		       (room + 1 - timers.room) * sizeof(*timers.heap));
		timers.room = room;
	}
	timer->when = now_ns() + (nanoseconds > 0 ? nanoseconds : 0);
	sift_up(timer, ++timers.count);
	if (timer->place == 1 && sched.polling)
		poller_wake();
}

static bool remove_locked(struct timer *timer)
{
	size_t i = timer->place;
	struct timer *last;

	if (!i)
		return false;
	timer->place = 0;
	last = timers.heap[timers.count];
	timers.heap[timers.count--] = NULL;
	if (last == timer)
		return true;
	if (i > 1 && timers.heap[i / 2]->when > last->when)
		sift_up(last, i);
	else
		sift_down(last, i);
	return true;
}

static void cancel_locked(struct context *context);

static void fire_locked(struct timer *timer)
{
	if (timer->sleeper)
		wake_locked(timer->sleeper);
	else if (timer->chan)
		chan_offer_locked(timer->chan, timer->chan);
	else if (timer->context)
		cancel_locked(timer->context);
	else
		go_spawn_locked(timer->function, timer->argument,
				(const void *)(uintptr_t)timer_after_func);
}

void timers_run_locked(void)
{
	int64_t now = timers.count ? now_ns() : 0;

	while (timers.count && timers.heap[1]->when <= now) {
		struct timer *timer = timers.heap[1];
		bool unnamed = timer->unnamed;

		remove_locked(timer);
		fire_locked(timer);
		if (timer->period)
			add_locked(timer, timer->period);
		else if (unnamed)
			free(timer);
	}
}

int64_t timer_next_locked(void)
{
	int64_t left = timers.count ? timers.heap[1]->when - now_ns() : -1;

	return timers.count && left < 0 ? 0 : left;
}

/* --- Sleeping and timers --- */

static const struct leakprof_kind sleep_kind = {.size = sizeof(sleep_kind),
						.rule = LEAKPROF_LIVE,
						.state = LEAKPROF_SLEEP,
						.name = "sleep"};

void go_sleep(int64_t nanoseconds)
{
	struct waiter waiter = {.goroutine = go_self()};
	struct timer timer = {.sleeper = &waiter};
	struct leakprof_wait wait;

	leakprof_wait_begin(waiter.goroutine->profile, &wait, &sleep_kind, NULL, 0, 0);
	go_lock();
	add_locked(&timer, nanoseconds);
	go_leave_locked();
	leakprof_wait_end(waiter.goroutine->profile);
}

/* Whether a timer other than those of go_settle goes off within so many nanoseconds. */
static bool is_due_locked(int64_t nanoseconds)
{
	int64_t until = now_ns() + nanoseconds;
	size_t i;

	for (i = 1; i <= timers.count; i++)
		if (!timers.heap[i]->settling && timers.heap[i]->when <= until)
			return true;
	return false;
}

/* Who settles last goes on first, main after all others: each waits for what they do then. */
void go_settle(int64_t nanoseconds)
{
	static size_t settling;
	struct waiter waiter = {.goroutine = go_self()};
	struct timer timer = {.sleeper = &waiter, .settling = true};
	struct leakprof_wait wait;
	size_t number;

	go_lock();
	waiter.goroutine->settling = true;
	number = waiter.goroutine == &sched.main ? 0 : ++settling;
	do {
		leakprof_wait_begin(waiter.goroutine->profile, &wait, &sleep_kind, NULL, 0, 0);
		add_locked(&timer, MILLISECOND / 5);
		go_leave_locked();
		leakprof_wait_end(waiter.goroutine->profile);
		go_lock();
	} while (number < settling || others_run_locked() || is_due_locked(nanoseconds));
	settling -= number != 0;
	waiter.goroutine->settling = false;
	go_unlock();
}

static struct timer *start(struct timer values, int64_t nanoseconds)
{
	struct timer *timer = malloc(sizeof(*timer));

	if (!timer)
		go_abort("no memory for a timer");
	*timer = values;
	go_lock();
	add_locked(timer, nanoseconds);
	go_unlock();
	return timer;
}

struct chan *time_after(int64_t nanoseconds)
{
	struct chan *chan = chan_make(1);

	start((struct timer){.chan = chan, .unnamed = true}, nanoseconds);
	return chan;
}

struct timer *ticker_new(int64_t nanoseconds)
{
	return start((struct timer){.chan = chan_make(1), .period = nanoseconds}, nanoseconds);
}

struct timer *timer_new(int64_t nanoseconds)
{
	return start((struct timer){.chan = chan_make(1)}, nanoseconds);
}

struct timer *timer_after_func(int64_t nanoseconds, void (*function)(void *), void *argument)
{
	return start((struct timer){.function = function, .argument = argument}, nanoseconds);
}

struct chan *timer_chan(struct timer *timer)
{
	return timer->chan;
}

bool timer_stop(struct timer *timer)
{
	bool stopped;

	go_lock();
	stopped = remove_locked(timer);
	go_unlock();
	return stopped;
}

void timer_free(struct timer *timer)
{
	timer_stop(timer);
	free(timer);
}

/* --- Contexts --- */

struct context {
	struct context *parent;
	struct context *first_child;
	struct context *next; /* of the parent's children */
	struct chan *done;
	bool cancelled;
	struct timer *timer;
};

struct context *context_background(void)
{
	static struct context background;

	return &background;
}

static void unlink_locked(struct context *context)
{
	struct context **at = context->parent ? &context->parent->first_child : NULL;

	while (at && *at && *at != context)
		at = &(*at)->next;
	if (at && *at)
		*at = context->next;
	context->parent = NULL;
}

static void cancel_locked(struct context *context)
{
	if (context->cancelled)
		return;
	context->cancelled = true;
	if (context->timer)
		remove_locked(context->timer);
	chan_close_locked(context->done);
	while (context->first_child) {
		struct context *child = context->first_child;

		context->first_child = child->next;
		child->parent = NULL;
		cancel_locked(child);
	}
	unlink_locked(context);
}

static struct context *new_context(void)
{
	struct context *context = calloc(1, sizeof(*context));

	if (!context)
		go_abort("no memory for a context");
	context->done = chan_make(0);
	return context;
}

/* A parent without a way to be cancelled does not keep its children. */
static void link_locked(struct context *context, struct context *parent)
{
	if (parent->cancelled) {
		cancel_locked(context);
	} else if (parent->done) {
		context->parent = parent;
		context->next = parent->first_child;
		parent->first_child = context;
	}
}

struct context *context_with_cancel(struct context *parent)
{
	struct context *context = new_context();

	go_lock();
	link_locked(context, parent);
	go_unlock();
	return context;
}

struct context *context_with_timeout(struct context *parent, int64_t nanoseconds)
{
	struct context *context = new_context();

	context->timer = calloc(1, sizeof(*context->timer));
	if (!context->timer)
		go_abort("no memory for a timer");
	context->timer->context = context;
	go_lock();
	link_locked(context, parent);
	if (!context->cancelled)
		add_locked(context->timer, nanoseconds);
	go_unlock();
	return context;
}

struct chan *context_done(struct context *context)
{
	return context->done;
}

bool context_is_done(struct context *context)
{
	bool done;

	go_lock();
	done = context->cancelled;
	go_unlock();
	return done;
}

void context_cancel(struct context *context)
{
	go_lock();
	cancel_locked(context);
	go_unlock();
}
