/* SPDX-License-Identifier: MIT */
/*
 * Reads /proc/self/maps and the ELF headers of what is mapped. An object is recognised by a
 * readable mapping of offset 0 of a file that starts with an ELF header; its program headers must
 * lie in that mapping.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "core/maps.h"
#include "core/own.h"
#include "core/sys.h"

#define MAPS_BYTES_MAX (64u << 20)

/* Reads the whole file into memory of its own, *RESULT, NUL-terminated. The kernel gives at most a
 * page per read. Returns 0 or -errno. */
static int read_maps(char **result)
{
	size_t size = 1u << 20;
	size_t length = 0;
	char *text = lp_own_map(size);
	long n = -ENOMEM;
	int fd = lp_sys_open("/proc/self/maps", O_RDONLY, 0);

	while (fd >= 0 && text && (n = lp_sys_read(fd, text + length, size - length - 1)) > 0) {
		length += (size_t)n;
		if (size - length < 2 * LP_PAGE) {
			char *larger = size < MAPS_BYTES_MAX ? lp_own_map(size * 2) : NULL;

			if (larger)
				memcpy(larger, text, length);
			lp_own_unmap(text, size);
			text = larger;
			size *= 2;
		}
	}
	if (fd < 0)
		return fd;
	lp_sys_close(fd);
	*result = text;
	return !text ? -ENOMEM : n ? (int)n : length ? 0 : -EIO;
}

static uint64_t hex(const char **at)
{
	uint64_t value = 0;

	for (;; (*at)++) {
		char c = **at;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return value;
	}
}

static void skip_field(const char **at)
{
	while (**at && **at != ' ' && **at != '\n')
		(*at)++;
	while (**at == ' ')
		(*at)++;
}

/* Parses "start-end rwxp offset dev inode   path"; the path is cut out of LINE in place. */
static bool parse_line(char **line, struct lp_region *region)
{
	const char *at = *line;
	char *end = strchr(*line, '\n');

	memset(region, 0, sizeof(*region));
	if (!end)
		return false;
	*end = 0;
	*line = end + 1;
	region->start = hex(&at);
	if (*at++ != '-')
		return false;
	region->end = hex(&at);
	if (*at++ != ' ' || strnlen(at, 5) < 5)
		return false;
	region->prot = (at[0] == 'r' ? PROT_READ : 0) | (at[1] == 'w' ? PROT_WRITE : 0) |
		       (at[2] == 'x' ? PROT_EXEC : 0);
	region->shared = at[3] == 's';
	at += 5;
	region->offset = hex(&at);
	skip_field(&at);
	skip_field(&at);
	while (*at >= '0' && *at <= '9')
		region->inode = region->inode * 10 + (uint64_t)(*at++ - '0');
	while (*at == ' ')
		at++;
	region->path = at;
	return true;
}

/* The program headers of the object whose first page is at START, or NULL when there is none. */
static const Elf64_Phdr *headers(const struct lp_region *first, uint32_t *count)
{
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)first->start;

	if (first->offset || !(first->prot & PROT_READ) || !first->path[0] ||
	    first->path[0] == '[' || memcmp(head->e_ident, ELFMAG, SELFMAG) ||
	    head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_phentsize != sizeof(Elf64_Phdr) ||
	    head->e_phoff + head->e_phnum * sizeof(Elf64_Phdr) > first->end - first->start ||
	    (head->e_type != ET_DYN && head->e_type != ET_EXEC))
		return NULL;
	*count = head->e_phnum;
	return (const Elf64_Phdr *)(first->start + head->e_phoff);
}

static bool add_elf(struct lp_maps *maps, const struct lp_region *first)
{
	struct lp_elf elf = {.path = first->path};
	const Elf64_Phdr *phdr = headers(first, &elf.phnum);
	uint64_t low = UINT64_MAX;
	uint64_t high = 0;
	uint32_t i;

	if (!phdr)
		return true;
	for (i = 0; i < elf.phnum; i++) {
		if (phdr[i].p_type != PT_LOAD)
			continue;
		if (phdr[i].p_vaddr < low)
			low = phdr[i].p_vaddr;
		if (phdr[i].p_vaddr + phdr[i].p_memsz > high)
			high = phdr[i].p_vaddr + phdr[i].p_memsz;
	}
	if (low == UINT64_MAX)
		return true;
	elf.phdr = phdr;
	elf.base = first->start - LP_ALIGN_DOWN(low, LP_PAGE);
	elf.low = first->start;
	elf.high = elf.base + LP_ALIGN_UP(high, LP_PAGE);
	return lp_vec_push(&maps->elfs, &elf);
}

