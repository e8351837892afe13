/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the shim offer each other. All of it runs inside the target: libc only, no
 * malloc but the program's own calls passing through, no stdio, errno kept. Nothing here exits or
 * prints.
 */
#ifndef LP_HOOKS_TARGET_H
#define LP_HOOKS_TARGET_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/goroutine.h"
#include "core/options.h"
#include "core/runtime.h"
#include "core/stream.h"
#include "core/thread.h"

struct leakprof_stats;

#define LP_EXPORT __attribute__((visibility("default")))

/* --- init.c --- */

extern struct lp_options lp_options;

/* The process that was initialised; another getpid() is a child made without fork handlers. 0: not
 * yet. */
extern int lp_pid;

/* It is a child that goes on with its parent's program. */
extern bool lp_forked;
/* The signal that the options name, before they are read. 0: none. */
int lp_signal_wanted(void);

/* Why leakprof gave up in this process; NULL: it has not. */
extern const char *lp_dormant_reason;

/* Gives up: hooks go on passing through, and collections say REASON (a constant). */
void lp_dormant(const char *reason);

/* --- exit.c --- */

/* Registers the collection at exit. Returns 0 or -errno. */
int lp_exit_init(void);

/* After fork: the child has an exit of its own. */
void lp_exit_after_fork(void);

/* Whether an exit or the like should still be collected. */
bool lp_awake(void);

/*
 * The next definition of SYMBOL behind ours. SONAME is tried where it was loaded out of the global
 * scope (dlopen with RTLD_LOCAL). NULL: there is none.
 */
void *lp_next(const char *symbol, const char *soname);

/* The program's name without its folder. */
const char *lp_program_name(void);

/* --- heap.c --- */

/* The program's malloc_usable_size, or NULL when there is none. */
size_t (*lp_heap_usable(void))(void *);

/* Why blocks are not tracked (a constant), or NULL when they are. */
const char *lp_heap_untracked(void);

/* What weakens the verdicts though the heap is tracked, or NULL. */
const char *lp_heap_warning(void);

/* --- sanitizer.c --- */

/* Whether a sanitizer's allocator tells us of its blocks. */
bool lp_sanitizer_allocates(void);

/* Its malloc_usable_size, which says what was asked for. */
size_t lp_sanitizer_usable(void *block);

/* Has a sanitizer call FUNCTION when it ends the process for what it found. */
void lp_sanitizer_on_death(void (*function)(void));

/* Whether pthread_create is called for a thread of the sanitizer's own, which must not run ours. */
bool lp_sanitizer_is_calling(void);

/* Whether threads cannot be known from their start, as the sanitizer's comes first. */
bool lp_sanitizer_starts_threads(void);

/* Whether TID is a thread of the sanitizer's own: it blocks all signals, so that it is not stopped,
 * and knows nothing of the program's. */
bool lp_sanitizer_thread(int tid);

/* --- threads.c --- */

extern __thread struct lp_thread *lp_self __attribute__((tls_model("initial-exec")));

/* Registers the calling thread: stack bounds, alternate signal stack. */
void lp_thread_enter(void);

/* A slot without an alternate stack, for a thread that nobody registered. NULL: none is left. */
struct lp_thread *lp_thread_claim(int tid);

void lp_thread_release(struct lp_thread *thread);

/* After fork: only the calling thread exists. */
void lp_threads_after_fork(void);

/* --- signals.c --- */

/* The signal that triggers collections and stops threads. */
extern int lp_signal;

/* si_code of the coordinator's own signals: below zero, as the kernel asks of those a process
 * queues. */
#define LP_STOP_CODE (-31)

/* Installs the handler. Returns 0, -EBUSY when the program already uses the signal, or -errno. */
int lp_signals_init(void);

/* Lets the signal in, which the program before this one (exec.c) may have blocked: one may wait. */
void lp_signals_open(void);

/* SET without our signal: SET itself where it is NULL, else COPY, filled. */
const sigset_t *lp_without_signal(const sigset_t *set, sigset_t *copy);

/* --- queued.c --- */

