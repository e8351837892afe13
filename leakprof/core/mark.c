/* SPDX-License-Identifier: MIT */
/*
 * See mark.h for the idea, mark_layout.h for how memory is laid out.
 *
 * A block that is marked is scanned together with the others of its page: pages wait in a queue,
 * first in, first out, and while one waits more of its blocks are marked (so do Go 1.26 and later).
 *
 * What there is to look at is mostly not in the cache: words that were found, and blocks that are
 * to be scanned, wait in two short queues while their memory comes (in copies: mark_batch.c).
 *
 * Runs in the snapshot: no malloc, no lock. Changes no layout.
 */
#include <errno.h>
#include <immintrin.h>

#include "core/mark_layout.h"
#include "core/pagemap.h"
#include "core/stream.h"
#include "core/sys.h"

#define SPARSE_BYTES (1u << 20) /* larger ranges are asked for untouched pages first */
#define LINE 64
#define BYTES_AHEAD 1024
#define PAGES_AHEAD 8
#define SORTED_MIN 256

/* --- Marking --- */

void lp_mark_range(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	struct range range = {LP_ALIGN_UP(low, mark->step), high};

	if (range.start + sizeof(uintptr_t) <= range.end)
		lp_vec_push(&mark->work, &range);
}

void lp_mark_roots(struct lp_mark *mark)
{
	size_t i;

	for (i = 0; i < mark->roots.count; i++) {
		const struct range *range = lp_vec_at(&mark->roots, struct range, i);

		mark->figures.root_bytes += range->end - range->start;
		lp_mark_range(mark, range->start, range->end);
	}
}

static void reach_piece(struct lp_mark *mark, struct piece *piece, uintptr_t address)
{
	if (piece->stack != LP_NONE) {
		mark->client.stack(mark->client.context, piece->stack, address);
		return;
	}
	if (piece->marked)
		return;
	piece->marked = true;
	mark->figures.marked_bytes += piece->end - piece->start;
	lp_mark_fire(mark, &piece->watch);
	lp_mark_range(mark, piece->start, piece->end);
}

/* lp_vec_push, inlined for what it mostly does. */
static inline void push_page(struct lp_mark *mark, uint64_t page)
{
	struct lp_vec *found = &mark->found;

	if (LP_LIKELY(found->count < found->capacity))
		((uint64_t *)found->data)[found->count++] = page;
	else
		lp_vec_push(found, &page);
}

static inline void reach_block(struct lp_mark *mark, struct chunk *chunk, uintptr_t block)
{
	uint32_t bit = bit_of(block);
	uint64_t *word = &chunk->marks[bit / 64][MARKED];
	uint64_t mask = 1ull << (bit % 64);
	uint32_t page = bit / PAGE_BITS;

	if (chunk->watched && test_and_clear(chunk->watched, block))
		lp_mark_fire_block(mark, block);
	if (*word & mask)
		return;
	*word |= mask;
	if (chunk->queued[page / 64] >> (page % 64) & 1)
		return;
	chunk->queued[page / 64] |= 1ull << (page % 64);
	push_page(mark, block >> PAGE_SHIFT);
}

void lp_mark_opaque(struct lp_mark *mark, uintptr_t address)
{
	size_t size;
	uintptr_t block = lp_mark_block(mark, address, &size);
	uint32_t bit = bit_of(block);
	uint64_t *marks;

	if (!block)
		return;
	marks = mark->chunks[block >> LP_CHUNK_SHIFT]->marks[bit / 64];
	marks[MARKED] |= 1ull << (bit % 64);
	marks[SCANNED] |= 1ull << (bit % 64);
}

static bool starts_at(const struct chunk *chunk, uintptr_t address)
{
	uint32_t bit = bit_of(address);

	return chunk->bits && address % (1u << LP_GRANULE_SHIFT) == 0 &&
	       chunk->bits[bit / 64] >> (bit % 64) & 1;
}

