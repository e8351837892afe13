/* SPDX-License-Identifier: MIT */
/*
 * The HTTP side of `leakprof serve`: one thread of libmicrohttpd, which answers at once or hands
 * the request to a worker. Paths, headers and errors are those of Go's net/http/pprof.
 *
 * Each connection carries one request and has a time limit for its head, and one for reading the
 * answer, whatever it does meanwhile: a client that sends or reads a byte now and then does not
 * keep a place. While a worker measures there is no limit; the worker notices who has gone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "cli/serve.h"

#define CONNECTIONS_MAX 256u
#define HEAD_BYTES 16384u /* of a connection: its request's head and the answer's */
#define HEAD_MS 5000
#define READ_MS 60000
#define IDLE_SECONDS 10u

#define HTML "text/html; charset=utf-8"
#define PLAIN "text/plain; charset=utf-8"
#define BINARY "application/octet-stream"
#define METRICS "text/plain; version=0.0.4; charset=utf-8"

struct client {
	int fd;
	int64_t until_ms; /* 0: no limit */
	struct client *next;
	struct client *previous;
};

struct lp_http {
	struct lp_serve *serve;
	struct MHD_Daemon *daemon;
	pthread_mutex_t lock;  /* of CLIENTS */
	struct client clients; /* a ring */
};

/* --- Time limits --- */

static void on_connection(void *context, struct MHD_Connection *connection, void **own,
			  enum MHD_ConnectionNotificationCode code)
{
	struct lp_http *http = context;
	struct client *client = *own;

	pthread_mutex_lock(&http->lock);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		client = calloc(1, sizeof(*client));
		*own = client;
		if (client) {
			client->fd = MHD_get_connection_info(connection,
							     MHD_CONNECTION_INFO_CONNECTION_FD)
					     ->connect_fd;
			client->until_ms = lp_now_ms() + HEAD_MS;
			client->next = &http->clients;
			client->previous = http->clients.previous;
			client->previous->next = client->next->previous = client;
		}
	} else if (client) {
		client->previous->next = client->next;
		client->next->previous = client->previous;
		free(client);
	}
	pthread_mutex_unlock(&http->lock);
}

/* From now on CONNECTION has so much time; 0: any. */
static void limit(struct lp_http *http, struct MHD_Connection *connection, int64_t milliseconds)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct client *client = info ? info->socket_context : NULL;

	if (!client)
		return;
	pthread_mutex_lock(&http->lock);
	client->until_ms = milliseconds ? lp_now_ms() + milliseconds : 0;
	pthread_mutex_unlock(&http->lock);
}

void lp_http_tick(struct lp_serve *serve)
{
	struct lp_http *http = serve->http;
	struct client *client;
	int64_t now = lp_now_ms();

	pthread_mutex_lock(&http->lock);
	for (client = http->clients.next; client != &http->clients; client = client->next)
		if (client->until_ms && client->until_ms < now)
			shutdown(client->fd, SHUT_RDWR);
	pthread_mutex_unlock(&http->lock);
}

/* --- Answers --- */

struct MHD_Response *lp_http_data(void *data, size_t size)
{
	return MHD_create_response_from_buffer(size, data, MHD_RESPMEM_MUST_FREE);
}

struct MHD_Response *lp_http_text(const char *text)
{
	return MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result send_response(struct lp_http *http, struct MHD_Connection *connection,
				     unsigned status, struct MHD_Response *response,
				     const char *type)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", type);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Cache-Control", "no-store");
	MHD_add_response_header(response, "Connection", "close");
	limit(http, connection, READ_MS);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* An error as Go's. HEADER and VALUE: one more, or NULL. */
static enum MHD_Result send_error(struct lp_http *http, struct MHD_Connection *connection,
				  unsigned status, const char *text, const char *header,
				  const char *value)
{
	struct MHD_Response *response = lp_http_text(text);

	if (response) {
		MHD_add_response_header(response, "X-Go-Pprof", "1");
		if (header)
			MHD_add_response_header(response, header, value);
	}
	return send_response(http, connection, status, response, PLAIN);
}

static enum MHD_Result send_page(struct lp_http *http, struct MHD_Connection *connection,
				 char *page, const char *type)
{
	if (!page)
		return send_error(http, connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory\n",
				  NULL, NULL);
	return send_response(http, connection, MHD_HTTP_OK, lp_http_data(page, strlen(page)), type);
}

/* What a worker made. */
static enum MHD_Result send_measured(struct lp_http *http, struct lp_asked *asked)
{
	struct MHD_Response *response = asked->response;
	char disposition[64];
	const char *type = PLAIN;

