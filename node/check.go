package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redisd/redisd/reconcile"
)

// ErrPaused: what was asked for changes the cluster.
var ErrPaused = errors.New("the cluster is paused: `redisd resume` first")

// MaxBehind is how many bytes a successor may lack when a switchover begins: what a network of 100
// Mbit/s carries in CatchUp, the time for which writes may wait for it.
const MaxBehind = 100_000_000 / 8 * int64(CatchUp/time.Millisecond) / 1000

// CheckSwitchover says why the primary, this node, cannot move to the node of that name or ID,
// before anything is done; an empty name stands for the first that can take over.
func CheckSwitchover(o reconcile.Observed, to string) (reconcile.Member, error) {
	e := o.Election
	none := reconcile.Member{}
	switch {
	case !e.Lease && e.Holder == o.Self && !e.Released:
		return none, fmt.Errorf("a majority of the voters does not answer the primary (a switchover needs %d of %d): see `redisd members`", len(e.Voters)/2+1, len(e.Voters))
	case !e.Lease:
		return none, errors.New("this node is not the primary any more: see `redisd status`, and try again")
	case o.Paused:
		return none, ErrPaused
	case !o.Redis.Known || o.Redis.Role != reconcile.Primary || o.Redis.MinReplicas == reconcile.Fence:
		return none, errors.New("a failover to this node is under way (its redis-server does not accept writes yet): try again when `redisd status` shows a primary")
	}
	if to != "" {
		m, err := Called(o.Members, to)
		if err != nil {
			return none, err
		}
		return m, checkTarget(o, m)
	}
	for _, id := range e.Successors {
		i := slices.IndexFunc(o.Members, func(m reconcile.Member) bool { return m.ID == id })
		if i >= 0 && checkTarget(o, o.Members[i]) == nil {
			return o.Members[i], nil
		}
	}
	var reasons reasons
	for _, m := range o.Members {
		if m.ID == o.Self {
			continue
		}
		if err := checkTarget(o, m); err != nil {
			reasons = append(reasons, err)
			continue
		}
		return m, nil
	}
	if len(reasons) == 0 {
		reasons = append(reasons, errors.New("this node is the only one"))
	}
	return none, fmt.Errorf("no replica is in sync, so nobody can take over without losing data: %w", reasons)
}

// ErrNotLinked: a replica has no link to this primary. Right after a change of the primary it may
// be about to have one.
var ErrNotLinked = errors.New("does not replicate from the primary")

// reasons are why none of several nodes can take over.
type reasons []error

func (r reasons) Unwrap() []error { return r }

func (r reasons) Error() string {
	var texts []string
	for _, err := range r {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// checkTarget says why a node cannot take over from this one.
func checkTarget(o reconcile.Observed, m reconcile.Member) error {
	link := slices.IndexFunc(o.Redis.Replicas, func(l reconcile.Link) bool { return m.Redis != "" && l.Addr == m.Redis })
	voting := slices.ContainsFunc(o.Election.Voters, func(v reconcile.Voter) bool { return v.ID == m.ID })
	learns := slices.Contains(o.Election.Learners, m.ID) && !slices.Contains(o.Forgotten, m.ID) // it is made a voter first
	switch {
	case m.ID == o.Self:
		return fmt.Errorf("%s is the primary already", m.Name)
	case m.Redis == "":
		return fmt.Errorf("%s may not become primary: it runs no redis-server (roles in its redisd.toml)", m.Name)
	case !m.Alive:
		return fmt.Errorf("%s is not reachable: start redisd there, or see to its network", m.Name)
	case m.Priority == reconcile.PriorityNever:
		return fmt.Errorf("%s may not become primary: its priority is 0 (in its redisd.toml), or its redis-server cannot write to its disk", m.Name)
	case !voting && !learns:
		return fmt.Errorf("%s may not become primary: it is no voter yet, and its agent does not answer the primary: see `redisd members`, and try again in some seconds", m.Name)
	case link < 0:
		return fmt.Errorf("%s %w: see `redisd status` and `journalctl -u redisd` on %s", m.Name, ErrNotLinked, m.Name)
	case !o.Redis.Replicas[link].Online:
		return fmt.Errorf("%s is not in sync: the dataset is still being copied to it; wait until `redisd status` shows it running", m.Name)
	case o.Redis.Replicas[link].Lag > reconcile.MaxLag:
		return fmt.Errorf("%s is not in sync: it acknowledged last %v ago, the limit is %v; wait until it has caught up, or see to its network", m.Name, o.Redis.Replicas[link].Lag, reconcile.MaxLag)
	}
	return nil
}

func memberNames(members []reconcile.Member) []string {
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	return names
}

// CheckBehind says that a successor lacks too many bytes to have them in the time for which writes
// may wait.
func CheckBehind(name string, behind int64) error {
	if behind > MaxBehind {
		return fmt.Errorf("%s is %d bytes behind, the limit is %d (what it can catch up with in %v, while writes wait): wait until it has caught up, or see to its network", name, behind, MaxBehind, CatchUp)
	}
	return nil
}
