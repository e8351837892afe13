/* SPDX-License-Identifier: MIT */
/*
 * The goroutines of the target: fixed records in chunks that are never moved or given back, so that
 * the snapshot can read them whatever the target was doing, and one hash table per runtime from
 * handle to record. A record is published by its id, written last. Records are taken under a lock
 * that is held for a few instructions; the tables belong to the one thread that their runtime runs
 * in, and annotated runtimes have none: they keep the record's address themselves.
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
static uint32_t free_list = LP_NONE;
static uint64_t last_id;
static uint32_t lock;

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

static void acquire(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		LP_SYS0(SYS_sched_yield);
}

static void release(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

static uint32_t new_slot(void)
{
	size_t i = records;

	if (i / CHUNK_RECORDS >= CHUNK_MAX)
		return LP_NONE;
	if (!chunks[i / CHUNK_RECORDS]) {
		chunks[i / CHUNK_RECORDS] = lp_own_map(CHUNK_RECORDS * sizeof(struct lp_goroutine));
		if (!chunks[i / CHUNK_RECORDS])
			return LP_NONE;
	}
	__atomic_store_n(&records, i + 1, __ATOMIC_RELEASE);
	return (uint32_t)i;
}

/* Takes a free record. *ID is the new goroutine's. */
static struct lp_goroutine *take(uint64_t *id)
{
	struct lp_goroutine *goroutine = NULL;
	uint32_t slot;

	acquire();
	slot = free_list;
	if (slot != LP_NONE)
		free_list = record_at(slot)->slot;
	else
		slot = new_slot();
	if (slot != LP_NONE) {
		goroutine = record_at(slot);
		goroutine->slot = slot;
		*id = ++last_id;
	}
	release();
	return goroutine;
}

static void give_back(struct lp_goroutine *goroutine)
{
	uint32_t slot = goroutine->slot;

	acquire();
	goroutine->slot = free_list;
	free_list = slot;
	release();
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
	uint64_t id;

	if (!lp_awake())
		return NULL;
	goroutine = runtime->shared || reserve(runtime) ? take(&id) : NULL;
	if (!goroutine) {
		lp_dormant("no memory for another goroutine record");
		return NULL;
	}
	fill(goroutine, runtime, values);
	__atomic_store_n(&goroutine->id, id, __ATOMIC_RELEASE);
	if (!(goroutine->flags & (LP_T_SERVICE | LP_T_MAIN)))
		__atomic_fetch_add(&runtime->created, 1, __ATOMIC_RELAXED);
	if (runtime->shared)
		return goroutine;
	insert(runtime, goroutine);
	runtime->table_used++;
	return goroutine;
}

void lp_goroutine_ending(struct lp_goroutine *goroutine)
{
	if (!(goroutine->flags & (LP_T_ENDING | LP_T_SERVICE | LP_T_MAIN)))
		__atomic_fetch_add(&goroutine->runtime->finished, 1, __ATOMIC_RELAXED);
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

	lock = 0;
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
