/* SPDX-License-Identifier: MIT */
/*
 * GNU Pth 2.0.7 (libpth.so.20). Facts measured in docs/runtimes.md.
 *
 * All blocking ends in pth_wait(event ring), and all public calls reach each other through the PLT,
 * so the wrappers here nest: the outermost names the wait, and its frame is where the program's own
 * frames begin. What is waited for is read from the ring at the time of the snapshot; so is whether
 * it has come, as Pth wakes lazily: a thread whose event has occurred stays in the waiting queue
 * until the scheduler looks.
 *
 * Threads end in pth_exit, after which the control block is freed or kept for a joiner: a record is
 * believed only while its thread is in one of the scheduler's queues.
 */
#include <errno.h>
#include <string.h>
#include <sys/time.h>

#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"

#define SONAME "libpth.so.20"
#define RING_MAX 65536u /* events of one ring, mutexes of one thread, message ports */
#define KEYS 256

/* Event types. */
enum {
	EVENT_FD = 1 << 1,
	EVENT_SELECT = 1 << 2,
	EVENT_SIGS = 1 << 3,
	EVENT_TIME = 1 << 4,
	EVENT_MSG = 1 << 5,
	EVENT_MUTEX = 1 << 6,
	EVENT_COND = 1 << 7,
	EVENT_TID = 1 << 8,
	EVENT_FUNC = 1 << 9,
};

enum { STATE_NEW = 1, STATE_READY, STATE_WAITING, STATE_DEAD };
enum { MUTEX_LOCKED = 1 << 1, COND_SIGNALED = 1 << 1, RWLOCK_RW = 1 };

struct ring_node {
	struct ring_node *next;
	struct ring_node *prev;
};

struct pth_mutex {
	struct ring_node node;
	int state;
	struct pth *owner;
	unsigned long count;
};

struct pth_cond {
	unsigned long state;
	unsigned waiters;
};

struct pth_msgport {
	struct ring_node node;
	const char *name;
	struct pth *creator;
	struct ring_node *queue;
	unsigned queued;
};

struct pth_event {
	struct pth_event *next;
	struct pth_event *prev;
	int status; /* 0: pending */
	int type;
	int goal;
	union {
		void *object;
		struct pth_mutex *mutex;
		struct pth_cond *cond;
		struct pth_msgport *port;
		struct pth *thread;
		uintptr_t words[5];
	} args;
};

/* The control block, as far as it is read. */
struct pth {
	struct pth *next;
	struct pth *prev;
	int queue_priority;
	int priority;
	char name[40];
	int dispatches;
	int state;
	struct timeval spawned;
	struct timeval last_ran;
	struct timeval ran;
	struct pth_event *events; /* 120 */
	char signals[136];	  /* sigpending, sigpendcnt */
	char context[1112]; /* 264: what swapcontext saves, and a copy of the signal mask at its end
			     */
	char *stack;	    /* 1376 */
	unsigned stack_size;
	long *guard;
	int stack_loan;
	void *(*start)(void *); /* 1408 */
	void *argument;
	int joinable;
	void *result; /* 1432 */
	void **data;
	int data_count;
	int cancel_requested; /* 1452 */
	unsigned cancel_state;
	void *cleanups;
	struct ring_node *mutexes; /* 1472 */
};

_Static_assert(offsetof(struct pth, events) == 120 && offsetof(struct pth, stack) == 1376 &&
		       offsetof(struct pth, start) == 1408 &&
		       offsetof(struct pth, cancel_requested) == 1452 &&
		       offsetof(struct pth, mutexes) == 1472,
	       "offsets of libpth 2.0.7's control block");

struct pth_queue {
	struct pth *head;
	int count;
};

