/* SPDX-License-Identifier: MIT */
/*
 * The pages of `leakprof serve`: what there is, and metrics in Prometheus' text format. What was
 * not measured is left out or said to be so, never shown as zero.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve.h"

#define STATS_TIMEOUT_MS 2000

/* --- Targets --- */

bool lp_served_ready(struct lp_served *served, char *why, size_t size)
{
	bool alive;

	pthread_mutex_lock(&served->lock);
	if (!served->open && served->launched)
		served->open = !lp_target_open(&served->target, served->pid);
	alive = served->open && lp_target_alive(&served->target);
	if (!served->open)
		snprintf(why, size, "%s", lp_failure());
	else if (!alive)
		snprintf(why, size, "process %d has ended", (int)served->pid);
	pthread_mutex_unlock(&served->lock);
	return alive;
}

/* --- HTML --- */

/* TEXT without what HTML or a label's value would take for its own. */
static void put_plain(FILE *file, const char *text)
{
	for (; *text; text++)
		fputc(strchr("<>&\"\\\n", *text) ? '?' : *text, file);
}

char *lp_page_root(struct lp_serve *serve)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	size_t i;

	if (!file)
		return NULL;
	fputs("<html>\n<head><title>leakprof</title></head>\n<body>\n<ul>\n", file);
	for (i = 0; i < serve->target_count; i++) {
		fprintf(file, "<li><a href='%d/debug/pprof/'>", (int)serve->targets[i].pid);
		put_plain(file, serve->targets[i].program);
		fprintf(file, " (PID %d)</a></li>\n", (int)serve->targets[i].pid);
	}
	fputs("</ul>\n<p><a href='metrics'>metrics</a>, <a href='healthz'>health</a></p>\n"
	      "</body>\n</html>\n",
	      file);
	fclose(file);
	return text;
}

static void put_row(FILE *file, const char *name, const char *count, const char *help)
{
	fprintf(file,
		"<tr><td>%s</td><td><a href='%s?debug=1'>%s</a></td><td><a "
		"href='%s?debug=2'>full</a></td><td>%s</td></tr>\n",
		count, name, name, name, help);
}

static void put_count(char *text, size_t size, const struct lp_served *served, uint64_t count)
{
	if (served->collected_ms)
		snprintf(text, size, "%" PRIu64, count);
	else
		snprintf(text, size, "not collected yet");
}

char *lp_page_index(struct lp_serve *serve, size_t number)
{
	struct lp_served *served = &serve->targets[number];
	char goroutines[32];
	char leaked[32];
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return NULL;
	pthread_mutex_lock(&served->lock);
	put_count(goroutines, sizeof(goroutines), served, served->goroutines);
	put_count(leaked, sizeof(leaked), served, served->leaked);
	fputs("<html>\n<head><title>/debug/pprof/</title></head>\n<body>\n/debug/pprof/<br>\n<p>",
	      file);
	put_plain(file, served->program);
	fprintf(file, " (PID %d)", (int)served->pid);
	if (served->collected_ms)
		fprintf(file, ", last collection %" PRId64 " s ago",
			(lp_now_ms() - (int64_t)served->collected_ms) / 1000);
	pthread_mutex_unlock(&served->lock);
	fputs("</p>\n<table>\n<thead><td>Count</td><td>Profile</td></thead>\n", file);
	put_row(file, "goroutine", goroutines, "all goroutines, with their states");
	put_row(file, "goroutineleak", leaked, "goroutines that nothing can wake any more");
	fputs("<tr><td></td><td><a href='cmdline'>cmdline</a></td></tr>\n</table>\n</body>\n"
	      "</html>\n",
	      file);
	fclose(file);
	return text;
}

/* --- Metrics --- */

/* What one target said. */
struct answer {
	bool heard;
	struct leakprof_stats stats;
	struct lp_served *served;
};

enum when { HEARD, COLLECTED };

