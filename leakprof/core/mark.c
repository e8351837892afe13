/* SPDX-License-Identifier: MIT */
/*
 * See mark.h for the idea.
 *
 * Finding the block that a word points into is the hot path. The address space is cut into the heap
 * map's chunks of 64 MiB; each chunk that holds anything has a struct chunk:
 *
 *     bits     the heap map's: 1 = a block starts in these 16 bytes
 *     level1   1 = that word of bits is not zero     (1 bit per KiB)
 *     level2   1 = that word of level1 is not zero   (1 bit per 64 KiB)
 *     carry    the block that reaches into this chunk from below
 *     marks    1 = the block that starts here is marked
 *     watched  1 = somebody watches that block
 *     pages    1 = a pool or stack is in that page
 *
 * The start at or before an address is the highest bit at or before it: at most three words are
 * looked at, whatever the block's size.
 */
#include <errno.h>
#include <string.h>

#include "core/heapmap.h"
#include "core/mark.h"
#include "core/own.h"
#include "core/stream.h"
#include "core/sys.h"

#define PAGE_SHIFT 12
#define CHUNK_PAGES (1u << (LP_CHUNK_SHIFT - PAGE_SHIFT))
#define SPARSE_BYTES (1u << 20) /* larger ranges are asked for untouched pages first */
#define WORDS_AHEAD 32		/* a power of two */
#define BLOCKS_AHEAD 16		/* likewise */
#define LINE 64
#define BYTES_AHEAD 1024
#define HEADERS_CHECKED 64

struct chunk {
	const uint64_t *bits; /* NULL: no block starts here */
	uint64_t *marks;
	uint64_t *watched; /* NULL: nothing */
	uintptr_t carry;
	bool has_pieces;
	uint64_t level2[LP_CHUNK_WORDS / 64 / 64];
	uint64_t level1[LP_CHUNK_WORDS / 64];
	uint64_t pages[CHUNK_PAGES / 64];
};

/* A pool or a stack. START is first: lp_vec_floor works on it. */
struct piece {
	uint64_t start;
	uint64_t end;
	uint32_t stack; /* number, or LP_NONE for a pool */
	uint32_t watch; /* first of its watches: index + 1 */
	bool marked;
};

/* Of memory to scan: END 0 is the block at START, whose size nobody has looked up yet. */
struct range {
	uint64_t start;
	uint64_t end;
};

/* One watch, in a list of those on the same thing. */
struct watch {
	uint32_t number;
	uint32_t next; /* index + 1 */
};

/* From a watched block to its watches: open addressing, BLOCK 0 is empty. */
struct watch_slot {
	uintptr_t block;
	uint32_t watch; /* index + 1 */
};

struct lp_mark {
	size_t (*usable)(void *);
	bool headers; /* block sizes are in glibc's headers */
	uintptr_t mask;
	unsigned step;
	struct lp_mark_client client;
	struct chunk **chunks; /* LP_CHUNK_COUNT */
	uintptr_t low;	       /* of all chunks that exist */
	uintptr_t span;
	struct lp_vec pools;	  /* struct range, until lp_mark_ready */
	struct lp_vec stacks;	  /* struct piece, until lp_mark_ready */
	struct lp_vec pieces;	  /* struct piece */
	struct piece *last_piece; /* found last; NULL: none */
	struct lp_vec roots;	  /* struct range */
	struct lp_vec arenas;	  /* struct range */
	struct lp_vec watches;
	struct watch_slot *slots;
	size_t slot_count;
	size_t slots_used;
	struct lp_vec work;	      /* struct range */
	uintptr_t words[WORDS_AHEAD]; /* found, and on their way into the cache */
	unsigned first_word;
	unsigned word_count;
	struct range blocks[BLOCKS_AHEAD]; /* likewise, out of WORK */
	unsigned first_block;
	unsigned block_count;
	int pagemap;
	struct lp_mark_figures figures;
};

struct lp_mark *lp_mark_new(size_t (*usable)(void *), uintptr_t pointer_mask, unsigned step)
{
	struct lp_mark *mark = lp_own_map(sizeof(*mark));

