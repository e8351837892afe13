/* SPDX-License-Identifier: MIT */
/*
 * The heap map's slow path: mapping a chunk. See heapmap.h for the idea. Runs inside the target, in malloc: no
 * malloc, no lock, no errno.
 */
#include "core/heapmap.h"
#include "core/own.h"
#include "core/sys.h"

uint64_t *lp_heapmap[LP_CHUNK_COUNT];

static size_t chunk_bytes;

uint64_t *lp_heapmap_chunk(uintptr_t index)
{
	uint64_t *chunk = lp_own_map(LP_CHUNK_BYTES);
	uint64_t *other = NULL;

	if (!chunk)
		return NULL;
	if (!__atomic_compare_exchange_n(&lp_heapmap[index], &other, chunk, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		lp_own_unmap(chunk, LP_CHUNK_BYTES);
		return other;
	}
	__atomic_fetch_add(&chunk_bytes, LP_CHUNK_BYTES, __ATOMIC_RELAXED);
	return chunk;
}

size_t lp_heapmap_bytes(void)
{
	return __atomic_load_n(&chunk_bytes, __ATOMIC_RELAXED);
}
