package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/redisd/redisd/agent"
	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/supervisor"
)

// ports finds those that something else listens on. What an agent, or one before it, runs is not
// something else.
func (f *findings) ports(ctx context.Context) {
	switch err := dial(f.cfg.SocketPath()); {
	case err == nil:
		return // an agent runs here: `redisd check` on a working node
	case errors.Is(err, fs.ErrPermission):
		f.add(warning, "node.run_dir", "ports not checked, an agent may be using them: run `redisd check` as root")
		return
	}
	if !f.address(ctx) {
		return
	}
	f.port(ctx, "cluster.gossip_port", f.cfg.Cluster.GossipPort, "tcp", "udp")
	if f.cfg.HasRole(config.RoleRedis) && !leftRunning(f.cfg, "redis-server") {
		f.port(ctx, "redis.port", f.cfg.Redis.Port, "tcp")
	}
	if f.cfg.HasRole(config.RoleSentinel) && !leftRunning(f.cfg, "redis-sentinel") {
		f.port(ctx, "sentinel.port", f.cfg.Sentinel.Port, "tcp")
	}
}

// address reports that this host has the node's address.
func (f *findings) address(ctx context.Context) bool {
	err := listen(ctx, "tcp", netip.AddrPortFrom(f.cfg.Node.Address, 0))
	if err != nil {
		f.add(obstacle, "node.address", "invalid value %s: must be an address of this host (%v): set one, or take the key out to have it detected",
			f.cfg.Node.Address, err)
	}
	return err == nil
}

// leftRunning reports that an agent before this one has left the process running, for the next one
// to take over.
func leftRunning(cfg config.Config, process string) bool {
	pid, err := supervisor.Look(filepath.Join(cfg.Node.StateDir, "supervisor"), process)
	return err == nil && pid != 0
}

// port tries to listen where the node will: on all addresses, IPv4 and IPv6, or on its loopback
// address alone.
func (f *findings) port(ctx context.Context, key string, port int, protocols ...string) {
	if slices.Contains(f.taken, key) {
		return // said with more
	}
	addrs := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if f.cfg.Node.Address.IsLoopback() {
		addrs = []netip.Addr{f.cfg.Node.Address}
	}
	for _, protocol := range protocols {
		for _, addr := range addrs {
			at := netip.AddrPortFrom(addr, uint16(port))
			err := listen(ctx, protocol, at)
			switch {
			case errors.Is(err, syscall.EADDRINUSE):
				f.add(obstacle, key, "%s port %d is in use (%s): stop what uses it (`ss -lnp 'sport = :%d'` names it), or set another port, the same on every node",
					protocol, port, at, port)
				return
			case errors.Is(err, fs.ErrPermission):
				f.add(mistake, key, "may not listen on %s port %d: ports below 1024 are for root; set another port, the same on every node", protocol, port)
				return
			case err != nil && addr.Is4():
				f.add(obstacle, key, "cannot listen on %s port %d (%v)", protocol, port, err)
				return
			} // a host without IPv6 does without
		}
	}
}

// listen tries an address of one family, and stops again at once.
func listen(ctx context.Context, protocol string, at netip.AddrPort) error {
	network := protocol + "4"
	if at.Addr().Is6() {
		network = protocol + "6"
	}
	var lc net.ListenConfig
	var err error
	if protocol == "udp" {
		c, e := lc.ListenPacket(ctx, network, at.String())
		if err = e; e == nil {
			return c.Close()
		}
	} else {
		l, e := lc.Listen(ctx, network, at.String())
		if err = e; e == nil {
			return l.Close()
		}
	}
	if no, is := errors.AsType[syscall.Errno](err); is {
		return no // its text alone: the caller names the rest
	}
	return fmt.Errorf("listen on %s: %w", at, err)
}

// listening says where redis-server and Sentinel do not listen that somebody may come to.
func (f *findings) listening() {
	host, err := agent.HostInterfaces()
	if err != nil {
		f.add(warning, "redis.listen", "not checked, the addresses of this host are not known: %v", err)
		return
	}
	for _, server := range []struct {
		key, role, name string
		list            []string
		at              config.Listening
	}{
		{"redis.listen", config.RoleRedis, "redis-server", f.cfg.Redis.Listen, f.cfg.RedisListens(host)},
		{"sentinel.listen", config.RoleSentinel, "redis-sentinel", f.cfg.Sentinel.Listen, f.cfg.SentinelListens(host)},
	} {
		closed := server.at.Closed(host)
		switch {
		case !f.cfg.HasRole(server.role):
		case len(server.list) == 0 && len(closed) > 0 && !f.cfg.Node.Address.IsLoopback():
			f.add(warning, server.key, `%s does not listen at %s: if clients use one of these, list it there, or ["*"] for every address`, server.name, strings.Join(closed, ", "))
		case len(server.at.Over) > 0:
			f.add(warning, server.key, "%d addresses are more than %s takes (%d): name fewer", len(server.at.Addrs)+len(server.at.Over), server.name, config.MostListen)
		}
		for _, entry := range config.Idle(server.list, host) {
			f.add(warning, server.key, "%q means no address that this host has now", entry)
		}
	}
}
