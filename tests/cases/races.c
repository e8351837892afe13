/* SPDX-License-Identifier: MIT */
/*
 * Bugs of real programs that leak only in some orders of events (section E of Go's tests), written
 * afresh from their descriptions with the unlucky order forced: a channel `go_on` or the like says
 * "now" where the original was merely unlucky.
 */
#include "cases.h"

#define TIMES 10

/* What most cases share between their goroutines. */
struct shared {
	struct mutex a;
	struct mutex b;
	struct rwmutex rw;
	struct wait_group group;
	struct cond cond;
	struct chan *chan;
	struct chan *stop;
	struct chan *go_on;
	struct chan *then;
	struct context *context;
	bool flag;
	bool fixed;
};

static struct shared *new_shared(bool fixed)
{
	struct shared *shared = NEW(struct shared);

	shared->chan = chan_make(0);
	shared->stop = chan_make(0);
	shared->go_on = chan_make(0);
	shared->then = chan_make(0);
	shared->context = context_with_cancel(context_background());
	shared->fixed = fixed;
	return shared;
}

static void times(void (*start)(struct shared *), bool fixed)
{
	int i;

	for (i = 0; i < TIMES; i++)
		start(new_shared(fixed));
}

/* Cockroach 584: breaks out of its loop with the lock, then locks again. */
static void gossip_manages(void *argument)
{
	struct shared *gossip = argument;

	mutex_lock(&gossip->a);
	if (gossip->fixed)
		mutex_unlock(&gossip->a);
	mutex_lock(&gossip->a);
	mutex_unlock(&gossip->a);
}

static void cockroach584(bool fixed)
{
	go(gossip_manages, new_shared(fixed));
}

/* Cockroach 1462: the reader of events notices the stop first. */
static void sends_events(void *argument)
{
	struct shared *stopper = argument;
	struct chan_case cases[2] = {{.chan = stopper->chan, .value = VALUE, .send = true},
				     {.chan = stopper->fixed ? stopper->stop : NULL}};

	chan_receive(stopper->go_on, NULL);
	if (stopper->fixed)
		chan_select(cases, 2);
	else
		chan_send(stopper->chan, VALUE);
	wait_group_done(&stopper->group);
}

static void receives_events(void *argument)
{
	struct shared *stopper = argument;
	struct chan_case cases[2] = {{.chan = stopper->chan}, {.chan = stopper->stop}};

	while (chan_select(cases, 2) != 1)
		;
	wait_group_done(&stopper->group);
	chan_close(stopper->go_on);
}

static void stops_both(void *argument)
{
	struct shared *stopper = argument;

	wait_group_add(&stopper->group, 2);
	go(sends_events, stopper);
	go(receives_events, stopper);
	chan_close(stopper->stop);
	wait_group_wait(&stopper->group);
}

static void start_cockroach1462(struct shared *stopper)
{
	go(stops_both, stopper);
}

static void cockroach1462(bool fixed)
{
	times(start_cockroach1462, fixed);
}

/* Cockroach 3710: a second read lock behind a writer that waits for the first. */
static void scans_log(void *argument)
{
	struct shared *store = argument;

	rwmutex_rlock(&store->rw);
	chan_send(store->go_on, VALUE);
	chan_receive(store->then, NULL);
	if (!store->fixed)
		rwmutex_rlock(&store->rw);
	rwmutex_runlock(&store->rw);
	if (!store->fixed)
		rwmutex_runlock(&store->rw);
}

static void processes_raft(void *argument)
{
	struct shared *store = argument;

	rwmutex_lock(&store->rw);
	rwmutex_unlock(&store->rw);
}

static void start_cockroach3710(struct shared *store)
{
	go(scans_log, store);
	chan_receive(store->go_on, NULL);
	go(processes_raft, store);
	settle();
	chan_send(store->then, VALUE);
}

static void cockroach3710(bool fixed)
{
	times(start_cockroach3710, fixed);
}

/* Cockroach 6181: three look-ups, each reading twice, then writing. */
static void looks_up(void *argument)
{
	struct shared *cache = argument;

	rwmutex_rlock(&cache->rw);
	chan_send(cache->go_on, VALUE);
	chan_receive(cache->then, NULL);
	if (!cache->fixed)
		rwmutex_rlock(&cache->rw);
	rwmutex_runlock(&cache->rw);
	if (!cache->fixed)
		rwmutex_runlock(&cache->rw);
	rwmutex_lock(&cache->rw);
	rwmutex_unlock(&cache->rw);
	wait_group_done(&cache->group);
}

