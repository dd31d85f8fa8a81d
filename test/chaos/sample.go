package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/redisd/redisd/test/lab"
)

const sampleEvery = 50 * time.Millisecond

// Held is a time in which a host had the VIP.
type Held struct {
	Host     string
	From, To time.Time // the first and the last sample that saw it
}

// Overlap is a moment in which several hosts had the VIP.
type Overlap struct {
	At    time.Time
	Hosts []string
}

// sampler looks at the addresses of all hosts, all the time: in /proc, by the first process of each
// host, which costs microseconds and needs nothing of the host.
type sampler struct {
	hosts  []*lab.Host
	vip    string
	needle []byte
	stop   context.CancelFunc
	done   sync.WaitGroup
	first  map[string]int // the process of each host through which to look

	mu       sync.Mutex
	held     []Held
	overlaps []Overlap
	open     map[string]int // into held
}

func startSampler(ctx context.Context, hosts []*lab.Host, vip string) *sampler {
	s := &sampler{hosts: hosts, vip: vip, needle: []byte("|-- " + vip + "\n"), first: map[string]int{}, open: map[string]int{}}
	ctx, s.stop = context.WithCancel(ctx)
	s.done.Go(func() { s.run(ctx) })
	return s
}

func (s *sampler) close() {
	s.stop()
	s.done.Wait()
}

func (s *sampler) run(ctx context.Context) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.sample(ctx)
		}
	}
}

func (s *sampler) sample(ctx context.Context) {
	var now []string
	for _, h := range s.hosts {
		if s.holds(ctx, h) {
			now = append(now, h.Name())
		}
	}
	at := time.Now()
	overlap := now
	if len(now) > 1 {
		// The hosts were sampled one after the other: two had it at once only if the earlier ones
		// still have it now.
		overlap = slices.DeleteFunc(slices.Clone(now), func(name string) bool {
			i := slices.IndexFunc(s.hosts, func(h *lab.Host) bool { return h.Name() == name })
			return name != now[len(now)-1] && !s.holds(ctx, s.hosts[i])
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(overlap) > 1 {
		s.overlaps = append(s.overlaps, Overlap{At: at, Hosts: overlap})
	}
	for _, h := range s.hosts {
		name := h.Name()
		i, was := s.open[name]
		switch {
		case !slices.Contains(now, name):
			delete(s.open, name)
		case was:
			s.held[i].To = at
		default:
			s.open[name] = len(s.held)
			s.held = append(s.held, Held{Host: name, From: at, To: at})
		}
	}
}

// holds says false for a host that is off.
func (s *sampler) holds(ctx context.Context, h *lab.Host) bool {
	if !h.Running() {
		return false
	}
	for range 2 {
		pid := s.first[h.Name()]
		if pid != 0 {
			// The kernel's table of addresses, in the network that the process lives in.
			table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", pid))
			if err == nil && len(table) > 0 {
				return bytes.Contains(table, s.needle)
			}
		}
		// It has been restarted since, or was not looked at yet.
		s.first[h.Name()] = firstProcess(ctx, h)
	}
	return false
}

func firstProcess(ctx context.Context, h *lab.Host) int {
	ctx, cancel := context.WithTimeout(ctx, sampleEvery)
	defer cancel()
	all, err := h.Processes(ctx, "systemd")
	if err != nil || len(all) == 0 || all[0].PID != 1 {
		return 0
	}
	return all[0].MachinePID
}

// now is who has it now.
func (s *sampler) now(ctx context.Context) (on []string) {
	for _, h := range s.hosts {
		if _, err := h.Run(ctx, "sh", "-ec", `ip -o address show | grep -qF " $1/"`, "sh", s.vip); err == nil {
			on = append(on, h.Name())
		}
	}
	return on
}

// between returns what was seen in a time.
func (s *sampler) between(from, to time.Time) ([]Held, []Overlap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := slices.DeleteFunc(slices.Clone(s.held), func(h Held) bool { return h.To.Before(from) || h.From.After(to) })
	overlaps := slices.DeleteFunc(slices.Clone(s.overlaps), func(o Overlap) bool { return o.At.Before(from) || o.At.After(to) })
	return held, overlaps
}
