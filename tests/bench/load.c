/* SPDX-License-Identifier: MIT */
/*
 * load PORT REQUESTS CLIENTS: so many searches on examples/st_server at this machine, from so many
 * State Threads goroutines, each with one connection at a time. Prints requests a second.
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
	static const char request[] = "GET /search?q=word\n";
	const ssize_t size = sizeof(request) - 1;
	char answer[256];
	st_netfd_t server = st_netfd_open_socket(socket(AF_INET, SOCK_STREAM, 0));
	ssize_t n;

	if (!server ||
	    st_connect(server, (struct sockaddr *)&address, sizeof(address), ST_UTIME_NO_TIMEOUT))
		fail("connect");
	if (st_write(server, request, size, ST_UTIME_NO_TIMEOUT) != size)
		fail("write");
	n = st_read_fully(server, answer, sizeof(answer), ST_UTIME_NO_TIMEOUT);
	if (n < 4 || memcmp(answer, "200 ", 4))
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

	if (argc != 4)
		return 2;
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
