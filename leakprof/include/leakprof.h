/* SPDX-License-Identifier: MIT */
/*
 * leakprof's public interface: a coroutine runtime that is linked statically, or is the program's
 * own, tells by these calls what leakprof learns of others by interposing; and any program can ask
 * for a snapshot.
 *
 * Nothing is linked: each call looks for the preloaded shim (libleakprof.so) by one weak symbol,
 * and without the shim it is a load and a branch. With it, a wait is a record on the waiter's own
 * stack, published by one store and withdrawn by another: no lock, no allocation, no system call.
 * C99 or C++, gcc or clang, x86-64 Linux. docs/annotate-your-runtime.md takes an author through it,
 * with examples/minigo/ as the example.
 *
 * Words: a goroutine is a coroutine, whatever the runtime calls it. Its control block is the
 * runtime's own record of it, and the block's address is the handle by which other objects name it
 * (a lock its owner). A wait object is what a goroutine waits on.
 *
 * Threads: any OS thread may make any call, for any goroutine, as long as calls for one goroutine
 * do not race with each other: what the runtime's own lock or hand-over guarantees anyway. All but
 * leakprof_created and leakprof_collect may be made in signal handlers.
 *
 * What is uncertain counts as live: what an annotation leaves out may hide a leak, but a wrong one
 * (an object that a waiter does not wait on, memory called internal that holds the program's only
 * pointer) can make leakprof report what is none. The option check_annotations=1 finds misuse that
 * can be found.
 */
#ifndef LEAKPROF_H
#define LEAKPROF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with what is added; nothing is ever taken away or changed in meaning. */
#define LEAKPROF_ABI 1

struct leakprof_runtime;

/* --- Kinds of waits: constants of the runtime --- */

enum leakprof_rule {
	LEAKPROF_LIVE = 0,  /* can always go on: sleep, I/O, a deadline */
	LEAKPROF_ANY = 1,   /* when its object is reached, or any of several: channels, conditions,
			       semaphores */
	LEAKPROF_OWNER = 2, /* when its object is reached and an owner of it can run: locks that
			       only their owner releases */
	LEAKPROF_JOIN = 3,  /* when the goroutine whose handle is the object can run */
	LEAKPROF_NEVER = 4  /* never: a select without cases */
};

enum leakprof_state {
	LEAKPROF_WAITING = 0,
	LEAKPROF_IO = 1,   /* for a descriptor */
	LEAKPROF_SLEEP = 2 /* for a time */
};

struct leakprof_kind {
	uint32_t size;	   /* sizeof(struct leakprof_kind) */
	uint32_t rule;	   /* enum leakprof_rule */
	uint32_t state;	   /* enum leakprof_state */
	uint32_t reserved; /* 0 */
	const char *
		name; /* Go's words where Go has one: "chan receive", "select", "sync.Mutex.Lock" */

	/* Bytes of the object that lead to those who wait for it: not followed. QUEUE_SIZE 0: none.
	 */
	uint32_t queue_offset;
	uint32_t queue_size;

	/*
	 * LEAKPROF_OWNER: the handles of those who hold OBJECT, or for whom WAITER must wait first,
	 * one a call. *CURSOR is NULL at first and the function's own from then on. NULL: no more;
	 * nobody at all: it is free, and the waiter can go on. LEAKPROF_OWNER_UNKNOWN: somebody who
	 * is no goroutine. A handle whose goroutine has ended is nobody who can release. It runs in
	 * the snapshot, on a frozen copy of the program: it reads memory and calls nothing.
	 */
	const void *(*owner)(const void *object, const void *waiter, void **cursor);
};

#define LEAKPROF_OWNER_UNKNOWN ((const void *)-1)

/* One of several things that a goroutine waits for. OBJECT NULL: it never comes. */
struct leakprof_case {
	const void *object;
	const struct leakprof_kind *kind; /* for its queue */
};

/* --- Goroutines --- */

/* On the stack of who waits, in the frame of the runtime's public function, until it goes on. */
struct leakprof_wait {
	const struct leakprof_kind *kind;
	void *frame;
	void *registers[5];
	const void *object; /* or an array of COUNT struct leakprof_case; NULL: it never comes */
	size_t count;	    /* 0: OBJECT is the object itself */
	uint64_t since_ns;  /* CLOCK_REALTIME when the wait began, where the runtime knows it
			       cheaply; 0: unknown */
};

/* What annotations write. What lies behind is leakprof's. */
struct leakprof_goroutine {
	struct leakprof_wait *wait; /* NULL: it does not wait */
	void *sp;		    /* where its stack was left; NULL: it runs, or never did */
	uint32_t checked;	    /* check_annotations=1 */
	uint32_t waits;		    /* begun so far, modulo 2^32 */
};

