/* SPDX-License-Identifier: MIT */
/*
 * Where the stream goes, in the snapshot process. Either to a requester that listens (protocol.h),
 * or to a reporter that we start; and where no reporter can be had, to a file, with a line in the
 * log that says what to type.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/collect.h"
#include "core/protocol.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

#define ENVIRONMENT_MAX 1024

static char *append(char *at, const char *end, const char *text)
{
	while (*text && at + 1 < end)
		*at++ = *text++;
	*at = 0;
	return at;
}

static char *append_hex(char *at, uint32_t number, int digits)
{
	while (digits-- > 0)
		*at++ = "0123456789abcdef"[number >> (4 * digits) & 15];
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

static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer = {0};
	int size = sizeof(peer);
	size_t length = strlen(name);
	long fd;
	long r;

	if (length + 1 > sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path + 1, name, length);
	fd = LP_SYS3(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	r = LP_SYS3(SYS_connect, fd, &address, offsetof(struct sockaddr_un, sun_path) + 1 + length);
	if (!r)
		r = LP_SYS5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	if (!r && peer.uid && peer.uid != (uid_t)LP_SYS0(SYS_geteuid))
		r = -EPERM;
	/* Not where a standard descriptor was closed: those go. */
	if (!r)
		r = LP_SYS3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
	lp_sys_close((int)fd);
	return (int)r;
}

int lp_deliver_open(struct lp_delivery *delivery)
{
	const struct lp_request *request = delivery->request;
	char name[64];

	delivery->fd = -1;
	lp_options_expand(lp_options.output, (uint32_t)lp_pid, delivery->serial, lp_program_name(),
			  delivery->seconds, delivery->output, sizeof(delivery->output));
	if (request->trigger == LP_TRIGGER_SIGNAL) {
		char *at = append(name, name + sizeof(name), "leakprof/");

		at = append_decimal(at, request->peer);
		*at++ = '/';
		append_hex(at, request->token, 8);
		delivery->fd = connect_to(name);
	} else if (lp_options.connect[0]) {
		delivery->fd = connect_to(lp_options.connect);
	} else {
		return 0;
	}
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

/* In a child that shares memory and stack with us until it is another program: what it does must
 * not be part of the caller. */
static __attribute__((noreturn, noinline)) void exec_reporter(const struct lp_delivery *delivery,
							      const char *path, const char *option,
							      int input, int errors)
{
	const char *environment[ENVIRONMENT_MAX];
	const char *arguments[] = {path, "report", option, NULL};
	uint64_t none = 0;
	int null = lp_sys_open("/dev/null", O_WRONLY, 0);

	environment[0] = NULL;
	if (!delivery->shared)
		reporter_environment(environment);
	LP_SYS3(SYS_dup3, input, 0, 0);
	LP_SYS3(SYS_dup3, null, 1, 0);
	LP_SYS3(SYS_dup3, errors, 2, 0);
	LP_SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
	LP_SYS3(SYS_execve, path, arguments, environment);
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

/* Returns 0 when a reporter has written OUTPUT, or -errno; -ENOENT: there is no reporter. */
static int report(const struct lp_delivery *delivery, struct lp_collection *collection)
{
	char path[LP_PATH_MAX];
	char option[LP_PATH_MAX + 32];
	int input[2];
	int errors[2];
	int status = 0;
	long pid;
	int r;

	if (!find_reporter(collection, path, sizeof(path)))
		return -ENOENT;
	append(append(option, option + sizeof(option), "--from-snapshot="), option + sizeof(option),
	       delivery->output);
	/* The first descriptors are free here, and must not be where the reporter's own three go.
	 */
	while ((r = lp_sys_open("/dev/null", O_RDWR, 0)) >= 0 && r < 2)
		;
	r = (int)LP_SYS2(SYS_pipe2, input, O_CLOEXEC);
	if (r >= 0)
		r = (int)LP_SYS2(SYS_pipe2, errors, O_CLOEXEC);
	if (r < 0)
		return r;
	pid = LP_SYS5(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		exec_reporter(delivery, path, option, input[0], errors[1]);
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
	fd = lp_sys_open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0600);
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
	n = lp_sys_write(fd >= 0 ? fd : 2, line, (size_t)(at - line));
	if (fd < 0)
		return;
	/* A disk that is full: better no log than an empty one. */
	if (n < 0 && !LP_SYS3(SYS_lseek, fd, 0, SEEK_END))
		LP_SYS1(SYS_unlink, path);
	lp_sys_close(fd);
}