static void writes_entry(void *argument)
{
	struct shared *cache = argument;

	rwmutex_lock(&cache->rw);
	rwmutex_unlock(&cache->rw);
	wait_group_done(&cache->group);
}

static void coalesces_requests(void *argument)
{
	struct shared *cache = argument;

	wait_group_add(&cache->group, 3);
	go(looks_up, cache);
	go(looks_up, cache);
	chan_receive(cache->go_on, NULL);
	chan_receive(cache->go_on, NULL);
	go(writes_entry, cache);
	settle();
	chan_send(cache->then, VALUE);
	chan_send(cache->then, VALUE);
	wait_group_wait(&cache->group);
}

static void cockroach6181(bool fixed)
{
	go(coalesces_requests, new_shared(fixed));
}

/* Cockroach 9935: an error while it holds the lock leads to a routine that locks. */
static void log_exit(struct shared *log)
{
	mutex_lock(&log->a);
	mutex_unlock(&log->a);
}

static void outputs_log_entry(void *argument)
{
	struct shared *log = argument;

	mutex_lock(&log->a);
	if (log->fixed)
		mutex_unlock(&log->a);
	log_exit(log);
	if (!log->fixed)
		mutex_unlock(&log->a);
}

static void start_cockroach9935(struct shared *log)
{
	go(outputs_log_entry, log);
}

static void cockroach9935(bool fixed)
{
	times(start_cockroach9935, fixed);
}

/* Cockroach 10214: AB-BA of a store's lock and a replica's. */
static void sends_heartbeats(void *argument)
{
	struct shared *store = argument;

	mutex_lock(&store->a);
	if (!store->fixed) {
		chan_send(store->go_on, VALUE);
		chan_receive(store->then, NULL);
	}
	mutex_lock(&store->b);
	mutex_unlock(&store->b);
	mutex_unlock(&store->a);
}

static void ticks(void *argument)
{
	struct shared *store = argument;

	if (!store->fixed) {
		mutex_lock(&store->b);
		chan_receive(store->go_on, NULL);
		chan_send(store->then, VALUE);
	}
	mutex_lock(&store->a);
	if (store->fixed)
		mutex_lock(&store->b);
	mutex_unlock(&store->a);
	mutex_unlock(&store->b);
}

static void start_cockroach10214(struct shared *store)
{
	go(sends_heartbeats, store);
	go(ticks, store);
}

static void cockroach10214(bool fixed)
{
	times(start_cockroach10214, fixed);
}

/* Cockroach 10790: drains channels whose senders have stopped as well. */
static void drains_commands(void *argument)
{
	struct shared *replica = argument;
	void *value;

	if (replica->fixed)
		chan_try_receive(replica->chan, &value, NULL);
	else
		chan_receive(replica->chan, NULL);
}

static void begins_commands(void *argument)
{
	struct shared *replica = argument;
	struct chan_case cases[2] = {{.chan = replica->chan},
				     {.chan = context_done(replica->context)}};

	if (chan_select(cases, 2) == 1)
		go(drains_commands, replica);
}

static void start_cockroach10790(struct shared *replica)
{
	context_cancel(replica->context);
	go(begins_commands, replica);
}

static void cockroach10790(bool fixed)
{
	times(start_cockroach10790, fixed);
}

/* Cockroach 18101: the consumer is cancelled while the producer fills the buffer. */
static void splits_and_scatters(void *argument)
{
	struct shared *restore = argument;
	struct chan_case cases[2] = {{.chan = restore->chan, .value = VALUE, .send = true},
				     {.chan = context_done(restore->context)}};
	int i;

	for (i = 0; i < 8; i++) {
		if (!restore->fixed)
			chan_send(restore->chan, VALUE);
		else if (chan_select(cases, 2) == 1)
			break;
	}
	chan_close(restore->chan);
}

static void start_cockroach18101(struct shared *restore)
{
	restore->chan = chan_make(6);
	go(splits_and_scatters, restore);
	chan_receive(restore->chan, NULL);
	context_cancel(restore->context);
}

static void cockroach18101(bool fixed)
{
	times(start_cockroach18101, fixed);
}

/* Etcd 6857: asks a node that has stopped. */
static void runs_node(void *argument)
{
	struct shared *node = argument;
	struct chan_case cases[2] = {{.chan = node->chan}, {.chan = node->stop}};

	while (chan_select(cases, 2) != 1)
		;
	chan_close(node->then);
}

