package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/redis"
)

// redisSocketName is redis-server's unix socket for the agent, in the run-time directory.
const redisSocketName = "redis.sock"

// roomName is the file, beside it, that says how far maxclients was raised: as the process that it
// is about, it outlives an agent and not the host.
const roomName = "maxclients"

const (
	// doorEvery is how often the door is looked after: whoever takes the agent's user away is
	// undone before it is missed.
	doorEvery   = 500 * time.Millisecond
	doorTimeout = 300 * time.Millisecond
)

// LocalServer is the redis-server of this host, and the door to it, for whoever acts in place of a
// dead agent. Close both.
func LocalServer(cfg config.Config, agent redis.Credentials) (*redis.Server, *redis.Door) {
	d := redis.NewDoor(redis.DoorOptions{Addr: redisAddr(cfg), Socket: redisSocket(cfg), Agent: agent})
	return redis.NewLocal(d), d
}

// redisSocket is where redis-server listens for the agent, if it was started with this
// configuration.
func redisSocket(cfg config.Config) string {
	return confgen.Socket(confgen.RedisFacts{Directives: cfg.Redis.Directives, Socket: ownSocket(cfg)})
}

func ownSocket(cfg config.Config) string { return filepath.Join(cfg.Node.RunDir, redisSocketName) }

// newDoor makes the way into the redis-server that p runs.
func newDoor(s *site, f *files, j *journal, p *supervised) *redis.Door {
	cfg := *s.cfg.Load()
	room := filepath.Join(cfg.Node.RunDir, roomName)
	return redis.NewDoor(redis.DoorOptions{
		Addr: s.redisAddr, Socket: redisSocket(cfg), PID: p.pid, Agent: s.agentCredentials(),
		Rules:  func() []string { return f.agentRules() },
		Others: func() []redis.Credentials { return f.otherUsers() },
		Room:   loadRoom(room), Remember: func(r redis.Room) { saveRoom(room, r) },
		Spare: func(c net.Conn) {
			if err := storeSpare(c); err != nil {
				s.log.Debug("the spare connection is not kept for the next agent", "error", err)
			}
		},
		Said: func(kind, text string) {
			j.say(func(log *slog.Logger) { log.Warn(text) })
			s.events.add(kind, text)
		},
	})
}

// agentRules are what the agent's user may do on redis-server; none if they are not known.
func (f *files) agentRules() []string {
	acl, err := f.aclFacts(*f.cfg.Load())
	if err != nil {
		acl.ClientPassword = "" // it is not in the agent's line
	}
	return confgen.Rules(confgen.ACL(acl), confgen.UserAgent)
}

// otherUsers are those that may make the agent's user anew.
func (f *files) otherUsers() []redis.Credentials {
	password, err := clientPassword(*f.cfg.Load(), f.secret)
	if err != nil {
		return nil
	}
	return []redis.Credentials{{User: confgen.UserClients, Password: password}}
}

func loadRoom(path string) (r redis.Room) {
	if raw, err := os.ReadFile(path); err != nil || json.Unmarshal(raw, &r) != nil {
		return redis.Room{}
	}
	return r
}

// saveRoom is best effort: without it maxclients stays raised until redis-server is started again.
func saveRoom(path string, r redis.Room) {
	if r == (redis.Room{}) {
		_ = os.Remove(path)
		return
	}
	if raw, err := json.Marshal(r); err == nil {
		_ = os.WriteFile(path, raw, 0o600)
	}
}

// doorkeeper sees to the door as long as the agent runs.
type doorkeeper struct {
	*site
	door   *redis.Door
	proc   *supervised
	failed logLimiter
}

func (k *doorkeeper) run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if k.proc.pid() != 0 {
			k.keep(ctx)
		}
		t.Reset(node.Multiple(now(), doorEvery) - now())
	}
}

func (k *doorkeeper) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doorTimeout)
	defer cancel()
	err := k.door.Keep(ctx)
	// One that does not answer is the poll's matter.
	if a := redis.AnswerOf(err); err != nil && a.Answered() && a != redis.Loading && a != redis.Busy && k.failed.due(err.Error()) {
		k.log.Warn("the agent's way into redis-server could not be looked after", "error", err)
	}
}
