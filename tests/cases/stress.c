/* SPDX-License-Identifier: MIT */
/*
 * Much of everything (section B of Go's tests, stresstests.go).
 */
#include <errno.h>

#include "cases.h"
#include "leakprof.h"

struct node {
	int level;
	bool fixed;
	struct wait_group started;
};

static void blocked(void *argument)
{
	struct node *parent = argument;
	struct chan *chan = chan_make(parent->fixed ? 1 : 0);

	if (parent->fixed)
		chan_send(chan, VALUE);
	wait_group_done(&parent->started);
	chan_receive(chan, NULL);
}

static void grow(struct node *node);

static void child(void *argument)
{
	struct node *parent = argument;
	struct node *self = NEW(struct node);

	self->level = parent->level - 1;
	self->fixed = parent->fixed;
	grow(self);
	wait_group_done(&parent->started);
	free(self);
}

/* One that blocks, LEVEL children that do likewise, and a snapshot by each node, all at once. */
static void grow(struct node *node)
{
	int i;

	wait_group_add(&node->started, node->level + 1);
	go(blocked, node);
	for (i = 0; i < node->level; i++)
		go(child, node);
	wait_group_wait(&node->started);
	leakprof_collect();
}

static void spawn_and_collect(bool fixed)
{
	struct node root = {.level = 5, .fixed = fixed};

	grow(&root);
}

struct link {
	struct chan *up;
	int left;
	bool dropped;
};

static void chain_link(void *argument);

static void sleeper(void *chan)
{
	go_sleep(3600 * SECOND);
	chan_send(chan, VALUE);
}

static void chain_link(void *argument)
{
	struct link self = *(struct link *)argument;
	struct chan *down = chan_make(0);
	struct link next = {down, self.left - 1, self.dropped};

	if (self.left)
		go(chain_link, memcpy(NEW(struct link), &next, sizeof(next)));
	else if (!self.dropped)
		go(sleeper, down);
	free(argument);
	chan_receive(down, NULL);
	chan_send(self.up, VALUE);
}

static void start_chain(bool dropped)
{
	struct link *first = NEW(struct link);

	first->up = chan_make(1);
	first->left = 999;
	first->dropped = dropped;
	go(chain_link, first);
}

/* Live, each only through the one before it: the last holds a sleeper's channel. */
static void daisy_chain(bool fixed)
{
	(void)fixed;
	start_chain(false);
}

/* Without the sleeper, a thousand are leaked. */
static void dropped_chain(bool fixed)
{
	start_chain(!fixed);
}

const struct leak_case stress_cases[] = {
	{"spawn_and_collect", spawn_and_collect, "blocked [chan receive] 326",
	 "206 for its smaller tree"},
	{"daisy_chain", daisy_chain, ""},
	{"dropped_chain", dropped_chain, "chain_link [chan receive] 1000"},
	{NULL},
};
