package gossip

import (
	"net/netip"
	"testing"
	"time"
)

// TestStrangers: they are remembered while they are there, and so many.
func TestStrangers(t *testing.T) {
	var s strangers
	at := func(d time.Duration) time.Time { return time.Unix(1000, 0).Add(d) }
	one := Stranger{Addr: netip.MustParseAddr("192.0.2.1"), Kind: Foreign, Meta: Meta{ID: "x", ClusterID: "other"}}
	s.met(one, at(0))
	s.met(one, at(20*time.Second))
	s.met(Stranger{Kind: OtherSecret}, at(0)) // from nowhere
	got := s.list(at(60 * time.Second))
	if len(got) != 1 || got[0].Meta != one.Meta || !got[0].Since.Equal(at(0)) || !got[0].At.Equal(at(20*time.Second)) {
		t.Errorf("met: %+v", got)
	}
	if got := s.list(at(66 * time.Second)); len(got) != 0 {
		t.Errorf("gone, and still there: %+v", got)
	}
	there := one
	there.Port = 7946
	s.met(there, at(0))
	s.joined(netip.AddrPortFrom(one.Addr, 7947))
	if got := s.list(at(0)); len(got) != 1 {
		t.Errorf("another node of the host joined: %+v", got)
	}
	s.joined(netip.AddrPortFrom(one.Addr, 7946))
	if got := s.list(at(0)); len(got) != 0 {
		t.Errorf("a member is there now: %+v", got)
	}
	for i := range 2 * maxStrangers {
		s.met(Stranger{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Kind: OtherSecret}, at(0))
	}
	if got := s.list(at(0)); len(got) != maxStrangers {
		t.Errorf("%d are kept", len(got))
	}
}

func TestStrangerIn(t *testing.T) {
	for text, want := range map[string]StrangerKind{
		"failed to receive: No installed keys could decrypt the message from=192.0.2.1:33000":    OtherSecret,
		`discarding stream with unacceptable label "redisd/other": from=192.0.2.1:33000`:         OtherName,
		`discarding stream with unacceptable label "consul": from=192.0.2.1:33000`:               0,
		"Decrypt packet failed: No installed keys could decrypt the message from=192.0.2.1:7946": 0, // anybody's, in anybody's name
		"failed to receive: unknown message type from=192.0.2.1:33000":                           0,
		"failed to receive: No installed keys could decrypt the message from=(unknown address)":  0,
	} {
		kind, host := strangerIn(text)
		if kind != want || (want != 0) != (host == netip.MustParseAddr("192.0.2.1")) {
			t.Errorf("%q: %v of %v", text, kind, host)
		}
	}
}
