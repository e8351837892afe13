/* SPDX-License-Identifier: MIT */
/*
 * What the tests are about: State Threads workers that hand in results. fetch_first leaks the
 * slower ones: they wait for room that nobody makes any more.
 */
#ifndef FETCH_H
#define FETCH_H

#include <st.h>
#include <stdlib.h>

/* A place for one result. */
struct slot {
	st_cond_t changed;
	int full;
	int value;
	int users;
};

static inline struct slot *slot_new(int users)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	slot->changed = st_cond_new();
	slot->users = users;
	return slot;
}

static inline void slot_put(struct slot *slot, int value)
{
	while (slot->full)
		st_cond_wait(slot->changed);
	slot->full = 1;
	slot->value = value;
	st_cond_broadcast(slot->changed);
}

static inline int slot_take(struct slot *slot)
{
	while (!slot->full)
		st_cond_wait(slot->changed);
	slot->full = 0;
	st_cond_broadcast(slot->changed);
	return slot->value;
}

static void *fetch(void *slot)
{
	slot_put(slot, 42);
	return NULL;
}

/* Asks COUNT servers and takes all answers. */
static inline int fetch_all(int count)
{
	struct slot *slot = slot_new(count);
	int sum = 0;
	int i;

	for (i = 0; i < count; i++)
		st_thread_create(fetch, slot, 0, 0);
	for (i = 0; i < count; i++)
		sum += slot_take(slot);
	st_usleep(0);
	return sum;
}

/* Asks COUNT servers and takes the first answer. The next one finds room for its own; the others
 * wait for ever. */
static inline int fetch_first(int count)
{
	struct slot *slot = slot_new(count);
	int i;

	for (i = 0; i < count; i++)
		st_thread_create(fetch, slot, 0, 0);
	i = slot_take(slot);
	/* Until all have handed in, or wait to. */
	st_usleep(1000);
	return i;
}

#endif
