/* SPDX-License-Identifier: MIT */
/*
 * See rank.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/compare.h"
#include "report/format.h"
#include "report/rank.h"

#define SHAPE_VERSION 1

/* --- Adding --- */

static void free_names(struct lp_ranked *ranked)
{
	free(ranked->name);
	free(ranked->wait);
	free(ranked->function);
	free(ranked->file);
	free(ranked->creator);
	free(ranked->creator_file);
}

/* Makes SITE of the profile NAME what stands for RANKED. */
static int copy_names(struct lp_ranked *ranked, const struct lp_site *site, const char *name)
{
	const struct lp_frame *frame = lp_site_frame(site);
	const struct lp_frame *creator = &site->creator;

	free_names(ranked);
	ranked->name = strdup(name);
	ranked->wait = strdup(site->wait);
	ranked->function = strdup(frame ? frame->function : "?");
	ranked->file = strdup(frame ? frame->file : "");
	ranked->line = frame ? frame->line : 0;
	ranked->creator = strdup(creator->function ? creator->function : "");
	ranked->creator_file = strdup(creator->function ? creator->file : "");
	ranked->creator_line = creator->line;
	return ranked->name && ranked->wait && ranked->function && ranked->file &&
			       ranked->creator && ranked->creator_file
		       ? 0
		       : -ENOMEM;
}

static struct lp_ranked *find(const struct lp_ranking *ranking, uint64_t fingerprint)
{
	struct lp_ranked *ranked;

	HASH_FIND(hh, ranking->sites, &fingerprint, sizeof(fingerprint), ranked);
	return ranked;
}

/* The site of TALLY, a new one when no profile had it before. NULL: no memory. */
static struct lp_ranked *place(struct lp_ranking *ranking, const struct lp_tally *tally)
{
	struct lp_ranked *ranked = find(ranking, tally->fingerprint);

	if (ranked)
		return ranked;
	ranked = calloc(1, sizeof(*ranked));
	if (!ranked)
		return NULL;
	ranked->fingerprint = tally->fingerprint;
	if (ranking->owners)
		ranked->owners = lp_owners_of_site(ranking->owners, tally->site);
	HASH_ADD(hh, ranking->sites, fingerprint, sizeof(ranked->fingerprint), ranked);
	return ranked;
}

static int add_tally(struct lp_ranking *ranking, const struct lp_tally *tally, const char *name)
{
	uint64_t count = tally->counts[LP_AFTER];
	struct lp_ranked *ranked = place(ranking, tally);

	if (!ranked)
		return -ENOMEM;
	ranked->instances++;
	ranked->total += count;
	ranked->squares += (double)count * (double)count;
	if (count <= ranked->max)
		return 0;
	ranked->max = count;
	return copy_names(ranked, tally->site, name);
}

static bool counts(const struct lp_site *site, enum lp_profile profile)
{
	return profile == LP_PROFILE_LEAK || site->state == LP_STATE_WAITING;
}

static void add_leaked(struct lp_ranking *ranking, const struct lp_report *report)
{
	size_t i;

	for (i = 0; i < report->site_count; i++)
		if (report->sites[i].leaked && counts(&report->sites[i], report->profile))
			find(ranking, lp_site_fingerprint(&report->sites[i]))->leaked +=
				report->sites[i].count;
}

int lp_ranking_add(struct lp_ranking *ranking, const struct lp_report *report, const char *name)
{
	struct lp_tally *tallies = NULL;
	const struct lp_tally *tally;
	size_t i;
	int r = 0;

	ranking->profile = report->profile;
	ranking->instances++;
	for (i = 0; !r && i < report->site_count; i++)
		if (counts(&report->sites[i], report->profile) &&
		    !lp_tally_add(&tallies, LP_AFTER, report, &report->sites[i]))
			r = -ENOMEM;
	for (tally = tallies; !r && tally; tally = tally->hh.next)
		r = add_tally(ranking, tally, name);
	lp_tally_free(&tallies);
	if (!r)
		add_leaked(ranking, report);
	return r;
}

static int by_rms(struct lp_ranked *a, struct lp_ranked *b)
{
	if (a->squares != b->squares)
		return a->squares < b->squares ? 1 : -1;
	if (a->total != b->total)
		return a->total < b->total ? 1 : -1;
	return (a->fingerprint > b->fingerprint) - (a->fingerprint < b->fingerprint);
}

void lp_ranking_finish(struct lp_ranking *ranking)
{
	struct lp_ranked *ranked;

	HASH_SORT(ranking->sites, by_rms);
	for (ranked = ranking->sites; ranked; ranked = ranked->hh.next)
		ranked->rms = sqrt(ranked->squares / (double)ranking->instances);
}

void lp_ranking_free(struct lp_ranking *ranking)
{
	struct lp_ranked *ranked;
	struct lp_ranked *next;

	HASH_ITER(hh, ranking->sites, ranked, next)
	{
		HASH_DEL(ranking->sites, ranked);
		free_names(ranked);
		free(ranked);
	}
}

