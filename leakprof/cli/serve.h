/* SPDX-License-Identifier: MIT */
/*
 * What the parts of `leakprof serve` offer each other.
 *
 *     serve.c          the command line, the program behind --, the end
 *     serve_http.c     libmicrohttpd: who may ask, for what; one thread for all connections
 *     serve_worker.c   a thread for each target, which collects; one for statistics
 *     serve_pages.c    index and metrics
 *
 * The HTTP thread never waits for a target: a request for what has to be measured is suspended and
 * handed to a worker, which answers all that came before it began with one collection.
 */
#ifndef LP_CLI_SERVE_H
#define LP_CLI_SERVE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cli/target.h"

#define LP_DEBUG_MAX 2
#define LP_SECONDS_MAX 3600

enum lp_measure { LP_MEASURE_PROFILE, LP_MEASURE_METRICS };

/* A request that a worker answers. The connection's, from its first line to its last byte. */
struct lp_asked {
	struct MHD_Connection *connection;
	enum lp_measure measure;
	enum lp_profile profile;
	int debug;
	unsigned seconds; /* 0: no delta */

	void *first; /* of a delta: the first profile, once it is there */
	size_t first_size;
	int64_t due_ms; /* CLOCK_MONOTONIC: not to be answered before */

	/* The answer, once STATUS is not 0. */
	unsigned status;
	struct MHD_Response *response;
	struct lp_asked *next;
};

/* What serve knows of one target. */
struct lp_served {
	pid_t pid;
	bool launched; /* by us: it may not have the shim yet */
	char program[64];

	pthread_mutex_t lock; /* of what follows */
	struct lp_target target;
	bool open;	       /* TARGET is */
	uint64_t collected_ms; /* CLOCK_MONOTONIC of the last result; 0: none */
	uint64_t goroutines;   /* in it */
	uint64_t leaked;
	uint64_t results;
	uint64_t failures;
	uint64_t bytes; /* of all raw streams */
};

struct lp_serve {
	struct lp_served *targets;
	size_t target_count;
	int timeout_ms;
	int interval_ms;   /* 0: no collection but on request */
	const char *token; /* NULL: none is asked for */
	bool loopback;	   /* only names of this machine may be asked for */
	atomic_bool stop;
	struct lp_worker *workers; /* one a target, then that of statistics */
	struct lp_http *http;
};

/* --- serve_worker.c --- */

/* Starts the workers. Returns 0 or -errno. */
int lp_workers_start(struct lp_serve *serve);

/* Hands ASKED, whose connection is suspended, to the worker of target NUMBER, or to that of
 * statistics. */
void lp_worker_ask(struct lp_serve *serve, size_t number, struct lp_asked *asked);

/* Ends all workers; what still waits is answered with an error. */
void lp_workers_stop(struct lp_serve *serve);

/* --- serve_http.c --- */

/* Serves on the listening socket LISTENER, which it takes over. Returns 0 or -errno. */
int lp_http_start(struct lp_serve *serve, int listener);
void lp_http_stop(struct lp_serve *serve);

/* Ends connections that took too long; to be called about once a second. */
void lp_http_tick(struct lp_serve *serve);

/* A plain-text answer with STATUS. NULL: no memory. */
struct MHD_Response *lp_http_text(const char *text);

/* An answer of SIZE bytes at DATA, which it frees. */
struct MHD_Response *lp_http_data(void *data, size_t size);

/* --- serve_pages.c --- */

/* Whether SERVED can be asked: its target is open and has not ended. Opens that of a program that
 * we launched. Otherwise WHY (SIZE bytes) says why not. */
bool lp_served_ready(struct lp_served *served, char *why, size_t size);

/* Each returns text to be freed, or NULL; links are relative. */
char *lp_page_root(struct lp_serve *serve);
char *lp_page_index(struct lp_serve *serve, size_t number);

/* Asks all targets for statistics. */
char *lp_page_metrics(struct lp_serve *serve);

#endif
