/* SPDX-License-Identifier: MIT */
/*
 * A collection in the target: stop all threads, clone, go on.
 *
 *     target                                   snapshot process
 *     stop all threads
 *     clone, without SIGCHLD  ---------------> reads what only a stopped target shows
 *     wait for HELD           <--------------- HELD
 *     start all threads                        marks, writes, exits
 *     our own signal, on its end  <-----------
 *
 * The clone's exit signal is ours, so that the program's own wait calls do not see the snapshot
 * process and nothing is left behind: the handler reaps it. Collections are made one at a time;
 * requests that come meanwhile wait in a small queue. The work runs on a stack of its own, as the
 * signal stack is small.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/collect.h"
#include "core/history.h"
#include "core/own.h"
#include "core/protocol.h"
#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

#define STACK_BYTES (512u << 10)
#define QUEUE_MAX 8
#define ROOTS_MAX 1024
#define RUNNING_MAX 16 /* snapshot processes at a time */

/* Shared with the snapshot process. */
struct control {
	uint32_t held;	    /* futex: the target may go on */
	uint32_t connected; /* futex: the requester will hear of this collection */
	uint32_t released;  /* futex: the figures below are there */
	uint64_t pause_ns;
	uint64_t stop_ns;
	uint64_t clone_ns;
	uint64_t target_bytes;
};

/* In the same page, written by snapshots: of the last one that measured something. */
struct outcome {
	uint64_t failed; /* snapshots that could not measure */

	uint64_t time_ns; /* of what follows: written last; 0: none */
	uint64_t leaked;
	uint64_t pause_ns;
	uint64_t duration_ns;
	uint64_t bytes;
};

#define OUTCOME_AT 1024 /* in the page */
_Static_assert(sizeof(struct control) <= OUTCOME_AT, "the control page");

static struct control *control;
static struct lp_history *history;
static char *stack;
static uint32_t busy;
static uint32_t serial;
static uint64_t failures;
static uint64_t pause_ns;	 /* of all snapshots */
static int running[RUNNING_MAX]; /* snapshot processes that were not reaped; 0: none */
static uint32_t died;		 /* how many of them were killed since that was told */
static uint64_t start_ns;
static uintptr_t roots[ROOTS_MAX];
static size_t root_count;
static struct lp_pool_range ranges[ROOTS_MAX];
static size_t range_count;

static struct {
	uint32_t used;
	struct lp_request request;
} queue[QUEUE_MAX];

/* One collection, handed from stack to stack. */
struct job {
	const struct lp_request *request;
	struct lp_thread *self;
	void *context;
	uintptr_t sp;
	int result;
	int proc_pid;
	const char *timers; /* NULL: could not be read */
};

void lp_add_root(const void *word)
{
	if (!word)
		return;
	if (root_count == ROOTS_MAX) {
		lp_dormant("too many callback arguments were registered with a runtime");
		return;
	}
	roots[root_count++] = (uintptr_t)word;
}

void lp_add_pool(uintptr_t low, uintptr_t high)
{
	if (range_count && ranges[range_count - 1].high == low) {
		ranges[range_count - 1].high = high;
		return;
	}
	if (range_count == ROOTS_MAX) {
		lp_dormant("the program calls sbrk in too many places");
		return;
	}
	ranges[range_count++] = (struct lp_pool_range){low, high};
}

static void signal_word(uint32_t *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	lp_sys_futex(word, FUTEX_WAKE, 1, NULL);
}

static bool wait_word(uint32_t *word, uint64_t nanoseconds)
{
	const struct timespec slice = {0, 1000000};
	uint64_t deadline = lp_sys_clock_ns(CLOCK_MONOTONIC) + nanoseconds;

	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		if (lp_sys_clock_ns(CLOCK_MONOTONIC) > deadline)
			return false;
		lp_sys_futex(word, FUTEX_WAIT, 0, &slice);
	}
	return true;
}

/* --- In the snapshot process --- */

struct lp_tls_info {
	size_t size;
	size_t descriptor;
};

/* glibc's own answers; where it gives none, enough for what is usual. */
static struct lp_tls_info tls_info;

