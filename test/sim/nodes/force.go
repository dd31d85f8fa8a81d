package nodes

import (
	"time"

	"github.com/redisd/redisd/node"
	"github.com/redisd/redisd/reconcile"
)

// force is an operator who makes this node the primary, and accepts that data is lost. With
// leaveOut the voters that are away no longer count.
func (a *agent) force(leaveOut bool) {
	h, w := a.h, a.h.w
	w.check.forcedAt = w.now
	a.step(node.Force{LeaveOut: leaveOut, Until: h.local() + min(handOverWithin, w.p.until-w.now)})
}

// sees: it knows of somebody who is the primary now.
func (a *agent) sees() bool {
	now := a.h.local()
	v := a.n.View(now)
	return v.Lease || v.Holder != "" && string(v.Holder) != a.h.id && !v.Released && v.EverHeard && now < v.HeardAt+reconcile.Lapse
}

// forcedFor is how long after a forced claim what is let in may lack data.
const forcedFor = 2 * time.Second
