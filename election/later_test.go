package election

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redisd/redisd/internal/feature"
)

// each message, with every field set.
func eachMessage() []Message {
	r := NewRoster(3, []Voter{{ID: "a", Addr: "10.0.0.1:7946"}, {ID: "b", Addr: "10.0.0.2:7946"}})
	r.Term = 7
	return []Message{
		Renew{ClusterID: "c", Term: 7, Holder: "a", Sent: 5, Roster: r, Successors: []NodeID{"b"}, Primary: "10.0.0.1:6379", Note: []byte{1}},
		RenewReply{From: "b", Term: 7, Granted: true, Sent: 5, Unreachable: true, Bootstrapping: true, Highest: 7, RosterTerm: 7, RosterVersion: 3},
		Claim{
			ClusterID: "c", Term: 8, Candidate: "b", Sent: 1, Roster: r, Data: Data{Term: 7, Offset: 9}, HolderTerm: 7, Released: true,
			Holding: true, Fenced: 7, Bootstrapping: true, Forced: true,
		},
		ClaimReply{From: "a", Term: 8, Sent: 1, Denied: DeniedRoster, Highest: 8, Holder: "b", HolderTerm: 7, Released: true, Born: true, Roster: &r},
		Release{ClusterID: "c", Term: 8, Holder: "b", Successors: []NodeID{"a"}, Handed: 3, Why: "stopped"},
	}
}

// later is b as a later build would say it: with a field more here and in the roster, a voter of
// which more is said, and a reason that is not known here.
func later(t *testing.T, b []byte) []byte {
	t.Helper()
	text := string(b)
	for _, more := range []string{`,"later":{"a":[1,{"b":null}],"t":"x"}`, `,"later2":18446744073709551615`, `,"later3":"` + strings.Repeat("x", 500) + `"`} {
		text = strings.TrimSuffix(text, "}") + more + "}"
	}
	if with := strings.Replace(text, `"r":{"t":7`, `"r":{"later":[1],"t":7`, 1); strings.Contains(text, `"r":`) && with == text {
		t.Fatalf("no roster in %s", text)
	} else {
		text = with
	}
	return []byte(strings.Replace(text, `["b","10.0.0.2:7946"]`, `["b","10.0.0.2:7946","later"]`, 1))
}

// TestUnknownIsSteppedOver: what a later build adds changes nothing of what is known. It must not
// cost a lease.
func TestUnknownIsSteppedOver(t *testing.T) {
	for _, m := range eachMessage() {
		b, err := Encode(m, feature.Own)
		if err != nil {
			t.Fatal(err)
		}
		got, from, err := Decode(later(t, b))
		if err != nil {
			t.Errorf("Decode(%s): %v", later(t, b), err)
			continue
		}
		if d := cmp.Diff(m, got); d != "" || from != feature.Own {
			t.Errorf("%s: from %v\n%s", later(t, b), from, d)
		}
	}
}

// TestFeaturesInAnotherForm: what a sender says of itself is never a reason to drop what it says.
func TestFeaturesInAnotherForm(t *testing.T) {
	for said, want := range map[string]feature.Set{
		``: 0, `,"fs":1`: 1, `,"fs":"all"`: 0, `,"fs":[1]`: 0, `,"fs":-1`: 0, `,"fs":18446744073709551615`: feature.Most, `,"fs":9007199254740993`: 1,
	} {
		_, from, err := Decode([]byte(`{"t":"a","f":"b","e":7,"s":5,"x":7,"k":0,"v":0` + said + `}`))
		if err != nil || from != want {
			t.Errorf("%s: features %v, want %v: %v", said, from, want, err)
		}
	}
}

// TestKeys holds the rules for keys: those of one letter are the ones that 0.1.0 knows, later ones
// are longer, and all are in lower case.
func TestKeys(t *testing.T) {
	for _, w := range []struct {
		of    any
		first string // what 0.1.0 knows
	}{
		{wireRoster{}, "tvm"}, {wireRenew{}, "tcehsbriupn"}, {wireRenewReply{}, "tfegsxkvub"}, {wireClaim{}, "tcehsrdolqwzbu"},
		{wireClaimReply{}, "tfegsyxhlqbr"}, {wireRelease{}, "tcehuoy"}, {wireSender{}, ""},
	} {
		typ := reflect.TypeOf(w.of)
		for i := range typ.NumField() {
			key, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			switch {
			case key != strings.ToLower(key):
				t.Errorf("%s: key %q is not in lower case: encoding/json takes it for another one", typ.Name(), key)
			case len(key) == 1 && !strings.Contains(w.first, key):
				t.Errorf("%s: 0.1.0 does not know the key %q and would refuse the message: give it two letters", typ.Name(), key)
			case len(key) > 1 && !strings.Contains(options, "omitempty"):
				t.Errorf("%s: key %q is not optional", typ.Name(), key)
			}
		}
	}
}

// TestFirstForm: to a build that refuses what it does not know, only that is said which it knows.
func TestFirstForm(t *testing.T) {
	for _, m := range eachMessage() {
		b, err := Encode(m, 0)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		for key := range fields {
			if len(key) != 1 {
				t.Errorf("0.1.0 would refuse the key %q in %s", key, b)
			}
		}
		if got, _, err := Decode(b); err != nil || !cmp.Equal(m, got) {
			t.Errorf("Decode(%s) = %+v, %v", b, got, err)
		}
	}
}

// FuzzUnknown: a field with any name that is not in use, and any value, changes nothing.
func FuzzUnknown(f *testing.F) {
	f.Add("later", []byte(`{"a":[1]}`), uint8(0))
	f.Add("T1", []byte(`null`), uint8(3))
	f.Fuzz(func(t *testing.T, name string, value []byte, which uint8) {
		all := eachMessage()
		m := all[int(which)%len(all)]
		b, err := Encode(m, feature.Own)
		if err != nil {
			t.Fatal(err)
		}
		key, err := json.Marshal(name)
		if err != nil || len([]rune(name)) < 3 || !json.Valid(value) || len(b)+len(key)+len(value)+2 > maxMessage {
			return
		}
		b = fmt.Appendf(b[:len(b)-1], ",%s:%s}", key, value)
		got, _, err := Decode(b)
		if err != nil {
			t.Fatalf("Decode(%s): %v", b, err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Fatal(d)
		}
	})
}