static void asks_status(void *argument)
{
	struct shared *node = argument;
	struct chan_case cases[2] = {{.chan = node->chan, .value = VALUE, .send = true},
				     {.chan = node->then}};

	if (node->fixed)
		chan_select(cases, 2);
	else
		chan_send(node->chan, VALUE);
}

static void start_etcd6857(struct shared *node)
{
	go(runs_node, node);
	chan_send(node->stop, VALUE);
	chan_receive(node->then, NULL);
	go(asks_status, node);
}

static void etcd6857(bool fixed)
{
	times(start_etcd6857, fixed);
}

/* Etcd 6873: stops with the lock that the worker needs to stop. */
static void broadcasts(void *argument)
{
	struct shared *watch = argument;
	bool ok;

	while (chan_receive(watch->chan, &ok), ok) {
		chan_receive(watch->go_on, NULL);
		mutex_lock(&watch->a);
		mutex_unlock(&watch->a);
	}
	chan_close(watch->then);
}

static void stops_broadcasts(void *argument)
{
	struct shared *watch = argument;

	mutex_lock(&watch->a);
	chan_close(watch->chan);
	chan_close(watch->go_on);
	if (watch->fixed)
		mutex_unlock(&watch->a);
	chan_receive(watch->then, NULL);
	if (!watch->fixed)
		mutex_unlock(&watch->a);
}

static void start_etcd6873(struct shared *watch)
{
	watch->chan = chan_make(1);
	chan_send(watch->chan, VALUE);
	go(broadcasts, watch);
	go(stops_broadcasts, watch);
}

static void etcd6873(bool fixed)
{
	times(start_etcd6873, fixed);
}

/* Etcd 7492: the keeper wants the lock that a caller holds while it waits for the keeper. */
static void keeps_tokens(void *argument)
{
	struct shared *tokens = argument;
	struct chan_case cases[2] = {{.chan = tokens->chan}, {.chan = tokens->stop}};

	/* The tick came first. */
	chan_receive(tokens->go_on, NULL);
	mutex_lock(&tokens->a);
	mutex_unlock(&tokens->a);
	while (chan_select(cases, 2) != 1)
		;
}

static void assigns_token(void *argument)
{
	struct shared *tokens = argument;

	mutex_lock(&tokens->a);
	chan_send(tokens->go_on, VALUE);
	if (tokens->fixed)
		mutex_unlock(&tokens->a);
	chan_send(tokens->chan, VALUE);
	chan_send(tokens->chan, VALUE);
	if (!tokens->fixed)
		mutex_unlock(&tokens->a);
	wait_group_done(&tokens->group);
}

static void awaits_callers(void *argument)
{
	struct shared *tokens = argument;

	wait_group_wait(&tokens->group);
	chan_close(tokens->stop);
}

static void start_etcd7492(struct shared *tokens)
{
	tokens->chan = chan_make(1);
	wait_group_add(&tokens->group, 1);
	go(keeps_tokens, tokens);
	go(assigns_token, tokens);
	go(awaits_callers, tokens);
}

static void etcd7492(bool fixed)
{
	times(start_etcd7492, fixed);
}

/* gRPC 795: stopping twice locks where it should unlock. */
static void stops_gracefully(void *argument)
{
	struct shared *server = argument;

	mutex_lock(&server->a);
	if (server->fixed)
		mutex_unlock(&server->a);
	else
		mutex_lock(&server->a);
	chan_close(server->go_on);
}

static void serves(void *argument)
{
	struct shared *server = argument;

	mutex_lock(&server->a);
	mutex_unlock(&server->a);
}

static void start_grpc795(struct shared *server)
{
	go(stops_gracefully, server);
	settle();
	go(serves, server);
}

static void grpc795(bool fixed)
{
	times(start_grpc795, fixed);
}

/* gRPC 1460: sleeps with the lock that whoever wakes it needs first. */
static void keeps_alive(void *argument)
{
	struct shared *transport = argument;

	mutex_lock(&transport->a);
	chan_send(transport->go_on, VALUE);
	if (transport->fixed)
		mutex_unlock(&transport->a);
	chan_receive(transport->chan, NULL);
	if (!transport->fixed)
		mutex_unlock(&transport->a);
}

