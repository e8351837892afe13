/* SPDX-License-Identifier: MIT */
/*
 * See glibc.h. struct malloc_state (malloc/malloc.c) has no symbol, but a shape that nothing else
 * has:
 *
 *     fast bins (10), top, last_remainder, bins[254], ...
 *
 * An empty bin is two words that point 16 bytes before themselves; top is the head of a chunk that
 * reaches to the end of a mapping. Any bin may be in use, so the start of bins is tried from the
 * first empty one downwards, and believed when top fits.
 */
#include "core/glibc.h"
#include "core/sys.h"

#define BIN_WORDS 254
#define EMPTY_BINS_MIN 16
#define BEFORE_BINS (14 * sizeof(uintptr_t)) /* lock, flags, fast bins, top, last_remainder */
#define AFTER_BINS (8 * sizeof(uintptr_t))   /* bin map, links to other arenas */

static bool is_empty_bin(uintptr_t at)
{
	const uintptr_t *bin = (const uintptr_t *)at;

	return bin[0] == at - 16 && bin[1] == at - 16;
}

static bool is_top(const struct lp_maps *maps, uintptr_t top)
{
	const struct lp_region *region = lp_maps_find(maps, top);
	uintptr_t size;

	if (!region || top % 16 || !(region->prot & PROT_WRITE) || region->end - top < 16)
		return false;
	size = ((const uintptr_t *)top)[1] & ~(uintptr_t)7;
	return size >= 16 && size <= region->end - top && (top + size) % LP_PAGE == 0;
}

static unsigned count_empty(uintptr_t bins)
{
	unsigned count = 0;
	unsigned i;

	for (i = 0; i < BIN_WORDS; i += 2)
		count += is_empty_bin(bins + i * sizeof(uintptr_t));
	return count;
}

bool lp_glibc_main_arena(const struct lp_maps *maps, uintptr_t low, uintptr_t high,
			 uintptr_t *start, uintptr_t *end)
{
	const uintptr_t size = BIN_WORDS * sizeof(uintptr_t);
	uintptr_t first;
	uintptr_t bins;

	if (high - low < BEFORE_BINS + size + AFTER_BINS)
		return false;
	for (first = low + BEFORE_BINS; first + size + AFTER_BINS <= high; first += 16)
		if (is_empty_bin(first))
			break;
	for (bins = first; bins >= low + BEFORE_BINS && first - bins < size; bins -= 16) {
		if (bins + size + AFTER_BINS > high ||
		    !is_top(maps, ((const uintptr_t *)bins)[-2]) ||
		    count_empty(bins) < EMPTY_BINS_MIN)
			continue;
		*start = bins - BEFORE_BINS;
		*end = bins + size + AFTER_BINS;
		return true;
	}
	return false;
}
