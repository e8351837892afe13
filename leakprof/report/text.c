/* SPDX-License-Identifier: MIT */
/*
 * A report as text: for a person, in Go's two forms, and what was measured (info).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/stream_names.h"
#include "pp_profile.h"
#include "report/report.h"

#define BOLD "\033[1m"
#define RED "\033[31m"
#define PLAIN "\033[0m"

static int result(FILE *file)
{
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void write_bytes(FILE *file, uint64_t bytes)
{
	if (bytes < 10240)
		fprintf(file, "%" PRIu64 " B", bytes);
	else if (bytes < 10ull << 20)
		fprintf(file, "%.1f KiB", (double)bytes / 1024);
	else if (bytes < 10ull << 30)
		fprintf(file, "%.1f MiB", (double)bytes / (1 << 20));
	else
		fprintf(file, "%.1f GiB", (double)bytes / (1 << 30));
}

static void write_duration(FILE *file, uint64_t nanoseconds)
{
	uint64_t seconds = nanoseconds / 1000000000u;

	if (nanoseconds < 1000000)
		fprintf(file, "%.0f us", (double)nanoseconds / 1e3);
	else if (nanoseconds < 1000000000u)
		fprintf(file, "%.1f ms", (double)nanoseconds / 1e6);
	else if (seconds < 120)
		fprintf(file, "%.1f s", (double)nanoseconds / 1e9);
	else if (seconds < 7200)
		fprintf(file, "%" PRIu64 " minutes", seconds / 60);
	else
		fprintf(file, "%" PRIu64 " hours", seconds / 3600);
}

/* --- For a person --- */

static uint64_t total_of(const struct lp_report *report, enum lp_figure figure)
{
	return report->figures[figure];
}

/* "12 goroutines at 5 sites: 1 running, 8 waiting, 3 IO wait; 4 of them leaked" */
static void write_states(const struct lp_report *report, FILE *file)
{
	uint64_t total = lp_report_total(report);
	const char *gap = ": ";
	uint32_t state;

	fprintf(file, "%" PRIu64 " goroutine%s at %zu site%s", total, plural(total),
		report->site_count, plural(report->site_count));
	for (state = LP_STATE_RUNNING; state <= LP_STATE_SLEEP; state++) {
		if (!report->states[state])
			continue;
		fprintf(file, "%s%" PRIu64 " %s", gap, report->states[state], lp_state_name(state));
		gap = ", ";
	}
	fprintf(file, "; %" PRIu64 " of them leaked\n", lp_report_leaked(report));
}

int lp_report_summary(const struct lp_report *report, FILE *file)
{
	uint64_t leaked = lp_report_leaked(report);
	uint64_t live = total_of(report, LP_FIG_GOROUTINES) - total_of(report, LP_FIG_LEAKED);
	const char *unmeasured = lp_report_unmeasured(report);

	if (unmeasured)
		fprintf(file, "nothing measured: %s\n", unmeasured);
	else if (report->profile == LP_PROFILE_GOROUTINE)
		write_states(report, file);
	else if (leaked)
		fprintf(file,
			"%" PRIu64 " leaked goroutine%s at %zu site%s (%" PRIu64 " live, %" PRIu64
			" ever created)\n",
			leaked, plural(leaked), report->site_count, plural(report->site_count),
			live, total_of(report, LP_FIG_CREATED));
	else if (total_of(report, LP_FIG_UNCONFIRMED))
		fprintf(file,
			"no leak confirmed yet: %" PRIu64
			" wait%s for another snapshot (confirm=%" PRIu64 ")\n",
			total_of(report, LP_FIG_UNCONFIRMED),
			total_of(report, LP_FIG_UNCONFIRMED) == 1 ? "s" : "",
			total_of(report, LP_FIG_CONFIRM));
	else
		fprintf(file,
			"no leaks (%" PRIu64 " goroutine%s live, %" PRIu64 " ever created, %" PRIu64
			" finished)\n",
			live, plural(live), total_of(report, LP_FIG_CREATED),
			total_of(report, LP_FIG_FINISHED));
	return result(file);
}

