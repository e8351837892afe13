/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the marker share: memory as mark_layout.c lays it out, as mark_lookup.c looks
 * it up, as mark.c marks it, and as mark_batch.c reads it in copies. The address space is cut into
 * the heap map's chunks of 64 MiB; each chunk that holds anything has a struct chunk:
 *
 *     bits     the heap map's: 1 = a block starts in these 16 bytes
 *     level1   1 = that word of bits is not zero     (1 bit per KiB)
 *     level2   1 = that word of level1 is not zero   (1 bit per 64 KiB)
 *     carry    the block that reaches into this chunk from below
 *     marks    for each word of bits two: 1 = the block that starts here is marked, is scanned (or
 *              handed out for it): those of a page are a line of the cache
 *     watched  1 = somebody watches that block
 *     pages    1 = a pool or stack is in that page
 *     queued   1 = that page waits to be scanned
 *     copies   how often a page was copied to be scanned
 *
 * For the files of the marker only. What is a function here is on the hot path.
 */
#ifndef LP_CORE_MARK_LAYOUT_H
#define LP_CORE_MARK_LAYOUT_H

#include "core/fetch.h"
#include "core/heapmap.h"
#include "core/mark.h"

#define PAGE_SHIFT 12
#define CHUNK_PAGES (1u << (LP_CHUNK_SHIFT - PAGE_SHIFT))
#define PAGE_BITS (1u << (PAGE_SHIFT - LP_GRANULE_SHIFT))
#define PAGE_WORDS (PAGE_BITS / 64)
#define WORDS_AHEAD 32	/* a power of two */
#define LARGE_PAGES 8	/* a range of more is copied by itself */
#define BLOCKS_AHEAD 16 /* likewise */

struct chunk {
	const uint64_t *bits; /* NULL: no block starts here */
	uint64_t (*marks)[2]; /* by enum mark_bit */
	uint64_t *watched;    /* NULL: nothing */
	uintptr_t carry;
	bool has_pieces;
	uint64_t level2[LP_CHUNK_WORDS / 64 / 64];
	uint64_t level1[LP_CHUNK_WORDS / 64];
	uint64_t pages[CHUNK_PAGES / 64];
	uint64_t queued[CHUNK_PAGES / 64];
	uint8_t copies[CHUNK_PAGES];
};

enum mark_bit { MARKED, SCANNED };

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

/* A page with blocks to scan. */
struct visit {
	uintptr_t address; /* 0: none */
	unsigned word;	   /* below it nothing is left of */
	uint64_t pending[PAGE_WORDS];
};

/* A piece of a batch: blocks of a page, or a range. */
struct item {
	uintptr_t low;
	uintptr_t high;
	size_t offset; /* of its copy in the buffer */
	struct visit visit;
};

/* What is copied at once. */
struct batch {
	struct lp_fetch fetch;
	size_t count;
	size_t piece_count;
	size_t pages;
	size_t bytes;
	uintptr_t high; /* of the last piece */
	struct item items[LP_FETCH_ROOM];
	struct iovec pieces[LP_FETCH_ROOM];
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
	bool vectors; /* the processor has AVX2, and words are aligned */
	enum lp_copies copies;
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
	struct lp_vec heap;	      /* uint64_t: indexes of the chunks with blocks, ascending */
	struct lp_vec pages;	      /* uint64_t: numbers of those that wait to be scanned */
	size_t taken;		      /* of PAGES */
	struct lp_vec found;	      /* pages for when all of PAGES are taken */
	struct visit visit;	      /* the one whose blocks are handed out */
	struct batch *batch;	      /* NULL: all is scanned in place */
	uintptr_t words[WORDS_AHEAD]; /* found, and on their way into the cache */
	unsigned first_word;
	unsigned word_count;
	struct range blocks[BLOCKS_AHEAD]; /* to be scanned, likewise */
	unsigned first_block;
	unsigned block_count;
	int pagemap;
	struct lp_mark_figures figures;
};

