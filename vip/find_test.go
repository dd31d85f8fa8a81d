package vip

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// on builds an interface from its addresses; "~" before one: a secondary.
func on(index int, name string, addrs ...string) place {
	p := place{link: link{name: name, index: index}}
	for _, s := range addrs {
		text, secondary := strings.CutPrefix(s, "~")
		ip, network, err := net.ParseCIDR(text)
		if err != nil {
			panic(err)
		}
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		a := netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: network.Mask}, LinkIndex: index}
		if secondary {
			a.Flags = unix.IFA_F_SECONDARY
		}
		p.addresses = append(p.addresses, a)
	}
	return p
}

func TestFind(t *testing.T) {
	lo := on(1, "lo", "127.0.0.1/8", "::1/128")
	eth0 := on(2, "eth0", "10.0.0.1/24", "fd00::1/64", "fe80::1/64")
	for _, tt := range []struct {
		name, vip, iface string
		host             host
		want             string // the interface, or
		wantErr          string // the whole error
	}{
		{name: "the one with the network", vip: "10.0.0.100/24", host: host{lo, eth0}, want: "eth0"},
		{name: "IPv6", vip: "fd00::100/64", host: host{lo, eth0}, want: "eth0"},
		{name: "loopback", vip: "127.77.0.100/8", host: host{lo, eth0}, want: "lo"},
		{name: "written as a single address", vip: "10.0.0.100/32", host: host{lo, eth0}, want: "eth0"},
		{name: "the host's own address is a /32", vip: "10.0.0.100/24", host: host{lo, on(2, "ens4", "10.0.0.5/32")}, want: "ens4"},
		{name: "the narrowest network", vip: "10.0.0.100/24", host: host{on(2, "wide", "10.9.9.9/8"), eth0, on(4, "mid", "10.0.9.9/16")}, want: "eth0"},
		{name: "the network decides before an address in the VIP's", vip: "10.0.0.100/24", host: host{on(2, "wide", "10.9.9.9/8"), on(3, "p2p", "10.0.0.5/32")}, want: "wide"},
		{name: "a VIP left on the wrong interface does not count", vip: "10.0.0.100/24", host: host{lo, on(2, "eth0", "10.0.0.1/24"), on(3, "eth1", "10.0.0.100/24")}, want: "eth0"},
		{name: "named", vip: "10.9.0.100/24", iface: "eth0", host: host{lo, eth0}, want: "eth0"},

		{name: "outside of every network", vip: "10.9.0.100/24", host: host{lo, eth0, on(3, "eth1")},
			wantErr: "find the interface of VIP 10.9.0.100/24: no interface is in its network (lo: 127.0.0.1/8, ::1/128; eth0: 10.0.0.1/24, fd00::1/64, fe80::1/64; eth1: no address): choose an address in one of these networks, or name the interface under [[vip]]"},
		{name: "two in one network", vip: "10.0.0.100/24", host: host{lo, on(2, "eth0", "10.0.0.1/24"), on(3, "eth1", "10.0.0.2/24")},
			wantErr: `find the interface of VIP 10.0.0.100/24: more than one is in its network (eth0: 10.0.0.1/24; eth1: 10.0.0.2/24): name one of them under [[vip]] (interface = "eth0")`},
		{name: "named, but not there", vip: "10.0.0.100/24", iface: "eth9", host: host{lo},
			wantErr: "find the interface of VIP 10.0.0.100/24: there is no eth9 here (lo: 127.0.0.1/8, ::1/128)"},
		{name: "no interfaces", vip: "10.0.0.100/24",
			wantErr: "find the interface of VIP 10.0.0.100/24: no interface is in its network (there are no interfaces): choose an address in one of these networks, or name the interface under [[vip]]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tt.host.find(Config{Prefix: netip.MustParsePrefix(tt.vip), Interface: tt.iface})
			if l.name != tt.want {
				t.Errorf("got %q, want %q", l.name, tt.want)
			}
			var got string
			if err != nil {
				got = err.Error()
			}
			if got != tt.wantErr {
				t.Errorf("error\n got %s\nwant %s", got, tt.wantErr)
			}
		})
	}
}

