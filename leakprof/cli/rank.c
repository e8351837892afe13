/* SPDX-License-Identifier: MIT */
/*
 * leakprof rank: the sites of a fleet by impact. A file that cannot be used does not keep the
 * others from being ranked: it is named at once, and in the exit code.
 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "report/rank.h"

struct request {
	struct lp_owners owners;
	struct lp_ranking ranking;
	struct lp_rank_limits limits;
	enum lp_profile profile;
	const char *owners_path;
	char *root; /* of the sources, by where the CODEOWNERS file is */
	bool json;
};

static int no_memory(void)
{
	return lp_fail(LP_EXIT_FAILED, "there is not enough memory to rank");
}

/* --- Owners --- */

/* CODEOWNERS stands in the root, in docs/ or in a hidden folder such as .github/. */
static char *root_of(const char *path)
{
	char *root = realpath(path, NULL);
	char *slash = root ? strrchr(root, '/') : NULL;

	if (!slash)
		return root;
	*slash = 0;
	slash = strrchr(root, '/');
	if (slash && (slash[1] == '.' || !strcmp(slash + 1, "docs")))
		*slash = 0;
	return root;
}

static int read_owners(struct request *request)
{
	const char *path = request->owners_path;
	char *text;
	void *data;
	size_t size;
	size_t i;
	int code = lp_read_file(path, &data, &size);

	if (code)
		return code;
	text = strndup(data, size);
	free(data);
	if (!text || lp_owners_read(&request->owners, text))
		code = no_memory();
	free(text);
	for (i = 0; i < request->owners.bad_count; i++)
		fprintf(stderr,
			"leakprof: %s:%u: this line is left out: ! and [ ] and \\# have no meaning "
			"in CODEOWNERS\n",
			path, request->owners.bad_lines[i]);
	if (!code && !request->owners.root_count) {
		request->root = root_of(path);
		if (!request->root || lp_owners_root(&request->owners, request->root))
			code = no_memory();
	}
	request->ranking.owners = &request->owners;
	return code;
}

/* --- Profiles --- */

static int add_file(struct request *request, const char *path)
{
	struct lp_ranking *ranking = &request->ranking;
	struct lp_report *report;
	const char *why;
	int code = lp_load_file_as(path, ranking->profile ? ranking->profile : request->profile,
				   &report);

	if (code)
		return code;
	why = lp_report_unmeasured(report);
	if (why)
		code = lp_fail(LP_EXIT_UNMEASURED, "%s: nothing measured: %s", path, why);
	else if (lp_ranking_add(ranking, report, path))
		code = no_memory();
	lp_report_free(report);
	return code;
}

/* The code of the whole: a file that cannot be read counts for more than one that measured nothing.
 */
static int worse(int a, int b)
{
	return a > b ? a : b;
}

static int add_files(struct request *request, int count, char **paths)
{
	int worst = LP_EXIT_OK;
	int i;

	for (i = 0; i < count; i++) {
		int code = add_file(request, paths[i]);

		if (code == LP_EXIT_FAILED)
			return code;
		if (code)
			lp_complain();
		worst = worse(worst, code);
	}
	return worst;
}

static int print(struct request *request)
{
	const struct lp_ranking *ranking = &request->ranking;
	int r;

	lp_ranking_finish(&request->ranking);
	r = request->json ? lp_ranking_json(ranking, &request->limits, stdout)
			  : lp_ranking_text(ranking, &request->limits, stdout);
	return r ? lp_fail(LP_EXIT_OUTPUT, "standard output could not be written: %s", strerror(-r))
		 : LP_EXIT_OK;
}

static int rank(struct request *request, int count, char **paths)
{
	int code = request->owners_path ? read_owners(request) : LP_EXIT_OK;
	int written;

	if (code)
		return code;
	code = add_files(request, count, paths);
	if (code == LP_EXIT_FAILED || !request->ranking.instances)
		return code;
	written = print(request);
	return written ? written : code;
}

/* --- The verb --- */

static int set_option(struct request *request, int option, const char *value)
{
	switch (option) {
	case 'm':
		return lp_read_count("--min", value, &request->limits.min);
	case 't':
		return lp_read_count("--top", value, &request->limits.top);
	case 'p':
		return lp_read_profile_name(value, &request->profile);
	case 'f':
		return lp_read_form(value, &request->json);
	case 'w':
		request->owners_path = value;
		return LP_EXIT_OK;
	case 's':
		return lp_owners_root(&request->owners, value) ? no_memory() : LP_EXIT_OK;
	}
	return LP_EXIT_USAGE;
}

int lp_verb_rank(int argc, char **argv)
{
	static const struct option options[] = {{"min", required_argument, NULL, 'm'},
						{"top", required_argument, NULL, 't'},
						{"profile", required_argument, NULL, 'p'},
						{"format", required_argument, NULL, 'f'},
						{"owners", required_argument, NULL, 'w'},
						{"strip-prefix", required_argument, NULL, 's'},
						{0}};
	struct request request = {.profile = LP_PROFILE_STORED};
	int option;
	int code = LP_EXIT_OK;

	while (!code && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		code = set_option(&request, option, optarg);
	if (!code && optind == argc)
		code = lp_usage("rank takes one FILE or more");
	if (!code && request.owners.root_count && !request.owners_path)
		code = lp_usage("--strip-prefix is for --owners");
	if (!code)
		code = rank(&request, argc - optind, argv + optind);
	lp_ranking_free(&request.ranking);
	lp_owners_free(&request.owners);
	free(request.root);
	return code;
}