enum leakprof_flag {
	LEAKPROF_CANCELLABLE =
		1, /* whoever holds its handle can make it go on, whatever it waits for */
	LEAKPROF_SERVICE = 2, /* the runtime's own (a scheduler, an idle loop): never reported, its
				 stack keeps nothing alive */
	LEAKPROF_MAIN = 4     /* the code that started the runtime, on its OS thread's own stack */
};

struct leakprof_label {
	const char *key;
	const char *value;
};

/* A new goroutine. Set all to zero first; what is zero is unknown. */
struct leakprof_new {
	uint32_t size;	    /* sizeof(struct leakprof_new) */
	uint32_t flags;	    /* enum leakprof_flag bits */
	const void *handle; /* its control block, which itself is not followed */
	size_t handle_size;
	const void
		*data; /* the part of it that holds the program's words: saved registers, argument,
			  a value on its way in. Scanned with the goroutine. NULL: all of it */
	size_t data_size;
	void *stack; /* lowest address; NULL: the stack of the calling OS thread */
	size_t stack_size;
	const void *entry;	/* the function that it runs, for people */
	const void *created_pc; /* return address into the program's code; NULL: that of the
				   annotation */
	struct leakprof_goroutine *creator; /* NULL: unknown */
	const char *name;		    /* for people; must last as long as the goroutine */
};

/* --- Leak checks --- */

enum leakprof_mode {
	LEAKPROF_UNREACHABLE = 0, /* nothing can make them go on: no false positives */
	LEAKPROF_ALIVE = 1	  /* all that are still there, but main and the runtime's own */
};

/* What a check is to do. Set all to zero first; zero, or NULL in place of it, is usual. */
struct leakprof_check_info {
	uint32_t size;	    /* sizeof(struct leakprof_check_info) */
	uint32_t mode;	    /* enum leakprof_mode */
	uint64_t settle_ns; /* LEAKPROF_ALIVE: how long goroutines may take to end. They come to run
			       meanwhile, where the runtime is interposed or has leakprof_settle_by
			     */
	const char *suppressions; /* lines as in a file of suppressions; NULL: none */

	/* Gets the report, in pieces of LENGTH bytes, when there is something to tell. NULL: it
	 * goes to standard error. */
	void (*sink)(void *context, const char *text, size_t length);
	void *context;
};

/* A scope: see leakprof_scope_begin. */
struct leakprof_scope;

/* --- Statistics --- */

#define LEAKPROF_STATS_VERSION 1
#define LEAKPROF_STATS_KINDS 24
#define LEAKPROF_STATS_NAME 32

struct leakprof_stats_kind {
	char name[LEAKPROF_STATS_NAME]; /* of the wait: "chan receive"; cut off where it is long */
	uint64_t count;
};

/*
 * What a process's goroutines do at the moment. Nothing is stopped to find out, so that one which
 * goes on just then may count as waiting still. Times are nanoseconds since 1970, durations
 * nanoseconds. New members come at the end.
 */
struct leakprof_stats {
	uint32_t size;	   /* given: sizeof(struct leakprof_stats); returned: what was filled */
	uint32_t version;  /* LEAKPROF_STATS_VERSION */
	uint64_t time_ns;  /* of this look */
	uint64_t start_ns; /* of the process, or of its last fork */
	uint64_t created;  /* ever, as finished */
	uint64_t finished;
	uint64_t running; /* live ones, by state */
	uint64_t runnable;
	uint64_t waiting;
	uint64_t io;
	uint64_t sleeping;
	uint64_t threads; /* OS threads that leakprof knows */

	uint64_t snapshots; /* ever begun */
	uint64_t failures;  /* of them: failed */
	uint64_t pause_ns;  /* all of them together: for how long the program was stopped */

	/* The last snapshot that told live from leaked; SNAPSHOT_NS 0: there was none. */
	uint64_t snapshot_ns;
	uint64_t leaked;
	uint64_t last_pause_ns;
	uint64_t last_duration_ns; /* trigger to result */
	uint64_t last_bytes;	   /* memory that it took, beside the program's */
	uint64_t target_bytes;	   /* memory of leakprof in the program */

	uint32_t dormant;    /* leakprof gave up in this process */
	uint32_t kind_count; /* of KINDS: what those that wait, or are in I/O or asleep, wait in */
	struct leakprof_stats_kind kinds[LEAKPROF_STATS_KINDS];
};

/* --- The shim's side --- */

