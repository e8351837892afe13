/* SPDX-License-Identifier: MIT */
/*
 * The smallest runtime that annotates itself, for benchmarks with very many goroutines: each runs
 * as soon as it is made until it waits, and never again. Its stack is cut from one mapping, without
 * a guard, as a program with a million goroutines would have it: the kernel allows 65,530 mappings.
 */
#ifndef CROWD_H
#define CROWD_H

#include <stddef.h>

/* Makes room for COUNT goroutines with stacks of STACK_BYTES each (a multiple of 16). */
void crowd_init(size_t count, size_t stack_bytes);

/* Runs FUNCTION(ARGUMENT) in a new goroutine until it waits. */
void crowd_go(void (*function)(void *), void *argument);

/* The calling goroutine waits for OBJECT, for ever. */
_Noreturn void crowd_wait(const void *object);

#endif
