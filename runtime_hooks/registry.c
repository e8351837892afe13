/* SPDX-License-Identifier: MIT */
/*
 * The goroutines of the target: fixed records in chunks that are never moved or given back, so that
 * the snapshot can read them whatever the target was doing, and one hash table per runtime from
 * handle to record. A record is published by its id, written last. Free records are a list that all
 * threads share without a lock; the tables belong to the one thread that their runtime runs in, and
 * annotated runtimes have none: they keep the record's address themselves.
 */
#include <dlfcn.h>
#include <string.h>
#include <time.h>

#include "core/own.h"
#include "core/sys.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

#define CHUNK_RECORDS 8192u
#define CHUNK_MAX 4096u /* 33 million goroutines at a time */
#define TABLE_MIN 256u

static struct lp_goroutine *chunks[CHUNK_MAX];
static size_t records; /* ever used */
static uint64_t last_id;

/* The slot of the first free record, which has the next one's in its own, and above it a count of
 * changes: a thread that was overtaken notices, though the first be the same again. */
static uint64_t free_list = LP_NONE;

/* libc's own: what libfaketime and the like put in its place tells another time than the snapshot's
 * system calls. */
static int (*read_clock)(clockid_t, struct timespec *) = clock_gettime;

static struct lp_goroutine *record_at(size_t i)
{
	return &chunks[i / CHUNK_RECORDS][i % CHUNK_RECORDS];
}

struct lp_goroutine *lp_goroutine_at(size_t i)
{
	return i < __atomic_load_n(&records, __ATOMIC_ACQUIRE) ? record_at(i) : NULL;
}

/* Whether the chunk that record I lies in is there. */
static bool has_chunk(size_t i)
{
	struct lp_goroutine **place = &chunks[i / CHUNK_RECORDS];
	struct lp_goroutine *other = NULL;
	struct lp_goroutine *chunk;

	if (__atomic_load_n(place, __ATOMIC_ACQUIRE))
		return true;
	chunk = lp_own_map(CHUNK_RECORDS * sizeof(*chunk));
	if (chunk && !__atomic_compare_exchange_n(place, &other, chunk, false, __ATOMIC_ACQ_REL,
						  __ATOMIC_ACQUIRE))
		lp_own_unmap(chunk, CHUNK_RECORDS * sizeof(*chunk));
	return chunk;
}

static uint32_t new_slot(void)
{
	size_t i = __atomic_load_n(&records, __ATOMIC_ACQUIRE);

	do
		if (i / CHUNK_RECORDS >= CHUNK_MAX || !has_chunk(i))
			return LP_NONE;
	while (!__atomic_compare_exchange_n(&records, &i, i + 1, true, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE));
	return (uint32_t)i;
}

