/* SPDX-License-Identifier: MIT */
/*
 * Where gcc's and clang's runtimes map what on x86-64 (compiler-rt: asan_mapping.h,
 * tsan_platform.h, asan_allocator.h, lsan_allocator.h). The program's own mappings cannot lie in
 * the shadow: ASan has no room there, and TSan moves them.
 */
#include <stddef.h>
#include <sys/mman.h>

#include "core/sanitizer.h"
#include "core/sys.h"

struct area {
	uint64_t low;
	uint64_t high;
	bool reserved; /* only what is inaccessible there: the rest is the program's blocks */
};

struct lp_sanitizer {
	uint64_t start; /* a region starts here, */
	uint64_t end;	/* and one ends here */
	struct area areas[3];
	const char *untracked;
};

#define UNTRACKED(flag)                                                                            \
	"the sanitizer's allocator is linked into the program and does not tell of its blocks: "   \
	"link without " flag ", or with clang"

static const struct lp_sanitizer sanitizers[] = {
	{0x7fff7000,
	 0x10007fff8000,
	 {{0x7fff7000, 0x10007fff8000, false}, {0x500000000000, 0x640000000000, true}},
	 UNTRACKED("-static-libasan")},
	{0x8000000000,
	 0x340000000000,
	 {{0x8000000000, 0x550000000000, false},
	  {0x5a0000000000, 0x720000000000, false},
	  {0x568000000000, 0x7e8000000000, true}},
	 UNTRACKED("-static-libtsan")},
	{0x600000000000,
	 0x640000000000,
	 {{0x600000000000, 0x640000000000, true}},
	 UNTRACKED("-static-liblsan")},
	{0x500000000000,
	 0x540000000000,
	 {{0x500000000000, 0x540000000000, true}},
	 UNTRACKED("-static-liblsan")},
};

static bool is_mapped(const struct lp_maps *maps, const struct lp_sanitizer *sanitizer)
{
	const struct lp_region *first = lp_maps_find(maps, sanitizer->start);
	const struct lp_region *last = lp_maps_find(maps, sanitizer->end - 1);

	return first && first->start == sanitizer->start && last && last->end == sanitizer->end;
}

const struct lp_sanitizer *lp_sanitizer_find(const struct lp_maps *maps)
{
	size_t i;

	for (i = 0; i < LP_ARRAY_SIZE(sanitizers); i++)
		if (is_mapped(maps, &sanitizers[i]))
			return &sanitizers[i];
	return NULL;
}

const char *lp_sanitizer_untracked(const struct lp_sanitizer *sanitizer)
{
	return sanitizer->untracked;
}

bool lp_sanitizer_owns(const struct lp_sanitizer *sanitizer, const struct lp_region *region)
{
	size_t i;

	for (i = 0; sanitizer && i < LP_ARRAY_SIZE(sanitizer->areas); i++) {
		const struct area *area = &sanitizer->areas[i];

		if (region->start >= area->low && region->end <= area->high &&
		    !(area->reserved && region->prot & PROT_READ))
			return true;
	}
	return false;
}
