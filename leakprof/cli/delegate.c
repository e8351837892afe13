/* SPDX-License-Identifier: MIT */
/*
 * What needs a web server or an XML writer is in a second program, leakprof-full: their libraries
 * bring forty others, which take longer to load than most verbs take to run, and a snapshot's
 * reporter waits for that each time. Both are built of the same sources; what one of them lacks is
 * a weak symbol that is NULL there.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

char **lp_arguments;

int lp_delegate(void)
{
	static const char *const places[] = {"leakprof-full", "../libexec/leakprof/leakprof-full"};
	char self[PATH_MAX];
	char path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	size_t i;

	self[n > 0 ? n : 0] = 0;
	slash = strrchr(self, '/');
	if (slash)
		slash[1] = 0;
	for (i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", self, places[i]);
		execv(path, lp_arguments);
	}
	return lp_fail(LP_EXIT_FAILED,
		       "leakprof-full, which does this, was not found beside leakprof: %s",
		       strerror(errno));
}