static const struct lp_wait_kind kinds[] = {
	{"", LP_RULE_LIVE, LP_STATE_WAITING}, /* from the ring */
	{"sync.Mutex.Lock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.RWMutex.RLock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.RWMutex.Lock", LP_RULE_OWNER, LP_STATE_WAITING},
	{"sync.Cond.Wait", LP_RULE_ANY, LP_STATE_WAITING},
	{"barrier wait", LP_RULE_ANY, LP_STATE_WAITING},
	{"join", LP_RULE_JOIN, LP_STATE_WAITING},
};

enum { KIND_WAIT, KIND_MUTEX, KIND_RLOCK, KIND_LOCK, KIND_COND, KIND_BARRIER, KIND_JOIN };

static struct {
	int (*init)(void);
	int (*kill)(void);
	struct pth *(*spawn)(void *, void *(*)(void *), void *);
	void (*exit)(void *) __attribute__((noreturn));
	int (*yield)(struct pth *);
	int (*wait)(struct pth_event *);
	int (*join)(struct pth *, void **);
	int (*mutex_acquire)(struct pth_mutex *, int, struct pth_event *);
	int (*rwlock_acquire)(void *, int, int, struct pth_event *);
	int (*rwlock_release)(void *);
	int (*cond_await)(struct pth_cond *, struct pth_mutex *, struct pth_event *);
	int (*barrier_reach)(void *);
	int (*cancel)(struct pth *);
	int (*abort)(struct pth *);
	int (*resume)(struct pth *);
	int (*key_create)(int *, void (*)(void *));
	int (*atfork_push)(void (*)(void *), void (*)(void *), void (*)(void *), void *);
	struct pth **current;
	struct pth **scheduler_thread;
	void *scheduler;
	void *trampoline;
	struct pth_queue *queues[5];
} real;

enum { QUEUE_SUSPENDED = 4 };

/* Keys of the library's own static events. */
static bool own_keys[KEYS];

/* The program was seen to call what wakes by handle, whatever its import tables say (dlsym). */
static bool cancels;
static bool resumes;

static bool resolve(void)
{
	static const struct {
		void *slot;
		const char *name;
	} symbols[] = {
		{&real.init, "pth_init"},
		{&real.kill, "pth_kill"},
		{&real.spawn, "pth_spawn"},
		{&real.exit, "pth_exit"},
		{&real.yield, "pth_yield"},
		{&real.wait, "pth_wait"},
		{&real.join, "pth_join"},
		{&real.mutex_acquire, "pth_mutex_acquire"},
		{&real.rwlock_acquire, "pth_rwlock_acquire"},
		{&real.rwlock_release, "pth_rwlock_release"},
		{&real.cond_await, "pth_cond_await"},
		{&real.barrier_reach, "pth_barrier_reach"},
		{&real.cancel, "pth_cancel"},
		{&real.abort, "pth_abort"},
		{&real.resume, "pth_resume"},
		{&real.key_create, "pth_key_create"},
		{&real.atfork_push, "pth_atfork_push"},
		{&real.current, "__pth_current"},
		{&real.scheduler_thread, "__pth_sched"},
		{&real.trampoline, "pth_uctx_trampoline_ctx"},
		{&real.queues[0], "__pth_NQ"},
		{&real.queues[1], "__pth_RQ"},
		{&real.queues[2], "__pth_WQ"},
		{&real.queues[3], "__pth_DQ"},
		{&real.queues[QUEUE_SUSPENDED], "__pth_SQ"},
		{&real.scheduler, "__pth_scheduler"},
	};
	size_t i;

	if (real.scheduler)
		return true;
	for (i = 0; i < LP_ARRAY_SIZE(symbols); i++) {
		void *address = lp_next(symbols[i].name, SONAME);

		if (!address) {
			errno = ENOSYS;
			return false;
		}
		memcpy(symbols[i].slot, &address, sizeof(address));
	}
	return true;
}

/* --- In the target --- */

static struct lp_goroutine *self(void)
{
	return *real.current ? lp_goroutine_find(&lp_pth, *real.current) : NULL;
}

