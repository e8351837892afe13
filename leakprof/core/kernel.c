/* SPDX-License-Identifier: MIT */
/*
 * Pointers that only the kernel holds: the data of epoll registrations, the value of timers, and
 * bytes on their way through pipes and unix sockets (self-pipes carry pointers). Nothing is
 * consumed: pipes are copied by tee(2), sockets by MSG_PEEK. Runs in the snapshot, which has its
 * own descriptor table with the same open files, while the target is stopped.
 *
 * Not seen: user data of io_uring requests, POSIX
 * message queues.
 */
#include <string.h>
#include <sys/socket.h>

#include "core/collect.h"
#include "core/own.h"
#include "core/sys.h"

#define BUFFER_SIZE (256u << 10)
#define LOOKS_MAX 4096

struct kernel_scan {
	struct lp_collection *collection;
	char *buffer; /* BUFFER_SIZE */
	int pipe[2];  /* what tee copies into; -1: none */
};

struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static void push_word(struct kernel_scan *scan, uintptr_t word)
{
	if (word >= LP_PAGE && word < 1ull << 47)
		lp_vec_push(&scan->collection->words, &word);
}

/* Bytes have no alignment on their way through a stream. */
static void push_bytes(struct kernel_scan *scan, long length)
{
	long i;

	for (i = 0; i + (long)sizeof(uintptr_t) <= length; i++) {
		uintptr_t word;

		memcpy(&word, scan->buffer + i, sizeof(word));
		push_word(scan, word);
	}
}

static char *append(char *at, const char *text)
{
	while (*text)
		*at++ = *text++;
	*at = 0;
	return at;
}

static char *append_number(char *at, uint32_t number)
{
	char digits[12];
	char *digit = digits + sizeof(digits) - 1;

	*digit = 0;
	do
		*--digit = (char)('0' + number % 10);
	while (number /= 10);
	return append(at, digit);
}

/* Reads the file PATH into the buffer, NUL-terminated. Returns its length, 0 when there is none. */
static long read_file(struct kernel_scan *scan, const char *path)
{
	int fd = lp_sys_open(path, O_RDONLY, 0);
	long length = 0;
	long n;

	if (fd < 0)
		return 0;
	while (length < (long)BUFFER_SIZE - 1 &&
	       (n = lp_sys_read(fd, scan->buffer + length, BUFFER_SIZE - 1 - (size_t)length)) > 0)
		length += n;
	lp_sys_close(fd);
	scan->buffer[length] = 0;
	return length;
}

static uintptr_t parse_hex(const char *at)
{
	uintptr_t value = 0;

	for (;; at++) {
		if (*at >= '0' && *at <= '9')
			value = value << 4 | (uintptr_t)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			value = value << 4 | (uintptr_t)(*at - 'a' + 10);
		else
			return value;
	}
}

/* Pushes the hexadecimal number behind each KEY in the buffer. */
static void push_keyed(struct kernel_scan *scan, const char *key, char separator)
{
	const char *at = scan->buffer;

	while ((at = strstr(at, key))) {
		at += strlen(key);
		while (*at && *at != '\n' && *at != separator)
			at++;
		while (*at == separator || *at == ' ')
			at++;
		push_word(scan, parse_hex(at));
	}
}

/* "tfd: 5 events: 19 data: 7ffd0a1b2c3d pos:..." */
static void scan_epoll(struct kernel_scan *scan, uint32_t fd)
{
	char path[64];

	append_number(append(path, "/proc/self/fdinfo/"), fd);
	if (read_file(scan, path))
		push_keyed(scan, " data", ':');
}

/* "signal: 60/00007fff86e452a8": the target's own file, as timers are not inherited. */
static void scan_timers(struct kernel_scan *scan)
{
	char path[64];

	append(append_number(append(path, "/proc/"), scan->collection->input->pid), "/timers");
	if (read_file(scan, path))
		push_keyed(scan, "signal: ", '/');
}

