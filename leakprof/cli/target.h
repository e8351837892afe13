/* SPDX-License-Identifier: MIT */
/*
 * A process that has the shim, from outside: finding it, asking it for a snapshot or for statistics
 * (core/protocol.h), loading what came. Used by the verbs that look at running programs. Functions
 * that return an exit code have called lp_fail when it is not 0. Several threads may ask the same
 * target.
 */
#ifndef LP_CLI_TARGET_H
#define LP_CLI_TARGET_H

#include "cli/cli.h"
#include "core/protocol.h"
#include "leakprof.h"

struct lp_target {
	pid_t pid;
	int pidfd; /* keeps us from taking another process for this one; -1: an old kernel */
	uid_t uid;
	unsigned abi;
	unsigned signal;
	bool apart;    /* in another network namespace */
	char root[32]; /* where its files are, when that is not where ours are; else empty */
};

/*
 * Finds the shim in process PID. A process is only ever signalled when, just before, its memory map
 * shows the shim and its status that the signal is caught: to any other the signal would be deadly.
 * Returns an exit code.
 */
int lp_target_open(struct lp_target *target, pid_t pid);
void lp_target_close(struct lp_target *target);

/* Whether the process has not ended. */
bool lp_target_alive(const struct lp_target *target);

/*
 * Takes snapshots until what the first one found has been confirmed, as the target's option confirm
 * wants it: usually one. *DATA is the raw stream, to be freed. Returns an exit code.
 */
int lp_target_collect(const struct lp_target *target, int timeout_ms, void **data, size_t *size);

/* Loads the raw stream DATA of TARGET. The report's PID is the one that TARGET has for us. Returns
 * an exit code. */
int lp_target_load(const struct lp_target *target, enum lp_profile profile, const void *data,
		   size_t size, struct lp_report **report);

/* Returns an exit code. */
int lp_target_stats(const struct lp_target *target, int timeout_ms, struct leakprof_stats *stats);

/* CLOCK_MONOTONIC in milliseconds. */
int64_t lp_now_ms(void);

/* TEXT as a PID, or 0. */
pid_t lp_read_pid(const char *text);

/* The value of --timeout and the like: a duration with its unit. Returns an exit code. */
int lp_read_timeout(const char *text, int *timeout_ms);

#endif