/* --- Showing --- */

/* The first site from RANKED on that has MIN in one instance, or NULL. */
static const struct lp_ranked *next_shown(const struct lp_ranked *ranked, uint64_t min)
{
	while (ranked && ranked->max < min)
		ranked = ranked->hh.next;
	return ranked;
}

static void write_place(FILE *file, const char *function, const char *path, int64_t line)
{
	fputs(function, file);
	if (*path)
		fprintf(file, " %s:%" PRId64, path, line);
}

static void write_ranked(const struct lp_ranking *ranking, const struct lp_ranked *ranked,
			 FILE *file)
{
	fprintf(file, "%9.1f %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "  [%s] ", ranked->rms,
		ranked->max, ranked->total, ranked->instances,
		*ranked->wait ? ranked->wait : "waiting");
	write_place(file, ranked->function, ranked->file, ranked->line);
	fprintf(file, "\n%41smost in %s", "", ranked->name);
	if (*ranked->creator) {
		fputs(", created by ", file);
		write_place(file, ranked->creator, ranked->creator_file, ranked->creator_line);
	}
	if (ranking->profile == LP_PROFILE_GOROUTINE)
		fprintf(file, ", %" PRIu64 " leaked", ranked->leaked);
	if (ranking->owners)
		fprintf(file, ", owned by %s", ranked->owners ? ranked->owners : "nobody");
	fputc('\n', file);
}

int lp_ranking_text(const struct lp_ranking *ranking, const struct lp_rank_limits *limits,
		    FILE *file)
{
	const struct lp_ranked *ranked;
	size_t shown = 0;

	for (ranked = next_shown(ranking->sites, limits->min);
	     ranked && (!limits->top || shown < limits->top);
	     ranked = next_shown(ranked->hh.next, limits->min)) {
		if (!shown++)
			fputs("      RMS       max     total instances  site\n", file);
		write_ranked(ranking, ranked, file);
	}
	fprintf(file, "%s%zu of %u site%s in %" PRIu64 " %s profile%s\n", shown ? "\n" : "", shown,
		HASH_COUNT(ranking->sites), HASH_COUNT(ranking->sites) == 1 ? "" : "s",
		ranking->instances, lp_profile_name(ranking->profile),
		ranking->instances == 1 ? "" : "s");
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}

/* --- As JSON --- */

static json_t *place_object(const char *function, const char *path, int64_t line)
{
	json_t *object = json_object();

	lp_json_string(object, "function", function);
	lp_json_string(object, "file", path);
	json_object_set_new(object, "line", json_integer(line));
	return object;
}

static json_t *owner_array(const char *owners)
{
	json_t *array = json_array();
	char *copy = strdup(owners ? owners : "");
	char *rest = copy;
	char *owner;

	while ((owner = strsep(&rest, " ")))
		if (*owner)
			json_array_append_new(array, lp_json_text(owner));
	free(copy);
	return array;
}

static json_t *ranked_object(const struct lp_ranked *ranked)
{
	json_t *object = json_object();

	lp_json_fingerprint(object, ranked->fingerprint);
	json_object_set_new(object, "rms", json_real(ranked->rms));
	json_object_set_new(object, "max", json_integer((json_int_t)ranked->max));
	json_object_set_new(object, "total", json_integer((json_int_t)ranked->total));
	json_object_set_new(object, "leaked", json_integer((json_int_t)ranked->leaked));
	json_object_set_new(object, "instances", json_integer((json_int_t)ranked->instances));
	lp_json_string(object, "most_in", ranked->name);
	lp_json_string(object, "wait", ranked->wait);
	json_object_set_new(object, "blocked",
			    place_object(ranked->function, ranked->file, ranked->line));
	json_object_set_new(object, "created_by",
			    *ranked->creator ? place_object(ranked->creator, ranked->creator_file,
							    ranked->creator_line)
					     : json_null());
	json_object_set_new(object, "owners", owner_array(ranked->owners));
	return object;
}

int lp_ranking_json(const struct lp_ranking *ranking, const struct lp_rank_limits *limits,
		    FILE *file)
{
	const struct lp_ranked *ranked;
	json_t *object = json_object();
	json_t *array = json_array();

	json_object_set_new(object, "version", json_integer(SHAPE_VERSION));
	json_object_set_new(object, "tool", json_string("leakprof " LP_VERSION));
	json_object_set_new(object, "profile", json_string(lp_profile_name(ranking->profile)));
	json_object_set_new(object, "instances", json_integer((json_int_t)ranking->instances));
	for (ranked = next_shown(ranking->sites, limits->min);
	     ranked && (!limits->top || json_array_size(array) < limits->top);
	     ranked = next_shown(ranked->hh.next, limits->min))
		json_array_append_new(array, ranked_object(ranked));
	json_object_set_new(object, "sites", array);
	return lp_json_write(object, file);
}
