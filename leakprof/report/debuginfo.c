/* SPDX-License-Identifier: MIT */
/*
 * See debuginfo.h. Most of the debug information of a large program is never asked for, so each
 * step reads only what leads to the next one:
 *
 *     open        the top entry of every unit, for its ranges of addresses
 *     a unit      its functions' ranges; what is in a function is stepped over
 *     a function  its inlined calls
 *
 * An address is then found by two binary searches and a look at one function's calls. Lines are
 * libdw's, which decodes a unit's table once.
 *
 * A damaged file may have entries that lead back, or ranges that overlap without end: entries are
 * visited in the order of the file only, and each search of ranges ends where none reaches.
 */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "report/debuginfo.h"

#define DEPTH_MAX 256

/* LOW .. HIGH belongs to the unit, function or call number INDEX. */
struct range {
	uint64_t low;
	uint64_t high;
	uint64_t reach; /* once sorted: the highest end up to here */
	uint32_t index;
};

struct ranges {
	struct range *data;
	size_t count;
};

struct function {
	Dwarf_Die die;
	bool loaded;
	Dwarf_Die *calls; /* inlined, a caller before what is inlined in it */
	size_t call_count;
	struct ranges call_ranges; /* in that order */
};

struct unit {
	Dwarf_Die die;
	bool loaded;
	bool nested; /* functions inside functions were looked for */
	struct function *functions;
	size_t function_count;
	struct ranges ranges;
};

struct lp_dwarf {
	Elf *elf;
	Dwarf *debug;
	struct unit *units;
	size_t unit_count;
	struct ranges ranges;
	char **shortened;
	size_t shortened_count;
	const char *last_long; /* what was shortened last */
};

/* --- Arrays --- */

/* Makes room for one more element at a power of two. */
static bool grow(void *array, size_t count, size_t element)
{
	void **data = array;
	void *larger;

	if (count & (count - 1))
		return true;
	larger = realloc(*data, (count ? count * 2 : 1) * element);
	if (!larger)
		return false;
	*data = larger;
	return true;
}

/* Appends all ranges of DIE, as those of INDEX. */
static void add_ranges(struct ranges *ranges, Dwarf_Die *die, size_t index)
{
	Dwarf_Addr base;
	Dwarf_Addr low;
	Dwarf_Addr high;
	ptrdiff_t offset = 0;

	while ((offset = dwarf_ranges(die, offset, &base, &low, &high)) > 0) {
		if (low >= high)
			continue;
		if (!grow(&ranges->data, ranges->count, sizeof(*ranges->data)))
			return;
		ranges->data[ranges->count++] = (struct range){low, high, 0, (uint32_t)index};
	}
}

static int by_low(const void *a, const void *b)
{
	const struct range *x = a;
	const struct range *y = b;

	return (x->low > y->low) - (x->low < y->low);
}

static void sort_ranges(struct ranges *ranges)
{
	uint64_t reach = 0;
	size_t i;

	if (ranges->count)
		qsort(ranges->data, ranges->count, sizeof(*ranges->data), by_low);
	for (i = 0; i < ranges->count; i++) {
		if (ranges->data[i].high > reach)
			reach = ranges->data[i].high;
		ranges->data[i].reach = reach;
	}
}

/* The range with the highest start that holds ADDRESS. Ranges overlap only where a linker left
 * empty ones at low addresses. */
static const struct range *find_range(const struct ranges *ranges, uint64_t address)
{
	size_t low = 0;
	size_t high = ranges->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges->data[middle].low <= address)
			low = middle + 1;
		else
			high = middle;
	}
	while (low-- > 0 && ranges->data[low].reach > address)
		if (address < ranges->data[low].high)
			return &ranges->data[low];
	return NULL;
}

/* --- Opening --- */

static void add_unit(struct lp_dwarf *dwarf, const Dwarf_Die *die)
{
	if (!grow(&dwarf->units, dwarf->unit_count, sizeof(*dwarf->units)))
		return;
	dwarf->units[dwarf->unit_count++] = (struct unit){.die = *die};
	add_ranges(&dwarf->ranges, &dwarf->units[dwarf->unit_count - 1].die, dwarf->unit_count - 1);
}

static void read_units(struct lp_dwarf *dwarf)
{
	Dwarf_CU *unit = NULL;
	Dwarf_Die die;
	uint8_t type;

	while (!dwarf_get_units(dwarf->debug, unit, &unit, NULL, &type, &die, NULL))
		if (type == DW_UT_compile || type == DW_UT_skeleton)
			add_unit(dwarf, &die);
	sort_ranges(&dwarf->ranges);
}