static void write_frame(FILE *file, const struct lp_frame *frame, uint64_t address)
{
	fprintf(file, "    %s", frame->function);
	if (*frame->file)
		fprintf(file, "  %s:%" PRId64, frame->file, frame->line);
	else
		fprintf(file, "  0x%" PRIx64, address);
	if (frame->inlined)
		fputs(" (inlined)", file);
	fputc('\n', file);
}

/* ALL: live ones stand between. */
void lp_site_text(const struct lp_site *site, bool all, FILE *file, bool colour)
{
	const char *start = !colour ? "" : site->leaked ? BOLD RED : BOLD;
	size_t i;
	size_t j;

	fprintf(file, "\n%s%" PRIu64 " goroutine%s [%s%s]%s", start, site->count,
		plural(site->count), *site->wait ? site->wait : "waiting",
		site->leaked && all ? " (leaked)" : "", colour ? PLAIN : "");
	if (site->oldest_ns) {
		fputs(", waiting for ", file);
		write_duration(file, site->oldest_ns);
	}
	fputs(", holding ", file);
	write_bytes(file, site->stack_bytes + site->heap_bytes);
	fputs(" (stack ", file);
	write_bytes(file, site->stack_bytes);
	fputs(", heap ", file);
	write_bytes(file, site->heap_bytes);
	fputs(")\n", file);
	for (i = 0; i < site->location_count; i++)
		for (j = 0; j < site->locations[i]->frame_count; j++)
			write_frame(file, &site->locations[i]->frames[j],
				    site->locations[i]->address);
	for (i = 0; i < site->label_count; i++)
		fprintf(file, "%s%s=%s%s", i ? ", " : "  labels ", site->labels[i].key,
			site->labels[i].value, i + 1 < site->label_count ? "" : "\n");
	if (site->creator.function)
		fprintf(file, "  created by %s  %s:%" PRId64 "\n", site->creator.function,
			*site->creator.file ? site->creator.file : "?", site->creator.line);
}

static void write_notes(const struct lp_report *report, FILE *file)
{
	static const char *const words[] = {"note", "note", "warning", "error"};
	const char *said = lp_report_unmeasured(report);
	const char *gap = "\n";
	size_t i;

	for (i = 0; i < report->note_count; i++) {
		unsigned severity = report->notes[i].severity;

		if (report->notes[i].text == said)
			continue;
		fprintf(file, "%s%s: %s\n", gap, words[severity < 4 ? severity : 1],
			report->notes[i].text);
		gap = "";
	}
}

static void write_time(FILE *file, uint64_t nanoseconds)
{
	time_t seconds = (time_t)(nanoseconds / 1000000000u);
	struct tm local;
	char text[64];

	if (localtime_r(&seconds, &local) &&
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local))
		fputs(text, file);
}

void lp_report_head(const struct lp_report *report, FILE *file)
{
	fprintf(file, "%s (PID %" PRIu32 "), %s, ", *report->program ? report->program : "?",
		report->pid, lp_trigger_name(report->trigger));
	write_time(file, report->time_ns);
	fputc('\n', file);
}

int lp_report_text(const struct lp_report *report, FILE *file, bool colour)
{
	size_t i;

	lp_report_head(report, file);
	for (i = 0; i < report->runtime_count; i++)
		fprintf(file, "%s: %" PRIu64 " created, %" PRIu64 " finished\n",
			report->runtimes[i].name, report->runtimes[i].created,
			report->runtimes[i].finished);
	lp_report_summary(report, file);
	for (i = 0; i < report->site_count; i++)
		lp_site_text(&report->sites[i], report->profile == LP_PROFILE_GOROUTINE, file,
			     colour);
	write_notes(report, file);
	return result(file);
}

/* --- Go's forms --- */

