package chaos

import (
	"fmt"
	"slices"
	"time"
)

// Window is how old an acknowledged write may be, at most, that a crash, a power loss or a cut of
// the primary takes with it: replication is asynchronous, and what no replica had yet is gone. On a
// network without faults a replica has what is older than a few milliseconds.
const (
	Window = 200 * time.Millisecond
	// windowSlow is the same where a fault delays what is sent: TCP repeats a lost segment after
	// 200 ms, then after 400.
	windowSlow = time.Second
	// lapse is how long a primary that is cut off from the other nodes, but not from its clients,
	// goes on: election.Lapse. Nobody else can be primary before.
	lapse = 700 * time.Millisecond
	// secondLine is how long it goes on where its agent hangs as well: Redis' own count of its
	// replicas (min-replicas-max-lag 2, looked at once a second) and the watchdog.
	// docs/GUARANTEES.md has it under what is not covered.
	secondLine = 3500 * time.Millisecond
	// wakes is for how long a host that was paused may take writes when it goes on: its
	// redis-server does not know that time has passed, and somebody must first run to tell it, the
	// agent or, when the watchdog has killed that, what runs after it.
	wakes = 150 * time.Millisecond
	// late is for acknowledgements that were on their way when the fault was injected.
	late = 250 * time.Millisecond
	// stepDownLimit is how long a host that has lost touch may keep the VIP: its lease, and
	// patience with a machine that is busy.
	stepDownLimit = 3 * time.Second
	// lifetime is the same where the agent can do nothing: the kernel's own patience (5 s, a second
	// late at most), and ours.
	lifetime = 8 * time.Second
	// downtimeLimit is the write downtime allowed where one fault leaves a majority of nodes, a
	// replica and the clients in touch. It is there to find a cluster that waits for the fault to
	// go away; how fast it is, benchmarks measure.
	downtimeLimit = 5 * time.Second
	// awaited is the same from when a redis-server is taken to hang.
	awaited = 2500 * time.Millisecond
	// awake is the same where writes are down as long as the fault lasts; a cold start may wait ten
	// seconds for a node that is missing.
	awake = 20 * time.Second
	// thawed is how long a host that was paused may take to see that time has passed.
	thawed = time.Second
)

// Fault is a step as it was done.
type Fault struct {
	Step
	Host string // "" for everyone
	// Begin and Done are before and after it was done, Mending and Mended before and after it was
	// undone; these are zero where there was nothing to undo.
	Begin, Done, Mending, Mended time.Time
	Err                          error
}

// end is by when it was over.
func (s Fault) end() time.Time {
	if s.Mended.IsZero() {
		return s.Done
	}
	return s.Mended
}

func (s Fault) harm() harm { return kindOf(s.Kind).harm }

func (s Fault) hits(host string) bool { return s.Host == "" || host == "" || s.Host == host }

// LostWrite is an acknowledged write that is not there any more.
type LostWrite struct {
	At time.Time // when it was acknowledged
	By string    // the host that did; "" if not known
	// Until is when that redis-server acknowledged for the last time before another one did.
	Until time.Time
	// Since is the host that had acknowledged writes after By did, and before this one.
	Since string
}

// Node is a node of the cluster as it says of itself.
type Node struct {
	Name  string
	PID   int // of redis-server
	Keys  int64
	Links string // to the primary
}

// Seen is all that a round came to.
type Seen struct {
	Faults        []Fault
	Before, After string // the primary
	Nodes, Then   []Node
	Healthy       bool
	Health        string        // why it is not
	TimeToHealth  time.Duration // from when the last fault was over
	Downtime      time.Duration
	Acked         int
	Dual          time.Duration
	DualNodes     []string
	Lost          []LostWrite
	// Older is what of earlier rounds is missing now, and was not after them.
	Older []string
	// Differ are replicas that do not have what the primary has.
	Differ   []string
	Held     []Held
	Overlaps []Overlap
}

// Check returns what must not be.
func Check(s Seen) []string {
	var found []string
	violated := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if s.Dual > s.mayBeDual() {
		violated("S1: two nodes acknowledged writes for %v: %v", s.Dual, s.DualNodes)
	}
	for _, text := range s.Older {
		violated("S2: %s", text)
	}
	for _, text := range s.Differ {
		violated("S2: %s", text)
	}
	checkLost(s, violated)
	checkVIP(s, violated)
	checkProcesses(s, violated)
	checkMoved(s, violated)
	checkStill(s, violated)
	for _, k := range s.Faults {
		// Where two things happen at once, the one may well keep the other from happening.
		if k.Err != nil && len(s.Faults) == 1 {
			violated("%s: %v", k.Kind, k.Err)
		}
	}
	if !s.Healthy {
		violated("not whole again: %s", s.Health)
	}
	return found
}

func checkLost(s Seen, violated func(string, ...any)) {
	var worst *LostWrite
	n, overtaken := 0, 0
	for i, l := range s.Lost {
		if s.woke(l) {
			continue
		}
		if l.Since != "" && !(s.unguarded(l.By) && s.mayLose(l)) {
			overtaken++
			if overtaken == 1 {
				violated("S1: %s acknowledged a write %v after the round began and after %s had done so, and it is lost",
					l.By, l.At.Sub(s.Faults[0].Begin).Round(time.Millisecond), l.Since)
			}
			continue
		}
		if s.mayLose(l) {
			continue
		}
		n++
		if worst == nil || l.At.Before(worst.At) {
			worst = &s.Lost[i]
		}
	}
	if n == 0 {
		return
	}
	by := worst.By
	if by == "" {
		by = "an unknown node"
	}
	text := fmt.Sprintf("acknowledged by %s %v before its last one", by, worst.Until.Sub(worst.At).Round(time.Millisecond))
	for _, k := range s.Faults {
		text += fmt.Sprintf(", %v after %s", worst.At.Sub(k.Begin).Round(time.Millisecond), k.Kind)
	}
	rule := "S3"
	for _, k := range s.Faults {
		if k.harm().loses {
			rule = "S1/S3"
		}
	}
	violated("%s: %d writes are lost that must not be (%d in all); the first: %s", rule, n, len(s.Lost), text)
}

