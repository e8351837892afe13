/* SPDX-License-Identifier: MIT */
/*
 * leakprof.h by itself, over bare user contexts:
 *
 *     annotations MODE
 *
 * A coroutine waits for an object on the heap that nobody else knows. MODE says what else the
 * program tells of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "leakprof.h"

#define STACK 65536

static const struct leakprof_kind kind = {
	.size = sizeof(kind), .rule = LEAKPROF_ANY, .name = "chan receive"};
static const struct leakprof_kind join_kind = {
	.size = sizeof(join_kind), .rule = LEAKPROF_JOIN, .name = "join"};
static const struct leakprof_kind bad_kind = {.size = sizeof(bad_kind), .rule = 77, .name = "bad"};
static const struct leakprof_label labels[] = {{"queue", "mail"}, {"shard", "7"}};

struct coroutine {
	ucontext_t context;
	struct leakprof_goroutine *profile;
	void *object;
	char *stack;
};

static ucontext_t
	scheduler; /* what main had in its registers when it last switched: the runtime's memory */
static struct leakprof_runtime *runtime;
static struct coroutine *current;
static void *kept[4];			  /* what the program keeps: a root */
static struct coroutine *runtime_list[2]; /* what the runtime keeps */

__attribute__((noinline)) static void wait_for(const struct leakprof_kind *how, void *object)
{
	struct coroutine *self = current;
	struct leakprof_wait wait;

	leakprof_wait_begin(self->profile, &wait, how, object, 0, 0);
	swapcontext(&self->context, &scheduler);
	leakprof_wait_end(self->profile);
}

static void waits_for_object(void)
{
	wait_for(&kind, current->object);
}

static void joins(void)
{
	wait_for(&join_kind, current->object);
}

static struct coroutine *spawn(void (*function)(void), void *object, unsigned flags, size_t size)
{
	struct coroutine *coroutine = calloc(1, sizeof(*coroutine));
	struct leakprof_new info = {0};

	coroutine->stack = malloc(STACK);
	memset(coroutine->stack, 0, STACK);
	coroutine->object = object;
	info.size = (uint32_t)size;
	info.flags = flags;
	info.handle = coroutine;
	info.handle_size = sizeof(*coroutine);
	info.stack = coroutine->stack;
	info.stack_size = STACK;
	info.entry = (const void *)(uintptr_t)function;
	info.name = "worker";
	coroutine->profile = leakprof_created(runtime, &info);
	getcontext(&coroutine->context);
	coroutine->context.uc_stack.ss_sp = coroutine->stack;
	coroutine->context.uc_stack.ss_size = STACK;
	coroutine->context.uc_link = &scheduler;
	makecontext(&coroutine->context, function, 0);
	current = coroutine;
	leakprof_entered(coroutine->profile);
	swapcontext(&scheduler, &coroutine->context);
	current = NULL;
	return coroutine;
}

static __attribute__((noinline)) void start(const char *mode)
{
	static char note[] = "the shim";
	unsigned flags = strcmp(mode, "cancellable") ? 0 : LEAKPROF_CANCELLABLE;
	size_t size = strcmp(mode, "older") ? sizeof(struct leakprof_new)
					    : offsetof(struct leakprof_new, name);
	void *object = calloc(1, 64);
	struct coroutine *one = spawn(waits_for_object, object, flags, size);

	runtime_list[0] = one;
	if (!strcmp(mode, "labels"))
		leakprof_labels(one->profile, labels, 2);
	else if (!strcmp(mode, "renamed"))
		leakprof_name(one->profile, note);
	else if (!strcmp(mode, "ignored"))
		leakprof_ignore(one->profile);
	else if (!strcmp(mode, "ignored_object"))
		leakprof_ignore_object(object);
	else if (!strcmp(mode, "kept"))
		kept[0] = object;
	else if (!strcmp(mode, "handle_kept") || !strcmp(mode, "cancellable"))
		kept[0] = one;
	else if (!strcmp(mode, "joined"))
		runtime_list[1] = spawn(joins, one, 0, sizeof(struct leakprof_new));
	else if (!strcmp(mode, "internal") || !strcmp(mode, "internal_root") ||
		 !strcmp(mode, "forgotten"))
		kept[1] = object;
	if (!strncmp(mode, "internal", 8) || !strcmp(mode, "forgotten"))
		leakprof_internal(kept, sizeof(kept));
	if (!strcmp(mode, "internal_root"))
		leakprof_root(&kept[1], sizeof(kept[1]));
	if (!strcmp(mode, "forgotten"))
		leakprof_forget(kept);
	if (!strcmp(mode, "ready"))
		leakprof_ready(one->profile);
	if (!strcmp(mode, "finished"))
		leakprof_finished(one->profile);
}

/* One mistake each, on a goroutine that is otherwise well. */
static void mistake(const char *mode)
{
	struct leakprof_wait wait;
	struct coroutine *one = runtime_list[0];

	if (!strcmp(mode, "wait_twice"))
		leakprof_wait_begin(one->profile, &wait, &kind, one, 0, 0);
	else if (!strcmp(mode, "ready_twice"))
		leakprof_ready(one->profile), leakprof_ready(one->profile);
	else if (!strcmp(mode, "end_unbegun"))
		leakprof_wait_end(one->profile), leakprof_wait_end(one->profile);
	else if (!strcmp(mode, "finished_waiting"))
		leakprof_finished(one->profile);
	else if (!strcmp(mode, "used_after"))
		leakprof_wait_end(one->profile), leakprof_finished(one->profile),
			leakprof_ready(one->profile);
	else if (!strcmp(mode, "bad_kind"))
		leakprof_wait_end(one->profile),
			leakprof_wait_begin(one->profile, &wait, &bad_kind, one, 0, 0);
	else if (!strcmp(mode, "record_elsewhere"))
		leakprof_wait_end(one->profile),
			leakprof_wait_begin(one->profile, &wait, &kind, one, 0, 0);
	else if (!strcmp(mode, "bad_sp"))
		leakprof_left(one->profile, &wait);
	else if (!strcmp(mode, "overlapping_stack")) {
		struct leakprof_new info = {
			.size = sizeof(info), .stack = one->stack + 100, .stack_size = STACK};

		leakprof_created(runtime, &info);
	}
}

/* Writes over what the calls before left on the stack. */
static __attribute__((noinline)) void scrub(void)
{
	volatile char bytes[32768];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IONBF, 0);
	runtime = leakprof_runtime("annotations");
	leakprof_internal(runtime_list, sizeof(runtime_list));
	leakprof_internal(&scheduler, sizeof(scheduler));
	start(mode);
	mistake(mode);
	scrub();
	if (!strcmp(mode, "trigger"))
		printf("collect %d\n", leakprof_collect());
	printf("shim %d\n", leakprof_available());
	return 0;
}
