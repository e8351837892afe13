/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth: one case for each way to wait, leaked and live. Each case runs in a goroutine that ends
 * before the program exits, so that nothing of it is left on a live stack. The program wakes nobody
 * by handle: a handle keeps nobody alive here (pth_wakes.c is the other way).
 */
#include <pth.h>

#include "common.h"

struct sync {
	pth_mutex_t mutex;
	pth_cond_t cond;
	pth_barrier_t barrier;
	pth_rwlock_t lock;
	pth_msgport_t port;
};

static void *volatile keeper; /* the global that keeps things alive */

static struct sync *new_sync(void)
{
	struct sync *sync = calloc(1, sizeof(*sync));

	pth_mutex_init(&sync->mutex);
	pth_cond_init(&sync->cond);
	pth_barrier_init(&sync->barrier, 2);
	pth_rwlock_init(&sync->lock);
	return sync;
}

static void spawn(void *(*start)(void *), void *argument)
{
	pth_attr_t attributes = pth_attr_new();

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, FALSE);
	pth_spawn(attributes, start, argument);
	pth_attr_destroy(attributes);
}

static void *wait_cond(void *argument)
{
	struct sync *sync = argument;

	pth_mutex_acquire(&sync->mutex, FALSE, NULL);
	pth_cond_await(&sync->cond, &sync->mutex, NULL);
	return NULL;
}

static void *wait_port(void *argument)
{
	pth_event_t event = pth_event(PTH_EVENT_MSG, argument);

	pth_wait(event);
	return NULL;
}

static void *wait_barrier(void *argument)
{
	pth_barrier_reach(&((struct sync *)argument)->barrier);
	return NULL;
}

static void *wait_mutex(void *argument)
{
	pth_mutex_acquire(&((struct sync *)argument)->mutex, FALSE, NULL);
	return NULL;
}

static void *wait_read(void *argument)
{
	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RD, FALSE, NULL);
	return NULL;
}

static void *wait_write(void *argument)
{
	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RW, FALSE, NULL);
	return NULL;
}

static void *wait_join(void *argument)
{
	pth_join(argument, NULL);
	return NULL;
}

static void *wait_several(void *argument)
{
	struct sync *sync = argument;
	pth_event_t events = pth_event(PTH_EVENT_COND, &sync->cond);

	pth_event_concat(events, pth_event(PTH_EVENT_MSG, pth_msgport_create(NULL)), NULL);
	pth_wait(events);
	return NULL;
}

static void *wait_timed(void *argument)
{
	struct sync *sync = argument;
	pth_event_t timer = pth_event(PTH_EVENT_TIME, pth_timeout(3600, 0));

	pth_mutex_acquire(&sync->mutex, FALSE, NULL);
	pth_cond_await(&sync->cond, &sync->mutex, timer);
	return NULL;
}

static void leak_cond(void)
{
	spawn(wait_cond, new_sync());
}

static void live_cond_global(void)
{
	keeper = new_sync();
	spawn(wait_cond, keeper);
}

static void live_timed(void)
{
	spawn(wait_timed, new_sync());
}

static void leak_port(void)
{
	spawn(wait_port, pth_msgport_create(NULL));
}

static void live_port_kept(void)
{
	keeper = pth_msgport_create(NULL);
	spawn(wait_port, keeper);
}

static void live_port_named(void)
{
	spawn(wait_port, pth_msgport_create("found by name"));
}

/* All ports are linked to each other: one that is kept must not keep the other. */
static void leak_port_beside_live(void)
{
	keeper = pth_msgport_create(NULL);
	spawn(wait_port, pth_msgport_create(NULL));
}

static void leak_barrier(void)
{
	spawn(wait_barrier, new_sync());
}

static void live_barrier_kept(void)
{
	keeper = new_sync();
	spawn(wait_barrier, keeper);
}

/* Holds the mutex and waits for ever on a condition that nobody has. */
static void *hold_mutex(void *argument)
{
	struct sync *sync = argument;
	struct sync *own = new_sync();

	pth_mutex_acquire(&sync->mutex, FALSE, NULL);
	pth_mutex_acquire(&own->mutex, FALSE, NULL);
	pth_cond_await(&own->cond, &own->mutex, NULL);
	return NULL;
}

static void leak_mutex_of_leaked(void)
{
	keeper = new_sync();
	spawn(hold_mutex, keeper);
	pth_yield(NULL);
	spawn(wait_mutex, keeper);
}

static void *hold_mutex_asleep(void *argument)
{
	pth_mutex_acquire(&((struct sync *)argument)->mutex, FALSE, NULL);
	pth_sleep(3600);
	return NULL;
}

static void live_mutex_of_sleeper(void)
{
	struct sync *sync = new_sync();

	spawn(hold_mutex_asleep, sync);
	pth_yield(NULL);
	spawn(wait_mutex, sync);
}

static pth_mutex_t first = PTH_MUTEX_INIT;
static pth_mutex_t second = PTH_MUTEX_INIT;

static void *lock_ab(void *argument)
{
	pth_mutex_acquire(&first, FALSE, NULL);
	pth_yield(NULL);
	pth_mutex_acquire(&second, FALSE, NULL);
	return argument;
}

static void *lock_ba(void *argument)
{
	pth_mutex_acquire(&second, FALSE, NULL);
	pth_yield(NULL);
	pth_mutex_acquire(&first, FALSE, NULL);
	return argument;
}

static void leak_ab_ba(void)
{
	spawn(lock_ab, NULL);
	spawn(lock_ba, NULL);
}

