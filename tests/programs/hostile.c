/* SPDX-License-Identifier: MIT */
/*
 * Leaks one goroutine, keeps another by the only pointer to it, and then brings itself into the
 * state that argv[1] names (argv[2] may say more). Says READY, waits for the end of standard input,
 * and exits with 5; with "strange" on standard output where its own calls went wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"
#include "runtime.h"

#define NOBODY 65534
#define PAGE 4096
#define EPOLL_ENTRIES 6000
#define HOLES 20

static gate_t *kept; /* where the pointer is */

static void check(int result)
{
	if (result < 0)
		puts("strange");
}

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
	*kept = gate_new();
	spawn(kept_worker, *kept);
	return unused;
}

static gate_t *map_page(int flags)
{
	return mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

/* --- Where the pointer is --- */

static void in_shared_memory(void)
{
	gate_t *shared = map_page(MAP_SHARED);

	*shared = *kept;
	*kept = NULL;
}

/* In a page that nobody may read, not even in the snapshot before it asks for that. */
static void in_hidden_memory(void)
{
	gate_t *volatile hidden = map_page(MAP_PRIVATE);

	*hidden = *kept;
	*kept = (gate_t)hidden;
	check(mprotect(hidden, PAGE, PROT_NONE));
}

/* Many registrations, made before State Threads allows no more descriptors than select can have. */
static int epoll_set = -1;
static int epoll_last;

static void register_many(void)
{
	struct epoll_event event = {0};
	int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
	int holes[HOLES];
	int i;

	/* Holes, for who needs a low one. */
	for (i = 0; i < HOLES; i++)
		holes[i] = dup(socket_fd);
	epoll_set = epoll_create1(0);
	for (i = 0; i < EPOLL_ENTRIES; i++) {
		epoll_last = dup(socket_fd);
		check(epoll_ctl(epoll_set, EPOLL_CTL_ADD, epoll_last, &event));
	}
	for (i = 0; i < HOLES; i++)
		close(holes[i]);
}

static void in_epoll(void)
{
	struct epoll_event event = {.data.ptr = *kept};

	check(epoll_ctl(epoll_set, EPOLL_CTL_MOD, epoll_last, &event));
	memset(&event, 0, sizeof(event));
	*kept = NULL;
}

/* --- States --- */

static void idle(const char *unused)
{
	(void)unused;
}

static void drop(const char *where)
{
	if (where && !strcmp(where, "hidden"))
		in_hidden_memory();
	check(setgroups(0, NULL));
	check(setgid(NOBODY));
	check(setuid(NOBODY));
}

static void keep_in(const char *where)
{
	if (!strcmp(where, "shared"))
		in_shared_memory();
	else
		in_epoll();
}

static void change_root(const char *folder)
{
	check(chroot(folder));
	check(chdir("/"));
}

/* No descriptor is left; what they are open on is looked into by snapshots, or not. */
static void fill_descriptors(const char *what)
{
	int ends[2];

	if (!strcmp(what, "pipes")) {
		while (!pipe(ends))
			;
		while (dup(ends[0]) >= 0)
			;
	} else {
		while (open(what, O_RDWR) >= 0)
			;
	}
}

static void limit_memory(const char *more)
{
	struct rlimit limit;
	char line[256];
	long kilobytes = 0;
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "VmSize: %ld", &kilobytes);
	fclose(status);
	limit.rlim_cur = limit.rlim_max = (rlim_t)(kilobytes + atol(more)) * 1024;
	check(setrlimit(RLIMIT_AS, &limit));
}

static void *sleep_long(void *unused)
{
	sleep(HOUR);
	return unused;
}

static void start_threads(const char *count)
{
	pthread_attr_t attributes;
	pthread_t thread;
	long i;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	for (i = 0; i < atol(count); i++)
		check(-pthread_create(&thread, &attributes, sleep_long, NULL));
}

static void lock_memory(const char *count)
{
	check(mlockall(MCL_FUTURE));
	start_threads(count);
}

/* --- A signal stack that is too small for a signal frame with all vector registers --- */

static char small[2048] __attribute__((aligned(16)));
static volatile sig_atomic_t handled;

static void on_signal(int number)
{
	handled = number;
}

static void use_small_stack(const char *unused)
{
	const stack_t stack = {.ss_sp = small, .ss_size = sizeof(small)};
	const stack_t none = {.ss_flags = SS_DISABLE};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	stack_t now;

	(void)unused;
	check(sigaltstack(&stack, NULL));
	check(sigaction(SIGUSR1, &action, NULL));
	raise(SIGUSR1);
	check(sigaltstack(NULL, &now));
	check(handled == SIGUSR1 && now.ss_sp == small && now.ss_size == sizeof(small) ? 0 : -1);
	check(sigaltstack(&none, &now));
	check(now.ss_sp == small ? 0 : -1);
	check(sigaltstack(NULL, &now));
	check(now.ss_flags == SS_DISABLE ? 0 : -1);
	check(sigaltstack(&stack, NULL));
}

/* --- A thread in vfork, which cannot stop until its child is gone --- */

static int vfork_ends[2];

static void *vfork_and_wait(void *unused)
{
	char byte;
	pid_t child = vfork();

	if (!child)
		_exit(read(vfork_ends[0], &byte, 1) < 0);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	puts("CHILD ENDED");
	return unused;
}

/* The child ends with a signal to the program. */
static void end_child(int number)
{
	(void)number;
	check((int)write(vfork_ends[1], "", 1));
}

static void be_in_vfork(const char *unused)
{
	const struct timespec while_short = {0, 50000000};
	pthread_t thread;

	(void)unused;
	signal(SIGUSR1, end_child);
	check(pipe(vfork_ends));
	check(-pthread_create(&thread, NULL, vfork_and_wait, NULL));
	nanosleep(&while_short, NULL);
}

/* --- Memory that changes while a snapshot has it, which then is there twice --- */

#define MIB (1u << 20)

static char *large;
static size_t large_size;

static char *map_memory(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memset(memory, 1, size);
}

/* It grows by half first, so that it is larger than its snapshot. */
static void on_rewrite(int number)
{
	(void)number;
	map_memory(large_size / 2);
	memset(large, 2, large_size);
	puts("REWRITTEN");
}

/* COUNT MiB, rewritten on SIGUSR1. */
static void hold_memory(const char *count)
{
	large_size = (size_t)atol(count) * MIB;
	large = map_memory(large_size);
	signal(SIGUSR1, on_rewrite);
}

static const struct {
	const char *name;
	void (*enter)(const char *);
} states[] = {
	{"idle", idle},
	{"drop", drop},
	{"keep_in", keep_in},
	{"chroot", change_root},
	{"full", fill_descriptors},
	{"limit", limit_memory},
	{"threads", start_threads},
	{"mlock", lock_memory},
	{"small_stack", use_small_stack},
	{"vfork", be_in_vfork},
	{"memory", hold_memory},
};

int main(int argc, char **argv)
{
	size_t i;

	unbuffer();
	kept = malloc(sizeof(*kept));
	if (argc > 2 && !strcmp(argv[2], "epoll"))
		register_many();
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	for (i = 0; argc > 1 && i < sizeof(states) / sizeof(states[0]); i++)
		if (!strcmp(argv[1], states[i].name))
			states[i].enter(argv[2]);
	scrub();
	puts("READY");
	read_byte(0);
	return 5;
}
