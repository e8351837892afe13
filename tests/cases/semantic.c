/* SPDX-License-Identifier: MIT */
/*
 * What counts as reachable, one case a rule, with Go's answer where it is another: what both
 * report, what both keep alive, and what only we can tell because a lock belongs to its holder.
 */
#include <unistd.h>

#include "cases.h"

static void receives(void *chan)
{
	chan_receive(chan, NULL);
}

static void locks(void *mutex)
{
	mutex_lock(mutex);
	mutex_unlock(mutex);
}

/* --- Reported by both --- */

static void selects_nil(void *chan)
{
	struct chan_case cases[2] = {{.chan = NULL}, {.chan = chan, .value = VALUE, .send = true}};

	chan_select(cases, 2);
}

static void all_nil_select(bool fixed)
{
	go(selects_nil, fixed ? chan_make(1) : NULL);
}

static void nil_and_private(bool fixed)
{
	go(selects_nil, chan_make(fixed ? 1 : 0));
}

static void dropped_context(bool fixed)
{
	struct context *context = context_with_cancel(context_background());

	go(receives, context_done(context));
	if (fixed)
		context_cancel(context);
}

struct pair {
	struct chan *mine;
	struct chan *other;
	bool fixed;
};

static void waits_then_tells(void *argument)
{
	struct pair *pair = argument;

	if (pair->fixed)
		chan_close(pair->other);
	chan_receive(pair->mine, NULL);
	if (!pair->fixed)
		chan_close(pair->other);
}

static void each_other(bool fixed)
{
	struct pair *a = NEW(struct pair);
	struct pair *b = NEW(struct pair);

	*a = (struct pair){chan_make(0), chan_make(0), fixed};
	*b = (struct pair){a->other, a->mine, fixed};
	go(waits_then_tells, a);
	go(waits_then_tells, b);
}

struct held {
	struct mutex mutex;
	struct rwmutex rw;
	struct chan *chan;
};

static void leaks_with_lock(void *argument)
{
	struct held *held = argument;

	mutex_lock(&held->mutex);
	chan_receive(held->chan, NULL);
	mutex_unlock(&held->mutex);
}

static void lock_of_leaked(bool fixed)
{
	struct held *held = NEW(struct held);

	held->chan = chan_make(0);
	go(leaks_with_lock, held);
	settle();
	go(locks, &held->mutex);
	if (fixed)
		chan_close(held->chan);
}

static void stopped_timer(bool fixed)
{
	struct timer *timer = timer_new(fixed ? MILLISECOND : 3600 * SECOND);

	go(receives, timer_chan(timer));
	if (!fixed)
		timer_stop(timer);
}

static void leaks_reading(void *argument)
{
	struct held *held = argument;

	rwmutex_rlock(&held->rw);
	chan_receive(held->chan, NULL);
	rwmutex_runlock(&held->rw);
}

static void writes(void *argument)
{
	struct held *held = argument;

	rwmutex_lock(&held->rw);
	rwmutex_unlock(&held->rw);
}

static void reads(void *argument)
{
	struct held *held = argument;

	rwmutex_rlock(&held->rw);
	rwmutex_runlock(&held->rw);
}

static void queue_behind_reader(struct held *held, bool fixed)
{
	held->chan = chan_make(0);
	go(leaks_reading, held);
	settle();
	go(writes, held);
	settle();
	go(reads, held);
	settle();
	if (fixed)
		chan_close(held->chan);
}

static void leaked_reader(bool fixed)
{
	queue_behind_reader(NEW(struct held), fixed);
}

/* --- Live for both --- */

static void hour_context(bool fixed)
{
	(void)fixed;
	go(receives, context_done(context_with_timeout(context_background(), 3600 * SECOND)));
}

static void ticks_for_ever(void *timer)
{
	for (;;)
		chan_receive(timer_chan(timer), NULL);
}

static void live_ticker(bool fixed)
{
	(void)fixed;
	go(ticks_for_ever, ticker_new(SECOND));
}

/* Not static: the compiler would see that nobody reads it. */
struct chan *cases_global_buffer;

static void in_buffered_channel(bool fixed)
{
	struct chan *chan = chan_make(0);

	(void)fixed;
	cases_global_buffer = chan_make(3);
	chan_send(cases_global_buffer, chan);
	go(receives, chan);
}

/* A map as C programs have them: nodes by malloc, linked from a bucket. */
static struct entry {
	struct entry *next;
	void *value;
} * buckets[16];

static void put(void *value)
{
	struct entry *entry = NEW(struct entry);

	entry->value = value;
	entry->next = buckets[5];
	buckets[5] = entry;
}

static void in_global_map(bool fixed)
{
	struct chan *chan = chan_make(0);

	(void)fixed;
	put(chan);
	go(receives, chan);
}

static void sleeps_then_closes(void *chan)
{
	go_sleep(3600 * SECOND);
	chan_close(chan);
}

static void held_by_sleeper(bool fixed)
{
	struct chan *chan = chan_make(0);

	(void)fixed;
	go(sleeps_then_closes, chan);
	go(receives, chan);
}

static int ends[2];

static void reads_then_closes(void *chan)
{
	char byte;

	go_read(ends[0], &byte, 1);
	chan_close(chan);
}

static void held_by_reader(bool fixed)
{
	struct chan *chan = chan_make(0);

	(void)fixed;
	if (pipe(ends))
		abort();
	go(reads_then_closes, chan);
	go(receives, chan);
}

static struct chan *global_chan;

static void selects_global(void *chan)
{
	struct chan_case cases[2] = {{.chan = chan}, {.chan = global_chan}};

	chan_select(cases, 2);
}

