/* SPDX-License-Identifier: MIT */
/*
 * leakprof diff: what leaked more, or less, in one profile than in another.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "report/compare.h"

static int write_profile(struct lp_tally *tallies, const struct lp_report *after,
			 const char *output)
{
	void *data;
	size_t size;
	int code;

	if (lp_diff_profile(tallies, after, &data, &size))
		return lp_fail(LP_EXIT_FAILED, "there is not enough memory for the profile");
	code = lp_write_file(output, data, size);
	free(data);
	return code;
}

static int compare(const struct lp_report *before, const struct lp_report *after,
		   const char *output)
{
	struct lp_tally *tallies = NULL;
	int code = LP_EXIT_OK;
	int r;

	if (lp_tally_add_report(&tallies, LP_BEFORE, before) ||
	    lp_tally_add_report(&tallies, LP_AFTER, after))
		code = lp_fail(LP_EXIT_FAILED, "there is not enough memory to compare");
	if (!code && output)
		code = write_profile(tallies, after, output);
	r = code || output ? 0 : lp_diff_text(&tallies, stdout);
	if (r)
		code = lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s",
			       strerror(-r));
	lp_tally_free(&tallies);
	return code;
}

/* A profile that measured nothing has no place in a comparison. */
static int load(const char *path, struct lp_report **report)
{
	int code = lp_load_file(path, report);
	const char *why = code ? NULL : lp_report_unmeasured(*report);

	return why ? lp_fail(LP_EXIT_UNMEASURED, "%s: nothing measured: %s", path, why) : code;
}

int lp_verb_diff(int argc, char **argv)
{
	static const struct option options[] = {{"output", required_argument, NULL, 'o'}, {0}};
	struct lp_report *before = NULL;
	struct lp_report *after = NULL;
	const char *output = NULL;
	int option;
	int code;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option != 'o')
			return LP_EXIT_USAGE;
		output = optarg;
	}
	if (optind + 2 != argc)
		return lp_usage("diff takes two files");
	code = load(argv[optind], &before);
	if (!code)
		code = load(argv[optind + 1], &after);
	if (!code)
		code = compare(before, after, output);
	lp_report_free(before);
	lp_report_free(after);
	return code;
}
