/* SPDX-License-Identifier: MIT */
/*
 * One ELF file of the target, mapped read-only: what unwinding and symbolization read of it, and
 * where its debug information is. Every offset in the file is checked before it is followed.
 */
#ifndef LP_REPORT_OBJECT_H
#define LP_REPORT_OBJECT_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lp_dwarf;

struct lp_object {
	char *path;
	const unsigned char *data; /* NULL: not readable, or not the file that the target had */
	size_t size;
	const Elf64_Phdr *phdr;
	size_t phnum;
	uint64_t bias; /* what to take off a target address to get one of the file */
	uint64_t low;  /* target addresses */
	uint64_t high;
	struct lp_dwarf *dwarf;	 /* of this file or its debug file; NULL: none */
	struct lp_object *debug; /* its separate debug file, or NULL */
	bool runtime;		 /* a coroutine library */
	bool shim;
};

/* Files that are not here, or are others, are looked for below ROOT as well: /proc/PID/root of a
 * process in a container. Empty: nowhere else. */
void lp_object_root(const char *root);

/*
 * Opens PATH. BUILD_ID (hex) is what the target had: another one means that the file was replaced,
 * and it is not used; an empty one is not checked. Never fails: what cannot be read has DATA NULL.
 * NULL: no memory.
 */
struct lp_object *lp_object_open(const char *path, const char *build_id);

void lp_object_close(struct lp_object *object);

/* Sets BIAS, LOW and HIGH from one mapping of the target: START is where file offset OFFSET was
 * mapped. */
void lp_object_place(struct lp_object *object, uint64_t start, uint64_t end, uint64_t offset);

/* LENGTH bytes at the file's own address ADDRESS, or NULL where the file has none. */
const void *lp_object_at(const struct lp_object *object, uint64_t address, size_t length);

/* The section NAME: its contents and *LENGTH; NULL when there is none. */
const void *lp_object_section(const struct lp_object *object, const char *name, size_t *length);

/* The function symbol that holds ADDRESS (of the file): its name, and where it starts. NULL: none.
 */
const char *lp_object_symbol(const struct lp_object *object, uint64_t address, uint64_t *start);

/*
 * Finds the debug file of OBJECT as gdb does: by build ID below the debug folders, then by
 * .gnu_debuglink beside the file, in .debug/ and below /usr/lib/debug. EXTRA is one more debug
 * folder, or NULL.
 */
struct lp_object *lp_object_find_debug(const struct lp_object *object, const char *extra);

#endif
