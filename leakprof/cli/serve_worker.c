/* SPDX-License-Identifier: MIT */
/*
 * The threads of `leakprof serve` that measure. Each takes all requests that wait, collects once,
 * answers them all, and looks again: who comes during a collection waits for the next one, so that
 * every answer was measured after it was asked for, and a target is never asked twice at a time.
 * Whose client has gone is dropped before anything is measured for it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve.h"
#include "pp_profile.h"

#define PROFILE_MAX ((size_t)1 << 30)
#define ENDING "leakprof serve is ending\n"

struct lp_worker {
	struct lp_serve *serve;
	struct lp_served *served; /* NULL: the one of statistics */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct lp_asked *waiting;
	int64_t next_ms; /* the next collection that nobody asked for; 0: none */
};

/* --- Answers --- */

/* The connection goes on, and so its thread sends RESPONSE. */
static void answer(struct lp_asked *asked, unsigned status, struct MHD_Response *response)
{
	asked->response = response;
	asked->status = response ? status : MHD_HTTP_INTERNAL_SERVER_ERROR;
	MHD_resume_connection(asked->connection);
}

static void answer_text(struct lp_asked *asked, unsigned status, const char *text)
{
	answer(asked, status, lp_http_text(text));
}

/* Something that several answers have in common. */
struct shared {
	void *data;
	size_t size;
};

static void answer_copy(struct lp_asked *asked, const struct shared *shared)
{
	void *copy = malloc(shared->size ? shared->size : 1);

	if (copy)
		memcpy(copy, shared->data, shared->size);
	answer(asked, MHD_HTTP_OK, copy ? lp_http_data(copy, shared->size) : NULL);
}

static bool has_left(const struct lp_asked *asked)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(asked->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd client = {.fd = info ? info->connect_fd : -1, .events = POLLRDHUP};

	return poll(&client, 1, 0) > 0;
}

/* --- One collection --- */

struct batch {
	struct lp_worker *worker;
	void *data; /* the raw stream */
	size_t size;
	struct lp_report *reports[LP_PROFILE_GOROUTINE + 1];
	struct shared forms[LP_PROFILE_GOROUTINE + 1][LP_DEBUG_MAX + 1];
	const char *why; /* there is nothing to answer with */
	char text[600];
};

static int load(struct batch *batch, enum lp_profile profile)
{
	struct lp_report **report = &batch->reports[profile];

	if (*report)
		return 0;
	return lp_target_load(&batch->worker->served->target, profile, batch->data, batch->size,
			      report);
}

static int print(const struct lp_report *report, int level, struct shared *form)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, &form->size);
	int r;

	if (!file)
		return -ENOMEM;
	r = lp_report_debug(report, file, level);
	if (fclose(file) && !r)
		r = -ENOMEM;
	form->data = text;
	return r;
}

/* PROFILE in the form DEBUG, made when it is first wanted. NULL: no memory. */
static const struct shared *form_of(struct batch *batch, enum lp_profile profile, int debug)
{
	struct shared *form = &batch->forms[profile][debug];
	int r;

	if (form->data)
		return form;
	r = load(batch, profile);
	if (!r)
		r = debug ? print(batch->reports[profile], debug, form)
			  : lp_report_profile(batch->reports[profile], &form->data, &form->size);
	return r ? NULL : form;
}

static void fail(struct batch *batch, const char *why)
{
	snprintf(batch->text, sizeof(batch->text), "%s\n", why);
	batch->why = batch->text;
}

static void note(struct batch *batch)
{
	struct lp_served *served = batch->worker->served;
	const struct lp_report *report = batch->reports[LP_PROFILE_LEAK];

	pthread_mutex_lock(&served->lock);
	served->bytes += batch->size;
	if (batch->why) {
		served->failures++;
	} else {
		served->results++;
		served->collected_ms = (uint64_t)lp_now_ms();
		served->goroutines = report->figures[LP_FIG_GOROUTINES];
		served->leaked = report->figures[LP_FIG_LEAKED];
	}
	pthread_mutex_unlock(&served->lock);
}

