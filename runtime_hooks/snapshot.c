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
 *
 * Where the option max_pause is set and the stop is foreseen to be longer (pause.c), a scout is
 * cloned instead: a process in the target's own memory, so that there is nothing to copy. It counts
 * the huge pages, which takes too long for the target, and either sends the request back
 * (LP_SCOUT_GO) or says why there is no snapshot.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/history.h"
#include "core/own.h"
#include "core/protocol.h"
#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/snapshot.h"

#define STACK_BYTES (512u << 10)
#define QUEUE_MAX 8
#define ROOTS_MAX 1024
#define RUNNING_MAX 16 /* snapshot processes at a time */
#define SCOUT_STACK (128u << 10)
#define LOOK_NS 1000000 /* so often the target looks whether a snapshot that it waits for lives */
#define KILLED "a snapshot was killed (out of memory?)"

struct lp_control *lp_control;
static struct lp_history *history;
static char *stack;
static uint32_t busy;
static uint32_t serial;
static uint64_t failures;
static uint64_t pause_ns;	 /* of all snapshots */
static uint32_t died;		 /* snapshot processes that were killed since that was told */
static int running[RUNNING_MAX]; /* snapshot processes that were not reaped; 0: none */
static struct lp_request asked[RUNNING_MAX]; /* what each is about */
static uint64_t start_ns;
static uintptr_t roots[ROOTS_MAX];
static size_t root_count;
static struct lp_pool_range ranges[ROOTS_MAX];
static size_t range_count;

static struct {
	uint32_t used;
	struct lp_request request;
} queue[QUEUE_MAX];

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

void lp_fill_input(struct lp_collect_input *input, const struct lp_job *job, uint64_t begin)
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