/* The calling goroutine, if this is the outermost blocking call that it is in. */
static struct lp_goroutine *outermost(void)
{
	struct lp_goroutine *goroutine = self();

	return goroutine && !goroutine->wait ? goroutine : NULL;
}

LP_EXPORT int pth_init(void)
{
	if (!resolve())
		return 0;
	lp_runtime_seen(&lp_pth);
	return real.init();
}

LP_EXPORT int pth_kill(void)
{
	int r;

	if (!resolve())
		return 0;
	r = real.kill();
	if (r)
		lp_runtime_reset(&lp_pth);
	return r;
}

LP_EXPORT struct pth *pth_spawn(void *attributes, void *(*start)(void *), void *argument)
{
	struct lp_goroutine values = {.entry = (void *)start,
				      .created_pc = __builtin_return_address(0)};
	struct lp_goroutine *creator;
	struct lp_goroutine *old;
	struct pth *thread;

	if (!resolve())
		return NULL;
	creator = self();
	thread = real.spawn(attributes, start, argument);
	if (!thread)
		return NULL;
	/* This build leaves the scheduler's copy of the signal mask uninitialised: it may block any
	 * signal. */
	memset(thread->context + sizeof(thread->context) - 136, 0, 128);
	old = lp_goroutine_find(&lp_pth, thread);
	if (old)
		lp_goroutine_end(old);
	values.handle = thread;
	lp_goroutine_set_stack(&values, thread->stack, thread->stack_size);
	lp_scope_created(&values, creator);
	if (start == (void *(*)(void *)) - 1) {
		values.flags = LP_T_MAIN;
		values.entry = NULL;
		values.created_pc = NULL;
	} else if ((void *)start == real.scheduler) {
		values.flags = LP_T_SERVICE;
	}
	lp_goroutine_new(&lp_pth, &values);
	return thread;
}

/* Also called by the library, when a start function returns and when a thread is cancelled. */
LP_EXPORT __attribute__((noreturn)) void pth_exit(void *value)
{
	struct lp_goroutine *goroutine;

	if (!resolve())
		__builtin_trap();
	goroutine = self();
	if (goroutine) {
		/* Cleanup handlers are to run: a wait in one of them is an outermost one. */
		lp_wait_end(goroutine);
		lp_goroutine_ending(goroutine);
	}
	real.exit(value);
}

/*
 * Every wrapper of a blocking call: publishes the wait around the real call, unless another one
 * has. EXPRESSION is the call.
 */
#define BLOCKING(kind, expression)                                                                 \
	do {                                                                                       \
		struct lp_goroutine *goroutine;                                                    \
		struct lp_wait wait;                                                               \
		int result;                                                                        \
                                                                                                   \
		if (!resolve())                                                                    \
			return 0;                                                                  \
		goroutine = outermost();                                                           \
		if (!goroutine)                                                                    \
			return expression;                                                         \
		lp_wait_begin(goroutine, &wait, &kinds[kind], NULL, __builtin_frame_address(0));   \
		result = expression;                                                               \
		lp_wait_end(goroutine);                                                            \
		return result;                                                                     \
	} while (0)

/* Where a thread of the library runs, and not its scheduler. */
static void yield(void)
{
	if (real.yield && *real.current && *real.current != *real.scheduler_thread)
		real.yield(NULL);
}

LP_EXPORT int pth_yield(struct pth *to)
{
	BLOCKING(KIND_WAIT, real.yield(to));
}

LP_EXPORT int pth_wait(struct pth_event *ring)
{
	BLOCKING(KIND_WAIT, real.wait(ring));
}

LP_EXPORT int pth_join(struct pth *thread, void **value)
{
	BLOCKING(KIND_JOIN, real.join(thread, value));
}

LP_EXPORT int pth_mutex_acquire(struct pth_mutex *mutex, int try_only, struct pth_event *extra)
{
	BLOCKING(KIND_MUTEX, real.mutex_acquire(mutex, try_only, extra));
}