struct lp_dwarf *lp_dwarf_open(const void *data, size_t size)
{
	struct lp_dwarf *dwarf = calloc(1, sizeof(*dwarf));

	if (!dwarf)
		return NULL;
	elf_version(EV_CURRENT);
	/* Nothing is written through this pointer: the image is opened for reading. */
	dwarf->elf = elf_memory((char *)(uintptr_t)data, size);
	dwarf->debug = dwarf->elf ? dwarf_begin_elf(dwarf->elf, DWARF_C_READ, NULL) : NULL;
	if (dwarf->debug)
		read_units(dwarf);
	if (dwarf->ranges.count)
		return dwarf;
	lp_dwarf_close(dwarf);
	return NULL;
}

static void free_unit(struct unit *unit)
{
	size_t i;

	for (i = 0; i < unit->function_count; i++) {
		free(unit->functions[i].calls);
		free(unit->functions[i].call_ranges.data);
	}
	free(unit->functions);
	free(unit->ranges.data);
}

void lp_dwarf_close(struct lp_dwarf *dwarf)
{
	size_t i;

	if (!dwarf)
		return;
	for (i = 0; i < dwarf->unit_count; i++)
		free_unit(&dwarf->units[i]);
	for (i = 0; i < dwarf->shortened_count; i++)
		free(dwarf->shortened[i]);
	dwarf_end(dwarf->debug);
	elf_end(dwarf->elf);
	free(dwarf->shortened);
	free(dwarf->units);
	free(dwarf->ranges.data);
	free(dwarf);
}

/* --- Walking entries --- */

struct walk {
	void (*visit)(struct walk *walk, Dwarf_Die *die);
	bool (*descend)(const struct walk *walk, int tag);
	const void *last; /* where the last entry was */
	struct unit *unit;
	struct function *function;
	bool nested;
};

/* Visits the entries below PARENT, in the order of the file: what leads back ends the walk. */
static void walk_below(struct walk *walk, Dwarf_Die *parent, unsigned depth)
{
	Dwarf_Die die;
	int more = depth < DEPTH_MAX ? dwarf_child(parent, &die) : 1;

	while (!more && (const char *)die.addr > (const char *)walk->last) {
		walk->last = die.addr;
		walk->visit(walk, &die);
		if (walk->descend(walk, dwarf_tag(&die)))
			walk_below(walk, &die, depth + 1);
		more = dwarf_siblingof(&die, &die);
	}
}

/* --- A unit's functions --- */

static void visit_function(struct walk *walk, Dwarf_Die *die)
{
	struct unit *unit = walk->unit;
	size_t before = unit->ranges.count;

	if (dwarf_tag(die) != DW_TAG_subprogram)
		return;
	add_ranges(&unit->ranges, die, unit->function_count);
	if (unit->ranges.count == before)
		return;
	if (grow(&unit->functions, unit->function_count, sizeof(*unit->functions)))
		unit->functions[unit->function_count++] = (struct function){.die = *die};
	else
		unit->ranges.count = before;
}

static bool may_hold_functions(const struct walk *walk, int tag)
{
	return tag == DW_TAG_namespace || tag == DW_TAG_class_type ||
	       tag == DW_TAG_structure_type || tag == DW_TAG_module ||
	       (walk->nested && (tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block));
}

static void read_functions(struct unit *unit, bool nested)
{
	struct walk walk = {
		.visit = visit_function,
		.descend = may_hold_functions,
		.unit = unit,
		.nested = nested,
	};

	free_unit(unit);
	unit->functions = NULL;
	unit->function_count = 0;
	unit->ranges = (struct ranges){0};
	unit->loaded = true;
	unit->nested = nested;
	walk_below(&walk, &unit->die, 0);
	sort_ranges(&unit->ranges);
}

/* Where ADDRESS lies among the functions of UNIT. C has none inside others but for an extension of
 * gcc's: these are looked for where nothing else is found. */
static const struct range *find_function(struct unit *unit, uint64_t address)
{
	const struct range *found;

	if (!unit->loaded)
		read_functions(unit, false);
	found = find_range(&unit->ranges, address);
	if (found || unit->nested)
		return found;
	read_functions(unit, true);
	return find_range(&unit->ranges, address);
}

/* --- A function's inlined calls --- */

static void visit_call(struct walk *walk, Dwarf_Die *die)
{
	struct function *function = walk->function;

	if (dwarf_tag(die) != DW_TAG_inlined_subroutine ||
	    !grow(&function->calls, function->call_count, sizeof(*function->calls)))
		return;
	function->calls[function->call_count] = *die;
	add_ranges(&function->call_ranges, die, function->call_count++);
}

