/* SPDX-License-Identifier: MIT */
/*
 * leakprof snapshot: asks a running program for a collection (target.h), and writes it.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/target.h"

#define DEFAULT_TIMEOUT_MS 10000

struct result {
	void *data;
	size_t size;
	struct lp_report *report;
};

static int print_debug(const struct lp_report *report, int level)
{
	int r = lp_report_debug(report, stdout, level);

	return r ? lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s", strerror(-r))
		 : LP_EXIT_OK;
}

static int write_profile(const struct lp_report *report, const char *output)
{
	void *data;
	size_t size;
	int code;

	if (lp_report_profile(report, &data, &size))
		return lp_fail(LP_EXIT_FAILED, "there is not enough memory for the profile");
	code = lp_write_file(output, data, size);
	free(data);
	return code;
}

/* The exit code of a result that was written: whether it is one. */
static int judge(const struct lp_report *report)
{
	const char *why = lp_report_unmeasured(report);

	if (!why)
		return LP_EXIT_OK;
	if (report->measured == LP_MEASURED_FAILED)
		return lp_fail(LP_EXIT_FAILED, "the collection failed: %s", why);
	return lp_fail(LP_EXIT_UNMEASURED, "nothing measured: %s", why);
}

static int deliver(const struct result *result, const char *output, int level)
{
	const struct lp_report *report = result->report;
	char name[PATH_MAX];
	int code;

	lp_report_name(report, output ? output : "leakprof.%p.pb.gz", name, sizeof(name));
	output = name;
	if (level)
		code = print_debug(report, level);
	else if (lp_is_raw_name(output))
		code = lp_write_file(output, result->data, result->size);
	else
		code = write_profile(report, output);
	if (!code && !level && strcmp(output, "-")) {
		fprintf(stderr, "leakprof: %s: ", output);
		lp_report_summary(report, stderr);
	}
	return code ? code : judge(report);
}

struct arguments {
	const char *output;
	enum lp_profile profile;
	int level;
	int timeout_ms;
	pid_t pid;
};

static int parse(struct arguments *arguments, int argc, char **argv)
{
	static const struct option options[] = {{"output", required_argument, NULL, 'o'},
						{"debug", required_argument, NULL, 'd'},
						{"profile", required_argument, NULL, 'p'},
						{"timeout", required_argument, NULL, 't'},
						{0}};
	int option;
	int code = LP_EXIT_OK;

	*arguments =
		(struct arguments){.profile = LP_PROFILE_LEAK, .timeout_ms = DEFAULT_TIMEOUT_MS};
	while (!code && (option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == 'o')
			arguments->output = optarg;
		else if (option == 'd' && (!strcmp(optarg, "1") || !strcmp(optarg, "2")))
			arguments->level = optarg[0] - '0';
		else if (option == 'p')
			code = lp_read_profile_name(optarg, &arguments->profile);
		else if (option == 't')
			code = lp_read_timeout(optarg, &arguments->timeout_ms);
		else if (option == '?')
			code = LP_EXIT_USAGE;
		else
			code = lp_usage("bad value %s", optarg);
	}
	if (code)
		return code;
	if (optind + 1 != argc)
		return lp_usage("snapshot takes one PID");
	arguments->pid = lp_read_pid(argv[optind]);
	return arguments->pid ? LP_EXIT_OK : lp_usage("%s is no PID", argv[optind]);
}

static int take(const struct lp_target *target, const struct arguments *arguments)
{
	struct result result;
	int code = lp_target_collect(target, arguments->timeout_ms, &result.data, &result.size);

	if (code)
		return code;
	code = lp_target_load(target, arguments->profile, result.data, result.size, &result.report);
	if (!code) {
		code = deliver(&result, arguments->output, arguments->level);
		lp_report_free(result.report);
	}
	free(result.data);
	return code;
}

int lp_verb_snapshot(int argc, char **argv)
{
	struct arguments arguments;
	struct lp_target target;
	int code = parse(&arguments, argc, argv);

	if (!code)
		code = lp_target_open(&target, arguments.pid);
	if (code)
		return code;
	code = take(&target, &arguments);
	lp_target_close(&target);
	return code;
}
