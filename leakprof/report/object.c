/* SPDX-License-Identifier: MIT */
/*
 * See object.h.
 */
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "report/object.h"

#define PAGE 4096u
#define DEBUG_FOLDER "/usr/lib/debug"

/* LENGTH bytes at OFFSET of the file, or NULL. */
static const void *bytes_at(const struct lp_object *object, uint64_t offset, uint64_t length)
{
	if (!object->data || offset > object->size || length > object->size - offset)
		return NULL;
	return object->data + offset;
}

static void map_file(struct lp_object *object)
{
	/* What stands there may be of others' making: a pipe must not make us wait. */
	int fd = open(object->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	void *data;

	if (fd < 0)
		return;
	if (!fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_size > 0) {
		data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data != MAP_FAILED) {
			object->data = data;
			object->size = (size_t)status.st_size;
		}
	}
	close(fd);
}

static void unmap_file(struct lp_object *object)
{
	if (object->data)
		munmap((void *)object->data, object->size);
	object->data = NULL;
}

static bool read_head(struct lp_object *object)
{
	const Elf64_Ehdr *head = bytes_at(object, 0, sizeof(*head));

	if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) ||
	    head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_phoff % 8)
		return false;
	object->phdr = bytes_at(object, head->e_phoff, head->e_phnum * sizeof(Elf64_Phdr));
	object->phnum = object->phdr ? head->e_phnum : 0;
	return true;
}

/* The build ID among the notes at NOTES, as hex. */
static bool find_build_id(const unsigned char *notes, size_t size, char *text, size_t room)
{
	while (notes && size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr head;
		uint64_t name;
		uint64_t total;
		uint32_t i;

		memcpy(&head, notes, sizeof(head));
		name = sizeof(head) + ((uint64_t)head.n_namesz + 3) / 4 * 4;
		total = name + ((uint64_t)head.n_descsz + 3) / 4 * 4;
		if (total > size)
			return false;
		if (head.n_type == NT_GNU_BUILD_ID && head.n_namesz == 4 &&
		    2 * (size_t)head.n_descsz < room) {
			for (i = 0; i < head.n_descsz; i++)
				sprintf(text + 2 * i, "%02x", notes[name + i]);
			return true;
		}
		notes += total;
		size -= total;
	}
	return false;
}

static bool build_id(const struct lp_object *object, char *text, size_t room)
{
	size_t i;

	text[0] = 0;
	for (i = 0; i < object->phnum; i++)
		if (object->phdr[i].p_type == PT_NOTE &&
		    find_build_id(
			    bytes_at(object, object->phdr[i].p_offset, object->phdr[i].p_filesz),
			    object->phdr[i].p_filesz, text, room))
			return true;
	return false;
}

struct lp_object *lp_object_open(const char *path, const char *wanted)
{
	struct lp_object *object = calloc(1, sizeof(*object));
	char id[136];

	if (!object)
		return NULL;
	object->path = strdup(path);
	if (!object->path) {
		free(object);
		return NULL;
	}
	map_file(object);
	if (!object->data)
		return object;
	if (!read_head(object) ||
	    (*wanted && (!build_id(object, id, sizeof(id)) || strcmp(id, wanted)))) {
		unmap_file(object);
		object->phnum = 0;
	}
	return object;
}

void lp_object_close(struct lp_object *object)
{
	if (!object)
		return;
	lp_object_close(object->debug);
	unmap_file(object);
	free(object->path);
	free(object);
}

void lp_object_place(struct lp_object *object, uint64_t start, uint64_t end, uint64_t offset)
{
	size_t i;

	object->bias = start - offset;
	object->low = start;
	object->high = end;
	for (i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *segment = &object->phdr[i];

		if (segment->p_type == PT_LOAD && segment->p_flags & PF_X &&
		    offset >= segment->p_offset / PAGE * PAGE &&
		    offset < segment->p_offset + segment->p_filesz)
			object->bias = start - offset + segment->p_offset - segment->p_vaddr;
	}
	for (i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *segment = &object->phdr[i];
		uint64_t first = object->bias + segment->p_vaddr;

		if (segment->p_type != PT_LOAD)
			continue;
		if (first < object->low)
			object->low = first;
		if (first + segment->p_memsz > object->high)
			object->high = first + segment->p_memsz;
	}
}

const void *lp_object_at(const struct lp_object *object, uint64_t address, size_t length)
{
	size_t i;

	for (i = 0; i < object->phnum; i++) {
		const Elf64_Phdr *segment = &object->phdr[i];

		if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
		    address - segment->p_vaddr < segment->p_filesz &&
		    length <= segment->p_filesz - (address - segment->p_vaddr))
			return bytes_at(object, segment->p_offset + address - segment->p_vaddr,
					length);
	}
	return NULL;
}

/* --- Sections --- */

static const Elf64_Shdr *section_headers(const struct lp_object *object, size_t *count)
{
	const Elf64_Ehdr *head = bytes_at(object, 0, sizeof(*head));

	*count = 0;
	if (!head || head->e_shentsize != sizeof(Elf64_Shdr) || head->e_shoff % 8)
		return NULL;
	*count = head->e_shnum;
	return bytes_at(object, head->e_shoff, head->e_shnum * sizeof(Elf64_Shdr));
}

