package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// LeaveRequest asks this node to leave the cluster. Force: also where that leaves nobody to serve,
// or nobody who could take its vote away.
type LeaveRequest struct {
	Force bool `json:"force"`
}

// LeaveResult is what came of it. Once it is there the node stops.
type LeaveResult struct {
	// Removed is what its going did to the majority; null: its vote could not be taken away, and
	// Note says why.
	Removed *Removed `json:"removed"`
	Note    string   `json:"note,omitempty"`
	// Moved is where the primary went; empty: it was not here.
	Moved string `json:"moved,omitempty"`
	Error string `json:"error,omitempty"`
}

// LeaveLine is a line of the answer: the steps of a switchover as they pass, and last the result.
type LeaveLine struct {
	Step   *Step        `json:"step,omitempty"`
	Result *LeaveResult `json:"result,omitempty"`
}

// ForgetRequest asks for a member to be taken out that will not return.
type ForgetRequest struct {
	Node string `json:"node"`
}

// leave takes this node out of the cluster: the primary moves away, its vote is taken away, and
// then it stops in order.
func (c *commands) leave(ctx context.Context, req LeaveRequest, say func(Step)) (res LeaveResult, err error) {
	if err := checkLeave(c.driver.observe(), c.driver.view()); err != nil && !req.Force {
		return res, err
	}
	removed, err := c.giveUpPlace(ctx, &res, say)
	switch {
	case err == nil:
		res.Removed = &removed
		c.registrar.settle()
		return res, nil
	case !req.Force:
		return res, err
	}
	res.Note = "its vote is still counted: " + err.Error() + "; `redisd forget " + c.self + "` on another node, once it can, takes it away"
	c.noteForced("this node is stopped by force, and its vote is still counted", err)
	c.registrar.endWith(ErrLeft)
	return res, nil
}

func (c *commands) noteForced(text string, err error) {
	c.registrar.journal.say(func(log *slog.Logger) { log.Warn(text, "error", err) })
	c.events.add("left", text+": "+err.Error())
}

// giveUpPlace has another node be the primary, if this one is, and this node's vote taken away.
func (c *commands) giveUpPlace(ctx context.Context, res *LeaveResult, say func(Step)) (Removed, error) {
	if c.driver.view().Lease {
		moved, err := c.coordinator.Switchover(ctx, SwitchoverRequest{}, say)
		if err != nil {
			return Removed{}, fmt.Errorf("the primary cannot move away: %w", err)
		}
		res.Moved = moved.To
	}
	// A new primary takes a moment to be known by all.
	known, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	until(known, func() bool { return c.driver.primaryAddr() != "" && !c.driver.view().Lease })
	removed, err := c.registrar.remove(ctx, removal{ID: c.self, Name: c.name(), Left: true})
	if err != nil {
		return removed, err
	}
	told, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if !until(told, c.isOut) {
		return removed, errors.New("its vote was taken away, but this node was not told; it learns of it when it meets the others")
	}
	return removed, nil
}

// isOut: this node has on its disk that it is no member any more.
func (c *commands) isOut() bool {
	list, saved := c.driver.removed()
	for _, x := range list {
		if x.ID == c.self {
			return saved
		}
	}
	return false
}

// checkLeave says why this node should not leave.
func checkLeave(o reconcile.Observed, v election.View) error {
	others, here := 0, 0
	for _, w := range o.Election.Voters {
		if w.ID == o.Self {
			continue
		}
		others++
		for _, m := range o.Members {
			if m.ID == w.ID && m.Alive {
				here++
			}
		}
	}
	majority := others/2 + 1
	switch {
	case o.Election.ClusterID == "":
		return errors.New("this node is in no cluster yet: `systemctl stop redisd` stops it")
	case others == 0:
		return errors.New("this is the last node, and nobody else has its data: `systemctl stop redisd` stops it (--force: leave all the same)")
	case o.Paused:
		return node.ErrPaused
	case here < majority:
		return fmt.Errorf("without this node %d of %d voters would be here, and a primary needs %d: bring those back that are away, or `redisd forget` them first (--force: leave all the same)", here, others, majority)
	case !v.Lease && !o.Election.EverHeard:
		return errors.New("there is no primary that could take this node's vote away: see `redisd status` (--force: leave all the same)")
	}
	return nil
}

func (c *commands) serveLeave(w http.ResponseWriter, r *http.Request) {
	var req LeaveRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		reply(w, nil, err)
		return
	}
	say := lines(w)
	// Whoever asked may go: what was begun is carried through.
	res, err := c.leave(context.WithoutCancel(r.Context()), req, func(s Step) { say(LeaveLine{Step: &s}) })
	if err != nil {
		res.Error = err.Error()
	}
	say(LeaveLine{Result: &res})
}

func (c *commands) serveForget(w http.ResponseWriter, r *http.Request) {
	var req ForgetRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		reply(w, nil, err)
		return
	}
	res, err := c.registrar.Forget(r.Context(), req.Node)
	reply(w, res, err)
}

// lines begins an answer of several lines, and returns what writes one.
func lines(w http.ResponseWriter) func(any) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	return func(line any) {
		_ = json.NewEncoder(w).Encode(line) // whoever asked may have gone
		_ = flush.Flush()
	}
}
