/* SPDX-License-Identifier: MIT */
/*
 * A second OS thread keeps the only reference to what a goroutine waits on, in a large block that
 * it reallocates all the time and never looks into. argv[1]: mapped (blocks that are mappings of
 * their own, which mremap moves) or arena (copied within the allocator's memory). Nothing is
 * leaked.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common.h"
#include "runtime.h"

#define SMALL (300u << 10)
#define LARGE (3u << 20)
#define AT (SMALL / sizeof(void *) - 10)

static gate_t *volatile handed; /* the block, until the thread has it */
static atomic_int taken;
static atomic_int stop;

static void *kept_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *start(void *unused)
{
	gate_t *block = calloc(1, SMALL);

	block[AT] = gate_new();
	spawn(kept_worker, block[AT]);
	handed = block;
	return unused;
}

/* Other blocks come between, so that it cannot grow where it is. */
static void *move_about(void *unused)
{
	gate_t *block = handed;
	unsigned seed = 1;

	handed = NULL;
	taken = 1;
	while (!stop) {
		void *volatile between = malloc(SMALL);

		seed = seed * 1103515245 + 12345;
		block = realloc(block, SMALL + seed % (LARGE - SMALL));
		free(between);
		block = realloc(block, SMALL);
	}
	return block[AT] ? unused : "lost";
}

int main(int argc, char **argv)
{
	pthread_t thread;
	void *lost;
	int i;

	unbuffer();
	mallopt(M_MMAP_THRESHOLD, argc > 1 && !strcmp(argv[1], "mapped") ? 65536 : 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	pthread_create(&thread, NULL, move_about, NULL);
	while (!taken)
		usleep(1000);
	scrub();
	puts("READY");
	read_byte(0);
	stop = 1;
	pthread_join(thread, &lost);
	return lost ? 1 : 0;
}
