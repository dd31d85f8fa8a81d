// node-redis as an application uses it; ../README.md has the arguments and the output.
"use strict";

const { createClient, createClientPool, createSentinel } = require("redis");
const { password, host, port, sentinels, name, documented, mode, key, listens, POOLED, say, run } = require("../node/program.js");

// doc:
const commands = {
  connectTimeout: 250,
  socketTimeout: 2000,
  keepAliveInitialDelay: 2000,
  reconnectStrategy: () => 20,
};
const listener = {
  connectTimeout: 250,
  keepAliveInitialDelay: 2000,
  reconnectStrategy: () => 20,
};
// :doc

function byVIP(socket) {
  // doc:
  return createClient({ socket: { host, port, ...socket }, password });
  // :doc
}

function pooledByVIP(socket) {
  // doc:
  return createClientPool({ socket: { host, port, ...socket }, password }, { minimum: 8 });
  // :doc
}

function bySentinel(socket) {
  const masterPoolSize = mode === "pool" ? POOLED : 1;
  // doc:
  return createSentinel({
    name,
    sentinelRootNodes: sentinels,
    nodeClientOptions: { password, socket },
    masterPoolSize,
  });
  // :doc
}

async function connect() {
  const socket = documented ? (listens ? listener : commands) : {};
  const make = sentinels.length ? bySentinel : mode === "pool" ? pooledByVIP : byVIP;
  const client = make(socket);
  client.on("error", (error) => say("note", error.message || error.code));
  client.on("ready", () => say("note", "ready"));
  await client.connect();
  return client;
}

const write = {
  writer: async (client, n) => { await client.rPush(key, String(n)); return n; },
  multi: async (client, n) => { await client.multi().rPush(key, String(n)).incr(`${key}:count`).exec(); return n; },
  pipeline: async (client, n) => {
    const batch = client.multi();
    for (let i = n * 10; i < n * 10 + 10; i++) batch.rPush(key, String(i));
    await batch.execAsPipeline();
    return `${n * 10}-${n * 10 + 9}`;
  },
};

run({
  connect,
  write,
  blpop: async (client) => (await client.blPop(key, 0)).element,
  subscribe: (client, got) => client.subscribe(key, got),
});
