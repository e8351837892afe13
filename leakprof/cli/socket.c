/* SPDX-License-Identifier: MIT */
/*
 * The requester's side of core/protocol.h.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/protocol.h"

#define STREAM_MAX ((size_t)2 << 30)

uint32_t lp_random_token(void)
{
	uint32_t token;

	if (getrandom(&token, sizeof(token), 0) != sizeof(token))
		token = (uint32_t)time(NULL) * 2654435761u;
	/* A signal's value is an int: keep it positive. */
	return token & 0x7fffffff;
}

int lp_listen(uint32_t token, char *name, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = snprintf(name, size, LP_SOCKET_FORMAT, (unsigned)getpid(), token);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	memcpy(address.sun_path + 1, name, (size_t)length);
	if (!bind(fd, (struct sockaddr *)&address,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) &&
	    !listen(fd, 128))
		return fd;
	r = -errno;
	close(fd);
	return r;
}

int lp_accept(int listener, int timeout_ms, uid_t uid, pid_t *pid, void **data, size_t *size)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	struct timeval limit = {.tv_sec = 60};
	struct ucred peer;
	socklen_t length = sizeof(peer);
	int fd;
	int r;

	r = poll(&ready, 1, timeout_ms);
	if (r <= 0)
		return r ? -errno : -ETIMEDOUT;
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length)) {
		r = -errno;
	} else if (peer.uid && peer.uid != uid) {
		r = -EPERM;
	} else {
		*pid = peer.pid;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		r = lp_read_all(fd, STREAM_MAX, data, size);
	}
	close(fd);
	return r;
}
