/* SPDX-License-Identifier: MIT */
/*
 * See mark.h for the idea, mark_layout.h for how memory is laid out.
 *
 * Finding the block that a word points into is the hot path. The start at or before an address is
 * the highest bit at or before it: at most three words are looked at, whatever the block's size.
 *
 * What there is to look at is mostly not in the cache: words that were found, and blocks that are
 * to be scanned, wait in two short queues while their memory comes.
 *
 * Runs in the snapshot: no malloc, no lock. Changes no layout.
 */
#include <errno.h>

#include "core/mark_layout.h"
#include "core/own.h"
#include "core/stream.h"
#include "core/sys.h"

#define SPARSE_BYTES (1u << 20) /* larger ranges are asked for untouched pages first */
#define LINE 64
#define BYTES_AHEAD 1024

/* --- Looking up --- */

static uint32_t highest(uint64_t word)
{
	return 63 - (uint32_t)__builtin_clzll(word);
}

/* The bits of WORD below and at N. */
static uint64_t up_to(uint64_t word, uint32_t n)
{
	return word & (~0ull >> (63 - n));
}

/* The start of the last block that starts at or before ADDRESS, if it may reach there; 0: none. */
static uintptr_t start_before(const struct chunk *chunk, uintptr_t address)
{
	uint32_t bit = bit_of(address);
	uint32_t i = bit / 64;
	uint64_t word;

	if (!chunk->bits)
		return chunk->carry;
	word = up_to(chunk->bits[i], bit % 64);
	if (!word) {
		uint32_t j = i / 64;

		word = i % 64 ? up_to(chunk->level1[j], i % 64 - 1) : 0;
		if (!word) {
			uint32_t k = j / 64;

			word = j % 64 ? up_to(chunk->level2[k], j % 64 - 1) : 0;
			while (!word && k-- > 0)
				word = chunk->level2[k];
			if (!word)
				return chunk->carry;
			j = k * 64 + highest(word);
			word = chunk->level1[j];
		}
		i = j * 64 + highest(word);
		word = chunk->bits[i];
	}
	return block_of_bit(address >> LP_CHUNK_SHIFT, i * 64 + highest(word));
}

uintptr_t lp_mark_block(struct lp_mark *mark, uintptr_t address, size_t *size)
{
	struct chunk *chunk;
	uintptr_t start;

	if (address - mark->low >= mark->span || !mark->usable)
		return 0;
	chunk = mark->chunks[address >> LP_CHUNK_SHIFT];
	if (!chunk)
		return 0;
	start = start_before(chunk, address);
	if (!start)
		return 0;
	*size = size_of(mark, start);
	return address - start < *size ? start : 0;
}

static struct piece *find_piece(struct lp_mark *mark, uintptr_t address)
{
	uintptr_t page = address >> PAGE_SHIFT;
	struct chunk *chunk;
	struct piece *piece;
	long i;

	if (address - mark->low >= mark->span)
		return NULL;
	chunk = mark->chunks[page / CHUNK_PAGES];
	if (!chunk || !chunk->has_pieces ||
	    !(chunk->pages[page % CHUNK_PAGES / 64] >> (page % 64) & 1))
		return NULL;
	/* A stack mostly points into itself. */
	piece = mark->last_piece;
	if (piece && address >= piece->start && address < piece->end)
		return piece;
	i = lp_vec_floor(&mark->pieces, address);
	if (i < 0)
		return NULL;
	piece = lp_vec_at(&mark->pieces, struct piece, i);
	if (address >= piece->end)
		return NULL;
	mark->last_piece = piece;
	return piece;
}

static bool in_ranges(const struct lp_vec *ranges, uintptr_t address)
{
	long i = lp_vec_floor(ranges, address);

	/* Ranges may nest, so that the last start is not always the one that holds the address. */
	for (; i >= 0; i--)
		if (address < lp_vec_at(ranges, struct range, i)->end)
			return true;
	return false;
}

/* Tests and sets the bit of BLOCK in MAP (the marks or the watches of its chunk). */
static bool test_and_set(uint64_t *map, uintptr_t block)
{
	uint32_t bit = bit_of(block);
	uint64_t mask = 1ull << (bit % 64);
	bool was = map[bit / 64] & mask;

	map[bit / 64] |= mask;
	return was;
}