static void find_tls_info(void)
{
	void (*get)(size_t *, size_t *) = lp_next("_dl_get_tls_static_info", NULL);
	const uint32_t *descriptor = lp_next("_thread_db_sizeof_pthread", NULL);
	size_t align;

	tls_info.size = 8192;
	if (get)
		get(&tls_info.size, &align);
	tls_info.descriptor = descriptor ? *descriptor : 2304;
}

extern void *__libc_stack_end;

static const struct leakprof_scope *checked_scope;

static bool is_aside(const struct lp_goroutine *goroutine)
{
	return lp_scope_is_aside(goroutine, checked_scope);
}

static void fill_input(struct lp_collect_input *input, const struct job *job, uint64_t begin)
{
	*input = (struct lp_collect_input){
		.trigger = job->request->trigger,
		.pid = (uint32_t)lp_pid,
		.proc_pid = (uint32_t)job->proc_pid,
		.serial = serial,
		.time_ns = lp_sys_clock_ns(CLOCK_REALTIME),
		.process_start_ns = start_ns,
		.start_ns = begin,
		.forked = lp_forked,
		.is_aside = is_aside,
		.options = &lp_options,
		.dormant = lp_dormant_reason,
		.usable = lp_heap_usable(),
		.goroutine_at = lp_goroutine_at,
		.thread_at = lp_thread_at,
		.runtimes = lp_runtimes,
		.runtime_count = lp_runtime_count,
		.shim = (uintptr_t)&lp_collect,
		.main_stack_top = (uintptr_t)__libc_stack_end,
		.tls_size = tls_info.size,
		.descriptor_size = tls_info.descriptor,
		.roots = roots,
		.root_count = root_count,
		.ranges = ranges,
		.range_count = range_count,
	};
	checked_scope = job->request->check ? job->request->check->scope : NULL;
	input->suppressions[0] = job->request->suppressions;
	input->suppressions[1] = job->request->check ? job->request->check->suppressions : NULL;
	input->history = history;
	input->timers = job->timers;
	input->queued = lp_queued_values(&input->queued_count, &input->queued_lost);
	input->heap_warning = lp_heap_warning();
	input->heap_untracked = lp_heap_untracked();
	if (input->heap_untracked)
		input->usable = NULL;
}

/*
 * From here on a fault, a hang or too much memory ends this process alone: default actions, an
 * alarm, the first choice of the OOM killer, no core file.
 */
static void become_expendable(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGTERM};
	struct itimerval limit = {
		.it_value.tv_sec = (time_t)(lp_options.timeout_ns / 1000000000u) + 1,
	};
	uint64_t unblock = 0;
	int fd;
	size_t i;

	for (i = 0; i < LP_ARRAY_SIZE(faults); i++) {
		const uint64_t action[4] = {0}; /* SIG_DFL, as the kernel has it */

		LP_SYS4(SYS_rt_sigaction, faults[i], action, NULL, 8);
		unblock |= 1ull << (faults[i] - 1);
	}
	LP_SYS4(SYS_rt_sigprocmask, SIG_UNBLOCK, &unblock, NULL, 8);
	LP_SYS3(SYS_setitimer, ITIMER_REAL, &limit, NULL);
	lp_limits_lift();
	LP_SYS2(SYS_prctl, PR_SET_NAME, "leakprof-snap");
	fd = lp_sys_open("/proc/self/oom_score_adj", O_WRONLY, 0);
	if (fd >= 0) {
		lp_sys_write(fd, "1000", 4);
		lp_sys_close(fd);
	}
}

static void close_descriptors(unsigned first, unsigned last)
{
	if (first > last || LP_SYS3(SYS_close_range, first, last, 0) >= 0)
		return;
	/* Before Linux 5.9. */
	for (; first <= last && first < 65536; first++)
		lp_sys_close((int)first);
}

/*
 * Descriptors of the target: a copy of a pipe's end would keep its reader from seeing the end. Kept
 * is standard error where the log goes there.
 */
static void close_all(void)
{
	bool log = !strcmp(lp_options.log, "stderr");

	close_descriptors(0, log ? 1 : 2);
	close_descriptors(3, ~0u);
}

