/* SPDX-License-Identifier: MIT */
/*
 * See debuginfo.h. Most of the debug information of a large program is never asked for, so each
 * step reads only what leads to the next one:
 *
 *     open        the top entry of every unit, for its ranges of addresses
 *     a unit      its functions' ranges, what is in a function is stepped over; its lines
 *     a function  its name and its inlined calls
 *
 * An address is then found by three binary searches and a look at one function's scopes.
 *
 * How an entry is read is in debuginfo_entry.c. A damaged file may have ranges that overlap without
 * end: each search of ranges ends where none reaches.
 *
 * libdwarf 20210528 and 0.x differ in dwarf_init_path only, as far as is used here. Neither is
 * asked to keep account of what it allocates, which takes most of its time: all that it gives out
 * is given back here. Nothing here prints or exits: what cannot be read is unknown.
 */
#include <dwarf.h>
#include <libdwarf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/debuginfo.h"
#include "report/debuginfo_entry.h"

#define REFERENCE_MAX 8 /* abstract origin of a specification of ... */

/* LOW .. HIGH belongs to the unit or function number INDEX. */
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

/* A function or a call that was inlined into it, where its code is. Strings are libdwarf's. */
struct scope {
	uint64_t low;
	uint64_t high;
	const char *name;
	const char *system_name;
	int64_t call_file;
	int64_t call_line;
	int64_t start_line;
};

struct function {
	Dwarf_Off die;
	bool loaded;
	struct scope names;    /* the function's own */
	struct scope *inlined; /* callers before what is inlined in them */
	size_t inlined_count;
};

struct line {
	uint64_t address;
	uint32_t file;
	uint32_t line;
	bool end; /* of a sequence: what follows belongs to nothing */
};

struct unit {
	Dwarf_Off die;
	Dwarf_Half version;
	bool loaded;
	bool nested; /* functions inside functions were looked for */
	uint64_t base;
	struct function *functions;
	size_t function_count;
	struct ranges ranges;
	struct line *lines;
	size_t line_count;
	char **files;
	Dwarf_Signed file_count;
};