static bool test_and_clear(uint64_t *map, uintptr_t block)
{
	uint32_t bit = bit_of(block);
	uint64_t mask = 1ull << (bit % 64);
	bool was = map[bit / 64] & mask;

	map[bit / 64] &= ~mask;
	return was;
}

void lp_mark_opaque(struct lp_mark *mark, uintptr_t address)
{
	size_t size;
	uintptr_t block = lp_mark_block(mark, address, &size);

	if (block)
		test_and_set(mark->chunks[block >> LP_CHUNK_SHIFT]->marks, block);
}

/* --- Watches --- */

static struct watch_slot *slot_of(struct lp_mark *mark, uintptr_t block)
{
	size_t i = (block >> LP_GRANULE_SHIFT) * 0x9e3779b97f4a7c15ull >> 20;

	for (;; i++) {
		struct watch_slot *slot = &mark->slots[i & (mark->slot_count - 1)];

		if (!slot->block || slot->block == block)
			return slot;
	}
}

static bool grow_slots(struct lp_mark *mark)
{
	size_t count = mark->slot_count;
	struct watch_slot *old = mark->slots;
	size_t i;

	if (2 * (mark->slots_used + 1) <= count)
		return true;
	mark->slot_count = count ? 2 * count : 1024;
	mark->slots = lp_own_map(mark->slot_count * sizeof(*mark->slots));
	if (!mark->slots)
		return false;
	for (i = 0; i < count; i++)
		if (old[i].block)
			*slot_of(mark, old[i].block) = old[i];
	if (old)
		lp_own_unmap(old, count * sizeof(*old));
	return true;
}

static bool add_watch(struct lp_mark *mark, uint32_t *list, uint32_t number)
{
	struct watch watch = {number, *list};

	if (!lp_vec_push(&mark->watches, &watch))
		return false;
	*list = (uint32_t)mark->watches.count;
	return true;
}

static bool watch_block(struct lp_mark *mark, uintptr_t block, uint32_t number)
{
	struct chunk *chunk = mark->chunks[block >> LP_CHUNK_SHIFT];
	struct watch_slot *slot;

	if (!chunk->watched)
		chunk->watched = lp_own_map(LP_CHUNK_BYTES);
	if (!chunk->watched || !grow_slots(mark))
		return false;
	slot = slot_of(mark, block);
	if (!slot->block) {
		slot->block = block;
		mark->slots_used++;
	}
	test_and_set(chunk->watched, block);
	return add_watch(mark, &slot->watch, number);
}

enum lp_place lp_mark_watch(struct lp_mark *mark, uintptr_t address, uint32_t watch)
{
	size_t size;
	uintptr_t block = lp_mark_block(mark, address, &size);
	struct piece *piece;

	/* A stack that came from malloc is a stack, not a block: look for it first. */
	piece = find_piece(mark, address);
	if (piece && piece->stack != LP_NONE)
		return add_watch(mark, &piece->watch, watch) ? LP_PLACE_WATCHED : LP_PLACE_REACHED;
	if (in_ranges(&mark->roots, address))
		return LP_PLACE_REACHED;
	/* A pool before a block, as lp_mark_word looks: otherwise the watch would never fire. */
	if (piece)
		return add_watch(mark, &piece->watch, watch) ? LP_PLACE_WATCHED : LP_PLACE_REACHED;
	if (block)
		return watch_block(mark, block, watch) ? LP_PLACE_WATCHED : LP_PLACE_REACHED;
	return in_ranges(&mark->arenas, address) ? LP_PLACE_GONE : LP_PLACE_REACHED;
}

static void fire(struct lp_mark *mark, uint32_t *list)
{
	uint32_t i = *list;

	*list = 0;
	while (i) {
		struct watch watch = *lp_vec_at(&mark->watches, struct watch, i - 1);

		mark->client.reached(mark->client.context, watch.number);
		i = watch.next;
	}
}

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
	fire(mark, &piece->watch);
	lp_mark_range(mark, piece->start, piece->end);
}

/* lp_vec_push, inlined for what it mostly does. */
static inline void push_work(struct lp_mark *mark, struct range range)
{
	struct lp_vec *work = &mark->work;

	if (LP_LIKELY(work->count < work->capacity))
		((struct range *)work->data)[work->count++] = range;
	else
		lp_vec_push(work, &range);
}

