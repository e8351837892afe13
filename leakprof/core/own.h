/* SPDX-License-Identifier: MIT */
/*
 * Memory that leakprof itself maps in the target. It is recorded, as the snapshot must neither take
 * it for the program's nor scan it: it points at every goroutine. Runs inside the target: no
 * malloc, no lock.
 */
#ifndef LP_CORE_OWN_H
#define LP_CORE_OWN_H

#include <stddef.h>
#include <stdint.h>

struct lp_own_range {
	uintptr_t start;
	size_t size; /* 0: unused slot */
	int owner;   /* the process that mapped it: one may share the target's memory */
};

/* Maps SIZE bytes (rounded up to pages), zero. NULL when there is no memory or LP_OWN_MAX ranges
 * are in use. */
void *lp_own_map(size_t size);

/* Records memory that was mapped otherwise. */
void lp_own_record(void *address, size_t size);

/* Makes what lp_own_map returned larger; it may move. NULL when there is no memory: it is as it
 * was. */
void *lp_own_grow(void *address, size_t size, size_t new_size);

/* Unmaps what lp_own_map returned; SIZE as there. */
void lp_own_unmap(void *address, size_t size);

/* Makes what lp_own_map returned PID's, and unmaps all that is PID's: it has ended. */
void lp_own_give(void *address, int pid);
void lp_own_release(int pid);

/* The table: *COUNT slots, some unused. For the snapshot. */
const struct lp_own_range *lp_own_ranges(size_t *count);

/* Bytes mapped at the moment. */
size_t lp_own_bytes(void);

#define LP_OWN_MAX 8192

#endif
