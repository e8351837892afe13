/* SPDX-License-Identifier: MIT */
/*
 * leakprof selftest: a negative control. It leaks a goroutine of each kind in a process of its own
 * (selftest_plant.c) and wants exactly those found: so a clean result of a check means something on
 * this machine.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/launch.h"
#include "cli/selftest.h"

struct kind {
	const char *wait;
	uint64_t planted;
};

/* What is planted by leakprof.h, and by a library behind it. */
static struct kind kinds[] = {
	{"chan receive", 2}, {"chan send (nil chan)", 1}, {"select (no cases)", 1},
	{"join", 1},	     {"sync.Mutex.Lock", 2},	  {"sync.Cond.Wait", 0},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static uint64_t found(const struct lp_report *report, const char *wait)
{
	uint64_t count = 0;
	size_t i;

	for (i = 0; i < report->site_count; i++)
		if (!strcmp(report->sites[i].wait, wait))
			count += report->sites[i].count;
	return count;
}

static void expect_libraries(int planted)
{
	static const struct {
		int bit;
		const char *name;
	} libraries[] = {{LP_PLANTED_PTH, "GNU Pth"}, {LP_PLANTED_ST, "State Threads"}};
	size_t i;

	for (i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
		if (planted & libraries[i].bit)
			kinds[KIND_COUNT - 1].planted++;
		else
			printf("left out: %s, which is not installed\n", libraries[i].name);
	}
}

static int compare(const struct lp_report *report)
{
	uint64_t total = 0;
	bool good = true;
	size_t i;

	for (i = 0; i < KIND_COUNT; i++) {
		uint64_t count = found(report, kinds[i].wait);

		printf("%s %s: %llu of %llu found\n", count == kinds[i].planted ? "ok  " : "FAIL",
		       kinds[i].wait, (unsigned long long)count,
		       (unsigned long long)kinds[i].planted);
		good &= count == kinds[i].planted;
		total += count;
	}
	if (lp_report_leaked(report) == total && good) {
		puts("ok   nothing else is reported");
		return LP_EXIT_OK;
	}
	if (lp_report_leaked(report) != total)
		puts("FAIL live goroutines are reported");
	return lp_fail(LP_EXIT_FAILED, "leakprof does not work here as it should");
}

static int judge(struct lp_launch *launch, int status)
{
	const struct lp_report *report = launch->stream_count ? launch->streams[0].report : NULL;

	if (!report)
		return lp_fail(LP_EXIT_UNMEASURED, "nothing measured: %s",
			       lp_launch_silence(launch, status));
	if (lp_report_unmeasured(report))
		return lp_fail(LP_EXIT_UNMEASURED, "nothing measured: %s",
			       lp_report_unmeasured(report));
	expect_libraries(WEXITSTATUS(status));
	return compare(report);
}

int lp_verb_selftest(int argc, char **argv)
{
	static struct lp_launch launch;
	static char self[PATH_MAX];
	static char *arguments[] = {self, "selftest", "--plant", NULL};
	struct option unused[64];
	size_t count = 0;
	int status;
	int code;

	if (argc == 2 && !strcmp(argv[1], "--plant"))
		return lp_selftest_plant();
	if (argc != 1)
		return lp_usage("selftest takes no arguments");
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return lp_fail(LP_EXIT_FAILED, "/proc is not mounted");
	lp_launch_init(&launch, LP_OPT_RUN, unused, &count);
	launch.arguments = arguments;
	code = lp_launch_start(&launch);
	if (code)
		return code;
	lp_launch_wait(&launch, 0, &status);
	return judge(&launch, status);
}
