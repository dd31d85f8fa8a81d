package vip

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/ndp"
)

var (
	hwA = hardware{0x02, 0, 0, 0, 0, 0x0a}
	hwB = hardware{0x02, 0, 0, 0, 0, 0x0b}
	ip4 = netip.MustParseAddr("10.0.0.100")
	ip6 = netip.MustParseAddr("fd00::100")
)

// unhex reads bytes written with spaces and bars for the eye.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARPBytes(t *testing.T) {
	const eth4 = "0001 0800 06 04"
	for _, tt := range []struct {
		name   string
		bytes  string
		packet arpPacket
	}{
		{
			"announcement: a request, target hardware zero (RFC 5227 2.3)",
			eth4 + "0001 | 02000000000a 0a000064 | 000000000000 0a000064",
			arpAnnouncement(hwA, ip4),
		},
		{
			"gratuitous reply: both hardware addresses ours (RFC 5944 4.6)",
			eth4 + "0002 | 02000000000a 0a000064 | 02000000000a 0a000064",
			arpGratuitousReply(hwA, ip4),
		},
		{
			"probe: sender address zero (RFC 5227 2.1.1)",
			eth4 + "0001 | 02000000000a 00000000 | 000000000000 0a000064",
			arpProbe(hwA, ip4),
		},
		{
			"an owner's answer to a probe",
			eth4 + "0002 | 02000000000b 0a000064 | 02000000000a 00000000",
			arpPacket{Op: arpReply, SenderHW: hwB, SenderIP: ip4, TargetHW: hwA, TargetIP: netip.IPv4Unspecified()},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.bytes)
			if diff := cmp.Diff(want, tt.packet.marshal()); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
			for _, padding := range []int{0, 18} { // 18: to the 60 bytes of the shortest frame
				got, err := parseARP(append(want, make([]byte, padding)...))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.packet, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("packet (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestParseARPRefusesOtherThings(t *testing.T) {
	good := arpAnnouncement(hwA, ip4).marshal()
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"empty":                   nil,
		"short":                   good[:arpLen-1],
		"not Ethernet":            change(1, 6),
		"not IPv4":                change(2, 0x86),
		"hardware address length": change(4, 8),
		"protocol address length": change(5, 16),
	} {
		if _, err := parseARP(b); !errors.Is(err, errNotARP) {
			t.Errorf("%s: got %v, want %v", name, err, errNotARP)
		}
	}
}

func FuzzParseARP(f *testing.F) {
	f.Add(arpAnnouncement(hwA, ip4).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseARP(b)
		if err == nil && string(p.marshal()) != string(b[:arpLen]) {
			t.Errorf("%x became %x", b, p.marshal())
		}
	})
}

func TestClaims(t *testing.T) {
	other := netip.MustParseAddr("10.0.0.7")
	for _, tt := range []struct {
		name   string
		packet arpPacket
		want   bool
	}{
		{"announcement", arpAnnouncement(hwB, ip4), true},
		{"gratuitous reply", arpGratuitousReply(hwB, ip4), true},
		{"answer", arpPacket{Op: arpReply, SenderIP: ip4, TargetIP: other}, true},
		{"the owner asks for somebody", arpPacket{Op: arpRequest, SenderIP: ip4, TargetIP: other}, true},
		{"somebody asks for the owner", arpPacket{Op: arpRequest, SenderIP: other, TargetIP: ip4}, false},
		{"somebody probes as well", arpProbe(hwB, ip4), false},
	} {
		if got := tt.packet.claims(ip4); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The checksum (bytes 2 and 3) is zero: the kernel fills it in.
func TestNDPBytes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		bytes   string
		message ndp.Message
	}{
		{
			"unsolicited advertisement: override only (RFC 4861 4.4, 7.2.6)",
			"88 00 0000 | 20000000 | fd000000000000000000000000000100 | 02 01 02000000000a",
			unsolicitedAdvertisement(hwA, ip6),
		},
		{
			"solicitation with our hardware address (RFC 4861 4.3)",
			"87 00 0000 | 00000000 | fd000000000000000000000000000100 | 01 01 02000000000a",
			solicitation(hwA, ip6),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.bytes)
			got, err := ndp.MarshalMessage(tt.message)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
			back, err := ndp.ParseMessage(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.message, back, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClaimant(t *testing.T) {
	bare := unsolicitedAdvertisement(hwB, ip6)
	bare.Options = nil
	for _, tt := range []struct {
		name    string
		message ndp.Message
		want    string
	}{
		{"advertisement", unsolicitedAdvertisement(hwB, ip6), "02:00:00:00:00:0b"},
		{"of another address", unsolicitedAdvertisement(hwB, netip.MustParseAddr("fd00::7")), ""},
		{"without a hardware address", bare, ""},
		{"solicitation", solicitation(hwB, ip6), ""},
	} {
		if got := claimant(tt.message, ip6).String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
