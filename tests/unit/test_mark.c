/* SPDX-License-Identifier: MIT */
/*
 * The marker: what is reached from what.
 */
#include "fake_heap.h"

static uint32_t told[64];
static size_t told_count;
static uint32_t stacks[64];
static size_t stack_count;
static struct lp_mark *mark;
static enum lp_copies copies;

static void on_reached(void *context, uint32_t watch)
{
	(void)context;
	told[told_count++] = watch;
}

static void on_stack(void *context, uint32_t stack, uintptr_t address)
{
	(void)context;
	(void)address;
	stacks[stack_count++] = stack;
}

static void begin(uintptr_t mask, unsigned step)
{
	told_count = stack_count = 0;
	mark = lp_mark_new(fake_usable, mask, step);
	assert_non_null(mark);
	lp_mark_copies(mark, copies);
}

static void ready(void)
{
	const struct lp_mark_client client = {on_reached, on_stack, NULL};

	assert_int_equal(lp_mark_ready(mark, &client), 0);
}

static void run_from(const void *root, size_t size)
{
	lp_mark_range(mark, (uintptr_t)root, (uintptr_t)root + size);
	assert_int_equal(lp_mark_run(mark), 0);
}

/* Whether a root with the word WORD reaches BLOCK. */
static bool reaches(uintptr_t word, void *block)
{
	begin(~0ul, 8);
	ready();
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)block, 7), LP_PLACE_WATCHED);
	run_from(&word, sizeof(word));
	return told_count == 1 && told[0] == 7;
}

static void pointers_into_a_block_count_and_behind_it_do_not(void **state)
{
	char *block = fake_malloc(100);
	char *next = fake_malloc(100);

	(void)state;
	(void)next;
	assert_true(reaches((uintptr_t)block, block));
	assert_true(reaches((uintptr_t)block + 1, block));
	assert_true(reaches((uintptr_t)block + 99, block));
	assert_false(reaches((uintptr_t)block + 100, block));
	assert_false(reaches((uintptr_t)block - 1, block));
}

static void a_freed_block_is_no_object(void **state)
{
	char *block = fake_malloc(64);
	char *other = fake_malloc(64);
	uintptr_t word = (uintptr_t)block;

	(void)state;
	*(char **)block = other;
	lp_heapmap_clear(block);
	begin(~0ul, 8);
	lp_mark_arena(mark, (uintptr_t)fake_heap, (uintptr_t)fake_heap + 4096);
	ready();
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)block, 1), LP_PLACE_GONE);
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)other, 2), LP_PLACE_WATCHED);
	run_from(&word, sizeof(word));
	assert_int_equal(told_count, 0);
}

static void a_block_across_two_chunks_is_found_from_both(void **state)
{
	char *block;

	(void)state;
	fake_malloc((64ul << 20) - 4096);
	block = fake_malloc(1ul << 20);
	assert_int_not_equal((uintptr_t)block >> LP_CHUNK_SHIFT,
			     ((uintptr_t)block + (1ul << 20) - 1) >> LP_CHUNK_SHIFT);
	assert_true(reaches((uintptr_t)block + 8, block));
	assert_true(reaches((uintptr_t)block + (1ul << 20) - 8, block));
	assert_false(reaches((uintptr_t)block + (1ul << 20), block));
}

static void a_long_list_is_followed_to_its_end(void **state)
{
	char *first = fake_malloc(32);
	char *at = first;
	uintptr_t word = (uintptr_t)first;
	int i;

	(void)state;
	for (i = 0; i < 200000; i++) {
		char *next = fake_malloc(32);

		*(char **)(at + 8) = next;
		at = next;
	}
	begin(~0ul, 8);
	ready();
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)at, 3), LP_PLACE_WATCHED);
	run_from(&word, sizeof(word));
	assert_int_equal(told_count, 1);
	assert_int_equal(lp_mark_figures(mark)->marked, 200001);
	assert_int_equal(lp_mark_figures(mark)->marked_bytes, 200001 * 32);
}

static void a_watch_is_told_once(void **state)
{
	char *block = fake_malloc(64);
	uintptr_t words[2] = {(uintptr_t)block, (uintptr_t)block + 8};

	(void)state;
	begin(~0ul, 8);
	ready();
	lp_mark_watch(mark, (uintptr_t)block, 1);
	lp_mark_watch(mark, (uintptr_t)block + 32, 2);
	run_from(words, sizeof(words));
	assert_int_equal(told_count, 2);
	assert_int_equal(told[0] + told[1], 3);
}

