/* SPDX-License-Identifier: MIT */
/*
 * leakprof run: starts a program with the shim, passes signals on, collects the streams that its
 * processes send, and ends as the program ended, with the same status or by the same signal.
 *
 * Several processes may send a stream: the program, children it forked, the real program behind a
 * shell script. The program's own is the result when it measured something; else the only other one
 * that did. The rest get files of their own, with the PID before the extension.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/options.h"

#define STREAMS_MAX 256
#define SITES_SHOWN 5

struct stream {
	struct lp_report *report;
	void *data;
	size_t size;
};

struct run {
	const char *output;
	bool quiet;
	bool keep_raw;
	char options[8192]; /* what goes to LEAKPROF_OPTIONS, before the user's own */
	char **arguments;
	char shim[PATH_MAX];
	int listener;
	pid_t child;
	struct stream streams[STREAMS_MAX];
	size_t stream_count;
	bool broken; /* a stream came that ended before its end */
};

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
static bool find_shim(struct run *run)
{
	static const char *const places[] = {"/../runtime_hooks/libleakprof.so",
					     "/../" LP_LIBDIR "/leakprof/libleakprof.so"};
	const char *named = getenv("LEAKPROF_SHIM");
	char self[PATH_MAX];
	char candidate[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	size_t i;

	if (named)
		return realpath(named, run->shim);
	self[n > 0 ? n : 0] = 0;
	slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	for (i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(candidate, sizeof(candidate), "%s%s", self, places[i]);
		if (realpath(candidate, run->shim))
			return true;
	}
	return realpath(LP_SHIM_PATH, run->shim);
}

static void set_environment(const struct run *run, const char *socket)
{
	const char *preload = getenv("LD_PRELOAD");
	const char *options = getenv(LP_OPTIONS_ENV);
	char *value;

	if (asprintf(&value, "%s%s%s", run->shim, preload && *preload ? ":" : "",
		     preload ? preload : "") >= 0)
		setenv("LD_PRELOAD", value, 1);
	if (asprintf(&value, "%s%s%s:connect=%s", options ? options : "", options ? ":" : "",
		     run->options, socket) >= 0)
		setenv(LP_OPTIONS_ENV, value, 1);
}

/* Starts the program; an error of execvp comes back through a pipe that exec closes. */
static int start(struct run *run, const char *socket)
{
	int ends[2];
	int error = 0;

	if (pipe2(ends, O_CLOEXEC))
		return lp_fail(LP_EXIT_FAILED, "no pipe could be made: %s", strerror(errno));
	run->child = fork();
	if (run->child < 0)
		return lp_fail(LP_EXIT_FAILED, "no process could be made: %s", strerror(errno));
	if (!run->child) {
		signal(SIGPIPE, SIG_DFL);
		set_environment(run, socket);
		execvp(run->arguments[0], run->arguments);
		error = errno;
		if (write(ends[1], &error, sizeof(error)) < 0)
			_exit(LP_EXIT_NOT_FOUND);
		_exit(LP_EXIT_NOT_FOUND);
	}
	child_pid = run->child;
	handle_signals();
	close(ends[1]);
	if (read(ends[0], &error, sizeof(error)) == sizeof(error)) {
		waitpid(run->child, NULL, 0);
		close(ends[0]);
		return lp_fail(error == ENOENT ? LP_EXIT_NOT_FOUND : LP_EXIT_NOT_EXECUTABLE,
			       "%s: %s", run->arguments[0], strerror(error));
	}
	close(ends[0]);
	return LP_EXIT_OK;
}

/* --- Collecting --- */

/* Takes a stream over. The last one of a process is its result. */
static void add_stream(struct run *run, void *data, size_t size)
{
	struct lp_report *report;
	size_t i;

	if (!size || lp_load_data("a snapshot", data, size, &report)) {
		run->broken = true;
		free(data);
		return;
	}
	for (i = 0; i < run->stream_count; i++) {
		if (run->streams[i].report->pid != report->pid)
			continue;
		lp_report_free(run->streams[i].report);
		free(run->streams[i].data);
		run->streams[i] = (struct stream){report, data, size};
		return;
	}
	if (run->stream_count == STREAMS_MAX) {
		lp_report_free(report);
		free(data);
		return;
	}
	run->streams[run->stream_count++] = (struct stream){report, data, size};
}

static bool take_stream(struct run *run, int timeout_ms)
{
	void *data;
	size_t size;
	pid_t peer;

	if (lp_accept(run->listener, timeout_ms, geteuid(), &peer, &data, &size))
		return false;
	add_stream(run, data, size);
	return true;
}

/* Until the program has ended; its exit snapshot is in the accept queue then. Returns the wait
 * status. */
static int collect(struct run *run)
{
	sigset_t block;
	sigset_t old;
	int status;

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &old);
	while (waitpid(run->child, &status, WNOHANG) == 0) {
		struct pollfd ready = {.fd = run->listener, .events = POLLIN};

		/* Lets SIGCHLD in only while it waits, so that the end cannot be missed. */
		if (ppoll(&ready, 1, NULL, &old) > 0)
			take_stream(run, 0);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	child_pid = 0;
	while (take_stream(run, 0))
		;
	return status;
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

static const char *no_stream_reason(const struct run *run, int status)
{
	char path[PATH_MAX];
	const char *reason =
		find_program(run->arguments[0], path, sizeof(path)) ? file_reason(path) : NULL;

	if (run->broken)
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

/* --- Output --- */

static bool has_result(const struct stream *stream)
{
	return !lp_report_unmeasured(stream->report);
}

/* The stream that is the result, or NULL. */
static struct stream *choose(struct run *run)
{
	struct stream *own = NULL;
	struct stream *other = NULL;
	size_t others = 0;
	size_t i;

	for (i = 0; i < run->stream_count; i++) {
		if (run->streams[i].report->pid == (uint32_t)run->child)
			own = &run->streams[i];
		else if (has_result(&run->streams[i])) {
			other = &run->streams[i];
			others++;
		}
	}
	return (!own || !has_result(own)) && others == 1 ? other : own;
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

static int write_stream(const struct run *run, const struct stream *stream, const char *output)
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
	if (code || !run->keep_raw)
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

/* An empty report that says why, so that there is a profile in any case. */
static int write_unmeasured(const struct run *run, const char *why)
{
	struct lp_report *report = calloc(1, sizeof(*report));
	struct stream stream = {.report = report};
	char name[PATH_MAX];
	struct lp_report_note note = {LP_NOTE_ERROR, why};
	int code;

	if (!report)
		return LP_EXIT_FAILED;
	report->program = run->arguments[0];
	report->cmdline = run->arguments[0];
	report->version = LP_VERSION;
	report->measured = LP_MEASURED_NO_RUNTIME;
	report->pid = (uint32_t)run->child;
	report->trigger = LP_TRIGGER_EXIT;
	report->time_ns = (uint64_t)time(NULL) * 1000000000u;
	report->notes = &note;
	report->note_count = 1;
	name_output(run, report, false, name, sizeof(name));
	code = write_stream(&(struct run){.keep_raw = false}, &stream, name);
	free(report);
	return code;
}

static void summarize(const struct run *run, const struct stream *result, const char *name,
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
	struct stream *result = choose(run);
	char result_name[PATH_MAX];
	char name[PATH_MAX];
	size_t i;
	int code;

	if (!result) {
		const char *why = no_stream_reason(run, status);

		write_unmeasured(run, why);
		if (!run->quiet)
			fprintf(stderr, "leakprof: nothing measured: %s\n", why);
		return;
	}
	name_output(run, result->report, false, result_name, sizeof(result_name));
	code = write_stream(run, result, result_name);
	for (i = 0; i < run->stream_count; i++) {
		if (&run->streams[i] == result || !has_result(&run->streams[i]))
			continue;
		name_output(run, run->streams[i].report, true, name, sizeof(name));
		write_stream(run, &run->streams[i], name);
	}
	summarize(run, result, result_name, code);
}

/* Ends as the program did. */
static int end_like(int status)
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

/* One long option for every row of the table that is for run; their values are checked here, used
 * in the target. */
static void fill_options(struct option *options, size_t *count)
{
	static char names[32][32];
	size_t i;

	for (i = 0; i < lp_option_count; i++) {
		char *at;

		if (!(lp_option_table[i].scope & LP_OPT_RUN))
			continue;
		snprintf(names[i], sizeof(names[i]), "%s", lp_option_table[i].name);
		for (at = names[i]; *at; at++)
			*at = *at == '_' ? '-' : *at;
		options[(*count)++] =
			(struct option){names[i],
					lp_option_table[i].type == LP_OPT_BOOL ? optional_argument
									       : required_argument,
					NULL, 1000 + (int)i};
	}
}

static int pass_option(struct run *run, const struct lp_option *option, const char *value)
{
	struct lp_options checked;
	size_t length = strlen(run->options);

	if (!value)
		value = "1";
	lp_options_default(&checked);
	if (lp_options_set(&checked, option->name, strlen(option->name), value, strlen(value)))
		return lp_usage("bad value %s for --%s", value, option->name);
	if (!strcmp(option->name, "keep_raw")) {
		run->keep_raw = checked.keep_raw;
		return LP_EXIT_OK;
	}
	snprintf(run->options + length, sizeof(run->options) - length, ":%s=%s", option->name,
		 value);
	return LP_EXIT_OK;
}

static int parse(struct run *run, int argc, char **argv)
{
	struct option options[64] = {{"output", required_argument, NULL, 'o'},
				     {"quiet", no_argument, NULL, 'q'}};
	size_t count = 2;
	int option;
	int code;

	fill_options(options, &count);
	run->output = "leak.pb.gz";
	while ((option = getopt_long(argc, argv, "+o:q", options, NULL)) != -1) {
		if (option == 'o')
			run->output = optarg;
		else if (option == 'q')
			run->quiet = true;
		else if (option < 1000)
			return LP_EXIT_USAGE;
		else {
			code = pass_option(run, &lp_option_table[option - 1000], optarg);
			if (code)
				return code;
		}
	}
	run->arguments = argv + optind;
	return optind < argc ? LP_EXIT_OK : lp_usage("run takes a PROGRAM");
}

int lp_verb_run(int argc, char **argv)
{
	static struct run run;
	char socket[64];
	int status;
	int code = parse(&run, argc, argv);

	if (code)
		return code;
	if (!find_shim(&run))
		return lp_fail(LP_EXIT_FAILED,
			       "libleakprof.so was not found; name it with LEAKPROF_SHIM=PATH");
	run.listener = lp_listen(lp_random_token(), socket, sizeof(socket));
	if (run.listener < 0)
		return lp_fail(LP_EXIT_FAILED, "no socket could be made: %s",
			       strerror(-run.listener));
	code = start(&run, socket);
	if (code)
		return code;
	status = collect(&run);
	finish(&run, status);
	return end_like(status);
}
