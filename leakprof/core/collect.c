/* SPDX-License-Identifier: MIT */
/*
 * A collection: layout, roots of threads, adapters, fixpoint. See collect.h for the order of
 * things, DESIGN's "Where a live pointer can hide" for the rules.
 */
#include <errno.h>
#include <string.h>

#include "core/collect.h"
#include "core/history.h"
#include "core/layout.h"
#include "core/own.h"
#include "core/sanitizer.h"
#include "core/sys.h"
#include "core/thread.h"

#define KEEP_BYTES (1u << 20)
#define GOROUTINES_AHEAD 8
#define REALLOC_FRAMES                                                                             \
	1024 /* how far above SP a thread in realloc may keep the new block's address */

void lp_collect_note(struct lp_collection *collection, enum lp_severity severity, const char *text)
{
	struct lp_note note = {severity, text};
	size_t i;

	for (i = 0; i < collection->notes.count; i++)
		if (!strcmp(lp_vec_at(&collection->notes, struct lp_note, i)->text, text))
			return;
	lp_vec_push(&collection->notes, &note);
}

void lp_collect_blind(struct lp_collection *collection, const char *text)
{
	bool trusted = collection->input->options->trust_kernel;

	collection->blind |= !trusted;
	lp_collect_note(collection, trusted ? LP_NOTE_WARNING : LP_NOTE_ERROR, text);
}

void *lp_collect_keep(struct lp_collection *collection, const void *data, size_t size)
{
	size_t room = LP_ALIGN_UP(size, sizeof(uintptr_t));
	void *copy;

	if (room > collection->kept_left) {
		collection->kept_left = room > KEEP_BYTES ? room : KEEP_BYTES;
		collection->kept = lp_own_map(collection->kept_left);
		if (!collection->kept) {
			collection->kept_left = 0;
			return NULL;
		}
	}
	copy = memcpy(collection->kept, data, size);
	collection->kept += room;
	collection->kept_left -= room;
	return copy;
}

void lp_collect_cut(struct lp_collection *collection, const void *address, size_t size)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, (uintptr_t)address);

	uintptr_t low = (uintptr_t)address;
	uintptr_t high = low + size;
	uintptr_t first = LP_ALIGN_UP(low, LP_PAGE);
	uintptr_t last = LP_ALIGN_DOWN(high, LP_PAGE);

	if (!region || region->shared || !(region->prot & PROT_WRITE) || high < low ||
	    region->end < high)
		return;
	/* Whole anonymous pages are dropped rather than written, which would copy them. */
	if (first < last && !region->inode &&
	    !LP_SYS3(SYS_madvise, first, last - first, MADV_DONTNEED)) {
		memset((void *)low, 0, first - low);
		memset((void *)last, 0, high - last);
	} else {
		memset((void *)low, 0, size);
	}
}

int lp_collect_frozen(struct lp_collection *collection, const struct lp_collect_input *input)
{
	int r;

	memset(collection, 0, sizeof(*collection));
	collection->input = input;
	collection->words = LP_VEC(uintptr_t);
	collection->notes = LP_VEC(struct lp_note);
	r = lp_maps_read(&collection->maps);
	if (r)
		return r;
	collection->sanitizer = lp_sanitizer_find(&collection->maps);
	r = lp_kernel_words(collection);
	if (!r)
		r = lp_shared_words(collection);
	if (r)
		return r;
	return lp_vec_failed() ? -ENOMEM : 0;
}

/* --- Nodes --- */

static struct lp_thread *thread_of(const struct lp_collection *collection, int tid)
{
	struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = collection->input->thread_at(i)); i++)
		if (thread->used && thread->tid == tid)
			return thread;
	return NULL;
}

/* Where static TLS of THREAD begins: its size, as glibc gives it, includes the thread descriptor.
 */