enum unit { NUMBER, SECONDS /* of nanoseconds */ };

struct metric {
	const char *name;
	const char *type;
	const char *help;
	enum when when; /* it is known */
	enum unit unit;
	size_t offset; /* in struct leakprof_stats */
};

#define STATS(member) offsetof(struct leakprof_stats, member)

static const struct metric metrics[] = {
	{"leakprof_goroutines_created_total", "counter", "Goroutines ever created.", HEARD, NUMBER,
	 STATS(created)},
	{"leakprof_goroutines_finished_total", "counter", "Goroutines that have ended.", HEARD,
	 NUMBER, STATS(finished)},
	{"leakprof_goroutines_leaked", "gauge", "Goroutines leaked at the last collection.",
	 COLLECTED, NUMBER, STATS(leaked)},
	{"leakprof_last_collection_timestamp_seconds", "gauge", "When that was.", COLLECTED,
	 SECONDS, STATS(snapshot_ns)},
	{"leakprof_last_collection_pause_seconds", "gauge", "For how long it stopped the program.",
	 COLLECTED, SECONDS, STATS(last_pause_ns)},
	{"leakprof_last_collection_duration_seconds", "gauge", "From the request to the result.",
	 COLLECTED, SECONDS, STATS(last_duration_ns)},
	{"leakprof_last_collection_memory_bytes", "gauge",
	 "Memory that it took beside the program.", COLLECTED, NUMBER, STATS(last_bytes)},
	{"leakprof_collections_total", "counter", "Collections begun, whoever asked.", HEARD,
	 NUMBER, STATS(snapshots)},
	{"leakprof_collection_failures_total", "counter", "Collections that failed.", HEARD, NUMBER,
	 STATS(failures)},
	{"leakprof_pause_seconds_total", "counter", "For how long they stopped the program in all.",
	 HEARD, SECONDS, STATS(pause_ns)},
	{"leakprof_threads", "gauge", "OS threads.", HEARD, NUMBER, STATS(threads)},
	{"leakprof_memory_bytes", "gauge", "Memory of leakprof in the program.", HEARD, NUMBER,
	 STATS(target_bytes)},
};