	if (!mark)
		return NULL;
	mark->usable = usable;
	mark->mask = pointer_mask;
	mark->step = step;
	mark->chunks = lp_own_map(LP_CHUNK_COUNT * sizeof(*mark->chunks));
	mark->pools = LP_VEC(struct range);
	mark->stacks = LP_VEC(struct piece);
	mark->pieces = LP_VEC(struct piece);
	mark->roots = LP_VEC(struct range);
	mark->arenas = LP_VEC(struct range);
	mark->watches = LP_VEC(struct watch);
	mark->work = LP_VEC(struct range);
	mark->pagemap = lp_sys_open("/proc/self/pagemap", O_RDONLY, 0);
	return mark->chunks ? mark : NULL;
}

void lp_mark_trust_headers(struct lp_mark *mark)
{
	mark->headers = true;
}

/* glibc's malloc_usable_size, for a block that is known to be in use: the word before it is its
 * size with flags, of which 2 says that it is a mapping of its own. */
static size_t size_in_header(uintptr_t block)
{
	size_t header = *(const size_t *)(block - sizeof(size_t));

	return (header & ~(size_t)7) - (header & 2 ? 2 : 1) * sizeof(size_t);
}

static size_t size_of(const struct lp_mark *mark, uintptr_t block)
{
	return mark->headers ? size_in_header(block) : mark->usable((void *)block);
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

/* --- Layout: chunks --- */

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

/* Where ADDRESS is in the bitmaps of its chunk. */
static uint32_t bit_of(uintptr_t address)
{
	return (uint32_t)(address >> LP_GRANULE_SHIFT) & (LP_CHUNK_BITS - 1);
}

static uintptr_t block_of_bit(uintptr_t index, uint32_t bit)
{
	return (index << LP_CHUNK_SHIFT) + ((uintptr_t)bit << LP_GRANULE_SHIFT);
}

/* Tells the chunks that the last block of chunk INDEX reaches into where it starts. */
static void carry_over(struct lp_mark *mark, uintptr_t index, uintptr_t block)
{
	uintptr_t last = block + size_of(mark, block) - 1;
	uintptr_t next;

	for (next = index + 1; next <= last >> LP_CHUNK_SHIFT; next++) {
		struct chunk *chunk = chunk_at(mark, next);

		if (chunk)
			chunk->carry = block;
	}
}

/* Not trusted where the allocator keeps something of its own between (malloc_debug). */
static void check_headers(struct lp_mark *mark, uintptr_t index, const uint64_t *bits)
{
	unsigned checked = 0;
	uint32_t i;

	for (i = 0; i < LP_CHUNK_WORDS && mark->headers && checked < HEADERS_CHECKED; i++) {
		uintptr_t block;

		if (!bits[i])
			continue;
		block = block_of_bit(index, i * 64 + (uint32_t)__builtin_ctzll(bits[i]));
		mark->headers = size_in_header(block) == mark->usable((void *)block);
		checked++;
	}
}

static bool index_chunk(struct lp_mark *mark, uintptr_t index)
{
	struct chunk *chunk = chunk_at(mark, index);
	const uint64_t *bits = lp_heapmap[index];
	uint32_t last = LP_NONE;
	uint32_t i;

	if (!chunk)
		return false;
	for (i = 0; i < LP_CHUNK_WORDS; i++) {
		if (!bits[i])
			continue;
		chunk->level1[i / 64] |= 1ull << (i % 64);
		chunk->level2[i / 64 / 64] |= 1ull << (i / 64 % 64);
		mark->figures.objects += (uint64_t)__builtin_popcountll(bits[i]);
		last = i;
	}
	if (last == LP_NONE)
		return true;
	check_headers(mark, index, bits);
	chunk->bits = bits;
	chunk->marks = lp_own_map(LP_CHUNK_BYTES);
	if (!chunk->marks)
		return false;
	carry_over(mark, index,
		   block_of_bit(index, last * 64 + 63 - (uint32_t)__builtin_clzll(bits[last])));
	return true;
}

static bool index_heap(struct lp_mark *mark)
{
	size_t count;
	const uint32_t *chunks = lp_heapmap_chunks(&count);

	while (mark->usable && count-- > 0)
		if (lp_heapmap[chunks[count]] && !index_chunk(mark, chunks[count]))
			return false;
	return true;
}

/* --- Layout: pieces --- */

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

int lp_mark_ready(struct lp_mark *mark, const struct lp_mark_client *client)
{
	mark->client = *client;
	if (!index_heap(mark) || !index_pieces(mark))
		return -ENOMEM;
	cut_roots(mark);
	lp_vec_sort(&mark->roots);
	lp_vec_sort(&mark->arenas);
	return lp_vec_failed() ? -ENOMEM : 0;
}

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

static void know_size(struct lp_mark *mark, struct range *range)
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
