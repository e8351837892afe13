/* SPDX-License-Identifier: MIT */
/*
 * Where unwinding a goroutine's stack begins: for one that waits, the frame that called the
 * blocking function; for one that runs, where its thread was stopped; for one that was switched
 * away from without a wait, behind what the switch function pushed. Runs in the snapshot.
 */
#ifndef LP_CORE_STACK_START_H
#define LP_CORE_STACK_START_H

#include "core/collect.h"

/* Fills PC, SP and the registers of *STACK. False: nothing is known, or NODE never ran. */
bool lp_stack_start(const struct lp_collection *collection, const struct lp_node *node,
		    struct lp_raw_stack *stack);

#endif
