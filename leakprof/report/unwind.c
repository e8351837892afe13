/* SPDX-License-Identifier: MIT */
/*
 * See unwind.h. The first frame's address is that of its call instruction, not of the one behind,
 * so that a call which never returns is still found in its own function.
 *
 * What libunwind finds out about an address is kept, as many goroutines wait below few calls.
 */
#include <libunwind.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "report/unwind.h"

/* Not in libunwind's public header; perf declares it likewise. */
extern int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t space, unw_word_t ip,
					      unw_dyn_info_t *di, unw_proc_info_t *info,
					      int need_unwind_info, void *argument);

/* libunwind's own record of how to go from a frame to its caller. Few differ, so each is there
 * once: what all frames read stays in the cache. */
struct state {
	UT_hash_handle hh;
	uint64_t data[];
};

struct rule {
	uint64_t address;    /* of the frame's call */
	struct state *state; /* NULL: libunwind steps by itself */
	bool in_object;	     /* else the frames end here */
	bool signal;	     /* a signal handler's: the caller's address is no return address */
	UT_hash_handle hh;
};

struct lp_unwinder {
	struct lp_object *const *objects;
	size_t count;
	struct lp_object *last; /* that was looked for */
	unw_addr_space_t space;
	const struct lp_raw_stack *stack;
	const char *bytes;
	uint64_t ip; /* of a new cursor */
	struct rule *rules;
	struct state *states;
};

struct lp_object *lp_object_of(struct lp_object *const *objects, size_t count, uint64_t address)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (address >= objects[i]->low && address < objects[i]->high)
			return objects[i];
	return NULL;
}

/* As lp_object_of, but most often it is the one of the last time. */
static struct lp_object *find_object(struct lp_unwinder *unwinder, uint64_t address)
{
	struct lp_object *last = unwinder->last;

	if (!last || address < last->low || address >= last->high)
		unwinder->last = last = lp_object_of(unwinder->objects, unwinder->count, address);
	return last;
}

static const Elf64_Phdr *find_segment(const struct lp_object *object, uint32_t type)
{
	size_t i;

	for (i = 0; i < object->phnum; i++)
		if (object->phdr[i].p_type == type)
			return &object->phdr[i];
	return NULL;
}

/* The head of .eh_frame_hdr: version, encodings of pointer, count and table. */
struct frame_header {
	unsigned char version;
	unsigned char pointer_encoding;
	unsigned char count_encoding;
	unsigned char table_encoding;
	int32_t eh_frame;
	uint32_t count;
};

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need,
			  void *argument)
{
	struct lp_unwinder *unwinder = argument;
	const struct lp_object *object = find_object(unwinder, ip);
	const Elf64_Phdr *segment = object ? find_segment(object, PT_GNU_EH_FRAME) : NULL;
	const struct frame_header *header =
		segment ? lp_object_at(object, segment->p_vaddr, sizeof(*header)) : NULL;
	unw_dyn_info_t table = {0};

	/* 0x1b: pcrel sdata4; 0x03: udata4; 0x3b: datarel sdata4: what every linker writes. */
	if (!header || header->version != 1 || header->pointer_encoding != 0x1b ||
	    header->count_encoding != 0x03 || header->table_encoding != 0x3b ||
	    header->count > segment->p_filesz / 8)
		return -UNW_ENOINFO;
	table.format = UNW_INFO_FORMAT_REMOTE_TABLE;
	table.start_ip = object->low;
	table.end_ip = object->high;
	table.u.rti.segbase = object->bias + segment->p_vaddr;
	table.u.rti.table_data = table.u.rti.segbase + sizeof(*header);
	table.u.rti.table_len = header->count * 8 / sizeof(unw_word_t);
	return UNW_OBJ(dwarf_search_unwind_table)(space, ip, &table, info, need, argument);
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *argument)
{
	(void)space;
	(void)info;
	(void)argument;
}

static int get_list_address(unw_addr_space_t space, unw_word_t *address, void *argument)
{
	(void)space;
	(void)address;
	(void)argument;
	return -UNW_ENOINFO;
}

