/* SPDX-License-Identifier: MIT */
/*
 * Which pages of the calling process were ever touched. Runs in the snapshot: no malloc, no lock.
 */
#ifndef LP_CORE_PAGEMAP_H
#define LP_CORE_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LP_PAGEMAP_MAX 512 /* pages that are asked for at once */

/* Returns a descriptor for lp_pagemap_touched, or -errno: a program that has changed its user may
 * not read its own. */
int lp_pagemap_open(void);

/* Sets TOUCHED for each of the COUNT pages (at most LP_PAGEMAP_MAX) from ADDRESS on. Those of which
 * the kernel does not tell, or without a PAGEMAP, count as touched. Returns how many are. */
size_t lp_pagemap_touched(int pagemap, uintptr_t address, size_t count, bool *touched);

#endif
