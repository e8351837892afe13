/* SPDX-License-Identifier: MIT */
/*
 * The mark phase: what memory is reached from what. Conservative: any aligned word may be a
 * pointer, interior pointers count, and an object is scanned whole. One worklist of memory ranges;
 * every object is pushed once.
 *
 * Memory is laid out before marking starts as
 *
 *     heap blocks   known by the heap map; extent from the allocator
 *     pools         other private memory: a pointer into one marks it whole
 *     stacks        of goroutines: never marked by themselves; a word into one is told to the
 * client roots         scanned by the client; what lies in one counts as reached
 *
 * The client (verdict.c) may watch an address: the first time that what contains it is reached, it
 * is told. Runs in the snapshot: no malloc, no lock; reads memory, writes only its own.
 */
#ifndef LP_CORE_MARK_H
#define LP_CORE_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vec.h"

struct lp_mark;

/* Whether what is scanned is copied first (fetch.h). */
enum lp_copies {
	LP_COPIES_NEVER,
	LP_COPIES_AUTO, /* where it is seen to be much faster */
	LP_COPIES_ALWAYS,
};

/* What contains an address. */
enum lp_place {
	LP_PLACE_WATCHED, /* the watch was set */
	LP_PLACE_REACHED, /* a root, or memory that is not understood: counts as reached */
	LP_PLACE_GONE,	  /* freed heap memory: nothing can reach it */
};

struct lp_mark_client {
	/* The thing that WATCH was set on is reached. */
	void (*reached)(void *context, uint32_t watch);
	/* A word ADDRESS points into the stack numbered STACK. */
	void (*stack)(void *context, uint32_t stack, uintptr_t address);
	void *context;
};

struct lp_mark_figures {
	uint64_t bytes_scanned;
	uint64_t root_bytes;
	uint64_t objects;      /* heap blocks seen at layout */
	uint64_t marked;       /* heap blocks marked */
	uint64_t marked_bytes; /* of heap blocks and pools marked */
};

/*
 * Makes a marker. USABLE is the allocator's malloc_usable_size, NULL when the heap is untracked.
 * POINTER_MASK is and'ed to each word. STEP is 8, or 4 for unaligned pointers. NULL when there is
 * no memory.
 */
struct lp_mark *lp_mark_new(size_t (*usable)(void *), uintptr_t pointer_mask, unsigned step);

/* USABLE is glibc's: block sizes may be read from its headers, where these are seen to agree. */
void lp_mark_trust_headers(struct lp_mark *mark);

/* LP_COPIES_NEVER where nothing is said. */
void lp_mark_copies(struct lp_mark *mark, enum lp_copies copies);

/* Layout. Ranges may overlap only stack over pool: the stack wins. */
void lp_mark_pool(struct lp_mark *mark, uintptr_t low, uintptr_t high);
void lp_mark_stack(struct lp_mark *mark, uintptr_t low, uintptr_t high, uint32_t number);
void lp_mark_root(struct lp_mark *mark, uintptr_t low, uintptr_t high);
/* Heap memory of the allocator itself: not an object, not a pool, and what is not in a block there
 * is freed. */
void lp_mark_arena(struct lp_mark *mark, uintptr_t low, uintptr_t high);

/* Ends the layout. Returns 0 or -ENOMEM. */
int lp_mark_ready(struct lp_mark *mark, const struct lp_mark_client *client);

/* The heap block that ADDRESS lies in: its start, and its size in *SIZE. 0: none. Needs
 * lp_mark_ready. */
uintptr_t lp_mark_block(struct lp_mark *mark, uintptr_t address, size_t *size);

/* The heap block at ADDRESS is not to be scanned when it is reached (a control block, a stack). */
void lp_mark_opaque(struct lp_mark *mark, uintptr_t address);

/* Tells the client WATCH (once) when what contains ADDRESS is reached. */
enum lp_place lp_mark_watch(struct lp_mark *mark, uintptr_t address, uint32_t watch);

/* Queues the words of a range, or one word, as reached. */
void lp_mark_range(struct lp_mark *mark, uintptr_t low, uintptr_t high);
void lp_mark_word(struct lp_mark *mark, uintptr_t word);

/* Queues all roots. */
void lp_mark_roots(struct lp_mark *mark);

/* The memory of the stack that ADDRESS lies in is reached: tells those who watch something on it.
 */
void lp_mark_stack_reached(struct lp_mark *mark, uintptr_t address);

/* Works until the queue is empty. Returns 0 or -ENOMEM. */
int lp_mark_run(struct lp_mark *mark);

const struct lp_mark_figures *lp_mark_figures(const struct lp_mark *mark);

/* Calls BLOCK for each heap block that starts in LOW .. HIGH; usable before lp_mark_ready. */
void lp_mark_each_block(struct lp_mark *mark, uintptr_t low, uintptr_t high,
			void (*block)(void *context, uintptr_t start, size_t size), void *context);

#endif
