package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/redisd/redisd/test/lab/writer"
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

func (s Fault) may() may { return kindOf(s.Kind).may }

func (s Fault) hits(host string) bool { return s.Host == "" || host == "" || s.Host == host }

// hitsPrimary: it befalls who is the primary when the round begins.
func (s Fault) hitsPrimary() bool { return s.On == Primary || s.On == Everyone }

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
	Extra         time.Duration // of write downtime, that a composed round may have; see Round
	Before, After string        // the primary
	Nodes, Then   []Node
	Healthy       bool
	Health        string        // why it is not
	TimeToHealth  time.Duration // from when the last fault was over
	Downtime      time.Duration // less what the client itself did not run
	Acked         int
	Dual          time.Duration
	DualNodes     []string
	Lost          []LostWrite
	// Strays are writes that a replica took which was open for them as long as it may be. Nothing
	// else here counts them.
	Strays []writer.Write
	// Usurped are writes that a host acknowledged while another one was the primary.
	Usurped []Usurped
	// Killed are redis-servers that their own agents have ended.
	Killed []Kill
	// Crashed are agents that ended by themselves, or were ended by their watchdogs.
	Crashed []Crash
	// Handovers are those that were carried out.
	Handovers []Handover
	// Waited are writes of which WAIT said that a replica has them, and that are gone.
	Waited int
	// Older is what of earlier rounds is missing now, and was not after them.
	Older []string
	// Differ are nodes that do not have what the primary has.
	Differ []string
	// Settings are those of redisd that are not as it renders them.
	Settings []string
	Held     []Held
	Overlaps []Overlap
	// VIP is what is wrong with it at the end.
	VIP string
}

// intact: all nodes hold the same, and so they may be compared after another round.
func (s Seen) intact() bool { return len(s.Differ)+len(s.Strays) == 0 }

// Check returns what must not be.
func Check(s Seen) []string {
	var found []string
	violated := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if s.Dual > s.mayBeDual() {
		violated("S1: two nodes acknowledged writes for %v: %v", s.Dual, s.DualNodes)
	}
	checkUsurped(s, violated)
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
	checkDowntime(s, violated)
	for _, text := range s.Settings {
		violated("owned by redisd: %s", text)
	}
	for _, k := range s.Faults {
		// Where two things happen at once, the one may well keep the other from happening.
		if k.Err != nil && len(s.Faults) == 1 {
			violated("%s: %v", k.Kind, k.Err)
		}
	}
	switch limit := s.wholeLimit(); {
	case !s.Healthy:
		violated("not whole again: %s", s.Health)
	case s.TimeToHealth > limit:
		violated("whole again only after %v, not within %v", s.TimeToHealth.Round(time.Millisecond), limit)
	}
	return found
}

func checkLost(s Seen, violated func(string, ...any)) {
	if s.Waited > 0 && !s.mayLoseWaited() {
		violated("S3: %d writes are lost that WAIT had said a replica has", s.Waited)
	}
	var worst *LostWrite
	n, overtaken := 0, 0
	for i, l := range s.Lost {
		if s.woke(l.By, l.At) {
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
		if k.may().lose > 0 {
			rule = "S1/S3"
		}
	}
	violated("%s: %d writes are lost that must not be (%d in all); the first: %s", rule, n, len(s.Lost), text)
}

// mayLoseWaited: a write that a replica has is lost only with that, too.
func (s Seen) mayLoseWaited() bool {
	return slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.Host == "" }) ||
		slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.Host != s.Faults[0].Host })
}

// mayBeDual is how long two nodes may acknowledge, by what docs/GUARANTEES.md has under what is not
// covered.
func (s Seen) mayBeDual() time.Duration {
	switch {
	case s.unguarded(s.DualNodes...):
		return secondLine
	case slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.may().frozen && slices.Contains(s.DualNodes, k.Host) }):
		return wakes
	}
	return 0
}

