/* SPDX-License-Identifier: MIT */
/*
 * A collection, from the frozen copy of the target to the raw stream. Runs in the snapshot process,
 * in this order:
 *
 *     lp_collect_frozen    while the target is still stopped: the memory map, and what only the
 * kernel or shared memory holds, which the target would change as soon as it goes on
 *     lp_collect_verdicts  layout, roots, adapters, fixpoint
 *     lp_stream_write      the result
 *
 * No libc call that allocates or locks.
 */
#ifndef LP_CORE_COLLECT_H
#define LP_CORE_COLLECT_H

#include "core/maps.h"
#include "core/options.h"
#include "core/runtime.h"
#include "core/stream.h"
#include "core/verdict.h"

#define LP_TIMERS_SIZE 16384u

struct lp_history;
struct lp_thread;

/* What the target hands over. */
struct lp_collect_input {
	enum lp_trigger trigger;
	uint32_t pid;
	uint32_t proc_pid; /* its number in /proc, which may be of another PID namespace */
	uint32_t serial;
	uint64_t time_ns;
	uint64_t process_start_ns;
	uint64_t start_ns; /* CLOCK_MONOTONIC when the trigger arrived */
	bool forked;	   /* since the program was started */
	const struct lp_options *options;
	const char *dormant;	    /* why nothing can be measured, or NULL */
	const char *heap_untracked; /* why, or NULL */
	const char *heap_warning;   /* what else is to be known of it, or NULL */
	size_t (*usable)(void *);   /* NULL: heap untracked */
	struct lp_goroutine *(*goroutine_at)(size_t i);
	struct lp_thread *(*thread_at)(size_t i);
	struct lp_runtime *const *runtimes;
	size_t runtime_count;
	uintptr_t shim;		  /* an address in the shim */
	uintptr_t main_stack_top; /* above it: arguments and environment */
	size_t tls_size;	  /* static TLS below a thread pointer */
	size_t descriptor_size;	  /* thread descriptor at and above it */
	const uintptr_t
		*roots; /* words that adapters keep for the library: arguments of its callbacks */
	size_t root_count;
	const struct lp_pool_range *ranges; /* memory that is no object, but the program's */
	size_t range_count;
	const uintptr_t *queued; /* values sent with signals that may still be pending */
	size_t queued_count;
	bool queued_lost; /* there were more */
	/* Whether a leak check leaves GOROUTINE aside. */
	bool (*is_aside)(const struct lp_goroutine *goroutine);
	const char *suppressions[2]; /* the program's own, those of the call of a check; or NULL */
	struct lp_history *history;  /* shared with the target; NULL: none */
	const char *timers;	     /* /proc/self/timers, at most LP_TIMERS_SIZE; NULL: not read */
};

struct lp_pool_range {
	uintptr_t low;
	uintptr_t high;
};

struct lp_note {
	enum lp_severity severity;
	const char *text;
};

struct lp_collection {
	const struct lp_collect_input *input;
	struct lp_maps maps;
	const struct lp_sanitizer *sanitizer; /* that the target is built with; NULL: none */
	struct lp_mark *mark;
	struct lp_verdict_state verdicts;
	struct lp_vec words;  /* uintptr_t: found in the kernel and in shared memory */
	struct lp_vec notes;  /* struct lp_note */
	uint64_t figures[32]; /* by enum lp_figure */
	bool scan_service; /* service goroutines run the program's callbacks: scan their stacks too
			    */
	enum lp_measured measured;
	char *kept; /* room for lp_collect_keep */
	size_t kept_left;
	bool blind; /* the kernel may hold pointers that cannot be seen */
};

int lp_collect_frozen(struct lp_collection *collection, const struct lp_collect_input *input);
int lp_collect_verdicts(struct lp_collection *collection);

/* Adds a note; TEXT is a constant. The same text is added once. */
void lp_collect_note(struct lp_collection *collection, enum lp_severity severity, const char *text);

/* The kernel holds words of the target that cannot be seen, as TEXT (a constant) says: nothing can
 * be reported, unless the option trust_kernel says that no pointer is among them. */
void lp_collect_blind(struct lp_collection *collection, const char *text);

/* A copy of SIZE bytes at DATA, 8-byte aligned, for as long as the collection. NULL: there is no
 * memory. */
void *lp_collect_keep(struct lp_collection *collection, const void *data, size_t size);

/* Clears SIZE bytes at ADDRESS in the frozen copy: nothing is followed from there. Memory that the
 * target shares is left as it is. */
void lp_collect_cut(struct lp_collection *collection, const void *address, size_t size);

/* The node whose stack ADDRESS lies in, or NULL. */
struct lp_node *lp_collect_stack_node(struct lp_collection *collection, uintptr_t address);

/* kernel.c: pushes to WORDS what the kernel holds for the target: epoll data, timers, bytes in
 * pipes, queued signals. Returns 0, or -errno where it could not look. */
int lp_kernel_words(struct lp_collection *collection);

/* Writes the raw stream to FD. Returns 0 or -errno. */
int lp_stream_write(struct lp_collection *collection, int fd);

/*
 * Writes to FD the raw stream of a collection of PROGRAM that could not be made, for REASON. Of
 * INPUT only the numbers are used. Needs no memory; also for the target. Returns 0 or -errno.
 */
int lp_stream_write_failure(const struct lp_collect_input *input, const char *program,
			    const char *reason, int fd);

#endif
