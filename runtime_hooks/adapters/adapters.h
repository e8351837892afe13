/* SPDX-License-Identifier: MIT */
/*
 * The adapters: one file per coroutine library. See core/runtime.h for their contract; adding one
 * is adding a file and a row in table.c.
 */
#ifndef LP_HOOKS_ADAPTERS_H
#define LP_HOOKS_ADAPTERS_H

#include "core/collect.h"
#include "runtime_hooks/target.h"

extern struct lp_runtime lp_pth;
extern struct lp_runtime lp_state_threads;
extern struct lp_runtime
	lp_annotated[LP_ANNOTATED_MAX]; /* by leakprof.h, in the order that they came */

/* All runtimes that have an adapter, loaded or not. */
extern struct lp_runtime *const lp_runtimes[];
extern const size_t lp_runtime_count;

#endif
