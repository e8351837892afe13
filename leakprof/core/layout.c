/* SPDX-License-Identifier: MIT */
/*
 * Layout: sorts the target's memory into roots, heap, pools and stacks (mark.h).
 *
 *     writable segments of loaded objects     roots; of runtimes and the shim: nothing
 *     private mappings of other files         roots
 *     shared mappings                         roots; read while the target is stopped, see
 * lp_shared_words native stacks of OS threads             taken out; collect.c knows which part is
 * in use leakprof's own memory                   nothing other private memory heap where the
 * allocator keeps it, else pools
 *
 * What is the allocator's is told without knowing the allocator: the brk heap, glibc's arenas (64
 * MiB aligned, recognised by their head), and any page that a tracked block overlaps. There a word
 * that does not point into a block points at freed memory. Every other page is a pool: a pointer
 * into it makes all of it reachable.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "core/glibc.h"
#include "core/heapmap.h"
#include "core/layout.h"
#include "core/own.h"
#include "core/pagemap.h"
#include "core/sanitizer.h"
#include "core/sys.h"
#include "core/thread.h"

#define ARENA_ALIGN ((uintptr_t)64 << 20)
#define WORDS_SIZE (64u << 10)

struct range {
	uint64_t start;
	uint64_t end;
};

static void take(struct lp_vec *taken, uint64_t low, uint64_t high)
{
	struct range range = {low, high};

	if (low < high)
		lp_vec_push(taken, &range);
}

/* --- Roots --- */

struct elf_context {
	struct lp_collection *collection;
	struct lp_vec *taken;
	bool root;
};

static void add_segment(void *context, uint64_t low, uint64_t high)
{
	struct elf_context *elf = context;
	uintptr_t arena;
	uintptr_t end;

	take(elf->taken, low, high);
	if (!elf->root)
		return;
	if (elf->collection->input->usable &&
	    lp_glibc_main_arena(&elf->collection->maps, low, high, &arena, &end)) {
		lp_mark_root(elf->collection->mark, low, arena);
		low = end;
	}
	lp_mark_root(elf->collection->mark, low, high);
}

static void exclude(struct lp_collection *collection, uintptr_t address)
{
	struct lp_elf *elf = address ? lp_maps_elf(&collection->maps, address) : NULL;

	if (elf)
		elf->excluded = true;
}

static void lay_objects(struct lp_collection *collection, struct lp_vec *taken)
{
	const struct lp_collect_input *input = collection->input;
	size_t i;

	exclude(collection, input->shim);
	for (i = 0; i < input->runtime_count; i++)
		exclude(collection, input->runtimes[i]->adapter->address());
	for (i = 0; i < collection->maps.elfs.count; i++) {
		const struct lp_elf *elf = lp_vec_at(&collection->maps.elfs, struct lp_elf, i);
		struct elf_context context = {collection, taken, !elf->excluded};

		lp_elf_writable(elf, add_segment, &context);
	}
}

/* --- Heap and pools --- */

/* What glibc keeps at the start of each heap of an arena (malloc/arena.c, struct _heap_info). */
struct heap_head {
	uintptr_t arena;
	uintptr_t previous;
	size_t size;
	size_t mprotect_size;
};

/* The end of the glibc arena heap that starts at LOW, or LOW when there is none. */
static uintptr_t arena_end(uintptr_t low, uintptr_t high)
{
	const struct heap_head *head = (const struct heap_head *)low;

	if (low % ARENA_ALIGN || high - low < LP_PAGE || head->size > head->mprotect_size ||
	    head->mprotect_size > ARENA_ALIGN || head->size % LP_PAGE || !head->size ||
	    head->mprotect_size > high - low || head->arena % 16 ||
	    head->arena % ARENA_ALIGN > LP_PAGE || !head->arena)
		return low;
	return low + head->mprotect_size;
}

struct block_context {
	struct lp_mark *mark;
	uintptr_t at; /* what is laid out so far */
};

static void lay_block(void *context, uintptr_t start, size_t size)
{
	struct block_context *block = context;
	uintptr_t low = LP_ALIGN_DOWN(start, LP_PAGE);
	uintptr_t high = LP_ALIGN_UP(start + size, LP_PAGE);

	if (low > block->at)
		lp_mark_pool(block->mark, block->at, low);
	if (high > block->at) {
		lp_mark_arena(block->mark, low > block->at ? low : block->at, high);
		block->at = high;
	}
}