// checkUsurped: who is not the primary any more acknowledges nothing, whether another one does or
// not.
func checkUsurped(s Seen, violated func(string, ...any)) {
	for _, u := range s.Usurped {
		switch {
		case s.unguarded(u.Host) && u.Last.Sub(u.Since) <= secondLine:
		case s.woke(u.Host, u.First) && s.woke(u.Host, u.Last):
		default:
			violated("S1: %s acknowledged %d writes, the last %v after %s had become the primary (term %d)",
				u.Host, u.Acks, u.Last.Sub(u.Since).Round(time.Millisecond), u.Primary, u.Term)
		}
	}
}

// woke: it was acknowledged by a host that had been paused and just went on.
func (s Seen) woke(host string, at time.Time) bool {
	return slices.ContainsFunc(s.Faults, func(k Fault) bool {
		return k.may().frozen && k.Host == host && !at.Before(k.Mending) && !at.After(k.end().Add(wakes))
	})
}

// unguarded: one of the hosts was cut off when nobody on it could fence.
func (s Seen) unguarded(hosts ...string) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		hit := func(which func(may) bool) bool {
			return slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.Host == host && which(k.may()) })
		}
		return hit(func(m may) bool { return m.unguarded }) && hit(func(m may) bool { return m.isolates })
	})
}

// mayLose says whether replication being asynchronous excuses it.
func (s Seen) mayLose(l LostWrite) bool {
	slow := slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.may().slow })
	return slices.ContainsFunc(s.Faults, func(k Fault) bool {
		m := k.may()
		if m.lose == 0 || !k.hits(l.By) {
			return false
		}
		age := m.lose
		if slow {
			age = max(age, windowSlow)
		}
		begin, until := k.Begin.Add(-age), k.Done.Add(late)
		if m.isolates {
			until, age = k.Done.Add(lapse), age+lapse
			if s.unguarded(l.By) {
				until, age = k.Done.Add(secondLine), age-lapse+secondLine
			}
		}
		if m.lingers {
			until = k.end().Add(late)
		}
		return !l.At.Before(begin) && !l.At.After(until) && l.Until.Sub(l.At) <= age
	})
}

func checkVIP(s Seen, violated func(string, ...any)) {
	if s.Healthy && s.VIP != "" {
		violated("S4: %s", s.VIP)
	}
	for _, o := range s.Overlaps {
		live := slices.DeleteFunc(slices.Clone(o.Hosts), func(host string) bool { return s.excused(host, o.At) || s.yields(host, o.At) })
		if len(live) > 1 {
			violated("S4: %v have the VIP at once, %v after the round began", o.Hosts, o.At.Sub(s.Faults[0].Begin).Round(time.Millisecond))
			break
		}
	}
	for _, k := range s.Faults {
		m := k.may()
		if !m.isolates || m.lingers || k.Host == "" {
			continue
		}
		limit := stepDownLimit
		for _, other := range s.Faults {
			if other.hits(k.Host) && other.may().mute {
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

// yields: the host has just handed over, and keeps its clients and the VIP for its successor.
func (s Seen) yields(host string, at time.Time) bool {
	return slices.ContainsFunc(s.Handovers, func(h Handover) bool {
		return h.Host == host && !at.Before(h.At.Add(-late)) && !at.After(h.At.Add(yields))
	})
}

// excused: the host cannot be reached, or does not run; and nobody could let the VIP go there.
func (s Seen) excused(host string, at time.Time) bool {
	var away, mute bool
	for _, k := range s.Faults {
		if m := k.may(); k.hits(host) && !at.Before(k.Begin) {
			away = away || m.isolates && !at.After(k.end().Add(thawed))
			mute = mute || m.mute
			if m.frozen && !at.After(k.end().Add(thawed)) {
				return true
			}
		}
	}
	return away && mute
}

// checkProcesses: redis-server lives on where nothing befell it, its agent's death included; and no
// agent ends one that is well, nor itself.
func checkProcesses(s Seen, violated func(string, ...any)) {
	allowed := func(host string, which func(may) bool) bool {
		return slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.hits(host) && which(k.may()) })
	}
	for _, c := range s.Crashed {
		if !c.Watchdog || !allowed(c.Host, func(m may) bool { return m.mute || m.frozen }) {
			violated("the agent of %s ended: %s", c.Host, c.Why)
		}
	}
	for _, k := range s.Killed {
		if !allowed(k.Host, func(m may) bool { return m.kill }) && !s.cannotBeFenced(k.Host) {
			violated("S5: the agent of %s killed its redis-server: %s", k.Host, k.Why)
		}
	}
	for _, n := range s.Nodes {
		if allowed(n.Name, func(m may) bool { return m.end }) || s.cannotBeFenced(n.Name) {
			continue
		}
		i := slices.IndexFunc(s.Then, func(m Node) bool { return m.Name == n.Name })
		if i >= 0 && s.Then[i].PID != n.PID && s.Healthy {
			violated("S5: redis-server of %s is another process: %d, before %d", n.Name, s.Then[i].PID, n.PID)
		}
	}
}

// cannotBeFenced: the host is cut off, or left without a majority, while its redis-server takes no
// command. It must not accept writes, and only its end makes certain of that.
func (s Seen) cannotBeFenced(host string) bool {
	hit := func(which func(may) bool) bool {
		return slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.Host == host && which(k.may()) })
	}
	_, _, alone := s.minority()
	return hit(func(m may) bool { return m.blocks }) && (alone || hit(func(m may) bool { return m.isolates }))
}