/* What was sent with queued signals: *COUNT words. *LOST: there were more. */
const uintptr_t *lp_queued_values(size_t *count, bool *lost);

/* --- annotate.c --- */

#define LP_ANNOTATED_MAX 8 /* runtimes */

/* What the program says of its memory (leakprof.h). */
enum lp_region_use { LP_USE_NONE, LP_USE_INTERNAL, LP_USE_ROOT, LP_USE_IGNORED };

struct lp_annotation {
	uintptr_t address;
	size_t size;
	enum lp_region_use use;
};

/* The table: *COUNT slots, those of LP_USE_NONE unused. For the snapshot. */
const struct lp_annotation *lp_annotations(size_t *count);

void lp_annotations_after_fork(void);

/* --- check.c: with check_annotations=1 --- */

struct leakprof_goroutine;
struct leakprof_new;

enum { LP_CHECK_FINISHED = 100 }; /* beside enum leakprof_call */

/* Say on stderr what is wrong with a call, if anything is. */
void lp_check_new(const struct leakprof_new *info, const void *caller);
void lp_check_call(struct leakprof_goroutine *goroutine, int call, const void *argument,
		   const void *caller);

/* --- restart.c --- */

/* Called by the handler: makes the system call that our signal interrupted be made again. */
void lp_restart(void *ucontext);

/* --- exec.c --- */

/* Resolves the calls, as a child of fork must not. */
void lp_exec_init(void);

/* --- limits.c --- */

/* The number of this process in /proc, which may be of an outer PID namespace; -errno: there is no
 * /proc. */
int lp_proc_pid(void);

/* Reads /proc/self/timers. False: it does not fit, or cannot be read. */
bool lp_own_timers(char *text, size_t size);

/* Whether the program's address space is limited: then we map nothing large that we can do without.
 */
bool lp_limits_memory(void);

/* In the snapshot process: no limit of the program's kills it or leaves it without descriptors. */
void lp_limits_lift(void);

/* In a process that shares the target's memory: closes its copies of the target's descriptors. */
void lp_limits_close_all(void);

/* --- stop.c --- */

/* In the handler of a thread that is not the coordinator: parks while a stop is under way. */
void lp_stop_here(struct lp_thread *thread, void *context);

/*
 * Stops all other threads; the caller's registers are those of CONTEXT (a ucontext_t), or, when
 * that is NULL, of a call whose frames start at SP. Returns 0, or -errno after releasing them
 * again.
 */
int lp_stop_world(struct lp_thread *self, void *context, uintptr_t sp);
void lp_start_world(struct lp_thread *self);
void lp_stop_after_fork(void);

/* --- scopes.c: which goroutines a leak check is about --- */

struct leakprof_scope;

/* Sets who created VALUES, and its scope: that of CREATOR (NULL: unknown, or no goroutine), else of
 * the calling thread. */
void lp_scope_created(struct lp_goroutine *values, const struct lp_goroutine *creator);

struct leakprof_scope *lp_scope_begin(void);

/* The calling thread, or the goroutine that it runs, goes back to what was before SCOPE. */
void lp_scope_end(struct leakprof_scope *scope);

/* After fork: nobody else begins a scope. */
void lp_scope_after_fork(void);

/* All goroutines that exist now are left aside by leak checks. */
void lp_scope_ignore_current(void);

/* Whether GOROUTINE is left aside by a check of SCOPE (NULL: of all). */
bool lp_scope_is_aside(const struct lp_goroutine *goroutine, const struct leakprof_scope *scope);

/* Goroutines that exist and that a check of SCOPE is about, main and those of runtimes not counted.
 */
size_t lp_scope_count(const struct leakprof_scope *scope);

/* Waits until there are none, as long as NANOSECONDS, and lets them run. */
void lp_scope_settle(const struct leakprof_scope *scope, uint64_t nanoseconds);

/* --- leak_check.c --- */

struct leakprof_check_info;

/* The program's own suppressions (leakprof_default_suppressions), or NULL. Not for the snapshot. */
const char *lp_default_suppressions(void);

