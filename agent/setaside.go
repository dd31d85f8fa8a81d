package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// brokenAfter is how often in a row redis-server must have ended by itself before it
// ever answered for its dataset to count as broken.
const brokenAfter = 3

// datasetNames are what redis-server loads when it starts.
var datasetNames = []string{"appendonlydir", "dump.rdb"}

// setAsideBroken moves a dataset out of the way that redis-server cannot load (an
// append-only file that a full disk has cut, for example), so that this node gets it
// anew from the primary. Nothing is deleted, and nothing is done while no other
// node is known to have the data.
func (a *Agent) setAsideBroken(primary string) error {
	if primary == "" || a.redis.failedStarts() < brokenAfter {
		return nil
	}
	aside := filepath.Join(a.redisDir(), "set-aside-"+time.Now().UTC().Format("20060102-150405"))
	moved := false
	for _, name := range datasetNames {
		from := filepath.Join(a.redisDir(), name)
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.MkdirAll(aside, 0o750); err != nil {
			return fmt.Errorf("set a broken dataset aside: %w", err)
		}
		if err := os.Rename(from, filepath.Join(aside, name)); err != nil {
			return fmt.Errorf("set a broken dataset aside: %w", err)
		}
		moved = true
	}
	a.redis.startedAnew()
	if moved {
		a.log.Warn("redis-server cannot load its dataset: it is set aside, and this node gets it from the primary",
			"set_aside", aside, "primary", primary, "cure", "remove the directory once it is of no use")
		a.events.add("set_aside", "a dataset that could not be loaded: "+aside)
	}
	return nil
}
