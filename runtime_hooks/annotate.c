/* SPDX-License-Identifier: MIT */
/*
 * leakprof.h from the shim's side: runtimes, goroutines and memory that the program itself tells
 * of. Waits do not come through here: the header writes them straight into the goroutine's record
 * (core/goroutine.h).
 *
 * Called by any thread. Goroutine records are the registry's; annotated memory is a hash table by
 * address, under a lock that is held for a few instructions with all signals as they are: a
 * snapshot reads the table whatever state it is in, as every slot is complete by itself.
 */
#include <errno.h>
#include <string.h>

#include "core/own.h"
#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

_Static_assert(offsetof(struct lp_goroutine, wait) == offsetof(struct leakprof_goroutine, wait) &&
		       offsetof(struct lp_goroutine, sp) ==
			       offsetof(struct leakprof_goroutine, sp) &&
		       offsetof(struct lp_goroutine, checked) ==
			       offsetof(struct leakprof_goroutine, checked) &&
		       offsetof(struct lp_goroutine, waits) ==
			       offsetof(struct leakprof_goroutine, waits),
	       "what annotations write");
_Static_assert(offsetof(struct lp_wait, kind) == offsetof(struct leakprof_wait, kind) &&
		       offsetof(struct lp_wait, frame) == offsetof(struct leakprof_wait, frame) &&
		       offsetof(struct lp_wait, bx) == offsetof(struct leakprof_wait, registers) &&
		       offsetof(struct lp_wait, object) == offsetof(struct leakprof_wait, object),
	       "a wait of leakprof.h begins as one of an adapter");

static struct lp_goroutine *record(struct leakprof_goroutine *goroutine)
{
	return (struct lp_goroutine *)goroutine;
}

/* --- Memory --- */

#define TABLE_MIN 256u

/* Replaced as a whole when it grows, so that a snapshot finds one or the other. */
struct table {
	size_t size; /* a power of two */
	size_t used; /* forgotten ones included */
	struct lp_annotation slots[];
};

static struct table *table;
static uint32_t lock;

static void acquire(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		LP_SYS0(SYS_sched_yield);
}

