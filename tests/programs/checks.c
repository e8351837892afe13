/* SPDX-License-Identifier: MIT */
/*
 * Leak checks of the program itself (leakprof.h), over minigo:
 *
 *     checks MODE [NUMBER]
 *
 * Prints a line "NAME RESULT" for each check. Reports go to the file that CHECKS_REPORT names.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leakprof.h"
#include "minigo.h"

#define PARALLEL 8

static FILE *report;
static struct chan *kept; /* a root */
static int number;

const char *leakprof_default_suppressions(void)
{
	return getenv("CHECKS_DEFAULT");
}

static void write_report(void *context, const char *text, size_t length)
{
	fwrite(text, 1, length, context);
	fflush(context);
}

static const struct leakprof_check_info info = {
	.size = sizeof(info), .sink = write_report, .context = NULL};

static struct leakprof_check_info with_report(void)
{
	struct leakprof_check_info mine = info;

	mine.context = report;
	return mine;
}

static void say(const char *name, int result)
{
	printf("%s %d\n", name, result);
	fflush(stdout);
}

/* --- Goroutines --- */

static void receive(void *chan)
{
	chan_receive(chan, NULL);
}

static void ends(void *unused)
{
	(void)unused;
}

static void ends_later(void *unused)
{
	(void)unused;
	go_sleep(20000000);
}

/* Nobody else knows the channel. */
static void leak_one(void *unused)
{
	(void)unused;
	chan_receive(chan_make(0), NULL);
}

static void start_leak(void *unused)
{
	(void)unused;
	go(leak_one, NULL);
}

/* --- Modes --- */

static void check_leak(void)
{
	struct leakprof_check_info mine = with_report();

	go(ends, NULL);
	go_settle(0);
	say("clean", leakprof_check(&mine));
	go(leak_one, NULL);
	go_settle(0);
	say("leak", leakprof_check(&mine));
	say("again", leakprof_check(&mine));
}

static void check_scope(void)
{
	struct leakprof_check_info mine = with_report();
	struct leakprof_scope *outer;
	struct leakprof_scope *inner;

	go(leak_one, NULL);
	outer = leakprof_scope_begin();
	go(leak_one, NULL);
	inner = leakprof_scope_begin();
	go(start_leak, NULL);
	go_settle(0);
	say("inner", leakprof_scope_end(inner, &mine));
	go(leak_one, NULL);
	go_settle(0);
	say("outer", leakprof_scope_end(outer, &mine));
	say("empty", leakprof_scope_end(leakprof_scope_begin(), &mine));
	say("all", leakprof_check(&mine));
}

struct side {
	int leaks;
	int result;
	struct wait_group *done;
};

/* A test among others that run at the same time. */
static void test_side(void *argument)
{
	struct side *side = argument;
	struct leakprof_check_info mine = with_report();
	struct leakprof_scope *scope = leakprof_scope_begin();
	int i;

	for (i = 0; i < side->leaks; i++) {
		go(start_leak, NULL);
		go_yield();
	}
	go_sleep(20000000);
	side->result = leakprof_scope_end(scope, &mine);
	wait_group_done(side->done);
}

static void check_parallel(void)
{
	static struct side sides[PARALLEL];
	static struct wait_group done;
	int i;

	wait_group_add(&done, PARALLEL);
	for (i = 0; i < PARALLEL; i++) {
		sides[i].leaks = i % 3;
		sides[i].done = &done;
		go(test_side, &sides[i]);
	}
	wait_group_wait(&done);
	for (i = 0; i < PARALLEL; i++)
		say(i % 3 == 0 ? "none" : i % 3 == 1 ? "one" : "two", sides[i].result);
}

static void check_ignore(void)
{
	struct leakprof_check_info mine = with_report();

	go(leak_one, NULL);
	go_settle(0);
	leakprof_ignore_current();
	go(ends, NULL);
	go_settle(0);
	say("ignored", leakprof_check(&mine));
	go(leak_one, NULL);
	go_settle(0);
	say("later", leakprof_check(&mine));
}

static void check_alive(void)
{
	struct leakprof_check_info mine = with_report();

	kept = chan_make(0);
	go(receive, kept);
	go_settle(0);
	say("unreachable", leakprof_check(&mine));
	mine.mode = LEAKPROF_ALIVE;
	say("alive", leakprof_check(&mine));
	chan_close(kept);
	go(ends_later, NULL);
	mine.settle_ns = 10000000000u;
	say("settled", leakprof_check(&mine));
}

static void check_suppressed(void)
{
	struct leakprof_check_info mine = with_report();

	go(leak_one, NULL);
	go_settle(0);
	mine.suppressions = "# known\ntop:^leak_one$\n";
	say("suppressed", leakprof_check(&mine));
	mine.suppressions = "top:^other$";
	say("other", leakprof_check(&mine));
	mine.suppressions = "bottom:leak_one";
	say("wrong", leakprof_check(&mine));
}

/* For checks at exit. */
static void leave_many(void)
{
	int i;

	for (i = 0; i < number; i++)
		go(leak_one, NULL);
	go_settle(0);
}

static void leave_one_kept(void)
{
	kept = chan_make(0);
	go(receive, kept);
	go_settle(0);
}

static void leave_one_ending(void)
{
	go(ends_later, NULL);
	go_yield();
}

static int open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void check_often(void)
{
	struct leakprof_check_info mine = with_report();
	int before;
	int sum = 0;
	int i;

	go(leak_one, NULL);
	go_settle(0);
	before = open_descriptors();
	for (i = 0; i < 100; i++)
		sum += leakprof_check(&mine);
	say("sum", sum);
	say("descriptors", open_descriptors() - before);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{"leak", check_leak},	      {"scope", check_scope},
		{"parallel", check_parallel}, {"ignore", check_ignore},
		{"alive", check_alive},	      {"suppressed", check_suppressed},
		{"often", check_often},	      {"many", leave_many},
		{"kept", leave_one_kept},     {"ending", leave_one_ending},
	};
	const char *path = getenv("CHECKS_REPORT");
	size_t i;

	number = argc > 2 ? atoi(argv[2]) : 0;
	report = fopen(path ? path : "/dev/null", "we");
	say("available", leakprof_available());
	say("nothing", leakprof_check(NULL));
	minigo_init();
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (argc > 1 && !strcmp(argv[1], modes[i].name))
			modes[i].run();
	return 0;
}
