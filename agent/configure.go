package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/atomicfile"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/supervisor"
)

// sentinelTimers make Sentinel learn of new nodes and roles sooner than its ten
// seconds. They are volatile: set again whenever it starts.
var sentinelTimers = redis.Timers{Info: time.Second, Publish: 500 * time.Millisecond}

// confMode keeps the passwords in the generated files from everybody else.
const confMode = 0o600

func (a *Agent) redisDir() string    { return a.disk.path("redis") }
func (a *Agent) sentinelDir() string { return a.disk.path("sentinel") }

func (a *Agent) sentinelConfigured() bool {
	_, err := os.Stat(filepath.Join(a.sentinelDir(), confgen.SentinelConfName))
	return err == nil
}

// clientPassword is what the applications log in with.
func clientPassword(cfg config.Config, s secret.Secret) (string, error) {
	if cfg.Redis.PasswordFile != "" {
		return secret.LoadPassword(cfg.Redis.PasswordFile)
	}
	return s.Password("redis client"), nil
}

// ClientPassword returns the password that applications log in with.
func ClientPassword(cfg config.Config) (string, error) {
	s, err := secret.Load(cfg.Cluster.SecretFile)
	if err != nil {
		return "", err
	}
	return clientPassword(cfg, s)
}

func (a *Agent) redisFacts(cfg config.Config, primary string) confgen.RedisFacts {
	f := confgen.RedisFacts{
		Address: cfg.Node.Address, Port: cfg.Redis.Port, Dir: a.redisDir(),
		ReplicaPassword: confgen.Password(a.secret.Password("redis replica")),
		MaxMemory:       cfg.Redis.MaxMemory, Directives: cfg.Redis.Directives,
	}
	if addr, err := netip.ParseAddrPort(primary); err == nil {
		f.Primary = addr
	}
	return f
}

func (a *Agent) aclFacts(cfg config.Config) (confgen.ACLFacts, error) {
	clients, err := clientPassword(cfg, a.secret)
	return confgen.ACLFacts{
		ClientPassword:   confgen.Password(clients),
		AgentPassword:    confgen.Password(a.secret.Password("redis agent")),
		ReplicaPassword:  confgen.Password(a.secret.Password("redis replica")),
		SentinelPassword: confgen.Password(a.secret.Password("redis sentinel")),
	}, err
}

// writeRedisFiles writes redis.conf and users.acl. What people made permanent at
// run time stays.
func (a *Agent) writeRedisFiles(cfg config.Config, primary string) error {
	acl, err := a.aclFacts(cfg)
	if err != nil {
		return err
	}
	aclPath := filepath.Join(a.redisDir(), confgen.ACLFileName)
	if err := rewrite(aclPath, func(old []byte) ([]byte, error) { return confgen.ACLMerge(old, confgen.ACL(acl)), nil }); err != nil {
		return err
	}
	return rewrite(filepath.Join(a.redisDir(), confgen.RedisConfName), func(old []byte) ([]byte, error) {
		return confgen.Merge(old, confgen.RedisConf(a.redisFacts(cfg, primary))), nil
	})
}

// rewrite replaces a file by what f makes of it.
func rewrite(path string, f func(old []byte) ([]byte, error)) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next, err := f(old)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, next, confMode)
}

func (a *Agent) startRedis(ctx context.Context, primary string) error {
	cfg := *a.cfg.Load()
	if err := a.setAsideBroken(primary); err != nil {
		return err
	}
	if err := a.writeRedisFiles(cfg, primary); err != nil {
		return err
	}
	a.log.Info("starting redis-server", "replica_of", primary)
	return a.run(ctx, a.redis, a.redisDir(), cfg.Redis.Binary, confgen.RedisConfName)
}

// run starts a program with its configuration. It gets an ordinary place in the
// queue for the processor, behind the agent, which must not wait when it has to
// act, and an ordinary place when memory runs out.
func (a *Agent) run(ctx context.Context, p *process, dir, binary, conf string) error {
	ordinary := 0
	err := p.Start(ctx, supervisor.Spec{Argv: []string{binary, filepath.Join(dir, conf)}, Dir: dir, OOMScoreAdj: &ordinary})
	if err != nil {
		return err
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, p.State().PID, ordinary); err != nil {
		a.log.Debug("priority not set", "program", binary, "error", err)
	}
	return nil
}