LP_EXPORT int pth_rwlock_acquire(void *lock, int operation, int try_only, struct pth_event *extra)
{
	BLOCKING(operation == RWLOCK_RW ? KIND_LOCK : KIND_RLOCK,
		 real.rwlock_acquire(lock, operation, try_only, extra));
}

/* Giving back a read lock takes the lock's inner mutex. */
LP_EXPORT int pth_rwlock_release(void *lock)
{
	BLOCKING(KIND_MUTEX, real.rwlock_release(lock));
}

LP_EXPORT int pth_cond_await(struct pth_cond *cond, struct pth_mutex *mutex,
			     struct pth_event *extra)
{
	BLOCKING(KIND_COND, real.cond_await(cond, mutex, extra));
}

LP_EXPORT int pth_barrier_reach(void *barrier)
{
	BLOCKING(KIND_BARRIER, real.barrier_reach(barrier));
}

LP_EXPORT int pth_cancel(struct pth *thread)
{
	cancels = true;
	return resolve() ? real.cancel(thread) : 0;
}

LP_EXPORT int pth_abort(struct pth *thread)
{
	cancels = true;
	return resolve() ? real.abort(thread) : 0;
}

LP_EXPORT int pth_resume(struct pth *thread)
{
	resumes = true;
	return resolve() ? real.resume(thread) : 0;
}

/* The library's own static events are kept under keys whose variables lie in its data. */
LP_EXPORT int pth_key_create(int *key, void (*destructor)(void *))
{
	uintptr_t distance;
	int r;

	if (!resolve())
		return 0;
	r = real.key_create(key, destructor);
	distance = (uintptr_t)key - (uintptr_t)real.current + (1u << 16);
	if (r && *key >= 0 && *key < KEYS)
		own_keys[*key] = distance < 2u << 16;
	return r;
}

LP_EXPORT int pth_atfork_push(void (*prepare)(void *), void (*parent)(void *),
			      void (*child)(void *), void *argument)
{
	if (!resolve())
		return 0;
	lp_add_root(argument);
	return real.atfork_push(prepare, parent, child, argument);
}

/* --- In the snapshot --- */

/* A thread that is in one of the scheduler's queues. THREAD is first: lp_vec_floor works on it. */
struct queued {
	uint64_t thread;
	bool suspended;
};

static struct lp_vec queued;

static uintptr_t address(void)
{
	return lp_pth.seen && real.current ? (uintptr_t)real.current : 0;
}

static void add_queued(struct pth *thread, bool suspended)
{
	struct queued entry = {(uintptr_t)thread, suspended};

	lp_vec_push(&queued, &entry);
}

static void read_queues(void)
{
	size_t i;

	queued = LP_VEC(struct queued);
	for (i = 0; i < LP_ARRAY_SIZE(real.queues); i++) {
		struct pth *thread = real.queues[i]->head;
		int left = real.queues[i]->count;

		for (; thread && left-- > 0; thread = thread->next)
			add_queued(thread, i == QUEUE_SUSPENDED);
	}
	if (*real.current)
		add_queued(*real.current, false);
	if (*real.scheduler_thread)
		add_queued(*real.scheduler_thread, false);
	lp_vec_sort(&queued);
}

static const struct queued *find_queued(const void *thread)
{
	long i = lp_vec_floor(&queued, (uintptr_t)thread);
	const struct queued *entry;

	if (i < 0)
		return NULL;
	entry = lp_vec_at(&queued, struct queued, i);
	return entry->thread == (uintptr_t)thread ? entry : NULL;
}

static void locate(struct lp_collection *collection, struct lp_node *node)
{
	const struct pth *thread = node->goroutine->handle;

	(void)collection;
	if (!queued.element)
		read_queues();
	node->handle_high = node->handle_low + sizeof(*thread);
	if (find_queued(thread) && thread->state != STATE_DEAD)
		return;
	node->gone = true;
	node->wait = NULL;
	node->stack_low = node->stack_high = node->scan_low = node->scan_high = 0;
}

