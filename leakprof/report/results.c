/* SPDX-License-Identifier: MIT */
/*
 * See results.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/compare.h"
#include "report/results.h"

/* --- Findings --- */

bool lp_finding_fails(const struct lp_finding *finding)
{
	return finding->status == LP_FOUND_NEW || finding->status == LP_FOUND_GROWN;
}

const char *lp_finding_status_name(enum lp_finding_status status)
{
	static const char *const names[] = {"new", "grown", "known", "suppressed"};

	return names[status];
}

void lp_finding_title(const struct lp_finding *finding, const char *mode, char *text, size_t size)
{
	const struct lp_site *site = finding->site;
	const struct lp_frame *frame = lp_site_frame(site);

	snprintf(text, size, "%" PRIu64 " goroutine%s %s [%s] in %s", site->count,
		 site->count == 1 ? "" : "s", strcmp(mode, "alive") ? "leaked" : "still there",
		 *site->wait ? site->wait : "waiting", frame ? frame->function : "?");
}

static int by_importance(const void *a, const void *b)
{
	const struct lp_finding *x = a;
	const struct lp_finding *y = b;
	uint64_t bytes_x = x->site->stack_bytes + x->site->heap_bytes;
	uint64_t bytes_y = y->site->stack_bytes + y->site->heap_bytes;

	if (lp_finding_fails(x) != lp_finding_fails(y))
		return lp_finding_fails(x) ? -1 : 1;
	if (x->site->count != y->site->count)
		return x->site->count < y->site->count ? 1 : -1;
	return (bytes_x < bytes_y) - (bytes_x > bytes_y);
}

/* Whether FINDING fails depends on all that were found where it was. */
static void judge(struct lp_results *results, struct lp_finding *finding, struct lp_tally *tallies)
{
	const struct lp_tally *tally;

	finding->fingerprint = lp_site_fingerprint(finding->site);
	tally = lp_tally_find(tallies, finding->fingerprint);
	finding->known = tally ? tally->counts[LP_BEFORE] : 0;
	if (finding->rule)
		finding->status = LP_FOUND_SUPPRESSED;
	else if (!finding->known)
		finding->status = LP_FOUND_NEW;
	else
		finding->status =
			tally->counts[LP_AFTER] > finding->known ? LP_FOUND_GROWN : LP_FOUND_KNOWN;
	if (!lp_finding_fails(finding))
		return;
	results->failing++;
	results->failing_goroutines += finding->site->count;
}

/* One finding a site of REPORT. */
static int add_findings(struct lp_results *results, const struct lp_report *report,
			struct lp_tally **tallies)
{
	size_t i;

	for (i = 0; i < report->site_count; i++) {
		struct lp_finding *finding = &results->findings[results->finding_count++];

		finding->report = report;
		finding->site = &report->sites[i];
		finding->rule = lp_rules_match(results->rules, report, finding->site);
		if (!finding->rule && !lp_tally_add(tallies, LP_AFTER, report, finding->site))
			return -ENOMEM;
	}
	return 0;
}

int lp_results_judge(struct lp_results *results, const struct lp_report *baseline)
{
	struct lp_tally *tallies = NULL;
	size_t count = 0;
	size_t i;
	int r;

	for (i = 0; i < results->report_count; i++)
		count += results->reports[i]->site_count;
	results->findings = calloc(count + 1, sizeof(*results->findings));
	r = results->findings ? lp_tally_add_report(&tallies, LP_BEFORE, baseline) : -ENOMEM;
	for (i = 0; !r && i < results->report_count; i++)
		r = add_findings(results, results->reports[i], &tallies);
	for (i = 0; !r && i < results->finding_count; i++)
		judge(results, &results->findings[i], tallies);
	lp_tally_free(&tallies);
	if (!r)
		qsort(results->findings, results->finding_count, sizeof(*results->findings),
		      by_importance);
	return r;
}

/* --- As a profile --- */

static void add_figures(struct lp_report *sum, const struct lp_report *report)
{
	static const enum lp_figure figures[] = {LP_FIG_GOROUTINES, LP_FIG_LEAKED, LP_FIG_CREATED,
						 LP_FIG_FINISHED};
	size_t i;

	for (i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		sum->figures[figures[i]] += report->figures[figures[i]];
}

int lp_results_profile(const struct lp_results *results, void **data, size_t *size)
{
	struct lp_report sum = *results->reports[0];
	struct lp_site *sites = calloc(results->finding_count + 1, sizeof(*sites));
	const struct lp_report **owners = calloc(results->finding_count + 1, sizeof(*owners));
	size_t i;
	int r = -ENOMEM;

	for (i = 1; i < results->report_count; i++)
		add_figures(&sum, results->reports[i]);
	for (i = 0; sites && owners && i < results->finding_count; i++) {
		sites[i] = *results->findings[i].site;
		owners[i] = results->findings[i].report;
	}
	sum.sites = sites;
	sum.site_count = results->finding_count;
	if (sites && owners)
		r = lp_report_pack(&sum, owners, NULL, data, size);
	free(sites);
	free(owners);
	return r;
}

void lp_results_free(struct lp_results *results)
{
	free(results->findings);
	results->findings = NULL;
	results->finding_count = 0;
}

const char *lp_relative_path(const char *path, const char *root)
{
	size_t length = strlen(root);

	if (!length || strncmp(path, root, length) || path[length] != '/')
		return path;
	return path + length + 1;
}
