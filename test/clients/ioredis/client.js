// ioredis as an application uses it; ../README.md has the arguments and the output. It has no pool:
// in that mode it is one connection that is idle.
"use strict";

const { Redis } = require("ioredis");
const { password, host, port, sentinels, name, documented, key, listens, say, run } = require("../node/program.js");

// doc:
const commands = {
  connectTimeout: 250,
  socketTimeout: 2000,
  keepAlive: 2000,
  retryStrategy: () => 20,
  maxRetriesPerRequest: 100,
};
const listener = {
  connectTimeout: 250,
  keepAlive: 2000,
  retryStrategy: () => 20,
  maxRetriesPerRequest: null,
};
// :doc

function byVIP(options) {
  // doc:
  return new Redis({ host, port, password, ...options });
  // :doc
}

function bySentinel(options) {
  // doc:
  return new Redis({ sentinels, name, password, ...options });
  // :doc
}

function connect() {
  const options = documented ? (listens ? listener : commands) : {};
  const redis = sentinels.length ? bySentinel(options) : byVIP(options);
  redis.on("error", (error) => say("note", error.message));
  redis.on("close", () => say("note", "closed"));
  redis.on("ready", () => say("note", "ready"));
  return redis;
}

// exec gives the replies of a transaction or a pipeline back unless one of them is an error.
async function exec(batch) {
  for (const [error] of await batch.exec()) {
    if (error) throw error;
  }
}

const write = {
  writer: async (redis, n) => { await redis.rpush(key, n); return n; },
  multi: async (redis, n) => { await exec(redis.multi().rpush(key, n).incr(`${key}:count`)); return n; },
  pipeline: async (redis, n) => {
    const batch = redis.pipeline();
    for (let i = n * 10; i < n * 10 + 10; i++) batch.rpush(key, i);
    await exec(batch);
    return `${n * 10}-${n * 10 + 9}`;
  },
};

run({
  connect,
  write,
  blpop: async (redis) => (await redis.blpop(key, 0))[1],
  subscribe: (redis, got) => { redis.on("message", (channel, message) => got(message)); return redis.subscribe(key); },
});
