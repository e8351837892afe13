/* SPDX-License-Identifier: MIT */
/*
 * See owners.h. Paths and patterns are compared folder by folder, each with libc's fnmatch, which
 * knows nothing of **.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "report/owners.h"

#define DEPTH_MAX 128
#define BLANKS " \t\r"

/* --- Paths --- */

/* A path between its slashes, "." and ".." resolved. */
struct path {
	char *text; /* that the segments are in; to be freed */
	char *segments[DEPTH_MAX];
	size_t count;
	bool absolute;
};

static int split(struct path *path, const char *text)
{
	char *segment;
	char *rest;

	*path = (struct path){.text = strdup(text), .absolute = *text == '/'};
	for (rest = path->text; (segment = strsep(&rest, "/"));) {
		if (!*segment || !strcmp(segment, "."))
			continue;
		if (!strcmp(segment, ".."))
			path->count -= path->count > 0;
		else if (path->count == DEPTH_MAX)
			return -ENAMETOOLONG;
		else
			path->segments[path->count++] = segment;
	}
	return path->text ? 0 : -ENOMEM;
}

/* Takes the folder ROOT off PATH, if it is below that. */
static bool strip(struct path *path, const char *root)
{
	struct path folder;
	bool good = !split(&folder, root) && folder.count < path->count;
	size_t i;

	for (i = 0; good && i < folder.count; i++)
		good = !strcmp(folder.segments[i], path->segments[i]);
	if (good) {
		path->count -= folder.count;
		memmove(path->segments, path->segments + folder.count,
			path->count * sizeof(char *));
	}
	free(folder.text);
	return good;
}

/* Makes PATH relative to the root that it is below. False: it is absolute and below none. */
static bool make_relative(struct path *path, const struct lp_owners *owners)
{
	size_t i;

	for (i = 0; i < owners->root_count; i++)
		if (strip(path, owners->roots[i]))
			return true;
	return !path->absolute;
}

/* --- Matching --- */

/* Whether the segments of RULE from I on fit those of PATH from J on. */
static bool fits(const struct lp_owner_rule *rule, size_t i, const struct path *path, size_t j)
{
	if (i == rule->segment_count)
		return j == path->count ? !rule->folder : !rule->direct;
	if (strcmp(rule->segments[i], "**"))
		return j < path->count && !fnmatch(rule->segments[i], path->segments[j], 0) &&
		       fits(rule, i + 1, path, j + 1);
	/* At the end it is everything inside, else any number of folders. */
	if (i + 1 == rule->segment_count)
		return j < path->count;
	for (; j < path->count; j++)
		if (fits(rule, i + 1, path, j))
			return true;
	return false;
}

const char *lp_owners_find(const struct lp_owners *owners, const char *path)
{
	struct path parts;
	const char *found = NULL;
	size_t i;

	if (!split(&parts, path) && make_relative(&parts, owners) && parts.count)
		for (i = owners->count; !found && i-- > 0;)
			if (fits(&owners->rules[i], 0, &parts, 0))
				found = owners->rules[i].owners;
	free(parts.text);
	return found;
}

static const char *of_location(const struct lp_owners *owners, const struct lp_location *location)
{
	const char *found = NULL;
	size_t i;

	for (i = 0; i < location->frame_count && !(found && *found); i++)
		found = lp_owners_find(owners, location->frames[i].file);
	return found && *found ? found : NULL;
}

const char *lp_owners_of_site(const struct lp_owners *owners, const struct lp_site *site)
{
	const char *found = NULL;
	size_t i;

	for (i = 0; i < site->location_count && !found; i++)
		if (!site->locations[i]->runtime)
			found = of_location(owners, site->locations[i]);
	if (!found && site->creator.function)
		found = lp_owners_find(owners, site->creator.file);
	return found && *found ? found : NULL;
}

/* --- Reading --- */

/* Ends the pattern at TEXT, in which a backslash takes the meaning off a blank. Returns what is
 * behind. */
