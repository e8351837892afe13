/* SPDX-License-Identifier: MIT */
/*
 * What a report knows and pprof has no field for, as facts in a comment of the profile (profile.c),
 * so that a report can be made from the profile alone. Every fact is KEYWORD and values, the last
 * of which may hold spaces:
 *
 *     leakprof VERSION
 *     process PID SERIAL TRIGGER MEASURED START_NS PROGRAM
 *     command COMMAND LINE
 *     runtime CREATED FINISHED NAME
 *     figure NAME VALUE
 *     states RUNNING RUNNABLE WAITING IO SLEEPING
 *     site OLDEST_NS STACK_BYTES HEAP_BYTES STATE    one for each sample, in their order
 *     note SEVERITY TEXT
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/stream_names.h"
#include "report/report.h"

struct sink {
	void (*add)(void *context, const char *line);
	void *context;
};

static void write_line(const struct sink *sink, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void write_line(const struct sink *sink, const char *format, ...)
{
	va_list arguments;
	char *line;

	va_start(arguments, format);
	if (vasprintf(&line, format, arguments) >= 0) {
		sink->add(sink->context, line);
		free(line);
	}
	va_end(arguments);
}

void lp_report_write_comments(const struct lp_report *report,
			      void (*add)(void *context, const char *line), void *context)
{
	const struct sink sink = {add, context};
	size_t i;

	write_line(&sink, "leakprof %s", report->version);
	write_line(&sink, "process %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %s",
		   report->pid, report->serial, report->trigger, report->measured, report->start_ns,
		   report->program);
	write_line(&sink, "command %s", report->cmdline);
	for (i = 0; i < report->runtime_count; i++)
		write_line(&sink, "runtime %" PRIu64 " %" PRIu64 " %s", report->runtimes[i].created,
			   report->runtimes[i].finished, report->runtimes[i].name);
	for (i = 0; i < lp_figure_name_count; i++)
		write_line(&sink, "figure %s %" PRIu64, lp_figure_names[i].name,
			   report->figures[lp_figure_names[i].key]);
	write_line(&sink, "states %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
		   report->states[LP_STATE_RUNNING], report->states[LP_STATE_RUNNABLE],
		   report->states[LP_STATE_WAITING], report->states[LP_STATE_IO],
		   report->states[LP_STATE_SLEEP]);
	for (i = 0; i < report->site_count; i++)
		write_line(&sink, "site %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32,
			   report->sites[i].oldest_ns, report->sites[i].stack_bytes,
			   report->sites[i].heap_bytes, report->sites[i].state);
	for (i = 0; i < report->note_count; i++)
		write_line(&sink, "note %d %s", (int)report->notes[i].severity,
			   report->notes[i].text);
}

/* --- Reading --- */

/* Appends to an array that grows by doubling within the report's memory. */
static void *append(struct lp_report *report, void *array, size_t *count, size_t element)
{
	void **data = array;
	void *larger;

	if ((*count & (*count - 1)) == 0) {
		larger = lp_report_alloc(report, (*count ? 2 * *count : 1) * element);
		if (!larger)
			return NULL;
		if (*count)
			memcpy(larger, *data, *count * element);
		*data = larger;
	}
	return (char *)*data + (*count)++ * element;
}

static void read_process(struct lp_report *report, const char *values)
{
	int n = 0;

	if (sscanf(values, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu64 " %n",
		   &report->pid, &report->serial, &report->trigger, &report->measured,
		   &report->start_ns, &n) == 5 &&
	    n)
		report->program = lp_report_keep(report, values + n);
}

static void read_command(struct lp_report *report, const char *values)
{
	report->cmdline = lp_report_keep(report, values);
}

static void read_runtime(struct lp_report *report, const char *values)
{
	struct lp_report_runtime runtime = {.path = ""};
	struct lp_report_runtime *added;
	int n = 0;

	if (sscanf(values, "%" SCNu64 " %" SCNu64 " %n", &runtime.created, &runtime.finished, &n) !=
		    2 ||
	    !n)
		return;
	runtime.name = lp_report_keep(report, values + n);
	added = append(report, &report->runtimes, &report->runtime_count, sizeof(*added));
	if (added)
		*added = runtime;
}

static void read_figure(struct lp_report *report, const char *values)
{
	char name[32];
	uint64_t value;
	size_t i;

	if (sscanf(values, "%31s %" SCNu64, name, &value) != 2)
		return;
	for (i = 0; i < lp_figure_name_count; i++)
		if (!strcmp(name, lp_figure_names[i].name))
			report->figures[lp_figure_names[i].key] = value;
}

static void read_states(struct lp_report *report, const char *values)
{
	uint64_t *states = report->states;

	if (sscanf(values, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   &states[LP_STATE_RUNNING], &states[LP_STATE_RUNNABLE], &states[LP_STATE_WAITING],
		   &states[LP_STATE_IO], &states[LP_STATE_SLEEP]) != 5)
		memset(states, 0, sizeof(report->states));
}

/* For the next site that has no facts yet: profile.c made the sites before. */
static void read_site(struct lp_report *report, const char *values)
{
	struct lp_site *site;

	if (report->goroutine_count >= report->site_count)
		return;
	/* A profile has no goroutines: the count serves as the cursor while it is read. */
	site = &report->sites[report->goroutine_count++];
	if (sscanf(values, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32, &site->oldest_ns,
		   &site->stack_bytes, &site->heap_bytes, &site->state) < 3)
		site->oldest_ns = site->stack_bytes = site->heap_bytes = 0;
	if (site->state > LP_STATE_SLEEP)
		site->state = 0;
}

static void read_note(struct lp_report *report, const char *values)
{
	struct lp_report_note *added;
	int severity;
	int n = 0;

	if (sscanf(values, "%d %n", &severity, &n) != 1 || !n)
		return;
	added = append(report, &report->notes, &report->note_count, sizeof(*added));
	if (added)
		*added = (struct lp_report_note){(enum lp_severity)severity,
						 lp_report_keep(report, values + n)};
}

static void read_version(struct lp_report *report, const char *values)
{
	report->version = lp_report_keep(report, values);
}

void lp_report_read_comment(struct lp_report *report, const char *line)
{
	static const struct {
		const char *keyword;
		void (*read)(struct lp_report *report, const char *values);
	} keywords[] = {
		{"leakprof ", read_version}, {"process ", read_process}, {"command ", read_command},
		{"runtime ", read_runtime},  {"figure ", read_figure},	 {"states ", read_states},
		{"site ", read_site},	     {"note ", read_note},
	};
	size_t i;

	for (i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (!strncmp(line, keywords[i].keyword, strlen(keywords[i].keyword)))
			keywords[i].read(report, line + strlen(keywords[i].keyword));
}
