/* SPDX-License-Identifier: MIT */
/*
 * A GNU Pth program with six ways to leak a goroutine. It ends as if all were well; pth_fixed.c is
 * what it should be.
 */
#include "pth_bank.h"

static struct account checking = {PTH_MUTEX_INIT, 100};
static struct account savings = {PTH_MUTEX_INIT, 100};

/* Waits for results on a port that its caller has forgotten. */
static void *collect_results(void *port)
{
	pth_event_t result = pth_event(PTH_EVENT_MSG, port);

	pth_wait(result);
	return NULL;
}

/* Waits for a configuration that nobody will load: whoever had it returned early. */
static void *wait_for_config(void *argument)
{
	struct config *config = argument;

	pth_mutex_acquire(&config->lock, FALSE, NULL);
	while (!config->ready)
		pth_cond_await(&config->changed, &config->lock, NULL);
	pth_mutex_release(&config->lock);
	return NULL;
}

/* The two take the same locks in opposite order. */
static void *move_from_checking(void *unused)
{
	pth_mutex_acquire(&checking.lock, FALSE, NULL);
	pth_yield(NULL);
	pth_mutex_acquire(&savings.lock, FALSE, NULL);
	savings.balance += 10;
	return unused;
}

static void *move_from_savings(void *unused)
{
	pth_mutex_acquire(&savings.lock, FALSE, NULL);
	pth_yield(NULL);
	pth_mutex_acquire(&checking.lock, FALSE, NULL);
	checking.balance += 10;
	return unused;
}

/* A barrier for two, of whom one never comes. */
static void *start_together(void *barrier)
{
	pth_barrier_reach(barrier);
	return NULL;
}

/* Joins a goroutine that is itself leaked. */
static void *supervise(void *worker)
{
	pth_join(worker, NULL);
	return NULL;
}

static void *run_business(void *unused)
{
	pth_barrier_t *barrier = malloc(sizeof(*barrier));

	start(collect_results, pth_msgport_create(NULL), FALSE);
	start(supervise, start(wait_for_config, new_config(), TRUE), FALSE);
	start(move_from_checking, NULL, FALSE);
	start(move_from_savings, NULL, FALSE);
	pth_barrier_init(barrier, 2);
	start(start_together, barrier, FALSE);
	return unused;
}

int main(void)
{
	puts("working");
	fflush(stdout);
	pth_init();
	start(run_business, NULL, FALSE);
	let_others_run();
	puts("done");
	return 0;
}
