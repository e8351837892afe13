/* SPDX-License-Identifier: MIT */
/*
 * leakprof check: runs a program and fails when goroutines are left. The program's own failure
 * comes first: its exit status or signal is passed on, and leaks are only told of. Where nothing
 * was measured, there is no pass.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/launch.h"
#include "core/options.h"
#include "report/results.h"

#define FORMS_MAX 16
#define KILL_AFTER_NS 5000000000u
#define SETTLE_NS 500000000u
#define LEAK_CODE 23 /* LeakSanitizer's */

static const char no_memory[] = "there is not enough memory for the result";

/* --- Forms of the result --- */

struct form {
	const char *name;
	int (*write)(const struct lp_results *results, FILE *file); /* NULL: a profile */
	bool errors; /* to standard error where no file is named */
};

static const struct form forms[] = {
	{"text", lp_format_text, true},	     {"json", lp_format_json, false},
	{"junit", lp_format_junit, false},   {"sarif", lp_format_sarif, false},
	{"github", lp_format_github, false}, {"pprof", NULL, false},
};

struct output {
	const struct form *form;
	const char *path; /* NULL: standard output or error */
};

enum follow { FOLLOW_FORK = 1, FOLLOW_EXEC = 2 };

struct check {
	struct lp_launch launch;
	struct lp_rules rules;
	struct output outputs[FORMS_MAX];
	size_t output_count;
	const char *mode;
	const char *baseline;
	struct lp_report *known;   /* what it holds; NULL: there is none */
	struct lp_report *nothing; /* where no process sent a stream: says why */
	uint64_t timeout_ns;
	uint64_t settle_ns; /* alive mode: for goroutines to end */
	bool from_snapshot; /* answers a check of the program itself: runtime_hooks/leak_check.c */
	unsigned follow;    /* enum follow bits */
	int exit_code;
	bool update; /* the baseline, instead of failing */
	bool generate;
	bool quiet;
};

/* --- Options --- */

/* Reads a number or a time as option NAME of the table does. */
static int read_quantity(const char *name, const char *value, uint64_t *quantity)
{
	struct lp_options options;

	lp_options_default(&options);
	if (lp_options_set(&options, name, strlen(name), value, strlen(value)))
		return -EINVAL;
	*quantity = strcmp(name, "timeout") ? options.confirm : options.timeout_ns;
	return 0;
}

/* "json" or "json:FILE". */
static int add_output(struct check *check, char *text)
{
	char *colon = strchr(text, ':');
	size_t i;

	if (colon)
		*colon = 0;
	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (strcmp(forms[i].name, text))
			continue;
		if (check->output_count == FORMS_MAX)
			return lp_usage("there are more than %d formats", FORMS_MAX);
		if (!forms[i].write && !colon)
			return lp_usage("a profile needs a file: --format=pprof:FILE");
		check->outputs[check->output_count++] =
			(struct output){&forms[i], colon ? colon + 1 : NULL};
		return LP_EXIT_OK;
	}
	return lp_usage("there is no format %s", text);
}

static int add_outputs(struct check *check, const char *value)
{
	/* Kept, as files are named in it; the arguments stay as they are, to be passed on. */
	char *list = strdup(value);
	char *item;
	int code = list ? LP_EXIT_OK : LP_EXIT_FAILED;

	if (!lp_format_junit && strstr(value, "junit"))
		return lp_delegate();
	while (!code && (item = strsep(&list, ",")))
		code = add_output(check, item);
	return code;
}

static int add_rules(struct check *check, const char *origin, const char *text)
{
	int r = lp_rules_add(&check->rules, origin, text);

	if (r == -EINVAL)
		return lp_fail(LP_EXIT_INPUT, "%s", check->rules.error);
	return r ? lp_fail(LP_EXIT_FAILED, "there is not enough memory for %s", origin)
		 : LP_EXIT_OK;
}

