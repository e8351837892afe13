/* SPDX-License-Identifier: MIT */
/*
 * State Threads, one instruction at a time: while a thread is woken in one of the ways that there
 * are, a snapshot is taken before each instruction of the library (of a loop, the first times). The
 * thread goes on in the end, so no snapshot may have reported it, however far the library had come;
 * one that did is counted as a contradiction. st_steps WAY prints how many snapshots it took.
 */
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <st.h>
#include <stdint.h>
#include <ucontext.h>
#include <unistd.h>

#include "common.h"
#include "leakprof.h"

#define TRAP_FLAG 0x100
#define TIMES 2
#define LIBRARY_MAX (1 << 16)

static uintptr_t library_low;
static uintptr_t library_high;
static volatile int done;
static unsigned snapshots;
static unsigned char seen[LIBRARY_MAX]; /* by place in the library */
static char children[64];		/* of this thread: a file in /proc */

/* --- Stepping --- */

static int find_library(struct dl_phdr_info *info, size_t size, void *address)
{
	uintptr_t low = info->dlpi_addr;
	uintptr_t high = low;
	int i;

	(void)size;
	for (i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD)
			high = low + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
	if ((uintptr_t)address < low || (uintptr_t)address >= high)
		return 0;
	if (high - low > LIBRARY_MAX)
		abort();
	library_low = low;
	library_high = high;
	return 1;
}

static int has_children(void)
{
	char text[16];
	int fd = open(children, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

	close(fd);
	return n > 0;
}

static void on_step(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	uintptr_t place;

	(void)number;
	(void)info;
	if (done) {
		registers[REG_EFL] &= ~TRAP_FLAG;
		return;
	}
	place = (uintptr_t)registers[REG_RIP] - library_low;
	if (place < library_high - library_low && seen[place] < TIMES) {
		seen[place]++;
		if (leakprof_collect())
			_exit(4);
		snapshots++;
		while (has_children())
			usleep(100);
	}
}

static __attribute__((noinline)) void begin_steps(void)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};

	dl_iterate_phdr(find_library, (void *)(uintptr_t)st_thread_self);
	snprintf(children, sizeof(children), "/proc/self/task/%d/children", (int)getpid());
	sigaction(SIGTRAP, &action, NULL);
	__asm__ volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq" : : "i"(TRAP_FLAG) : "memory", "cc");
}

/* --- Ways to wake --- */

/* What is waited for is known here alone, and taken from here before it is used. */
static void *volatile handed;

static void *take(void)
{
	void *object = handed;

	handed = NULL;
	return object;
}

static st_thread_t spawn(void *(*start)(void *), int joinable)
{
	st_thread_t thread = st_thread_create(start, NULL, joinable, 0);
	int i;

	if (!thread)
		abort();
	for (i = 0; i < 3; i++)
		st_usleep(0);
	return thread;
}

static void *wait_timed(void *unused)
{
	st_cond_timedwait(st_cond_new(), 1000);
	done = 1;
	return unused;
}

static void time_out(void)
{
	if (!st_thread_create(wait_timed, NULL, 0, 0))
		abort();
	begin_steps();
}

static __attribute__((noinline)) void wait_handed(void)
{
	handed = st_cond_new();
	st_cond_wait(handed);
}

static __attribute__((noinline)) void signal_taken(void)
{
	st_cond_signal(take());
}

static void *wait_long(void *unused)
{
	handed = st_cond_new();
	st_cond_timedwait(handed, 3600000000ull);
	done = 1;
	return unused;
}

static void signal_timed(void)
{
	spawn(wait_long, 0);
	begin_steps();
	signal_taken();
}

static void *wait_mutex(void *unused)
{
	st_mutex_lock(handed);
	done = 1;
	return unused;
}

static __attribute__((noinline)) void unlock_taken(void)
{
	st_mutex_unlock(take());
}

static __attribute__((noinline)) void lock_new(void)
{
	handed = st_mutex_new();
	st_mutex_lock(handed);
}

static void unlock(void)
{
	lock_new();
	spawn(wait_mutex, 0);
	begin_steps();
	unlock_taken();
}

static void *wait_forever(void *unused)
{
	st_usleep(ST_UTIME_NO_TIMEOUT);
	done = 1;
	return unused;
}

static __attribute__((noinline)) void interrupt_taken(void)
{
	st_thread_interrupt(take());
}

static void interrupt(void)
{
	handed = spawn(wait_forever, 0);
	begin_steps();
	interrupt_taken();
}

static void *wait_and_end(void *unused)
{
	wait_handed();
	return unused;
}

static st_thread_t volatile joined;

static void *wait_join(void *unused)
{
	st_thread_join(joined, NULL);
	done = 1;
	return unused;
}

static void join(void)
{
	joined = spawn(wait_and_end, 1);
	spawn(wait_join, 0);
	joined = NULL;
	begin_steps();
	signal_taken();
}

static void *wait_cond(void *unused)
{
	wait_handed();
	done = 1;
	return unused;
}

/* One that sleeps holds in a register, and nowhere else, what another waits for. */
static __attribute__((noinline)) void sleep_and_signal(void)
{
	register void *held __asm__("r13") = take();

	__asm__ volatile("" : "+r"(held));
	st_usleep(1000);
	__asm__ volatile("" : "+r"(held));
	st_cond_signal(held);
}

static void *sleep_holding(void *unused)
{
	sleep_and_signal();
	return unused;
}

static void hold(void)
{
	spawn(wait_cond, 0);
	if (!st_thread_create(sleep_holding, NULL, 0, 0))
		abort();
	begin_steps();
}

static const struct test_case cases[] = {
	{"time_out", time_out}, {"signal_timed", signal_timed},
	{"unlock", unlock},	{"interrupt", interrupt},
	{"join", join},		{"hold", hold},
};

int main(int argc, char **argv)
{
	const struct test_case *test =
		find_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);

	unbuffer();
	if (st_init())
		return 1;
	test->run();
	scrub();
	while (!done)
		st_usleep(20000);
	printf("%u\n", snapshots);
	return 0;
}