static void copy_figures(struct lp_collection *collection)
{
	if (!wait_word(&control->released, 1000000000u))
		return;
	collection->figures[LP_FIG_PAUSE_NS] = control->pause_ns;
	collection->figures[LP_FIG_STOP_NS] = control->stop_ns;
	collection->figures[LP_FIG_CLONE_NS] = control->clone_ns;
	collection->figures[LP_FIG_TARGET_BYTES] = control->target_bytes;
	collection->figures[LP_FIG_FAILURES] = failures;
}

struct reason {
	int error;
	const char *text;
};

/* What -ERROR means in a step of a collection, from its REASONS; the last is for any other. */
static const char *reason_for(const struct reason *reasons, int error)
{
	while (reasons->error && reasons->error != -error)
		reasons++;
	return reasons->text;
}

#define NO_PROC "the program cannot see /proc (a chroot?): mount it where the program is"
#define NO_MEMORY "the snapshot ran out of memory"
#define NO_DESCRIPTOR "the program has no file descriptor left (RLIMIT_NOFILE)"

static const struct reason stop_reasons[] = {
	{ENOENT, NO_PROC},
	{ENOTDIR, NO_PROC},
	{EACCES, NO_PROC},
	{EMFILE, NO_DESCRIPTOR},
	{ENFILE, "the system has no file descriptor left"},
	{ENOMEM, "the program has no memory left for a snapshot (RLIMIT_AS?)"},
	{EPERM, "a system call that stops threads is not allowed (seccomp?)"},
	{0, "not all threads stopped in time: set stop_timeout higher, or try again"},
};

static const struct reason clone_reasons[] = {
	{ETIMEDOUT,
	 "the snapshot took too long to look at the stopped program: set stop_timeout higher"},
	{EAGAIN, "there may be no more processes (RLIMIT_NPROC, or pids.max of the cgroup)"},
	{ENOMEM, "the system has no memory for a copy of the program (overcommit?)"},
	{EPERM, "a snapshot process may not be made: clone is not allowed (seccomp?)"},
	{ENOSYS, "a snapshot process may not be made: clone is not allowed (seccomp?)"},
	{0, "a snapshot process could not be made"},
};

static const struct reason look_reasons[] = {
	{ENOENT, NO_PROC},
	{ENOTDIR, NO_PROC},
	{EMFILE, NO_DESCRIPTOR},
	{ENOMEM, NO_MEMORY},
	{0, "the snapshot cannot look at the program: a system call is not allowed (seccomp?)"},
};

/* STOPPED: how the stop went, 0 or -errno. */
static int collect(struct lp_collection *collection, const struct lp_collect_input *input,
		   int stopped)
{
	int r;

	if (input->dormant || stopped) {
		collection->measured = LP_MEASURED_FAILED;
		lp_collect_note(collection, LP_NOTE_ERROR,
				input->dormant ? input->dormant
					       : reason_for(stop_reasons, stopped));
		return 0;
	}
	r = lp_collect_verdicts(collection);
	if (r) {
		collection->measured = LP_MEASURED_FAILED;
		lp_collect_note(collection, LP_NOTE_ERROR, NO_MEMORY);
		collection->verdicts.nodes.count = 0;
	}
	return 0;
}

static struct outcome *outcome(void)
{
	return (struct outcome *)((char *)control + OUTCOME_AT);
}

/* Snapshots that overlap: the one that ends last is the last one. */
static void tell_outcome(const struct lp_collection *collection)
{
	struct outcome *told = outcome();

	if (collection->measured == LP_MEASURED_FAILED)
		__atomic_fetch_add(&told->failed, 1, __ATOMIC_RELAXED);
	/* Zero leaks where nothing was measured is no result. */
	if (collection->measured != LP_MEASURED)
		return;
	__atomic_store_n(&told->time_ns, 0, __ATOMIC_RELEASE);
	told->leaked = collection->figures[LP_FIG_LEAKED];
	told->pause_ns = collection->figures[LP_FIG_PAUSE_NS];
	told->duration_ns = collection->figures[LP_FIG_TOTAL_NS];
	told->bytes = collection->figures[LP_FIG_SNAPSHOT_BYTES];
	__atomic_store_n(&told->time_ns, collection->input->time_ns, __ATOMIC_RELEASE);
}

