/* SPDX-License-Identifier: MIT */
/*
 * Pointers that only the kernel holds: the data of epoll registrations, the value of timers and of
 * pending signals, the count of an eventfd, and bytes on their way through pipes, unix sockets and
 * System V message queues (self-pipes carry pointers). Nothing is consumed: pipes are copied by
 * tee(2), sockets by MSG_PEEK, messages by MSG_COPY. Runs in the snapshot, which has its own
 * descriptor table with the same open files, while the target is stopped.
 *
 * What can be there but cannot be looked at (requests of io_uring and aio, POSIX message queues)
 * makes the collection blind: it reports nothing, and says why.
 */
#include <errno.h>
#include <linux/magic.h>
#include <mqueue.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "core/collect.h"
#include "core/own.h"
#include "core/sys.h"
#include "core/thread.h"

#define BUFFER_SIZE (256u << 10)
#define LOOKS_MAX 65536
#define BUFFER_MAX (1u << 30)
#define MQUEUE_MAGIC 0x19800202

struct kernel_scan {
	struct lp_collection *collection;
	char *buffer; /* BUFFER_SIZE */
	int pipe[2];  /* what tee copies into; -1: none */
	int error;
};

struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* Whether a call failed because it is forbidden (a seccomp filter, hidepid) and not by what it
 * found. */
static bool is_denied(long result)
{
	return result == -EPERM || result == -EACCES || result == -ENOSYS;
}

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

/*
 * As push_keyed, of the file PATH, which may be longer than the buffer: a line that the buffer's
 * end cuts is read again with what follows. Returns 0, or -errno where it cannot be read.
 */
static int push_keyed_file(struct kernel_scan *scan, const char *path, const char *key,
			   char separator)
{
	int fd = lp_sys_open(path, O_RDONLY, 0);
	size_t length = 0;
	long n;

	if (fd < 0)
		return fd;
	while ((n = lp_sys_read(fd, scan->buffer + length, BUFFER_SIZE - 1 - length)) > 0) {
		char *last;

		length += (size_t)n;
		scan->buffer[length] = 0;
		last = strrchr(scan->buffer, '\n');
		if (!last)
			continue;
		*last++ = 0;
		push_keyed(scan, key, separator);
		length -= (size_t)(last - scan->buffer);
		memmove(scan->buffer, last, length);
	}
	lp_sys_close(fd);
	return (int)n;
}

/* "tfd: 5 events: 19 data: 7ffd0a1b2c3d pos:..." */
static void scan_epoll(struct kernel_scan *scan, uint32_t fd)
{
	char path[64];

	append_number(append(path, "/proc/self/fdinfo/"), fd);
	if (push_keyed_file(scan, path, " data", ':'))
		lp_collect_blind(scan->collection, "an epoll set cannot be looked into");
}

/*
 * "signal: 60/00007fff86e452a8": the target's own file, as timers are not inherited. Read by the
 * target itself, as nobody else may where it has changed its user; where it could not, by us.
 */
static void scan_timers(struct kernel_scan *scan)
{
	const char *timers = scan->collection->input->timers;
	char path[64];
	int r;

	if (timers) {
		memcpy(scan->buffer, timers, strlen(timers) + 1);
		push_keyed(scan, "signal: ", '/');
		return;
	}
	append(append_number(append(path, "/proc/"), scan->collection->input->proc_pid), "/timers");
	r = push_keyed_file(scan, path, "signal: ", '/');
	/* Not every kernel has the file; where it is hidden (hidepid), our own is there. */
	if (r && (r != -ENOENT || !LP_SYS2(SYS_access, "/proc/self/timers", F_OK)))
		lp_collect_blind(scan->collection,
				 "the program's timers cannot be looked at in /proc (hidepid?)");
}

