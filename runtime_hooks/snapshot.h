/* SPDX-License-Identifier: MIT */
/*
 * What a collection's two sides share: the target (snapshot.c) and the processes that it clones
 * (frozen.c).
 */
#ifndef LP_HOOKS_SNAPSHOT_H
#define LP_HOOKS_SNAPSHOT_H

#include <linux/futex.h>

#include "core/collect.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

/* A page that the target and its snapshot processes share. */
struct lp_control {
	uint32_t held;	    /* futex: the target may go on */
	uint32_t connected; /* futex: the requester will hear of this collection */
	uint32_t released;  /* futex: the figures below are there */
	uint64_t pause_ns;
	uint64_t stop_ns;
	uint64_t clone_ns;
	uint64_t target_bytes;
	uint64_t failures;
};

/* In the same page, written by snapshots: of the last one that measured something. */
struct lp_outcome {
	uint64_t failed; /* snapshots that could not measure */

	uint64_t time_ns; /* of what follows: written last; 0: none */
	uint64_t leaked;
	uint64_t pause_ns;
	uint64_t duration_ns;
	uint64_t bytes;
};

#define LP_OUTCOME_AT 1024 /* in the page */
_Static_assert(sizeof(struct lp_control) <= LP_OUTCOME_AT, "the control page");

extern struct lp_control *lp_control;

static inline struct lp_outcome *lp_outcome(void)
{
	return (struct lp_outcome *)((char *)lp_control + LP_OUTCOME_AT);
}

/* One collection, handed from stack to stack. */
struct lp_job {
	const struct lp_request *request;
	struct lp_thread *self;
	void *context;
	uintptr_t sp;
	int result;
	int proc_pid;	    /* our number in /proc */
	const char *timers; /* NULL: could not be read */
};

/* What a scout is handed, at the low end of its stack. */
struct lp_scout {
	struct lp_request request;
	uint32_t serial;
	char reason[LP_PAUSE_REASON_MAX];
};

#define LP_EXIT_FAULT 128 /* exit code: and the number of the signal that ended the process */
#define LP_SCOUT_GO 100	  /* exit code: the snapshot may be made */

struct lp_reason {
	int error;
	const char *text;
};

/* What -ERROR means in a step of a collection, from its REASONS; the last is for any other. */
const char *lp_reason_for(const struct lp_reason *reasons, int error);

/* In the process of a snapshot. BEGIN is when the trigger came, STOPPED how the stop went: 0 or
 * -errno. */
__attribute__((noreturn)) void lp_snapshot_main(const struct lp_job *job, uint64_t begin,
						int stopped);

/* In the scout; for clone(). ARGUMENT is a struct lp_scout. Returns its exit code. */
int lp_scout_main(void *argument);

/* What the target hands over. */
void lp_fill_input(struct lp_collect_input *input, const struct lp_job *job, uint64_t begin);

static inline void lp_signal_word(uint32_t *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	lp_sys_futex(word, FUTEX_WAKE, 1, NULL);
}

static inline bool lp_wait_word(uint32_t *word, uint64_t nanoseconds)
{
	const struct timespec slice = {0, 1000000};
	uint64_t deadline = lp_sys_clock_ns(CLOCK_MONOTONIC) + nanoseconds;

	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		if (lp_sys_clock_ns(CLOCK_MONOTONIC) > deadline)
			return false;
		lp_sys_futex(word, FUTEX_WAIT, 0, &slice);
	}
	return true;
}

#endif
