package clients

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// library is one client library and its program.
type library struct {
	id    string
	title string
	// program is run with the mode and the key as further arguments.
	program []string
	env     []string
	// version prints that of the library.
	version []string
	// sentinel: it, or its program, asks Sentinel for the primary.
	sentinel bool
	// npm: it is not installed for the short set.
	npm bool
}

const (
	python = "/usr/bin/python3"
	built  = "go-redis.built" // stands for the program that the test builds
)

// cache is where setup.sh puts what is not a package of the machine.
func cache() string {
	return cmp.Or(os.Getenv("REDISD_CLIENTS_CACHE"), "/var/cache/redisd-clients")
}

func libraries() []library {
	pythonVersion := []string{python, "-P", "-c", "import redis; print(redis.__version__)"}
	nodeVersion := func(name string) []string {
		return []string{"node", "-p", "require('" + name + "/package.json').version"}
	}
	newer, modules := "PYTHONPATH="+filepath.Join(cache(), "redis-py-trixie"), func(id string) string {
		return "NODE_PATH=" + filepath.Join(cache(), id, "node_modules")
	}
	return []library{
		{id: "redis-py-4", title: "redis-py", program: []string{python, "redis-py/client.py"}, version: pythonVersion, sentinel: true},
		{id: "redis-py-6", title: "redis-py", program: []string{python, "redis-py/client.py"}, env: []string{newer}, version: pythonVersion, sentinel: true},
		{id: "go-redis", title: "go-redis", program: []string{built}, version: []string{"go", "list", "-m", "-f", "{{.Version}}", "github.com/redis/go-redis/v9"}, sentinel: true},
		{id: "hiredis", title: "hiredis", program: []string{filepath.Join(cache(), "hiredis")}, version: debianVersion("libhiredis-dev")},
		{id: "ioredis", title: "ioredis", program: []string{"node", "ioredis/client.js"}, env: []string{modules("ioredis")}, version: nodeVersion("ioredis"), sentinel: true, npm: true},
		{id: "node-redis", title: "node-redis", program: []string{"node", "node-redis/client.js"}, env: []string{modules("node-redis")}, version: nodeVersion("redis"), sentinel: true, npm: true},
		{id: "phpredis", title: "phpredis", program: []string{"php", "phpredis/client.php"}, version: []string{"php", "-r", "echo phpversion('redis');"}, sentinel: true},
	}
}

func debianVersion(name string) []string {
	return []string{"dpkg-query", "-W", "-f", "${Version}", name}
}

// name is the library's with its version; an error says that it is not installed.
func (l library) name(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, l.version[0], l.version[1:]...)
	cmd.Env = append(os.Environ(), l.env...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s is not installed (test/clients/setup.sh installs it): %w", l.id, err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), "-")
	return l.title + " " + version, nil
}

// buildGo builds the one program that is Go.
func buildGo(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "go-redis")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./go-redis")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build go-redis' program: %v\n%s", err, out)
	}
	return path
}