struct lp_dwarf {
	Dwarf_Debug debug;
	struct unit *units;
	size_t unit_count;
	struct ranges ranges;
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

static void add_range(struct ranges *ranges, uint64_t low, uint64_t high, size_t index)
{
	if (grow(&ranges->data, ranges->count, sizeof(*ranges->data)))
		ranges->data[ranges->count++] = (struct range){low, high, 0, (uint32_t)index};
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

static void add_unit_range(void *context, uint64_t low, uint64_t high)
{
	struct lp_dwarf *dwarf = context;

	add_range(&dwarf->ranges, low, high, dwarf->unit_count - 1);
}

static void add_unit(struct lp_dwarf *dwarf, Dwarf_Half version)
{
	struct unit unit = {.version = version};
	Dwarf_Die die;

	if (dwarf_siblingof_b(dwarf->debug, NULL, 1, &die, NULL) != DW_DLV_OK)
		return;
	unit.base = lp_entry_base(die);
	if (dwarf_dieoffset(die, &unit.die, NULL) == DW_DLV_OK &&
	    grow(&dwarf->units, dwarf->unit_count, sizeof(*dwarf->units))) {
		dwarf->units[dwarf->unit_count++] = unit;
		lp_entry_ranges(dwarf->debug, die, version, unit.base, add_unit_range, dwarf);
	}
	dwarf_dealloc(dwarf->debug, die, DW_DLA_DIE);
}

static void read_units(struct lp_dwarf *dwarf)
{
	Dwarf_Unsigned length;
	Dwarf_Unsigned next;
	Dwarf_Unsigned type_offset;
	Dwarf_Off abbreviations;
	Dwarf_Half version;
	Dwarf_Half address_size;
	Dwarf_Half length_size;
	Dwarf_Half extension_size;
	Dwarf_Half type;
	Dwarf_Sig8 signature;

	while (dwarf_next_cu_header_d(dwarf->debug, 1, &length, &version, &abbreviations,
				      &address_size, &length_size, &extension_size, &signature,
				      &type_offset, &next, &type, NULL) == DW_DLV_OK)
		add_unit(dwarf, version);
	sort_ranges(&dwarf->ranges);
}

/* Without a handler, a call that is given no place for its error aborts the process. Results say
 * enough. */
static void ignore_error(Dwarf_Error error, Dwarf_Ptr argument)
{
	const struct lp_dwarf *dwarf = argument;

	if (dwarf->debug)
		dwarf_dealloc(dwarf->debug, error, DW_DLA_ERROR);
}

static int init_path(const char *path, struct lp_dwarf *dwarf)
{
#ifdef LP_LIBDWARF_2021
	return dwarf_init_path(path, NULL, 0, DW_DLC_READ, DW_GROUPNUMBER_ANY, ignore_error, dwarf,
			       &dwarf->debug, NULL, 0, NULL, NULL);
#else
	return dwarf_init_path(path, NULL, 0, DW_GROUPNUMBER_ANY, ignore_error, dwarf,
			       &dwarf->debug, NULL);
#endif
}

static void finish(Dwarf_Debug debug)
{
#ifdef LP_LIBDWARF_2021
	dwarf_finish(debug, NULL);
#else
	dwarf_finish(debug);
#endif
}

struct lp_dwarf *lp_dwarf_open(const char *path)
{
	struct lp_dwarf *dwarf = calloc(1, sizeof(*dwarf));

	if (!dwarf)
		return NULL;
	dwarf_set_de_alloc_flag(0);
	if (init_path(path, dwarf) != DW_DLV_OK || !dwarf->debug) {
		free(dwarf);
		return NULL;
	}
	read_units(dwarf);
	if (dwarf->ranges.count)
		return dwarf;
	lp_dwarf_close(dwarf);
	return NULL;
}

static void free_functions(struct unit *unit)
{
	size_t i;

	for (i = 0; i < unit->function_count; i++)
		free(unit->functions[i].inlined);
	free(unit->functions);
	free(unit->ranges.data);
	unit->functions = NULL;
	unit->function_count = 0;
	unit->ranges = (struct ranges){0};
}

static void free_unit(struct lp_dwarf *dwarf, struct unit *unit)
{
	Dwarf_Signed i;

	free_functions(unit);
	free(unit->lines);
	for (i = 0; i < unit->file_count; i++)
		dwarf_dealloc(dwarf->debug, unit->files[i], DW_DLA_STRING);
	if (unit->file_count)
		dwarf_dealloc(dwarf->debug, unit->files, DW_DLA_LIST);
}

void lp_dwarf_close(struct lp_dwarf *dwarf)
{
	size_t i;

	if (!dwarf)
		return;
	for (i = 0; i < dwarf->unit_count; i++)
		free_unit(dwarf, &dwarf->units[i]);
	finish(dwarf->debug);
	free(dwarf->units);
	free(dwarf->ranges.data);
	free(dwarf);
}

/* --- A unit's functions --- */

/* A walk of the entries below a unit or a function. ENTRIES is first: what is visited gets it. */
struct walk {
	struct lp_entry_walk entries;
	struct lp_dwarf *dwarf;
	struct unit *unit;
	struct function *function;
	bool nested;
	/* For visit_call. */
	struct scope scope;
};

static void add_function_range(void *context, uint64_t low, uint64_t high)
{
	struct unit *unit = context;

	add_range(&unit->ranges, low, high, unit->function_count - 1);
}

static void visit_function(struct lp_entry_walk *entries, Dwarf_Die die, Dwarf_Half tag)
{
	struct walk *walk = (struct walk *)entries;
	struct unit *unit = walk->unit;
	size_t before = unit->ranges.count;

	if (tag != DW_TAG_subprogram ||
	    !grow(&unit->functions, unit->function_count, sizeof(*unit->functions)))
		return;
	unit->functions[unit->function_count++] = (struct function){.die = entries->last};
	lp_entry_ranges(walk->dwarf->debug, die, unit->version, unit->base, add_function_range,
			unit);
	/* A declaration, or one that is inlined everywhere. */
	if (unit->ranges.count == before)
		unit->function_count--;
}

static bool may_hold_functions(const struct lp_entry_walk *entries, Dwarf_Half tag)
{
	const struct walk *walk = (const struct walk *)entries;

	return tag == DW_TAG_namespace || tag == DW_TAG_class_type ||
	       tag == DW_TAG_structure_type || tag == DW_TAG_module ||
	       (walk->nested && (tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block));
}

static void read_functions(struct lp_dwarf *dwarf, struct unit *unit, Dwarf_Die die, bool nested)
{
	struct walk walk = {
		.entries = {dwarf->debug, 0, visit_function, may_hold_functions},
		.dwarf = dwarf,
		.unit = unit,
		.nested = nested,
	};

	free_functions(unit);
	unit->nested = nested;
	lp_entry_walk_below(&walk.entries, die);
	sort_ranges(&unit->ranges);
}

/* --- A unit's lines --- */

/* Takes "folder/.." out of PATH: compilers join the build folder and a relative name. */
static void shorten(char *path)
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

static int by_address(const void *a, const void *b)
{
	const struct line *x = a;
	const struct line *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	/* Where one sequence ends and another begins, the beginning counts. */
	return (int)y->end - (int)x->end;
}

static struct line read_line(Dwarf_Line entry)
{
	Dwarf_Unsigned file = 0;
	Dwarf_Unsigned number = 0;
	Dwarf_Addr address = 0;
	Dwarf_Bool end = 0;

	dwarf_lineaddr(entry, &address, NULL);
	dwarf_line_srcfileno(entry, &file, NULL);
	dwarf_lineno(entry, &number, NULL);
	dwarf_lineendsequence(entry, &end, NULL);
	return (struct line){address, (uint32_t)file, (uint32_t)number, end};
}

static void read_lines(struct unit *unit, Dwarf_Die die)
{
	Dwarf_Line_Context context;
	Dwarf_Line *entries;
	Dwarf_Signed count;
	Dwarf_Unsigned version;
	Dwarf_Small tables;
	Dwarf_Signed i;

	if (dwarf_srclines_b(die, &version, &tables, &context, NULL) != DW_DLV_OK)
		return;
	if (dwarf_srclines_from_linecontext(context, &entries, &count, NULL) == DW_DLV_OK) {
		unit->lines = calloc((size_t)count + 1, sizeof(*unit->lines));
		for (i = 0; unit->lines && i < count; i++)
			unit->lines[unit->line_count++] = read_line(entries[i]);
	}
	dwarf_srclines_dealloc_b(context);
	if (unit->line_count)
		qsort(unit->lines, unit->line_count, sizeof(*unit->lines), by_address);
}

static void read_files(struct unit *unit, Dwarf_Die die)
{
	Dwarf_Signed i;

	if (dwarf_srcfiles(die, &unit->files, &unit->file_count, NULL) != DW_DLV_OK)
		unit->file_count = 0;
	for (i = 0; i < unit->file_count; i++)
		shorten(unit->files[i]);
}

/* File NUMBER of an attribute: counted from 0 in DWARF 5, from 1 before. */
static const char *file_name(const struct unit *unit, int64_t number)
{
	int64_t i = unit->version >= 5 ? number : number - 1;

	return i >= 0 && i < unit->file_count ? unit->files[i] : "";
}

/* Where ADDRESS lies among the functions of UNIT. C has none inside others but for an extension of
 * gcc's: these are looked for where nothing else is found. */
static const struct range *find_function(struct lp_dwarf *dwarf, struct unit *unit,
					 uint64_t address)
{
	const struct range *found = find_range(&unit->ranges, address);
	Dwarf_Die die;

	if (found || (unit->loaded && unit->nested) ||
	    dwarf_offdie_b(dwarf->debug, unit->die, 1, &die, NULL) != DW_DLV_OK)
		return found;
	if (!unit->loaded) {
		read_files(unit, die);
		read_lines(unit, die);
		read_functions(dwarf, unit, die, false);
		unit->loaded = true;
		found = find_range(&unit->ranges, address);
	}
	if (!found) {
		read_functions(dwarf, unit, die, true);
		found = find_range(&unit->ranges, address);
	}
	dwarf_dealloc(dwarf->debug, die, DW_DLA_DIE);
	return found;
}

/* --- A function's scopes --- */

/* Names and the line of a function, which may be those of the entry that DIE is an instance of. */
static void read_names(struct lp_dwarf *dwarf, Dwarf_Die die, struct scope *scope, int left)
{
	static const Dwarf_Half links[] = {DW_AT_abstract_origin, DW_AT_specification};
	size_t i;

	if (!scope->name)
		scope->name = lp_entry_string(dwarf->debug, die, DW_AT_name);
	if (!scope->system_name)
		scope->system_name = lp_entry_string(dwarf->debug, die, DW_AT_linkage_name);
	if (!scope->start_line)
		scope->start_line = lp_entry_number(dwarf->debug, die, DW_AT_decl_line);
	for (i = 0; left && i < 2; i++) {
		Dwarf_Die origin;

		if (!lp_entry_reference(dwarf->debug, die, links[i], &origin))
			continue;
		read_names(dwarf, origin, scope, left - 1);
		dwarf_dealloc(dwarf->debug, origin, DW_DLA_DIE);
	}
}

static void add_inlined(void *context, uint64_t low, uint64_t high)
{
	struct walk *walk = context;
	struct function *function = walk->function;

	if (!grow(&function->inlined, function->inlined_count, sizeof(*function->inlined)))
		return;
	walk->scope.low = low;
	walk->scope.high = high;
	function->inlined[function->inlined_count++] = walk->scope;
}

static void visit_call(struct lp_entry_walk *entries, Dwarf_Die die, Dwarf_Half tag)
{
	struct walk *walk = (struct walk *)entries;

	if (tag != DW_TAG_inlined_subroutine)
		return;
	walk->scope = (struct scope){
		.call_file = lp_entry_number(walk->dwarf->debug, die, DW_AT_call_file),
		.call_line = lp_entry_number(walk->dwarf->debug, die, DW_AT_call_line),
	};
	read_names(walk->dwarf, die, &walk->scope, REFERENCE_MAX);
	lp_entry_ranges(walk->dwarf->debug, die, walk->unit->version, walk->unit->base, add_inlined,
			walk);
}

static bool may_hold_calls(const struct lp_entry_walk *entries, Dwarf_Half tag)
{
	(void)entries;
	return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block ||
	       tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

static void load_function(struct lp_dwarf *dwarf, struct unit *unit, struct function *function)
{
	struct walk walk = {
		.entries = {dwarf->debug, 0, visit_call, may_hold_calls},
		.dwarf = dwarf,
		.unit = unit,
		.function = function,
	};
	Dwarf_Die die;

	function->loaded = true;
	if (dwarf_offdie_b(dwarf->debug, function->die, 1, &die, NULL) != DW_DLV_OK)
		return;
	read_names(dwarf, die, &function->names, REFERENCE_MAX);
	lp_entry_walk_below(&walk.entries, die);
	dwarf_dealloc(dwarf->debug, die, DW_DLA_DIE);
}

/* FUNCTION, and its inlined calls that hold ADDRESS, outermost first. */
static size_t find_scopes(const struct function *function, uint64_t address,
			  const struct scope **found)
{
	size_t n = 0;
	size_t i;

	found[n++] = &function->names;
	for (i = 0; i < function->inlined_count && n < LP_INLINE_MAX; i++)
		if (address >= function->inlined[i].low && address < function->inlined[i].high)
			found[n++] = &function->inlined[i];
	return n;
}

/* --- Asking --- */

static const struct line *find_line(const struct unit *unit, uint64_t address)
{
	size_t low = 0;
	size_t high = unit->line_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (unit->lines[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && !unit->lines[low - 1].end ? &unit->lines[low - 1] : NULL;
}

size_t lp_dwarf_find(struct lp_dwarf *dwarf, uint64_t address, struct lp_source *sources)
{
	const struct scope *scopes[LP_INLINE_MAX];
	const struct range *range = find_range(&dwarf->ranges, address);
	struct function *function;
	const struct line *line;
	struct unit *unit;
	const char *file;
	int64_t number;
	size_t count;
	size_t i;

	if (!range)
		return 0;
	unit = &dwarf->units[range->index];
	range = find_function(dwarf, unit, address);
	if (!range)
		return 0;
	function = &unit->functions[range->index];
	if (!function->loaded)
		load_function(dwarf, unit, function);
	line = find_line(unit, address);
	file = line ? file_name(unit, line->file) : "";
	number = line ? line->line : 0;
	count = find_scopes(function, address, scopes);
	for (i = 0; i < count; i++) {
		const struct scope *scope = scopes[count - 1 - i];

		sources[i].function = scope->name ? scope->name : "?";
		sources[i].system_name =
			scope->system_name ? scope->system_name : sources[i].function;
		sources[i].file = file;
		sources[i].line = number;
		sources[i].start_line = scope->start_line;
		sources[i].start = range->low;
		file = file_name(unit, scope->call_file);
		number = scope->call_line;
	}
	return count;
}
