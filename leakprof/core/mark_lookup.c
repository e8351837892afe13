/* SPDX-License-Identifier: MIT */
/*
 * What lies at an address, and who watches it.
 *
 * Finding the block that a word points into is on the hot path. The start at or before an address
 * is the highest bit at or before it: at most three words are looked at, whatever the block's size.
 *
 * Runs in the snapshot: no malloc, no lock. Changes no layout.
 */
#include "core/mark_layout.h"
#include "core/own.h"
#include "core/stream.h"

/* --- Looking up --- */

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

struct piece *lp_mark_piece(struct lp_mark *mark, uintptr_t address)
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
	piece = lp_mark_piece(mark, address);
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

void lp_mark_fire(struct lp_mark *mark, uint32_t *list)
{
	uint32_t i = *list;

	*list = 0;
	while (i) {
		struct watch watch = *lp_vec_at(&mark->watches, struct watch, i - 1);

		mark->client.reached(mark->client.context, watch.number);
		i = watch.next;
	}
}

void lp_mark_fire_block(struct lp_mark *mark, uintptr_t block)
{
	lp_mark_fire(mark, &slot_of(mark, block)->watch);
}
