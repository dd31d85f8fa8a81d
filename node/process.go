package node

// process is a supervised process and when it may be started next.
type process struct {
	pid        int // 0: it does not run
	ended      int // the last one that ended
	startAfter Time
	exitedAt   Time
	quick      int // exits in a row after less than backoffReset
	answeredBy int // the last process that answered
	failed     int // how many in a row ended by themselves and never had
	stopOf     int // the process that was asked to stop
	configured bool
}

func (p *process) started(pid int) {
	if pid != 0 && pid != p.ended { // else its exit was faster than the word of its start
		p.pid, p.configured = pid, true
	}
}

// starting forgets what was said of processes by their number: after a boot, or in a container, the
// next one may well have the same.
func (pf *performer) starting(which Process) {
	n := pf.n
	n.procs[which].ended, n.procs[which].stopOf = 0, 0
	if which == Redis {
		n.redis.killed, pf.letsIn, pf.holds = 0, late{}, late{}
		pf.held, pf.yieldUntil = 0, 0
		return
	}
	n.sentinel.tunedPID = 0
}

// answered takes note that the process got as far as to answer.
func (p *process) answered(pid int) { p.answeredBy, p.failed = pid, 0 }

// pause is the time to keep before the next start, longer with every exit that came quickly.
func (p *process) pause(ranFor Time) Time {
	if ranFor >= backoffReset {
		p.quick = 0
	}
	pause := backoffMost
	// Beyond this many doublings the limit is reached anyway, and the shift would in time overflow.
	if p.quick < 6 {
		pause = min(backoffFirst<<p.quick, backoffMost)
	}
	p.quick++
	return pause
}

// justExited: it ended within the last d, and may be back soon.
func (p *process) justExited(at, d Time) bool { return p.exitedAt > 0 && at < p.exitedAt+d }

// exited takes note of the end of a process.
func (n *Node) exited(in Exited) {
	p := &n.procs[in.Process]
	if in.PID == p.ended {
		return // said twice
	}
	p.ended, p.pid = in.PID, 0
	p.exitedAt = n.at
	if in.Process == Sentinel && in.Asked && in.PID == p.answeredBy {
		p.startAfter = n.at // it is ended to be started with another file, however often
	} else {
		p.startAfter = n.at + p.pause(in.RanFor)
	}
	if in.Code > 0 && in.PID != p.answeredBy {
		p.failed++
	}
	if in.Process == Redis {
		n.redis.ended(n.at)
	} else {
		n.sentinel.ended()
		n.sentinel.poke(n.at)
	}
	n.wake()
}