static int read_rules(struct check *check, const char *path)
{
	void *data;
	size_t size;
	char *text;
	int code = lp_read_file(path, &data, &size);

	if (code)
		return code;
	text = strndup(data, size);
	code = add_rules(check, path, text ? text : "");
	free(text);
	free(data);
	return code;
}

static int set_follow(struct check *check, char *list)
{
	char *item;

	check->follow = 0;
	while ((item = strsep(&list, ","))) {
		if (!strcmp(item, "fork"))
			check->follow |= FOLLOW_FORK;
		else if (!strcmp(item, "exec"))
			check->follow |= FOLLOW_EXEC;
		else if (strcmp(item, "none"))
			return lp_usage("--follow takes fork, exec or none, not %s", item);
	}
	return LP_EXIT_OK;
}

static int set_exit_code(struct check *check, const char *value)
{
	uint64_t code;

	if (read_quantity("confirm", value, &code) || code > 255)
		return lp_usage("--exitcode takes a number from 0 to 255, not %s", value);
	check->exit_code = (int)code;
	return LP_EXIT_OK;
}

static int set_time(const char *name, const char *value, uint64_t *time_ns)
{
	if (read_quantity("timeout", value, time_ns))
		return lp_usage("--%s takes a time such as 90s or 500ms, not %s", name, value);
	return LP_EXIT_OK;
}

static int set_mode(struct check *check, const char *value)
{
	if (strcmp(value, "unreachable") && strcmp(value, "alive"))
		return lp_usage("--mode takes unreachable or alive, not %s", value);
	check->mode = value;
	return LP_EXIT_OK;
}

enum {
	OPTION_EXIT_CODE = 256,
	OPTION_TIMEOUT,
	OPTION_FOLLOW,
	OPTION_MODE,
	OPTION_SUPPRESSIONS,
	OPTION_SUPPRESS,
	OPTION_GENERATE,
	OPTION_BASELINE,
	OPTION_UPDATE,
	OPTION_FORMAT,
	OPTION_SETTLE,
	OPTION_FROM_SNAPSHOT,
};

static const struct option own_options[] = {
	{"exitcode", required_argument, NULL, OPTION_EXIT_CODE},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"follow", required_argument, NULL, OPTION_FOLLOW},
	{"mode", required_argument, NULL, OPTION_MODE},
	{"suppressions", required_argument, NULL, OPTION_SUPPRESSIONS},
	{"suppress", required_argument, NULL, OPTION_SUPPRESS},
	{"gen-suppressions", no_argument, NULL, OPTION_GENERATE},
	{"baseline", required_argument, NULL, OPTION_BASELINE},
	{"update-baseline", no_argument, NULL, OPTION_UPDATE},
	{"format", required_argument, NULL, OPTION_FORMAT},
	{"settle", required_argument, NULL, OPTION_SETTLE},
	{"from-snapshot", no_argument, NULL, OPTION_FROM_SNAPSHOT},
	{"quiet", no_argument, NULL, 'q'},
};

static int set_option(struct check *check, int option, char *value)
{
	switch (option) {
	case OPTION_EXIT_CODE:
		return set_exit_code(check, value);
	case OPTION_TIMEOUT:
		return set_time("timeout", value, &check->timeout_ns);
	case OPTION_FOLLOW:
		return set_follow(check, value);
	case OPTION_MODE:
		return set_mode(check, value);
	case OPTION_SUPPRESSIONS:
		return read_rules(check, value);
	case OPTION_SUPPRESS:
		return add_rules(check, "--suppress", value);
	case OPTION_GENERATE:
		check->generate = true;
		return LP_EXIT_OK;
	case OPTION_BASELINE:
		check->baseline = value;
		return LP_EXIT_OK;
	case OPTION_UPDATE:
		check->update = true;
		return LP_EXIT_OK;
	case OPTION_FORMAT:
		return add_outputs(check, value);
	case OPTION_SETTLE:
		return set_time("settle", value, &check->settle_ns);
	case OPTION_FROM_SNAPSHOT:
		check->from_snapshot = true;
		return LP_EXIT_OK;
	case 'q':
		check->quiet = true;
		return LP_EXIT_OK;
	default:
		return option < LP_LAUNCH_OPTION
			       ? LP_EXIT_USAGE
			       : lp_launch_pass_option(&check->launch, option, value);
	}
}

