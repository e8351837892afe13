/* SPDX-License-Identifier: MIT */
/*
 * Every place that can hold the only pointer to what a goroutine waits on:
 *
 *     holders NAME live|leak [serve]
 *
 * A goroutine waits at a gate. Only NAME holds a pointer to it: it can still be opened, so the
 * goroutine is live. With `leak`, the same program takes the pointer out of NAME again: now the
 * goroutine is leaked, which shows that nothing else had kept it alive. Built for both libraries.
 * With `serve` the program does not exit but waits for its standard input to end, so that a
 * snapshot meets it with all goroutines parked.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <time.h>
#include <ucontext.h>

#include "common.h"
#include "runtime.h"

#define POOL 65536
#define AT 1000 /* where in a pool */

struct holder {
	const char *name;
	void (*hold)(void *gate);
	void (*drop)(void);
};

static void *wait_at_gate(void *gate)
{
	gate_wait(gate);
	return NULL;
}

/* --- Memory --- */

static void *volatile in_global;
static void *volatile *volatile block; /* keeps a block that holds the gate */
static __thread void *volatile in_tls;

static void hold_global(void *gate)
{
	in_global = gate;
}

static void drop_global(void)
{
	in_global = NULL;
}

static void hold_interior(void *gate)
{
	in_global = (char *)gate + 8;
}

static void hold_tls(void *gate)
{
	in_tls = gate;
}

static void drop_tls(void)
{
	in_tls = NULL;
}

/* The block stays, what it holds goes. */
static void drop_from_block(void)
{
	size_t i;

	for (i = 0; i < 4096 / sizeof(void *); i++)
		block[i] = NULL;
}

/* What it holds stays, the block goes. */
static void drop_block(void)
{
	block = NULL;
}

static void hold_block(void *gate)
{
	block = malloc(4096);
	memset((void *)block, 0, 4096);
	block[100] = gate;
}

static void drop_freed_block(void)
{
	free((void *)block);
	block = NULL;
}

static void hold_large_block(void *gate)
{
	block = calloc(1, 4 << 20);
	block[AT] = gate;
}

static void hold_aligned_block(void *gate)
{
	void *memory;

	if (posix_memalign(&memory, 4096, 8192))
		abort();
	block = memset(memory, 0, 8192);
	block[AT] = gate;
}

static void hold_grown_block(void *gate)
{
	void *volatile *grown = calloc(1, 64);

	grown[3] = gate;
	block = realloc((void *)grown, 1 << 20);
	memset((void *)(block + 8), 0, (1 << 20) - 64);
}

static void *overwrite(void *unused)
{
	volatile char bytes[32768];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
	return unused;
}

/* glibc keeps the stack and descriptor of a thread that was joined, as they are, for the next one:
 * here it is. */
static void reuse_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, overwrite, NULL);
	pthread_join(thread, NULL);
}

static void *allocate(void *size)
{
	return calloc(1, (size_t)size);
}

/* From another thread's arena: an anonymous mapping that malloc made. */
static void hold_arena_block(void *gate)
{
	pthread_t thread;
	void *memory;

	pthread_create(&thread, NULL, allocate, (void *)4096);
	pthread_join(thread, &memory);
	reuse_thread();
	block = memory;
	block[100] = gate;
}

/*
 * With an inaccessible page on either side: the kernel shows adjacent mappings as one, and what is
 * reached of it, such as the dynamic linker's own memory, reaches all.
 */
static void *map_apart(void)
{
	char *memory = mmap(NULL, POOL + 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory + 4096, POOL, PROT_READ | PROT_WRITE))
		abort();
	return memory + 4096;
}

static void hold_pool(void *gate)
{
	block = map_apart();
	block[AT] = gate;
}

static void hold_read_only_pool(void *gate)
{
	hold_pool(gate);
	mprotect((void *)block, POOL, PROT_READ);
}

