/* SPDX-License-Identifier: MIT */
/*
 * Channels and select. Values go straight from a sender to a receiver that waits; a buffer is
 * filled only while nobody does, so there are never waiting receivers and buffered values at once.
 *
 * For leakprof a channel is reached by whoever can name it; its two queues lead to those who wait
 * and are not followed, its buffer is ordinary memory.
 */
#include <stdlib.h>

#include "internal.h"

#define CASES_ON_STACK 8

struct chan {
	struct wait_queue senders;
	struct wait_queue receivers;
	bool closed;
	size_t capacity;
	size_t count;
	size_t head;
	void *buffer[];
};

#define CHAN_KIND(text)                                                                            \
	{                                                                                          \
		.size = sizeof(struct leakprof_kind), .rule = LEAKPROF_ANY, .name = text,          \
		.queue_offset = offsetof(struct chan, senders),                                    \
		.queue_size = 2 * sizeof(struct wait_queue)                                        \
	}

static const struct leakprof_kind send_kind = CHAN_KIND("chan send");
static const struct leakprof_kind receive_kind = CHAN_KIND("chan receive");
static const struct leakprof_kind select_kind = CHAN_KIND("select");
static const struct leakprof_kind send_nil_kind = CHAN_KIND("chan send (nil chan)");
static const struct leakprof_kind receive_nil_kind = CHAN_KIND("chan receive (nil chan)");

struct chan *chan_make(size_t capacity)
{
	struct chan *chan = calloc(1, sizeof(*chan) + capacity * sizeof(void *));

	if (!chan)
		go_abort("no memory for a channel");
	chan->capacity = capacity;
	return chan;
}

void chan_free(struct chan *chan)
{
	free(chan);
}

/* --- Without waiting --- */

static void put(struct chan *chan, void *value)
{
	chan->buffer[(chan->head + chan->count++) % chan->capacity] = value;
}

static void *take(struct chan *chan)
{
	void *value = chan->buffer[chan->head];

	chan->buffer[chan->head] = NULL;
	chan->head = (chan->head + 1) % chan->capacity;
	chan->count--;
	return value;
}

static void hand_over(struct waiter *receiver, void *value, bool ok)
{
	receiver->value = value;
	receiver->ok = ok;
	wake_locked(receiver);
}

static bool send_locked(struct chan *chan, void *value)
{
	if (chan->closed)
		go_abort("send on a closed channel");
	if (chan->receivers.first)
		hand_over(chan->receivers.first, value, true);
	else if (chan->count < chan->capacity)
		put(chan, value);
	else
		return false;
	return true;
}

static bool receive_locked(struct chan *chan, void **value, bool *ok)
{
	struct waiter *sender = chan->senders.first;

	*ok = true;
	if (chan->count) {
		*value = take(chan);
		if (sender)
			put(chan, sender->value);
	} else if (sender) {
		*value = sender->value;
	} else if (chan->closed) {
		*value = NULL;
		*ok = false;
	} else {
		return false;
	}
	if (sender) {
		sender->ok = true;
		wake_locked(sender);
	}
	return true;
}

void chan_offer_locked(struct chan *chan, void *value)
{
	if (!chan->closed)
		send_locked(chan, value);
}

bool chan_try_send(struct chan *chan, void *value)
{
	bool sent;

	if (!chan)
		return false;
	go_lock();
	sent = send_locked(chan, value);
	go_unlock();
	return sent;
}

bool chan_try_receive(struct chan *chan, void **value, bool *ok)
{
	bool received;
	bool unused;

	if (!chan)
		return false;
	go_lock();
	received = receive_locked(chan, value, ok ? ok : &unused);
	go_unlock();
	return received;
}

size_t chan_length(struct chan *chan)
{
	size_t count;

	go_lock();
	count = chan->count;
	go_unlock();
	return count;
}

void chan_close_locked(struct chan *chan)
{
	if (chan->closed)
		go_abort("close of a closed channel");
	chan->closed = true;
	while (chan->receivers.first)
		hand_over(chan->receivers.first, NULL, false);
	while (chan->senders.first)
		wake_locked(chan->senders.first);
}

void chan_close(struct chan *chan)
{
	if (!chan)
		go_abort("close of a NULL channel");
	go_lock();
	chan_close_locked(chan);
	go_unlock();
}

/* --- Waiting --- */