static void remember(long pid, const struct lp_request *request)
{
	int *place = free_place();

	asked[place - running] = *request;
	__atomic_store_n(place, (int)pid, __ATOMIC_RELEASE);
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

static const struct lp_reason clone_reasons[] = {
	{ETIMEDOUT,
	 "the snapshot took too long to look at the stopped program: set stop_timeout higher"},
	{EAGAIN, "there may be no more processes (RLIMIT_NPROC, or pids.max of the cgroup)"},
	{ENOMEM, "the system has no memory for a copy of the program (overcommit?)"},
	{ECHILD, KILLED},
	{EPERM, "a snapshot process may not be made: clone is not allowed (seccomp?)"},
	{ENOSYS, "a snapshot process may not be made: clone is not allowed (seccomp?)"},
	{0, "a snapshot process could not be made"},
};

/* There is no snapshot process that could say so: the target itself does, while nothing of it runs.
 */
static void tell_failure(const struct lp_job *job, uint64_t begin, int error)
{
	struct lp_delivery delivery = {.request = job->request, .serial = serial};
	struct lp_collect_input input;

	lp_fill_input(&input, job, begin);
	delivery.seconds = input.time_ns / 1000000000u;
	if (!lp_deliver_open(&delivery))
		lp_deliver_failure(&delivery, &input, lp_reason_for(clone_reasons, error));
	if (delivery.fd >= 0)
		lp_sys_close(delivery.fd);
}

/* One that was killed could not say so; who asked for it sees it, the log does not. */
static void tell_deaths(const struct lp_job *job)
{
	struct lp_delivery delivery = {.request = job->request, .serial = serial, .fd = -1};
	struct lp_collect_input input = {0};

	if (job->request->trigger == LP_TRIGGER_SIGNAL || lp_options.connect[0] ||
	    !__atomic_exchange_n(&died, 0, __ATOMIC_ACQ_REL))
		return;
	delivery.seconds = lp_sys_clock_ns(CLOCK_REALTIME) / 1000000000u;
	lp_deliver_name(&delivery);
	lp_deliver_failure(&delivery, &input, KILLED);
}

/* Until the snapshot PID has read what only a stopped target shows. The target waits neither for
 * one that was killed (-ECHILD: it is reaped) nor for one that takes too long (-ETIMEDOUT: it will
 * be). */
static int await_held(long pid)
{
	uint64_t end = lp_sys_clock_ns(CLOCK_MONOTONIC) + lp_options.stop_timeout_ns;
	int status;

	while (!lp_wait_word(&lp_control->held, LOOK_NS)) {
		if (LP_SYS4(SYS_wait4, pid, &status, WNOHANG | __WCLONE, NULL) == pid)
			return -ECHILD;
		if (lp_sys_clock_ns(CLOCK_MONOTONIC) > end) {
			LP_SYS2(SYS_kill, pid, SIGKILL);
			return -ETIMEDOUT;
		}
	}
	return 0;
}

static void run_job(void *argument)
{
	struct lp_job *job = argument;
	char timers[LP_TIMERS_SIZE];
	uint64_t begin = lp_sys_clock_ns(CLOCK_MONOTONIC);
	uint64_t stopped;
	uint64_t cpu;
	uint64_t cloned;
	int stop = 0;
	int held;
	long pid;

	memset(lp_control, 0, sizeof(*lp_control));
	map_history();
	serial++;
	tell_deaths(job);
	if (!lp_dormant_reason)
		stop = lp_stop_world(job->self, job->context, job->sp);
	stopped = lp_sys_clock_ns(CLOCK_MONOTONIC);
	job->timers = lp_own_timers(timers, sizeof(timers)) ? timers : NULL;
	cpu = lp_sys_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	pid = LP_SYS5(SYS_clone, lp_signal, 0, 0, 0, 0);
	if (!pid)
		lp_snapshot_main(job, begin, stop);
	cpu = lp_sys_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	cloned = lp_sys_clock_ns(CLOCK_MONOTONIC);
	held = pid < 0 ? (int)pid : await_held(pid);
	if (held)
		tell_failure(job, begin, held);
	if (!stop && !lp_dormant_reason)
		lp_start_world(job->self);
	lp_control->failures = failures;
	lp_control->target_bytes = lp_own_bytes() - history_unused();
	lp_control->stop_ns = stopped - begin;
	lp_control->clone_ns = cloned - stopped;
	lp_control->pause_ns = lp_sys_clock_ns(CLOCK_MONOTONIC) - begin;
	pause_ns += lp_control->pause_ns;
	lp_signal_word(&lp_control->released);
	lp_pause_learn(cpu, lp_control->pause_ns - lp_control->clone_ns);
	job->result = pid < 0 ? (int)pid : 0;
	if (pid < 0 || held == -ECHILD)
		failures++;
	else
		remember(pid, job->request);
}

/* libc's own, by the name that a program with a function clone() does not take from us. */
extern int __clone(int (*function)(void *), void *stack_top, int flags, void *argument, ...);

/* Sends a scout. Returns 0 where it will say the rest, LP_SCOUT_GO when the snapshot may be made,
 * or -errno. */
static int send_scout(const struct lp_request *request)
{
	struct lp_scout *scout = lp_own_map(SCOUT_STACK);
	int saved = errno;
	int status;
	int pid;

	if (!scout)
		return -ENOMEM;
	scout->request = *request;
	scout->serial = ++serial;
	pid = __clone(lp_scout_main, (char *)scout + SCOUT_STACK, CLONE_VM | lp_signal, scout);
	errno = saved;
	if (pid < 0) {
		lp_own_unmap(scout, SCOUT_STACK);
		return -EAGAIN;
	}
	lp_own_give(scout, pid);
	if (request->trigger != LP_TRIGGER_EXIT) {
		remember(pid, request);
		return 0;
	}
	/* Nothing that could be served waits any more, and nobody would be here later. */
	LP_SYS4(SYS_wait4, pid, &status, __WCLONE, NULL);
	lp_own_release(pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == LP_SCOUT_GO ? LP_SCOUT_GO : 0;
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

/* Any thread may come here, several at once: each process is reaped by the one that the kernel
 * gives it to. */
static void reap(void)
{
	size_t i;

	for (i = 0; i < RUNNING_MAX; i++) {
		int pid = __atomic_load_n(&running[i], __ATOMIC_ACQUIRE);
		int status;

		if (!pid || LP_SYS4(SYS_wait4, pid, &status, WNOHANG | __WCLONE, NULL) != pid)
			continue;
		lp_own_release(pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == LP_SCOUT_GO)
			enqueue(&asked[i]);
		else
			failures += status != 0;
		if (WIFSIGNALED(status) || WEXITSTATUS(status) >= LP_EXIT_FAULT)
			__atomic_fetch_add(&died, 1, __ATOMIC_RELAXED);
		if (history && history->writer == (uint32_t)pid)
			history->writer = 0;
		__atomic_store_n(&running[i], 0, __ATOMIC_RELEASE);
	}
}

static int collect_once(const struct lp_request *request, void *context, uintptr_t sp)
{
	struct lp_thread *self = lp_self ? lp_self : lp_thread_claim((int)LP_SYS0(SYS_gettid));
	struct lp_job job = {request, self, context, sp, 0, lp_proc_pid(), NULL};
	int r;

	if (!self || !lp_control || !stack)
		return -ENOMEM;
	/* Whoever called is in no realloc (sanitizer.c). */
	if (!context)
		self->moving = NULL;
	reap();
	/* Collections that come faster than their snapshots end must not pile up. */
	if (!free_place() || (request->trigger == LP_TRIGGER_INTERVAL && is_running()))
		return -EAGAIN;
	while (!lp_dormant_reason && !lp_pause_allowed()) {
		r = send_scout(request);
		if (r != LP_SCOUT_GO)
			return r;
	}
	lp_call_on_stack(run_job, &job, stack + STACK_BYTES);
	if (self != lp_self)
		lp_thread_release(self);
	return job.result;
}

/* Whoever watches our exit must find the snapshot's connection. On a busy machine it may take its
 * time; one that has died will not come. */
static void await_connection(void)
{
	uint64_t end = lp_sys_clock_ns(CLOCK_MONOTONIC) + LP_CONNECT_WAIT_NS;

	while (!lp_wait_word(&lp_control->connected, 1000000) &&
	       lp_sys_clock_ns(CLOCK_MONOTONIC) < end) {
		reap();
		if (!is_running())
			return;
	}
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
			await_connection();
		/* The end of a PID namespace's first process would end the snapshot too. */
		if (lp_pid == 1)
			LP_SYS4(SYS_wait4, -1, NULL, __WCLONE, NULL);
	}
	return r;
}

void lp_snapshot_ended(void *context)
{
	struct lp_request next;

	reap();
	/* What a scout sent back. Where another thread collects, it takes this one too. */
	if (!__atomic_load_n(&busy, __ATOMIC_ACQUIRE) && dequeue(&next))
		lp_collect(&next, context, 0);
}

void lp_snapshot_stats(struct leakprof_stats *stats)
{
	const struct lp_outcome *told = lp_control ? lp_outcome() : NULL;

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

static struct lp_control *map_control(void)
{
	long address = LP_SYS6(SYS_mmap, 0, LP_PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (address < 0 && address > -4096)
		return NULL;
	lp_own_record((void *)address, LP_PAGE);
	return (struct lp_control *)address;
}

int lp_snapshot_init(void)
{
	map_marker();
	lp_control = map_control();
	stack = lp_own_map(STACK_BYTES);
	if (!lp_control || !stack)
		return -ENOMEM;
	start_ns = lp_sys_clock_ns(CLOCK_REALTIME);
	find_tls_info();
	return 0;
}

void lp_snapshot_after_fork(void)
{
	size_t i;

	/* The old page is the parent's. */
	if (lp_control)
		lp_own_unmap(lp_control, LP_PAGE);
	lp_control = map_control();
	if (history)
		lp_own_unmap(history, sizeof(*history));
	history = NULL;
	memset(queue, 0, sizeof(queue));
	busy = 0;
	serial = 0;
	failures = 0;
	pause_ns = 0;
	died = 0;
	for (i = 0; i < RUNNING_MAX; i++)
		if (running[i])
			lp_own_release(running[i]);
	memset(running, 0, sizeof(running));
	start_ns = lp_sys_clock_ns(CLOCK_REALTIME);
}
