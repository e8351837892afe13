/* SPDX-License-Identifier: MIT */
/*
 * See stack_start.h. What a runtime's switch function pushed is not known, but that it called
 * nothing: the first word that a call instruction stands before is the return address into who
 * called it, and the saved frame pointer is among the words before that. A wrong guess makes a call
 * stack poorer; no verdict hangs on it.
 */
#include <string.h>
#include <ucontext.h>

#include "core/stack_start.h"
#include "core/sys.h"
#include "core/thread.h"

#define SWITCH_WORDS 64u /* that a switch may push, vector registers included */

/* Whether NODE's stack can be read from SP up to its end. */
static bool is_readable(const struct lp_collection *collection, const struct lp_node *node,
			uintptr_t sp)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, sp);

	return region && region->prot & PROT_READ && region->end >= node->scan_high;
}

/* --- Waiting --- */

static bool from_wait(const struct lp_node *node, struct lp_raw_stack *stack)
{
	const struct lp_wait *wait = node->wait;

	if ((uintptr_t)wait->frame < node->stack_low ||
	    (uintptr_t)(wait->frame + 2) > node->scan_high)
		return false;
	stack->bp = wait->frame[0];
	stack->pc = wait->frame[1];
	stack->sp = (uintptr_t)(wait->frame + 2);
	stack->bx = wait->bx;
	stack->r12 = wait->r12;
	stack->r13 = wait->r13;
	stack->r14 = wait->r14;
	stack->r15 = wait->r15;
	return true;
}

/* What the runtime saved when it switched away. */
static bool from_context(const struct lp_node *node, struct lp_raw_stack *stack)
{
	const struct lp_context *context = node->context;

	*stack = (struct lp_raw_stack){.pc = context->pc,
				       .sp = context->sp,
				       .bp = context->bp,
				       .bx = context->bx,
				       .r12 = context->r12,
				       .r13 = context->r13,
				       .r14 = context->r14,
				       .r15 = context->r15};
	return context->sp >= node->stack_low && context->sp < node->scan_high;
}

/* --- Running --- */

static const struct lp_thread *thread_on(const struct lp_collection *collection,
					 const struct lp_node *node)
{
	const struct lp_thread *thread;
	size_t i;

	for (i = 0; (thread = collection->input->thread_at(i)); i++)
		if (thread->used && thread->stopped && thread->sp >= node->stack_low &&
		    thread->sp < node->stack_high)
			return thread;
	return NULL;
}

/* Where a signal found THREAD. The unwinder takes PC for a return address, one too high. */
static void from_registers(const struct lp_thread *thread, struct lp_raw_stack *stack)
{
	const uint64_t *registers = thread->registers;

	stack->pc = registers[REG_RIP] + 1;
	stack->sp = registers[REG_RSP];
	stack->bp = registers[REG_RBP];
	stack->bx = registers[REG_RBX];
	stack->r12 = registers[REG_R12];
	stack->r13 = registers[REG_R13];
	stack->r14 = registers[REG_R14];
	stack->r15 = registers[REG_R15];
}

static bool from_thread(const struct lp_collection *collection, const struct lp_node *node,
			struct lp_raw_stack *stack)
{
	const struct lp_thread *thread = thread_on(collection, node);
	const uintptr_t *frame;

	if (!thread || !is_readable(collection, node, thread->sp))
		return false;
	if (thread->registers) {
		from_registers(thread, stack);
		return true;
	}
	/* In a call of ours. */
	frame = (const uintptr_t *)((const struct lp_saved *)thread->sp)->bp;
	if ((uintptr_t)frame < thread->sp || (uintptr_t)(frame + 2) > node->scan_high)
		return false;
	stack->bp = frame[0];
	stack->pc = frame[1];
	stack->sp = (uintptr_t)(frame + 2);
	return true;
}

/* --- Switched away from --- */

/* Whether a call instruction ends at ADDRESS. */
static bool is_return_address(const struct lp_collection *collection, uintptr_t address)
{
	const struct lp_region *region = lp_maps_find(&collection->maps, address);
	const int both = PROT_READ | PROT_EXEC;
	unsigned char code[7];

	if (!region || (region->prot & both) != both || address - region->start < sizeof(code))
		return false;
	memcpy(code, (const void *)(address - sizeof(code)), sizeof(code));
	return code[2] == 0xe8 ||				/* call relative */
	       (code[5] == 0xff && (code[6] & 0xf8) == 0xd0) || /* call register */
	       (code[5] == 0xff && (code[6] & 0xf8) == 0x10) || /* call (register) */
	       (code[4] == 0xff && (code[5] & 0xf8) == 0x50) || /* call 8(register) */
	       (code[3] == 0xff && code[4] == 0x54) ||		/* call 8(register, index) */
	       (code[1] == 0xff && (code[2] & 0xf8) == 0x90) || /* call 32(register) */
	       (code[1] == 0xff && code[2] == 0x15) ||		/* call 32(rip) */
	       (code[0] == 0xff && code[1] == 0x94);		/* call 32(register, index) */
}

/* Of the words FIRST .. RETURN_AT that were pushed, the one that is a frame pointer further up. */
static uintptr_t saved_frame(const struct lp_collection *collection, const struct lp_node *node,
			     const uintptr_t *first, const uintptr_t *return_at)
{
	for (; first < return_at; first++)
		if (*first > (uintptr_t)return_at && !(*first % sizeof(uintptr_t)) &&
		    *first + 2 * sizeof(uintptr_t) <= node->scan_high &&
		    is_return_address(collection, ((const uintptr_t *)*first)[1]))
			return *first;
	return 0;
}

static bool from_switch(const struct lp_collection *collection, const struct lp_node *node,
			struct lp_raw_stack *stack)
{
	const uintptr_t *sp = (const uintptr_t *)LP_ALIGN_UP((uintptr_t)node->goroutine->sp, 8);
	const uintptr_t *end = (const uintptr_t *)LP_ALIGN_DOWN(node->scan_high, 8);
	const uintptr_t *at;

	if ((uintptr_t)sp < node->stack_low || sp >= end ||
	    !is_readable(collection, node, (uintptr_t)sp))
		return false;
	for (at = sp; at < end && at < sp + SWITCH_WORDS; at++) {
		if (!is_return_address(collection, *at))
			continue;
		stack->pc = *at;
		stack->sp = (uintptr_t)(at + 1);
		stack->bp = saved_frame(collection, node, sp, at);
		return true;
	}
	return false;
}

bool lp_stack_start(const struct lp_collection *collection, const struct lp_node *node,
		    struct lp_raw_stack *stack)
{
	if (node->state == LP_STATE_RUNNING)
		return from_thread(collection, node, stack);
	if (node->context)
		return from_context(node, stack);
	if (node->wait)
		return from_wait(node, stack);
	return from_switch(collection, node, stack);
}
