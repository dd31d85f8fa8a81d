package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
	"github.com/redisd/redisd/test/ways"
)

const (
	warmUp     = time.Second      // of writing before a fault
	coolDown   = time.Second      // of writing after all is whole again
	backLimit  = 45 * time.Second // for writes to come back
	wholeLimit = 60 * time.Second // for the rest
	runLimit   = 4 * time.Minute
)

// outcome is what one fault did. Times are in milliseconds.
type outcome struct {
	Way     string `json:"way"`
	Fault   string `json:"fault"`
	Run     int    `json:"run"`
	Primary string `json:"primary_before"`
	Then    string `json:"primary_after"`

	// Downtime is the longest time without an acknowledged write that began before the fault was
	// mended, AfterMend the longest that began later. Their keys are older than their names:
	// results.json of earlier runs can be rendered anew.
	Downtime  float64 `json:"standstill_ms"`
	AfterMend float64 `json:"standstill_after_mend_ms"`
	// OwnStall is for how much of both the measuring process itself did not run.
	OwnStall float64 `json:"own_stall_ms"`

	Acked    int     `json:"acked"`
	Lost     int     `json:"lost"`            // acknowledged at the service's address, and gone
	LostLate int     `json:"lost_after_mend"` // those of them that were acknowledged after it was mended
	Dual     float64 `json:"dual_ms"`         // two nodes acknowledged
	// Whole is how long it took, from the mending (or the fault, if there is nothing to mend) until
	// nothing was left to be repaired; -1: longer than the limit.
	Whole float64 `json:"whole_ms"`
	Error string  `json:"error,omitempty"` // why it is not whole, or what could not be measured

	// Record is the client's own summary, for a look into a figure that surprises.
	Record string `json:"record,omitempty"`
}

// measured says whether the figures mean anything; a cluster that never gets whole again has some
// that do.
func (o outcome) measured() bool { return o.Record != "" }

// ms is a duration as the results have it.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// times of a run, on the writer's clock.
type times struct {
	injected, mended time.Duration
	mendable         bool
}

// measure injects a fault into a cluster that is whole, and says what came of it. An outcome with
// an Error means that the cluster cannot be used any more.
func measure(ctx context.Context, r *ways.Running, f fault) (o outcome) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	o.Fault = f.id
	primary, err := r.AwaitWhole(ctx, wholeLimit)
	if err != nil {
		o.Error = fmt.Sprintf("it was not whole before the fault: %v", err)
		return o
	}
	o.Primary = primary.Name()
	in, err := f.prepare(ctx, r, primary)
	if err != nil {
		o.Error = fmt.Sprintf("prepare the fault: %v", err)
		return o
	}
	prefix := fmt.Sprintf("bench:%d:", time.Now().UnixNano())
	w, err := r.Write(ctx, prefix)
	if err != nil {
		o.Error = err.Error()
		return o
	}
	defer w.Stop()
	if err := awaitAck(ctx, w); err != nil {
		o.Error = err.Error()
		return o
	}
	pause(ctx, warmUp)

	t, err := in.run(ctx, w, f)
	if err != nil {
		o.Error = err.Error()
	} else {
		o.recover(ctx, r, w, t)
	}
	o.take(w.Stop(), t)
	if o.Then != "" {
		o.verify(ctx, r, w, t, prefix)
	}
	return o
}

func awaitAck(ctx context.Context, w *writer.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, backLimit)
	defer cancel()
	return w.AwaitAck(ctx)
}

// run is the fault from its beginning to its end.
func (in injection) run(ctx context.Context, w *writer.Writer, f fault) (t times, err error) {
	w.Mark(f.title)
	t.injected, t.mendable = w.Now(), in.mend != nil
	t.mended = t.injected
	if err := in.inject(ctx); err != nil {
		return t, fmt.Errorf("%s: %w", f.title, err)
	}
	if in.mend == nil {
		return t, nil
	}
	for began := time.Now(); time.Since(began) < f.lasts && (in.over == nil || !in.over()); {
		pause(ctx, 10*time.Millisecond)
	}
	w.Mark(f.mended)
	t.mended = w.Now()
	if err := in.mend(ctx); err != nil {
		return t, fmt.Errorf("%s: %w", f.mended, err)
	}
	return t, nil
}

// recover waits until writes are back and the cluster is whole.
func (o *outcome) recover(ctx context.Context, r *ways.Running, w *writer.Writer, t times) {
	o.Whole = -1
	if err := awaitAck(ctx, w); err != nil {
		o.Error = err.Error()
		return
	}
	primary, err := r.AwaitWhole(ctx, wholeLimit)
	if err == nil {
		err = awaitAck(ctx, w)
	}
	if err != nil {
		o.Error = fmt.Sprintf("it does not get whole again: %v", err)
		return
	}
	o.Whole, o.Then = ms(w.Now()-t.mended), primary.Name()
	pause(ctx, coolDown)
}

// take reads the times from the client's record.
func (o *outcome) take(rep *writer.Report, t times) {
	o.Record, o.Acked = rep.String(), rep.Acked()
	var before, after writer.Gap
	for _, g := range rep.Gaps(0) {
		late := t.mendable && g.From >= t.mended
		switch {
		case g.To < t.injected:
		case late && g.Length() > after.Length():
			after = g
		case !late && g.Length() > before.Length():
			before = g
		}
	}
	o.Downtime, o.AfterMend = ms(before.Length()), ms(after.Length())
	o.OwnStall = ms(rep.OwnShare(before) + rep.OwnShare(after))
	o.Dual = ms(rep.LongestDual().Length())
}

// verify counts what is gone.
func (o *outcome) verify(ctx context.Context, r *ways.Running, w *writer.Writer, t times, prefix string) {
	v, err := w.Verify(ctx, ways.RedisOf(hostOf(r, o.Then)))
	if err != nil {
		o.Error = err.Error()
		return
	}
	for _, l := range v.Lost {
		if ways.DirectLane(l, prefix) {
			continue
		}
		o.Lost++
		if t.mendable && l.Acked > t.mended {
			o.LostLate++
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// host by its name; nil if there is none.
func hostOf(r *ways.Running, name string) *lab.Host {
	for _, h := range r.Nodes {
		if h.Name() == name {
			return h
		}
	}
	return nil
}
