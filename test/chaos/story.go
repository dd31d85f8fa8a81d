package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redisd/redisd/test/cluster"
	"github.com/redisd/redisd/test/lab/writer"
)

// story is what happened in a round, for whoever has to find out why.
type story struct {
	began time.Time
	mu    sync.Mutex
	lines []line
}

type line struct {
	at   time.Time
	host string
	text string
}

func newStory() *story { return &story{began: time.Now()} }

func (s *story) add(at time.Time, host, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line{at, host, strings.TrimSpace(fmt.Sprintf(format, args...))})
}

const (
	gapOver  = 20 * time.Millisecond // a shorter one is not told
	journals = 30 * time.Second      // for reading those of all hosts
	// stampForm is that of journalctl's short-iso-precise.
	stampForm = "2006-01-02T15:04:05.000000-0700"
)

// seen adds what the client and the sampler have seen.
func (s *story) seen(seen Seen, r *writer.Report) {
	at := func(d time.Duration) time.Time { return r.Started.Add(d) }
	for _, g := range r.Gaps(gapOver) {
		s.add(at(g.From), "", "GAP of %v begins (own share %v)", g.Length().Round(100*time.Microsecond), r.OwnShare(g).Round(100*time.Microsecond))
		s.add(at(g.To), "", "gap of %v ends", g.Length().Round(100*time.Microsecond))
	}
	spans := r.Spans()
	for _, span := range spans[:min(len(spans), 200)] {
		s.add(at(span.From), "", "%s acknowledges: %d writes until %v later", span.Node, span.Acks, (span.To - span.From).Round(100*time.Microsecond))
	}
	s.add(at(r.Ended), "", "the client's errors: %v", r.Errors)
	for _, d := range r.Duals() {
		s.add(at(d.From), "", "DUAL: %v acknowledge at once for %v, %d changes", d.Nodes, d.Length(), d.Changes)
	}
	for _, l := range seen.Lost[:min(len(seen.Lost), 50)] {
		s.add(l.At, l.By, "LOST: a write acknowledged now, %v before the last of its redis-server", l.Until.Sub(l.At).Round(time.Microsecond))
	}
	for _, h := range seen.Held {
		s.add(h.From, h.Host, "VIP is here for %v", h.To.Sub(h.From).Round(time.Millisecond))
		s.add(h.To, h.Host, "VIP was here (last sample)")
	}
	for _, o := range seen.Overlaps {
		s.add(o.At, "", "VIP on %v at once", o.Hosts)
	}
}

// told are the lines of a journal that the story needs: all of the agent, and what Redis, Sentinel
// and systemd say about roles and lives.
var told = regexp.MustCompile(`redisd(\[\d+\])?: ` +
	`|redis-server(\[\d+\])?: .*(MASTER|REPLICAOF|FAIL|[Rr]esync|Ready|exiting|Connect|Connection with|min-replicas|AOF|Loading|BUSY|crash|signal)` +
	`|redis-sentinel(\[\d+\])?: .*[+-](switch-master|failover|sdown|odown|tilt|new-epoch|vote|promoted|elected|try-failover|selected|slave-reconf|monitor|set |convert|reboot)` +
	`|systemd(\[\d+\])?: .*(redisd|Startup finished|target)`)

// file writes the story, with the hosts' journals, below dir and returns where.
func (s *story) file(ctx context.Context, c *cluster.Cluster, dir, title string, violations []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, journals)
	defer cancel()
	for _, name := range c.Names() {
		text, err := c.Host(name).Journal(ctx, "")
		if err != nil {
			s.add(time.Now(), name, "(its journal could not be read: %v)", err)
		}
		s.journal(name, text)
	}
	var b strings.Builder
	fmt.Fprintln(&b, title)
	for _, v := range violations {
		fmt.Fprintf(&b, "VIOLATED  %s\n", v)
	}
	fmt.Fprintf(&b, "\nTimes are since %s, in seconds.\n\n", s.began.UTC().Format(stampForm))
	s.mu.Lock()
	slices.SortStableFunc(s.lines, func(a, b line) int { return a.at.Compare(b.at) })
	s.write(&b)
	s.mu.Unlock()
	for _, name := range c.Names() {
		for _, command := range [][]string{{"redisd", "status"}, {"redisd", "plan"}} {
			if !c.Host(name).Running() {
				continue
			}
			out, err := c.Host(name).Run(ctx, command...)
			fmt.Fprintf(&b, "\n%s: %s %s\n%s\n", name, strings.Join(command, " "), problem(err), out)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := strings.NewReplacer(" ", "-", ":", "", ",", "", "%", "").Replace(title[:min(len(title), 40)])
	path := filepath.Join(dir, name+"-"+s.began.Format("150405")+".txt")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

// journal adds the lines of a host's journal that are of this round.
func (s *story) journal(host, text string) {
	for l := range strings.Lines(text) {
		stamp, rest, _ := strings.Cut(l, " ")
		at, err := time.Parse(stampForm, stamp)
		if err != nil || at.Before(s.began.Add(-time.Second)) || !told.MatchString(rest) {
			continue
		}
		s.add(at, host, "%s", rest)
	}
}

// sameLines is how often a host may say the same in a row before the rest is counted.
const sameLines = 3

// write writes the lines; s.mu is held.
func (s *story) write(b *strings.Builder) {
	said := map[string]line{}
	times := map[string]int{}
	for _, l := range s.lines {
		if last := said[l.host]; last.text == l.text {
			times[l.host]++
		} else {
			if n := times[l.host]; n >= sameLines {
				fmt.Fprintf(b, "%9.4f  %-2s (%d times more)\n", last.at.Sub(s.began).Seconds(), l.host, n-sameLines+1)
			}
			times[l.host] = 0
		}
		said[l.host] = l
		if times[l.host] < sameLines {
			fmt.Fprintf(b, "%9.4f  %-2s %s\n", l.at.Sub(s.began).Seconds(), l.host, l.text)
		}
	}
}