func (a *Agent) sentinelFacts(cfg config.Config, primary netip.AddrPort, quorum int) confgen.SentinelFacts {
	return confgen.SentinelFacts{
		Name: cfg.Cluster.Name, Address: cfg.Node.Address, Port: cfg.Sentinel.Port, Dir: a.sentinelDir(),
		Primary: primary, Quorum: quorum, DownAfter: time.Duration(cfg.Sentinel.DownAfter), FailoverTimeout: time.Duration(cfg.Sentinel.FailoverTimeout),
		ParallelSyncs: parallelSyncs,
		RedisPassword: confgen.Password(a.secret.Password("redis sentinel")),
		AgentPassword: confgen.Password(a.secret.Password("sentinel agent")),
		PeerPassword:  confgen.Password(a.secret.Password("sentinel peer")),
	}
}

// parallelSyncs: after a clean promotion a replica needs a partial resync only,
// so there is no reason to make them wait for each other.
const parallelSyncs = 16

func (a *Agent) startSentinel(ctx context.Context, primary string) error {
	cfg := *a.cfg.Load()
	addr, _ := netip.ParseAddrPort(primary) // not needed when there is a file
	quorum := len(a.ballot.view().Roster.Voters)/2 + 1
	err := rewrite(filepath.Join(a.sentinelDir(), confgen.SentinelConfName), func(old []byte) ([]byte, error) {
		return confgen.SentinelConf(a.sentinelFacts(cfg, addr, quorum), old)
	})
	if err != nil {
		return err
	}
	a.log.Info("starting redis-sentinel", "primary", primary)
	return a.run(ctx, a.sentinel, a.sentinelDir(), cfg.Sentinel.Binary, confgen.SentinelConfName)
}

// monitor sets the local Sentinel up anew for a primary it does not know, or has
// wrong and did not correct.
func (a *Agent) monitor(ctx context.Context, act reconcile.Monitor) error {
	addr, err := netip.ParseAddrPort(act.Primary)
	if err != nil {
		return err
	}
	cfg := a.cfg.Load()
	s, name := a.sentW.sentinel, cfg.Cluster.Name
	if err := s.Remove(ctx, name); err != nil && !errors.Is(err, redis.ErrUnknownPrimary) {
		return err
	}
	if err := s.Monitor(ctx, name, addr, act.Quorum); err != nil {
		return err
	}
	a.log.Info("sentinel watches the primary", "primary", act.Primary, "quorum", act.Quorum)
	return s.Set(ctx, name,
		redis.Directive{Name: "auth-user", Value: "redisd-sentinel"},
		redis.Directive{Name: "auth-pass", Value: a.secret.Password("redis sentinel")},
		redis.Directive{Name: "down-after-milliseconds", Value: fmt.Sprint(time.Duration(cfg.Sentinel.DownAfter).Milliseconds())},
		redis.Directive{Name: "failover-timeout", Value: fmt.Sprint(time.Duration(cfg.Sentinel.FailoverTimeout).Milliseconds())},
		redis.Directive{Name: "parallel-syncs", Value: fmt.Sprint(parallelSyncs)},
	)
}

// Trial has redis-server say whether it would accept the configuration, without
// touching the running one.
func Trial(ctx context.Context, cfg config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	dir, err := os.MkdirTemp("", "redisd-trial")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, cfg.Redis.Binary, "-")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(confgen.TrialConf(cfg.Redis.MaxMemory, cfg.Redis.Directives))
	out, _ := cmd.CombinedOutput() // it always ends with an error: it has nowhere to listen
	err = confgen.TrialVerdict(out)
	var refused *confgen.RefusedError
	if errors.As(err, &refused) && refused.Directive != "" {
		return cfg.DirectiveMistake(refused.Directive, refused.Reason)
	}
	return err
}
