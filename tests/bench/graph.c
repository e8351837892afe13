/* SPDX-License-Identifier: MIT */
/*
 * graph NODES BYTES POINTERS: a heap for marking. NODES blocks of BYTES each are allocated in order
 * and linked in random order, so that all are reached from one global variable; each has POINTERS -
 * 1 more pointers to random others, and small numbers behind them. POINTERS 0: one array of
 * pointers leads to all, which hold numbers only; 1: one linked list. Prints how long each of five
 * collections took:
 *
 *     SECONDS
 *
 * Built three times: with LeakSanitizer (__lsan_do_recoverable_leak_check), with Boehm's collector
 * (GC_gcollect), and for leakprof, which takes a snapshot for each line of standard input, so that
 * the one who reads its figures keeps step.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(ENGINE_LSAN)
#include <sanitizer/lsan_interface.h>
#elif defined(ENGINE_BOEHM)
#include <gc.h>
#else
#include "leakprof.h"
#include "minigo.h"
#endif

#define TURNS 5

static void **root;

static uint64_t random_number(void)
{
	static uint64_t state = 88172645463325253ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void *allocate(size_t size)
{
#if defined(ENGINE_BOEHM)
	void *memory = GC_MALLOC(size);
#else
	void *memory = malloc(size);
#endif

	if (!memory)
		abort();
	return memory;
}

/* NODES with their pointers. INDEX has all of them, in order. */
static void link_nodes(void ***index, size_t nodes, size_t words, size_t pointers)
{
	size_t i, j;

	for (i = nodes - 1; i > 0; i--) {
		size_t other = random_number() % (i + 1);
		void **swapped = index[i];

		index[i] = index[other];
		index[other] = swapped;
	}
	for (i = 0; i < nodes; i++) {
		for (j = 1; j < pointers && j < words; j++)
			index[i][j] = index[random_number() % nodes];
		index[i][0] = i + 1 < nodes ? index[i + 1] : NULL;
	}
	root = index[0];
}

static void build(size_t nodes, size_t bytes, size_t pointers)
{
	size_t words = bytes / sizeof(void *);
	void ***index = allocate(nodes * sizeof(*index));
	size_t i, j;

	for (i = 0; i < nodes; i++) {
		index[i] = allocate(bytes);
		for (j = 0; j < words; j++)
			index[i][j] = (void *)(uintptr_t)(i + j);
	}
	if (!pointers) {
		root = (void **)index;
		return;
	}
	link_nodes(index, nodes, words, pointers);
#if defined(ENGINE_BOEHM)
	GC_FREE(index);
#else
	free(index);
#endif
}

static void collect(void)
{
#if defined(ENGINE_LSAN)
	if (__lsan_do_recoverable_leak_check())
		abort();
#elif defined(ENGINE_BOEHM)
	GC_gcollect();
#else
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	leakprof_collect();
#endif
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

#if defined(ENGINE_LSAN) || defined(ENGINE_BOEHM)
static void start_runtime(void)
{
#if defined(ENGINE_BOEHM)
	GC_INIT();
#endif
}
#else
static void wait_for_ever(void *chan)
{
	chan_receive(chan, NULL);
}

/* One leaked goroutine: there is something to measure. */
static void start_runtime(void)
{
	minigo_init();
	go(wait_for_ever, NULL);
	go_settle(0);
}
#endif

int main(int argc, char **argv)
{
	int i;

	if (argc != 4)
		return 2;
	start_runtime();
	build(strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
	for (i = 0; i < TURNS; i++) {
		double start = now();

		collect();
		printf("%.6f\n", now() - start);
		fflush(stdout);
	}
	return root == NULL;
}
