package confgen_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/redisd/redisd/confgen"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestGolden generates what each testdata/*.txtar asks for. The facts are TOML: "redis.toml",
// "acl.toml" or "sentinel.toml". A file "existing" is what the program left behind. "want" is the
// outcome, "error" the error instead.
func TestGolden(t *testing.T) {
	for _, path := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := readArchive(t, path)
			got, err := generate(t, a)
			again, _ := generate(t, a)
			if diff := cmp.Diff(string(got), string(again)); diff != "" {
				t.Errorf("not deterministic:\n%s", diff)
			}
			name, text := "want", string(got)
			if err != nil {
				name, text = "error", err.Error()+"\n"
			}
			if *update {
				a.write(t, path, name, text)
				return
			}
			if diff := cmp.Diff(a.file(name), text); diff != "" {
				t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", name, diff)
			}
		})
	}
}

func goldens(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	return paths
}

// generate dispatches on the facts that the archive has.
func generate(t *testing.T, a archive) ([]byte, error) {
	t.Helper()
	existing := []byte(a.file("existing"))
	switch {
	case a.has("redis.toml"):
		return confgen.Merge(existing, confgen.RedisConf(decode[confgen.RedisFacts](t, a, "redis.toml"))), nil
	case a.has("acl.toml"):
		return confgen.ACLMerge(existing, confgen.ACL(decode[confgen.ACLFacts](t, a, "acl.toml"))), nil
	case a.has("sentinel.toml"):
		return confgen.SentinelConf(decode[confgen.SentinelFacts](t, a, "sentinel.toml"), existing)
	}
	t.Fatal("the archive has no facts")
	return nil, nil
}

func decode[T any](t *testing.T, a archive, name string) (facts T) {
	t.Helper()
	md, err := toml.Decode(a.file(name), &facts)
	if err != nil {
		t.Fatal(err)
	}
	if extra := md.Undecoded(); len(extra) > 0 {
		t.Fatalf("%s: no such facts: %v", name, extra)
	}
	return facts
}

// archive is a text in the txtar format: a comment, then files, each below a line "-- NAME --".
type archive struct {
	comment string
	files   []archiveFile
}

type archiveFile struct{ name, data string }

func readArchive(t testing.TB, path string) archive {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var a archive
	data := &a.comment
	for line := range strings.Lines(string(text)) {
		name, marker := strings.CutPrefix(strings.TrimRight(line, "\n"), "-- ")
		if name, ends := strings.CutSuffix(name, " --"); marker && ends {
			a.files = append(a.files, archiveFile{name: name})
			data = &a.files[len(a.files)-1].data
			continue
		}
		*data += line
	}
	return a
}

func (a archive) has(name string) bool {
	return slices.ContainsFunc(a.files, func(f archiveFile) bool { return f.name == name })
}

func (a archive) file(name string) string {
	for _, f := range a.files {
		if f.name == name {
			return f.data
		}
	}
	return ""
}

// write replaces the outcome in the golden file.
func (a archive) write(t *testing.T, path, name, outcome string) {
	t.Helper()
	text := a.comment
	for _, f := range a.files {
		if f.name != "want" && f.name != "error" {
			text += "-- " + f.name + " --\n" + f.data
		}
	}
	text += "-- " + name + " --\n" + outcome
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
