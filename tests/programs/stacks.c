/* SPDX-License-Identifier: MIT */
/*
 * Waits at the very end of small stacks while snapshots come: a goroutine with 16 KiB, and two
 * threads with PTHREAD_STACK_MIN. A signal frame there would meet the threads' guard page, and what
 * the goroutine has put below its stack pointer. Ends at the end of standard input; one goroutine
 * is leaked.
 */
#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "common.h"
#include "runtime.h"

#define GOROUTINE_STACK 16384
#define THREADS 2
#define LEFT 1024 /* between the stack pointer and the stack's end */
#define NEAR 300  /* below the stack pointer: ours, the red zone included */
#define FAR 4000  /* as far as a signal frame reaches at least */
#define CANARY 0x5a

static int never[2];
static int at_end[2]; /* threads say here that they are there */
static volatile int changed;

static void *leaked_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

/* Without a frame of libc's. */
static inline __attribute__((always_inline)) long call(long number, long fd, const void *data,
						       long size)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(fd), "S"(data), "d"(size)
			 : "rcx", "r11", "memory");
	return r;
}

static __attribute__((noinline)) void wait_below(int fd)
{
	char *end = (char *)__builtin_frame_address(0) - NEAR;
	char *at = end - (FAR - NEAR);
	char byte;

	while (at < end)
		*(volatile char *)at++ = CANARY;
	call(SYS_write, 1, "READY\n", 6);
	call(SYS_read, fd, &byte, 1);
	for (at = end - (FAR - NEAR); at < end; at++)
		changed += *(volatile char *)at != CANARY;
}

static __attribute__((noinline)) void wait_there(int fd)
{
	char byte;

	call(SYS_write, at_end[1], "", 1);
	call(SYS_read, fd, &byte, 1);
}

/* Calls FUNCTION(FD) where less than LEFT bytes above LOW are left. */
static __attribute__((noinline)) void go_down(const char *low, void (*function)(int), int fd)
{
	volatile char frame[128];

	frame[0] = 1;
	if ((size_t)((char *)frame - low) > LEFT + 256)
		go_down(low, function, fd);
	else
		function(fd);
	frame[1] = 2;
}

static void *low_goroutine(void *unused)
{
	go_down((char *)&unused - GOROUTINE_STACK + 512, wait_below, 0);
	return unused;
}

static void *low_thread(void *unused)
{
	pthread_attr_t attributes;
	void *low;
	size_t size;

	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, &low, &size);
	pthread_attr_destroy(&attributes);
	go_down(low, wait_there, never[0]);
	return unused;
}

static void *start(void *unused)
{
	spawn(leaked_worker, gate_new());
	return unused;
}

static void start_threads(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	char byte;
	int i;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
	if (pipe(never) || pipe(at_end))
		abort();
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread, &attributes, low_thread, NULL) ||
		    read(at_end[0], &byte, 1) != 1)
			abort();
}

int main(void)
{
	st_thread_t low;
	int i;

	unbuffer();
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	start_threads();
	low = st_thread_create(low_goroutine, NULL, 1, GOROUTINE_STACK);
	st_thread_join(low, NULL);
	printf("changed=%d\n", changed);
	return 5;
}
