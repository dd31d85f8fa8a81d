package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/redisd/redisd/confgen"
	"github.com/redisd/redisd/config"
)

// recordName is the file of the dataset's version, in the state directory.
const recordName = "record"

// setNodeAside moves what makes this host the node that it is into a directory of its own, whose
// path it returns: the record, the dataset, Sentinel's file, and last the state. Cut short it
// leaves the same node with less data, which it knows; never another one with this one's data.
func (s *site) setNodeAside() (aside string, err error) {
	return setAside(s.disk.dir, s.disk.path(recordName), s.aofDir(), s.rdbFile(),
		filepath.Join(s.sentinelDir(), confgen.SentinelConfName), s.disk.path(stateName))
}

// SetNodeAside does that while no agent and no redis-server runs on this host: the next agent is a
// new node.
func SetNodeAside(cfg config.Config) (aside string, err error) {
	s := &site{disk: &disk{dir: cfg.Node.StateDir}}
	s.cfg.Store(&cfg)
	if aside, err = s.setNodeAside(); err != nil {
		return "", fmt.Errorf("set this node's data and state aside: %w", err)
	}
	// What root has made is to be the agent's.
	if st, err := os.Stat(cfg.Node.StateDir); err == nil && aside != "" {
		if owner, ok := st.Sys().(*syscall.Stat_t); ok {
			_ = os.Chown(aside, int(owner.Uid), int(owner.Gid))
		}
	}
	return aside, nil
}

// emptyRDB is more than an RDB file without data has, and less than one with a key or a function.
const emptyRDB = 150

// pristine: nothing was ever written to this node's redis-server, as far as its disk says, now that
// it has stopped: its append-only file, or its RDB file, has nothing in it.
func (s *site) pristine() (bool, error) {
	files, err := filepath.Glob(filepath.Join(s.aofDir(), "*"))
	if err != nil {
		return false, err
	}
	for _, path := range append(files, s.rdbFile()) {
		st, err := os.Stat(path)
		switch name := filepath.Base(path); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return false, err
		case strings.HasSuffix(name, ".manifest"):
		case strings.HasSuffix(name, ".incr.aof") && st.Size() > 0, st.Size() > emptyRDB:
			return false, nil
		}
	}
	// Without an append-only file nothing says what there was and is deleted.
	return s.usesAOF() && slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".manifest") }), nil
}
