/* SPDX-License-Identifier: MIT */
/*
 * The layout that marking works on (mark_layout.h), made once: the heap map's chunks are indexed,
 * so that a block is found in few steps; pools and stacks become pieces that do not overlap; roots
 * lose what is a stack.
 *
 * Runs in the snapshot: no malloc, no lock. Nothing is marked here, and after lp_mark_ready nothing
 * here changes any more.
 */
#include <errno.h>
#include <string.h>

#include "core/mark_layout.h"
#include "core/own.h"
#include "core/pagemap.h"
#include "core/stream.h"
#include "core/sys.h"

#define HEADERS_CHECKED 64
#define MARKS_SIZE sizeof(*((struct chunk *)0)->marks)
#define MARKS_PAGE (LP_PAGE / MARKS_SIZE) /* words of bits that a page of marks is for */
#define DENSE 4				  /* a heap that uses one in so many pages of marks */

struct lp_mark *lp_mark_new(size_t (*usable)(void *), uintptr_t pointer_mask, unsigned step)
{
	struct lp_mark *mark = lp_own_map(sizeof(*mark));

	if (!mark)
		return NULL;
	mark->usable = usable;
	mark->mask = pointer_mask;
	mark->step = step;
	mark->vectors = step == sizeof(uintptr_t) && __builtin_cpu_supports("avx2");
	mark->chunks = lp_own_map(LP_CHUNK_COUNT * sizeof(*mark->chunks));
	mark->pools = LP_VEC(struct range);
	mark->stacks = LP_VEC(struct piece);
	mark->pieces = LP_VEC(struct piece);
	mark->roots = LP_VEC(struct range);
	mark->arenas = LP_VEC(struct range);
	mark->watches = LP_VEC(struct watch);
	mark->work = LP_VEC(struct range);
	mark->heap = LP_VEC(uint64_t);
	mark->pages = LP_VEC(uint64_t);
	mark->found = LP_VEC(uint64_t);
	mark->visit.word = PAGE_WORDS;
	mark->pagemap = lp_pagemap_open();
	return mark->chunks ? mark : NULL;
}

void lp_mark_trust_headers(struct lp_mark *mark)
{
	mark->headers = true;
}

static void add_range(struct lp_vec *vec, uintptr_t low, uintptr_t high)
{
	struct range range = {low, high};

	if (low < high)
		lp_vec_push(vec, &range);
}

void lp_mark_pool(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	add_range(&mark->pools, low, high);
}

void lp_mark_root(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	add_range(&mark->roots, low, high);
}

void lp_mark_arena(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	add_range(&mark->arenas, low, high);
}

void lp_mark_stack(struct lp_mark *mark, uintptr_t low, uintptr_t high, uint32_t number)
{
	struct piece piece = {.start = low, .end = high, .stack = number};

	if (low < high)
		lp_vec_push(&mark->stacks, &piece);
}

/* --- Chunks --- */

static struct chunk *chunk_at(struct lp_mark *mark, uintptr_t index)
{
	if (index >= LP_CHUNK_COUNT)
		return NULL;
	if (mark->chunks[index])
		return mark->chunks[index];
	if (!mark->span || index << LP_CHUNK_SHIFT < mark->low) {
		mark->span +=
			mark->span ? mark->low - (index << LP_CHUNK_SHIFT) : 1ul << LP_CHUNK_SHIFT;
		mark->low = index << LP_CHUNK_SHIFT;
	}
	if ((index + 1) << LP_CHUNK_SHIFT > mark->low + mark->span)
		mark->span = ((index + 1) << LP_CHUNK_SHIFT) - mark->low;
	mark->chunks[index] = lp_own_map(sizeof(struct chunk));
	return mark->chunks[index];
}

/* Tells the chunks that the last block of chunk INDEX reaches into where it starts. */
static bool carry_over(struct lp_mark *mark, uintptr_t index, uintptr_t block)
{
	uintptr_t last = block + size_of(mark, block) - 1;
	uintptr_t next;

	for (next = index + 1; next <= last >> LP_CHUNK_SHIFT; next++) {
		struct chunk *chunk = chunk_at(mark, next);

		if (!chunk)
			return false;
		chunk->carry = block;
	}
	return true;
}

