package chaos

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redisd/redisd/test/lab"
	"github.com/redisd/redisd/test/lab/writer"
)

// What the agents themselves say of a round, in their journals.

// Reign is the beginning of a node's time as the primary.
type Reign struct {
	Host string
	Term uint64
	At   time.Time // when its agent said so, a moment after the lease was won
}

// Kill is a redis-server that its own agent has ended.
type Kill struct {
	Host string
	At   time.Time
	Why  string
}

// Crash is an agent that ended by itself, or that its watchdog has ended.
type Crash struct {
	Host     string
	At       time.Time
	Watchdog bool
	Why      string
}

// Handover is the lease given to a successor by a node that keeps the VIP until it hears that one.
type Handover struct {
	Host string
	At   time.Time
}

// Usurped are writes that a host acknowledged after another one had become the primary.
type Usurped struct {
	Host, Primary string
	Term          uint64
	Since         time.Time // the other one's reign
	First, Last   time.Time
	Acks          int
}

var (
	heldLine = regexp.MustCompile(`lease held: this node is the primary.*\bterm=(\d+)`)
	// What systemd says of the agent: SIGTERM and SIGKILL are others' doing.
	crashLine = regexp.MustCompile(`systemd\[\d+\]: redisd\.service: (Main process exited, code=(?:exited|dumped|killed), status=\S+|Watchdog timeout.*)`)
	othersEnd = regexp.MustCompile(`status=(?:0/SUCCESS|9/KILL|15/TERM)`)
	// One whose release the disk does not take is carried out all the same: the others heard it.
	handLine = regexp.MustCompile(`msg="handed over" |action="release lease: handed over to .* error="save `)
	killLine = regexp.MustCompile(`redis-server is killed.*\bwhy="?([^"]*)`)
)

// annals are what the journals tell.
type annals struct {
	reigns    []Reign
	kills     []Kill
	crashes   []Crash
	handovers []Handover
}

// chronicle is what a host's journal says, line by line.
func chronicle(host, text string) (c annals) {
	for l := range strings.Lines(text) {
		stamp, rest, _ := strings.Cut(l, " ")
		at, err := time.Parse(stampForm, stamp)
		if err != nil {
			continue
		}
		if m := heldLine.FindStringSubmatch(rest); m != nil {
			term, _ := strconv.ParseUint(m[1], 10, 64)
			c.reigns = append(c.reigns, Reign{host, term, at})
		}
		if m := crashLine.FindStringSubmatch(rest); m != nil && !othersEnd.MatchString(m[1]) {
			c.crashes = append(c.crashes, Crash{host, at, strings.HasPrefix(m[1], "Watchdog"), m[1]})
		}
		if handLine.MatchString(rest) {
			c.handovers = append(c.handovers, Handover{host, at})
		}
		if m := killLine.FindStringSubmatch(rest); m != nil {
			c.kills = append(c.kills, Kill{host, at, strings.TrimSpace(m[1])})
		}
	}
	return c
}

// agentJournal is what the agent of a host has said since, and systemd.
func agentJournal(ctx context.Context, h *lab.Host, since time.Time) (string, error) {
	return h.Run(ctx, "journalctl", "--no-pager", "--quiet", "--output=short-iso-precise", "--no-hostname", "--utc",
		"--identifier=redisd", "--identifier=systemd", "--since="+since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// read has the journals say who was the primary when, and whom the agents have killed. Those of the
// time before the round count for who was the primary at its beginning.
func (w *world) read(ctx context.Context, s *Seen, r *writer.Report) error {
	var fresh []Reign
	for _, name := range w.c.Names() {
		text, err := agentJournal(ctx, w.c.Host(name), w.story.began.Add(-time.Second))
		if err != nil {
			return err
		}
		said := chronicle(name, text)
		fresh = append(fresh, said.reigns...)
		s.Handovers = append(s.Handovers, said.handovers...)
		s.Crashed = append(s.Crashed, slices.DeleteFunc(said.crashes, func(c Crash) bool { return c.At.Before(w.story.began) })...)
		s.Killed = append(s.Killed, slices.DeleteFunc(said.kills, func(k Kill) bool { return k.At.Before(w.story.began) })...)
	}
	for _, reign := range fresh {
		if !slices.ContainsFunc(w.reigns, func(old Reign) bool { return old.Term == reign.Term && old.Host == reign.Host }) {
			w.reigns = append(w.reigns, reign)
		}
	}
	slices.SortFunc(w.reigns, func(a, b Reign) int { return int(a.Term) - int(b.Term) })
	s.Usurped = usurped(w.acks(r), w.reigns)
	return nil
}

// ack is an acknowledged write.
type ack struct {
	host     string
	sent, at time.Time
}

func (w *world) acks(r *writer.Report) []ack {
	var all []ack
	for _, a := range r.Known() {
		all = append(all, ack{w.hostOf(r.Nodes[a.Node]), r.Started.Add(a.Invoked), r.Started.Add(a.Acked)})
	}
	return all
}

// usurped are the acknowledgements of writes that were sent after another node had said that it is
// the primary, and before the next one did. An agent says so a moment after the fact, so what it
// says too late excuses nobody but itself: the acknowledgements of the next primary itself.
func usurped(acks []ack, reigns []Reign) (found []Usurped) {
	for _, a := range acks {
		i := -1 // the latest term that was known when it was sent
		for j, r := range reigns {
			if !r.At.After(a.sent) {
				i = j
			}
		}
		if i < 0 || reigns[i].Host == a.host || a.host == "" {
			continue
		}
		if i+1 < len(reigns) && reigns[i+1].Host == a.host && reigns[i+1].At.Sub(a.sent) < saidLate {
			continue
		}
		r := reigns[i]
		if n := len(found); n > 0 && found[n-1].Host == a.host && found[n-1].Term == r.Term {
			found[n-1].Last = a.at
			found[n-1].Acks++
			continue
		}
		found = append(found, Usurped{Host: a.host, Primary: r.Host, Term: r.Term, Since: r.At, First: a.at, Last: a.at, Acks: 1})
	}
	return found
}

// saidLate is how late an agent may be to say that it is the primary, when it is busy being it.
const saidLate = 500 * time.Millisecond
