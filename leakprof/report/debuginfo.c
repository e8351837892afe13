/* SPDX-License-Identifier: MIT */
/*
 * See debuginfo.h. Opening reads only the top entry of every compilation unit, for its address
 * ranges. A unit that is asked for is read once into two sorted arrays: scopes (functions and
 * inlined calls, with their nesting depth) and lines.
 *
 * libdwarf 20210528 and 0.x differ in dwarf_init_path only, as far as is used here. DWARF 5 range
 * lists need calls of their own in both.
 */
#include <dwarf.h>
#include <libdwarf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/debuginfo.h"

#define DEPTH_MAX 256
#define REFERENCE_MAX 8 /* abstract origin of a specification of ... */

struct scope {
	uint64_t low;
	uint64_t high;
	const char *name;
	const char *system_name;
	const char *call_file; /* NULL: not inlined */
	int64_t call_line;
	int64_t start_line;
	unsigned depth;
};

struct line {
	uint64_t address;
	const char *file;
	int64_t line;
	bool end; /* of a sequence: what follows belongs to nothing */
};

struct unit {
	Dwarf_Off die;
	bool loaded;
	struct scope *scopes;
	size_t scope_count;
	struct line *lines;
	size_t line_count;
	char **files;
	Dwarf_Signed file_count;
	Dwarf_Half version;
};

struct unit_range {
	uint64_t low;
	uint64_t high;
	uint32_t unit;
};

struct lp_dwarf {
	Dwarf_Debug debug;
	struct unit *units;
	size_t unit_count;
	struct unit_range *ranges;
	size_t range_count;
	char **strings;
	size_t string_count;
};

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

/* Keeps a copy of TEXT as long as DWARF. */
static const char *keep(struct lp_dwarf *dwarf, const char *text)
{
	char *copy;

	if (!grow(&dwarf->strings, dwarf->string_count, sizeof(*dwarf->strings)))
		return "";
	copy = strdup(text);
	if (!copy)
		return "";
	dwarf->strings[dwarf->string_count++] = copy;
	return copy;
}

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

/* --- Attributes --- */

static bool get_attribute(Dwarf_Die die, Dwarf_Half number, Dwarf_Attribute *attribute)
{
	return dwarf_attr(die, number, attribute, NULL) == DW_DLV_OK;
}

static int64_t get_number(struct lp_dwarf *dwarf, Dwarf_Die die, Dwarf_Half number)
{
	Dwarf_Attribute attribute;
	Dwarf_Unsigned value = 0;
	Dwarf_Signed signed_value = 0;

	if (!get_attribute(die, number, &attribute))
		return 0;
	if (dwarf_formudata(attribute, &value, NULL) != DW_DLV_OK &&
	    dwarf_formsdata(attribute, &signed_value, NULL) == DW_DLV_OK)
		value = (Dwarf_Unsigned)signed_value;
	dwarf_dealloc(dwarf->debug, attribute, DW_DLA_ATTR);
	return (int64_t)value;
}

static const char *get_string(struct lp_dwarf *dwarf, Dwarf_Die die, Dwarf_Half number)
{
	Dwarf_Attribute attribute;
	const char *kept = NULL;
	char *text;

	if (!get_attribute(die, number, &attribute))
		return NULL;
	if (dwarf_formstring(attribute, &text, NULL) == DW_DLV_OK)
		kept = keep(dwarf, text);
	dwarf_dealloc(dwarf->debug, attribute, DW_DLA_ATTR);
	return kept;
}

/* The entry that attribute NUMBER of DIE refers to; false: none. */
static bool get_reference(struct lp_dwarf *dwarf, Dwarf_Die die, Dwarf_Half number,
			  Dwarf_Die *target)
{
	Dwarf_Attribute attribute;
	Dwarf_Off offset;
	bool found;

	if (!get_attribute(die, number, &attribute))
		return false;
	found = dwarf_global_formref(attribute, &offset, NULL) == DW_DLV_OK &&
		dwarf_offdie_b(dwarf->debug, offset, 1, target, NULL) == DW_DLV_OK;
	dwarf_dealloc(dwarf->debug, attribute, DW_DLA_ATTR);
	return found;
}