static bool exchange_first(uint64_t *seen, uint32_t slot)
{
	uint64_t new = ((*seen >> 32) + 1) << 32 | slot;

	return __atomic_compare_exchange_n(&free_list, seen, new, true, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

/* Takes a free record. NULL: there is no memory. */
static struct lp_goroutine *take(void)
{
	uint64_t seen = __atomic_load_n(&free_list, __ATOMIC_ACQUIRE);
	uint32_t slot;

	/* Another thread may use the first one already: what is read of it then is not kept. */
	while ((slot = (uint32_t)seen) != LP_NONE)
		if (exchange_first(&seen,
				   __atomic_load_n(&record_at(slot)->slot, __ATOMIC_RELAXED)))
			break;
	if (slot == LP_NONE)
		slot = new_slot();
	if (slot == LP_NONE)
		return NULL;
	record_at(slot)->slot = slot;
	return record_at(slot);
}

static void give_back(struct lp_goroutine *goroutine)
{
	uint32_t slot = goroutine->slot;
	uint64_t seen = __atomic_load_n(&free_list, __ATOMIC_ACQUIRE);

	do
		__atomic_store_n(&goroutine->slot, (uint32_t)seen, __ATOMIC_RELAXED);
	while (!exchange_first(&seen, slot));
}

/* --- Tables --- */

static size_t home(const struct lp_runtime *runtime, const void *handle)
{
	return lp_handle_hash(handle) & (runtime->table_size - 1);
}

static void insert(struct lp_runtime *runtime, struct lp_goroutine *goroutine)
{
	size_t i = home(runtime, goroutine->handle);

	while (runtime->table[i])
		i = (i + 1) & (runtime->table_size - 1);
	runtime->table[i] = goroutine;
}

static bool reserve(struct lp_runtime *runtime)
{
	struct lp_goroutine **old = runtime->table;
	size_t old_size = runtime->table_size;
	size_t i;

	if (2 * (runtime->table_used + 1) <= old_size)
		return true;
	runtime->table_size = old_size ? 2 * old_size : TABLE_MIN;
	runtime->table = lp_own_map(runtime->table_size * sizeof(*runtime->table));
	if (!runtime->table) {
		runtime->table = old;
		runtime->table_size = old_size;
		return false;
	}
	for (i = 0; i < old_size; i++)
		if (old[i])
			insert(runtime, old[i]);
	if (old)
		lp_own_unmap(old, old_size * sizeof(*old));
	return true;
}

/* Deletes by moving later entries of the run back, so that no tombstones are needed. */
static void delete (struct lp_runtime *runtime, const struct lp_goroutine *goroutine)
{
	size_t mask = runtime->table_size - 1;
	size_t hole = home(runtime, goroutine->handle);
	size_t i;

	while (runtime->table[hole] && runtime->table[hole] != goroutine)
		hole = (hole + 1) & mask;
	for (i = (hole + 1) & mask; runtime->table[i]; i = (i + 1) & mask) {
		size_t from = home(runtime, runtime->table[i]->handle);

		if (((i - from) & mask) < ((i - hole) & mask))
			continue;
		runtime->table[hole] = runtime->table[i];
		hole = i;
	}
	runtime->table[hole] = NULL;
}

/* --- Runtimes --- */

void lp_registry_init(void)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	int (*own)(clockid_t, struct timespec *) = libc ? dlsym(libc, "clock_gettime") : NULL;

	if (own)
		read_clock = own;
	if (libc)
		dlclose(libc);
}

void lp_runtime_seen(struct lp_runtime *runtime)
{
	runtime->thread = (int)LP_SYS0(SYS_gettid);
	runtime->seen = true;
}

static void count(const struct lp_runtime *runtime, uint64_t *counter)
{
	if (runtime->shared)
		__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
	else
		++*counter;
}

bool lp_runtime_any(void)
{
	size_t i;

	for (i = 0; i < lp_runtime_count; i++)
		if (lp_runtimes[i]->seen)
			return true;
	return false;
}

static void fill(struct lp_goroutine *goroutine, struct lp_runtime *runtime,
		 const struct lp_goroutine *values)
{
	uint32_t slot = goroutine->slot;
	struct timespec now;

	read_clock(CLOCK_REALTIME_COARSE, &now);
	*goroutine = *values;
	goroutine->id = 0;
	goroutine->slot = slot;
	goroutine->created_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	goroutine->runtime = runtime;
}

uint64_t lp_goroutine_last_id(void)
{
	return __atomic_load_n(&last_id, __ATOMIC_RELAXED);
}

struct lp_goroutine *lp_goroutine_new(struct lp_runtime *runtime, const struct lp_goroutine *values)
{
	struct lp_goroutine *goroutine;

	if (!lp_awake())
		return NULL;
	goroutine = runtime->shared || reserve(runtime) ? take() : NULL;
	if (!goroutine) {
		lp_dormant("no memory for another goroutine record");
		return NULL;
	}
	fill(goroutine, runtime, values);
	__atomic_store_n(&goroutine->id, __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED),
			 __ATOMIC_RELEASE);
	if (!(goroutine->flags & (LP_T_SERVICE | LP_T_MAIN)))
		count(runtime, &runtime->created);
	if (runtime->shared)
		return goroutine;
	insert(runtime, goroutine);
	runtime->table_used++;
	return goroutine;
}

void lp_goroutine_ending(struct lp_goroutine *goroutine)
{
	if (!(goroutine->flags & (LP_T_ENDING | LP_T_SERVICE | LP_T_MAIN)))
		count(goroutine->runtime, &goroutine->runtime->finished);
	goroutine->flags |= LP_T_ENDING;
}

void lp_goroutine_end(struct lp_goroutine *goroutine)
{
	struct lp_runtime *runtime = goroutine->runtime;

	lp_goroutine_ending(goroutine);
	__atomic_store_n(&goroutine->id, 0, __ATOMIC_RELEASE);
	if (!runtime->shared) {
		delete (runtime, goroutine);
		runtime->table_used--;
	}
	/* A checked one is kept, so that a later call for it is noticed. */
	if (!goroutine->checked)
		give_back(goroutine);
}

void lp_runtime_reset(struct lp_runtime *runtime)
{
	struct lp_goroutine *goroutine;
	size_t i;

	lp_snapshot_forget();
	for (i = 0; (goroutine = lp_goroutine_at(i)); i++)
		if (goroutine->id && goroutine->runtime == runtime)
			lp_goroutine_end(goroutine);
}

void lp_registry_after_fork(void)
{
	int tid = (int)LP_SYS0(SYS_gettid);
	size_t i;

	for (i = 0; i < lp_runtime_count; i++) {
		struct lp_runtime *runtime = lp_runtimes[i];

		/* Of one that several threads use, any thread may go on with any goroutine. */
		if (!runtime->seen || runtime->shared)
			continue;
		if (lp_self && lp_self->tid == runtime->thread)
			runtime->thread = tid;
		else
			lp_runtime_reset(runtime);
	}
}
