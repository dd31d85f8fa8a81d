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
	"strings"
	"sync/atomic"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/atomicfile"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/redis"
)

// sentinelTimers make Sentinel learn of new nodes and roles sooner than its ten seconds. They are
// volatile: set again whenever it starts.
var sentinelTimers = redis.Timers{Info: time.Second, Publish: 500 * time.Millisecond}

// confMode keeps the passwords in the generated files from everybody else.
const confMode = 0o600

// files writes what redis-server and redis-sentinel read when they start.
type files struct {
	*site
	ghosts atomic.Pointer[ghosts] // that the next start of redis-sentinel is to know nothing of
}

func (f *files) sentinelConfigured() bool {
	_, err := os.Stat(filepath.Join(f.sentinelDir(), confgen.SentinelConfName))
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

// host are the interfaces of this host; when they are not known, a server that is started listens
// at what redisd.toml names, and is told of the rest later: see listener.
func (f *files) host() []config.HostInterface {
	host, err := HostInterfaces()
	if err != nil {
		f.log.Warn("this host's addresses are not known", "error", err)
	}
	return host
}

func (f *files) redisFacts(cfg config.Config, primary string) confgen.RedisFacts {
	facts := confgen.RedisFacts{
		Address: cfg.Node.Address, Listen: cfg.RedisListens(f.host()).Addrs, Port: cfg.Redis.Port, Dir: f.redisDir(), Socket: ownSocket(cfg),
		ReplicaPassword: confgen.Password(f.secret.Password("redis replica")),
		MaxMemory:       cfg.Redis.MaxMemory, Directives: cfg.Redis.Directives,
	}
	if addr, err := netip.ParseAddrPort(primary); err == nil {
		facts.Primary = addr
	}
	return facts
}

func (f *files) aclFacts(cfg config.Config) (confgen.ACLFacts, error) {
	clients, err := clientPassword(cfg, f.secret)
	users, usersErr := usersOf(cfg)
	return confgen.ACLFacts{
		Users:            users,
		ClientPassword:   confgen.Password(clients),
		AgentPassword:    confgen.Password(f.secret.Password("redis agent")),
		ReplicaPassword:  confgen.Password(f.secret.Password("redis replica")),
		SentinelPassword: confgen.Password(f.secret.Password("redis sentinel")),
	}, errors.Join(err, usersErr)
}

// usersOf are the users that an operator gives all nodes.
func usersOf(cfg config.Config) ([]confgen.User, error) {
	path := cfg.Redis.UsersFile
	if path == "" {
		return nil, nil
	}
	text, err := secret.LoadUsers(path)
	if err != nil {
		return nil, err
	}
	users, err := confgen.ParseUsers(text)
	if err != nil {
		return nil, fmt.Errorf("users file %s: %s", path, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return users, nil
}

// writeRedisFiles writes redis.conf and users.acl. What people made permanent at run time stays.
func (f *files) writeRedisFiles(cfg config.Config, primary string) error {
	acl, err := f.aclFacts(cfg)
	if err != nil {
		return err
	}
	// redis-server does not start where it cannot make its socket.
	if err := os.MkdirAll(cfg.Node.RunDir, 0o750); err != nil {
		return fmt.Errorf("make the directory of redis-server's socket: %w", err)
	}
	aclPath := filepath.Join(f.redisDir(), confgen.ACLFileName)
	if err := rewrite(aclPath, func(old []byte) ([]byte, error) { return confgen.ACLMerge(old, confgen.ACL(acl)), nil }); err != nil {
		return err
	}
	return rewrite(filepath.Join(f.redisDir(), confgen.RedisConfName), func(old []byte) ([]byte, error) {
		return confgen.Merge(old, confgen.RedisConf(f.redisFacts(cfg, primary))), nil
	})
}

// rewrite replaces a file by what change makes of it.
func rewrite(path string, change func(old []byte) ([]byte, error)) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next, err := change(old)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, next, confMode)
}

func (f *files) sentinelFacts(cfg config.Config, primary netip.AddrPort, quorum int) confgen.SentinelFacts {
	return confgen.SentinelFacts{
		Name: cfg.Cluster.Name, Address: cfg.Node.Address, Listen: cfg.SentinelListens(f.host()).Addrs, Port: cfg.Sentinel.Port, Dir: f.sentinelDir(),
		Primary: primary, Quorum: quorum, DownAfter: time.Duration(cfg.Sentinel.DownAfter), FailoverTimeout: time.Duration(cfg.Sentinel.FailoverTimeout),
		ParallelSyncs: parallelSyncs,
		RedisPassword: confgen.Password(f.secret.Password("redis sentinel")),
		AgentPassword: confgen.Password(f.secret.Password("sentinel agent")),
		PeerPassword:  confgen.Password(f.secret.Password("sentinel peer")),
	}
}

// parallelSyncs: after a clean promotion a replica needs a partial resync only, so there is no
// reason to make them wait for each other.
const parallelSyncs = 16

// BinaryVersion is the version of a redis-server or redis-sentinel, as redis.Info.Program has it.
func BinaryVersion(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").CombinedOutput()
	if version := redis.BinaryVersion(string(out)); version != "" {
		return version, nil
	}
	if err == nil {
		err = fmt.Errorf("%q is no version", bytes.TrimSpace(out))
	}
	return "", fmt.Errorf("run %s --version: %w", binary, err)
}

// Trial has redis-server say whether it would accept the configuration, without touching the
// running one.
func Trial(ctx context.Context, cfg config.Config) error {
	users, err := usersOf(cfg)
	if err != nil {
		return usersMistake(cfg, err.Error())
	}
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
	if err != nil || len(users) == 0 {
		return err
	}
	return trialOfUsers(ctx, cfg, users)
}

func usersMistake(cfg config.Config, problem string) *config.Mistake {
	const key = "redis.users_file"
	return &config.Mistake{Where: cfg.Where(key), Key: key, Problem: problem}
}

// writeSentinelFile writes sentinel.conf. What Sentinel wrote there itself stays; primary counts
// only where there is no file yet.
func (f *files) writeSentinelFile(cfg config.Config, primary string, quorum int) error {
	addr, _ := netip.ParseAddrPort(primary)
	return rewrite(filepath.Join(f.sentinelDir(), confgen.SentinelConfName), func(old []byte) ([]byte, error) {
		return confgen.SentinelConf(f.sentinelFacts(cfg, addr, quorum), withoutGhosts(old, f.ghosts.Swap(nil)))
	})
}