/* As much is asked for as the pipe holds: ours must have the room. */
static bool make_room(struct kernel_scan *scan, int fd)
{
	long size = LP_SYS3(SYS_fcntl, fd, F_GETPIPE_SZ, 0);

	if (scan->pipe[0] < 0 && LP_SYS2(SYS_pipe2, scan->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	return LP_SYS3(SYS_fcntl, scan->pipe[1], F_GETPIPE_SZ, 0) >= size ||
	       LP_SYS3(SYS_fcntl, scan->pipe[1], F_SETPIPE_SZ, size) >= size;
}

static void scan_pipe(struct kernel_scan *scan, int fd)
{
	int waiting = 0;
	long copied = 0;
	long n;

	/* The end for writing alone: what is in there comes out elsewhere. */
	if ((LP_SYS3(SYS_fcntl, fd, F_GETFL, 0) & O_ACCMODE) == O_WRONLY ||
	    LP_SYS3(SYS_ioctl, fd, FIONREAD, &waiting) < 0 || !waiting)
		return;
	if (make_room(scan, fd))
		copied = LP_SYS4(SYS_tee, fd, scan->pipe[1], BUFFER_MAX, 2 /* SPLICE_F_NONBLOCK */);
	for (n = copied; n > 0;) {
		long got = lp_sys_read(scan->pipe[0], scan->buffer, BUFFER_SIZE);

		if (got <= 0)
			break;
		push_bytes(scan, got);
		n -= got;
	}
	if (copied < waiting)
		lp_collect_blind(scan->collection,
				 "a pipe could not be looked into: what is in it cannot be seen");
}

/*
 * All that waits in a unix socket: with SO_PEEK_OFF each look goes on where the last one ended. The
 * option is the open file's, so it is put back before the target goes on.
 */
static void scan_socket(struct kernel_scan *scan, int fd)
{
	int domain = 0;
	int before = -1;
	int from_start = 0;
	int size = sizeof(int);
	int looks;
	long n = 1;

	if (is_denied(LP_SYS5(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &size)))
		domain = AF_UNIX;
	if (domain != AF_UNIX)
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
	if (n > 0 || is_denied(n))
		lp_collect_blind(
			scan->collection,
			"a unix socket cannot be looked into: a filter forbids it, or it holds "
			"too many messages");
}

static void scan_message_queue(struct kernel_scan *scan, int fd)
{
	struct mq_attr attributes = {0};

	if (LP_SYS3(SYS_mq_getsetattr, fd, NULL, &attributes) < 0 || attributes.mq_curmsgs)
		lp_collect_blind(scan->collection, "a POSIX message queue holds messages, which "
						   "cannot be seen: read them first, or "
						   "set trust_kernel=1 if no pointer is in them");
}

/* "eventfd-count:               2a": 64 bits of the program's choice. */
static void scan_eventfd(struct kernel_scan *scan, uint32_t fd)
{
	char path[64];

	append_number(append(path, "/proc/self/fdinfo/"), fd);
	if (push_keyed_file(scan, path, "eventfd-count", ':'))
		lp_collect_blind(scan->collection, "an eventfd cannot be looked at");
}

/* What has no type (to some kernels: a file of anon_inodefs), but a name in /proc. */
static void scan_nameless(struct kernel_scan *scan, uint32_t fd)
{
	char path[64];
	char link[64];
	long n;

	append_number(append(path, "/proc/self/fd/"), fd);
	n = LP_SYS3(SYS_readlink, path, link, sizeof(link) - 1);
	if (n <= 0) {
		scan->error = n ? (int)n : -EIO;
		return;
	}
	link[n] = 0;
	if (!strcmp(link, "anon_inode:[eventpoll]"))
		scan_epoll(scan, fd);
	else if (!strcmp(link, "anon_inode:[eventfd]"))
		scan_eventfd(scan, fd);
	else if (!strcmp(link, "anon_inode:[io_uring]"))
		lp_collect_blind(
			scan->collection,
			"io_uring is in use, and user data of its requests cannot be seen: set "
			"trust_kernel=1 if a request is never all that points to something");
}

static void scan_file(struct kernel_scan *scan, int fd)
{
	struct statfs file_system;

	if (LP_SYS2(SYS_fstatfs, fd, &file_system) < 0)
		return;
	if (file_system.f_type == MQUEUE_MAGIC)
		scan_message_queue(scan, fd);
	else if (file_system.f_type == ANON_INODE_FS_MAGIC)
		scan_nameless(scan, (uint32_t)fd);
}

/* The target is stopped: names in /proc are looked up for what needs them only. */
static void scan_descriptor(struct kernel_scan *scan, const char *name)
{
	struct stat status;
	uint32_t fd = 0;
	long r;

	for (; *name >= '0' && *name <= '9'; name++)
		fd = fd * 10 + (uint32_t)(*name - '0');
	if (*name || (int)fd == scan->pipe[0] || (int)fd == scan->pipe[1])
		return;
	r = LP_SYS2(SYS_fstat, fd, &status);
	if (r < 0)
		scan->error = (int)r;
	else if (S_ISFIFO(status.st_mode))
		scan_pipe(scan, (int)fd);
	else if (S_ISSOCK(status.st_mode))
		scan_socket(scan, (int)fd);
	else if (S_ISREG(status.st_mode))
		scan_file(scan, (int)fd);
	else if (!(status.st_mode & S_IFMT))
		scan_nameless(scan, fd);
}

static void scan_descriptors(struct kernel_scan *scan)
{
	_Alignas(8) char entries[4096];
	int directory = lp_sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
	long n;

	if (directory < 0) {
		scan->error = directory;
		return;
	}
	while ((n = LP_SYS3(SYS_getdents64, directory, entries, sizeof(entries))) > 0) {
		long at;

		for (at = 0; at < n;) {
			const struct directory_entry *entry = (const void *)(entries + at);

			if (entry->name[0] >= '0' && entry->name[0] <= '9')
				scan_descriptor(scan, entry->name);
			at += entry->length;
		}
	}
	if (n < 0)
		scan->error = (int)n;
	lp_sys_close(directory);
}

/* --- Pending signals --- */

/* Whether the mask behind KEY in the buffer, "SigPnd:\t0000000000000000", has a signal. */
static bool has_signal(const struct kernel_scan *scan, const char *key)
{
	const char *at = strstr(scan->buffer, key);

	return at && parse_hex(at + strlen(key));
}

/* Where it cannot be seen, one may be: thread numbers may be other ones in /proc than here. */
static bool is_pending(struct kernel_scan *scan, int tid)
{
	char path[64];
	char *at = append(path, "/proc/");

	at = append(append_number(at, scan->collection->input->proc_pid), "/task/");
	append(append_number(at, (uint32_t)tid), "/status");
	return !read_file(scan, path) ||
	       (has_signal(scan, "SigPnd:\t") || has_signal(scan, "ShdPnd:\t"));
}

static void scan_signals(struct kernel_scan *scan)
{
	const struct lp_collect_input *input = scan->collection->input;
	struct lp_thread *thread;
	bool pending = false;
	size_t i;

	for (i = 0; !pending && input->queued_count && (thread = input->thread_at(i)); i++)
		pending = thread->used && is_pending(scan, thread->tid);
	if (!pending)
		return;
	for (i = 0; i < input->queued_count; i++)
		push_word(scan, input->queued[i]);
	if (input->queued_lost)
		lp_collect_blind(
			scan->collection,
			"signals are pending, and more were queued than their values are kept");
}

/* --- System V message queues --- */

/* Reads a decimal number and the blanks before it. */
static const char *next_number(const char *at, long *number)
{
	*number = 0;
	while (*at == ' ' || *at == '-')
		at++;
	for (; *at >= '0' && *at <= '9'; at++)
		*number = *number * 10 + (*at - '0');
	return at;
}

static void scan_messages(struct kernel_scan *scan, int queue, long count)
{
	char *message = scan->buffer;
	long i;

	for (i = 0; i < count; i++) {
		long n = LP_SYS5(SYS_msgrcv, queue, message, BUFFER_SIZE - sizeof(long), i,
				 IPC_NOWAIT | MSG_COPY | MSG_NOERROR);

		if (n < 0) {
			lp_collect_blind(scan->collection,
					 "a System V message queue holds messages, which cannot be "
					 "seen: set "
					 "trust_kernel=1 if no pointer is in them");
			return;
		}
		push_bytes(scan, n + (long)sizeof(long));
	}
}

/* "key msqid perms cbytes qnum lspid ...": the queues that this process sent to last. */
static void scan_message_queues(struct kernel_scan *scan)
{
	enum { KEY, QUEUE, PERMISSIONS, BYTES, COUNT, SENDER, COLUMNS };
	char *copy = lp_own_map(BUFFER_SIZE);
	long length = copy ? read_file(scan, "/proc/sysvipc/msg") : 0;
	const char *line;

	if (!copy)
		scan->error = -ENOMEM;
	if (length)
		memcpy(copy, scan->buffer, (size_t)length + 1);
	for (line = length ? strchr(copy, '\n') : NULL; line && line[1];
	     line = strchr(line + 1, '\n')) {
		const char *at = line + 1;
		long columns[COLUMNS];
		int i;

		for (i = 0; i < COLUMNS; i++)
			at = next_number(at, &columns[i]);
		if (columns[COUNT] && columns[SENDER] == (long)scan->collection->input->pid)
			scan_messages(scan, (int)columns[QUEUE], columns[COUNT]);
	}
	if (copy)
		lp_own_unmap(copy, BUFFER_SIZE);
}

/* Asynchronous I/O has a ring in memory, but requests under way are only in the kernel. */
static void scan_aio(struct kernel_scan *scan)
{
	const struct lp_vec *regions = &scan->collection->maps.regions;
	size_t i;

	for (i = 0; i < regions->count; i++)
		if (!strncmp(lp_vec_at(regions, struct lp_region, i)->path, "/[aio]", 6))
			lp_collect_blind(scan->collection,
					 "Linux aio is in use, and its requests cannot be seen: "
					 "set trust_kernel=1 "
					 "if a request is never all that points to something");
}

int lp_kernel_words(struct lp_collection *collection)
{
	struct kernel_scan scan = {collection, lp_own_map(BUFFER_SIZE), {-1, -1}, 0};

	if (!scan.buffer)
		return -ENOMEM;
	scan_descriptors(&scan);
	scan_timers(&scan);
	scan_signals(&scan);
	scan_message_queues(&scan);
	scan_aio(&scan);
	lp_own_unmap(scan.buffer, BUFFER_SIZE);
	return scan.error;
}
