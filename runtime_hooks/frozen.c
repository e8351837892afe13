/* SPDX-License-Identifier: MIT */
/*
 * What runs in the processes that a collection clones (snapshot.c): the snapshot, in a frozen copy
 * of the target, and the scout, in the target's own memory while that goes on. The scout reads
 * nothing of the program's, writes only what it maps, and runs no code but the shim's.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/own.h"
#include "core/sanitizer.h"
#include "runtime_hooks/snapshot.h"

static __attribute__((noreturn)) void on_fault(int number)
{
	LP_SYS1(SYS_exit_group, LP_EXIT_FAULT + number);
	__builtin_unreachable();
}

/*
 * From here on a fault or a hang ends this process alone: an alarm, no core file, which would end
 * whoever shares its memory too.
 */
static void become_expendable(const char *name)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGTERM};
	struct itimerval limit = {
		.it_value.tv_sec = (time_t)(lp_options.timeout_ns / 1000000000u) + 1,
	};
	uint64_t unblock = 0;
	size_t i;

	for (i = 0; i < LP_ARRAY_SIZE(faults); i++) {
		/* As the kernel has it; a restorer must be named, though nothing returns. */
		const uint64_t action[4] = {(uintptr_t)on_fault, 0x04000000, (uintptr_t)on_fault};

		LP_SYS4(SYS_rt_sigaction, faults[i], action, NULL, 8);
		unblock |= 1ull << (faults[i] - 1);
	}
	LP_SYS4(SYS_rt_sigprocmask, SIG_UNBLOCK, &unblock, NULL, 8);
	LP_SYS3(SYS_setitimer, ITIMER_REAL, &limit, NULL);
	lp_limits_lift();
	LP_SYS2(SYS_prctl, PR_SET_NAME, name);
}

/* The first choice of the OOM killer. Not for who shares the target's memory: both would be. */
static void become_victim(void)
{
	int fd = lp_sys_open("/proc/self/oom_score_adj", O_WRONLY, 0);

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
	if (!lp_wait_word(&lp_control->released, 1000000000u))
		return;
	collection->figures[LP_FIG_PAUSE_NS] = lp_control->pause_ns;
	collection->figures[LP_FIG_STOP_NS] = lp_control->stop_ns;
	collection->figures[LP_FIG_CLONE_NS] = lp_control->clone_ns;
	collection->figures[LP_FIG_TARGET_BYTES] = lp_control->target_bytes;
	collection->figures[LP_FIG_FAILURES] = lp_control->failures;
}

const char *lp_reason_for(const struct lp_reason *reasons, int error)
{
	while (reasons->error && reasons->error != -error)
		reasons++;
	return reasons->text;
}

#define NO_PROC "the program cannot see /proc (a chroot?): mount it where the program is"
#define NO_MEMORY "the snapshot ran out of memory"
#define NO_DESCRIPTOR "the program has no file descriptor left (RLIMIT_NOFILE)"

static const struct lp_reason stop_reasons[] = {
	{ENOENT, NO_PROC},
	{ENOTDIR, NO_PROC},
	{EACCES, NO_PROC},
	{EMFILE, NO_DESCRIPTOR},
	{ENFILE, "the system has no file descriptor left"},
	{ENOMEM, "the program has no memory left for a snapshot (RLIMIT_AS?)"},
	{EPERM, "a system call that stops threads is not allowed (seccomp?)"},
	{0, "not all threads stopped in time: set stop_timeout higher, or try again"},
};

static const struct lp_reason look_reasons[] = {
	{ENOENT, NO_PROC},
	{ENOTDIR, NO_PROC},
	{EMFILE, NO_DESCRIPTOR},
	{ENOMEM, NO_MEMORY},
	{0, "the snapshot cannot look at the program: a system call is not allowed (seccomp?)"},
};

static void fail(struct lp_collection *collection, const char *reason)
{
	collection->measured = LP_MEASURED_FAILED;
	lp_collect_note(collection, LP_NOTE_ERROR, reason);
}

/* STOPPED: how the stop went, 0 or -errno. */
static void collect(struct lp_collection *collection, const struct lp_collect_input *input,
		    int stopped)
{
	if (input->dormant) {
		fail(collection, input->dormant);
	} else if (stopped == -ETIMEDOUT && lp_pause_short()) {
		fail(collection,
		     "not all threads stopped in time: set max_pause higher, or try again");
	} else if (stopped) {
		fail(collection, lp_reason_for(stop_reasons, stopped));
	} else if (input->heap_untracked && collection->sanitizer) {
		/* Its allocator keeps all blocks in one piece of memory: nothing would be found. */
		fail(collection, lp_sanitizer_untracked(collection->sanitizer));
	} else if (lp_collect_verdicts(collection)) {
		fail(collection, NO_MEMORY);
		collection->verdicts.nodes.count = 0;
	}
}

/* Snapshots that overlap: the one that ends last is the last one. */
static void tell_outcome(const struct lp_collection *collection)
{
	struct lp_outcome *told = lp_outcome();

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

__attribute__((noreturn)) void lp_snapshot_main(const struct lp_job *job, uint64_t begin,
						int stopped)
{
	struct lp_delivery delivery = {.request = job->request};
	struct lp_collect_input input;
	struct lp_collection collection;
	size_t target_bytes;
	int frozen;
	int r;

	become_expendable("leakprof-snap");
	become_victim();
	target_bytes = lp_own_bytes();
	lp_fill_input(&input, job, begin);
	delivery.serial = input.serial;
	delivery.seconds = input.time_ns / 1000000000u;
	frozen = lp_collect_frozen(&collection, &input);
	lp_signal_word(&lp_control->held);
	/* Where the program has no descriptor left, there must be one to connect with. */
	close_all_but(job->request->check ? job->request->check->reply : -1);
	r = lp_deliver_open(&delivery);
	lp_signal_word(&lp_control->connected);
	LP_SYS0(SYS_setsid);
	if (!r && frozen) {
		r = lp_deliver_failure(&delivery, &input, lp_reason_for(look_reasons, frozen));
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

/* --- In the scout --- */

/* Says that there is no snapshot, and why. */
static int refuse(const struct lp_scout *scout)
{
	const struct lp_job job = {.request = &scout->request};
	struct lp_delivery delivery = {.request = &scout->request, .serial = scout->serial};
	struct lp_collect_input input;
	int r;

	lp_fill_input(&input, &job, lp_sys_clock_ns(CLOCK_MONOTONIC));
	input.serial = scout->serial;
	delivery.seconds = input.time_ns / 1000000000u;
	r = lp_deliver_open(&delivery);
	lp_signal_word(&lp_control->connected);
	close_all_but(delivery.fd);
	return r ? r : lp_deliver_failure(&delivery, &input, scout->reason);
}

int lp_scout_main(void *argument)
{
	struct lp_scout *scout = argument;

	become_expendable("leakprof-scout");
	LP_SYS0(SYS_setsid);
	if (lp_pause_look(scout->reason))
		return LP_SCOUT_GO;
	refuse(scout);
	__atomic_fetch_add(&lp_outcome()->failed, 1, __ATOMIC_RELAXED);
	return 0;
}
