package agent

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/slotfile"
	"github.com/redisd/redisd/node"
)

func newDisk(t *testing.T) *disk {
	t.Helper()
	d, err := openDisk(t.TempDir(), t.TempDir(), "0.2.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close() })
	return d
}

func TestStateSurvives(t *testing.T) {
	d := newDisk(t)
	first, err := d.loadState("cache")
	if err != nil {
		t.Fatal(err)
	}
	if first.ID == "" {
		t.Fatal("a new node has no id")
	}
	first.Election = election.State{ClusterID: "c1", Term: 7, Vote: "a", Roster: election.NewRoster(3, []election.Voter{{ID: "a", Addr: "10.0.0.1:7946"}})}
	if err := d.saveState(first); err != nil {
		t.Fatal(err)
	}
	again, err := d.loadState("cache")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again, cmp.AllowUnexported(stateFile{}, identity{})); diff != "" {
		t.Errorf("the state changed on disk (-saved +loaded):\n%s", diff)
	}
}

// TestStateOfAnotherCluster: a directory never changes its cluster silently.
func TestStateOfAnotherCluster(t *testing.T) {
	d := newDisk(t)
	if _, err := d.loadState("cache"); err != nil {
		t.Fatal(err)
	}
	_, err := d.loadState("queue")
	for _, want := range []string{`"cache"`, `"queue"`, d.dir} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

// TestOtherMachine: what a node has promised is bound to its machine, and nothing is written over.
func TestOtherMachine(t *testing.T) {
	for name, c := range map[string]struct{ bound, here, want string }{
		"the same":           {"m1", "m1", ""},
		"another":            {"m1", "m2", "redisd adopt-identity"},
		"no id any more":     {"m1", "", "systemd-machine-id-setup"},
		"bound to none yet":  {"", "m2", ""},
		"none, as it was":    {"", "", ""},
		"a copy, and no new": {"m1", "m2", "move "},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			d.machine = c.bound
			s, err := d.loadState("cache")
			if err != nil {
				t.Fatal(err)
			}
			s.Election.Term, s.Election.Vote = 5, "a"
			if err := d.saveState(s); err != nil {
				t.Fatal(err)
			}
			before, _ := d.state.Read()
			d.machine = c.here
			again, err := d.loadState("cache")
			if c.want == "" {
				if err != nil || again.ID != s.ID || again.Election.Vote != "a" || again.Machine != c.here {
					t.Errorf("loaded %+v, %v", again, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
			if after, _ := d.state.Read(); !bytes.Equal(before, after) {
				t.Error("the state was written over")
			}
		})
	}
}

func TestLeaseFile(t *testing.T) {
	d := newDisk(t)
	if got := d.leaseUntil(); got != 0 {
		t.Errorf("a lease of %v without a file", got)
	}
	if err := d.saveLease(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if got := d.leaseUntil(); got != 5*time.Second {
		t.Errorf("lease until %v, want 5s", got)
	}
	// The same file after a reboot says nothing: the clock started anew.
	if err := writeSlot(d.lease, d.by, leaseFile{BootID: "another boot", Until: time.Hour}, false); err != nil {
		t.Fatal(err)
	}
	if got := d.leaseUntil(); got != 0 {
		t.Errorf("a lease of %v from before the reboot", got)
	}
}

func TestRecordSurvives(t *testing.T) {
	d := newDisk(t)
	for _, sync := range []bool{false, true} {
		want := node.Record{Version: node.Version{Term: 3, Offset: 1234, Keys: 5}, RunID: "r"}
		if err := d.saveRecord(want, sync); err != nil {
			t.Fatal(err)
		}
		got, err := d.loadRecord()
		if err != nil || got != want {
			t.Errorf("sync %v: record %+v, %v; want %+v", sync, got, err, want)
		}
	}
}

// TestStateFits: with the largest roster that an elector proposes (election.Propose), the state can
// be saved.
func TestStateFits(t *testing.T) {
	const maxRoster = 7 << 10
	name := strings.Repeat("n", 32)
	s := stateFile{identity: identity{ID: name, Machine: name, Cluster: strings.Repeat("c", 63)}}
	s.Election = election.State{
		ClusterID: name, Term: 1 << 53, Vote: election.NodeID(name), Holder: election.NodeID(name), HolderTerm: 1 << 53, Released: true, Bootstrapping: true,
	}
	s.Pause, s.Drained, s.Whole = node.Pause{Version: 1 << 60, On: true}, &node.Drained{Term: 1 << 53, Offset: 1 << 62}, 1<<53
	without, err := json.Marshal(s)
	if err != nil || len(without)+maxRoster > slotfile.MaxSize {
		t.Errorf("the state takes %d bytes without a roster, and %d with one; %d fit (%v)", len(without), len(without)+maxRoster, slotfile.MaxSize, err)
	}
}