struct leakprof_api {
	uint32_t size; /* of what this shim has */
	uint32_t abi;
	struct leakprof_runtime *(*runtime)(const char *name);
	struct leakprof_goroutine *(*created)(struct leakprof_runtime *,
					      const struct leakprof_new *);
	void (*finished)(struct leakprof_goroutine *);
	void (*internal)(const void *address, size_t size);
	void (*root)(const void *address, size_t size);
	void (*forget)(const void *address);
	void (*ignore)(struct leakprof_goroutine *);
	void (*ignore_object)(const void *address);
	void (*name)(struct leakprof_goroutine *, const char *name);
	void (*labels)(struct leakprof_goroutine *, const struct leakprof_label *, size_t count);
	int (*collect)(void);
	void (*check)(struct leakprof_goroutine *, int call, const void *argument);
	int (*leak_check)(const struct leakprof_check_info *);
	struct leakprof_scope *(*scope_begin)(void);
	int (*scope_end)(struct leakprof_scope *, const struct leakprof_check_info *);
	void (*ignore_current)(void);
	void (*settle_by)(struct leakprof_runtime *, void (*yield)(void));
	int (*stats)(struct leakprof_stats *);
};

extern const struct leakprof_api leakprof_api_v1;

/* Behind `checked`: which call it was. */
enum leakprof_call {
	LEAKPROF_CALL_WAIT_BEGIN = 1,
	LEAKPROF_CALL_WAIT_END,
	LEAKPROF_CALL_READY,
	LEAKPROF_CALL_LEFT,
	LEAKPROF_CALL_ENTERED
};

#define LEAKPROF_INLINE static inline __attribute__((always_inline, unused))

/* The shim's functions, or NULL. By the GOT also in a program that is not position-independent:
 * only so does the linker leave a weak symbol to the dynamic one. */
LEAKPROF_INLINE const struct leakprof_api *leakprof_api(void)
{
	const struct leakprof_api *api;

	__asm__(".weak leakprof_api_v1\n\tmovq leakprof_api_v1@GOTPCREL(%%rip), %0" : "=r"(api));
	return api;
}

/* Whether the shim has MEMBER: an older one may not. */
#define LEAKPROF_HAS(api, member)                                                                  \
	((api) && (api)->size >= offsetof(struct leakprof_api, member) + sizeof((api)->member))

/* Whether the shim is there. A test that wants leaks checked can insist on it. */
LEAKPROF_INLINE int leakprof_available(void)
{
	return leakprof_api() != NULL;
}

/* --- Annotations: life of a runtime and its goroutines --- */

/* A runtime, once, before its first goroutine. NAME is for people and must last. NULL without the
 * shim, or when it has no room. */
LEAKPROF_INLINE struct leakprof_runtime *leakprof_runtime(const char *name)
{
	const struct leakprof_api *api = leakprof_api();

	return __builtin_expect(api != NULL, 0) ? api->runtime(name) : NULL;
}

/*
 * A goroutine exists from here on: after its stack is laid out, before it can run. *INFO is copied.
 * Returns what the other calls take, which the runtime keeps in its control block: NULL without the
 * shim, and all calls do nothing with NULL.
 */
LEAKPROF_INLINE struct leakprof_goroutine *leakprof_created(struct leakprof_runtime *runtime,
							    const struct leakprof_new *info)
{
	const struct leakprof_api *api = leakprof_api();

	return __builtin_expect(api != NULL, 0) ? api->created(runtime, info) : NULL;
}

/* It has ended: nothing of it runs any more; its stack and control block may be used again at once.
 */
LEAKPROF_INLINE void leakprof_finished(struct leakprof_goroutine *goroutine)
{
	if (__builtin_expect(goroutine != NULL, 0))
		leakprof_api()->finished(goroutine);
}

/* --- Annotations: running and waiting --- */

LEAKPROF_INLINE void leakprof_tell(struct leakprof_goroutine *goroutine, int call,
				   const void *argument)
{
	if (__builtin_expect(goroutine->checked != 0, 0))
		leakprof_api()->check(goroutine, call, argument);
}

/*
 * It is about to be switched away from, with its stack in use from SP up; its callee-saved
 * registers are on that stack or in the control block's data. Without this call its whole stack is
 * scanned while it does not run: right, but stale words there can hide leaks.
 */
LEAKPROF_INLINE void leakprof_left(struct leakprof_goroutine *goroutine, void *sp)
{
	if (__builtin_expect(goroutine != NULL, 0)) {
		leakprof_tell(goroutine, LEAKPROF_CALL_LEFT, sp);
		__atomic_store_n(&goroutine->sp, sp, __ATOMIC_RELEASE);
	}
}

