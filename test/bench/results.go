package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// results is all that a run of the benchmark has found; results.json.
type results struct {
	Machine      machine      `json:"machine"`
	Runs         int          `json:"runs"`      // of each fault, with redisd
	BaselineRuns int          `json:"hand_runs"` // with the others
	Partial      bool         `json:"partial"`   // not everything was measured
	Took         float64      `json:"took_s"`
	Outcomes     []outcome    `json:"outcomes"`
	Bootstrap    []bootstrap  `json:"bootstrap"`
	Throughput   []throughput `json:"throughput"`
	Footprint    []footprint  `json:"footprint"`
}

// machine is what was measured, and on what.
type machine struct {
	Date    string            `json:"date"`
	Command string            `json:"command"`
	CPU     string            `json:"cpu"`
	CPUs    int               `json:"cpus"`
	Kernel  string            `json:"kernel"`
	Load    string            `json:"load_before"` // the machine's load average
	Debian  string            `json:"debian"`
	Version map[string]string `json:"versions"` // of the packages
}

const resultsFile = "results.json"

// save writes the results as they are so far: what a run that breaks off has measured is not lost.
func (r *results) save(dir string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, resultsFile), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("save the results: %w", err)
	}
	return nil
}

func load(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &r, nil
}

// of is the outcomes of a fault, one way, that mean anything.
func (r *results) of(wayID, faultID string) (found []outcome) {
	for _, o := range r.Outcomes {
		if o.Way == wayID && o.Fault == faultID && o.measured() {
			found = append(found, o)
		}
	}
	return found
}

// sample is what several runs gave for one figure.
type sample struct{ median, low, high float64 }

// sampleOf takes -1 as a time longer than any.
func sampleOf[T any](runs []T, figure func(T) float64) (s sample, ok bool) {
	if len(runs) == 0 {
		return s, false
	}
	var v []float64
	for _, r := range runs {
		f := figure(r)
		if f < 0 {
			f = math.Inf(1)
		}
		v = append(v, f)
	}
	slices.SortFunc(v, cmp.Compare)
	s.low, s.high = v[0], v[len(v)-1]
	s.median = v[len(v)/2]
	if lower := v[(len(v)-1)/2]; lower != s.median {
		s.median = (s.median + lower) / 2
	}
	return s, true
}