static bool is_alive(const struct check *check)
{
	return !strcmp(check->mode, "alive");
}

static int parse(struct check *check, int argc, char **argv)
{
	struct option options[64] = {{0}};
	size_t count = sizeof(own_options) / sizeof(own_options[0]);
	int option;
	int code = LP_EXIT_OK;

	memcpy(options, own_options, sizeof(own_options));
	lp_launch_init(&check->launch, LP_OPT_CHECK, options, &count);
	check->mode = "unreachable";
	check->settle_ns = SETTLE_NS;
	check->exit_code = LEAK_CODE;
	check->follow = FOLLOW_FORK | FOLLOW_EXEC;
	while (!code && (option = getopt_long(argc, argv, "+q", options, NULL)) != -1)
		code = set_option(check, option, optarg);
	check->launch.arguments = argv + optind;
	check->launch.how = (struct lp_load){
		.profile = is_alive(check) ? LP_PROFILE_GOROUTINE : LP_PROFILE_LEAK, .check = true};
	if (!code && !check->output_count)
		check->outputs[check->output_count++] = (struct output){&forms[0], NULL};
	if (!code && check->update && !check->baseline)
		code = lp_usage("--update-baseline needs --baseline=FILE");
	return code || optind < argc || check->from_snapshot ? code
							     : lp_usage("check takes a PROGRAM");
}

/* --- Running --- */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Until the program has ended; one that takes too long is made to. */
static void await(struct check *check, struct lp_results *results)
{
	uint64_t begin = now_ns(CLOCK_MONOTONIC);
	uint64_t deadline = check->timeout_ns ? begin + check->timeout_ns : 0;

	if (lp_launch_wait(&check->launch, deadline, &results->status)) {
		results->timed_out = true;
		kill(check->launch.child, SIGTERM);
		deadline = now_ns(CLOCK_MONOTONIC) + KILL_AFTER_NS;
		if (lp_launch_wait(&check->launch, deadline, &results->status)) {
			kill(check->launch.child, SIGKILL);
			lp_launch_wait(&check->launch, 0, &results->status);
		}
	}
	results->duration_ns = now_ns(CLOCK_MONOTONIC) - begin;
}

static char *join(char **arguments)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	size_t i;

	for (i = 0; stream && arguments[i]; i++)
		fprintf(stream, "%s%s", i ? " " : "", arguments[i]);
	if (stream)
		fclose(stream);
	return text;
}

/* --- Judging --- */

static bool is_followed(const struct check *check, const struct lp_report *report)
{
	if (report->pid == (uint32_t)check->launch.child)
		return true;
	return check->follow & (report->forked ? FOLLOW_FORK : FOLLOW_EXEC);
}

/*
 * Why the result is no measurement, or NULL. One process that was measured is enough where others
 * have no goroutines (a shell, a test driver); but where a collection failed, a leak may have been
 * missed.
 */
static const char *unmeasured_reason(const struct check *check, const struct lp_results *results)
{
	bool measured = false;
	size_t i;

	for (i = 0; i < results->report_count; i++) {
		const struct lp_report *report = results->reports[i];

		if (report->measured == LP_MEASURED_FAILED)
			return lp_report_unmeasured(report);
		measured |= !lp_report_unmeasured(report);
	}
	if (measured && !check->launch.broken)
		return NULL;
	if (results->report_count && !check->launch.broken)
		return lp_report_unmeasured(results->reports[0]);
	return lp_launch_silence(&check->launch, results->status);
}

