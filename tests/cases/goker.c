/* SPDX-License-Identifier: MIT */
/*
 * Bugs of real programs that leak for certain (section D of Go's tests: kernels of "GoBench", each
 * named by project and issue), written afresh from their descriptions.
 */
#include "cases.h"

/* Cockroach 7504: one path locks cache, then lease; the other lease, then cache. */
struct leases {
	struct mutex cache;
	struct mutex lease;
	struct chan *cache_held;
	struct chan *lease_held;
	bool fixed;
};

static void acquires_lease(void *argument)
{
	struct leases *leases = argument;

	mutex_lock(&leases->cache);
	chan_send(leases->cache_held, VALUE);
	if (!leases->fixed)
		chan_receive(leases->lease_held, NULL);
	mutex_lock(&leases->lease);
	mutex_unlock(&leases->lease);
	mutex_unlock(&leases->cache);
}

static void releases_lease(void *argument)
{
	struct leases *leases = argument;

	chan_receive(leases->cache_held, NULL);
	if (!leases->fixed) {
		mutex_lock(&leases->lease);
		chan_send(leases->lease_held, VALUE);
	}
	mutex_lock(&leases->cache);
	if (leases->fixed)
		mutex_lock(&leases->lease);
	mutex_unlock(&leases->cache);
	mutex_unlock(&leases->lease);
}

static void cockroach7504(bool fixed)
{
	int i;

	for (i = 0; i < 100; i++) {
		struct leases *leases = NEW(struct leases);

		leases->cache_held = chan_make(1);
		leases->lease_held = chan_make(1);
		leases->fixed = fixed;
		go(releases_lease, leases);
		go(acquires_lease, leases);
	}
}

/* Cockroach 13197 and 13755: a watcher waits for a context that nobody cancels. */
static void awaits_done(void *done)
{
	chan_receive(done, NULL);
}

static void cockroach13197(bool fixed)
{
	struct context *context = context_with_cancel(context_background());

	go(awaits_done, context_done(context));
	if (fixed)
		context_cancel(context);
}

struct rows {
	struct context *closing;
};

static void awaits_close(void *argument)
{
	struct rows *rows = argument;

	chan_receive(context_done(rows->closing), NULL);
}

static void cockroach13755(bool fixed)
{
	struct rows *rows = NEW(struct rows);

	rows->closing = context_with_cancel(context_background());
	go(awaits_close, rows);
	if (fixed)
		context_cancel(rows->closing);
}

/* Cockroach 24808: a second item before the consumer starts. */
static void compacts(void *chan)
{
	drain(chan);
}

struct compaction {
	struct chan *chan;
	bool fixed;
};

static void starts_compactor(void *argument)
{
	struct compaction *work = argument;

	if (work->fixed)
		go(compacts, work->chan);
	chan_send(work->chan, VALUE);
	if (!work->fixed)
		go(compacts, work->chan);
	chan_close(work->chan);
}

static void cockroach24808(bool fixed)
{
	struct compaction *work = NEW(struct compaction);

	work->chan = chan_make(1);
	work->fixed = fixed;
	chan_send(work->chan, VALUE);
	go(starts_compactor, work);
}

/* Cockroach 35931: cancels its streams in turn; the first one's channel is full. */
struct flow {
	struct mutex mutex;
	struct chan *streams[2];
	bool fixed;
};

static void cancels_streams(void *argument)
{
	struct flow *flow = argument;
	int i;

	mutex_lock(&flow->mutex);
	for (i = 0; i < 2; i++) {
		if (flow->fixed)
			chan_try_send(flow->streams[i], VALUE);
		else
			chan_send(flow->streams[i], VALUE);
	}
	mutex_unlock(&flow->mutex);
}

static void cockroach35931(bool fixed)
{
	struct flow *flow = NEW(struct flow);

	flow->streams[0] = chan_make(1);
	flow->streams[1] = chan_make(1);
	flow->fixed = fixed;
	chan_send(flow->streams[0], VALUE);
	go(cancels_streams, flow);
}

/* Etcd 5509: returns from a closed client with the read lock. */
struct client {
	struct rwmutex lock;
	bool fixed;
};

static void acquires_and_closes(void *argument)
{
	struct client *client = argument;

	rwmutex_rlock(&client->lock);
	if (client->fixed)
		rwmutex_runlock(&client->lock);
	rwmutex_lock(&client->lock);
	rwmutex_unlock(&client->lock);
}