static inline void reach_block(struct lp_mark *mark, struct chunk *chunk, uintptr_t block)
{

	if (chunk->watched && test_and_clear(chunk->watched, block))
		fire(mark, &slot_of(mark, block)->watch);
	if (!test_and_set(chunk->marks, block))
		push_work(mark, (struct range){block, 0});
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
	piece = find_piece(mark, word);
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

/* Those that mark_soon still has. */
static void mark_pending(struct lp_mark *mark)
{
	while (mark->word_count)
		lp_mark_word(mark, next_word(mark));
}

/* AHEAD: a constant, whether to call for the lines that the loop will come to. */
static inline __attribute__((always_inline)) void scan_words(struct lp_mark *mark, uintptr_t low,
							     uintptr_t high, bool ahead)
{
	const uintptr_t mask = mark->mask;
	const uintptr_t first = mark->low;
	const uintptr_t span = mark->span;
	const unsigned step = mark->step;
	uintptr_t at;

	for (at = low; at + sizeof(uintptr_t) <= high; at += step) {
		uintptr_t word = *(const uintptr_t *)at & mask;

		if (ahead && at % LINE == 0)
			__builtin_prefetch((const char *)at + BYTES_AHEAD);
		if (LP_UNLIKELY(word - first < span))
			mark_soon(mark, word);
	}
}

static void scan(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	mark->figures.bytes_scanned += high - low;
	if (high - low > BYTES_AHEAD)
		scan_words(mark, low, high, true);
	else
		scan_words(mark, low, high, false);
}

/* Scans the pages of a large range that were ever touched; the others are zero. */
static void scan_sparse(struct lp_mark *mark, uintptr_t low, uintptr_t high)
{
	uint64_t entries[512];
	uintptr_t page = LP_ALIGN_DOWN(low, LP_PAGE);

	while (page < high) {
		size_t pages = (LP_ALIGN_UP(high, LP_PAGE) - page) / LP_PAGE;
		size_t i;
		long n;

		if (pages > LP_ARRAY_SIZE(entries))
			pages = LP_ARRAY_SIZE(entries);
		n = LP_SYS4(SYS_pread64, mark->pagemap, entries, pages * 8, page / LP_PAGE * 8);
		for (i = 0; i < pages; i++, page += LP_PAGE) {
			/* Bit 63: present, 62: swapped. Without an answer: as if present. */
			if ((long)(i * 8) < n && !(entries[i] >> 62))
				continue;
			scan(mark, page < low ? low : page,
			     page + LP_PAGE > high ? high : page + LP_PAGE);
		}
	}
}

static inline void know_size(struct lp_mark *mark, struct range *range)
{
	size_t size;

	if (range->end)
		return;
	size = size_of(mark, range->start);
	range->end = range->start + size;
	mark->figures.marked++;
	mark->figures.marked_bytes += size;
}

/* Takes from WORK what is to be scanned soon: first its header and its start come into the cache,
 * and when the header is there, more of it. */
static void look_ahead(struct lp_mark *mark)
{
	while (mark->block_count < BLOCKS_AHEAD && mark->work.count) {
		struct range range = *lp_vec_at(&mark->work, struct range, --mark->work.count);

		__builtin_prefetch((const char *)range.start - 1);
		__builtin_prefetch((const char *)range.start);
		__builtin_prefetch((const char *)range.start + LINE);
		mark->blocks[(mark->first_block + mark->block_count++) % BLOCKS_AHEAD] = range;
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

	if (!mark->work.count && !mark->block_count)
		mark_pending(mark);
	look_ahead(mark);
	if (!mark->block_count)
		return range;
	range = mark->blocks[mark->first_block];
	mark->first_block = (mark->first_block + 1) % BLOCKS_AHEAD;
	mark->block_count--;
	know_size(mark, &range);
	return range;
}

int lp_mark_run(struct lp_mark *mark)
{
	struct range range;

	while ((range = next_range(mark)).start) {
		if (range.end - range.start >= SPARSE_BYTES && mark->pagemap >= 0)
			scan_sparse(mark, range.start, range.end);
		else
			scan(mark, range.start, range.end);
	}
	return lp_vec_failed() ? -ENOMEM : 0;
}

const struct lp_mark_figures *lp_mark_figures(const struct lp_mark *mark)
{
	return &mark->figures;
}

void lp_mark_stack_reached(struct lp_mark *mark, uintptr_t address)
{
	struct piece *piece = find_piece(mark, address);

	if (piece)
		fire(mark, &piece->watch);
}
