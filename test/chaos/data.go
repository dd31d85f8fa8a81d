package chaos

import (
	"context"
	"fmt"
	"maps"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
)

// digestScript has redis-server itself say what each key holds: "" for one that is about to expire,
// and so may be gone here and not there.
const digestScript = `local out = {}
local t = redis.call('TIME')
local now = t[1] * 1000
for i, key in ipairs(KEYS) do
  local kind, at, text = redis.call('TYPE', key).ok, redis.call('PEXPIRETIME', key), ''
  if kind == 'string' then text = redis.call('GET', key)
  elseif kind == 'list' then text = table.concat(redis.call('LRANGE', key, 0, -1), ',') end
  if at >= 0 and at < now + tonumber(ARGV[1]) or kind == 'none' then out[i] = ''
  else out[i] = kind .. ' ' .. at .. ' ' .. redis.sha1hex(text) end
end
return out`

// soon is what digest leaves out: keys that expire within it.
const soon = 10 * time.Second

// digest is what a redis-server has, key by key.
func digest(ctx context.Context, c *goredis.Client) (map[string]string, error) {
	const page = 500
	all := map[string]string{}
	for cursor := uint64(0); ; {
		// Large values keep the script busy: 500 of 64 KiB for a tenth of a second.
		keys, next, err := c.Scan(ctx, cursor, "*", page).Result()
		if err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			sums, err := c.EvalRO(ctx, digestScript, keys, soon.Milliseconds()).StringSlice()
			if err != nil {
				return nil, err
			}
			for i, sum := range sums {
				if sum != "" {
					all[keys[i]] = sum
				}
			}
		}
		if cursor = next; cursor == 0 {
			return all, nil
		}
	}
}

// same compares the whole datasets of all nodes. It waits a moment for them to agree: what a client
// that is long gone had sent may still arrive, so the primary is asked each time as well.
func (w *world) same(ctx context.Context, after agent.Status) (differ []string, keys int, err error) {
	p := dial(w.c, w.c.Host(cluster.Primary(after)).Addr().String())
	defer p.Close()
	limit, cancel := context.WithTimeout(ctx, agreeLimit)
	defer cancel()
	for _, name := range w.c.Others(cluster.Primary(after)) {
		c := dial(w.c, w.c.Host(name).Addr().String())
		err := lab.Await(limit, 200*time.Millisecond, func() error {
			want, err := digest(ctx, p)
			if err != nil {
				return err
			}
			has, err := digest(ctx, c)
			keys = len(want)
			if err == nil && !maps.Equal(has, want) {
				err = fmt.Errorf("%d keys, the primary has %d: %s", len(has), len(want), difference(has, want))
			}
			return err
		})
		c.Close()
		if err != nil {
			differ = append(differ, fmt.Sprintf("%s does not have what the primary has: %v", name, err))
		}
	}
	return differ, keys, nil
}

// difference names a key that is not the same in both.
func difference(has, want map[string]string) string {
	for key, sum := range want {
		if has[key] != sum {
			return fmt.Sprintf("%s is %q there and %q on the primary", key, has[key], sum)
		}
	}
	for key, sum := range has {
		if want[key] == "" {
			return fmt.Sprintf("%s is %q there and not on the primary", key, sum)
		}
	}
	return "nothing"
}
