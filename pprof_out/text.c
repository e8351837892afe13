/* SPDX-License-Identifier: MIT */
/*
 * Go's text forms of a goroutine profile, as runtime/pprof writes them: debug=1 (countProfile in
 * pprof.go: records by count, columns aligned as text/tabwriter does with tabs of 8) and debug=2
 * (runtime.Stack).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "pp_profile.h"

#define TAB 8
#define COLUMNS 4 /* "#", address, function, file:line */

static int result(FILE *file)
{
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}

/* As Go's %q of a plain string, and as its labels are printed. */
static void write_quoted(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(file, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", file);
		else if (c == '\t')
			fputs("\\t", file);
		else if (c < ' ' || c == 0x7f)
			fprintf(file, "\\x%02x", c);
		else
			fputc(c, file);
	}
	fputc('"', file);
}

/* --- debug=1 --- */

struct row {
	char *cells[COLUMNS];
};

struct table {
	struct row *rows;
	size_t count;
	bool failed;
};

static void add_row(struct table *table, char *address, char *function, char *place)
{
	struct row *larger = realloc(table->rows, (table->count + 1) * sizeof(*larger));

	if (!larger || !address || !function || !place) {
		table->failed = true;
		free(address);
		free(function);
		free(place);
		if (larger)
			table->rows = larger;
		return;
	}
	table->rows = larger;
	table->rows[table->count++] = (struct row){{"#", address, function, place}};
}

static void free_table(struct table *table)
{
	size_t i;
	size_t j;

	for (i = 0; i < table->count; i++)
		for (j = 1; j < COLUMNS; j++)
			free(table->rows[i].cells[j]);
	free(table->rows);
}

/* Each column but the last is as wide as its longest cell and one more, rounded up to whole tabs.
 */
static void write_table(FILE *file, const struct table *table)
{
	size_t i;
	size_t j;

	for (i = 0; i < table->count; i++) {
		for (j = 0; j < COLUMNS; j++) {
			size_t width = 0;
			size_t length = strlen(table->rows[i].cells[j]);
			size_t k;

			fputs(table->rows[i].cells[j], file);
			for (k = 0; k < table->count; k++)
				if (strlen(table->rows[k].cells[j]) > width)
					width = strlen(table->rows[k].cells[j]);
			width = (width + TAB) / TAB * TAB;
			for (; j + 1 < COLUMNS && length < width;
			     length = (length + TAB) / TAB * TAB)
				fputc('\t', file);
		}
		fputc('\n', file);
	}
}

static char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *pattern, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, pattern);
	if (vasprintf(&text, pattern, arguments) < 0)
		text = NULL;
	va_end(arguments);
	return text;
}

struct debug1 {
	FILE *file;
	const pp_profile *profile;
	int64_t (*offset)(void *context, const Perftools__Profiles__Location *location,
			  size_t line);
	void *context;
};

static void add_lines(struct debug1 *debug, struct table *table,
		      const Perftools__Profiles__Location *location)
{
	size_t i;

	if (!location->n_line)
		add_row(table, format("0x%" PRIx64, location->address), format("?"), format("?"));
	for (i = 0; i < location->n_line; i++) {
		const Perftools__Profiles__Line *line = location->line[i];
		const Perftools__Profiles__Function *function =
			debug->profile->function[line->function_id - 1];
		int64_t offset = debug->offset ? debug->offset(debug->context, location, i) : -1;
		const char *name = pp_string(debug->profile, function->name);
		const char *place = pp_string(debug->profile, function->filename);

		add_row(table, format("0x%" PRIx64, location->address),
			offset < 0 ? format("%s", name) : format("%s+0x%" PRIx64, name, offset),
			format("%s:%" PRId64, *place ? place : "?", line->line));
	}
}

static int by_key(const void *a, const void *b)
{
	const struct pp_label *x = a;
	const struct pp_label *y = b;

	return strcmp(x->key, y->key);
}

