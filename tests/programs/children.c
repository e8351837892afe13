/* SPDX-License-Identifier: MIT */
/*
 * Leaks one goroutine and then makes a child in the way that argv[1] names, or becomes the program
 * argv[2]. A child exits with 3; the program with 5 when it saw that.
 */
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common.h"
#include "runtime.h"

static char *const shell[] = {"sh", "-c", "exit 3", NULL};

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

/* The child of a raw fork: libc does not know that it is one. It ends through all exit handlers. */
static __attribute__((noreturn)) void live_on(void)
{
	char *volatile block = malloc(1000);

	block[0] = 1;
	free(block);
	exit(3);
}

static pid_t raw_fork(void)
{
	pid_t child = (pid_t)syscall(SYS_fork);

	if (!child)
		live_on();
	return child;
}

static pid_t raw_clone(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!child)
		live_on();
	return child;
}

/* As raw_fork; it tells its PID and waits for the end of standard input. */
static pid_t waiting_fork(void)
{
	pid_t child = (pid_t)syscall(SYS_fork);
	char byte;

	if (child)
		return child;
	printf("CHILD %d\n", (int)syscall(SYS_getpid));
	while (read(0, &byte, 1) > 0)
		;
	exit(3);
}

static pid_t by_vfork(void)
{
	pid_t child = vfork();

	if (!child) {
		execv("/bin/sh", shell);
		_exit(1);
	}
	return child;
}

static pid_t vfork_and_leave(void)
{
	pid_t child = vfork();

	if (!child)
		_exit(3);
	return child;
}

static pid_t by_spawn(void)
{
	pid_t child;

	return posix_spawn(&child, "/bin/sh", NULL, NULL, shell, environ) ? -1 : child;
}

/* The child shares all memory, and runs on a stack of its own. */
static int in_clone(void *unused)
{
	(void)unused;
	return 3;
}

static pid_t clone_vm(void)
{
	static char stack[65536];

	return clone(in_clone, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
}

static const struct {
	const char *name;
	pid_t (*make)(void);
} ways[] = {
	{"raw_fork", raw_fork},		 {"raw_clone", raw_clone},
	{"waiting_fork", waiting_fork},	 {"vfork", by_vfork},
	{"posix_spawn", by_spawn},	 {"clone_vm", clone_vm},
	{"vfork_exit", vfork_and_leave},
};

static int make_child(const char *name)
{
	int status = 0;
	pid_t child = -1;
	size_t i;

	if (!strcmp(name, "system"))
		return WEXITSTATUS(system("exit 3")) == 3;
	if (!strcmp(name, "popen"))
		return WEXITSTATUS(pclose(popen("exit 3", "r"))) == 3;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(name, ways[i].name))
			child = ways[i].make();
	if (child < 0)
		return 0;
	while (waitpid(child, &status, 0) < 0)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 3;
}

int main(int argc, char **argv)
{
	int i;

	unbuffer();
	if (argc < 2)
		return 2;
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	if (!strcmp(argv[1], "exec")) {
		execvp(argv[2], argv + 2);
		return 1;
	}
	i = make_child(argv[1]);
	scrub();
	return i ? 5 : 1;
}
