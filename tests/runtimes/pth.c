/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth: one case for each way to wait, leaked and live, and for each place that can keep a
 * goroutine alive. Each case runs in a goroutine that ends before the program exits, so that
 * nothing of it is left on a live stack.
 */
#include <pth.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

struct sync {
	pth_mutex_t mutex;
	pth_cond_t cond;
	pth_barrier_t barrier;
	pth_rwlock_t lock;
	pth_msgport_t port;
};

static void *volatile keeper; /* the global that keeps things alive */
static __thread void *volatile thread_keeper;

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

static void live_cond_interior(void)
{
	struct sync *sync = new_sync();

	keeper = &sync->port;
	spawn(wait_cond, sync);
}

static void live_thread_local(void)
{
	thread_keeper = new_sync();
	spawn(wait_cond, thread_keeper);
}

static void live_timed(void)
{
	spawn(wait_timed, new_sync());
}

static void leak_port(void)
{
	spawn(wait_port, pth_msgport_create(NULL));
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

static void live_port_ready(void)
{
	static pth_message_t message;
	pth_msgport_t port = pth_msgport_create(NULL);

	spawn(wait_port, port);
	pth_yield(NULL);
	pth_yield(NULL);
	pth_msgport_put(port, &message);
	exit(0); /* before the waiter could run */
}

static void leak_barrier(void)
{
	spawn(wait_barrier, new_sync());
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

static void leak_join(void)
{
	pth_attr_t attributes = pth_attr_new();
	pth_t thread;

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, TRUE);
	thread = pth_spawn(attributes, wait_cond, new_sync());
	spawn(wait_join, thread);
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

/* Only a block that was freed, and the free lists of malloc, point at it. */
static void leak_freed(void)
{
	void **block = malloc(256);

	block[10] = new_sync();
	spawn(wait_cond, block[10]);
	pth_yield(NULL);
	free(block);
}

static void *hold_and_sleep(void *argument)
{
	void *volatile held = argument;

	pth_sleep(3600);
	return held;
}

static void live_sleeper_stack(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(hold_and_sleep, sync);
}

static void *hold_and_read(void *argument)
{
	void *volatile held = argument;
	int ends[2];
	char byte;

	if (!pipe(ends))
		pth_read(ends[0], &byte, 1);
	return held;
}

static void live_reader_stack(void)
{
	struct sync *sync = new_sync();

	spawn(wait_cond, sync);
	spawn(hold_and_read, sync);
}

static void live_pipe(void)
{
	int ends[2];
	struct sync *sync = new_sync();

	if (pipe(ends) || write(ends[1], "x", 1) != 1 ||
	    write(ends[1], &sync, sizeof(sync)) != sizeof(sync))
		abort();
	spawn(wait_cond, sync);
}

static void live_epoll(void)
{
	int epoll = epoll_create1(0);
	int ends[2];
	struct epoll_event event = {.events = EPOLLIN};

	event.data.ptr = new_sync();
	if (pipe(ends) || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event))
		abort();
	spawn(wait_cond, event.data.ptr);
}

static void live_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct itimerspec when = {.it_value.tv_sec = 3600};
	timer_t timer;

	event.sigev_value.sival_ptr = new_sync();
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL))
		abort();
	spawn(wait_cond, event.sigev_value.sival_ptr);
}

static void live_pool(void)
{
	void **pool = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	pool[1000] = new_sync();
	keeper = pool;
	spawn(wait_cond, pool[1000]);
}

static void live_shared(void)
{
	void **shared =
		mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	shared[1000] = new_sync();
	spawn(wait_cond, shared[1000]);
}

static void *hold_in_thread(void *argument)
{
	void *volatile held = argument;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (;;)
		pause();
	return held;
}

static void live_os_thread(void)
{
	pthread_t thread;
	struct sync *sync = new_sync();

	pthread_create(&thread, NULL, hold_in_thread, sync);
	spawn(wait_cond, sync);
}

static void live_cancel(void)
{
	pth_attr_t attributes = pth_attr_new();

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, TRUE);
	keeper = pth_spawn(attributes, wait_cond, new_sync());
	pth_attr_destroy(attributes);
	if (getenv("NEVER_SET"))
		pth_cancel(keeper);
}

static void leak_handle_dropped(void)
{
	live_cancel();
	keeper = NULL;
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
	{"live_cond_interior", live_cond_interior},
	{"live_thread_local", live_thread_local},
	{"live_timed", live_timed},
	{"leak_port", leak_port},
	{"live_port_named", live_port_named},
	{"leak_port_beside_live", leak_port_beside_live},
	{"live_port_ready", live_port_ready},
	{"leak_barrier", leak_barrier},
	{"leak_mutex_of_leaked", leak_mutex_of_leaked},
	{"live_mutex_of_sleeper", live_mutex_of_sleeper},
	{"leak_ab_ba", leak_ab_ba},
	{"leak_rwlock", leak_rwlock},
	{"leak_join", leak_join},
	{"live_join", live_join},
	{"leak_several", leak_several},
	{"live_several", live_several},
	{"leak_freed", leak_freed},
	{"live_sleeper_stack", live_sleeper_stack},
	{"live_reader_stack", live_reader_stack},
	{"live_pipe", live_pipe},
	{"live_epoll", live_epoll},
	{"live_timer", live_timer},
	{"live_pool", live_pool},
	{"live_shared", live_shared},
	{"live_os_thread", live_os_thread},
	{"live_cancel", live_cancel},
	{"leak_handle_dropped", leak_handle_dropped},
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