static void hold_private_file(void *gate)
{
	int file = memfd_create("private", 0);

	if (ftruncate(file, POOL))
		abort();
	block = mmap(NULL, POOL, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	block[100] = gate;
}

/* Another process may hold the pool, too: it is a root even though nothing here points to it. */
static void hold_shared(void *gate)
{
	static uintptr_t hidden;
	void **pool = mmap(NULL, POOL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pool[AT] = gate;
	hidden = ~(uintptr_t)pool;
	in_global = &hidden;
}

static void drop_shared(void)
{
	munmap((void *)~*(uintptr_t *)in_global, POOL);
}

static void hold_break(void *gate)
{
	void **memory = sbrk(4096);

	memory[100] = gate;
	in_global = memory;
}

static void hold_moved_pool(void *gate)
{
	hold_pool(gate);
	block = mremap((void *)block, POOL, 64 * POOL, MREMAP_MAYMOVE);
}

/* --- Blocks that libc allocates --- */

static void *volatile from_libc;
static void *tree;

static int compare(const void *a, const void *b)
{
	return (a > b) - (a < b);
}

static void hold_tree(void *gate)
{
	tsearch(gate, &tree, compare);
}

static void drop_tree(void)
{
	tdelete(*(void **)tree, &tree, compare);
}

static void hold_cookie(void *gate)
{
	cookie_io_functions_t functions = {0};

	from_libc = fopencookie(gate, "r", functions);
}

static void drop_cookie(void)
{
	fclose(from_libc);
	from_libc = NULL;
}

/* --- A library opened while running --- */

static void **slot_of_library(const char *function)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);
	void *library;

	path[length > 0 ? length : 0] = 0;
	strcpy(strrchr(path, '/') + 1, "libtls_library.so");
	library = dlopen(path, RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return ((void **(*)(void))dlsym(library, function))();
}

static void hold_library_tls(void *gate)
{
	*slot_of_library("tls_library_local") = gate;
}

static void drop_library_tls(void)
{
	*slot_of_library("tls_library_local") = NULL;
}

static void hold_library_data(void *gate)
{
	*slot_of_library("tls_library_static") = gate;
}

static void drop_library_data(void)
{
	*slot_of_library("tls_library_static") = NULL;
}

/* --- Other OS threads --- */

static void *volatile handed; /* to a thread, which takes it */
static volatile int taken;
static volatile int stop;
static pthread_t other;

static void start_thread(void *(*start)(void *), void *gate, const pthread_attr_t *attributes)
{
	handed = gate;
	pthread_create(&other, attributes, start, NULL);
	while (!taken)
		sched_yield();
}

static void stop_thread(void)
{
	stop = 1;
	pthread_join(other, NULL);
	reuse_thread();
}

static void rest(void)
{
	struct timespec time = {0, 1000000};

	while (!stop)
		nanosleep(&time, NULL);
}

static void *keep_on_stack(void *unused)
{
	void *volatile held = handed;

	handed = NULL;
	taken = 1;
	rest();
	(void)held;
	return unused;
}

static void hold_thread_stack(void *gate)
{
	start_thread(keep_on_stack, gate, NULL);
}

static void hold_thread_on_own_stack(void *gate)
{
	pthread_attr_t attributes;
	void *stack;

	if (posix_memalign(&stack, 4096, 65536))
		abort();
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, stack, 65536);
	start_thread(keep_on_stack, gate, &attributes);
	pthread_attr_destroy(&attributes);
}

/* Takes the gate, and holds it in one register alone. */
static void *keep_in_register(void *unused)
{
	__asm__ volatile("xorl %%eax, %%eax\n\t"
			 "xchgq %%rax, %0\n\t"
			 "movl $1, %1\n"
			 "1:\tpause\n\t"
			 "cmpl $0, %2\n\t"
			 "je 1b\n\t"
			 "xorl %%eax, %%eax"
			 : "+m"(handed), "=m"(taken)
			 : "m"(stop)
			 : "rax", "cc", "memory");
	return unused;
}

