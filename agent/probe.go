package agent

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/redisd/redisd/redis"
)

const (
	probeEvery   = 100 * time.Millisecond
	probeTimeout = 150 * time.Millisecond
)

// probe asks the holder's redis-server for a sign of life, so that this node has
// its own word on whether it can be reached.
type probe struct {
	cred   redis.Credentials
	target func() netip.AddrPort // invalid: nobody to ask
	wake   func()

	mu       sync.Mutex
	addr     netip.AddrPort
	server   *redis.Server
	seen     time.Duration
	fenced   uint64 // the term in which this node fenced it last
	fencedAt time.Duration
}

func (p *probe) run(ctx context.Context) error {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			p.follow(netip.AddrPort{})
			return nil
		case <-t.C:
		}
		s := p.follow(p.target())
		if s == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		answer := s.Probe(ctx)
		cancel()
		if answer.Answered() {
			p.mu.Lock()
			p.seen = now()
			p.mu.Unlock()
		}
	}
}

// follow switches to the server at addr.
func (p *probe) follow(addr netip.AddrPort) *redis.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	if addr == p.addr {
		return p.server
	}
	if p.server != nil {
		p.server.Close()
		p.server = nil
	}
	p.addr, p.seen = addr, 0
	if addr.IsValid() {
		p.server = redis.NewServer(addr, p.cred)
		p.seen = now() // benefit of the doubt: it has not been asked yet
	}
	return p.server
}

// lastSeen returns when the server at addr last answered; zero for another one.
func (p *probe) lastSeen(addr string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.addr.IsValid() || p.addr.String() != addr {
		return 0
	}
	return p.seen
}

func (p *probe) fencedIn() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fenced
}

func (p *probe) setFenced(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fenced, p.fencedAt = term, now()
}

// fencedLately is the term in which this node fenced it within the last age.
func (p *probe) fencedLately(age time.Duration) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now() > p.fencedAt+age {
		return 0
	}
	return p.fenced
}
