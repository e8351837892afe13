/* SPDX-License-Identifier: MIT */
/*
 * Random webs with verdicts computed independently: webs RUNTIME SEED COUNT builds COUNT webs of
 * goroutines, heap nodes, locks and conditions, with pointers between them, and prints for every
 * goroutine what must be found:
 *
 *     EXPECT <entry function> leaked|live
 *
 * A web is a graph. Nodes are heap blocks; each goroutine holds pointers to some nodes on its own
 * stack, each node to others. A goroutine waits for the condition in a node, for a mutex in a node
 * that another one holds, joins another, or sleeps. Globals hold some nodes. The model is a plain
 * fixpoint over that graph, with nothing of leakprof's in it:
 *
 *     sleeping: live                          condition: live if its node is reached
 *     mutex: live if its holder is live and   join: live if the joined one is live
 *            (but for Pth, where exit
 *            releases) its node is reached
 *     a node is reached from a global, a live goroutine, or a reached node
 *
 * Webs are built by a goroutine that ends, so that only the web itself holds its pointers. As one
 * entry function stands for one goroutine, there are MAX of them.
 */
#include <pth.h>
#include <st.h>
#include <stdint.h>

#include "common.h"

#define MAX 64
#define NODES 6
#define GOROUTINES 4
#define EDGES 3

enum kind { SLEEP, COND, MUTEX, JOIN };

struct node {
	struct node *next[EDGES];
	pth_mutex_t pth_guard;
	pth_cond_t pth_cond;
	pth_mutex_t pth_mutex;
	st_cond_t st_cond;
	st_mutex_t st_mutex;
};

struct goroutine {
	int number; /* of its entry function */
	enum kind kind;
	int waits_on; /* node, or for a join the other goroutine */
	int locks;    /* node whose mutex it holds, or -1 */
	int holds[EDGES];
	int live;
	void *thread;
};

struct web {
	struct node *nodes[NODES];
	int edges[NODES][EDGES]; /* -1: none */
	int global[NODES];
	int reached[NODES];
	struct goroutine goroutines[GOROUTINES];
};

/* What a goroutine gets: it frees it before it waits. */
struct order {
	enum kind kind;
	struct node *node;
	struct node *lock;
	void *thread;
	struct node *holds[EDGES];
};

static uint64_t seed;
static int use_pth;
static void *volatile globals[MAX * NODES];
static size_t global_count;

static int pick(int below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (int)(seed % (uint64_t)below);
}

/* --- Waiting --- */

static void take(struct node *node)
{
	if (use_pth)
		pth_mutex_acquire(&node->pth_mutex, FALSE, NULL);
	else
		st_mutex_lock(node->st_mutex);
}

static void wait_cond(struct node *node)
{
	if (!use_pth) {
		st_cond_wait(node->st_cond);
		return;
	}
	pth_mutex_acquire(&node->pth_guard, FALSE, NULL);
	pth_cond_await(&node->pth_cond, &node->pth_guard, NULL);
}

static void yield(void)
{
	if (use_pth)
		pth_yield(NULL);
	else
		st_usleep(0);
}

static __attribute__((noinline)) void wait_as_told(struct order *argument)
{
	struct order order = *argument;
	struct node *volatile holds[EDGES];
	int i;

	for (i = 0; i < EDGES; i++)
		holds[i] = order.holds[i];
	memset(argument, 0, sizeof(*argument));
	free(argument);
	if (order.lock)
		take(order.lock);
	for (i = 0; i < 4; i++)
		yield();
	switch (order.kind) {
	case SLEEP:
		if (use_pth)
			pth_sleep(3600);
		else
			st_sleep(3600);
		break;
	case COND:
		wait_cond(order.node);
		break;
	case MUTEX:
		take(order.node);
		break;
	case JOIN:
		if (use_pth)
			pth_join(order.thread, NULL);
		else
			st_thread_join(order.thread, NULL);
	}
	for (i = 0; i < EDGES; i++)
		hide(holds[i]);
}

