/* SPDX-License-Identifier: MIT */
/*
 * The table of leakprof's own mappings. A slot is claimed by its size and published by its start;
 * slots are found by a linear search from the last hint, as mapping is rare.
 */
#include "core/own.h"
#include "core/sys.h"

static struct lp_own_range ranges[LP_OWN_MAX];
static size_t used; /* slots ever used: the snapshot reads no further */

static struct lp_own_range *claim(size_t size)
{
	size_t i;

	for (i = 0; i < LP_OWN_MAX; i++) {
		size_t none = 0;

		if (__atomic_compare_exchange_n(&ranges[i].size, &none, size, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED)) {
			size_t seen = __atomic_load_n(&used, __ATOMIC_RELAXED);

			while (seen < i + 1 &&
			       !__atomic_compare_exchange_n(&used, &seen, i + 1, 0,
							    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
				;
			return &ranges[i];
		}
	}
	return NULL;
}

void *lp_own_map(size_t size)
{
	struct lp_own_range *slot;
	void *address;

	size = LP_ALIGN_UP(size, LP_PAGE);
	slot = claim(size);
	if (!slot)
		return NULL;
	address = lp_sys_map(size);
	if (!address) {
		__atomic_store_n(&slot->size, 0, __ATOMIC_RELEASE);
		return NULL;
	}
	slot->owner = (int)LP_SYS0(SYS_getpid);
	__atomic_store_n(&slot->start, (uintptr_t)address, __ATOMIC_RELEASE);
	return address;
}

void lp_own_record(void *address, size_t size)
{
	struct lp_own_range *slot = claim(size);

	if (!slot)
		return;
	slot->owner = (int)LP_SYS0(SYS_getpid);
	__atomic_store_n(&slot->start, (uintptr_t)address, __ATOMIC_RELEASE);
}

static struct lp_own_range *slot_of(const void *address)
{
	size_t i;

	for (i = 0; i < used; i++)
		if (ranges[i].size && ranges[i].start == (uintptr_t)address)
			return &ranges[i];
	return NULL;
}

void lp_own_unmap(void *address, size_t size)
{
	struct lp_own_range *slot;

	if (!address)
		return;
	lp_sys_unmap(address, LP_ALIGN_UP(size, LP_PAGE));
	slot = slot_of(address);
	if (!slot)
		return;
	slot->start = 0;
	__atomic_store_n(&slot->size, 0, __ATOMIC_RELEASE);
}

void *lp_own_grow(void *address, size_t size, size_t new_size)
{
	struct lp_own_range *slot;
	long moved;

	new_size = LP_ALIGN_UP(new_size, LP_PAGE);
	moved = LP_SYS4(SYS_mremap, address, LP_ALIGN_UP(size, LP_PAGE), new_size, MREMAP_MAYMOVE);
	if (moved < 0 && moved > -4096)
		return NULL;
	slot = slot_of(address);
	if (slot) {
		slot->start = (uintptr_t)moved;
		slot->size = new_size;
	}
	return (void *)moved;
}

void lp_own_give(void *address, int pid)
{
	slot_of(address)->owner = pid;
}

void lp_own_release(int pid)
{
	size_t i;

	for (i = 0; i < used; i++) {
		uintptr_t start = __atomic_load_n(&ranges[i].start, __ATOMIC_ACQUIRE);

		if (!start || ranges[i].owner != pid)
			continue;
		lp_sys_unmap((void *)start, ranges[i].size);
		ranges[i].start = 0;
		__atomic_store_n(&ranges[i].size, 0, __ATOMIC_RELEASE);
	}
}

const struct lp_own_range *lp_own_ranges(size_t *count)
{
	*count = used;
	return ranges;
}

size_t lp_own_bytes(void)
{
	size_t i;
	size_t total = 0;

	for (i = 0; i < used; i++)
		total += ranges[i].size;
	return total;
}
