/* SPDX-License-Identifier: MIT */
/*
 * Starts a program with the shim, passes signals on, and collects the streams that its processes
 * send. What `run` and `check` have in common.
 *
 * Several processes may send a stream: the program, children that it forked, the real program
 * behind a shell script. Of each process the last one counts.
 */
#ifndef LP_CLI_LAUNCH_H
#define LP_CLI_LAUNCH_H

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/options.h"
#include "report/report.h"

/* What one process sent. */
struct lp_launched {
	struct lp_report *report;
	void *data; /* the raw stream */
	size_t size;
};

struct lp_launch {
	char **arguments;	  /* the program and its own, NULL at the end: set by the caller */
	char options[8192];	  /* for LEAKPROF_OPTIONS, behind the user's own */
	struct lp_load how;	  /* to load what the processes send: set by the caller */
	struct lp_options passed; /* the same, read; defaults for the others */
	char shim[PATH_MAX];
	int listener;
	pid_t child;
	struct lp_launched *streams;
	size_t stream_count;
	bool broken; /* a stream came that ended before its end */
};

/* Starts the program. Returns 0 or an exit code, lp_fail'ed. */
int lp_launch_start(struct lp_launch *launch);

/*
 * Collects until the program has ended or DEADLINE_NS (CLOCK_MONOTONIC; 0: none) has passed; the
 * stream of its exit is there then. *STATUS is as wait(2) has it. Returns 0 or -ETIMEDOUT.
 */
int lp_launch_wait(struct lp_launch *launch, uint64_t deadline_ns, int *status);

/* Takes over DATA, the stream of a process. Returns 0, or -EBADMSG with lp_fail called: it is
 * broken.
 */
int lp_launch_take(struct lp_launch *launch, void *data, size_t size);

/* Frees what the processes sent. */
void lp_launch_free(struct lp_launch *launch);

/* Why no stream came from a program that ended with STATUS: what to do, in a line. */
const char *lp_launch_silence(const struct lp_launch *launch, int status);

/* A report that holds nothing but WHY nothing was measured. NULL: no memory. */
struct lp_report *lp_launch_unmeasured(const struct lp_launch *launch, const char *why);

/* Whether STREAM measured something. */
bool lp_launched_measured(const struct lp_launched *stream);

/* Ends as a program with STATUS did: by the same signal, or returns its exit status. */
int lp_launch_end_like(int status);

#define LP_LAUNCH_OPTION 1000 /* what getopt_long returns for the first of the table */

/* Makes LAUNCH empty, and adds a long option to OPTIONS at *COUNT for every row of the table of
 * options (core/options.h) of SCOPE. */
void lp_launch_init(struct lp_launch *launch, enum lp_option_scope scope, struct option *options,
		    size_t *count);

/* Adds an option for the target. */
void lp_launch_add(struct lp_launch *launch, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Passes option NUMBER, as getopt_long returned it, on to the target. VALUE NULL: "1". Returns 0 or
 * an exit code. */
int lp_launch_pass_option(struct lp_launch *launch, int number, const char *value);

#endif
