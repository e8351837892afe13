/* SPDX-License-Identifier: MIT */
/*
 * Becoming another program. From the moment when the kernel takes the handlers away until the shim
 * of the new program is up - for ever, where that one is static or set-user-ID - our signal would
 * be deadly. So it is blocked across: one that comes meanwhile waits, and is answered where there
 * is a shim. Snapshots that still run are ended, as the new program would be told of children that
 * it does not know.
 *
 * A child between fork or vfork and exec comes here too: nothing is resolved or locked then.
 */
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

static struct {
	int (*execve)(const char *, char *const[], char *const[]);
	int (*execvpe)(const char *, char *const[], char *const[]);
	int (*fexecve)(int, char *const[], char *const[]);
	int (*execveat)(int, const char *, char *const[], char *const[], int);
} real;

void lp_exec_init(void)
{
	real.execve = lp_next("execve", NULL);
	real.execvpe = lp_next("execvpe", NULL);
	real.fexecve = lp_next("fexecve", NULL);
	real.execveat = lp_next("execveat", NULL);
}

/* Returns the signal mask to go back to. */
static uint64_t leave(void)
{
	uint64_t ours = lp_signal ? 1ull << (lp_signal - 1) : 0;
	uint64_t mask = 0;

	if (!real.execve)
		lp_exec_init();
	LP_SYS4(SYS_rt_sigprocmask, SIG_BLOCK, &ours, &mask, 8);
	if (lp_pid && lp_pid == (int)LP_SYS0(SYS_getpid))
		lp_snapshot_end();
	return mask;
}

/* It could not be: all is as before. */
static int come_back(int result, uint64_t mask)
{
	LP_SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
	return result;
}

LP_EXPORT int execve(const char *path, char *const arguments[], char *const environment[])
{
	uint64_t mask = leave();

	return come_back(real.execve(path, arguments, environment), mask);
}

LP_EXPORT int execv(const char *path, char *const arguments[])
{
	return execve(path, arguments, environ);
}

LP_EXPORT int execvpe(const char *file, char *const arguments[], char *const environment[])
{
	uint64_t mask = leave();

	return come_back(real.execvpe(file, arguments, environment), mask);
}

LP_EXPORT int execvp(const char *file, char *const arguments[])
{
	return execvpe(file, arguments, environ);
}

LP_EXPORT int fexecve(int fd, char *const arguments[], char *const environment[])
{
	uint64_t mask = leave();

	return come_back(real.fexecve(fd, arguments, environment), mask);
}

LP_EXPORT int execveat(int folder, const char *path, char *const arguments[],
		       char *const environment[], int flags)
{
	uint64_t mask = leave();

	if (!real.execveat) {
		errno = ENOSYS;
		return come_back(-1, mask);
	}
	return come_back(real.execveat(folder, path, arguments, environment, flags), mask);
}

/* --- With a list of arguments --- */

/* Of LIST, the NULL included. */
static size_t count(va_list list)
{
	size_t n = 1;

	while (va_arg(list, const char *))
		n++;
	return n;
}

/* Fills ARGUMENTS from FIRST and LIST, the NULL included. */
static void collect(char **arguments, const char *first, va_list *list)
{
	*arguments = (char *)first;
	while (*arguments)
		*++arguments = va_arg(*list, char *);
}

#define COLLECT(first)                                                                             \
	va_list list;                                                                              \
	char **arguments;                                                                          \
                                                                                                   \
	va_start(list, first);                                                                     \
	arguments = __builtin_alloca((count(list) + 1) * sizeof(*arguments));                      \
	va_end(list);                                                                              \
	va_start(list, first);                                                                     \
	collect(arguments, first, &list)

LP_EXPORT int execl(const char *path, const char *first, ...)
{
	COLLECT(first);
	va_end(list);
	return execve(path, arguments, environ);
}

LP_EXPORT int execlp(const char *file, const char *first, ...)
{
	COLLECT(first);
	va_end(list);
	return execvpe(file, arguments, environ);
}

LP_EXPORT int execle(const char *path, const char *first, ...)
{
	char *const *environment;

	COLLECT(first);
	environment = va_arg(list, char *const *);
	va_end(list);
	return execve(path, arguments, environment);
}