/*
 * A file of which only a piece is mapped at offset 0 (a tool that reads an object) is no loaded
 * object: its other segments are not where its headers say. Believed only when the executable
 * segment is.
 */
static bool is_loaded(const struct lp_maps *maps, const struct lp_elf *elf)
{
	const Elf64_Phdr *phdr = elf->phdr;
	uint32_t i;

	for (i = 0; i < elf->phnum; i++) {
		const struct lp_region *region;

		if (phdr[i].p_type != PT_LOAD || !(phdr[i].p_flags & PF_W))
			continue;
		region = lp_maps_find(maps, elf->base + phdr[i].p_vaddr);
		if (!region || strcmp(region->path, elf->path))
			return false;
	}
	return true;
}

int lp_maps_read(struct lp_maps *maps)
{
	char *text;
	struct lp_region region;
	size_t i;
	int r = read_maps(&text);

	maps->regions = LP_VEC(struct lp_region);
	maps->elfs = LP_VEC(struct lp_elf);
	if (r)
		return r;
	while (*text && parse_line(&text, &region))
		lp_vec_push(&maps->regions, &region);
	for (i = 0; i < maps->regions.count; i++)
		add_elf(maps, lp_vec_at(&maps->regions, struct lp_region, i));
	for (i = maps->elfs.count; i-- > 0;) {
		struct lp_elf *elf = lp_vec_at(&maps->elfs, struct lp_elf, i);

		if (!is_loaded(maps, elf)) {
			memmove(elf, elf + 1, (maps->elfs.count - i - 1) * sizeof(*elf));
			maps->elfs.count--;
		}
	}
	return lp_vec_failed() ? -ENOMEM : 0;
}

const struct lp_region *lp_maps_find(const struct lp_maps *maps, uint64_t address)
{
	long i = lp_vec_floor(&maps->regions, address);
	const struct lp_region *region;

	if (i < 0)
		return NULL;
	region = lp_vec_at(&maps->regions, struct lp_region, i);
	return address < region->end ? region : NULL;
}

struct lp_elf *lp_maps_elf(const struct lp_maps *maps, uint64_t address)
{
	size_t i;

	for (i = 0; i < maps->elfs.count; i++) {
		struct lp_elf *elf = lp_vec_at(&maps->elfs, struct lp_elf, i);

		if (address >= elf->low && address < elf->high)
			return elf;
	}
	return NULL;
}

/* What is needed of the dynamic section. Addresses are made absolute: some linkers' d_ptr already
 * are. */
struct dynamic {
	const Elf64_Sym *symbols;
	const char *strings;
	uint64_t string_size;
	const uint32_t *hash;
	const uint32_t *gnu_hash;
};

static uint64_t absolute(const struct lp_elf *elf, uint64_t address)
{
	return address >= elf->low && address < elf->high ? address : elf->base + address;
}

static bool read_dynamic(const struct lp_elf *elf, struct dynamic *dynamic)
{
	const Elf64_Phdr *phdr = elf->phdr;
	const Elf64_Dyn *dyn = NULL;
	uint32_t i;

	memset(dynamic, 0, sizeof(*dynamic));
	for (i = 0; i < elf->phnum; i++)
		if (phdr[i].p_type == PT_DYNAMIC)
			dyn = (const Elf64_Dyn *)(elf->base + phdr[i].p_vaddr);
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		uint64_t address = absolute(elf, dyn->d_un.d_ptr);

		if (dyn->d_tag == DT_SYMTAB)
			dynamic->symbols = (const Elf64_Sym *)address;
		else if (dyn->d_tag == DT_STRTAB)
			dynamic->strings = (const char *)address;
		else if (dyn->d_tag == DT_STRSZ)
			dynamic->string_size = dyn->d_un.d_val;
		else if (dyn->d_tag == DT_HASH)
			dynamic->hash = (const uint32_t *)address;
		else if (dyn->d_tag == DT_GNU_HASH)
			dynamic->gnu_hash = (const uint32_t *)address;
	}
	return dynamic->symbols && dynamic->strings;
}

