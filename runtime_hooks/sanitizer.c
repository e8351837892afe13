/* SPDX-License-Identifier: MIT */
/*
 * Programs built with a sanitizer, which brings an allocator of its own: where that is linked
 * into the program, or preloaded before the shim, malloc does not come through heap.c. It is
 * asked to call us instead, through the interface that all sanitizers offer
 * (sanitizer/allocator_interface.h); where both happen, the heap map takes it.
 *
 * It must be asked before anyone allocates, as memory between known blocks counts as freed. That
 * is before the constructors of other libraries, hence from an indirect function: the dynamic
 * linker calls its resolver when it has relocated the shim. The program's own relocations may
 * not have been made by then; what is called there only enters the two hooks into a table.
 */
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "core/heapmap.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

typedef void (*malloc_hook)(const volatile void *, size_t);
typedef void (*free_hook)(const volatile void *);

int __sanitizer_install_malloc_and_free_hooks(malloc_hook, free_hook) __attribute__((weak));
size_t __sanitizer_get_allocated_size(const volatile void *) __attribute__((weak));
void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

static int installed;

/*
 * The reallocs of TSan and LSan say that the old block is freed, then that the new one is there:
 * what was freed last counts, as it does in heap.c, until something is allocated.
 */
static void on_malloc(const volatile void *block, size_t size)
{
	(void)size;
	if (!block)
		return;
	lp_heapmap_set((const void *)block);
	if (lp_self)
		__atomic_store_n(&lp_self->moving, NULL, __ATOMIC_RELEASE);
}

static void on_free(const volatile void *block)
{
	struct lp_thread *self = lp_self;

	if (!block || !lp_heapmap_test((const void *)block))
		return;
	if (self) {
		self->moving_old_size = self->moving_new_size =
			__sanitizer_get_allocated_size(block);
		__atomic_store_n(&self->moving, (void *)block, __ATOMIC_RELEASE);
	}
	lp_heapmap_clear((const void *)block);
}

/* UBSan's runtime has the first of the two too, but no allocator. */
static void install(void)
{
	int (*volatile hooks)(malloc_hook, free_hook) = __sanitizer_install_malloc_and_free_hooks;
	size_t (*volatile size)(const volatile void *) = __sanitizer_get_allocated_size;

	if (hooks && size)
		installed = hooks(on_malloc, on_free);
}

static void nothing(void)
{
}

static __attribute__((used)) void (*resolve_early(void))(void)
{
	install();
	return nothing;
}

static void early(void) __attribute__((ifunc("resolve_early")));

bool lp_sanitizer_allocates(void)
{
	early(); /* so that there is a relocation for it */
	return installed > 0;
}

size_t lp_sanitizer_usable(void *block)
{
	return __sanitizer_get_allocated_size(block);
}

void lp_sanitizer_on_death(void (*function)(void))
{
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(function);
}

/* Whether the calling thread has our signal blocked, which the program cannot do (signals.c): a
 * sanitizer does while it starts a thread for itself. */
bool lp_sanitizer_is_calling(void)
{
	uint64_t mask = 0;

	if (installed <= 0 || !lp_signal)
		return false;
	LP_SYS4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	return mask >> (lp_signal - 1) & 1;
}

static bool is_registered(int tid)
{
	struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = lp_thread_at(i)); i++)
		if (thread->used && thread->tid == tid)
			return true;
	return false;
}

/* The signals that TID has blocked, from its status in /proc. */
static uint64_t blocked_signals(int tid)
{
	char path[64] = "/proc/self/task/";
	char text[4096];
	char digits[12];
	size_t length = strlen(path);
	uint64_t mask = 0;
	const char *at;
	int n = 0;

	do
		digits[n++] = (char)('0' + tid % 10);
	while ((tid /= 10));
	while (n > 0)
		path[length++] = digits[--n];
	memcpy(path + length, "/status", 8);
	lp_sys_read_text(path, text, sizeof(text));
	at = strstr(text, "SigBlk:\t");
	for (at = at ? at + 8 : ""; *at > ' '; at++)
		mask = mask << 4 | (uint64_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
	return mask;
}

bool lp_sanitizer_thread(int tid)
{
	return installed > 0 && !is_registered(tid) && blocked_signals(tid) >> (lp_signal - 1) & 1;
}

/* TSan's pthread_create came first: it calls ours, so that what runs in the new thread before its
 * own start is ours, where nothing may allocate yet. */
bool lp_sanitizer_starts_threads(void)
{
	return installed > 0 && __tsan_init && !lp_next("__tsan_init", NULL);
}
