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
#include <errno.h>
#include <stddef.h>

#include "core/heapmap.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

typedef void (*malloc_hook)(const volatile void *, size_t);
typedef void (*free_hook)(const volatile void *);

int __sanitizer_install_malloc_and_free_hooks(malloc_hook, free_hook) __attribute__((weak));
size_t __sanitizer_get_allocated_size(const volatile void *) __attribute__((weak));
void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

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

static void (*resolve_early(void))(void)
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
