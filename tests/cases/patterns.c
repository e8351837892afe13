/* SPDX-License-Identifier: MIT */
/*
 * The patterns that leaks come in (section C of Go's tests, from "Unveiling and Vanquishing
 * Goroutine Leaks in Enterprise Microservices", CGO 2024). The README explains leaks with them.
 */
#include "cases.h"

/* --- A range over a channel that is never closed --- */

struct work {
	struct chan *items;
	int workers;
	bool fixed;
};

static void works(void *argument)
{
	drain(argument);
}

static void dispatches(void *argument)
{
	struct work *work = argument;
	int i;

	for (i = 0; i < work->workers; i++)
		go(works, work->items);
	for (i = 0; i < 3; i++)
		chan_send(work->items, VALUE);
	if (work->fixed)
		chan_close(work->items);
	free(work);
}

static void dispatch_to(int workers, bool fixed)
{
	struct work *work = NEW(struct work);

	work->items = chan_make(0);
	work->workers = workers;
	work->fixed = fixed;
	go(dispatches, work);
}

/* Without workers the dispatcher sticks; with three, these do. */
static void range_never_closed(bool fixed)
{
	dispatch_to(fixed ? 1 : 0, fixed);
	dispatch_to(3, fixed);
}

/* --- A contract: whoever starts must stop --- */

struct machine {
	struct chan *queue;
	struct chan *done;
};

static void machine_loop(void *argument)
{
	struct machine *machine = argument;

	for (;;) {
		struct chan_case cases[2] = {{.chan = machine->queue}, {.chan = machine->done}};

		if (chan_select(cases, 2) == 1)
			return;
	}
}

static void not_stopped(bool fixed)
{
	struct machine *machine = NEW(struct machine);
	int i;

	machine->queue = chan_make(0);
	machine->done = chan_make(0);
	go(machine_loop, machine);
	for (i = 0; i < 10; i++)
		chan_send(machine->queue, VALUE);
	if (fixed)
		chan_close(machine->done);
}

/* --- Sent twice, received once --- */

struct reply {
	struct chan *chan;
	bool error;
	bool fixed;
};

static void replies(void *argument)
{
	struct reply reply = *(struct reply *)argument;

	free(argument);
	if (reply.error) {
		chan_send(reply.chan, VALUE);
		if (reply.fixed)
			return;
	}
	chan_send(reply.chan, VALUE);
}

static void ask(size_t capacity, bool error, bool fixed)
{
	struct reply *reply = NEW(struct reply);
	struct chan *chan = chan_make(capacity);

	reply->chan = chan;
	reply->error = error;
	reply->fixed = fixed;
	go(replies, reply);
	chan_receive(chan, NULL);
}

static void sent_twice(bool fixed)
{
	ask(0, false, fixed);
	ask(0, true, fixed);
	ask(1, true, fixed);
}

/* --- An early return --- */

static void sends_result(void *chan)
{
	chan_send(chan, VALUE);
}

static void early_return(bool fixed)
{
	struct chan *result = chan_make(0);

	go(sends_result, result);
	if (!fixed)
		return;
	chan_receive(result, NULL);
}

/* --- The first of many answers --- */

static void takes_first(void *argument)
{
	struct work *work = argument;
	struct chan *answers = chan_make(work->fixed ? 5 : 0);
	int i;

	for (i = 0; i < work->workers; i++)
		go(sends_result, answers);
	if (work->workers || !work->fixed)
		chan_receive(answers, NULL);
}

static void take_first_of(int workers, bool fixed)
{
	struct work *work = NEW(struct work);

	work->workers = workers;
	work->fixed = fixed;
	go(takes_first, work);
}

/* Of five, four cannot send; of none, nobody answers. */
static void first_of_many(bool fixed)
{
	take_first_of(5, fixed);
	take_first_of(0, fixed);
}

/* --- A timeout --- */

static void asks_with_timeout(void *fixed)
{
	struct context *context = context_with_cancel(context_background());
	struct chan *result = chan_make(fixed ? 1 : 0);
	struct chan_case cases[2] = {{.chan = result}, {.chan = context_done(context)}};

	context_cancel(context);
	go(sends_result, result);
	/* The context first, whatever the scheduler would choose. */
	chan_select(&cases[1], 1);
}

static void timed_out(bool fixed)
{
	int i;

	for (i = 0; i < 100; i++)
		go(asks_with_timeout, fixed ? VALUE : NULL);
}

/* --- A worker whose parent is gone --- */

static void waits_for_orders(void *chan)
{
	bool ok = true;

	while (ok)
		chan_receive(chan, &ok);
}

static void orphaned_worker(bool fixed)
{
	struct chan *orders = chan_make(0);

	go(waits_for_orders, orders);
	chan_send(orders, VALUE);
	if (fixed)
		chan_close(orders);
}

const struct leak_case pattern_cases[] = {
	{"range_never_closed", range_never_closed,
	 "dispatches [chan send] 1; works [chan receive] 3"},
	{"not_stopped", not_stopped, "machine_loop [select] 1"},
	{"sent_twice", sent_twice, "replies [chan send] 1"},
	{"early_return", early_return, "sends_result [chan send] 1"},
	{"first_of_many", first_of_many,
	 "sends_result [chan send] 4; takes_first [chan receive] 1"},
	{"timed_out", timed_out, "sends_result [chan send] 100",
	 "54-55: the others had not run yet"},
	{"orphaned_worker", orphaned_worker, "waits_for_orders [chan receive] 1"},
	{NULL},
};
