package config

import (
	"net/netip"
	"strings"
	"testing"
)

// host writes HostFacts as "eth0 default 10.0.0.1/24 2001:db8::1/64; docker0 172.17.0.1/16". The
// words after the interface's name may be "down", "default" or an address.
func host(t *testing.T, name, interfaces string) HostFacts {
	t.Helper()
	h := HostFacts{Hostname: name, Interfaces: []HostInterface{{
		Name: "lo", Up: true, Loopback: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")},
	}}}
	for text := range strings.SplitSeq(interfaces, ";") {
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		i := HostInterface{Name: words[0], Up: true}
		for _, w := range words[1:] {
			switch w {
			case "down":
				i.Up = false
			case "default":
				i.DefaultRoute = true
			default:
				i.Addresses = append(i.Addresses, netip.MustParsePrefix(w))
			}
		}
		h.Interfaces = append(h.Interfaces, i)
	}
	return h
}

func TestResolveAddress(t *testing.T) {
	const vip4, vip6 = "[[vip]]\naddress = \"10.0.0.100/24\"\n", "[[vip]]\naddress = \"2001:db8::100/64\"\n"
	tests := []struct{ name, toml, interfaces, want string }{ // want: the address, or parts of the error
		{"the only one", "", "eth0 10.0.0.1/24", "10.0.0.1"},
		{"set", "node.address = \"10.9.9.9\"", "eth0 10.0.0.1/24", "10.9.9.9"},
		{"set to loopback, for a demo", "node.address = \"127.77.0.1\"", "eth0 10.0.0.1/24", "127.77.0.1"},
		{"containers do not count", "", "eth0 10.0.0.1/24; docker0 172.17.0.1/16; br-1a2b 172.18.0.1/16; veth1 172.19.0.1/16", "10.0.0.1"},
		{"nor does what is down", "", "eth0 down 10.0.0.1/24; eth1 10.1.0.1/24", "10.1.0.1"},
		{"nor link-local", "", "eth0 169.254.1.1/16 fe80::1/64; eth1 10.1.0.1/24 fe80::2/64", "10.1.0.1"},
		{"the VIP's network", vip4, "eth0 default 192.168.1.1/24; eth1 10.0.0.1/24", "10.0.0.1"},
		{"never the VIP itself", vip4, "eth0 10.0.0.100/32 10.0.0.1/24", "10.0.0.1"},
		{"never the VIP itself, even if it is all there is", vip4, "eth0 10.0.0.100/24", "no interface that is up has one|10.0.0.100 on eth0|set address in [node]"},
		{"another cluster's VIP", vip4, "eth0 10.0.0.1/24 10.0.0.200/32", "10.0.0.1"},
		{"a cloud's address without a network", "", "eth0 default 10.0.0.1/32", "10.0.0.1"},
		{"no host in the VIP's network", vip4, "eth0 default 192.168.1.1/24; eth1 172.16.0.1/24", "192.168.1.1"},
		{"the default route", "", "eth0 10.0.0.1/24; eth1 default 10.1.0.1/24", "10.1.0.1"},
		{"IPv4 first", "", "eth0 2001:db8::1/64 10.0.0.1/24", "10.0.0.1"},
		{"IPv6 for an IPv6 VIP", vip6, "eth0 2001:db8::1/64 10.0.0.1/24", "2001:db8::1"},
		{"IPv6 only", "", "eth0 2001:db8::1/64", "2001:db8::1"},
		{"the interface that is asked for", "node.interface = \"eth1\"\n" + vip4, "eth0 default 10.0.0.1/24; eth1 10.1.0.1/24", "10.1.0.1"},
		{"even a container's", "node.interface = \"docker0\"", "eth0 10.0.0.1/24; docker0 172.17.0.1/16", "172.17.0.1"},
		{"several", "", "eth0 10.0.0.1/24 10.0.0.2/24", "several: 10.0.0.1 on eth0, 10.0.0.2 on eth0|set address in [node]|REDISD_NODE_ADDRESS"},
		{"several in the VIP's network", vip4, "eth0 10.0.0.1/24; eth1 10.0.0.2/24; eth2 10.1.0.1/24", "several: 10.0.0.1 on eth0, 10.0.0.2 on eth1;"},
		{"several default routes", "", "eth0 default 10.0.0.1/24; eth1 default 10.1.0.1/24; eth2 10.2.0.1/24", "several: 10.0.0.1 on eth0, 10.1.0.1 on eth1;"},
		{"none", "", "", "no interface that is up has one that other hosts can reach (127.0.0.1 on lo, ::1 on lo); set address in [node]"},
		{"no such interface", "node.interface = \"eth7\"", "eth0 10.0.0.1/24", "the interface eth7 has none|there is no such interface"},
		{"an interface that is down", "node.interface = \"eth0\"", "eth0 down 10.0.0.1/24", "the interface eth0 has none|it is down"},
		{"an interface without an address", "node.interface = \"eth0\"", "eth0 fe80::1/64", "the interface eth0 has none|fe80::1 on eth0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustParse(t, tt.toml)
			err := Resolve(&c, host(t, "db1", tt.interfaces))
			if want, e := netip.ParseAddr(tt.want); e == nil {
				if err != nil || c.Node.Address != want {
					t.Errorf("got %s, %v; want %s", c.Node.Address, err, want)
				}
				return
			}
			for part := range strings.SplitSeq(tt.want, "|") {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("got %s, error %v; want %q", c.Node.Address, err, part)
				}
			}
			if c.Node.Address.IsValid() {
				t.Errorf("the address %s in spite of the error", c.Node.Address)
			}
		})
	}
}

