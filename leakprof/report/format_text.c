/* SPDX-License-Identifier: MIT */
/*
 * The result of a check as text, in the manner of LeakSanitizer: what leaked in each process, then
 * which suppressions were used and which were not.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report/results.h"

static bool is_alive_mode(const struct lp_results *results)
{
	return !strcmp(results->mode, "alive");
}

static void write_finding(const struct lp_finding *finding, FILE *file)
{
	lp_site_text(finding->site, false, file, false);
	if (finding->status == LP_FOUND_GROWN)
		fprintf(file, "  (the baseline has %" PRIu64 ")\n", finding->known);
}

static uint64_t failing_in(const struct lp_results *results, const struct lp_report *report,
			   size_t *sites)
{
	uint64_t goroutines = 0;
	size_t i;

	*sites = 0;
	for (i = 0; i < results->failing; i++) {
		if (results->findings[i].report != report)
			continue;
		goroutines += results->findings[i].site->count;
		++*sites;
	}
	return goroutines;
}

static void write_process(const struct lp_results *results, const struct lp_report *report,
			  FILE *file)
{
	size_t sites;
	uint64_t goroutines = failing_in(results, report, &sites);
	size_t i;

	if (!goroutines)
		return;
	fprintf(file,
		"leakprof: ERROR: %" PRIu64 " goroutine%s %s at %zu site%s in %s (PID %" PRIu32
		")\n",
		goroutines, goroutines == 1 ? "" : "s",
		is_alive_mode(results) ? "still there" : "leaked", sites, sites == 1 ? "" : "s",
		report->cmdline, report->pid);
	for (i = 0; i < results->failing; i++)
		if (results->findings[i].report == report)
			write_finding(&results->findings[i], file);
	fputc('\n', file);
}

static void write_known(const struct lp_results *results, FILE *file)
{
	uint64_t goroutines = 0;
	size_t sites = 0;
	size_t i;

	for (i = results->failing; i < results->finding_count; i++) {
		if (results->findings[i].status != LP_FOUND_KNOWN)
			continue;
		goroutines += results->findings[i].site->count;
		sites++;
	}
	if (sites)
		fprintf(file,
			"leakprof: %" PRIu64 " goroutine%s at %zu site%s known to the baseline\n",
			goroutines, goroutines == 1 ? "" : "s", sites,
			sites == 1 ? " is" : "s are");
}

static void write_suppressions(const struct lp_results *results, FILE *file)
{
	const struct lp_rules *rules = results->rules;
	bool head = false;
	size_t i;

	for (i = 0; i < rules->count; i++) {
		const struct lp_rule *rule = &rules->rules[i];

		if (!rule->goroutines)
			continue;
		if (!head)
			fputs("leakprof: suppressions used:\n  goroutines      bytes  rule\n",
			      file);
		head = true;
		fprintf(file, "  %10" PRIu64 " %10" PRIu64 "  %s  (%s:%u)\n", rule->goroutines,
			rule->bytes, rule->text, rule->origin, rule->line);
	}
	for (i = 0; i < rules->count; i++)
		if (!rules->rules[i].goroutines)
			fprintf(file, "leakprof: warning: %s:%u: %s suppressed nothing\n",
				rules->rules[i].origin, rules->rules[i].line, rules->rules[i].text);
}

static void write_warnings(const struct lp_report *report, FILE *file)
{
	size_t i;

	for (i = 0; i < report->note_count; i++)
		if (report->notes[i].severity >= LP_NOTE_WARNING && !lp_report_unmeasured(report))
			fprintf(file, "leakprof: warning: %s\n", report->notes[i].text);
}

/* The last line: what came out. */
static void write_verdict(const struct lp_results *results, FILE *file)
{
	uint64_t created = 0;
	size_t measured = 0;
	size_t i;

	for (i = 0; i < results->report_count; i++) {
		created += results->reports[i]->figures[LP_FIG_CREATED];
		measured += !lp_report_unmeasured(results->reports[i]);
	}
	if (results->unmeasured)
		fprintf(file, "leakprof: ERROR: nothing measured: %s\n", results->unmeasured);
	if (results->failing)
		fprintf(file, "leakprof: %" PRIu64 " goroutine%s %s\n", results->failing_goroutines,
			results->failing_goroutines == 1 ? "" : "s",
			is_alive_mode(results) ? "still there" : "leaked");
	else if (!results->unmeasured)
		fprintf(file,
			"leakprof: no %sleaks (%" PRIu64 " goroutine%s created in %zu process%s)\n",
			results->finding_count ? "new " : "", created, created == 1 ? "" : "s",
			measured, measured == 1 ? "" : "es");
}

int lp_format_text(const struct lp_results *results, FILE *file)
{
	size_t i;

	for (i = 0; i < results->report_count; i++)
		write_process(results, results->reports[i], file);
	write_known(results, file);
	write_suppressions(results, file);
	for (i = 0; i < results->report_count; i++)
		write_warnings(results->reports[i], file);
	write_verdict(results, file);
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}
