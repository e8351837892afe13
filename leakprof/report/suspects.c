/* SPDX-License-Identifier: MIT */
/*
 * See suspects.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/compare.h"
#include "report/format.h"
#include "report/suspects.h"

#define SHAPE_VERSION 1

static const struct {
	enum lp_suspect_reason reason;
	const char *word;
} words[] = {{LP_SUSPECT_GROWING, "growing"}, {LP_SUSPECT_MANY, "many"}, {LP_SUSPECT_OLD, "old"}};

#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

/* --- Candidates --- */

/* The goroutine that the program began in: nobody created it, and its stack ends in main. */
static bool is_main(const struct lp_site *site)
{
	const struct lp_location *outermost;

	if (site->creator.function || !site->location_count)
		return false;
	outermost = site->locations[site->location_count - 1];
	return outermost->frame_count &&
	       !strcmp(outermost->frames[outermost->frame_count - 1].function, "main");
}

static bool is_candidate(const struct lp_site *site)
{
	return !site->leaked && site->state == LP_STATE_WAITING && !is_main(site);
}

static struct lp_suspect *find_place(const struct lp_suspects *suspects, uint64_t fingerprint)
{
	struct lp_suspect *place;

	HASH_FIND(hh, suspects->places, &fingerprint, sizeof(fingerprint), place);
	return place;
}

static void add_site(struct lp_suspects *suspects, const struct lp_site *site)
{
	uint64_t fingerprint = lp_site_fingerprint(site);
	struct lp_suspect *place = find_place(suspects, fingerprint);

	if (!place) {
		place = &suspects->memory[HASH_COUNT(suspects->places)];
		place->site = *site;
		place->fingerprint = fingerprint;
		HASH_ADD(hh, suspects->places, fingerprint, sizeof(fingerprint), place);
		return;
	}
	/* Parts of a place differ in their labels. */
	place->site.label_count = 0;
	place->site.count += site->count;
	place->site.stack_bytes += site->stack_bytes;
	place->site.heap_bytes += site->heap_bytes;
	if (site->oldest_ns > place->site.oldest_ns)
		place->site.oldest_ns = site->oldest_ns;
}

static void add_earlier(struct lp_suspects *suspects, const struct lp_report *earlier)
{
	struct lp_suspect *place;
	size_t i;

	for (i = 0; i < earlier->site_count; i++) {
		if (!is_candidate(&earlier->sites[i]))
			continue;
		place = find_place(suspects, lp_site_fingerprint(&earlier->sites[i]));
		if (place)
			place->before += earlier->sites[i].count;
	}
}

/* --- Judging --- */

static bool has_grown(const struct lp_suspects *suspects, const struct lp_suspect *place)
{
	return suspects->compared && place->site.count >= place->before + LP_SUSPECT_GROWTH_MIN &&
	       (double)place->site.count >= (double)place->before * suspects->rules.growth;
}

static unsigned judge(const struct lp_suspects *suspects, const struct lp_suspect *place)
{
	const struct lp_suspect_rules *rules = &suspects->rules;
	unsigned reasons = 0;

	if (has_grown(suspects, place))
		reasons |= LP_SUSPECT_GROWING;
	if (rules->min_count && place->site.count >= rules->min_count)
		reasons |= LP_SUSPECT_MANY;
	if (rules->min_age_ns && place->site.oldest_ns >= rules->min_age_ns)
		reasons |= LP_SUSPECT_OLD;
	return reasons;
}

static void name_reasons(struct lp_suspect *place)
{
	size_t length = 0;
	size_t i;

	for (i = 0; i < WORD_COUNT; i++)
		if (place->reasons & words[i].reason)
			length += (size_t)snprintf(place->words + length,
						   sizeof(place->words) - length, "%s%s",
						   length ? ", " : "", words[i].word);
}

