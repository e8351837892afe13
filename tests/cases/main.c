/* SPDX-License-Identifier: MIT */
/*
 * cases list                  every case: NAME<tab>what leaks<tab>what Go reports, if it differs
 * cases NAME leaking|fixed    runs one, then exits: what it leaked is reported then
 */
#include <stdio.h>

#include "cases.h"

static const struct leak_case *const tables[] = {micro_cases, stress_cases, pattern_cases,
						 goker_cases, race_cases,   semantic_cases};

struct job {
	const struct leak_case *which;
	bool fixed;
	struct chan *done;
};

static void run(void *argument)
{
	struct job *job = argument;

	job->which->run(job->fixed);
	chan_close(job->done);
}

static void end(void *argument)
{
	struct job *job = argument;

	chan_receive(job->done, NULL);
	settle();
	puts("READY");
	exit(0);
}

static const struct leak_case *find(const char *name, bool list)
{
	const struct leak_case *one;
	size_t i;

	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (one = tables[i]; one->name; one++) {
			if (list)
				printf("%s\t%s\t%s\n", one->name, one->leaks,
				       one->go ? one->go : "");
			else if (!strcmp(one->name, name))
				return one;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct job job;

	if (argc == 2 && !strcmp(argv[1], "list"))
		return find(NULL, true) != NULL;
	job.which = argc == 3 ? find(argv[1], false) : NULL;
	if (!job.which) {
		fprintf(stderr, "usage: %s list | NAME leaking|fixed\n", argv[0]);
		return 2;
	}
	job.fixed = !strcmp(argv[2], "fixed");
	/* stdio's buffer, allocated late, would hold what freed blocks left in its memory. */
	setvbuf(stdout, NULL, _IONBF, 0);
	minigo_init();
	job.done = chan_make(0);
	go(run, &job);
	if (job.which->main_parks) {
		go(end, &job);
		go_park();
	}
	chan_receive(job.done, NULL);
	settle();
	puts("READY");
	return 0;
}
