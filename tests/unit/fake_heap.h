/* SPDX-License-Identifier: MIT */
/*
 * A heap for tests of the marker: blocks in a mapping of the test's own, whose sizes only the test
 * knows.
 */
#ifndef FAKE_HEAP_H
#define FAKE_HEAP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "core/heapmap.h"
#include "core/mark.h"

/* Where heaps go: 64 MiB before the end of a heap map chunk, so that a block can lie across two. */
#define HEAP_BYTES (128ul << 20)

struct fake_block {
	uintptr_t start;
	size_t size;
};

static struct fake_block fake_blocks[1 << 18];
static size_t fake_count;
static char *fake_heap;
static size_t fake_used;

static inline size_t fake_usable(void *block)
{
	size_t low = 0;
	size_t high = fake_count;

	/* Blocks are made in address order. */
	while (low + 1 < high) {
		size_t middle = (low + high) / 2;

		if (fake_blocks[middle].start <= (uintptr_t)block)
			low = middle;
		else
			high = middle;
	}
	assert_int_equal(fake_blocks[low].start, (uintptr_t)block);
	return fake_blocks[low].size;
}

static inline void *fake_malloc(size_t size)
{
	char *block = fake_heap + fake_used;

	fake_used += (size + 31) / 16 * 16;
	assert_true(fake_used <= HEAP_BYTES);
	fake_blocks[fake_count++] = (struct fake_block){(uintptr_t)block, size};
	lp_heapmap_set(block);
	return block;
}

static inline int fake_setup(void **state)
{
	size_t i;

	(void)state;
	if (!fake_heap) {
		uintptr_t address =
			(uintptr_t)mmap(NULL, HEAP_BYTES + (64ul << 20), PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		/* Chunk-aligned: the border between two is in the middle. */
		fake_heap = (char *)((address + (64ul << 20) - 1) & ~((64ul << 20) - 1));
	}
	for (i = 0; i < fake_count; i++)
		lp_heapmap_clear((void *)fake_blocks[i].start);
	madvise(fake_heap, HEAP_BYTES, MADV_DONTNEED);
	fake_count = 0;
	fake_used = 0;
	return 0;
}

#endif