/* glibc's malloc_usable_size, for a block that is known to be in use: the word before it is its
 * size with flags, of which 2 says that it is a mapping of its own. */
static inline size_t size_in_header(uintptr_t block)
{
	size_t header = *(const size_t *)(block - sizeof(size_t));

	return (header & ~(size_t)7) - (header & 2 ? 2 : 1) * sizeof(size_t);
}

static inline size_t size_of(const struct lp_mark *mark, uintptr_t block)
{
	return mark->headers ? size_in_header(block) : mark->usable((void *)block);
}

/* Where ADDRESS is in the bitmaps of its chunk. */
static inline uint32_t bit_of(uintptr_t address)
{
	return (uint32_t)(address >> LP_GRANULE_SHIFT) & (LP_CHUNK_BITS - 1);
}

static inline uintptr_t block_of_bit(uintptr_t index, uint32_t bit)
{
	return (index << LP_CHUNK_SHIFT) + ((uintptr_t)bit << LP_GRANULE_SHIFT);
}

static inline uint32_t highest(uint64_t word)
{
	return 63 - (uint32_t)__builtin_clzll(word);
}

/* Tests and sets the bit of BLOCK in MAP (the watches of its chunk). */
static inline bool test_and_set(uint64_t *map, uintptr_t block)
{
	uint32_t bit = bit_of(block);
	uint64_t mask = 1ull << (bit % 64);
	bool was = map[bit / 64] & mask;

	map[bit / 64] |= mask;
	return was;
}

static inline bool test_and_clear(uint64_t *map, uintptr_t block)
{
	uint32_t bit = bit_of(block);
	uint64_t mask = 1ull << (bit % 64);
	bool was = map[bit / 64] & mask;

	map[bit / 64] &= ~mask;
	return was;
}

/* The block that bit N of the page of VISIT is about. */
static inline uintptr_t block_in(const struct visit *visit, uint32_t n)
{
	return visit->address + ((uintptr_t)n << LP_GRANULE_SHIFT);
}

/* The next block of VISIT, 0: there is none. */
static inline uintptr_t next_of(struct visit *visit)
{
	for (; visit->word < PAGE_WORDS; visit->word++) {
		uint64_t pending = visit->pending[visit->word];

		if (!pending)
			continue;
		visit->pending[visit->word] = pending & (pending - 1);
		return block_in(visit, visit->word * 64 + (uint32_t)__builtin_ctzll(pending));
	}
	return 0;
}

static inline void count_block(struct lp_mark *mark, size_t size)
{
	mark->figures.marked++;
	mark->figures.marked_bytes += size;
}

/* Where the next part of a range starts that was scanned up to HIGH: a word may lie across. */
static inline uintptr_t next_part(const struct lp_mark *mark, uintptr_t high)
{
	return high - (sizeof(uintptr_t) - mark->step);
}

/* The pool or stack that ADDRESS lies in, NULL: none. */
struct piece *lp_mark_piece(struct lp_mark *mark, uintptr_t address);

/* Tells the client of all watches in LIST, or of those on BLOCK, which is watched. */
void lp_mark_fire(struct lp_mark *mark, uint32_t *list);
void lp_mark_fire_block(struct lp_mark *mark, uintptr_t block);

/* Looks at the words of LOW .. HIGH; the second, of a range of any size, leaves out what was never
 * touched, and reads in copies where there is a batch. */
void lp_mark_scan(struct lp_mark *mark, uintptr_t low, uintptr_t high);
void lp_mark_scan_range(struct lp_mark *mark, uintptr_t low, uintptr_t high);

/* The next page of the queue, in VISIT. False: there is none. */
bool lp_mark_take_page(struct lp_mark *mark, struct visit *visit);

/* Marks the words that were found and wait. */
void lp_mark_pending(struct lp_mark *mark);

/* Makes the batch, where the heap is to be read in copies; lp_mark_run by it. */
void lp_mark_batch_make(struct lp_mark *mark);
void lp_mark_batch_run(struct lp_mark *mark);

#endif
