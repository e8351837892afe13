/* SPDX-License-Identifier: MIT */
/*
 * Connects to who asked, by core/protocol.h. Runs in the snapshot, or in the process that answers
 * for statistics, which shares the target's memory: raw system calls only, no errno, no static
 * data.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/protocol.h"
#include "core/sys.h"
#include "runtime_hooks/target.h"

static int connect_address(const struct sockaddr_un *address, size_t size, int flags)
{
	struct ucred peer = {0};
	int length = sizeof(peer);
	long fd = LP_SYS3(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	long r;

	if (fd < 0)
		return (int)fd;
	r = LP_SYS3(SYS_connect, fd, address, size);
	if (!r)
		r = LP_SYS5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
	if (!r && peer.uid && peer.uid != (uid_t)LP_SYS0(SYS_geteuid))
		r = -EPERM;
	/* Not where a standard descriptor was closed: those go. */
	if (!r)
		r = LP_SYS3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
	lp_sys_close((int)fd);
	return (int)r;
}

static int connect_abstract(const char *name, int flags)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);

	if (length + 1 > sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path + 1, name, length);
	return connect_address(&address, offsetof(struct sockaddr_un, sun_path) + 1 + length,
			       flags);
}

int lp_connect_name(const char *name)
{
	return connect_abstract(name, 0);
}

/* HEAD, and the token behind it. */
static void write_name(char *at, const char *head, const char *middle, uint64_t token)
{
	int digits = LP_TOKEN_DIGITS;

	while (*head)
		*at++ = *head++;
	while (*middle)
		*at++ = *middle++;
	while (digits-- > 0)
		*at++ = "0123456789abcdef"[token >> (4 * digits) & 15];
	*at = 0;
}

int lp_connect_token(uint64_t token, bool patient)
{
	const char *const folders[] = LP_SOCKET_FOLDERS;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int flags = patient ? 0 : SOCK_NONBLOCK;
	char name[64];
	size_t i;
	int fd;

	write_name(name, LP_TOKEN_ABSTRACT, "", token);
	fd = connect_abstract(name, flags);
	for (i = 0; fd < 0 && fd != -EPERM && i < LP_ARRAY_SIZE(folders); i++) {
		write_name(address.sun_path, folders[i], LP_TOKEN_FILE, token);
		fd = connect_address(&address, sizeof(address), flags);
	}
	return fd;
}