static uintptr_t tls_low(const struct lp_collect_input *input, const struct lp_thread *thread)
{
	return LP_ALIGN_DOWN(thread->thread_pointer + input->descriptor_size - input->tls_size, 64);
}

/* Below this the native stack of THREAD ends and its TLS begins (for the main thread: its
 * environment). */
static uintptr_t native_top(const struct lp_collection *collection, const struct lp_thread *thread)
{
	const struct lp_collect_input *input = collection->input;
	uintptr_t tls = tls_low(input, thread);

	if (thread->thread_pointer >= thread->stack_low &&
	    thread->thread_pointer < thread->stack_high)
		return tls;
	if (input->main_stack_top >= thread->stack_low &&
	    input->main_stack_top < thread->stack_high)
		return input->main_stack_top;
	return thread->stack_high;
}

static void locate(struct lp_collection *collection, struct lp_node *node)
{
	const struct lp_goroutine *goroutine = node->goroutine;
	const struct lp_thread *thread;

	node->main = goroutine->flags & LP_T_MAIN;
	node->service = goroutine->flags & LP_T_SERVICE;
	node->wait = goroutine->wait;
	node->waits = goroutine->waits;
	node->handle_low = (uintptr_t)goroutine->handle;
	node->handle_high = node->handle_low + 1;
	node->stack_low = (uintptr_t)goroutine->stack_low;
	node->stack_high = (uintptr_t)lp_goroutine_stack_high(goroutine);
	thread = thread_of(collection,
			   goroutine->thread ? goroutine->thread : goroutine->runtime->thread);
	if (!node->stack_low && thread && thread->stack_low) {
		node->stack_low = thread->stack_low;
		node->stack_high = native_top(collection, thread);
	}
	node->scan_low = node->stack_low;
	node->scan_high = node->stack_high;
	if ((uintptr_t)node->wait >= node->stack_low && (uintptr_t)node->wait < node->stack_high)
		node->scan_low = (uintptr_t)node->wait;
	goroutine->runtime->adapter->locate(collection, node);
}

static const struct lp_region *main_stack(const struct lp_collection *collection)
{
	return lp_maps_find(&collection->maps, collection->input->main_stack_top);
}

/*
 * Stack bounds that the target did not know or that promise more than is mapped: the main thread's
 * is the mapping that holds its first frame.
 */
static void clip_native_stacks(struct lp_collection *collection)
{
	const struct lp_region *first = main_stack(collection);
	struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = collection->input->thread_at(i)); i++) {
		if (!thread->used || thread->tid != (int)collection->input->pid || !first)
			continue;
		thread->stack_low = first->start;
		thread->stack_high = first->end;
	}

	for (i = 0; (thread = collection->input->thread_at(i)); i++) {
		const struct lp_region *region =
			thread->used && thread->stack_high
				? lp_maps_find(&collection->maps, thread->stack_high - 1)
				: NULL;

		if (region && thread->stack_low < region->start)
			thread->stack_low = region->start;
	}
}

static int add_nodes(struct lp_collection *collection)
{
	struct lp_goroutine *goroutine;
	size_t i;

	for (i = 0; (goroutine = collection->input->goroutine_at(i)); i++) {
		const struct lp_goroutine *next;
		struct lp_node *node;

		next = collection->input->goroutine_at(i + GOROUTINES_AHEAD);
		if (next)
			__builtin_prefetch(next->handle);
		if (!goroutine->id)
			continue;
		node = lp_verdict_add(&collection->verdicts, goroutine);
		if (!node)
			return -ENOMEM;
		locate(collection, node);
	}
	lp_verdict_layout(&collection->verdicts);
	return 0;
}

/* --- Roots --- */

/* What of LOW .. HIGH is mapped around its end is a root: bounds that come from elsewhere may
 * promise too much. */
