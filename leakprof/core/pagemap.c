/* SPDX-License-Identifier: MIT */
/*
 * See pagemap.h. An entry of /proc/self/pagemap is 64 bits, of which 63 says that the page is
 * present and 62 that it is swapped (Documentation/admin-guide/mm/pagemap.rst).
 */
#include "core/pagemap.h"
#include "core/sys.h"

int lp_pagemap_open(void)
{
	return lp_sys_open("/proc/self/pagemap", O_RDONLY, 0);
}

size_t lp_pagemap_touched(int pagemap, uintptr_t address, size_t count, bool *touched)
{
	uint64_t entries[LP_PAGEMAP_MAX];
	long n = LP_SYS4(SYS_pread64, pagemap, entries, count * sizeof(*entries),
			 address / LP_PAGE * sizeof(*entries));
	size_t sum = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		touched[i] = (long)(i * sizeof(*entries)) >= n || entries[i] >> 62;
		sum += touched[i];
	}
	return sum;
}
