package redis

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seed adds the recorded replies whose names match.
func seed(f *testing.F, pattern string) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range names {
		f.Add(testdata(f, filepath.Base(name)))
	}
}

func FuzzParseInfo(f *testing.F) {
	seed(f, "info-*.txt")
	f.Fuzz(func(t *testing.T, text string) {
		i, err := parseInfo(text)
		if err != nil {
			if i.Role != 0 {
				t.Errorf("a role beside an error: %v", i.Role)
			}
			return
		}
		if i.Role != Primary && i.Role != Replica {
			t.Errorf("Role %v", i.Role)
		}
		if i.Role == Primary && i.PrimaryAddr.IsValid() {
			t.Errorf("a primary with a primary %v", i.PrimaryAddr)
		}
		if i.LinkDownFor < 0 {
			t.Errorf("LinkDownFor %v", i.LinkDownFor)
		}
		// The same whatever ends its lines.
		text = strings.ReplaceAll(text, "\r", "")
		unix, err := parseInfo(text)
		if err != nil {
			return
		}
		dos, err := parseInfo(strings.ReplaceAll(text, "\n", "\r\n"))
		if diff := cmp.Diff(unix, dos, cmpAddrs); err != nil || diff != "" {
			t.Errorf("%v (-unix +dos)\n%s", err, diff)
		}
	})
}

func FuzzParseEntries(f *testing.F) {
	seed(f, "sentinel-*.txt")
	f.Fuzz(func(t *testing.T, text string) {
		for _, entry := range entries(text) {
			parsePrimary(entry)
			parseSentinel(entry)
			parseReplica(entry)
		}
	})
}

func FuzzParseSentinelInfo(f *testing.F) {
	seed(f, "sentinel-info.txt")
	f.Fuzz(func(t *testing.T, text string) {
		if i := parseSentinelInfo(text); i.TiltFor < 0 {
			t.Errorf("TiltFor %v", i.TiltFor)
		}
	})
}

func FuzzParseRole(f *testing.F) {
	f.Add("master", int64(42), "", "", int64(0))
	f.Add("slave", int64(6379), "10.0.0.1", "connected", int64(-1))
	f.Fuzz(func(t *testing.T, word string, number int64, host, state string, offset int64) {
		for _, reply := range []any{
			[]any{word, number},
			[]any{word, host, number, state, offset},
			[]any{number, host},
		} {
			r, err := parseRole(reply)
			if (err == nil) != (r.Role == Primary || r.Role == Replica) {
				t.Errorf("parseRole(%v) = %+v, %v", reply, r, err)
			}
		}
	})
}
