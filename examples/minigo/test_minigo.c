/* SPDX-License-Identifier: MIT */
/*
 * minigo's own tests: every function of its header, with one thread or several (MINIGO_THREADS).
 * Ends with "N passed, N failed".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "minigo.h"

static unsigned passed;
static unsigned failed;

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (condition) {                                                                   \
			passed++;                                                                  \
		} else {                                                                           \
			failed++;                                                                  \
			printf("FAIL %s:%d: %s\n", __func__, __LINE__, #condition);                \
		}                                                                                  \
	} while (0)

static struct wait_group everyone;

static void leave(void)
{
	wait_group_done(&everyone);
}

static void start(void (*function)(void *), void *argument)
{
	wait_group_add(&everyone, 1);
	go(function, argument);
}

/* --- Channels --- */

static void send_three(void *argument)
{
	struct chan *chan = argument;

	chan_send(chan, (void *)1);
	chan_send(chan, (void *)2);
	chan_send(chan, (void *)3);
	chan_close(chan);
	leave();
}

static void channels(void)
{
	size_t capacity;

	for (capacity = 0; capacity < 4; capacity++) {
		struct chan *chan = chan_make(capacity);
		uintptr_t sum = 0;
		void *value;
		bool ok;

		start(send_three, chan);
		while (value = chan_receive(chan, &ok), ok)
			sum = sum * 10 + (uintptr_t)value;
		CHECK(sum == 123);
		CHECK(!chan_receive(chan, &ok) && !ok);
		wait_group_wait(&everyone);
		chan_free(chan);
	}
}

static void without_waiting(void)
{
	struct chan *chan = chan_make(1);
	void *value;
	bool ok;

	CHECK(!chan_try_receive(chan, &value, &ok));
	CHECK(chan_try_send(chan, chan));
	CHECK(!chan_try_send(chan, chan));
	CHECK(chan_length(chan) == 1);
	CHECK(chan_try_receive(chan, &value, &ok) && ok && value == chan);
	CHECK(!chan_try_send(NULL, chan) && !chan_try_receive(NULL, &value, &ok));
	chan_close(chan);
	CHECK(chan_try_receive(chan, &value, &ok) && !ok && !value);
	chan_free(chan);
}

static void sum_up(void *argument)
{
	struct chan **chans = argument;
	struct chan_case cases[3] = {{.chan = chans[0]}, {.chan = chans[1]}, {.chan = NULL}};
	uintptr_t sum = 0;

	while (cases[0].chan || cases[1].chan) {
		size_t chosen = chan_select(cases, 3);

		if (cases[chosen].ok)
			sum += (uintptr_t)cases[chosen].value;
		else
			cases[chosen].chan = NULL;
	}
	chan_send(chans[2], (void *)sum);
	leave();
}

static void selects(void)
{
	struct chan *chans[3] = {chan_make(0), chan_make(2), chan_make(0)};
	struct chan_case many[12] = {{0}};
	size_t i;

	start(sum_up, chans);
	for (i = 1; i <= 100; i++) {
		struct chan_case cases[2] = {{.chan = chans[0], .value = (void *)i, .send = true},
					     {.chan = chans[1], .value = (void *)i, .send = true}};

		chan_select(cases, 2);
	}
	chan_close(chans[0]);
	chan_close(chans[1]);
	CHECK((uintptr_t)chan_receive(chans[2], NULL) == 5050);
	wait_group_wait(&everyone);
	CHECK(chan_try_select(many, 12) == 12);
	many[7].chan = time_after(MILLISECOND);
	CHECK(chan_select(many, 12) == 7 && many[7].ok && many[7].value);
	for (i = 0; i < 3; i++)
		chan_free(chans[i]);
}

/* --- sync --- */

static struct mutex mutex;
static struct rwmutex rwmutex;
static struct cond cond;
static struct semaphore semaphore;
static struct once once;
static long counter;
static long inside;
static bool overlap;

