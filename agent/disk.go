package agent

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/atomicfile"
)

// disk is what a node remembers. state.json is on disk before a vote is
// answered; data.json follows the dataset once a second; the lease file, on a
// file system that a reboot empties, tells the next agent how long this one's
// lease runs.
type disk struct {
	dir, run string
}

// identity is bound to the machine: a cloned disk starts as a node of its own.
type identity struct {
	ID      string `json:"id"`
	Machine string `json:"machine"`
	// Cluster names the cluster this directory belongs to.
	Cluster string `json:"cluster"`
}

type stateFile struct {
	identity
	Election election.State `json:"election"`
	Pause    Pause          `json:"pause"`
}

// record says what the local dataset is worth.
type record struct {
	Term   uint64 `json:"term"`
	Offset int64  `json:"offset"`
	Keys   int64  `json:"keys"`
	// RunID is the redis-server process that Offset belongs to.
	RunID string `json:"run_id"`
}

type leaseFile struct {
	BootID string        `json:"boot_id"`
	Until  time.Duration `json:"until"`
}

// loadState reads state.json, or makes the state of a new node.
func (d disk) loadState(cluster string) (stateFile, error) {
	machine := machineID()
	var s stateFile
	path := d.path("state.json")
	switch err := readJSON(path, &s); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return s, fmt.Errorf("read this node's state: %w; restore the file, or move %s away to join as a new node", err, d.dir)
	case s.Cluster != cluster:
		return s, fmt.Errorf("%s belongs to the cluster %q, but [cluster] name is %q: set the name back, or move %s away to join as a new node",
			path, s.Cluster, cluster, d.dir)
	case s.Machine != machine:
		// A copy of another host's disk: keep the data, not the vote nor the name.
		s = stateFile{}
	}
	if s.ID == "" {
		s.identity = identity{ID: randomID(4), Machine: machine, Cluster: cluster}
		return s, d.saveState(s)
	}
	return s, nil
}

func (d disk) saveState(s stateFile) error { return writeJSON(d.path("state.json"), s) }

func (d disk) loadRecord() (record, error) {
	var r record
	err := readJSON(d.path("data.json"), &r)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return r, err
}

// saveRecord replaces the record. It is written often, and made to survive a power
// loss (sync) once a second, as the dataset itself is with appendfsync everysec.
func (d disk) saveRecord(r record, sync bool) error {
	if sync {
		return writeJSON(d.path("data.json"), r)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := d.path("data.json.next")
	if err := os.WriteFile(next, b, 0o640); err != nil {
		return err
	}
	return os.Rename(next, d.path("data.json"))
}

// saveLease is called with every renewal: a write to memory, not to disk.
func (d disk) saveLease(until time.Duration) error {
	b, err := json.Marshal(leaseFile{BootID: bootID(), Until: until})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.run, "lease"), b, 0o600)
}

// leaseUntil is how long the lease of the agent before this one runs at most.
func (d disk) leaseUntil() time.Duration {
	var l leaseFile
	if err := readJSON(filepath.Join(d.run, "lease"), &l); err != nil || l.BootID != bootID() {
		return 0
	}
	return l.Until
}

func (d disk) path(name string) string { return filepath.Join(d.dir, name) }

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(b, '\n'), 0o640)
}

func machineID() string {
	b, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func randomID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
