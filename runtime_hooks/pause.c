/* SPDX-License-Identifier: MIT */
/*
 * How long a snapshot would stop the program, foreseen so that the option max_pause can refuse it.
 *
 * A clone copies the page tables of private memory: its time goes with the pages that are there. A
 * page that was written since the last clone takes longest, on virtual machines by far; what one
 * takes here is tried when the program starts, and raised where clones take longer: thread CPU
 * time, so that a busy machine does not count. A huge page takes 16 times that, and stands for 512.
 *
 * How many pages there are the kernel tells at once (RssAnon); how many of them are huge only by a
 * walk of the page tables that takes nearly as long as the clone. So all are taken for small ones
 * first, which is never too low, and the walk is made by the scout (snapshot.c), which stops
 * nobody. What it found is remembered.
 */
#include <string.h>
#include <sys/wait.h>

#include "core/sys.h"
#include "runtime_hooks/target.h"

#define KIB_SMALL 4
#define KIB_HUGE 2048
#define HUGE_UNITS 16	    /* small pages that one huge page costs */
#define UNIT_PS 70000u	    /* a small page, where the trial told nothing */
#define REST_NS 400000u	    /* all but the pages, before any stop was seen */
#define UNITS_TELLING 4096u /* with fewer pages the rest is most of a clone */
#define TRIAL_PAGES 1024u

/* What clones take, and what the scout saw. Words that stand each for itself, as the scout writes
 * some while the target goes on. */
static struct {
	uint64_t trial_ps;
	uint64_t unit_ps;
	uint64_t rest_ns;
	uint64_t huge_kib; /* in huge pages, and all private memory then */
	uint64_t all_kib;
} known = {UNIT_PS, UNIT_PS, REST_NS, 0, 0};

struct forecast {
	uint64_t units;	   /* to be copied */
	uint64_t pages_ns; /* for that */
	uint64_t ns;	   /* in all */
};

/* Of the collection under way. */
static struct forecast next;

/* --- What the kernel says --- */

/* The sum of the lines in FILE that NAMES (two, each with its colon) begin: KiB. */
static uint64_t read_kib(const char *file, const char *const names[2])
{
	char text[4096];
	uint64_t sum = 0;
	int i;

	lp_sys_read_text(file, text, sizeof(text));
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

	forecast.units = (all - huge) / KIB_SMALL + huge / KIB_HUGE * HUGE_UNITS;
	forecast.pages_ns = forecast.units * known.unit_ps / 1000;
	forecast.ns = forecast.pages_ns + known.rest_ns;
	return forecast;
}

bool lp_pause_allowed(void)
{
	if (!lp_options.max_pause_ns)
		return true;
	next = foresee();
	return next.ns <= lp_options.max_pause_ns;
}

/* Half-way from OLD to NEW, but not below FLOOR. */
static uint64_t approach(uint64_t old, uint64_t new, uint64_t floor)
{
	uint64_t mean = (old + new) / 2;

	return mean > floor ? mean : floor;
}

/* One slow clone must not be the last for ever: a refusal leads back to what is usual. */
static void forget_some(void)
{
	known.unit_ps -= (known.unit_ps - known.trial_ps) / 8;
	known.rest_ns -= (known.rest_ns - REST_NS) / 8;
}

void lp_pause_learn(uint64_t clone_ns, uint64_t rest_ns)
{
	if (!lp_options.max_pause_ns)
		return;
	known.rest_ns = approach(known.rest_ns, rest_ns, REST_NS);
	if (next.units >= UNITS_TELLING)
		known.unit_ps =
			approach(known.unit_ps, clone_ns * 1000 / next.units, known.trial_ps);
}

/* --- The trial --- */

static uint64_t time_clone(void)
{
	uint64_t start = lp_sys_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	long pid = LP_SYS5(SYS_clone, 0, 0, 0, 0, 0);

	if (!pid) {
		LP_SYS1(SYS_exit_group, 0);
		__builtin_unreachable();
	}
	start = lp_sys_clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	if (pid > 0)
		LP_SYS4(SYS_wait4, pid, NULL, __WCLONE, NULL);
	return start;
}

/* What a page takes that was just written, in picoseconds; 0: it could not be told. */
static uint64_t try_pages(void)
{
	const size_t size = TRIAL_PAGES * LP_PAGE;
	uint64_t without = time_clone();
	uint64_t with;
	char *pages = lp_sys_map(size);

	if (!pages)
		return 0;
	LP_SYS3(SYS_madvise, pages, size, MADV_NOHUGEPAGE);
	/* All at once. Before Linux 5.14, one by one. */
	if (LP_SYS3(SYS_madvise, pages, size, MADV_POPULATE_WRITE))
		memset(pages, 1, size);
	with = time_clone();
	lp_sys_unmap(pages, size);
	return with > without ? (with - without) * 1000 / TRIAL_PAGES : 0;
}

void lp_pause_init(void)
{
	uint64_t sum = 0;
	uint64_t most = 0;
	uint64_t least = UINT64_MAX;
	int i;

	if (!lp_options.max_pause_ns)
		return;
	time_clone(); /* the first one finds the whole program just written */
	for (i = 0; i < 3; i++) {
		uint64_t took = try_pages();

		sum += took;
		most = took > most ? took : most;
		least = took < least ? took : least;
	}
	sum -= most + least; /* the median */
	if (sum)
		known.trial_ps = known.unit_ps = sum;
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
	bool small = ns < 10000000 && ns % 1000000;
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
