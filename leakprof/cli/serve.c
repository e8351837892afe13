/* SPDX-License-Identifier: MIT */
/*
 * leakprof serve: profiles and metrics of running programs over HTTP, from a process beside them.
 * See serve.h for its parts. Whoever may ask can stop the programs for milliseconds and read what
 * their functions are called, so it listens on this machine only, unless a token or a unix socket's
 * permissions say who may.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/launch.h"
#include "cli/serve.h"

#define LISTEN_DEFAULT "127.0.0.1:6070"
#define INTERVAL_MS 60000
#define TIMEOUT_MS 10000
#define TOKEN_MAX 4096
#define TICK_NS 1000000000u
#define UNIX "unix:"

struct arguments {
	const char *listen;
	const char *token_file;
	mode_t socket_mode;
	bool quiet;
	char **program; /* NULL: PIDs */
	char **pids;
	size_t pid_count;
};

/* --- Where to listen --- */

static int no_listener(const char *where, int error)
{
	return lp_fail(LP_EXIT_FAILED, "%s cannot be listened on: %s; choose another with --listen",
		       where, strerror(error));
}

/* Whether the socket file at ADDRESS is left from one that is gone. */
static bool is_stale(const struct sockaddr_un *address)
{
	struct stat status;
	bool stale;
	int fd;

	if (lstat(address->sun_path, &status) || !S_ISSOCK(status.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	stale = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int listen_unix(const char *path, mode_t mode, int *listener)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int r;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return lp_usage("%s is no path for a socket: 1 to 107 bytes", path);
	strcpy(address.sun_path, path);
	if (is_stale(&address))
		unlink(path);
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Nobody may connect before its permissions are as they should be. */
	mask = umask(0177);
	r = *listener < 0 || bind(*listener, (const struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (r || chmod(path, mode) || listen(*listener, 128))
		return no_listener(path, errno);
	return LP_EXIT_OK;
}

/* Splits "host:port" or "[host]:port". */
static bool split(const char *where, char *host, size_t size, const char **port)
{
	const char *colon = strrchr(where, ':');
	size_t length = colon ? (size_t)(colon - where) : 0;

	if (!colon || !colon[1])
		return false;
	if (length >= 2 && where[0] == '[' && colon[-1] == ']') {
		where++;
		length -= 2;
	} else if (memchr(where, ':', length)) {
		return false;
	}
	if (length >= size)
		return false;
	memcpy(host, where, length);
	host[length] = 0;
	*port = colon + 1;
	return true;
}

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static int listen_address(const struct lp_serve *serve, const char *where,
			  const struct addrinfo *address, int *listener)
{
	int on = 1;

	if (!is_loopback(address->ai_addr) && !serve->token)
		return lp_usage("%s can be reached by others: give --token-file FILE, or listen on "
				"127.0.0.1 or unix:PATH",
				where);
	*listener = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listener < 0 || setsockopt(*listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(*listener, address->ai_addr, address->ai_addrlen) || listen(*listener, 128))
		return no_listener(where, errno);
	return LP_EXIT_OK;
}

static int listen_tcp(struct lp_serve *serve, const char *where, int *listener)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *addresses;
	const char *port;
	char host[256];
	int code;
	int r;

	if (!split(where, host, sizeof(host), &port))
		return lp_usage("%s is no address: 127.0.0.1:6070, [::1]:6070 or unix:PATH", where);
	r = getaddrinfo(*host ? host : NULL, port, &hints, &addresses);
	if (r)
		return lp_usage("%s is no address: %s", where, gai_strerror(r));
	code = listen_address(serve, where, addresses, listener);
	serve->loopback = is_loopback(addresses->ai_addr);
	freeaddrinfo(addresses);
	return code;
}

/* --- The token --- */

static int read_token(struct lp_serve *serve, const char *path)
{
	static char token[TOKEN_MAX + 1];
	struct stat status;
	void *data;
	size_t size;
	int code = lp_read_file(path, &data, &size);

	if (code)
		return code;
	if (!stat(path, &status) && S_ISREG(status.st_mode) && status.st_mode & 077) {
		free(data);
		return lp_fail(LP_EXIT_INPUT, "%s can be read by others: chmod 600 it", path);
	}
	if (size <= TOKEN_MAX)
		memcpy(token, data, size);
	free(data);
	token[strcspn(token, "\r\n")] = 0;
	if (size > TOKEN_MAX || strlen(token) < 16)
		return lp_fail(LP_EXIT_INPUT, "%s is no token: one line of 16 to %d bytes", path,
			       TOKEN_MAX);
	serve->token = token;
	return LP_EXIT_OK;
}

/* --- Targets --- */

static void init_target(struct lp_served *served, pid_t pid, const char *program)
{
	const char *slash = strrchr(program, '/');

	served->pid = pid;
	snprintf(served->program, sizeof(served->program), "%s", slash ? slash + 1 : program);
	pthread_mutex_init(&served->lock, NULL);
}

static int open_target(struct lp_served *served, const char *text)
{
	pid_t pid = lp_read_pid(text);
	char path[64];
	char name[64] = "";
	FILE *comm;
	int code;

	if (!pid)
		return lp_usage("%s is no PID", text);
	code = lp_target_open(&served->target, pid);
	if (code)
		return code;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	comm = fopen(path, "re");
	if (comm && fgets(name, sizeof(name), comm))
		name[strcspn(name, "\n")] = 0;
	if (comm)
		fclose(comm);
	init_target(served, pid, name);
	served->open = true;
	return LP_EXIT_OK;
}

static int open_targets(struct lp_serve *serve, const struct arguments *arguments)
{
	size_t i;
	int code = LP_EXIT_OK;

	serve->target_count = arguments->program ? 1 : arguments->pid_count;
	serve->targets = calloc(serve->target_count, sizeof(*serve->targets));
	if (!serve->targets)
		return lp_fail(LP_EXIT_FAILED, "there is not enough memory");
	for (i = 0; !code && !arguments->program && i < serve->target_count; i++)
		code = open_target(&serve->targets[i], arguments->pids[i]);
	return code;
}

static int launch(struct lp_serve *serve, struct lp_launch *launched, char **program)
{
	struct option unused[64];
	size_t count = 0;
	int code;

	lp_launch_init(launched, LP_OPT_RUN, unused, &count);
	launched->arguments = program;
	/* Nobody asks for what was at its end. */
	strcpy(launched->options, ":at_exit=0");
	code = lp_launch_start(launched);
	if (code)
		return code;
	init_target(&serve->targets[0], launched->child, program[0]);
	serve->targets[0].launched = true;
	return LP_EXIT_OK;
}

/* --- Serving --- */

static void announce(const struct lp_serve *serve, const struct arguments *arguments, int listener)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	char port[16];
	const char *colon = strrchr(arguments->listen, ':');
	size_t i;

	if (arguments->quiet)
		return;
	fputs("leakprof: serving PID", stderr);
	for (i = 0; i < serve->target_count; i++)
		fprintf(stderr, "%s %d", i ? "," : "", (int)serve->targets[i].pid);
	/* Port 0 has become another. */
	if (strncmp(arguments->listen, UNIX, strlen(UNIX)) &&
	    !getsockname(listener, (struct sockaddr *)&address, &size) &&
	    !getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof(port),
			 NI_NUMERICSERV))
		fprintf(stderr, " on http://%.*s:%s/\n", (int)(colon - arguments->listen),
			arguments->listen, port);
	else
		fprintf(stderr, " on %s\n", arguments->listen);
}

/* Until the program has ended; returns how. */
static int attend_program(struct lp_serve *serve, struct lp_launch *launched)
{
	struct timespec now;
	int status;

	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		lp_http_tick(serve);
	} while (lp_launch_wait(
		launched, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + TICK_NS,
		&status));
	return status;
}

