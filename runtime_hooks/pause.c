/* SPDX-License-Identifier: MIT */
/*
 * How long a snapshot would stop the program, foreseen so that the option max_pause can refuse it.
 *
 * A clone copies the page tables of private memory: its time goes with the pages that are there,
 * about 70 ns for one of 4 KiB and 16 times that for a huge one, which stands for 512. How many
 * pages there are the kernel tells at once (RssAnon); how many of them are huge only by a walk of
 * the page tables, that takes nearly as long as the clone. So all are taken for small ones first,
 * which is never too low, and the walk is made by the scout (snapshot.c), which stops nobody. What
 * it found is remembered, as is what clones of this process have really taken: thread CPU time, so
 * that a busy machine does not count.
 */
#include <string.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

#define KIB_SMALL 4
#define KIB_HUGE 2048
#define HUGE_UNITS 16	    /* small pages that one huge page costs */
#define UNIT_PS 70000u	    /* a small page, before any clone was seen */
#define REST_NS 400000u	    /* all but the pages, likewise */
#define UNITS_TELLING 4096u /* with fewer pages the rest is most of a clone */

/* What clones have taken, and what the scout saw. Words that stand each for itself, as the scout
 * writes some while the target goes on. */
static struct {
	uint64_t unit_ps; /* 0: no clone was seen */
	uint64_t rest_ns;
	uint64_t huge_kib; /* in huge pages, and all private memory then */
	uint64_t all_kib;
} known;

struct forecast {
	uint64_t units;	   /* to be copied */
	uint64_t pages_ns; /* for that */
	uint64_t ns;	   /* in all */
	bool exact;	   /* the huge pages are known */
};

/* Of the collection under way. */
static struct forecast next;

/* --- What the kernel says --- */

/* The sum of the lines in FILE that NAMES (two, each with its colon) begin: KiB. */
static uint64_t read_kib(const char *file, const char *const names[2])
{
	char text[4096];
	uint64_t sum = 0;
	int fd = lp_sys_open(file, O_RDONLY, 0);
	long n = fd < 0 ? 0 : lp_sys_read(fd, text, sizeof(text) - 1);
	int i;

	if (fd >= 0)
		lp_sys_close(fd);
	text[n > 0 ? n : 0] = 0;
	for (i = 0; i < 2; i++) {
		const char *at = strstr(text, names[i]);
		uint64_t kib = 0;

		for (at = at ? at + strlen(names[i]) : ""; *at == ' ' || *at == '\t'; at++)
			;
		for (; *at >= '0' && *at <= '9'; at++)
			kib = kib * 10 + (uint64_t)(*at - '0');
		sum += kib;
	}
	return sum;
}

/* Private memory, in pages or in swap: a clone copies an entry for each. */
static uint64_t private_kib(void)
{
	static const char *const names[2] = {"RssAnon:", "VmSwap:"};

	return read_kib("/proc/self/status", names);
}

static uint64_t huge_kib(void)
{
	static const char *const names[2] = {"AnonHugePages:", "Private_Hugetlb:"};

	return read_kib("/proc/self/smaps_rollup", names);
}

/* --- The forecast --- */

static struct forecast foresee(void)
{
	uint64_t all = private_kib();
	uint64_t gone = known.all_kib > all ? known.all_kib - all : 0;
	/* What came since the look is taken for small pages, what went for huge ones. */
	uint64_t huge = known.huge_kib > gone ? known.huge_kib - gone : 0;
	struct forecast forecast;

	forecast.exact = all / 8 * 7 <= known.all_kib && known.all_kib / 8 * 7 <= all;
	forecast.units = (all - huge) / KIB_SMALL + huge / KIB_HUGE * HUGE_UNITS;
	forecast.pages_ns = forecast.units * (known.unit_ps ? known.unit_ps : UNIT_PS) / 1000;
	forecast.ns = forecast.pages_ns + (known.rest_ns ? known.rest_ns : REST_NS);
	return forecast;
}

bool lp_pause_allowed(void)
{
	if (!lp_options.max_pause_ns)
		return true;
	next = foresee();
	return next.ns <= lp_options.max_pause_ns;
}

/* One slow clone must not be the last for ever: a refusal leads back to what is usual. */
static void forget_some(void)
{
	if (known.unit_ps > UNIT_PS)
		known.unit_ps -= (known.unit_ps - UNIT_PS) / 8;
	if (known.rest_ns > REST_NS)
		known.rest_ns -= (known.rest_ns - REST_NS) / 8;
}

static uint64_t mean(uint64_t old, uint64_t new)
{
	return old ? (old + new) / 2 : new;
}

void lp_pause_learn(uint64_t clone_ns, uint64_t rest_ns)
{
	uint64_t unit_ps;

	if (!lp_options.max_pause_ns)
		return;
	known.rest_ns = mean(known.rest_ns, rest_ns);
	if (next.units < UNITS_TELLING)
		return;
	unit_ps = clone_ns * 1000 / next.units;
	/* Where pages were taken for small that may be huge, a fast clone says nothing. */
	if (next.exact || unit_ps > (known.unit_ps ? known.unit_ps : UNIT_PS))
		known.unit_ps = mean(known.unit_ps, unit_ps);
}

/* --- The bound while threads stop --- */

uint64_t lp_pause_stop_ns(void)
{
	uint64_t left = lp_options.max_pause_ns - next.ns;

	return lp_pause_short() ? left : lp_options.stop_timeout_ns;
}

bool lp_pause_short(void)
{
	return lp_options.max_pause_ns &&
	       lp_options.max_pause_ns - next.ns < lp_options.stop_timeout_ns;
}

/* --- What is said --- */

static char *append(char *at, const char *text)
{
	size_t length = strlen(text);

	memcpy(at, text, length + 1);
	return at + length;
}

static char *append_time(char *at, uint64_t ns)
{
	bool small = ns < 10000000;
	uint64_t number = ns / (small ? 1000 : 1000000);
	char digits[24];
	int n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n > 0)
		*at++ = digits[--n];
	return append(at, small ? "us" : "ms");
}

static void explain(const struct forecast *forecast, char *text)
{
	char *at = append(text, "the snapshot would stop the program for about ");

	at = append_time(at, forecast->ns);
	at = append(at, ", more than max_pause=");
	at = append_time(at, lp_options.max_pause_ns);
	if (2 * forecast->pages_ns > forecast->ns && 2 * known.huge_kib < known.all_kib)
		append(at, ": let the program use huge pages, or set max_pause higher");
	else
		append(at, ": set max_pause higher");
}

bool lp_pause_look(char *reason)
{
	struct forecast forecast;

	known.huge_kib = huge_kib();
	known.all_kib = private_kib();
	forecast = foresee();
	if (forecast.ns <= lp_options.max_pause_ns)
		return true;
	explain(&forecast, reason);
	forget_some();
	return false;
}
