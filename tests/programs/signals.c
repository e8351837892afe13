/* SPDX-License-Identifier: MIT */
/*
 * A program with signals of its own while snapshots are taken: handlers on an alternate stack, one
 * for SIGCHLD that waits for any child, children that come and go, and in the end every signal
 * blocked. Leaks one goroutine. Reads commands: "block", "unblock" and "raw" (blocked behind libc's
 * back) change the mask, the end of input ends it. Says what was wrong.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common.h"
#include "runtime.h"

static char alternate[65536] __attribute__((aligned(16)));
static atomic_int reaped;
static atomic_int started;
static atomic_int alarms;
static atomic_int off_stack; /* handlers that did not run on the alternate stack */

static void look(void)
{
	char here;

	off_stack += &here < alternate || &here >= alternate + sizeof(alternate);
}

static void on_child(int number)
{
	int saved = errno;

	(void)number;
	look();
	while (waitpid(-1, NULL, WNOHANG) > 0)
		reaped++;
	errno = saved;
}

static void on_alarm(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	look();
	alarms++;
}

static void set_up(void)
{
	const stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
	struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_ONSTACK | SA_RESTART};
	struct sigaction alarm_action = {.sa_sigaction = on_alarm,
					 .sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO};

	sigfillset(&child.sa_mask);
	sigfillset(&alarm_action.sa_mask);
	if (sigaltstack(&stack, NULL) || sigaction(SIGCHLD, &child, NULL) ||
	    sigaction(SIGALRM, &alarm_action, NULL))
		abort();
}

/* Whether the alternate stack and the handlers are as they were set. */
static int is_changed(void)
{
	struct sigaction child;
	struct sigaction alarm_action;
	stack_t stack;

	return sigaltstack(NULL, &stack) || stack.ss_sp != alternate ||
	       stack.ss_size != sizeof(alternate) || sigaction(SIGCHLD, NULL, &child) ||
	       child.sa_handler != on_child || sigaction(SIGALRM, NULL, &alarm_action) ||
	       alarm_action.sa_sigaction != on_alarm;
}

static void *leaked_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *start(void *unused)
{
	spawn(leaked_worker, gate_new());
	return unused;
}

/* Children whose ends are seen by the handler, and an alarm. */
static void stir(void)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	started += child > 0;
	raise(SIGALRM);
}

static void change_mask(int how)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(how, &all, NULL);
	pthread_sigmask(how, &all, NULL);
}

static void obey(const char *command)
{
	unsigned long all = ~0ul;

	if (!strcmp(command, "block\n"))
		change_mask(SIG_BLOCK);
	else if (!strcmp(command, "unblock\n"))
		change_mask(SIG_UNBLOCK);
	else if (!strcmp(command, "raw\n"))
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
	else
		stir();
}

int main(void)
{
	char line[64];
	int i;

	unbuffer();
	set_up();
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	puts("READY");
	while (fgets(line, sizeof(line), stdin)) {
		obey(line);
		puts("DONE");
	}
	change_mask(SIG_UNBLOCK);
	while (reaped < started)
		usleep(1000);
	printf("strange=%d off_stack=%d changed=%d alarms=%d\n", reaped - started, off_stack,
	       is_changed(), alarms);
	return 0;
}
