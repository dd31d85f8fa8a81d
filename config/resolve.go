package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// HostFacts is what Resolve has to know about this host.
type HostFacts struct {
	Hostname   string
	Interfaces []HostInterface
	Programs   []string // those of Programs that are installed
}

// Programs are what a node can run, by name.
var Programs = []string{"redis-server", "redis-sentinel", "valkey-server", "valkey-sentinel"}

// HostInterface is a network interface of this host.
type HostInterface struct {
	Name         string
	Up           bool
	Loopback     bool
	DefaultRoute bool // the default route leads out of it
	Addresses    []netip.Prefix
}

// Resolve fills in what redisd.toml leaves to detection: the programs (Redis, or Valkey where that
// alone is installed), the node's name (the host's), its address, and the interface of each VIP
// (the one that has an address in its network; "" if that is not clear). What redisd.toml says is
// left as it is. If name or address remain unknown, the error says what there was to choose from.
//
// The address is chosen among those of interfaces that are up, that are not a VIP, and that other
// hosts can reach: with node.interface, only of that one; else in the first VIP's network, if there
// is one; else those of the default route's interface, if there are any. Only if exactly one is
// left, it is taken. IPv4 goes before IPv6, unless the first VIP is IPv6; an address that comes
// without a network (/32, /128), as floating ones do, goes last.
func Resolve(c *Config, h HostFacts) error {
	var errs []error
	resolvePrograms(c, h.Programs)
	if c.Node.Name == "" {
		if err := resolveName(c, h.Hostname); err != nil {
			errs = append(errs, err)
		}
	}
	if !c.Node.Address.IsValid() {
		if err := resolveAddress(c, h); err != nil {
			errs = append(errs, err)
		}
	}
	for i, v := range c.VIPs {
		if v.Address.Addr() == c.Node.Address {
			errs = append(errs, fmt.Errorf("detect the node's address: %s is both its own and a VIP: a VIP is an address that no host has by itself", c.Node.Address))
		}
		if v.Interface == "" {
			c.VIPs[i].Interface = interfaceOf(v.Address, h)
		}
	}
	return errors.Join(errs...)
}

// resolvePrograms chooses among what is installed: redis-server before valkey-server, and the
// Sentinel that belongs to it. Where that one's package is missing, the server itself can be one.
func resolvePrograms(c *Config, installed []string) {
	has := func(name string) bool { return slices.Contains(installed, name) }
	if _, set := c.source.at["redis.binary"]; !set && !has("redis-server") && has("valkey-server") {
		c.Redis.Binary = "valkey-server"
	}
	if _, set := c.source.at["sentinel.binary"]; set {
		return
	}
	programs := []string{"redis-sentinel", "valkey-sentinel", "redis-server", "valkey-server"}
	if family, isServer := strings.CutSuffix(filepath.Base(c.Redis.Binary), "-server"); c.HasRole(RoleRedis) && isServer && has(family+"-server") {
		programs = []string{family + "-sentinel", family + "-server"}
	}
	if i := slices.IndexFunc(programs, has); i >= 0 {
		c.Sentinel.Binary = programs[i]
	}
}

func resolveName(c *Config, hostname string) error {
	if !isName(hostname) || strings.HasPrefix(hostname, "localhost") {
		return fmt.Errorf("detect the node's name: the host is called %q; set name in [node]", hostname)
	}
	c.Node.Name = hostname
	return nil
}

// candidate is an address that the node could have.
type candidate struct {
	address netip.Prefix
	on      HostInterface
}

func resolveAddress(c *Config, h HostFacts) error {
	all := candidates(c, h)
	left := all
	if c.Node.Interface == "" {
		if len(c.VIPs) > 0 {
			network := c.VIPs[0].Address.Masked()
			left = prefer(left, func(x candidate) bool { return network.Contains(x.address.Addr()) })
		}
		left = prefer(left, func(x candidate) bool { return x.on.DefaultRoute })
	}
	v6 := len(c.VIPs) > 0 && c.VIPs[0].Address.Addr().Is6()
	left = prefer(left, func(x candidate) bool { return x.address.Addr().Is6() == v6 })
	left = prefer(left, func(x candidate) bool { return !x.address.IsSingleIP() }) // the VIP of something else
	if len(left) == 1 {
		c.Node.Address = left[0].address.Addr()
		return nil
	}
	const cure = `set address in [node], or REDISD_NODE_ADDRESS`
	if len(left) > 1 {
		return fmt.Errorf("detect the node's address: this host has several: %s; %s", described(left), cure)
	}
	if c.Node.Interface != "" {
		return fmt.Errorf("detect the node's address: the interface %s has none that other hosts can reach (%s); %s", c.Node.Interface, state(c.Node.Interface, h), cure)
	}
	return fmt.Errorf("detect the node's address: no interface that is up has one that other hosts can reach (%s); %s", described(anything(h)), cure)
}

// candidates are all addresses that other hosts could reach this one by.
func candidates(c *Config, h HostFacts) []candidate {
	var found []candidate
	for _, x := range anything(h) {
		a := x.address.Addr()
		switch {
		case !x.on.Up || x.on.Loopback || !a.IsGlobalUnicast():
		case slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Address.Addr() == a }):
		case c.Node.Interface != "" && x.on.Name != c.Node.Interface:
		case c.Node.Interface == "" && isInternal(x.on.Name):
		default:
			found = append(found, x)
		}
	}
	return found
}

func anything(h HostFacts) []candidate {
	var all []candidate
	for _, i := range h.Interfaces {
		for _, a := range i.Addresses {
			all = append(all, candidate{netip.PrefixFrom(a.Addr().Unmap(), a.Bits()), i})
		}
	}
	return all
}

// isInternal knows the interfaces of containers and virtual machines by their usual names: their
// addresses mean something on this host only.
func isInternal(name string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "podman", "lxcbr", "lxdbr"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// prefer keeps those that are wanted; all of them if none is.
func prefer(all []candidate, wanted func(candidate) bool) []candidate {
	var some []candidate
	for _, x := range all {
		if wanted(x) {
			some = append(some, x)
		}
	}
	if len(some) == 0 {
		return all
	}
	return some
}

func described(all []candidate) string {
	if len(all) == 0 {
		return "there is no address at all"
	}
	words := make([]string, len(all))
	for i, x := range all {
		words[i] = x.address.Addr().String() + " on " + x.on.Name
	}
	return strings.Join(words, ", ")
}

func state(name string, h HostFacts) string {
	for _, i := range h.Interfaces {
		switch {
		case i.Name != name:
		case !i.Up:
			return "it is down"
		default:
			return described(anything(HostFacts{Interfaces: []HostInterface{i}}))
		}
	}
	return "there is no such interface"
}

// interfaceOf returns the only interface that has an address in the VIP's network.
func interfaceOf(vip netip.Prefix, h HostFacts) string {
	name := ""
	for _, x := range anything(h) {
		if x.on.Loopback || x.address.Addr() == vip.Addr() || !vip.Masked().Contains(x.address.Addr()) || x.on.Name == name {
			continue
		}
		if name != "" {
			return ""
		}
		name = x.on.Name
	}
	return name
}
