/* SPDX-License-Identifier: MIT */
/*
 * A State Threads server that leaks a worker for each failed request. A search asks a backend in a
 * worker of its own, which hands its result over a slot for one. A search for nothing is answered
 * with an error before the result is taken: the worker waits for ever to hand it over. Built with
 * FIXED the request cancels its worker first.
 *
 *     st_server [--port N] [--requests N]
 *
 * prints the port; "GET /search?q=WORD\n" on a connection; ends at SIGTERM, or after so many
 * requests
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <st.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct slot {
	st_cond_t taken;
	st_cond_t filled;
	char *value;
	int cancelled;
};

static void free_slot(struct slot *slot)
{
	st_cond_destroy(slot->taken);
	st_cond_destroy(slot->filled);
	free(slot->value);
	free(slot);
}

/* Hands over a result, and ends when it was taken. */
static void *fetch_backend(void *argument)
{
	struct slot *slot = argument;

	st_usleep(1000);
	slot->value = strdup("three results");
	st_cond_signal(slot->filled);
	while (slot->value && !slot->cancelled)
		st_cond_wait(slot->taken);
	free_slot(slot);
	return NULL;
}

static struct slot *ask_backend(void)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	slot->taken = st_cond_new();
	slot->filled = st_cond_new();
	st_thread_create(fetch_backend, slot, 0, 0);
	return slot;
}

static char *take(struct slot *slot)
{
	char *value;

	while (!slot->value)
		st_cond_wait(slot->filled);
	value = slot->value;
	slot->value = NULL;
	st_cond_signal(slot->taken);
	return value;
}

static void answer(st_netfd_t client, const char *text)
{
	st_write(client, text, strlen(text), ST_UTIME_NO_TIMEOUT);
}

static void search(st_netfd_t client, const char *query)
{
	struct slot *slot = ask_backend();
	char *value;

	if (!*query) {
#ifdef FIXED
		slot->cancelled = 1;
		st_cond_signal(slot->taken);
#endif
		answer(client, "400 what do you search?\n");
		return;
	}
	value = take(slot);
	answer(client, "200 ");
	answer(client, value);
	answer(client, "\n");
	free(value);
}

static int ends[2]; /* whoever ends the server tells main */

static void on_terminate(int number)
{
	char byte = (char)number;

	if (write(ends[1], &byte, 1) < 0)
		_exit(1);
}

static int requests_left; /* 0: no end */

static void *serve(void *argument)
{
	static const char prefix[] = "GET /search?q=";
	st_netfd_t client = argument;
	char request[1024];
	ssize_t n = st_read(client, request, sizeof(request) - 1, 10000000);

	if (n > 0) {
		request[n] = 0;
		request[strcspn(request, "\r\n")] = 0;
		if (!strncmp(request, prefix, sizeof(prefix) - 1))
			search(client, request + sizeof(prefix) - 1);
		else
			answer(client, "404 only /search?q=WORD\n");
	}
	st_netfd_close(client);
	if (requests_left && !--requests_left)
		on_terminate(0);
	return NULL;
}

static void *accept_all(void *listener)
{
	for (;;) {
		st_netfd_t client = st_accept(listener, NULL, NULL, ST_UTIME_NO_TIMEOUT);

		if (client && !st_thread_create(serve, client, 0, 0))
			st_netfd_close(client);
	}
	return NULL;
}

static st_netfd_t open_port(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((unsigned short)port)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		perror("st_server");
		exit(1);
	}
	printf("listening on port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	return st_netfd_open_socket(fd);
}

/* Returns the port to listen on. */
static int read_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"requests", required_argument, NULL, 'n'},
		{0},
	};
	int port = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'p') {
			port = atoi(optarg);
		} else if (option == 'n') {
			requests_left = atoi(optarg);
		} else {
			fprintf(stderr, "usage: %s [--port N] [--requests N]\n", argv[0]);
			exit(2);
		}
	}
	return port;
}

/* Microseconds. With the wall clock, which is State Threads' own choice, who sleeps while it is set
 * back sleeps for so much longer. */
static st_utime_t monotonic_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (st_utime_t)now.tv_sec * 1000000 + (st_utime_t)now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	int port = read_options(argc, argv);
	char byte;

	if (pipe(ends) || st_set_utime_function(monotonic_clock) || st_init())
		return 1;
	signal(SIGTERM, on_terminate);
	signal(SIGINT, on_terminate);
	st_thread_create(accept_all, open_port(port), 0, 0);
	st_read(st_netfd_open(ends[0]), &byte, 1, ST_UTIME_NO_TIMEOUT);
	/* Backends that still work on an answer come to their end. */
	st_usleep(20000);
	return 0;
}
