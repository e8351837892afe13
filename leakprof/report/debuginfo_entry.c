/* SPDX-License-Identifier: MIT */
/*
 * See debuginfo_entry.h. Knows libdwarf, and nothing of what is asked for: no unit, function or
 * line.
 *
 * A damaged file may have entries that lead back: entries are visited in the order of the file
 * only. DWARF 5 range lists need calls of their own. All that libdwarf gives out is given back
 * here, but for strings, which are the file's.
 */
#include <dwarf.h>
#include <stddef.h>

#include "report/debuginfo_entry.h"

#define DEPTH_MAX 256

/* --- Attributes --- */

static bool get_attribute(Dwarf_Die die, Dwarf_Half number, Dwarf_Attribute *attribute)
{
	return dwarf_attr(die, number, attribute, NULL) == DW_DLV_OK;
}

int64_t lp_entry_number(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half number)
{
	Dwarf_Attribute attribute;
	Dwarf_Unsigned value = 0;
	Dwarf_Signed signed_value = 0;

	if (!get_attribute(die, number, &attribute))
		return 0;
	if (dwarf_formudata(attribute, &value, NULL) != DW_DLV_OK &&
	    dwarf_formsdata(attribute, &signed_value, NULL) == DW_DLV_OK)
		value = (Dwarf_Unsigned)signed_value;
	dwarf_dealloc(debug, attribute, DW_DLA_ATTR);
	return (int64_t)value;
}

const char *lp_entry_string(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half number)
{
	Dwarf_Attribute attribute;
	char *text = NULL;

	if (!get_attribute(die, number, &attribute))
		return NULL;
	if (dwarf_formstring(attribute, &text, NULL) != DW_DLV_OK)
		text = NULL;
	dwarf_dealloc(debug, attribute, DW_DLA_ATTR);
	return text;
}

bool lp_entry_reference(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half number, Dwarf_Die *target)
{
	Dwarf_Attribute attribute;
	Dwarf_Off offset;
	bool found;

	if (!get_attribute(die, number, &attribute))
		return false;
	found = dwarf_global_formref(attribute, &offset, NULL) == DW_DLV_OK &&
		dwarf_offdie_b(debug, offset, 1, target, NULL) == DW_DLV_OK;
	dwarf_dealloc(debug, attribute, DW_DLA_ATTR);
	return found;
}

/* --- Address ranges --- */

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
		     lp_entry_range *range, void *context)
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

static void ranges_4(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Off offset, uint64_t base,
		     lp_entry_range *range, void *context)
{
	Dwarf_Ranges *list;
	Dwarf_Signed count;
	Dwarf_Unsigned bytes;
	Dwarf_Off real_offset;
	Dwarf_Signed i;

	if (dwarf_get_ranges_b(debug, offset, die, &real_offset, &list, &count, &bytes, NULL) !=
	    DW_DLV_OK)
		return;
	for (i = 0; i < count && list[i].dwr_type != DW_RANGES_END; i++) {
		if (list[i].dwr_type == DW_RANGES_ADDRESS_SELECTION)
			base = list[i].dwr_addr2;
		else if (list[i].dwr_addr2 > list[i].dwr_addr1)
			range(context, base + list[i].dwr_addr1, base + list[i].dwr_addr2);
	}
	dwarf_ranges_dealloc(debug, list, count);
}

void lp_entry_ranges(Dwarf_Debug debug, Dwarf_Die die, Dwarf_Half version, uint64_t base,
		     lp_entry_range *range, void *context)
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
		ranges_4(debug, die, value, base, range, context);
	dwarf_dealloc(debug, attribute, DW_DLA_ATTR);
}

uint64_t lp_entry_base(Dwarf_Die die)
{
	Dwarf_Addr low;

	return dwarf_lowpc(die, &low, NULL) == DW_DLV_OK ? low : 0;
}

/* --- The entries below --- */

/* Whether DIE lies behind all that were visited: what leads back ends the walk. */
static bool advances(struct lp_entry_walk *walk, Dwarf_Die die)
{
	Dwarf_Off offset;

	if (dwarf_dieoffset(die, &offset, NULL) != DW_DLV_OK || offset <= walk->last)
		return false;
	walk->last = offset;
	return true;
}

static void walk_below(struct lp_entry_walk *walk, Dwarf_Die parent, unsigned depth)
{
	Dwarf_Die die;
	Dwarf_Die next;

	if (depth >= DEPTH_MAX || dwarf_child(parent, &die, NULL) != DW_DLV_OK)
		return;
	while (advances(walk, die)) {
		Dwarf_Half tag = 0;

		dwarf_tag(die, &tag, NULL);
		walk->visit(walk, die, tag);
		if (walk->descend(walk, tag))
			walk_below(walk, die, depth + 1);
		if (dwarf_siblingof_b(walk->debug, die, 1, &next, NULL) != DW_DLV_OK)
			break;
		dwarf_dealloc(walk->debug, die, DW_DLA_DIE);
		die = next;
	}
	dwarf_dealloc(walk->debug, die, DW_DLA_DIE);
}

void lp_entry_walk_below(struct lp_entry_walk *walk, Dwarf_Die parent)
{
	walk_below(walk, parent, 0);
}
