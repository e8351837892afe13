/* SPDX-License-Identifier: MIT */
/*
 * The smallest leaks: one per kind of wait, nothing else around (section A of Go's tests,
 * simple.go).
 */
#include "cases.h"

#define MANY 1000

static void nil_receiver(void *chan)
{
	chan_receive(chan, NULL);
}

/* A channel that was never made. Fixed: one that is closed. */
static void nil_receive(bool fixed)
{
	struct chan *chan = fixed ? chan_make(0) : NULL;

	if (fixed)
		chan_close(chan);
	go(nil_receiver, chan);
}

static void nil_sender(void *chan)
{
	chan_send(chan, VALUE);
}

static void nil_send(bool fixed)
{
	go(nil_sender, fixed ? chan_make(1) : NULL);
}

static void select_nothing(void *channel)
{
	struct chan_case one = {.chan = channel};

	chan_select(&one, channel ? 1 : 0);
}

static void select_no_cases(bool fixed)
{
	go(select_nothing, fixed ? time_after(MILLISECOND) : NULL);
}

static void private_receiver(void *fixed)
{
	struct chan *chan = chan_make(0);

	if (fixed)
		chan_close(chan);
	chan_receive(chan, NULL);
}

static void private_receive(bool fixed)
{
	go(private_receiver, fixed ? VALUE : NULL);
}

static void private_sender(void *fixed)
{
	chan_send(chan_make(fixed ? 1 : 0), VALUE);
}

static void private_send(bool fixed)
{
	go(private_sender, fixed ? VALUE : NULL);
}

static void selector(void *fixed)
{
	struct chan_case cases[2] = {
		{.chan = chan_make(fixed ? 1 : 0), .value = VALUE, .send = true},
		{.chan = chan_make(0)}};

	chan_select(cases, 2);
}

static void private_select(bool fixed)
{
	go(selector, fixed ? VALUE : NULL);
}

static void group_waiter(void *fixed)
{
	struct wait_group group = {0};

	wait_group_add(&group, 1);
	if (fixed)
		wait_group_done(&group);
	wait_group_wait(&group);
}

static void group(bool fixed)
{
	go(group_waiter, fixed ? VALUE : NULL);
}

static void double_locker(void *fixed)
{
	struct mutex mutex = {0};

	mutex_lock(&mutex);
	if (fixed)
		mutex_unlock(&mutex);
	mutex_lock(&mutex);
}

/* A thousand, each with a lock on its own stack. */
static void mutex_on_stack(bool fixed)
{
	int i;

	for (i = 0; i < MANY; i++)
		go(double_locker, fixed ? VALUE : NULL);
}

struct locked {
	struct mutex mutex;
	bool fixed;
};

static void locks_twice(void *argument)
{
	struct locked *locked = argument;

	mutex_lock(&locked->mutex);
	if (locked->fixed)
		mutex_unlock(&locked->mutex);
	mutex_lock(&locked->mutex);
}

static void makes_a_lock_and_ends(void *fixed)
{
	struct locked *locked = NEW(struct locked);

	locked->fixed = fixed;
	go(locks_twice, locked);
}

static void mutex_on_heap(bool fixed)
{
	int i;

	for (i = 0; i < MANY; i++)
		go(makes_a_lock_and_ends, fixed ? VALUE : NULL);
}

struct condition {
	struct mutex mutex;
	struct cond cond;
	bool met;
};

static void awaits(void *argument)
{
	struct condition *condition = argument;

	mutex_lock(&condition->mutex);
	while (!condition->met)
		cond_wait(&condition->cond, &condition->mutex);
	mutex_unlock(&condition->mutex);
}

static void condition(bool fixed)
{
	struct condition *condition = NEW(struct condition);

	go(awaits, condition);
	settle();
	if (!fixed)
		return;
	mutex_lock(&condition->mutex);
	condition->met = true;
	cond_signal(&condition->cond);
	mutex_unlock(&condition->mutex);
}

static void reads_while_writing(void *fixed)
{
	struct rwmutex lock = {0};

	rwmutex_lock(&lock);
	if (fixed)
		rwmutex_unlock(&lock);
	rwmutex_rlock(&lock);
}

static void read_lock(bool fixed)
{
	go(reads_while_writing, fixed ? VALUE : NULL);
}

static void writes_twice(void *fixed)
{
	struct rwmutex lock = {0};

	rwmutex_lock(&lock);
	if (fixed)
		rwmutex_unlock(&lock);
	rwmutex_lock(&lock);
}

static void write_lock(bool fixed)
{
	go(writes_twice, fixed ? VALUE : NULL);
}

struct mixed {
	struct wait_group group;
	struct chan *chan;
	bool fixed;
};

static void sends_then_is_done(void *argument)
{
	struct mixed *mixed = argument;

	if (mixed->fixed)
		wait_group_done(&mixed->group);
	chan_send(mixed->chan, VALUE);
	if (!mixed->fixed)
		wait_group_done(&mixed->group);
}

/* Waits for the group before it would receive. */
static void waits_then_receives(void *argument)
{
	struct mixed *mixed = argument;

	wait_group_add(&mixed->group, 1);
	go(sends_then_is_done, mixed);
	wait_group_wait(&mixed->group);
	chan_receive(mixed->chan, NULL);
}

static void mixed(bool fixed)
{
	struct mixed *mixed = NEW(struct mixed);

	mixed->chan = chan_make(0);
	mixed->fixed = fixed;
	go(waits_then_receives, mixed);
}

static struct chan *global;

static void global_receiver(void *unused)
{
	(void)unused;
	chan_receive(global, NULL);
}

/* Stuck in fact, but anyone could still send. */
static void global_channel(bool fixed)
{
	(void)fixed;
	global = chan_make(0);
	go(global_receiver, NULL);
}

/* Main waits for ever with a channel in its frame: that keeps nobody alive, and main itself is no
 * leak. */
static void parked_main(bool fixed)
{
	struct chan *chan = chan_make(0);

	go(nil_receiver, chan);
	if (fixed)
		chan_close(chan);
}

const struct leak_case micro_cases[] = {
	{"nil_receive", nil_receive, "nil_receiver [chan receive (nil chan)] 1"},
	{"nil_send", nil_send, "nil_sender [chan send (nil chan)] 1"},
	{"select_no_cases", select_no_cases, "select_nothing [select (no cases)] 1"},
	{"private_receive", private_receive, "private_receiver [chan receive] 1"},
	{"private_send", private_send, "private_sender [chan send] 1"},
	{"private_select", private_select, "selector [select] 1"},
	{"wait_group", group, "group_waiter [sync.WaitGroup.Wait] 1"},
	{"mutex_on_stack", mutex_on_stack, "double_locker [sync.Mutex.Lock] 1000", "998"},
	{"mutex_on_heap", mutex_on_heap, "locks_twice [sync.Mutex.Lock] 1000", "998"},
	{"cond", condition, "awaits [sync.Cond.Wait] 1"},
	{"rwmutex_read", read_lock, "reads_while_writing [sync.RWMutex.RLock] 1"},
	{"rwmutex_write", write_lock, "writes_twice [sync.RWMutex.Lock] 1"},
	{"mixed", mixed,
	 "waits_then_receives [sync.WaitGroup.Wait] 1; sends_then_is_done [chan send] 1"},
	{"global_channel", global_channel, ""},
	{"parked_main", parked_main, "nil_receiver [chan receive] 1", "main too, without a stack",
	 true},
	{NULL},
};