/* Zero leaks where nothing was measured would be a false answer. */
static void collect(struct batch *batch)
{
	struct lp_served *served = batch->worker->served;
	const char *unmeasured;
	char why[512];

	if (!lp_served_ready(served, why, sizeof(why))) {
		fail(batch, why);
	} else if (lp_target_collect(&served->target, batch->worker->serve->timeout_ms,
				     &batch->data, &batch->size)) {
		fail(batch, lp_failure());
	} else if (load(batch, LP_PROFILE_LEAK)) {
		fail(batch, lp_failure());
	} else {
		unmeasured = lp_report_unmeasured(batch->reports[LP_PROFILE_LEAK]);
		if (unmeasured) {
			snprintf(why, sizeof(why), "nothing measured: %s", unmeasured);
			fail(batch, why);
		}
	}
	note(batch);
}

static void free_batch(struct batch *batch)
{
	size_t i;
	size_t j;

	for (i = 0; i <= LP_PROFILE_GOROUTINE; i++) {
		lp_report_free(batch->reports[i]);
		for (j = 0; j <= LP_DEBUG_MAX; j++)
			free(batch->forms[i][j].data);
	}
	free(batch->data);
}

/* --- Deltas --- */

static void put_back(struct lp_worker *worker, struct lp_asked *asked)
{
	pthread_mutex_lock(&worker->lock);
	asked->next = worker->waiting;
	worker->waiting = asked;
	pthread_mutex_unlock(&worker->lock);
}

static int subtract(const struct lp_asked *asked, const struct shared *second,
		    struct shared *result)
{
	const char *reason;
	pp_profile *before = NULL;
	pp_profile *after = NULL;
	struct pp_builder *builder = NULL;
	const pp_profile *delta = NULL;
	int r = -ENOMEM;

	if (!pp_unpack(asked->first, asked->first_size, PROFILE_MAX, &before, &reason) &&
	    !pp_unpack(second->data, second->size, PROFILE_MAX, &after, &reason))
		builder = pp_delta(before, after);
	if (builder)
		delta = pp_builder_finish(builder);
	if (delta)
		r = pp_pack(delta, &result->data, &result->size);
	pp_builder_free(builder);
	if (before)
		pp_free(before);
	if (after)
		pp_free(after);
	return r;
}

