/* SPDX-License-Identifier: MIT */
/*
 * See suppress.h. Patterns become regular expressions of libc.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/suppress.h"

/* What a rule is tried on. */
struct names {
	const struct lp_report *report;
	const struct lp_site *site;
	const regex_t *pattern;
};

struct lp_rule_kind {
	const char *name;
	bool (*fits)(const struct names *names);
};

static bool fits(const struct names *names, const char *text)
{
	return text && *text && !regexec(names->pattern, text, 0, NULL, 0);
}

static bool any_frame(const struct names *names,
		      bool (*visit)(const struct names *names, const struct lp_frame *frame))
{
	size_t i;
	size_t j;

	for (i = 0; i < names->site->location_count; i++)
		for (j = 0; j < names->site->locations[i]->frame_count; j++)
			if (visit(names, &names->site->locations[i]->frames[j]))
				return true;
	return false;
}

static bool function_fits(const struct names *names, const struct lp_frame *frame)
{
	return fits(names, frame->function);
}

static bool file_fits(const struct names *names, const struct lp_frame *frame)
{
	return fits(names, frame->file);
}

static bool any_fits(const struct names *names)
{
	return any_frame(names, function_fits);
}

static bool lib_fits(const struct names *names)
{
	size_t i;

	for (i = 0; i < names->site->location_count; i++) {
		uint32_t mapping = names->site->locations[i]->mapping;

		if (mapping != LP_NONE && fits(names, names->report->mappings[mapping].path))
			return true;
	}
	return false;
}

static bool leak_fits(const struct names *names)
{
	return any_fits(names) || any_frame(names, file_fits) || lib_fits(names);
}

static bool top_fits(const struct names *names)
{
	const struct lp_frame *frame = lp_site_frame(names->site);

	return frame && fits(names, frame->function);
}

static bool created_fits(const struct names *names)
{
	return fits(names, names->site->creator.function) || fits(names, names->site->creator.file);
}

static bool state_fits(const struct names *names)
{
	return fits(names, names->site->wait);
}

static const struct lp_rule_kind kinds[] = {
	{"leak", leak_fits},	   {"top", top_fits}, {"any", any_fits},
	{"created", created_fits}, {"lib", lib_fits}, {"state", state_fits},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))
#define KIND_NAMES "leak, top, any, created, lib or state"

/* --- Reading --- */

/* A pattern as an extended regular expression, to be freed; NULL: no memory. */
static char *translate(const char *pattern)
{
	size_t length = strlen(pattern);
	char *regexp = malloc(2 * length + 1);
	char *at = regexp;
	size_t i;

	for (i = 0; regexp && i < length; i++) {
		bool anchor =
			(pattern[i] == '^' && i == 0) || (pattern[i] == '$' && i + 1 == length);

		if (pattern[i] == '*')
			*at++ = '.';
		else if (!anchor && strchr(".[]()+?{}|^$\\", pattern[i]))
			*at++ = '\\';
		*at++ = pattern[i];
	}
	if (regexp)
		*at = 0;
	return regexp;
}

static int compile(struct lp_rule *rule, const char *pattern)
{
	char *regexp = translate(pattern);
	int r = regexp ? regcomp(&rule->pattern, regexp, REG_EXTENDED | REG_NOSUB) : REG_ESPACE;

	free(regexp);
	return r ? r == REG_ESPACE ? -ENOMEM : -EINVAL : 0;
}

static int complain(struct lp_rules *rules, const char *origin, unsigned line, const char *text)
{
	snprintf(rules->error, sizeof(rules->error), "%s:%u: %s", origin, line, text);
	return -EINVAL;
}

static const struct lp_rule_kind *find_kind(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < KIND_COUNT; i++)
		if (strlen(kinds[i].name) == length && !memcmp(kinds[i].name, name, length))
			return &kinds[i];
	return NULL;
}

static struct lp_rule *new_rule(struct lp_rules *rules)
{
	size_t n = rules->count;
	struct lp_rule *larger = (n & (n - 1))
					 ? rules->rules
					 : realloc(rules->rules, (n ? 2 * n : 1) * sizeof(*larger));

	if (!larger)
		return NULL;
	rules->rules = larger;
	memset(&larger[n], 0, sizeof(*larger));
	return &larger[n];
}

/* TEXT is one line without white space around it. */
static int add_rule(struct lp_rules *rules, const char *origin, unsigned line, const char *text)
{
	const char *colon = strchr(text, ':');
	const struct lp_rule_kind *kind = colon ? find_kind(text, (size_t)(colon - text)) : NULL;
	struct lp_rule *rule;
	int r;

	if (!kind)
		return complain(rules, origin, line,
				"a suppression is KIND:PATTERN, with one of the kinds " KIND_NAMES);
	if (!colon[1])
		return complain(rules, origin, line, "the pattern is empty");
	rule = new_rule(rules);
	if (!rule)
		return -ENOMEM;
	r = compile(rule, colon + 1);
	if (r)
		return r == -ENOMEM ? r : complain(rules, origin, line, "the pattern is not valid");
	rule->text = strdup(text);
	rule->origin = strdup(origin);
	rule->line = line;
	rule->kind = kind;
	rules->count++;
	return rule->text && rule->origin ? 0 : -ENOMEM;
}

static char *trim(char *line)
{
	char *end;

	line += strspn(line, " \t");
	end = line + strcspn(line, "#\r");
	while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = 0;
	return line;
}

int lp_rules_add(struct lp_rules *rules, const char *origin, const char *text)
{
	char *copy = strdup(text);
	char *rest = copy;
	char *line;
	unsigned number = 0;
	int r = copy ? 0 : -ENOMEM;

	while (!r && (line = strsep(&rest, "\n"))) {
		number++;
		line = trim(line);
		if (*line)
			r = add_rule(rules, origin, number, line);
	}
	free(copy);
	return r;
}

void lp_rules_free(struct lp_rules *rules)
{
	size_t i;

	for (i = 0; i < rules->count; i++) {
		regfree(&rules->rules[i].pattern);
		free((char *)rules->rules[i].text);
		free((char *)rules->rules[i].origin);
	}
	free(rules->rules);
	*rules = (struct lp_rules){.rules = NULL};
}

/* --- Use --- */

const struct lp_rule *lp_rules_match(struct lp_rules *rules, const struct lp_report *report,
				     const struct lp_site *site)
{
	size_t i;

	for (i = 0; i < rules->count; i++) {
		struct lp_rule *rule = &rules->rules[i];
		const struct names names = {report, site, &rule->pattern};

		if (!rule->kind->fits(&names))
			continue;
		rule->goroutines += site->count;
		rule->bytes += site->stack_bytes + site->heap_bytes;
		return rule;
	}
	return NULL;
}

char *lp_rule_for(const struct lp_site *site)
{
	const struct lp_frame *frame = lp_site_frame(site);
	char *rule = NULL;
	int r;

	if (frame && strcmp(frame->function, "?"))
		r = asprintf(&rule, "top:^%s$", frame->function);
	else if (site->creator.function)
		r = asprintf(&rule, "created:^%s$", site->creator.function);
	else
		r = asprintf(&rule, "state:^%s$", site->wait);
	return r < 0 ? NULL : rule;
}