/* What a ring of events says. */
struct ring {
	unsigned events;
	bool ready;
	bool io;
	bool timed;
	bool uncertain;
	bool by_thread; /* a lock or a thread is among them */
	struct pth_event *last;
};

static bool has_occurred(const struct pth_event *event)
{
	if (event->status)
		return true;
	switch (event->type) {
	case EVENT_MSG:
		return event->args.port->queued > 0;
	case EVENT_MUTEX:
		return !(event->args.mutex->state & MUTEX_LOCKED);
	case EVENT_COND:
		return event->args.cond->state & COND_SIGNALED;
	case EVENT_TID:
		return event->args.thread && event->args.thread->state == event->goal;
	}
	return false;
}

static void read_event(struct lp_collection *collection, struct pth_event *event, struct ring *ring)
{
	ring->events++;
	ring->last = event;
	ring->ready |= has_occurred(event);
	ring->by_thread |= event->type == EVENT_MUTEX || event->type == EVENT_TID;
	switch (event->type) {
	case EVENT_FD:
	case EVENT_SELECT:
	case EVENT_SIGS:
		ring->io = true;
		return;
	case EVENT_TIME:
		ring->timed = true;
		return;
	case EVENT_FUNC:
		/* The program's function runs on the scheduler's stack. */
		collection->scan_service = true;
		ring->uncertain = true;
		return;
	case EVENT_MSG:
		ring->uncertain |= event->args.port->name != NULL;
		return;
	case EVENT_TID:
		ring->uncertain |= !event->args.thread || event->goal != STATE_DEAD;
		return;
	case EVENT_MUTEX:
	case EVENT_COND:
		return;
	}
	ring->uncertain = true;
}

static void read_ring(struct lp_collection *collection, struct pth_event *first, struct ring *ring)
{
	struct pth_event *event = first;

	memset(ring, 0, sizeof(*ring));
	do {
		read_event(collection, event, ring);
		event = event->next;
	} while (event != first && ring->events < RING_MAX);
	ring->uncertain |= ring->events == RING_MAX;
	/* An owner releases, and a joined thread ends, without anyone reaching anything. */
	ring->uncertain |= ring->events > 1 && ring->by_thread;
}

static const char *label_of(const struct ring *ring)
{
	if (ring->events > 1)
		return "select";
	switch (ring->last->type) {
	case EVENT_MSG:
		return "chan receive";
	case EVENT_MUTEX:
		return "sync.Mutex.Lock";
	case EVENT_COND:
		return "sync.Cond.Wait";
	case EVENT_TID:
		return "join";
	case EVENT_TIME:
		return "sleep";
	}
	return "IO wait";
}

static void add_owner(struct lp_collection *collection, struct lp_node *node,
		      const struct pth *owner)
{
	struct lp_node *found = owner ? lp_verdict_find(&collection->verdicts, owner) : NULL;

	lp_node_owner(&collection->verdicts, node, found);
}

static void add_objects(struct lp_collection *collection, struct lp_node *node,
			struct pth_event *first)
{
	struct pth_event *event = first;

	do {
		lp_node_object(&collection->verdicts, node, event->args.object);
		event = event->next;
	} while (event != first);
}

/* NODE waits for the events of RING: by which rule, and for what. */
static void judge(struct lp_collection *collection, struct lp_node *node, const struct ring *ring,
		  struct pth_event *first)
{
	node->state = LP_STATE_WAITING;
	node->label =
		node->wait && node->wait->kind->label[0] ? node->wait->kind->label : label_of(ring);
	node->rule = LP_RULE_LIVE;
	if (ring->ready) {
		node->state = LP_STATE_RUNNABLE;
		node->label = "";
	} else if (ring->io) {
		node->state = LP_STATE_IO;
	} else if (ring->timed) {
		node->state = LP_STATE_SLEEP;
	} else if (ring->events == 1 && ring->last->type == EVENT_TID && !ring->uncertain) {
		node->rule = LP_RULE_JOIN;
		add_owner(collection, node, ring->last->args.thread);
	} else if (ring->events == 1 && ring->last->type == EVENT_MUTEX) {
		/* Whoever exits releases its locks: an owner that can run is enough. */
		node->rule = LP_RULE_JOIN;
		add_owner(collection, node, ring->last->args.mutex->owner);
	} else if (!ring->uncertain) {
		node->rule = LP_RULE_ANY;
		add_objects(collection, node, first);
	}
}

