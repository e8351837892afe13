/* SPDX-License-Identifier: MIT */
/*
 * Stopping all threads. The coordinator lists /proc/self/task and sends each thread our signal; a
 * thread's handler notes where its registers are, says so, and sleeps on a futex until the world
 * starts again. The list is read until it shows no thread that has not answered, as threads are
 * created meanwhile.
 *
 * A thread that has ended, or is a zombie leader, never answers and need not. One that does not
 * answer in time (uninterruptible sleep, blocked by a raw system call) makes the collection fail;
 * the program goes on.
 *
 * Where the program has no free descriptor to list its threads with, a helper does it: a process in
 * the same memory, with a descriptor table of its own.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "core/own.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

#define RED_ZONE 128	   /* of the System V ABI */
#define TID_MAX (4u << 20) /* the kernel's PID_MAX_LIMIT */
#define SLICE_NS 1000000u

static struct {
	uint32_t phase;	  /* futex: odd while threads are to park, one more each time it changes */
	uint32_t answers; /* futex: counts them */
	uint32_t wanted;  /* the count at which the coordinator is woken */
	int coordinator;
	uint64_t *sent; /* one bit per TID */
	uint64_t *answered;
	int proc_pid; /* our number in /proc; another one than lp_pid: of an outer PID namespace */
	int result;   /* of the helper */
} stop;

static bool test_bit(const uint64_t *bits, int tid)
{
	return __atomic_load_n(&bits[tid / 64], __ATOMIC_ACQUIRE) >> (tid % 64) & 1;
}

static void set_bit(uint64_t *bits, int tid)
{
	__atomic_fetch_or(&bits[tid / 64], 1ull << (tid % 64), __ATOMIC_ACQ_REL);
}

/* --- In a thread that is stopped --- */

/* The size of the XSAVE area behind fpregs, from the kernel's mark in it (struct _fpx_sw_bytes). */
static size_t vector_size(const void *vector)
{
	uint32_t software[12];

	memcpy(software, (const char *)vector + 464, sizeof(software));
	return software[0] == 0x46505853u /* FP_XSTATE_MAGIC1 */ ? software[1] : 512;
}

static void save_context(struct lp_thread *thread, const ucontext_t *context)
{
	const mcontext_t *machine = &context->uc_mcontext;

	thread->sp = (uintptr_t)machine->gregs[REG_RSP];
	thread->red_zone = RED_ZONE;
	thread->pc = (uintptr_t)machine->gregs[REG_RIP];
	thread->registers = (const uint64_t *)machine->gregs;
	thread->register_count = REG_RIP; /* r8 .. rip: what may hold a pointer */
	thread->vector = machine->fpregs;
	thread->vector_size = machine->fpregs ? vector_size(machine->fpregs) : 0;
	thread->thread_pointer = (uintptr_t)__builtin_thread_pointer();
	__atomic_store_n(&thread->stopped, true, __ATOMIC_RELEASE);
}

void lp_stop_here(struct lp_thread *thread, void *context)
{
	uint32_t phase = __atomic_load_n(&stop.phase, __ATOMIC_ACQUIRE);
	int tid = thread->tid;

	if (!(phase & 1) || stop.coordinator == tid || test_bit(stop.answered, tid))
		return;
	save_context(thread, context);
	set_bit(stop.answered, tid);
	if (__atomic_add_fetch(&stop.answers, 1, __ATOMIC_SEQ_CST) ==
	    __atomic_load_n(&stop.wanted, __ATOMIC_SEQ_CST))
		lp_sys_futex(&stop.answers, FUTEX_WAKE_PRIVATE, 1, NULL);
	while (__atomic_load_n(&stop.phase, __ATOMIC_ACQUIRE) == phase)
		lp_sys_futex(&stop.phase, FUTEX_WAIT_PRIVATE, phase, NULL);
	__atomic_store_n(&thread->stopped, false, __ATOMIC_RELEASE);
}

/* --- In the coordinator --- */

/* One that cannot be queued (RLIMIT_SIGPENDING) is sent again with the next look. */
static void send_stop(int tid)
{
	siginfo_t info = {.si_signo = lp_signal, .si_code = LP_STOP_CODE};
	long r;

	info.si_pid = lp_pid;
	r = LP_SYS4(SYS_rt_tgsigqueueinfo, lp_pid, tid, lp_signal, &info);
	/* Some filters know this one alone. */
	if (r == -EPERM || r == -ENOSYS)
		r = LP_SYS3(SYS_tgkill, lp_pid, tid, lp_signal);
	if (!r)
		set_bit(stop.sent, tid);
}

