/* SPDX-License-Identifier: MIT */
/*
 * leakprof_check and leakprof_scope_end: a leak check that the program itself makes and waits for.
 *
 *     target                      snapshot process             reporter (leakprof check)
 *     pipe, stop, clone ------->  marks, writes the stream --> unwinds, puts aside, writes to the
 * pipe waits for the answer <----------------------------------- "leakprof COUNT LENGTH\n", text
 *
 * COUNT is the number of leaked goroutines, -1 where nothing was measured, or -2 where the check
 * failed (suppressions that are not valid). The pipe is open for
 * the time of the call only. Runs inside the target: no malloc, no stdio.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "core/own.h"
#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/target.h"

#define HEAD_MAX 64
#define TEXT_CHUNK 16384
#define BUSY_PAUSE_NS 1000000
#define LOWEST_FD 3

/* The program's, if it exports one: found by the dynamic linker. dlsym would leave an error's text
 * in the program's heap. */
#pragma weak leakprof_default_suppressions

const char *lp_default_suppressions(void)
{
	return &leakprof_default_suppressions ? leakprof_default_suppressions() : NULL;
}

/* --- The answer --- */

/* Reads SIZE bytes, or less at the end. Returns how many, or -errno. */
static long read_some(int fd, char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		long n = lp_sys_read(fd, data + done, size - done);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : (long)done;
		done += (size_t)n;
	}
	return (long)done;
}

/* Reads up to the end of a line, byte by byte: what follows is not ours to take. */
static int read_line(int fd, char *line, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size; i++) {
		long n = read_some(fd, line + i, 1);

		if (n != 1)
			return n ? (int)n : -EPIPE;
		if (line[i] == '\n')
			break;
	}
	line[i] = 0;
	return 0;
}

static const char *parse_number(const char *at, long *number)
{
	bool negative = *at == '-';

	*number = 0;
	for (at += negative; *at >= '0' && *at <= '9' && *number < INT_MAX; at++)
		*number = 10 * *number + (*at - '0');
	if (negative)
		*number = -*number;
	return *at == ' ' ? at + 1 : at;
}

static void tell(const struct leakprof_check_info *info, const char *text, size_t length)
{
	if (info->sink)
		info->sink(info->context, text, length);
	else
		lp_sys_write(2, text, length);
}

/* Passes LENGTH bytes of text on. */
static int pass_text(const struct leakprof_check_info *info, int fd, size_t length)
{
	char *text = lp_own_map(TEXT_CHUNK);
	long n = text ? 1 : -ENOMEM;

	while (length && n > 0) {
		n = read_some(fd, text, length < TEXT_CHUNK ? length : TEXT_CHUNK);
		if (n > 0) {
			tell(info, text, (size_t)n);
			length -= (size_t)n;
		}
	}
	if (text)
		lp_own_unmap(text, TEXT_CHUNK);
	return n < 0 ? (int)n : length ? -EPIPE : 0;
}

/* Returns the number of leaks, -ENODATA for nothing measured, or another -errno. */
static int receive(const struct leakprof_check_info *info, int fd)
{
	static const char word[] = "leakprof ";
	char line[HEAD_MAX];
	const char *at = line + sizeof(word) - 1;
	long count;
	long length;
	int r = read_line(fd, line, sizeof(line));

	if (r)
		return r;
	if (strncmp(line, word, sizeof(word) - 1))
		return -EPROTO;
	at = parse_number(at, &count);
	parse_number(at, &length);
	r = pass_text(info, fd, length > 0 ? (size_t)length : 0);
	if (r)
		return r;
	return count == -1 ? -ENODATA : count < 0 ? -EINVAL : (int)count;
}

/* --- The question --- */

/* Another collection may be under way, or too many snapshots: the check waits for its turn. */
static int collect(const struct lp_request *request, uintptr_t sp)
{
	const struct timespec pause = {0, BUSY_PAUSE_NS};
	uint64_t end = lp_sys_clock_ns(CLOCK_MONOTONIC) + lp_options.timeout_ns;
	int r;

	while ((r = lp_collect(request, NULL, sp)) == -EAGAIN &&
	       lp_sys_clock_ns(CLOCK_MONOTONIC) < end)
		LP_SYS2(SYS_nanosleep, &pause, NULL);
	return r;
}

/* A pipe that lies above the standard descriptors, which the program may have closed. */
static int open_pipe(int ends[2])
{
	int low[2];
	int r = (int)LP_SYS2(SYS_pipe2, low, O_CLOEXEC);
	int i;

	if (r < 0)
		return r;
	for (i = 0; i < 2; i++) {
		ends[i] = (int)LP_SYS3(SYS_fcntl, low[i], F_DUPFD_CLOEXEC, LOWEST_FD);
		lp_sys_close(low[i]);
	}
	if (ends[0] >= 0 && ends[1] >= 0)
		return 0;
	for (i = 0; i < 2; i++)
		if (ends[i] >= 0)
			lp_sys_close(ends[i]);
	return -EMFILE;
}

static int ask(const struct leakprof_check_info *info, const struct leakprof_scope *scope,
	       uintptr_t sp)
{
	struct lp_check_request check = {.scope = scope,
					 .suppressions = info->suppressions,
					 .alive = info->mode == LEAKPROF_ALIVE};
	struct lp_request request = {.trigger = LP_TRIGGER_CHECK,
				     .check = &check,
				     .suppressions = lp_default_suppressions()};
	int ends[2];
	int r = open_pipe(ends);

	if (r)
		return r;
	check.reply = ends[1];
	r = collect(&request, sp);
	lp_sys_close(ends[1]);
	if (!r)
		r = receive(info, ends[0]);
	lp_sys_close(ends[0]);
	return r;
}

/* What of GIVEN (NULL: nothing) this shim knows: a newer header may say more, an older one less. */
static void read_info(const struct leakprof_check_info *given, struct leakprof_check_info *known)
{
	size_t size = !given ? 0 : given->size < sizeof(*known) ? given->size : sizeof(*known);

	memset(known, 0, sizeof(*known));
	if (given)
		memcpy(known, given, size);
}

int lp_leak_check(const struct leakprof_check_info *given, const struct leakprof_scope *scope,
		  uintptr_t sp)
{
	struct leakprof_check_info info;
	int saved = errno;
	int r;

	if (!lp_pid || lp_pid != (int)LP_SYS0(SYS_getpid))
		return -ENOSYS;
	read_info(given, &info);
	if (info.mode == LEAKPROF_ALIVE)
		lp_scope_settle(scope, info.settle_ns);
	/* None of those in question exists: no snapshot is needed to see that. */
	if (lp_awake() && lp_runtime_any() && lp_goroutine_last_id() && !lp_scope_count(scope))
		r = 0;
	else
		r = ask(&info, scope, sp);
	errno = saved;
	return r;
}
