package agent

import (
	"slices"
	"sync"
	"time"
)

// keepEvents is how many events a node remembers for `redisd events`; the journal has them all.
const keepEvents = 200

// Event is something that happened to this node.
type Event struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(kind, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, Event{At: time.Now(), Kind: kind, Text: text})
	if n := len(e.list) - keepEvents; n > 0 {
		e.list = slices.Delete(e.list, 0, n)
	}
}

func (e *events) all() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}