/* A NUL-terminated string of TABLE, or NULL. */
static const char *string_at(const struct lp_object *object, const Elf64_Shdr *table,
			     uint64_t offset)
{
	const char *strings = bytes_at(object, table->sh_offset, table->sh_size);

	if (!strings || offset >= table->sh_size ||
	    !memchr(strings + offset, 0, table->sh_size - offset))
		return NULL;
	return strings + offset;
}

const void *lp_object_section(const struct lp_object *object, const char *name, size_t *length)
{
	size_t count;
	const Elf64_Shdr *sections = section_headers(object, &count);
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)object->data;
	size_t i;

	for (i = 0; sections && i < count && head->e_shstrndx < count; i++) {
		const char *found =
			string_at(object, &sections[head->e_shstrndx], sections[i].sh_name);

		if (!found || strcmp(found, name) || sections[i].sh_type == SHT_NOBITS)
			continue;
		*length = sections[i].sh_size;
		return bytes_at(object, sections[i].sh_offset, sections[i].sh_size);
	}
	return NULL;
}

/* --- Symbols --- */

static const char *search_symbols(const struct lp_object *object, const Elf64_Shdr *table,
				  const Elf64_Shdr *strings, uint64_t address, uint64_t *start)
{
	const Elf64_Sym *symbols = bytes_at(object, table->sh_offset, table->sh_size);
	const char *best = NULL;
	size_t i;

	for (i = 0; symbols && i < table->sh_size / sizeof(*symbols); i++) {
		const Elf64_Sym *symbol = &symbols[i];
		const char *name;

		if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF ||
		    address < symbol->st_value ||
		    address - symbol->st_value >= (symbol->st_size ? symbol->st_size : 1))
			continue;
		name = string_at(object, strings, symbol->st_name);
		/* Of aliases the global one is the name that people know. */
		if (name && (!best || ELF64_ST_BIND(symbol->st_info) == STB_GLOBAL)) {
			best = name;
			*start = symbol->st_value;
		}
	}
	return best;
}

const char *lp_object_symbol(const struct lp_object *object, uint64_t address, uint64_t *start)
{
	static const uint32_t types[] = {SHT_SYMTAB, SHT_DYNSYM};
	size_t count;
	const Elf64_Shdr *sections = section_headers(object, &count);
	const char *name = NULL;
	size_t i;
	size_t j;

	for (j = 0; !name && sections && j < 2; j++)
		for (i = 0; !name && i < count; i++)
			if (sections[i].sh_type == types[j] && sections[i].sh_link < count &&
			    sections[i].sh_offset % 8 == 0)
				name = search_symbols(object, &sections[i],
						      &sections[sections[i].sh_link], address,
						      start);
	return name;
}

/* --- Debug files --- */

static struct lp_object *try_debug(const char *path, const char *id)
{
	struct lp_object *debug = lp_object_open(path, id);

	if (debug && debug->data)
		return debug;
	lp_object_close(debug);
	return NULL;
}

static struct lp_object *by_build_id(const struct lp_object *object, const char *folder)
{
	char id[136];
	char path[4096];

	if (!folder || !build_id(object, id, sizeof(id)) || strlen(id) < 4)
		return NULL;
	snprintf(path, sizeof(path), "%s/.build-id/%.2s/%s.debug", folder, id, id + 2);
	return try_debug(path, id);
}

static struct lp_object *try_link(const char *path, uint32_t crc)
{
	struct lp_object *debug = try_debug(path, "");

	if (!debug || crc32_z(0, debug->data, debug->size) == crc)
		return debug;
	lp_object_close(debug);
	return NULL;
}

/* .gnu_debuglink: a file name, padding to 4 bytes, and the file's CRC. */
static struct lp_object *by_link(const struct lp_object *object)
{
	size_t length = 0;
	const char *name = lp_object_section(object, ".gnu_debuglink", &length);
	struct lp_object *debug;
	char path[8192];
	char *folder;
	char *copy;
	uint32_t crc;

	if (!name || length < 8 || !memchr(name, 0, length - 4) || strchr(name, '/'))
		return NULL;
	copy = strdup(object->path);
	if (!copy)
		return NULL;
	memcpy(&crc, name + length - 4, sizeof(crc));
	folder = dirname(copy);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	debug = try_link(path, crc);
	snprintf(path, sizeof(path), "%s/.debug/%s", folder, name);
	if (!debug)
		debug = try_link(path, crc);
	snprintf(path, sizeof(path), "%s%s/%s", DEBUG_FOLDER, folder, name);
	if (!debug)
		debug = try_link(path, crc);
	free(copy);
	return debug;
}

struct lp_object *lp_object_find_debug(const struct lp_object *object, const char *extra)
{
	struct lp_object *debug;

	if (!object->data)
		return NULL;
	debug = by_build_id(object, extra);
	if (!debug)
		debug = by_build_id(object, DEBUG_FOLDER);
	return debug ? debug : by_link(object);
}
