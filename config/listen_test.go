package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func listeningHost() []HostInterface {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	return []HostInterface{
		{Name: "lo", Up: true, Loopback: true, Addresses: prefixes("127.0.0.1/8", "::1/128")},
		{Name: "eth0", Up: true, Addresses: prefixes("10.0.0.1/24", "fd00::1/64", "fe80::1/64")},
		{Name: "eth1", Up: true, Addresses: prefixes("203.0.113.5/24")},
	}
}

func spelled(addrs []netip.Addr) string { return strings.Trim(fmt.Sprint(addrs), "[]") }

func TestListening(t *testing.T) {
	host := listeningHost()
	for _, test := range []struct {
		name, address, list     string
		redis, sentinel, closed string
	}{
		{"by default", "10.0.0.1", ``, "10.0.0.1 10.0.0.100 127.0.0.1 ::1", "10.0.0.1 127.0.0.1 ::1", "fd00::1 on eth0, 203.0.113.5 on eth1"},
		{"one of several on a machine", "127.0.0.1", ``, "127.0.0.1 10.0.0.100", "127.0.0.1", "10.0.0.1 on eth0, fd00::1 on eth0, 203.0.113.5 on eth1"},
		{"a network", "10.0.0.1", `"203.0.113.0/24"`, "10.0.0.1 10.0.0.100 203.0.113.5", "10.0.0.1 203.0.113.5", "fd00::1 on eth0"},
		{"a network of none", "10.0.0.1", `"192.168.0.0/16"`, "10.0.0.1 10.0.0.100", "10.0.0.1", "fd00::1 on eth0, 203.0.113.5 on eth1"},
		{"interfaces", "10.0.0.1", `"lo", "eth1", "eth7"`, "10.0.0.1 10.0.0.100 127.0.0.1 ::1 203.0.113.5", "10.0.0.1 127.0.0.1 ::1 203.0.113.5", "fd00::1 on eth0"},
		{"no link-local address", "10.0.0.1", `"eth0"`, "10.0.0.1 10.0.0.100 fd00::1", "10.0.0.1 fd00::1", "203.0.113.5 on eth1"},
		{"an address to come", "10.0.0.1", `"10.7.7.7"`, "10.0.0.1 10.0.0.100 10.7.7.7", "10.0.0.1 10.7.7.7", "fd00::1 on eth0, 203.0.113.5 on eth1"},
		{"a network that has the VIP", "10.0.0.1", `"10.0.0.0/8", "10.0.0.100"`, "10.0.0.1 10.0.0.100", "10.0.0.1", "fd00::1 on eth0, 203.0.113.5 on eth1"},
		{"everywhere", "10.0.0.1", `"*"`, "0.0.0.0 ::", "0.0.0.0 ::", ""},
		{"all of IPv4", "10.0.0.1", `"0.0.0.0", "::1"`, "0.0.0.0 ::1", "0.0.0.0 ::1", "fd00::1 on eth0"},
		{"an address of IPv6", "fd00::1", `"0.0.0.0"`, "fd00::1 0.0.0.0", "fd00::1 0.0.0.0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := parse("redisd.toml", fmt.Sprintf("[node]\naddress = %q\n[redis]\nlisten = [%s]\n[sentinel]\nlisten = [%[2]s]\n[[vip]]\naddress = \"10.0.0.100/24\"\n", test.address, test.list), none)
			if err != nil {
				t.Fatal(err)
			}
			l := c.RedisListens(host)
			if got := spelled(l.Addrs); got != test.redis {
				t.Errorf("redis: %s, want %s", got, test.redis)
			}
			if got := spelled(c.SentinelListens(host).Addrs); got != test.sentinel {
				t.Errorf("sentinel: %s, want %s", got, test.sentinel)
			}
			if got := strings.Join(l.Closed(host), ", "); got != test.closed {
				t.Errorf("closed: %s, want %s", got, test.closed)
			}
		})
	}
}

