/* SPDX-License-Identifier: MIT */
/*
 * What a sanitizer has mapped for itself: shadow of the whole address space, and room for its
 * allocator, terabytes of it. Told by where it lies, as this is built into the programs; so it is
 * seen also where the sanitizer is linked statically and exports nothing. Runs in the snapshot.
 */
#ifndef LP_CORE_SANITIZER_H
#define LP_CORE_SANITIZER_H

#include "core/maps.h"

struct lp_sanitizer;

/* The sanitizer whose memory is in MAPS, or NULL. */
const struct lp_sanitizer *lp_sanitizer_find(const struct lp_maps *maps);

/* Why nothing can be measured when its allocator does not tell us of its blocks (a constant). */
const char *lp_sanitizer_untracked(const struct lp_sanitizer *sanitizer);

/* Whether REGION holds nothing of the program's. SANITIZER may be NULL. */
bool lp_sanitizer_owns(const struct lp_sanitizer *sanitizer, const struct lp_region *region);

#endif