static void put_head(FILE *file, const char *name, const char *type, const char *help)
{
	fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_metric(FILE *file, const struct metric *metric, const struct answer *answers,
		       size_t count)
{
	size_t i;

	put_head(file, metric->name, metric->type, metric->help);
	for (i = 0; i < count; i++) {
		const struct leakprof_stats *stats = &answers[i].stats;
		uint64_t value;

		if (!answers[i].heard || (metric->when == COLLECTED && !stats->snapshot_ns))
			continue;
		memcpy(&value, (const char *)stats + metric->offset, sizeof(value));
		fprintf(file, "%s{pid=\"%d\"} ", metric->name, (int)answers[i].served->pid);
		if (metric->unit == SECONDS)
			fprintf(file, "%" PRIu64 ".%09" PRIu64 "\n", value / 1000000000u,
				value % 1000000000u);
		else
			fprintf(file, "%" PRIu64 "\n", value);
	}
}

static void put_states(FILE *file, const struct answer *answers, size_t count)
{
	static const struct {
		const char *name;
		size_t offset;
	} states[] = {{"running", STATS(running)},
		      {"runnable", STATS(runnable)},
		      {"waiting", STATS(waiting)},
		      {"io", STATS(io)},
		      {"sleeping", STATS(sleeping)}};
	size_t i;
	size_t j;

	put_head(file, "leakprof_goroutines", "gauge", "Goroutines at the moment, by state.");
	for (i = 0; i < count; i++) {
		for (j = 0; answers[i].heard && j < sizeof(states) / sizeof(states[0]); j++) {
			uint64_t value;

			memcpy(&value, (const char *)&answers[i].stats + states[j].offset,
			       sizeof(value));
			fprintf(file, "leakprof_goroutines{pid=\"%d\",state=\"%s\"} %" PRIu64 "\n",
				(int)answers[i].served->pid, states[j].name, value);
		}
	}
}

static void put_waits(FILE *file, const struct answer *answers, size_t count)
{
	size_t i;
	size_t j;

	put_head(file, "leakprof_goroutines_waiting", "gauge",
		 "Goroutines that wait, are in I/O or asleep, by what they wait in.");
	for (i = 0; i < count; i++) {
		for (j = 0; answers[i].heard && j < answers[i].stats.kind_count; j++) {
			const struct leakprof_stats_kind *kind = &answers[i].stats.kinds[j];

			fprintf(file, "leakprof_goroutines_waiting{pid=\"%d\",wait=\"",
				(int)answers[i].served->pid);
			put_plain(file, kind->name);
			fprintf(file, "\"} %" PRIu64 "\n", kind->count);
		}
	}
}

static void put_own(FILE *file, const struct answer *answers, size_t count)
{
	size_t i;

	put_head(file, "leakprof_up", "gauge", "Whether the process is there and answers.");
	for (i = 0; i < count; i++)
		fprintf(file, "leakprof_up{pid=\"%d\"} %d\n", (int)answers[i].served->pid,
			answers[i].heard);
	put_head(file, "leakprof_target_info", "gauge", "The process.");
	for (i = 0; i < count; i++) {
		fprintf(file, "leakprof_target_info{pid=\"%d\",program=\"",
			(int)answers[i].served->pid);
		put_plain(file, answers[i].served->program);
		fputs("\"} 1\n", file);
	}
	put_head(file, "leakprof_serve_results_total", "counter",
		 "Collections of leakprof serve, by result.");
	for (i = 0; i < count; i++) {
		struct lp_served *served = answers[i].served;

		pthread_mutex_lock(&served->lock);
		fprintf(file,
			"leakprof_serve_results_total{pid=\"%d\",result=\"good\"} %" PRIu64 "\n"
			"leakprof_serve_results_total{pid=\"%d\",result=\"failed\"} %" PRIu64 "\n",
			(int)served->pid, served->results, (int)served->pid, served->failures);
		pthread_mutex_unlock(&served->lock);
	}
	put_head(file, "leakprof_serve_received_bytes_total", "counter",
		 "Bytes of raw snapshots that leakprof serve got.");
	for (i = 0; i < count; i++) {
		pthread_mutex_lock(&answers[i].served->lock);
		fprintf(file, "leakprof_serve_received_bytes_total{pid=\"%d\"} %" PRIu64 "\n",
			(int)answers[i].served->pid, answers[i].served->bytes);
		pthread_mutex_unlock(&answers[i].served->lock);
	}
}

static void hear(struct answer *answer)
{
	struct lp_served *served = answer->served;
	struct lp_target target;
	char why[512];

	if (!lp_served_ready(served, why, sizeof(why)))
		return;
	pthread_mutex_lock(&served->lock);
	target = served->target;
	pthread_mutex_unlock(&served->lock);
	answer->heard = !lp_target_stats(&target, STATS_TIMEOUT_MS, &answer->stats);
}

char *lp_page_metrics(struct lp_serve *serve)
{
	struct answer *answers = calloc(serve->target_count, sizeof(*answers));
	char *text = NULL;
	size_t size;
	FILE *file = answers ? open_memstream(&text, &size) : NULL;
	size_t i;

	for (i = 0; file && i < serve->target_count; i++) {
		answers[i].served = &serve->targets[i];
		hear(&answers[i]);
	}
	if (file) {
		put_own(file, answers, serve->target_count);
		put_states(file, answers, serve->target_count);
		put_waits(file, answers, serve->target_count);
		for (i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
			put_metric(file, &metrics[i], answers, serve->target_count);
		fclose(file);
	}
	free(answers);
	return text;
}