/* It is about to be switched to, on the calling OS thread. */
LEAKPROF_INLINE void leakprof_entered(struct leakprof_goroutine *goroutine)
{
	if (__builtin_expect(goroutine != NULL, 0)) {
		leakprof_tell(goroutine, LEAKPROF_CALL_ENTERED, NULL);
		__atomic_store_n(&goroutine->sp, (void *)0, __ATOMIC_RELEASE);
	}
}

/*
 * GOROUTINE, which calls this, is about to wait as KIND says for OBJECT (see struct leakprof_wait).
 * WAIT lies in the frame of the caller, whose own caller's code is what people see as blocked: call
 * this in the runtime's public function. It must come before anyone can find the goroutine in a
 * queue. SINCE_NS: 0 where it is not known cheaply.
 */
LEAKPROF_INLINE void leakprof_wait_begin(struct leakprof_goroutine *goroutine,
					 struct leakprof_wait *wait,
					 const struct leakprof_kind *kind, const void *object,
					 size_t count, uint64_t since_ns)
{
	if (__builtin_expect(goroutine == NULL, 1))
		return;
	wait->kind = kind;
	wait->frame = __builtin_frame_address(0);
	wait->object = object;
	wait->count = count;
	wait->since_ns = since_ns;
	__asm__ volatile("movq %%rbx, %0\n\tmovq %%r12, %1\n\tmovq %%r13, %2\n\t"
			 "movq %%r14, %3\n\tmovq %%r15, %4"
			 : "=m"(wait->registers[0]), "=m"(wait->registers[1]),
			   "=m"(wait->registers[2]), "=m"(wait->registers[3]),
			   "=m"(wait->registers[4]));
	leakprof_tell(goroutine, LEAKPROF_CALL_WAIT_BEGIN, wait);
	goroutine->waits++;
	__atomic_store_n(&goroutine->wait, wait, __ATOMIC_RELEASE);
}

/* GOROUTINE goes on. */
LEAKPROF_INLINE void leakprof_wait_end(struct leakprof_goroutine *goroutine)
{
	if (__builtin_expect(goroutine != NULL, 0)) {
		leakprof_tell(goroutine, LEAKPROF_CALL_WAIT_END, NULL);
		__atomic_store_n(&goroutine->wait, (struct leakprof_wait *)0, __ATOMIC_RELEASE);
	}
}

/* GOROUTINE, which waits, will go on: called by who wakes it, before or in the same step as it is
 * taken out of the queue. */
LEAKPROF_INLINE void leakprof_ready(struct leakprof_goroutine *goroutine)
{
	if (__builtin_expect(goroutine != NULL, 0)) {
		leakprof_tell(goroutine, LEAKPROF_CALL_READY, NULL);
		__atomic_store_n(&goroutine->wait, (struct leakprof_wait *)0, __ATOMIC_RELEASE);
	}
}

/* --- Annotations: memory --- */

/*
 * SIZE bytes at ADDRESS are the runtime's own and lead from goroutine to goroutine or from objects
 * to waiters (lists of all goroutines, run queues): never followed. Nothing that only they point to
 * may be the program's. Until leakprof_forget.
 */
LEAKPROF_INLINE void leakprof_internal(const void *address, size_t size)
{
	const struct leakprof_api *api = leakprof_api();

	if (__builtin_expect(api != NULL, 0))
		api->internal(address, size);
}

/* The words in SIZE bytes at ADDRESS count as reached: in internal memory, or in memory that
 * leakprof does not see. */
LEAKPROF_INLINE void leakprof_root(const void *address, size_t size)
{
	const struct leakprof_api *api = leakprof_api();

	if (__builtin_expect(api != NULL, 0))
		api->root(address, size);
}

/* Takes back leakprof_internal, leakprof_root or leakprof_ignore_object of that ADDRESS: before the
 * memory is given back. */
LEAKPROF_INLINE void leakprof_forget(const void *address)
{
	const struct leakprof_api *api = leakprof_api();

	if (__builtin_expect(api != NULL, 0))
		api->forget(address);
}

/* --- For people --- */

/* GOROUTINE is never reported, and keeps alive what it holds. */
LEAKPROF_INLINE void leakprof_ignore(struct leakprof_goroutine *goroutine)
{
	if (__builtin_expect(goroutine != NULL, 0))
		leakprof_api()->ignore(goroutine);
}

/* The object at ADDRESS counts as reached: who waits for it is not reported. Until leakprof_forget.
 */
LEAKPROF_INLINE void leakprof_ignore_object(const void *address)
{
	const struct leakprof_api *api = leakprof_api();

	if (__builtin_expect(api != NULL, 0))
		api->ignore_object(address);
}