static int by_weight(const void *a, const void *b)
{
	const struct lp_suspect *x = *(const struct lp_suspect *const *)a;
	const struct lp_suspect *y = *(const struct lp_suspect *const *)b;
	int reasons_x = __builtin_popcount(x->reasons);
	int reasons_y = __builtin_popcount(y->reasons);

	if (reasons_x != reasons_y)
		return reasons_y - reasons_x;
	if (x->site.count != y->site.count)
		return x->site.count < y->site.count ? 1 : -1;
	return (x->fingerprint > y->fingerprint) - (x->fingerprint < y->fingerprint);
}

int lp_suspects_find(struct lp_suspects *suspects, const struct lp_report *report,
		     const struct lp_report *earlier, const struct lp_suspect_rules *rules)
{
	struct lp_suspect *place;
	size_t i;

	suspects->report = report;
	suspects->rules = *rules;
	suspects->compared = earlier;
	suspects->memory = calloc(report->site_count + 1, sizeof(*suspects->memory));
	suspects->found = calloc(report->site_count + 1, sizeof(struct lp_suspect *));
	if (!suspects->memory || !suspects->found)
		return -ENOMEM;
	for (i = 0; i < report->site_count; i++)
		if (is_candidate(&report->sites[i]))
			add_site(suspects, &report->sites[i]);
	if (earlier)
		add_earlier(suspects, earlier);
	for (place = suspects->places; place; place = place->hh.next) {
		place->reasons = judge(suspects, place);
		suspects->ageless += place->site.oldest_ns ? 0 : place->site.count;
		if (!place->reasons)
			continue;
		name_reasons(place);
		suspects->found[suspects->count++] = place;
		suspects->goroutines += place->site.count;
	}
	if (suspects->count)
		qsort(suspects->found, suspects->count, sizeof(struct lp_suspect *), by_weight);
	return 0;
}

void lp_suspects_free(struct lp_suspects *suspects)
{
	HASH_CLEAR(hh, suspects->places);
	free(suspects->memory);
	free(suspects->found);
}

/* --- As text --- */

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void write_summary(const struct lp_suspects *suspects, FILE *file)
{
	uint64_t leaked = lp_report_leaked(suspects->report);

	if (suspects->count)
		fprintf(file,
			"%" PRIu64 " goroutine%s at %zu site%s look%s stuck, kept alive by "
			"reachability: no leak%s\n",
			suspects->goroutines, plural(suspects->goroutines), suspects->count,
			plural(suspects->count), suspects->goroutines == 1 ? "s" : "",
			plural(suspects->goroutines));
	else
		fputs("no goroutine that reachability keeps alive looks stuck\n", file);
	if (leaked)
		fprintf(file,
			"%" PRIu64 " leaked goroutine%s not among these: leakprof report shows "
			"leaks\n",
			leaked, leaked == 1 ? " is" : "s are");
	if (suspects->ageless && suspects->rules.min_age_ns)
		fprintf(file,
			"of %" PRIu64 " waiting goroutine%s it is not known how long they wait\n",
			suspects->ageless, plural(suspects->ageless));
}

static void write_suspect(const struct lp_suspects *suspects, const struct lp_suspect *suspect,
			  FILE *file, bool colour)
{
	lp_site_text(&suspect->site, false, file, colour);
	fprintf(file, "  suspect: %s", suspect->words);
	if (suspects->compared)
		fprintf(file, " (%" PRIu64 " before)", suspect->before);
	fputc('\n', file);
}

int lp_suspects_text(const struct lp_suspects *suspects, FILE *file, bool colour)
{
	size_t i;

	lp_report_head(suspects->report, file);
	write_summary(suspects, file);
	for (i = 0; i < suspects->count; i++)
		write_suspect(suspects, suspects->found[i], file, colour);
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}

/* --- As JSON --- */

static json_t *reason_array(unsigned reasons)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < WORD_COUNT; i++)
		if (reasons & words[i].reason)
			json_array_append_new(array, json_string(words[i].word));
	return array;
}

