/* SPDX-License-Identifier: MIT */
/*
 * load PORT REQUESTS CLIENTS [PATH]: so many searches on examples/st_server at this machine, or
 * with PATH HTTP requests for it on examples/minigo_http, from so many State Threads goroutines,
 * each with one connection at a time. Prints requests a second.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static struct sockaddr_in address = {.sin_family = AF_INET};
static char request[256] = "GET /search?q=word\n";
static const char *good = "200 "; /* how an answer begins */
static long left;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void ask(void)
{
	const ssize_t size = (ssize_t)strlen(request);
	char answer[256];
	st_netfd_t server = st_netfd_open_socket(socket(AF_INET, SOCK_STREAM, 0));
	ssize_t n;

	if (!server ||
	    st_connect(server, (struct sockaddr *)&address, sizeof(address), ST_UTIME_NO_TIMEOUT))
		fail("connect");
	if (st_write(server, request, size, ST_UTIME_NO_TIMEOUT) != size)
		fail("write");
	/* One that would wait for another request ends the connection instead. */
	shutdown(st_netfd_fileno(server), SHUT_WR);
	n = st_read_fully(server, answer, sizeof(answer), ST_UTIME_NO_TIMEOUT);
	if (n < (ssize_t)strlen(good) || memcmp(answer, good, strlen(good)))
		fail("an answer");
	st_netfd_close(server);
}

static void *ask_all(void *argument)
{
	while (left-- > 0)
		ask();
	return argument;
}

int main(int argc, char **argv)
{
	st_thread_t clients[256];
	double start;
	long count;
	int i;
	int n;

	if (argc != 4 && argc != 5)
		return 2;
	if (argc == 5) {
		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n\r\n", argv[4]);
		good = "HTTP/1.1 200 ";
	}
	address.sin_port = htons((unsigned short)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	left = count = atol(argv[2]);
	n = atoi(argv[3]);
	if (n > 256 || st_set_eventsys(ST_EVENTSYS_ALT) || st_init())
		return 2;
	start = now();
	for (i = 0; i < n; i++)
		clients[i] = st_thread_create(ask_all, NULL, 1, 0);
	for (i = 0; i < n; i++)
		st_thread_join(clients[i], NULL);
	printf("%.1f\n", (double)count / (now() - start));
	return 0;
}