static __attribute__((noreturn)) void snapshot_main(const struct job *job, uint64_t begin,
						    int stopped)
{
	struct lp_delivery delivery = {.request = job->request, .serial = serial};
	struct lp_collect_input input;
	struct lp_collection collection;
	size_t target_bytes;
	int frozen;
	int r;

	become_expendable();
	target_bytes = lp_own_bytes();
	fill_input(&input, job, begin);
	delivery.seconds = input.time_ns / 1000000000u;
	frozen = lp_collect_frozen(&collection, &input);
	signal_word(&control->held);
	close_all();
	r = lp_deliver_open(&delivery);
	signal_word(&control->connected);
	LP_SYS0(SYS_setsid);
	if (!r && frozen) {
		r = lp_deliver_failure(&delivery, &input, reason_for(look_reasons, frozen));
	} else if (!r) {
		collect(&collection, &input, stopped);
		copy_figures(&collection);
		collection.figures[LP_FIG_SNAPSHOT_BYTES] = lp_own_bytes() - target_bytes;
		r = lp_deliver(&delivery, &collection);
		tell_outcome(&collection);
	}
	LP_SYS1(SYS_exit_group, r ? 1 : 0);
	__builtin_unreachable();
}

/* --- In the target --- */

/* Where the PID of another snapshot process goes, NULL when there are too many. */
static int *free_place(void)
{
	size_t i;

	for (i = 0; i < RUNNING_MAX; i++)
		if (!__atomic_load_n(&running[i], __ATOMIC_ACQUIRE))
			return &running[i];
	return NULL;
}