static void root(struct lp_collection *collection, uintptr_t low, uintptr_t high)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, high - 1);

	while (region && region->start > low) {
		const struct lp_region *before = lp_maps_find(&collection->maps, region->start - 1);

		lp_mark_root(collection->mark, region->start, high);
		high = region->start;
		region = before && before->prot & PROT_READ ? before : NULL;
	}
	if (region)
		lp_mark_root(collection->mark, low, high);
}

struct lp_node *lp_collect_stack_node(struct lp_collection *collection, uintptr_t address)
{
	size_t i;

	for (i = 0; i < collection->verdicts.nodes.count; i++) {
		struct lp_node *node = lp_vec_at(&collection->verdicts.nodes, struct lp_node, i);

		if (address >= node->stack_low && address < node->stack_high)
			return node;
	}
	return NULL;
}

/* Whether some goroutine lives on the native stack of THREAD, so that its verdict decides. */
static bool native_is_goroutine(struct lp_collection *collection, const struct lp_thread *thread)
{
	size_t i;

	for (i = 0; i < collection->verdicts.nodes.count; i++) {
		const struct lp_node *node =
			lp_vec_at(&collection->verdicts.nodes, struct lp_node, i);

		if (node->stack_low == thread->stack_low)
			return true;
	}
	return false;
}

/* TLS, thread descriptor, arguments and environment: reachable whatever runs. */
static void root_thread_data(struct lp_collection *collection, const struct lp_thread *thread)
{
	const struct lp_collect_input *input = collection->input;
	uintptr_t top = thread->stack_low ? native_top(collection, thread) : 0;

	root(collection, tls_low(input, thread), thread->thread_pointer + input->descriptor_size);
	if (top)
		root(collection, top, thread->stack_high);
}

/*
 * The used part of the stack that THREAD runs on. Where that is a goroutine's it is left to the
 * node, which is live whatever its wait says.
 */
static void root_thread_stack(struct lp_collection *collection, const struct lp_thread *thread)
{
	struct lp_node *node = lp_collect_stack_node(collection, thread->sp);
	const struct lp_region *region = lp_maps_find(&collection->maps, thread->sp);
	uintptr_t sp = thread->sp - thread->red_zone;

	if (node)
		node->running_sp = sp;
	else if (sp >= thread->stack_low && sp < thread->stack_high)
		root(collection, sp, thread->stack_high);
	else if (region)
		root(collection, sp, region->end);
	if (thread->stack_low &&
	    (thread->sp < thread->stack_low || thread->sp >= thread->stack_high) &&
	    !native_is_goroutine(collection, thread))
		root(collection, thread->stack_low, thread->stack_high);
}

/* What a thread's stack pointer says goes before what the runtime says. */
static void override_running(struct lp_collection *collection)
{
	size_t i;

	for (i = 0; i < collection->verdicts.nodes.count; i++) {
		struct lp_node *node = lp_vec_at(&collection->verdicts.nodes, struct lp_node, i);

		if (!node->running_sp)
			continue;
		node->wait = NULL;
		node->context = NULL;
		node->scan_low = node->running_sp;
		node->scan_high = node->stack_high;
		if (node->service && collection->scan_service)
			lp_mark_range(collection->mark, node->scan_low, node->scan_high);
		if (lp_node_hidden(node))
			continue;
		node->rule = LP_RULE_LIVE;
		node->state = LP_STATE_RUNNING;
		node->label = "";
	}
}

static void mark_words(struct lp_collection *collection, const void *words, size_t size)
{
	if (words)
		lp_mark_range(collection->mark, (uintptr_t)words, (uintptr_t)words + size);
}

static void mark_registers(struct lp_collection *collection, const struct lp_thread *thread)
{
	const struct lp_node *node = lp_collect_stack_node(collection, thread->sp);

	if (node && node->service && !collection->scan_service)
		return;
	mark_words(collection, thread->registers, thread->register_count * sizeof(uint64_t));
	mark_words(collection, thread->vector, thread->vector_size);
}

