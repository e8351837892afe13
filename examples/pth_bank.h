/* SPDX-License-Identifier: MIT */
/*
 * What the leaking example and its fixed twin share: starting a detached goroutine, and locks and
 * conditions that are allocated as a program would.
 */
#ifndef EXAMPLES_PTH_BANK_H
#define EXAMPLES_PTH_BANK_H

#include <pth.h>
#include <stdio.h>
#include <stdlib.h>

struct account {
	pth_mutex_t lock;
	long balance;
};

struct config {
	pth_mutex_t lock;
	pth_cond_t changed;
	int ready;
};

static inline pth_t start(void *(*function)(void *), void *argument, int joinable)
{
	pth_attr_t attributes = pth_attr_new();
	pth_t thread;

	pth_attr_set(attributes, PTH_ATTR_JOINABLE, joinable);
	thread = pth_spawn(attributes, function, argument);
	pth_attr_destroy(attributes);
	return thread;
}

static inline struct config *new_config(void)
{
	struct config *config = calloc(1, sizeof(*config));

	pth_mutex_init(&config->lock);
	pth_cond_init(&config->changed);
	return config;
}

/* Lets all others run until they wait. */
static inline void let_others_run(void)
{
	int i;

	for (i = 0; i < 20; i++)
		pth_yield(NULL);
}

#endif
