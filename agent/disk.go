package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/redisd/redisd/internal/slotfile"
	"github.com/redisd/redisd/node"
)

// disk is what a node remembers. The state is on disk before a vote is answered; the record follows
// the dataset ten times a second; the lease file, on a file system that a reboot empties, tells the
// next agent how long this one's lease runs. All are written in place, also when the disk is full,
// and say in which format they are (format.go).
type disk struct {
	dir   string
	by    string // the version of this redisd
	state *slotfile.File
	data  *slotfile.File
	lease *slotfile.File
	// machine is this host's, identity what loadState found or made.
	machine  string
	identity identity
}

// stateName is the file of the state, in the state directory.
const stateName = "state"

// openDisk opens, or makes, the files of a node.
func openDisk(dir, run, by string) (*disk, error) {
	state, err := slotfile.Open(filepath.Join(dir, stateName), 0o600)
	if err != nil {
		return nil, err
	}
	data, err := slotfile.Open(filepath.Join(dir, recordName), 0o600)
	if err != nil {
		state.Close()
		return nil, err
	}
	lease, err := slotfile.Open(filepath.Join(run, "lease"), 0o600)
	if err != nil {
		return nil, errors.Join(err, state.Close(), data.Close())
	}
	return &disk{dir: dir, by: by, machine: machineID(), state: state, data: data, lease: lease}, nil
}

func (d *disk) close() error { return errors.Join(d.state.Close(), d.data.Close(), d.lease.Close()) }

type stateFile struct {
	identity
	node.State
}

type leaseFile struct {
	BootID string        `json:"boot_id"`
	Until  time.Duration `json:"until"`
}

// loadState reads the state, or makes that of a new node.
func (d *disk) loadState(cluster string) (stateFile, error) {
	var s stateFile
	switch err := readSlot(d.state, &s); {
	case errors.Is(err, slotfile.ErrEmpty):
	case err != nil:
		return s, fmt.Errorf("read this node's state: %w", unreadable(d.dir, err))
	case s.Cluster != cluster:
		return s, fmt.Errorf("%s belongs to the cluster %q, but [cluster] name is %q: set the name back, or move %s away to join as a new node",
			d.dir, s.Cluster, cluster, d.dir)
	}
	if err := s.belongs(d.dir, d.machine); err != nil {
		return s, err
	}
	if s.ID != "" && s.Machine == d.machine {
		d.identity = s.identity
		return s, nil
	}
	if s.ID == "" {
		s.ID, s.Cluster = randomID(4), cluster
	}
	s.Machine = d.machine
	d.identity = s.identity
	return s, d.saveState(s)
}

// ClusterOf returns the name of the cluster that a state directory belongs to; empty when it
// belongs to none yet.
func ClusterOf(dir string) (string, error) {
	s, err := peekState(dir)
	return s.Cluster, err
}

// VotersOf returns the addresses of the voters, this node among them, of the cluster that a state
// directory belongs to; none when it belongs to none yet.
func VotersOf(dir string) ([]netip.Addr, error) {
	s, err := peekState(dir)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, v := range s.Election.Roster.Voters {
		addr, err := netip.ParseAddrPort(v.Addr)
		if err != nil {
			return nil, fmt.Errorf("address of voter %s: %w", v.ID, err)
		}
		out = append(out, addr.Addr())
	}
	return out, nil
}

// peekState reads the state in a directory that an agent may have in use.
func peekState(dir string) (s stateFile, err error) {
	path := filepath.Join(dir, stateName)
	if _, err := os.Stat(path); err != nil {
		return s, nil // there is none, or who opens it will say what is wrong
	}
	f, err := slotfile.Open(path, 0o600)
	if err != nil {
		return s, nil
	}
	defer f.Close()
	switch err := readSlot(f, &s); {
	case err == nil, errors.Is(err, slotfile.ErrEmpty):
		return s, nil
	case errors.Is(err, errTooNew):
		return stateFile{}, fmt.Errorf("%s: %w", path, err)
	default:
		return s, fmt.Errorf("%s is damaged: %w", path, unreadable(dir, err))
	}
}

func (d *disk) saveState(s stateFile) error { return writeSlot(d.state, d.by, s, true) }

// saveElection puts what the node decided on disk, under the identity it was loaded with.
func (d *disk) saveElection(st node.State) error {
	if err := d.saveState(stateFile{identity: d.identity, State: st}); err != nil {
		return fmt.Errorf("save the election's state: %w", err)
	}
	return nil
}

func (d *disk) loadRecord() (node.Record, error) {
	var r node.Record
	err := readSlot(d.data, &r)
	if errors.Is(err, slotfile.ErrEmpty) {
		err = nil
	}
	return r, err
}

// saveRecord replaces the record. It is made to survive a power loss (sync) once a second, as the
// dataset itself is with appendfsync everysec.
func (d *disk) saveRecord(r node.Record, sync bool) error { return writeSlot(d.data, d.by, r, sync) }

// saveLease is called with every renewal: a write to memory, not to disk.
func (d *disk) saveLease(until time.Duration) error {
	return writeSlot(d.lease, d.by, leaseFile{BootID: bootID(), Until: until}, false)
}

// leaseUntil is how long the lease of the agent before this one runs at most.
func (d *disk) leaseUntil() time.Duration {
	var l leaseFile
	if err := readSlot(d.lease, &l); err != nil || l.BootID != bootID() {
		return 0
	}
	return l.Until
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

func randomID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
