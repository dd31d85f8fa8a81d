package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// record is what the next agent needs to know a process again. The number alone would not do: it
// may by then be another's.
type record struct {
	PID        int      `json:"pid"`
	StartTicks uint64   `json:"start_ticks"`
	BootID     string   `json:"boot_id"`
	Exe        string   `json:"exe"`
	Argv       []string `json:"argv,omitempty"`
	OutputFrom int64    `json:"output_from"` // where in the output file its own output begins
}

func (p *Process) recordPath() string { return filepath.Join(p.dir, p.name+".json") }

// loadRecord returns nil when there is none, or none that can be read as one: a power loss may
// leave it empty.
func loadRecord(path string) (*record, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rec record
	if json.Unmarshal(raw, &rec) != nil || rec.PID <= 0 {
		return nil, nil
	}
	return &rec, nil
}

// saveRecord does not fail the start when the disk does: without a record the process is still
// found by its output.
func (p *Process) saveRecord(r *run, argv []string, from int64) {
	rec := record{PID: r.pid, StartTicks: r.ticks, BootID: bootID(), Exe: executable(r.pid), Argv: argv, OutputFrom: from}
	raw, err := json.Marshal(rec)
	if err == nil {
		p.records.Lock()
		err = replaceFile(p.recordPath(), raw)
		p.records.Unlock()
	}
	if err != nil {
		p.log.Warn("record not written", "pid", r.pid, "error", err)
	}
}

// dropRecord removes the record if it is still that of the given process.
func (p *Process) dropRecord(pid int, ticks uint64) {
	p.records.Lock()
	defer p.records.Unlock()
	rec, err := loadRecord(p.recordPath())
	if err == nil && rec != nil && rec.PID == pid && rec.StartTicks == ticks {
		err = os.Remove(p.recordPath())
	}
	if err != nil {
		p.log.Warn("record not removed", "error", err)
	}
}

func (rec *record) thisBoot() bool { return rec.BootID == bootID() }

// outputFrom is where the output of r begins: known if the record is its, else the whole file may
// be.
func (rec *record) outputFrom(r *run) int64 {
	if rec != nil && rec.PID == r.pid && rec.StartTicks == r.ticks {
		return rec.OutputFrom
	}
	return 0
}

// find returns the recorded process if it is alive and certainly the one recorded.
func (rec *record) find() (*run, error) {
	if rec == nil || !rec.thisBoot() {
		return nil, nil
	}
	r, err := openRun(rec.PID)
	if vanished(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r.ticks != rec.StartTicks || executable(r.pid) != rec.Exe || r.ended() {
		r.handle.Close()
		return nil, nil
	}
	return r, nil
}

// findByOutput returns the session leader whose standard output is our file: only launch makes one.
// Of a server that is dead only forks can be left; they are ended.
func (p *Process) findByOutput() (*run, error) {
	leaders, forks, err := p.out.holders()
	if err != nil {
		return nil, err
	}
	for _, pid := range leaders {
		r, err := openRun(pid)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.out.heldBy(pid) && !r.ended() {
			return r, nil
		}
		r.handle.Close()
	}
	for _, pid := range forks {
		r, err := openRun(pid)
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.out.heldBy(pid) {
			p.log.Warn("ending a fork whose parent is dead", "pid", pid)
			_ = r.signal(unix.SIGKILL)
		}
		r.handle.Close()
	}
	return nil, nil
}

// vanished reports whether err, of openRun, means that there is no such process: no such number, or
// that of a mere thread (EINVAL).
func vanished(err error) bool {
	return ended(err) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EINVAL)
}

// bootID changes with every boot of the machine.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// executable is the path of the program that pid runs, also after an upgrade has put another file
// there.
func executable(pid int) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// replaceFile puts content in place whole or not at all. It does not fsync: what it writes is of
// use only to another process of this same boot, which reads it from the page cache; and on a disk
// that Redis keeps busy an fsync may take seconds.
func replaceFile(path string, content []byte) error {
	temp := path + ".new"
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
