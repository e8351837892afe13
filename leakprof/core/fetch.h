/* SPDX-License-Identifier: MIT */
/*
 * Reads of the snapshot's own memory by way of the kernel. Runs in the snapshot: no malloc, no
 * lock.
 */
#ifndef LP_CORE_FETCH_H
#define LP_CORE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define LP_FETCH_ROOM 64    /* pages: at most */
#define LP_FETCH_SAMPLES 16 /* likewise; there is room for so many */

/* A pipe, and where copies go. */
struct lp_fetch {
	int in;
	int out;
	size_t room; /* pages that one call copies from */
	char *buffer;
};

/* Two touches and a copy of what lies within 2 MiB, in pages of their own that nobody read yet. */
struct lp_fetch_sample {
	uintptr_t first;
	uintptr_t second;
	uintptr_t third;
};

/* Makes ready. Returns 0, or -errno: without a descriptor, or without memory for a pipe of some
 * pages. -EPERM where a seccomp filter is in force, which might kill who calls vmsplice; with TRY
 * that is called all the same. */
int lp_fetch_open(struct lp_fetch *fetch, bool try);

void lp_fetch_close(struct lp_fetch *fetch);

/* Whether copies are much faster than the first touch of a page, by trying both on COUNT samples.
 */
bool lp_fetch_pays(struct lp_fetch *fetch, const struct lp_fetch_sample *samples, size_t count);

/*
 * Copies the COUNT pieces, BYTES in all and from at most ROOM pages (a page that two pieces lie in
 * counts twice), one behind the other into the buffer. Returns false when some cannot be read so:
 * device memory, or what is not mapped.
 */
bool lp_fetch_copy(struct lp_fetch *fetch, const struct iovec *pieces, size_t count, size_t bytes);

#endif
