/* SPDX-License-Identifier: MIT */
/*
 * CODEOWNERS: which pattern fits which path. The cases are those of GitHub's documentation and of
 * gitignore(5), as far as it holds for CODEOWNERS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "report/owners.h"

/* What TEXT says of PATH; "-": nothing. ROOT: see lp_owners_root, or NULL. */
static const char *owner_below(const char *root, const char *text, const char *path)
{
	static char answer[256];
	struct lp_owners owners = {.rules = NULL};
	const char *found;

	assert_int_equal(lp_owners_read(&owners, text), 0);
	if (root)
		assert_int_equal(lp_owners_root(&owners, root), 0);
	found = lp_owners_find(&owners, path);
	strcpy(answer, found ? found : "-");
	lp_owners_free(&owners);
	return answer;
}

static const char *owner(const char *text, const char *path)
{
	return owner_below(NULL, text, path);
}

/* Whether PATTERN alone fits PATH. */
static bool fits(const char *pattern, const char *path)
{
	char line[256];

	strcpy(line, pattern);
	strcat(line, " @one");
	return !strcmp(owner(line, path), "@one");
}

static void takes_the_last_line_that_fits(void **state)
{
	const char *text = "*      @all\n*.c    @c-people\n/net/  @net\n*.h    @headers\n";

	(void)state;
	assert_string_equal(owner(text, "README"), "@all");
	assert_string_equal(owner(text, "core/mark.c"), "@c-people");
	assert_string_equal(owner(text, "net/tcp.c"), "@net");
	assert_string_equal(owner(text, "net/tcp.h"), "@headers");
}

static void a_line_without_owners_takes_them_away(void **state)
{
	(void)state;
	assert_string_equal(owner("* @all\n/generated/\n", "generated/a.c"), "");
	assert_string_equal(owner("* @all\n/generated/\n", "src/a.c"), "@all");
	assert_string_equal(owner("/src/ @src\n", "test/a.c"), "-");
}

static void reads_several_owners_comments_and_blanks(void **state)
{
	(void)state;
	assert_string_equal(owner("# head\n\n\t*.c\t@a  @org/team b@c.org # why\r\n", "x/y.c"),
			    "@a @org/team b@c.org");
	assert_string_equal(owner("*.c #@nobody", "y.c"), "");
	assert_string_equal(owner("my\\ file.c @blank", "src/my file.c"), "@blank");
}

static void a_name_fits_at_any_depth_and_all_that_is_in_it(void **state)
{
	(void)state;
	assert_true(fits("logs", "logs"));
	assert_true(fits("logs", "a/b/logs"));
	assert_true(fits("logs", "a/logs/b/c.txt"));
	assert_false(fits("logs", "a/mylogs"));
	assert_true(fits("*.c", "a/b/c.c"));
	assert_false(fits("*.c", "a/b/c.cc"));
	assert_false(fits("*.C", "a/b/c.c"));
}

static void a_slash_within_ties_to_the_root(void **state)
{
	(void)state;
	assert_true(fits("/build/logs/", "build/logs/a/b"));
	assert_false(fits("/build/logs/", "deep/build/logs/a"));
	assert_true(fits("src/net", "src/net/tcp.c"));
	assert_false(fits("src/net", "a/src/net/tcp.c"));
	assert_true(fits("/README", "README"));
	assert_false(fits("/README", "docs/README"));
	assert_false(fits("/", "README"));
	assert_false(fits("/", ""));
}

static void a_slash_at_the_end_means_folders(void **state)
{
	(void)state;
	assert_true(fits("apps/", "apps/a.c"));
	assert_true(fits("apps/", "x/apps/y/a.c"));
	assert_false(fits("apps/", "x/apps"));
}

static void one_asterisk_stays_within_a_folder(void **state)
{
	(void)state;
	assert_true(fits("docs/*", "docs/getting-started.md"));
	assert_false(fits("docs/*", "docs/build-app/troubleshooting.md"));
	assert_true(fits("docs/*/", "docs/build-app/troubleshooting.md"));
	assert_false(fits("docs/*/", "docs/getting-started.md"));
	assert_true(fits("/src/*/test", "src/net/test/a.c"));
	assert_false(fits("/src/*/test", "src/a/b/test"));
	assert_true(fits("/*", "Makefile"));
	assert_false(fits("/*", "src/Makefile"));
	assert_true(fits("lib?.c", "src/lib1.c"));
	assert_false(fits("lib?.c", "src/lib12.c"));
}