/* --- Address ranges --- */

typedef void range_function(void *context, uint64_t low, uint64_t high);

static bool simple_range(Dwarf_Die die, uint64_t *low, uint64_t *high)
{
	enum Dwarf_Form_Class class;
	Dwarf_Addr first;
	Dwarf_Addr last;
	Dwarf_Half form;

	if (dwarf_lowpc(die, &first, NULL) != DW_DLV_OK ||
	    dwarf_highpc_b(die, &last, &form, &class, NULL) != DW_DLV_OK)
		return false;
	*low = first;
	*high = class == DW_FORM_CLASS_ADDRESS ? last : first + last;
	return *high > *low;
}

static void ranges_5(Dwarf_Attribute attribute, Dwarf_Half form, Dwarf_Unsigned value,
		     range_function *range, void *context)
{
	Dwarf_Rnglists_Head head;
	Dwarf_Unsigned count;
	Dwarf_Unsigned offset;
	Dwarf_Unsigned i;

	if (dwarf_rnglists_get_rle_head(attribute, form, value, &head, &count, &offset, NULL) !=
	    DW_DLV_OK)
		return;
	for (i = 0; i < count; i++) {
		unsigned length;
		unsigned code;
		Dwarf_Unsigned raw[2];
		Dwarf_Unsigned cooked[2];
		Dwarf_Bool unavailable;

		if (dwarf_get_rnglists_entry_fields_a(head, i, &length, &code, &raw[0], &raw[1],
						      &unavailable, &cooked[0], &cooked[1],
						      NULL) != DW_DLV_OK)
			break;
		if (code != DW_RLE_end_of_list && code != DW_RLE_base_address &&
		    code != DW_RLE_base_addressx && !unavailable && cooked[1] > cooked[0])
			range(context, cooked[0], cooked[1]);
	}
	dwarf_dealloc_rnglists_head(head);
}

static void ranges_4(struct lp_dwarf *dwarf, Dwarf_Die die, Dwarf_Off offset, uint64_t base,
		     range_function *range, void *context)
{
	Dwarf_Ranges *list;
	Dwarf_Signed count;
	Dwarf_Unsigned bytes;
	Dwarf_Off real_offset;
	Dwarf_Signed i;

	if (dwarf_get_ranges_b(dwarf->debug, offset, die, &real_offset, &list, &count, &bytes,
			       NULL) != DW_DLV_OK)
		return;
	for (i = 0; i < count && list[i].dwr_type != DW_RANGES_END; i++) {
		if (list[i].dwr_type == DW_RANGES_ADDRESS_SELECTION)
			base = list[i].dwr_addr2;
		else if (list[i].dwr_addr2 > list[i].dwr_addr1)
			range(context, base + list[i].dwr_addr1, base + list[i].dwr_addr2);
	}
	dwarf_ranges_dealloc(dwarf->debug, list, count);
}

/* Calls RANGE for each range of addresses of DIE. BASE is the unit's low address. */
static void each_range(struct lp_dwarf *dwarf, Dwarf_Die die, Dwarf_Half version, uint64_t base,
		       range_function *range, void *context)
{
	Dwarf_Attribute attribute;
	Dwarf_Unsigned value = 0;
	Dwarf_Off offset = 0;
	Dwarf_Half form = 0;
	uint64_t low;
	uint64_t high;

	if (simple_range(die, &low, &high)) {
		range(context, low, high);
		return;
	}
	if (!get_attribute(die, DW_AT_ranges, &attribute))
		return;
	dwarf_whatform(attribute, &form, NULL);
	if (form == DW_FORM_rnglistx)
		dwarf_formudata(attribute, &value, NULL);
	else if (dwarf_global_formref(attribute, &offset, NULL) == DW_DLV_OK)
		value = offset;
	if (version >= 5)
		ranges_5(attribute, form, value, range, context);
	else
		ranges_4(dwarf, die, value, base, range, context);
	dwarf_dealloc(dwarf->debug, attribute, DW_DLA_ATTR);
}