static void inspect_thread(struct lp_collection *collection, struct lp_node *node,
			   struct pth *thread)
{
	const struct queued *entry = find_queued(thread);
	struct ring ring;

	node->rule = LP_RULE_LIVE;
	node->label = "";
	node->since_ns = (uint64_t)thread->last_ran.tv_sec * 1000000000u +
			 (uint64_t)thread->last_ran.tv_usec * 1000u;
	if (thread == *real.current) {
		node->state = LP_STATE_RUNNING;
	} else if (entry->suspended) {
		node->state = LP_STATE_WAITING;
		node->label = "suspended";
		node->rule = LP_RULE_NEVER;
	} else if (thread->state != STATE_WAITING || thread->cancel_requested || !thread->events) {
		node->state = LP_STATE_RUNNABLE;
	} else {
		read_ring(collection, thread->events, &ring);
		judge(collection, node, &ring, thread->events);
	}
}

/* On a user context a thread waits on another stack than its own, which nothing need refer to. */
static void lay_other_stack(struct lp_collection *collection, struct lp_node *node)
{
	uintptr_t low = (uintptr_t)node->wait;
	const struct lp_region *region = lp_maps_find(&collection->maps, low);
	size_t size = 0;
	uintptr_t block;

	if (!region || (low >= node->stack_low && low < node->stack_high))
		return;
	block = lp_mark_block(collection->mark, low, &size);
	lp_node_extra(&collection->verdicts, node, (void *)low,
		      (void *)(block ? block + size : region->end));
}

/* What belongs to a thread beside its stack is reached through a control block that itself is not
 * followed. */
static void lay_open(struct lp_collection *collection, struct lp_node *node, struct pth *thread)
{
	lp_mark_opaque(collection->mark, (uintptr_t)thread);
	if (thread->stack && !thread->stack_loan)
		lp_mark_opaque(collection->mark, (uintptr_t)thread->stack);
	lp_node_extra(&collection->verdicts, node, &thread->argument, &thread->argument + 1);
	lp_node_extra(&collection->verdicts, node, &thread->data, &thread->data + 1);
	lp_node_extra(&collection->verdicts, node, &thread->cleanups, &thread->cleanups + 1);
	lay_other_stack(collection, node);
	/* Whoever joins a dead thread gets its result, even one that joins any. */
	if (thread->state == STATE_DEAD)
		lp_mark_word(collection->mark, (uintptr_t)thread->result);
}

static bool in_ring(const struct pth_event *first, const struct pth_event *event)
{
	const struct pth_event *at = first;
	unsigned n = 0;

	if (!first)
		return false;
	do {
		if (at == event)
			return true;
		at = at->next;
	} while (at != first && n++ < RING_MAX);
	return false;
}

/* Clears the arguments that EVENT does not use: malloc left there what the memory held before. */
static void forget_words(struct lp_collection *collection, struct pth_event *event, bool waited_for)
{
	size_t used = LP_ARRAY_SIZE(event->args.words);

	if (!waited_for || event->type == EVENT_FD || event->type == EVENT_TIME)
		used = 0;
	else if (event->type == EVENT_MSG || event->type == EVENT_MUTEX ||
		 event->type == EVENT_COND || event->type == EVENT_TID)
		used = 1;
	lp_collect_cut(collection, &event->args.words[used],
		       sizeof(event->args.words) - used * sizeof(uintptr_t));
}