/* leakprof_check and leakprof_scope_end. SP: where the caller's frames start. */
int lp_leak_check(const struct leakprof_check_info *info, const struct leakprof_scope *scope,
		  uintptr_t sp);

/* --- snapshot.c --- */

/* LP_TRIGGER_CHECK: what is checked, and who wants to know. */
struct lp_check_request {
	const struct leakprof_scope *scope;
	const char *suppressions;
	bool alive; /* all that are there, not only what is unreachable */
	int reply;  /* where the reporter's answer goes (leak_check.c) */
};

struct lp_request {
	enum lp_trigger trigger;
	const struct lp_check_request *check;
	const char *suppressions; /* the program's own, or NULL */
	uint64_t token;		  /* LP_TRIGGER_SIGNAL: names the requester's socket */
};

/*
 * Collects, or queues the request when a collection is under way; one for a check is not queued.
 * CONTEXT is the ucontext_t of the
 * signal that brought it, NULL for a call; SP then is where the caller's frames start. Returns 0,
 * -EBUSY when queued, or -errno when the collection failed before there was a snapshot process to
 * say so.
 */
int lp_collect(const struct lp_request *request, void *context, uintptr_t sp);

/* The snapshot process, or the scout, may have ended. CONTEXT is the ucontext_t of the signal that
 * says so. */
void lp_snapshot_ended(void *context);

/* What STATS says of collections. */
void lp_snapshot_stats(struct leakprof_stats *stats);

/* Ends the snapshot processes that still run. */
void lp_snapshot_end(void);

/* Goroutines ended that nothing had made go on: what earlier snapshots said of them is no
 * contradiction. */
void lp_snapshot_forget(void);

/* Maps the control page that advertises us (protocol.h). Returns 0 or -errno. */
int lp_snapshot_init(void);
void lp_snapshot_after_fork(void);

/* A word that an adapter keeps for its library, where marking would not find it: a root. */
void lp_add_root(const void *word);

/* Memory that the program took from the kernel where the allocator has its heap (sbrk): a pool. */
void lp_add_pool(uintptr_t low, uintptr_t high);

/* --- connect.c: in a process beside the target --- */

/* Each returns a connected descriptor above 2, or -errno. */
int lp_connect_name(const char *name);

/* PATIENT: waits while the requester has too many others to accept. */
int lp_connect_token(uint64_t token, bool patient);

/* --- stats.c --- */

/* Has another process send statistics to the requester of TOKEN. In the signal handler. */
void lp_stats_send(uint64_t token);

/* Such a process may have ended. */
void lp_stats_reap(void);

/* Fills *STATS, whose size says how much of it there is. Returns 0 or -errno. */
int lp_stats_read(struct leakprof_stats *stats);

void lp_stats_after_fork(void);
/* --- pause.c --- */

#define LP_PAUSE_REASON_MAX 192

/* With max_pause: tries what a clone takes here. */
void lp_pause_init(void);

/* Whether a snapshot made now would keep to max_pause, as far as can be told at once: never yes
 * where it would not, perhaps no where it would. Cheap. */
bool lp_pause_allowed(void);

/* The same after a look at the page tables, which takes long: for the scout. If not it writes why
 * to REASON, of LP_PAUSE_REASON_MAX bytes. */
bool lp_pause_look(char *reason);

/* How long threads may take to stop, and whether that is because of max_pause. */
uint64_t lp_pause_stop_ns(void);
bool lp_pause_short(void);

/* What a clone took of CPU time, and the stop without it. */
void lp_pause_learn(uint64_t clone_ns, uint64_t rest_ns);

/* --- deliver.c: in the snapshot process --- */

struct lp_collection;
struct lp_collect_input;

/* Where the stream goes. FD is a connected socket, or -1: a reporter is started once there is
 * something to say. */
struct lp_delivery {
	const struct lp_request *request;
	uint32_t serial;
	uint64_t seconds;
	int fd;
	bool shared; /* in the target's memory, which goes on: the program's is not read */
	char output[LP_PATH_MAX];
};