/* Takes the reports of the processes that count; the program's own comes first. */
static int take_reports(struct check *check, struct lp_results *results)
{
	size_t i;

	results->reports = calloc(check->launch.stream_count + 1, sizeof(*results->reports));
	if (!results->reports)
		return lp_fail(LP_EXIT_FAILED, "%s", no_memory);
	for (i = 0; i < check->launch.stream_count; i++) {
		struct lp_report *report = check->launch.streams[i].report;
		struct lp_report **place = &results->reports[results->report_count];

		if (!is_followed(check, report))
			continue;
		if (report->pid == (uint32_t)check->launch.child) {
			*place = results->reports[0];
			place = &results->reports[0];
		}
		*place = report;
		results->report_count++;
	}
	results->unmeasured = unmeasured_reason(check, results);
	if (results->report_count)
		return LP_EXIT_OK;
	check->nothing = lp_launch_unmeasured(&check->launch, results->unmeasured);
	results->reports[0] = check->nothing;
	results->report_count = check->nothing != NULL;
	return check->nothing ? LP_EXIT_OK : lp_fail(LP_EXIT_FAILED, "%s", no_memory);
}

/* What the program itself puts aside. */
static int add_own_rules(struct check *check, const struct lp_results *results)
{
	static const char *const origins[] = {"leakprof_default_suppressions", "leakprof_check"};
	int code = LP_EXIT_OK;
	size_t i;
	size_t j;

	for (i = 0; !code && i < results->report_count; i++)
		for (j = 0; !code && j < 2; j++)
			code = add_rules(check, origins[j], results->reports[i]->suppressions[j]);
	return code;
}

static int judge(struct check *check, struct lp_results *results)
{
	int code = add_own_rules(check, results);

	if (!code && lp_results_judge(results, check->known))
		code = lp_fail(LP_EXIT_FAILED, "%s", no_memory);
	return code;
}

/* --- Writing --- */

static int write_form(const struct lp_results *results, const struct form *form, void **data,
		      size_t *size)
{
	FILE *stream;
	char *text = NULL;
	int r;

	if (!form->write)
		return lp_results_profile(results, data, size);
	stream = open_memstream(&text, size);
	if (!stream)
		return -ENOMEM;
	r = form->write(results, stream);
	if (fclose(stream) && !r)
		r = -ENOMEM;
	*data = text;
	return r;
}

/* PATH may have % signs as an output of `run`. */
static int write_file(const struct lp_results *results, const char *path, const void *data,
		      size_t size)
{
	char name[PATH_MAX];

	lp_report_name(results->reports[0], path, name, sizeof(name));
	return lp_write_file(name, data, size);
}

static int write_output(const struct check *check, const struct lp_results *results,
			const struct output *output)
{
	bool dull = !results->failing && !results->unmeasured;
	void *data = NULL;
	size_t size;
	int code = LP_EXIT_OK;

	if (!output->path && output->form->errors && check->quiet && dull)
		return LP_EXIT_OK;
	if (write_form(results, output->form, &data, &size))
		code = lp_fail(LP_EXIT_FAILED, "the result could not be written as %s",
			       output->form->name);
	else if (!output->path && output->form->errors)
		fwrite(data, 1, size, stderr);
	else
		code = write_file(results, output->path ? output->path : "-", data, size);
	free(data);
	return code;
}

/* Lines for a file of suppressions, each once. */
static void generate_rules(const struct lp_results *results)
{
	struct lp_rules printed = {0};
	size_t i;

	for (i = 0; i < results->failing; i++) {
		const struct lp_finding *finding = &results->findings[i];
		char *rule = lp_rule_for(finding->site);
		char title[1024];

		if (rule && !lp_rules_match(&printed, finding->report, finding->site)) {
			lp_finding_title(finding, results->mode, title, sizeof(title));
			fprintf(stderr, "# %s\n%s\n", title, rule);
			lp_rules_add(&printed, "", rule);
		}
		free(rule);
	}
	lp_rules_free(&printed);
}