/* Private memory without an arena's head: pages of tracked blocks are heap, the others pools. */
static void lay_blocks(struct lp_collection *collection, uintptr_t low, uintptr_t high)
{
	struct block_context context = {collection->mark, low};

	lp_mark_each_block(collection->mark, low, high, lay_block, &context);
	if (context.at < high)
		lp_mark_pool(collection->mark, context.at, high);
}

static void lay_private(struct lp_collection *collection, uintptr_t low, uintptr_t high, bool brk)
{
	uintptr_t at = low;

	if (!collection->input->usable) {
		lp_mark_pool(collection->mark, low, high);
		return;
	}
	if (brk) {
		lp_mark_arena(collection->mark, low, high);
		return;
	}
	while (at < high) {
		uintptr_t end = arena_end(at, high);
		uintptr_t next = LP_ALIGN_DOWN(at, ARENA_ALIGN) + ARENA_ALIGN;

		if (end > at) {
			lp_mark_arena(collection->mark, at, end);
			at = end;
			continue;
		}
		if (next > high)
			next = high;
		lay_blocks(collection, at, next);
		at = next;
	}
}

void lp_lay_range(struct lp_collection *collection, uintptr_t low, uintptr_t high)
{
	if (collection->input->usable)
		lay_blocks(collection, low, high);
	else
		lp_mark_pool(collection->mark, low, high);
}

/* Lays out what of LOW .. HIGH is not TAKEN (sorted). */
static void lay_rest(struct lp_collection *collection, const struct lp_vec *taken,
		     const struct lp_region *region)
{
	uint64_t at = region->start;
	bool brk = !strcmp(region->path, "[heap]");
	size_t i;

	for (i = 0; i < taken->count && at < region->end; i++) {
		const struct range *range = lp_vec_at(taken, struct range, i);

		if (range->end <= at)
			continue;
		if (range->start >= region->end)
			break;
		if (range->start > at)
			lay_private(collection, at, range->start, brk);
		at = range->end;
	}
	if (at < region->end)
		lay_private(collection, at, region->end, brk);
}

/* --- Which regions count --- */

static bool is_device(const struct lp_region *region)
{
	return !strncmp(region->path, "/dev/", 5) && strncmp(region->path, "/dev/shm/", 9) &&
	       strncmp(region->path, "/dev/zero", 9);
}

static bool is_anonymous(const struct lp_region *region)
{
	return !region->inode && (!region->path[0] || !strcmp(region->path, "[heap]") ||
				  !strncmp(region->path, "[anon", 5));
}

/*
 * Whether any page of an inaccessible region was ever touched: a program may have hidden data
 * behind mprotect. Where it cannot be asked it may have been.
 */
static bool was_touched(const struct lp_region *region)
{
	bool pages[LP_PAGEMAP_MAX];
	int pagemap = lp_pagemap_open();
	uintptr_t at = region->start;
	size_t touched = 0;

	while (!touched && at < region->end) {
		size_t count = (region->end - at) / LP_PAGE;

		if (count > LP_PAGEMAP_MAX)
			count = LP_PAGEMAP_MAX;
		touched = lp_pagemap_touched(pagemap, at, count, pages);
		at += count * LP_PAGE;
	}
	if (pagemap >= 0)
		lp_sys_close(pagemap);
	return touched;
}

static void lay_region(struct lp_collection *collection, const struct lp_vec *taken,
		       const struct lp_region *region)
{
	if (region->shared || is_device(region) || !strncmp(region->path, "[v", 2) ||
	    !strcmp(region->path, "[stack]"))
		return;
	if (!is_anonymous(region)) {
		if (region->prot & PROT_WRITE && !lp_maps_elf(&collection->maps, region->start))
			lp_mark_root(collection->mark, region->start, region->end);
		return;
	}
	if (!(region->prot & PROT_READ) &&
	    (!was_touched(region) ||
	     LP_SYS3(SYS_mprotect, region->start, region->end - region->start, PROT_READ) < 0))
		return;
	lay_rest(collection, taken, region);
}

