package agent

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/node"
)

// removed is the removal of the node whose state this is, if it was removed.
func (s *stateFile) removed() (node.Removal, bool) {
	i := slices.IndexFunc(s.Removed, func(r node.Removal) bool { return r.ID == s.ID })
	if i < 0 {
		return node.Removal{}, false
	}
	return s.Removed[i], true
}

// beginAnew makes this node, which is no member any more, a new one: with an ID of its own, and
// without data. What it had is set aside, not deleted; its redis-server does not run. The identity
// comes last: until it is on disk, the next agent does all of this again.
func (s *site) beginAnew(old stateFile, why node.Removal) (stateFile, error) {
	aside, err := setAside(s.redisDir(), s.aofDir(), s.rdbFile(), filepath.Join(s.sentinelDir(), confgen.SentinelConfName))
	if err != nil {
		return old, fmt.Errorf("set aside what this node had as a member: %w", err)
	}
	if err := s.disk.saveRecord(node.Record{}, true); err != nil {
		return old, fmt.Errorf("begin anew as a new member: %w", err)
	}
	next := stateFile{identity: old.identity}
	next.ID = randomID(4)
	s.disk.identity = next.identity
	if err := s.disk.saveState(next); err != nil {
		return old, fmt.Errorf("begin anew as a new member: %w", err)
	}
	text := "joined: forgotten"
	if why.Left {
		text = "joined: left"
	}
	s.log.Warn("this node begins anew as a new member", "why", text, "was", old.ID, "id", next.ID, "set_aside", aside)
	text += fmt.Sprintf(" (it was %s, and is %s now)", old.ID, next.ID)
	if aside != "" {
		text += "; its old data is in " + aside
	}
	s.events.add("joined", text)
	return next, nil
}