/* Not trusted where the allocator keeps something of its own between (malloc_debug). */
static void check_headers(struct lp_mark *mark, const struct chunk *chunk, uintptr_t index)
{
	unsigned checked = 0;
	uint32_t i;

	for (i = 0; i < LP_CHUNK_WORDS && mark->headers && checked < HEADERS_CHECKED; i++) {
		uintptr_t block;

		if (!(chunk->level1[i / 64] >> (i % 64) & 1))
			continue;
		block = block_of_bit(index, i * 64 + (uint32_t)__builtin_ctzll(chunk->bits[i]));
		mark->headers = size_in_header(block) == mark->usable((void *)block);
		checked++;
	}
}

/* Adds to *USED how many pages of its marks will be used. */
static bool index_chunk(struct lp_mark *mark, uintptr_t index, size_t *used)
{
	bool touched[LP_CHUNK_BYTES / LP_PAGE];
	struct chunk *chunk = chunk_at(mark, index);
	const uint64_t *bits = lp_heapmap[index];
	uint32_t last = LP_NONE;
	uint32_t i;

	if (!chunk)
		return false;
	lp_pagemap_touched(mark->pagemap, (uintptr_t)bits, LP_ARRAY_SIZE(touched), touched);
	for (i = 0; i < LP_CHUNK_WORDS; i++) {
		if (!touched[i / (LP_PAGE / sizeof(*bits))]) {
			i += LP_PAGE / sizeof(*bits) - 1;
			continue;
		}
		if (!bits[i])
			continue;
		chunk->level1[i / 64] |= 1ull << (i % 64);
		chunk->level2[i / 64 / 64] |= 1ull << (i / 64 % 64);
		mark->figures.objects += (uint64_t)__builtin_popcountll(bits[i]);
		if (last == LP_NONE || i / MARKS_PAGE != last / MARKS_PAGE)
			++*used;
		last = i;
	}
	if (last == LP_NONE)
		return true;
	chunk->bits = bits;
	check_headers(mark, chunk, index);
	return carry_over(mark, index, block_of_bit(index, last * 64 + highest(bits[last])));
}

/* Marks for all chunks. Where they will be used all over: in huge pages, as a fault for each small
 * one takes longer than to mark what is in it. */
static bool map_marks(struct lp_mark *mark, size_t used)
{
	const size_t bytes = LP_CHUNK_WORDS * MARKS_SIZE;
	size_t count;
	const uint32_t *chunks = lp_heapmap_chunks(&count);
	char *marks = lp_own_map(count * bytes);

	if (!marks)
		return false;
	if (used >= count * bytes / LP_PAGE / DENSE)
		LP_SYS3(SYS_madvise, marks, count * bytes, MADV_HUGEPAGE);
	while (count-- > 0) {
		uint64_t index = chunks[count];
		struct chunk *chunk = mark->chunks[index];

		if (!chunk || !chunk->bits)
			continue;
		chunk->marks = (void *)(marks + count * bytes);
		lp_vec_push(&mark->heap, &index);
	}
	lp_vec_sort(&mark->heap);
	return true;
}

static bool index_heap(struct lp_mark *mark)
{
	size_t count;
	size_t used = 0;
	const uint32_t *chunks = lp_heapmap_chunks(&count);

	if (!mark->usable || !count)
		return true;
	while (count-- > 0)
		if (lp_heapmap[chunks[count]] && !index_chunk(mark, chunks[count], &used))
			return false;
	return map_marks(mark, used);
}

/* --- Pieces --- */

/* Cuts the stacks out of the pools. Both are sorted; stacks do not overlap each other. */
static void cut_pool(struct lp_mark *mark, const struct range *pool)
{
	long i = lp_vec_floor(&mark->stacks, pool->start);
	struct piece piece = {.start = pool->start, .stack = LP_NONE};
	size_t next = i < 0 ? 0 : (size_t)i;

	for (; next < mark->stacks.count; next++) {
		const struct piece *stack = lp_vec_at(&mark->stacks, struct piece, next);

		if (stack->start >= pool->end)
			break;
		piece.end = stack->start;
		if (piece.end > piece.start)
			lp_vec_push(&mark->pieces, &piece);
		if (stack->end > piece.start)
			piece.start = stack->end;
	}
	piece.end = pool->end;
	if (piece.end > piece.start)
		lp_vec_push(&mark->pieces, &piece);
}