static void etcd5509(bool fixed)
{
	struct client *client = NEW(struct client);

	client->fixed = fixed;
	go(acquires_and_closes, client);
}

/* Etcd 10492: a callback under the lock takes the lock. */
static void checkpoint(struct client *client)
{
	rwmutex_lock(&client->lock);
	rwmutex_unlock(&client->lock);
}

static void renews(void *argument)
{
	struct client *client = argument;

	rwmutex_lock(&client->lock);
	if (client->fixed)
		rwmutex_unlock(&client->lock);
	checkpoint(client);
	if (!client->fixed)
		rwmutex_unlock(&client->lock);
}

static void etcd10492(bool fixed)
{
	struct client *client = NEW(struct client);

	client->fixed = fixed;
	go(renews, client);
}

/* gRPC 660: the loop is stopped while a request sends that it is done. */
static void sends_done(void *done)
{
	chan_send(done, VALUE);
}

static void grpc660(bool fixed)
{
	struct chan *stop = chan_make(0);
	struct chan *done = chan_make(fixed ? 1 : 0);
	struct chan_case stopped = {.chan = stop};

	chan_close(stop);
	go(sends_done, done);
	chan_select(&stopped, 1);
}

/* gRPC 1275: a stream is closed, but its reader is not woken. */
struct stream {
	struct chan *receive_buffer;
	struct chan *read;
};

static void reads_stream(void *argument)
{
	struct stream *stream = argument;

	chan_receive(stream->receive_buffer, NULL);
	chan_close(stream->read);
}

static void grpc1275(bool fixed)
{
	struct stream *stream = NEW(struct stream);
	struct chan_case cases[2];

	stream->receive_buffer = chan_make(0);
	stream->read = chan_make(0);
	cases[0] = (struct chan_case){.chan = stream->read};
	cases[1] = (struct chan_case){.chan = time_after(MILLISECOND)};
	go(reads_stream, stream);
	if (fixed)
		chan_send(stream->receive_buffer, VALUE);
	chan_select(cases, 2);
}

/* gRPC 1424: the watcher's range is over before it says so. */
struct dialler {
	struct chan *addresses;
	struct chan *done;
	bool fixed;
};

static void watches_addresses(void *argument)
{
	struct dialler *dialler = argument;
	bool ok;

	while (chan_receive(dialler->addresses, &ok), ok)
		chan_send(dialler->done, VALUE);
	if (dialler->fixed)
		chan_close(dialler->done);
}

static void dials(void *argument)
{
	struct dialler *dialler = argument;

	go(watches_addresses, dialler);
	chan_receive(dialler->done, NULL);
}

static void grpc1424(bool fixed)
{
	struct dialler *dialler = NEW(struct dialler);

	dialler->addresses = chan_make(0);
	dialler->done = chan_make(0);
	dialler->fixed = fixed;
	chan_close(dialler->addresses);
	go(dials, dialler);
}

/* Kubernetes 5316: the result comes after the caller's timeout. */
static void runs_request(void *result)
{
	go_sleep(5 * MILLISECOND);
	chan_send(result, VALUE);
}

static void kubernetes5316(bool fixed)
{
	struct chan *result = chan_make(fixed ? 1 : 0);
	struct chan_case cases[2] = {{.chan = result}, {.chan = time_after(1)}};

	go(runs_request, result);
	chan_select(cases, 2);
}

/* Kubernetes 25331: cancels its own context, then sends to who has left. */
struct watch {
	struct context *context;
	struct chan *errors;
	struct chan *results;
	bool fixed;
};

static void runs_watch(void *argument)
{
	struct watch *watch = argument;

	chan_receive(watch->errors, NULL);
	context_cancel(watch->context);
	if (watch->fixed)
		chan_try_send(watch->results, VALUE);
	else
		chan_send(watch->results, VALUE);
}

static void kubernetes25331(bool fixed)
{
	struct watch *watch = NEW(struct watch);

	watch->context = context_with_cancel(context_background());
	watch->errors = chan_make(0);
	watch->results = chan_make(0);
	watch->fixed = fixed;
	go(runs_watch, watch);
	chan_send(watch->errors, VALUE);
	context_cancel(watch->context);
}

/* Moby 7559: continues the loop with the lock held. */
struct proxy {
	struct mutex mutex;
	bool fixed;
};

