/* SPDX-License-Identifier: MIT */
/*
 * One entry of DWARF: what its attributes say, which addresses it has, and the entries below it.
 * For debuginfo.c only, which knows what entries it wants.
 */
#ifndef LP_REPORT_DEBUGINFO_ENTRY_H
#define LP_REPORT_DEBUGINFO_ENTRY_H

#include <libdwarf.h>
#include <stdbool.h>
#include <stdint.h>

/* Attribute NUMBER of DIE; 0: it has none. */
int64_t lp_entry_number(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half number);

/* Likewise; NULL: it has none. It lives as long as DEBUG. */
const char *lp_entry_string(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half number);

/* The entry that attribute NUMBER of DIE refers to, to be given back; false: none. */
bool lp_entry_reference(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half number, Dwarf_Die *target);

/* The low address of DIE, a unit; 0: it has none. */
uint64_t lp_entry_base(Dwarf_Die die);

typedef void lp_entry_range(void *context, uint64_t low, uint64_t high);

/* Calls RANGE for each range of addresses of DIE. BASE is the unit's low address. */
void lp_entry_ranges(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half version, uint64_t base,
		     lp_entry_range *range, void *context);

/* A walk, which may be the first member of something larger. */
struct lp_entry_walk {
	Dwarf_Debug debug;
	Dwarf_Off last; /* where the last entry was */
	void (*visit)(struct lp_entry_walk *walk, Dwarf_Die die, Dwarf_Half tag);
	bool (*descend)(const struct lp_entry_walk *walk, Dwarf_Half tag);
};

/* Visits the entries below PARENT, and below those that DESCEND allows, in the order of the file.
 */
void lp_entry_walk_below(struct lp_entry_walk *walk, Dwarf_Die parent);

#endif