static uint64_t base_of(Dwarf_Die die)
{
	Dwarf_Addr low;

	return dwarf_lowpc(die, &low, NULL) == DW_DLV_OK ? low : 0;
}

/* --- Opening --- */

static void add_unit_range(void *context, uint64_t low, uint64_t high)
{
	struct lp_dwarf *dwarf = context;

	if (!grow(&dwarf->ranges, dwarf->range_count, sizeof(*dwarf->ranges)))
		return;
	dwarf->ranges[dwarf->range_count++] =
		(struct unit_range){low, high, (uint32_t)dwarf->unit_count - 1};
}

static void add_unit(struct lp_dwarf *dwarf, Dwarf_Half version)
{
	struct unit unit = {.version = version};
	Dwarf_Die die;

	if (dwarf_siblingof_b(dwarf->debug, NULL, 1, &die, NULL) != DW_DLV_OK)
		return;
	if (dwarf_dieoffset(die, &unit.die, NULL) == DW_DLV_OK &&
	    grow(&dwarf->units, dwarf->unit_count, sizeof(*dwarf->units))) {
		dwarf->units[dwarf->unit_count++] = unit;
		each_range(dwarf, die, version, base_of(die), add_unit_range, dwarf);
	}
	dwarf_dealloc(dwarf->debug, die, DW_DLA_DIE);
}

static int by_low(const void *a, const void *b)
{
	const struct unit_range *x = a;
	const struct unit_range *y = b;

	return (x->low > y->low) - (x->low < y->low);
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
	if (dwarf->range_count)
		qsort(dwarf->ranges, dwarf->range_count, sizeof(*dwarf->ranges), by_low);
}

/* Without a handler, a call that is given no place for its error aborts the process. Results say
 * enough. */
static void ignore_error(Dwarf_Error error, Dwarf_Ptr argument)
{
	(void)error;
	(void)argument;
}

static int init_path(const char *path, Dwarf_Debug *debug)
{
#ifdef LP_LIBDWARF_2021
	return dwarf_init_path(path, NULL, 0, DW_DLC_READ, DW_GROUPNUMBER_ANY, ignore_error, NULL,
			       debug, NULL, 0, NULL, NULL);
#else
	return dwarf_init_path(path, NULL, 0, DW_GROUPNUMBER_ANY, ignore_error, NULL, debug, NULL);
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
	if (init_path(path, &dwarf->debug) != DW_DLV_OK || !dwarf->debug) {
		free(dwarf);
		return NULL;
	}
	read_units(dwarf);
	if (dwarf->range_count)
		return dwarf;
	lp_dwarf_close(dwarf);
	return NULL;
}

void lp_dwarf_close(struct lp_dwarf *dwarf)
{
	size_t i;

	if (!dwarf)
		return;
	for (i = 0; i < dwarf->unit_count; i++) {
		free(dwarf->units[i].scopes);
		free(dwarf->units[i].lines);
	}
	for (i = 0; i < dwarf->string_count; i++)
		free(dwarf->strings[i]);
	finish(dwarf->debug);
	free(dwarf->units);
	free(dwarf->ranges);
	free(dwarf->strings);
	free(dwarf);
}

/* --- Reading a unit --- */

struct scope_context {
	struct lp_dwarf *dwarf;
	struct unit *unit;
	struct scope scope;
};

static void add_scope(void *context, uint64_t low, uint64_t high)
{
	struct scope_context *add = context;
	struct unit *unit = add->unit;

	if (!grow(&unit->scopes, unit->scope_count, sizeof(*unit->scopes)))
		return;
	add->scope.low = low;
	add->scope.high = high;
	unit->scopes[unit->scope_count++] = add->scope;
}