static void opens_stream(void *argument)
{
	struct shared *transport = argument;

	chan_receive(transport->go_on, NULL);
	mutex_lock(&transport->a);
	mutex_unlock(&transport->a);
	chan_send(transport->chan, VALUE);
}

static void start_grpc1460(struct shared *transport)
{
	go(keeps_alive, transport);
	go(opens_stream, transport);
}

static void grpc1460(bool fixed)
{
	times(start_grpc1460, fixed);
}

/* Hugo 5379: rendering under the content's lock comes back to lock it. */
static void counts_words(struct shared *page)
{
	mutex_lock(&page->a);
	mutex_unlock(&page->a);
}

static void renders_shortcodes(void *argument)
{
	struct shared *page = argument;

	mutex_lock(&page->a);
	chan_close(page->go_on);
	if (page->fixed)
		mutex_unlock(&page->a);
	counts_words(page);
	if (!page->fixed)
		mutex_unlock(&page->a);
	chan_try_send(page->chan, VALUE);
}

static void renders_page(void *argument)
{
	struct shared *page = argument;

	chan_receive(page->go_on, NULL);
	counts_words(page);
	wait_group_done(&page->group);
}

static void renders_pages(void *argument)
{
	struct shared *page = argument;

	wait_group_add(&page->group, 2);
	go(renders_shortcodes, page);
	go(renders_page, page);
	go(renders_page, page);
	wait_group_wait(&page->group);
}

static void start_hugo5379(struct shared *page)
{
	go(renders_pages, page);
}

static void hugo5379(bool fixed)
{
	times(start_hugo5379, fixed);
}

/* Istio 16224: sends that it is done with the lock that the receiver wants first. */
static void handles_event(void *argument)
{
	struct shared *controller = argument;

	mutex_lock(&controller->a);
	chan_close(controller->go_on);
	if (controller->fixed)
		mutex_unlock(&controller->a);
	chan_send(controller->chan, VALUE);
	if (!controller->fixed)
		mutex_unlock(&controller->a);
}

static void schedules_event(void *argument)
{
	struct shared *controller = argument;

	go(handles_event, controller);
	chan_receive(controller->go_on, NULL);
	mutex_lock(&controller->a);
	mutex_unlock(&controller->a);
	chan_receive(controller->chan, NULL);
}

static void start_istio16224(struct shared *controller)
{
	go(schedules_event, controller);
}

static void istio16224(bool fixed)
{
	times(start_istio16224, fixed);
}

/* Istio 17860: statuses come after the agent has left. */
static void runs_and_waits(void *argument)
{
	struct shared *agent = argument;

	chan_receive(agent->go_on, NULL);
	if (agent->fixed)
		chan_try_send(agent->chan, VALUE);
	else
		chan_send(agent->chan, VALUE);
}

static void runs_agent(void *argument)
{
	struct shared *agent = argument;
	struct chan_case cases[2] = {{.chan = agent->chan}, {.chan = context_done(agent->context)}};

	while (chan_select(cases, 2) != 1)
		;
	chan_close(agent->go_on);
}

static void start_istio17860(struct shared *agent)
{
	go(runs_agent, agent);
	go(runs_and_waits, agent);
	go(runs_and_waits, agent);
	context_cancel(agent->context);
}

static void istio17860(bool fixed)
{
	times(start_istio17860, fixed);
}

/* Kubernetes 6632: the reader of resets wants the lock that a writer holds while it resets. */
static void monitors_frames(void *argument)
{
	struct shared *framer = argument;

	chan_receive(framer->go_on, NULL);
	mutex_lock(&framer->a);
	chan_close(framer->stop);
	mutex_unlock(&framer->a);
}

static void writes_frame(void *argument)
{
	struct shared *framer = argument;
	struct chan_case cases[2] = {{.chan = framer->chan, .value = VALUE, .send = true},
				     {.chan = framer->stop}};

	mutex_lock(&framer->a);
	chan_close(framer->go_on);
	if (framer->fixed) {
		mutex_unlock(&framer->a);
		chan_select(cases, 2);
		return;
	}
	chan_send(framer->chan, VALUE);
	mutex_unlock(&framer->a);
}

static void start_kubernetes6632(struct shared *framer)
{
	go(monitors_frames, framer);
	go(writes_frame, framer);
}

static void kubernetes6632(bool fixed)
{
	times(start_kubernetes6632, fixed);
}