static void a_pointer_into_a_pool_reaches_all_of_it(void **state)
{
	char *pool = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *block = fake_malloc(64);
	uintptr_t word = (uintptr_t)pool + 5000;

	(void)state;
	*(char **)(pool + 8) = block;
	begin(~0ul, 8);
	lp_mark_pool(mark, (uintptr_t)pool, (uintptr_t)pool + 8192);
	ready();
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)pool + 100, 1), LP_PLACE_WATCHED);
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)block, 2), LP_PLACE_WATCHED);
	run_from(&word, sizeof(word));
	assert_int_equal(told_count, 2);
	munmap(pool, 8192);
}

static void a_stack_in_a_pool_or_a_root_is_only_told_of(void **state)
{
	char *pool =
		mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *block = fake_malloc(64);
	uintptr_t word = (uintptr_t)pool + 4096 + 8;
	int as_root;

	(void)state;
	*(char **)(pool + 4096) = block;
	for (as_root = 0; as_root < 2; as_root++) {
		begin(~0ul, 8);
		if (as_root)
			lp_mark_root(mark, (uintptr_t)pool, (uintptr_t)pool + 3 * 4096);
		else
			lp_mark_pool(mark, (uintptr_t)pool, (uintptr_t)pool + 3 * 4096);
		lp_mark_stack(mark, (uintptr_t)pool + 4096, (uintptr_t)pool + 2 * 4096, 5);
		ready();
		assert_int_equal(lp_mark_watch(mark, (uintptr_t)block, 1), LP_PLACE_WATCHED);
		lp_mark_roots(mark);
		run_from(&word, sizeof(word));
		assert_int_equal(stack_count, 1);
		assert_int_equal(stacks[0], 5);
		assert_int_equal(told_count, 0);
	}
	munmap(pool, 3 * 4096);
}

static void what_lies_in_a_root_is_reached(void **state)
{
	static char root[64];

	(void)state;
	begin(~0ul, 8);
	lp_mark_root(mark, (uintptr_t)root, (uintptr_t)root + sizeof(root));
	ready();
	assert_int_equal(lp_mark_watch(mark, (uintptr_t)root + 8, 1), LP_PLACE_REACHED);
	assert_int_equal(lp_mark_watch(mark, 12345, 1), LP_PLACE_REACHED);
}

static void an_opaque_block_is_reached_but_not_scanned(void **state)
{
	char *block = fake_malloc(64);
	char *other = fake_malloc(64);
	uintptr_t word = (uintptr_t)block;

	(void)state;
	*(char **)block = other;
	begin(~0ul, 8);
	ready();
	lp_mark_watch(mark, (uintptr_t)block, 1);
	lp_mark_watch(mark, (uintptr_t)other, 2);
	lp_mark_opaque(mark, (uintptr_t)block);
	run_from(&word, sizeof(word));
	assert_int_equal(told_count, 1);
	assert_int_equal(told[0], 1);
}

static void tags_and_unaligned_words_count_where_asked(void **state)
{
	char *block = fake_malloc(64);
	_Alignas(8) char bytes[24] = {0};
	uintptr_t tagged = (uintptr_t)block | 0xabul << 56;

	(void)state;
	assert_false(reaches(tagged, block));
	begin(~(0xfful << 56), 8);
	ready();
	lp_mark_watch(mark, (uintptr_t)block, 1);
	run_from(&tagged, sizeof(tagged));
	assert_int_equal(told_count, 1);

	memcpy(bytes + 4, &block, sizeof(block));
	begin(~0ul, 8);
	ready();
	lp_mark_watch(mark, (uintptr_t)block, 1);
	run_from(bytes, sizeof(bytes));
	assert_int_equal(told_count, 0);
	begin(~0ul, 4);
	ready();
	lp_mark_watch(mark, (uintptr_t)block, 1);
	run_from(bytes, sizeof(bytes));
	assert_int_equal(told_count, 1);
}

static void a_large_sparse_block_is_read_where_it_was_touched(void **state)
{
	char *large = fake_malloc(32ul << 20);
	char *block = fake_malloc(64);
	uintptr_t word = (uintptr_t)large;

	(void)state;
	*(char **)(large + (20ul << 20)) = block;
	begin(~0ul, 8);
	ready();
	lp_mark_watch(mark, (uintptr_t)block, 1);
	run_from(&word, sizeof(word));
	assert_int_equal(told_count, 1);
	assert_true(lp_mark_figures(mark)->bytes_scanned < 1ul << 20);
}

