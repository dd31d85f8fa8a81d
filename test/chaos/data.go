package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
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
// that is long gone had sent may still arrive, so all are asked each time.
//
// Strays may be on one of them alone.
func (w *world) same(ctx context.Context, after agent.Status, strays []writer.Write) (differ []string, keys int, err error) {
	names := append([]string{cluster.Primary(after)}, w.c.Others(cluster.Primary(after))...)
	ctx, cancel := context.WithTimeout(ctx, agreeLimit)
	defer cancel()
	waited := lab.Await(ctx, 200*time.Millisecond, func() error {
		var all []map[string]string
		if all, err = w.digests(context.WithoutCancel(ctx), names, strays); err != nil {
			return err
		}
		differ, keys = nil, len(all[0])
		for i, has := range all[1:] {
			if !maps.Equal(has, all[0]) {
				differ = append(differ, fmt.Sprintf("%s does not have what the primary has: %d keys and %d; %s",
					names[i+1], len(has), keys, difference(has, all[0])))
			}
		}
		if len(differ) > 0 {
			return errors.New("they differ")
		}
		return nil
	})
	if err != nil {
		return nil, 0, errors.Join(err, waited)
	}
	return differ, keys, nil
}

// digests are those of several nodes, all at once.
func (w *world) digests(ctx context.Context, names []string, strays []writer.Write) ([]map[string]string, error) {
	all, errs := make([]map[string]string, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			c := dial(w.c, w.c.Host(name).Addr().String())
			defer c.Close()
			if all[i], errs[i] = digest(ctx, c); errs[i] == nil {
				errs[i] = without(ctx, c, all[i], strays)
			}
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// without has a digest say of the lists that strays went to what they hold beside these.
func without(ctx context.Context, c *goredis.Client, digest map[string]string, strays []writer.Write) error {
	beside := map[string][]string{}
	for _, s := range strays {
		beside[s.Key] = append(beside[s.Key], strconv.FormatUint(uint64(s.Seq), 10))
	}
	for key, seqs := range beside {
		list, err := c.LRange(ctx, key, 0, -1).Result()
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(seq string) bool { return slices.Contains(seqs, seq) })
		if digest[key] = strings.Join(list, ","); len(list) == 0 {
			delete(digest, key)
		}
	}
	return nil
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
