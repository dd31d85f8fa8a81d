package agent

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/redisd/redisd/reconcile"
	"github.com/redisd/redisd/redis"
)

const (
	probeEvery   = 100 * time.Millisecond
	probeTimeout = 150 * time.Millisecond
	// probeCalm is the pause while the holder is heard and its redis-server answers: less
	// than SilentRedis, so that there is always word of late.
	probeCalm = 250 * time.Millisecond
)

// probe asks the holder's redis-server for a sign of life, so that this node has
// its own word on whether it can be reached.
type probe struct {
	cred   redis.Credentials
	target func() (addr netip.AddrPort, heard bool) // invalid: nobody to ask

	mu     sync.Mutex
	addr   netip.AddrPort
	server *redis.Server
	seen   time.Duration
	// tried is when the last look ended.
	tried time.Duration
	// connected is when it last took a connection, whether it answered or not: one
	// that is busy does, and one behind a cut does not.
	connected time.Duration
	fenced    uint64 // the term in which this node fenced it last
	fencedAt  time.Duration
}

func (p *probe) run(ctx context.Context) error {
	t := newBeat(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			p.follow(netip.AddrPort{})
			return nil
		case <-t.C:
			t.again()
		}
		addr, heard := p.target()
		s := p.follow(addr)
		if s == nil || heard && p.answeredLately() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		answer := s.Probe(ctx)
		cancel()
		p.note(answer.Answered(), answer.Answered() || p.doubtful() && connects(s.Addr()))
	}
}

// doubtAfter is how old the last connection must be before another one is made: each
// fills the backlog of a server that is busy.
const doubtAfter = unreachableAfter / 4

func (p *probe) doubtful() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now() > p.connected+doubtAfter
}

func (p *probe) answeredLately() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen == p.tried && now() < p.tried+probeCalm
}

// note takes down what came of a look.
func (p *probe) note(answered, connected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried = now()
	if answered {
		p.seen = p.tried
	}
	if connected {
		p.connected = now()
	}
}

// connects reports whether something takes connections at addr.
func connects(addr netip.AddrPort) bool {
	c, err := net.DialTimeout("tcp", addr.String(), probeTimeout)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// unreachableAfter: a redis-server that takes no connection for so long is out of
// this node's reach.
const unreachableAfter = time.Second

func (p *probe) unreachable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr.IsValid() && now() > p.connected+unreachableAfter
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
		p.connected = p.seen
	}
	return p.server
}

// lastSeen returns when the server at addr last answered; zero for another one.
func (p *probe) lastSeen(addr string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.addr.IsValid() || p.addr.String() != addr || now() > p.tried+reconcile.SilentRedis {
		return 0 // not asked lately: this node itself may have been frozen
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