/* File NUMBER of an attribute: counted from 0 in DWARF 5, from 1 before. */
static const char *file_name(const struct unit *unit, int64_t number)
{
	int64_t i = unit->version >= 5 ? number : number - 1;

	return i >= 0 && i < unit->file_count ? unit->files[i] : "";
}

/* Names and the line of a function, which may be those of the entry that DIE is an instance of. */
static void read_names(struct lp_dwarf *dwarf, Dwarf_Die die, struct scope *scope, int left)
{
	static const Dwarf_Half links[] = {DW_AT_abstract_origin, DW_AT_specification};
	size_t i;

	if (!scope->name)
		scope->name = get_string(dwarf, die, DW_AT_name);
	if (!scope->system_name)
		scope->system_name = get_string(dwarf, die, DW_AT_linkage_name);
	if (!scope->start_line)
		scope->start_line = get_number(dwarf, die, DW_AT_decl_line);
	for (i = 0; left && i < 2; i++) {
		Dwarf_Die origin;

		if (!get_reference(dwarf, die, links[i], &origin))
			continue;
		read_names(dwarf, origin, scope, left - 1);
		dwarf_dealloc(dwarf->debug, origin, DW_DLA_DIE);
	}
}

static void read_scope(struct lp_dwarf *dwarf, struct unit *unit, Dwarf_Die die, bool inlined,
		       unsigned depth, uint64_t base)
{
	struct scope_context add = {dwarf, unit, {.depth = depth}};

	read_names(dwarf, die, &add.scope, REFERENCE_MAX);
	if (inlined) {
		add.scope.call_file = file_name(unit, get_number(dwarf, die, DW_AT_call_file));
		add.scope.call_line = get_number(dwarf, die, DW_AT_call_line);
	}
	each_range(dwarf, die, unit->version, base, add_scope, &add);
}

/* Walks the entries below DIE. Types and variables have no code below them. */
static void read_children(struct lp_dwarf *dwarf, struct unit *unit, Dwarf_Die die, unsigned depth,
			  uint64_t base)
{
	Dwarf_Die child;
	Dwarf_Die next;

	if (depth >= DEPTH_MAX || dwarf_child(die, &child, NULL) != DW_DLV_OK)
		return;
	for (;;) {
		Dwarf_Half tag = 0;

		dwarf_tag(child, &tag, NULL);
		if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine)
			read_scope(dwarf, unit, child, tag == DW_TAG_inlined_subroutine, depth,
				   base);
		if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine ||
		    tag == DW_TAG_lexical_block || tag == DW_TAG_namespace ||
		    tag == DW_TAG_class_type || tag == DW_TAG_structure_type)
			read_children(dwarf, unit, child, depth + 1, base);
		if (dwarf_siblingof_b(dwarf->debug, child, 1, &next, NULL) != DW_DLV_OK)
			break;
		dwarf_dealloc(dwarf->debug, child, DW_DLA_DIE);
		child = next;
	}
	dwarf_dealloc(dwarf->debug, child, DW_DLA_DIE);
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

static void read_line(struct lp_dwarf *dwarf, Dwarf_Line entry, struct line *line,
		      const char **last_file)
{
	Dwarf_Unsigned number = 0;
	Dwarf_Addr address = 0;
	Dwarf_Bool end = 0;
	char *file = NULL;

	dwarf_lineaddr(entry, &address, NULL);
	dwarf_lineno(entry, &number, NULL);
	dwarf_lineendsequence(entry, &end, NULL);
	if (dwarf_linesrc(entry, &file, NULL) == DW_DLV_OK) {
		shorten(file);
		if (!*last_file || strcmp(*last_file, file))
			*last_file = keep(dwarf, file);
		dwarf_dealloc(dwarf->debug, file, DW_DLA_STRING);
	}
	*line = (struct line){address, *last_file ? *last_file : "", (int64_t)number, end};
}

