/* SPDX-License-Identifier: MIT */
/*
 * Where the stream goes, in the snapshot process. Either to a requester that listens (protocol.h),
 * or to a reporter that we start; and where no reporter can be had, to a file, with a line in the
 * log that says what to type.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/collect.h"
#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

#define ENVIRONMENT_MAX 1024

static char *append(char *at, const char *end, const char *text)
{
	while (*text && at + 1 < end)
		*at++ = *text++;
	*at = 0;
	return at;
}

static char *append_decimal(char *at, uint32_t number)
{
	char digits[12];
	int n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n > 0)
		*at++ = digits[--n];
	*at = 0;
	return at;
}

/* --- To a requester --- */

void lp_deliver_name(struct lp_delivery *delivery)
{
	lp_options_expand(lp_options.output, (uint32_t)lp_pid, delivery->serial, lp_program_name(),
			  delivery->seconds, delivery->output, sizeof(delivery->output));
}

int lp_deliver_open(struct lp_delivery *delivery)
{
	const struct lp_request *request = delivery->request;

	delivery->fd = request->check ? request->check->reply : -1;
	lp_deliver_name(delivery);
	if (request->check)
		return 0;
	if (request->trigger == LP_TRIGGER_SIGNAL)
		delivery->fd = lp_connect_token(request->token, true);
	else if (lp_options.connect[0])
		delivery->fd = lp_connect_name(lp_options.connect);
	else
		return 0;
	return delivery->fd < 0 ? delivery->fd : 0;
}

/* --- To a reporter --- */

static bool is_program(const char *path)
{
	return LP_SYS2(SYS_access, path, X_OK) == 0;
}

/* The leakprof program: named by an option, or where builds and installations put it, seen from the
 * shim. */
static bool find_reporter(const struct lp_collection *collection, char *path, size_t size)
{
	static const char *const places[] = {"/leakprof", "/../leakprof/leakprof",
					     "/../bin/leakprof", "/../../bin/leakprof",
					     "/../../../bin/leakprof"};
	const struct lp_elf *shim = lp_maps_elf(&collection->maps, collection->input->shim);
	size_t i;

	if (lp_options.reporter[0]) {
		append(path, path + size, lp_options.reporter);
		return is_program(path);
	}
	for (i = 0; shim && i < LP_ARRAY_SIZE(places); i++) {
		char *slash;

		append(path, path + size, shim->path);
		slash = strrchr(path, '/');
		if (!slash)
			return false;
		append(slash, path + size, places[i]);
		if (is_program(path))
			return true;
	}
	return false;
}

/* The program's environment without what would load the shim into the reporter. */
static void reporter_environment(const char **environment)
{
	size_t n = 0;
	char **entry;

	for (entry = environ; entry && *entry && n + 1 < ENVIRONMENT_MAX; entry++)
		if (strncmp(*entry, "LD_", 3) && strncmp(*entry, "LEAKPROF_OPTIONS=", 17))
			environment[n++] = *entry;
	environment[n] = NULL;
}

/* ARGUMENTS begin with the program's path. */
static __attribute__((noreturn)) void exec_reporter(const char *const *arguments, int input,
						    int output, int errors)
{
	const char *environment[ENVIRONMENT_MAX];
	uint64_t none = 0;

	reporter_environment(environment);
	LP_SYS3(SYS_dup3, input, 0, 0);
	LP_SYS3(SYS_dup3, output, 1, 0);
	LP_SYS3(SYS_dup3, errors, 2, 0);
	LP_SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
	LP_SYS3(SYS_execve, arguments[0], arguments, environment);
	LP_SYS1(SYS_exit_group, 127);
	__builtin_unreachable();
}

/* What the reporter said on its standard error: its first line goes into the log. */
static void log_errors(const struct lp_delivery *delivery, int errors)
{
	char text[1024];
	long n = lp_sys_read(errors, text, sizeof(text) - 1);
	char *end;

	if (n <= 0)
		return;
	text[n] = 0;
	end = strchr(text, '\n');
	if (end)
		*end = 0;
	lp_log(delivery, "reporter: ", text);
}

