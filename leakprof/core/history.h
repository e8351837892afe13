/* SPDX-License-Identifier: MIT */
/*
 * What earlier snapshots of a process found, for the option confirm and for a check on ourselves.
 * It lies in memory that the target shares with its snapshots; each snapshot that comes to verdicts
 * replaces the list of those goroutines that it holds for leaked:
 *
 *     the very same wait as before      agreed + 1; reported once CONFIRM snapshots agree
 *     was reported, same wait, but now  still reported: nothing that could run reached it before,
 *     something seems to reach it       so what reaches it now is a stale word
 *     was reported, has run since       a contradiction: counted and shown, as it is our bug
 *
 * "The very same wait" is the goroutine's id and its count of waits. Where nobody counts them
 * (State Threads, unless CONFIRM is more than one) it is the same place: registers and object. Then
 * one that ran and came back there is taken for one that stayed, and so
 *
 *     was reported, same place, but now something seems to reach it    live, and no contradiction
 *
 * One that its adapter could not tell of this time keeps what was known of it. At exit nothing runs
 * any more, so one snapshot is all the confirmation that there can be; a leak check of the program
 * itself wants its answer at once, too.
 */
#ifndef LP_CORE_HISTORY_H
#define LP_CORE_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#define LP_HISTORY_MAX (1u << 20) /* goroutines; more are never confirmed and not checked */

struct lp_past {
	uint64_t id;
	uint32_t slot; /* of the goroutine's record; the list is sorted by it */
	uint32_t waits;
	uint32_t agreed; /* snapshots in a row */
	uint32_t reported;
};

struct lp_history {
	uint32_t writer;  /* PID of the snapshot that replaces the list; 0: none */
	uint32_t current; /* which of LISTS is whole */
	uint32_t count[2];
	uint64_t contradictions; /* ever */
	struct lp_past lists[2][LP_HISTORY_MAX];
};

struct lp_collection;

/*
 * Decides for each node of COLLECTION, whose fixpoint is over, whether it is reported, and replaces
 * the list in the input's HISTORY (NULL: there is none). A list that another snapshot is just
 * replacing is used, but stays.
 */
void lp_history_judge(struct lp_collection *collection);

#endif