	asked->response = NULL;
	if (!response)
		return send_error(http, asked->connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
				  "no memory\n", NULL, NULL);
	if (asked->status != MHD_HTTP_OK) {
		MHD_add_response_header(response, "X-Go-Pprof", "1");
	} else if (asked->measure == LP_MEASURE_METRICS) {
		type = METRICS;
	} else if (!asked->debug) {
		type = BINARY;
		snprintf(disposition, sizeof(disposition), "attachment; filename=\"%s%s\"",
			 lp_profile_name(asked->profile), asked->seconds ? "-delta" : "");
		MHD_add_response_header(response, "Content-Disposition", disposition);
	}
	return send_response(http, asked->connection, asked->status, response, type);
}

/* --- Who may ask --- */

/* Compares as long whatever differs where. */
static bool same_secret(const char *a, const char *b)
{
	size_t length = strlen(b);
	unsigned char differs = strlen(a) != length;
	size_t i;

	for (i = 0; a[i]; i++)
		differs |= (unsigned char)a[i] ^ (unsigned char)b[length ? i % length : 0];
	return !differs;
}

static bool has_token(const struct lp_serve *serve, struct MHD_Connection *connection)
{
	static const char scheme[] = "Bearer ";
	const char *value =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");

	if (!serve->token)
		return true;
	return value && !strncasecmp(value, scheme, strlen(scheme)) &&
	       same_secret(value + strlen(scheme), serve->token);
}

/* Whether HOST, "name:port", is an address or localhost. */
static bool is_own_host(const char *host)
{
	char name[64];
	unsigned char address[16];
	size_t length = strcspn(host, *host == '[' ? "]" : ":");

	host += *host == '[';
	length -= length && host[-1] == '[';
	if (length >= sizeof(name))
		return false;
	memcpy(name, host, length);
	name[length] = 0;
	return !strcasecmp(name, "localhost") || inet_pton(AF_INET, name, address) == 1 ||
	       inet_pton(AF_INET6, name, address) == 1;
}

/* A page in a browser on this machine can make a name of its own lead to us, but not ours. */
static bool is_foreign_name(const struct lp_serve *serve, struct MHD_Connection *connection)
{
	const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");

	return serve->loopback && !serve->token && host && !is_own_host(host);
}

static bool has_body(struct MHD_Connection *connection)
{
	const char *length =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");

	return (length && strcmp(length, "0")) ||
	       MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding");
}

/* --- For what --- */

struct request {
	struct lp_http *http;
	struct MHD_Connection *connection;
	void **state;
	size_t target;
};

static const char *argument(const struct request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result refuse(const struct request *request, unsigned status, const char *text)
{
	return send_error(request->http, request->connection, status, text, NULL, NULL);
}

static enum MHD_Result ask(const struct request *request, const struct lp_asked *what,
			   size_t worker)
{
	struct lp_asked *asked = malloc(sizeof(*asked));

	if (!asked)
		return MHD_NO;
	*asked = *what;
	asked->connection = request->connection;
	*request->state = asked;
	limit(request->http, request->connection, 0);
	MHD_suspend_connection(request->connection);
	lp_worker_ask(request->http->serve, worker, asked);
	return MHD_YES;
}

/* The value of seconds: 0 where there is none, -1 where it is none. */
static long read_seconds(const struct request *request)
{
	const char *text = argument(request, "seconds");
	char *end;
	long seconds;

	if (!text || !*text)
		return 0;
	errno = 0;
	seconds = strtol(text, &end, 10);
	return *end || errno || seconds <= 0 ? -1 : seconds;
}

static enum MHD_Result get_profile(const struct request *request, enum lp_profile profile)
{
	const char *debug = argument(request, "debug");
	long level = debug ? strtol(debug, NULL, 10) : 0;
	long seconds = read_seconds(request);
	const struct lp_asked asked = {
		.measure = LP_MEASURE_PROFILE,
		.profile = profile,
		.debug = level < 0		? 0
			 : level > LP_DEBUG_MAX ? LP_DEBUG_MAX
						: (int)level,
		.seconds = (unsigned)seconds,
	};

	if (seconds < 0)
		return refuse(request, MHD_HTTP_BAD_REQUEST,
			      "invalid value for \"seconds\" - must be a positive integer\n");
	if (seconds > LP_SECONDS_MAX)
		return refuse(request, MHD_HTTP_BAD_REQUEST, "\"seconds\" is at most 3600\n");
	if (seconds && asked.debug)
		return refuse(request, MHD_HTTP_BAD_REQUEST,
			      "seconds and debug params are incompatible\n");
	return ask(request, &asked, request->target);
}

static enum MHD_Result get_cmdline(const struct request *request)
{
	struct lp_served *served = &request->http->serve->targets[request->target];
	char path[64];
	void *data;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)served->pid);
	if (lp_read_file(path, &data, &size) || !size)
		return refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "the process has ended\n");
	/* NULs stand between the arguments. */
	return send_response(request->http, request->connection, MHD_HTTP_OK,
			     lp_http_data(data, size - 1), PLAIN);
}

static enum MHD_Result get_index(const struct request *request)
{
	return send_page(request->http, request->connection,
			 lp_page_index(request->http->serve, request->target), HTML);
}