void chan_send(struct chan *chan, void *value)
{
	struct waiter waiter = {.goroutine = go_self(), .value = value};
	struct leakprof_wait wait;

	go_lock();
	if (chan && send_locked(chan, value)) {
		go_unlock();
		return;
	}
	leakprof_wait_begin(waiter.goroutine->profile, &wait, chan ? &send_kind : &send_nil_kind,
			    chan, 0, 0);
	if (chan)
		queue_add(&chan->senders, &waiter);
	go_leave_locked();
	leakprof_wait_end(waiter.goroutine->profile);
	if (!waiter.ok)
		go_abort("send on a closed channel");
}

void *chan_receive(struct chan *chan, bool *ok)
{
	struct waiter waiter = {.goroutine = go_self()};
	struct leakprof_wait wait;

	go_lock();
	if (chan && receive_locked(chan, &waiter.value, &waiter.ok)) {
		go_unlock();
	} else {
		leakprof_wait_begin(waiter.goroutine->profile, &wait,
				    chan ? &receive_kind : &receive_nil_kind, chan, 0, 0);
		if (chan)
			queue_add(&chan->receivers, &waiter);
		go_leave_locked();
		leakprof_wait_end(waiter.goroutine->profile);
	}
	if (ok)
		*ok = waiter.ok;
	return waiter.value;
}

/* --- select --- */

static bool go_on_locked(struct chan_case *one)
{
	if (!one->chan)
		return false;
	if (!one->send)
		return receive_locked(one->chan, &one->value, &one->ok);
	one->ok = true;
	return send_locked(one->chan, one->value);
}

static size_t random_below(size_t limit)
{
	static uint64_t state;

	if (!state) {
		const char *seed = getenv("MINIGO_SEED");

		state = (seed ? strtoull(seed, NULL, 10) : 0) * 2 + 88172645463325253ull;
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

/* The index of an alternative that could go on and did, COUNT when there is none. Each has the same
 * chance. */
static size_t try_locked(struct chan_case *cases, size_t count)
{
	size_t start = count ? random_below(count) : 0;
	size_t i;

	for (i = 0; i < count; i++)
		if (go_on_locked(&cases[(start + i) % count]))
			return (start + i) % count;
	return count;
}

size_t chan_try_select(struct chan_case *cases, size_t count)
{
	size_t chosen;

	go_lock();
	chosen = try_locked(cases, count);
	go_unlock();
	return chosen;
}

static void queue_all_locked(struct chan_case *cases, struct waiter *waiters, size_t count,
			     size_t *chosen)
{
	size_t i;

	for (i = 0; i < count; i++) {
		waiters[i] = (struct waiter){.goroutine = go_self(),
					     .value = cases[i].value,
					     .select = waiters,
					     .select_count = count,
					     .chosen = chosen};
		if (cases[i].chan)
			queue_add(cases[i].send ? &cases[i].chan->senders
						: &cases[i].chan->receivers,
				  &waiters[i]);
	}
}

static size_t wait_for_one_locked(struct chan_case *cases, size_t count, struct waiter *waiters)
{
	size_t chosen;

	queue_all_locked(cases, waiters, count, &chosen);
	go_leave_locked();
	cases[chosen].ok = waiters[chosen].ok;
	if (!cases[chosen].send)
		cases[chosen].value = waiters[chosen].value;
	else if (!waiters[chosen].ok)
		go_abort("send on a closed channel");
	return chosen;
}

size_t chan_select(struct chan_case *cases, size_t count)
{
	struct waiter few_waiters[CASES_ON_STACK];
	struct leakprof_case few_objects[CASES_ON_STACK];
	struct waiter *waiters = few_waiters;
	struct leakprof_case *objects = few_objects;
	struct leakprof_goroutine *profile = go_self()->profile;
	struct leakprof_wait wait;
	size_t i;

	if (!count)
		go_park();
	go_lock();
	i = try_locked(cases, count);
	if (i < count) {
		go_unlock();
		return i;
	}
	if (count > CASES_ON_STACK) {
		waiters = calloc(count, sizeof(*waiters));
		objects = calloc(count, sizeof(*objects));
		if (!waiters || !objects)
			go_abort("no memory for a select");
	}
	for (i = 0; i < count; i++)
		objects[i] = (struct leakprof_case){cases[i].chan, &select_kind};
	leakprof_wait_begin(profile, &wait, &select_kind, objects, count, 0);
	i = wait_for_one_locked(cases, count, waiters);
	leakprof_wait_end(profile);
	if (count > CASES_ON_STACK) {
		free(waiters);
		free(objects);
	}
	return i;
}