static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write,
		      void *argument)
{
	struct lp_unwinder *unwinder = argument;
	const struct lp_raw_stack *stack = unwinder->stack;
	const struct lp_object *object;
	const void *data;

	(void)space;
	if (write)
		return -UNW_EINVAL;
	if (address >= stack->sp && address - stack->sp < stack->length) {
		if (stack->length - (address - stack->sp) < sizeof(*value))
			return -UNW_EINVAL;
		memcpy(value, unwinder->bytes + (address - stack->sp), sizeof(*value));
		return 0;
	}
	object = find_object(unwinder, address);
	data = object ? lp_object_at(object, address - object->bias, sizeof(*value)) : NULL;
	if (!data)
		return -UNW_EINVAL;
	memcpy(value, data, sizeof(*value));
	return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value, int write,
		      void *argument)
{
	const struct lp_unwinder *unwinder = argument;
	const struct lp_raw_stack *stack = unwinder->stack;

	(void)space;
	if (write)
		return -UNW_EREADONLYREG;
	switch (number) {
	case UNW_X86_64_RIP:
		*value = unwinder->ip;
		return 0;
	case UNW_X86_64_RSP:
		*value = stack->sp;
		return 0;
	case UNW_X86_64_RBP:
		*value = stack->bp;
		return 0;
	case UNW_X86_64_RBX:
		*value = stack->bx;
		return 0;
	case UNW_X86_64_R12:
		*value = stack->r12;
		return 0;
	case UNW_X86_64_R13:
		*value = stack->r13;
		return 0;
	case UNW_X86_64_R14:
		*value = stack->r14;
		return 0;
	case UNW_X86_64_R15:
		*value = stack->r15;
		return 0;
	}
	*value = 0;
	return 0;
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value, int write,
			void *argument)
{
	(void)space;
	(void)number;
	(void)value;
	(void)write;
	(void)argument;
	return -UNW_EINVAL;
}

static int resume(unw_addr_space_t space, unw_cursor_t *cursor, void *argument)
{
	(void)space;
	(void)cursor;
	(void)argument;
	return -UNW_EINVAL;
}

static int get_proc_name(unw_addr_space_t space, unw_word_t address, char *name, size_t size,
			 unw_word_t *offset, void *argument)
{
	(void)space;
	(void)address;
	(void)name;
	(void)size;
	(void)offset;
	(void)argument;
	return -UNW_ENOINFO;
}

static unw_accessors_t accessors = {
	.find_proc_info = find_proc_info,
	.put_unwind_info = put_unwind_info,
	.get_dyn_info_list_addr = get_list_address,
	.access_mem = access_mem,
	.access_reg = access_reg,
	.access_fpreg = access_fpreg,
	.resume = resume,
	.get_proc_name = get_proc_name,
};

struct lp_unwinder *lp_unwinder_new(struct lp_object *const *objects, size_t count)
{
	struct lp_unwinder *unwinder = calloc(1, sizeof(*unwinder));

	if (!unwinder)
		return NULL;
	unwinder->objects = objects;
	unwinder->count = count;
	unwinder->space = unw_create_addr_space(&accessors, 0);
	if (!unwinder->space) {
		free(unwinder);
		return NULL;
	}
	unw_set_caching_policy(unwinder->space, UNW_CACHE_GLOBAL);
	return unwinder;
}

void lp_unwinder_free(struct lp_unwinder *unwinder)
{
	struct rule *rule;
	struct rule *next_rule;
	struct state *state;
	struct state *next_state;

	if (!unwinder)
		return;
	HASH_ITER(hh, unwinder->rules, rule, next_rule)
	{
		HASH_DEL(unwinder->rules, rule);
		free(rule);
	}
	HASH_ITER(hh, unwinder->states, state, next_state)
	{
		HASH_DEL(unwinder->states, state);
		free(state);
	}
	unw_destroy_addr_space(unwinder->space);
	free(unwinder);
}

