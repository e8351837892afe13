/* SPDX-License-Identifier: MIT */
/*
 * judge RAW < EXPECTATIONS        compares the verdicts of a raw snapshot with what oracle.c
 * expects, goroutine by goroutine in the order of their creation. Prints each difference and LIVE
 * REPORTED LEAKED HIDDEN EXPLAINED REPORTED of the live are false positives. HIDDEN of the leaked
 * were missed, EXPLAINED of these by a link of a queue (oracle.h). Exits 1 where there are
 * differences, 2 when the two cannot be compared.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stream_read.h"

static int by_id(const void *a, const void *b)
{
	const struct lp_raw_goroutine *x = a;
	const struct lp_raw_goroutine *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "re");
	char *data = NULL;
	long end;

	if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0)
		return NULL;
	rewind(file);
	data = malloc((size_t)end + 1);
	*size = data ? fread(data, 1, (size_t)end, file) : 0;
	fclose(file);
	return data;
}

/* Those that oracle.c made, in the order of their creation. Returns how many. */
static size_t made_by_oracle(const struct lp_stream *stream, struct lp_raw_goroutine *found)
{
	size_t count = 0;
	size_t i;

	for (i = 0; i < stream->goroutine_count; i++)
		if (!(stream->goroutines[i].flags & LP_G_MAIN))
			found[count++] = stream->goroutines[i];
	qsort(found, count, sizeof(*found), by_id);
	return count;
}

struct counts {
	unsigned long live, reported, leaked, hidden, explained;
};

/* Counts one goroutine and prints it where the two differ. */
static void compare(struct counts *counts, const char *expected, const char *what,
		    const struct lp_raw_goroutine *found)
{
	bool leaked = found->verdict == LP_LEAKED;

	if (!strcmp(expected, "live")) {
		counts->live++;
		counts->reported += leaked;
		if (leaked)
			printf("REPORTED %s (goroutine %" PRIu64 ")\n", what, found->id);
		return;
	}
	counts->leaked++;
	counts->hidden += !leaked;
	if (leaked)
		return;
	if (!strcmp(expected, "linked"))
		counts->explained++;
	else
		printf("HIDDEN %s (goroutine %" PRIu64 ")\n", what, found->id);
}

int main(int argc, char **argv)
{
	struct counts counts = {0};
	struct lp_stream stream;
	struct lp_raw_goroutine *found;
	const char *reason = "no such file";
	char line[256];
	size_t size;
	size_t count;
	size_t i = 0;
	void *data = argc == 2 ? read_file(argv[1], &size) : NULL;

	if (!data || lp_stream_read(&stream, data, size, &reason)) {
		fprintf(stderr, "usage: judge RAW < EXPECTATIONS (%s)\n", reason);
		return 2;
	}
	found = calloc(stream.goroutine_count + 1, sizeof(*found));
	if (!found)
		return 2;
	count = made_by_oracle(&stream, found);
	while (fgets(line, sizeof(line), stdin)) {
		char expected[16];
		char what[200];

		if (sscanf(line, "EXPECT %15s %199[^\n]", expected, what) != 2)
			continue;
		if (i < count)
			compare(&counts, expected, what, &found[i]);
		i++;
	}
	if (i != count || stream.process.measured != LP_MEASURED) {
		fprintf(stderr,
			"judge: %zu goroutines in the snapshot, %zu expected, measured %u\n", count,
			i, stream.process.measured);
		return 2;
	}
	printf("%lu %lu %lu %lu %lu\n", counts.live, counts.reported, counts.leaked, counts.hidden,
	       counts.explained);
	return counts.reported || counts.hidden > counts.explained;
}