static char *end_pattern(char *text)
{
	while (*text && !strchr(BLANKS, *text))
		text += *text == '\\' && text[1] ? 2 : 1;
	if (*text)
		*text++ = 0;
	return text;
}

/* The owners at TEXT with one space between, in place. */
static const char *read_owners(char *text)
{
	char *start = text;
	char *at = text;
	char *word;

	while ((word = strsep(&text, BLANKS)) && *word != '#') {
		if (!*word)
			continue;
		if (at > start)
			*at++ = ' ';
		memmove(at, word, strlen(word) + 1);
		at += strlen(at);
	}
	*at = 0;
	return start;
}

/* Takes PATTERN, which it cuts up, to pieces. */
static int read_pattern(struct lp_owner_rule *rule, char *pattern)
{
	size_t length = strlen(pattern);
	bool anchored;
	char *segment;

	rule->folder = length > 1 && pattern[length - 1] == '/';
	if (rule->folder)
		pattern[length - 1] = 0;
	anchored = strchr(pattern, '/');
	rule->segments = calloc(length + 2, sizeof(char *));
	if (!rule->segments)
		return -ENOMEM;
	if (!anchored)
		rule->segments[rule->segment_count++] = "**";
	while ((segment = strsep(&pattern, "/"))) {
		bool again = rule->segment_count && !strcmp(segment, "**") &&
			     !strcmp(rule->segments[rule->segment_count - 1], "**");

		if (*segment && !again)
			rule->segments[rule->segment_count++] = segment;
	}
	/* "/" alone fits nothing. */
	rule->direct =
		!rule->segment_count || (anchored && !rule->folder &&
					 !strcmp(rule->segments[rule->segment_count - 1], "*"));
	return 0;
}

/* Makes room for one more at every power of two. NULL: no memory. */
static void *grow(void *array, size_t count, size_t element)
{
	return count & (count - 1) ? array : realloc(array, (count ? 2 * count : 1) * element);
}

static int leave_out(struct lp_owners *owners, unsigned line)
{
	unsigned *larger = grow(owners->bad_lines, owners->bad_count, sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	owners->bad_lines = larger;
	larger[owners->bad_count++] = line;
	return 0;
}

static int add_rule(struct lp_owners *owners, const char *text)
{
	struct lp_owner_rule *larger = grow(owners->rules, owners->count, sizeof(*larger));
	struct lp_owner_rule *rule;
	char *rest;

	if (!larger)
		return -ENOMEM;
	owners->rules = larger;
	rule = &larger[owners->count++];
	*rule = (struct lp_owner_rule){.text = strdup(text)};
	if (!rule->text)
		return -ENOMEM;
	rest = end_pattern(rule->text);
	rule->owners = read_owners(rest);
	return read_pattern(rule, rule->text);
}

static bool works_on_github(const char *line)
{
	size_t length = strcspn(line, BLANKS);

	return *line != '!' && strncmp(line, "\\#", 2) && !memchr(line, '[', length);
}

int lp_owners_read(struct lp_owners *owners, const char *text)
{
	char *copy = strdup(text);
	char *rest = copy;
	char *line;
	unsigned number = 0;
	int r = copy ? 0 : -ENOMEM;

	while (!r && (line = strsep(&rest, "\n"))) {
		number++;
		line += strspn(line, BLANKS);
		if (*line && *line != '#')
			r = works_on_github(line) ? add_rule(owners, line)
						  : leave_out(owners, number);
	}
	free(copy);
	return r;
}

int lp_owners_root(struct lp_owners *owners, const char *root)
{
	const char **larger = grow(owners->roots, owners->root_count, sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	owners->roots = larger;
	larger[owners->root_count++] = root;
	return 0;
}

void lp_owners_free(struct lp_owners *owners)
{
	size_t i;

	for (i = 0; i < owners->count; i++) {
		free(owners->rules[i].text);
		free(owners->rules[i].segments);
	}
	free(owners->rules);
	free(owners->bad_lines);
	free(owners->roots);
}