// checkMoved: nothing that leaves the primary well moves it. What befalls another node first
// befalls a primary only when something has moved that before.
func checkMoved(s Seen, violated func(string, ...any)) {
	if !s.Healthy || s.After == s.Before || s.cannotBeFenced(s.Before) {
		return
	}
	if !slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.hitsPrimary() && k.may().move }) {
		violated("false failover: the primary moved from %s to %s", s.Before, s.After)
	}
}

// checkDowntime: faults are survived, not sat out.
func checkDowntime(s Seen, violated func(string, ...any)) {
	if limit := s.downLimit(); s.Downtime > limit {
		violated("write downtime %v, not %v at most", s.Downtime.Round(time.Millisecond), limit.Round(time.Millisecond))
	}
}

// downLimit is the write downtime that the faults of the round may cost. Several are given the time
// of each in turn: the one may hit whom the other has just made the primary.
func (s Seen) downLimit() time.Duration {
	moves := slices.ContainsFunc(s.Faults, func(k Fault) bool { return k.hitsPrimary() && k.may().move })
	limit := untouched + s.Extra
	for _, k := range s.Faults {
		if !k.hitsPrimary() && !moves {
			continue
		}
		m := k.may()
		limit += max(0, m.down-untouched)
		if m.blocks {
			limit += k.end().Sub(k.Begin)
		}
	}
	if begin, end, gone := s.minority(); gone {
		limit += end.Sub(begin) + reunited
	}
	return limit
}

// minority says from when to when so many nodes may be away that the rest is no majority.
func (s Seen) minority() (begin, end time.Time, gone bool) {
	away := map[string]bool{}
	for _, k := range s.Faults {
		if !k.may().away || k.Host == "" { // that one says itself what it costs
			continue
		}
		away[k.Host] = true
		if begin.IsZero() || k.Begin.Before(begin) {
			begin = k.Begin
		}
		if k.end().After(end) {
			end = k.end()
		}
	}
	return begin, end, 2*(len(s.Nodes)-len(away)) <= len(s.Nodes)
}

// wholeLimit is by when all must be well. Several faults may each need their time.
func (s Seen) wholeLimit() time.Duration {
	limit := time.Duration(0)
	for _, k := range s.Faults {
		if own := k.may().whole; own > 0 {
			limit += own
		} else {
			limit += wholeLimit
		}
	}
	return limit
}
