/* SPDX-License-Identifier: MIT */
/*
 * See target.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/target.h"
#include "core/options.h"
#include "core/stream_read.h"

#define CONFIRM_PAUSE_NS 100000000
#define SIGNAL_AGAIN_NS 10000000
#define STATS_AGAIN_MS 200 /* who asks for statistics while others do may not be heard */

/* --- Finding it --- */

static uid_t user_of(pid_t pid)
{
	char path[64];
	char line[256];
	unsigned uid = (unsigned)-1;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "Uid: %*u %u", &uid);
	if (status)
		fclose(status);
	return uid;
}

/* A process that gave up its privileges stays closed even to its new user (prctl(2),
 * PR_SET_DUMPABLE). */
static int no_look(const struct lp_target *target, int error)
{
	if (user_of(target->pid) == geteuid())
		return lp_fail(
			LP_EXIT_TARGET,
			"process %d cannot be looked at: %s; it has changed its user, so only "
			"root may",
			(int)target->pid, strerror(error));
	return lp_fail(
		LP_EXIT_TARGET,
		"process %d cannot be looked at: %s; run leakprof as its user, with no fewer "
		"capabilities, or as root",
		(int)target->pid, strerror(error));
}

/* Finds the shim's marker among the mappings. Returns 0 or an exit code. */
static int find_shim(struct lp_target *target)
{
	char path[64];
	char line[8192];
	FILE *maps;
	bool found = false;
	int failed;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)target->pid);
	maps = fopen(path, "re");
	if (!maps && errno == ENOENT)
		return lp_fail(LP_EXIT_TARGET, "there is no process %d", (int)target->pid);
	if (!maps)
		return no_look(target, errno);
	errno = 0;
	while (!found && fgets(line, sizeof(line), maps)) {
		const char *at = strstr(line, "/memfd:leakprof-abi");

		found = at && sscanf(at, "/memfd:" LP_MEMFD_NAME_FORMAT, &target->abi,
				     &target->signal) == 2;
	}
	failed = !found && ferror(maps) ? (errno ? errno : EACCES) : 0;
	fclose(maps);
	if (failed)
		return no_look(target, failed);
	if (!found)
		return lp_fail(LP_EXIT_TARGET,
			       "process %d does not have the shim loaded: start it with leakprof "
			       "run, or with LD_PRELOAD=libleakprof.so",
			       (int)target->pid);
	if (target->abi != LP_PROTOCOL_ABI)
		return lp_fail(LP_EXIT_TARGET,
			       "process %d has the shim of another version of leakprof",
			       (int)target->pid);
	return LP_EXIT_OK;
}

static int check_signal(struct lp_target *target)
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

/* Whether OURS and the target's NAME below /proc are different things. */
static bool differs(const struct lp_target *target, const char *ours, const char *name)
{
	char path[64];
	struct stat a;
	struct stat b;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)target->pid, name);
	return !stat(ours, &a) && !stat(path, &b) && (a.st_dev != b.st_dev || a.st_ino != b.st_ino);
}

int lp_target_open(struct lp_target *target, pid_t pid)
{
	int code;

	*target = (struct lp_target){.pid = pid};
	target->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	code = find_shim(target);
	if (!code)
		code = check_signal(target);
	if (code) {
		lp_target_close(target);
		return code;
	}
	target->apart = differs(target, "/proc/self/ns/net", "ns/net");
	if (differs(target, "/", "root"))
		snprintf(target->root, sizeof(target->root), "/proc/%d/root", (int)pid);
	return LP_EXIT_OK;
}

void lp_target_close(struct lp_target *target)
{
	if (target->pidfd >= 0)
		close(target->pidfd);
	target->pidfd = -1;
}

bool lp_target_alive(const struct lp_target *target)
{
	struct pollfd ended = {.fd = target->pidfd, .events = POLLIN};

	if (target->pidfd < 0)
		return !kill(target->pid, 0) || errno == EPERM;
	return poll(&ended, 1, 0) <= 0;
}

pid_t lp_read_pid(const char *text)
{
	char *end;
	long pid = strtol(text, &end, 10);

	return *text && !*end && pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

int lp_read_timeout(const char *text, int *timeout_ms)
{
	struct lp_options parsed;

	if (lp_options_set(&parsed, "timeout", 7, text, strlen(text)) ||
	    parsed.timeout_ns / 1000000 > INT_MAX)
		return lp_usage("%s is no time: 10s, 500ms, 2m", text);
	*timeout_ms = (int)(parsed.timeout_ns / 1000000);
	return LP_EXIT_OK;
}

int64_t lp_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- Asking --- */

/* A socket that one target will find, and where it is. */
struct ear {
	int fd;
	uint64_t token;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* empty: it is no file */
};

static uint64_t new_token(void)
{
	uint64_t token;

	if (getrandom(&token, sizeof(token), 0) != sizeof(token))
		token = (uint64_t)lp_random_token() << 28;
	return token & LP_TOKEN_MASK;
}

static int bind_abstract(const struct ear *ear)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
			      LP_TOKEN_ABSTRACT "%016" PRIx64, ear->token);

	return bind(ear->fd, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length))
		       ? -errno
		       : 0;
}

