<?php
// phpredis as an application uses it; ../README.md has the arguments and the output.

const PAUSE = 2500;
const POOLED = 8;

$password = getenv('REDIS_PASSWORD');
[$host, $port] = explode(':', getenv('REDIS_VIP'));
$sentinels = array_filter(explode(',', getenv('REDIS_SENTINELS') ?: ''));
$name = getenv('REDIS_NAME');
$documented = getenv('REDIS_SETTINGS') === 'documented';
[, $mode, $key] = $argv;
$listens = in_array($mode, ['blpop', 'subscribe']);

function say(string $kind, string $what): void
{
    fwrite(STDOUT, sprintf("%d %s %s\n", microtime(true) * 1e6, $kind, str_replace("\n", ' ', $what)));
}

// attempt says what came of it, and whether it went well.
function attempt(callable $do): bool
{
    try {
        $done = $do();
        if ($done === null || $done === false) {
            throw new RedisException('refused');
        }
        say('ok', (string) $done);
        return true;
    } catch (RedisException $e) {
        say('err', get_class($e) . ': ' . $e->getMessage());
        return false;
    }
}

// ask returns the primary's address, from the first Sentinel that knows it.
function ask(array $sentinels, string $name): array
{
    foreach ($sentinels as $address) {
        [$host, $port] = explode(':', $address);
        try {
            // doc:
            $sentinel = new RedisSentinel($host, (int) $port, 0.25, null, 0, 0.5);
            $primary = $sentinel->getMasterAddrByName($name);
            // :doc
            if ($primary) {
                return [$primary[0], (int) $primary[1]];
            }
        } catch (RedisException $e) {
            say('note', "$address: " . $e->getMessage());
        }
    }
    throw new RedisException('no Sentinel knows the primary');
}

function connect(): Redis
{
    global $host, $port, $password, $sentinels, $name, $documented, $listens;
    $to = $sentinels ? ask($sentinels, $name) : [$host, (int) $port];
    $redis = new Redis();
    if (!$documented) {
        $redis->connect(...$to);
    } elseif ($listens) {
        // doc:
        $redis->connect($to[0], $to[1], 0.25, null, 0, 5.0);
        $redis->setOption(Redis::OPT_TCP_KEEPALIVE, 1);
        // :doc
    } else {
        // doc:
        $redis->connect($to[0], $to[1], 0.25, null, 0, 2.0);
        // :doc
    }
    $redis->auth($password);
    return $redis;
}

// again has a connection that failed replaced by a new one.
function again(?Redis &$redis, callable $do): bool
{
    $good = attempt(function () use (&$redis, $do) {
        $redis ??= connect();
        return $do($redis);
    });
    if (!$good) {
        $redis = null;
        usleep(PAUSE);
    }
    return $good;
}

function writes(callable $one): void
{
    for ($n = 1, $redis = null; ; $n++) {
        if (again($redis, fn ($r) => $one($r, $n))) {
            usleep(PAUSE);
        }
    }
}

function pool(string $key): void
{
    // There is no pool beyond persistent connections, one a process: so many connections, idle.
    $all = array_fill(0, POOLED, null);
    while (fgets(STDIN) !== false) {
        foreach ($all as $i => &$redis) {
            while (!again($redis, fn ($r) => $r->rPush($key, $i) ? "used $i" : null)) {
            }
        }
        unset($redis);
    }
}

match ($mode) {
    'writer' => writes(fn ($r, $n) => $r->rPush($key, $n) ? $n : null),
    'multi' => writes(function ($r, $n) use ($key) {
        $done = $r->multi()->rPush($key, $n)->incr("$key:count")->exec();
        return $done && $done[0] && $done[1] ? $n : null;
    }),
    'pipeline' => writes(function ($r, $n) use ($key) {
        $p = $r->multi(Redis::PIPELINE);
        for ($i = $n * 10; $i < $n * 10 + 10; $i++) {
            $p->rPush($key, $i);
        }
        $done = $p->exec();
        return $done && count(array_filter($done)) === 10 ? sprintf('%d-%d', $n * 10, $n * 10 + 9) : null;
    }),
    'blpop' => (function () use ($key, $documented) {
        say('note', 'listening');
        for ($redis = null; ; ) {
            if ($documented) {
                // doc:
                $wait = 2; // shorter than the read timeout: nothing came, ask again
                // :doc
            } else {
                $wait = 0;
            }
            again($redis, function ($r) use ($key, $wait) {
                while (!($got = $r->blPop($key, $wait)) && $wait && $got !== false) {
                }
                return $got[1] ?? null;
            });
        }
    })(),
    'subscribe' => (function () use ($key) {
        for ($redis = null; ; ) {
            again($redis, function ($r) use ($key) {
                say('note', 'subscribing');
                $r->subscribe([$key], fn ($r, $channel, $message) => say('ok', $message));
                return null;
            });
        }
    })(),
    'pool' => pool($key),
};