#define ENTRY(n)                                                                                   \
	static void *goroutine_##n(void *argument)                                                 \
	{                                                                                          \
		wait_as_told(argument);                                                            \
		return (void *)n##L;                                                               \
	}
#define ENTRIES(n)                                                                                 \
	ENTRY(n##0)                                                                                \
	ENTRY(n##1) ENTRY(n##2) ENTRY(n##3) ENTRY(n##4) ENTRY(n##5) ENTRY(n##6) ENTRY(n##7)
#define NAMES(n)                                                                                   \
	goroutine_##n##0, goroutine_##n##1, goroutine_##n##2, goroutine_##n##3, goroutine_##n##4,  \
		goroutine_##n##5, goroutine_##n##6, goroutine_##n##7

ENTRIES(1)
ENTRIES(2)
ENTRIES(3)
ENTRIES(4)
ENTRIES(5)
ENTRIES(6)
ENTRIES(7)
ENTRIES(8)

static void *(*const entries[MAX])(void *) = {NAMES(1), NAMES(2), NAMES(3), NAMES(4),
					      NAMES(5), NAMES(6), NAMES(7), NAMES(8)};

/* --- The web --- */

static void draw(struct web *web, int first)
{
	int i;
	int j;

	for (i = 0; i < NODES; i++) {
		web->global[i] = pick(8) == 0;
		for (j = 0; j < EDGES; j++)
			web->edges[i][j] = pick(3) ? -1 : pick(NODES);
	}
	for (i = 0; i < GOROUTINES; i++) {
		struct goroutine *goroutine = &web->goroutines[i];

		goroutine->number = first + i;
		goroutine->kind = (enum kind)pick(4);
		goroutine->waits_on = pick(NODES);
		goroutine->locks = -1;
		for (j = 0; j < EDGES; j++)
			goroutine->holds[j] = pick(3) ? -1 : pick(NODES);
		/* A join is of one that exists already and that nobody else joins. */
		if (goroutine->kind == JOIN) {
			goroutine->waits_on = i - 1;
			goroutine->kind = i ? JOIN : COND;
			goroutine->waits_on = i ? i - 1 : 0;
		}
		/* A mutex has one holder: an earlier one that holds nothing else. */
		if (goroutine->kind == MUTEX) {
			if (i && web->goroutines[i - 1].locks < 0 &&
			    (i == 1 || web->goroutines[i - 2].locks != goroutine->waits_on) &&
			    (i < 3 || web->goroutines[i - 3].locks != goroutine->waits_on) &&
			    !(web->goroutines[i - 1].kind == MUTEX &&
			      web->goroutines[i - 1].waits_on == goroutine->waits_on))
				web->goroutines[i - 1].locks = goroutine->waits_on;
			else
				goroutine->kind = COND;
		}
	}
}

static int holder_is_live(const struct web *web, int node)
{
	int i;

	for (i = 0; i < GOROUTINES; i++)
		if (web->goroutines[i].locks == node)
			return web->goroutines[i].live;
	return 0;
}

static int can_run(const struct web *web, const struct goroutine *goroutine)
{
	switch (goroutine->kind) {
	case SLEEP:
		return 1;
	case COND:
		return web->reached[goroutine->waits_on];
	case MUTEX:
		return (use_pth || web->reached[goroutine->waits_on]) &&
		       holder_is_live(web, goroutine->waits_on);
	case JOIN:
		return web->goroutines[goroutine->waits_on].live;
	}
	return 1;
}

/* A live goroutine's stack holds what it holds, what it waits on, and the lock that it took. */
static void reach_from(struct web *web, const struct goroutine *goroutine)
{
	int i;

	for (i = 0; i < EDGES; i++)
		if (goroutine->holds[i] >= 0)
			web->reached[goroutine->holds[i]] = 1;
	if (goroutine->kind == COND || goroutine->kind == MUTEX)
		web->reached[goroutine->waits_on] = 1;
	if (goroutine->locks >= 0)
		web->reached[goroutine->locks] = 1;
}

static void solve(struct web *web)
{
	int round;
	int i;
	int j;

	memcpy(web->reached, web->global, sizeof(web->reached));
	for (round = 0; round < NODES + GOROUTINES + 1; round++) {
		for (i = 0; i < GOROUTINES; i++) {
			web->goroutines[i].live |= can_run(web, &web->goroutines[i]);
			if (web->goroutines[i].live)
				reach_from(web, &web->goroutines[i]);
		}
		for (i = 0; i < NODES; i++)
			for (j = 0; j < EDGES && web->reached[i]; j++)
				if (web->edges[i][j] >= 0)
					web->reached[web->edges[i][j]] = 1;
	}
}

static void start(struct web *web, struct goroutine *goroutine)
{
	struct order *order = calloc(1, sizeof(*order));
	int i;

	order->kind = goroutine->kind;
	if (goroutine->kind == JOIN)
		order->thread = web->goroutines[goroutine->waits_on].thread;
	else if (goroutine->kind != SLEEP)
		order->node = web->nodes[goroutine->waits_on];
	if (goroutine->locks >= 0)
		order->lock = web->nodes[goroutine->locks];
	for (i = 0; i < EDGES; i++)
		if (goroutine->holds[i] >= 0)
			order->holds[i] = web->nodes[goroutine->holds[i]];
	if (use_pth) {
		pth_attr_t attributes = pth_attr_new();

		pth_attr_set(attributes, PTH_ATTR_JOINABLE, TRUE);
		goroutine->thread = pth_spawn(attributes, entries[goroutine->number], order);
		pth_attr_destroy(attributes);
	} else {
		goroutine->thread = st_thread_create(entries[goroutine->number], order, 1, 0);
	}
}

static void build(struct web *web)
{
	int i;
	int j;

	for (i = 0; i < NODES; i++) {
		struct node *node = web->nodes[i] = calloc(1, sizeof(*node));

		if (use_pth) {
			pth_mutex_init(&node->pth_guard);
			pth_mutex_init(&node->pth_mutex);
			pth_cond_init(&node->pth_cond);
		} else {
			node->st_cond = st_cond_new();
			node->st_mutex = st_mutex_new();
		}
	}
	for (i = 0; i < NODES; i++) {
		for (j = 0; j < EDGES; j++)
			if (web->edges[i][j] >= 0)
				web->nodes[i]->next[j] = web->nodes[web->edges[i][j]];
		if (web->global[i])
			globals[global_count++] = web->nodes[i];
	}
	for (i = 0; i < GOROUTINES; i++)
		start(web, &web->goroutines[i]);
}

static void *build_all(void *argument)
{
	int count = (int)(intptr_t)argument;
	struct web *web = calloc(1, sizeof(*web));
	int i;
	int j;

	for (i = 0; i < count; i++) {
		memset(web, 0, sizeof(*web));
		draw(web, i * GOROUTINES);
		solve(web);
		build(web);
		for (j = 0; j < GOROUTINES; j++)
			printf("EXPECT goroutine_%d%d %s\n", (i * GOROUTINES + j) / 8 + 1,
			       (i * GOROUTINES + j) % 8,
			       web->goroutines[j].live ? "live" : "leaked");
	}
	memset(web, 0, sizeof(*web));
	free(web);
	return NULL;
}

int main(int argc, char **argv)
{
	int count = argc == 4 ? atoi(argv[3]) : 0;
	int i;

	if (count < 1 || count * GOROUTINES > MAX)
		return 2;
	/* stdio's buffer, allocated later, would hold what freed blocks left in its memory. */
	puts("READY");
	use_pth = !strcmp(argv[1], "pth");
	seed = (uint64_t)atol(argv[2]) * 2654435761u + 88172645463325252u;
	if (use_pth) {
		pth_attr_t attributes;

		pth_init();
		attributes = pth_attr_new();
		pth_attr_set(attributes, PTH_ATTR_JOINABLE, FALSE);
		pth_spawn(attributes, build_all, (void *)(intptr_t)count);
		pth_attr_destroy(attributes);
	} else {
		st_init();
		st_thread_create(build_all, (void *)(intptr_t)count, 0, 0);
	}
	for (i = 0; i < 40; i++)
		yield();
	scrub();
	return 0;
}