void lp_mark_word(struct lp_mark *mark, uintptr_t word)
{
	struct chunk *chunk;
	struct piece *piece;
	uintptr_t block;
	size_t size;

	word &= mark->mask;
	if (word - mark->low >= mark->span)
		return;
	chunk = mark->chunks[word >> LP_CHUNK_SHIFT];
	if (!chunk)
		return;
	piece = chunk->has_pieces ? lp_mark_piece(mark, word) : NULL;
	if (piece) {
		reach_piece(mark, piece, word);
		return;
	}
	/* Most pointers lead to the start of a block, whose size need not be known here. */
	if (starts_at(chunk, word)) {
		reach_block(mark, chunk, word);
		return;
	}
	block = lp_mark_block(mark, word, &size);
	if (block)
		reach_block(mark, mark->chunks[block >> LP_CHUNK_SHIFT], block);
}

static uintptr_t next_word(struct lp_mark *mark)
{
	uintptr_t word = mark->words[mark->first_word];

	mark->first_word = (mark->first_word + 1) % WORDS_AHEAD;
	mark->word_count--;
	return word;
}

/* Marks WORD after some others, when what there is to look at has come into the cache. */
static void mark_soon(struct lp_mark *mark, uintptr_t word)
{
	const struct chunk *chunk = mark->chunks[word >> LP_CHUNK_SHIFT];
	uint32_t bit = bit_of(word);

	if (!chunk)
		return;
	if (chunk->bits) {
		__builtin_prefetch(&chunk->bits[bit / 64]);
		__builtin_prefetch(&chunk->marks[bit / 64], 1);
	}
	/* Where there is little else to do meanwhile (a list), the block too. */
	if (!mark->word_count)
		__builtin_prefetch((const char *)word);
	if (mark->word_count == WORDS_AHEAD)
		lp_mark_word(mark, next_word(mark));
	mark->words[(mark->first_word + mark->word_count++) % WORDS_AHEAD] = word;
}

void lp_mark_pending(struct lp_mark *mark)
{
	while (mark->word_count)
		lp_mark_word(mark, next_word(mark));
}

/* --- Scanning --- */

static inline void look_at(struct lp_mark *mark, uintptr_t at)
{
	uintptr_t word = *(const uintptr_t *)at & mark->mask;

	if (LP_UNLIKELY(word - mark->low < mark->span))
		mark_soon(mark, word);
}

static void scan_words(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	uintptr_t at;

	for (at = low; at + sizeof(uintptr_t) <= high; at += mark->step)
		look_at(mark, at);
}

/* Likewise, a line of the cache at a time. Vectors compare with sign: what is compared is shifted
 * by half the range. */
__attribute__((target("avx2"))) static void scan_lines(struct lp_mark *mark, uintptr_t low,
						       uintptr_t high)
{
	const long long half = (long long)1 << 63;
	const __m256i mask = _mm256_set1_epi64x((long long)mark->mask);
	const __m256i first = _mm256_set1_epi64x((long long)mark->low ^ half);
	const __m256i span = _mm256_set1_epi64x((long long)mark->span ^ half);
	uintptr_t at;

	for (at = low; at + LINE <= high; at += LINE) {
		const __m256i *words = (const __m256i *)at;
		__m256i left = _mm256_and_si256(_mm256_loadu_si256(&words[0]), mask);
		__m256i right = _mm256_and_si256(_mm256_loadu_si256(&words[1]), mask);
		unsigned found;

		left = _mm256_cmpgt_epi64(span, _mm256_sub_epi64(left, first));
		right = _mm256_cmpgt_epi64(span, _mm256_sub_epi64(right, first));
		__builtin_prefetch((const char *)at + BYTES_AHEAD);
		found = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(left)) |
			(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(right)) << 4;
		for (; LP_UNLIKELY(found); found &= found - 1)
			look_at(mark, at + (unsigned)__builtin_ctz(found) * sizeof(uintptr_t));
	}
	scan_words(mark, at, high);
}

