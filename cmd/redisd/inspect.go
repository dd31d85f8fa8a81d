package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/redis"
	"github.com/redisd/redisd/vip"
)

// inspect finds what would keep the agent from starting, or from doing its work, with the
// configuration that was read from file. It changes nothing. The agent calls it before it touches
// anything, and `redisd check`.
func inspect(ctx context.Context, cfg config.Config, file string, svc service, p past) *findings {
	f := &findings{cfg: cfg, file: file}
	f.files(ctx, svc)
	f.directories(ctx, svc)
	f.cluster()
	f.expect()
	f.programs(ctx, p.runs)
	f.neighbours(ctx, config.Dir, p.collides)
	f.oldServer(ctx)
	f.ports(ctx)
	f.vips()
	return f
}

// files must be readable by the user that the agent runs as, and by nobody who has no business with
// them.
func (f *findings) files(ctx context.Context, svc service) {
	cannotRead := func(path string) string {
		return fmt.Sprintf("the user %s, which redisd.service runs as, cannot read %s: `chgrp redis %[2]s` and `chmod 0640 %[2]s`, in a directory that it may enter", svc.user, path)
	}
	path := f.cfg.Cluster.SecretFile
	if _, err := secret.Load(path); err != nil {
		f.add(mistake, "cluster.secret_file", "%v", err)
	} else if !svc.may(ctx, "-r", path) {
		f.add(mistake, "cluster.secret_file", "%s", cannotRead(path))
	}
	if path = f.cfg.Redis.PasswordFile; path != "" {
		_, err := secret.LoadPassword(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.add(mistake, "redis.password_file", "%v: write the applications' password into it, mode 0640, group redis; or take the key out, and `redisd password` prints one", err)
		case err != nil:
			f.add(mistake, "redis.password_file", "%v", err)
		case !svc.may(ctx, "-r", path):
			f.add(mistake, "redis.password_file", "%s", cannotRead(path))
		}
	}
	if path = f.cfg.Redis.UsersFile; path != "" && existing(path) == path && !svc.may(ctx, "-r", path) {
		f.add(mistake, "redis.users_file", "%s", cannotRead(path))
	}
	// Any other file may be one that is yet to be installed.
	if f.file == config.File(f.cfg.Instance()) && !svc.may(ctx, "-r", f.file) {
		f.list = append(f.list, finding{mistake, fmt.Errorf("%s: %s", f.file, cannotRead(f.file))})
	}
}

// directories are the agent's to write, or to make.
func (f *findings) directories(ctx context.Context, svc service) {
	for _, d := range []struct{ key, path string }{{"node.state_dir", f.cfg.Node.StateDir}, {"node.run_dir", f.cfg.Node.RunDir}} {
		if svc.makes(d.path) {
			continue
		}
		if !svc.reaches(d.path) {
			f.add(mistake, d.key, "redisd.service may write below %s only: `systemctl edit redisd`, and in its section [Service] ReadWritePaths=%s",
				strings.Join(svc.writable, ", "), d.path)
			continue
		}
		nearest := existing(d.path)
		switch info, err := os.Stat(nearest); {
		case errors.Is(err, fs.ErrPermission):
			f.add(warning, d.key, "not checked, it is not for this user to look into: run `redisd check` as root")
		case err != nil:
			f.add(mistake, d.key, "%v", err)
		case !info.IsDir():
			f.add(mistake, d.key, "%s is not a directory: move it away, or name another one", nearest)
		case !svc.may(ctx, "-w", nearest) || !svc.may(ctx, "-x", nearest):
			f.add(mistake, d.key, "%s cannot write in %s: `install -d -o redis -g redis -m 0750 %s`, or name another directory", svc.who(), nearest, d.path)
		}
	}
}