void lp_layout(struct lp_collection *collection)
{
	struct lp_vec taken = LP_VEC(struct range);
	const struct lp_own_range *own;
	struct lp_thread *thread;
	size_t count;
	size_t i;

	lay_objects(collection, &taken);
	own = lp_own_ranges(&count);
	for (i = 0; i < count; i++)
		if (own[i].size)
			take(&taken, own[i].start, own[i].start + own[i].size);
	for (i = 0; (thread = collection->input->thread_at(i)); i++)
		if (thread->used && thread->stack_low)
			take(&taken, thread->stack_low, thread->stack_high);
	lp_vec_sort(&taken);
	for (i = 0; i < collection->maps.regions.count; i++)
		if (!lp_sanitizer_owns(collection->sanitizer,
				       lp_vec_at(&collection->maps.regions, struct lp_region, i)))
			lay_region(collection, &taken,
				   lp_vec_at(&collection->maps.regions, struct lp_region, i));
}

/* By way of a pipe, for where process_vm_readv is forbidden. */
static long copy_by_pipe(uintptr_t from, uintptr_t *buffer, size_t size)
{
	int ends[2];
	long n = LP_SYS2(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);

	if (n < 0)
		return n;
	n = LP_SYS3(SYS_write, ends[1], from, size);
	if (n > 0)
		n = LP_SYS3(SYS_read, ends[0], buffer, n);
	lp_sys_close(ends[0]);
	lp_sys_close(ends[1]);
	return n;
}

/*
 * Copies memory that may not be there: a page behind the end of its file is an error to a system
 * call, not a SIGBUS. Returns how much there was, or -errno.
 */
static long copy_memory(uintptr_t from, uintptr_t *buffer, size_t size)
{
	struct iovec local = {buffer, size};
	struct iovec remote = {(void *)from, size};
	long n = LP_SYS6(SYS_process_vm_readv, LP_SYS0(SYS_getpid), &local, 1, &remote, 1, 0);

	return n == -EPERM || n == -ENOSYS ? copy_by_pipe(from, buffer, size) : n;
}

/* Pushes what may be a pointer in LOW .. HIGH. Returns 0, or -errno where it may not look. */
static int read_words(struct lp_collection *collection, uintptr_t low, uintptr_t high,
		      uintptr_t *buffer)
{
	const struct lp_options *options = collection->input->options;

	while (low < high) {
		size_t size = high - low < WORDS_SIZE ? high - low : WORDS_SIZE;
		long n = copy_memory(low, buffer, size);
		long i;

		if (n < 0 && n != -EFAULT)
			return (int)n;
		for (i = 0; i < n / (long)sizeof(uintptr_t); i++) {
			uintptr_t word = buffer[i] & options->pointer_mask;

			if (word >= LP_PAGE && word >> LP_ADDRESS_BITS == 0)
				lp_vec_push(&collection->words, &word);
		}
		low += n > 0 ? LP_ALIGN_UP((uintptr_t)n, LP_PAGE) : LP_PAGE;
	}
	return 0;
}

static bool is_own(uintptr_t address)
{
	size_t count;
	const struct lp_own_range *own = lp_own_ranges(&count);

	while (count-- > 0)
		if (own[count].size && own[count].start == address)
			return true;
	return false;
}

/* Memory of a file that is no loaded object: what another mapping or process may change, or what
 * may not be there. */
static bool is_file_data(const struct lp_collection *collection, const struct lp_region *region)
{
	if (is_device(region) || region->path[0] == '[' ||
	    (region->prot & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE))
		return false;
	return region->shared ||
	       (!is_anonymous(region) && !lp_maps_elf(&collection->maps, region->start));
}

int lp_shared_words(struct lp_collection *collection)
{
	uintptr_t *buffer = lp_own_map(WORDS_SIZE);
	int r = buffer ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; !r && i < collection->maps.regions.count; i++) {
		const struct lp_region *region =
			lp_vec_at(&collection->maps.regions, struct lp_region, i);

		if (is_file_data(collection, region) && !is_own(region->start))
			r = read_words(collection, region->start, region->end, buffer);
	}
	lp_own_unmap(buffer, WORDS_SIZE);
	return r;
}
