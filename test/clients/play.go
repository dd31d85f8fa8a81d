package clients

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redisd/redisd/test/lab/writer"
)

const (
	afterTime  = 1500 * time.Millisecond
	stayTime   = 3 * time.Second // the time watched of a fault with which the primary stays
	beforeTime = 50 * time.Millisecond
)

// play does a fault to the primary under all clients, watches until every one is back, or the
// patience ends, mends the fault, and returns what each has seen.
func (b *bench) play(ctx context.Context, f fault) ([]outcome, error) {
	primary := b.primary(ctx)
	b.alive(ctx)
	in, err := f.ready(ctx, b.running, primary)
	if err != nil {
		return nil, err
	}
	probe, err := writer.Start(ctx, writer.Options{
		Dial: b.running.Lab.DialContext, Addrs: []string{b.running.Service}, Password: b.running.Password, Workers: 1,
	})
	if err != nil {
		return nil, err
	}
	defer probe.Stop()
	if err := probe.AwaitAck(ctx); err != nil {
		return nil, err
	}
	old, err := b.findPrimary(ctx, "")
	if err != nil {
		return nil, err
	}
	time.Sleep(idleTime) // listeners are idle, as they are most of the time

	began := time.Now()
	mark := probe.Now()
	happened := make(chan error, 1)
	go func() { happened <- in.happens(ctx) }()
	if err := b.awaitChange(ctx, f, old); err != nil {
		return nil, errors.Join(err, <-happened)
	}
	changed := time.Now()
	w := b.watch(ctx, changed)
	for end := changed.Add(b.patience); time.Now().Before(end); time.Sleep(lookEvery) {
		if w.feed(); len(w.waiting()) == 0 && time.Since(changed) > afterTime {
			break
		}
	}
	if err := <-happened; err != nil {
		return nil, fmt.Errorf("%s: %w", f.title, err)
	}
	ended := time.Now()
	report := probe.Stop()
	last, first := handedOver(report, mark, old)
	service := report.DowntimeBetween(last, first)
	seen := sight{began: began, first: report.Started.Add(first), changed: changed, ended: ended}
	if f.stays {
		seen.first = changed
	}
	var found []outcome
	for _, c := range b.clients {
		if err := c.ended(); err != nil {
			return nil, fmt.Errorf("after %s: %w", f.title, err)
		}
		o := seen.of(c, w.back(c))
		o.Way, o.Settings, o.Fault, o.Service = b.way.ID, b.settings, f.id, ms(service.Length())
		found = append(found, o)
	}
	if err := in.mended(ctx); err != nil {
		return nil, fmt.Errorf("mend %s: %w", f.title, err)
	}
	b.primary(ctx)
	r := b.dial(b.running.Service, readLimit)
	defer r.Close()
	for i, c := range b.clients {
		if err := b.verify(ctx, r, c, &found[i]); err != nil {
			return nil, err
		}
	}
	for i, c := range append([]*client(nil), b.clients...) {
		if found[i].Stuck {
			b.replace(c)
		}
	}
	return found, nil
}

// awaitChange waits until another redis-server takes writes at the VIP; where none is to, for as
// long as that might take.
func (b *bench) awaitChange(ctx context.Context, f fault, old string) error {
	if f.stays {
		time.Sleep(stayTime)
		return nil
	}
	if _, err := b.findPrimary(ctx, old); err != nil {
		return fmt.Errorf("%s: %w", f.title, err)
	}
	return nil
}

// handedOver is when the old redis-server acknowledged its last write and the new one its first, on
// the probe's clock; where there is no new one, the time from the fault to the end.
func handedOver(r *writer.Report, mark time.Duration, old string) (last, first time.Duration) {
	last, first = mark, r.Ended
	for _, a := range r.Known() {
		if strings.HasPrefix(old, r.Nodes[a.Node]) {
			last = max(last, a.Acked)
		} else if a.Acked > mark {
			return last, a.Acked
		}
	}
	return mark, first
}

// sight is when what happened, for the eyes of one client.
type sight struct {
	began   time.Time // the fault
	first   time.Time // the first write that the new primary took
	changed time.Time // listeners were sent something
	ended   time.Time
}

func (s sight) of(c *client, back bool) outcome {
	o := outcome{Library: c.library.id, Via: c.via, Mode: c.mode, Stuck: !back}
	events := c.since(s.began.Add(-beforeTime))
	var lastOK, told time.Time
	for _, e := range events {
		switch {
		case e.At.Before(s.began):
			continue
		case e.Kind == "err":
			if o.Errors++; o.FirstError == "" {
				o.FirstError = e.What
			}
		case e.Kind == "ok":
			lastOK = e.At
		}
		if told.IsZero() {
			told = e.At
		}
	}
	switch {
	case writes(c.mode) && back:
		o.Gap = ms(longestGap(events, s.began.Add(-beforeTime), s.ended))
	case writes(c.mode):
		o.Gap = never
	case back && c.mode == "pool": // it looks only when it is used
		o.Back = ms(lastOK.Sub(s.changed))
	case back:
		o.Back = ms(lastOK.Sub(s.first))
	default:
		o.Back = never
	}
	if !writes(c.mode) && c.mode != "pool" && !told.IsZero() {
		o.Told = ms(told.Sub(s.first))
	}
	return o
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// verify looks for what was acknowledged to a client since it was last looked for. What it has read
// is removed: lists stay short.
func (b *bench) verify(ctx context.Context, r *redis.Client, c *client, o *outcome) error {
	if !writes(c.mode) {
		return nil
	}
	c.mu.Lock()
	events := c.events[c.verified:]
	c.mu.Unlock()
	list, err := r.LRange(ctx, c.key, 0, -1).Result()
	if err == nil {
		err = r.LTrim(ctx, c.key, int64(len(list)), -1).Err()
	}
	if err != nil {
		return fmt.Errorf("read what %s has written: %w", c, err)
	}
	for _, text := range list {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("read what %s has written: %w", c, err)
		}
		c.written[n]++
	}
	for _, e := range events {
		if e.Kind != "ok" {
			continue
		}
		from, to, err := numbers(e.What)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		for n := from; n <= to; n++ {
			o.count(c.written[n])
			delete(c.written, n)
		}
	}
	c.verified += len(events)
	return nil
}

// count notes that an acknowledged write was found so many times.
func (o *outcome) count(times int) {
	o.Acked++
	if times == 0 {
		o.Lost++
	}
	if times > 1 {
		o.Twice++
	}
}
