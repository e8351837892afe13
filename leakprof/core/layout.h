/* SPDX-License-Identifier: MIT */
/*
 * Sorts the target's memory for the marker. See layout.c for the rules.
 */
#ifndef LP_CORE_LAYOUT_H
#define LP_CORE_LAYOUT_H

#include "core/collect.h"

/* Tells COLLECTION's marker all roots, arenas and pools. */
void lp_layout(struct lp_collection *collection);

/* Memory amid an allocator's that was taken from the system: pools, but for pages with blocks. */
void lp_lay_range(struct lp_collection *collection, uintptr_t low, uintptr_t high);

/* Pushes to WORDS what may be a pointer in writable shared mappings. The target must still be
 * stopped. Returns 0, or -errno where it could not look. */
int lp_shared_words(struct lp_collection *collection);

#endif
