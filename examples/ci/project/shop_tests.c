/* SPDX-License-Identifier: MIT */
/*
 * Twenty tests of a shop over State Threads, one a call: shop_tests NAME. LEAKS of them leave a
 * goroutine behind, and pass all the same.
 */
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An order that somebody waits for. */
struct order {
	st_cond_t done;
	int is_done;
};

static void *await_order(void *argument)
{
	struct order *order = argument;

	while (!order->is_done)
		st_cond_wait(order->done);
	st_cond_destroy(order->done);
	free(order);
	return NULL;
}

static struct order *place_order(void)
{
	struct order *order = calloc(1, sizeof(*order));

	order->done = st_cond_new();
	st_thread_create(await_order, order, 0, 0);
	st_usleep(0);
	return order;
}

static void finish(struct order *order)
{
	order->is_done = 1;
	st_cond_broadcast(order->done);
	st_usleep(0);
}

/* Takes an order and finishes it. */
static void serve(void)
{
	finish(place_order());
}

/* Each forgets its order in its own way. */
static void cancel(int forget)
{
	struct order *order = place_order();

	if (!forget)
		finish(order);
}

static void time_out(int forget)
{
	struct order *order = place_order();

	st_usleep(1000);
	if (!forget)
		finish(order);
}

static void refund(int forget)
{
	struct order *first = place_order();
	struct order *second = place_order();

	finish(first);
	if (!forget)
		finish(second);
}

/* Waits for the parcel of the order, too. */
static void *track_parcel(void *argument)
{
	return await_order(argument);
}

static void ship(int forget)
{
	struct order *parcel = calloc(1, sizeof(*parcel));

	parcel->done = st_cond_new();
	st_thread_create(track_parcel, parcel, 0, 0);
	st_usleep(0);
	if (!forget)
		finish(parcel);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*test)(int forget);
		int leaks_from;
	} own[] = {{"cancels", cancel, 1},
		   {"times_out", time_out, 2},
		   {"refunds", refund, 3},
		   {"ships", ship, 4}};
	size_t i;

	if (argc != 2 || st_init())
		return 2;
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (strcmp(argv[1], own[i].name))
			continue;
		own[i].test(LEAKS >= own[i].leaks_from);
		return 0;
	}
	serve();
	return 0;
}
