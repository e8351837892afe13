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
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <ucontext.h>

#include "core/own.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

#define TID_MAX (4u << 20) /* the kernel's PID_MAX_LIMIT */
#define SLICE_NS 1000000u

static struct {
	uint32_t phase;	  /* futex: odd while threads are to park, one more each time it changes */
	uint32_t answers; /* futex: counts them */
	int coordinator;
	uint64_t *sent; /* one bit per TID */
	uint64_t *answered;
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
	__atomic_fetch_add(&stop.answers, 1, __ATOMIC_ACQ_REL);
	lp_sys_futex(&stop.answers, FUTEX_WAKE_PRIVATE, 1, NULL);
	while (__atomic_load_n(&stop.phase, __ATOMIC_ACQUIRE) == phase)
		lp_sys_futex(&stop.phase, FUTEX_WAIT_PRIVATE, phase, NULL);
	__atomic_store_n(&thread->stopped, false, __ATOMIC_RELEASE);
}

/* --- In the coordinator --- */

static void send_stop(int tid)
{
	siginfo_t info = {.si_signo = lp_signal, .si_code = LP_STOP_CODE};

	info.si_pid = lp_pid;
	LP_SYS4(SYS_rt_tgsigqueueinfo, lp_pid, tid, lp_signal, &info);
	set_bit(stop.sent, tid);
}

/* Whether TID is a zombie: a main thread that has ended while others go on. */
static bool is_zombie(int tid)
{
	char path[64] = "/proc/self/task/";
	char text[256];
	char digits[12];
	int n = 0;
	size_t length = strlen(path);
	const char *state;
	long got;
	int fd;

	do
		digits[n++] = (char)('0' + tid % 10);
	while ((tid /= 10));
	while (n > 0)
		path[length++] = digits[--n];
	memcpy(path + length, "/stat", 6);
	fd = lp_sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return true;
	got = lp_sys_read(fd, text, sizeof(text) - 1);
	lp_sys_close(fd);
	text[got > 0 ? got : 0] = 0;
	state = strrchr(text, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* What a look at one thread found: 1 if it still has to answer. */
static int visit(int tid, bool patient)
{
	if (tid == stop.coordinator || tid <= 0 || (uint32_t)tid >= TID_MAX)
		return 0;
	if (!test_bit(stop.sent, tid)) {
		send_stop(tid);
		return 1;
	}
	if (test_bit(stop.answered, tid))
		return 0;
	return patient && (is_zombie(tid) || lp_sanitizer_thread(tid)) ? 0 : 1;
}

/* Signals every thread that was not yet. Returns how many have not answered, or -errno. */
static int look(bool patient)
{
	_Alignas(8) char entries[4096];
	int directory = lp_sys_open("/proc/self/task", O_RDONLY | O_DIRECTORY, 0);
	int missing = 0;
	long n;

	if (directory < 0)
		return directory;
	while ((n = LP_SYS3(SYS_getdents64, directory, entries, sizeof(entries))) > 0) {
		long at;

		for (at = 0; at < n;) {
			const struct directory_entry *entry = (const void *)(entries + at);
			const char *digit = entry->name;
			int tid = 0;

			for (; *digit >= '0' && *digit <= '9'; digit++)
				tid = tid * 10 + (*digit - '0');
			missing += visit(tid, patient);
			at += entry->length;
		}
	}
	lp_sys_close(directory);
	return n < 0 ? (int)n : missing;
}

static int wait_for_all(uint64_t deadline)
{
	bool patient = false;

	for (;;) {
		uint32_t answers = __atomic_load_n(&stop.answers, __ATOMIC_ACQUIRE);
		const struct timespec slice = {0, SLICE_NS};
		int missing = look(patient);

		if (missing <= 0)
			return missing;
		if (lp_sys_clock_ns(CLOCK_MONOTONIC) > deadline)
			return -ETIMEDOUT;
		patient = lp_sys_futex(&stop.answers, FUTEX_WAIT_PRIVATE, answers, &slice) ==
			  -ETIMEDOUT;
	}
}

static void clear_bits(uint64_t *bits)
{
	/* Fresh zero pages: TIDs are spread thinly over half a megabyte. */
	LP_SYS3(SYS_madvise, bits, TID_MAX / 8, MADV_DONTNEED);
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
	uint64_t deadline = lp_sys_clock_ns(CLOCK_MONOTONIC) + lp_options.stop_timeout_ns;
	int r;

	if (!stop.sent) {
		stop.sent = lp_own_map(TID_MAX / 8);
		stop.answered = lp_own_map(TID_MAX / 8);
	}
	if (!stop.sent || !stop.answered)
		return -ENOMEM;
	clear_bits(stop.sent);
	clear_bits(stop.answered);
	stop.coordinator = self->tid;
	__atomic_fetch_add(&stop.phase, 1, __ATOMIC_ACQ_REL);
	r = wait_for_all(deadline);
	if (r) {
		lp_start_world(self);
		return r;
	}
	sweep();
	if (context) {
		save_context(self, context);
	} else {
		self->sp = sp;
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