static void *hold_write(void *argument)
{
	struct sync *own = new_sync();

	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RW, FALSE, NULL);
	pth_mutex_acquire(&own->mutex, FALSE, NULL);
	pth_cond_await(&own->cond, &own->mutex, NULL);
	return NULL;
}

static void leak_rwlock(void)
{
	struct sync *sync = new_sync();

	spawn(hold_write, sync);
	pth_yield(NULL);
	spawn(wait_read, sync);
	spawn(wait_write, sync);
}

static void *hold_read_asleep(void *argument)
{
	pth_rwlock_acquire(&((struct sync *)argument)->lock, PTH_RWLOCK_RD, FALSE, NULL);
	pth_sleep(3600);
	return NULL;
}

/* A second reader does not wait. */
static void live_rwlock_of_sleeper(void)
{
	struct sync *sync = new_sync();

	spawn(hold_read_asleep, sync);
	pth_yield(NULL);
	spawn(wait_write, sync);
	spawn(wait_read, sync);
}

static void leak_join(void)
{
	pth_attr_t attributes = pth_attr_new();
	pth_t thread;

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, TRUE);
	thread = pth_spawn(attributes, wait_cond, new_sync());
	spawn(wait_join, thread);
	pth_attr_destroy(attributes);
}

static void leak_handle_kept(void)
{
	pth_attr_t attributes = pth_attr_new();

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, TRUE);
	keeper = pth_spawn(attributes, wait_cond, new_sync());
	pth_attr_destroy(attributes);
}

static void *sleep_long(void *argument)
{
	pth_sleep(3600);
	return argument;
}

static void live_join(void)
{
	pth_attr_t attributes = pth_attr_new();
	pth_t thread;

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, TRUE);
	thread = pth_spawn(attributes, sleep_long, NULL);
	spawn(wait_join, thread);
	pth_attr_destroy(attributes);
}

static void leak_several(void)
{
	spawn(wait_several, new_sync());
}

static void live_several(void)
{
	keeper = new_sync();
	spawn(wait_several, keeper);
}

struct link {
	struct sync *own;
	struct sync *next;
};

/* Each is woken by the one before, which it alone can reach: all are live as long as the last one
 * is. */
static void *chain_link(void *argument)
{
	struct sync *own = ((struct link *)argument)->own;
	struct sync *volatile next = ((struct link *)argument)->next;

	free(argument);
	pth_mutex_acquire(&own->mutex, FALSE, NULL);
	pth_cond_await(&own->cond, &own->mutex, NULL);
	return next;
}

static void *chain_end(void *argument)
{
	void *volatile held = argument;

	pth_sleep(3600);
	return held;
}

#define CHAIN 2000

static void make_chain(void *(*end)(void *))
{
	struct sync *next = new_sync();
	pth_attr_t attributes = pth_attr_new();
	int i;

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, FALSE);
	pth_attr_set(attributes, PTH_ATTR_STACK_SIZE, 16384);
	if (end)
		pth_spawn(attributes, end, next);
	for (i = 0; i < CHAIN; i++) {
		struct link *link = malloc(sizeof(*link));

		link->own = next;
		link->next = next = new_sync();
		pth_spawn(attributes, chain_link, link);
	}
	pth_attr_destroy(attributes);
}

static void live_chain(void)
{
	make_chain(chain_end);
}

static void leak_chain(void)
{
	make_chain(NULL);
}

static void key_data(void *(*holder)(void *))
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(holder, sync);
}

static void *set_key(void *argument)
{
	pth_key_t key;

	pth_key_create(&key, NULL);
	pth_key_setdata(key, hide(argument));
	return NULL;
}

static void *key_of_sleeper(void *argument)
{
	set_key(argument);
	argument = NULL;
	pth_sleep(3600);
	return argument;
}

static void *key_of_leaked(void *argument)
{
	struct sync *own = new_sync();

	set_key(argument);
	pth_mutex_acquire(&own->mutex, FALSE, NULL);
	pth_cond_await(&own->cond, &own->mutex, NULL);
	return argument;
}

static void live_key(void)
{
	key_data(key_of_sleeper);
}

static void leak_key(void)
{
	key_data(key_of_leaked);
}

static const struct test_case cases[] = {
	{"leak_cond", leak_cond},
	{"live_cond_global", live_cond_global},
	{"live_timed", live_timed},
	{"leak_port", leak_port},
	{"live_port_kept", live_port_kept},
	{"live_port_named", live_port_named},
	{"leak_port_beside_live", leak_port_beside_live},
	{"leak_barrier", leak_barrier},
	{"live_barrier_kept", live_barrier_kept},
	{"leak_mutex_of_leaked", leak_mutex_of_leaked},
	{"live_mutex_of_sleeper", live_mutex_of_sleeper},
	{"leak_ab_ba", leak_ab_ba},
	{"leak_rwlock", leak_rwlock},
	{"live_rwlock_of_sleeper", live_rwlock_of_sleeper},
	{"leak_join", leak_join},
	{"leak_handle_kept", leak_handle_kept},
	{"live_join", live_join},
	{"leak_several", leak_several},
	{"live_several", live_several},
	{"live_chain", live_chain},
	{"leak_chain", leak_chain},
	{"live_key", live_key},
	{"leak_key", leak_key},
};

static void *run_case(void *argument)
{
	((const struct test_case *)argument)->run();
	return NULL;
}

int main(int argc, char **argv)
{
	const struct test_case *test =
		find_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
	int i;

	/* stdio's buffer, allocated later, would hold what freed blocks left in its memory. */
	puts("READY");
	pth_init();
	spawn(run_case, (void *)test);
	for (i = 0; i < 5; i++)
		pth_yield(NULL);
	scrub();
	return 0;
}
