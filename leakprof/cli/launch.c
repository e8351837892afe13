/* SPDX-License-Identifier: MIT */
/*
 * See launch.h.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/launch.h"
#include "core/options.h"

static volatile sig_atomic_t child_pid;

/* --- Signals --- */

/* Passes on what was sent to us alone; the terminal sends to the whole group by itself. */
static void forward(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (info->si_code <= 0 && child_pid > 0)
		kill(child_pid, number);
	errno = saved;
}

static void on_child(int number)
{
	(void)number; /* only to wake poll */
}

static void handle_signals(void)
{
	static const int numbers[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
	struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
	sigaction(SIGCHLD, &child, NULL);
}

/* --- Starting --- */

/* The shim: named by LEAKPROF_SHIM, in the build tree beside us, or installed: with us wherever we
 * are now, or as configured. */
static bool find_shim(struct lp_launch *launch)
{
	static const char *const places[] = {"/../runtime_hooks/libleakprof.so",
					     "/../" LP_LIBDIR "/leakprof/libleakprof.so",
					     "/../../" LP_LIBDIR "/leakprof/libleakprof.so"};
	const char *named = getenv("LEAKPROF_SHIM");
	char self[PATH_MAX];
	char candidate[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	size_t i;

	if (named)
		return realpath(named, launch->shim);
	self[n > 0 ? n : 0] = 0;
	slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	for (i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(candidate, sizeof(candidate), "%s%s", self, places[i]);
		if (realpath(candidate, launch->shim))
			return true;
	}
	return realpath(LP_SHIM_PATH, launch->shim);
}

/*
 * ASan refuses to run when its shared runtime does not come before all that is preloaded. It need
 * not: what the shim has in front of it is passed on. The user's own word goes first.
 */
static void allow_asan(void)
{
	const char *options = getenv("ASAN_OPTIONS");
	char *value;

	if (asprintf(&value, "verify_asan_link_order=0%s%s", options && *options ? ":" : "",
		     options ? options : "") >= 0)
		setenv("ASAN_OPTIONS", value, 1);
}

static void set_environment(const struct lp_launch *launch, const char *socket)
{
	const char *preload = getenv("LD_PRELOAD");
	const char *options = getenv(LP_OPTIONS_ENV);
	char *value;

	if (asprintf(&value, "%s%s%s", launch->shim, preload && *preload ? ":" : "",
		     preload ? preload : "") >= 0)
		setenv("LD_PRELOAD", value, 1);
	allow_asan();
	if (asprintf(&value, "%s%s%s:connect=%s", options ? options : "", options ? ":" : "",
		     launch->options, socket) >= 0)
		setenv(LP_OPTIONS_ENV, value, 1);
}

/* Starts the program; an error of execvp comes back through a pipe that exec closes. */
static int start_program(struct lp_launch *launch, const char *socket)
{
	int ends[2];
	int error = 0;

	if (pipe2(ends, O_CLOEXEC))
		return lp_fail(LP_EXIT_FAILED, "no pipe could be made: %s", strerror(errno));
	launch->child = fork();
	if (launch->child < 0)
		return lp_fail(LP_EXIT_FAILED, "no process could be made: %s", strerror(errno));
	if (!launch->child) {
		signal(SIGPIPE, SIG_DFL);
		set_environment(launch, socket);
		execvp(launch->arguments[0], launch->arguments);
		error = errno;
		if (write(ends[1], &error, sizeof(error)) < 0)
			_exit(LP_EXIT_NOT_FOUND);
		_exit(LP_EXIT_NOT_FOUND);
	}
	child_pid = launch->child;
	handle_signals();
	close(ends[1]);
	if (read(ends[0], &error, sizeof(error)) == sizeof(error)) {
		waitpid(launch->child, NULL, 0);
		close(ends[0]);
		return lp_fail(error == ENOENT ? LP_EXIT_NOT_FOUND : LP_EXIT_NOT_EXECUTABLE,
			       "%s: %s", launch->arguments[0], strerror(error));
	}
	close(ends[0]);
	return LP_EXIT_OK;
}

int lp_launch_start(struct lp_launch *launch)
{
	char socket[64];

	if (!find_shim(launch))
		return lp_fail(LP_EXIT_FAILED,
			       "libleakprof.so was not found; name it with LEAKPROF_SHIM=PATH");
	launch->listener = lp_listen(lp_random_token(), socket, sizeof(socket));
	if (launch->listener < 0)
		return lp_fail(LP_EXIT_FAILED, "no socket could be made: %s",
			       strerror(-launch->listener));
	return start_program(launch, socket);
}

/* --- Collecting --- */

/* Where the stream of process PID goes: in place of an earlier one, or a new place. NULL: no
 * memory. */
static struct lp_launched *place_of(struct lp_launch *launch, uint32_t pid)
{
	struct lp_launched *larger;
	size_t n = launch->stream_count;
	size_t i;

	for (i = 0; i < n; i++) {
		if (launch->streams[i].report->pid != pid)
			continue;
		lp_report_free(launch->streams[i].report);
		free(launch->streams[i].data);
		return &launch->streams[i];
	}
	larger = (n & (n - 1)) ? launch->streams
			       : realloc(launch->streams, (n ? 2 * n : 1) * sizeof(*larger));
	if (!larger)
		return NULL;
	launch->streams = larger;
	return &larger[launch->stream_count++];
}

int lp_launch_take(struct lp_launch *launch, void *data, size_t size)
{
	struct lp_report *report = NULL;
	struct lp_launched *place = NULL;

	if (size && !lp_load_data_as("a snapshot", &launch->how, data, size, &report))
		place = place_of(launch, report->pid);
	if (place) {
		*place = (struct lp_launched){report, data, size};
		return 0;
	}
	launch->broken = true;
	lp_report_free(report);
	free(data);
	return -EBADMSG;
}

void lp_launch_free(struct lp_launch *launch)
{
	size_t i;

	for (i = 0; i < launch->stream_count; i++) {
		lp_report_free(launch->streams[i].report);
		free(launch->streams[i].data);
	}
	free(launch->streams);
}

static bool take_stream(struct lp_launch *launch)
{
	void *data;
	size_t size;
	pid_t peer;

	if (lp_accept(launch->listener, 0, geteuid(), &peer, &data, &size))
		return false;
	lp_launch_take(launch, data, size);
	return true;
}

/* What is left until DEADLINE_NS, at *LEFT; NULL: for ever. */
static const struct timespec *time_left(uint64_t deadline_ns, struct timespec *left)
{
	struct timespec now;
	uint64_t now_ns;
	uint64_t rest;

	if (!deadline_ns)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	rest = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	*left = (struct timespec){(time_t)(rest / 1000000000u), (long)(rest % 1000000000u)};
	return left;
}

int lp_launch_wait(struct lp_launch *launch, uint64_t deadline_ns, int *status)
{
	struct pollfd ready = {.fd = launch->listener, .events = POLLIN};
	struct timespec left;
	sigset_t block;
	sigset_t old;
	pid_t ended;

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &old);
	while ((ended = waitpid(launch->child, status, WNOHANG)) == 0) {
		/* Lets SIGCHLD in only while it waits, so that the end cannot be missed. */
		int n = ppoll(&ready, 1, time_left(deadline_ns, &left), &old);

		if (n > 0)
			take_stream(launch);
		else if (n == 0)
			break;
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (!ended)
		return -ETIMEDOUT;
	child_pid = 0;
	while (take_stream(launch))
		;
	return 0;
}

bool lp_launched_measured(const struct lp_launched *stream)
{
	return !lp_report_unmeasured(stream->report);
}

/* --- Why nothing came --- */

static bool find_program(const char *name, char *path, size_t size)
{
	const char *folders = getenv("PATH");
	char *copy;
	char *folder;
	char *rest;

	if (strchr(name, '/')) {
		snprintf(path, size, "%s", name);
		return true;
	}
	copy = strdup(folders ? folders : "/bin:/usr/bin");
	for (folder = strtok_r(copy, ":", &rest); folder; folder = strtok_r(NULL, ":", &rest)) {
		snprintf(path, size, "%s/%s", folder, name);
		if (!access(path, X_OK))
			break;
	}
	free(copy);
	return folder;
}

/* What of the file keeps a shim out, or NULL. */
static const char *file_reason(const char *path)
{
	Elf64_Ehdr head;
	Elf64_Phdr segment;
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool dynamic = false;
	int i;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &status) && status.st_mode & (S_ISUID | S_ISGID)) {
		close(fd);
		return "the program is set-user-ID: the loader ignores LD_PRELOAD for it; run it "
		       "as that user "
		       "without the bit";
	}
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG)) {
		close(fd);
		return NULL;
	}
	if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != EM_X86_64) {
		close(fd);
		return "the program is not a 64-bit x86 one";
	}
	for (i = 0; i < head.e_phnum; i++)
		if (pread(fd, &segment, sizeof(segment),
			  (off_t)(head.e_phoff + (size_t)i * sizeof(segment))) == sizeof(segment))
			dynamic |= segment.p_type == PT_INTERP;
	close(fd);
	return dynamic ? NULL
		       : "the program is linked statically, where no shim can be loaded; link it "
			 "dynamically";
}