static int write_outputs(const struct check *check, const struct lp_results *results)
{
	int code = LP_EXIT_OK;
	size_t i;

	for (i = 0; i < check->output_count; i++) {
		int r = write_output(check, results, &check->outputs[i]);

		code = code ? code : r;
	}
	if (check->generate)
		generate_rules(results);
	return code;
}

/* --- For a check of the program itself --- */

static int load_snapshot(struct check *check, struct lp_results *results)
{
	void *data;
	size_t size;
	int code = lp_read_file("-", &data, &size);

	if (code)
		return code;
	if (lp_launch_take(&check->launch, data, size))
		return LP_EXIT_FAILED;
	check->launch.child = (pid_t)check->launch.streams[0].report->pid;
	results->command = strdup(check->launch.streams[0].report->cmdline);
	code = take_reports(check, results);
	return code ? code : judge(check, results);
}

/* Reads a stream and answers as runtime_hooks/leak_check.c wants it. */
static int answer(struct check *check, struct lp_results *results)
{
	char *text = NULL;
	size_t size;
	int code = load_snapshot(check, results);

	if (!code && write_form(results, &forms[0], (void **)&text, &size))
		code = lp_fail(LP_EXIT_FAILED, "%s", no_memory);
	if (code)
		printf("leakprof -2 %zu\nleakprof: %s\n", strlen(lp_failure()) + 11, lp_failure());
	else if (results->failing)
		printf("leakprof %llu %zu\n%s", (unsigned long long)results->failing_goroutines,
		       size, text);
	else if (results->unmeasured)
		printf("leakprof -1 %zu\n%s", size, text);
	else
		puts("leakprof 0 0");
	free(text);
	return code;
}

/* --- The verb --- */

/* What check exits with where the program itself did not fail. */
static int exit_code(const struct check *check, const struct lp_results *results, int code)
{
	if (results->failing && !check->update)
		return check->exit_code;
	if (results->unmeasured)
		return LP_EXIT_UNMEASURED;
	return code;
}

/* Runs the program and tells what came out. Returns the exit code, as the program ended or as the
 * check did. */
static int run_program(struct check *check, struct lp_results *results)
{
	int code;

	if (is_alive(check))
		lp_launch_add(&check->launch, "settle=%lluns",
			      (unsigned long long)check->settle_ns);
	results->command = join(check->launch.arguments);
	results->time_ns = now_ns(CLOCK_REALTIME);
	code = lp_launch_start(&check->launch);
	if (code)
		return code;
	await(check, results);
	code = take_reports(check, results);
	if (!code)
		code = judge(check, results);
	if (!code)
		code = write_outputs(check, results);
	if (!code && check->update)
		code = lp_baseline_update(check->baseline, results);
	if (results->timed_out)
		return lp_fail(LP_EXIT_TIMEOUT, "%s took longer than --timeout allows",
			       check->launch.arguments[0]);
	return exit_code(check, results, code);
}

static void release(struct check *check, struct lp_results *results)
{
	lp_results_free(results);
	free(results->reports);
	free((char *)results->command);
	lp_rules_free(&check->rules);
	lp_report_free(check->known);
	lp_report_free(check->nothing);
	lp_launch_free(&check->launch);
}

int lp_verb_check(int argc, char **argv)
{
	static struct check check;
	struct lp_results results = {.rules = &check.rules};
	int code = parse(&check, argc, argv);

	if (!code && check.baseline)
		code = lp_baseline_load(check.baseline, check.update, &check.known);
	results.mode = check.mode;
	if (!code)
		code = check.from_snapshot ? answer(&check, &results)
					   : run_program(&check, &results);
	release(&check, &results);
	return results.status && !results.timed_out ? lp_launch_end_like(results.status) : code;
}
