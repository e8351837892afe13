/* SPDX-License-Identifier: MIT */
/*
 * Where the process's limits and its surroundings would stop a collection: no free descriptor,
 * files that must stay small, core files, a /proc that is of another PID namespace or is not there.
 *
 * The limits are lifted in the snapshot process, or in a helper that shares the target's memory but
 * not its descriptors; never in the target.
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

#define MQUEUE_MAGIC 0x19800202
#define DESCRIPTORS_NEEDED                                                                         \
	8 /* at a time: a folder, a file in it, a pipe, the requester's socket                     \
	   */

int lp_proc_pid(void)
{
	char text[16];
	long n = LP_SYS3(SYS_readlink, "/proc/self", text, sizeof(text));
	int pid = 0;
	long i;

	if (n < 0)
		return (int)n;
	for (i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		pid = pid * 10 + (text[i] - '0');
	return pid > 0 ? pid : -ENOENT;
}

bool lp_own_timers(char *text, size_t size)
{
	int fd = lp_sys_open("/proc/self/timers", O_RDONLY, 0);
	size_t length = 0;
	long n = -EIO;

	if (fd < 0)
		return false;
	while (length + 1 < size && (n = lp_sys_read(fd, text + length, size - length - 1)) > 0)
		length += (size_t)n;
	lp_sys_close(fd);
	text[length] = 0;
	return !n;
}

static struct rlimit limit_of(int resource)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	LP_SYS2(SYS_getrlimit, resource, &limit);
	return limit;
}

bool lp_limits_memory(void)
{
	return limit_of(RLIMIT_AS).rlim_cur != RLIM_INFINITY;
}

static void allow_descriptors(void)
{
	struct rlimit limit = limit_of(RLIMIT_NOFILE);

	limit.rlim_cur = limit.rlim_max;
	LP_SYS2(SYS_setrlimit, RLIMIT_NOFILE, &limit);
}

void lp_limits_close_all(void)
{
	allow_descriptors();
	LP_SYS3(SYS_close_range, 0, ~0u, 0);
	/* Before Linux 5.9: as many as are needed. */
	if (LP_SYS3(SYS_fcntl, 0, F_GETFD, 0) >= 0) {
		int fd;

		for (fd = 0; fd < DESCRIPTORS_NEEDED; fd++)
			lp_sys_close(fd);
	}
}

/* Whether what FD is open on is known to hold no pointer of the program's (core/kernel.c). */
static bool holds_no_pointer(int fd)
{
	struct statfs file_system;
	struct stat status;
	int domain = AF_UNIX;
	int size = sizeof(domain);

	if (LP_SYS2(SYS_fstat, fd, &status) < 0)
		return false;
	if (S_ISREG(status.st_mode))
		return LP_SYS2(SYS_fstatfs, fd, &file_system) >= 0 &&
		       file_system.f_type != MQUEUE_MAGIC;
	if (S_ISSOCK(status.st_mode))
		return LP_SYS5(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) >= 0 &&
		       domain != AF_UNIX;
	return S_ISDIR(status.st_mode) || S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
}

static bool are_descriptors_free(void)
{
	int ends[DESCRIPTORS_NEEDED];
	int count = 0;
	bool enough;

	while (count < DESCRIPTORS_NEEDED && LP_SYS2(SYS_pipe2, ends + count, O_CLOEXEC) >= 0)
		count += 2;
	enough = count == DESCRIPTORS_NEEDED;
	while (count > 0)
		lp_sys_close(ends[--count]);
	return enough;
}

/* Standard error stays: the log may go there. */
static void free_descriptors(void)
{
	int freed = 0;
	int fd;

	if (are_descriptors_free())
		return;
	for (fd = 0; freed < DESCRIPTORS_NEEDED && fd < 65536; fd++) {
		if (fd == 2 || !holds_no_pointer(fd))
			continue;
		lp_sys_close(fd);
		freed++;
	}
}

void lp_limits_lift(void)
{
	/* 1: no core file, and no crash handler behind a pipe either, which 0 would let run. */
	const struct rlimit no_core = {1, 1};
	const struct rlimit no_file = {0, 0};
	const uint64_t ignore[4] = {1}; /* SIG_IGN: a file that is too large is an error then */

	LP_SYS4(SYS_rt_sigaction, SIGXFSZ, ignore, NULL, 8);
	if (LP_SYS2(SYS_setrlimit, RLIMIT_CORE, &no_core) < 0)
		LP_SYS2(SYS_setrlimit, RLIMIT_CORE, &no_file);
	allow_descriptors();
	free_descriptors();
}
