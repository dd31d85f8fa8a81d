package supervisor

import "time"

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// backoffReset: what ran this long had started well; its exit says nothing of the next start.
	backoffReset = 10 * time.Second
)

// Backoff is the pause before a program that exited is started again, longer with every exit that came quickly. The zero value is
// ready for use. It holds no clock: the caller waits.
type Backoff struct {
	quick int // exits in a row after less than backoffReset
}

// Next takes note of an exit and returns the pause to keep before the next start.
func (b *Backoff) Next(ranFor time.Duration) time.Duration {
	if ranFor >= backoffReset {
		b.quick = 0
	}
	pause := backoffMost
	// Beyond this many doublings the limit is reached anyway, and the shift would in time overflow.
	if b.quick < 6 {
		pause = min(backoffFirst<<b.quick, backoffMost)
	}
	b.quick++
	return pause
}
