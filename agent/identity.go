package agent

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/redisd/redisd/internal/slotfile"
)

// identity is bound to the machine: what a node has promised must not be promised twice, so a copy
// of its disk is nobody until a person has said what it is (adopt.go).
type identity struct {
	ID      string `json:"id"`
	Machine string `json:"machine"`
	// Cluster names the cluster this directory belongs to.
	Cluster string `json:"cluster"`
	// Left is the id of the cluster whose data this node has set aside: it never joins that one.
	Left string `json:"left,omitempty"`
}

// ErrNoMachineID: this host cannot be told from another one. It may be cured by itself, as early in
// a first boot.
var ErrNoMachineID = errors.New("/etc/machine-id is missing, unreadable or empty, so this host cannot be told from another one: `systemd-machine-id-setup` makes one")

// belongs says whether what is in dir may be used on a machine.
func (i identity) belongs(dir, machine string) error {
	switch {
	case i.Machine == machine || i.Machine == "":
		return nil
	case machine == "":
		return ErrNoMachineID
	}
	return fmt.Errorf("%s is of another machine (it is node %s of the cluster %q, and /etc/machine-id differs): "+
		"if this host replaces that one for good, `redisd adopt-identity` looks whether that is so and makes it this host's; "+
		"if it is a copy, move %[1]s away to join as a new node", dir, i.ID, i.Cluster)
}

// CheckIdentity says why the node in a state directory may not run on this host; lone: it speaks to
// no other host, so that nothing depends on which one it is.
func CheckIdentity(dir string, lone bool) error {
	s, err := peekState(dir)
	if err != nil {
		return nil // said by ClusterOf
	}
	machine := machineID()
	if s.ID == "" && machine == "" && !lone {
		return ErrNoMachineID
	}
	return s.belongs(dir, machine)
}

// machineID is empty when there is none (machine-id(5)).
func machineID() string {
	b, err := os.ReadFile("/etc/machine-id")
	id := strings.TrimSpace(string(b))
	if err != nil || id == "uninitialized" {
		return ""
	}
	return id
}

// unreadable says what to do about a state that cannot be read.
func unreadable(dir string, err error) error {
	if errors.Is(err, errTooNew) {
		return fmt.Errorf("%w; or move %s away to join as a new node", err, dir)
	}
	cure := "restore it from a backup and run `redisd adopt-identity`"
	if !errors.Is(err, slotfile.ErrDamaged) {
		cure = "restore it"
	}
	return fmt.Errorf("%w; %s, or move %s away to join as a new node", err, cure, dir)
}
