package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
)

// TestBeginAnew: a node that is no member any more becomes another one; what it had is kept, and
// the next agent finds the new one.
func TestBeginAnew(t *testing.T) {
	dir, run := t.TempDir(), t.TempDir()
	d, err := openDisk(dir, run, "test")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{log: slog.New(slog.DiscardHandler), disk: d}
	cfg := config.Default()
	cfg.Node.StateDir = dir
	s.cfg.Store(&cfg)
	old, err := d.loadState("c")
	if err != nil {
		t.Fatal(err)
	}
	if _, removed := old.removed(); removed {
		t.Fatal("a new node is no member any more")
	}
	old.Election = election.State{ClusterID: "1", Term: 7, Vote: "x"}
	old.Removed = []node.Removal{{N: 1, ID: "other"}, {N: 2, ID: old.ID, Left: true}}
	if err := d.saveElection(old.State); err != nil {
		t.Fatal(err)
	}
	if err := d.saveRecord(node.Record{Version: node.Version{Term: 7, Offset: 100}}, true); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(s.aofDir(), "x.aof"): "data", filepath.Join(s.sentinelDir(), "sentinel.conf"): "sentinel monitor c",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	why, removed := old.removed()
	if !removed || !why.Left {
		t.Fatalf("its removal is %+v", why)
	}
	next, err := s.beginAnew(old, why)
	if err != nil {
		t.Fatal(err)
	}
	if next.ID == old.ID || next.Election.ClusterID != "" || next.Cluster != "c" || next.Machine != old.Machine {
		t.Errorf("it is %+v now", next)
	}
	kept, _ := filepath.Glob(filepath.Join(s.redisDir(), "set-aside-*", "*"))
	if len(kept) != 2 {
		t.Errorf("set aside: %v", kept)
	}
	if _, err := os.Stat(s.aofDir()); err == nil {
		t.Error("its old data is still in its place")
	}
	if e := s.events.all(); len(e) != 1 || !strings.HasPrefix(e[0].Text, "joined: left (it was "+old.ID) {
		t.Errorf("the event is %+v", e)
	}
	if rec, err := d.loadRecord(); err != nil || rec.Term != 0 {
		t.Errorf("it knows of %+v, %v", rec, err)
	}
	again, err := d.loadState("c")
	if err != nil || again.ID != next.ID {
		t.Errorf("the next agent is %q, want %q: %v", again.ID, next.ID, err)
	}
	if _, removed := again.removed(); removed {
		t.Error("the new one is no member any more either")
	}
}
