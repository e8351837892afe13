/* SPDX-License-Identifier: MIT */
/*
 * The snapshot is a new process: it touches each page for the first time. That costs next to
 * nothing where the processor itself walks the page tables (0.1 to 0.3 us), but 5 to 7 us where a
 * hypervisor keeps tables of its own beside them (shadow paging: PVM, nested virtualization without
 * hardware help), as each first touch leaves the machine. The kernel reads through its own mapping
 * of all memory, which is there already: pages that are spliced into a pipe are read from it at 0.3
 * us each, behind 2 us of two system calls.
 *
 * Not process_vm_readv: it pins pages, and the kernel copies a shared page that is to be pinned.
 */
#include <errno.h>
#include <string.h>

#include "core/fetch.h"
#include "core/own.h"
#include "core/sys.h"

#define ROOM_MIN 16
#define MUCH 3 /* times as long */
#define TURNS 5

#ifndef F_SETPIPE_SZ
#define F_SETPIPE_SZ 1031
#define F_GETPIPE_SZ 1032
#endif
#define SPLICE_NONBLOCK 2

/* Whether system calls are filtered: one that is not expected might kill the snapshot. */
static bool is_filtered(void)
{
	static const char key[] = "\nSeccomp:\t";
	char status[4096];
	const char *at;

	if (lp_sys_read_text("/proc/self/status", status, sizeof(status)) < 0)
		return true;
	at = strstr(status, key);
	return at && at[strlen(key)] != '0';
}

int lp_fetch_open(struct lp_fetch *fetch, bool try)
{
	int ends[2];
	long size;
	long r;

	if (!try && is_filtered())
		return -EPERM;
	r = LP_SYS2(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);
	if (r)
		return (int)r;
	fetch->in = ends[0];
	fetch->out = ends[1];
	/* A user who has many pipes may have no larger ones. */
	LP_SYS3(SYS_fcntl, fetch->out, F_SETPIPE_SZ, LP_FETCH_ROOM * LP_PAGE);
	size = LP_SYS2(SYS_fcntl, fetch->out, F_GETPIPE_SZ);
	fetch->room = size < 0 ? 0 : (size_t)size / LP_PAGE;
	if (fetch->room > LP_FETCH_ROOM)
		fetch->room = LP_FETCH_ROOM;
	fetch->buffer = lp_own_map(LP_FETCH_ROOM * LP_PAGE);
	if (fetch->room < ROOM_MIN || !fetch->buffer) {
		lp_fetch_close(fetch);
		return -ENOMEM;
	}
	return 0;
}

void lp_fetch_close(struct lp_fetch *fetch)
{
	lp_sys_close(fetch->in);
	lp_sys_close(fetch->out);
	lp_own_unmap(fetch->buffer, LP_FETCH_ROOM * LP_PAGE);
}

bool lp_fetch_copy(struct lp_fetch *fetch, const struct iovec *pieces, size_t count, size_t bytes)
{
	long spliced = LP_SYS4(SYS_vmsplice, fetch->out, pieces, count, SPLICE_NONBLOCK);
	long n;

	/* What is in the pipe has to leave it, whether it is all or not. */
	for (n = 0; n < spliced;) {
		long got = lp_sys_read(fetch->in, fetch->buffer + n, (size_t)(spliced - n));

		if (got <= 0)
			return false;
		n += got;
	}
	return spliced == (long)bytes;
}

static uint64_t ticks(void)
{
	return __builtin_ia32_rdtsc();
}

static void touch(uintptr_t address)
{
	*(volatile const char *)address;
}

static uint64_t median(uint64_t *values, size_t count)
{
	size_t i;
	size_t j;

	for (i = 1; i < count; i++) {
		uint64_t value = values[i];

		for (j = i; j > 0 && values[j - 1] > value; j--)
			values[j] = values[j - 1];
		values[j] = value;
	}
	return values[count / 2];
}

/* How long a page takes to be copied with COUNT others, 0: it cannot be. */
static uint64_t copy_ticks(struct lp_fetch *fetch, const struct lp_fetch_sample *samples,
			   size_t count)
{
	struct iovec pieces[LP_FETCH_SAMPLES] = {0};
	uint64_t times[TURNS];
	size_t i;

	for (i = 0; i < count; i++)
		pieces[i] = (struct iovec){(void *)samples[i].third, sizeof(uintptr_t)};
	/* The first copy also pays for the buffer. */
	for (i = 0; i < TURNS; i++) {
		uint64_t start = ticks();

		if (!lp_fetch_copy(fetch, pieces, count, count * sizeof(uintptr_t)))
			return 0;
		times[i] = ticks() - start;
	}
	return median(times, TURNS) / count + 1;
}

bool lp_fetch_pays(struct lp_fetch *fetch, const struct lp_fetch_sample *samples, size_t count)
{
	uint64_t touches[LP_FETCH_SAMPLES];
	uint64_t copy = copy_ticks(fetch, samples, count);
	size_t i;

	for (i = 0; i < count; i++) {
		uint64_t start;

		/* Where pages are huge, the first touch of one is all there is to pay. */
		touch(samples[i].first);
		start = ticks();
		touch(samples[i].second);
		touches[i] = ticks() - start;
	}
	return copy && median(touches, count) > MUCH * copy;
}