static void *keep_in_vector_register(void *unused)
{
	__asm__ volatile("xorl %%eax, %%eax\n\t"
			 "xchgq %%rax, %0\n\t"
			 "movq %%rax, %%xmm9\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "movl $1, %1\n"
			 "1:\tpause\n\t"
			 "cmpl $0, %2\n\t"
			 "je 1b\n\t"
			 "pxor %%xmm9, %%xmm9"
			 : "+m"(handed), "=m"(taken)
			 : "m"(stop)
			 : "rax", "xmm9", "cc", "memory");
	return unused;
}

/* In the upper half, which is not where signal frames of old have it. */
static void *keep_in_wide_register(void *unused)
{
	__asm__ volatile("xorl %%eax, %%eax\n\t"
			 "xchgq %%rax, %0\n\t"
			 "vmovq %%rax, %%xmm9\n\t"
			 "xorl %%eax, %%eax\n\t"
			 "vperm2f128 $0x08, %%ymm9, %%ymm9, %%ymm9\n\t"
			 "movl $1, %1\n"
			 "1:\tpause\n\t"
			 "cmpl $0, %2\n\t"
			 "je 1b\n\t"
			 "vzeroupper\n\t"
			 "pxor %%xmm9, %%xmm9"
			 : "+m"(handed), "=m"(taken)
			 : "m"(stop)
			 : "rax", "xmm9", "cc", "memory");
	return unused;
}

static void hold_register(void *gate)
{
	start_thread(keep_in_register, gate, NULL);
}

static void hold_vector_register(void *gate)
{
	start_thread(keep_in_vector_register, gate, NULL);
}

static void hold_wide_register(void *gate)
{
	start_thread(__builtin_cpu_supports("avx") ? keep_in_wide_register
						   : keep_in_vector_register,
		     gate, NULL);
}

static volatile int in_handler;

static void stay_in_handler(int number)
{
	(void)number;
	in_handler = 1;
	while (!stop)
		;
}

/* Keeps it where the thread is interrupted by a handler that runs on another stack. */
static void *be_interrupted(void *unused)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	struct sigaction action = {.sa_handler = stay_in_handler, .sa_flags = SA_ONSTACK};
	void *volatile held = handed;

	handed = NULL;
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	taken = 1;
	raise(SIGUSR1);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
	(void)held;
	return unused;
}

static void hold_interrupted_stack(void *gate)
{
	start_thread(be_interrupted, gate, NULL);
	while (!in_handler)
		sched_yield();
}

static ucontext_t outer;
static ucontext_t inner;
static volatile int switched;

static void stay_in_context(void)
{
	switched = 1;
	while (!stop)
		;
}

/* Keeps it on the stack that it has left for another one. */
static void *switch_stacks(void *unused)
{
	static char stack[65536];
	void *volatile held = handed;

	handed = NULL;
	getcontext(&inner);
	inner.uc_stack.ss_sp = stack;
	inner.uc_stack.ss_size = sizeof(stack);
	inner.uc_link = &outer;
	makecontext(&inner, stay_in_context, 0);
	taken = 1;
	swapcontext(&outer, &inner);
	(void)held;
	return unused;
}

static void hold_left_stack(void *gate)
{
	start_thread(switch_stacks, gate, NULL);
	while (!switched)
		sched_yield();
}

static void keep_in_context(void)
{
	void *volatile held = handed;

	handed = NULL;
	swapcontext(&inner, &outer);
	(void)held;
}

/* A context that is parked: on a block that is reached by the saved context alone. */
static void hold_parked_context(void *gate)
{
	handed = gate;
	block = (void *volatile *)&inner;
	getcontext(&inner);
	inner.uc_stack.ss_sp = malloc(65536);
	inner.uc_stack.ss_size = 65536;
	inner.uc_link = &outer;
	makecontext(&inner, keep_in_context, 0);
	swapcontext(&outer, &inner);
}

static void drop_parked_context(void)
{
	swapcontext(&outer, &inner);
	memset(inner.uc_stack.ss_sp, 0, 65536);
	memset(&inner, 0, sizeof(inner));
	memset(&outer, 0, sizeof(outer));
}

