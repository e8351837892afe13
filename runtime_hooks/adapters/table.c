/* SPDX-License-Identifier: MIT */
/*
 * The table of runtimes that leakprof has an adapter for.
 */
#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"

struct lp_runtime *const lp_runtimes[] = {
	&lp_pth,	  &lp_state_threads, &lp_annotated[0], &lp_annotated[1], &lp_annotated[2],
	&lp_annotated[3], &lp_annotated[4],  &lp_annotated[5], &lp_annotated[6], &lp_annotated[7],
};

_Static_assert(LP_ANNOTATED_MAX == 8, "each annotated runtime has a row");

const size_t lp_runtime_count = LP_ARRAY_SIZE(lp_runtimes);
