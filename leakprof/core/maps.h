/* SPDX-License-Identifier: MIT */
/*
 * The address space as /proc/self/maps shows it, and what the ELF headers in memory say of it. Runs
 * in the snapshot: reads by raw system calls, asks neither the dynamic linker nor libc (their locks
 * may be held by a thread that the snapshot does not have).
 */
#ifndef LP_CORE_MAPS_H
#define LP_CORE_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/vec.h"

/* One line of /proc/self/maps, in address order. START is first: lp_vec_floor works on it. */
struct lp_region {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t inode;
	const char *path; /* "" for anonymous memory; "[heap]", "[stack]" */
	uint32_t prot;	  /* PROT_ bits */
	bool shared;
};

/* One loaded ELF object. */
struct lp_elf {
	uint64_t base; /* its load bias */
	uint64_t low;  /* of its mappings */
	uint64_t high;
	const char *path;
	const void *phdr; /* Elf64_Phdr[] in memory */
	uint32_t phnum;
	bool excluded; /* its data is no root: a coroutine runtime or the shim */
};

struct lp_maps {
	struct lp_vec regions; /* struct lp_region */
	struct lp_vec elfs;    /* struct lp_elf, by address */
};

/* Reads the map of the calling process. Returns 0 or -errno. */
int lp_maps_read(struct lp_maps *maps);

/* The region that ADDRESS lies in, or NULL. */
const struct lp_region *lp_maps_find(const struct lp_maps *maps, uint64_t address);

/* The loaded object that ADDRESS lies in, or NULL. */
struct lp_elf *lp_maps_elf(const struct lp_maps *maps, uint64_t address);

/* Whether any object that is not EXCLUDED imports the function NAME. */
bool lp_maps_imported(const struct lp_maps *maps, const char *name);

/* Writes ELF's build ID as lower-case hex to TEXT (SIZE bytes); the empty string when it has none.
 */
void lp_elf_build_id(const struct lp_elf *elf, char *text, size_t size);

/* Calls RANGE for each writable segment of ELF, .bss included. */
void lp_elf_writable(const struct lp_elf *elf,
		     void (*range)(void *context, uint64_t low, uint64_t high), void *context);

#endif
