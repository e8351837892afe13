/* SPDX-License-Identifier: MIT */
/*
 * What the target knows of an OS thread, and where a stopped one left its registers.
 */
#ifndef LP_CORE_THREAD_H
#define LP_CORE_THREAD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A call in which the thread may block and whose timeout is relative, so that it cannot simply be
 * made again after our signal interrupted it (restart.c).
 */
struct lp_timed_call {
	long number;	      /* of the system call */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
};

/* Callee-saved registers, in the frame of a function that collects: what they hold may be in use by
 * its callers. It is where SP of its thread is: frames from the record up count. */
struct lp_saved {
	uintptr_t bx, bp, r12, r13, r14, r15;
};

#define LP_SAVE_REGISTERS(saved)                                                                   \
	__asm__ volatile("movq %%rbx, %0\n\tmovq %%rbp, %1\n\tmovq %%r12, %2\n\t"                  \
			 "movq %%r13, %3\n\tmovq %%r14, %4\n\tmovq %%r15, %5"                      \
			 : "=m"((saved)->bx), "=m"((saved)->bp), "=m"((saved)->r12),               \
			   "=m"((saved)->r13), "=m"((saved)->r14), "=m"((saved)->r15))

struct lp_thread {
	uint32_t used;
	int tid;
	uintptr_t
		stack_low; /* the thread's own stack, TLS and descriptor included; LOW 0: unknown */
	uintptr_t stack_high;
	void *alternate;	     /* our signal stack, while it is installed */
	stack_t small;		     /* the program's own, where that is too small for our signal */
	struct lp_timed_call *timed; /* in its frame; NULL: not in one */

	/* A block inside realloc: neither the old nor the new one is in the heap map (heap.c). */
	void *volatile moving;
	size_t moving_old_size;
	size_t moving_new_size;

	/* Valid while the thread is stopped. */
	bool stopped;
	uintptr_t sp;
	uintptr_t red_zone;	   /* bytes below SP that are in use too */
	uintptr_t pc;		   /* 0: in a call of ours */
	uintptr_t thread_pointer;  /* fs base: the thread descriptor */
	const uint64_t *registers; /* general ones */
	size_t register_count;
	const void *vector; /* the XSAVE area of its signal frame, or NULL */
	size_t vector_size;
};

/* A thread slot by number; NULL past the last one. Skip those that are not USED. */
struct lp_thread *lp_thread_at(size_t i);

#endif