static int write_labels(struct debug1 *debug, const Perftools__Profiles__Sample *sample)
{
	struct pp_label *labels = calloc(sample->n_label, sizeof(*labels));
	size_t n = 0;
	size_t i;

	if (!labels)
		return -ENOMEM;
	for (i = 0; i < sample->n_label; i++)
		if (sample->label[i]->str)
			labels[n++] =
				(struct pp_label){pp_string(debug->profile, sample->label[i]->key),
						  pp_string(debug->profile, sample->label[i]->str)};
	qsort(labels, n, sizeof(*labels), by_key);
	for (i = 0; i < n; i++) {
		fputs(i ? ", " : "# labels: {", debug->file);
		write_quoted(debug->file, labels[i].key);
		fputc(':', debug->file);
		write_quoted(debug->file, labels[i].value);
	}
	if (n)
		fputs("}\n", debug->file);
	free(labels);
	return 0;
}

static int write_sample(struct debug1 *debug, const Perftools__Profiles__Sample *sample)
{
	struct table table = {0};
	size_t i;
	int r = 0;

	fprintf(debug->file, "%" PRId64 " @", sample->value[0]);
	for (i = 0; i < sample->n_location_id; i++) {
		const Perftools__Profiles__Location *location =
			debug->profile->location[sample->location_id[i] - 1];

		fprintf(debug->file, " 0x%" PRIx64, location->address + 1);
		add_lines(debug, &table, location);
	}
	fputc('\n', debug->file);
	if (sample->n_label)
		r = write_labels(debug, sample);
	write_table(debug->file, &table);
	fputc('\n', debug->file);
	if (table.failed)
		r = -ENOMEM;
	free_table(&table);
	return r;
}

static int by_count(const void *a, const void *b)
{
	const Perftools__Profiles__Sample *const *x = a;
	const Perftools__Profiles__Sample *const *y = b;

	return ((*x)->value[0] < (*y)->value[0]) - ((*x)->value[0] > (*y)->value[0]);
}

int pp_write_debug1(FILE *file, const pp_profile *profile, const char *name,
		    int64_t (*offset)(void *context, const Perftools__Profiles__Location *location,
				      size_t line),
		    void *context)
{
	struct debug1 debug = {file, profile, offset, context};
	Perftools__Profiles__Sample **samples = calloc(profile->n_sample + 1, sizeof(*samples));
	int64_t total = 0;
	size_t i;
	int r = 0;

	if (!samples)
		return -ENOMEM;
	for (i = 0; i < profile->n_sample; i++) {
		samples[i] = profile->sample[i];
		total += samples[i]->value[0];
	}
	qsort(samples, profile->n_sample, sizeof(*samples), by_count);
	fprintf(file, "%s profile: total %" PRId64 "\n", name, total);
	for (i = 0; !r && i < profile->n_sample; i++)
		r = write_sample(&debug, samples[i]);
	free(samples);
	return r ? r : result(file);
}

/* --- debug=2 --- */

static void write_place(FILE *file, const struct pp_frame *frame)
{
	fprintf(file, "\t%s:%" PRId64, frame->file && *frame->file ? frame->file : "?",
		frame->line);
	if (frame->offset >= 0 && !frame->inlined)
		fprintf(file, " +0x%" PRIx64, frame->offset);
	fputc('\n', file);
}

static void write_header(FILE *file, const struct pp_goroutine *goroutine)
{
	size_t i;

	fprintf(file, "goroutine %" PRIu64 " [%s", goroutine->id, goroutine->state);
	if (goroutine->leaked)
		fputs(" (leaked)", file);
	if (goroutine->minutes >= 1)
		fprintf(file, ", %" PRId64 " minutes", goroutine->minutes);
	fputc(']', file);
	for (i = 0; i < goroutine->label_count; i++)
		fprintf(file, "%s%s: %s", i ? ", " : " {", goroutine->labels[i].key,
			goroutine->labels[i].value);
	fputs(i ? "}:\n" : ":\n", file);
}

int pp_write_debug2(FILE *file, const struct pp_goroutine *goroutine)
{
	size_t i;

	write_header(file, goroutine);
	for (i = 0; i < goroutine->frame_count; i++) {
		/* Arguments are not known; Go writes the same for an inlined function. */
		fprintf(file, "%s(...)\n", goroutine->frames[i].function);
		write_place(file, &goroutine->frames[i]);
	}
	if (goroutine->created_by.function) {
		fprintf(file, "created by %s", goroutine->created_by.function);
		if (goroutine->creator)
			fprintf(file, " in goroutine %" PRIu64, goroutine->creator);
		fputc('\n', file);
		write_place(file, &goroutine->created_by);
	}
	fputc('\n', file);
	return result(file);
}