/* A tree of nodes of many sizes, small and over many pages: more is found at once than a batch
 * holds, and the last words of each node are as good as its first. */
static void wide_trees_are_marked_to_their_leaves(void **state)
{
	static const size_t sizes[] = {32, 48, 4096, 4080, 100000, 1024, 9000, 24};
	enum { NODES = 4000 };
	static char *nodes[NODES];
	static size_t lengths[NODES];
	uintptr_t word;
	int i;

	(void)state;
	for (i = 0; i < NODES; i++) {
		lengths[i] = sizes[i % 8];
		nodes[i] = fake_malloc(lengths[i]);
	}
	for (i = 1; i < NODES; i++) {
		int parent = (i - 1) / 2;
		char *end = nodes[parent] + lengths[parent];

		memcpy(end - (i % 2 ? 8 : 16), &nodes[i], sizeof(nodes[i]));
	}
	word = (uintptr_t)nodes[0];
	begin(~0ul, 8);
	ready();
	run_from(&word, sizeof(word));
	assert_int_equal(lp_mark_figures(mark)->marked, NODES);
	assert_int_equal(lp_mark_figures(mark)->bytes_scanned,
			 lp_mark_figures(mark)->marked_bytes + sizeof(word));
}

/* Ranges side by side are one piece to copy, however many they are. */
static void many_ranges_side_by_side_are_all_scanned(void **state)
{
	enum { RANGES = 2000 };
	static uintptr_t words[RANGES];
	int i;

	(void)state;
	begin(~0ul, 8);
	for (i = 0; i < RANGES; i++)
		words[i] = (uintptr_t)fake_malloc(64);
	ready();
	/* Those that come last are scanned first. */
	for (i = RANGES - 1; i >= 0; i--)
		lp_mark_range(mark, (uintptr_t)&words[i], (uintptr_t)&words[i + 1]);
	assert_int_equal(lp_mark_run(mark), 0);
	assert_int_equal(lp_mark_figures(mark)->marked, RANGES);
}

/* Where words need not be aligned one may lie across two pages, and across what is read at once. */
static void a_word_across_pages_counts_where_words_are_unaligned(void **state)
{
	char *large = fake_malloc(4ul << 20);
	char *blocks[64];
	uintptr_t words[2] = {(uintptr_t)large, (uintptr_t)large};
	uintptr_t page;
	int i;

	(void)state;
	memset(large, 1, 2ul << 20);
	for (i = 0; i < 64; i++) {
		blocks[i] = fake_malloc(64);
		page = ((uintptr_t)large + (i + 1) * 16384ul) & ~4095ul;
		memcpy((char *)page - 4, &blocks[i], sizeof(blocks[i]));
	}
	begin(~0ul, 4);
	ready();
	for (i = 0; i < 64; i++)
		lp_mark_watch(mark, (uintptr_t)blocks[i], (uint32_t)i);
	run_from(words, sizeof(words));
	assert_int_equal(told_count, 64);
}

static int run_all(const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pointers_into_a_block_count_and_behind_it_do_not,
				       fake_setup),
		cmocka_unit_test_setup(a_freed_block_is_no_object, fake_setup),
		cmocka_unit_test_setup(a_block_across_two_chunks_is_found_from_both, fake_setup),
		cmocka_unit_test_setup(a_long_list_is_followed_to_its_end, fake_setup),
		cmocka_unit_test_setup(a_watch_is_told_once, fake_setup),
		cmocka_unit_test_setup(a_pointer_into_a_pool_reaches_all_of_it, fake_setup),
		cmocka_unit_test_setup(a_stack_in_a_pool_or_a_root_is_only_told_of, fake_setup),
		cmocka_unit_test_setup(what_lies_in_a_root_is_reached, fake_setup),
		cmocka_unit_test_setup(an_opaque_block_is_reached_but_not_scanned, fake_setup),
		cmocka_unit_test_setup(tags_and_unaligned_words_count_where_asked, fake_setup),
		cmocka_unit_test_setup(a_large_sparse_block_is_read_where_it_was_touched,
				       fake_setup),
		cmocka_unit_test_setup(wide_trees_are_marked_to_their_leaves, fake_setup),
		cmocka_unit_test_setup(many_ranges_side_by_side_are_all_scanned, fake_setup),
		cmocka_unit_test_setup(a_word_across_pages_counts_where_words_are_unaligned,
				       fake_setup),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	int failed = run_all("in place");

	copies = LP_COPIES_ALWAYS;
	return failed + run_all("in copies");
}
