/* SPDX-License-Identifier: MIT */
/*
 * check_annotations=1: looks at each call of leakprof.h and says on standard error what is wrong
 * with it, with the place in the program that made it. For the authors of runtimes, and so not as
 * careful as the rest: it asks the dynamic linker. Never on by itself. It changes nothing else: a
 * wrong call is carried out as it would be without.
 *
 * `checked` in a goroutine's record says what came last: it runs, it waits, it was made ready.
 */
#include <dlfcn.h>
#include <string.h>

#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/target.h"

#define MESSAGES_MAX 100

enum { CHECKED_RUNS = 1, CHECKED_WAITS, CHECKED_READY };

static void append(char **at, const char *end, const char *text)
{
	while (*text && *at < end)
		*(*at)++ = *text++;
}

static void append_number(char **at, const char *end, uint64_t number, unsigned base)
{
	char digits[24];
	char *digit = digits + sizeof(digits) - 1;

	*digit = 0;
	do
		*--digit = "0123456789abcdef"[number % base];
	while (number /= base);
	append(at, end, digit);
}

/* " at /path/program+0x1234", for addr2line. */
static void append_place(char **at, const char *end, const void *address)
{
	Dl_info place;
	bool known = dladdr(address, &place) && place.dli_fname;

	append(at, end, " at ");
	append(at, end, known ? place.dli_fname : "");
	append(at, end, known ? "+0x" : "0x");
	append_number(at, end, (uintptr_t)address - (known ? (uintptr_t)place.dli_fbase : 0), 16);
}

static void complain(const struct lp_goroutine *goroutine, const char *what, const void *caller)
{
	static uint32_t said;
	char line[512];
	char *at = line;
	const char *end = line + sizeof(line) - 1;

	if (__atomic_fetch_add(&said, 1, __ATOMIC_RELAXED) >= MESSAGES_MAX)
		return;
	append(&at, end, "leakprof: annotation error: ");
	if (goroutine) {
		append(&at, end, "goroutine ");
		append_number(&at, end, goroutine->id, 10);
		append(&at, end, goroutine->name ? " (" : "");
		append(&at, end, goroutine->name ? goroutine->name : "");
		append(&at, end, goroutine->name ? ") " : " ");
	}
	append(&at, end, what);
	append_place(&at, end, caller);
	*at++ = '\n';
	lp_sys_write(2, line, (size_t)(at - line));
}

static bool on_stack(const struct lp_goroutine *goroutine, const void *address)
{
	return !goroutine->stack_low ||
	       ((const char *)address >= goroutine->stack_low &&
		(const char *)address <= lp_goroutine_stack_high(goroutine));
}

void lp_check_new(const struct leakprof_new *info, const void *caller)
{
	const char *low = info->stack;
	const char *high = low + info->stack_size;
	struct lp_goroutine *other;
	size_t i;

	if (info->size < offsetof(struct leakprof_new, name))
		complain(NULL, "leakprof_new.size is not set", caller);
	if (info->stack && !info->stack_size)
		complain(NULL, "a new goroutine has a stack without a size", caller);
	if (info->data && ((const char *)info->data < (const char *)info->handle ||
			   (const char *)info->data + info->data_size >
				   (const char *)info->handle + info->handle_size))
		complain(NULL, "a new goroutine's data lie outside of its control block", caller);
	for (i = 0; low && (other = lp_goroutine_at(i)); i++)
		if (other->id && other->stack_low && low < lp_goroutine_stack_high(other) &&
		    other->stack_low < high)
			complain(other, "has a stack that overlaps with a new goroutine's", caller);
}

static const char *check_begin(struct lp_goroutine *goroutine, const struct leakprof_wait *wait)
{
	if (goroutine->checked != CHECKED_RUNS)
		return "begins to wait, but the wait before has not ended";
	goroutine->checked = CHECKED_WAITS;
	if (!wait->kind || wait->kind->size < offsetof(struct leakprof_kind, queue_offset))
		return "waits with a kind whose size is not set";
	if (wait->kind->rule > LEAKPROF_NEVER)
		return "waits with a kind whose rule is unknown";
	if (wait->kind->rule == LEAKPROF_OWNER && !wait->kind->owner)
		return "waits for an owner, but the kind has no function that names it";
	if (!on_stack(goroutine, wait))
		return "waits, but its wait record is not on its stack";
	return NULL;
}

static const char *check_call(struct lp_goroutine *goroutine, int call, const void *argument)
{
	uint32_t before = goroutine->checked;

	if (!goroutine->id)
		return call == LP_CHECK_FINISHED ? "has finished twice"
						 : "is used, but has finished";
	switch (call) {
	case LEAKPROF_CALL_WAIT_BEGIN:
		return check_begin(goroutine, argument);
	case LEAKPROF_CALL_WAIT_END:
		goroutine->checked = CHECKED_RUNS;
		return before == CHECKED_RUNS ? "ends a wait that never began" : NULL;
	case LEAKPROF_CALL_READY:
		goroutine->checked = CHECKED_READY;
		return before == CHECKED_WAITS ? NULL : "is made ready, but does not wait";
	case LEAKPROF_CALL_LEFT:
		return on_stack(goroutine, argument)
			       ? NULL
			       : "was left with a stack pointer outside of its stack";
	case LP_CHECK_FINISHED:
		return before == CHECKED_WAITS ? "has finished, but still waits" : NULL;
	}
	return NULL;
}

void lp_check_call(struct leakprof_goroutine *goroutine, int call, const void *argument,
		   const void *caller)
{
	struct lp_goroutine *record = (struct lp_goroutine *)goroutine;
	const char *wrong = check_call(record, call, argument);

	if (wrong)
		complain(record, wrong, caller);
}