/* Has a reporter, started with ARGUMENTS, read the stream; what it prints goes to OUTPUT (-1:
 * nowhere). Returns 0 or -errno. */
static int run_reporter(const struct lp_delivery *delivery, struct lp_collection *collection,
			const char *const *arguments, int output)
{
	int input[2];
	int errors[2];
	int status = 0;
	long pid;
	int r;

	/* The first descriptors are free here, and must not be where the reporter's own three go.
	 */
	while ((r = lp_sys_open("/dev/null", O_RDWR, 0)) >= 0 && r < 2)
		;
	r = (int)LP_SYS2(SYS_pipe2, input, O_CLOEXEC);
	if (r >= 0)
		r = (int)LP_SYS2(SYS_pipe2, errors, O_CLOEXEC);
	if (r < 0)
		return r;
	if (output < 0)
		output = lp_sys_open("/dev/null", O_WRONLY | O_CLOEXEC, 0);
	pid = LP_SYS5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		exec_reporter(arguments, input[0], output, errors[1]);
	lp_sys_close(input[0]);
	lp_sys_close(errors[1]);
	r = pid < 0 ? (int)pid : lp_stream_write(collection, input[1]);
	lp_sys_close(input[1]);
	if (pid > 0) {
		log_errors(delivery, errors[0]);
		LP_SYS4(SYS_wait4, pid, &status, 0, NULL);
	}
	return r ? r : status ? -EIO : 0;
}

/* Returns 0 when a reporter has written OUTPUT, or -errno; -ENOENT: there is no reporter. */
static int report(const struct lp_delivery *delivery, struct lp_collection *collection)
{
	char path[LP_PATH_MAX];
	char option[LP_PATH_MAX + 32];
	char *end = option + sizeof(option);
	const char *arguments[] = {path, "report", option, NULL};

	if (!find_reporter(collection, path, sizeof(path)))
		return -ENOENT;
	append(append(option, end, "--from-snapshot="), end, delivery->output);
	return run_reporter(delivery, collection, arguments, -1);
}

/* --- To a check of the program itself --- */

static uint32_t count_leaked(const struct lp_collection *collection)
{
	uint32_t count = 0;
	size_t i;

	for (i = 0; i < collection->verdicts.nodes.count; i++) {
		const struct lp_node *node =
			lp_vec_at(&collection->verdicts.nodes, struct lp_node, i);

		count += node->leaked && !collection->input->is_aside(node->goroutine);
	}
	return count;
}

/* Answers as leak_check.c wants it, with the line TEXT. COUNT below 0: nothing was measured. */
static int tell(const struct lp_delivery *delivery, int64_t count, const char *text)
{
	static const char word[] = "leakprof: ";
	char line[512];
	char *end = line + sizeof(line) - 1;
	char *at = append(line, end, "leakprof ");

	at = count < 0 ? append(at, end, "-1") : append_decimal(at, (uint32_t)count);
	*at++ = ' ';
	at = append_decimal(at, (uint32_t)(strlen(word) + strlen(text) + 1));
	*at++ = '\n';
	at = append(append(at, end, word), end, text);
	*at++ = '\n';
	return lp_sys_write(delivery->fd, line, (size_t)(at - line)) < 0 ? -EPIPE : 0;
}

/* Without a reporter there is a number, but nobody to say where. */
static int answer(const struct lp_delivery *delivery, const struct lp_collection *collection)
{
	bool counted = collection->measured == LP_MEASURED && !delivery->request->check->alive;

	return tell(delivery, counted ? (int64_t)count_leaked(collection) : -1,
		    "no leakprof program was found to say where goroutines leak (option "
		    "reporter=PATH)");
}

static int reply(const struct lp_delivery *delivery, struct lp_collection *collection)
{
	char path[LP_PATH_MAX];
	const char *arguments[] = {path, "check", "--from-snapshot",
				   delivery->request->check->alive ? "--mode=alive" : NULL, NULL};

	if (!find_reporter(collection, path, sizeof(path)))
		return answer(delivery, collection);
	return run_reporter(delivery, collection, arguments, delivery->fd);
}

