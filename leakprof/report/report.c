/* SPDX-License-Identifier: MIT */
/*
 * A report's memory, and where to load one from. See report.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "core/options.h"
#include "core/stream_names.h"
#include "core/stream_read.h"
#include "report/report.h"

struct lp_place {
	uint64_t address;
	struct lp_location location;
	UT_hash_handle hh;
};

void *lp_report_alloc(struct lp_report *report, size_t size)
{
	size_t n = report->kept_count;
	void *memory;

	if ((n & (n - 1)) == 0) {
		void **larger = realloc(report->kept, (n ? 2 * n : 1) * sizeof(*larger));

		if (!larger)
			return NULL;
		report->kept = larger;
	}
	memory = calloc(1, size ? size : 1);
	if (memory)
		report->kept[report->kept_count++] = memory;
	return memory;
}

const char *lp_report_keep(struct lp_report *report, const char *text)
{
	char *copy = lp_report_alloc(report, strlen(text) + 1);

	return copy ? strcpy(copy, text) : "";
}

const struct lp_location *lp_report_find(const struct lp_report *report, uint64_t address)
{
	struct lp_place *place;

	HASH_FIND(hh, report->places, &address, sizeof(address), place);
	return place ? &place->location : NULL;
}

struct lp_location *lp_report_location(struct lp_report *report, uint64_t address,
				       void (*make)(void *context, struct lp_location *location),
				       void *context)
{
	struct lp_place *place;

	HASH_FIND(hh, report->places, &address, sizeof(address), place);
	if (place)
		return &place->location;
	place = lp_report_alloc(report, sizeof(*place));
	if (!place)
		return NULL;
	place->address = address;
	place->location.address = address;
	place->location.number = report->place_count++;
	place->location.mapping = LP_NONE;
	make(context, &place->location);
	HASH_ADD(hh, report->places, address, sizeof(address), place);
	return &place->location;
}

const struct lp_frame *lp_site_frame(const struct lp_site *site)
{
	size_t i;

	for (i = 0; i < site->location_count; i++)
		if (!site->locations[i]->runtime && site->locations[i]->frame_count)
			return &site->locations[i]->frames[0];
	return NULL;
}

static int by_count(const void *a, const void *b)
{
	const struct lp_site *x = a;
	const struct lp_site *y = b;
	uint64_t bytes_x = x->stack_bytes + x->heap_bytes;
	uint64_t bytes_y = y->stack_bytes + y->heap_bytes;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return (bytes_x < bytes_y) - (bytes_x > bytes_y);
}

int lp_report_load_as(struct lp_report **result, const struct lp_load *how, const void *data,
		      size_t size, const char **reason)
{
	struct lp_report *report = calloc(1, sizeof(*report));
	int r;

	*result = NULL;
	if (!report)
		return -ENOMEM;
	report->program = report->cmdline = report->version = "";
	report->suppressions[0] = report->suppressions[1] = "";
	if (lp_stream_is(data, size))
		r = lp_report_load_raw(report, how, data, size, reason);
	else
		r = lp_report_load_profile(report, how, data, size, reason);
	if (r) {
		lp_report_free(report);
		return r;
	}
	/* A raw report's goroutines refer to sites by number: it sorts them itself. */
	if (report->from_profile && report->site_count)
		qsort(report->sites, report->site_count, sizeof(*report->sites), by_count);
	*result = report;
	return 0;
}

int lp_report_load(struct lp_report **report, const void *data, size_t size, const char *debug_path,
		   const char **reason)
{
	const struct lp_load how = {LP_PROFILE_LEAK, debug_path, NULL};

	return lp_report_load_as(report, &how, data, size, reason);
}

void lp_report_free(struct lp_report *report)
{
	size_t i;

	if (!report)
		return;
	HASH_CLEAR(hh, report->places);
	for (i = 0; i < report->kept_count; i++)
		free(report->kept[i]);
	free(report->kept);
	free(report);
}

static const char *const profile_names[] = {"goroutineleak", "goroutineleak", "goroutine"};

const char *lp_profile_name(enum lp_profile profile)
{
	return profile_names[profile];
}

enum lp_profile lp_profile_find(const char *name)
{
	size_t i;

	for (i = LP_PROFILE_GOROUTINE; i > LP_PROFILE_STORED; i--)
		if (!strcmp(name, profile_names[i]))
			break;
	return (enum lp_profile)i;
}

uint64_t lp_report_total(const struct lp_report *report)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < report->site_count; i++)
		total += report->sites[i].count;
	return total;
}

uint64_t lp_report_leaked(const struct lp_report *report)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < report->site_count; i++)
		total += report->sites[i].leaked ? report->sites[i].count : 0;
	return total;
}

const char *lp_report_unmeasured(const struct lp_report *report)
{
	size_t i;

	for (i = 0; report->measured == LP_MEASURED_FAILED && i < report->note_count; i++)
		if (report->notes[i].severity == LP_NOTE_ERROR)
			return report->notes[i].text;
	return lp_measured_reason(report->measured);
}

void lp_report_name(const struct lp_report *report, const char *pattern, char *name, size_t size)
{
	const char *program = strrchr(report->program, '/');

	lp_options_expand(pattern, report->pid, report->serial,
			  program ? program + 1 : report->program, report->time_ns / 1000000000u,
			  name, size);
}
