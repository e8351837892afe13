/* SPDX-License-Identifier: MIT */
/*
 * leakprof snapshot: asks a running program for a collection (core/protocol.h). A process is
 * signalled only when its memory map shows the shim and its status that the signal is caught: to
 * any other the signal would be deadly.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/options.h"
#include "core/protocol.h"
#include "report/object.h"

#define CONFIRM_PAUSE_NS 100000000

struct target {
	pid_t pid;
	uid_t uid;
	unsigned abi;
	unsigned signal;
};

/* A process that gave up its privileges stays closed even to its new user (prctl(2),
 * PR_SET_DUMPABLE). */
static int refused(pid_t pid, int error)
{
	char path[64];
	char line[256];
	unsigned uid = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "Uid: %*u %u", &uid);
	if (status)
		fclose(status);
	if (status && uid == geteuid())
		return lp_fail(
			LP_EXIT_TARGET,
			"process %d cannot be looked at: %s; it has changed its user, so only "
			"root may",
			(int)pid, strerror(error));
	return lp_fail(LP_EXIT_TARGET,
		       "process %d cannot be looked at: %s; run leakprof as its user or as root",
		       (int)pid, strerror(error));
}

/* Finds the shim's marker among the mappings. Returns 0 or an exit code. */
static int find_shim(struct target *target)
{
	char path[64];
	char line[8192];
	FILE *maps;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)target->pid);
	maps = fopen(path, "re");
	if (!maps && errno == ENOENT)
		return lp_fail(LP_EXIT_TARGET, "there is no process %d", (int)target->pid);
	if (!maps)
		return refused(target->pid, errno);
	errno = 0;
	while (!found && fgets(line, sizeof(line), maps)) {
		const char *at = strstr(line, "/memfd:leakprof-abi");

		found = at && sscanf(at, "/memfd:" LP_MEMFD_NAME_FORMAT, &target->abi,
				     &target->signal) == 2;
	}
	if (!found && ferror(maps)) {
		fclose(maps);
		return refused(target->pid, errno ? errno : EACCES);
	}
	fclose(maps);
	if (!found)
		return lp_fail(LP_EXIT_TARGET,
			       "process %d does not have the shim loaded: start it with leakprof "
			       "run, or with "
			       "LD_PRELOAD=libleakprof.so",
			       (int)target->pid);
	if (target->abi != LP_PROTOCOL_ABI)
		return lp_fail(LP_EXIT_TARGET,
			       "process %d has the shim of another version of leakprof",
			       (int)target->pid);
	return LP_EXIT_OK;
}

static int check_signal(struct target *target)
{
	char path[64];
	char line[256];
	uint64_t caught = 0;
	unsigned uid = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)target->pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status)) {
		sscanf(line, "SigCgt: %" SCNx64, &caught);
		sscanf(line, "Uid: %*u %u", &uid);
	}
	if (status)
		fclose(status);
	target->uid = uid;
	if (target->signal < 1 || target->signal > 64 || !(caught >> (target->signal - 1) & 1))
		return lp_fail(
			LP_EXIT_TARGET,
			"the shim in process %d does not listen (it gave up, or is just starting)",
			(int)target->pid);
	return LP_EXIT_OK;
}

static int collect(const struct target *target, int timeout_ms, void **data, size_t *size)
{
	uint32_t token = lp_random_token();
	pid_t peer;
	int listener = lp_listen_as(target->uid, token);
	int r;

	if (listener < 0)
		return lp_fail(LP_EXIT_FAILED, "no socket could be made: %s", strerror(-listener));
	if (sigqueue(target->pid, (int)target->signal, (union sigval){.sival_int = (int)token})) {
		r = errno;
		close(listener);
		if (r == EAGAIN)
			return lp_fail(LP_EXIT_FAILED,
				       "process %d may have no more signals waiting "
				       "(RLIMIT_SIGPENDING): try again, or raise that limit",
				       (int)target->pid);
		return lp_fail(
			LP_EXIT_TARGET,
			"process %d cannot be asked: %s; run leakprof as its user or as root",
			(int)target->pid, strerror(r));
	}
	r = lp_accept(listener, timeout_ms, target->uid, &peer, data, size);
	close(listener);
	if (r == -ETIMEDOUT)
		return lp_fail(LP_EXIT_FAILED,
			       "process %d did not answer in time; it may be stopped, or in "
			       "another network namespace",
			       (int)target->pid);
	return r ? lp_fail(LP_EXIT_FAILED, "the snapshot could not be received: %s", strerror(-r))
		 : LP_EXIT_OK;
}

struct result {
	void *data;
	size_t size;
	struct lp_report *report;
};

static void drop(struct result *result)
{
	lp_report_free(result->report);
	free(result->data);
}

/* One snapshot. RESULT is only to be dropped when it is 0. */
static int collect_one(const struct target *target, int timeout_ms, struct result *result)
{
	int code = collect(target, timeout_ms, &result->data, &result->size);
	char root[64];

	if (code)
		return code;
	snprintf(root, sizeof(root), "/proc/%d/root", (int)target->pid);
	lp_object_root(root);
	if (!result->size)
		code = lp_fail(LP_EXIT_FAILED,
			       "the snapshot died before it could answer (out of memory?)");
	else if (lp_load_data("the snapshot", result->data, result->size, &result->report))
		code = LP_EXIT_FAILED;
	if (code)
		free(result->data);
	return code;
}

/* Takes snapshots until what the first one found has been confirmed, as the target's option confirm
 * wants it; the last one is the result. */
static int collect_confirmed(const struct target *target, int timeout_ms, struct result *result)
{
	const struct timespec pause = {0, CONFIRM_PAUSE_NS};
	int code = collect_one(target, timeout_ms, result);
	uint64_t more = 0;

	if (!code && result->report->figures[LP_FIG_UNCONFIRMED])
		more = result->report->figures[LP_FIG_CONFIRM] - 1;
	while (!code && more-- > 0) {
		drop(result);
		nanosleep(&pause, NULL);
		code = collect_one(target, timeout_ms, result);
	}
	return code;
}

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

int lp_verb_snapshot(int argc, char **argv)
{
	static const struct option options[] = {{"output", required_argument, NULL, 'o'},
						{"debug", required_argument, NULL, 'd'},
						{"timeout", required_argument, NULL, 't'},
						{0}};
	struct lp_options parsed;
	struct target target = {0};
	const char *output = NULL;
	struct result result;
	char *end;
	int level = 0;
	int option;
	int code;

	lp_options_default(&parsed);
	parsed.timeout_ns = 10000000000u;
	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == 'o')
			output = optarg;
		else if (option == 'd' && (!strcmp(optarg, "1") || !strcmp(optarg, "2")))
			level = optarg[0] - '0';
		else if (option == 't' &&
			 !lp_options_set(&parsed, "timeout", 7, optarg, strlen(optarg)))
			continue;
		else if (option == '?')
			return LP_EXIT_USAGE;
		else
			return lp_usage("bad value %s", optarg);
	}
	if (optind + 1 != argc)
		return lp_usage("snapshot takes one PID");
	target.pid = (pid_t)strtol(argv[optind], &end, 10);
	if (*end || target.pid <= 0)
		return lp_usage("%s is no PID", argv[optind]);
	code = find_shim(&target);
	if (!code)
		code = check_signal(&target);
	if (!code)
		code = collect_confirmed(&target, (int)(parsed.timeout_ns / 1000000), &result);
	if (code)
		return code;
	code = deliver(&result, output, level);
	drop(&result);
	return code;
}