static void map_history(void)
{
	long address;

	/* 64 MiB of a limited address space are too dear for a mere check on ourselves. */
	if (history || (lp_options.confirm <= 1 && lp_limits_memory()))
		return;
	address = LP_SYS6(SYS_mmap, 0, sizeof(*history), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (address < 0 && address > -4096)
		return;
	history = (struct lp_history *)address;
	lp_own_record(history, sizeof(*history));
}

/* Of what is mapped, what was never touched. */
static size_t history_unused(void)
{
	return history ? sizeof(history->lists) -
				 (history->count[0] + history->count[1]) * sizeof(struct lp_past)
		       : 0;
}

/* What snapshots remember of goroutines that all ended together, as their runtime was shut down. */
void lp_snapshot_forget(void)
{
	if (history)
		history->count[history->current] = 0;
}

/* There is no snapshot process that could say so: the target itself does, while nothing of it runs.
 */
static void tell_failure(const struct job *job, uint64_t begin, int error)
{
	struct lp_delivery delivery = {.request = job->request, .serial = serial};
	struct lp_collect_input input;

	fill_input(&input, job, begin);
	delivery.seconds = input.time_ns / 1000000000u;
	if (!lp_deliver_open(&delivery))
		lp_deliver_failure(&delivery, &input, reason_for(clone_reasons, error));
	if (delivery.fd >= 0)
		lp_sys_close(delivery.fd);
}

/* One that was killed could not say so; who asked for it sees it, the log does not. */
static void tell_deaths(const struct job *job)
{
	struct lp_delivery delivery = {.request = job->request, .serial = serial, .fd = -1};
	struct lp_collect_input input = {0};

	if (job->request->trigger == LP_TRIGGER_SIGNAL || lp_options.connect[0] ||
	    !__atomic_exchange_n(&died, 0, __ATOMIC_ACQ_REL))
		return;
	delivery.seconds = lp_sys_clock_ns(CLOCK_REALTIME) / 1000000000u;
	lp_deliver_name(&delivery);
	lp_deliver_failure(&delivery, &input, "a snapshot was killed (out of memory?)");
}

static void run_job(void *argument)
{
	struct job *job = argument;
	char timers[LP_TIMERS_SIZE];
	uint64_t begin = lp_sys_clock_ns(CLOCK_MONOTONIC);
	uint64_t stopped;
	uint64_t cloned;
	int stop = 0;
	long pid;

	memset(control, 0, sizeof(*control));
	map_history();
	serial++;
	tell_deaths(job);
	if (!lp_dormant_reason)
		stop = lp_stop_world(job->self, job->context, job->sp);
	stopped = lp_sys_clock_ns(CLOCK_MONOTONIC);
	job->timers = lp_own_timers(timers, sizeof(timers)) ? timers : NULL;
	pid = LP_SYS5(SYS_clone, lp_signal, 0, 0, 0, 0);
	if (!pid)
		snapshot_main(job, begin, stop);
	cloned = lp_sys_clock_ns(CLOCK_MONOTONIC);
	if (pid < 0)
		tell_failure(job, begin, (int)pid);
	if (pid > 0 && !wait_word(&control->held, lp_options.stop_timeout_ns)) {
		LP_SYS2(SYS_kill, pid, SIGKILL);
		tell_failure(job, begin, -ETIMEDOUT);
	}
	if (!stop && !lp_dormant_reason)
		lp_start_world(job->self);
	control->target_bytes = lp_own_bytes() - history_unused();
	control->stop_ns = stopped - begin;
	control->clone_ns = cloned - stopped;
	control->pause_ns = lp_sys_clock_ns(CLOCK_MONOTONIC) - begin;
	pause_ns += control->pause_ns;
	signal_word(&control->released);
	job->result = pid < 0 ? (int)pid : 0;
	if (pid < 0)
		failures++;
	else
		__atomic_store_n(free_place(), (int)pid, __ATOMIC_RELEASE);
}

/* Calls FUNCTION(ARGUMENT) with the stack pointer at TOP. */
void lp_call_on_stack(void (*function)(void *), void *argument, char *top);

__asm__(".text\n"
	".hidden lp_call_on_stack\n"
	".globl lp_call_on_stack\n"
	".type lp_call_on_stack, @function\n"
	"lp_call_on_stack:\n"
	"	.cfi_startproc\n"
	"	pushq %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset rbp, -16\n"
	"	movq %rsp, %rbp\n"
	"	.cfi_def_cfa_register rbp\n"
	"	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	movq %rdx, %rsp\n"
	"	callq *%rax\n"
	"	movq %rbp, %rsp\n"
	"	popq %rbp\n"
	"	.cfi_def_cfa rsp, 8\n"
	"	retq\n"
	"	.cfi_endproc\n"
	".size lp_call_on_stack, . - lp_call_on_stack\n");

static bool enqueue(const struct lp_request *request)
{
	size_t i;

	for (i = 0; i < QUEUE_MAX; i++) {
		uint32_t unused = 0;

		if (!__atomic_compare_exchange_n(&queue[i].used, &unused, 1, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		queue[i].request = *request;
		__atomic_store_n(&queue[i].used, 2, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

static bool dequeue(struct lp_request *request)
{
	size_t i;

	for (i = 0; i < QUEUE_MAX; i++) {
		if (__atomic_load_n(&queue[i].used, __ATOMIC_ACQUIRE) != 2)
			continue;
		*request = queue[i].request;
		__atomic_store_n(&queue[i].used, 0, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

static bool is_running(void)
{
	size_t i;

	for (i = 0; i < RUNNING_MAX; i++)
		if (__atomic_load_n(&running[i], __ATOMIC_ACQUIRE))
			return true;
	return false;
}

static int collect_once(const struct lp_request *request, void *context, uintptr_t sp)
{
	struct lp_thread *self = lp_self ? lp_self : lp_thread_claim((int)LP_SYS0(SYS_gettid));
	struct job job = {request, self, context, sp, 0, lp_proc_pid(), NULL};

	if (!self || !control || !stack)
		return -ENOMEM;
	lp_snapshot_reap();
	/* Collections that come faster than their snapshots end must not pile up. */
	if (!free_place() || (request->trigger == LP_TRIGGER_INTERVAL && is_running()))
		return -EAGAIN;
	lp_call_on_stack(run_job, &job, stack + STACK_BYTES);
	if (self != lp_self)
		lp_thread_release(self);
	return job.result;
}

int lp_collect(const struct lp_request *request, void *context, uintptr_t sp)
{
	struct lp_request next = *request;
	uint64_t all = ~0ull;
	uint64_t mask;
	int r;

	if (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
		return !request->check && enqueue(request) ? -EBUSY : -EAGAIN;
	LP_SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	do
		r = collect_once(&next, context, sp);
	while (dequeue(&next));
	__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
	LP_SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
	if (request->trigger == LP_TRIGGER_EXIT && !r) {
		if (lp_options.connect[0])
			wait_word(&control->connected, LP_CONNECT_WAIT_NS);
		/* The end of a PID namespace's first process would end the snapshot too. */
		if (lp_pid == 1)
			LP_SYS4(SYS_wait4, -1, NULL, __WCLONE, NULL);
	}
	return r;
}

/* Any thread may come here, several at once: each process is reaped by the one that the kernel
 * gives it to. */
void lp_snapshot_reap(void)
{
	size_t i;

	for (i = 0; i < RUNNING_MAX; i++) {
		int pid = __atomic_load_n(&running[i], __ATOMIC_ACQUIRE);
		int status;

		if (!pid || LP_SYS4(SYS_wait4, pid, &status, WNOHANG | __WCLONE, NULL) != pid)
			continue;
		failures += status != 0;
		if (WIFSIGNALED(status))
			__atomic_fetch_add(&died, 1, __ATOMIC_RELAXED);
		if (history && history->writer == (uint32_t)pid)
			history->writer = 0;
		__atomic_store_n(&running[i], 0, __ATOMIC_RELEASE);
	}
}

void lp_snapshot_stats(struct leakprof_stats *stats)
{
	const struct outcome *told = control ? outcome() : NULL;

	stats->start_ns = start_ns;
	stats->snapshots = serial;
	stats->failures = failures + (told ? told->failed : 0);
	stats->pause_ns = pause_ns;
	stats->target_bytes = lp_own_bytes() - history_unused();
	stats->snapshot_ns = told ? __atomic_load_n(&told->time_ns, __ATOMIC_ACQUIRE) : 0;
	if (!stats->snapshot_ns)
		return;
	stats->leaked = told->leaked;
	stats->last_pause_ns = told->pause_ns;
	stats->last_duration_ns = told->duration_ns;
	stats->last_bytes = told->bytes;
}

void lp_snapshot_end(void)
{
	size_t i;

	for (i = 0; i < RUNNING_MAX; i++) {
		int pid = __atomic_exchange_n(&running[i], 0, __ATOMIC_ACQ_REL);

		if (pid && LP_SYS2(SYS_kill, pid, SIGKILL) >= 0)
			LP_SYS4(SYS_wait4, pid, NULL, __WALL, NULL);
	}
}

/* --- The control page --- */

static char *append_number(char *at, unsigned number)
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

/* "leakprof-abi1-sig62": LP_MEMFD_NAME_FORMAT without stdio. */
static void marker_name(char *name)
{
	char *at;

	memcpy(name, "leakprof-abi", 13);
	at = append_number(name + 12, LP_PROTOCOL_ABI);
	memcpy(at, "-sig", 5);
	append_number(at + 4, (unsigned)lp_signal);
}

/* The file stays empty, as RLIMIT_FSIZE may kill who makes one larger. Nothing reads the mapping.
 */
static void map_marker(void)
{
	char name[64];
	long fd;

	marker_name(name);
	fd = LP_SYS2(SYS_memfd_create, name, 1 /* MFD_CLOEXEC */);
	if (fd < 0)
		return;
	LP_SYS6(SYS_mmap, 0, LP_PAGE, PROT_NONE, MAP_SHARED, fd, 0);
	lp_sys_close((int)fd);
}

static struct control *map_control(void)
{
	long address = LP_SYS6(SYS_mmap, 0, LP_PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (address < 0 && address > -4096)
		return NULL;
	lp_own_record((void *)address, LP_PAGE);
	return (struct control *)address;
}

int lp_snapshot_init(void)
{
	map_marker();
	control = map_control();
	stack = lp_own_map(STACK_BYTES);
	if (!control || !stack)
		return -ENOMEM;
	start_ns = lp_sys_clock_ns(CLOCK_REALTIME);
	find_tls_info();
	return 0;
}

void lp_snapshot_after_fork(void)
{
	/* The old page is the parent's. */
	if (control)
		lp_own_unmap(control, LP_PAGE);
	control = map_control();
	if (history)
		lp_own_unmap(history, sizeof(*history));
	history = NULL;
	memset(queue, 0, sizeof(queue));
	busy = 0;
	serial = 0;
	failures = 0;
	pause_ns = 0;
	memset(running, 0, sizeof(running));
	died = 0;
	start_ns = lp_sys_clock_ns(CLOCK_REALTIME);
}
