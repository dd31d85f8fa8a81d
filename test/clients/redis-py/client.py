"""redis-py as an application uses it; ../README.md has the arguments and the output."""

import os
import socket
import sys
import threading
import time

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

PAUSE = 0.0025
POOLED = 8

password = os.environ["REDIS_PASSWORD"]
vip = os.environ["REDIS_VIP"]
sentinels = [s.rsplit(":", 1) for s in os.environ.get("REDIS_SENTINELS", "").split(",") if s]
name = os.environ["REDIS_NAME"]
documented = os.environ["REDIS_SETTINGS"] == "documented"
mode, key = sys.argv[1:]
host, port = vip.rsplit(":", 1)
listens = mode in ("blpop", "subscribe")

# doc:
keepalive = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        socket.TCP_KEEPIDLE: 2,
        socket.TCP_KEEPINTVL: 1,
        socket.TCP_KEEPCNT: 3,
    },
}
commands = {
    "socket_connect_timeout": 0.25,
    "socket_timeout": 2,
    "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), 30),
    "retry_on_error": [ConnectionError, TimeoutError],
    **keepalive,
}
listener = {"socket_connect_timeout": 0.25, **keepalive}
# :doc


def by_vip(options):
    # doc:
    return redis.Redis(host=host, port=port, password=password, **options)
    # :doc


def by_sentinel(options):
    asks = {"socket_connect_timeout": 0.25, "socket_timeout": 0.5} if documented else {}
    # doc:
    sentinel = Sentinel(sentinels, sentinel_kwargs=asks)
    return sentinel.master_for(name, password=password, **options)
    # :doc


def connect():
    options = (listener if listens else commands) if documented else {}
    return by_sentinel(options) if sentinels else by_vip(options)


def say(kind, what):
    os.write(1, ("%d %s %s\n" % (time.time_ns() // 1000, kind, what)).encode())


def attempt(do):
    """Says what came of it, and whether it went well."""
    try:
        say("ok", do())
        return True
    except (RedisError, OSError) as error:
        say("err", "%s: %s" % (type(error).__name__, " ".join(str(error).split())))
        return False


def write(r, n):
    r.rpush(key, n)
    return n


def multi(r, n):
    with r.pipeline(transaction=True) as p:
        p.rpush(key, n).incr(key + ":count").execute()
    return n


def pipeline(r, n):
    first = n * 10
    with r.pipeline(transaction=False) as p:
        for i in range(first, first + 10):
            p.rpush(key, i)
        p.execute()
    return "%d-%d" % (first, first + 9)


def writes(one):
    r, n = connect(), 0
    while True:
        n += 1
        attempt(lambda: one(r, n))
        time.sleep(PAUSE)


def blpop():
    r = connect()
    say("note", "listening")
    while True:
        if not attempt(lambda: r.blpop(key, 0)[1].decode()):
            time.sleep(PAUSE)


def subscribe():
    r = connect()
    p = r.pubsub()

    def message():
        while True:
            m = p.get_message(timeout=None)
            if m and m["type"] == "message":
                return m["data"].decode()
            say("note", "subscribed")

    while not attempt(lambda: p.subscribe(key) or "subscribing"):
        time.sleep(PAUSE)
    while True:
        if not attempt(message):
            time.sleep(PAUSE)


def pool():
    """A round for each line on standard input: every pooled connection is used once, at the same
    time, until it has done its command."""
    r = connect()
    everybody = threading.Barrier(POOLED)

    def use(i):
        everybody.wait()
        while not attempt(lambda: r.rpush(key, i) and "used %d" % i):
            time.sleep(PAUSE)

    for _ in sys.stdin:
        threads = [threading.Thread(target=use, args=(i,)) for i in range(POOLED)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


if mode in ("writer", "multi", "pipeline"):
    writes({"writer": write, "multi": multi, "pipeline": pipeline}[mode])
else:
    {"blpop": blpop, "subscribe": subscribe, "pool": pool}[mode]()
