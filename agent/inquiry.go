package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

	"github.com/redisd/redisd/config"
	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/gossip"
	"github.com/redisd/redisd/internal/secret"
	"github.com/redisd/redisd/internal/slotfile"
)

// Inquiry is what the other members say of the node whose state is on this host while no agent runs
// here.
type Inquiry struct {
	ID        string `json:"id"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	// Moved: the state is of another machine.
	Moved bool `json:"moved"`
	// Asked are the other voters that it remembers.
	Asked []Witness `json:"asked"`

	dir, version string
}

// Witness is one member that was asked.
type Witness struct {
	Address string `json:"address"`
	// Error is why it did not answer; empty: it did.
	Error string `json:"error,omitempty"`
	testimony
}

// testimony is what an agent knows of a node, and of its own cluster.
type testimony struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	ClusterID string `json:"cluster_id"`
	// State and Seen are of the node that is asked about: as gossip has it, and where.
	State string `json:"state"`
	Seen  string `json:"seen"`
	// Term and Roster are its own.
	Term   election.Term   `json:"term"`
	Roster election.Roster `json:"roster"`
	// Keys is how many its redis-server has.
	Keys int64 `json:"keys"`
}

type whoQuery struct {
	ID string `json:"id"`
}

// who is what this agent knows of a node.
func (c *commands) who(q whoQuery) testimony {
	v := c.driver.view()
	t := testimony{
		ID: c.self, Name: c.name(), ClusterID: v.ClusterID, Term: v.Term, Roster: v.Roster, State: "unknown",
		Keys: c.driver.observe().Redis.Data.Keys,
	}
	if m, ok := c.member(q.ID); ok {
		t.State, t.Seen = m.State.String(), m.Addr.String()
	}
	return t
}

// Inquire asks the other voters of the cluster that this host's state directory belongs to who is
// there. It becomes no member, and changes nothing.
func Inquire(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (*Inquiry, error) {
	dir := cfg.Node.StateDir
	s, err := peekState(dir)
	switch {
	case err != nil:
		return nil, err
	case s.ID == "":
		return nil, fmt.Errorf("there is no node in %s: `systemctl start redisd` makes a new one", dir)
	case s.Cluster != cfg.Cluster.Name:
		return nil, fmt.Errorf("%s belongs to the cluster %q, but [cluster] name is %q", dir, s.Cluster, cfg.Cluster.Name)
	}
	machine := machineID()
	if machine == "" {
		return nil, ErrNoMachineID
	}
	q := &Inquiry{ID: s.ID, Cluster: s.Cluster, ClusterID: s.Election.ClusterID, Moved: s.Machine != machine, dir: dir, version: version}
	here := netip.AddrPortFrom(cfg.Node.Address, uint16(cfg.Cluster.GossipPort))
	var addrs []netip.AddrPort
	for _, v := range s.Election.Roster.Voters {
		if addr, err := netip.ParseAddrPort(v.Addr); err == nil && addr != here {
			addrs = append(addrs, addr)
		}
	}
	for _, entry := range cfg.Cluster.Join {
		if ip, err := netip.ParseAddr(entry); err == nil && ip != cfg.Node.Address {
			addrs = append(addrs, netip.AddrPortFrom(ip, here.Port()))
		}
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	if addrs = slices.Compact(addrs); len(addrs) == 0 {
		return q, nil
	}
	q.Asked, err = askAround(ctx, cfg, addrs, whoQuery{s.ID}, log)
	return q, err
}

// askAround puts one question to agents, from the gossip address of this node, where no agent may
// run.
func askAround(ctx context.Context, cfg config.Config, addrs []netip.AddrPort, query whoQuery, log *slog.Logger) ([]Witness, error) {
	sec, err := secret.Load(cfg.Cluster.SecretFile)
	if err != nil {
		return nil, err
	}
	s := &site{log: log, secret: sec, gossipAddr: netip.AddrPortFrom(cfg.Node.Address, uint16(cfg.Cluster.GossipPort))}
	id := gossip.AskerPrefix + randomID(4)
	s.gossip, err = gossip.Start(gossip.Config{
		ID: id, Cluster: cfg.Cluster.Name, Key: sec.Key("gossip", 32), Bind: s.gossipAddr, Advertise: s.gossipAddr,
		Meta:   gossip.Meta{ID: id},
		Accept: func(gossip.Meta) error { return errors.New("this node only asks") },
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := newTalk(s)
	var receiving, asking sync.WaitGroup
	receiving.Go(func() { _ = t.receiveAnswers(ctx) })
	out := make([]Witness, len(addrs))
	for i, addr := range addrs {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*statusTimeout)
			defer cancel()
			out[i].Address = addr.String()
			if err := t.ask(ctx, addr, opWho, query, &out[i].testimony); err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	asking.Wait()
	cancel()
	receiving.Wait()
	return out, s.gossip.Close()
}

// receiveAnswers takes in what was asked for, and nothing else.
func (t *talk) receiveAnswers(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-t.gossip.Messages():
			if len(m.Payload) > 0 && m.Payload[0] == kindAnswer {
				t.onAnswer(m.Payload[1:])
			}
		}
	}
}

// ErrNobodyAsked: nobody is there who could know of another host with this node's state.
var ErrNobodyAsked = errors.New("none of the other voters answers, so nobody can tell whether this node runs on another host, or what it has promised since this state was written")

// ErrSeenAlive: another member has not noticed yet that the node is gone, which takes some seconds,
// or it is not.
var ErrSeenAlive = errors.New("stop redisd there for good")

// Verdict says why the state may not be made this host's; nil: it may.
func (q *Inquiry) Verdict() error {
	answers, alive := 0, error(nil)
	for _, w := range q.Asked {
		switch {
		case w.Error != "":
			continue
		case w.ID == q.ID:
			return fmt.Errorf("node %s runs at %s: stop redisd there for good, or move %s away on this host to join as a new node", q.ID, w.Address, q.dir)
		case q.ClusterID != "" && w.ClusterID != "" && w.ClusterID != q.ClusterID:
			return fmt.Errorf("%s (%s) belongs to the cluster %s now, and this state to %s of the same name: move %s away to join that one as a new node",
				w.Name, w.Address, w.ClusterID, q.ClusterID, q.dir)
		case w.State == gossip.Alive.String() || w.State == gossip.Suspect.String():
			alive = fmt.Errorf("%s sees node %s alive at %s: %w", w.Name, q.ID, w.Seen, ErrSeenAlive)
		}
		answers++
	}
	if answers == 0 && len(q.Asked) > 0 {
		return ErrNobodyAsked
	}
	return alive
}

// Adopt makes the state this host's, such that nothing that was promised is promised again.
func (q *Inquiry) Adopt() error {
	f, err := slotfile.Open(filepath.Join(q.dir, stateName), 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var s stateFile
	if err := readSlot(f, &s); err != nil {
		return unreadable(q.dir, err)
	}
	s.Machine = machineID()
	var known []election.State
	for _, w := range q.Asked {
		if w.Error == "" && w.ClusterID == s.Election.ClusterID {
			known = append(known, election.State{Term: w.Term, Roster: w.Roster})
		}
	}
	s.Election = s.Election.Adopted(known)
	return writeSlot(f, q.version, s, true)
}

// String says what one of those that were asked said.
func (w Witness) String() string {
	if w.Error != "" {
		return fmt.Sprintf("%s does not answer that: %s", w.Address, w.Error)
	}
	return fmt.Sprintf("%s (%s) has it as %s", w.Name, w.Address, cmp.Or(w.State, "unknown"))
}