static void count_up(void *unused)
{
	int i;

	(void)unused;
	for (i = 0; i < 200; i++) {
		mutex_lock(&mutex);
		overlap |= inside++ != 0;
		if (i % 10 == 0)
			go_yield();
		counter++;
		inside--;
		mutex_unlock(&mutex);
	}
	leave();
}

static void mutexes(void)
{
	int i;

	for (i = 0; i < 20; i++)
		start(count_up, NULL);
	wait_group_wait(&everyone);
	CHECK(counter == 4000 && !overlap);
	CHECK(mutex_try_lock(&mutex));
	CHECK(!mutex_try_lock(&mutex));
	mutex_unlock(&mutex);
}

static long shared[2];

static void compare_shared(void)
{
	if (shared[0] != shared[1])
		__atomic_store_n(&overlap, true, __ATOMIC_RELAXED);
}

static void read_shared(void *unused)
{
	int i;

	(void)unused;
	for (i = 0; i < 100; i++) {
		rwmutex_rlock(&rwmutex);
		compare_shared();
		go_yield();
		compare_shared();
		rwmutex_runlock(&rwmutex);
	}
	leave();
}

static void write_shared(void *unused)
{
	int i;

	(void)unused;
	for (i = 0; i < 50; i++) {
		rwmutex_lock(&rwmutex);
		shared[0]++;
		go_yield();
		shared[1]++;
		rwmutex_unlock(&rwmutex);
	}
	leave();
}

static struct chan *order;

static void read_late(void *unused)
{
	(void)unused;
	rwmutex_rlock(&rwmutex);
	chan_send(order, (void *)2);
	rwmutex_runlock(&rwmutex);
	leave();
}

static void write_first(void *unused)
{
	(void)unused;
	rwmutex_lock(&rwmutex);
	chan_send(order, (void *)1);
	rwmutex_unlock(&rwmutex);
	leave();
}

static void rwmutexes(void)
{
	int i;

	for (i = 0; i < 10; i++) {
		start(read_shared, NULL);
		start(write_shared, NULL);
	}
	wait_group_wait(&everyone);
	CHECK(shared[0] == 500 && shared[1] == 500 && !overlap);
	/* A writer that waits goes before a reader that comes later. */
	order = chan_make(2);
	rwmutex_rlock(&rwmutex);
	start(write_first, NULL);
	go_settle(MILLISECOND);
	start(read_late, NULL);
	go_settle(MILLISECOND);
	CHECK(chan_length(order) == 0);
	rwmutex_runlock(&rwmutex);
	CHECK(chan_receive(order, NULL) == (void *)1 && chan_receive(order, NULL) == (void *)2);
	wait_group_wait(&everyone);
	/* More read locks than a control block has room for. */
	for (i = 0; i < 9; i++)
		rwmutex_rlock(&rwmutex);
	for (i = 0; i < 9; i++)
		rwmutex_runlock(&rwmutex);
	rwmutex_lock(&rwmutex);
	rwmutex_unlock(&rwmutex);
	chan_free(order);
}

static void await(void *unused)
{
	(void)unused;
	mutex_lock(&mutex);
	while (!counter)
		cond_wait(&cond, &mutex);
	counter--;
	mutex_unlock(&mutex);
	leave();
}

static void conditions(void)
{
	int i;

	counter = 0;
	for (i = 0; i < 10; i++)
		start(await, NULL);
	mutex_lock(&mutex);
	counter = 1;
	cond_signal(&cond);
	mutex_unlock(&mutex);
	go_sleep(MILLISECOND);
	mutex_lock(&mutex);
	counter += 9;
	cond_broadcast(&cond);
	mutex_unlock(&mutex);
	wait_group_wait(&everyone);
	CHECK(counter == 0);
}

static void release(void *unused)
{
	(void)unused;
	semaphore_release(&semaphore);
	leave();
}

static void count_once(void *unused)
{
	(void)unused;
	counter++;
}

