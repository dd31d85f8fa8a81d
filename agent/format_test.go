package agent

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/election"
	"github.com/redisd/redisd/internal/slotfile"
	"github.com/redisd/redisd/node"
)

// savedState is a state of which every part is on disk, and its JSON.
func savedState(t *testing.T, d *disk) (stateFile, map[string]any) {
	t.Helper()
	s, err := d.loadState("cache")
	if err != nil {
		t.Fatal(err)
	}
	s.Election = election.State{ClusterID: "c1", Term: 7, Vote: "a", Roster: election.NewRoster(3, []election.Voter{{ID: "a", Addr: "10.0.0.1:7946"}})}
	if err := d.saveState(s); err != nil {
		t.Fatal(err)
	}
	b, err := d.state.Read()
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	return s, fields
}

func write(t *testing.T, f *slotfile.File, fields map[string]any) {
	t.Helper()
	b, err := json.Marshal(fields)
	if err == nil {
		err = f.Write(b, true)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestStateOfOtherBuilds: what 0.1.0 wrote, and what a later build added, is read all the same.
func TestStateOfOtherBuilds(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"0.1.0": func(f map[string]any) {
			for _, key := range []string{"format", "needs", "by"} {
				if _, ok := f[key]; !ok {
					t.Errorf("no %q in front of the state", key)
				}
				delete(f, key)
			}
		},
		"a later one": func(f map[string]any) {
			f["format"], f["by"], f["later"] = diskFormat+3, "9.9.9", map[string]any{"a": []int{1}}
			f["election"].(map[string]any)["later"] = 7
		},
	} {
		d := newDisk(t)
		want, fields := savedState(t, d)
		change(fields)
		write(t, d.state, fields)
		got, err := d.loadState("cache")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(stateFile{}, identity{})); diff != "" {
			t.Errorf("%s: the state changed (-saved +loaded):\n%s", name, diff)
		}
	}
}

// TestFormatThatIsTooNew: a state that this build would misunderstand is refused with the cure, and
// left as it is.
func TestFormatThatIsTooNew(t *testing.T) {
	d := newDisk(t)
	_, fields := savedState(t, d)
	fields["format"], fields["needs"], fields["by"] = diskFormat+1, diskFormat+1, "9.9.9"
	write(t, d.state, fields)
	before, err := d.state.Read()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.loadState("cache")
	refused(t, err, "9.9.9", d.dir)
	_, err = ClusterOf(d.dir)
	refused(t, err, "9.9.9")
	if after, err := d.state.Read(); err != nil || string(after) != string(before) {
		t.Errorf("the state was changed: %s, %v", after, err)
	}

	r := map[string]any{"term": 3, "offset": 4, "needs": diskFormat + 1, "by": "9.9.9"}
	write(t, d.data, r)
	rec, err := d.loadRecord()
	refused(t, err, "9.9.9")
	if rec != (node.Record{}) {
		t.Errorf("a record that is not understood counts: %+v", rec)
	}
}

func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, errTooNew) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, want := range append(words, "install redisd") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

// TestSlotsOfAnotherForm: a file of a later form is not an empty one, whose votes would be
// forgotten.
func TestSlotsOfAnotherForm(t *testing.T) {
	d := newDisk(t)
	savedState(t, d)
	path := d.path(stateName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(b, "rds2")
	copy(b[len(b)/2:], "rds2")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = d.loadState("cache")
	refused(t, err, d.dir)
}

// TestFormatFits: the largest roster that fitted the slots still does.
func TestFormatFits(t *testing.T) {
	b, err := json.Marshal(format{Format: diskFormat, Needs: diskNeeds, By: strings.Repeat("v", 40)})
	if err != nil || len(b) > 100 {
		t.Errorf("%d bytes in front of a state, %v", len(b), err)
	}
}
