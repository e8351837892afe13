/* SPDX-License-Identifier: MIT */
/*
 * Forks while the library runs: the parent has one leaked goroutine by then, and the child goes on
 * and leaks one of its own. argv[1] is fork or pth_fork, after which the child has no goroutine but
 * its own. Both wait for the end of standard input; the child exits with 6, the parent with 5 when
 * it saw that.
 */
#include <sys/wait.h>

#include "common.h"
#include "runtime.h"

static void *parent_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *child_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *start(void *worker)
{
	spawn((void *(*)(void *))worker, gate_new());
	return NULL;
}

static void leak(void *(*worker)(void *))
{
	int i;

	spawn(start, (void *)worker);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
}

static pid_t make_child(const char *how)
{
#ifndef USE_ST
	if (!strcmp(how, "pth_fork"))
		return pth_fork();
#endif
	return !strcmp(how, "fork") ? fork() : -1;
}

int main(int argc, char **argv)
{
	int status = 0;
	pid_t child;

	unbuffer();
	runtime_init();
	leak(parent_worker);
	child = make_child(argc > 1 ? argv[1] : "");
	if (child < 0)
		return 1;
	if (!child) {
		leak(child_worker);
		printf("CHILD %d\n", (int)getpid());
		read_byte(0);
		return 6;
	}
	read_byte(0);
	while (waitpid(child, &status, 0) < 0)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 6 ? 5 : 1;
}
