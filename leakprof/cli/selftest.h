/* SPDX-License-Identifier: MIT */
/*
 * The two halves of `leakprof selftest`: the verb, and what it runs.
 */
#ifndef LP_CLI_SELFTEST_H
#define LP_CLI_SELFTEST_H

/* Bits of what the planting process exits with. */
enum { LP_PLANTED_PTH = 1, LP_PLANTED_ST = 2 };

/* Leaks goroutines in the calling process. Returns which libraries took part. */
int lp_selftest_plant(void);

#endif