static int write_goroutine(const struct lp_report *report,
			   const struct lp_report_goroutine *goroutine, FILE *file)
{
	const struct lp_site *site = &report->sites[goroutine->site];
	struct pp_goroutine text = {.id = goroutine->id,
				    .state = *site->wait ? site->wait : "waiting",
				    .leaked = site->leaked,
				    .minutes = (int64_t)(goroutine->waited_ns / 60000000000u),
				    .creator = goroutine->creator};
	struct pp_frame *frames;
	size_t count = 0;
	size_t i;
	size_t j;
	int r;

	for (i = 0; i < site->location_count; i++)
		count += site->locations[i]->frame_count;
	frames = calloc(count + 1, sizeof(*frames));
	if (!frames)
		return -ENOMEM;
	for (i = 0; i < site->location_count; i++) {
		for (j = 0; j < site->locations[i]->frame_count; j++) {
			const struct lp_frame *frame = &site->locations[i]->frames[j];

			/* Go's offset is that of the return address. */
			frames[text.frame_count++] = (struct pp_frame){
				frame->function, frame->file, frame->line,
				frame->offset < 0 ? -1 : frame->offset + 1, frame->inlined};
		}
	}
	text.frames = frames;
	if (site->creator.function)
		text.created_by = (struct pp_frame){
			site->creator.function, site->creator.file, site->creator.line,
			site->creator.offset < 0 ? -1 : site->creator.offset + 1, false};
	r = pp_write_debug2(file, &text);
	free(frames);
	return r;
}

int lp_report_debug(const struct lp_report *report, FILE *file, int level)
{
	size_t i;
	int r = 0;

	if (level == 1)
		return lp_report_write_debug1(report, file);
	if (report->from_profile)
		return -ENOTSUP;
	for (i = 0; !r && i < report->goroutine_count; i++)
		r = write_goroutine(report, &report->goroutines[i], file);
	return r ? r : result(file);
}

/* --- Info --- */

static void write_figures(const struct lp_report *report, FILE *file)
{
	size_t i;

	fputs("\nFigures\n", file);
	for (i = 0; i < lp_figure_name_count; i++) {
		const struct lp_figure_name *name = &lp_figure_names[i];
		uint64_t value = report->figures[name->key];

		fprintf(file, "  %-34s ", name->text);
		if (name->unit == LP_UNIT_BYTES)
			write_bytes(file, value);
		else if (name->unit == LP_UNIT_NANOSECONDS)
			write_duration(file, value);
		else
			fprintf(file, "%" PRIu64, value);
		fputc('\n', file);
	}
}

int lp_report_info(const struct lp_report *report, FILE *file)
{
	size_t i;

	fprintf(file, "Program   %s (PID %" PRIu32 ")\nCommand   %s\n", report->program,
		report->pid, report->cmdline);
	fprintf(file, "Snapshot  number %" PRIu32 ", %s, by leakprof %s, ", report->serial,
		lp_trigger_name(report->trigger), report->version);
	write_time(file, report->time_ns);
	if (report->start_ns && report->start_ns < report->time_ns) {
		fputs(", after ", file);
		write_duration(file, report->time_ns - report->start_ns);
	}
	fputs("\nResult    ", file);
	lp_report_summary(report, file);
	fputs("\nRuntimes\n", file);
	for (i = 0; i < report->runtime_count; i++)
		fprintf(file, "  %-15s %" PRIu64 " created, %" PRIu64 " finished  %s\n",
			report->runtimes[i].name, report->runtimes[i].created,
			report->runtimes[i].finished, report->runtimes[i].path);
	if (!report->runtime_count)
		fputs("  none\n", file);
	fputs("\nGoroutines by state\n", file);
	for (i = LP_STATE_RUNNING; i <= LP_STATE_SLEEP; i++)
		fprintf(file, "  %-15s %" PRIu64 "\n", lp_state_name((uint32_t)i),
			report->states[i]);
	write_figures(report, file);
	fputs("\nMappings\n", file);
	for (i = 0; i < report->mapping_count; i++)
		fprintf(file, "  %012" PRIx64 "-%012" PRIx64 " %-40s %s\n",
			report->mappings[i].start, report->mappings[i].end,
			report->mappings[i].build_id, report->mappings[i].path);
	write_notes(report, file);
	return result(file);
}
