/* SPDX-License-Identifier: MIT */
/*
 * See crowd.h. No scheduler: a goroutine that waits goes back to who made it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "crowd.h"
#include "leakprof.h"

struct task {
	void *sp;
	struct leakprof_goroutine *profile;
	void (*function)(void *);
	void *argument;
};

static const struct leakprof_kind waiting = {
	.size = sizeof(waiting), .rule = LEAKPROF_ANY, .name = "chan receive"};
static struct leakprof_runtime *runtime;
static struct task *tasks;
static char *stacks;
static size_t size_of_stack;
static size_t made;
static struct task maker;
static struct task *current;

void crowd_switch(void **save, void *load);
void crowd_first(void);

__asm__(".text\n"
	".globl crowd_switch\n"
	".type crowd_switch, @function\n"
	"crowd_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size crowd_switch, . - crowd_switch\n"
	".globl crowd_first\n"
	".type crowd_first, @function\n"
	"crowd_first:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n"
	"	call *%rbx\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".size crowd_first, . - crowd_first\n");

static void run(void)
{
	current->function(current->argument);
	abort();
}

static void *prepare(char *stack)
{
	void **top = (void **)(stack + size_of_stack);

	*--top = NULL;
	*--top = NULL;
	*--top = (void *)(uintptr_t)crowd_first;
	*--top = NULL;			 /* rbp */
	*--top = (void *)(uintptr_t)run; /* rbx */
	top -= 4;
	return top;
}

void crowd_init(size_t count, size_t stack_bytes)
{
	const struct leakprof_new info = {.size = sizeof(info), .flags = LEAKPROF_MAIN};

	size_of_stack = stack_bytes;
	tasks = calloc(count, sizeof(*tasks));
	stacks = mmap(NULL, count * stack_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!tasks || stacks == MAP_FAILED)
		abort();
	runtime = leakprof_runtime("crowd");
	leakprof_internal(tasks, count * sizeof(*tasks));
	maker.profile = leakprof_created(runtime, &info);
}

static void tell_created(struct task *task, char *stack, const void *created_pc)
{
	const struct leakprof_new info = {
		.size = sizeof(info),
		.handle = task,
		.handle_size = sizeof(*task),
		.data = &task->argument,
		.data_size = sizeof(task->argument),
		.stack = stack,
		.stack_size = size_of_stack,
		.entry = (const void *)(uintptr_t)task->function,
		.created_pc = created_pc,
		.creator = maker.profile,
	};

	task->profile = leakprof_created(runtime, &info);
}

void crowd_go(void (*function)(void *), void *argument)
{
	char *stack = stacks + made * size_of_stack;
	struct task *task = &tasks[made++];

	*task = (struct task){.function = function, .argument = argument};
	tell_created(task, stack, __builtin_return_address(0));
	current = task;
	crowd_switch(&maker.sp, prepare(stack));
	leakprof_left(task->profile, task->sp);
}

_Noreturn void crowd_wait(const void *object)
{
	struct leakprof_wait wait;
	struct task *self = current;

	leakprof_wait_begin(self->profile, &wait, &waiting, object, 0, 0);
	crowd_switch(&self->sp, maker.sp);
	abort();
}
