package reconcile

import (
	"strconv"
	"time"
)

// EpochsPerTerm: the configuration epochs of a term begin at so many times its number. Between two
// Sentinels the higher epoch wins, so what belongs to a later term always does. A term has up to 53
// bits (election.Term), an epoch 63.
const EpochsPerTerm = 512

// publish has the local Sentinel name the primary. Sentinel is what clients and people ask for it;
// here it decides nothing. Every node tells its own one, as soon as it has heard of a primary that
// serves, and asks nobody. What Sentinels say to one another takes care of those that no agent
// tells.
func (p *plan) publish() {
	o, s, primary := p.o, p.o.Sentinel, p.primaryAddr()
	if !p.tellsSentinel() || primary == "" || s.Monitors == "" || s.Monitors == primary || s.deaf() {
		return
	}
	if o.leased() && (!p.serving() || planned[Promote](p)) {
		return // the others are told first, in the next round: it may wait for a disk
	}
	first := int64(o.Election.Term) * EpochsPerTerm
	epoch := max(first, s.Epoch+1)
	switch {
	case s.Epoch >= first+EpochsPerTerm && !p.wrongFor(Lapse): // it has heard of a later term, perhaps
	case epoch == s.Published && o.At < s.PublishedAt+PublishAgain:
	default:
		p.do(Publish{Primary: primary, Epoch: epoch})
	}
}

// tellsSentinel: the local Sentinel is there to be told something, and nothing was yet. Whatever it
// is told may wait for a disk, so a round tells it one thing: renewals of the lease go between.
func (p *plan) tellsSentinel() bool {
	s := p.o.Sentinel
	return p.d.Sentinel && s.Running && s.Known && !planned[Publish](p)
}

// deaf: no epoch is left that is higher by far, since somebody has greeted it with one of the last
// there are. It shows those over 2^63 as less than nothing.
func (s Sentinel) deaf() bool { return s.Epoch < 0 || s.Epoch >= 1<<62 }

// wrongFor: the local Sentinel has named another primary than the holder of the lease for so long.
func (p *plan) wrongFor(d time.Duration) bool {
	return p.o.Sentinel.WrongSince > 0 && p.o.At >= p.o.Sentinel.WrongSince+d
}

// sentinel keeps the local Sentinel's settings right. While the cluster is paused only the truth is
// published.
func (p *plan) sentinel() {
	if !p.tellsSentinel() || p.o.Paused {
		return
	}
	if a := p.sentinelAction(); a != nil {
		p.do(a)
	}
}

// sentinelAction is what has to be set right next; nil: nothing.
func (p *plan) sentinelAction() Action {
	s, primary := p.o.Sentinel, p.primaryAddr()
	switch {
	case primary != "" && (s.Monitors == "" || s.Monitors != primary && (s.deaf() || p.wrongFor(Remonitor))):
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