static json_t *suspect_object(const struct lp_suspects *suspects, const struct lp_suspect *suspect)
{
	json_t *object = json_object();

	lp_json_fingerprint(object, suspect->fingerprint);
	json_object_set_new(object, "reasons", reason_array(suspect->reasons));
	json_object_set_new(object, "before",
			    suspects->compared ? json_integer((json_int_t)suspect->before)
					       : json_null());
	lp_json_site(object, suspects->report, &suspect->site);
	return object;
}

static json_t *rules_object(const struct lp_suspect_rules *rules)
{
	json_t *object = json_object();

	json_object_set_new(object, "min_count", json_integer((json_int_t)rules->min_count));
	json_object_set_new(object, "min_age_ns", json_integer((json_int_t)rules->min_age_ns));
	json_object_set_new(object, "growth", json_real(rules->growth));
	return object;
}

int lp_suspects_json(const struct lp_suspects *suspects, FILE *file)
{
	const struct lp_report *report = suspects->report;
	json_t *object = json_object();
	json_t *array = json_array();
	size_t i;

	json_object_set_new(object, "version", json_integer(SHAPE_VERSION));
	json_object_set_new(object, "tool", json_string("leakprof " LP_VERSION));
	json_object_set_new(object, "pid", json_integer(report->pid));
	lp_json_string(object, "program", report->program);
	lp_json_string(object, "command", report->cmdline);
	json_object_set_new(object, "time_ns", json_integer((json_int_t)report->time_ns));
	json_object_set_new(object, "rules", rules_object(&suspects->rules));
	json_object_set_new(object, "leaked", json_integer((json_int_t)lp_report_leaked(report)));
	json_object_set_new(object, "age_unknown", json_integer((json_int_t)suspects->ageless));
	json_object_set_new(object, "goroutines", json_integer((json_int_t)suspects->goroutines));
	for (i = 0; i < suspects->count; i++)
		json_array_append_new(array, suspect_object(suspects, suspects->found[i]));
	json_object_set_new(object, "suspects", array);
	return lp_json_write(object, file);
}

/* --- As a profile --- */

/* Appends SITE, of PLACE, with its label to SHOWN. Returns 0 or -ENOMEM. */
static int add_part(struct lp_report *shown, const struct lp_site *site,
		    const struct lp_suspect *place)
{
	struct lp_label *labels = calloc(site->label_count + 1, sizeof(*labels));
	struct lp_site *copy = &shown->sites[shown->site_count];

	if (!labels)
		return -ENOMEM;
	if (site->label_count)
		memcpy(labels, site->labels, site->label_count * sizeof(*labels));
	*copy = *site;
	labels[copy->label_count++] = (struct lp_label){"suspect", place->words};
	copy->labels = labels;
	shown->site_count++;
	return 0;
}

/* The sites of the report that are of a suspect place, each with its labels. */
static int add_parts(const struct lp_suspects *suspects, struct lp_report *shown)
{
	const struct lp_report *report = suspects->report;
	const struct lp_suspect *place;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < report->site_count; i++) {
		if (!is_candidate(&report->sites[i]))
			continue;
		place = find_place(suspects, lp_site_fingerprint(&report->sites[i]));
		if (place->reasons)
			r = add_part(shown, &report->sites[i], place);
	}
	return r;
}

int lp_suspects_profile(const struct lp_suspects *suspects, void **data, size_t *size)
{
	struct lp_report shown = *suspects->report;
	size_t i;
	int r;

	shown.sites = calloc(shown.site_count + 1, sizeof(*shown.sites));
	shown.site_count = 0;
	memset(shown.states, 0, sizeof(shown.states));
	shown.states[LP_STATE_WAITING] = suspects->goroutines;
	r = shown.sites ? add_parts(suspects, &shown) : -ENOMEM;
	if (!r)
		r = lp_report_pack(&shown, NULL, NULL, data, size);
	for (i = 0; i < shown.site_count; i++)
		free((struct lp_label *)shown.sites[i].labels);
	free(shown.sites);
	return r;
}
