/* SPDX-License-Identifier: MIT */
/*
 * Files in and out, whole or not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define INPUT_MAX ((size_t)4 << 30)

int lp_read_all(int fd, size_t limit, void **data, size_t *size)
{
	size_t room = 65536;
	char *bytes = malloc(room);
	ssize_t n;
	int r;

	*size = 0;
	while (bytes && (n = read(fd, bytes + *size, room - *size)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || (*size += (size_t)n) > limit) {
			r = n < 0 ? -errno : -EFBIG;
			free(bytes);
			return r;
		}
		if (*size == room) {
			char *larger = realloc(bytes, room *= 2);

			if (!larger)
				free(bytes);
			bytes = larger;
		}
	}
	*data = bytes;
	return bytes ? 0 : -ENOMEM;
}

int lp_read_file(const char *path, void **data, size_t *size)
{
	bool standard = !strcmp(path, "-");
	int fd = standard ? 0 : open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return lp_fail(LP_EXIT_INPUT, "%s cannot be opened: %s", path, strerror(errno));
	r = lp_read_all(fd, INPUT_MAX, data, size);
	if (!standard)
		close(fd);
	return r ? lp_fail(LP_EXIT_INPUT, "%s cannot be read: %s", path, strerror(-r)) : LP_EXIT_OK;
}

static int write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* A terminal, pipe or device cannot be renamed over. */
static bool is_special(const char *path)
{
	struct stat status;

	return !stat(path, &status) && !S_ISREG(status.st_mode);
}

static int write_directly(const char *path, const void *data, size_t size)
{
	bool standard = !strcmp(path, "-");
	int fd = standard ? 1 : open(path, O_WRONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : write_all(fd, data, size);

	if (!standard && fd >= 0)
		close(fd);
	return r;
}

/* A file without a name, of which nothing stays when we are killed. Below 0: not on this
 * filesystem. */
static int open_nameless(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd = folder ? open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600) : -1;

	free(folder);
	return fd;
}

static int give_name(int fd, const char *path)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

/* Writes FD and closes it; at the end it becomes NAME, if it has none (NULL: it has). */
static int write_whole(int fd, const char *name, const void *data, size_t size)
{
	int r = fd < 0 ? -errno : write_all(fd, data, size);

	if (!r && name)
		r = give_name(fd, name);
	if (fd >= 0 && close(fd) && !r)
		r = -errno;
	return r;
}

static int write_beside(const char *path, const void *data, size_t size)
{
	char *beside = NULL;
	int r;

	if (asprintf(&beside, "%s.%ld.part", path, (long)getpid()) < 0)
		return -ENOMEM;
	/* Of one with our PID that was killed: in containers they come again. */
	unlink(beside);
	r = write_whole(open_nameless(path), beside, data, size);
	/* Without such files, or without /proc to name one by. */
	if (r)
		r = write_whole(open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), NULL,
				data, size);
	if (!r && rename(beside, path))
		r = -errno;
	if (r)
		unlink(beside);
	free(beside);
	return r;
}

int lp_write_file(const char *path, const void *data, size_t size)
{
	int r = !strcmp(path, "-") || is_special(path) ? write_directly(path, data, size)
						       : write_beside(path, data, size);

	return r ? lp_fail(LP_EXIT_OUTPUT, "%s cannot be written: %s; choose another place with -o",
			   path, strerror(-r))
		 : LP_EXIT_OK;
}

int lp_load_data_as(const char *name, const struct lp_load *how, const void *data, size_t size,
		    struct lp_report **report)
{
	struct lp_load with_path = *how;
	const char *reason = "";
	int r;

	with_path.debug_path = getenv("LEAKPROF_DEBUG_PATH");
	r = lp_report_load_as(report, &with_path, data, size, &reason);

	if (r == -ENOMEM)
		return lp_fail(LP_EXIT_FAILED, "there is not enough memory to read %s", name);
	return r ? lp_fail(LP_EXIT_INPUT, "%s: %s", name, reason) : LP_EXIT_OK;
}

int lp_load_data(const char *name, const void *data, size_t size, struct lp_report **report)
{
	const struct lp_load leaks = {.profile = LP_PROFILE_LEAK};

	return lp_load_data_as(name, &leaks, data, size, report);
}

bool lp_is_raw_name(const char *path)
{
	static const char end[] = ".raw";
	size_t length = strlen(path);

	return length >= strlen(end) && !strcmp(path + length - strlen(end), end);
}

int lp_load_file_as(const char *path, enum lp_profile profile, struct lp_report **report)
{
	const struct lp_load how = {.profile = profile};
	void *data;
	size_t size;
	int code = lp_read_file(path, &data, &size);

	if (code)
		return code;
	code = lp_load_data_as(path, &how, data, size, report);
	free(data);
	return code;
}

int lp_load_file(const char *path, struct lp_report **report)
{
	return lp_load_file_as(path, LP_PROFILE_LEAK, report);
}

int lp_read_profile_name(const char *name, enum lp_profile *profile)
{
	*profile = lp_profile_find(name);
	return *profile ? LP_EXIT_OK
			: lp_usage("--profile takes goroutineleak or goroutine, not %s", name);
}

int lp_read_count(const char *option, const char *text, uint64_t *count)
{
	char *end;

	errno = 0;
	*count = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno
		       ? LP_EXIT_OK
		       : lp_usage("%s takes a number, not %s", option, text);
}

int lp_read_form(const char *text, bool *json)
{
	*json = !strcmp(text, "json");
	return *json || !strcmp(text, "text")
		       ? LP_EXIT_OK
		       : lp_usage("--format takes text or json, not %s", text);
}

bool lp_may_colour(FILE *file)
{
	const char *terminal = getenv("TERM");

	return isatty(fileno(file)) && !getenv("NO_COLOR") && terminal && strcmp(terminal, "dumb");
}