// While a VIP is being let go, each other address of the host is named.
func TestListeningWithoutTheVIP(t *testing.T) {
	host := listeningHost()
	vip := netip.MustParseAddr("10.0.0.100")
	host[1].Addresses = append(host[1].Addresses, netip.PrefixFrom(vip, 32))
	c := Default()
	c.Node.Address = netip.MustParseAddr("10.0.0.1")
	c.VIPs = []VIP{{Address: netip.PrefixFrom(vip, 24), Role: RolePrimary}}
	for list, want := range map[string]string{"": "10.0.0.1 127.0.0.1 ::1", "*": "127.0.0.1 10.0.0.1 203.0.113.5 ::1 fd00::1", "eth1": "10.0.0.1 203.0.113.5"} {
		if c.Redis.Listen = nil; list != "" {
			c.Redis.Listen = []string{list}
		}
		if got := spelled(c.RedisListens(host).Without([]netip.Addr{vip}, host).Addrs); got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
}

func TestListeningMisses(t *testing.T) {
	host := listeningHost()
	addrs := func(list string) (out []netip.Addr) {
		for _, a := range strings.Fields(list) {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, test := range []struct{ wanted, have, lacks, beyond string }{
		{"10.0.0.1 10.0.0.100 127.0.0.1", "10.0.0.1 127.0.0.1", "", ""},
		{"10.0.0.1 203.0.113.5", "10.0.0.1", "203.0.113.5", ""},
		{"10.0.0.1", "", "10.0.0.1", ""},
		{"10.0.0.1", "10.0.0.1 203.0.113.5", "", "203.0.113.5"},
		{"10.0.0.1", "10.0.0.1 10.0.0.100", "", ""},
		{"10.0.0.1", "0.0.0.0 ::", "10.0.0.1", "0.0.0.0 ::"},
		{"0.0.0.0 ::", "0.0.0.0 ::", "", ""},
		{"0.0.0.0 ::", "10.0.0.1 127.0.0.1", "0.0.0.0 ::", "10.0.0.1 127.0.0.1"},
	} {
		lacks, beyond := Listening{Addrs: addrs(test.wanted)}.Misses(addrs(test.have), host)
		if got, want := spelled(lacks)+" / "+spelled(beyond), test.lacks+" / "+test.beyond; got != want {
			t.Errorf("wanted %s, have %s: %s, want %s", test.wanted, test.have, got, want)
		}
	}
	// A host without IPv6 lacks none of it.
	lacks, _ := Listening{Addrs: addrs("0.0.0.0 ::")}.Misses(addrs("0.0.0.0"), []HostInterface{{Name: "eth1", Addresses: host[2].Addresses}})
	if len(lacks) > 0 {
		t.Errorf("without IPv6 it lacks %v", lacks)
	}
}

func TestListeningAtMost(t *testing.T) {
	host := []HostInterface{{Name: "eth0"}}
	for i := range 20 {
		host[0].Addresses = append(host[0].Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 24))
	}
	c := Default()
	c.Node.Address, c.Redis.Listen = netip.MustParseAddr("10.0.0.20"), []string{"eth0"}
	l := c.RedisListens(host)
	if got := []int{len(l.Addrs), len(l.Over)}; !cmp.Equal(got, []int{MostListen, 4}) || l.Addrs[0] != c.Node.Address {
		t.Errorf("%v, and left out %v", l.Addrs, l.Over)
	}
}

func TestIdle(t *testing.T) {
	list := []string{"*", "0.0.0.0", "10.0.0.0/24", "10.9.0.0/16", "eth1", "eth7", "203.0.113.5", "203.0.113.6"}
	if got := strings.Join(Idle(list, listeningHost()), " "); got != "10.9.0.0/16 eth7 203.0.113.6" {
		t.Errorf("%s", got)
	}
}

func TestListenEntries(t *testing.T) {
	for entry, ok := range map[string]bool{
		"*": true, "0.0.0.0": true, "::": true, "10.0.0.1": true, "10.0.0.0/24": true, "10.0.0.1/24": true, "fd00::/8": true, "lo": true, "eth0.100": true, "bond0": true,
		"": false, "10.0.0": false, "10.0.0.256": false, "10.0.0.0/33": false, "fe80::1": false, "fe80::1%eth0": false, "224.0.0.1": false, "a b": false, "fd00::g": false,
	} {
		if got := isListen(entry); got != ok {
			t.Errorf("%q: %v, want %v", entry, got, ok)
		}
	}
}