/* Fills in OUTPUT from the rest. */
void lp_deliver_name(struct lp_delivery *delivery);

/* Connects to the requester, if there is one. Returns 0 or -errno. */
int lp_deliver_open(struct lp_delivery *delivery);

/* Sends the stream, or has a reporter write the profile. Returns 0 or -errno. */
int lp_deliver(struct lp_delivery *delivery, struct lp_collection *collection);

/*
 * Says that there is no collection, and why: to who asked, or in the log. Needs no memory; also for
 * the target. Returns 0 or -errno.
 */
int lp_deliver_failure(const struct lp_delivery *delivery, const struct lp_collect_input *input,
		       const char *reason);

/* Appends one line to the log. */
void lp_log(const struct lp_delivery *delivery, const char *text, const char *detail);

/* --- registry.c --- */

void lp_registry_init(void);

/* Makes RUNTIME known; the calling thread is the one that it runs in. */
void lp_runtime_seen(struct lp_runtime *runtime);

/* Whether any runtime is. */
bool lp_runtime_any(void);

/*
 * A new goroutine of RUNTIME, known by HANDLE. NULL when there is no memory: leakprof is dormant
 * then.
 */
struct lp_goroutine *lp_goroutine_new(struct lp_runtime *runtime,
				      const struct lp_goroutine *values);

/* It is about to end, and counted as finished: its last handlers may still run, and wait. */
void lp_goroutine_ending(struct lp_goroutine *goroutine);

/* It has ended: its handle and stack may be used again. */
void lp_goroutine_end(struct lp_goroutine *goroutine);

/* All goroutines of RUNTIME have ended. */
void lp_runtime_reset(struct lp_runtime *runtime);

/* The id of the newest goroutine; 0: there was none. */
uint64_t lp_goroutine_last_id(void);

/* After fork: only runtimes of the calling thread go on. */
void lp_registry_after_fork(void);

/* Goroutine slots by number; NULL past the last one. Skip those with ID 0. */
struct lp_goroutine *lp_goroutine_at(size_t i);

static inline size_t lp_handle_hash(const void *handle)
{
	return ((uintptr_t)handle >> 4) * 0x9e3779b97f4a7c15ull >> 32;
}

/* The goroutine of HANDLE, or NULL. Only the runtime's own thread may call this. */
static inline struct lp_goroutine *lp_goroutine_find(const struct lp_runtime *runtime,
						     const void *handle)
{
	size_t mask = runtime->table_size - 1;
	size_t i = lp_handle_hash(handle);

	if (LP_UNLIKELY(!runtime->table))
		return NULL;
	for (;; i++) {
		struct lp_goroutine *goroutine = runtime->table[i & mask];

		if (!goroutine || goroutine->handle == handle)
			return goroutine;
	}
}

/*
 * Publishes WAIT: the calling wrapper is about to block for GOROUTINE. FRAME is the wrapper's
 * __builtin_frame_address(0). Callee-saved registers that the wrapper itself uses are in its frame
 * already, above WAIT; the others are saved here.
 */
static inline __attribute__((always_inline)) void lp_wait_begin(struct lp_goroutine *goroutine,
								struct lp_wait *wait,
								const struct lp_wait_kind *kind,
								void *object, void *frame)
{
	wait->kind = kind;
	wait->frame = frame;
	wait->object = object;
	__asm__ volatile("movq %%rbx, %0\n\tmovq %%r12, %1\n\tmovq %%r13, %2\n\t"
			 "movq %%r14, %3\n\tmovq %%r15, %4"
			 : "=m"(wait->bx), "=m"(wait->r12), "=m"(wait->r13), "=m"(wait->r14),
			   "=m"(wait->r15));
	goroutine->waits++;
	__atomic_store_n(&goroutine->wait, wait, __ATOMIC_RELEASE);
}

static inline __attribute__((always_inline)) void lp_wait_end(struct lp_goroutine *goroutine)
{
	__atomic_store_n(&goroutine->wait, NULL, __ATOMIC_RELEASE);
}

#endif