// existing is path, or what there is of it.
func existing(path string) string {
	for {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// cluster refuses the state of another cluster: joining with it would mix the two.
func (f *findings) cluster() {
	cluster, err := agent.ClusterOf(f.cfg.Node.StateDir)
	switch {
	case err != nil:
		f.add(mistake, "node.state_dir", "%v", err)
	case cluster != "" && cluster != f.cfg.Cluster.Name:
		f.add(mistake, "cluster.name", "invalid value %q: must be %q, the cluster that %s belongs to: set the name back, or move that folder away to join as a new node",
			f.cfg.Cluster.Name, cluster, f.cfg.Node.StateDir)
	}
	switch err := agent.CheckIdentity(f.cfg.Node.StateDir, f.cfg.Node.Address.IsLoopback()); {
	case errors.Is(err, agent.ErrNoMachineID):
		f.add(obstacle, "node.state_dir", "%v", err)
	case err != nil:
		f.add(mistake, "node.state_dir", "%v", err)
	}
}

// expect below the number of servers that are listed lets some of them found a cluster of their own
// while they do not reach the others.
func (f *findings) expect() {
	c := f.cfg.Cluster
	listed, self := len(c.Join), false
	for _, entry := range c.Join {
		host, _, err := net.SplitHostPort(entry)
		if err != nil {
			host = entry
		}
		self = self || host == f.cfg.Node.Name || host == f.cfg.Node.Address.String()
		if strings.HasPrefix(entry, "srv:") {
			return // as many as its record names
		}
	}
	if listed > 0 && !self {
		listed++
	}
	if c.Expect < listed {
		f.add(warning, "cluster.expect", "it is %d, and cluster.join lists %d servers, this one counted: when they are first started, %d that reach no other found a cluster of their own; set it to %[2]d",
			c.Expect, listed, c.Expect)
	}
}

// programs must be there, and redis-server must accept what it is to be given.
func (f *findings) programs(ctx context.Context, tried bool) {
	if f.cfg.HasRole(config.RoleSentinel) {
		f.program(ctx, "sentinel.binary", f.cfg.Sentinel.Binary, "redis-sentinel")
	}
	if !f.cfg.HasRole(config.RoleRedis) || !f.program(ctx, "redis.binary", f.cfg.Redis.Binary, "redis-server") || tried {
		return
	}
	err := agent.Trial(ctx, f.cfg)
	if wrong, is := errors.AsType[*config.Mistake](err); is {
		f.add(mistake, wrong.Key, "redis-server refuses it: %s", wrong.Problem)
	} else if err != nil {
		// It could not be asked, as on a host that is too busy. What was accepted before must not
		// keep a node down for that.
		f.add(warning, "redis.binary", "whether it accepts the values of [redis] is not known: %v", err)
	}
}

// program must be there, and not be too old.
func (f *findings) program(ctx context.Context, key, name, pkg string) bool {
	if _, err := exec.LookPath(name); err != nil {
		f.add(mistake, key, "there is no program %s: `apt-get install %s`, or set %s to where it is", name, pkg, key)
		return false
	}
	version, err := agent.BinaryVersion(ctx, name)
	switch {
	case err != nil:
		// As with the trial: a host that is too busy to answer must not keep a node down.
		f.add(warning, key, "its version is not known: %v", err)
	case redis.TooOld(version):
		f.add(mistake, key, "%s is version %s, and redisd needs Redis %s or later, or Valkey: upgrade the package %s (Debian 12, Ubuntu 24.04 and later releases have a newer one), or set %s to a newer program",
			name, version, redis.Oldest, pkg, key)
		return false
	}
	return true
}

// vips belong on an interface of this host.
func (f *findings) vips() {
	for i, v := range f.cfg.VIPs {
		key := fmt.Sprintf("vip[%d].", i)
		if f.cfg.Where(key+"interface") != "default" {
			if _, err := net.InterfaceByName(v.Interface); err != nil {
				f.add(obstacle, key+"interface", "there is no interface %s; there are: %s", v.Interface, interfaces())
			}
			continue
		}
		if _, err := vip.FindInterface(v.Address); err != nil {
			f.add(obstacle, key+"address", "%v", err)
		}
	}
}

func interfaces() string {
	list, err := net.Interfaces()
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}