/* --- To a file --- */

static int write_raw(const struct lp_delivery *delivery, struct lp_collection *collection,
		     char *path, size_t size)
{
	char beside[LP_PATH_MAX + 48];
	char *end = beside + sizeof(beside);
	int fd;
	int r;

	append(append(path, path + size, delivery->output), path + size, ".raw");
	/* A snapshot that is still being written must not share its file with the next one. */
	append(append_decimal(append(append(beside, end, path), end, "."),
			      (uint32_t)LP_SYS0(SYS_getpid)),
	       end, ".part");
	/* Of one with our PID that was killed: in containers they come again. */
	LP_SYS1(SYS_unlink, beside);
	fd = lp_sys_open(beside, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	r = lp_stream_write(collection, fd);
	lp_sys_close(fd);
	if (!r)
		r = (int)LP_SYS2(SYS_rename, beside, path);
	if (r)
		LP_SYS1(SYS_unlink, beside);
	return r;
}

/* Whether nobody asked for a file: a bare LD_PRELOAD in a program without goroutines leaves nothing
 * behind. */
static bool is_unasked(const struct lp_collection *collection)
{
	return !strcmp(lp_options.output, LP_OUTPUT_DEFAULT) &&
	       collection->measured == LP_MEASURED_NO_RUNTIME;
}

int lp_deliver(struct lp_delivery *delivery, struct lp_collection *collection)
{
	char raw[LP_PATH_MAX + 16];
	int r = 0;

	if (delivery->request->check)
		return reply(delivery, collection);
	if (delivery->fd >= 0)
		return lp_stream_write(collection, delivery->fd);
	if (is_unasked(collection))
		return 0;
	if (lp_options.keep_raw)
		r = write_raw(delivery, collection, raw, sizeof(raw));
	if (!r)
		r = report(delivery, collection);
	if (!r)
		return 0;
	if (write_raw(delivery, collection, raw, sizeof(raw)))
		lp_log(delivery, "the result could not be written beside ", delivery->output);
	else if (r == -ENOENT)
		lp_log(delivery,
		       "no leakprof program was found (option reporter=PATH); type: leakprof "
		       "report ",
		       raw);
	else
		lp_log(delivery, "the reporter failed; type: leakprof report ", raw);
	return r;
}

int lp_deliver_failure(const struct lp_delivery *delivery, const struct lp_collect_input *input,
		       const char *reason)
{
	if (delivery->request->check)
		return tell(delivery, -1, reason);
	if (delivery->fd >= 0)
		return lp_stream_write_failure(input, lp_program_name(), reason, delivery->fd);
	/* As in is_unasked. */
	if (lp_runtime_any() || strcmp(lp_options.output, LP_OUTPUT_DEFAULT))
		lp_log(delivery, "the collection failed: ", reason);
	return -EIO;
}

/* --- The log --- */

static int open_log(const char *output, char *path, size_t size)
{
	if (!strcmp(lp_options.log, "stderr"))
		return -EBADF;
	if (lp_options.log[0])
		append(path, path + size, lp_options.log);
	else
		append(append(path, path + size, output), path + size, ".log");
	return lp_sys_open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

void lp_log(const struct lp_delivery *delivery, const char *text, const char *detail)
{
	char path[LP_PATH_MAX + 16];
	char line[2 * LP_PATH_MAX];
	char *end = line + sizeof(line) - 1;
	char *at = append(append(append(line, end, "leakprof: "), end, text), end, detail);
	int fd = open_log(delivery->output, path, sizeof(path));
	long n;

	*at++ = '\n';
	n = lp_sys_write_quietly(fd >= 0 ? fd : 2, line, (size_t)(at - line));
	if (fd < 0)
		return;
	/* A disk that is full: better no log than an empty one. */
	if (n < 0 && !LP_SYS3(SYS_lseek, fd, 0, SEEK_END))
		LP_SYS1(SYS_unlink, path);
	lp_sys_close(fd);
}
