/* SPDX-License-Identifier: MIT */
/*
 * Verdicts by each rule, over goroutines whose stacks and objects the test makes up.
 */
#include "core/verdict.h"
#include "fake_heap.h"

#define STACK 256

static struct lp_verdict_state verdicts;
static struct lp_mark *mark;
static struct lp_goroutine records[100001];
static char *stacks_memory;
static size_t made;

static void begin(void)
{
	mark = lp_mark_new(fake_usable, ~0ul, 8);
	assert_non_null(mark);
	lp_verdict_init(&verdicts, mark);
	if (!stacks_memory)
		stacks_memory = mmap(NULL, sizeof(records) / sizeof(records[0]) * STACK,
				     PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	memset(stacks_memory, 0, made * STACK);
	made = 0;
}

/* A goroutine with a stack of its own; its handle is a block. */
static size_t add(enum lp_rule rule)
{
	struct lp_node *node = lp_verdict_add(&verdicts, &records[made]);

	records[made].id = made + 1;
	node->rule = rule;
	node->stack_low = node->scan_low = (uintptr_t)stacks_memory + made * STACK;
	node->stack_high = node->scan_high = node->stack_low + STACK;
	node->handle_low = (uintptr_t)fake_malloc(32);
	node->handle_high = node->handle_low + 32;
	return made++;
}

static struct lp_node *node(size_t i)
{
	return lp_vec_at(&verdicts.nodes, struct lp_node, i);
}

static void **stack_of(size_t i)
{
	return (void **)(stacks_memory + i * STACK);
}

static void ready(void)
{
	const struct lp_mark_client client = lp_verdict_client(&verdicts);

	lp_verdict_layout(&verdicts);
	assert_int_equal(lp_mark_ready(mark, &client), 0);
}

static void run(void)
{
	assert_int_equal(lp_verdict_run(&verdicts), 0);
}

static void who_does_not_wait_is_live(void **state)
{
	(void)state;
	begin();
	add(LP_RULE_LIVE);
	add(LP_RULE_NEVER);
	ready();
	run();
	assert_true(node(0)->live);
	assert_false(node(1)->live);
}

static void a_waiter_is_live_when_its_object_is_reached(void **state)
{
	char *reached = fake_malloc(64);
	char *lost = fake_malloc(64);

	(void)state;
	begin();
	add(LP_RULE_ANY);
	add(LP_RULE_ANY);
	add(LP_RULE_LIVE);
	stack_of(1)[3] = lost; /* its own stack keeps it not alive */
	stack_of(2)[3] = reached;
	ready();
	lp_node_object(&verdicts, node(0), reached + 8);
	lp_node_object(&verdicts, node(1), lost);
	run();
	assert_true(node(0)->live);
	assert_false(node(1)->live);
}

static void any_of_several_objects_is_enough(void **state)
{
	char *a = fake_malloc(64);
	char *b = fake_malloc(64);

	(void)state;
	begin();
	add(LP_RULE_ANY);
	add(LP_RULE_LIVE);
	stack_of(1)[0] = b;
	ready();
	lp_node_object(&verdicts, node(0), a);
	lp_node_object(&verdicts, node(0), b);
	run();
	assert_true(node(0)->live);
}

static void a_lock_needs_its_object_and_a_live_owner(void **state)
{
	char *lock = fake_malloc(64);
	int reached;
	int owner_live;

	(void)state;
	for (reached = 0; reached < 2; reached++) {
		for (owner_live = 0; owner_live < 2; owner_live++) {
			begin();
			add(LP_RULE_OWNER);
			add(owner_live ? LP_RULE_LIVE : LP_RULE_NEVER);
			add(LP_RULE_LIVE);
			if (reached)
				stack_of(2)[0] = lock;
			ready();
			lp_node_object(&verdicts, node(0), lock);
			lp_node_owner(&verdicts, node(0), node(1));
			run();
			assert_int_equal(node(0)->live, reached && owner_live);
		}
	}
}

static void an_unknown_owner_counts_as_live(void **state)
{
	char *lock = fake_malloc(64);

	(void)state;
	begin();
	add(LP_RULE_OWNER);
	add(LP_RULE_LIVE);
	stack_of(1)[0] = lock;
	ready();
	lp_node_object(&verdicts, node(0), lock);
	lp_node_owner(&verdicts, node(0), NULL);
	run();
	assert_true(node(0)->live);
}

static void two_that_own_what_the_other_wants_are_leaked(void **state)
{
	char *a = fake_malloc(64);
	char *b = fake_malloc(64);

	(void)state;
	begin();
	add(LP_RULE_OWNER);
	add(LP_RULE_OWNER);
	add(LP_RULE_LIVE);
	stack_of(2)[0] = a;
	stack_of(2)[1] = b;
	ready();
	lp_node_object(&verdicts, node(0), a);
	lp_node_object(&verdicts, node(1), b);
	lp_node_owner(&verdicts, node(0), node(1));
	lp_node_owner(&verdicts, node(1), node(0));
	run();
	assert_false(node(0)->live);
	assert_false(node(1)->live);
}

static void a_join_is_as_live_as_who_is_joined(void **state)
{
	(void)state;
	begin();
	add(LP_RULE_JOIN);
	add(LP_RULE_LIVE);
	add(LP_RULE_JOIN);
	add(LP_RULE_NEVER);
	ready();
	lp_node_owner(&verdicts, node(0), node(1));
	lp_node_owner(&verdicts, node(2), node(3));
	run();
	assert_true(node(0)->live);
	assert_false(node(2)->live);
}

static void a_handle_wakes_where_the_runtime_can(void **state)
{
	(void)state;
	begin();
	add(LP_RULE_NEVER);
	add(LP_RULE_NEVER);
	add(LP_RULE_LIVE);
	node(0)->handle_wakes = true;
	stack_of(2)[0] = (void *)node(0)->handle_low;
	stack_of(2)[1] = (void *)node(1)->handle_low;
	ready();
	run();
	assert_true(node(0)->live);
	assert_false(node(1)->live);
}

/* Whoever holds a pointer into its frames can follow what they hold. */
static void a_word_into_a_stack_reaches_its_memory_but_wakes_nobody(void **state)
{
	char *object = fake_malloc(64);

	(void)state;
	begin();
	add(LP_RULE_NEVER);
	add(LP_RULE_ANY);
	add(LP_RULE_LIVE);
	stack_of(0)[5] = object;
	stack_of(2)[0] = &stack_of(0)[5];
	ready();
	lp_node_object(&verdicts, node(1), object);
	run();
	assert_false(node(0)->live);
	assert_true(node(1)->live);
}

static void registers_and_extra_memory_are_scanned_with_their_goroutine(void **state)
{
	static struct lp_wait wait;
	static void *extra[2];
	char *a = fake_malloc(64);
	char *b = fake_malloc(64);

	(void)state;
	begin();
	add(LP_RULE_LIVE);
	add(LP_RULE_ANY);
	add(LP_RULE_ANY);
	wait.r13 = (uintptr_t)a;
	extra[1] = b;
	node(0)->wait = &wait;
	ready();
	lp_node_extra(&verdicts, node(0), extra, extra + 2);
	lp_node_object(&verdicts, node(1), a);
	lp_node_object(&verdicts, node(2), b);
	run();
	assert_true(node(1)->live);
	assert_true(node(2)->live);
}

/* Each reachable only through the one before it: no recursion, one pass. */
static void a_chain_of_a_hundred_thousand_is_live(void **state)
{
	size_t count = 100000;
	char **objects = (char **)fake_malloc(count * sizeof(*objects));
	size_t i;

	(void)state;
	begin();
	for (i = 0; i < count; i++)
		objects[i] = fake_malloc(32);
	add(LP_RULE_LIVE);
	for (i = 1; i < count; i++)
		add(LP_RULE_ANY);
	for (i = 0; i + 1 < count; i++)
		stack_of(i)[1] = objects[i + 1];
	ready();
	for (i = 1; i < count; i++)
		lp_node_object(&verdicts, node(i), objects[i]);
	run();
	for (i = 0; i < count; i++)
		assert_true(node(i)->live);
}

static void held_memory_is_counted_once(void **state)
{
	char *shared = fake_malloc(1000);
	char *own = fake_malloc(500);
	char *live = fake_malloc(300);

	(void)state;
	begin();
	add(LP_RULE_NEVER);
	add(LP_RULE_NEVER);
	add(LP_RULE_LIVE);
	stack_of(0)[0] = shared;
	stack_of(1)[0] = shared;
	stack_of(1)[1] = own;
	stack_of(0)[2] = live;
	stack_of(2)[0] = live;
	ready();
	run();
	assert_int_equal(lp_verdict_count_held(&verdicts), 0);
	assert_int_equal(node(0)->heap_bytes, 1000);
	assert_int_equal(node(1)->heap_bytes, 500);
	assert_false(node(0)->live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(who_does_not_wait_is_live, fake_setup),
		cmocka_unit_test_setup(a_waiter_is_live_when_its_object_is_reached, fake_setup),
		cmocka_unit_test_setup(any_of_several_objects_is_enough, fake_setup),
		cmocka_unit_test_setup(a_lock_needs_its_object_and_a_live_owner, fake_setup),
		cmocka_unit_test_setup(an_unknown_owner_counts_as_live, fake_setup),
		cmocka_unit_test_setup(two_that_own_what_the_other_wants_are_leaked, fake_setup),
		cmocka_unit_test_setup(a_join_is_as_live_as_who_is_joined, fake_setup),
		cmocka_unit_test_setup(a_handle_wakes_where_the_runtime_can, fake_setup),
		cmocka_unit_test_setup(a_word_into_a_stack_reaches_its_memory_but_wakes_nobody,
				       fake_setup),
		cmocka_unit_test_setup(registers_and_extra_memory_are_scanned_with_their_goroutine,
				       fake_setup),
		cmocka_unit_test_setup(a_chain_of_a_hundred_thousand_is_live, fake_setup),
		cmocka_unit_test_setup(held_memory_is_counted_once, fake_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
