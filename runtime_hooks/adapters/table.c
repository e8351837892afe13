/* SPDX-License-Identifier: MIT */
/*
 * The table of runtimes that leakprof has an adapter for.
 */
#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"

struct lp_runtime *const lp_runtimes[] = {
	&lp_pth,
	&lp_state_threads,
};

const size_t lp_runtime_count = LP_ARRAY_SIZE(lp_runtimes);