/* A socket that is a file below the target's root. */
static int bind_file(const struct lp_target *target, struct ear *ear)
{
	static const char *const folders[] = LP_SOCKET_FOLDERS;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r = -ENOENT;
	size_t i;

	for (i = 0; r && i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(address.sun_path, sizeof(address.sun_path),
			 "/proc/%d/root%s" LP_TOKEN_FILE "%016" PRIx64, (int)target->pid,
			 folders[i], ear->token);
		r = bind(ear->fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	}
	if (r)
		return r;
	snprintf(ear->path, sizeof(ear->path), "%s", address.sun_path);
	chmod(ear->path, 0600);
	if (geteuid() != target->uid && chown(ear->path, target->uid, (gid_t)-1))
		return -errno;
	return 0;
}

/*
 * The target sees the user who called listen(2). Root listens as the target's user: seen from a
 * user namespace of the target's, our root may be nobody. By system call, as only this thread
 * changes.
 */
static int listen_as(int fd, uid_t uid)
{
	bool change = !geteuid() && uid;
	int r;

	if (change && syscall(SYS_setresuid, -1, uid, -1))
		return -errno;
	r = listen(fd, 8) ? -errno : 0;
	if (change && syscall(SYS_setresuid, -1, 0, -1))
		return -errno;
	return r;
}

static void close_ear(struct ear *ear)
{
	if (ear->path[0])
		unlink(ear->path);
	close(ear->fd);
}

static int open_ear(const struct lp_target *target, struct ear *ear)
{
	int r;

	*ear = (struct ear){.token = new_token()};
	ear->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ear->fd < 0)
		r = -errno;
	else
		r = target->apart ? bind_file(target, ear) : bind_abstract(ear);
	if (!r)
		r = listen_as(ear->fd, target->uid);
	if (!r)
		return LP_EXIT_OK;
	if (ear->fd >= 0)
		close_ear(ear);
	return target->apart
		       ? lp_fail(LP_EXIT_FAILED,
				 "process %d is in another network namespace, and no socket could "
				 "be made in its /tmp, /var/tmp, /dev/shm or /run: %s",
				 (int)target->pid, strerror(-r))
		       : lp_fail(LP_EXIT_FAILED, "no socket could be made: %s", strerror(-r));
}

static int has_ended(const struct lp_target *target)
{
	return lp_fail(LP_EXIT_TARGET, "process %d has ended", (int)target->pid);
}

static int no_answer(const struct lp_target *target)
{
	return lp_fail(LP_EXIT_FAILED,
		       "process %d did not answer in time; it may be stopped, or not allowed to "
		       "connect to us",
		       (int)target->pid);
}

static int queue_signal(const struct lp_target *target, uint64_t value)
{
	siginfo_t info = {.si_signo = (int)target->signal, .si_code = SI_QUEUE};

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_ptr = (void *)(uintptr_t)value;
	return target->pidfd >= 0 ? (int)syscall(SYS_pidfd_send_signal, target->pidfd,
						 target->signal, &info, 0)
				  : sigqueue(target->pid, (int)target->signal, info.si_value);
}

/* Whether a request still waits to be taken: the process is stopped, or has no time. */
static bool is_pending(const struct lp_target *target)
{
	char path[64];
	char line[256];
	uint64_t pending = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)target->pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "ShdPnd: %" SCNx64, &pending);
	if (status)
		fclose(status);
	return pending >> (target->signal - 1) & 1;
}

/* Why the signal could not be sent: ERROR; 0: an earlier one is still waiting. */
static int not_sent(const struct lp_target *target, int error)
{
	if (!lp_target_alive(target))
		return has_ended(target);
	if (!error)
		return no_answer(target);
	if (error == EAGAIN)
		return lp_fail(LP_EXIT_FAILED,
			       "process %d, or its user, may have no more signals waiting "
			       "(RLIMIT_SIGPENDING): try again, or raise that limit",
			       (int)target->pid);
	return lp_fail(LP_EXIT_TARGET,
		       "process %d cannot be asked: %s; run leakprof as its user or as root",
		       (int)target->pid, strerror(error));
}

/*
 * Sends it as soon as there is room, until UNTIL at the latest: requests to a process that is
 * stopped must not pile up, and all processes of a user share a limit of signals that wait, which
 * others may have filled.
 */
static int send_signal(const struct lp_target *target, uint64_t value, int64_t until)
{
	const struct timespec pause = {0, SIGNAL_AGAIN_NS};
	int error;

	for (;;) {
		bool pending = is_pending(target);

		if (!pending && !queue_signal(target, value))
			return LP_EXIT_OK;
		error = pending ? 0 : errno;
		if ((error && error != EAGAIN) || !lp_target_alive(target) || lp_now_ms() >= until)
			return not_sent(target, error);
		nanosleep(&pause, NULL);
	}
}

/* Whether somebody connects before UNTIL (in milliseconds). Sets *ENDED when the target has ended.
 */
