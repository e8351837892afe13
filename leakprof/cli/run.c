/* SPDX-License-Identifier: MIT */
/*
 * leakprof run: starts a program with the shim, writes the profile of what its exit showed, and
 * ends as the program ended, with the same status or by the same signal.
 *
 * The program's own stream is the result when it measured something; else the only other one that
 * did. The rest get files of their own, with the PID before the extension.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/launch.h"
#include "core/options.h"

#define SITES_SHOWN 5

struct run {
	struct lp_launch launch;
	const char *output;
	bool quiet;
};

/* --- Output --- */

/* The stream that is the result, or NULL. */
static struct lp_launched *choose(struct run *run)
{
	struct lp_launched *own = NULL;
	struct lp_launched *other = NULL;
	size_t others = 0;
	size_t i;

	for (i = 0; i < run->launch.stream_count; i++) {
		if (run->launch.streams[i].report->pid == (uint32_t)run->launch.child)
			own = &run->launch.streams[i];
		else if (lp_launched_measured(&run->launch.streams[i])) {
			other = &run->launch.streams[i];
			others++;
		}
	}
	return (!own || !lp_launched_measured(own)) && others == 1 ? other : own;
}

/*
 * Where the result of REPORT goes: the output with its % signs filled in; where it has none, that
 * of a child, OTHER, gets its PID in the name: "leak.pb.gz" and 42 give "leak.42.pb.gz".
 */
static void name_output(const struct run *run, const struct lp_report *report, bool other,
			char *name, size_t size)
{
	const char *slash = strrchr(run->output, '/');
	const char *dot = strchr(slash ? slash + 1 : run->output, '.');
	char stem[PATH_MAX];

	lp_report_name(report, run->output, stem, sizeof(stem));
	if (!other || strcmp(stem, run->output))
		snprintf(name, size, "%s", stem);
	else
		snprintf(name, size, "%.*s.%u%s",
			 dot ? (int)(dot - run->output) : (int)strlen(run->output), stem,
			 report->pid, dot ? dot : "");
}

static int write_stream(const struct run *run, const struct lp_launched *stream, const char *output)
{
	char raw[PATH_MAX + 8];
	void *data;
	size_t size;
	int code;

	if (stream->data && lp_is_raw_name(output))
		return lp_write_file(output, stream->data, stream->size);
	if (lp_report_profile(stream->report, &data, &size))
		return lp_fail(LP_EXIT_FAILED, "there is not enough memory for the profile");
	code = lp_write_file(output, data, size);
	free(data);
	if (code || !run->launch.passed.keep_raw)
		return code;
	snprintf(raw, sizeof(raw), "%s.raw", output);
	return lp_write_file(raw, stream->data, stream->size);
}

static void show_sites(const struct lp_report *report)
{
	size_t i;

	for (i = 0; i < report->site_count && i < SITES_SHOWN; i++) {
		const struct lp_site *site = &report->sites[i];
		const struct lp_frame *frame = lp_site_frame(site);

		fprintf(stderr, "  %6llu [%s] %s", (unsigned long long)site->count, site->wait,
			frame ? frame->function : "?");
		if (frame && *frame->file)
			fprintf(stderr, " %s:%lld", frame->file, (long long)frame->line);
		fputc('\n', stderr);
	}
	if (report->site_count > SITES_SHOWN)
		fprintf(stderr, "  ... and %zu more sites\n", report->site_count - SITES_SHOWN);
}

static void show_warnings(const struct lp_report *report)
{
	size_t i;

	for (i = 0; !lp_report_unmeasured(report) && i < report->note_count; i++)
		if (report->notes[i].severity >= LP_NOTE_WARNING)
			fprintf(stderr, "leakprof: warning: %s\n", report->notes[i].text);
}

/* So that there is a profile in any case. */
static void write_unmeasured(const struct run *run, const char *why)
{
	struct lp_launched stream = {.report = lp_launch_unmeasured(&run->launch, why)};
	char name[PATH_MAX];

	if (!stream.report)
		return;
	name_output(run, stream.report, false, name, sizeof(name));
	write_stream(&(struct run){.quiet = true}, &stream, name);
	lp_report_free(stream.report);
}

static void summarize(const struct run *run, const struct lp_launched *result, const char *name,
		      int code)
{
	if (run->quiet)
		return;
	fputs("leakprof: ", stderr);
	lp_report_summary(result->report, stderr);
	show_sites(result->report);
	show_warnings(result->report);
	if (!code)
		fprintf(stderr, "leakprof: profile in %s: leakprof report, or go tool pprof\n",
			name);
}

static void finish(struct run *run, int status)
{
	struct lp_launched *result = choose(run);
	char result_name[PATH_MAX];
	char name[PATH_MAX];
	size_t i;
	int code;

	if (!result) {
		const char *why = lp_launch_silence(&run->launch, status);

		write_unmeasured(run, why);
		if (!run->quiet)
			fprintf(stderr, "leakprof: nothing measured: %s\n", why);
		return;
	}
	name_output(run, result->report, false, result_name, sizeof(result_name));
	code = write_stream(run, result, result_name);
	for (i = 0; i < run->launch.stream_count; i++) {
		if (&run->launch.streams[i] == result ||
		    !lp_launched_measured(&run->launch.streams[i]))
			continue;
		name_output(run, run->launch.streams[i].report, true, name, sizeof(name));
		write_stream(run, &run->launch.streams[i], name);
	}
	summarize(run, result, result_name, code);
}

static int parse(struct run *run, int argc, char **argv)
{
	struct option options[64] = {{"output", required_argument, NULL, 'o'},
				     {"quiet", no_argument, NULL, 'q'}};
	size_t count = 2;
	int option;
	int code = LP_EXIT_OK;

	lp_launch_init(&run->launch, LP_OPT_RUN, options, &count);
	run->output = "leak.pb.gz";
	while (!code && (option = getopt_long(argc, argv, "+o:q", options, NULL)) != -1) {
		if (option == 'o')
			run->output = optarg;
		else if (option == 'q')
			run->quiet = true;
		else
			code = option < LP_LAUNCH_OPTION
				       ? LP_EXIT_USAGE
				       : lp_launch_pass_option(&run->launch, option, optarg);
	}
	run->launch.arguments = argv + optind;
	return code || optind < argc ? code : lp_usage("run takes a PROGRAM");
}

int lp_verb_run(int argc, char **argv)
{
	static struct run run;
	int status;
	int code = parse(&run, argc, argv);

	if (!code)
		code = lp_launch_start(&run.launch);
	if (code)
		return code;
	lp_launch_wait(&run.launch, 0, &status);
	finish(&run, status);
	return lp_launch_end_like(status);
}