func TestResolveName(t *testing.T) {
	for hostname, ok := range map[string]bool{"db1": true, "db1.example.com": true, "": false, "localhost": false, "localhost.localdomain": false, "my host": false} {
		c := Default()
		err := Resolve(&c, host(t, hostname, "eth0 10.0.0.1/24"))
		if (err == nil) != ok || ok && c.Node.Name != hostname {
			t.Errorf("hostname %q: name %q, %v", hostname, c.Node.Name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "set name in [node]") {
			t.Errorf("no cure in %v", err)
		}
	}
	c := mustParse(t, "node.name = \"a\"")
	if err := Resolve(&c, host(t, "db1", "eth0 10.0.0.1/24")); err != nil || c.Node.Name != "a" {
		t.Errorf("name %q, %v", c.Node.Name, err)
	}
	// Both problems at once.
	c = Default()
	if err := Resolve(&c, host(t, "", "")); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("error %v, want two", err)
	}
}

func TestResolveVIPInterface(t *testing.T) {
	const vip = "[[vip]]\naddress = \"10.0.0.100/24\"\n"
	for _, tt := range []struct{ toml, interfaces, want string }{
		{vip, "eth0 default 192.168.1.1/24; eth1 10.0.0.1/24", "eth1"},
		{vip, "eth0 10.0.0.1/24 10.0.0.2/24; lo1 10.1.0.1/24", "eth0"},
		{vip, "eth0 10.0.0.1/24; eth1 10.0.0.2/24", ""},
		{vip, "eth0 10.0.0.1/24; eth1 10.0.0.100/24", "eth0"},
		{vip, "eth0 10.1.0.1/24", ""},
		{vip + "interface = \"eth9\"", "eth0 10.0.0.1/24", "eth9"},
	} {
		c := mustParse(t, "node.address = \"10.0.0.1\"\n"+tt.toml)
		if err := Resolve(&c, host(t, "db1", tt.interfaces)); err != nil {
			t.Error(err)
		}
		if got := c.VIPs[0].Interface; got != tt.want {
			t.Errorf("%s: interface %q, want %q", tt.interfaces, got, tt.want)
		}
	}
}

func TestResolvePrograms(t *testing.T) {
	const all = "redis-server redis-sentinel valkey-server valkey-sentinel"
	tests := []struct{ name, toml, installed, want string }{ // want: the server, and the Sentinel
		{"redis", "", "redis-server redis-sentinel", "redis-server redis-sentinel"},
		{"nothing: what is missed are Redis' own", "", "", "redis-server redis-sentinel"},
		{"valkey alone", "", "valkey-server valkey-sentinel", "valkey-server valkey-sentinel"},
		{"both", "", all, "redis-server redis-sentinel"},
		{"valkey's server alone is both", "", "valkey-server", "valkey-server valkey-server"},
		{"redis' server alone is both", "", "redis-server", "redis-server redis-server"},
		{"each its own Sentinel", "", "valkey-server redis-sentinel", "valkey-server valkey-server"},
		{"both, and valkey is asked for", "redis.binary = \"valkey-server\"", all, "valkey-server valkey-sentinel"},
		{"redis is asked for, and stays missing", "redis.binary = \"redis-server\"", "valkey-server valkey-sentinel", "redis-server valkey-sentinel"},
		{"the Sentinel is asked for", "sentinel.binary = \"redis-sentinel\"", "valkey-server valkey-sentinel", "valkey-server redis-sentinel"},
		{"one's own server", "redis.binary = \"/opt/redis/bin/redis-server\"", all, "/opt/redis/bin/redis-server redis-sentinel"},
		{"a third voter", "node.roles = [\"sentinel\"]", "valkey-sentinel", "redis-server valkey-sentinel"},
		{"a third voter with redis' Sentinel", "node.roles = [\"sentinel\"]", "redis-sentinel valkey-server", "valkey-server redis-sentinel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse("redisd.toml", tt.toml, none)
			if err != nil {
				t.Fatal(err)
			}
			h := host(t, "a", "eth0 10.0.0.1/24")
			h.Programs = strings.Fields(tt.installed)
			if err := Resolve(&c, h); err != nil {
				t.Fatal(err)
			}
			if got := c.Redis.Binary + " " + c.Sentinel.Binary; got != tt.want {
				t.Errorf("with %q installed: %s, want %s", tt.installed, got, tt.want)
			}
		})
	}
}