static bool wait_for(const struct lp_target *target, const struct ear *ear, int64_t until,
		     bool *ended)
{
	struct pollfd ready[] = {{.fd = ear->fd, .events = POLLIN},
				 {.fd = target->pidfd, .events = POLLIN}};
	int64_t left;

	while ((left = until - lp_now_ms()) >= 0) {
		if (poll(ready, 2, (int)left) <= 0)
			continue;
		if (ready[0].revents)
			return true;
		/* What it sent before it ended is there already. */
		*ended = true;
		return poll(ready, 1, 0) > 0;
	}
	return false;
}

static int hear(const struct lp_target *target, const struct ear *ear, enum lp_ask what,
		int timeout_ms, void **data, size_t *size)
{
	uint64_t value = (uint64_t)what << LP_ASK_SHIFT | ear->token;
	int64_t until = lp_now_ms() + timeout_ms;
	bool ended = false;
	bool came;
	pid_t peer;
	int code;
	int r;

	do {
		int64_t next = what == LP_ASK_STATS ? lp_now_ms() + STATS_AGAIN_MS : until;

		code = send_signal(target, value, until);
		if (code)
			return code;
		came = wait_for(target, ear, next < until ? next : until, &ended);
	} while (!came && !ended && lp_now_ms() < until);
	if (!came && ended)
		return has_ended(target);
	r = came ? lp_accept(ear->fd, 0, target->uid, &peer, data, size) : -ETIMEDOUT;
	if (r == -ETIMEDOUT)
		return no_answer(target);
	return r ? lp_fail(LP_EXIT_FAILED, "the snapshot could not be received: %s", strerror(-r))
		 : LP_EXIT_OK;
}

static int ask(const struct lp_target *target, enum lp_ask what, int timeout_ms, void **data,
	       size_t *size)
{
	struct lp_target now = *target;
	struct ear ear;
	int code;

	if (!lp_target_alive(&now))
		return has_ended(&now);
	/* It may have become another program, by exec, since it was looked at last. */
	code = find_shim(&now);
	if (!code)
		code = check_signal(&now);
	if (!code)
		code = open_ear(&now, &ear);
	if (code)
		return code;
	code = hear(&now, &ear, what, timeout_ms, data, size);
	close_ear(&ear);
	return code;
}

static int collect_one(const struct lp_target *target, int timeout_ms, void **data, size_t *size)
{
	int code = ask(target, LP_ASK_SNAPSHOT, timeout_ms, data, size);

	if (code || *size)
		return code;
	free(*data);
	return lp_fail(LP_EXIT_FAILED, "the snapshot died before it could answer (out of memory?)");
}

/* How many more snapshots must agree with the one in DATA. */
static uint64_t unconfirmed(const void *data, size_t size)
{
	uint64_t figures[LP_FIG_LAST + 1] = {0};
	struct lp_stream stream;
	const char *reason;
	size_t i;

	if (lp_stream_read(&stream, data, size, &reason))
		return 0;
	for (i = 0; i < stream.figure_count; i++)
		if (stream.figures[i].key <= LP_FIG_LAST)
			figures[stream.figures[i].key] = stream.figures[i].value;
	lp_stream_free(&stream);
	return figures[LP_FIG_UNCONFIRMED] && figures[LP_FIG_CONFIRM] ? figures[LP_FIG_CONFIRM] - 1
								      : 0;
}

int lp_target_collect(const struct lp_target *target, int timeout_ms, void **data, size_t *size)
{
	const struct timespec pause = {0, CONFIRM_PAUSE_NS};
	int code = collect_one(target, timeout_ms, data, size);
	uint64_t more = code ? 0 : unconfirmed(*data, *size);

	while (!code && more-- > 0) {
		free(*data);
		nanosleep(&pause, NULL);
		code = collect_one(target, timeout_ms, data, size);
	}
	return code;
}

int lp_target_load(const struct lp_target *target, enum lp_profile profile, const void *data,
		   size_t size, struct lp_report **report)
{
	const struct lp_load how = {.profile = profile,
				    .root = target->root[0] ? target->root : NULL};
	int code = lp_load_data_as("the snapshot", &how, data, size, report);

	if (!code)
		(*report)->pid = (uint32_t)target->pid;
	return code ? LP_EXIT_FAILED : LP_EXIT_OK;
}

int lp_target_stats(const struct lp_target *target, int timeout_ms, struct leakprof_stats *stats)
{
	void *data;
	size_t size;
	int code = ask(target, LP_ASK_STATS, timeout_ms, &data, &size);

	if (code)
		return code;
	if (!size) {
		free(data);
		return lp_fail(
			LP_EXIT_FAILED,
			"process %d did not want to answer: it does to root and its own user",
			(int)target->pid);
	}
	memset(stats, 0, sizeof(*stats));
	memcpy(stats, data, size < sizeof(*stats) ? size : sizeof(*stats));
	free(data);
	if (stats->version != LEAKPROF_STATS_VERSION || stats->size > size)
		return lp_fail(LP_EXIT_FAILED, "process %d answered what is no statistics",
			       (int)target->pid);
	if (stats->kind_count > LEAKPROF_STATS_KINDS)
		stats->kind_count = LEAKPROF_STATS_KINDS;
	return LP_EXIT_OK;
}
