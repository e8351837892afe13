/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server over minigo that leaks a goroutine for each search. A search asks two backends and
 * takes the answer of the first; the channel has no room for that of the second, which waits for
 * ever to hand it over. Built with FIXED the channel has room for both.
 *
 *     minigo_http [--port N]
 *
 * prints the port; answers GET /ok and GET /search?q=WORD; ends at SIGTERM. MINIGO_THREADS=N runs
 * it on so many OS threads.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "minigo.h"

#ifdef FIXED
#define ROOM 2
#else
#define ROOM 0
#endif

/* Shared by a request and its backends; the last one frees it. */
struct search {
	struct chan *answers;
	int users;
};

static void leave(struct search *search)
{
	if (__atomic_sub_fetch(&search->users, 1, __ATOMIC_ACQ_REL))
		return;
	chan_free(search->answers);
	free(search);
}

static void ask_index(void *argument)
{
	struct search *search = argument;

	go_sleep(MILLISECOND);
	chan_send(search->answers, "three results of the index\n");
	leave(search);
}

static void ask_archive(void *argument)
{
	struct search *search = argument;

	go_sleep(5 * MILLISECOND);
	chan_send(search->answers, "three results of the archive\n");
	leave(search);
}

static const char *first_answer(void)
{
	struct search *search = malloc(sizeof(*search));
	const char *answer;

	search->answers = chan_make(ROOM);
	search->users = 3;
	go(ask_index, search);
	go(ask_archive, search);
	answer = chan_receive(search->answers, NULL);
	leave(search);
	return answer;
}

struct client {
	int fd;
	size_t size; /* of what was read and not yet answered */
	char text[4096];
};

/* Reads on until there is a whole request. Returns the length of its head; 0: there is none. */
static size_t read_head(struct client *client)
{
	for (;;) {
		ptrdiff_t n;
		char *end;

		client->text[client->size] = 0;
		end = strstr(client->text, "\r\n\r\n");
		if (end)
			return (size_t)(end + 4 - client->text);
		n = go_read(client->fd, client->text + client->size,
			    sizeof(client->text) - 1 - client->size);
		if (n <= 0)
			return 0;
		client->size += (size_t)n;
	}
}

static bool write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ptrdiff_t n = go_write(fd, text, size);

		if (n <= 0)
			return false;
		text += n;
		size -= (size_t)n;
	}
	return true;
}

static bool reply(int fd, const char *status, const char *body)
{
	char text[256];
	int size = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s",
			    status, strlen(body), body);

	return write_all(fd, text, (size_t)size);
}

static bool starts_with(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

static bool answer(int fd, const char *request)
{
	if (starts_with(request, "GET /ok "))
		return reply(fd, "200 OK", "ok\n");
	if (starts_with(request, "GET /search?q="))
		return reply(fd, "200 OK", first_answer());
	return reply(fd, "404 Not Found", "only /ok and /search?q=WORD\n");
}

/* One connection, for as many requests as the client likes. */
static void serve(void *argument)
{
	struct client *client = argument;
	size_t head;

	while ((head = read_head(client)) && answer(client->fd, client->text)) {
		client->size -= head;
		memmove(client->text, client->text + head, client->size);
	}
	close(client->fd);
	free(client);
}

static void accept_all(void *listener)
{
	for (;;) {
		int fd = go_accept(*(int *)listener);
		struct client *client;

		if (fd < 0) { /* none is left, say */
			go_sleep(10 * MILLISECOND);
			continue;
		}
		client = malloc(sizeof(*client));
		client->fd = fd;
		client->size = 0;
		go(serve, client);
	}
}

static int open_port(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((unsigned short)port)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		perror("minigo_http");
		exit(1);
	}
	printf("listening on port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static int read_options(int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'}, {0}};
	int port = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option != 'p') {
			fprintf(stderr, "usage: %s [--port N]\n", argv[0]);
			exit(2);
		}
		port = atoi(optarg);
	}
	return port;
}

static int ends[2]; /* a signal tells main */

static void on_terminate(int number)
{
	char byte = (char)number;

	if (write(ends[1], &byte, 1) < 0)
		_exit(1);
}

int main(int argc, char **argv)
{
	static int listener;
	int port = read_options(argc, argv);
	char byte;

	if (pipe(ends))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_terminate);
	signal(SIGINT, on_terminate);
	minigo_init();
	listener = open_port(port);
	go(accept_all, &listener);
	go_read(ends[0], &byte, 1);
	return 0;
}
