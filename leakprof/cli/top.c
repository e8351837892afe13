/* SPDX-License-Identifier: MIT */
/*
 * leakprof top: what the goroutines of a process do at the moment, again and again. It asks for
 * statistics only, for which nothing is stopped; the leaks are those of the last snapshot, whoever
 * took it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/target.h"

#define CLEAR "\033[H\033[J"
#define TIMEOUT_MS 5000
#define INTERVAL_MS 1000

struct arguments {
	pid_t pid;
	int interval_ms;
	bool once;
};

static void print_age(uint64_t nanoseconds)
{
	uint64_t seconds = nanoseconds / 1000000000u;

	if (seconds < 120)
		printf("%" PRIu64 " s", seconds);
	else if (seconds < 7200)
		printf("%" PRIu64 " min", seconds / 60);
	else
		printf("%" PRIu64 " h", seconds / 3600);
}

static uint64_t since(const struct leakprof_stats *stats, uint64_t time_ns)
{
	return stats->time_ns > time_ns ? stats->time_ns - time_ns : 0;
}

/* How often a second it happened since BEFORE. */
static double rate(const struct leakprof_stats *now, const struct leakprof_stats *before,
		   uint64_t count, uint64_t count_before)
{
	uint64_t passed = before->time_ns ? since(now, before->time_ns) : 0;

	return passed && count > count_before
		       ? (double)(count - count_before) * 1e9 / (double)passed
		       : 0;
}

static void print_head(const struct lp_target *target, const struct leakprof_stats *stats)
{
	char path[64];
	char name[64] = "?\n";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)target->pid);
	comm = fopen(path, "re");
	if (comm && !fgets(name, sizeof(name), comm))
		name[0] = 0;
	if (comm)
		fclose(comm);
	name[strcspn(name, "\n")] = 0;
	printf("%s (PID %d), %" PRIu64 " OS threads, up ", name, (int)target->pid, stats->threads);
	print_age(since(stats, stats->start_ns));
	puts(stats->dormant ? "; leakprof gave up in it: see leakprof snapshot\n" : "\n");
}

static void print_leaks(const struct leakprof_stats *stats)
{
	if (!stats->snapshot_ns) {
		puts("leaked      not known: no snapshot yet");
	} else {
		printf("leaked      %" PRIu64 " at the last snapshot, ", stats->leaked);
		print_age(since(stats, stats->snapshot_ns));
		printf(" ago (stopped for %.1f ms, result after %.1f ms)\n",
		       (double)stats->last_pause_ns / 1e6, (double)stats->last_duration_ns / 1e6);
	}
	printf("snapshots   %" PRIu64 ", %" PRIu64 " failed; stopped for %.1f ms in all\n",
	       stats->snapshots, stats->failures, (double)stats->pause_ns / 1e6);
}

static int by_count(const void *a, const void *b)
{
	const struct leakprof_stats_kind *x = a;
	const struct leakprof_stats_kind *y = b;

	return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->name, y->name);
}

static void print_kinds(struct leakprof_stats *stats)
{
	uint32_t i;

	qsort(stats->kinds, stats->kind_count, sizeof(*stats->kinds), by_count);
	if (stats->kind_count)
		puts("\n   COUNT  WAITING IN");
	for (i = 0; i < stats->kind_count; i++)
		printf("%8" PRIu64 "  %.*s\n", stats->kinds[i].count, LEAKPROF_STATS_NAME,
		       stats->kinds[i].name);
}

static void print(const struct lp_target *target, struct leakprof_stats *stats,
		  const struct leakprof_stats *before)
{
	print_head(target, stats);
	printf("goroutines  %" PRIu64 ": %" PRIu64 " running, %" PRIu64 " runnable, %" PRIu64
	       " waiting, %" PRIu64 " in I/O, %" PRIu64 " asleep\n",
	       stats->running + stats->runnable + stats->waiting + stats->io + stats->sleeping,
	       stats->running, stats->runnable, stats->waiting, stats->io, stats->sleeping);
	printf("created     %" PRIu64 " (%.1f/s), finished %" PRIu64 " (%.1f/s)\n", stats->created,
	       rate(stats, before, stats->created, before->created), stats->finished,
	       rate(stats, before, stats->finished, before->finished));
	print_leaks(stats);
	print_kinds(stats);
}

static int watch(const struct lp_target *target, const struct arguments *arguments)
{
	const struct timespec pause = {arguments->interval_ms / 1000,
				       arguments->interval_ms % 1000 * 1000000L};
	bool terminal = isatty(1) && !arguments->once;
	struct leakprof_stats before = {0};
	struct leakprof_stats stats;
	bool first = true;

	for (;; first = false) {
		int code = lp_target_stats(target, TIMEOUT_MS, &stats);

		if (code)
			return code;
		fputs(terminal ? CLEAR : first ? "" : "\n", stdout);
		print(target, &stats, &before);
		if (fflush(stdout))
			return lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s",
				       strerror(errno));
		if (arguments->once)
			return LP_EXIT_OK;
		before = stats;
		nanosleep(&pause, NULL);
	}
}

static int parse(struct arguments *arguments, int argc, char **argv)
{
	static const struct option options[] = {
		{"interval", required_argument, NULL, 'i'}, {"once", no_argument, NULL, 'o'}, {0}};
	int code = LP_EXIT_OK;
	int option;

	*arguments = (struct arguments){.interval_ms = INTERVAL_MS};
	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'i')
			code = lp_read_timeout(optarg, &arguments->interval_ms);
		else if (option == 'o')
			arguments->once = true;
		else
			code = LP_EXIT_USAGE;
	}
	if (code)
		return code;
	if (optind + 1 != argc)
		return lp_usage("top takes one PID");
	if (arguments->interval_ms < 100)
		return lp_usage("--interval takes at least 100ms");
	arguments->pid = lp_read_pid(argv[optind]);
	return arguments->pid ? LP_EXIT_OK : lp_usage("%s is no PID", argv[optind]);
}

int lp_verb_top(int argc, char **argv)
{
	struct arguments arguments;
	struct lp_target target;
	int code = parse(&arguments, argc, argv);

	if (!code)
		code = lp_target_open(&target, arguments.pid);
	if (code)
		return code;
	code = watch(&target, &arguments);
	lp_target_close(&target);
	return code;
}
