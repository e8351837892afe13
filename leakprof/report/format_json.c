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

static json_t *leak_object(const struct lp_finding *finding)
{
	json_t *object = json_object();

	json_object_set_new(object, "status", json_string(lp_finding_status_name(finding->status)));
	lp_json_fingerprint(object, finding->fingerprint);
	json_object_set_new(object, "pid", json_integer(finding->report->pid));
	json_object_set_new(object, "baseline", json_integer((json_int_t)finding->known));
	lp_json_string(object, "suppressed_by", finding->rule ? finding->rule->text : NULL);
	lp_json_site(object, finding->report, finding->site);
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
