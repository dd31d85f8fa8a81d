/* hiredis as an application uses it; ../README.md has the arguments and the output. */

#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PAUSE = 2500, POOLED = 8, PIPELINED = 10 };

static char host[64];
static int port;
static const char *password, *key;
static bool documented, listens;

static void say(const char *kind, const char *what) {
	struct timeval now;
	gettimeofday(&now, NULL);
	printf("%lld %s %s\n", now.tv_sec * 1000000LL + now.tv_usec, kind, what);
	fflush(stdout);
}

static void set(redisContext *c, int level, int option, int value) {
	if (setsockopt(c->fd, level, option, &value, sizeof value) != 0)
		say("note", strerror(errno));
}

static redisContext *open_documented(void) {
	redisContext *c;
	/* doc: */
	struct timeval connecting = {0, 250000}, answering = {2, 0};
	c = redisConnectWithTimeout(host, port, connecting);
	/* :doc */
	if (c == NULL || c->err)
		return c;
	if (listens) {
		/* doc: */
		set(c, SOL_SOCKET, SO_KEEPALIVE, 1);
		set(c, IPPROTO_TCP, TCP_KEEPIDLE, 2);
		set(c, IPPROTO_TCP, TCP_KEEPINTVL, 1);
		set(c, IPPROTO_TCP, TCP_KEEPCNT, 3);
		/* :doc */
		struct timeval never = {0, 0};
		redisSetTimeout(c, never);
	} else {
		/* doc: */
		redisSetTimeout(c, answering);
		/* :doc */
	}
	return c;
}

/* good says what came of a reply, frees it, and returns whether it was a good one. */
static bool good(redisContext *c, redisReply *r) {
	if (r == NULL) {
		say("err", c->errstr);
		return false;
	}
	bool fine = r->type != REDIS_REPLY_ERROR;
	for (size_t i = 0; fine && r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
		if (r->element[i]->type == REDIS_REPLY_ERROR)
			fine = false;
	if (!fine)
		say("err", r->type == REDIS_REPLY_ERROR ? r->str : "an error in a transaction");
	freeReplyObject(r);
	return fine;
}

static redisContext *reach(void) {
	redisContext *c = documented ? open_documented() : redisConnect(host, port);
	if (c != NULL && !c->err && good(c, redisCommand(c, "AUTH %s", password)))
		return c;
	if (c != NULL && c->err)
		say("err", c->errstr);
	redisFree(c);
	return NULL;
}

static bool do_write(redisContext *c, long n) {
	return good(c, redisCommand(c, "RPUSH %s %ld", key, n));
}

static bool do_multi(redisContext *c, long n) {
	bool all = good(c, redisCommand(c, "MULTI"));
	if (!c->err)
		all &= good(c, redisCommand(c, "RPUSH %s %ld", key, n));
	if (!c->err)
		all &= good(c, redisCommand(c, "INCR %s:count", key));
	return !c->err && good(c, redisCommand(c, "EXEC")) && all;
}

static bool do_pipeline(redisContext *c, long n) {
	bool all = true;
	for (long i = n * PIPELINED; i < (n + 1) * PIPELINED; i++)
		redisAppendCommand(c, "RPUSH %s %ld", key, i);
	for (int i = 0; i < PIPELINED; i++) {
		redisReply *r = NULL;
		if (redisGetReply(c, (void **)&r) != REDIS_OK)
			r = NULL;
		if (!good(c, r))
			all = false;
		if (c->err)
			return false;
	}
	return all;
}

static void writes(bool (*one)(redisContext *, long)) {
	redisContext *c = NULL;
	char what[64];
	for (long n = 1;; n++, usleep(PAUSE)) {
		if (c == NULL && (c = reach()) == NULL)
			continue;
		if (one(c, n)) {
			if (one == do_pipeline)
				snprintf(what, sizeof what, "%ld-%ld", n * PIPELINED, (n + 1) * PIPELINED - 1);
			else
				snprintf(what, sizeof what, "%ld", n);
			say("ok", what);
		} else if (c->err) { /* what is refused leaves the connection as it was */
			redisFree(c);
			c = NULL;
		}
	}
}

/* listen_for says each message; of a reply, it is the element of that number. */
static void listen_for(const char *command, size_t element) {
	for (;; usleep(PAUSE)) {
		redisContext *c = reach();
		if (c == NULL)
			continue;
		say("note", "listening");
		redisReply *r = redisCommand(c, command, key);
		while (r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements > element) {
			if (r->element[element]->type == REDIS_REPLY_STRING)
				say("ok", r->element[element]->str);
			freeReplyObject(r);
			r = NULL;
			if (element == 1)
				r = redisCommand(c, command, key);
			else if (redisGetReply(c, (void **)&r) != REDIS_OK)
				r = NULL;
		}
		if (good(c, r))
			say("err", "no message");
		redisFree(c);
	}
}

/* pool: a round for each line on standard input. There is no pool: so many connections, idle. */
static void pool(void) {
	redisContext *all[POOLED] = {NULL};
	char line[16], what[32];
	while (fgets(line, sizeof line, stdin) != NULL) {
		for (int i = 0; i < POOLED; i++) {
			while (all[i] == NULL || !do_write(all[i], i)) {
				redisFree(all[i]);
				usleep(PAUSE);
				all[i] = reach();
			}
			snprintf(what, sizeof what, "used %d", i);
			say("ok", what);
		}
	}
}

int main(int argc, char **argv) {
	const char *mode = argc == 3 ? argv[1] : "", *vip = getenv("REDIS_VIP");
	password = getenv("REDIS_PASSWORD");
	documented = strcmp(getenv("REDIS_SETTINGS"), "documented") == 0;
	if (argc != 3 || sscanf(vip, "%63[^:]:%d", host, &port) != 2)
		return 2;
	key = argv[2];
	/* doc: */
	signal(SIGPIPE, SIG_IGN);
	/* :doc */
	listens = strcmp(mode, "blpop") == 0 || strcmp(mode, "subscribe") == 0;
	if (strcmp(mode, "writer") == 0)
		writes(do_write);
	else if (strcmp(mode, "multi") == 0)
		writes(do_multi);
	else if (strcmp(mode, "pipeline") == 0)
		writes(do_pipeline);
	else if (strcmp(mode, "blpop") == 0)
		listen_for("BLPOP %s 0", 1);
	else if (strcmp(mode, "subscribe") == 0)
		listen_for("SUBSCRIBE %s", 2);
	else if (strcmp(mode, "pool") == 0)
		pool();
	return 2;
}
