/* SPDX-License-Identifier: MIT */
/*
 * See compare.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/compare.h"

/* --- Which sites are the same --- */

/* FNV-1a, 64 bits. */
static uint64_t hash(uint64_t value, const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		value = (value ^ (unsigned char)text[i]) * 0x100000001b3u;
	/* A mark between texts, so that "ab" "c" is not "a" "bc". */
	return (value ^ 0xff) * 0x100000001b3u;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A frame by function, without what compilers add to names of clones (".part.0"), and file. */
static uint64_t hash_frame(uint64_t value, const struct lp_frame *frame)
{
	const char *file = base_name(frame->file);

	value = hash(value, frame->function, strcspn(frame->function, "."));
	return hash(value, file, strlen(file));
}

uint64_t lp_site_fingerprint(const struct lp_site *site)
{
	uint64_t value = hash(0xcbf29ce484222325u, site->wait, strlen(site->wait));
	size_t i;
	size_t j;

	for (i = 0; i < site->location_count; i++)
		for (j = 0; !site->locations[i]->runtime && j < site->locations[i]->frame_count;
		     j++)
			value = hash_frame(value, &site->locations[i]->frames[j]);
	if (site->creator.function)
		value = hash_frame(value, &site->creator);
	return value;
}

/* --- Tallies --- */

struct lp_tally *lp_tally_find(struct lp_tally *tallies, uint64_t fingerprint)
{
	struct lp_tally *tally;

	HASH_FIND(hh, tallies, &fingerprint, sizeof(fingerprint), tally);
	return tally;
}

struct lp_tally *lp_tally_add(struct lp_tally **tallies, int which, const struct lp_report *report,
			      const struct lp_site *site)
{
	uint64_t fingerprint = lp_site_fingerprint(site);
	struct lp_tally *tally = lp_tally_find(*tallies, fingerprint);

	if (!tally) {
		tally = calloc(1, sizeof(*tally));
		if (!tally)
			return NULL;
		tally->fingerprint = fingerprint;
		HASH_ADD(hh, *tallies, fingerprint, sizeof(fingerprint), tally);
	}
	tally->report = report;
	tally->site = site;
	tally->counts[which] += site->count;
	return tally;
}

int lp_tally_add_report(struct lp_tally **tallies, int which, const struct lp_report *report)
{
	size_t i;

	for (i = 0; report && i < report->site_count; i++)
		if (!lp_tally_add(tallies, which, report, &report->sites[i]))
			return -ENOMEM;
	return 0;
}

void lp_tally_free(struct lp_tally **tallies)
{
	struct lp_tally *tally;
	struct lp_tally *next;

	HASH_ITER(hh, *tallies, tally, next)
	{
		HASH_DEL(*tallies, tally);
		free(tally);
	}
}

/* --- Difference --- */

static int64_t change(const struct lp_tally *tally)
{
	return (int64_t)(tally->counts[LP_AFTER] - tally->counts[LP_BEFORE]);
}

static int by_change(struct lp_tally *a, struct lp_tally *b)
{
	uint64_t x = (uint64_t)llabs(change(a));
	uint64_t y = (uint64_t)llabs(change(b));

	return x == y ? (a->fingerprint > b->fingerprint) - (a->fingerprint < b->fingerprint)
		      : (x < y) - (x > y);
}

static const char *word(const struct lp_tally *tally)
{
	if (!tally->counts[LP_BEFORE])
		return "new";
	if (!tally->counts[LP_AFTER])
		return "gone";
	return change(tally) > 0 ? "grown" : "shrunk";
}

static void write_change(const struct lp_tally *tally, FILE *file)
{
	const struct lp_site *site = tally->site;
	const struct lp_frame *frame = lp_site_frame(site);

	fprintf(file, "%+6" PRId64 "  %-6s  %" PRIu64 " -> %" PRIu64 "  [%s] %s", change(tally),
		word(tally), tally->counts[LP_BEFORE], tally->counts[LP_AFTER], site->wait,
		frame ? frame->function : "?");
	if (frame && *frame->file)
		fprintf(file, " %s:%" PRId64, frame->file, frame->line);
	if (site->creator.function)
		fprintf(file, ", created by %s", site->creator.function);
	fputc('\n', file);
}

int lp_diff_text(struct lp_tally **tallies, FILE *file)
{
	const struct lp_tally *tally;
	uint64_t totals[2] = {0, 0};
	size_t same = 0;

	HASH_SORT(*tallies, by_change);
	for (tally = *tallies; tally; tally = tally->hh.next) {
		totals[LP_BEFORE] += tally->counts[LP_BEFORE];
		totals[LP_AFTER] += tally->counts[LP_AFTER];
		if (change(tally))
			write_change(tally, file);
		else
			same++;
	}
	fprintf(file, "%" PRIu64 " -> %" PRIu64 " leaked goroutines; %zu site%s as before\n",
		totals[LP_BEFORE], totals[LP_AFTER], same, same == 1 ? " is" : "s are");
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}

/* --- As profiles --- */

/* Each tally with what COUNT says of it, if that is not 0. */
static int write_profile(struct lp_tally *tallies, const struct lp_report *head,
			 int64_t (*count)(const struct lp_tally *tally), const char *comment,
			 void **data, size_t *size)
{
	struct lp_report shown = *head;
	size_t room = HASH_COUNT(tallies) + 1;
	struct lp_site *sites = calloc(room, sizeof(*sites));
	const struct lp_report **owners = calloc(room, sizeof(*owners));
	const struct lp_tally *tally;
	int r = -ENOMEM;

	shown.sites = sites;
	shown.site_count = 0;
	for (tally = tallies; sites && owners && tally; tally = tally->hh.next) {
		if (!count(tally))
			continue;
		sites[shown.site_count] = *tally->site;
		sites[shown.site_count].count = (uint64_t)count(tally);
		owners[shown.site_count++] = tally->report;
	}
	if (sites && owners)
		r = lp_report_pack(&shown, owners, comment, data, size);
	free(sites);
	free(owners);
	return r;
}

int lp_diff_profile(struct lp_tally *tallies, const struct lp_report *after, void **data,
		    size_t *size)
{
	return write_profile(tallies, after, change, "leakprof: a difference of two profiles", data,
			     size);
}

static int64_t most(const struct lp_tally *tally)
{
	uint64_t before = tally->counts[LP_BEFORE];
	uint64_t after = tally->counts[LP_AFTER];

	return (int64_t)(before > after ? before : after);
}

int lp_most_profile(struct lp_tally *tallies, const struct lp_report *head, void **data,
		    size_t *size)
{
	return write_profile(tallies, head, most, "leakprof: a baseline", data, size);
}