const char *lp_launch_silence(const struct lp_launch *launch, int status)
{
	char path[PATH_MAX];
	const char *reason =
		find_program(launch->arguments[0], path, sizeof(path)) ? file_reason(path) : NULL;

	if (launch->broken)
		return "the snapshot died before it could answer (out of memory, or a bug of "
		       "leakprof)";
	if (reason)
		return reason;
	if (WIFSIGNALED(status))
		return "the program was killed by a signal before it could be looked at; use "
		       "leakprof snapshot "
		       "while it runs, or --interval";
	return "no snapshot came from the program (did it leave without exit handlers, or drop "
	       "LD_PRELOAD?)";
}

struct lp_report *lp_launch_unmeasured(const struct lp_launch *launch, const char *why)
{
	struct lp_report *report = calloc(1, sizeof(*report));
	struct lp_report_note *note = report ? lp_report_alloc(report, sizeof(*note)) : NULL;

	if (!note) {
		lp_report_free(report);
		return NULL;
	}
	*note = (struct lp_report_note){LP_NOTE_ERROR, lp_report_keep(report, why)};
	report->program = report->cmdline = lp_report_keep(report, launch->arguments[0]);
	report->version = LP_VERSION;
	report->suppressions[0] = report->suppressions[1] = "";
	report->measured = LP_MEASURED_NO_RUNTIME;
	report->pid = (uint32_t)launch->child;
	report->trigger = LP_TRIGGER_EXIT;
	report->time_ns = (uint64_t)time(NULL) * 1000000000u;
	report->notes = note;
	report->note_count = 1;
	return report;
}

