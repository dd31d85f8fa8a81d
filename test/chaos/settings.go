package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/test/cluster"
)

// What redisd owns in a redis-server, that any client with the clients' password can change, and
// that must be as redisd renders it soon after.

// config sets a directive, by CONFIG SET, and sees whether redisd sets it back while the fault
// lasts. What it leaves, the fault's end sets back.
func config(name, value string) injector {
	return func(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
		c := dial(in.c, in.host.Addr().String())
		was, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return func(ctx context.Context) (mend, error) {
			return func(ctx context.Context) error {
				now, err := c.ConfigGet(ctx, name).Result()
				if err == nil && now[name] != was[name] {
					err = fmt.Errorf("after %v redisd has not set %s back", in.lasts, name)
					err = errors.Join(err, c.ConfigSet(ctx, name, was[name]).Err())
				}
				return errors.Join(err, c.Close())
			}, c.ConfigSet(ctx, name, value).Err()
		}, nil
	}
}

// user changes a user by ACL SETUSER.
func user(name string, rules ...string) injector {
	return changedUser(name, func(ctx context.Context, c *goredis.Client) error {
		args := []any{"ACL", "SETUSER", name}
		for _, r := range rules {
			args = append(args, r)
		}
		return c.Do(ctx, args...).Err()
	})
}

func userDeleted(name string) injector {
	return changedUser(name, func(ctx context.Context, c *goredis.Client) error {
		return c.Do(ctx, "ACL", "DELUSER", name).Err()
	})
}

func changedUser(name string, change func(context.Context, *goredis.Client) error) injector {
	return func(ctx context.Context, in injection) (func(context.Context) (mend, error), error) {
		c := dial(in.c, in.host.Addr().String())
		was, err := aclLine(ctx, c, name)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return func(ctx context.Context) (mend, error) {
			return func(ctx context.Context) error {
				// The connection stays logged in, whatever has become of the password.
				now, err := aclLine(ctx, c, name)
				if err == nil && sorted(now) != sorted(was) {
					err = fmt.Errorf("after %v redisd has not set the user %s back", in.lasts, name)
					args := []any{"ACL", "SETUSER", name, "reset"}
					for _, rule := range strings.Fields(was)[2:] {
						args = append(args, rule)
					}
					err = errors.Join(err, c.Do(ctx, args...).Err())
				}
				return errors.Join(err, c.Close())
			}, change(ctx, c)
		}, nil
	}
}

// aclLine is "user NAME RULE …"; "" if there is no such user.
func aclLine(ctx context.Context, c *goredis.Client, name string) (string, error) {
	all, err := c.Do(ctx, "ACL", "LIST").StringSlice()
	if err != nil {
		return "", err
	}
	for _, line := range all {
		if strings.HasPrefix(line, "user "+name+" ") {
			return line, nil
		}
	}
	return "", nil
}

// sorted has the words of a line in the order of the alphabet: redis-server has commands in one of
// its own, another one in each process.
func sorted(line string) string {
	words := strings.Fields(line)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// rendered are directives whose values no role changes, and that no kind of fault is meant to leave
// changed.
var rendered = []string{
	"port", "bind", "bind-source-addr", "dir", "aclfile", "masteruser", "masterauth", "protected-mode", "requirepass",
	"replica-announce-ip", "replica-announce-port", "replica-announced", "replica-read-only", "min-replicas-max-lag",
	"appendonly", "appendfsync", "aof-use-rdb-preamble", "repl-backlog-size", "repl-diskless-sync", "repl-timeout", "maxclients",
	saveDelay, loadDelay,
}

// fence is what a redis-server has for min-replicas-to-write that is not to take writes.
const fence = "1000000"

// settings are those of a redis-server, by their names, and its users of redisd's, by theirs.
func (w *world) settings(ctx context.Context, host string) (map[string]string, error) {
	c := dial(w.c, w.c.Host(host).Addr().String())
	defer c.Close()
	all, err := c.ConfigGet(ctx, "*").Result()
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, name := range append(slices.Clone(rendered), "min-replicas-to-write") {
		found[name] = all[name]
	}
	// It listens at the VIP as well when it has it, and may have that on its list before and after.
	found["bind"] = strings.Join(slices.DeleteFunc(strings.Fields(found["bind"]), func(address string) bool {
		return strings.TrimPrefix(address, "-") == w.c.VIP
	}), " ")
	lines, err := c.Do(ctx, "ACL", "LIST").StringSlice()
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if name := strings.Fields(line)[1]; name == "default" || strings.HasPrefix(name, "redisd-") {
			found["user "+name] = sorted(line)
		}
	}
	return found, nil
}

// unlike tells the words of one line that the other has not, but for secrets.
func unlike(was, now string) string {
	text := ""
	for _, d := range []struct{ said, has, lacks string }{{"it had", was, now}, {"it has", now, was}} {
		for _, word := range strings.Fields(d.has) {
			if !slices.Contains(strings.Fields(d.lacks), word) && len(word) < 32 {
				text += ", " + d.said + " " + word
			}
		}
	}
	return text
}

// changedSettings says what of each redis-server is not as it was when the cluster began, and
// whether the fence is where it belongs. Secrets it does not show.
func (w *world) changedSettings(ctx context.Context, after agent.Status) (changed []string, err error) {
	for _, name := range w.c.Names() {
		now, err := w.settings(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("ask %s for its settings: %w", name, err)
		}
		n := now["min-replicas-to-write"]
		delete(now, "min-replicas-to-write")
		if isPrimary := name == cluster.Primary(after); isPrimary == (n == fence) {
			changed = append(changed, fmt.Sprintf("min-replicas-to-write of %s is %s", name, n))
		}
		if w.began[name] == nil {
			w.began[name] = now
			continue
		}
		for what, was := range w.began[name] {
			if now[what] != was {
				changed = append(changed, fmt.Sprintf("%s of %s is not what it was%s", what, name, unlike(was, now[what])))
			}
		}
	}
	slices.Sort(changed)
	return changed, nil
}
