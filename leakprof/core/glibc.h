/* SPDX-License-Identifier: MIT */
/*
 * What must be known of glibc's allocator: where it keeps pointers to free memory among libc's
 * variables.
 */
#ifndef LP_CORE_GLIBC_H
#define LP_CORE_GLIBC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/maps.h"

/*
 * Finds the allocator's main arena in the writable segment LOW .. HIGH of a loaded object: *START
 * .. *END. Its words point at the heads of free chunks, which lie in the last eight bytes of the
 * block before: scanned as roots they would keep live blocks that nothing points to. Returns false
 * where there is none, or it does not look as expected.
 */
bool lp_glibc_main_arena(const struct lp_maps *maps, uintptr_t low, uintptr_t high,
			 uintptr_t *start, uintptr_t *end);

#endif