/* Kubernetes 10182: the syncer wants the lock under which the next status is sent. */
static void syncs_statuses(void *argument)
{
	struct shared *manager = argument;

	chan_receive(manager->chan, NULL);
	chan_receive(manager->go_on, NULL);
	mutex_lock(&manager->a);
	mutex_unlock(&manager->a);
	chan_receive(manager->chan, NULL);
}

static void sets_first_status(void *argument)
{
	struct shared *manager = argument;

	mutex_lock(&manager->a);
	chan_send(manager->chan, VALUE);
	mutex_unlock(&manager->a);
	chan_close(manager->then);
}

static void sets_second_status(void *argument)
{
	struct shared *manager = argument;

	chan_receive(manager->then, NULL);
	mutex_lock(&manager->a);
	chan_close(manager->go_on);
	if (manager->fixed)
		mutex_unlock(&manager->a);
	chan_send(manager->chan, VALUE);
	if (!manager->fixed)
		mutex_unlock(&manager->a);
}

static void start_kubernetes10182(struct shared *manager)
{
	go(syncs_statuses, manager);
	go(sets_first_status, manager);
	go(sets_second_status, manager);
}

static void kubernetes10182(bool fixed)
{
	times(start_kubernetes10182, fixed);
}

/* Kubernetes 13135: cacher and watch cache lock each other's lock second. */
static void replaces_cache(void *argument)
{
	struct shared *cacher = argument;

	mutex_lock(&cacher->a);
	if (!cacher->fixed) {
		chan_send(cacher->go_on, VALUE);
		chan_receive(cacher->then, NULL);
	}
	mutex_lock(&cacher->b);
	mutex_unlock(&cacher->b);
	mutex_unlock(&cacher->a);
}

static void adds_to_cache(void *argument)
{
	struct shared *cacher = argument;

	if (cacher->fixed)
		mutex_lock(&cacher->a);
	mutex_lock(&cacher->b);
	if (!cacher->fixed) {
		chan_receive(cacher->go_on, NULL);
		chan_send(cacher->then, VALUE);
		mutex_lock(&cacher->a);
	}
	mutex_unlock(&cacher->b);
	mutex_unlock(&cacher->a);
}

static void start_kubernetes13135(struct shared *cacher)
{
	go(replaces_cache, cacher);
	go(adds_to_cache, cacher);
}

static void kubernetes13135(bool fixed)
{
	times(start_kubernetes13135, fixed);
}

/* Kubernetes 26980: pops wait for a stop that comes only after a checker got the lock. The lock is
 * released elsewhere than it was taken in the original, so it is a semaphore here. */
struct listener {
	struct semaphore lock;
	struct chan *stop;
	struct chan *result;
	struct chan *go_on;
	bool fixed;
};

static void pops(void *argument)
{
	struct listener *listener = argument;

	semaphore_acquire(&listener->lock);
	chan_close(listener->go_on);
	if (listener->fixed)
		semaphore_release(&listener->lock);
	chan_receive(listener->stop, NULL);
	if (!listener->fixed)
		semaphore_release(&listener->lock);
}

static void checks_result(void *argument)
{
	struct listener *listener = argument;

	chan_receive(listener->go_on, NULL);
	semaphore_acquire(&listener->lock);
	semaphore_release(&listener->lock);
	chan_close(listener->result);
}

static void awaits_result(void *argument)
{
	struct listener *listener = argument;

	go(pops, listener);
	go(checks_result, listener);
	chan_receive(listener->result, NULL);
	chan_close(listener->stop);
}

static void kubernetes26980(bool fixed)
{
	int i;

	for (i = 0; i < TIMES; i++) {
		struct listener *listener = NEW(struct listener);

		listener->lock.count = 1;
		listener->stop = chan_make(0);
		listener->result = chan_make(0);
		listener->go_on = chan_make(0);
		listener->fixed = fixed;
		go(awaits_result, listener);
	}
}

/* Kubernetes 30872: informer and queue lock each other's lock second; a third queues behind. */
static void informs(void *argument)
{
	struct shared *informer = argument;

	mutex_lock(&informer->a);
	if (!informer->fixed) {
		chan_send(informer->go_on, VALUE);
		chan_receive(informer->then, NULL);
	}
	mutex_lock(&informer->b);
	mutex_unlock(&informer->b);
	mutex_unlock(&informer->a);
}

