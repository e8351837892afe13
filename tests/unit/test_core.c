/* SPDX-License-Identifier: MIT */
/*
 * The small parts of core: vec, own, the heap map, the memory map, the stream of a failure.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/collect.h"
#include "core/heapmap.h"
#include "core/maps.h"
#include "core/own.h"
#include "core/vec.h"

struct entry {
	uint64_t key;
	int value;
};

static void a_vec_grows_sorts_and_finds_the_floor(void **state)
{
	struct lp_vec vec = LP_VEC(struct entry);
	uint64_t i;

	(void)state;
	assert_int_equal(lp_vec_floor(&vec, 5), -1);
	for (i = 0; i < 10000; i++) {
		struct entry entry = {(i * 7919) % 10007 * 10, (int)i};

		assert_true(lp_vec_push(&vec, &entry));
	}
	lp_vec_sort(&vec);
	for (i = 1; i < vec.count; i++)
		assert_true(lp_vec_at(&vec, struct entry, i - 1)->key <=
			    lp_vec_at(&vec, struct entry, i)->key);
	assert_int_equal(lp_vec_floor(&vec, lp_vec_at(&vec, struct entry, 5000)->key), 5000);
	assert_int_equal(lp_vec_floor(&vec, lp_vec_at(&vec, struct entry, 5000)->key + 1), 5000);
	assert_int_equal(lp_vec_floor(&vec, ~0ul), vec.count - 1);
	lp_vec_free(&vec);
	assert_int_equal(vec.count, 0);
	assert_false(lp_vec_failed());
}

static bool is_own(const void *address)
{
	size_t count;
	const struct lp_own_range *own = lp_own_ranges(&count);

	while (count-- > 0)
		if (own[count].size && own[count].start == (uintptr_t)address)
			return true;
	return false;
}

static void own_mappings_are_recorded_until_they_go(void **state)
{
	size_t before = lp_own_bytes();
	char *memory = lp_own_map(10000);

	(void)state;
	assert_non_null(memory);
	assert_int_equal(memory[9999], 0);
	assert_true(is_own(memory));
	assert_int_equal(lp_own_bytes() - before, 12288);
	lp_own_unmap(memory, 10000);
	assert_false(is_own(memory));
	assert_int_equal(lp_own_bytes(), before);
}

static void the_heap_map_tells_neighbours_apart(void **state)
{
	char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	lp_heapmap_set(memory + 16);
	assert_true(lp_heapmap_test(memory + 16));
	assert_false(lp_heapmap_test(memory));
	assert_false(lp_heapmap_test(memory + 32));
	assert_false(lp_heapmap_test(memory + 24));
	lp_heapmap_set(memory + 32);
	lp_heapmap_clear(memory + 16);
	assert_false(lp_heapmap_test(memory + 16));
	assert_true(lp_heapmap_test(memory + 32));
	/* Addresses that no process has are nobody's. */
	lp_heapmap_set((void *)(1ul << 60));
	assert_false(lp_heapmap_test((void *)(1ul << 60)));
	lp_heapmap_clear(memory + 32);
	munmap(memory, 4096);
}

static int in_data = 1;
static int in_bss;

static void find_word(void *context, uint64_t low, uint64_t high)
{
	uintptr_t *wanted = context;

	if (*wanted >= low && *wanted < high)
		*wanted = 0;
}

static void the_memory_map_knows_this_program(void **state)
{
	struct lp_maps maps = {0};
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uintptr_t data = (uintptr_t)&in_data;
	uintptr_t bss = (uintptr_t)&in_bss;
	char build_id[64];
	struct lp_elf *elf;

	(void)state;
	assert_int_equal(lp_maps_read(&maps), 0);
	assert_true(lp_maps_find(&maps, (uintptr_t)shared)->shared);
	assert_false(lp_maps_find(&maps, data)->shared);
	assert_null(lp_maps_find(&maps, 4096));
	elf = lp_maps_elf(&maps, (uintptr_t)the_memory_map_knows_this_program);
	assert_non_null(elf);
	assert_non_null(strstr(elf->path, "test_core"));
	assert_ptr_equal(lp_maps_elf(&maps, data), elf);
	lp_elf_writable(elf, find_word, &data);
	lp_elf_writable(elf, find_word, &bss);
	assert_int_equal(data, 0);
	assert_int_equal(bss, 0);
	lp_elf_build_id(elf, build_id, sizeof(build_id));
	assert_true(strlen(build_id) == 40);
	assert_true(lp_maps_imported(&maps, "getppid"));
	assert_false(lp_maps_imported(&maps, "no_such_function_anywhere"));
	elf->excluded = true;
	assert_true(getppid() > 0);
	munmap(shared, 4096);
}

/* The target itself writes it: a requester that has gone must not cost the program its life. */
static void a_failure_that_nobody_reads_makes_no_signal(void **state)
{
	struct lp_collect_input input = {0};
	sigset_t pipe_signal;
	sigset_t pending;
	int ends[2];

	(void)state;
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	assert_int_equal(sigprocmask(SIG_BLOCK, &pipe_signal, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	close(ends[1]);
	assert_int_equal(lp_stream_write_failure(&input, "program", "reason", ends[0]), -EPIPE);
	close(ends[0]);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGPIPE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vec_grows_sorts_and_finds_the_floor),
		cmocka_unit_test(own_mappings_are_recorded_until_they_go),
		cmocka_unit_test(the_heap_map_tells_neighbours_apart),
		cmocka_unit_test(the_memory_map_knows_this_program),
		cmocka_unit_test(a_failure_that_nobody_reads_makes_no_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
