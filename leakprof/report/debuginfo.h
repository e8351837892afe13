/* SPDX-License-Identifier: MIT */
/*
 * Functions, inlined frames and lines of addresses, by libdwarf. Compilation units are read when an
 * address in them is asked for, and kept.
 */
#ifndef LP_REPORT_DEBUGINFO_H
#define LP_REPORT_DEBUGINFO_H

#include <stddef.h>
#include <stdint.h>

#define LP_INLINE_MAX 64

struct lp_dwarf;

struct lp_source {
	const char *function;	 /* as written; NULL: unknown */
	const char *system_name; /* as the linker has it, or FUNCTION */
	const char *file;	 /* "" when unknown */
	int64_t line;		 /* 0: unknown */
	int64_t start_line;
	uint64_t start; /* address of the function that was not inlined */
};

/* The DWARF of the file PATH; NULL when it has none that can be read. */
struct lp_dwarf *lp_dwarf_open(const char *path);
void lp_dwarf_close(struct lp_dwarf *dwarf);

/*
 * Writes what ADDRESS (of the file) is in to SOURCES, innermost first, at most LP_INLINE_MAX.
 * Returns how many; 0: not known here. Strings live as long as DWARF.
 */
size_t lp_dwarf_find(struct lp_dwarf *dwarf, uint64_t address, struct lp_source *sources);

#endif