static void release(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

/* The slot of ADDRESS, or the free one where it would go. */
static struct lp_annotation *slot_of(struct table *in, uintptr_t address)
{
	size_t i = lp_handle_hash((void *)address);

	while (in->slots[i & (in->size - 1)].address &&
	       in->slots[i & (in->size - 1)].address != address)
		i++;
	return &in->slots[i & (in->size - 1)];
}

static size_t table_bytes(size_t size)
{
	return sizeof(struct table) + size * sizeof(struct lp_annotation);
}

/* Makes room: without what was forgotten, and larger if need be. */
static bool grow(void)
{
	struct table *old = table;
	struct table *new;
	size_t size = TABLE_MIN;
	size_t used = 0;
	size_t i;

	for (i = 0; old && i < old->size; i++)
		used += old->slots[i].use != LP_USE_NONE;
	while (size < 4 * (used + 1))
		size *= 2;
	new = lp_own_map(table_bytes(size));
	if (!new)
		return false;
	new->size = size;
	new->used = used;
	for (i = 0; old && i < old->size; i++)
		if (old->slots[i].use != LP_USE_NONE)
			*slot_of(new, old->slots[i].address) = old->slots[i];
	__atomic_store_n(&table, new, __ATOMIC_RELEASE);
	if (old)
		lp_own_unmap(old, table_bytes(old->size));
	return true;
}

static void annotate(const void *address, size_t size, enum lp_region_use use)
{
	struct lp_annotation *slot;

	if (!address || !lp_awake())
		return;
	acquire();
	if ((!table || 2 * (table->used + 1) > table->size) && !grow()) {
		release();
		lp_dormant("no memory for the program's annotations");
		return;
	}
	slot = slot_of(table, (uintptr_t)address);
	table->used += !slot->address;
	__atomic_store_n(&slot->use, LP_USE_NONE, __ATOMIC_RELEASE);
	slot->address = (uintptr_t)address;
	slot->size = size;
	__atomic_store_n(&slot->use, use, __ATOMIC_RELEASE);
	release();
}

static void api_internal(const void *address, size_t size)
{
	annotate(address, size, LP_USE_INTERNAL);
}

static void api_root(const void *address, size_t size)
{
	annotate(address, size, LP_USE_ROOT);
}

static void api_ignore_object(const void *address)
{
	annotate(address, 1, LP_USE_IGNORED);
}

static void api_forget(const void *address)
{
	acquire();
	if (table)
		__atomic_store_n(&slot_of(table, (uintptr_t)address)->use, LP_USE_NONE,
				 __ATOMIC_RELEASE);
	release();
}

const struct lp_annotation *lp_annotations(size_t *count)
{
	*count = table ? table->size : 0;
	return table ? table->slots : NULL;
}

void lp_annotations_after_fork(void)
{
	lock = 0;
}

/* --- Runtimes and goroutines --- */

static struct leakprof_runtime *api_runtime(const char *name)
{
	struct lp_runtime *runtime = NULL;
	size_t i;

	acquire();
	for (i = 0; !runtime && i < LP_ANNOTATED_MAX; i++)
		if (!lp_annotated[i].seen)
			runtime = &lp_annotated[i];
	if (runtime) {
		runtime->name = name ? name : "annotated";
		runtime->shared = true;
		lp_runtime_seen(runtime);
	}
	release();
	if (!runtime)
		lp_dormant("the program annotates more runtimes than there is room for");
	return (struct leakprof_runtime *)runtime;
}

/* What of INFO this shim knows: a newer header may say more, an older one less. */
static void read_info(const struct leakprof_new *info, struct leakprof_new *known)
{
	size_t size = info->size < sizeof(*known) ? info->size : sizeof(*known);

	memset(known, 0, sizeof(*known));
	memcpy(known, info, size);
}

static uint8_t flags_of(const struct leakprof_new *info)
{
	return (uint8_t)((info->flags & LEAKPROF_CANCELLABLE ? LP_T_CANCELLABLE : 0) |
			 (info->flags & LEAKPROF_SERVICE ? LP_T_SERVICE : 0) |
			 (info->flags & LEAKPROF_MAIN ? LP_T_MAIN : 0));
}

/* All of the control block where nothing else was said, or what was said does not fit the record.
 */
static void set_data(struct lp_goroutine *values, const struct leakprof_new *info)
{
	uintptr_t handle = (uintptr_t)info->handle;
	uintptr_t low = ((uintptr_t)info->data - handle) / 8;
	uintptr_t high = ((uintptr_t)info->data + info->data_size - handle + 7) / 8;

	values->data_size = LP_DATA_REST;
	if (!info->data || low > high || high >= LP_DATA_REST || high > (info->handle_size + 7) / 8)
		return;
	values->data_offset = (uint16_t)low;
	values->data_size = (uint16_t)(high - low);
}

static struct leakprof_goroutine *api_created(struct leakprof_runtime *runtime,
					      const struct leakprof_new *given)
{
	struct lp_goroutine values = {0};
	struct leakprof_new info;

	if (!runtime)
		return NULL;
	read_info(given, &info);
	if (lp_options.check_annotations)
		lp_check_new(&info, __builtin_return_address(0));
	values.checked = lp_options.check_annotations;
	values.flags = flags_of(&info);
	lp_scope_created(&values, info.creator ? record(info.creator) : NULL);
	values.handle = (void *)(uintptr_t)info.handle;
	values.handle_size = (uint32_t)info.handle_size;
	set_data(&values, &info);
	lp_goroutine_set_stack(&values, info.stack, info.stack ? info.stack_size : 0);
	values.thread = info.stack ? 0 : (int)LP_SYS0(SYS_gettid);
	values.entry = (void *)(uintptr_t)info.entry;
	values.created_pc = (void *)(uintptr_t)(info.created_pc ? info.created_pc
								: __builtin_return_address(0));
	values.name = info.name;
	return (struct leakprof_goroutine *)lp_goroutine_new((struct lp_runtime *)runtime, &values);
}

static void api_finished(struct leakprof_goroutine *goroutine)
{
	if (lp_options.check_annotations)
		lp_check_call(goroutine, LP_CHECK_FINISHED, NULL, __builtin_return_address(0));
	lp_goroutine_end(record(goroutine));
}

static void api_ignore(struct leakprof_goroutine *goroutine)
{
	record(goroutine)->flags |= LP_T_IGNORED;
}

static void api_name(struct leakprof_goroutine *goroutine, const char *name)
{
	record(goroutine)->name = name;
}

static void api_labels(struct leakprof_goroutine *goroutine, const struct leakprof_label *labels,
		       size_t count)
{
	/* A snapshot between these two sees none. */
	__atomic_store_n(&record(goroutine)->label_count, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&record(goroutine)->labels, labels, __ATOMIC_RELEASE);
	__atomic_store_n(&record(goroutine)->label_count,
			 (uint8_t)(count < UINT8_MAX ? count : UINT8_MAX), __ATOMIC_RELEASE);
}

/* --- Collecting --- */

static __attribute__((noinline)) int api_collect(void)
{
	const struct lp_request request = {.trigger = LP_TRIGGER_API};
	struct lp_saved saved;

	LP_SAVE_REGISTERS(&saved);
	if (!lp_pid || lp_pid != (int)LP_SYS0(SYS_getpid))
		return -ENOSYS;
	return lp_collect(&request, NULL, (uintptr_t)&saved);
}

/* --- Leak checks --- */

static __attribute__((noinline)) int api_leak_check(const struct leakprof_check_info *info)
{
	struct lp_saved saved;

	LP_SAVE_REGISTERS(&saved);
	return lp_leak_check(info, NULL, (uintptr_t)&saved);
}

static __attribute__((noinline)) int api_scope_end(struct leakprof_scope *scope,
						   const struct leakprof_check_info *info)
{
	struct lp_saved saved;

	LP_SAVE_REGISTERS(&saved);
	lp_scope_end(scope);
	return lp_leak_check(info, scope, (uintptr_t)&saved);
}

static void api_settle_by(struct leakprof_runtime *runtime, void (*yield)(void))
{
	if (runtime)
		((struct lp_runtime *)runtime)->yield = yield;
}

static void api_check(struct leakprof_goroutine *goroutine, int call, const void *argument)
{
	lp_check_call(goroutine, call, argument, __builtin_return_address(0));
}

static int api_stats(struct leakprof_stats *stats)
{
	if (!lp_pid || lp_pid != (int)LP_SYS0(SYS_getpid))
		return -ENOSYS;
	return lp_stats_read(stats);
}

LP_EXPORT const struct leakprof_api leakprof_api_v1 = {
	.size = sizeof(leakprof_api_v1),
	.abi = LEAKPROF_ABI,
	.runtime = api_runtime,
	.created = api_created,
	.finished = api_finished,
	.internal = api_internal,
	.root = api_root,
	.forget = api_forget,
	.ignore = api_ignore,
	.ignore_object = api_ignore_object,
	.name = api_name,
	.labels = api_labels,
	.collect = api_collect,
	.check = api_check,
	.leak_check = api_leak_check,
	.scope_begin = lp_scope_begin,
	.scope_end = api_scope_end,
	.ignore_current = lp_scope_ignore_current,
	.settle_by = api_settle_by,
	.stats = api_stats,
};