static char *append(char *at, const char *text)
{
	while (*text)
		*at++ = *text++;
	*at = 0;
	return at;
}

static char *append_number(char *at, int number)
{
	char digits[12];
	char *digit = digits + sizeof(digits) - 1;

	*digit = 0;
	do
		*--digit = (char)('0' + number % 10);
	while (number /= 10);
	return append(at, digit);
}

/* "/proc/PID/task" */
static char *task_folder(char *path)
{
	return append(append_number(append(path, "/proc/"), stop.proc_pid), "/task");
}

/* Reads the file NAME of the thread that is NUMBER in /proc. Returns its length, 0 when the thread
 * is gone, or -errno. */
static long read_task(int number, const char *name, char *text, size_t size)
{
	char path[64];
	long n;

	append(append_number(append(task_folder(path), "/"), number), name);
	n = lp_sys_read_text(path, text, size);
	return n == -ENOENT || n == -ESRCH ? 0 : n;
}

/* Whether the thread still has to answer: not a zombie (a main thread that has ended while others
 * go on). Or -errno. */
static int is_alive(int number)
{
	char text[256];
	long n = read_task(number, "/stat", text, sizeof(text));
	const char *state = n > 0 ? strrchr(text, ')') : NULL;

	if (n < 0)
		return (int)n;
	return state && state[2] != 'Z' && state[2] != 'X';
}

/* The TID of the thread that is NUMBER in /proc: "NSpid:	4711	12	1", innermost last.
 * 0: it is gone. Or -errno. */
static int tid_of(int number)
{
	char text[2048];
	const char *at;
	long n;
	int tid = 0;

	if (stop.proc_pid == lp_pid)
		return number;
	n = read_task(number, "/status", text, sizeof(text));
	if (n < 0)
		return (int)n;
	at = n ? strstr(text, "NSpid:") : NULL;
	for (; at && *at && *at != '\n'; at++) {
		if (*at == '\t')
			tid = 0;
		else if (*at >= '0' && *at <= '9')
			tid = tid * 10 + (*at - '0');
	}
	return tid;
}

struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* What a look at one thread found: 1 if it still has to answer. Or -errno. */
static int visit(int number, bool patient)
{
	int tid = tid_of(number);

	if (tid < 0)
		return tid;
	if (tid == stop.coordinator || !tid || (uint32_t)tid >= TID_MAX)
		return 0;
	if (!test_bit(stop.sent, tid)) {
		send_stop(tid);
		return 1;
	}
	if (test_bit(stop.answered, tid))
		return 0;
	return patient ? !lp_sanitizer_thread(tid) && is_alive(number) : 1;
}

/* Visits the SIZE bytes of ENTRIES. Returns how many threads have not answered, or -errno. */
static int look_at(const char *entries, long size, bool patient)
{
	int missing = 0;
	long at;

	for (at = 0; at < size;) {
		const struct directory_entry *entry = (const void *)(entries + at);
		const char *digit = entry->name;
		int number = 0;
		int r;

		for (; *digit >= '0' && *digit <= '9'; digit++)
			number = number * 10 + (*digit - '0');
		r = number ? visit(number, patient) : 0;
		if (r < 0)
			return r;
		missing += r;
		at += entry->length;
	}
	return missing;
}

/* Signals every thread that was not yet. Returns how many have not answered, or -errno. */
static int look(bool patient)
{
	_Alignas(8) char entries[4096];
	char path[64];
	int missing = 0;
	int directory;
	int r = 0;
	long n;

	task_folder(path);
	directory = lp_sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	if (directory < 0)
		return directory;
	while (r >= 0 && (n = LP_SYS3(SYS_getdents64, directory, entries, sizeof(entries))) > 0) {
		r = look_at(entries, n, patient);
		missing += r;
	}
	lp_sys_close(directory);
	return r < 0 ? r : n < 0 ? (int)n : missing;
}