static void scan_pipe(struct kernel_scan *scan, int fd)
{
	long n;

	if (scan->pipe[0] < 0 && LP_SYS2(SYS_pipe2, scan->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		lp_collect_note(scan->collection, LP_NOTE_WARNING,
				"pipes could not be looked into: no descriptor is left");
		return;
	}
	n = LP_SYS4(SYS_tee, fd, scan->pipe[1], BUFFER_SIZE, 2 /* SPLICE_F_NONBLOCK */);
	while (n > 0) {
		long got = lp_sys_read(scan->pipe[0], scan->buffer, BUFFER_SIZE);

		if (got <= 0)
			return;
		push_bytes(scan, got);
		n -= got;
	}
}

/*
 * All that waits in a unix socket: with SO_PEEK_OFF each look goes on where the last one ended. The option is the open
 * file's, so it is put back before the target goes on.
 */
static void scan_socket(struct kernel_scan *scan, int fd)
{
	int domain = 0;
	int before = -1;
	int from_start = 0;
	int size = sizeof(int);
	int looks;
	long n = 1;

	if (LP_SYS5(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
	    domain != AF_UNIX)
		return;
	size = sizeof(int);
	LP_SYS5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEEK_OFF, &before, &size);
	LP_SYS5(SYS_setsockopt, fd, SOL_SOCKET, SO_PEEK_OFF, &from_start, sizeof(from_start));
	for (looks = 0; n > 0 && looks < LOOKS_MAX; looks++) {
		n = LP_SYS6(SYS_recvfrom, fd, scan->buffer, BUFFER_SIZE, MSG_PEEK | MSG_DONTWAIT, 0,
			    0);
		push_bytes(scan, n);
	}
	LP_SYS5(SYS_setsockopt, fd, SOL_SOCKET, SO_PEEK_OFF, &before, sizeof(before));
	if (n > 0)
		lp_collect_note(scan->collection, LP_NOTE_WARNING,
				"a unix socket holds more messages than are looked into: pointers in "
				"them are not seen");
}

static void scan_descriptor(struct kernel_scan *scan, const char *name)
{
	char path[64];
	char link[64];
	uint32_t fd = 0;
	long n;

	for (; *name >= '0' && *name <= '9'; name++)
		fd = fd * 10 + (uint32_t)(*name - '0');
	if (*name || (int)fd == scan->pipe[0] || (int)fd == scan->pipe[1])
		return;
	append_number(append(path, "/proc/self/fd/"), fd);
	n = LP_SYS3(SYS_readlink, path, link, sizeof(link) - 1);
	if (n <= 0)
		return;
	link[n] = 0;
	if (!strncmp(link, "pipe:", 5))
		scan_pipe(scan, (int)fd);
	else if (!strncmp(link, "socket:", 7))
		scan_socket(scan, (int)fd);
	else if (!strcmp(link, "anon_inode:[eventpoll]"))
		scan_epoll(scan, fd);
	else if (!strcmp(link, "anon_inode:[io_uring]"))
		lp_collect_note(scan->collection, LP_NOTE_WARNING,
				"io_uring is in use: user data of pending requests is not seen");
}

static void scan_descriptors(struct kernel_scan *scan)
{
	_Alignas(8) char entries[4096];
	int directory = lp_sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
	long n;

	while (directory >= 0 &&
	       (n = LP_SYS3(SYS_getdents64, directory, entries, sizeof(entries))) > 0) {
		long at;

		for (at = 0; at < n;) {
			const struct directory_entry *entry = (const void *)(entries + at);

			if (entry->name[0] >= '0' && entry->name[0] <= '9')
				scan_descriptor(scan, entry->name);
			at += entry->length;
		}
	}
	if (directory >= 0)
		lp_sys_close(directory);
}

void lp_kernel_words(struct lp_collection *collection)
{
	struct kernel_scan scan = {collection, lp_own_map(BUFFER_SIZE), {-1, -1}};

	if (!scan.buffer)
		return;
	scan_descriptors(&scan);
	scan_timers(&scan);
	lp_own_unmap(scan.buffer, BUFFER_SIZE);
}