/* Takes the stacks out of the roots: a stack in a program's variable is a stack. */
static void cut_roots(struct lp_mark *mark)
{
	struct lp_vec whole = mark->roots;
	size_t i;

	if (!mark->stacks.count)
		return;
	mark->roots = LP_VEC(struct range);
	for (i = 0; i < whole.count; i++) {
		struct range root = *lp_vec_at(&whole, struct range, i);
		long floor = lp_vec_floor(&mark->stacks, root.start);
		size_t next = floor < 0 ? 0 : (size_t)floor;

		for (; next < mark->stacks.count; next++) {
			const struct piece *stack = lp_vec_at(&mark->stacks, struct piece, next);

			if (stack->start >= root.end)
				break;
			if (stack->end <= root.start)
				continue;
			add_range(&mark->roots, root.start, stack->start);
			root.start = stack->end;
		}
		add_range(&mark->roots, root.start, root.end);
	}
	lp_vec_free(&whole);
}

static bool index_piece(struct lp_mark *mark, const struct piece *piece)
{
	uintptr_t page;

	for (page = piece->start >> PAGE_SHIFT; page <= (piece->end - 1) >> PAGE_SHIFT; page++) {
		struct chunk *chunk = chunk_at(mark, page / CHUNK_PAGES);

		if (!chunk)
			return false;
		chunk->has_pieces = true;
		if (page % CHUNK_PAGES == 0 && ((page + CHUNK_PAGES) << PAGE_SHIFT) <= piece->end) {
			memset(chunk->pages, 0xff, sizeof(chunk->pages));
			page += CHUNK_PAGES - 1;
			continue;
		}
		chunk->pages[page % CHUNK_PAGES / 64] |= 1ull << (page % 64);
	}
	return true;
}

static bool index_pieces(struct lp_mark *mark)
{
	size_t i;

	lp_vec_sort(&mark->pools);
	lp_vec_sort(&mark->stacks);
	for (i = 0; i < mark->pools.count; i++)
		cut_pool(mark, lp_vec_at(&mark->pools, struct range, i));
	for (i = 0; i < mark->stacks.count; i++)
		lp_vec_push(&mark->pieces, lp_vec_at(&mark->stacks, struct piece, i));
	lp_vec_sort(&mark->pieces);
	for (i = 0; i < mark->pieces.count; i++)
		if (!index_piece(mark, lp_vec_at(&mark->pieces, struct piece, i)))
			return false;
	return true;
}

/* --- The end of the layout --- */

void lp_mark_copies(struct lp_mark *mark, enum lp_copies copies)
{
	mark->copies = copies;
}

int lp_mark_ready(struct lp_mark *mark, const struct lp_mark_client *client)
{
	mark->client = *client;
	if (!index_heap(mark) || !index_pieces(mark))
		return -ENOMEM;
	cut_roots(mark);
	lp_vec_sort(&mark->roots);
	lp_vec_sort(&mark->arenas);
	lp_mark_batch_make(mark);
	return lp_vec_failed() ? -ENOMEM : 0;
}

/* --- Without a layout --- */

void lp_mark_each_block(struct lp_mark *mark, uintptr_t low, uintptr_t high,
			void (*block)(void *context, uintptr_t start, size_t size), void *context)
{
	uintptr_t granule;

	for (granule = low >> LP_GRANULE_SHIFT; granule << LP_GRANULE_SHIFT < high;) {
		const uint64_t *bits = lp_heapmap[granule >> (LP_CHUNK_SHIFT - LP_GRANULE_SHIFT)];
		uint32_t bit = (uint32_t)granule & (LP_CHUNK_BITS - 1);
		uint64_t word;

		if (!bits) {
			granule = (granule | (LP_CHUNK_BITS - 1)) + 1;
			continue;
		}
		word = bits[bit / 64] >> (bit % 64);
		if (!word) {
			granule = (granule | 63) + 1;
			continue;
		}
		granule += (uintptr_t)__builtin_ctzll(word);
		if (granule << LP_GRANULE_SHIFT < high)
			block(context, granule << LP_GRANULE_SHIFT,
			      mark->usable((void *)(granule << LP_GRANULE_SHIFT)));
		granule++;
	}
}