static void *keep_in_tls(void *unused)
{
	in_tls = handed;
	handed = NULL;
	taken = 1;
	rest();
	return unused;
}

static void hold_thread_tls(void *gate)
{
	start_thread(keep_in_tls, gate, NULL);
}

static void *keep_in_library_tls(void *unused)
{
	void **slot = slot_of_library("tls_library_local");

	*slot = handed;
	handed = NULL;
	taken = 1;
	rest();
	return unused;
}

static void hold_thread_library_tls(void *gate)
{
	start_thread(keep_in_library_tls, gate, NULL);
}

static pthread_key_t key;

/* The first keys lie in the thread's descriptor, the others in blocks of their own. */
static void hold_key(void *gate, int keys)
{
	while (keys--)
		pthread_key_create(&key, NULL);
	pthread_setspecific(key, gate);
}

static void hold_first_key(void *gate)
{
	hold_key(gate, 1);
}

static void hold_hundredth_key(void *gate)
{
	hold_key(gate, 100);
}

static void drop_key(void)
{
	pthread_setspecific(key, NULL);
}

static void *return_it(void *unused)
{
	void *gate = handed;

	handed = NULL;
	taken = 1;
	return gate ? gate : unused;
}

/* What a thread has returned, until somebody joins it. */
static void hold_thread_result(void *gate)
{
	start_thread(return_it, gate, NULL);
}

/* --- The kernel --- */

static int ends[2];
static int epoll;
static timer_t timer;

static void hold_epoll(void *gate)
{
	struct epoll_event event = {.events = EPOLLIN};

	event.data.ptr = gate;
	epoll = epoll_create1(0);
	if (pipe(ends) || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event))
		abort();
}

static void drop_epoll(void)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL);
}

/* One descriptor number watched twice, by two instances; the copy of the instance is the one that
 * holds. */
static void hold_second_epoll(void *gate)
{
	struct epoll_event event = {.events = EPOLLIN};

	hold_epoll(NULL);
	event.data.ptr = gate;
	epoll = epoll_create1(0);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event))
		abort();
}

static void *poll_for_ever(void *unused)
{
	struct epoll_event event;

	hold_epoll(handed);
	handed = NULL;
	scrub();
	taken = 1;
	while (epoll_wait(epoll, &event, 1, -1) < 0)
		;
	return unused;
}

static void hold_waiting_epoll(void *gate)
{
	start_thread(poll_for_ever, gate, NULL);
}

static void drop_waiting_epoll(void)
{
	if (write(ends[1], "x", 1) != 1)
		abort();
	stop_thread();
	drop_epoll();
}

static void make_timer(void *gate, int notify)
{
	struct sigevent event = {.sigev_notify = notify, .sigev_signo = SIGUSR2};
	struct itimerspec when = {.it_value.tv_sec = HOUR};

	event.sigev_value.sival_ptr = gate;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL))
		abort();
}

static void hold_timer(void *gate)
{
	make_timer(gate, SIGEV_SIGNAL);
}

static void hold_timer_unsignalled(void *gate)
{
	make_timer(gate, SIGEV_NONE);
}

static void drop_timer(void)
{
	timer_delete(timer);
}

static void send_pointer(void *gate)
{
	if (write(ends[1], "x", 1) != 1 || write(ends[1], &gate, sizeof(gate)) != sizeof(gate))
		abort();
}

static void hold_pipe(void *gate)
{
	if (pipe(ends))
		abort();
	send_pointer(gate);
}

static void hold_socket(void *gate)
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		abort();
	send_pointer(gate);
}

/* The second message: peeking shows the first. */
static void hold_datagram(void *gate)
{
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
		abort();
	send_pointer(gate);
}

