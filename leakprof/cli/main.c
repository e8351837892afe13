/* SPDX-License-Identifier: MIT */
/*
 * The leakprof program: the table of verbs, and the one place that prints an error and exits.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/options.h"

static const struct lp_verb verbs[] = {
	{"run", "[options] [--] PROGRAM [ARGUMENTS]",
	 "run a program and profile its leaked goroutines when it exits",
	 "  -o, --output FILE  the profile (default leak.pb.gz); %p PID, %n serial, %e program,\n"
	 "                     %t seconds, %% percent\n"
	 "  -q, --quiet        no summary on standard error\n",
	 lp_verb_run},
	{"check", "[options] [--] PROGRAM [ARGUMENTS]",
	 "run a program and fail when goroutines are left",
	 "      --exitcode N       what to exit with when there are leaks (default 23)\n"
	 "      --mode MODE        unreachable (default): nothing can make them go on; alive: all "
	 "that\n"
	 "                         are still there\n"
	 "      --settle TIME      alive: how long goroutines may take to end, in all (default "
	 "500ms)\n"
	 "      --timeout TIME     end the program after so long\n"
	 "      --follow LIST      children to check too: fork,exec (default) or none\n"
	 "      --suppressions FILE  leaks to put aside: lines of KIND:PATTERN, as "
	 "LeakSanitizer's, with\n"
	 "                         leak, top, any, created, lib, state\n"
	 "      --suppress RULE    one such line\n"
	 "      --gen-suppressions print lines for the leaks that were found\n"
	 "      --baseline FILE    a profile of leaks that are known: only new ones and more of "
	 "them fail\n"
	 "      --update-baseline  add what is found to the baseline, and pass\n"
	 "      --format LIST      text, json, junit, sarif, github, pprof, each alone or with\n"
	 "                         :FILE, where %p %e %n %t are PID, program, snapshot, time\n"
	 "  -q, --quiet            no text where there is nothing to tell\n",
	 lp_verb_check},
	{"diff", "[options] BEFORE AFTER", "compare the leaks in two profiles",
	 "  -o, --output FILE  instead, the difference as a profile for go tool pprof\n",
	 lp_verb_diff},
	{"rank", "[options] FILE...", "rank the sites in the profiles of a fleet",
	 "      --min N        only sites that have so many goroutines in one profile\n"
	 "      --top N        only the first N\n"
	 "      --owners FILE  name owners by this CODEOWNERS file\n"
	 "      --strip-prefix FOLDER  where the sources were built, to which its patterns are\n"
	 "                     relative (default: where the CODEOWNERS file is)\n"
	 "      --profile NAME as for report\n"
	 "      --format FORM  text (default) or json\n",
	 lp_verb_rank},
	{"suspects", "[options] FILE", "print live goroutines that look stuck",
	 "      --min-count N  many: so many at one site (default 100; 0: never)\n"
	 "      --min-age TIME old: one waits for so long (default 10m; 0: never)\n"
	 "      --since FILE   an earlier profile of the same program\n"
	 "      --growth FACTOR  growing: so many times as many as then (default 2)\n"
	 "      --format FORM  text (default) or json\n"
	 "  -o, --output FILE  instead, the suspects as a profile, labelled with suspect=REASONS\n",
	 lp_verb_suspects},
	{"snapshot", "[options] PID", "profile a running program that has the shim loaded",
	 "  -o, --output FILE  the profile (default leakprof.%p.pb.gz; -: standard output;\n"
	 "                     a name that ends in .raw gets the raw snapshot)\n"
	 "      --debug LEVEL  instead, Go's text on standard output: 1 by site, 2 by goroutine\n"
	 "      --profile NAME goroutineleak (default), or goroutine: all that there are\n"
	 "      --timeout TIME how long to wait (default 10s)\n",
	 lp_verb_snapshot},
	{"report", "[options] FILE", "print the leaks in a profile or raw snapshot",
	 "      --debug LEVEL  Go's text: 1 by site, 2 by goroutine (raw snapshots only)\n"
	 "      --profile NAME goroutineleak, or goroutine: all that there are; default: what the\n"
	 "                     profile is of; of a raw snapshot, the leaks\n",
	 lp_verb_report},
	{"info", "FILE", "print what was seen and measured", "", lp_verb_info},
	{"serve", "[options] (PID... | -- PROGRAM [ARGUMENTS])",
	 "serve profiles and metrics of running programs over HTTP",
	 "      --listen ADDRESS  default 127.0.0.1:6070; [::1]:PORT, unix:PATH\n"
	 "      --token-file FILE who asks must show this token; needed for other addresses\n"
	 "      --socket-mode MODE permissions of a unix socket (default 0600)\n"
	 "      --interval TIME   collect so often by itself (default 1m; 0: only on request)\n"
	 "      --timeout TIME    how long a collection may take (default 10s)\n"
	 "  -q, --quiet           say nothing on standard error\n",
	 lp_verb_serve},
	{"top", "[options] PID", "watch what a running program's goroutines do",
	 "      --interval TIME how often (default 1s)\n"
	 "      --once          print once and end\n",
	 lp_verb_top},
	{"selftest", "", "leak goroutines of each kind in a process, and see that all are found",
	 "", lp_verb_selftest},
	{"help", "[VERB|options]", "explain a verb, or LEAKPROF_OPTIONS", "", lp_verb_help},
	{"version", "", "print the version", "", lp_verb_version},
};

static __thread char message[1024];
const struct lp_verb *lp_current_verb;

int lp_fail(int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	return code;
}

const char *lp_failure(void)
{
	return message;
}

void lp_complain(void)
{
	fprintf(stderr, "leakprof: %s\n", message);
	message[0] = 0;
}

int lp_usage(const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	if (n >= 0 && (size_t)n < sizeof(message))
		snprintf(message + n, sizeof(message) - (size_t)n, "; see leakprof %s --help",
			 lp_current_verb ? lp_current_verb->name : "");
	return LP_EXIT_USAGE;
}

static const struct lp_verb *find_verb(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static int print_verbs(FILE *file)
{
	size_t i;

	fputs("usage: leakprof VERB [options]\n\n", file);
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		fprintf(file, "  %-9s %s\n", verbs[i].name, verbs[i].help);
	fputs("\nleakprof help VERB explains one.\n", file);
	return ferror(file) ? LP_EXIT_OUTPUT : LP_EXIT_OK;
}

static int print_help(const struct lp_verb *verb)
{
	printf("usage: leakprof %s %s\n\n%c%s.\n", verb->name, verb->arguments, verb->help[0] - 32,
	       verb->help + 1);
	if (*verb->options)
		printf("\n%s", verb->options);
	fflush(stdout);
	if (verb->run == lp_verb_run)
		lp_options_help(1, LP_OPT_RUN);
	if (verb->run == lp_verb_check)
		lp_options_help(1, LP_OPT_CHECK);
	return LP_EXIT_OK;
}

int lp_verb_help(int argc, char **argv)
{
	const struct lp_verb *verb;

	if (argc < 2)
		return print_verbs(stdout);
	if (!strcmp(argv[1], "options")) {
		puts("LEAKPROF_OPTIONS holds key=value pairs with colons between:\n");
		fflush(stdout);
		lp_options_help(1, LP_OPT_TARGET);
		return LP_EXIT_OK;
	}
	verb = find_verb(argv[1]);
	return verb ? print_help(verb) : lp_usage("there is no verb %s", argv[1]);
}

int lp_verb_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("leakprof " LP_VERSION);
	return LP_EXIT_OK;
}

static int dispatch(int argc, char **argv)
{
	if (argc < 2) {
		print_verbs(stderr);
		return LP_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return print_verbs(stdout);
	if (!strcmp(argv[1], "--version"))
		return lp_verb_version(argc, argv);
	lp_current_verb = find_verb(argv[1]);
	if (!lp_current_verb)
		return lp_fail(LP_EXIT_USAGE, "there is no verb %s; see leakprof help", argv[1]);
	if (argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h")))
		return print_help(lp_current_verb);
	return lp_current_verb->run ? lp_current_verb->run(argc - 1, argv + 1) : lp_delegate();
}

int main(int argc, char **argv)
{
	int code;

	/* A reader that went away is a failed write, with a message. */
	signal(SIGPIPE, SIG_IGN);
	lp_arguments = argv;
	code = dispatch(argc, argv);
	if (fflush(stdout) && !code)
		code = lp_fail(LP_EXIT_OUTPUT, "standard output could not be written");
	if (message[0])
		fprintf(stderr, "leakprof: %s\n", message);
	return code;
}
