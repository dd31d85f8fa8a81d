package agent

import (
	"sync"
	"time"
)

// sometimes keeps an error that repeats itself from filling the journal: it is due
// when it is new, and then once a minute.
type sometimes struct {
	mu   sync.Mutex
	text string
	at   time.Duration
}

func (s *sometimes) due(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := err.Error(); text != s.text || now() >= s.at+time.Minute {
		s.text, s.at = text, now()
		return true
	}
	return false
}
