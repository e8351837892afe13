/* SPDX-License-Identifier: MIT */
/*
 * The options: one table for the environment variable LEAKPROF_OPTIONS (colon-separated key=value,
 * as LeakSanitizer's), the command line (--key=value) and their help. Adding one is adding a row in
 * options.c and a member here. Runs inside the target: no malloc, no stdio, no locale.
 */
#ifndef LP_CORE_OPTIONS_H
#define LP_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_OPTIONS_ENV "LEAKPROF_OPTIONS"
#define LP_PATH_MAX 4096
#define LP_OUTPUT_DEFAULT "leak.%p.%n.pb.gz"

struct lp_options {
	char output[LP_PATH_MAX];   /* where profiles go; %p PID, %n serial, %e program, %t seconds,
				       %% */
	char reporter[LP_PATH_MAX]; /* the leakprof program; empty: found beside the shim */
	char log[LP_PATH_MAX]; /* where the shim's own messages go; empty: OUTPUT.log; "stderr" */
	char connect[108];    /* abstract unix socket that gets the stream instead of OUTPUT (set by
				 `run`) */
	uint64_t interval_ns; /* a snapshot every so often; 0: none */
	uint64_t settle_ns;   /* at exit, for goroutines that are still there to end */
	uint64_t stop_timeout_ns; /* for all threads to stop */
	uint64_t max_pause_ns;	  /* a snapshot that would stop the program longer is refused */
	uint64_t timeout_ns;	  /* for the whole snapshot */
	uint64_t stack_limit;	  /* bytes copied of one stack */
	uint64_t pointer_mask;	  /* and'ed to every word before it is taken for a pointer */
	uint32_t confirm;	  /* snapshots that must agree on a leak */
	uint32_t copies;	  /* of memory before it is scanned: enum lp_copies */
	uint32_t signal;	  /* the trigger, and what stops threads */
	bool at_exit;		  /* a snapshot when the program exits */
	bool unaligned;		  /* also take pointers at 4-byte alignment */
	bool trust_kernel;	/* report though the kernel may hold pointers that cannot be seen */
	bool check_annotations; /* check each call of leakprof.h */
	bool keep_raw;		/* keep the raw snapshot beside the profile, as OUTPUT.raw */
	bool help;		/* print the table to stderr and go on */
};

enum lp_option_type { LP_OPT_BOOL, LP_OPT_UINT, LP_OPT_SIZE, LP_OPT_DURATION, LP_OPT_STRING };

enum lp_option_scope {
	LP_OPT_TARGET = 1, /* read by the shim */
	LP_OPT_RUN = 2,	   /* also a flag of `leakprof run` */
	LP_OPT_HIDDEN = 4, /* not in the help */
	LP_OPT_CHECK = 8,  /* also a flag of `leakprof check` */
};

struct lp_option {
	const char *name;
	enum lp_option_type type;
	unsigned scope; /* enum lp_option_scope bits */
	size_t offset;	/* in struct lp_options */
	size_t size;	/* of the member: the room of a string */
	const char *default_value;
	const char *help; /* one line */
	uint64_t most;	  /* of a number; 0: no bound */
};

extern const struct lp_option lp_option_table[];
extern const size_t lp_option_count;

/* Sets every member of OPTIONS to its default. */
void lp_options_default(struct lp_options *options);

/*
 * Sets one option from NAME (LENGTH bytes, - and _ alike) and VALUE (VALUE_LENGTH bytes).
 * Durations are a number with ns, us, ms, s (default), m or h; sizes one with K, M, G or none.
 * Returns 0, -ENOENT for an unknown name, -EINVAL for a bad value, -ENAMETOOLONG for a string
 * without room.
 */
int lp_options_set(struct lp_options *options, const char *name, size_t length, const char *value,
		   size_t value_length);

/*
 * Reads TEXT, "key=value:key=value". A colon inside a value is written "\:" . Stops at the first
 * error and stores where it begins in *BAD. Returns as lp_options_set does.
 */
int lp_options_parse(struct lp_options *options, const char *text, const char **bad);

/* Writes the table of those in SCOPE, one line each, to descriptor FD. */
void lp_options_help(int fd, unsigned scope);

/*
 * Expands PATTERN (see struct lp_options, output) into PATH. Returns 0 or -ENAMETOOLONG.
 */
int lp_options_expand(const char *pattern, uint32_t pid, uint32_t serial, const char *program,
		      uint64_t seconds, char *path, size_t size);

#endif