static void the_rest_of_sync(void)
{
	start(release, NULL);
	semaphore_acquire(&semaphore);
	wait_group_wait(&everyone);
	once_do(&once, count_once, NULL);
	once_do(&once, count_once, NULL);
	CHECK(counter == 1);
}

/* --- Time and contexts --- */

static void send_back(void *chan)
{
	chan_send(chan, chan);
}

static void times(void)
{
	struct chan *chan = chan_make(0);
	struct timer *ticker = ticker_new(MILLISECOND);
	struct timer *timer = timer_new(3600 * SECOND);
	struct timer *call = timer_after_func(MILLISECOND, send_back, chan);
	int i;

	for (i = 0; i < 3; i++)
		CHECK(chan_receive(timer_chan(ticker), NULL));
	CHECK(chan_receive(chan, NULL) == chan);
	CHECK(timer_stop(timer) && !timer_stop(timer) && !timer_stop(call));
	CHECK(chan_length(timer_chan(timer)) == 0);
	timer_stop(ticker);
	timer_free(ticker);
	timer_free(timer);
	timer_free(call);
	chan_free(chan);
}

static void wait_done(void *context)
{
	chan_receive(context_done(context), NULL);
	leave();
}

static void contexts(void)
{
	struct context *parent = context_with_cancel(context_background());
	struct context *child = context_with_cancel(parent);
	struct context *timed = context_with_timeout(context_background(), MILLISECOND);

	start(wait_done, child);
	start(wait_done, timed);
	CHECK(!context_is_done(child) && !context_done(context_background()));
	context_cancel(parent);
	wait_group_wait(&everyone);
	CHECK(context_is_done(parent) && context_is_done(child) && context_is_done(timed));
	CHECK(context_is_done(context_with_cancel(parent)));
	context_cancel(parent);
}

/* --- Descriptors --- */

static int ends[2];

static void write_much(void *unused)
{
	static char bytes[200000];

	(void)unused;
	for (size_t at = 0; at < sizeof(bytes);) {
		ptrdiff_t n = go_write(ends[1], bytes + at, sizeof(bytes) - at);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	close(ends[1]);
	leave();
}

static void descriptors(void)
{
	char bytes[1000];
	size_t total = 0;
	ptrdiff_t n;

	CHECK(!pipe(ends));
	start(write_much, NULL);
	while ((n = go_read(ends[0], bytes, sizeof(bytes))) > 0)
		total += (size_t)n;
	CHECK(n == 0 && total == 200000);
	wait_group_wait(&everyone);
	close(ends[0]);
}

/* --- Many --- */

static void pass_on(void *argument)
{
	struct chan **pair = argument;
	void *value;
	bool ok;

	while (value = chan_receive(pair[0], &ok), ok)
		chan_send(pair[1], value);
	chan_close(pair[1]);
	leave();
}

static void many(void)
{
	enum { LINKS = 100, VALUES = 200 };
	struct chan *links[LINKS + 1];
	uintptr_t i;
	bool right = true;

	for (i = 0; i <= LINKS; i++)
		links[i] = chan_make(i % 3);
	for (i = 0; i < LINKS; i++)
		start(pass_on, &links[i]);
	for (i = 1; i <= VALUES; i++) {
		chan_send(links[0], (void *)i);
		right &= (uintptr_t)chan_receive(links[LINKS], NULL) == i;
	}
	chan_close(links[0]);
	wait_group_wait(&everyone);
	CHECK(right);
	/* They are done, but have not ended yet. */
	while (go_count() > 1)
		go_yield();
	for (i = 0; i <= LINKS; i++)
		chan_free(links[i]);
}

static void exit_early(void *unused)
{
	(void)unused;
	leave();
	go_exit();
}

int main(void)
{
	minigo_init();
	channels();
	without_waiting();
	selects();
	mutexes();
	rwmutexes();
	conditions();
	the_rest_of_sync();
	times();
	contexts();
	descriptors();
	start(exit_early, NULL);
	wait_group_wait(&everyone);
	go_sleep(MILLISECOND);
	many();
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
