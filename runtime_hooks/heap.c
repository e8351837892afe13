/* SPDX-License-Identifier: MIT */
/*
 * The heap: malloc and its family, passed on to whatever allocator comes next, with the heap map
 * kept beside.
 *
 * Called before our constructor, from inside dlsym, in signal handlers and by every thread: no
 * lock, no state but the heap map and, for realloc, the thread's own record. A block enters the map
 * after the real allocator gave it and leaves before it goes back.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heapmap.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

/* jemalloc aligns blocks of 8 bytes to 8, but the heap map tells only multiples of 16 apart. */
#define SMALLEST 16u

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	void *(*memalign)(size_t, size_t);
	void *(*valloc)(size_t);
	void *(*pvalloc)(size_t);
	size_t (*usable)(void *);
} real;

/*
 * What comes next is a sanitizer's, which tells of its blocks by itself (sanitizer.c). It must get
 * the size that was asked for and see who asked: we pass it on by a jump, which leaves no frame
 * (meson.build).
 */
static bool sanitized;

/*
 * dlsym may allocate while it looks for the allocator: from here. Such blocks live as long as the
 * process, and are scanned as part of nothing, for they hold the dynamic linker's own strings.
 */
static char bootstrap[16384] __attribute__((aligned(16)));
static size_t bootstrap_used;
static bool resolving;

static bool is_bootstrap(const void *block)
{
	return (const char *)block >= bootstrap &&
	       (const char *)block < bootstrap + sizeof(bootstrap);
}

static void *bootstrap_alloc(size_t size)
{
	char *block = bootstrap + bootstrap_used;

	size = LP_ALIGN_UP(size, 16) + 16;
	if (size > sizeof(bootstrap) - bootstrap_used)
		return NULL;
	bootstrap_used += size;
	memcpy(block, &size, sizeof(size));
	return block + 16;
}

/* Whether the real allocator is known. False only inside the look-up itself. */
static bool resolve(void)
{
	int saved = errno;

	if (resolving)
		return false;
	resolving = true;
	sanitized = lp_sanitizer_allocates();
	real.calloc = lp_next("calloc", NULL);
	real.realloc = lp_next("realloc", NULL);
	real.free = lp_next("free", NULL);
	real.posix_memalign = lp_next("posix_memalign", NULL);
	real.aligned_alloc = lp_next("aligned_alloc", NULL);
	real.memalign = lp_next("memalign", NULL);
	real.valloc = lp_next("valloc", NULL);
	real.pvalloc = lp_next("pvalloc", NULL);
	real.usable = lp_next("malloc_usable_size", NULL);
	if (sanitized)
		real.usable = lp_sanitizer_usable;
	__atomic_store_n(&real.malloc, lp_next("malloc", NULL), __ATOMIC_RELEASE);
	resolving = false;
	errno = saved;
	return true;
}

static inline bool ready(void)
{
	return LP_LIKELY(real.malloc) || resolve();
}

static inline void *track(void *block)
{
	if (LP_LIKELY(block))
		lp_heapmap_set(block);
	return block;
}

static inline size_t at_least(size_t size)
{
	return size < SMALLEST ? SMALLEST : size;
}

LP_EXPORT void *malloc(size_t size)
{
	if (!ready())
		return bootstrap_alloc(size);
	if (LP_UNLIKELY(sanitized))
		return real.malloc(size);
	return track(real.malloc(at_least(size)));
}

LP_EXPORT void *calloc(size_t count, size_t size)
{
	size_t total;

	if (!ready())
		return __builtin_mul_overflow(count, size, &total) ? NULL : bootstrap_alloc(total);
	if (LP_UNLIKELY(sanitized))
		return real.calloc(count, size);
	if (LP_UNLIKELY(count < SMALLEST && size < SMALLEST && count * size < SMALLEST))
		return track(real.calloc(1, SMALLEST));
	return track(real.calloc(count, size));
}

LP_EXPORT void free(void *block)
{
	if (!block || LP_UNLIKELY(is_bootstrap(block)) || !ready())
		return;
	if (LP_LIKELY(!sanitized))
		lp_heapmap_clear(block);
	real.free(block);
}

/* A bootstrap block grows: its size is in the 16 bytes before it. */
static void *move_bootstrap(void *block, size_t size)
{
	void *moved = malloc(size);
	size_t old;

	memcpy(&old, (char *)block - 16, sizeof(old));
	old -= 16;
	if (moved)
		memcpy(moved, block, old < size ? old : size);
	return moved;
}

