/* SPDX-License-Identifier: MIT */
/*
 * What the verbs share. A verb returns an exit code; when that is not 0 and it has something to
 * say, it has called lp_fail, and main prints the line.
 */
#ifndef LP_CLI_CLI_H
#define LP_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "report/report.h"

enum lp_exit {
	LP_EXIT_OK = 0,
	LP_EXIT_USAGE = 2,
	LP_EXIT_UNMEASURED = 3, /* nothing was measured: zero leaks is no result */
	LP_EXIT_TARGET = 4,	/* no such process, without the shim, no permission */
	LP_EXIT_FAILED = 5,	/* the collection failed */
	LP_EXIT_INPUT = 6,	/* a file that cannot be read or is damaged */
	LP_EXIT_OUTPUT = 7,	/* a file that cannot be written */
	LP_EXIT_TIMEOUT = 124,	/* check: the program took too long, as timeout(1) has it */
	LP_EXIT_NOT_EXECUTABLE = 126,
	LP_EXIT_NOT_FOUND = 127,
};

struct lp_verb {
	const char *name;
	const char *arguments;
	const char *help; /* one line */
	const char *options;
	int (*run)(int argc, char **argv);
};

int lp_verb_run(int argc, char **argv);
int lp_verb_check(int argc, char **argv);
int lp_verb_diff(int argc, char **argv);
int lp_verb_rank(int argc, char **argv);
int lp_verb_suspects(int argc, char **argv);
int lp_verb_snapshot(int argc, char **argv);
int lp_verb_report(int argc, char **argv);
int lp_verb_info(int argc, char **argv);
int lp_verb_serve(int argc, char **argv) __attribute__((weak)); /* see delegate.c */
int lp_verb_top(int argc, char **argv);
int lp_verb_selftest(int argc, char **argv);
int lp_verb_help(int argc, char **argv);
int lp_verb_version(int argc, char **argv);

/* Remembers the one line that main prints, and returns CODE. */
int lp_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What the calling thread's last lp_fail said: main prints that of its own thread. */
const char *lp_failure(void);
/* Prints the line now, for a verb that goes on without what failed. */
void lp_complain(void);

/* lp_fail for a wrong command line, with a hint at --help. */
int lp_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The verb that is running. */
extern const struct lp_verb *lp_current_verb;

/* --- io.c --- */

/* Reads a whole file ("-": standard input). Returns 0 or an exit code. *DATA is to be freed. */
int lp_read_file(const char *path, void **data, size_t *size);

/* Reads FD to its end, at most LIMIT bytes. Returns 0 or -errno (-EFBIG: more). */
int lp_read_all(int fd, size_t limit, void **data, size_t *size);

/* Writes DATA beside PATH and renames it, so that PATH is whole or as before ("-": standard
 * output). */
int lp_write_file(const char *path, const void *data, size_t size);

/* Whether an output of that name is to be the raw snapshot: it ends in ".raw". */
bool lp_is_raw_name(const char *path);

/* Loads a report from the file PATH: of PROFILE, or of the leaks. Returns 0 or an exit code. */
int lp_load_file_as(const char *path, enum lp_profile profile, struct lp_report **report);
int lp_load_file(const char *path, struct lp_report **report);

/* Loads a report from memory; NAME is for messages. HOW's debug path comes from the environment. */
int lp_load_data_as(const char *name, const struct lp_load *how, const void *data, size_t size,
		    struct lp_report **report);
int lp_load_data(const char *name, const void *data, size_t size, struct lp_report **report);

/* The value of --profile. Returns 0 or an exit code. */
int lp_read_profile_name(const char *name, enum lp_profile *profile);

/* The value of OPTION: a number from 0. Returns 0 or an exit code. */
int lp_read_count(const char *option, const char *text, uint64_t *count);

/* The value of --format, text or json. Returns 0 or an exit code. */
int lp_read_form(const char *text, bool *json);

/* Whether text on FILE may be coloured. */
bool lp_may_colour(FILE *file);

/* --- delegate.c --- */

/* What main was called with. */
extern char **lp_arguments;

/* Goes on as leakprof-full with the same arguments. Returns an exit code when it cannot. */
int lp_delegate(void);

/* --- baseline.c --- */

struct lp_results;

/* Loads the baseline in the file PATH. UPDATE: there need be none yet, then it is NULL. Returns 0
 * or an exit code. */
int lp_baseline_load(const char *path, bool update, struct lp_report **baseline);

/* Adds what was found to it. Returns 0 or an exit code. */
int lp_baseline_update(const char *path, const struct lp_results *results);

/* --- socket.c --- */

/* Listens on the abstract socket "leakprof/<own PID>/<token>". Returns a descriptor or -errno. */
int lp_listen(uint32_t token, char *name, size_t size);

/*
 * Accepts one connection within TIMEOUT_MS (0: only what waits already) whose peer is of UID, or
 * root's, and reads it whole. Returns 0, -ETIMEDOUT, or -errno. *PID is the peer's.
 */
int lp_accept(int listener, int timeout_ms, uid_t uid, pid_t *pid, void **data, size_t *size);

uint32_t lp_random_token(void);

#endif
