package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
)

// File is a generated file, its passwords left out.
type File struct {
	Path string
	Text string
}

// redacted stands where a password would be.
const redacted = "(redacted)"

// secretWord finds what must not be shown: the passwords that a file holds in clear, and the hashes
// of those that it holds hashed.
var secretWord = regexp.MustCompile(`(?m)(^(?:masterauth|requirepass|sentinel auth-pass \S+|sentinel sentinel-pass)\s+)\S+|(\s[#>])\S+`)

// Redact takes the passwords out of the text of a generated file.
func Redact(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			out.WriteString(line)
			continue
		}
		out.WriteString(secretWord.ReplaceAllString(line, "${1}${2}"+redacted))
	}
	return out.String()
}

// Render returns the files that the next start of redis-server and redis-sentinel would use. It
// needs no secret: no password is in them.
func Render(cfg config.Config) ([]File, error) {
	redisDir, sentinelDir := filepath.Join(cfg.Node.StateDir, "redis"), filepath.Join(cfg.Node.StateDir, "sentinel")
	const none = confgen.Password("none")
	var files []File
	if cfg.HasRole(config.RoleRedis) {
		path := filepath.Join(redisDir, confgen.RedisConfName)
		old, err := readOptional(path)
		if err != nil {
			return nil, err
		}
		text := confgen.Merge(old, confgen.RedisConf(confgen.RedisFacts{
			Address: cfg.Node.Address, Port: cfg.Redis.Port, Dir: redisDir, Socket: ownSocket(cfg), ReplicaPassword: none,
			MaxMemory: cfg.Redis.MaxMemory, Directives: cfg.Redis.Directives,
		}))
		files = append(files, File{Path: path, Text: Redact(string(text))})
	}
	if cfg.HasRole(config.RoleSentinel) {
		path := filepath.Join(sentinelDir, confgen.SentinelConfName)
		old, err := readOptional(path)
		if err != nil {
			return nil, err
		}
		text, err := confgen.SentinelConf(confgen.SentinelFacts{
			Name: cfg.Cluster.Name, Address: cfg.Node.Address, Port: cfg.Sentinel.Port, Dir: sentinelDir,
			Primary: confgen.Placeholder, Quorum: cfg.Cluster.Expect/2 + 1, ParallelSyncs: parallelSyncs,
			DownAfter: time.Duration(cfg.Sentinel.DownAfter), FailoverTimeout: time.Duration(cfg.Sentinel.FailoverTimeout),
			RedisPassword: none, AgentPassword: none, PeerPassword: none,
		}, old)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: path, Text: Redact(string(text))})
	}
	return files, nil
}

func readOptional(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
