/* SPDX-License-Identifier: MIT */
/*
 * Threads that do all at once, again and again: allocate, open and close the library argv[1],
 * create and end threads, take signals of the program's own from a timer. Meanwhile one goroutine
 * is leaked and one is kept. Ends at the end of standard input, and says what it counted.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "common.h"
#include "runtime.h"

static gate_t *volatile kept;
static atomic_int done;
static atomic_int wrong;
static atomic_long rounds[3];
static atomic_long signals;

static void *leaked_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *kept_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *start(void *unused)
{
	spawn(leaked_worker, gate_new());
	kept = malloc(sizeof(*kept));
	*kept = gate_new();
	spawn(kept_worker, *kept);
	return unused;
}

static void *allocate(void *unused)
{
	void *blocks[32] = {0};
	unsigned seed = 1;

	while (!done) {
		unsigned i = (seed = seed * 1103515245 + 12345) >> 16 & 31;

		blocks[i] = realloc(blocks[i], seed >> 12 & 0x1ffff);
		rounds[0]++;
	}
	return unused;
}

static void *open_and_close(void *path)
{
	while (!done) {
		void *library = dlopen(path, RTLD_NOW);

		wrong += !library || !dlsym(library, "plugin_start") || dlclose(library);
		rounds[1]++;
	}
	return NULL;
}

static void *end_at_once(void *value)
{
	return value;
}

static void *create(void *unused)
{
	while (!done) {
		pthread_t thread;
		void *value = NULL;

		wrong += pthread_create(&thread, NULL, end_at_once, &value) ||
			 pthread_join(thread, &value) || value != &value;
		rounds[2]++;
	}
	return unused;
}

static void on_alarm(int number)
{
	int saved = errno;

	(void)number;
	signals++;
	errno = saved;
}

int main(int argc, char **argv)
{
	void *(*const work[])(void *) = {allocate, open_and_close, create, allocate, create};
	const struct itimerval often = {{0, 200}, {0, 200}};
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	pthread_t thread;
	size_t i;

	if (argc < 2)
		return 2;
	unbuffer();
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < sizeof(work) / sizeof(work[0]); i++)
		wrong += pthread_create(&thread, NULL, work[i], argv[1]);
	scrub();
	puts("READY");
	read_byte(0);
	done = 1;
	printf("wrong=%d worked=%d\n", wrong, rounds[0] && rounds[1] && rounds[2] && signals);
	return 5;
}
