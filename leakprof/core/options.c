/* SPDX-License-Identifier: MIT */
/*
 * The table of options and what reads it. See options.h. Runs inside the target's constructor too:
 * no malloc, no stdio, nothing that depends on the locale.
 */
#include <errno.h>
#include <string.h>

#include "core/options.h"
#include "core/sys.h"

#define MEMBER(name) offsetof(struct lp_options, name), sizeof(((struct lp_options *)0)->name)
#define EVERYWHERE (LP_OPT_TARGET | LP_OPT_RUN | LP_OPT_CHECK)
#define NOT_CHECK (LP_OPT_TARGET | LP_OPT_RUN)
#define NAME_WIDTH 18 /* in the help */

const struct lp_option lp_option_table[] = {
	{"output", LP_OPT_STRING, LP_OPT_TARGET, MEMBER(output), LP_OUTPUT_DEFAULT,
	 "where profiles go: %p PID, %n serial, %e program, %t seconds, %% percent"},
	{"interval", LP_OPT_DURATION, NOT_CHECK, MEMBER(interval_ns), "0",
	 "a snapshot every so often; 0: none"},
	{"at_exit", LP_OPT_BOOL, NOT_CHECK, MEMBER(at_exit), "1",
	 "a snapshot when the program exits"},
	{"settle", LP_OPT_DURATION, LP_OPT_TARGET, MEMBER(settle_ns), "0",
	 "at exit: how long goroutines that are still there may take to end"},
	{"signal", LP_OPT_UINT, EVERYWHERE, MEMBER(signal), "62",
	 "the real-time signal that triggers snapshots and stops threads"},
	{"stop_timeout", LP_OPT_DURATION, EVERYWHERE, MEMBER(stop_timeout_ns), "1s",
	 "how long all threads may take to stop"},
	{"max_pause", LP_OPT_DURATION, NOT_CHECK, MEMBER(max_pause_ns), "0",
	 "refuse a snapshot that would stop the program for longer; 0: none is refused"},
	{"timeout", LP_OPT_DURATION, NOT_CHECK, MEMBER(timeout_ns), "60s",
	 "how long a snapshot may take in all"},
	{"stack_limit", LP_OPT_SIZE, EVERYWHERE, MEMBER(stack_limit), "64K",
	 "bytes copied of one goroutine's stack"},
	{"pointer_mask", LP_OPT_UINT, EVERYWHERE, MEMBER(pointer_mask), "0xffffffffffffffff",
	 "and'ed to a word before it is taken for a pointer (tagged pointers)"},
	{"unaligned", LP_OPT_BOOL, EVERYWHERE, MEMBER(unaligned), "0",
	 "also look for pointers at 4-byte alignment"},
	{"copies", LP_OPT_UINT, LP_OPT_TARGET, MEMBER(copies), "1",
	 "read the heap in copies: 0 never, 1 where that is seen to be faster, 2 always", 2},
	{"confirm", LP_OPT_UINT, NOT_CHECK, MEMBER(confirm), "1",
	 "report a leak when so many snapshots agree on it (the one at exit counts for all)"},
	{"trust_kernel", LP_OPT_BOOL, EVERYWHERE, MEMBER(trust_kernel), "0",
	 "report although requests to the kernel (io_uring, aio, message queues) cannot be seen"},
	{"check_annotations", LP_OPT_BOOL, EVERYWHERE, MEMBER(check_annotations), "0",
	 "check each call of leakprof.h, and say what is wrong"},
	{"keep_raw", LP_OPT_BOOL, NOT_CHECK, MEMBER(keep_raw), "0",
	 "keep the raw snapshot beside the profile, as OUTPUT.raw"},
	{"reporter", LP_OPT_STRING, LP_OPT_TARGET, MEMBER(reporter), "",
	 "the leakprof program; default: found beside the shim"},
	{"log", LP_OPT_STRING, EVERYWHERE, MEMBER(log), "",
	 "where leakprof's own messages go: a file, or stderr; default: OUTPUT.log"},
	{"connect", LP_OPT_STRING, LP_OPT_TARGET | LP_OPT_HIDDEN, MEMBER(connect), "",
	 "abstract unix socket that gets the stream (set by `leakprof run`)"},
	{"help", LP_OPT_BOOL, LP_OPT_TARGET, MEMBER(help), "0",
	 "print this table to standard error"},
};