/* Whether PATH begins with START: what follows it, or NULL. */
static const char *after(const char *path, const char *start)
{
	size_t length = strlen(start);

	return strncmp(path, start, length) ? NULL : path + length;
}

static enum MHD_Result get_pprof(const struct request *request, const char *name)
{
	enum lp_profile profile = lp_profile_find(name);

	if (!*name)
		return get_index(request);
	if (!strcmp(name, "cmdline"))
		return get_cmdline(request);
	if (profile)
		return get_profile(request, profile);
	return refuse(request, MHD_HTTP_NOT_FOUND, "Unknown profile\n");
}

static enum MHD_Result get_health(const struct request *request)
{
	struct lp_serve *serve = request->http->serve;
	char why[512];
	size_t i;

	for (i = 0; i < serve->target_count; i++) {
		if (lp_served_ready(&serve->targets[i], why, sizeof(why) - 1))
			continue;
		strcat(why, "\n");
		return refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, why);
	}
	return send_response(request->http, request->connection, MHD_HTTP_OK, lp_http_text("ok\n"),
			     PLAIN);
}

/* /PID/... is for that target; without it there must be only one. Returns the rest of PATH, or
 * NULL. */
static const char *find_target(struct request *request, const char *path)
{
	const struct lp_serve *serve = request->http->serve;
	char prefix[16];
	size_t i;

	for (i = 0; i < serve->target_count; i++) {
		const char *rest;

		snprintf(prefix, sizeof(prefix), "/%d/", (int)serve->targets[i].pid);
		rest = after(path, prefix);
		request->target = i;
		if (rest)
			return rest - 1;
	}
	request->target = 0;
	return serve->target_count == 1 ? path : NULL;
}

static enum MHD_Result route(struct request *request, const char *path)
{
	struct lp_serve *serve = request->http->serve;
	const struct lp_asked metrics = {.measure = LP_MEASURE_METRICS};
	const char *rest;

	if (!strcmp(path, "/metrics"))
		return ask(request, &metrics, serve->target_count);
	if (!strcmp(path, "/"))
		return send_page(request->http, request->connection, lp_page_root(serve), HTML);
	path = find_target(request, path);
	if (!path)
		return refuse(request, MHD_HTTP_NOT_FOUND,
			      "there are several targets here: /PID/debug/pprof/, see /\n");
	rest = after(path, "/debug/pprof/");
	if (rest)
		return get_pprof(request, rest);
	if (!strcmp(path, "/debug/pprof"))
		return send_error(request->http, request->connection, MHD_HTTP_MOVED_PERMANENTLY,
				  "see pprof/\n", "Location", "pprof/");
	return refuse(request, MHD_HTTP_NOT_FOUND, "404 page not found\n");
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **state)
{
	struct lp_http *http = context;
	struct request request = {.http = http, .connection = connection, .state = state};

	(void)version;
	(void)upload;
	(void)upload_size;
	if (*state)
		return send_measured(http, *state);
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return send_error(http, connection, MHD_HTTP_METHOD_NOT_ALLOWED,
				  "only GET and HEAD\n", "Allow", "GET, HEAD");
	if (has_body(connection))
		return refuse(&request, MHD_HTTP_CONTENT_TOO_LARGE, "no body is read here\n");
	if (is_foreign_name(http->serve, connection))
		return refuse(&request, MHD_HTTP_FORBIDDEN,
			      "this is not the host that it was asked for: use localhost or its "
			      "address\n");
	if (!strcmp(url, "/healthz"))
		return get_health(&request);
	if (!has_token(http->serve, connection))
		return send_error(http, connection, MHD_HTTP_UNAUTHORIZED,
				  "a token is asked for: Authorization: Bearer TOKEN\n",
				  "WWW-Authenticate", "Bearer");
	return route(&request, url);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct lp_asked *asked = *state;

	(void)context;
	(void)connection;
	(void)code;
	if (!asked)
		return;
	if (asked->response)
		MHD_destroy_response(asked->response);
	free(asked->first);
	free(asked);
	*state = NULL;
}

/* --- Start and end --- */

/* libmicrohttpd's own messages: of clients that broke off and the like. */
static void be_silent(void *context, const char *format, va_list arguments)
{
	(void)context;
	(void)format;
	(void)arguments;
}

int lp_http_start(struct lp_serve *serve, int listener)
{
	struct lp_http *http = calloc(1, sizeof(*http));

	if (!http)
		return -ENOMEM;
	http->serve = serve;
	pthread_mutex_init(&http->lock, NULL);
	http->clients.next = http->clients.previous = &http->clients;
	serve->http = http;
	http->daemon = MHD_start_daemon(
		MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
		NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER, be_silent, NULL,
		MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)HEAD_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
	return http->daemon ? 0 : -ENOMEM;
}

void lp_http_stop(struct lp_serve *serve)
{
	MHD_stop_daemon(serve->http->daemon);
	free(serve->http);
}