/* The highest index that a DT_GNU_HASH table (header, bloom filter, buckets, chains) speaks of,
 * plus one. */
static uint32_t gnu_hash_count(const uint32_t *table)
{
	uint32_t buckets = table[0];
	uint32_t offset = table[1];
	const uint32_t *bucket = table + 4 + 2 * table[2];
	const uint32_t *chain = bucket + buckets;
	uint32_t last = 0;
	uint32_t i;

	for (i = 0; i < buckets; i++)
		if (bucket[i] > last)
			last = bucket[i];
	if (last < offset)
		return offset;
	while (!(chain[last - offset] & 1))
		last++;
	return last + 1;
}

/* How many symbols to look at. Undefined ones come first, but for functions whose address a non-PIE
 * takes. */
static uint32_t symbol_count(const struct dynamic *dynamic)
{
	if (dynamic->hash)
		return dynamic->hash[1];
	return dynamic->gnu_hash ? gnu_hash_count(dynamic->gnu_hash) : 0;
}

static bool imports(const struct lp_elf *elf, const char *name)
{
	struct dynamic dynamic;
	uint32_t count;
	uint32_t i;

	if (!read_dynamic(elf, &dynamic))
		return false;
	count = symbol_count(&dynamic);
	for (i = 1; i < count; i++) {
		const Elf64_Sym *symbol = &dynamic.symbols[i];

		if (symbol->st_shndx == SHN_UNDEF && symbol->st_name < dynamic.string_size &&
		    !strcmp(dynamic.strings + symbol->st_name, name))
			return true;
	}
	return false;
}

bool lp_maps_imported(const struct lp_maps *maps, const char *name)
{
	size_t i;

	for (i = 0; i < maps->elfs.count; i++) {
		const struct lp_elf *elf = lp_vec_at(&maps->elfs, struct lp_elf, i);

		if (!elf->excluded && imports(elf, name))
			return true;
	}
	return false;
}

static const unsigned char *find_build_id(const struct lp_elf *elf, uint32_t *length)
{
	const Elf64_Phdr *phdr = elf->phdr;
	uint32_t i;

	for (i = 0; i < elf->phnum; i++) {
		const char *note = (const char *)(elf->base + phdr[i].p_vaddr);
		const char *end = note + phdr[i].p_memsz;

		while (phdr[i].p_type == PT_NOTE && note + sizeof(Elf64_Nhdr) < end) {
			const Elf64_Nhdr *head = (const Elf64_Nhdr *)note;
			const char *name = note + sizeof(*head);
			const char *data = name + LP_ALIGN_UP(head->n_namesz, 4);

			if (head->n_type == NT_GNU_BUILD_ID && head->n_namesz == 4 &&
			    !memcmp(name, "GNU", 4)) {
				*length = head->n_descsz;
				return (const unsigned char *)data;
			}
			note = data + LP_ALIGN_UP(head->n_descsz, 4);
		}
	}
	return NULL;
}

void lp_elf_build_id(const struct lp_elf *elf, char *text, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t length = 0;
	const unsigned char *id = find_build_id(elf, &length);
	uint32_t i;

	for (i = 0; id && i < length && 2 * i + 2 < size; i++) {
		*text++ = digits[id[i] >> 4];
		*text++ = digits[id[i] & 15];
	}
	*text = 0;
}

void lp_elf_writable(const struct lp_elf *elf,
		     void (*range)(void *context, uint64_t low, uint64_t high), void *context)
{
	const Elf64_Phdr *phdr = elf->phdr;
	uint32_t i;

	for (i = 0; i < elf->phnum; i++) {
		uint64_t low = elf->base + phdr[i].p_vaddr;

		if (phdr[i].p_type == PT_LOAD && phdr[i].p_flags & PF_W)
			range(context, LP_ALIGN_DOWN(low, LP_PAGE),
			      LP_ALIGN_UP(low + phdr[i].p_memsz, LP_PAGE));
	}
}
