// What the programs of both libraries for Node have in common; ../README.md has the arguments and
// the output.
"use strict";

const readline = require("node:readline");

const PAUSE = 2.5;
const POOLED = 8;

const password = process.env.REDIS_PASSWORD;
const [host, port] = process.env.REDIS_VIP.split(":");
const sentinels = (process.env.REDIS_SENTINELS ?? "").split(",").filter(Boolean)
  .map((s) => ({ host: s.split(":")[0], port: Number(s.split(":")[1]) }));
const name = process.env.REDIS_NAME;
const documented = process.env.REDIS_SETTINGS === "documented";
const [mode, key] = process.argv.slice(2);
const listens = mode === "blpop" || mode === "subscribe";

function say(kind, what) {
  const now = Math.round((performance.timeOrigin + performance.now()) * 1000);
  process.stdout.write(`${now} ${kind} ${String(what).replaceAll("\n", " ")}\n`);
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// attempt says what came of it, and whether it went well.
async function attempt(act) {
  try {
    say("ok", await act());
    return true;
  } catch (error) {
    say("err", `${error.name}: ${error.message}`);
    return false;
  }
}

// until repeats what has not gone well.
async function until(act) {
  while (!(await attempt(act))) await sleep(PAUSE);
}

// run does what the mode says, by a library's own ways of it.
async function run({ connect, write, blpop, subscribe }) {
  const client = await connect();
  if (mode === "subscribe") {
    await until(async () => { await subscribe(client, (message) => say("ok", message)); return "subscribed"; });
  } else if (mode === "pool") {
    // A round for each line on standard input: so many commands at the same time.
    for await (const _ of readline.createInterface({ input: process.stdin })) {
      await Promise.all(Array.from({ length: POOLED }, (_, i) =>
        until(async () => { await write.writer(client, i); return `used ${i}`; })));
    }
  } else if (mode === "blpop") {
    for (;;) await until(() => blpop(client));
  } else {
    for (let n = 1; ; n++) {
      await attempt(() => write[mode](client, n));
      await sleep(PAUSE);
    }
  }
}

module.exports = { password, host, port, sentinels, name, documented, mode, key, listens, POOLED, say, run };