static void pops_queue(void *argument)
{
	struct shared *informer = argument;

	if (informer->fixed)
		mutex_lock(&informer->a);
	mutex_lock(&informer->b);
	if (!informer->fixed) {
		chan_receive(informer->go_on, NULL);
		chan_send(informer->then, VALUE);
		mutex_lock(&informer->a);
	}
	mutex_unlock(&informer->a);
	mutex_unlock(&informer->b);
}

static void stops_informer(void *argument)
{
	struct shared *informer = argument;

	mutex_lock(&informer->a);
	mutex_unlock(&informer->a);
}

static void kubernetes30872(bool fixed)
{
	int i;

	for (i = 0; i < TIMES; i++) {
		struct shared *informer = new_shared(fixed);

		go(informs, informer);
		go(pops_queue, informer);
		settle();
		go(stops_informer, informer);
	}
}

/* Kubernetes 58107: workers wait for work with the read lock; a writer waits for them, and a reader
 * behind it. */
struct quota {
	struct rwmutex lock;
	struct mutex mutex;
	struct cond work;
	struct chan *waiting;
	bool over;
	bool fixed;
};

static void works_on_quota(void *argument)
{
	struct quota *quota = argument;

	rwmutex_rlock(&quota->lock);
	if (quota->fixed)
		rwmutex_runlock(&quota->lock);
	mutex_lock(&quota->mutex);
	chan_send(quota->waiting, VALUE);
	while (!quota->over)
		cond_wait(&quota->work, &quota->mutex);
	mutex_unlock(&quota->mutex);
	if (!quota->fixed)
		rwmutex_runlock(&quota->lock);
}

static void syncs_quota(void *argument)
{
	struct quota *quota = argument;

	rwmutex_lock(&quota->lock);
	rwmutex_unlock(&quota->lock);
}

static void reads_quota(void *argument)
{
	struct quota *quota = argument;

	rwmutex_rlock(&quota->lock);
	rwmutex_runlock(&quota->lock);
}

static void kubernetes58107(bool fixed)
{
	struct quota *quota = NEW(struct quota);

	quota->waiting = chan_make(0);
	quota->fixed = fixed;
	go(works_on_quota, quota);
	chan_receive(quota->waiting, NULL);
	settle();
	go(syncs_quota, quota);
	settle();
	go(reads_quota, quota);
	settle();
	if (!fixed)
		return;
	mutex_lock(&quota->mutex);
	quota->over = true;
	cond_broadcast(&quota->work);
	mutex_unlock(&quota->mutex);
}

/* Kubernetes 70277: what it had promised to close stays open. */
static void polls(void *argument)
{
	struct shared *wait = argument;
	struct chan_case cases[2] = {{.chan = wait->chan, .value = VALUE, .send = true},
				     {.chan = wait->stop}};

	chan_select(cases, 2);
	if (wait->fixed)
		chan_close(wait->then);
}

static void awaits_poller(void *argument)
{
	struct shared *wait = argument;

	go(polls, wait);
	chan_receive(wait->chan, NULL);
	chan_receive(wait->then, NULL);
	chan_close(wait->stop);
}

static void start_kubernetes70277(struct shared *wait)
{
	go(awaits_poller, wait);
}

static void kubernetes70277(bool fixed)
{
	times(start_kubernetes70277, fixed);
}

/* Moby 4951: takes the set's lock again while it holds a device that the other waits for with it.
 */
static void deletes_device(void *argument)
{
	struct shared *set = argument;

	mutex_lock(&set->a);
	mutex_lock(&set->b);
	mutex_unlock(&set->a);
	chan_send(set->go_on, VALUE);
	chan_receive(set->then, NULL);
	if (set->fixed)
		mutex_unlock(&set->b);
	mutex_lock(&set->a);
	mutex_unlock(&set->a);
	if (!set->fixed)
		mutex_unlock(&set->b);
}

static void deletes_it_too(void *argument)
{
	struct shared *set = argument;

	chan_receive(set->go_on, NULL);
	mutex_lock(&set->a);
	chan_send(set->then, VALUE);
	mutex_lock(&set->b);
	mutex_unlock(&set->b);
	mutex_unlock(&set->a);
}

static void start_moby4951(struct shared *set)
{
	go(deletes_device, set);
	go(deletes_it_too, set);
}

static void moby4951(bool fixed)
{
	times(start_moby4951, fixed);
}

/* Moby 27782: waits for a broadcast that only the reader of events makes, who sends to who has
 * left. */
