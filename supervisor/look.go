package supervisor

import (
	"errors"
	"os"
	"path/filepath"
)

// Look finds the process that Adopt would take over, and leaves everything as it is: neither a file
// is written nor output taken. It is for `redisd check`, which may run beside an agent or in place
// of one that died. Without such a process it returns zero.
func Look(stateDir, name string) (pid int, err error) {
	rec, err := loadRecord(filepath.Join(stateDir, name+".json"))
	if err != nil {
		return 0, err
	}
	r, err := rec.find()
	if err != nil || r != nil {
		return r.release(), err
	}
	file, err := os.Open(filepath.Join(stateDir, name+".out"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	leaders, _, err := (&output{file: file}).holders()
	if err != nil || len(leaders) == 0 {
		return 0, err
	}
	return leaders[0], nil
}

// release gives up the handle on a process that is not to be watched.
func (r *run) release() (pid int) {
	if r == nil {
		return 0
	}
	r.handle.Close()
	return r.pid
}