/* The library's static events keep what they were last used for: a thread that no longer waits
 * holds nothing. */
static void forget_old_events(struct lp_collection *collection, struct pth *thread)
{
	size_t i;

	for (i = 0; thread->data && i < KEYS; i++) {
		struct pth_event *event = thread->data[i];

		if (own_keys[i] && event)
			forget_words(collection, event, in_ring(thread->events, event));
	}
}

/* Cuts a ring of mutexes or message ports apart. */
static void cut_ring(struct lp_collection *collection, struct ring_node *first)
{
	struct ring_node *node = first;
	unsigned n = 0;

	while (node && n++ < RING_MAX) {
		struct ring_node *next = node->next;

		lp_collect_cut(collection, node, sizeof(*node));
		node = next == first ? NULL : next;
	}
}

static void cut_mutexes(struct lp_collection *collection, struct ring_node *first)
{
	struct ring_node *node = first;
	unsigned n = 0;

	while (node && n++ < RING_MAX) {
		lp_collect_cut(collection, &((struct pth_mutex *)node)->owner,
			       sizeof(struct pth *));
		node = node->next == first ? NULL : node->next;
	}
	cut_ring(collection, first);
}

/* Every message port is in one ring with every other: one that is waited for leads to all. */
static void cut_ports(struct lp_collection *collection, struct pth_event *first)
{
	struct pth_event *event = first;
	unsigned n = 0;

	do {
		if (event->type == EVENT_MSG && event->args.port->node.next) {
			struct ring_node *node = &event->args.port->node;

			do {
				lp_collect_cut(collection, &((struct pth_msgport *)node)->creator,
					       sizeof(struct pth *));
				node = node->next;
			} while (node != &event->args.port->node && n++ < RING_MAX);
			cut_ring(collection, node);
		}
		event = event->next;
	} while (event != first && n++ < RING_MAX);
}

static void each_node(struct lp_collection *collection,
		      void (*visit)(struct lp_collection *, struct lp_node *, struct pth *))
{
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (node->goroutine->runtime == &lp_pth && find_queued(node->goroutine->handle))
			visit(collection, node, node->goroutine->handle);
	}
}

static void inspect_node(struct lp_collection *collection, struct lp_node *node, struct pth *thread)
{
	lay_open(collection, node, thread);
	if (!lp_node_hidden(node))
		inspect_thread(collection, node, thread);
}

static void cut_links(struct lp_collection *collection, struct lp_node *node, struct pth *thread)
{
	if (thread->events && !lp_node_hidden(node))
		cut_ports(collection, thread->events);
	cut_mutexes(collection, thread->mutexes);
	forget_old_events(collection, thread);
}

static void set_handle_wakes(struct lp_collection *collection)
{
	bool cancelled = cancels || lp_maps_imported(&collection->maps, "pth_cancel") ||
			 lp_maps_imported(&collection->maps, "pth_abort");
	bool resumed = resumes || lp_maps_imported(&collection->maps, "pth_resume");
	struct lp_vec *nodes = &collection->verdicts.nodes;
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (node->goroutine->runtime == &lp_pth)
			node->handle_wakes = cancelled || (resumed && node->rule == LP_RULE_NEVER);
	}
}

static void inspect(struct lp_collection *collection, struct lp_runtime *runtime)
{
	uintptr_t trampoline = (uintptr_t)real.trampoline;

	(void)runtime;
	each_node(collection, inspect_node);
	set_handle_wakes(collection);
	lp_mark_range(collection->mark, trampoline, trampoline + 5 * sizeof(void *));
}

static void cut(struct lp_collection *collection, struct lp_runtime *runtime)
{
	(void)runtime;
	each_node(collection, cut_links);
}

static const struct lp_adapter adapter = {yield, NULL, address, locate, inspect, cut};

struct lp_runtime lp_pth = {.adapter = &adapter, .name = "GNU Pth"};