/* WORD may be where realloc moves a block to, which is in no heap map yet. */
static void mark_moved(struct lp_collection *collection, uintptr_t word, size_t size)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, word);
	size_t block;

	if (!region || !(region->prot & PROT_WRITE) || region->shared ||
	    lp_mark_block(collection->mark, word, &block))
		return;
	size += 2 * sizeof(uintptr_t);
	lp_mark_range(collection->mark, word,
		      region->end - word < size ? region->end : word + size);
}

/*
 * A thread inside realloc: the old block has left the heap map, the new one is not in it yet. The
 * old memory counts, and so does what the registers and innermost frames of the thread point to.
 */
static void mark_realloc(struct lp_collection *collection, const struct lp_thread *thread)
{
	uintptr_t old = (uintptr_t)thread->moving;
	const struct lp_region *region = lp_maps_find(&collection->maps, thread->sp);
	uintptr_t at;
	size_t i;

	if (!old)
		return;
	mark_moved(collection, old, thread->moving_old_size);
	for (i = 0; i < thread->register_count; i++)
		mark_moved(collection, thread->registers[i], thread->moving_new_size);
	for (at = thread->sp; region && at < region->end && at < thread->sp + REALLOC_FRAMES;
	     at += sizeof(uintptr_t))
		mark_moved(collection, *(const uintptr_t *)at, thread->moving_new_size);
}

static void each_thread(struct lp_collection *collection,
			void (*visit)(struct lp_collection *, const struct lp_thread *))
{
	struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = collection->input->thread_at(i)); i++)
		if (thread->used && thread->stopped)
			visit(collection, thread);
}

static void mark_input_words(struct lp_collection *collection)
{
	const struct lp_collect_input *input = collection->input;
	size_t i;

	for (i = 0; i < collection->words.count; i++)
		lp_mark_word(collection->mark, *lp_vec_at(&collection->words, uintptr_t, i));
	for (i = 0; i < input->root_count; i++)
		lp_mark_word(collection->mark, input->roots[i]);
}

/* --- Figures --- */

static void figure(struct lp_collection *collection, enum lp_figure key, uint64_t value)
{
	collection->figures[key] = value;
}

static void count_goroutines(struct lp_collection *collection)
{
	const struct lp_collect_input *input = collection->input;
	uint64_t *figures = collection->figures;
	bool seen = false;
	size_t i;

	for (i = 0; i < collection->verdicts.nodes.count; i++) {
		const struct lp_node *node =
			lp_vec_at(&collection->verdicts.nodes, struct lp_node, i);

		if (lp_node_hidden(node))
			continue;
		figures[LP_FIG_GOROUTINES]++;
		figures[LP_FIG_LEAKED] += node->leaked;
	}
	for (i = 0; i < input->runtime_count; i++) {
		figures[LP_FIG_CREATED] += input->runtimes[i]->created;
		figures[LP_FIG_FINISHED] += input->runtimes[i]->finished;
		seen |= input->runtimes[i]->seen;
	}
	if (!seen)
		collection->measured = LP_MEASURED_NO_RUNTIME;
	else if (!collection->measured && !figures[LP_FIG_CREATED])
		collection->measured = LP_MEASURED_NO_GOROUTINE;
}

static void fill_figures(struct lp_collection *collection)
{
	const struct lp_mark_figures *marked = lp_mark_figures(collection->mark);
	struct lp_thread *thread;
	uint64_t threads = 0;
	size_t i;

	for (i = 0; (thread = collection->input->thread_at(i)); i++)
		threads += thread->used && thread->stopped;
	figure(collection, LP_FIG_THREADS, threads);
	figure(collection, LP_FIG_HEAP_OBJECTS, marked->objects);
	figure(collection, LP_FIG_HEAP_MARKED, marked->marked);
	figure(collection, LP_FIG_BYTES_SCANNED, marked->bytes_scanned);
	figure(collection, LP_FIG_ROOT_BYTES, marked->root_bytes);
}

/* --- The whole --- */