static void answer_delta(struct lp_worker *worker, struct lp_asked *asked,
			 const struct shared *form)
{
	struct shared delta;

	if (asked->first) {
		if (subtract(asked, form, &delta))
			answer_text(asked, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory\n");
		else
			answer(asked, MHD_HTTP_OK, lp_http_data(delta.data, delta.size));
		return;
	}
	asked->first = malloc(form->size);
	if (!asked->first) {
		answer_text(asked, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory\n");
		return;
	}
	memcpy(asked->first, form->data, form->size);
	asked->first_size = form->size;
	asked->due_ms = lp_now_ms() + (int64_t)asked->seconds * 1000;
	put_back(worker, asked);
}

/* --- The loop --- */

static void answer_profile(struct batch *batch, struct lp_asked *asked)
{
	const struct shared *form;

	if (batch->why) {
		answer_text(asked, MHD_HTTP_SERVICE_UNAVAILABLE, batch->why);
		return;
	}
	form = form_of(batch, asked->profile, asked->debug);
	if (!form)
		answer_text(asked, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory\n");
	else if (asked->seconds)
		answer_delta(batch->worker, asked, form);
	else
		answer_copy(asked, form);
}

static void serve_profiles(struct lp_worker *worker, struct lp_asked *asked)
{
	struct batch batch = {.worker = worker};
	struct lp_asked *next;

	collect(&batch);
	for (; asked; asked = next) {
		next = asked->next;
		answer_profile(&batch, asked);
	}
	free_batch(&batch);
}

static void serve_metrics(struct lp_worker *worker, struct lp_asked *asked)
{
	char *text = lp_page_metrics(worker->serve);
	struct shared page = {text, text ? strlen(text) : 0};
	struct lp_asked *next;

	for (; asked; asked = next) {
		next = asked->next;
		answer_copy(asked, &page);
	}
	free(text);
}

/* Takes those out that are due, without those whose client has gone. */
static struct lp_asked *take_due(struct lp_worker *worker)
{
	struct lp_asked **at = &worker->waiting;
	struct lp_asked *due = NULL;
	int64_t now = lp_now_ms();

	while (*at) {
		struct lp_asked *asked = *at;
		bool left = has_left(asked);

		if (!left && asked->due_ms > now) {
			at = &asked->next;
			continue;
		}
		*at = asked->next;
		if (left) {
			answer_text(asked, MHD_HTTP_SERVICE_UNAVAILABLE, "you have left\n");
			continue;
		}
		asked->next = due;
		due = asked;
	}
	return due;
}

/* When there is something to do, at the latest; 0: when somebody asks. */
static int64_t next_due(const struct lp_worker *worker)
{
	const struct lp_asked *asked;
	int64_t next = worker->next_ms;

	for (asked = worker->waiting; asked; asked = asked->next)
		if (!next || asked->due_ms < next)
			next = asked->due_ms;
	return next;
}

static void wait_until(struct lp_worker *worker, int64_t when_ms)
{
	const struct timespec until = {when_ms / 1000, when_ms % 1000 * 1000000L};

	if (when_ms)
		pthread_cond_timedwait(&worker->more, &worker->lock, &until);
	else
		pthread_cond_wait(&worker->more, &worker->lock);
}

static bool is_time(struct lp_worker *worker)
{
	int64_t now = lp_now_ms();
	bool time = worker->next_ms && now >= worker->next_ms;

	if (time)
		worker->next_ms = now + worker->serve->interval_ms;
	return time;
}

static void *work(void *argument)
{
	struct lp_worker *worker = argument;

	pthread_mutex_lock(&worker->lock);
	while (!worker->serve->stop) {
		struct lp_asked *due = take_due(worker);
		bool unasked = !due && is_time(worker);

		if (!due && !unasked) {
			wait_until(worker, next_due(worker));
			continue;
		}
		pthread_mutex_unlock(&worker->lock);
		if (worker->served)
			serve_profiles(worker, due);
		else
			serve_metrics(worker, due);
		pthread_mutex_lock(&worker->lock);
		if (worker->next_ms)
			worker->next_ms = lp_now_ms() + worker->serve->interval_ms;
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

/* --- Start and end --- */

static int start(struct lp_worker *worker, struct lp_serve *serve, struct lp_served *served)
{
	pthread_condattr_t clock;

	worker->serve = serve;
	worker->served = served;
	if (served && serve->interval_ms)
		worker->next_ms = lp_now_ms() + serve->interval_ms;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&worker->more, &clock);
	pthread_condattr_destroy(&clock);
	return -pthread_create(&worker->thread, NULL, work, worker);
}

int lp_workers_start(struct lp_serve *serve)
{
	size_t i;
	int r = 0;

	serve->workers = calloc(serve->target_count + 1, sizeof(*serve->workers));
	if (!serve->workers)
		return -ENOMEM;
	for (i = 0; !r && i <= serve->target_count; i++)
		r = start(&serve->workers[i], serve,
			  i < serve->target_count ? &serve->targets[i] : NULL);
	return r;
}

void lp_worker_ask(struct lp_serve *serve, size_t number, struct lp_asked *asked)
{
	struct lp_worker *worker = &serve->workers[number];
	bool late;

	pthread_mutex_lock(&worker->lock);
	late = serve->stop;
	if (!late) {
		asked->next = worker->waiting;
		worker->waiting = asked;
		pthread_cond_signal(&worker->more);
	}
	pthread_mutex_unlock(&worker->lock);
	if (late)
		answer_text(asked, MHD_HTTP_SERVICE_UNAVAILABLE, ENDING);
}

void lp_workers_stop(struct lp_serve *serve)
{
	size_t i;

	serve->stop = true;
	for (i = 0; i <= serve->target_count; i++) {
		struct lp_worker *worker = &serve->workers[i];
		struct lp_asked *next;

		pthread_mutex_lock(&worker->lock);
		pthread_cond_signal(&worker->more);
		pthread_mutex_unlock(&worker->lock);
		pthread_join(worker->thread, NULL);
		/* libmicrohttpd must have no suspended connection when it ends. */
		for (; worker->waiting; worker->waiting = next) {
			next = worker->waiting->next;
			answer_text(worker->waiting, MHD_HTTP_SERVICE_UNAVAILABLE, ENDING);
		}
	}
}