// mayBeDual is how long two nodes may acknowledge, by what docs/GUARANTEES.md has under what is not
// covered.
func (s Seen) mayBeDual() time.Duration {
	switch {
	case s.unguarded(s.DualNodes...):
		return secondLine
	case slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.harm().frozen && slices.Contains(s.DualNodes, k.Host) }):
		return wakes
	}
	return 0
}

// woke: the write was acknowledged by a host that had been paused and just went on.
func (s Seen) woke(l LostWrite) bool {
	return slices.ContainsFunc(s.Faults, func(k Fault) bool {
		return k.harm().frozen && k.Host == l.By && !l.At.Before(k.Mending) && !l.At.After(k.end().Add(wakes))
	})
}

// unguarded: one of the hosts was cut off when nobody on it could fence.
func (s Seen) unguarded(hosts ...string) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		hit := func(which func(harm) bool) bool {
			return slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.Host == host && which(k.harm()) })
		}
		return hit(func(h harm) bool { return h.unguarded }) && hit(func(h harm) bool { return h.isolates })
	})
}

// mayLose says whether replication being asynchronous excuses it.
func (s Seen) mayLose(l LostWrite) bool {
	window := Window
	for _, k := range s.Faults {
		if k.harm().slow {
			window = windowSlow
		}
	}
	return slices.ContainsFunc(s.Faults, func(k Fault) bool {
		h := k.harm()
		if !h.loses || !k.hits(l.By) {
			return false
		}
		until, age := k.Done.Add(late), window
		if h.isolates {
			until, age = k.Done.Add(lapse), window+lapse
			if s.unguarded(l.By) {
				until, age = k.Done.Add(secondLine), window+secondLine
			}
		}
		if h.lingers {
			until = k.end().Add(late)
		}
		return !l.At.Before(k.Begin.Add(-window)) && !l.At.After(until) && l.Until.Sub(l.At) <= age
	})
}

func checkVIP(s Seen, violated func(string, ...any)) {
	for _, o := range s.Overlaps {
		live := slices.DeleteFunc(slices.Clone(o.Hosts), func(host string) bool { return s.excused(host, o.At) })
		if len(live) > 1 {
			violated("S4: %v have the VIP at once, %v after the round began", o.Hosts, o.At.Sub(s.Faults[0].Begin).Round(time.Millisecond))
			break
		}
	}
	for _, k := range s.Faults {
		h := k.harm()
		if !h.isolates || h.lingers || k.Host == "" {
			continue
		}
		limit := stepDownLimit
		for _, other := range s.Faults {
			if other.hits(k.Host) && other.harm().mute {
				limit = lifetime
			}
		}
		for _, v := range s.Held {
			since := k.Done
			if v.From.After(since) {
				since = v.From
			}
			until := k.Mending
			if v.To.Before(until) {
				until = v.To
			}
			if v.Host == k.Host && until.Sub(k.Done) > limit && until.After(since) {
				violated("S4: %s has the VIP %v after %s", k.Host, until.Sub(k.Done).Round(time.Millisecond), k.Kind)
			}
		}
	}
}

// excused: the host cannot be reached, or does not run; and nobody could let the VIP go there.
func (s Seen) excused(host string, at time.Time) bool {
	var away, mute bool
	for _, k := range s.Faults {
		if h := k.harm(); k.hits(host) && !at.Before(k.Begin) {
			away = away || h.isolates && !at.After(k.end().Add(thawed))
			mute = mute || h.mute
			if h.frozen && !at.After(k.end().Add(thawed)) {
				return true
			}
		}
	}
	return away && mute
}

// checkProcesses: redis-server lives on where nothing befell it, its agent's death included.
func checkProcesses(s Seen, violated func(string, ...any)) {
	for _, n := range s.Nodes {
		if slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.hits(n.Name) && k.harm().ends }) {
			continue
		}
		i := slices.IndexFunc(s.Then, func(m Node) bool { return m.Name == n.Name })
		if i >= 0 && s.Then[i].PID != n.PID && s.Healthy {
			violated("S5: redis-server of %s is another process: %d, before %d", n.Name, s.Then[i].PID, n.PID)
		}
	}
}

// checkMoved: nothing that leaves the primary well moves it.
func checkMoved(s Seen, violated func(string, ...any)) {
	if len(s.Faults) != 1 || !s.Healthy || s.After == s.Before {
		return
	}
	k := s.Faults[0]
	h := k.harm()
	if k.On == Primary && (h.loses || h.moves) || k.On == Everyone {
		return
	}
	violated("false failover: the primary moved from %s to %s", s.Before, s.After)
}

// checkStill: one fault at a time is survived, not sat out.
func checkStill(s Seen, violated func(string, ...any)) {
	if len(s.Faults) != 1 {
		return
	}
	k, limit := s.Faults[0], downtimeLimit
	if wait := k.harm().waits; wait > 0 {
		limit = wait + awaited
	}
	if k.harm().blocks {
		limit = k.end().Sub(k.Begin) + awake
	}
	if s.Downtime > limit {
		violated("write downtime %v", s.Downtime.Round(time.Millisecond))
	}
}