static bool may_hold_calls(const struct walk *walk, int tag)
{
	(void)walk;
	return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
	       tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

static void read_calls(struct function *function)
{
	struct walk walk = {.visit = visit_call, .descend = may_hold_calls, .function = function};

	function->loaded = true;
	walk_below(&walk, &function->die, 0);
}

/* FUNCTION, and its inlined calls that hold ADDRESS, outermost first. */
static size_t find_scopes(struct function *function, uint64_t address, Dwarf_Die **scopes)
{
	size_t n = 0;
	size_t i;

	if (!function->loaded)
		read_calls(function);
	scopes[n++] = &function->die;
	for (i = 0; i < function->call_ranges.count && n < LP_INLINE_MAX; i++) {
		const struct range *range = &function->call_ranges.data[i];

		if (address >= range->low && address < range->high)
			scopes[n++] = &function->calls[range->index];
	}
	return n;
}

/* --- Asking --- */

static int64_t get_number(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	Dwarf_Word value;

	if (!dwarf_attr_integrate(die, name, &attribute) || dwarf_formudata(&attribute, &value))
		return 0;
	return (int64_t)value;
}

static const char *linker_name(Dwarf_Die *die)
{
	Dwarf_Attribute attribute;

	if (!dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) &&
	    !dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute))
		return NULL;
	return dwarf_formstring(&attribute);
}

/* Takes "folder/.." out of PATH: compilers join the build folder and a relative name. */
static void take_dots_out(char *path)
{
	char *dots;

	while ((dots = strstr(path, "/../"))) {
		char *folder = dots;

		while (folder > path && folder[-1] != '/')
			folder--;
		if (folder == path || !strncmp(folder, "../", 3))
			return;
		memmove(folder, dots + 4, strlen(dots + 4) + 1);
	}
}

/* FILE, which libdw keeps, as a person wants to see it. */
static const char *shorten(struct lp_dwarf *dwarf, const char *file)
{
	char *copy;

	if (!file || !strstr(file, "/../"))
		return file ? file : "";
	if (file == dwarf->last_long)
		return dwarf->shortened[dwarf->shortened_count - 1];
	if (!grow(&dwarf->shortened, dwarf->shortened_count, sizeof(*dwarf->shortened)))
		return file;
	copy = strdup(file);
	if (!copy)
		return file;
	take_dots_out(copy);
	dwarf->last_long = file;
	dwarf->shortened[dwarf->shortened_count++] = copy;
	return copy;
}

/* The file and line of ADDRESS itself. */
static void find_line(struct lp_dwarf *dwarf, struct unit *unit, uint64_t address,
		      struct lp_source *source)
{
	Dwarf_Line *line = dwarf_getsrc_die(&unit->die, address);
	int number = 0;

	if (line)
		dwarf_lineno(line, &number);
	source->file = shorten(dwarf, line ? dwarf_linesrc(line, NULL, NULL) : NULL);
	source->line = number;
}

/* The file and line that CALL was inlined at. */
static void find_call_line(struct lp_dwarf *dwarf, struct unit *unit, Dwarf_Die *call,
			   struct lp_source *source)
{
	const char *file = NULL;
	Dwarf_Files *files;
	size_t count;
	int64_t number = get_number(call, DW_AT_call_file);

	if (!dwarf_getsrcfiles(&unit->die, &files, &count) && number >= 0 && (size_t)number < count)
		file = dwarf_filesrc(files, (size_t)number, NULL, NULL);
	source->file = shorten(dwarf, file);
	source->line = get_number(call, DW_AT_call_line);
}

static void find_names(Dwarf_Die *scope, uint64_t start, struct lp_source *source)
{
	const char *name = dwarf_diename(scope);
	const char *linker = linker_name(scope);

	source->function = name ? name : "?";
	source->system_name = linker ? linker : source->function;
	source->start_line = get_number(scope, DW_AT_decl_line);
	source->start = start;
}

size_t lp_dwarf_find(struct lp_dwarf *dwarf, uint64_t address, struct lp_source *sources)
{
	const struct range *range = find_range(&dwarf->ranges, address);
	Dwarf_Die *scopes[LP_INLINE_MAX];
	struct unit *unit;
	size_t count;
	size_t i;

	if (!range)
		return 0;
	unit = &dwarf->units[range->index];
	range = find_function(unit, address);
	if (!range)
		return 0;
	count = find_scopes(&unit->functions[range->index], address, scopes);
	find_line(dwarf, unit, address, &sources[0]);
	for (i = 0; i < count; i++) {
		find_names(scopes[count - 1 - i], range->low, &sources[i]);
		if (i)
			find_call_line(dwarf, unit, scopes[count - i], &sources[i]);
	}
	return count;
}
