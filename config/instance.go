package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Dir has the configurations of a host, one for each cluster that it is a node of: redisd.toml is
// that of redisd.service, and NAME.toml that of redisd@NAME.service.
const Dir = "/etc/redisd"

// Main is the name of redisd.service's own configuration.
const Main = "redisd"

const extension = ".toml"

// File is where the configuration of an instance is.
func File(instance string) string { return filepath.Join(Dir, instance+extension) }

// InstanceOf returns the instance that a file is the configuration of: the file's name without its
// extension; "" when it is not in Dir.
func InstanceOf(path string) string {
	name, is := strings.CutSuffix(filepath.Base(path), extension)
	if !is || filepath.Dir(path) != Dir || !isName(name) {
		return ""
	}
	return name
}

// Further reports whether it is that of a cluster which a host has beside the one of
// redisd.service.
func Further(instance string) bool { return instance != "" && instance != Main }

// IsInstance reports whether an instance can have this name.
func IsInstance(name string) bool { return isName(name) && !strings.HasSuffix(name, extension) }

// DefaultOf returns the configuration of an instance whose file is empty. What two of them would
// share bears its name, but for the ports: those a file has to say, since the other hosts and the
// clients have to know them, too.
func DefaultOf(instance string) Config {
	c := Default()
	c.source.instance = instance
	if !Further(instance) {
		return c
	}
	c.Cluster.Name = instance
	c.Cluster.SecretFile = filepath.Join(Dir, instance+".secret")
	c.Node.StateDir += "-" + instance
	c.Node.RunDir += "-" + instance
	return c
}

// Instance is what it is the configuration of: Main, another name, or "" for a file that is not in
// Dir.
func (c Config) Instance() string { return c.source.instance }

// Unset reports that the file sets no key at all, as the one that the package installs.
func (c Config) Unset() bool {
	return len(c.VIPs) == 0 && len(c.Redis.Directives) == 0 &&
		!slices.ContainsFunc(keys, func(k key) bool { _, set := c.source.at[k.name]; return set })
}

// Others reads the configurations in a directory beside that of an instance, as they are without
// the environment of this process. The errors are of those that cannot be read.
func Others(dir, instance string) (others []Config, errs []error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil {
		return nil, []error{err}
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), extension)
		if name == instance || !isName(name) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c, err := DefaultOf(name).with(path, string(text), func(string) (string, bool) { return "", false })
		if err != nil {
			errs = append(errs, err)
			continue
		}
		others = append(others, c)
	}
	return others, errs
}

// Collision is something that two nodes on one host would share, and cannot.
type Collision struct {
	Key   string // of this configuration
	Port  int    // 0: it is none
	Value string // in words: "port 6379", "the VIP 10.0.0.100"
	// Other is where the other one has it: "FILE:LINE", or the file when it has its default.
	Other, OtherKey string
}

// Collisions returns what a node with this configuration would share with one on the same host.
func (c Config) Collisions(o Config) []Collision {
	var found []Collision
	add := func(key, otherKey, value string, port int) {
		where := o.Where(otherKey)
		if where == "default" {
			where = o.source.file
		}
		found = append(found, Collision{Key: key, Port: port, Value: value, Other: where, OtherKey: otherKey})
	}
	if c.Cluster.Name == o.Cluster.Name {
		add("cluster.name", "cluster.name", fmt.Sprintf("the cluster %q", c.Cluster.Name), 0)
	}
	for _, p := range c.Ports() {
		for _, q := range o.Ports() {
			if p.Port == q.Port {
				add(p.Key, q.Key, fmt.Sprintf("port %d", p.Port), p.Port)
			}
		}
	}
	for _, d := range []struct{ key, mine, its string }{
		{"node.state_dir", c.Node.StateDir, o.Node.StateDir}, {"node.run_dir", c.Node.RunDir, o.Node.RunDir},
	} {
		if inside(d.mine, d.its) || inside(d.its, d.mine) {
			add(d.key, d.key, "the directory "+d.its, 0)
		}
	}
	if s := c.Redis.Directives[unixSocket]; s != "" && s == o.Redis.Directives[unixSocket] {
		add(directivesKey+"."+unixSocket, directivesKey+"."+unixSocket, "the socket "+s, 0)
	}
	for i, v := range c.VIPs {
		for j, w := range o.VIPs {
			if v.Address.Addr() == w.Address.Addr() {
				add(fmt.Sprintf("vip[%d].address", i), fmt.Sprintf("vip[%d].address", j), "the VIP "+v.Address.Addr().String(), 0)
			}
		}
		if v.Address.Addr() == o.Node.Address {
			add(fmt.Sprintf("vip[%d].address", i), "node.address", "the host's own address "+v.Address.Addr().String(), 0)
		}
	}
	return found
}

const unixSocket = "unixsocket"

// inside reports that a path is a directory, or in it.
func inside(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// Port is a port that a node listens on.
type Port struct {
	Key  string
	Port int
}

// Ports are those that a node with this configuration listens on.
func (c Config) Ports() []Port {
	ports := []Port{{"cluster.gossip_port", c.Cluster.GossipPort}}
	if c.HasRole(RoleRedis) {
		ports = append(ports, Port{"redis.port", c.Redis.Port})
	}
	if c.HasRole(RoleSentinel) {
		ports = append(ports, Port{"sentinel.port", c.Sentinel.Port})
	}
	return ports
}

// FreePort returns the next port after one that none of the configurations has and that free says
// is free; 0 when there is none in reach.
func FreePort(after int, all []Config, free func(port int) bool) int {
	taken := func(port int) bool {
		return slices.ContainsFunc(all, func(c Config) bool {
			return slices.ContainsFunc([]int{c.Cluster.GossipPort, c.Redis.Port, c.Sentinel.Port}, func(p int) bool { return p == port })
		})
	}
	for port := after + 1; port <= min(after+100, 65535); port++ {
		if !taken(port) && free(port) {
			return port
		}
	}
	return 0
}
