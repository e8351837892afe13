/* SPDX-License-Identifier: MIT */
/*
 * pth_leaks.c without its mistakes: nothing waits for what nobody can give.
 */
#include "pth_bank.h"

static struct account checking = {PTH_MUTEX_INIT, 100};
static struct account savings = {PTH_MUTEX_INIT, 100};

/* Its caller sends the result before it forgets the port. */
static void *collect_results(void *port)
{
	pth_event_t result = pth_event(PTH_EVENT_MSG, port);

	pth_wait(result);
	pth_event_free(result, PTH_FREE_THIS);
	pth_msgport_get(port);
	pth_msgport_destroy(port);
	return NULL;
}

static void *wait_for_config(void *argument)
{
	struct config *config = argument;

	pth_mutex_acquire(&config->lock, FALSE, NULL);
	while (!config->ready)
		pth_cond_await(&config->changed, &config->lock, NULL);
	pth_mutex_release(&config->lock);
	free(config);
	return NULL;
}

/* Both take checking first. */
static void move(struct account *from, struct account *to)
{
	pth_mutex_acquire(&checking.lock, FALSE, NULL);
	pth_yield(NULL);
	pth_mutex_acquire(&savings.lock, FALSE, NULL);
	from->balance -= 10;
	to->balance += 10;
	pth_mutex_release(&savings.lock);
	pth_mutex_release(&checking.lock);
}

static void *move_from_checking(void *unused)
{
	move(&checking, &savings);
	return unused;
}

static void *move_from_savings(void *unused)
{
	move(&savings, &checking);
	return unused;
}

static void *start_together(void *barrier)
{
	pth_barrier_reach(barrier);
	return NULL;
}

static void *supervise(void *worker)
{
	pth_join(worker, NULL);
	return NULL;
}

static void *run_business(void *unused)
{
	static pth_message_t message;
	static pth_barrier_t barrier = PTH_BARRIER_INIT(2);
	struct config *config = new_config();
	pth_msgport_t port = pth_msgport_create(NULL);

	start(collect_results, port, FALSE);
	pth_msgport_put(port, &message);
	start(supervise, start(wait_for_config, config, TRUE), FALSE);
	pth_mutex_acquire(&config->lock, FALSE, NULL);
	config->ready = 1;
	pth_cond_notify(&config->changed, TRUE);
	pth_mutex_release(&config->lock);
	start(move_from_checking, NULL, FALSE);
	start(move_from_savings, NULL, FALSE);
	start(start_together, &barrier, FALSE);
	start(start_together, &barrier, FALSE);
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
