/* SPDX-License-Identifier: MIT */
/*
 * The verbs that read a file: report and info. report --from-snapshot=OUTPUT is what a snapshot
 * starts: a raw stream on standard input becomes the profile OUTPUT.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "report/suspects.h"

static int read_level(const char *text, int *level)
{
	if (strcmp(text, "1") && strcmp(text, "2"))
		return lp_usage("--debug takes 1 or 2, not %s", text);
	*level = text[0] - '0';
	return LP_EXIT_OK;
}

static int from_snapshot(const char *output)
{
	struct lp_report *report;
	void *data;
	size_t size;
	int code = lp_load_file("-", &report);

	if (code)
		return code;
	code = lp_report_profile(report, &data, &size)
		       ? lp_fail(LP_EXIT_FAILED, "there is not enough memory for the profile")
		       : LP_EXIT_OK;
	lp_report_free(report);
	if (code)
		return code;
	code = lp_write_file(output, data, size);
	free(data);
	return code;
}

/* Where all goroutines are shown: that some of the live ones look stuck. */
static void hint_at_suspects(const struct lp_report *report, const char *path)
{
	struct lp_suspects suspects = {.report = NULL};

	if (!lp_suspects_find(&suspects, report, NULL, &LP_SUSPECT_RULES) && suspects.count)
		printf("\n%" PRIu64
		       " goroutine%s at %zu site%s look%s stuck: leakprof suspects %s\n",
		       suspects.goroutines, suspects.goroutines == 1 ? "" : "s", suspects.count,
		       suspects.count == 1 ? "" : "s", suspects.goroutines == 1 ? "s" : "", path);
	lp_suspects_free(&suspects);
}

static int print(const struct lp_report *report, const char *path, int level)
{
	int r = level ? lp_report_debug(report, stdout, level)
		      : lp_report_text(report, stdout, lp_may_colour(stdout));

	if (!r && !level && report->profile == LP_PROFILE_GOROUTINE)
		hint_at_suspects(report, path);
	if (r == -ENOTSUP)
		return lp_fail(LP_EXIT_INPUT,
			       "%s is a profile, which does not hold single goroutines: take a raw "
			       "snapshot with "
			       "leakprof snapshot -o FILE.raw or leakprof run --keep-raw",
			       path);
	if (r)
		return lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s",
			       strerror(-r));
	return lp_report_unmeasured(report) ? LP_EXIT_UNMEASURED : LP_EXIT_OK;
}

int lp_verb_report(int argc, char **argv)
{
	static const struct option options[] = {{"debug", required_argument, NULL, 'd'},
						{"profile", required_argument, NULL, 'p'},
						{"from-snapshot", required_argument, NULL, 's'},
						{0}};
	enum lp_profile profile = LP_PROFILE_STORED;
	struct lp_report *report;
	int level = 0;
	int code;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			return from_snapshot(optarg);
		if (option != 'd' && option != 'p')
			return LP_EXIT_USAGE;
		code = option == 'd' ? read_level(optarg, &level)
				     : lp_read_profile_name(optarg, &profile);
		if (code)
			return code;
	}
	if (optind + 1 != argc)
		return lp_usage("report takes one FILE");
	code = lp_load_file_as(argv[optind], profile, &report);
	if (code)
		return code;
	code = print(report, argv[optind], level);
	lp_report_free(report);
	return code;
}

int lp_verb_info(int argc, char **argv)
{
	struct lp_report *report;
	int code;
	int r;

	if (argc != 2 || argv[1][0] == 0)
		return lp_usage("info takes one FILE");
	code = lp_load_file_as(argv[1], LP_PROFILE_STORED, &report);
	if (code)
		return code;
	r = lp_report_info(report, stdout);
	if (r)
		code = lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s",
			       strerror(-r));
	else if (lp_report_unmeasured(report))
		code = LP_EXIT_UNMEASURED;
	lp_report_free(report);
	return code;
}