static void select_with_global(bool fixed)
{
	(void)fixed;
	global_chan = chan_make(0);
	go(selects_global, chan_make(0));
}

static void sends_in_a_while(void *chan)
{
	chan_send(chan, VALUE);
}

static void after_func(bool fixed)
{
	struct chan *chan = chan_make(0);

	(void)fixed;
	timer_after_func(3600 * SECOND, sends_in_a_while, chan);
	go(receives, chan);
}

static void child_of_live_context(bool fixed)
{
	struct context *parent = context_with_timeout(context_background(), 3600 * SECOND);

	(void)fixed;
	go(receives, context_done(context_with_cancel(parent)));
}

/* --- Only ours --- */

static struct mutex global_a;
static struct mutex global_b;
static struct held global_held;
static struct rwmutex global_rw;

static void locks_global_twice(void *fixed)
{
	mutex_lock(&global_a);
	if (fixed)
		mutex_unlock(&global_a);
	mutex_lock(&global_a);
	mutex_unlock(&global_a);
}

static void double_global(bool fixed)
{
	go(locks_global_twice, fixed ? VALUE : NULL);
}

static void locks_a_then_b(void *fixed)
{
	mutex_lock(&global_a);
	if (!fixed)
		settle();
	mutex_lock(&global_b);
	mutex_unlock(&global_b);
	mutex_unlock(&global_a);
}

static void locks_b_then_a(void *fixed)
{
	if (fixed)
		mutex_lock(&global_a);
	mutex_lock(&global_b);
	if (!fixed)
		settle();
	if (!fixed)
		mutex_lock(&global_a);
	mutex_unlock(&global_a);
	mutex_unlock(&global_b);
}

static void global_ab_ba(bool fixed)
{
	go(locks_a_then_b, fixed ? VALUE : NULL);
	go(locks_b_then_a, fixed ? VALUE : NULL);
}

static void locks_and_ends(void *mutex)
{
	mutex_lock(mutex);
}

static void locks_and_unlocks(void *mutex)
{
	mutex_lock(mutex);
	mutex_unlock(mutex);
}

/* The object is in a global map, but who holds its lock has ended. */
static void lock_of_ended(bool fixed)
{
	struct mutex *mutex = NEW(struct mutex);

	put(mutex);
	go(fixed ? locks_and_unlocks : locks_and_ends, mutex);
	settle();
	go(locks, mutex);
}

/* The lock is global, its holder is leaked. */
static void lock_of_leaked_global(bool fixed)
{
	global_held.chan = fixed ? chan_make(0) : NULL;
	if (fixed)
		chan_close(global_held.chan);
	go(leaks_with_lock, &global_held);
	settle();
	go(locks, &global_held.mutex);
}

static void reads_and_ends(void *lock)
{
	rwmutex_rlock(lock);
}

static void writes_global(void *lock)
{
	rwmutex_lock(lock);
	rwmutex_unlock(lock);
}

static void reader_ended(bool fixed)
{
	if (!fixed)
		go(reads_and_ends, &global_rw);
	settle();
	go(writes_global, &global_rw);
}

/* A goroutine that is ready but has not run yet is decided as if it had. */
static void not_yet_run(bool fixed)
{
	struct chan *chan = chan_make(fixed ? 1 : 0);
	int i;

	for (i = 0; i < 100; i++) {
		go(sends_in_a_while, chan);
		if (fixed)
			chan = chan_make(1);
	}
}

const struct leak_case semantic_cases[] = {
	{"all_nil_select", all_nil_select, "selects_nil [select] 1"},
	{"nil_and_private", nil_and_private, "selects_nil [select] 1"},
	{"dropped_context", dropped_context, "receives [chan receive] 1"},
	{"each_other", each_other, "waits_then_tells [chan receive] 2"},
	{"lock_of_leaked", lock_of_leaked,
	 "leaks_with_lock [chan receive] 1; locks [sync.Mutex.Lock] 1"},
	{"stopped_timer", stopped_timer, "receives [chan receive] 1"},
	{"leaked_reader", leaked_reader,
	 "leaks_reading [chan receive] 1; writes [sync.RWMutex.Lock] 1; reads [sync.RWMutex.RLock] "
	 "1"},
	{"hour_context", hour_context, ""},
	{"live_ticker", live_ticker, ""},
	{"in_buffered_channel", in_buffered_channel, ""},
	{"in_global_map", in_global_map, ""},
	{"held_by_sleeper", held_by_sleeper, ""},
	{"held_by_reader", held_by_reader, ""},
	{"select_with_global", select_with_global, ""},
	{"after_func", after_func, ""},
	{"child_of_live_context", child_of_live_context, ""},
	{"double_global", double_global, "locks_global_twice [sync.Mutex.Lock] 1", "none"},
	{"global_ab_ba", global_ab_ba,
	 "locks_a_then_b [sync.Mutex.Lock] 1; locks_b_then_a [sync.Mutex.Lock] 1", "none"},
	{"lock_of_ended", lock_of_ended, "locks [sync.Mutex.Lock] 1", "none"},
	{"lock_of_leaked_global", lock_of_leaked_global,
	 "leaks_with_lock [chan receive (nil chan)] 1; locks [sync.Mutex.Lock] 1",
	 "the first only"},
	{"reader_ended", reader_ended, "writes_global [sync.RWMutex.Lock] 1", "none"},
	{"not_yet_run", not_yet_run, "sends_in_a_while [chan send] 100", "those that have run"},
	{NULL},
};