/* NAME is not copied: it must last as long as the goroutine, or until it gets another. NULL: none.
 */
LEAKPROF_INLINE void leakprof_name(struct leakprof_goroutine *goroutine, const char *name)
{
	if (__builtin_expect(goroutine != NULL, 0))
		leakprof_api()->name(goroutine, name);
}

/* Labels of the profile's samples, as Go's. The array is not copied. */
LEAKPROF_INLINE void leakprof_labels(struct leakprof_goroutine *goroutine,
				     const struct leakprof_label *labels, size_t count)
{
	if (__builtin_expect(goroutine != NULL, 0))
		leakprof_api()->labels(goroutine, labels, count);
}

/* YIELD lets other goroutines of RUNTIME run for a moment, wherever it is called. A check with
 * LEAKPROF_ALIVE calls it, so that what is about to end can. */
LEAKPROF_INLINE void leakprof_settle_by(struct leakprof_runtime *runtime, void (*yield)(void))
{
	if (__builtin_expect(runtime != NULL, 0) && LEAKPROF_HAS(leakprof_api(), settle_by))
		leakprof_api()->settle_by(runtime, yield);
}

/* --- Leak checks, for tests --- */

/*
 * Checks now, as often as one likes, and returns the number of leaked goroutines; the report says
 * where they are. The calling OS thread waits for it, the others are stopped for milliseconds.
 * -ENODATA: nothing was measured (the report says why), so that there is no zero; -ENOSYS: the shim
 * is not there, or is older than this header; -EINVAL: the suppressions are not valid (the report
 * says where); another negative errno: the check failed. Not in signal handlers.
 */
LEAKPROF_INLINE int leakprof_check(const struct leakprof_check_info *info)
{
	const struct leakprof_api *api = leakprof_api();

	return LEAKPROF_HAS(api, leak_check) ? api->leak_check(info) : -38 /* -ENOSYS */;
}

/*
 * From here on, what the calling goroutine (or OS thread, where it runs none) creates is in a scope
 * of its own, and what those create in turn. Tests that run side by side each have theirs. A scope
 * that is begun inside another one counts for both. NULL without the shim.
 */
LEAKPROF_INLINE struct leakprof_scope *leakprof_scope_begin(void)
{
	const struct leakprof_api *api = leakprof_api();

	return LEAKPROF_HAS(api, scope_begin) ? api->scope_begin() : (struct leakprof_scope *)0;
}

/* Ends SCOPE, called where it was begun, and checks as leakprof_check does, only for goroutines
 * born in it. Without a goroutine that still exists this is quick. */
LEAKPROF_INLINE int leakprof_scope_end(struct leakprof_scope *scope,
				       const struct leakprof_check_info *info)
{
	return scope ? leakprof_api()->scope_end(scope, info) : -38 /* -ENOSYS */;
}

/* Later checks, also the one of `leakprof check` at exit, leave all goroutines aside that exist
 * now.
 */
LEAKPROF_INLINE void leakprof_ignore_current(void)
{
	const struct leakprof_api *api = leakprof_api();

	if (LEAKPROF_HAS(api, ignore_current))
		api->ignore_current();
}

/*
 * A program may define this: lines as in a file of suppressions, for all its checks. It is looked
 * up by name when the program starts: in an executable it has to be exported (link with -rdynamic).
 */
const char *leakprof_default_suppressions(void);

/* --- For any program --- */

/*
 * Takes a snapshot now: its profile goes where the option `output` says, or to `leakprof run`.
 * Returns when the program may go on, not when the profile is written. 0; -ENOSYS without the shim;
 * -EBUSY when another is under way (this one then follows it); another negative errno when it
 * failed.
 */
LEAKPROF_INLINE int leakprof_collect(void)
{
	const struct leakprof_api *api = leakprof_api();

	return __builtin_expect(api != NULL, 0) ? api->collect() : -38 /* -ENOSYS */;
}

/*
 * Fills *STATS, for a metrics endpoint of the program's own; STATS->size is set before. Any thread
 * may call it, also in a goroutine: it takes some 4 KiB of stack, no lock, no memory, and about 0.5
 * to 5 us for each goroutine. 0; -ENOSYS without the shim, or with an older one.
 */
LEAKPROF_INLINE int leakprof_stats(struct leakprof_stats *stats)
{
	const struct leakprof_api *api = leakprof_api();

	if (api == NULL || api->size <= offsetof(struct leakprof_api, stats))
		return -38; /* -ENOSYS */
	return api->stats(stats);
}

#ifdef __cplusplus
}
#endif

#endif
