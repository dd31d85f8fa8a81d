package reconcile

import (
	"strconv"
	"time"
)

// sentinel keeps the local Sentinel's view and settings right. Sentinel is what clients and people
// ask for the primary; here it only publishes. Each of these actions may wait for a disk, so a
// round does one of them: renewals of the lease go between. While the cluster is paused only the
// truth is published.
func (p *plan) sentinel() {
	s := p.o.Sentinel
	if !p.d.Sentinel || !s.Running || !s.Known {
		return
	}
	if !p.o.Paused {
		if a := p.sentinelAction(); a != nil {
			p.do(a)
			return
		}
	}
	p.publish()
}

// sentinelAction is what has to be set right next; nil: nothing.
func (p *plan) sentinelAction() Action {
	o, s, primary := p.o, p.o.Sentinel, p.primaryAddr()
	patience := Remonitor
	if s.Failover {
		patience = RemonitorStuck
	}
	lost := s.WrongSince > 0 && o.At >= s.WrongSince+patience
	switch {
	case primary != "" && (s.Monitors == "" || s.Monitors != primary && lost):
		return Monitor{Primary: primary, Quorum: p.quorum()}
	case s.Monitors == "":
		return nil
	case !s.Tuned:
		return TuneSentinel{}
	case s.Quorum != p.quorum():
		return SetSentinel{Option: "quorum", Value: strconv.Itoa(p.quorum())}
	case s.DownAfter != p.d.DownAfter:
		return SetSentinel{Option: "down-after-milliseconds", Value: milliseconds(p.d.DownAfter)}
	case s.FailoverTimeout != p.d.FailoverTimeout:
		return SetSentinel{Option: "failover-timeout", Value: milliseconds(p.d.FailoverTimeout)}
	}
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// quorum is the majority of the Sentinels that this Sentinel knows, itself included: raised after
// it has learnt of a new one, never before.
func (p *plan) quorum() int { return (1+p.o.Sentinel.Peers)/2 + 1 }

// publish has the local Sentinel take the holder for the primary: at once beside the holder, and on
// the other nodes in turn when that did not help, because there is no Sentinel, it hangs, or is
// busy with a failover of its own. One that would choose another node is not asked: it would only
// lock itself up.
func (p *plan) publish() {
	o, s, primary := p.o, p.o.Sentinel, p.primaryAddr()
	if primary == "" || s.Monitors == "" || s.Monitors == primary || s.Failover || s.Choice != primary {
		return
	}
	if o.leased() && !p.serving() || o.At < s.PublishedAt+PublishAgain {
		return
	}
	if turn := p.publisher(); turn > 0 && (s.WrongSince == 0 || o.At < s.WrongSince+time.Duration(turn)*PublishAgain) {
		return
	}
	p.do(Publish{Via: "the local sentinel"})
}

// publisher is this node's turn to publish; the holder's is 0.
func (p *plan) publisher() int {
	if p.o.leased() {
		return 0
	}
	turn := 1
	for _, m := range p.o.Members {
		if m.ID < p.o.Self && m.ID != p.o.Election.Holder && m.Alive && m.Sentinel != "" {
			turn++
		}
	}
	return turn
}
