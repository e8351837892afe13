/* SPDX-License-Identifier: MIT */
/*
 * The result of a check as SARIF 2.1.0 (OASIS), for code scanning services. Paths below the working
 * folder are relative to %SRCROOT%, which is how services find the file in a repository. What a
 * baseline knows or a suppression put aside is in the log too, and marked as such.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/format.h"
#include "report/results.h"

#define SCHEMA "https://json.schemastore.org/sarif-2.1.0.json"
#define RULE "goroutine-leak"
#define RULE_TEXT                                                                                  \
	"A goroutine waits for ever: nothing that can still run can reach what it waits on. It "   \
	"holds its stack, and all that the stack points to, until the process ends."

static json_t *message(const char *text)
{
	json_t *object = json_object();

	lp_json_string(object, "text", text);
	return object;
}

static json_t *artifact(const char *file, const char *root)
{
	const char *relative = lp_relative_path(file, root);
	json_t *object = json_object();
	char *uri = NULL;

	if (relative != file) {
		lp_json_string(object, "uri", relative);
		json_object_set_new(object, "uriBaseId", json_string("%SRCROOT%"));
	} else if (asprintf(&uri, "%s%s", *file == '/' ? "file://" : "", file) >= 0) {
		lp_json_string(object, "uri", uri);
		free(uri);
	}
	return object;
}

/* Where FRAME is, with TEXT beside it (or NULL). */
static json_t *location(const struct lp_frame *frame, const char *text, const char *root)
{
	json_t *object = json_object();
	json_t *place = json_object();

	if (*frame->file) {
		json_object_set_new(place, "artifactLocation", artifact(frame->file, root));
		if (frame->line > 0)
			json_object_set_new(
				place, "region",
				json_pack("{s:I}", "startLine", (json_int_t)frame->line));
		json_object_set_new(object, "physicalLocation", place);
	} else {
		json_decref(place);
	}
	json_object_set_new(object, "logicalLocations",
			    json_pack("[{s:o, s:s}]", "fullyQualifiedName",
				      lp_json_text(frame->function), "kind", "function"));
	if (text)
		json_object_set_new(object, "message", message(text));
	return object;
}

static json_t *stack(const struct lp_site *site, const char *root)
{
	json_t *frames = json_array();
	size_t i;
	size_t j;

	for (i = 0; i < site->location_count; i++)
		for (j = 0; j < site->locations[i]->frame_count; j++)
			json_array_append_new(
				frames,
				json_pack("{s:o}", "location",
					  location(&site->locations[i]->frames[j], NULL, root)));
	return json_pack("[{s:o, s:o}]", "message", message("where it waits"), "frames", frames);
}

static const char *baseline_state(enum lp_finding_status status)
{
	return status == LP_FOUND_KNOWN	  ? "unchanged"
	       : status == LP_FOUND_GROWN ? "updated"
					  : "new";
}

static void add_fingerprint(json_t *result, const struct lp_finding *finding)
{
	char text[32];

	snprintf(text, sizeof(text), "%016" PRIx64, finding->fingerprint);
	json_object_set_new(result, "partialFingerprints",
			    json_pack("{s:s}", "leakprofSite/v1", text));
}

static json_t *result_object(const struct lp_results *results, const struct lp_finding *finding,
			     const char *root)
{
	const struct lp_site *site = finding->site;
	const struct lp_frame *frame = lp_site_frame(site);
	json_t *result = json_object();
	char title[1024];

	lp_finding_title(finding, results->mode, title, sizeof(title));
	json_object_set_new(result, "ruleId", json_string(RULE));
	json_object_set_new(result, "level", json_string("error"));
	json_object_set_new(result, "kind", json_string("fail"));
	json_object_set_new(result, "message", message(title));
	json_object_set_new(result, "occurrenceCount", json_integer((json_int_t)site->count));
	json_object_set_new(result, "baselineState", json_string(baseline_state(finding->status)));
	if (frame)
		json_object_set_new(result, "locations",
				    json_pack("[o]", location(frame, NULL, root)));
	if (site->creator.function)
		json_object_set_new(
			result, "relatedLocations",
			json_pack("[o]", location(&site->creator, "created here", root)));
	json_object_set_new(result, "stacks", stack(site, root));
	add_fingerprint(result, finding);
	if (finding->rule)
		json_object_set_new(result, "suppressions",
				    json_pack("[{s:s, s:o}]", "kind", "external", "justification",
					      lp_json_text(finding->rule->text)));
	return result;
}

static json_t *tool_object(void)
{
	return json_pack("{s:{s:s, s:s, s:[{s:s, s:{s:s}, s:{s:s}}]}}", "driver", "name",
			 "leakprof", "version", LP_VERSION, "rules", "id", RULE, "shortDescription",
			 "text", "A goroutine is leaked", "fullDescription", "text", RULE_TEXT);
}

/* Nothing measured is a failure of the tool, not a log without results. */
static json_t *invocation_object(const struct lp_results *results)
{
	json_t *object = json_object();

	json_object_set_new(object, "executionSuccessful", json_boolean(!results->unmeasured));
	lp_json_string(object, "commandLine", results->command);
	if (results->unmeasured)
		json_object_set_new(object, "toolExecutionNotifications",
				    json_pack("[{s:s, s:o}]", "level", "error", "message",
					      message(results->unmeasured)));
	return object;
}

int lp_format_sarif(const struct lp_results *results, FILE *file)
{
	char *root = getcwd(NULL, 0);
	json_t *list = json_array();
	char *base = NULL;
	json_t *log;
	size_t i;
	int r = -ENOMEM;

	for (i = 0; root && i < results->finding_count; i++)
		json_array_append_new(list, result_object(results, &results->findings[i], root));
	if (root && asprintf(&base, "file://%s/", root) >= 0) {
		log = json_pack("{s:s, s:s, s:[{s:o, s:{s:{s:o}}, s:[o], s:o}]}", "$schema", SCHEMA,
				"version", "2.1.0", "runs", "tool", tool_object(),
				"originalUriBaseIds", "%SRCROOT%", "uri", lp_json_text(base),
				"invocations", invocation_object(results), "results", list);
		r = lp_json_write(log, file);
	} else {
		json_decref(list);
	}
	free(base);
	free(root);
	return r;
}