static void reads_events(void *argument)
{
	struct shared *watcher = argument;
	struct chan_case cases[2] = {{.chan = watcher->chan, .value = VALUE, .send = true},
				     {.chan = watcher->stop}};

	chan_receive(watcher->go_on, NULL);
	chan_select(cases, 2);
	mutex_lock(&watcher->a);
	watcher->flag = true;
	cond_broadcast(&watcher->cond);
	mutex_unlock(&watcher->a);
}

static void reads_logs(void *argument)
{
	struct shared *watcher = argument;

	chan_close(watcher->go_on);
	if (watcher->fixed)
		chan_close(watcher->stop);
	mutex_lock(&watcher->a);
	while (!watcher->flag)
		cond_wait(&watcher->cond, &watcher->a);
	mutex_unlock(&watcher->a);
}

static void start_moby27782(struct shared *watcher)
{
	go(reads_events, watcher);
	go(reads_logs, watcher);
}

static void moby27782(bool fixed)
{
	times(start_moby27782, fixed);
}

/* Moby 28462: a change under the container's lock stops the monitor, which probes under the same.
 */
static void monitors(void *argument)
{
	struct shared *container = argument;
	void *value;

	chan_receive(container->go_on, NULL);
	if (container->fixed && chan_try_receive(container->stop, &value, NULL))
		return;
	mutex_lock(&container->a);
	mutex_unlock(&container->a);
	chan_try_receive(container->stop, &value, NULL);
}

static void changes_state(void *argument)
{
	struct shared *container = argument;

	mutex_lock(&container->a);
	chan_close(container->go_on);
	if (container->fixed)
		mutex_unlock(&container->a);
	if (container->fixed)
		chan_try_send(container->stop, VALUE);
	else
		chan_send(container->stop, VALUE);
	if (!container->fixed)
		mutex_unlock(&container->a);
}

static void start_moby28462(struct shared *container)
{
	go(monitors, container);
	go(changes_state, container);
}

static void moby28462(bool fixed)
{
	times(start_moby28462, fixed);
}

/* Moby 33781: a probe's result comes when the monitor has been stopped. */
static void probes(void *result)
{
	chan_send(result, VALUE);
}

static void monitors_probe(void *argument)
{
	struct shared *monitor = argument;
	struct chan *result = chan_make(monitor->fixed ? 1 : 0);
	struct chan_case stopped = {.chan = monitor->stop};

	chan_select(&stopped, 1);
	go(probes, result);
}

static void start_moby33781(struct shared *monitor)
{
	chan_close(monitor->stop);
	go(monitors_probe, monitor);
}

static void moby33781(bool fixed)
{
	times(start_moby33781, fixed);
}

/* Moby 36114: adds under the lock, and on its way removes under the same. */
static void removes_disks(struct shared *machine)
{
	mutex_lock(&machine->a);
	mutex_unlock(&machine->a);
}

static void adds_disks(void *argument)
{
	struct shared *machine = argument;

	if (!machine->fixed)
		mutex_lock(&machine->a);
	removes_disks(machine);
	if (!machine->fixed)
		mutex_unlock(&machine->a);
}

static void start_moby36114(struct shared *machine)
{
	go(adds_disks, machine);
}

static void moby36114(bool fixed)
{
	times(start_moby36114, fixed);
}

/* Written for Go, but not enabled there (section F). Kubernetes 1321: sends to watchers under the
 * lock that stopping needs. */
static void distributes(void *argument)
{
	struct shared *mux = argument;

	mutex_lock(&mux->a);
	chan_close(mux->go_on);
	if (mux->fixed)
		chan_try_send(mux->chan, VALUE);
	else
		chan_send(mux->chan, VALUE);
	mutex_unlock(&mux->a);
}

static void stops_watching(void *argument)
{
	struct shared *mux = argument;

	chan_receive(mux->go_on, NULL);
	mutex_lock(&mux->a);
	chan_close(mux->chan);
	mutex_unlock(&mux->a);
}

static void start_kubernetes1321(struct shared *mux)
{
	go(distributes, mux);
	go(stops_watching, mux);
}

static void kubernetes1321(bool fixed)
{
	times(start_kubernetes1321, fixed);
}

/* Moby 29733: waits for a plugin that nobody activates. */
static void waits_active(void *argument)
{
	struct shared *plugin = argument;

	mutex_lock(&plugin->a);
	while (!plugin->flag)
		cond_wait(&plugin->cond, &plugin->a);
	mutex_unlock(&plugin->a);
	chan_close(plugin->then);
}