static void runs_proxy(void *argument)
{
	struct proxy *proxy = argument;
	int turn;

	for (turn = 0; turn < 2; turn++) {
		mutex_lock(&proxy->mutex);
		/* No connection can be made. */
		if (proxy->fixed)
			mutex_unlock(&proxy->mutex);
	}
}

static void moby7559(bool fixed)
{
	int i;

	for (i = 0; i < 20; i++) {
		struct proxy *proxy = NEW(struct proxy);

		proxy->fixed = fixed;
		go(runs_proxy, proxy);
	}
}

/* Moby 17176: returns early with the lock. */
struct devices {
	struct mutex mutex;
	struct chan *done;
};

static void cleans_up_later(void *argument)
{
	struct devices *devices = argument;

	mutex_lock(&devices->mutex);
	mutex_unlock(&devices->mutex);
	chan_close(devices->done);
}

static void looks_after_devices(void *fixed)
{
	struct devices *devices = NEW(struct devices);
	struct chan_case cases[2];

	devices->done = chan_make(0);
	mutex_lock(&devices->mutex);
	if (fixed)
		mutex_unlock(&devices->mutex);
	go(cleans_up_later, devices);
	cases[0] = (struct chan_case){.chan = devices->done};
	cases[1] = (struct chan_case){.chan = time_after(MILLISECOND)};
	chan_select(cases, 2);
}

static void moby17176(bool fixed)
{
	int i;

	for (i = 0; i < 100; i++)
		go(looks_after_devices, fixed ? VALUE : NULL);
}

/* Moby 25348: waits for both plugins after each. */
static void plugin_done(void *group)
{
	wait_group_done(group);
}

static void starts_plugins(void *fixed)
{
	struct wait_group *group = NEW(struct wait_group);
	int i;

	wait_group_add(group, 2);
	for (i = 0; i < 2; i++) {
		go(plugin_done, group);
		if (!fixed)
			wait_group_wait(group);
	}
	wait_group_wait(group);
}

static void moby25348(bool fixed)
{
	go(starts_plugins, fixed ? VALUE : NULL);
}

/* Syncthing 4829: tells of a change while it holds the lock that the telling reads. */
static void notify(struct client *client)
{
	rwmutex_rlock(&client->lock);
	rwmutex_runlock(&client->lock);
}

static void removes_mapping(void *argument)
{
	struct client *client = argument;

	rwmutex_lock(&client->lock);
	if (client->fixed)
		rwmutex_unlock(&client->lock);
	notify(client);
	if (!client->fixed)
		rwmutex_unlock(&client->lock);
}

static void syncthing4829(bool fixed)
{
	struct client *client = NEW(struct client);

	client->fixed = fixed;
	go(removes_mapping, client);
}

const struct leak_case goker_cases[] = {
	{"cockroach7504", cockroach7504,
	 "acquires_lease [sync.Mutex.Lock] 100; releases_lease [sync.Mutex.Lock] 100", "99 and 99"},
	{"cockroach13197", cockroach13197, "awaits_done [chan receive] 1"},
	{"cockroach13755", cockroach13755, "awaits_close [chan receive] 1"},
	{"cockroach24808", cockroach24808, "starts_compactor [chan send] 1"},
	{"cockroach35931", cockroach35931, "cancels_streams [chan send] 1"},
	{"etcd5509", etcd5509, "acquires_and_closes [sync.RWMutex.Lock] 1"},
	{"etcd10492", etcd10492, "renews [sync.RWMutex.Lock] 1"},
	{"grpc660", grpc660, "sends_done [chan send] 1"},
	{"grpc1275", grpc1275, "reads_stream [chan receive] 1"},
	{"grpc1424", grpc1424, "dials [chan receive] 1"},
	{"kubernetes5316", kubernetes5316, "runs_request [chan send] 1"},
	{"kubernetes25331", kubernetes25331, "runs_watch [chan send] 1"},
	{"moby7559", moby7559, "runs_proxy [sync.Mutex.Lock] 20", "18"},
	{"moby17176", moby17176, "cleans_up_later [sync.Mutex.Lock] 100"},
	{"moby25348", moby25348, "starts_plugins [sync.WaitGroup.Wait] 1"},
	{"syncthing4829", syncthing4829, "removes_mapping [sync.RWMutex.RLock] 1"},
	{NULL},
};