/* Ends as the program did. */
int lp_launch_end_like(int status)
{
	const struct rlimit none = {0, 0};

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	fflush(NULL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

/* --- Options --- */

void lp_launch_init(struct lp_launch *launch, enum lp_option_scope scope, struct option *options,
		    size_t *count)
{
	static char names[32][32];
	size_t i;

	memset(launch, 0, sizeof(*launch));
	launch->how.profile = LP_PROFILE_LEAK;
	lp_options_default(&launch->passed);
	for (i = 0; i < lp_option_count; i++) {
		char *at;

		if (!(lp_option_table[i].scope & (unsigned)scope))
			continue;
		snprintf(names[i], sizeof(names[i]), "%s", lp_option_table[i].name);
		for (at = names[i]; *at; at++)
			*at = *at == '_' ? '-' : *at;
		options[(*count)++] =
			(struct option){names[i],
					lp_option_table[i].type == LP_OPT_BOOL ? optional_argument
									       : required_argument,
					NULL, LP_LAUNCH_OPTION + (int)i};
	}
}

void lp_launch_add(struct lp_launch *launch, const char *format, ...)
{
	size_t length = strlen(launch->options);
	va_list arguments;

	if (length + 1 >= sizeof(launch->options))
		return;
	launch->options[length++] = ':';
	va_start(arguments, format);
	vsnprintf(launch->options + length, sizeof(launch->options) - length, format, arguments);
	va_end(arguments);
}

int lp_launch_pass_option(struct lp_launch *launch, int number, const char *value)
{
	const struct lp_option *option = &lp_option_table[number - LP_LAUNCH_OPTION];
	if (!value)
		value = "1";
	if (lp_options_set(&launch->passed, option->name, strlen(option->name), value,
			   strlen(value)))
		return lp_usage("bad value %s for --%s", value, option->name);
	lp_launch_add(launch, "%s=%s", option->name, value);
	return LP_EXIT_OK;
}
