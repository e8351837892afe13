/* SPDX-License-Identifier: MIT */
/*
 * State Threads as another build may lay it out (that for debugging: a link more in the middle of
 * the control block), as far as a program needs it that creates a thread and ends.
 */
#include <st.h>
#include <stdlib.h>

struct link {
	struct link *next;
	struct link *prev;
};

struct st {
	int state;
	int flags;
	void *(*start)(void *);
	void *argument;
	void *result;
	void *stack;
	struct link links;
	struct link wait_links;
	struct link all;
	unsigned long long due;
	struct st *left;
	struct st *right;
	int heap_index;
	void **data;
	void *joiners;
	unsigned long context[25];
};

static struct st first = {.flags = 1};

int st_init(void)
{
	first.data = (void **)(&first + 1);
	return 0;
}

st_thread_t st_thread_self(void)
{
	return (st_thread_t)&first;
}

st_thread_t st_thread_create(void *(*start)(void *), void *argument, int joinable, int stack_size)
{
	struct st *thread = calloc(1, sizeof(*thread) + 16 * sizeof(void *));

	(void)joinable;
	(void)stack_size;
	if (!thread)
		return NULL;
	thread->state = 1;
	thread->start = start;
	thread->argument = argument;
	thread->stack = thread;
	thread->data = (void **)(thread + 1);
	return (st_thread_t)thread;
}

void st_thread_exit(void *result)
{
	exit(result != NULL);
}

void st_thread_interrupt(st_thread_t thread)
{
	((struct st *)thread)->flags |= 8;
}