void lp_mark_scan(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	mark->figures.bytes_scanned += high - low;
	if (LP_LIKELY(mark->vectors))
		scan_lines(mark, low, high);
	else
		scan_words(mark, low, high);
}

/* Scans a range of many pages, by copies of as many as can be had at once. */
static void scan_large(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	struct lp_fetch *fetch = mark->batch ? &mark->batch->fetch : NULL;

	while (fetch && high - low > LARGE_PAGES * LP_PAGE) {
		uintptr_t end = LP_ALIGN_DOWN(low, LP_PAGE) + fetch->room * LP_PAGE;
		uintptr_t start = LP_ALIGN_DOWN(low, sizeof(uintptr_t));
		struct iovec part = {(void *)start, 0};
		uintptr_t shift = (uintptr_t)fetch->buffer - start;

		if (end > high)
			end = high;
		part.iov_len = end - start;
		if (!lp_fetch_copy(fetch, &part, 1, part.iov_len))
			shift = 0;
		lp_mark_scan(mark, low + shift, end + shift);
		if (end == high)
			return;
		low = next_part(mark, end);
	}
	lp_mark_scan(mark, low, high);
}

/* Scans the pages of a large range that were ever touched; the others are zero. */
static void scan_sparse(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	bool touched[LP_PAGEMAP_MAX];
	uintptr_t page = LP_ALIGN_DOWN(low, LP_PAGE);
	uintptr_t start = 0; /* of the touched pages before PAGE */

	while (page < high) {
		size_t pages = (LP_ALIGN_UP(high, LP_PAGE) - page) / LP_PAGE;
		size_t i;

		if (pages > LP_PAGEMAP_MAX)
			pages = LP_PAGEMAP_MAX;
		lp_pagemap_touched(mark->pagemap, page, pages, touched);
		for (i = 0; i < pages; i++, page += LP_PAGE) {
			if (touched[i] && !start)
				start = page < low ? low : page;
			if (touched[i] || !start)
				continue;
			/* A word may lie across here too. */
			scan_large(mark, start, page + sizeof(uintptr_t) - mark->step);
			start = 0;
		}
	}
	if (start)
		scan_large(mark, start, high);
}

void lp_mark_scan_range(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	if (high - low >= SPARSE_BYTES && mark->pagemap >= 0)
		scan_sparse(mark, low, high);
	else
		scan_large(mark, low, high);
}

/* --- Pages with blocks to scan --- */

/* Puts those that are queued into PAGES, in the order of their addresses. */
static void sort_pages(struct lp_mark *mark)
{
	size_t chunk;
	size_t i;

	mark->pages.count = 0;
	for (chunk = 0; chunk < mark->heap.count; chunk++) {
		uint64_t index = *lp_vec_at(&mark->heap, uint64_t, chunk);
		const uint64_t *queued = mark->chunks[index]->queued;

		for (i = 0; i < CHUNK_PAGES / 64; i++) {
			uint64_t word;

			for (word = queued[i]; word; word &= word - 1) {
				uint64_t page = index * CHUNK_PAGES + i * 64 +
						(uint64_t)__builtin_ctzll(word);

				*lp_vec_at(&mark->pages, uint64_t, mark->pages.count++) = page;
			}
		}
	}
}

/* The pages that were found while those before were scanned. */
static void turn(struct lp_mark *mark)
{
	struct lp_vec emptied = mark->pages;

	mark->pages = mark->found;
	mark->found = emptied;
	mark->found.count = 0;
	mark->taken = 0;
	if (mark->pages.count >= SORTED_MIN)
		sort_pages(mark);
}

