package node

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/redisd/redisd/reconcile"
)

// Called is the member that an operator means by an ID or a name. Names are people's: two nodes may
// have the same, as when a hostname was copied. Who is gone does not stand in the way of who is
// here.
func Called(members []reconcile.Member, what string) (reconcile.Member, error) {
	var here, gone []reconcile.Member
	for _, m := range members {
		switch {
		case m.ID == what:
			return m, nil
		case m.Name == what && m.Alive:
			here = append(here, m)
		case m.Name == what:
			gone = append(gone, m)
		}
	}
	found := here
	if len(found) == 0 {
		found = gone
	}
	switch len(found) {
	case 0:
		return reconcile.Member{}, fmt.Errorf("there is no node %q; there are: %s", what, strings.Join(memberNames(members), ", "))
	case 1:
		return found[0], nil
	}
	return reconcile.Member{}, fmt.Errorf("%d nodes are called %q: name one by its id, %s", len(found), what, ids(found))
}

// Namesakes says in words which other members that are here have the name of this node; empty:
// none.
func Namesakes(members []reconcile.Member, self string) string {
	name := nameOf(members, self)
	var same []reconcile.Member
	for _, m := range members {
		if m.ID != self && m.Alive && m.Name == name && m.Name != m.ID {
			same = append(same, m)
		}
	}
	if len(same) == 0 {
		return ""
	}
	return fmt.Sprintf("another node is called %q, too: %s; set [node] name, or the hostname, of one of them", name, ids(same))
}

// ids names members beyond doubt.
func ids(members []reconcile.Member) string {
	var out []string
	for _, m := range members {
		out = append(out, fmt.Sprintf("%s (%s)", m.ID, cmp.Or(m.Gossip, m.Redis)))
	}
	return strings.Join(out, ", ")
}