/* Sleeps until there are COUNT answers. Returns false when none came for a while. */
static bool wait_for_answers(uint32_t count)
{
	const struct timespec slice = {0, SLICE_NS};

	__atomic_store_n(&stop.wanted, count, __ATOMIC_SEQ_CST);
	for (;;) {
		uint32_t answers = __atomic_load_n(&stop.answers, __ATOMIC_SEQ_CST);

		if ((int32_t)(answers - count) >= 0)
			return true;
		if (lp_sys_futex(&stop.answers, FUTEX_WAIT_PRIVATE, answers, &slice) ==
			    -ETIMEDOUT &&
		    answers == __atomic_load_n(&stop.answers, __ATOMIC_SEQ_CST))
			return false;
	}
}

/* A look costs as much as to stop some threads: there is another one only when all that were
 * missing may have answered. */
static int wait_for_all(uint64_t deadline)
{
	bool patient = false;

	for (;;) {
		uint32_t answers = __atomic_load_n(&stop.answers, __ATOMIC_ACQUIRE);
		int missing = look(patient);

		if (missing <= 0)
			return missing;
		if (lp_sys_clock_ns(CLOCK_MONOTONIC) > deadline)
			return -ETIMEDOUT;
		patient = !wait_for_answers(answers + (uint32_t)missing);
	}
}

/* wait_for_all by the helper: it cannot fail for want of a descriptor. Like vfork's child it runs
 * on our stack while we wait for its end. */
static __attribute__((noinline)) int wait_elsewhere(uint64_t deadline)
{
	long pid;

	stop.result = -EMFILE;
	pid = LP_SYS5(SYS_clone, CLONE_VM | CLONE_VFORK, 0, 0, 0, 0);
	if (!pid) {
		lp_limits_close_all();
		stop.result = wait_for_all(deadline);
		LP_SYS1(SYS_exit, 0);
		__builtin_unreachable();
	}
	if (pid > 0)
		LP_SYS4(SYS_wait4, pid, NULL, __WALL, NULL);
	return stop.result;
}

static void clear_bits(uint64_t *bits)
{
	/* Fresh zero pages: TIDs are spread thinly over half a megabyte. Locked memory (mlockall)
	 * keeps its pages. */
	if (LP_SYS3(SYS_madvise, bits, TID_MAX / 8, MADV_DONTNEED) < 0)
		memset(bits, 0, TID_MAX / 8);
}

/* Slots of threads that ended without a word. One that answered from another, borrowed slot is just
 * about to take its own (lp_thread_enter). */
static void sweep(void)
{
	struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = lp_thread_at(i)); i++)
		if (thread->used && !thread->stopped && thread->tid != stop.coordinator &&
		    !test_bit(stop.answered, thread->tid))
			lp_thread_release(thread);
}

int lp_stop_world(struct lp_thread *self, void *context, uintptr_t sp)
{
	uint64_t deadline = lp_sys_clock_ns(CLOCK_MONOTONIC) + lp_pause_stop_ns();
	int r;

	if (!stop.sent) {
		stop.sent = lp_own_map(TID_MAX / 8);
		stop.answered = lp_own_map(TID_MAX / 8);
	}
	if (!stop.sent || !stop.answered)
		return -ENOMEM;
	stop.proc_pid = lp_proc_pid();
	if (stop.proc_pid < 0)
		return stop.proc_pid;
	clear_bits(stop.sent);
	clear_bits(stop.answered);
	stop.coordinator = self->tid;
	__atomic_fetch_add(&stop.phase, 1, __ATOMIC_ACQ_REL);
	r = wait_for_all(deadline);
	if (r == -EMFILE)
		r = wait_elsewhere(deadline);
	if (r) {
		lp_start_world(self);
		return r;
	}
	sweep();
	if (context) {
		save_context(self, context);
	} else {
		self->sp = sp;
		self->red_zone = 0;
		self->pc = 0;
		self->registers = NULL;
		self->register_count = 0;
		self->vector = NULL;
		self->thread_pointer = (uintptr_t)__builtin_thread_pointer();
		self->stopped = true;
	}
	return 0;
}

void lp_start_world(struct lp_thread *self)
{
	self->stopped = false;
	__atomic_fetch_add(&stop.phase, 1, __ATOMIC_ACQ_REL);
	lp_sys_futex(&stop.phase, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL);
}

void lp_stop_after_fork(void)
{
	stop.phase = 0;
	stop.answers = 0;
}
