/* SPDX-License-Identifier: MIT */
/*
 * A GNU Pth program with every way to wait, each of them leaked. It ends as if all were well;
 * pth_fixed.c is what it should be.
 */
#include "pth_bank.h"

static struct account checking = {PTH_MUTEX_INIT, 100};
static struct account savings = {PTH_MUTEX_INIT, 100};
static pth_mutex_t vault = PTH_MUTEX_INIT;
static pth_rwlock_t directory = PTH_RWLOCK_INIT;

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

/* Keeps vault and directory locked until an approval that will not come. */
static void *audit(void *approval)
{
	pth_mutex_acquire(&vault, FALSE, NULL);
	pth_rwlock_acquire(&directory, PTH_RWLOCK_RW, FALSE, NULL);
	wait_for_config(approval);
	pth_rwlock_release(&directory);
	pth_mutex_release(&vault);
	return NULL;
}

/* These three wait for the locks of the audit, which are global, but whose owner is leaked. */
static void *pay_in(void *unused)
{
	pth_mutex_acquire(&vault, FALSE, NULL);
	pth_mutex_release(&vault);
	return unused;
}

static void *look_up(void *unused)
{
	pth_rwlock_acquire(&directory, PTH_RWLOCK_RD, FALSE, NULL);
	pth_rwlock_release(&directory);
	return unused;
}

static void *rename_customer(void *unused)
{
	pth_rwlock_acquire(&directory, PTH_RWLOCK_RW, FALSE, NULL);
	pth_rwlock_release(&directory);
	return unused;
}

/* Waits for news on a port, or for the end of the day; both were forgotten. */
static void *follow_news(void *day)
{
	pth_event_t news = pth_event(PTH_EVENT_MSG, pth_msgport_create(NULL));
	pth_event_t evening = pth_event(PTH_EVENT_COND, &((struct config *)day)->changed);

	pth_wait(pth_event_concat(news, evening, NULL));
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
	start(audit, new_config(), FALSE);
	pth_yield(NULL);
	start(pay_in, NULL, FALSE);
	start(look_up, NULL, FALSE);
	start(rename_customer, NULL, FALSE);
	start(follow_news, new_config(), FALSE);
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
