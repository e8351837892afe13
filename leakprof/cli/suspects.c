/* SPDX-License-Identifier: MIT */
/*
 * leakprof suspects: goroutines that are no leaks, but look stuck. What it finds is no failure.
 */
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/options.h"
#include "report/suspects.h"

struct request {
	struct lp_suspect_rules rules;
	const char *earlier;
	const char *output;
	bool json;
};

static int read_age(const char *text, uint64_t *age_ns)
{
	struct lp_options parsed;

	if (lp_options_set(&parsed, "timeout", 7, text, strlen(text)))
		return lp_usage("--min-age takes a time such as 10m, not %s", text);
	*age_ns = parsed.timeout_ns;
	return LP_EXIT_OK;
}

static int read_growth(const char *text, double *growth)
{
	char *end;

	*growth = strtod(text, &end);
	return end != text && !*end && isfinite(*growth) && *growth >= 1
		       ? LP_EXIT_OK
		       : lp_usage("--growth takes a factor of at least 1, not %s", text);
}

static int set_option(struct request *request, int option, const char *value)
{
	switch (option) {
	case 'c':
		return lp_read_count("--min-count", value, &request->rules.min_count);
	case 'a':
		return read_age(value, &request->rules.min_age_ns);
	case 'g':
		return read_growth(value, &request->rules.growth);
	case 's':
		request->earlier = value;
		return LP_EXIT_OK;
	case 'f':
		return lp_read_form(value, &request->json);
	case 'o':
		request->output = value;
		return LP_EXIT_OK;
	}
	return LP_EXIT_USAGE;
}

static int write_profile(const struct lp_suspects *suspects, const char *output)
{
	void *data;
	size_t size;
	int code;

	if (lp_suspects_profile(suspects, &data, &size))
		return lp_fail(LP_EXIT_FAILED, "there is not enough memory for the profile");
	code = lp_write_file(output, data, size);
	free(data);
	return code;
}

static int print(const struct lp_suspects *suspects, bool json)
{
	int r = json ? lp_suspects_json(suspects, stdout)
		     : lp_suspects_text(suspects, stdout, lp_may_colour(stdout));

	return r ? lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s", strerror(-r))
		 : LP_EXIT_OK;
}

static int show(const struct request *request, const struct lp_report *report,
		const struct lp_report *earlier)
{
	struct lp_suspects suspects = {.report = NULL};
	int code;

	if (lp_suspects_find(&suspects, report, earlier, &request->rules))
		code = lp_fail(LP_EXIT_FAILED, "there is not enough memory for the suspects");
	else
		code = request->output ? write_profile(&suspects, request->output)
				       : print(&suspects, request->json);
	lp_suspects_free(&suspects);
	return code;
}

static int load(const char *path, struct lp_report **report)
{
	int code = lp_load_file_as(path, LP_PROFILE_GOROUTINE, report);
	const char *why = code ? NULL : lp_report_unmeasured(*report);

	return why ? lp_fail(LP_EXIT_UNMEASURED, "%s: nothing measured: %s", path, why) : code;
}

int lp_verb_suspects(int argc, char **argv)
{
	static const struct option options[] = {{"min-count", required_argument, NULL, 'c'},
						{"min-age", required_argument, NULL, 'a'},
						{"since", required_argument, NULL, 's'},
						{"growth", required_argument, NULL, 'g'},
						{"format", required_argument, NULL, 'f'},
						{"output", required_argument, NULL, 'o'},
						{0}};
	struct request request = {.rules = LP_SUSPECT_RULES};
	struct lp_report *report = NULL;
	struct lp_report *earlier = NULL;
	int option;
	int code = LP_EXIT_OK;

	while (!code && (option = getopt_long(argc, argv, "o:", options, NULL)) != -1)
		code = set_option(&request, option, optarg);
	if (!code && optind + 1 != argc)
		code = lp_usage("suspects takes one FILE");
	if (!code)
		code = load(argv[optind], &report);
	if (!code && request.earlier)
		code = load(request.earlier, &earlier);
	if (!code && earlier && earlier->time_ns > report->time_ns)
		code = lp_usage("%s is later than %s: --since takes the earlier one",
				request.earlier, argv[optind]);
	if (!code)
		code = show(&request, report, earlier);
	lp_report_free(report);
	lp_report_free(earlier);
	return code;
}