bool lp_mark_take_page(struct lp_mark *mark, struct visit *visit)
{
	struct chunk *chunk;
	uint64_t page;
	unsigned i;

	if (mark->taken == mark->pages.count)
		turn(mark);
	if (!mark->pages.count)
		return false;
	if (mark->taken + PAGES_AHEAD < mark->pages.count) {
		page = *lp_vec_at(&mark->pages, uint64_t, mark->taken + PAGES_AHEAD);
		chunk = mark->chunks[page / CHUNK_PAGES];
		__builtin_prefetch(&chunk->marks[page % CHUNK_PAGES * PAGE_WORDS], 1);
	}
	page = *lp_vec_at(&mark->pages, uint64_t, mark->taken++);
	chunk = mark->chunks[page / CHUNK_PAGES];
	chunk->queued[page % CHUNK_PAGES / 64] &= ~(1ull << (page % 64));
	visit->address = page << PAGE_SHIFT;
	visit->word = 0;
	for (i = 0; i < PAGE_WORDS; i++) {
		uint64_t *marks = chunk->marks[page % CHUNK_PAGES * PAGE_WORDS + i];

		visit->pending[i] = marks[MARKED] & ~marks[SCANNED];
		marks[SCANNED] |= visit->pending[i];
	}
	return true;
}

/* --- In place --- */

static inline void know_size(struct lp_mark *mark, struct range *range)
{
	size_t size;

	if (range->end)
		return;
	size = size_of(mark, range->start);
	range->end = range->start + size;
	count_block(mark, size);
}

/* What is to be scanned after all that was handed out before, END 0: a block. */
static struct range next_handed_out(struct lp_mark *mark)
{
	struct range range = {0, 0};

	if (mark->work.count)
		return *lp_vec_at(&mark->work, struct range, --mark->work.count);
	do
		range.start = next_of(&mark->visit);
	while (!range.start && lp_mark_take_page(mark, &mark->visit));
	return range;
}

/* Takes what is to be scanned soon: first its header and its start come into the cache, and when
 * the header is there, more of it. */
static void look_ahead(struct lp_mark *mark)
{
	struct range next;

	while (mark->block_count < BLOCKS_AHEAD && (next = next_handed_out(mark)).start) {
		__builtin_prefetch((const char *)next.start - 1);
		__builtin_prefetch((const char *)next.start);
		__builtin_prefetch((const char *)next.start + LINE);
		mark->blocks[(mark->first_block + mark->block_count++) % BLOCKS_AHEAD] = next;
	}
	if (mark->block_count > BLOCKS_AHEAD / 2) {
		struct range *range =
			&mark->blocks[(mark->first_block + BLOCKS_AHEAD / 2) % BLOCKS_AHEAD];
		uintptr_t at = range->start + 2 * LINE;

		know_size(mark, range);
		for (; at < range->end && at < range->start + BYTES_AHEAD; at += LINE)
			__builtin_prefetch((const char *)at);
	}
}

/* The next range to scan, START 0: there is none. */
static struct range next_range(struct lp_mark *mark)
{
	struct range range = {0, 0};

	look_ahead(mark);
	if (!mark->block_count && mark->word_count) {
		lp_mark_pending(mark);
		look_ahead(mark);
	}
	if (!mark->block_count)
		return range;
	range = mark->blocks[mark->first_block];
	mark->first_block = (mark->first_block + 1) % BLOCKS_AHEAD;
	mark->block_count--;
	know_size(mark, &range);
	return range;
}

static void run_in_place(struct lp_mark *mark)
{
	struct range range;

	while ((range = next_range(mark)).start)
		lp_mark_scan_range(mark, range.start, range.end);
}

/* --- The whole --- */

int lp_mark_run(struct lp_mark *mark)
{
	if (mark->batch)
		lp_mark_batch_run(mark);
	else
		run_in_place(mark);
	return lp_vec_failed() ? -ENOMEM : 0;
}

const struct lp_mark_figures *lp_mark_figures(const struct lp_mark *mark)
{
	return &mark->figures;
}

void lp_mark_stack_reached(struct lp_mark *mark, uintptr_t address)
{
	struct piece *piece = lp_mark_piece(mark, address);

	if (piece)
		lp_mark_fire(mark, &piece->watch);
}
