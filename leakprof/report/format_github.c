/* SPDX-License-Identifier: MIT */
/*
 * The result of a check as workflow commands of GitHub Actions, which make annotations of them. Ten
 * of a kind are shown a step: the biggest leaks, the last one of ten saying how many more there
 * are.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/format.h"
#include "report/results.h"

#define SHOWN_MAX 10

/* TEXT as data of a command; as a PROPERTY : and , are escaped too. */
static void write_escaped(FILE *file, const char *text, bool property)
{
	char *clean = lp_clean_text(text);
	const char *at;

	for (at = clean; at && *at; at++) {
		if (*at == '%' || *at == '\n' || *at == '\r' ||
		    (property && (*at == ':' || *at == ',')))
			fprintf(file, "%%%02X", (unsigned char)*at);
		else
			fputc(*at, file);
	}
	free(clean);
}

static void write_stack(const struct lp_site *site, FILE *file)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return;
	lp_site_text(site, false, stream, false);
	fclose(stream);
	/* Behind the empty line that a site begins with. */
	write_escaped(file, text + 1, false);
	free(text);
}

static void write_error(const struct lp_results *results, const struct lp_finding *finding,
			const char *root, FILE *file)
{
	const struct lp_frame *frame = lp_site_frame(finding->site);
	char title[1024];

	lp_finding_title(finding, results->mode, title, sizeof(title));
	fputs("::error ", file);
	if (frame && *frame->file) {
		fputs("file=", file);
		write_escaped(file, lp_relative_path(frame->file, root), true);
		fprintf(file, ",line=%" PRId64 ",", frame->line);
	}
	fputs("title=", file);
	write_escaped(file, title, true);
	fputs("::", file);
	write_stack(finding->site, file);
	fputc('\n', file);
}

int lp_format_github(const struct lp_results *results, FILE *file)
{
	const char *workspace = getenv("GITHUB_WORKSPACE");
	char *root = workspace ? strdup(workspace) : getcwd(NULL, 0);
	size_t shown = results->failing > SHOWN_MAX ? SHOWN_MAX - 1 : results->failing;
	size_t i;

	if (!root)
		return -ENOMEM;
	for (i = 0; i < shown; i++)
		write_error(results, &results->findings[i], root, file);
	if (results->failing > shown)
		fprintf(file, "::error title=%zu more leaks::The report has all %zu sites.\n",
			results->failing - shown, results->failing);
	if (results->unmeasured) {
		fputs("::error title=leakprof measured nothing::", file);
		write_escaped(file, results->unmeasured, false);
		fputc('\n', file);
	}
	free(root);
	return ferror(file) ? (errno ? -errno : -EIO) : 0;
}