LP_EXPORT void *realloc(void *block, size_t size)
{
	struct lp_thread *self = lp_self;
	void *moved;

	if (!block)
		return malloc(size);
	if (is_bootstrap(block))
		return move_bootstrap(block, size);
	if (!ready())
		return NULL;
	if (LP_UNLIKELY(sanitized))
		return real.realloc(block, size);
	if (!size) {
		lp_heapmap_clear(block);
		return track(real.realloc(block, size));
	}
	/* Publish the block before it leaves the map: a snapshot in between counts both. */
	if (LP_LIKELY(self)) {
		self->moving_old_size = real.usable ? real.usable(block) : 0;
		self->moving_new_size = size;
		__atomic_store_n(&self->moving, block, __ATOMIC_RELEASE);
	}
	lp_heapmap_clear(block);
	moved = real.realloc(block, at_least(size));
	lp_heapmap_set(moved ? moved : block);
	if (LP_LIKELY(self))
		__atomic_store_n(&self->moving, NULL, __ATOMIC_RELEASE);
	return moved;
}

LP_EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(block, total);
}

LP_EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
	int r;

	if (!ready() || !real.posix_memalign)
		return ENOMEM;
	if (LP_UNLIKELY(sanitized))
		return real.posix_memalign(block, alignment, size);
	r = real.posix_memalign(block, alignment < 16 ? 16 : alignment, at_least(size));
	if (!r)
		track(*block);
	return r;
}

LP_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	if (!ready() || !real.aligned_alloc)
		return NULL;
	if (LP_UNLIKELY(sanitized))
		return real.aligned_alloc(alignment, size);
	return track(real.aligned_alloc(alignment, size));
}

LP_EXPORT void *memalign(size_t alignment, size_t size)
{
	if (!ready() || !real.memalign)
		return NULL;
	if (LP_UNLIKELY(sanitized))
		return real.memalign(alignment, size);
	return track(real.memalign(alignment, at_least(size)));
}

LP_EXPORT void *valloc(size_t size)
{
	if (!ready() || !real.valloc)
		return NULL;
	if (LP_UNLIKELY(sanitized))
		return real.valloc(size);
	return track(real.valloc(size));
}

LP_EXPORT void *pvalloc(size_t size)
{
	if (!ready() || !real.pvalloc)
		return NULL;
	if (LP_UNLIKELY(sanitized))
		return real.pvalloc(size);
	return track(real.pvalloc(size));
}

/*
 * glibc's own calls do not come through here, so this is memory of the program's, in the middle of
 * the allocator's; or another allocator's, which shows by the blocks in it.
 */
LP_EXPORT void *sbrk(intptr_t increment)
{
	static void *(*next)(intptr_t);
	char *memory;

	if (!next)
		next = lp_next("sbrk", NULL);
	memory = next(increment);
	if (increment > 0 && memory != (void *)-1)
		lp_add_pool((uintptr_t)memory, (uintptr_t)memory + (uintptr_t)increment);
	return memory;
}

LP_EXPORT int brk(void *end)
{
	static int (*next)(void *);
	static void *(*next_sbrk)(intptr_t);
	char *before;
	int r;

	if (!next) {
		next_sbrk = lp_next("sbrk", NULL);
		next = lp_next("brk", NULL);
	}
	before = next_sbrk(0);
	r = next(end);
	if (!r && (char *)end > before)
		lp_add_pool((uintptr_t)before, (uintptr_t)end);
	return r;
}

size_t (*lp_heap_usable(void))(void *)
{
	ready();
	return real.usable;
}

/*
 * Whether the malloc that the program calls is ours, so that its blocks enter the heap map. Tried,
 * as addresses do not tell: to a program that defines malloc, our own name is its function too, and
 * where a program takes malloc's address, that is one within the program.
 */
static bool is_tracked(void)
{
	void *(*volatile allocate)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
	void (*volatile release)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "free");
	void *block = allocate(64);
	bool tracked = block && lp_heapmap_test(block);

	release(block);
	return tracked;
}

/* Whether the allocator is glibc's, whose inner state is known not to be a root (core/glibc.h). */
static bool is_glibc(void)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	bool same = libc && dlsym(libc, "malloc") == (void *)real.malloc;

	if (libc)
		dlclose(libc);
	return same;
}

const char *lp_heap_warning(void)
{
	static const char *warning;
	static bool asked;

	if (!asked && !lp_heap_untracked() && !lp_sanitizer_allocates() && !is_glibc())
		warning = "the allocator is not glibc's: what its caches remember of old blocks "
			  "may hide leaks";
	asked = true;
	return warning;
}

const char *lp_heap_untracked(void)
{
	static const char *reason;
	static bool asked;

	if (asked)
		return reason;
	if (!is_tracked())
		reason = "heap untracked: the program has its own malloc, or another library's "
			 "comes before the shim; what it keeps in private memory all counts as "
			 "live";
	else if (!lp_heap_usable())
		reason = "heap untracked: the allocator has no malloc_usable_size; what is in "
			 "private memory all counts as live";
	asked = true;
	return reason;
}
