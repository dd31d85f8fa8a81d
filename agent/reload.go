package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/atomicfile"
	"github.com/redisd/redisd/internal/directive"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
)

// reloader applies a changed configuration while everything runs.
type reloader struct {
	*site
	driver     *driver
	files      *files
	vips       *vipSet
	server     *redis.Server
	keeper     *keeper
	load       func() (config.Config, error)
	configPath string
	mu         sync.Mutex
}

// Reload reads the configuration again and applies it. When it is refused, every mistake is in the
// error, and the node goes on with what it had: all that can fail is tried before anything is
// touched. It runs beside the rounds, which renew the lease meanwhile.
func (r *reloader) Reload(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.load()
	if err == nil {
		err = Trial(ctx, next)
	}
	if err == nil {
		err = r.applyConfig(ctx, next)
	}
	if err != nil {
		r.log.Error("configuration not reloaded; everything goes on with the one before", "error", err)
		r.events.add("reload_refused", err.Error())
		return err
	}
	r.rememberConfig()
	r.driver.step(node.Wake{})
	return nil
}

// LastGoodName is the file, in the state directory, of the last configuration that worked.
const LastGoodName = "redisd.toml.good"

// rememberConfig keeps a copy of a configuration that works. A full disk keeps no node from
// running.
func (r *reloader) rememberConfig() {
	path := r.disk.path(LastGoodName)
	text, err := os.ReadFile(r.configPath)
	if err == nil {
		if old, oldErr := os.ReadFile(path); oldErr == nil && bytes.Equal(old, text) {
			return
		}
		err = atomicfile.WriteFile(path, text, 0o640)
	}
	if err != nil {
		r.log.Warn("no copy of the configuration was kept", "error", err)
	}
}

func (r *reloader) applyConfig(ctx context.Context, next config.Config) error {
	old := *r.cfg.Load()
	changes := config.Changes(old, next)
	var refused []error
	for _, c := range changes {
		if c.Effect == config.Refused {
			refused = append(refused, fmt.Errorf("%s: %s", c.Key, c.Why))
		}
	}
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	acl, err := r.files.aclFacts(next)
	if err != nil {
		return err
	}
	r.keeper.mu.Lock() // it would take what is set now for a client's doing, until all of it is
	defer r.keeper.mu.Unlock()
	if err := r.files.writeRedisFiles(next, r.driver.primaryAddr()); err != nil {
		return err
	}
	if err := r.vips.set(next.VIPs, r.log); err != nil {
		return errors.Join(err, r.files.writeRedisFiles(old, r.driver.primaryAddr()))
	}
	later := r.applyRedisConfig(ctx, next, changes)
	r.cfg.Store(&next)
	r.driver.step(node.Configured{Desired: r.desired()})
	r.driver.step(node.VIPsConfigured{VIPs: r.vips.observed()})
	r.setUsers(ctx, acl)
	for _, c := range changes {
		switch {
		case later[c.Key] != nil:
			r.log.Warn("setting changed, but redis-server takes it only when it starts", "key", c.Key, "error", later[c.Key])
		case c.Effect == config.Live:
			r.log.Info("setting changed", "key", c.Key)
		default:
			r.log.Warn("setting changed, but a reload is not enough", "key", c.Key, "needs", c.Effect.String(), "why", c.Why)
		}
	}
	r.log.Info("configuration reloaded", "changes", len(changes))
	r.events.add("reloaded", fmt.Sprintf("%d changes", len(changes)))
	return nil
}

// setUsers gives redis-server the applications' password, and the users of the operator. Who is
// logged in stays so. (ACL LOAD would do as well, but it closes the replicas' links.)
func (r *reloader) setUsers(ctx context.Context, acl confgen.ACLFacts) {
	if !r.driver.observe().Redis.Known {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, node.ActTimeout)
	defer cancel()
	if err := r.server.SetPassword(ctx, confgen.UserClients, string(acl.ClientPassword)); err != nil {
		r.log.Warn("the applications' password not changed; it counts from redis-server's next start", "error", err)
	}
	for _, u := range acl.Users {
		if err := r.server.SetUser(ctx, redis.UserRules{Name: u.Name, Rules: u.Rules}); err != nil {
			r.log.Warn("a user was not changed; it counts from redis-server's next start", "user", u.Name, "error", err)
		}
	}
}

// applyRedisConfig sets what redis-server can take while it runs, and returns what it would not
// take.
func (r *reloader) applyRedisConfig(ctx context.Context, next config.Config, changes []config.Change) map[string]error {
	later := map[string]error{}
	for _, c := range changes {
		if c.Effect != config.Live {
			continue
		}
		name, value, ok := directiveOf(c.Key, next)
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, node.ActTimeout)
		if err := r.server.ConfigSet(ctx, redis.Directive{Name: name, Value: value}); err != nil {
			later[c.Key] = err
		}
		cancel()
	}
	return later
}

// directiveOf returns what a key of redisd.toml means to redis-server.
func directiveOf(key string, cfg config.Config) (name, value string, ok bool) {
	if key == "redis.maxmemory" {
		if cfg.Redis.MaxMemory == "" {
			return "maxmemory", "0", true
		}
		return "maxmemory", cfg.Redis.MaxMemory, true
	}
	name, ok = strings.CutPrefix(key, "redis.directives.")
	if !ok {
		return "", "", false
	}
	if v, set := cfg.Redis.Directives[name]; set {
		return name, confgen.SetValue(v), true
	}
	v, known := directive.Default(name) // taken out of the file
	return name, confgen.SetValue(v), known
}