/* Until somebody ends us. */
static void attend(struct lp_serve *serve, const sigset_t *ends)
{
	const struct timespec tick = {TICK_NS / 1000000000u, TICK_NS % 1000000000u};

	while (sigtimedwait(ends, NULL, &tick) < 0)
		lp_http_tick(serve);
}

static int start_threads(struct lp_serve *serve, int listener)
{
	int r = lp_workers_start(serve);

	if (!r)
		r = lp_http_start(serve, listener);
	return r ? lp_fail(LP_EXIT_FAILED, "the server could not be started: %s", strerror(-r))
		 : LP_EXIT_OK;
}

/* Signals are for the first thread only. */
static int serve_all(struct lp_serve *serve, const struct arguments *arguments, int listener)
{
	struct lp_launch launched;
	sigset_t all;
	sigset_t ends;
	sigset_t old;
	int status = 0;
	int code = arguments->program ? launch(serve, &launched, arguments->program) : LP_EXIT_OK;

	if (code)
		return code;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = start_threads(serve, listener);
	if (code)
		return code;
	announce(serve, arguments, listener);
	if (arguments->program) {
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		status = attend_program(serve, &launched);
	} else {
		sigemptyset(&ends);
		sigaddset(&ends, SIGINT);
		sigaddset(&ends, SIGTERM);
		sigaddset(&ends, SIGHUP);
		attend(serve, &ends);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	lp_workers_stop(serve);
	lp_http_stop(serve);
	return arguments->program ? lp_launch_end_like(status) : LP_EXIT_OK;
}

/* --- The command line --- */

static int read_mode(const char *text, mode_t *mode)
{
	char *end;
	unsigned long value = strtoul(text, &end, 8);

	if (!*text || *end || value > 0777)
		return lp_usage("--socket-mode takes permissions such as 0660, not %s", text);
	*mode = (mode_t)value;
	return LP_EXIT_OK;
}

static int parse_option(struct lp_serve *serve, struct arguments *arguments, int option)
{
	switch (option) {
	case 'l':
		arguments->listen = optarg;
		return LP_EXIT_OK;
	case 'f':
		arguments->token_file = optarg;
		return LP_EXIT_OK;
	case 'm':
		return read_mode(optarg, &arguments->socket_mode);
	case 'i':
		return lp_read_timeout(optarg, &serve->interval_ms);
	case 't':
		return lp_read_timeout(optarg, &serve->timeout_ms);
	case 'q':
		arguments->quiet = true;
		return LP_EXIT_OK;
	}
	return LP_EXIT_USAGE;
}

static int parse(struct lp_serve *serve, struct arguments *arguments, int argc, char **argv)
{
	static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
						{"token-file", required_argument, NULL, 'f'},
						{"socket-mode", required_argument, NULL, 'm'},
						{"interval", required_argument, NULL, 'i'},
						{"timeout", required_argument, NULL, 't'},
						{"quiet", no_argument, NULL, 'q'},
						{0}};
	int code = LP_EXIT_OK;
	int option;

	*serve = (struct lp_serve){.timeout_ms = TIMEOUT_MS, .interval_ms = INTERVAL_MS};
	*arguments = (struct arguments){.listen = LISTEN_DEFAULT, .socket_mode = 0600};
	while (!code && (option = getopt_long(argc, argv, "+q", options, NULL)) != -1)
		code = parse_option(serve, arguments, option);
	if (code)
		return code;
	if (optind == argc)
		return lp_usage("serve takes PIDs, or -- and a PROGRAM");
	if (!strcmp(argv[optind - 1], "--")) {
		arguments->program = argv + optind;
	} else {
		arguments->pids = argv + optind;
		arguments->pid_count = (size_t)(argc - optind);
	}
	return LP_EXIT_OK;
}

int lp_verb_serve(int argc, char **argv)
{
	static struct lp_serve serve;
	struct arguments arguments;
	bool unix_socket;
	int listener = -1;
	int code = parse(&serve, &arguments, argc, argv);

	unix_socket = !code && !strncmp(arguments.listen, UNIX, strlen(UNIX));
	if (!code && arguments.token_file)
		code = read_token(&serve, arguments.token_file);
	if (!code)
		code = open_targets(&serve, &arguments);
	if (!code)
		code = unix_socket ? listen_unix(arguments.listen + strlen(UNIX),
						 arguments.socket_mode, &listener)
				   : listen_tcp(&serve, arguments.listen, &listener);
	if (code)
		return code;
	code = serve_all(&serve, &arguments, listener);
	if (unix_socket)
		unlink(arguments.listen + strlen(UNIX));
	return code;
}
