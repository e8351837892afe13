/* SPDX-License-Identifier: MIT */
/*
 * Damaged snapshots and profiles: fuzz_report COUNT FILE... reads each FILE COUNT times with seeded
 * damage (flipped bits, cuts, copied pieces), as a report would be read and printed. Built with
 * ASan and UBSan; a fault is the failure. Checksums are mended in half of the cases, as damage
 * behind them is where the bugs are.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/stream.h"
#include "report/rank.h"
#include "report/report.h"
#include "report/suspects.h"

static uint64_t seed = 88172645463325252u;

static size_t pick(size_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return below ? (size_t)(seed % below) : 0;
}

static void mend(unsigned char *data, size_t size)
{
	size_t at = sizeof(struct lp_stream_head);

	while (size > at && size - at >= sizeof(struct lp_section_head)) {
		struct lp_section_head head;

		memcpy(&head, data + at, sizeof(head));
		if (head.length > size - at - sizeof(head))
			return;
		head.crc = (uint32_t)crc32_z(0, data + at + sizeof(head), head.length);
		memcpy(data + at, &head, sizeof(head));
		at += sizeof(head) + ((head.length + 7) & ~7ull);
	}
}

static size_t damage(unsigned char *data, size_t size)
{
	size_t n = pick(8) + 1;

	while (n-- > 0 && size > 32) {
		switch (pick(4)) {
		case 0:
			data[pick(size)] ^= (unsigned char)(1u << pick(8));
			break;
		case 1:
			data[pick(size)] = pick(2) ? 0xff : 0;
			break;
		case 2:
			memmove(data + pick(size - 16), data + pick(size - 16), pick(16));
			break;
		case 3:
			size -= pick(2) ? 0 : pick(size / 4);
		}
	}
	return size;
}

static void read_suspects(const struct lp_report *report, FILE *null)
{
	const struct lp_suspect_rules all = {1, 1, 1};
	struct lp_suspects suspects = {.report = NULL};
	void *data;
	size_t size;

	if (!lp_suspects_find(&suspects, report, report, &all)) {
		lp_suspects_text(&suspects, null, true);
		lp_suspects_json(&suspects, null);
		if (!lp_suspects_profile(&suspects, &data, &size))
			free(data);
	}
	lp_suspects_free(&suspects);
}

static void rank(const struct lp_report *report, FILE *null)
{
	const struct lp_rank_limits all = {0, 0};
	struct lp_ranking ranking = {.sites = NULL};

	if (!lp_ranking_add(&ranking, report, "damaged")) {
		lp_ranking_finish(&ranking);
		lp_ranking_text(&ranking, &all, null);
		lp_ranking_json(&ranking, &all, null);
	}
	lp_ranking_free(&ranking);
}

static void read_report(const void *data, size_t size, FILE *null)
{
	const struct lp_load how = {.profile = (enum lp_profile)pick(LP_PROFILE_GOROUTINE + 1)};
	struct lp_report *report;
	const char *reason;

	if (lp_report_load_as(&report, &how, data, size, &reason))
		return;
	lp_report_text(report, null, true);
	lp_report_info(report, null);
	lp_report_debug(report, null, 1);
	lp_report_debug(report, null, 2);
	read_suspects(report, null);
	rank(report, null);
	lp_report_free(report);
}

static int fuzz(const char *path, long count, FILE *null)
{
	FILE *file = fopen(path, "rb");
	unsigned char *original = malloc(1 << 24);
	unsigned char *data = malloc(1 << 24);
	size_t size;

	if (!file || !original || !data)
		return 1;
	size = fread(original, 1, 1 << 24, file);
	fclose(file);
	while (count-- > 0) {
		size_t n;

		memcpy(data, original, size);
		n = damage(data, size);
		if (count & 1)
			mend(data, n);
		read_report(data, n, null);
	}
	free(original);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	FILE *null = fopen("/dev/null", "w");
	int failed = argc < 3 || !null;
	int i;

	for (i = 2; i < argc && !failed; i++)
		failed = fuzz(argv[i], atol(argv[1]), null);
	if (null)
		fclose(null);
	return failed;
}
