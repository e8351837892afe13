/* SPDX-License-Identifier: MIT */
/*
 * The heap map: which addresses are starts of heap blocks. One bit per 16 bytes of address space,
 * in two levels:
 *
 *     directory, 2^21 pointers (untouched parts cost nothing)
 *       -> chunk, 512 KiB of bits for 64 MiB of addresses, mapped when its first block is allocated
 *
 * The target sets a bit after the real malloc and clears it before the real free, so a set bit
 * always is a block that the program owns. The extent of a block is asked from the allocator
 * (malloc_usable_size) when the snapshot marks. One set or clear is one instruction: safe in signal
 * handlers and, with the lock prefix that is used once the process has threads, between threads.
 */
#ifndef LP_CORE_HEAPMAP_H
#define LP_CORE_HEAPMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>

#define LP_GRANULE_SHIFT 4
#define LP_CHUNK_SHIFT 26
#define LP_ADDRESS_BITS 47
#define LP_CHUNK_COUNT (1u << (LP_ADDRESS_BITS - LP_CHUNK_SHIFT))
#define LP_CHUNK_BITS (1u << (LP_CHUNK_SHIFT - LP_GRANULE_SHIFT))
#define LP_CHUNK_WORDS (LP_CHUNK_BITS / 64)
#define LP_CHUNK_BYTES (LP_CHUNK_BITS / 8)

extern uint64_t *lp_heapmap[LP_CHUNK_COUNT];

/* Maps the chunk of INDEX. Returns NULL when there is no memory: the heap map is then incomplete.
 */
uint64_t *lp_heapmap_chunk(uintptr_t index);

/* The indexes of all chunks that are mapped, in no order. */
const uint32_t *lp_heapmap_chunks(size_t *count);

static inline void lp_heapmap_set(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	uintptr_t index = address >> LP_CHUNK_SHIFT;
	uint64_t *chunk;
	uint32_t bit = (uint32_t)(address >> LP_GRANULE_SHIFT) & (LP_CHUNK_BITS - 1);

	if (__builtin_expect(index >= LP_CHUNK_COUNT, 0))
		return;
	chunk = __atomic_load_n(&lp_heapmap[index], __ATOMIC_ACQUIRE);
	if (__builtin_expect(!chunk, 0) && !(chunk = lp_heapmap_chunk(index)))
		return;
	if (__libc_single_threaded)
		__asm__("orq %1, %0" : "+m"(chunk[bit / 64]) : "r"(1ull << (bit % 64)) : "cc");
	else
		__asm__("lock orq %1, %0" : "+m"(chunk[bit / 64]) : "r"(1ull << (bit % 64)) : "cc");
}

static inline void lp_heapmap_clear(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	uintptr_t index = address >> LP_CHUNK_SHIFT;
	uint64_t *chunk;
	uint32_t bit = (uint32_t)(address >> LP_GRANULE_SHIFT) & (LP_CHUNK_BITS - 1);

	if (__builtin_expect(index >= LP_CHUNK_COUNT, 0))
		return;
	chunk = __atomic_load_n(&lp_heapmap[index], __ATOMIC_ACQUIRE);
	if (__builtin_expect(!chunk, 0))
		return;
	if (__libc_single_threaded)
		__asm__("andq %1, %0" : "+m"(chunk[bit / 64]) : "r"(~(1ull << (bit % 64))) : "cc");
	else
		__asm__("lock andq %1, %0"
			: "+m"(chunk[bit / 64])
			: "r"(~(1ull << (bit % 64)))
			: "cc");
}

static inline bool lp_heapmap_test(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	uint64_t *chunk;
	uint32_t bit = (uint32_t)(address >> LP_GRANULE_SHIFT) & (LP_CHUNK_BITS - 1);

	if ((address >> LP_CHUNK_SHIFT) >= LP_CHUNK_COUNT || (address & 15))
		return false;
	chunk = lp_heapmap[address >> LP_CHUNK_SHIFT];
	return chunk && chunk[bit / 64] >> (bit % 64) & 1;
}

#endif
