/* SPDX-License-Identifier: MIT */
/*
 * Marking where the first touch of a page is dear (fetch.c): what is to be scanned, blocks by the
 * pages that they lie in and short ranges, is put together, copied at once, and scanned in the
 * copy. A few pieces alone are not worth the system calls, nor is a page that was copied often:
 * these are read in place.
 *
 * Runs in the snapshot: no malloc, no lock. Changes no layout.
 */
#include "core/mark_layout.h"
#include "core/own.h"
#include "core/sys.h"

#define COPIED_MIN 6  /* pieces */
#define PIECE_PAGES 3 /* so many hold a block of 8 KiB with its header */
#define COPIES_MAX 16 /* of one page */
#define SAMPLE_WORDS (LP_CHUNK_WORDS >> (LP_CHUNK_SHIFT - 21)) /* of bits: 2 MiB */
#define SAMPLES_MIN 4

/* --- Whether --- */

/* The first block that starts in the WORDS from FIRST on of chunk INDEX, 0: none. */
static uintptr_t first_block(const struct chunk *chunk, uintptr_t index, uint32_t first,
			     uint32_t words)
{
	uint32_t i;

	for (i = first; i < first + words; i++)
		if (chunk->level1[i / 64] >> (i % 64) & 1)
			return block_of_bit(index,
					    i * 64 + (uint32_t)__builtin_ctzll(chunk->bits[i]));
	return 0;
}

/* Blocks in three parts of the 2 MiB that the bits from word FIRST on are about. */
static bool take_sample(const struct chunk *chunk, uintptr_t index, uint32_t first,
			struct lp_fetch_sample *sample)
{
	const uint32_t part = SAMPLE_WORDS / 4;

	sample->first = first_block(chunk, index, first, part);
	sample->second = first_block(chunk, index, first + 2 * part, part);
	sample->third = first_block(chunk, index, first + 3 * part, part);
	return sample->first && sample->second && sample->third;
}

/* Up to LP_FETCH_SAMPLES from all over the heap. */
static size_t take_samples(struct lp_mark *mark, struct lp_fetch_sample *samples)
{
	const uint32_t each = LP_CHUNK_WORDS / SAMPLE_WORDS;
	size_t chunk_count;
	const uint32_t *chunks = lp_heapmap_chunks(&chunk_count);
	size_t step = chunk_count * each / LP_FETCH_SAMPLES + 1;
	size_t count = 0;
	size_t i;

	for (i = 0; i < chunk_count * each && count < LP_FETCH_SAMPLES; i += step) {
		uint32_t index = chunks[i / each];
		const struct chunk *chunk = mark->chunks[index];

		if (chunk && chunk->bits)
			count +=
				take_sample(chunk, index, i % each * SAMPLE_WORDS, &samples[count]);
	}
	return count;
}

void lp_mark_batch_make(struct lp_mark *mark)
{
	struct lp_fetch_sample samples[LP_FETCH_SAMPLES];
	size_t count = mark->copies == LP_COPIES_AUTO ? take_samples(mark, samples) : 0;
	struct batch *batch;

	if (mark->copies == LP_COPIES_NEVER ||
	    (mark->copies == LP_COPIES_AUTO && count < SAMPLES_MIN))
		return;
	batch = lp_own_map(sizeof(*batch));
	if (!batch || lp_fetch_open(&batch->fetch, mark->copies == LP_COPIES_ALWAYS))
		return;
	if (mark->copies == LP_COPIES_AUTO && !lp_fetch_pays(&batch->fetch, samples, count)) {
		lp_fetch_close(&batch->fetch);
		return;
	}
	mark->batch = batch;
}

/* --- What --- */

static void add_item(struct batch *batch, uintptr_t low, uintptr_t high, const struct visit *visit)
{
	struct item *item = &batch->items[batch->count++];
	struct iovec *piece = &batch->pieces[batch->piece_count];
	uintptr_t end = LP_ALIGN_UP(high, sizeof(uintptr_t));

	item->low = LP_ALIGN_DOWN(low, sizeof(uintptr_t));
	item->high = high;
	item->visit = *visit;
	/* Pages are mostly in order, and what is side by side is one piece. */
	if (batch->piece_count && item->low <= batch->high &&
	    item->low >= (uintptr_t)piece[-1].iov_base) {
		piece--;
		item->offset = batch->bytes - (batch->high - item->low);
	} else {
		piece->iov_base = (void *)item->low;
		piece->iov_len = 0;
		batch->piece_count++;
		batch->high = item->low;
		batch->pages++;
		item->offset = batch->bytes;
	}
	if (end <= batch->high)
		return;
	piece->iov_len += end - batch->high;
	batch->bytes += end - batch->high;
	batch->pages += (end - 1) / LP_PAGE - (batch->high - 1) / LP_PAGE;
	batch->high = end;
}

