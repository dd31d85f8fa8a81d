package writer

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Verdict is what became of the writes of a run.
type Verdict struct {
	Acked   int
	Lost    []Write // acknowledged, and not there
	Unacked int     // there, though the client was told of an error or of nothing: no fault
}

// Write is an acknowledged write, and where it went.
type Write struct {
	Key string
	Ack
}

const (
	pageSize      = 10_000
	verifyTimeout = 10 * time.Second // of one page
)

// Verify asks the redis-server at address, the final primary or any other node, which of the writes
// of this run it has.
func (w *Writer) Verify(ctx context.Context, address string) (Verdict, error) {
	var v Verdict
	c, err := w.opts.dial(ctx, address, time.Second)
	if err != nil {
		return v, fmt.Errorf("verify writes: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if auth := w.opts.auth(); auth != nil {
		if _, err := c.call(time.Now().Add(verifyTimeout), auth...); err != nil {
			return v, fmt.Errorf("verify writes: %w", err)
		}
	}
	for _, l := range w.report().lanes {
		there, err := l.fetch(c)
		if err != nil {
			return v, fmt.Errorf("verify writes: read %s: %w", l.key, err)
		}
		v.Acked += len(l.acks)
		v.Unacked += len(there)
		for _, a := range l.acks {
			if there[a.Seq] {
				v.Unacked--
			} else {
				v.Lost = append(v.Lost, Write{Key: l.key, Ack: a})
			}
		}
	}
	return v, nil
}

func (l laneRecord) fetch(c *conn) (map[uint32]bool, error) {
	there := make(map[uint32]bool, l.sent)
	for from := 0; ; from += pageSize {
		reply, err := c.call(time.Now().Add(verifyTimeout), "LRANGE", l.key, strconv.Itoa(from), strconv.Itoa(from+pageSize-1))
		if err != nil {
			return nil, err
		}
		page, _ := reply.([]any)
		for _, e := range page {
			text, _ := e.(string)
			seq, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("element %v: %w", e, err)
			}
			there[uint32(seq)] = true
		}
		if len(page) < pageSize {
			return there, nil
		}
	}
}
