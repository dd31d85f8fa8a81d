package clients

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/redisd/redisd/test/figures"
)

// results is all that a run has found; results.json.
type results struct {
	Machine  figures.Machine   `json:"machine"`
	Runs     int               `json:"runs"`
	Patience float64           `json:"patience_s"`
	Partial  bool              `json:"partial"` // not everything was measured
	Took     float64           `json:"took_s"`
	Names    map[string]string `json:"libraries"` // with their versions
	Outcomes []outcome         `json:"outcomes"`
}

// outcome is what one client saw of one fault. Times are in milliseconds.
type outcome struct {
	Way      string `json:"way,omitempty"` // how Redis is made highly available; none: redisd
	Library  string `json:"library"`
	Settings string `json:"settings"` // defaults, documented
	Via      string `json:"via"`
	Mode     string `json:"mode"`
	Fault    string `json:"fault"`
	Run      int    `json:"run"`
	Stuck    bool   `json:"stuck"` // not back

	// Gap is the longest time without an acknowledged write.
	Gap float64 `json:"gap_ms"`
	// Errors are those that the application was shown.
	Errors     int    `json:"errors"`
	FirstError string `json:"first_error,omitempty"`
	// Told and Back are counted from the new primary's first write: when a listener, or a pool, was
	// told or noticed, and when it had what the new primary sent it.
	Told float64 `json:"told_ms"`
	Back float64 `json:"back_ms"`

	Acked int `json:"acked"` // since the fault before
	Lost  int `json:"lost"`
	Twice int `json:"twice"` // what the library wrote again, unasked

	// Service is how long no write was acknowledged to a client with fresh connections.
	Service float64 `json:"service_ms"`
}

// never is the time of what did not happen.
const never = -1

const resultsFile = "results.json"

// save writes the results as they are so far.
func (r *results) save(dir string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("save the results: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, resultsFile), append(text, '\n'), 0o644)
}

// load reads the results of one run, or of several into one: parts of what was to be measured.
func load(paths ...string) (*results, error) {
	all := &results{Names: map[string]string{}}
	for _, path := range paths {
		var r results
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("read the results: %w", err)
		}
		maps.Copy(r.Names, all.Names)
		r.Took, r.Outcomes = r.Took+all.Took, append(all.Outcomes, r.Outcomes...)
		*all = r
	}
	return all, nil
}

// of are the outcomes that a test of them lets through.
func (r *results) of(want func(outcome) bool) []outcome {
	return slices.DeleteFunc(slices.Clone(r.Outcomes), func(o outcome) bool { return !want(o) })
}