/*
 * What was taken from amid glibc's heap by sbrk: by the program, then it is a pool; or by another
 * allocator, then the pages with blocks are heap.
 */
static void lay_ranges(struct lp_collection *collection)
{
	const struct lp_collect_input *input = collection->input;
	size_t i;

	for (i = 0; i < input->range_count; i++) {
		const struct lp_pool_range *range = &input->ranges[i];
		const struct lp_region *region = lp_maps_find(&collection->maps, range->low);

		if (region)
			lp_lay_range(collection, range->low,
				     range->high < region->end ? range->high : region->end);
	}
}

static bool is_libc(const struct lp_collection *collection, uintptr_t address)
{
	static const char name[] = "/libc.so.6";
	const struct lp_region *region = lp_maps_find(&collection->maps, address);
	size_t length = region ? strlen(region->path) : 0;

	return length >= strlen(name) && !strcmp(region->path + length - strlen(name), name);
}

static int prepare(struct lp_collection *collection)
{
	const struct lp_collect_input *input = collection->input;
	const struct lp_options *options = input->options;
	struct lp_mark_client client;

	collection->mark =
		lp_mark_new(input->usable, options->pointer_mask, options->unaligned ? 4 : 8);
	if (!collection->mark)
		return -ENOMEM;
	if (is_libc(collection, (uintptr_t)input->usable))
		lp_mark_trust_headers(collection->mark);
	lp_mark_copies(collection->mark, (enum lp_copies)options->copies);
	lp_verdict_init(&collection->verdicts, collection->mark);
	clip_native_stacks(collection);
	if (add_nodes(collection))
		return -ENOMEM;
	lp_layout(collection);
	lay_ranges(collection);
	each_thread(collection, root_thread_data);
	each_thread(collection, root_thread_stack);
	client = lp_verdict_client(&collection->verdicts);
	return lp_mark_ready(collection->mark, &client);
}

/* A main that parks for ever on purpose (an empty select) is no leak: nothing is given back if it
 * ended. */
static void spare_main(struct lp_collection *collection)
{
	size_t i;

	for (i = 0; i < collection->verdicts.nodes.count; i++) {
		struct lp_node *node = lp_vec_at(&collection->verdicts.nodes, struct lp_node, i);

		if (node->main && node->rule == LP_RULE_NEVER)
			node->live = true;
	}
}

int lp_collect_verdicts(struct lp_collection *collection)
{
	const struct lp_collect_input *input = collection->input;
	uint64_t start = lp_sys_clock_ns(CLOCK_MONOTONIC);
	size_t i;
	int r = prepare(collection);

	if (r)
		return r;
	for (i = 0; i < input->runtime_count; i++)
		if (input->runtimes[i]->seen)
			input->runtimes[i]->adapter->inspect(collection, input->runtimes[i]);
	for (i = 0; i < input->runtime_count; i++)
		if (input->runtimes[i]->seen)
			input->runtimes[i]->adapter->cut(collection, input->runtimes[i]);
	override_running(collection);
	each_thread(collection, mark_registers);
	each_thread(collection, mark_realloc);
	mark_input_words(collection);
	lp_mark_roots(collection->mark);
	r = lp_verdict_run(&collection->verdicts);
	if (r)
		return r;
	fill_figures(collection);
	r = lp_verdict_count_held(&collection->verdicts);
	if (r)
		return r;
	spare_main(collection);
	if (collection->blind)
		collection->measured = LP_MEASURED_FAILED;
	else
		lp_history_judge(collection);
	count_goroutines(collection);
	figure(collection, LP_FIG_MARK_NS, lp_sys_clock_ns(CLOCK_MONOTONIC) - start);
	if (input->heap_untracked)
		lp_collect_note(collection, LP_NOTE_WARNING, input->heap_untracked);
	if (input->heap_warning)
		lp_collect_note(collection, LP_NOTE_WARNING, input->heap_warning);
	return 0;
}
