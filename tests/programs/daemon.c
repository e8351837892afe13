/* SPDX-License-Identifier: MIT */
/*
 * A daemon as of old: forks twice, leads a session, goes to /, closes every descriptor. Writes its
 * PID to argv[1]; leaks one goroutine; ends with 0 on SIGTERM. With argv[2] the library runs before
 * it becomes a daemon.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "common.h"
#include "runtime.h"

static volatile sig_atomic_t ended;

static void on_term(int number)
{
	(void)number;
	ended = 1;
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

static void become_daemon(void)
{
	int i;

	if (fork())
		_exit(0);
	setsid();
	if (fork())
		_exit(0);
	if (chdir("/"))
		abort();
	umask(0);
	for (i = 0; i < 4096; i++)
		close(i);
}

/* Whole at once: it is waited for. */
static void write_pid(const char *path)
{
	char beside[4096];
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", (int)getpid());
	int fd;

	snprintf(beside, sizeof(beside), "%s.new", path);
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, text, (size_t)length) != length || close(fd) ||
	    rename(beside, path))
		abort();
}

static void nap(void)
{
#ifdef USE_ST
	st_usleep(10000);
#else
	pth_usleep(10000);
#endif
}

int main(int argc, char **argv)
{
	int i;

	unbuffer();
	if (argc < 2)
		return 2;
	signal(SIGTERM, on_term);
	if (argc > 2)
		runtime_init();
	become_daemon();
	if (argc == 2)
		runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	write_pid(argv[1]);
	while (!ended)
		nap();
	return 0;
}
