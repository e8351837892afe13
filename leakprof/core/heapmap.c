/* SPDX-License-Identifier: MIT */
/*
 * The heap map's slow path: mapping a chunk. See heapmap.h for the idea. Runs inside the target, in
 * malloc: no malloc, no lock, no errno.
 */
#include "core/heapmap.h"
#include "core/own.h"
#include "core/sys.h"

uint64_t *lp_heapmap[LP_CHUNK_COUNT];

#define CHUNKS_MAX 65536u /* 4 TiB of heap */

static uint32_t chunks[CHUNKS_MAX];
static size_t chunk_count;

uint64_t *lp_heapmap_chunk(uintptr_t index)
{
	uint64_t *chunk = lp_own_map(LP_CHUNK_BYTES);
	uint64_t *other = NULL;
	size_t slot;

	if (!chunk)
		return NULL;
	if (!__atomic_compare_exchange_n(&lp_heapmap[index], &other, chunk, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		lp_own_unmap(chunk, LP_CHUNK_BYTES);
		return other;
	}
	slot = __atomic_fetch_add(&chunk_count, 1, __ATOMIC_ACQ_REL);
	if (slot < CHUNKS_MAX)
		__atomic_store_n(&chunks[slot], (uint32_t)index, __ATOMIC_RELEASE);
	return chunk;
}

const uint32_t *lp_heapmap_chunks(size_t *count)
{
	*count = chunk_count < CHUNKS_MAX ? chunk_count : CHUNKS_MAX;
	return chunks;
}
