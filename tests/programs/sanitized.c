/* SPDX-License-Identifier: MIT */
/*
 * What tests/e2e/sanitizers.py compiles with a sanitizer: sanitized MODE [MISTAKE]. Built for one
 * runtime: -DPTH, -DST or minigo.
 *
 * MODE says who still knows the object that a goroutine waits for when the program ends, and
 * MISTAKE is one that a sanitizer must go on to find.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(PTH)
#include <pth.h>
#elif defined(ST)
#include <st.h>
#else
#include "minigo.h"
#endif

/* --- A runtime in four calls: start_runtime, start, object_new, object_wait, object_wake, settle
 * --- */

#if defined(PTH)
struct object {
	pth_mutex_t lock;
	pth_cond_t changed;
};

static void start_runtime(void)
{
	pth_init();
}

static void start(void *(*function)(void *), void *argument)
{
	pth_spawn(PTH_ATTR_DEFAULT, function, argument);
}

static struct object *object_new(void)
{
	struct object *object = calloc(1, sizeof(*object));

	pth_mutex_init(&object->lock);
	pth_cond_init(&object->changed);
	return object;
}

static void object_wait(struct object *object)
{
	pth_mutex_acquire(&object->lock, FALSE, NULL);
	pth_cond_await(&object->changed, &object->lock, NULL);
	pth_mutex_release(&object->lock);
}

static void object_wake(struct object *object)
{
	pth_mutex_acquire(&object->lock, FALSE, NULL);
	pth_cond_notify(&object->changed, TRUE);
	pth_mutex_release(&object->lock);
}

static void settle(void)
{
	int i;

	for (i = 0; i < 20; i++)
		pth_yield(NULL);
}

static void sleep_long(void)
{
	pth_sleep(1000);
}
#elif defined(ST)
struct object {
	st_cond_t changed;
};

static void start_runtime(void)
{
	st_init();
}

static void start(void *(*function)(void *), void *argument)
{
	st_thread_create(function, argument, 0, 256 << 10);
}

static struct object *object_new(void)
{
	struct object *object = calloc(1, sizeof(*object));

	object->changed = st_cond_new();
	return object;
}

static void object_wait(struct object *object)
{
	st_cond_wait(object->changed);
}

static void object_wake(struct object *object)
{
	st_cond_broadcast(object->changed);
}

static void settle(void)
{
	int i;

	for (i = 0; i < 20; i++)
		st_sleep(0);
}

static void sleep_long(void)
{
	st_sleep(1000);
}
#else
struct object {
	struct chan *chan;
};

struct call {
	void *(*function)(void *);
	void *argument;
};

static void call(void *argument)
{
	struct call call = *(struct call *)argument;

	free(argument);
	call.function(call.argument);
}

static void start_runtime(void)
{
	minigo_init();
}

static void start(void *(*function)(void *), void *argument)
{
	struct call *new = malloc(sizeof(*new));

	*new = (struct call){function, argument};
	go(call, new);
}

static struct object *object_new(void)
{
	struct object *object = calloc(1, sizeof(*object));

	object->chan = chan_make(0);
	return object;
}

static void object_wait(struct object *object)
{
	chan_receive(object->chan, NULL);
}

static void object_wake(struct object *object)
{
	chan_send(object->chan, object);
}

static void settle(void)
{
	go_settle(0);
}

static void sleep_long(void)
{
	go_sleep(1000000000000);
}
#endif

/* --- Who knows the object --- */

struct object **global;

static __attribute__((noinline)) void *waits(void *object)
{
	object_wait(object);
	return NULL;
}

static void use(void *frame)
{
	__asm__ volatile("" : : "r"(frame) : "memory");
}

/* Knows OBJECT in a variable whose address is taken, which a sanitizer may have moved elsewhere. */
static void *keeps(void *object)
{
	struct object *kept[4] = {object};

	use(kept);
	object = NULL;
	sleep_long();
	use(kept);
	return NULL;
}

static __attribute__((noinline)) void begin(const char *mode)
{
	struct object *object = object_new();

	start(waits, object);
	settle();
	if (!strcmp(mode, "woken"))
		object_wake(object);
	if (!strcmp(mode, "global")) {
		global = malloc(sizeof(*global));
		*global = object;
	}
	if (!strcmp(mode, "frame"))
		start(keeps, object);
	settle();
}

/* Overwrites what BEGIN left below on the stack. */
static __attribute__((noinline)) void overwrite(void)
{
	char filling[4096];

	memset(filling, 0, sizeof(filling));
	use(filling);
}

/* --- Mistakes --- */

static volatile int ten = 10;

static void overflow(void)
{
	char *block = malloc((size_t)ten);

	use(block);
	block[ten] = 1;
	free(block);
}

static void *increment(void *number)
{
	++*(volatile int *)number;
	return NULL;
}

static void race(void)
{
	static int number;
	pthread_t other;

	pthread_create(&other, NULL, increment, &number);
	increment(&number);
	pthread_join(other, NULL);
}

static void undefined(void)
{
	int result = INT32_MAX - 10 + ten;

	use(&result);
	result += ten;
	use(&result);
}

static void lose(void)
{
	use(malloc(1234));
}

int main(int argc, char **argv)
{
	const char *mistake = argc > 2 ? argv[2] : "";

	start_runtime();
	begin(argv[1]);
	overwrite();
	if (!strcmp(mistake, "overflow"))
		overflow();
	else if (!strcmp(mistake, "race"))
		race();
	else if (!strcmp(mistake, "undefined"))
		undefined();
	else if (!strcmp(mistake, "lose"))
		lose();
	puts("done");
	return 0;
}
