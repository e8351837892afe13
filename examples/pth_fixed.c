/* SPDX-License-Identifier: MIT */
/*
 * pth_leaks.c without its mistakes: nothing waits for what nobody can give.
 */
#include "pth_bank.h"

static struct account checking = {PTH_MUTEX_INIT, 100};
static struct account savings = {PTH_MUTEX_INIT, 100};
static pth_mutex_t vault = PTH_MUTEX_INIT;
static pth_rwlock_t directory = PTH_RWLOCK_INIT;

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

static void *audit(void *approval)
{
	pth_mutex_acquire(&vault, FALSE, NULL);
	pth_rwlock_acquire(&directory, PTH_RWLOCK_RW, FALSE, NULL);
	wait_for_config(approval);
	pth_rwlock_release(&directory);
	pth_mutex_release(&vault);
	return NULL;
}

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

/* Its day has an end, even without news. */
static void *follow_news(void *port)
{
	pth_event_t news = pth_event(PTH_EVENT_MSG, port);
	pth_event_t evening = pth_event(PTH_EVENT_TIME, pth_timeout(60, 0));

	pth_wait(pth_event_concat(news, evening, NULL));
	pth_event_free(news, PTH_FREE_ALL);
	pth_msgport_get(port);
	pth_msgport_destroy(port);
	return NULL;
}

/* Says that what CONFIG stands for has come. */
static void approve(struct config *config)
{
	pth_mutex_acquire(&config->lock, FALSE, NULL);
	config->ready = 1;
	pth_cond_notify(&config->changed, TRUE);
	pth_mutex_release(&config->lock);
}

static void *run_business(void *unused)
{
	static pth_message_t message[2];
	static pth_barrier_t barrier = PTH_BARRIER_INIT(2);
	struct config *config = new_config();
	struct config *approval = new_config();
	pth_msgport_t port = pth_msgport_create(NULL);
	pth_msgport_t news = pth_msgport_create(NULL);

	start(collect_results, port, FALSE);
	pth_msgport_put(port, &message[0]);
	start(supervise, start(wait_for_config, config, TRUE), FALSE);
	approve(config);
	start(move_from_checking, NULL, FALSE);
	start(move_from_savings, NULL, FALSE);
	start(start_together, &barrier, FALSE);
	start(start_together, &barrier, FALSE);
	start(audit, approval, FALSE);
	pth_yield(NULL);
	start(pay_in, NULL, FALSE);
	start(look_up, NULL, FALSE);
	start(rename_customer, NULL, FALSE);
	start(follow_news, news, FALSE);
	pth_yield(NULL);
	pth_msgport_put(news, &message[1]);
	approve(approval);
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
