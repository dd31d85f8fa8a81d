package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// journal tells people what the node decided. It has a goroutine of its own: whoever hangs in a
// write to the journal must not be one who has to act.
type journal struct {
	*site
	alive func() // a round was planned

	todo    chan entry
	failed  logLimiter
	saved   logLimiter
	records logLimiter
	pauses  logLimiter
}

type entry struct {
	events  []node.Event
	planned bool
	at      time.Duration
	say     func(*slog.Logger)
}

// journalMost bounds what waits for a journal that hangs; more is lost.
const journalMost = 256

func newJournal(s *site) *journal { return &journal{site: s, todo: make(chan entry, journalMost)} }

func (j *journal) add(events []node.Event, planned bool) {
	if len(events) == 0 && !planned {
		return
	}
	j.put(entry{events: events, planned: planned, at: now()})
}

// say logs something that was done. It never waits.
func (j *journal) say(f func(*slog.Logger)) { j.put(entry{say: f}) }

func (j *journal) put(e entry) {
	select {
	case j.todo <- e:
	default:
	}
}

// run writes until ctx ends, and then what is left.
func (j *journal) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			for {
				select {
				case e := <-j.todo:
					j.write(e)
				default:
					return nil
				}
			}
		case e := <-j.todo:
			j.write(e)
		}
	}
}

func (j *journal) write(e entry) {
	for _, event := range e.events {
		j.tell(event)
	}
	if e.say != nil {
		e.say(j.log)
	}
	if e.planned && now() < e.at+aliveEvery { // not what has waited for a journal that hung
		j.alive()
	}
}

func (j *journal) tell(e node.Event) {
	switch e := e.(type) {
	case node.LeaseHeld:
		j.log.Info("lease held: this node is the primary", "term", e.Term)
		j.events.add("lease_held", "this node is the primary")
	case node.LeaseLost:
		j.log.Warn("lease lost", "term", e.Term, "released", e.Released)
		j.events.add("lease_lost", "this node is not the primary any more")
	case node.LeaseReleased:
		if e.To != "" {
			j.events.add("handed_over", "to "+j.nameOf(e.To))
			return
		}
		j.log.Warn("releasing the lease", "why", e.Why)
		j.events.add("lease_released", e.Why)
	case node.LeaseClaimed:
		j.log.Info("claiming the lease", "why", e.Why)
	case node.Bootstrapping:
		j.log.Info("bootstrapping the cluster", "voters", e.Voters, "keys", e.Keys)
	case node.RosterChanged:
		j.log.Info("voters changed", "why", e.Why, "voters", e.Voters)
		j.events.add("roster", e.Why)
	case node.StopAwaitsSync:
		if e.On {
			text := fmt.Sprintf("this primary is to stop, and no replica is in sync: it serves on until one is, or for %v; see `redisd status`", reconcile.AwaitSync)
			j.log.Warn(text)
			j.events.add("stop_waits", text)
		}
	case node.OperatorRequired:
		if e.Why != "" {
			j.log.Warn("operator action required: " + e.Why)
			j.events.add("operator_required", e.Why)
		}
	case node.PauseChanged:
		word := map[bool]string{true: "paused", false: "resumed"}[e.On]
		j.log.Warn("the cluster is " + word + " by an operator")
		j.events.add(word, "the cluster is "+word+" by an operator")
	case node.NodeRemoved:
		how := map[bool]string{true: "has left", false: "is forgotten"}[e.Removal.Left]
		j.log.Warn("a node is no member any more", "name", e.Removal.Name, "id", e.Removal.ID, "why", how)
		j.events.add("member_removed", e.Removal.Name+" ("+e.Removal.ID+") "+how)
	case node.GuardActs:
		j.log.Warn("the lease has ended while the agent is stuck: no writes, no VIP")
		j.events.add("guard", "the lease ended while the agent was stuck")
	case node.HandoverBegun:
		j.log.Info("handing over", "to", j.nameOf(e.To))
	case node.HandoverEnded:
		if e.Err == nil {
			j.log.Info("handed over", "to", j.nameOf(e.To))
		}
	case node.ActionPlanned:
		j.log.Debug("action", "action", e.Action.String())
	default:
		j.tellFailure(e)
	}
}

// tellFailure tells what did not work, and does not fill the journal with it.
func (j *journal) tellFailure(e node.Event) {
	switch e := e.(type) {
	case node.ActionFailed:
		if errors.Is(e.Err, context.Canceled) {
			return // this agent ends
		}
		if j.failed.due(e.Action.String() + ": " + e.Err.Error()) {
			j.log.Warn("action did not work; it is tried again as long as it is needed", "action", e.Action.String(), "error", e.Err)
			return
		}
		j.log.Debug("action did not work", "action", e.Action.String(), "error", e.Err)
	case node.NotSaved:
		if j.saved.due(e.Err.Error()) {
			j.log.Error("election state not saved: no vote is given and no lease taken", "error", e.Err)
		}
	case node.RecordNotSaved:
		if j.records.due(e.Err.Error()) {
			j.log.Warn("record of the dataset not saved", "error", e.Err)
		}
	case node.PauseRefused:
		if j.pauses.due(e.Err.Error()) {
			j.log.Warn("that the cluster is paused, or resumed, cannot be kept", "error", e.Err)
		}
	}
}

// logLimiter keeps what repeats itself from filling the journal: it is due when it is new, and then
// once a minute.
type logLimiter struct {
	mu   sync.Mutex
	text string
	at   time.Duration
}

func (l *logLimiter) due(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text != l.text || now() >= l.at+time.Minute {
		l.text, l.at = text, now()
		return true
	}
	return false
}