static void tests_active(void *argument)
{
	struct shared *plugin = argument;

	go(waits_active, plugin);
	settle();
	if (plugin->fixed) {
		mutex_lock(&plugin->a);
		plugin->flag = true;
		cond_broadcast(&plugin->cond);
		mutex_unlock(&plugin->a);
	}
	chan_receive(plugin->then, NULL);
}

static void moby29733(bool fixed)
{
	go(tests_active, new_shared(fixed));
}

#define MUTEX " [sync.Mutex.Lock] "

const struct leak_case race_cases[] = {
	{"cockroach584", cockroach584, "gossip_manages" MUTEX "1"},
	{"cockroach1462", cockroach1462,
	 "sends_events [chan send] 10; stops_both [sync.WaitGroup.Wait] 10"},
	{"cockroach3710", cockroach3710,
	 "scans_log [sync.RWMutex.RLock] 10; processes_raft [sync.RWMutex.Lock] 10"},
	{"cockroach6181", cockroach6181,
	 "coalesces_requests [sync.WaitGroup.Wait] 1; looks_up [sync.RWMutex.RLock] 2; "
	 "writes_entry [sync.RWMutex.Lock] 1"},
	{"cockroach9935", cockroach9935, "outputs_log_entry" MUTEX "10"},
	{"cockroach10214", cockroach10214, "sends_heartbeats" MUTEX "10; ticks" MUTEX "10"},
	{"cockroach10790", cockroach10790, "drains_commands [chan receive] 10"},
	{"cockroach18101", cockroach18101, "splits_and_scatters [chan send] 10"},
	{"etcd6857", etcd6857, "asks_status [chan send] 10"},
	{"etcd6873", etcd6873, "stops_broadcasts [chan receive] 10; broadcasts" MUTEX "10"},
	{"etcd7492", etcd7492,
	 "keeps_tokens" MUTEX
	 "10; assigns_token [chan send] 10; awaits_callers [sync.WaitGroup.Wait] 10"},
	{"grpc795", grpc795, "stops_gracefully" MUTEX "10; serves" MUTEX "10"},
	{"grpc1460", grpc1460, "keeps_alive [chan receive] 10; opens_stream" MUTEX "10"},
	{"hugo5379", hugo5379,
	 "renders_shortcodes" MUTEX "10; renders_page" MUTEX
	 "20; renders_pages [sync.WaitGroup.Wait] 10"},
	{"istio16224", istio16224, "handles_event [chan send] 10; schedules_event" MUTEX "10"},
	{"istio17860", istio17860, "runs_and_waits [chan send] 20"},
	{"kubernetes6632", kubernetes6632,
	 "monitors_frames" MUTEX "10; writes_frame [chan send] 10"},
	{"kubernetes10182", kubernetes10182,
	 "syncs_statuses" MUTEX "10; sets_second_status [chan send] 10"},
	{"kubernetes13135", kubernetes13135, "replaces_cache" MUTEX "10; adds_to_cache" MUTEX "10"},
	{"kubernetes26980", kubernetes26980,
	 "pops [chan receive] 10; checks_result [semacquire] 10; awaits_result [chan receive] 10"},
	{"kubernetes30872", kubernetes30872,
	 "informs" MUTEX "10; pops_queue" MUTEX "10; stops_informer" MUTEX "10"},
	{"kubernetes58107", kubernetes58107,
	 "works_on_quota [sync.Cond.Wait] 1; syncs_quota [sync.RWMutex.Lock] 1; reads_quota "
	 "[sync.RWMutex.RLock] 1"},
	{"kubernetes70277", kubernetes70277, "awaits_poller [chan receive] 10"},
	{"moby4951", moby4951, "deletes_device" MUTEX "10; deletes_it_too" MUTEX "10"},
	{"moby27782", moby27782, "reads_logs [sync.Cond.Wait] 10; reads_events [select] 10"},
	{"moby28462", moby28462, "monitors" MUTEX "10; changes_state [chan send] 10"},
	{"moby33781", moby33781, "probes [chan send] 10"},
	{"moby36114", moby36114, "adds_disks" MUTEX "10"},
	{"kubernetes1321", kubernetes1321, "distributes [chan send] 10; stops_watching" MUTEX "10",
	 "not enabled"},
	{"moby29733", moby29733, "waits_active [sync.Cond.Wait] 1; tests_active [chan receive] 1",
	 "not enabled"},
	{NULL},
};