func TestRemovable(t *testing.T) {
	for _, tt := range []struct {
		name  string
		place place // the first address is the copy of the VIP
		want  bool
	}{
		{"as redisd adds it", on(2, "eth0", "10.0.0.100/32"), true},
		{"as redisd adds it, IPv6", on(2, "eth0", "fd00::100/128", "fd00::1/64"), true},
		{"added manually, after the host's own", on(2, "eth0", "~10.0.0.100/24", "10.0.0.1/24"), true},
		{"with a sibling of another length", on(2, "eth0", "10.0.0.100/16", "10.0.0.1/24"), true},
		{"the first of its network: the host's own would go too", on(2, "eth0", "10.0.0.100/24", "~10.0.0.1/24"), false},
		{"alone: probably the host's own", on(2, "eth0", "10.0.0.100/24", "192.0.2.1/24"), false},
		{"IPv6 beside the host's own", on(2, "eth0", "fd00::100/64", "fd00::1/64"), true},
		{"IPv6 beside a temporary address", on(2, "eth0", "fd00::100/64", "~fd00::abcd/64"), true},
		{"IPv6 alone", on(2, "eth0", "fd00::100/64", "fe80::1/64"), false},
	} {
		if got := removable(tt.place.addresses[0], tt.place.addresses); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	elsewhere := append(on(2, "eth0", "10.0.0.100/24").addresses, on(3, "eth1", "10.0.0.1/24").addresses...)
	if removable(elsewhere[0], elsewhere) {
		t.Error("an address on another interface counted as a sibling")
	}
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		prefix   string
		lifetime time.Duration
		want     time.Duration
		wantErr  string
	}{
		{prefix: "10.0.0.100/24", want: 5 * time.Second},
		{prefix: "10.0.0.100/24", lifetime: 2100 * time.Millisecond, want: 3 * time.Second},
		{prefix: "10.0.0.100/24", lifetime: time.Second, want: time.Second},
		{prefix: "10.0.0.0/31", want: 5 * time.Second},
		{prefix: "fd00::/64", want: 5 * time.Second},
		{prefix: "10.0.0.100/24", lifetime: 900 * time.Millisecond, wantErr: "under 1s"},
		{prefix: "10.0.0.100/24", lifetime: -time.Second, wantErr: "under 1s"},
		{prefix: "", wantErr: "no address given"},
		{prefix: "10.0.0.0/24", wantErr: "belong to no host"},
		{prefix: "10.0.0.255/24", wantErr: "belong to no host"},
		{prefix: "0.0.0.0/0", wantErr: "not the address of one host"},
		{prefix: "224.0.0.1/24", wantErr: "not the address of one host"},
		{prefix: "255.255.255.255/32", wantErr: "not the address of one host"},
		{prefix: "ff02::1/64", wantErr: "not the address of one host"},
		{prefix: "::ffff:10.0.0.1/120", wantErr: "plain IPv4 or IPv6"},
	} {
		var p netip.Prefix
		if tt.prefix != "" {
			p = netip.MustParsePrefix(tt.prefix)
		}
		got, err := Config{Prefix: p, Lifetime: tt.lifetime}.normal()
		switch {
		case tt.wantErr != "":
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s %s: got error %v, want one with %q", tt.prefix, tt.lifetime, err, tt.wantErr)
			}
		case err != nil || got.Lifetime != tt.want:
			t.Errorf("%s %s: got %v, %v, want %v", tt.prefix, tt.lifetime, got.Lifetime, err, tt.want)
		}
	}
}

func TestInterruptedDumpIsRepeatedNeverUsed(t *testing.T) {
	full := on(2, "eth0", "10.0.0.1/24", "10.0.0.100/32").addresses
	partial := full[:1]
	other := errors.New("other")
	for _, tt := range []struct {
		name  string
		dumps []error // what each dump returns, the last one for ever
		want  int     // addresses
		err   error
		calls int
	}{
		{"whole", []error{nil}, 2, nil, 1},
		{"interrupted twice", []error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, 2, nil, 3},
		{"interrupted for ever", []error{netlink.ErrDumpInterrupted}, 0, netlink.ErrDumpInterrupted, dumpTries},
		{"failed", []error{other}, 0, other, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			got, err := settled(func() ([]netlink.Addr, error) {
				err := tt.dumps[min(calls, len(tt.dumps)-1)]
				calls++
				if err != nil {
					return partial, err
				}
				return full, nil
			})
			if len(got) != tt.want || !errors.Is(err, tt.err) || calls != tt.calls {
				t.Errorf("got %d addresses, %v after %d dumps, want %d, %v, %d", len(got), err, calls, tt.want, tt.err, tt.calls)
			}
		})
	}
}