static void two_asterisks_stand_for_any_folders(void **state)
{
	(void)state;
	assert_true(fits("**/logs", "logs/a"));
	assert_true(fits("**/logs", "deep/down/logs/a"));
	assert_true(fits("/src/**/test.c", "src/test.c"));
	assert_true(fits("/src/**/test.c", "src/a/b/test.c"));
	assert_false(fits("/src/**/test.c", "a/src/test.c"));
	assert_true(fits("/src/**", "src/a/b"));
	assert_false(fits("/src/**", "src"));
	assert_true(fits("**", "a/b"));
	assert_true(fits("a/**/**/b", "a/b"));
}

static void takes_the_root_off_absolute_paths(void **state)
{
	const char *text = "* @all\n/src/ @src\n";

	(void)state;
	assert_string_equal(owner_below("/home/build", text, "/home/build/src/a.c"), "@src");
	assert_string_equal(owner_below("/home/build/", text, "/home/build/out/../src/./a.c"),
			    "@src");
	assert_string_equal(owner_below("/home/build", text, "/home/builder/src/a.c"), "-");
	assert_string_equal(owner_below("/home/build", text, "/usr/src/a.c"), "-");
	assert_string_equal(owner_below("/home/build", text, "../src/a.c"), "@src");
	assert_string_equal(owner_below("/", text, "/src/a.c"), "@src");
	assert_string_equal(owner_below("/home/build", text, ""), "-");
}

static void leaves_out_what_does_not_work_on_github(void **state)
{
	struct lp_owners owners = {.rules = NULL};

	(void)state;
	assert_int_equal(lp_owners_read(&owners, "*.c @a\n!x.c @b\n*.[ch] @c\n\\#x @d\n[Docs]\n"),
			 0);
	assert_int_equal(owners.count, 1);
	assert_int_equal(owners.bad_count, 4);
	assert_int_equal(owners.bad_lines[0], 2);
	assert_int_equal(owners.bad_lines[3], 5);
	assert_string_equal(lp_owners_find(&owners, "x.c"), "@a");
	lp_owners_free(&owners);
}

/* A site whose frames are in FILES, innermost first; RUNTIME of them are the runtime's. */
static const char *owner_of(const char *text, const char *const *files, size_t count,
			    size_t runtime, const char *creator)
{
	static char answer[256];
	struct lp_owners owners = {.rules = NULL};
	struct lp_frame frames[4];
	struct lp_location locations[4];
	const struct lp_location *stack[4];
	struct lp_site site = {.locations = stack, .location_count = count};
	const char *found;
	size_t i;

	for (i = 0; i < count; i++) {
		frames[i] = (struct lp_frame){.function = "f", .file = files[i]};
		locations[i] = (struct lp_location){
			.runtime = i < runtime, .frames = &frames[i], .frame_count = 1};
		stack[i] = &locations[i];
	}
	site.creator = (struct lp_frame){.function = "create", .file = creator};
	assert_int_equal(lp_owners_read(&owners, text), 0);
	found = lp_owners_of_site(&owners, &site);
	strcpy(answer, found ? found : "-");
	lp_owners_free(&owners);
	return answer;
}

static void a_site_is_owned_by_the_file_that_blocks_or_the_nearest_caller(void **state)
{
	static const char *const files[] = {"pool.c", "vendor/queue.c", "net/http.c", "main.c"};
	const char *text = "main.c @main\n/net/ @net\n/vendor/\npool.c @pool\nstart.c @start\n";

	(void)state;
	assert_string_equal(owner_of(text, files, 4, 0, "start.c"), "@pool");
	assert_string_equal(owner_of(text, files, 4, 1, "start.c"), "@net");
	assert_string_equal(owner_of(text, files, 2, 1, "start.c"), "@start");
	assert_string_equal(owner_of(text, files, 2, 1, "other.c"), "-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_last_line_that_fits),
		cmocka_unit_test(a_line_without_owners_takes_them_away),
		cmocka_unit_test(reads_several_owners_comments_and_blanks),
		cmocka_unit_test(a_name_fits_at_any_depth_and_all_that_is_in_it),
		cmocka_unit_test(a_slash_within_ties_to_the_root),
		cmocka_unit_test(a_slash_at_the_end_means_folders),
		cmocka_unit_test(one_asterisk_stays_within_a_folder),
		cmocka_unit_test(two_asterisks_stand_for_any_folders),
		cmocka_unit_test(takes_the_root_off_absolute_paths),
		cmocka_unit_test(leaves_out_what_does_not_work_on_github),
		cmocka_unit_test(a_site_is_owned_by_the_file_that_blocks_or_the_nearest_caller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