const size_t lp_option_count = LP_ARRAY_SIZE(lp_option_table);

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit durations[] = {
	{"", 1000000000u},
	{"ns", 1},
	{"us", 1000},
	{"ms", 1000000},
	{"s", 1000000000u},
	{"m", 60 * 1000000000ull},
	{"h", 3600 * 1000000000ull},
};

static const struct unit sizes[] = {{"", 1}, {"K", 1u << 10}, {"M", 1u << 20}, {"G", 1u << 30}};
static const struct unit plain[] = {{"", 1}};

/* Reads a decimal or 0x number from TEXT .. END; returns where it ended, NULL when there is none.
 */
static const char *read_number(const char *text, const char *end, uint64_t *number)
{
	unsigned base = 10;
	const char *at = text;

	*number = 0;
	if (end - at > 2 && at[0] == '0' && (at[1] | 32) == 'x') {
		base = 16;
		at += 2;
		text = at;
	}
	for (; at < end; at++) {
		unsigned digit = *at >= '0' && *at <= '9' ? (unsigned)(*at - '0')
				 : (*at | 32) >= 'a' && (*at | 32) <= 'f'
					 ? (unsigned)((*at | 32) - 'a' + 10)
					 : 16;

		if (digit >= base)
			break;
		if (__builtin_mul_overflow(*number, base, number) ||
		    __builtin_add_overflow(*number, digit, number))
			return NULL;
	}
	return at == text ? NULL : at;
}

static int read_quantity(const char *text, size_t length, const struct unit *units, size_t count,
			 uint64_t *value)
{
	const char *end = text + length;
	const char *unit = read_number(text, end, value);
	size_t i;

	for (i = 0; unit && i < count; i++)
		if (strlen(units[i].name) == (size_t)(end - unit) &&
		    !memcmp(units[i].name, unit, (size_t)(end - unit)))
			return __builtin_mul_overflow(*value, units[i].factor, value) ? -EINVAL : 0;
	return -EINVAL;
}

