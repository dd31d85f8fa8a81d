package gossip

import (
	"sync"
	"time"
)

// inboxDepth is how many messages wait for a slow reader. At the agents' ten heartbeats a second
// from each of ten nodes it is ten seconds' worth: far more than any of them stays useful.
const inboxDepth = 1024

// Message is what another node sent. memberlist does not say who: the payload names its sender, and
// the key vouches that it is one of the cluster.
type Message struct {
	Payload []byte
	At      time.Time // when it came off the network, for the age of a late reader's view
}

// inbox hands messages from memberlist's goroutines to one reader. It never blocks: when the reader
// lags, the oldest message goes, because a newer one says more about the present.
type inbox struct {
	ch chan Message

	mu     sync.Mutex // serialises put and close; never held while waiting
	closed bool
	lost   uint64
}

func newInbox(depth int) *inbox { return &inbox{ch: make(chan Message, depth)} }

// put queues m and reports how many were lost so far, and whether this call lost one.
func (b *inbox) put(m Message) (lost uint64, overflow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return b.lost, false
	}
	for {
		select {
		case b.ch <- m:
			return b.lost, overflow
		default:
		}
		select { // the reader may have made room meanwhile
		case <-b.ch:
			b.lost++
			overflow = true
		default:
		}
	}
}

func (b *inbox) dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// close ends the reader's loop; what is queued can still be read.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.ch)
	}
}
