/* SPDX-License-Identifier: MIT */
/*
 * The baseline of leak checks: a profile of what is known. Checks of several programs may update
 * one file at the same time: the folder is locked meanwhile. At each site the baseline keeps the
 * most that any check found.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cli/cli.h"
#include "report/compare.h"
#include "report/results.h"

int lp_baseline_load(const char *path, bool update, struct lp_report **baseline)
{
	*baseline = NULL;
	if (update && access(path, F_OK) && errno == ENOENT)
		return LP_EXIT_OK;
	return lp_load_file(path, baseline);
}

/* A descriptor that holds the lock, or -errno. */
static int lock_folder(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int r = fd < 0 ? -errno : 0;

	free(copy);
	while (!r && flock(fd, LOCK_EX))
		if (errno != EINTR)
			r = -errno;
	if (r && fd >= 0)
		close(fd);
	return r ? r : fd;
}

static int add_all(struct lp_tally **tallies, const struct lp_report *known,
		   const struct lp_results *results)
{
	size_t i;

	if (lp_tally_add_report(tallies, LP_BEFORE, known))
		return -ENOMEM;
	for (i = 0; i < results->finding_count; i++) {
		const struct lp_finding *finding = &results->findings[i];

		if (finding->status != LP_FOUND_SUPPRESSED &&
		    !lp_tally_add(tallies, LP_AFTER, finding->report, finding->site))
			return -ENOMEM;
	}
	return 0;
}

static int update(const char *path, const struct lp_results *results)
{
	struct lp_tally *tallies = NULL;
	struct lp_report *known;
	void *data = NULL;
	size_t size;
	int code = lp_baseline_load(path, true, &known);

	if (code)
		return code;
	if (add_all(&tallies, known, results) ||
	    lp_most_profile(tallies, results->reports[0], &data, &size))
		code = lp_fail(LP_EXIT_FAILED, "there is not enough memory for the baseline");
	else
		code = lp_write_file(path, data, size);
	free(data);
	lp_tally_free(&tallies);
	lp_report_free(known);
	return code;
}

int lp_baseline_update(const char *path, const struct lp_results *results)
{
	int lock = lock_folder(path);
	int code;

	if (lock < 0)
		return lp_fail(LP_EXIT_OUTPUT, "the folder of %s cannot be locked: %s", path,
			       strerror(-lock));
	code = update(path, results);
	close(lock);
	return code;
}