static int read_bool(const char *text, size_t length, bool *value)
{
	static const struct {
		const char *name;
		bool value;
	} words[] = {{"1", true},  {"yes", true}, {"true", true},  {"", true},
		     {"0", false}, {"no", false}, {"false", false}};
	size_t i;

	for (i = 0; i < LP_ARRAY_SIZE(words); i++) {
		if (strlen(words[i].name) == length && !memcmp(words[i].name, text, length)) {
			*value = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_number(void *member, size_t size, uint64_t value)
{
	uint32_t small = (uint32_t)value;

	if (size == sizeof(value)) {
		memcpy(member, &value, sizeof(value));
		return 0;
	}
	if (value > UINT32_MAX)
		return -EINVAL;
	memcpy(member, &small, sizeof(small));
	return 0;
}

static int set(struct lp_options *options, const struct lp_option *option, const char *value,
	       size_t length)
{
	char *member = (char *)options + option->offset;
	uint64_t number = 0;
	int r = -EINVAL;

	switch (option->type) {
	case LP_OPT_BOOL:
		return read_bool(value, length, (bool *)member);
	case LP_OPT_STRING:
		if (length >= option->size)
			return -ENAMETOOLONG;
		memcpy(member, value, length);
		member[length] = 0;
		return 0;
	case LP_OPT_UINT:
		r = read_quantity(value, length, plain, LP_ARRAY_SIZE(plain), &number);
		break;
	case LP_OPT_SIZE:
		r = read_quantity(value, length, sizes, LP_ARRAY_SIZE(sizes), &number);
		break;
	case LP_OPT_DURATION:
		r = read_quantity(value, length, durations, LP_ARRAY_SIZE(durations), &number);
		break;
	}
	if (!r && option->most && number > option->most)
		r = -EINVAL;
	return r ? r : set_number(member, option->size, number);
}

void lp_options_default(struct lp_options *options)
{
	size_t i;

	memset(options, 0, sizeof(*options));
	for (i = 0; i < lp_option_count; i++)
		set(options, &lp_option_table[i], lp_option_table[i].default_value,
		    strlen(lp_option_table[i].default_value));
}

static bool same_name(const char *name, const char *text, size_t length)
{
	size_t i;

	if (strlen(name) != length)
		return false;
	for (i = 0; i < length; i++)
		if (name[i] != (text[i] == '-' ? '_' : text[i]))
			return false;
	return true;
}

int lp_options_set(struct lp_options *options, const char *name, size_t length, const char *value,
		   size_t value_length)
{
	size_t i;

	for (i = 0; i < lp_option_count; i++)
		if (same_name(lp_option_table[i].name, name, length))
			return set(options, &lp_option_table[i], value, value_length);
	return -ENOENT;
}

/* Copies the value at TEXT without its escapes, up to a bare colon. Returns where it ended. */
static const char *copy_value(const char *text, char *value, size_t size, size_t *length)
{
	size_t n = 0;

	for (; *text && *text != ':'; text++) {
		if (*text == '\\' && text[1] == ':')
			text++;
		if (n < size)
			value[n] = *text;
		n++;
	}
	*length = n;
	return text;
}

int lp_options_parse(struct lp_options *options, const char *text, const char **bad)
{
	char value[LP_PATH_MAX];

	while (*text) {
		const char *name = text;
		size_t length = strcspn(name, "=:");
		size_t value_length = 0;
		int r;

		text += length;
		if (*text == '=')
			text = copy_value(text + 1, value, sizeof(value), &value_length);
		if (*text == ':')
			text++;
		if (!length && !value_length)
			continue;
		r = value_length > sizeof(value)
			    ? -ENAMETOOLONG
			    : lp_options_set(options, name, length, value, value_length);
		if (r) {
			*bad = name;
			return r;
		}
	}
	return 0;
}

/* --- Help --- */

static void put(int fd, const char *text)
{
	lp_sys_write(fd, text, strlen(text));
}

static void put_padded(int fd, const char *text, size_t width)
{
	static const char spaces[] = "                                ";
	size_t length = strlen(text);

	put(fd, text);
	if (length < width)
		lp_sys_write(fd, spaces, width - length);
}

void lp_options_help(int fd, unsigned scope)
{
	size_t i;

	for (i = 0; i < lp_option_count; i++) {
		const struct lp_option *option = &lp_option_table[i];

		if (!(option->scope & scope) || option->scope & LP_OPT_HIDDEN)
			continue;
		put(fd, scope & LP_OPT_TARGET ? "  " : "  --");
		put_padded(fd, option->name, NAME_WIDTH);
		put(fd, option->help);
		if (option->default_value[0]) {
			put(fd, " (default ");
			put(fd, option->default_value);
			put(fd, ")");
		}
		put(fd, "\n");
	}
}

/* --- Patterns --- */

struct text {
	char *at;
	char *end;
	bool full;
};

static void add(struct text *text, char c)
{
	if (text->at + 1 < text->end)
		*text->at++ = c;
	else
		text->full = true;
}

static void add_string(struct text *text, const char *string)
{
	while (*string)
		add(text, *string++);
}

static void add_number(struct text *text, uint64_t number)
{
	char digits[24];
	int n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n > 0)
		add(text, digits[--n]);
}

int lp_options_expand(const char *pattern, uint32_t pid, uint32_t serial, const char *program,
		      uint64_t seconds, char *path, size_t size)
{
	struct text text = {path, path + size, size == 0};

	for (; *pattern; pattern++) {
		if (*pattern != '%' || !pattern[1]) {
			add(&text, *pattern);
			continue;
		}
		switch (*++pattern) {
		case 'p':
			add_number(&text, pid);
			break;
		case 'n':
			add_number(&text, serial);
			break;
		case 't':
			add_number(&text, seconds);
			break;
		case 'e':
			add_string(&text, program);
			break;
		case '%':
			add(&text, '%');
			break;
		default:
			add(&text, '%');
			add(&text, *pattern);
		}
	}
	if (size)
		*text.at = 0;
	return text.full ? -ENAMETOOLONG : 0;
}
