package confgen

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// SentinelState is what a Sentinel keeps in sentinel.conf about the cluster. It is that Sentinel's
// own: redisd reads it, and carries it over word by word.
type SentinelState struct {
	Name         string // of the primary it monitors: the cluster's
	Primary      netip.AddrPort
	Quorum       int
	MyID         string // "" before its first start
	ConfigEpoch  uint64
	LeaderEpoch  uint64
	CurrentEpoch uint64
	Replicas     []netip.AddrPort
	Sentinels    []KnownSentinel
}

// KnownSentinel is another Sentinel that one has met.
type KnownSentinel struct {
	Addr netip.AddrPort
	ID   string // "" in files of very old releases
}

// sentinelIDLength is the length of a Sentinel's id in hexadecimal digits (server.h,
// CONFIG_RUN_ID_SIZE). It refuses to start with another one.
const sentinelIDLength = 40

// ParseSentinelState reads the state in a sentinel.conf. It insists on what every file that a
// Sentinel has run with has: exactly one primary, and lines about that one only. Anything else is
// reported, never repaired: a Sentinel that forgets its epochs may vote twice.
func ParseSentinelState(file []byte) (SentinelState, error) {
	var s SentinelState
	seen := map[string]bool{}
	for n, l := range parseLines(file) {
		option, args := sentinelOption(l)
		if option == "" {
			continue
		}
		if single[option] && seen[option] {
			return SentinelState{}, fmt.Errorf("sentinel.conf, line %d: a second %q", n+1, "sentinel "+option)
		}
		seen[option] = true
		if err := s.read(option, args); err != nil {
			return SentinelState{}, fmt.Errorf("sentinel.conf, line %d: sentinel %s: %w", n+1, option, err)
		}
	}
	if s.Name == "" {
		return SentinelState{}, errors.New("sentinel.conf: it has no line \"sentinel monitor\"")
	}
	for n, l := range parseLines(file) {
		option, args := sentinelOption(l)
		if perPrimary[option] && args[0] != s.Name {
			return SentinelState{}, fmt.Errorf("sentinel.conf, line %d: it is about %q, but %q is monitored", n+1, args[0], s.Name)
		}
	}
	return s, nil
}

// single are the options that a file has once; a second one would leave open which counts.
var single = map[string]bool{
	"monitor": true, "myid": true, "config-epoch": true, "leader-epoch": true, "current-epoch": true,
}

// perPrimary are those options of the state whose first argument is the primary's name.
var perPrimary = map[string]bool{
	"config-epoch": true, "leader-epoch": true,
	"known-replica": true, "known-slave": true, "known-sentinel": true,
}

// sentinelOption splits a line "sentinel OPTION ARGS…"; option is "" for others.
func sentinelOption(l confLine) (option string, args []string) {
	if len(l.words) < 2 || l.name() != "sentinel" {
		return "", nil
	}
	return strings.ToLower(l.words[1]), l.words[2:]
}

func (s *SentinelState) read(option string, args []string) (err error) {
	want, known := map[string]int{
		"monitor": 4, "myid": 1, "current-epoch": 1, "config-epoch": 2, "leader-epoch": 2,
		"known-replica": 3, "known-slave": 3, "known-sentinel": 4,
	}[option]
	if !known {
		return nil
	}
	if len(args) != want && (option != "known-sentinel" || len(args) != 3) {
		return fmt.Errorf("%d arguments, want %d", len(args), want)
	}
	switch option {
	case "monitor":
		return s.readMonitor(args)
	case "myid":
		s.MyID = args[0]
		return checkSentinelID(s.MyID)
	case "current-epoch":
		s.CurrentEpoch, err = readEpoch(args[0])
	case "config-epoch":
		s.ConfigEpoch, err = readEpoch(args[1])
	case "leader-epoch":
		s.LeaderEpoch, err = readEpoch(args[1])
	case "known-replica", "known-slave":
		var a netip.AddrPort
		a, err = readAddr(args[1], args[2])
		s.Replicas = append(s.Replicas, a)
	case "known-sentinel":
		return s.readKnownSentinel(args)
	}
	return err
}

func (s *SentinelState) readMonitor(args []string) (err error) {
	s.Name = args[0]
	if s.Name == "" {
		return errors.New("the name is empty")
	}
	if s.Primary, err = readAddr(args[1], args[2]); err != nil {
		return err
	}
	s.Quorum, err = strconv.Atoi(args[3])
	if err != nil || s.Quorum < 1 {
		return fmt.Errorf("quorum %q: want a number of at least 1", args[3])
	}
	return nil
}

func (s *SentinelState) readKnownSentinel(args []string) error {
	a, err := readAddr(args[1], args[2])
	if err != nil {
		return err
	}
	k := KnownSentinel{Addr: a}
	if len(args) == 4 {
		k.ID = args[3]
		if err := checkSentinelID(k.ID); err != nil {
			return err
		}
	}
	s.Sentinels = append(s.Sentinels, k)
	return nil
}

func checkSentinelID(id string) error {
	hex := strings.Trim(id, "0123456789abcdef") == ""
	if len(id) != sentinelIDLength || !hex {
		return fmt.Errorf("id %q: want %d hexadecimal digits", id, sentinelIDLength)
	}
	return nil
}

func readEpoch(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("epoch %q: want a number", text)
	}
	return n, nil
}

func readAddr(host, port string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: want an IP address", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return netip.AddrPort{}, fmt.Errorf("port %q: want 1 to 65535", port)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// ForgetReplica removes a replica from the sentinel.conf of a Sentinel that does not run, and
// reports whether it was there. (A running one would write its line back.) Unlike SENTINEL RESET
// this forgets nothing else. Do it on one node at a time, while the primary is healthy.
func ForgetReplica(file []byte, replica netip.AddrPort) (edited []byte, found bool) {
	return forget(file, replica, "known-replica", "known-slave")
}

// ForgetSentinel does the same for another Sentinel: for every id that was ever seen at its
// address.
func ForgetSentinel(file []byte, sentinel netip.AddrPort) (edited []byte, found bool) {
	return forget(file, sentinel, "known-sentinel")
}

func forget(file []byte, who netip.AddrPort, options ...string) (edited []byte, found bool) {
	for text := range bytes.Lines(file) {
		option, args := sentinelOption(parseLines(text)[0])
		if slices.Contains(options, option) && len(args) >= 3 {
			if a, err := readAddr(args[1], args[2]); err == nil && a == who {
				found = true
				continue
			}
		}
		edited = append(edited, text...)
	}
	return edited, found
}
