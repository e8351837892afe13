/* SPDX-License-Identifier: MIT */
/*
 * The result of a check as JSON. Its shape is docs/check.schema.json; "version" grows when
 * something is taken away or changes its meaning, not when something is added.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "report/format.h"
#include "report/results.h"

#define SHAPE_VERSION 1

static json_t *frame_object(const struct lp_frame *frame)
{
	json_t *object = json_object();

	lp_json_string(object, "function", frame->function);
	lp_json_string(object, "file", frame->file);
	json_object_set_new(object, "line", json_integer(frame->line));
	json_object_set_new(object, "inlined", json_boolean(frame->inlined));
	return object;
}

static void add_frames(json_t *stack, const struct lp_finding *finding, size_t i)
{
	const struct lp_location *location = finding->site->locations[i];
	size_t j;

	for (j = 0; j < location->frame_count; j++) {
		json_t *frame = frame_object(&location->frames[j]);
		char address[32];

		snprintf(address, sizeof(address), "0x%llx", (unsigned long long)location->address);
		json_object_set_new(frame, "address", json_string(address));
		json_object_set_new(frame, "runtime", json_boolean(location->runtime));
		lp_json_string(frame, "module",
			       location->mapping == LP_NONE
				       ? ""
				       : finding->report->mappings[location->mapping].path);
		json_array_append_new(stack, frame);
	}
}

static json_t *leak_object(const struct lp_finding *finding)
{
	const struct lp_site *site = finding->site;
	json_t *object = json_object();
	json_t *labels = json_object();
	json_t *stack = json_array();
	char fingerprint[32];
	size_t i;

	snprintf(fingerprint, sizeof(fingerprint), "%016llx",
		 (unsigned long long)finding->fingerprint);
	json_object_set_new(object, "status", json_string(lp_finding_status_name(finding->status)));
	json_object_set_new(object, "fingerprint", json_string(fingerprint));
	json_object_set_new(object, "pid", json_integer(finding->report->pid));
	json_object_set_new(object, "count", json_integer((json_int_t)site->count));
	json_object_set_new(object, "baseline", json_integer((json_int_t)finding->known));
	lp_json_string(object, "suppressed_by", finding->rule ? finding->rule->text : NULL);
	lp_json_string(object, "wait", site->wait);
	json_object_set_new(object, "oldest_ns", json_integer((json_int_t)site->oldest_ns));
	json_object_set_new(object, "stack_bytes", json_integer((json_int_t)site->stack_bytes));
	json_object_set_new(object, "heap_bytes", json_integer((json_int_t)site->heap_bytes));
	for (i = 0; i < site->label_count; i++)
		lp_json_string(labels, site->labels[i].key, site->labels[i].value);
	json_object_set_new(object, "labels", labels);
	for (i = 0; i < site->location_count; i++)
		add_frames(stack, finding, i);
	json_object_set_new(object, "stack", stack);
	json_object_set_new(object, "created_by",
			    site->creator.function ? frame_object(&site->creator) : json_null());
	return object;
}

static json_t *process_object(const struct lp_report *report)
{
	static const struct {
		const char *name;
		enum lp_figure figure;
	} counts[] = {{"created", LP_FIG_CREATED},
		      {"finished", LP_FIG_FINISHED},
		      {"existing", LP_FIG_GOROUTINES},
		      {"leaked", LP_FIG_LEAKED}};
	json_t *object = json_object();
	json_t *goroutines = json_object();
	json_t *runtimes = json_array();
	json_t *notes = json_array();
	size_t i;

	json_object_set_new(object, "pid", json_integer(report->pid));
	lp_json_string(object, "program", report->program);
	lp_json_string(object, "command", report->cmdline);
	lp_json_string(object, "unmeasured", lp_report_unmeasured(report));
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		json_object_set_new(goroutines, counts[i].name,
				    json_integer((json_int_t)report->figures[counts[i].figure]));
	json_object_set_new(object, "goroutines", goroutines);
	for (i = 0; i < report->runtime_count; i++)
		json_array_append_new(runtimes, lp_json_text(report->runtimes[i].name));
	json_object_set_new(object, "runtimes", runtimes);
	for (i = 0; i < report->note_count; i++)
		json_array_append_new(notes, lp_json_text(report->notes[i].text));
	json_object_set_new(object, "notes", notes);
	return object;
}

static json_t *exit_object(const struct lp_results *results)
{
	int status = results->status;
	json_t *object = json_object();

	json_object_set_new(object, "status",
			    WIFEXITED(status) ? json_integer(WEXITSTATUS(status)) : json_null());
	json_object_set_new(object, "signal",
			    WIFSIGNALED(status) ? json_integer(WTERMSIG(status)) : json_null());
	json_object_set_new(object, "timed_out", json_boolean(results->timed_out));
	return object;
}

static json_t *results_object(const struct lp_results *results)
{
	json_t *object = json_object();
	json_t *processes = json_array();
	json_t *leaks = json_array();
	size_t i;

	json_object_set_new(object, "version", json_integer(SHAPE_VERSION));
	json_object_set_new(object, "tool", json_string("leakprof " LP_VERSION));
	json_object_set_new(object, "mode", json_string(results->mode));
	lp_json_string(object, "command", results->command);
	json_object_set_new(object, "verdict",
			    json_string(results->failing      ? "leaks"
					: results->unmeasured ? "unmeasured"
							      : "clean"));
	lp_json_string(object, "unmeasured", results->unmeasured);
	json_object_set_new(object, "failing_goroutines",
			    json_integer((json_int_t)results->failing_goroutines));
	json_object_set_new(object, "exit", exit_object(results));
	for (i = 0; i < results->report_count; i++)
		json_array_append_new(processes, process_object(results->reports[i]));
	json_object_set_new(object, "processes", processes);
	for (i = 0; i < results->finding_count; i++)
		json_array_append_new(leaks, leak_object(&results->findings[i]));
	json_object_set_new(object, "leaks", leaks);
	return object;
}

int lp_format_json(const struct lp_results *results, FILE *file)
{
	return lp_json_write(results_object(results), file);
}