/* --- Rules --- */

struct search {
	struct lp_unwinder *unwinder;
	uint64_t address;
	struct state *found;
};

/* Called for each part of a function: keeps the state of the one that holds the address. */
static int keep_state(void *context, void *data, size_t size, unw_word_t start, unw_word_t end)
{
	struct search *search = context;
	struct lp_unwinder *unwinder = search->unwinder;
	struct state *state;

	if (search->found || search->address < start || search->address >= end)
		return 0;
	HASH_FIND(hh, unwinder->states, data, size, state);
	if (!state) {
		state = calloc(1, sizeof(*state) + size);
		if (!state)
			return -UNW_ENOMEM;
		memcpy(state->data, data, size);
		HASH_ADD_KEYPTR(hh, unwinder->states, state->data, size, state);
	}
	search->found = state;
	return 0;
}

/* The rule for ADDRESS, where CURSOR is; NULL: no memory. A cursor of its own looks for it, as the
 * address that CURSOR has is that behind the call. */
static struct rule *learn(struct lp_unwinder *unwinder, unw_cursor_t *cursor, uint64_t address)
{
	struct search search = {unwinder, address, NULL};
	struct rule *rule = calloc(1, sizeof(*rule));
	unw_cursor_t own;

	if (!rule)
		return NULL;
	unwinder->ip = address;
	if (!unw_init_remote(&own, unwinder->space, unwinder))
		unw_reg_states_iterate(&own, keep_state, &search);
	rule->address = address;
	rule->state = search.found;
	rule->in_object = find_object(unwinder, address);
	rule->signal = unw_is_signal_frame(cursor) > 0;
	HASH_ADD(hh, unwinder->rules, address, sizeof(address), rule);
	return rule;
}

static struct rule *rule_of(struct lp_unwinder *unwinder, unw_cursor_t *cursor, uint64_t address)
{
	struct rule *rule;

	HASH_FIND(hh, unwinder->rules, &address, sizeof(address), rule);
	return rule ? rule : learn(unwinder, cursor, address);
}

/* To the caller, as unw_step, which looks for the rule each time and blocks signals meanwhile. */
static bool step(struct rule *rule, unw_cursor_t *cursor)
{
	return rule->state ? unw_apply_reg_state(cursor, rule->state->data) >= 0
			   : unw_step(cursor) > 0;
}

static bool is_runtime(const struct lp_unwinder *unwinder, uint64_t address)
{
	const struct lp_object *object = lp_object_of(unwinder->objects, unwinder->count, address);

	return object && object->runtime;
}

size_t lp_unwind(struct lp_unwinder *unwinder, const struct lp_stream *stream,
		 const struct lp_raw_stack *stack, uint64_t *addresses)
{
	bool inside =
		is_runtime(unwinder, stack->pc - 1); /* the coroutine library, where it was left */
	unw_word_t last = 0;
	unw_cursor_t cursor;
	struct rule *rule;
	size_t n = 0;

	unwinder->stack = stack;
	unwinder->bytes = stream->stack_bytes + stack->offset;
	unwinder->ip = stack->pc - 1;
	addresses[n++] = stack->pc - 1;
	if (unw_init_remote(&cursor, unwinder->space, unwinder))
		return n;
	rule = rule_of(unwinder, &cursor, stack->pc - 1);
	while (n < LP_FRAMES_MAX && rule && step(rule, &cursor)) {
		unw_word_t ip;
		unw_word_t sp;

		if (unw_get_reg(&cursor, UNW_REG_IP, &ip) ||
		    unw_get_reg(&cursor, UNW_REG_SP, &sp) || !ip || sp <= last)
			break;
		rule = rule_of(unwinder, &cursor, rule->signal ? ip : ip - 1);
		/* Whoever called the library counts also where its code is there no more. */
		if (!rule || (!inside && !rule->in_object))
			break;
		last = sp;
		addresses[n++] = ip - 1;
		inside = inside && is_runtime(unwinder, ip - 1);
	}
	return n;
}
