package lab

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Impairment makes a link bad, in each of its two directions.
type Impairment struct {
	Loss   float64       // the part of the frames that is lost, 0 to 1
	Delay  time.Duration // of every frame: a round trip takes twice as long more
	Jitter time.Duration // up to so much more of it, at random; frames keep their order
}

// link is a host's cable: the interface of the lab's namespace that leads to it, which comes and
// goes with the power, and the state that it is to have, which stays.
type link struct {
	host *Host

	mu       sync.Mutex
	plugged  bool // the interface is there
	cut      bool
	impaired *Impairment
	relay    *relay
}

// Cut pulls the host's cable: it sees its own link go down. Use Silence or CutFrom for faults that
// it cannot see.
func (h *Host) Cut() error { return h.link.setCut(true) }

// Heal undoes Cut.
func (h *Host) Heal() error { return h.link.setCut(false) }

// Netem makes the host's link bad, as far as both directions of it; a second call replaces the
// first. While it is changed over, frames are lost. Frames pass through this process (not through
// the kernel's netem, which not every kernel has): good for bad links, not for measuring
// throughput.
func (h *Host) Netem(i Impairment) error {
	if i.Loss < 0 || i.Loss > 1 || i.Delay < 0 || i.Jitter < 0 {
		return fmt.Errorf("impair the link of %s: %+v makes no sense", h.name, i)
	}
	return h.link.setImpairment(&i)
}

// ClearNetem undoes Netem.
func (h *Host) ClearNetem() error { return h.link.setImpairment(nil) }

func (k *link) setCut(cut bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	if !k.plugged {
		return nil
	}
	return k.network().setLink(k.host.portName("vb"), !cut)
}

func (k *link) setImpairment(i *Impairment) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i == nil && k.impaired == nil {
		return nil
	}
	k.impaired = i
	if !k.plugged {
		return nil
	}
	if k.relay != nil {
		if i != nil {
			k.relay.set(*i)
			return nil
		}
		return k.bypass()
	}
	return k.reroute(*i)
}

// plug puts the interface of a host that was just given power into the state that it is to have.
func (k *link) plug() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plugged = true
	if k.impaired != nil {
		if err := k.reroute(*k.impaired); err != nil {
			return err
		}
	}
	if k.cut {
		return k.network().setLink(k.host.portName("vb"), false)
	}
	return nil
}

// unplug takes the interface down for good: its host is about to lose its power.
func (k *link) unplug() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plugged = false
	return k.network().setLink(k.host.portName("vb"), false)
}

// lost notes that the interface went away with its host.
func (k *link) lost() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plugged = false
	if err := k.dropRelay(); err != nil {
		k.network().log.Error("a relay could not be removed", "host", k.host.name, "error", err)
	}
}

func (k *link) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dropRelay()
}

// reroute takes the host's port out of the bridge and puts the end of a new pair there instead; a
// relay carries frames between the port and the other end.
func (k *link) reroute(i Impairment) error {
	w := k.network()
	port, err := w.nl.LinkByName(k.host.portName("vb"))
	if err != nil {
		return fmt.Errorf("impair the link of %s: %w", k.host.name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = k.host.portName("rb")
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: k.host.portName("rr")}
	if err := w.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("impair the link of %s: %w", k.host.name, err)
	}
	r, err := k.startRelay(port.Attrs().Name, pair.PeerName, i)
	if err != nil {
		return fmt.Errorf("impair the link of %s: %w", k.host.name, errors.Join(err, w.nl.LinkDel(pair)))
	}
	k.relay = r
	err = errors.Join(w.nl.LinkSetNoMaster(port), w.nl.LinkSetMaster(pair, w.bridge), w.setLink(attrs.Name, true))
	if err := errors.Join(err, w.awaitUp(attrs.Name)); err != nil {
		return fmt.Errorf("impair the link of %s: %w", k.host.name, err)
	}
	return nil
}

func (k *link) startRelay(port, far string, i Impairment) (r *relay, err error) {
	w := k.network()
	err = w.inside(func() error {
		// The namespace itself must not answer on these two: they are wire, not ends.
		for _, name := range []string{port, far} {
			if err := muteInterface(name); err != nil {
				return err
			}
		}
		if err := w.setLink(far, true); err != nil {
			return err
		}
		r, err = startRelay(port, far, i)
		return err
	})
	return r, err
}

// bypass puts the host's port back into the bridge and removes the relay.
func (k *link) bypass() error {
	w := k.network()
	port, err := w.nl.LinkByName(k.host.portName("vb"))
	if err == nil {
		err = w.nl.LinkSetMaster(port, w.bridge)
	}
	if err := errors.Join(err, k.dropRelay()); err != nil {
		return fmt.Errorf("clear the link of %s: %w", k.host.name, err)
	}
	return nil
}

func (k *link) dropRelay() error {
	if k.relay == nil {
		return nil
	}
	k.relay.stop()
	k.relay = nil
	pair, err := k.network().nl.LinkByName(k.host.portName("rb"))
	if err != nil {
		return err
	}
	return k.network().nl.LinkDel(pair)
}

func (k *link) network() *network { return k.host.lab.net }