/* Where the first block behind BLOCK starts, if it does so in the page of BLOCK or soon after it;
 * else the end of what is read at once. */
static uintptr_t next_start(const struct chunk *chunk, uintptr_t block)
{
	uint32_t n = bit_of(block);
	uint32_t end = (n / PAGE_BITS + PIECE_PAGES) * PAGE_WORDS;
	uint32_t i = n / 64;
	uint64_t word = chunk->bits[i] & ~1ull << (n % 64);

	if (end > LP_CHUNK_WORDS)
		end = LP_CHUNK_WORDS;
	while (!word && ++i < end)
		word = chunk->bits[i];
	return block_of_bit(block >> LP_CHUNK_SHIFT,
			    i * 64 + (word ? (uint32_t)__builtin_ctzll(word) : 0));
}

/* From the header of the first block of VISIT to the end of the last. */
static void add_visit(struct lp_mark *mark, const struct visit *visit)
{
	struct visit first = *visit;
	uintptr_t low = next_of(&first);
	unsigned last = PAGE_WORDS - 1;
	uintptr_t block;

	if (!low)
		return;
	while (!visit->pending[last])
		last--;
	block = block_in(visit, last * 64 + highest(visit->pending[last]));
	add_item(mark->batch, mark->headers ? low - sizeof(size_t) : low,
		 next_start(mark->chunks[block >> LP_CHUNK_SHIFT], block), visit);
}

/* How often the page of VISIT was copied. */
static uint8_t *copies_of(struct lp_mark *mark, const struct visit *visit)
{
	struct chunk *chunk = mark->chunks[visit->address >> LP_CHUNK_SHIFT];

	return &chunk->copies[(visit->address >> PAGE_SHIFT) % CHUNK_PAGES];
}

/* The blocks of VISIT, read SHIFT bytes from where they are; those that do not end before HIGH were
 * read up to there. SHIFT 0: in place, where nothing ends early. */
static void scan_visit(struct lp_mark *mark, struct visit *visit, uintptr_t high, uintptr_t shift)
{
	uintptr_t block;

	while ((block = next_of(visit))) {
		size_t size =
			mark->headers ? size_in_header(block + shift) : mark->usable((void *)block);
		uintptr_t end = block + size;

		count_block(mark, size);
		if (!shift) {
			lp_mark_scan_range(mark, block, end);
			continue;
		}
		if (end > high) {
			lp_mark_range(mark, next_part(mark, high), end);
			end = high;
		}
		lp_mark_scan(mark, block + shift, end + shift);
	}
}

/* Fills the batch with what there is to scan, and scans what is not to be copied so. */
static void fill(struct lp_mark *mark)
{
	static const struct visit none;
	struct batch *batch = mark->batch;

	batch->count = 0;
	batch->piece_count = 0;
	batch->pages = 0;
	batch->bytes = 0;
	while (batch->pages + LARGE_PAGES < batch->fetch.room && batch->count < LP_FETCH_ROOM) {
		struct visit visit;

		if (mark->work.count) {
			struct range range =
				*lp_vec_at(&mark->work, struct range, --mark->work.count);

			if (range.end - range.start < LARGE_PAGES * LP_PAGE)
				add_item(batch, range.start, range.end, &none);
			else
				lp_mark_scan_range(mark, range.start, range.end);
		} else if (!lp_mark_take_page(mark, &visit)) {
			return;
		} else if (*copies_of(mark, &visit) >= COPIES_MAX) {
			scan_visit(mark, &visit, 0, 0);
		} else {
			add_visit(mark, &visit);
		}
	}
}

static void run_batch(struct lp_mark *mark)
{
	struct batch *batch = mark->batch;
	bool copied = batch->count >= COPIED_MIN &&
		      lp_fetch_copy(&batch->fetch, batch->pieces, batch->piece_count, batch->bytes);
	size_t i;

	for (i = 0; i < batch->count; i++) {
		struct item *item = &batch->items[i];
		uintptr_t shift = 0;

		if (copied)
			shift = (uintptr_t)batch->fetch.buffer + item->offset - item->low;
		if (!item->visit.address) {
			lp_mark_scan(mark, item->low + shift, item->high + shift);
			continue;
		}
		*copies_of(mark, &item->visit) += copied ? 1 : COPIES_MAX;
		scan_visit(mark, &item->visit, item->high, shift);
	}
}

void lp_mark_batch_run(struct lp_mark *mark)
{
	for (;;) {
		fill(mark);
		if (mark->batch->count)
			run_batch(mark);
		else if (mark->word_count)
			lp_mark_pending(mark);
		else
			return;
	}
}