static void read_lines(struct lp_dwarf *dwarf, struct unit *unit, Dwarf_Die die)
{
	Dwarf_Line_Context context;
	Dwarf_Line *entries;
	Dwarf_Signed count;
	Dwarf_Unsigned version;
	Dwarf_Small tables;
	const char *file = NULL;
	Dwarf_Signed i;

	if (dwarf_srclines_b(die, &version, &tables, &context, NULL) != DW_DLV_OK)
		return;
	if (dwarf_srclines_from_linecontext(context, &entries, &count, NULL) == DW_DLV_OK) {
		unit->lines = calloc((size_t)count + 1, sizeof(*unit->lines));
		for (i = 0; unit->lines && i < count; i++)
			read_line(dwarf, entries[i], &unit->lines[unit->line_count++], &file);
	}
	dwarf_srclines_dealloc_b(context);
	if (unit->line_count)
		qsort(unit->lines, unit->line_count, sizeof(*unit->lines), by_address);
}

static void load_unit(struct lp_dwarf *dwarf, struct unit *unit)
{
	Dwarf_Die die;
	Dwarf_Signed i;

	unit->loaded = true;
	if (dwarf_offdie_b(dwarf->debug, unit->die, 1, &die, NULL) != DW_DLV_OK)
		return;
	if (dwarf_srcfiles(die, &unit->files, &unit->file_count, NULL) != DW_DLV_OK)
		unit->file_count = 0;
	for (i = 0; i < unit->file_count; i++)
		shorten(unit->files[i]);
	read_children(dwarf, unit, die, 0, base_of(die));
	read_lines(dwarf, unit, die);
	dwarf_dealloc(dwarf->debug, die, DW_DLA_DIE);
}

/* --- Asking --- */

static struct unit *find_unit(struct lp_dwarf *dwarf, uint64_t address)
{
	size_t low = 0;
	size_t high = dwarf->range_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (dwarf->ranges[middle].low <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* Ranges of different units do not overlap, but for empty ones that a linker left at low
	 * addresses. */
	while (low-- > 0)
		if (address < dwarf->ranges[low].high)
			return &dwarf->units[dwarf->ranges[low].unit];
	return NULL;
}

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

/* The scopes that hold ADDRESS, outermost first. */
static size_t find_scopes(const struct unit *unit, uint64_t address, const struct scope **found)
{
	size_t n = 0;
	size_t i;

	/* Scopes were added from the outside in, so those that hold one address are in order of
	 * depth. */
	for (i = 0; i < unit->scope_count && n < LP_INLINE_MAX; i++)
		if (address >= unit->scopes[i].low && address < unit->scopes[i].high)
			found[n++] = &unit->scopes[i];
	return n;
}

size_t lp_dwarf_find(struct lp_dwarf *dwarf, uint64_t address, struct lp_source *sources)
{
	const struct scope *scopes[LP_INLINE_MAX];
	struct unit *unit = find_unit(dwarf, address);
	const struct line *line;
	const char *file;
	int64_t number;
	size_t count;
	size_t i;

	if (!unit)
		return 0;
	if (!unit->loaded)
		load_unit(dwarf, unit);
	line = find_line(unit, address);
	file = line ? line->file : "";
	number = line ? line->line : 0;
	count = find_scopes(unit, address, scopes);
	for (i = 0; i < count; i++) {
		const struct scope *scope = scopes[count - 1 - i];

		sources[i].function = scope->name ? scope->name : "?";
		sources[i].system_name =
			scope->system_name ? scope->system_name : sources[i].function;
		sources[i].file = file;
		sources[i].line = number;
		sources[i].start_line = scope->start_line;
		sources[i].start = scopes[0]->low;
		file = scope->call_file ? scope->call_file : "";
		number = scope->call_line;
	}
	return count;
}