static void drop_messages(void)
{
	char bytes[16];

	if (read(ends[0], bytes, 1) != 1 || read(ends[0], bytes, 8) != 8)
		abort();
	memset(bytes, 0, sizeof(bytes));
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

/* A full pipe: the pointer is the last that went in. */
static void hold_full_pipe(void *gate)
{
	static const char filler[65536 - sizeof(gate) - 1];

	if (pipe(ends) || write(ends[1], filler, sizeof(filler)) != sizeof(filler))
		abort();
	send_pointer(gate);
}

static void drop_full_pipe(void)
{
	static char bytes[65536];

	if (read(ends[0], bytes, sizeof(bytes)) != sizeof(bytes))
		abort();
	memset(bytes, 0, sizeof(bytes));
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

static void hold_eventfd(void *gate)
{
	uint64_t count = (uintptr_t)gate;

	ends[0] = eventfd(0, 0);
	if (write(ends[0], &count, sizeof(count)) != sizeof(count))
		abort();
}

static void drop_eventfd(void)
{
	uint64_t count;

	if (read(ends[0], &count, sizeof(count)) != sizeof(count))
		abort();
	__asm__ volatile("" : "=m"(count));
	count = 0;
	__asm__ volatile("" : : "r"(&count) : "memory");
}

struct message {
	long type;
	void *gate;
};

static int message_queue;

/* Behind another one. The queue outlives the process: the test removes it. */
static void hold_sysv_message(void *gate)
{
	struct message message = {1, NULL};

	message_queue = msgget(IPC_PRIVATE, 0600);
	if (message_queue < 0 || msgsnd(message_queue, &message, sizeof(gate), 0))
		abort();
	message.gate = gate;
	if (msgsnd(message_queue, &message, sizeof(gate), 0))
		abort();
}

static void drop_sysv_message(void)
{
	struct message message;

	if (msgrcv(message_queue, &message, sizeof(message.gate), 0, 0) < 0 ||
	    msgrcv(message_queue, &message, sizeof(message.gate), 0, 0) < 0)
		abort();
	memset(&message, 0, sizeof(message));
	__asm__ volatile("" : : "r"(&message) : "memory");
}

/* --- Pending signals --- */

/* Before the runtime starts, as it may keep a mask a goroutine. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	sigaddset(&set, SIGRTMIN + 4);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void hold_queued_signal(void *gate)
{
	if (sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_ptr = gate}))
		abort();
}

static void hold_thread_signal(void *gate)
{
	if (pthread_sigqueue(pthread_self(), SIGRTMIN + 4, (union sigval){.sival_ptr = gate}))
		abort();
}

static void drop_signal(void)
{
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	sigaddset(&set, SIGRTMIN + 4);
	if (sigwaitinfo(&set, &info) < 0)
		abort();
	memset(&info, 0, sizeof(info));
	__asm__ volatile("" : : "r"(&info) : "memory");
}

/* --- Other goroutines --- */

static gate_t bedroom;

static void *keep_and_sleep(void *gate)
{
	void *volatile held = gate;

	gate_wait_timed(bedroom);
	return held;
}

static void hold_sleeper(void *gate)
{
	bedroom = gate_new();
	spawn(keep_and_sleep, gate);
}

static void drop_sleeper(void)
{
	gate_open(bedroom);
}

static void *keep_and_read(void *gate)
{
	void *volatile held = gate;

	read_byte(ends[0]);
	return held;
}

static void hold_reader(void *gate)
{
	if (pipe(ends))
		abort();
	spawn(keep_and_read, gate);
}

static void drop_reader(void)
{
	if (write(ends[1], "x", 1) != 1)
		abort();
}

static void *keep_and_wait(void *gate)
{
	void *volatile held = gate;

	gate_wait(bedroom);
	return held;
}

/* A goroutine that waits for what is still held: it is live, and so is what it holds. */
static void hold_waiter(void *gate)
{
	bedroom = gate_new();
	spawn(keep_and_wait, gate);
}

static void drop_bedroom(void)
{
	bedroom = NULL;
}

static const struct holder holders[] = {
	{"global", hold_global, drop_global},
	{"interior", hold_interior, drop_global},
	{"tls", hold_tls, drop_tls},
	{"block", hold_block, drop_from_block},
	{"lost_block", hold_block, drop_block},
	{"freed_block", hold_block, drop_freed_block},
	{"large_block", hold_large_block, drop_block},
	{"aligned_block", hold_aligned_block, drop_freed_block},
	{"grown_block", hold_grown_block, drop_freed_block},
	{"arena_block", hold_arena_block, drop_from_block},
	{"lost_arena_block", hold_arena_block, drop_block},
	{"freed_arena_block", hold_arena_block, drop_freed_block},
	{"pool", hold_pool, drop_block},
	{"read_only_pool", hold_read_only_pool, drop_block},
	{"private_file", hold_private_file, drop_from_block},
	{"shared", hold_shared, drop_shared},
	{"moved_pool", hold_moved_pool, drop_block},
	{"break", hold_break, drop_global},
	{"tree", hold_tree, drop_tree},
	{"cookie", hold_cookie, drop_cookie},
	{"library_tls", hold_library_tls, drop_library_tls},
	{"library_data", hold_library_data, drop_library_data},
	{"thread_stack", hold_thread_stack, stop_thread},
	{"thread_on_own_stack", hold_thread_on_own_stack, stop_thread},
	{"register", hold_register, stop_thread},
	{"vector_register", hold_vector_register, stop_thread},
	{"wide_register", hold_wide_register, stop_thread},
	{"interrupted_stack", hold_interrupted_stack, stop_thread},
	{"left_stack", hold_left_stack, stop_thread},
	{"parked_context", hold_parked_context, drop_parked_context},
	{"thread_tls", hold_thread_tls, stop_thread},
	{"thread_library_tls", hold_thread_library_tls, stop_thread},
	{"first_key", hold_first_key, drop_key},
	{"hundredth_key", hold_hundredth_key, drop_key},
	{"thread_result", hold_thread_result, stop_thread},
	{"epoll", hold_epoll, drop_epoll},
	{"second_epoll", hold_second_epoll, drop_epoll},
	{"waiting_epoll", hold_waiting_epoll, drop_waiting_epoll},
	{"timer", hold_timer, drop_timer},
	{"timer_unsignalled", hold_timer_unsignalled, drop_timer},
	{"pipe", hold_pipe, drop_messages},
	{"socket", hold_socket, drop_messages},
	{"datagram", hold_datagram, drop_messages},
	{"full_pipe", hold_full_pipe, drop_full_pipe},
	{"eventfd", hold_eventfd, drop_eventfd},
	{"sysv_message", hold_sysv_message, drop_sysv_message},
	{"queued_signal", hold_queued_signal, drop_signal},
	{"thread_signal", hold_thread_signal, drop_signal},
	{"sleeper", hold_sleeper, drop_sleeper},
	{"reader", hold_reader, drop_reader},
	{"waiter", hold_waiter, drop_bedroom},
};

static const struct holder *holder;

static void *hold(void *unused)
{
	gate_t gate = gate_new();

	spawn(wait_at_gate, gate);
	yield();
	holder->hold(gate);
	return unused;
}

static void *drop(void *unused)
{
	holder->drop();
	scrub();
	return unused;
}

/* In a goroutine of its own, which ends. */
static void run(void *(*part)(void *))
{
	int i;

	spawn(part, NULL);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
}

int main(int argc, char **argv)
{
	size_t i;

	for (i = 0; argc > 2 && i < sizeof(holders) / sizeof(holders[0]); i++)
		if (!strcmp(holders[i].name, argv[1]))
			holder = &holders[i];
	if (!holder) {
		fprintf(stderr, "usage: %s NAME live|leak [serve]\n", argv[0]);
		return 2;
	}
	/* stdio's buffer, allocated later, would hold what freed blocks left in its memory. */
	setvbuf(stdout, NULL, _IONBF, 0);
	block_signals();
	runtime_init();
	run(hold);
	if (!strcmp(argv[2], "leak"))
		run(drop);
	puts("READY");
	if (argc > 3)
		read_byte(STDIN_FILENO);
	return 0;
}
