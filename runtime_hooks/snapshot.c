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
#include "core/sanitizer.h"
#include "core/protocol.h"
#include "core/sys.h"
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

static struct control *control;
static struct lp_history *history;
static char *stack;
static uint32_t busy;
static uint32_t serial;
static uint64_t failures;
static int running[RUNNING_MAX]; /* snapshot processes that were not reaped; 0: none */
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

static void fill_input(struct lp_collect_input *input, const struct job *job, uint64_t begin)
{
	*input = (struct lp_collect_input){
		.trigger = job->request->trigger,
		.pid = (uint32_t)lp_pid,
		.serial = serial,
		.time_ns = lp_sys_clock_ns(CLOCK_REALTIME),
		.process_start_ns = start_ns,
		.start_ns = begin,
		.forked = lp_forked,
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
	input->history = history;
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
	const struct rlimit no_core = {0, 0};
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
	LP_SYS2(SYS_setrlimit, RLIMIT_CORE, &no_core);
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
 * are FD, and standard error where the log goes there.
 */
static void close_all_but(int fd)
{
	bool log = !strcmp(lp_options.log, "stderr");

	close_descriptors(0, 1);
	if (!log && fd != 2)
		close_descriptors(2, 2);
	close_descriptors(3, fd > 3 ? (unsigned)fd - 1 : 2);
	close_descriptors(fd >= 3 ? (unsigned)fd + 1 : 3, ~0u);
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

/* STOPPED: how the stop went, 0 or -errno. */
static int collect(struct lp_collection *collection, const struct lp_collect_input *input,
		   int stopped)
{
	int r;

	if (input->dormant || stopped) {
		collection->measured = LP_MEASURED_FAILED;
		lp_collect_note(collection, LP_NOTE_ERROR,
				input->dormant
					? input->dormant
					: "not all threads stopped in time: set stop_timeout "
					  "higher, or try again");
		return 0;
	}
	/* Its allocator keeps all blocks in one piece of memory: nothing would be found. */
	if (input->heap_untracked && collection->sanitizer) {
		collection->measured = LP_MEASURED_FAILED;
		lp_collect_note(collection, LP_NOTE_ERROR,
				lp_sanitizer_untracked(collection->sanitizer));
		return 0;
	}
	r = lp_collect_verdicts(collection);
	if (r) {
		collection->measured = LP_MEASURED_FAILED;
		lp_collect_note(collection, LP_NOTE_ERROR, "the snapshot ran out of memory");
		collection->verdicts.nodes.count = 0;
	}
	return 0;
}

static __attribute__((noreturn)) void snapshot_main(const struct job *job, uint64_t begin,
						    int stopped)
{
	struct lp_delivery delivery = {.request = job->request, .serial = serial};
	struct lp_collect_input input;
	struct lp_collection collection;
	size_t target_bytes;
	int r;

	become_expendable();
	target_bytes = lp_own_bytes();
	fill_input(&input, job, begin);
	delivery.seconds = input.time_ns / 1000000000u;
	r = lp_collect_frozen(&collection, &input);
	signal_word(&control->held);
	if (!r)
		r = lp_deliver_open(&delivery);
	signal_word(&control->connected);
	close_all_but(delivery.fd);
	LP_SYS0(SYS_setsid);
	if (!r) {
		collect(&collection, &input, stopped);
		copy_figures(&collection);
		collection.figures[LP_FIG_SNAPSHOT_BYTES] = lp_own_bytes() - target_bytes;
		r = lp_deliver(&delivery, &collection);
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

	if (history)
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

static void run_job(void *argument)
{
	struct job *job = argument;
	uint64_t begin = lp_sys_clock_ns(CLOCK_MONOTONIC);
	uint64_t stopped;
	uint64_t cloned;
	int stop = 0;
	long pid;

	memset(control, 0, sizeof(*control));
	map_history();
	serial++;
	if (!lp_dormant_reason)
		stop = lp_stop_world(job->self, job->context, job->sp);
	stopped = lp_sys_clock_ns(CLOCK_MONOTONIC);
	pid = LP_SYS5(SYS_clone, lp_signal, 0, 0, 0, 0);
	if (!pid)
		snapshot_main(job, begin, stop);
	cloned = lp_sys_clock_ns(CLOCK_MONOTONIC);
	if (pid > 0 && !wait_word(&control->held, lp_options.stop_timeout_ns))
		LP_SYS2(SYS_kill, pid, SIGKILL);
	if (!stop && !lp_dormant_reason)
		lp_start_world(job->self);
	control->target_bytes = lp_own_bytes() - history_unused();
	control->stop_ns = stopped - begin;
	control->clone_ns = cloned - stopped;
	control->pause_ns = lp_sys_clock_ns(CLOCK_MONOTONIC) - begin;
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
	struct job job = {request, self, context, sp, 0};

	if (!self || !control)
		return -ENOMEM;
	/* Whoever called is in no realloc (sanitizer.c). */
	if (!context)
		self->moving = NULL;
	lp_snapshot_reap();
	/* Collections that come faster than their snapshots end must not pile up. */
	if (!free_place() || (request->trigger == LP_TRIGGER_INTERVAL && is_running()))
		return -EAGAIN;
	if (!stack)
		stack = lp_own_map(STACK_BYTES);
	if (!stack)
		return -ENOMEM;
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
		return enqueue(request) ? -EBUSY : -EAGAIN;
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
		if (history && history->writer == (uint32_t)pid)
			history->writer = 0;
		__atomic_store_n(&running[i], 0, __ATOMIC_RELEASE);
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

static struct control *map_control(void)
{
	char name[64];
	long fd;
	long address;
	size_t size = LP_PAGE;

	marker_name(name);
	fd = LP_SYS2(SYS_memfd_create, name, 1 /* MFD_CLOEXEC */);
	if (fd >= 0)
		LP_SYS2(SYS_ftruncate, fd, size);
	address = LP_SYS6(SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
			  fd >= 0 ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, fd, 0);
	if (fd >= 0)
		lp_sys_close((int)fd);
	if (address < 0 && address > -4096)
		return NULL;
	lp_own_record((void *)address, size);
	return (struct control *)address;
}

int lp_snapshot_init(void)
{
	control = map_control();
	if (!control)
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
	memset(running, 0, sizeof(running));
	start_ns = lp_sys_clock_ns(CLOCK_REALTIME);
}
