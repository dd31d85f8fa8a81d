package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redisd/redisd/test/figures"
)

// results is all that a run of the benchmark has found; results.json.
type results struct {
	Machine      figures.Machine `json:"machine"`
	Runs         int             `json:"runs"`      // of each fault, with redisd
	BaselineRuns int             `json:"hand_runs"` // with the others
	Partial      bool            `json:"partial"`   // not everything was measured
	Took         float64         `json:"took_s"`
	Outcomes     []outcome       `json:"outcomes"`
	Bootstrap    []bootstrap     `json:"bootstrap"`
	Throughput   []throughput    `json:"throughput"`
	Footprint    []footprint     `json:"footprint"`
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
